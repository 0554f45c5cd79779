"""How much memory work takes, on little and on much data: it should not depend on how much there is.

``python benchmarks/memory.py [--gigabytes 4]`` makes recordings, featurizes and trains with a store of that size and
with one of an eighth of it, and prints the peak memory of each command and of its largest worker. It also hears
``--hours`` and ten seconds with both presets. Takes some minutes, and three quarters of the store's size more on the
disk.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

RATE = 16_000
HOUR_LIMIT_MIB = 50  # more for an hour than for ten seconds
STORE_LIMIT_MIB = 100  # more for the large store than for the small one; what is kept for every window comes to this
BYTES_PER_S = 50 * 128 * 2 * 4  # of the spectrogram preset's frames

LISTEN = """
import resource, sys
from pathlib import Path
from audiocnn import config
from audiocnn.features import frontend
from audiocnn.features.build_store import featurize_file
from audiocnn.features.store import FeatureStore

file, preset, folder = sys.argv[1:]
spec = config.read_preset(preset).features
recording_status, _ = featurize_file(Path(file), None, FeatureStore(Path(folder), spec), frontend.make(spec))
assert recording_status.status == "ok", recording_status
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=4.0, help="size of the large store  [default: 4]")
    parser.add_argument("--hours", type=float, default=1.0, help="length of the long recording  [default: 1]")
    parser.add_argument(
        "--commands", nargs="+", default=["featurize", "train"], help="to measure  [default: featurize train]"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="audiocnn-bench-") as name:
        folder = Path(name)
        lengths(folder, options.hours)
        seconds = options.gigabytes * 1e9 / BYTES_PER_S
        small, large = (
            measured(folder / what, part * seconds, options.commands) for what, part in (("small", 1 / 8), ("large", 1))
        )
        for command in small:
            a, b = small[command], large[command]
            say(
                f"{command}, store of {options.gigabytes / 8:.2g} and {options.gigabytes:.2g} GB", a, b, STORE_LIMIT_MIB
            )


def lengths(folder: Path, hours: float) -> None:
    """Peak memory of hearing one recording, of ten seconds and of so many hours."""
    files = [made(folder / f"{seconds:g}.wav", seconds, seed=0) for seconds in (10, 3_600 * hours)]
    for preset in ("instrument", "spectrogram"):
        short, long = (
            int(subprocess.check_output([sys.executable, "-c", LISTEN, file, preset, folder / "store"])) / 1024
            for file in files
        )
        say(f"hearing 10 s and {hours:g} h, {preset} preset", short, long, HOUR_LIMIT_MIB)


def measured(folder: Path, seconds: float, commands: list[str]) -> dict[str, float]:
    """Peak memory in MiB of each command on so many seconds of recordings."""
    each = min(600, seconds / 8)
    for i in range(max(8, round(seconds / each))):
        made(folder / "sounds" / "ab"[i % 2] / f"{'abcdefghij'[i // 2 % 10]}{i}.wav", each, seed=i)
    audiocnn(folder, "init", folder / "sounds", "--preset", "spectrogram")
    config = folder / "audiocnn.yaml"
    text = config.read_text()
    # A small network, so that reading weighs as much as learning.
    for setting, value in (("model: ", '"4C5S4-P4-*"'), ("  epochs: ", "1"), ("  patience: ", "1")):
        start = text.index(f"\n{setting}") + 1
        text = text[: start + len(setting)] + value + text[text.index("\n", start) :]
    config.write_text(text)
    peaks = {command: audiocnn(folder, command) for command in commands}
    size = sum(file.stat().st_size for file in (folder / "runs").rglob("*.safetensors"))
    print(f"{size / 1e9:.2f} GB of features", flush=True)
    return peaks


def audiocnn(folder: Path, *arguments: str | Path) -> float:
    """Run a command; return the peak memory in MiB of the largest of its processes."""
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "audiocnn", "-q", *arguments], cwd=folder, stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{arguments[0]} failed")
    print(f"{folder.name}: {arguments[0]} took {time.monotonic() - started:.0f} s", flush=True)
    return usage.ru_maxrss / 1024


def made(file: Path, seconds: float, seed: int) -> Path:
    """A recording of a tone in noise, the same ten seconds again and again at a slowly changing level."""
    file.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    t = np.arange(10 * RATE) / RATE
    y = 0.3 * np.sin(2 * np.pi * rng.uniform(200, 5_000) * t) + 0.05 * rng.standard_normal(len(t))
    with soundfile.SoundFile(file, "w", RATE, 1) as out:
        for i in range(round(seconds / 10)):
            out.write(y * (0.5 + 0.4 * np.sin(0.1 * i)))
    return file


def say(what: str, little: float, much: float, limit: float) -> None:
    outcome = "ok" if much - little < limit else "NOT REACHED"
    print(f"{what:<62}{little:>7.0f} MiB{much:>7.0f} MiB   less than {limit} MiB more: {outcome}", flush=True)


if __name__ == "__main__":
    main()
