"""Stretches of recordings as samples: any number of them in one pass, in memory that does not grow with the recording.

A stretch is its start and end in seconds. Stretches may overlap and come in any order; one that reaches beyond the end
of its recording is shorter, one that lies there is empty.
"""

import tempfile
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from audiocnn.audio import workers
from audiocnn.audio.decode import Decoder
from audiocnn.errors import AudioError, OutputError

_BYTES = 4  # of a float32

Array = NDArray[np.float32]
Stretch = tuple[float, float]


@dataclass(frozen=True)
class MonoFile:
    """A recording as one track of samples: a ``channel`` of it, or the mean of all (``mix``)."""

    path: Path
    sample_rate: int
    channel: Literal["mix"] | int = "mix"

    def blocks(self) -> Generator[Array, None, None]:
        """Yield the samples (n,) front to back; raise `AudioError` if they cannot be decoded."""
        with Decoder(self.path) as decoder:
            yield from decoder.blocks(sample_rate=self.sample_rate, channel=self.channel)


@dataclass(frozen=True)
class SavedClip:
    """A stretch as ``n`` samples from sample ``first`` on of a ``file`` of raw float32, which is of one recording.

    It is ``silent`` if all samples are zeros.
    """

    file: Path
    first: int
    n: int
    silent: bool = False

    def read(self, start: int = 0, n: int | None = None) -> Array:
        """Return up to ``n`` samples (n,) from ``start`` on, all that are left for None."""
        wanted = self.n - start if n is None else min(n, self.n - start)
        samples = np.fromfile(self.file, "<f4", max(0, wanted), offset=(self.first + start) * _BYTES)
        return samples.astype(np.float32, copy=False)


def read(recording: MonoFile, stretches: Sequence[Stretch]) -> list[Array]:
    """Return the samples (n,) of each stretch. This process decodes them; `load` has worker processes do it."""
    found: list[list[Array]] = [[] for _ in stretches]
    for number, samples in _parts(recording, _bounds(stretches, recording.sample_rate)):
        found[number].append(samples.copy())  # a view would keep its whole block in memory
    return [np.concatenate([np.zeros(0, np.float32), *parts]) for parts in found]


def load(wanted: Sequence[tuple[MonoFile, Stretch]], *, jobs: int) -> list[Array | AudioError]:
    """Return the samples (n,) of every stretch, or why they cannot be decoded."""
    with tempfile.TemporaryDirectory(prefix="audiocnn-", ignore_cleanup_errors=True) as folder:
        saved = dict(save(wanted, folder=Path(folder), jobs=jobs))
        clips = [saved[number] for number in range(len(wanted))]
        return [clip if isinstance(clip, AudioError) else clip.read() for clip in clips]


def save(
    wanted: Sequence[tuple[MonoFile, Stretch]], *, folder: Path, jobs: int
) -> Iterator[tuple[int, SavedClip | AudioError]]:
    """Yield (number, clip) of every stretch as it is ready, or why it cannot be decoded.

    Worker processes read each recording once, as far as its last stretch, and write to files in ``folder``, so that
    memory does not grow with the number of stretches either. Raises `OutputError` if they cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    numbers_of: dict[MonoFile, list[int]] = {}
    for number, (recording, _) in enumerate(wanted):
        numbers_of.setdefault(recording, []).append(number)
    tasks = [
        (recording.path, (recording, [wanted[number][1] for number in numbers], folder / f"{index}.f32"))
        for index, (recording, numbers) in enumerate(numbers_of.items())
    ]
    numbers = list(numbers_of.values())
    for done in workers.map_files(_save, tasks, jobs=jobs):
        those = numbers[done.index]
        clips = [done.result] * len(those) if isinstance(done.result, AudioError) else done.result
        yield from zip(those, clips, strict=True)


def find_error(clips: Sequence[SavedClip | AudioError]) -> AudioError | None:
    """Return why a recording with these clips cannot be used: one cannot be decoded, or all are ``silent``."""
    for clip in clips:
        if isinstance(clip, AudioError):
            return clip
    saved = [clip for clip in clips if isinstance(clip, SavedClip)]
    if not all(clip.silent for clip in saved):
        return None
    beyond = not any(clip.n for clip in saved)
    return AudioError("silent", "ends before what is wanted of it" if beyond else "holds nothing but zeros")


def _save(_: Path, recording: MonoFile, stretches: Sequence[Stretch], out: Path) -> list[SavedClip | AudioError]:
    """Runs in a worker: write the stretches of a recording, each at its place.

    If it cannot be decoded to its end, the stretches before are as they would be otherwise.
    """
    bounds = _bounds(stretches, recording.sample_rate)
    places = [0, *accumulate(end - start for start, end in bounds)][:-1]
    found = [SavedClip(out, place, 0, silent=True) for place in places]
    try:
        with _opened(out) as file:
            for number, samples in _parts(recording, bounds):
                clip = found[number]
                _write(file, samples, clip.first + clip.n)
                silent = clip.silent and not samples.any()
                found[number] = replace(clip, n=clip.n + len(samples), silent=silent)
    except AudioError as error:
        return [clip if clip.n == stop - start else error for clip, (start, stop) in zip(found, bounds, strict=True)]
    return [*found]


def _parts(recording: MonoFile, bounds: Sequence[tuple[int, int]]) -> Iterator[tuple[int, Array]]:
    """Yield (number of a stretch, next samples of it), views of the decoder's blocks, until all have ended."""
    waiting = deque(sorted(range(len(bounds)), key=lambda number: bounds[number]))  # by their start
    begun: list[int] = []
    first = 0  # sample of the block
    with closing(recording.blocks()) as blocks:
        for block in blocks:
            end = first + len(block)
            while waiting and bounds[waiting[0]][0] < end:
                begun.append(waiting.popleft())
            for number in begun:
                start, stop = bounds[number]
                yield number, block[max(0, start - first) : max(0, stop - first)]
            begun = [number for number in begun if bounds[number][1] > end]
            first = end
            if not begun and not waiting:
                return


def _bounds(stretches: Sequence[Stretch], sample_rate: int) -> list[tuple[int, int]]:
    """First sample of each stretch and the one after its last."""
    return [(round(start_s * sample_rate), round(end_s * sample_rate)) for start_s, end_s in stretches]


def _opened(out: Path) -> BinaryIO:
    try:
        return open(out, "wb")
    except OSError as error:
        raise OutputError(f"{out}: cannot be written ({error.strerror or error})") from error


def _write(file: BinaryIO, samples: Array, place: int) -> None:
    try:
        file.seek(place * _BYTES)
        file.write(samples.astype("<f4").tobytes())
        file.flush()
    except OSError as error:
        raise OutputError(f"{file.name}: cannot be written ({error.strerror or error})") from error
