"""Models of one and of several networks, made without training: their weights are random. They need the train extra."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiocnn.features import extract, frontend
from audiocnn.model import bundle, ensemble, network
from audiocnn.model.bundle import Bundle
from audiocnn.model.ensemble import Ensemble
from audiocnn.model.notation import parse
from audiocnn.specs import FeatureSpec, finest_member

FIELDS = (  # in the order of every ``bundle.json``, of one network and of several
    "schema", "name", "features", "labels", "positive", "notation", "mean", "std", "members", "temperature", "decision",
    "domain", "operating", "training", "metrics", "provenance", "files", "sha256",
)  # fmt: skip
LABELS = ("high", "low", "middle")  # the labels of `projects.tones`

# Two views that share neither sample rate, frames, bands nor windows: LOGMEL shows more of the spectrum, MFCC has the
# windows that are closest together.
LOGMEL = FeatureSpec(
    kind="logmel", sample_rate=16_000, n_fft=512, hop_length=160, n_mels=32, channels=("static",),
    window_frames=40, hop_frames=20, axes="frames_bins", tail="cover",
)  # fmt: skip
MFCC = FeatureSpec(
    kind="mfcc", sample_rate=8_000, n_fft=256, hop_length=100, n_mels=20, n_mfcc=12, channels=("static",),
    window_frames=9, hop_frames=8, axes="bins_frames",
)  # fmt: skip

Array = NDArray[np.float32]


def write_bundle(
    folder: Path,
    spec: FeatureSpec = LOGMEL,
    *,
    notation: str = "4C3-P2-6-*",
    labels: Sequence[str] = LABELS,
    seed: int = 0,
    **fields: Any,
) -> Bundle:
    """Write a model of one network and load it; ``fields`` are any of `BundleInfo`, and ``seed`` draws its weights."""
    serving, weights, mean, std = _network(spec, notation, len(labels), seed)
    info = {
        "name": folder.name,
        "features": spec.model_dump(mode="json"),
        "labels": labels,
        "notation": notation,
        "mean": mean.tolist(),
        "std": std.tolist(),
        "training": {},
        "metrics": {},
        "provenance": {},
        **fields,
    }
    bundle.write(folder, info, frontend=_frontend(spec), weights=weights, model=serving, card=f"# {info['name']}\n")
    return bundle.load(folder)


def write_ensemble(
    folder: Path, members: Mapping[str, Bundle] | None = None, *, weights: Sequence[float] | None = None, **fields: Any
) -> Ensemble:
    """Write a model of several networks and load it; ``fields`` are any of `EnsembleInfo`.

    The ``members`` are by default a network of `LOGMEL` and one of `MFCC`, written next to the folder; their weights
    are equal by default.
    """
    members = members or {
        "wide": write_bundle(folder.with_name(f"{folder.name}-wide"), LOGMEL, seed=1),
        "fine": write_bundle(folder.with_name(f"{folder.name}-fine"), MFCC, seed=2),
    }
    first = next(iter(members.values()))
    finest = members[finest_member({name: member.spec for name, member in members.items()})]
    info = {
        "name": folder.name,
        "features": finest.spec.model_dump(mode="json"),
        "labels": first.labels.names,
        "positive": first.labels.positive,
        "weights": dict(zip(members, weights or [1 / len(members)] * len(members), strict=True)),
        "training": {},
        "metrics": {},
        "provenance": {},
        **fields,
    }
    ensemble.write(
        folder, info, members={name: member.folder for name, member in members.items()}, card=f"# {info['name']}\n"
    )
    return ensemble.load(folder)


@cache
def _frontend(spec: FeatureSpec) -> frontend.Frontend:
    return frontend.make(spec)


@cache
def _network(
    spec: FeatureSpec, notation: str, n_labels: int, seed: int
) -> tuple[bytes, dict[str, Array], Array, Array]:
    """A network with random weights, as LiteRT and as arrays, and the mean and deviation of each bin of a chirp."""
    [window] = _chirp_windows(spec)
    axis = 1 if spec.axes == "bins_frames" else 0
    mean, std = window.mean(axis=axis, keepdims=True), np.maximum(window.std(axis=axis, keepdims=True), 1.0)
    network.load_keras().utils.set_random_seed(seed)
    model = network.build(parse(notation, input_shape=spec.shape, n_labels=n_labels))
    serving = network.export_litert(network.build_serving_model(model, mean, std))
    return serving, network.get_weights(model), mean, std


def _chirp_windows(spec: FeatureSpec) -> Array:
    frames = np.concatenate(
        list(extract.compute_frames([bundle.golden_waveform(spec)], spec=spec, frontend=_frontend(spec)))
    )
    return extract.cut_windows(frames, np.zeros(1, np.int64), spec)
