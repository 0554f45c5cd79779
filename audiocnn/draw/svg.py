"""SVG as text, with everything that comes from outside escaped in one place.

Drawings but those of a fixed size are measured in per cent of the room that they get across, in pixels down. So they
fit a phone and a desk without their letters shrinking or growing.
"""

import unicodedata

from markupsafe import Markup, escape

from audiocnn.draw import colour
from audiocnn.text import printable

FONT_PX = 12
_MEAN_WIDTH = 0.56  # of a letter over the size of its font, in the usual sans-serif faces


def element(name: str, *children: str, **attributes: str | float | None) -> Markup:
    """Return an element; plain strings become escaped text, ``Markup`` stays as it is.

    ``stroke_width`` is written ``stroke-width`` and an attribute of None is left out.

    >>> print(element("text", "a < b", x=1.5, text_anchor="end"))
    <text x="1.5" text-anchor="end">a &lt; b</text>
    """
    written = "".join(
        f' {key.replace("_", "-")}="{_escaped(number(value) if isinstance(value, (int, float)) else value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{written}>{''.join(map(_escaped, children))}</{name}>")  # noqa: S704 - all parts escaped


def drawing(
    *children: str,
    title: str,
    description: str,
    height: float,
    width: float | None = None,
    margins: tuple[float, float, float, float] = (0, 0, 0, 0),
) -> Markup:
    """Return a whole drawing, as wide as the room it gets unless ``width`` (pixels) says otherwise.

    ``margins`` (top, right, bottom, left) are pixels around the area that ``width`` and ``height`` measure; what is
    drawn there has negative coordinates or ones beyond the area. ``title`` and ``description`` are what a screen
    reader says instead of the picture.
    """
    top, _, bottom, _ = margins
    return element(
        "svg",
        element("title", title),
        element("desc", description),
        *children,
        xmlns="http://www.w3.org/2000/svg",
        role="img",
        width="100%" if width is None else width,
        height=top + height + bottom,
        viewBox=None if width is None else f"0 0 {number(width)} {number(height)}",  # so that it can be made to fit
        style=f"box-sizing: border-box; overflow: visible; padding: {' '.join(f'{number(m)}px' for m in margins)}",
        font_family="system-ui, sans-serif",
        font_size=FONT_PX,
        fill=colour.INK,
    )


def stretched(*children: str, width: float, height: float, y: float, height_px: float) -> Markup:
    """Return children in units of their own (``width`` by ``height``), stretched over the area and cut at its edges."""
    return element(
        "svg",
        *children,
        x=0,
        y=y,
        width="100%",
        height=height_px,
        viewBox=f"0 0 {number(width)} {number(height)}",
        preserveAspectRatio="none",
    )


def text(content: str, *, x: str | float, y: float, anchor: str = "start", **attributes: str | float | None) -> Markup:
    """Return a line of text with its baseline at ``y``."""
    return element("text", content, x=x, y=y, text_anchor=anchor, **attributes)


def line(x1: str | float, y1: float, x2: str | float, y2: float, **attributes: str | float | None) -> Markup:
    """Return a straight line, thin and faint unless told otherwise."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, **({"stroke": colour.RULE} | attributes))


def percent(fraction: float) -> str:
    """Return a position across.

    >>> percent(0.25)
    '25%'
    """
    return f"{number(100 * fraction)}%"


def number(value: float) -> str:
    """Return a number with up to four decimals.

    >>> number(2.50), number(3), number(-0.00001)
    ('2.5', '3', '0')
    """
    written = f"{value:.4f}".rstrip("0").rstrip(".")
    return "0" if written == "-0" else written


def width_px(content: str, font_px: float = FONT_PX) -> float:
    """Estimate the width of a text; letters of East Asian scripts are as wide as the font is high."""
    ems = sum(1.0 if unicodedata.east_asian_width(c) in "WF" else _MEAN_WIDTH for c in content)
    return ems * font_px


def shortened(content: str, limit_px: float, font_px: float = FONT_PX) -> str:
    """Return a text that fits, ending in ``…`` if something had to go.

    >>> shortened("Flute", 100), shortened("Contrabassoon", 50)
    ('Flute', 'Contra…')
    """
    content = printable(content)
    if width_px(content, font_px) <= limit_px:
        return content
    while content and width_px(content + "…", font_px) > limit_px:
        content = content[:-1]
    return content + "…"


def _escaped(value: str) -> str:
    return value if isinstance(value, Markup) else str(escape(printable(value)))
