"""Units: the fixed, non-overlapping stretches of a recording that a person reviews, and the stratum of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from audiocnn.inference.prediction import RecordingPrediction
from audiocnn.labels import Labels

SHORTEST_S = 3.0

Array = NDArray[np.float64]


def unit_s(window_s: float) -> float:
    """Return the length of units: 3 s, or one window if that is longer."""
    return max(SHORTEST_S, window_s)


def unit_scores(prediction: RecordingPrediction, length_s: float) -> Array:
    """Return the highest score of each label in each unit (n_units, n_labels), NaN in a unit without a window.

    A window belongs to the unit that contains its centre.
    """
    n_units = int(np.ceil(prediction.recording_status.duration_s / length_s)) if prediction.has_scores else 0
    scores = np.full((n_units, len(prediction.labels)), np.nan)
    for part in prediction.parts():
        unit = np.minimum((part.starts_s + part.ends_s) / 2 // length_s, n_units - 1).astype(np.int64)
        first = np.flatnonzero(np.diff(unit, prepend=-1))
        highest = np.maximum.reduceat(part.window_scores, first, axis=0)
        scores[unit[first]] = np.fmax(scores[unit[first]], highest)
    return scores


@dataclass(frozen=True)
class Stratum:
    """Units whose highest-scoring label is ``label``, with a score from ``low`` to below ``high``.

    The label is empty for the strata of units without an event, and of other labels than those that are reviewed.
    """

    name: str
    label: str = ""
    low: float = 0.0
    high: float = 0.0


@dataclass(frozen=True)
class Strata:
    """The strata of a review of some ``edges`` of scores by label; the first stratum is "no event".

    A label without edges is not reviewed: its units are in "other labels" from the lowest edge on, or in "no event" if
    it is in ``rest``, the labels that stand for no event.
    """

    labels: Labels
    edges: Mapping[str, Sequence[float]]
    rest: frozenset[str] = frozenset()

    @property
    def lowest(self) -> float:
        return min(edges[0] for edges in self.edges.values())

    @cached_property
    def all(self) -> tuple[Stratum, ...]:
        found = [Stratum("no event")]
        if set(self.labels) - set(self.edges) - self.rest:
            found.append(Stratum("other labels"))
        for label, edges in self.edges.items():
            for low, high in zip(edges, (*edges[1:], 1.0), strict=True):
                found.append(Stratum(f"{label} {low:g} to {high:g}", label, low, high))
        return tuple(found)

    def assign(self, scores: Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the stratum, -1 for a unit without a score, and the index of the label of units (n_units, n_labels).

        Of two labels with a positive one, the positive one is the label of a unit from its lowest edge on.
        """
        known = np.asarray(np.isfinite(scores).all(axis=1))
        label: NDArray[np.int64] = np.argmax(np.where(known[:, None], scores, 0.0), axis=1)
        if self.labels.positive is not None:
            positive = self.labels.index(self.labels.positive)
            label = np.where(scores[:, positive] >= self.lowest, positive, 1 - positive)
        best = scores[np.arange(len(scores)), label]
        stratum = np.zeros(len(scores), np.int64)
        others = next((i for i, one in enumerate(self.all) if one.name == "other labels"), 0)
        for number, name in enumerate(self.labels):
            of_label = np.flatnonzero(label == number)
            if edges := self.edges.get(name):
                first = next(i for i, one in enumerate(self.all) if one.label == name)
                which = np.searchsorted(edges, best[of_label], side="right")
                stratum[of_label] = np.where(which > 0, first + which - 1, 0)
            elif name not in self.rest:
                stratum[of_label] = np.where(best[of_label] >= self.lowest, others, 0)
        return np.where(known, stratum, -1), label
