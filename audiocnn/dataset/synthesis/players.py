"""Who plays: an instrument in a player's hands and room, and the phrases that are played, as samples of a take."""

from dataclasses import dataclass

import numpy as np

from audiocnn.dataset.synthesis import signals
from audiocnn.dataset.synthesis.notes import Note, Voice
from audiocnn.dataset.synthesis.rooms import Room
from audiocnn.dataset.synthesis.signals import Peak, Samples

SCALE = np.array([0, 2, 4, 5, 7, 9, 11])  # semitones of a major scale
WIDEST_STEP = 3  # of a melody, in notes of its scale
LONGEST_NOTE_S = 0.8  # so that a take of one second is a phrase
REST = 0.1  # chance that a note is left out


@dataclass(frozen=True)
class Instrument:
    """A voice, the body that colours it, and the notes and the tempo that it is used for."""

    voice: Voice
    body: tuple[Peak, ...]
    lowest: float  # note, as a MIDI number
    highest: float
    beat_s: float


@dataclass(frozen=True)
class Player:
    """An instrument, its tuning, and the room that all takes are made in."""

    instrument: Instrument
    tuning_cents: float  # against 440 Hz
    room: Room

    def play(self, duration_s: float, *, sample_rate: int, n_channels: int, rng: np.random.Generator) -> Samples:
        """Return one take (n, n_channels) of a phrase that fills ``duration_s``, of unit RMS."""
        dry = np.zeros(signals.count(duration_s, sample_rate))
        for onset_s, note in self.phrase(duration_s, rng=rng):
            start = int(onset_s * sample_rate)
            sound = self.instrument.voice.sound(note, sample_rate=sample_rate, rng=rng)[: len(dry) - start]
            dry[start : start + len(sound)] += sound
        dry = signals.filtered(dry, signals.resonances(self.instrument.body), sample_rate=sample_rate)
        return self.room.record(dry, n_channels=n_channels, sample_rate=sample_rate, rng=rng)

    def phrase(self, duration_s: float, *, rng: np.random.Generator) -> list[tuple[float, Note]]:
        """Return notes with their onsets in seconds: a walk on a scale of the instrument's register.

        Key, tempo and dynamics are those of one take.
        """
        notes = np.arange(np.ceil(self.instrument.lowest), self.instrument.highest + 1)
        if len(notes) > len(SCALE):
            notes = notes[np.isin((notes - rng.integers(12)) % 12, SCALE)]
        step = int(rng.integers(len(notes)))
        dynamics = rng.uniform(0.15, 0.95)
        beat_s = self.instrument.beat_s * rng.uniform(0.75, 1.33)
        onset_s = rng.uniform(0.0, 0.08)
        melody: list[tuple[float, Note]] = []
        while onset_s < duration_s - 0.1:
            value_s = min(beat_s * rng.choice([0.5, 1.0, 1.0, 2.0]), LONGEST_NOTE_S)
            if not melody or rng.random() > REST:
                frequency_hz = float(440 * 2 ** ((notes[step] - 69) / 12 + self.tuning_cents / 1200))
                loudness = float(np.clip(dynamics + rng.uniform(-0.15, 0.15), 0, 1))
                melody.append((onset_s, Note(frequency_hz, loudness, value_s * rng.uniform(0.75, 1.0))))
            onset_s += value_s
            step = int(np.clip(step + rng.integers(-WIDEST_STEP, WIDEST_STEP + 1), 0, len(notes) - 1))
        return melody
