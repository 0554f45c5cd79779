"""What to play for ten instruments: patches of General MIDI, and phrases drawn from a seed, as standard MIDI files."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

SEED = 1
TICKS_PER_S = 960  # 480 a quarter note, 120 quarter notes a minute
DRUMS = 9  # the MIDI channel of drum kits, counted from 0

SOUNDFONTS = {"rendered": ("fluid", "musescore"), "timgm": ("timgm",)}  # by collection


@dataclass(frozen=True)
class Patch:
    """An instrument of a soundfont: a General MIDI program, or the kit of a drum; with what may be played on it."""

    program: int
    keys: tuple[int, ...]
    kinds: tuple[str, ...]
    channel: int = 0


PLAYED = ("note", "note", "repeat", "scale", "leaps")
STRUMMED = (*PLAYED, "strum")
HIT = ("note", "note", "rhythm")
ROLLED = (*HIT, "roll")


def _melodic(program: int, lowest: int, highest: int, kinds: tuple[str, ...] = PLAYED) -> Patch:
    return Patch(program, tuple(range(lowest, highest + 1)), kinds)


def _kits(programs: Iterable[int], keys: tuple[int, ...], kinds: tuple[str, ...]) -> tuple[Patch, ...]:
    return tuple(Patch(program, keys, kinds, DRUMS) for program in programs)


# Within these keys no two patches of a label share a sample, except layers of drums in TimGM6mb. So the fiddle (110),
# with the samples of 40, is left out; guitars end where 24 and 25 become one; a drum of several kits is used once.
_MELODIC = {
    "Acoustic_guitar": (_melodic(24, 40, 83, STRUMMED), _melodic(25, 40, 83, STRUMMED)),
    "Cello": (_melodic(42, 36, 76),),
    "Clarinet": (_melodic(71, 50, 91),),
    "Double_bass": (_melodic(32, 28, 60), _melodic(43, 28, 51)),
    "Flute": (_melodic(73, 60, 93),),
    "Saxophone": (_melodic(64, 56, 87), _melodic(65, 49, 80), _melodic(66, 44, 75), _melodic(67, 36, 69)),
    "Violin_or_fiddle": (_melodic(40, 55, 96),),
}
_KICKS, _SNARES, _HATS = (35, 36), (38, 40), (42, 44, 46)  # key 40 of the brush kit is a swirl
PATCHES = {
    "rendered": {
        **_MELODIC,
        "Bass_drum": _kits((*range(8), 11, 16, 17, 18, 19, 24, 25, 48), _KICKS, HIT),
        "Hi_hat": _kits((0, 25), _HATS, ROLLED),
        "Snare_drum": (*_kits((0, 1, 2, 3, 10, 11, 16, 24, 25, 48), _SNARES, ROLLED), *_kits((40,), (38,), ROLLED)),
    },
    "timgm": {
        **_MELODIC,
        "Bass_drum": (*_kits((0,), _KICKS, HIT), *_kits((24, 25), (36,), HIT)),
        "Hi_hat": _kits((0, 25), _HATS, ROLLED),
        "Snare_drum": (*_kits((0, 24), _SNARES, ROLLED), *_kits((40,), (38,), ROLLED)),
    },
}

_MAJOR = (0, 2, 4, 5, 7, 9, 11)
_STEPS = {  # seconds from one onset to the next, and moves to the next key
    "note": ((9.0, 9.0), (0,)),
    "repeat": ((0.15, 0.8), (0,)),
    "scale": ((0.12, 0.6), (1,)),
    "leaps": ((0.2, 1.0), (-4, -3, -2, 2, 3, 4)),
    "strum": ((0.4, 1.5), (-3, 0, 3)),
    "rhythm": ((0.12, 0.5), (0, 0, 1)),
    "roll": ((0.03, 0.09), (0,)),
}


@dataclass(frozen=True)
class Note:
    """A note from one time to another, with its MIDI key and velocity."""

    start_s: float
    end_s: float
    key: int
    velocity: int


@dataclass(frozen=True)
class Take:
    """One recording to render. ``room`` has size, damping and level of the reverb; None for none."""

    path: str
    label: str
    group: str
    soundfont: str
    program: int
    seconds: float
    midi: bytes
    room: tuple[float, float, float] | None
    peak_db: float


def draw_takes(collection: str, size: int) -> list[Take]:
    """Return ``size`` recordings of each label, by path. A larger size only adds some."""
    takes = (draw_take(collection, label, i) for label in PATCHES[collection] for i in range(size))
    return sorted(takes, key=lambda take: take.path)


def draw_take(collection: str, label: str, index: int) -> Take:
    """Return one recording: soundfonts and patches take turns, the rest is drawn."""
    soundfonts, patches = SOUNDFONTS[collection], PATCHES[collection][label]
    soundfont = soundfonts[index % len(soundfonts)]
    patch = patches[index // len(soundfonts) % len(patches)]
    draw = random.Random(f"{SEED}/{collection}/{label}/{index}")  # noqa: S311 - no secret
    seconds = round(draw.uniform(1, 3 if patch.channel == DRUMS else 5), 2)
    first_s, last_s = draw.uniform(0, 0.3), seconds - draw.uniform(0.1, 0.7)
    notes = draw_notes(draw, patch, first_s, last_s)
    start, end = draw.uniform(50, 127), draw.uniform(50, 127)
    group = f"{label.lower()}-{patch.program:03}"
    return Take(
        path=f"{label}/{group}_{soundfont}_{index:03}.wav",
        label=label,
        group=group,
        soundfont=soundfont,
        program=patch.program,
        seconds=seconds,
        midi=midi_file(
            notes,
            seconds,
            channel=patch.channel,
            program=patch.program,
            controls={1: int(draw.uniform(0, 60)), 91: int(draw.uniform(20, 127))},  # vibrato, sent to the reverb
            expression=[(i / 20, int(start + (end - start) * i / 20 / seconds)) for i in range(int(seconds * 20))],
            bend=int(draw.uniform(-1200, 1200)),  # at most 0.3 semitones
        ),
        room=(draw.uniform(0.1, 0.9), draw.uniform(0, 0.8), draw.uniform(0.2, 1)) if draw.random() < 0.7 else None,
        peak_db=draw.uniform(-20, -0.3),
    )


def draw_notes(draw: random.Random, patch: Patch, first_s: float, last_s: float) -> list[Note]:
    """Return a note, scale, rhythm, roll or other phrase between two times."""
    kind = draw.choice(patch.kinds)
    (shortest, longest), moves = _STEPS[kind]
    step_s = min(draw.uniform(shortest, longest), last_s - first_s)
    tonic, velocity, held = draw.randrange(12), draw.uniform(40, 115), draw.uniform(0.4, 1)
    keys = [key for key in patch.keys if patch.channel == DRUMS or (key - tonic) % 12 in _MAJOR]
    ladder = [*keys, *reversed(keys[1:-1])]  # up and down again
    position = draw.randrange(len(ladder))
    voices = draw.randrange(3, 6) if kind == "strum" else 1
    notes = []
    for i in range(max(1, int((last_s - first_s) / step_s + 1e-9))):
        position += draw.choice(moves) if i else 0
        if i and kind == "rhythm" and draw.random() < 0.25:
            continue
        for voice in range(voices):
            start_s = first_s + i * step_s + 0.015 * voice
            loudness = int(min(127, max(1, velocity + draw.uniform(-12, 12))))
            key = ladder[(position + 2 * voice) % len(ladder)]
            notes.append(Note(start_s, start_s + max(0.02, held * step_s), key, loudness))
    return notes


def midi_file(
    notes: Sequence[Note],
    seconds: float,
    *,
    channel: int,
    program: int,
    controls: dict[int, int],
    expression: Sequence[tuple[float, int]],
    bend: int = 0,
) -> bytes:
    """Return a standard MIDI file of one track that ends after ``seconds``.

    ``controls`` are set at the start, ``expression`` has times and values, ``bend`` is in 1/4096 of a semitone.
    """
    wheel = 8192 + bend
    events = [(0.0, bytes([0xB0 | channel, number, value])) for number, value in controls.items()]
    events += [(0.0, bytes([0xC0 | channel, program])), (0.0, bytes([0xE0 | channel, wheel & 0x7F, wheel >> 7]))]
    events += [(time_s, bytes([0xB0 | channel, 11, value])) for time_s, value in expression]
    events += [(min(note.end_s, seconds), bytes([0x80 | channel, note.key, 0])) for note in notes]
    events += [(note.start_s, bytes([0x90 | channel, note.key, note.velocity])) for note in notes]
    timed = [(round(time_s * TICKS_PER_S), event) for time_s, event in events]
    timed.sort(key=lambda pair: pair[0])  # stable: at the same time, notes end before others start
    timed.append((round(seconds * TICKS_PER_S), b"\xff\x2f\x00"))
    track, now = b"", 0
    for tick, event in timed:
        ahead, now = tick - now, tick
        delta = bytes([ahead & 0x7F])
        while ahead := ahead >> 7:
            delta = bytes([ahead & 0x7F | 0x80]) + delta
        track += delta + event
    header = b"MThd" + (6).to_bytes(4) + (0).to_bytes(2) + (1).to_bytes(2) + (TICKS_PER_S // 2).to_bytes(2)
    return header + b"MTrk" + len(track).to_bytes(4) + track
