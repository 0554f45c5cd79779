"""Charts: curves, scatter plots, reliability diagrams, bars."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

from markupsafe import Markup

from audiocnn.draw import svg

SQUARE_HEIGHT = 140.0  # of the area in pixels; the point (x, y) is drawn at x of the width, HEIGHT * (1 - y) down
_SQUARE_MARGINS = (24.0, 12.0, 38.0, 30.0)  # top, right, bottom, left

Points = Sequence[tuple[float, float]]


def draw_square(points: Points, *, guess: Points, title: str, description: str, x_name: str, y_name: str) -> Markup:
    """Return a curve through ``points`` in the unit square, with the curve of guessing dashed."""
    parts = [svg.gridline(f"{y:g}", y=SQUARE_HEIGHT * (1 - y)) for y in (0, 0.5, 1)]
    parts += [
        svg.text(f"{x:g}", x=svg.percent(x), y=SQUARE_HEIGHT + 16, anchor=anchor, fill=svg.MUTED)
        for x, anchor in ((0, "start"), (0.5, "middle"), (1, "end"))
    ]
    parts += [
        svg.text(x_name, x="50%", y=SQUARE_HEIGHT + 32, anchor="middle", fill=svg.MUTED),
        svg.text(y_name, x=0, y=-10, fill=svg.MUTED),
        _joined(guess, svg.MUTED, dashed=True),
        _joined(points, svg.BLUE, dashed=False),
    ]
    return svg.drawing(*parts, title=title, description=description, height=SQUARE_HEIGHT, margins=_SQUARE_MARGINS)


def _joined(points: Points, paint: str, *, dashed: bool) -> Markup:
    path = "L".join(
        f"{svg.format_number(round(1000 * x))} {svg.format_number(round(SQUARE_HEIGHT * (1 - y), 1))}"
        for x, y in points
    )
    stroke = svg.element(
        "path",
        d=f"M{path}" if path else "",
        fill="none",
        stroke=paint,
        stroke_width=1 if dashed else 2,
        stroke_linejoin="round",
        stroke_dasharray="4 4" if dashed else None,
        vector_effect="non-scaling-stroke",
    )
    return svg.stretch(stroke, width=1000, height=SQUARE_HEIGHT, y=0, height_px=SQUARE_HEIGHT)


_SCATTER_HEIGHT = 230.0
_SCATTER_MARGINS = (14.0, 18.0, 42.0, 48.0)  # top, right, bottom, left
_NARROW_SCATTER_PX = 270  # width of the area on a phone
_RADIUS_PX = 8
_APART_PX = 18  # smallest distance between points of about the same height
_STEM_PX = 7  # smallest distance between points of different heights, so that their intervals stay apart


@dataclass(frozen=True)
class ScatterPoint:
    """``y`` with its interval ``low..high`` (None if there is none) at the cost ``x`` above 0.

    ``mark`` is the letter or number drawn in the point, ``about`` its tooltip.
    """

    x: float
    y: float
    low: float | None
    high: float | None
    mark: str
    about: str
    paint: str


def draw_scatter(
    points: Sequence[ScatterPoint],
    *,
    title: str,
    description: str,
    x_name: str,
    x_label: Callable[[float], str] = "{:g}".format,
    y_label: Callable[[float], str] = "{:g}".format,
    y_limits: tuple[float, float] = (-math.inf, math.inf),
) -> Markup:
    """Return a scatter plot with logarithmic x; y covers all intervals and a small margin, within ``y_limits``.

    Points at nearly the same x are drawn side by side, in their order; the first point is on top.
    """
    ends = [y for point in points for y in (point.y, point.low, point.high) if y is not None] or [0.0, 1.0]
    room = max(max(ends) - min(ends), 1e-3) * 0.08
    low, high = max(min(ends) - room, y_limits[0]), min(max(ends) + room, y_limits[1])

    def down(y: float) -> float:
        return _SCATTER_HEIGHT * (1 - (y - low) / (high - low))

    logs = [math.log(point.x) for point in points] or [0.0]
    shifts = _shifts(logs, [down(point.y) for point in points] or [0.0])
    # Leave room at both sides for shifted points.
    margin = min((max(map(abs, shifts)) + 2 * _RADIUS_PX) / _NARROW_SCATTER_PX, 0.45)
    room_x = (max(logs) - min(logs)) * margin / (1 - 2 * margin) or math.log(2)
    left, right = math.exp(min(logs) - room_x), math.exp(max(logs) + room_x)

    def across(x: float) -> float:
        return math.log(x / left) / math.log(right / left)

    parts = [svg.gridline(y_label(y), y=down(y)) for y in svg.ticks(low, high, at_most=6)]
    for x in svg.log_ticks(left, right, at_most=5):
        at = svg.percent(across(x))
        parts += [svg.line(at, 0, at, _SCATTER_HEIGHT), svg.label_below(x_label(x), x=across(x), y=_SCATTER_HEIGHT)]
    parts.append(svg.text(x_name, x="50%", y=_SCATTER_HEIGHT + 35, anchor="middle", fill=svg.MUTED))
    drawn = [_draw_point(point, across(point.x), dx, down) for point, dx in zip(points, shifts, strict=False)]
    return svg.drawing(
        *parts, *reversed(drawn), title=title, description=description, height=_SCATTER_HEIGHT, margins=_SCATTER_MARGINS
    )


def _shifts(logs: Sequence[float], heights: Sequence[float]) -> list[float]:
    """Return the smallest shifts in pixels with which no point hides its neighbour; ``logs`` are positions, log x.

    >>> _shifts([0.0, 5.0, 0.0, 0.0], [50, 50, 50, 90])
    [-14.3333, 0.0, 3.6667, 10.6667]
    """
    per_px = (max(logs) - min(logs)) / (_NARROW_SCATTER_PX - 4 * _RADIUS_PX) or 1.0
    order = sorted(range(len(logs)), key=lambda i: logs[i])
    # Least squares with minimum distances: with the distances subtracted this is isotonic regression, solved by pooling
    # adjacent violators.
    subtracted, off = [0.0], 0.0
    for before, after in pairwise(order):
        off += _APART_PX if abs(heights[before] - heights[after]) < _APART_PX else _STEM_PX
        subtracted.append(off)
    blocks: list[list[float]] = []
    for i, less in zip(order, subtracted, strict=True):
        blocks.append([logs[i] / per_px - less])
        while len(blocks) > 1 and fmean(blocks[-2]) > fmean(blocks[-1]):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    places = [fmean(block) for block in blocks for _ in block]
    shifts = [0.0] * len(logs)
    for i, place, less in zip(order, places, subtracted, strict=True):
        shifts[i] = round(place + less - logs[i] / per_px, 4)
    return shifts


def _draw_point(point: ScatterPoint, position: float, dx: float, down: Callable[[float], float]) -> Markup:
    y = down(point.y)
    parts = [svg.element("title", point.about)]
    if point.low is not None and point.high is not None:
        top, bottom = down(point.high), down(point.low)
        parts += [
            svg.line(dx, top, dx, bottom, stroke=point.paint, stroke_width=1.5),
            svg.line(dx - 4, top, dx + 4, top, stroke=point.paint, stroke_width=1.5),
            svg.line(dx - 4, bottom, dx + 4, bottom, stroke=point.paint, stroke_width=1.5),
        ]
    parts += [
        svg.element("circle", cx=dx, cy=y, r=_RADIUS_PX, fill=point.paint),
        svg.text(point.mark, x=dx, y=y + 4, anchor="middle", fill=svg.PAPER, font_size=11, font_weight="600"),
    ]
    return svg.element("svg", *parts, x=svg.percent(position), y=0, overflow="visible")


_RELIABILITY_HEIGHT = 230.0
_RELIABILITY_MARGINS = (30.0, 14.0, 42.0, 48.0)  # top, right, bottom, left
_NARROW_RELIABILITY_PX = 270  # width of the area on a phone
_NUMBER_PX = (20.0, 12.0)  # width and height of the number next to a point; closer ones would overlap
_Z = 1.96  # normal quantile of a 95 % interval


@dataclass(frozen=True)
class ReliabilityBin:
    """``n`` scores within ``low..high``, their mean ``score``, and the share ``accuracy`` that is correct."""

    low: float
    high: float
    n: int
    score: float
    accuracy: float


def draw_reliability(bins: Sequence[ReliabilityBin], *, title: str, description: str) -> Markup:
    """Return a numbered point for each bin, with its 95 % interval; on the dashed line, score and share are equal."""
    parts = [svg.gridline(f"{100 * y:.0f} %", y=_RELIABILITY_HEIGHT * (1 - y)) for y in (0, 0.25, 0.5, 0.75, 1)]
    parts += [svg.label_below(f"{x:g}", x=x, y=_RELIABILITY_HEIGHT) for x in (0, 0.2, 0.4, 0.6, 0.8, 1)]
    parts.append(svg.line("0%", _RELIABILITY_HEIGHT, "100%", 0, stroke=svg.INK, stroke_dasharray="4 4"))
    numbers: list[tuple[float, float]] = []
    for one in bins:
        if one.n:
            numbers.append(_free_place(one, numbers))
            parts.append(_draw_bin(one, numbers[-1][1]))
    parts += [
        svg.text("score", x="50%", y=_RELIABILITY_HEIGHT + 35, anchor="middle", fill=svg.MUTED),
        svg.text("share correct", x=2 - _RELIABILITY_MARGINS[3], y=-17, fill=svg.MUTED),
    ]
    return svg.drawing(
        *parts, title=title, description=description, height=_RELIABILITY_HEIGHT, margins=_RELIABILITY_MARGINS
    )


def wilson_interval(share: float, n: int) -> tuple[float, float]:
    """Return the 95 % interval of a share of ``n`` (Wilson, JASA 22, 1927), which is defined for 0 and 1 too.

    >>> [round(end, 2) for end in wilson_interval(1.0, 10)]
    [0.72, 1.0]
    """
    middle, room = share + _Z**2 / (2 * n), _Z * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
    whole = 1 + _Z**2 / n
    return max((middle - room) / whole, 0.0), min((middle + room) / whole, 1.0)


def _free_place(one: ReliabilityBin, taken: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return x and y of the number of a bin, in pixels on a phone: the free y nearest to its point."""
    width, height = _NUMBER_PX
    x, at = _NARROW_RELIABILITY_PX * one.score, _RELIABILITY_HEIGHT * (1 - one.accuracy)
    beside = [y for other, y in taken if abs(other - x) < width]
    steps = sorted(range(-4 * len(beside), 4 * len(beside) + 1), key=abs)
    places = [y for step in steps if -height <= (y := at + step * height / 2) <= _RELIABILITY_HEIGHT]
    return x, next(y for y in places if all(abs(y - other) >= height - 1e-9 for other in beside))


def _draw_bin(one: ReliabilityBin, number_y: float) -> Markup:
    low, high = wilson_interval(one.accuracy, one.n)
    x, y = svg.percent(one.score), _RELIABILITY_HEIGHT * (1 - one.accuracy)
    parts = [
        svg.element("title", f"score {one.low:.2f} to {one.high:.2f}: {one.accuracy:.0%} of {one.n} correct"),
        svg.line(
            x,
            _RELIABILITY_HEIGHT * (1 - low),
            x,
            _RELIABILITY_HEIGHT * (1 - high),
            stroke=svg.BLUE,
            stroke_width=2,
            stroke_opacity=0.5,
        ),
        svg.element("circle", cx=x, cy=y, r=5, fill=svg.BLUE),
    ]
    parts.append(svg.text(str(one.n), x=x, y=number_y + 4, dx=-8, anchor="end", font_size=11, fill=svg.MUTED))
    return svg.element("g", *parts)


_NAME_PX, _BAR_PX, _GAP_PX = 18.0, 22.0, 14.0
_NAME_ROOM_PX = 300.0  # width for a name and its text on a phone


@dataclass(frozen=True)
class Bar:
    """A bar of ``value`` within 0..1, and its text ``written``."""

    name: str
    value: float
    written: str
    paint: str


def draw_bars(bars: Sequence[Bar], *, title: str, description: str) -> Markup:
    """Return horizontal bars, each below its name and text; the whole width is 1."""
    step = _NAME_PX + _BAR_PX + _GAP_PX
    parts = []
    for i, bar in enumerate(bars):
        top = i * step + _NAME_PX
        room = _NAME_ROOM_PX - svg.text_width_px(bar.written) - 12
        parts += [
            svg.text(svg.shorten(bar.name, room), x=0, y=top - 5),
            svg.text(bar.written, x="100%", y=top - 5, anchor="end", font_weight=600),
            svg.element("rect", x=0, y=top, width="100%", height=_BAR_PX, rx=3, fill=svg.RULE, fill_opacity=0.5),
            svg.element(
                "rect", x=0, y=top, width=svg.percent(min(max(bar.value, 0), 1)), height=_BAR_PX, rx=3, fill=bar.paint
            ),
        ]
    return svg.drawing(*parts, title=title, description=description, height=max(len(bars) * step - _GAP_PX, 0))


_CURVE_HEIGHT = 190.0
_CURVE_MARGINS = (30.0, 14.0, 42.0, 48.0)  # top, right, bottom, left
_DOTS = 40  # curves with at most so many points have dots


@dataclass(frozen=True)
class Line:
    """A curve through points (x, y) in their order; a point that is not finite breaks it.

    ``ends`` are the intervals (low, high) of the points, None for a point without one, or empty.
    """

    name: str
    points: Sequence[tuple[float, float]]
    paint: str
    dashed: bool = False
    ends: Sequence[tuple[float, float] | None] = ()


def draw_curves(
    lines: Sequence[Line],
    *,
    title: str,
    description: str,
    x_name: str,
    x_label: Callable[[float], str] = "{:g}".format,
    y_label: Callable[[float], str] = "{:g}".format,
    y_high: float | None = None,
    y_low: float = 0.0,
    height: float = _CURVE_HEIGHT,
    legend: bool = True,
    mark: float | None = None,
    mark_name: str = "",
    logarithmic: bool = False,
) -> Markup:
    """Return curves over a common x, y from ``y_low`` to ``y_high`` (by default the highest point).

    The ticks of x are at whole numbers, or if x is ``logarithmic`` (to base 10) at round powers.
    ``mark`` is an x to mark with a vertical line, ``mark_name`` its label.
    """
    finite = [(x, y) for line in lines for x, y in line.points if math.isfinite(y)]
    highest = max([y for _, y in finite] + [end[1] for line in lines for end in line.ends if end], default=1.0)
    low, high = min((x for x, _ in finite), default=0.0), max((x for x, _ in finite), default=1.0)
    if low == high:
        low, high = low - 0.5, high + 0.5
    top = y_high if y_high is not None else highest * 1.05 or 1.0

    def across(x: float) -> float:
        return (x - low) / (high - low)

    def down(y: float) -> float:
        return height * (1 - min(max((y - y_low) / (top - y_low), 0), 1))

    parts = [svg.gridline(y_label(y), y=down(y)) for y in svg.ticks(y_low, top, at_most=6)]
    if logarithmic:
        at_ticks = [math.log10(x) for x in svg.log_ticks(10**low, 10**high, at_most=6)]
    else:
        at_ticks = [x for x in svg.ticks(low, high, at_most=6) if x == int(x)]
    parts += [svg.label_below(x_label(x), x=across(x), y=height) for x in at_ticks]
    parts.append(svg.text(x_name, x="50%", y=height + 35, anchor="middle", fill=svg.MUTED))
    if mark is not None:
        at, late = svg.percent(across(mark)), across(mark) > 0.6
        parts += [
            svg.line(at, 0, at, height, stroke=svg.INK, stroke_dasharray="2 3"),
            svg.text(mark_name, x=at, y=height - 8, anchor="end" if late else "start", dx=-6 if late else 6),
        ]
    for line in lines:
        parts += _draw_line(line, across, down, height)
    return svg.drawing(
        *parts,
        *(_legend(lines) if legend else []),
        title=title,
        description=description,
        height=height,
        margins=_CURVE_MARGINS,
    )


def _draw_line(
    line: Line, across: Callable[[float], float], down: Callable[[float], float], height: float
) -> list[Markup]:
    path, pen_down = "", False
    dots = []
    for x, y in line.points:
        if not math.isfinite(y):
            pen_down = False
            continue
        path += f"{'L' if pen_down else 'M'}{svg.format_number(1000 * across(x))} {svg.format_number(down(y))}"
        pen_down = True
        dots.append(svg.element("circle", cx=svg.percent(across(x)), cy=down(y), r=2.5, fill=line.paint))
    stroke = svg.element(
        "path",
        d=path,
        fill="none",
        stroke=line.paint,
        stroke_width=2,
        stroke_linejoin="round",
        stroke_dasharray="5 4" if line.dashed else None,
        vector_effect="non-scaling-stroke",
    )
    curve = svg.stretch(stroke, width=1000, height=height, y=0, height_px=height)
    whiskers = [
        svg.line(at, down(end[0]), at, down(end[1]), stroke=line.paint, stroke_width=2, stroke_opacity=0.5)
        for (x, _), end in zip(line.points, line.ends, strict=False)
        if end and (at := svg.percent(across(x)))
    ]
    return [*whiskers, curve, *(dots if len(dots) <= _DOTS else [])]


def _legend(lines: Sequence[Line]) -> list[Markup]:
    parts = []
    x = 0.0
    for line in lines:
        parts += [
            svg.line(
                x, -16, x + 22, -16, stroke=line.paint, stroke_width=2, stroke_dasharray="5 4" if line.dashed else None
            ),
            svg.text(line.name, x=x + 28, y=-12),
        ]
        x += 28 + svg.text_width_px(line.name) + 18
    return parts
