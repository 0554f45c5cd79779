"""Measure the level, noise and bandwidth of a recording from its frames.

Takes log-mel or MFCC frames block by block, in constant memory; returns a `SignalStats`.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audiocnn.features import frontend
from audiocnn.features.extract import BLOCK_FRAMES, POWER_FLOOR, Array, Frames
from audiocnn.specs import FeatureSpec

SILENCE_DB_PER_HZ = -138.0  # no signal below it: rounding to 16 bits at 16 kHz makes noise of -140 dBFS/Hz

_AT_A_TIME = 4 * BLOCK_FRAMES  # frames
_TENTH = 0.1  # of all frames: the loudest and the softest tenth are measured
_SOUNDING_DB = 30.0  # frames at most this far below the loud ones count for the bandwidth
_STEP_DB, _LOWEST_DBFS, _N_STEPS = 4.0, -140.0, 45  # of the histogram of frame levels

Spectrum = NDArray[np.float64]


@dataclass(frozen=True)
class SignalStats:
    """Level, noise and bandwidth of a recording, estimated from its frames.

    ``level_dbfs`` is the level of the loudest tenth of the frames; a sine at full scale has -3. ``noise_db`` is the
    level of the softest tenth of the frames relative to it, estimated from the softest tenth of their bands as if the
    noise were white: about 0 for steady white noise, -60 for a clean recording. ``upper_hz`` is the highest frequency
    with more signal than rounding to 16 bits makes. With MFCCs, which are smoothed, the level is up to 7 dB too high
    and the frequency up to a third of an octave.
    """

    level_dbfs: float
    noise_db: float
    upper_hz: float


class SignalStatsAccumulator:
    """Accumulate the frames of one recording; the result does not depend on the sizes of the blocks, to the last digit.

    Of ``n_tracks`` tracks the loudest counts. Frames with only a delta channel have no result.
    """

    def __init__(self, spec: FeatureSpec, n_tracks: int = 1) -> None:
        self._n_tracks = n_tracks
        self._static = spec.channels.index("static") if "static" in spec.channels else None
        self._edges_hz = frontend.mel_edges_hz(spec)
        widths_hz = (self._edges_hz[2:] - self._edges_hz[:-2]) / 2
        # Converts the spectrum of a tapered frame to the mean square of its samples; the weights of a band have area 1.
        self._density_db = -10 * math.log10(3 / 16 * spec.n_fft * spec.n_fft)
        self._power = (widths_hz * 10 ** (self._density_db / 10)).astype(np.float32)
        self._inverse = None if spec.n_mfcc is None else _inverse_dct(spec.n_mels, spec.n_mfcc)
        self._sums = np.zeros((n_tracks, _N_STEPS, spec.n_bins))
        self._powers, self._counts = np.zeros((2, n_tracks, _N_STEPS))
        self._held: list[Array] = []
        self._n_held = 0

    def add(self, frames: Array) -> None:
        """Add the next frames (n * n_tracks, n_bins, n_channels)."""
        if self._static is None:
            return
        self._held.append(frames)
        self._n_held += len(frames)
        block = _AT_A_TIME * self._n_tracks
        if self._n_held < block:
            return
        rows = self._held[0] if len(self._held) == 1 else np.concatenate(self._held)
        n = len(rows) // block * block
        for first in range(0, n, block):  # always blocks of this size, as the rounding of BLAS depends on it
            self._add_block(rows[first : first + block])
        self._held, self._n_held = [rows[n:].copy()], len(rows) - n

    def result(self) -> SignalStats | None:
        """Return the statistics after the last frame; None for digital silence, or without a static channel."""
        if self._n_held:
            self._add_block(np.concatenate(self._held))
            self._held, self._n_held = [], 0
        found = [self._track_stats(track) for track in range(self._n_tracks)]
        return max((c for c in found if c is not None), key=lambda c: c.level_dbfs, default=None)

    def _add_block(self, rows: Array) -> None:
        for track in range(self._n_tracks):
            static = np.ascontiguousarray(rows[track :: self._n_tracks, :, self._static], np.float32)
            bands = static if self._inverse is None else static @ self._inverse
            with np.errstate(over="ignore"):  # features of a hostile model may overflow
                power = np.clip(np.exp(bands * np.float32(math.log(10) / 10)) @ self._power, 1e-30, 1e30)
            steps = np.clip((10 * np.log10(power) - _LOWEST_DBFS) // _STEP_DB, 0, _N_STEPS - 1).astype(np.int64)
            counts = np.bincount(steps, minlength=_N_STEPS)
            found = np.flatnonzero(counts)
            self._sums[track, found] += (steps == found[:, None]).astype(np.float32) @ static
            self._powers[track] += np.bincount(steps, power, _N_STEPS)
            self._counts[track] += counts

    def _track_stats(self, track: int) -> SignalStats | None:
        counts = self._counts[track].copy()
        silence_dbfs = 10 * math.log10(POWER_FLOOR * float(self._power.sum(dtype=np.float64)))
        counts[: int((silence_dbfs + 0.1 - _LOWEST_DBFS) // _STEP_DB) + 1] = 0
        if not counts.any():
            return None
        loud, soft = _loudest_tenth(counts), _loudest_tenth(counts[::-1])[::-1]
        level = 10 * math.log10(self._powers[track, loud].sum() / counts[loud].sum())
        near = (np.arange(_N_STEPS) + 1) * _STEP_DB + _LOWEST_DBFS > level - _SOUNDING_DB
        band_db = 10 * math.log10(self._edges_hz[-1] - self._edges_hz[0])
        upper_hz = _upper_hz(self._spectrum(track, near & (counts > 0)), self._edges_hz)
        bands = self._spectrum(track, soft & (counts > 0))
        bands = bands[: max(1, np.searchsorted(self._edges_hz[1:-1], upper_hz))]
        noise_dbfs = _quantile(bands, _TENTH) + band_db
        return SignalStats(round(level, 3), round(noise_dbfs - level, 3), round(upper_hz, 1))

    def _spectrum(self, track: int, steps: NDArray[np.bool_]) -> Spectrum:
        """Return the mean level of every band (n_mels,) over the frames at these levels, in dBFS/Hz."""
        mean = self._sums[track, steps].sum(axis=0) / self._counts[track, steps].sum()
        return (mean if self._inverse is None else mean @ self._inverse.astype(np.float64)) + self._density_db


def measure(
    frames: Array | Frames, spec: FeatureSpec, n_tracks: int = 1, span: slice = slice(None)
) -> SignalStats | None:
    """Return the statistics of frames (n_frames * n_tracks, n_bins, n_channels), or of a ``span`` of them.

    ``span`` is a slice of the frames of one track.
    """
    first, last, _ = span.indices(len(frames) // n_tracks)
    accumulator = SignalStatsAccumulator(spec, n_tracks)
    for start in range(first, last, _AT_A_TIME):
        accumulator.add(frames[start * n_tracks : min(start + _AT_A_TIME, last) * n_tracks])
    return accumulator.result()


def _loudest_tenth(counts: Spectrum) -> NDArray[np.bool_]:
    """Return a mask of the highest levels that together hold a tenth of all frames."""
    above = np.cumsum(counts[::-1])[::-1] - counts
    return np.asarray(above < _TENTH * counts.sum())


def _quantile(values: Spectrum, share: float) -> float:
    """Return the same as `numpy.quantile`, without its import of numpy.ma, which slows the start.

    >>> _quantile(np.array([4.0, 1.0, 2.0]), 0.25)
    1.5
    """
    return float(np.interp(share * (len(values) - 1), np.arange(len(values)), np.sort(values)))


def _upper_hz(spectrum: Spectrum, edges_hz: Spectrum) -> float:
    """Return the highest frequency with signal, interpolated linearly between the centres of the bands."""
    above = np.flatnonzero(spectrum > SILENCE_DB_PER_HZ)
    if not len(above):
        return 0.0
    last, centres_hz = int(above[-1]), edges_hz[1:-1]
    if last == len(spectrum) - 1:
        return float(edges_hz[-1])
    share = (spectrum[last] - SILENCE_DB_PER_HZ) / (spectrum[last] - spectrum[last + 1])
    return float(centres_hz[last] + share * (centres_hz[last + 1] - centres_hz[last]))


def _inverse_dct(n_mels: int, n_mfcc: int) -> Array:
    """Return the orthonormal DCT-III (n_mfcc, n_mels), which converts coefficients to smoothed mel bands."""
    angles = np.pi / n_mels * np.outer(np.arange(n_mfcc), np.arange(n_mels) + 0.5)
    basis = np.cos(angles) * math.sqrt(2 / n_mels)
    basis[0] /= math.sqrt(2)
    return basis.astype(np.float32)
