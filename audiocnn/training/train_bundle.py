"""Train one network and write it as a bundle: the model of a project, or one member of it."""

import csv
import datetime
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiocnn.config import Project
from audiocnn.dataset.manifest import Recording
from audiocnn.dataset.split import Split
from audiocnn.errors import AudiocnnError, ConfigError
from audiocnn.evaluation import decision_metrics
from audiocnn.features import frontend
from audiocnn.features.windows import Windows
from audiocnn.files import digest_of, sha256_of, write_atomic
from audiocnn.inference import scoring
from audiocnn.model import bundle, card, network, notation
from audiocnn.model.notation import Architecture
from audiocnn.progress import Progress
from audiocnn.specs import Experiment, TrainSpec
from audiocnn.training import calibrate, dataset, devices, fit, train_model
from audiocnn.training.calibrate import Folds, ScoredRecording
from audiocnn.training.dataset import TrainingData
from audiocnn.training.out_of_fold import InMemoryClassifier
from audiocnn.training.tensorboard import TensorBoardLogs
from audiocnn.training.train_model import TrainedModel
from audiocnn.training.transfer import InitialWeights


@dataclass(frozen=True)
class TrainResult:
    """The trained model; ``kept`` if a finished model of the same settings existed.

    ``counts`` are recordings by part and label. All that follows is from the bundle.
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


@dataclass(frozen=True)
class BundleTraining:
    """One training: its settings, and the recordings of each part."""

    project: Project
    spec: TrainSpec
    data: TrainingData
    division: Split
    parts: Mapping[str, Sequence[Recording]]
    start: InitialWeights | None
    fresh: bool
    progress: Progress

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Everything that the trained weights depend on."""
        return {
            "train": self.spec.model_dump(mode="json"),
            **self.data.settings(),
            "split": self.division.digest,
            "init_from": None if self.start is None else self.start.digest,
        }

    @property
    def folder(self) -> Path:
        """The folder of the bundle."""
        return self.project.run / "model"

    @cached_property
    def finished(self) -> dict[str, Any] | None:
        """The content of ``bundle.json`` if the bundle exists and was trained with the same settings."""
        return None if self.fresh else _finished(self.folder, digest_of(self.settings))

    def run(self, logs: TensorBoardLogs | None) -> TrainResult:
        """Train, unless that was done before, then calibrate the scores; resumes a training that was interrupted."""
        project, data, progress = self.project, self.data, self.progress
        folder, unfinished = self.folder, project.run / "training.checkpoint"
        writes = devices.role().writes
        info = self.finished
        if writes and (self.fresh or info is not None):
            unfinished.unlink(missing_ok=True)
        progress.table(notation.SUMMARY_HEADINGS, notation.summary_rows(data.net))
        if info is None:
            info = self._write(self._train(unfinished, logs), folder if writes else None)
            if writes:
                unfinished.unlink(missing_ok=True)
        if writes:
            with progress.step("calibrate the scores"):
                info = self._decide(folder, info)
            _write_history(project.run / "history.csv", info["training"]["history"])
        return TrainResult(
            folder=folder,
            kept=self.finished is not None,
            network=data.net,
            labels=data.labels.names,
            counts=data.counts(self.parts),
            training=info["training"],
            metrics=info["metrics"],
            temperature=info.get("temperature", 1.0),
            decision=info.get("decision"),
        )

    def _train(self, unfinished: Path, logs: TensorBoardLogs | None) -> TrainedModel:
        writes = devices.role().writes
        trained = train_model.train_model(
            self.data,
            self.spec,
            train=self.parts["train"],
            validation=self.parts["validation"],
            start=self.start,
            file=None if self.fresh and not writes else unfinished,  # the first machine may not have removed it yet
            logs=logs,
            settings=self.settings,
            progress=self.progress,
        )
        if logs is not None and writes:
            self.progress.info(logs.say())
        return trained

    def _write(self, result: TrainedModel, folder: Path | None) -> dict[str, Any]:
        """Export the trained network, check it against Keras, and write the bundle into ``folder``, if not None.

        Returns the content of ``bundle.json``, without decision rules and training range.
        """
        experiment, data, trained = self.project.experiment, self.data, result.trained
        part = "validation" if self.parts["validation"] else "train"
        evaluated = data.windows(self.parts[part])
        with self.progress.step("convert and check the model"):
            model, logits = train_model.exported(data, trained, evaluated)
        info: dict[str, Any] = {
            "name": experiment.name,
            "features": experiment.features.model_dump(mode="json"),
            "labels": data.labels.names,
            "positive": data.labels.positive,
            "notation": experiment.model,
            "mean": trained.mean.tolist(),
            "std": trained.std.tolist(),
            "training": {
                **self.spec.model_dump(mode="json"),
                "batch_size": trained.batch_size,
                "precision": trained.precision,
                "n_windows": result.n_windows,
                "class_weights": dict(result.class_weights),
                "history": trained.history,
                "best_epoch": trained.best_epoch,
            },
            "metrics": {part: self._metrics(part, logits, evaluated)},
            "provenance": self._provenance(),
        }
        if folder is not None:
            bundle.write(
                folder,
                info,
                frontend=frontend.make(experiment.features),
                weights=network.get_weights(trained.model),
                model=model,
                card=_card(experiment, data, info),
            )
        return info

    def _metrics(self, part: str, logits: NDArray[np.float32], windows: Windows) -> dict[str, Any]:
        """Return the accuracies on the ``windows`` of a part, as `audiocnn evaluate` would report them."""
        data, settings = self.data, self.project.experiment.evaluate
        of_recordings, of_windows = scoring.correct(scoring.log_scores(logits, data.labels), windows)
        has_windows = np.diff(windows.bounds) > 0
        groups = np.unique([r.group for r in self.parts[part]], return_inverse=True)[1][has_windows]
        accuracy = decision_metrics.share_with_interval(
            of_recordings, groups, bootstrap=settings.bootstrap, seed=settings.seed
        )
        return {
            "recording_accuracy": accuracy["value"],
            "window_accuracy": float(of_windows.mean()),
            "recording_accuracy_ci95": accuracy["ci95"],
        }

    def _provenance(self) -> dict[str, Any]:
        return {
            "key": digest_of(self.settings),
            "manifest_sha256": sha256_of(self.project.manifest),
            "split_sha256": self.division.digest,
            "features_key": self.data.store.key,
            "recordings": self.data.counts(self.parts),
            "seed": self.spec.seed,
            "init_from": self.settings["init_from"],
            "created": today(),
            "versions": fit.versions(),
        }

    @property
    def _folds(self) -> Folds:
        folder, split = self.project.run / "decide", self.project.experiment.split
        return Folds(self.data, self.spec, split, folder, self.settings, self.fresh, self.progress)

    def out_of_fold_scores(self) -> list[ScoredRecording]:
        """Return the recordings of train and validation, each scored by a network of ``decide.folds`` without it.

        They were scored when the bundle was calibrated.
        """
        recordings = [*self.parts["train"], *self.parts["validation"]]
        return replace(self._folds, fresh=False).score(recordings, self.project.experiment.decide.folds)

    def _decide(self, folder: Path, info: Mapping[str, Any]) -> dict[str, Any]:
        """Fit calibration, decision rules and training range, unless the bundle has those of the same settings."""
        data, experiment = self.data, self.project.experiment
        train, validation = self.parts["train"], self.parts["validation"]
        requested = experiment.decide.model_dump(mode="json")
        decided = info["provenance"].get("decide") == requested
        if decided and (info.get("domain") is not None or not dataset.has_domain(data, train)):
            return dict(info)
        if requested["folds"] and devices.role().count > 1:
            raise ConfigError(
                "decide.folds: needs training on one machine; set it to 0, or run 'audiocnn train' again on one"
            )
        written = bundle.load(folder)
        uncalibrated = InMemoryClassifier(written.spec, written.labels, written.runtime)  # temperature 1
        fitted = calibrate.fit(
            data,
            uncalibrated,
            experiment.decide,
            train=train,
            validation=validation,
            folds=self._folds,
            progress=self.progress,
        )
        domain = dataset.training_domain(data, train, fitted.resemblances)
        changes = {
            "temperature": fitted.temperature,
            "decision": None if fitted.decision is None else fitted.decision.model_dump(mode="json"),
            "domain": None if domain is None else domain.model_dump(mode="json"),
            "operating": None,  # its thresholds are for other scores
            "provenance": {**info["provenance"], "decide": requested},
        }
        bundle.update(folder, changes, card=_card(experiment, data, {**info, **changes}))
        return {**info, **changes}


def today() -> str:
    """Return the date, as bundles keep it."""
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def _card(experiment: Experiment, data: TrainingData, info: Mapping[str, Any]) -> str:
    return card.render(
        name=experiment.name,
        about=experiment.data.about,
        labels=data.labels,
        spec=experiment.features,
        architecture=data.net,
        training=info["training"],
        metrics=info["metrics"],
        counts=info["provenance"]["recordings"],
        decision=info.get("decision"),
        temperature=info.get("temperature", 1.0),
        domain=info.get("domain"),
    )


def _finished(folder: Path, key: str) -> dict[str, Any] | None:
    """Return the content of ``bundle.json`` if its model was trained with the same settings, else None."""
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
