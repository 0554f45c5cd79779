"""The windows of many recordings as one array, for training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audiocnn.dataset.manifest import Recording
from audiocnn.features import extract
from audiocnn.features.extract import Array
from audiocnn.features.listen import Account
from audiocnn.features.store import FeatureStore


@dataclass(frozen=True)
class Windows:
    """``X`` (n_windows, *shape) with label numbers ``y`` (n_windows,), recording after recording.

    ``bounds`` (n_recordings + 1,) says where each recording's windows begin.
    """

    X: Array
    y: NDArray[np.int64]
    bounds: NDArray[np.int64]


def windows(
    recordings: Sequence[Recording], accounts: Mapping[str, Account], labels: Sequence[str], store: FeatureStore
) -> Windows:
    """Read the windows of usable recordings from the store; raises `IntegrityError` for a damaged file."""
    spec = store.spec
    starts = [extract.window_starts(accounts[r.path].n_frames, spec) for r in recordings]
    bounds = np.concatenate([[0], np.cumsum([len(s) for s in starts], dtype=np.int64)])
    X = np.empty((bounds[-1], *spec.shape), np.float32)
    for recording, begin, first, last in zip(recordings, starts, bounds[:-1], bounds[1:], strict=True):
        X[first:last] = extract.cut(store.frames(accounts[recording.path].sha256), begin, spec)
    index = {label: i for i, label in enumerate(labels)}
    y = np.repeat(np.array([index[r.label] for r in recordings], np.int64), np.diff(bounds))
    return Windows(X, y, bounds)
