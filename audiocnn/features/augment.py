"""Augment a recording: draw random settings, then add reverberation, filters and noise to its samples.

Takes and yields blocks of samples, float32 (n,) or (n_tracks, n). The output has as many samples as the input, aligned
in time, and does not depend on the sizes of the blocks. Speed is not changed here: to change it, a file is decoded at
another sample rate.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audiocnn.features.extract import Array
from audiocnn.specs import AugmentSpec

_DIRECT_DB = (0.0, 10.0)  # level of the direct sound over the reverberation of a room
_GAP_S = 0.002  # until the first reflection: a path about 70 cm longer
_PINK_DB = -3.0103  # per octave: power falls as 1 / frequency
_LOWEST_HZ = 20.0  # below it the noise spectrum is flat
_STOPBAND_DB = 60.0
_FFT_BITS = 15  # at least; a transform of 32,768 samples is efficient and takes little memory
_ROOM, _NOISE = 1, 2  # added to a seed, so that each random generator has its own

Powers = NDArray[np.float64]


@dataclass(frozen=True)
class Augmentation:
    """The augmentation of one recording: fields of `AugmentSpec` with the values that were drawn.

    ``direct_db`` is the level of the direct sound over the reverberation. ``slope_db`` is the slope of the noise per
    octave. ``seed`` sets the reverberation and the noise.
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
        """The augmentation in words, for a caption.

        >>> Augmentation(seed=(0,), speed=1.043, lowpass_hz=3200, snr_db=17.2).words
        'speed 1.04, low-pass 3.2 kHz, SNR 17 dB'
        """
        parts = [
            f"speed {self.speed:.2f}" if self.speed != 1 else "",
            f"room {self.room_s:.2g} s" if self.room_s is not None else "",
            f"high-pass {_format_hz(self.highpass_hz)}" if self.highpass_hz is not None else "",
            f"low-pass {_format_hz(self.lowpass_hz)}" if self.lowpass_hz is not None else "",
            f"SNR {self.snr_db:.0f} dB" if self.snr_db is not None else "",
        ]
        return ", ".join(filter(None, parts))


def draw_augmentation(entry: AugmentSpec, sha256: str, number: int) -> Augmentation:
    """Draw the settings of augmented version ``number`` of the recording with this SHA-256.

    ``entry`` holds the limits. The same arguments always give the same settings.
    """
    seed = (int(sha256, 16), number)
    # All seven are drawn, so that one setting does not change another.
    shares = iter(np.random.default_rng(seed).random(7).tolist())

    def within(limits: tuple[float, float] | None) -> float | None:
        share = next(shares)
        return None if limits is None else limits[0] + share * (limits[1] - limits[0])

    speed = within(entry.speed)
    return Augmentation(
        seed,
        speed=1.0 if speed is None else speed,
        room_s=within(entry.room_s),
        direct_db=within(_DIRECT_DB) or 0.0,
        highpass_hz=within(entry.highpass_hz),
        lowpass_hz=within(entry.lowpass_hz),
        snr_db=within(entry.snr_db),
        slope_db=within((_PINK_DB, 0.0)) or 0.0,
    )


def add_room_and_filters(blocks: Iterable[Array], augmentation: Augmentation, sample_rate: int) -> Iterator[Array]:
    """Yield the samples with the reverberation, then the filters, of an augmentation."""
    if augmentation.room_s is not None:
        blocks = convolve(
            blocks, _room_response(augmentation.room_s, augmentation.direct_db, augmentation.seed, sample_rate)
        )
    kernel = np.ones(1)
    if augmentation.highpass_hz is not None:
        kernel = np.convolve(kernel, _highpass(augmentation.highpass_hz, sample_rate))
    if augmentation.lowpass_hz is not None:
        kernel = np.convolve(kernel, _lowpass(augmentation.lowpass_hz, sample_rate))
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


def add_noise(blocks: Iterable[Array], augmentation: Augmentation, sample_rate: int, powers: Powers) -> Iterator[Array]:
    """Yield the samples with noise ``snr_db`` below ``powers``, the mean square of each track (n_tracks,)."""
    gains = np.sqrt(powers / 10 ** ((augmentation.snr_db or 0.0) / 10)).astype(np.float32)
    kernel = _noise_filter(augmentation.slope_db, sample_rate)
    noises = [_Noise(kernel, (*augmentation.seed, _NOISE, track)) for track in range(len(gains))]
    for block in blocks:
        noise = np.stack([gain * noise(block.shape[-1]) for gain, noise in zip(gains, noises, strict=True)])
        yield block + noise.reshape(block.shape)


def convolve(blocks: Iterable[Array], kernel: NDArray[np.float64], *, delay: int = 0) -> Iterator[Array]:
    """Yield the samples convolved with ``kernel`` (n_taps,), by overlap-add.

    The first ``delay`` samples of the output are dropped, which compensates the delay of the kernel. The input is cut
    into blocks of one length from sample 0, so the result does not depend on the blocks that come in.
    """
    n_tail = len(kernel) - 1
    size = 1 << max(_FFT_BITS, (4 * len(kernel) - 1).bit_length())
    response = np.fft.rfft(kernel.astype(np.float32), size)
    tail: Array | None = None  # of the blocks so far, to add to the next one
    n_to_drop = delay  # samples of the output
    for block in _equal_blocks(blocks, size - n_tail):
        n = block.shape[-1]
        convolved = _convolve_block(block, response, size)
        if tail is not None:
            convolved[..., :n_tail] += tail
        tail = convolved[..., n : n + n_tail].copy()
        if n > n_to_drop:
            yield convolved[..., n_to_drop:n]
        n_to_drop = max(0, n_to_drop - n)
    if tail is not None and delay:
        yield tail[..., n_to_drop:delay]


def _equal_blocks(blocks: Iterable[Array], length: int) -> Iterator[Array]:
    """Yield the samples in blocks of one length; the last block may be shorter."""
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


def _convolve_block(samples: Array, response: NDArray[np.complexfloating], size: int) -> Array:
    if samples.ndim == 2:
        return np.stack([_convolve_block(track, response, size) for track in samples])
    return np.asarray(np.fft.irfft(np.fft.rfft(samples, size) * response, size), np.float32)


def _room_response(t60_s: float, direct_db: float, seed: tuple[int, ...], sample_rate: int) -> NDArray[np.float64]:
    """Return the impulse response of a room: the direct sound, then noise that decays by 60 dB in ``t60_s``.

    Moorer, "About This Reverberation Business", Computer Music Journal 3(2), 1979, found such noise to resemble the
    responses of concert halls. The direct sound comes first, so it is not delayed. The energy of the response is 1.
    """
    n = math.ceil(t60_s * sample_rate)
    late = np.random.default_rng((*seed, _ROOM)).standard_normal(n) * 10 ** (-3 * np.arange(n) / n)
    late[: max(1, round(_GAP_S * sample_rate))] = 0
    late *= 10 ** (-direct_db / 20) / max(float(np.sqrt(np.square(late).sum())), 1e-9)
    late[0] = 1
    return late / np.sqrt(np.square(late).sum())


def _lowpass(edge_hz: float, sample_rate: int) -> NDArray[np.float64]:
    """Return a low-pass filter with an odd number of taps, from passband to stopband within a quarter of the edge.

    It passes up to a quarter below ``edge_hz`` and stops from a quarter above it. A sinc with a Kaiser window:
    Oppenheim and Schafer, "Discrete-Time Signal Processing", filter design by windowing.
    """
    step = math.pi * edge_hz / sample_rate  # half the edge, in radians per sample
    n_half = math.ceil((_STOPBAND_DB - 7.95) / (2.285 * step) / 2)
    t = np.arange(-n_half, n_half + 1)
    taps = np.sinc(2 * edge_hz / sample_rate * t) * np.kaiser(len(t), 0.1102 * (_STOPBAND_DB - 8.7))
    return taps / taps.sum()


def _highpass(edge_hz: float, sample_rate: int) -> NDArray[np.float64]:
    """Return the high-pass filter that removes what `_lowpass` with the same edge passes."""
    taps = -_lowpass(edge_hz, sample_rate)
    taps[len(taps) // 2] += 1
    return taps


def _noise_filter(slope_db: float, sample_rate: int) -> NDArray[np.float64]:
    """Return a filter that gives white noise this slope, in dB per octave above 20 Hz, and keeps its power at 1."""
    n = 1 << (sample_rate // 10).bit_length()
    hz = np.maximum(np.fft.rfftfreq(n, 1 / sample_rate), _LOWEST_HZ)
    taps = np.roll(np.fft.irfft(10 ** (slope_db / 20 * np.log2(hz / _LOWEST_HZ)), n), n // 2) * np.hanning(n + 1)[:n]
    return taps / np.sqrt(np.square(taps).sum())


class _Noise:
    """An endless source of noise; a call returns the next ``n`` samples."""

    def __init__(self, kernel: NDArray[np.float64], seed: tuple[int, ...]) -> None:
        self._blocks = convolve(_white_noise(seed), kernel, delay=len(kernel) - 1)  # the delay skips the onset
        self._held = np.zeros(0, np.float32)

    def __call__(self, n: int) -> Array:
        while len(self._held) < n:
            self._held = np.concatenate([self._held, next(self._blocks)])
        taken, self._held = self._held[:n], self._held[n:]
        return taken


def _white_noise(seed: tuple[int, ...]) -> Iterator[Array]:
    rng = np.random.default_rng(seed)
    while True:
        yield rng.standard_normal(1 << _FFT_BITS, dtype=np.float32)


def _format_hz(hz: float) -> str:
    return f"{hz / 1000:.1f} kHz" if hz >= 1000 else f"{hz:.0f} Hz"
