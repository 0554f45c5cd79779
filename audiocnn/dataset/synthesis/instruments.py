"""Synthesize single notes: the models of percussion, string and wind instruments, and the notes that they play.

A note goes in, its samples (n,) come out. Most parameters of a model are drawn at random for each player.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from audiocnn.dataset.synthesis import signals
from audiocnn.dataset.synthesis.signals import Samples

DYNAMICS_DB = 24.0  # from pianissimo to fortissimo
DRIFT_CENTS = 4.0  # random drift of the pitch by breath and bow
# Modes of an ideal membrane relative to the lowest: ratios of zeros of Bessel functions (Fletcher and Rossing 1998).
MEMBRANE_RATIOS = np.array([1.0, 1.594, 2.136, 2.296, 2.653, 2.918])
N_PLATE_MODES = 40
LONGEST_S = 2.5  # maximum length of a stroke
TREBLE_HZ = 4000.0  # frequency of the second decay time of a plucked string
LOOP_TAPS = 6  # of the plucked string's loop filter: 3 of damping, convolved with 4 of fractional delay
RELEASE_S = 0.07  # decay of the air column


@dataclass(frozen=True)
class Note:
    """Pitch in hertz, loudness from 0 (pianissimo) to 1 (fortissimo), time held in seconds."""

    frequency_hz: float
    loudness: float
    duration_s: float

    @property
    def amplitude(self) -> float:
        """The linear amplitude for the loudness, up to 1."""
        return float(10 ** (DYNAMICS_DB * (self.loudness - 1) / 20))


class Voice(Protocol):
    """A model of an instrument that can play a note."""

    def sound(self, note: Note, *, sample_rate: int, rng: np.random.Generator) -> Samples:
        """Return the note (n,) with its release, which may be longer than ``note.duration_s``."""
        ...


@dataclass(frozen=True)
class Vibrato:
    """A periodic modulation of pitch and loudness that grows after the attack."""

    rate_hz: float
    depth_cents: float
    swell: float  # depth of the loudness modulation, 0..1

    def modulate(
        self, frequency_hz: float, n_samples: int, *, sample_rate: int, rng: np.random.Generator
    ) -> tuple[Samples, Samples]:
        """Return the phase (n_samples,) of a note in cycles, and the modulation (n_samples,) in -1..1.

        The modulation grows over the first 0.2 s. In addition the pitch drifts at random.
        """
        time_s = np.arange(n_samples) / sample_rate
        turns = self.rate_hz * rng.uniform(0.92, 1.08) * time_s + rng.random()
        modulation = np.minimum(time_s / 0.2, 1.0) * np.sin(2 * np.pi * turns)
        drift = signals.slow_random_curve(n_samples, 6.0, sample_rate=sample_rate, rng=rng)
        cents = self.depth_cents * modulation + DRIFT_CENTS * drift
        return signals.running_phase(frequency_hz * 2 ** (cents / 1200), sample_rate=sample_rate), modulation


@dataclass(frozen=True)
class StruckBar:
    """A marimba or a vibraphone: a bar whose first overtones are tuned near 4 and 10 times the fundamental."""

    overtones: tuple[float, float]  # ratios to the fundamental (Fletcher and Rossing 1998, chapter 19)
    mallet_hz: float  # the mallet excites no modes above it, at middle loudness
    t60_s: float  # of the fundamental at 220 Hz; shorter above
    knock: float  # RMS of the contact noise at the start, relative to the fundamental's amplitude
    tremolo_hz: float
    tremolo: float  # depth, 0..1; a vibraphone's motor

    def sound(self, note: Note, *, sample_rate: int, rng: np.random.Generator) -> Samples:
        """Return one stroke (n,); the place where the mallet lands sets the level of the overtones."""
        t60_s = self.t60_s * (220 / note.frequency_hz) ** 0.7
        n_samples = signals.time_to_samples(min(note.duration_s + 0.6 * t60_s, LONGEST_S), sample_rate)
        frequencies_hz = note.frequency_hz * np.array([1.0, *self.overtones, 1.6 * self.overtones[1]])
        landing = np.array([1.0, rng.uniform(0.2, 0.8), rng.uniform(0.1, 0.6), rng.uniform(0.05, 0.3)])
        corner_hz = self.mallet_hz * 2 ** (2 * (note.loudness - 0.5))
        bar = modes(
            frequencies_hz,
            landing * signals.band(1.0, corner_hz, order=1)(frequencies_hz),
            t60_s * np.array([1.0, 0.35, 0.15, 0.08]),
            n_samples=n_samples,
            sample_rate=sample_rate,
            rng=rng,
        )
        time_s = np.arange(n_samples) / sample_rate
        contact = signals.noise(n_samples, signals.band(300, corner_hz, order=1), sample_rate=sample_rate, rng=rng)
        sound = bar + self.knock * contact * np.exp(-time_s / 0.006)
        sound *= 1 + self.tremolo * np.sin(2 * np.pi * (self.tremolo_hz * time_s + rng.random()))
        fade = signals.envelope(n_samples, attack_s=0.001, release_s=0.05, sample_rate=sample_rate)
        return note.amplitude * sound * fade


@dataclass(frozen=True)
class Snare:
    """A drum with wires: the modes of its head over a burst of noise from the rattling wires."""

    wires: float  # RMS of the wires at the start, relative to the head's first mode
    wires_hz: tuple[float, float]  # corners of their noise
    wires_t60_s: float
    head_t60_s: float
    softness_s: float  # of the contact: about 1 ms for sticks, 10 ms for brushes

    def sound(self, note: Note, *, sample_rate: int, rng: np.random.Generator) -> Samples:
        """Return one stroke (n,); the note's pitch is the tension of the head."""
        n_samples = signals.time_to_samples(1.2 * max(self.wires_t60_s, self.head_t60_s), sample_rate)
        head = modes(
            note.frequency_hz * MEMBRANE_RATIOS * rng.uniform(0.98, 1.02),
            rng.uniform(0.3, 1.0, len(MEMBRANE_RATIOS)) / MEMBRANE_RATIOS,
            self.head_t60_s * rng.uniform(0.7, 1.2) / MEMBRANE_RATIOS,
            n_samples=n_samples,
            sample_rate=sample_rate,
            rng=rng,
        )
        corners = signals.band(self.wires_hz[0], self.wires_hz[1] * 2 ** (note.loudness - 0.5))
        wires = signals.noise(n_samples, corners, sample_rate=sample_rate, rng=rng)
        wires *= 10 ** (-3 * np.arange(n_samples) / (sample_rate * self.wires_t60_s * rng.uniform(0.75, 1.3)))
        fade = signals.envelope(n_samples, attack_s=self.softness_s, release_s=0.02, sample_rate=sample_rate)
        return note.amplitude * (head + self.wires * wires) * fade


@dataclass(frozen=True)
class Cymbal:
    """A hi-hat or a ride: many inharmonic modes of a plate, and noise where they are too dense to separate."""

    low_hz: float  # corners of the sound
    high_hz: float
    t60_s: float  # of the lowest modes; high modes decay up to three times faster
    hiss: float  # share of the noise, 0..1; the rest is single modes
    choke: float  # probability that a stroke is damped at once, as on a closed hi-hat
    ping_hz: tuple[float, ...]  # prominent modes, the same at every stroke
    softness_s: float  # of the contact

    def sound(self, note: Note, *, sample_rate: int, rng: np.random.Generator) -> Samples:
        """Return one stroke (n,); a plate has no pitch, so the pitch of the note is not used."""
        share = rng.uniform(0.1, 0.25) if rng.random() < self.choke else rng.uniform(0.7, 1.2)
        t60_s = max(self.t60_s * share, 0.06)
        n_samples = signals.time_to_samples(min(1.1 * t60_s, LONGEST_S), sample_rate)
        high_hz = self.high_hz * 2 ** (note.loudness - 0.5)
        corners = signals.band(self.low_hz, high_hz)
        dense_hz = rng.uniform(self.low_hz, 1.3 * high_hz, N_PLATE_MODES)
        frequencies_hz = np.concatenate([np.array(self.ping_hz), dense_hz])
        weights = np.concatenate([np.full(len(self.ping_hz), 2.0), rng.uniform(0.2, 1.0, N_PLATE_MODES)])
        plate = modes(
            frequencies_hz,
            weights * corners(frequencies_hz),
            t60_s / (1 + 2 * frequencies_hz / 12_000),
            n_samples=n_samples,
            sample_rate=sample_rate,
            rng=rng,
        )
        plate /= signals.rms(plate[: sample_rate // 50])
        hiss = signals.noise(n_samples, corners, sample_rate=sample_rate, rng=rng)
        hiss *= 10 ** (-3 * np.arange(n_samples) / (sample_rate * 0.6 * t60_s))
        fade = signals.envelope(n_samples, attack_s=self.softness_s, release_s=0.02, sample_rate=sample_rate)
        return note.amplitude * ((1 - self.hiss) * plate + self.hiss * hiss) * fade


@dataclass(frozen=True)
class PluckedString:
    """A guitar or a harp, by `pluck`."""

    position: float  # of the finger, as a fraction of the string
    corner_hz: float  # the finger excites little above it, at middle loudness
    t60_s: float  # of the fundamental at 220 Hz; shorter above
    t60_treble_s: float
    ring_s: float  # time that a note rings on before it is damped

    def sound(self, note: Note, *, sample_rate: int, rng: np.random.Generator) -> Samples:
        """Return one plucked note (n,); louder is brighter."""
        n_samples = signals.time_to_samples(note.duration_s + self.ring_s, sample_rate)
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
    corner_hz: float  # low-pass by the rounded corner of the motion, at middle loudness
    vibrato: Vibrato
    bow_noise: float  # RMS, relative to the string
    attack_s: float

    def sound(self, note: Note, *, sample_rate: int, rng: np.random.Generator) -> Samples:
        """Return one bow stroke (n,); more bow pressure makes a sharper corner (Cremer 1984)."""
        release_s = 0.09
        n_samples = signals.time_to_samples(note.duration_s + release_s, sample_rate)
        cycles, modulation = self.vibrato.modulate(note.frequency_hz, n_samples, sample_rate=sample_rate, rng=rng)
        numbers = signals.harmonics(note.frequency_hz * 1.03, sample_rate=sample_rate)
        comb = np.abs(np.sin(np.pi * numbers * self.position)) + 0.05
        corners_hz = self.corner_hz * 2 ** (1.5 * (note.loudness - 0.5)) * np.array([[0.6], [1.4]])
        spectra = comb / numbers / (1 + (numbers * note.frequency_hz / corners_hz) ** 2)
        dark, bright = signals.oscillate(cycles, spectra, rng=rng)
        pressure = 0.5 + 0.5 * signals.slow_random_curve(n_samples, 4.0, sample_rate=sample_rate, rng=rng)
        string = dark + (bright - dark) * pressure
        hiss = signals.noise(n_samples, signals.band(400, 5000, order=1), sample_rate=sample_rate, rng=rng)
        sound = string / signals.rms(string) + self.bow_noise * hiss * (0.4 + pressure)
        attack_s = self.attack_s * rng.uniform(0.6, 1.6)
        fade = signals.envelope(n_samples, attack_s=attack_s, release_s=release_s, sample_rate=sample_rate)
        return note.amplitude * sound * (1 + self.vibrato.swell * modulation) * fade


@dataclass(frozen=True)
class Flute:
    """A pipe blown at an edge: few harmonics, breath noise, and a modulated loudness."""

    slope: float  # harmonics fall as 1 / k ** slope at middle loudness
    even: float  # gain of the even harmonics
    breath: float  # RMS of the breath noise, relative to the tone
    breath_corner_hz: float
    vibrato: Vibrato
    attack_s: float

    def sound(self, note: Note, *, sample_rate: int, rng: np.random.Generator) -> Samples:
        """Return one blown note (n,); a harder breath raises the upper harmonics more than the first."""

        def spectrum(numbers: Samples, force: float) -> Samples:
            fall = numbers ** -(self.slope - 1.2 * (force - 0.5))
            return fall * np.where(numbers % 2 == 0, self.even, 1.0)

        return _blown(
            note,
            spectrum,
            breath=self.breath,
            breath_band=signals.band(0.7 * note.frequency_hz, self.breath_corner_hz, order=1),
            vibrato=self.vibrato,
            attack_s=self.attack_s,
            sample_rate=sample_rate,
            rng=rng,
        )


@dataclass(frozen=True)
class Reed:
    """A clarinet: a cylinder closed at the reed, so odd harmonics, up to the cutoff of its open holes (Benade 1976)."""

    even_db: float  # of the even harmonics, relative to the odd ones; the difference shrinks towards the cutoff
    cutoff_hz: float
    slope: float  # harmonics fall as 1 / k ** slope at middle loudness, below the cutoff
    breath: float  # RMS of the breath noise, relative to the tone
    vibrato: Vibrato
    attack_s: float

    def sound(self, note: Note, *, sample_rate: int, rng: np.random.Generator) -> Samples:
        """Return one blown note (n,); a soft note is almost a sine, a loud note is brighter."""

        def spectrum(numbers: Samples, force: float) -> Samples:
            height = numbers * note.frequency_hz / self.cutoff_hz
            even = 10 ** (self.even_db / 20 * np.maximum(0.0, 1 - 0.5 * height))
            fall = numbers ** -(self.slope - 0.8 * (force - 0.5)) / np.sqrt(1 + height**4)
            return fall * np.where(numbers % 2 == 0, even, 1.0)

        return _blown(
            note,
            spectrum,
            breath=self.breath,
            breath_band=signals.band(500, 4000, order=1),
            vibrato=self.vibrato,
            attack_s=self.attack_s,
            sample_rate=sample_rate,
            rng=rng,
        )


@dataclass(frozen=True)
class Brass:
    """A trumpet by frequency modulation (Chowning 1973): carrier and modulator in unison, index by force."""

    index: float  # of modulation at full loudness
    bite: float  # how far the index overshoots in the attack
    breath: float  # RMS of the breath noise, relative to the tone
    vibrato: Vibrato
    attack_s: float

    def sound(self, note: Note, *, sample_rate: int, rng: np.random.Generator) -> Samples:
        """Return one blown note (n,); brightness follows loudness, within a note and between notes."""
        n_samples = signals.time_to_samples(note.duration_s + RELEASE_S, sample_rate)
        cycles, modulation = self.vibrato.modulate(note.frequency_hz, n_samples, sample_rate=sample_rate, rng=rng)
        fade = _fade(n_samples, self.attack_s, sample_rate=sample_rate, rng=rng)
        swell = 1 + self.vibrato.swell * modulation
        overshoot = 1 + self.bite * np.exp(-np.arange(n_samples) / (0.06 * sample_rate))
        index = self.index * (0.25 + 0.75 * note.loudness) * fade * overshoot * swell
        phase = 2 * np.pi * cycles
        tone = np.sqrt(2) * np.sin(phase + index * np.sin(phase + 2 * np.pi * rng.random()))
        air = signals.noise(n_samples, signals.band(800, 5000, order=1), sample_rate=sample_rate, rng=rng)
        return note.amplitude * fade * (tone * swell + self.breath * air)


def draw(rng: np.random.Generator, low: float, high: float) -> float:
    """Return a value from a triangular distribution over ``low`` to ``high``, which makes extreme values rare."""
    return float(rng.triangular(low, (low + high) / 2, high))


def draw_ratio(rng: np.random.Generator, low: float, high: float) -> float:
    """Return a value as `draw` does, on a logarithmic scale: for positive values such as frequencies and times."""
    return float(np.exp(draw(rng, float(np.log(low)), float(np.log(high)))))


def draw_gain(rng: np.random.Generator, low_db: float, high_db: float) -> float:
    """Draw a level in decibels as `draw` does; return it as a linear amplitude."""
    return float(10 ** (draw(rng, low_db, high_db) / 20))


def modes(
    frequencies_hz: Samples,
    amplitudes: Samples,
    t60_s: Samples,
    *,
    n_samples: int,
    sample_rate: int,
    rng: np.random.Generator,
) -> Samples:
    """Return a struck object (n_samples,): a sum of sines with random phases, each with its own decay time ``t60_s``.

    Modal synthesis (Adrien 1991). Time is split into blocks and positions in a block, so that each damped sine is the
    product of two short complex exponentials and the sum over all modes is one small matrix product. Modes above 0.45
    of the sample rate are left out.
    """
    audible = frequencies_hz < 0.45 * sample_rate
    exponents = (-np.log(1000.0) / t60_s + 2j * np.pi * frequencies_hz)[audible] / sample_rate
    starts = amplitudes[audible] * np.exp(2j * np.pi * rng.random(len(frequencies_hz))[audible])
    block = int(np.ceil(np.sqrt(n_samples)))
    by_block = np.exp(np.outer(np.arange(block) * block, exponents)) * starts
    by_position = np.exp(np.outer(exponents, np.arange(block)))
    return (by_block.real @ by_position.real - by_block.imag @ by_position.imag).reshape(-1)[:n_samples]


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
    """Return a plucked string (n_samples,): noise in a damped feedback loop that is one period long.

    Karplus and Strong 1983, with the extensions of Jaffe and Smith 1983: a comb filter for the plucking ``position``, a
    low-pass at ``corner_hz`` for the softness of the finger, a loop filter designed from the decay times of the
    fundamental and at `TREBLE_HZ`, and a fractional delay for exact pitch, here a cubic Lagrange interpolator. It is
    computed one period at a time, as a period depends only on the one before. ``frequency_hz`` must be below a tenth
    of the sample rate.
    """
    excitation = _excitation(frequency_hz, sample_rate=sample_rate, position=position, corner_hz=corner_hz, rng=rng)
    loop, delay = _loop(frequency_hz, sample_rate=sample_rate, t60_s=t60_s, t60_treble_s=t60_treble_s)
    out = np.zeros(LOOP_TAPS + max(n_samples, len(excitation)) + delay)  # starts with LOOP_TAPS zeros
    out[LOOP_TAPS : LOOP_TAPS + len(excitation)] = excitation
    for start in range(LOOP_TAPS + delay, len(out) - delay + 1, delay):
        out[start : start + delay] += np.convolve(out[start - delay - LOOP_TAPS + 1 : start], loop, mode="valid")
    return out[LOOP_TAPS : LOOP_TAPS + n_samples]


def _excitation(
    frequency_hz: float, *, sample_rate: int, position: float, corner_hz: float, rng: np.random.Generator
) -> Samples:
    """Return one period of noise of unit RMS and zero mean, shaped by the finger and its position."""
    size = round(sample_rate / frequency_hz)
    numbers = np.arange(size // 2 + 1.0)
    spectrum = np.exp(2j * np.pi * rng.random(len(numbers))) * np.abs(np.sin(np.pi * numbers * position))
    spectrum *= signals.band(1.0, corner_hz, order=1)(numbers * frequency_hz)
    spectrum[0] = 0
    samples = np.fft.irfft(spectrum, size)
    return samples / signals.rms(samples)


def _loop(frequency_hz: float, *, sample_rate: int, t60_s: float, t60_treble_s: float) -> tuple[Samples, int]:
    """Return the loop filter (LOOP_TAPS,) of a plucked string, and the delay before it in samples."""
    fundamental = 10 ** (-3 / (frequency_hz * t60_s))
    treble = 10 ** (-3 / (frequency_hz * min(t60_treble_s, t60_s)))
    damping = min(0.5, (1 - treble / fundamental) / (1 - np.cos(2 * np.pi * TREBLE_HZ / sample_rate)))
    low_pass = fundamental * np.array([damping / 2, 1 - damping, damping / 2])
    remaining = sample_rate / frequency_hz - 1  # the low-pass delays by one sample
    delay = int(remaining) - 1
    x = remaining - delay  # 1..2: between the middle taps, where the interpolator is most accurate
    lagrange = np.array(
        [
            -(x - 1) * (x - 2) * (x - 3) / 6,
            x * (x - 2) * (x - 3) / 2,
            -x * (x - 1) * (x - 3) / 2,
            x * (x - 1) * (x - 2) / 6,
        ]
    )
    return np.convolve(low_pass, lagrange), delay


def _blown(
    note: Note,
    spectrum: Callable[[Samples, float], Samples],
    *,
    breath: float,
    breath_band: signals.Gain,
    vibrato: Vibrato,
    attack_s: float,
    sample_rate: int,
    rng: np.random.Generator,
) -> Samples:
    """Return one note (n,) of a pipe: harmonics by ``spectrum`` (numbers, force 0..1 -> amplitudes) and breath noise.

    The force of the breath varies around the loudness of the note, which cross-fades a weak and a strong spectrum.
    """
    n_samples = signals.time_to_samples(note.duration_s + RELEASE_S, sample_rate)
    cycles, modulation = vibrato.modulate(note.frequency_hz, n_samples, sample_rate=sample_rate, rng=rng)
    numbers = signals.harmonics(note.frequency_hz * 1.03, sample_rate=sample_rate)
    spectra = np.stack([spectrum(numbers, note.loudness - 0.2), spectrum(numbers, note.loudness + 0.2)])
    weak, strong = signals.oscillate(cycles, spectra, rng=rng)
    fade = _fade(n_samples, attack_s, sample_rate=sample_rate, rng=rng)
    variation = 0.2 * signals.slow_random_curve(n_samples, 5.0, sample_rate=sample_rate, rng=rng)
    force = fade * np.clip(0.5 + 0.5 * vibrato.swell * modulation + variation, 0, 1)
    tone = weak + (strong - weak) * force
    air = signals.noise(n_samples, breath_band, sample_rate=sample_rate, rng=rng)
    sound = tone / signals.rms(tone) * (1 + vibrato.swell * modulation) + breath * air * (1.2 - 0.4 * force)
    return note.amplitude * sound * fade


def _fade(n_samples: int, attack_s: float, *, sample_rate: int, rng: np.random.Generator) -> Samples:
    """Return the envelope (n_samples,) of a blown note, with a random attack time."""
    attack_s *= rng.uniform(0.6, 1.6)
    return signals.envelope(n_samples, attack_s=attack_s, release_s=RELEASE_S, sample_rate=sample_rate)
