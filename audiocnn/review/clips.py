"""The sounds of drawn units: cut once from the recordings, with some context, and kept beside the answers."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audiocnn.audio import clips, encode
from audiocnn.audio.clips import MonoFile
from audiocnn.draw import spectrogram
from audiocnn.errors import AudioError, OutputError
from audiocnn.files import TEMPORARY, sha256_of
from audiocnn.progress import Progress
from audiocnn.review.draw import Draw, DrawnUnit
from audiocnn.specs import FeatureSpec
from audiocnn.text import decode_path

CONTEXT_S = 2.0  # before and after a unit, as far as the recording goes
_FOLDER = ".clips"  # hidden, so that no command takes the clips for recordings


def clip_file(folder: Path, unit: DrawnUnit) -> Path:
    """Return the file with the sound of a unit, in the ``folder`` of its review."""
    return folder / _FOLDER / f"{unit.clip}.flac"


def context(unit: DrawnUnit) -> tuple[float, float]:
    """Return the start and end of the clip of a unit in its recording, in seconds; the recording may end before."""
    return max(0.0, unit.start_s - CONTEXT_S), unit.end_s + CONTEXT_S


def cut(folder: Path, draw: Draw, spec: FeatureSpec, *, jobs: int, progress: Progress) -> list[str]:
    """Cut the clips that are not in ``folder`` yet; return a line for each recording that cannot be used any more.

    ``spec`` has the features of the model: the clips have the channel and at least the bandwidth that it uses.
    """
    missing = [unit for unit in draw.units if not clip_file(folder, unit).is_file()]
    if not missing:
        return []
    (folder / _FOLDER).mkdir(parents=True, exist_ok=True)
    problems = _changed(missing)
    usable = [unit for unit in missing if unit.recording not in problems]
    rate = spectrogram.drawing_spec(spec).sample_rate
    requests = [(MonoFile(Path(decode_path(unit.file)), rate, spec.first_track), context(unit)) for unit in usable]
    with (
        tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=folder, ignore_cleanup_errors=True) as scratch,
        progress.task("review: cut clips", total=len(usable), unit="clips") as advance,
    ):
        for number, clip in clips.save(requests, folder=Path(scratch), jobs=jobs):
            unit = usable[number]
            if isinstance(clip, AudioError) or not len(clip):
                problems.setdefault(unit.recording, getattr(clip, "detail", "ends before the clip"))
            else:
                _write(clip_file(folder, unit), clip.read(), rate)
            advance()
    return [f"{recording}: {what}; its clips are left out" for recording, what in sorted(problems.items())]


def read(folder: Path, unit: DrawnUnit, rate: int) -> NDArray[np.float32]:
    """Return the samples (n,) of a clip; ``rate`` is that of its file, in hertz."""
    return clips.read(MonoFile(clip_file(folder, unit), rate), [(0.0, context(unit)[1])])[0]


def export(folder: Path, draw: Draw, out: Path, spec: FeatureSpec) -> int:
    """Write a WAV of each unit, without context, into ``out``; return the number of files."""
    n, rate = 0, spectrogram.drawing_spec(spec).sample_rate
    out.mkdir(parents=True, exist_ok=True)
    for unit in draw.units:
        if clip_file(folder, unit).is_file():
            first, last = (round((time_s - context(unit)[0]) * rate) for time_s in (unit.start_s, unit.end_s))
            _write(out / f"{unit.clip}.wav", read(folder, unit, rate)[first:last], rate)
            n += 1
    return n


def _changed(units: Sequence[DrawnUnit]) -> dict[str, str]:
    """Return what is wrong with the recordings of ``units`` that are not as they were when they were drawn."""
    found = {}
    for unit in {unit.file: unit for unit in units}.values():
        try:
            if sha256_of(Path(decode_path(unit.file))) != unit.sha256:
                found[unit.recording] = "has changed since the draw"
        except OSError as error:
            found[unit.recording] = f"cannot be read any more ({error.strerror or error})"
    return found


def _write(path: Path, samples: NDArray[np.float32], rate: int) -> None:
    """Write a clip under its name only when it is complete."""
    temporary = path.with_name(f"{TEMPORARY}{path.name}")
    try:
        encode.write(temporary, np.clip(samples, -1, 1), rate)
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:  # soundfile raises RuntimeError when the disk is full
        temporary.unlink(missing_ok=True)
        raise OutputError(f"{path}: cannot be written ({error}); make room and run again") from error
