"""Power of a recording in bands of fixed frequencies, over all of its samples and in constant memory."""

import numpy as np
from numpy.typing import NDArray

EDGES_HZ = 1_000 * 2 ** (np.arange(-36, 53) / 6)  # sixths of an octave from 16 Hz to 406 kHz

_SEGMENT = 4096  # samples per spectrum
_SHORTEST = 256  # samples of the rest of a block; a shorter one counts only if there is nothing else


class BandPowers:
    """Accumulate blocks of samples; the mean of each spectrum's samples does not count."""

    def __init__(self, sample_rate: int) -> None:
        self._edges_hz = np.clip((np.arange(_SEGMENT // 2 + 2) - 0.5) * sample_rate / _SEGMENT, 0, sample_rate / 2)
        self._power = np.zeros(_SEGMENT // 2 + 1)
        self._weight = 0.0

    def add(self, block: NDArray[np.float32]) -> None:
        """Add a block (n,), n > 0."""
        n = len(block) // _SEGMENT * _SEGMENT
        if n:
            self._add_segments(block[:n].reshape(-1, _SEGMENT))
        if len(block) - n >= _SHORTEST or not self._weight:
            self._add_segments(block[None, n:])

    def result(self) -> NDArray[np.float32]:
        """Return the mean square of the samples in the bands between `EDGES_HZ`."""
        below = np.concatenate([[0.0], np.cumsum(self._power)]) / max(self._weight, 1e-30)
        return np.diff(np.interp(EDGES_HZ, self._edges_hz, below)).astype(np.float32)

    def _add_segments(self, segments: NDArray[np.float32]) -> None:
        taper = np.hanning(segments.shape[1] + 2)[1:-1].astype(np.float32)
        spectra = np.fft.rfft((segments - segments.mean(axis=1, keepdims=True)) * taper, _SEGMENT)
        self._power += 2 * np.square(np.abs(spectra), dtype=np.float64).sum(axis=0)
        self._weight += len(segments) * _SEGMENT * float(taper @ taper)


def power_between(powers: NDArray[np.float32], low_hz: float, high_hz: float) -> float:
    """Return the power between two frequencies; bands that are partly between them count in part."""
    below = np.concatenate([[0.0], np.cumsum(powers, dtype=np.float64)])
    low, high = np.interp([low_hz, high_hz], EDGES_HZ, below)
    return float(high - low)
