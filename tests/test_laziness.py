"""What a command imports, seen from inside: commands that need little start quickly and run without the extras."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import sounds
from projects import set_lines
from soundfile import write

import audiocnn
from audiocnn.errors import MissingExtraError
from audiocnn.model import bundle
from audiocnn.model.locate import SHIPPED

KERAS = {"tensorflow", "keras"}
HEAVY = KERAS | {
    "librosa", "numba", "sklearn", "pandas", "scipy", "matplotlib", "jinja2", "PIL", "distributed", "sounddevice",
    "audiocnn.audio.microphone",
}  # fmt: skip
EXTRAS = KERAS | {"librosa", "numba", "sklearn", "pandas", "scipy", "cleanlab", "onnx", "pyarrow", "distributed"}
NO_PROJECT = {"yaml", "audiocnn.config", "audiocnn.dataset"}  # needed only where there is an audiocnn.yaml
ANYTHING = HEAVY | {
    "numpy", "pydantic", "rich", "yaml", "soundfile", "soxr", "pebble", "safetensors", "ai_edge_litert",
    "importlib.metadata", "asyncio", "multiprocessing",
}  # fmt: skip

LOG = "asked-for.txt"

# Runs commands in turn with these modules out of reach, in their worker processes too, and keeps a list of those that
# were asked for. Prints each command's exit code between two NULs.
PROBE = """
import json
import sys

log, forbidden, commands = sys.argv[1], set(sys.argv[2].split(",")), json.loads(sys.argv[3])

class Guard:
    def find_spec(self, name, path=None, target=None):
        if name in forbidden or name.partition(".")[0] in forbidden:
            with open(log, "a") as file:
                file.write(name + "\\n")
            raise ImportError(name + " is out of reach", name=name)

sys.meta_path.insert(0, Guard())

from audiocnn.cli import main

for command in commands:
    sys.argv[:] = ["audiocnn", *command]
    try:
        main()
    except SystemExit as end:
        print("\\0", end.code, "\\0", sep="", end="", flush=True)
        print("\\0", end="", file=sys.stderr)
"""

Command = Sequence[str | Path]


def start(*commands: Command, cwd: Path, without: set[str]) -> list[subprocess.CompletedProcess[str]]:
    """Run commands in one process, with these modules out of reach."""
    (cwd / LOG).unlink(missing_ok=True)
    done = subprocess.run(
        [sys.executable, "-c", PROBE, cwd / LOG, ",".join(sorted(without)), json.dumps(commands, default=str)],
        cwd=cwd, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    printed, errors = done.stdout.split("\0"), done.stderr.split("\0")
    return [
        subprocess.CompletedProcess(command, int(code), out, err)
        for command, out, code, err in zip(commands, printed[:-1:2], printed[1::2], errors[:-1], strict=True)
    ]


def run(*commands: Command, cwd: Path, without: set[str], code: int = 0) -> list[str]:
    """Run commands that must not ask for any of these modules; return what they printed."""
    every = start(*commands, cwd=cwd, without=without)
    asked_for = (cwd / LOG).read_text().split() if (cwd / LOG).exists() else []
    assert asked_for == [], [done.stderr for done in every]
    assert {done.returncode for done in every} == {code}, [done.stderr for done in every]
    return [done.stdout for done in every]


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
        run(("predict", "song.wav"), cwd=tmp_path, without={"numpy"})


def test_help_imports_click_and_nothing_else(tmp_path: Path) -> None:
    commands = (("--help",), ("--version",), ("predict", "--help"), ("train", "--help"))
    assert all("audiocnn" in printed for printed in run(*commands, cwd=tmp_path, without=ANYTHING))


def test_a_mistyped_command_is_refused_as_quickly(tmp_path: Path) -> None:
    run(("predikt",), cwd=tmp_path, without=ANYTHING, code=2)


@pytest.mark.slow
def test_predict_needs_neither_keras_nor_librosa_nor_pandas_nor_a_project(recordings: Path, tmp_path: Path) -> None:
    commands = [("predict", recordings, "--format", form) for form in ("table", "csv", "json")]
    printed = run(*commands, cwd=tmp_path, without=HEAVY | EXTRAS | NO_PROJECT | {"numpy.ma"})
    assert [text.count(".wav") for text in printed] == [6, 6, 6]
    assert {row["status"] for row in json.loads(printed[-1])["recordings"]} <= {"ok", "unknown"}


@pytest.mark.slow
def test_events_need_no_more_than_that(recordings: Path, tmp_path: Path) -> None:
    events = ("predict", recordings, "--events", "--threshold", "0.01", "--jobs", "1", "--format")
    commands = [(*events, form) for form in ("table", "csv", "json", "audacity", "raven")]
    assert all(run(*commands, cwd=tmp_path, without=HEAVY | EXTRAS))


@pytest.mark.slow
def test_features_of_a_preset_need_neither_keras_nor_librosa(recordings: Path, tmp_path: Path) -> None:
    commands = [
        command
        for preset in ("instrument", "spectrogram")
        for command in (
            ("init", recordings, "--preset", preset, "--out", preset),
            ("featurize", "-c", f"{preset}/audiocnn.yaml"),
        )
    ]
    assert all("6 computed" in printed for printed in run(*commands, cwd=tmp_path, without=HEAVY)[1::2])


@pytest.fixture(scope="module")
def project(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project made by the base alone, with a manifest, settings and features."""
    folder = tmp_path_factory.mktemp("project")
    run(("init", recordings, "--preset", "instrument"), ("featurize",), cwd=folder, without=EXTRAS)
    return folder


@pytest.mark.slow
def test_the_base_explains_by_occlusion_with_a_page_and_sounds(recordings: Path, tmp_path: Path) -> None:
    file = next(recordings.rglob("*.wav"))
    run(("explain", file, "--model", SHIPPED, "-o", "why"), cwd=tmp_path, without=EXTRAS)
    assert {"index.html", "importance.npy", "what-mattered.wav", "the-rest.wav"} <= set(os.listdir(tmp_path / "why"))


@pytest.mark.slow
def test_info_needs_neither_keras_nor_any_extra_nor_a_project(tmp_path: Path) -> None:
    commands = [("info", SHIPPED, "--format", form) for form in ("table", "json")]
    without = HEAVY | EXTRAS | NO_PROJECT | {"audiocnn.audio", "audiocnn.inference", "numpy.ma", "pebble"}
    assert all("Hi_hat" in printed for printed in run(*commands, cwd=tmp_path, without=without))


@pytest.mark.slow
def test_the_base_verifies_and_exports_to_litert(tmp_path: Path) -> None:
    export = ("export", "--model", SHIPPED, "--format", "tflite")
    run(("verify", SHIPPED), export, cwd=tmp_path, without=EXTRAS)


@pytest.mark.slow
def test_the_base_audits(project: Path) -> None:
    (printed,) = run(("audit", "--jobs", "1"), cwd=project, without=EXTRAS)
    assert "Details: " in printed


@pytest.mark.slow
def test_what_needs_an_extra_names_it_in_one_line(project: Path) -> None:
    commands = (
        ("evaluate", "--model", SHIPPED), ("train",), ("crossval",), ("sweep", "depth"), ("tune-events",), ("demo",),
        ("run",)
    )  # fmt: skip
    for done in start(*commands, cwd=project, without=EXTRAS):
        assert done.returncode == 2, done.args
        line = done.stderr.splitlines()[-1]
        assert re.fullmatch(r"audiocnn: \w+: not installed; pip install 'audiocnn\[train\]'", line), done.args
        assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_features_of_other_settings_need_librosa_and_say_so(project: Path) -> None:
    settings = (project / "audiocnn.yaml").read_text()
    other = re.sub(r"n_mels: \d+", "n_mels: 41", settings)
    assert other != settings
    (project / "other.yaml").write_text(other)
    (done,) = start(("featurize", "-c", "other.yaml"), cwd=project, without={"librosa"})
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
    run(("init", recordings, "--preset", "instrument"), cwd=tmp_path, without=HEAVY)
    set_lines(tmp_path / "audiocnn.yaml", bootstrap="100")
    manifest = recordings / "all.csv"
    rows = [f"{file.relative_to(recordings)},{file.parent.name}" for file in sorted(recordings.rglob("*.wav"))]
    manifest.write_text("\n".join(["path,label", *rows]) + "\n")
    evaluate = ("evaluate", "--model", SHIPPED, "--manifest", manifest, "-o", "out", "--jobs", "1")
    run(evaluate, cwd=tmp_path, without=KERAS | {"librosa"})
    assert (tmp_path / "out" / "report.html").is_file()
