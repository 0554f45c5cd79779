"""The building blocks of synthesised sound: oscillators, damped modes, plucked loops, coloured noise, filters, envelopes.

Arrays of float64 samples in and out; every frequency is in hertz, every time in seconds.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float64]
Gain = Callable[[Samples], Samples]  # frequencies in hertz -> linear amplitude gain, one each

TABLE_SIZE = 2048  # of one period in `oscillate`; linear interpolation errs by 0.1 % at the 30th harmonic
LOOP_TAPS = 6  # of the string's loop filter: 3 of damping convolved with 4 of fractional delay


@dataclass(frozen=True)
class Peak:
    """One resonance of a body, mouth or pipe: centre, quality factor and height above the floor."""

    centre_hz: float
    quality: float
    height_db: float


def count(duration_s: float, sample_rate: int) -> int:
    """Samples in ``duration_s``, at least one."""
    return max(1, round(duration_s * sample_rate))


def resonances(peaks: Sequence[Peak]) -> Gain:
    """A gain of 1 with a second-order bell at every peak (power responses add)."""

    def gain(frequencies_hz: Samples) -> Samples:
        power = np.ones_like(frequencies_hz)
        ratio = np.maximum(frequencies_hz, 1.0)
        for peak in peaks:
            detuning = peak.quality * (ratio / peak.centre_hz - peak.centre_hz / ratio)
            power += (10 ** (peak.height_db / 10) - 1) / (1 + detuning**2)
        return np.sqrt(power)

    return gain


def band(low_hz: float, high_hz: float, *, order: int = 2) -> Gain:
    """A Butterworth-shaped band: -3 dB at both corners, 6 ``order`` dB an octave beyond them."""

    def gain(frequencies_hz: Samples) -> Samples:
        frequencies_hz = np.maximum(frequencies_hz, 1.0)
        return 1 / np.sqrt((1 + (low_hz / frequencies_hz) ** (2 * order)) * (1 + (frequencies_hz / high_hz) ** (2 * order)))

    return gain


def tilt(db_per_octave: float, *, pivot_hz: float = 1000.0) -> Gain:
    """A straight slope in decibels over octaves, 0 dB at ``pivot_hz``, flat below 40 Hz."""
    return lambda frequencies_hz: (np.maximum(frequencies_hz, 40.0) / pivot_hz) ** (db_per_octave / (20 * np.log10(2)))


def filtered(samples: Samples, gain: Gain, *, sample_rate: int) -> Samples:
    """``samples`` (n,) with ``gain`` applied at zero phase; the ends are padded so that nothing wraps around."""
    size = fft_size(len(samples) + sample_rate // 20)
    spectrum = np.fft.rfft(samples, size) * gain(np.fft.rfftfreq(size, 1 / sample_rate))
    return np.fft.irfft(spectrum, size)[: len(samples)]


def fft_size(n_samples: int) -> int:
    """The smallest 2^a 3^b, even and with b at most 2, that holds ``n_samples``: a length that an FFT is fast at."""
    return min(odd << max(1, (-(-n_samples // odd) - 1).bit_length()) for odd in (1, 3, 9))


def noise(n_samples: int, gain: Gain, *, sample_rate: int, rng: np.random.Generator) -> Samples:
    """Gaussian noise (n_samples,) of unit RMS whose spectrum follows ``gain``."""
    size = fft_size(n_samples)
    spectrum = rng.standard_normal(size + 2).view(np.complex128) * gain(np.fft.rfftfreq(size, 1 / sample_rate))
    samples = np.fft.irfft(spectrum, size)[:n_samples]
    return samples / max(rms(samples), 1e-12)


def rms(samples: Samples) -> float:
    """Root mean square over all axes."""
    return float(np.sqrt(np.mean(np.square(samples))))


def wander(n_samples: int, rate_hz: float, *, sample_rate: int, rng: np.random.Generator) -> Samples:
    """A slow random curve (n_samples,) within -1..1: one uniform value every 1 / ``rate_hz`` s, joined by lines."""
    n_points = 2 + int(n_samples * rate_hz / sample_rate)
    times = np.arange(n_samples) * (rate_hz / sample_rate)
    return np.interp(times, np.arange(n_points), rng.uniform(-1, 1, n_points))


def envelope(n_samples: int, *, attack_s: float, release_s: float, sample_rate: int) -> Samples:
    """A gain (n_samples,) that rises over the attack, stays 1 and falls over the release, in raised cosines."""
    gain = np.ones(n_samples)
    n_attack = min(count(attack_s, sample_rate), n_samples)
    n_release = min(count(release_s, sample_rate), n_samples)
    gain[:n_attack] *= 0.5 - 0.5 * np.cos(np.pi * np.arange(n_attack) / n_attack)
    gain[n_samples - n_release :] *= 0.5 + 0.5 * np.cos(np.pi * (np.arange(n_release) + 1) / n_release)
    return gain


def phase(frequency_hz: Samples, *, sample_rate: int) -> Samples:
    """The running phase (n,), in cycles, of an oscillator that follows ``frequency_hz`` (n,)."""
    return np.cumsum(frequency_hz) / sample_rate


def oscillate(cycles: Samples, amplitudes: Samples, *, rng: np.random.Generator) -> Samples:
    """Harmonic sound (n_spectra, n): at phase ``cycles`` (n,), one row for each row of ``amplitudes`` (n_spectra, harmonics).

    The harmonics' phases are random but the same in all rows, so rows may be cross-faded without cancelling.
    Read from a table of one period by linear interpolation.
    """
    spectra = np.zeros((len(amplitudes), TABLE_SIZE // 2 + 1), np.complex128)
    n_harmonics = min(amplitudes.shape[1], TABLE_SIZE // 8)
    turns = np.exp(2j * np.pi * rng.random(n_harmonics))
    spectra[:, 1 : n_harmonics + 1] = amplitudes[:, :n_harmonics] * turns
    tables = np.fft.irfft(spectra, TABLE_SIZE) * (TABLE_SIZE / 2)
    tables = np.concatenate([tables, tables[:, :1]], axis=1)
    position = (cycles - np.floor(cycles)) * TABLE_SIZE
    index = position.astype(np.int64)
    fraction = position - index
    return tables[:, index] * (1 - fraction) + tables[:, index + 1] * fraction


def harmonics(frequency_hz: float, *, sample_rate: int, highest_hz: float = 10_000.0) -> Samples:
    """The harmonic numbers 1, 2, ... (n,) of a note that stay below ``highest_hz`` and 0.45 of the sample rate."""
    return np.arange(1.0, max(2.0, min(highest_hz, 0.45 * sample_rate) / frequency_hz))


def modes(
    frequencies_hz: Samples, amplitudes: Samples, t60_s: Samples, *, n_samples: int, sample_rate: int, rng: np.random.Generator
) -> Samples:
    """A struck object (n_samples,): sines that each decay by 60 dB in their own time, from random phases.

    Modal synthesis (Adrien 1991). With time split into block and place in the block, each damped sine is a product
    of two short complex exponentials, so the sum over all modes is one small matrix product.
    """
    below_nyquist = frequencies_hz < 0.45 * sample_rate
    rates = (-np.log(1000.0) / t60_s + 2j * np.pi * frequencies_hz)[below_nyquist] / sample_rate
    starts = amplitudes[below_nyquist] * np.exp(2j * np.pi * rng.random(len(rates)))
    block = int(np.ceil(np.sqrt(n_samples)))
    by_block = np.exp(np.outer(np.arange(block) * block, rates)) * starts
    by_place = np.exp(np.outer(rates, np.arange(block)))
    return (by_block.real @ by_place.real - by_block.imag @ by_place.imag).reshape(-1)[:n_samples]


def pluck(
    frequency_hz: float, *, n_samples: int, sample_rate: int, position: float, corner_hz: float,
    t60_s: float, t60_treble_s: float, rng: np.random.Generator,
) -> Samples:
    """A plucked string (n_samples,): noise that circulates in a damped loop one period long.

    Karplus and Strong 1983, with the extensions of Jaffe and Smith 1983: the comb of the plucking ``position`` (fraction
    of the string), a low-pass at ``corner_hz`` for the softness of the finger, loop gains set from the decay times of
    the fundamental (``t60_s``) and at 4 kHz (``t60_treble_s``), and a fractional delay for exact pitch, here the cubic
    Lagrange interpolator. Computed a period at a time: a period depends only on the one before it.
    """
    period = sample_rate / frequency_hz
    excitation = _excitation(period, sample_rate=sample_rate, position=position, corner_hz=corner_hz, rng=rng)
    loop, delay = _loop(frequency_hz, sample_rate=sample_rate, t60_s=t60_s, t60_treble_s=t60_treble_s)
    out = np.zeros(n_samples + 2 * len(excitation))
    out[LOOP_TAPS : LOOP_TAPS + len(excitation)] = excitation
    for start in range(LOOP_TAPS + delay, len(out) - delay, delay):
        out[start : start + delay] += np.convolve(out[start - delay - LOOP_TAPS + 1 : start], loop, mode="valid")
    return out[LOOP_TAPS : LOOP_TAPS + n_samples]


def _excitation(
    period: float, *, sample_rate: int, position: float, corner_hz: float, rng: np.random.Generator
) -> Samples:
    """One period of noise of unit RMS, without offset, shaped by the finger and by where it plucks."""
    size = round(period)
    numbers = np.arange(size // 2 + 1)
    spectrum = np.exp(2j * np.pi * rng.random(len(numbers))) * np.abs(np.sin(np.pi * numbers * position))
    spectrum *= band(1.0, corner_hz, order=1)(numbers * sample_rate / period)
    spectrum[0] = 0
    samples = np.fft.irfft(spectrum, size)
    return samples / max(rms(samples), 1e-12)


def _loop(frequency_hz: float, *, sample_rate: int, t60_s: float, t60_treble_s: float) -> tuple[Samples, int]:
    """The filter (LOOP_TAPS,) that a period passes on its way round, and the whole samples of delay before it."""
    fundamental = 10 ** (-3 / (frequency_hz * t60_s))
    treble = 10 ** (-3 / (frequency_hz * min(t60_treble_s, t60_s)))
    damping = min(0.5, (1 - treble / fundamental) / (1 - np.cos(2 * np.pi * 4000 / sample_rate)))
    damping_taps = fundamental * np.array([damping / 2, 1 - damping, damping / 2])
    remaining = sample_rate / frequency_hz - 1  # the damping filter takes one sample
    delay = int(remaining) - 1
    x = remaining - delay  # 1..2: the middle of four taps, where the interpolator is flattest
    lagrange = np.array(
        [-(x - 1) * (x - 2) * (x - 3) / 6, x * (x - 2) * (x - 3) / 2, -x * (x - 1) * (x - 3) / 2, x * (x - 1) * (x - 2) / 6]
    )
    return np.convolve(damping_taps, lagrange), delay
