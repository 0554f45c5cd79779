"""Synthesize takes of players: an instrument, a room, and the phrases that are played."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from audiocnn.dataset.synthesis import signals
from audiocnn.dataset.synthesis.instruments import (
    BowedString,
    Brass,
    Cymbal,
    Flute,
    Note,
    PluckedString,
    Reed,
    Snare,
    StruckBar,
    Vibrato,
    Voice,
    draw,
    draw_gain,
    draw_ratio,
)
from audiocnn.dataset.synthesis.rooms import Room
from audiocnn.dataset.synthesis.signals import Peak, Samples

SCALE = np.array([0, 2, 4, 5, 7, 9, 11])  # semitones of a major scale
WIDEST_STEP = 3  # between notes of a melody, in steps of its scale
LONGEST_NOTE_S = 0.8  # so that a take of one second has several notes
REST = 0.1  # probability of a rest


@dataclass(frozen=True)
class Instrument:
    """A voice, the resonances of its body, its range of notes and its tempo."""

    voice: Voice
    body: tuple[Peak, ...]
    lowest: float  # note, as a MIDI number
    highest: float
    beat_s: float


@dataclass(frozen=True)
class Player:
    """An instrument, its tuning, and the room of all its takes."""

    instrument: Instrument
    tuning_cents: float  # relative to 440 Hz
    room: Room

    def play(self, duration_s: float, *, sample_rate: int, n_channels: int, rng: np.random.Generator) -> Samples:
        """Return one take (n, n_channels) of a phrase of ``duration_s``, with unit RMS."""
        dry = np.zeros(signals.time_to_samples(duration_s, sample_rate))
        for onset_s, note in self.phrase(duration_s, rng=rng):
            start = int(onset_s * sample_rate)
            sound = self.instrument.voice.sound(note, sample_rate=sample_rate, rng=rng)[: len(dry) - start]
            dry[start : start + len(sound)] += sound
        dry = signals.filter_samples(dry, signals.resonances(self.instrument.body), sample_rate=sample_rate)
        return self.room.record(dry, n_channels=n_channels, sample_rate=sample_rate, rng=rng)

    def phrase(self, duration_s: float, *, rng: np.random.Generator) -> list[tuple[float, Note]]:
        """Return notes with their onsets in seconds: a random walk on a scale within the range of the instrument.

        Key, tempo and dynamics are drawn once per take.
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


def draw_player(instrument: str, *, rng: np.random.Generator) -> Player:
    """Return a random player of one of `INSTRUMENTS`."""
    return Player(RECIPES[instrument](rng), tuning_cents=draw(rng, -40, 40), room=_room(rng))


def _room(rng: np.random.Generator) -> Room:
    """Return a random room, from a dry booth to a small hall, with a microphone of a pocket recorder up to a studio."""
    return Room(
        seed=int(rng.integers(2**31)),
        t60_s=draw(rng, 0.12, 0.7),
        reverberance_db=draw(rng, -12, 1),
        tilt_db=draw(rng, -2.2, 1.4),
        low_hz=draw(rng, 30, 120),
        high_hz=draw_ratio(rng, 4500, 14000),
        noise_db=draw(rng, -41, -23),
        noise_tilt_db=draw(rng, -6, -2),
        hum_hz=float(rng.choice([50.0, 60.0])),
        hum_db=draw(rng, -30, 0),
    )


def _peaks(rng: np.random.Generator, size: float, *resonances: tuple[float, float, float]) -> tuple[Peak, ...]:
    """Return resonances (centre in hertz, quality, height in dB) of a body of relative ``size``, slightly varied."""
    return tuple(
        Peak(
            centre_hz=centre_hz / size * rng.uniform(0.89, 1.12),
            quality=quality * rng.uniform(0.65, 1.5),
            height_db=height_db * rng.uniform(0.7, 1.3),
        )
        for centre_hz, quality, height_db in resonances
    )


def _guitar(rng: np.random.Generator) -> Instrument:
    string = PluckedString(
        position=draw(rng, 0.08, 0.22),
        corner_hz=draw_ratio(rng, 1000, 4500),
        t60_s=draw(rng, 1.2, 4.0),
        t60_treble_s=draw(rng, 0.08, 0.5),
        ring_s=draw(rng, 0.02, 0.5),
    )
    body = _peaks(rng, draw(rng, 0.9, 1.15), (100, 10, 10), (205, 12, 10), (390, 10, 6), (2500, 1.5, 4))
    return Instrument(string, body, lowest=40, highest=draw(rng, 68, 77), beat_s=draw(rng, 0.22, 0.42))


def _harp(rng: np.random.Generator) -> Instrument:
    string = PluckedString(
        position=draw(rng, 0.18, 0.46),
        corner_hz=draw_ratio(rng, 400, 1700),
        t60_s=draw(rng, 2.0, 6.0),
        t60_treble_s=draw(rng, 0.1, 0.5),
        ring_s=draw(rng, 0.3, 1.2),
    )
    body = _peaks(rng, draw(rng, 0.85, 1.2), (150, 5, 5), (300, 4, 5), (700, 3, 4))
    return Instrument(string, body, lowest=draw(rng, 43, 52), highest=draw(rng, 82, 91), beat_s=draw(rng, 0.18, 0.38))


def _violin(rng: np.random.Generator) -> Instrument:
    string = BowedString(
        position=draw(rng, 0.07, 0.16),
        corner_hz=draw(rng, 2000, 5500),
        vibrato=Vibrato(draw(rng, 4.8, 6.8), draw(rng, 5, 35), draw(rng, 0.02, 0.2)),
        bow_noise=draw_gain(rng, -26, -14),
        attack_s=draw(rng, 0.03, 0.12),
    )
    body = _peaks(rng, draw(rng, 0.85, 1.28), (280, 12, 9), (460, 14, 10), (550, 14, 10), (1000, 6, 4), (2400, 1.8, 9))
    return Instrument(string, body, lowest=55, highest=draw(rng, 79, 91), beat_s=draw(rng, 0.2, 0.45))


def _cello(rng: np.random.Generator) -> Instrument:
    string = BowedString(
        position=draw(rng, 0.07, 0.18),
        corner_hz=draw(rng, 1200, 3400),
        vibrato=Vibrato(draw(rng, 4.2, 6.0), draw(rng, 5, 30), draw(rng, 0.02, 0.2)),
        bow_noise=draw_gain(rng, -26, -14),
        attack_s=draw(rng, 0.05, 0.16),
    )
    body = _peaks(rng, draw(rng, 0.75, 1.15), (100, 10, 8), (190, 12, 10), (230, 12, 9), (600, 5, 4), (1500, 1.8, 8))
    return Instrument(string, body, lowest=draw(rng, 38, 45), highest=draw(rng, 62, 72), beat_s=draw(rng, 0.25, 0.5))


def _flute(rng: np.random.Generator) -> Instrument:
    pipe = Flute(
        slope=draw(rng, 1.6, 3.0),
        even=draw(rng, 0.4, 1.1),
        breath=draw_gain(rng, -28, -10),
        breath_corner_hz=draw(rng, 2000, 6000),
        vibrato=Vibrato(draw(rng, 4.2, 6.2), draw(rng, 2, 15), draw(rng, 0.03, 0.3)),
        attack_s=draw(rng, 0.03, 0.1),
    )
    body = _peaks(rng, 1.0, (800, 1.0, 4), (2800, 1.5, 4))
    return Instrument(pipe, body, lowest=draw(rng, 58, 62), highest=draw(rng, 79, 90), beat_s=draw(rng, 0.2, 0.45))


def _clarinet(rng: np.random.Generator) -> Instrument:
    pipe = Reed(
        even_db=draw(rng, -36, -10),
        cutoff_hz=draw(rng, 1200, 2600),
        slope=draw(rng, 0.6, 1.5),
        breath=draw_gain(rng, -38, -18),
        vibrato=Vibrato(draw(rng, 3.5, 6.0), draw(rng, 0, 8), draw(rng, 0.0, 0.08)),
        attack_s=draw(rng, 0.02, 0.08),
    )
    body = _peaks(rng, 1.0, (1500, 2, 4), (3200, 2, 4))
    return Instrument(pipe, body, lowest=draw(rng, 50, 55), highest=draw(rng, 72, 84), beat_s=draw(rng, 0.2, 0.45))


def _trumpet(rng: np.random.Generator) -> Instrument:
    pipe = Brass(
        index=draw(rng, 2.2, 5.5),
        bite=draw(rng, 0.0, 0.6),
        breath=draw_gain(rng, -40, -24),
        vibrato=Vibrato(draw(rng, 4.5, 6.5), draw(rng, 0, 18), draw(rng, 0.0, 0.15)),
        attack_s=draw(rng, 0.02, 0.09),
    )
    body = _peaks(rng, draw(rng, 0.85, 1.2), (1200, 1.5, 8), (2200, 2.0, 5))
    return Instrument(pipe, body, lowest=draw(rng, 52, 57), highest=draw(rng, 74, 82), beat_s=draw(rng, 0.2, 0.45))


def _marimba(rng: np.random.Generator) -> Instrument:
    bar = StruckBar(
        overtones=(draw(rng, 3.85, 4.05), draw(rng, 9.0, 10.4)),
        mallet_hz=draw_ratio(rng, 500, 3000),
        t60_s=draw_ratio(rng, 0.6, 3.0),
        knock=draw_gain(rng, -24, -6),
        tremolo_hz=draw(rng, 3, 7),
        tremolo=draw(rng, 0, 0.3),
    )
    body = _peaks(rng, draw(rng, 0.8, 1.25), (350, 1.5, 5), (1100, 2, 3))
    return Instrument(bar, body, lowest=draw(rng, 48, 53), highest=draw(rng, 80, 91), beat_s=draw(rng, 0.16, 0.36))


def _snare(rng: np.random.Generator) -> Instrument:
    low_hz = draw_ratio(rng, 700, 2000)
    drum = Snare(
        wires=draw_gain(rng, -16, 5),
        wires_hz=(low_hz, low_hz * draw(rng, 2.5, 6)),
        wires_t60_s=draw(rng, 0.15, 0.5),
        head_t60_s=draw(rng, 0.15, 0.6),
        softness_s=draw_ratio(rng, 0.0005, 0.015),
    )
    tension = draw(rng, 50, 59)
    return Instrument(
        drum,
        _peaks(rng, 1.0, (350, 2, 3), (900, 2, 3)),
        lowest=tension,
        highest=tension + 2,
        beat_s=draw(rng, 0.14, 0.36),
    )


def _cymbal(rng: np.random.Generator) -> Instrument:
    low_hz = draw_ratio(rng, 700, 4500)
    plate = Cymbal(
        low_hz=low_hz,
        high_hz=draw(rng, 6000, 11000),
        t60_s=draw(rng, 0.4, 2.0),
        hiss=draw(rng, 0.2, 0.9),
        choke=rng.choice([0.0, 0.5, 1.0]),
        ping_hz=tuple(rng.uniform(low_hz, 3 * low_hz, 4)),
        softness_s=draw_ratio(rng, 0.0005, 0.015),
    )
    return Instrument(plate, (), lowest=60, highest=60, beat_s=draw(rng, 0.14, 0.36))


RECIPES: dict[str, Callable[[np.random.Generator], Instrument]] = {
    "cello": _cello,
    "clarinet": _clarinet,
    "cymbal": _cymbal,
    "flute": _flute,
    "guitar": _guitar,
    "harp": _harp,
    "marimba": _marimba,
    "snare": _snare,
    "trumpet": _trumpet,
    "violin": _violin,
}
INSTRUMENTS = tuple(RECIPES)  # sorted, as labels are
