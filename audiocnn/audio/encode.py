"""Encoding of samples: PCM files, WAV files of any length, and small Ogg files for report pages."""

import io
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audiocnn.errors import OutputError

OGG_RATE = 24_000  # Hz, so 12 kHz of bandwidth; Opus supports only 8, 12, 16, 24 and 48 kHz
OGG_FULL_RATE = 48_000  # Hz, for slowed sounds, whose highest frequencies matter

AUDIBLE_RATE = 96_000  # Hz; sound with a higher sample rate is recorded for what lies above hearing
_SLOWDOWN = 10


def write(path: Path, samples: NDArray[np.float32], sample_rate: int) -> None:
    """Write float32 ``samples`` (n,) or (n, n_channels) from -1 to 1 as 16-bit PCM; the suffix selects the format."""
    import soundfile

    soundfile.write(path, samples, sample_rate, subtype="PCM_16")


def wav_bytes(samples: NDArray[np.float32], sample_rate: int) -> bytes:
    """Return float32 ``samples`` (n,) from -1 to 1 as the content of a 16-bit WAV file."""
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, samples, sample_rate, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def write_blocks(path: Path, blocks: Iterable[NDArray[np.float32]], sample_rate: int) -> None:
    """Write blocks (n,) or (n, n_channels) one by one to a WAV of 32-bit floats, without clipping.

    Equal samples give equal bytes; libsndfile would add the current time to such files. Raises `OutputError` if the
    file cannot be written.
    """
    n_channels, n_bytes = 1, 0
    try:
        with open(path, "wb") as file:
            file.write(_float_header(1, 0, sample_rate))
            for block in blocks:
                n_channels = block.shape[1] if block.ndim == 2 else 1
                n_bytes += file.write(block.astype("<f4").tobytes())
            file.seek(0)
            file.write(_float_header(n_channels, n_bytes, sample_rate))
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error


def _float_header(n_channels: int, n_bytes: int, sample_rate: int) -> bytes:
    """Return the header (44 bytes) of a WAV with ``n_bytes`` of float samples."""
    frame = 4 * n_channels
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 3, n_channels, sample_rate, sample_rate * frame, frame, 32)
    return struct.pack("<4sI4s", b"RIFF", 36 + n_bytes, b"WAVE") + form + struct.pack("<4sI", b"data", n_bytes)


def slowdown(sample_rate: int) -> int:
    """Return how many times slower a page plays sound with this sample rate, so that it can be heard: 1 or 10."""
    return _SLOWDOWN if sample_rate > AUDIBLE_RATE else 1


def ogg_bytes(samples: NDArray[np.float32], sample_rate: float, ogg_rate: int = OGG_RATE) -> bytes:
    """Return float32 ``samples`` (n,), n > 0, as the content of a small Ogg file (Opus at ``ogg_rate``) for playback.

    Equal samples give equal bytes. It is not Vorbis because libsndfile's Vorbis encoder overflows the stack when it
    gets minutes of audio at once.
    """
    import soundfile
    import soxr

    if sample_rate != ogg_rate:
        samples = soxr.resample(samples, sample_rate, ogg_rate, quality="HQ")
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, ogg_rate, format="OGG", subtype="OPUS")
    return _without_serial(buffer.getvalue())


_BITS_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def _without_serial(ogg: bytes) -> bytes:
    """Return an Ogg file with the serial number 0 instead of a random one, in every page (RFC 3533)."""
    found, at = bytearray(ogg), 0
    while at < len(found):
        n_segments = found[at + 26]
        end = at + 27 + n_segments + sum(found[at + 27 : at + 27 + n_segments])
        found[at + 14 : at + 18] = found[at + 22 : at + 26] = bytes(4)  # serial number, checksum
        # The checksum is that of zlib without its inversions and with all bits reversed.
        checksum = zlib.crc32(found[at:end].translate(_BITS_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
        found[at + 22 : at + 26] = int(f"{checksum:032b}"[::-1], 2).to_bytes(4, "little")
        at = end
    return bytes(found)
