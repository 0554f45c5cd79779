"""The layers of a network: their shapes, weights and cost, without Keras.

`audiocnn.model.notation` parses one `Layer` from each token. A block (`audiocnn.model.blocks`) is one token for several
layers, its ``steps``. The steps of all layers are what `audiocnn.model.network` builds: each takes the output of the
previous one, and a `Join` also takes the input of an earlier one.
"""

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

Shape = tuple[int, ...]
Activation = Literal["relu", "silu", "hard_silu", "sigmoid", "linear"]
Function = Literal["sigmoid", "softmax"]
Padding = Literal["same", "valid"]

NORM_EPSILON = 1e-3  # added to each variance, as by default in Keras


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One token of a notation at its position.

    ``token`` is the text, ``position`` counts the layers from 1, ``input_shape`` is its input shape for one window:
    ``(height, width, channels)``, or ``(units,)`` after flattening. ``part`` names a step of a block. All other
    properties follow from these.
    """

    kind: ClassVar[str]
    needs_plane: ClassVar[bool] = False  # whether the input must have height, width and channels

    token: str
    position: int
    input_shape: Shape
    part: str = ""

    @property
    def name(self) -> str:
        """Name of the layer in the network and of its weights in a bundle, such as ``conv_1``."""
        return f"{self.kind}_{self.position}" + (self.part and f"_{self.part}")

    @property
    def steps(self) -> "tuple[Layer, ...]":
        """The layers of Keras that it consists of, in order."""
        return (self,)

    @property
    def output_shape(self) -> Shape:
        """Shape for one window, without the batch axis."""
        return self.input_shape

    @property
    def weight_shapes(self) -> dict[str, Shape]:
        """Shape of each weight array by its short name, in the order in which Keras keeps them."""
        return {}

    @property
    def n_params(self) -> int:
        """Number of values in all weight arrays, including batch normalisation statistics, as Keras counts them."""
        return sum(math.prod(shape) for shape in self.weight_shapes.values())

    @property
    def multiply_adds(self) -> int:
        """Products, each with the addition that may follow, for one window in inference.

        0 for layers that only reorder, compare or add values, and for activations.
        """
        return 0


@dataclass(frozen=True, kw_only=True)
class Sliding(Layer):
    """A layer with a ``kernel`` x ``kernel`` window that moves by ``stride`` over height and width."""

    needs_plane = True

    kernel: int
    stride: int
    padding: Padding

    @property
    def _plane(self) -> tuple[int, int]:
        height, width = self.input_shape[:2]
        # The output sizes of "SAME" and "VALID" padding in TensorFlow; below 1 if the kernel does not fit.
        covered = 1 if self.padding == "same" else self.kernel
        return (height - covered) // self.stride + 1, (width - covered) // self.stride + 1


@dataclass(frozen=True, kw_only=True)
class Convolution(Sliding):
    """A convolution with an activation, with or without bias."""

    activation: Activation
    bias: bool = True

    @property
    def _n_filters(self) -> int:
        raise NotImplementedError

    @property
    def _kernel_shape(self) -> Shape:
        raise NotImplementedError

    @property
    def output_shape(self) -> Shape:
        return (*self._plane, self._n_filters)

    @property
    def weight_shapes(self) -> dict[str, Shape]:
        return {"kernel": self._kernel_shape, **({"bias": (self._n_filters,)} if self.bias else {})}

    @property
    def multiply_adds(self) -> int:
        return math.prod(self._plane) * math.prod(self._kernel_shape)


@dataclass(frozen=True, kw_only=True)
class Conv(Convolution):
    """A 2-D convolution."""

    kind = "conv"

    filters: int

    @property
    def _n_filters(self) -> int:
        return self.filters

    @property
    def _kernel_shape(self) -> Shape:
        return self.kernel, self.kernel, self.input_shape[2], self.filters


@dataclass(frozen=True, kw_only=True)
class DepthwiseConv(Convolution):
    """A 2-D convolution of each channel with a filter of its own."""

    kind = "depthwise"

    @property
    def filters(self) -> int:
        """The number of filters, which is that of the channels."""
        return self.input_shape[2]

    @property
    def _n_filters(self) -> int:
        return self.filters

    @property
    def _kernel_shape(self) -> Shape:
        return self.kernel, self.kernel, self.filters, 1


@dataclass(frozen=True, kw_only=True)
class MaxPool(Sliding):
    """Max pooling."""

    kind = "pool"

    @property
    def output_shape(self) -> Shape:
        return (*self._plane, self.input_shape[2])


@dataclass(frozen=True, kw_only=True)
class GlobalPool(Layer):
    """Global pooling: one value per channel, the average or maximum over the plane; ``keep`` keeps a plane of 1x1."""

    kind = "global"
    needs_plane = True

    function: Literal["average", "max"]
    keep: bool = False

    @property
    def output_shape(self) -> Shape:
        return (1, 1, *self.input_shape[2:]) if self.keep else self.input_shape[2:]


@dataclass(frozen=True, kw_only=True)
class BandMean(Layer):
    """The mean over all bands, for each frame and channel; a plane with one band is kept."""

    kind = "bandmean"
    needs_plane = True

    time_axis: int

    @property
    def pool(self) -> tuple[int, int]:
        """Height and width of what is averaged."""
        height, width = self.input_shape[:2]
        return (1, width) if self.time_axis == 0 else (height, 1)

    @property
    def output_shape(self) -> Shape:
        height, width, channels = self.input_shape
        return (height, 1, channels) if self.time_axis == 0 else (1, width, channels)


@dataclass(frozen=True, kw_only=True)
class BatchNorm(Layer):
    """Batch normalisation of the last axis; in inference a scale and a shift per channel."""

    kind = "bn"

    @property
    def weight_shapes(self) -> dict[str, Shape]:
        return dict.fromkeys(("gamma", "beta", "moving_mean", "moving_variance"), self.input_shape[-1:])

    @property
    def multiply_adds(self) -> int:
        return math.prod(self.input_shape)


@dataclass(frozen=True, kw_only=True)
class FrequencyNorm(Layer):
    """Normalisation of each band by its mean and deviation over time and channels in the same window.

    B. Kim, S. Yang, J. Kim and S. Chang, "Domain generalization on efficient acoustic scene classification using
    residual normalization", DCASE Workshop 2021. It has no weights. It takes two multiply-adds a value: the
    square for the deviation, and the scale.
    """

    kind = "fn"
    needs_plane = True

    time_axis: int

    @property
    def axes(self) -> tuple[int, int]:
        """The axes that are normalised together, without the batch axis."""
        return self.time_axis, 2

    @property
    def multiply_adds(self) -> int:
        return 2 * math.prod(self.input_shape)


@dataclass(frozen=True, kw_only=True)
class Activate(Layer):
    """An activation function."""

    kind = "activation"

    function: Activation


@dataclass(frozen=True, kw_only=True)
class TimeSoftmax(Layer):
    """A softmax over time."""

    kind = "softmax"
    needs_plane = True

    time_axis: int


@dataclass(frozen=True, kw_only=True)
class Rescale(Layer):
    """All values times ``factor``."""

    kind = "rescale"

    factor: float

    @property
    def multiply_adds(self) -> int:
        return math.prod(self.input_shape)


@dataclass(frozen=True, kw_only=True)
class Join(Layer):
    """A layer of two inputs: the output of the previous step, and the input of the step named ``other``."""

    other: str
    other_shape: Shape

    @property
    def output_shape(self) -> Shape:
        return self.other_shape


@dataclass(frozen=True, kw_only=True)
class Sum(Join):
    """The residual sum: the output of a block plus its input, of the same shape; ``first`` is the block's first layer.

    K. He, X. Zhang, S. Ren and J. Sun, "Deep residual learning for image recognition", CVPR 2016.
    """

    kind = "sum"

    first: int = 0


@dataclass(frozen=True, kw_only=True)
class Product(Join):
    """The product of both inputs, which broadcasts to ``other_shape``."""

    kind = "product"

    @property
    def multiply_adds(self) -> int:
        return math.prod(self.output_shape)


@dataclass(frozen=True, kw_only=True)
class Dropout(Layer):
    """Dropout with ``rate`` in (0, 1); no effect in inference."""

    kind = "dropout"

    rate: float


@dataclass(frozen=True, kw_only=True)
class Flatten(Layer):
    """Height, width and channels as one axis."""

    kind = "flatten"

    @property
    def output_shape(self) -> Shape:
        return (math.prod(self.input_shape),)


@dataclass(frozen=True, kw_only=True)
class DenseInput(Flatten):
    """The flattened input of a dense layer on a plane."""

    kind = "dense"


@dataclass(frozen=True, kw_only=True)
class Dense(Layer):
    """A dense layer with bias, which flattens its input if necessary."""

    kind = "dense"

    units: int
    activation: Activation

    @property
    def steps(self) -> tuple[Layer, ...]:
        if len(self.input_shape) == 1:
            return (self,)
        flat = DenseInput(token=self.token, position=self.position, input_shape=self.input_shape, part="input")
        return flat, replace(self, input_shape=flat.output_shape)

    @property
    def output_shape(self) -> Shape:
        return (self.units,)

    @property
    def weight_shapes(self) -> dict[str, Shape]:
        return {"kernel": (math.prod(self.input_shape), self.units), "bias": (self.units,)}

    @property
    def multiply_adds(self) -> int:
        return math.prod(self.weight_shapes["kernel"])


@dataclass(frozen=True, kw_only=True)
class Head(Layer):
    """A ``softmax`` or ``sigmoid`` token. Networks end in logits, so it only defines how to interpret them."""

    kind = "head"

    function: Function

    @property
    def steps(self) -> tuple[Layer, ...]:
        return ()
