"""The mel scale of all features: hertz to mels and back, and where the bands of a spec lie.

It is that of Slaney's Auditory Toolbox (1998), which librosa uses by default: even up to 1 kHz, then logarithmic.
"""

import math

import numpy as np
from numpy.typing import NDArray

from audiocnn.specs import FeatureSpec

_HZ = 200 / 3  # of a mel, up to 1 kHz
_LOG_FROM_HZ = 1_000.0
_LOG_FROM = _LOG_FROM_HZ / _HZ
_LOG_STEP = math.log(6.4) / 27


def of_hz(hz: float) -> float:
    """Return a frequency in mels.

    >>> round(of_hz(1_000), 9), round(of_hz(6_400), 9)
    (15.0, 42.0)
    """
    return hz / _HZ if hz < _LOG_FROM_HZ else _LOG_FROM + math.log(hz / _LOG_FROM_HZ) / _LOG_STEP


def to_hz(mels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the frequencies of mels, of the same shape."""
    over = mels - _LOG_FROM
    return np.where(over < 0, mels * _HZ, _LOG_FROM_HZ * np.exp(np.maximum(over, 0) * _LOG_STEP))


def edges_hz(spec: FeatureSpec) -> NDArray[np.float64]:
    """Return where mel bands begin, peak and end, (n_mels + 2,): band i begins at i, peaks at i + 1, ends at i + 2."""
    return to_hz(np.linspace(of_hz(spec.fmin), of_hz(spec.upper_hz), spec.n_mels + 2))
