"""Horizontal bars of a few named shares, one below the other."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from audiocnn.draw import colour, svg

_NAME_PX, _BAR_PX, _GAP_PX = 18.0, 22.0, 14.0
_NAME_ROOM_PX = 300.0  # on a phone


@dataclass(frozen=True)
class Bar:
    """``value`` within 0..1, and how it is ``written``."""

    name: str
    value: float
    written: str
    paint: str


def draw(bars: Sequence[Bar], *, title: str, description: str) -> Markup:
    """Return the bars, each below its name and figure, over the whole width, which is 1."""
    step = _NAME_PX + _BAR_PX + _GAP_PX
    parts = []
    for i, bar in enumerate(bars):
        top = i * step + _NAME_PX
        room = _NAME_ROOM_PX - svg.width_px(bar.written) - 12
        parts += [
            svg.text(svg.shortened(bar.name, room), x=0, y=top - 5),
            svg.text(bar.written, x="100%", y=top - 5, anchor="end", font_weight=600),
            svg.element("rect", x=0, y=top, width="100%", height=_BAR_PX, rx=3, fill=colour.RULE, fill_opacity=0.5),
            svg.element(
                "rect", x=0, y=top, width=svg.percent(min(max(bar.value, 0), 1)), height=_BAR_PX, rx=3, fill=bar.paint
            ),
        ]
    return svg.drawing(*parts, title=title, description=description, height=max(len(bars) * step - _GAP_PX, 0))
