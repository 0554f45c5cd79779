"""How far scores are from the share that is right: the expected calibration error, and the bins it is made of.

Takes the score of what was said (n,) and whether it was right (n,). The report draws the same bins.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOST_BINS = 10
LEAST_IN_BIN = 15  # on average; fewer bins where there are fewer scores
_VALUES_AT_A_TIME = 1 << 20

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Bin:
    """``n`` scores between ``low`` and ``high``: their mean, and the share of them that is right.

    Bins adjoin half-way between their scores; the first begins with the lowest score, the last ends with the highest.
    """

    low: float
    high: float
    n: int
    mean_score: float
    share_right: float


def calibration_bins(score: Array, right: NDArray[np.bool_] | Array) -> list[Bin]:
    """Return bins of about as many scores each, in rising order; equal scores are never parted.

    There are at most `MOST_BINS`, of at least `LEAST_IN_BIN` scores on average.

    >>> [(b.n, b.mean_score, b.share_right) for b in calibration_bins(np.array([0.5, 0.75]), np.array([False, True]))]
    [(2, 0.625, 0.5)]
    """
    order = np.argsort(score, kind="stable")
    score, right = np.asarray(score, np.float64)[order], np.asarray(right, np.float64)[order]
    starts = _starts(score)
    ends = [*starts[1:], len(score)]
    return [
        Bin(
            low=float(score[0] if first == 0 else (score[first - 1] + score[first]) / 2),
            high=float(score[-1] if end == len(score) else (score[end - 1] + score[end]) / 2),
            n=int(end - first),
            mean_score=float(score[first:end].mean()),
            share_right=float(right[first:end].mean()),
        )
        for first, end in zip(starts, ends, strict=True)
    ]


def bin_numbers(score: Array) -> NDArray[np.intp]:
    """Return for every score (n,) the number of its bin, from 0."""
    order = np.argsort(score, kind="stable")
    begins = np.zeros(len(score), np.intp)
    begins[_starts(score[order])[1:]] = 1
    numbers = np.empty(len(score), np.intp)
    numbers[order] = np.cumsum(begins)
    return numbers


def expected_calibration_error(score: Array, right: NDArray[np.bool_] | Array) -> float:
    """Return the mean distance between score and share right over `calibration_bins`, weighted by their size.

    The calibration error of Guo et al., "On calibration of modern neural networks", ICML 2017, over bins of equal mass
    as in Nguyen and O'Connor, EMNLP 2015, and Nixon et al., "Measuring calibration in deep learning", CVPR Workshops
    2019: bins of equal width leave most of them nearly empty.

    >>> expected_calibration_error(np.array([0.9, 0.9]), np.array([True, False])).__round__(3)
    0.4
    """
    return sum(b.n * abs(b.share_right - b.mean_score) for b in calibration_bins(score, right)) / len(score)


def perfect_calibration(score: Array, *, n_draws: int = 1_000, seed: int = 0) -> Array:
    """Return the calibration errors (n_draws,) of a model that has these scores and is right exactly so often.

    What was said is right with the probability of its score, drawn anew each time. Of few scores the error is well
    above 0 even so (Bröcker and Smith, "Increasing the reliability of reliability diagrams", 2007).

    >>> float(perfect_calibration(np.full(50, 0.8)).mean().round(3))
    0.045
    """
    score = np.sort(score)
    starts = _starts(score)
    rng = np.random.default_rng(seed)
    at_a_time = max(1, _VALUES_AT_A_TIME // len(score))
    found = []
    for first in range(0, n_draws, at_a_time):
        right = rng.random((min(at_a_time, n_draws - first), len(score))) < score
        gaps = np.add.reduceat(right - score, starts, axis=1)
        found.append(np.abs(gaps).sum(axis=1) / len(score))
    return np.concatenate(found)


def _starts(score: Array) -> list[int]:
    """Where bins of the sorted scores begin."""
    n = len(score)
    n_bins = min(max(n // LEAST_IN_BIN, 1), MOST_BINS)
    wanted = np.round(np.arange(n_bins) * n / n_bins).astype(int)
    parted = np.flatnonzero(np.diff(score)) + 1  # where a bin may begin
    nearest = {int(parted[np.argmin(np.abs(parted - at))]) for at in wanted[1:]} if len(parted) else set()
    return sorted({0} | nearest) if n else []
