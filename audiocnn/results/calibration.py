"""What is fitted on recordings that the network has not learned from: temperature, thresholds, sets, what is unknown.

Pure functions of scores (n, n_labels) and label numbers (n,). Recordings of one group resemble each other, so where a
share of recordings is promised every group counts the same.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from audiocnn.errors import needs_extra
from audiocnn.results.aggregate import Prediction, Scores

_PRIOR_SD = 0.5  # of the logarithm of the temperature: e-fold in two deviations
_COLDEST, _HOTTEST = 0.05, 20.0
_SMALLEST = 1e-300  # scores below are rounding; their logarithm must stay finite

Targets = NDArray[np.int64]


@dataclass(frozen=True)
class Threshold:
    """The score from which on a label is claimed, and whether that gives what was ``wanted`` of it."""

    value: float
    reached: bool


def scaled(scores: Scores, temperature: float) -> Scores:
    """Return what scores (n, n_labels) become if their logits are divided by ``temperature``.

    >>> scaled(np.array([[0.9, 0.1]]), 2.0).round(2).tolist()
    [[0.75, 0.25]]
    """
    log = np.log(np.maximum(scores, _SMALLEST)) / temperature
    log = np.exp(log - log.max(axis=-1, keepdims=True))
    return np.asarray(log / log.sum(axis=-1, keepdims=True))


def cooled(prediction: Prediction, temperature: float) -> Prediction:
    """Return a prediction made at temperature 1 as it is at ``temperature``."""
    scores, windows = (scaled(of, temperature) for of in (prediction.scores, prediction.window_scores))
    return replace(prediction, scores=scores, window_scores=windows)


def temperature(scores: Scores, target: Targets) -> float:
    """Return the temperature at which ``scores`` have the least log loss.

    Guo et al., "On calibration of modern neural networks", ICML 2017. With few recordings, or none wrong, that would be
    chance or infinity, so the logarithm of the temperature has a normal prior around 0.
    """
    with needs_extra("train"):
        from scipy.optimize import minimize_scalar

    rows = np.arange(len(target))

    def cost(log_temperature: float) -> float:
        chosen = scaled(scores, float(np.exp(log_temperature)))[rows, target]
        return float(-np.log(np.maximum(chosen, _SMALLEST)).sum() + 0.5 * (log_temperature / _PRIOR_SD) ** 2)

    found = minimize_scalar(cost, bounds=(np.log(_COLDEST), np.log(_HOTTEST)), method="bounded")
    return float(np.exp(found.x))


def threshold(
    score: Scores, is_label: NDArray[np.bool_], *, precision: float | None = None, recall: float | None = None
) -> Threshold:
    """Return the lowest threshold with the wanted ``precision``, or the highest with the wanted ``recall``.

    ``score`` (n,) is what each recording got for the label, ``is_label`` (n,) whether it is that. Where no threshold
    has the precision, that of the best precision is returned, as not reached.

    >>> threshold(np.array([0.9, 0.8, 0.7]), np.array([True, False, True]), precision=0.9)
    Threshold(value=0.9, reached=True)
    >>> threshold(np.array([0.9, 0.8, 0.7]), np.array([True, False, True]), recall=0.9)
    Threshold(value=0.7, reached=True)
    """
    values, counts = np.unique(-score, return_counts=True)  # from the highest score down
    claimed = np.cumsum(counts)
    right = np.cumsum(is_label[np.argsort(-score, kind="stable")])[claimed - 1]
    if recall is not None:
        enough = np.flatnonzero(right >= recall * max(1, int(is_label.sum())) - 1e-9)
        return Threshold(float(-values[enough[0]]), True) if len(enough) else Threshold(0.0, False)
    assert precision is not None
    shares = right / claimed
    enough = np.flatnonzero(shares >= precision - 1e-9)
    if len(enough):
        return Threshold(float(-values[enough[-1]]), True)
    best = int(np.flatnonzero(shares == shares.max())[-1])
    return Threshold(float(-values[best]), False)


def set_floor(scores: Scores, target: Targets, groups: NDArray[np.intp], *, coverage: float) -> float:
    """Return the score from which on a label belongs to a recording's set, so that sets hold the truth often enough.

    Of new groups a share of at least ``coverage`` of recordings will have their label in the set, if they come from
    where these came from: split conformal prediction with the score of the truth (Sadinle, Lei and Wasserman, "Least
    ambiguous set-valued classifiers with bounded error levels", JASA 2019) in which every group weighs the same (Lee,
    Barber and Willett, "Distribution-free inference with hierarchical data", 2023). With too few groups it is 0.
    """
    found = lowest(scores[np.arange(len(target)), target], groups, share=1 - coverage, unseen=1)
    return 0.0 if found is None else found


def lowest(values: Scores, groups: NDArray[np.intp], *, share: float, unseen: int = 0) -> float | None:
    """Return the highest of ``values`` (n,) below which there is at most a ``share``, every group counting the same.

    ``unseen`` groups are taken to be below all, which makes the share one of new recordings, whatever they are; None
    if that alone is more than the share.

    >>> ten = np.arange(1.0, 11), np.arange(10)
    >>> lowest(*ten, share=0.2), lowest(*ten, share=0.2, unseen=1), lowest(*ten, share=0.02, unseen=1)
    (3.0, 2.0, None)
    """
    _, members, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    n_groups = len(sizes) + unseen
    weights = 1 / (sizes[members] * n_groups)
    order = np.argsort(values, kind="stable")
    below = unseen / n_groups + np.cumsum(weights[order]) - weights[order]  # weight of what is below each value
    kept = np.flatnonzero(below <= share + 1e-9)
    return float(values[order[kept[-1]]]) if len(kept) else None
