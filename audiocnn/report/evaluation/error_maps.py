"""Occlusion maps of the worst errors, by the method of `audiocnn explain`, for some seconds of each recording."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audiocnn.audio import clips
from audiocnn.audio.clips import MonoFile
from audiocnn.dataset.manifest import Recording
from audiocnn.errors import AudioError
from audiocnn.explain import model_occlusion, occlusion, segments
from audiocnn.explain.segments import ExplainInput
from audiocnn.features import extract
from audiocnn.features.extract import Array
from audiocnn.features.frontend import Frontend
from audiocnn.inference.prediction import RecordingPrediction
from audiocnn.model.loaded_model import LoadedModel
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
    model: LoadedModel,
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
    views = [_views(report_clips[i], model) for i in wrong]
    spans = [
        (MonoFile(recordings[report_clips[i].index].file(root), one.spec.sample_rate, spec.first_track), one.span_s)
        for i, its in zip(wrong, views, strict=True)
        for one in its
    ]
    with progress.task("explain the worst errors", total=len(wrong), unit="recordings") as advance:
        loaded = iter(clips.load(spans, jobs=jobs))
        for i, its in zip(wrong, views, strict=True):
            samples = [
                one for one in itertools.islice(loaded, len(its)) if not isinstance(one, AudioError) and len(one)
            ]
            if len(samples) == len(its):
                label = report_clips[i].prediction.label_index
                inputs = [one.explain_input(of_one, label) for one, of_one in zip(its, samples, strict=True)]
                subject = model_occlusion.with_members(inputs[0], inputs[1:]) if model.members else inputs[0]
                found[i] = replace(report_clips[i], error_maps=_error_maps(report_clips[i], subject, model))
            advance()
    return found


def _n_tracks(clip: ReportClip, spec: FeatureSpec) -> int:
    return spec.n_tracks(clip.prediction.recording_status.n_channels)


@dataclass(frozen=True)
class _View:
    """Windows of a recording as one network gets them, or as the map shows them.

    ``starts`` (n,) are their first frames. ``counted`` (n,) are those that count for the recording; if it is None,
    those do that are loud enough among these windows.
    """

    spec: FeatureSpec
    frontend: Frontend
    starts: Numbers
    counted: NDArray[np.bool_] | None

    @property
    def starts_s(self) -> NDArray[np.float64]:
        return extract.window_start_s(self.starts, self.spec)

    @property
    def first(self) -> int:
        """The frame at which reading begins, early enough that the features of all windows and deltas are exact."""
        return max(0, int(self.starts[0]) - self._margin)

    @property
    def span_s(self) -> tuple[float, float]:
        """The start and end of what is read for these windows, in seconds."""
        spec = self.spec
        last = int(self.starts[-1]) + spec.window_frames + self._margin
        return (self.first * spec.hop_length / spec.sample_rate, last * spec.hop_length / spec.sample_rate)

    @property
    def _margin(self) -> int:
        return DELTA_WIDTH // 2 + math.ceil(self.spec.n_fft / 2 / self.spec.hop_length)

    def part(self, windows: slice) -> "_View":
        return replace(
            self, starts=self.starts[windows], counted=None if self.counted is None else self.counted[windows]
        )

    def explain_input(self, samples: Array, label: int) -> ExplainInput:
        """Return the input of the network in these windows; ``samples`` are those of `span_s`."""
        spec = self.spec
        only_bands, frontend = segments.banded(spec, self.frontend)
        samples = np.concatenate(list(extract.repeat_to_fill([samples], spec.window_samples)))
        bands = np.concatenate(list(extract.compute_frames([samples], spec=only_bands, frontend=frontend)))
        starts = np.minimum(self.starts - self.first, len(bands) - spec.window_frames)
        begin, end = int(starts[0]), int(starts[-1]) + spec.window_frames - 1
        found = segments.cut(
            bands,
            samples[begin * spec.hop_length : end * spec.hop_length],
            spec=spec,
            frontend=self.frontend,
            label=label,
            starts=starts,
            counted=np.ones(len(starts), bool) if self.counted is None else self.counted,
        )
        if self.counted is None:
            levels = extract.window_levels(found.windows(), spec)
            found = replace(found, counted=extract.loud_windows(levels, spec))
        return replace(found, start_s=float(self.starts_s[0]))


def _views(clip: ReportClip, model: LoadedModel) -> list[_View]:
    """Return the windows to explain: those of the map and, if the model has members, of each member in that time."""
    prediction, (spec, constants) = clip.prediction, model_occlusion.map_kind(model)
    finest = model.networks[model.finest]
    starts = np.round(prediction.starts_s * finest.spec.sample_rate / finest.spec.hop_length).astype(np.int64)
    own = _View(finest.spec, finest.frontend, starts, prediction.counted)
    if not model.members:
        return [own.part(_around_surest(prediction, prediction.starts_s, prediction.ends_s, model))]
    whole = _View(spec, constants, _all_starts(clip, spec), None)
    shown = whole.part(_around_surest(prediction, whole.starts_s, whole.starts_s + spec.window_s, model))
    views = [shown]
    for network in model.networks:
        one = own
        if network is not finest:
            one = _View(network.spec, network.frontend, _all_starts(clip, network.spec), None)
        belongs = model_occlusion.windows_of_map(shown.starts_s, spec, one.starts_s, one.spec.window_s).any(axis=0)
        numbers = np.flatnonzero(belongs)
        views.append(one.part(slice(int(numbers[0]), int(numbers[-1]) + 1)))
    return views


def _around_surest(
    prediction: RecordingPrediction, starts_s: NDArray[np.float64], ends_s: NDArray[np.float64], model: LoadedModel
) -> slice:
    """The windows to explain, of those that begin at ``starts_s``.

    They are around the highest score of the predicted label, within what is shown.
    """
    spec, _ = model_occlusion.map_kind(model)
    n_patches = len(occlusion.grid(spec.window_frames, spec.n_mels))
    affordable = int(_MOST_MULTIPLY_ADDS // (n_patches * model_occlusion.multiply_adds(model)))
    most = max(1, min(affordable, 1 + int((LONGEST_S - spec.window_s) / spec.hop_s)))
    longest_s = shown_s(spec.sample_rate)
    n_scored = max(1, int(np.count_nonzero(prediction.ends_s - prediction.starts_s[0] <= longest_s)))
    scores = prediction.window_scores[:n_scored, prediction.label_index]
    surest = int(np.argmax(np.where(prediction.counted[:n_scored], scores, -1)))
    n_shown = max(1, int(np.count_nonzero(ends_s - starts_s[0] <= longest_s)))
    later_s = (spec.window_s - model.spec.window_s) / 2  # so that centres are compared
    middle = int(np.abs(starts_s[:n_shown] + later_s - prediction.starts_s[surest]).argmin())
    n = min(n_shown, most)
    first = min(max(0, middle - n // 2), n_shown - n)
    return slice(first, first + n)


def _all_starts(clip: ReportClip, spec: FeatureSpec) -> Numbers:
    """Return the first frame of each window of a recording, or of its stretch, for features it is not predicted with.

    Its number of frames is estimated, so the last window may be one frame off.
    """
    duration_s = clip.prediction.recording_status.duration_s
    if clip.stretch is None:
        n_frames = 1 + int(duration_s * spec.sample_rate) // spec.hop_length
        return extract.window_starts(max(n_frames, spec.window_frames), spec)
    begin_s, end_s = clip.stretch[0], clip.stretch[0] + duration_s
    n_frames = math.ceil(end_s * spec.sample_rate / spec.hop_length) + spec.window_frames
    return extract.window_starts(n_frames, spec, (begin_s, end_s))


def _error_maps(clip: ReportClip, stretch: ExplainInput, model: LoadedModel) -> ErrorMaps:
    """Map the predicted label and, if the model has it, the true one.

    With two labels there is one map: the other would be its negative.
    """
    labels = [clip.prediction.label]
    if clip.truth in model.labels and len(model.labels) > 2:
        labels.append(clip.truth)
    maps = model_occlusion.importance(model, stretch, [model.labels.index(label) for label in labels], "mean")
    return ErrorMaps(stretch, dict(zip(labels, maps, strict=True)))
