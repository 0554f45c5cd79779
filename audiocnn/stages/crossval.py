"""``crossval``: every recording judged by a network that has not heard it, fold by fold, and pooled figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from audiocnn.config import Project
from audiocnn.dataset import split
from audiocnn.dataset.manifest import Recording
from audiocnn.evaluation import calibration, metrics
from audiocnn.files import lock, write_atomic, write_json
from audiocnn.formats import tables
from audiocnn.inference import prediction
from audiocnn.inference.prediction import RecordingPrediction
from audiocnn.model import network, notation
from audiocnn.progress import Progress
from audiocnn.specs import TrainSpec
from audiocnn.training import leak_check, out_of_fold
from audiocnn.training.dataset import TrainingData, prepare
from audiocnn.training.out_of_fold import OutOfFold


@dataclass(frozen=True)
class CrossvalResult:
    """The figures, pooled and of each fold, and where they are."""

    metrics: Mapping[str, Any]
    predictions: Sequence[RecordingPrediction]
    file: Path


def run(
    project: Project,
    *,
    n_folds: int | None,
    changes: Mapping[str, Any],
    fresh: bool,
    progress: Progress,
    allow_leaks: bool = False,
) -> CrossvalResult:
    """Train once a fold and predict it; writes ``crossval.json`` and ``crossval/predictions.csv``.

    What is finished is kept in ``crossval/`` and not done again, with ``changes`` in the place of fields of the
    project's `TrainSpec`. Raises `SplitError` if copies of one recording are in different folds, unless
    ``allow_leaks``.
    """
    spec = project.experiment.train.model_copy(update=dict(changes))
    with lock(project.run):
        return _run(project, spec, n_folds, fresh, allow_leaks, progress)


def _run(
    project: Project, spec: TrainSpec, n_folds: int | None, fresh: bool, allow_leaks: bool, progress: Progress
) -> CrossvalResult:
    experiment, folder = project.experiment, project.run / "crossval"
    task = prepare(project, max_bad_fraction=spec.max_bad_fraction, progress=progress)
    divisions = split.make_folds(task.recordings, task.contents, experiment.split, n_folds)
    network.load_keras()  # says what to install before anything is written
    leak_check.check_leaks(project, task, divisions, allow_leaks=allow_leaks, progress=progress)
    progress.table(notation.SUMMARY_HEADINGS, notation.summary_rows(task.net))
    folds: list[_Fold] = []
    for number, division in enumerate(divisions, start=1):
        progress.info(f"fold {number} of {len(divisions)}")
        parts = {
            part: [r for r in task.recordings if division.part[r.path] == part]
            for part in ("train", "validation", "test")
        }
        settings = {"train": spec.model_dump(mode="json"), **task.settings(), "split": division.digest}
        found = out_of_fold.train_and_predict(
            task,
            spec,
            train=parts["train"],
            validation=parts["validation"],
            held_out=parts["test"],
            file=folder / f"fold-{number}.heldout",
            settings=settings,
            fresh=fresh,
            progress=progress,
        )
        folds.append(_Fold(number, parts["test"], found))
        right = sum(p.label == r.label for r, p in zip(parts["test"], found.predictions, strict=True))
        progress.info(f"fold {number}: {right} of {len(parts['test'])} recordings right")
    temperatures = _temperatures(task, folds)
    judged: list[tuple[Recording, RecordingPrediction, int]] = []
    of_folds = []
    for fold, temperature in zip(folds, temperatures, strict=True):
        scaled = [calibration.scale_prediction(p, temperature) for p in fold.found.predictions]
        rows = [(r, p, fold.number) for r, p in zip(fold.recordings, scaled, strict=True)]
        rows += _unheard(task, fold.recordings, fold.number)
        figures = _figures(project, task, rows, f"fold {fold.number}")
        shown = {name: figures[name] for name in ("n_recordings", "n_groups", "n_windows", "recording", "window")}
        notes = {"n_epochs": len(fold.found.history), "best_epoch": fold.found.best_epoch, "temperature": temperature}
        of_folds.append({"fold": fold.number, **shown, **notes})
        judged += rows
    judged.sort(key=lambda row: row[0].order)
    raw = [(r, p, fold.number) for fold in folds for r, p in zip(fold.recordings, fold.found.predictions, strict=True)]
    uncalibrated = _figures(project, task, raw, "crossval")["recording"]
    pooled = {
        **_figures(project, task, judged, "crossval"),
        "calibration": {
            "method": "temperature",
            "temperature": float(np.exp(np.mean(np.log(temperatures)))),
            "fitted_on": "the other folds",
            "uncalibrated": {name: uncalibrated[name] for name in ("ece", "log_loss")},
        },
        "folds": of_folds,
    }
    columns = {
        "truth": [r.label for r, _, _ in judged],
        "group": [r.group for r, _, _ in judged],
        "part": ["crossval"] * len(judged),
        "fold": [str(number) for _, _, number in judged],
    }
    if any(r.stretch for r, _, _ in judged):
        columns |= tables.stretch_columns([r.stretch for r, _, _ in judged])
    predictions = [p for _, p, _ in judged]
    write_atomic(folder / "predictions.csv", tables.recordings_csv(predictions, task.labels, columns))
    write_json(project.run / "crossval.json", pooled)
    return CrossvalResult(pooled, predictions, project.run / "crossval.json")


@dataclass(frozen=True)
class _Fold:
    """A fold, numbered from 1, its usable recordings, and what is said of them at temperature 1."""

    number: int
    recordings: Sequence[Recording]
    found: OutOfFold


def _temperatures(task: TrainingData, folds: Sequence[_Fold]) -> list[float]:
    """The temperature of every fold's scores, fitted on what is said of the other folds."""
    scores = [np.stack([p.scores for p in fold.found.predictions]) for fold in folds]
    target = [task.labels.encode(r.label for r in fold.recordings) for fold in folds]
    return [
        calibration.fit_temperature(
            np.concatenate([one for k, one in enumerate(scores) if k != held_out]),
            np.concatenate([one for k, one in enumerate(target) if k != held_out]),
        )
        for held_out in range(len(folds))
    ]


def _unheard(
    task: TrainingData, fold: Sequence[Recording], number: int
) -> list[tuple[Recording, RecordingPrediction, int]]:
    """The unusable recordings that the manifest's fold column puts into this fold: they count as wrong."""
    column = {r.fold for r in fold} - {None}
    return [
        (
            r,
            prediction.empty_prediction(
                r.path, task.accounts[r.path].for_stretch(r.stretch, task.store.spec), task.labels
            ),
            number,
        )
        for r in task.unusable
        if r.fold in column
    ]


def _figures(
    project: Project, task: TrainingData, rows: Sequence[tuple[Recording, RecordingPrediction, int]], part: str
) -> dict[str, Any]:
    settings = project.experiment.evaluate
    return metrics.compute_metrics(
        [p for _, p, _ in rows],
        [r.label for r, _, _ in rows],
        [r.group for r, _, _ in rows],
        part=part,
        labels=task.labels,
        bootstrap=settings.bootstrap,
        seed=settings.seed,
    )
