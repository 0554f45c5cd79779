"""Mel bands back to a sound: what a picture that no recording was made of would sound like.

A mel band is a sum over part of the spectrum. Which spectrum gives such sums is found by the multiplicative updates of
D. Lee and H. S. Seung, "Algorithms for non-negative matrix factorization", NIPS 2000, for the divergence that counts
soft bands as much as loud ones; the phases by D. Griffin and J. Lim, "Signal estimation from modified short-time
Fourier transform", IEEE Transactions on Acoustics, Speech and Signal Processing 32 (1984), as librosa does it.
"""

import numpy as np
from numpy.typing import NDArray

from audiocnn.errors import needs_extra
from audiocnn.features.extract import Array
from audiocnn.features.frontend import Frontend
from audiocnn.specs import FeatureSpec

_ROUNDS = 60  # of either, after which the sound hardly changes


def samples(bands: Array, *, spec: FeatureSpec, frontend: Frontend, seed: int = 0) -> Array:
    """Return float32 (n,) at ``spec.sample_rate`` that has about these mel bands (n_frames, n_mels), in dB.

    ``n`` is ``(n_frames - 1) * hop_length``. The first phases are drawn by ``seed``. A sound that would
    exceed full scale is as loud as that allows.
    """
    with needs_extra("train"):
        from librosa import griffinlim

    power = 10 ** (bands.astype(np.float64) / 10)
    sound = griffinlim(
        np.sqrt(_spectrum(power, frontend.mel.astype(np.float64))).T,
        n_iter=_ROUNDS,
        hop_length=spec.hop_length,
        n_fft=spec.n_fft,
        window=frontend.taper,
        random_state=seed,
    )
    return np.asarray(sound / max(1.0, float(np.abs(sound).max())), np.float32)


def _spectrum(power: NDArray[np.float64], mel: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a spectrum (n_frames, n_frequencies) whose mel bands are about ``power`` (n_frames, n_mels)."""
    held = mel.sum(axis=1)
    heard = held > 0  # frequencies in no band are left silent
    basis, spectrum = mel[heard], np.ones((len(power), int(heard.sum())))
    for _ in range(_ROUNDS):
        spectrum *= (power / np.maximum(spectrum @ basis, np.finfo(np.float64).tiny)) @ basis.T / held[heard]
    whole = np.zeros((len(power), len(mel)))
    whole[:, heard] = spectrum
    return whole
