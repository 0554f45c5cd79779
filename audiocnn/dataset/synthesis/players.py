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
    return Player(RECIPES[instrument](rng), tuning_cents=rng.uniform(-30, 30), room=draw_room(rng))


def draw_room(rng: np.random.Generator) -> Room:
    """A room from a dry booth to a small hall, a microphone from a recorder's to a studio's."""
    return Room(
        t60_s=rng.uniform(0.12, 0.7),
        reverberance_db=rng.uniform(-16, -4),
        tilt_db=rng.uniform(-1.0, 0.7),
        low_hz=rng.uniform(30, 120),
        high_hz=np.exp(rng.uniform(np.log(5500), np.log(14000))),
        noise_db=rng.uniform(-44, -27),
        noise_tilt_db=rng.uniform(-5.5, -2.5),
        hum_hz=rng.choice([50.0, 60.0]),
        hum_db=rng.uniform(-30, 0),
    )


def _peaks(rng: np.random.Generator, size: float, *resonances: tuple[float, float, float]) -> tuple[Peak, ...]:
    """Resonances (centre in hertz, quality, height in dB) of a body ``size`` times the usual, each of them a bit off."""
    return tuple(
        Peak(centre_hz / size * rng.uniform(0.92, 1.08), quality * rng.uniform(0.7, 1.4), height_db * rng.uniform(0.8, 1.2))
        for centre_hz, quality, height_db in resonances
    )


def _guitar(rng: np.random.Generator) -> Instrument:
    string = PluckedString(
        position=rng.uniform(0.08, 0.28),
        corner_hz=np.exp(rng.uniform(np.log(1400), np.log(4500))),
        t60_s=rng.uniform(1.2, 4.0),
        t60_treble_s=rng.uniform(0.08, 0.5),
        ring_s=rng.uniform(0.02, 0.5),
    )
    body = _peaks(rng, rng.uniform(0.9, 1.15), (100, 10, 10), (205, 12, 10), (390, 10, 6), (2500, 1.5, 4))
    return Instrument(string, body, lowest=40, highest=rng.uniform(68, 77), beat_s=rng.uniform(0.22, 0.42))


def _harp(rng: np.random.Generator) -> Instrument:
    string = PluckedString(
        position=rng.uniform(0.26, 0.5),
        corner_hz=np.exp(rng.uniform(np.log(400), np.log(1300))),
        t60_s=rng.uniform(2.0, 6.0),
        t60_treble_s=rng.uniform(0.1, 0.5),
        ring_s=rng.uniform(0.3, 1.2),
    )
    body = _peaks(rng, rng.uniform(0.85, 1.2), (150, 5, 5), (300, 4, 5), (700, 3, 4))
    return Instrument(string, body, lowest=rng.uniform(43, 52), highest=rng.uniform(82, 91), beat_s=rng.uniform(0.18, 0.38))


def _violin(rng: np.random.Generator) -> Instrument:
    string = BowedString(
        position=rng.uniform(0.07, 0.16),
        corner_hz=rng.uniform(2500, 5500),
        vibrato=Vibrato(rng.uniform(4.8, 6.8), rng.uniform(5, 35), rng.uniform(0.02, 0.2)),
        bow_noise=10 ** (rng.uniform(-26, -14) / 20),
        attack_s=rng.uniform(0.03, 0.12),
    )
    body = _peaks(rng, rng.uniform(0.9, 1.18), (280, 12, 9), (460, 14, 10), (550, 14, 10), (1000, 6, 4), (2400, 1.8, 9))
    return Instrument(string, body, lowest=55, highest=rng.uniform(79, 91), beat_s=rng.uniform(0.2, 0.45))


def _cello(rng: np.random.Generator) -> Instrument:
    string = BowedString(
        position=rng.uniform(0.07, 0.18),
        corner_hz=rng.uniform(1300, 2800),
        vibrato=Vibrato(rng.uniform(4.2, 6.0), rng.uniform(5, 30), rng.uniform(0.02, 0.2)),
        bow_noise=10 ** (rng.uniform(-26, -14) / 20),
        attack_s=rng.uniform(0.05, 0.16),
    )
    body = _peaks(rng, rng.uniform(0.82, 1.1), (100, 10, 8), (190, 12, 10), (230, 12, 9), (600, 5, 4), (1500, 1.8, 8))
    return Instrument(string, body, lowest=rng.uniform(38, 45), highest=rng.uniform(62, 72), beat_s=rng.uniform(0.25, 0.5))


def _flute(rng: np.random.Generator) -> Instrument:
    pipe = Flute(
        slope=rng.uniform(1.6, 3.0),
        even=rng.uniform(0.4, 1.1),
        breath=10 ** (rng.uniform(-24, -10) / 20),
        breath_corner_hz=rng.uniform(2000, 6000),
        vibrato=Vibrato(rng.uniform(4.2, 6.2), rng.uniform(2, 15), rng.uniform(0.03, 0.3)),
        attack_s=rng.uniform(0.03, 0.1),
    )
    body = _peaks(rng, 1.0, (800, 1.0, 4), (2800, 1.5, 4))
    return Instrument(pipe, body, lowest=rng.uniform(58, 62), highest=rng.uniform(79, 90), beat_s=rng.uniform(0.2, 0.45))


def _clarinet(rng: np.random.Generator) -> Instrument:
    pipe = Reed(
        even_db=rng.uniform(-34, -16),
        cutoff_hz=rng.uniform(1200, 2600),
        slope=rng.uniform(0.6, 1.5),
        breath=10 ** (rng.uniform(-38, -18) / 20),
        vibrato=Vibrato(rng.uniform(3.5, 6.0), rng.uniform(0, 8), rng.uniform(0.0, 0.08)),
        attack_s=rng.uniform(0.02, 0.08),
    )
    body = _peaks(rng, 1.0, (1500, 2, 4), (3200, 2, 4))
    return Instrument(pipe, body, lowest=rng.uniform(50, 55), highest=rng.uniform(72, 84), beat_s=rng.uniform(0.2, 0.45))


def _trumpet(rng: np.random.Generator) -> Instrument:
    pipe = Brass(
        index=rng.uniform(2.2, 5.5),
        bite=rng.uniform(0.0, 0.6),
        breath=10 ** (rng.uniform(-40, -24) / 20),
        vibrato=Vibrato(rng.uniform(4.5, 6.5), rng.uniform(0, 18), rng.uniform(0.0, 0.15)),
        attack_s=rng.uniform(0.02, 0.09),
    )
    body = _peaks(rng, rng.uniform(0.85, 1.2), (1200, 1.5, 8), (2200, 2.0, 5))
    return Instrument(pipe, body, lowest=rng.uniform(52, 57), highest=rng.uniform(74, 82), beat_s=rng.uniform(0.2, 0.45))


def _marimba(rng: np.random.Generator) -> Instrument:
    bar = StruckBar(
        overtones=(rng.uniform(3.85, 4.05), rng.uniform(9.0, 10.4)),
        mallet_hz=np.exp(rng.uniform(np.log(500), np.log(3000))),
        t60_s=np.exp(rng.uniform(np.log(0.6), np.log(3.0))),
        knock=10 ** (rng.uniform(-20, -2) / 20),
        tremolo_hz=rng.uniform(3, 7),
        tremolo=rng.uniform(0, 0.3),
    )
    body = _peaks(rng, rng.uniform(0.8, 1.25), (350, 1.5, 5), (1100, 2, 3))
    return Instrument(bar, body, lowest=rng.uniform(48, 53), highest=rng.uniform(80, 91), beat_s=rng.uniform(0.16, 0.36))


def _snare(rng: np.random.Generator) -> Instrument:
    low_hz = rng.uniform(700, 2200)
    drum = Snare(
        wires=10 ** (rng.uniform(-16, 4) / 20),
        wires_hz=(low_hz, low_hz * rng.uniform(2.5, 6)),
        wires_t60_s=rng.uniform(0.15, 0.5),
        head_t60_s=rng.uniform(0.15, 0.6),
        softness_s=np.exp(rng.uniform(np.log(0.0005), np.log(0.015))),
    )
    tension = rng.uniform(50, 59)
    return Instrument(
        drum, _peaks(rng, 1.0, (350, 2, 3), (900, 2, 3)), lowest=tension, highest=tension + 2, beat_s=rng.uniform(0.14, 0.36)
    )


def _cymbal(rng: np.random.Generator) -> Instrument:
    low_hz = np.exp(rng.uniform(np.log(500), np.log(3500)))
    plate = Cymbal(
        low_hz=low_hz,
        high_hz=rng.uniform(6000, 11000),
        t60_s=rng.uniform(0.4, 2.0),
        hiss=rng.uniform(0.2, 0.9),
        choke=rng.choice([0.0, 0.5, 1.0]),
        ping_hz=tuple(rng.uniform(low_hz, 3 * low_hz, 4)),
        softness_s=np.exp(rng.uniform(np.log(0.0005), np.log(0.015))),
    )
    return Instrument(plate, (), lowest=60, highest=60, beat_s=rng.uniform(0.14, 0.36))


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
