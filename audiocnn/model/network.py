"""Build a Keras network from an `Architecture`, and export it to a file that predicts without Keras.

Networks end in logits: losses take ``from_logits=True``, and the sigmoid or softmax is applied to compute scores.
"""

import logging
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from audiocnn.errors import IntegrityError, needs_extra
from audiocnn.model.layers import (
    NORM_EPSILON,
    Activate,
    BandMean,
    BatchNorm,
    Conv,
    Dense,
    DepthwiseConv,
    Dropout,
    Flatten,
    FrequencyNorm,
    GlobalPool,
    Join,
    Layer,
    MaxPool,
    Product,
    Rescale,
    Sum,
    TimeSoftmax,
)
from audiocnn.model.notation import Architecture
from audiocnn.model.runtime import Runtime, quiet_stderr

if TYPE_CHECKING:
    import keras

_TIMED_BATCH = 32  # windows
_TIMED_BATCHES = 7
_MAX_TIMING_S = 2.0  # after this, no further batch starts


def load_keras() -> Any:
    """Import Keras on TensorFlow, without the banners that TensorFlow prints, and return the module.

    :raises MissingExtraError: TensorFlow is not installed
    """
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = "tensorflow"  # overrides ~/.keras/keras.json: LiteRT export needs it
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # errors are raised as exceptions anyway
        logging.getLogger("tensorflow").setLevel(logging.ERROR)  # otherwise it warns for each network after the fifth
    with needs_extra("train"), quiet_stderr():
        import keras
    return keras


def build(architecture: Architecture, precision: str = "float32") -> "keras.Model":
    """Return the network with fresh weights, from standardised features to logits.

    It maps (batch, \\*input_shape) to (batch, n_outputs). Layers and weights have the names of the architecture.
    The weights come from the global generator of Keras: call ``keras.utils.set_random_seed`` to make them repeatable.

    :param precision: a dtype policy of Keras, such as ``mixed_bfloat16``; weights and logits are always float32
    """
    keras = load_keras()
    *_, last = (layer for layer in architecture.layers if layer.steps)
    x = features = keras.Input(architecture.input_shape, name="features")
    inputs: dict[str, Any] = {}
    for layer in architecture.layers:
        for step in layer.steps:
            inputs[step.name] = x
            operands = [x, inputs[step.other]] if isinstance(step, Join) else x
            x = _keras_layer(step, "float32" if layer is last else precision)(operands)
    return keras.Model(features, x)


def build_serving_model(model: "keras.Model", mean: NDArray[np.float32], std: NDArray[np.float32]) -> "keras.Model":
    """Return the network for inference: raw features in, ``logits`` and ``embedding`` out by name.

    It shares the layers of ``model`` and includes the scaling ``(x - mean) / std``. The embedding is the flattened
    input of the last layer that has weights.

    :param model: what `build` returned
    :param mean: float32, broadcastable to the input shape
    :param std: the same, above 0 everywhere
    """
    keras = load_keras()
    last = [layer for layer in model.layers if layer.weights][-1]
    features = keras.Input(model.input_shape[1:], name="features")
    x = embedding = (features - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)

    def call(layer: Any, x: Any) -> Any:
        nonlocal embedding
        if layer is last:
            embedding = x if len(x.shape) == 2 else keras.layers.Flatten(name="embedding")(x)
        return layer(x)

    logits = _run(model, model.layers[1:], x, call)
    return keras.Model(features, {"logits": logits, "embedding": embedding})


def predict_logits(serving_model: "keras.Model", X: "NDArray[np.float32]") -> "NDArray[np.float32]":
    """Return the logits (n, n_outputs) that Keras computes for raw features (n, \\*input_shape), batch by batch."""
    batches = [serving_model(X[i : i + 128], training=False)["logits"] for i in range(0, len(X), 128)]
    return np.concatenate([np.asarray(batch) for batch in batches])


def update_batch_norm(model: "keras.Model", batches: Iterable[NDArray[np.float32]]) -> None:
    """Set mean and variance of every trainable batch normalisation to their average over ``batches``.

    The moving averages of training lag behind the weights by some hundred steps, and belong to weights that are not
    averaged. As in ``torch.optim.swa_utils.update_bn``, each batch is normalised by its own mean and variance; dropout
    is off, as in inference. Without a trainable batch normalisation, no batch is read.

    :param batches: standardised windows (n, \\*input_shape), shuffled
    """
    norms = [layer for layer in model.layers if isinstance(layer, load_keras().layers.BatchNormalization)]
    norms = [layer for layer in norms if layer.trainable]
    if not norms:
        return
    needed = model.layers[1 : model.layers.index(norms[-1]) + 1]
    momenta = [layer.momentum for layer in norms]
    n_seen = 0
    for batch in batches:
        for layer in norms:
            layer.momentum = n_seen / (n_seen + len(batch))  # makes the moving average the mean of all batches
        _run(model, needed, batch, lambda layer, x: layer(x, training=layer in norms))
        n_seen += len(batch)
    for layer, momentum in zip(norms, momenta, strict=True):
        layer.momentum = momentum


def export_litert(serving_model: "keras.Model") -> bytes:
    """Return the ``.tflite`` file of what `build_serving_model` returned, for `audiocnn.model.runtime.Runtime`.

    The batch dimension stays free. Only operations of the LiteRT core are used, so it runs without TensorFlow.
    """
    import tensorflow as tf

    with tempfile.TemporaryDirectory(prefix="audiocnn-") as folder, quiet_stderr():
        path = Path(folder, "model.tflite")
        core = {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]}
        serving_model.export(path, format="litert", verbose=False, target_spec=core)
        return path.read_bytes()


def get_weights(model: "keras.Model") -> dict[str, NDArray[np.float32]]:
    """Return a copy of every weight array by the names of ``Architecture.weight_shapes``, in the same order."""
    return {f"{layer.name}/{w.name}": np.array(w.value.numpy()) for layer in model.layers for w in layer.weights}


def set_weights(model: "keras.Model", arrays: Mapping[str, NDArray[np.float32]]) -> None:
    """Set every weight of ``model`` to the array of its name.

    :raises IntegrityError: a name is missing or unknown, or a shape differs; ``model`` is then unchanged
    """
    variables = {f"{layer.name}/{w.name}": w for layer in model.layers for w in layer.weights}
    if mismatched := sorted(variables.keys() ^ arrays.keys()):
        fault = "is missing" if mismatched[0] in variables else "belongs to no layer"
        raise IntegrityError(f"weights: {mismatched[0]} {fault}")
    for name, variable in variables.items():
        if variable.shape != arrays[name].shape:
            raise IntegrityError(f"weights: {name} has shape {arrays[name].shape}, the network needs {variable.shape}")
    for name, variable in variables.items():
        variable.assign(arrays[name])


def measure_ms_per_window(net: Architecture) -> float:
    """Return the median time over several batches, after a warm-up batch; the weights are random."""
    one = np.ones((1, 1, 1), np.float32)
    runtime = Runtime(export_litert(build_serving_model(build(net), 0 * one, one)), n_threads=1)
    X = np.random.default_rng(0).standard_normal((_TIMED_BATCH, *net.input_shape)).astype(np.float32)
    runtime(X)
    started, times = time.perf_counter(), list[float]()
    while len(times) < _TIMED_BATCHES and (not times or time.perf_counter() - started < _MAX_TIMING_S):
        before = time.perf_counter()
        runtime(X)
        times.append(time.perf_counter() - before)
    return 1000 * statistics.median(times) / _TIMED_BATCH


def _run(model: "keras.Model", layers: Iterable[Any], x: Any, call: Callable[[Any, Any], Any]) -> Any:
    """Pass ``x`` through the first layers after the input, in their order, and return the output of the last one.

    ``call`` applies a layer to its operand, or to the list of its operands.
    """
    results = {id(model.inputs[0]): x}
    for layer in layers:
        tensors = layer.input  # where it was in the network of `build`, whatever else shares it
        taken = [results[id(tensor)] for tensor in tensors] if isinstance(tensors, list) else results[id(tensors)]
        x = results[id(layer.output)] = call(layer, taken)
    return x


def _keras_layer(layer: Layer, dtype: str) -> Any:
    layers, common = load_keras().layers, {"name": layer.name, "dtype": dtype}
    match layer:
        case Conv():
            return layers.Conv2D(
                layer.filters,
                layer.kernel,
                strides=layer.stride,
                padding=layer.padding,
                activation=layer.activation,
                use_bias=layer.bias,
                **common,
            )
        case DepthwiseConv():
            limit = math.sqrt(3) / layer.kernel  # Glorot for one channel; the default counts the channels as well
            return layers.DepthwiseConv2D(
                layer.kernel,
                strides=layer.stride,
                padding=layer.padding,
                activation=layer.activation,
                use_bias=layer.bias,
                depthwise_initializer=load_keras().initializers.RandomUniform(-limit, limit),
                **common,
            )
        case MaxPool():
            return layers.MaxPooling2D(layer.kernel, strides=layer.stride, padding=layer.padding, **common)
        case GlobalPool(function="average"):
            return layers.GlobalAveragePooling2D(keepdims=layer.keep, **common)
        case GlobalPool():
            return layers.GlobalMaxPooling2D(**common)
        case BandMean():
            return layers.AveragePooling2D(layer.pool, **common)
        case FrequencyNorm():
            axes = [1 + axis for axis in layer.axes]
            return layers.LayerNormalization(axis=axes, epsilon=NORM_EPSILON, center=False, scale=False, **common)
        case Activate():
            return layers.Activation(layer.function, **common)
        case TimeSoftmax():
            return layers.Softmax(axis=1 + layer.time_axis, **common)
        case Rescale():
            return layers.Rescaling(layer.factor, **common)
        case Sum():
            return layers.Add(**common)
        case Product():
            return layers.Multiply(**common)
        case BatchNorm():
            return layers.BatchNormalization(**common)
        case Dropout():
            return layers.Dropout(layer.rate, **common)
        case Flatten():
            return layers.Flatten(**common)
        case Dense():
            return layers.Dense(layer.units, activation=layer.activation, **common)
    raise TypeError(f"no Keras layer for {type(layer).__name__}")
