"""Decode one recording once: compute its frames and report its status, whatever happens."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from audiocnn.audio.clips import MonoFile
from audiocnn.audio.decode import Channel, Decoder, Facts
from audiocnn.audio.silence import SilenceDetector
from audiocnn.errors import AudioError
from audiocnn.features import augment, extract
from audiocnn.features.augment import Augmentation
from audiocnn.features.extract import Array
from audiocnn.features.frontend import Frontend
from audiocnn.specs import FeatureSpec

Status = Literal["ok", "silent", "unreadable"]

_NOTHING: dict[str, Any] = {"analysed_s": 0.0, "n_frames": 0}  # of a silent recording
_WARNINGS = {  # what to do about warnings that are not plain from their code
    "channels_cancel": "the channels cancel each other in their mean; set features.channel: 0",
    "delayed_channels": "a channel is a delayed copy of another, so frequencies are missing in their mean; set "
    "features.channel: 0",
    "scale": "the samples are integers kept as floats; they were divided by their full scale",
}


@dataclass(frozen=True)
class RecordingStatus:
    """The result of analyzing one recording.

    ``codes`` are warnings if ``status`` is ok, else the faults; ``detail`` describes them in words. Durations are in
    seconds of the recording, at its own sample rate. ``analysed_s`` is the time that windows cover.
    """

    status: Status
    codes: tuple[str, ...] = ()
    detail: str = ""
    sha256: str = ""
    duration_s: float = 0.0
    analysed_s: float = 0.0
    sample_rate: int = 0
    n_channels: int = 0
    n_frames: int = 0

    @property
    def reason(self) -> str:
        """The codes, joined for one cell of a table."""
        return ";".join(self.codes)

    def for_stretch(self, stretch: tuple[float, float] | None, spec: FeatureSpec) -> "RecordingStatus":
        """Return the status of a stretch (start and end in seconds), or of the whole recording if it is None."""
        if stretch is None or self.status != "ok":
            return self
        start, end = stretch
        starts = extract.window_starts(self.n_frames, spec, stretch)
        if not len(starts) or start > self.duration_s:  # a repeated recording has frames beyond its end
            detail = f"the stretch from {start:g} to {end:g} s begins after the end of the recording"
            failure = AudioError("beyond_end", f"{detail} ({self.duration_s:.6g} s)")
            return RecordingStatus.from_error(failure, self.sha256)
        codes = tuple(code for code in self.codes if code != "short")
        decoded_s = min(end, self.duration_s) - start
        return replace(
            self, codes=codes, detail="", duration_s=decoded_s, analysed_s=min(covered_s(starts, spec), decoded_s)
        )

    @classmethod
    def from_error(cls, error: AudioError, sha256: str = "") -> "RecordingStatus":
        """Return the status of a recording that cannot be decoded."""
        return cls(status="unreadable", codes=(error.code,), detail=error.detail, sha256=sha256)


@dataclass(frozen=True, kw_only=True)
class AugmentedFile(MonoFile):
    """An augmented recording as one track of samples.

    Its stretches are given in seconds of the augmented recording.
    """

    augmentation: Augmentation

    def decode(self, decoder: Decoder) -> Iterator[Array]:
        return _augmented_blocks(self.path, decoder, self.sample_rate, self.channel, self.augmentation)


@dataclass(frozen=True)
class FramesWanted:
    """One kind of frames of a recording: each block (n, n_bins, n_channels) is passed to ``keep`` when it is ready."""

    spec: FeatureSpec
    frontend: Frontend
    keep: Callable[[Array], None]


def analyze(
    source: Path | Decoder,
    *,
    spec: FeatureSpec,
    frontend: Frontend,
    keep: Callable[[Array], None],
    sha256: str = "",
    augmentation: Augmentation | None = None,
) -> RecordingStatus:
    """Decode a recording once, from start to end, in memory that does not depend on its length; return its status.

    Each block of frames (n, n_bins, n_channels) is passed to ``keep`` when it is ready. Use the frames only if the
    status is ok. ``source`` is a file, or a decoder that has not read any block yet. ``sha256`` is the digest of the
    file, for the status. An ``augmentation`` is applied first. It needs a file: adding noise takes a first pass to
    measure the level.
    """
    wanted = FramesWanted(spec, frontend, keep)
    if augmentation is None:
        return analyze_together(source, [wanted], sha256=sha256)[0]
    try:
        with Decoder(source) if isinstance(source, Path) else source as decoder:
            analysis = _Analysis(wanted, SilenceDetector(spec, spec.sample_rate))
            blocks = _augmented_blocks(source, decoder, spec.sample_rate, spec.channel, augmentation)
            for _ in analysis.run(blocks, inspect=analysis.silence.add):
                pass
            return analysis.status(decoder.facts, sha256, speed=augmentation.speed)
    except (AudioError, OSError) as error:
        return RecordingStatus.from_error(_as_audio_error(error), sha256)


def analyze_together(
    source: Path | Decoder, wanted: Sequence[FramesWanted], *, sha256: str = ""
) -> list[RecordingStatus]:
    """Compute several kinds of frames from one pass over a recording; return its status for each, as `analyze` does.

    The recording is resampled once for each sample rate. All specs must have the same ``channel``.
    """
    try:
        with Decoder(source) if isinstance(source, Path) else source as decoder:
            # Silence is measured at the recording's own rate, before the resampler adds its edges.
            analyses = [_Analysis(one, SilenceDetector(one.spec, decoder.facts.sample_rate)) for one in wanted]
            rates = list(dict.fromkeys(one.spec.sample_rate for one in wanted))

            def inspect(samples: Array) -> None:
                for analysis in analyses:
                    analysis.silence.add(samples)

            blocks = decoder.blocks_at(rates, channel=wanted[0].spec.channel, inspect=inspect)
            shared = _SharedBlocks(blocks, [rates.index(one.spec.sample_rate) for one in wanted])
            running = {k: analysis.run(shared.stream(k)) for k, analysis in enumerate(analyses)}
            while running:  # the one that has used the fewest blocks is next, so few blocks wait
                k = min(running, key=lambda k: shared.n_used[k])
                if next(running[k], None) is None:
                    del running[k]
            return [analysis.status(decoder.facts, sha256) for analysis in analyses]
    except (AudioError, OSError) as error:
        return [RecordingStatus.from_error(_as_audio_error(error), sha256) for _ in wanted]


def _as_audio_error(error: AudioError | OSError) -> AudioError:
    return error if isinstance(error, AudioError) else AudioError("unreadable", f"cannot be read ({error.strerror})")


class _SharedBlocks:
    """One stream of blocks for several readers: a block waits until all readers of its rate have used it."""

    def __init__(self, blocks: Iterator[tuple[int, Array]], rates: Sequence[int]) -> None:
        self._blocks, self._rates = blocks, rates  # numbers of the rates: of each block, of each reader
        self._waiting: list[deque[Array]] = [deque() for _ in rates]
        self.n_used = [0] * len(rates)

    def stream(self, reader: int) -> Iterator[Array]:
        waiting = self._waiting[reader]
        while True:
            while waiting:
                self.n_used[reader] += 1
                yield waiting.popleft()
            number, block = next(self._blocks, (-1, None))
            if block is None:
                return
            for queue, rate in zip(self._waiting, self._rates, strict=True):
                if rate == number:
                    queue.append(block)


@dataclass
class _Analysis:
    """Frames of one kind while they are computed, and what is counted for the status."""

    wanted: FramesWanted
    silence: SilenceDetector
    n_rows: int = 0
    n_samples: int = 0

    def run(self, blocks: Iterable[Array], inspect: Callable[[Array], None] | None = None) -> Iterator[int]:
        """Pass the frames of these samples to ``keep``; yield the number of rows after each block of them."""
        counted = _Counted(blocks, inspect)
        for block in extract.compute_frames(counted, spec=self.wanted.spec, frontend=self.wanted.frontend):
            self.wanted.keep(block)
            self.n_rows += len(block)
            yield self.n_rows
        self.n_samples = counted.n_samples
        self.silence.finish()

    def status(self, facts: Facts, sha256: str, speed: float = 1) -> RecordingStatus:
        """Return the status of the recording, which was played at ``speed``."""
        spec, silence = self.wanted.spec, self.silence
        if not self.n_rows:
            read = f"{facts.n_read} at {facts.sample_rate} Hz"
            return RecordingStatus.from_error(AudioError("no_samples", f"too few samples to resample ({read})"), sha256)
        n_frames = self.n_rows // spec.n_tracks(facts.n_channels)
        duration_s = facts.duration_s / speed
        starts = extract.window_starts(n_frames, spec)
        status = RecordingStatus(
            status="ok",
            codes=tuple(facts.warnings),
            detail="; ".join(_WARNINGS[code] for code in facts.warnings if code in _WARNINGS),
            sha256=sha256,
            duration_s=duration_s,
            analysed_s=min(covered_s(starts, spec), duration_s),
            sample_rate=facts.sample_rate,
            n_channels=facts.n_channels,
            n_frames=n_frames,
        )
        if self.n_samples < spec.n_fft:
            frame_s = spec.n_fft / spec.sample_rate
            detail = f"{duration_s:.3g} s, shorter than one analysis frame ({frame_s:.3g} s)"
            codes = ("too_short", *(["silent", *silence.codes(facts)] if silence.is_silent else []), *status.codes)
            return replace(status, status="silent", codes=codes, detail=detail, **_NOTHING)
        if self.n_samples < spec.window_samples:
            decoded_s = self.n_samples / spec.sample_rate
            detail = f"{decoded_s:.3g} s, shorter than one window ({spec.window_s:g} s); repeated to fill it"
            details = filter(None, (detail, status.detail))
            status = replace(status, codes=("short", *status.codes), detail="; ".join(details))
        end_s = (int(starts[-1]) + spec.window_frames) * spec.hop_length / spec.sample_rate
        if silence.is_silent or (silence.first_s or 0) >= end_s:
            codes = ("silent", *silence.codes(facts), *(code for code in status.codes if code != "clipped"))
            detail = status.detail if "channels_cancel" in codes else silence.describe(facts)
            return replace(status, status="silent", codes=codes, detail=detail, **_NOTHING)
        return status


def covered_s(starts: NDArray[np.int64], spec: FeatureSpec) -> float:
    """Return the seconds that windows with these start frames cover; overlaps count once."""
    if not len(starts):
        return 0.0
    covered = np.minimum(np.diff(starts), spec.window_frames - 1).sum() + spec.window_frames - 1
    return float(covered * spec.hop_length / spec.sample_rate)


def _augmented_blocks(
    source: Path | Decoder,
    decoder: Decoder,
    sample_rate: int,
    channel: Channel,
    augmentation: Augmentation,
) -> Iterator[Array]:
    """Return the samples that ``decoder`` reads, augmented."""

    def filtered_blocks(opened: Decoder) -> Iterator[Array]:
        # Samples decoded at a lower rate and used as if at the usual rate are faster and higher in pitch.
        blocks = opened.blocks(sample_rate=sample_rate / augmentation.speed, channel=channel)
        return augment.add_room_and_filters(blocks, augmentation, sample_rate)

    if augmentation.snr_db is None:
        return filtered_blocks(decoder)
    if not isinstance(source, Path):
        raise TypeError("adding noise reads the recording twice, and a decoder reads it once; pass a file")
    with Decoder(source) as first:
        powers = augment.mean_square(filtered_blocks(first))
    return augment.add_noise(filtered_blocks(decoder), augmentation, sample_rate, powers)


class _Counted:
    """Yields blocks of samples and counts the samples; passes them as (n,) or (n, n_tracks) to ``inspect``."""

    def __init__(self, blocks: Iterable[Array], inspect: Callable[[Array], None] | None = None) -> None:
        self._blocks, self._inspect = blocks, inspect
        self.n_samples = 0

    def __iter__(self) -> Iterator[Array]:
        for block in self._blocks:
            self.n_samples += block.shape[-1]
            if self._inspect is not None:
                self._inspect(block.T)
            yield block
