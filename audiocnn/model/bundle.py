"""Write and load a bundle: the folder of a trained model, which describes and tests itself and runs without Keras.

Loading a bundle never runs code from it. Files are hashed before they are parsed, sizes are checked against the
notation before memory is allocated, and loading recomputes the golden example.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError, model_validator

from audiocnn import __version__
from audiocnn.errors import ArchitectureError, ConfigError, IntegrityError
from audiocnn.features import extract
from audiocnn.features.frontend import Frontend, npz_bytes, read_npz
from audiocnn.files import atomic_folder, restore_folder, write_atomic
from audiocnn.labels import Labels
from audiocnn.model import notation
from audiocnn.model.loaded_model import LoadedModel, ModelInfo
from audiocnn.model.notation import Architecture
from audiocnn.model.runtime import Runtime
from audiocnn.specs import FeatureSpec
from audiocnn.text import printable

SCHEMA: Literal["audiocnn.bundle/1"] = "audiocnn.bundle/1"
MEMBERS_SCHEMA: Literal["audiocnn.bundle/2"] = "audiocnn.bundle/2"  # of a model with several networks
MANIFEST = "bundle.json"
MEMBERS = "members"  # folder of the bundles of a model with several networks
FILES = ("MODEL_CARD.md", "frontend.npz", "golden.npz", "model.tflite", "weights.safetensors")
FEATURE_TOLERANCE = 1e-3  # of the largest value; float32 rounding and the FFT of another processor stay below 1e-5
LOGIT_TOLERANCE = 1e-3

_MAX_TEXT_BYTES = 16 << 20
_MAX_ITEMS = (
    600_000  # of bundle.json: as many as 16 MiB hold in its format; "[1],[1],..." would take a gigabyte when parsed
)
_OPERATIONS_PER_LAYER = 8  # of a model file; LiteRT needs up to 5
_MAX_SCALE = 1e12  # of the mean and deviation of features, which are decibels
_OVERHEAD_BYTES = 1 << 20  # of a model file beyond its weights

Array = NDArray[np.float32]


class BundleInfo(ModelInfo):
    """The content of ``bundle.json`` of a model with one network.

    ``labels`` are in the order of the outputs; with one output, its probability is that of ``positive``. ``mean`` and
    ``std`` scale the features (``model.tflite`` contains them too), as nested lists that broadcast against one window.
    """

    other_files: ClassVar[Sequence[str]] = FILES

    schema_: Literal["audiocnn.bundle/1"] = Field(default=SCHEMA, alias="schema")
    notation: str = Field(min_length=1, max_length=10_000)
    mean: list[Any]
    std: list[Any]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        mean, std = (
            _numbers(name, values, self.features.shape) for name, values in (("mean", self.mean), ("std", self.std))
        )
        if not (np.abs(mean).max() <= _MAX_SCALE and std.min() >= 1 / _MAX_SCALE and std.max() <= _MAX_SCALE):
            raise ValueError(f"mean or std is beyond {_MAX_SCALE:g}, or std is not above 0")
        return self


@dataclass(frozen=True)
class Bundle(LoadedModel):
    """A loaded model of one network."""

    folder: Path
    info: BundleInfo
    digest: str
    frontend: Frontend
    runtime: Runtime

    @property
    def networks(self) -> "tuple[Bundle]":
        return (self,)

    @property
    def embedding_size(self) -> int:
        return self.runtime.embedding_size

    @property
    def notation(self) -> str:
        return self.info.notation

    def with_threads(self, n_threads: int) -> "Bundle":
        return replace(self, runtime=self.runtime.copy(n_threads))

    @property
    def network(self) -> Architecture:
        return _architecture(self.folder, self.info)


def write(
    folder: Path, info: Mapping[str, Any], *, frontend: Frontend, weights: Mapping[str, Array], model: bytes, card: str
) -> None:
    """Write a bundle atomically; ``info`` has the fields of `BundleInfo` without ``files`` and ``sha256``.

    This also computes the golden example: one window of a chirp in noise, its features and its logits.
    """
    import safetensors.numpy

    spec = FeatureSpec.model_validate(info["features"])
    waveform = golden_waveform(spec)
    features = _features(waveform, spec, frontend)
    logits, _ = Runtime(model, n_threads=1)(features)
    contents = {
        "MODEL_CARD.md": card.encode("utf-8"),
        "frontend.npz": frontend.to_bytes(),
        "golden.npz": npz_bytes({"waveform": waveform, "features": features, "logits": logits}),
        "model.tflite": model,
        "weights.safetensors": safetensors.numpy.save(dict(weights)),
    }
    _write(folder, info, contents)


def update(folder: Path, changes: Mapping[str, Any], *, card: str) -> None:
    """Replace some fields of `BundleInfo` and the card in a bundle; the network stays the same."""
    info, _, contents = read(folder)
    fields = info.model_dump(mode="json", by_alias=True, exclude={"schema_", "files", "sha256"})
    _write(folder, {**fields, **changes}, {**contents, "MODEL_CARD.md": card.encode("utf-8")})


def _write(folder: Path, info: Mapping[str, Any], contents: Mapping[str, bytes]) -> None:
    complete = BundleInfo.sealed(info, contents)
    with atomic_folder(folder) as temporary:
        for name, content in contents.items():
            write_atomic(temporary / name, content)
        write_atomic(temporary / MANIFEST, text_of(complete))


def load(folder: Path) -> Bundle:
    """Load a bundle and check every file of it; raises `IntegrityError` if any content has changed."""
    info, digest, contents = read(folder)
    network = _architecture(folder, info)
    budget = 4 * network.n_params * 1.02 + _OVERHEAD_BYTES
    for name in ("model.tflite", "weights.safetensors"):
        if len(contents[name]) > budget:
            raise IntegrityError(f"{folder / name}: {len(contents[name]):,} bytes is more than the notation can need")
    spec = info.features
    with _naming(folder / "frontend.npz"):
        frontend = Frontend.from_bytes(contents["frontend.npz"], spec)
    with _naming(folder / "golden.npz"):
        shapes = {"waveform": (_golden_samples(spec),), "features": (1, *spec.shape), "logits": (1, network.n_outputs)}
        golden = read_npz(contents["golden.npz"], shapes)
    with _naming(folder / "weights.safetensors"):
        _check_weights(contents["weights.safetensors"], network)
    with _naming(folder):
        runtime = Runtime(contents["model.tflite"], limits=_limits(network))
    sizes = (runtime.input_shape, runtime.n_outputs, runtime.embedding_size)
    if sizes != (spec.shape, network.n_outputs, network.embedding_size):
        raise IntegrityError(f"{folder / 'model.tflite'}: its shapes are not those of '{info.notation}'")
    bundle = Bundle(folder, info, digest, frontend, runtime)
    _check_golden(bundle, golden)
    return bundle


def read(folder: Path) -> tuple[BundleInfo, str, dict[str, bytes]]:
    """Return the content of ``bundle.json``, its SHA-256 and the content of every other file; checks all hashes."""
    info, digest = read_manifest(folder, BundleInfo)
    network = _architecture(folder, info)
    check_decision(folder, info, network.embedding_size)
    if network.n_outputs == 1 and info.positive is None:
        raise IntegrityError(f"{folder / MANIFEST}: names no positive label, which '{info.notation}' needs")
    limit = _MAX_TEXT_BYTES + 8 * network.n_params + 16 * math.prod(info.features.shape)
    contents = read_files(folder, info.files, limit + 8 * info.features.n_fft * info.features.n_mels)
    return info, digest, contents


_Info = TypeVar("_Info", bound=ModelInfo)


def read_manifest(folder: Path, kind: type[_Info]) -> tuple[_Info, str]:
    """Return the content of ``bundle.json`` and its SHA-256.

    Raises `ConfigError` if it is of another format, `IntegrityError` if it has changed since it was written.
    """
    schema = kind.model_fields["schema_"].default
    restore_folder(folder)
    if not (folder / MANIFEST).is_file():
        raise ConfigError(f"{folder}: not a model (no {MANIFEST})")
    raw = _read(folder / MANIFEST, _MAX_TEXT_BYTES)
    if sum(map(raw.count, (b",", b"[", b"{"))) > _MAX_ITEMS:
        raise IntegrityError(f"{folder / MANIFEST}: more than {_MAX_ITEMS:,} values; it is not read")
    try:
        value = json.loads(raw)
        found = value.get("schema") if isinstance(value, dict) else None
        if isinstance(found, str) and found != schema and found.startswith("audiocnn.bundle/"):
            refusal = f"{folder}: its format is {printable(found[:60])}, this version reads {schema}"
            if found == "audiocnn.bundle/0":
                raise IntegrityError(f"{refusal}; no version of audiocnn has written the former")
            if found == MEMBERS_SCHEMA and not (folder / MEMBERS).is_dir():
                raise IntegrityError(
                    f"{folder / MEMBERS}: missing; it holds the networks of this model; copy the whole folder of the "
                    "model again, or train it again"
                )
            if {found, schema} == {SCHEMA, MEMBERS_SCHEMA}:
                raise ConfigError(f"{refusal} here; a model in members/ has one network, its parent has several")
            raise ConfigError(f"{refusal}; install {_maker(value) or 'a newer audiocnn'}")
        info = kind.model_validate_json(raw)
        intact = text_of(info).encode("utf-8") == raw and info.content_sha256 == info.sha256
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = printable(".".join(map(str, first["loc"]))) or "content"
        maker = _maker(value)
        if first["type"] == "extra_forbidden" and maker not in ("", f"audiocnn {__version__}"):
            raise ConfigError(
                f"{folder}: was made by another version and has the field '{where[:60]}', which audiocnn {__version__} "
                f"does not know; install {maker}"
            ) from error
        raise IntegrityError(f"{folder / MANIFEST}: {where}: {first['msg']}") from error
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"{folder / MANIFEST}: not readable as JSON ({error})") from error
    if not intact:
        raise IntegrityError(f"{folder / MANIFEST}: not as it was written: changed or damaged")
    return info, hashlib.sha256(raw).hexdigest()


def check_decision(folder: Path, info: ModelInfo, embedding_size: int) -> None:
    """Raise `IntegrityError` unless the decision of a model fits its labels and embedding."""
    if info.decision is not None:
        try:
            info.decision.check(Labels(info.labels), embedding_size)
        except ValueError as error:
            raise IntegrityError(f"{folder / MANIFEST}: decision: {error}") from error


def read_files(folder: Path, files: Mapping[str, str], limit: int) -> dict[str, bytes]:
    """Return the content of files of at most ``limit`` bytes, whose SHA-256 are given."""
    contents = {}
    for name, expected in files.items():
        contents[name] = _read(folder / name, limit)
        if hashlib.sha256(contents[name]).hexdigest() != expected:
            raise IntegrityError(f"{folder / name}: damaged: its SHA-256 is not the one in {MANIFEST}")
    return contents


def _maker(value: Any) -> str:
    """Return the version that a ``bundle.json`` claims to come from; empty if it names none."""
    for name in ("provenance", "versions", "audiocnn"):
        value = value.get(name) if isinstance(value, dict) else None
    version = re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6}){1,3}", value) if isinstance(value, str) else None
    return f"audiocnn {version[0]}" if version else ""


def read_weights(folder: Path) -> dict[str, Array]:
    """Return the weight arrays of a bundle by their full names, with the checks of `load`."""
    import safetensors.numpy

    info, _, contents = read(folder)
    with _naming(folder / "weights.safetensors"):
        _check_weights(contents["weights.safetensors"], _architecture(folder, info))
    return dict(safetensors.numpy.load(contents["weights.safetensors"]))


def golden_example(source: Bundle) -> tuple[Array, Array]:
    """Return the golden example of a loaded bundle: features (1, *shape) and their logits (1, n_outputs)."""
    features = _features(golden_waveform(source.spec), source.spec, source.frontend)
    return features, source.runtime(features)[0]


def golden_waveform(spec: FeatureSpec) -> Array:
    """Return one window (n,) of a chirp from 100 Hz to just below the Nyquist frequency, in noise 40 dB below it."""
    n = _golden_samples(spec)
    t = np.arange(n) / spec.sample_rate
    low, high = 100.0, 0.45 * spec.sample_rate
    duration = max(n, 1) / spec.sample_rate
    chirp = np.sin(2 * np.pi * (low * t + (high - low) * t * t / (2 * duration)))
    noise = np.random.default_rng(0).standard_normal(n)
    return (0.5 * chirp + 0.005 * noise).astype(np.float32)


def _golden_samples(spec: FeatureSpec) -> int:
    return max(spec.window_samples, 1)


def _features(waveform: Array, spec: FeatureSpec, frontend: Frontend) -> Array:
    frames = np.concatenate(list(extract.compute_frames([waveform], spec=spec, frontend=frontend)))
    return extract.cut_windows(frames, np.zeros(1, np.int64), spec)


def _check_golden(bundle: Bundle, golden: Mapping[str, Array]) -> None:
    features = _features(golden["waveform"], bundle.spec, bundle.frontend)
    with _naming(bundle.folder):
        logits, _ = bundle.runtime(golden["features"])
    for step, found, expected, tolerance in (
        ("features", features, golden["features"], FEATURE_TOLERANCE * np.abs(golden["features"]).max()),
        ("network", logits, golden["logits"], LOGIT_TOLERANCE * max(1.0, float(np.abs(golden["logits"]).max()))),
    ):
        difference = float(np.abs(found - expected).max())
        if not difference <= tolerance:
            raise IntegrityError(
                f"{bundle.folder}: fails its own test: the {step} of the golden example moved by {difference:.3g} "
                f"(at most {tolerance:.3g}); the installed numpy or LiteRT computes other values than at training"
            )


@contextmanager
def _naming(file: Path) -> Iterator[None]:
    """Put the name of the file before the message of an `IntegrityError`."""
    try:
        yield
    except IntegrityError as error:
        raise IntegrityError(f"{file}: {error}") from error


def _check_weights(data: bytes, network: Architecture) -> None:
    import safetensors.numpy

    try:
        arrays = safetensors.numpy.load(data)
    except (safetensors.SafetensorError, KeyError, ValueError) as error:  # KeyError: a dtype that numpy lacks
        raise IntegrityError(f"cannot be read ({error})") from error
    if {name: array.shape for name, array in arrays.items()} != network.weight_shapes:
        raise IntegrityError(f"its arrays are not those of '{network.notation}'")
    for name, array in arrays.items():
        if array.dtype != np.float32 or not np.isfinite(array).all():
            raise IntegrityError(f"{name} is not finite float32")


def _limits(network: Architecture) -> tuple[int, int]:
    """Return the limits of a model file of this network: operations, and values in an array of one window."""
    sizes = [math.prod(shape) for step in network.steps for shape in (step.output_shape, *step.weight_shapes.values())]
    # Twice the values: LiteRT reorders some weights and pads them to whole blocks.
    return _OPERATIONS_PER_LAYER * (len(network.steps) + 2), 2 * max(math.prod(network.input_shape), *sizes, 4096)


def _architecture(folder: Path, info: BundleInfo) -> Architecture:
    try:
        return notation.parse_for(info.features, info.notation, n_labels=len(info.labels))
    except ArchitectureError as error:
        raise IntegrityError(f"{folder / MANIFEST}: {error}") from error


def text_of(info: ModelInfo) -> str:
    """Return the text of ``bundle.json``."""
    return json.dumps(info.model_dump(mode="json", by_alias=True), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _numbers(name: str, values: list[Any], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return nested lists as an array that broadcasts against one window; raises `ValueError` for anything else."""
    array = np.array(values)  # raises ValueError for ragged lists
    if (
        array.dtype.kind not in "fi"
        or array.ndim != 3
        or any(n not in (1, m) for n, m in zip(array.shape, shape, strict=True))
    ):
        raise ValueError(f"{name} must be numbers that fit windows of shape {shape}")
    return array.astype(np.float64)


def _read(file: Path, limit: int) -> bytes:
    try:
        if file.is_symlink() or not file.is_file():
            raise IntegrityError(f"{file}: missing, or not a regular file")
        with open(file, "rb") as handle:
            content = handle.read(limit + 1)
    except OSError as error:
        raise IntegrityError(f"{file}: cannot be read ({error.strerror})") from error
    if len(content) > limit:
        raise IntegrityError(f"{file}: larger than {limit:,} bytes, which is more than the notation can need")
    return content
