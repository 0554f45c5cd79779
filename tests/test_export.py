"""Exported models run in other programs with the outputs of the model; quantization reports its loss."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import projects
import pytest
import safetensors.numpy
import soundfile
import sounds
from extras import require_keras
from numpy.typing import NDArray
from test_bundle import LABELS, SPEC, Made, reseal
from test_laziness import HEAVY
from test_laziness import run as run_without

from audiocnn import __version__, api
from audiocnn.config import read_preset
from audiocnn.errors import ConfigError, IntegrityError, MissingExtraError, OutputError
from audiocnn.export import waveform
from audiocnn.features import extract
from audiocnn.features.analyze import RecordingStatus
from audiocnn.inference.scoring import predict_frames
from audiocnn.model import bundle
from audiocnn.model.bundle import Bundle
from audiocnn.model.locate import SHIPPED
from audiocnn.model.runtime import Runtime
from audiocnn.progress import Progress
from audiocnn.specs import FeatureSpec
from audiocnn.stages import evaluate, export

require_keras()

Array = NDArray[np.float32]

# Every kind of layer and padding, a head that is no dense layer, one output, and a scale that is the same everywhere.
NETWORKS = {
    "many": ("4C3S2-BN-P2S1-6C2V-D5-P2-F-7-BN-*", LABELS, None),
    "average": ("4C3L-GAP-5L-*", LABELS, None),
    "maximum": ("BN-4C3V-3C1L-GMP-softmax", LABELS, None),
    "blocks": ("[FN]+-4C3H-DW3W-6DS3-[6IR3X2EH-SILU]+-AP-*", LABELS, None),
    "pair": ("3C3-P2S1-*", ("drone", "other"), "drone"),
}


class Warnings(Progress):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def warn(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Call it with a name of NETWORKS for the folder of an untrained model, which is written once."""

    @cache
    def write(name: str) -> Path:
        folder = tmp_path_factory.mktemp(name) / "model"
        Made(*NETWORKS[name]).write(folder)
        return folder

    return write


@pytest.fixture(scope="module")
def model(written: Callable[[str], Path]) -> Path:
    return written("many")


@pytest.fixture
def copied(model: Path, tmp_path: Path) -> Path:
    """A copy of the model to change."""
    return Path(shutil.copytree(model, tmp_path / "model"))


def windows(loaded: Bundle, n: int = 20) -> Array:
    """Windows such as the model expects."""
    mean, std = np.array(loaded.info.mean), np.array(loaded.info.std)
    return (mean + std * np.random.default_rng(1).standard_normal((n, *loaded.spec.shape))).astype(np.float32)


def ran(exports: list[export.ExportResult], X: Array) -> list[Array]:
    """The logits that come of the very line that each description gives, in a Python that knows nothing of audiocnn."""
    folder = exports[0].path.parent
    np.save(folder / "x.npy", X)
    lines = ["import numpy", "X = numpy.load('x.npy')"]
    for i, made in enumerate(exports):
        line = json.loads(made.description.read_text(encoding="utf-8"))["run"]
        lines += [line, f"numpy.save('outputs{i}.npy', logits)", "del logits, network"]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}
    command = [sys.executable, "-c", "\n".join(lines)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return [np.load(folder / f"outputs{i}.npy") for i in range(len(exports))]


@pytest.fixture(scope="module")
def outputs_by_keras(model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Array]:
    """The outputs of two forms from one interpreter, as TensorFlow takes long to import."""
    folder = tmp_path_factory.mktemp("exported")
    names: dict[export.Form, str] = {"saved_model": "m", "keras": "model.keras"}
    made = [export.run(model, form=form, out=folder / name, progress=Progress()) for form, name in names.items()]
    return dict(zip(names, ran(made, windows(bundle.load(model))), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("form", ["saved_model", "keras"])
def test_an_exported_model_gives_the_outputs_of_the_model(
    model: Path, outputs_by_keras: dict[str, Array], form: export.Form
) -> None:
    loaded = bundle.load(model)
    np.testing.assert_allclose(outputs_by_keras[form], loaded.runtime(windows(loaded))[0], atol=1e-4)


@pytest.mark.slow
def test_an_exported_onnx_file_gives_the_outputs_of_the_model(model: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    loaded = bundle.load(model)
    made = export.run(model, form="onnx", out=tmp_path / "m", progress=Progress())
    X = windows(loaded)
    np.testing.assert_allclose(ran([made], X)[0], loaded.runtime(X)[0], atol=1e-4)


def test_the_litert_file_is_that_of_the_bundle_and_runs_as_described(model: Path, tmp_path: Path) -> None:
    loaded = bundle.load(model)
    made = export.run(model, form="tflite", out=tmp_path / "m.tflite", progress=Progress())
    assert made.path.read_bytes() == (model / "model.tflite").read_bytes()
    X = windows(loaded, 1)
    np.testing.assert_allclose(ran([made], X)[0], loaded.runtime(X)[0], atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_every_kind_of_layer_gives_the_same_outputs_in_onnx(
    written: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    loaded = bundle.load(written(name))
    made = export.run(written(name), form="onnx", out=tmp_path / "m.onnx", progress=Progress())
    X = windows(loaded)
    logits, embedding = onnxruntime.InferenceSession(made.path).run(["logits", "embedding"], {"features": X})
    np.testing.assert_allclose(logits, loaded.runtime(X)[0], atol=1e-4)
    np.testing.assert_allclose(embedding, loaded.runtime(X)[1], atol=1e-4, rtol=1e-4)
    assert np.ptp(logits, axis=0).min() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("form", ["tflite", "onnx"])
def test_the_command_needs_no_tensorflow_for_litert_and_onnx(tmp_path: Path, form: str) -> None:
    (printed,) = run_without(("export", "--model", SHIPPED, "--format", form), cwd=tmp_path, without=HEAVY)
    assert f"wrote instrument.{form} (1.59 MB) and instrument.{form}.json" in printed


def test_the_description_has_all_that_a_program_needs(model: Path, tmp_path: Path) -> None:
    loaded = bundle.load(model)
    description = json.loads(
        export.run(model, form="onnx", out=tmp_path / "m.onnx", progress=Progress()).description.read_text("utf-8")
    )
    assert description["labels"] == list(LABELS)
    assert FeatureSpec.model_validate_json(json.dumps(description["features"])) == SPEC
    assert description["input"] == {"name": "features", "dtype": "float32", "shape": [None, *SPEC.shape]}
    assert description["output"] == {"logits": [None, 3], "embedding": [None, loaded.network.embedding_size]}
    assert (description["temperature"], description["decision"], description["positive"]) == (1.0, None, None)
    assert description["model"]["digest"] == loaded.digest


# ----------------------------------------------------------------------------------------------------------- fewer bits


def example_sounds() -> list[Array]:
    return [sounds.noise(2), sounds.chirp(80, 7_000, 3), sounds.tone(300, 2) + sounds.noise(2, level=0.03, seed=1)]


@pytest.mark.slow
@pytest.mark.parametrize(("bits", "share", "apart"), [("float16", 0.55, 0.001), ("int8", 0.3, 0.1)])
def test_the_quantized_shipped_model_is_smaller_and_predicts_the_same_labels(
    tmp_path: Path, bits: export.Quantize, share: float, apart: float
) -> None:
    loaded, warnings = bundle.load(SHIPPED), Warnings()
    made = export.run(SHIPPED, form="tflite", quantize=bits, out=tmp_path / "m.tflite", progress=warnings)
    assert made.n_bytes < share * (SHIPPED / "model.tflite").stat().st_size
    assert bool(warnings.lines) is (bits == "int8")  # nothing that it could be fitted to
    X = np.concatenate(
        [api.featurize(sound, sample_rate=sounds.RATE, spec=loaded.spec).windows for sound in example_sounds()]
    )
    expected, found = loaded.runtime(X)[0], Runtime(made.path.read_bytes())(X)[0]
    assert 0 < np.abs(found - expected).mean() < apart * np.abs(expected).max()
    assert made.loss is not None
    assert made.loss.what == "the golden example"
    assert json.loads(made.description.read_text("utf-8"))["loss"]["largest_score_difference"] == made.loss.score


@pytest.mark.slow
def test_the_scaling_of_the_features_stays_float(model: Path, tmp_path: Path) -> None:
    """Or coefficients of hundreds would leave one step of 8 bits to those of ones."""
    made = export.run(model, form="tflite", quantize="int8", out=tmp_path / "m.tflite", progress=Progress())
    names = [name for name, _ in Runtime(made.path.read_bytes()).operations()]
    assert names.index("QUANTIZE") in (1, 2)
    assert "CONV_2D" in names[names.index("QUANTIZE") :]


def _add_quiet_halves(folder: Path) -> None:
    """Give every recording a second track and a second half that is too quiet to count."""
    for file in folder.rglob("*.wav"):
        loud, rate = soundfile.read(file, dtype="float32")
        noise = sounds.noise(1, seed=int(1e6 * abs(loud[-1])))
        tracks = [np.concatenate([half, 0.005 * noise]) for half in (loud, 0.3 * loud + 2 * noise)]
        soundfile.write(file, np.stack(tracks, axis=1), rate)


@pytest.mark.slow
def test_train_evaluate_and_export_report_the_same_accuracies_of_the_same_recordings(tmp_path: Path) -> None:
    projects.tones(tmp_path / "sounds")
    _add_quiet_halves(tmp_path / "sounds")
    lines = {
        "model": '"8C3-GAP-*"',
        "epochs": "2",
        "test": "0.4",
        "explain": "0",
        "bootstrap": "100",
        "channel": "each",
        "window_frames": "16",
    }
    project, warnings = projects.trained(projects.featurized(tmp_path, **lines)), Warnings()
    made = export.run(
        project.run / "model",
        form="tflite",
        quantize="int8",
        out=tmp_path / "m.tflite",
        project=project,
        progress=warnings,
    )
    (validation, predictions), (metrics, _) = (
        (found.metrics, found.predictions)
        for found in (
            evaluate.run(project, model=None, part=part, other=None, output=None, jobs=1, progress=Progress())
            for part in ("validation", "test")
        )
    )
    assert 0 < validation["n_windows"] < sum(p.n_windows for p in predictions)  # the others are too quiet
    trained = bundle.read(project.run / "model")[0].metrics["validation"]
    for unit in ("recording", "window"):
        assert trained[f"{unit}_accuracy"] == validation[unit]["accuracy"]["value"]
    assert warnings.lines == []
    assert made.loss is not None and made.loss.accuracies is not None
    assert made.loss.what == "the test part"
    assert made.loss.n_recordings == metrics["n_recordings"]
    assert made.loss.n_windows == metrics["n_windows"]
    for unit in ("recording", "window"):
        assert made.loss.accuracies[unit][0] == metrics[unit]["accuracy"]["value"]
    assert 0 < made.loss.score < 0.2


# ------------------------------------------------------------------------------------------------------ from samples on

WITHIN = 1e-4  # of the scores, which are probabilities

_REAL = {"n_fft": 256, "hop_length": 100, "n_mels": 20, "window_frames": 20, "hop_frames": 11}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "n_windows"),
    [
        ({"kind": "mfcc", "n_mfcc": 9, "channels": ("static", "delta")}, 3),
        ({"kind": "logmel", "n_mfcc": None, "axes": "frames_bins", "quiet_db": 20.0}, 4),
        ({"kind": "logmel", "n_mfcc": None, "channels": ("delta",), "n_fft": 200, "fmin": 300.0}, 1),
        ({"kind": "mfcc", "n_mfcc": 13, "channels": ("static", "delta"), "tail": "cover", "quiet_db": 40.0}, 2),
    ],
    ids=["mfcc", "logmel", "delta", "cover"],
)
def test_a_file_that_takes_samples_gives_the_scores_of_predict(
    tmp_path: Path, changes: dict[str, object], n_windows: int
) -> None:
    spec = FeatureSpec.model_validate({**SPEC.model_dump(), **_REAL, **changes})
    assert from_samples(spec, n_windows, tmp_path / "model") <= WITHIN


@pytest.mark.slow
@pytest.mark.parametrize(
    ("preset", "changes"), [("general", {"tail": "cover"}), ("spectrogram", {})], ids=["general, cover", "spectrogram"]
)
def test_a_file_that_takes_samples_has_the_features_of_the_presets(
    tmp_path: Path, preset: str, changes: dict[str, object]
) -> None:
    """Those of the preset ``instrument`` are the ones of the shipped model."""
    spec = read_preset(preset).features.model_copy(update=changes)
    assert from_samples(spec, 2, tmp_path / "model", "4C3-P2-*") <= WITHIN


def from_samples(spec: FeatureSpec, n_windows: int, folder: Path, notation: str = "6C3-GAP-*") -> float:
    """Return by how much a score of a file that takes samples differs at most from what `predict_frames` gives."""
    loaded = bundle.load(of_spec(spec, folder, notation))
    interpreter = pytest.importorskip("ai_edge_litert.interpreter")
    network = interpreter.Interpreter(model_content=waveform.to_bytes(loaded, n_windows)).get_signature_runner()
    n = waveform.n_samples(spec, n_windows)
    rate = spec.sample_rate
    fading = np.linspace(1, 0.01, n, dtype=np.float32)
    largest = 0.0
    hiss = sounds.noise(n / rate, rate, level=1e-4)  # -80 dBFS, as some recordings have it
    for clip in (
        sounds.noise(n / rate, rate),
        sounds.chirp(100, 3_000, n / rate, rate) * fading + hiss,
        sounds.tone(440, n / rate, rate, amplitude=0.99) + hiss,
    ):
        frames = np.concatenate(list(extract.compute_frames([clip], spec=spec, frontend=loaded.frontend)))
        recording_status = RecordingStatus("ok", n_frames=len(frames), n_channels=1, duration_s=n / rate)
        expected = predict_frames(loaded, "array", recording_status, frames)
        found = network(samples=clip)
        assert len(expected.window_scores) == n_windows
        assert np.ptp(expected.window_scores) > 0.01
        for name in ("window_scores", "scores"):
            largest = max(largest, float(np.abs(found[name] - getattr(expected, name)).max()))
    return largest


@pytest.fixture(scope="module")
def from_two_windows(tmp_path_factory: pytest.TempPathFactory) -> export.ExportResult:
    """The shipped model as a file that takes the samples of two windows."""
    out = tmp_path_factory.mktemp("samples") / "m.tflite"
    return export.run(SHIPPED, form="tflite", waveform_windows=2, out=out, progress=Progress())


@pytest.mark.slow
def test_the_shipped_model_from_samples_gives_the_scores_of_predict(from_two_windows: export.ExportResult) -> None:
    made, folder = from_two_windows, from_two_windows.path.parent
    description = json.loads(made.description.read_text("utf-8"))
    n, rate = description["input"]["shape"][0], description["input"]["sample_rate"]
    clip = sounds.chirp(80, 5_000, n / rate, rate) + sounds.noise(n / rate, rate, level=0.01)
    np.save(folder / "x.npy", clip)
    code = f"import numpy\nx = numpy.load('x.npy')\n{description['run']}\nnumpy.save('outputs.npy', scores)"
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True, capture_output=True, timeout=60)
    expected = api.load_model().predict(clip, sample_rate=rate)
    assert len(expected.window_scores) == 2
    np.testing.assert_allclose(np.load(folder / "outputs.npy"), expected.scores, atol=WITHIN)


@pytest.mark.slow
def test_a_pure_tone_from_samples_gives_nearly_the_scores_of_predict(from_two_windows: export.ExportResult) -> None:
    """Bands 130 dB below it hold what float32 leaves of sums, which is not the same by a convolution and by an FFT."""
    loaded = bundle.load(SHIPPED)
    interpreter = pytest.importorskip("ai_edge_litert.interpreter")
    network = interpreter.Interpreter(model_path=str(from_two_windows.path)).get_signature_runner()
    seconds, rate = waveform.n_samples(loaded.spec, 2) / loaded.spec.sample_rate, loaded.spec.sample_rate
    tone, model = sounds.tone(440, seconds, rate, amplitude=0.99), api.load_model()
    apart = [
        np.abs(network(samples=clip)["scores"] - model.predict(clip, sample_rate=rate).scores).max()
        for clip in (tone, tone + sounds.noise(seconds, rate, level=1e-3))
    ]
    assert apart[1] <= WITHIN / 2 and apart[0] <= 10 * WITHIN


@cache
def _info() -> dict[str, object]:
    return Made("1-*", ("a", "b")).info


def of_spec(spec: FeatureSpec, folder: Path, notation: str) -> Path:
    """Write an untrained model with the features of ``spec``, and return its folder."""
    from audiocnn.features import frontend
    from audiocnn.model import network
    from audiocnn.model.notation import parse

    keras = network.load_keras()
    keras.utils.set_random_seed(0)
    model = network.build(parse(notation, input_shape=spec.shape, n_labels=3))
    scale = np.full((1, 1, 1), -40.0, np.float32), np.full((1, 1, 1), 20.0, np.float32)
    info = {
        **_info(),
        "features": spec.model_dump(mode="json"),
        "labels": LABELS,
        "notation": notation,
        "mean": scale[0].tolist(),
        "std": scale[1].tolist(),
    }
    bundle.write(
        folder,
        info,
        frontend=frontend.compute(spec),
        weights=network.get_weights(model),
        model=network.export_litert(network.build_serving_model(model, *scale)),
        card="",
    )
    return folder


# ------------------------------------------------------------------------------------------------------------- refusals


def test_incompatible_options_are_refused(model: Path, tmp_path: Path) -> None:
    for wrong in (
        {"form": "onnx", "quantize": "int8"},
        {"form": "keras", "waveform_windows": 1},
        {"form": "tflite", "quantize": "int8", "waveform_windows": 1},
        {"form": "tflite", "waveform_windows": 10**6},
        {"form": "keras"},  # Keras reads no file without its suffix
    ):
        with pytest.raises(ConfigError):
            export.run(model, **wrong, out=tmp_path / "out", progress=Progress())
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_other_things_is_not_replaced(model: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all there is")
    with pytest.raises(OutputError, match="is there and not a SavedModel"):
        export.run(model, form="saved_model", out=tmp_path / "mine", progress=Progress())
    assert (tmp_path / "mine" / "thesis.txt").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("form", ["onnx", "keras"])
def test_weights_that_do_not_match_the_litert_file_are_refused(
    written: Callable[[str], Path], tmp_path: Path, form: export.Form
) -> None:
    """What is exported must not be another network than the one that predicts."""
    folder = Path(shutil.copytree(written("average"), tmp_path / "model"))
    arrays = safetensors.numpy.load_file(folder / "weights.safetensors")
    (folder / "weights.safetensors").write_bytes(
        safetensors.numpy.save({name: np.ascontiguousarray(2 * array + 1) for name, array in arrays.items()})
    )
    reseal(folder)
    bundle.load(folder)
    with pytest.raises(IntegrityError, match=r"weights.safetensors: not those of model.tflite"):
        export.run(folder, form=form, out=tmp_path / "out.keras", progress=Progress())
    assert not (tmp_path / "out.keras").exists()


def test_without_onnx_the_message_tells_what_to_install(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'audiocnn\[onnx\]'"):
        export.run(model, form="onnx", out=tmp_path / "m.onnx", progress=Progress())


def test_the_default_file_name_is_a_safe_form_of_the_model_name(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    reseal(copied, name="../../etc/a b")
    made = export.run(copied, form="tflite", progress=Progress())
    assert made.path == Path("_etc_a_b.tflite")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["_etc_a_b.tflite", "_etc_a_b.tflite.json", "model"]


def test_an_export_does_not_overwrite_its_model(copied: Path) -> None:
    before = (copied / "model.tflite").read_bytes()
    with pytest.raises(ConfigError, match="is in the folder of the model"):
        export.run(copied, form="tflite", out=copied / "model.tflite", progress=Progress())
    assert (copied / "model.tflite").read_bytes() == before


# ----------------------------------------------------------------------------------------- models of other versions


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"schema": "audiocnn.bundle/3", "new": 1},
            ConfigError,
            "format is audiocnn.bundle/3.*; install audiocnn 9.1$",
        ),
        ({"schema": "audiocnn.bundle/0"}, IntegrityError, "no version of audiocnn has written"),
        (
            {"new": 1},
            ConfigError,
            f"has the field 'new', which audiocnn {__version__} does not know; install audiocnn 9.1$",
        ),
    ],
)
def test_a_model_of_another_version_is_refused_with_the_version_to_install(
    copied: Path, changes: dict[str, object], error: type[Exception], message: str
) -> None:
    reseal(copied, provenance={"versions": {"audiocnn": "9.1"}}, **changes)
    with pytest.raises(error, match=message):
        bundle.load(copied)
