"""Background recordings of a place to clips of samples, as much as is wanted, and those dealt to two halves."""

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

PIECE_S = 60.0  # what is taken of a recording at a time
_ENDLESS_S = 366 * 86_400.0  # beyond it, a header does not know how long the recording is
_EVEN = 0.25  # of all background, what the lesser half has at least if whole recordings are dealt


@dataclass(frozen=True)
class Background:
    """``kept`` are clips of recordings that can be used, ``unusable`` the numbers of the others, with the reason."""

    clips: Sequence[SavedClip]
    unusable: Sequence[tuple[int, AudioError]]


def collect_background(
    files: Sequence[Path], *, wanted_s: float, folder: Path, spec: FeatureSpec, jobs: int, seed: tuple[int, ...]
) -> Background:
    """Keep in ``folder`` ``wanted_s`` seconds of recordings, minutes from anywhere, or all if there is no more.

    A recording that cannot be used costs itself only.
    """
    unusable: list[tuple[int, AudioError]] = []
    lengths: dict[int, float] = {}
    for done in workers.map_files(_declared_s, [(file, ()) for file in files], jobs=jobs):
        if isinstance(done.result, AudioError):
            unusable.append((done.index, done.result))
        else:
            lengths[done.index] = wanted_s if done.result > _ENDLESS_S else done.result
    chosen = _chosen({index: lengths[index] for index in sorted(lengths)}, wanted_s, np.random.default_rng(seed))
    channel = "mix" if spec.channel == "each" else spec.channel
    wanted = [(index, stretch) for index in sorted(chosen) for stretch in chosen[index]]
    stretches = [(MonoFile(files[index], spec.sample_rate, channel), stretch) for index, stretch in wanted]
    found: dict[int, list[SavedClip | AudioError]] = defaultdict(list)
    for number, clip in sorted(clips.save(stretches, folder=folder, jobs=jobs), key=lambda saved: saved[0]):
        found[wanted[number][0]].append(clip)
    kept: list[SavedClip] = []
    for index, of_recording in found.items():
        if (error := clips.find_error(of_recording)) is not None:
            unusable.append((index, error))
        else:
            kept += [clip for clip in of_recording if isinstance(clip, SavedClip) and clip.n]
    return Background(kept, sorted(unusable, key=lambda u: u[0]))


def _declared_s(file: Path) -> float:
    """Runs in a worker: the length of a recording in seconds, by its header."""
    with Decoder(file) as decoder:
        return decoder.facts.n_declared / decoder.facts.sample_rate


def split_halves(kept: Sequence[SavedClip]) -> tuple[list[SavedClip], list[SavedClip]]:
    """Deal clips to two halves: whole recordings if they are even enough, else each recording cut in its middle.

    >>> def clip(n, file):
    ...     return SavedClip(Path(file), 0, n)
    >>> [[c.file.name for c in half] for half in split_halves([clip(50, "a"), clip(30, "b"), clip(30, "c")])]
    [['a'], ['b', 'c']]
    >>> [[c.n for c in half] for half in split_halves([clip(51, "a")])]
    [[25], [26]]
    """
    by_recording: dict[Path, list[SavedClip]] = defaultdict(list)
    for clip in kept:
        by_recording[clip.file].append(clip)
    dealt: tuple[list[SavedClip], list[SavedClip]] = ([], [])
    for members in sorted(by_recording.values(), key=lambda members: -_total(members)):
        min(dealt, key=_total).extend(members)
    if min(map(_total, dealt)) >= _EVEN * _total(kept):
        return dealt
    cut = [_cut(members, _total(members) // 2) for members in by_recording.values()]
    return [clip for first, _ in cut for clip in first], [clip for _, second in cut for clip in second]


def _cut(members: Sequence[SavedClip], n: int) -> tuple[list[SavedClip], list[SavedClip]]:
    """The first ``n`` samples of clips, and the rest."""
    first, second = [], []
    for clip in members:
        n_first = min(clip.n, max(0, n))
        n -= n_first
        first.append(replace(clip, n=n_first))
        second.append(replace(clip, first=clip.first + n_first, n=clip.n - n_first))
    return [clip for clip in first if clip.n], [clip for clip in second if clip.n]


def _total(members: Sequence[SavedClip]) -> int:
    return sum(clip.n for clip in members)


def _chosen(
    lengths_s: dict[int, float], wanted_s: float, rng: np.random.Generator
) -> dict[int, list[tuple[float, float]]]:
    """Which pieces of which recording are wanted, in the order of time: enough of them drawn at random, or all."""
    pieces = [(index, *piece) for index, length_s in lengths_s.items() for piece in _pieces(length_s)]
    wanted: dict[int, list[tuple[float, float]]] = defaultdict(list)
    left_s = wanted_s
    for number in rng.permutation(len(pieces)):
        if left_s <= 0:
            break
        index, start_s, end_s = pieces[number]
        wanted[index].append((start_s, end_s))
        left_s -= end_s - start_s
    return {index: sorted(stretches) for index, stretches in wanted.items()}


def _pieces(length_s: float) -> Iterator[tuple[float, float]]:
    n = max(1, math.ceil(length_s / PIECE_S))
    edges = np.linspace(0, length_s, n + 1).tolist()
    yield from pairwise(edges)
