"""Projects whose members are not all there, or cannot use the same recordings: one line that names the member."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import soundfile
import sounds
from ensembles import LOGMEL, MFCC, write_bundle
from extras import require_keras
from projects import PITCH_HZ, audiocnn

from audiocnn import config
from audiocnn.config import Project
from audiocnn.errors import ConfigError, NotReadyError
from audiocnn.progress import Progress
from audiocnn.stages import train
from audiocnn.training import train_ensemble

pytestmark = pytest.mark.slow

require_keras()

NETWORK = {"model": "2C3-P4-*", "train": {"epochs": 1, "patience": 1}}


def with_members(project: Project, **features: dict[str, Any]) -> Project:
    """Write members with these changes to their features: ``fine`` has those of `MFCC`, others those of `LOGMEL`."""
    members = {
        name: {"features": {**(MFCC if name == "fine" else LOGMEL).model_dump(mode="json"), **changes}, **NETWORK}
        for name, changes in features.items()
    }
    settings = {
        "name": "mine",
        "data": {"manifest": "manifest.csv", "root": "sounds"},
        "split": {"test": 0.25, "validation": 0.25},
        "members": members,
    }
    project.file.write_text(config.to_yaml(settings))
    return config.read(project.file)


@pytest.fixture(scope="module")
def featurized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of pure tones with the features of two members."""
    folder = tmp_path_factory.mktemp("project")
    rows = ["path,label"]
    for label, hz in PITCH_HZ.items():
        (folder / "sounds" / label).mkdir(parents=True)
        for i in range(4):
            soundfile.write(folder / "sounds" / label / f"{i}.wav", sounds.tone(hz * (1 + i / 20), 1), sounds.RATE)
            rows.append(f"{label}/{i}.wav,{label}")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    with_members(Project(folder / "audiocnn.yaml", None), wide={}, fine={})  # type: ignore[arg-type]
    audiocnn("featurize", "--jobs", "1", cwd=folder)
    return folder


@pytest.fixture
def project(featurized: Path, tmp_path: Path) -> Project:
    """A copy to change."""
    return config.read(Path(shutil.copytree(featurized, tmp_path / "copy")) / "audiocnn.yaml")


class Lines(Progress):
    """Keeps what is reported."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, message: str) -> None:
        self.lines.append(message)


def test_a_member_without_features_is_named_with_the_command_to_run(project: Project) -> None:
    with pytest.raises(NotReadyError, match=r"^member third: no features with these settings.*audiocnn featurize"):
        train_ensemble.prepare_networks(with_members(project, wide={}, fine={}, third={"n_mels": 24}), {}, Progress())


@pytest.mark.parametrize("fmin", [2_000.0, 6_000.0])
def test_a_member_that_can_use_no_recording_of_a_label_is_refused(project: Project, fmin: float) -> None:
    changed = with_members(project, wide={"fmin": fmin, "silence_dbfs": -40.0}, fine={})
    audiocnn("featurize", "--jobs", "1", cwd=project.file.parent)
    with pytest.raises(ConfigError) as refused:
        train_ensemble.prepare_networks(changed, {}, Progress())
    line = str(refused.value)
    assert line.startswith("member wide: no recording") and "members.wide.features" in line and "\n" not in line
    assert refused.value.exit_code == 2


def test_a_member_lacks_the_recordings_that_are_silent_in_its_band(project: Project) -> None:
    low = project.root / "low" / "0.wav"
    soundfile.write(low, sounds.tone(100, 1), sounds.RATE)
    changed = with_members(project, wide={"fmin": 150.0, "silence_dbfs": -25.0}, fine={})
    audiocnn("featurize", "--jobs", "1", cwd=project.file.parent)
    data = train_ensemble.prepare_networks(changed, {}, Progress())
    assert {r.path for r in data["fine"].recordings} - {r.path for r in data["wide"].recordings} == {"low/0.wav"}
    assert data["wide"].labels == data["fine"].labels


def test_evaluate_names_the_members_of_an_interrupted_training_and_the_command_that_resumes(project: Project) -> None:
    write_bundle(project.members["wide"].run / "model", LOGMEL)
    done = audiocnn("evaluate", cwd=project.file.parent, code=2)
    (line,) = done.stderr.splitlines()
    assert "no model yet, only of member wide; run 'audiocnn train', which resumes" in line


@pytest.mark.slow
def test_train_resumes_after_an_interruption_and_names_the_folder_of_a_member_that_is_gone(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = shutil.copytree(project.file.parent, project.file.parent.with_name("whole"))
    whole = replace(project, file=Path(other) / "audiocnn.yaml")
    audiocnn("train", cwd=whole.file.parent)
    options: dict[str, Any] = {"changes": {}, "fresh": False, "init_from": None}
    trained = train_ensemble.BundleTraining.run

    def interrupted(self: Any, logs: Any) -> Any:
        if self.project.member == "fine":
            raise KeyboardInterrupt
        return trained(self, logs)

    with monkeypatch.context() as patch:
        patch.setattr(train_ensemble.BundleTraining, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train.run(project, **options, progress=Progress())
    (project.run / "members" / "old").mkdir()
    progress = Lines()
    result = train.run(project, **options, progress=progress)
    assert [one.kept for one in result.members.values()] == [True, False]
    (line,) = [line for line in progress.lines if "may be removed" in line]
    assert line == f"{project.run / 'members'}: old: no longer in audiocnn.yaml; not used, and may be removed"
    files = [file.relative_to(whole.run) for file in (whole.run / "model").rglob("*") if file.is_file()]
    assert len(files) == 14
    assert [(project.run / file).read_bytes() for file in files] == [(whole.run / file).read_bytes() for file in files]
