"""What all that is shown has in common: plain tables, cells without control codes, figures and durations."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from audiocnn.text import printable


def plain(*headings: str) -> Table:
    """A plain table; a heading that ends in ``>`` is that of a column of numbers."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        numeric = heading.endswith(">")
        title = Text(printable(heading.removesuffix(">")))
        table.add_column(title, justify="right" if numeric else "left", no_wrap=numeric, overflow="fold")
    return table


def cells(*values: str) -> Sequence[Text]:
    """Values as they are shown."""
    return [Text(printable(value)) for value in values]


def figure(value: Any) -> str:
    """A figure with three decimals, or a dash where there is none."""
    return "-" if value is None else f"{value:.3f}"


def duration(seconds: float) -> str:
    """Seconds, minutes or hours."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
