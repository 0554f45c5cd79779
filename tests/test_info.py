"""What info prints of a model agrees with its bundle, and models are found by folder, run folder and name."""

import json
import os
import shutil
from pathlib import Path

import pytest
from projects import audiocnn

from audiocnn.errors import ConfigError, IntegrityError
from audiocnn.model import bundle, notation
from audiocnn.model.locate import SHIPPED
from audiocnn.stages import info as stage


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model that may be changed, as the model of a run."""
    return Path(shutil.copytree(SHIPPED, tmp_path / "runs" / "mine" / "model"))


def test_the_summary_has_the_figures_of_the_bundle_and_of_its_notation() -> None:
    summary = stage.run(SHIPPED)
    loaded = bundle.load(SHIPPED)
    spec = loaded.spec
    net = notation.parse(loaded.info.notation, input_shape=spec.shape, n_labels=len(loaded.info.labels))
    assert summary.digest == loaded.digest
    assert (summary.n_params, summary.networks[""].layers.multiply_adds) == (net.n_params, net.multiply_adds)
    assert summary.counts == loaded.info.provenance["recordings"]
    said = summary.as_json()
    assert said["labels"] == list(loaded.info.labels)
    assert said["window"] == {"length_s": spec.window_s, "hop_s": spec.hop_s, "shape": list(spec.shape)}
    assert said["metrics"] == loaded.info.metrics
    assert said["decision"]["coverage"] == loaded.info.decision.coverage and "typical" not in said["decision"]
    assert said["training"]["best_epoch"] == loaded.info.training["best_epoch"]


@pytest.mark.slow
def test_a_folder_a_run_and_a_name_lead_to_the_same_model(model: Path, tmp_path: Path) -> None:
    home = {**os.environ, "HOME": str(tmp_path)}
    named = json.loads(audiocnn("info", "instrument", "--format", "json", cwd=tmp_path).stdout)
    for argument in (model, model.parent, "runs/mine", "~/runs/mine"):
        said = json.loads(audiocnn("info", argument, "--format", "json", cwd=tmp_path, env=home).stdout)
        assert {**said, "folder": ""} == {**named, "folder": ""}
        assert Path(said["folder"]).name == "model"


def test_without_a_project_it_describes_the_model_that_ships(tmp_path: Path) -> None:
    done = audiocnn("info", cwd=tmp_path)
    assert "no audiocnn.yaml here" in done.stderr
    for expected in ("396,874", "58,507,776 per window", "Hi_hat", bundle.read(SHIPPED)[1]):
        assert expected in done.stdout


def test_free_parts_of_another_form_are_left_out(model: Path) -> None:
    changes = {"provenance": {"recordings": {"train": [3], "test": {"Cello": "many", "Flute": 2}}, "versions": "old"}}
    bundle.update(model, {**changes, "training": {}, "metrics": {"validation": 0.9}}, card="# changed\n")
    summary = stage.run(model)
    assert summary.counts == {"train": {}, "test": {"Flute": 2}}
    assert (summary.created, summary.version) == ("", "")
    assert "unknown" in audiocnn("info", model, cwd=model).stdout


def test_what_is_no_model_and_what_is_damaged_is_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a model"):
        stage.run(tmp_path)
    (model / "weights.safetensors").write_bytes(b"")
    with pytest.raises(IntegrityError, match=r"weights\.safetensors: damaged"):
        stage.run(model)
    assert audiocnn("info", model, cwd=tmp_path, code=5).stdout == ""
