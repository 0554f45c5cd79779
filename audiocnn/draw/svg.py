"""SVG as text; all text from outside is escaped here.

Horizontal positions are percentages of the available width, vertical ones are pixels. So a drawing fits a phone and a
desktop with letters of the same size. Only drawings of a fixed width use pixels in both directions.
"""

import math
import unicodedata

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

from audiocnn.text import printable

# Paints are CSS variables of the page with a fallback for a drawing alone on white paper. Blue and orange differ under
# every common form of colour blindness (Wong, "Color blindness", Nature Methods 8, 2011).
INK = "currentColor"
PAPER = "var(--paper, #fff)"
MUTED = "var(--muted, #5d5a55)"
RULE = "var(--rule, #dedad3)"
BLUE = "var(--blue, #1f6aa8)"  # true label, correct
ORANGE = "var(--orange, #b5530c)"  # predicted label, wrong

# Paints of lines that are compared. Neighbours differ in lightness and hue. From the ninth line on the paints repeat,
# dashed. The page has lighter ones for dark mode.
SERIES = tuple(
    f"var(--series-{i}, {paint})"
    for i, paint in enumerate(
        ("#1f6aa8", "#b5530c", "#00755a", "#a8327a", "#6353c8", "#7d6200", "#007792", "#b03030"), start=1
    )
)

# Matt Zucker's polynomial of degree 6 (https://www.shadertoy.com/view/WlfXRN, CC0) for matplotlib's magma by Nathaniel
# Smith and Stefan van der Walt: even steps of perceived lightness from black to near white, safe for the colour-blind.
# It is within 0.02 of the original table. Rows are powers of the position 0..1, columns red, green and blue.
_MAGMA = np.array(
    [
        [-0.002136485053939582, -0.000749655052795221, -0.005386127855323933],
        [0.2516605407371642, 0.6775232436837668, 2.494026599312351],
        [8.353717279216625, -3.577719514958484, 0.3144679030132573],
        [-27.66873308576866, 14.26473078096533, -13.64921318813922],
        [52.17613981234068, -27.94360607168351, 12.94416944238394],
        [-50.76852536473588, 29.04658282127291, 4.23415299384598],
        [18.65570506591883, -11.48977351997711, -5.601961508734096],
    ]
)


def colour_table(n: int) -> NDArray[np.uint8]:
    """Return ``n`` colours as sRGB (n, 3), from the lowest value (black) to the highest.

    >>> colour_table(3).tolist()
    [[0, 0, 0], [183, 53, 119], [254, 249, 186]]
    """
    powers = np.linspace(0, 1, n)[:, None] ** np.arange(len(_MAGMA))
    return np.asarray(np.round(255 * np.clip(powers @ _MAGMA, 0, 1)), np.uint8)


# Colours of a heat map over a picture in `greys`: both are lighter than the greys and differ under every common form of
# colour blindness.
FOR, AGAINST = (255, 166, 64), (92, 184, 255)


def greys(n: int) -> NDArray[np.uint8]:
    """Return ``n`` greys as sRGB (n, 3), from black to a grey that is dark enough below colours.

    >>> greys(3).tolist()
    [[0, 0, 0], [80, 80, 80], [160, 160, 160]]
    """
    return np.repeat(np.linspace(0, 160, n).round().astype(np.uint8)[:, None], 3, axis=1)


def heat(shares: NDArray[np.floating], *, opaque: float = 1.0) -> NDArray[np.uint8]:
    """Return RGBA colours (..., 4) of shares (...) from -1 to 1: transparent at 0, with alpha ``opaque`` at both ends.

    >>> heat(np.array([-1.0, 0.0, 0.5])).tolist()
    [[92, 184, 255, 255], [255, 166, 64, 0], [255, 166, 64, 128]]
    """
    shares = np.clip(np.asarray(shares, np.float64), -1, 1)
    paint = np.where(shares[..., None] < 0, np.array(AGAINST), np.array(FOR))
    alpha = np.round(255 * opaque * np.abs(shares))[..., None]
    return np.concatenate([paint, alpha], axis=-1).astype(np.uint8)


FONT_PX = 12
_MEAN_WIDTH = 0.56  # of a letter relative to the font size, in common sans-serif fonts


def element(name: str, *children: str, **attributes: str | float | None) -> Markup:
    """Return an element; plain strings are escaped, ``Markup`` is not.

    ``stroke_width`` is written ``stroke-width`` and an attribute of None is left out.

    >>> print(element("text", "a < b", x=1.5, text_anchor="end"))
    <text x="1.5" text-anchor="end">a &lt; b</text>
    """
    written = "".join(
        f' {key.replace("_", "-")}="{_escaped(format_number(value) if isinstance(value, (int, float)) else value)}"'
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
    """Return a complete drawing, as wide as the available space or ``width`` pixels.

    ``margins`` (top, right, bottom, left) are pixels around the area of ``width`` by ``height``; coordinates in the
    margins are negative or beyond the area. Screen readers read ``title`` and ``description``.
    """
    top, _, bottom, _ = margins
    padding = " ".join(f"{format_number(margin)}px" for margin in margins)
    return element(
        "svg",
        element("title", title),
        element("desc", description),
        *children,
        xmlns="http://www.w3.org/2000/svg",
        role="img",
        width="100%" if width is None else width,
        height=top + height + bottom,
        viewBox=None if width is None else f"0 0 {format_number(width)} {format_number(height)}",  # lets CSS scale it
        style=f"box-sizing: border-box; overflow: visible; padding: {padding}",
        font_family="system-ui, sans-serif",
        font_size=FONT_PX,
        fill=INK,
    )


def stretch(*children: str, width: float, height: float, y: float, height_px: float) -> Markup:
    """Return children in units of ``width`` by ``height``, stretched over the area and clipped at its edges."""
    return element(
        "svg",
        *children,
        x=0,
        y=y,
        width="100%",
        height=height_px,
        viewBox=f"0 0 {format_number(width)} {format_number(height)}",
        preserveAspectRatio="none",
    )


def text(content: str, *, x: str | float, y: float, anchor: str = "start", **attributes: str | float | None) -> Markup:
    """Return a line of text with its baseline at ``y``."""
    return element("text", content, x=x, y=y, text_anchor=anchor, **attributes)


def line(x1: str | float, y1: float, x2: str | float, y2: float, **attributes: str | float | None) -> Markup:
    """Return a straight line, thin and faint by default."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, **({"stroke": RULE} | attributes))


def percent(fraction: float) -> str:
    """Return a horizontal position as a percentage.

    >>> percent(0.25)
    '25%'
    """
    return f"{format_number(100 * fraction)}%"


def format_number(value: float) -> str:
    """Return a number with up to four decimals.

    >>> format_number(2.50), format_number(3), format_number(-0.00001)
    ('2.5', '3', '0')
    """
    written = f"{value:.4f}".rstrip("0").rstrip(".")
    return "0" if written == "-0" else written


def text_width_px(content: str, font_px: float = FONT_PX) -> float:
    """Estimate the width of a text in pixels; letters of East Asian scripts are as wide as the font is high."""
    ems = sum(1.0 if unicodedata.east_asian_width(c) in "WF" else _MEAN_WIDTH for c in content)
    return ems * font_px


def shorten(content: str, limit_px: float, font_px: float = FONT_PX) -> str:
    """Return the text, cut and ended by ``…`` if it is wider than ``limit_px``.

    >>> shorten("Flute", 100), shorten("Contrabassoon", 50)
    ('Flute', 'Contra…')
    """
    content = printable(content)
    if text_width_px(content, font_px) <= limit_px:
        return content
    while content and text_width_px(content + "…", font_px) > limit_px:
        content = content[:-1]
    return content + "…"


def _escaped(value: str) -> str:
    return value if isinstance(value, Markup) else str(escape(printable(value)))


def ticks(low: float, high: float, *, at_most: int) -> list[float]:
    """Return round numbers within ``low..high``, a step of 1, 2 or 5 times a power of ten apart.

    >>> ticks(0, 30, at_most=7), ticks(0, 0.35, at_most=5)
    ([0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0], [0.0, 0.1, 0.2, 0.3])
    """
    span = high - low
    if not (math.isfinite(span) and span > 0):
        return [low]
    power = math.floor(math.log10(span / at_most))
    step = next(
        step
        for exponent in (power, power + 1)
        for step in (1.0 * 10.0**exponent, 2.0 * 10.0**exponent, 5.0 * 10.0**exponent)
        if math.floor(high / step + 1e-9) - math.ceil(low / step - 1e-9) + 1 <= at_most
    )
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{k * step:.12g}") for k in range(first, last + 1)]


def log_ticks(low: float, high: float, *, at_most: int) -> list[float]:
    """Return round numbers within ``low..high`` for a logarithmic axis; both are above 0.

    >>> log_ticks(3_000, 2e7, at_most=5), log_ticks(1.5, 6, at_most=5)
    ([10000.0, 100000.0, 1000000.0, 10000000.0], [2.0, 5.0])
    """
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    found: list[float] = []
    for step, factors in ((1, (1, 2, 5)), (1, (1, 3)), (1, (1,)), (2, (1,)), (3, (1,))):
        every = [float(f"{factor}e{power}") for power in range(first, last + 1, step) for factor in factors]
        found = [x for x in every if low <= x <= high]
        if len(found) <= at_most:
            break
    return found if len(found) > 1 else ticks(low, high, at_most=at_most)


def time_axis(duration_s: float, *, y: float, begin_s: float = 0.0) -> Markup:
    """Return the ticks and labels of a time axis at height ``y`` over the whole width.

    The axis runs from ``begin_s`` over ``duration_s``, in seconds, above ten minutes in minutes, above three hours in
    hours.
    """
    unit_s, unit = (3_600, "h") if duration_s > 10_800 else (60, "min") if duration_s > 600 else (1, "s")
    parts = []
    for tick in ticks(begin_s / unit_s, (begin_s + duration_s) / unit_s, at_most=7):
        x = (tick * unit_s - begin_s) / duration_s
        anchor = "start" if x < 0.01 else "end" if x > 0.97 else "middle"
        parts += [
            line(percent(x), y, percent(x), y + 4, stroke=MUTED),
            text(f"{tick:g} {unit}", x=percent(x), y=y + 16, anchor=anchor, fill=MUTED),
        ]
    return Markup("").join(parts)


def gridline(label: str, *, y: float) -> Markup:
    """Return a faint horizontal line at height ``y``, with its label to the left."""
    return line("0%", y, "100%", y) + text(label, x=-8, y=y + 4, anchor="end", fill=MUTED)


def label_below(label: str, *, x: float, y: float) -> Markup:
    """Return a label below the area, which ends at height ``y``, at the fraction ``x`` of its width."""
    return text(label, x=percent(x), y=y + 17, anchor="middle", fill=MUTED)
