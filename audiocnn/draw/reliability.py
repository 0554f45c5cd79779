"""A reliability diagram: how often a model was right at every height of its score."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from audiocnn.draw import axis, colour, svg

_HEIGHT = 230.0
_MARGINS = (30.0, 14.0, 42.0, 48.0)  # top, right, bottom, left
_NARROW_PX = 270  # width of the area on a phone
_DIGITS_APART_PX = 22  # numbers closer together would run into each other
_Z = 1.96  # normal quantile of a 95 % interval


@dataclass(frozen=True)
class Bin:
    """``n`` scores within ``low..high``, ``score`` in the mean, and the share ``accuracy`` of them that is right."""

    low: float
    high: float
    n: int
    score: float
    accuracy: float


def draw(bins: Sequence[Bin], *, title: str, description: str) -> Markup:
    """Return a point for every bin, with its 95 % interval; on the dashed line score and share are equal."""
    parts = [axis.level(f"{100 * y:.0f} %", y=_HEIGHT * (1 - y)) for y in (0, 0.25, 0.5, 0.75, 1)]
    parts += [axis.below(f"{x:g}", x=x, y=_HEIGHT) for x in (0, 0.2, 0.4, 0.6, 0.8, 1)]
    parts.append(svg.line("0%", _HEIGHT, "100%", 0, stroke=colour.INK, stroke_dasharray="4 4"))
    last = -math.inf
    for one in bins:
        if one.n:
            numbered = _NARROW_PX * (one.score - last) >= _DIGITS_APART_PX
            last = one.score if numbered else last
            parts.append(_point(one, numbered))
    parts += [
        svg.text("score that the model gave", x="50%", y=_HEIGHT + 35, anchor="middle", fill=colour.MUTED),
        svg.text("share that was right", x=2 - _MARGINS[3], y=-17, fill=colour.MUTED),
    ]
    return svg.drawing(*parts, title=title, description=description, height=_HEIGHT, margins=_MARGINS)


def interval(share: float, n: int) -> tuple[float, float]:
    """Return the 95 % interval of a share of ``n`` (Wilson, JASA 22, 1927), which is one even of 0 and 1.

    >>> [round(end, 2) for end in interval(1.0, 10)]
    [0.72, 1.0]
    """
    middle, room = share + _Z**2 / (2 * n), _Z * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
    whole = 1 + _Z**2 / n
    return max((middle - room) / whole, 0.0), min((middle + room) / whole, 1.0)


def _point(one: Bin, numbered: bool) -> Markup:
    low, high = interval(one.accuracy, one.n)
    x, y = svg.percent(one.score), _HEIGHT * (1 - one.accuracy)
    parts = [
        svg.element("title", f"score {one.low:.2f} to {one.high:.2f}: {one.accuracy:.0%} of {one.n} right"),
        svg.line(
            x, _HEIGHT * (1 - low), x, _HEIGHT * (1 - high), stroke=colour.BLUE, stroke_width=2, stroke_opacity=0.5
        ),
        svg.element("circle", cx=x, cy=y, r=5, fill=colour.BLUE),
    ]
    if numbered:
        parts.append(svg.text(str(one.n), x=x, y=y + 4, dx=-8, anchor="end", font_size=11, fill=colour.MUTED))
    return svg.element("g", *parts)
