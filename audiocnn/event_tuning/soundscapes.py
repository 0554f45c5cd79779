"""Soundscapes: known sounds mixed into hours of background, with the times of their events.

Takes sounds and an endless background; writes WAV files in pieces and returns the events in them.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from audiocnn.audio import encode
from audiocnn.audio.clips import SavedClip
from audiocnn.features import augment
from audiocnn.features.augment import Augmentation
from audiocnn.features.extract import Array
from audiocnn.specs import FeatureSpec

MAX_SOUNDSCAPE_S = 600.0  # of a file: all workers get files, and an interruption costs little
MAX_SOUND_S = 5.0  # of a longer sound, the loudest part is used

_BLOCK = 1 << 16  # samples written at a time
_FADE_S = 0.02  # crossfade of two clips of background
_EDGE_S = 0.01  # fade-in and fade-out of a sound, which avoid clicks
_NOISE_RMS = 0.01  # -40 dBFS
_COLOUR_S = 60.0
_NOISE_SLOPES_DB = (-6.0, 0.0)  # per octave: from brown noise, such as wind and traffic, to white noise
_MIN_POWER = 1e-8  # -80 dBFS, lower limit of the mean square of background: sounds in digital silence get a level
_PLAN, _NOISE = 1, 2  # numbers of the random generators

Range = tuple[float, float]


@dataclass(frozen=True)
class TargetSound:
    """A sound to mix into background, from a recording of a ``group``."""

    label: str
    recording: str
    group: str
    clip: SavedClip


@dataclass(frozen=True)
class PlacedEvent:
    """A sound in a soundscape from ``start_s`` to ``end_s``, ``snr_db`` above the background there."""

    label: str
    start_s: float
    end_s: float
    snr_db: float
    recording: str
    group: str


@dataclass(frozen=True)
class Soundscape:
    """A file and the events in it, in order of time."""

    file: Path
    duration_s: float
    events: tuple[PlacedEvent, ...]


@dataclass(frozen=True)
class SoundscapePlan:
    """The soundscapes to make: seconds and sounds in all, the least gap between sounds, and the range of levels."""

    seconds: float
    n_sounds: int
    snr_db: Range
    gap_s: float
    seed: tuple[int, ...]


def max_sounds_per_hour(gap_s: float) -> int:
    """Return the most sounds in an hour that leave half of the time to the background alone.

    >>> max_sounds_per_hour(4.0)
    200
    """
    return math.floor(1800 / (MAX_SOUND_S + gap_s))


def noise_background(seed: tuple[int, ...], sample_rate: int) -> Iterator[Array]:
    """Yield endless coloured noise at -40 dBFS; the colour changes every minute."""
    rng = np.random.default_rng((*seed, _NOISE))
    low, high = _NOISE_SLOPES_DB
    n_blocks = math.ceil(_COLOUR_S * sample_rate / _BLOCK)
    number = 0
    while True:
        colour = Augmentation((*seed, number), snr_db=0.0, slope_db=low + (high - low) * rng.random())
        nothing = (np.zeros(_BLOCK, np.float32) for _ in range(n_blocks))
        yield from augment.add_noise(nothing, colour, sample_rate, np.full(1, _NOISE_RMS**2))
        number += 1


def recorded_background(clips: Sequence[SavedClip], seed: tuple[int, ...], sample_rate: int) -> Iterator[Array]:
    """Yield endless background: the clips in a new random order every round, with crossfades."""
    n_fade = round(_FADE_S * sample_rate)
    clips = [clip for clip in clips if clip.n > 2 * n_fade]
    rng = np.random.default_rng(seed)
    tail = np.zeros(0, np.float32)
    while clips:
        for index in rng.permutation(len(clips)):
            n_left = clips[index].n - n_fade
            first = clips[index].read(0, n_fade)
            rise = np.linspace(0, 1, len(tail), dtype=np.float32)
            first[: len(tail)] = first[: len(tail)] * rise + tail * (1 - rise)
            yield first
            for start in range(n_fade, n_left, _BLOCK):
                yield clips[index].read(start, min(_BLOCK, n_left - start))
            tail = clips[index].read(n_left)


def generate_soundscapes(
    sounds: Sequence[TargetSound], background: Iterator[Array], plan: SoundscapePlan, *, folder: Path, spec: FeatureSpec
) -> Iterator[Soundscape]:
    """Write soundscapes into ``folder`` and yield them; memory does not depend on their length.

    Labels take turns, and so do the sounds of a label, in a new random order every round. The same plan, sounds and
    background give the same bytes; another range of levels changes only levels.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stream = _SampleStream(background)
    rng = np.random.default_rng((*plan.seed, _PLAN))
    turns = _take_turns(sounds, rng)
    n_files = max(1, math.ceil(plan.seconds / MAX_SOUNDSCAPE_S))
    n_samples = round(plan.seconds / n_files * spec.sample_rate)
    for number in range(n_files):
        n_sounds = plan.n_sounds * (number + 1) // n_files - plan.n_sounds * number // n_files
        chosen = [next(turns) for _ in range(n_sounds)]
        yield _write_soundscape(folder / f"{number + 1}.wav", n_samples, chosen, stream, plan, spec, rng)


def _write_soundscape(
    file: Path,
    n_samples: int,
    chosen: Sequence[TargetSound],
    stream: "_SampleStream",
    plan: SoundscapePlan,
    spec: FeatureSpec,
    rng: np.random.Generator,
) -> Soundscape:
    """Mix the ``chosen`` sounds into the next background, and write the file in blocks."""
    rate = spec.sample_rate
    lengths = [min(sound.clip.n, round(MAX_SOUND_S * rate)) for sound in chosen]
    starts = random_starts(lengths, n_samples, round(plan.gap_s * rate), rng)
    low, high = plan.snr_db
    levels_db = [low + (high - low) * share for share in rng.random(len(chosen)).tolist()]
    n_channels = spec.channel + 1 if isinstance(spec.channel, int) else 1

    def blocks() -> Iterator[Array]:
        position = 0
        for sound, start, length, snr_db in zip(chosen, starts, lengths, levels_db, strict=True):
            yield from stream.blocks(start - position)
            yield _mix(stream.take(length), loudest(sound.clip.read(), length), snr_db, rate)
            position = start + length
        yield from stream.blocks(n_samples - position)

    def channels() -> Iterator[Array]:  # the model reads the last one
        return (np.repeat(block[:, None], n_channels, axis=1) for block in blocks())

    encode.write_blocks(file, blocks() if n_channels == 1 else channels(), rate)
    events = [
        PlacedEvent(sound.label, start / rate, (start + length) / rate, snr_db, sound.recording, sound.group)
        for sound, start, length, snr_db in zip(chosen, starts, lengths, levels_db, strict=True)
    ]
    return Soundscape(file, n_samples / rate, tuple(events))


def random_starts(lengths: Sequence[int], total: int, gap: int, rng: np.random.Generator) -> list[int]:
    """Return random starts, in order, of stretches with these lengths in ``total``, at least ``gap`` apart.

    The gap also applies to both ends of the total. Raises `ValueError` if the total is too short.

    >>> random_starts([10, 10], 50, 10, np.random.default_rng(0))
    [10, 30]
    """
    free = total - sum(lengths) - gap * (len(lengths) + 1)
    if free < 0:
        raise ValueError(f"{len(lengths)} stretches {gap} apart do not fit into {total}")
    offsets = np.sort(rng.integers(0, free + 1, len(lengths)))
    previous = np.cumsum([0, *lengths])[: len(lengths)]
    return [int(start) for start in offsets + previous + gap * np.arange(1, len(lengths) + 1)]


def loudest(samples: Array, n: int) -> Array:
    """Return the ``n`` consecutive samples with the most energy, or all if there are fewer.

    >>> loudest(np.array([0, 1, 5, 4, 0], np.float32), 2).tolist()
    [5.0, 4.0]
    """
    if len(samples) <= n:
        return samples
    energy = np.cumsum(np.concatenate([[0], np.square(samples, dtype=np.float64)]))
    first = int(np.argmax(energy[n:] - energy[:-n]))
    return samples[first : first + n]


def _mix(background: Array, sound: Array, snr_db: float, rate: int) -> Array:
    """Return the background with a sound added ``snr_db`` above it."""
    n_edge = min(round(_EDGE_S * rate), len(sound) // 2)
    edge = np.linspace(0, 1, n_edge, dtype=np.float32)
    shape = np.ones(len(sound), np.float32)
    shape[:n_edge] = edge
    shape[len(sound) - n_edge :] = edge[::-1]
    power = max(_power(background), _MIN_POWER) * 10 ** (snr_db / 10)
    return background + sound * shape * np.float32(math.sqrt(power / _power(sound)))


def _take_turns(sounds: Sequence[TargetSound], rng: np.random.Generator) -> Iterator[TargetSound]:
    """Yield sounds without end, the labels in turn."""
    labels = sorted({sound.label for sound in sounds})
    waiting: dict[str, list[TargetSound]] = {label: [] for label in labels}
    while labels:
        for label in labels:
            if not waiting[label]:
                members = [sound for sound in sounds if sound.label == label]
                waiting[label] = [members[i] for i in rng.permutation(len(members))]
            yield waiting[label].pop()


def _power(samples: Array) -> float:
    """Return the mean square of samples (n,), 0 of none."""
    return float(np.mean(np.square(samples, dtype=np.float64))) if len(samples) else 0.0


class _SampleStream:
    """Reads any number of samples at a time from endless blocks."""

    def __init__(self, blocks: Iterator[Array]) -> None:
        self._blocks = blocks
        self._rest = np.zeros(0, np.float32)

    def blocks(self, n: int) -> Iterator[Array]:
        """Yield the next ``n`` samples in blocks."""
        while n > 0:
            if not len(self._rest):
                self._rest = next(self._blocks)
            some, self._rest = self._rest[:n], self._rest[n:]
            n -= len(some)
            yield some

    def take(self, n: int) -> Array:
        """Return the next ``n`` samples (n,)."""
        return np.concatenate([np.zeros(0, np.float32), *self.blocks(n)])
