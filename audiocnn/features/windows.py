"""The labelled windows of recordings, read from the feature store on demand, never all at once."""

import copy
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from audiocnn.dataset import cut_groups
from audiocnn.dataset.manifest import Recording
from audiocnn.dataset.stretches import find_gaps
from audiocnn.features import augment, extract
from audiocnn.features.analyze import RecordingStatus
from audiocnn.features.extract import Array
from audiocnn.features.store import FeatureStore, StoredFrames
from audiocnn.labels import Labels
from audiocnn.specs import FeatureSpec

_VALUES_AT_A_TIME = 1 << 22  # in the chunks that `Windows` reads: 16 MiB


def add_background(
    recordings: Sequence[Recording], statuses: Mapping[str, RecordingStatus], spec: FeatureSpec, label: str | None
) -> list[Recording]:
    """Add the unlabelled parts of every file with stretches as recordings of ``label``; None adds nothing.

    Only parts that hold at least one window are added.
    """
    stretches: dict[str, list[Recording]] = defaultdict(list)
    for recording in recordings:
        if recording.stretch is not None:
            stretches[recording.path].append(recording)
    background = list[Recording]()
    if label is not None:
        shortest_s = spec.window_s + spec.hop_length / spec.sample_rate
        for path, members in stretches.items():
            labelled = [r.stretch for r in members if r.stretch is not None]
            duration_s = statuses[path].duration_s if statuses[path].status == "ok" else 0.0
            for start_s, end_s in find_gaps(labelled, duration_s, shortest_s):
                part = replace(members[0], label=label, start_s=start_s, end_s=end_s)
                background += cut_groups.cut_like(part, members[0], duration_s, spec.window_s, shortest_s)
    return [*recordings, *background]


def augmented_versions(status: RecordingStatus, store: FeatureStore) -> list[tuple[RecordingStatus, int, float]]:
    """Return (status, version, speed) of a usable recording and of its usable augmented versions in the store."""
    found = [(status, 0, 1.0)]
    for number, entry in enumerate(store.spec.copies, start=1):
        augmented = store.read_status(status.sha256, number)
        if augmented is not None and augmented.status == "ok":
            found.append((augmented, number, augment.draw_augmentation(entry, status.sha256, number).speed))
    return found


def loud_windows(
    frames: StoredFrames, starts: NDArray[np.int64], spec: FeatureSpec, n_tracks: int
) -> NDArray[np.bool_]:
    """Return which of the windows of a recording that begin at the frames ``starts`` (n,) are loud enough to count."""
    if spec.quiet_db is None or not len(starts):
        return np.ones(len(starts), bool)
    levels = [extract.window_levels(X, spec, n_tracks) for X in _chunks(frames, starts, spec, n_tracks)]
    return extract.loud_windows(np.concatenate(levels), spec)


def _chunks(frames: StoredFrames, starts: NDArray[np.int64], spec: FeatureSpec, n_tracks: int) -> Iterator[Array]:
    n_starts = max(1, _VALUES_AT_A_TIME // (math.prod(spec.shape) * n_tracks))
    for first in range(0, len(starts), n_starts):
        yield extract.cut_windows(frames, starts[first : first + n_starts], spec, n_tracks)


@dataclass(frozen=True)
class _Source:
    """The frames of one recording or version, and the start frames of its windows, with ``n_tracks`` windows each."""

    frames: StoredFrames
    n_tracks: int
    starts: NDArray[np.int64]


class Windows:
    """The windows of usable recordings, recording after recording, with label indices ``y`` (n_windows,).

    The windows of recording i are ``bounds[i]`` to ``bounds[i + 1]``; ``bounds`` is (n_recordings + 1,), its label
    index is ``labels[i]``. Each track of a recording has windows of its own (``channel: each``). With ``augmented`` the
    windows of a recording's augmented versions follow its own. Windows that are too quiet (``quiet_db``) are left out.
    """

    def __init__(
        self,
        recordings: Sequence[Recording],
        statuses: Mapping[str, RecordingStatus],
        labels: Labels,
        store: FeatureStore,
        *,
        augmented: bool = False,
    ) -> None:
        """Raise `IntegrityError` for a file of the store that does not match its checksum."""
        spec = self.spec = store.spec
        self._sources: list[_Source] = []
        n_sources = []  # per recording: itself and its augmented versions
        checked: set[tuple[str, int]] = set()
        for recording in recordings:
            original = statuses[recording.path]
            versions = augmented_versions(original, store) if augmented else [(original, 0, 1.0)]
            for status, version, speed in versions:
                if (status.sha256, version) not in checked:
                    store.check(status.sha256, version)
                    checked.add((status.sha256, version))
                stretch = recording.stretch and (recording.stretch[0] / speed, recording.stretch[1] / speed)
                frames, n_tracks = store.frames(status, version), spec.n_tracks(status.n_channels)
                starts = extract.window_starts(status.n_frames, spec, stretch)
                loud = loud_windows(frames, starts, spec, n_tracks)
                self._sources.append(_Source(frames, n_tracks, starts[loud]))
            n_sources.append(len(versions))
        self._first = np.concatenate([[0], np.cumsum(n_sources, dtype=np.int64)])  # first source of each recording
        self.labels = labels.encode(r.label for r in recordings)
        self._number()

    def _number(self) -> None:
        """Set the numbers and labels of the windows of all sources."""
        counts = np.array([len(source.starts) * source.n_tracks for source in self._sources], np.int64)
        self._bounds: NDArray[np.int64] = np.concatenate([[0], np.cumsum(counts)])  # of the sources
        self.bounds: NDArray[np.int64] = self._bounds[self._first]
        self.y = np.repeat(self.labels, np.diff(self.bounds))
        self._source = np.repeat(np.arange(len(self._sources), dtype=np.int32), counts)

    def split_randomly(self, share: float, rng: np.random.Generator) -> tuple["Windows", "Windows"]:
        """Split the windows at random in two, a ``share`` of them to the first; the tracks of a window stay together.

        Windows of augmented versions go to the first or are left out.
        """
        drawn = [rng.random(len(source.starts)) < share for source in self._sources]
        originals = np.isin(np.arange(len(self._sources)), self._first)
        return self._subset(drawn), self._subset([~taken & own for taken, own in zip(drawn, originals, strict=True)])

    def _subset(self, keep: Sequence[NDArray[np.bool_]]) -> "Windows":
        """Return the windows of every source where its mask is true."""
        kept = copy.copy(self)
        pairs = zip(self._sources, keep, strict=True)
        kept._sources = [replace(source, starts=source.starts[mask]) for source, mask in pairs]
        kept._number()
        return kept

    def merge_tracks(self, values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return the means (n, m) of ``values`` (n_windows, m) over the tracks of each window, and `merged_bounds`."""
        sources, m = zip(self._sources, np.split(values, self._bounds[1:-1]), strict=True), values.shape[1]
        merged = [rows.reshape(len(source.starts), source.n_tracks, m).mean(axis=1) for source, rows in sources]
        return np.concatenate(merged), self.merged_bounds

    @property
    def merged_bounds(self) -> NDArray[np.int64]:
        """The ``bounds`` if all tracks of a window count as one."""
        counts = np.cumsum([len(source.starts) for source in self._sources], dtype=np.int64)
        return np.concatenate([[0], counts])[self._first]

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, indices: NDArray[np.int64]) -> Array:
        """Read windows by number, in any order, as float32 (len(indices), *shape)."""
        X = np.empty((len(indices), *self.spec.shape), np.float32)
        for row, i in enumerate(indices):
            source = self._sources[self._source[i]]
            number, track = divmod(i - self._bounds[self._source[i]], source.n_tracks)
            X[row] = extract.cut_window(source.frames, source.starts[number], self.spec, source.n_tracks, track)
        return X

    def chunks(self) -> Iterator[Array]:
        """Yield all windows in order, float32 (n, *shape), in chunks that need little memory."""
        for source in self._sources:
            yield from _chunks(source.frames, source.starts, self.spec, source.n_tracks)
