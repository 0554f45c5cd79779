"""``export``: convert a model to one file for other programs, and describe its inputs and outputs in a JSON file."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from audiocnn.config import Project
from audiocnn.dataset import manifest, split
from audiocnn.errors import ConfigError, OutputError, require_extra
from audiocnn.export import keras_model, onnx, waveform
from audiocnn.features import build_store, extract
from audiocnn.features.store import find_store
from audiocnn.features.windows import Windows, add_background
from audiocnn.files import atomic_folder, resolve_link, write_atomic, write_json
from audiocnn.inference.scoring import correct, log_scores
from audiocnn.model import bundle
from audiocnn.model.bundle import Bundle
from audiocnn.model.open_model import refuse_members
from audiocnn.model.runtime import Runtime
from audiocnn.progress import Progress
from audiocnn.text import printable

Form = Literal["tflite", "onnx", "saved_model", "keras"]
Quantize = Literal["none", "float16", "int8"]
Array = NDArray[np.float32]

SCHEMA = "audiocnn.export/1"
_SUFFIXES = {"tflite": ".tflite", "onnx": ".onnx", "saved_model": "", "keras": ".keras"}
_N_REPRESENTATIVE = 300  # windows that int8 is calibrated on; TensorFlow's guide asks for 100 to 500

_RUN = {
    "tflite": "from ai_edge_litert.interpreter import Interpreter; "
    "network = Interpreter(model_path=FILE).get_signature_runner(); logits = network(features=X)['logits']"
    "  # one window at a time: X is (1, ...)",
    "onnx": "import onnxruntime; network = onnxruntime.InferenceSession(FILE); "
    "logits = network.run(['logits'], {'features': X})[0]",
    "saved_model": "import tensorflow; network = tensorflow.saved_model.load(FILE); "
    "logits = network.serve(X)['logits']",
    "keras": "import keras; network = keras.saving.load_model(FILE); logits = network(X)['logits']",
}
_RUN_WAVEFORM = (
    "from ai_edge_litert.interpreter import Interpreter; "
    "network = Interpreter(model_path=FILE).get_signature_runner(); scores = network(samples=x)['scores']"
)
_SCORES = (
    "Divide logits by temperature; their softmax (with one logit, the sigmoid, which is that of 'positive') are the "
    "scores of a window. Those of a recording are the softmax of the mean log-probability of its windows."
)


@dataclass(frozen=True)
class Loss:
    """The loss of accuracy by quantization, on ``n_windows`` windows of ``what``.

    ``score`` is the largest difference of a window's score; ``accuracies`` are those of windows and of recordings, each
    in float32 and as exported; None without labels.
    """

    what: str
    n_windows: int
    n_recordings: int
    score: float
    accuracies: Mapping[str, tuple[float, float]] | None


@dataclass(frozen=True)
class ExportResult:
    """The file (or folder) written, its description, and the loss of accuracy by quantization."""

    path: Path
    description: Path
    n_bytes: int
    loss: Loss | None


def run(
    model: Path,
    *,
    form: Form,
    quantize: Quantize = "none",
    waveform_windows: int | None = None,
    out: Path | None = None,
    project: Project | None = None,
    progress: Progress,
) -> ExportResult:
    """Export the model in the folder ``model``; the float32 ``.tflite`` file is a copy of the model's own.

    With ``waveform_windows`` the exported model takes the samples of so many windows instead of features, and returns
    scores. ``int8`` is calibrated, and the loss measured, on features of the ``project`` that suit the model, if there
    are any. Writes ``out``, by default the model's name in the current folder, and a JSON file next to it.
    """
    if form != "tflite" and (quantize != "none" or waveform_windows is not None):
        raise ConfigError("--quantize and --with-frontend are for --format tflite")
    if form == "keras" and out is not None and out.suffix != ".keras":
        raise ConfigError(f"{out}: Keras needs the suffix .keras; rename it")
    if form == "onnx":
        require_extra("onnx", "onnx")
    refuse_members(model, "each with windows of its own, and a file holds one of them", "--model")
    loaded = bundle.load(model)
    path = Path(_file_name(loaded, form, quantize, waveform_windows)) if out is None else out
    if form != "saved_model":
        path = resolve_link(path)
    if path.resolve().is_relative_to(model.resolve()):
        raise ConfigError(f"{path}: is in the folder of the model, which must not change; name another with -o")
    if waveform_windows is not None and quantize != "none":
        raise ConfigError("--with-frontend and --quantize cannot be combined; leave one of them out")
    with progress.step(f"convert to {form}"):
        content, loss = _converted(loaded, form, quantize, waveform_windows, project, progress)
        if content is None:
            _write_saved_model(loaded, path)
        else:
            write_atomic(path, content)
    description = path.with_name(path.name + ".json")
    write_json(description, _description(loaded, path.name, form, quantize, waveform_windows, loss))
    files = [path] if content is not None else [file for file in path.rglob("*") if file.is_file()]
    return ExportResult(path, description, sum(file.stat().st_size for file in files), loss)


def _converted(
    loaded: Bundle,
    form: Form,
    quantize: Quantize,
    waveform_windows: int | None,
    project: Project | None,
    progress: Progress,
) -> tuple[bytes | None, Loss | None]:
    """Return the content of the file to write, None for a SavedModel, and the loss by quantization, if any."""
    if waveform_windows is not None:
        return waveform.to_bytes(loaded, waveform_windows), None
    if quantize != "none":
        known = {} if project is None else _parts(project, loaded)
        content = keras_model.to_litert_bytes(
            keras_model.from_bundle(loaded), quantize, _representative(loaded, known, quantize, progress)
        )
        return content, _loss(loaded, content, known)
    if form == "tflite":
        return bundle.read(loaded.folder)[2]["model.tflite"], None
    if form == "onnx":
        scale = np.array(loaded.info.mean, np.float32), np.array(loaded.info.std, np.float32)
        weights = bundle.read_weights(loaded.folder)
        return onnx.to_bytes(loaded.network, weights, *scale, golden=bundle.golden_example(loaded)), None
    return (keras_model.to_keras_bytes(keras_model.from_bundle(loaded)) if form == "keras" else None), None


def _file_name(loaded: Bundle, form: Form, quantize: Quantize, waveform_windows: int | None) -> str:
    name = re.sub(r"[^\w-]+", "_", loaded.info.name)[:100] or "model"
    bits = "" if quantize == "none" else f"-{quantize}"
    samples = "" if waveform_windows is None else "-samples"
    return f"{name}{bits}{samples}{_SUFFIXES[form] or '_saved_model'}"


def _write_saved_model(loaded: Bundle, path: Path) -> None:
    model = keras_model.from_bundle(loaded)
    if path.exists() and not (path / "saved_model.pb").is_file():
        raise OutputError(f"{path}: is there and not a SavedModel; name another folder with -o")
    with atomic_folder(path) as folder:
        keras_model.write_saved_model(model, folder)


def _parts(project: Project, loaded: Bundle) -> dict[str, Windows]:
    """Return the windows of the project's usable recordings by part, if the model has their label."""
    store, file = find_store(project, loaded.spec), project.run / "split.json"
    if not store.folder.is_dir() or not file.is_file():
        return {}
    division = split.read(file)
    data = project.experiment.data
    recordings = manifest.read(project.manifest, root=project.root, allow_outside=data.allow_outside)
    statuses = build_store.read_catalog(store, [r.path for r in recordings], current=project.experiment.features)
    known = [
        r
        for r in add_background(recordings, statuses, loaded.spec, data.background)
        if r.label in loaded.labels and statuses[r.path].for_stretch(r.stretch, loaded.spec).status == "ok"
    ]
    members = {part: [r for r in known if division.part_of(r) == part] for part in ("train", "validation", "test")}
    return {part: Windows(rows, statuses, loaded.labels, store) for part, rows in members.items() if rows}


def _representative(loaded: Bundle, known: Mapping[str, Windows], quantize: Quantize, progress: Progress) -> Array:
    """Return windows to calibrate int8 on: evenly spread training windows, or synthetic ones."""
    windows = known.get("train")
    if windows is not None and len(windows):
        rows = np.linspace(0, len(windows) - 1, min(_N_REPRESENTATIVE, len(windows))).round().astype(np.int64)
        return windows[rows]
    if quantize == "int8":
        progress.warn(
            "no features of training recordings here: int8 is calibrated on synthetic sounds and may lose accuracy; "
            "run this in the folder of audiocnn.yaml"
        )
    return _synthetic(loaded)


def _synthetic(loaded: Bundle) -> Array:
    """Return windows of the golden chirp and of noise, from full scale down to the silence level."""
    spec = loaded.spec
    chirp, rng = bundle.golden_waveform(spec), np.random.default_rng(0)
    steps = np.linspace(0, max(spec.silence_dbfs, -80.0), 16)
    sounds = [
        np.float32(10 ** (level_db / 20)) * sound
        for level_db in steps
        for sound in (chirp, chirp[::-1], rng.uniform(-1, 1, len(chirp)).astype(np.float32))
    ]
    first = np.zeros(1, np.int64)
    frames = (extract.compute_frames([sound], spec=spec, frontend=loaded.frontend) for sound in sounds)
    return np.concatenate([extract.cut_windows(np.concatenate(list(blocks)), first, spec) for blocks in frames])


def _loss(loaded: Bundle, content: bytes, known: Mapping[str, Windows]) -> Loss:
    exported = Runtime(content)
    part = next((part for part in ("test", "validation", "train") if len(known.get(part, ()))), None)
    if part is None:
        X = bundle.golden_example(loaded)[0]
        here, there = (np.exp(_log(loaded, runtime(X)[0])) for runtime in (loaded.runtime, exported))
        return Loss("the golden example", 1, 0, float(np.abs(here - there).max()), None)
    windows = known[part]
    pairs = [[_log(loaded, runtime(X)[0]) for runtime in (loaded.runtime, exported)] for X in windows.chunks()]
    logs = [np.concatenate(logs) for logs in zip(*pairs, strict=True)]
    right = [correct(log, windows) for log in logs]
    of_recordings, of_windows = ((float(a.mean()), float(b.mean())) for a, b in zip(*right, strict=True))
    n_recordings, n_windows = map(len, right[0])
    return Loss(
        f"the {part} part",
        n_windows,
        n_recordings,
        float(np.abs(np.exp(logs[0]) - np.exp(logs[1])).max()),
        {"window": of_windows, "recording": of_recordings},
    )


def _log(loaded: Bundle, logits: Array) -> NDArray[np.float64]:
    return log_scores(logits, loaded.labels, loaded.temperature)


def _description(
    loaded: Bundle, name: str, form: Form, quantize: Quantize, waveform_windows: int | None, loss: Loss | None
) -> dict[str, Any]:
    """Return the content of the JSON file."""
    info, network = loaded.info, loaded.network
    value: dict[str, Any] = {
        "schema": SCHEMA,
        "file": name,
        "format": form,
        "quantized": quantize,
        "model": {"name": printable(info.name), "digest": loaded.digest, "notation": info.notation},
        "labels": list(loaded.labels),
        "positive": info.positive,
        "features": loaded.spec.model_dump(mode="json"),
        "temperature": loaded.temperature,
        "decision": None if loaded.decision is None else loaded.decision.model_dump(mode="json"),
    }
    if waveform_windows is None:
        value |= {
            "input": {"name": "features", "dtype": "float32", "shape": [None, *loaded.spec.shape]},
            "output": {"logits": [None, network.n_outputs], "embedding": [None, network.embedding_size]},
            "scores": _SCORES,
            "run": _RUN[form].replace("FILE", repr(name)),
        }
    else:
        n_samples = waveform.n_samples(loaded.spec, waveform_windows)
        value |= {
            "input": {
                "name": "samples",
                "dtype": "float32",
                "shape": [n_samples],
                "sample_rate": loaded.spec.sample_rate,
                "full_scale": 1.0,
            },
            "output": {"scores": [len(loaded.labels)], "window_scores": [waveform_windows, len(loaded.labels)]},
            "run": _RUN_WAVEFORM.replace("FILE", repr(name)),
        }
    if loss is not None:
        value["loss"] = {
            "measured_on": loss.what,
            "n_windows": loss.n_windows,
            "n_recordings": loss.n_recordings,
            "largest_score_difference": loss.score,
        }
        for kind, (here, there) in (loss.accuracies or {}).items():
            value["loss"][f"{kind}_accuracy"] = {"float32": here, "exported": there}
    return value
