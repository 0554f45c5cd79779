"""Which labels are likely wrong, by what models say that have not learned from the recordings themselves.

Takes scores of held-out recordings and their labels; returns suspects, the likeliest first, and what to say of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiocnn.audit.finding import Finding, pluralize
from audiocnn.errors import needs_extra
from audiocnn.labels import Labels

TOPIC = "labels"

_SHOWN = 20  # suspects that a finding names


@dataclass(frozen=True)
class LabelError:
    """A recording, number ``index``, of which the models say something else than its label.

    ``quality`` is the score of its ``label``, 0 to 1. ``likely`` says that it is among those that are wrong by the
    estimate of how often each label is taken for each other one.
    """

    index: int
    label: str
    suggested: str
    quality: float
    likely: bool


def find(scores: NDArray[np.floating], given: Sequence[str], *, labels: Labels) -> list[LabelError]:
    """Return the recordings whose label is not the one with the highest score, the likeliest error first.

    ``scores`` (n, n_labels) are probabilities in the order of ``labels``, by models that have not learned from the
    recording; ``given`` (n,) are the labels in question. The order is that of the score of the given label (Kuan &
    Mueller, "Model-agnostic label quality scoring to detect real-world label errors", 2022); which are ``likely`` is
    said by confident learning (Northcutt, Jiang & Chuang, "Confident learning", JAIR 2021).

    :raises MissingExtraError: cleanlab is not installed
    """
    filter_, rank = _load_cleanlab()
    names, truth = np.unique(labels.encode(given), return_inverse=True)
    if len(names) < 2:
        return []  # of one label there is nothing to be confused with
    probabilities = np.asarray(scores, np.float64)[:, names]  # cleanlab needs every label to occur
    probabilities = np.maximum(probabilities, np.finfo(np.float64).tiny)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    quality = rank.get_label_quality_scores(truth, probabilities, method="self_confidence")
    likely = filter_.find_label_issues(truth, probabilities, filter_by="both", n_jobs=1)
    best = probabilities.argmax(axis=1)
    order = np.argsort(quality, kind="stable")
    return [
        LabelError(int(i), given[i], labels[names[best[i]]], float(quality[i]), bool(likely[i]))
        for i in order
        if best[i] != truth[i]
    ]


def findings(suspects: Sequence[LabelError], recordings: Sequence[str]) -> list[Finding]:
    """Say which of the ``recordings``, as many as were asked about, should be listened to."""
    likely = [suspect for suspect in suspects if suspect.likely]
    if not likely:
        return [Finding("pass", TOPIC, f"No label of {pluralize(len(recordings), 'recording')} looks wrong.")]
    number = f"{len(likely):,} of {pluralize(len(recordings), 'label')}"
    return [
        Finding(
            "warn",
            TOPIC,
            f"Models that had not learned from these recordings contradict {number}; either may be wrong.",
            "Listen to them in this order, for as long as you find wrong labels, and mend those in the manifest.",
            [
                f"{recordings[s.index]}: '{s.label}' has a score of {s.quality:.0%}, sounds like '{s.suggested}'"
                for s in likely[:_SHOWN]
            ],
        )
    ]


def unchecked(reason: str, remedy: str) -> Finding:
    """Say why nobody looked for wrong labels."""
    return Finding("unchecked", TOPIC, f"Wrong labels: not checked, because {reason}.", remedy)


def _load_cleanlab() -> tuple[Any, Any]:
    with needs_extra("labels"):
        from cleanlab import filter as filter_
        from cleanlab import rank
    return filter_, rank
