"""Where the command line says what it does: progress and warnings on stderr, tables and lines on stdout."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Task as RichTask
from rich.table import Table
from rich.text import Text

from audiocnn import progress
from audiocnn.terminal import tables
from audiocnn.text import printable

PLAIN_WIDTH = 160  # columns of a table that goes to a file or a pipe
_PLAIN_EVERY_S = 10.0  # between lines of progress where there is no terminal


class _Rate(ProgressColumn):
    def render(self, task: RichTask) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f}/s" if speed and speed >= 10 else f"{speed:.1f}/s" if speed else "")


class _Pace:
    """How many units of work are done, and how long the rest will take by those that were not there already."""

    def __init__(self, total: int) -> None:
        self._total, self._n, self._n_kept, self._started = total, 0, 0, time.monotonic()

    def count(self, kept: bool) -> None:
        self._n, self._n_kept = self._n + 1, self._n_kept + kept

    def __str__(self) -> str:
        worked = self._n - self._n_kept
        each = (time.monotonic() - self._started) / worked if worked else 0.0
        left = f", {tables.duration(each * (self._total - self._n))} left" if worked and self._n < self._total else ""
        return f"{self._n:,}/{self._total:,} done{left}"


class _LiveBoard(progress.Board):
    """A board that is drawn again whenever it changes."""

    def __init__(self, live: Live, title: str, headings: Sequence[str], n_rows: int, total: int) -> None:
        self._live, self._title, self._headings, self._pace = live, title, headings, _Pace(total)
        self._rows: list[Sequence[str]] = [[""] * len(headings)] * n_rows
        self._note = ""

    def show(self, row: int, cells: Sequence[str]) -> None:
        self._rows[row] = cells
        self._draw()

    def note(self, line: str) -> None:
        self._note = line
        self._draw()

    def done(self, line: str, *, kept: bool = False) -> None:
        self._pace.count(kept)
        self._draw()

    def _draw(self) -> None:
        table = tables.plain(*self._headings)
        for row in self._rows:
            table.add_row(*tables.cells(*row))
        status = Text(printable(f"{self._title}: {self._pace} · {self._note}"), no_wrap=True, overflow="ellipsis")
        self._live.update(Group(status, table))  # of a long table the end is cut


class _LineBoard(progress.Board):
    """A board of which nothing is seen but a line a finished unit."""

    def __init__(self, say: Callable[[str], None], title: str, total: int) -> None:
        self._say, self._title, self._pace = say, title, _Pace(total)

    def done(self, line: str, *, kept: bool = False) -> None:
        self._pace.count(kept)
        self._say(f"{self._title}: {self._pace} · {line}" + (" (kept)" if kept else ""))


class Speaker(progress.Progress):
    """Two consoles, and progress that is seen; results are shown by those who derive from it."""

    def __init__(self, *, quiet: bool, verbose: bool) -> None:
        self._quiet, self._verbose = quiet, verbose
        self._err = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
        self._out = Console(highlight=False, markup=False, soft_wrap=False)
        if not self._out.is_terminal:
            self._out = Console(highlight=False, markup=False, width=PLAIN_WIDTH)

    @contextmanager
    def task(self, title: str, *, total: int, unit: str) -> Iterator[progress.Advance]:
        if self._quiet:
            yield lambda amount=1, note="": None
        elif self._err.is_terminal:
            with self._bar(title, total, unit) as advance:
                yield advance
        else:
            with self._lines(title, total, unit) as advance:
                yield advance

    @contextmanager
    def _bar(self, title: str, total: int, unit: str) -> Iterator[progress.Advance]:
        columns: list[ProgressColumn] = [
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn(f"{{task.completed:,.0f}}/{{task.total:,.0f}} {unit}", markup=False),
            _Rate(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[note]}", markup=False),
        ]
        with Progress(*columns, console=self._err, refresh_per_second=8) as bar:
            number = bar.add_task(title, total=total, note="")

            def advance(amount: float = 1, note: str = "") -> None:
                bar.advance(number, amount)
                if note:
                    bar.update(number, note=printable(note))

            yield advance

    @contextmanager
    def _lines(self, title: str, total: int, unit: str) -> Iterator[progress.Advance]:
        started = said = time.monotonic()
        done, last_note = 0.0, ""

        def line() -> str:
            elapsed = max(time.monotonic() - started, 1e-9)
            left = f", {elapsed * (total - done) / done:.0f} s left" if 0 < done < total else ""
            note = f" · {last_note}" if last_note else ""
            return f"{title}: {done:,.0f}/{total:,} {unit}, {elapsed:.1f} s{left}{note}"

        def advance(amount: float = 1, note: str = "") -> None:
            nonlocal done, said, last_note
            done, last_note = done + amount, note or last_note
            if time.monotonic() - said >= _PLAIN_EVERY_S:
                said = time.monotonic()
                self._err.print(printable(line()))

        yield advance
        self._err.print(printable(line()))

    @contextmanager
    def board(self, title: str, headings: Sequence[str], *, n_rows: int, total: int) -> Iterator[progress.Board]:
        if self._quiet:
            yield progress.Board()
        elif self._err.is_terminal:
            with Live(console=self._err, refresh_per_second=4, transient=True) as live:
                yield _LiveBoard(live, title, headings, n_rows, total)
        else:
            yield _LineBoard(self.say, title, total)

    def say(self, line: str) -> None:
        if not self._quiet:
            self._err.print(printable(line))

    def table(self, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        if not self._quiet:
            table = tables.plain(*headings)
            for row in rows:
                table.add_row(*tables.cells(*row))
            self._print(table)

    def warn(self, line: str) -> None:
        self._err.print(Text("warning: ", "yellow") + Text(printable(line)))

    def command(self, line: str) -> None:
        """Show a command line that is being carried out."""
        if not self._quiet:
            self._err.print(Text(f"$ {printable(line)}", "bold"))

    def _print(self, what: str | Table) -> None:
        self._out.print(
            Text(printable(what), overflow="fold") if isinstance(what, str) else what, soft_wrap=isinstance(what, str)
        )
