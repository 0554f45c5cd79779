"""What is fitted on recordings that the network has not learned from: temperature, thresholds, sets, what is unknown.

Pure functions of scores (n, n_labels) and label numbers (n,). Recordings of one group resemble each other, so where a
share of recordings is promised every group counts the same.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from audiocnn.errors import needs_extra
from audiocnn.inference.prediction import RecordingPrediction, Scores

MAX_BINS = 10
MIN_PER_BIN = 15  # on average; fewer bins where there are fewer scores
_VALUES_AT_A_TIME = 1 << 20

Array = NDArray[np.float64]


@dataclass(frozen=True)
class CalibrationBin:
    """``n`` scores between ``low`` and ``high``: their mean, and the share of them that is right.

    Bins adjoin half-way between their scores; the first begins with the lowest score, the last ends with the highest.
    """

    low: float
    high: float
    n: int
    mean_score: float
    share_right: float


def calibration_bins(score: Array, right: NDArray[np.bool_] | Array) -> list[CalibrationBin]:
    """Return bins of about as many scores each, in rising order; equal scores are never parted.

    There are at most `MAX_BINS`, of at least `MIN_PER_BIN` scores on average.

    >>> [(b.n, b.mean_score, b.share_right) for b in calibration_bins(np.array([0.5, 0.75]), np.array([False, True]))]
    [(2, 0.625, 0.5)]
    """
    order = np.argsort(score, kind="stable")
    score, right = np.asarray(score, np.float64)[order], np.asarray(right, np.float64)[order]
    starts = _starts(score)
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
    """Return for every score (n,) the number of its bin, from 0."""
    order = np.argsort(score, kind="stable")
    begins = np.zeros(len(score), np.intp)
    begins[_starts(score[order])[1:]] = 1
    numbers = np.empty(len(score), np.intp)
    numbers[order] = np.cumsum(begins)
    return numbers


def expected_calibration_error(score: Array, right: NDArray[np.bool_] | Array) -> float:
    """Return the mean distance between score and share right over `calibration_bins`, weighted by their size.

    The calibration error of Guo et al., "On calibration of modern neural networks", ICML 2017, over bins of equal mass
    as in Nguyen and O'Connor, EMNLP 2015, and Nixon et al., "Measuring calibration in deep learning", CVPR Workshops
    2019: bins of equal width leave most of them nearly empty.

    >>> expected_calibration_error(np.array([0.9, 0.9]), np.array([True, False])).__round__(3)
    0.4
    """
    return sum(b.n * abs(b.share_right - b.mean_score) for b in calibration_bins(score, right)) / len(score)


def perfect_calibration(score: Array, *, n_draws: int = 1_000, seed: int = 0) -> Array:
    """Return the calibration errors (n_draws,) of a model that has these scores and is right exactly so often.

    What was said is right with the probability of its score, drawn anew each time. Of few scores the error is well
    above 0 even so (Bröcker and Smith, "Increasing the reliability of reliability diagrams", 2007).

    >>> float(perfect_calibration(np.full(50, 0.8)).mean().round(3))
    0.045
    """
    score = np.sort(score)
    starts = _starts(score)
    rng = np.random.default_rng(seed)
    at_a_time = max(1, _VALUES_AT_A_TIME // len(score))
    found = []
    for first in range(0, n_draws, at_a_time):
        right = rng.random((min(at_a_time, n_draws - first), len(score))) < score
        gaps = np.add.reduceat(right - score, starts, axis=1)
        found.append(np.abs(gaps).sum(axis=1) / len(score))
    return np.concatenate(found)


def _starts(score: Array) -> list[int]:
    """Where bins of the sorted scores begin."""
    n = len(score)
    n_bins = min(max(n // MIN_PER_BIN, 1), MAX_BINS)
    wanted = np.round(np.arange(n_bins) * n / n_bins).astype(int)
    parted = np.flatnonzero(np.diff(score)) + 1  # where a bin may begin
    nearest = {int(parted[np.argmin(np.abs(parted - at))]) for at in wanted[1:]} if len(parted) else set()
    return sorted({0} | nearest) if n else []


_PRIOR_SD = 0.5  # of the logarithm of the temperature: e-fold in two deviations
_COLDEST, _HOTTEST = 0.05, 20.0
_SMALLEST = 1e-300  # scores below are rounding; their logarithm must stay finite

Targets = NDArray[np.int64]


@dataclass(frozen=True)
class FittedThreshold:
    """The score from which on a label is claimed, and whether that gives what was ``wanted`` of it."""

    value: float
    reached: bool


def scale_scores(scores: Scores, temperature: float) -> Scores:
    """Return what scores (n, n_labels) become if their logits are divided by ``temperature``.

    >>> scale_scores(np.array([[0.9, 0.1]]), 2.0).round(2).tolist()
    [[0.75, 0.25]]
    """
    log = np.log(np.maximum(scores, _SMALLEST)) / temperature
    log = np.exp(log - log.max(axis=-1, keepdims=True))
    return np.asarray(log / log.sum(axis=-1, keepdims=True))


def scale_prediction(prediction: RecordingPrediction, temperature: float) -> RecordingPrediction:
    """Return a prediction made at temperature 1 as it is at ``temperature``."""
    scores, windows = (scale_scores(of, temperature) for of in (prediction.scores, prediction.window_scores))
    return replace(prediction, scores=scores, window_scores=windows)


def fit_temperature(scores: Scores, target: Targets) -> float:
    """Return the temperature at which ``scores`` have the least log loss.

    Guo et al., "On calibration of modern neural networks", ICML 2017. With few recordings, or none wrong, that would be
    chance or infinity, so the logarithm of the temperature has a normal prior around 0.
    """
    with needs_extra("train"):
        from scipy.optimize import minimize_scalar

    rows = np.arange(len(target))

    def cost(log_temperature: float) -> float:
        chosen = scale_scores(scores, float(np.exp(log_temperature)))[rows, target]
        return float(-np.log(np.maximum(chosen, _SMALLEST)).sum() + 0.5 * (log_temperature / _PRIOR_SD) ** 2)

    found = minimize_scalar(cost, bounds=(np.log(_COLDEST), np.log(_HOTTEST)), method="bounded")
    return float(np.exp(found.x))


def fit_threshold(
    score: Scores, is_label: NDArray[np.bool_], *, precision: float | None = None, recall: float | None = None
) -> FittedThreshold:
    """Return the lowest threshold with the wanted ``precision``, or the highest with the wanted ``recall``.

    ``score`` (n,) is what each recording got for the label, ``is_label`` (n,) whether it is that. Where no threshold
    has the precision, that of the best precision is returned, as not reached.

    >>> fit_threshold(np.array([0.9, 0.8, 0.7]), np.array([True, False, True]), precision=0.9)
    FittedThreshold(value=0.9, reached=True)
    >>> fit_threshold(np.array([0.9, 0.8, 0.7]), np.array([True, False, True]), recall=0.9)
    FittedThreshold(value=0.7, reached=True)
    """
    values, counts = np.unique(-score, return_counts=True)  # from the highest score down
    claimed = np.cumsum(counts)
    right = np.cumsum(is_label[np.argsort(-score, kind="stable")])[claimed - 1]
    if recall is not None:
        enough = np.flatnonzero(right >= recall * max(1, int(is_label.sum())) - 1e-9)
        return FittedThreshold(float(-values[enough[0]]), True) if len(enough) else FittedThreshold(0.0, False)
    assert precision is not None
    shares = right / claimed
    enough = np.flatnonzero(shares >= precision - 1e-9)
    if len(enough):
        return FittedThreshold(float(-values[enough[-1]]), True)
    best = int(np.flatnonzero(shares == shares.max())[-1])
    return FittedThreshold(float(-values[best]), False)


def fit_set_threshold(scores: Scores, target: Targets, groups: NDArray[np.intp], *, coverage: float) -> float:
    """Return the score from which on a label belongs to a recording's set, so that sets hold the truth often enough.

    Of new groups a share of at least ``coverage`` of recordings will have their label in the set, if they come from
    where these came from: split conformal prediction with the score of the truth (Sadinle, Lei and Wasserman, "Least
    ambiguous set-valued classifiers with bounded error levels", JASA 2019) in which every group weighs the same (Lee,
    Barber and Willett, "Distribution-free inference with hierarchical data", 2023). With too few groups it is 0.
    """
    found = group_quantile(scores[np.arange(len(target)), target], groups, share=1 - coverage, unseen=1)
    return 0.0 if found is None else found


def group_quantile(values: Scores, groups: NDArray[np.intp], *, share: float, unseen: int = 0) -> float | None:
    """Return the highest of ``values`` (n,) below which there is at most a ``share``, every group counting the same.

    ``unseen`` groups are taken to be below all, which makes the share one of new recordings, whatever they are; None
    if that alone is more than the share.

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
