"""Turn explanations into sound: the important part of a recording and the rest, and mel bands as audio.

A map of importance becomes a mask between 0 and 1 over the recording's own short-time spectrum, whose phases are kept;
the masked spectrum is turned back into sound (weighted overlap-add: Griffin and Lim, "Signal estimation from modified
short-time Fourier transform", IEEE TASSP 32, 1984). The two parts sum to the
recording; nothing is added.
"""

import numpy as np
from numpy.typing import NDArray

from audiocnn.errors import needs_extra
from audiocnn.features.extract import Array
from audiocnn.features.frontend import Frontend
from audiocnn.specs import FeatureSpec

FULL_SHARE = 0.25  # quantile of the positive importance above which a place is kept in full
_ITERATIONS = 60  # of Griffin-Lim and of the mel inversion; more hardly change the sound
_OVERLAP = 4  # frames of the short-time spectrum that contain a sample
_FRAMES_AT_A_TIME = 512


def mel_to_audio(bands: Array, *, spec: FeatureSpec, frontend: Frontend, seed: int = 0) -> Array:
    """Return float32 (n,) at ``spec.sample_rate`` that has about these mel bands (n_frames, n_mels), in dB.

    ``n`` is ``(n_frames - 1) * hop_length``. Initial phases are drawn with ``seed``. A sound that
    would exceed full scale is scaled to it.
    """
    with needs_extra("train"):
        from librosa import griffinlim

    power = 10 ** (bands.astype(np.float64) / 10)
    sound = griffinlim(
        np.sqrt(_spectrum(power, frontend.mel.astype(np.float64))).T,
        n_iter=_ITERATIONS,
        hop_length=spec.hop_length,
        n_fft=spec.n_fft,
        window=frontend.taper,
        random_state=seed,
    )
    return np.asarray(sound / max(1.0, float(np.abs(sound).max())), np.float32)


def _spectrum(power: NDArray[np.float64], mel: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a spectrum (n_frames, n_frequencies) whose mel bands are about ``power`` (n_frames, n_mels)."""
    held = mel.sum(axis=1)
    covered = held > 0  # frequencies in no band stay silent
    basis, spectrum = mel[covered], np.ones((len(power), int(covered.sum())))
    for _ in range(_ITERATIONS):
        spectrum *= (power / np.maximum(spectrum @ basis, np.finfo(np.float64).tiny)) @ basis.T / held[covered]
    whole = np.zeros((len(power), len(mel)))
    whole[:, covered] = spectrum
    return whole


def mask(importance: Array, *, full_share: float = FULL_SHARE) -> Array:
    """Return the share of each place that is kept, (n_frames, n_mels) within 0..1; 0 where importance is not positive.

    It grows linearly with the importance and reaches 1 at the ``full_share`` quantile of the positive values.
    """
    positive = np.maximum(importance, 0)
    if not positive.any():
        return np.zeros_like(positive)
    full = float(np.quantile(positive[positive > 0], full_share))
    return np.asarray(np.clip(positive / full, 0, 1), np.float32)


def separate(samples: Array, kept: Array, *, spec: FeatureSpec, frontend: Frontend) -> tuple[Array, Array]:
    """Return the part of the sound that passes a mask, and the rest: float32 (n,) each; they sum to ``samples`` (n,).

    ``kept`` (n_frames, n_mels) within 0..1 belongs to frames of ``spec``. The share of a frequency is the mean over
    its mel bands, weighted by the mel basis; a frequency in no band is part of the rest.
    """
    n_fft = spec.n_fft
    hop = n_fft // _OVERLAP
    n = len(samples)
    n_frames = 1 + -(-n // hop)
    padded = np.zeros((n_frames - 1) * hop + n_fft, np.float32)
    padded[n_fft // 2 : n_fft // 2 + n] = samples[: len(padded) - n_fft // 2]
    total, weight = np.zeros(len(padded)), np.zeros(len(padded))
    to_bins = frontend.mel.T / np.maximum(frontend.mel.sum(axis=1), 1e-12)  # (n_mels, n_bins)
    taper = frontend.taper.astype(np.float64)
    for first in range(0, n_frames, _FRAMES_AT_A_TIME):
        numbers = np.arange(first, min(first + _FRAMES_AT_A_TIME, n_frames))
        rows = numbers[:, None] * hop + np.arange(n_fft)
        spectrum = np.fft.rfft(padded[rows] * taper)
        spectrum *= _at(kept, numbers * hop / spec.hop_length) @ to_bins
        pieces = np.fft.irfft(spectrum, n_fft) * taper
        for number, piece in zip(numbers, pieces, strict=True):
            total[number * hop : number * hop + n_fft] += piece
            weight[number * hop : number * hop + n_fft] += taper**2
    inside = slice(n_fft // 2, n_fft // 2 + n)
    passed = (total[inside] / np.maximum(weight[inside], 1e-8)).astype(np.float32)
    return passed, np.asarray(samples - passed, np.float32)


def _at(kept: Array, frames: NDArray[np.float64]) -> Array:
    """The mask interpolated between its frames, (len(frames), n_mels)."""
    last = len(kept) - 1
    below = np.clip(np.floor(frames).astype(int), 0, last)
    share = np.clip(frames - below, 0, 1)[:, None].astype(np.float32)
    return np.asarray((1 - share) * kept[below] + share * kept[np.minimum(below + 1, last)], np.float32)
