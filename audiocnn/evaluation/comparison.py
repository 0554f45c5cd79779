"""Which of several networks is better at the same recordings, and which differences could be chance."""

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

_DIGITS = 12  # more are rounding errors, which would make equals differ

Counts = NDArray[np.float64]
Interval = tuple[float, float] | None


@dataclass(frozen=True)
class GroupCounts:
    """How many recordings of each group (n_groups,) one network labels right, a mean over seeds, of how many."""

    right: Counts
    n: Counts


@dataclass(frozen=True)
class RankedModel:
    """Where one network stands: ``rank`` from 1, accuracy, and accuracy minus that of the best.

    Intervals are 95 % ones of `intervals`; None where there is one group only. ``in_noise`` says that the interval of
    the difference includes 0, or that there is none.
    """

    name: str
    rank: int
    accuracy: float
    ci95: Interval
    difference: float
    difference_ci95: Interval
    in_noise: bool


def count_correct(right: Sequence[bool], groups: Sequence[str], names: Sequence[str]) -> GroupCounts:
    """Count which recordings were ``right`` by their ``groups``, in the order of ``names``.

    >>> count_correct([True, True, False], ["a", "b", "a"], ["a", "b", "c"]).right.tolist()
    [1.0, 1.0, 0.0]
    """
    index = {name: i for i, name in enumerate(names)}
    rows = np.array([index[group] for group in groups], np.intp)
    return GroupCounts(
        np.bincount(rows, weights=np.asarray(right, np.float64), minlength=len(names)).astype(np.float64),
        np.bincount(rows, minlength=len(names)).astype(np.float64),
    )


def rank_models(tallies: Mapping[str, GroupCounts], *, bootstrap: int, seed: int) -> list[RankedModel]:
    """Rank networks that were asked about the same groups, the best first; of equals the one that is given first.

    Every resample draws the same groups for all networks, so that differences are paired: what is hard for all of them
    does not blur them.
    """
    order = sorted(tallies, key=lambda name: -_share(tallies[name]))  # sorted keeps the order of equals
    right = np.stack([tallies[name].right for name in order])
    n = np.stack([tallies[name].n for name in order])

    def resampled(draws: Counts) -> Counts:
        with np.errstate(divide="ignore", invalid="ignore"):
            accuracy = (draws @ right.T) / (draws @ n.T)  # groups without recordings can be all that is drawn
        return np.concatenate([accuracy, accuracy - accuracy[:, :1]], axis=1)

    errors = intervals.standard_errors(
        resampled, n_groups=n.shape[1], bootstrap=bootstrap, seed=seed, width=2 * len(order)
    ).reshape(2, -1)
    best = _share(tallies[order[0]])
    found = []
    for i, name in enumerate(order):
        accuracy = _share(tallies[name])
        difference = round(accuracy - best, _DIGITS)
        apart = _interval(intervals.difference_interval(difference, errors[1, i], n[i]))
        found.append(
            RankedModel(
                name=name,
                rank=i + 1,
                accuracy=accuracy,
                ci95=_interval(intervals.share_interval(accuracy, errors[0, i], n[i])),
                difference=difference,
                difference_ci95=apart,
                in_noise=apart is None or apart[0] <= 0 <= apart[1],
            )
        )
    return found


def compare_models(
    this: Sequence[PredictionRow],
    other: Sequence[PredictionRow],
    *,
    name: str,
    labels: Sequence[str],
    bootstrap: int,
    seed: int,
) -> dict[str, Any]:
    """Return the block ``comparison`` of ``metrics.json``: two models on the recordings that both were asked about.

    ``name`` is that of the other, ``labels`` are those that F1 is the mean of, as far as they occur. A recording that
    a model could not hear is one that it has wrong. Every resample draws the same groups, those of ``this``, for both.
    Raises `ConfigError` where truths differ or no recording is common.
    """
    of_other = {answer.key: answer for answer in other}
    pairs = [(one, of_other[one.key]) for one in this if one.key in of_other]
    if not pairs:
        raise ConfigError(
            f"{name}: none of its {len(other)} recordings is among the {len(this)} to compare with, such as "
            f"{this[0].name if this else 'none'}; compare predictions for the same part of the same manifest"
        )
    for one, another in pairs:
        if one.truth != another.truth:
            raise ConfigError(
                f"{name}: {one.name} is '{printable(another.truth)}' there and '{printable(one.truth)}' here; "
                "evaluate both with the same labels"
            )
    groups, group = np.unique(np.array([one.group for one, _ in pairs], dtype=object).astype(str), return_inverse=True)
    truth = [one.truth for one, _ in pairs]
    written = Labels(tuple(safe_cell(label) for label in labels))
    said = [[one.label for one, _ in pairs], [another.label for _, another in pairs]]
    both = [metrics.count_labels(truth, labels_said, group, written, len(groups)) for labels_said in said]

    def figures(draws: Counts) -> Counts:
        """Accuracy and macro F1 of this, then of the other, then their differences (n_draws, 6)."""
        drawn = [one.of(draws) for one in both]
        values = np.array([[one.accuracy(), one.macro_f1()] for one in drawn])
        return np.concatenate([*values, values[0] - values[1]]).T

    values = figures(np.ones((1, len(groups))))[0].round(_DIGITS).tolist()
    errors = intervals.standard_errors(figures, n_groups=len(groups), bootstrap=bootstrap, seed=seed)
    right = np.array([[label == true for label, true in zip(column, truth, strict=True)] for column in said])

    def compared(i: int) -> dict[str, Any]:
        ends = intervals.difference_interval(values[4 + i], errors[4 + i], both[0].asked)
        return {"this": values[i], "other": values[2 + i], "difference": {"value": values[4 + i], "ci95": ends}}

    return {
        "other": name,
        "n_recordings": len(pairs),
        "n_only_this": len(this) - len(pairs),
        "n_only_other": len(of_other) - len(pairs),
        "accuracy": compared(0),
        "macro_f1": compared(1),
        "only_this_right": int((right[0] & ~right[1]).sum()),
        "only_other_right": int((right[1] & ~right[0]).sum()),
    }


def _share(one: GroupCounts) -> float:
    return round(float(one.right.sum() / one.n.sum()), _DIGITS)


def _interval(ends: intervals.Ends) -> Interval:
    low, high = ends
    return None if low is None or high is None else (round(low, _DIGITS), round(high, _DIGITS))
