"""``info``: what a model takes and returns, what it was trained on, and how its scores are used."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audiocnn.model import bundle, notation
from audiocnn.model.bundle import BundleInfo
from audiocnn.model.notation import Architecture
from audiocnn.text import encode_path

SCHEMA = "audiocnn.info/1"


@dataclass(frozen=True)
class ModelSummary:
    """A model as its bundle describes it.

    ``digest`` is the SHA-256 of ``bundle.json``, ``counts`` are the recordings by part and label. ``created`` is the
    date of the training, ``version`` the version of audiocnn that trained the model. Counts, date and version are empty
    if the bundle lacks them.
    """

    folder: Path
    digest: str
    info: BundleInfo
    network: Architecture
    counts: Mapping[str, Mapping[str, int]]
    created: str
    version: str

    def as_json(self) -> dict[str, Any]:
        """Return the summary as ``info --format json`` prints it: all of ``bundle.json`` but its large arrays."""
        info, spec, network = self.info, self.info.features, self.network
        return {
            "schema": SCHEMA,
            "name": info.name,
            "folder": encode_path(os.fspath(self.folder)),
            "digest": self.digest,
            "version": self.version,
            "created": self.created,
            "labels": list(info.labels),
            "positive": info.positive,
            "window": {"length_s": spec.window_s, "hop_s": spec.hop_s, "shape": list(spec.shape)},
            "features": spec.model_dump(mode="json"),
            "network": {
                "notation": network.notation,
                "n_params": network.n_params,
                "multiply_adds": network.multiply_adds,
                "embedding_size": network.embedding_size,
            },
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


def run(model: Path) -> ModelSummary:
    """Read a model without loading its network; the hashes of all its files are checked.

    Raises `ConfigError` if the folder is not a model, `IntegrityError` if a file of it is damaged.
    """
    info, digest, _ = bundle.read(model)
    network = notation.parse(info.notation, input_shape=info.features.shape, n_labels=len(info.labels))
    counts = {
        part: {label: n for label, n in _mapping(by_label).items() if isinstance(n, int)}
        for part, by_label in _mapping(info.provenance.get("recordings")).items()
    }
    version = _mapping(info.provenance.get("versions")).get("audiocnn", "")
    return ModelSummary(model, digest, info, network, counts, str(info.provenance.get("created", "")), str(version))


def _mapping(value: Any) -> dict[str, Any]:
    """Return a value of the free parts of ``bundle.json`` as a mapping, an empty one if it is something else."""
    return value if isinstance(value, dict) else {}
