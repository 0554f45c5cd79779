"""The interface by which long work reports its progress. These classes show nothing; `audiocnn.terminal.live` draws."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

Advance = Callable[..., None]  # advance(amount=1, note="")


class LiveTable:
    """A table whose rows change while work is running."""

    def show(self, row: int, cells: Sequence[str]) -> None:
        """Replace the cells of a row."""

    def note(self, line: str) -> None:
        """Show what is being worked on."""

    def done(self, line: str, *, kept: bool = False) -> None:
        """Count one finished unit of work and describe it; ``kept`` if its result existed already."""


class LevelMeter:
    """The level and the predicted label of live audio."""

    def show_level(self, level_db: float, elapsed_s: float) -> None:
        """Show the level in dBFS and the seconds since the start."""

    def show_prediction(self, label: str, score: float | None) -> None:
        """Show the predicted label and its score."""


class Progress:
    """Progress of a command; this base class shows nothing."""

    @contextmanager
    def task(self, title: str, *, total: int, unit: str) -> Iterator[Advance]:
        """Start a task of ``total`` units of work; yield a function to call as ``advance(amount, note=...)``."""
        yield lambda amount=1, note="": None

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Name what the block does; it may take seconds and has no units to count."""
        yield

    def table(self, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table; a heading that ends in ``>`` marks a column of numbers, aligned to the right."""

    @contextmanager
    def board(self, title: str, headings: Sequence[str], *, n_rows: int, total: int) -> Iterator[LiveTable]:
        """Show a table of ``n_rows`` empty rows while the block runs, which does ``total`` units of work."""
        yield LiveTable()

    @contextmanager
    def meter(self, title: str) -> Iterator[LevelMeter]:
        """Show a level meter while the block runs."""
        yield LevelMeter()

    def info(self, line: str) -> None:
        """Print a line of information."""

    def warn(self, line: str) -> None:
        """Print a warning that the user may want to act on."""
