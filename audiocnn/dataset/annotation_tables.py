"""Read annotation tables with a header: Raven selection tables, and CSV files of BirdNET, of audiocnn and others.

Raven Pro User's Manual (Cornell Lab of Ornithology), "Selections, measurements and annotations": a column for each
measurement and annotation, a row for each selection in each view. Begin and End Time count from the start of the sound,
which may be several files; File Offset counts from the start of the file that Begin File and Begin Path name.
BirdNET-Analyzer writes Raven tables (with a row ``nocall`` if it found nothing), CSV and Kaleidoscope CSV.
"""

import csv
import re
from collections.abc import Sequence
from itertools import zip_longest

from audiocnn.dataset import delimited
from audiocnn.dataset.label_tracks import Lines
from audiocnn.dataset.stretches import AnnotationRow, parse_number
from audiocnn.errors import ManifestError
from audiocnn.text import printable

_RAVEN = ("begin time (s)", "end time (s)")
_TIMES = (  # start and end
    _RAVEN,
    ("start (s)", "end (s)"),  # BirdNET
    ("start_s", "end_s"),  # audiocnn
    ("start_time", "end_time"),
    ("start time (s)", "end time (s)"),
    ("onset_s", "offset_s"),  # crowsetta
    ("start_seconds", "stop_seconds"),
    ("onset", "offset"),  # DCASE
    ("start", "end"),
)
_WITH_DURATION = ("offset", "duration")  # Kaleidoscope
_RAVEN_LABELS = ("annotation", "label", "species", "common name", "tag", "class", "type", "call type", "code")
_LABELS = ("label", "annotation", "common name", "common_name", "event_label", "species", "scientific name", "class")
_FILES = ("recording", "file", "filepath", "filename", "in file", "notated_path", "source_file", "audio_file")
_RAVEN_COLUMNS = re.compile(
    r"|selection|view|channel|(begin|end) (file|path|clock time|date|time|sample)"
    r"|.*\((db\b[^()]*|k?hz\b[^()]*|m?s|samples|bits|u\S*)\)"
)
_NOTHING = "nocall"  # BirdNET's label of a file without a detection


def detect(lines: Lines) -> str | None:
    """Return the delimiter of an annotation table by its header; None if it is none."""
    for delimiter in "\t,;":
        columns = _lower(_cells(lines[0][1], delimiter)) if lines else []
        if set(_RAVEN) <= set(columns) and delimiter == "\t":
            return delimiter
        if _times(columns) and any(name in columns for name in _LABELS):
            return delimiter
    return None


def read(lines: Lines, name: str, label_column: str | None) -> list[AnnotationRow]:
    """Return the rows of a table; a selection that has a row for each Raven view is returned once.

    Raise `ManifestError` for an ambiguous or missing column of labels, and for rows of several recordings whose times
    count from the first one.
    """
    delimiter = detect(lines) or "\t"
    (first, header), *rest = lines
    names = _cells(header, delimiter)
    columns = _lower(names)
    if not rest:
        return []
    label = _choose_label_column(names, label_column, f"{name}: line {first}")
    is_raven, has_offset = set(_RAVEN) <= set(columns), "file offset (s)" in columns
    found: dict[tuple[str, ...], AnnotationRow] = {}
    recordings: set[str] = set()
    for number, line in rest:
        cells = dict(zip_longest(columns, _cells(line, delimiter)[: len(columns)], fillvalue=""))
        row = _raven_row(number, cells, label) if is_raven else _row(number, cells, label)
        recordings |= {row.recording} - {""}
        if is_raven and not has_offset and len(recordings) > 1:
            raise ManifestError(
                f"{name}: line {number}: belongs to another recording than the rows above, and its times count from "
                "the first one; add the measurement File Offset (s) in Raven and save the table again"
            )
        if row.label != _NOTHING or "confidence" not in columns:
            selection = cells.get("selection") or str(number)
            found.setdefault((selection, row.start, row.end, row.label, row.recording), row)
    return list(found.values())


def _raven_row(number: int, cells: dict[str, str], label: str) -> AnnotationRow:
    """Return a row of a Raven table with times from the start of the file that it names."""
    path, file = cells.get("begin path", ""), cells.get("begin file", "")
    recording = f"{path}/{file}" if path and file and not path.endswith(file) else path or file
    start, end = (cells[name] for name in _RAVEN)
    last = cells.get("end file", "")
    crosses = last if file and last not in ("", file) else ""
    if "file offset (s)" in cells:
        offset, length = cells["file offset (s)"], parse_number(end) - parse_number(start)
        if not offset:
            return AnnotationRow(number, start, end, cells[label], fault="File Offset (s) is empty; fill it in")
        if parse_number(offset) != parse_number(start):
            start, end = offset, f"{parse_number(offset) + length:.9g}" if length >= 0 else end
    return AnnotationRow(number, start, end, cells[label], recording, crosses)


def _row(number: int, cells: dict[str, str], label: str) -> AnnotationRow:
    columns = list(cells)
    first, last = _times(columns) or _RAVEN
    start, end = cells[first], cells[last]
    if (first, last) == _WITH_DURATION:
        end = f"{parse_number(start) + parse_number(end):.9g}"
    recording = next((cells[name] for name in _FILES if cells.get(name)), "")
    if recording and cells.get("folder"):  # Kaleidoscope
        recording = f"{cells['folder']}/{recording}"
    return AnnotationRow(number, start, end, cells[label], recording)


def _times(columns: Sequence[str]) -> tuple[str, str] | None:
    pairs = (_WITH_DURATION, *_TIMES) if "indir" in columns else _TIMES
    return next((pair for pair in pairs if set(pair) <= set(columns)), None)


def _cells(line: str, delimiter: str) -> list[str]:
    if delimiter != "\t":
        return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter), [])]
    return [re.sub(r'^"(.*)"$', r"\1", cell.strip()) for cell in line.split("\t")]  # R quotes text


def _lower(columns: Sequence[str]) -> list[str]:
    return [column.lower() for column in columns]


def _choose_label_column(columns: Sequence[str], requested: str | None, where: str) -> str:
    """Return the column of labels, in lower case."""
    lower = _lower(columns)
    if requested is not None:
        if requested.strip().lower() in lower:
            return requested.strip().lower()
        raise ManifestError(f"{where}: {delimited.missing_column(columns, requested)}")
    known = [column for column in (_RAVEN_LABELS if set(_RAVEN) <= set(lower) else _LABELS) if column in lower]
    others = [column for column in lower if not _RAVEN_COLUMNS.fullmatch(column)]
    if not known and len(others) != 1:
        listed = ", ".join(printable(column) for column in columns if column)
        raise ManifestError(
            f"{where}: cannot tell which column holds the labels; pass --label-column NAME, one of: {listed}"
        )
    return (known or others)[0]
