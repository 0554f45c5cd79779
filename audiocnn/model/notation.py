"""Parse the notation of a network into layers with their shapes, weights and cost.

`parse` takes a notation such as ``32C3-32C3-P2-D5-128-*`` with the shape of one window, and returns an `Architecture`.
This module allocates nothing and does not need Keras: `audiocnn.model.network` builds the network, and loading a bundle
checks its files against the architecture.

==================  ==========================================================================================
``32C3``            convolution, 32 filters of 3x3, stride 1, same padding, ReLU; then, in this order,
                    ``S2`` stride 2, ``V`` valid padding, ``L`` linear: ``32C5S2``, ``8C3V``, ``10C4VL``
``BN``              batch normalisation of the last axis
``P2``, ``P3S2``    max pooling 2x2 stride 2, 3x3 stride 2, valid padding; with stride 1 (``P3S1``) same padding
``D3``, ``D25``     dropout 0.3, 0.25
``GAP``, ``GMP``    global average, global max pooling
``F``               flatten; implied before the first dense layer
``128``, ``10L``    dense with ReLU, dense linear
last token          ``1`` one sigmoid, ``10`` a softmax over 10, ``*`` the one that the number of labels needs;
                    or ``softmax``, ``sigmoid`` after linear outputs: ``10C4VL-F-softmax``, ``10L-sigmoid``
==================  ==========================================================================================

Brackets and spaces around tokens are ignored. So is a leading input size (``6400 - [32C3-P2] - 10``): an integer before
layers that cannot follow a dense layer. In ``128-64-10`` the 128 is therefore a dense layer.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal, TypedDict

from audiocnn.errors import ArchitectureError

Shape = tuple[int, ...]
Activation = Literal["relu", "linear"]
Function = Literal["sigmoid", "softmax"]
Padding = Literal["same", "valid"]


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One token of a notation at its position.

    ``token`` is the text, ``position`` counts the layers from 1, ``input_shape`` is its input shape for one window:
    ``(height, width, channels)``, or ``(units,)`` after flattening. All other properties follow from these.
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
        """Number of values in all weight arrays, including batch normalisation statistics, as Keras counts them."""
        return sum(math.prod(shape) for shape in self.weight_shapes.values())

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds for one window in inference; 0 for layers that only reorder or compare values."""
        return 0


@dataclass(frozen=True, kw_only=True)
class Sliding(Layer):
    """A layer with a ``kernel`` x ``kernel`` window that moves by ``stride`` over height and width."""

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
    """Global pooling: one value per channel, the average or maximum over the plane."""

    kind = "global"

    function: Literal["average", "max"]

    @property
    def output_shape(self) -> Shape:
        return self.input_shape[2:]


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
class Dense(Layer):
    """A dense layer with bias, which flattens its input if necessary."""

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
    """A ``softmax`` or ``sigmoid`` token. Networks end in logits, so it only defines how to interpret them."""

    kind = "head"

    function: Function


# A notation may come from a bundle of unknown origin: refuse sizes that no machine should try to build.
MAX_PARAMS = 1_000_000_000
MAX_ACTIVATIONS = 100_000_000  # output values of one layer for one window
MAX_LAYERS = 1_000
MAX_KERNEL = 1_000  # also of a stride
SUMMARY_HEADINGS = ("layer", "output>", "parameters>", "multiply-adds a window>")

_MAX_TOKEN = 24  # characters

_ALLOWED = "32C3[S2][V][L], BN, P2[S1], D5, GAP, GMP, F, 128[L], softmax, sigmoid, *"
_WORDS = ("BN", "GAP", "GMP", "F", "softmax", "sigmoid", "*")
_CONV = re.compile(r"(?P<filters>[0-9]+)C(?P<kernel>[0-9]+)(S(?P<stride>[0-9]+))?(?P<valid>V)?(?P<linear>L)?")
_POOL = re.compile(r"P(?P<kernel>[0-9]+)(S(?P<stride>[0-9]+))?")
_DROPOUT = re.compile(r"D(?P<digits>[0-9]+)")
_DENSE = re.compile(r"(?P<units>[0-9]+)(?P<linear>L)?")


@dataclass(frozen=True)
class Architecture:
    """The layers of a network, which fit its input and its labels.

    >>> net = parse("32C3-P2-D5-128-*", input_shape=(13, 9, 1), n_labels=10)
    >>> net.layers[1].name, net.layers[1].output_shape, net.n_params, net.head, net.n_outputs
    ('pool_2', (6, 4, 32), 100042, 'softmax', 10)
    """

    notation: str
    input_shape: tuple[int, int, int]
    layers: tuple[Layer, ...]
    head: Function

    @property
    def n_outputs(self) -> int:
        """Number of logits per window: 1 for a sigmoid, otherwise one per label."""
        return self.layers[-1].output_shape[0]

    @property
    def n_params(self) -> int:
        """Number of values in all weight arrays, equal to ``count_params()`` of Keras."""
        return sum(layer.n_params for layer in self.layers)

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds for one window, in inference."""
        return sum(layer.multiply_adds for layer in self.layers)

    @property
    def embedding_size(self) -> int:
        """Length of the embedding, the flattened input of the last layer that has weights."""
        return math.prod(_last_with_weights(self.layers).input_shape)

    @property
    def weight_shapes(self) -> dict[str, Shape]:
        """Shape of every weight array by its full name, such as ``conv_1/kernel``, in the order of the network.

        All arrays are float32. A weights file is valid if and only if it has exactly these.
        """
        return {f"{layer.name}/{name}": shape for layer in self.layers for name, shape in layer.weight_shapes.items()}


def parse(notation: str, *, input_shape: tuple[int, int, int], n_labels: int) -> Architecture:
    """Return the architecture that ``notation`` names, for windows of ``input_shape`` and ``n_labels`` labels.

    :param notation: layers joined by ``-``, as described at the top of this module
    :param input_shape: (height, width, channels) of one window
    :param n_labels: number of classes, at least 2
    :raises ArchitectureError: an unknown token, a layer that does not fit its input, outputs that do not fit the
        labels, or a size above the limits of this module (such as `MAX_PARAMS`)
    """
    if n_labels < 2:
        raise ArchitectureError(f"model: a classifier needs at least 2 labels, got {n_labels}")
    if len(input_shape) != 3 or min(input_shape) < 1:
        raise ArchitectureError(f"model: windows must be height x width x channels, got {_sizes(input_shape)}")
    layers = tuple(_layers(_tokens(notation), input_shape, n_labels))
    return Architecture(notation, input_shape, layers, _head(layers, n_labels))


def summary_rows(net: Architecture) -> list[tuple[str, str, str, str]]:
    """Return the rows of a table with `SUMMARY_HEADINGS`: the input, one row per token, and the totals.

    >>> from audiocnn.model.notation import parse
    >>> summary_rows(parse("8C3-GAP-*", input_shape=(13, 9, 1), n_labels=3))[2:]
    [('GAP', '8', '', ''), ('*', '3', '27', '24'), ('all', '3 (softmax)', '107', '8,448')]
    """
    rows = [("input", _shape_text(net.input_shape), "", "")]
    for layer in net.layers:
        n_params, cost = (f"{n:,}" if n else "" for n in (layer.n_params, layer.multiply_adds))
        rows.append((layer.token, _shape_text(layer.output_shape), n_params, cost))
    rows.append(("all", f"{net.n_outputs} ({net.head})", f"{net.n_params:,}", f"{net.multiply_adds:,}"))
    return rows


def _tokens(notation: str) -> list[str]:
    """Split a notation into tokens, without brackets, spaces and leading input size."""
    tokens = [token.strip("[] \t\r\n") for token in notation.split("-", MAX_LAYERS + 1)]
    if re.fullmatch("[0-9]+", tokens[0]) and any(map(_needs_plane, tokens[1:])):
        del tokens[0]
    if len(tokens) > MAX_LAYERS:
        raise ArchitectureError(f"model: more than {MAX_LAYERS:,} layers in one notation")
    return tokens


def _needs_plane(token: str) -> bool:
    """Return whether this token cannot follow a dense layer."""
    return token in ("GAP", "GMP", "F") or bool(_CONV.fullmatch(token) or _POOL.fullmatch(token))


def _is_token(text: str) -> bool:
    forms = (_CONV, _POOL, _DROPOUT, _DENSE)
    return text in _WORDS or (len(text) <= _MAX_TOKEN and any(form.fullmatch(text) for form in forms))


def _layers(tokens: list[str], input_shape: Shape, n_labels: int) -> Iterator[Layer]:
    """Yield the layers in order, each checked against its input shape."""
    shape, origin, n_params = input_shape, "as the input", 0
    for position, token in enumerate(tokens, start=1):
        layer = _layer(token, position, shape, n_labels if position == len(tokens) else None)
        if need := _unmet_need(layer):
            raise ArchitectureError(f"{_named(token, position)} needs {need}, got {_sizes(shape)} {origin}")
        n_params += layer.n_params
        if excess := _excess(layer, n_params):
            raise ArchitectureError(f"{_named(token, position)} on {_sizes(shape)} {excess}")
        yield layer
        shape, origin = layer.output_shape, f"after {token!r}"


class _LayerFields(TypedDict):
    token: str
    position: int
    input_shape: Shape


def _layer(token: str, position: int, shape: Shape, n_labels: int | None) -> Layer:
    """Parse one token; ``n_labels`` is given for the last one only, where an integer or ``*`` means the outputs."""
    if not _is_token(token):
        raise ArchitectureError(_unknown(token, position))
    if 0 in map(int, re.findall("[0-9]+", token)):
        raise ArchitectureError(f"{_named(token, position)} has a size of 0; sizes and dropout rates must be above 0")

    fields = _LayerFields(token=token, position=position, input_shape=shape)
    if match := _CONV.fullmatch(token):
        return Conv(
            **fields,
            filters=int(match["filters"]),
            kernel=int(match["kernel"]),
            stride=int(match["stride"] or 1),
            padding="valid" if match["valid"] else "same",
            activation="linear" if match["linear"] else "relu",
        )
    if match := _POOL.fullmatch(token):
        kernel = int(match["kernel"])
        stride = int(match["stride"] or kernel)
        return MaxPool(**fields, kernel=kernel, stride=stride, padding="same" if stride == 1 else "valid")
    if match := _DROPOUT.fullmatch(token):
        return Dropout(**fields, rate=float(f"0.{match['digits']}"))
    if match := _DENSE.fullmatch(token):
        linear = match["linear"] or n_labels is not None
        return Dense(**fields, units=int(match["units"]), activation="linear" if linear else "relu")
    match token:
        case "BN":
            return BatchNorm(**fields)
        case "GAP":
            return GlobalPool(**fields, function="average")
        case "GMP":
            return GlobalPool(**fields, function="max")
        case "F":
            return Flatten(**fields)
        case _ if n_labels is None:
            raise ArchitectureError(f"{_named(token, position)} can only be the last token")
        case "*":
            return Dense(**fields, units=1 if n_labels == 2 else n_labels, activation="linear")
        case "softmax":
            return Head(**fields, function="softmax")
        case _:
            return Head(**fields, function="sigmoid")


def _unmet_need(layer: Layer) -> str | None:
    """Return the requirement of the layer that its input does not meet, or None."""
    flat = len(layer.input_shape) == 1
    if flat and isinstance(layer, Sliding | GlobalPool):
        return "height x width x channels"
    if isinstance(layer, Sliding) and min(layer.output_shape) < 1:
        return f"at least {layer.kernel}x{layer.kernel}"
    if not flat and isinstance(layer, Head):
        return "flat outputs (F, GAP or GMP before it)"
    return None


def _excess(layer: Layer, n_params: int) -> str | None:
    """Return which limit is exceeded, with ``n_params`` of all layers up to this one, or None."""
    if isinstance(layer, Sliding) and max(layer.kernel, layer.stride) > MAX_KERNEL:
        return f"has a kernel or stride above {MAX_KERNEL:,}"
    if n_params > MAX_PARAMS:
        return f"brings the network to {n_params:,} parameters; the limit is {MAX_PARAMS:,}"
    if math.prod(layer.output_shape) > MAX_ACTIVATIONS:
        return f"outputs {_sizes(layer.output_shape)} for one window; the limit is {MAX_ACTIVATIONS:,} values"
    return None


def _head(layers: tuple[Layer, ...], n_labels: int) -> Function:
    """Return the function of the logits; checks that the network ends in logits that fit the labels."""
    last = layers[-1]
    named = _named(last.token, last.position)
    if isinstance(last, Head):
        source = _last_with_weights(layers)
        if isinstance(source, Conv | Dense) and source.activation == "relu":
            remedy = f"write '{source.token}L' there"
            raise ArchitectureError(f"{named} needs linear outputs, got ReLU from '{source.token}'; {remedy}")
        head = last.function
    elif isinstance(last, Dense) and not last.token.endswith("L"):
        head = "sigmoid" if last.units == 1 else "softmax"
    else:
        raise ArchitectureError(f"{named} cannot end a network; end it with *, an integer, softmax or sigmoid")

    (n_outputs,) = last.output_shape
    if n_outputs == 1 and head == "softmax":
        raise ArchitectureError(f"{named} over 1 output is always 1; use sigmoid, or one output per label")
    if n_outputs == 1 and n_labels != 2:
        raise ArchitectureError(
            f"{named} is a single sigmoid for 2 labels, but there are {n_labels} labels; write * or {n_labels}"
        )
    if n_outputs not in (1, n_labels):
        remedy = "the layers before it must give as many" if isinstance(last, Head) else f"write * or {n_labels}"
        raise ArchitectureError(f"{named} gives {n_outputs} outputs, but there are {n_labels} labels; {remedy}")
    return head


def _last_with_weights(layers: tuple[Layer, ...]) -> Layer:
    """Return the layer that computes the logits."""
    for layer in reversed(layers):
        if layer.weight_shapes:
            return layer
    raise ArchitectureError("model: no layer has weights, so there is nothing to train")


def _unknown(token: str, position: int) -> str:
    """Return the message for an unknown token, with the closest valid one."""
    if not token:
        return f"model: token {position} is empty; layers are joined by single '-'"
    from difflib import get_close_matches

    near = [form for form in (token.upper(), token.lower()) if _is_token(form)]
    near += [word for word in _WORDS if get_close_matches(token[:_MAX_TOKEN].lower(), [word.lower()])]
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{_named(token, position)} is unknown; {hint}allowed are {_ALLOWED}"


def _named(token: str, position: int) -> str:
    shown = token if len(token) <= _MAX_TOKEN else f"{token[:_MAX_TOKEN]}..."
    return f"model: token {position} {shown!r}"


def _sizes(shape: Shape) -> str:
    return "x".join(map(str, shape))


def _shape_text(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))
