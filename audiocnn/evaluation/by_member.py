"""What each member of a model with several networks is worth: its accuracy alone, and the difference to all of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from audiocnn.evaluation import intervals
from audiocnn.evaluation.intervals import Array
from audiocnn.wording import quoted

_DIGITS = 6


def member_block(
    predicted: Sequence[str],
    members: Mapping[str, Sequence[str]],
    truth: Sequence[str],
    groups: Sequence[str],
    *,
    weights: Mapping[str, float],
    bootstrap: int,
    seed: int,
) -> dict[str, Any]:
    """Return the block ``members`` of ``metrics.json``; nothing for a model of one network.

    ``predicted`` are the labels that all members together give to the recordings, ``members`` those of each alone; an
    empty one is wrong. Each member has its weight, its recording accuracy, and the ``difference``: the accuracy of all
    less its own. Every resample draws the same groups for all, so differences are paired. Both have a 95 % interval.
    """
    if not members:
        return {}
    group = np.unique(np.array(groups, dtype=object).astype(str), return_inverse=True)[1]
    n = np.bincount(group).astype(np.float64)
    labels = [predicted, *members.values()]
    right = np.array([np.bincount(group, np.equal(one, truth).astype(np.float64)) for one in map(_objects, labels)])

    def figures(draws: Array) -> Array:
        accuracy = (draws @ right.T) / (draws @ n)[:, None]
        return np.concatenate([accuracy[:, 1:], accuracy[:, :1] - accuracy[:, 1:]], axis=1)

    values = figures(np.ones((1, len(n))))[0].round(_DIGITS).tolist()
    errors = intervals.standard_errors(figures, n_groups=len(n), bootstrap=bootstrap, seed=seed, width=len(values))
    block = {}
    for k, name in enumerate(members):
        own, apart = values[k], values[len(members) + k]
        error, error_apart = float(errors[k]), float(errors[len(members) + k])
        block[name] = {
            "weight": weights[name],
            "accuracy": {"value": own, "ci95": intervals.share_interval(own, error, n)},
            "difference": {"value": apart, "ci95": intervals.difference_interval(apart, error_apart, n)},
        }
    return {"members": block}


def _objects(labels: Sequence[str]) -> "np.ndarray[Any, Any]":
    return np.array(labels, dtype=object)


def compare_members(block: Mapping[str, Any]) -> str:
    """Return a sentence on whether all members together are better than the best one alone; empty without members.

    >>> of = lambda value, apart, low, high: {
    ...     "accuracy": {"value": value}, "difference": {"value": apart, "ci95": [low, high]}}
    >>> compare_members({"a": of(0.8, 0.05, 0.01, 0.09), "b": of(0.7, 0.15, 0.1, 0.2)})
    'All members together are better than the best one alone, “a”.'
    >>> compare_members({"a": of(0.8, 0.02, -0.02, 0.06), "b": of(0.7, 0.12, 0.1, 0.2)})
    'These recordings cannot tell whether all members together are better than the best one alone, “a”.'
    """
    if not block:
        return ""
    best = max(block, key=lambda name: block[name]["accuracy"]["value"])
    low, high = block[best]["difference"]["ci95"]
    if low is None or low <= 0 <= high:
        return (
            "These recordings cannot tell whether all members together are better than the best one alone, "
            f"{quoted(best)}."
        )
    return f"All members together are {'better' if low > 0 else 'worse'} than the best one alone, {quoted(best)}."
