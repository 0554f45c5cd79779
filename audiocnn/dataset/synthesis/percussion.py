"""Bars, drums and plates, struck: traits of an instrument and its player in, the samples of a stroke out."""

from dataclasses import dataclass

import numpy as np

from audiocnn.dataset.synthesis import signals
from audiocnn.dataset.synthesis.notes import Note
from audiocnn.dataset.synthesis.signals import Samples

# The modes of an ideal membrane over its lowest: ratios of zeros of Bessel functions (Fletcher and Rossing 1998).
MEMBRANE_RATIOS = np.array([1.0, 1.594, 2.136, 2.296, 2.653, 2.918])
N_PLATE_MODES = 40
LONGEST_S = 2.5  # that a stroke is followed


@dataclass(frozen=True)
class StruckBar:
    """A marimba or a vibraphone: a bar whose first overtones are tuned near 4 and 10 times the fundamental."""

    overtones: tuple[float, float]  # ratios to the fundamental (Fletcher and Rossing 1998, chapter 19)
    mallet_hz: float  # above which the mallet is too soft to excite a mode, at middle loudness
    t60_s: float  # of the fundamental at 220 Hz; shorter above
    knock: float  # RMS of the contact noise at the start, relative to the fundamental's amplitude
    tremolo_hz: float
    tremolo: float  # depth, 0..1; a vibraphone's motor

    def sound(self, note: Note, *, sample_rate: int, rng: np.random.Generator) -> Samples:
        """Return one stroke (n,); where the mallet lands decides how much of the overtones is heard."""
        t60_s = self.t60_s * (220 / note.frequency_hz) ** 0.7
        n_samples = signals.count(min(note.duration_s + 0.6 * t60_s, LONGEST_S), sample_rate)
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
        n_samples = signals.count(1.2 * max(self.wires_t60_s, self.head_t60_s), sample_rate)
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
    """A hi-hat or a ride: many inharmonic modes of a plate, and the hiss where they are too dense to tell apart."""

    low_hz: float  # corners of the sound
    high_hz: float
    t60_s: float  # of the lowest modes; high ones die up to three times faster
    hiss: float  # share of the hiss against single modes, 0..1
    choke: float  # chance that a stroke is damped at once, as on a closed hi-hat
    ping_hz: tuple[float, ...]  # modes that stand out, the same at every stroke
    softness_s: float  # of the contact

    def sound(self, note: Note, *, sample_rate: int, rng: np.random.Generator) -> Samples:
        """Return one stroke (n,); a plate has no pitch, so that of the note is not used."""
        share = rng.uniform(0.1, 0.25) if rng.random() < self.choke else rng.uniform(0.7, 1.2)
        t60_s = max(self.t60_s * share, 0.06)
        n_samples = signals.count(min(1.1 * t60_s, LONGEST_S), sample_rate)
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


def modes(
    frequencies_hz: Samples,
    amplitudes: Samples,
    t60_s: Samples,
    *,
    n_samples: int,
    sample_rate: int,
    rng: np.random.Generator,
) -> Samples:
    """Return a struck object (n_samples,): sines that each decay by 60 dB in their own time, from random phases.

    Modal synthesis (Adrien 1991). With time split into blocks and places in a block, each damped sine is the product
    of two short complex exponentials, so the sum over all modes is one small matrix product. Modes above 0.45 of the
    sample rate are left out.
    """
    heard = frequencies_hz < 0.45 * sample_rate
    exponents = (-np.log(1000.0) / t60_s + 2j * np.pi * frequencies_hz)[heard] / sample_rate
    starts = amplitudes[heard] * np.exp(2j * np.pi * rng.random(len(frequencies_hz))[heard])
    block = int(np.ceil(np.sqrt(n_samples)))
    by_block = np.exp(np.outer(np.arange(block) * block, exponents)) * starts
    by_place = np.exp(np.outer(exponents, np.arange(block)))
    return (by_block.real @ by_place.real - by_block.imag @ by_place.imag).reshape(-1)[:n_samples]
