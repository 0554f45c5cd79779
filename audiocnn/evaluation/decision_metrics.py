"""Figures about the decision rules of a model, from recordings with known labels: blocks of ``metrics.json``.

Recordings without scores, or with labels that the model does not know, are ignored.
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
    """Return the blocks calibration, conformal, thresholds and unknown; the last two if the model has such rules."""
    rows = [i for i, p in enumerate(predictions) if p.has_scores and truth[i] in labels]
    if decision is None or not rows:
        return {}
    scored = [predictions[i] for i in rows]
    target = labels.encode(truth[i] for i in rows)
    scores = np.stack([p.scores for p in scored])
    group = np.unique([groups[i] for i in rows], return_inverse=True)[1]

    def share(flags: Sequence[bool]) -> dict[str, Any]:
        return share_with_interval(np.array(flags), group, bootstrap=bootstrap, seed=seed)

    sets = [p.label_set for p in scored]
    blocks = {
        "calibration": {
            "method": "temperature",
            "temperature": temperature,
            "fitted_on": decision.fitted_on,
            "n_recordings": decision.n_recordings,
            "n_groups": decision.n_groups,
            "uncalibrated": _score_metrics(scale_scores(scores, 1 / temperature), target),
        },
        "conformal": {
            "coverage_wanted": decision.coverage,
            "coverage": share([truth[i] in labels_of for i, labels_of in zip(rows, sets, strict=True)]),
            "mean_size": float(np.mean([len(labels_of) for labels_of in sets])),
            "sizes": {str(size): n for size, n in sorted(Counter(map(len, sets)).items())},
            "n_calibration": decision.n_recordings,
        },
    }
    if decision.thresholds:
        blocks["thresholds"] = {
            "wanted": dict(decision.wanted),
            "labels": {
                label: _threshold_metrics(
                    value, scores[:, labels.index(label)], target == labels.index(label), decision.wanted
                )
                for label, value in decision.thresholds.items()
            },
        }
    if decision.typical:
        blocks["unknown"] = {
            "score": "resemblance",
            "kept_wanted": 1 - decision.unknown,
            "kept": share([p.doubt != "unfamiliar" for p in scored]),
        }
    return blocks


def share_with_interval(
    flags: NDArray[np.bool_], group: NDArray[np.intp], *, bootstrap: int, seed: int
) -> dict[str, Any]:
    """Return the share of true ``flags`` (n,) and its 95 % interval from a bootstrap over their groups (n,)."""
    n_true, n = np.bincount(group, weights=flags), np.bincount(group).astype(np.float64)
    errors = intervals.standard_errors(
        lambda draws: (draws @ n_true / (draws @ n))[:, None], n_groups=len(n), bootstrap=bootstrap, seed=seed
    )
    value = float(flags.mean())
    return {"value": value, "ci95": intervals.share_interval(value, float(errors[0]), n)}


def _score_metrics(scores: Scores, target: Targets) -> dict[str, float]:
    with needs_extra("train"):
        from sklearn.metrics import log_loss

    correct = scores.argmax(axis=1) == target
    return {
        "ece": expected_calibration_error(scores.max(axis=1), correct),
        "log_loss": float(log_loss(target, scores, labels=list(range(scores.shape[1])))),
    }


def _threshold_metrics(
    threshold: float,
    score: Scores,
    is_label: NDArray[np.bool_],
    requested: Mapping[Literal["precision", "recall"], float],
) -> dict[str, Any]:
    """Return precision and recall at a threshold; ``reached`` if they are at least those requested."""
    predicted = score >= threshold
    n_correct = int((predicted & is_label).sum())
    figures = {
        "precision": n_correct / int(predicted.sum()) if predicted.any() else None,
        "recall": n_correct / int(is_label.sum()) if is_label.any() else None,
    }
    reached = all((value := figures[name]) is not None and value >= least for name, least in requested.items())
    return {"threshold": threshold, "reached": reached, **figures, "n_claimed": int(predicted.sum())}
