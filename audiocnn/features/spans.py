"""Parts of recordings kept as plain samples at the rate of a model: read front to back once, in worker processes.

Files and what is wanted of each go in; `Span`s come out, of which any part can be read at any time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from audiocnn.audio import isolate
from audiocnn.audio.decode import Decoder
from audiocnn.errors import AudioError, OutputError
from audiocnn.features.extract import Array
from audiocnn.specs import FeatureSpec

_BYTES = 4  # of a float32


@dataclass(frozen=True)
class Span:
    """``n`` samples from sample ``first`` on of a ``file`` of raw float32; ``source`` is the recording's number."""

    file: Path
    first: int
    n: int
    source: int

    def read(self, start: int = 0, n: int | None = None) -> Array:
        """Return up to ``n`` samples (n,) from ``start`` on, all that are left for None."""
        wanted = self.n - start if n is None else min(n, self.n - start)
        samples = np.fromfile(self.file, "<f4", max(0, wanted), offset=(self.first + start) * _BYTES)
        return samples.astype(np.float32, copy=False)


Wanted = Sequence[tuple[float, float]]  # starts and ends in seconds, sorted by the start


def durations(files: Sequence[Path], *, jobs: int) -> Iterator[tuple[int, float | AudioError]]:
    """Yield (index, seconds) of every file by what its header declares, or why it cannot be opened."""
    for done in isolate.map_files(_declared_s, [(file, ()) for file in files], jobs=jobs):
        yield done.index, done.result


def keep(
    files: Sequence[tuple[Path, Wanted]], *, folder: Path, spec: FeatureSpec, jobs: int
) -> Iterator[tuple[int, list[Span] | AudioError]]:
    """Yield (index, spans) of every file as it is ready, those of the stretches wanted of it, or why there are none.

    What is heard is what a model of ``spec`` hears: its sample rate, its channel or the mean of all. A stretch that
    reaches beyond the end of its file is shorter, one that lies there is empty. Raises `OutputError` if ``folder`` is
    full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    outs = [folder / f"{index}.f32" for index in range(len(files))]
    tasks = [(file, (wanted, out, spec)) for (file, wanted), out in zip(files, outs, strict=True)]
    for done in isolate.map_files(_keep, tasks, jobs=jobs):
        if isinstance(done.result, AudioError):
            yield done.index, done.result
            continue
        places = _places(_bounds(files[done.index][1], spec))
        kept = zip(places, done.result, strict=True)
        yield done.index, [Span(outs[done.index], place, n, done.index) for place, n in kept]


def _declared_s(file: Path) -> float:
    """Runs in a worker."""
    with Decoder(file) as decoder:
        return decoder.facts.n_declared / decoder.facts.sample_rate


def _keep(file: Path, wanted: Wanted, out: Path, spec: FeatureSpec) -> list[int]:
    """Runs in a worker: write the stretches, each at its place, and return how many samples each has."""
    bounds = _bounds(wanted, spec)
    places = _places(bounds)
    found = [0] * len(bounds)
    n_heard = n_over = 0
    loudest = 0.0
    channel = "mix" if spec.channel == "each" else spec.channel
    with _opened(out) as kept, Decoder(file) as decoder:
        for block in decoder.blocks(sample_rate=spec.sample_rate, channel=channel):
            while n_over < len(bounds) and bounds[n_over][1] <= n_heard:
                n_over += 1
            for number in range(n_over, len(bounds)):
                start, end = bounds[number]
                if start >= n_heard + len(block):
                    break
                part = block[max(0, start - n_heard) : max(0, end - n_heard)]
                _write(kept, part, places[number] + found[number])
                found[number] += len(part)
                loudest = max(loudest, float(np.abs(part).max(initial=0.0)))
            n_heard += len(block)
            if n_over == len(bounds):
                break
    if not loudest:
        raise AudioError("silent", "holds nothing but zeros" if any(found) else "ends before what is wanted of it")
    return found


def _bounds(wanted: Wanted, spec: FeatureSpec) -> list[tuple[int, int]]:
    """First sample of each stretch and the one after its last."""
    return [(round(start_s * spec.sample_rate), round(end_s * spec.sample_rate)) for start_s, end_s in wanted]


def _places(bounds: Sequence[tuple[int, int]]) -> list[int]:
    """Where in the file of samples each stretch has room."""
    return [0, *accumulate(end - start for start, end in bounds)][:-1]


def _opened(out: Path) -> BinaryIO:
    try:
        return open(out, "wb")
    except OSError as error:
        raise OutputError(f"{out}: cannot be written ({error.strerror or error})") from error


def _write(kept: BinaryIO, samples: Array, place: int) -> None:
    try:
        kept.seek(place * _BYTES)
        kept.write(samples.astype("<f4").tobytes())
        kept.flush()
    except OSError as error:
        raise OutputError(f"{kept.name}: cannot be written ({error.strerror or error})") from error


def power(samples: NDArray[np.float32]) -> float:
    """Return the mean square of samples (n,), 0 of none."""
    return float(np.mean(np.square(samples, dtype=np.float64))) if len(samples) else 0.0
