"""Export a network as an ONNX file, layer by layer from its notation and weights. The only module that imports onnx.

This does not need Keras or TensorFlow. The file takes raw features and returns ``logits`` and ``embedding``, as
``model.tflite`` does.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiocnn.errors import IntegrityError, needs_extra
from audiocnn.model.layers import (
    NORM_EPSILON,
    Activate,
    Activation,
    BandMean,
    BatchNorm,
    Conv,
    Convolution,
    Dense,
    DenseInput,
    DepthwiseConv,
    Dropout,
    Flatten,
    FrequencyNorm,
    GlobalPool,
    Join,
    Layer,
    MaxPool,
    Rescale,
    Sliding,
    Sum,
    TimeSoftmax,
)
from audiocnn.model.notation import Architecture

Array = NDArray[np.float32]

OPSET = 17  # with IR version 8: ONNX Runtime 1.12 (2022) and later
_IR_VERSION = 8
_TOLERANCE = 1e-4  # of the largest logit


def to_bytes(
    network: Architecture, weights: Mapping[str, Array], mean: Array, std: Array, *, golden: tuple[Array, Array]
) -> bytes:
    """Return the ``.onnx`` file of a network; ``weights`` have the names of ``Architecture.weight_shapes``.

    ``mean`` and ``std`` scale the features. ``golden`` are features (1, *input_shape) and their expected logits. Raises
    `MissingExtraError` without onnx, `IntegrityError` if the logits differ.
    """
    with needs_extra("onnx"):
        import onnx
        from onnx.reference import ReferenceEvaluator

    graph = _Graph(weights, len(network.input_shape))
    features = graph.constant_op("Sub", "features", np.asarray(mean, np.float32)[None])
    graph.value = graph.constant_op("Div", features, np.asarray(std, np.float32)[None])
    *_, last = (step for step in network.steps if step.weight_shapes)
    for layer in network.steps:
        if layer is last:
            graph.add_output(graph.flatten(), "embedding")
        graph.add(layer)
    graph.add_output(graph.value, "logits")

    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    sizes = {"logits": (network.n_outputs,), "embedding": (network.embedding_size,)}
    onnx_graph = helper.make_graph(
        graph.nodes,
        "audiocnn",
        [helper.make_tensor_value_info("features", floats, ["n", *network.input_shape])],
        [helper.make_tensor_value_info(name, floats, ["n", *shape]) for name, shape in sizes.items()],
        [onnx.numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in graph.constants.items()],
    )
    model = helper.make_model(onnx_graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=_IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    (logits,) = ReferenceEvaluator(model).run(["logits"], {"features": golden[0]})
    difference = float(np.abs(logits - golden[1]).max())
    if not difference <= _TOLERANCE * max(1.0, float(np.abs(golden[1]).max())):
        raise IntegrityError(f"weights.safetensors: not those of model.tflite: logits differ by {difference:.3g}")
    return bytes(model.SerializeToString())


class _Graph:
    """Nodes, constants, and the name of the ``value`` that is the input of the next layer.

    ONNX has channels first, so a plane is transposed at the first layer and back before it is flattened. The axis of
    a plane is therefore 2 more than that of the layer.
    """

    def __init__(self, weights: Mapping[str, Array], rank: int) -> None:
        self.nodes: list[Any] = []
        self.constants: dict[str, Array] = {}
        self.value = "features"
        self._weights = weights
        self._order = "last" if rank == 3 else "flat"
        self._inputs: dict[str, tuple[str, str]] = {}  # value and order that each step takes

    def add(self, layer: Layer) -> None:
        self._inputs[layer.name] = self.value, self._order
        weight = {name: self._weights[f"{layer.name}/{name}"] for name in layer.weight_shapes}
        match layer:
            case Conv():
                kernel = weight["kernel"].transpose(3, 2, 0, 1)
                self._convolve(layer, kernel, weight)
            case DepthwiseConv():
                self._convolve(layer, weight["kernel"].transpose(2, 3, 0, 1), weight, group=layer.filters)
            case MaxPool():
                self._on_plane("MaxPool", layer, kernel_shape=[layer.kernel] * 2, **_window_attributes(layer))
            case GlobalPool():
                self._on_plane("GlobalAveragePool" if layer.function == "average" else "GlobalMaxPool", layer)
                if not layer.keep:
                    self.value, self._order = self._op("Flatten", [self.value]), "flat"
            case BandMean():
                self._on_plane("ReduceMean", layer, axes=[3 - layer.time_axis], keepdims=1)
            case FrequencyNorm():
                self._normalise(layer)
            case TimeSoftmax():
                self._on_plane("Softmax", layer, axis=2 + layer.time_axis)
            case Rescale():
                factor = self._constant(layer.name, np.array(layer.factor, np.float32))
                self.value = self._op("Mul", [self.value, factor])
            case Join():
                self.value, self._order = self._channels_first(self.value, self._order)
                other, _ = self._channels_first(*self._inputs[layer.other])
                self.value = self._op("Add" if isinstance(layer, Sum) else "Mul", [self.value, other])
            case BatchNorm():
                arrays = [weight[name] for name in ("gamma", "beta", "moving_mean", "moving_variance")]
                self._on_plane("BatchNormalization", layer, *arrays, epsilon=NORM_EPSILON)
            case DenseInput() | Dropout() | Activate():
                pass  # a dense layer flattens its input itself
            case Flatten() | Dense():
                self.value, self._order = self.flatten(), "flat"
                if isinstance(layer, Dense):
                    names = [self._constant(f"{layer.name}/{name}", array) for name, array in weight.items()]
                    self.value = self._op("Gemm", [self.value, *names])
            case _:
                raise TypeError(f"no ONNX operation for {type(layer).__name__}")
        if isinstance(layer, Convolution | Dense):
            self._activate(layer.activation)
        elif isinstance(layer, Activate):
            self._activate(layer.function)

    def flatten(self) -> str:
        """Return the value flattened to (n, size) in the order height, width, channels, as in Keras."""
        if self._order == "flat":
            return self.value
        value = self._op("Transpose", [self.value], perm=[0, 2, 3, 1]) if self._order == "first" else self.value
        return self._op("Flatten", [value])

    def add_output(self, value: str, name: str) -> None:
        self.nodes.append(_node("Identity", [value], name))

    def constant_op(self, op: str, value: str, array: Array) -> str:
        return self._op(op, [value, self._constant(f"scale_{op}", array)])

    def _on_plane(self, op: str, layer: Layer, *arrays: Array, **attributes: Any) -> None:
        self.value, self._order = self._channels_first(self.value, self._order)
        names = [self._constant(f"{layer.name}/{i}", array) for i, array in enumerate(arrays)]
        self.value = self._op(op, [self.value, *names], **attributes)

    def _convolve(self, layer: Convolution, kernel: Array, weight: Mapping[str, Array], **attributes: Any) -> None:
        bias = [weight["bias"]] if "bias" in weight else []
        self._on_plane("Conv", layer, kernel, *bias, **attributes, **_window_attributes(layer))

    def _normalise(self, layer: FrequencyNorm) -> None:
        """Subtract the mean of each band, and divide by its deviation."""
        value, self._order = self._channels_first(self.value, self._order)
        axes = {"axes": [1, 2 + layer.time_axis], "keepdims": 1}
        centred = self._op("Sub", [value, self._op("ReduceMean", [value], **axes)])
        variance = self._op("ReduceMean", [self._op("Mul", [centred, centred])], **axes)
        epsilon = self._constant(layer.name, np.array(NORM_EPSILON, np.float32))
        self.value = self._op("Div", [centred, self._op("Sqrt", [self._op("Add", [variance, epsilon])])])

    def _activate(self, function: Activation) -> None:
        match function:
            case "relu":
                self.value = self._op("Relu", [self.value])
            case "sigmoid":
                self.value = self._op("Sigmoid", [self.value])
            case "hard_silu":
                self.value = self._op("HardSwish", [self.value])
            case "silu":
                self.value = self._op("Mul", [self.value, self._op("Sigmoid", [self.value])])

    def _channels_first(self, value: str, order: str) -> tuple[str, str]:
        if order == "last":
            return self._op("Transpose", [value], perm=[0, 3, 1, 2]), "first"
        return value, order

    def _op(self, op: str, inputs: list[str], **attributes: Any) -> str:
        name = f"{op}_{len(self.nodes)}"
        self.nodes.append(_node(op, inputs, name, **attributes))
        return name

    def _constant(self, name: str, array: Array) -> str:
        self.constants[name] = array
        return name


def _window_attributes(layer: Sliding) -> dict[str, Any]:
    padding = "SAME_UPPER" if layer.padding == "same" else "VALID"  # as TensorFlow pads
    return {"strides": [layer.stride] * 2, "auto_pad": padding}


def _node(op: str, inputs: list[str], output: str, **attributes: Any) -> Any:
    from onnx import helper

    return helper.make_node(op, inputs, [output], name=output, **attributes)
