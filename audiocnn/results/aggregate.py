"""Logits of windows to scores of windows and of the recording."""

import contextlib
import math
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from audiocnn.errors import OutputError
from audiocnn.features import character, extract
from audiocnn.features.character import Character, Observer
from audiocnn.features.extract import Array, Frames
from audiocnn.features.listen import Account
from audiocnn.model.decision import Decision, Doubt
from audiocnn.model.domain import Domain, Standing
from audiocnn.model.runtime import Runtime
from audiocnn.results import stored
from audiocnn.specs import FeatureSpec

_VALUES_AT_A_TIME = 1 << 18  # windows are copied out of the frames; so many values of them (1 MiB) at a time
_JOINED = 256  # windows: shown a few at a time, a list of their levels would take more memory than the levels
_HELD_BYTES = 4 << 20  # of the log scores of a recording's windows, and of their embeddings; more go to temporary files

Scores = NDArray[np.float64]


class Rules(Protocol):
    """What a prediction is to be read by."""

    @property
    def spec(self) -> FeatureSpec: ...

    @property
    def labels(self) -> tuple[str, ...]: ...

    @property
    def decision(self) -> Decision | None:
        """How scores become decisions; None: the highest score wins, and nothing is unknown."""
        ...

    @property
    def domain(self) -> Domain | None:
        """What was learned from; None if that is not known."""
        ...


class Judge(Rules, Protocol):
    """A network that can be asked about windows: a bundle, or one that is not kept."""

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


@dataclass(frozen=True, eq=False)
class Prediction:
    """What the model says about one recording, and what became of the recording.

    ``starts_s`` and ``ends_s`` are (n_windows,), ``window_scores`` (n_windows, n_labels) and ``scores`` (n_labels,),
    the latter summing to 1; all are empty unless the account says ok. No label is given for what was not heard. What
    there is of windows is empty as well where it was not asked for.
    ``embedding`` (embedding_size,) is the mean over the windows that count, empty if it is not known. ``loud``
    (n_windows,) tells which windows those are, empty if it is not known. ``character`` is what its signal is like,
    ``learned_from`` what those were like that the model learned from, None if it is not known.
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
    loud: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))
    character: Character | None = None
    learned_from: Domain | None = None

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

    @cached_property
    def domain(self) -> Standing | None:
        """How the recording stands to those that the model learned from; None if that is not known."""
        rules = (self.learned_from, self.decision, self.labels)
        return _standing(*rules, self.character, self.scores, self.embedding) if self.heard else None

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
    with Tally(judge, n_tracks) as tally:
        for first in range(0, len(starts), tally.at_a_time):
            tally.add(extract.cut(frames, starts[first : first + tally.at_a_time], spec, n_tracks))
        verdict = tally.verdict()
    if judge.domain is not None:
        span = extract.span(account.n_frames, spec, stretch)
        verdict = replace(verdict, character=character.of(frames, spec, n_tracks, span))
    return verdict.prediction(judge, recording, account, stretch)


@dataclass(frozen=True)
class Verdict:
    """What a network said about a recording: all that a `Prediction` needs besides the account.

    ``log_scores`` are float32 (n_windows, n_labels), ``scores`` (n_labels,) and ``embedding`` (embedding_size,). The
    latter two come from the windows that are ``loud`` (n_windows,). ``character`` is what the signal is like, None
    if it is not known what those were like that the network learned from. ``log_scores`` and ``loud`` are empty where
    windows were not asked for.
    """

    log_scores: stored.Rows
    scores: Scores
    embedding: Scores
    loud: NDArray[np.bool_]
    character: Character | None = None

    def prediction(
        self, judge: "Rules", recording: str, account: Account, stretch: tuple[float, float] | None = None
    ) -> Prediction:
        found = assembled(
            judge.spec,
            judge.labels,
            recording,
            account,
            stretch,
            scores=self.scores,
            window_scores=np.exp(self.log_scores, dtype=np.float64),
            embedding=self.embedding,
            loud=self.loud,
        )
        return replace(found, decision=judge.decision, character=self.character, learned_from=judge.domain)

    def standing(self, judge: "Rules") -> Standing | None:
        """How the recording stands to those that were learned from, without the windows of a `Prediction`."""
        rules = (judge.domain, judge.decision, judge.labels)
        return _standing(*rules, self.character, self.scores, self.embedding)


@contextlib.contextmanager
def _not_the_recordings_fault() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        what = f"{tempfile.tempdir or 'temporary folder'}: cannot be written ({error.strerror or error})"
        raise OutputError(f"{what}; make room there, or set TMPDIR to another folder") from error


class Tally:
    """What a network says about the windows of one recording, which are shown to it some at a time.

    Memory grows by a level of each window. Which windows count is known only after the last one, so their log scores
    and embeddings are kept until then, in files where there are many. Show it ``at_a_time`` windows whenever there
    are as many: then the same windows give the same numbers to the last digit. ``watch`` is called with the log scores
    (n, n_labels) of windows that were shown.
    """

    def __init__(
        self,
        judge: Judge,
        n_tracks: int,
        *,
        at_a_time: int | None = None,
        watch: Callable[[Scores], None] | None = None,
    ) -> None:
        self.at_a_time = at_a_time or max(1, _VALUES_AT_A_TIME // (math.prod(judge.spec.shape) * n_tracks))
        self._watch = watch
        self._judge, self._n_tracks = judge, n_tracks
        self._levels: list[Array] = []
        self._log_scores = tempfile.SpooledTemporaryFile(_HELD_BYTES)  # noqa: SIM115 - closed by __exit__
        self._embeddings = tempfile.SpooledTemporaryFile(_HELD_BYTES)  # noqa: SIM115 - closed by __exit__
        self._row_bytes = 0

    def __enter__(self) -> "Tally":
        return self

    def __exit__(self, *_: object) -> None:
        for file in (self._log_scores, self._embeddings):
            with contextlib.suppress(OSError):  # what it could not write is not asked for any more
                file.close()

    def add(self, X: Array) -> None:
        """Show it windows (n * n_tracks, *shape), the tracks of a window one after the other."""
        judge = self._judge
        logits, embeddings = judge.runtime(X)
        log = log_scores(logits, temperature=judge.temperature, positive=judge.positive_index)
        log = normalised(log.reshape(-1, self._n_tracks, len(judge.labels)).mean(axis=1))
        _add(self._levels, extract.levels(X, judge.spec).reshape(-1, self._n_tracks).max(axis=1))
        embeddings = embeddings.reshape(-1, self._n_tracks, embeddings.shape[1]).mean(axis=1)
        self._row_bytes = embeddings.itemsize * embeddings.shape[1]
        with _not_the_recordings_fault():
            self._log_scores.write(log.tobytes())
            self._embeddings.write(embeddings.tobytes())
        if self._watch is not None:
            self._watch(log)

    def verdict(self, folder: Path | None = None) -> Verdict:
        """Sum up, at least one window having been shown; it cannot be shown any more.

        Where there is a ``folder``, log scores that are many are left in a file there.
        """
        loud = extract.loud(np.concatenate(self._levels), self._judge.spec)
        n_labels, first = len(self._judge.labels), 0
        log_sum, embedding_sum = np.zeros(n_labels), np.zeros(self._row_bytes // 4)
        with _not_the_recordings_fault():
            self._embeddings.seek(0)
            for log in self._kept_log_scores():
                counts = loud[first : first + len(log)]
                first += len(log)
                log_sum = np.concatenate([log_sum[None], log[counts]]).sum(axis=0)  # in the order of one long sum
                embeddings = np.frombuffer(self._embeddings.read(len(log) * self._row_bytes), np.float32)
                embedding_sum += embeddings.reshape(len(log), -1)[counts].sum(axis=0, dtype=np.float64)
            log_scores = stored.gathered(self._kept_log_scores(), (len(loud), n_labels), folder)
        n = np.count_nonzero(loud)
        return Verdict(log_scores, recording_scores(log_sum[None] / n), embedding_sum / n, loud)

    def _kept_log_scores(self) -> Iterator[Scores]:
        """Yield the log scores (n, n_labels) of all windows, some at a time."""
        n_labels = len(self._judge.labels)
        self._log_scores.seek(0)
        for levels in self._levels:
            yield np.frombuffer(self._log_scores.read(len(levels) * n_labels * 8)).reshape(len(levels), n_labels)


class Stream:
    """Frames of a recording in, as they come; its `Verdict` out, the same as if all frames had been there at once.

    Give ``beside`` a pool of one thread to have windows judged there while further frames are made. Windows are judged
    when there are ``at_a_time`` of them: None for as many as go fastest. ``watch`` is that of a `Tally`.
    """

    def __init__(
        self,
        judge: Judge,
        n_tracks: int,
        beside: ThreadPoolExecutor | None = None,
        *,
        at_a_time: int | None = None,
        watch: Callable[[Scores], None] | None = None,
    ) -> None:
        self._spec, self._n_tracks, self._beside = judge.spec, n_tracks, beside
        self._tally = Tally(judge, n_tracks, at_a_time=at_a_time, watch=watch)
        self._observer = None if judge.domain is None else Observer(judge.spec, n_tracks)
        self._held: list[Array] = []
        self._first = 0  # number of the first frame that is held
        self._n_frames = self._n_windows = 0
        self._under_way: Future[None] | None = None

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *_: object) -> None:
        if self._under_way is not None:
            self._under_way.exception()
        self._tally.__exit__()

    def add(self, frames: Array) -> None:
        """Take the next frames (n * n_tracks, n_bins, n_channels)."""
        if self._observer is not None:
            self._observer.add(frames)
        self._held.append(frames)
        self._n_frames += len(frames) // self._n_tracks
        n, hop = self._tally.at_a_time, self._spec.hop_frames
        while self._n_frames >= (self._n_windows + n - 1) * hop + self._spec.window_frames:
            self._judge(np.arange(self._n_windows, self._n_windows + n) * hop)

    def verdict(self, folder: Path | None = None) -> Verdict:
        """Sum up after the last frame; there must have been enough of them for a window.

        ``folder`` is that of `Tally.verdict`.
        """
        starts = extract.window_starts(self._n_frames, self._spec)[self._n_windows :]
        if len(starts):
            self._judge(starts)
        if self._under_way is not None:
            self._under_way.result()
        found = self._tally.verdict(folder)
        return found if self._observer is None else replace(found, character=self._observer.character())

    def _judge(self, starts: NDArray[np.int64]) -> None:
        """Judge windows that begin at these frames, and let go of what lies before the last of them."""
        rows = np.concatenate(self._held)
        X = extract.cut(rows, starts - self._first, self._spec, self._n_tracks)
        self._held = [rows[(starts[-1] - self._first) * self._n_tracks :].copy()]
        self._first = int(starts[-1])
        self._n_windows += len(starts)
        if self._beside is None:
            self._tally.add(X)
            return
        before, self._under_way = self._under_way, self._beside.submit(self._tally.add, X)
        if before is not None:
            before.result()


def _add(parts: list[NDArray[Any]], rows: NDArray[Any]) -> None:
    """Add rows to the last of ``parts`` while that is short, else as a further one."""
    if parts and len(parts[-1]) < _JOINED:
        rows = np.concatenate([parts.pop(), rows])
    parts.append(rows)


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
    loud: NDArray[np.bool_] | None = None,
) -> Prediction:
    """Return a prediction whose scores are known already; without ``window_scores`` it says nothing of windows."""
    starts = _starts(spec, account, stretch) if len(window_scores) else np.zeros(0, np.int64)
    starts_s = extract.start_s(starts, spec)
    return Prediction(
        recording=recording,
        account=account.of_stretch(stretch, spec),
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
    labels: tuple[str, ...],
    found: Character | None,
    scores: Scores,
    embedding: Scores,
) -> Standing | None:
    if domain is None or found is None:
        return None
    if decision is None:
        return domain.standing(found)
    unfamiliar = decision.doubt(labels, scores, embedding) == "unfamiliar"
    return domain.standing(found, resemblance=decision.resemblance(scores, embedding), unfamiliar=unfamiliar)


def unheard(recording: str, account: Account, labels: tuple[str, ...]) -> Prediction:
    """Return the prediction for a recording that cannot be used, which says nothing but why."""
    nothing = np.zeros(0)
    return Prediction(recording, account, labels, nothing, nothing, nothing, np.zeros((0, len(labels))))


def _starts(spec: FeatureSpec, account: Account, stretch: tuple[float, float] | None) -> NDArray[np.int64]:
    heard = account.of_stretch(stretch, spec).status == "ok"
    return extract.window_starts(account.n_frames if heard else 0, spec, stretch)
