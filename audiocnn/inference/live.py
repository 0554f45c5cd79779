"""Predict from a microphone while it records: a device and a network in, an account and scores out.

Meanwhile levels and labels go to a meter, and the samples to a file if one is named.
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
from audiocnn.model.bundle import Bundle
from audiocnn.progress import LevelMeter, Progress
from audiocnn.text import printable

RECORDING_NAME = "microphone"


@dataclass(frozen=True)
class LiveResult:
    """The result of a recording that began at ``start_time``, the time of day; no scores unless the account is ok."""

    account: RecordingStatus
    scores: RecordingScores | None
    start_time: datetime


def predict_from_microphone(
    judge: Bundle,
    *,
    progress: Progress,
    device: int | str | None = None,
    limit_s: float | None = None,
    keep: Path | None = None,
) -> LiveResult:
    """Predict from a microphone until Ctrl-C, or for ``limit_s`` seconds; ``keep`` is a WAV file to record it in.

    Raises `ConfigError` if there is no such device, or nothing by which to hear it, `OutputError` if the file cannot be
    written.
    """
    channel = judge.spec.channel
    n_channels = channel + 1 if isinstance(channel, int) else 1
    with contextlib.ExitStack() as stack:
        source = MicrophoneSource(device, n_channels=n_channels, limit_s=limit_s)
        decoder = stack.enter_context(Decoder(source))
        stack.enter_context(_ended_by_ctrl_c(source.stop))
        start_time = datetime.now().astimezone()
        until = "" if limit_s is None else f" for {limit_s:g} s"
        progress.info(f"listening to {printable(source.name)} at {source.sample_rate:,} Hz{until}; Ctrl-C ends it")
        record = None
        if keep is not None:
            record = stack.enter_context(wav_writer(keep, source.sample_rate, source.n_channels))
        shown = _Shown(judge, source, progress, stack.enter_context(progress.meter(RECORDING_NAME)), record)
        source.watch = shown.samples
        account, scores = scoring.score_recording(decoder, judge, batch_size=1, on_scores=shown.scores)
    if keep is not None:
        progress.info(f"wrote {keep}: {min(account.duration_s, shown.recorded_s):.1f} s")
    if source.n_overflows:
        progress.warn(
            f"{RECORDING_NAME}: samples were lost {source.n_overflows:,} times, so what came after is dated too early"
        )
    return LiveResult(account, scores, start_time)


class _Shown:
    """Passes on what is heard, and what it is taken for."""

    def __init__(
        self,
        judge: Bundle,
        source: MicrophoneSource,
        progress: Progress,
        meter: LevelMeter,
        record: Callable[[NDArray[np.int16]], bool] | None,
    ) -> None:
        self.recorded_s = math.inf  # what the file has room for
        self._judge, self._source, self._progress, self._meter, self._record = judge, source, progress, meter, record
        self._peak_db, self._judged = -math.inf, False  # of what came since windows were judged
        self._lost = False

    def samples(self, samples: NDArray[np.int16]) -> None:
        heard_s = self._source.read_s
        level_db = peak_db(samples)
        self._peak_db, self._judged = level_db if self._judged else max(self._peak_db, level_db), False
        self._meter.show_level(level_db, heard_s)
        if self._record is not None and math.isinf(self.recorded_s) and not self._record(samples):
            self.recorded_s = heard_s
            self._progress.warn(f"the file is full, as a WAV holds 4 GiB: what comes after {heard_s:.0f} s is not kept")
        if self._source.n_overflows and not self._lost:
            self._lost = True
            self._progress.warn(f"{RECORDING_NAME}: samples are being lost; end what else keeps this computer busy")

    def scores(self, log_scores: Scores, _: Array) -> None:
        best = int(np.argmax(log_scores[-1]))
        if self._peak_db < self._judge.spec.silence_dbfs:
            self._meter.show_prediction("silent", None)
        else:
            self._meter.show_prediction(self._judge.labels[best], float(np.exp(log_scores[-1, best])))
        self._judged = True


@contextlib.contextmanager
def _ended_by_ctrl_c(stop: Callable[[], None]) -> Iterator[None]:
    """Have Ctrl-C call ``stop``; a second one interrupts, as usual."""

    def once(*_: object) -> None:
        signal.signal(signal.SIGINT, before)
        stop()

    before = signal.signal(signal.SIGINT, once)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
