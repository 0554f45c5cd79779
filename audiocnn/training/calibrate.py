"""How a network's scores become decisions, fitted on recordings that it, or one like it, has not learned from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from audiocnn.dataset import split
from audiocnn.dataset.manifest import PARTS, Recording
from audiocnn.evaluation import calibration
from audiocnn.inference.prediction import RecordingPrediction, Scores
from audiocnn.inference.scoring import Classifier
from audiocnn.model.decision import Decision, resemblance
from audiocnn.progress import Progress
from audiocnn.specs import DecideSpec, SplitSpec, TrainSpec
from audiocnn.text import printable
from audiocnn.training import out_of_fold
from audiocnn.training.dataset import TrainingData

_MOST_VALUES = 100_000  # of typical embeddings that are kept
_FEW = 20  # recordings of a label: with fewer its threshold is rough


@dataclass(frozen=True)
class FittedDecision:
    """The temperature for the scores of a network, which are at 1, and how they become decisions.

    ``resemblances`` are those of the recordings that it was fitted on, empty if it has no typical embeddings.
    """

    temperature: float
    decision: Decision | None
    resemblances: Sequence[float] = ()


@dataclass(frozen=True)
class ScoredRecording:
    """A recording, what was said of it at temperature 1, and the typical embeddings of the network that said it."""

    recording: Recording
    prediction: RecordingPrediction
    typical: Scores


def fit(
    task: TrainingData,
    network: Classifier,
    spec: DecideSpec,
    *,
    train: Sequence[Recording],
    validation: Sequence[Recording],
    folds: "Folds",
    progress: Progress,
) -> FittedDecision:
    """Return what makes decisions of the scores of ``network``.

    It is fitted on ``validation``, or on all by way of ``folds`` if the spec wants so. Where there is neither, scores
    stay as they are.
    """
    recordings = [*train, *validation] if spec.folds else validation
    if not recordings:
        progress.info("scores are not calibrated: there is no validation part; set split.validation or decide.folds")
        return FittedDecision(1.0, None)
    typical = out_of_fold.typical(task, network, train)
    judged = (
        folds.judged(recordings, spec.folds)
        if spec.folds
        else [
            ScoredRecording(r, p, typical)
            for r, p in zip(validation, out_of_fold.predict(task, network, validation), strict=True)
        ]
    )
    return fit_decision(
        task, spec, judged, typical, fitted_on="folds" if spec.folds else "validation", progress=progress
    )


@dataclass(frozen=True)
class Folds:
    """How recordings are judged fold by fold, each by a network that learned from the others; kept in ``folder``."""

    task: TrainingData
    train: TrainSpec
    split: SplitSpec
    folder: Path
    settings: Mapping[str, Any]
    fresh: bool
    progress: Progress

    def judged(self, recordings: Sequence[Recording], n_folds: int) -> list[ScoredRecording]:
        """Return what is said of ``recordings``, in another order."""
        divisions = split.make_folds(
            [replace(r, fold=None) for r in recordings], self.task.contents, self.split, n_folds
        )
        found = []
        for number, division in enumerate(divisions, start=1):
            self.progress.info(f"decide: fold {number} of {len(divisions)}")
            parts = {part: [r for r in recordings if division.part[r.path] == part] for part in PARTS}
            held_out = out_of_fold.train_and_predict(
                self.task,
                self.train,
                train=parts["train"],
                validation=parts["validation"],
                held_out=parts["test"],
                file=self.folder / f"fold-{number}.heldout",
                settings={**self.settings, "fold": division.digest},
                fresh=self.fresh,
                progress=self.progress,
                with_typical=True,
            )
            assert held_out.typical is not None
            pairs = zip(parts["test"], held_out.predictions, strict=True)
            found += [ScoredRecording(r, p, held_out.typical) for r, p in pairs]
        return found


def fit_decision(
    task: TrainingData,
    spec: DecideSpec,
    judged: Sequence[ScoredRecording],
    typical: Scores,
    *,
    fitted_on: str,
    progress: Progress,
) -> FittedDecision:
    """Return temperature and decision fitted on what is ``judged``, for a network with ``typical`` embeddings."""
    target = task.labels.encode(one.recording.label for one in judged)
    names = split.merge_groups([one.recording for one in judged], task.contents)
    groups = np.unique(names, return_inverse=True)[1]
    raw = np.stack([one.prediction.scores for one in judged])
    temperature = round(calibration.fit_temperature(raw, target), 6)
    scores = calibration.scale_scores(raw, temperature)
    alike = np.array(
        [resemblance(s, one.prediction.embedding, one.typical) for s, one in zip(scores, judged, strict=True)]
    )
    floor = calibration.group_quantile(alike, groups, share=spec.unknown, unseen=1) if spec.unknown else None
    if floor is not None and typical.size > _MOST_VALUES:
        progress.info(f"nothing will be called unknown: {typical.size:,} typical values are more than {_MOST_VALUES:,}")
        floor = None
    elif floor is None and spec.unknown:
        progress.info(
            f"nothing will be called unknown: {int(groups.max()) + 1} groups are too few to promise that at most "
            f"{spec.unknown:.0%} of known recordings are; set decide.folds, or raise decide.unknown"
        )
    both = {"precision": spec.wanted_precision, "recall": spec.wanted_recall}
    wanted = {name: value for name, value in both.items() if value is not None}
    decision = Decision.model_validate(
        {
            "fitted_on": fitted_on,
            "n_recordings": len(judged),
            "n_groups": int(groups.max()) + 1,
            "wanted": wanted,
            "thresholds": _thresholds(task, scores, target, wanted, progress) if wanted else {},
            "coverage": spec.coverage,
            "set_floor": calibration.fit_set_threshold(scores, target, groups, coverage=spec.coverage),
            "unknown": spec.unknown if floor is not None else 0.0,
            "typical": [] if floor is None else typical.round(6).tolist(),
            "familiar_floor": -1.0 if floor is None else floor,
        }
    )
    return FittedDecision(temperature, decision, () if floor is None else alike.tolist())


def _thresholds(
    task: TrainingData, scores: Scores, target: calibration.Targets, wanted: Mapping[str, float], progress: Progress
) -> dict[str, float]:
    """By label, or for the positive one of two."""
    found = {}
    for label in task.labels if task.labels.positive is None else (task.labels.positive,):
        k = task.labels.index(label)
        threshold = calibration.fit_threshold(scores[:, k], target == k, **wanted)
        found[label] = threshold.value
        ((name, value),) = wanted.items()
        n = int((target == k).sum())
        if not threshold.reached:
            progress.warn(f"label '{printable(label)}': no threshold gives a {name} of {value:g}; the best is taken")
        elif n < _FEW:
            progress.info(f"label '{printable(label)}': its threshold rests on {n} recordings and is rough")
    return found
