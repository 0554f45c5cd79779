"""How well labels can be told by measurements, each recording by those of other groups only.

Takes columns, labels and groups as numbers; returns accuracies, for these labels or for any that are dealt to groups.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MOST_BINS, _PER_BIN = 20, 5  # of a column of numbers, and how many recordings in each at least
_PRIOR = 0.5  # recordings of every label that are imagined in every bin (Krichevsky & Trofimov 1981)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class LeaveGroupOutScore:
    """Balanced accuracy of telling all labels, and of telling each one (n_labels,) from the rest."""

    balanced_accuracy: float
    apart: Floats

    @property
    def strength(self) -> float:
        """How far on the way from chance (0) to certainty (1) the labels are told, or one of them if that is more."""
        chance = 1 / len(self.apart)
        return float(max((self.balanced_accuracy - chance) / (1 - chance), 2 * self.apart.max() - 1))


class LeaveGroupOut:
    """Recordings whose labels are to be told.

    A recording gets the label that is most frequent, all labels counting the same, among recordings of other groups
    whose values lie in the same bin; by several columns together as naive Bayes has it.
    """

    def __init__(self, columns: Mapping[str, NDArray[Any]], groups: Ints, *, common: int) -> None:
        """``columns`` are (n,) numbers or words, of which those of fewer than ``common`` recordings are one word."""
        self._groups = groups
        self._bins = {name: _bins(column, common) for name, column in columns.items()}
        # Which of the pairs of group and bin that occur a recording is in: what is to be left out for it.
        self._pairs = {name: _numbered(groups * (b.max() + 1) + b) for name, b in self._bins.items()}

    def tell(
        self, y: Ints, *, together: Collection[str]
    ) -> tuple[dict[str, LeaveGroupOutScore], LeaveGroupOutScore | None]:
        """What each column tells of the labels ``y`` (n,), 0 to n_labels - 1, and what those named tell together.

        The latter is None for fewer than two columns.
        """
        n_labels = int(y.max()) + 1
        others = _counts(y, np.zeros_like(y), n_labels) - _counts(y, self._groups, n_labels)
        told, summed = {}, []
        for name, b in self._bins.items():
            near = _counts(y, b, n_labels) - _counts(y, self._pairs[name], n_labels)
            evidence = _evidence(near, others, int(b.max()) + 1)
            told[name] = _judge(evidence, y)
            summed += [evidence] if name in together else []
        return told, _judge(np.sum(summed, axis=0), y) if len(summed) > 1 else None


def permuted_labels(y: Ints, groups: Ints, rng: np.random.Generator) -> Ints:
    """Labels dealt anew: among groups that have one label each, and among the recordings within any other group."""
    of_group = np.full(groups.max() + 1, -1)
    of_group[groups] = y
    mixed = np.zeros(len(of_group), bool)
    mixed[groups[of_group[groups] != y]] = True
    of_group[~mixed] = rng.permutation(of_group[~mixed])
    within = np.empty_like(y)
    within[np.argsort(groups, kind="stable")] = y[np.lexsort((rng.random(len(y)), groups))]
    return np.where(mixed[groups], within, of_group[groups])


def _counts(y: Ints, places: Ints, n_labels: int) -> Floats:
    """For every recording, how many of each label (n, n_labels) are in its place, itself included."""
    table = np.bincount(places * n_labels + y, minlength=(int(places.max()) + 1) * n_labels)
    return table.reshape(-1, n_labels)[places].astype(np.float64)


def _evidence(near: Floats, others: Floats, n_bins: int) -> Floats:
    """Log-likelihoods (2, n, n_labels) of a recording's bin: for every label, and for the rest of them."""
    inside = np.stack([near, near.sum(axis=1, keepdims=True) - near])
    of_all = np.stack([others, others.sum(axis=1, keepdims=True) - others])
    return np.log((inside + _PRIOR) / (of_all + _PRIOR * n_bins))


def _judge(evidence: Floats, y: Ints) -> LeaveGroupOutScore:
    truth = y[:, None] == np.arange(evidence.shape[2])
    n = truth.sum(axis=0)
    recall = truth[evidence[0].argmax(axis=1) == y].sum(axis=0) / n
    said = evidence[0] > evidence[1]
    apart = ((said & truth).sum(axis=0) / n + (~said & ~truth).sum(axis=0) / (len(y) - n)) / 2
    return LeaveGroupOutScore(float(recall.mean()), apart)


def _bins(column: NDArray[Any], common: int) -> Ints:
    """Numbers (n,) of bins from 0: about as many recordings in each, equals always together."""
    if column.dtype.kind == "U":
        word = _numbered(column)
        return _numbered(np.where(np.bincount(word)[word] >= common, word, -1))
    n_bins = max(2, min(_MOST_BINS, len(column) // _PER_BIN))
    edges = np.unique(np.quantile(column, np.linspace(0, 1, n_bins + 1)[1:-1], method="lower"))
    return _numbered(np.searchsorted(edges, column, side="right"))


def _numbered(values: NDArray[Any]) -> Ints:
    """Equal values by one number, from 0."""
    return np.asarray(np.unique(values, return_inverse=True)[1], np.int64)
