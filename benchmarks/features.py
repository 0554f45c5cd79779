"""How fast recordings become features, beside the floor that no program gets under and beside librosa's ways.

``python benchmarks/features.py [FOLDER]`` measures on the WAV files below FOLDER, or on made ones of 5 s each.
One core, warm, in one process for the path itself; the ``featurize`` command is timed as a command. Runs alternate
(A B A B), times are medians.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["NUMBA_NUM_THREADS"] = "1"

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import librosa
import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from audiocnn import config
from audiocnn.audio.decode import Decoder
from audiocnn.features import extract, frontend
from audiocnn.features.analyze import analyze
from audiocnn.specs import FeatureSpec

AUDIOCNN = (sys.executable, "-m", "audiocnn")
RATE = 16_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="recordings to measure on  [default: made ones]")
    parser.add_argument("--repeat", type=int, default=5, help="runs of each  [default: 5]")
    parser.add_argument("--made", type=int, default=100, help="recordings to make, up to 100  [default: 100]")
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # one core for the path itself
    with tempfile.TemporaryDirectory(prefix="audiocnn-bench-") as name:
        sounds = options.folder.resolve() if options.folder else made(Path(name) / "sounds", options.made)
        files = sorted(sounds.rglob("*.wav"))
        seconds = sum(soundfile.info(file).duration for file in files)
        print(f"{len(files)} recordings, {seconds:,.0f} s, one core, median of {options.repeat}, A B A B")
        paths(files, seconds, options.repeat)
        commands(sounds, files, Path(name), options.repeat)


def paths(files: Sequence[Path], seconds: float, repeat: int) -> None:
    """The feature path in process against the floor, the tutorial's loop and librosa on whole files."""
    mfcc, logmel = (config.read_preset(name).features for name in ("instrument", "spectrogram"))
    samples = read_all(files)
    for what, ours, baseline, goal in (
        ("13x9, file to frames / floor (read + resample + rfft)", path(mfcc, files), floor(files), 1 / 1.5),
        ("13x9, file to frames / tutorial (load, MFCC per window)", path(mfcc, files), tutorial(files), 10.0),
        ("50x128x2, file to frames / librosa (load, whole file)", path(logmel, files), whole(Loaded(files)), 2.0),
        ("50x128x2, samples to frames / librosa (whole file)", from_samples(logmel, samples), whole(samples), 2.0),
    ):
        a, b = interleaved(ours, baseline, repeat)
        say(f"{what}, {seconds / a:,.0f} x real time", a, b, goal)


def commands(sounds: Path, files: Sequence[Path], folder: Path, repeat: int) -> None:
    """The command, fsync and hashing included and start-up taken off, against the loop; two workers against one."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, set(range(os.cpu_count() or 1)))
    subprocess.run([*AUDIOCNN, "-q", "init", sounds, "--preset", "instrument", "--out", folder], check=True,
                   stdout=subprocess.DEVNULL)  # fmt: skip

    def featurize(jobs: int) -> Callable[[], None]:
        def run() -> None:
            subprocess.run(["rm", "-rf", folder / "runs"], check=True)
            command = [*AUDIOCNN, "-q", "featurize", "-c", folder / "audiocnn.yaml", "--jobs", str(jobs)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

        return run

    def again() -> None:
        command = [*AUDIOCNN, "-q", "featurize", "-c", folder / "audiocnn.yaml"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    two, one, start, loop = medians([featurize(2), featurize(1), again, tutorial(files)], repeat)
    say("featurize, 1 worker / tutorial loop", one - start, loop, 4)
    say("featurize, 2 workers / 1 worker", two - start, one - start, 1.5)


def path(spec: FeatureSpec, files: Sequence[Path]) -> Callable[[], None]:
    constants = frontend.make(spec)

    def run() -> None:
        for file in files:
            analyze(file, spec=spec, frontend=constants, keep=len)

    return run


def floor(files: Sequence[Path]) -> Callable[[], None]:
    """What any program must do: read 16-bit samples, resample them, transform every frame."""

    def run() -> None:
        for file in files:
            samples, rate = soundfile.read(file, dtype="int16")
            mono = samples if samples.ndim == 1 else samples[:, 0]
            y = soxr.resample(mono.astype(np.float32) / 32768, rate, RATE, quality="HQ")
            if len(y) >= 512:
                np.fft.rfft(np.lib.stride_tricks.sliding_window_view(y, 512)[::200])

    return run


def tutorial(files: Sequence[Path]) -> Callable[[], None]:
    """librosa.load, then librosa.feature.mfcc once per window of 0.1 s."""

    def run() -> None:
        for file in files:
            y, _ = librosa.load(file, sr=RATE)
            for start in range(0, len(y) - 1600 + 1, 1600):
                librosa.feature.mfcc(
                    y=y[start : start + 1600], sr=RATE, n_fft=512, hop_length=200, n_mels=26, n_mfcc=13
                )

    return run


def from_samples(spec: FeatureSpec, recordings: Sequence[NDArray[np.float32]]) -> Callable[[], None]:
    constants = frontend.make(spec)

    def run() -> None:
        for samples in recordings:
            for _ in extract.compute_frames([samples], spec=spec, frontend=constants):
                pass

    return run


class Loaded:
    """Recordings read with librosa.load each time they are gone through."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = files

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        return (librosa.load(file, sr=RATE)[0] for file in self._files)


def whole(recordings: Iterable[NDArray[np.float32]]) -> Callable[[], None]:
    """librosa's log-mel and delta of whole recordings."""

    def run() -> None:
        for y in recordings:
            mel = librosa.feature.melspectrogram(y=y, sr=RATE, n_fft=1024, hop_length=320, n_mels=128)
            decibels = librosa.power_to_db(mel, top_db=None)
            if decibels.shape[1] >= 9:
                librosa.feature.delta(decibels)

    return run


def read_all(files: Sequence[Path]) -> list[NDArray[np.float32]]:
    """Mono samples at `RATE`."""
    recordings = []
    for file in files:
        with Decoder(file) as decoder:
            recordings.append(np.concatenate(list(decoder.blocks(sample_rate=RATE))))
    return recordings


def made(folder: Path, n: int) -> Path:
    """So many recordings of 5 s: tones in noise, in two folders."""
    rng = np.random.default_rng(0)
    t = np.arange(5 * 44_100) / 44_100
    for i in range(n):
        (folder / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        y = 0.3 * np.sin(2 * np.pi * rng.uniform(100, 5_000) * t) + 0.05 * rng.standard_normal(len(t))
        soundfile.write(folder / "ab"[i % 2] / f"{'abcdefghij'[i // 10]}{'abcdefghij'[i % 10]}.wav", y, 44_100)
    return folder


def say(what: str, ours_s: float, baseline_s: float, goal: float) -> None:
    ratio = baseline_s / ours_s
    outcome = "ok" if ratio >= goal else "NOT REACHED"
    figures = f"{ours_s:>8.2f} s{baseline_s:>9.2f} s{ratio:>8.2f} x faster"
    print(f"{what:<78}{figures}   at least {goal:.3g}: {outcome}", flush=True)


def interleaved(a: Callable[[], None], b: Callable[[], None], repeat: int) -> list[float]:
    """Median seconds of two functions that take turns, after one call of each that does not count."""
    a(), b()
    return medians([a, b], repeat)


def medians(functions: Sequence[Callable[[], None]], repeat: int) -> list[float]:
    """Median seconds of functions that take turns."""
    rounds = [[timed(function) for function in functions] for _ in range(repeat)]
    return [statistics.median(times) for times in zip(*rounds, strict=True)]


def timed(function: Callable[[], None]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
