"""How much the figures of a cross-validation change with its folds and seeds."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from audiocnn.wording import interval, percent

_FIGURES = ("accuracy", "macro_f1", "log_loss", "ece")
_DIGITS = 6


def repeat_block(figures: Sequence[Mapping[str, Any]], *, varied: str) -> dict[str, Any]:
    """Return the block ``repeats`` of ``crossval.json``, given the figures of each repeat; nothing for one alone.

    ``varied`` is what differs from repeat to repeat: "folds and seeds", or "seeds". Each figure of recordings and of
    windows has its ``values``, their mean and their standard deviation.
    """
    if len(figures) < 2:
        return {}
    block: dict[str, Any] = {"varied": varied}
    for unit in ("recording", "window"):
        block[unit] = {}
        for name in _FIGURES:
            values = [_value(one[unit][name]) for one in figures]
            known = [value for value in values if value is not None]
            block[unit][name] = {
                "values": values,
                "mean": round(statistics.fmean(known), _DIGITS) if known else None,
                "sd": round(statistics.stdev(known), _DIGITS) if len(known) > 1 else None,
            }
    return {"repeats": block}


def _value(figure: Any) -> float | None:
    value = figure["value"] if isinstance(figure, Mapping) else figure
    return None if value is None else round(value, _DIGITS)


def describe_repeats(block: Mapping[str, Any]) -> str:
    """Return a sentence on the spread of the recording accuracy; empty without repeats.

    >>> of = {"values": [0.83, 0.87, 0.85], "mean": 0.85, "sd": 0.02}
    >>> describe_repeats({"varied": "folds and seeds", "recording": {"accuracy": of}}).replace("\\u00a0", " ")
    'Repeated 3 times with other folds and seeds, the accuracy is 83 to 87 %, on average 85 %.'
    """
    if not block:
        return ""
    accuracy = block["recording"]["accuracy"]
    values = [value for value in accuracy["values"] if value is not None]
    times = f"Repeated {len(values)} times with other {block['varied']}, the accuracy is"
    if min(values) == max(values):
        return f"{times} always {percent(values[0])}."
    return f"{times} {interval((min(values), max(values)), percent)}, on average {percent(accuracy['mean'])}."
