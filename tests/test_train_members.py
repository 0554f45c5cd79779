"""A model of several networks from its settings to its report: trained member by member, resumed, evaluated."""

import json
import shutil
import signal
import time
from pathlib import Path

import pytest
from projects import audiocnn, set_small_members, tones

from audiocnn import config
from audiocnn.config import Project
from audiocnn.model import ensemble

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with two members, its features and its model."""
    folder = tmp_path_factory.mktemp("members")
    tones(folder / "sounds", n=8)
    audiocnn("init", "sounds", "--preset", "best", cwd=folder)
    set_small_members(folder / "audiocnn.yaml")
    project = config.read(folder / "audiocnn.yaml")
    audiocnn("featurize", "--jobs", "1", cwd=folder)
    audiocnn("train", cwd=folder)
    return project


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_the_model_holds_its_members_and_evaluate_compares_them(project: Project) -> None:
    model = ensemble.load(project.run / "model")
    assert list(model.members) == ["fine", "wide"] and model.weights == (0.5, 0.5)
    assert model.spec == model.members["fine"].spec
    assert contents(project.run / "model" / "members" / "wide") == contents(project.run / "members" / "wide" / "model")
    done = audiocnn("evaluate", cwd=project.file.parent)
    assert "member alone" in done.stdout
    figures = json.loads((project.run / "metrics.json").read_text())
    assert figures["members"].keys() == {"fine", "wide"}
    page = (project.run / "report.html").read_text()
    assert "Gain, in points" in page and "Each member was trained alone" in page
    rows = (project.run / "predictions.csv").read_text().splitlines()
    name = rows[1].partition(",")[0]
    audiocnn("predict", f"sounds/{name}", "--model", project.run / "model", "-o", "p.csv", cwd=project.file.parent)
    alone = (project.file.parent / "p.csv").read_text().splitlines()[1].split(",")
    assert alone[1:10] == rows[1].split(",")[1:10]  # the same to the last digit


def test_training_that_was_killed_ends_with_the_same_bytes(project: Project) -> None:
    import prefork

    expected = contents(project.run / "model")
    for done in (project.run / "model", project.run / "members" / "wide" / "model"):
        shutil.rmtree(done)
    unfinished, deadline = project.run / "members" / "wide" / "training.checkpoint", time.monotonic() + 120
    killed = prefork.run(
        "train", cwd=project.file.parent, kill_when=lambda: unfinished.exists() or time.monotonic() > deadline
    )
    assert killed.returncode == -signal.SIGKILL and unfinished.exists()
    assert not (project.run / "model").exists()
    done = audiocnn("train", cwd=project.file.parent)
    assert "trained before" in done.stdout  # the member that was finished is kept
    assert contents(project.run / "model") == expected


def test_crossval_shows_what_each_member_is_worth(project: Project) -> None:
    done = audiocnn("crossval", "--folds", "2", cwd=project.file.parent)
    assert "all - member" in done.stdout
    figures = json.loads((project.run / "crossval.json").read_text())
    assert figures["members"].keys() == {"fine", "wide"} and len(figures["folds"]) == 2
    assert figures["folds"][0]["members"]["wide"]["n_epochs"] == 6
    assert (project.run / "members" / "wide" / "crossval" / "fold-2.heldout").is_file()


def test_a_member_without_features_is_named(project: Project) -> None:
    stored = project.run / "members" / "wide" / "features"
    stored.rename(stored.with_name("moved"))
    try:
        done = audiocnn("train", "--fresh", cwd=project.file.parent, code=2)
    finally:
        stored.with_name("moved").rename(stored)
    line = done.stderr.strip().splitlines()[-1]
    assert "member wide: no features with these settings" in line and "run 'audiocnn featurize' first" in line
