"""ROC AUC and average precision of scores when groups count more than once: for thousands of resamples at a time."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Ranked:
    """Scores from the highest to the lowest: the group of each (n,), whether it is positive, and where ties end."""

    group: NDArray[np.intp]
    is_positive: NDArray[np.bool_]
    ends: NDArray[np.intp]

    def figures(self, draws: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return ROC AUC and average precision (n_draws, 2) for groups counted as ``draws`` (n_draws, n_groups) says.

        The definitions of `sklearn.metrics.roc_auc_score` and `average_precision_score`; NaN where only positives or
        only others are drawn. Whole numbers below 2**24 are exact in float32.
        """
        weight = draws.astype(np.float32)[:, self.group]
        every = np.cumsum(weight, axis=1)[:, self.ends]
        weight *= self.is_positive
        positive = np.cumsum(weight, axis=1)[:, self.ends]
        gained = np.diff(positive, axis=1, prepend=np.float32(0))
        n_positive = positive[:, -1].astype(np.float64)
        n_other = every[:, -1] - n_positive
        precision = positive / np.maximum(every, 1)
        other = every - positive
        beaten = n_other.astype(np.float32)[:, None] - other + np.diff(other, axis=1, prepend=np.float32(0)) / 2
        with np.errstate(divide="ignore", invalid="ignore"):
            auc = np.einsum("ij,ij->i", gained, beaten, dtype=np.float64) / (n_positive * n_other)
            ap = np.einsum("ij,ij->i", gained, precision, dtype=np.float64) / n_positive
        both = (n_positive > 0) & (n_other > 0)
        return np.where(both[:, None], np.stack([auc, ap], axis=1), np.nan)


def rank(score: NDArray[np.float64], is_positive: NDArray[np.bool_], group: NDArray[np.intp]) -> Ranked:
    """Sort scores (n,) for `Ranked`.

    >>> ranked = rank(np.array([0.9, 0.5, 0.1]), np.array([True, False, True]), np.array([0, 1, 2]))
    >>> ranked.figures(np.array([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]])).round(3).tolist()
    [[0.5, 0.833], [1.0, 1.0]]
    """
    order = np.argsort(-score, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))
    return Ranked(group[order], is_positive[order], ends)
