"""Clips of background recordings of a place, and their division into two halves."""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from audiocnn.audio import clips, workers
from audiocnn.audio.clips import MonoFile, SavedClip
from audiocnn.audio.decode import Decoder
from audiocnn.errors import AudioError
from audiocnn.specs import FeatureSpec

PIECE_S = 60.0  # length of a clip
_UNKNOWN_LENGTH_S = 366 * 86_400.0  # a header that declares more does not know the length
_MIN_SHARE = 0.25  # of all background in the smaller half, if whole recordings are assigned


@dataclass(frozen=True)
class Background:
    """Clips of usable recordings; ``unusable`` are the indices of the others, with the reasons."""

    clips: Sequence[SavedClip]
    unusable: Sequence[tuple[int, AudioError]]


def collect_background(
    files: Sequence[Path], *, total_s: float, folder: Path, spec: FeatureSpec, jobs: int, seed: tuple[int, ...]
) -> Background:
    """Save ``total_s`` seconds of recordings in ``folder``: clips of a minute chosen at random, or all there is.

    Recordings that cannot be used are skipped.
    """
    unusable: list[tuple[int, AudioError]] = []
    lengths: dict[int, float] = {}
    for done in workers.map_files(_declared_s, [(file, ()) for file in files], jobs=jobs):
        if isinstance(done.result, AudioError):
            unusable.append((done.index, done.result))
        else:
            lengths[done.index] = total_s if done.result > _UNKNOWN_LENGTH_S else done.result
    chosen = _choose_pieces({index: lengths[index] for index in sorted(lengths)}, total_s, np.random.default_rng(seed))
    channel = "mix" if spec.channel == "each" else spec.channel
    requested = [(index, stretch) for index in sorted(chosen) for stretch in chosen[index]]
    stretches = [(MonoFile(files[index], spec.sample_rate, channel), stretch) for index, stretch in requested]
    by_recording: dict[int, list[SavedClip | AudioError]] = defaultdict(list)
    for number, clip in sorted(clips.save(stretches, folder=folder, jobs=jobs), key=lambda saved: saved[0]):
        by_recording[requested[number][0]].append(clip)
    usable: list[SavedClip] = []
    for index, saved in by_recording.items():
        if (error := clips.find_error(saved)) is not None:
            unusable.append((index, error))
        else:
            usable += [clip for clip in saved if isinstance(clip, SavedClip) and clip.n]
    return Background(usable, sorted(unusable, key=lambda pair: pair[0]))


def _declared_s(file: Path) -> float:
    """Runs in a worker: return the length of a recording in seconds, as declared in its header."""
    with Decoder(file) as decoder:
        return decoder.facts.n_declared / decoder.facts.sample_rate


def split_halves(saved: Sequence[SavedClip]) -> tuple[list[SavedClip], list[SavedClip]]:
    """Assign clips to two halves: whole recordings if the halves are similar, else each recording cut in the middle.

    >>> def clip(n, file):
    ...     return SavedClip(Path(file), 0, n)
    >>> [[c.file.name for c in half] for half in split_halves([clip(50, "a"), clip(30, "b"), clip(30, "c")])]
    [['a'], ['b', 'c']]
    >>> [[c.n for c in half] for half in split_halves([clip(51, "a")])]
    [[25], [26]]
    """
    by_recording: dict[Path, list[SavedClip]] = defaultdict(list)
    for clip in saved:
        by_recording[clip.file].append(clip)
    halves: tuple[list[SavedClip], list[SavedClip]] = ([], [])
    for members in sorted(by_recording.values(), key=lambda members: -_n_samples(members)):
        min(halves, key=_n_samples).extend(members)
    if min(map(_n_samples, halves)) >= _MIN_SHARE * _n_samples(saved):
        return halves
    cut = [_cut(members, _n_samples(members) // 2) for members in by_recording.values()]
    return [clip for first, _ in cut for clip in first], [clip for _, second in cut for clip in second]


def _cut(members: Sequence[SavedClip], n: int) -> tuple[list[SavedClip], list[SavedClip]]:
    """Return the first ``n`` samples of clips, and the others."""
    first, second = [], []
    for clip in members:
        n_first = min(clip.n, max(0, n))
        n -= n_first
        first.append(replace(clip, n=n_first))
        second.append(replace(clip, first=clip.first + n_first, n=clip.n - n_first))
    return [clip for clip in first if clip.n], [clip for clip in second if clip.n]


def _n_samples(members: Sequence[SavedClip]) -> int:
    return sum(clip.n for clip in members)


def _choose_pieces(
    lengths_s: dict[int, float], total_s: float, rng: np.random.Generator
) -> dict[int, list[tuple[float, float]]]:
    """Return pieces of each recording in order of time: enough of them chosen at random, or all."""
    pieces = [(index, *piece) for index, length_s in lengths_s.items() for piece in _pieces(length_s)]
    chosen: dict[int, list[tuple[float, float]]] = defaultdict(list)
    left_s = total_s
    for number in rng.permutation(len(pieces)):
        if left_s <= 0:
            break
        index, start_s, end_s = pieces[number]
        chosen[index].append((start_s, end_s))
        left_s -= end_s - start_s
    return {index: sorted(stretches) for index, stretches in chosen.items()}


def _pieces(length_s: float) -> Iterator[tuple[float, float]]:
    n = max(1, math.ceil(length_s / PIECE_S))
    edges = np.linspace(0, length_s, n + 1).tolist()
    yield from pairwise(edges)
