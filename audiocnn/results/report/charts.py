"""The drawings of an evaluation: confusion matrix, training curves, reliability."""

from collections.abc import Callable

import numpy as np
from markupsafe import Markup

from audiocnn.draw import colour, curve, matrix, reliability
from audiocnn.results.evaluation import Evaluation
from audiocnn.results.metrics import ECE_BINS
from audiocnn.results.report.words import percent

NOT_HEARD, OTHER = "(not heard)", "(other labels)"


def confusion(evaluation: Evaluation) -> Markup:
    """Draw the confusion matrix, with a column for what was not heard and a row for labels that the model lacks."""
    labels = list(evaluation.labels)
    index = {label: i for i, label in enumerate(labels)}
    n = len(labels)
    counts = np.zeros((n + 1, n + 1), np.int64)
    counts[:n, :n] = np.asarray(evaluation.metrics["confusion"]).reshape(n, n)
    for prediction, truth in zip(evaluation.predictions, evaluation.truth, strict=True):
        row, column = index.get(truth, n), index[prediction.label] if prediction.heard else n
        counts[row, column] += row == n or column == n
    n_rows, n_columns = n + bool(counts[n].any()), n + bool(counts[:, n].any())
    return matrix.draw(
        counts[:n_rows, :n_columns],
        rows=[*labels, OTHER][:n_rows],
        columns=[*labels, NOT_HEARD][:n_columns],
        title="Confusion matrix",
        description=f"Rows are the truth, columns what the model said, numbers are recordings. "
        f"{np.trace(counts[:n, :n])} of {counts.sum()} recordings are on the diagonal, which is right.",
    )


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
    which = np.minimum((score * ECE_BINS).astype(int), ECE_BINS - 1)
    bins = [
        reliability.Bin(
            low=b / ECE_BINS,
            high=(b + 1) / ECE_BINS,
            n=int((which == b).sum()),
            accuracy=float(right[which == b].mean()) if (which == b).any() else 0.0,
        )
        for b in range(ECE_BINS)
    ]
    said = "; ".join(f"score {b.low:.1f} to {b.high:.1f}: {percent(b.accuracy)} of {b.n} right" for b in bins if b.n)
    return reliability.draw(bins, title="Reliability diagram", description=f"Share that was right by score: {said}.")


def _whole_percent(share: float) -> str:
    return f"{100 * share:.0f} %"
