"""Windows merged into events: from the scores of a prediction to labelled stretches of time.

A window stands for its core: where windows overlap, for the part that is nearer to its middle than to another's. An
event is the union of the cores of its windows, so competing labels share the time of a recording out between them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audiocnn.inference.prediction import RecordingPrediction, Scores
from audiocnn.specs import EventSpec

DEFAULT_THRESHOLD = 0.5  # of a label for which neither the user nor the model has one
_SLACK_S = 1e-9  # sums of binary fractions: 0.1 + 0.2 is to be no longer than 0.3

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Track:
    """What counts for the events of one label: smoothed ``scores`` (n,) of cores, in windows that are ``mine`` (n,)."""

    label: str
    scores: Scores
    mine: Mask
    starts_s: Scores
    ends_s: Scores


@dataclass(frozen=True)
class Event:
    """A stretch of a recording, in seconds from its start, in which a label is heard.

    ``score`` is the highest that a window in it has after smoothing, at least the threshold; ``peak_s`` is the middle
    of that window's core.
    """

    label: str
    start_s: float
    end_s: float
    score: float
    peak_s: float


def find_events(prediction: RecordingPrediction, spec: EventSpec) -> list[Event]:
    """Return the events of a recording, sorted by their start; none if it was not heard.

    Events of one label neither overlap nor are nearer to each other than ``spec.max_gap_s``; a higher threshold makes
    none longer. Events of different labels may overlap only where a gap was bridged, or if labels do not compete.
    With two labels, one of which makes events, that one is heard where its score reaches its threshold, whichever is
    higher: the other is background. A recording that is unknown as a whole may hold events all the same.

    Raises `ConfigError` for a label that the model does not have.

    >>> from audiocnn.features.analyze import RecordingStatus
    >>> from audiocnn.labels import Labels
    >>> scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9]])
    >>> times = np.array([0.0, 1.0, 2.0])
    >>> labels = Labels(("owl", "wind"))
    >>> mean, status = scores.mean(axis=0), RecordingStatus("ok")
    >>> made = RecordingPrediction("a.wav", status, labels, mean, times, times + 1, scores)
    >>> [(event.label, event.start_s, event.end_s) for event in find_events(made, EventSpec())]
    [('owl', 0.0, 2.0), ('wind', 2.0, 3.0)]
    """
    events = [
        event
        for track in label_tracks(prediction, spec)
        for event in track_events(track, _threshold(prediction, track.label, spec), spec)
    ]
    return sorted(events, key=lambda event: (event.start_s, event.end_s, event.label))


def label_tracks(prediction: RecordingPrediction, spec: EventSpec) -> list[Track]:
    """Return what events are made of, a track a label: all that depends on neither thresholds nor durations.

    Raises `ConfigError` for a label that the model does not have.
    """
    wanted = _wanted(prediction, spec)
    if not prediction.has_scores or not len(prediction.starts_s):
        return []
    starts_s, ends_s = window_cores(prediction.starts_s, prediction.ends_s)
    scores = _smoothed(prediction.window_scores, smoothing_reach(prediction.starts_s, spec.smooth_s))
    usable = np.ones(len(scores), bool) if spec.quiet else prediction.counted
    background = len(prediction.labels) == 2 and len(wanted) == 1
    winner = scores.argmax(axis=1) if spec.competing and not background else None
    found = []
    for label in wanted:
        k = prediction.labels.index(label)
        mine = usable if winner is None else usable & (winner == k)
        found.append(Track(label, scores[:, k], mine, starts_s, ends_s))
    return found


def window_cores(starts_s: Scores, ends_s: Scores) -> tuple[Scores, Scores]:
    """Return where the core of each window starts and ends, (n,) each; overlapping windows share what they overlap.

    >>> starts_s, ends_s = window_cores(np.array([0.0, 0.5, 1.0, 9.0]), np.array([1.0, 1.5, 2.0, 10.0]))
    >>> starts_s.tolist(), ends_s.tolist()
    ([0.0, 0.75, 1.25, 9.0], [0.75, 1.25, 2.0, 10.0])
    """
    middles = (starts_s + ends_s) / 2
    between = (middles[1:] + middles[:-1]) / 2
    return np.maximum(starts_s, np.append(-np.inf, between)), np.minimum(ends_s, np.append(between, np.inf))


def _wanted(prediction: RecordingPrediction, spec: EventSpec) -> tuple[str, ...]:
    """The labels that make events."""
    prediction.labels.require((*spec.labels, *spec.thresholds))
    fitted = () if prediction.decision is None else tuple(prediction.decision.thresholds)
    of_two = fitted if len(prediction.labels) == 2 else ()
    return spec.labels or of_two or prediction.labels.names


def _threshold(prediction: RecordingPrediction, label: str, spec: EventSpec) -> float:
    fitted = {} if prediction.decision is None else prediction.decision.thresholds
    of_others = fitted.get(label, DEFAULT_THRESHOLD) if spec.threshold is None else spec.threshold
    return spec.thresholds.get(label, of_others)


def smoothing_reach(starts_s: Scores, smooth_s: float) -> int:
    """Return over how many windows to either side is averaged: those with their middle within ``smooth_s`` / 2."""
    return int((smooth_s / 2 + _SLACK_S) / np.median(np.diff(starts_s))) if len(starts_s) > 1 else 0


def _smoothed(scores: Scores, reach: int) -> Scores:
    """Return the running mean of ``scores`` (n, n_labels) over up to ``2 * reach + 1`` windows, fewer at the ends.

    >>> _smoothed(np.array([[0.0], [0.9], [0.0]]), 1).round(2).ravel().tolist()
    [0.45, 0.3, 0.45]
    """
    total, count = scores.copy(), np.ones((len(scores), 1))
    for lag in range(1, min(reach, len(scores) - 1) + 1):
        for array, addend in ((total, scores), (count, np.ones((len(scores), 1)))):
            array[lag:] += addend[:-lag]
            array[:-lag] += addend[lag:]
    total /= count
    return total


def track_events(track: Track, threshold: float, spec: EventSpec) -> list[Event]:
    """Return the events of one label, in their order; what else ``spec`` says of thresholds does not count."""
    label, scores, starts_s, ends_s = track.label, track.scores, track.starts_s, track.ends_s
    which = np.flatnonzero(track.mine & (scores >= spec.release * threshold))
    enough = scores[which] >= threshold
    runs = _groups(np.diff(which) > 1, starts_s[which], ends_s[which], spec.max_gap_s)
    kept = [run for run in runs if enough[run].any()]
    if not kept:
        return []
    firsts, lasts = which[[run.start for run in kept]], which[[run.stop - 1 for run in kept]]
    events = []
    for group in _groups(np.zeros(len(kept) - 1, bool), starts_s[firsts], ends_s[lasts], spec.max_gap_s):
        start_s, end_s = float(starts_s[firsts[group.start]]), float(ends_s[lasts[group.stop - 1]])
        if end_s - start_s < spec.min_duration_s - _SLACK_S:
            continue
        inside = which[kept[group.start].start : kept[group.stop - 1].stop]
        peak = inside[np.argmax(scores[inside])]
        events.append(Event(label, start_s, end_s, float(scores[peak]), float(starts_s[peak] + ends_s[peak]) / 2))
    return events


def _groups(parted: Mask, starts_s: Scores, ends_s: Scores, max_gap_s: float) -> list[slice]:
    """Neighbours among n stretches that belong together, unless ``parted`` (n - 1,) or further apart than that."""
    if not len(starts_s):
        return []
    apart = np.flatnonzero(parted | (starts_s[1:] - ends_s[:-1] > max_gap_s + _SLACK_S)) + 1
    return [slice(a, b) for a, b in zip([0, *apart], [*apart, len(starts_s)], strict=True)]
