"""The score that is explained: the log-odds of a label.

A probability near 1 hardly changes, whatever is hidden. The logarithm of the odds, p / (1 - p), does change. It is to
base 2: one less means that the odds are halved.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from audiocnn.features.extract import Array
from audiocnn.model.bundle import Bundle

LogOdds = NDArray[np.float64]
Scorer = Callable[[Array], LogOdds]  # raw windows (n, *spec.shape) to log-odds (n,)


def of_logits(
    logits: NDArray[np.floating], label: int, *, temperature: float = 1.0, positive: int | None = None
) -> LogOdds:
    """Return the log-odds (n,) to base 2 of label number ``label``, given logits (n, n_outputs).

    One output is one sigmoid, the score of label number ``positive``; the other label has the opposite log-odds.

    >>> of_logits(np.log([[0.8, 0.1, 0.1]]), 0).round(6).tolist(), of_logits(np.log([[4.0]]), 0, positive=1).tolist()
    ([2.0], [-2.0])
    """
    z = np.asarray(logits, np.float64) / temperature
    if z.shape[1] == 1:
        return (z[:, 0] if label == positive else -z[:, 0]) / np.log(2)
    others = np.delete(z, label, axis=1)
    top = others.max(axis=1)
    return (z[:, label] - top - np.log(np.exp(others - top[:, None]).sum(axis=1))) / np.log(2)


def scorer(model: Bundle, label: int) -> Scorer:
    """Return a function that computes the log-odds of a label with LiteRT."""

    def score(X: Array) -> LogOdds:
        return of_logits(
            model.runtime(X)[0], label, temperature=model.temperature, positive=model.labels.positive_index
        )

    return score
