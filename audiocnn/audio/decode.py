"""A sound file as blocks of float32 mono at the wanted sample rate, read front to back, never by seeking.

With `audiocnn.audio.encode` the only importer of soundfile and soxr; their errors become `AudioError` here.
"""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from audiocnn.audio import header, isolate, sniff
from audiocnn.errors import AudioError

BLOCK = 1 << 16  # samples per channel and reading block
MIN_RATE_HZ, MAX_RATE_HZ = 1_000, 768_000
MAX_CHANNELS = 256
MAX_PEAK = 2.0**32  # full scale is 1; integers kept as floats reach 2^31, and beyond this a spectrum would overflow
CLIPPED_FRACTION = 1e-3  # of the samples at full scale: more than a few peaks that just touch it
DEAD = 1e-4  # a channel whose peak is this much of the loudest one's (80 dB below it) hears nothing

LIBRARIES = {"libsndfile": soundfile.__libsndfile_version__, "soxr": soxr.__version__}

_INTEGER_SUBTYPES = frozenset({"PCM_16", "PCM_S8", "PCM_U8", "ULAW", "ALAW", "IMA_ADPCM", "MS_ADPCM", "GSM610"})
_SCALE = {"int16": np.float32(2**-15), "int32": np.float32(2**-31), "float32": np.float32(1)}
_FLAC_BYTES = {"PCM_S8": 1, "PCM_16": 2, "PCM_24": 3}  # of a sample, as its MD5 counts them
_UNKNOWN_LENGTH = 1 << 48  # frames; libsndfile says 2^63 - 1 where a stream does not tell


@dataclass
class Facts:
    """What is known of a recording; complete once its last block has been read.

    ``peaks`` (n_channels,) are the largest absolute samples (1.0 is full scale), ``n_read`` and ``n_declared`` are
    samples per channel at the file's own rate. ``encoding`` is libsndfile's word for it, such as ``PCM_16``.
    """

    container: str
    encoding: str
    sample_rate: int
    n_channels: int
    n_declared: int
    n_read: int = 0
    n_clipped: int = 0
    warnings: list[str] = field(default_factory=list)
    peaks: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        self.peaks = np.zeros(self.n_channels)

    @property
    def peak(self) -> float:
        """The largest absolute sample of all channels."""
        return float(self.peaks.max())

    @property
    def duration_s(self) -> float:
        return self.n_read / self.sample_rate


class _Forward(soundfile.SoundFile):  # type: ignore[misc]  # soundfile has no types
    """A file of which soundfile believes that it cannot seek.

    Otherwise it seeks after every block to where it is already, after which some decoders yield other samples.
    """

    def seekable(self) -> bool:
        return False


class Decoder:
    """One file, opened for a single pass; use it as a context manager.

    >>> with Decoder(Path("song.wav")) as song:        # doctest: +SKIP
    ...     for block in song.blocks(sample_rate=16_000):
    ...         ...                                    # float32 (n,), full scale 1.0
    ...     song.facts.duration_s
    """

    def __init__(self, path: Path) -> None:
        """Open ``path``; raise `AudioError` if it is not a sound file that can be read."""
        kind = sniff.check(path)
        try:
            self._missing = header.missing_bytes(path) if kind in ("wav", "aiff") else 0
            self._md5 = header.flac_md5(path) if kind == "flac" else None
            self._heard_md5 = hashlib.md5(usedforsecurity=False)
            # By descriptor, so that neither the name nor its suffix (.raw!) has a say in how the bytes are read.
            self._file = _Forward(os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0)), closefd=True)
        except (soundfile.SoundFileError, RuntimeError, TypeError, ValueError, OSError) as error:
            raise AudioError("decode_error", f"{kind} that cannot be decoded ({_reason(error)})") from error
        self.facts = Facts(
            container=kind,
            encoding=self._file.subtype,
            sample_rate=self._file.samplerate,
            n_channels=self._file.channels,
            n_declared=self._file.frames,
        )

    def __enter__(self) -> "Decoder":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def blocks(
        self, *, sample_rate: float | None = None, channel: Literal["mix", "each"] | int = "mix", block: int = BLOCK
    ) -> Iterator[NDArray[np.float32]]:
        """Yield the samples once, as float32 of shape (n,), n > 0, full scale 1.0.

        ``sample_rate`` None keeps the file's own; ``channel`` is ``mix`` (mean of all), an index, or ``each``, which
        yields (n_channels, n); ``block`` is the number of samples read at a time. Raises `AudioError` with code
        ``sample_rate``, ``channels``, ``decode_error``, ``not_finite`` or ``no_samples``.
        """
        facts = self.facts
        rate = facts.sample_rate
        if not MIN_RATE_HZ <= rate <= MAX_RATE_HZ:
            raise AudioError("sample_rate", f"sample rate {rate} Hz is outside {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz")
        if not 1 <= facts.n_channels <= MAX_CHANNELS:
            raise AudioError("channels", f"{facts.n_channels} channels; at most {MAX_CHANNELS} are read")
        if isinstance(channel, int) and channel >= facts.n_channels:
            raise AudioError("channels", f"has no channel {channel}, only {facts.n_channels}; set features.channel")
        resampler = None
        n_tracks = facts.n_channels if channel == "each" else 1
        if sample_rate is not None and sample_rate != rate:
            resampler = soxr.ResampleStream(rate, sample_rate, n_tracks, dtype="float32", quality="HQ")
        for samples in self._read(block):
            tracks = samples if channel == "each" else _one(samples, channel)
            tracks = resampler.resample_chunk(tracks) if resampler else tracks.copy()
            if tracks.size:
                yield np.ascontiguousarray(tracks.T)
        if facts.n_read == 0:
            raise AudioError("no_samples", "holds a header but no samples")
        if resampler:
            shape = (0, n_tracks) if channel == "each" else (0,)
            last = resampler.resample_chunk(np.zeros(shape, np.float32), last=True)
            if last.size:
                yield np.ascontiguousarray(last.T)
        self._add_warnings()

    def _read(self, block: int) -> Iterator[NDArray[np.float32]]:
        """Yield (n, n_channels) float32, each in the memory of the one before, and keep the facts."""
        facts = self.facts
        subtype = self._file.subtype
        # What fits in 16 bits is read as such, which is much faster; the MD5 of a FLAC file is that of its integers.
        kind = "int16" if subtype in _INTEGER_SUBTYPES else "int32" if self._md5 else "float32"
        block = max(1, min(block, facts.n_declared, (1 << 22) // facts.n_channels))
        memory = np.empty((block, facts.n_channels), kind)
        floats = memory if kind == "float32" else np.empty(memory.shape, np.float32)
        while True:
            try:
                raw = self._file.read(out=memory)
            except (soundfile.SoundFileError, RuntimeError, ValueError) as error:
                raise AudioError(
                    "decode_error", f"cannot be decoded past {facts.duration_s:.2f} s ({_reason(error)})"
                ) from error
            isolate.heartbeat()
            if not len(raw):
                return
            if self._md5:
                self._heard_md5.update(_most_significant(raw, _FLAC_BYTES[subtype]))
            # By column, as reducing along short rows is slow; in float64, as -32768 has no positive twin in 16 bits.
            low, high = (np.array([f(c) for c in raw.T], np.float64) for f in (np.min, np.max))
            peaks = np.maximum(-low, high) * _SCALE[kind]
            if not (peaks <= MAX_PEAK).all():  # nor is NaN
                raise AudioError("not_finite", f"holds NaN, infinite or absurd samples after {facts.duration_s:.2f} s")
            samples = floats[: len(raw)]
            if kind != "float32":
                np.multiply(raw, _SCALE[kind], out=samples, dtype=np.float32)
            facts.n_read += len(raw)
            facts.peaks = np.maximum(facts.peaks, peaks)
            if peaks.max() >= 0.999:
                facts.n_clipped += int(np.count_nonzero(np.abs(samples) >= 0.999))
            yield samples

    def _add_warnings(self) -> None:
        facts = self.facts
        if self._missing:
            facts.warnings.append("truncated")
        if facts.n_declared < _UNKNOWN_LENGTH and facts.n_declared != facts.n_read:
            facts.warnings.append("length_mismatch")
        if self._md5 not in (None, self._heard_md5.digest()):
            facts.warnings.append("md5_mismatch")
        if facts.n_clipped > CLIPPED_FRACTION * facts.n_read * facts.n_channels:
            facts.warnings.append("clipped")
        if (facts.peaks < DEAD * facts.peak).any():
            facts.warnings.append("dead_channel")


def excerpt(path: Path, sample_rate: int, start_s: float, limit_s: float) -> NDArray[np.float32]:
    """Return ``limit_s`` seconds of a recording from ``start_s`` on, all channels mixed, as float32 (n,)."""
    first, last = round(start_s * sample_rate), round((start_s + limit_s) * sample_rate)
    heard: list[NDArray[np.float32]] = []
    n_heard = 0
    with Decoder(path) as decoder:
        for block in decoder.blocks(sample_rate=sample_rate):
            heard.append(block[max(0, first - n_heard) : last - n_heard])
            n_heard += len(block)
            if n_heard >= last:
                break
    return np.concatenate(heard) if heard else np.zeros(0, np.float32)


def resampled(samples: NDArray[np.float32], sample_rate: int, wanted: int) -> NDArray[np.float32]:
    """Return samples (n,) at another rate."""
    if sample_rate == wanted:
        return samples
    return np.asarray(soxr.resample(samples, sample_rate, wanted, quality="HQ"), np.float32)


def _one(samples: NDArray[np.float32], channel: str | int) -> NDArray[np.float32]:
    """One channel (n,) of samples (n, n_channels): that of an index, or the mean of all."""
    if channel != "mix":
        return np.ascontiguousarray(samples[:, int(channel)])
    total = samples[:, 0]
    for other in samples.T[1:]:  # by column: summing along short rows is slow
        total = total + other
    return total / np.float32(samples.shape[1]) if samples.shape[1] > 1 else np.ascontiguousarray(total)


def _most_significant(samples: NDArray[np.integer], n_bytes: int) -> bytes:
    """The first ``n_bytes`` of every sample, least significant first: libsndfile fills up with zeros from below."""
    little = np.ascontiguousarray(samples, samples.dtype.newbyteorder("<"))
    return little.view(np.uint8).reshape(-1, little.itemsize)[:, -n_bytes:].tobytes()


def _reason(error: Exception) -> str:
    """The library's own words in one line, without the file's name, which the caller adds."""
    text = " ".join(str(error).split()).rstrip(".")
    if "possibly a pipe?" in text:  # what libsndfile says of MPEG audio without one good frame
        return "no frame of it is whole"
    return text.rsplit(": ", 1)[-1] or type(error).__name__
