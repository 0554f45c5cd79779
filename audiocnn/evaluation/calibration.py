"""Calibration of scores: temperature, thresholds and label sets fitted on held-out recordings, and calibration error.

Pure functions of scores (n, n_labels) and label indices (n,). Recordings of one group are similar, so where a share of
recordings is promised, every group has the same weight.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from audiocnn.errors import needs_extra
from audiocnn.inference.prediction import RecordingPrediction, Scores

MAX_BINS = 10
MIN_PER_BIN = 15  # on average; fewer scores give fewer bins

_BATCH_VALUES = 1 << 20
_PRIOR_SD = 0.5  # of the logarithm of the temperature: a factor of e is two standard deviations
_MIN_TEMPERATURE, _MAX_TEMPERATURE = 0.05, 20.0
_MIN_SCORE = 1e-300  # smaller scores are rounding errors; their logarithm must be finite

Array = NDArray[np.float64]
Targets = NDArray[np.int64]


@dataclass(frozen=True)
class FittedThreshold:
    """The lowest score at which a label is predicted, and whether it has the requested precision or recall."""

    value: float
    reached: bool


def scale_scores(scores: Scores, temperature: float) -> Scores:
    """Return the scores (n, n_labels) after dividing their logits by ``temperature``.

    >>> scale_scores(np.array([[0.9, 0.1]]), 2.0).round(2).tolist()
    [[0.75, 0.25]]
    """
    log = np.log(np.maximum(scores, _MIN_SCORE)) / temperature
    log = np.exp(log - log.max(axis=-1, keepdims=True))
    return np.asarray(log / log.sum(axis=-1, keepdims=True))


def scale_prediction(prediction: RecordingPrediction, temperature: float) -> RecordingPrediction:
    """Return a prediction made at temperature 1 with its scores at ``temperature``."""
    scores = scale_scores(prediction.scores, temperature)
    return replace(prediction, scores=scores, window_scores=scale_scores(prediction.window_scores, temperature))


def fit_temperature(scores: Scores, target: Targets) -> float:
    """Return the temperature that minimizes the log loss of ``scores``.

    Guo et al., "On calibration of modern neural networks", ICML 2017. With few recordings the minimum is left to
    chance, and without errors it is at 0, so the logarithm of the temperature has a normal prior around 0.
    """
    with needs_extra("train"):
        from scipy.optimize import minimize_scalar

    rows = np.arange(len(target))

    def cost(log_temperature: float) -> float:
        chosen = scale_scores(scores, float(np.exp(log_temperature)))[rows, target]
        return float(-np.log(np.maximum(chosen, _MIN_SCORE)).sum() + 0.5 * (log_temperature / _PRIOR_SD) ** 2)

    found = minimize_scalar(cost, bounds=(np.log(_MIN_TEMPERATURE), np.log(_MAX_TEMPERATURE)), method="bounded")
    return float(np.exp(found.x))


def fit_threshold(
    score: Scores, is_label: NDArray[np.bool_], *, precision: float | None = None, recall: float | None = None
) -> FittedThreshold:
    """Return the lowest threshold with the requested ``precision``, or the highest with the requested ``recall``.

    ``score`` (n,) is the score of the label in each recording, ``is_label`` (n,) whether the recording has the label.
    If no threshold has the precision, the one with the best precision is returned, as not reached.

    >>> fit_threshold(np.array([0.9, 0.8, 0.7]), np.array([True, False, True]), precision=0.9)
    FittedThreshold(value=0.9, reached=True)
    >>> fit_threshold(np.array([0.9, 0.8, 0.7]), np.array([True, False, True]), recall=0.9)
    FittedThreshold(value=0.7, reached=True)
    """
    values, counts = np.unique(-score, return_counts=True)  # from the highest score down
    n_predicted = np.cumsum(counts)
    n_correct = np.cumsum(is_label[np.argsort(-score, kind="stable")])[n_predicted - 1]
    if recall is not None:
        enough = np.flatnonzero(n_correct >= recall * max(1, int(is_label.sum())) - 1e-9)
        return FittedThreshold(float(-values[enough[0]]), True) if len(enough) else FittedThreshold(0.0, False)
    assert precision is not None
    precisions = n_correct / n_predicted
    enough = np.flatnonzero(precisions >= precision - 1e-9)
    if len(enough):
        return FittedThreshold(float(-values[enough[-1]]), True)
    best = int(np.flatnonzero(precisions == precisions.max())[-1])
    return FittedThreshold(float(-values[best]), False)


def fit_set_threshold(scores: Scores, target: Targets, groups: NDArray[np.intp], *, coverage: float) -> float:
    """Return the lowest score at which a label belongs to the label set of a recording.

    In new groups from the same source, at least a share ``coverage`` of the recordings have their true label in the
    set: split conformal prediction with the score of the true label (Sadinle, Lei and Wasserman, "Least ambiguous
    set-valued classifiers with bounded error levels", JASA 2019), all groups having the same weight (Lee, Barber and
    Willett, "Distribution-free inference with hierarchical data", 2023). With too few groups it is 0.
    """
    threshold = group_quantile(scores[np.arange(len(target)), target], groups, share=1 - coverage, unseen=1)
    return 0.0 if threshold is None else threshold


def group_quantile(values: Scores, groups: NDArray[np.intp], *, share: float, unseen: int = 0) -> float | None:
    """Return the highest of ``values`` (n,) with at most a ``share`` of the weight below it; groups weigh the same.

    ``unseen`` groups are assumed to lie below all values, so that the share holds for new recordings; None if their
    weight alone exceeds the share.

    >>> ten = np.arange(1.0, 11), np.arange(10)
    >>> [group_quantile(*ten, share=share, unseen=unseen) for share, unseen in ((0.2, 0), (0.2, 1), (0.02, 1))]
    [3.0, 2.0, None]
    """
    _, members, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    n_groups = len(sizes) + unseen
    weights = 1 / (sizes[members] * n_groups)
    order = np.argsort(values, kind="stable")
    below = unseen / n_groups + np.cumsum(weights[order]) - weights[order]  # weight of what is below each value
    kept = np.flatnonzero(below <= share + 1e-9)
    return float(values[order[kept[-1]]]) if len(kept) else None


@dataclass(frozen=True)
class CalibrationBin:
    """``n`` scores between ``low`` and ``high``: their mean, and the share of correct predictions.

    Edges lie half-way between neighbouring scores; the first bin starts at the lowest score, the last ends at the
    highest.
    """

    low: float
    high: float
    n: int
    mean_score: float
    share_right: float


def calibration_bins(score: Array, right: NDArray[np.bool_] | Array) -> list[CalibrationBin]:
    """Return bins with about the same number of scores, in rising order; equal scores share a bin.

    There are at most `MAX_BINS`, of at least `MIN_PER_BIN` scores on average.

    >>> [(b.n, b.mean_score, b.share_right) for b in calibration_bins(np.array([0.5, 0.75]), np.array([False, True]))]
    [(2, 0.625, 0.5)]
    """
    order = np.argsort(score, kind="stable")
    score, right = np.asarray(score, np.float64)[order], np.asarray(right, np.float64)[order]
    starts = _bin_starts(score)
    ends = [*starts[1:], len(score)]
    return [
        CalibrationBin(
            low=float(score[0] if first == 0 else (score[first - 1] + score[first]) / 2),
            high=float(score[-1] if end == len(score) else (score[end - 1] + score[end]) / 2),
            n=int(end - first),
            mean_score=float(score[first:end].mean()),
            share_right=float(right[first:end].mean()),
        )
        for first, end in zip(starts, ends, strict=True)
    ]


def bin_numbers(score: Array) -> NDArray[np.intp]:
    """Return the index of the bin of every score (n,), from 0."""
    order = np.argsort(score, kind="stable")
    is_start = np.zeros(len(score), np.intp)
    is_start[_bin_starts(score[order])[1:]] = 1
    numbers = np.empty(len(score), np.intp)
    numbers[order] = np.cumsum(is_start)
    return numbers


def expected_calibration_error(score: Array, right: NDArray[np.bool_] | Array) -> float:
    """Return the mean distance between score and share of correct predictions in `calibration_bins`, by their size.

    The calibration error of Guo et al., "On calibration of modern neural networks", ICML 2017, over bins of equal mass
    as in Nguyen and O'Connor, EMNLP 2015, and Nixon et al., "Measuring calibration in deep learning", CVPR Workshops
    2019; of bins of equal width, most are nearly empty.

    >>> expected_calibration_error(np.array([0.9, 0.9]), np.array([True, False])).__round__(3)
    0.4
    """
    return sum(b.n * abs(b.share_right - b.mean_score) for b in calibration_bins(score, right)) / len(score)


def perfect_calibration(score: Array, *, n_draws: int = 1_000, seed: int = 0) -> Array:
    """Return random calibration errors (n_draws,) of a perfectly calibrated model with these scores.

    In each draw, a prediction is correct with the probability of its score. With few scores, even this error is well
    above 0 (Bröcker and Smith, "Increasing the reliability of reliability diagrams", 2007).

    >>> float(perfect_calibration(np.full(50, 0.8)).mean().round(3))
    0.045
    """
    score = np.sort(score)
    starts = _bin_starts(score)
    rng = np.random.default_rng(seed)
    batch_size = max(1, _BATCH_VALUES // len(score))
    errors = []
    for first in range(0, n_draws, batch_size):
        right = rng.random((min(batch_size, n_draws - first), len(score))) < score
        gaps = np.add.reduceat(right - score, starts, axis=1)
        errors.append(np.abs(gaps).sum(axis=1) / len(score))
    return np.concatenate(errors)


def _bin_starts(score: Array) -> list[int]:
    """Return the index of the first of the sorted scores in each bin."""
    n = len(score)
    n_bins = min(max(n // MIN_PER_BIN, 1), MAX_BINS)
    even = np.round(np.arange(n_bins) * n / n_bins).astype(int)
    possible = np.flatnonzero(np.diff(score)) + 1  # a bin may start where scores differ
    nearest = {int(possible[np.argmin(np.abs(possible - start))]) for start in even[1:]} if len(possible) else set()
    return sorted({0} | nearest) if n else []
