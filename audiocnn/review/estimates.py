"""What a stratified sample of answered units says about an archive: totals, precision, recall, thresholds.

A stratum h has N_h units, of which some were answered. y is 1 where the true label is the one in question, 0 where it
is not, NaN where that is not known. All figures are about units with the label, not about calls.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from audiocnn.evaluation import intervals

FEWEST = 30  # answered units with a predicted label that estimates for it need
FEWEST_GROUPS = 8  # groups that an interval for new places needs
N_DRAWS, N_RESAMPLES = 10_000, 1_000
_PERCENTILES = (2.5, 97.5)
# The 97.5 % quantile of Student's t with 1, 2, ... degrees of freedom.
_STUDENT = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
    2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
_NORMAL = 1.960
_ROUNDING = 1e-9  # a narrower interval is a rounding error

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Interval = tuple[float, float]


@dataclass(frozen=True)
class Estimate:
    """A figure with its intervals, for this archive and for new places like those in it; None if not known.

    ``unsure`` is the figure if all unsure answers were wrong, and if all were right.
    """

    value: float | None
    ci95_archive: Interval | None = None
    ci95_new_places: Interval | None = None
    unsure: Interval | None = None


@dataclass(frozen=True, eq=False)
class Sample:
    """Drawn and answered units (n,), with the ``stratum``, ``group`` and ``y`` of each, about one label.

    ``n_units`` (n_strata,) are in the archive. ``unsure`` (n,) marks units that a person could not decide.
    """

    stratum: NDArray[np.int64]
    group: NDArray[np.int64]
    y: Floats
    n_units: NDArray[np.int64]
    unsure: Mask = field(default_factory=lambda: np.zeros(0, bool))
    seed: int = 0

    @cached_property
    def known(self) -> Mask:
        return np.isfinite(self.y)

    @cached_property
    def n(self) -> Floats:
        """The number of known answers by stratum (n_strata,)."""
        return np.bincount(self.stratum[self.known], minlength=len(self.n_units)).astype(float)

    @cached_property
    def right(self) -> Floats:
        """The number of known answers with y = 1 by stratum (n_strata,)."""
        return np.bincount(self.stratum[self.known], self.y[self.known], len(self.n_units)).astype(float)

    @cached_property
    def totals(self) -> Floats:
        """N_h times the mean of y, by stratum (n_strata,); NaN where a stratum has units but no answer."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.n_units > 0, self.n_units * self.right / self.n, 0.0)

    @cached_property
    def draws(self) -> tuple[Floats, Floats]:
        """Totals that agree with the answers, for the lower and for the upper end, each (N_DRAWS, n_strata).

        The share of y = 1 in a stratum has the distribution Beta(y + 1/2, n - y + 1/2). As the archive is finite, only
        its N - n other units are uncertain: how many of them have y = 1 is drawn from a binomial distribution.

        The prior pulls the share of a stratum towards one half. Over many strata that pull adds up, and can exceed the
        spread of the draws. So where the mean of a stratum's draws is above the estimate, those for the lower end are
        moved down to it, and where it is below, those for the upper end are moved up, as far as the answers allow.
        `benchmarks/review.py` measures the coverage.
        """
        rng = np.random.default_rng(self.seed)
        shares = rng.beta(self.right + 0.5, self.n - self.right + 0.5, size=(N_DRAWS, len(self.n)))
        found = self.right + rng.binomial(self.n_units - self.n.astype(np.int64), shares)
        pull = np.nan_to_num(found.mean(axis=0) - self.totals)
        most = self.n_units - self.n + self.right
        low, high = (np.clip(found - by, self.right, most) for by in (np.maximum(pull, 0), np.minimum(pull, 0)))
        return low, high

    @cached_property
    def by_group(self) -> tuple[Floats, Floats]:
        """Estimated units with y = 1, and all units, each (n_groups, n_strata), of the groups with an answer."""
        _, group = np.unique(self.group[self.known], return_inverse=True)
        stratum, n_groups, n_strata = self.stratum[self.known], int(group.max(initial=-1)) + 1, len(self.n_units)
        weight = (self.n_units / np.maximum(self.n, 1))[stratum]
        cell, size = group * n_strata + stratum, n_groups * n_strata
        sums = (np.bincount(cell, values, size) for values in (weight * self.y[self.known], weight))
        positive, units = (one.astype(float).reshape(n_groups, n_strata) for one in sums)
        return positive, units

    def with_unsure(self, value: float) -> "Sample":
        """Return this sample with all unsure answers 0 or 1."""
        y = np.where(self.unsure, value, self.y) if len(self.unsure) else self.y
        return Sample(self.stratum, self.group, y, self.n_units, seed=self.seed)


def positive_units(sample: Sample, strata: Mask) -> Estimate:
    """Return the number of units with y = 1 in some ``strata`` (n_strata,)."""
    value = _total(sample, strata)
    low, high = (draws[:, strata].sum(axis=1) for draws in sample.draws)
    ends = _interval(low, high, value)
    least, most = (_total(sample.with_unsure(y), strata) for y in (0.0, 1.0))
    return Estimate(value, ends, unsure=_bounds(sample, least, most))


def precision(sample: Sample, strata: Mask) -> Estimate:
    """Return the share of the units in ``strata`` (n_strata,) that have y = 1."""
    n_units = int(sample.n_units[strata].sum())
    if not n_units:
        return Estimate(None)

    def share(one: Sample) -> float | None:
        total = _total(one, strata)
        return None if total is None else total / n_units

    low, high = (draws[:, strata].sum(axis=1) / n_units for draws in sample.draws)
    ends = _interval(low, high, share(sample))
    positive, units = (table[:, strata].sum(axis=1) for table in sample.by_group)
    least, most = (share(sample.with_unsure(y)) for y in (0.0, 1.0))
    return Estimate(share(sample), ends, _new_places(positive, units, sample.seed), _bounds(sample, least, most))


def recall(sample: Sample, strata: Mask, among: Mask) -> Estimate:
    """Return the share of the units with y = 1 in the strata ``among`` (n_strata,) that are in ``strata``."""

    def share(one: Sample) -> float | None:
        part, whole = _total(one, strata), _total(one, among)
        return part / whole if part is not None and whole else None

    if (value := share(sample)) is None:
        return Estimate(None)
    rest, (low, high) = among & ~strata, sample.draws
    with np.errstate(invalid="ignore"):  # a low recall has few units in these strata and many in the others
        ends = _interval(_share(low[:, strata], high[:, rest]), _share(high[:, strata], low[:, rest]), value)
    positive = sample.by_group[0]
    new_places = _new_places(positive[:, strata].sum(axis=1), positive[:, among].sum(axis=1), sample.seed)
    # The lowest recall has all unsure units of these strata wrong and all others right, and the highest the opposite.
    inside = strata[sample.stratum]
    least, most = (
        share(Sample(sample.stratum, sample.group, np.where(sample.unsure, y, sample.y), sample.n_units))
        if len(sample.unsure)
        else None
        for y in (np.where(inside, 0.0, 1.0), np.where(inside, 1.0, 0.0))
    )
    return Estimate(value, ends, new_places, _bounds(sample, least, most))


def threshold(edges: Sequence[float], precisions: Sequence[Estimate], wanted: float) -> float | None:
    """Return the lowest edge from which the lower end of precision is at least ``wanted``, there and at all higher.

    An edge above all units has no precision and is passed over.

    >>> found = [Estimate(0.7, (0.6, 0.8)), Estimate(0.9, (0.85, 0.95)), Estimate(0.95, (0.9, 1.0)), Estimate(None)]
    >>> threshold((0.2, 0.5, 0.8, 0.9), found, 0.85), threshold((0.2, 0.5, 0.8, 0.9), found, 0.99)
    (0.5, None)
    """
    chosen = None
    for edge, one in reversed(list(zip(edges, precisions, strict=True))):
        if one.ci95_archive is None:
            continue
        if one.ci95_archive[0] < wanted:
            break
        chosen = edge
    return chosen


def _total(sample: Sample, strata: Mask) -> float | None:
    total = float(sample.totals[strata].sum())
    return total if math.isfinite(total) else None


def _bounds(sample: Sample, low: float | None, high: float | None) -> Interval | None:
    return (low, high) if len(sample.unsure) and sample.unsure.any() and low is not None and high is not None else None


def _share(part: Floats, rest: Floats) -> Floats:
    """Return the part (n_draws, n) of the whole that it makes with the rest (n_draws, m), summed by draw."""
    total = part.sum(axis=1)
    return np.asarray(total / (total + rest.sum(axis=1)))


def _interval(low: Floats, high: Floats, value: float | None) -> Interval | None:
    """Return the interval of a figure from the draws for its lower and its upper end; None without an estimate."""
    low, high = low[np.isfinite(low)], high[np.isfinite(high)]
    if value is None or not len(low) or not len(high):
        return None
    ends = (
        min(float(np.percentile(low, _PERCENTILES[0])), value),
        max(float(np.percentile(high, _PERCENTILES[1])), value),
    )
    return (value, value) if ends[1] - ends[0] < _ROUNDING else ends


def _new_places(part: Floats, whole: Floats, seed: int) -> Interval | None:
    """Return the interval of the ratio of two totals (n_groups,) from a bootstrap of the groups; None if too few."""
    there = whole > 0
    part, whole = part[there], whole[there]
    if len(whole) < FEWEST_GROUPS:
        return None

    def ratios(drawn: Floats) -> Floats:
        with np.errstate(invalid="ignore"):
            return (drawn @ part / (drawn @ whole))[:, None]

    (error,) = intervals.standard_errors(ratios, n_groups=len(whole), bootstrap=N_RESAMPLES, seed=seed)
    value = float(part.sum() / whole.sum())
    low, high = intervals.share_interval(value, float(error), whole, _student(intervals.effective_groups(whole) - 1))
    return None if low is None or high is None else (low, high)


def _student(freedom: float) -> float:
    """Return the 97.5 % quantile of Student's t, with ``freedom`` rounded down: SciPy comes only with an extra."""
    whole = max(1, int(freedom))
    return _STUDENT[whole - 1] if whole <= len(_STUDENT) else _NORMAL + 2.4 / whole
