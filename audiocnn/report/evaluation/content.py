"""A finished evaluation: everything that a report shows, and nothing about how it looks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiocnn.explain.segments import ExplainInput
from audiocnn.inference.prediction import RecordingPrediction
from audiocnn.labels import Labels


@dataclass(frozen=True)
class ErrorMaps:
    """What in a stretch of a recording speaks for the predicted label and, of more than two, for the true one.

    ``maps`` are by label, the predicted one first: by how much its log-odds to base 2 fall when a place is hidden from
    the network, float32 (n_frames, n_mels) in the bands of ``stretch``.
    """

    stretch: ExplainInput
    maps: Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class ReportClip:
    """A recording to look at and listen to: samples float32 (n,) at ``sample_rate``, those of ``stretch`` if any.

    ``index`` is its number in `Evaluation.predictions`. ``reasons`` say why it got a wrong label, if that was asked.
    """

    prediction: RecordingPrediction
    truth: str
    group: str
    samples: NDArray[np.float32]
    sample_rate: int
    stretch: tuple[float, float] | None = None
    index: int = 0
    error_maps: ErrorMaps | None = None


@dataclass(frozen=True)
class Suspect:
    """A recording whose label may be wrong, in the eyes of a network that did not learn from it, to listen to.

    ``label_score`` is the score of the label it has, ``suggested_score`` that of the label ``suggested`` instead.
    """

    recording: str
    label: str
    suggested: str
    label_score: float
    suggested_score: float
    group: str
    samples: NDArray[np.float32]
    sample_rate: int
    stretch: tuple[float, float] | None = None


@dataclass(frozen=True)
class Evaluation:
    """Predictions against the truth.

    ``own_part`` tells that ``part`` is one of the model's own split, so that test means never heard in training.
    ``predictions``, ``truth`` and ``groups`` run in parallel. ``metrics`` is what `compute_metrics`
    returns. ``history`` has one mapping an epoch: epoch (from 1), loss, accuracy and, where there was validation,
    val_loss, val_accuracy; the weights of epoch ``best_epoch`` were kept, which validation chose by ``monitor``, or
    which is the last one if that is none.
    ``class_weights`` are by label. ``report_clips`` are recordings to see and hear: the wrong ones, worst first, then
    others. ``right`` are the numbers, in ``predictions``, of a random sample of the recordings that are right.
    ``suspects`` are the recordings most likely mislabelled, most likely first, None if nobody looked for them.
    ``facts`` are pairs of a name and a value to print at the end: settings, versions, digests. ``stretches`` run in
    parallel with ``predictions``, None for a whole recording, or are empty if all are whole.
    """

    name: str
    part: str
    own_part: bool
    labels: Labels
    predictions: Sequence[RecordingPrediction]
    truth: Sequence[str]
    groups: Sequence[str]
    metrics: Mapping[str, Any]
    history: Sequence[Mapping[str, float]]
    best_epoch: int | None
    monitor: str
    class_weights: Mapping[str, float]
    report_clips: Sequence[ReportClip]
    facts: Sequence[tuple[str, str]]
    right: Sequence[int] = ()
    suspects: Sequence[Suspect] | None = None
    stretches: Sequence[tuple[float, float] | None] = ()

    @property
    def model_digest(self) -> str:
        """What ``facts`` say of it; empty if they say nothing."""
        return dict(self.facts).get("model digest", "")

    @property
    def validated(self) -> bool:
        """Whether training was watched by recordings that the network did not learn from."""
        return any("val_loss" in epoch for epoch in self.history)

    @property
    def chosen(self) -> bool:
        """Whether those recordings chose the epoch that was kept."""
        return self.validated and self.monitor != "none"

    @property
    def n_wrong(self) -> int:
        """Recordings whose label is not the truth, those without a label among them."""
        return sum(p.label != t for p, t in zip(self.predictions, self.truth, strict=True))


def worst_errors(predictions: Sequence[RecordingPrediction], truth: Sequence[str], limit: int) -> list[int]:
    """Indices of the wrongly labelled recordings that were heard, the least probable truth first."""

    def score_of_truth(i: int) -> float:
        p = predictions[i]
        return float(p.scores[p.labels.index(truth[i])]) if truth[i] in p.labels else 0.0

    wrong = [i for i, p in enumerate(predictions) if p.has_scores and p.label != truth[i]]
    return sorted(wrong, key=lambda i: (score_of_truth(i), predictions[i].recording))[:limit]
