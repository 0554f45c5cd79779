"""How far two maps of what mattered agree, over the places that the network was asked about."""

import numpy as np
from numpy.typing import NDArray

from audiocnn.errors import needs_extra
from audiocnn.explain import occlusion
from audiocnn.explain.subject import Subject
from audiocnn.features.extract import Array


def heard(subject: Subject) -> NDArray[np.bool_]:
    """Return the frames (n_frames,) that a counted window holds."""
    inside = np.zeros(subject.n_frames, bool)
    for start in subject.starts[subject.counted]:
        inside[start : start + subject.spec.window_frames] = True
    return inside


def smoothed(values: Array, subject: Subject) -> Array:
    """Return a map (n_frames, n_mels) about as coarse as that of occlusion: means over what is around each place.

    Gradients of single values flicker from place to place; which patch of them matters is steadier. The weights are a
    normal distribution as wide as a patch.
    """
    with needs_extra("train"):
        from scipy.ndimage import gaussian_filter

    patches = occlusion.grid(subject.spec.window_frames, subject.spec.n_mels)
    size = np.array([patches.frames[0].sum(), patches.bands[0].sum()]) / np.sqrt(12)  # the deviation of a patch
    weight = np.broadcast_to(heard(subject)[:, None], values.shape).astype(np.float64)
    total, count = (gaussian_filter(one, size, mode="constant") for one in (values * weight, weight))
    return np.where(weight > 0, total / np.maximum(count, 1e-9), 0).astype(np.float32)


def rank_correlation(a: Array, b: Array) -> float | None:
    """Return Spearman's rank correlation of two arrays of one shape, None if one of them is the same everywhere.

    1: the same order of places; 0: no more alike than by chance; -1: the opposite order.

    >>> rank_correlation(np.array([1.0, 2.0, 9.0]), np.array([0.1, 0.2, 0.3])), rank_correlation(np.ones(3), np.ones(3))
    (1.0, None)
    """
    with needs_extra("train"):
        from scipy.stats import rankdata

    ranks = [rankdata(values.ravel()) - (values.size + 1) / 2 for values in (a, b)]
    spreads = [float(np.sqrt(np.square(rank).sum())) for rank in ranks]
    return None if 0 in spreads else round(float(ranks[0] @ ranks[1] / (spreads[0] * spreads[1])), 6)


def with_occlusion(values: Array, hidden: Array, subject: Subject) -> float | None:
    """Return the rank correlation of a map (n_frames, n_mels) with the one of occlusion, both `smoothed`."""
    inside = heard(subject)
    return rank_correlation(smoothed(values, subject)[inside], smoothed(hidden, subject)[inside])
