"""Flutes, reeds and brass: traits of an instrument and its player in, the samples of a note out."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from audiocnn.dataset.synthesis import signals
from audiocnn.dataset.synthesis.notes import Note, Vibrato
from audiocnn.dataset.synthesis.signals import Samples

RELEASE_S = 0.07  # that the air column rings on


@dataclass(frozen=True)
class Flute:
    """A pipe blown at an edge: few harmonics, breath noise above them, a loudness that trembles."""

    slope: float  # harmonics fall as 1 / k ** slope at middle loudness
    even: float  # gain of the even harmonics
    breath: float  # RMS of the breath noise, relative to the tone
    breath_corner_hz: float
    vibrato: Vibrato
    attack_s: float

    def sound(self, note: Note, *, sample_rate: int, rng: np.random.Generator) -> Samples:
        """Return one blown note (n,); blowing harder brings out the upper harmonics more than the first."""

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

    even_db: float  # of the even harmonics, relative to the odd ones; they catch up towards the cutoff
    cutoff_hz: float
    slope: float  # harmonics fall as 1 / k ** slope at middle loudness, below the cutoff
    breath: float  # RMS of the breath noise, relative to the tone
    vibrato: Vibrato
    attack_s: float

    def sound(self, note: Note, *, sample_rate: int, rng: np.random.Generator) -> Samples:
        """Return one blown note (n,); played softly it is nearly a sine, a harder reed brightens."""

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
    """A trumpet by frequency modulation (Chowning 1973): carrier and modulator in unison, the index follows force."""

    index: float  # of modulation at full loudness
    bite: float  # how far the index overshoots in the attack
    breath: float  # RMS of the breath noise, relative to the tone
    vibrato: Vibrato
    attack_s: float

    def sound(self, note: Note, *, sample_rate: int, rng: np.random.Generator) -> Samples:
        """Return one blown note (n,); brightness follows loudness within the note as well as between notes."""
        n_samples = signals.count(note.duration_s + RELEASE_S, sample_rate)
        cycles, wavering = self.vibrato.waver(note.frequency_hz, n_samples, sample_rate=sample_rate, rng=rng)
        fade = _fade(n_samples, self.attack_s, sample_rate=sample_rate, rng=rng)
        swell = 1 + self.vibrato.swell * wavering
        overshoot = 1 + self.bite * np.exp(-np.arange(n_samples) / (0.06 * sample_rate))
        index = self.index * (0.25 + 0.75 * note.loudness) * fade * overshoot * swell
        phase = 2 * np.pi * cycles
        tone = np.sqrt(2) * np.sin(phase + index * np.sin(phase + 2 * np.pi * rng.random()))
        air = signals.noise(n_samples, signals.band(800, 5000, order=1), sample_rate=sample_rate, rng=rng)
        return note.amplitude * fade * (tone * swell + self.breath * air)


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
    """Return one note (n,) of a pipe: harmonics by ``spectrum`` (numbers, force 0..1 -> amplitudes), breath in a band.

    The force of the breath strays about the note's loudness; a spectrum of less and one of more force are cross-faded.
    """
    n_samples = signals.count(note.duration_s + RELEASE_S, sample_rate)
    cycles, wavering = vibrato.waver(note.frequency_hz, n_samples, sample_rate=sample_rate, rng=rng)
    numbers = signals.harmonics(note.frequency_hz * 1.03, sample_rate=sample_rate)
    spectra = np.stack([spectrum(numbers, note.loudness - 0.2), spectrum(numbers, note.loudness + 0.2)])
    weak, strong = signals.oscillate(cycles, spectra, rng=rng)
    fade = _fade(n_samples, attack_s, sample_rate=sample_rate, rng=rng)
    stray = 0.2 * signals.wander(n_samples, 5.0, sample_rate=sample_rate, rng=rng)
    force = fade * np.clip(0.5 + 0.5 * vibrato.swell * wavering + stray, 0, 1)
    tone = weak + (strong - weak) * force
    air = signals.noise(n_samples, breath_band, sample_rate=sample_rate, rng=rng)
    sound = tone / signals.rms(tone) * (1 + vibrato.swell * wavering) + breath * air * (1.2 - 0.4 * force)
    return note.amplitude * sound * fade


def _fade(n_samples: int, attack_s: float, *, sample_rate: int, rng: np.random.Generator) -> Samples:
    """Return the rise and fall (n_samples,) of a blown note, tongued a little differently every time."""
    attack_s *= rng.uniform(0.6, 1.6)
    return signals.envelope(n_samples, attack_s=attack_s, release_s=RELEASE_S, sample_rate=sample_rate)
