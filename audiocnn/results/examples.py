"""Some recordings as a network hears them while it learns: themselves, their copies, and windows made different."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path

import numpy as np

from audiocnn.audio import clips, decode
from audiocnn.audio.clips import MonoFile
from audiocnn.dataset.manifest import Recording, labels_of
from audiocnn.draw import spectrogram
from audiocnn.errors import AudioError
from audiocnn.features import alter, extract, gather
from audiocnn.features.extract import Array
from audiocnn.features.gather import Windows
from audiocnn.features.listen import Account, AlteredFile
from audiocnn.features.store import FeatureStore
from audiocnn.model import augment, training
from audiocnn.specs import FeatureSpec, TrainSpec

SHOWN_S = 6.0  # of a recording, at most
N_SHOWN_DIFFERENT = 2  # how often a window is shown as training changes it


@dataclass(frozen=True)
class Version:
    """A recording or a copy of it: what was done, and samples (n,) at `audiocnn.draw.spectrogram.SAMPLE_RATE`."""

    words: str
    samples: Array


@dataclass(frozen=True)
class Example:
    """A recording, its copies, and standardised windows (n_bins, n_frames): one of its own, then as it is shown."""

    recording: Recording
    versions: Sequence[Version]
    windows: Sequence[Array]


def make(
    recordings: Sequence[Recording],
    accounts: Mapping[str, Account],
    store: FeatureStore,
    spec: TrainSpec,
    *,
    root: Path,
    count: int,
    jobs: int,
) -> list[Example]:
    """Return ``count`` usable recordings, or as many as there are, in turn from every label.

    Windows are there if ``spec`` has them shifted, louder or masked; they are standardised by those of the recordings
    returned.
    """
    usable = [r for r in recordings if accounts[r.path].of_stretch(r.stretch, store.spec).status == "ok"]
    chosen = choose(usable, count, spec.seed)
    versions = _versions(chosen, accounts, store, root, jobs)
    windows = _windows(chosen, accounts, store, spec)
    return [Example(r, v, w) for r, v, w in zip(chosen, versions, windows, strict=True)]


def choose(recordings: Sequence[Recording], count: int, seed: int) -> list[Recording]:
    """Return so many recordings, drawn from each label in turn."""
    by_label: dict[str, list[Recording]] = defaultdict(list)
    for i in np.random.default_rng(seed).permutation(len(recordings)):
        by_label[recordings[i].label].append(recordings[i])
    in_turn = chain.from_iterable(zip_longest(*(by_label[label] for label in sorted(by_label))))
    return [recording for recording in in_turn if recording is not None][:count]


def _versions(
    chosen: Sequence[Recording], accounts: Mapping[str, Account], store: FeatureStore, root: Path, jobs: int
) -> list[list[Version]]:
    """Themselves and those of their copies that are in the store, as they are heard."""
    spec = store.spec
    wanted: list[tuple[MonoFile, clips.Stretch]] = []
    words, owners = [], []
    for owner, recording in enumerate(chosen):
        original = MonoFile(recording.file(root), spec.sample_rate, spec.first_track)
        start_s, end_s = recording.stretch or (0.0, SHOWN_S)
        end_s = min(end_s, start_s + SHOWN_S)
        for account, number, _ in gather.versions(accounts[recording.path], store):
            if number:
                drawn = alter.draw(spec.copies[number - 1], account.sha256, number)
                altered = AlteredFile(original.path, original.sample_rate, original.channel, alteration=drawn)
                wanted.append((altered, (start_s / drawn.speed, end_s / drawn.speed)))
                words.append(drawn.words)
            else:
                wanted.append((original, (start_s, end_s)))
                words.append("as recorded")
            owners.append(owner)
    found: list[list[Version]] = [[] for _ in chosen]
    for owner, text, heard in zip(owners, words, clips.load(wanted, jobs=jobs), strict=True):
        if not isinstance(heard, AudioError):
            samples = decode.resampled(heard, spec.sample_rate, spectrogram.SAMPLE_RATE)
            found[owner] += [Version(text, samples)] if len(samples) else []
    return found


def _windows(
    chosen: Sequence[Recording], accounts: Mapping[str, Account], store: FeatureStore, spec: TrainSpec
) -> list[list[Array]]:
    """The middle window of each and how it might be shown, or nothing where training shows windows as they are."""
    if not (spec.shift_frames or spec.shift_bins or spec.gain_db or spec.mask_frames or spec.mask_bins):
        return [[] for _ in chosen]
    features = store.spec
    rng = np.random.default_rng([spec.seed, 1])
    labels = labels_of(chosen)
    heard = [Windows([r], accounts, labels, store) for r in chosen]
    chunks = chain.from_iterable(windows.chunks() for windows in heard)
    mean, std = training.standardization(chunks, spec.standardize, features.axes)
    found = []
    for windows in heard:
        X = windows[np.array([len(windows) // 2])]
        many = np.repeat(X, N_SHOWN_DIFFERENT, axis=0)
        shown = augment.shown(many, spec, (mean, std), features.axes, extract.decibel(features), rng)
        found.append([_picture(x, features) for x in [*((X - mean) / std), *shown]])
    return found


def _picture(x: Array, spec: FeatureSpec) -> Array:
    """The first channel of a window as (n_bins, n_frames)."""
    return x[..., 0] if spec.axes == "bins_frames" else x[..., 0].T
