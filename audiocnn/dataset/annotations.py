"""Find the annotation files of a recording, and read them as labelled stretches.

The content decides what an annotation file is: a Raven selection table, an Audacity label track, a table of BirdNET or
of audiocnn, or a Praat TextGrid; see `annotation_tables`, `label_tracks`, `textgrid`.
"""

import functools
import math
import os
import re
from dataclasses import dataclass
from pathlib import Path

from audiocnn.audio import sniff
from audiocnn.dataset import annotation_tables, label_tracks, text_encoding, textgrid
from audiocnn.dataset.problems import TAKEN_AS_ZERO, Report, RowError, row_label
from audiocnn.dataset.stretches import AnnotationRow, Stretch, is_just_below_zero, parse_number
from audiocnn.errors import ManifestError
from audiocnn.text import printable

SUFFIXES = (".txt", ".csv", ".tsv", ".textgrid")
NOT_ONE = (
    "is not an annotation file; expected a Raven table with Begin Time (s) and End Time (s), Audacity labels (start, "
    "end and label, separated by tabs), a table of BirdNET or audiocnn, or a Praat TextGrid saved as text"
)
_MAX_BYTES = 16 * 2**20  # an hour with a label every tenth of a second takes 2 MiB
_RAVEN_SUFFIX = ".selections.txt"
# After the recording's name: nothing, what Raven adds, or a separator and a word; not another number of a recording.
_ENDING = re.compile(
    r"|\.(?:table\.?\d+|(?:.+\.)?selections)|[._\- (\[]+(?=[^._\- )\]]*[^\W\d_]).*", re.IGNORECASE | re.DOTALL
)


@dataclass(frozen=True, order=True)
class Annotation(Stretch):
    """A labelled stretch as a file lists it: in ``line``, and of ``recording``, a name or path, empty if not told."""

    recording: str = ""
    line: int = 0

    @property
    def stretch(self) -> Stretch:
        return Stretch(self.start_s, self.end_s, self.label)


@dataclass(frozen=True)
class _Text:
    """The text of a file, its non-blank lines with their numbers from 1, and what to report of its encoding."""

    text: str
    lines: list[tuple[int, str]]
    note: str


def find_annotations(recording: Path) -> list[Path]:
    """Return the annotation files of a recording, sorted: files in its folder that are named after it.

    The content decides: ``rec.txt`` with notes is left out. An empty ``rec.txt`` counts, and states that nothing was
    annotated. Every ``rec.*.selections.txt`` counts, so that `read` reports its faults. Raise `ManifestError` for a
    folder or file that cannot be read.
    """
    return [file for file in find_texts(recording) if is_annotation(file, recording.stem)]


def find_texts(recording: Path) -> list[Path]:
    """Return the text files in the folder of a recording that are named after it, sorted."""
    folder = recording.parent
    try:
        names_by_recording = _text_names(folder, os.stat(folder).st_mtime_ns)
    except OSError as error:
        raise ManifestError(f"{printable(os.fspath(folder))}: cannot be listed ({error.strerror})") from error
    keys = {key_of(recording.stem), key_of(recording.name)}
    return sorted({folder / name for key in keys for name in names_by_recording.get(key, ())})


def is_annotation(file: Path, stem: str) -> bool:
    """Whether a text is an annotation file of the recording with this stem, by its content."""
    if file.name.lower().endswith(_RAVEN_SUFFIX):
        return True
    text = _read_text(file)
    if text is None:
        return False
    return file.stem == stem and file.suffix.lower() == ".txt" if not text.lines else _detect_format(text) is not None


def read(file: Path, *, label_column: str | None = None, report: Report | None = None) -> list[Annotation]:
    """Return the stretches of an annotation file in order of time; a selection listed once per Raven view counts once.

    ``label_column`` is the column of a table, or the tier of a TextGrid, that holds the labels. By default it is the
    first of Annotation, Label, Species and similar names, or else the only column that Raven does not fill itself. Rows
    that cannot be used are left out and reported; without a ``report`` they are errors. Raise `ManifestError` with file
    and line for other files, and an ambiguous label column.
    """
    name = printable(os.fspath(file))
    text = _read_text(file)
    if text is None:
        raise ManifestError(
            f"{name}: is larger than {_MAX_BYTES // 2**20} MiB, the limit for an annotation file; move it away"
        )
    file_format = _detect_format(text)
    if file_format is None and (text.lines or file.name.lower().endswith(_RAVEN_SUFFIX)):
        raise ManifestError(f"{name}: {NOT_ONE}")
    if report is not None and text.note:
        report.notes.append(f"{name}: {text.note}")
    rows: list[AnnotationRow] = []
    if file_format == "table":
        rows = annotation_tables.read(text.lines, name, label_column)
    elif file_format == "textgrid":
        rows = textgrid.read(text.text, name, label_column)
    elif file_format == "track":
        rows = label_tracks.read(text.lines)
    found = []
    for row in rows:
        if report is None:
            found.append(_annotation(row, f"{name}: line {row.line}", None))
            continue
        with report.leaving_out(os.fspath(file), row.line):
            found.append(_annotation(row, f"{name}: line {row.line}", (report, os.fspath(file))))
    return sorted(found)


def has_columns(file: Path) -> bool:
    """Whether an annotation file has columns or tiers, so that one of them can be named."""
    text = _read_text(file)
    return text is not None and _detect_format(text) in ("table", "textgrid")


@functools.lru_cache(maxsize=16)  # recordings share folders; a new modification time lists a folder again
def _text_names(folder: Path, _changed_ns: int) -> dict[str, list[str]]:
    """Return the names of texts by the name or stem of a recording, the longest that is a recording."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.is_file()]
    audio = [path for path in map(Path, names) if path.suffix.lower() in sniff.SUFFIXES]
    recordings = {key_of(name) for path in audio for name in (path.name, path.stem)}
    names_by_recording: dict[str, list[str]] = {}
    for name in names:
        starts = possible_names(name)
        known = [start for start in starts if key_of(start) in recordings]
        # With a rec.1.wav, rec.1.selections.txt is not of rec.wav; a recording without the suffix of one is not known.
        for start in known[:1] or [start for start in starts if name[len(start)] == "."]:
            names_by_recording.setdefault(key_of(start), []).append(name)
    return names_by_recording


def possible_names(name: str) -> list[str]:
    """Return the names that the recording of a text may have, the longest first; none if it has no suffix of a text.

    >>> possible_names("r1_labels.txt"), possible_names("r1_2.csv")
    (['r1_labels', 'r1'], ['r1_2'])
    """
    stem, _, suffix = name.rpartition(".")
    if not stem or f".{suffix.lower()}" not in SUFFIXES:
        return []
    cuts = [len(stem), *(cut for cut in range(len(stem) - 1, 0, -1) if stem[cut] in "._- ([")]
    return [stem[:cut] for cut in cuts if _ENDING.fullmatch(stem, cut)]


def key_of(name: str) -> str:
    """Return a name with its audio suffix in lower case, as an annotation may spell it differently."""
    stem, _, suffix = name.rpartition(".")
    return f"{stem}.{suffix.lower()}" if stem and f".{suffix.lower()}" in sniff.SUFFIXES else name


def _read_text(file: Path) -> _Text | None:
    """Return the text of a file, or None if it is too large."""
    try:
        with open(file, "rb") as stream:
            data = stream.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ManifestError(f"{printable(os.fspath(file))}: cannot be read ({error.strerror})") from error
    if len(data) > _MAX_BYTES:
        return None
    decoded = text_encoding.decode(data)
    lines = re.split(r"\r\n|\r|\n", decoded.text)  # str.splitlines also splits at U+0085 and others
    numbered = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    return _Text("\n".join(lines), numbered, "" if decoded.certain else decoded.note)


def _detect_format(text: _Text) -> str | None:
    """Return 'table', 'track' or 'textgrid', or None."""
    if annotation_tables.detect(text.lines) is not None:
        return "table"
    if textgrid.detect(text.text):
        return "textgrid"
    return "track" if label_tracks.detect(text.lines) else None


def _annotation(row: AnnotationRow, where: str, report: tuple[Report, str] | None) -> Annotation:
    if row.fault:
        raise RowError(where, row.fault)
    start_s = parse_number(row.start)
    end_s = _parse_seconds(row.end, where)
    if report is not None and is_just_below_zero(start_s):
        report[0].add(report[1], row.line, "start is below 0", value=row.start, outcome=TAKEN_AS_ZERO)
        start_s = 0.0
    else:
        start_s = _parse_seconds(row.start, where)
    if end_s < start_s:
        raise RowError(where, f"end {row.end.strip()} s is before start {row.start.strip()} s; correct them", row.end)
    label = row_label(row.label, where)
    if report is not None and row.crosses:
        problem = f"goes on in {printable(row.crosses)}; add a row for the part there"
        report[0].add(report[1], row.line, problem, value=row.crosses, outcome="part in the first recording used")
    return Annotation(start_s, end_s, label, row.recording, row.line)


def _parse_seconds(text: str, where: str) -> float:
    value = parse_number(text)
    if not 0 <= value < math.inf:
        raise RowError(
            where, f"time '{printable(text)}' is not a number of seconds of at least 0; correct it", value=text
        )
    return value
