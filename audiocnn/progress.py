"""How long work tells how far it is; this one says nothing, the command line passes one that draws."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

Advance = Callable[..., None]  # advance(amount=1, note="")


class Progress:
    """Silent progress, and the interface of the visible one."""

    @contextmanager
    def task(self, title: str, *, total: int, unit: str) -> Iterator[Advance]:
        """Announce ``total`` units of work; yield a function to call as ``advance(amount, note=...)``."""
        yield lambda amount=1, note="": None

    def table(self, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Show what is being worked on; a heading that ends in ``>`` is that of a column of numbers."""

    def say(self, line: str) -> None:
        """Tell something worth knowing."""

    def warn(self, line: str) -> None:
        """Tell something that the user may want to act on."""
