"""A grid search of thresholds, smoothing and shortest durations of events on soundscapes with known events.

Takes predictions of soundscapes and their events; returns what every combination finds, and the best combination.
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

_ROUNDING = 1e-9  # of durations and rates, which are sums of binary fractions

Indices = tuple[int, int, int]  # of a combination: smoothing, duration and threshold
Times = NDArray[np.float64]


@dataclass(frozen=True)
class ThresholdSweep:
    """What every combination finds in ``hours`` of soundscapes.

    For each label, ``found`` (n_smoothings, n_durations, n_thresholds, n_events) marks which of its ``events`` are
    found, ``false_alarms`` (n_smoothings, n_durations, n_thresholds) counts detected events that are not in them.
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
        """Return the share of the events of a label that is found, (n_smoothings, n_durations, n_thresholds)."""
        return np.asarray(self.found[label].mean(axis=-1))

    def false_alarms_per_hour(self, label: str) -> NDArray[np.float64]:
        """Return the false alarms of a label per hour, (n_smoothings, n_durations, n_thresholds)."""
        return np.asarray(self.false_alarms[label] / self.hours)

    def rows(self) -> Iterator[tuple[str, float, float, float, float, float]]:
        """Yield every combination: label, smoothing, shortest duration, threshold, recall, false alarms per hour."""
        for label in self.labels:
            recall, per_hour = self.recall(label), self.false_alarms_per_hour(label)
            for s, d, t in np.ndindex(recall.shape):
                setting = (self.smoothings_s[s], self.durations_s[d], self.thresholds[t])
                yield label, *setting, float(recall[s, d, t]), float(per_hour[s, d, t])


@dataclass(frozen=True)
class SweepPoint:
    """One combination: a smoothing and a shortest duration for all labels, and a threshold for each label.

    ``within_limit`` tells for each label whether false alarms were within the limit where the point was chosen.
    ``indices`` are the indices of the combination in the arrays of `ThresholdSweep`, by label.
    """

    smooth_s: float
    min_duration_s: float
    thresholds: Mapping[str, float]
    within_limit: Mapping[str, bool]
    indices: Mapping[str, Indices]


@dataclass(frozen=True)
class PointMetrics:
    """Recall and false alarms per hour of one label at a point, with their 95 % intervals."""

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
    """How many events from ``low_db`` to ``high_db`` above the background there are, and how many are found."""

    low_db: float
    high_db: float
    n_events: int
    n_found: int


def distinct_smoothings(hop_s: float) -> tuple[float, ...]:
    """Return the smoothings with different effects for windows ``hop_s`` apart, the shortest of each effect.

    >>> distinct_smoothings(0.5), distinct_smoothings(0.05)
    ((0.0, 1.0, 2.0, 3.0), (0.0, 0.3, 1.0, 2.0, 3.0))
    """
    starts_s = np.array([0.0, hop_s])
    reaches = {events.smoothing_reach(starts_s, smooth_s): smooth_s for smooth_s in reversed(SMOOTHINGS_S)}
    return tuple(sorted(reaches.values()))


def sweep_thresholds(
    soundscapes: Iterable[tuple[RecordingPrediction, Sequence[PlacedEvent]]],
    labels: Sequence[str],
    spec: EventSpec,
    *,
    smoothings_s: Sequence[float] = SMOOTHINGS_S,
    durations_s: Sequence[float] = DURATIONS_S,
    thresholds: Sequence[float] = THRESHOLDS,
) -> ThresholdSweep:
    """Try all combinations on predictions and true events of ``soundscapes``; other settings are those of ``spec``.

    A true event is found if a detected event of its label overlaps it. A false alarm is a detected event that overlaps
    no true event of its label.
    """
    shape = (len(smoothings_s), len(durations_s), len(thresholds))
    hours = 0.0
    truth: dict[str, list[PlacedEvent]] = {label: [] for label in labels}
    found: dict[str, list[NDArray[np.bool_]]] = {label: [np.zeros((*shape, 0), bool)] for label in labels}
    false_alarms = {label: np.zeros(shape, np.int64) for label in labels}
    for prediction, placed in soundscapes:
        hours += prediction.recording_status.duration_s / 3600
        of_label = {label: sorted(_with_label(placed, label), key=lambda e: e.start_s) for label in labels}
        here = {label: np.zeros((*shape, len(of_label[label])), bool) for label in labels}
        for s, smooth_s in enumerate(smoothings_s):
            chosen = spec.model_copy(update={"smooth_s": smooth_s, "min_duration_s": 0.0, "labels": tuple(labels)})
            for track in events.label_tracks(prediction, chosen):
                starts_s, ends_s = _times(of_label[track.label])
                for t, threshold in enumerate(thresholds):
                    detected_starts_s, detected_ends_s = _times(events.track_events(track, threshold, chosen))
                    for d, duration_s in enumerate(durations_s):
                        kept = detected_ends_s - detected_starts_s >= duration_s - _ROUNDING
                        detected = detected_starts_s[kept], detected_ends_s[kept]
                        here[track.label][s, d, t] = overlaps(starts_s, ends_s, *detected)
                        correct = overlaps(*detected, starts_s, ends_s)
                        false_alarms[track.label][s, d, t] += np.count_nonzero(~correct)
        for label in labels:
            truth[label] += of_label[label]
            found[label].append(here[label])
    joined = {label: np.concatenate(parts, axis=-1) for label, parts in found.items()}
    return ThresholdSweep(
        tuple(smoothings_s), tuple(durations_s), tuple(thresholds), hours, truth, joined, false_alarms
    )


def overlaps(starts_s: Times, ends_s: Times, others_start_s: Times, others_end_s: Times) -> NDArray[np.bool_]:
    """Return for each stretch whether one of the others overlaps it; each list is sorted and has no overlaps.

    >>> overlaps(np.array([0.0, 5.0]), np.array([1.0, 6.0]), np.array([1.0, 5.5]), np.array([2.0, 7.0])).tolist()
    [False, True]
    """
    n_started = np.searchsorted(others_start_s, ends_s, "left")
    n_ended = np.searchsorted(others_end_s, starts_s, "right")
    return np.asarray(n_started > n_ended)


def choose_point(sweep: ThresholdSweep, limit: float) -> SweepPoint:
    """Return the combination with the highest mean recall and at most ``limit`` false alarms per hour of each label.

    If there is none, as many labels as possible are within the limit, and the others have the fewest false alarms. Of
    equally good thresholds, the middle one is taken, which is farthest from both kinds of error.
    """
    best: tuple[tuple[float, ...], SweepPoint] | None = None  # key to compare, and point
    for s, smooth_s in enumerate(sweep.smoothings_s):
        for d, duration_s in enumerate(sweep.durations_s):
            indices: dict[str, Indices] = {
                label: (s, d, _threshold(sweep, label, s, d, limit)) for label in sweep.labels
            }
            alarms = {label: int(sweep.false_alarms[label][index]) for label, index in indices.items()}
            within = {label: n <= limit * sweep.hours + _ROUNDING for label, n in alarms.items()}
            beyond = sum(n for label, n in alarms.items() if not within[label])
            recall = float(np.mean([sweep.recall(label)[index] for label, index in indices.items()]))
            key = (sum(within.values()), -beyond, round(recall, 9), -sum(alarms.values()))
            if best is None or key > best[0]:
                thresholds = {label: sweep.thresholds[index[2]] for label, index in indices.items()}
                best = key, SweepPoint(smooth_s, duration_s, thresholds, within, indices)
    assert best is not None, "the sweep is empty"
    return best[1]


def point_metrics(
    sweep: ThresholdSweep, point: SweepPoint, *, repeats: float = 1.0, bootstrap: int = 2_000, seed: int = 0
) -> dict[str, PointMetrics]:
    """Return the metrics of each label at a point.

    The interval of recall is a bootstrap over the groups of the events. That of false alarms is of a Poisson process;
    background that was used ``repeats`` times counts once.
    """
    return {
        label: _label_metrics(sweep, label, index, repeats, bootstrap, seed) for label, index in point.indices.items()
    }


def recall_by_snr(
    sweep: ThresholdSweep, point: SweepPoint, snr_db: tuple[float, float], *, n: int = 5
) -> list[SnrBand]:
    """Return how many events of all labels are found in each of up to ``n`` equal bands of signal-to-noise ratio."""
    low, high = snr_db
    edges = np.linspace(low, high, n + 1) if high > low else np.array([low, high])
    snrs = np.array([event.snr_db for label in sweep.labels for event in sweep.events[label]])
    found = np.concatenate([sweep.found[label][index] for label, index in point.indices.items()])
    band = np.clip(np.searchsorted(edges, snrs, "right") - 1, 0, len(edges) - 2)
    return [
        SnrBand(float(edges[k]), float(edges[k + 1]), int((band == k).sum()), int(found[band == k].sum()))
        for k in range(len(edges) - 1)
    ]


def _threshold(sweep: ThresholdSweep, label: str, s: int, d: int, limit: float) -> int:
    """Return the index of the best threshold of a label."""
    recall, alarms = sweep.recall(label)[s, d], sweep.false_alarms[label][s, d]
    within = alarms <= limit * sweep.hours + _ROUNDING
    if within.any():
        good = within & (recall == recall[within].max())
        good &= alarms == alarms[good].min()
    else:
        good = alarms == alarms.min()
        good &= recall == recall[good].max()
    indices = np.flatnonzero(good)
    return int(indices[len(indices) // 2])


def _label_metrics(
    sweep: ThresholdSweep, label: str, index: Indices, repeats: float, bootstrap: int, seed: int
) -> PointMetrics:
    found, truth = sweep.found[label][index], sweep.events[label]
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
    n_alarms = int(sweep.false_alarms[label][index])
    return PointMetrics(
        n_events=len(truth),
        n_found=int(found.sum()),
        n_groups=len(names),
        recall=recall,
        recall_ci95=intervals.share_interval(recall, float(error[0]), n_events),
        n_false_alarms=n_alarms,
        false_alarms_per_hour=n_alarms / sweep.hours,
        false_alarms_ci95=intervals.rate_interval(n_alarms / repeats, sweep.hours / repeats),
    )


def _with_label(placed: Sequence[PlacedEvent], label: str) -> list[PlacedEvent]:
    return [event for event in placed if event.label == label]


def _times(stretches: Sequence[PlacedEvent] | Sequence[events.Event]) -> tuple[Times, Times]:
    starts_s = np.array([stretch.start_s for stretch in stretches], np.float64)
    return starts_s, np.array([stretch.end_s for stretch in stretches], np.float64)
