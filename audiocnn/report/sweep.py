"""A finished sweep as one self-contained HTML page and as CSV: the ranking, the curves, accuracy against cost."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from audiocnn import config, wording
from audiocnn.draw import charts, svg
from audiocnn.evaluation.comparison import RankedModel
from audiocnn.formats.tables import format_score
from audiocnn.report import page
from audiocnn.text import safe_cell
from audiocnn.wording import (
    NBSP,
    count,
    interval,
    join_names,
    percent,
    percentage_points,
    percentage_points_interval,
    si_number,
)

COLUMNS = (
    "rank", "variant", "notation", "input_shape", "parameters", "multiply_adds", "prediction_ms",
    "recording_accuracy", "recording_accuracy_low", "recording_accuracy_high", "window_accuracy", "macro_f1",
    "best_validation_accuracy", "difference_to_best", "difference_low", "difference_high", "within_noise", "n_units",
    "reason",
)  # fmt: skip


@dataclass(frozen=True)
class RankedVariant:
    """A variant: its network, its cost for one window, and its figures.

    With members, ``notation`` has the layers of all with their names, the costs are sums over the members, ``curve`` is
    the mean over them, and ``input_shape`` is that of the windows that have scores.
    ``curve`` is the window accuracy on held-out recordings after each epoch, the mean over folds and seeds. The other
    figures are means over seeds. ``n_units`` is the number of trainings. ``settings`` are those that differ from the
    project.
    """

    name: str
    notation: str
    input_shape: tuple[int, int, int]
    n_params: int
    multiply_adds: int
    prediction_ms: float
    ranked: RankedModel
    window_accuracy: float
    macro_f1: float
    curve: Sequence[float]
    n_units: int
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SkippedVariant:
    """A variant that cannot be built, and the reason."""

    name: str
    notation: str
    input_shape: tuple[int, int, int]
    reason: str


@dataclass(frozen=True)
class SweepRanking:
    """The variants, the best first.

    ``chosen`` is true if the held-out recordings also chose the epoch that was kept. ``n_aside`` recordings are the
    test part, which was not used; ``n_unusable`` could not be used. ``facts`` are pairs of a name and a value to
    print at the end. ``baseline`` is the name of the variant that has the settings of the project or, if none has,
    comes first in the sweep file.
    """

    name: str
    about: str
    project: str
    entries: Sequence[RankedVariant]
    skipped: Sequence[SkippedVariant]
    n_recordings: int
    n_groups: int
    n_folds: int
    seeds: Sequence[int]
    n_aside: int
    n_unusable: int
    chosen: bool
    facts: Sequence[tuple[str, str]]
    baseline: str

    @property
    def caution(self) -> str:
        """The caution for readers of the page and of the terminal."""
        if self.chosen:
            return (
                "The held-out recordings also chose the epoch that was kept, so all accuracies are slightly too high. "
                "The best of several variants looks slightly better than it is."
            )
        return "The best of several variants looks slightly better than it is."

    @property
    def against_baseline(self) -> str:
        """The best variant compared with the baseline, in a sentence; empty if there is only one variant."""
        if len(self.entries) < 2:
            return ""
        best, base = self.entries[0], next(entry for entry in self.entries if entry.name == self.baseline)
        what = f"{_quoted(base)}, {'which audiocnn.yaml has' if not base.settings else 'the first of the sweep file'}"
        if base is best:
            return f"No variant is better than {what}{' already' if not base.settings else ''}."
        ahead, ends = -base.ranked.difference, base.ranked.difference_ci95
        if ends is None:
            return f"{_quoted(best)} is {percentage_points(ahead)} percentage points ahead of {what}; {_UNKNOWN}."
        span = f"95{NBSP}% interval {percentage_points_interval([-ends[1], -ends[0]])}"
        if base.ranked.in_noise:
            return (
                f"{_quoted(best)} cannot be told apart from {what}: the difference is {percentage_points(ahead)} "
                f"percentage points ({span})."
            )
        return f"{_quoted(best)} is better than {what}, by {percentage_points(ahead)} percentage points ({span})."

    @property
    def in_noise(self) -> list[RankedVariant]:
        """The variants within noise of the best, without the best."""
        return [entry for entry in self.entries[1:] if entry.ranked.in_noise]

    @property
    def cheapest(self) -> RankedVariant:
        """The variant with the fewest multiply-adds among the best and those within noise of it."""
        return min([self.entries[0], *self.in_noise], key=lambda entry: (entry.multiply_adds, entry.n_params))


def to_csv(ranking: SweepRanking) -> str:
    """Return one row a variant with `COLUMNS`, by rank; variants that cannot be built come last, with the reason."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for e in ranking.entries:
        one = e.ranked
        (low, high), (worst, best) = one.ci95 or (None, None), one.difference_ci95 or (None, None)
        figures = [one.accuracy, low, high, e.window_accuracy, e.macro_f1, max(e.curve), one.difference, worst, best]
        costs = (e.n_params, e.multiply_adds, f"{e.prediction_ms:.6g}")
        noise = "yes" if one.in_noise else "no"
        writer.writerow((one.rank, *_variant_name(e), *costs, *map(format_score, figures), noise, e.n_units, ""))
    for s in ranking.skipped:
        writer.writerow(("", *_variant_name(s), *[""] * (len(COLUMNS) - 5), safe_cell(s.reason)))
    return out.getvalue()


def format_shape(shape: Sequence[int]) -> str:
    """Return a shape as text.

    >>> format_shape((50, 128, 2))
    '50x128x2'
    """
    return "x".join(map(str, shape))


def _variant_name(variant: RankedVariant | SkippedVariant) -> tuple[str, str, str]:
    return safe_cell(variant.name), safe_cell(variant.notation), format_shape(variant.input_shape)


_CURVES_PX = 300
_NAMED = 3  # variants in a sentence, at most
_UNKNOWN = "it is not known which differences are chance"


def render_sweep(ranking: SweepRanking) -> str:
    """Return the page, with all texts of the ranking escaped."""
    return page.render(
        "sweep.html.j2",
        ranking=ranking,
        verdict=sentences(ranking),
        usable=[
            (entry.name, page.text_lines(config.to_yaml(entry.settings)) if entry.settings else "")
            for entry in ranking.entries
            if entry in (ranking.entries[0], ranking.cheapest)
        ],
        paint=lambda entry: _paint(entry, name_only=True),
        dashed=_dashed,
        shape=format_shape,
        short=si_number,
        points=percentage_points,
        ends=lambda ci95: interval(ci95 or (None, None), percent),
        difference_ends=percentage_points_interval,
        curves=_curves(ranking),
        charts=_charts(ranking),
    )


def sentences(ranking: SweepRanking) -> list[str]:
    """Return the verdict: the best variant, how it compares with the baseline and others, and the cheapest as good."""
    best, cheapest = ranking.entries[0], ranking.cheapest
    ends = interval(best.ranked.ci95 or (None, None), percent)
    ends = f" (95{NBSP}% interval {ends})" if ends else ""
    found = [
        f"{_quoted(best)} ranks first: it labels {percent(best.ranked.accuracy)} of "
        f"{count(ranking.n_recordings, 'held-out recording')} correctly{ends}."
    ]
    if len(ranking.entries) > 1:
        found += [ranking.against_baseline, _noise(ranking)]
    if cheapest is not best:
        share = cheapest.multiply_adds / best.multiply_adds
        found.append(
            f"Of the variants within noise, {_quoted(cheapest)} costs least: {si_number(cheapest.multiply_adds)} "
            f"multiply-adds a window, {percent(share)} of the best one's."
        )
    return found


def _noise(ranking: SweepRanking) -> str:
    others, close = ranking.entries[1:], ranking.in_noise
    if any(entry.ranked.difference_ci95 is None for entry in others):
        return f"All recordings are of one group: {_UNKNOWN}."
    if not close:
        return f"{'All other variants are' if len(others) > 1 else 'The other variant is'} worse by more than noise."
    if len(close) == len(others) == 1:
        return "The difference to the other variant is within noise."
    if len(close) == len(others):
        return "The differences to all other variants are within noise."
    named = join_names([_quoted(entry) for entry in close[:_NAMED]])
    if len(close) > _NAMED:
        named = f"{len(close)} of the {len(others)} others"
    rest = "The others are" if len(others) > len(close) + 1 else "The other one is"
    return f"Within noise of it: {named}. {rest} worse."


def _curves(ranking: SweepRanking) -> Markup:
    entries = ranking.entries
    every = [y for entry in entries for y in entry.curve]
    low = max(0.0, min(every) - 0.05)
    high = min(1.0, max(every) + 0.05)
    return charts.draw_curves(
        [
            charts.Line(entry.name, list(enumerate(entry.curve, start=1)), _paint(entry), _dashed(entry))
            for entry in reversed(entries)  # the best on top
        ],
        title="Validation window accuracy by epoch",
        description="Mean over folds and seeds. Highest: "
        + "; ".join(f"{entry.name} {percent(max(entry.curve))}" for entry in entries)
        + ".",
        x_name="epoch",
        y_label=_whole_percent,
        y_low=low,
        y_high=high,
        height=_CURVES_PX,
        legend=False,
    )


def _charts(ranking: SweepRanking) -> list[tuple[str, Markup]]:
    costs: list[tuple[str, str, Callable[[RankedVariant], float]]] = [
        ("Accuracy against parameters", "parameters", lambda entry: entry.n_params),
        ("Accuracy against multiply-adds", "multiply-adds a window", lambda entry: entry.multiply_adds),
        ("Accuracy against prediction time", "milliseconds a window", lambda entry: entry.prediction_ms),
    ]
    return [(title, _scatter(ranking, title, x_name, cost)) for title, x_name, cost in costs]


def _scatter(ranking: SweepRanking, title: str, x_name: str, cost: Callable[[RankedVariant], float]) -> Markup:
    drawn = []
    for entry in ranking.entries:
        one = entry.ranked
        low, high = one.ci95 or (None, None)
        about = f"{one.rank}. {entry.name}: {percent(one.accuracy)}, {si_number(cost(entry))} {x_name}"
        drawn.append(charts.ScatterPoint(cost(entry), one.accuracy, low, high, f"{one.rank}", about, _paint(entry)))
    return charts.draw_scatter(
        drawn,
        title=title,
        description="; ".join(point.about for point in drawn) + ".",
        x_name=x_name,
        x_label=si_number,
        y_label=_whole_percent,
        y_limits=(0.0, 1.0),
    )


def _paint(entry: RankedVariant, *, name_only: bool = False) -> str:
    number = (entry.ranked.rank - 1) % len(svg.SERIES)
    return f"var(--series-{number + 1})" if name_only else svg.SERIES[number]


def _dashed(entry: RankedVariant) -> bool:
    return entry.ranked.rank > len(svg.SERIES)


def _quoted(entry: RankedVariant) -> str:
    return f"“{entry.name}”"


def _whole_percent(share: float) -> str:
    return f"{100 * share:.3g}{wording.NBSP}%"
