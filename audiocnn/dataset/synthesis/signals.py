"""Building blocks of synthesized sound: oscillators, coloured noise, filters and envelopes.

Samples are float64 arrays. Frequencies are in hertz, times in seconds.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float64]
Gain = Callable[[Samples], Samples]  # frequencies in hertz -> linear amplitude gain, one each

TABLE_SIZE = 2048  # points per period in `oscillate`
TABLE_HARMONICS = 256  # at most, so that linear interpolation errs by less than 1 % of the highest harmonic


@dataclass(frozen=True)
class Peak:
    """One resonance of a body or a pipe: centre, quality factor and height above the baseline."""

    centre_hz: float
    quality: float
    height_db: float


def time_to_samples(duration_s: float, sample_rate: int) -> int:
    """Return the number of samples in ``duration_s``, at least one."""
    return max(1, round(duration_s * sample_rate))


def rms(samples: Samples) -> float:
    """Return the root mean square over all axes, at least 1e-12, so that it can be a divisor."""
    return max(float(np.sqrt(np.mean(np.square(samples)))), 1e-12)


def resonances(peaks: Sequence[Peak]) -> Gain:
    """Return a gain of 1 with a second-order bell at every peak; the powers of the bells add."""

    def gain(frequencies_hz: Samples) -> Samples:
        power = np.ones_like(frequencies_hz)
        ratio = np.maximum(frequencies_hz, 1.0)
        for peak in peaks:
            detuning = peak.quality * (ratio / peak.centre_hz - peak.centre_hz / ratio)
            power += (10 ** (peak.height_db / 10) - 1) / (1 + detuning**2)
        return power**0.5

    return gain


def band(low_hz: float, high_hz: float, *, order: int = 2) -> Gain:
    """Return a Butterworth-shaped band: -3 dB at both corners, falling by 6 * ``order`` dB per octave outside."""

    def gain(frequencies_hz: Samples) -> Samples:
        frequencies_hz = np.maximum(frequencies_hz, 1.0)
        below = 1 + (low_hz / frequencies_hz) ** (2 * order)
        above = 1 + (frequencies_hz / high_hz) ** (2 * order)
        return (below * above) ** -0.5

    return gain


def tilt(db_per_octave: float, *, pivot_hz: float = 1000.0) -> Gain:
    """Return a constant slope in decibels per octave: 0 dB at ``pivot_hz``, flat below 40 Hz."""
    exponent = db_per_octave / (20 * np.log10(2))
    return lambda frequencies_hz: (np.maximum(frequencies_hz, 40.0) / pivot_hz) ** exponent


def fft_size(n_samples: int) -> int:
    """Return the smallest even 2^a, 3 * 2^a or 9 * 2^a of at least ``n_samples``: sizes with a fast FFT."""
    return min(odd << max(1, (-(-n_samples // odd) - 1).bit_length()) for odd in (1, 3, 9))


def fft_bins(size: int, sample_rate: int) -> Samples:
    """Return the frequencies (size // 2 + 1,) of a real FFT of ``size``."""
    return np.arange(size // 2 + 1.0) * (sample_rate / size)


def filter_samples(samples: Samples, gain: Gain, *, sample_rate: int) -> Samples:
    """Return ``samples`` (n,) filtered by ``gain`` at zero phase, padded by 50 ms against wrap-around."""
    size = fft_size(len(samples) + sample_rate // 20)
    spectrum = np.fft.rfft(samples, size) * gain(fft_bins(size, sample_rate))
    return np.fft.irfft(spectrum, size)[: len(samples)]


def noise(n_samples: int, gain: Gain, *, sample_rate: int, rng: np.random.Generator) -> Samples:
    """Return Gaussian noise (n_samples,) with unit RMS and a spectrum that follows ``gain``."""
    size = fft_size(n_samples)
    spectrum = rng.standard_normal(size + 2).view(np.complex128) * gain(fft_bins(size, sample_rate))
    samples = np.fft.irfft(spectrum, size)[:n_samples]
    return samples / rms(samples)


def slow_random_curve(n_samples: int, rate_hz: float, *, sample_rate: int, rng: np.random.Generator) -> Samples:
    """Return a slow curve (n_samples,) within -1..1: a random value every 1 / ``rate_hz`` s, joined by lines."""
    times = np.arange(float(n_samples)) * (rate_hz / sample_rate)
    n_points = 2 + int(times[-1])
    return np.interp(times, np.arange(n_points), rng.uniform(-1, 1, n_points))


def envelope(n_samples: int, *, attack_s: float, release_s: float, sample_rate: int) -> Samples:
    """Return a gain (n_samples,) with raised-cosine attack and release, and 1 between them."""
    gain = np.ones(n_samples)
    n_attack = min(time_to_samples(attack_s, sample_rate), n_samples)
    n_release = min(time_to_samples(release_s, sample_rate), n_samples)
    gain[:n_attack] *= 0.5 - 0.5 * np.cos(np.pi * np.arange(n_attack) / n_attack)
    gain[n_samples - n_release :] *= 0.5 + 0.5 * np.cos(np.pi * (np.arange(n_release) + 1) / n_release)
    return gain


def harmonics(frequency_hz: float, *, sample_rate: int, highest_hz: float = 10_000.0) -> Samples:
    """Return the harmonic numbers 1, 2, ... below ``highest_hz`` and 0.45 of the sample rate; at least 1."""
    return np.arange(1.0, max(2.0, min(highest_hz, 0.45 * sample_rate) / frequency_hz))


def running_phase(frequency_hz: Samples, *, sample_rate: int) -> Samples:
    """Return the phase (n,) in cycles of an oscillator with frequency ``frequency_hz`` (n,)."""
    return np.cumsum(frequency_hz) / sample_rate


def oscillate(cycles: Samples, amplitudes: Samples, *, rng: np.random.Generator) -> Samples:
    """Return harmonic sounds (n_spectra, n) at the phase ``cycles`` (n,), one for each row of ``amplitudes``.

    ``amplitudes`` is (n_spectra, n_harmonics). The phases of the harmonics are random and the same in every row, so
    that rows can be cross-faded without cancellation. A wavetable holds one period, read by linear interpolation.
    """
    amplitudes = amplitudes[:, :TABLE_HARMONICS]
    n_harmonics = amplitudes.shape[1]
    spectra = np.zeros((len(amplitudes), TABLE_SIZE // 2 + 1), np.complex128)
    spectra[:, 1 : n_harmonics + 1] = amplitudes * np.exp(2j * np.pi * rng.random(n_harmonics))
    tables = np.fft.irfft(spectra, TABLE_SIZE) * (TABLE_SIZE / 2)
    tables = np.concatenate([tables, tables[:, :1]], axis=1)
    position = (cycles - np.floor(cycles)) * TABLE_SIZE
    index = np.minimum(position.astype(np.int64), TABLE_SIZE - 1)
    fraction = position - index
    return tables[:, index] * (1 - fraction) + tables[:, index + 1] * fraction
