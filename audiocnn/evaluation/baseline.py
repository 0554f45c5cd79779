"""Whether a model is better than always predicting the most frequent label: one rule for all commands and pages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from audiocnn.wording import NBSP, percent, quoted

_ROUNDING = 1e-6  # the accuracies of a history are float32


@dataclass(frozen=True)
class Baseline:
    """Always predicting ``label``, the most frequent one, is correct in a ``share`` of cases."""

    label: str
    share: float


def most_frequent(counts: Mapping[str, int], n: int | None = None) -> Baseline | None:
    """Return the baseline for the number of cases of each label; ``n`` is that of all cases, by default their sum.

    >>> most_frequent({"cat": 1, "dog": 3})
    Baseline(label='dog', share=0.75)
    """
    n = sum(counts.values()) if n is None else n
    label = max(counts, key=lambda name: counts[name], default=None)
    return None if label is None or not n else Baseline(label, counts[label] / n)


def of_metrics(figures: Mapping[str, Any]) -> Baseline | None:
    """Return the baseline of the recordings of ``metrics.json``."""
    counts = {label: row["support"] for label, row in figures["per_class"].items()}
    return most_frequent(counts, figures["n_recordings"])


def compare(accuracy: float | None, ci95: Sequence[float | None], baseline: Baseline | None) -> str:
    """Return a sentence if an accuracy is not known to be better than the baseline; an empty one if it is.

    >>> half = Baseline("dog", 0.5)
    >>> compare(0.5, [0.3, 0.7], half).replace(NBSP, " ")
    'This is no better than always predicting “dog”, which gives 50 %.'
    >>> compare(0.6, [0.4, 0.8], half).replace(NBSP, " ")
    'This may be no better than always predicting “dog”, which gives 50 %: the 95 % interval includes it.'
    >>> compare(0.9, [0.7, 1.0], half)
    ''
    """
    if baseline is None or accuracy is None:
        return ""
    than = f"no better than always predicting {quoted(baseline.label)}, which gives {percent(baseline.share)}"
    if accuracy <= baseline.share + _ROUNDING:
        return f"This is {than}."
    low = ci95[0]
    if low is None:
        return f"This may be {than}: without an interval that is not known."
    if low <= baseline.share + _ROUNDING:
        return f"This may be {than}: the 95{NBSP}% interval includes it."
    return ""


def compare_metrics(figures: Mapping[str, Any]) -> str:
    """Return the sentence of `compare` for the recording accuracy of ``metrics.json``."""
    accuracy = figures["recording"]["accuracy"]
    return compare(accuracy["value"], accuracy["ci95"], of_metrics(figures))


def compare_history(history: Sequence[Mapping[str, float]], baseline: Baseline | None) -> str:
    """Return a sentence if the window accuracy on validation was in no epoch above the baseline of its windows.

    >>> compare_history([{"epoch": 1, "val_accuracy": 0.5}], Baseline("dog", 0.5)).replace(NBSP, " ")
    'In no epoch was the window accuracy on validation better than always predicting “dog”, which gives 50 %'
    """
    values = [row["val_accuracy"] for row in history if "val_accuracy" in row]
    if baseline is None or not values or max(values) > baseline.share + _ROUNDING:
        return ""
    return (
        f"In no epoch was the window accuracy on validation better than always predicting {quoted(baseline.label)}, "
        f"which gives {percent(baseline.share)}"
    )
