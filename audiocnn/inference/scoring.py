"""From windows to the scores of a recording, by one accumulator for all commands and the Python interface."""

import contextlib
import itertools
import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from audiocnn.audio.decode import Decoder
from audiocnn.errors import AudioError, OutputError
from audiocnn.features import extract, signal_stats
from audiocnn.features.analyze import FramesWanted, RecordingStatus, analyze_together
from audiocnn.features.extract import Array, Frames
from audiocnn.features.signal_stats import SignalStatsAccumulator
from audiocnn.inference import spill
from audiocnn.inference.members import Combination
from audiocnn.inference.prediction import (
    PredictionRules,
    RecordingPrediction,
    RecordingScores,
    Scores,
    empty_prediction,
    usable_window_starts,
)
from audiocnn.labels import Labels
from audiocnn.model.loaded_model import LoadedModel
from audiocnn.model.runtime import Runtime

if TYPE_CHECKING:
    from audiocnn.features.windows import Windows

_BATCH_VALUES = 1 << 18  # values of the windows that are cut from the frames at a time: 1 MiB
_PART_WINDOWS = 256  # levels are kept in arrays of at least so many windows: many small arrays take more memory
_MEMORY_BYTES = 4 << 20  # of the log scores of a recording, and of its embeddings; more go to temporary files

ScoreCallback = Callable[[Scores, Array], None]  # called with log scores (n, n_labels), embeddings (n, embedding_size)


class Classifier(PredictionRules, Protocol):
    """A network that scores windows: a bundle, or a network that is not stored."""

    @property
    def temperature(self) -> float:
        """The divisor of the logits before the softmax."""
        ...

    @property
    def runtime(self) -> Runtime: ...


def log_scores(logits: NDArray[np.float32], labels: Labels, temperature: float = 1.0) -> Scores:
    """Return the log-probabilities (n, n_labels) of logits (n, n_outputs), in float64.

    A single output is a sigmoid over two labels: the probability of the positive label.

    >>> np.exp(log_scores(np.zeros((1, 1), np.float32), Labels(("owl", "wind"), positive="owl"))).tolist()
    [[0.5, 0.5]]
    """
    z = logits.astype(np.float64) / temperature
    if z.shape[1] == 1:
        other = np.zeros_like(z)
        z = np.concatenate([other, z] if labels.positive_index == 1 else [z, other], axis=1)
    return _normalize(z)


def _normalize(log: Scores) -> Scores:
    """Subtract a constant from each row (n, n_labels), so that its exponentials sum to 1."""
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


def correct(log_scores: Scores, windows: "Windows") -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which recordings, and which of their ``windows``, are labelled correctly, as in `audiocnn evaluate`.

    ``log_scores`` (n_windows, n_labels) are those of the windows. Recordings without windows are left out.
    """
    log, bounds = windows.merge_tracks(log_scores)
    n = np.diff(bounds)
    parts = [log[first:last] for first, last in itertools.pairwise(bounds) if last > first]
    predicted = np.array([recording_scores(part).argmax() for part in parts])
    return predicted == windows.labels[n > 0], log.argmax(axis=1) == np.repeat(windows.labels, n)


def predict_frames(
    classifier: Classifier,
    recording: str,
    status: RecordingStatus,
    frames: Array | Frames,
    stretch: tuple[float, float] | None = None,
) -> RecordingPrediction:
    """Return the prediction of one network for the frames (n_frames * n_tracks, n_bins, n_channels) of a recording.

    ``stretch``, start and end in seconds, is the part of it to predict; None for all. The log-probabilities of a window
    are the mean over its tracks. Quiet windows do not count for the recording.
    """
    return _prediction(classifier, recording, status, _score_frames(classifier, status, frames, stretch), stretch)


def predict_stored(
    model: LoadedModel,
    recording: str,
    stored: Sequence[tuple[RecordingStatus, Array | Frames]],
    stretch: tuple[float, float] | None = None,
) -> RecordingPrediction:
    """Return the prediction of a model for a recording, as `predict_frames` does, from its frames for each network."""
    return predict_stored_each(model, recording, stored, stretch)[0]


def predict_stored_each(
    model: LoadedModel,
    recording: str,
    stored: Sequence[tuple[RecordingStatus, Array | Frames]],
    stretch: tuple[float, float] | None = None,
) -> tuple[RecordingPrediction, list[RecordingPrediction]]:
    """Return the prediction of a model, as `predict_stored` does, and those of its members alone, if it has any."""
    networks, statuses = model.networks, [status for status, _ in stored]
    found = [
        _score_frames(network, status, frames, stretch)
        for network, (status, frames) in zip(networks, stored, strict=True)
    ]
    alone = [
        _prediction(network, recording, status, scores, stretch)
        for network, status, scores in zip(networks, statuses, found, strict=True)
    ]
    if len(networks) == 1:
        return alone[0], []
    return _prediction(model, recording, *Combination.of(model).scores(statuses, found, stretch), stretch), alone


def _prediction(
    rules: PredictionRules,
    recording: str,
    status: RecordingStatus,
    scores: RecordingScores | None,
    stretch: tuple[float, float] | None,
) -> RecordingPrediction:
    if scores is None:
        return empty_prediction(recording, status.for_stretch(stretch, rules.spec), rules.labels)
    return scores.prediction(rules, recording, status, stretch)


def _score_frames(
    classifier: Classifier, status: RecordingStatus, frames: Array | Frames, stretch: tuple[float, float] | None
) -> RecordingScores | None:
    spec = classifier.spec
    n_tracks = spec.n_tracks(status.n_channels)
    firsts = usable_window_starts(spec, status, stretch)
    if not len(firsts):
        return None
    with ScoreAccumulator(classifier, n_tracks) as accumulator:
        for first in range(0, len(firsts), accumulator.batch_size):
            accumulator.add(extract.cut_windows(frames, firsts[first : first + accumulator.batch_size], spec, n_tracks))
        scores = accumulator.result()
    if classifier.domain is None:
        return scores
    span = extract.frame_range(status.n_frames, spec, stretch)
    return replace(scores, signal_stats=signal_stats.measure(frames, spec, n_tracks, span))


def score_recording(
    source: Path | Decoder,
    model: LoadedModel,
    *,
    sha256: str = "",
    folder: Path | None = None,
    executor: ThreadPoolExecutor | None = None,
    batch_size: int | None = None,
    on_scores: ScoreCallback | None = None,
    network_context: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
    progress: Callable[[Decoder], None] | None = None,
) -> tuple[RecordingStatus, RecordingScores | None]:
    """Read a recording once, front to back; return its status, and its scores if the status is ok.

    ``sha256`` of the recording becomes part of the status. ``folder`` is passed to `ScoreAccumulator.result`,
    ``executor``, ``batch_size`` and ``on_scores`` to `StreamingScorer`; of several networks, ``on_scores`` has the
    finest. The networks run inside ``network_context``. ``progress`` is called after every block of frames.
    """
    networks = model.networks
    try:
        with Decoder(source) if isinstance(source, Path) else source as decoder, contextlib.ExitStack() as stack:
            n_tracks = max(1, model.spec.n_tracks(decoder.facts.n_channels))
            scorers = [
                stack.enter_context(
                    StreamingScorer(
                        network,
                        n_tracks,
                        executor,
                        batch_size=batch_size,
                        on_scores=on_scores if k == model.finest else None,
                    )
                )
                for k, network in enumerate(networks)
            ]

            def add(scorer: StreamingScorer, frames: Array) -> None:
                with network_context():
                    scorer.add(frames)
                if progress is not None:
                    progress(decoder)

            wanted = [
                FramesWanted(network.spec, network.frontend, partial(add, scorer))
                for network, scorer in zip(networks, scorers, strict=True)
            ]
            statuses = analyze_together(decoder, wanted, sha256=sha256)
            with network_context():
                found = [
                    scorer.result(folder) if status.status == "ok" else None
                    for scorer, status in zip(scorers, statuses, strict=True)
                ]
                if len(networks) == 1:
                    return statuses[0], found[0]
                return Combination.of(model).scores(statuses, found, folder=folder)
    except AudioError as error:
        return RecordingStatus.from_error(error, sha256), None
    except OSError as error:
        unreadable = AudioError("unreadable", f"cannot be read ({error.strerror})")
        return RecordingStatus.from_error(unreadable, sha256), None


class ScoreAccumulator:
    """Adds up the windows of one recording, a batch at a time, and returns the scores of the recording.

    All commands and the Python interface use it, so a recording has the same score everywhere. Which windows count is
    known only after the last one, so log scores and embeddings are kept until then: in temporary files if there are
    many. Memory grows by one level per window. Add batches of ``batch_size`` windows: the same batches give the same
    numbers to the last digit. ``on_scores`` is called with the log scores (n, n_labels) and the embeddings
    (n, embedding_size) of every batch.
    """

    def __init__(
        self,
        classifier: Classifier,
        n_tracks: int,
        *,
        batch_size: int | None = None,
        on_scores: ScoreCallback | None = None,
    ) -> None:
        self.batch_size = batch_size or max(1, _BATCH_VALUES // (math.prod(classifier.spec.shape) * n_tracks))
        self._on_scores = on_scores
        self._classifier, self._n_tracks = classifier, n_tracks
        self._levels: list[Array] = []
        self._log_scores = tempfile.SpooledTemporaryFile(_MEMORY_BYTES)  # noqa: SIM115 - closed by __exit__
        self._embeddings = tempfile.SpooledTemporaryFile(_MEMORY_BYTES)  # noqa: SIM115 - closed by __exit__
        self._row_bytes = 0

    def __enter__(self) -> "ScoreAccumulator":
        return self

    def __exit__(self, *_: object) -> None:
        for file in (self._log_scores, self._embeddings):
            with contextlib.suppress(OSError):  # unwritten data is no longer needed
                file.close()

    def add(self, X: Array) -> None:
        """Add windows (n * n_tracks, *shape); the tracks of a window follow each other."""
        classifier = self._classifier
        logits, embeddings = classifier.runtime(X)
        log = log_scores(logits, classifier.labels, classifier.temperature)
        log = _normalize(log.reshape(-1, self._n_tracks, len(classifier.labels)).mean(axis=1))
        _append(self._levels, extract.window_levels(X, classifier.spec, self._n_tracks))
        embeddings = embeddings.reshape(-1, self._n_tracks, embeddings.shape[1]).mean(axis=1)
        self._row_bytes = embeddings.itemsize * embeddings.shape[1]
        with _temporary_file_errors():
            self._log_scores.write(log.tobytes())
            self._embeddings.write(embeddings.tobytes())
        if self._on_scores is not None:
            self._on_scores(log, embeddings)

    def result(self, folder: Path | None = None) -> RecordingScores:
        """Return the scores of the recording. Add at least one window before, and none after.

        With a ``folder``, large arrays of log scores are returned as a file there.
        """
        loud = extract.loud_windows(np.concatenate(self._levels), self._classifier.spec)
        n_labels, first = len(self._classifier.labels), 0
        log_sum, embedding_sum = np.zeros(n_labels), np.zeros(self._row_bytes // 4)
        with _temporary_file_errors():
            self._embeddings.seek(0)
            for log in self._read_log_scores():
                counts = loud[first : first + len(log)]
                first += len(log)
                log_sum = np.concatenate([log_sum[None], log[counts]]).sum(axis=0)  # in the order of one long sum
                embeddings = np.frombuffer(self._embeddings.read(len(log) * self._row_bytes), np.float32)
                embedding_sum += embeddings.reshape(len(log), -1)[counts].sum(axis=0, dtype=np.float64)
            log_scores = spill.store_rows(self._read_log_scores(), (len(loud), n_labels), folder)
        n = np.count_nonzero(loud)
        return RecordingScores(log_scores, recording_scores(log_sum[None] / n), embedding_sum / n, loud)

    def _read_log_scores(self) -> Iterator[Scores]:
        """Yield the log scores (n, n_labels) of all windows, some at a time."""
        n_labels = len(self._classifier.labels)
        self._log_scores.seek(0)
        for levels in self._levels:
            yield np.frombuffer(self._log_scores.read(len(levels) * n_labels * 8)).reshape(len(levels), n_labels)


class StreamingScorer:
    """Scores a recording while its frames are computed; the result is the same as for all frames at once.

    ``executor`` is a pool of one thread, or None. With it, the network runs in that thread while more frames are
    computed. The network runs on ``batch_size`` windows at a time; None selects the fastest. ``on_scores`` is passed to
    `ScoreAccumulator`.
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
        self._stats = None if classifier.domain is None else SignalStatsAccumulator(classifier.spec, n_tracks)
        self._frames: list[Array] = []
        self._first = 0  # index of the first frame in self._frames
        self._n_frames = self._n_windows = 0
        self._pending: Future[None] | None = None

    def __enter__(self) -> "StreamingScorer":
        return self

    def __exit__(self, *_: object) -> None:
        if self._pending is not None:
            self._pending.exception()
        self._accumulator.__exit__()

    def add(self, frames: Array) -> None:
        """Add the next frames (n * n_tracks, n_bins, n_channels)."""
        if self._stats is not None:
            self._stats.add(frames)
        self._frames.append(frames)
        self._n_frames += len(frames) // self._n_tracks
        n, hop = self._accumulator.batch_size, self._spec.hop_frames
        while self._n_frames >= (self._n_windows + n - 1) * hop + self._spec.window_frames:
            self._run(np.arange(self._n_windows, self._n_windows + n) * hop)

    def result(self, folder: Path | None = None) -> RecordingScores:
        """Return the scores of the recording after its last frame; it must have at least one window.

        ``folder`` is passed to `ScoreAccumulator.result`.
        """
        starts = extract.window_starts(self._n_frames, self._spec)[self._n_windows :]
        if len(starts):
            self._run(starts)
        if self._pending is not None:
            self._pending.result()
        scores = self._accumulator.result(folder)
        return scores if self._stats is None else replace(scores, signal_stats=self._stats.result())

    def _run(self, starts: NDArray[np.int64]) -> None:
        """Score the windows that begin at these frames, and drop the frames before the last of them."""
        rows = np.concatenate(self._frames)
        X = extract.cut_windows(rows, starts - self._first, self._spec, self._n_tracks)
        self._frames = [rows[(starts[-1] - self._first) * self._n_tracks :].copy()]
        self._first = int(starts[-1])
        self._n_windows += len(starts)
        if self._executor is None:
            self._accumulator.add(X)
            return
        previous, self._pending = self._pending, self._executor.submit(self._accumulator.add, X)
        if previous is not None:
            previous.result()


@contextlib.contextmanager
def _temporary_file_errors() -> Iterator[None]:
    """Raise `OutputError` if a temporary file cannot be written: the recording itself can be read."""
    try:
        yield
    except OSError as error:
        what = f"{tempfile.tempdir or 'temporary folder'}: cannot be written ({error.strerror or error})"
        raise OutputError(f"{what}; make room there, or set TMPDIR to another folder") from error


def _append(parts: list[NDArray[Any]], rows: NDArray[Any]) -> None:
    """Join rows to the last of ``parts`` while that is short; otherwise append them as a new part."""
    if parts and len(parts[-1]) < _PART_WINDOWS:
        rows = np.concatenate([parts.pop(), rows])
    parts.append(rows)
