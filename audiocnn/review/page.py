"""The result of a review as one self-contained HTML page: verdict, precision over threshold, totals, mistakes."""

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from audiocnn.draw import charts, svg
from audiocnn.report import page
from audiocnn.review.draw import DrawnUnit
from audiocnn.review.estimates import FEWEST, FEWEST_GROUPS, Estimate
from audiocnn.review.result import LabelResult, ReviewResult
from audiocnn.wording import count, decimal, duration, interval, percent, quoted

_MOST_ROWS = 24


@dataclass(frozen=True)
class _Trait:
    """A property of recordings: the median of those with right answers, and of those with wrong ones."""

    name: str
    right: str
    wrong: str


def render_review(found: ReviewResult) -> str:
    """Return the page, with all outside text escaped."""
    draw = found.draw
    return page.render(
        "review.html.j2",
        found=found,
        draw=draw,
        verdict=sentences(found),
        caution=_caution(found),
        labels=[(one, None if one.too_few else _chart(one, found)) for one in found.labels],
        fewest=FEWEST,
        fewest_groups=FEWEST_GROUPS,
        whole_units=sum(map(sum, draw.n_units)),
        hours=duration(3600 * sum(draw.hours)),
        share=_with_interval(percent),
        number=_with_interval(rounded),
        rounded=rounded,
        traits=_traits(found),
        counted=[
            ("By group", "Group", _counted(found, lambda unit: unit.group)),
            ("By hour of the day", "Hour", sorted(_counted(found, _hour))),
        ],
        facts=_facts(found),
    )


def sentences(found: ReviewResult) -> list[str]:
    """Return the verdict: for each label the threshold, its precision and recall, and the number of positive units."""
    return [_sentence(one, found) for one in found.labels]


def rounded(value: float | None) -> str:
    """Return a number of units or calls with about three digits.

    >>> rounded(0.123), rounded(12.34), rounded(12345.6), rounded(None)
    ('0.12', '12', '12,346', 'not known')
    """
    if value is None:
        return "not known"
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _sentence(one: LabelResult, found: ReviewResult) -> str:
    name = quoted(one.label)
    if one.too_few:
        return (
            f"{name}: too few. {one.n_reviewed} of the {FEWEST} clips with this predicted label that estimates need "
            "are answered."
        )
    total = _with_interval(rounded)(one.positive_units)
    many = f"about {total} units of {duration(found.draw.unit_s)} contain it" if total else "their number is not known"
    edge = one.at_threshold
    if edge is None:
        return (
            f"{name}: {many}. No score has a precision of at least {percent(found.wanted_precision)} with 95 % "
            "confidence."
        )
    part = (
        f" On the reserved part, on which it was not chosen, its precision is {_share(one.quoted.precision)}."
        if one.quoted is not None
        else ""
    )
    return (
        f"{name}: from a score of {edge.threshold:g}, the precision is {_share(edge.precision)} and the recall "
        f"{_share(edge.recall)}. In all, {many}.{part}"
    )


def _caution(found: ReviewResult) -> str:
    draw = found.draw
    if draw.reserved:
        return (
            f"{count(len(set(draw.reserved.values())), 'group')} of recordings are reserved: thresholds are chosen on "
            "the other answers. Training refuses reserved recordings (reserved.csv), so that they can test a new model."
        )
    why = "there are fewer than 5 groups of recordings" if draw.n_groups < 5 else "none was drawn"
    return (
        f"Nothing is reserved, as {why}: thresholds are chosen and measured on the same answers, so their precision "
        "is slightly optimistic."
    )


def _share(one: Estimate) -> str:
    return _with_interval(percent)(one) or "not known"


def _with_interval(form: Callable[[float | None], str]) -> Callable[[Estimate], str]:
    """Return what formats an estimate with its interval for the archive; the text is empty without an estimate."""

    def written(one: Estimate) -> str:
        if one.value is None:
            return ""
        ends = interval(one.ci95_archive or (None, None), form)
        return f"{form(one.value)} ({ends})" if ends else form(one.value)

    return written


def _chart(one: LabelResult, found: ReviewResult) -> Markup:
    edges = [edge for edge in one.edges if edge.precision.value is not None]
    precisions = [(100 * edge.threshold, edge.precision.value or 0.0) for edge in edges]
    recalls = [
        (100 * edge.threshold, edge.recall.value if edge.recall.value is not None else math.nan) for edge in edges
    ]
    at = one.at_threshold
    return charts.draw_curves(
        [
            charts.Line(
                "precision", precisions, svg.BLUE, ends=[edge.precision.ci95_archive or None for edge in edges]
            ),
            charts.Line("recall", recalls, svg.ORANGE, dashed=True, ends=[edge.recall.ci95_archive for edge in edges]),
        ],
        title=f"Precision and recall over the threshold of {one.label}",
        description="; ".join(
            f"from {edge.threshold:g}: precision {percent(edge.precision.value)}, recall {percent(edge.recall.value)}"
            for edge in edges
        )
        + f". Wanted precision: {percent(found.wanted_precision)}.",
        x_name="threshold of the score",
        x_label=lambda x: f"{x / 100:g}",
        y_label=lambda y: f"{100 * y:.0f} %",
        y_high=1.0,
        height=240,
        mark=None if at is None else 100 * at.threshold,
        mark_name="" if at is None else f"threshold {at.threshold:g}",
    )


def _judged(found: ReviewResult) -> Iterable[tuple[DrawnUnit, bool]]:
    """Yield the answered units with an event as the predicted label, and whether that is right."""
    for unit, answer in found.answered:
        if found.draw.strata[unit.stratum].label and not np.isnan(holds := answer.holds(unit.label, unit.label)):
            yield unit, holds == 1


def _traits(found: ReviewResult) -> list[_Trait]:
    """Return what recordings with right and with wrong answers have in common."""
    judged = [(unit.stats, right) for unit, right in _judged(found) if unit.stats is not None]
    if len({right for _, right in judged}) < 2:
        return []
    shown = {
        "level_dbfs": ("level", "{:.0f} dBFS"), "noise_db": ("noise below the level", "{:.0f} dB"),
        "upper_hz": ("highest frequency", "{:,.0f} Hz"),
    }  # fmt: skip

    def median(key: str, of: bool) -> float:
        return float(np.median([stats[key] for stats, right in judged if right is of]))

    return [
        _Trait(name, form.format(median(key, True)), form.format(median(key, False)))
        for key, (name, form) in shown.items()
    ]


def _counted(found: ReviewResult, key: Callable[[DrawnUnit], str | None]) -> list[tuple[str, int, int]]:
    """Return (name, right, answered) for each group of units with an event as the predicted label, most first."""
    right, n = Counter[str](), Counter[str]()
    for unit, is_right in _judged(found):
        if (name := key(unit)) is not None:
            n[name] += 1
            right[name] += is_right
    if len(n) < 2:
        return []
    return [(name, right[name], n_answered) for name, n_answered in n.most_common(_MOST_ROWS)]


def _hour(unit: DrawnUnit) -> str | None:
    return None if unit.hour is None else f"{unit.hour:02d}:00"


def _facts(found: ReviewResult) -> list[tuple[str, str]]:
    draw = found.draw
    n_unsure = sum(answer.kind == "unsure" for _, answer in found.answered)
    return [
        ("model", draw.model_name),
        ("archive", f"{count(draw.n_recordings, 'recording')}, {duration(3600 * sum(draw.hours))}"),
        ("groups", f"{draw.n_groups:,}, by {draw.grouped_by}"),
        ("units", f"{sum(map(sum, draw.n_units)):,} of {duration(draw.unit_s)}"),
        ("clips", f"{len(draw.units):,} drawn, {len(found.answered):,} answered, {n_unsure:,} of them unsure"),
        ("wanted precision", decimal(found.wanted_precision)),
        ("seed", str(draw.seed)),
        ("model digest", draw.model),
    ]
