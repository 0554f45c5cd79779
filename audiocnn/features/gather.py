"""Which windows have which label, and the windows themselves: read from the store when wanted, never all at once."""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from audiocnn.dataset import annotations
from audiocnn.dataset.manifest import Recording
from audiocnn.features import extract
from audiocnn.features.extract import Array
from audiocnn.features.listen import Account
from audiocnn.features.store import FeatureStore, StoredFrames
from audiocnn.specs import FeatureSpec

_VALUES_AT_A_TIME = 1 << 22  # of the windows that `Windows.chunks` yields: 16 MiB


def with_background(
    recordings: Sequence[Recording], accounts: Mapping[str, Account], spec: FeatureSpec, label: str | None
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
            for start_s, end_s in annotations.rest(
                labelled, longest, spec.window_s + spec.hop_length / spec.sample_rate
            ):
                rest.append(replace(members[0], label=label, start_s=start_s, end_s=end_s))
    return [*recordings, *rest]


class Windows:
    """The windows of usable recordings that count, recording after recording, with label numbers ``y`` (n_windows,).

    ``bounds`` (n_recordings + 1,) says where each recording's windows begin. Tracks of a recording that were heard
    side by side each have windows of their own.
    """

    def __init__(
        self,
        recordings: Sequence[Recording],
        accounts: Mapping[str, Account],
        labels: Sequence[str],
        store: FeatureStore,
    ) -> None:
        """Raises `IntegrityError` for a file of the store that is not what was written."""
        spec = self.spec = store.spec
        index = {label: i for i, label in enumerate(labels)}
        self._frames, self._n_tracks, starts = [], [], []
        checked: set[str] = set()
        for recording in recordings:
            account = accounts[recording.path]
            if account.sha256 not in checked:
                store.check(account.sha256)
                checked.add(account.sha256)
            self._frames.append(store.frames(account))
            self._n_tracks.append(spec.n_tracks(account.n_channels))
            starts.append(self._loud(extract.window_starts(account.n_frames, spec, recording.stretch)))
        counts = np.array([len(s) * n for s, n in zip(starts, self._n_tracks, strict=True)], np.int64)
        self.bounds: NDArray[np.int64] = np.concatenate([[0], np.cumsum(counts)])
        self.y = np.repeat(np.array([index[r.label] for r in recordings], np.int64), counts)
        self._starts = starts
        self._recording = np.repeat(np.arange(len(recordings), dtype=np.int32), counts)

    def _loud(self, starts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of the windows of the recording added last that are loud enough to count."""
        if self.spec.quiet_db is None:
            return starts
        frames, n_tracks = self._frames[-1], self._n_tracks[-1]
        chunks = self._chunks(frames, starts, n_tracks)
        found = [extract.levels(X, self.spec).reshape(-1, n_tracks).max(axis=1) for X in chunks]
        return starts[extract.loud(np.concatenate(found), self.spec)]

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, indices: NDArray[np.int64]) -> Array:
        """Read windows by number, in any order, as float32 (len(indices), *shape)."""
        X = np.empty((len(indices), *self.spec.shape), np.float32)
        for row, i in enumerate(indices):
            recording = self._recording[i]
            n_tracks = self._n_tracks[recording]
            number, track = divmod(i - self.bounds[recording], n_tracks)
            start = self._starts[recording][number]
            X[row] = extract.window(self._frames[recording], start, self.spec, n_tracks, track)
        return X

    def chunks(self) -> Iterator[Array]:
        """Yield all windows in their order, float32 (n, *shape), as many at a time as need little memory."""
        for frames, starts, n_tracks in zip(self._frames, self._starts, self._n_tracks, strict=True):
            yield from self._chunks(frames, starts, n_tracks)

    def _chunks(self, frames: StoredFrames, starts: NDArray[np.int64], n_tracks: int) -> Iterator[Array]:
        at_a_time = max(1, _VALUES_AT_A_TIME // (math.prod(self.spec.shape) * n_tracks))
        for first in range(0, len(starts), at_a_time):
            yield extract.cut(frames, starts[first : first + at_a_time], self.spec, n_tracks)
