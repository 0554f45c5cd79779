"""Train a model of several networks: each member as a bundle of its own, then the scores of all of them together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from audiocnn.config import Project
from audiocnn.dataset.manifest import Recording
from audiocnn.dataset.split import Split
from audiocnn.errors import AudiocnnError, ConfigError, UnusableError
from audiocnn.evaluation import calibration, decision_metrics
from audiocnn.files import digest_of, sha256_of
from audiocnn.inference.members import Combination
from audiocnn.inference.prediction import RecordingPrediction, Scores, empty_prediction
from audiocnn.model import bundle, card, ensemble, network
from audiocnn.model.bundle import Bundle
from audiocnn.model.ensemble import EnsembleInfo
from audiocnn.progress import Progress
from audiocnn.specs import finest_member
from audiocnn.text import printable
from audiocnn.training import calibrate, dataset, fit, member_weights, out_of_fold, train_bundle
from audiocnn.training.calibrate import FittedDecision, ScoredRecording
from audiocnn.training.dataset import TrainingData
from audiocnn.training.member_weights import FittedWeights
from audiocnn.training.train_bundle import BundleTraining, TrainResult


@dataclass(frozen=True)
class EnsembleResult:
    """A trained model of several networks, and the result of each training, by the name of the member.

    ``weights`` are given by the settings if ``fitted`` is None. ``counts`` are recordings by part and label. All that
    follows is from the bundle.
    """

    folder: Path
    members: Mapping[str, TrainResult]
    weights: Mapping[str, float]
    fitted: FittedWeights | None
    counts: Mapping[str, Mapping[str, int]]
    metrics: Mapping[str, Any]
    temperature: float
    decision: Mapping[str, Any] | None


def prepare_networks(project: Project, changes: Mapping[str, Any], progress: Progress) -> dict[str, TrainingData]:
    """Return the training data of each network, by name; members have the recordings of the finest one.

    A member lacks a recording only if it cannot use it, such as one that is silent in its band. ``changes`` replace
    fields of the `TrainSpec` of all networks. Raises `ConfigError` if a member cannot use any recording of a label that
    the finest can use.
    """
    found: dict[str, TrainingData] = {}
    for name, one in sorted(project.networks.items(), key=lambda item: item[0] != project.finest):
        bad = changes.get("max_bad_fraction", one.experiment.train.max_bad_fraction)
        try:
            found[name] = dataset.prepare(one, max_bad_fraction=bad, progress=Progress() if found else progress)
        except AudiocnnError as error:
            if found and isinstance(error, UnusableError):
                raise _cannot_use(name, str(error).removesuffix("; see quarantine.csv")) from error
            if name:
                error.args = (f"member {name}: {error}",)
            raise
    return share_recordings({name: found[name] for name in project.members}) if project.members else found


def share_recordings(members: Mapping[str, TrainingData]) -> dict[str, TrainingData]:
    """Return the data of each member with the recordings and labels of the finest, whose windows have the scores.

    A member lacks the recordings that it cannot use. Raises `ConfigError` if these are all of a label.
    """
    base = members[finest_member({name: data.store.spec for name, data in members.items()})]
    found = {}
    for name, data in members.items():
        usable = [r for r in base.recordings if _is_usable(r, data)]
        if lost := sorted(set(base.labels) - {r.label for r in usable}):
            raise _cannot_use(name, f"no recording of label '{printable(lost[0])}' can be used")
        found[name] = replace(data, recordings=usable, labels=base.labels, rare=base.rare)
    return found


def _cannot_use(name: str, reason: str) -> ConfigError:
    return ConfigError(
        f"member {name}: {reason} with its features, such as because all are silent in its band; change "
        f"members.{name}.features, or remove the member"
    )


def _is_usable(recording: Recording, data: TrainingData) -> bool:
    return data.statuses[recording.path].for_stretch(recording.stretch, data.store.spec).status == "ok"


@dataclass(frozen=True)
class EnsembleTraining:
    """The trainings of all members, by name, and what all share."""

    project: Project
    trainings: Mapping[str, BundleTraining]
    division: Split
    progress: Progress

    @property
    def _finest(self) -> BundleTraining:
        return self.trainings[self.project.finest]

    def run(self) -> EnsembleResult:
        """Train member by member, then fit how they are combined, unless that was done before."""
        results = {}
        for name, training in self.trainings.items():
            self.progress.info(f"member {name}")
            if training.finished is None:  # names in a model file are numbered within a session
                network.load_keras().utils.clear_session()
            results[name] = training.run(None)
        folder = self.project.run / "model"
        bundles = {name: bundle.load(result.folder) for name, result in results.items()}
        key = digest_of(self._settings(bundles))
        fitted: FittedWeights | None = None
        info = _finished(folder, key)
        if info is None:
            with self.progress.step("combine the members"):
                info, fitted = self._combine(folder, bundles, key)
        return EnsembleResult(
            folder=folder,
            members=results,
            weights={member["name"]: member["weight"] for member in info["members"]},
            fitted=fitted,
            counts=self._finest.data.counts(self._finest.parts),
            metrics=info["metrics"],
            temperature=info["temperature"],
            decision=info.get("decision"),
        )

    def _settings(self, bundles: Mapping[str, Bundle]) -> dict[str, Any]:
        """Everything that the combined scores and their rules depend on."""
        members = self.project.experiment.members
        return {
            "members": {name: one.digest for name, one in bundles.items()},
            "weights": {name: member.weight for name, member in members.items()},
            "split": self.division.digest,
            "decide": self.project.experiment.decide.model_dump(mode="json"),
        }

    def _combine(
        self, folder: Path, bundles: Mapping[str, Bundle], key: str
    ) -> tuple[dict[str, Any], FittedWeights | None]:
        """Fit weights, calibration and decision rules on held-out recordings, and write the model with all members."""
        experiment, finest = self.project.experiment, self._finest
        decide, parts = experiment.decide, finest.parts
        held_out = {name: self._held_out(name, one) for name, one in bundles.items()}
        weights, fitted = self._weights(held_out)
        combination = _combination(list(bundles.values()), weights)
        typical = [
            out_of_fold.typical(self.trainings[name].data, one, self.trainings[name].parts["train"])
            for name, one in bundles.items()
        ]
        decision = FittedDecision(1.0, None)
        scored = combine_scored(combination, list(held_out.values()))
        if scored:
            decision = calibrate.fit_decision(
                finest.data,
                decide,
                scored,
                _joined(combination, typical),
                fitted_on="folds" if decide.folds else "validation",
                progress=self.progress,
            )
        part = "validation" if parts["validation"] else "train"
        domain = dataset.training_domain(finest.data, parts["train"], decision.resemblances)
        first = next(iter(self.trainings.values()))
        info: dict[str, Any] = {
            "name": experiment.name,
            "features": finest.project.experiment.features.model_dump(mode="json"),
            "labels": finest.data.labels.names,
            "positive": finest.data.labels.positive,
            "weights": dict(zip(bundles, weights, strict=True)),
            "temperature": decision.temperature,
            "decision": None if decision.decision is None else decision.decision.model_dump(mode="json"),
            "domain": None if domain is None else domain.model_dump(mode="json"),
            "training": {"weights": None if fitted is None else {"gain": fitted.gain, "ci95": fitted.ci95}},
            "metrics": {part: self._metrics(combination, bundles, parts[part], decision.temperature)},
            "provenance": {
                "key": key,
                "manifest_sha256": sha256_of(self.project.manifest),
                "split_sha256": self.division.digest,
                "recordings": finest.data.counts(parts),
                "seed": first.spec.seed,
                "created": train_bundle.today(),
                "versions": fit.versions(),
                "decide": decide.model_dump(mode="json"),
            },
        }
        text = card.render_ensemble(
            name=experiment.name,
            about=experiment.data.about,
            labels=finest.data.labels,
            members={name: (one.spec, one.network, info["weights"][name]) for name, one in bundles.items()},
            metrics=info["metrics"],
            counts=info["provenance"]["recordings"],
            decision=info["decision"],
            temperature=info["temperature"],
            domain=info["domain"],
        )
        ensemble.write(folder, info, members={name: one.folder for name, one in bundles.items()}, card=text)
        return ensemble.read(folder)[0].model_dump(mode="json", by_alias=True), fitted

    def _held_out(self, name: str, member: Bundle) -> list[ScoredRecording]:
        """Return the held-out recordings with the calibrated predictions of a member, in the order of the finest."""
        training, parts, folds = self.trainings[name], self._finest.parts, self.project.experiment.decide.folds
        if not folds:
            typical = out_of_fold.typical(training.data, member, training.parts["train"])
            predicted = out_of_fold.predict(training.data, member, parts["validation"])
            return [ScoredRecording(r, p, typical) for r, p in zip(parts["validation"], predicted, strict=True)]
        scored = {one.recording: one for one in training.out_of_fold_scores()}
        found = []
        for recording in [*parts["train"], *parts["validation"]]:
            if recording in scored:
                one = scored[recording]
                prediction = calibration.scale_prediction(one.prediction, member.temperature)
                found.append(replace(one, prediction=prediction))
            else:
                status = training.data.statuses[recording.path]
                nothing = empty_prediction(recording.path, status, training.data.labels)
                found.append(ScoredRecording(recording, nothing, np.zeros((len(member.labels), member.embedding_size))))
        return found

    def _weights(self, held_out: Mapping[str, Sequence[ScoredRecording]]) -> tuple[list[float], FittedWeights | None]:
        """Return the weights of the members, and how they were fitted unless the settings give them."""
        given = [member.weight for member in self.project.experiment.members.values()]
        if all(weight is not None for weight in given):
            return [weight for weight in given if weight is not None], None
        recordings = [one.recording for one in next(iter(held_out.values()))]
        predictions = [[one.prediction for one in of_member] for of_member in held_out.values()]
        fitted = member_weights.fit_to_predictions(self._finest.data.labels, recordings, predictions)
        return list(fitted.weights), fitted

    def _metrics(
        self,
        combination: Combination,
        bundles: Mapping[str, Bundle],
        recordings: Sequence[Recording],
        temperature: float,
    ) -> dict[str, Any]:
        """Return the accuracies on ``recordings``, as `audiocnn evaluate` would report them."""
        settings = self.project.experiment.evaluate
        members = [out_of_fold.predict(self.trainings[name].data, one, recordings) for name, one in bundles.items()]
        combination = replace(combination, temperature=temperature)
        predictions = [combination.prediction(row) for row in zip(*members, strict=True)]
        right = np.array([p.label == r.label for r, p in zip(recordings, predictions, strict=True)])
        groups = np.unique([r.group for r in recordings], return_inverse=True)[1]
        accuracy = decision_metrics.share_with_interval(right, groups, bootstrap=settings.bootstrap, seed=settings.seed)
        return {
            "recording_accuracy": accuracy["value"],
            "window_accuracy": _window_accuracy(recordings, predictions),
            "recording_accuracy_ci95": accuracy["ci95"],
        }


def combine_scored(combination: Combination, members: Sequence[Sequence[ScoredRecording]]) -> list[ScoredRecording]:
    """Return recordings with one prediction each, given the predictions of each member for the same recordings."""
    return [
        ScoredRecording(
            row[0].recording,
            combination.prediction([one.prediction for one in row]),
            _joined(combination, [one.typical for one in row]),
        )
        for row in zip(*members, strict=True)
    ]


def _joined(combination: Combination, typical: Sequence[Scores]) -> Scores:
    """Return typical embeddings (n_labels, sum of sizes) that match those of `Combination`."""
    shares = np.sqrt(combination.weights)
    return np.concatenate([share * one for share, one in zip(shares, typical, strict=True)], axis=1)


def _combination(bundles: Sequence[Bundle], weights: Sequence[float]) -> Combination:
    return Combination([one.spec for one in bundles], [one.embedding_size for one in bundles], weights)


def _window_accuracy(recordings: Sequence[Recording], predictions: Sequence[RecordingPrediction]) -> float:
    """Return the share of windows that count whose highest score is that of the label of their recording."""
    right = [np.array(p.window_labels(p.counted)) == r.label for r, p in zip(recordings, predictions, strict=True)]
    return float(np.concatenate(right).mean())


def _finished(folder: Path, key: str) -> dict[str, Any] | None:
    """Return the content of ``bundle.json`` if the model was combined with the same settings, else None."""
    try:
        info: EnsembleInfo = ensemble.load(folder).info
    except (AudiocnnError, OSError):
        return None
    return info.model_dump(mode="json", by_alias=True) if info.provenance.get("key") == key else None
