"""Predict from a microphone while it records: a device and a model in, a status and scores out.

Meanwhile levels and labels go to a meter, and the samples to a WAV file if one is named.
"""

import contextlib
import math
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audiocnn.audio.decode import Decoder
from audiocnn.audio.microphone import MicrophoneSource, peak_db, wav_writer
from audiocnn.features.analyze import RecordingStatus
from audiocnn.features.extract import Array
from audiocnn.inference import scoring
from audiocnn.inference.prediction import RecordingScores, Scores
from audiocnn.model.loaded_model import LoadedModel
from audiocnn.progress import LevelMeter, Progress
from audiocnn.text import printable

RECORDING_NAME = "microphone"


@dataclass(frozen=True)
class LiveResult:
    """The result of a recording that started at ``start_time``, with its time zone; no scores unless it is ok."""

    recording_status: RecordingStatus
    scores: RecordingScores | None
    start_time: datetime


def predict_from_microphone(
    model: LoadedModel,
    *,
    progress: Progress,
    device: int | str | None = None,
    limit_s: float | None = None,
    keep: Path | None = None,
) -> LiveResult:
    """Predict from a microphone until Ctrl-C, or for ``limit_s`` seconds; ``keep`` is the WAV file to write.

    Raises `ConfigError` if there is no such device or no library to record from it, `OutputError` if the file cannot be
    written.
    """
    channel = model.spec.channel
    n_channels = channel + 1 if isinstance(channel, int) else 1
    with contextlib.ExitStack() as stack:
        source = MicrophoneSource(device, n_channels=n_channels, limit_s=limit_s)
        decoder = stack.enter_context(Decoder(source))
        stack.enter_context(_stop_on_ctrl_c(source.stop))
        start_time = datetime.now().astimezone()
        until = "" if limit_s is None else f" for {limit_s:g} s"
        progress.info(f"recording from {printable(source.name)} at {source.sample_rate:,} Hz{until}; Ctrl-C ends it")
        write = None
        if keep is not None:
            write = stack.enter_context(wav_writer(keep, source.sample_rate, source.n_channels))
        display = _LiveDisplay(model, source, progress, stack.enter_context(progress.meter(RECORDING_NAME)), write)
        source.watch = display.on_samples
        status, scores = scoring.score_recording(decoder, model, batch_size=1, on_scores=display.on_scores)
    if keep is not None:
        progress.info(f"wrote {keep}: {min(status.duration_s, display.written_s):.1f} s")
    if source.n_overflows:
        progress.warn(
            f"{RECORDING_NAME}: samples were lost {source.n_overflows:,} times, so all later times are too early"
        )
    return LiveResult(status, scores, start_time)


class _LiveDisplay:
    """Passes levels and predicted labels to the meter, and samples to the WAV file."""

    def __init__(
        self,
        model: LoadedModel,
        source: MicrophoneSource,
        progress: Progress,
        meter: LevelMeter,
        write: Callable[[NDArray[np.int16]], bool] | None,
    ) -> None:
        self.written_s = math.inf  # seconds in the file when it became full
        self._model, self._source, self._progress, self._meter, self._write = model, source, progress, meter, write
        self._peak_db, self._scored = -math.inf, False  # peak since the last scores
        self._overflowed = False

    def on_samples(self, samples: NDArray[np.int16]) -> None:
        read_s = self._source.read_s
        level_db = peak_db(samples)
        self._peak_db, self._scored = level_db if self._scored else max(self._peak_db, level_db), False
        self._meter.show_level(level_db, read_s)
        if self._write is not None and math.isinf(self.written_s) and not self._write(samples):
            self.written_s = read_s
            self._progress.warn(f"the file is full: a WAV holds 4 GiB; samples after {read_s:.0f} s are not kept")
        if self._source.n_overflows and not self._overflowed:
            self._overflowed = True
            self._progress.warn(f"{RECORDING_NAME}: samples are being lost; close other programs on this computer")

    def on_scores(self, log_scores: Scores, _: Array) -> None:
        best = int(np.argmax(log_scores[-1]))
        if self._peak_db < self._model.spec.silence_dbfs:
            self._meter.show_prediction("silent", None)
        else:
            self._meter.show_prediction(self._model.labels[best], float(np.exp(log_scores[-1, best])))
        self._scored = True


@contextlib.contextmanager
def _stop_on_ctrl_c(stop: Callable[[], None]) -> Iterator[None]:
    """Call ``stop`` at the first Ctrl-C; a second one interrupts, as usual."""

    def handle(*_: object) -> None:
        signal.signal(signal.SIGINT, previous)
        stop()

    previous = signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
