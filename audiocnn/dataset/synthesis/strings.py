"""Strings, plucked and bowed: traits of an instrument and its player in, the samples of a note out."""

from dataclasses import dataclass

import numpy as np

from audiocnn.dataset.synthesis import signals
from audiocnn.dataset.synthesis.notes import Note, Vibrato
from audiocnn.dataset.synthesis.signals import Samples


@dataclass(frozen=True)
class PluckedString:
    """A guitar or a harp: see `signals.pluck`."""

    position: float  # of the finger, as a fraction of the string
    corner_hz: float  # of the finger's softness, at middle loudness
    t60_s: float  # of the fundamental at 220 Hz; shorter above
    t60_treble_s: float  # at 4 kHz
    ring_s: float  # how long a note sounds beyond its time before the hand damps it

    def sound(self, note: Note, *, sample_rate: int, rng: np.random.Generator) -> Samples:
        """One plucked note; louder is brighter."""
        n_samples = signals.count(note.duration_s + self.ring_s, sample_rate)
        string = signals.pluck(
            note.frequency_hz,
            n_samples=n_samples,
            sample_rate=sample_rate,
            position=self.position * rng.uniform(0.85, 1.15),
            corner_hz=self.corner_hz * 2 ** (2 * (note.loudness - 0.5)),
            t60_s=self.t60_s * (220 / note.frequency_hz) ** 0.5,
            t60_treble_s=self.t60_treble_s,
            rng=rng,
        )
        return note.amplitude * string * signals.envelope(n_samples, attack_s=0.0, release_s=0.08, sample_rate=sample_rate)


@dataclass(frozen=True)
class BowedString:
    """A violin or a cello: the sawtooth of Helmholtz motion, the comb of the bowing point, bow noise, vibrato."""

    position: float  # of the bow, as a fraction of the string
    corner_hz: float  # above which the rounded corner of the motion dulls the sound, at middle loudness
    vibrato: Vibrato
    bow_noise: float  # RMS, relative to the string
    attack_s: float

    def sound(self, note: Note, *, sample_rate: int, rng: np.random.Generator) -> Samples:
        """One bow stroke; pressing harder rounds the corner less (Cremer 1984)."""
        release_s = 0.09
        n_samples = signals.count(note.duration_s + release_s, sample_rate)
        wavering = self.vibrato.curve(n_samples, sample_rate=sample_rate, rng=rng)
        drift = signals.wander(n_samples, 6.0, sample_rate=sample_rate, rng=rng)
        frequency_hz = note.frequency_hz * 2 ** ((self.vibrato.depth_cents * wavering + 4 * drift) / 1200)
        numbers = signals.harmonics(note.frequency_hz * 1.03, sample_rate=sample_rate)
        comb = np.abs(np.sin(np.pi * numbers * self.position)) + 0.05
        corner = self.corner_hz * 2 ** (1.5 * (note.loudness - 0.5)) * np.array([[0.6], [1.4]])
        spectra = comb / numbers / (1 + (numbers * note.frequency_hz / corner) ** 2)
        dark, bright = signals.oscillate(signals.phase(frequency_hz, sample_rate=sample_rate), spectra, rng=rng)
        pressure = 0.5 + 0.5 * signals.wander(n_samples, 4.0, sample_rate=sample_rate, rng=rng)
        string = dark + (bright - dark) * pressure
        hiss = signals.noise(n_samples, signals.band(400, 5000, order=1), sample_rate=sample_rate, rng=rng)
        hiss *= 0.4 + pressure
        sound = string / max(signals.rms(string), 1e-9) + self.bow_noise * hiss
        sound *= 1 + self.vibrato.swell * wavering
        fade = signals.envelope(
            n_samples, attack_s=self.attack_s * rng.uniform(0.6, 1.6), release_s=release_s, sample_rate=sample_rate
        )
        return note.amplitude * sound * fade


