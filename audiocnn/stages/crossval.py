"""``crossval``: score each recording by a network trained without it, fold by fold; metrics per fold and pooled.

Folds hold whole groups, or are collections. Writes ``crossval.json``, ``crossval.html`` and
``crossval/predictions.csv``.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from audiocnn.audio import workers
from audiocnn.audit.finding import read_findings
from audiocnn.config import Project
from audiocnn.dataset import split
from audiocnn.dataset.manifest import Recording
from audiocnn.dataset.split import Split
from audiocnn.draw import spectrogram
from audiocnn.evaluation import by_collection, calibration, metrics
from audiocnn.files import lock, write_atomic, write_json
from audiocnn.formats import tables
from audiocnn.inference import prediction
from audiocnn.inference.prediction import RecordingPrediction
from audiocnn.model import network, notation
from audiocnn.progress import Progress
from audiocnn.report.evaluation import clips, verdict
from audiocnn.report.evaluation.content import Evaluation
from audiocnn.report.evaluation.page import render_evaluation
from audiocnn.specs import TrainSpec
from audiocnn.training import dataset, out_of_fold
from audiocnn.training.dataset import TrainingData, prepare
from audiocnn.training.out_of_fold import OutOfFold

_Row = tuple[Recording, RecordingPrediction, int]  # a recording, its prediction, and the number of its fold


@dataclass(frozen=True)
class CrossvalResult:
    """The content of ``crossval.json``, the predictions of all folds, the file, and the report's first sentence."""

    metrics: Mapping[str, Any]
    predictions: Sequence[RecordingPrediction]
    file: Path
    verdict: str


def run(
    project: Project,
    *,
    n_folds: int | None,
    changes: Mapping[str, Any],
    fresh: bool,
    progress: Progress,
    allow_leaks: bool = False,
    leave_out: Literal["collection"] | None = None,
) -> CrossvalResult:
    """Train a network for each fold and score the fold; write ``crossval.json``, ``crossval.html`` and the table.

    With ``leave_out`` each fold is a collection, and the names of the files begin with ``crossval-collection``.
    ``changes`` replace fields of the project's `TrainSpec`. Finished folds are kept and not computed again, unless
    ``fresh``. Raises `SplitError` if copies of one recording are in different folds, unless ``allow_leaks``.
    """
    spec = project.experiment.train.model_copy(update=dict(changes))
    with lock(project.run):
        data = prepare(project, max_bad_fraction=spec.max_bad_fraction, progress=progress)
        divisions = split.make_folds(
            data.recordings, data.contents, project.experiment.split, n_folds,
            rare=data.rare, by_collection=leave_out is not None,
        )  # fmt: skip
        with progress.step("load TensorFlow"):
            network.load_keras()  # fails before anything is written if Keras is not installed
        dataset.check_leaks(project, data, divisions, allow_leaks=allow_leaks, progress=progress)
        progress.table(notation.SUMMARY_HEADINGS, notation.summary_rows(data.net))
        name = "crossval" if leave_out is None else f"crossval-{leave_out}"
        folds = []
        for number, division in enumerate(divisions, start=1):
            collection = None if leave_out is None else split.collections_of(data.recordings)[number - 1]
            what = "" if collection is None else f": without collection '{collection}'"
            progress.info(f"fold {number} of {len(divisions)}{what}")
            file = project.run / name / f"fold-{number}.heldout"
            folds.append(_train_fold(data, spec, number, collection, division, file, fresh, progress))
        options = {"leave-out": leave_out, "folds": n_folds, **changes}
        words = [f"--{key} {value}" for key, value in options.items() if value is not None]
        with progress.step("compute the metrics"):
            return _write(project, data, spec, folds, name, " ".join(["audiocnn crossval", *words]))


@dataclass(frozen=True)
class _Fold:
    """A fold, numbered from 1, its usable recordings, and their predictions at temperature 1.

    ``collection`` is the one that the fold consists of, if folds are collections.
    """

    number: int
    collection: str | None
    recordings: Sequence[Recording]
    held_out: OutOfFold

    @property
    def rows(self) -> list[_Row]:
        return [(r, p, self.number) for r, p in zip(self.recordings, self.held_out.predictions, strict=True)]


def _train_fold(
    data: TrainingData,
    spec: TrainSpec,
    number: int,
    collection: str | None,
    division: Split,
    file: Path,
    fresh: bool,
    progress: Progress,
) -> _Fold:
    train, validation, held_out = (
        [r for r in data.recordings if division.part_of(r) == part] for part in ("train", "validation", "test")
    )
    found = out_of_fold.train_and_predict(
        data,
        spec,
        train=train,
        validation=validation,
        held_out=held_out,
        file=file,
        settings={"train": spec.model_dump(mode="json"), **data.settings(), "split": division.digest},
        fresh=fresh,
        progress=progress,
    )
    right = sum(p.label == r.label for r, p in zip(held_out, found.predictions, strict=True))
    progress.info(f"fold {number}: {right} of {len(held_out)} recordings right")
    return _Fold(number, collection, held_out, found)


def _write(
    project: Project, data: TrainingData, spec: TrainSpec, folds: Sequence[_Fold], name: str, command: str
) -> CrossvalResult:
    """Calibrate the scores, compute the metrics, and write all files, whose names begin with ``name``."""
    temperatures = _temperatures(data, folds)
    rows: list[_Row] = []
    fold_blocks = []
    for fold, temperature in zip(folds, temperatures, strict=True):
        scaled: list[_Row] = [(r, calibration.scale_prediction(p, temperature), k) for r, p, k in fold.rows]
        scaled += _unusable(data, fold)
        fold_blocks.append(_fold_block(fold, temperature, _metrics(project, data, scaled, f"fold {fold.number}")))
        rows += scaled
    rows.sort(key=lambda row: row[0].order)
    uncalibrated = _metrics(project, data, [row for fold in folds for row in fold.rows], "crossval")["recording"]
    pooled = {
        **_metrics(project, data, rows, "crossval"),
        **_collection_block(project, rows),
        "calibration": {
            "method": "temperature",
            "temperature": float(np.exp(np.mean(np.log(temperatures)))),
            "fitted_on": "the other folds",
            "uncalibrated": {name: uncalibrated[name] for name in ("ece", "log_loss")},
        },
        "folds": fold_blocks,
    }
    columns = {
        "truth": [r.label for r, _, _ in rows],
        "group": [r.group for r, _, _ in rows],
        "part": ["crossval"] * len(rows),
        "fold": [str(number) for _, _, number in rows],
    }
    if any(r.stretch for r, _, _ in rows):
        columns |= tables.stretch_columns([r.stretch for r, _, _ in rows])
    predictions = [p for _, p, _ in rows]
    csv = "".join(tables.recordings_csv(predictions, data.labels, columns))
    file = project.run / f"{name}.json"
    page, sentence = _page(project, data, spec, rows, pooled, command)
    write_atomic(project.run / name / "predictions.csv", csv)
    write_json(file, pooled)
    write_atomic(file.with_suffix(".html"), page)
    return CrossvalResult(pooled, predictions, file, sentence)


def _page(
    project: Project,
    data: TrainingData,
    spec: TrainSpec,
    rows: Sequence[_Row],
    pooled: Mapping[str, Any],
    command: str,
) -> tuple[str, str]:
    """Return the report of all out-of-fold predictions, and its first sentence."""
    recordings, predictions = [r for r, _, _ in rows], [p for _, p, _ in rows]
    truth, stretches = [r.label for r in recordings], [r.stretch for r in recordings]
    settings, features = project.experiment.evaluate, data.store.spec
    view = spectrogram.drawing_spec(features)
    shown = clips.choose_clips(predictions, truth, n_right=settings.right, seed=settings.seed)
    with tempfile.TemporaryDirectory(prefix="audiocnn-", ignore_cleanup_errors=True) as folder:
        report_clips = clips.load_clips(
            shown, predictions, recordings, project.root, view, folder=Path(folder), jobs=workers.default_jobs()
        )
        content = Evaluation(
            name=project.experiment.name,
            part="crossval",
            own_part=True,
            labels=data.labels,
            predictions=predictions,
            truth=truth,
            groups=[r.group for r in recordings],
            metrics=pooled,
            history=[],
            best_epoch=None,
            monitor=spec.monitor,
            class_weights={},
            report_clips=report_clips,
            facts=[("network", f"{data.net.notation} ({data.net.n_params:,} parameters)")],
            stretches=stretches if any(stretches) else (),
            view=view,
            origin=[("Data", project.manifest.name), ("Command", command)],
            settings={"features": features.model_dump(mode="json"), "train": spec.model_dump(mode="json")},
            audit=read_findings(project.run / "audit.json"),
        )
        return render_evaluation(content), verdict.sentences(content)[0]


def _fold_block(fold: _Fold, temperature: float, figures: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entry of a fold in ``crossval.json``."""
    return {
        "fold": fold.number,
        **({} if fold.collection is None else {"collection": fold.collection}),
        **{name: figures[name] for name in ("n_recordings", "n_groups", "n_windows", "recording", "window")},
        "n_epochs": len(fold.held_out.history),
        "best_epoch": fold.held_out.best_epoch,
        "temperature": temperature,
    }


def _temperatures(data: TrainingData, folds: Sequence[_Fold]) -> list[float]:
    """Return the temperature of each fold's scores, fitted on the predictions of the other folds."""
    scores = [np.stack([p.scores for p in fold.held_out.predictions]) for fold in folds]
    target = [data.labels.encode(r.label for r in fold.recordings) for fold in folds]
    return [
        calibration.fit_temperature(
            np.concatenate([one for k, one in enumerate(scores) if k != held_out]),
            np.concatenate([one for k, one in enumerate(target) if k != held_out]),
        )
        for held_out in range(len(folds))
    ]


def _unusable(data: TrainingData, fold: _Fold) -> list[_Row]:
    """Return the unusable recordings that the manifest puts into this fold: they count as wrong."""
    column = {r.fold for r in fold.recordings} - {None}
    spec, labels = data.store.spec, data.labels
    return [
        (
            r,
            prediction.empty_prediction(r.path, data.statuses[r.path].for_stretch(r.stretch, spec), labels),
            fold.number,
        )
        for r in data.unusable
        if (r.fold in column if fold.collection is None else r.collection == fold.collection)
    ]


def _collection_block(project: Project, rows: Sequence[_Row]) -> dict[str, Any]:
    settings = project.experiment.evaluate
    return by_collection.collection_block(
        [p for _, p, _ in rows],
        [r.label for r, _, _ in rows],
        [r.group for r, _, _ in rows],
        [r.collection for r, _, _ in rows],
        bootstrap=settings.bootstrap,
        seed=settings.seed,
    )


def _metrics(project: Project, data: TrainingData, rows: Sequence[_Row], part: str) -> dict[str, Any]:
    settings = project.experiment.evaluate
    return metrics.compute_metrics(
        [p for _, p, _ in rows],
        [r.label for r, _, _ in rows],
        [r.group for r, _, _ in rows],
        part=part,
        labels=data.labels,
        bootstrap=settings.bootstrap,
        seed=settings.seed,
        untested=data.rare.difference(r.label for r, _, _ in rows),
    )
