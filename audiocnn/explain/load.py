"""A file heard for an explanation: its prediction, and the stretches that are to be explained.

Frames lie in a temporary folder meanwhile and of the samples only the stretches are kept, so a recording of hours takes
no more memory than one of a minute.
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
    file: Path, model: Bundle, *, label: int | None, top: int, say: Callable[[str], None]
) -> tuple[RecordingPrediction, list[ExplainInput], bool]:
    """Return the prediction for a file, what is to be explained of it, and whether that is all of it.

    That is the whole recording, or up to ``top`` moments if it is long. Asked about is ``label`` (a number), or else
    what is predicted and, of moments, what is heard in them. ``say`` is told what may take its time.

    Raises `UnusableError` for a recording that is silent or cannot be read, naming why.
    """
    name = encode_path(os.fspath(file))
    spec, frontend = segments.banded(model.spec, model.frontend)
    say("listening")
    with closing(analyze_files([file], spec=spec, frontend=frontend, jobs=1)) as heard:
        _, account, bands = next(heard)
        if account.status != "ok":
            raise UnusableError(f"{name}: {account.detail} [{account.reason}]; there is nothing to explain")
        n_tracks = spec.n_tracks(account.n_channels)
        say("judging")
        frames = NetworkFrames(bands, model.spec, model.frontend, n_tracks)
        prediction = scoring.predict_frames(model, name, account, frames)
        whole = account.duration_s <= segments.WHOLE_S
        chosen = [_all(prediction, label)] if whole else strongest(prediction, model, label, top)
        say("reading what is explained")
        samples = _samples(file, prediction, model, chosen, whole)
        return (
            prediction,
            [
                _subject(model, prediction, bands, moment, heard_of_it, n_tracks, whole)
                for moment, heard_of_it in zip(chosen, samples, strict=True)
            ],
            whole,
        )


def _all(prediction: RecordingPrediction, label: int | None) -> Segment:
    number = prediction.label_index if label is None else label
    return Segment(0, len(prediction.starts_s), number)


def strongest_events(prediction: RecordingPrediction, model: Bundle, label: int | None = None) -> list[Event]:
    """Return the events of a recording, strongest first, of the label with this number or of all.

    Of two labels the positive one makes events, unless the model has thresholds, as `predict` has it.
    """
    positive = () if model.labels.positive is None else (model.labels.positive,)
    fitted = prediction.decision is not None and bool(prediction.decision.thresholds)
    wanted = (prediction.labels[label],) if label is not None else () if fitted else positive
    return sorted(events.find_events(prediction, EventSpec(labels=wanted)), key=lambda event: -event.score)


def strongest(prediction: RecordingPrediction, model: Bundle, label: int | None, top: int) -> list[Segment]:
    """Return up to ``top`` moments: the strongest events, of the label if one is asked about, or else windows."""
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
    """The samples of each stretch; of a recording shorter than a window as often as it was repeated."""
    spec = model.spec
    recording = MonoFile(file, spec.sample_rate, spec.first_track)
    times = [
        (0.0, prediction.account.duration_s + 1) if whole else _times(prediction, model, moment) for moment in chosen
    ]
    samples: list[Array] = []
    for loaded in clips.load([(recording, stretch) for stretch in times], jobs=1):
        if isinstance(loaded, AudioError):
            raise UnusableError(f"{prediction.recording}: {loaded.detail} [{loaded.code}]; it was heard once before")
        samples.append(loaded)
    return [np.concatenate(list(extract.repeat_to_fill(samples, spec.window_samples)))] if whole else samples


def _times(prediction: RecordingPrediction, model: Bundle, moment: Segment) -> tuple[float, float]:
    """From the first frame of the first window to the last frame of the last."""
    start_s, end_s = prediction.starts_s[[moment.first, moment.last - 1]].tolist()
    return start_s, end_s + model.spec.window_s


def _subject(
    model: Bundle,
    prediction: RecordingPrediction,
    bands: StoredFrames,
    moment: Segment,
    samples: Array,
    n_tracks: int,
    whole: bool,
) -> ExplainInput:
    windows = slice(moment.first, moment.last)
    counted = prediction.counted[windows]
    return segments.cut(
        bands,
        samples,
        spec=model.spec,
        frontend=model.frontend,
        label=moment.label,
        starts=extract.window_starts(prediction.account.n_frames, model.spec)[windows],
        counted=counted if counted.any() else np.ones_like(counted),
        n_tracks=n_tracks,
        whole=whole,
    )
