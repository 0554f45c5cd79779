"""The shares of the members of a model in its log-scores: equal, unless fitted ones are better beyond noise."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audiocnn.dataset.manifest import Recording
from audiocnn.errors import needs_extra
from audiocnn.evaluation import intervals
from audiocnn.inference.prediction import RecordingPrediction
from audiocnn.labels import Labels

_MIN_GROUPS = 20  # with fewer, weights are not fitted
_FOLDS = 5
_BOOTSTRAP = 2_000
_PRIOR_SD = 1.0  # of the logarithms of the weights before they are normalised: fitted ones stay near equal ones
_MIN_WEIGHT = 0.01
_MIN_SCORE = 1e-300  # stands for scores of 0

Array = NDArray[np.float64]


@dataclass(frozen=True)
class FittedWeights:
    """The weights of the members, which sum to 1, and how much lower the log loss is with fitted ones than with equal.

    ``gain`` is the mean over recordings that were not fitted on, with its 95 % interval ``ci95``; None if no weights
    were fitted. The weights are the fitted ones only if all of the interval is above 0.
    """

    weights: Sequence[float]
    gain: float | None = None
    ci95: intervals.Ends | None = None


def fit_weights(log_scores: Array, target: NDArray[np.int64], groups: NDArray[np.intp], *, seed: int) -> FittedWeights:
    """Fit weights to the ``log_scores`` (n_members, n, n_labels) of recordings that no member was trained on.

    Weights are fitted without a fifth of the groups (n,) at a time and compared with equal ones there.
    """
    n_members = len(log_scores)
    equal = np.full(n_members, 1 / n_members)
    names = np.unique(groups)
    if len(names) < _MIN_GROUPS:
        return FittedWeights(equal.tolist())
    fold_of = np.random.default_rng(seed).permutation(len(names)) % _FOLDS
    fold = fold_of[np.searchsorted(names, groups)]
    gains = np.empty(len(target))
    for number in range(_FOLDS):
        rest, held_out = fold != number, fold == number
        fitted = _fit(log_scores[:, rest], target[rest])
        some, right = log_scores[:, held_out], target[held_out]
        gains[held_out] = _losses(some, right, equal) - _losses(some, right, fitted)
    sums, counts = np.bincount(groups, weights=gains), np.bincount(groups).astype(np.float64)
    errors = intervals.standard_errors(
        lambda draws: (draws @ sums / (draws @ counts))[:, None], n_groups=len(counts), bootstrap=_BOOTSTRAP, seed=seed
    )
    gain, half = float(gains.mean()), 1.96 * float(errors[0])
    weights = _fit(log_scores, target) if gain - half > 0 else equal
    return FittedWeights([round(float(w), 6) for w in weights], gain, [gain - half, gain + half])


def fit_to_predictions(
    labels: Labels, recordings: Sequence[Recording], members: Sequence[Sequence[RecordingPrediction]]
) -> FittedWeights:
    """Fit weights to the calibrated predictions of each member for ``recordings`` that no member was trained on.

    Recordings that some member cannot score do not count.
    """
    rows = [(r, row) for r, row in zip(recordings, zip(*members, strict=True), strict=True) if _all_scored(row)]
    if not rows:
        return FittedWeights([1 / len(members)] * len(members))
    log_scores = np.log(np.maximum([[one.scores for one in row] for _, row in rows], _MIN_SCORE))
    target = labels.encode(recording.label for recording, _ in rows)
    groups = np.unique([recording.group for recording, _ in rows], return_inverse=True)[1]
    return fit_weights(np.moveaxis(log_scores, 1, 0), target, groups, seed=0)


def _all_scored(row: Sequence[RecordingPrediction]) -> bool:
    return all(one.has_scores for one in row)


def _fit(log_scores: Array, target: NDArray[np.int64]) -> Array:
    """Return the weights with the lowest log loss, which sum to 1; none is below 1 %."""
    with needs_extra("train"):
        from scipy.optimize import minimize

    def cost(logits: Array) -> float:
        prior = 0.5 * np.square(logits / _PRIOR_SD).sum()
        return float(_losses(log_scores, target, _shares(logits)).sum() + prior)

    return _shares(minimize(cost, np.zeros(len(log_scores)), method="Nelder-Mead").x)


def _shares(logits: Array) -> Array:
    shares = np.exp(logits - logits.max())
    shares = np.maximum(shares / shares.sum(), _MIN_WEIGHT)
    return np.asarray(shares / shares.sum())


def _losses(log_scores: Array, target: NDArray[np.int64], weights: Array) -> Array:
    """Return the log loss (n,) of each recording."""
    mean = np.tensordot(weights, log_scores, axes=1)
    mean -= mean.max(axis=1, keepdims=True)
    return np.asarray(np.log(np.exp(mean).sum(axis=1)) - mean[np.arange(len(target)), target])
