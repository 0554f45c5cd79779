"""Flutes, reeds and brass: traits of an instrument and its player in, the samples of a note out."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from audiocnn.dataset.synthesis import signals
from audiocnn.dataset.synthesis.notes import Note, Vibrato
from audiocnn.dataset.synthesis.signals import Samples


@dataclass(frozen=True)
class Flute:
    """A pipe blown at an edge: few harmonics, breath noise around them, a loudness that trembles."""

    slope: float  # harmonics fall as 1 / k ** slope at middle loudness
    even: float  # gain of the even harmonics
    breath: float  # RMS of the breath noise, relative to the tone
    breath_corner_hz: float
    vibrato: Vibrato
    attack_s: float

    def sound(self, note: Note, *, sample_rate: int, rng: np.random.Generator) -> Samples:
        """One blown note; blowing harder brings out the upper harmonics more than the first."""
        return _blown(
            note,
            lambda numbers, force: numbers ** -(self.slope - 1.2 * (force - 0.5)) * np.where(numbers % 2 == 0, self.even, 1.0),
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

    even_db: float  # of the even harmonics, relative to the odd ones (they catch up towards the cutoff)
    cutoff_hz: float
    slope: float
    breath: float
    vibrato: Vibrato
    attack_s: float

    def sound(self, note: Note, *, sample_rate: int, rng: np.random.Generator) -> Samples:
        """One reed note; the soft reed is nearly a sine, the loud one beats and brightens."""

        def spectrum(numbers: Samples, force: float) -> Samples:
            height = numbers * note.frequency_hz / self.cutoff_hz
            even = 10 ** (self.even_db / 20 * np.maximum(0.0, 1 - 0.5 * height))
            return numbers ** -(self.slope - 0.8 * (force - 0.5)) * np.where(numbers % 2 == 0, even, 1.0) / (1 + height**4) ** 0.5

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
    """A trumpet by frequency modulation (Chowning 1973): carrier and modulator in unison, an index that follows loudness."""

    index: float  # of modulation at full loudness
    bite: float  # how far the index overshoots in the attack
    breath: float
    vibrato: Vibrato
    attack_s: float

    def sound(self, note: Note, *, sample_rate: int, rng: np.random.Generator) -> Samples:
        """One blown note; brightness follows loudness through the note as well as between notes."""
        release_s = 0.07
        n_samples = signals.count(note.duration_s + release_s, sample_rate)
        time_s = np.arange(n_samples) / sample_rate
        wavering = self.vibrato.curve(n_samples, sample_rate=sample_rate, rng=rng)
        drift = signals.wander(n_samples, 5.0, sample_rate=sample_rate, rng=rng)
        frequency_hz = note.frequency_hz * 2 ** ((self.vibrato.depth_cents * wavering + 4 * drift) / 1200)
        cycles = 2 * np.pi * signals.phase(frequency_hz, sample_rate=sample_rate)
        fade = signals.envelope(
            n_samples, attack_s=self.attack_s * rng.uniform(0.6, 1.6), release_s=release_s, sample_rate=sample_rate
        )
        force = fade * (1 + self.bite * np.exp(-time_s / 0.06)) * (1 + 0.6 * self.vibrato.swell * wavering)
        index = self.index * (0.25 + 0.75 * note.loudness) * force
        tone = np.sin(cycles + index * np.sin(cycles + 2 * np.pi * rng.random()))
        air = signals.noise(n_samples, signals.band(800, 5000, order=1), sample_rate=sample_rate, rng=rng)
        return note.amplitude * fade * (1.4 * tone * (1 + self.vibrato.swell * wavering) + self.breath * air)




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
    """One note (n,) of a pipe: harmonics by ``spectrum`` (numbers, force 0..1 -> amplitudes), and breath in a band.

    The force of the breath wanders about the note's loudness; spectra of less and more force are cross-faded.
    """
    release_s = 0.07
    n_samples = signals.count(note.duration_s + release_s, sample_rate)
    wavering = vibrato.curve(n_samples, sample_rate=sample_rate, rng=rng)
    drift = signals.wander(n_samples, 5.0, sample_rate=sample_rate, rng=rng)
    frequency_hz = note.frequency_hz * 2 ** ((vibrato.depth_cents * wavering + 4 * drift) / 1200)
    numbers = signals.harmonics(note.frequency_hz * 1.03, sample_rate=sample_rate)
    spectra = np.stack([spectrum(numbers, note.loudness - 0.2), spectrum(numbers, note.loudness + 0.2)])
    weak, strong = signals.oscillate(signals.phase(frequency_hz, sample_rate=sample_rate), spectra, rng=rng)
    fade = signals.envelope(
        n_samples, attack_s=attack_s * rng.uniform(0.6, 1.6), release_s=release_s, sample_rate=sample_rate
    )
    force = fade * np.clip(0.5 + 0.5 * vibrato.swell * wavering + 0.2 * drift, 0, 1)
    tone = weak + (strong - weak) * force
    air = signals.noise(n_samples, breath_band, sample_rate=sample_rate, rng=rng)
    sound = tone / max(signals.rms(tone), 1e-9) * (1 + vibrato.swell * wavering) + breath * air * (1.2 - 0.4 * force)
    return note.amplitude * sound * fade
