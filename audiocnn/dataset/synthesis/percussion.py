"""Bars, drums and plates, struck: traits of an instrument and its player in, the samples of a stroke out."""

from dataclasses import dataclass

import numpy as np

from audiocnn.dataset.synthesis import signals
from audiocnn.dataset.synthesis.notes import Note
from audiocnn.dataset.synthesis.signals import Samples

# The zeros of the Bessel functions that give an ideal membrane its modes (Fletcher and Rossing 1998, section 3.6).
MEMBRANE_RATIOS = np.array([1.0, 1.594, 2.136, 2.296, 2.653, 2.918])


@dataclass(frozen=True)
class StruckBar:
    """A marimba or a vibraphone: a bar whose first overtones are tuned near 4 and 10 times the fundamental."""

    overtones: tuple[float, float]  # (Fletcher and Rossing 1998, 19.5)
    mallet_hz: float  # above which the mallet's softness leaves modes unexcited, at middle loudness
    t60_s: float  # of the fundamental at 220 Hz
    knock: float  # RMS of the contact noise
    tremolo_hz: float
    tremolo: float  # depth, 0..1; a vibraphone's motor

    def sound(self, note: Note, *, sample_rate: int, rng: np.random.Generator) -> Samples:
        """One stroke; where the mallet lands decides how much of the overtones is heard."""
        t60_s = self.t60_s * (220 / note.frequency_hz) ** 0.7
        n_samples = signals.count(min(note.duration_s + 0.6 * t60_s, 2.5), sample_rate)
        frequencies_hz = note.frequency_hz * np.array([1.0, *self.overtones, 1.6 * self.overtones[1]])
        landing = np.array([1.0, rng.uniform(0.2, 0.8), rng.uniform(0.1, 0.6), rng.uniform(0.05, 0.3)])
        corner_hz = self.mallet_hz * 2 ** (2 * (note.loudness - 0.5))
        amplitudes = 1.6 * landing * signals.band(1.0, corner_hz, order=1)(frequencies_hz)
        decays_s = t60_s * np.array([1.0, 0.35, 0.15, 0.08])
        bar = signals.modes(frequencies_hz, amplitudes, decays_s, n_samples=n_samples, sample_rate=sample_rate, rng=rng)
        time_s = np.arange(n_samples) / sample_rate
        contact = signals.noise(n_samples, signals.band(300, corner_hz, order=1), sample_rate=sample_rate, rng=rng)
        bar = bar + self.knock * contact * np.exp(-time_s / 0.006)
        bar *= 1 + self.tremolo * np.sin(2 * np.pi * (self.tremolo_hz * time_s + rng.random()))
        return note.amplitude * bar * signals.envelope(n_samples, attack_s=0.001, release_s=0.05, sample_rate=sample_rate)


@dataclass(frozen=True)
class Snare:
    """A drum with wires: membrane modes that start sharp, over a burst of noise from the rattling wires."""

    wires: float  # RMS of the wires, relative to the head
    wires_hz: tuple[float, float]
    wires_t60_s: float
    head_t60_s: float
    softness_s: float  # of the contact: sticks about 1 ms, brushes 20 ms

    def sound(self, note: Note, *, sample_rate: int, rng: np.random.Generator) -> Samples:
        """One stroke; the note's pitch is the tension of the head."""
        n_samples = signals.count(1.2 * max(self.wires_t60_s, self.head_t60_s), sample_rate)
        time_s = np.arange(n_samples) / sample_rate
        landing = rng.uniform(0.3, 1.0, len(MEMBRANE_RATIOS))
        head = signals.modes(
            note.frequency_hz * MEMBRANE_RATIOS * rng.uniform(0.98, 1.02),
            landing / MEMBRANE_RATIOS,
            self.head_t60_s * rng.uniform(0.7, 1.2) / MEMBRANE_RATIOS,
            n_samples=n_samples,
            sample_rate=sample_rate,
            rng=rng,
        )
        high_hz = self.wires_hz[1] * 2 ** (note.loudness - 0.5)
        wires = signals.noise(n_samples, signals.band(self.wires_hz[0], high_hz), sample_rate=sample_rate, rng=rng)
        wires *= 10 ** (-3 * time_s / (self.wires_t60_s * rng.uniform(0.75, 1.3)))
        fade = signals.envelope(n_samples, attack_s=self.softness_s, release_s=0.02, sample_rate=sample_rate)
        return note.amplitude * 1.5 * (head + self.wires * wires) * fade


@dataclass(frozen=True)
class Cymbal:
    """A hi-hat or a ride: many inharmonic plate modes between two corners, and the hiss where they become too dense."""

    low_hz: float
    high_hz: float
    t60_s: float  # of the low modes; the high ones die up to three times faster
    hiss: float  # share of noise against single modes, 0..1
    choke: float  # chance that a stroke is damped at once, as on a closed hi-hat
    ping_hz: tuple[float, ...]  # the modes that ring out most
    softness_s: float

    def sound(self, note: Note, *, sample_rate: int, rng: np.random.Generator) -> Samples:
        """One stroke; its pitch is ignored, a plate has none."""
        t60_s = self.t60_s * (rng.uniform(0.1, 0.25) if rng.random() < self.choke else rng.uniform(0.7, 1.2))
        t60_s = max(t60_s, 0.06)
        n_samples = signals.count(min(1.1 * t60_s, 1.5), sample_rate)
        time_s = np.arange(n_samples) / sample_rate
        high_hz = self.high_hz * 2 ** (note.loudness - 0.5)
        dense_hz = np.sort(rng.uniform(self.low_hz, min(1.3 * high_hz, 14_000.0), 40))
        frequencies_hz = np.concatenate([np.array(self.ping_hz), dense_hz])
        weights = np.concatenate([np.full(len(self.ping_hz), 2.0), rng.uniform(0.2, 1.0, len(dense_hz))])
        decays_s = t60_s / (1 + 2 * frequencies_hz / 12_000)
        plate = signals.modes(
            frequencies_hz,
            weights * signals.band(self.low_hz, high_hz)(frequencies_hz),
            decays_s,
            n_samples=n_samples,
            sample_rate=sample_rate,
            rng=rng,
        )
        plate /= max(signals.rms(plate[: sample_rate // 50]), 1e-9)
        hiss = signals.noise(n_samples, signals.band(self.low_hz, high_hz), sample_rate=sample_rate, rng=rng)
        hiss *= 10 ** (-3 * time_s / (0.6 * t60_s))
        fade = signals.envelope(n_samples, attack_s=self.softness_s, release_s=0.02, sample_rate=sample_rate)
        return note.amplitude * ((1 - self.hiss) * plate + self.hiss * hiss) * fade
