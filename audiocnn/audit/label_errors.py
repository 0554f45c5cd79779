"""Find labels that are likely wrong, from the scores of models that were trained without the recordings.

Takes scores of held-out recordings and their labels; returns the suspects, the likeliest first, and findings.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audiocnn.audit.finding import Finding, pluralize
from audiocnn.errors import needs_extra
from audiocnn.labels import Labels

TOPIC = "labels"
_SHOWN = 20  # suspects that a finding names


@dataclass(frozen=True)
class LabelError:
    """The recording at ``index``, for which the models predict the ``suggested`` label instead of its own ``label``.

    ``quality`` is the score of ``label``, 0 to 1. ``likely`` if it is among the errors that confident learning
    estimates from how often each label is confused with each other one.
    """

    index: int
    label: str
    suggested: str
    quality: float
    likely: bool


def find(scores: NDArray[np.floating], given: Sequence[str], *, labels: Labels) -> list[LabelError]:
    """Return the recordings whose label does not have the highest score, the likeliest error first.

    ``scores`` (n, n_labels) are probabilities in the order of ``labels``, by models trained without the recording;
    ``given`` (n,) are the labels to check. Recordings are sorted by the score of the given label (Kuan & Mueller,
    "Model-agnostic label quality scoring to detect real-world label errors", 2022). Confident learning decides which
    are ``likely`` (Northcutt, Jiang & Chuang, "Confident learning", JAIR 2021).

    :raises MissingExtraError: cleanlab is not installed
    """
    with needs_extra("labels"):
        import cleanlab.filter
        import cleanlab.rank

    names, truth = np.unique(labels.encode(given), return_inverse=True)
    if len(names) < 2:
        return []  # a single label cannot be confused with another
    probabilities = np.asarray(scores, np.float64)[:, names]  # cleanlab requires every label to occur
    probabilities = np.maximum(probabilities, np.finfo(np.float64).tiny)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    quality = cleanlab.rank.get_label_quality_scores(truth, probabilities, method="self_confidence")
    likely = cleanlab.filter.find_label_issues(truth, probabilities, filter_by="both", n_jobs=1)
    best = probabilities.argmax(axis=1)
    order = np.argsort(quality, kind="stable")
    return [
        LabelError(int(i), given[i], labels[names[best[i]]], float(quality[i]), bool(likely[i]))
        for i in order
        if best[i] != truth[i]
    ]


def findings(suspects: Sequence[LabelError], recordings: Sequence[str]) -> list[Finding]:
    """Report the likely errors; ``recordings`` are the names of all recordings that were checked, by index."""
    likely = [suspect for suspect in suspects if suspect.likely]
    if not likely:
        return [Finding("pass", TOPIC, f"No label of {pluralize(len(recordings), 'recording')} looks wrong.")]
    number = f"{len(likely):,} of {pluralize(len(recordings), 'label')}"
    return [
        Finding(
            "warn",
            TOPIC,
            f"Models trained without these recordings contradict {number}; the model or the label may be wrong.",
            "Listen to them in this order until you find no more wrong labels, and correct the labels in the manifest.",
            [
                f"{recordings[s.index]}: '{s.label}' has a score of {s.quality:.0%}, predicted '{s.suggested}'"
                for s in likely[:_SHOWN]
            ],
        )
    ]


def unchecked(reason: str, remedy: str) -> Finding:
    """Report why the labels were not checked."""
    return Finding("unchecked", TOPIC, f"Wrong labels: not checked, because {reason}.", remedy)
