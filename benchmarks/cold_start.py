"""How long a command takes from nothing, and what memory it needs, beside what it is measured against.

Prints one line a goal: what, ours, baseline, ratio, goal, ok or not. Runs alternate (A B A B), times are medians.
"""

import argparse
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
import wave
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
SCRIPT = Path(sys.executable).parent / "audiocnn"
AUDIOCNN = (SCRIPT,) if SCRIPT.exists() else (sys.executable, "-m", "audiocnn")
MIB = 1 << 20

# Making the model is a process of its own: a child's peak memory is never less than that of the process which starts
# it, so this one stays small.
MAKE_MODEL = [sys.executable, HERE / "tutorial_model.py", "model.keras"]
TUTORIAL = [sys.executable, HERE / "tutorial_predict.py", "model.keras", "song.wav"]

# Python may keep what it compiles, as pip does when it installs a package: only the first run compiles.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


@dataclass(frozen=True)
class Cost:
    """What one run took; ``peak_bytes`` is that of all its processes together."""

    wall_s: float
    peak_bytes: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="a model to predict with  [default: the one that ships]")
    parser.add_argument("--repeat", type=int, default=7, help="runs of each command  [default: 7]")
    parser.add_argument("--baseline", type=Path, help="a script that takes song.wav  [default: tutorial_predict.py]")
    options = parser.parse_args()
    repeat = options.repeat
    with tempfile.TemporaryDirectory(prefix="audiocnn-bench-") as name:
        folder = Path(name)
        write_song(folder / "song.wav")
        if options.baseline:
            baseline = [sys.executable, options.baseline.absolute(), "song.wav"]
        else:
            subprocess.run(MAKE_MODEL, check=True, cwd=folder)
            baseline = TUTORIAL
        predict = [*AUDIOCNN, "predict", "song.wav"] + (["--model", options.model.absolute()] if options.model else [])

        print(f"{'what':<46}{'ours':>10}{'baseline':>12}{'ratio':>16}   goal")
        help_, click = [*AUDIOCNN, "--help"], [sys.executable, "-c", "import click"]
        for command in (help_, click):  # a run that does not count
            cost(command, folder)
        ours, base = interleaved(help_, click, folder, repeat)
        longer = ours / base
        say("audiocnn --help / import click", ms(ours), ms(base), f"{longer:.2f} x as long", "at most 2", longer <= 2)

        our_peak, base_peak = (  # before the times are taken, so that these are of a warm disk
            statistics.median(cost(command, folder, watch=True).peak_bytes for _ in range(min(5, repeat))) / MIB
            for command in (predict, baseline)
        )
        ours, base = interleaved(predict, baseline, folder, repeat)
        times = base / ours
        what = f"audiocnn predict song.wav / {'baseline' if options.baseline else 'librosa and Keras'}"
        say(what, ms(ours), ms(base), f"{times:.1f} x faster", "at least 13", times >= 13)

        ratio = f"{base_peak / our_peak:.1f} x less"
        figures = f"{our_peak:.0f} MiB", f"{base_peak:.0f} MiB", ratio
        say("the same, peak memory", *figures, "at most 110 MiB", our_peak <= 110)


def write_song(file: Path) -> None:
    """Ten seconds of a scale at 44.1 kHz, 16 bits, mono."""
    rate, notes_hz = 44_100, (262, 294, 330, 349, 392, 440, 494, 523, 587, 659)
    samples = array("h")
    for pitch_hz in notes_hz:  # one second each, dying away
        step = 2 * math.pi * pitch_hz / rate
        samples.extend(int(12_000 * math.exp(-3 * n / rate) * math.sin(step * n)) for n in range(rate))
    if sys.byteorder == "big":
        samples.byteswap()
    with wave.open(str(file), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(samples.tobytes())


def interleaved(a: Sequence[str | Path], b: Sequence[str | Path], folder: Path, repeat: int) -> tuple[float, float]:
    """Median seconds of two commands that take turns; each has run before."""
    pairs = [(cost(a, folder).wall_s, cost(b, folder).wall_s) for _ in range(repeat)]
    return statistics.median(p[0] for p in pairs), statistics.median(p[1] for p in pairs)


def cost(command: Sequence[str | Path], folder: Path, *, watch: bool = False) -> Cost:
    """Run a command that must end well. Memory is watched only when asked, since that costs time.

    The peak is the largest sum of proportional set sizes (pages shared by processes count once) that was seen while
    looking every few milliseconds, and no less than the largest single process as the kernel has kept it.
    """
    with open(folder / "stderr", "w+b") as stderr:
        started = time.perf_counter()
        child = subprocess.Popen(
            [*map(str, command)], cwd=folder, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=stderr
        )
        seen = 0
        while watch:
            done, status, usage = os.wait4(child.pid, os.WNOHANG)
            if done:
                break
            looked = time.perf_counter()
            seen = max(seen, sum(map(proportional_bytes, tree(child.pid))))
            time.sleep(0.002 + 4 * (time.perf_counter() - looked))  # a look at a large process takes long
        else:
            _, status, usage = os.wait4(child.pid, 0)
        wall_s = time.perf_counter() - started
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            stderr.seek(0)
            sys.exit(f"{' '.join(map(str, command))}: exit code {child.returncode}\n{stderr.read().decode()}")
    largest = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return Cost(wall_s, max(seen, largest))


def tree(pid: int) -> list[int]:
    """A process and all below it; on systems without ``/proc`` nothing."""
    try:  # each thread has the children that it forked
        lists = [file.read_text() for file in Path(f"/proc/{pid}/task").glob("*/children")]
    except OSError:
        return []
    return [pid, *(below for child in " ".join(lists).split() for below in tree(int(child)))]


def proportional_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # it has just ended
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def say(what: str, ours: str, baseline: str, ratio: str, goal: str, reached: bool) -> None:
    print(f"{what:<46}{ours:>10}{baseline:>12}{ratio:>16}   {goal}: {'ok' if reached else 'NOT REACHED'}", flush=True)


def ms(seconds: float) -> str:
    return f"{1000 * seconds:,.0f} ms"


if __name__ == "__main__":
    main()
