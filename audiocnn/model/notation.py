"""Parse the notation of a network into layers with their shapes, weights and cost.

`parse` takes a notation such as ``32C3-32C3-P2-D5-128-*`` with the shape of one window, and returns an `Architecture`.
This module allocates nothing and does not need Keras: `audiocnn.model.network` builds the network, and loading a bundle
checks its files against the architecture.

==================  ==========================================================================================
``32C3``            convolution, 32 filters of 3x3, stride 1, same padding, ReLU; then, in this order,
                    ``S2`` stride 2, ``V`` valid padding, and a letter for another activation than ReLU:
                    ``L`` linear, ``H`` Hardswish, ``W`` SiLU (Swish): ``32C5S2``, ``8C3V``, ``10C4VL``
``DW3``             depthwise convolution, one filter of 3x3 a channel; then as above: ``DW5S2H``
``32DS3``           depthwise-separable convolution: ``DW3`` and ``32C1``, both with batch normalisation before the
                    activation and without bias; then ``S2`` and a letter: ``32DS3S2H``; ``L`` leaves out the last one
``24IR3X4``         inverted residual: 1x1 to 4 times the channels (none with ``X1``), depthwise 3x3, 1x1 to 24 linear,
                    each with batch normalisation and without bias; adds its input if the shapes agree; ``S2`` before
                    ``X``, then ``E`` squeeze-and-excite before the last 1x1, and a letter: ``24IR5S2X4EH``
``SE``              squeeze-and-excite: each channel times a factor that depends on the means of all channels
``[...]+``          residual sum: adds the input of the bracket, which must have the same shape
``BN``              batch normalisation of the last axis
``FN``              frequency-wise normalisation: each band by its mean and deviation over time and channels
``RELU``            activation on its own, also ``SILU``, ``HSWISH``: ``16C3L-BN-HSWISH``
``P2``, ``P3S2``    max pooling 2x2 stride 2, 3x3 stride 2, valid padding; with stride 1 (``P3S1``) same padding
``D3``, ``D25``     dropout 0.3, 0.25
``GAP``, ``GMP``    global average, global max pooling
``AP``              attention pooling: the mean over bands, then over time with weights that are learned
``F``               flatten; implied before the first dense layer
``128``, ``10L``    dense with ReLU, dense linear; also ``H``, ``W``
last token          ``1`` one sigmoid, ``10`` a softmax over 10, ``*`` the one that the number of labels needs;
                    or ``softmax``, ``sigmoid`` after linear outputs: ``10C4VL-F-softmax``, ``10L-sigmoid``
==================  ==========================================================================================

Other brackets and spaces around tokens are ignored. So is a leading input size (``6400 - [32C3-P2] - 10``): an integer
before layers that cannot follow a dense layer. In ``128-64-10`` the 128 is therefore a dense layer.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypedDict

from audiocnn.errors import ArchitectureError
from audiocnn.model.blocks import AttentionPool, InvertedResidual, SeparableConv, SqueezeExcite
from audiocnn.model.layers import (
    Activate,
    Activation,
    BatchNorm,
    Conv,
    Dense,
    DepthwiseConv,
    Dropout,
    Flatten,
    FrequencyNorm,
    Function,
    GlobalPool,
    Head,
    Layer,
    MaxPool,
    Padding,
    Shape,
    Sliding,
    Sum,
)
from audiocnn.specs import FeatureSpec

Axes = Literal["bins_frames", "frames_bins"]

# A notation may come from a bundle of unknown origin: refuse sizes that no machine should try to build.
MAX_PARAMS = 1_000_000_000
MAX_ACTIVATIONS = 100_000_000  # output values of one layer for one window
MAX_LAYERS = 1_000
MAX_KERNEL = 1_000  # also of a stride
_TOO_MANY = f"model: more than {MAX_LAYERS:,} layers in one notation"
SUMMARY_HEADINGS = ("layer", "output>", "parameters>", "multiply-adds a window>")

_MAX_TOKEN = 24  # characters

_ALLOWED = (
    "32C3[S2][V][L|H|W], DW3[S2][V][L|H|W], 32DS3[S2][L|H|W], 24IR3[S2]X4[E][H|W], SE, [...]+, BN, FN, RELU, SILU, "
    "HSWISH, P2[S1], D5, GAP, GMP, AP, F, 128[L|H|W], softmax, sigmoid, *"
)
_WORDS = ("BN", "FN", "SE", "RELU", "SILU", "HSWISH", "GAP", "GMP", "AP", "F", "softmax", "sigmoid", "*")
_IGNORED = " \t\r\n"
_BLOCK_END = "+"  # the token of a residual sum, after the closing bracket
_SLIDING = "(?P<kernel>[0-9]+)(S(?P<stride>[0-9]+))?"
_CONV = re.compile(f"(?P<filters>[0-9]+)C{_SLIDING}(?P<valid>V)?(?P<activation>[LHW])?")
_DEPTHWISE = re.compile(f"DW{_SLIDING}(?P<valid>V)?(?P<activation>[LHW])?")
_SEPARABLE = re.compile(f"(?P<filters>[0-9]+)DS{_SLIDING}(?P<activation>[LHW])?")
_INVERTED = re.compile(f"(?P<filters>[0-9]+)IR{_SLIDING}X(?P<expansion>[0-9]+)(?P<excite>E)?(?P<activation>[HW])?")
_POOL = re.compile(f"P{_SLIDING}")
_DROPOUT = re.compile(r"D(?P<digits>[0-9]+)")
_DENSE = re.compile(r"(?P<units>[0-9]+)(?P<activation>[LHW])?")
_FORMS = (_CONV, _DEPTHWISE, _SEPARABLE, _INVERTED, _POOL, _DROPOUT, _DENSE)
_ACTIVATIONS: dict[str | None, Activation] = {None: "relu", "L": "linear", "H": "hard_silu", "W": "silu"}
_FUNCTIONS: dict[str, Activation] = {"RELU": "relu", "SILU": "silu", "HSWISH": "hard_silu"}
ACTIVATION_NAMES: dict[Activation, str] = {
    "relu": "ReLU", "silu": "SiLU", "hard_silu": "Hardswish", "sigmoid": "sigmoid", "linear": "linear",
}  # fmt: skip


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
        """Length of the embedding, the flattened input of the last step that has weights."""
        return math.prod(_last_with_weights(self.steps).input_shape)

    @cached_property
    def steps(self) -> tuple[Layer, ...]:
        """The steps of all layers in order, which end in the logits."""
        return tuple(step for layer in self.layers for step in layer.steps)

    @property
    def weight_shapes(self) -> dict[str, Shape]:
        """Shape of every weight array by its full name, such as ``conv_1/kernel``, in the order of the network.

        All arrays are float32. A weights file is valid if and only if it has exactly these.
        """
        return {f"{step.name}/{name}": shape for step in self.steps for name, shape in step.weight_shapes.items()}


def parse(
    notation: str, *, input_shape: tuple[int, int, int], n_labels: int, axes: Axes = "bins_frames"
) -> Architecture:
    """Return the architecture that ``notation`` names, for windows of ``input_shape`` and ``n_labels`` labels.

    :param notation: layers joined by ``-``, as described at the top of this module
    :param input_shape: (height, width, channels) of one window
    :param n_labels: number of classes, at least 2
    :param axes: what height and width are, as in `audiocnn.specs.FeatureSpec`; for layers that need the time
    :raises ArchitectureError: an unknown token, a layer that does not fit its input, outputs that do not fit the
        labels, or a size above the limits of this module (such as `MAX_PARAMS`)
    """
    if n_labels < 2:
        raise ArchitectureError(f"model: a classifier needs at least 2 labels, got {n_labels}")
    if len(input_shape) != 3 or min(input_shape) < 1:
        raise ArchitectureError(f"model: windows must be height x width x channels, got {_sizes(input_shape)}")
    layers = tuple(_layers(_tokens(notation), input_shape, n_labels, time_axis=1 if axes == "bins_frames" else 0))
    return Architecture(notation, input_shape, layers, _head(layers, n_labels))


def parse_for(spec: FeatureSpec, notation: str, *, n_labels: int) -> Architecture:
    """Return the architecture that ``notation`` names for windows of features; raises as `parse`."""
    return parse(notation, input_shape=spec.shape, n_labels=n_labels, axes=spec.axes)


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


@dataclass(frozen=True)
class _Token:
    """A token; that of a residual sum has the position of the first layer of its block."""

    text: str
    block: int = 0


def _tokens(notation: str) -> list[_Token]:
    """Split a notation into tokens, without spaces, leading input size and brackets; sums become tokens."""
    parts = [_part(text) for text in notation.split("-", MAX_LAYERS + 1)]
    if re.fullmatch("[0-9]+", parts[0][1]) and any(_needs_plane(text) for _, text, _ in parts[1:]):
        (before, _, after), (more, text, tail), *rest = parts
        parts = [(before + after + more, text, tail), *rest]
    if len(parts) > MAX_LAYERS:
        raise ArchitectureError(_TOO_MANY)
    tokens, opened = list[_Token](), list[int]()  # positions of the first layers in open brackets
    for before, text, after in parts:
        _match_brackets(before, tokens, opened)
        tokens.append(_Token(text))
        _match_brackets(after, tokens, opened)
    if len(tokens) > MAX_LAYERS:
        raise ArchitectureError(_TOO_MANY)
    return tokens


def _part(text: str) -> tuple[str, str, str]:
    """Return the brackets before a token, the token, and the brackets and pluses after it.

    >>> _part(" [[BN ]+ ")
    ('[[', 'BN', ']+')
    """
    start = text.lstrip("[]" + _IGNORED)
    token = start.rstrip("[]+" + _IGNORED)
    after = re.sub(f"[{_IGNORED}]", "", start[len(token) :])
    if re.search(r"(?<!\])\+", after):  # a plus that follows no bracket belongs to the token, which is then unknown
        token, after = start.strip("[]" + _IGNORED), ""
    before = re.sub(f"[{_IGNORED}]", "", text[: len(text) - len(start)])
    return before, token, after


def _match_brackets(brackets: str, tokens: list[_Token], opened: list[int]) -> None:
    """Note where brackets open, and add a token for each sum."""
    first = 0
    for bracket in brackets:
        if bracket == "[":
            opened.append(len(tokens) + 1)
        elif bracket == "]":
            first = opened.pop() if opened else 0
        elif first:
            tokens.append(_Token(_BLOCK_END, first))
        else:
            named = _named(_BLOCK_END, len(tokens) + 1)
            raise ArchitectureError(f"{named} closes no bracket; write [ before the first layer of its block")


def _needs_plane(token: str) -> bool:
    """Return whether this token cannot follow a dense layer."""
    forms = (_CONV, _DEPTHWISE, _SEPARABLE, _INVERTED, _POOL)
    return token in ("GAP", "GMP", "AP", "FN", "SE", "F") or any(form.fullmatch(token) for form in forms)


def _is_token(text: str) -> bool:
    return text in _WORDS or (len(text) <= _MAX_TOKEN and any(form.fullmatch(text) for form in _FORMS))


def _layers(tokens: list[_Token], input_shape: Shape, n_labels: int, *, time_axis: int) -> Iterator[Layer]:
    """Yield the layers in order, each checked against its input shape."""
    shape, origin, n_params = input_shape, "as the input", 0
    done: list[Layer] = []
    for position, token in enumerate(tokens, start=1):
        if token.block:
            layer: Layer = _sum(position, shape, origin, done[token.block - 1])
        else:
            layer = _layer(token.text, position, shape, n_labels if position == len(tokens) else None, time_axis)
        if need := _unmet_need(layer):
            raise ArchitectureError(f"{_named(token.text, position)} needs {need}, got {_sizes(shape)} {origin}")
        n_params += layer.n_params
        if excess := _excess(layer, n_params):
            raise ArchitectureError(f"{_named(token.text, position)} on {_sizes(shape)} {excess}")
        yield layer
        done.append(layer)
        shape, origin = layer.output_shape, f"after {token.text!r}"


def _sum(position: int, shape: Shape, origin: str, first: Layer) -> Sum:
    """Return the residual sum of a block that begins with the layer ``first`` and has outputs of this shape."""
    if shape != first.input_shape:
        raise ArchitectureError(
            f"{_named(_BLOCK_END, position)} adds {_sizes(first.input_shape)}, the input of its block before "
            f"{first.token!r}, to {_sizes(shape)} {origin}; both must have the same shape"
        )
    return Sum(
        token=_BLOCK_END, position=position, input_shape=shape,
        other=first.steps[0].name, other_shape=first.input_shape, first=first.position,
    )  # fmt: skip


class _LayerFields(TypedDict):
    token: str
    position: int
    input_shape: Shape


def _layer(token: str, position: int, shape: Shape, n_labels: int | None, time_axis: int) -> Layer:
    """Parse one token; ``n_labels`` is given for the last one only, where an integer or ``*`` means the outputs."""
    if not _is_token(token):
        raise ArchitectureError(_unknown(token, position))
    if 0 in map(int, re.findall("[0-9]+", token)):
        raise ArchitectureError(f"{_named(token, position)} has a size of 0; sizes and dropout rates must be above 0")

    fields = _LayerFields(token=token, position=position, input_shape=shape)
    if (layer := _sliding(token, fields)) is not None:
        return layer
    if match := _DROPOUT.fullmatch(token):
        return Dropout(**fields, rate=float(f"0.{match['digits']}"))
    if match := _DENSE.fullmatch(token):
        activation = _ACTIVATIONS[match["activation"]] if n_labels is None else "linear"
        return Dense(**fields, units=int(match["units"]), activation=activation)
    match token:
        case "BN":
            return BatchNorm(**fields)
        case "FN":
            return FrequencyNorm(**fields, time_axis=time_axis)
        case "SE":
            return SqueezeExcite(**fields)
        case "GAP":
            return GlobalPool(**fields, function="average")
        case "GMP":
            return GlobalPool(**fields, function="max")
        case "AP":
            return AttentionPool(**fields, time_axis=time_axis)
        case "F":
            return Flatten(**fields)
        case "RELU" | "SILU" | "HSWISH":
            return Activate(**fields, function=_FUNCTIONS[token])
        case _ if n_labels is None:
            raise ArchitectureError(f"{_named(token, position)} can only be the last token")
        case "*":
            return Dense(**fields, units=1 if n_labels == 2 else n_labels, activation="linear")
        case "softmax":
            return Head(**fields, function="softmax")
        case _:
            return Head(**fields, function="sigmoid")


def _sliding(token: str, fields: _LayerFields) -> Layer | None:
    """Return the layer of a token that slides over the plane, None for another token."""
    for form in (_CONV, _DEPTHWISE, _SEPARABLE, _INVERTED, _POOL):
        if match := form.fullmatch(token):
            break
    else:
        return None
    groups = match.groupdict()
    kernel, stride, letter = int(groups["kernel"]), int(groups["stride"] or 1), groups.get("activation")
    activation = _ACTIVATIONS[letter]
    padding: Padding = "valid" if groups.get("valid") else "same"
    if form is _POOL:
        stride = int(groups["stride"] or kernel)
        return MaxPool(**fields, kernel=kernel, stride=stride, padding="same" if stride == 1 else "valid")
    if form is _DEPTHWISE:
        return DepthwiseConv(**fields, kernel=kernel, stride=stride, padding=padding, activation=activation)
    filters = int(groups["filters"])
    if form is _CONV:
        return Conv(**fields, filters=filters, kernel=kernel, stride=stride, padding=padding, activation=activation)
    if form is _SEPARABLE:
        linear, function = letter == "L", "relu" if letter == "L" else activation
        return SeparableConv(**fields, filters=filters, kernel=kernel, stride=stride, function=function, linear=linear)
    return InvertedResidual(
        **fields, filters=filters, kernel=kernel, stride=stride, expansion=int(groups["expansion"]),
        excite=groups["excite"] is not None, function=activation,
    )  # fmt: skip


def _unmet_need(layer: Layer) -> str | None:
    """Return the requirement of the layer that its input does not meet, or None."""
    flat = len(layer.input_shape) == 1
    if flat and layer.needs_plane:
        return "height x width x channels"
    if isinstance(layer, Sliding) and min(layer.output_shape) < 1:
        return f"at least {layer.kernel}x{layer.kernel}"
    if not flat and isinstance(layer, Head):
        return "flat outputs (F, GAP, GMP or AP before it)"
    return None


def _excess(layer: Layer, n_params: int) -> str | None:
    """Return which limit is exceeded, with ``n_params`` of all layers up to this one, or None."""
    for step in layer.steps:
        if isinstance(step, Sliding) and max(step.kernel, step.stride) > MAX_KERNEL:
            return f"has a kernel or stride above {MAX_KERNEL:,}"
    if n_params > MAX_PARAMS:
        return f"brings the network to {n_params:,} parameters; the limit is {MAX_PARAMS:,}"
    for step in layer.steps:
        if math.prod(step.output_shape) > MAX_ACTIVATIONS:
            return f"outputs {_sizes(step.output_shape)} for one window; the limit is {MAX_ACTIVATIONS:,} values"
    return None


def _head(layers: tuple[Layer, ...], n_labels: int) -> Function:
    """Return the function of the logits; checks that the network ends in logits that fit the labels."""
    last = layers[-1]
    named = _named(last.token, last.position)
    if isinstance(last, Head):
        _check_linear(layers, named)
        head = last.function
    elif isinstance(last, Dense) and last.token[-1] not in "LHW":
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


def _check_linear(layers: tuple[Layer, ...], named: str) -> None:
    """Check that no activation is applied to the outputs before a ``softmax`` or ``sigmoid`` token."""
    _last_with_weights(layers)
    pooling = (MaxPool, GlobalPool, AttentionPool, SqueezeExcite, Dropout, Flatten, Head)
    source = next((layer for layer in reversed(layers) if not isinstance(layer, pooling)), None)
    match source:
        case Activate(function=function):
            remedy = "leave it out"
        case Conv() | DepthwiseConv() | SeparableConv() | Dense() if source.activation != "linear":
            function, remedy = source.activation, f"write '{source.token.rstrip('HW')}L' there"
        case _:
            return
    raise ArchitectureError(
        f"{named} needs linear outputs, got {ACTIVATION_NAMES[function]} from '{source.token}'; {remedy}"
    )


def _last_with_weights(layers: tuple[Layer, ...]) -> Layer:
    """Return the layer that computes the logits."""
    for layer in reversed(layers):
        if layer.n_params:
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
