"""How often each label is given, true and rightly given, group by group; accuracy and F1 of any weighting of groups.

Three counts a group and label are enough for thousands of resamples in one matrix product, where a confusion matrix a
group would not fit in memory.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audiocnn.labels import Labels

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Counts:
    """``right``, ``true`` and ``given`` are (n, n_labels + 1), n groups or resamples; the last is any other text."""

    right: Array
    true: Array
    given: Array

    def of(self, draws: Array) -> "Counts":
        """Return the counts when groups count as often as ``draws`` (n_draws, n_groups) says, a row a draw."""
        return Counts(draws @ self.right, draws @ self.true, draws @ self.given)

    @property
    def asked(self) -> Array:
        """How many there are (n,)."""
        return np.asarray(self.true.sum(axis=1))

    def accuracy(self) -> Array:
        """Share of all that is right (n,); NaN of none. What is not one of the labels is never right."""
        return _ratio(self.right[:, :-1].sum(axis=1), self.asked)

    def precision(self) -> Array:
        """(n, n_labels), NaN for a label that is never given."""
        return _ratio(self.right, self.given)[:, :-1]

    def recall(self) -> Array:
        """(n, n_labels), NaN for a label that is never true."""
        return _ratio(self.right, self.true)[:, :-1]

    def f1(self) -> Array:
        """(n, n_labels), NaN for a label that is neither given nor true."""
        return _ratio(2 * self.right, self.true + self.given)[:, :-1]

    def macro_f1(self) -> Array:
        """Mean F1 (n,) over the labels that are given or true, as `sklearn.metrics.f1_score` has it; NaN of none."""
        f1 = self.f1()
        n = np.isfinite(f1).sum(axis=1)
        return np.where(self.asked > 0, np.nansum(f1, axis=1) / np.maximum(n, 1), np.nan)


def count(truth: Sequence[str], given: Sequence[str], group: NDArray[np.intp], labels: Labels, n_groups: int) -> Counts:
    """Count by group, ``group`` (n,) being numbers below ``n_groups``.

    >>> count(["a", "b"], ["a", "a"], np.array([0, 0]), Labels(("a", "b")), 1).macro_f1().round(3).tolist()
    [0.333]
    """
    true, said = (labels.encode(names, unknown=len(labels)) for names in (truth, given))

    def counted(which: NDArray[np.intp], of: NDArray[np.intp]) -> Array:
        cells = np.bincount(of * (len(labels) + 1) + which, minlength=n_groups * (len(labels) + 1))
        return cells.reshape(n_groups, -1).astype(np.float64)

    right = true == said
    return Counts(counted(true[right], group[right]), counted(true, group), counted(said, group))


def _ratio(part: Array, whole: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(whole > 0, part / whole, np.nan))
