"""Augment training windows: pure functions of windows and a random generator.

Windows are (n, height, width, channels); inputs are not modified.
"""

import numpy as np
from numpy.typing import NDArray

from audiocnn.specs import TrainSpec

Array = NDArray[np.float32]


def augment_windows(
    X: Array, spec: TrainSpec, scale: tuple[Array, Array], axes: str, decibel: Array, rng: np.random.Generator
) -> Array:
    """Return windows shifted and louder as ``spec`` sets, standardized, and masked.

    ``scale`` are mean and deviation, ``axes`` those of `FeatureSpec`, ``decibel`` is that of `louder`.
    """
    axis = {name: 1 + i for i, name in enumerate(axes.split("_"))}
    mean, std = scale
    for largest, name in ((spec.shift_frames, "frames"), (spec.shift_bins, "bins")):
        if largest:
            X = shifted(X, largest, axis[name], rng)
    if spec.gain_db:
        X = louder(X, spec.gain_db, decibel, rng)
    X = (X - mean) / std
    for largest, name in ((spec.mask_frames, "frames"), (spec.mask_bins, "bins")):
        if largest:
            X = masked(X, largest, axis[name], rng)
    return X


def masked(X: Array, largest: float, axis: int, rng: np.random.Generator) -> Array:
    """Return windows with a stretch along ``axis`` (1 or 2) set to 0, the mean of standardized windows.

    Its length is drawn from 0 to ``largest`` of the axis, its position uniformly. After Park et al.,
    "SpecAugment", Interspeech 2019.
    """
    size = X.shape[axis]
    length = rng.integers(0, int(largest * size) + 1, len(X))
    first = rng.integers(0, size - length + 1)
    at = np.arange(size)
    hidden = (at >= first[:, None]) & (at < (first + length)[:, None])
    shape = (len(X), size, 1, 1) if axis == 1 else (len(X), 1, size, 1)
    return np.where(hidden.reshape(shape), np.float32(0), X)


def shifted(X: Array, largest: float, axis: int, rng: np.random.Generator) -> Array:
    """Return windows shifted along ``axis`` (1 or 2) by up to the share ``largest`` of it; the edge is repeated."""
    size = X.shape[axis]
    most = int(largest * size)
    by = rng.integers(-most, most + 1, len(X))
    source = np.clip(np.arange(size) - by[:, None], 0, size - 1)
    return np.take_along_axis(X, source.reshape(len(X), *(size if i == axis else 1 for i in (1, 2, 3))), axis=axis)


def louder(X: Array, most_db: float, decibel: Array, rng: np.random.Generator) -> Array:
    """Return windows as if their recordings were up to ``most_db`` louder or softer.

    ``decibel`` is what one decibel more adds to a window (height, width, channels), or broadcasts to it.
    """
    by = rng.uniform(-most_db, most_db, (len(X), 1, 1, 1)).astype(np.float32)
    return X + by * decibel


def mixed(X: Array, targets: Array, alpha: float, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return each window mixed with another one of the batch, and its target likewise.

    Shares are drawn from Beta(alpha, alpha). After Zhang et al., "mixup", ICLR 2018.
    """
    other = rng.permutation(len(X))
    share = rng.beta(alpha, alpha, len(X)).astype(np.float32)
    blend = share.reshape(-1, *[1] * (X.ndim - 1))
    targets_share = share[:, None]
    return blend * X + (1 - blend) * X[other], targets_share * targets + (1 - targets_share) * targets[other]
