"""Sounds made on the spot, float32 (n,) and the same every time, and measurements of them."""

import numpy as np
from numpy.typing import NDArray

RATE = 16_000  # samples a second, unless a test says otherwise
Samples = NDArray[np.float32]


def tone(hz: float, seconds: float, rate: int = RATE, *, amplitude: float = 0.5) -> Samples:
    """A sine, from phase 0."""
    return (amplitude * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def chirp(low_hz: float, high_hz: float, seconds: float, rate: int = RATE, *, amplitude: float = 0.5) -> Samples:
    """A sine that rises evenly from one frequency to the other."""
    t = np.arange(round(seconds * rate)) / rate
    return (amplitude * np.sin(2 * np.pi * (low_hz + (high_hz - low_hz) * t / (2 * seconds)) * t)).astype(np.float32)


def noise(seconds: float, rate: int = RATE, *, level: float = 0.1, seed: int = 0) -> Samples:
    """White noise; ``level`` is its standard deviation."""
    return (level * np.random.default_rng(seed).standard_normal(round(seconds * rate))).astype(np.float32)


def silence(seconds: float, rate: int = RATE) -> Samples:
    """Zeros."""
    return np.zeros(round(seconds * rate), np.float32)


def pitch_hz(samples: Samples, rate: int = RATE) -> float:
    """Frequency of the strongest sine."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum)) * rate / len(samples)


def amplitude(samples: Samples) -> float:
    """Amplitude of a sine, by its power."""
    return float(np.sqrt(2 * np.mean(np.square(samples, dtype=np.float64))))
