"""Figures about predictions, with intervals that resample whole groups.

scikit-learn computes every figure; the intervals come from the confusion matrix of each group, which is enough for
accuracy and F1 and makes thousands of resamples one matrix product.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics as sk

from audiocnn.results.aggregate import Prediction

SCHEMA = "audiocnn.metrics/1"
ECE_BINS = 10

_Counts = NDArray[np.float64]


def compute(
    predictions: Sequence[Prediction],
    truth: Sequence[str],
    groups: Sequence[str],
    *,
    part: str,
    labels: Sequence[str],
    positive: str | None,
    bootstrap: int,
    seed: int,
) -> dict[str, Any]:
    """Return ``metrics.json``: figures for recordings and windows, per class, and the confusion matrix.

    A recording without a prediction counts as wrong in the recording figures and has no windows. ``ci95`` are the
    2.5th and 97.5th percentiles over ``bootstrap`` resamples of groups. A figure that the data do not define (one
    class only, say) is None.
    """
    rng = np.random.default_rng(seed)
    names, group = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
    draws = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=bootstrap).astype(np.float64)
    heard = [i for i, p in enumerate(predictions) if p.heard]
    predicted = [p.label for p in predictions]
    scores = np.array([predictions[i].scores for i in heard]).reshape(len(heard), len(labels))
    recording = _figures(_confusions(truth, predicted, group, labels), draws)
    recording |= _score_figures([truth[i] for i in heard], scores, labels, positive)

    n_windows = [len(p.window_scores) for p in predictions]
    window_truth = list(np.repeat(np.asarray(truth, dtype=object), n_windows))
    window_predicted = [label for p in predictions for label in p.window_labels()]
    window_scores = np.concatenate([p.window_scores for p in predictions if p.heard] or [np.zeros((0, len(labels)))])
    window = _figures(_confusions(window_truth, window_predicted, np.repeat(group, n_windows), labels), draws)
    window |= _score_figures(window_truth, window_scores, labels, positive)

    precision, recall, f1, support = sk.precision_recall_fscore_support(
        list(truth), predicted, labels=list(labels), zero_division=0
    )
    return {
        "schema": SCHEMA,
        "part": part,
        "n_recordings": len(predictions),
        "n_predicted": len(heard),
        "n_groups": len(names),
        "n_windows": int(sum(n_windows)),
        "labels": list(labels),
        **({"positive": positive} if positive is not None else {}),
        "recording": recording,
        "window": window,
        "per_class": {
            label: {"precision": float(p), "recall": float(r), "f1": float(f), "support": int(n)}
            for label, p, r, f, n in zip(labels, precision, recall, f1, support, strict=True)
        },
        "confusion": sk.confusion_matrix(list(truth), predicted, labels=list(labels)).tolist()
        if set(truth) & set(labels)
        else np.zeros((len(labels), len(labels)), int).tolist(),
    }


def expected_calibration_error(
    score: NDArray[np.float64], correct: NDArray[np.bool_], *, bins: int = ECE_BINS
) -> float:
    """Mean distance between score and accuracy over equal-width bins of the score, weighted by their size.

    Guo et al., "On calibration of modern neural networks", ICML 2017.

    >>> expected_calibration_error(np.array([0.9, 0.9]), np.array([True, False])).__round__(3)
    0.4
    """
    which = np.minimum((score * bins).astype(int), bins - 1)
    gaps = np.bincount(which, weights=correct - score, minlength=bins)
    return float(np.abs(gaps).sum() / len(score))


def _confusions(
    truth: Sequence[str], predicted: Sequence[str], group: NDArray[np.intp], labels: Sequence[str]
) -> _Counts:
    """Counts (n_groups, n_labels + 1, n_labels + 1); the last row and column are labels unknown or not given."""
    index = {label: i for i, label in enumerate(labels)}
    n = len(labels) + 1
    counts = np.zeros((int(group.max(initial=-1)) + 1, n, n))
    rows = [index.get(label, n - 1) for label in truth]
    columns = [index.get(label, n - 1) for label in predicted]
    np.add.at(counts, (group, np.array(rows, int), np.array(columns, int)), 1)
    return counts


def _figures(confusions: _Counts, draws: _Counts) -> dict[str, Any]:
    """Accuracy and macro F1 with intervals, of the confusion matrix of each group."""
    n = confusions.shape[1]
    if not confusions.sum():
        nothing = {"value": None, "ci95": [None, None]}
        return {"accuracy": nothing, "macro_f1": nothing}
    full = np.zeros((draws.shape[1], n, n))
    full[: len(confusions)] = confusions  # groups at the end may have no windows
    resampled = (draws @ full.reshape(len(full), -1)).reshape(-1, n, n)
    resampled = resampled[resampled.sum(axis=(1, 2)) > 0]
    return {
        name: {
            "value": float(function(full.sum(axis=0)[None])[0]),
            "ci95": [float(x) for x in np.percentile(function(resampled), [2.5, 97.5])],
        }
        for name, function in (("accuracy", _accuracy), ("macro_f1", _macro_f1))
    }


def _accuracy(confusion: _Counts) -> NDArray[np.float64]:
    right = np.trace(confusion[:, :-1, :-1], axis1=1, axis2=2)
    return np.asarray(right / confusion.sum(axis=(1, 2)))


def _macro_f1(confusion: _Counts) -> NDArray[np.float64]:
    """Mean F1 over the labels that occur as truth or prediction, as `sklearn.metrics.f1_score` does."""
    right = np.diagonal(confusion, axis1=1, axis2=2)
    occurs = confusion.sum(axis=1) + confusion.sum(axis=2)
    f1 = 2 * right / np.maximum(occurs, 1)
    known = occurs[:, :-1] > 0
    return np.asarray((f1[:, :-1] * known).sum(axis=1) / np.maximum(known.sum(axis=1), 1))


def _score_figures(
    truth: Sequence[str], scores: NDArray[np.float64], labels: Sequence[str], positive: str | None
) -> dict[str, Any]:
    """Log loss, calibration error and, for two labels, ROC AUC and average precision of the positive one."""
    index = {label: i for i, label in enumerate(labels)}
    known = [i for i, label in enumerate(truth) if label in index]
    target = np.array([index[truth[i]] for i in known], int)
    scores = scores[known]
    figures: dict[str, Any] = {"log_loss": None, "ece": None}
    if len(target):
        figures["log_loss"] = float(sk.log_loss(target, scores, labels=list(range(len(labels)))))
        figures["ece"] = expected_calibration_error(scores.max(axis=1), scores.argmax(axis=1) == target)
    if positive is not None:
        figures |= {"roc_auc": None, "average_precision": None}
        is_positive = target == index[positive]
        if is_positive.any() and not is_positive.all():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                figures["roc_auc"] = float(sk.roc_auc_score(is_positive, scores[:, index[positive]]))
                figures["average_precision"] = float(
                    sk.average_precision_score(is_positive, scores[:, index[positive]])
                )
    return figures
