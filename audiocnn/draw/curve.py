"""Curves of figures that change from epoch to epoch."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from audiocnn.draw import axis, colour, svg

_HEIGHT = 190.0
_MARGINS = (30.0, 14.0, 42.0, 48.0)  # top, right, bottom, left
_DOTS = 40  # up to this many points each gets a dot


@dataclass(frozen=True)
class Line:
    """Points (x, y) joined in their order; a point that is not finite is left out and breaks the line.

    ``ends`` are the intervals (low, high) of the points, in parallel, or empty; None where a point has none.
    """

    name: str
    points: Sequence[tuple[float, float]]
    paint: str
    dashed: bool = False
    ends: Sequence[tuple[float, float] | None] = ()


def draw(
    lines: Sequence[Line],
    *,
    title: str,
    description: str,
    x_name: str,
    x_label: Callable[[float], str] = "{:g}".format,
    y_label: Callable[[float], str] = "{:g}".format,
    y_high: float | None = None,
    y_low: float = 0.0,
    height: float = _HEIGHT,
    legend: bool = True,
    mark: float | None = None,
    mark_name: str = "",
) -> Markup:
    """Return curves over a common x, y from ``y_low`` to ``y_high`` (or the highest point), with a ``legend`` on top.

    Ticks across stand at whole x. ``mark`` is an x to point out, with ``mark_name`` beside it.
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

    parts = [axis.level(y_label(y), y=down(y)) for y in axis.ticks(y_low, top, at_most=6)]
    whole = [x for x in axis.ticks(low, high, at_most=6) if x == int(x)]
    parts += [axis.below(x_label(x), x=across(x), y=height) for x in whole]
    parts.append(svg.text(x_name, x="50%", y=height + 35, anchor="middle", fill=colour.MUTED))
    if mark is not None:
        at, late = svg.percent(across(mark)), across(mark) > 0.6
        parts += [
            svg.line(at, 0, at, height, stroke=colour.INK, stroke_dasharray="2 3"),
            svg.text(mark_name, x=at, y=height - 8, anchor="end" if late else "start", dx=-6 if late else 6),
        ]
    for line in lines:
        parts += _line(line, across, down, height)
    return svg.drawing(
        *parts,
        *(_legend(lines) if legend else []),
        title=title,
        description=description,
        height=height,
        margins=_MARGINS,
    )


def _line(line: Line, across: Callable[[float], float], down: Callable[[float], float], height: float) -> list[Markup]:
    path, pen_down = "", False
    dots = []
    for x, y in line.points:
        if not math.isfinite(y):
            pen_down = False
            continue
        path += f"{'L' if pen_down else 'M'}{svg.number(1000 * across(x))} {svg.number(down(y))}"
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
    curve = svg.stretched(stroke, width=1000, height=height, y=0, height_px=height)
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
        x += 28 + svg.width_px(line.name) + 18
    return parts
