"""``crossval``: every recording judged by a network that has not heard it, fold by fold, and pooled figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audiocnn.config import Project
from audiocnn.dataset import split
from audiocnn.dataset.manifest import Recording
from audiocnn.files import lock, write_atomic, write_json
from audiocnn.learning import heldout
from audiocnn.learning.task import Task, prepare
from audiocnn.model import network, summary
from audiocnn.progress import Progress
from audiocnn.results import aggregate, formats, metrics
from audiocnn.results.aggregate import Prediction
from audiocnn.specs import TrainSpec


@dataclass(frozen=True)
class CrossValidated:
    """The figures, pooled and of each fold, and where they are."""

    metrics: Mapping[str, Any]
    predictions: Sequence[Prediction]
    file: Path


def run(
    project: Project, *, n_folds: int | None, changes: Mapping[str, Any], fresh: bool, progress: Progress
) -> CrossValidated:
    """Train once a fold and predict it; writes ``crossval.json`` and ``crossval/predictions.csv``.

    What is finished is kept in ``crossval/`` and not done again, with ``changes`` in the place of fields of the
    project's `TrainSpec`.
    """
    spec = project.experiment.train.model_copy(update=dict(changes))
    with lock(project.run):
        return _run(project, spec, n_folds, fresh, progress)


def _run(project: Project, spec: TrainSpec, n_folds: int | None, fresh: bool, progress: Progress) -> CrossValidated:
    experiment, folder = project.experiment, project.run / "crossval"
    task = prepare(project, max_bad_fraction=spec.max_bad_fraction, progress=progress)
    divisions = split.folds(task.recordings, task.contents, experiment.split, n_folds)
    network.load_keras()  # says what to install before anything is written
    progress.table(summary.HEADINGS, summary.rows(task.net))
    judged: list[tuple[Recording, Prediction, int]] = []
    of_folds = []
    for number, division in enumerate(divisions, start=1):
        progress.say(f"fold {number} of {len(divisions)}")
        parts = {
            part: [r for r in task.recordings if division.part[r.path] == part]
            for part in ("train", "validation", "test")
        }
        settings = {"train": spec.model_dump(mode="json"), **task.settings(), "split": division.digest}
        found = heldout.judge(
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
        rows = [(r, p, number) for r, p in zip(parts["test"], found.predictions, strict=True)]
        rows += _unheard(task, parts["test"], number)
        progress.say(f"fold {number}: {sum(p.label == r.label for r, p, _ in rows)} of {len(rows)} recordings right")
        figures = _figures(project, task, rows, f"fold {number}")
        shown = {name: figures[name] for name in ("n_recordings", "n_groups", "n_windows", "recording", "window")}
        notes = {"n_epochs": len(found.history), "best_epoch": found.best_epoch}
        of_folds.append({"fold": number, **shown, **notes})
        judged += rows
    judged.sort(key=lambda row: row[0].order)
    pooled = {**_figures(project, task, judged, "crossval"), "folds": of_folds}
    columns = {
        "truth": [r.label for r, _, _ in judged],
        "group": [r.group for r, _, _ in judged],
        "part": ["crossval"] * len(judged),
        "fold": [str(number) for _, _, number in judged],
    }
    if any(r.stretch for r, _, _ in judged):
        columns |= formats.stretches([r.stretch for r, _, _ in judged])
    predictions = [p for _, p, _ in judged]
    write_atomic(folder / "predictions.csv", formats.recordings_csv(predictions, task.labels, columns))
    write_json(project.run / "crossval.json", pooled)
    return CrossValidated(pooled, predictions, project.run / "crossval.json")


def _unheard(task: Task, fold: Sequence[Recording], number: int) -> list[tuple[Recording, Prediction, int]]:
    """The unusable recordings that the manifest's fold column puts into this fold: they count as wrong."""
    column = {r.fold for r in fold} - {None}
    return [
        (
            r,
            aggregate.unheard(r.path, task.accounts[r.path].of_stretch(r.stretch, task.store.spec), task.labels),
            number,
        )
        for r in task.unusable
        if r.fold in column
    ]


def _figures(
    project: Project, task: Task, rows: Sequence[tuple[Recording, Prediction, int]], part: str
) -> dict[str, Any]:
    settings = project.experiment.evaluate
    return metrics.compute(
        [p for _, p, _ in rows],
        [r.label for r, _, _ in rows],
        [r.group for r, _, _ in rows],
        part=part,
        labels=task.labels,
        positive=task.positive,
        bootstrap=settings.bootstrap,
        seed=settings.seed,
    )
