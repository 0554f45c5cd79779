"""Logits of windows to the scores of a recording, by one accumulator for every command and the Python interface."""

import contextlib
import itertools
import math
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from audiocnn.audio.decode import Decoder
from audiocnn.errors import AudioError, OutputError
from audiocnn.features import extract, signal_stats
from audiocnn.features.analyze import RecordingStatus, analyze
from audiocnn.features.extract import Array, Frames
from audiocnn.features.signal_stats import SignalStatsAccumulator
from audiocnn.features.windows import Windows
from audiocnn.inference import spill
from audiocnn.inference.prediction import (
    PredictionRules,
    RecordingPrediction,
    RecordingScores,
    Scores,
    empty_prediction,
    usable_window_starts,
)
from audiocnn.labels import Labels
from audiocnn.model.bundle import Bundle
from audiocnn.model.runtime import Runtime

_VALUES_AT_A_TIME = 1 << 18  # windows are copied out of the frames; so many values of them (1 MiB) at a time
_JOINED = 256  # windows: shown a few at a time, a list of their levels would take more memory than the levels
_HELD_BYTES = 4 << 20  # of the log scores of a recording's windows, and of their embeddings; more go to temporary files

ScoreCallback = Callable[[Scores, Array], None]  # called with log scores (n, n_labels), embeddings (n, embedding_size)


class Classifier(PredictionRules, Protocol):
    """A network that gives scores to windows: a bundle, or one that is not stored."""

    @property
    def temperature(self) -> float:
        """What logits are divided by before they become scores."""
        ...

    @property
    def runtime(self) -> Runtime: ...


def log_scores(logits: NDArray[np.float32], labels: Labels, temperature: float = 1.0) -> Scores:
    """Return log-probabilities (n, n_labels) of logits (n, n_outputs), in float64.

    One output is one sigmoid over two labels: its probability is that of the positive label.

    >>> np.exp(log_scores(np.zeros((1, 1), np.float32), Labels(("owl", "wind"), positive="owl"))).tolist()
    [[0.5, 0.5]]
    """
    z = logits.astype(np.float64) / temperature
    if z.shape[1] == 1:
        other = np.zeros_like(z)
        z = np.concatenate([other, z] if labels.positive_index == 1 else [z, other], axis=1)
    return _normalised(z)


def _normalised(log: Scores) -> Scores:
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


def accuracies(log_scores: Scores, windows: Windows) -> tuple[float, float]:
    """Return the shares of recordings and of ``windows`` whose highest score is that of their label.

    ``log_scores`` (n_windows, n_labels) are those of the windows. A recording without windows does not count.
    """
    bounds = [(first, last) for first, last in itertools.pairwise(windows.bounds) if last > first]
    predicted = np.array([recording_scores(log_scores[first:last]).argmax() for first, last in bounds])
    truth = np.array([windows.y[first] for first, _ in bounds])
    return float((predicted == truth).mean()), float((log_scores.argmax(axis=1) == windows.y).mean())


def predict_frames(
    classifier: Classifier,
    recording: str,
    account: RecordingStatus,
    frames: Array | Frames,
    stretch: tuple[float, float] | None = None,
) -> RecordingPrediction:
    """Return the prediction for the frames (n_frames * n_tracks, n_bins, n_channels) of a recording.

    ``stretch``, start and end in seconds, is the part of it to predict; None for all. The score of a window is the mean
    of those of its tracks (of their log-probabilities). Quiet windows do not count for the recording.
    """
    spec = classifier.spec
    n_tracks = spec.n_tracks(account.n_channels)
    firsts = usable_window_starts(spec, account, stretch)
    if not len(firsts):
        return empty_prediction(recording, account.for_stretch(stretch, spec), classifier.labels)
    with ScoreAccumulator(classifier, n_tracks) as accumulator:
        for first in range(0, len(firsts), accumulator.batch_size):
            accumulator.add(extract.cut_windows(frames, firsts[first : first + accumulator.batch_size], spec, n_tracks))
        found = accumulator.result()
    if classifier.domain is not None:
        span = extract.frame_range(account.n_frames, spec, stretch)
        found = replace(found, signal_stats=signal_stats.measure(frames, spec, n_tracks, span))
    return found.prediction(classifier, recording, account, stretch)


def score_recording(
    source: Path | Decoder,
    model: Bundle,
    *,
    sha256: str = "",
    folder: Path | None = None,
    executor: ThreadPoolExecutor | None = None,
    batch_size: int | None = None,
    on_scores: ScoreCallback | None = None,
    network_context: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
    progress: Callable[[Decoder], None] | None = None,
) -> tuple[RecordingStatus, RecordingScores | None]:
    """Read a recording once, front to back; return its account, and its scores if the account is ok.

    ``sha256`` is that of the recording, for the account. ``folder`` is that of `ScoreAccumulator.result`; ``executor``,
    ``batch_size`` and ``on_scores`` are those of `StreamingScorer`. The network runs inside ``network_context``;
    ``progress`` is called after every block of frames.
    """
    try:
        with Decoder(source) if isinstance(source, Path) else source as decoder:
            n_tracks = max(1, model.spec.n_tracks(decoder.facts.n_channels))
            with StreamingScorer(model, n_tracks, executor, batch_size=batch_size, on_scores=on_scores) as scorer:

                def add(frames: Array) -> None:
                    with network_context():
                        scorer.add(frames)
                    if progress is not None:
                        progress(decoder)

                account = analyze(decoder, spec=model.spec, frontend=model.frontend, keep=add, sha256=sha256)
                with network_context():
                    return account, scorer.result(folder) if account.status == "ok" else None
    except AudioError as error:
        return RecordingStatus.from_error(error, sha256), None
    except OSError as error:
        unreadable = AudioError("unreadable", f"cannot be read ({error.strerror})")
        return RecordingStatus.from_error(unreadable, sha256), None


@contextlib.contextmanager
def _not_the_recordings_fault() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        what = f"{tempfile.tempdir or 'temporary folder'}: cannot be written ({error.strerror or error})"
        raise OutputError(f"{what}; make room there, or set TMPDIR to another folder") from error


class ScoreAccumulator:
    """Windows of one recording in, some at a time; the scores of the recording out.

    The commands and the Python interface all use it, so a recording has one score. Memory grows by a level of each
    window. Which windows count is known only after the last one, so their log scores and embeddings are kept until
    then, in files if there are many. Add ``batch_size`` windows whenever there are as many: then the same windows give
    the same numbers to the last digit. ``on_scores`` is called with the log scores (n, n_labels) and the embeddings
    (n, embedding_size) of every addition.
    """

    def __init__(
        self,
        classifier: Classifier,
        n_tracks: int,
        *,
        batch_size: int | None = None,
        on_scores: ScoreCallback | None = None,
    ) -> None:
        self.batch_size = batch_size or max(1, _VALUES_AT_A_TIME // (math.prod(classifier.spec.shape) * n_tracks))
        self._on_scores = on_scores
        self._classifier, self._n_tracks = classifier, n_tracks
        self._levels: list[Array] = []
        self._log_scores = tempfile.SpooledTemporaryFile(_HELD_BYTES)  # noqa: SIM115 - closed by __exit__
        self._embeddings = tempfile.SpooledTemporaryFile(_HELD_BYTES)  # noqa: SIM115 - closed by __exit__
        self._row_bytes = 0

    def __enter__(self) -> "ScoreAccumulator":
        return self

    def __exit__(self, *_: object) -> None:
        for file in (self._log_scores, self._embeddings):
            with contextlib.suppress(OSError):  # what it could not write is not asked for any more
                file.close()

    def add(self, X: Array) -> None:
        """Add windows (n * n_tracks, *shape), the tracks of a window one after the other."""
        classifier = self._classifier
        logits, embeddings = classifier.runtime(X)
        log = log_scores(logits, classifier.labels, classifier.temperature)
        log = _normalised(log.reshape(-1, self._n_tracks, len(classifier.labels)).mean(axis=1))
        _add(self._levels, extract.window_levels(X, classifier.spec, self._n_tracks))
        embeddings = embeddings.reshape(-1, self._n_tracks, embeddings.shape[1]).mean(axis=1)
        self._row_bytes = embeddings.itemsize * embeddings.shape[1]
        with _not_the_recordings_fault():
            self._log_scores.write(log.tobytes())
            self._embeddings.write(embeddings.tobytes())
        if self._on_scores is not None:
            self._on_scores(log, embeddings)

    def result(self, folder: Path | None = None) -> RecordingScores:
        """Return the scores of the recording; at least one window must have been added, and none may be added later.

        If there is a ``folder``, log scores that are many are left in a file there.
        """
        loud = extract.loud_windows(np.concatenate(self._levels), self._classifier.spec)
        n_labels, first = len(self._classifier.labels), 0
        log_sum, embedding_sum = np.zeros(n_labels), np.zeros(self._row_bytes // 4)
        with _not_the_recordings_fault():
            self._embeddings.seek(0)
            for log in self._kept_log_scores():
                counts = loud[first : first + len(log)]
                first += len(log)
                log_sum = np.concatenate([log_sum[None], log[counts]]).sum(axis=0)  # in the order of one long sum
                embeddings = np.frombuffer(self._embeddings.read(len(log) * self._row_bytes), np.float32)
                embedding_sum += embeddings.reshape(len(log), -1)[counts].sum(axis=0, dtype=np.float64)
            log_scores = spill.store_rows(self._kept_log_scores(), (len(loud), n_labels), folder)
        n = np.count_nonzero(loud)
        return RecordingScores(log_scores, recording_scores(log_sum[None] / n), embedding_sum / n, loud)

    def _kept_log_scores(self) -> Iterator[Scores]:
        """Yield the log scores (n, n_labels) of all windows, some at a time."""
        n_labels = len(self._classifier.labels)
        self._log_scores.seek(0)
        for levels in self._levels:
            yield np.frombuffer(self._log_scores.read(len(levels) * n_labels * 8)).reshape(len(levels), n_labels)


class StreamingScorer:
    """Frames of a recording in, as they come; its `RecordingScores` out, the same as from all frames at once.

    Give ``executor`` a pool of one thread to run the network there while more frames are made. It runs whenever there
    are ``batch_size`` windows: None for as many as are fastest. ``on_scores`` is that of a `ScoreAccumulator`.
    """

    def __init__(
        self,
        classifier: Classifier,
        n_tracks: int,
        executor: ThreadPoolExecutor | None = None,
        *,
        batch_size: int | None = None,
        on_scores: ScoreCallback | None = None,
    ) -> None:
        self._spec, self._n_tracks, self._executor = classifier.spec, n_tracks, executor
        self._accumulator = ScoreAccumulator(classifier, n_tracks, batch_size=batch_size, on_scores=on_scores)
        self._observer = None if classifier.domain is None else SignalStatsAccumulator(classifier.spec, n_tracks)
        self._held: list[Array] = []
        self._first = 0  # number of the first frame that is held
        self._n_frames = self._n_windows = 0
        self._under_way: Future[None] | None = None

    def __enter__(self) -> "StreamingScorer":
        return self

    def __exit__(self, *_: object) -> None:
        if self._under_way is not None:
            self._under_way.exception()
        self._accumulator.__exit__()

    def add(self, frames: Array) -> None:
        """Take the next frames (n * n_tracks, n_bins, n_channels)."""
        if self._observer is not None:
            self._observer.add(frames)
        self._held.append(frames)
        self._n_frames += len(frames) // self._n_tracks
        n, hop = self._accumulator.batch_size, self._spec.hop_frames
        while self._n_frames >= (self._n_windows + n - 1) * hop + self._spec.window_frames:
            self._run(np.arange(self._n_windows, self._n_windows + n) * hop)

    def result(self, folder: Path | None = None) -> RecordingScores:
        """Return the scores of the recording after its last frame; there must be enough frames for a window.

        ``folder`` is that of `ScoreAccumulator.result`.
        """
        starts = extract.window_starts(self._n_frames, self._spec)[self._n_windows :]
        if len(starts):
            self._run(starts)
        if self._under_way is not None:
            self._under_way.result()
        found = self._accumulator.result(folder)
        return found if self._observer is None else replace(found, signal_stats=self._observer.character())

    def _run(self, starts: NDArray[np.int64]) -> None:
        """Add the windows that begin at these frames, and drop the frames before the last of them."""
        rows = np.concatenate(self._held)
        X = extract.cut_windows(rows, starts - self._first, self._spec, self._n_tracks)
        self._held = [rows[(starts[-1] - self._first) * self._n_tracks :].copy()]
        self._first = int(starts[-1])
        self._n_windows += len(starts)
        if self._executor is None:
            self._accumulator.add(X)
            return
        before, self._under_way = self._under_way, self._executor.submit(self._accumulator.add, X)
        if before is not None:
            before.result()


def _add(parts: list[NDArray[Any]], rows: NDArray[Any]) -> None:
    """Add rows to the last of ``parts`` while that is short, else as a further one."""
    if parts and len(parts[-1]) < _JOINED:
        rows = np.concatenate([parts.pop(), rows])
    parts.append(rows)
