"""The content of an evaluation report, without its layout."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiocnn.audio.clips import SavedClip
from audiocnn.audit.finding import Finding
from audiocnn.draw import spectrogram
from audiocnn.explain.segments import ExplainInput
from audiocnn.inference.prediction import RecordingPrediction
from audiocnn.labels import Labels
from audiocnn.specs import FeatureSpec


@dataclass(frozen=True)
class ErrorMaps:
    """Occlusion maps of a part of a wrongly predicted recording.

    ``maps`` are by label: the predicted label first, then, if the model has more than two labels, the true one. Each
    is float32 (n_frames, n_mels) in the bands of ``stretch``: by how much the log-odds of the label (base 2) fall when
    a place is hidden.
    """

    stretch: ExplainInput
    maps: Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class ReportClip:
    """A recording to show and play: samples float32 (n,) at ``sample_rate``, of ``stretch`` only if it is given.

    ``index`` is its number in `Evaluation.predictions`. ``error_maps`` is there for some of the wrong recordings.
    """

    prediction: RecordingPrediction
    truth: str
    group: str
    samples: NDArray[np.float32] | SavedClip
    sample_rate: int
    stretch: tuple[float, float] | None = None
    index: int = 0
    error_maps: ErrorMaps | None = None


@dataclass(frozen=True)
class Suspect:
    """A recording whose label may be wrong according to a network trained without it.

    ``label_score`` is the score of its present label, ``suggested_score`` that of the label ``suggested`` instead.
    ``own_rate`` is the sample rate of the file, 0 if it is not known.
    """

    recording: str
    label: str
    suggested: str
    label_score: float
    suggested_score: float
    group: str
    samples: NDArray[np.float32] | SavedClip
    sample_rate: int
    stretch: tuple[float, float] | None = None
    own_rate: int = 0


@dataclass(frozen=True)
class Evaluation:
    """Predictions, true labels, figures and everything else that the report shows.

    ``own_part`` is true if ``part`` belongs to the split of the model itself: only then has the test part taken no
    part in training. ``predictions``, ``truth`` and ``groups`` have one entry a recording, in the same order.
    ``stretches`` does too, with None for a whole recording; it is empty if all are whole. ``metrics`` is what
    `audiocnn.evaluation.metrics.compute_metrics` returns. ``history`` has one mapping an epoch: epoch (from 1), loss,
    accuracy and, if there was a validation part, val_loss, val_accuracy. The weights of epoch ``best_epoch`` were
    kept: the best by ``monitor``, or the last if ``monitor`` is "none". ``class_weights`` are by label.

    ``report_clips`` are the recordings to show and play: the wrong ones, worst first, then others. ``suspects`` are the
    recordings most likely mislabelled, the most likely first; None if they were not searched for. ``facts`` are pairs
    of a name and a value to print at the end: network, versions, digests. ``origin`` are such pairs to print at the
    top: model, data, command. ``settings`` are printed as YAML. ``audit`` are the findings of the last audit, None if
    there was none. ``caution`` is a sentence on what the figures do not hold for. Spectrograms are drawn with ``view``,
    which `audiocnn.draw.spectrogram.drawing_spec` returns; report clips and suspects have its sample rate.
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
    suspects: Sequence[Suspect] | None = None
    stretches: Sequence[tuple[float, float] | None] = ()
    caution: str = ""
    view: FeatureSpec = spectrogram.SPEC
    origin: Sequence[tuple[str, str]] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    audit: Sequence[Finding] | None = None

    @property
    def model_digest(self) -> str:
        """The model digest among ``facts``; empty if it is not there."""
        return dict(self.facts).get("model digest", "")

    @property
    def validated(self) -> bool:
        """Whether training had a validation part."""
        return any("val_loss" in epoch for epoch in self.history)

    @property
    def chosen(self) -> bool:
        """Whether the validation part chose the epoch that was kept."""
        return self.validated and self.monitor != "none"

    @property
    def n_wrong(self) -> int:
        """Number of recordings whose predicted label is not the true one; a missing prediction counts as wrong."""
        return sum(p.label != t for p, t in zip(self.predictions, self.truth, strict=True))


def worst_errors(predictions: Sequence[RecordingPrediction], truth: Sequence[str], limit: int) -> list[int]:
    """Return the indices of wrong predictions, the lowest score of the true label first."""

    def score_of_truth(i: int) -> float:
        p = predictions[i]
        return float(p.scores[p.labels.index(truth[i])]) if truth[i] in p.labels else 0.0

    wrong = [i for i, p in enumerate(predictions) if p.has_scores and p.label != truth[i]]
    return sorted(wrong, key=lambda i: (score_of_truth(i), predictions[i].recording))[:limit]
