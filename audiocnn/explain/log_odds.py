"""The score that explanations are about: how strongly windows speak for a label, on a scale without an end.

A probability that is nearly 1 hardly moves whatever is hidden; the logarithm of its odds, p / (1 - p), moves on. Here
it is to base 2: 1 less means that the odds are halved.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from audiocnn.features.extract import Array
from audiocnn.model.bundle import Bundle

LogOdds = NDArray[np.float64]
Ask = Callable[[Array], LogOdds]  # raw windows (n, *spec.shape) to log-odds (n,)


def of_logits(
    logits: NDArray[np.floating], label: int, *, temperature: float = 1.0, positive: int | None = None
) -> LogOdds:
    """Return the log-odds (n,) to base 2 of label number ``label``, given logits (n, n_outputs).

    One output is one sigmoid; it speaks for label number ``positive``, and its opposite for the other.

    >>> of_logits(np.log([[0.8, 0.1, 0.1]]), 0).round(6).tolist(), of_logits(np.log([[4.0]]), 0, positive=1).tolist()
    ([2.0], [-2.0])
    """
    z = np.asarray(logits, np.float64) / temperature
    if z.shape[1] == 1:
        return (z[:, 0] if label == positive else -z[:, 0]) / np.log(2)
    others = np.delete(z, label, axis=1)
    top = others.max(axis=1)
    return (z[:, label] - top - np.log(np.exp(others - top[:, None]).sum(axis=1))) / np.log(2)


def asker(judge: Bundle, label: int) -> Ask:
    """Return the function that asks a model for the log-odds of a label, by LiteRT."""

    def ask(X: Array) -> LogOdds:
        return of_logits(
            judge.runtime(X)[0], label, temperature=judge.temperature, positive=judge.labels.positive_index
        )

    return ask
