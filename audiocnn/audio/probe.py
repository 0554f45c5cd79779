"""A first look at a sound file: how long, how many channels, how loud, how far up its energy reaches."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audiocnn.audio import workers
from audiocnn.audio.decode import Decoder
from audiocnn.files import sha256_of

MIN_DBFS = -120.0  # below the last bit of 16; what is softer counts as this

_SEGMENT = 4096  # samples per spectrum
_FLOOR = 1e-6  # -60 dB below the loudest band
_FAINT = 1e-7  # and -70 dB: above it there is hardly any sound, only what the file itself has room for
_MOMENT_S = 0.02  # of which a level is taken
_QUIET = 0.1  # this part of the moments is softer than the noise floor
_STEPS_PER_DB, _HIGHEST_DBFS = 10, 200.0  # of the histogram of levels, which takes the same memory for any length


@dataclass(frozen=True)
class Probe:
    """What was measured of a recording, all of it of the mean of its channels.

    ``peak`` is the largest absolute sample, full scale 1.0; ``bandwidth_hz`` the highest frequency whose energy is
    within 60 dB of the loudest, ``cutoff_hz`` the same for 70 dB. ``encoding`` is how samples are kept, such as
    ``PCM_16``. ``level_dbfs`` is the root mean square without the mean, which is ``dc`` as a part of it; below
    ``floor_dbfs`` lies the level of the softest tenth of all moments; no level is less than `MIN_DBFS`.
    ``clipped`` is the share of samples at full scale.
    """

    sha256: str
    container: str
    duration_s: float
    sample_rate: int
    n_channels: int
    peak: float
    bandwidth_hz: float
    warnings: tuple[str, ...]
    encoding: str = ""
    cutoff_hz: float = 0.0
    level_dbfs: float = MIN_DBFS
    floor_dbfs: float = MIN_DBFS
    dc: float = 0.0
    clipped: float = 0.0


def probe(path: Path) -> Probe:
    """Read a whole recording once; raise `AudioError` if it cannot be used."""
    power = np.zeros(_SEGMENT // 2 + 1)
    weight = peak = 0.0
    with Decoder(path) as decoder:
        facts = decoder.facts
        levels = _Levels(facts.sample_rate)
        for block in decoder.blocks():
            peak = max(peak, float(np.abs(block).max()))
            levels.hear(block)
            for segment in _segments(block):
                taper = np.hanning(len(segment) + 2)[1:-1]
                power += np.abs(np.fft.rfft(segment * taper, _SEGMENT)) ** 2
                weight += float(taper @ taper)
    power = np.convolve(power / weight, np.ones(16) / 16, mode="same")
    return Probe(
        sha256=sha256_of(path, watch=lambda _: workers.heartbeat()),
        container=facts.container,
        duration_s=facts.duration_s,
        sample_rate=facts.sample_rate,
        n_channels=facts.n_channels,
        peak=peak,
        bandwidth_hz=_highest(power, _FLOOR * power.max()) * facts.sample_rate,
        warnings=tuple(facts.warnings),
        encoding=facts.encoding,
        cutoff_hz=_highest(power, _FAINT * power.max()) * facts.sample_rate,
        level_dbfs=levels.level_dbfs,
        floor_dbfs=levels.floor_dbfs,
        dc=levels.dc,
        clipped=facts.n_clipped / (facts.n_read * facts.n_channels),
    )


def dbfs(amplitude: float) -> float:
    """An amplitude in decibels, 0 for full scale.

    >>> dbfs(0.5), dbfs(0)
    (-6.0206, -120.0)
    """
    return round(max(MIN_DBFS, 20 * float(np.log10(amplitude))), 4) if amplitude > 0 else MIN_DBFS


class _Levels:
    """Level, offset and noise floor of samples that come block by block."""

    def __init__(self, sample_rate: int) -> None:
        self._moment = max(2, round(_MOMENT_S * sample_rate))
        self._histogram = np.zeros(round((_HIGHEST_DBFS - MIN_DBFS) * _STEPS_PER_DB) + 1, np.int64)
        self._n = 0
        self._sum = self._sum_of_squares = 0.0

    def hear(self, block: NDArray[np.float32]) -> None:
        """Count a block (n,) in; what is left over behind its last whole moment is not asked for the noise floor."""
        samples = block.astype(np.float64)
        self._n += len(samples)
        self._sum += float(samples.sum())
        self._sum_of_squares += float(samples @ samples)
        moments = samples[: len(samples) // self._moment * self._moment].reshape(-1, self._moment)
        power = np.maximum(moments.var(axis=1), 10 ** (MIN_DBFS / 10))
        steps = np.rint((10 * np.log10(power) - MIN_DBFS) * _STEPS_PER_DB).astype(np.int64)
        self._histogram += np.bincount(np.minimum(steps, len(self._histogram) - 1), minlength=len(self._histogram))

    @property
    def _deviation(self) -> float:
        mean = self._sum / self._n
        return float(np.sqrt(max(0.0, self._sum_of_squares / self._n - mean**2)))

    @property
    def level_dbfs(self) -> float:
        return dbfs(self._deviation)

    @property
    def dc(self) -> float:
        return self._sum / self._n / max(self._deviation, 10 ** (MIN_DBFS / 20))

    @property
    def floor_dbfs(self) -> float:
        if not self._histogram.any():
            return self.level_dbfs
        softer = np.cumsum(self._histogram)
        return MIN_DBFS + float(np.searchsorted(softer, _QUIET * softer[-1])) / _STEPS_PER_DB


def _segments(block: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """Two stretches of each block are enough to see how far up the energy reaches."""
    yield block[:_SEGMENT]
    if len(block) >= 4 * _SEGMENT:
        yield block[len(block) // 2 :][:_SEGMENT]


def _highest(power: NDArray[np.float64], floor: float) -> float:
    """Highest frequency, in cycles per sample, at which a power spectrum from 0 to 0.5 exceeds ``floor``."""
    above = np.flatnonzero(power > floor)
    return float(above[-1]) / (2 * (len(power) - 1)) if len(above) else 0.0
