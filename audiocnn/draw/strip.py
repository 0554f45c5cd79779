"""A strip: one value a window, as bars along the time axis of the picture above."""

from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from audiocnn.draw import colour, svg

CAPTION_PX, BARS_PX, GAP_PX = 17, 26, 6
HEIGHT_PX = CAPTION_PX + BARS_PX + GAP_PX


@dataclass(frozen=True)
class Strip:
    """``values`` (n,) within 0..1 of windows that run from ``starts_s`` to ``ends_s``, (n,) each."""

    caption: str
    paint: str
    starts_s: NDArray[np.float64]
    ends_s: NDArray[np.float64]
    values: NDArray[np.float64]


def edges(starts_s: NDArray[np.float64], ends_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the times (n + 1,) between which each window is drawn; overlapping windows share what they overlap.

    >>> edges(np.array([0.0, 0.5, 1.0]), np.array([1.0, 1.5, 2.0])).tolist()
    [0.0, 0.75, 1.25, 2.0]
    """
    middles = (starts_s + ends_s) / 2
    return np.concatenate([starts_s[:1], (middles[1:] + middles[:-1]) / 2, ends_s[-1:]])


def draw(strip: Strip, *, duration_s: float, y: float) -> Markup:
    """Return the caption and bars, `HEIGHT_PX` high, of the windows that begin before ``duration_s``."""
    shown = strip.starts_s < duration_s
    path = ""
    if shown.any():
        at = edges(strip.starts_s[shown], strip.ends_s[shown])
        tops = 1 - np.clip(strip.values[shown], 0, 1)
        steps = "".join(f"V{svg.number(top)}H{svg.number(end)}" for top, end in zip(tops, at[1:], strict=True))
        path = f"M{svg.number(at[0])} 1{steps}V1Z"
    top = y + CAPTION_PX
    return Markup("").join(
        [
            svg.text(strip.caption, x=0, y=y + 12),
            svg.element("rect", x=0, y=top, width="100%", height=BARS_PX, fill=colour.RULE, fill_opacity=0.5),
            svg.stretched(
                svg.element("path", d=path, fill=strip.paint), width=duration_s, height=1, y=top, height_px=BARS_PX
            ),
            svg.text("1", x=-6, y=top + 9, anchor="end", fill=colour.MUTED, font_size=10),
            svg.text("0", x=-6, y=top + BARS_PX, anchor="end", fill=colour.MUTED, font_size=10),
        ]
    )
