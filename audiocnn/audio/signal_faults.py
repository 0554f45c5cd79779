"""Faults of the samples of a recording, found while it is decoded: clipping, and channels that a mix loses."""

import numpy as np
from numpy.typing import NDArray

CLIPPED_FRACTION = 1e-3  # share of samples in flat runs that gives the warning ``clipped``; a few peaks do not
DEAD_CHANNEL_RATIO = 1e-4  # a channel is dead if its range is below this fraction of the largest one's (-80 dB)

_MIN_RANGE = 64  # steps of the format: in a smaller range, flat runs come from rounding
_STEEP_STEPS = 2  # a clipped peak falls by more steps of the format; a smooth one does not
_STEP_SHARES = {"ULAW": 1 / 16, "ALAW": 1 / 16, "IMA_ADPCM": 1 / 16, "MS_ADPCM": 1 / 16, "GSM610": 1 / 16}
_STEP_SHARE = 5e-4  # of other formats; a step is at least this share of the sample
_RAIL = 0.25  # a rail is at least this share of the range away from the mean; the level of a pause is not
_SQUARE = 0.9  # share of samples in flat runs above which the sound is a square wave, unless it is at full scale
_FULL_SCALE = 0.999

_CANCEL_RATIO = 0.1  # power of the mix relative to that of a mix of unlike channels, below which channels cancel
_SEGMENT = 8_192  # samples of a channel that are correlated at a time
_MAX_SEGMENTS = 16
_MAX_CHANNELS = 8  # that are compared with the first one
_MAX_DELAY_S = 0.05
_COPY_CORRELATION, _SHIFTED_RATIO = 0.95, 0.9

Samples = NDArray[np.float32]
PerChannel = NDArray[np.float64]


class ClippingDetector:
    """Counts samples in flat runs at the highest and the lowest value of each channel.

    A run is two samples or more of the extreme value that the signal reaches or leaves abruptly. So the format does not
    matter, and neither do floats above 1, smooth peaks and pauses.
    """

    def __init__(self, n_channels: int, scale: float, encoding: str) -> None:
        """Take the number of channels, the factor by which integer samples are multiplied, and their subtype."""
        self._scale, self._step_share = scale, _STEP_SHARES.get(encoding, _STEP_SHARE)
        self._extremes = np.full((2, n_channels), -np.inf)  # of the samples, and of the samples times -1
        self._counts = np.zeros((2, n_channels), np.int64)
        self._sums = np.zeros(n_channels)
        self._bits = 0  # that are set in any integer sample
        self._n = 0

    def add(self, samples: Samples, low: PerChannel, high: PerChannel, integers: NDArray[np.integer] | None) -> None:
        """Add samples (n, n_channels), their extremes, and the integers that they were, None for floats."""
        if integers is not None:
            self._bits |= int(np.bitwise_or.reduce(integers, axis=None))
        self._n += len(samples)
        for channel, column in enumerate(samples.T):
            self._sums[channel] += float(column.sum())
            for rail, extreme in enumerate((high[channel], -low[channel])):
                if extreme > self._extremes[rail, channel]:
                    self._extremes[rail, channel], self._counts[rail, channel] = extreme, 0
                if extreme == self._extremes[rail, channel]:
                    value = extreme if rail == 0 else -extreme
                    step = max(self._step, self._step_share * abs(value))
                    self._counts[rail, channel] += _count_flat(column, value, step)

    @property
    def _step(self) -> float:
        """The smallest difference of two samples of an integer format; 0 for floats."""
        return (self._bits & -self._bits) * self._scale

    @property
    def n_clipped(self) -> int:
        """Samples of all channels in flat runs at a rail."""
        if not self._n:
            return 0
        high, low = self._extremes[0], -self._extremes[1]
        span = high - low
        mean = self._sums / self._n
        at_rail = np.abs(np.stack([high, low]) - mean) >= _RAIL * span
        shares = self._counts.sum(axis=0) / self._n
        square = (shares > _SQUARE) & (np.maximum(np.abs(high), np.abs(low)) < _FULL_SCALE)
        return int(self._counts[at_rail & (span >= _MIN_RANGE * self._step) & ~square].sum())


def _count_flat(column: Samples, extreme: float, step: float) -> int:
    """Return the number of samples in runs of two or more at ``extreme`` with a steep side."""
    at = np.flatnonzero(column == np.float32(extreme))
    if len(at) < 2:
        return 0
    breaks = np.flatnonzero(np.diff(at) > 1)
    starts, ends = at[np.concatenate([[0], breaks + 1])], at[np.concatenate([breaks, [len(at) - 1]])]
    sides = np.stack([column[np.maximum(starts - 1, 0)], column[np.minimum(ends + 1, len(column) - 1)]])
    steep = np.abs(sides - np.float32(extreme)).max(axis=0) > _STEEP_STEPS * step
    lengths = ends - starts + 1
    return int(lengths[(lengths > 1) & steep].sum())


class ChannelComparison:
    """Compares the channels of a recording with each other and with their mean."""

    def __init__(self, n_channels: int, sample_rate: int) -> None:
        self._rate = sample_rate
        self._n = 0
        self._origin: Samples | None = None  # the first samples, subtracted from all for precision
        self._sums = np.zeros(n_channels)
        self._products = np.zeros((n_channels, n_channels))
        self._n_compared = min(n_channels, _MAX_CHANNELS)
        self._correlations = np.zeros((self._n_compared - 1, 2 * _SEGMENT))
        self._powers = np.zeros(self._n_compared)
        self._n_segments = 0

    def add(self, samples: Samples) -> None:
        """Add samples (n, n_channels)."""
        if self._origin is None:
            self._origin = samples[0].copy()
        shifted = np.empty(samples.T.shape, np.float32)
        for i, column in enumerate(samples.T):  # by column: along short rows, numpy is slow
            np.subtract(column, self._origin[i], out=shifted[i])
        self._n += len(samples)
        self._sums += shifted.sum(axis=1)
        self._products += shifted @ shifted.T
        if self._n_segments < _MAX_SEGMENTS:
            segments = shifted[: self._n_compared, :_SEGMENT].astype(np.float64)
            segments -= segments.mean(axis=1, keepdims=True)
            if (power := np.square(segments).sum(axis=1)).all():
                spectra = np.fft.rfft(segments, 2 * _SEGMENT)
                self._correlations += np.fft.irfft(spectra[:1].conj() * spectra[1:], 2 * _SEGMENT)
                self._powers += power
                self._n_segments += 1

    def warnings(self) -> list[str]:
        """Return ``channels_cancel`` if the mean is much softer than its channels, ``delayed_channels`` for copies."""
        means = self._sums / max(1, self._n)
        covariances = self._products / max(1, self._n) - np.outer(means, means)
        if covariances.sum() < _CANCEL_RATIO * covariances.trace():  # of unlike channels both are the same
            return ["channels_cancel"]
        return ["delayed_channels"] if self._has_delayed_copy() else []

    def _has_delayed_copy(self) -> bool:
        largest = min(round(_MAX_DELAY_S * self._rate), _SEGMENT // 2)
        for correlation, power in zip(self._correlations, self._powers[1:], strict=True):
            if not power:
                continue
            lags = np.arange(-largest, largest + 1)
            found = correlation[lags] / np.sqrt(self._powers[0] * power) / (1 - np.abs(lags) / _SEGMENT)
            if found.max() >= _COPY_CORRELATION and found[largest] < _SHIFTED_RATIO * found.max():
                return True
        return False
