"""How long work tells how far it is; this one says nothing, the command line passes one that draws."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

Advance = Callable[..., None]  # advance(amount=1, note="")


class LiveTable:
    """A table whose rows change while work goes on; this one is not shown."""

    def show(self, row: int, cells: Sequence[str]) -> None:
        """Replace the cells of a row."""

    def note(self, line: str) -> None:
        """Tell what is being worked on."""

    def done(self, line: str, *, kept: bool = False) -> None:
        """Count one finished unit of work, with a line about it; ``kept`` if it was there already."""


class LevelMeter:
    """What is heard at this moment; this one is not shown."""

    def show_level(self, level_db: float, heard_s: float) -> None:
        """Show how loud it is, in dBFS, after so many seconds."""

    def show_prediction(self, label: str, score: float | None) -> None:
        """Show what it is taken for, with what score."""


class Progress:
    """Silent progress, and the interface of the visible one."""

    @contextmanager
    def task(self, title: str, *, total: int, unit: str) -> Iterator[Advance]:
        """Announce ``total`` units of work; yield a function to call as ``advance(amount, note=...)``."""
        yield lambda amount=1, note="": None

    def table(self, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Show what is being worked on; a heading that ends in ``>`` is that of a column of numbers."""

    @contextmanager
    def board(self, title: str, headings: Sequence[str], *, n_rows: int, total: int) -> Iterator[LiveTable]:
        """Show a table of ``n_rows`` empty rows while ``total`` units of work are done; it goes when they are."""
        yield LiveTable()

    @contextmanager
    def meter(self, title: str) -> Iterator[LevelMeter]:
        """Show what is heard for as long as there is something to hear."""
        yield LevelMeter()

    def info(self, line: str) -> None:
        """Tell something worth knowing."""

    def warn(self, line: str) -> None:
        """Tell something that the user may want to act on."""
