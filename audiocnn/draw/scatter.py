"""Points with intervals over an axis of logarithms: what is gained for what it costs."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

from markupsafe import Markup

from audiocnn.draw import axis, colour, svg

_HEIGHT = 230.0
_MARGINS = (14.0, 18.0, 42.0, 48.0)  # top, right, bottom, left
_NARROW_PX = 270  # width of the area on a phone
_RADIUS_PX = 8
_APART_PX = 18  # at the least, from point to point of about one height
_STEM_PX = 7  # of points of different heights: their intervals stay apart


@dataclass(frozen=True)
class Point:
    """``y`` with its interval ``low..high`` (None if there is none) at the cost ``x`` above 0.

    ``mark`` is a letter or number to find the point by, ``about`` what is said of it where it is pointed at.
    """

    x: float
    y: float
    low: float | None
    high: float | None
    mark: str
    about: str
    paint: str


def draw(
    points: Sequence[Point],
    *,
    title: str,
    description: str,
    x_name: str,
    x_label: Callable[[float], str] = "{:g}".format,
    y_label: Callable[[float], str] = "{:g}".format,
    y_limits: tuple[float, float] = (-math.inf, math.inf),
) -> Markup:
    """Return the points; y runs over all intervals and a little beyond, but not over ``y_limits``.

    Points at nearly the same x stand side by side, in their order; the first point lies above all others.
    """
    ends = [y for point in points for y in (point.y, point.low, point.high) if y is not None] or [0.0, 1.0]
    room = max(max(ends) - min(ends), 1e-3) * 0.08
    low, high = max(min(ends) - room, y_limits[0]), min(max(ends) + room, y_limits[1])

    def down(y: float) -> float:
        return _HEIGHT * (1 - (y - low) / (high - low))

    logs = [math.log(point.x) for point in points] or [0.0]
    shifts = _shifts(logs, [down(point.y) for point in points] or [0.0])
    # Room at both sides for points that are moved.
    margin = min((max(map(abs, shifts)) + 2 * _RADIUS_PX) / _NARROW_PX, 0.45)
    room_x = (max(logs) - min(logs)) * margin / (1 - 2 * margin) or math.log(2)
    left, right = math.exp(min(logs) - room_x), math.exp(max(logs) + room_x)

    def across(x: float) -> float:
        return math.log(x / left) / math.log(right / left)

    parts = [axis.level(y_label(y), y=down(y)) for y in axis.ticks(low, high, at_most=6)]
    for x in axis.powers(left, right, at_most=5):
        at = svg.percent(across(x))
        parts += [svg.line(at, 0, at, _HEIGHT), axis.below(x_label(x), x=across(x), y=_HEIGHT)]
    parts.append(svg.text(x_name, x="50%", y=_HEIGHT + 35, anchor="middle", fill=colour.MUTED))
    drawn = [_point(point, across(point.x), dx, down) for point, dx in zip(points, shifts, strict=False)]
    return svg.drawing(*parts, *reversed(drawn), title=title, description=description, height=_HEIGHT, margins=_MARGINS)


def _shifts(logs: Sequence[float], heights: Sequence[float]) -> list[float]:
    """Pixels by which points at these places are moved, as little as possible, so that none hides its neighbour.

    >>> _shifts([0.0, 5.0, 0.0, 0.0], [50, 50, 50, 90])
    [-14.3333, 0.0, 3.6667, 10.6667]
    """
    per_px = (max(logs) - min(logs)) / (_NARROW_PX - 4 * _RADIUS_PX) or 1.0
    order = sorted(range(len(logs)), key=lambda i: logs[i])
    # Least squares under 'so far apart at the least': with the wanted distances taken off, a rising sequence, whose
    # stretches that would fall are replaced by their mean (pool adjacent violators).
    taken, off = [0.0], 0.0
    for before, after in pairwise(order):
        off += _APART_PX if abs(heights[before] - heights[after]) < _APART_PX else _STEM_PX
        taken.append(off)
    blocks: list[list[float]] = []
    for i, less in zip(order, taken, strict=True):
        blocks.append([logs[i] / per_px - less])
        while len(blocks) > 1 and fmean(blocks[-2]) > fmean(blocks[-1]):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    places = [fmean(block) for block in blocks for _ in block]
    shifts = [0.0] * len(logs)
    for i, place, less in zip(order, places, taken, strict=True):
        shifts[i] = round(place + less - logs[i] / per_px, 4)
    return shifts


def _point(point: Point, position: float, dx: float, down: Callable[[float], float]) -> Markup:
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
        svg.text(point.mark, x=dx, y=y + 4, anchor="middle", fill=colour.PAPER, font_size=11, font_weight="600"),
    ]
    return svg.element("svg", *parts, x=svg.percent(position), y=0, overflow="visible")
