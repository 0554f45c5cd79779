"""What a model's decision rules reach on recordings whose labels are known: blocks of ``metrics.json``.

Takes predictions of `audiocnn.inference.prediction`; recordings that were not heard, or of labels that the model does
not
know, have no part in these figures.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from audiocnn.errors import needs_extra
from audiocnn.evaluation import intervals
from audiocnn.evaluation.calibration import Targets, expected_calibration_error, scale_scores
from audiocnn.inference.prediction import RecordingPrediction, Scores
from audiocnn.labels import Labels
from audiocnn.model.decision import Decision


def decision_blocks(
    predictions: Sequence[RecordingPrediction],
    truth: Sequence[str],
    groups: Sequence[str],
    *,
    labels: Labels,
    temperature: float,
    decision: Decision | None,
    bootstrap: int,
    seed: int,
) -> dict[str, Any]:
    """Return the blocks calibration, thresholds, conformal and unknown, as far as the model has such rules."""
    rows = [i for i, p in enumerate(predictions) if p.has_scores and truth[i] in labels]
    if decision is None or not rows:
        return {}
    judged = [predictions[i] for i in rows]
    target = labels.encode(truth[i] for i in rows)
    scores = np.stack([p.scores for p in judged])
    of_group = np.unique([groups[i] for i in rows], return_inverse=True)[1]

    def share(of: Sequence[bool]) -> dict[str, Any]:
        return share_with_interval(np.array(of), of_group, bootstrap=bootstrap, seed=seed)

    sets = [p.label_set for p in judged]
    found = {
        "calibration": {
            "method": "temperature",
            "temperature": temperature,
            "fitted_on": decision.fitted_on,
            "n_recordings": decision.n_recordings,
            "n_groups": decision.n_groups,
            "uncalibrated": _scored(scale_scores(scores, 1 / temperature), target),
        },
        "conformal": {
            "coverage_wanted": decision.coverage,
            "coverage": share([truth[i] in of for i, of in zip(rows, sets, strict=True)]),
            "mean_size": float(np.mean([len(of) for of in sets])),
            "sizes": {str(size): n for size, n in sorted(Counter(map(len, sets)).items())},
            "n_calibration": decision.n_recordings,
        },
    }
    if decision.thresholds:
        found["thresholds"] = {
            "wanted": dict(decision.wanted),
            "labels": {
                label: _claimed(value, scores[:, labels.index(label)], target == labels.index(label), decision.wanted)
                for label, value in decision.thresholds.items()
            },
        }
    if decision.typical:
        found["unknown"] = {
            "score": "resemblance",
            "kept_wanted": 1 - decision.unknown,
            "kept": share([p.doubt != "unfamiliar" for p in judged]),
        }
    return found


def share_with_interval(
    flags: NDArray[np.bool_], group: NDArray[np.intp], *, bootstrap: int, seed: int
) -> dict[str, Any]:
    """Return the share of ``flags`` (n,) that is set and its 95 % interval, drawing the groups (n,) anew."""
    right, n = np.bincount(group, weights=flags), np.bincount(group).astype(np.float64)
    errors = intervals.standard_errors(
        lambda draws: (draws @ right / (draws @ n))[:, None], n_groups=len(n), bootstrap=bootstrap, seed=seed
    )
    value = float(flags.mean())
    return {"value": value, "ci95": intervals.share_interval(value, float(errors[0]), n)}


def _scored(scores: Scores, target: Targets) -> dict[str, float]:
    with needs_extra("train"):
        from sklearn.metrics import log_loss

    right = scores.argmax(axis=1) == target
    return {
        "ece": expected_calibration_error(scores.max(axis=1), right),
        "log_loss": float(log_loss(target, scores, labels=list(range(scores.shape[1])))),
    }


def _claimed(
    threshold: float, score: Scores, is_label: NDArray[np.bool_], wanted: Mapping[Literal["precision", "recall"], float]
) -> dict[str, Any]:
    """What a threshold gives; ``reached`` if that is what is ``wanted`` of it."""
    claimed = score >= threshold
    right = int((claimed & is_label).sum())
    given = {
        "precision": right / int(claimed.sum()) if claimed.any() else None,
        "recall": right / int(is_label.sum()) if is_label.any() else None,
    }
    reached = all((value := given[name]) is not None and value >= least for name, least in wanted.items())
    return {"threshold": threshold, "reached": reached, **given, "n_claimed": int(claimed.sum())}
