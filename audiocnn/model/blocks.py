"""Blocks of a network: tokens of the notation that stand for several layers in a row."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from audiocnn.model.layers import (
    Activate,
    Activation,
    BandMean,
    BatchNorm,
    Conv,
    DepthwiseConv,
    GlobalPool,
    Layer,
    Product,
    Rescale,
    Shape,
    Sliding,
    Sum,
    TimeSoftmax,
)

_SQUEEZE, _MULTIPLE = 4, 8  # squeeze-and-excite: a quarter of the channels, rounded up to a multiple of 8


class Steps:
    """Collects the steps of a `Block`; each takes the shape that the previous one returns."""

    def __init__(self, layer: Layer) -> None:
        self._layer = layer
        self.found: list[Layer] = []

    @property
    def shape(self) -> Shape:
        """The output shape of the last step."""
        return self.found[-1].output_shape if self.found else self._layer.input_shape

    def add(self, kind: type[Layer], part: str = "", **fields: Any) -> Layer:
        """Add a step and return it."""
        token, position = self._layer.token, self._layer.position
        self.found.append(kind(token=token, position=position, input_shape=self.shape, part=part, **fields))
        return self.found[-1]

    def add_normalised(self, kind: type[Sliding], part: str, *, function: Activation, **sizes: Any) -> None:
        """Add a convolution without bias, batch normalisation, and the activation unless it is linear."""
        self.add(kind, part, **{"stride": 1, **sizes}, padding="same", activation="linear", bias=False)
        self.add(BatchNorm, part)
        if function != "linear":
            self.add(Activate, part, function=function)

    def add_squeeze_excite(self) -> None:
        """Add a product of each channel with a factor in (0, 1) that depends on the means of all channels."""
        whole, n = self.shape, self.shape[2]
        pool = self.add(GlobalPool, "squeeze", function="average", keep=True)
        one = {"kernel": 1, "stride": 1, "padding": "same"}
        squeezed = _MULTIPLE * math.ceil(n / (_SQUEEZE * _MULTIPLE))
        self.add(Conv, "squeeze", filters=squeezed, activation="relu", **one)
        self.add(Conv, "excite", filters=n, activation="sigmoid", **one)
        self.add(Product, other=pool.name, other_shape=whole)

    def add_sum(self) -> None:
        """Add the input of the first step."""
        first = self.found[0]
        self.add(Sum, other=first.name, other_shape=first.input_shape)


@dataclass(frozen=True, kw_only=True)
class Block(Layer):
    """One token for several layers in a row."""

    needs_plane = True

    def _fill(self, steps: Steps) -> None:
        raise NotImplementedError

    @cached_property
    def _steps(self) -> tuple[Layer, ...]:
        steps = Steps(self)
        self._fill(steps)
        return tuple(steps.found)

    @property
    def steps(self) -> tuple[Layer, ...]:
        return self._steps

    @property
    def output_shape(self) -> Shape:
        return self.steps[-1].output_shape

    @property
    def n_params(self) -> int:
        return sum(step.n_params for step in self.steps)

    @property
    def multiply_adds(self) -> int:
        return sum(step.multiply_adds for step in self.steps)


@dataclass(frozen=True, kw_only=True)
class SeparableConv(Block):
    """A depthwise convolution, then one of 1x1, each with batch normalisation and the activation.

    A. Howard et al., "MobileNets: efficient convolutional neural networks for mobile vision applications", arXiv
    1704.04861 (2017). With ``linear``, the second activation is left out.
    """

    kind = "ds"

    filters: int
    kernel: int
    stride: int
    function: Activation
    linear: bool

    @property
    def activation(self) -> Activation:
        """The activation of the output."""
        return "linear" if self.linear else self.function

    def _fill(self, steps: Steps) -> None:
        steps.add_normalised(DepthwiseConv, "spatial", function=self.function, kernel=self.kernel, stride=self.stride)
        steps.add_normalised(Conv, "project", function=self.activation, kernel=1, filters=self.filters)


@dataclass(frozen=True, kw_only=True)
class InvertedResidual(Block):
    """A convolution of 1x1 to more channels, a depthwise one, and one of 1x1 to ``filters`` without activation.

    M. Sandler et al., "MobileNetV2: inverted residuals and linear bottlenecks", CVPR 2018; squeeze-and-excite as in A.
    Howard et al., "Searching for MobileNetV3", ICCV 2019. The input is added if it has the shape of the output.
    """

    kind = "ir"
    activation: ClassVar[Activation] = "linear"  # of the output

    filters: int
    kernel: int
    stride: int
    expansion: int
    excite: bool
    function: Activation

    def _fill(self, steps: Steps) -> None:
        if self.expansion > 1:
            filters = self.expansion * self.input_shape[2]
            steps.add_normalised(Conv, "expand", function=self.function, kernel=1, filters=filters)
        steps.add_normalised(DepthwiseConv, "spatial", function=self.function, kernel=self.kernel, stride=self.stride)
        if self.excite:
            steps.add_squeeze_excite()
        steps.add_normalised(Conv, "project", function="linear", kernel=1, filters=self.filters)
        if steps.shape == self.input_shape:
            steps.add_sum()


@dataclass(frozen=True, kw_only=True)
class SqueezeExcite(Block):
    """Each channel times a factor in (0, 1): mean over the plane, dense with ReLU, dense with sigmoid.

    J. Hu, L. Shen and G. Sun, "Squeeze-and-excitation networks", CVPR 2018.
    """

    kind = "se"

    def _fill(self, steps: Steps) -> None:
        steps.add_squeeze_excite()


@dataclass(frozen=True, kw_only=True)
class AttentionPool(Block):
    """The mean over bands, then a weighted mean over time; the weights are a softmax of one linear score a frame.

    M. Ilse, J. Tomczak and M. Welling, "Attention-based deep multiple instance learning", ICML 2018; for sound, Q. Kong
    et al., "Audio Set classification with attention model: a probabilistic perspective", ICASSP 2018.
    """

    kind = "attention"

    time_axis: int

    def _fill(self, steps: Steps) -> None:
        steps.add(BandMean, time_axis=self.time_axis)
        frames = steps.shape
        score = steps.add(Conv, "score", filters=1, kernel=1, stride=1, padding="same", activation="linear", bias=False)
        steps.add(TimeSoftmax, time_axis=self.time_axis)
        steps.add(Product, other=score.name, other_shape=frames)
        steps.add(GlobalPool, "frames", function="average")
        steps.add(Rescale, factor=float(frames[self.time_axis]))  # from the mean to the sum


Filtering = Conv | DepthwiseConv | SeparableConv | InvertedResidual  # layers whose outputs are planes of filters
