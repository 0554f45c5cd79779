"""Gradients of a model's log-odds for its features, its layers and mel bands, with TensorFlow.

The input is raw features, as for `audiocnn.model.runtime.Runtime`. The network is built from the notation and the
checked weights alone, so nothing that is read can run code.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from audiocnn.explain.segments import ExplainInput
from audiocnn.export import keras_model
from audiocnn.features.extract import Array
from audiocnn.model.blocks import Filtering
from audiocnn.model.bundle import Bundle
from audiocnn.model.layers import Activate, Conv, DepthwiseConv, Join
from audiocnn.model.notation import Architecture
from audiocnn.specs import DELTA_WIDTH

Numbers = int | NDArray[np.int64]  # of labels or filters: one for all windows, or (n,) for each


class DifferentiableNetwork(Protocol):
    """A network with gradients; see `Gradients` for the results of its methods."""

    architecture: Architecture

    def odds(self, X: Array, labels: Numbers) -> Array: ...

    def by_input(self, X: Array, labels: Numbers) -> tuple[Array, Array]: ...

    def by_layer(self, X: Array, labels: Numbers, layer: str) -> tuple[Array, Array]: ...

    def outputs(self, X: Array, layers: Sequence[str]) -> dict[str, Array]: ...

    def excited(self, X: Array, filters: Numbers, layer: str) -> tuple[Array, Array]: ...


_HALF = DELTA_WIDTH // 2
_LAGS = np.arange(-_HALF, _HALF + 1)
_SLOPE = _LAGS / np.square(_LAGS).sum()  # of a straight line through `DELTA_WIDTH` frames


def contributions(gradients: Array, subject: ExplainInput, neutral: Array) -> Array:
    """Return gradient times distance from ``neutral`` (n_mels,), in dB: float32 (n, window_frames, n_mels).

    ``gradients`` (n * n_tracks, \\*spec.shape) are those of the windows of ``subject``; tracks are averaged. The part
    of a slope that comes from frames before or after its window is added at the window's edge.
    """
    spec, n_tracks = subject.spec, subject.n_tracks
    by_frame = gradients if spec.axes == "frames_bins" else gradients.swapaxes(1, 2)
    by_frame = by_frame.reshape(-1, n_tracks, *by_frame.shape[1:])
    around = np.concatenate([subject.before, subject.bands, subject.after]).reshape(-1, n_tracks, spec.n_mels)
    firsts = len(subject.before) // n_tracks + subject.starts
    by_bin = _undelta(by_frame, firsts, len(around), spec.channels)
    by_band = by_bin if subject.frontend.dct is None else by_bin @ subject.frontend.dct.T
    rows = firsts[:, None] + np.arange(-_HALF, spec.window_frames + _HALF)
    distance = around[np.clip(rows, 0, len(around) - 1)] - neutral  # (n, frames, n_tracks, n_mels)
    found = (by_band * distance.swapaxes(1, 2)).mean(axis=1)
    inner = found[:, _HALF:-_HALF]
    inner[:, 0] += found[:, :_HALF].sum(axis=1)
    inner[:, -1] += found[:, -_HALF:].sum(axis=1)
    return np.asarray(inner, np.float32)


def _undelta(gradients: Array, firsts: NDArray[np.int64], n_frames: int, channels: tuple[str, ...]) -> Array:
    """Return gradients for static values, with 4 more frames at both ends.

    ``gradients`` (n, n_tracks, window_frames, n_bins, n_channels) are of windows that begin at frames ``firsts``. The
    first and last 4 of the ``n_frames`` frames repeat the nearest full slope, as those of the features do.
    """
    n, n_tracks, n_rows, n_bins, _ = gradients.shape
    total = np.zeros((n, n_tracks, n_rows + 2 * _HALF, n_bins))
    if "static" in channels:
        total[:, :, _HALF:-_HALF] = gradients[..., channels.index("static")]
    if "delta" in channels:
        slopes = gradients[..., channels.index("delta")]
        for window, first in enumerate(firsts):
            rows = first + np.arange(n_rows)
            middles = np.clip(rows, _HALF, n_frames - 1 - _HALF) - first + _HALF
            for lag, weight in zip(_LAGS, _SLOPE, strict=True):
                np.add.at(total[window].swapaxes(0, 1), middles + lag, weight * slopes[window].swapaxes(0, 1))
    return total


_BATCH_VALUES = 1 << 22  # outputs of the largest layer for one batch: 16 MiB, and several times that for gradients


class Gradients:
    """The log-odds of labels, and their gradients for features and for the outputs of layers.

    Windows ``X`` (n, \\*shape) are raw features, ``labels`` the number of a label for all of them or (n,) for each. The
    odds (n,) are those of `audiocnn.explain.log_odds`: logarithms to base 2, with the temperature of the model. Layers
    have the names of ``architecture``. All results are float32.

    :raises MissingExtraError: TensorFlow is not installed
    :raises IntegrityError: the weights are not those of ``model.tflite``
    """

    def __init__(self, source: Bundle) -> None:
        serving = keras_model.from_bundle(source)
        import tensorflow as tf

        self.architecture = source.network
        self._layers: dict[str, Any] = {layer.name: layer for layer in serving.layers}
        self._mean, self._std = (np.array(values, np.float32) for values in (source.info.mean, source.info.std))
        self._temperature, self._positive = source.temperature, source.labels.positive_index
        largest = max(math.prod(step.output_shape) for step in self.architecture.steps)
        self._batch = max(1, min(64, _BATCH_VALUES // largest))
        self._outputs, self._with_gradients, self._excited = (
            tf.function(steps, reduce_retracing=True)
            for steps in (self._compute_outputs, self._compute_gradients, self._compute_excited)
        )

    def odds(self, X: Array, labels: Numbers) -> Array:
        """Return the log-odds (n,)."""
        (odds,) = self._batches(self._odds, self.logits(X), _each(labels, X))
        return odds

    def logits(self, X: Array) -> Array:
        """Return the logits (n, n_outputs)."""
        last = self.architecture.steps[-1].name
        return self.outputs(X, [last])[last]

    def outputs(self, X: Array, layers: Sequence[str]) -> dict[str, Array]:
        """Return the outputs of these layers, (n, \\*output_shape) each."""
        found = self._batches(self._outputs, X, also=(tuple(layers),))
        return dict(zip(layers, found, strict=True))

    def by_input(self, X: Array, labels: Numbers) -> tuple[Array, Array]:
        """Return the log-odds, and their gradients (n, \\*shape) for every raw feature."""
        odds, _, gradients = self._batches(self._with_gradients, X, _each(labels, X), also=(None,))
        return odds, gradients

    def by_layer(self, X: Array, labels: Numbers, layer: str) -> tuple[Array, Array]:
        """Return the output of a layer, and the gradients of the log-odds for it; both (n, \\*output_shape)."""
        _, outputs, gradients = self._batches(self._with_gradients, X, _each(labels, X), also=(layer,))
        return outputs, gradients

    def excited(self, X: Array, filters: Numbers, layer: str) -> tuple[Array, Array]:
        """Return the response of a filter of a convolution to each window (n,), and its gradients (n, \\*shape).

        The response is the mean over the plane before any ReLU, so that the gradient is not 0 where the filter is
        silent.
        """
        responses, gradients = self._batches(self._excited, X, _each(filters, X), also=(layer,))
        return responses, gradients

    def _batches(self, function: Callable[..., Any], *arrays: Array, also: tuple[Any, ...] = ()) -> list[Array]:
        import tensorflow as tf

        found = []
        for i in range(0, max(len(arrays[0]), 1), self._batch):
            done = function(*(tf.constant(array[i : i + self._batch]) for array in arrays), *also)
            found.append(done if isinstance(done, tuple) else (done,))
        return [np.concatenate([one.numpy() for one in parts]) for parts in zip(*found, strict=True)]

    # The methods below take and return tensors.

    def _compute_outputs(self, X: Any, layers: tuple[str, ...]) -> tuple[Any, ...]:
        steps = self._steps(X)
        return tuple(steps[name][1] for name in layers)

    def _compute_gradients(self, X: Any, labels: Any, layer: str | None) -> tuple[Any, Any, Any]:
        import tensorflow as tf

        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(X)
            steps = self._steps(X)
            odds = self._odds(list(steps.values())[-1][1], labels)
        source = X if layer is None else steps[layer][1]
        return odds, source, tape.gradient(odds, source)  # windows are independent of each other

    def _compute_excited(self, X: Any, filters: Any, layer: str) -> tuple[Any, Any]:
        import tensorflow as tf

        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(X)
            planes = self._linear(self._steps(X), layer)
            responses = tf.gather(tf.reduce_mean(planes, axis=(1, 2)), filters, batch_dims=1)
        return responses, tape.gradient(responses, X)

    def _steps(self, X: Any) -> dict[str, tuple[Any, Any]]:
        """Input and output of every layer and of every step, without a final softmax or sigmoid."""
        x = (X - self._mean) / self._std
        steps: dict[str, tuple[Any, Any]] = {}
        for layer in self.architecture.layers:
            whole = x
            for step in layer.steps:
                operands = [x, steps[step.other][0]] if isinstance(step, Join) else x
                steps[step.name] = x, self._layers[step.name](operands, training=False)
                _, x = steps[step.name]
            if layer.steps:
                steps[layer.name] = whole, x
        return steps

    def _linear(self, steps: dict[str, tuple[Any, Any]], name: str) -> Any:
        """The output of a convolution before any activation."""
        import tensorflow as tf

        layer = next(layer for layer in self.architecture.layers if layer.name == name)
        if not isinstance(layer, Filtering):
            raise TypeError(f"{name} is not a convolution")
        match layer.steps[-1]:
            case Activate() as last:
                return steps[last.name][0]
            case Conv() as last:
                kernel, bias = self._layers[name].weights
                return tf.nn.conv2d(steps[name][0], kernel.value, last.stride, last.padding.upper()) + bias.value
            case DepthwiseConv() as last:
                kernel, bias = self._layers[name].weights
                strides = [1, last.stride, last.stride, 1]
                x = tf.nn.depthwise_conv2d(steps[name][0], kernel.value, strides, last.padding.upper())
                return x + bias.value
        return steps[name][1]

    def _odds(self, logits: Any, labels: Any) -> Any:
        """The same as `audiocnn.explain.log_odds.of_logits`."""
        import tensorflow as tf

        z = logits / np.float32(self._temperature * math.log(2))
        if self.architecture.n_outputs == 1:
            return z[:, 0] * tf.where(labels == self._positive, 1.0, -1.0)
        others = tf.where(tf.one_hot(labels, self.architecture.n_outputs, True, False), -np.inf, z * math.log(2))
        return tf.gather(z, labels, batch_dims=1) - tf.reduce_logsumexp(others, axis=1) / math.log(2)


def _each(numbers: Numbers, X: Array) -> Any:
    return np.broadcast_to(np.asarray(numbers, np.int32), len(X))
