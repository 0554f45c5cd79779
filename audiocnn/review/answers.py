"""Answers of a person about drawn units: their rules, the file ``review.csv`` that keeps each, and tables filled in.

``review.csv`` only grows: each answer is on the disk before the next one is given. The last row of a clip counts; one
without an answer takes the earlier one back.
"""

import csv
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audiocnn.errors import ConfigError, OutputError
from audiocnn.review.draw import Draw, DrawnUnit
from audiocnn.text import printable, safe_cell

FILE_NAME = "review.csv"
COLUMNS = (
    "clip", "recording", "start_s", "end_s", "label", "score", "stratum", "chance", "answer", "true_label", "reviewer",
    "at",
)  # fmt: skip
KINDS = ("right", "wrong", "several", "unsure")
NONE_OF_THEM = "-"  # as a true label: the clip has none of the labels; no label can have this name
_MAX_BYTES = 64 << 20


@dataclass(frozen=True)
class Answer:
    """What a person said about a clip: one of `KINDS`, and the true labels if they are known.

    ``true_labels`` are empty if they are not known; `NONE_OF_THEM` alone is a clip without any of the labels.
    """

    kind: str
    true_labels: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        return "|".join(self.true_labels)

    def truth(self, label: str) -> frozenset[str] | None:
        """Return the set of true labels of a unit predicted as ``label``; None if it is not known completely."""
        if self.kind == "right":
            return frozenset(self.true_labels or (label,))
        if self.kind == "unsure" or not self.true_labels:
            return None
        return frozenset(self.true_labels) - {NONE_OF_THEM}

    def holds(self, label: str, predicted: str) -> float:
        """Return 1 if ``label`` is a true label of a unit that was ``predicted`` so, 0 if not, NaN if not known."""
        truth = self.truth(predicted)
        if truth is not None:
            return float(label in truth)
        return 0.0 if self.kind == "wrong" and label == predicted else np.nan


def parse(kind: str, true_label: str, unit: DrawnUnit, labels: Sequence[str], where: str) -> Answer | None:
    """Return the answer of two cells; None if both are empty. Raise `ConfigError`, which begins with ``where``.

    Without a ``kind``, the true label gives it: right if it is the predicted one.
    """
    kind, named = kind.strip().lower(), tuple(filter(None, (part.strip() for part in true_label.split("|"))))
    for name in named:
        if name not in labels and (name != NONE_OF_THEM or len(named) > 1):
            raise ConfigError(
                f"{where}: true_label '{printable(name)}' is none of {', '.join(labels)}, nor '{NONE_OF_THEM}' alone "
                "for none of them"
            )
    if not kind and not named:
        return None
    kind = kind or ("several" if len(named) > 1 else "right" if named == (unit.label,) else "wrong")
    if kind not in KINDS:
        raise ConfigError(f"{where}: answer '{printable(kind)}' is none of {', '.join(KINDS)}")
    if kind == "right" and named not in ((), (unit.label,)):
        raise ConfigError(f"{where}: answer right, but true_label is not the predicted '{unit.label}'; leave one empty")
    if kind == "wrong" and unit.label in named:
        raise ConfigError(f"{where}: answer wrong, but true_label is the predicted '{unit.label}'; leave one empty")
    if kind == "several" and len(named) < 2:
        raise ConfigError(f"{where}: answer several needs two labels or more in true_label, such as a|b")
    return Answer(kind, () if kind == "unsure" else named or ((unit.label,) if kind == "right" else ()))


class AnswerFile:
    """The answers of a review in ``review.csv``; create it while holding the lock of its folder."""

    def __init__(self, folder: Path, draw: Draw) -> None:
        """Read the answers so far; a last row that was cut off by a crash is dropped."""
        self.path, self.draw = folder / FILE_NAME, draw
        self._units = {unit.clip: unit for unit in draw.units}
        self.answers: dict[str, Answer] = {}
        self.reviewers: dict[str, str] = {}
        self._read()

    def add(self, clip: str, answer: Answer | None, reviewer: str = "") -> None:
        """Append an answer, or with None take that of a clip back; raise `OutputError` if it cannot be kept."""
        kept = [] if answer is None else [answer.kind, safe_cell(answer.text)]
        at = datetime.now(UTC).isoformat(timespec="seconds")
        row = [*cells(self._units[clip], self.draw), *(kept or ["", ""]), safe_cell(printable(reviewer)), at]
        _append(self.path, (b"" if self.path.exists() else _line(COLUMNS)) + _line(row))
        self._keep(clip, answer)

    def _keep(self, clip: str, answer: Answer | None) -> None:
        self.answers.pop(clip, None)  # the last answer is the last of the dictionary
        if answer is not None:
            self.answers[clip] = answer

    def _read(self) -> None:
        try:
            content = self.path.read_bytes() if self.path.exists() else b""
        except OSError as error:
            raise ConfigError(f"{self.path}: cannot be read ({error.strerror or error})") from error
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            os.truncate(self.path, len(whole))
        for number, row in rows(whole, str(self.path)):
            clip = row.get("clip") or ""
            unit = self._units.get(clip)
            where = f"{self.path}: line {number}"
            if unit is None or (row.get("recording"), row.get("start_s")) != tuple(cells(unit, self.draw)[1:3]):
                raise ConfigError(f"{where}: clip '{printable(clip)}' is not of this draw; move the file away")
            kind, true_label = row.get("answer") or "", label_cell(row.get("true_label") or "")
            self._keep(clip, parse(kind, true_label, unit, self.draw.labels, where))


def read_answers(file: Path, draw: Draw) -> dict[str, Answer]:
    """Return the answers in a table with the columns ``clip,answer[,true_label]``; clips without one are left out.

    Raises `ConfigError`, which names the line, for a clip that was not drawn, or an unknown answer or label.
    """
    try:
        with open(file, "rb") as handle:
            content = handle.read(_MAX_BYTES)
    except OSError as error:
        raise ConfigError(f"{printable(str(file))}: cannot be read ({error.strerror or error})") from error
    by_clip, found = {unit.clip: unit for unit in draw.units}, {}
    digits = len(draw.units[0].clip)
    for number, row in rows(content, printable(str(file))):
        where = f"{printable(str(file))}: line {number}"
        clip = (row.get("clip") or "").strip().zfill(digits)  # spreadsheets drop leading zeros
        if clip not in by_clip:
            raise ConfigError(
                f"{where}: clip '{printable(clip)}' was not drawn; this review has 1 to {len(draw.units)}"
            )
        cells_ = row.get("answer") or "", label_cell(row.get("true_label") or "")
        answer = parse(*cells_, by_clip[clip], draw.labels, where)
        if answer is not None:
            found[clip] = answer
    return found


def rows(content: bytes, name: str) -> Iterable[tuple[int, Mapping[str, str | None]]]:
    """Yield line number and cells of a CSV file; raise `ConfigError` without the columns of answers."""
    try:
        text = content.decode("utf-8-sig")
        first = text.partition("\n")[0]
        delimiter = ";" if first.count(";") > first.count(",") else ","  # of spreadsheets in many countries
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
        if content and not {"clip", "answer"} <= set(reader.fieldnames or ()):
            raise ConfigError(f"{name}: has no columns clip and answer; fill in the table that --clips-to writes")
        for row in reader:
            yield reader.line_num, row
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{name}: not a CSV file in UTF-8 ({error})") from error


def table(draw: Draw) -> str:
    """Return ``review.csv`` with a row for each drawn unit, without answers."""
    lines = [COLUMNS, *([*cells(unit, draw), "", "", "", ""] for unit in draw.units)]
    return b"".join(map(_line, lines)).decode()


def cells(unit: DrawnUnit, draw: Draw) -> list[str]:
    """Return the cells of a unit before the answer."""
    times = (f"{unit.start_s:.3f}", f"{unit.end_s:.3f}")
    stratum = draw.strata[unit.stratum].name
    return [unit.clip, unit.recording, *times, unit.label, f"{unit.score:.6f}", stratum, f"{unit.chance:.6g}"]


def label_cell(text: str) -> str:
    """Return the true label in a cell that `safe_cell` wrote, or that a person filled in.

    >>> label_cell(safe_cell(NONE_OF_THEM)), label_cell("owl")
    ('-', 'owl')
    """
    return text[1:] if text.startswith("'") and text[1:2] == NONE_OF_THEM else text


def holds(
    answered: Sequence[DrawnUnit], answers: Mapping[str, Answer], label: str
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return y (n,) of answered units for a label, NaN where it is not known, and which answers are unsure (n,)."""
    given = [answers[unit.clip] for unit in answered]
    y = [answer.holds(label, unit.label) for unit, answer in zip(answered, given, strict=True)]
    return np.array(y, float), np.array([answer.kind == "unsure" for answer in given], bool)


def _line(cells: Iterable[str]) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(cells)
    return buffer.getvalue().encode("utf-8")


def _append(path: Path, data: bytes) -> None:
    """Append to a file and wait until it is on the disk; what could not be written completely is cut off again."""
    before = path.stat().st_size if path.exists() else 0
    try:
        with open(path, "ab", buffering=0) as file:
            try:
                if file.write(data) != len(data):
                    raise OSError(28, "no space left on the device")
                os.fsync(file.fileno())
            except OSError:
                os.truncate(path, before)
                raise
    except OSError as error:
        raise OutputError(f"{path}: the answer cannot be kept ({error.strerror or error}); make room") from error
