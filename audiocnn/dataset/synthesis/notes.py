"""What every instrument is asked for and answers with: a note, the voice that sounds it, the vibrato that many share."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from audiocnn.dataset.synthesis.signals import Samples


@dataclass(frozen=True)
class Note:
    """What is asked of a voice: pitch in hertz, loudness from 0 (pianissimo) to 1 (fortissimo), time held in seconds."""

    frequency_hz: float
    loudness: float
    duration_s: float

    @property
    def amplitude(self) -> float:
        """Linear level: 24 dB from softest to loudest."""
        return 10 ** (1.2 * (self.loudness - 1))


class Voice(Protocol):
    """Anything that can play a note."""

    def sound(self, note: Note, *, sample_rate: int, rng: np.random.Generator) -> Samples:
        """The note (n,), with its release or ring, which may outlast ``note.duration_s``."""
        ...


@dataclass(frozen=True)
class Vibrato:
    """Periodic wavering of pitch and loudness that sets in after the attack."""

    rate_hz: float
    depth_cents: float
    swell: float  # depth of the loudness, 0..1

    def curve(self, n_samples: int, *, sample_rate: int, rng: np.random.Generator) -> Samples:
        """The wavering (n_samples,) within -1..1, growing over the first 0.2 s."""
        time_s = np.arange(n_samples) / sample_rate
        rate_hz = self.rate_hz * rng.uniform(0.92, 1.08)
        return np.minimum(time_s / 0.2, 1.0) * np.sin(2 * np.pi * (rate_hz * time_s + rng.random()))


