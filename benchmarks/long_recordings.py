"""How much memory each command takes with a recording of a day, and how often it decodes it.

``python benchmarks/long_recordings.py [--hours 24] [--formats wav flac mp3] [--stretches 500]`` makes a project of one
long recording with labelled stretches, the test part, and twelve recordings of a minute to train on. For each format it
runs every command that reads recordings, and prints the time, the peak memory of the main process and of the largest
worker, and the passes over the long recording: samples decoded divided by its samples. No process should take more than
150 MiB, or 100 MiB more than the same command takes in the same project with a recording of a minute, which is run
first (the libraries of evaluate alone take 200 MiB); no command should decode the recording more than twice. A day
takes about 25 minutes a format on two cores. Linux only.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

RATE = 16_000
LIMIT_MIB, MORE_MIB = 150, 100
MAX_PASSES = 2.0
STRETCH_S = 5
PIECE_S = 600  # the long recording repeats a piece of this length
MODEL = '"4C3-P2-8-*"'
PREDICTIONS = (
    *(("--windows", "-o", f"windows.{suffix}") for suffix in ("csv", "json", "parquet")),
    *(("--events", "-o", f"events.{suffix}") for suffix in ("csv", "json", "parquet")),
    ("--format", "audacity", "-o", "events.txt"),
    ("--format", "raven", "-o", "events.raven.txt"),
    ("-o", "recordings.csv"),
)

# Loaded by every Python process: counts the samples that soundfile decodes, by the inode of the file.
COUNTER = """
import importlib.machinery, os, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name != "soundfile":
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        run = spec.loader.exec_module
        def exec_module(module):
            run(module)
            read, close = module.SoundFile.read, module.SoundFile.close
            def counting_read(self, *args, **kwargs):
                samples = read(self, *args, **kwargs)
                self._n_decoded = getattr(self, "_n_decoded", 0) + len(samples)
                return samples
            def telling_close(self):
                if n := self.__dict__.pop("_n_decoded", 0):
                    descriptor = self.name if isinstance(self.name, int) else self.name._file.fileno()
                    at = os.fstat(descriptor).st_ino
                    with open(os.environ["DECODED"], "a") as log:
                        log.write(f"{at} {n}\\n")
                close(self)
            module.SoundFile.read, module.SoundFile.close = counting_read, telling_close
        spec.loader.exec_module = exec_module
        return spec

sys.meta_path.insert(0, Finder())
"""


@dataclass(frozen=True)
class Cost:
    """Peak memory in MiB of the main process and of the largest other one, seconds, and samples decoded by inode."""

    main: float
    worker: float
    seconds: float
    decoded: dict[str, int]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=24.0, help="length of the long recording  [default: 24]")
    parser.add_argument("--formats", nargs="+", default=["wav", "flac", "mp3"], choices=["wav", "flac", "mp3"])
    parser.add_argument("--stretches", type=int, default=500, help="labelled stretches in it  [default: 500]")
    parser.add_argument("--last", help="stop after this command, such as featurize")
    options = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory(prefix="audiocnn-bench-") as name:
        for suffix in options.formats:
            short = dict(project(Path(name) / f"short-{suffix}", suffix, 60, 4, options.last))
            sizes = 3_600 * options.hours, options.stretches
            for command, cost in project(Path(name) / suffix, suffix, *sizes, options.last):
                failed |= not say(f"{suffix} {command}", short[command], cost, options.hours)
    sys.exit(failed)


def say(command: str, short: Cost, cost: Cost, hours: float) -> bool:
    """Print what a command took; return whether it is within the limits."""
    passes = max(cost.decoded.values(), default=0) / (hours * 3_600 * RATE)
    within = passes <= MAX_PASSES * 1.01 and all(
        long <= max(LIMIT_MIB, of_short + MORE_MIB)
        for long, of_short in ((cost.main, short.main), (cost.worker, short.worker))
    )
    print(
        f"{command:<44}{cost.seconds:>6.0f} s   main {cost.main:>4.0f} MiB (short {short.main:.0f})   "
        f"worker {cost.worker:>4.0f} MiB (short {short.worker:.0f})   {passes:.2f} passes   "
        f"{'ok' if within else 'NOT REACHED'}",
        flush=True,
    )
    return within


def project(
    folder: Path, suffix: str, seconds: float, n_stretches: int, last: str | None = None
) -> Iterator[tuple[str, Cost]]:
    """Make a project and yield each command and what it took, up to the ``last`` one."""
    folder.mkdir()
    table = ["path,label,start_s,end_s,split"]
    long = make(folder / f"day.{suffix}", seconds)
    step = seconds / n_stretches
    table += [row(long, i, (i + 0.25) * step, "test") for i in range(n_stretches)]
    for number in range(12):
        file = make(folder / f"minute-{number}.wav", 60, seed=number + 1)
        table += [row(file, i, 12 * i + 2, "validation" if number < 3 else "train") for i in range(5)]
    (folder / "table.csv").write_text("\n".join(table) + "\n")
    inode = str(long.stat().st_ino)
    background = [file.name for file in folder.glob("minute-*.wav")]
    commands: list[tuple[str, ...]] = [
        ("init", "table.csv", "--preset", "instrument"),
        ("audit",),
        ("featurize",),
        ("train",),
        ("evaluate",),
        ("explain", long.name, "--method", "occlusion", "-o", "why"),
        ("tune-events", long.name, *background, "--hours", "0.5"),
        *(("predict", long.name, "--journal", "scores", *options) for options in PREDICTIONS),
    ]
    for command in commands:
        cost = run(folder, *command)
        of_long = {key: n for key, n in cost.decoded.items() if key == inode}
        if command[0] == "init":
            shorten(folder / "audiocnn.yaml")
        if command[0] != "train":  # which takes what TensorFlow takes
            name = " ".join(command[:1] if command[0] != "predict" else ("predict", *command[4:]))
            yield name, Cost(cost.main, cost.worker, cost.seconds, of_long)
        if command[0] == last:
            return


def row(file: Path, number: int, start_s: float, part: str) -> str:
    return f"{file.name},{('high', 'low')[number % 2]},{start_s:.3f},{start_s + STRETCH_S:.3f},{part}"


def shorten(yaml: Path) -> None:
    """Set a small network and one epoch: what is measured does not depend on them."""
    text = yaml.read_text()
    for setting, value in (("\nmodel: ", MODEL), ("\n  epochs: ", "1")):
        start = text.index(setting) + len(setting)
        text = text[:start] + value + text[text.index("\n", start) :]
    yaml.write_text(text)


def make(file: Path, seconds: float, seed: int = 0) -> Path:
    """Write tones in noise, in pieces that repeat."""
    rng = np.random.default_rng(seed)
    n = round(min(seconds, PIECE_S) * RATE)
    samples = 0.02 * rng.standard_normal(n).astype(np.float32)
    for begin in range(0, n - RATE, 2 * RATE):
        hertz = rng.choice([300, 3_000]) * rng.uniform(0.9, 1.1)
        samples[begin : begin + RATE] += 0.3 * np.sin(2 * np.pi * hertz * np.arange(RATE) / RATE, dtype=np.float32)
    repeats = round(seconds * RATE / n)
    if file.suffix != ".mp3":
        with soundfile.SoundFile(file, "w", RATE, 1) as out:
            for _ in range(repeats):
                out.write(samples)
        return file
    soundfile.write(file, samples, RATE)  # encoding is slow, and frames of MP3 may follow each other
    frames = without_length(file.read_bytes())
    with open(file, "wb") as out:
        for _ in range(repeats):
            out.write(frames)
    return file


def without_length(mp3: bytes) -> bytes:
    """Return the frames of an MP3 file at 16 kHz without the first one, which tells how many there are."""
    kbps = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)[mp3[2] >> 4]
    size = 72 * kbps * 1_000 // RATE + (mp3[2] >> 1 & 1)
    if not {b"Xing", b"Info"} & {mp3[i : i + 4] for i in range(size)}:
        sys.exit("the first frame of the MP3 file does not tell its length")
    return mp3[size:]


def run(folder: Path, *arguments: str) -> Cost:
    """Run a command and watch its processes."""
    (folder / "sitecustomize.py").write_text(COUNTER)
    log = folder / "decoded"
    log.write_text("")
    path = os.pathsep.join(filter(None, [os.fspath(folder), os.environ.get("PYTHONPATH", "")]))
    environment = {**os.environ, "PYTHONPATH": path, "DECODED": os.fspath(log)}
    command = [sys.executable, "-m", "audiocnn", "-q", *arguments]
    started = time.monotonic()
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, start_new_session=True, stderr=subprocess.PIPE
    )
    peaks: dict[int, float] = {}
    ended = threading.Event()
    watcher = threading.Thread(target=watch, args=(process.pid, peaks, ended))
    watcher.start()
    _, errors = process.communicate()
    ended.set()
    watcher.join()
    if process.returncode not in (0, 3):
        sys.exit(f"{' '.join(arguments)} failed:\n{errors.decode()}")
    decoded: dict[str, int] = defaultdict(int)
    for line in log.read_text().splitlines():
        inode, n = line.split()
        decoded[inode] += int(n)
    main = peaks.pop(process.pid)
    return Cost(main, max(peaks.values(), default=0.0), time.monotonic() - started, dict(decoded))


def watch(session: int, peaks: dict[int, float], ended: threading.Event) -> None:
    """Note the peak memory of every process of a session, until it has ended."""
    while not ended.wait(0.1):
        for status in Path("/proc").glob("[0-9]*/status"):
            try:
                pid = int(status.parent.name)
                if os.getsid(pid) == session:
                    lines = status.read_text().splitlines()
                    peak = next(line.split()[1] for line in lines if line.startswith("VmHWM"))
                    peaks[pid] = int(peak) / 1024
            except (OSError, StopIteration):
                continue  # it has just ended


if __name__ == "__main__":
    main()
