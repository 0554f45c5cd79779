"""A recording as one stream: blocks of samples in, blocks of frames out, windows as slices of frames.

No step uses a statistic of the block or array at hand, so a frame has one value however the samples arrive.
"""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from audiocnn.features.frontend import Frontend
from audiocnn.specs import DELTA_WIDTH, FeatureSpec

BLOCK_FRAMES = 512  # work is done in blocks that begin at multiples of this, whatever the reading blocks are
POWER_FLOOR = 1e-10  # as amin of librosa.power_to_db
_HALF = DELTA_WIDTH // 2

Array = NDArray[np.float32]


def frames(blocks: Iterable[Array], *, spec: FeatureSpec, frontend: Frontend) -> Iterator[Array]:
    """Yield the frames of a recording as float32 (n, n_bins, n_channels), about `BLOCK_FRAMES` at a time.

    ``blocks`` are the samples at ``spec.sample_rate``, float32 (n,). Frames are centred, with zeros beyond both ends:
    ``n_frames = 1 + n_samples // hop_length``. A recording shorter than one window is repeated to fill it.
    """
    static = (_static(power, frontend) for power in _power(repeated(blocks, spec.window_samples), spec, frontend))
    if spec.channels == ("static",):
        return (block[:, :, None] for block in static)
    stack = {"static": 0, "delta": 1}
    order = [stack[name] for name in spec.channels]
    return (np.stack(pair, axis=-1)[:, :, order] for pair in _with_delta(static))


def repeated(blocks: Iterable[Array], n_needed: int) -> Iterator[Array]:
    """Yield ``blocks``; if they hold fewer than ``n_needed`` samples, one block of that many, repeating them."""
    held: list[Array] = []
    n_held = 0
    for block in blocks:
        if n_held >= n_needed:
            yield block
            continue
        held.append(block)
        n_held += len(block)
        if n_held >= n_needed:
            yield np.concatenate(held)
            held = []
    if 0 < n_held < n_needed:
        yield np.resize(np.concatenate(held), n_needed)  # numpy.resize repeats


def window_starts(n_frames: int, spec: FeatureSpec) -> NDArray[np.int64]:
    """First frame of every window; with ``tail: cover`` the last window ends with the recording."""
    last = n_frames - spec.window_frames
    if last < 0:
        return np.zeros(0, np.int64)
    starts = np.arange(0, last + 1, spec.hop_frames, dtype=np.int64)
    return np.append(starts, last) if spec.tail == "cover" and starts[-1] != last else starts


def start_s(starts: NDArray[np.int64], spec: FeatureSpec) -> NDArray[np.float64]:
    """Seconds from the start of the recording to the centre of each window's first frame."""
    return np.asarray(starts * (spec.hop_length / spec.sample_rate), np.float64)


def cut(recording: Array, starts: NDArray[np.int64], spec: FeatureSpec) -> Array:
    """Cut the windows (len(starts), *spec.shape) that begin at these frames out of (n_frames, n_bins, n_channels)."""
    if not len(starts):
        return np.zeros((0, *spec.shape), np.float32)
    # (n_windows, n_bins, n_channels, window_frames): a view, copied once by the fancy index
    windows = np.lib.stride_tricks.sliding_window_view(recording, spec.window_frames, axis=0)[starts]
    return np.ascontiguousarray(np.moveaxis(windows, -1, 2 if spec.axes == "bins_frames" else 1))


def _power(blocks: Iterable[Array], spec: FeatureSpec, frontend: Frontend) -> Iterator[Array]:
    """Yield power spectra (n, 1 + n_fft / 2), always of `BLOCK_FRAMES` frames but for the last."""
    n_fft, hop = spec.n_fft, spec.hop_length
    advance = BLOCK_FRAMES * hop
    needed = advance - hop + n_fft
    held = np.zeros(n_fft // 2, np.float32)  # samples from the first one of the next block of frames on
    n_held, n_samples, n_done = len(held), 0, 0
    pending: list[Array] = []
    for block in blocks:
        n_samples += len(block)
        n_held += len(block)
        pending.append(block)
        if n_held < needed:
            continue
        held = np.concatenate([held, *pending])
        pending = []
        while len(held) >= needed:
            yield _spectra(held[:needed], spec, frontend)
            n_done += BLOCK_FRAMES
            held = held[advance:]
        n_held = len(held)
    held = np.concatenate([held, *pending, np.zeros(n_fft, np.float32)])
    rest = 1 + n_samples // hop - n_done
    if n_samples:
        for start in range(0, rest, BLOCK_FRAMES):  # the zeros at the end can make one block more
            n = min(BLOCK_FRAMES, rest - start)
            first = start * hop
            yield _spectra(held[first : first + (n - 1) * hop + n_fft], spec, frontend)


def _spectra(samples: Array, spec: FeatureSpec, frontend: Frontend) -> Array:
    sliced = np.lib.stride_tricks.sliding_window_view(samples, spec.n_fft)[:: spec.hop_length]
    spectrum = np.fft.rfft(sliced * frontend.taper)
    return np.square(spectrum.real) + np.square(spectrum.imag)


def _static(power: Array, frontend: Frontend) -> Array:
    decibels = 10 * np.log10(np.maximum(power @ frontend.mel, np.float32(POWER_FLOOR)))
    return decibels if frontend.dct is None else decibels @ frontend.dct


def _with_delta(blocks: Iterable[Array]) -> Iterator[tuple[Array, Array]]:
    """Yield (static, delta) pairs; delta is the slope per frame of a straight line through `DELTA_WIDTH` frames.

    At both ends the nearest full slope is repeated, which is what a Savitzky-Golay filter of order 1 gives there.
    """
    held: Array | None = None  # not yet yielded, preceded (but at the start) by the _HALF frames before it
    first = True
    slopes = np.zeros((0, 0), np.float32)
    for block in blocks:
        held = block if held is None else np.concatenate([held, block])
        if len(held) < DELTA_WIDTH:
            continue
        slopes = _slopes(held)
        done = held[_HALF : len(held) - _HALF]
        if first:
            yield held[:_HALF], np.repeat(slopes[:1], _HALF, axis=0)
            first = False
        yield done, slopes
        held = held[len(held) - 2 * _HALF :]
    if held is not None and not first:
        yield held[-_HALF:], np.repeat(slopes[-1:], _HALF, axis=0)


def _slopes(values: Array) -> Array:
    n = len(values) - 2 * _HALF
    total = np.zeros((n, values.shape[1]), np.float32)
    for k in range(1, _HALF + 1):
        total += np.float32(k) * (values[_HALF + k : _HALF + k + n] - values[_HALF - k : _HALF - k + n])
    return total / np.float32(2 * sum(k * k for k in range(1, _HALF + 1)))
