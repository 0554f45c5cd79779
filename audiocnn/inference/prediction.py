"""The prediction of a recording: its scores and what follows from them. Every command, file and page uses it."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol

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


class PredictionRules(Protocol):
    """What a prediction is to be read by."""

    @property
    def spec(self) -> FeatureSpec: ...

    @property
    def labels(self) -> Labels: ...

    @property
    def decision(self) -> Decision | None:
        """How scores become decisions; None: the highest score wins, and nothing is unknown."""
        ...

    @property
    def domain(self) -> Domain | None:
        """What was learned from; None if that is not known."""
        ...


@dataclass(frozen=True, eq=False)
class RecordingPrediction:
    """What the model says about one recording, and what became of the recording.

    ``starts_s`` and ``ends_s`` are (n_windows,), ``window_scores`` (n_windows, n_labels) and ``scores`` (n_labels,),
    the latter summing to 1; all are empty unless the account says ok. No label is given for what was not heard. What
    there is of windows is empty as well where it was not asked for.
    ``embedding`` (embedding_size,) is the mean over the windows that count, empty if it is not known. ``loud``
    (n_windows,) tells which windows those are, empty if it is not known. ``character`` is what its signal is like,
    ``training_domain`` what those were like that the model learned from, None if it is not known.
    """

    recording: str
    account: RecordingStatus
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
    def has_scores(self) -> bool:
        return self.account.status == "ok"

    @cached_property
    def label(self) -> str:
        """The label that is predicted, which for a recording of `doubt` is the nearest; empty if it was not heard."""
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
        """The number of `label`, which must not be empty."""
        return self.labels.index(self.label)

    @cached_property
    def doubt(self) -> Doubt:
        """Why the recording is unknown, if it is."""
        known = not self.has_scores or self.decision is None
        return "" if known or self.decision is None else self.decision.doubt(self.labels, self.scores, self.embedding)

    @cached_property
    def domain(self) -> DomainCheck | None:
        """How the recording stands to those that the model learned from; None if that is not known."""
        rules = (self.training_domain, self.decision, self.labels)
        return _standing(*rules, self.signal_stats, self.scores, self.embedding) if self.has_scores else None

    @property
    def status(self) -> str:
        """That of the account, or unknown."""
        return "unknown" if self.doubt else self.account.status

    @property
    def reason(self) -> str:
        """The codes of the account, of what is outside what was learned from, and the doubt."""
        outside = () if self.domain is None else self.domain.codes
        return ";".join(filter(None, (self.account.reason, *outside, self.doubt)))

    @property
    def label_set(self) -> tuple[str, ...]:
        """The labels that it may be, most likely first; all if nothing was fitted, none if it was not heard."""
        if not self.has_scores:
            return ()
        return tuple(self.labels) if self.decision is None else self.decision.label_set(self.labels, self.scores)

    def window_labels(self) -> list[str]:
        return [self.labels[i] for i in np.argmax(self.window_scores, axis=1)] if self.has_scores else []

    @property
    def counted(self) -> NDArray[np.bool_]:
        """Which windows (n_windows,) count for the recording: the ``loud`` ones, all of them if that is not known."""
        return self.loud if len(self.loud) else np.ones(len(self.starts_s), bool)


@dataclass(frozen=True)
class RecordingScores:
    """The scores of a recording and of its windows: all that a `RecordingPrediction` needs besides the account.

    ``log_scores`` are float32 (n_windows, n_labels), ``scores`` (n_labels,) and ``embedding`` (embedding_size,). The
    latter two come from the windows that are ``loud`` (n_windows,). ``character`` is what the signal is like, None
    if it is not known what those were like that the network learned from. ``log_scores`` and ``loud`` are empty where
    windows were not asked for.
    """

    log_scores: spill.ScoreRows
    scores: Scores
    embedding: Scores
    loud: NDArray[np.bool_]
    signal_stats: SignalStats | None = None

    def prediction(
        self,
        rules: PredictionRules,
        recording: str,
        account: RecordingStatus,
        stretch: tuple[float, float] | None = None,
    ) -> RecordingPrediction:
        found = prediction_from_scores(
            rules.spec,
            rules.labels,
            recording,
            account,
            stretch,
            scores=self.scores,
            window_scores=np.exp(self.log_scores, dtype=np.float64),
            embedding=self.embedding,
            loud=self.loud,
        )
        return replace(found, decision=rules.decision, signal_stats=self.signal_stats, training_domain=rules.domain)

    def domain_check(self, rules: PredictionRules) -> DomainCheck | None:
        """How the recording stands to those that were learned from, without the windows of a `RecordingPrediction`."""
        return _standing(rules.domain, rules.decision, rules.labels, self.signal_stats, self.scores, self.embedding)


def prediction_from_scores(
    spec: FeatureSpec,
    labels: Labels,
    recording: str,
    account: RecordingStatus,
    stretch: tuple[float, float] | None,
    *,
    scores: Scores,
    window_scores: Scores,
    embedding: Scores,
    loud: NDArray[np.bool_] | None = None,
) -> RecordingPrediction:
    """Return a prediction whose scores are known already; without ``window_scores`` it says nothing of windows."""
    firsts = usable_window_starts(spec, account, stretch) if len(window_scores) else np.zeros(0, np.int64)
    starts_s = extract.window_start_s(firsts, spec)
    return RecordingPrediction(
        recording=recording,
        account=account.for_stretch(stretch, spec),
        labels=labels,
        scores=scores,
        starts_s=starts_s,
        ends_s=np.minimum(starts_s + spec.window_s, account.duration_s),
        window_scores=window_scores,
        embedding=embedding,
        loud=np.zeros(0, bool) if loud is None else loud,
    )


def _standing(
    domain: Domain | None,
    decision: Decision | None,
    labels: Labels,
    found: SignalStats | None,
    scores: Scores,
    embedding: Scores,
) -> DomainCheck | None:
    if domain is None or found is None:
        return None
    if decision is None:
        return domain.check(found)
    unfamiliar = decision.doubt(labels, scores, embedding) == "unfamiliar"
    return domain.check(found, resemblance=decision.resemblance(scores, embedding), unfamiliar=unfamiliar)


def make_prediction(
    rules: PredictionRules, recording: str, account: RecordingStatus, scores: RecordingScores | None
) -> RecordingPrediction:
    """Return the prediction of the scores of a recording; None are those of one that cannot be used."""
    return (
        empty_prediction(recording, account, rules.labels)
        if scores is None
        else scores.prediction(rules, recording, account)
    )


def empty_prediction(recording: str, account: RecordingStatus, labels: Labels) -> RecordingPrediction:
    """Return the prediction for a recording that cannot be used, which says nothing but why."""
    nothing = np.zeros(0)
    return RecordingPrediction(recording, account, labels, nothing, nothing, nothing, np.zeros((0, len(labels))))


def usable_window_starts(
    spec: FeatureSpec, account: RecordingStatus, stretch: tuple[float, float] | None
) -> NDArray[np.int64]:
    """Return the first frames of the windows of a recording, or of a ``stretch`` of it; none if it cannot be used."""
    heard = account.for_stretch(stretch, spec).status == "ok"
    return extract.window_starts(account.n_frames if heard else 0, spec, stretch)
