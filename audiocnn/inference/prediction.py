"""The prediction of a recording: its scores, and the label, status and reason that follow from them.

Every command, file and page uses it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from audiocnn.features import extract
from audiocnn.features.analyze import RecordingStatus
from audiocnn.features.signal_stats import SignalStats
from audiocnn.inference import spill
from audiocnn.labels import Labels
from audiocnn.model.decision import Decision, Doubt
from audiocnn.model.domain import Domain, DomainCheck
from audiocnn.specs import FeatureSpec

Scores = NDArray[np.float64]

PART_WINDOWS: Final = 1 << 13  # windows in memory at a time where a recording may be of any length


class PredictionRules(Protocol):
    """What turns scores into a prediction: a bundle, or a network that is not stored."""

    @property
    def spec(self) -> FeatureSpec: ...

    @property
    def labels(self) -> Labels: ...

    @property
    def decision(self) -> Decision | None:
        """How scores become decisions; None: the highest score wins, and no recording is unknown."""
        ...

    @property
    def domain(self) -> Domain | None:
        """The range of the training recordings; None if it is not known."""
        ...


@dataclass(frozen=True, eq=False)
class RecordingPrediction:
    """The prediction of a model for one recording, and the status of the recording.

    ``scores`` (n_labels,) sum to 1. ``starts_s`` and ``ends_s`` (n_windows,) are the times of the windows in seconds,
    ``window_scores`` (n_windows, n_labels) their scores. All of these are empty unless the status is ok; those of
    windows are also empty if windows were not requested. ``embedding`` (embedding_size,) is the mean over the windows
    that count, and ``loud`` (n_windows,) marks those windows; both are empty if not known. ``signal_stats`` describes
    the signal, ``training_domain`` the training recordings of the model; both are None if not known.
    """

    recording: str
    recording_status: RecordingStatus
    labels: Labels
    scores: Scores
    starts_s: Scores
    ends_s: Scores
    window_scores: Scores
    embedding: Scores = field(default_factory=lambda: np.zeros(0))
    decision: Decision | None = None
    loud: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))
    signal_stats: SignalStats | None = None
    training_domain: Domain | None = None

    @property
    def account(self) -> RecordingStatus:
        """The older name of `recording_status`."""
        return self.recording_status

    @property
    def has_scores(self) -> bool:
        """Whether the model scored the recording: false for a silent or unreadable one."""
        return self.recording_status.status == "ok"

    @cached_property
    def label(self) -> str:
        """The predicted label; for an unknown recording the nearest one, empty without scores."""
        if not self.has_scores:
            return ""
        if self.decision is not None:
            return self.decision.label(self.labels, self.scores)
        return self.labels[int(np.argmax(self.scores))]

    @property
    def score(self) -> float | None:
        """The score of `label`."""
        return float(self.scores[self.label_index]) if self.has_scores else None

    @property
    def label_index(self) -> int:
        """The index of `label`, which must not be empty."""
        return self.labels.index(self.label)

    @cached_property
    def doubt(self) -> Doubt:
        """Why the recording is unknown; empty if it is not."""
        if not self.has_scores or self.decision is None:
            return ""
        return self.decision.doubt(self.labels, self.scores, self.embedding)

    @cached_property
    def domain(self) -> DomainCheck | None:
        """How similar the recording is to the training recordings; None if that is not known."""
        if not self.has_scores:
            return None
        domain, decision = self.training_domain, self.decision
        if domain is None or self.signal_stats is None:
            return None
        if decision is None:
            return domain.check(self.signal_stats)
        resemblance = decision.resemblance(self.scores, self.embedding)
        return domain.check(self.signal_stats, resemblance=resemblance, unfamiliar=self.doubt == "unfamiliar")

    @property
    def status(self) -> str:
        """The status of the recording, or unknown."""
        return "unknown" if self.doubt else self.recording_status.status

    @property
    def reason(self) -> str:
        """Codes joined by semicolons: those of the recording, of its domain check, and the doubt."""
        outside = () if self.domain is None else self.domain.codes
        return ";".join(filter(None, (self.recording_status.reason, *outside, self.doubt)))

    @property
    def label_set(self) -> tuple[str, ...]:
        """The labels the recording may have, most likely first; all without a decision, none without scores."""
        if not self.has_scores:
            return ()
        return tuple(self.labels) if self.decision is None else self.decision.label_set(self.labels, self.scores)

    @property
    def n_windows(self) -> int:
        return len(self.starts_s)

    def part(self, first: int, last: int) -> "RecordingPrediction":
        """Return this prediction with its windows from number ``first`` to before ``last`` only."""
        some = slice(first, last)
        return replace(
            self,
            starts_s=self.starts_s[some],
            ends_s=self.ends_s[some],
            window_scores=self.window_scores[some],
            loud=self.loud[some],
        )

    def parts(self) -> "Iterator[RecordingPrediction]":
        """Yield this prediction with up to `PART_WINDOWS` of its windows at a time; nothing if it has none."""
        for first in range(0, self.n_windows, PART_WINDOWS):
            yield self.part(first, min(self.n_windows, first + PART_WINDOWS))

    def window_labels(self, which: NDArray[np.bool_] | slice = slice(None)) -> list[str]:
        """Return the label with the highest score of each window, or of those that ``which`` selects."""
        return [self.labels[i] for i in np.argmax(self.window_scores[which], axis=1)] if self.has_scores else []

    @property
    def counted(self) -> NDArray[np.bool_]:
        """Which windows (n_windows,) count for the recording: the ``loud`` ones; all of them if that is not known."""
        return self.loud if len(self.loud) else np.ones(len(self.starts_s), bool)


@dataclass(frozen=True)
class RecordingScores:
    """The scores of a recording and of its windows: all that a `RecordingPrediction` needs besides the status.

    ``log_scores`` are float32 (n_windows, n_labels), ``scores`` (n_labels,) and ``embedding`` (embedding_size,). The
    last two come from the windows that are ``loud`` (n_windows,). ``signal_stats`` describes the signal; None if the
    model has no domain to compare it with. ``log_scores`` and ``loud`` may be those of some windows only, from number
    ``first`` on; they are empty if windows were not requested.
    """

    log_scores: spill.ScoreRows
    scores: Scores
    embedding: Scores
    loud: NDArray[np.bool_]
    signal_stats: SignalStats | None = None
    first: int = 0

    def prediction(
        self,
        rules: PredictionRules,
        recording: str,
        status: RecordingStatus,
        stretch: tuple[float, float] | None = None,
    ) -> RecordingPrediction:
        """Return the prediction of the recording, or of a ``stretch`` of it in seconds, that has these scores."""
        found = prediction_from_scores(
            rules.spec,
            rules.labels,
            recording,
            status,
            stretch,
            scores=self.scores,
            window_scores=np.exp(self.log_scores, dtype=np.float64),
            embedding=self.embedding,
            loud=self.loud,
            first=self.first,
        )
        return replace(found, decision=rules.decision, signal_stats=self.signal_stats, training_domain=rules.domain)

    def without_windows(self) -> "RecordingScores":
        """Return these scores without those of windows, of which a long recording has many."""
        return replace(self, log_scores=np.zeros((0, len(self.scores)), np.float32), loud=self.loud[:0], first=0)


def make_prediction(
    rules: PredictionRules, recording: str, status: RecordingStatus, scores: RecordingScores | None
) -> RecordingPrediction:
    """Return the prediction for a recording; ``scores`` are None if the recording cannot be used."""
    if scores is None:
        return empty_prediction(recording, status, rules.labels)
    return scores.prediction(rules, recording, status)


def empty_prediction(recording: str, status: RecordingStatus, labels: Labels) -> RecordingPrediction:
    """Return the prediction for a recording that cannot be used: only its status."""
    nothing = np.zeros(0)
    return RecordingPrediction(recording, status, labels, nothing, nothing, nothing, np.zeros((0, len(labels))))


def prediction_from_scores(
    spec: FeatureSpec,
    labels: Labels,
    recording: str,
    status: RecordingStatus,
    stretch: tuple[float, float] | None,
    *,
    scores: Scores,
    window_scores: Scores,
    embedding: Scores,
    loud: NDArray[np.bool_] | None = None,
    first: int = 0,
) -> RecordingPrediction:
    """Return a prediction with known scores; it has the windows of ``window_scores``, from number ``first`` on."""
    starts = usable_window_starts(spec, status, stretch, slice(first, first + len(window_scores)))
    starts_s = extract.window_start_s(starts, spec)
    return RecordingPrediction(
        recording=recording,
        recording_status=status.for_stretch(stretch, spec),
        labels=labels,
        scores=scores,
        starts_s=starts_s,
        ends_s=np.minimum(starts_s + spec.window_s, status.duration_s),
        window_scores=window_scores,
        embedding=embedding,
        loud=np.zeros(0, bool) if loud is None else loud,
    )


def usable_window_starts(
    spec: FeatureSpec,
    status: RecordingStatus,
    stretch: tuple[float, float] | None,
    windows: slice = slice(None),
) -> NDArray[np.int64]:
    """Return the first frame of each window of a recording, or of a ``stretch`` of it; none if it cannot be used.

    ``windows`` selects some of them by their numbers.
    """
    usable = status.for_stretch(stretch, spec).status == "ok"
    return extract.window_starts(status.n_frames if usable else 0, spec, stretch, windows)
