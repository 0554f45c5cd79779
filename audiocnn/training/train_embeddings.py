"""The training recordings of a model and their embeddings, computed once and then kept in one file."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from audiocnn.config import Project
from audiocnn.dataset import manifest, split
from audiocnn.dataset.manifest import Recording
from audiocnn.errors import NotReadyError, OutputError
from audiocnn.features import build_store, windows
from audiocnn.features.analyze import RecordingStatus
from audiocnn.features.store import FeatureStore, find_store
from audiocnn.files import atomic_file, digest_of
from audiocnn.inference.scoring import predict_stored
from audiocnn.model.loaded_model import LoadedModel
from audiocnn.progress import Progress
from audiocnn.specs import finest_member

FILE = "learned.embeddings"  # in the run folder; not named like a feature file, which 'verify' would check

Embeddings = NDArray[np.float32]


@dataclass(frozen=True)
class TrainingEmbeddings:
    """Recordings and stretches, the SHA-256 of their files, their groups and embeddings (n, embedding_size).

    Groups with a file in common are merged.
    """

    recordings: Sequence[Recording]
    contents: Sequence[str]
    groups: Sequence[str]
    embeddings: Embeddings


def read(project: Project, model: LoadedModel, *, progress: Progress) -> TrainingEmbeddings:
    """Return the train part of the project's split with embeddings; augmented versions are left out.

    The validation part chose no weights and is not included. The embeddings are kept in the run folder for one model,
    split and set of features; a damaged file is computed again. Raises `NotReadyError` if the model was trained on
    other recordings than the project's, or their features are missing.
    """
    stores = [find_store(project, network.spec) for network in model.networks]
    division = _division(project, model)
    recordings, statuses = _usable(project, division, stores)
    contents = {path: of_networks[0].sha256 for path, of_networks in statuses.items()}
    rows = [[*r.order, contents[r.path]] for r in recordings]
    features = stores[0].key if len(stores) == 1 else [store.key for store in stores]
    key = digest_of({"model": model.digest, "split": division.digest, "features": features, "recordings": rows})
    file = project.run / FILE
    embeddings = _read_file(file, key, n=len(recordings))
    if embeddings is None:
        embeddings = _compute(recordings, statuses, stores, model, progress)
        _write_file(file, key, embeddings, progress)
    return TrainingEmbeddings(
        recordings, [contents[r.path] for r in recordings], split.merge_groups(recordings, contents), embeddings
    )


def _division(project: Project, model: LoadedModel) -> split.Split:
    file = project.run / "split.json"
    if not file.is_file():
        raise NotReadyError(f"{project.run}: no split, so no model was trained here; run 'audiocnn train' first")
    division = split.read(file)
    if model.info.provenance.get("split_sha256") != division.digest:
        raise NotReadyError(f"{file}: not the split that model '{model.info.name}' was trained with")
    return division


def _usable(
    project: Project, division: split.Split, stores: Sequence[FeatureStore]
) -> tuple[list[Recording], dict[str, list[RecordingStatus]]]:
    """The usable recordings of the train part, sorted, and the status of each path in each store.

    A recording is usable if the network with the closest windows can score it.
    """
    data = project.experiment.data
    rows = manifest.read(project.manifest, root=project.root, allow_outside=data.allow_outside)
    rows = [r for r in rows if r.cut is not None or division.part_of(r) == "train"]
    paths, current = [r.path for r in rows], None if project.members else project.experiment.features
    catalogs = [build_store.read_catalog(store, paths, current=current) for store in stores]
    finest = finest_member({k: store.spec for k, store in enumerate(stores)})
    spec, statuses = stores[finest].spec, catalogs[finest]
    rows = windows.add_background(rows, statuses, spec, data.background)
    rows = [r for r in rows if division.part_of(r) == "train"]
    usable = [r for r in rows if statuses[r.path].for_stretch(r.stretch, spec).status == "ok"]
    return sorted(usable, key=lambda r: r.order), {path: [catalog[path] for catalog in catalogs] for path in statuses}


def _compute(
    recordings: Sequence[Recording],
    statuses: Mapping[str, Sequence[RecordingStatus]],
    stores: Sequence[FeatureStore],
    model: LoadedModel,
    progress: Progress,
) -> Embeddings:
    table = np.empty((len(recordings), model.embedding_size), np.float32)
    with progress.task("embed training recordings", total=len(recordings), unit="recordings") as advance:
        for row, recording in zip(table, recordings, strict=True):
            stored = []
            for store, status in zip(stores, statuses[recording.path], strict=True):
                if status.status == "ok":
                    store.check(status.sha256)
                stored.append((status, store.frames(status)))
            row[:] = predict_stored(model, recording.path, stored, recording.stretch).embedding
            advance()
    return table


def _read_file(file: Path, key: str, *, n: int) -> Embeddings | None:
    """The embeddings stored under this key; None if there are none, or the file is damaged."""
    try:
        with safetensors.safe_open(file, framework="numpy") as content:
            about = json.loads((content.metadata() or {})["audiocnn"])
            table: Embeddings = content.get_tensor("embeddings")
        if about != {"key": key, "digest": _digest(table)} or len(table) != n:
            return None
    except (OSError, safetensors.SafetensorError, KeyError, TypeError, ValueError):
        return None
    return table


def _write_file(file: Path, key: str, table: Embeddings, progress: Progress) -> None:
    about = {"audiocnn": json.dumps({"key": key, "digest": _digest(table)})}
    try:
        with atomic_file(file) as out:
            out.write(safetensors.numpy.save({"embeddings": table}, about))
    except OutputError as error:  # they are computed again the next time
        progress.warn(f"the embeddings are not kept: {error}")


def _digest(table: Embeddings) -> str:
    return hashlib.sha256(table.tobytes()).hexdigest()
