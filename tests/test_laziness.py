"""What a command imports, seen from inside: commands that need little start quickly and run without the extras."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import sounds
from soundfile import write

import audiocnn
from audiocnn.errors import MissingExtraError
from audiocnn.model import bundle
from audiocnn.stages.predict import SHIPPED

KERAS = {"tensorflow", "keras"}
HEAVY = KERAS | {
    "librosa", "numba", "sklearn", "pandas", "scipy", "matplotlib", "jinja2", "PIL", "distributed", "sounddevice",
    "audiocnn.audio.microphone",
}  # fmt: skip
EXTRAS = KERAS | {"librosa", "numba", "sklearn", "pandas", "scipy", "cleanlab", "onnx", "pyarrow", "distributed"}
ANYTHING = HEAVY | {
    "numpy", "pydantic", "rich", "yaml", "soundfile", "soxr", "pebble", "safetensors", "ai_edge_litert",
    "importlib.metadata", "asyncio", "multiprocessing",
}  # fmt: skip

LOG = "asked-for.txt"

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


def start(*arguments: str | Path, cwd: Path, without: set[str]) -> "subprocess.CompletedProcess[str]":
    """Run a command with these modules out of reach."""
    (cwd / LOG).unlink(missing_ok=True)
    return subprocess.run(
        [sys.executable, "-c", PROBE, cwd / LOG, ",".join(sorted(without)), *map(str, arguments)],
        cwd=cwd, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


def run(*arguments: str | Path, cwd: Path, without: set[str], code: int = 0) -> str:
    """Run a command that must not ask for any of these modules; return what it printed."""
    done = start(*arguments, cwd=cwd, without=without)
    asked_for = (cwd / LOG).read_text().split() if (cwd / LOG).exists() else []
    assert asked_for == [], done.stderr
    assert done.returncode == code, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two classes that the shipped model knows, three sounds of each."""
    folder = tmp_path_factory.mktemp("lazy") / "recordings"
    for number, label in enumerate(bundle.read(SHIPPED)[0].labels[:2]):
        (folder / label).mkdir(parents=True)
        for i in range(3):
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
    assert printed.count(".wav") == 6
    if form == "json":
        assert {row["status"] for row in json.loads(printed)["recordings"]} <= {"ok", "unknown"}


@pytest.mark.slow
@pytest.mark.parametrize("form", ["table", "csv", "json", "audacity", "raven"])
def test_events_need_no_more_than_that(recordings: Path, tmp_path: Path, form: str) -> None:
    assert run("predict", recordings, "--events", "--threshold", "0.01", "--format", form, cwd=tmp_path, without=HEAVY)


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["instrument", "spectrogram"])
def test_features_of_a_preset_need_neither_keras_nor_librosa(recordings: Path, tmp_path: Path, preset: str) -> None:
    run("init", recordings, "--preset", preset, cwd=tmp_path, without=HEAVY)
    printed = run("featurize", cwd=tmp_path, without=HEAVY)
    assert "6 computed" in printed


@pytest.fixture(scope="module")
def project(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project made by the base alone, with a manifest and settings and nothing else."""
    folder = tmp_path_factory.mktemp("project")
    run("init", recordings, "--preset", "instrument", cwd=folder, without=EXTRAS)
    return folder


def test_the_base_explains_by_occlusion_with_a_page_and_sounds(recordings: Path, tmp_path: Path) -> None:
    file = next(recordings.rglob("*.wav"))
    run("explain", file, "--model", SHIPPED, "-o", "why", cwd=tmp_path, without=EXTRAS)
    assert {"index.html", "importance.npy", "what-mattered.wav", "the-rest.wav"} <= set(os.listdir(tmp_path / "why"))


@pytest.mark.parametrize("form", ["table", "json"])
def test_info_needs_neither_keras_nor_any_extra(tmp_path: Path, form: str) -> None:
    assert "Hi_hat" in run("info", SHIPPED, "--format", form, cwd=tmp_path, without=HEAVY)


def test_the_base_verifies_and_exports_to_litert(tmp_path: Path) -> None:
    run("verify", SHIPPED, cwd=tmp_path, without=EXTRAS)
    run("export", "--model", SHIPPED, "--format", "tflite", cwd=tmp_path, without=EXTRAS)


def test_the_base_audits(project: Path) -> None:
    printed = run("audit", cwd=project, without=EXTRAS)
    assert "Details: " in printed


@pytest.mark.parametrize(
    "arguments",
    [("evaluate", "--model", SHIPPED), ("train",), ("crossval",), ("sweep", "depth"), ("tune-events",), ("demo",)],
    ids=lambda arguments: arguments[0],
)
def test_what_needs_an_extra_names_it_in_one_line(project: Path, arguments: tuple[str | Path, ...]) -> None:
    if arguments == ("train",):
        run("featurize", cwd=project, without=EXTRAS)
    done = start(*arguments, cwd=project, without=EXTRAS)
    assert done.returncode == 2
    assert re.fullmatch(r"audiocnn: \w+: not installed; pip install 'audiocnn\[train\]'", done.stderr.splitlines()[-1])
    assert "Traceback" not in done.stderr


def test_features_of_other_settings_need_librosa_and_say_so(project: Path) -> None:
    settings = (project / "audiocnn.yaml").read_text()
    other = re.sub(r"n_mels: \d+", "n_mels: 41", settings)
    assert other != settings
    (project / "other.yaml").write_text(other)
    done = start("featurize", "-c", "other.yaml", cwd=project, without={"librosa"})
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "audiocnn: librosa: not installed; pip install 'audiocnn[train]'"


def test_only_tables_of_the_python_interface_need_pandas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    sound = sounds.tone(300, 1.5, 44_100)
    features = audiocnn.featurize(sound, sample_rate=44_100)
    model = audiocnn.load_model()
    prediction, embedding = model.predict(sound, sample_rate=44_100), model.embed(sound, sample_rate=44_100)
    for result in (features, prediction, embedding):
        with pytest.raises(MissingExtraError, match=r"^pandas: not installed; pip install 'audiocnn\[pandas\]'$"):
            result.to_pandas()


@pytest.mark.slow
def test_evaluate_needs_neither_keras_nor_librosa(recordings: Path, tmp_path: Path) -> None:
    run("init", recordings, "--preset", "instrument", cwd=tmp_path, without=HEAVY)
    manifest = recordings / "all.csv"
    rows = [f"{file.relative_to(recordings)},{file.parent.name}" for file in sorted(recordings.rglob("*.wav"))]
    manifest.write_text("\n".join(["path,label", *rows]) + "\n")
    run("evaluate", "--model", SHIPPED, "--manifest", manifest, "-o", "out", cwd=tmp_path, without=KERAS | {"librosa"})
    assert (tmp_path / "out" / "report.html").is_file()
