r"""Read Raven selection tables and Audacity label tracks as labelled stretches of a recording.

Raven (Raven Pro User's Manual, Cornell Lab of Ornithology): tab-separated, with a column for each measurement and
annotation and a line for each selection in each view. Audacity (Audacity Manual, "Importing and Exporting Labels"):
start, end and label separated by tabs, optionally followed by a line with ``\``, low and high frequency.
"""

import difflib
import functools
import math
import os
import re
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from pathlib import Path

from audiocnn.audio import sniff
from audiocnn.dataset.problems import row_label
from audiocnn.dataset.stretches import Stretch, is_number, parse_number
from audiocnn.errors import ManifestError
from audiocnn.text import printable

_MAX_BYTES = 16 * 2**20  # an hour with a label every tenth of a second takes 2 MiB
_RAVEN_SUFFIX = ".selections.txt"
# After the recording's name: nothing, "Table.1.selections" (older Raven: "Table01"), or the name of a detector.
_ENDING = re.compile(r"\.(?:table\.?\d+\.|(?:.+\.)?selections\.)?txt", re.IGNORECASE | re.DOTALL)
_TIMES = ("begin time (s)", "end time (s)")
_LABELS = ("annotation", "label", "species", "common name", "tag", "class", "type", "call type", "code")
_RAVEN_COLUMNS = re.compile(
    r"|selection|view|channel|(begin|end) (file|path|clock time|date|time|sample)"
    r"|.*\((db\b[^()]*|k?hz\b[^()]*|m?s|samples|bits|u\S*)\)"
)


def find_annotations(recording: Path) -> list[Path]:
    """Return the annotation files of a recording, sorted: files in its folder that are named after it.

    The content decides: ``rec.txt`` with notes is left out. An empty ``rec.txt`` counts, and states that nothing was
    annotated. Every ``rec.*.selections.txt`` counts, so that `read` reports its faults. Raise `ManifestError` for a
    folder or file that cannot be read.
    """
    folder = recording.parent
    try:
        names_by_recording = _annotation_names(folder, os.stat(folder).st_mtime_ns)
    except OSError as error:
        raise ManifestError(f"{printable(os.fspath(folder))}: cannot be listed ({error.strerror})") from error
    keys = {_key(recording.stem), _key(recording.name)}
    files = {folder / name for key in keys for name in names_by_recording.get(key, ())}
    return sorted(file for file in files if _is_annotation(file, recording.stem))


def read(file: Path, *, label_column: str | None = None) -> list[Stretch]:
    """Return the stretches of an annotation file in order of time; a selection listed once per Raven view counts once.

    ``label_column`` is the column of a Raven table that holds the labels. By default it is the first of Annotation,
    Label, Species and similar names, or else the only column that Raven does not fill itself. Raise `ManifestError`
    with file and line for other files, unusable times and labels, and an ambiguous label column.
    """
    name = printable(os.fspath(file))
    lines = _lines(file)
    if lines is None:
        raise ManifestError(
            f"{name}: is larger than {_MAX_BYTES // 2**20} MiB, the limit for an annotation file; move it away"
        )
    file_format = _detect_format(lines)
    if file_format is None and (lines or file.name.lower().endswith(_RAVEN_SUFFIX)):
        raise ManifestError(
            f"{name}: is not an annotation file; expected a Raven table with Begin Time (s) and End Time (s), "
            "or Audacity labels: start, end and label, separated by tabs"
        )
    return sorted(_raven(lines, name, label_column) if file_format == "raven" else _audacity(lines, name))


@functools.lru_cache(maxsize=16)  # recordings share folders; a new modification time lists a folder again
def _annotation_names(folder: Path, _changed_ns: int) -> dict[str, list[str]]:
    """Return possible annotation files by the name or stem of a recording, the longest that is a recording."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.is_file()]
    audio = [path for path in map(Path, names) if path.suffix.lower() in sniff.SUFFIXES]
    recordings = {_key(name) for path in audio for name in (path.name, path.stem)}
    names_by_recording: dict[str, list[str]] = {}
    for name in names:
        start = name if name.lower().endswith(".txt") else ""
        while start := start.rpartition(".")[0]:
            if _ENDING.fullmatch(name, len(start)):
                names_by_recording.setdefault(_key(start), []).append(name)
                if _key(start) in recordings:  # with a rec.1.wav, rec.1.selections.txt is not of rec.wav
                    break
    return names_by_recording


def _key(name: str) -> str:
    """Return a name with its audio suffix in lower case, as an annotation may spell it differently."""
    suffix = Path(name).suffix
    return name.removesuffix(suffix) + suffix.lower() if suffix.lower() in sniff.SUFFIXES else name


def _is_annotation(file: Path, stem: str) -> bool:
    if file.name.lower().endswith(_RAVEN_SUFFIX):
        return True
    lines = _lines(file)
    return file.stem == stem if lines == [] else lines is not None and _detect_format(lines) is not None


def _lines(file: Path) -> list[tuple[int, str]] | None:
    """Return the non-blank lines with their numbers from 1, or None for a file that is too large."""
    try:
        with open(file, "rb") as stream:
            data = stream.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ManifestError(f"{printable(os.fspath(file))}: cannot be read ({error.strerror})") from error
    if len(data) > _MAX_BYTES:
        return None
    try:
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    lines = re.split(r"\r\n|\r|\n", text)  # str.splitlines also splits at U+0085 and others
    return [(number, line) for number, line in enumerate(lines, 1) if line.strip()]


def _detect_format(lines: Sequence[tuple[int, str]]) -> str | None:
    """Return 'raven' or 'audacity' by the first line, or None."""
    first = lines[0][1] if lines else ""
    if set(_TIMES) <= {cell.lower() for cell in _cells(first)}:
        return "raven"
    cells = first.split("\t")
    return "audacity" if len(cells) > 2 and all(map(is_number, cells[:2])) else None


def _audacity(lines: Iterable[tuple[int, str]], name: str) -> list[Stretch]:
    found = []
    for number, line in lines:
        if line.startswith("\\"):  # the frequencies of a spectral selection
            continue
        cells = line.split("\t", 2)
        if len(cells) < 2:
            raise ManifestError(f"{name}: line {number}: expected start, end and label, separated by tabs; correct it")
        found.append(_parse_stretch(cells[0], cells[1], "".join(cells[2:]), f"{name}: line {number}"))
    return found


def _raven(lines: Sequence[tuple[int, str]], name: str, label_column: str | None) -> list[Stretch]:
    (first, header), *rows = lines
    columns = [column.lower() for column in _cells(header)]
    label = _choose_label_column(_cells(header), label_column, f"{name}: line {first}")
    found: dict[tuple[str, Stretch], None] = {}  # by selection, which has a row for each view
    files: set[str] = set()
    for number, line in rows:
        where = f"{name}: line {number}"
        row = dict(zip_longest(columns, _cells(line), fillvalue=""))
        files |= {row.get("begin file") or row.get("begin path") or ""} - {""}
        if len(files) > 1:  # times would count from the start of the first one
            raise ManifestError(
                f"{where}: belongs to another recording than the rows above; save one table per recording"
            )
        stretch = _parse_stretch(row[_TIMES[0]], row[_TIMES[1]], row[label], where)
        found[row.get("selection", where), stretch] = None
    return [stretch for _, stretch in found]


def _cells(line: str) -> list[str]:
    return [re.sub(r'^"(.*)"$', r"\1", cell.strip()) for cell in line.split("\t")]  # R quotes text


def _choose_label_column(columns: Sequence[str], requested: str | None, where: str) -> str:
    """Return the column of labels, in lower case."""
    lower = [column.lower() for column in columns]
    listed = ", ".join(printable(column) for column in columns if column)
    if requested is not None:
        requested = requested.strip()
        if requested.lower() in lower:
            return requested.lower()
        near = difflib.get_close_matches(requested.lower(), lower, n=1)
        hint = f"did you mean '{printable(columns[lower.index(near[0])])}'? It has" if near else "it has"
        raise ManifestError(f"{where}: has no column '{printable(requested)}'; {hint}: {listed}")
    known = [column for column in _LABELS if column in lower]
    others = [column for column in lower if not _RAVEN_COLUMNS.fullmatch(column)]
    if not known and len(others) != 1:
        raise ManifestError(
            f"{where}: cannot tell which column holds the labels; pass --label-column NAME, one of: {listed}"
        )
    return (known or others)[0]


def _parse_stretch(start: str, end: str, label: str, where: str) -> Stretch:
    start_s, end_s = _parse_seconds(start, where), _parse_seconds(end, where)
    if end_s < start_s:
        raise ManifestError(f"{where}: end {end.strip()} s is before start {start.strip()} s; correct them")
    return Stretch(start_s, end_s, row_label(label, where))


def _parse_seconds(text: str, where: str) -> float:
    value = parse_number(text)
    if not 0 <= value < math.inf:
        raise ManifestError(f"{where}: time '{printable(text)}' is not a number of seconds of at least 0; correct it")
    return value
