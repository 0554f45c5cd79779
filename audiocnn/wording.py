"""Numbers and names as text for reports and messages: percentages, intervals, durations, counts."""

from collections.abc import Callable, Collection, Mapping, Sequence

from audiocnn import text

NBSP = "\N{NO-BREAK SPACE}"
UNDEFINED = "not defined"
_DIGITS = 9  # decimals; further ones are rounding errors
_LABEL_CHARS = 48  # longest label in a sentence


def percent(value: float | None) -> str:
    """Return a fraction as a whole percentage; 0 and 100 are shown only for exact values.

    >>> percent(0.725), percent(0.9996), percent(1.0), percent(None)
    ('72\\xa0%', '99.9\\xa0%', '100\\xa0%', 'not defined')
    """
    if value is None:
        return UNDEFINED
    value = round(value, _DIGITS)
    whole = f"{100 * value:.0f}"
    if whole in ("0", "100") and value not in (0, 1):
        whole = f"{min(max(100 * value, 0.1), 99.9):.1f}"
    return f"{whole}{NBSP}%"


def decimal(value: float | None) -> str:
    """Return a number with two decimals; 0.00 and 1.00 are shown only for exact values.

    >>> decimal(0.5), decimal(0.9999), decimal(1.0), decimal(None)
    ('0.50', '0.999', '1.00', 'not defined')
    """
    if value is None:
        return UNDEFINED
    value = round(value, _DIGITS)
    rounded = f"{value:.2f}"
    return f"{min(max(value, 0.001), 0.999):.3f}" if rounded in ("0.00", "1.00") and 0 < value < 1 else rounded


def interval(ci95: Sequence[float | None], format_value: Callable[[float | None], str]) -> str:
    """Return the two ends of a confidence interval, each formatted by ``format_value``.

    Returns an empty string if the interval is undefined or has no width, because all resamples gave one value.

    >>> interval([0.58, 0.85], percent), interval([0.58, 0.85], decimal), interval([None, None], percent)
    ('58 to 85\\xa0%', '0.58 to 0.85', '')
    """
    low, high = ci95
    if low is None or high is None or low == high:
        return ""
    return f"{format_value(low).removesuffix(f'{NBSP}%')} to {format_value(high)}"


def duration(seconds: float) -> str:
    """Return a duration in seconds, minutes or hours.

    >>> [duration(s).replace(NBSP, " ") for s in (0.05, 4.523, 30, 125, 3_780)]
    ['0.05 s', '4.5 s', '30 s', '2 min 5 s', '1 h 3 min']
    """
    if seconds < 59.95:
        return f"{seconds:.2g}{NBSP}s" if seconds < 1 else f"{round(seconds, 1):g}{NBSP}s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}{NBSP}min {whole % 60}{NBSP}s"
    return f"{whole // 3600}{NBSP}h {whole % 3600 // 60}{NBSP}min"


def clock(seconds: float) -> str:
    """Return a position in a recording: seconds, or hours, minutes and seconds.

    >>> clock(2.5).replace(NBSP, " "), clock(59.999), clock(3725.04)
    ('2.50 s', '0:01:00.0', '1:02:05.0')
    """
    tenths = round(10 * seconds)
    if tenths < 600:
        return f"{seconds:.2f}{NBSP}s"
    minutes, tenths = divmod(tenths, 600)
    return f"{minutes // 60}:{minutes % 60:02d}:{tenths // 10:02d}.{tenths % 10}"


def frequency(hz: float) -> str:
    """Return a frequency in hertz or kilohertz, with two digits below 10 kHz.

    >>> frequency(850), frequency(7_512), frequency(22_050), frequency(128_000)
    ('850 Hz', '7.5 kHz', '22 kHz', '128 kHz')
    """
    return f"{hz:.0f} Hz" if hz < 1_000 else f"{hz / 1_000:.2g} kHz" if hz < 9_950 else f"{hz / 1_000:.0f} kHz"


def count(n: int, noun: str) -> str:
    """Return a number and its noun, plural except for 1.

    >>> count(1, "window"), count(2812, "window")
    ('1\\xa0window', '2,812\\xa0windows')
    """
    return f"{n:,}{NBSP}{noun}{'' if n == 1 else 's'}"


def clause(n: int, one: str, many: str) -> str:
    """Return a number and the words that agree with it.

    >>> clause(1, "recording is", "recordings are"), clause(2_000, "recording is", "recordings are")
    ('1 recording is', '2,000 recordings are')
    """
    return f"{n:,} {one if n == 1 else many}"


def no_interval(n_groups: int) -> str:
    """Return why a figure of recordings in ``n_groups`` groups has no 95 % interval.

    >>> no_interval(1), no_interval(5)
    ('no interval, as all recordings are of one group', 'no interval, as it rests on one group')
    """
    return f"no interval, as {'all recordings are of' if n_groups < 2 else 'it rests on'} one group"


def percentage_points(difference: float) -> str:
    """Return a difference of two fractions in percentage points, with its sign.

    >>> percentage_points(-0.0312), percentage_points(0.004), percentage_points(0.0)
    ('−3.1', '+0.4', '0')
    """
    magnitude = f"{abs(100 * difference):.1f}"
    if magnitude == "0.0":
        return "0"
    return f"{'+' if difference > 0 else '−'}{magnitude}"


def percentage_points_interval(ci95: Sequence[float | None] | None) -> str:
    """Return the ends of an interval of a difference of two fractions; an empty string if it is undefined.

    >>> percentage_points_interval([-0.02, 0.12]), percentage_points_interval([None, None])
    ('−2.0 to +12.0', '')
    """
    low, high = ci95 or (None, None)
    return "" if low is None or high is None else f"{percentage_points(low)} to {percentage_points(high)}"


def power_of_two(exponent: float) -> str:
    """Return 2 to the power of ``exponent``, with two digits below 10.

    >>> power_of_two(1.5), power_of_two(6), power_of_two(30)
    ('2.8', '64', 'more than a million')
    """
    times = 2.0**exponent
    return f"{times:.2g}" if times < 9.95 else f"{times:,.0f}" if times < 1e6 else "more than a million"


def si_number(value: float) -> str:
    """Return a number with three significant digits and an SI prefix (k, M, G).

    >>> si_number(6_385_441), si_number(950), si_number(0.0213), si_number(1e9), si_number(20_000)
    ('6.39M', '950', '0.0213', '1G', '20k')
    """
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= 0.9995 * size:
            return f"{float(f'{value / size:.3g}'):g}{letter}"
    return f"{float(f'{value:.3g}'):g}"


def join_names(names: Sequence[str]) -> str:
    """Return names as an enumeration in a sentence.

    >>> join_names(["a"]), join_names(["a", "b"]), join_names(["a", "b", "c"])
    ('a', 'a and b', 'a, b and c')
    """
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def is_untested(label: str, counts: Mapping[str, Mapping[str, int]]) -> bool:
    """Return whether there is a test part without this label, given the recordings by part and label."""
    test = counts.get("test", {})
    return any(test.values()) and not test.get(label)


def rare_labels(labels: Collection[str], choice: str) -> str:
    """Return a sentence on labels with too few groups, for a choice of ``split.rare``.

    >>> rare_labels(["rail"], "train")
    "'rail' has too few groups to be tested and is only learned from (split.rare: train)"
    """
    names, several = join_names([f"'{text.printable(label)}'" for label in sorted(labels)]), len(labels) > 1
    become = "left out" if choice == "drop" else "only learned from"
    have, are = ("have", "are") if several else ("has", "is")
    return f"{names} {have} too few groups to be tested and {are} {become} (split.rare: {choice})"


def quoted(label: str) -> str:
    """Return a label in quotation marks, shortened and safe to print.

    >>> quoted("Flute"), len(quoted("x" * 300))
    ('“Flute”', 50)
    """
    label = text.printable(label)
    return f"“{label if len(label) <= _LABEL_CHARS else label[: _LABEL_CHARS - 1] + '…'}”"
