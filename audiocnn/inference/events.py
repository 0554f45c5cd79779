"""Events of a recording: windows with the same label merged into labelled stretches of time.

A window contributes its core: where windows overlap, the part that is nearer to its own middle than to that of another
window. An event is the union of the cores of its windows, so competing labels do not overlap in time.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audiocnn.inference.prediction import PART_WINDOWS, RecordingPrediction, Scores
from audiocnn.specs import EventSpec

DEFAULT_THRESHOLD = 0.5  # of a label without a threshold from the user or the model
_ROUNDING_S = 1e-9  # for sums of binary fractions: 0.1 + 0.2 must not be longer than 0.3

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Track:
    """The smoothed ``scores`` (n,) of one label, with the cores of the windows in seconds.

    ``eligible`` (n,) marks the windows that may be part of an event of this label.
    """

    label: str
    scores: Scores
    eligible: Mask
    starts_s: Scores
    ends_s: Scores

    def part(self, windows: slice) -> "Track":
        """Return the track of some of its windows."""
        return Track(
            self.label, self.scores[windows], self.eligible[windows], self.starts_s[windows], self.ends_s[windows]
        )


@dataclass(frozen=True, slots=True)
class Event:
    """A stretch of a recording with a label, in seconds from the start of the recording.

    ``score`` is the highest smoothed score of its windows, at least the threshold. ``peak_s`` is the middle of the core
    of that window.
    """

    label: str
    start_s: float
    end_s: float
    score: float
    peak_s: float


def find_events(prediction: RecordingPrediction, spec: EventSpec) -> list[Event]:
    """Return the events of a recording, sorted by their start; none if the recording has no scores.

    Events of one label neither overlap nor are closer to each other than ``spec.max_gap_s``. A higher threshold never
    makes an event longer. Events of different labels overlap only where a gap was bridged, or if labels do not compete.
    If only one of two labels makes events, the other is background: an event is where the score reaches the threshold,
    even if the other score is higher. A recording of unknown label may contain events.

    Raises `ConfigError` for a label that the model does not have.

    >>> from audiocnn.features.analyze import RecordingStatus
    >>> from audiocnn.labels import Labels
    >>> scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9]])
    >>> times = np.array([0.0, 1.0, 2.0])
    >>> labels = Labels(("owl", "wind"))
    >>> mean, status = scores.mean(axis=0), RecordingStatus("ok")
    >>> prediction = RecordingPrediction("a.wav", status, labels, mean, times, times + 1, scores)
    >>> [(event.label, event.start_s, event.end_s) for event in find_events(prediction, EventSpec())]
    [('owl', 0.0, 2.0), ('wind', 2.0, 3.0)]
    """
    selected = _event_labels(prediction, spec)
    thresholds = {label: _threshold(prediction, label, spec) for label in selected}
    found: dict[str, list[_Candidates]] = {label: [] for label in selected}
    for first, tracks in _tracks_in_parts(prediction, spec, selected):
        for track in tracks:
            found[track.label].append(_candidates(track, spec.release * thresholds[track.label], first))
    events = [
        event
        for label, parts in found.items()
        if parts
        for event in _merge(label, _join(parts), thresholds[label], spec)
    ]
    return sorted(events, key=lambda event: (event.start_s, event.end_s, event.label))


def label_tracks(prediction: RecordingPrediction, spec: EventSpec) -> list[Track]:
    """Return a track for each label that makes events: all that depends on neither thresholds nor durations.

    Raises `ConfigError` for a label that the model does not have.
    """
    selected = _event_labels(prediction, spec)
    if not prediction.has_scores or not len(prediction.starts_s):
        return []
    return _tracks(prediction, spec, selected, smoothing_reach(prediction.starts_s, spec.smooth_s))


def track_events(track: Track, threshold: float, spec: EventSpec) -> list[Event]:
    """Return the events of one label in order of time, for this ``threshold`` instead of those in ``spec``."""
    return _merge(track.label, _candidates(track, spec.release * threshold), threshold, spec)


@dataclass(frozen=True)
class NearMiss:
    """The highest smoothed score of all windows that may be part of an event, with its label and its threshold."""

    recording: str
    label: str
    score: float
    threshold: float
    at_s: float


def near_miss(predictions: Iterable[RecordingPrediction], spec: EventSpec) -> NearMiss | None:
    """Return the highest score of predictions without an event; None if there is an event, or no window with a score.

    If the score reaches the threshold, its events are shorter than ``spec.min_duration_s``.
    """
    best: NearMiss | None = None
    for prediction in predictions:
        if find_events(prediction, spec):
            return None
        for _, tracks in _tracks_in_parts(prediction, spec, _event_labels(prediction, spec)):
            for track in tracks:
                scores = np.where(track.eligible, track.scores, -1.0)
                peak = int(np.argmax(scores))
                if scores[peak] > (-1.0 if best is None else best.score):
                    threshold = _threshold(prediction, track.label, spec)
                    at_s = float(track.starts_s[peak] + track.ends_s[peak]) / 2
                    best = NearMiss(prediction.recording, track.label, float(scores[peak]), threshold, at_s)
    return best


@dataclass(frozen=True)
class _Candidates:
    """The windows (n,) that may be part of an event of one label: their numbers, and their values in its track."""

    windows: NDArray[np.int64]
    scores: Scores
    starts_s: Scores
    ends_s: Scores


def _candidates(track: Track, lowest: float, first: int = 0) -> _Candidates:
    """Return the eligible windows with a score of at least ``lowest``; ``first`` is the number of the first window."""
    which = np.flatnonzero(track.eligible & (track.scores >= lowest))
    return _Candidates(first + which, track.scores[which], track.starts_s[which], track.ends_s[which])


def _join(parts: list[_Candidates]) -> _Candidates:
    return _Candidates(
        np.concatenate([part.windows for part in parts]),
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.starts_s for part in parts]),
        np.concatenate([part.ends_s for part in parts]),
    )


def _merge(label: str, found: _Candidates, threshold: float, spec: EventSpec) -> list[Event]:
    """Merge candidates to events."""
    starts_s, ends_s = found.starts_s, found.ends_s
    enough = found.scores >= threshold
    kept = [run for run in _group(np.diff(found.windows) > 1, starts_s, ends_s, spec.max_gap_s) if enough[run].any()]
    if not kept:
        return []
    firsts, lasts = np.array([run.start for run in kept]), np.array([run.stop - 1 for run in kept])
    events = []
    for group in _group(np.zeros(len(kept) - 1, bool), starts_s[firsts], ends_s[lasts], spec.max_gap_s):
        first, last = firsts[group.start], lasts[group.stop - 1]
        start_s, end_s = float(starts_s[first]), float(ends_s[last])
        if end_s - start_s < spec.min_duration_s - _ROUNDING_S:
            continue
        peak = first + np.argmax(found.scores[first : last + 1])
        events.append(Event(label, start_s, end_s, float(found.scores[peak]), float(starts_s[peak] + ends_s[peak]) / 2))
    return events


def _tracks_in_parts(
    prediction: RecordingPrediction, spec: EventSpec, labels: tuple[str, ...]
) -> Iterator[tuple[int, list[Track]]]:
    """Yield the number of the first window and the tracks of some windows at a time; a day of them is large."""
    n = prediction.n_windows if prediction.has_scores else 0
    reach = smoothing_reach(prediction.part(0, min(n, PART_WINDOWS)).starts_s, spec.smooth_s)
    margin = max(reach, 1)  # neighbours on either side: those to smooth with, and one for the core of a window
    for first in range(0, n, PART_WINDOWS):
        last, begin = min(n, first + PART_WINDOWS), max(0, first - margin)
        inside = slice(first - begin, last - begin)
        tracks = _tracks(prediction.part(begin, min(n, last + margin)), spec, labels, reach)
        yield first, [track.part(inside) for track in tracks]


def _tracks(prediction: RecordingPrediction, spec: EventSpec, labels: tuple[str, ...], reach: int) -> list[Track]:
    """Return the tracks of ``labels``, with scores averaged over ``reach`` windows on either side."""
    starts_s, ends_s = window_cores(prediction.starts_s, prediction.ends_s)
    scores = _smooth(prediction.window_scores, reach)
    usable = np.ones(len(scores), bool) if spec.quiet else prediction.counted
    other_is_background = len(prediction.labels) == 2 and len(labels) == 1
    winner = scores.argmax(axis=1) if spec.competing and not other_is_background else None
    tracks = []
    for label in labels:
        k = prediction.labels.index(label)
        eligible = usable if winner is None else usable & (winner == k)
        tracks.append(Track(label, scores[:, k], eligible, starts_s, ends_s))
    return tracks


def window_cores(starts_s: Scores, ends_s: Scores) -> tuple[Scores, Scores]:
    """Return the start and end of the core of each window, (n,) each; the cores of windows do not overlap.

    >>> starts_s, ends_s = window_cores(np.array([0.0, 0.5, 1.0, 9.0]), np.array([1.0, 1.5, 2.0, 10.0]))
    >>> starts_s.tolist(), ends_s.tolist()
    ([0.0, 0.75, 1.25, 9.0], [0.75, 1.25, 2.0, 10.0])
    """
    middles = (starts_s + ends_s) / 2
    between = (middles[1:] + middles[:-1]) / 2
    return np.maximum(starts_s, np.append(-np.inf, between)), np.minimum(ends_s, np.append(between, np.inf))


def smoothing_reach(starts_s: Scores, smooth_s: float) -> int:
    """Return the number of windows on either side to average: those with their middle within ``smooth_s`` / 2."""
    return int((smooth_s / 2 + _ROUNDING_S) / np.median(np.diff(starts_s))) if len(starts_s) > 1 else 0


def _event_labels(prediction: RecordingPrediction, spec: EventSpec) -> tuple[str, ...]:
    """The labels that make events."""
    prediction.labels.require((*spec.labels, *spec.thresholds))
    fitted = () if prediction.decision is None else tuple(prediction.decision.thresholds)
    of_two = fitted if len(prediction.labels) == 2 else ()
    return spec.labels or of_two or prediction.labels.names


def _threshold(prediction: RecordingPrediction, label: str, spec: EventSpec) -> float:
    fitted = {} if prediction.decision is None else prediction.decision.thresholds
    default = fitted.get(label, DEFAULT_THRESHOLD) if spec.threshold is None else spec.threshold
    return spec.thresholds.get(label, default)


def _smooth(scores: Scores, reach: int) -> Scores:
    """Return the running mean of ``scores`` (n, n_labels) over up to ``2 * reach + 1`` windows, fewer at the ends.

    >>> _smooth(np.array([[0.0], [0.9], [0.0]]), 1).round(2).ravel().tolist()
    [0.45, 0.3, 0.45]
    """
    total, count = scores.copy(), np.ones((len(scores), 1))
    for lag in range(1, min(reach, len(scores) - 1) + 1):
        for array, addend in ((total, scores), (count, np.ones((len(scores), 1)))):
            array[lag:] += addend[:-lag]
            array[:-lag] += addend[lag:]
    total /= count
    return total


def _group(separated: Mask, starts_s: Scores, ends_s: Scores, max_gap_s: float) -> list[slice]:
    """Group n neighbouring stretches; a group ends where ``separated`` (n - 1,) or at a gap above ``max_gap_s``."""
    if not len(starts_s):
        return []
    edges = np.flatnonzero(separated | (starts_s[1:] - ends_s[:-1] > max_gap_s + _ROUNDING_S)) + 1
    return [slice(a, b) for a, b in zip([0, *edges], [*edges, len(starts_s)], strict=True)]
