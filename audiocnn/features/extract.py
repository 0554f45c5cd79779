"""Compute frames from blocks of samples, and cut windows from frames.

A recording is processed as a stream. No step uses a statistic of a block, so the values of a frame do not depend on the
sizes of the blocks.
"""

import math
from collections.abc import Iterable, Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from audiocnn.features.frontend import Frontend
from audiocnn.specs import DELTA_WIDTH, FeatureSpec

BLOCK_FRAMES = 128  # frames are computed in blocks of this size, whatever the sizes of the blocks read
POWER_FLOOR = 1e-10  # as amin of librosa.power_to_db
_FFT_VALUES = 3 << 13  # transformed at a time: 96 KiB, small enough for malloc to reuse
_HALF = DELTA_WIDTH // 2

Array = NDArray[np.float32]


class Frames(Protocol):
    """Frames of a recording that are read a slice at a time, for example from a store."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice) -> Array: ...


def compute_frames(blocks: Iterable[Array], *, spec: FeatureSpec, frontend: Frontend) -> Iterator[Array]:
    """Yield the frames of a recording as (n, n_bins, n_channels) of ``spec.dtype``, about `BLOCK_FRAMES` at a time.

    ``blocks`` are the samples at ``spec.sample_rate``, float32 (n,). Frames are centred, with zeros beyond both ends:
    ``n_frames = 1 + n_samples // hop_length``. A recording shorter than one window is repeated to fill it.

    With blocks (n_tracks, n), one track per channel (``channel: each``), a frame is ``n_tracks`` rows.
    """
    for block in _stacked(_static(repeat_to_fill(blocks, spec.window_samples), spec, frontend), spec):
        rows = np.moveaxis(block, 0, 1).reshape(-1, *block.shape[2:]) if block.ndim == 4 else block
        yield rows.astype(spec.dtype, copy=False)


def frames_from_bands(bands: Array, *, spec: FeatureSpec, frontend: Frontend) -> Array:
    """Return the frames (..., n, n_bins, n_channels) of a recording with these mel bands, as `compute_frames` does.

    ``bands`` are decibels (..., n, n_mels), at least 9 frames if ``spec`` has a delta channel. Changing the bands first
    hides parts of a recording from a network that takes MFCCs.
    """
    static = bands if frontend.dct is None else bands @ frontend.dct
    stacked = np.concatenate(list(_stacked(iter([static]), spec)), axis=-3)
    return stacked.astype(spec.dtype, copy=False)


def repeat_to_fill(blocks: Iterable[Array], n_needed: int) -> Iterator[Array]:
    """Yield ``blocks``, or one block of ``n_needed`` samples that repeats them if they hold fewer."""
    held: list[Array] = []
    n_held = 0
    for block in blocks:
        if n_held >= n_needed:
            yield block
            continue
        held.append(block)
        n_held += block.shape[-1]
        if n_held >= n_needed:
            yield np.concatenate(held, axis=-1)
            held = []
    if 0 < n_held < n_needed:
        yield np.take(np.concatenate(held, axis=-1), np.arange(n_needed), axis=-1, mode="wrap")


def window_starts(
    n_frames: int, spec: FeatureSpec, stretch: tuple[float, float] | None = None, windows: slice = slice(None)
) -> NDArray[np.int64]:
    """Return the first frame of every window; with ``tail: cover`` the last window ends with the recording.

    With a ``stretch`` (start and end in seconds) only windows within it count, and the first starts with it. A stretch
    shorter than a window has one window, centred on it. A stretch that starts after the end of the recording has none.
    ``windows`` selects some of them by their numbers: a day has a million.
    """
    first, end = 0, n_frames
    if stretch is not None:
        rate = spec.sample_rate / spec.hop_length
        first, end = math.ceil(stretch[0] * rate - 1e-6), math.floor(stretch[1] * rate + 1e-6) + 1
        if first >= n_frames or n_frames < spec.window_frames:
            return np.zeros(0, np.int64)
        end = min(end, n_frames)
        if end - first < spec.window_frames:
            middle = (first + end - spec.window_frames) // 2
            return np.array([min(max(middle, 0), n_frames - spec.window_frames)], np.int64)[windows]
    last = end - spec.window_frames
    if last < first:
        return np.zeros(0, np.int64)
    n_hops, rest = divmod(last - first, spec.hop_frames)
    n_windows = n_hops + 1 + (spec.tail == "cover" and rest > 0)
    return np.minimum(first + spec.hop_frames * np.arange(*windows.indices(n_windows), dtype=np.int64), last)


def frame_range(n_frames: int, spec: FeatureSpec, stretch: tuple[float, float] | None = None) -> slice:
    """Return the range of frames that the windows of a ``stretch`` cover; without a stretch or windows, all frames."""
    starts = window_starts(n_frames, spec, stretch)
    if stretch is None or not len(starts):
        return slice(0, n_frames)
    return slice(int(starts[0]), int(starts[-1]) + spec.window_frames)


def window_start_s(starts: NDArray[np.int64], spec: FeatureSpec) -> NDArray[np.float64]:
    """Return the time of each window in seconds: from the start of the recording to the centre of its first frame."""
    return np.asarray(starts * (spec.hop_length / spec.sample_rate), np.float64)


def cut_windows(frames: Array | Frames, starts: NDArray[np.int64], spec: FeatureSpec, n_tracks: int = 1) -> Array:
    """Return the windows that start at these frames, as float32 (len(starts) * n_tracks, *spec.shape).

    ``frames`` are (n_frames * n_tracks, n_bins, n_channels). They are read from the first to the last window.
    """
    if not len(starts):
        return np.zeros((0, *spec.shape), np.float32)
    first, last = int(starts.min()), int(starts.max()) + spec.window_frames
    rows = frames[first * n_tracks : last * n_tracks].reshape(-1, n_tracks, spec.n_bins, len(spec.channels))
    # (n_windows, n_tracks, n_bins, n_channels, window_frames): a view, copied once by the fancy index
    windows = np.lib.stride_tricks.sliding_window_view(rows, spec.window_frames, axis=0)[starts - first]
    windows = np.moveaxis(windows, -1, 3 if spec.axes == "bins_frames" else 2)
    return np.ascontiguousarray(windows, np.float32).reshape(-1, *spec.shape)


def cut_window(frames: Array | Frames, start: int, spec: FeatureSpec, n_tracks: int, track: int) -> Array:
    """Return one window (*spec.shape) of one track, as `cut_windows` would."""
    rows = frames[start * n_tracks : (start + spec.window_frames) * n_tracks][track::n_tracks]
    return rows.swapaxes(0, 1) if spec.axes == "bins_frames" else rows


def loud_windows(levels: Array, spec: FeatureSpec) -> NDArray[np.bool_]:
    """Return a mask of the windows that are loud enough to use, given the levels (n,) in dB of one recording.

    A window may be at most ``spec.quiet_db`` below the loudest one; without that setting, all windows are used.
    """
    if spec.quiet_db is None or not len(levels):
        return np.ones(len(levels), bool)
    return np.asarray(levels >= levels.max() - spec.quiet_db)


def window_levels(X: Array, spec: FeatureSpec, n_tracks: int = 1) -> Array:
    """Return the peak level (n,) in dB of windows (n * n_tracks, *shape); the loudest track counts.

    It is the level of the loudest mel band for log-mels, and of the mean band for MFCCs.
    """
    if "static" not in spec.channels:
        return np.zeros(len(X) // n_tracks, np.float32)  # a delta has no level
    static = X[..., spec.channels.index("static")]
    if spec.kind == "mfcc":  # the first coefficient is the mean band times sqrt(n_mels)
        static = (static[:, 0] if spec.axes == "bins_frames" else static[:, :, 0]) / math.sqrt(spec.n_mels)
    return np.asarray(static.reshape(len(X) // n_tracks, -1).max(axis=1))


def change_per_db(spec: FeatureSpec) -> Array:
    """Return the change of a window (*spec.shape) per dB of gain of its recording; deltas do not change."""
    added = np.zeros(spec.shape, np.float32)
    if "static" in spec.channels:
        static = added[..., spec.channels.index("static")]  # a view
        if spec.kind == "logmel":
            static[:] = 1
        else:  # the first coefficient is the mean band times sqrt(n_mels)
            (static if spec.axes == "bins_frames" else static.T)[0] = math.sqrt(spec.n_mels)
    return added


def _stacked(static: Iterable[Array], spec: FeatureSpec) -> Iterator[Array]:
    """Yield blocks (..., n, n_bins, n_channels) with the channels of ``spec`` from static blocks (..., n, n_bins)."""
    if "delta" not in spec.channels:
        for block in static:
            yield block[..., None]
        return
    order = [("static", "delta").index(name) for name in spec.channels]
    for pair in _with_delta(static):
        yield np.stack([pair[i] for i in order], axis=-1)


def _static(blocks: Iterable[Array], spec: FeatureSpec, frontend: Frontend) -> Iterator[Array]:
    """Yield decibels or coefficients (..., n, n_bins) in blocks of `BLOCK_FRAMES` frames; the last may be shorter."""
    n_fft, hop = spec.n_fft, spec.hop_length
    advance = BLOCK_FRAMES * hop
    needed = advance - hop + n_fft
    transform = _Transform(spec, frontend)
    held: list[Array] = []  # samples from the start of the next block of frames
    n_held = n_samples = n_done = 0
    for block in blocks:
        if not n_samples:
            held.append(np.zeros((*block.shape[:-1], n_fft // 2), np.float32))
            n_held = n_fft // 2
        n_samples += block.shape[-1]
        n_held += block.shape[-1]
        held.append(block)
        if n_held < needed:
            continue
        samples = np.concatenate(held, axis=-1)
        while samples.shape[-1] >= needed:
            yield transform(samples[..., :needed])
            n_done += BLOCK_FRAMES
            samples = samples[..., advance:]
        held, n_held = [samples], samples.shape[-1]
    if not n_samples:
        return
    samples = np.concatenate([*held, np.zeros((*held[0].shape[:-1], n_fft), np.float32)], axis=-1)
    rest = 1 + n_samples // hop - n_done
    for start in range(0, rest, BLOCK_FRAMES):  # the zeros at the end can add one block
        n = min(BLOCK_FRAMES, rest - start)
        yield transform(samples[..., start * hop : (start + n - 1) * hop + n_fft])


class _Transform:
    """Transform the samples of a block of frames into decibels or coefficients.

    Intermediate arrays are small or reused: new memory would take longer than the transform itself.
    """

    def __init__(self, spec: FeatureSpec, frontend: Frontend) -> None:
        self._n_fft, self._hop = spec.n_fft, spec.hop_length
        self._frontend = frontend
        self._rows = max(1, _FFT_VALUES // spec.n_fft)
        self._tapered = np.empty((self._rows, spec.n_fft), np.float32)
        self._spectrum = np.empty((self._rows, spec.n_fft // 2 + 1), np.complex64)
        self._power = np.empty((BLOCK_FRAMES, spec.n_fft // 2 + 1), np.float32)

    def __call__(self, samples: Array) -> Array:
        if samples.ndim == 2:
            return np.stack([self(track) for track in samples])
        sliced = np.lib.stride_tricks.sliding_window_view(samples, self._n_fft)[:: self._hop]
        power = self._power[: len(sliced)]
        for first in range(0, len(sliced), self._rows):
            frames = sliced[first : first + self._rows]
            tapered, spectrum = self._tapered[: len(frames)], self._spectrum[: len(frames)]
            np.multiply(frames, self._frontend.taper, out=tapered)
            np.fft.rfft(tapered, out=spectrum)  # type: ignore[arg-type]  # numpy's stubs only allow complex128
            parts = spectrum.view(np.float32)  # real, imaginary, real, ...
            np.square(parts, out=parts)
            np.add(parts[:, 0::2], parts[:, 1::2], out=power[first : first + self._rows])
        mel = np.concatenate([power[:, bins] @ weights for bins, weights in self._frontend.bands], axis=1)
        np.maximum(mel, np.float32(POWER_FLOOR), out=mel)
        np.log(mel, out=mel)  # many times faster than log10
        mel *= np.float32(10 / math.log(10))
        return mel if self._frontend.dct is None else mel @ self._frontend.dct


def _with_delta(blocks: Iterable[Array]) -> Iterator[tuple[Array, Array]]:
    """Yield (static, delta) pairs (..., n, n_bins).

    Delta is the slope per frame of a straight line fitted to `DELTA_WIDTH` frames. At both ends the nearest slope is
    repeated, as a Savitzky-Golay filter of order 1 does.
    """
    held: Array | None = None  # not yet yielded, preceded (but at the start) by the _HALF frames before it
    slopes: Array | None = None
    for block in blocks:
        held = block if held is None else np.concatenate([held, block], axis=-2)
        n = held.shape[-2]
        if n < DELTA_WIDTH:
            continue
        first = slopes is None
        slopes = _slopes(held)
        if first:
            yield held[..., :_HALF, :], np.repeat(slopes[..., :1, :], _HALF, axis=-2)
        yield held[..., _HALF : n - _HALF, :], slopes
        held = held[..., n - 2 * _HALF :, :]
    if held is not None and slopes is not None:
        yield held[..., -_HALF:, :], np.repeat(slopes[..., -1:, :], _HALF, axis=-2)


def _slopes(values: Array) -> Array:
    """Return slopes (..., n - 2 * _HALF, n_bins): the sum of k * (x[t + k] - x[t - k]) over twice the sum of k ** 2."""
    n = values.shape[-2] - 2 * _HALF
    total = partial = np.zeros((), np.float32)
    for k in range(_HALF, 0, -1):  # k * d[k] summed is d[4], d[4] + d[3], ... summed
        partial = values[..., _HALF + k : _HALF + k + n, :] - values[..., _HALF - k : _HALF - k + n, :] + partial
        total = total + partial
    return np.asarray(total / np.float32(2 * sum(k * k for k in range(1, _HALF + 1))))
