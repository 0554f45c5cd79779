"""Compare models on the same recordings: their ranks, and which differences may be due to chance."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiocnn.errors import ConfigError
from audiocnn.evaluation import intervals, metrics
from audiocnn.formats.predictions_csv import PredictionRow
from audiocnn.labels import Labels
from audiocnn.text import printable, safe_cell

_DIGITS = 12  # further digits are rounding errors, which would break ties

Counts = NDArray[np.float64]
Interval = tuple[float, float] | None


@dataclass(frozen=True)
class GroupCounts:
    """How many recordings of each group (n_groups,) a model labels correctly, a mean over seeds, of ``n``."""

    right: Counts
    n: Counts


@dataclass(frozen=True)
class RankedModel:
    """The ``rank`` of one model from 1, its accuracy, and the difference to the accuracy of the best model.

    Intervals are those of `intervals`; None if there is only one group. That of the difference allows for the number of
    models: if all are equal, at most 5 of 100 rankings have one whose interval does not include 0. ``in_noise`` is true
    if it includes 0, or if there is no interval.
    """

    name: str
    rank: int
    accuracy: float
    ci95: Interval
    difference: float
    difference_ci95: Interval
    in_noise: bool


def count_correct(right: Sequence[bool], groups: Sequence[str], names: Sequence[str]) -> GroupCounts:
    """Count recordings and those that are ``right`` by group, in the order of the group ``names``.

    >>> count_correct([True, True, False], ["a", "b", "a"], ["a", "b", "c"]).right.tolist()
    [1.0, 1.0, 0.0]
    """
    index = {name: i for i, name in enumerate(names)}
    rows = np.array([index[group] for group in groups], np.intp)
    return GroupCounts(
        np.bincount(rows, weights=np.asarray(right, np.float64), minlength=len(names)).astype(np.float64),
        np.bincount(rows, minlength=len(names)).astype(np.float64),
    )


def rank_models(counts: Mapping[str, GroupCounts], *, bootstrap: int, seed: int) -> list[RankedModel]:
    """Rank models that were evaluated on the same groups by accuracy, best first; ties keep their order.

    Every resample draws the same groups for all models. Differences are thus paired: recordings that are difficult for
    all models do not widen their intervals. Any two may turn out to be the best and the other, so an interval of a
    difference is one of as many as there are pairs.
    """
    order = sorted(counts, key=lambda name: -_accuracy(counts[name]))  # sorted keeps the order of ties
    right = np.stack([counts[name].right for name in order])
    n = np.stack([counts[name].n for name in order])

    def resampled(draws: Counts) -> Counts:
        with np.errstate(divide="ignore", invalid="ignore"):
            accuracy = (draws @ right.T) / (draws @ n.T)  # a draw may contain only groups without recordings
        return np.concatenate([accuracy, accuracy - accuracy[:, :1]], axis=1)

    errors = intervals.standard_errors(
        resampled, n_groups=n.shape[1], bootstrap=bootstrap, seed=seed, width=2 * len(order)
    ).reshape(2, -1)
    n_pairs = max(1, math.comb(len(order), 2))
    best = _accuracy(counts[order[0]])
    ranked = []
    for i, name in enumerate(order):
        accuracy = _accuracy(counts[name])
        difference = round(accuracy - best, _DIGITS)
        difference_ci95 = _interval(intervals.difference_interval(difference, errors[1, i], n[i], n_pairs))
        ranked.append(
            RankedModel(
                name=name,
                rank=i + 1,
                accuracy=accuracy,
                ci95=_interval(intervals.share_interval(accuracy, errors[0, i], n[i])),
                difference=difference,
                difference_ci95=difference_ci95,
                in_noise=difference_ci95 is None or difference_ci95[0] <= 0 <= difference_ci95[1],
            )
        )
    return ranked


def compare_models(
    this: Sequence[PredictionRow],
    other: Sequence[PredictionRow],
    *,
    name: str,
    labels: Sequence[str],
    bootstrap: int,
    seed: int,
) -> dict[str, Any]:
    """Return the block ``comparison`` of ``metrics.json``: two models on the recordings that both predicted.

    ``name`` is the name of the other model. Macro F1 is the mean over those ``labels`` that occur. A recording without
    a prediction counts as wrong. Every resample draws the same groups, those of ``this``, for both models.

    Raises `ConfigError` if true labels differ or no recording is common.
    """
    others = {row.key: row for row in other}
    pairs = [(row, others[row.key]) for row in this if row.key in others]
    if not pairs:
        raise ConfigError(
            f"{name}: none of its {len(other)} recordings is among the {len(this)} to compare with, such as "
            f"{this[0].name if this else 'none'}; compare predictions for the same part of the same manifest"
        )
    for row, other_row in pairs:
        if row.truth != other_row.truth:
            raise ConfigError(
                f"{name}: {row.name} is '{printable(other_row.truth)}' there and '{printable(row.truth)}' here; "
                "evaluate both with the same labels"
            )
    groups, group = np.unique(np.array([row.group for row, _ in pairs], dtype=object).astype(str), return_inverse=True)
    truth = [row.truth for row, _ in pairs]
    cells = Labels(tuple(safe_cell(label) for label in labels))
    predicted = [[row.label for row, _ in pairs], [row.label for _, row in pairs]]
    both = [metrics.count_labels(truth, column, group, cells, len(groups)) for column in predicted]

    def figures(draws: Counts) -> Counts:
        """Return accuracy and macro F1 of this, then of the other, then their differences (n_draws, 6)."""
        drawn = [counts.resample(draws) for counts in both]
        values = np.array([[counts.accuracy(), counts.macro_f1()] for counts in drawn])
        return np.concatenate([*values, values[0] - values[1]]).T

    values = figures(np.ones((1, len(groups))))[0].round(_DIGITS).tolist()
    errors = intervals.standard_errors(figures, n_groups=len(groups), bootstrap=bootstrap, seed=seed)
    right = np.array([[label == true for label, true in zip(column, truth, strict=True)] for column in predicted])

    def compared(i: int) -> dict[str, Any]:
        ends = intervals.difference_interval(values[4 + i], errors[4 + i], both[0].n)
        return {"this": values[i], "other": values[2 + i], "difference": {"value": values[4 + i], "ci95": ends}}

    return {
        "other": name,
        "n_recordings": len(pairs),
        "n_only_this": len(this) - len(pairs),
        "n_only_other": len(others) - len(pairs),
        "accuracy": compared(0),
        "macro_f1": compared(1),
        "only_this_right": int((right[0] & ~right[1]).sum()),
        "only_other_right": int((right[1] & ~right[0]).sum()),
    }


def _accuracy(counts: GroupCounts) -> float:
    return round(float(counts.right.sum() / counts.n.sum()), _DIGITS)


def _interval(ends: intervals.Ends) -> Interval:
    low, high = ends
    return None if low is None or high is None else (round(low, _DIGITS), round(high, _DIGITS))
