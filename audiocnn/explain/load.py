"""Load a file for an explanation: its prediction, and the segments to explain.

Frames are kept in a temporary folder, and only the samples of the segments are kept in memory. So a recording of hours
takes no more memory than one of a minute.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audiocnn.audio import clips
from audiocnn.audio.clips import MonoFile
from audiocnn.errors import AudioError, UnusableError
from audiocnn.explain import model_occlusion, segments
from audiocnn.explain.segments import ExplainInput, NetworkFrames, Segment
from audiocnn.features import extract
from audiocnn.features.analyze import RecordingStatus
from audiocnn.features.build_store import analyze_files_together
from audiocnn.features.extract import Array
from audiocnn.features.frontend import Frontend
from audiocnn.features.store import StoredFrames
from audiocnn.inference import events, scoring
from audiocnn.inference.events import Event
from audiocnn.inference.prediction import RecordingPrediction, usable_window_starts
from audiocnn.model.loaded_model import LoadedModel
from audiocnn.specs import EventSpec, FeatureSpec
from audiocnn.text import encode_path

_WINDOWS_AT_A_TIME = 256  # whose levels are measured
_CANDIDATES = 5  # segments for each one wanted, as some overlap in the longer windows of the map


def load(
    file: Path, model: LoadedModel, *, label: int | None, top: int, report: Callable[[str], None]
) -> tuple[RecordingPrediction, list[ExplainInput], bool]:
    """Return the prediction for a file, its segments to explain, and whether they are the whole recording.

    A long recording has up to ``top`` segments. The explained label is ``label`` (a number), or else the predicted one
    or, for segments, the label of their event. ``report`` is called with the name of each longer step.

    Raises `UnusableError` with the reason if the recording is silent or cannot be read.
    """
    name = encode_path(os.fspath(file))
    kinds = [(network.spec, network.frontend) for network in model.networks]
    report("decoding")
    with _analyzed(file, [*kinds, model_occlusion.map_kind(model)]) as (*views, view):
        finest = views[model.finest]
        for status in (finest.status, view.status):
            if status.status != "ok":
                raise UnusableError(f"{name}: {status.detail} [{status.reason}]; there is nothing to explain")
        report("scoring")
        prediction = scoring.predict_stored(model, name, [(one.status, one.frames) for one in views])
        whole = prediction.recording_status.duration_s <= segments.WHOLE_S
        number = prediction.label_index if label is None else label
        chosen = [Segment(0, len(view.starts), number)]
        if not whole:
            chosen = _strongest_of_map(prediction, model, label, top, view)
        report("reading segments")
        samples = _samples(file, prediction, view, chosen, whole)
        counted = [prediction.counted if one is finest else one.loud() for one in views]
        inputs = []
        for segment, of_segment in zip(chosen, samples, strict=True):
            if model.members:
                subject = view.cut(segment, of_segment, np.ones(len(view.starts), bool), whole)
                members = [_member_input(subject, *one, whole) for one in zip(views, counted, strict=True)]
                inputs.append(model_occlusion.with_members(subject, members))
            else:
                inputs.append(view.cut(segment, of_segment, _counted_or_all(counted[0], segment), whole))
        return prediction, inputs, whole


@dataclass(frozen=True)
class _View:
    """A recording as one network gets it, or as the map shows it: its mel bands, and the first frame of each window."""

    spec: FeatureSpec
    frontend: Frontend
    status: RecordingStatus
    bands: StoredFrames

    @property
    def n_tracks(self) -> int:
        return self.spec.n_tracks(self.status.n_channels)

    @property
    def frames(self) -> NetworkFrames:
        return NetworkFrames(self.bands, self.spec, self.frontend, self.n_tracks)

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        return usable_window_starts(self.spec, self.status, None)

    @cached_property
    def starts_s(self) -> NDArray[np.float64]:
        return extract.window_start_s(self.starts, self.spec)

    def loud(self) -> NDArray[np.bool_]:
        """Return which windows are loud enough to count for the recording."""
        levels = [np.zeros(0, np.float32)]
        for first in range(0, len(self.starts), _WINDOWS_AT_A_TIME):
            starts = self.starts[first : first + _WINDOWS_AT_A_TIME]
            X = extract.cut_windows(self.frames, starts, self.spec, self.n_tracks)
            levels.append(extract.window_levels(X, self.spec, self.n_tracks))
        return extract.loud_windows(np.concatenate(levels), self.spec)

    def cut(self, segment: Segment, samples: Array, counted: NDArray[np.bool_], whole: bool) -> ExplainInput:
        """Return a segment of the recording; ``counted`` (n,) is for all of its windows."""
        windows = slice(segment.first, segment.last)
        return segments.cut(
            self.bands,
            samples,
            spec=self.spec,
            frontend=self.frontend,
            label=segment.label,
            starts=self.starts[windows],
            counted=counted[windows],
            n_tracks=self.n_tracks,
            whole=whole,
        )


@contextmanager
def _analyzed(file: Path, kinds: Sequence[tuple[FeatureSpec, Frontend]]) -> Iterator[list[_View]]:
    """Yield a view of a file for each kind of features; those with the same bands and windows share them."""
    banded = [segments.banded(*kind) for kind in kinds]
    unlike = dict(banded)
    with closing(analyze_files_together([file], list(unlike.items()), jobs=1)) as analyzed:
        _, of_kinds = next(analyzed)
        found = dict(zip(unlike, of_kinds, strict=True))
        yield [_View(*kind, *found[spec]) for kind, (spec, _) in zip(kinds, banded, strict=True)]


def _counted_or_all(counted: NDArray[np.bool_], segment: Segment) -> NDArray[np.bool_]:
    """Return ``counted``, or all windows if none of the segment counts."""
    return counted if counted[segment.first : segment.last].any() else np.ones_like(counted)


def _member_input(subject: ExplainInput, view: _View, counted: NDArray[np.bool_], whole: bool) -> ExplainInput | None:
    """Return the segment of the map as a member gets it; None if the member has no windows of the recording."""
    if not len(view.starts):
        return None
    belongs = model_occlusion.windows_of_map(subject.starts_s, subject.spec, view.starts_s, view.spec.window_s)
    own = np.flatnonzero(belongs.any(axis=0))
    segment = Segment(int(own[0]), int(own[-1]) + 1, subject.label)
    return view.cut(segment, np.zeros(0, np.float32), counted, whole)


def strongest_events(prediction: RecordingPrediction, model: LoadedModel, label: int | None = None) -> list[Event]:
    """Return the events of a recording, strongest first, of the label with this number or of all.

    With two labels, only the positive one has events, unless the model has thresholds; as in `predict`.
    """
    positive = () if model.labels.positive is None else (model.labels.positive,)
    fitted = prediction.decision is not None and bool(prediction.decision.thresholds)
    wanted = (prediction.labels[label],) if label is not None else () if fitted else positive
    return sorted(events.find_events(prediction, EventSpec(labels=wanted)), key=lambda event: -event.score)


def strongest(prediction: RecordingPrediction, model: LoadedModel, label: int | None, top: int) -> list[Segment]:
    """Return up to ``top`` segments: the strongest events, of ``label`` if it is given, or else windows."""
    labels = prediction.labels
    found = strongest_events(prediction, model, label)
    around = [
        segments.around(
            event.start_s, event.end_s, event.peak_s, labels.index(event.label),
            starts_s=prediction.starts_s, spec=model.spec,
        )
        for event in found[: 20 * top]
    ]  # fmt: skip
    if chosen := segments.without_overlaps(around, top=top):
        return chosen
    number = prediction.label_index if label is None else label
    scores = prediction.window_scores[:, number]
    return segments.strongest(scores, prediction.counted, number, top=top, spec=model.spec)


def _strongest_of_map(
    prediction: RecordingPrediction, model: LoadedModel, label: int | None, top: int, view: _View
) -> list[Segment]:
    """Return the strongest segments in windows of the map, which may be longer than those of the prediction."""
    if not model.members:
        return strongest(prediction, model, label, top)
    around = []
    for found in strongest(prediction, model, label, _CANDIDATES * top):
        start_s, end_s = prediction.starts_s[found.first], prediction.starts_s[found.last - 1] + model.spec.window_s
        middle_s = (start_s + end_s) / 2
        around.append(segments.around(start_s, end_s, middle_s, found.label, starts_s=view.starts_s, spec=view.spec))
    return segments.without_overlaps(around, top=top)


def _samples(
    file: Path, prediction: RecordingPrediction, view: _View, chosen: Sequence[Segment], whole: bool
) -> list[Array]:
    """The samples of each segment; a recording shorter than a window is repeated to fill it."""
    spec = view.spec
    recording = MonoFile(file, spec.sample_rate, spec.first_track)
    times = [
        (0.0, prediction.recording_status.duration_s + 1) if whole else _times(view, segment) for segment in chosen
    ]
    samples: list[Array] = []
    for loaded in clips.load([(recording, stretch) for stretch in times], jobs=1):
        if isinstance(loaded, AudioError):
            raise UnusableError(f"{prediction.recording}: {loaded.detail} [{loaded.code}]; it was decoded once before")
        samples.append(loaded)
    return [np.concatenate(list(extract.repeat_to_fill(samples, spec.window_samples)))] if whole else samples


def _times(view: _View, segment: Segment) -> tuple[float, float]:
    """The time from the first frame of the first window to the last frame of the last one."""
    start_s, end_s = view.starts_s[[segment.first, segment.last - 1]].tolist()
    return start_s, end_s + view.spec.window_s
