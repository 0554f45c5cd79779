"""What every instrument is asked for and answers with: a note, a voice that sounds it, a vibrato that many share."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from audiocnn.dataset.synthesis import signals
from audiocnn.dataset.synthesis.signals import Samples

DYNAMICS_DB = 24.0  # from pianissimo to fortissimo
DRIFT_CENTS = 4.0  # that breath and bow let the pitch stray


@dataclass(frozen=True)
class Note:
    """Pitch in hertz, loudness from 0 (pianissimo) to 1 (fortissimo), time held in seconds."""

    frequency_hz: float
    loudness: float
    duration_s: float

    @property
    def amplitude(self) -> float:
        """The linear level that goes with the loudness, up to 1."""
        return float(10 ** (DYNAMICS_DB * (self.loudness - 1) / 20))


class Voice(Protocol):
    """Anything that can play a note."""

    def sound(self, note: Note, *, sample_rate: int, rng: np.random.Generator) -> Samples:
        """Return the note (n,) with its release or ring, which may outlast ``note.duration_s``."""
        ...


@dataclass(frozen=True)
class Vibrato:
    """A periodic wavering of pitch and loudness that sets in after the attack."""

    rate_hz: float
    depth_cents: float
    swell: float  # depth of the loudness, 0..1

    def waver(
        self, frequency_hz: float, n_samples: int, *, sample_rate: int, rng: np.random.Generator
    ) -> tuple[Samples, Samples]:
        """Return the phase (n_samples,), in cycles, of a note held by hand, and the wavering (n_samples,) in -1..1.

        The wavering grows over the first 0.2 s; beside it the pitch drifts at random.
        """
        time_s = np.arange(n_samples) / sample_rate
        turns = self.rate_hz * rng.uniform(0.92, 1.08) * time_s + rng.random()
        wavering = np.minimum(time_s / 0.2, 1.0) * np.sin(2 * np.pi * turns)
        drift = signals.wander(n_samples, 6.0, sample_rate=sample_rate, rng=rng)
        cents = self.depth_cents * wavering + DRIFT_CENTS * drift
        return signals.running_phase(frequency_hz * 2 ** (cents / 1200), sample_rate=sample_rate), wavering
