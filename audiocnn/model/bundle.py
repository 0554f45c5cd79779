"""Write and load a bundle: the folder of a trained model, which describes and tests itself and runs without Keras.

Loading a bundle never runs code from it. Files are hashed before they are parsed, sizes are checked against the
notation before memory is allocated, and loading recomputes the golden example.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from audiocnn import __version__
from audiocnn.errors import ArchitectureError, ConfigError, IntegrityError
from audiocnn.features import extract
from audiocnn.features.frontend import Frontend, npz_bytes, read_npz
from audiocnn.files import atomic_folder, digest_of, restore_folder, write_atomic
from audiocnn.labels import Labels
from audiocnn.model import notation
from audiocnn.model.decision import Decision, OperatingPoint
from audiocnn.model.domain import Domain
from audiocnn.model.notation import Architecture
from audiocnn.model.runtime import Runtime
from audiocnn.specs import EventSpec, FeatureSpec
from audiocnn.text import printable

SCHEMA: Literal["audiocnn.bundle/1"] = "audiocnn.bundle/1"
MANIFEST = "bundle.json"
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


class BundleInfo(BaseModel):
    """The content of ``bundle.json``.

    ``labels`` are in the order of the outputs; with one output, its probability is that of ``positive``. ``mean`` and
    ``std`` scale the features (``model.tflite`` contains them too), as nested lists that broadcast against one window.
    ``decision`` turns scores into decisions, None if no recordings were held out to fit it. ``domain`` has the ranges
    of the training recordings, None if they were too few. ``operating`` has the event thresholds, None without
    event tuning. ``training``, ``metrics`` and ``provenance`` are for people and reports. ``files`` are the SHA-256 of
    the other files, ``sha256`` is that of all other fields.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    schema_: Literal["audiocnn.bundle/1"] = Field(default=SCHEMA, alias="schema")
    name: str = Field(max_length=1_000)
    features: FeatureSpec
    labels: tuple[str, ...] = Field(min_length=2, max_length=100_000)
    positive: str | None = None
    notation: str = Field(min_length=1, max_length=10_000)
    mean: list[Any]
    std: list[Any]
    temperature: float = Field(default=1.0, ge=1e-6, le=1e6)  # outside, scores of float32 logits are not finite
    decision: Decision | None = None
    domain: Domain | None = None
    operating: OperatingPoint | None = None
    training: dict[str, Any]
    metrics: dict[str, Any]
    provenance: dict[str, Any]
    files: dict[str, str]
    sha256: str

    @model_serializer(mode="wrap")
    def _without_none(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Omit newer fields that are None, so that bundles without them keep the format of older versions."""
        newer = ("decision", "domain", "operating")
        return {name: value for name, value in handler(self).items() if name not in newer or value is not None}

    @model_validator(mode="after")
    def _consistent(self) -> "BundleInfo":
        Labels(self.labels, self.positive).validate()
        point = self.operating
        if point is not None and not {*point.thresholds, *point.measured} <= set(self.labels):
            raise ValueError("the operating point has a label that the model does not have")
        if set(self.files) != set(FILES):
            raise ValueError(f"files must be exactly {', '.join(FILES)}")
        if printable(self.name) != self.name:
            raise ValueError("name contains a control code")
        mean, std = (
            _numbers(name, values, self.features.shape) for name, values in (("mean", self.mean), ("std", self.std))
        )
        if not (np.abs(mean).max() <= _MAX_SCALE and std.min() >= 1 / _MAX_SCALE and std.max() <= _MAX_SCALE):
            raise ValueError(f"mean or std is beyond {_MAX_SCALE:g}, or std is not above 0")
        return self

    @property
    def content_sha256(self) -> str:
        """The correct value of `sha256`."""
        return digest_of(self.model_dump(mode="json", by_alias=True, exclude={"sha256"}))


@dataclass(frozen=True)
class Bundle:
    """A loaded model that passed its own test."""

    folder: Path
    info: BundleInfo
    digest: str
    frontend: Frontend
    runtime: Runtime

    @property
    def spec(self) -> FeatureSpec:
        return self.info.features

    @cached_property
    def labels(self) -> Labels:
        return Labels(self.info.labels, self.info.positive)

    @property
    def temperature(self) -> float:
        """Divisor of the logits before they become scores."""
        return self.info.temperature

    @property
    def decision(self) -> Decision | None:
        return self.info.decision

    @property
    def domain(self) -> Domain | None:
        return self.info.domain

    @property
    def operating(self) -> OperatingPoint | None:
        return self.info.operating

    def settle_events(self, spec: EventSpec) -> EventSpec:
        """Return ``spec`` with unset values from the operating point, if there is one.

        Of two labels only the positive one makes events, unless the spec, the operating point or thresholds of the
        model name others.
        """
        if self.operating is not None:
            return self.operating.fill_unset(spec, self.labels)
        fitted = () if self.decision is None else self.decision.thresholds
        positive = self.labels.positive
        if positive is not None and not (spec.labels or spec.thresholds or fitted):
            return spec.model_copy(update={"labels": (positive,)})
        return spec

    @property
    def scores_digest(self) -> str:
        """The digest that identifies the scores: that of the bundle without an operating point."""
        return self.digest if self.info.operating is None else self.info.operating.model

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
    files = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    complete = BundleInfo.model_validate_json(json.dumps({"schema": SCHEMA, **info, "files": files, "sha256": ""}))
    complete = complete.model_copy(update={"sha256": complete.content_sha256})
    with atomic_folder(folder) as temporary:
        for name, content in contents.items():
            write_atomic(temporary / name, content)
        write_atomic(temporary / MANIFEST, _text(complete))


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
    restore_folder(folder)
    if not (folder / MANIFEST).is_file():
        raise ConfigError(f"{folder}: not a model (no {MANIFEST})")
    raw = _read(folder / MANIFEST, _MAX_TEXT_BYTES)
    if sum(map(raw.count, (b",", b"[", b"{"))) > _MAX_ITEMS:
        raise IntegrityError(f"{folder / MANIFEST}: more than {_MAX_ITEMS:,} values; it is not read")
    try:
        value = json.loads(raw)
        schema = value.get("schema") if isinstance(value, dict) else None
        if isinstance(schema, str) and schema != SCHEMA and schema.startswith("audiocnn.bundle/"):
            refusal = f"{folder}: its format is {printable(schema[:60])}, this version reads {SCHEMA}"
            if schema == "audiocnn.bundle/0":
                raise IntegrityError(f"{refusal}; no version of audiocnn has written the former")
            raise ConfigError(f"{refusal}; install {_maker(value) or 'a newer audiocnn'}")
        info = BundleInfo.model_validate_json(raw)
        intact = _text(info).encode("utf-8") == raw and info.content_sha256 == info.sha256
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
    network = _architecture(folder, info)
    if info.decision is not None:
        try:
            info.decision.check(Labels(info.labels), network.embedding_size)
        except ValueError as error:
            raise IntegrityError(f"{folder / MANIFEST}: decision: {error}") from error
    if network.n_outputs == 1 and info.positive is None:
        raise IntegrityError(f"{folder / MANIFEST}: names no positive label, which '{info.notation}' needs")
    contents = {}
    for name, expected in info.files.items():
        limit = _MAX_TEXT_BYTES + 8 * network.n_params + 16 * math.prod(info.features.shape)
        contents[name] = _read(folder / name, limit + 8 * info.features.n_fft * info.features.n_mels)
        if hashlib.sha256(contents[name]).hexdigest() != expected:
            raise IntegrityError(f"{folder / name}: damaged: its SHA-256 is not the one in {MANIFEST}")
    return info, hashlib.sha256(raw).hexdigest(), contents


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
    sizes = [
        math.prod(shape) for layer in network.layers for shape in (layer.output_shape, *layer.weight_shapes.values())
    ]
    # Twice the values: LiteRT reorders some weights and pads them to whole blocks.
    return _OPERATIONS_PER_LAYER * (len(network.layers) + 2), 2 * max(math.prod(network.input_shape), *sizes, 4096)


def _architecture(folder: Path, info: BundleInfo) -> Architecture:
    try:
        return notation.parse(info.notation, input_shape=info.features.shape, n_labels=len(info.labels))
    except ArchitectureError as error:
        raise IntegrityError(f"{folder / MANIFEST}: {error}") from error


def _text(info: BundleInfo) -> str:
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
