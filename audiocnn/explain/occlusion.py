"""Occlusion: how much the log-odds of a label fall when a patch in time and frequency is hidden from the network.

After Zeiler and Fergus, "Visualizing and understanding convolutional networks" (ECCV 2014), with log-odds instead of
probabilities, so that the method also works for scores near 1. Patches are hidden in mel bands. MFCCs and slopes are
computed from these as usual, so the result is a map in time and frequency for every kind of feature.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audiocnn.errors import needs_extra
from audiocnn.explain.log_odds import Scorer
from audiocnn.explain.segments import ExplainInput
from audiocnn.features import extract
from audiocnn.features.extract import Array
from audiocnn.model.bundle import Bundle
from audiocnn.specs import DELTA_WIDTH

SHARE = 6  # a patch covers a sixth of a window's frames and of its bands
NOISE_PERCENTILE = 10.0  # of a band's levels over time: the background noise
VALUES_AT_A_TIME = 1 << 21  # values of modified windows that are scored at a time
_MARGIN = DELTA_WIDTH // 2

Advance = Callable[..., None]


@dataclass(frozen=True)
class Patches:
    """Patches of a window: each hides the ``frames`` (n, window_frames) and ``bands`` (n, n_mels) that are true."""

    frames: NDArray[np.bool_]
    bands: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.frames)

    def place(self, number: int) -> tuple[slice, slice]:
        """The frames and bands that a patch hides."""
        frames, bands = (np.flatnonzero(sides[number]) for sides in (self.frames, self.bands))
        return slice(int(frames[0]), int(frames[-1]) + 1), slice(int(bands[0]), int(bands[-1]) + 1)

    def weights(self) -> Array:
        """The weight of each patch at each place, (n, window_frames * n_mels); weights sum to 1 at every place.

        The weight of a patch is largest in its middle, so neighbouring patches blend without an edge.
        """
        frames, bands = _tapered(self.frames), _tapered(self.bands)
        weights = (frames[:, :, None] * bands[:, None, :]).reshape(len(self), -1)
        return np.asarray(weights / weights.sum(axis=0), np.float32)


def importance(subject: ExplainInput, score: Scorer, neutral: Array, *, advance: Advance = lambda n: None) -> Array:
    """Return by how much the label's log-odds to base 2 fall when a place is hidden, float32 (n_frames, n_mels).

    Each patch of each counted window is replaced by ``neutral`` (n_mels,), in dB. The fall is attributed to the places
    of the patch in proportion to how much they were changed: in full to the place that changed most, not at all to a
    place that was neutral before. The value of a place is the weighted mean over all patches and windows that contain
    it; the weight is largest where the place is in the middle of the patch.

    1 means that hiding a patch around this place halves the odds; negative values are evidence against the label.
    ``advance`` is called with the number of finished windows. With several tracks the same place is hidden in all of
    them, and the log-odds are their mean.
    """
    spec = subject.spec
    patches = grid(spec.window_frames, spec.n_mels)
    weights = patches.weights()
    found = np.zeros((len(subject.starts), spec.window_frames, spec.n_mels), np.float32)
    for windows, left, right in groups_of_windows(subject):
        slices = around_windows(subject, windows, left, right)
        falls = _falls(subject, slices, left, score, neutral, patches)
        changed = np.abs(slices[:, :, left : left + spec.window_frames] - neutral).mean(axis=0)
        found[windows] = attribute(falls, changed, patches, weights)
        advance(len(windows))
    return subject.spread(found)


def grid(n_frames: int, n_bands: int, share: int = SHARE) -> Patches:
    """Return patches of the ``share``-th part of each side, in steps of about half a patch, that cover all of it.

    >>> patches = grid(100, 128)
    >>> len(patches), int(patches.frames[0].sum()), int(patches.bands[0].sum()), bool(patches.frames.any(axis=0).all())
    (144, 17, 21, True)
    """
    frames, bands = _spans(n_frames, share), _spans(n_bands, share)
    return Patches(np.repeat(frames, len(bands), axis=0), np.tile(bands, (len(frames), 1)))


def mean_level(model: Bundle) -> Array | None:
    """Return the mean of the training windows as mel bands in dB (n_mels,); None if the model does not store it.

    For MFCCs it is the smooth spectrum whose coefficients are the mean ones.
    """
    spec = model.spec
    if "static" not in spec.channels:
        return None
    mean, std = (np.asarray(values, np.float32) for values in (model.info.mean, model.info.std))
    by_bin = (mean.shape[0] if spec.axes == "bins_frames" else mean.shape[1]) > 1
    if not by_bin and (spec.kind == "mfcc" or (not mean.any() and (std == 1).all())):
        return None
    full = np.broadcast_to(mean, spec.shape)[..., spec.channels.index("static")]
    bins = full.mean(axis=1 if spec.axes == "bins_frames" else 0)
    return np.asarray(bins if model.frontend.dct is None else model.frontend.dct @ bins, np.float32)


def noise_level(subject: ExplainInput) -> Array:
    """Return the level of the background noise in each band (n_mels,), in dB, in this segment."""
    return np.asarray(np.percentile(subject.bands, NOISE_PERCENTILE, axis=0), np.float32)


def neutral(model: Bundle, subject: ExplainInput, requested: str) -> tuple[Array, str]:
    """Return the levels that replace hidden places, in dB (n_mels,), and their kind: a model may store no mean.

    Where the noise of the recording is lower than the training mean, the noise is used: hiding must not add sound.
    """
    noise = noise_level(subject)
    mean = mean_level(model) if requested == "mean" else None
    return (noise, "noise") if mean is None else (np.minimum(mean, noise), "mean")


def _spans(n: int, share: int) -> NDArray[np.bool_]:
    """Evenly spaced spans of ``n`` places, as masks (n_spans, n)."""
    size = min(n, max(1, round(n / share)))
    firsts = np.unique(np.round(np.linspace(0, n - size, 1 + -(-(n - size) // max(1, size // 2)))).astype(int))
    places = np.arange(n)
    return (places >= firsts[:, None]) & (places < firsts[:, None] + size)


def _tapered(masks: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Weights of spans (n, n_places): highest in the middle, above 0 within the span."""
    within = np.cumsum(masks, axis=1) - 0.5
    return np.where(masks, np.sin(np.pi * within / masks.sum(axis=1, keepdims=True)) ** 2, 0.0)


def groups_of_windows(subject: ExplainInput) -> Iterator[tuple[NDArray[np.int64], int, int]]:
    """Yield groups of counted windows with equal numbers of neighbouring frames before and after, for slopes."""
    spec = subject.spec
    margin = _MARGIN if "delta" in spec.channels else 0
    first, last = -len(subject.before) // subject.n_tracks, subject.n_frames + len(subject.after) // subject.n_tracks
    groups: dict[tuple[int, int], list[int]] = defaultdict(list)
    for window in np.flatnonzero(subject.counted):
        start = int(subject.starts[window])
        sides = min(margin, start - first), min(margin, last - start - spec.window_frames)
        groups[sides].append(int(window))
    at_a_time = max(1, VALUES_AT_A_TIME // (spec.window_frames * spec.n_mels * subject.n_tracks) // 8)
    for (left, right), windows in groups.items():
        for i in range(0, len(windows), at_a_time):
            yield np.array(windows[i : i + at_a_time]), left, right


def around_windows(subject: ExplainInput, windows: NDArray[np.int64], left: int, right: int) -> Array:
    """The bands of windows with their neighbours: (n_tracks, n, left + window_frames + right, n_mels)."""
    around = np.concatenate([subject.before, subject.bands, subject.after]).reshape(
        -1, subject.n_tracks, subject.spec.n_mels
    )
    first = len(subject.before) // subject.n_tracks + subject.starts[windows] - left
    rows = first[:, None] + np.arange(left + subject.spec.window_frames + right)
    return np.ascontiguousarray(np.moveaxis(around[rows], 2, 0))


def _falls(subject: ExplainInput, slices: Array, left: int, score: Scorer, neutral: Array, patches: Patches) -> Array:
    """The fall of the log-odds of each window for each hidden patch, (n, n_patches)."""
    n_tracks, n = slices.shape[:2]

    def odds(bands: Array) -> NDArray[np.float64]:
        """Log-odds of windows (..., n_tracks, n, frames, n_mels), the mean over tracks (..., n)."""
        return score(network_input(subject, bands, left)).reshape(-1, n_tracks, n).mean(axis=1)

    whole = odds(slices)[0]
    falls = np.empty((n, len(patches)), np.float32)
    at_a_time = max(1, VALUES_AT_A_TIME // slices.size)
    for first in range(0, len(patches), at_a_time):
        some = range(first, min(first + at_a_time, len(patches)))
        hidden = np.repeat(slices[None], len(some), axis=0)
        for i, patch in enumerate(some):
            frames, bands = patches.place(patch)
            hidden[i][:, :, left + frames.start : left + frames.stop, bands] = neutral[bands]
        falls[:, some.start : some.stop] = (whole - odds(hidden)).T
    return falls


def attribute(falls: Array, changed: Array, patches: Patches, weights: Array) -> Array:
    """Attribute falls (n, n_patches) to places (n, window_frames, n_mels), in proportion to ``changed`` (dB)."""
    most = np.stack([changed[:, *patches.place(i)].max(axis=(1, 2)) for i in range(len(patches))], axis=1)
    rates = np.divide(falls, most, out=np.zeros_like(falls), where=most > 0)
    return (rates @ weights).reshape(changed.shape) * changed


def network_input(subject: ExplainInput, bands: Array, left: int) -> Array:
    """The network's input for bands (..., left + window_frames + right, n_mels): (n, *spec.shape)."""
    spec = subject.spec
    frames = extract.frames_from_bands(bands.reshape(-1, *bands.shape[-2:]), spec=spec, frontend=subject.frontend)
    cut = frames[:, left : left + spec.window_frames]
    return np.ascontiguousarray(cut.swapaxes(1, 2) if spec.axes == "bins_frames" else cut, np.float32)


def counted_frames(subject: ExplainInput) -> NDArray[np.bool_]:
    """Return which frames (n_frames,) are in a counted window."""
    inside = np.zeros(subject.n_frames, bool)
    for start in subject.starts[subject.counted]:
        inside[start : start + subject.spec.window_frames] = True
    return inside


def smoothed(values: Array, subject: ExplainInput) -> Array:
    """Return a map (n_frames, n_mels) smoothed to about the resolution of occlusion.

    Gradients of single values vary strongly from place to place; means over a patch are steadier. The weights are a
    normal distribution as wide as a patch.
    """
    with needs_extra("train"):
        from scipy.ndimage import gaussian_filter

    patches = grid(subject.spec.window_frames, subject.spec.n_mels)
    size = np.array([patches.frames[0].sum(), patches.bands[0].sum()]) / np.sqrt(12)  # the deviation of a patch
    weight = np.broadcast_to(counted_frames(subject)[:, None], values.shape).astype(np.float64)
    total, count = (gaussian_filter(one, size, mode="constant") for one in (values * weight, weight))
    return np.where(weight > 0, total / np.maximum(count, 1e-9), 0).astype(np.float32)


def rank_correlation(a: Array, b: Array) -> float | None:
    """Return Spearman's rank correlation of two arrays of one shape, None if one of them is constant.

    1: the same order of places; 0: unrelated; -1: the opposite order.

    >>> rank_correlation(np.array([1.0, 2.0, 9.0]), np.array([0.1, 0.2, 0.3])), rank_correlation(np.ones(3), np.ones(3))
    (1.0, None)
    """
    with needs_extra("train"):
        from scipy.stats import rankdata

    ranks = [rankdata(values.ravel()) - (values.size + 1) / 2 for values in (a, b)]
    spreads = [float(np.sqrt(np.square(rank).sum())) for rank in ranks]
    return None if 0 in spreads else round(float(ranks[0] @ ranks[1] / (spreads[0] * spreads[1])), 6)


def with_occlusion(values: Array, hidden: Array, subject: ExplainInput) -> float | None:
    """Return the rank correlation of a map (n_frames, n_mels) with the one of occlusion, both `smoothed`."""
    inside = counted_frames(subject)
    return rank_correlation(smoothed(values, subject)[inside], smoothed(hidden, subject)[inside])
