"""Samples to a sound file: PCM in the format that a file's suffix names, a long WAV, or a small Ogg for a page."""

import io
import struct
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audiocnn.errors import OutputError

OGG_RATE = 24_000  # Hz; keeps 12 kHz, and Opus knows 8, 12, 16, 24 and 48 kHz only


def write(path: Path, samples: NDArray[np.float32], sample_rate: int) -> None:
    """Write float32 ``samples`` within -1..1, (n,) or (n, channels), as PCM of 16 bits; the suffix sets the format."""
    import soundfile

    soundfile.write(path, samples, sample_rate, subtype="PCM_16")


def wav_bytes(samples: NDArray[np.float32], sample_rate: int) -> bytes:
    """Return float32 ``samples`` within -1..1, (n,), as the content of a WAV file of 16 bits."""
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, samples, sample_rate, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def write_blocks(path: Path, blocks: Iterable[NDArray[np.float32]], sample_rate: int) -> None:
    """Write blocks (n,) or (n, channels) of one shape as a WAV of 32-bit floats, as they come; nothing is clipped.

    The same samples give the same bytes, which libsndfile does not promise: it adds the time of day to such files.
    Raises `OutputError` if the file cannot be written.
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
    """The first 44 bytes of a WAV (RIFF) with so many bytes of samples."""
    frame = 4 * n_channels
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 3, n_channels, sample_rate, sample_rate * frame, frame, 32)
    return struct.pack("<4sI4s", b"RIFF", 36 + n_bytes, b"WAVE") + form + struct.pack("<4sI", b"data", n_bytes)


def ogg_bytes(samples: NDArray[np.float32], sample_rate: int) -> bytes:
    """Return float32 ``samples`` (n,), n > 0, as a small Ogg file (Opus at `OGG_RATE`), for listening only.

    Opus and not Vorbis: libsndfile's Vorbis encoder overruns the stack when given minutes at once.
    """
    import soundfile
    import soxr

    if sample_rate != OGG_RATE:
        samples = soxr.resample(samples, sample_rate, OGG_RATE, quality="HQ")
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, OGG_RATE, format="OGG", subtype="OPUS")
    return buffer.getvalue()
