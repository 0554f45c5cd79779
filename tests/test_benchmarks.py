"""Every benchmark runs, in its smallest size; what it measures then says nothing."""

import csv
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
import sounds

import audiocnn

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="benchmarks/ is not beside the tests"),
]

# Arguments of the smallest size, and what is printed last.
SMALLEST = {
    "cold_start.py": ("--repeat 1", "the same, peak memory"),
    "features.py": ("--repeat 1 --made 2", "featurize, 2 workers / 1 worker"),
    "training.py": ("--repeat 1 --size 64", "largest difference of a weight"),
    "predict.py": ("--repeat 1 --hours 0.001 --clips 2", "2 clips of 3 s"),
    "memory.py": ("--gigabytes 0.02 --hours 0.01", "train, store of 0.0025 and 0.02 GB"),
    "fuzz_audio.py": ("--inputs 60", "0 failures"),
    "killed.py": ("--moments 1 --recordings 7 --undisturbed 1", "0 failures"),
    "killed.py --predict": ("--moments 1 --recordings 7 --undisturbed 1", "0 failures"),
    "house.py": ("", "circles of imports"),
    "intervals.py": ("--sets 20 --bootstrap 20", "audiocnn: "),
}
ELSEWHERE = {"awkward.py", "explain.py", "full_disk.py", "tutorial_predict.py"}  # tested below, or by cold_start.py


def last_line(name: str, *arguments: str | Path) -> str:
    """Run a benchmark; return the last line that it prints."""
    command = [sys.executable, BENCHMARKS / name.split()[0], *name.split()[1:], *arguments]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONSAFEPATH"}  # some import others
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()[-1]


def test_no_benchmark_is_left_out() -> None:
    assert {name.split()[0] for name in SMALLEST} | ELSEWHERE == {file.name for file in BENCHMARKS.glob("*.py")}


@pytest.mark.parametrize("name", SMALLEST)
def test_a_benchmark_runs_in_its_smallest_size(name: str) -> None:
    if name in ("cold_start.py", "training.py", "memory.py") and not importlib.util.find_spec("keras"):
        pytest.skip("needs Keras")
    if name.startswith("killed.py") and sys.platform != "linux":
        pytest.skip("for Linux only")
    arguments, expected = SMALLEST[name]
    assert expected in last_line(name, *arguments.split())


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    soundfile.write(tmp_path / "a.wav", sounds.tone(440, 3.0), sounds.RATE)
    return tmp_path / "a.wav"


def test_explanations_are_measured(recording: Path) -> None:
    label = audiocnn.load_model().predict(recording).label
    (recording.parent / label).mkdir()
    recording.rename(recording.parent / label / recording.name)
    printed = last_line("explain.py", recording.parent, "--part", "all", "--seconds", "1")
    assert printed.endswith("for 1 s of sound")


def test_awkward_files_are_counted(recording: Path) -> None:
    (recording.parent / "broken.wav").write_text("no sound")
    with open(recording.parent / "MANIFEST.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerows([("file", "kind", "silent_problem"), ("a.wav", "good", ""), ("broken.wav", "text", "")])
    assert "0 silent problems without a code" in last_line("awkward.py", recording.parent)


@pytest.mark.skip(reason="mounts file systems and takes many minutes; run it by hand")
def test_a_full_disk_is_measured() -> None:
    assert last_line("full_disk.py", "--sizes", "2").endswith("0 not")
