"""Export a whole model as one ``.tflite`` file: samples of a fixed number of windows in, scores out.

The spectrum is a convolution of the samples with tapered sines and cosines, so all operations belong to the LiteRT
core for any ``n_fft``. The file contains these and the mel basis in addition to the network: 4.4 MB at ``n_fft`` 1024.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiocnn.errors import ConfigError
from audiocnn.export import keras_model
from audiocnn.features import extract
from audiocnn.model.bundle import Bundle
from audiocnn.model.network import load_keras
from audiocnn.model.runtime import quiet_stderr
from audiocnn.specs import DELTA_WIDTH, FeatureSpec

Array = NDArray[np.float32]

_MAX_WINDOWS = 1_000
_MAX_KERNEL_VALUES = 1 << 24  # of the sines and cosines: 64 MiB


def n_samples(spec: FeatureSpec, n_windows: int) -> int:
    """Return how many samples at ``spec.sample_rate`` give exactly ``n_windows`` windows."""
    return (spec.window_frames - 1 + (n_windows - 1) * spec.hop_frames) * spec.hop_length


def to_bytes(source: Bundle, n_windows: int) -> bytes:
    """Return the ``.tflite`` file of a bundle: ``samples`` (n,) float32 in, ``scores`` and ``window_scores`` out.

    ``n`` is `n_samples`; the outputs are (n_labels,) and (n_windows, n_labels), equal to those of `predict`. The file
    does not detect silent or unknown recordings. Raises `ConfigError` if the file would be too large.
    """
    spec = source.spec
    if not 1 <= n_windows <= _MAX_WINDOWS:
        raise ConfigError(f"{n_windows} windows: one file takes 1 to {_MAX_WINDOWS:,} windows")
    if spec.channel == "each":
        raise ConfigError("features.channel: each: a file that takes samples supports one channel only")
    bins = np.flatnonzero(source.frontend.mel.any(axis=1))
    if 2 * len(bins) * spec.n_fft > _MAX_KERNEL_VALUES:
        raise ConfigError(
            f"n_fft {spec.n_fft} is too large for a file that takes samples; export without --with-frontend"
        )
    network = keras_model.from_bundle(source)
    import tensorflow as tf

    total = n_samples(spec, n_windows)
    starts = extract.window_starts(1 + total // spec.hop_length, spec)
    sines = _fourier(source.frontend.taper, bins)
    mel, dct = source.frontend.mel[bins], source.frontend.dct

    def static_features(samples: Any) -> Any:
        half = spec.n_fft // 2
        padded = tf.pad(samples, [[half, half]])[None, :, None]
        squared = tf.square(tf.nn.conv1d(padded, sines, stride=spec.hop_length, padding="VALID")[0])
        power = squared[:, : len(bins)] + squared[:, len(bins) :]
        level = tf.math.log(tf.maximum(power @ mel, extract.POWER_FLOOR)) * np.float32(10 / np.log(10))
        return level if dct is None else level @ dct

    def scores(samples: Any) -> dict[str, Any]:
        frames = static_features(samples)
        channels = {"static": frames}
        if "delta" in spec.channels:
            channels["delta"] = _delta_matrix(1 + total // spec.hop_length) @ frames
        stacked = tf.stack([channels[name] for name in spec.channels], axis=-1)
        X = tf.stack([stacked[start : start + spec.window_frames] for start in starts.tolist()])
        if spec.axes == "bins_frames":
            X = tf.transpose(X, [0, 2, 1, 3])
        log = _log_scores(tf, network(X, training=False)["logits"], source)
        weight = _window_weights(tf, X, spec)
        return {
            "scores": tf.nn.softmax(tf.reduce_sum(weight * log, axis=0) / tf.reduce_sum(weight)),
            "window_scores": tf.exp(log),
        }

    with tempfile.TemporaryDirectory(prefix="audiocnn-") as folder, quiet_stderr():
        archive = load_keras().export.ExportArchive()  # tf.saved_model alone would omit the weights
        archive.track(network)
        archive.add_endpoint("serve", scores, [tf.TensorSpec([total], tf.float32, name="samples")])
        archive.write_out(str(Path(folder, "model")), verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(str(Path(folder, "model")))
        return bytes(converter.convert())


def _fourier(taper: Array, bins: NDArray[np.int64]) -> Array:
    """Return tapered cosines and sines of these frequency bins (n_fft, 1, 2 * len(bins)), computed in float64."""
    n_fft = len(taper)
    angles = np.outer(np.arange(n_fft), bins) % n_fft * (2 * np.pi / n_fft)
    waves = np.concatenate([np.cos(angles), np.sin(angles)], axis=1) * taper.astype(np.float64)[:, None]
    return waves[:, None].astype(np.float32)


def _delta_matrix(n_frames: int) -> Array:
    """Return the matrix (n_frames, n_frames) that maps frames to their deltas; the ends repeat the nearest slope."""
    half = DELTA_WIDTH // 2
    lags = np.arange(-half, half + 1)
    matrix = np.zeros((n_frames, n_frames), np.float32)
    for row in range(n_frames):
        middle = min(max(row, half), n_frames - 1 - half)
        matrix[row, middle + lags] = lags / np.square(lags).sum()
    return matrix


def _log_scores(tf: Any, logits: Any, source: Bundle) -> Any:
    """Return log-probabilities (n, n_labels), as `audiocnn.inference.scoring.log_scores` does."""
    z = logits / np.float32(source.temperature)
    if z.shape[1] == 1:
        other = tf.zeros_like(z)
        z = tf.concat([other, z] if source.labels.positive_index == 1 else [z, other], axis=1)
    return tf.nn.log_softmax(z)


def _window_weights(tf: Any, X: Any, spec: FeatureSpec) -> Any:
    """Return weights (n, 1): 1 for each window that contributes to the score and 0 for those that are too quiet."""
    if spec.quiet_db is None or "static" not in spec.channels:
        return tf.ones([X.shape[0], 1])
    values = X[..., spec.channels.index("static")]
    if spec.kind == "mfcc":
        values = (values[:, :1] if spec.axes == "bins_frames" else values[:, :, :1]) / np.float32(np.sqrt(spec.n_mels))
    levels = tf.reduce_max(values, axis=[1, 2])
    return tf.cast(levels >= tf.reduce_max(levels) - np.float32(spec.quiet_db), tf.float32)[:, None]
