"""Which windows have which label, and the windows themselves: read from the store when wanted, never all at once."""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from copy import copy as shallow_copy
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from audiocnn.dataset import annotations
from audiocnn.dataset.manifest import Recording
from audiocnn.features import augment, extract
from audiocnn.features.analyze import RecordingStatus
from audiocnn.features.extract import Array
from audiocnn.features.store import FeatureStore, StoredFrames
from audiocnn.labels import Labels
from audiocnn.specs import FeatureSpec

_VALUES_AT_A_TIME = 1 << 22  # of the windows that `Windows.chunks` yields: 16 MiB


def add_background(
    recordings: Sequence[Recording], accounts: Mapping[str, RecordingStatus], spec: FeatureSpec, label: str | None
) -> list[Recording]:
    """Add the rest of every file with stretches under ``label``, in pieces that hold a window; None adds nothing."""
    stretches: dict[str, list[Recording]] = defaultdict(list)
    for recording in recordings:
        if recording.stretch is not None:
            stretches[recording.path].append(recording)
    rest = []
    if label is not None:
        for path, members in stretches.items():
            labelled = [r.stretch for r in members if r.stretch is not None]
            longest = accounts[path].duration_s if accounts[path].status == "ok" else 0.0
            for start_s, end_s in annotations.find_gaps(
                labelled, longest, spec.window_s + spec.hop_length / spec.sample_rate
            ):
                rest.append(replace(members[0], label=label, start_s=start_s, end_s=end_s))
    return [*recordings, *rest]


def augmented_versions(account: RecordingStatus, store: FeatureStore) -> list[tuple[RecordingStatus, int, float]]:
    """A usable recording and those of its copies that are in the store and not silent: account, number, speed."""
    found = [(account, 0, 1.0)]
    for number, entry in enumerate(store.spec.copies, start=1):
        copy = store.account(account.sha256, number)
        if copy is not None and copy.status == "ok":
            found.append((copy, number, augment.draw_augmentation(entry, account.sha256, number).speed))
    return found


@dataclass(frozen=True)
class _Source:
    """Frames, and where in them the windows begin, each of which is ``n_tracks`` windows."""

    frames: StoredFrames
    n_tracks: int
    starts: NDArray[np.int64]


class Windows:
    """The windows of usable recordings that count, recording after recording, with label numbers ``y`` (n_windows,).

    ``bounds`` (n_recordings + 1,) says where each recording's windows begin. Tracks of a recording that were heard
    side by side each have windows of their own. With ``copies`` the windows of a recording's copies follow its own.
    """

    def __init__(
        self,
        recordings: Sequence[Recording],
        accounts: Mapping[str, RecordingStatus],
        labels: Labels,
        store: FeatureStore,
        *,
        copies: bool = False,
    ) -> None:
        """Raises `IntegrityError` for a file of the store that is not what was written."""
        spec = self.spec = store.spec
        self._sources: list[_Source] = []
        n_sources = []  # of each recording: itself and its copies
        checked: set[tuple[str, int]] = set()
        for recording in recordings:
            heard = (
                augmented_versions(accounts[recording.path], store) if copies else [(accounts[recording.path], 0, 1.0)]
            )
            for account, copy, speed in heard:
                if (account.sha256, copy) not in checked:
                    store.check(account.sha256, copy)
                    checked.add((account.sha256, copy))
                stretch = recording.stretch and (recording.stretch[0] / speed, recording.stretch[1] / speed)
                frames, n_tracks = store.frames(account, copy), spec.n_tracks(account.n_channels)
                starts = extract.window_starts(account.n_frames, spec, stretch)
                self._sources.append(_Source(frames, n_tracks, self._loud(frames, starts, n_tracks)))
            n_sources.append(len(heard))
        self._first = np.concatenate([[0], np.cumsum(n_sources, dtype=np.int64)])  # source of each recording
        self._labels = labels.encode(r.label for r in recordings)
        self._number()

    def _number(self) -> None:
        """Number the windows of all sources."""
        counts = np.array([len(source.starts) * source.n_tracks for source in self._sources], np.int64)
        self._bounds: NDArray[np.int64] = np.concatenate([[0], np.cumsum(counts)])  # of the sources
        self.bounds: NDArray[np.int64] = self._bounds[self._first]
        self.y = np.repeat(self._labels, np.diff(self.bounds))
        self._source = np.repeat(np.arange(len(self._sources), dtype=np.int32), counts)

    def divided(self, share: float, rng: np.random.Generator) -> tuple["Windows", "Windows"]:
        """Deal windows to two at random, a ``share`` to the first; what is of copies goes to the first or is left out.

        The tracks of a window stay together.
        """
        drawn = [rng.random(len(source.starts)) < share for source in self._sources]
        originals = np.isin(np.arange(len(self._sources)), self._first)
        return self._with(drawn), self._with([~of & one for of, one in zip(drawn, originals, strict=True)])

    def _with(self, keep: Sequence[NDArray[np.bool_]]) -> "Windows":
        """The same with some of the windows of every source."""
        kept = shallow_copy(self)
        pairs = zip(self._sources, keep, strict=True)
        kept._sources = [replace(source, starts=source.starts[of]) for source, of in pairs]
        kept._number()
        return kept

    def _loud(self, frames: StoredFrames, starts: NDArray[np.int64], n_tracks: int) -> NDArray[np.int64]:
        """Those of the windows that are loud enough to count."""
        if self.spec.quiet_db is None or not len(starts):
            return starts
        found = [extract.window_levels(X, self.spec, n_tracks) for X in self._chunks(frames, starts, n_tracks)]
        return starts[extract.loud_windows(np.concatenate(found), self.spec)]

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
        """Yield all windows in their order, float32 (n, *shape), as many at a time as need little memory."""
        for source in self._sources:
            yield from self._chunks(source.frames, source.starts, source.n_tracks)

    def _chunks(self, frames: StoredFrames, starts: NDArray[np.int64], n_tracks: int) -> Iterator[Array]:
        at_a_time = max(1, _VALUES_AT_A_TIME // (math.prod(self.spec.shape) * n_tracks))
        for first in range(0, len(starts), at_a_time):
            yield extract.cut_windows(frames, starts[first : first + at_a_time], self.spec, n_tracks)
