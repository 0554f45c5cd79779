"""Commands that are killed, or starved of disk, in the middle of their work, and what they leave on it.

Used by the tests and, with more recordings and more moments, by ``killed.py`` and ``full_disk.py`` of the benchmarks.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import projects
import soundfile
import sounds

from audiocnn.inference.journal import Journal
from audiocnn.model.locate import SHIPPED

RATE = 44_100  # so that there is something to do
AUDIOCNN = (sys.executable, "-m", "audiocnn")
TRAIN = (*AUDIOCNN, "-q", "train", "--max-bad-fraction", "0.5")  # of a `project`, which has broken recordings
SPLIT = Path("runs/sounds/split.json")
PATIENCE_S = 5.0  # how long a worker may outlive its command
Done = subprocess.CompletedProcess[str]


@dataclass(frozen=True)
class Reference:
    """What an undisturbed run leaves, and how it goes."""

    contents: dict[str, bytes]
    code: int
    seconds: float


@dataclass(frozen=True)
class Killed:
    """What became of one run that was killed and of the one after it.

    ``n_before`` recordings were in the store, or networks trained, when it was killed. ``under_way`` tells whether it
    was then at work: neither still starting nor writing its lists, nor done. ``survived_s`` is how long workers
    outlived it.
    """

    n_before: int
    under_way: bool
    survived_s: float
    problems: Sequence[str]


def project(folder: Path, *, n: int, longest_s: float, seed: int = 0, preset: str = "instrument") -> Path:
    """Make a project in ``folder``: ``n`` recordings of two classes from 0.1 s on; six are broken, silent or copies."""
    rng = np.random.default_rng(seed)
    made = folder / "sounds"
    for label in ("hiss", "hum"):
        (made / label).mkdir(parents=True)
    for i, seconds in enumerate(np.linspace(0.1, longest_s, n - 6)):
        pitch_hz = rng.uniform(100, 3_000)
        samples = sounds.noise(seconds, RATE, seed=i) + (sounds.tone(pitch_hz, seconds, RATE) if i % 2 else 0)
        soundfile.write(made / ("hiss", "hum")[i % 2] / f"{_letters(i)}.wav", samples, RATE, subtype="PCM_16")
    first = (made / "hiss" / f"{_letters(0)}.wav").read_bytes()
    (made / "hiss" / "copy.wav").write_bytes(first)
    (made / "hiss" / "cut.wav").write_bytes(first[:30])
    (made / "hum" / "text.wav").write_text("no sound")
    (made / "hum" / "empty.wav").touch()
    for seconds in (1, 2):
        soundfile.write(made / "hum" / f"silent-{seconds}.wav", sounds.silence(seconds, RATE), RATE)
    command = [*AUDIOCNN, "-q", "init", "sounds", "--preset", preset]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return folder


def featurize(folder: Path, *, jobs: int, before: Sequence[str] = (), program: Sequence[str] = AUDIOCNN) -> Done:
    """Run ``audiocnn featurize`` in a project; ``before`` is a command that runs it."""
    command = [*before, *program, "featurize", "--jobs", str(jobs)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=300)


def undisturbed(folder: Path, *, jobs: int = 2) -> Reference:
    """Run `featurize` from nothing to its end."""
    shutil.rmtree(folder / "runs", ignore_errors=True)
    started = time.perf_counter()
    done = featurize(folder, jobs=jobs)
    seconds = time.perf_counter() - started
    if done.returncode not in (0, 3):
        raise RuntimeError(f"exit code {done.returncode}: {done.stderr}")
    return Reference(contents(folder / "runs"), done.returncode, seconds)


def killed(folder: Path, reference: Reference, wait: Callable[[subprocess.Popen[bytes]], None]) -> Killed:
    """Start `featurize` from nothing, kill it (not its workers) when ``wait`` returns, and run it again to its end."""
    runs = folder / "runs"
    shutil.rmtree(runs, ignore_errors=True)
    survived_s, problems = _kill([*AUDIOCNN, "-q", "featurize", "--jobs", "2"], folder, wait)
    stored = recordings(folder)
    left = contents(runs)
    for file in stored:
        name = file.relative_to(runs).as_posix()
        if left[name] != reference.contents.get(name):
            problems.append(f"{name} is not what it should be, yet it is there")
    stamps = {file: (file.stat().st_ino, file.stat().st_mtime_ns) for file in stored}
    under_way = any("/features/" in name for name in left) and not any(name.endswith(".csv") for name in left)
    problems += completed(folder, reference)
    for file, stamp in stamps.items():
        if (file.stat().st_ino, file.stat().st_mtime_ns) != stamp:
            problems.append(f"{file.name} was complete, and was computed again")
    return Killed(len(stored), under_way, survived_s, problems)


def completed(folder: Path, reference: Reference, *, jobs: int = 2) -> list[str]:
    """Run `featurize` to its end on what is there; say what differs from an undisturbed run."""
    done = featurize(folder, jobs=jobs)
    return _differences(done, folder / "runs", reference)


def predict(folder: Path, *, jobs: int = 2) -> Done:
    """Run ``audiocnn predict`` on the sounds of a project, with the model that comes with audiocnn."""
    return subprocess.run(_predict(jobs), cwd=folder, capture_output=True, text=True, errors="replace", timeout=300)


def predict_undisturbed(folder: Path) -> Reference:
    """Run `predict` from nothing to its end."""
    shutil.rmtree(folder / "out.csv.journal", ignore_errors=True)
    started = time.perf_counter()
    done = predict(folder)
    if done.returncode != 3:
        raise RuntimeError(f"exit code {done.returncode}: {done.stderr}")
    return Reference({"out.csv": (folder / "out.csv").read_bytes()}, 3, time.perf_counter() - started)


def predict_killed(folder: Path, reference: Reference, wait: Callable[[subprocess.Popen[bytes]], None]) -> Killed:
    """Start `predict` from nothing, kill it (not its workers) when ``wait`` returns, and run it again to its end."""
    out, journal = folder / "out.csv", folder / "out.csv.journal"
    out.unlink(missing_ok=True)
    shutil.rmtree(journal, ignore_errors=True)
    survived_s, problems = _kill(_predict(2), folder, wait)
    under_way = journal.exists()
    if out.exists() and out.read_bytes() != reference.contents["out.csv"]:
        problems.append("out.csv is there, and not what it should be")
    n_before = journal_records(folder)
    done = predict(folder)
    if done.returncode != reference.code:
        problems.append(f"the run after it ended with exit code {done.returncode}: {done.stderr.strip()}")
    if not out.exists() or out.read_bytes() != reference.contents["out.csv"]:
        problems.append("out.csv differs")
    if journal.exists() or list(folder.glob(".tmp-*")):
        problems.append("it left a journal or temporary files behind")
    known = re.search(r"([0-9]+) known from an earlier run", done.stderr)
    if (int(known[1]) if known else 0) < n_before:
        problems.append(f"{n_before} recordings were complete, and not all of them were known: {done.stderr.strip()}")
    return Killed(n_before, under_way, survived_s, problems)


def journal_records(folder: Path) -> int:
    """How many recordings with a score or silent are complete in the journal of ``out.csv``."""
    n = 0
    for file in (folder / "out.csv.journal").glob("*.journal"):
        found = Journal(file, durable=False)
        n += len(found.known)
        found.close()
    return n


def _predict(jobs: int) -> list[str]:
    return [*AUDIOCNN, "predict", "sounds", "--model", str(SHIPPED), "-o", "out.csv", "--jobs", str(jobs)]


def train_project(folder: Path, *, n: int, longest_s: float) -> Path:
    """Make a `project` of two small networks, with its features."""
    project(folder, n=n, longest_s=longest_s, preset="best")
    projects.set_small_members(folder / "audiocnn.yaml")
    featurize(folder, jobs=2)
    shutil.copytree(folder / "runs", folder / "featurized")
    return folder


def train(folder: Path) -> Done:
    """Run ``audiocnn train`` in a project."""
    return subprocess.run(TRAIN, cwd=folder, capture_output=True, text=True, errors="replace", timeout=600)


def train_undisturbed(folder: Path) -> Reference:
    """Run `train` from the features to its end; its time is that from the split, which is written after the start."""
    _forget_training(folder)
    done = train(folder)
    if done.returncode:
        raise RuntimeError(f"exit code {done.returncode}: {done.stderr}")
    return Reference(contents(folder / "runs"), 0, time.time() - (folder / SPLIT).stat().st_mtime)


def train_killed(folder: Path, reference: Reference, wait: Callable[[subprocess.Popen[bytes]], None]) -> Killed:
    """Start `train` from the features, kill it when ``wait`` returns, and run it again to its end.

    ``wait`` begins when the split is written: before that nothing is.
    """

    def wait_from_split(process: subprocess.Popen[bytes]) -> None:
        while not (folder / SPLIT).exists() and process.poll() is None:
            time.sleep(0.02)
        wait(process)

    _forget_training(folder)
    survived_s, problems = _kill(TRAIN, folder, wait_from_split)
    left = contents(folder / "runs")
    n_before = sum(re.search("/members/[^/]+/model$", name) is not None for name in left)
    under_way = "sounds/model" not in left
    return Killed(n_before, under_way, survived_s, problems + _differences(train(folder), folder / "runs", reference))


def _forget_training(folder: Path) -> None:
    shutil.rmtree(folder / "runs", ignore_errors=True)
    shutil.copytree(folder / "featurized", folder / "runs")


def _kill(
    command: Sequence[str], folder: Path, wait: Callable[[subprocess.Popen[bytes]], None]
) -> tuple[float, list[str]]:
    """Start a command and kill it (not its workers) when ``wait`` returns; then as `_wait_for_workers`."""
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    wait(process)
    process.kill()
    process.wait()
    return _wait_for_workers(process.pid)


def _differences(done: Done, folder: Path, reference: Reference) -> list[str]:
    """Say what differs, in the exit code and in a folder, from an undisturbed run."""
    problems = []
    if done.returncode != reference.code:
        problems.append(f"the run after it ended with exit code {done.returncode}: {done.stderr.strip()}")
    found = contents(folder)
    differing = {name for name in {*found, *reference.contents} if found.get(name) != reference.contents.get(name)}
    return problems + [f"{name} differs" for name in sorted(differing)]


def recordings(folder: Path) -> list[Path]:
    """The files of the store of a project."""
    return sorted((folder / "runs").rglob("*.safetensors"))


def contents(folder: Path) -> dict[str, bytes]:
    """Everything below a folder, folders too, temporaries too, but for locks."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else b""
        for path in sorted(folder.rglob("*"))
        if path.name != ".lock"
    }


def _wait_for_workers(session: int) -> tuple[float, list[str]]:
    """Return how many seconds some process of a session goes on living; put an end to it where that is too long."""
    started = time.monotonic()
    while processes := _of_session(session):
        if time.monotonic() - started > PATIENCE_S:
            for process in processes:
                os.kill(process, signal.SIGKILL)
            return time.monotonic() - started, [f"{len(processes)} workers outlived the command by {PATIENCE_S:g} s"]
        time.sleep(0.005)
    return time.monotonic() - started, []


def _of_session(session: int) -> list[int]:
    """Processes of a session that are not dead; a dead one whose parent has not asked for it does not count."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, _, _, its_session = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(its_session) == session and state not in "ZX":
                found.append(int(entry.name))
    return found


def _letters(number: int) -> str:
    return f"{'abcdefghij'[number // 10]}{'abcdefghij'[number % 10]}"
