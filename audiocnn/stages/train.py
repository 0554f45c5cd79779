"""``train``: the store, divided, to a bundle that has been checked against the network it came from."""

import csv
import datetime
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiocnn.config import Project
from audiocnn.dataset import manifest, split
from audiocnn.dataset.manifest import PARTS, Recording
from audiocnn.dataset.split import Split
from audiocnn.errors import AudiocnnError, ConfigError, IntegrityError, UnusableError
from audiocnn.features import catalog, frontend, gather
from audiocnn.features.gather import Windows
from audiocnn.features.listen import Account
from audiocnn.features.store import FeatureStore
from audiocnn.files import digest_of, lock, sha256_of, write_atomic
from audiocnn.model import architecture, bundle, card, network, training
from audiocnn.model.architecture import Architecture
from audiocnn.model.runtime import Runtime
from audiocnn.model.stream import Labels
from audiocnn.model.training import Trained
from audiocnn.progress import Progress
from audiocnn.results import aggregate
from audiocnn.results.aggregate import Scores
from audiocnn.specs import Experiment, FeatureSpec, TrainSpec
from audiocnn.text import printable

MAX_LITERT_DIFFERENCE = 1e-4  # between scores of LiteRT and Keras
_CHECKED_WINDOWS = 1_024


@dataclass(frozen=True)
class TrainResult:
    """What was trained. ``kept`` tells that a finished model of the same settings was there already.

    ``counts`` are recordings by part and label, ``training`` and ``metrics`` what the bundle says.
    """

    folder: Path
    kept: bool
    network: Architecture
    labels: tuple[str, ...]
    counts: Mapping[str, Mapping[str, int]]
    training: Mapping[str, Any]
    metrics: Mapping[str, Any]


@dataclass(frozen=True)
class _Question:
    """What is asked of the network: which of ``labels``, or, with a single output, whether ``positive``."""

    labels: tuple[str, ...]
    positive: str | None
    net: Architecture

    def target(self, y: Labels) -> Labels:
        """Label numbers as the loss wants them."""
        if self.net.n_outputs > 1 or self.positive is None:
            return y
        return (y == self.labels.index(self.positive)).astype(np.int64)

    def by_label(self, weights: Mapping[int, float]) -> dict[str, float]:
        """The class weights of `target`, by label."""
        numbers = self.target(np.arange(len(self.labels)))
        return {label: weights[int(number)] for label, number in zip(self.labels, numbers, strict=True)}

    def log_scores(self, logits: NDArray[np.float32]) -> Scores:
        positive = None if self.positive is None else self.labels.index(self.positive)
        return aggregate.log_scores(logits, positive=positive)


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
    recordings = gather.with_background(recordings, accounts, experiment.features, experiment.data.background)
    usable = _usable(recordings, accounts, experiment.features, spec.max_bad_fraction)
    labels = tuple(manifest.labels_of(usable))
    net = architecture.parse(experiment.model, input_shape=experiment.features.shape, n_labels=len(labels))
    question = _Question(labels, _positive(experiment, labels, usable, progress), net)
    division = _division(project, usable, accounts, progress)
    members = {part: [r for r in usable if division.part[r.path] == part] for part in PARTS}
    counts = {part: dict(Counter(r.label for r in inside)) for part, inside in members.items()}

    contents = {r.path: accounts[r.path].sha256 for r in usable}
    settings = {
        "train": spec.model_dump(mode="json"),
        "model": experiment.model,
        "positive": question.positive,
        "features": store.key,
        "split": division.digest,
        "recordings": digest_of([[*r.order, r.label, contents[r.path]] for r in usable]),
    }
    key = digest_of(settings)
    folder, unfinished = project.run / "model", project.run / "training.checkpoint"
    finished = None if fresh else _finished(folder, key)
    if finished is None:
        network.load_keras()  # says what to install before anything is written
    division.write(project.run / "split.json")
    if fresh or finished is not None:
        unfinished.unlink(missing_ok=True)
    if finished is not None:
        _write_history(project.run / "history.csv", finished.training["history"])
        return TrainResult(folder, True, net, labels, counts, finished.training, finished.metrics)

    parts = {part: Windows(members[part], accounts, labels, store) for part in ("train", "validation")}
    trained, weights = _learn(
        question, spec, experiment.features.axes, parts["train"], parts["validation"], progress, unfinished,
        {**settings, "versions": training.versions()},
    )  # fmt: skip
    model, logits = _exported(question, trained, parts["validation"])
    notes = {
        **spec.model_dump(mode="json"),
        "n_windows": len(parts["train"]),
        "class_weights": weights,
        "history": trained.history,
        "best_epoch": trained.best_epoch,
    }
    metrics = {"validation": _accuracies(question.log_scores(logits), parts["validation"])}
    info = {
        "name": experiment.name,
        "features": experiment.features.model_dump(mode="json"),
        "labels": labels,
        "positive": question.positive,
        "notation": experiment.model,
        "mean": trained.mean.tolist(),
        "std": trained.std.tolist(),
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
            "versions": training.versions(),
        },
    }
    about = card.text(
        name=experiment.name,
        about=experiment.data.about,
        labels=labels,
        spec=experiment.features,
        architecture=net,
        training=notes,
        metrics=metrics,
        counts=counts,
    )
    constants = frontend.make(experiment.features)
    bundle.write(folder, info, frontend=constants, weights=network.weights(trained.model), model=model, card=about)
    _write_history(project.run / "history.csv", trained.history)
    unfinished.unlink(missing_ok=True)
    return TrainResult(folder, False, net, labels, counts, notes, metrics)


def _usable(
    recordings: Sequence[Recording], accounts: Mapping[str, Account], features: FeatureSpec, max_bad: float
) -> list[Recording]:
    status = {r: accounts[r.path].of_stretch(r.stretch, features).status for r in recordings}
    bad = [r for r in recordings if status[r] == "unreadable"]
    if len(bad) > max_bad * len(recordings):
        raise UnusableError(
            f"{len(bad)} of {len(recordings)} recordings are unreadable ({len(bad) / len(recordings):.0%}; "
            f"train.max_bad_fraction allows {max_bad:.0%}): {printable(bad[0].path)}, ...; see quarantine.csv, mend or "
            "remove them, or allow more with --max-bad-fraction"
        )
    usable = [r for r in recordings if status[r] == "ok"]
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
        progress.say("the recordings or the split settings have changed: making a new split")
    return made


def _finished(folder: Path, key: str) -> bundle.BundleInfo | None:
    try:
        info = bundle.check(folder)[0]
    except AudiocnnError:
        return None
    return info if info.provenance.get("key") == key else None


def _learn(
    question: _Question,
    spec: TrainSpec,
    axes: str,
    train: Windows,
    validation: Windows,
    progress: Progress,
    file: Path,
    settings: Mapping[str, Any],
) -> tuple[Trained, dict[str, float]]:
    """Return the trained network and the class weights by label."""
    y = question.target(train.y)
    counted = y if spec.windows_per_recording is None else y[train.bounds[:-1]]  # what an epoch sees the same number of
    weights = training.class_weights(counted, max(2, question.net.n_outputs), spec.class_weight)
    by_label = question.by_label(weights)
    shown = ", ".join(f"{printable(label)} {weight:.3g}" for label, weight in by_label.items())
    progress.say(f"class weights ({spec.class_weight}): {shown}")
    trained = training.fit(
        question.net,
        spec,
        train=(train, y),
        validation=(validation, question.target(validation.y)),
        scale=training.standardization(train.chunks(), spec.standardize, axes),
        weights=weights,
        axes=axes,
        progress=progress,
        file=file,
        settings=settings,
    )
    return trained, by_label


def _exported(question: _Question, trained: Trained, windows: Windows) -> tuple[bytes, NDArray[np.float32]]:
    """Return the model for LiteRT and its logits of ``windows``, the first of them compared with those of Keras."""
    serving = network.serving(trained.model, trained.mean, trained.std)
    model = network.export_litert(serving)
    runtime = Runtime(model)
    logits = np.concatenate([runtime(X)[0] for X in windows.chunks()])
    keras = network.logits(serving, windows[np.arange(min(len(windows), _CHECKED_WINDOWS))])
    litert = logits[: len(keras)]
    difference = float(np.abs(np.exp(question.log_scores(litert)) - np.exp(question.log_scores(keras))).max())
    if not difference <= MAX_LITERT_DIFFERENCE:
        raise IntegrityError(
            f"the exported model's scores differ from those of the network by {difference:.2g} (at most "
            f"{MAX_LITERT_DIFFERENCE:g}); no model was written"
        )
    return model, logits


def _accuracies(log_scores: Scores, part: Windows) -> dict[str, float]:
    right = [
        int(np.argmax(aggregate.recording_scores(log_scores[first:last]))) == part.y[first]
        for first, last in zip(part.bounds[:-1], part.bounds[1:], strict=True)
    ]
    windows = log_scores.argmax(axis=1) == part.y
    return {"recording_accuracy": float(np.mean(right)), "window_accuracy": float(windows.mean())}


def _write_history(file: Path, history: Sequence[Mapping[str, float]]) -> None:
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, fieldnames=list(history[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    write_atomic(file, out.getvalue())
