"""What `init` writes is a project that every command can read, or it writes nothing and says why in one line."""

import os
from pathlib import Path

import pytest
import soundfile
import sounds
from click.testing import CliRunner

from audiocnn import config
from audiocnn.cli import cli
from audiocnn.config import Project
from audiocnn.dataset import manifest
from audiocnn.errors import ConfigError
from audiocnn.progress import Progress
from audiocnn.stages import featurize, init

ODD = ["a" * 255, "日本語" * 28, "😀 x²½", "e\u0301toile", 'say "hi" \\x41 a\x7fb\u2028#: -', "--"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two labels of a recording each, to be renamed."""
    for label in ("low", "high"):
        (tmp_path / "sounds" / label).mkdir(parents=True)
        soundfile.write(tmp_path / "sounds" / label / "a.wav", sounds.noise(1.0), sounds.RATE)
    return tmp_path / "sounds"


def made(source: Path, out: Path, **choices: str | None) -> Project:
    wanted = dict.fromkeys(("name", "preset", "group_by", "root", "background")) | choices
    done = init.run(source, **wanted, out=out, allow_outside=False, force=False, jobs=1, progress=Progress())
    return config.read(done.config)


def refusal(source: Path, out: Path, **choices: str | None) -> str:
    """What `init` says; nothing is written."""
    before = sorted(out.rglob("*"))
    with pytest.raises(ConfigError) as raised:
        made(source, out, **choices)
    assert sorted(out.rglob("*")) == before
    assert len(str(raised.value).splitlines()) == 1
    return str(raised.value)


@pytest.mark.parametrize("name", ODD)
def test_a_folder_of_any_name_becomes_a_project(name: str, folder: Path) -> None:
    project = made(folder.rename(folder.parent / name), folder.parent)
    project.run.mkdir(parents=True)
    recordings = manifest.read(project.manifest, root=project.root)
    assert [recording.file(project.root).is_file() for recording in recordings] == [True, True]


@pytest.mark.slow
def test_a_project_named_after_a_long_folder_can_be_worked_in(folder: Path) -> None:
    project = made(folder.rename(folder.parent / ("é" * 127)), folder.parent)
    assert project.experiment.name == "é" * 100
    assert not featurize.run(project, jobs=1, progress=Progress()).n_bad


@pytest.mark.slow
def test_plain_names_are_taken_as_they_are(folder: Path) -> None:
    assert made(folder, folder.parent).experiment.name == "sounds"
    for number, name in enumerate(("_A b.c-d_2", "2" + "é" * 99)):
        assert made(folder, folder.parent / str(number), name=name).experiment.name == name


@pytest.mark.parametrize("name", ["a/b", "..", ".hidden", "", "-x", "a\n", "a\x00", "caf\udce9", "x²"])
def test_a_name_that_is_none_of_a_folder_is_refused(name: str, folder: Path) -> None:
    said = refusal(folder, folder.parent, name=name)
    assert said.startswith("--name '")
    assert "use letters, digits, _ . - and spaces" in said


@pytest.mark.parametrize(
    ("name", "size"), [("a" * 101, "101 characters, 101 bytes"), ("日" * 67, "67 characters, 201 bytes")]
)
def test_a_name_that_is_too_long_is_refused(name: str, size: str, folder: Path) -> None:
    said = refusal(folder, folder.parent, name=name)
    assert said == f"--name '{name}': has {size}; choose one of at most 100 characters, 200 bytes"


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="names are not bytes there")
def test_a_folder_that_is_not_utf_8_is_named_and_can_be_worked_in_from_inside(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        odd = folder.rename(folder.parent / "caf\udce9")
    except OSError:
        pytest.skip("this file system has UTF-8 names only")
    said = refusal(odd, folder.parent)
    assert said.startswith("caf\\udce9: is not UTF-8, as audiocnn.yaml must be; rename that folder")
    monkeypatch.chdir(odd)
    project = made(Path(), Path())
    assert not featurize.run(project, jobs=1, progress=Progress()).n_bad


def test_labels_that_yaml_would_read_otherwise_come_back_as_they_were(folder: Path) -> None:
    (folder / "low").rename(folder / "a\u2028: # 😀")
    (folder / "high" / "b.wav").write_bytes((folder / "high" / "a.wav").read_bytes())
    assert made(folder, folder.parent).experiment.positive == "a\u2028: # 😀"


def test_a_preset_that_cannot_be_continued_is_refused(folder: Path, tmp_path: Path) -> None:
    preset = tmp_path / "mine.yaml"
    preset.write_text("---\n" + config.preset_file("general").read_text(encoding="utf-8"), encoding="utf-8")
    assert "audiocnn.yaml: " in refusal(folder, tmp_path, preset=str(preset))


@pytest.mark.slow
def test_the_next_step_is_no_training_that_will_be_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    arguments = ["init", "sounds", "--out", "new", "--jobs", "1"]
    printed = CliRunner().invoke(cli, arguments).output
    assert "2 classes have too few groups" in printed and "Train will refuse that." in printed
    assert "Next: correct what train will refuse (see above), then run init again with --force" in printed
    for number, label in enumerate(("low", "high")):
        for i in range(4):
            soundfile.write(folder / label / f"{i}.wav", sounds.noise(1.0, seed=8 * number + i), sounds.RATE)
    printed = CliRunner().invoke(cli, [*arguments, "--force"]).output
    assert "positive: 'high' (the first by name, as both are equally frequent). Of two labels, events" in printed
    assert "Next: audiocnn run -c new/audiocnn.yaml" in printed


@pytest.mark.slow
def test_members_with_the_general_preset_are_fitted_to_the_recordings_and_the_others_are_not(folder: Path) -> None:
    general = made(folder, folder.parent / "one").experiment
    out = folder.parent / "two"
    printed = (
        CliRunner().invoke(cli, ["init", str(folder), "--preset", "best", "--out", str(out), "--jobs", "1"]).output
    )
    assert "Features of member general fitted to the recordings: sample rate 16,000 Hz instead of 32,000." in printed
    best = config.read(out / "audiocnn.yaml").experiment
    assert (best.members["general"].features, best.members["general"].train) == (general.features, general.train)
    assert general.features.sample_rate < config.read_preset("general").features.sample_rate
    assert best.members["instrument"] == config.read_preset("best").members["instrument"]
    assert best.widest == (best.members["general"].features, "members.general.features")
