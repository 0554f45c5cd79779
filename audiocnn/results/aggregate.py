"""Logits of windows to scores of windows and of the recording."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from audiocnn.features import extract
from audiocnn.features.extract import Array, Frames
from audiocnn.features.listen import Account
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
    def runtime(self) -> Runtime: ...


@dataclass(frozen=True)
class Prediction:
    """What the model says about one recording, and what became of the recording.

    ``starts_s`` and ``ends_s`` are (n_windows,), ``window_scores`` (n_windows, n_labels) and ``scores`` (n_labels,),
    the latter summing to 1; all are empty unless the account says ok. No label is given for what was not heard.
    """

    recording: str
    account: Account
    labels: tuple[str, ...]
    scores: Scores
    starts_s: Scores
    ends_s: Scores
    window_scores: Scores

    @property
    def heard(self) -> bool:
        return self.account.status == "ok"

    @cached_property
    def label(self) -> str:
        """The label with the highest score; empty for a recording that was not heard."""
        return self.labels[int(np.argmax(self.scores))] if self.heard else ""

    @property
    def score(self) -> float | None:
        """The score of `label`."""
        return float(self.scores.max()) if self.heard else None

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
    at_a_time = max(1, _VALUES_AT_A_TIME // (math.prod(spec.shape) * n_tracks))
    scores, levels = [np.zeros((0, len(judge.labels)))], [np.zeros(0, np.float32)]
    for first in range(0, len(starts), at_a_time):
        X = extract.cut(frames, starts[first : first + at_a_time], spec, n_tracks)
        logits, _ = judge.runtime(X)
        levels.append(extract.levels(X, spec).reshape(-1, n_tracks).max(axis=1))
        scores.append(log_scores(logits, temperature=judge.temperature, positive=judge.positive_index))
    log = normalised(np.concatenate(scores).reshape(len(starts), n_tracks, len(judge.labels)).mean(axis=1))
    loud = extract.loud(np.concatenate(levels), spec)
    whole = recording_scores(log[loud]) if len(log) else np.zeros(0)
    return assembled(spec, judge.labels, recording, account, stretch, scores=whole, window_scores=np.exp(log))


def assembled(
    spec: FeatureSpec,
    labels: tuple[str, ...],
    recording: str,
    account: Account,
    stretch: tuple[float, float] | None,
    *,
    scores: Scores,
    window_scores: Scores,
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
    )


def unheard(recording: str, account: Account, labels: tuple[str, ...]) -> Prediction:
    """Return the prediction for a recording that cannot be used, which says nothing but why."""
    nothing = np.zeros(0)
    return Prediction(recording, account, labels, nothing, nothing, nothing, np.zeros((0, len(labels))))


def _starts(spec: FeatureSpec, account: Account, stretch: tuple[float, float] | None) -> NDArray[np.int64]:
    heard = account.of_stretch(stretch, spec).status == "ok"
    return extract.window_starts(account.n_frames if heard else 0, spec, stretch)
