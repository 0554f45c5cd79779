"""Decoding of a source to blocks of float32 samples at any sample rate, front to back without seeking.

Only this module and `audiocnn.audio.encode` import soxr.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import soxr
from numpy.typing import NDArray

from audiocnn.audio import workers
from audiocnn.audio.signal_faults import CLIPPED_FRACTION, DEAD_CHANNEL_RATIO, ChannelComparison, ClippingDetector
from audiocnn.audio.source import LIBSNDFILE, FileSource, Source
from audiocnn.errors import AudioError

BLOCK = 1 << 16  # samples per channel in a block
MIN_RATE_HZ, MAX_RATE_HZ = 1_000, 768_000
MAX_CHANNELS = 256
MAX_PEAK = 2.0**32  # full scale is 1; integers stored as floats reach 2^31, and above this limit a spectrum overflows

LIBRARIES = {"libsndfile": LIBSNDFILE, "soxr": soxr.__version__}

Channel = Literal["mix", "each"] | int


@dataclass
class Facts:
    """Properties of a recording; complete after its last block has been read.

    ``lows`` and ``highs`` (n_channels,) are the smallest and the largest samples, full scale 1.0. ``n_read`` and
    ``n_declared`` are samples per channel at the file's own rate, ``n_clipped`` counts clipped samples of all channels.
    ``encoding`` is the subtype of libsndfile, such as ``PCM_16``.
    """

    container: str
    encoding: str
    sample_rate: int
    n_channels: int
    n_declared: int
    n_read: int = 0
    n_clipped: int = 0
    warnings: list[str] = field(default_factory=list)
    lows: NDArray[np.float64] = field(init=False)
    highs: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        self.lows, self.highs = np.full(self.n_channels, np.inf), np.full(self.n_channels, -np.inf)

    @property
    def peak(self) -> float:
        """Largest absolute sample of all channels."""
        return float(max(self.highs.max(), -self.lows.min()))

    @property
    def duration_s(self) -> float:
        return self.n_read / self.sample_rate


class Decoder:
    """A context manager that decodes one source in a single pass.

    >>> with Decoder(Path("song.wav")) as song:        # doctest: +SKIP
    ...     for block in song.blocks(sample_rate=16_000):
    ...         ...                                    # float32 (n,), full scale 1.0
    ...     song.facts.duration_s
    >>> from audiocnn.audio.source import ArraySource
    >>> with Decoder(ArraySource(np.zeros((100, 2)), sample_rate=8_000)) as silence:
    ...     [block.shape for block in silence.blocks()]
    [(100,)]
    """

    def __init__(self, source: Path | Source) -> None:
        """Open a file, or take a source; raise `AudioError` if it is not a readable sound file."""
        self._source = FileSource(source) if isinstance(source, Path) else source
        self.facts = Facts(
            container=self._source.container,
            encoding=self._source.encoding,
            sample_rate=self._source.sample_rate,
            n_channels=self._source.n_channels,
            n_declared=self._source.n_declared,
        )

    def __enter__(self) -> "Decoder":
        return self

    def __exit__(self, *_: object) -> None:
        self._source.close()

    def blocks(
        self,
        *,
        sample_rate: float | None = None,
        channel: Channel = "mix",
        block: int = BLOCK,
        inspect: Callable[[NDArray[np.float32]], None] | None = None,
    ) -> Iterator[NDArray[np.float32]]:
        """Yield the samples in blocks of float32 of shape (n,), n > 0, full scale 1.0.

        ``sample_rate`` in hertz, None for the file's own. ``channel`` is ``mix`` (mean of all channels), an index, or
        ``each``, which yields blocks (n_channels, n). ``block`` is the number of samples per channel read at a time.
        ``inspect`` is called with the same samples before they are resampled, as (n,) or (n, n_channels).
        Raises `AudioError` with code ``sample_rate``, ``channels``, ``decode_error``, ``not_finite`` or ``no_samples``.
        """
        for _, samples in self.blocks_at([sample_rate], channel=channel, block=block, inspect=inspect):
            yield samples

    def blocks_at(
        self,
        sample_rates: Sequence[float | None],
        *,
        channel: Channel = "mix",
        block: int = BLOCK,
        inspect: Callable[[NDArray[np.float32]], None] | None = None,
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield the samples at several rates from one pass: the number of the rate, and a block as `blocks` has it."""
        facts = self.facts
        rate = facts.sample_rate
        if not MIN_RATE_HZ <= rate <= MAX_RATE_HZ:
            raise AudioError("sample_rate", f"sample rate {rate} Hz is outside {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz")
        if not 1 <= facts.n_channels <= MAX_CHANNELS:
            raise AudioError("channels", f"{facts.n_channels} channels; at most {MAX_CHANNELS} are read")
        if isinstance(channel, int) and channel >= facts.n_channels:
            raise AudioError("channels", f"has no channel {channel}, only {facts.n_channels}; set features.channel")
        n_tracks = facts.n_channels if channel == "each" else 1
        resamplers = [
            soxr.ResampleStream(rate, wanted, n_tracks, dtype="float32", quality="HQ")
            if wanted is not None and wanted != rate
            else None
            for wanted in sample_rates
        ]
        comparison = ChannelComparison(facts.n_channels, rate) if channel == "mix" and facts.n_channels > 1 else None
        for samples in self._read(block):
            tracks = samples if channel == "each" else _select_channel(samples, channel)
            if comparison is not None:
                comparison.add(samples)
            if inspect is not None:
                inspect(tracks)
            for number, resampler in enumerate(resamplers):
                resampled = resampler.resample_chunk(tracks) if resampler else tracks.copy()
                if resampled.size:
                    yield number, np.ascontiguousarray(resampled.T)
        if facts.n_read == 0:
            raise AudioError("no_samples", "holds a header but no samples")
        for number, resampler in enumerate(resamplers):
            if resampler:
                shape = (0, n_tracks) if channel == "each" else (0,)
                last = resampler.resample_chunk(np.zeros(shape, np.float32), last=True)
                if last.size:
                    yield number, np.ascontiguousarray(last.T)
        self._add_warnings([] if comparison is None else comparison.warnings())

    def _read(self, block: int) -> Iterator[NDArray[np.float32]]:
        """Yield blocks (n, n_channels) of float32 and update the facts; each block reuses the memory of the last."""
        facts, dtype, scale = self.facts, self._source.dtype, np.float32(self._source.scale)
        clipping = ClippingDetector(facts.n_channels, float(scale), facts.encoding)
        block = max(1, min(block, facts.n_declared, (1 << 22) // facts.n_channels))
        memory = np.empty((block, facts.n_channels), dtype)
        floats = memory if dtype == "float32" else np.empty(memory.shape, np.float32)
        while len(raw := self._source.read(memory)):
            workers.heartbeat()
            # By column, as reducing along short rows is slow; in float64, as -(-32768) overflows int16.
            low, high = (np.array([f(c) for c in raw.T], np.float64) * scale for f in (np.min, np.max))
            if not (np.maximum(-low, high) <= MAX_PEAK).all():  # also true for NaN
                raise AudioError("not_finite", f"holds NaN, infinite or absurd samples after {facts.duration_s:.2f} s")
            samples = floats[: len(raw)]
            if dtype != "float32" or scale != 1:
                np.multiply(raw, scale, out=samples, dtype=np.float32)
            clipping.add(samples, low, high, None if dtype == "float32" else raw)
            facts.n_read += len(raw)
            facts.lows, facts.highs = np.minimum(facts.lows, low), np.maximum(facts.highs, high)
            yield samples
        facts.n_clipped = clipping.n_clipped

    def _add_warnings(self, of_channels: list[str]) -> None:
        facts, of_samples = self.facts, list(of_channels)
        if facts.n_clipped > CLIPPED_FRACTION * facts.n_read * facts.n_channels:
            of_samples.append("clipped")
        ranges = facts.highs - facts.lows
        if (ranges < DEAD_CHANNEL_RATIO * ranges.max()).any():
            of_samples.append("dead_channel")
        facts.warnings += self._source.warnings(of_samples)


def resample(samples: NDArray[np.float32], from_rate: int, to_rate: int) -> NDArray[np.float32]:
    """Return samples (n,) resampled to another rate, both in hertz."""
    if from_rate == to_rate:
        return samples
    return np.asarray(soxr.resample(samples, from_rate, to_rate, quality="HQ"), np.float32)


def _select_channel(samples: NDArray[np.float32], channel: str | int) -> NDArray[np.float32]:
    """Return one channel (n,) of samples (n, n_channels): the one at an index, or the mean of all."""
    if channel != "mix":
        return np.ascontiguousarray(samples[:, int(channel)])
    total = samples[:, 0]
    for other in samples.T[1:]:  # by column: summing along short rows is slow
        total = total + other
    return total / np.float32(samples.shape[1]) if samples.shape[1] > 1 else np.ascontiguousarray(total)
