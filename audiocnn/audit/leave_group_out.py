"""Score how well measurements predict labels, each recording from the recordings of other groups only.

Takes columns, labels and groups as numbers; returns accuracies, for the true labels or for permuted ones.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MAX_BINS, _MIN_PER_BIN = 20, 5  # of a column of numbers, and recordings in each bin
_PRIOR = 0.5  # pseudocount of every label in every bin (Krichevsky & Trofimov 1981)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class LeaveGroupOutScore:
    """Balanced accuracy of predicting the label, and of predicting each label (n_labels,) against the rest."""

    balanced_accuracy: float
    one_vs_rest: Floats

    @property
    def strength(self) -> float:
        """Skill from chance (0) to certainty (1): for all labels, or for the best one against the rest if higher."""
        chance = 1 / len(self.one_vs_rest)
        return float(max((self.balanced_accuracy - chance) / (1 - chance), 2 * self.one_vs_rest.max() - 1))


class LeaveGroupOut:
    """A leave-one-group-out classifier of binned columns.

    It predicts the label that is most frequent, with equal weight for all labels, among the recordings of other groups
    in the same bin. Several columns are combined as in naive Bayes.
    """

    def __init__(self, columns: Mapping[str, NDArray[Any]], groups: Ints, *, common: int) -> None:
        """Bin the columns, (n,) numbers or words; words of fewer than ``common`` recordings share one bin."""
        self._groups = groups
        self._bins = {name: _bins(column, common) for name, column in columns.items()}
        # The pair of group and bin that each recording is in: its counts are left out for that recording.
        self._pairs = {name: _indexed(groups * (b.max() + 1) + b) for name, b in self._bins.items()}

    def score(
        self, y: Ints, *, combine: Collection[str]
    ) -> tuple[dict[str, LeaveGroupOutScore], LeaveGroupOutScore | None]:
        """Return the score of each column for the labels ``y`` (n,), 0 to n_labels - 1, and of columns combined.

        ``combine`` names the columns to combine; the score is None for fewer than two of them.
        """
        n_labels = int(y.max()) + 1
        others = _counts(y, np.zeros_like(y), n_labels) - _counts(y, self._groups, n_labels)
        scores, combined = {}, []
        for name, b in self._bins.items():
            near = _counts(y, b, n_labels) - _counts(y, self._pairs[name], n_labels)
            evidence = _evidence(near, others, int(b.max()) + 1)
            scores[name] = _score(evidence, y)
            combined += [evidence] if name in combine else []
        return scores, _score(np.sum(combined, axis=0), y) if len(combined) > 1 else None


def permuted_labels(y: Ints, groups: Ints, rng: np.random.Generator) -> Ints:
    """Return labels permuted among the groups that have one label each, and within every other group."""
    label_of = np.full(groups.max() + 1, -1)
    label_of[groups] = y
    mixed = np.zeros(len(label_of), bool)
    mixed[groups[label_of[groups] != y]] = True
    label_of[~mixed] = rng.permutation(label_of[~mixed])
    within = np.empty_like(y)
    within[np.argsort(groups, kind="stable")] = y[np.lexsort((rng.random(len(y)), groups))]
    return np.where(mixed[groups], within, label_of[groups])


def _counts(y: Ints, cells: Ints, n_labels: int) -> Floats:
    """Return how many recordings of each label (n, n_labels) are in the cell of every recording, itself included."""
    table = np.bincount(cells * n_labels + y, minlength=(int(cells.max()) + 1) * n_labels)
    return table.reshape(-1, n_labels)[cells].astype(np.float64)


def _evidence(near: Floats, others: Floats, n_bins: int) -> Floats:
    """Return log-likelihoods (2, n, n_labels) of each recording's bin, given every label and given the others."""
    inside = np.stack([near, near.sum(axis=1, keepdims=True) - near])
    of_all = np.stack([others, others.sum(axis=1, keepdims=True) - others])
    return np.log((inside + _PRIOR) / (of_all + _PRIOR * n_bins))


def _score(evidence: Floats, y: Ints) -> LeaveGroupOutScore:
    truth = y[:, None] == np.arange(evidence.shape[2])
    n = truth.sum(axis=0)
    recall = truth[evidence[0].argmax(axis=1) == y].sum(axis=0) / n
    predicted = evidence[0] > evidence[1]
    one_vs_rest = ((predicted & truth).sum(axis=0) / n + (~predicted & ~truth).sum(axis=0) / (len(y) - n)) / 2
    return LeaveGroupOutScore(float(recall.mean()), one_vs_rest)


def _bins(column: NDArray[Any], common: int) -> Ints:
    """Return bin indices (n,) from 0, with about as many recordings in each bin; equal values share a bin."""
    if column.dtype.kind == "U":
        word = _indexed(column)
        return _indexed(np.where(np.bincount(word)[word] >= common, word, -1))
    n_bins = max(2, min(_MAX_BINS, len(column) // _MIN_PER_BIN))
    edges = np.unique(np.quantile(column, np.linspace(0, 1, n_bins + 1)[1:-1], method="lower"))
    return _indexed(np.searchsorted(edges, column, side="right"))


def _indexed(values: NDArray[Any]) -> Ints:
    """Return indices from 0, the same for equal values."""
    return np.asarray(np.unique(values, return_inverse=True)[1], np.int64)
