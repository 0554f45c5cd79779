"""The result of a review: estimates for each label from the draw and the answers, as ``review.json`` holds them."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiocnn.model.decision import MeasuredLabel, OperatingPoint
from audiocnn.review import estimates
from audiocnn.review.answers import Answer, holds
from audiocnn.review.draw import Draw, DrawnUnit
from audiocnn.review.estimates import FEWEST, Estimate, Sample
from audiocnn.specs import EventSpec

SCHEMA = "audiocnn.review/1"


@dataclass(frozen=True)
class Edge:
    """The figures of a label for units with at least a score of ``threshold``, of which ``n_units`` are in the archive.

    ``n_answered`` of them were answered. ``recall`` is of all units with the label, ``recall_above_floor`` only of
    those that have the label as the predicted one with a score of at least the lowest edge.
    """

    threshold: float
    n_units: int
    n_answered: int
    precision: Estimate
    false_alarms_per_hour: float | None
    recall: Estimate
    recall_above_floor: Estimate

    def as_dict(self) -> dict[str, Any]:
        found = asdict(self)
        return {"threshold": found.pop("threshold"), **found.pop("precision"), **found}


@dataclass(frozen=True)
class LabelResult:
    """What the answers say about a label.

    ``n_reviewed`` are the answered units with this predicted label; below `FEWEST` there are no ``edges``. The
    ``threshold`` has the wanted precision on the unreserved answers, or is None; ``quoted`` are its figures on the
    reserved ones, None if those are too few or nothing is reserved.
    """

    label: str
    n_reviewed: int
    edges: tuple[Edge, ...]
    positive_units: Estimate
    threshold: float | None
    quoted: Edge | None

    @property
    def too_few(self) -> bool:
        return self.n_reviewed < FEWEST

    @property
    def at_threshold(self) -> Edge | None:
        """The figures on all answers at the threshold."""
        return next((edge for edge in self.edges if edge.threshold == self.threshold), None)

    def as_dict(self) -> dict[str, Any]:
        return {
            "n_reviewed": self.n_reviewed,
            "too_few": self.too_few,
            "precision": [edge.as_dict() for edge in self.edges],
            "threshold": self.threshold,
            "threshold_reserved": None if self.quoted is None else self.quoted.as_dict(),
            "positive_units": asdict(self.positive_units),
        }


@dataclass(frozen=True)
class ReviewResult:
    """The result of a review so far, for a wanted precision of thresholds."""

    draw: Draw
    answers: Mapping[str, Answer]
    labels: tuple[LabelResult, ...]
    wanted_precision: float

    @property
    def answered(self) -> list[tuple[DrawnUnit, Answer]]:
        return [(unit, self.answers[unit.clip]) for unit in self.draw.units if unit.clip in self.answers]

    @property
    def confusions(self) -> list[tuple[str, str, int]]:
        """Predicted label, true label, and number of answered units, the most frequent first."""
        counts: Counter[tuple[str, str]] = Counter()
        for unit, answer in self.answered:
            truth = answer.truth(unit.label)
            if truth is not None and unit.label not in truth and self.draw.strata[unit.stratum].label:
                counts.update((unit.label, true) for true in sorted(truth) or ["none of the labels"])
        return [(*names, n) for names, n in counts.most_common()]

    def as_dict(self) -> dict[str, Any]:
        draw, answered = self.draw, self.answered
        reserved = [unit for unit, _ in answered if unit.reserved]
        return {
            "schema": SCHEMA,
            "model": draw.model,
            "n_units": sum(map(sum, draw.n_units)),
            "unit_s": draw.unit_s,
            "hours": sum(draw.hours),
            "n_recordings": draw.n_recordings,
            "n_groups": draw.n_groups,
            "grouped_by": draw.grouped_by,
            "n_drawn": len(draw.units),
            "n_answered": len(answered),
            "n_unsure": sum(answer.kind == "unsure" for _, answer in answered),
            "wanted_precision": self.wanted_precision,
            "labels": {one.label: one.as_dict() for one in self.labels},
            "confusions": [{"predicted": predicted, "true": true, "n": n} for predicted, true, n in self.confusions],
            "reserved": {
                "n_groups": len(set(draw.reserved.values())),
                "n_recordings": len(draw.reserved),
                "n_units": sum(draw.n_units[1]),
                "n_answered": len(reserved),
            },
        }

    def operating_point(self) -> OperatingPoint | None:
        """Return the thresholds to store in the model; None if no label has one."""
        chosen = {one.label: edge for one in self.labels if (edge := one.at_threshold) is not None}
        if not chosen:
            return None
        return OperatingPoint(
            thresholds={label: edge.threshold for label, edge in chosen.items()},
            smooth_s=0.0,
            min_duration_s=0.0,
            max_gap_s=EventSpec().max_gap_s,
            wanted_false_alarms=max(edge.false_alarms_per_hour or 0.0 for edge in chosen.values()),
            hours=sum(self.draw.hours),
            background="archive",
            snr_db=(0.0, 0.0),
            seed=self.draw.seed,
            measured={label: self._measured(label, edge) for label, edge in chosen.items()},
            model=self.draw.model,
        )

    def _measured(self, label: str, edge: Edge) -> MeasuredLabel:
        positive = [
            (unit, self.draw.strata[unit.stratum])
            for unit, answer in self.answered
            if answer.holds(label, unit.label) == 1
        ]
        return MeasuredLabel(
            n_events=len(positive),
            n_found=sum(stratum.label == label and stratum.low >= edge.threshold for _, stratum in positive),
            n_groups=len({unit.group for unit, _ in positive}),
            recall=edge.recall.value or 0.0,
            false_alarms_per_hour=edge.false_alarms_per_hour or 0.0,
            within_limit=True,
        )


def estimate(draw: Draw, answers: Mapping[str, Answer], *, wanted_precision: float) -> ReviewResult:
    """Return the result of a review with the answers so far."""
    labels = tuple(_label_result(draw, answers, label, wanted_precision) for label in draw.reviewed)
    return ReviewResult(draw, answers, labels, wanted_precision)


def _label_result(draw: Draw, answers: Mapping[str, Answer], label: str, wanted: float) -> LabelResult:
    of_label = np.array([stratum.label == label for stratum in draw.strata])
    given = [unit for unit in draw.units if unit.clip in answers]
    n_reviewed = sum(bool(of_label[unit.stratum]) for unit in given)
    if n_reviewed < FEWEST:
        return LabelResult(label, n_reviewed, (), Estimate(None), None, None)
    whole = _sample(draw, answers, label, given)
    edges = _edges(draw, whole, label, sum(draw.hours))
    positive = estimates.positive_units(whole, np.ones(len(draw.strata), bool))
    kept, hidden = ([unit for unit in given if unit.reserved is reserved] for reserved in (False, True))
    if not draw.reserved:
        threshold = estimates.threshold(draw.edges[label], [edge.precision for edge in edges], wanted)
        return LabelResult(label, n_reviewed, edges, positive, threshold, None)
    chosen_on = _edges(draw, _sample(draw, answers, label, kept, part=0), label, draw.hours[0])
    threshold = estimates.threshold(draw.edges[label], [edge.precision for edge in chosen_on], wanted)
    quoted = None
    if threshold is not None and sum(bool(of_label[unit.stratum]) for unit in hidden) >= FEWEST:
        found = _edges(draw, _sample(draw, answers, label, hidden, part=1), label, draw.hours[1])
        quoted = found[draw.edges[label].index(threshold)]
    return LabelResult(label, n_reviewed, edges, positive, threshold, quoted)


def _sample(
    draw: Draw, answers: Mapping[str, Answer], label: str, given: list[DrawnUnit], part: int | None = None
) -> Sample:
    """Return the answered units of the whole archive, or of its unreserved (0) or reserved (1) part, about a label."""
    n_units = np.array(draw.n_units).sum(axis=0) if part is None else np.array(draw.n_units[part])
    _, group = np.unique([unit.group for unit in given], return_inverse=True)
    y, unsure = holds(given, answers, label)
    return Sample(
        np.array([unit.stratum for unit in given], np.int64), group.astype(np.int64), y, n_units, unsure, draw.seed
    )


def _edges(draw: Draw, sample: Sample, label: str, hours: float) -> tuple[Edge, ...]:
    everything = np.ones(len(draw.strata), bool)
    of_label = np.array([stratum.label == label for stratum in draw.strata])
    found = []
    for edge in draw.edges[label]:
        strata: NDArray[np.bool_] = of_label & np.array([stratum.low >= edge for stratum in draw.strata])
        precision = estimates.precision(sample, strata)
        n_units = int(sample.n_units[strata].sum())
        false_alarms = None if precision.value is None or not hours else n_units * (1 - precision.value) / hours
        found.append(
            Edge(
                threshold=edge,
                n_units=n_units,
                n_answered=int(sample.n[strata].sum()),
                precision=precision,
                false_alarms_per_hour=false_alarms,
                recall=estimates.recall(sample, strata, everything),
                recall_above_floor=estimates.recall(sample, strata, of_label),
            )
        )
    return tuple(found)
