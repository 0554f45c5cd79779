"""Read a ``predictions.csv``: the predicted label of every recording, and the scores of all labels as an array."""

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

from audiocnn.dataset import cut_groups
from audiocnn.dataset.manifest import Recording
from audiocnn.errors import ConfigError
from audiocnn.formats import tables
from audiocnn.inference.prediction import RecordingPrediction
from audiocnn.labels import Labels
from audiocnn.text import printable, safe_cell

_PREFIX = "p_"
_ROUNDING_S = 1e-5  # larger than the rounding of times in the file


@dataclass(frozen=True)
class PredictionRow:
    """The prediction for one recording or stretch of one; all texts as `tables.recordings_csv` writes them.

    ``start_s`` and ``end_s`` are empty for a whole recording, ``label`` for a recording without a prediction.
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
        """The recording, and the stretch of it, for messages."""
        stretch = f" from {self.start_s} to {self.end_s} s" if self.start_s else ""
        return f"{printable(self.recording)}{stretch}"


def prediction_rows(
    predictions: Sequence[RecordingPrediction],
    truth: Sequence[str],
    groups: Sequence[str],
    spans: Sequence[tuple[float, float] | None] | None = None,
) -> list[PredictionRow]:
    """Return predictions as `read_predictions` does; ``spans`` are the start and end of stretches, in seconds."""
    stretches = tables.stretch_columns(spans or [None] * len(predictions))
    rows = zip(predictions, stretches["start_s"], stretches["end_s"], truth, groups, strict=True)
    return [
        PredictionRow(p.recording, start_s, end_s, safe_cell(p.label), safe_cell(label), safe_cell(group))
        for p, start_s, end_s, label, group in rows
    ]


def read_predictions(file: Path) -> list[PredictionRow]:
    """Read a ``predictions.csv`` that ``evaluate`` or ``crossval`` wrote; additional columns are ignored.

    Raises `ConfigError` naming file, line and column.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"{file}: no such file; give a predictions.csv that 'audiocnn evaluate' wrote") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read as UTF-8 text ({error})") from error
    rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)  # strict: a quote never closed is an error
    predictions: dict[tuple[str, str, str], PredictionRow] = {}
    try:
        for column in ("recording", "label", "truth", "group"):
            if column not in (rows.fieldnames or ()):
                raise ConfigError(
                    f"{file}: line 1: no column '{column}'; give a predictions.csv that 'audiocnn evaluate' wrote"
                )
        for row in rows:
            where = f"{file}: line {rows.line_num}"
            prediction = _parse_row(row, where)
            if prediction.key in predictions:
                raise ConfigError(
                    f"{where}: column 'recording': {prediction.name} occurs twice; delete one of the lines"
                )
            predictions[prediction.key] = prediction
    except csv.Error as error:
        raise ConfigError(
            f"{file}: line {rows.reader.line_num}: {error}; write it again with 'audiocnn evaluate'"
        ) from error
    if not predictions:
        raise ConfigError(f"{file}: holds no predictions; give a predictions.csv that 'audiocnn evaluate' wrote")
    return list(predictions.values())


@dataclass(frozen=True)
class ScoreTable:
    """The scores of recordings: ``values`` (n_rows, n_labels), in the order of ``labels``.

    ``rows`` are the recordings that have scores; ``n_without_scores`` is the number of the others.
    """

    rows: Sequence[PredictionRow]
    labels: Labels
    values: NDArray[np.float64]
    n_without_scores: int


def read_scores(file: Path) -> ScoreTable:
    """Read a ``predictions.csv`` that ``evaluate`` or ``crossval`` wrote; raise `ConfigError` naming file and line."""
    predictions = read_predictions(file)  # checks all columns but the scores
    rows = csv.DictReader(io.StringIO(file.read_text(encoding="utf-8-sig"), newline=""), strict=True)
    labels = [name.removeprefix(_PREFIX) for name in rows.fieldnames or () if name.startswith(_PREFIX)]
    if len(labels) < 2:
        raise ConfigError(f"{file}: line 1: {len(labels)} columns '{_PREFIX}<label>'; predictions have one a label")
    if twice := next((label for label in labels if labels.count(label) > 1), None):
        raise ConfigError(f"{file}: line 1: column '{_PREFIX}{printable(twice)}' occurs twice; delete one of them")
    scored, values = [], []
    for prediction, row in zip(predictions, rows, strict=True):
        where = f"{file}: line {rows.line_num}"
        if prediction.truth not in labels:
            raise ConfigError(
                f"{where}: column 'truth': '{printable(prediction.truth)}' is none of the {len(labels)} labels with a "
                f"column '{_PREFIX}<label>'; delete the line"
            )
        if any(row[_PREFIX + label] for label in labels):
            scored.append(prediction)
            values.append([_parse_score(row, label, where) for label in labels])
    scores = np.array(values, np.float64).reshape(-1, len(labels))
    return ScoreTable(scored, Labels(tuple(labels)), scores, len(predictions) - len(scored))


def match_recordings(
    rows: Iterable[PredictionRow], recordings: Sequence[Recording], background: str | None
) -> list[Recording | None]:
    """Return the recording of each row; None if no recording has its path, stretch and label.

    ``background`` is the label of the parts of a file outside its stretches. They are not among ``recordings``.
    """
    spans = tables.stretch_columns([r.stretch for r in recordings])
    keys = zip((r.path for r in recordings), spans["start_s"], spans["end_s"], strict=True)
    of_key = dict(zip(keys, recordings, strict=True))
    stretches: dict[str, list[Recording]] = defaultdict(list)
    for recording in recordings:
        if recording.stretch is not None:
            stretches[recording.path].append(recording)

    def match(row: PredictionRow) -> Recording | None:
        found = of_key.get(row.key)
        if found is None and background is not None and row.start_s:
            found = _background_part(stretches[row.recording], float(row.start_s), float(row.end_s), background)
        return found if found is not None and safe_cell(found.label) == row.truth else None

    return [match(row) for row in rows]


def _background_part(stretches: Sequence[Recording], start_s: float, end_s: float, label: str) -> Recording | None:
    """Return a part of a file as background; None if one of its stretches overlaps it, or the file has none."""
    covered = [r.stretch for r in stretches if r.stretch is not None]
    if not covered or any(start < end_s - _ROUNDING_S and start_s + _ROUNDING_S < end for start, end in covered):
        return None
    return cut_groups.regroup(replace(stretches[0], label=label, start_s=start_s, end_s=end_s))


def _parse_row(row: Mapping[str | Any, Any], where: str) -> PredictionRow:
    """Parse a row of ``predictions.csv``; times get the usual format, even if a spreadsheet changed it."""
    if None in row or None in row.values():
        raise ConfigError(
            f"{where}: the number of cells is not that of the columns; write the file again with 'audiocnn evaluate'"
        )
    for column in ("recording", "truth"):
        if not row[column]:
            raise ConfigError(f"{where}: column '{column}' is empty; write the file again with 'audiocnn evaluate'")
    ends = {}
    for column in ("start_s", "end_s"):
        try:
            ends[column] = tables.format_seconds(float(row[column])) if row.get(column) else ""
        except ValueError:
            cell = printable(row[column])
            raise ConfigError(f"{where}: column '{column}' is '{cell}'; it must be seconds, such as 1.5") from None
    return PredictionRow(row["recording"], ends["start_s"], ends["end_s"], row["label"], row["truth"], row["group"])


def _parse_score(row: Mapping[str | Any, Any], label: str, where: str) -> float:
    text = row[_PREFIX + label]
    try:
        value = float(text)
    except (TypeError, ValueError):
        value = math.nan
    if not 0 <= value <= 1:
        raise ConfigError(
            f"{where}: column '{_PREFIX}{printable(label)}': '{printable(str(text))}' is not a number from 0 to 1; "
            "write the file again"
        )
    return value
