"""Load a file for an explanation: its prediction, and the segments to explain.

Frames are kept in a temporary folder, and only the samples of the segments are kept in memory. So a recording of hours
takes no more memory than one of a minute.
"""

import os
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from audiocnn.audio import clips
from audiocnn.audio.clips import MonoFile
from audiocnn.errors import AudioError, UnusableError
from audiocnn.explain import segments
from audiocnn.explain.segments import ExplainInput, NetworkFrames, Segment
from audiocnn.features import extract
from audiocnn.features.build_store import analyze_files
from audiocnn.features.extract import Array
from audiocnn.features.store import StoredFrames
from audiocnn.inference import events, scoring
from audiocnn.inference.events import Event
from audiocnn.inference.prediction import RecordingPrediction
from audiocnn.model.bundle import Bundle
from audiocnn.specs import EventSpec
from audiocnn.text import encode_path


def load(
    file: Path, model: Bundle, *, label: int | None, top: int, report: Callable[[str], None]
) -> tuple[RecordingPrediction, list[ExplainInput], bool]:
    """Return the prediction for a file, its segments to explain, and whether they are the whole recording.

    A long recording has up to ``top`` segments. The explained label is ``label`` (a number), or else the predicted one
    or, for segments, the label of their event. ``report`` is called with the name of each longer step.

    Raises `UnusableError` with the reason if the recording is silent or cannot be read.
    """
    name = encode_path(os.fspath(file))
    spec, frontend = segments.banded(model.spec, model.frontend)
    report("decoding")
    with closing(analyze_files([file], spec=spec, frontend=frontend, jobs=1)) as analyzed:
        _, status, bands = next(analyzed)
        if status.status != "ok":
            raise UnusableError(f"{name}: {status.detail} [{status.reason}]; there is nothing to explain")
        n_tracks = spec.n_tracks(status.n_channels)
        report("scoring")
        frames = NetworkFrames(bands, model.spec, model.frontend, n_tracks)
        prediction = scoring.predict_frames(model, name, status, frames)
        whole = status.duration_s <= segments.WHOLE_S
        chosen = [_whole(prediction, label)] if whole else strongest(prediction, model, label, top)
        report("reading segments")
        samples = _samples(file, prediction, model, chosen, whole)
        return (
            prediction,
            [
                _explain_input(model, prediction, bands, segment, of_segment, n_tracks, whole)
                for segment, of_segment in zip(chosen, samples, strict=True)
            ],
            whole,
        )


def _whole(prediction: RecordingPrediction, label: int | None) -> Segment:
    number = prediction.label_index if label is None else label
    return Segment(0, len(prediction.starts_s), number)


def strongest_events(prediction: RecordingPrediction, model: Bundle, label: int | None = None) -> list[Event]:
    """Return the events of a recording, strongest first, of the label with this number or of all.

    With two labels, only the positive one has events, unless the model has thresholds; as in `predict`.
    """
    positive = () if model.labels.positive is None else (model.labels.positive,)
    fitted = prediction.decision is not None and bool(prediction.decision.thresholds)
    wanted = (prediction.labels[label],) if label is not None else () if fitted else positive
    return sorted(events.find_events(prediction, EventSpec(labels=wanted)), key=lambda event: -event.score)


def strongest(prediction: RecordingPrediction, model: Bundle, label: int | None, top: int) -> list[Segment]:
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


def _samples(
    file: Path, prediction: RecordingPrediction, model: Bundle, chosen: Sequence[Segment], whole: bool
) -> list[Array]:
    """The samples of each segment; a recording shorter than a window is repeated to fill it."""
    spec = model.spec
    recording = MonoFile(file, spec.sample_rate, spec.first_track)
    times = [
        (0.0, prediction.recording_status.duration_s + 1) if whole else _times(prediction, model, segment)
        for segment in chosen
    ]
    samples: list[Array] = []
    for loaded in clips.load([(recording, stretch) for stretch in times], jobs=1):
        if isinstance(loaded, AudioError):
            raise UnusableError(f"{prediction.recording}: {loaded.detail} [{loaded.code}]; it was decoded once before")
        samples.append(loaded)
    return [np.concatenate(list(extract.repeat_to_fill(samples, spec.window_samples)))] if whole else samples


def _times(prediction: RecordingPrediction, model: Bundle, segment: Segment) -> tuple[float, float]:
    """The time from the first frame of the first window to the last frame of the last one."""
    start_s, end_s = prediction.starts_s[[segment.first, segment.last - 1]].tolist()
    return start_s, end_s + model.spec.window_s


def _explain_input(
    model: Bundle,
    prediction: RecordingPrediction,
    bands: StoredFrames,
    segment: Segment,
    samples: Array,
    n_tracks: int,
    whole: bool,
) -> ExplainInput:
    windows = slice(segment.first, segment.last)
    counted = prediction.counted[windows]
    return segments.cut(
        bands,
        samples,
        spec=model.spec,
        frontend=model.frontend,
        label=segment.label,
        starts=extract.window_starts(prediction.recording_status.n_frames, model.spec)[windows],
        counted=counted if counted.any() else np.ones_like(counted),
        n_tracks=n_tracks,
        whole=whole,
    )
