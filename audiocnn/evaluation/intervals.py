"""95 % confidence intervals of figures about grouped recordings.

A bootstrap over groups gives the standard error of a figure; the ends of its interval follow from the standard error
and the number of groups that contribute. `benchmarks/intervals.py` measures how often they contain the true value.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from audiocnn.errors import needs_extra

_BLOCK_RESAMPLES = 250
_BLOCK_VALUES = 1 << 22  # 32 MiB of float64
_ROUNDING = 1e-9  # a smaller standard error is a rounding error
_MAX_LOGIT = 700.0  # the exponential of more overflows float64
_THIRD = 1 / 3  # of a group, see `share_interval`

Array = NDArray[np.float64]
Ends = list[float | None]  # [low, high], or [None, None] if the data define no interval
NO_ENDS: tuple[None, None] = (None, None)


def resamples(n_groups: int, n: int, *, seed: int, width: int = 1) -> Iterator[Array]:
    """Yield, in blocks (n_resamples, n_groups), how often each group is drawn in ``n`` bootstrap resamples.

    ``width`` is the number of values that the caller computes per resample; more values give smaller blocks.

    >>> [block.shape for block in resamples(3, 600, seed=0)]
    [(250, 3), (250, 3), (100, 3)]
    """
    rng = np.random.default_rng(seed)
    block_size = max(1, min(_BLOCK_RESAMPLES, _BLOCK_VALUES // max(n_groups, width)))
    for first in range(0, n, block_size):
        size = min(block_size, n - first)
        drawn = rng.integers(n_groups, size=(size, n_groups)) + n_groups * np.arange(size)[:, None]
        yield np.bincount(drawn.ravel(), minlength=size * n_groups).reshape(size, n_groups).astype(np.float64)


def standard_errors(
    figures: Callable[[Array], Array], *, n_groups: int, bootstrap: int, seed: int, width: int = 1
) -> Array:
    """Return the standard deviation (n_figures,) of figures over ``bootstrap`` resamples of ``n_groups`` groups.

    ``figures`` takes how often each group is drawn (n_resamples, n_groups) and returns (n_resamples, n_figures). It
    returns NaN where a figure is not defined; such resamples are ignored. The result is NaN if fewer than two remain.
    """
    n: Array | float = 0.0
    total: Array | float = 0.0
    squares: Array | float = 0.0
    center: Array | None = None  # subtracted first, so that the difference of squares keeps its digits
    for block in resamples(n_groups, bootstrap, seed=seed, width=width):
        values = figures(block)
        defined = np.isfinite(values)
        if center is None:
            center = np.where(defined, values, 0).sum(axis=0) / np.maximum(defined.sum(axis=0), 1)
        offset = np.where(defined, values - center, 0)
        n, total, squares = n + defined.sum(axis=0), total + offset.sum(axis=0), squares + (offset**2).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = squares / n - (total / n) ** 2
    return np.asarray(np.where(np.asarray(n) > 1, np.sqrt(np.maximum(variance, 0)), np.nan))


def effective_groups(weights: Array) -> float:
    """Return the effective sample size of groups with unequal weights (n_groups,).

    L. Kish, "Survey Sampling", 1965: the squared sum of the weights over the sum of their squares; 0 if all are 0.

    >>> effective_groups(np.array([5.0, 5.0, 5.0])), effective_groups(np.array([98.0, 1.0, 1.0])).__round__(2)
    (3.0, 1.04)
    """
    squares = float((weights**2).sum())
    return float(weights.sum()) ** 2 / squares if squares else 0.0


def share_interval(value: float | None, error: float, weights: Array, student: float | None = None) -> Ends:
    """Return the interval of a figure between 0 and 1; ``weights`` (n_groups,) are the shares of the groups in it.

    ``student`` is the quantile of Student's t; None computes it with SciPy.

    It is Student's t interval of the logit, which stays within 0 and 1, with `effective_groups` - 1 degrees of freedom.
    First, a third of a group with all recordings correct is added, and a third of a group with all wrong: if few groups
    contain an error, resamples underestimate the standard error, and if none does, all resamples are equal. Agresti and
    Coull, The American Statistician 52, 1998, add two of each; a third is the value of Tukey, "Exploratory Data
    Analysis", 1977, for counted fractions.

    >>> cases = ((0.9, 0.05), (1.0, 0.0))
    >>> [[round(end, 3) for end in share_interval(*case, np.ones(20))] for case in cases]
    [[0.727, 0.959], [0.883, 1.0]]
    >>> share_interval(0.9, 0.05, np.ones(1))
    [None, None]
    """
    if not _defined(value, error, weights):
        return list(NO_ENDS)
    assert value is not None
    n = effective_groups(weights)
    total = n + 2 * _THIRD
    middle = (n * value + _THIRD) / total
    spread = math.hypot(n * _unbiased(error, weights), _THIRD * (1 - middle), _THIRD * middle) / total
    half = (_student(n) if student is None else student) * spread / (middle * (1 - middle))
    logit = math.log(middle / (1 - middle))
    return [min(value, _expit(logit - half)), max(value, _expit(logit + half))]


def loss_interval(value: float | None, error: float, weights: Array) -> Ends:
    """Return the interval of a figure that is 0 or more, such as a loss: Student's t interval of its logarithm.

    >>> low, high = loss_interval(0.4, 0.04, np.ones(100))
    >>> round(low, 3), round(high, 3)
    (0.328, 0.488)
    """
    if not _defined(value, error, weights):
        return list(NO_ENDS)
    assert value is not None
    if error < _ROUNDING or value <= 0:
        return [value, value]
    half = min(_student(effective_groups(weights)) * _unbiased(error, weights) / value, _MAX_LOGIT)
    return [value * math.exp(-half), value * math.exp(half)]


def difference_interval(value: float | None, error: float, weights: Array, n_comparisons: int = 1) -> Ends:
    """Return the interval of a difference of two shares, between -1 and 1: `share_interval` of (1 + difference) / 2.

    It is one of ``n_comparisons`` intervals, all of which contain their differences with 95 % (Bonferroni).

    >>> difference_interval(0.0, 0.0, np.ones(20))
    [0.0, 0.0]
    >>> [[round(end, 2) for end in difference_interval(0.1, 0.04, np.ones(20), n)] for n in (1, 28)]
    [[0.0, 0.19], [-0.07, 0.26]]
    """
    if value is None or error < _ROUNDING:
        return [value, value] if _defined(value, error, weights) else list(NO_ENDS)
    student = _student(effective_groups(weights), n_comparisons)
    low, high = share_interval((1 + value) / 2, error / 2, weights, student)
    return list(NO_ENDS) if low is None or high is None else [min(value, 2 * low - 1), max(value, 2 * high - 1)]


def rate_interval(n: float, exposure: float) -> Ends:
    """Return the interval of the rate of a Poisson process with ``n`` events in an ``exposure``, such as hours.

    The exact interval of Garwood, Biometrika 28, 1936. ``n`` need not be an integer, for repeated exposures.

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
    """Correct the bootstrap error of n groups, too small by sqrt(1 - 1 / n) (Hesterberg, Am. Stat. 69, 2015)."""
    n = np.count_nonzero(weights)
    return error * math.sqrt(n / (n - 1))


def _student(n: float, n_comparisons: int = 1) -> float:
    with needs_extra("train"):
        from scipy.special import stdtrit

    return float(stdtrit(max(n - 1, 1), 1 - 0.025 / n_comparisons))


def _expit(x: float) -> float:
    return 1 / (1 + math.exp(-max(x, -_MAX_LOGIT)))
