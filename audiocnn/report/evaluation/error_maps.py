"""Why a model was wrong about the worst recordings: where hiding their sound changes what it says.

Exhibits in, the same with `ErrorMaps` out. It is the occlusion of `audiocnn explain`, on some seconds of each
recording.
"""

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
from audiocnn.explain.log_odds import Ask, LogOdds
from audiocnn.explain.segments import ExplainInput
from audiocnn.features import extract
from audiocnn.features.extract import Array
from audiocnn.inference.prediction import RecordingPrediction
from audiocnn.model.bundle import Bundle
from audiocnn.progress import Progress
from audiocnn.report.evaluation.clips import EXCERPT_S
from audiocnn.report.evaluation.content import ErrorMaps, ReportClip
from audiocnn.specs import DELTA_WIDTH, FeatureSpec

LONGEST_S = 8.0  # of a recording that is explained
_MOST_MULTIPLY_ADDS = 15 * 10**10  # for a recording, a second or two; a network of many gets fewer windows

Numbers = NDArray[np.int64]


def add_error_maps(
    report_clips: Sequence[ReportClip],
    recordings: Sequence[Recording],
    judge: Bundle,
    root: Path,
    *,
    most: int,
    jobs: int,
    progress: Progress,
) -> list[ReportClip]:
    """Return the report_clips, ``most`` of the wrong ones (the first of them, which are the worst) with their reasons.

    The ``index`` of an clip is a number in ``recordings``. Those that cannot be read any more, or were heard as
    several tracks, stay as they are.
    """
    found = list(report_clips)
    spec = judge.spec
    wrong = [i for i, e in enumerate(report_clips) if e.prediction.label != e.truth and _n_tracks(e, spec) == 1][:most]
    if not wrong:
        return found
    windows = [_windows(report_clips[i].prediction, judge) for i in wrong]
    files = [MonoFile(recordings[report_clips[i].index].file(root), spec.sample_rate, spec.first_track) for i in wrong]
    around = [_around_s(report_clips[i].prediction, its, spec) for i, its in zip(wrong, windows, strict=True)]
    with progress.task("explain the worst errors", total=len(wrong), unit="recordings") as advance:
        loaded = clips.load(list(zip(files, around, strict=True)), jobs=jobs)
        for i, its, samples in zip(wrong, windows, loaded, strict=True):
            clip = report_clips[i]
            if not isinstance(samples, AudioError) and len(samples):
                stretch = _stretch(clip.prediction, samples, its, judge)
                found[i] = replace(clip, error_maps=_reasons(clip, stretch, judge))
            advance()
    return found


def _n_tracks(clip: ReportClip, spec: FeatureSpec) -> int:
    return spec.n_tracks(clip.prediction.account.n_channels)


def _windows(prediction: RecordingPrediction, judge: Bundle) -> Numbers:
    """The windows that are explained: of those that an clip shows, the ones around the surest of the wrong label."""
    spec = judge.spec
    n_patches = len(occlusion.grid(spec.window_frames, spec.n_mels))
    affordable = _MOST_MULTIPLY_ADDS // (n_patches * judge.network.multiply_adds)
    most = max(1, min(affordable, 1 + int((LONGEST_S - spec.window_s) / spec.hop_s)))
    ends_s = prediction.ends_s - prediction.starts_s[0]
    n_shown = max(1, int(np.count_nonzero(ends_s <= EXCERPT_S)))
    scores = prediction.window_scores[:n_shown, prediction.label_index]
    surest = int(np.argmax(np.where(prediction.counted[:n_shown], scores, -1)))
    n = min(n_shown, most)
    return np.arange(n) + min(max(0, surest - n // 2), n_shown - n)


def _starts(prediction: RecordingPrediction, windows: Numbers, spec: FeatureSpec) -> Numbers:
    """The first frame of each window."""
    return np.round(prediction.starts_s[windows] * spec.sample_rate / spec.hop_length).astype(np.int64)


def _first(starts: Numbers, spec: FeatureSpec) -> int:
    """The frame at which reading begins, so early that the frames of the windows and what slopes see are exact."""
    return max(0, int(starts[0]) - _margin(spec))


def _margin(spec: FeatureSpec) -> int:
    return DELTA_WIDTH // 2 + math.ceil(spec.n_fft / 2 / spec.hop_length)


def _around_s(prediction: RecordingPrediction, windows: Numbers, spec: FeatureSpec) -> tuple[float, float]:
    """From when to when a recording is read for these windows, in seconds."""
    starts = _starts(prediction, windows, spec)
    last = int(starts[-1]) + spec.window_frames + _margin(spec)
    return (_first(starts, spec) * spec.hop_length / spec.sample_rate, last * spec.hop_length / spec.sample_rate)


def _stretch(prediction: RecordingPrediction, samples: Array, windows: Numbers, judge: Bundle) -> ExplainInput:
    """What the network saw in these windows; ``samples`` are those of `_around_s`."""
    spec, starts = judge.spec, _starts(prediction, windows, judge.spec)
    first = _first(starts, spec)
    only_bands, frontend = segments.banded(spec, judge.frontend)
    samples = np.concatenate(list(extract.repeat_to_fill([samples], spec.window_samples)))
    bands = np.concatenate(list(extract.compute_frames([samples], spec=only_bands, frontend=frontend)))
    begin, end = int(starts[0]) - first, int(starts[-1]) - first + spec.window_frames - 1
    found = segments.cut(
        bands,
        samples[begin * spec.hop_length : end * spec.hop_length],
        spec=spec,
        frontend=judge.frontend,
        label=prediction.label_index,
        starts=starts - first,
        counted=prediction.counted[windows],
    )
    return replace(found, start_s=float(prediction.starts_s[windows[0]]))


def _reasons(clip: ReportClip, stretch: ExplainInput, judge: Bundle) -> ErrorMaps:
    """Maps of the predicted label and, if the model knows it, of the true one; of two labels they are opposites."""
    level, _ = occlusion.neutral(judge, stretch, "mean")
    labels = [clip.prediction.label]
    if clip.truth in judge.labels and len(judge.labels) > 2:
        labels.append(clip.truth)
    answers: list[Array] = []
    maps = {label: occlusion.importance(stretch, _ask(judge, label, answers), level) for label in labels}
    return ErrorMaps(stretch, maps)


def _ask(judge: Bundle, label: str, answers: list[Array]) -> Ask:
    """Ask for one label after another about the same windows in the same order, of which only the first takes time."""
    known = iter(list(answers))

    def ask(X: Array) -> LogOdds:
        logits = next(known, None)
        if logits is None:
            logits = judge.runtime(X)[0]
            answers.append(logits)
        number = judge.labels.index(label)
        return log_odds.of_logits(logits, number, temperature=judge.temperature, positive=judge.labels.positive_index)

    return ask
