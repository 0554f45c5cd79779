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
from audiocnn.evaluation import by_collection, by_member, by_repeat, calibration, metrics
from audiocnn.files import lock, write_atomic, write_json
from audiocnn.formats import tables
from audiocnn.inference import prediction
from audiocnn.inference.prediction import RecordingPrediction
from audiocnn.model import network, notation
from audiocnn.progress import Progress
from audiocnn.report.evaluation import clips, verdict
from audiocnn.report.evaluation.content import Evaluation
from audiocnn.report.evaluation.page import render_evaluation
from audiocnn.training import dataset
from audiocnn.training.dataset import TrainingData
from audiocnn.training.fold_predictions import (
    Fold,
    FoldPredictions,
    NetworkToTrain,
    finest_of,
    fit_temperatures,
    networks_of,
    predict_folds,
    train_fold,
    with_seed,
)
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
    repeat: int = 1,
) -> CrossvalResult:
    """Train a network for each fold and score the fold; write ``crossval.json``, ``crossval.html`` and the table.

    With ``leave_out`` each fold is a collection, and the names of the files begin with ``crossval-collection``. With
    ``repeat`` all is done so many times, each with other seeds and, unless the manifest has them, other folds; the
    files hold the first, and the figures of the others. ``changes`` replace fields of the project's `TrainSpec`.
    Finished folds are kept and not computed again, unless ``fresh``. Raises `SplitError` if copies of one recording are
    in different folds, unless ``allow_leaks``.
    """
    name = "crossval" if leave_out is None else f"crossval-{leave_out}"
    with lock(project.run):
        networks = networks_of(project, changes, progress)
        data, spec = finest_of(networks).data, project.experiment.split
        divisions = [
            split.make_folds(
                data.recordings, data.contents, spec.model_copy(update={"seed": spec.seed + number}), n_folds,
                rare=data.rare, by_collection=leave_out is not None,
            )
            for number in range(repeat)
        ]  # fmt: skip
        with progress.step("load TensorFlow"):
            network.load_keras()  # fails before anything is written if Keras is not installed
        every = [division for of_repeat in divisions for division in of_repeat]
        dataset.check_leaks(project, data, every, allow_leaks=allow_leaks, progress=progress)
        for one in networks.values():
            progress.table(notation.SUMMARY_HEADINGS, notation.summary_rows(one.data.net))
        collections = [] if leave_out is None else split.collections_of(data.recordings)
        repeats = []
        for number, of_repeat in enumerate(divisions, start=1):
            if repeat > 1:
                progress.info(f"repeat {number} of {repeat}")
            again = with_seed(networks, number - 1)
            folder = Path(name) if number == 1 else Path(name) / f"repeat-{number}"
            folds = _train_folds(again, of_repeat, collections, folder, fresh, progress)
            repeats.append(_Repeat(number, again, folds))
        options = {"leave-out": leave_out, "folds": n_folds, "repeat": None if repeat == 1 else repeat, **changes}
        words = [f"--{key} {value}" for key, value in options.items() if value is not None]
        with progress.step("compute the metrics"):
            return _write(project, repeats, name, " ".join(["audiocnn crossval", *words]))


def _train_folds(
    networks: Mapping[str, NetworkToTrain],
    divisions: Sequence[Split],
    collections: Sequence[str],
    folder: Path,
    fresh: bool,
    progress: Progress,
) -> list[Fold]:
    """Train all networks for each fold; ``collections`` are the folds, if there are any."""
    data = finest_of(networks).data
    folds = []
    for number, division in enumerate(divisions, start=1):
        collection = collections[number - 1] if collections else None
        what = "" if collection is None else f": without collection '{collection}'"
        progress.info(f"fold {number} of {len(divisions)}{what}")
        held_out = {
            member: train_fold(one, member, number, division, folder, fresh, progress)
            for member, one in networks.items()
        }
        recordings = [r for r in data.recordings if division.part_of(r) == "test"]
        folds.append(Fold(number, collection, recordings, held_out))
    return folds


@dataclass(frozen=True)
class _Repeat:
    """One cross-validation of all recordings, numbered from 1: its networks with their seeds, and its folds."""

    number: int
    networks: Mapping[str, NetworkToTrain]
    folds: Sequence[Fold]


def _figures_of(project: Project, repeat: _Repeat) -> tuple[list[_Row], dict[str, Any]]:
    """Return all recordings with calibrated predictions, and the figures of one cross-validation."""
    networks, folds = repeat.networks, repeat.folds
    data = finest_of(networks).data
    found = predict_folds(networks, folds)
    raw = found.together
    temperatures = fit_temperatures(data.labels, folds, raw)
    rows: list[_Row] = []
    fold_blocks: list[dict[str, Any]] = []
    for fold, temperature, predicted in zip(folds, temperatures, raw, strict=True):
        scaled = fold.rows([calibration.scale_prediction(p, temperature) for p in predicted])
        scaled += _unusable(data, fold)
        weights = {name: of_member[len(fold_blocks)] for name, of_member in found.weights.items()}
        figures = _metrics(project, data, scaled, f"fold {fold.number}")
        fold_blocks.append(_fold_block(fold, temperature, figures, weights))
        rows += scaled
    rows.sort(key=lambda row: row[0].order)
    uncalibrated_rows = [row for fold, predicted in zip(folds, raw, strict=True) for row in fold.rows(predicted)]
    uncalibrated = _metrics(project, data, uncalibrated_rows, "crossval")["recording"]
    return rows, {
        **_metrics(project, data, rows, "crossval"),
        **_collection_block(project, rows),
        **_member_block(project, uncalibrated_rows, found),
        "calibration": {
            "method": "temperature",
            "temperature": float(np.exp(np.mean(np.log(temperatures)))),
            "fitted_on": "the other folds",
            "uncalibrated": {name: uncalibrated[name] for name in ("ece", "log_loss")},
        },
        "folds": fold_blocks,
    }


def _write(project: Project, repeats: Sequence[_Repeat], name: str, command: str) -> CrossvalResult:
    """Write all files, whose names begin with ``name``: the first repeat, and the figures of the others."""
    networks = repeats[0].networks
    data = finest_of(networks).data
    found = [_figures_of(project, repeat) for repeat in repeats]
    rows, pooled = found[0]
    fixed = rows[0][0].fold is not None or repeats[0].folds[0].collection is not None
    pooled |= by_repeat.repeat_block([one for _, one in found], varied="seeds" if fixed else "folds and seeds")
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
    page, sentence = _page(project, networks, rows, pooled, command)
    write_atomic(project.run / name / "predictions.csv", csv)
    write_json(file, pooled)
    write_atomic(file.with_suffix(".html"), page)
    return CrossvalResult(pooled, predictions, file, sentence)


def _page(
    project: Project,
    networks: Mapping[str, NetworkToTrain],
    rows: Sequence[_Row],
    pooled: Mapping[str, Any],
    command: str,
) -> tuple[str, str]:
    """Return the report of all out-of-fold predictions, and its first sentence."""
    recordings, predictions = [r for r, _, _ in rows], [p for _, p, _ in rows]
    truth, stretches = [r.label for r in recordings], [r.stretch for r in recordings]
    finest = finest_of(networks)
    data, settings, features = finest.data, project.experiment.evaluate, finest.data.store.spec
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
            monitor=finest.spec.monitor,
            class_weights={},
            report_clips=report_clips,
            facts=[
                (f"network {name}".strip(), f"{one.data.net.notation} ({one.data.net.n_params:,} parameters)")
                for name, one in networks.items()
            ],
            stretches=stretches if any(stretches) else (),
            view=view,
            origin=[("Data", project.manifest.name), ("Command", command)],
            settings=_settings(networks),
            audit=read_findings(project.run / "audit.json"),
        )
        return render_evaluation(content), verdict.sentences(content)[0]


def _settings(networks: Mapping[str, NetworkToTrain]) -> dict[str, Any]:
    """Return the settings of the network, or of each member by its name."""
    found = {
        name: {
            "features": one.data.store.spec.model_dump(mode="json"),
            **({"model": one.data.net.notation} if name else {}),
            "train": one.spec.model_dump(mode="json"),
        }
        for name, one in networks.items()
    }
    return found.get("", {"members": found})


def _fold_block(
    fold: Fold, temperature: float, figures: Mapping[str, Any], weights: Mapping[str, float]
) -> dict[str, Any]:
    """Return the entry of a fold in ``crossval.json``; ``weights`` are those of its members, if it has any."""
    members = {name: {**_epochs(fold.held_out[name]), "weight": weight} for name, weight in weights.items()}
    return {
        "fold": fold.number,
        **({} if fold.collection is None else {"collection": fold.collection}),
        **{name: figures[name] for name in ("n_recordings", "n_groups", "n_windows", "recording", "window")},
        **(_epochs(fold.held_out[""]) if "" in fold.held_out else {}),
        "temperature": temperature,
        **({"members": members} if members else {}),
    }


def _epochs(found: OutOfFold) -> dict[str, int]:
    return {"n_epochs": len(found.history), "best_epoch": found.best_epoch}


def _unusable(data: TrainingData, fold: Fold) -> list[tuple[Recording, RecordingPrediction, int]]:
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


def _member_block(project: Project, rows: Sequence[_Row], found: FoldPredictions) -> dict[str, Any]:
    """Return the block of the members; their weights are means over the folds."""
    settings = project.experiment.evaluate
    return by_member.member_block(
        [p.label for _, p, _ in rows],
        {name: [p.label for of_fold in of_member for p in of_fold] for name, of_member in found.alone.items()},
        [r.label for r, _, _ in rows],
        [r.group for r, _, _ in rows],
        weights={name: float(np.mean(of_folds)) for name, of_folds in found.weights.items()},
        bootstrap=settings.bootstrap,
        seed=settings.seed,
    )


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
