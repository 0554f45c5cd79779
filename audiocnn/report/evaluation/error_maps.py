"""Occlusion maps of the worst errors, by the method of `audiocnn explain`, for some seconds of each recording."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audiocnn.audio import clips
from audiocnn.audio.clips import MonoFile
from audiocnn.dataset.manifest import Recording
from audiocnn.errors import AudioError
from audiocnn.explain import log_odds, occlusion, segments
from audiocnn.explain.log_odds import LogOdds, Scorer
from audiocnn.explain.segments import ExplainInput
from audiocnn.features import extract
from audiocnn.features.extract import Array
from audiocnn.inference.prediction import RecordingPrediction
from audiocnn.model.bundle import Bundle
from audiocnn.progress import Progress
from audiocnn.report.evaluation.clips import shown_s
from audiocnn.report.evaluation.content import ErrorMaps, ReportClip
from audiocnn.specs import DELTA_WIDTH, FeatureSpec

LONGEST_S = 8.0  # that are explained of a recording
_MOST_MULTIPLY_ADDS = 15 * 10**10  # for a recording, a second or two; a large network gets fewer windows

Numbers = NDArray[np.int64]


def add_error_maps(
    report_clips: Sequence[ReportClip],
    recordings: Sequence[Recording],
    model: Bundle,
    root: Path,
    *,
    most: int,
    jobs: int,
    progress: Progress,
) -> list[ReportClip]:
    """Return the clips; the first ``most`` wrong ones, which are the worst, get their `ErrorMaps`.

    The ``index`` of a clip is its index in ``recordings``. Clips whose file cannot be read any more, and recordings
    with several tracks, stay as they are.
    """
    found = list(report_clips)
    spec = model.spec
    wrong = [i for i, e in enumerate(report_clips) if e.prediction.label != e.truth and _n_tracks(e, spec) == 1][:most]
    if not wrong:
        return found
    windows = [_windows(report_clips[i].prediction, model) for i in wrong]
    files = [MonoFile(recordings[report_clips[i].index].file(root), spec.sample_rate, spec.first_track) for i in wrong]
    spans_s = [_span_s(report_clips[i].prediction, its, spec) for i, its in zip(wrong, windows, strict=True)]
    with progress.task("explain the worst errors", total=len(wrong), unit="recordings") as advance:
        loaded = clips.load(list(zip(files, spans_s, strict=True)), jobs=jobs)
        for i, its, samples in zip(wrong, windows, loaded, strict=True):
            clip = report_clips[i]
            if not isinstance(samples, AudioError) and len(samples):
                stretch = _stretch(clip.prediction, samples, its, model)
                found[i] = replace(clip, error_maps=_error_maps(clip, stretch, model))
            advance()
    return found


def _n_tracks(clip: ReportClip, spec: FeatureSpec) -> int:
    return spec.n_tracks(clip.prediction.recording_status.n_channels)


def _windows(prediction: RecordingPrediction, model: Bundle) -> Numbers:
    """The indices of the windows to explain: around the highest score of the predicted label, within what is shown."""
    spec = model.spec
    n_patches = len(occlusion.grid(spec.window_frames, spec.n_mels))
    affordable = _MOST_MULTIPLY_ADDS // (n_patches * model.network.multiply_adds)
    most = max(1, min(affordable, 1 + int((LONGEST_S - spec.window_s) / spec.hop_s)))
    ends_s = prediction.ends_s - prediction.starts_s[0]
    n_shown = max(1, int(np.count_nonzero(ends_s <= shown_s(spec.sample_rate))))
    scores = prediction.window_scores[:n_shown, prediction.label_index]
    surest = int(np.argmax(np.where(prediction.counted[:n_shown], scores, -1)))
    n = min(n_shown, most)
    return np.arange(n) + min(max(0, surest - n // 2), n_shown - n)


def _starts(prediction: RecordingPrediction, windows: Numbers, spec: FeatureSpec) -> Numbers:
    """The first frame of each window."""
    return np.round(prediction.starts_s[windows] * spec.sample_rate / spec.hop_length).astype(np.int64)


def _first(starts: Numbers, spec: FeatureSpec) -> int:
    """The frame at which reading begins, early enough that the features of all windows and their deltas are exact."""
    return max(0, int(starts[0]) - _margin(spec))


def _margin(spec: FeatureSpec) -> int:
    return DELTA_WIDTH // 2 + math.ceil(spec.n_fft / 2 / spec.hop_length)


def _span_s(prediction: RecordingPrediction, windows: Numbers, spec: FeatureSpec) -> tuple[float, float]:
    """The start and end of what is read for these windows, in seconds."""
    starts = _starts(prediction, windows, spec)
    last = int(starts[-1]) + spec.window_frames + _margin(spec)
    return (_first(starts, spec) * spec.hop_length / spec.sample_rate, last * spec.hop_length / spec.sample_rate)


def _stretch(prediction: RecordingPrediction, samples: Array, windows: Numbers, model: Bundle) -> ExplainInput:
    """The input of the network in these windows; ``samples`` are those of `_span_s`."""
    spec, starts = model.spec, _starts(prediction, windows, model.spec)
    first = _first(starts, spec)
    only_bands, frontend = segments.banded(spec, model.frontend)
    samples = np.concatenate(list(extract.repeat_to_fill([samples], spec.window_samples)))
    bands = np.concatenate(list(extract.compute_frames([samples], spec=only_bands, frontend=frontend)))
    begin, end = int(starts[0]) - first, int(starts[-1]) - first + spec.window_frames - 1
    found = segments.cut(
        bands,
        samples[begin * spec.hop_length : end * spec.hop_length],
        spec=spec,
        frontend=model.frontend,
        label=prediction.label_index,
        starts=starts - first,
        counted=prediction.counted[windows],
    )
    return replace(found, start_s=float(prediction.starts_s[windows[0]]))


def _error_maps(clip: ReportClip, stretch: ExplainInput, model: Bundle) -> ErrorMaps:
    """Map the predicted label and, if the model has it, the true one.

    With two labels there is one map: the other would be its negative.
    """
    level, _ = occlusion.neutral(model, stretch, "mean")
    labels = [clip.prediction.label]
    if clip.truth in model.labels and len(model.labels) > 2:
        labels.append(clip.truth)
    known: list[Array] = []
    maps = {label: occlusion.importance(stretch, _cached_ask(model, label, known), level) for label in labels}
    return ErrorMaps(stretch, maps)


def _cached_ask(model: Bundle, label: str, known: list[Array]) -> Scorer:
    """Return the log-odds of a label, with the logits computed for the first label only.

    All labels are asked for the same windows in the same order; ``known`` keeps the logits.
    """
    cached = iter(list(known))

    def ask(X: Array) -> LogOdds:
        logits = next(cached, None)
        if logits is None:
            logits = model.runtime(X)[0]
            known.append(logits)
        index = model.labels.index(label)
        return log_odds.of_logits(logits, index, temperature=model.temperature, positive=model.labels.positive_index)

    return ask
