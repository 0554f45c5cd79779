"""What a command imports, seen from inside: commands that need little start quickly and run without the extras."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import sounds
from soundfile import write

from audiocnn.model import bundle
from audiocnn.stages.predict import SHIPPED

KERAS = {"tensorflow", "keras"}
HEAVY = KERAS | {
    "librosa", "numba", "sklearn", "pandas", "scipy", "matplotlib", "jinja2", "PIL", "distributed", "sounddevice",
    "audiocnn.audio.microphone",
}  # fmt: skip
ANYTHING = HEAVY | {
    "numpy", "pydantic", "rich", "yaml", "soundfile", "soxr", "pebble", "safetensors", "ai_edge_litert",
    "importlib.metadata", "asyncio", "multiprocessing",
}  # fmt: skip

# Runs the command with these modules out of reach, in its worker processes too, and keeps a list of who was asked for.
PROBE = """
import sys

log, forbidden = sys.argv[1], set(sys.argv[2].split(","))

class Guard:
    def find_spec(self, name, path=None, target=None):
        if name in forbidden or name.partition(".")[0] in forbidden:
            with open(log, "a") as file:
                file.write(name + "\\n")
            raise ImportError(name + " is out of reach", name=name)

sys.meta_path.insert(0, Guard())
sys.argv[:] = ["audiocnn", *sys.argv[3:]]

from audiocnn.cli import main

main()
"""


def run(*arguments: str | Path, cwd: Path, without: set[str], code: int = 0) -> str:
    """Run a command that must not ask for any of these modules; return what it printed."""
    log = cwd / "asked-for.txt"
    done = subprocess.run(
        [sys.executable, "-c", PROBE, log, ",".join(sorted(without)), *map(str, arguments)],
        cwd=cwd, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    asked_for = log.read_text().split() if log.exists() else []
    assert asked_for == [], done.stderr
    assert done.returncode == code, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two classes that the shipped model knows, two sounds of each."""
    folder = tmp_path_factory.mktemp("lazy") / "recordings"
    for number, label in enumerate(bundle.check(SHIPPED)[0].labels[:2]):
        (folder / label).mkdir(parents=True)
        for i in range(2):
            write(folder / label / f"{i}.wav", sounds.tone(300 + 500 * number + 50 * i, 1.5, 44_100), 44_100)
    return folder


def test_the_guard_notices_an_import(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="numpy is out of reach"):
        run("predict", "--model", tmp_path, "song.wav", cwd=tmp_path, without={"numpy"})


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("predict", "--help"), ("train", "--help")])
def test_help_imports_click_and_nothing_else(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    assert "audiocnn" in run(*arguments, cwd=tmp_path, without=ANYTHING)


def test_a_mistyped_command_is_refused_as_quickly(tmp_path: Path) -> None:
    run("predikt", cwd=tmp_path, without=ANYTHING, code=2)


@pytest.mark.parametrize("form", ["table", "csv", "json"])
def test_predict_needs_neither_keras_nor_librosa_nor_pandas(recordings: Path, tmp_path: Path, form: str) -> None:
    printed = run("predict", recordings, "--format", form, cwd=tmp_path, without=HEAVY)
    assert printed.count(".wav") == 4
    if form == "json":
        assert {row["status"] for row in json.loads(printed)["recordings"]} <= {"ok", "unknown"}


@pytest.mark.parametrize("form", ["table", "csv", "json", "audacity", "raven"])
def test_events_need_no_more_than_that(recordings: Path, tmp_path: Path, form: str) -> None:
    assert run("predict", recordings, "--events", "--threshold", "0.01", "--format", form, cwd=tmp_path, without=HEAVY)


@pytest.mark.parametrize("preset", ["instrument", "spectrogram"])
def test_features_of_a_preset_need_neither_keras_nor_librosa(recordings: Path, tmp_path: Path, preset: str) -> None:
    run("init", recordings, "--preset", preset, cwd=tmp_path, without=HEAVY)
    printed = run("featurize", cwd=tmp_path, without=HEAVY)
    assert "4 computed" in printed


def test_evaluate_needs_neither_keras_nor_librosa(recordings: Path, tmp_path: Path) -> None:
    run("init", recordings, "--preset", "instrument", cwd=tmp_path, without=HEAVY)
    manifest = recordings / "all.csv"
    rows = [f"{file.relative_to(recordings)},{file.parent.name}" for file in sorted(recordings.rglob("*.wav"))]
    manifest.write_text("\n".join(["path,label", *rows]) + "\n")
    run("evaluate", "--model", SHIPPED, "--manifest", manifest, "-o", "out", cwd=tmp_path, without=KERAS | {"librosa"})
    assert (tmp_path / "out" / "report.html").is_file()
