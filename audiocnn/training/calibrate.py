"""Fit temperature, thresholds, label sets and the rule for unknown sounds on held-out recordings."""

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
from audiocnn.model.decision import Decision, can_promise, describe_label_sets, resemblance
from audiocnn.progress import Progress
from audiocnn.specs import DecideSpec, SplitSpec, TrainSpec
from audiocnn.text import printable
from audiocnn.training import out_of_fold
from audiocnn.training.dataset import TrainingData
from audiocnn.wording import clause

_MOST_VALUES = 100_000  # in the typical embeddings of a bundle
_FEW = 20  # recordings of a label; with fewer its threshold is rough


@dataclass(frozen=True)
class FittedDecision:
    """The temperature that calibrates a network's scores, and the rules that turn scores into decisions.

    ``resemblances`` are those of the recordings that it was fitted on; empty if it has no typical embeddings.
    """

    temperature: float
    decision: Decision | None
    resemblances: Sequence[float] = ()


@dataclass(frozen=True)
class ScoredRecording:
    """A recording, its prediction at temperature 1, and the typical embeddings of the network that made it."""

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
    """Fit the decision rules for the scores of ``network``.

    They are fitted on ``validation`` or, if ``spec.folds`` is set, out of fold on all recordings. With neither, scores
    are not calibrated.
    """
    recordings = [*train, *validation] if spec.folds else validation
    if not recordings:
        progress.info("scores are not calibrated: there is no validation part; set split.validation or decide.folds")
        return FittedDecision(1.0, None)
    typical = out_of_fold.typical(task, network, train)
    scored = (
        folds.score(recordings, spec.folds)
        if spec.folds
        else [
            ScoredRecording(r, p, typical)
            for r, p in zip(validation, out_of_fold.predict(task, network, validation), strict=True)
        ]
    )
    return fit_decision(
        task, spec, scored, typical, fitted_on="folds" if spec.folds else "validation", progress=progress
    )


@dataclass(frozen=True)
class Folds:
    """Score recordings out of fold: each by a network trained on the other folds. Results are kept in ``folder``."""

    task: TrainingData
    train: TrainSpec
    split: SplitSpec
    folder: Path
    settings: Mapping[str, Any]
    fresh: bool
    progress: Progress

    def score(self, recordings: Sequence[Recording], n_folds: int) -> list[ScoredRecording]:
        """Return the ``recordings`` with their predictions, in the order of the folds."""
        divisions = split.make_folds(
            [replace(r, fold=None) for r in recordings], self.task.contents, self.split, n_folds, rare=self.task.rare
        )
        found = []
        for number, division in enumerate(divisions, start=1):
            self.progress.info(f"decide: fold {number} of {len(divisions)}")
            parts = {part: [r for r in recordings if division.part_of(r) == part] for part in PARTS}
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
    scored: Sequence[ScoredRecording],
    typical: Scores,
    *,
    fitted_on: str,
    progress: Progress,
) -> FittedDecision:
    """Fit temperature and decision rules on ``scored`` recordings, for a network with ``typical`` embeddings."""
    target = task.labels.encode(one.recording.label for one in scored)
    names = split.merge_groups([one.recording for one in scored], task.contents)
    groups = np.unique(names, return_inverse=True)[1]
    n_groups = int(groups.max()) + 1
    raw = np.stack([one.prediction.scores for one in scored])
    temperature = round(calibration.fit_temperature(raw, target), 6)
    scores = calibration.scale_scores(raw, temperature)
    resemblances = np.array(
        [resemblance(s, one.prediction.embedding, one.typical) for s, one in zip(scores, scored, strict=True)]
    )
    floor = calibration.group_quantile(resemblances, groups, share=spec.unknown, unseen=1) if spec.unknown else None
    if floor is not None and typical.size > _MOST_VALUES:
        progress.info(
            f"no recording will be called unknown: {typical.size:,} typical values are more than {_MOST_VALUES:,}"
        )
        floor = None
    elif floor is None and spec.unknown:
        progress.info(
            f"no recording will be called unknown: {clause(n_groups, 'group is', 'groups are')} too few to keep the "
            f"share of known recordings called unknown below {spec.unknown:.0%}; set decide.folds, or raise "
            "decide.unknown"
        )
    if not can_promise(spec.coverage, n_groups):
        progress.info(
            f"label sets hold {describe_label_sets(spec.coverage, n_groups)}; set decide.folds, or lower "
            "decide.coverage"
        )
    both = {"precision": spec.wanted_precision, "recall": spec.wanted_recall}
    wanted = {name: value for name, value in both.items() if value is not None}
    decision = Decision.model_validate(
        {
            "fitted_on": fitted_on,
            "n_recordings": len(scored),
            "n_groups": n_groups,
            "wanted": wanted,
            "thresholds": _thresholds(task, scores, target, wanted, progress) if wanted else {},
            "coverage": spec.coverage,
            "set_floor": calibration.fit_set_threshold(scores, target, groups, coverage=spec.coverage),
            "unknown": spec.unknown if floor is not None else 0.0,
            "typical": [] if floor is None else typical.round(6).tolist(),
            "familiar_floor": -1.0 if floor is None else floor,
        }
    )
    return FittedDecision(temperature, decision, () if floor is None else resemblances.tolist())


def _thresholds(
    task: TrainingData, scores: Scores, target: calibration.Targets, wanted: Mapping[str, float], progress: Progress
) -> dict[str, float]:
    """The threshold of every label that is tested, or of the positive one of two."""
    found = {}
    for label in task.labels if task.labels.positive is None else (task.labels.positive,):
        if label in task.rare:
            continue
        k = task.labels.index(label)
        threshold = calibration.fit_threshold(scores[:, k], target == k, **wanted)
        found[label] = threshold.value
        ((name, value),) = wanted.items()
        n = int((target == k).sum())
        if not threshold.reached:
            progress.warn(f"label '{printable(label)}': no threshold gives a {name} of {value:g}; the best one is used")
        elif n < _FEW:
            n_recordings = clause(n, "recording", "recordings")
            progress.info(f"label '{printable(label)}': its threshold rests on {n_recordings} and is rough")
    return found
