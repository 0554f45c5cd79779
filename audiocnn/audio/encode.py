"""Samples to a sound file: 16-bit PCM in the format that a file's suffix names, or a small Ogg for a page."""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

OGG_RATE = 24_000  # Hz; keeps 12 kHz, and Opus knows 8, 12, 16, 24 and 48 kHz only


def write(path: Path, samples: NDArray[np.float32], sample_rate: int) -> None:
    """Write float32 ``samples`` within -1..1, (n,) or (n, channels), as PCM of 16 bits; the suffix sets the format."""
    import soundfile

    soundfile.write(path, samples, sample_rate, subtype="PCM_16")


def ogg(samples: NDArray[np.float32], sample_rate: int) -> bytes:
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
