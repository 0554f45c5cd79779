"""A finished sweep as one HTML page that needs nothing else: the ranking, the curves, and what accuracy costs."""

from collections.abc import Callable

from markupsafe import Markup

from audiocnn.draw import colour, curve, scatter
from audiocnn.results.ranking import Entry, Ranking, sizes
from audiocnn.results.report import page, words
from audiocnn.results.report.words import NBSP, count, interval, listed, percent, points, short

_CURVES_PX = 300
_NAMED = 3  # variants that a sentence names


def render(ranking: Ranking) -> str:
    """Return the page; texts of a ranking come from outside and are escaped."""
    return page.template("sweep.html.j2").render(
        ranking=ranking,
        style=page.style(),
        verdict=sentences(ranking),
        paint=lambda entry: _paint(entry, name_only=True),
        dashed=_dashed,
        shape=sizes,
        short=short,
        points=points,
        ends=lambda ci95: interval(ci95 or (None, None), percent),
        apart=lambda ci95: f"{points(ci95[0])} to {points(ci95[1])}" if ci95 else "",
        curves=_curves(ranking),
        charts=_charts(ranking),
    )


def sentences(ranking: Ranking) -> list[str]:
    """Return the verdict: which is best, which are not known to be worse, and which of them costs least."""
    best, cheapest = ranking.entries[0], ranking.cheapest
    ends = interval(best.standing.ci95 or (None, None), percent)
    ends = f" (95{NBSP}% interval {ends})" if ends else ""
    found = [
        f"{_quoted(best)} comes first: it labels {percent(best.standing.accuracy)} of "
        f"{count(ranking.n_recordings, 'held-out recording')} right{ends}."
    ]
    if len(ranking.entries) > 1:
        found.append(_noise(ranking))
    if cheapest is not best:
        share = cheapest.multiply_adds / best.multiply_adds
        found.append(
            f"Of those that may be as good, {_quoted(cheapest)} costs least: {short(cheapest.multiply_adds)} "
            f"multiply-adds a window, {percent(share)} of the best one's."
        )
    return found


def _noise(ranking: Ranking) -> str:
    others, close = ranking.entries[1:], ranking.in_noise
    if any(entry.standing.difference_ci95 is None for entry in others):
        return "All recordings are of one group, so nothing can be said about chance."
    if not close:
        return f"Its lead over {'every other' if len(others) > 1 else 'the other'} variant is more than noise."
    if len(close) == len(others) == 1:
        return "The other variant is not known to be worse: the difference is within noise."
    if len(close) == len(others):
        return "No other variant is known to be worse: all differences are within noise."
    named = listed([_quoted(entry) for entry in close[:_NAMED]])
    if len(close) > _NAMED:
        named = f"{len(close)} of the {len(others)} others"
    return f"Within noise of it: {named}. The rest is worse."


def _curves(ranking: Ranking) -> Markup:
    entries = ranking.entries
    every = [y for entry in entries for y in entry.curve]
    low = max(0.0, min(every) - 0.05)
    high = min(1.0, max(every) + 0.05)
    return curve.draw(
        [
            curve.Line(entry.name, list(enumerate(entry.curve, start=1)), _paint(entry), _dashed(entry))
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


def _charts(ranking: Ranking) -> list[tuple[str, Markup]]:
    costs: list[tuple[str, str, Callable[[Entry], float]]] = [
        ("Accuracy against parameters", "parameters", lambda entry: entry.n_params),
        ("Accuracy against multiply-adds", "multiply-adds a window", lambda entry: entry.multiply_adds),
        ("Accuracy against prediction time", "milliseconds a window", lambda entry: entry.prediction_ms),
    ]
    return [(title, _scatter(ranking, title, x_name, cost)) for title, x_name, cost in costs]


def _scatter(ranking: Ranking, title: str, x_name: str, cost: Callable[[Entry], float]) -> Markup:
    drawn = []
    for entry in ranking.entries:
        one = entry.standing
        low, high = one.ci95 or (None, None)
        about = f"{one.rank}. {entry.name}: {percent(one.accuracy)}, {short(cost(entry))} {x_name}"
        drawn.append(scatter.Point(cost(entry), one.accuracy, low, high, f"{one.rank}", about, _paint(entry)))
    return scatter.draw(
        drawn,
        title=title,
        description="; ".join(point.about for point in drawn) + ".",
        x_name=x_name,
        x_label=short,
        y_label=_whole_percent,
        y_limits=(0.0, 1.0),
    )


def _paint(entry: Entry, *, name_only: bool = False) -> str:
    number = (entry.standing.rank - 1) % len(colour.SERIES)
    return f"var(--series-{number + 1})" if name_only else colour.SERIES[number]


def _dashed(entry: Entry) -> bool:
    return entry.standing.rank > len(colour.SERIES)


def _quoted(entry: Entry) -> str:
    return f"“{entry.name}”"


def _whole_percent(share: float) -> str:
    return f"{100 * share:.3g}{words.NBSP}%"
