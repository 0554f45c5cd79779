"""Sentences on the decision rules of a model, from ``metrics.json``: those that a figure alone would not tell."""

from collections.abc import Mapping
from typing import Any

from audiocnn.model.decision import can_promise
from audiocnn.wording import clause, decimal, join_names, percent

_LEAST_EXCLUDED = 0.2  # of the wrong labels, on average; label sets that exclude fewer tell almost nothing


def uninformative_label_sets(figures: Mapping[str, Any]) -> str:
    """Return why the label sets tell almost nothing; an empty text if they do tell something, or there are none."""
    block, n_labels = figures.get("conformal"), len(figures["labels"])
    if block is None or n_labels - block["mean_size"] >= _LEAST_EXCLUDED * (n_labels - 1):
        return ""
    n_groups, coverage = figures.get("calibration", {}).get("n_groups"), block["coverage_wanted"]
    if n_groups is not None and not can_promise(coverage, n_groups):
        groups = clause(n_groups, "group is", "groups are")
        why = f"the {groups} too few to promise the true label in {percent(coverage)} of recordings"
    else:
        why = "the scores do not tell the labels apart"
    return (
        f"Label sets hold {block['mean_size']:.1f} of {n_labels} labels on average and so exclude almost none: {why}."
    )


def harmful_calibration(figures: Mapping[str, Any]) -> str:
    """Return a sentence if the scores of these recordings were better before calibration; an empty text otherwise.

    >>> harmful_calibration({"recording": {"ece": 0.126, "log_loss": 0.5},
    ...     "calibration": {"uncalibrated": {"ece": 0.085, "log_loss": 0.6}}})
    'On these recordings, calibration raised the calibration error from 0.09 to 0.13; lower is better.'
    """
    before, after = figures.get("calibration", {}).get("uncalibrated", {}), figures["recording"]
    raised = [
        f"the {name} from {decimal(before[key])} to {decimal(after[key])}"
        for key, name in (("log_loss", "log loss"), ("ece", "calibration error"))
        if before.get(key) is not None and after[key] is not None
        if after[key] > before[key] and decimal(after[key]) != decimal(before[key])
    ]
    return f"On these recordings, calibration raised {join_names(raised)}; lower is better." if raised else ""
