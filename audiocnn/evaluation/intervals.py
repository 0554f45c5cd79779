"""95 % intervals of figures about recordings that come in groups.

Groups are drawn anew, with repetition, to learn how far a figure would move; its standard error and the number of
groups that speak for it become the two ends. `benchmarks/intervals.py` measures how often they hold the truth.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from audiocnn.errors import needs_extra

_RESAMPLES_AT_A_TIME = 250
_VALUES_AT_A_TIME = 1 << 22  # 32 MiB of float64
_ROUNDING = 1e-9  # a standard error below it is that of the arithmetic
_MOST_LOGIT = 700.0  # more has no exponential in float64
_THIRD = 1 / 3  # of a group, see `share_interval`

Array = NDArray[np.float64]
Ends = list[float | None]  # [low, high], or [None, None] where the data define none
NO_ENDS: tuple[None, None] = (None, None)


def resamples(n_groups: int, n: int, *, seed: int, width: int = 1) -> Iterator[Array]:
    """Yield, in blocks (n_resamples, n_groups), how often each group is drawn in ``n`` resamples.

    ``width`` is how many values the caller will hold for each resample: the more, the smaller the blocks.

    >>> [block.shape for block in resamples(3, 600, seed=0)]
    [(250, 3), (250, 3), (100, 3)]
    """
    rng = np.random.default_rng(seed)
    at_a_time = max(1, min(_RESAMPLES_AT_A_TIME, _VALUES_AT_A_TIME // max(n_groups, width)))
    for first in range(0, n, at_a_time):
        size = min(at_a_time, n - first)
        drawn = rng.integers(n_groups, size=(size, n_groups)) + n_groups * np.arange(size)[:, None]
        yield np.bincount(drawn.ravel(), minlength=size * n_groups).reshape(size, n_groups).astype(np.float64)


def standard_errors(
    figures: Callable[[Array], Array], *, n_groups: int, bootstrap: int, seed: int, width: int = 1
) -> Array:
    """Return the standard deviation (n_figures,) of figures over ``bootstrap`` resamples of ``n_groups`` groups.

    ``figures`` takes how often each group counts (n_resamples, n_groups) and returns (n_resamples, n_figures), NaN
    where a figure is not defined; such resamples are left out. NaN where fewer than two are left.
    """
    n: Array | float = 0.0
    total: Array | float = 0.0
    squares: Array | float = 0.0
    usual: Array | None = None  # subtracted first, so that the difference of squares keeps its digits
    for block in resamples(n_groups, bootstrap, seed=seed, width=width):
        values = figures(block)
        defined = np.isfinite(values)
        if usual is None:
            usual = np.where(defined, values, 0).sum(axis=0) / np.maximum(defined.sum(axis=0), 1)
        apart = np.where(defined, values - usual, 0)
        n, total, squares = n + defined.sum(axis=0), total + apart.sum(axis=0), squares + (apart**2).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = squares / n - (total / n) ** 2
    return np.asarray(np.where(np.asarray(n) > 1, np.sqrt(np.maximum(variance, 0)), np.nan))


def effective_groups(weights: Array) -> float:
    """Return how many groups of equal weight would be as good as these, whose weights (n_groups,) are uneven.

    L. Kish, "Survey Sampling", 1965: the squared sum of the weights by the sum of their squares. 0 without any weight.

    >>> effective_groups(np.array([5.0, 5.0, 5.0])), effective_groups(np.array([98.0, 1.0, 1.0])).__round__(2)
    (3.0, 1.04)
    """
    squares = float((weights**2).sum())
    return float(weights.sum()) ** 2 / squares if squares else 0.0


def share_interval(value: float | None, error: float, weights: Array) -> Ends:
    """Return the ends for a figure between 0 and 1 of which ``weights`` (n_groups,) says how much rests on each group.

    The interval of Student's t is taken of the logit, so that it stays within 0 and 1, with `effective_groups` - 1
    degrees of freedom. Before, a third of a group is added that is all right and another that is all wrong, since where
    few groups hold a mistake, resamples make too little of them (Agresti and Coull, The American Statistician 52, 1998,
    add two of each; a third is that of Tukey, "Exploratory Data Analysis", 1977, for counted fractions), and where none
    does, all resamples are the same.

    >>> [[round(end, 3) for end in share_interval(*of, np.ones(20))] for of in ((0.9, 0.05), (1.0, 0.0))]
    [[0.727, 0.959], [0.883, 1.0]]
    >>> share_interval(0.9, 0.05, np.ones(1))
    [None, None]
    """
    if not _defined(value, error, weights):
        return list(NO_ENDS)
    assert value is not None
    n = effective_groups(weights)
    of_all = n + 2 * _THIRD
    middle = (n * value + _THIRD) / of_all
    spread = math.hypot(n * _unbiased(error, weights), _THIRD * (1 - middle), _THIRD * middle) / of_all
    half = _student(n) * spread / (middle * (1 - middle))
    logit = math.log(middle / (1 - middle))
    return [min(value, _expit(logit - half)), max(value, _expit(logit + half))]


def loss_interval(value: float | None, error: float, weights: Array) -> Ends:
    """Return the ends for a figure from 0 upward, such as a loss: the interval of Student's t of its logarithm.

    >>> low, high = loss_interval(0.4, 0.04, np.ones(100))
    >>> round(low, 3), round(high, 3)
    (0.328, 0.488)
    """
    if not _defined(value, error, weights):
        return list(NO_ENDS)
    assert value is not None
    if error < _ROUNDING or value <= 0:
        return [value, value]
    half = min(_student(effective_groups(weights)) * _unbiased(error, weights) / value, _MOST_LOGIT)
    return [value * math.exp(-half), value * math.exp(half)]


def difference_interval(value: float | None, error: float, weights: Array) -> Ends:
    """Return the ends for a difference of two shares, between -1 and 1: `share_interval` of (1 + difference) / 2.

    >>> difference_interval(0.0, 0.0, np.ones(20))
    [0.0, 0.0]
    """
    if value is None or error < _ROUNDING:
        return [value, value] if _defined(value, error, weights) else list(NO_ENDS)
    low, high = share_interval((1 + value) / 2, error / 2, weights)
    return list(NO_ENDS) if low is None or high is None else [min(value, 2 * low - 1), max(value, 2 * high - 1)]


def rate_interval(n: float, exposure: float) -> Ends:
    """Return the ends for ``n`` events in an ``exposure``, such as hours, that come one by one: a Poisson process.

    The exact interval of Garwood, Biometrika 28, 1936. Of repeated exposure ``n`` need not be whole.

    >>> [round(end, 2) for end in rate_interval(0, 1.0)], [round(end, 2) for end in rate_interval(10, 2.0)]
    ([0.0, 3.69], [2.4, 9.2])
    """
    with needs_extra("train"):
        from scipy.special import gammaincinv

    low = float(gammaincinv(n, 0.025)) if n > 0 else 0.0
    return [low / exposure, float(gammaincinv(n + 1, 0.975)) / exposure]


def _defined(value: float | None, error: float, weights: Array) -> bool:
    return value is not None and math.isfinite(error) and int(np.count_nonzero(weights)) > 1


def _unbiased(error: float, weights: Array) -> float:
    """Resamples of n groups spread by sqrt(1 - 1 / n) too little (Hesterberg, The American Statistician 69, 2015)."""
    n = np.count_nonzero(weights)
    return error * math.sqrt(n / (n - 1))


def _student(n: float) -> float:
    with needs_extra("train"):
        from scipy.special import stdtrit

    return float(stdtrit(max(n - 1, 1), 0.975))


def _expit(x: float) -> float:
    return 1 / (1 + math.exp(-max(x, -_MOST_LOGIT)))
