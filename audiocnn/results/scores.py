"""The scores of a ``predictions.csv`` as an array, for those who ask about every label and not only the best."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiocnn.errors import ConfigError
from audiocnn.results import comparison
from audiocnn.results.comparison import Answer
from audiocnn.text import printable

_PREFIX = "p_"


@dataclass(frozen=True)
class Scores:
    """What was said of every recording that was heard: ``values`` (n_answers, n_labels) in the order of ``labels``.

    ``n_unheard`` counts those without scores, which are left out.
    """

    answers: Sequence[Answer]
    labels: Sequence[str]
    values: NDArray[np.float64]
    n_unheard: int


def read(file: Path) -> Scores:
    """Read a ``predictions.csv`` that ``evaluate`` or ``crossval`` wrote; raise `ConfigError` naming file and line."""
    answers = comparison.read_predictions(file)  # has looked at all but the scores
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
    return Scores(heard, labels, np.array(values, np.float64).reshape(-1, len(labels)), len(answers) - len(heard))


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
