"""One line of progress that fits its terminal: what matters less is left out before the time left is."""

from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size

_BARS, _ASCII_BARS = "━─", "#-"
_BAR_WIDTHS = (24, 12, 6)  # characters, the widest that fits
_LEAST_NOTE = 12  # characters of a note that is cut


@dataclass(frozen=True)
class ProgressLine:
    """What there is to show of a task: ``done`` of ``total`` units, None if it is a step without units.

    ``left_s`` are the estimated seconds left, ``rate`` the units per second; None if not known. ``ended`` is whether
    the task has ended, in ``elapsed_s`` seconds.
    """

    title: str
    done: float
    total: int | None
    unit: str
    elapsed_s: float
    left_s: float | None = None
    rate: float | None = None
    note: str = ""
    ended: bool = False

    def text(self, width: int, *, ascii_only: bool = False) -> str:
        """Return the line, at most ``width`` columns wide.

        >>> line = ProgressLine("train", 1_040, 10_400, "steps", 48, 431, 21.7, "epoch 1/10 loss 2.363 accuracy 0.111")
        >>> line.text(120, ascii_only=True)
        'train ##---------------------- 1,040/10,400 steps, 7:11 left, 22/s, epoch 1/10 loss 2.363 accuracy 0.111'
        >>> line.text(70, ascii_only=True)
        'train ------ 1,040/10,400, 7:11 left, epoch 1/10 loss 2.363 accurac...'
        """
        for bar in _BAR_WIDTHS:
            for unit, rate in ((True, True), (True, False), (False, False)):
                line = self._join(self._parts(bar, unit, rate, self.note), bar, ascii_only)
                if cell_len(line) <= width:
                    return line
        short = self._join(self._parts(bar, False, False, ""), bar, ascii_only)
        room = width - cell_len(short) - len(_separator(ascii_only))
        if not self.note or room < _LEAST_NOTE:
            return shortened(short, width, ascii_only=ascii_only)
        note = shortened(self.note, room, ascii_only=ascii_only)
        return self._join(self._parts(bar, False, False, note), bar, ascii_only)

    def _join(self, parts: list[str], bar_width: int, ascii_only: bool) -> str:
        bar = "" if self.total is None else f"{self._bar(bar_width, ascii_only)} "
        return f"{self.title} {bar}{_separator(ascii_only).join(filter(None, parts))}"

    def _parts(self, bar_width: int, unit: bool, rate: bool, note: str) -> list[str]:
        count = "" if self.total is None else f"{whole(self.done):,}/{self.total:,}{f' {self.unit}' if unit else ''}"
        return [count, self._time(), self._rate() if rate else "", note]

    def _time(self) -> str:
        if self.ended:
            return f"took {clock(self.elapsed_s)}"
        if self.left_s is not None and self.total is not None:
            return f"{clock(self.left_s)} left"
        return clock(self.elapsed_s)

    def _rate(self) -> str:
        if self.ended or self.rate is None or self.rate < 0.1:
            return ""
        return f"{self.rate:,.0f}/s" if self.rate >= 10 else f"{self.rate:.1f}/s"

    def _bar(self, width: int, ascii_only: bool) -> str:
        bars = _ASCII_BARS if ascii_only else _BARS
        n = int(width * min(1.0, self.done / self.total)) if self.total else 0
        return bars[0] * n + bars[1] * (width - n)


def _separator(ascii_only: bool) -> str:
    return ", " if ascii_only else " · "


def whole(done: float) -> int:
    """Return the number of finished units; a unit in progress does not count.

    >>> whole(1.9), whole(sum([0.1] * 10))
    (1, 1)
    """
    return int(done + 1e-6)


def clock(seconds: float) -> str:
    """Return a time as minutes and seconds, and hours if there are any.

    >>> clock(5.2), clock(431), clock(3_725.4)
    ('0:05', '7:11', '1:02:05')
    """
    minutes, second = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{second:02d}" if minutes >= 60 else f"{minutes}:{second:02d}"


def shortened(text: str, width: int, *, ascii_only: bool = False) -> str:
    """Return text cut at its end to at most ``width`` columns."""
    if cell_len(text) <= width:
        return text
    dots = "..." if ascii_only else "…"
    return set_cell_size(text, max(0, width - len(dots))).rstrip() + dots


def shortened_in_the_middle(text: str, width: int, *, ascii_only: bool = False) -> str:
    """Return text with its middle left out, so that it takes at most ``width`` columns.

    The end of a file name tells it apart from its neighbours, and gets two thirds of the room.

    >>> shortened_in_the_middle("a-very-long-name-of-a-recording-0042.wav", 24)
    'a-very-…cording-0042.wav'
    >>> shortened_in_the_middle("short.wav", 24)
    'short.wav'
    """
    if cell_len(text) <= width:
        return text
    dots = "..." if ascii_only else "…"
    room = max(2, width - len(dots))
    head, tail = text, text
    while cell_len(head) > room // 3:
        head = head[:-1]
    while cell_len(tail) > room - cell_len(head):
        tail = tail[1:]
    return f"{head}{dots}{tail}"
