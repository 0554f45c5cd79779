"""A matrix of counts: rows are the truth, columns what the model said, shaded by the share of the row."""

import math
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from audiocnn.draw import colour, svg

_CELL_PX = ((4, 56), (12, 40), (20, 32), (math.inf, 26))  # up to so many columns: pixels of a cell
_LABEL_PX = 140  # longer labels are cut
_SLANT = 0.7071  # sine and cosine of 45 degrees


def draw(
    counts: NDArray[np.int64], *, rows: Sequence[str], columns: Sequence[str], title: str, description: str
) -> Markup:
    """Return ``counts`` (n_rows, n_columns) as a drawing; equal labels of row and column are right, others wrong."""
    cell = next(px for most, px in _CELL_PX if len(columns) <= most)
    row_names = [svg.shortened(name, _LABEL_PX) for name in rows]
    column_names = [svg.shortened(name, _LABEL_PX) for name in columns]
    left = max(map(svg.width_px, row_names), default=0) + 34
    slanted = max(map(svg.width_px, column_names), default=0) * _SLANT
    top = slanted + 44
    parts = [
        svg.text("predicted", x=left, y=14, fill=colour.MUTED),
        svg.text("truth", x=0, y=0, fill=colour.MUTED, transform=f"translate(12 {svg.number(top + 32)}) rotate(-90)"),
    ]
    for j, name in enumerate(columns):
        at = f"translate({svg.number(left + (j + 0.5) * cell + 4)} {svg.number(top - 8)}) rotate(-45)"
        parts.append(_named(name, column_names[j], transform=at))
    for i, name in enumerate(rows):
        y = top + i * cell
        parts.append(_named(name, row_names[i], x=left - 8, y=y + cell / 2 + 4, text_anchor="end"))
        total = int(counts[i].sum())
        parts += [
            _cell(int(counts[i, j]), total, name, columns[j], x=left + j * cell, y=y, size=cell)
            for j in range(len(columns))
        ]
    return svg.drawing(
        *parts,
        title=title,
        description=description,
        width=np.ceil(left + len(columns) * cell + slanted),
        height=np.ceil(top + len(rows) * cell + 4),
    )


def _named(name: str, shown: str, **attributes: str | float | None) -> Markup:
    return svg.element("text", svg.element("title", name), shown, **attributes)


def _cell(count: int, total: int, truth: str, said: str, *, x: float, y: float, size: float) -> Markup:
    share = count / total if total else 0.0
    right = truth == said
    digits = str(count) if count else "·"
    return svg.element(
        "g",
        svg.element("title", f"{truth}, predicted {said}: {count} of {total}"),
        svg.element(
            "rect",
            x=x + 1,
            y=y + 1,
            width=size - 2,
            height=size - 2,
            rx=3,
            fill=(colour.BLUE if right else colour.ORANGE) if count else colour.RULE,
            # Never so dark that the digits, which have the colour of the page's text, are hard to read
            fill_opacity=0.12 + 0.4 * share if count else 0.3,
        ),
        svg.text(
            digits,
            x=x + size / 2,
            y=y + size / 2 + 4.5,
            anchor="middle",
            font_size=min(14.0 if size > 30 else 12.0, 1.5 * size / len(digits)),
            font_weight=600 if right and count else None,
            fill=colour.INK if count else colour.MUTED,
        ),
    )
