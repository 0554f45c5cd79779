"""Draw a network layer by layer: what each layer does, its output shape, parameters and multiply-adds."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from markupsafe import Markup

from audiocnn.draw import svg
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
    GlobalPool,
    Layer,
    MaxPool,
    Shape,
    Sliding,
    Sum,
)
from audiocnn.model.notation import ACTIVATION_NAMES, Architecture
from audiocnn.wording import si_number

MOST_LAYERS = 100  # drawn; further layers are left out in the middle

_SIGN_PX = 62.0  # width of the symbol of a shape, left of the text
_GAP_PX = 14.0
_LINE_PX, _BAR_PX = 17.0, 4.0
_PLAIN_PX, _HOLDING_PX = 50.0, 78.0  # heights of a row without and with parameters or multiply-adds
_NARROW_PX = 263.0  # width of the text on a phone
_MOST_SHEETS = 6  # drawn for channels
_STEP_PX = 2.0  # from one sheet to the next
_SKIP_PX, _LEVEL_PX, _MOST_LEVELS = 20.0, 3.5, 3  # from the middle of a symbol to the lines around blocks


@dataclass(frozen=True)
class _Row:
    """A layer as drawn; ``shares`` are its shares of all parameters and of all multiply-adds."""

    name: str
    words: str
    shape: Shape | None
    n_params: int = 0
    multiply_adds: int = 0
    shares: tuple[float, float] = (0.0, 0.0)
    position: int = 0
    last: bool = False

    @property
    def height(self) -> float:
        return _HOLDING_PX if self.n_params or self.multiply_adds else _PLAIN_PX


def draw_network(architecture: Architecture, *, title: str) -> Markup:
    """Return the network as rows, one a layer; bars show the shares of parameters and multiply-adds."""
    parts, y = [], 0.0
    tops: dict[int, float] = {}  # of the rows of layers, by position
    largest = math.log2(1 + max(architecture.input_shape[:2]))
    for row in _rows(architecture):
        parts.append(_draw_row(row, y, largest))
        tops[row.position] = y
        y += row.height
    parts += _skips(architecture, tops)
    return svg.drawing(
        *parts,
        title=title,
        description=f"{len(architecture.layers)} layers from {_sizes(architecture.input_shape)} to "
        f"{architecture.n_outputs} outputs ({architecture.head}), {architecture.n_params:,} parameters, "
        f"{architecture.multiply_adds:,} multiply-adds a window.",
        height=y,
        margins=(6, 2, 0, _SIGN_PX + _GAP_PX),
    )


def _rows(architecture: Architecture) -> Iterator[_Row]:
    n_params, cost = max(architecture.n_params, 1), max(architecture.multiply_adds, 1)
    layers = architecture.layers
    n_left_out = max(0, len(layers) - MOST_LAYERS)
    yield _Row("input", "one window of features", architecture.input_shape)
    for number, layer in enumerate(layers):
        if n_left_out and number == MOST_LAYERS // 2:
            yield _Row("…", f"{n_left_out} more layers, not drawn", None)
        if n_left_out and MOST_LAYERS // 2 <= number < MOST_LAYERS // 2 + n_left_out:
            continue
        shares = layer.n_params / n_params, layer.multiply_adds / cost
        yield _Row(
            layer.token, describe_layer(layer), layer.output_shape, layer.n_params, layer.multiply_adds, shares,
            layer.position,
        )  # fmt: skip
    yield _Row(
        "total",
        f"{architecture.head} over {architecture.n_outputs}" if architecture.n_outputs > 1 else "one sigmoid",
        None,
        architecture.n_params,
        architecture.multiply_adds,
        last=True,
    )


def describe_layer(layer: Layer) -> str:
    """Return what a layer does; a ReLU follows a convolution or dense layer unless the text names another activation.

    >>> from audiocnn.model.notation import parse
    >>> [describe_layer(layer) for layer in parse("8C5S2-P2-*", input_shape=(13, 9, 1), n_labels=3).layers]
    ['8 filters, 5×5, stride 2', 'maximum of each 2×2', 'dense, 3 outputs, linear']
    """
    match layer:
        case Conv():
            return f"{layer.filters} filters, {_window(layer)}{_other_than_relu(layer.activation)}"
        case DepthwiseConv():
            return f"each channel, {_window(layer)}{_other_than_relu(layer.activation)}"
        case SeparableConv():
            then = ", linear" if layer.linear else _other_than_relu(layer.function)
            return f"each channel, {_window(layer)}; {layer.filters} filters, 1×1{then}"
        case InvertedResidual():
            excite = ", SE" if layer.excite else ""
            return f"{layer.expansion}× wide, {_window(layer)}{excite}{_other_than_relu(layer.function)}"
        case SqueezeExcite():
            return "each channel times a factor"
        case Sum():
            return "plus the input of the block"
        case FrequencyNorm():
            return "normalisation of each band"
        case Activate():
            return ACTIVATION_NAMES[layer.function]
        case AttentionPool():
            return "mean over bands, weighted mean over time"
        case MaxPool():
            stride = f", stride {layer.stride}" if layer.stride != layer.kernel else ""
            return f"maximum of each {layer.kernel}×{layer.kernel}{stride}"
        case GlobalPool():
            return f"{'mean' if layer.function == 'average' else 'maximum'} over the plane"
        case BatchNorm():
            return "batch normalisation"
        case Dropout():
            return f"dropout {layer.rate:g} in training"
        case Flatten():
            return "flatten to a vector"
        case Dense():
            return f"dense, {layer.units} outputs" + _other_than_relu(layer.activation)
    return "scores of the outputs"


def _window(layer: Conv | DepthwiseConv | SeparableConv | InvertedResidual) -> str:
    stride = f", stride {layer.stride}" if layer.stride > 1 else ""
    valid = ", unpadded" if isinstance(layer, Sliding) and layer.padding == "valid" else ""
    return f"{layer.kernel}×{layer.kernel}{stride}{valid}"


def _other_than_relu(activation: Activation) -> str:
    return "" if activation == "relu" else f", {ACTIVATION_NAMES[activation]}"


def _draw_row(row: _Row, y: float, largest: float) -> Markup:
    shape = "" if row.shape is None else _sizes(row.shape)
    room = _NARROW_PX - svg.text_width_px(shape) - 10
    parts = [
        _symbol(row, y, largest),
        svg.text(svg.shorten(row.name, room), x=0, y=y + 13, font_weight=600),
        svg.text(shape, x="100%", y=y + 13, anchor="end", fill=svg.MUTED),
        svg.text(svg.shorten(row.words, _NARROW_PX), x=0, y=y + 13 + _LINE_PX),
    ]
    if row.n_params or row.multiply_adds:
        at = y + 13 + 2 * _LINE_PX
        held, done = f"{row.n_params:,} parameters", f"{si_number(row.multiply_adds)} multiply-adds"
        if svg.text_width_px(held) + svg.text_width_px(done) > _NARROW_PX:
            held, done = (text.rpartition(" ")[0] for text in (held, done))
        parts += [
            svg.text(held, x=0, y=at, fill=svg.BLUE),
            svg.text(done, x="100%", y=at, anchor="end", fill=svg.ORANGE),
        ]
        for share, x, paint in ((row.shares[0], 0.0, svg.BLUE), (row.shares[1], 0.52, svg.ORANGE)):
            if any(row.shares):
                parts += [
                    _bar(x, at + 6, 0.48, svg.RULE, fill_opacity=0.5),
                    _bar(x, at + 6, 0.48 * share, paint),
                ]
    return svg.element("g", *parts)


def _skips(architecture: Architecture, tops: Mapping[int, float]) -> Iterator[Markup]:
    """Draw a line from the input of each block to its residual sum; that of an outer block is farther left."""
    levels: dict[int, int] = {}  # of the sums, by position
    middle = -_GAP_PX - _SIGN_PX / 2
    for layer in architecture.layers:
        if not isinstance(layer, Sum):
            continue
        level = 1 + max((n for position, n in levels.items() if position > layer.first), default=0)
        levels[layer.position] = level
        if layer.first in tops and layer.position in tops:
            start, end = tops[layer.first] - 4, tops[layer.position] + 10
            x = middle - _SKIP_PX - _LEVEL_PX * min(level, _MOST_LEVELS)
            yield svg.line(middle, start, x, start, stroke=svg.MUTED)
            yield svg.line(x, start, x, end, stroke=svg.MUTED)
            yield svg.line(x, end, middle - _SKIP_PX, end, stroke=svg.MUTED)


def _bar(x: float, y: float, width: float, paint: str, **attributes: float) -> Markup:
    return svg.element(
        "rect", x=svg.percent(x), y=y, width=svg.percent(width), height=_BAR_PX, rx=2, fill=paint, **attributes
    )


def _symbol(row: _Row, y: float, largest: float) -> Markup:
    """Return the symbol of a shape: sheets for planes, a bar for a vector, and a line to the next row."""
    middle = -_GAP_PX - _SIGN_PX / 2
    parts, bottom = [], y
    if row.shape is not None and len(row.shape) == 1:
        length = _SIGN_PX * min(1.0, max(0.12, math.log2(1 + row.shape[0]) / 12))
        parts.append(_sheet(middle - length / 2, y + 2, length, 6))
        bottom = y + 8
    elif row.shape is not None:
        room = 0.8 * (_PLAIN_PX - 12)
        height, width = (room * max(0.12, math.log2(1 + n) / largest) for n in row.shape[:2])
        sheets = min(_MOST_SHEETS, 1 + int(math.log2(row.shape[2])))
        left, depth = middle - (width + (sheets - 1) * _STEP_PX) / 2, (sheets - 1) * _STEP_PX
        for sheet in reversed(range(sheets)):
            at = sheet * _STEP_PX
            parts.append(_sheet(left + at, y + 1 + depth - at, width, height))
        bottom = y + 1 + depth + height
    if not row.last:
        parts.append(svg.line(middle, bottom + 2, middle, y + row.height - 1, stroke=svg.MUTED))
    return svg.element("g", *parts)


def _sheet(x: float, y: float, width: float, height: float) -> Markup:
    return svg.element(
        "rect", x=x, y=y, width=width, height=height, rx=1.5, fill=svg.PAPER, stroke=svg.INK, stroke_width=1
    )


def _sizes(shape: Shape) -> str:
    return "×".join(map(str, shape))
