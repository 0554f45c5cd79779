"""``predict`` on long and on many recordings: how many times real time, in what memory, and where the time goes.

``python benchmarks/predict.py --model DIR`` times the steps from an hour of sound to scores one by one, in one process
and one thread, then the whole command on an hour and on a folder of three-second clips, on all cores. ``--hours 10``
takes a longer recording. Times are medians of ``--repeat`` runs that take turns; memory is that of all processes.

``--lengths`` instead compares the memory of the command on ten minutes with that on so many hours and on an RF64 file
of more than 4 GB, each heard once; it needs 5 GB of disk and some minutes.
"""

import argparse
import dataclasses
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the command line has it

sys.path.insert(0, str(Path(__file__).resolve().parent))  # PYTHONSAFEPATH leaves it out

import cold_start

# All else is imported where it is used, in processes of its own: a child's peak memory is never less than that of the
# process which starts it, so this one stays small.
if TYPE_CHECKING:
    from audiocnn.inference.prediction import RecordingPrediction

SHIPPED = Path(__file__).resolve().parent.parent / "audiocnn" / "models" / "instrument"
RATE = 44_100
CLIP_S = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=SHIPPED, help="a model  [default: the one that ships]")
    parser.add_argument("--hours", type=float, default=1.0, help="length of the long recording  [default: 1]")
    parser.add_argument("--clips", type=int, default=500, help="number of short ones  [default: 500]")
    parser.add_argument("--repeat", type=int, default=5, help="runs of each step  [default: 5]")
    parser.add_argument("--lengths", action="store_true", help="memory on ten minutes, --hours and more than 4 GB")
    parser.add_argument("--steps-in", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    model, long_s = options.model.absolute(), 3600 * options.hours
    if options.steps_in:
        make(options.steps_in, long_s, options.clips)
        steps(model, options.steps_in / "long.wav", long_s, options.repeat)
        return
    if options.lengths:
        lengths(model, options.hours)
        return
    with tempfile.TemporaryDirectory(prefix="audiocnn-bench-") as name:
        folder = Path(name)
        subprocess.run([sys.executable, __file__, *sys.argv[1:], "--steps-in", folder], check=True)
        print(f"\n{'the whole command':<34}{'wall':>10}{'x real time':>14}{'memory':>12}")
        predict = [*cold_start.AUDIOCNN, "predict", "--model", model]
        goal = " (goal: at least 500 x, less than 250 MiB, with the 13x9 net)"
        for what, command, seconds, remark in (
            (f"{options.hours:g} h, a row a recording", [*predict, "long.wav", "-o", "out.csv"], long_s, goal),
            (f"{options.hours:g} h, windows", [*predict, "long.wav", "--windows", "-o", "out.csv"], long_s, ""),
            (f"{options.hours:g} h, JSON", [*predict, "long.wav", "-o", "out.json"], long_s, ""),
            (f"{options.clips} clips of {CLIP_S} s", [*predict, "clips", "-o", "out.csv"], CLIP_S * options.clips, ""),
        ):
            wall_s = statistics.median(cold_start.cost(command, folder).wall_s for _ in range(options.repeat))
            peak = cold_start.cost(command, folder, watch=True).peak_bytes / cold_start.MIB
            print(f"{what:<34}{wall_s:>8.2f} s{seconds / wall_s:>14,.0f}{peak:>8.0f} MiB{remark}", flush=True)


def lengths(model: Path, hours: float) -> None:
    """Print wall time and peak memory of the command on recordings of very different lengths, and how it grows."""
    first_bytes = None
    for what, seconds, form in (
        ("ten minutes", 600.0, "WAV"),
        (f"{hours:g} h", 3600 * hours, "WAV"),
        ("14 h as RF64", 14 * 3600.0, "RF64"),
    ):
        with tempfile.TemporaryDirectory(prefix="audiocnn-bench-") as name:
            call = f"predict.write(pathlib.Path({f'{name}/long.wav'!r}), {seconds}, seed=0, form={form!r})"
            here = Path(__file__).resolve().parent
            subprocess.run([sys.executable, "-c", f"import pathlib, predict; {call}"], check=True, cwd=here)
            size = Path(name, "long.wav").stat().st_size
            command = [*cold_start.AUDIOCNN, "predict", "--model", model, "long.wav", "-o", "out.csv"]
            cost = cold_start.cost(command, Path(name), watch=True)
        peak = cost.peak_bytes / cold_start.MIB
        first_bytes = first_bytes or cost.peak_bytes
        growth = (cost.peak_bytes - first_bytes) / cold_start.MIB / (seconds / 3600)
        print(
            f"{what:<16}{size / 1e9:>6.2f} GB{cost.wall_s:>9.1f} s{seconds / cost.wall_s:>8,.0f} x real time"
            f"{peak:>8.0f} MiB{growth:>8.1f} MiB more an hour",
            flush=True,
        )


def steps(model: Path, file: Path, duration_s: float, repeat: int) -> None:
    """Print what each step adds to the ones before it, in seconds of processor time and times real time."""
    from audiocnn.audio.decode import Decoder
    from audiocnn.features.analyze import analyze
    from audiocnn.files import sha256_of
    from audiocnn.formats import tables, writer
    from audiocnn.inference.scoring import StreamingScorer
    from audiocnn.model import bundle

    loaded = bundle.load(model)
    spec, frontend = loaded.spec, loaded.frontend
    alone = dataclasses.replace(loaded, runtime=loaded.runtime.copy(1))
    made: list[RecordingPrediction] = []

    def decode(sample_rate: int | None) -> None:
        with Decoder(file) as decoder:
            for _ in decoder.blocks(sample_rate=sample_rate, channel=spec.channel):
                pass

    def scored() -> None:
        with StreamingScorer(alone, 1) as stream:
            recording_status = analyze(file, spec=spec, frontend=frontend, keep=stream.add)
            made[:] = [stream.result().prediction(loaded, "long.wav", recording_status)]

    def written(form: writer.FileFormat, rows: tables.RowKind) -> None:
        table = writer.OutputTable(made, loaded.labels, {}, rows=rows)
        for _ in writer.iter_bytes(table, form):
            pass

    passes: dict[str, Callable[[], object]] = {
        "hash": lambda: sha256_of(file),
        "decode": lambda: decode(None),
        "decode, resample": lambda: decode(spec.sample_rate),
        "decode, resample, features": lambda: analyze(file, spec=spec, frontend=frontend, keep=lambda frames: None),
        "all that and inference": scored,
        "output: windows as CSV": lambda: written("csv", "windows"),
        "output: JSON": lambda: written("json", "recordings"),
    }
    taken: dict[str, list[float]] = {name: [] for name in passes}
    for _ in range(repeat):
        for name, work in passes.items():
            started = time.process_time()
            work()
            taken[name].append(time.process_time() - started)
    medians = {name: statistics.median(times) for name, times in taken.items()}
    ladder = ["decode", "decode, resample", "decode, resample, features", "all that and inference"]
    before = dict(zip(ladder[1:], ladder, strict=False))
    total = medians["hash"] + medians[ladder[-1]]
    print(f"{loaded.info.name}, windows of {'x'.join(map(str, spec.shape[:2]))}, {duration_s / 3600:g} h; one thread")
    print(f"{'step':<34}{'seconds':>10}{'x real time':>14}{'share':>8}")
    for name, seconds in medians.items():
        own = seconds - (medians[before[name]] if name in before else 0.0)
        what = name.replace("all that and ", "").rpartition(", ")[2]
        share = "" if name.startswith("output") else f"{own / total:>8.0%}"
        print(f"{what:<34}{own:>10.2f}{duration_s / max(own, 1e-9):>14,.0f}{share}", flush=True)


def make(folder: Path, long_s: float, n_clips: int) -> None:
    """Write one long recording and many short ones."""
    write(folder / "long.wav", long_s, seed=0)
    (folder / "clips").mkdir()
    for i in range(n_clips):
        write(folder / "clips" / f"{i:04}.wav", CLIP_S, seed=i)


def write(file: Path, seconds: float, *, seed: int, form: str = "WAV") -> None:
    """Write noise with a tone in it that changes every minute, 16 bits, mono."""
    import numpy as np
    import soundfile

    noise = np.random.default_rng(seed).normal(0, 0.05, 60 * RATE).astype(np.float32)
    t = np.arange(60 * RATE) / RATE
    with soundfile.SoundFile(file, "w", RATE, 1, "PCM_16", format=form) as out:
        for minute in range(-int(-seconds // 60)):
            tone = 0.3 * np.sin(2 * np.pi * (200 + 37 * (minute % 50)) * t) * np.exp(-(t % 7))
            out.write((noise + tone)[: round(min(60, seconds - 60 * minute) * RATE)])


if __name__ == "__main__":
    main()
