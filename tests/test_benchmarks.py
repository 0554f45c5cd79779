"""Every benchmark runs, in its smallest size; what it measures then says nothing."""

import csv
import importlib.util
import math
import runpy
import sys
from pathlib import Path

import prefork
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
    "cold_start.py": ("--repeat 1 --baseline empty.py", "the same, peak memory"),
    "features.py": ("--repeat 1 --made 2", "featurize, 2 workers / 1 worker"),
    "training.py": ("--repeat 1 --size 64 --network 4C3-10", "largest difference of a weight"),
    "predict.py": ("--repeat 1 --hours 0.001 --clips 2", "2 clips of 3 s"),
    "long_recordings.py": ("--hours 0.02 --stretches 4 --formats mp3 --last init", "ok"),
    "memory.py": ("--gigabytes 0.02 --hours 0.01 --commands featurize", "featurize, store of 0.0025 and 0.02 GB"),
    "fuzz_audio.py": ("--inputs 60", "0 failures"),
    "killed.py --predict": ("--moments 1 --recordings 7 --undisturbed 1", "0 failures"),
    "house.py": ("", "circles of imports"),
    "review.py": ("--reviews 1 --clips 60", "lowest coverage: ci95_archive"),
    "intervals.py": ("--sets 20 --bootstrap 20", "audiocnn: "),
}
BELOW = {"awkward.py", "explain.py", "full_disk.py", "tutorial_model.py", "tutorial_predict.py"}
needs_keras = pytest.mark.skipif(not importlib.util.find_spec("keras"), reason="needs Keras")


def last_line(name: str, *arguments: str | Path, cwd: Path) -> str:
    """Run a benchmark; return the last line that it prints."""
    script, *more = name.split()
    done = prefork.run_script(BENCHMARKS / script, *more, *arguments, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()[-1]


def test_no_benchmark_is_left_out() -> None:
    assert {name.split()[0] for name in SMALLEST} | BELOW == {file.name for file in BENCHMARKS.glob("*.py")}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=needs_keras if name == "training.py" else ()) for name in SMALLEST]
)
def test_a_benchmark_runs_in_its_smallest_size(name: str, tmp_path: Path) -> None:
    if name.startswith(("killed.py", "long_recordings.py")) and sys.platform != "linux":
        pytest.skip("for Linux only")
    (tmp_path / "empty.py").touch()
    arguments, expected = SMALLEST[name]
    assert expected in last_line(name, *arguments.split(), cwd=tmp_path)


@needs_keras
def test_the_baseline_of_tutorials_predicts_with_the_model_that_is_made_for_it(tmp_path: Path) -> None:
    benchmark = runpy.run_path(str(BENCHMARKS / "cold_start.py"))
    benchmark["write_song"](tmp_path / "song.wav")
    for _, script, *arguments in (benchmark["MAKE_MODEL"], benchmark["TUTORIAL"]):
        done = prefork.run_script(script, *arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    label, score = done.stdout.split()  # no probability: the network ends in logits
    assert 0 <= int(label) < 10 and math.isfinite(float(score))


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    soundfile.write(tmp_path / "a.wav", sounds.tone(440, 2.0), sounds.RATE)
    return tmp_path / "a.wav"


def test_explanations_are_measured(recording: Path) -> None:
    label = audiocnn.load_model().predict(recording).label
    (recording.parent / label).mkdir()
    recording.rename(recording.parent / label / recording.name)
    printed = last_line("explain.py", recording.parent, "--part", "all", "--seconds", "1", cwd=recording.parent)
    assert printed.endswith("for 1 s of sound")


def test_awkward_files_are_counted(recording: Path) -> None:
    (recording.parent / "broken.wav").write_text("no sound")
    with open(recording.parent / "MANIFEST.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerows([("file", "kind", "silent_problem"), ("a.wav", "good", ""), ("broken.wav", "text", "")])
    assert "0 silent problems without a code" in last_line("awkward.py", recording.parent, cwd=recording.parent)


@pytest.mark.skip(reason="mounts file systems and takes many minutes; run it by hand")
def test_a_full_disk_is_measured(tmp_path: Path) -> None:
    assert last_line("full_disk.py", "--sizes", "2", cwd=tmp_path).endswith("0 not")
