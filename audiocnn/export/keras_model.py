"""Export the network of a bundle with Keras: a ``.keras`` file, a SavedModel, or a quantized LiteRT file.

The exported network includes the scaling of the features: raw features in, ``logits`` and ``embedding`` out by name.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from audiocnn.errors import IntegrityError
from audiocnn.model import bundle, network
from audiocnn.model.bundle import Bundle
from audiocnn.model.runtime import Runtime, quiet_stderr

if TYPE_CHECKING:
    import keras

Array = NDArray[np.float32]
Bits = Literal["float16", "int8"]

_TOLERANCE = 1e-4  # of the largest logit
_SCALING = {"SUB", "MUL", "DIV", "ADD"}  # operations that LiteRT may use for (x - mean) / std


def from_bundle(source: Bundle) -> "keras.Model":
    """Return the network of a bundle, from raw features to logits and embedding.

    Raises `MissingExtraError` without TensorFlow, `IntegrityError` if its weights give other logits than its
    ``model.tflite`` for the golden example.
    """
    model = network.build(source.network)
    network.set_weights(model, bundle.read_weights(source.folder))
    serving_model = network.build_serving_model(
        model, np.array(source.info.mean, np.float32), np.array(source.info.std, np.float32)
    )
    features, expected = bundle.golden_example(source)
    difference = float(np.abs(network.predict_logits(serving_model, features) - expected).max())
    if not difference <= _TOLERANCE * max(1.0, float(np.abs(expected).max())):
        raise IntegrityError(
            f"{source.folder}: weights.safetensors: not those of model.tflite: logits differ by {difference:.3g}"
        )
    return serving_model


def to_keras_bytes(model: "keras.Model") -> bytes:
    """Return the content of a ``.keras`` file of a model from `from_bundle`."""
    with tempfile.TemporaryDirectory(prefix="audiocnn-") as folder:
        path = Path(folder, "model.keras")
        model.save(path)
        return path.read_bytes()


def write_saved_model(model: "keras.Model", folder: Path) -> None:
    """Write a model from `from_bundle` as a TensorFlow SavedModel into an empty folder."""
    with quiet_stderr():
        model.export(folder, format="tf_saved_model", verbose=False)


def to_litert_bytes(model: "keras.Model", bits: Bits, representative: Array) -> bytes:
    """Return a quantized ``.tflite`` file of a model from `from_bundle`; inputs and outputs stay float32.

    With ``float16``, weights are stored in 16 bits and the device chooses the precision of the computation. With
    ``int8``, weights and activations have 8 bits, with ranges from the ``representative`` windows (n, *input_shape).
    The scaling of the features stays float32, as raw features of very different ranges would share one step size.
    """
    import tensorflow as tf

    def windows() -> Iterator[list[Array]]:
        return ([x[None]] for x in representative)

    with tempfile.TemporaryDirectory(prefix="audiocnn-") as folder, quiet_stderr():
        write_saved_model(model, Path(folder, "model"))
        converter = tf.lite.TFLiteConverter.from_saved_model(str(Path(folder, "model")))
        if bits == "int8":
            float_operations = _scaling_operations(converter.convert())
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if bits == "float16":
            converter.target_spec.supported_types = [tf.float16]
            return bytes(converter.convert())
        converter.representative_dataset = windows
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        debugger = tf.lite.experimental.QuantizationDebugger(
            converter=converter,
            debug_dataset=windows,
            debug_options=tf.lite.experimental.QuantizationDebugOptions(denylisted_nodes=float_operations),
        )
        return bytes(debugger.get_nondebug_quantized_model())


def _scaling_operations(model: bytes) -> list[str]:
    """Return the output names of the first operations of a ``.tflite`` file, which standardise the features."""
    names = []
    for op, outputs in Runtime(model).operations():
        if op not in _SCALING:
            break
        names += outputs
    return names
