"""The layers that a notation can name: what each does to the shape of one window, its weights and what it costs."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

Shape = tuple[int, ...]
Activation = Literal["relu", "linear"]
Function = Literal["sigmoid", "softmax"]
Padding = Literal["same", "valid"]


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One token of a notation, at the place where it stands.

    ``token`` is what was written, ``position`` counts the layers from 1, ``input_shape`` is the shape that reaches the
    layer for one window: ``(height, width, channels)``, or ``(units,)`` once it is flat. The rest follows from these.
    """

    kind: ClassVar[str]

    token: str
    position: int
    input_shape: Shape

    @property
    def name(self) -> str:
        """Name of the layer in the network and of its weights in a bundle, such as ``conv_1``."""
        return f"{self.kind}_{self.position}"

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
        """Numbers in all weight arrays, the statistics of a batch normalisation included (as Keras counts them)."""
        return sum(math.prod(shape) for shape in self.weight_shapes.values())

    @property
    def multiply_adds(self) -> int:
        """Multiplications with an addition for one window, in inference; 0 for layers that only move or compare."""
        return 0


@dataclass(frozen=True, kw_only=True)
class Sliding(Layer):
    """A square of ``kernel`` x ``kernel`` that moves by ``stride`` over height and width."""

    kernel: int
    stride: int
    padding: Padding

    @property
    def _plane(self) -> tuple[int, int]:
        height, width = self.input_shape[:2]
        # The sizes that TensorFlow gives to its "SAME" and "VALID" padding; below 1 where the kernel does not fit.
        covered = 1 if self.padding == "same" else self.kernel
        return (height - covered) // self.stride + 1, (width - covered) // self.stride + 1


@dataclass(frozen=True, kw_only=True)
class Conv(Sliding):
    """A 2-D convolution with bias."""

    kind = "conv"

    filters: int
    activation: Activation

    @property
    def output_shape(self) -> Shape:
        return (*self._plane, self.filters)

    @property
    def weight_shapes(self) -> dict[str, Shape]:
        return {"kernel": (self.kernel, self.kernel, self.input_shape[2], self.filters), "bias": (self.filters,)}

    @property
    def multiply_adds(self) -> int:
        return math.prod(self._plane) * math.prod(self.weight_shapes["kernel"])


@dataclass(frozen=True, kw_only=True)
class MaxPool(Sliding):
    """Max pooling."""

    kind = "pool"

    @property
    def output_shape(self) -> Shape:
        return (*self._plane, self.input_shape[2])


@dataclass(frozen=True, kw_only=True)
class GlobalPool(Layer):
    """One number a channel: its average or its maximum over the plane."""

    kind = "global"

    function: Literal["average", "max"]

    @property
    def output_shape(self) -> Shape:
        return self.input_shape[2:]


@dataclass(frozen=True, kw_only=True)
class BatchNorm(Layer):
    """Batch normalisation of the last axis; in inference a scale and a shift a channel."""

    kind = "bn"

    @property
    def weight_shapes(self) -> dict[str, Shape]:
        return dict.fromkeys(("gamma", "beta", "moving_mean", "moving_variance"), self.input_shape[-1:])

    @property
    def multiply_adds(self) -> int:
        return math.prod(self.input_shape)


@dataclass(frozen=True, kw_only=True)
class Dropout(Layer):
    """Dropout with ``rate`` in (0, 1); nothing in inference."""

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
class Dense(Layer):
    """A dense layer with bias, which flattens its input if it is not flat yet."""

    kind = "dense"

    units: int
    activation: Activation

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
    """A bare ``softmax`` or ``sigmoid``. Networks end in logits, so it is a note on how to read them."""

    kind = "head"

    function: Function
