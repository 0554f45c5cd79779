"""The terminal: progress and warnings on stderr, tables and lines on stdout."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import Progress, ProgressColumn
from rich.progress import Task as RichTask
from rich.table import Column, Table
from rich.text import Text

from audiocnn import progress
from audiocnn.terminal.progress_line import ProgressLine, whole
from audiocnn.text import printable


def plain(*headings: str) -> Table:
    """Return an empty table without borders; a column whose heading ends in ``>`` is right-aligned."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        numeric = heading.endswith(">")
        title = Text(printable(heading.removesuffix(">")))
        table.add_column(title, justify="right" if numeric else "left", no_wrap=numeric, overflow="fold")
    return table


def cells(*values: str) -> Sequence[Text]:
    """Return the cells of a row, with control characters escaped."""
    return [Text(printable(value)) for value in values]


def figure(value: Any) -> str:
    """Return a number with three decimals, a dash for None."""
    return "-" if value is None else f"{value:.3f}"


def interval(ends: Sequence[float | None] | None) -> str:
    """Return the ends of an interval, a dash if there is none.

    >>> interval([0.25, 1.0]), interval([None, None]), interval(())
    ('0.250 to 1.000', '-', '')
    """
    if ends is not None and not len(ends):
        return ""
    return "-" if ends is None or None in ends else " to ".join(map(figure, ends))


def sentence(text: str) -> str:
    """Return a sentence of a page with the spaces and quotation marks that a terminal has.

    >>> sentence("“Flute” is missed: 9\N{NO-BREAK SPACE}%")
    "'Flute' is missed: 9%"
    """
    return text.replace("\N{NO-BREAK SPACE}%", "%").translate(_TYPEWRITER)


def duration(seconds: float) -> str:
    """Return a duration in seconds, minutes or hours."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def rough_duration(seconds: float) -> str:
    """Return an estimated duration in whole minutes or hours.

    >>> [rough_duration(seconds) for seconds in (20, 100, 404, 1_600, 50_000)]
    ['1 min', '2 min', '7 min', '25 min', '14 h']
    """
    minutes = max(1, round(seconds / 60))
    if minutes >= 90:
        return f"{minutes / 60:.0f} h"
    return f"{minutes if minutes < 10 else 5 * round(minutes / 5)} min"


def rough_size(n_bytes: float) -> str:
    """Return an estimated size with two digits.

    >>> [rough_size(n) for n in (20_000, 1_234_000, 345_600_000, 2_650_000_000)]
    ['1 MB', '1.2 MB', '350 MB', '2.6 GB']
    """
    value, unit = (n_bytes / 1e9, "GB") if n_bytes >= 1e9 else (max(1.0, n_bytes / 1e6), "MB")
    return f"{float(f'{value:.2g}'):g} {unit}"


_TYPEWRITER = str.maketrans({"“": "'", "”": "'", "\N{NO-BREAK SPACE}": " ", "−": "-"})
PLAIN_WIDTH = 160  # columns of a table that goes to a file or a pipe
_METER_WIDTH, _LEAST_DB = 20, -60.0  # of a level meter: characters, and where it begins; it ends at full scale
_BARS, _ASCII_BARS = "█░", "#."
_PLAIN_EVERY_S = 10.0  # between lines of progress where there is no terminal
_LONG_S = 3.0  # a step that takes longer is reported where there is no terminal


class _Line(ProgressColumn):
    """All of a task in one line that fits the terminal."""

    def __init__(self, console: Console, total: int | None, unit: str) -> None:
        super().__init__(Column(no_wrap=True, overflow="ellipsis"))
        self._console, self._total, self._unit = console, total, unit

    def render(self, task: RichTask) -> Text:
        line = ProgressLine(
            task.description, task.completed, self._total, self._unit, task.elapsed or 0.0,
            left_s=task.time_remaining, rate=task.speed, note=task.fields["note"], ended=task.fields["ended"],
        )  # fmt: skip
        return Text(line.text(self._console.width - 1, ascii_only=not _is_unicode(self._console)))


def _is_unicode(console: Console) -> bool:
    return console.encoding.lower().startswith("utf")


class _Pace:
    """Number of finished units and the estimated time left, from the units that this run computed."""

    def __init__(self, total: int) -> None:
        self._total, self._n, self._n_kept, self._started = total, 0, 0, time.monotonic()

    def count(self, kept: bool) -> None:
        self._n, self._n_kept = self._n + 1, self._n_kept + kept

    def __str__(self) -> str:
        worked = self._n - self._n_kept
        each = (time.monotonic() - self._started) / worked if worked else 0.0
        left = f", {duration(each * (self._total - self._n))} left" if worked and self._n < self._total else ""
        return f"{self._n:,}/{self._total:,} done{left}"


class _TerminalTable(progress.LiveTable):
    """A table that is drawn again whenever a row changes."""

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
        table = plain(*self._headings)
        for row in self._rows:
            table.add_row(*cells(*row))
        status = Text(printable(f"{self._title}: {self._pace} · {self._note}"), no_wrap=True, overflow="ellipsis")
        self._live.update(Group(status, table))  # a table that is too long is cut at the end


class _LineTable(progress.LiveTable):
    """Prints a line for each finished unit, where there is no terminal."""

    def __init__(self, print_line: Callable[[str], None], title: str, total: int) -> None:
        self._print_line, self._title, self._pace = print_line, title, _Pace(total)

    def done(self, line: str, *, kept: bool = False) -> None:
        self._pace.count(kept)
        self._print_line(f"{self._title}: {self._pace} · {line}" + (" (kept)" if kept else ""))


class _LiveMeter(progress.LevelMeter):
    """A line with level and label that is drawn again at every change."""

    def __init__(self, live: Live, title: str) -> None:
        self._live, self._title = live, title
        self._bars = _BARS if _is_unicode(live.console) else _ASCII_BARS
        self._level_db, self._elapsed_s, self._text = -math.inf, 0.0, ""

    def show_level(self, level_db: float, elapsed_s: float) -> None:
        self._level_db, self._elapsed_s = level_db, elapsed_s
        self._draw()

    def show_prediction(self, label: str, score: float | None) -> None:
        self._text = _scored(label, score)
        self._draw()

    def _draw(self) -> None:
        level_db = max(self._level_db, _LEAST_DB)
        n = round(_METER_WIDTH * (1 - level_db / _LEAST_DB))
        bar = self._bars[0] * n + self._bars[1] * (_METER_WIDTH - n)
        line = f"{self._title} {_clock(self._elapsed_s)}  {bar} {level_db:4.0f} dB  {self._text}"
        self._live.update(Text(printable(line), no_wrap=True, overflow="ellipsis"))


class _LineMeter(progress.LevelMeter):
    """Prints a line whenever the predicted label changes, where there is no terminal."""

    def __init__(self, print_line: Callable[[str], None], title: str) -> None:
        self._print_line, self._title = print_line, title
        self._elapsed_s, self._label = 0.0, ""

    def show_level(self, level_db: float, elapsed_s: float) -> None:
        self._elapsed_s = elapsed_s

    def show_prediction(self, label: str, score: float | None) -> None:
        if label != self._label:
            self._label = label
            self._print_line(f"{self._title} {_clock(self._elapsed_s)} {_scored(label, score)}")


def _scored(label: str, score: float | None) -> str:
    return label if score is None else f"{label} {score:.2f}"


def _clock(seconds: float) -> str:
    """Return a time as hours, minutes and seconds.

    >>> _clock(3_725.4)
    '1:02:05'
    """
    return f"{seconds // 3600:.0f}:{seconds // 60 % 60:02.0f}:{seconds // 1 % 60:02.0f}"


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Raise an exception; rich itself would end the process with exit code 1."""
        raise BrokenPipeError


class TerminalOutput(progress.Progress):
    """Progress and warnings on stderr; subclasses print results on stdout."""

    def __init__(self, *, quiet: bool, verbose: bool) -> None:
        self._quiet, self._verbose = quiet, verbose
        self._step: Progress | None = None  # the step that is shown; a task within it takes its place
        self._busy = False  # whether a task, a table or a meter is shown
        self._err = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
        self._out = _Console(highlight=False, markup=False, soft_wrap=False)
        if not self._out.is_terminal:
            self._out = _Console(highlight=False, markup=False, width=PLAIN_WIDTH)

    @property
    def interactive(self) -> bool:
        """Whether results are printed on a terminal."""
        return self._out.is_terminal

    @contextmanager
    def task(self, title: str, *, total: int, unit: str) -> Iterator[progress.Advance]:
        if self._quiet or not total:
            yield lambda amount=1, note="": None
        elif self._err.is_terminal:
            with self._alone(), self._bar(title, total, unit) as advance:
                yield advance
        else:
            with self._lines(title, total, unit) as advance:
                yield advance

    @contextmanager
    def _bar(self, title: str, total: int, unit: str) -> Iterator[progress.Advance]:
        with Progress(_Line(self._err, total, unit), console=self._err, refresh_per_second=8) as bar:
            number = bar.add_task(title, total=total, note="", ended=False)

            def advance(amount: float = 1, note: str = "") -> None:
                bar.advance(number, amount)
                if note:
                    bar.update(number, note=printable(note))

            yield advance
            bar.update(number, ended=True)

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        started = time.monotonic()
        if self._quiet or self._busy or self._step is not None:
            yield
        elif self._err.is_terminal:
            with Progress(_Line(self._err, None, ""), console=self._err, refresh_per_second=4, transient=True) as shown:
                shown.add_task(title, total=None, note="", ended=False)
                self._step = shown
                try:
                    yield
                finally:
                    self._step = None
        else:
            yield
            if time.monotonic() - started > _LONG_S:
                self.info(f"{title}: {time.monotonic() - started:.1f} s")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Show nothing else than what the block shows: the step that is under way is hidden, further ones are too."""
        step, busy = self._step, self._busy
        if step is not None:
            step.stop()
        self._busy = True
        try:
            yield
        finally:
            self._busy = busy
            if step is not None:
                step.start()

    @contextmanager
    def _lines(self, title: str, total: int, unit: str) -> Iterator[progress.Advance]:
        started = printed = time.monotonic()
        done, last_note = 0.0, ""

        def line() -> str:
            elapsed = max(time.monotonic() - started, 1e-9)
            left = f", {elapsed * (total - done) / done:.0f} s left" if 0 < done < total else ""
            note = f" · {last_note}" if last_note else ""
            return f"{title}: {whole(done):,}/{total:,} {unit}, {elapsed:.1f} s{left}{note}"

        def advance(amount: float = 1, note: str = "") -> None:
            nonlocal done, printed, last_note
            done, last_note = done + amount, note or last_note
            if done < total and time.monotonic() - printed >= _PLAIN_EVERY_S:  # the last line follows below
                printed = time.monotonic()
                self._err.print(printable(line()))

        yield advance
        self._err.print(printable(line()))

    @contextmanager
    def board(self, title: str, headings: Sequence[str], *, n_rows: int, total: int) -> Iterator[progress.LiveTable]:
        if self._quiet:
            yield progress.LiveTable()
        elif self._err.is_terminal:
            with self._alone(), Live(console=self._err, refresh_per_second=4, transient=True) as live:
                yield _TerminalTable(live, title, headings, n_rows, total)
        else:
            yield _LineTable(self.info, title, total)

    @contextmanager
    def meter(self, title: str) -> Iterator[progress.LevelMeter]:
        if self._quiet:
            yield progress.LevelMeter()
        elif self._err.is_terminal:
            with self._alone(), Live(console=self._err, refresh_per_second=8, transient=True) as live:
                yield _LiveMeter(live, title)
        else:
            yield _LineMeter(self.info, title)

    def info(self, line: str) -> None:
        if not self._quiet:
            self._err.print(printable(line))

    def table(self, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        if not self._quiet:
            table = plain(*headings)
            for row in rows:
                table.add_row(*cells(*row))
            self._print(table)

    def warn(self, line: str) -> None:
        self._err.print(Text("warning: ", "yellow") + Text(printable(line)))

    def next(self, command: str, why: str = "") -> None:
        """Tell the user which command to run next."""
        self.info(f"Next: {command}{', ' if why else ''}{why}")

    def command(self, line: str) -> None:
        """Print a command line that is run now."""
        if not self._quiet:
            self._err.print(Text(f"$ {printable(line)}", "bold"))

    def _print(self, what: str | Table) -> None:
        if isinstance(what, str):  # a terminal gets lines that are broken between words
            self._out.print(Text(printable(what), overflow="fold"), soft_wrap=not self._out.is_terminal)
        else:
            self._out.print(what)
