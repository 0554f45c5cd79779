"""Labelled stretches of a recording: parse their times, resolve overlaps, find the gaps between them."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

JUST_BELOW_ZERO_S = 0.5  # programs that draw, pad or round a stretch at the start write times down to this
_NUMBER = re.compile(r"[+-]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:e[+-]?\d+)?", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, order=True)
class Stretch:
    """A labelled stretch of a recording; both times are in seconds from its start, 0 <= ``start_s`` <= ``end_s``.

    They are equal for a point label.
    """

    start_s: float
    end_s: float
    label: str


@dataclass(frozen=True)
class AnnotationRow:
    """A row of an annotation file as text; ``recording`` is the name or path of its recording, empty if not told.

    ``crosses`` names the recording in which a stretch ends that began in another one. ``fault`` is why the row cannot
    be used; empty if it may be.
    """

    line: int
    start: str
    end: str
    label: str
    recording: str = ""
    crosses: str = ""
    fault: str = ""


def is_number(text: str) -> bool:
    """Whether a text is a number, with a decimal point or comma."""
    return _NUMBER.fullmatch(text.strip()) is not None


def parse_number(text: str) -> float:
    """Return a number with a decimal point or comma; NaN for other text.

    >>> parse_number(" 0,5 "), parse_number("one")
    (0.5, nan)
    """
    return float(text.replace(",", ".")) + 0.0 if is_number(text) else math.nan  # + 0.0 turns -0.0 into 0.0


def is_just_below_zero(start_s: float) -> bool:
    """Whether a start is so little below 0 that it stands for the start of the recording."""
    return -JUST_BELOW_ZERO_S <= start_s < 0


def resolve_overlaps(stretches: Iterable[Stretch]) -> tuple[list[Stretch], float]:
    """Return one recording's stretches without overlaps, sorted, and the seconds with more than one label.

    Overlapping stretches of one label are merged; those that only touch stay separate. Time with two labels is removed
    from both. A point label inside a stretch of another label is removed and adds no seconds. Every boundary is one of
    the given times.

    >>> resolve_overlaps([Stretch(0, 4, "a"), Stretch(3, 5, "b")])
    ([Stretch(start_s=0, end_s=3, label='a'), Stretch(start_s=4, end_s=5, label='b')], 1.0)
    """
    end, point, start = range(3)  # sorted so at equal times: at a point only stretches around it are open
    events: list[tuple[float, int, str]] = []
    for stretch in _merged(stretches):
        if stretch.start_s == stretch.end_s:
            events.append((stretch.start_s, point, stretch.label))
        else:
            events += [(stretch.start_s, start, stretch.label), (stretch.end_s, end, stretch.label)]
    pieces: list[Stretch] = []
    overlaps: list[float] = []
    open_labels: set[str] = set()
    last_time = -math.inf
    for time, kind, label in sorted(events):
        if kind == point:
            pieces += [] if open_labels else [Stretch(time, time, label)]
            continue
        if time > last_time and len(open_labels) == 1:
            pieces.append(Stretch(last_time, time, *open_labels))
        elif len(open_labels) > 1:
            overlaps.append(time - last_time)
        last_time = time
        if kind == start:
            open_labels.add(label)
        else:
            open_labels.remove(label)
    return sorted(pieces), math.fsum(overlaps)


def find_gaps(
    stretches: Iterable[tuple[float, float]], duration_s: float, shortest_s: float
) -> list[tuple[float, float]]:
    """Return start and end in seconds of the gaps between stretches, from 0 to ``duration_s``, sorted.

    Gaps shorter than ``shortest_s`` are left out. A point label splits the gap that it lies in.

    >>> find_gaps([(2.0, 3.0), (3.5, 4.0)], duration_s=9.0, shortest_s=1.0)
    [(0.0, 2.0), (4.0, 9.0)]
    """
    gaps = []
    gap_start = 0.0
    for start, end in [*sorted(stretches), (duration_s, duration_s)]:
        gaps.append((gap_start, min(start, duration_s)))
        gap_start = max(gap_start, end)
    return [(start, end) for start, end in gaps if end > start and end - start >= shortest_s]


def _merged(stretches: Iterable[Stretch]) -> list[Stretch]:
    merged: list[Stretch] = []
    for stretch in sorted(set(stretches), key=lambda s: (s.label, s)):
        if merged and merged[-1].label == stretch.label and merged[-1].end_s > stretch.start_s:
            merged[-1] = replace(merged[-1], end_s=max(merged[-1].end_s, stretch.end_s))
        else:
            merged.append(stretch)
    return merged
