"""Predictions of all networks of a model for recordings that they were not trained on, fold by fold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from audiocnn.config import Project
from audiocnn.dataset.manifest import Recording
from audiocnn.dataset.split import Split
from audiocnn.evaluation import calibration
from audiocnn.inference import prediction
from audiocnn.inference.members import Combination
from audiocnn.inference.prediction import RecordingPrediction
from audiocnn.labels import Labels
from audiocnn.progress import Progress
from audiocnn.specs import TrainSpec, finest_member
from audiocnn.training import member_weights, out_of_fold, train_ensemble
from audiocnn.training.dataset import TrainingData
from audiocnn.training.out_of_fold import OutOfFold


@dataclass(frozen=True)
class NetworkToTrain:
    """A network to train: the one of the project, or a member.

    ``weight`` is its share of the log-scores if the settings give it, else None.
    """

    project: Project
    spec: TrainSpec
    data: TrainingData
    weight: float | None


def networks_of(project: Project, changes: Mapping[str, Any], progress: Progress) -> dict[str, NetworkToTrain]:
    """Return the networks of a project by the names of its members; that of a model of one network has no name."""
    data = train_ensemble.prepare_networks(project, changes, progress)
    given = {name: spec.weight for name, spec in project.experiment.members.items()}
    return {
        name: NetworkToTrain(one, one.experiment.train.model_copy(update=dict(changes)), data[name], given.get(name))
        for name, one in project.networks.items()
    }


def with_seed(networks: Mapping[str, NetworkToTrain], offset: int) -> dict[str, NetworkToTrain]:
    """Return the networks with their seeds increased by ``offset``."""
    return {
        name: replace(one, spec=one.spec.model_copy(update={"seed": one.spec.seed + offset}))
        for name, one in networks.items()
    }


def finest_of(networks: Mapping[str, NetworkToTrain]) -> NetworkToTrain:
    """Return the network whose windows are closest together."""
    return networks[finest_member({name: one.data.store.spec for name, one in networks.items()})]


@dataclass(frozen=True)
class Fold:
    """A fold, numbered from 1, its usable recordings, and what each network predicts for them at temperature 1.

    ``collection`` is the one that the fold consists of, if folds are collections.
    """

    number: int
    collection: str | None
    recordings: Sequence[Recording]
    held_out: Mapping[str, OutOfFold]

    def rows(self, predictions: Sequence[RecordingPrediction]) -> list[tuple[Recording, RecordingPrediction, int]]:
        return [(r, p, self.number) for r, p in zip(self.recordings, predictions, strict=True)]


def train_fold(
    network: NetworkToTrain, name: str, number: int, division: Split, folder: Path, fresh: bool, progress: Progress
) -> OutOfFold:
    """Train a network without a fold, and return its predictions for all recordings of the fold.

    They are kept in ``folder`` below the run of the network.
    """
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


@dataclass(frozen=True)
class FoldPredictions:
    """The predictions for the recordings of each fold at temperature 1.

    For a model with members, ``alone`` are those of each member, by its name, and ``weights`` its share in each fold.
    """

    together: Sequence[Sequence[RecordingPrediction]]
    alone: Mapping[str, Sequence[Sequence[RecordingPrediction]]]
    weights: Mapping[str, Sequence[float]]


def predict_folds(networks: Mapping[str, NetworkToTrain], folds: Sequence[Fold]) -> FoldPredictions:
    """Return the predictions of all networks together and, for a model with members, of each alone.

    A member is calibrated on the other folds, if there are any, before it is combined with the others. Weights that the
    settings do not give are fitted on the other folds, as `train` fits them on held-out recordings.
    """
    labels = next(iter(networks.values())).data.labels
    raw: dict[str, list[list[RecordingPrediction]]] = {}
    for name, one in networks.items():
        of_member = []
        for fold in folds:
            usable = dict(zip(_usable(one.data, fold), fold.held_out[name].predictions, strict=True))
            missing = [r for r in fold.recordings if r not in usable]
            usable |= {r: prediction.empty_prediction(r.path, one.data.statuses[r.path], labels) for r in missing}
            of_member.append([usable[r] for r in fold.recordings])
        raw[name] = of_member
    if len(networks) == 1:
        return FoldPredictions(raw[""], {}, {})
    temperatures = {
        name: fit_temperatures(labels, folds, of_member) if len(folds) > 1 else [1.0] for name, of_member in raw.items()
    }
    weights, together, alone = [], [], []
    for number in range(len(folds)):
        own = {name: of_member[number] for name, of_member in temperatures.items()}
        weights.append(_weights(labels, networks, folds, raw, own, number))
        alone.append([_scaled(of_member[number], own[name]) for name, of_member in raw.items()])
        sizes = [max(len(p.embedding) for p in one) for one in alone[-1]]
        combination = Combination([one.data.store.spec for one in networks.values()], sizes, weights[-1])
        together.append([combination.prediction(row) for row in zip(*alone[-1], strict=True)])
    return FoldPredictions(
        together,
        dict(zip(raw, map(list, zip(*alone, strict=True)), strict=True)),
        dict(zip(raw, map(list, zip(*weights, strict=True)), strict=True)),
    )


def _weights(
    labels: Labels,
    networks: Mapping[str, NetworkToTrain],
    folds: Sequence[Fold],
    members: Mapping[str, Sequence[Sequence[RecordingPrediction]]],
    temperatures: Mapping[str, float],
    held_out: int,
) -> Sequence[float]:
    """Return the weights of the members for a fold: those of the settings, or fitted on the other folds.

    ``members`` are the predictions of each for every fold, ``temperatures`` those that were fitted without this fold.
    """
    given = [one.weight for one in networks.values() if one.weight is not None]
    if given:
        return given
    rest = [number for number in range(len(folds)) if number != held_out]
    recordings = [r for number in rest for r in folds[number].recordings]
    predictions = [
        [p for number in rest for p in _scaled(of_member[number], temperatures[name])]
        for name, of_member in members.items()
    ]
    return member_weights.fit_to_predictions(labels, recordings, predictions).weights


def _usable(data: TrainingData, fold: Fold) -> list[Recording]:
    """Return the recordings of a fold that a network can use."""
    known = set(fold.recordings)
    return [r for r in data.recordings if r in known]


def _scaled(predictions: Sequence[RecordingPrediction], temperature: float) -> list[RecordingPrediction]:
    """Return predictions at a temperature; those without scores stay."""
    if temperature == 1:
        return list(predictions)
    return [calibration.scale_prediction(p, temperature) if p.has_scores else p for p in predictions]


def fit_temperatures(
    labels: Labels, folds: Sequence[Fold], predictions: Sequence[Sequence[RecordingPrediction]]
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
