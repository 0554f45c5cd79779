"""``train``: the store, divided, to a bundle that has been checked against the network it came from."""

import csv
import datetime
import io
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import audiocnn
from audiocnn.audio.decode import LIBRARIES
from audiocnn.config import Project
from audiocnn.dataset import manifest, split
from audiocnn.dataset.manifest import PARTS, Recording
from audiocnn.dataset.split import Split
from audiocnn.errors import AudiocnnError, ConfigError, IntegrityError, UnusableError
from audiocnn.features import catalog, extract, frontend
from audiocnn.features.extract import Array
from audiocnn.features.listen import Account
from audiocnn.features.store import FeatureStore
from audiocnn.files import digest_of, lock, sha256_of, write_atomic
from audiocnn.model import architecture, bundle, card, network, training
from audiocnn.model.architecture import Architecture
from audiocnn.model.runtime import Runtime
from audiocnn.progress import Progress
from audiocnn.results import aggregate
from audiocnn.specs import Experiment, TrainSpec
from audiocnn.text import printable

MAX_LITERT_DIFFERENCE = 1e-4  # between scores of LiteRT and Keras
_CHECKED_WINDOWS = 1_024


@dataclass(frozen=True)
class TrainResult:
    """What was trained. ``kept`` tells that a finished model of the same settings was there already."""

    folder: Path
    kept: bool
    network: Architecture
    labels: tuple[str, ...]
    counts: Mapping[str, Mapping[str, int]]
    training: Mapping[str, Any]
    metrics: Mapping[str, Any]


@dataclass(frozen=True)
class _Part:
    """Windows (n_windows, *shape) with label numbers; ``bounds`` (n_recordings + 1) cut them into recordings."""

    X: Array
    y: NDArray[np.int64]
    bounds: NDArray[np.int64]


def run(project: Project, *, changes: Mapping[str, Any], fresh: bool, progress: Progress) -> TrainResult:
    """Train as the project says, with ``changes`` in the place of fields of its `TrainSpec`."""
    experiment = project.experiment
    spec = experiment.train.model_copy(update=dict(changes))
    with lock(project.run):
        return _run(project, experiment, spec, fresh, progress)


def _run(project: Project, experiment: Experiment, spec: TrainSpec, fresh: bool, progress: Progress) -> TrainResult:
    recordings = manifest.read(project.manifest, root=project.root, allow_outside=experiment.data.allow_outside)
    store = FeatureStore(project.run / "features", experiment.features)
    accounts = catalog.read(store, [r.path for r in recordings])
    usable = _usable(recordings, accounts, spec.max_bad_fraction)
    labels = tuple(manifest.labels_of(usable))
    net = architecture.parse(experiment.model, input_shape=experiment.features.shape, n_labels=len(labels))
    positive = _positive(experiment, labels, usable, progress)
    division = _division(project, usable, accounts, progress)
    counts = {part: dict(Counter(r.label for r in usable if division.part[r.path] == part)) for part in PARTS}

    key = digest_of([
        experiment.model_dump(mode="json", include={"model"}), spec.model_dump(mode="json"), store.key,
        division.digest, labels, positive, digest_of({r.path: accounts[r.path].sha256 for r in usable}),
    ])  # fmt: skip
    folder = project.run / "model"
    known = None if fresh else _finished(folder, key)
    if known is not None:
        return TrainResult(folder, True, net, labels, counts, known.training, known.metrics)

    network.load_keras()  # says what to install before anything is read
    parts = {
        part: _windows([r for r in usable if division.part[r.path] == part], accounts, labels, store)
        for part in ("train", "validation")
    }
    target = {part: _target(parts[part].y, net, labels, positive) for part in parts}
    weights = training.class_weights(target["train"], max(2, net.n_outputs), spec.class_weight)
    by_label = _by_label(weights, net, labels, positive)
    shown = ", ".join(f"{printable(label)} {weight:.3g}" for label, weight in by_label.items())
    progress.say(f"class weights ({spec.class_weight}): {shown}")
    trained = training.fit(
        net,
        spec,
        train=(parts["train"].X, target["train"]),
        validation=(parts["validation"].X, target["validation"]),
        scale=training.standardization(parts["train"].X, spec.standardize, experiment.features.axes),
        weights=weights,
        progress=progress,
    )
    serving = network.serving(trained.model, trained.mean, trained.std)
    model = network.export_litert(serving)
    logits = _checked_logits(serving, model, parts["validation"].X, labels, positive)
    notes = {
        **spec.model_dump(mode="json"),
        "n_windows": len(parts["train"].X),
        "class_weights": by_label,
        "history": trained.history,
        "best_epoch": trained.best_epoch,
    }
    metrics = {"validation": _accuracies(logits, parts["validation"], labels, positive)}
    bundle.write(
        folder,
        {
            "name": experiment.name,
            "features": experiment.features.model_dump(mode="json"),
            "labels": labels,
            "positive": positive,
            "notation": experiment.model,
            "mean": bundle.shown(trained.mean),
            "std": bundle.shown(trained.std),
            "training": notes,
            "metrics": metrics,
            "provenance": {
                "key": key,
                "manifest_sha256": sha256_of(project.manifest),
                "split_sha256": division.digest,
                "features_key": store.key,
                "recordings": counts,
                "seed": spec.seed,
                "created": datetime.datetime.now(datetime.UTC).date().isoformat(),
                "versions": _versions(),
            },
        },
        frontend=frontend.make(experiment.features),
        weights=network.weights(trained.model),
        model=model,
        card=card.text(
            name=experiment.name, labels=labels, spec=experiment.features, architecture=net, training=notes,
            metrics=metrics, counts=counts,
        ),
    )  # fmt: skip
    _write_history(project.run / "history.csv", trained.history)
    return TrainResult(folder, False, net, labels, counts, notes, metrics)


def _usable(recordings: Sequence[Recording], accounts: Mapping[str, Account], max_bad: float) -> list[Recording]:
    bad = [r for r in recordings if accounts[r.path].status == "unreadable"]
    if len(bad) > max_bad * len(recordings):
        raise UnusableError(
            f"{len(bad)} of {len(recordings)} recordings are unreadable ({len(bad) / len(recordings):.0%}; "
            f"train.max_bad_fraction allows {max_bad:.0%}): {printable(bad[0].path)}, ...; see quarantine.csv, mend or "
            "remove them, or allow more with --max-bad-fraction"
        )
    usable = [r for r in recordings if accounts[r.path].status == "ok"]
    if not usable:
        raise UnusableError("no recording can be used; see quarantine.csv")
    lost = sorted({r.label for r in recordings} - {r.label for r in usable})
    if lost:
        raise UnusableError(f"no recording of label '{printable(lost[0])}' can be used; see quarantine.csv")
    if len({r.label for r in usable}) < 2:
        raise ConfigError(
            f"all recordings have the label '{printable(usable[0].label)}'; a classifier needs two or more"
        )
    return usable


def _positive(
    experiment: Experiment, labels: Sequence[str], usable: Sequence[Recording], progress: Progress
) -> str | None:
    if len(labels) != 2:
        if experiment.positive is not None:
            raise ConfigError(
                f"positive: '{experiment.positive}' has no meaning with {len(labels)} labels; set it to null"
            )
        return None
    if experiment.positive is None:
        rarer = min(labels, key=lambda label: sum(r.label == label for r in usable))
        progress.say(f"positive label: {printable(rarer)} (the rarer one; set 'positive' to choose)")
        return rarer
    if experiment.positive not in labels:
        raise ConfigError(f"positive: '{experiment.positive}' is neither '{labels[0]}' nor '{labels[1]}'")
    return experiment.positive


def _division(
    project: Project, usable: Sequence[Recording], accounts: Mapping[str, Account], progress: Progress
) -> Split:
    """The split in ``split.json`` if it was made from the same recordings and settings, else a new one."""
    made = split.make(usable, {r.path: accounts[r.path].sha256 for r in usable}, project.experiment.split)
    file = project.run / "split.json"
    if file.is_file():
        kept = split.read(file)
        if kept.key == made.key:
            return kept
        progress.say("the recordings or the split settings have changed: made a new split")
    made.write(file)
    return made


def _finished(folder: Path, key: str) -> bundle.BundleInfo | None:
    try:
        info = bundle.check(folder)[0]
    except AudiocnnError:
        return None
    return info if info.provenance.get("key") == key else None


def _windows(
    recordings: Sequence[Recording], accounts: Mapping[str, Account], labels: Sequence[str], store: FeatureStore
) -> _Part:
    starts = [extract.window_starts(accounts[r.path].n_frames, store.spec) for r in recordings]
    bounds = np.concatenate([[0], np.cumsum([len(s) for s in starts], dtype=np.int64)])
    X = np.empty((bounds[-1], *store.spec.shape), np.float32)
    for recording, begin, first, last in zip(recordings, starts, bounds[:-1], bounds[1:], strict=True):
        X[first:last] = extract.cut(store.frames(accounts[recording.path].sha256), begin, store.spec)
    index = {label: i for i, label in enumerate(labels)}
    return _Part(X, np.repeat([index[r.label] for r in recordings], np.diff(bounds)).astype(np.int64), bounds)


def _target(y: NDArray[np.int64], net: Architecture, labels: Sequence[str], positive: str | None) -> NDArray[np.int64]:
    if net.n_outputs > 1 or positive is None:
        return y
    return (y == labels.index(positive)).astype(np.int64)


def _by_label(
    weights: Mapping[int, float], net: Architecture, labels: Sequence[str], positive: str | None
) -> dict[str, float]:
    if net.n_outputs > 1:
        return {label: weights[i] for i, label in enumerate(labels)}
    return {label: weights[int(label == positive)] for label in labels}


def _checked_logits(
    serving: Any, model: bytes, X: Array, labels: Sequence[str], positive: str | None
) -> NDArray[np.float32]:
    """LiteRT's logits of validation windows, the first of them compared with Keras'."""
    logits, _ = Runtime(model)(X)
    index = None if positive is None else labels.index(positive)
    keras = np.concatenate([
        np.asarray(serving(X[i : i + 128], training=False)["logits"]) for i in range(0, min(len(X), _CHECKED_WINDOWS), 128)
    ])  # fmt: skip
    scores = [np.exp(aggregate.log_scores(z, positive=index)) for z in (logits[: len(keras)], keras)]
    difference = float(np.abs(scores[0] - scores[1]).max())
    if not difference <= MAX_LITERT_DIFFERENCE:
        raise IntegrityError(
            f"the exported model's scores differ from those of the network by {difference:.2g} (at most "
            f"{MAX_LITERT_DIFFERENCE:g}); no model was written"
        )
    return logits


def _accuracies(
    logits: NDArray[np.float32], part: _Part, labels: Sequence[str], positive: str | None
) -> dict[str, float]:
    log = aggregate.log_scores(logits, positive=None if positive is None else labels.index(positive))
    right = [
        int(np.argmax(aggregate.recording_scores(log[first:last]))) == part.y[first]
        for first, last in zip(part.bounds[:-1], part.bounds[1:], strict=True)
    ]
    return {
        "recording_accuracy": float(np.mean(right)),
        "window_accuracy": float((log.argmax(axis=1) == part.y).mean()),
    }


def _write_history(file: Path, history: Sequence[Mapping[str, float]]) -> None:
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, fieldnames=list(history[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    write_atomic(file, out.getvalue())


def _versions() -> dict[str, str]:
    import keras
    import sklearn
    import tensorflow as tf

    return {
        "audiocnn": audiocnn.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "scikit-learn": sklearn.__version__,
        **LIBRARIES,
    }
