"""Clips: the samples of any number of stretches of a recording, read in one pass and in constant memory.

A stretch is its start and end in seconds. Stretches may overlap and have any order. One that extends past the end of
its recording gives a shorter clip, one after the end an empty clip.
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

_BYTES = 4  # per float32 sample

Array = NDArray[np.float32]
Stretch = tuple[float, float]


@dataclass(frozen=True)
class MonoFile:
    """A recording as one track of samples: one ``channel``, or the mean of all (``mix``)."""

    path: Path
    sample_rate: int
    channel: Literal["mix"] | int = "mix"

    def blocks(self) -> Generator[Array, None, None]:
        """Yield the samples (n,) front to back; raise `AudioError` if they cannot be decoded."""
        with Decoder(self.path) as decoder:
            yield from self.decode(decoder)

    def decode(self, decoder: Decoder) -> Iterator[Array]:
        """Yield what `blocks` does, by a ``decoder`` of the file."""
        return decoder.blocks(sample_rate=self.sample_rate, channel=self.channel)


@dataclass(frozen=True)
class SavedClip:
    """The samples of a stretch: ``n`` samples from number ``first`` of a ``file`` of raw float32 for one recording.

    It is ``silent`` if all samples are 0. ``own_rate`` is the sample rate of the recording, in hertz.
    """

    file: Path
    first: int
    n: int
    silent: bool = False
    own_rate: int = 0

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, samples: slice) -> Array:
        """Read samples (n,): a slice without a step."""
        start, stop, _ = samples.indices(self.n)
        return self.read(start, stop - start)

    def read(self, start: int = 0, n: int | None = None) -> Array:
        """Return up to ``n`` samples (n,) from sample ``start`` of the clip; None: all from there."""
        n_left = self.n - start
        n_read = n_left if n is None else min(n, n_left)
        samples = np.fromfile(self.file, "<f4", max(0, n_read), offset=(self.first + start) * _BYTES)
        return samples.astype(np.float32, copy=False)


def read(recording: MonoFile, stretches: Sequence[Stretch]) -> list[Array]:
    """Return the samples (n,) of each stretch, decoded in this process; `load` uses worker processes."""
    parts_of: list[list[Array]] = [[] for _ in stretches]
    with closing(recording.blocks()) as blocks:
        for number, samples in _parts(blocks, _bounds(stretches, recording.sample_rate)):
            parts_of[number].append(samples.copy())  # a view would keep its whole block in memory
    return [np.concatenate([np.zeros(0, np.float32), *parts]) for parts in parts_of]


def load(requests: Sequence[tuple[MonoFile, Stretch]], *, jobs: int) -> list[Array | AudioError]:
    """Return for each request the samples (n,) of the stretch, or the error that prevents decoding."""
    with tempfile.TemporaryDirectory(prefix="audiocnn-", ignore_cleanup_errors=True) as folder:
        saved = dict(save(requests, folder=Path(folder), jobs=jobs))
        clips = [saved[number] for number in range(len(requests))]
        return [clip if isinstance(clip, AudioError) else clip.read() for clip in clips]


def save(
    requests: Sequence[tuple[MonoFile, Stretch]], *, folder: Path, jobs: int
) -> Iterator[tuple[int, SavedClip | AudioError]]:
    """Yield for each request, as it is ready, its number and the saved clip, or the error that prevents decoding.

    Worker processes read each recording once, up to the end of its last stretch, and write files in ``folder``, so
    memory does not grow with the number of stretches. Raises `OutputError` if a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    numbers_of: dict[MonoFile, list[int]] = {}
    for number, (recording, _) in enumerate(requests):
        numbers_of.setdefault(recording, []).append(number)
    tasks = [
        (recording.path, (recording, [requests[number][1] for number in numbers], folder / f"{index}.f32"))
        for index, (recording, numbers) in enumerate(numbers_of.items())
    ]
    numbers_of_task = list(numbers_of.values())
    for done in workers.map_files(_save, tasks, jobs=jobs):
        numbers = numbers_of_task[done.index]
        clips = [done.result] * len(numbers) if isinstance(done.result, AudioError) else done.result
        yield from zip(numbers, clips, strict=True)


def find_error(clips: Sequence[SavedClip | AudioError]) -> AudioError | None:
    """Return why a recording with these clips is unusable: a decoding error, or all are ``silent``; else None."""
    for clip in clips:
        if isinstance(clip, AudioError):
            return clip
    saved = [clip for clip in clips if isinstance(clip, SavedClip)]
    if not all(clip.silent for clip in saved):
        return None
    empty = not any(clip.n for clip in saved)
    return AudioError("silent", "ends before the requested stretch" if empty else "holds nothing but zeros")


def _save(_: Path, recording: MonoFile, stretches: Sequence[Stretch], out: Path) -> list[SavedClip | AudioError]:
    """Runs in a worker: write the stretches of a recording to ``out``, one after another.

    If decoding fails, the stretches before that point are still returned as clips.
    """
    bounds = _bounds(stretches, recording.sample_rate)
    offsets = [0, *accumulate(stop - start for start, stop in bounds)][:-1]
    clips = [SavedClip(out, offset, 0, silent=True) for offset in offsets]
    try:
        with _open_output(out) as file, Decoder(recording.path) as decoder:
            clips = [replace(clip, own_rate=decoder.facts.sample_rate) for clip in clips]
            for number, samples in _parts(recording.decode(decoder), bounds):
                clip = clips[number]
                _write(file, samples, clip.first + clip.n)
                silent = clip.silent and not samples.any()
                clips[number] = replace(clip, n=clip.n + len(samples), silent=silent)
    except AudioError as error:
        return [clip if clip.n == stop - start else error for clip, (start, stop) in zip(clips, bounds, strict=True)]
    return [*clips]


def _parts(blocks: Iterator[Array], bounds: Sequence[tuple[int, int]]) -> Iterator[tuple[int, Array]]:
    """Yield (number of a stretch, its next samples), views of the ``blocks``, until all stretches have ended."""
    waiting = deque(sorted(range(len(bounds)), key=lambda number: bounds[number]))  # by start
    active: list[int] = []
    first = 0  # index of the block's first sample
    for block in blocks:
        end = first + len(block)
        while waiting and bounds[waiting[0]][0] < end:
            active.append(waiting.popleft())
        for number in active:
            start, stop = bounds[number]
            yield number, block[max(0, start - first) : max(0, stop - first)]
        active = [number for number in active if bounds[number][1] > end]
        first = end
        if not active and not waiting:
            return


def _bounds(stretches: Sequence[Stretch], sample_rate: int) -> list[tuple[int, int]]:
    """Return for each stretch its first sample and the one after its last."""
    return [(round(start_s * sample_rate), round(end_s * sample_rate)) for start_s, end_s in stretches]


def _open_output(out: Path) -> BinaryIO:
    try:
        return open(out, "wb")
    except OSError as error:
        raise OutputError(f"{out}: cannot be written ({error.strerror or error})") from error


def _write(file: BinaryIO, samples: Array, offset: int) -> None:
    try:
        file.seek(offset * _BYTES)
        file.write(samples.astype("<f4").tobytes())
        file.flush()
    except OSError as error:
        raise OutputError(f"{file.name}: cannot be written ({error.strerror or error})") from error
