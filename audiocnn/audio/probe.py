"""A first look at a sound file: how long, how many channels, how loud, how far up its energy reaches."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audiocnn.audio.decode import Decoder
from audiocnn.files import sha256_of

_SEGMENT = 4096  # samples per spectrum
_FLOOR = 1e-6  # -60 dB below the loudest band


@dataclass(frozen=True)
class Probe:
    """``peak`` is that of the mean of all channels, full scale 1.0; ``bandwidth_hz`` the highest frequency whose energy
    is within 60 dB of the loudest."""

    sha256: str
    container: str
    duration_s: float
    sample_rate: int
    n_channels: int
    peak: float
    bandwidth_hz: float
    warnings: tuple[str, ...]


def probe(path: Path) -> Probe:
    """Read a whole recording once; raise `AudioError` if it cannot be used."""
    power = np.zeros(_SEGMENT // 2 + 1)
    peak = 0.0
    with Decoder(path) as decoder:
        for block in decoder.blocks():
            peak = max(peak, float(np.abs(block).max()))
            for segment in _segments(block):
                power += np.abs(np.fft.rfft(segment * np.hanning(len(segment)), _SEGMENT)) ** 2
        facts = decoder.facts
    return Probe(
        sha256=sha256_of(path),
        container=facts.container,
        duration_s=facts.duration_s,
        sample_rate=facts.sample_rate,
        n_channels=facts.n_channels,
        peak=peak,
        bandwidth_hz=_bandwidth(power) * facts.sample_rate,
        warnings=tuple(facts.warnings),
    )


def _segments(block: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """Two stretches of each block are enough to see how far up the energy reaches."""
    yield block[:_SEGMENT]
    if len(block) >= 4 * _SEGMENT:
        yield block[len(block) // 2 :][:_SEGMENT]


def _bandwidth(power: NDArray[np.float64]) -> float:
    """Highest occupied frequency, in cycles per sample, of a power spectrum from 0 to 0.5."""
    smooth = np.convolve(power, np.ones(16) / 16, mode="same")
    occupied = np.flatnonzero(smooth > _FLOOR * smooth.max(initial=0.0))
    return float(occupied[-1]) / (2 * (len(power) - 1)) if len(occupied) else 0.0
