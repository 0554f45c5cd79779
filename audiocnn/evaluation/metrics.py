"""Metrics of predictions with bootstrap intervals over groups; docs/figures.md defines each of them.

scikit-learn computes the figures. Their intervals are computed from the contribution of each group (counts, losses,
ranks), so that thousands of resamples are a few matrix products.
"""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiocnn.errors import needs_extra
from audiocnn.evaluation import intervals
from audiocnn.evaluation.calibration import bin_numbers, expected_calibration_error, perfect_calibration
from audiocnn.inference.prediction import RecordingPrediction
from audiocnn.labels import Labels

with needs_extra("train"):
    from sklearn import metrics as sklearn_metrics

SCHEMA = "audiocnn.metrics/1"
_RANKING_METRICS = ("roc_auc", "average_precision")
_RANKING_RESAMPLES = (100, 500)  # ranks are slow to compute, and 500 resamples give a standard error to 3 %
_RANKING_VALUES = 200_000_000  # scores to process for all labels and resamples; more reduce the resamples

Array = NDArray[np.float64]


def compute_metrics(
    predictions: Sequence[RecordingPrediction],
    truth: Sequence[str],
    groups: Sequence[str],
    *,
    part: str,
    labels: Labels,
    bootstrap: int,
    seed: int,
    untested: Collection[str] = (),
) -> dict[str, Any]:
    """Return ``metrics.json``: figures for recordings and windows, per class, and the confusion matrix.

    ``untested`` labels were left out of the test on purpose: their figures are None and not in the macro F1.
    A recording without a prediction counts as wrong in the recording figures and has no windows. Only the windows that
    count for their recording enter the window figures (``features.quiet_db``). ``ci95`` and
    ``intervals`` come from ``bootstrap`` resamples of groups, those of ROC AUC and average precision from 500 at most.
    A figure that the data do not define (one class only, an interval over one group) is None.
    """
    names, group = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
    has_scores = np.array([p.has_scores for p in predictions], bool)
    predicted = [p.label for p in predictions]
    counted = [p.counted for p in predictions]
    n_windows = [int(loud.sum()) for loud in counted]
    left_out = tuple(i for i, label in enumerate(labels) if label in untested)
    recordings = _sample(
        truth, predicted, group, labels, len(names),
        has_scores=has_scores,
        scores=np.array([p.scores for p in predictions if p.has_scores]).reshape(-1, len(labels)),
        untested=left_out,
    )  # fmt: skip
    windows = _sample(
        list(np.repeat(np.asarray(truth, dtype=object), n_windows)),
        [label for p, loud in zip(predictions, counted, strict=True) for label in p.window_labels(loud)],
        np.repeat(group, n_windows), labels, len(names),
        has_scores=np.ones(sum(n_windows), bool),
        scores=np.concatenate(
            [np.zeros((0, len(labels))), *(p.window_scores[loud] for p, loud in zip(predictions, counted, strict=True))]
        ),
        untested=left_out,
    )  # fmt: skip
    resampling = _Resampling(bootstrap, seed)
    ranking = {label: _ranking_metrics(recordings, i, resampling) for i, label in enumerate(labels)}
    recording = _figures(recordings, resampling)
    window = _figures(windows, resampling)
    if labels.positive_index is not None:
        recording = _merge(recording, ranking[labels[labels.positive_index]])
        window = _merge(window, _ranking_metrics(windows, labels.positive_index, resampling))
    shares = _label_metrics(truth, predicted, labels, recordings.counts, resampling)
    return {
        "schema": SCHEMA,
        "part": part,
        "n_recordings": len(predictions),
        "n_predicted": int(has_scores.sum()),
        "n_groups": len(names),
        "n_windows": int(sum(n_windows)),
        "labels": list(labels),
        **({} if labels.positive is None else {"positive": labels.positive}),
        **({"untested": [label for label in labels if label in untested]} if untested else {}),
        "recording": recording | {"ece_perfect": _perfect_ece(recordings, seed)},
        "window": window,
        "per_class": {label: _merge(shares[label], ranking[label]) for label in labels},
        "confusion": _confusion(truth, predicted, labels),
    }


@dataclass(frozen=True)
class LabelCounts:
    """How often each label is correctly predicted (``right``), ``true`` and predicted (``given``).

    Each is (n, n_labels + 1), for n groups or resamples; the last column is any other text. The labels with the indices
    ``untested`` have no figures.
    """

    right: Array
    true: Array
    given: Array
    untested: tuple[int, ...] = ()

    def resample(self, draws: Array) -> "LabelCounts":
        """Return the counts of resamples, one per row of ``draws`` (n_draws, n_groups): how often groups are drawn."""
        return LabelCounts(draws @ self.right, draws @ self.true, draws @ self.given, self.untested)

    @property
    def n(self) -> Array:
        """The number of predictions (n,)."""
        return np.asarray(self.true.sum(axis=1))

    def accuracy(self) -> Array:
        """Return the share of correct predictions (n,), NaN of none. Other texts than the labels are never correct."""
        return _ratio(self.right[:, :-1].sum(axis=1), self.n)

    def precision(self) -> Array:
        """Return the precision (n, n_labels), NaN for a label that is never predicted."""
        return self._tested(_ratio(self.right, self.given))

    def recall(self) -> Array:
        """Return the recall (n, n_labels), NaN for a label that is never true."""
        return self._tested(_ratio(self.right, self.true))

    def f1(self) -> Array:
        """Return the F1 score (n, n_labels), NaN for a label that is neither predicted nor true."""
        return self._tested(_ratio(2 * self.right, self.true + self.given))

    def _tested(self, figures: Array) -> Array:
        """Return the figures (n, n_labels), NaN for untested labels."""
        figures[:, list(self.untested)] = np.nan
        return figures[:, :-1]

    def macro_f1(self) -> Array:
        """Return the mean F1 (n,) over labels that are predicted or true, as in `sklearn.metrics.f1_score`."""
        f1 = self.f1()
        n_labels = np.isfinite(f1).sum(axis=1)
        return np.where(self.n > 0, np.nansum(f1, axis=1) / np.maximum(n_labels, 1), np.nan)


def count_labels(
    truth: Sequence[str], given: Sequence[str], group: NDArray[np.intp], labels: Labels, n_groups: int
) -> LabelCounts:
    """Count true and predicted labels by group; ``group`` (n,) are indices below ``n_groups``.

    >>> count_labels(["a", "b"], ["a", "a"], np.array([0, 0]), Labels(("a", "b")), 1).macro_f1().round(3).tolist()
    [0.333]
    """
    true, predicted = (labels.encode(names, unknown=len(labels)) for names in (truth, given))

    def count(which: NDArray[np.intp], of: NDArray[np.intp]) -> Array:
        cells = np.bincount(of * (len(labels) + 1) + which, minlength=n_groups * (len(labels) + 1))
        return cells.reshape(n_groups, -1).astype(np.float64)

    right = true == predicted
    return LabelCounts(count(true[right], group[right]), count(true, group), count(predicted, group))


@dataclass(frozen=True)
class SortedScores:
    """Scores in descending order: the group of each (n,), whether it is positive, and the last index of each tie."""

    group: NDArray[np.intp]
    is_positive: NDArray[np.bool_]
    ends: NDArray[np.intp]

    def figures(self, draws: Array) -> Array:
        """Return ROC AUC and average precision (n_draws, 2) for resamples ``draws`` (n_draws, n_groups).

        The definitions are those of `sklearn.metrics.roc_auc_score` and `average_precision_score`; NaN if only
        positives or only negatives are drawn. Integers below 2**24 are exact in float32.
        """
        weight = draws.astype(np.float32)[:, self.group]
        every = np.cumsum(weight, axis=1)[:, self.ends]
        weight *= self.is_positive
        positive = np.cumsum(weight, axis=1)[:, self.ends]
        gained = np.diff(positive, axis=1, prepend=np.float32(0))
        n_positive = positive[:, -1].astype(np.float64)
        n_other = every[:, -1] - n_positive
        precision = positive / np.maximum(every, 1)
        other = every - positive
        beaten = n_other.astype(np.float32)[:, None] - other + np.diff(other, axis=1, prepend=np.float32(0)) / 2
        with np.errstate(divide="ignore", invalid="ignore"):
            auc = np.einsum("ij,ij->i", gained, beaten, dtype=np.float64) / (n_positive * n_other)
            ap = np.einsum("ij,ij->i", gained, precision, dtype=np.float64) / n_positive
        both = (n_positive > 0) & (n_other > 0)
        return np.where(both[:, None], np.stack([auc, ap], axis=1), np.nan)


def sort_scores(score: Array, is_positive: NDArray[np.bool_], group: NDArray[np.intp]) -> SortedScores:
    """Sort scores (n,) for `SortedScores`.

    >>> ranked = sort_scores(np.array([0.9, 0.5, 0.1]), np.array([True, False, True]), np.array([0, 1, 2]))
    >>> ranked.figures(np.array([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]])).round(3).tolist()
    [[0.5, 0.833], [1.0, 1.0]]
    """
    order = np.argsort(-score, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))
    return SortedScores(group[order], is_positive[order], ends)


@dataclass(frozen=True)
class _Resampling:
    """The number of bootstrap resamples and the seed."""

    bootstrap: int
    seed: int

    def for_ranking(self, n_scores: int) -> "_Resampling":
        """Return fewer resamples, as each processes all scores."""
        fewest, most = _RANKING_RESAMPLES
        return _Resampling(min(self.bootstrap, max(fewest, min(most, _RANKING_VALUES // n_scores))), self.seed)

    def standard_errors(self, figures: Callable[[Array], Array], *, n_groups: int, width: int = 1) -> Array:
        return intervals.standard_errors(
            figures, n_groups=n_groups, bootstrap=self.bootstrap, seed=self.seed, width=width
        )


@dataclass(frozen=True)
class _Sample:
    """Recordings or windows: the label counts of each group, and the scores.

    ``scores`` (n, n_labels) and the indices ``target``, ``predicted`` and ``group`` (n,) are only of those with scores
    whose true label the model knows: for others, no score measures the error.
    """

    counts: LabelCounts
    scores: Array
    target: NDArray[np.intp]
    predicted: NDArray[np.intp]
    group: NDArray[np.intp]

    @property
    def n_groups(self) -> int:
        return len(self.counts.true)

    @property
    def n_scored(self) -> Array:
        """The number of scored items in each group (n_groups,)."""
        return _sum_by(self.group, self.n_groups)

    @property
    def score(self) -> Array:
        """The score (n,) of the predicted label."""
        return np.asarray(self.scores[np.arange(len(self.predicted)), self.predicted])

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether the prediction is correct (n,)."""
        return np.asarray(self.predicted == self.target)


def _sample(
    truth: Sequence[str],
    predicted: Sequence[str],
    group: NDArray[np.intp],
    labels: Labels,
    n_groups: int,
    *,
    has_scores: NDArray[np.bool_],
    scores: Array,
    untested: tuple[int, ...],
) -> _Sample:
    """Count labels and select scores; ``scores`` (n_scored, n_labels) are in the order of those that ``has_scores``."""
    target, predicted_index = (labels.encode(names, unknown=-1) for names in (truth, predicted))
    known = target >= 0
    return _Sample(
        counts=replace(count_labels(truth, predicted, group, labels, n_groups), untested=untested),
        scores=scores[known[has_scores]],
        target=target[has_scores & known],
        predicted=predicted_index[has_scores & known],
        group=group[has_scores & known],
    )


def _figures(sample: _Sample, resampling: _Resampling) -> dict[str, Any]:
    """Return accuracy, macro F1, log loss and calibration error, with their intervals."""
    total = sample.counts.resample(np.ones((1, sample.n_groups)))
    accuracy, macro_f1 = _finite(total.accuracy()[0]), _finite(total.macro_f1()[0])
    log_loss = ece = None
    if len(sample.target):
        scores = sample.scores / sample.scores.sum(axis=1, keepdims=True)  # those of windows are kept in float32
        log_loss = float(sklearn_metrics.log_loss(sample.target, scores, labels=list(range(scores.shape[1]))))
        ece = expected_calibration_error(sample.score, sample.right)
    losses, gaps, n_scored = _losses(sample), _gaps(sample), sample.n_scored

    def figures(draws: Array) -> Array:
        counts, n = sample.counts.resample(draws), draws @ n_scored
        with np.errstate(divide="ignore", invalid="ignore"):
            loss, of_bins = draws @ losses / n, draws @ gaps / n[:, None]
        columns = [counts.accuracy(), counts.macro_f1(), loss, np.abs(of_bins).sum(axis=1)]
        return np.concatenate([np.stack(columns, axis=1), of_bins], axis=1)

    errors = resampling.standard_errors(figures, n_groups=sample.n_groups)
    weights = sample.counts.n
    return {
        "accuracy": {"value": accuracy, "ci95": intervals.share_interval(accuracy, errors[0], weights)},
        "macro_f1": {"value": macro_f1, "ci95": intervals.share_interval(macro_f1, errors[1], weights)},
        "log_loss": log_loss,
        "ece": ece,
        "intervals": {
            "log_loss": intervals.loss_interval(log_loss, errors[2], n_scored),
            "ece": _ece_interval(ece, errors[3], errors[4:], n_scored),
        },
    }


def _ece_interval(ece: float | None, error: float, of_bins: Array, weights: Array) -> intervals.Ends:
    """Return the interval of a calibration error; chance in the bins, with standard errors ``of_bins``, increases it.

    The increase is 0 if scores are far off, and the mean absolute value of normal deviates if they are perfect. The
    lower end is reduced by the latter.
    """
    low, high = intervals.loss_interval(ece, error, weights)
    if low is None or high is None:
        return [low, high]
    excess = math.sqrt(2 / math.pi) * float(of_bins.sum())
    return [max(low - excess, 0.0), min(high, 1.0)]


def _losses(sample: _Sample) -> Array:
    """Return the sum over each group (n_groups,) of minus the logarithm of the score of the true label."""
    score = sample.scores[np.arange(len(sample.target)), sample.target]
    loss = -np.log(np.maximum(score, np.finfo(np.float64).eps))  # clipped as in sklearn.metrics.log_loss
    return _sum_by(sample.group, sample.n_groups, loss)


def _gaps(sample: _Sample) -> Array:
    """Return correct predictions minus scores, summed by group and bin (n_groups, n_bins); bins are not resampled."""
    number = bin_numbers(sample.score)
    n_bins = int(number.max(initial=0)) + 1
    cells = _sum_by(sample.group * n_bins + number, sample.n_groups * n_bins, sample.right - sample.score)
    return cells.reshape(sample.n_groups, n_bins)


def _perfect_ece(sample: _Sample, seed: int) -> dict[str, Any]:
    """Return the calibration error of a perfectly calibrated model with the same scores."""
    if not len(sample.target):
        return {"mean": None, "ci95": list(intervals.NO_ENDS)}
    errors = perfect_calibration(sample.score, seed=seed)
    return {"mean": float(errors.mean()), "ci95": np.percentile(errors, [2.5, 97.5]).tolist()}


def _label_metrics(
    truth: Sequence[str], predicted: Sequence[str], labels: Labels, counts: LabelCounts, resampling: _Resampling
) -> dict[str, dict[str, Any]]:
    """Return precision, recall and F1 of every label; intervals only where the label is predicted, true, or either."""
    figures = sklearn_metrics.precision_recall_fscore_support(
        list(truth), predicted, labels=list(labels), zero_division=0
    )
    weights = {"precision": counts.given, "recall": counts.true, "f1": counts.given + counts.true}

    def resampled(draws: Array) -> Array:
        drawn = counts.resample(draws)
        return np.concatenate([drawn.precision(), drawn.recall(), drawn.f1()], axis=1)

    errors = resampling.standard_errors(resampled, n_groups=len(counts.true), width=3 * len(labels))
    errors = errors.reshape(len(weights), len(labels))
    metrics = {}
    for i, label in enumerate(labels):
        known = i not in counts.untested
        values = {name: float(column[i]) if known else None for name, column in zip(weights, figures, strict=False)}
        ends = {
            name: intervals.share_interval(value, error[i], weights[name][:, i])
            for (name, value), error in zip(values.items(), errors, strict=True)
        }
        metrics[label] = {**values, "support": int(figures[3][i]), "intervals": ends}
    return metrics


def _ranking_metrics(sample: _Sample, column: int, resampling: _Resampling) -> dict[str, Any]:
    """Return ROC AUC and average precision of one label against the others; None if only one of the two occurs."""
    is_positive, score = sample.target == column, sample.scores[:, column]
    if not is_positive.any() or is_positive.all():
        none = {name: list(intervals.NO_ENDS) for name in _RANKING_METRICS}
        return {**dict.fromkeys(_RANKING_METRICS), "intervals": none}
    values = (
        float(sklearn_metrics.roc_auc_score(is_positive, score)),
        float(sklearn_metrics.average_precision_score(is_positive, score)),
    )
    ranked = sort_scores(score, is_positive, sample.group)
    errors = resampling.for_ranking(sample.scores.size).standard_errors(
        ranked.figures, n_groups=sample.n_groups, width=2 * len(score)
    )
    both = (_sum_by(sample.group[side], sample.n_groups) for side in (is_positive, ~is_positive))
    weights = min(both, key=intervals.effective_groups)  # the side with fewer groups limits the precision
    return {
        **dict(zip(_RANKING_METRICS, values, strict=True)),
        "intervals": {
            name: intervals.share_interval(value, error, weights)
            for name, value, error in zip(_RANKING_METRICS, values, errors, strict=True)
        },
    }


def _confusion(truth: Sequence[str], predicted: Sequence[str], labels: Labels) -> list[list[int]]:
    """Return the confusion matrix: a row per true label, a column per predicted label."""
    if not set(truth) & set(labels):
        return np.zeros((len(labels), len(labels)), int).tolist()
    matrix: list[list[int]] = sklearn_metrics.confusion_matrix(list(truth), predicted, labels=list(labels)).tolist()
    return matrix


def _ratio(part: Array, whole: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(whole > 0, part / whole, np.nan))


def _sum_by(number: NDArray[np.intp], n: int, values: Array | None = None) -> Array:
    """Return the sums (n,) of ``values``, by default 1, by ``number``."""
    return np.bincount(number, values, minlength=n).astype(np.float64)


def _merge(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Merge two dictionaries of figures, and their ``intervals``."""
    return {**one, **other, "intervals": {**one["intervals"], **other["intervals"]}}


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
