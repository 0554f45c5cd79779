"""Figures of each label, and its precision-recall and ROC curves against all other labels."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from audiocnn.draw import charts
from audiocnn.errors import needs_extra
from audiocnn.report.evaluation.content import Evaluation
from audiocnn.wording import decimal, interval, percent, percentage_points

_VERTICES = 150  # of a ROC curve; more are not visible in so small a chart
_LEVELS = 50  # of recall in a precision-recall curve


@dataclass(frozen=True)
class LabelFigure:
    """``value`` is None if the data do not define it, ``ends`` is empty if there is no interval."""

    value: float | None
    written: str
    ends: str


@dataclass(frozen=True)
class LabelRow:
    """The figures of one label, by name; not ``tested`` if it was only learned from.

    Curves are None unless there are recordings with and without the label.
    """

    number: int
    label: str
    support: int
    tested: bool
    figures: Mapping[str, LabelFigure]
    precision_recall: Markup | None
    roc: Markup | None

    @property
    def n_bytes(self) -> int:
        """Size of the curves."""
        return len(self.precision_recall or "") + len(self.roc or "")


_WRITTEN = {
    "precision": percent,
    "recall": percent,
    "f1": decimal,
    "average_precision": decimal,
    "roc_auc": decimal,
}


def label_rows(evaluation: Evaluation) -> list[LabelRow]:
    """Return one row a label, in the order of the labels."""
    scored = [i for i, p in enumerate(evaluation.predictions) if p.has_scores]
    scores = np.array([evaluation.predictions[i].scores for i in scored]).reshape(len(scored), len(evaluation.labels))
    truth = np.array([evaluation.truth[i] for i in scored], dtype=object)
    found = []
    for i, label in enumerate(evaluation.labels):
        row = evaluation.metrics["per_class"][label]
        n_missing = row["support"] - int((truth == label).sum())
        curves = _curves(label, truth == label, scores[:, i], n_missing)
        tested = label not in evaluation.metrics.get("untested", ())
        found.append(LabelRow(i, label, row["support"], tested, _figures(row), *curves))
    return found


def collection_rows(evaluation: Evaluation) -> list[tuple[str, int, int, LabelFigure]]:
    """Return one row a collection: its name, number of recordings and of groups, and recording accuracy."""
    return [
        (
            name,
            one["n_recordings"],
            one["n_groups"],
            _figure(one["accuracy"]["value"], one["accuracy"]["ci95"], percent),
        )
        for name, one in evaluation.metrics.get("collections", {}).items()
    ]


def member_rows(evaluation: Evaluation) -> list[tuple[str, str, LabelFigure, LabelFigure]]:
    """Return one row a member of the model: name, weight, recording accuracy alone, and that of all less its own."""
    return [
        (
            name,
            f"{one['weight']:.2f}",
            _figure(one["accuracy"]["value"], one["accuracy"]["ci95"], percent),
            _figure(one["difference"]["value"], one["difference"]["ci95"], _points),
        )
        for name, one in evaluation.metrics.get("members", {}).items()
    ]


def _points(difference: float | None) -> str:
    return "-" if difference is None else percentage_points(difference)


def _figures(row: Mapping[str, Any]) -> dict[str, LabelFigure]:
    found = {}
    for name, written in _WRITTEN.items():
        if name in row:
            found[name] = _figure(row[name], row.get("intervals", {}).get(name) or (None, None), written)
    return found


def _figure(value: float | None, ci95: Sequence[float | None], written: Callable[[float | None], str]) -> LabelFigure:
    low, high = ci95
    ends = "" if low == high else interval((low, high), written)  # all resamples agree: no interval
    return LabelFigure(value, written(value), ends)


def _curves(
    label: str, is_label: NDArray[np.bool_], score: NDArray[np.float64], n_missing: int
) -> tuple[Markup | None, Markup | None]:
    """Draw the precision-recall and the ROC curve; ``n_missing`` recordings of the label have no prediction."""
    with needs_extra("train"):
        from sklearn.metrics import precision_recall_curve, roc_curve

    n = int(is_label.sum())
    if not 0 < n < len(is_label):
        return None, None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        precision, recall, _ = precision_recall_curve(is_label, score)
        false_rate, true_rate, _ = roc_curve(is_label, score)
    found = n / (n + n_missing)  # recordings without a prediction are missed at every threshold
    steps = _steps(recall[::-1] * found, precision[::-1])
    share = n / len(is_label)
    return (
        charts.draw_square(
            steps,
            guess=[(0, share), (1, share)],
            title=f"Precision and recall of {label}",
            description=f"Precision over recall for all thresholds; {_at_half_recall(precision, recall)} "
            f"Guessing gives a precision of {percent(share)}.",
            x_name="recall",
            y_name="precision",
        ),
        charts.draw_square(
            _thinned(list(zip(false_rate.tolist(), true_rate.tolist(), strict=True))),
            guess=[(0, 0), (1, 1)],
            title=f"ROC curve of {label}",
            description="The share of its recordings that is found, over the share of all others that is falsely "
            "predicted as it, for all thresholds. Guessing gives the diagonal.",
            x_name="false alarms",
            y_name="found",
        ),
    )


def _steps(recall: NDArray[np.float64], precision: NDArray[np.float64]) -> list[tuple[float, float]]:
    """Return the step curve whose area is the average precision; ``recall`` (n,) rises.

    Each recall is drawn with the first precision at which it is reached; false alarms lower it before the next recall.
    """
    begins = np.flatnonzero(np.diff(recall, prepend=-1.0) > 0)
    ends = np.append(begins[1:], len(recall)) - 1
    if len(begins) > _LEVELS:
        kept = np.linspace(0, len(begins) - 1, _LEVELS).round().astype(int)
        begins, ends = begins[kept], ends[kept]
    points, before = [], 0.0
    for first, last in zip(begins, ends, strict=True):
        if recall[first] > 0:
            points += [(before, precision[first]), (recall[first], precision[first]), (recall[last], precision[last])]
        before = recall[first]
    return [(float(r), float(p)) for r, p in points]


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return at most `_VERTICES` of the points, with both ends and without repeated points."""
    if len(points) > _VERTICES:
        points = [points[i] for i in np.linspace(0, len(points) - 1, _VERTICES).round().astype(int)]
    return [point for i, point in enumerate(points) if not i or point != points[i - 1]]


def _at_half_recall(precision: NDArray[np.float64], recall: NDArray[np.float64]) -> str:
    half = float(precision[recall >= 0.5].max())
    return f"where at least half of the recordings are found, the precision is up to {percent(half)}."
