"""The network of a bundle as Keras has it, and that as files for other programs: LiteRT in few bits, SavedModel, Keras.

What is exported contains the scale of the features: raw features in, ``logits`` and ``embedding`` out by name.
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
_SCALING = {"SUB", "MUL", "DIV", "ADD"}  # what LiteRT may make of (x - mean) / std


def from_bundle(source: Bundle) -> "keras.Model":
    """Return the network of a bundle from raw features to logits and embedding.

    Raises `MissingExtraError` without TensorFlow, `IntegrityError` if its weights are not those of its
    ``model.tflite``, which the golden example tells.
    """
    model = network.build(source.network)
    network.set_weights(model, bundle.read_weights(source.folder))
    found = network.build_serving_model(
        model, np.array(source.info.mean, np.float32), np.array(source.info.std, np.float32)
    )
    features, expected = bundle.golden_example(source)
    difference = float(np.abs(network.predict_logits(found, features) - expected).max())
    if not difference <= _TOLERANCE * max(1.0, float(np.abs(expected).max())):
        raise IntegrityError(
            f"{source.folder}: weights.safetensors: not those of model.tflite: logits differ by {difference:.3g}"
        )
    return found


def to_keras_bytes(model: "keras.Model") -> bytes:
    """Return the ``.keras`` file of what `from_bundle` returned."""
    with tempfile.TemporaryDirectory(prefix="audiocnn-") as folder:
        path = Path(folder, "model.keras")
        model.save(path)
        return path.read_bytes()


def write_saved_model(model: "keras.Model", folder: Path) -> None:
    """Write what `from_bundle` returned as a TensorFlow SavedModel into an empty folder."""
    with quiet_stderr():
        model.export(folder, format="tf_saved_model", verbose=False)


def to_litert_bytes(model: "keras.Model", bits: Bits, representative: Array) -> bytes:
    """Return a smaller ``.tflite`` file of what `from_bundle` returned; inputs and outputs stay float32.

    With ``float16`` weights are kept in 16 bits and computed with as the machine likes. With ``int8`` weights and
    activations have 8 bits, over the ranges that ``representative`` windows (n, *input_shape) take; the scale of the
    features stays in float32, as raw features of very different ranges would share one step.
    """
    import tensorflow as tf

    def windows() -> Iterator[list[Array]]:
        return ([x[None]] for x in representative)

    with tempfile.TemporaryDirectory(prefix="audiocnn-") as folder, quiet_stderr():
        write_saved_model(model, Path(folder, "model"))
        converter = tf.lite.TFLiteConverter.from_saved_model(str(Path(folder, "model")))
        if bits == "int8":
            in_float = _scaling(converter.convert())
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if bits == "float16":
            converter.target_spec.supported_types = [tf.float16]
            return bytes(converter.convert())
        converter.representative_dataset = windows
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        debugger = tf.lite.experimental.QuantizationDebugger(
            converter=converter,
            debug_dataset=windows,
            debug_options=tf.lite.experimental.QuantizationDebugOptions(denylisted_nodes=in_float),
        )
        return bytes(debugger.get_nondebug_quantized_model())


def _scaling(model: bytes) -> list[str]:
    """Names of the operations at the beginning of a ``.tflite`` file that standardise the features."""
    names = []
    for op, outputs in Runtime(model).operations():
        if op not in _SCALING:
            break
        names += outputs
    return names
