"""A library that is missing is named before the work that ends with it, not after hours."""

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from audiocnn import config, new_config
from audiocnn.cli import cli, learning, prediction
from audiocnn.config import Project
from audiocnn.errors import MissingExtraError
from audiocnn.model import bundle
from audiocnn.model.locate import SHIPPED
from audiocnn.progress import Progress
from audiocnn.stages import audit, export


class Warnings(Progress):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def warn(self, line: str) -> None:
        self.lines.append(line)


def work(*_: object, **__: object) -> None:
    raise InterruptedError("the work has begun")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    new = new_config.NewConfig(
        name="x", manifest="manifest.csv", root=".", background=None, positive=None, allow_outside=False, rare=None,
        about="",
    )  # fmt: skip
    (tmp_path / "audiocnn.yaml").write_text(new_config.text(new, "general", 2), encoding="utf-8")
    (tmp_path / "manifest.csv").write_text("path,label\na.wav,a\nb.wav,b\n")
    for name in ("a.wav", "b.wav"):
        (tmp_path / name).write_bytes(b"RIFF")
    return config.read(tmp_path / "audiocnn.yaml")


def test_predict_names_pyarrow_before_it_predicts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setattr("audiocnn.stages.predict.run", work)
    done = CliRunner().invoke(cli, ["predict", "a.wav", "-o", str(tmp_path / "x.parquet")])
    assert str(done.exception) == "pyarrow: not installed; pip install 'audiocnn[parquet]'"
    prediction._refuse_unwritable(tmp_path / "x.csv", "csv")


def test_export_names_onnx_before_it_reads_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.setattr(bundle, "load", work)
    with pytest.raises(MissingExtraError, match=r"^onnx: not installed; pip install 'audiocnn\[onnx\]'$"):
        export.run(SHIPPED, form="onnx", progress=Progress())


def test_run_names_tensorflow_before_it_computes_features(monkeypatch: pytest.MonkeyPatch, project: Project) -> None:
    monkeypatch.setattr(learning, "use_features", work)
    arguments = ["run", "-c", str(project.file)]
    assert isinstance(CliRunner().invoke(cli, arguments).exception, InterruptedError)
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    done = CliRunner().invoke(cli, arguments)
    assert str(done.exception) == "tensorflow: not installed; pip install 'audiocnn[train]'"


def test_audit_names_cleanlab_before_it_reads_recordings(monkeypatch: pytest.MonkeyPatch, project: Project) -> None:
    monkeypatch.setitem(sys.modules, "cleanlab", None)
    monkeypatch.setattr(audit, "_probe", work)
    progress = Warnings()
    with pytest.raises(InterruptedError):
        audit.run(project, jobs=1, progress=progress)
    assert progress.lines == []  # labels are not checked yet
    (project.run / "crossval").mkdir(parents=True)
    (project.run / "crossval" / "predictions.csv").write_text("recording,label\n")
    with pytest.raises(InterruptedError):
        audit.run(project, jobs=1, progress=progress)
    expected = "labels will not be checked: cleanlab: not installed; pip install 'audiocnn[labels]'"
    assert progress.lines == [expected]


def test_review_names_the_library_of_its_page_before_it_predicts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.setattr("audiocnn.stages.predict.run", work)
    done = CliRunner().invoke(cli, ["review", "a.wav", "--model", "instrument"])
    assert str(done.exception) == "uvicorn: not installed; pip install 'audiocnn[review]'"
    done = CliRunner().invoke(cli, ["review", "a.wav", "--model", "instrument", "--clips-to", "clips"])
    assert str(done.exception) == "the work has begun"
