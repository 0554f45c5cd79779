"""The augmentation preview as one HTML page: pictures and sounds of recordings, augmented versions and windows."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path

import numpy as np
from markupsafe import Markup

from audiocnn import text
from audiocnn.audio import clips, decode, encode
from audiocnn.audio.clips import MonoFile
from audiocnn.dataset.manifest import Recording, labels_of
from audiocnn.draw import spectrogram
from audiocnn.errors import AudioError
from audiocnn.features import extract
from audiocnn.features.analyze import AugmentedFile, RecordingStatus
from audiocnn.features.augment import draw_augmentation
from audiocnn.features.extract import Array
from audiocnn.features.store import FeatureStore
from audiocnn.features.windows import Windows, augmented_versions
from audiocnn.report import page
from audiocnn.report.sound import Sound, make_sound
from audiocnn.specs import FeatureSpec, TrainSpec
from audiocnn.training import batches, fit

PREVIEW_S = 6.0  # of a recording, at most; less of one that is played slower
N_AUGMENTED = 2  # random augmentations of a window
_DEVIATIONS = 2.5  # from the mean, at either end of the scale of a window


@dataclass(frozen=True)
class AugmentedVersion:
    """A recording or an augmented version: what was changed, and samples (n,) at the rate of the view."""

    words: str
    samples: Array


@dataclass(frozen=True)
class AugmentationExample:
    """A recording, its augmented versions, and a standardised window (n_bins, n_frames), as is and augmented.

    ``view`` are the features to draw the versions with, which `spectrogram.drawing_spec` returns, up to ``highest_hz``.
    """

    recording: Recording
    versions: Sequence[AugmentedVersion]
    windows: Sequence[Array]
    view: FeatureSpec = spectrogram.SPEC
    highest_hz: float | None = None


def make_examples(
    recordings: Sequence[Recording],
    statuses: Mapping[str, RecordingStatus],
    store: FeatureStore,
    spec: TrainSpec,
    *,
    root: Path,
    count: int,
    jobs: int,
) -> list[AugmentationExample]:
    """Return examples of ``count`` usable recordings, or of all if there are fewer, in turn from each label.

    There are windows only if ``spec`` shifts, amplifies or masks them; they are standardised by the mean and standard
    deviation of the returned recordings.
    """
    usable = [r for r in recordings if statuses[r.path].for_stretch(r.stretch, store.spec).status == "ok"]
    chosen = choose_recordings(usable, count, spec.seed)
    versions = _versions(chosen, statuses, store, root, jobs)
    windows = _windows(chosen, statuses, store, spec)
    view = spectrogram.drawing_spec(store.spec)
    rates = [min(store.spec.sample_rate, statuses[r.path].sample_rate) for r in chosen]
    return [
        AugmentationExample(r, v, w, view, rate / 2)
        for r, v, w, rate in zip(chosen, versions, windows, rates, strict=True)
    ]


def choose_recordings(recordings: Sequence[Recording], count: int, seed: int) -> list[Recording]:
    """Return ``count`` random recordings, in turn from each label."""
    by_label: dict[str, list[Recording]] = defaultdict(list)
    for i in np.random.default_rng(seed).permutation(len(recordings)):
        by_label[recordings[i].label].append(recordings[i])
    in_turn = chain.from_iterable(zip_longest(*(by_label[label] for label in sorted(by_label))))
    return [recording for recording in in_turn if recording is not None][:count]


def _versions(
    chosen: Sequence[Recording], statuses: Mapping[str, RecordingStatus], store: FeatureStore, root: Path, jobs: int
) -> list[list[AugmentedVersion]]:
    """Load the recordings and those of their augmented versions that are in the store."""
    spec = store.spec
    view_rate = spectrogram.drawing_spec(spec).sample_rate
    longest_s = PREVIEW_S / encode.slowdown(view_rate)
    requested: list[tuple[MonoFile, clips.Stretch]] = []
    words, owners = [], []
    for owner, recording in enumerate(chosen):
        original = MonoFile(recording.file(root), spec.sample_rate, spec.first_track)
        start_s, end_s = recording.stretch or (0.0, longest_s)
        end_s = min(end_s, start_s + longest_s)
        for recording_status, number, _ in augmented_versions(statuses[recording.path], store):
            if number:
                drawn = draw_augmentation(spec.copies[number - 1], recording_status.sha256, number)
                augmented = AugmentedFile(original.path, original.sample_rate, original.channel, augmentation=drawn)
                requested.append((augmented, (start_s / drawn.speed, end_s / drawn.speed)))
                words.append(drawn.words)
            else:
                requested.append((original, (start_s, end_s)))
                words.append("as recorded")
            owners.append(owner)
    found: list[list[AugmentedVersion]] = [[] for _ in chosen]
    for owner, described, loaded in zip(owners, words, clips.load(requested, jobs=jobs), strict=True):
        if not isinstance(loaded, AudioError):
            samples = decode.resample(loaded, spec.sample_rate, view_rate)
            found[owner] += [AugmentedVersion(described, samples)] if len(samples) else []
    return found


def _windows(
    chosen: Sequence[Recording], statuses: Mapping[str, RecordingStatus], store: FeatureStore, spec: TrainSpec
) -> list[list[Array]]:
    """The middle window of each recording and its augmentations; nothing if training does not augment windows."""
    if not (spec.shift_frames or spec.shift_bins or spec.gain_db or spec.mask_frames or spec.mask_bins):
        return [[] for _ in chosen]
    features = store.spec
    rng = np.random.default_rng([spec.seed, 1])
    labels = labels_of(chosen)
    of_each = [Windows([r], statuses, labels, store) for r in chosen]
    chunks = chain.from_iterable(windows.chunks() for windows in of_each)
    mean, std = fit.standardization(chunks, spec.standardize, features.axes)
    found = []
    for windows in of_each:
        X = windows[np.array([len(windows) // 2])]
        repeated = np.repeat(X, N_AUGMENTED, axis=0)
        augmented = batches.augment_windows(
            repeated, spec, (mean, std), features.axes, extract.change_per_db(features), rng
        )
        found.append([_picture(x, features) for x in [*((X - mean) / std), *augmented]])
    return found


def _picture(x: Array, spec: FeatureSpec) -> Array:
    """Return the first channel of a window as (n_bins, n_frames)."""
    return x[..., 0] if spec.axes == "bins_frames" else x[..., 0].T


@dataclass(frozen=True)
class _PreviewFigure:
    """A picture with a caption, and a sound if there is one."""

    caption: str
    picture: Markup
    sound: Sound | None = None


@dataclass(frozen=True)
class _ShownExample:
    """One recording on the page."""

    recording: str
    label: str
    versions: Sequence[_PreviewFigure]
    windows: Sequence[_PreviewFigure]


def render_preview(name: str, examples: Sequence[AugmentationExample]) -> str:
    """Return the page."""
    return page.render(
        "examples.html.j2",
        name=name,
        examples=[_show(example) for example in examples],
        n_copies=max((len(example.versions) - 1 for example in examples), default=0),
        with_windows=any(example.windows for example in examples),
        deviations=_DEVIATIONS,
    )


def _show(example: AugmentationExample) -> _ShownExample:
    row = example.recording
    recording = text.encode_path(row.path)
    if row.stretch is not None:
        recording += f", {row.stretch[0]:.6g} to {row.stretch[1]:.6g} s"
    captions = ["as recorded", *(f"augmented, {number}" for number in range(1, len(example.windows)))]
    return _ShownExample(
        recording=recording,
        label=row.label,
        versions=[_show_version(version, recording, example) for version in example.versions],
        windows=[
            _PreviewFigure(
                caption, spectrogram.draw_tile(values, limit=_DEVIATIONS, title=f"Window of {recording}, {caption}")
            )
            for caption, values in zip(captions, example.windows, strict=False)
        ],
    )


def _show_version(version: AugmentedVersion, recording: str, example: AugmentationExample) -> _PreviewFigure:
    view = example.view
    samples = version.samples / max(1.0, float(np.abs(version.samples).max()))  # added noise may exceed full scale
    title = f"Spectrogram of {recording}, {version.words}"
    return _PreviewFigure(
        caption=version.words,
        picture=spectrogram.draw(samples, view.sample_rate, title=title, highest_hz=example.highest_hz, spec=view),
        sound=make_sound(samples, view.sample_rate),
    )
