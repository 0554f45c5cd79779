"""A recording made into another that could have been: what is drawn for it, and blocks of samples in, blocks out.

Blocks are float32 (n,) or (n_tracks, n). As many samples come out as go in, one for one in time, and they are the same
however they arrive. Speed is not changed here: a file is decoded at another rate for that.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audiocnn.features.extract import Array
from audiocnn.specs import AugmentSpec

_DIRECT_DB = (0.0, 10.0)  # how much of what is heard in a room comes straight from its source, over all the rest
_GAP_S = 0.002  # until the first reflection: about 70 cm of detour
_PINK_DB = -3.0103  # an octave: power falls as 1 / frequency
_LOWEST_HZ = 20.0  # below it noise does not grow any further
_STOPBAND_DB = 60.0
_FFT_BITS = 15  # at least; a transform of 32,768 samples is efficient and takes little memory
_ROOM, _NOISE = 1, 2  # what a generator is for

Powers = NDArray[np.float64]


@dataclass(frozen=True)
class Augmentation:
    """What is done to one recording: fields of `AugmentSpec` with the values that were drawn.

    ``direct_db`` is the level of the direct sound over that of a room, ``slope_db`` by how much noise rises an octave.
    Echoes and noise are drawn from ``seed``.
    """

    seed: tuple[int, ...]
    speed: float = 1.0
    room_s: float | None = None
    direct_db: float = 0.0
    highpass_hz: float | None = None
    lowpass_hz: float | None = None
    snr_db: float | None = None
    slope_db: float = 0.0

    @property
    def words(self) -> str:
        """What is done, for a caption.

        >>> Augmentation(seed=(0,), speed=1.043, lowpass_hz=3200, snr_db=17.2).words
        'speed 1.04, low-pass 3.2 kHz, SNR 17 dB'
        """
        said = [
            f"speed {self.speed:.2f}" if self.speed != 1 else "",
            f"room {self.room_s:.2g} s" if self.room_s is not None else "",
            f"high-pass {_frequency(self.highpass_hz)}" if self.highpass_hz is not None else "",
            f"low-pass {_frequency(self.lowpass_hz)}" if self.lowpass_hz is not None else "",
            f"SNR {self.snr_db:.0f} dB" if self.snr_db is not None else "",
        ]
        return ", ".join(filter(None, said))


def draw_augmentation(copy: AugmentSpec, sha256: str, number: int) -> Augmentation:
    """Return what entry ``number`` of the copies does to the recording with this content, always the same."""
    seed = (int(sha256, 16), number)
    shares = iter(np.random.default_rng(seed).random(7).tolist())  # all of them, whatever is asked for

    def within(limits: tuple[float, float] | None) -> float | None:
        share = next(shares)
        return None if limits is None else limits[0] + share * (limits[1] - limits[0])

    speed = within(copy.speed)
    return Augmentation(
        seed,
        speed=1.0 if speed is None else speed,
        room_s=within(copy.room_s),
        direct_db=within(_DIRECT_DB) or 0.0,
        highpass_hz=within(copy.highpass_hz),
        lowpass_hz=within(copy.lowpass_hz),
        snr_db=within(copy.snr_db),
        slope_db=within((_PINK_DB, 0.0)) or 0.0,
    )


def add_room_and_filters(blocks: Iterable[Array], alteration: Augmentation, sample_rate: int) -> Iterator[Array]:
    """Yield the samples as they are heard in the room, then through the filters, of an alteration."""
    if alteration.room_s is not None:
        blocks = convolve(blocks, _echoes(alteration.room_s, alteration.direct_db, alteration.seed, sample_rate))
    kernel = np.ones(1)
    if alteration.highpass_hz is not None:
        kernel = np.convolve(kernel, _highpass(alteration.highpass_hz, sample_rate))
    if alteration.lowpass_hz is not None:
        kernel = np.convolve(kernel, _lowpass(alteration.lowpass_hz, sample_rate))
    if len(kernel) > 1:
        blocks = convolve(blocks, kernel, delay=len(kernel) // 2)
    yield from blocks


def mean_square(blocks: Iterable[Array]) -> Powers:
    """Return the mean square of each track (n_tracks,)."""
    total, n = np.zeros(1), 0
    for block in blocks:
        total = total + np.square(np.atleast_2d(block), dtype=np.float64).sum(axis=1)
        n += block.shape[-1]
    return total / max(n, 1)


def add_noise(blocks: Iterable[Array], alteration: Augmentation, sample_rate: int, powers: Powers) -> Iterator[Array]:
    """Yield the samples with noise ``snr_db`` below ``powers`` (n_tracks,), each track with its own."""
    gains = np.sqrt(powers / 10 ** ((alteration.snr_db or 0.0) / 10)).astype(np.float32)
    kernel = _slope(alteration.slope_db, sample_rate)
    noises = [_Noise(kernel, (*alteration.seed, _NOISE, track)) for track in range(len(gains))]
    for block in blocks:
        noise = np.stack([gain * noise(block.shape[-1]) for gain, noise in zip(gains, noises, strict=True)])
        yield block + noise.reshape(block.shape)


def convolve(blocks: Iterable[Array], kernel: NDArray[np.float64], *, delay: int = 0) -> Iterator[Array]:
    """Yield the samples convolved with ``kernel`` (n_taps,), by overlap-add; ``delay`` is taken back, so none is added.

    Work is done in blocks of the same length from sample 0 on, whatever comes in.
    """
    n_more = len(kernel) - 1
    size = 1 << max(_FFT_BITS, (4 * len(kernel) - 1).bit_length())
    response = np.fft.rfft(kernel.astype(np.float32), size)
    after: Array | None = None  # what the blocks so far add to what follows them
    n_left = delay  # samples of the output that are still to be dropped
    for block in _of_length(blocks, size - n_more):
        n = block.shape[-1]
        whole = _filtered(block, response, size)
        if after is not None:
            whole[..., :n_more] += after
        after = whole[..., n : n + n_more].copy()
        if n > n_left:
            yield whole[..., n_left:n]
        n_left = max(0, n_left - n)
    if after is not None and delay:
        yield after[..., n_left:delay]


def _of_length(blocks: Iterable[Array], length: int) -> Iterator[Array]:
    """Yield the samples in blocks of one length, but for the last."""
    held: list[Array] = []
    n_held = 0
    for block in blocks:
        held.append(block)
        n_held += block.shape[-1]
        if n_held < length:
            continue
        samples = np.concatenate(held, axis=-1)
        n_whole = n_held - n_held % length
        for first in range(0, n_whole, length):
            yield samples[..., first : first + length]
        held, n_held = [samples[..., n_whole:].copy()], n_held - n_whole
    if n_held:
        yield np.concatenate(held, axis=-1)


def _filtered(samples: Array, response: NDArray[np.complexfloating], size: int) -> Array:
    if samples.ndim == 2:
        return np.stack([_filtered(track, response, size) for track in samples])
    return np.asarray(np.fft.irfft(np.fft.rfft(samples, size) * response, size), np.float32)


def _echoes(t60_s: float, direct_db: float, seed: tuple[int, ...], sample_rate: int) -> NDArray[np.float64]:
    """The impulse response of a room: the direct sound, and noise that decays by 60 dB in ``t60_s``; its energy is 1.

    Moorer, "About This Reverberation Business", Computer Music Journal 3(2), 1979, found such noise to resemble the
    responses of concert halls. The direct sound comes first, so that nothing is heard later than it was.
    """
    n = math.ceil(t60_s * sample_rate)
    late = np.random.default_rng((*seed, _ROOM)).standard_normal(n) * 10 ** (-3 * np.arange(n) / n)
    late[: max(1, round(_GAP_S * sample_rate))] = 0
    late *= 10 ** (-direct_db / 20) / max(float(np.sqrt(np.square(late).sum())), 1e-9)
    late[0] = 1
    return late / np.sqrt(np.square(late).sum())


def _lowpass(edge_hz: float, sample_rate: int) -> NDArray[np.float64]:
    """A filter of an odd number of taps that passes what is a quarter below the edge, and stops what is as far above.

    A sinc under a Kaiser window: Oppenheim and Schafer, "Discrete-Time Signal Processing", on design by windows.
    """
    step = math.pi * edge_hz / sample_rate  # half the edge, in radians a sample
    n_half = math.ceil((_STOPBAND_DB - 7.95) / (2.285 * step) / 2)
    t = np.arange(-n_half, n_half + 1)
    taps = np.sinc(2 * edge_hz / sample_rate * t) * np.kaiser(len(t), 0.1102 * (_STOPBAND_DB - 8.7))
    return taps / taps.sum()


def _highpass(edge_hz: float, sample_rate: int) -> NDArray[np.float64]:
    """What the low-pass filter of the same edge takes away."""
    taps = -_lowpass(edge_hz, sample_rate)
    taps[len(taps) // 2] += 1
    return taps


def _slope(slope_db: float, sample_rate: int) -> NDArray[np.float64]:
    """A filter that gives white noise this slope, in dB an octave from 20 Hz on, and leaves its power 1."""
    n = 1 << (sample_rate // 10).bit_length()
    hz = np.maximum(np.fft.rfftfreq(n, 1 / sample_rate), _LOWEST_HZ)
    taps = np.roll(np.fft.irfft(10 ** (slope_db / 20 * np.log2(hz / _LOWEST_HZ)), n), n // 2) * np.hanning(n + 1)[:n]
    return taps / np.sqrt(np.square(taps).sum())


class _Noise:
    """Noise without end, as much at a time as is asked for."""

    def __init__(self, kernel: NDArray[np.float64], seed: tuple[int, ...]) -> None:
        self._blocks = convolve(_white(seed), kernel, delay=len(kernel) - 1)  # which begins at full strength
        self._held = np.zeros(0, np.float32)

    def __call__(self, n: int) -> Array:
        while len(self._held) < n:
            self._held = np.concatenate([self._held, next(self._blocks)])
        taken, self._held = self._held[:n], self._held[n:]
        return taken


def _white(seed: tuple[int, ...]) -> Iterator[Array]:
    rng = np.random.default_rng(seed)
    while True:
        yield rng.standard_normal(1 << _FFT_BITS, dtype=np.float32)


def _frequency(hz: float) -> str:
    return f"{hz / 1000:.1f} kHz" if hz >= 1000 else f"{hz:.0f} Hz"
