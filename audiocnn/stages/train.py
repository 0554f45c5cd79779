"""``train``: the store, divided, to a bundle that has been checked against the network it came from."""

import contextlib
import csv
import datetime
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from audiocnn.config import Project
from audiocnn.dataset import split
from audiocnn.dataset.manifest import PARTS
from audiocnn.dataset.split import Split
from audiocnn.errors import AudiocnnError
from audiocnn.features import frontend
from audiocnn.features.gather import Windows
from audiocnn.files import digest_of, lock, sha256_of, write_atomic
from audiocnn.learning import lesson
from audiocnn.learning.task import Task, prepare
from audiocnn.model import bundle, card, hardware, network, summary, training, transfer
from audiocnn.model.architecture import Architecture
from audiocnn.model.logs import Logs
from audiocnn.progress import Progress
from audiocnn.results import aggregate
from audiocnn.results.aggregate import Scores
from audiocnn.specs import TrainSpec


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


def run(
    project: Project,
    *,
    changes: Mapping[str, Any],
    fresh: bool,
    init_from: Path | None,
    progress: Progress,
    tensorboard: bool = False,
    profile: bool = False,
) -> TrainResult:
    """Train as the project says, with ``changes`` in the place of fields of its `TrainSpec`.

    ``init_from`` is the folder of a model whose convolutions are taken over. Of several machines that train together
    (see `audiocnn.model.hardware.role`) the first writes all files.
    """
    spec = project.experiment.train.model_copy(update=dict(changes))
    logs = Logs(project.run / "logs", scalars=tensorboard, profile=profile) if tensorboard or profile else None
    with lock(project.run) if hardware.role().writes else contextlib.nullcontext():
        return _run(project, spec, fresh, init_from, logs, progress)


def _run(
    project: Project, spec: TrainSpec, fresh: bool, init_from: Path | None, logs: Logs | None, progress: Progress
) -> TrainResult:
    experiment = project.experiment
    task = prepare(project, max_bad_fraction=spec.max_bad_fraction, progress=progress)
    start = None if init_from is None else transfer.take(init_from, task.net, experiment.features)
    division = _division(project, task, progress)
    members = {part: [r for r in task.recordings if division.part[r.path] == part] for part in PARTS}
    counts = task.counts(members)

    settings = {
        "train": spec.model_dump(mode="json"),
        **task.settings(),
        "split": division.digest,
        "init_from": None if start is None else start.digest,
    }
    key = digest_of(settings)
    folder, unfinished = project.run / "model", project.run / "training.checkpoint"
    writes = hardware.role().writes
    finished = None if fresh else _finished(folder, key)
    if finished is None:
        network.load_keras()  # says what to install before anything is written
    if writes:
        division.write(project.run / "split.json")
        if fresh or finished is not None:
            unfinished.unlink(missing_ok=True)
    progress.table(summary.HEADINGS, summary.rows(task.net))
    if finished is not None:
        if writes:
            _write_history(project.run / "history.csv", finished.training["history"])
        return TrainResult(folder, True, task.net, task.labels, counts, finished.training, finished.metrics)

    taught = lesson.learn(
        task,
        spec,
        train=members["train"],
        validation=members["validation"],
        start=start,
        file=None if fresh and not writes else unfinished,  # the first machine may not have removed it yet
        logs=logs,
        settings=settings,
        progress=progress,
    )
    if logs is not None and writes:
        progress.say(logs.say())
    trained = taught.trained
    judged = task.windows(members["validation"] or members["train"])
    model, logits = lesson.exported(task, trained, judged)
    log_scores = aggregate.log_scores(logits, positive=task.positive_index)
    metrics = {"validation" if members["validation"] else "train": _accuracies(log_scores, judged)}
    notes = {
        **spec.model_dump(mode="json"),
        "batch_size": trained.batch_size,
        "precision": trained.precision,
        "n_windows": taught.n_windows,
        "class_weights": dict(taught.class_weights),
        "history": trained.history,
        "best_epoch": trained.best_epoch,
    }
    info = {
        "name": experiment.name,
        "features": experiment.features.model_dump(mode="json"),
        "labels": task.labels,
        "positive": task.positive,
        "notation": experiment.model,
        "mean": trained.mean.tolist(),
        "std": trained.std.tolist(),
        "training": notes,
        "metrics": metrics,
        "provenance": {
            "key": key,
            "manifest_sha256": sha256_of(project.manifest),
            "split_sha256": division.digest,
            "features_key": task.store.key,
            "recordings": counts,
            "seed": spec.seed,
            "init_from": settings["init_from"],
            "created": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "versions": training.versions(),
        },
    }
    about = card.text(
        name=experiment.name,
        about=experiment.data.about,
        labels=task.labels,
        spec=experiment.features,
        architecture=task.net,
        training=notes,
        metrics=metrics,
        counts=counts,
    )
    constants = frontend.make(experiment.features)
    if writes:
        bundle.write(folder, info, frontend=constants, weights=network.weights(trained.model), model=model, card=about)
        _write_history(project.run / "history.csv", trained.history)
        unfinished.unlink(missing_ok=True)
    return TrainResult(folder, False, task.net, task.labels, counts, notes, metrics)


def _division(project: Project, task: Task, progress: Progress) -> Split:
    """The split in ``split.json`` if it was made from the same recordings and settings, else a new one."""
    made = split.make(task.recordings, task.contents, project.experiment.split)
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
