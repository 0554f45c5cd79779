"""Ten instruments as recipes: from which ranges a player's instrument, room and manner are drawn, and what they play.

The ranges of kindred instruments overlap on purpose (a dark violin is close to a light cello), and players differ
within them, so that a classifier finds players that it has heard easier than others, as with real recordings.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from audiocnn.dataset.synthesis import signals
from audiocnn.dataset.synthesis.notes import Note, Vibrato, Voice
from audiocnn.dataset.synthesis.percussion import Cymbal, Snare, StruckBar
from audiocnn.dataset.synthesis.rooms import Room
from audiocnn.dataset.synthesis.signals import Peak, Samples
from audiocnn.dataset.synthesis.strings import BowedString, PluckedString
from audiocnn.dataset.synthesis.winds import Brass, Flute, Reed

SCALE = np.array([0, 2, 4, 5, 7, 9, 11])  # semitones of a major scale
LONGEST_NOTE_S = 0.8


@dataclass(frozen=True)
class Instrument:
    """A voice, the body that colours it, and the notes that it is used for."""

    voice: Voice
    body: tuple[Peak, ...]
    lowest: float  # note, as a MIDI number
    highest: float
    beat_s: float  # of the player's usual tempo


@dataclass(frozen=True)
class Player:
    """One player: an instrument, its tuning and the room that all takes are made in."""

    instrument: Instrument
    tuning_cents: float
    room: Room

    def play(self, duration_s: float, *, sample_rate: int, n_channels: int, rng: np.random.Generator) -> Samples:
        """One take (n, n_channels) of a phrase that fills ``duration_s``, of unit RMS."""
        n_samples = signals.count(duration_s, sample_rate)
        dry = np.zeros(n_samples)
        for onset_s, note in phrase(self, duration_s, rng=rng):
            start = int(onset_s * sample_rate)
            sound = self.instrument.voice.sound(note, sample_rate=sample_rate, rng=rng)[: n_samples - start]
            dry[start : start + len(sound)] += sound
        body = signals.resonances(self.instrument.body)
        dry = signals.filtered(dry, body, sample_rate=sample_rate)
        return self.room.record(dry, n_channels=n_channels, sample_rate=sample_rate, rng=rng)


def phrase(player: Player, duration_s: float, *, rng: np.random.Generator) -> list[tuple[float, Note]]:
    """Notes with their onsets in seconds: a walk on a scale within the instrument's register, in one take's dynamics."""
    instrument = player.instrument
    key = rng.integers(12)
    notes = np.arange(np.ceil(instrument.lowest), instrument.highest + 1)
    notes = notes[np.isin((notes - key) % 12, SCALE)] if len(notes) > 4 else notes
    step = int(rng.integers(len(notes)))
    dynamics = rng.uniform(0.15, 0.95)
    beat_s = instrument.beat_s * rng.uniform(0.75, 1.33)
    onset_s = rng.uniform(0.0, 0.08)
    melody = []
    while onset_s < duration_s - 0.1:
        value_s = min(beat_s * rng.choice([0.5, 1.0, 1.0, 2.0]), LONGEST_NOTE_S)
        frequency_hz = 440 * 2 ** ((notes[step] - 69) / 12 + player.tuning_cents / 1200)
        loudness = float(np.clip(dynamics + rng.uniform(-0.15, 0.15), 0, 1))
        if not melody or rng.random() > 0.1:  # else a rest
            melody.append((onset_s, Note(float(frequency_hz), loudness, value_s * rng.uniform(0.75, 1.0))))
        onset_s += value_s
        step = int(np.clip(step + rng.integers(-3, 4), 0, len(notes) - 1))
    return melody


def draw(instrument: str, *, rng: np.random.Generator) -> Player:
    """A player of one of `INSTRUMENTS`."""
    return Player(RECIPES[instrument](rng), tuning_cents=_near(rng, -40, 40), room=draw_room(rng))


def draw_room(rng: np.random.Generator) -> Room:
    """A room from a dry booth to a small hall, a microphone from a recorder's to a studio's."""
    return Room(
        seed=int(rng.integers(2**31)),
        t60_s=_near(rng, 0.12, 0.7),
        reverberance_db=_near(rng, -12, 1),
        tilt_db=_near(rng, -2.2, 1.4),
        low_hz=_near(rng, 30, 120),
        high_hz=_ratio(rng, 4500, 14000),
        noise_db=_near(rng, -42, -24),
        noise_tilt_db=_near(rng, -6, -2),
        hum_hz=rng.choice([50.0, 60.0]),
        hum_db=_near(rng, -30, 0),
    )


def _near(rng: np.random.Generator, low: float, high: float) -> float:
    """A trait within ``low`` to ``high``; the middle is common and the ends are rare (triangular)."""
    return rng.triangular(low, (low + high) / 2, high)


def _ratio(rng: np.random.Generator, low: float, high: float) -> float:
    """As `_near`, on a scale of ratios: for frequencies and times."""
    return float(np.exp(_near(rng, np.log(low), np.log(high))))


def _gain(rng: np.random.Generator, low_db: float, high_db: float) -> float:
    """As `_near`, in decibels, returned as a linear gain."""
    return float(10 ** (_near(rng, low_db, high_db) / 20))


def _peaks(rng: np.random.Generator, size: float, *resonances: tuple[float, float, float]) -> tuple[Peak, ...]:
    """Resonances (centre in hertz, quality, height in dB) of a body ``size`` times the usual, each of them a bit off."""
    return tuple(
        Peak(centre_hz / size * rng.uniform(0.89, 1.12), quality * rng.uniform(0.65, 1.5), height_db * rng.uniform(0.7, 1.3))
        for centre_hz, quality, height_db in resonances
    )


def _guitar(rng: np.random.Generator) -> Instrument:
    string = PluckedString(
        position=_near(rng, 0.08, 0.22),
        corner_hz=_ratio(rng, 1000, 4500),
        t60_s=_near(rng, 1.2, 4.0),
        t60_treble_s=_near(rng, 0.08, 0.5),
        ring_s=_near(rng, 0.02, 0.5),
    )
    body = _peaks(rng, _near(rng, 0.9, 1.15), (100, 10, 10), (205, 12, 10), (390, 10, 6), (2500, 1.5, 4))
    return Instrument(string, body, lowest=40, highest=_near(rng, 68, 77), beat_s=_near(rng, 0.22, 0.42))


def _harp(rng: np.random.Generator) -> Instrument:
    string = PluckedString(
        position=_near(rng, 0.18, 0.46),
        corner_hz=_ratio(rng, 400, 1700),
        t60_s=_near(rng, 2.0, 6.0),
        t60_treble_s=_near(rng, 0.1, 0.5),
        ring_s=_near(rng, 0.3, 1.2),
    )
    body = _peaks(rng, _near(rng, 0.85, 1.2), (150, 5, 5), (300, 4, 5), (700, 3, 4))
    return Instrument(string, body, lowest=_near(rng, 43, 52), highest=_near(rng, 82, 91), beat_s=_near(rng, 0.18, 0.38))


def _violin(rng: np.random.Generator) -> Instrument:
    string = BowedString(
        position=_near(rng, 0.07, 0.16),
        corner_hz=_near(rng, 2000, 5500),
        vibrato=Vibrato(_near(rng, 4.8, 6.8), _near(rng, 5, 35), _near(rng, 0.02, 0.2)),
        bow_noise=_gain(rng, -26, -14),
        attack_s=_near(rng, 0.03, 0.12),
    )
    body = _peaks(rng, _near(rng, 0.85, 1.28), (280, 12, 9), (460, 14, 10), (550, 14, 10), (1000, 6, 4), (2400, 1.8, 9))
    return Instrument(string, body, lowest=55, highest=_near(rng, 79, 91), beat_s=_near(rng, 0.2, 0.45))


def _cello(rng: np.random.Generator) -> Instrument:
    string = BowedString(
        position=_near(rng, 0.07, 0.18),
        corner_hz=_near(rng, 1200, 3400),
        vibrato=Vibrato(_near(rng, 4.2, 6.0), _near(rng, 5, 30), _near(rng, 0.02, 0.2)),
        bow_noise=_gain(rng, -26, -14),
        attack_s=_near(rng, 0.05, 0.16),
    )
    body = _peaks(rng, _near(rng, 0.75, 1.15), (100, 10, 8), (190, 12, 10), (230, 12, 9), (600, 5, 4), (1500, 1.8, 8))
    return Instrument(string, body, lowest=_near(rng, 38, 45), highest=_near(rng, 62, 72), beat_s=_near(rng, 0.25, 0.5))


def _flute(rng: np.random.Generator) -> Instrument:
    pipe = Flute(
        slope=_near(rng, 1.6, 3.0),
        even=_near(rng, 0.4, 1.1),
        breath=_gain(rng, -28, -10),
        breath_corner_hz=_near(rng, 2000, 6000),
        vibrato=Vibrato(_near(rng, 4.2, 6.2), _near(rng, 2, 15), _near(rng, 0.03, 0.3)),
        attack_s=_near(rng, 0.03, 0.1),
    )
    body = _peaks(rng, 1.0, (800, 1.0, 4), (2800, 1.5, 4))
    return Instrument(pipe, body, lowest=_near(rng, 58, 62), highest=_near(rng, 79, 90), beat_s=_near(rng, 0.2, 0.45))


def _clarinet(rng: np.random.Generator) -> Instrument:
    pipe = Reed(
        even_db=_near(rng, -36, -10),
        cutoff_hz=_near(rng, 1200, 2600),
        slope=_near(rng, 0.6, 1.5),
        breath=_gain(rng, -38, -18),
        vibrato=Vibrato(_near(rng, 3.5, 6.0), _near(rng, 0, 8), _near(rng, 0.0, 0.08)),
        attack_s=_near(rng, 0.02, 0.08),
    )
    body = _peaks(rng, 1.0, (1500, 2, 4), (3200, 2, 4))
    return Instrument(pipe, body, lowest=_near(rng, 50, 55), highest=_near(rng, 72, 84), beat_s=_near(rng, 0.2, 0.45))


def _trumpet(rng: np.random.Generator) -> Instrument:
    pipe = Brass(
        index=_near(rng, 2.2, 5.5),
        bite=_near(rng, 0.0, 0.6),
        breath=_gain(rng, -40, -24),
        vibrato=Vibrato(_near(rng, 4.5, 6.5), _near(rng, 0, 18), _near(rng, 0.0, 0.15)),
        attack_s=_near(rng, 0.02, 0.09),
    )
    body = _peaks(rng, _near(rng, 0.85, 1.2), (1200, 1.5, 8), (2200, 2.0, 5))
    return Instrument(pipe, body, lowest=_near(rng, 52, 57), highest=_near(rng, 74, 82), beat_s=_near(rng, 0.2, 0.45))


def _marimba(rng: np.random.Generator) -> Instrument:
    bar = StruckBar(
        overtones=(_near(rng, 3.85, 4.05), _near(rng, 9.0, 10.4)),
        mallet_hz=_ratio(rng, 500, 3000),
        t60_s=_ratio(rng, 0.6, 3.0),
        knock=_gain(rng, -20, -2),
        tremolo_hz=_near(rng, 3, 7),
        tremolo=_near(rng, 0, 0.3),
    )
    body = _peaks(rng, _near(rng, 0.8, 1.25), (350, 1.5, 5), (1100, 2, 3))
    return Instrument(bar, body, lowest=_near(rng, 48, 53), highest=_near(rng, 80, 91), beat_s=_near(rng, 0.16, 0.36))


def _snare(rng: np.random.Generator) -> Instrument:
    low_hz = _ratio(rng, 700, 2000)
    drum = Snare(
        wires=_gain(rng, -16, 5),
        wires_hz=(low_hz, low_hz * _near(rng, 2.5, 6)),
        wires_t60_s=_near(rng, 0.15, 0.5),
        head_t60_s=_near(rng, 0.15, 0.6),
        softness_s=_ratio(rng, 0.0005, 0.015),
    )
    tension = _near(rng, 50, 59)
    return Instrument(
        drum, _peaks(rng, 1.0, (350, 2, 3), (900, 2, 3)), lowest=tension, highest=tension + 2, beat_s=_near(rng, 0.14, 0.36)
    )


def _cymbal(rng: np.random.Generator) -> Instrument:
    low_hz = _ratio(rng, 700, 4500)
    plate = Cymbal(
        low_hz=low_hz,
        high_hz=_near(rng, 6000, 11000),
        t60_s=_near(rng, 0.4, 2.0),
        hiss=_near(rng, 0.2, 0.9),
        choke=rng.choice([0.0, 0.5, 1.0]),
        ping_hz=tuple(rng.uniform(low_hz, 3 * low_hz, 4)),
        softness_s=_ratio(rng, 0.0005, 0.015),
    )
    return Instrument(plate, (), lowest=60, highest=60, beat_s=_near(rng, 0.14, 0.36))


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
INSTRUMENTS = tuple(RECIPES)
