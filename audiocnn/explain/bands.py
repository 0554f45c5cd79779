"""From gradients for a network's features to what each mel band at each time contributes.

Features are made of mel bands in steps that are all linear: the cosine transform of MFCCs and the slopes of deltas. So
the chain rule is exact, and what sums to a score over features sums to the same over bands.
"""

import numpy as np
from numpy.typing import NDArray

from audiocnn.explain.subject import Subject
from audiocnn.features.extract import Array
from audiocnn.specs import DELTA_WIDTH

_HALF = DELTA_WIDTH // 2
_LAGS = np.arange(-_HALF, _HALF + 1)
_SLOPE = _LAGS / np.square(_LAGS).sum()  # of a straight line through so many frames


def contributions(gradients: Array, subject: Subject, neutral: Array) -> Array:
    """Return gradient times distance from ``neutral`` (n_mels,), in dB: float32 (n, window_frames, n_mels).

    ``gradients`` (n * n_tracks, \\*spec.shape) are for the windows of ``subject``, of which tracks are averaged. What a
    slope owes to frames before or after its window is counted at the window's edge.
    """
    spec, n_tracks = subject.spec, subject.n_tracks
    by_frame = gradients if spec.axes == "frames_bins" else gradients.swapaxes(1, 2)
    by_frame = by_frame.reshape(-1, n_tracks, *by_frame.shape[1:])
    around = np.concatenate([subject.before, subject.bands, subject.after]).reshape(-1, n_tracks, spec.n_mels)
    firsts = len(subject.before) // n_tracks + subject.starts
    by_bin = _undelta(by_frame, firsts, len(around), spec.channels)
    by_band = by_bin if subject.frontend.dct is None else by_bin @ subject.frontend.dct.T
    rows = firsts[:, None] + np.arange(-_HALF, spec.window_frames + _HALF)
    distance = around[np.clip(rows, 0, len(around) - 1)] - neutral  # (n, frames, n_tracks, n_mels)
    found = (by_band * distance.swapaxes(1, 2)).mean(axis=1)
    inner = found[:, _HALF:-_HALF]
    inner[:, 0] += found[:, :_HALF].sum(axis=1)
    inner[:, -1] += found[:, -_HALF:].sum(axis=1)
    return np.asarray(inner, np.float32)


def _undelta(gradients: Array, firsts: NDArray[np.int64], n_frames: int, channels: tuple[str, ...]) -> Array:
    """Return gradients for static values, with 4 frames more at both ends.

    ``gradients`` (n, n_tracks, window_frames, n_bins, n_channels) are of windows that begin at frames ``firsts``. The
    first and last 4 of the ``n_frames`` frames repeat the nearest full slope, as those of the features do.
    """
    n, n_tracks, n_rows, n_bins, _ = gradients.shape
    total = np.zeros((n, n_tracks, n_rows + 2 * _HALF, n_bins))
    if "static" in channels:
        total[:, :, _HALF:-_HALF] = gradients[..., channels.index("static")]
    if "delta" in channels:
        slopes = gradients[..., channels.index("delta")]
        for window, first in enumerate(firsts):
            rows = first + np.arange(n_rows)
            middles = np.clip(rows, _HALF, n_frames - 1 - _HALF) - first + _HALF
            for lag, weight in zip(_LAGS, _SLOPE, strict=True):
                np.add.at(total[window].swapaxes(0, 1), middles + lag, weight * slopes[window].swapaxes(0, 1))
    return total
