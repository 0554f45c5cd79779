"""Recordings that were moved, removed, renamed or added after a training, and settings that were changed."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from projects import audiocnn, featurized, set_lines, tones, trained

from audiocnn import config
from audiocnn.errors import ConfigError
from audiocnn.model import bundle, changed_settings
from audiocnn.progress import Progress
from audiocnn.stages import audit, evaluate, featurize, relocate


class Told(Progress):
    """Keeps warnings and messages."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def warn(self, line: str) -> None:
        self.lines.append(line)

    info = warn

    def __contains__(self, part: str) -> bool:
        return any(part in line for line in self.lines)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained and evaluated project of three labels with four recordings each."""
    folder = tmp_path_factory.mktemp("moved")
    tones(folder / "sounds", 4)
    project = trained(featurized(folder, model='"4C3-P4-*"', epochs="1"))
    evaluated(project)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "project"))


def evaluated(project: config.Project, progress: Progress | None = None, **how: Any) -> evaluate.EvaluateResult:
    return evaluate.run(
        project, model=None, part="test", other=None, output=None, jobs=1, progress=progress or Progress(), **how
    )


@pytest.mark.slow
def test_moved_recordings_are_reported_and_a_report_with_sounds_is_kept_unless_asked(folder: Path) -> None:
    project, report = config.read(folder / "audiocnn.yaml"), folder / "runs" / "sounds" / "report.html"
    before, features = report.read_bytes(), sorted((folder / "runs" / "sounds" / "features").rglob("*.*"))
    assert b"data:audio/" in before
    (folder / "sounds").rename(folder / "elsewhere")
    gone = r"sounds \(data\.root in .*audiocnn\.yaml\) is no folder, so .* missing"
    with pytest.raises(ConfigError, match=rf"{gone}.*relocate DIR -c .*--allow-missing"):
        evaluated(project)
    assert report.read_bytes().count(b"data:audio/") == before.count(b"data:audio/")
    for stage in (featurize, audit):
        with pytest.raises(ConfigError, match=rf"{gone}; if the recordings were moved, run 'audiocnn relocate DIR"):
            stage.run(project, jobs=1, progress=Progress())
    assert sorted((folder / "runs" / "sounds" / "features").rglob("*.*")) == features
    assert "12 recordings are missing; stored features are used" in audiocnn("train", cwd=folder).stderr
    told = Told()
    figures = evaluated(project, told, allow_missing=True).metrics
    assert figures["n_predicted"] == figures["n_recordings"] == 3 and "the report cannot play them" in told
    assert b"data:audio/" not in report.read_bytes()
    evaluated(project)  # nothing is lost any more
    relocate.run(project, folder / "elsewhere")
    evaluated(config.read(project.file))
    assert report.read_bytes().count(b"data:audio/") == before.count(b"data:audio/")


@pytest.mark.slow
def test_changed_settings_are_reported_by_key_and_saved_thresholds_are_evaluated_in_a_folder_of_their_own(
    folder: Path,
) -> None:
    project = config.read(folder / "audiocnn.yaml")
    model = bundle.load(project.run / "model")
    info = model.info
    assert changed_settings.warning(project, model) == ""
    set_lines(project.file, epochs="7", seed="9", window_frames="12", patience="3", model='"4C3-*"')
    project = config.read(project.file)
    file = folder / "thresholds.json"
    file.write_text(json.dumps({"schema": "audiocnn.thresholds/1", "model": "", "thresholds": {"low": 0.5}}))
    told = Told()
    before = (project.run / "report.html").read_bytes()
    result = evaluated(project, told, thresholds=file)
    assert (
        'audiocnn.yaml differs from what the model was trained with: model "4C3-P4-*" -> "4C3-*", '
        f"features.window_frames {info.features.window_frames} -> 12, train.patience {info.training['patience']} -> 3; "
        "train again to use them"
    ) in told
    assert result.folder == project.run / "evaluations" / "test-thresholds"
    assert (project.run / "report.html").read_bytes() == before
    stored = result.metrics["thresholds"]
    assert stored["wanted"] == {} and stored["labels"]["low"]["threshold"] == 0.5
    assert "The thresholds that were read from a file" in (result.folder / "report.html").read_text()
    file.write_text(file.read_text().replace("low", "loud"))
    with pytest.raises(ConfigError, match=r"thresholds\.json: label 'loud': the model does not have it"):
        evaluated(project, thresholds=file)


@pytest.mark.slow
def test_relocate_changes_one_value_of_the_project_file_and_says_what_it_found(tmp_path: Path) -> None:
    tones(tmp_path / "sounds", 2)
    audiocnn("init", "sounds", "--preset", "instrument", cwd=tmp_path)
    file = tmp_path / "audiocnn.yaml"
    text = file.read_text()
    (tmp_path / "sounds").rename(tmp_path / "a: 'place' # 2")
    said = audiocnn("featurize", cwd=tmp_path, code=2).stderr
    assert said.count("\n") == 1 and "6 recordings are missing; if the recordings were moved" in said
    assert "run 'audiocnn relocate DIR'" in said
    (tmp_path / "other").mkdir()
    for wrong, reason in (
        ("nowhere", "no such folder"),
        ("other", "has none of the 6 recordings in manifest.csv, such as high/0.wav"),
        ("a: 'place' # 2/low", "place' # 2 has some"),
        (".", "place' # 2 has some"),
    ):
        assert reason in audiocnn("relocate", wrong, cwd=tmp_path, code=2).stderr
    assert file.read_text() == text
    said = audiocnn("relocate", "a: 'place' # 2", cwd=tmp_path).stdout
    assert "data.root in audiocnn.yaml is now a: 'place' # 2: 6 of 6 recordings are there." in said
    assert file.read_text() == text.replace('root: "sounds"', "root: \"a: 'place' # 2\"") != text
    (tmp_path / "other" / "low").mkdir()
    shutil.copy(tmp_path / "a: 'place' # 2" / "low" / "0.wav", tmp_path / "other" / "low")
    said = audiocnn("relocate", "other", cwd=tmp_path, code=2).stderr
    assert "has 1 of the 6 recordings in manifest.csv, fewer than" in said
    shutil.rmtree(tmp_path / "a: 'place' # 2")
    assert "5 of them are missing there, such as" in audiocnn("relocate", "other", cwd=tmp_path, code=3).stderr
    assert "5 of 6 recordings are missing below other" in audiocnn("featurize", cwd=tmp_path, code=3).stderr


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("data: {manifest: m.csv, root: sounds}", 'data: {manifest: m.csv, root: "x"}'),
        ("data:\n  root:   'so''unds'   # here\n  manifest: m.csv", 'data:\n  root:   "x"   # here\n  manifest: m.csv'),
        ("data:\r\n  manifest: m.csv\r\n  root: sounds\r\n", 'data:\r\n  manifest: m.csv\r\n  root: "x"\r\n'),
        ("data: &a\n  manifest: m.csv\n  root: sounds", 'data: &a\n  manifest: m.csv\n  root: "x"'),
        ("data:\n  manifest: &b m.csv\n  root: *b", None),
    ],
)
def test_the_folder_is_changed_in_any_form_of_yaml_or_refused(tmp_path: Path, before: str, after: str | None) -> None:
    file = tmp_path / "audiocnn.yaml"
    preset = config.preset_file("instrument").read_text()
    file.write_bytes(f"name: é\n{before}\n{preset}".encode())
    if after is None:
        with pytest.raises(ConfigError, match='set it to "x"'):
            config.with_root(file, "x")
    else:
        assert config.with_root(file, "x") == f"name: é\n{after}\n{preset}"
