"""The drawings of an evaluation: training and learning curves, reliability, the leak gap, sets of labels."""

from collections.abc import Callable
from typing import Any

import numpy as np
from markupsafe import Markup

from audiocnn.draw import bars, colour, curve, reliability
from audiocnn.results.calibration_error import calibration_bins
from audiocnn.results.evaluation import Evaluation
from audiocnn.results.report.words import count, percent


def training(evaluation: Evaluation) -> list[tuple[str, Markup]]:
    """Draw loss and accuracy over the epochs, those that the history holds, each with its title."""
    drawn = []
    for key, title, high, label in (
        ("loss", "Loss", None, "{:g}".format),
        ("accuracy", "Window accuracy", 1.0, _whole_percent),
    ):
        lines = [
            curve.Line(name, points, paint, dashed)
            for name, column, paint, dashed in (
                ("training", key, colour.MUTED, True),
                ("validation", f"val_{key}", colour.BLUE, False),
            )
            if (points := [(float(row["epoch"]), float(row[column])) for row in evaluation.history if column in row])
        ]
        if lines:
            drawn.append((title, _curves(evaluation, lines, title, high, label)))
    return drawn


def _curves(
    evaluation: Evaluation, lines: list[curve.Line], title: str, high: float | None, label: Callable[[float], str]
) -> Markup:
    kept = evaluation.best_epoch
    last = ", ".join(f"{line.name} {line.points[-1][1]:.3g}" for line in lines)
    return curve.draw(
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


def calibration(evaluation: Evaluation) -> Markup | None:
    """Draw how often the model was right at every height of its score; None if nothing was scored."""
    pairs = [
        (prediction.score or 0.0, prediction.label == truth)
        for prediction, truth in zip(evaluation.predictions, evaluation.truth, strict=True)
        if prediction.heard and truth in evaluation.labels
    ]
    if not pairs:
        return None
    score, right = (np.array(column, float) for column in zip(*pairs, strict=True))
    bins = [reliability.Bin(b.low, b.high, b.n, b.mean_score, b.share_right) for b in calibration_bins(score, right)]
    said = "; ".join(f"score {b.low:.2f} to {b.high:.2f}: {percent(b.accuracy)} of {b.n} right" for b in bins)
    return reliability.draw(bins, title="Reliability diagram", description=f"Share that was right by score: {said}.")


def leak_gap(evaluation: Evaluation) -> Markup | None:
    """Draw window accuracy as tested beside what windows dealt at random would have claimed; None if not known."""
    block = evaluation.metrics.get("leak_gap")
    if block is None:
        return None
    accuracy = block["window_accuracy"]
    shown = [
        bars.Bar("groups kept apart, as here", accuracy["grouped"], percent(accuracy["grouped"]), colour.BLUE),
        bars.Bar("windows dealt at random", accuracy["random"], percent(accuracy["random"]), colour.ORANGE),
    ]
    said = "; ".join(f"{bar.name}: {bar.written}" for bar in shown)
    return bars.draw(shown, title="Window accuracy, honest and leaking", description=f"{said}.")


def sizes(evaluation: Evaluation) -> Markup | None:
    """Draw how many recordings get how many labels in a conformal set; None if not known."""
    block = evaluation.metrics.get("conformal")
    if block is None:
        return None
    total = sum(block["sizes"].values()) or 1
    shown = [
        bars.Bar(count(int(size), "label"), n / total, count(n, "recording"), colour.BLUE)
        for size, n in sorted(block["sizes"].items(), key=lambda item: int(item[0]))
    ]
    said = "; ".join(f"{bar.name}: {bar.written}" for bar in shown)
    return bars.draw(shown, title="Sizes of the sets", description=f"{said}.")


def learning_curve(evaluation: Evaluation) -> Markup | None:
    """Draw accuracy over the number of training recordings, and how it may go on; None if not known."""
    block = evaluation.metrics.get("learning_curve")
    if block is None or not block["points"]:
        return None
    measured = _accuracies(block["points"])
    lines = [_line("measured", measured, colour.BLUE, dashed=False)]
    if block.get("fit"):
        lines.append(_line("expected", [measured[-1], *_accuracies(block["fit"]["at"])], colour.MUTED, dashed=True))
    said = "; ".join(f"{n:g} recordings: {percent(value)}" for line in lines for n, value in line.points)
    return curve.draw(
        lines,
        title="Accuracy by number of training recordings",
        description=f"{said}.",
        x_name="recordings to learn from",
        y_label=_whole_percent,
        y_high=1.0,
    )


def _accuracies(points: list[dict[str, Any]]) -> list[tuple[int, dict[str, Any]]]:
    return [(point["n_recordings"], point["accuracy"]) for point in points]


def _line(name: str, points: list[tuple[int, dict[str, Any]]], paint: str, *, dashed: bool) -> curve.Line:
    return curve.Line(
        name,
        [(float(n), accuracy["value"]) for n, accuracy in points],
        paint,
        dashed,
        ends=[None if None in accuracy["ci95"] else tuple(accuracy["ci95"]) for _, accuracy in points],
    )


def _whole_percent(share: float) -> str:
    return f"{100 * share:.0f} %"
