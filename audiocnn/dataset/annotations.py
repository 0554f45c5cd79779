r"""Raven selection tables and Audacity label tracks beside recordings, read as labelled stretches of time.

The formats are those of the Raven Pro User's Manual (Cornell Lab of Ornithology): tab-separated, one column for each
measurement and annotation, a line for each selection in each view; and of "Importing and Exporting Labels" in the
Audacity Manual: start, end and label with tabs between, then maybe a line ``\``, low and high frequency.
"""

import difflib
import functools
import math
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path

from audiocnn.audio import sniff
from audiocnn.errors import ManifestError
from audiocnn.labels import valid_label
from audiocnn.text import printable

_LARGEST = 16 * 2**20  # bytes; an hour with a label every tenth of a second takes 2 MiB
_RAVENS_OWN = ".selections.txt"
# what follows the recording's name: nothing, "Table.1.selections" (older Ravens: "Table01"), a detector's name
_ENDING = re.compile(r"\.(?:table\.?\d+\.|(?:.+\.)?selections\.)?txt", re.IGNORECASE | re.DOTALL)
_NUMBER = re.compile(r"[+-]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:e[+-]?\d+)?", re.IGNORECASE | re.ASCII)
_TIMES = ("begin time (s)", "end time (s)")
_LABELS = ("annotation", "label", "species", "common name", "tag", "class", "type", "call type", "code")
_MEASURED = re.compile(
    r"|selection|view|channel|(begin|end) (file|path|clock time|date|time|sample)"
    r"|.*\((db\b[^()]*|k?hz\b[^()]*|m?s|samples|bits|u\S*)\)"
)


@dataclass(frozen=True, order=True)
class Stretch:
    """A labelled stretch of a recording; both times are seconds from its start, 0 <= ``start_s`` <= ``end_s``.

    They are equal for a point label.
    """

    start_s: float
    end_s: float
    label: str


def find_annotations(recording: Path) -> list[Path]:
    """Return the annotation files in a recording's folder that are called after it, sorted.

    A file is one by its content, whatever Raven called it: ``rec.txt`` with somebody's notes is left out. An empty
    ``rec.txt`` is one too, it says that nothing was heard; and so is every ``rec.*.selections.txt``, so that `read`
    says what is wrong with it. Raises `ManifestError` for a folder or file that cannot be read.
    """
    folder = recording.parent
    try:
        called_after = _called_after(folder, os.stat(folder).st_mtime_ns)
    except OSError as error:
        raise ManifestError(f"{printable(os.fspath(folder))}: cannot be listed ({error.strerror})") from error
    keys = {_key(recording.stem), _key(recording.name)}
    files = {folder / name for key in keys for name in called_after.get(key, ())}
    return sorted(file for file in files if _is_annotation(file, recording.stem))


def read(file: Path, *, label_column: str | None = None) -> list[Stretch]:
    """Return the stretches of an annotation file in order of time; one that Raven lists for each view counts once.

    ``label_column`` is the column of a Raven table that holds the labels; without it that is the first of Annotation,
    Label, Species and the like, or else the only one that Raven does not fill itself. Raises `ManifestError` naming
    file and line for what is no annotation, a time or label that cannot be used, and columns that leave it open.
    """
    name = printable(os.fspath(file))
    lines = _lines(file)
    if lines is None:
        raise ManifestError(f"{name}: is larger than {_LARGEST // 2**20} MiB, which no annotation is; move it away")
    form = _form(lines)
    if form is None and (lines or file.name.lower().endswith(_RAVENS_OWN)):
        raise ManifestError(
            f"{name}: is no annotation; expected a Raven table with the columns Begin Time (s) and End Time (s), "
            "or Audacity labels: start, end and label with tabs between"
        )
    return sorted(_raven(lines, name, label_column) if form == "raven" else _audacity(lines, name))


def resolve_overlaps(stretches: Iterable[Stretch]) -> tuple[list[Stretch], float]:
    """Return one recording's stretches without overlaps, sorted, and the seconds that more than one label claimed.

    Stretches of one label that overlap become one; those that only touch stay two. What two labels claim is cut out of
    both, and so is a point label inside a stretch of another label, at no cost in seconds. No new time is made up:
    every boundary is one that was given.

    >>> resolve_overlaps([Stretch(0, 4, "a"), Stretch(3, 5, "b")])
    ([Stretch(start_s=0, end_s=3, label='a'), Stretch(start_s=4, end_s=5, label='b')], 1.0)
    """
    end, point, start = range(3)  # in this order at one time, so that only what holds it inside is open at a point
    events: list[tuple[float, int, str]] = []
    for stretch in _merged(stretches):
        if stretch.start_s == stretch.end_s:
            events.append((stretch.start_s, point, stretch.label))
        else:
            events += [(stretch.start_s, start, stretch.label), (stretch.end_s, end, stretch.label)]
    pieces: list[Stretch] = []
    contested: list[float] = []
    open_labels: set[str] = set()
    since = -math.inf
    for time, kind, label in sorted(events):
        if kind == point:
            pieces += [] if open_labels else [Stretch(time, time, label)]
            continue
        if time > since and len(open_labels) == 1:
            pieces.append(Stretch(since, time, *open_labels))
        elif len(open_labels) > 1:
            contested.append(time - since)
        since = time
        if kind == start:
            open_labels.add(label)
        else:
            open_labels.remove(label)
    return sorted(pieces), math.fsum(contested)


def find_gaps(
    stretches: Iterable[tuple[float, float]], duration_s: float, shortest_s: float
) -> list[tuple[float, float]]:
    """Return start and end, in seconds, of what no stretch covers from 0 to ``duration_s``, sorted.

    Gaps shorter than ``shortest_s`` are left out. A point label parts the gap that it lies in.

    >>> find_gaps([(2.0, 3.0), (3.5, 4.0)], duration_s=9.0, shortest_s=1.0)
    [(0.0, 2.0), (4.0, 9.0)]
    """
    gaps = []
    free = 0.0
    for start, end in [*sorted(stretches), (duration_s, duration_s)]:
        gaps.append((free, min(start, duration_s)))
        free = max(free, end)
    return [(start, end) for start, end in gaps if end > start and end - start >= shortest_s]


@functools.lru_cache(maxsize=16)  # thousands of recordings share a folder; its time of change says when to look anew
def _called_after(folder: Path, _changed_ns: int) -> dict[str, list[str]]:
    """Names that annotations may have, under the name or stem of the recording: the longest for which there is one."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.is_file()]
    audio = [path for path in map(Path, names) if path.suffix.lower() in sniff.SUFFIXES]
    recordings = {_key(name) for path in audio for name in (path.name, path.stem)}
    called_after: dict[str, list[str]] = {}
    for name in names:
        start = name if name.lower().endswith(".txt") else ""
        while start := start.rpartition(".")[0]:
            if _ENDING.fullmatch(name, len(start)):
                called_after.setdefault(_key(start), []).append(name)
                if _key(start) in recordings:  # rec.1.selections.txt is not rec.wav's where there is a rec.1.wav
                    break
    return called_after


def _key(name: str) -> str:
    """The name with .WAV made .wav, as the annotation may have it otherwise than the recording."""
    suffix = Path(name).suffix
    return name.removesuffix(suffix) + suffix.lower() if suffix.lower() in sniff.SUFFIXES else name


def _is_annotation(file: Path, stem: str) -> bool:
    if file.name.lower().endswith(_RAVENS_OWN):
        return True
    lines = _lines(file)
    return file.stem == stem if lines == [] else lines is not None and _form(lines) is not None


def _lines(file: Path) -> list[tuple[int, str]] | None:
    """The lines that are not blank with their numbers, counted from 1, or None for a file that is too large."""
    try:
        with open(file, "rb") as stream:
            data = stream.read(_LARGEST + 1)
    except OSError as error:
        raise ManifestError(f"{printable(os.fspath(file))}: cannot be read ({error.strerror})") from error
    if len(data) > _LARGEST:
        return None
    try:
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    lines = re.split(r"\r\n|\r|\n", text)  # str.splitlines would take more for line ends, such as U+0085
    return [(number, line) for number, line in enumerate(lines, 1) if line.strip()]


def _form(lines: Sequence[tuple[int, str]]) -> str | None:
    """'raven' or 'audacity' by the first line, or None."""
    first = lines[0][1] if lines else ""
    if set(_TIMES) <= {cell.lower() for cell in _cells(first)}:
        return "raven"
    cells = first.split("\t")
    return "audacity" if len(cells) > 2 and all(map(_is_number, cells[:2])) else None


def _audacity(lines: Iterable[tuple[int, str]], name: str) -> list[Stretch]:
    found = []
    for number, line in lines:
        if line.startswith("\\"):  # the frequencies of a spectral selection
            continue
        cells = line.split("\t", 2)
        if len(cells) < 2:
            raise ManifestError(f"{name}: line {number}: expected start, end and label with tabs between; correct it")
        found.append(_stretch(cells[0], cells[1], "".join(cells[2:]), f"{name}: line {number}"))
    return found


def _raven(lines: Sequence[tuple[int, str]], name: str, label_column: str | None) -> list[Stretch]:
    (first, header), *rows = lines
    columns = [column.lower() for column in _cells(header)]
    label = _choose(_cells(header), label_column, f"{name}: line {first}")
    found: dict[tuple[str, Stretch], None] = {}  # by selection, which stands there once for each view
    files: set[str] = set()
    for number, line in rows:
        where = f"{name}: line {number}"
        row = dict(zip_longest(columns, _cells(line), fillvalue=""))
        files |= {row.get("begin file") or row.get("begin path") or ""} - {""}
        if len(files) > 1:  # times then count from the start of the first one
            raise ManifestError(f"{where}: lies in another recording than those before; save one table per recording")
        stretch = _stretch(row[_TIMES[0]], row[_TIMES[1]], row[label], where)
        found[row.get("selection", where), stretch] = None
    return [stretch for _, stretch in found]


def _cells(line: str) -> list[str]:
    return [re.sub(r'^"(.*)"$', r"\1", cell.strip()) for cell in line.split("\t")]  # R puts text into quotes


def _choose(columns: Sequence[str], wanted: str | None, where: str) -> str:
    """The column of labels, in lower case."""
    lower = [column.lower() for column in columns]
    listed = ", ".join(printable(column) for column in columns if column)
    if wanted is not None:
        wanted = wanted.strip()
        if wanted.lower() in lower:
            return wanted.lower()
        near = difflib.get_close_matches(wanted.lower(), lower, n=1)
        hint = f"is '{printable(columns[lower.index(near[0])])}' meant? It has" if near else "it has"
        raise ManifestError(f"{where}: has no column '{printable(wanted)}'; {hint}: {listed}")
    usual = [column for column in _LABELS if column in lower]
    others = [column for column in lower if not _MEASURED.fullmatch(column)]
    if not usual and len(others) != 1:
        raise ManifestError(f"{where}: no telling which column holds the labels; say --label-column NAME; of: {listed}")
    return (usual or others)[0]


def _stretch(start: str, end: str, label: str, where: str) -> Stretch:
    start_s, end_s = _seconds(start, where), _seconds(end, where)
    if end_s < start_s:
        raise ManifestError(f"{where}: end {end.strip()} s is before start {start.strip()} s; correct them")
    return Stretch(start_s, end_s, valid_label(label, where))


def _is_number(text: str) -> bool:
    return _NUMBER.fullmatch(text.strip()) is not None


def _seconds(text: str, where: str) -> float:
    value = float(text.replace(",", ".")) if _is_number(text) else math.nan
    if not 0 <= value < math.inf:
        raise ManifestError(f"{where}: time '{printable(text)}' is not a number of seconds from 0 on; correct it")
    return value + 0.0  # -0.0 is 0.0


def _merged(stretches: Iterable[Stretch]) -> list[Stretch]:
    merged: list[Stretch] = []
    for stretch in sorted(set(stretches), key=lambda s: (s.label, s)):
        if merged and merged[-1].label == stretch.label and merged[-1].end_s > stretch.start_s:
            merged[-1] = replace(merged[-1], end_s=max(merged[-1].end_s, stretch.end_s))
        else:
            merged.append(stretch)
    return merged
