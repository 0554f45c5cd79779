"""The drawings of an evaluation: training and learning curves, reliability, the leak gap, sets of labels."""

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

OTHER, NOT_HEARD = "(other labels)", "(not heard)"
MOST_LABELS = 50  # with more a matrix says nothing: those with most mistakes are shown
_NOT_HEARD_NUMBER = -1  # as `audiocnn.report.evaluation.page_data` has it


@dataclass(frozen=True)
class MatrixCell:
    """``n`` recordings, ``share`` of their row; by the numbers ``truth`` and ``said`` the script finds them."""

    truth: int
    said: int
    n: int
    share: float
    name: str

    @property
    def right(self) -> bool:
        return self.truth == self.said


@dataclass(frozen=True)
class MatrixRow:
    """The recordings of one true label."""

    label: str
    n: int
    cells: Sequence[MatrixCell]


@dataclass(frozen=True)
class Matrix:
    """Rows, and the labels of their columns; ``n_left_out`` labels are not among them."""

    columns: Sequence[str]
    rows: Sequence[MatrixRow]
    n_left_out: int


def confusion_matrix(evaluation: Evaluation) -> Matrix:
    """Count, with a column for what was not heard and a row for labels that the model lacks, if there are any."""
    labels = evaluation.labels
    other = len(labels)  # all labels that the model lacks in one row
    truth = labels.encode(evaluation.truth, unknown=other).tolist()
    predicted = labels.encode((p.label for p in evaluation.predictions), unknown=_NOT_HEARD_NUMBER).tolist()
    counts = Counter(zip(truth, predicted, strict=True))
    shown = _shown_labels(counts, len(labels))
    truths = [*shown, *([other] if any(truth == other for truth, _ in counts) else [])]
    said = [*shown, *([_NOT_HEARD_NUMBER] if any(said == _NOT_HEARD_NUMBER for _, said in counts) else [])]
    names = dict(enumerate(labels)) | {other: OTHER, _NOT_HEARD_NUMBER: NOT_HEARD}
    totals = Counter[int]()
    for (truth, _), n in counts.items():
        totals[truth] += n
    return Matrix(
        columns=[names[j] for j in said],
        rows=[
            MatrixRow(names[i], totals[i], [_matrix_cell(names, i, j, counts[i, j], totals[i]) for j in said])
            for i in truths
        ],
        n_left_out=len(labels) - len(shown),
    )


def _shown_labels(counts: Counter[tuple[int, int]], n_labels: int) -> list[int]:
    """The numbers of the labels that take part in most mistakes, in their order."""
    mistakes = Counter[int]()
    for (truth, said), n in counts.items():
        if truth != said:
            mistakes.update({truth: n, said: n})
    by_mistakes = sorted(range(n_labels), key=lambda i: (-mistakes[i], i))
    return sorted(by_mistakes[:MOST_LABELS])


def _matrix_cell(names: dict[int, str], truth: int, said: int, n: int, total: int) -> MatrixCell:
    how = "not heard" if said == _NOT_HEARD_NUMBER else f"taken for {names[said]}"
    name = f"{names[truth]} {how}: {count(n, 'recording')}".replace("\N{NO-BREAK SPACE}", " ")
    return MatrixCell(truth, said, n, n / total if total else 0.0, name)


def draw_training_curves(evaluation: Evaluation) -> list[tuple[str, Markup]]:
    """Draw loss and accuracy over the epochs, those that the history holds, each with its title."""
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
    """Draw how often the model was right at every height of its score; None if nothing was scored."""
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
    said = "; ".join(f"score {b.low:.2f} to {b.high:.2f}: {percent(b.accuracy)} of {b.n} right" for b in bins)
    return charts.draw_reliability(
        bins, title="Reliability diagram", description=f"Share that was right by score: {said}."
    )


def draw_leak_gap(evaluation: Evaluation) -> Markup | None:
    """Draw window accuracy as tested beside what windows dealt at random would have claimed; None if not known."""
    block = evaluation.metrics.get("leak_gap")
    if block is None:
        return None
    accuracy = block["window_accuracy"]
    shown = [
        charts.Bar("groups kept apart, as here", accuracy["grouped"], percent(accuracy["grouped"]), svg.BLUE),
        charts.Bar("windows dealt at random", accuracy["random"], percent(accuracy["random"]), svg.ORANGE),
    ]
    said = "; ".join(f"{bar.name}: {bar.written}" for bar in shown)
    return charts.draw_bars(shown, title="Window accuracy, honest and leaking", description=f"{said}.")


def draw_set_sizes(evaluation: Evaluation) -> Markup | None:
    """Draw how many recordings get how many labels in a conformal set; None if not known."""
    block = evaluation.metrics.get("conformal")
    if block is None:
        return None
    total = sum(block["sizes"].values()) or 1
    shown = [
        charts.Bar(count(int(size), "label"), n / total, count(n, "recording"), svg.BLUE)
        for size, n in sorted(block["sizes"].items(), key=lambda item: int(item[0]))
    ]
    said = "; ".join(f"{bar.name}: {bar.written}" for bar in shown)
    return charts.draw_bars(shown, title="Sizes of the sets", description=f"{said}.")


def draw_learning_curve(evaluation: Evaluation) -> Markup | None:
    """Draw accuracy over the number of training recordings, and how it may go on; None if not known."""
    block = evaluation.metrics.get("learning_curve")
    if block is None or not block["points"]:
        return None
    measured = _accuracies(block["points"])
    lines = [_line("measured", measured, svg.BLUE, dashed=False)]
    if block.get("fit"):
        lines.append(_line("expected", [measured[-1], *_accuracies(block["fit"]["at"])], svg.MUTED, dashed=True))
    said = "; ".join(f"{n:g} recordings: {percent(value)}" for line in lines for n, value in line.points)
    return charts.draw_curves(
        lines,
        title="Accuracy by number of training recordings",
        description=f"{said}.",
        x_name="recordings to learn from",
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
