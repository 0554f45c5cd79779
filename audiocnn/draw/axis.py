"""Where an axis has its ticks, and what is written at them."""

import math

from markupsafe import Markup

from audiocnn.draw import colour, svg


def ticks(low: float, high: float, *, at_most: int) -> list[float]:
    """Return round numbers within ``low..high``, a step of 1, 2 or 5 times a power of ten apart.

    >>> ticks(0, 30, at_most=7), ticks(0, 0.35, at_most=5)
    ([0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0], [0.0, 0.1, 0.2, 0.3])
    """
    span = high - low
    if not (math.isfinite(span) and span > 0):
        return [low]
    power = math.floor(math.log10(span / at_most))
    step = next(
        step
        for exponent in (power, power + 1)
        for step in (1.0 * 10.0**exponent, 2.0 * 10.0**exponent, 5.0 * 10.0**exponent)
        if math.floor(high / step + 1e-9) - math.ceil(low / step - 1e-9) + 1 <= at_most
    )
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{k * step:.12g}") for k in range(first, last + 1)]


def powers(low: float, high: float, *, at_most: int) -> list[float]:
    """Return round numbers within ``low..high`` for an axis of logarithms; both are above 0.

    >>> powers(3_000, 2e7, at_most=5), powers(1.5, 6, at_most=5)
    ([10000.0, 100000.0, 1000000.0, 10000000.0], [2.0, 5.0])
    """
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    found: list[float] = []
    for step, factors in ((1, (1, 2, 5)), (1, (1, 3)), (1, (1,)), (2, (1,)), (3, (1,))):
        every = [float(f"{factor}e{power}") for power in range(first, last + 1, step) for factor in factors]
        found = [x for x in every if low <= x <= high]
        if len(found) <= at_most:
            break
    return found if len(found) > 1 else ticks(low, high, at_most=at_most)


def seconds(duration_s: float, *, y: float, begin_s: float = 0.0) -> Markup:
    """Return the ticks and labels of a time axis at height ``y`` that runs over ``duration_s`` across the area.

    It begins at ``begin_s``. What is longer than ten minutes is in minutes, what is longer than three hours in hours.
    """
    unit_s, unit = (3_600, "h") if duration_s > 10_800 else (60, "min") if duration_s > 600 else (1, "s")
    parts = []
    for tick in ticks(begin_s / unit_s, (begin_s + duration_s) / unit_s, at_most=7):
        x = (tick * unit_s - begin_s) / duration_s
        anchor = "start" if x < 0.01 else "end" if x > 0.97 else "middle"
        parts += [
            svg.line(svg.percent(x), y, svg.percent(x), y + 4, stroke=colour.MUTED),
            svg.text(f"{tick:g} {unit}", x=svg.percent(x), y=y + 16, anchor=anchor, fill=colour.MUTED),
        ]
    return Markup("").join(parts)


def level(label: str, *, y: float) -> Markup:
    """Return a faint line across the area at height ``y``, with its label to the left."""
    return svg.line("0%", y, "100%", y) + svg.text(label, x=-8, y=y + 4, anchor="end", fill=colour.MUTED)


def below(label: str, *, x: float, y: float) -> Markup:
    """Return a label below the area that ends at ``y``, at the fraction ``x`` of its width."""
    return svg.text(label, x=svg.percent(x), y=y + 17, anchor="middle", fill=colour.MUTED)
