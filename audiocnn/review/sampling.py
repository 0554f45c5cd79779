"""Which units to review: edges of score bins, sample sizes of strata, systematic draws, and the reserved groups.

A unit is a fixed stretch of a recording. Its stratum is its highest-scoring label and the bin of that score. All is
fixed before anybody answers, so that the chance of every unit is known.
"""

import hashlib
from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

# Edges of score bins, from fine to coarse; units below the first edge are "no event".
EDGES = ((0.2, 0.5, 0.8, 0.9, 0.97), (0.2, 0.5, 0.9), (0.5, 0.9), (0.5,))
LEAST = 10  # units drawn of each stratum, or all of it
LEAST_GROUPS = 5  # fewer groups have no reserved part
_RESERVED = 5  # one group in so many
_CLOSE = 0.02  # an edge so near a threshold gives way to it

Counts = NDArray[np.int64]


def edges_with(thresholds: Collection[float], usual: Sequence[float] = EDGES[0]) -> tuple[float, ...]:
    """Return the ``usual`` edges of score bins, with the ``thresholds`` in question among them.

    >>> edges_with([0.79, 0.6])
    (0.2, 0.5, 0.6, 0.79, 0.9, 0.97)
    """
    wanted = {float(threshold) for threshold in thresholds if 0 < threshold < 1}
    kept = {edge for edge in usual if all(abs(edge - threshold) >= _CLOSE for threshold in wanted)}
    return tuple(sorted(kept | wanted))


def sample_sizes(n_units: Sequence[int], n_clips: int) -> Counts:
    """Return how many units to draw of each stratum (n_strata,); the first stratum, "no event", has two shares.

    Each gets at least `LEAST`, or all of its units, even if that is more than ``n_clips`` in all.

    >>> sample_sizes([50_000, 300, 5, 400], 100).tolist()
    [47, 24, 5, 24]
    """
    sizes = np.asarray(n_units, np.int64)
    taken = np.minimum(sizes, LEAST)
    shares = np.where(np.arange(len(sizes)) == 0, 2.0, 1.0)
    for _ in range(max(0, n_clips - int(taken.sum()))):
        open_ = taken < sizes
        if not open_.any():
            break
        taken[int(np.argmin(np.where(open_, taken / shares, np.inf)))] += 1
    return taken


def systematic(n_units: int, n_drawn: int, rng: np.random.Generator) -> Counts:
    """Return the sorted places (n_drawn,) of units, one in each of equal intervals; the chance of each is n / N.

    >>> systematic(10, 3, np.random.default_rng(0)).tolist()
    [2, 5, 8]
    """
    return np.floor((np.arange(n_drawn) + rng.random()) * n_units / max(n_drawn, 1)).astype(np.int64)


def reserved_groups(groups: Collection[str], seed: int, trained_on: Collection[str] = ()) -> frozenset[str]:
    """Return the groups that no training may use: those whose SHA-256 with the ``seed`` is in the lowest fifth.

    Groups that were ``trained_on`` are never reserved. There are none below `LEAST_GROUPS` groups.

    >>> sorted(reserved_groups([f"site {i}" for i in range(10)], seed=0))
    ['site 3', 'site 4', 'site 5']
    """
    if len(set(groups)) < LEAST_GROUPS:
        return frozenset()
    lowest = 2**256 // _RESERVED
    return frozenset(
        group
        for group in groups
        if group not in trained_on and int(hashlib.sha256(f"{seed}{group}".encode()).hexdigest(), 16) < lowest
    )
