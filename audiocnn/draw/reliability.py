"""A reliability diagram: how often a model was right at every height of its score."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from audiocnn.draw import axis, colour, svg

_HEIGHT = 190.0
_MARGINS = (30.0, 14.0, 42.0, 48.0)  # top, right, bottom, left


@dataclass(frozen=True)
class Bin:
    """Scores within ``low..high``: how many there are, and the share of them that is right."""

    low: float
    high: float
    n: int
    accuracy: float


def draw(bins: Sequence[Bin], *, title: str, description: str) -> Markup:
    """Return, for every bin of the score, the share that is right; on the dashed line score and share are equal."""
    parts = [axis.level(f"{100 * y:.0f} %", y=_HEIGHT * (1 - y)) for y in (0, 0.25, 0.5, 0.75, 1)]
    parts += [axis.below(f"{x:g}", x=x, y=_HEIGHT) for x in (0, 0.2, 0.4, 0.6, 0.8, 1)]
    parts += [_bar(one) for one in bins if one.n]
    parts += [
        svg.line("0%", _HEIGHT, "100%", 0, stroke=colour.INK, stroke_dasharray="4 4"),
        svg.text("score that the model gave", x="50%", y=_HEIGHT + 35, anchor="middle", fill=colour.MUTED),
        svg.text("share that was right", x=2 - _MARGINS[3], y=-17, fill=colour.MUTED),
    ]
    return svg.drawing(
        *parts,
        title=title,
        description=description,
        height=_HEIGHT,
        margins=_MARGINS,
    )


def _bar(one: Bin) -> Markup:
    gap = 0.06 * (one.high - one.low)
    left, right = one.low + gap, one.high - gap
    y = _HEIGHT * (1 - one.accuracy)
    area = svg.element(
        "rect",
        svg.element("title", f"score {one.low:.1f} to {one.high:.1f}: {one.accuracy:.0%} of {one.n} right"),
        x=svg.percent(left),
        y=y,
        width=svg.percent(right - left),
        height=_HEIGHT - y,
        fill=colour.BLUE,
        fill_opacity=0.4,
    )
    top = svg.line(svg.percent(left), y, svg.percent(right), y, stroke=colour.BLUE, stroke_width=2.5)
    middle = svg.percent((left + right) / 2)
    return area + top + svg.text(str(one.n), x=middle, y=y - 6, anchor="middle", font_size=11)
