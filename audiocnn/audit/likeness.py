"""Whether two recordings hold the same sound, by their samples laid over each other.

Takes two files and a guess at the lag, returns a `Likeness`. Two measures must agree, as each alone can be fooled: the
correlation of the waveforms by two steady tones of one pitch, agreement in phase by two tones in the same noise.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audiocnn.audio import isolate
from audiocnn.audit.fingerprint import HIGHEST_BIN, LOWEST_BIN, N_FFT, RATE_HZ, beginning, spectra

VERSION = 1  # raise it when the code changes what it finds
SHORTEST_S = 0.15  # of sound in common; less is too little to go by
LONG_S = 2.0  # of sound in common that is enough, however long the recordings are
_SHARE = 0.4  # of the shorter recording that is enough where it is short
_SAME = ((0.85, 0.55), (0.998, 0.35))  # waveform and phase that are enough, see `Likeness.same`

_SLACK = 192  # samples around a guessed lag that are searched: three steps of landmarks
_LOUDEST = 0.25  # of the cells of the two spectrograms, whose phases are compared
_FAINTEST = 1e-4  # of the loudest cell: below this is nothing but rounding
_EMPHASIS = 0.7  # how far loud frequencies are held down when the lag is looked for (Knapp and Carter 1976)
_QUIET = 1e-4  # of the energy of both: what overlaps with less does not count by its correlation
_TINY = 1e-20

Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Likeness:
    """How alike two recordings are where they overlap, for ``shared_s`` seconds, the second beginning at ``lag_s``.

    ``waveform`` (0 to 1) is the normalised correlation from 31 Hz to 3.5 kHz; ``phase`` (-1 to 1) is the mean cosine of
    the phase differences of the loudest quarter of all cells of the spectrograms, each counting the same.
    """

    lag_s: float
    shared_s: float
    waveform: float
    phase: float

    @property
    def same(self) -> bool:
        """Whether it is the same sound.

        Of copies of recordings of instruments at other levels, rates and formats, ``waveform`` is above 0.95 and
        ``phase`` above 0.55 in nearly all; where an encoder left nothing of a tone but the tone, ``phase`` falls to
        0.35 and ``waveform`` stays above 0.998. Different recordings have a ``phase`` below 0.15, the notes of a
        synthesiser below 0.4, and the beeps of an alarm up to 0.5 with a ``waveform`` of up to 0.995.
        """
        return any(self.waveform >= waveform and self.phase >= phase for waveform, phase in _SAME)


def compare(path: Path, other: Path, lag_s: float) -> Likeness:
    """Runs in a worker: compare what two files have in common. Raises `AudioError` if one cannot be decoded."""
    first, second = beginning(path), beginning(other)
    with isolate.pause_timeout():
        return measure(first, second, guess=round(lag_s * RATE_HZ))


def measure(first: Samples, second: Samples, *, guess: int) -> Likeness:
    """Return the best likeness of two, samples being at `RATE_HZ`: at lags near a guessed one, and at any other.

    A guess by landmarks may be one beat off where a sound repeats itself, and what is loudest may not be shared.
    """
    lags = [lag for emphasis in (0.0, _EMPHASIS) for lag in _best_lags(first, second, guess, emphasis)]
    found = [_at(first, second, lag) for lag in dict.fromkeys(lags)]
    return max(found, key=lambda likeness: (likeness.same, likeness.phase), default=Likeness(0.0, 0.0, 0.0, 0.0))


def _enough(first: Samples, second: Samples) -> int:
    """Samples that two must share, so that it is worth a comparison."""
    shorter = min(len(first), len(second))
    return int(max(SHORTEST_S * RATE_HZ, min(_SHARE * shorter, LONG_S * RATE_HZ)))


def _best_lags(first: Samples, second: Samples, guess: int, emphasis: float) -> list[int]:
    """The lags, near a guess and of all, where what overlaps correlates most; none if nothing overlaps enough."""
    lags = np.arange(_enough(first, second) - len(second), len(first) - _enough(first, second) + 1)
    if not len(lags):
        return []
    n = 1 << (len(first) + len(second)).bit_length()
    x, y = (_held_down(samples, n, emphasis) for samples in (first, second))
    correlation = np.abs(np.fft.irfft(x * np.conj(y), n)[lags])
    start, other_start = np.maximum(lags, 0), np.maximum(-lags, 0)
    shared = np.minimum(len(first) - start, len(second) - other_start)
    energy = np.ones(len(lags))
    for spectrum, length, begin in ((x, len(first), start), (y, len(second), other_start)):
        sums = np.concatenate([[0.0], np.cumsum(np.fft.irfft(spectrum, n)[:length].astype(np.float64) ** 2)])
        energy *= (sums[begin + shared] - sums[begin]) / (sums[-1] + _TINY)
    correlation /= np.sqrt(energy) + _QUIET
    near = np.flatnonzero(np.abs(lags - guess) <= _SLACK)
    best = [np.argmax(correlation), *([near[np.argmax(correlation[near])]] if len(near) else [])]
    return [int(lags[number]) for number in best]


def _held_down(samples: Samples, n: int, emphasis: float) -> NDArray[np.complex64]:
    """The spectrum (1 + n // 2,) of samples from 31 Hz to 3.5 kHz, in which loud frequencies are held down."""
    spectrum = np.fft.rfft(samples, n)
    spectrum[: LOWEST_BIN * n // N_FFT] = spectrum[HIGHEST_BIN * n // N_FFT :] = 0
    return (spectrum / (np.abs(spectrum) ** (emphasis / 2) + _TINY)).astype(np.complex64)


def _overlap(first: Samples, second: Samples, lag: int) -> tuple[Samples, Samples]:
    """What both have if the second begins ``lag`` samples after the first; may be nothing."""
    first, second = first[max(0, lag) :], second[max(0, -lag) :]
    n = min(len(first), len(second))
    return first[:n], second[:n]


def _at(first: Samples, second: Samples, lag: int) -> Likeness:
    """The likeness at a lag, which may be off by a part of a sample."""
    one, two = _overlap(first, second, lag)
    a, b = (spectra(samples, hop=N_FFT // 2)[:, LOWEST_BIN:HIGHEST_BIN] for samples in (one, two))
    cross = a * np.conj(b)
    cycles = np.arange(LOWEST_BIN, HIGHEST_BIN) / N_FFT  # a sample
    turns = np.exp(2j * np.pi * cycles[:, None] * np.linspace(-1, 1, 41))  # (bins, parts of a sample)
    energy = float(np.sqrt(np.sum(np.abs(a) ** 2) * np.sum(np.abs(b) ** 2)))
    correlation = (cross.sum(axis=0) @ turns).real / (energy + _TINY)
    best = np.argmax(np.abs(correlation))  # a copy may be turned upside down
    level = np.maximum(*(np.abs(x) / (np.abs(x).max() + _TINY) for x in (a, b)))
    loud = level >= max(np.quantile(level, 1 - _LOUDEST), _FAINTEST)
    agreement = (cross * turns[:, best]).real / (np.abs(cross) + _TINY) * np.sign(correlation[best])
    phase = float(agreement[loud].mean()) if loud.any() else 0.0
    return Likeness(lag / RATE_HZ, len(one) / RATE_HZ, float(np.abs(correlation[best])), phase)
