"""Measurements of a sound file in one pass: duration, channels, level, noise floor, bandwidth, clipping."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audiocnn.audio import workers
from audiocnn.audio.band_powers import EDGES_HZ, BandPowers
from audiocnn.audio.decode import Decoder
from audiocnn.audio.silence import SilenceDetector
from audiocnn.files import sha256_of
from audiocnn.specs import FeatureSpec

MIN_DBFS = -120.0  # lower levels are reported as this; below the last of 16 bits

_SEGMENT = 4096  # samples per spectrum
_BANDWIDTH_RATIO = 1e-6  # 60 dB below the loudest band
_CUTOFF_RATIO = 1e-7  # 70 dB below it: above this frequency there is hardly more than the noise of the format
_FRAME_S = 0.02  # seconds per level
_FLOOR_QUANTILE = 0.1  # this fraction of the frames is below the noise floor
_STEPS_PER_DB, _MAX_DBFS = 10, 200.0  # of the histogram of levels, which has the same size for any duration


@dataclass(frozen=True)
class Probe:
    """Measurements of a recording; all but ``clipped`` are of the channel that is analysed, or of the mean of all.

    ``peak`` is the largest absolute sample, full scale 1.0. ``bandwidth_hz`` is the highest frequency whose energy is
    within 60 dB of the loudest, ``cutoff_hz`` the same for 70 dB. ``encoding`` is the sample format, such as
    ``PCM_16``. ``level_dbfs`` is the root mean square after the mean is subtracted; ``dc`` is that mean divided by it.
    ``floor_dbfs`` is the 10th percentile of the levels of frames of 20 ms. No level is below `MIN_DBFS`. ``clipped`` is
    the share of clipped samples. ``band_powers`` are the mean squares in the bands of `audio.band_powers`. ``silent``
    tells whether nothing is left of it in the band that is analysed.
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
    silent: bool = False
    band_powers: NDArray[np.float32] = field(
        default_factory=lambda: np.zeros(len(EDGES_HZ) - 1, np.float32), compare=False, repr=False
    )


def probe(path: Path, spec: FeatureSpec) -> Probe:
    """Measure a recording in one pass for an analysis with ``spec``; raise `AudioError` if it is unusable."""
    power = np.zeros(_SEGMENT // 2 + 1)
    weight = peak = 0.0
    with Decoder(path) as decoder:
        facts = decoder.facts
        levels, bands = _Levels(facts.sample_rate), BandPowers(facts.sample_rate)
        silence = SilenceDetector(spec, facts.sample_rate)
        for tracks in decoder.blocks(channel=spec.channel, inspect=silence.add):
            block = tracks if tracks.ndim == 1 else tracks.mean(axis=0)
            peak = max(peak, float(np.abs(block).max()))
            levels.add(block)
            bands.add(block)
            for segment in _segments(block):
                taper = np.hanning(len(segment) + 2)[1:-1]
                power += np.abs(np.fft.rfft(segment * taper, _SEGMENT)) ** 2
                weight += float(taper @ taper)
    silence.finish()
    power = np.convolve(power / weight, np.ones(16) / 16, mode="same")
    return Probe(
        sha256=sha256_of(path, watch=lambda _: workers.heartbeat()),
        container=facts.container,
        duration_s=facts.duration_s,
        sample_rate=facts.sample_rate,
        n_channels=facts.n_channels,
        peak=peak,
        bandwidth_hz=_highest_frequency(power, _BANDWIDTH_RATIO * power.max()) * facts.sample_rate,
        warnings=tuple(facts.warnings),
        encoding=facts.encoding,
        cutoff_hz=_highest_frequency(power, _CUTOFF_RATIO * power.max()) * facts.sample_rate,
        level_dbfs=levels.level_dbfs,
        floor_dbfs=levels.floor_dbfs,
        dc=levels.dc,
        clipped=facts.n_clipped / (facts.n_read * facts.n_channels),
        band_powers=bands.result(),
        silent=silence.is_silent,
    )


def dbfs(amplitude: float) -> float:
    """Return an amplitude in decibels relative to full scale.

    >>> dbfs(0.5), dbfs(0)
    (-6.0206, -120.0)
    """
    return round(max(MIN_DBFS, 20 * float(np.log10(amplitude))), 4) if amplitude > 0 else MIN_DBFS


class _Levels:
    """Level, DC offset and noise floor of samples that are added block by block."""

    def __init__(self, sample_rate: int) -> None:
        self._frame = max(2, round(_FRAME_S * sample_rate))  # samples
        self._histogram = np.zeros(round((_MAX_DBFS - MIN_DBFS) * _STEPS_PER_DB) + 1, np.int64)
        self._n = 0
        self._sum = self._sum_of_squares = 0.0

    def add(self, block: NDArray[np.float32]) -> None:
        """Add a block (n,); the rest after its last whole frame does not count for the noise floor."""
        samples = block.astype(np.float64)
        self._n += len(samples)
        self._sum += float(samples.sum())
        self._sum_of_squares += float(samples @ samples)
        frames = samples[: len(samples) // self._frame * self._frame].reshape(-1, self._frame)
        power = np.maximum(frames.var(axis=1), 10 ** (MIN_DBFS / 10))
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
        n_below = np.cumsum(self._histogram)
        return MIN_DBFS + float(np.searchsorted(n_below, _FLOOR_QUANTILE * n_below[-1])) / _STEPS_PER_DB


def _segments(block: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """Yield one or two segments of a block, which are enough to measure the bandwidth."""
    yield block[:_SEGMENT]
    if len(block) >= 4 * _SEGMENT:
        yield block[len(block) // 2 :][:_SEGMENT]


def _highest_frequency(power: NDArray[np.float64], threshold: float) -> float:
    """Return the highest frequency in cycles per sample at which a power spectrum (0 to 0.5) exceeds ``threshold``."""
    above = np.flatnonzero(power > threshold)
    return float(above[-1]) / (2 * (len(power) - 1)) if len(above) else 0.0
