"""A small square chart of two shares, 0 to 1 each: precision over recall, or true over false alarms."""

from collections.abc import Sequence

from markupsafe import Markup

from audiocnn.draw import axis, colour, svg

HEIGHT = 140.0  # of the area; the point (x, y) is at x per cent across and HEIGHT * (1 - y) pixels down
_MARGINS = (24.0, 12.0, 38.0, 30.0)  # top, right, bottom, left

Points = Sequence[tuple[float, float]]


def draw(points: Points, *, guess: Points, title: str, description: str, x_name: str, y_name: str) -> Markup:
    """Return the ``points`` joined in their order, and dashed what guessing would give."""
    parts = [axis.level(f"{y:g}", y=HEIGHT * (1 - y)) for y in (0, 0.5, 1)]
    parts += [
        svg.text(f"{x:g}", x=svg.percent(x), y=HEIGHT + 16, anchor=anchor, fill=colour.MUTED)
        for x, anchor in ((0, "start"), (0.5, "middle"), (1, "end"))
    ]
    parts += [
        svg.text(x_name, x="50%", y=HEIGHT + 32, anchor="middle", fill=colour.MUTED),
        svg.text(y_name, x=0, y=-10, fill=colour.MUTED),
        _joined(guess, colour.MUTED, dashed=True),
        _joined(points, colour.BLUE, dashed=False),
    ]
    return svg.drawing(*parts, title=title, description=description, height=HEIGHT, margins=_MARGINS)


def _joined(points: Points, paint: str, *, dashed: bool) -> Markup:
    path = "L".join(f"{svg.number(round(1000 * x))} {svg.number(round(HEIGHT * (1 - y), 1))}" for x, y in points)
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
    return svg.stretched(stroke, width=1000, height=HEIGHT, y=0, height_px=HEIGHT)
