"""Strings, plucked and bowed: traits of an instrument and its player in, the samples of a note out."""

from dataclasses import dataclass

import numpy as np

from audiocnn.dataset.synthesis import signals
from audiocnn.dataset.synthesis.notes import Note, Vibrato
from audiocnn.dataset.synthesis.signals import Samples

TREBLE_HZ = 4000.0  # where the second decay time of a plucked string is meant
LOOP_TAPS = 6  # of the plucked string's loop filter: 3 of damping, convolved with 4 of fractional delay


@dataclass(frozen=True)
class PluckedString:
    """A guitar or a harp: see `pluck`."""

    position: float  # of the finger, as a fraction of the string
    corner_hz: float  # above which the finger is too soft to excite the string, at middle loudness
    t60_s: float  # of the fundamental at 220 Hz; shorter above
    t60_treble_s: float
    ring_s: float  # how long a note sounds beyond its time before the hand damps it

    def sound(self, note: Note, *, sample_rate: int, rng: np.random.Generator) -> Samples:
        """Return one plucked note (n,); louder is brighter."""
        n_samples = signals.count(note.duration_s + self.ring_s, sample_rate)
        string = pluck(
            note.frequency_hz,
            n_samples=n_samples,
            sample_rate=sample_rate,
            position=self.position * rng.uniform(0.85, 1.15),
            corner_hz=self.corner_hz * 2 ** (2 * (note.loudness - 0.5)),
            t60_s=self.t60_s * (220 / note.frequency_hz) ** 0.5,
            t60_treble_s=self.t60_treble_s,
            rng=rng,
        )
        fade = signals.envelope(n_samples, attack_s=0.0, release_s=0.08, sample_rate=sample_rate)
        return note.amplitude * string * fade


@dataclass(frozen=True)
class BowedString:
    """A violin or a cello: the sawtooth of Helmholtz motion, the comb of the bowing point, bow noise and vibrato."""

    position: float  # of the bow, as a fraction of the string
    corner_hz: float  # above which the rounded corner of the motion dulls the sound, at middle loudness
    vibrato: Vibrato
    bow_noise: float  # RMS, relative to the string
    attack_s: float

    def sound(self, note: Note, *, sample_rate: int, rng: np.random.Generator) -> Samples:
        """Return one stroke of the bow (n,); pressing harder rounds the corner less (Cremer 1984)."""
        release_s = 0.09
        n_samples = signals.count(note.duration_s + release_s, sample_rate)
        cycles, wavering = self.vibrato.waver(note.frequency_hz, n_samples, sample_rate=sample_rate, rng=rng)
        numbers = signals.harmonics(note.frequency_hz * 1.03, sample_rate=sample_rate)
        comb = np.abs(np.sin(np.pi * numbers * self.position)) + 0.05
        corners_hz = self.corner_hz * 2 ** (1.5 * (note.loudness - 0.5)) * np.array([[0.6], [1.4]])
        spectra = comb / numbers / (1 + (numbers * note.frequency_hz / corners_hz) ** 2)
        dark, bright = signals.oscillate(cycles, spectra, rng=rng)
        pressure = 0.5 + 0.5 * signals.wander(n_samples, 4.0, sample_rate=sample_rate, rng=rng)
        string = dark + (bright - dark) * pressure
        hiss = signals.noise(n_samples, signals.band(400, 5000, order=1), sample_rate=sample_rate, rng=rng)
        sound = string / signals.rms(string) + self.bow_noise * hiss * (0.4 + pressure)
        attack_s = self.attack_s * rng.uniform(0.6, 1.6)
        fade = signals.envelope(n_samples, attack_s=attack_s, release_s=release_s, sample_rate=sample_rate)
        return note.amplitude * sound * (1 + self.vibrato.swell * wavering) * fade


def pluck(
    frequency_hz: float,
    *,
    n_samples: int,
    sample_rate: int,
    position: float,
    corner_hz: float,
    t60_s: float,
    t60_treble_s: float,
    rng: np.random.Generator,
) -> Samples:
    """Return a plucked string (n_samples,): noise that goes round in a damped loop one period long.

    Karplus and Strong 1983, with the extensions of Jaffe and Smith 1983: the comb of the plucking ``position``, a
    low-pass at ``corner_hz`` for the softness of the finger, a loop filter made from the decay times of the
    fundamental and at `TREBLE_HZ`, and a fractional delay for exact pitch, here the cubic Lagrange interpolator.
    Computed a period at a time, since a period depends only on the one before it. ``frequency_hz`` is to stay below
    a tenth of the sample rate.
    """
    excitation = _excitation(frequency_hz, sample_rate=sample_rate, position=position, corner_hz=corner_hz, rng=rng)
    loop, delay = _loop(frequency_hz, sample_rate=sample_rate, t60_s=t60_s, t60_treble_s=t60_treble_s)
    out = np.zeros(LOOP_TAPS + max(n_samples, len(excitation)) + delay)  # LOOP_TAPS zeros of silence come first
    out[LOOP_TAPS : LOOP_TAPS + len(excitation)] = excitation
    for start in range(LOOP_TAPS + delay, len(out) - delay + 1, delay):
        out[start : start + delay] += np.convolve(out[start - delay - LOOP_TAPS + 1 : start], loop, mode="valid")
    return out[LOOP_TAPS : LOOP_TAPS + n_samples]


def _excitation(
    frequency_hz: float, *, sample_rate: int, position: float, corner_hz: float, rng: np.random.Generator
) -> Samples:
    """Return one period of noise of unit RMS, without offset, shaped by the finger and by where it plucks."""
    size = round(sample_rate / frequency_hz)
    numbers = np.arange(size // 2 + 1.0)
    spectrum = np.exp(2j * np.pi * rng.random(len(numbers))) * np.abs(np.sin(np.pi * numbers * position))
    spectrum *= signals.band(1.0, corner_hz, order=1)(numbers * frequency_hz)
    spectrum[0] = 0
    samples = np.fft.irfft(spectrum, size)
    return samples / signals.rms(samples)


def _loop(frequency_hz: float, *, sample_rate: int, t60_s: float, t60_treble_s: float) -> tuple[Samples, int]:
    """Return the filter (LOOP_TAPS,) that a period passes on its way round, and the delay before it in samples."""
    fundamental = 10 ** (-3 / (frequency_hz * t60_s))
    treble = 10 ** (-3 / (frequency_hz * min(t60_treble_s, t60_s)))
    damping = min(0.5, (1 - treble / fundamental) / (1 - np.cos(2 * np.pi * TREBLE_HZ / sample_rate)))
    low_pass = fundamental * np.array([damping / 2, 1 - damping, damping / 2])
    remaining = sample_rate / frequency_hz - 1  # the low-pass takes one sample of the period
    delay = int(remaining) - 1
    x = remaining - delay  # 1..2: between the middle two of four taps, where the interpolator is flattest
    lagrange = np.array(
        [
            -(x - 1) * (x - 2) * (x - 3) / 6,
            x * (x - 2) * (x - 3) / 2,
            -x * (x - 1) * (x - 3) / 2,
            x * (x - 1) * (x - 2) / 6,
        ]
    )
    return np.convolve(low_pass, lagrange), delay
