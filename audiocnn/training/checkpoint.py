"""The whole state of an unfinished training in one file, from which it resumes as if never interrupted."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from audiocnn.errors import ConfigError, IntegrityError
from audiocnn.files import digest_of, write_atomic

Arrays = Mapping[str, list[NDArray[Any]]]


@dataclass(frozen=True)
class Checkpoint:
    """State after a whole epoch.

    ``settings`` is what the training depends on; ``history`` has one mapping an epoch, ``best_epoch`` counts from 1;
    ``arrays`` are the variables of the model, of the optimizer, and the weights of the best epoch.
    """

    settings: Mapping[str, Any]
    history: list[dict[str, float]]
    best_epoch: int
    arrays: Arrays

    def write(self, file: Path) -> None:
        """Replace the checkpoint in ``file`` by one rename; raises `OutputError`."""
        tensors = {f"{name}/{i:04d}": array for name, group in self.arrays.items() for i, array in enumerate(group)}
        content = {"settings": self.settings, "history": self.history, "best_epoch": self.best_epoch}
        write_atomic(file, safetensors.numpy.save(tensors, metadata={"audiocnn": json.dumps(content)}))


def read(file: Path) -> Checkpoint:
    """Read what `Checkpoint.write` wrote; raises `IntegrityError` if it is something else."""
    try:
        arrays: dict[str, list[NDArray[Any]]] = {}
        with safetensors.safe_open(file, framework="numpy") as tensors:
            content = json.loads(tensors.metadata()["audiocnn"])
            for name in sorted(tensors.keys()):
                arrays.setdefault(name.partition("/")[0], []).append(np.array(tensors.get_tensor(name)))
        return Checkpoint(content["settings"], content["history"], content["best_epoch"], arrays)
    except (OSError, safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise IntegrityError(f"{file}: not a checkpoint ({error}); pass --fresh to train from the beginning") from error


def check_settings(file: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Raise `ConfigError`, naming what differs, unless a checkpoint belongs to these settings."""
    there, here = _flat(found), _flat(wanted)
    differing = [name for name in sorted(there.keys() | here.keys()) if there.get(name) != here.get(name)]
    if differing:
        shown = "; ".join(
            f"{name} was {_short(there.get(name))}, is {_short(here.get(name))}" for name in differing[:3]
        )
        more = f" (and {len(differing) - 3} more)" if len(differing) > 3 else ""
        raise ConfigError(
            f"{file}: the interrupted training had other settings: {shown}{more}; set them back to resume it, or "
            "pass --fresh to train from the beginning"
        )


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        flat |= _flat(inner, f"{prefix}{key}.") if isinstance(inner, Mapping) else {f"{prefix}{key}": inner}
    return flat


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else digest_of(value)[:8]
