"""Figures about predictions, with intervals that resample whole groups; docs/figures.md defines each of them.

scikit-learn computes the figures. How far they would move comes from what each group adds to them (counts, losses,
ranks), so that thousands of resamples are a few matrix products.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiocnn.errors import needs_extra
from audiocnn.evaluation import intervals
from audiocnn.evaluation.calibration import bin_numbers, expected_calibration_error, perfect_calibration
from audiocnn.inference.prediction import RecordingPrediction
from audiocnn.labels import Labels


@dataclass(frozen=True)
class SortedScores:
    """Scores from the highest to the lowest: the group of each (n,), whether it is positive, and where ties end."""

    group: NDArray[np.intp]
    is_positive: NDArray[np.bool_]
    ends: NDArray[np.intp]

    def figures(self, draws: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return ROC AUC and average precision (n_draws, 2) for groups counted as ``draws`` (n_draws, n_groups) says.

        The definitions of `sklearn.metrics.roc_auc_score` and `average_precision_score`; NaN where only positives or
        only others are drawn. Whole numbers below 2**24 are exact in float32.
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


def sort_scores(score: NDArray[np.float64], is_positive: NDArray[np.bool_], group: NDArray[np.intp]) -> SortedScores:
    """Sort scores (n,) for `SortedScores`.

    >>> ranked = sort_scores(np.array([0.9, 0.5, 0.1]), np.array([True, False, True]), np.array([0, 1, 2]))
    >>> ranked.figures(np.array([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]])).round(3).tolist()
    [[0.5, 0.833], [1.0, 1.0]]
    """
    order = np.argsort(-score, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))
    return SortedScores(group[order], is_positive[order], ends)


Array = NDArray[np.float64]


@dataclass(frozen=True)
class LabelCounts:
    """``right``, ``true`` and ``given`` are (n, n_labels + 1), n groups or resamples; the last is any other text."""

    right: Array
    true: Array
    given: Array

    def of(self, draws: Array) -> "LabelCounts":
        """Return the counts when groups count as often as ``draws`` (n_draws, n_groups) says, a row a draw."""
        return LabelCounts(draws @ self.right, draws @ self.true, draws @ self.given)

    @property
    def asked(self) -> Array:
        """How many there are (n,)."""
        return np.asarray(self.true.sum(axis=1))

    def accuracy(self) -> Array:
        """Share of all that is right (n,); NaN of none. What is not one of the labels is never right."""
        return _ratio(self.right[:, :-1].sum(axis=1), self.asked)

    def precision(self) -> Array:
        """(n, n_labels), NaN for a label that is never given."""
        return _ratio(self.right, self.given)[:, :-1]

    def recall(self) -> Array:
        """(n, n_labels), NaN for a label that is never true."""
        return _ratio(self.right, self.true)[:, :-1]

    def f1(self) -> Array:
        """(n, n_labels), NaN for a label that is neither given nor true."""
        return _ratio(2 * self.right, self.true + self.given)[:, :-1]

    def macro_f1(self) -> Array:
        """Mean F1 (n,) over the labels that are given or true, as `sklearn.metrics.f1_score` has it; NaN of none."""
        f1 = self.f1()
        n = np.isfinite(f1).sum(axis=1)
        return np.where(self.asked > 0, np.nansum(f1, axis=1) / np.maximum(n, 1), np.nan)


def count_labels(
    truth: Sequence[str], given: Sequence[str], group: NDArray[np.intp], labels: Labels, n_groups: int
) -> LabelCounts:
    """Count by group, ``group`` (n,) being numbers below ``n_groups``.

    >>> count_labels(["a", "b"], ["a", "a"], np.array([0, 0]), Labels(("a", "b")), 1).macro_f1().round(3).tolist()
    [0.333]
    """
    true, said = (labels.encode(names, unknown=len(labels)) for names in (truth, given))

    def counted(which: NDArray[np.intp], of: NDArray[np.intp]) -> Array:
        cells = np.bincount(of * (len(labels) + 1) + which, minlength=n_groups * (len(labels) + 1))
        return cells.reshape(n_groups, -1).astype(np.float64)

    right = true == said
    return LabelCounts(counted(true[right], group[right]), counted(true, group), counted(said, group))


def _ratio(part: Array, whole: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(whole > 0, part / whole, np.nan))


with needs_extra("train"):
    from sklearn import metrics as sk

SCHEMA = "audiocnn.metrics/1"
_RANKED = ("roc_auc", "average_precision")
_RANK_RESAMPLES = (100, 500)  # ranks cost the most, and 500 resamples give a standard error to 3 %
_RANK_VALUES = 200_000_000  # scores to go through for all labels and resamples, before resamples are fewer


def compute_metrics(
    predictions: Sequence[RecordingPrediction],
    truth: Sequence[str],
    groups: Sequence[str],
    *,
    part: str,
    labels: Labels,
    bootstrap: int,
    seed: int,
) -> dict[str, Any]:
    """Return ``metrics.json``: figures for recordings and windows, per class, and the confusion matrix.

    A recording without a prediction counts as wrong in the recording figures and has no windows. ``ci95`` and
    ``intervals`` come from ``bootstrap`` resamples of groups, those of ROC AUC and average precision from 500 at most.
    A figure that the data do not define (one class only, an interval over one group) is None.
    """
    names, group = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
    heard = np.array([p.has_scores for p in predictions], bool)
    predicted = [p.label for p in predictions]
    n_windows = [len(p.window_scores) for p in predictions]
    recordings = _asked(
        truth, predicted, group, labels, len(names),
        heard=heard,
        scores=np.array([p.scores for p in predictions if p.has_scores]).reshape(-1, len(labels)),
    )  # fmt: skip
    windows = _asked(
        list(np.repeat(np.asarray(truth, dtype=object), n_windows)),
        [label for p in predictions for label in p.window_labels()],
        np.repeat(group, n_windows), labels, len(names),
        heard=np.ones(sum(n_windows), bool),
        scores=np.concatenate([p.window_scores for p in predictions if p.has_scores] or [np.zeros((0, len(labels)))]),
    )  # fmt: skip
    chances = _Chances(bootstrap, seed)
    ranked = {label: _ranks(recordings, i, chances) for i, label in enumerate(labels)}
    recording = _figures(recordings, chances)
    window = _figures(windows, chances)
    if labels.positive_index is not None:
        recording = _joined(recording, ranked[labels[labels.positive_index]])
        window = _joined(window, _ranks(windows, labels.positive_index, chances))
    shares = _per_class(truth, predicted, labels, recordings.counts, chances)
    return {
        "schema": SCHEMA,
        "part": part,
        "n_recordings": len(predictions),
        "n_predicted": int(heard.sum()),
        "n_groups": len(names),
        "n_windows": int(sum(n_windows)),
        "labels": list(labels),
        **({} if labels.positive is None else {"positive": labels.positive}),
        "recording": recording | {"ece_perfect": _perfect(recordings, seed)},
        "window": window,
        "per_class": {label: _joined(shares[label], ranked[label]) for label in labels},
        "confusion": sk.confusion_matrix(list(truth), predicted, labels=list(labels)).tolist()
        if set(truth) & set(labels)
        else np.zeros((len(labels), len(labels)), int).tolist(),
    }


@dataclass(frozen=True)
class _Chances:
    """How often groups are drawn anew."""

    bootstrap: int
    seed: int

    def of_ranks(self, n_scores: int) -> "_Chances":
        """Fewer, as each goes through all scores."""
        fewest, most = _RANK_RESAMPLES
        return _Chances(min(self.bootstrap, max(fewest, min(most, _RANK_VALUES // n_scores))), self.seed)

    def standard_errors(self, figures: Callable[[Array], Array], *, n_groups: int, width: int = 1) -> Array:
        return intervals.standard_errors(
            figures, n_groups=n_groups, bootstrap=self.bootstrap, seed=self.seed, width=width
        )


@dataclass(frozen=True)
class _Asked:
    """Recordings or windows: how often each label is given and true in each group, and what has scores.

    ``scores`` (n, n_labels) and ``target``, ``said``, ``group`` (n,), numbers of labels and groups, are of those that
    were heard and whose truth the model knows: of others no score says how wrong it is.
    """

    counts: LabelCounts
    scores: Array
    target: NDArray[np.intp]
    said: NDArray[np.intp]
    group: NDArray[np.intp]

    @property
    def n_groups(self) -> int:
        return len(self.counts.true)

    @property
    def scored(self) -> Array:
        """How many of each group (n_groups,) have scores."""
        return _totals(self.group, self.n_groups)

    @property
    def score(self) -> Array:
        """The score (n,) of what is said."""
        return np.asarray(self.scores[np.arange(len(self.said)), self.said])

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether what is said is true (n,)."""
        return np.asarray(self.said == self.target)


def _asked(
    truth: Sequence[str],
    predicted: Sequence[str],
    group: NDArray[np.intp],
    labels: Labels,
    n_groups: int,
    *,
    heard: NDArray[np.bool_],
    scores: Array,
) -> _Asked:
    """Count, and keep what has scores; ``scores`` (n_heard, n_labels) are those of ``heard`` (n,) in their order."""
    target, said = (labels.encode(given, unknown=-1) for given in (truth, predicted))
    known = target >= 0
    return _Asked(
        counts=count_labels(truth, predicted, group, labels, n_groups),
        scores=scores[known[heard]],
        target=target[heard & known],
        said=said[heard & known],
        group=group[heard & known],
    )


def _figures(asked: _Asked, chances: _Chances) -> dict[str, Any]:
    """Accuracy, macro F1, log loss and calibration error, with their intervals."""
    every = asked.counts.of(np.ones((1, asked.n_groups)))
    accuracy, macro_f1 = _number(every.accuracy()[0]), _number(every.macro_f1()[0])
    log_loss = ece = None
    if len(asked.target):
        scores = asked.scores / asked.scores.sum(axis=1, keepdims=True)  # of windows they are kept in float32
        log_loss = float(sk.log_loss(asked.target, scores, labels=list(range(scores.shape[1]))))
        ece = expected_calibration_error(asked.score, asked.right)
    losses, gaps, scored = _losses(asked), _gaps(asked), asked.scored

    def resampled(draws: Array) -> Array:
        drawn, n = asked.counts.of(draws), draws @ scored
        with np.errstate(divide="ignore", invalid="ignore"):
            loss, of_bins = draws @ losses / n, draws @ gaps / n[:, None]
        figures = [drawn.accuracy(), drawn.macro_f1(), loss, np.abs(of_bins).sum(axis=1)]
        return np.concatenate([np.stack(figures, axis=1), of_bins], axis=1)

    errors = chances.standard_errors(resampled, n_groups=asked.n_groups)
    weights = asked.counts.asked
    return {
        "accuracy": {"value": accuracy, "ci95": intervals.share_interval(accuracy, errors[0], weights)},
        "macro_f1": {"value": macro_f1, "ci95": intervals.share_interval(macro_f1, errors[1], weights)},
        "log_loss": log_loss,
        "ece": ece,
        "intervals": {
            "log_loss": intervals.loss_interval(log_loss, errors[2], scored),
            "ece": _ece_ends(ece, errors[3], errors[4:], scored),
        },
    }


def _ece_ends(ece: float | None, error: float, of_bins: Array, weights: Array) -> intervals.Ends:
    """The ends for a calibration error, which chance in the bins, with standard errors ``of_bins``, makes larger.

    By nothing if scores are far off, by the mean distance of normal deviates from 0 if they are perfect: the lower end
    takes off the latter.
    """
    low, high = intervals.loss_interval(ece, error, weights)
    if low is None or high is None:
        return [low, high]
    excess = math.sqrt(2 / math.pi) * float(of_bins.sum())
    return [max(low - excess, 0.0), min(high, 1.0)]


def _losses(asked: _Asked) -> Array:
    """The sum over each group (n_groups,) of minus the logarithm of the score of the truth."""
    score = asked.scores[np.arange(len(asked.target)), asked.target]
    loss = -np.log(np.maximum(score, np.finfo(np.float64).eps))  # as sklearn.metrics.log_loss has it
    return _totals(asked.group, asked.n_groups, loss)


def _gaps(asked: _Asked) -> Array:
    """How many more of each group and bin (n_groups, n_bins) are right than the scores say; bins stay what they are."""
    number = bin_numbers(asked.score)
    n_bins = int(number.max(initial=0)) + 1
    cells = _totals(asked.group * n_bins + number, asked.n_groups * n_bins, asked.right - asked.score)
    return cells.reshape(asked.n_groups, n_bins)


def _perfect(asked: _Asked, seed: int) -> dict[str, Any]:
    """The calibration error that a perfectly calibrated model with these very scores would get."""
    if not len(asked.target):
        return {"mean": None, "ci95": list(intervals.NO_ENDS)}
    errors = perfect_calibration(asked.score, seed=seed)
    return {"mean": float(errors.mean()), "ci95": np.percentile(errors, [2.5, 97.5]).tolist()}


def _per_class(
    truth: Sequence[str], predicted: Sequence[str], labels: Sequence[str], counted: LabelCounts, chances: _Chances
) -> dict[str, dict[str, Any]]:
    """Precision, recall and F1 of every label; an interval only where the label is given, true, or either."""
    figures = sk.precision_recall_fscore_support(list(truth), predicted, labels=list(labels), zero_division=0)
    weights = {"precision": counted.given, "recall": counted.true, "f1": counted.given + counted.true}

    def resampled(draws: Array) -> Array:
        drawn = counted.of(draws)
        return np.concatenate([drawn.precision(), drawn.recall(), drawn.f1()], axis=1)

    errors = chances.standard_errors(resampled, n_groups=len(counted.true), width=3 * len(labels))
    errors = errors.reshape(len(weights), len(labels))
    found = {}
    for i, label in enumerate(labels):
        values = {name: float(column[i]) for name, column in zip(weights, figures, strict=False)}
        ends = {
            name: intervals.share_interval(values[name], error[i], weight[:, i])
            for (name, weight), error in zip(weights.items(), errors, strict=True)
        }
        found[label] = {**values, "support": int(figures[3][i]), "intervals": ends}
    return found


def _ranks(asked: _Asked, column: int, chances: _Chances) -> dict[str, Any]:
    """ROC AUC and average precision of one label against the rest; None where one of the two does not occur."""
    is_positive, score = asked.target == column, asked.scores[:, column]
    if not is_positive.any() or is_positive.all():
        return {**dict.fromkeys(_RANKED), "intervals": {name: list(intervals.NO_ENDS) for name in _RANKED}}
    values = (float(sk.roc_auc_score(is_positive, score)), float(sk.average_precision_score(is_positive, score)))
    ranked = sort_scores(score, is_positive, asked.group)
    errors = chances.of_ranks(asked.scores.size).standard_errors(
        ranked.figures, n_groups=asked.n_groups, width=2 * len(score)
    )
    both = (_totals(asked.group[side], asked.n_groups) for side in (is_positive, ~is_positive))
    weights = min(both, key=intervals.effective_groups)  # what is in fewer groups limits what is known
    return {
        **dict(zip(_RANKED, values, strict=True)),
        "intervals": {
            name: intervals.share_interval(value, error, weights)
            for name, value, error in zip(_RANKED, values, errors, strict=True)
        },
    }


def _totals(number: NDArray[np.intp], n: int, values: Array | None = None) -> Array:
    """The sum (n,) of ``values`` (1 if not given) by ``number``."""
    return np.bincount(number, values, minlength=n).astype(np.float64)


def _joined(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """The figures of both, and the intervals of both."""
    return {**one, **other, "intervals": {**one["intervals"], **other["intervals"]}}


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
