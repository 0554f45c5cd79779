"""The result of event tuning as one self-contained HTML page: verdict, curves, recall by level, all figures."""

import math

from markupsafe import Markup

from audiocnn.draw import charts, svg
from audiocnn.event_tuning.result import TuningResult, format_rate, format_rate_interval
from audiocnn.event_tuning.threshold_sweep import ThresholdSweep
from audiocnn.report import page
from audiocnn.wording import count, percent

_CURVE_PX = 280
_NONE = 0.5  # false alarms in all hours that stand for none on the logarithmic axis


def render_event_tuning(found: TuningResult) -> str:
    """Return the page, with all outside text escaped."""
    return page.render(
        "rehearsal.html.j2",
        found=found,
        verdict=found.sentences(),
        caution=found.caution(),
        wanted=format_rate(found.limit),
        curves=[(label, _curve(found, label)) for label in found.checked_metrics],
        levels=_levels(found),
        alarms=format_rate_interval,
    )


def _curve(found: TuningResult, label: str) -> Markup:
    lines = [
        charts.Line("choosing half", _points(found, found.chosen_on, label), svg.MUTED, dashed=True),
        charts.Line("checking half", _points(found, found.checked_on, label), svg.BLUE),
    ]
    one = found.checked_metrics[label]
    return charts.draw_curves(
        lines,
        title=f"Recall by false alarms an hour of {label}",
        description=f"Each point is a threshold. The chosen one is {found.point.thresholds[label]:g}, which finds "
        f"{percent(one.recall)} with {format_rate(one.false_alarms_per_hour)}.",
        x_name="false alarms an hour (at the left edge: none)",
        x_label=lambda power: f"{10**power:.3g}",
        logarithmic=True,
        y_label=_whole_percent,
        y_high=1.0,
        height=_CURVE_PX,
        mark=_across(one.false_alarms_per_hour, found.checked_on.hours),
        mark_name=f"threshold {found.point.thresholds[label]:g}",
    )


def _points(found: TuningResult, swept: ThresholdSweep, label: str) -> list[tuple[float, float]]:
    """Return the curve over all thresholds, highest first, with the chosen smoothing and minimum duration."""
    s, d, _ = found.point.indices[label]
    rates, recalls = swept.false_alarms_per_hour(label)[s, d][::-1], swept.recall(label)[s, d][::-1]
    return [(_across(float(x), swept.hours), float(y)) for x, y in zip(rates, recalls, strict=True)]


def _across(per_hour: float, hours: float) -> float:
    return math.log10(max(per_hour, _NONE / hours))


def _levels(found: TuningResult) -> Markup:
    shown = [
        charts.Bar(
            f"{level.low_db:.3g} to {level.high_db:.3g} dB",
            level.n_found / max(level.n_events, 1),
            f"{level.n_found} of {count(level.n_events, 'event')}",
            svg.BLUE,
        )
        for level in found.snr_bands
    ]
    listed = "; ".join(f"{bar.name}: {bar.written}" for bar in shown)
    return charts.draw_bars(shown, title="Events found by their level over the background", description=f"{listed}.")


def _whole_percent(share: float) -> str:
    return f"{100 * share:.0f} %"
