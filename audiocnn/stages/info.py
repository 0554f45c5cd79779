"""``info``: what a model takes and returns, what it was trained on, and how its scores are used."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audiocnn.model import ensemble, notation
from audiocnn.model.bundle import BundleInfo
from audiocnn.model.loaded_model import ModelInfo
from audiocnn.model.notation import Architecture
from audiocnn.model.open_model import read_model
from audiocnn.specs import FeatureSpec, finest_member
from audiocnn.text import encode_path

SCHEMA = "audiocnn.info/1"


@dataclass(frozen=True)
class NetworkSummary:
    """One network of a model: its share of the log-scores, its features and its layers."""

    weight: float
    spec: FeatureSpec
    layers: Architecture

    @property
    def multiply_adds_per_second(self) -> float:
        """Multiply-adds for one second of audio."""
        return self.layers.multiply_adds / self.spec.hop_s

    def as_json(self) -> dict[str, Any]:
        """Return the window, features and layers as ``info --format json`` prints them."""
        spec, layers = self.spec, self.layers
        return {
            "window": {"length_s": spec.window_s, "hop_s": spec.hop_s, "shape": list(spec.shape)},
            "features": spec.model_dump(mode="json"),
            "network": {
                "notation": layers.notation,
                "n_params": layers.n_params,
                "multiply_adds": layers.multiply_adds,
                "embedding_size": layers.embedding_size,
            },
        }


@dataclass(frozen=True)
class ModelSummary:
    """A model as its bundle describes it.

    ``digest`` is the SHA-256 of ``bundle.json``. ``networks`` are those of its members by name, or that of the model
    with the name "" if it has only one. ``counts`` are the recordings by part and label. ``created`` is the date of the
    training, ``version`` the version of audiocnn that trained the model. Counts, date and version are empty if the
    bundle lacks them.
    """

    folder: Path
    digest: str
    info: ModelInfo
    networks: Mapping[str, NetworkSummary]
    counts: Mapping[str, Mapping[str, int]]
    created: str
    version: str

    @property
    def members(self) -> Mapping[str, NetworkSummary]:
        """The networks by name if there are several, else nothing."""
        return self.networks if len(self.networks) > 1 else {}

    @property
    def n_params(self) -> int:
        return sum(one.layers.n_params for one in self.networks.values())

    @property
    def multiply_adds_per_second(self) -> float:
        """Multiply-adds of all networks for one second of audio."""
        return sum(one.multiply_adds_per_second for one in self.networks.values())

    @property
    def embedding_size(self) -> int:
        return sum(one.layers.embedding_size for one in self.networks.values())

    def as_json(self) -> dict[str, Any]:
        """Return the summary as ``info --format json`` prints it: all of ``bundle.json`` but its large arrays."""
        info = self.info
        return {
            "schema": SCHEMA,
            "name": info.name,
            "folder": encode_path(os.fspath(self.folder)),
            "digest": self.digest,
            "version": self.version,
            "created": self.created,
            "labels": list(info.labels),
            "positive": info.positive,
            **self._networks_as_json(),
            "training": {
                "recordings": self.counts,
                **{name: info.training.get(name) for name in ("n_windows", "epochs", "best_epoch")},
            },
            "metrics": info.metrics,
            "temperature": info.temperature,
            "decision": info.decision and info.decision.model_dump(mode="json", exclude={"typical"}),
            "domain": info.domain and info.domain.model_dump(mode="json"),
            "operating": info.operating and info.operating.model_dump(mode="json"),
        }

    def _networks_as_json(self) -> dict[str, Any]:
        """Return the network, or sums over all of them and each of them; windows and features are those of scores."""
        if not self.members:
            return self.networks[""].as_json()
        finest = finest_member({name: one.spec for name, one in self.members.items()})
        return {
            **self.members[finest].as_json(),
            "network": {
                "n_params": self.n_params,
                "multiply_adds_per_second": self.multiply_adds_per_second,
                "embedding_size": self.embedding_size,
            },
            "members": [
                {
                    "name": name,
                    "weight": one.weight,
                    **one.as_json(),
                    "multiply_adds_per_second": one.multiply_adds_per_second,
                }
                for name, one in self.members.items()
            ],
        }


def run(model: Path) -> ModelSummary:
    """Read a model without loading its networks; the hashes of all its files are checked.

    Raises `ConfigError` if the folder is not a model, `IntegrityError` if a file of it is damaged.
    """
    info, digest, _ = read_model(model)
    if isinstance(info, BundleInfo):
        networks = {"": _summarize(info, 1.0)}
    else:
        members = ensemble.read_members(model, info)
        networks = {one.name: _summarize(members[one.name], one.weight) for one in info.members}
    counts = {
        part: {label: n for label, n in _mapping(by_label).items() if isinstance(n, int)}
        for part, by_label in _mapping(info.provenance.get("recordings")).items()
    }
    version = _mapping(info.provenance.get("versions")).get("audiocnn", "")
    return ModelSummary(model, digest, info, networks, counts, str(info.provenance.get("created", "")), str(version))


def _summarize(info: BundleInfo, weight: float) -> NetworkSummary:
    spec = info.features
    return NetworkSummary(weight, spec, notation.parse_for(spec, info.notation, n_labels=len(info.labels)))


def _mapping(value: Any) -> dict[str, Any]:
    """Return a value of the free parts of ``bundle.json`` as a mapping, an empty one if it is something else."""
    return value if isinstance(value, dict) else {}
