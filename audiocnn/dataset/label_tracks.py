r"""Read Audacity label tracks.

Audacity Manual, "Importing and Exporting Labels": start, end and label separated by tabs, optionally followed by a line
with ``\``, low and high frequency. BirdNET-Analyzer (``--rtype audacity``) adds a column with the confidence. The
tracks of ``audiocnn predict`` for several recordings begin every label with the recording: ``site/a.wav: Cello``.
"""

import re
from collections.abc import Sequence
from dataclasses import replace

from audiocnn.audio import sniff
from audiocnn.dataset.stretches import AnnotationRow, is_number

_SUFFIXES = "|".join(sorted(re.escape(suffix) for suffix in sniff.SUFFIXES))
_WITH_RECORDING = re.compile(rf"(.+(?:{_SUFFIXES})): (.+)", re.IGNORECASE | re.DOTALL)
_DECIMAL = re.compile(r"[+-]?\d+[.,]\d+")

Lines = Sequence[tuple[int, str]]


def detect(lines: Lines) -> bool:
    """Whether a text begins with two times, and has labels that are not all measurements."""
    rows = [line.split("\t", 2) for _, line in lines if not line.startswith("\\")]
    if not rows or len(rows[0]) < 2 or not all(map(is_number, rows[0][:2])):
        return False
    labels = [row[2].strip() for row in rows if len(row) > 2]
    return bool(labels) and not all(map(_DECIMAL.fullmatch, labels)) and not lines[0][1].startswith("\\")


def read(lines: Lines) -> list[AnnotationRow]:
    """Return the rows of a label track; lines with the frequencies of a spectral selection are passed over."""
    rows = [_row(number, line) for number, line in lines if not line.startswith("\\")]
    named = [_WITH_RECORDING.fullmatch(row.label) for row in rows]
    if not all(named):
        return rows
    return [replace(row, recording=m[1], label=m[2]) for row, m in zip(rows, named, strict=True) if m]


def _row(number: int, line: str) -> AnnotationRow:
    cells = line.split("\t")
    if len(cells) < 2:
        return AnnotationRow(number, "", "", "", fault="expected start, end and label, separated by tabs; correct it")
    if len(cells) == 4 and is_number(cells[3]):  # the confidence
        del cells[3]
    return AnnotationRow(number, cells[0], cells[1], "\t".join(cells[2:]))
