"""The confusion matrix and the drawings of an evaluation: training, reliability, leak gap, prediction sets."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from audiocnn.draw import charts, svg
from audiocnn.evaluation.calibration import calibration_bins
from audiocnn.report.evaluation.content import Evaluation
from audiocnn.wording import count, percent

OTHER, NO_PREDICTION = "(other labels)", "(no prediction)"
MOST_LABELS = 50  # of a matrix that can still be read; those with most errors are shown
_NO_PREDICTION_INDEX = -1  # as in `audiocnn.report.evaluation.page_data`


@dataclass(frozen=True)
class MatrixCell:
    """``n`` recordings, ``share`` of their row; the script finds them by the label indices ``truth``, ``predicted``."""

    truth: int
    predicted: int
    n: int
    share: float
    name: str

    @property
    def right(self) -> bool:
        return self.truth == self.predicted


@dataclass(frozen=True)
class MatrixRow:
    """The recordings of one true label."""

    label: str
    n: int
    cells: Sequence[MatrixCell]


@dataclass(frozen=True)
class Matrix:
    """Rows, and the labels of the columns; ``n_left_out`` labels are not shown."""

    columns: Sequence[str]
    rows: Sequence[MatrixRow]
    n_left_out: int


def confusion_matrix(evaluation: Evaluation) -> Matrix:
    """Count recordings by true and predicted label.

    If there are any, recordings without a prediction have a column, and labels that the model lacks share a row.
    """
    labels = evaluation.labels
    other = len(labels)  # the row of labels that the model lacks
    truth = labels.encode(evaluation.truth, unknown=other).tolist()
    predicted = labels.encode((p.label for p in evaluation.predictions), unknown=_NO_PREDICTION_INDEX).tolist()
    counts = Counter(zip(truth, predicted, strict=True))
    shown = _shown_labels(counts, len(labels))
    truths = [*shown, *([other] if any(truth == other for truth, _ in counts) else [])]
    columns = [*shown, *([_NO_PREDICTION_INDEX] if any(j == _NO_PREDICTION_INDEX for _, j in counts) else [])]
    names = dict(enumerate(labels)) | {other: OTHER, _NO_PREDICTION_INDEX: NO_PREDICTION}
    totals = Counter[int]()
    for (truth, _), n in counts.items():
        totals[truth] += n
    return Matrix(
        columns=[names[j] for j in columns],
        rows=[
            MatrixRow(names[i], totals[i], [_matrix_cell(names, i, j, counts[i, j], totals[i]) for j in columns])
            for i in truths
        ],
        n_left_out=len(labels) - len(shown),
    )


def _shown_labels(counts: Counter[tuple[int, int]], n_labels: int) -> list[int]:
    """Return the indices of the labels with most errors, in the order of the labels."""
    mistakes = Counter[int]()
    for (truth, predicted), n in counts.items():
        if truth != predicted:
            mistakes.update({truth: n, predicted: n})
    by_mistakes = sorted(range(n_labels), key=lambda i: (-mistakes[i], i))
    return sorted(by_mistakes[:MOST_LABELS])


def _matrix_cell(names: dict[int, str], truth: int, predicted: int, n: int, total: int) -> MatrixCell:
    how = "without a prediction" if predicted == _NO_PREDICTION_INDEX else f"predicted as {names[predicted]}"
    name = f"{names[truth]} {how}: {count(n, 'recording')}".replace("\N{NO-BREAK SPACE}", " ")
    return MatrixCell(truth, predicted, n, n / total if total else 0.0, name)


def draw_training_curves(evaluation: Evaluation) -> list[tuple[str, Markup]]:
    """Draw loss and accuracy by epoch, as far as the history has them, each with its title."""
    drawn = []
    for key, title, high, label in (
        ("loss", "Loss", None, "{:g}".format),
        ("accuracy", "Window accuracy", 1.0, _whole_percent),
    ):
        lines = [
            charts.Line(name, points, paint, dashed)
            for name, column, paint, dashed in (
                ("training", key, svg.MUTED, True),
                ("validation", f"val_{key}", svg.BLUE, False),
            )
            if (points := [(float(row["epoch"]), float(row[column])) for row in evaluation.history if column in row])
        ]
        if lines:
            drawn.append((title, _curves(evaluation, lines, title, high, label)))
    return drawn


def _curves(
    evaluation: Evaluation, lines: list[charts.Line], title: str, high: float | None, label: Callable[[float], str]
) -> Markup:
    kept = evaluation.best_epoch
    last = ", ".join(f"{line.name} {line.points[-1][1]:.3g}" for line in lines)
    return charts.draw_curves(
        lines,
        title=f"{title} by epoch",
        description=f"{title} over {len(evaluation.history)} epochs; at the last epoch: {last}."
        + (f" The weights of epoch {kept} were kept." if kept is not None else ""),
        x_name="epoch",
        y_label=label,
        y_high=high,
        mark=kept,
        mark_name=f"epoch {kept} kept",
    )


def draw_reliability(evaluation: Evaluation) -> Markup | None:
    """Draw the reliability diagram; None if nothing was scored."""
    pairs = [
        (prediction.score or 0.0, prediction.label == truth)
        for prediction, truth in zip(evaluation.predictions, evaluation.truth, strict=True)
        if prediction.has_scores and truth in evaluation.labels
    ]
    if not pairs:
        return None
    score, right = (np.array(column, float) for column in zip(*pairs, strict=True))
    bins = [
        charts.ReliabilityBin(b.low, b.high, b.n, b.mean_score, b.share_right) for b in calibration_bins(score, right)
    ]
    listed = "; ".join(f"score {b.low:.2f} to {b.high:.2f}: {percent(b.accuracy)} of {b.n} correct" for b in bins)
    return charts.draw_reliability(
        bins, title="Reliability diagram", description=f"Share that is correct by score: {listed}."
    )


def draw_leak_gap(evaluation: Evaluation) -> Markup | None:
    """Draw window accuracy with groups kept apart and with a random split of windows; None if not studied."""
    block = evaluation.metrics.get("leak_gap")
    if block is None:
        return None
    accuracy = block["window_accuracy"]
    shown = [
        charts.Bar("groups kept apart, as here", accuracy["grouped"], percent(accuracy["grouped"]), svg.BLUE),
        charts.Bar("random split of windows", accuracy["random"], percent(accuracy["random"]), svg.ORANGE),
    ]
    listed = "; ".join(f"{bar.name}: {bar.written}" for bar in shown)
    return charts.draw_bars(shown, title="Window accuracy with and without leaks", description=f"{listed}.")


def draw_set_sizes(evaluation: Evaluation) -> Markup | None:
    """Draw how many recordings have a prediction set of each size; None if the model has no sets."""
    block = evaluation.metrics.get("conformal")
    if block is None:
        return None
    total = sum(block["sizes"].values()) or 1
    shown = [
        charts.Bar(count(int(size), "label"), n / total, count(n, "recording"), svg.BLUE)
        for size, n in sorted(block["sizes"].items(), key=lambda item: int(item[0]))
    ]
    listed = "; ".join(f"{bar.name}: {bar.written}" for bar in shown)
    return charts.draw_bars(shown, title="Sizes of the prediction sets", description=f"{listed}.")


def draw_learning_curve(evaluation: Evaluation) -> Markup | None:
    """Draw accuracy by number of training recordings, with its extrapolation; None if not studied."""
    block = evaluation.metrics.get("learning_curve")
    if block is None or not block["points"]:
        return None
    measured = _accuracies(block["points"])
    lines = [_line("measured", measured, svg.BLUE, dashed=False)]
    if block.get("fit"):
        lines.append(_line("expected", [measured[-1], *_accuracies(block["fit"]["at"])], svg.MUTED, dashed=True))
    listed = "; ".join(f"{n:g} recordings: {percent(value)}" for line in lines for n, value in line.points)
    return charts.draw_curves(
        lines,
        title="Accuracy by number of training recordings",
        description=f"{listed}.",
        x_name="training recordings",
        y_label=_whole_percent,
        y_high=1.0,
    )


def _accuracies(points: list[dict[str, Any]]) -> list[tuple[int, dict[str, Any]]]:
    return [(point["n_recordings"], point["accuracy"]) for point in points]


def _line(name: str, points: list[tuple[int, dict[str, Any]]], paint: str, *, dashed: bool) -> charts.Line:
    return charts.Line(
        name,
        [(float(n), accuracy["value"]) for n, accuracy in points],
        paint,
        dashed,
        ends=[None if None in accuracy["ci95"] else tuple(accuracy["ci95"]) for _, accuracy in points],
    )


def _whole_percent(share: float) -> str:
    return f"{100 * share:.0f} %"
