"""Which of several networks is best at the same recordings, and which differences could be chance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_DRAWS_AT_A_TIME = 250  # resamples held in memory at once
_DIGITS = 12  # more are rounding errors, which would make equals differ

Counts = NDArray[np.float64]
Interval = tuple[float, float] | None


@dataclass(frozen=True)
class Tally:
    """How many recordings of each group (n_groups,) one network labels right, a mean over seeds, of how many."""

    right: Counts
    n: Counts


@dataclass(frozen=True)
class Standing:
    """Where one network stands: ``rank`` from 1, accuracy, and accuracy minus that of the best.

    Intervals hold 95 % of what comes out when groups are drawn anew; None where there is one group only. ``in_noise``
    says that the interval of the difference includes 0, or that there is none.
    """

    name: str
    rank: int
    accuracy: float
    ci95: Interval
    difference: float
    difference_ci95: Interval
    in_noise: bool


def tally(right: Sequence[bool], groups: Sequence[str], names: Sequence[str]) -> Tally:
    """Count which recordings were ``right`` by their ``groups``, in the order of ``names``.

    >>> tally([True, True, False], ["a", "b", "a"], ["a", "b", "c"]).right.tolist()
    [1.0, 1.0, 0.0]
    """
    index = {name: i for i, name in enumerate(names)}
    rows = np.array([index[group] for group in groups], np.intp)
    return Tally(
        np.bincount(rows, weights=np.asarray(right, np.float64), minlength=len(names)).astype(np.float64),
        np.bincount(rows, minlength=len(names)).astype(np.float64),
    )


def standings(tallies: Mapping[str, Tally], *, bootstrap: int, seed: int) -> list[Standing]:
    """Rank networks that were asked about the same groups, the best first; of equals the one that is given first.

    Every resample draws the same groups for all networks, so that differences are paired: what is hard for all of them
    does not blur them.
    """
    order = sorted(tallies, key=lambda name: -_share(tallies[name]))  # sorted keeps the order of equals
    right = np.stack([tallies[name].right for name in order])
    n = np.stack([tallies[name].n for name in order])
    accuracy = [_share(tallies[name]) for name in order]
    resampled = _resampled(right, n, bootstrap, seed)
    enough = np.count_nonzero(n.any(axis=0)) > 1
    found = []
    for i, name in enumerate(order):
        ci95 = _ends(resampled[:, i]) if enough else None
        apart = _ends(resampled[:, i] - resampled[:, 0]) if enough else None
        found.append(
            Standing(
                name=name,
                rank=i + 1,
                accuracy=accuracy[i],
                ci95=ci95,
                difference=round(accuracy[i] - accuracy[0], _DIGITS),
                difference_ci95=apart,
                in_noise=apart is None or apart[0] <= 0 <= apart[1],
            )
        )
    return found


def _share(one: Tally) -> float:
    return round(float(one.right.sum() / one.n.sum()), _DIGITS)


def _resampled(right: Counts, n: Counts, bootstrap: int, seed: int) -> Counts:
    """Accuracies (n_draws, n_networks) over draws of as many groups as there are, with repetition."""
    rng, n_groups = np.random.default_rng(seed), right.shape[1]
    parts = []
    for first in range(0, bootstrap, _DRAWS_AT_A_TIME):
        size = min(_DRAWS_AT_A_TIME, bootstrap - first)
        draws = rng.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=size).astype(np.float64)
        of = draws @ n.T
        drawn = (of > 0).all(axis=1)  # groups without recordings can be all that is drawn
        parts.append((draws[drawn] @ right.T) / of[drawn])
    return np.concatenate(parts)


def _ends(values: Counts) -> tuple[float, float]:
    low, high = np.percentile(values, [2.5, 97.5]).round(_DIGITS).tolist()
    return low, high
