"""Numbers as a reader meets them: per cents, intervals, durations, counts."""

from collections.abc import Sequence

NBSP = "\N{NO-BREAK SPACE}"
UNDEFINED = "not defined"


def percent(value: float | None) -> str:
    """Return a share in whole per cents, but never 0 or 100 for what is not quite that.

    >>> percent(0.725), percent(0.9996), percent(1.0), percent(None)
    ('72\\xa0%', '99.9\\xa0%', '100\\xa0%', 'not defined')
    """
    if value is None:
        return UNDEFINED
    whole = f"{100 * value:.0f}"
    if whole in ("0", "100") and value not in (0, 1):
        whole = f"{min(max(100 * value, 0.1), 99.9):.1f}"
    return f"{whole}{NBSP}%"


def interval(ci95: Sequence[float | None]) -> str:
    """Return the ends of a 95 % interval of a share, or an empty text if there is none.

    >>> interval([0.575, 0.85]), interval([None, None])
    ('57 to 85\\xa0%', '')
    """
    low, high = ci95
    if low is None or high is None:
        return ""
    return f"{percent(low).removesuffix(f'{NBSP}%')} to {percent(high)}"


def decimal(value: float | None, digits: int = 2) -> str:
    """Return a figure with a fixed number of decimals."""
    return UNDEFINED if value is None else f"{value:.{digits}f}"


def duration(seconds: float) -> str:
    """Return a duration.

    >>> [duration(s).replace(NBSP, " ") for s in (0.05, 4.523, 125, 3_780)]
    ['0.05 s', '4.5 s', '2 min 5 s', '1 h 3 min']
    """
    if seconds < 59.95:
        return f"{seconds:.2g}{NBSP}s" if seconds < 1 else f"{seconds:.1f}{NBSP}s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}{NBSP}min {whole % 60}{NBSP}s"
    return f"{whole // 3600}{NBSP}h {whole % 3600 // 60}{NBSP}min"


def count(n: int, noun: str) -> str:
    """Return a number with its noun.

    >>> count(1, "window"), count(2812, "window")
    ('1\\xa0window', '2,812\\xa0windows')
    """
    return f"{n:,}{NBSP}{noun}{'' if n == 1 else 's'}"
