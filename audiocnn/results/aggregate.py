"""Logits of windows to scores of windows and of the recording."""

import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from audiocnn.features import extract
from audiocnn.features.extract import Array, Frames
from audiocnn.features.listen import Account
from audiocnn.model.decision import Decision, Doubt
from audiocnn.model.runtime import Runtime
from audiocnn.specs import FeatureSpec

_VALUES_AT_A_TIME = 1 << 22  # windows are copied out of the frames; so many values of them (16 MiB) at a time

Scores = NDArray[np.float64]


class Judge(Protocol):
    """A network that can be asked about windows: a bundle, or one that is not kept."""

    @property
    def spec(self) -> FeatureSpec: ...

    @property
    def labels(self) -> tuple[str, ...]: ...

    @property
    def positive_index(self) -> int | None:
        """Which label a single output stands for."""
        ...

    @property
    def temperature(self) -> float:
        """What logits are divided by before they become scores."""
        ...

    @property
    def decision(self) -> Decision | None:
        """How scores become decisions; None: the highest score wins, and nothing is unknown."""
        ...

    @property
    def runtime(self) -> Runtime: ...


@dataclass(frozen=True)
class Prediction:
    """What the model says about one recording, and what became of the recording.

    ``starts_s`` and ``ends_s`` are (n_windows,), ``window_scores`` (n_windows, n_labels) and ``scores`` (n_labels,),
    the latter summing to 1; all are empty unless the account says ok. No label is given for what was not heard.
    ``embedding`` (embedding_size,) is the mean over the windows that count, empty if it is not known.
    """

    recording: str
    account: Account
    labels: tuple[str, ...]
    scores: Scores
    starts_s: Scores
    ends_s: Scores
    window_scores: Scores
    embedding: Scores = field(default_factory=lambda: np.zeros(0))
    decision: Decision | None = None

    @property
    def heard(self) -> bool:
        return self.account.status == "ok"

    @cached_property
    def label(self) -> str:
        """The label that is predicted, which for a recording of `doubt` is the nearest; empty if it was not heard."""
        if not self.heard:
            return ""
        if self.decision is not None:
            return self.decision.label(self.labels, self.scores)
        return self.labels[int(np.argmax(self.scores))]

    @property
    def score(self) -> float | None:
        """The score of `label`."""
        return float(self.scores[self.labels.index(self.label)]) if self.heard else None

    @cached_property
    def doubt(self) -> Doubt:
        """Why the recording is unknown, if it is."""
        known = not self.heard or self.decision is None
        return "" if known or self.decision is None else self.decision.doubt(self.labels, self.scores, self.embedding)

    @property
    def status(self) -> str:
        """That of the account, or unknown."""
        return "unknown" if self.doubt else self.account.status

    @property
    def reason(self) -> str:
        """The codes of the account, and the doubt."""
        return ";".join(filter(None, (self.account.reason, self.doubt)))

    @property
    def label_set(self) -> tuple[str, ...]:
        """The labels that it may be, most likely first; all if nothing was fitted, none if it was not heard."""
        if not self.heard:
            return ()
        return self.labels if self.decision is None else self.decision.label_set(self.labels, self.scores)

    def window_labels(self) -> list[str]:
        return [self.labels[i] for i in np.argmax(self.window_scores, axis=1)] if self.heard else []


def log_scores(logits: NDArray[np.float32], *, temperature: float = 1.0, positive: int | None = None) -> Scores:
    """Return log-probabilities (n, n_labels) of logits (n, n_outputs), in float64.

    One output is one sigmoid over two labels: its probability belongs to label number ``positive``.
    """
    z = logits.astype(np.float64) / temperature
    if z.shape[1] == 1:
        other = np.zeros_like(z)
        z = np.concatenate([other, z] if positive == 1 else [z, other], axis=1)
    return normalised(z)


def normalised(log: Scores) -> Scores:
    """Return log-probabilities (n, n_labels) that differ from ``log`` by a constant a row."""
    log = log - log.max(axis=1, keepdims=True)
    return log - np.log(np.exp(log).sum(axis=1, keepdims=True))


def recording_scores(window_log_scores: Scores) -> Scores:
    """Return the scores (n_labels,) of a recording: the softmax of the mean log-probability of its windows.

    >>> recording_scores(np.log([[0.5, 0.5], [0.9, 0.1]])).round(3).tolist()
    [0.75, 0.25]
    """
    mean = window_log_scores.mean(axis=0)
    scores = np.exp(mean - mean.max())
    return np.asarray(scores / scores.sum())


def predict(
    judge: Judge,
    recording: str,
    account: Account,
    frames: Array | Frames,
    stretch: tuple[float, float] | None = None,
) -> Prediction:
    """Return what ``judge`` says about the frames (n_frames * n_tracks, n_bins, n_channels) of a recording.

    ``stretch``, start and end in seconds, is what is judged of it; None for all. Where tracks were heard side by side,
    a window's score is the mean of theirs (of their log-probabilities). Quiet windows do not count for the recording.
    """
    spec = judge.spec
    n_tracks = spec.n_tracks(account.n_channels)
    starts = _starts(spec, account, stretch)
    if not len(starts):
        return unheard(recording, account.of_stretch(stretch, spec), judge.labels)
    at_a_time = max(1, _VALUES_AT_A_TIME // (math.prod(spec.shape) * n_tracks))
    scores, levels, embeddings = [], [], []
    for first in range(0, len(starts), at_a_time):
        X = extract.cut(frames, starts[first : first + at_a_time], spec, n_tracks)
        logits, embedding = judge.runtime(X)
        levels.append(extract.levels(X, spec).reshape(-1, n_tracks).max(axis=1))
        scores.append(log_scores(logits, temperature=judge.temperature, positive=judge.positive_index))
        embeddings.append(embedding)
    log = normalised(np.concatenate(scores).reshape(len(starts), n_tracks, len(judge.labels)).mean(axis=1))
    loud = extract.loud(np.concatenate(levels), spec)
    found = assembled(
        spec,
        judge.labels,
        recording,
        account,
        stretch,
        scores=recording_scores(log[loud]),
        window_scores=np.exp(log),
        embedding=np.concatenate(embeddings)[np.repeat(loud, n_tracks)].mean(axis=0, dtype=np.float64),
    )
    return found if judge.decision is None else replace(found, decision=judge.decision)


def assembled(
    spec: FeatureSpec,
    labels: tuple[str, ...],
    recording: str,
    account: Account,
    stretch: tuple[float, float] | None,
    *,
    scores: Scores,
    window_scores: Scores,
    embedding: Scores,
) -> Prediction:
    """Return a prediction whose scores are known already."""
    starts_s = extract.start_s(_starts(spec, account, stretch), spec)
    return Prediction(
        recording=recording,
        account=account.of_stretch(stretch, spec),
        labels=labels,
        scores=scores,
        starts_s=starts_s,
        ends_s=np.minimum(starts_s + spec.window_s, account.duration_s),
        window_scores=window_scores,
        embedding=embedding,
    )


def unheard(recording: str, account: Account, labels: tuple[str, ...]) -> Prediction:
    """Return the prediction for a recording that cannot be used, which says nothing but why."""
    nothing = np.zeros(0)
    return Prediction(recording, account, labels, nothing, nothing, nothing, np.zeros((0, len(labels))))


def _starts(spec: FeatureSpec, account: Account, stretch: tuple[float, float] | None) -> NDArray[np.int64]:
    heard = account.of_stretch(stretch, spec).status == "ok"
    return extract.window_starts(account.n_frames if heard else 0, spec, stretch)
