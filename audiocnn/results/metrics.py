"""Figures about predictions, with intervals that resample whole groups.

scikit-learn computes the figures; accuracy and F1 with their intervals come from three counts a group and label, which
makes thousands of resamples one matrix product.
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
_DRAWS_AT_A_TIME = 250  # resamples held in memory at once

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
    class only, an interval over one group) is None.
    """
    names, group = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
    heard = [i for i, p in enumerate(predictions) if p.heard]
    predicted = [p.label for p in predictions]
    scores = np.array([predictions[i].scores for i in heard]).reshape(len(heard), len(labels))
    n_windows = [len(p.window_scores) for p in predictions]
    window_truth = list(np.repeat(np.asarray(truth, dtype=object), n_windows))
    window_predicted = [label for p in predictions for label in p.window_labels()]
    window_scores = np.concatenate([p.window_scores for p in predictions if p.heard] or [np.zeros((0, len(labels)))])

    counts = _counts(truth, predicted, group, labels, len(names))
    recording = _figures(counts, bootstrap=bootstrap, seed=seed)
    recording |= _score_figures([truth[i] for i in heard], scores, labels, positive)
    counts = _counts(window_truth, window_predicted, np.repeat(group, n_windows), labels, len(names))
    window = _figures(counts, bootstrap=bootstrap, seed=seed)
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


def _counts(
    truth: Sequence[str], predicted: Sequence[str], group: NDArray[np.intp], labels: Sequence[str], n_groups: int
) -> _Counts:
    """How often (n_groups, 3, n_labels + 1) each label is rightly given, true, given; the last is any other text."""
    index = {label: i for i, label in enumerate(labels)}
    rows = np.array([index.get(label, len(labels)) for label in truth], int)
    columns = np.array([index.get(label, len(labels)) for label in predicted], int)
    right = rows == columns
    counts = np.zeros((n_groups, 3, len(labels) + 1))
    np.add.at(counts[:, 0], (group[right], rows[right]), 1)
    np.add.at(counts[:, 1], (group, rows), 1)
    np.add.at(counts[:, 2], (group, columns), 1)
    return counts


def _figures(counts: _Counts, *, bootstrap: int, seed: int) -> dict[str, Any]:
    """Accuracy and macro F1, with intervals over resamples of the groups."""
    if not counts.any():
        return {name: {"value": None, "ci95": [None, None]} for name in ("accuracy", "macro_f1")}
    rng, n_groups = np.random.default_rng(seed), len(counts)
    resampled = []
    for first in range(0, bootstrap, _DRAWS_AT_A_TIME):
        n = min(_DRAWS_AT_A_TIME, bootstrap - first)
        draws = rng.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=n).astype(np.float64)
        sums = (draws @ counts.reshape(n_groups, -1)).reshape(n, *counts.shape[1:])
        sums = sums[sums[:, 1].any(axis=1)]  # groups without windows can be all that is drawn
        resampled.append(np.stack([_accuracy(sums), _macro_f1(sums)]))
    values = np.stack([_accuracy(counts.sum(axis=0)[None]), _macro_f1(counts.sum(axis=0)[None])])
    ends = np.percentile(np.concatenate(resampled, axis=1), [2.5, 97.5], axis=1).T.tolist()
    if np.count_nonzero(counts.any(axis=(1, 2))) < 2:
        ends = [[None, None]] * 2
    return {
        name: {"value": float(value), "ci95": ci95}
        for name, (value,), ci95 in zip(("accuracy", "macro_f1"), values, ends, strict=True)
    }


def _accuracy(counts: _Counts) -> _Counts:
    return counts[:, 0, :-1].sum(axis=1) / counts[:, 1].sum(axis=1)


def _macro_f1(counts: _Counts) -> _Counts:
    """Mean F1 over the labels that occur as truth or prediction, as `sklearn.metrics.f1_score` does."""
    right, occurs = counts[:, 0, :-1], counts[:, 1:, :-1].sum(axis=1)
    f1 = 2 * right / np.maximum(occurs, 1)  # 0 for a label that does not occur
    return f1.sum(axis=1) / np.maximum((occurs > 0).sum(axis=1), 1)


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
