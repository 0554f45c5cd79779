"""Find the first sound of a recording in the band that is analysed, block by block, at the recording's own rate."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiocnn.audio.decode import Facts
from audiocnn.specs import FeatureSpec

_MEAN_BINS = 2  # of a frame tapered by a Hann window: a constant is in bins 0 and 1 only
_CONVERTER_LEVELS = 128  # of each sign, with 8 bits
_CONVERTER_VALUES, _CONVERTER_STEPS = 3, 2  # noise of a converter: so many values at most, this many steps apart


class SilenceDetector:
    """Finds the first sample above ``spec.silence_dbfs``, in the band of ``spec`` and without the mean.

    The samples are cut into analysis frames (``n_fft``) that overlap by half and are tapered by a Hann window. Each
    frame loses the bins that hold its mean and those outside ``fmin`` to ``fmax``; then the frames are added up again.
    So a constant, with or without a flickering last bit, is silent, and so is a sound that the model does not analyse.
    Within half a frame of both ends the taper remains, as the ends themselves have energy at all frequencies.
    ``first_s`` is the time of the first sound in seconds, None if there is none. The sizes of the blocks do not matter.
    """

    def __init__(self, spec: FeatureSpec, sample_rate: int) -> None:
        self.first_s: float | None = None
        self._spec = spec
        self._low, self._high = np.array(np.inf), np.array(-np.inf)  # of the analysed samples, by track
        self._values: NDArray[Any] | None = np.zeros(0, np.float32)  # that occur, None if there are too many
        self._rate, self._threshold = sample_rate, 10 ** (spec.silence_dbfs / 20)
        self._half = max(_MEAN_BINS, round(spec.n_fft / spec.sample_rate * sample_rate / 2))
        n = 2 * self._half
        self._taper = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n) / n)).astype(np.float32)
        hz = np.arange(self._half + 1) * (sample_rate / n)
        self._kept = (np.arange(self._half + 1) >= _MEAN_BINS) & (hz >= spec.fmin) & (hz <= spec.upper_hz)
        self._held: NDArray[np.float32] | None = None  # samples of the next frames
        self._overlap = np.zeros(0, np.float32)  # second half of the last frame
        self._last = np.zeros((0, 1), np.float32)  # samples of up to a frame before the held ones
        self._at = 0  # index of the first of the held samples

    def add(self, samples: NDArray[np.float32]) -> None:
        """Add the next samples (n,) or (n, n_tracks); of several tracks, one that sounds is enough."""
        self._count_values(samples)
        if len(samples):
            self._low = np.minimum(self._low, samples.min(axis=0))
            self._high = np.maximum(self._high, samples.max(axis=0))
        if self.first_s is not None or not len(samples):
            return
        rows = samples.reshape(len(samples), -1)
        if self._held is None:
            self._held = rows[:0]
            self._overlap = np.zeros((rows.shape[1], self._half), np.float32)
        self._held = np.concatenate([self._held, rows])
        self._run()

    def finish(self) -> None:
        """Look at the last frame, which ends with the recording."""
        if self.first_s is None and self._held is not None:
            frame = np.concatenate([self._last, self._held])[-2 * self._half :]
            frame = np.pad(frame, ((0, 2 * self._half - len(frame)), (0, 0)), mode="edge")
            if (np.abs(self._filter(frame.T)) >= self._threshold).any():
                self.first_s = max(0, self._at + len(self._held) - self._half) / self._rate

    def codes(self, facts: Facts) -> list[str]:
        """Return the codes that say what a silent recording is instead."""
        if facts.peak == 0:
            return ["all_zero"]
        return ["constant"] if (facts.lows == facts.highs).all() else []

    def describe(self, facts: Facts) -> str:
        """Return in one line why a recording is silent."""
        spec, peak_dbfs = self._spec, 20 * np.log10(max(facts.peak, 1e-30))
        ranges = facts.highs - facts.lows
        own_range = float(np.max(self._high - self._low))
        if self.is_converter_noise and own_range >= self._threshold:
            values = f"from {self._low.min():.3g} to {self._high.max():.3g}"
            return f"at most {_CONVERTER_VALUES} different values, {values}: a converter without a signal"
        if self.first_s is not None:
            return f"the first sound, at {self.first_s:.2f} s, comes after the last window"
        if facts.peak == 0:
            what = "every sample is zero"
        elif not ranges.any():
            what = f"every sample is {' or '.join(sorted({f'{value:.3g}' for value in facts.lows}))}"
        elif ranges.max() < self._threshold <= facts.peak:
            centres = (facts.highs + facts.lows) / 2
            what = f"an offset of {centres[np.abs(centres).argmax()]:.3g}"
        elif own_range < self._threshold <= ranges.max():
            what = "the analysed channel holds nothing, another one does; set features.channel"
        else:
            what = f"peak {peak_dbfs:.0f} dBFS{', at other frequencies' if facts.peak >= self._threshold else ''}"
        return f"nothing above {spec.silence_dbfs:g} dBFS from {spec.fmin:g} to {spec.upper_hz:g} Hz ({what})"

    @property
    def is_silent(self) -> bool:
        """Whether there was no sound at all; call `finish` before."""
        return self.first_s is None or self.is_converter_noise

    @property
    def is_converter_noise(self) -> bool:
        """Whether all samples have one of three values at most, whole steps of 8 bits and at most two steps apart."""
        if self._values is None or not len(self._values):
            return False
        steps = (self._values - self._values[0]) * _CONVERTER_LEVELS
        return bool(steps[-1] <= _CONVERTER_STEPS and np.allclose(steps, np.rint(steps), atol=0.01))

    def _count_values(self, samples: NDArray[np.float32]) -> None:
        if len(set(samples[:64].flat)) > _CONVERTER_VALUES:  # enough for a recording with sound
            self._values = None
        if self._values is not None:
            values = np.union1d(self._values, samples)  # imports numpy.ma, which slows the start
            self._values = values if len(values) <= _CONVERTER_VALUES else None

    def _run(self) -> None:
        assert self._held is not None
        half = self._half
        n_frames = len(self._held) // half - 1
        if n_frames < 1:
            return
        frames = np.lib.stride_tricks.sliding_window_view(self._held, 2 * half, axis=0)[::half][:n_frames]
        loud = frames.max(axis=-1) - frames.min(axis=-1) >= self._threshold  # (n_frames, n_tracks)
        filtered = np.zeros(frames.shape, np.float32)
        if loud.any():
            filtered[loud] = self._filter(frames[loud])
        before = np.concatenate([self._overlap[None], filtered[:-1, :, half:]])
        rows = self._held[: n_frames * half]
        sums = np.moveaxis(filtered[..., :half] + before, 1, 2).reshape(rows.shape)
        both = np.minimum(np.abs(sums), np.abs(rows)).max(axis=1)  # as a filter may overshoot at an edge
        if (sounding := np.flatnonzero(both >= self._threshold)).size:
            self.first_s = (self._at + int(sounding[0])) / self._rate
        self._overlap = filtered[-1, :, half:]
        self._last = self._held[: n_frames * half][-2 * half :]
        self._held = self._held[n_frames * half :]
        self._at += n_frames * half

    def _filter(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return frames (..., n) tapered and without the frequencies that do not count."""
        spectra = np.fft.rfft(frames * self._taper) * self._kept
        return np.asarray(np.fft.irfft(spectra, frames.shape[-1]), np.float32)
