"""The recordings that a page shows and plays: facts for the lists, and each picture and sound once."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from audiocnn.audio import clips, encode
from audiocnn.audio.clips import MonoFile, SavedClip
from audiocnn.dataset.manifest import Recording
from audiocnn.draw import spectrogram, svg
from audiocnn.inference.prediction import RecordingPrediction
from audiocnn.report.evaluation.content import ErrorMaps, Evaluation, ReportClip, Suspect, worst_errors
from audiocnn.report.evaluation.page_data import name_recording, reason_of
from audiocnn.report.explanation import method
from audiocnn.report.sound import Sound, make_sound
from audiocnn.specs import FeatureSpec
from audiocnn.wording import NBSP, decimal, duration, power_of_two, quoted

_SHOWN_S = 30.0  # of a recording that are shown and played, from its start; less of one that is played slower
N_WHOLE = 24  # of the worst errors that the page lists without a script; pictures of others are smaller
SMALL_COLUMNS = 450  # width of the smaller pictures
_SHORTEST_S = 1.0  # of a stretch that are shown; less of one that is played slower
_MOST = 200  # recordings that are decoded; more do not fit into a page
_NEARLY_ALL_S = 0.5  # an end without a window, at most; less of one that is played slower
_CAPTION_PX = 190  # width of a label above its bars, on a phone


def shown_s(sample_rate: int) -> float:
    """Return how many seconds of a recording are read, shown and played."""
    return _SHOWN_S / encode.slowdown(sample_rate)


def choose_clips(
    predictions: Sequence[RecordingPrediction], truth: Sequence[str], *, n_right: int, seed: int
) -> list[int]:
    """Return the indices of the recordings to show, in order.

    First come the wrong ones, worst first, then ``n_right`` random correct ones, then others, in turn from each label.
    """
    wrong = worst_errors(predictions, truth, _MOST)
    right = [i for i, p in enumerate(predictions) if p.has_scores and p.label == truth[i]]
    shuffled = [right[k] for k in np.random.default_rng(seed).permutation(len(right))]
    drawn = sorted(shuffled[:n_right])
    by_label: dict[str, list[int]] = defaultdict(list)
    for i in shuffled[n_right:]:
        by_label[truth[i]].append(i)
    rest: list[int] = []
    while len(rest) < _MOST and any(by_label.values()):
        rest += [members.pop() for _, members in sorted(by_label.items()) if members]
    return [*wrong, *drawn, *rest][: max(_MOST, len(drawn))]


def load_clips(
    chosen: Sequence[int],
    predictions: Sequence[RecordingPrediction],
    recordings: Sequence[Recording],
    root: Path,
    view: FeatureSpec,
    *,
    folder: Path,
    jobs: int,
) -> list[ReportClip]:
    """Return the chosen recordings with their true label, except those whose file cannot be read any more.

    Their samples are in ``folder``, as those of `save_excerpts`.
    """
    samples = save_excerpts([recordings[i] for i in chosen], root, view, folder=folder, jobs=jobs)
    return [
        ReportClip(predictions[i], recordings[i].label, recordings[i].group, excerpt, view.sample_rate,
                recordings[i].stretch, i)
        for i, excerpt in zip(chosen, samples, strict=True)
        if excerpt is not None
    ]  # fmt: skip


def load_suspects(
    rows: Sequence[tuple[Recording, str, float, float]], root: Path, view: FeatureSpec, *, folder: Path, jobs: int
) -> list[Suspect]:
    """Return the suspects, except those whose file cannot be read any more.

    A row is a recording, the suggested label, the score of the present label and that of the suggested one. Samples are
    in ``folder``, as those of `save_excerpts`.
    """
    samples = save_excerpts([row[0] for row in rows], root, view, folder=folder, jobs=jobs)
    return [
        Suspect(r.path, r.label, instead, score, other, r.group, excerpt, view.sample_rate, r.stretch, excerpt.own_rate)
        for (r, instead, score, other), excerpt in zip(rows, samples, strict=True)
        if excerpt is not None
    ]


def save_excerpts(
    recordings: Sequence[Recording],
    root: Path,
    view: FeatureSpec,
    *,
    folder: Path,
    jobs: int,
    longest_s: float | None = None,
) -> list[SavedClip | None]:
    """Save up to ``longest_s`` of each recording or stretch in ``folder``; None if it cannot be read any more.

    The samples have the rate of ``view``, which `spectrogram.drawing_spec` returns; ``longest_s`` is `shown_s` of it
    unless it is given. Those of a page may take hundreds of megabytes, so each is read when it is drawn.
    """
    rate = view.sample_rate
    longest_s = shown_s(rate) if longest_s is None else longest_s
    requested = []
    for recording in recordings:
        start, end = recording.stretch or (0.0, longest_s)
        length_s = min(longest_s, max(end - start, _SHORTEST_S / encode.slowdown(rate)))
        requested.append((MonoFile(recording.file(root), rate), (start, start + length_s)))
    saved = dict(clips.save(requested, folder=folder, jobs=jobs))
    excerpts = [saved[number] for number in range(len(requested))]
    return [clip if isinstance(clip, SavedClip) and clip.n else None for clip in excerpts]


@dataclass(frozen=True)
class ErrorExplanation:
    """Pictures of error maps, with captions; ``when`` names the part, if it is not all that is shown.

    Hiding a place of the strongest colour changes the odds of the label by ``factor``.
    """

    when: str
    pictures: Sequence[tuple[str, Markup]]
    factor: str

    @property
    def n_bytes(self) -> int:
        return sum(len(picture) for _, picture in self.pictures)


@dataclass(frozen=True)
class Media:
    """A picture, a sound and the explanation of an error, which the page has once, at element ``id``.

    ``cut`` is the duration that is shown and played, if that is only the start of the recording.
    """

    id: str
    recording: str
    picture: Markup
    sound: Sound
    cut: str = ""
    why: ErrorExplanation | None = None

    @property
    def n_bytes(self) -> int:
        return len(self.picture) + len(self.sound.uri) + (self.why.n_bytes if self.why else 0)


@dataclass(frozen=True)
class ShownRecording:
    """The facts of a recording on the page: ``status`` if it is unknown or has no prediction."""

    recording: str
    truth: str
    truth_score: str
    predicted: str
    predicted_score: str
    group: str
    status: str = ""
    duration: str = ""
    media: Media | None = None


@dataclass(frozen=True)
class Gallery:
    """The wrong recordings, worst first, the suspects, and all pictures and sounds."""

    worst: Sequence[ShownRecording]
    suspects: Sequence[ShownRecording]
    media: Sequence[Media]
    n_left_out: int

    @property
    def whole(self) -> set[str]:
        """The ids of the media that stand in place; the others are templates that the script copies."""
        return {one.media.id for one in self.worst[:N_WHOLE] if one.media}


def make_media(
    id: str,
    recording: str,
    samples: NDArray[np.float32],
    view: FeatureSpec,
    *,
    strips: Sequence[spectrogram.Strip] = (),
    max_columns: int = SMALL_COLUMNS,
    own_rate: int = 0,
) -> Media:
    """Draw and encode samples (n,), n > 0, at the rate of ``view``.

    Nothing is drawn above half of ``own_rate``, the sample rate of the recording, if that is known.
    """
    title, rate = f"Spectrogram of {recording}", view.sample_rate
    picture = spectrogram.draw(
        samples, rate, title=title, strips=strips, max_columns=max_columns, highest_hz=own_rate / 2 or None, spec=view
    )
    return Media(id, recording, picture, make_sound(samples, rate))


def make_gallery(evaluation: Evaluation, *, budget: int) -> Gallery:
    """Draw and encode the recordings of an evaluation; samples must be at the rate of its ``view``.

    The worst errors come first, then the suspects, then the others, until ``budget`` bytes are used.
    """
    maker = _MediaMaker(budget, evaluation.view)
    wrong = [e for e in evaluation.report_clips if e.prediction.label != e.truth]
    others = [e for e in evaluation.report_clips if e.prediction.label == e.truth]
    worst = [
        _show_clip(e, maker.of_clip(e, spectrogram.MAX_COLUMNS if rank < N_WHOLE else SMALL_COLUMNS))
        for rank, e in enumerate(wrong)
    ]
    suspects = [_show_suspect(one, maker.of_suspect(one, i)) for i, one in enumerate(evaluation.suspects or ())]
    for clip in others:
        maker.of_clip(clip, SMALL_COLUMNS)
    return Gallery(worst, suspects, list(maker.media.values()), maker.n_left_out)


@dataclass
class _MediaMaker:
    """Makes pictures and sounds, none twice, until the budget of bytes is used."""

    budget: int
    view: FeatureSpec
    media: dict[tuple[str, tuple[float, float] | None], Media] = field(default_factory=dict)
    n_left_out: int = 0

    def of_clip(self, clip: ReportClip, max_columns: int) -> Media | None:
        return self._make(clip, clip.prediction.recording, f"media-{clip.index}", _strips(clip), max_columns)

    def of_suspect(self, suspect: Suspect, number: int) -> Media | None:
        return self._make(suspect, suspect.recording, f"media-suspect-{number}", (), SMALL_COLUMNS)

    def _make(
        self,
        one: ReportClip | Suspect,
        recording: str,
        name: str,
        strips: Sequence[spectrogram.Strip],
        max_columns: int,
    ) -> Media | None:
        key = recording, one.stretch
        if key in self.media or not len(one.samples):
            return self.media.get(key)
        if self.n_left_out:  # later ones matter less, even if they are smaller
            self.n_left_out += 1
            return None
        samples = one.samples[: int(shown_s(one.sample_rate) * one.sample_rate)]
        words = name_recording(recording, one.stretch)
        own_rate = one.prediction.recording_status.sample_rate if isinstance(one, ReportClip) else one.own_rate
        media = make_media(name, words, samples, self.view, strips=strips, max_columns=max_columns, own_rate=own_rate)
        if isinstance(one, ReportClip):
            why = None if one.error_maps is None else _explain_error(one, one.error_maps)
            media = replace(media, cut=duration(shown_s(one.sample_rate)) if _is_cut(one) else "", why=why)
        if media.n_bytes > self.budget:
            self.n_left_out += 1
            return None
        self.budget -= media.n_bytes
        self.media[key] = media
        return media


def _show_clip(clip: ReportClip, media: Media | None) -> ShownRecording:
    prediction = clip.prediction
    known = prediction.has_scores and clip.truth in prediction.labels
    truth_score = float(prediction.scores[prediction.labels.index(clip.truth)]) if known else None
    return ShownRecording(
        recording=name_recording(prediction.recording, clip.stretch),
        truth=clip.truth,
        truth_score=decimal(truth_score) if known else "a label that the model does not have",
        predicted=prediction.label,
        predicted_score=decimal(prediction.score),
        group=clip.group,
        status=reason_of(prediction),
        duration=duration(prediction.recording_status.duration_s) if prediction.has_scores else "",
        media=media,
    )


def _is_cut(clip: ReportClip) -> bool:
    return clip.prediction.recording_status.duration_s > 1.02 * shown_s(clip.sample_rate)


def show_without_media(evaluation: Evaluation, index: int) -> ShownRecording:
    """Return the facts of a recording that was not decoded."""
    nothing = np.zeros(0, np.float32)
    stretch = evaluation.stretches[index] if evaluation.stretches else None
    clip = ReportClip(
        evaluation.predictions[index], evaluation.truth[index], evaluation.groups[index], nothing,
        evaluation.view.sample_rate, stretch, index,
    )  # fmt: skip
    return _show_clip(clip, None)


def _show_suspect(suspect: Suspect, media: Media | None) -> ShownRecording:
    return ShownRecording(
        recording=name_recording(suspect.recording, suspect.stretch),
        truth=suspect.label,
        truth_score=decimal(suspect.label_score),
        predicted=suspect.suggested,
        predicted_score=decimal(suspect.suggested_score),
        group=suspect.group,
        media=media,
    )


def _explain_error(clip: ReportClip, reasons: ErrorMaps) -> ErrorExplanation:
    """Draw the error maps of a clip on one colour scale."""
    stretch = reasons.stretch
    roles = {clip.truth: "true", clip.prediction.label: "predicted"}
    if len(clip.prediction.labels) == 2 and clip.truth in clip.prediction.labels:
        roles[clip.prediction.label] += f"; blue counts for {quoted(clip.truth)}"
    words = name_recording(clip.prediction.recording, clip.stretch)
    limit = method.colour_limit(list(reasons.maps.values()))
    drawn = [
        (
            f"For {quoted(label)}, {roles[label]}",
            method.draw_spectrogram(
                stretch, title=f"Error map for {label} in {words}", values=values, limit=limit,
                max_columns=SMALL_COLUMNS, own_rate=clip.prediction.recording_status.sample_rate,
            ),
        )
        for label, values in reasons.maps.items()
    ]  # fmt: skip
    begin_s = max(0.0, stretch.start_s - (clip.stretch[0] if clip.stretch else 0.0))
    shown, tolerance = len(clip.samples) / clip.sample_rate, _NEARLY_ALL_S / encode.slowdown(clip.sample_rate)
    when = ""
    if stretch.duration_s < shown - tolerance:
        when = f"from {decimal(begin_s)} to {decimal(begin_s + stretch.duration_s)}{NBSP}s"
    elif "short" in clip.prediction.recording_status.codes:
        when = f"in the recording, which is repeated to fill a window of {duration(stretch.duration_s)}"
    return ErrorExplanation(when, drawn, power_of_two(limit))


def _strips(clip: ReportClip) -> list[spectrogram.Strip]:
    """The window scores of the true and the predicted label, or of one label if they are the same."""
    prediction = clip.prediction
    begin_s = clip.stretch[0] if clip.stretch else 0.0
    starts_s = np.maximum(prediction.starts_s - begin_s, 0)
    roles: Mapping[str, tuple[str, str]] = {
        prediction.label: ("predicted", svg.ORANGE),
        clip.truth: ("truth", svg.BLUE),
    }
    return [
        spectrogram.Strip(
            caption=f"{role}: {svg.shorten(label, _CAPTION_PX)}",
            paint=paint,
            starts_s=starts_s,
            ends_s=np.maximum(prediction.ends_s - begin_s, starts_s),
            values=prediction.window_scores[:, prediction.labels.index(label)],
        )
        for label, (role, paint) in reversed(list(roles.items()))
        if label in prediction.labels
    ]
