"""Sources of samples for a decoder: files and arrays; `audiocnn.audio.microphone` is another one.

Only this module and `audiocnn.audio.encode` import soundfile, whose errors become `AudioError` here.
"""

import hashlib
import math
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import soundfile
from numpy.typing import ArrayLike, NDArray

from audiocnn.audio import headers, mp3_length, sniff
from audiocnn.audio.headers import Header, PatchedFile
from audiocnn.errors import AudioError, ConfigError

LIBSNDFILE = soundfile.__libsndfile_version__

_INTEGER_SUBTYPES = frozenset({"PCM_16", "PCM_S8", "PCM_U8", "ULAW", "ALAW", "IMA_ADPCM", "MS_ADPCM", "GSM610"})
_FLAC_BYTES = {"PCM_S8": 1, "PCM_16": 2, "PCM_24": 3}  # bytes per sample in the MD5 of the samples
_UNKNOWN_LENGTH = 1 << 48  # samples; libsndfile returns 2^63 - 1 for a stream that does not declare its length
_FLOAT_SUBTYPES = frozenset({"FLOAT", "DOUBLE"})
_INTEGER_BITS = (15, 23, 31)  # full scale of integers of 16, 24 and 32 bits
_FLAC_SYNC = re.compile(rb"\xff[\xf8\xf9]")  # first bytes of a frame
_SCANNED = 1 << 16  # samples per channel that are checked at a time

Dtype = Literal["int16", "int32", "float32"]
SCALES: dict[Dtype, float] = {"int16": 2.0**-15, "int32": 2.0**-31, "float32": 1.0}


class Source(Protocol):
    """The interface of a source: samples (n, n_channels) of ``dtype``, front to back.

    ``n_declared`` is the declared length in samples per channel. ``scale`` converts samples to full scale 1.0.
    ``container`` and ``encoding`` are names for reports, such as ``wav`` and ``PCM_16``.
    """

    container: str
    encoding: str
    sample_rate: int
    n_channels: int
    n_declared: int
    dtype: Dtype
    scale: float

    def read(self, out: NDArray[Any]) -> NDArray[Any]:
        """Fill ``out`` (n, n_channels) of ``dtype`` from its start; return the filled part, empty at the end.

        Raises `AudioError` if the samples cannot be read.
        """

    def warnings(self, of_samples: list[str]) -> list[str]:
        """Return all warnings: those of the source, and ``of_samples``, which the decoder found in the samples."""

    def close(self) -> None: ...


class _UnseekableFile(soundfile.SoundFile):  # type: ignore[misc]  # soundfile has no types
    """A file that soundfile treats as not seekable.

    Else it seeks to the current position after every block, which makes some decoders return other samples.
    """

    def seekable(self) -> bool:
        return False


class FileSource:
    """A sound file, identified by its content, not by its name."""

    def __init__(self, path: Path) -> None:
        """Open ``path``; raise `AudioError` if it is not a readable sound file."""
        self.container = sniff.identify(path)
        try:
            self._header = mp3_length.check(path) if self.container == "mp3" else headers.check(path, self.container)
            self._md5 = flac_md5(path) if self.container == "flac" else None
            self._file = _open(path, self._header)
        except (soundfile.SoundFileError, RuntimeError, TypeError, ValueError, OSError) as error:
            raise AudioError("decode_error", f"{self.container} that cannot be decoded ({_reason(error)})") from error
        self.encoding: str = self._file.subtype
        self.sample_rate: int = self._file.samplerate
        self.n_channels: int = self._file.channels
        self.n_declared: int = self._file.frames
        # 16-bit samples are read as integers, which is much faster; the MD5 of a FLAC file is computed from integers.
        self.dtype: Dtype = "int16" if self.encoding in _INTEGER_SUBTYPES else "int32" if self._md5 else "float32"
        self.scale = SCALES[self.dtype]
        if self.encoding in _FLOAT_SUBTYPES:
            with _open(path, self._header) as file:
                self.scale = float_scale(_blocks(file))
        self._path, self._n_read = path, 0
        self._md5_read = hashlib.md5(usedforsecurity=False)

    def read(self, out: NDArray[Any]) -> NDArray[Any]:
        try:
            samples: NDArray[Any] = self._file.read(out=out)
        except (soundfile.SoundFileError, RuntimeError, ValueError) as error:
            read_s = self._n_read / self.sample_rate
            raise AudioError("decode_error", f"cannot be decoded past {read_s:.2f} s ({_reason(error)})") from error
        if not len(samples) and self._continue_flac():
            return self.read(out)
        self._n_read += len(samples)
        if self._md5:
            self._md5_read.update(_most_significant(samples, _FLAC_BYTES[self.encoding]))
        return samples

    def _continue_flac(self) -> bool:
        """Go on behind the declared length of a FLAC file if frames follow; return whether they do."""
        if self.container != "flac" or not 0 < self._n_read == self.n_declared:
            return False
        with open(self._path, "rb") as file:
            head = file.read(26)
            file.seek(os.lseek(self._file.name, 0, os.SEEK_CUR))  # of a file opened by descriptor the name is that
            if not _FLAC_SYNC.search(file.read(_SCANNED)):
                return False
        self._file.close()
        # The length has 36 bits, of which 0 means that it is not known.
        self._file = _open(self._path, Header(patches=((21, bytes([head[21] & 0xF0, 0, 0, 0, 0])),)))
        for _ in range(0, self._n_read, _SCANNED):
            self._file.read(min(_SCANNED, self._n_read), dtype="int16")
        return True

    def warnings(self, of_samples: list[str]) -> list[str]:
        mismatch = self.n_declared < _UNKNOWN_LENGTH and self.n_declared != self._n_read
        return [
            *(["truncated"] if self._header.missing else []),
            *(["length_mismatch"] if mismatch or not self._header.is_true else []),
            *(["scale"] if self.scale != SCALES[self.dtype] else []),
            *(["md5_mismatch"] if self._md5 not in (None, self._md5_read.digest()) else []),
            *of_samples,
        ]

    def close(self) -> None:
        self._file.close()


class ArraySource:
    """Samples in memory."""

    container = "array"

    def __init__(self, samples: ArrayLike, *, sample_rate: float) -> None:
        """Take samples (n,) or (n, n_channels), float with full scale 1.0 or int16; ``sample_rate`` is whole hertz.

        Raises `ConfigError` for anything else. The decoder checks the values, as for a file.
        """
        self._samples = _checked(samples)
        integers = self._samples.dtype == np.int16
        self.encoding = "PCM_16" if integers else "FLOAT"
        self.dtype: Dtype = "int16" if integers else "float32"
        blocks = (self._samples[i : i + _SCANNED] for i in range(0, len(self._samples), _SCANNED))
        self.scale = SCALES["int16"] if integers else float_scale(blocks)
        self.sample_rate = _whole_hertz(sample_rate)
        self.n_declared, self.n_channels = self._samples.shape
        self._n_read = 0

    def read(self, out: NDArray[Any]) -> NDArray[Any]:
        rows = self._samples[self._n_read : self._n_read + len(out)]
        self._n_read += len(rows)
        with np.errstate(over="ignore"):  # values outside float32 become infinite, which the decoder refuses
            out[: len(rows)] = rows
        return out[: len(rows)]

    def warnings(self, of_samples: list[str]) -> list[str]:
        return [*(["scale"] if self.scale != SCALES[self.dtype] else []), *of_samples]

    def close(self) -> None:
        pass


def _open(path: Path, header: Header) -> _UnseekableFile:
    if header.patches or header.prefix:
        return _UnseekableFile(PatchedFile(path, header), closefd=True)
    # By descriptor, so that soundfile does not interpret the name or its suffix, such as .raw.
    return _UnseekableFile(os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0)), closefd=True)


def _blocks(file: _UnseekableFile) -> Iterator[NDArray[np.float32]]:
    """Yield the samples of a file front to back."""
    while len(block := file.read(_SCANNED, dtype="float32")):
        yield block


def float_scale(blocks: Iterable[NDArray[Any]]) -> float:
    """Return the factor that brings float samples to full scale 1.0: 1, or less if all of them are integers.

    Some programs keep the integers of a 16-bit recording as floats. Reading ends with the first block that holds
    another value, usually the first one.
    """
    peak = 0.0
    for block in blocks:
        if not np.array_equal(block, np.rint(block)):
            return 1.0
        peak = max(peak, float(np.abs(block).max()))
    return next((2.0**-bits for bits in _INTEGER_BITS if 1 < peak <= 2**bits), 1.0)


def flac_md5(path: Path) -> bytes | None:
    """Return the MD5 of the original samples that the encoder stored in a FLAC file; None if there is none."""
    with open(path, "rb") as file:
        head = file.read(42)  # "fLaC", then STREAMINFO: a header of 4 bytes and 34 bytes that end with the MD5 (16)
    md5 = head[26:42]
    return md5 if len(md5) == 16 and head[4] & 0x7F == 0 and any(md5) else None


def _most_significant(samples: NDArray[np.integer], n_bytes: int) -> bytes:
    """Return the ``n_bytes`` most significant bytes of each sample, little-endian; libsndfile fills the rest with 0."""
    little = np.ascontiguousarray(samples, samples.dtype.newbyteorder("<"))
    return little.view(np.uint8).reshape(-1, little.itemsize)[:, -n_bytes:].tobytes()


def _reason(error: Exception) -> str:
    """Return the library's message in one line, without the file's name, which the caller adds."""
    text = " ".join(str(error).split()).rstrip(".")
    if "possibly a pipe?" in text:  # libsndfile's message for MPEG audio without one good frame
        return "no frame of it is whole"
    return text.rsplit(": ", 1)[-1] or type(error).__name__


def _checked(samples: ArrayLike) -> NDArray[Any]:
    """Return the samples as (n, n_channels) without copying; raise `ConfigError` for a wrong type or shape."""
    array = np.asarray(samples)
    if array.dtype != np.int16 and array.dtype.kind != "f":
        raise ConfigError(
            f"samples of type {array.dtype}: must be float with full scale 1.0, or int16; convert them first"
        )
    if array.ndim not in (1, 2):
        raise ConfigError(f"samples of shape {array.shape}: must have shape (n,) or (n, channels)")
    if not array.size:
        raise ConfigError(f"samples of shape {array.shape}: empty; at least one sample is needed")
    if array.ndim == 2 and array.shape[1] > array.shape[0]:
        raise ConfigError(f"samples of shape {array.shape}: more channels than samples; transpose them with samples.T")
    return array[:, None] if array.ndim == 1 else array


def _whole_hertz(sample_rate: float) -> int:
    number = isinstance(sample_rate, int | float | np.integer | np.floating) and not isinstance(sample_rate, bool)
    if not number or not math.isfinite(sample_rate) or sample_rate != int(sample_rate) or sample_rate <= 0:
        raise ConfigError(f"sample_rate {sample_rate!r}: must be a whole number of hertz, such as 44100")
    return int(sample_rate)
