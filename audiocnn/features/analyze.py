"""One recording heard once: its frames, and the account that is given of it whatever happens."""

from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from audiocnn.audio.clips import MonoFile
from audiocnn.audio.decode import Channel, Decoder
from audiocnn.errors import AudioError
from audiocnn.features import augment, extract
from audiocnn.features.augment import Augmentation
from audiocnn.features.extract import Array
from audiocnn.features.frontend import Frontend
from audiocnn.specs import FeatureSpec

Status = Literal["ok", "silent", "unreadable"]


@dataclass(frozen=True)
class RecordingStatus:
    """What became of one recording.

    ``codes`` are warnings if ``status`` is ok, else what is wrong; ``detail`` says it in words. Durations are seconds
    of the recording, at its own sample rate; ``covered_s`` is what windows cover.
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
        """The codes as one cell of a table."""
        return ";".join(self.codes)

    def for_stretch(self, stretch: tuple[float, float] | None, spec: FeatureSpec) -> "RecordingStatus":
        """The account of a stretch (start and end in seconds) of the recording; that of all of it for None."""
        if stretch is None or self.status != "ok":
            return self
        start, end = stretch
        starts = extract.window_starts(self.n_frames, spec, stretch)
        if not len(starts) or start > self.duration_s:  # one that was repeated to fill a window has frames beyond it
            detail = f"the stretch from {start:g} to {end:g} s begins after the end of the recording"
            failure = AudioError("beyond_end", f"{detail} ({self.duration_s:.6g} s)")
            return RecordingStatus.from_error(failure, self.sha256)
        codes = tuple(code for code in self.codes if code != "short")
        heard_s = min(end, self.duration_s) - start
        return replace(
            self, codes=codes, detail="", duration_s=heard_s, analysed_s=min(covered_s(starts, spec), heard_s)
        )

    @classmethod
    def from_error(cls, error: AudioError, sha256: str = "") -> "RecordingStatus":
        return cls(status="unreadable", codes=(error.code,), detail=error.detail, sha256=sha256)


@dataclass(frozen=True, kw_only=True)
class AugmentedFile(MonoFile):
    """A recording as one track of samples after an alteration, in the time of which its stretches are given."""

    alteration: Augmentation

    def blocks(self) -> Generator[Array, None, None]:
        with Decoder(self.path) as decoder:
            yield from _altered(self.path, decoder, self.sample_rate, self.channel, self.alteration)


def analyze(
    source: Path | Decoder,
    *,
    spec: FeatureSpec,
    frontend: Frontend,
    keep: Callable[[Array], None],
    sha256: str = "",
    alteration: Augmentation | None = None,
) -> RecordingStatus:
    """Hear a recording once, front to back, in memory that does not depend on its length; return its account.

    Its frames are passed to ``keep`` as they come, (n, n_bins, n_channels) at a time; they count only if the account
    says ok. ``source`` is a file, or a decoder of which no block has been read. ``sha256`` is that of the file, for
    the account. An ``alteration`` is applied first; it needs a file: adding noise takes a first pass to measure the
    level.
    """
    n_rows = 0
    try:
        with Decoder(source) if isinstance(source, Path) else source as decoder:
            blocks = _altered(source, decoder, spec.sample_rate, spec.channel, alteration)
            loudness = _Loudness(blocks, 10 ** (spec.silence_dbfs / 20))
            for block in extract.compute_frames(loudness, spec=spec, frontend=frontend):
                keep(block)
                n_rows += len(block)
    except AudioError as error:
        return RecordingStatus.from_error(error, sha256)
    except OSError as error:
        return RecordingStatus.from_error(AudioError("unreadable", f"cannot be read ({error.strerror})"), sha256)
    facts = decoder.facts
    if not n_rows:
        few = AudioError("no_samples", f"too few samples to resample ({facts.n_read} at {facts.sample_rate} Hz)")
        return RecordingStatus.from_error(few, sha256)
    n_frames = n_rows // spec.n_tracks(facts.n_channels)
    duration_s = facts.duration_s / (alteration.speed if alteration else 1)
    starts = extract.window_starts(n_frames, spec)
    account = RecordingStatus(
        status="ok",
        codes=tuple(facts.warnings),
        sha256=sha256,
        duration_s=duration_s,
        analysed_s=min(covered_s(starts, spec), duration_s),
        sample_rate=facts.sample_rate,
        n_channels=facts.n_channels,
        n_frames=n_frames,
    )
    if loudness.n_samples < spec.window_samples:
        heard_s = loudness.n_samples / spec.sample_rate
        account = replace(
            account,
            codes=("short", *account.codes),
            detail=f"{heard_s:.3g} s, shorter than one window ({spec.window_s:g} s); repeated to fill it",
        )
    n_analysed = (int(starts[-1]) + spec.window_frames) * spec.hop_length
    if loudness.first is None or loudness.first >= n_analysed:
        codes = ("silent", *(["all_zero"] if facts.peak == 0 else []), *account.codes)
        detail = f"never above {spec.silence_dbfs:g} dBFS in what was analysed ({_peak_text(facts.peak)})"
        account = replace(account, status="silent", codes=codes, detail=detail, analysed_s=0.0, n_frames=0)
    return account


def covered_s(starts: NDArray[np.int64], spec: FeatureSpec) -> float:
    """Seconds that windows beginning at these frames cover, overlaps counted once."""
    if not len(starts):
        return 0.0
    covered = np.minimum(np.diff(starts), spec.window_frames - 1).sum() + spec.window_frames - 1
    return float(covered * spec.hop_length / spec.sample_rate)


def _altered(
    source: Path | Decoder, decoder: Decoder, sample_rate: int, channel: Channel, alteration: Augmentation | None
) -> Iterator[Array]:
    """The samples of a recording that ``decoder`` has opened, after an alteration if there is one."""
    if alteration is None:
        return decoder.blocks(sample_rate=sample_rate, channel=channel)

    def coloured(of: Decoder) -> Iterator[Array]:
        # Samples at a lower rate, taken for samples at the usual one, are faster and higher.
        blocks = of.blocks(sample_rate=sample_rate / alteration.speed, channel=channel)
        return augment.add_room_and_filters(blocks, alteration, sample_rate)

    if alteration.snr_db is None:
        return coloured(decoder)
    if not isinstance(source, Path):
        raise TypeError("what adds noise hears the recording twice, and a decoder can be heard once")
    with Decoder(source) as first:
        powers = augment.mean_square(coloured(first))
    return augment.add_noise(coloured(decoder), alteration, sample_rate, powers)


def _peak_text(peak: float) -> str:
    return f"peak {20 * np.log10(peak):.0f} dBFS" if peak > 0 else "every sample is zero"


class _Loudness:
    """Pass blocks of samples on and note ``first``, the index of the first one that reaches ``floor``, if any does."""

    def __init__(self, blocks: Iterable[Array], floor: float) -> None:
        self._blocks = blocks
        self._floor = floor
        self.first: int | None = None
        self.n_samples = 0

    def __iter__(self) -> Iterator[Array]:
        for block in self._blocks:
            if self.first is None:
                loud = (np.abs(block) >= self._floor).reshape(-1, block.shape[-1]).any(axis=0)
                self.first = self.n_samples + int(loud.argmax()) if loud.any() else None
            self.n_samples += block.shape[-1]
            yield block
