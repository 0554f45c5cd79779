"""The two synthetic corpora, clip by clip, and the folder of sound files with a manifest that they are written to."""

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audiocnn import files
from audiocnn.audio import encode
from audiocnn.dataset.synthesis import players, scenes

# Sample rate in hertz, format, channels. Every class is recorded on all of them in turn, so that none tells the label.
RECORDERS = (
    (44100, "wav", 1),
    (48000, "flac", 1),
    (22050, "wav", 1),
    (44100, "flac", 2),
    (32000, "wav", 2),
)
LEVELS_DBFS = (-34.0, -24.0)  # RMS of a clip; low enough that no stroke of a drum clips
PEAK = 0.98  # of full scale, never exceeded


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


def instruments(seed: int, *, n_players: int = 12, n_recordings: int = 4) -> Iterator[Clip]:
    """Ten instruments, each by ``n_players`` players of its own, with ``n_recordings`` short phrases a player."""
    for class_index, label in enumerate(players.INSTRUMENTS):
        order = np.random.default_rng([seed, 1, class_index]).permutation(len(RECORDERS))
        for number in range(n_players):
            rng = np.random.default_rng([seed, 2, class_index, number])
            player = players.draw(label, rng=rng)
            sample_rate, suffix, n_channels = RECORDERS[order[number % len(RECORDERS)]]
            for take in range(n_recordings):
                samples = player.play(rng.uniform(1.0, 1.6), sample_rate=sample_rate, n_channels=n_channels, rng=rng)
                group = f"{label}-{number + 1}"
                yield Clip(
                    path=f"{label}/player-{number + 1}_take-{take + 1}.{suffix}",
                    label=label,
                    group=group,
                    sample_rate=sample_rate,
                    samples=_levelled(samples, rng=rng),
                )


def rotors(seed: int, *, n_sessions: int = 20, n_recordings: int = 15) -> Iterator[Clip]:
    """Rotors and background, one to three or so, in sessions of their own place and microphone with clips of both."""
    order = np.random.default_rng([seed, 3]).permutation(len(RECORDERS))
    for number in range(n_sessions):
        rng = np.random.default_rng([seed, 4, number])
        session = scenes.draw(rng=rng)
        sample_rate, suffix, n_channels = RECORDERS[order[number % len(RECORDERS)]]
        labels = np.array(["background"] * n_recordings, dtype=object)
        labels[: max(1, round(n_recordings / 4))] = "rotor"
        for take, label in enumerate(rng.permutation(labels)):
            samples = session.take(
                rng.uniform(1.0, 2.2), rotor=label == "rotor", sample_rate=sample_rate, n_channels=n_channels, rng=rng
            )
            yield Clip(
                path=f"{label}/session-{number + 1:02d}_take-{take + 1:02d}.{suffix}",
                label=str(label),
                group=f"session-{number + 1:02d}",
                sample_rate=sample_rate,
                samples=_levelled(samples, rng=rng),
            )


def write(clips: Iterable[Clip], folder: Path) -> Path:
    """Write every clip below ``folder`` and return the path of its ``manifest.csv`` (path, label, group)."""
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(["path", "label", "group"])
    for clip in clips:
        path = folder / clip.path
        path.parent.mkdir(parents=True, exist_ok=True)
        encode.write(path, clip.samples, clip.sample_rate)
        rows.writerow([clip.path, clip.label, clip.group])
    files.write_atomic(folder / "manifest.csv", table.getvalue())
    return folder / "manifest.csv"


def _levelled(samples: NDArray[np.float64], *, rng: np.random.Generator) -> NDArray[np.float32]:
    """``samples`` (n, channels) of unit RMS at a level drawn from the same range for every label; (n,) if mono."""
    gain = min(10 ** (rng.uniform(*LEVELS_DBFS) / 20), PEAK / float(np.max(np.abs(samples))))
    levelled = (samples * gain).astype(np.float32)
    return levelled[:, 0] if levelled.shape[1] == 1 else levelled
