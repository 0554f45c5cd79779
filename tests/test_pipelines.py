"""The DVC pipelines: run for real on a small corpus, then again after one value has changed."""

import json
import os
import re
import shutil
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import prefork
import pytest
import soundfile
import sounds
import yaml
from projects import audiocnn, set_lines

from audiocnn import config
from audiocnn.specs import Experiment

pytestmark = pytest.mark.slow

PIPELINES = Path(__file__).resolve().parents[1] / "pipelines"
STAGES = ["featurize", "train", "evaluate"]

# The commands of this very environment come first.
PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
DVC = shutil.which("dvc", path=PATH)
needs_dvc = pytest.mark.skipif(
    DVC is None and not os.environ.get("AUDIOCNN_TEST_INSTALLED"),
    reason="dvc is not installed; pip install 'audiocnn[pipelines]'",
)


# The ``audiocnn`` that DVC runs: it asks the process of the tests to run the command by `prefork`.
ASK = """#!{python} -SE
import json, os, socket, sys
with socket.create_connection(("127.0.0.1", {port})) as test:
    test.sendall(json.dumps([os.getcwd(), *sys.argv[1:]]).encode() + b"\\n")
    code, out, err = json.load(test.makefile())
print(out, end="")
print(err, end="", file=sys.stderr)
sys.exit(code)
"""


class RunStage(socketserver.StreamRequestHandler):
    """Run the command that `ASK` asks for."""

    def handle(self) -> None:
        cwd, *arguments = json.loads(self.rfile.readline())
        done = prefork.run(*arguments, cwd=Path(cwd))
        self.wfile.write(json.dumps([done.returncode, done.stdout, done.stderr]).encode())


def command(*arguments: str, cwd: Path) -> str:
    """Run a command that must end well, and return what it printed."""
    aside = cwd.parent / "dvc-aside"  # DVC's own files outside of the project
    env = {
        **os.environ,
        "PATH": os.pathsep.join([str(cwd.parent / "bin"), PATH]),
        "SHELL": "/bin/sh",
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str(aside / "site"),
        "DVC_GLOBAL_CONFIG_DIR": str(aside / "global"),
        "DVC_SYSTEM_CONFIG_DIR": str(aside / "system"),
    }
    done = subprocess.run(arguments, cwd=cwd, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{arguments}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def repro(project: Path) -> list[str]:
    """Bring the pipeline up to date; return the stages that ran."""
    return re.findall(r"^Running stage '(\w+)'", command("dvc", "repro", cwd=project), re.MULTILINE)


def changed(project: Path) -> list[str]:
    """The stages that DVC knows to be out of date before anything runs."""
    return re.findall(r"^(\w+):$", command("dvc", "status", cwd=project), re.MULTILINE)


def set_value(project: Path, section: str, key: str, value: object) -> None:
    """Change one value of ``audiocnn.yaml`` in place, as a user would."""
    file = project / "audiocnn.yaml"
    text, n = re.subn(rf"(?ms)(^{section}:.*?^  {key}: )\S+", rf"\g<1>{value}", file.read_text(), count=1)
    assert n == 1, f"{section}.{key} is not in the file"
    file.write_text(text)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Where `ASK` is answered."""
    with socketserver.TCPServer(("127.0.0.1", 0), RunStage) as server:
        threading.Thread(target=server.serve_forever).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, port: int) -> Path:
    """A project of three classes after its first ``dvc repro``; its recordings, one of them broken, lie outside."""
    folder = tmp_path_factory.mktemp("pipeline")
    rows = ["path,label,split"]
    for label, pitch_hz in (("low", 200), ("middle", 900), ("high", 3000)):
        (folder / "my sounds" / label).mkdir(parents=True)
        for i in range(8):
            sound = sounds.tone(pitch_hz * (1 + i / 100), 0.5) + sounds.noise(0.5, level=0.02, seed=i)
            soundfile.write(folder / "my sounds" / label / f"{i}.wav", sound, sounds.RATE, subtype="PCM_16")
            rows.append(f"{label}/{i}.wav,{label},{'test' if i < 2 else 'validation' if i < 4 else 'train'}")
    (folder / "my sounds" / "low" / "broken.wav").write_bytes(b"RIFF\x24\0\0\0WAVEfmt nonsense")
    rows.append("low/broken.wav,low,test")
    (folder / "sounds.csv").write_text("\n".join(rows) + "\n")
    (folder / "bin").mkdir()
    (folder / "bin" / "audiocnn").write_text(ASK.format(python=sys.executable, port=port))
    (folder / "bin" / "audiocnn").chmod(0o755)
    project = folder / "project"
    project.mkdir()
    audiocnn("init", "../sounds.csv", "--root", "../my sounds", "--preset", "instrument", cwd=project)
    set_lines(project / "audiocnn.yaml", model='"4C3S2-GAP-*"', epochs="2", bootstrap="100")
    shutil.copy(PIPELINES / "instrument" / "dvc.yaml", project)
    command("dvc", "init", "--no-scm", "--quiet", cwd=project)
    assert repro(project) == STAGES
    return project


@pytest.fixture
def project(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished project, to change at will."""
    shutil.copytree(finished.parent, tmp_path / "copy")
    return tmp_path / "copy" / finished.name


@needs_dvc
def test_the_pipeline_makes_what_the_commands_make_and_an_unreadable_recording_does_not_stop_it(finished: Path) -> None:
    (run,) = (finished / "runs").iterdir()
    made = {path.name for path in run.iterdir()}
    assert made >= {
        "features", "quarantine.csv", "split.json", "model", "history.csv",
        "predictions.csv", "metrics.json", "report.html",
    }  # fmt: skip
    assert "low/broken.wav" in (run / "quarantine.csv").read_text()
    assert "low/broken.wav" in (run / "predictions.csv").read_text()
    assert "recording.accuracy.value" in command("dvc", "metrics", "show", cwd=finished)
    assert "val_loss" in command("dvc", "plots", "show", "--json", cwd=finished)


@needs_dvc
def test_a_change_of_one_value_runs_only_what_depends_on_it(project: Path) -> None:
    assert repro(project) == []
    set_value(project, "evaluate", "bootstrap", 101)
    assert repro(project) == ["evaluate"]
    set_value(project, "train", "epochs", 1)
    assert repro(project) == ["train", "evaluate"]
    set_value(project, "features", "hop_frames", 4)
    assert set(changed(project)) == {"featurize", "train"}  # another training even while the folder is unchanged
    assert repro(project) == STAGES
    assert changed(project) == []


@needs_dvc
def test_a_changed_recording_is_noticed_and_so_is_a_changed_manifest(project: Path) -> None:
    manifest = project / "manifest.csv"
    recording = project.parent / "my sounds" / "high" / "7.wav"
    soundfile.write(recording, sounds.noise(1.0), sounds.RATE)
    assert changed(project) == ["featurize"]
    manifest.write_text(manifest.read_text().replace("high/6.wav,high", "high/6.wav,low"))
    assert set(changed(project)) == set(STAGES)


@needs_dvc
def test_a_lost_result_is_made_again(project: Path) -> None:
    (run,) = (project / "runs").iterdir()
    before = (run / "history.csv").read_text()
    (run / "history.csv").unlink()
    assert repro(project) == ["train"]
    assert (run / "history.csv").read_text() == before


def test_all_presets_have_the_same_pipeline() -> None:
    general, *others = (yaml.safe_load((PIPELINES / name / "dvc.yaml").read_text()) for name in config.PRESETS)
    assert others == [general] * (len(config.PRESETS) - 1)


@pytest.mark.parametrize(("preset", "not_set"), [("instrument", {"members"}), ("best", {"features", "model", "train"})])
def test_every_part_of_the_configuration_is_watched_by_a_stage(preset: str, not_set: set[str]) -> None:
    stages = yaml.safe_load((PIPELINES / preset / "dvc.yaml").read_text())["stages"]
    watched = {name for stage in stages.values() for entry in stage["params"] for name in entry["audiocnn.yaml"]}
    paths = {"name", "data"}  # part of every path below, so a change of them is noticed too
    assert watched == set(Experiment.model_fields) - paths - not_set


def test_the_pipeline_of_several_networks_names_its_members_and_has_the_same_commands() -> None:
    best, general = (yaml.safe_load((PIPELINES / name / "dvc.yaml").read_text()) for name in ("best", "general"))
    members = config.read_preset("best").members
    assert [list(out) for out in best["stages"]["featurize"]["outs"]][:-1] == [
        [f"runs/${{name}}/members/{name}/features"] for name in members
    ]
    commands = [[stage["cmd"] for stage in one["stages"].values()] for one in (best, general)]
    assert commands[0] == commands[1]


def test_no_stage_deletes_or_hides_the_results_of_the_one_before_it() -> None:
    stages = yaml.safe_load((PIPELINES / "instrument" / "dvc.yaml").read_text())["stages"]
    made = [entry for stage in stages.values() for kind in ("outs", "metrics") for entry in stage.get(kind, [])]
    assert len(made) == 8
    assert all(flags == {"cache": False, "persist": True} for entry in made for flags in entry.values())
