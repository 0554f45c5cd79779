"""Generate the clips of the two synthetic corpora, and write them as a folder of audio files with a manifest."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audiocnn.audio import encode
from audiocnn.dataset import manifest
from audiocnn.dataset.synthesis import players, scenes

# Sample rate in hertz, format, channels. Every label uses all of them in turn, so that none reveals a label.
RECORDERS = (
    (44100, "wav", 1),
    (48000, "flac", 1),
    (22050, "wav", 1),
    (44100, "flac", 2),
    (32000, "wav", 2),
)
LEVELS_DBFS = (-38.0, -28.0)  # RMS of a clip; low enough for the peaks of drum strokes
PEAK = 0.98  # of full scale, never exceeded
PHRASE_S = (1.0, 1.6)  # durations
SCENE_S = (1.0, 2.2)


@dataclass(frozen=True)
class Clip:
    """One recording of a corpus.

    ``path`` is relative and begins with the label's folder, ``group`` is the player or session, ``samples`` are
    float32 within -1..1: (n,) of one channel, (n, 2) of two.
    """

    path: str
    label: str
    group: str
    sample_rate: int
    samples: NDArray[np.float32]


def instrument_clips(seed: int, *, n_players: int = 5, n_recordings: int = 8) -> Iterator[Clip]:
    """Yield clips of ten instruments, each with ``n_players`` players and ``n_recordings`` short phrases per player."""
    for index, label in enumerate(players.INSTRUMENTS):
        recorders = _recorders(np.random.default_rng([seed, 1, index]))
        for number in range(1, n_players + 1):
            rng = np.random.default_rng([seed, 2, index, number])
            player = players.draw_player(label, rng=rng)
            sample_rate, suffix, n_channels = recorders[number % len(recorders)]
            for take in range(1, n_recordings + 1):
                duration_s = rng.uniform(*PHRASE_S)
                samples = player.play(duration_s, sample_rate=sample_rate, n_channels=n_channels, rng=rng)
                path = f"{label}/player-{number:02d}_take-{take}.{suffix}"
                yield Clip(path, label, f"{label}-{number:02d}", sample_rate, _set_level(samples, rng=rng))


def rotor_clips(seed: int, *, n_sessions: int = 20, n_recordings: int = 15) -> Iterator[Clip]:
    """Yield clips of sessions, each with its own place and microphone, with a rotor in about a quarter of the clips."""
    recorders = _recorders(np.random.default_rng([seed, 3]))
    for number in range(1, n_sessions + 1):
        rng = np.random.default_rng([seed, 4, number])
        session = scenes.draw_session(rng=rng)
        sample_rate, suffix, n_channels = recorders[number % len(recorders)]
        with_rotor = rng.permutation(n_recordings) < max(1, round(n_recordings / 4))
        for take, rotor in enumerate(with_rotor, start=1):
            duration_s = rng.uniform(*SCENE_S)
            samples = session.take(
                duration_s, rotor=bool(rotor), sample_rate=sample_rate, n_channels=n_channels, rng=rng
            )
            label = "rotor" if rotor else "background"
            path = f"{label}/session-{number:02d}_take-{take:02d}.{suffix}"
            yield Clip(path, label, f"session-{number:02d}", sample_rate, _set_level(samples, rng=rng))


def write(clips: Iterable[Clip], folder: Path) -> Path:
    """Write the clips below ``folder`` with a ``manifest.csv`` (path, label, group); return its path."""
    recordings = []
    for clip in clips:
        path = folder / clip.path
        path.parent.mkdir(parents=True, exist_ok=True)
        encode.write(path, clip.samples, clip.sample_rate)
        recordings.append(manifest.Recording(clip.path, clip.label, clip.group))
    manifest.write(folder / "manifest.csv", recordings)
    return folder / "manifest.csv"


def _recorders(rng: np.random.Generator) -> list[tuple[int, str, int]]:
    """Return `RECORDERS` in random order, to be used in turn."""
    return [RECORDERS[index] for index in rng.permutation(len(RECORDERS))]


def _set_level(samples: NDArray[np.float64], *, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return ``samples`` (n, channels) of unit RMS at a random level, whatever the label; (n,) if mono."""
    loudness = 10 ** (rng.uniform(*LEVELS_DBFS) / 20)
    levelled = (samples * min(loudness, PEAK / float(np.max(np.abs(samples))))).astype(np.float32)
    return levelled[:, 0] if levelled.shape[1] == 1 else levelled
