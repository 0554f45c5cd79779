"""Accuracy of each collection of recordings, and whether one of them carries the accuracy of all."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from audiocnn.evaluation.decision_metrics import share_with_interval
from audiocnn.inference.prediction import RecordingPrediction
from audiocnn.wording import percent, quoted


def collection_block(
    predictions: Sequence[RecordingPrediction],
    truth: Sequence[str],
    groups: Sequence[str],
    collections: Sequence[str | None],
    *,
    bootstrap: int,
    seed: int,
) -> dict[str, Any]:
    """Return the block ``collections`` of ``metrics.json``; nothing if there are fewer than two.

    Each collection has its number of recordings and groups, and the recording accuracy with its 95 % interval over
    groups. A recording without a prediction counts as wrong.
    """
    members: dict[str, list[int]] = defaultdict(list)
    for i, name in enumerate(collections):
        if name is not None:
            members[name].append(i)
    if len(members) < 2:
        return {}
    block = {}
    for name, rows in sorted(members.items()):
        group = np.unique([groups[i] for i in rows], return_inverse=True)[1]
        right = np.array([predictions[i].label == truth[i] for i in rows])
        block[name] = {
            "n_recordings": len(rows),
            "n_groups": int(group.max()) + 1,
            "accuracy": share_with_interval(right, group, bootstrap=bootstrap, seed=seed),
        }
    return {"collections": block}


def compare_collections(block: Mapping[str, Any]) -> str:
    """Return a sentence if the best collection is clearly better than the worst: their intervals do not overlap.

    >>> of = lambda value, low, high: {"accuracy": {"value": value, "ci95": [low, high]}}
    >>> compare_collections({"here": of(0.9, 0.8, 1.0), "there": of(0.5, 0.4, 0.6)}).replace("\\u00a0", " ")
    'The accuracy depends on the collection: 90 % in “here”, 50 % in “there”. Expect the lower one elsewhere.'
    >>> compare_collections({"here": of(0.9, 0.8, 1.0), "there": of(0.8, 0.7, 0.9)})
    ''
    """
    known = {name: one["accuracy"] for name, one in block.items() if None not in one["accuracy"]["ci95"]}
    if len(known) < 2:
        return ""
    best, worst = (choose(known, key=lambda name: known[name]["value"]) for choose in (max, min))
    if known[best]["ci95"][0] <= known[worst]["ci95"][1]:
        return ""
    return (
        f"The accuracy depends on the collection: {percent(known[best]['value'])} in {quoted(best)}, "
        f"{percent(known[worst]['value'])} in {quoted(worst)}. Expect the lower one elsewhere."
    )
