"""Windows made a little different each time they are shown: pure functions of windows and a random generator.

Windows are standardised, so that 0 is the mean of a band: what a mask puts in the place of what it hides.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


def masked(X: Array, largest: float, axis: int, rng: np.random.Generator) -> Array:
    """Return windows (n, height, width, channels) with a stretch along ``axis`` (1 or 2) set to 0 in each.

    Its length is drawn from 0 to ``largest`` of the axis, its place from wherever it fits. After Park et al.,
    "SpecAugment", Interspeech 2019.
    """
    size = X.shape[axis]
    length = rng.integers(0, int(largest * size) + 1, len(X))
    first = rng.integers(0, size - length + 1)
    at = np.arange(size)
    hidden = (at >= first[:, None]) & (at < (first + length)[:, None])
    shape = (len(X), size, 1, 1) if axis == 1 else (len(X), 1, size, 1)
    return np.where(hidden.reshape(shape), np.float32(0), X)


def mixed(X: Array, targets: Array, alpha: float, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return each window mixed with another one of the batch, and its target likewise.

    Shares are drawn from Beta(alpha, alpha). After Zhang et al., "mixup", ICLR 2018.
    """
    other = rng.permutation(len(X))
    share = rng.beta(alpha, alpha, len(X)).astype(np.float32)
    blend = share.reshape(-1, *[1] * (X.ndim - 1))
    targets_share = share[:, None]
    return blend * X + (1 - blend) * X[other], targets_share * targets + (1 - targets_share) * targets[other]
