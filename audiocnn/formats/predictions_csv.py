"""A ``predictions.csv`` read back: the label that every recording got, and the scores of all labels as an array."""

import csv
import io
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiocnn.dataset.manifest import Recording
from audiocnn.errors import ConfigError
from audiocnn.formats import tables
from audiocnn.inference.prediction import RecordingPrediction
from audiocnn.labels import Labels
from audiocnn.text import printable, safe_cell

_PREFIX = "p_"
_ROUNDED_S = 1e-5  # more than the digits of a time in the file leave out


@dataclass(frozen=True)
class PredictionRow:
    """What a model said about one recording or stretch; all texts as `formats.recordings_csv` writes them.

    ``start_s`` and ``end_s`` are empty for a whole recording, ``label`` for one that was not heard.
    """

    recording: str
    start_s: str
    end_s: str
    label: str
    truth: str
    group: str

    @property
    def key(self) -> tuple[str, str, str]:
        return self.recording, self.start_s, self.end_s

    @property
    def name(self) -> str:
        """The recording, and which stretch of it, for people."""
        stretch = f" from {self.start_s} to {self.end_s} s" if self.start_s else ""
        return f"{printable(self.recording)}{stretch}"


def prediction_rows(
    predictions: Sequence[RecordingPrediction],
    truth: Sequence[str],
    groups: Sequence[str],
    spans: Sequence[tuple[float, float] | None] | None = None,
) -> list[PredictionRow]:
    """Return what was predicted in the form of `read_predictions`; ``spans`` are start and end of stretches."""
    stretches = tables.stretch_columns(spans or [None] * len(predictions))
    rows = zip(predictions, stretches["start_s"], stretches["end_s"], truth, groups, strict=True)
    return [
        PredictionRow(p.recording, start_s, end_s, safe_cell(p.label), safe_cell(label), safe_cell(group))
        for p, start_s, end_s, label, group in rows
    ]


def read_predictions(file: Path) -> list[PredictionRow]:
    """Read a ``predictions.csv`` that ``evaluate`` or ``crossval`` wrote; other columns than those needed may be there.

    Raises `ConfigError` naming file, line and column.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"{file}: no such file; give a predictions.csv that 'audiocnn evaluate' wrote") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read as UTF-8 text ({error})") from error
    rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)  # strict: a quote never closed is an error
    found: dict[tuple[str, str, str], PredictionRow] = {}
    try:
        for column in ("recording", "label", "truth", "group"):
            if column not in (rows.fieldnames or ()):
                raise ConfigError(
                    f"{file}: line 1: no column '{column}'; give a predictions.csv that 'audiocnn evaluate' wrote"
                )
        for row in rows:
            where = f"{file}: line {rows.line_num}"
            answer = _answer(row, where)
            if answer.key in found:
                raise ConfigError(f"{where}: column 'recording': {answer.name} is there twice; delete one of the lines")
            found[answer.key] = answer
    except csv.Error as error:
        raise ConfigError(
            f"{file}: line {rows.reader.line_num}: {error}; write it anew with 'audiocnn evaluate'"
        ) from error
    if not found:
        raise ConfigError(f"{file}: holds no predictions; give a predictions.csv that 'audiocnn evaluate' wrote")
    return list(found.values())


@dataclass(frozen=True)
class ScoreTable:
    """What was said of every recording that was heard: ``values`` (n_answers, n_labels) in the order of ``labels``.

    ``n_without_scores`` counts those without scores, which are left out.
    """

    rows: Sequence[PredictionRow]
    labels: Labels
    values: NDArray[np.float64]
    n_without_scores: int


def read_scores(file: Path) -> ScoreTable:
    """Read a ``predictions.csv`` that ``evaluate`` or ``crossval`` wrote; raise `ConfigError` naming file and line."""
    answers = read_predictions(file)  # has looked at all but the scores
    rows = csv.DictReader(io.StringIO(file.read_text(encoding="utf-8-sig"), newline=""), strict=True)
    labels = [name.removeprefix(_PREFIX) for name in rows.fieldnames or () if name.startswith(_PREFIX)]
    if len(labels) < 2:
        raise ConfigError(f"{file}: line 1: {len(labels)} columns '{_PREFIX}<label>'; predictions have one a label")
    if twice := next((label for label in labels if labels.count(label) > 1), None):
        raise ConfigError(f"{file}: line 1: column '{_PREFIX}{printable(twice)}' is there twice; delete one of them")
    heard, values = [], []
    for answer, row in zip(answers, rows, strict=True):
        where = f"{file}: line {rows.line_num}"
        if answer.truth not in labels:
            raise ConfigError(
                f"{where}: column 'truth': '{printable(answer.truth)}' is none of the {len(labels)} labels with a "
                f"column '{_PREFIX}<label>'; delete the line"
            )
        if any(row[_PREFIX + label] for label in labels):
            heard.append(answer)
            values.append([_score(row, label, where) for label in labels])
    return ScoreTable(
        heard, Labels(tuple(labels)), np.array(values, np.float64).reshape(-1, len(labels)), len(answers) - len(heard)
    )


def match_recordings(
    answers: Iterable[PredictionRow], recordings: Sequence[Recording], background: str | None
) -> list[Recording | None]:
    """The recording that each answer is about; None where none of these has its path, stretch and label.

    ``background`` is the label of what no stretch of a file covers, which is not among ``recordings``.
    """
    spans = tables.stretch_columns([r.stretch for r in recordings])
    keys = zip((r.path for r in recordings), spans["start_s"], spans["end_s"], strict=True)
    of_key = dict(zip(keys, recordings, strict=True))
    stretches: dict[str, list[Recording]] = defaultdict(list)
    for recording in recordings:
        if recording.stretch is not None:
            stretches[recording.path].append(recording)

    def about(answer: PredictionRow) -> Recording | None:
        found = of_key.get(answer.key)
        if found is None and background is not None and answer.start_s:
            found = _between(stretches[answer.recording], float(answer.start_s), float(answer.end_s), background)
        return found if found is not None and safe_cell(found.label) == answer.truth else None

    return [about(answer) for answer in answers]


def _between(stretches: Sequence[Recording], start_s: float, end_s: float, label: str) -> Recording | None:
    """The part of a file that none of its stretches covers; None if one does, or there are none."""
    covered = [r.stretch for r in stretches if r.stretch is not None]
    if not covered or any(start < end_s - _ROUNDED_S and start_s + _ROUNDED_S < end for start, end in covered):
        return None
    return replace(stretches[0], label=label, start_s=start_s, end_s=end_s)


def _answer(row: Mapping[str | Any, Any], where: str) -> PredictionRow:
    """One row of ``predictions.csv``; times are written as we write them, whatever a spreadsheet made of them."""
    if None in row or None in row.values():
        raise ConfigError(f"{where}: not as many cells as columns; write the file anew with 'audiocnn evaluate'")
    for column in ("recording", "truth"):
        if not row[column]:
            raise ConfigError(f"{where}: column '{column}' is empty; write the file anew with 'audiocnn evaluate'")
    ends = {}
    for column in ("start_s", "end_s"):
        try:
            ends[column] = tables.format_seconds(float(row[column])) if row.get(column) else ""
        except ValueError:
            cell = printable(row[column])
            raise ConfigError(f"{where}: column '{column}' is '{cell}'; it must be seconds, such as 1.5") from None
    return PredictionRow(row["recording"], ends["start_s"], ends["end_s"], row["label"], row["truth"], row["group"])


def _score(row: Mapping[str | Any, Any], label: str, where: str) -> float:
    text = row[_PREFIX + label]
    try:
        value = float(text)
    except (TypeError, ValueError):
        value = math.nan
    if not 0 <= value <= 1:
        raise ConfigError(
            f"{where}: column '{_PREFIX}{printable(label)}': '{printable(str(text))}' is no number from 0 to 1; "
            "write the file anew"
        )
    return value
