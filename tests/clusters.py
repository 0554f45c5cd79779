"""Recordings whose truth is known: right or wrong by groups of uneven sizes, some groups being harder than others."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def draw(
    rng: np.random.Generator, *, n_groups: int, accuracy: float, correlation: float, n_sets: int
) -> tuple[Array, Array]:
    """Return how many recordings are right, and how many there are, by data set and group (n_sets, n_groups).

    A group has 6 recordings in the mean (geometric, 40 at most). Its share of right ones is drawn from a beta
    distribution with mean ``accuracy`` in which two recordings of a group are correlated as asked.
    """
    sizes = np.minimum(rng.geometric(1 / 6, (n_sets, n_groups)), 40)
    share = np.full(sizes.shape, accuracy)
    if correlation > 0:
        known = (1 - correlation) / correlation
        share = rng.beta(accuracy * known, (1 - accuracy) * known, sizes.shape)
    return rng.binomial(sizes, share).astype(np.float64), sizes.astype(np.float64)


def resampled(right: Array, n: Array, *, bootstrap: int, seed: int) -> Array:
    """Return accuracies (n_sets, bootstrap) of resamples of groups, the same draws for all data sets."""
    n_groups = right.shape[1]
    draws = np.random.default_rng(seed).multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=bootstrap)
    return (right @ draws.T) / (n @ draws.T)
