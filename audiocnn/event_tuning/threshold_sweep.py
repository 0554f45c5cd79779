"""Thresholds, smoothing and shortest durations of events, all tried on scenes of which it is known what is in them.

Predictions of scenes and what was spliced into them go in; what every combination finds comes out, and which is best.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audiocnn.evaluation import intervals
from audiocnn.evaluation.intervals import Ends
from audiocnn.event_tuning.soundscapes import PlacedEvent
from audiocnn.inference import events
from audiocnn.inference.prediction import RecordingPrediction
from audiocnn.specs import EventSpec

THRESHOLDS = (0.02, *(round(0.05 * k, 2) for k in range(1, 19)), 0.92, 0.94, 0.95, 0.96, 0.97, 0.98, 0.99, 0.995, 0.999)
SMOOTHINGS_S = (0.0, 0.3, 1.0, 2.0, 3.0)
DURATIONS_S = (0.0, 0.5, 1.0, 2.0, 3.0)

_SLACK = 1e-9  # of durations and rates, which are sums of binary fractions

Indices = tuple[int, int, int]  # of a combination: which smoothing, duration and threshold
Times = NDArray[np.float64]


@dataclass(frozen=True)
class ThresholdSweep:
    """What every combination finds in ``hours`` of scenes.

    Of each label, ``found`` (n_smoothings, n_durations, n_thresholds, n_events) says which of its ``events`` are found,
    ``false_alarms`` (n_smoothings, n_durations, n_thresholds) how many events are none.
    """

    smoothings_s: tuple[float, ...]
    durations_s: tuple[float, ...]
    thresholds: tuple[float, ...]
    hours: float
    events: Mapping[str, Sequence[PlacedEvent]]
    found: Mapping[str, NDArray[np.bool_]]
    false_alarms: Mapping[str, NDArray[np.int64]]

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self.events)

    def recall(self, label: str) -> NDArray[np.float64]:
        """Share of the events of a label that is found, (n_smoothings, n_durations, n_thresholds)."""
        return np.asarray(self.found[label].mean(axis=-1))

    def false_alarms_per_hour(self, label: str) -> NDArray[np.float64]:
        """False alarms of a label in an hour, (n_smoothings, n_durations, n_thresholds)."""
        return np.asarray(self.false_alarms[label] / self.hours)

    def rows(self) -> Iterator[tuple[str, float, float, float, float, float]]:
        """Yield of all that was tried: label, smoothing, shortest duration, threshold, recall, false alarms an hour."""
        for label in self.labels:
            recall, per_hour = self.recall(label), self.false_alarms_per_hour(label)
            for s, d, t in np.ndindex(recall.shape):
                setting = (self.smoothings_s[s], self.durations_s[d], self.thresholds[t])
                yield label, *setting, float(recall[s, d, t]), float(per_hour[s, d, t])


@dataclass(frozen=True)
class SweepPoint:
    """One combination: a smoothing and a shortest duration for all labels, and a threshold of each.

    ``within_limit`` tells of which labels the false alarms were within the limit on its half. ``indices`` say
    by label where the combination stands in `ThresholdSweep`.
    """

    smooth_s: float
    min_duration_s: float
    thresholds: Mapping[str, float]
    within_limit: Mapping[str, bool]
    indices: Mapping[str, Indices]


@dataclass(frozen=True)
class PointMetrics:
    """What a point reaches of one label: recall with its 95 % interval, and false alarms an hour with theirs."""

    n_events: int
    n_found: int
    n_groups: int
    recall: float
    recall_ci95: Ends
    n_false_alarms: int
    false_alarms_per_hour: float
    false_alarms_ci95: Ends


@dataclass(frozen=True)
class SnrBand:
    """How many events were spliced in, and found, from ``low_db`` up to ``high_db`` above the background."""

    low_db: float
    high_db: float
    n_events: int
    n_found: int


def distinct_smoothings(hop_s: float) -> tuple[float, ...]:
    """Return the smoothings that differ for windows so far apart, each the shortest of those that are alike.

    >>> distinct_smoothings(0.5), distinct_smoothings(0.05)
    ((0.0, 1.0, 2.0, 3.0), (0.0, 0.3, 1.0, 2.0, 3.0))
    """
    two = np.array([0.0, hop_s])
    reaches = {events.smoothing_reach(two, smooth_s): smooth_s for smooth_s in reversed(SMOOTHINGS_S)}
    return tuple(sorted(reaches.values()))


def sweep_thresholds(
    heard: Iterable[tuple[RecordingPrediction, Sequence[PlacedEvent]]],
    labels: Sequence[str],
    spec: EventSpec,
    *,
    smoothings_s: Sequence[float] = SMOOTHINGS_S,
    durations_s: Sequence[float] = DURATIONS_S,
    thresholds: Sequence[float] = THRESHOLDS,
) -> ThresholdSweep:
    """Try all combinations on scenes that were ``heard``, one after the other; ``spec`` says the rest.

    An event that was spliced in is found if one of its label overlaps it. A false alarm is an event that overlaps none
    of its label.
    """
    shape = (len(smoothings_s), len(durations_s), len(thresholds))
    hours = 0.0
    truth: dict[str, list[PlacedEvent]] = {label: [] for label in labels}
    found: dict[str, list[NDArray[np.bool_]]] = {label: [np.zeros((*shape, 0), bool)] for label in labels}
    false_alarms = {label: np.zeros(shape, np.int64) for label in labels}
    for prediction, spliced in heard:
        hours += prediction.account.duration_s / 3600
        of_label = {label: sorted(_of(spliced, label), key=lambda e: e.start_s) for label in labels}
        here = {label: np.zeros((*shape, len(of_label[label])), bool) for label in labels}
        for s, smooth_s in enumerate(smoothings_s):
            chosen = spec.model_copy(update={"smooth_s": smooth_s, "min_duration_s": 0.0, "labels": tuple(labels)})
            for track in events.label_tracks(prediction, chosen):
                starts_s, ends_s = _times(of_label[track.label])
                for t, threshold in enumerate(thresholds):
                    begins_s, stops_s = _times(events.track_events(track, threshold, chosen))
                    for d, duration_s in enumerate(durations_s):
                        kept = stops_s - begins_s >= duration_s - _SLACK
                        hit = overlaps(starts_s, ends_s, begins_s[kept], stops_s[kept])
                        right = overlaps(begins_s[kept], stops_s[kept], starts_s, ends_s)
                        here[track.label][s, d, t] = hit
                        false_alarms[track.label][s, d, t] += np.count_nonzero(~right)
        for label in labels:
            truth[label] += of_label[label]
            found[label].append(here[label])
    joined = {label: np.concatenate(parts, axis=-1) for label, parts in found.items()}
    return ThresholdSweep(
        tuple(smoothings_s), tuple(durations_s), tuple(thresholds), hours, truth, joined, false_alarms
    )


def overlaps(starts_s: Times, ends_s: Times, others_start_s: Times, others_end_s: Times) -> NDArray[np.bool_]:
    """Say of each stretch whether one of the others overlaps it; within either, none overlaps another, all are sorted.

    >>> overlaps(np.array([0.0, 5.0]), np.array([1.0, 6.0]), np.array([1.0, 5.5]), np.array([2.0, 7.0])).tolist()
    [False, True]
    """
    begun = np.searchsorted(others_start_s, ends_s, "left")
    over = np.searchsorted(others_end_s, starts_s, "right")
    return np.asarray(begun > over)


def choose_point(swept: ThresholdSweep, limit: float) -> SweepPoint:
    """Return the combination with the highest mean recall whose labels all have at most ``limit`` false alarms an hour.

    Where there is none, most labels come within the limit and the others have the fewest false alarms. Of thresholds
    that are as good as each other it is the one in the middle, which is furthest from both mistakes.
    """
    best: tuple[tuple[float, ...], SweepPoint] | None = None
    for s, smooth_s in enumerate(swept.smoothings_s):
        for d, duration_s in enumerate(swept.durations_s):
            indices: dict[str, Indices] = {
                label: (s, d, _threshold(swept, label, s, d, limit)) for label in swept.labels
            }
            alarms = {label: int(swept.false_alarms[label][place]) for label, place in indices.items()}
            within = {label: n <= limit * swept.hours + _SLACK for label, n in alarms.items()}
            beyond = sum(n for label, n in alarms.items() if not within[label])
            recall = float(np.mean([swept.recall(label)[place] for label, place in indices.items()]))
            worth = (sum(within.values()), -beyond, round(recall, 9), -sum(alarms.values()))
            if best is None or worth > best[0]:
                thresholds = {label: swept.thresholds[place[2]] for label, place in indices.items()}
                best = worth, SweepPoint(smooth_s, duration_s, thresholds, within, indices)
    assert best is not None, "there is nothing to choose from"
    return best[1]


def point_metrics(
    swept: ThresholdSweep, point: SweepPoint, *, repeats: float = 1.0, bootstrap: int = 2_000, seed: int = 0
) -> dict[str, PointMetrics]:
    """Return by label what a point reaches.

    The interval of recall rests on the groups that the events come from. That of false alarms is for a Poisson process;
    background that was heard ``repeats`` times over speaks as if it had been heard once.
    """
    return {label: _reached(swept, label, place, repeats, bootstrap, seed) for label, place in point.indices.items()}


def recall_by_snr(
    swept: ThresholdSweep, point: SweepPoint, snr_db: tuple[float, float], *, n: int = 5
) -> list[SnrBand]:
    """Return how many events of all labels are found in each of up to ``n`` equal parts of a range of levels."""
    low, high = snr_db
    edges = np.linspace(low, high, n + 1) if high > low else np.array([low, high])
    snrs = np.array([event.snr_db for label in swept.labels for event in swept.events[label]])
    hit = np.concatenate([swept.found[label][place] for label, place in point.indices.items()])
    part = np.clip(np.searchsorted(edges, snrs, "right") - 1, 0, len(edges) - 2)
    return [
        SnrBand(float(edges[k]), float(edges[k + 1]), int((part == k).sum()), int(hit[part == k].sum()))
        for k in range(len(edges) - 1)
    ]


def _threshold(swept: ThresholdSweep, label: str, s: int, d: int, limit: float) -> int:
    """The place of the best threshold of a label."""
    recall, alarms = swept.recall(label)[s, d], swept.false_alarms[label][s, d]
    within = alarms <= limit * swept.hours + _SLACK
    if within.any():
        good = within & (recall == recall[within].max())
        good &= alarms == alarms[good].min()
    else:
        good = alarms == alarms.min()
        good &= recall == recall[good].max()
    indices = np.flatnonzero(good)
    return int(indices[len(indices) // 2])


def _reached(
    swept: ThresholdSweep, label: str, place: Indices, repeats: float, bootstrap: int, seed: int
) -> PointMetrics:
    found, truth = swept.found[label][place], swept.events[label]
    names, group = np.unique([event.group for event in truth], return_inverse=True)
    n_found = np.bincount(group, found, minlength=len(names))
    n_events = np.bincount(group, minlength=len(names)).astype(np.float64)
    recall = float(found.mean())
    error = intervals.standard_errors(
        lambda draws: ((draws @ n_found) / (draws @ n_events))[:, None],
        n_groups=len(names),
        bootstrap=bootstrap,
        seed=seed,
    )
    n_alarms = int(swept.false_alarms[label][place])
    return PointMetrics(
        n_events=len(truth),
        n_found=int(found.sum()),
        n_groups=len(names),
        recall=recall,
        recall_ci95=intervals.share_interval(recall, float(error[0]), n_events),
        n_false_alarms=n_alarms,
        false_alarms_per_hour=n_alarms / swept.hours,
        false_alarms_ci95=intervals.rate_interval(n_alarms / repeats, swept.hours / repeats),
    )


def _of(spliced: Sequence[PlacedEvent], label: str) -> list[PlacedEvent]:
    return [event for event in spliced if event.label == label]


def _times(stretches: Sequence[PlacedEvent] | Sequence[events.Event]) -> tuple[Times, Times]:
    starts_s = np.array([stretch.start_s for stretch in stretches], np.float64)
    return starts_s, np.array([stretch.end_s for stretch in stretches], np.float64)
