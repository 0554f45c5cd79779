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
from audiocnn.evaluation import by_collection, by_member, calibration, metrics
from audiocnn.files import lock, write_atomic, write_json
from audiocnn.formats import tables
from audiocnn.inference import prediction
from audiocnn.inference.members import Combination
from audiocnn.inference.prediction import RecordingPrediction
from audiocnn.labels import Labels
from audiocnn.model import network, notation
from audiocnn.progress import Progress
from audiocnn.report.evaluation import clips, verdict
from audiocnn.report.evaluation.content import Evaluation
from audiocnn.report.evaluation.page import render_evaluation
from audiocnn.specs import TrainSpec
from audiocnn.training import dataset, out_of_fold, train_ensemble
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
    with lock(project.run):
        networks = _networks(project, changes, progress)
        data = networks[_finest(networks)].data
        divisions = split.make_folds(
            data.recordings, data.contents, project.experiment.split, n_folds,
            rare=data.rare, by_collection=leave_out is not None,
        )  # fmt: skip
        with progress.step("load TensorFlow"):
            network.load_keras()  # fails before anything is written if Keras is not installed
        dataset.check_leaks(project, data, divisions, allow_leaks=allow_leaks, progress=progress)
        for one in networks.values():
            progress.table(notation.SUMMARY_HEADINGS, notation.summary_rows(one.data.net))
        name = "crossval" if leave_out is None else f"crossval-{leave_out}"
        folds = []
        for number, division in enumerate(divisions, start=1):
            collection = None if leave_out is None else split.collections_of(data.recordings)[number - 1]
            what = "" if collection is None else f": without collection '{collection}'"
            progress.info(f"fold {number} of {len(divisions)}{what}")
            held_out = {
                member: _train_fold(one, member, number, division, name, fresh, progress)
                for member, one in networks.items()
            }
            recordings = [r for r in data.recordings if division.part_of(r) == "test"]
            folds.append(_Fold(number, collection, recordings, held_out))
        options = {"leave-out": leave_out, "folds": n_folds, **changes}
        words = [f"--{key} {value}" for key, value in options.items() if value is not None]
        with progress.step("compute the metrics"):
            return _write(project, networks, folds, name, " ".join(["audiocnn crossval", *words]))


@dataclass(frozen=True)
class _Network:
    """A network to train: the one of the project, or a member; ``weight`` is its share of the log-scores."""

    project: Project
    spec: TrainSpec
    data: TrainingData
    weight: float


def _networks(project: Project, changes: Mapping[str, Any], progress: Progress) -> dict[str, _Network]:
    """Return the networks of a project by the names of its members; that of a model of one network has no name.

    Members without a weight in the settings have equal weights.
    """
    members = project.members
    if members:
        data = train_ensemble.prepare_members(project, changes, progress)
    else:
        bad = changes.get("max_bad_fraction", project.experiment.train.max_bad_fraction)
        members, data = {"": project}, {"": prepare(project, max_bad_fraction=bad, progress=progress)}
    given = {name: spec.weight for name, spec in project.experiment.members.items()}
    return {
        name: _Network(
            one, one.experiment.train.model_copy(update=dict(changes)), data[name], given.get(name) or 1 / len(members)
        )
        for name, one in members.items()
    }


def _finest(networks: Mapping[str, _Network]) -> str:
    """Return the name of the network whose windows are closest together."""
    return min(networks, key=lambda name: networks[name].data.store.spec.hop_s)


@dataclass(frozen=True)
class _Fold:
    """A fold, numbered from 1, its usable recordings, and what each network predicts for them at temperature 1.

    ``collection`` is the one that the fold consists of, if folds are collections.
    """

    number: int
    collection: str | None
    recordings: Sequence[Recording]
    held_out: Mapping[str, OutOfFold]

    def rows(self, predictions: Sequence[RecordingPrediction]) -> list[_Row]:
        return [(r, p, self.number) for r, p in zip(self.recordings, predictions, strict=True)]


def _train_fold(
    network: _Network, name: str, number: int, division: Split, folder: str, fresh: bool, progress: Progress
) -> OutOfFold:
    """Train a network without a fold, and return its predictions for all recordings of the fold."""
    data, spec = network.data, network.spec
    train, validation, held_out = (
        [r for r in data.recordings if division.part_of(r) == part] for part in ("train", "validation", "test")
    )
    found = out_of_fold.train_and_predict(
        data,
        spec,
        train=train,
        validation=validation,
        held_out=held_out,
        file=network.project.run / folder / f"fold-{number}.heldout",
        settings={"train": spec.model_dump(mode="json"), **data.settings(), "split": division.digest},
        fresh=fresh,
        progress=progress,
    )
    right = sum(p.label == r.label for r, p in zip(held_out, found.predictions, strict=True))
    of = f", member {name}" if name else ""
    progress.info(f"fold {number}{of}: {right} of {len(held_out)} recordings right")
    return found


def _predictions(
    networks: Mapping[str, _Network], folds: Sequence[_Fold]
) -> tuple[list[list[RecordingPrediction]], dict[str, list[list[RecordingPrediction]]]]:
    """Return the predictions of each fold at temperature 1, and for a model with members those of each member alone.

    A member is calibrated on the other folds before it is combined with the others.
    """
    labels = next(iter(networks.values())).data.labels
    alone: dict[str, list[list[RecordingPrediction]]] = {}
    for name, one in networks.items():
        of_member = []
        for fold in folds:
            usable = dict(zip(_usable(one.data, fold), fold.held_out[name].predictions, strict=True))
            missing = [r for r in fold.recordings if r not in usable]
            usable |= {r: prediction.empty_prediction(r.path, one.data.statuses[r.path], labels) for r in missing}
            of_member.append([usable[r] for r in fold.recordings])
        alone[name] = of_member
    if len(networks) == 1:
        return alone[""], {}
    for name, of_member in alone.items():
        alone[name] = _calibrated(labels, folds, of_member)
    weights = [one.weight for one in networks.values()]
    combined = []
    for number in range(len(folds)):
        rows = list(zip(*(of_member[number] for of_member in alone.values()), strict=True))
        sizes = [len(p.embedding) for p in next(row for row in rows if all(p.has_scores for p in row))]
        combination = Combination([one.data.store.spec for one in networks.values()], sizes, weights)
        combined.append([combination.prediction(row) for row in rows])
    return combined, alone


def _usable(data: TrainingData, fold: _Fold) -> list[Recording]:
    """Return the recordings of a fold that a network can use."""
    known = set(fold.recordings)
    return [r for r in data.recordings if r in known]


def _calibrated(
    labels: Labels, folds: Sequence[_Fold], predictions: Sequence[Sequence[RecordingPrediction]]
) -> list[list[RecordingPrediction]]:
    """Return the predictions of each fold with the temperature that is fitted to the other folds."""
    found = []
    for temperature, of_fold in zip(_temperatures(labels, folds, predictions), predictions, strict=True):
        found.append([calibration.scale_prediction(p, temperature) if p.has_scores else p for p in of_fold])
    return found


def _write(
    project: Project, networks: Mapping[str, _Network], folds: Sequence[_Fold], name: str, command: str
) -> CrossvalResult:
    """Calibrate the scores, compute the metrics, and write all files, whose names begin with ``name``."""
    data = networks[_finest(networks)].data
    raw, alone = _predictions(networks, folds)
    temperatures = _temperatures(data.labels, folds, raw)
    rows: list[_Row] = []
    fold_blocks = []
    for fold, temperature, predicted in zip(folds, temperatures, raw, strict=True):
        scaled = fold.rows([calibration.scale_prediction(p, temperature) for p in predicted])
        scaled += _unusable(data, fold)
        fold_blocks.append(_fold_block(fold, temperature, _metrics(project, data, scaled, f"fold {fold.number}")))
        rows += scaled
    rows.sort(key=lambda row: row[0].order)
    uncalibrated_rows = [row for fold, predicted in zip(folds, raw, strict=True) for row in fold.rows(predicted)]
    uncalibrated = _metrics(project, data, uncalibrated_rows, "crossval")["recording"]
    pooled = {
        **_metrics(project, data, rows, "crossval"),
        **_collection_block(project, rows),
        **_member_block(project, networks, uncalibrated_rows, alone),
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
    page, sentence = _page(project, networks, rows, pooled, command)
    write_atomic(project.run / name / "predictions.csv", csv)
    write_json(file, pooled)
    write_atomic(file.with_suffix(".html"), page)
    return CrossvalResult(pooled, predictions, file, sentence)


def _page(
    project: Project,
    networks: Mapping[str, _Network],
    rows: Sequence[_Row],
    pooled: Mapping[str, Any],
    command: str,
) -> tuple[str, str]:
    """Return the report of all out-of-fold predictions, and its first sentence."""
    recordings, predictions = [r for r, _, _ in rows], [p for _, p, _ in rows]
    truth, stretches = [r.label for r in recordings], [r.stretch for r in recordings]
    finest = networks[_finest(networks)]
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


def _settings(networks: Mapping[str, _Network]) -> dict[str, Any]:
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


def _fold_block(fold: _Fold, temperature: float, figures: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entry of a fold in ``crossval.json``."""
    return {
        "fold": fold.number,
        **({} if fold.collection is None else {"collection": fold.collection}),
        **{name: figures[name] for name in ("n_recordings", "n_groups", "n_windows", "recording", "window")},
        **(_epochs(fold.held_out[""]) if "" in fold.held_out else {}),
        "temperature": temperature,
        **({} if "" in fold.held_out else {"members": {name: _epochs(one) for name, one in fold.held_out.items()}}),
    }


def _epochs(found: OutOfFold) -> dict[str, int]:
    return {"n_epochs": len(found.history), "best_epoch": found.best_epoch}


def _temperatures(
    labels: Labels, folds: Sequence[_Fold], predictions: Sequence[Sequence[RecordingPrediction]]
) -> list[float]:
    """Return the temperature of each fold's scores, fitted on the predictions of the other folds."""
    scores, target = [], []
    for fold, of_fold in zip(folds, predictions, strict=True):
        scored = [(r.label, p.scores) for r, p in zip(fold.recordings, of_fold, strict=True) if p.has_scores]
        scores.append(np.stack([one for _, one in scored]))
        target.append(labels.encode(label for label, _ in scored))
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


def _member_block(
    project: Project,
    networks: Mapping[str, _Network],
    rows: Sequence[_Row],
    alone: Mapping[str, Sequence[Sequence[RecordingPrediction]]],
) -> dict[str, Any]:
    settings = project.experiment.evaluate
    return by_member.member_block(
        [p.label for _, p, _ in rows],
        {name: [p.label for of_fold in of_member for p in of_fold] for name, of_member in alone.items()},
        [r.label for r, _, _ in rows],
        [r.group for r, _, _ in rows],
        weights={name: one.weight for name, one in networks.items()},
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
