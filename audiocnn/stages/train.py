"""``train``: the store, divided, to a bundle that has been checked against the network it came from."""

import contextlib
import csv
import datetime
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audiocnn.config import Project
from audiocnn.dataset import split
from audiocnn.dataset.manifest import PARTS, Recording
from audiocnn.dataset.split import Split
from audiocnn.errors import AudiocnnError, ConfigError
from audiocnn.features import frontend
from audiocnn.files import digest_of, lock, sha256_of, write_atomic
from audiocnn.inference import scoring
from audiocnn.model import bundle, card, network, notation
from audiocnn.model.notation import Architecture
from audiocnn.progress import Progress
from audiocnn.specs import Experiment, TrainSpec
from audiocnn.training import calibrate, dataset, devices, fit, leak_check, train_model, transfer
from audiocnn.training.calibrate import Folds
from audiocnn.training.dataset import TrainingData, prepare
from audiocnn.training.out_of_fold import InMemoryClassifier
from audiocnn.training.tensorboard import TensorBoardLogs
from audiocnn.training.train_model import TrainedModel


@dataclass(frozen=True)
class TrainResult:
    """What was trained. ``kept`` tells that a finished model of the same settings was there already.

    ``counts`` are recordings by part and label, the rest is what the bundle says.
    """

    folder: Path
    kept: bool
    network: Architecture
    labels: tuple[str, ...]
    counts: Mapping[str, Mapping[str, int]]
    training: Mapping[str, Any]
    metrics: Mapping[str, Any]
    temperature: float
    decision: Mapping[str, Any] | None


def run(
    project: Project,
    *,
    changes: Mapping[str, Any],
    fresh: bool,
    init_from: Path | None,
    progress: Progress,
    tensorboard: bool = False,
    profile: bool = False,
    allow_leaks: bool = False,
) -> TrainResult:
    """Train as the project says, with ``changes`` in the place of fields of its `TrainSpec`.

    ``init_from`` is the folder of a model whose convolutions are taken over. Raises `SplitError` if copies of one
    recording are in different parts, unless ``allow_leaks``. Of several machines that train together
    (see `audiocnn.training.devices.role`) the first writes all files.
    """
    spec = project.experiment.train.model_copy(update=dict(changes))
    logs = (
        TensorBoardLogs(project.run / "logs", scalars=tensorboard, profile=profile) if tensorboard or profile else None
    )
    with lock(project.run) if devices.role().writes else contextlib.nullcontext():
        return _run(project, spec, fresh, init_from, logs, allow_leaks, progress)


def _run(
    project: Project,
    spec: TrainSpec,
    fresh: bool,
    init_from: Path | None,
    logs: TensorBoardLogs | None,
    allow_leaks: bool,
    progress: Progress,
) -> TrainResult:
    experiment = project.experiment
    task = prepare(project, max_bad_fraction=spec.max_bad_fraction, progress=progress)
    start = None if init_from is None else transfer.from_bundle(init_from, task.net, experiment.features)
    division = _division(project, task, progress)
    members = {part: [r for r in task.recordings if division.part[r.path] == part] for part in PARTS}

    settings = {
        "train": spec.model_dump(mode="json"),
        **task.settings(),
        "split": division.digest,
        "init_from": None if start is None else start.digest,
    }
    key = digest_of(settings)
    folder, unfinished = project.run / "model", project.run / "training.checkpoint"
    writes = devices.role().writes
    finished = None if fresh else _finished(folder, key)
    if finished is None:
        network.load_keras()  # says what to install before anything is written
        leak_check.check_leaks(project, task, [division], allow_leaks=allow_leaks, progress=progress)
    if writes:
        division.write(project.run / "split.json")
        if fresh or finished is not None:
            unfinished.unlink(missing_ok=True)
    progress.table(notation.SUMMARY_HEADINGS, notation.summary_rows(task.net))
    if finished is None:
        taught = train_model.train_model(
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
            progress.info(logs.say())
        provenance = {
            "key": key,
            "manifest_sha256": sha256_of(project.manifest),
            "split_sha256": division.digest,
            "features_key": task.store.key,
            "recordings": task.counts(members),
            "seed": spec.seed,
            "init_from": settings["init_from"],
            "created": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "versions": fit.versions(),
        }
        info = _write(experiment, task, spec, taught, members, provenance, folder if writes else None)
        if writes:
            unfinished.unlink(missing_ok=True)
    else:
        info = finished
    if writes:
        folds = Folds(task, spec, experiment.split, project.run / "decide", settings, fresh, progress)
        info = _decide(experiment, task, folder, members, folds, info, progress)
        _write_history(project.run / "history.csv", info["training"]["history"])
    return TrainResult(
        folder=folder,
        kept=finished is not None,
        network=task.net,
        labels=task.labels.names,
        counts=task.counts(members),
        training=info["training"],
        metrics=info["metrics"],
        temperature=info.get("temperature", 1.0),
        decision=info.get("decision"),
    )


def _write(
    experiment: Experiment,
    task: TrainingData,
    spec: TrainSpec,
    taught: TrainedModel,
    members: Mapping[str, Sequence[Recording]],
    provenance: Mapping[str, Any],
    folder: Path | None,
) -> dict[str, Any]:
    """Export what was taught, check it against Keras, and write the bundle, if there is a folder for it.

    Returns what ``bundle.json`` says of it; how scores become decisions comes later.
    """
    trained = taught.trained
    judged = task.windows(members["validation"] or members["train"])
    model, logits = train_model.exported(task, trained, judged)
    of_recordings, of_windows = scoring.accuracies(scoring.log_scores(logits, task.labels), judged)
    info: dict[str, Any] = {
        "name": experiment.name,
        "features": experiment.features.model_dump(mode="json"),
        "labels": task.labels.names,
        "positive": task.labels.positive,
        "notation": experiment.model,
        "mean": trained.mean.tolist(),
        "std": trained.std.tolist(),
        "training": {
            **spec.model_dump(mode="json"),
            "batch_size": trained.batch_size,
            "precision": trained.precision,
            "n_windows": taught.n_windows,
            "class_weights": dict(taught.class_weights),
            "history": trained.history,
            "best_epoch": trained.best_epoch,
        },
        "metrics": {
            "validation" if members["validation"] else "train": {
                "recording_accuracy": of_recordings,
                "window_accuracy": of_windows,
            }
        },
        "provenance": provenance,
    }
    if folder is not None:
        bundle.write(
            folder,
            info,
            frontend=frontend.make(experiment.features),
            weights=network.get_weights(trained.model),
            model=model,
            card=_card(experiment, task, info),
        )
    return info


def _decide(
    experiment: Experiment,
    task: TrainingData,
    folder: Path,
    members: Mapping[str, Sequence[Recording]],
    folds: Folds,
    info: Mapping[str, Any],
    progress: Progress,
) -> dict[str, Any]:
    """Fit how scores become decisions, and sum up what was learned from, unless the bundle says all that already."""
    wanted = experiment.decide.model_dump(mode="json")
    decided = info["provenance"].get("decide") == wanted
    if decided and (info.get("domain") is not None or not dataset.has_domain(task, members["train"])):
        return dict(info)
    if wanted["folds"] and devices.role().count > 1:
        raise ConfigError("decide.folds: is for one machine; set it to 0, or say 'audiocnn train' again on one")
    written = bundle.load(folder)
    plain = InMemoryClassifier(written.spec, written.labels, written.runtime)  # at temperature 1
    fitted = calibrate.fit(
        task,
        plain,
        experiment.decide,
        train=members["train"],
        validation=members["validation"],
        folds=folds,
        progress=progress,
    )
    domain = dataset.training_domain(task, members["train"], fitted.resemblances)
    changes = {
        "temperature": fitted.temperature,
        "decision": None if fitted.decision is None else fitted.decision.model_dump(mode="json"),
        "domain": None if domain is None else domain.model_dump(mode="json"),
        "operating": None,  # thresholds of other scores
        "provenance": {**info["provenance"], "decide": wanted},
    }
    bundle.update(folder, changes, card=_card(experiment, task, {**info, **changes}))
    return {**info, **changes}


def _card(experiment: Experiment, task: TrainingData, info: Mapping[str, Any]) -> str:
    return card.render(
        name=experiment.name,
        about=experiment.data.about,
        labels=task.labels,
        spec=experiment.features,
        architecture=task.net,
        training=info["training"],
        metrics=info["metrics"],
        counts=info["provenance"]["recordings"],
        decision=info.get("decision"),
        temperature=info.get("temperature", 1.0),
        domain=info.get("domain"),
    )


def _division(project: Project, task: TrainingData, progress: Progress) -> Split:
    """The split in ``split.json`` if it was made from the same recordings and settings, else a new one."""
    made = split.make(task.recordings, task.contents, project.experiment.split)
    file = project.run / "split.json"
    if file.is_file():
        kept = split.read(file)
        if kept.key == made.key:
            return kept
        progress.info("the recordings or the split settings have changed: making a new split")
    return made


def _finished(folder: Path, key: str) -> dict[str, Any] | None:
    """What the bundle says that was trained with the same settings, if there is one."""
    try:
        info = bundle.read(folder)[0]
    except AudiocnnError:
        return None
    return info.model_dump(mode="json", by_alias=True) if info.provenance.get("key") == key else None


def _write_history(file: Path, history: Sequence[Mapping[str, float]]) -> None:
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, fieldnames=list(history[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    write_atomic(file, out.getvalue())
