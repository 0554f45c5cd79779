"""The result of event tuning: the sweeps, the chosen point, and its metrics, as figures and sentences."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

from audiocnn.evaluation.intervals import Ends
from audiocnn.event_tuning import threshold_sweep
from audiocnn.event_tuning.threshold_sweep import PointMetrics, SnrBand, SweepPoint, ThresholdSweep
from audiocnn.model.decision import MeasuredLabel, OperatingPoint
from audiocnn.wording import NBSP, count, duration, interval, join_names, percent, quoted, si_number

SCHEMA = "audiocnn.rehearsal/1"
FEWEST_EVENTS = 10  # of a label in each half; with fewer its threshold is not stored
COLUMNS = ("half", "label", "smooth_s", "min_duration_s", "threshold", "recall", "false_alarms_per_hour")

_MOST_SENTENCES = 3  # labels that have a sentence each
_MIN_RATE = 0.005  # false alarms per hour; fewer are written as 0


@dataclass(frozen=True)
class TuningResult:
    """A point chosen on the soundscapes of ``chosen_on`` and measured on those of ``checked_on``.

    The two share neither groups of recordings nor background. The background is ``background_s`` seconds of recordings
    for all soundscapes, or endless noise. ``limit`` is the number of false alarms per hour that was allowed.
    ``held_out`` names the recordings that the events come from.
    """

    name: str
    held_out: str
    chosen_on: ThresholdSweep
    checked_on: ThresholdSweep
    point: SweepPoint
    limit: float
    max_gap_s: float
    snr_db: tuple[float, float]
    background: Literal["recordings", "noise"]
    background_s: float
    seed: int
    facts: Sequence[tuple[str, str]] = ()

    @property
    def hours(self) -> float:
        """Hours of all soundscapes."""
        return self.chosen_on.hours + self.checked_on.hours

    @property
    def repeats(self) -> float:
        """How many times the background was used, at least 1."""
        return max(1.0, 3600 * self.hours / self.background_s) if self.background == "recordings" else 1.0

    @cached_property
    def checked_metrics(self) -> dict[str, PointMetrics]:
        """The metrics of each label at the point, on the half that was not used to choose it."""
        return threshold_sweep.point_metrics(self.checked_on, self.point, repeats=self.repeats, seed=self.seed)

    @cached_property
    def chosen_metrics(self) -> dict[str, PointMetrics]:
        """The metrics of each label at the point on the half that it was chosen on, which are optimistic."""
        return threshold_sweep.point_metrics(self.chosen_on, self.point, repeats=self.repeats, seed=self.seed)

    @cached_property
    def snr_bands(self) -> list[SnrBand]:
        """Events found by signal-to-noise ratio, of all labels together, on the half that was not used to choose."""
        return threshold_sweep.recall_by_snr(self.checked_on, self.point, self.snr_db)

    @cached_property
    def not_stored(self) -> dict[str, str]:
        """Why the thresholds of some labels are not stored in the model, by label; these keep their default."""
        reasons = {label: self._doubt(label).replace(NBSP, " ") for label in self.point.thresholds}
        return {label: reason for label, reason in reasons.items() if reason}

    def _doubt(self, label: str) -> str:
        chosen, checked = self.chosen_metrics[label], self.checked_metrics[label]
        fewest = min(chosen.n_events, checked.n_events)
        if fewest < FEWEST_EVENTS:
            return f"tried with {count(fewest, 'event')} only, fewer than {FEWEST_EVENTS} in each half; give more hours"
        if not chosen.n_found or not checked.n_found:
            return f"none of {count((checked if chosen.n_found else chosen).n_events, 'event')} was found in one half"
        return ""

    def operating_point(self, model: str) -> OperatingPoint | None:
        """Return the operating point to store in a bundle; None if no label has a threshold that can be stored.

        ``model`` is the digest of the tuned model.
        """
        thresholds = {label: value for label, value in self.point.thresholds.items() if label not in self.not_stored}
        if not thresholds:
            return None
        return OperatingPoint(
            thresholds=thresholds,
            smooth_s=self.point.smooth_s,
            min_duration_s=self.point.min_duration_s,
            max_gap_s=self.max_gap_s,
            wanted_false_alarms=self.limit,
            hours=self.checked_on.hours,
            background=self.background,
            snr_db=self.snr_db,
            seed=self.seed,
            measured={
                label: MeasuredLabel(
                    n_events=one.n_events,
                    n_found=one.n_found,
                    n_groups=one.n_groups,
                    recall=one.recall,
                    false_alarms_per_hour=one.false_alarms_per_hour,
                    within_limit=self.point.within_limit[label],
                )
                for label, one in self.checked_metrics.items()
            },
            model=model,
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the content of ``rehearsal.json``."""
        return {
            "schema": SCHEMA,
            "held_out": self.held_out,
            "wanted_false_alarms_per_hour": self.limit,
            "snr_db": list(self.snr_db),
            "background": self.background,
            "background_hours": self.background_s / 3600 if self.background == "recordings" else None,
            "background_heard_times": self.repeats,
            "seed": self.seed,
            "point": {
                "thresholds": dict(self.point.thresholds),
                "smooth_s": self.point.smooth_s,
                "min_duration_s": self.point.min_duration_s,
                "max_gap_s": self.max_gap_s,
                "within_limit": dict(self.point.within_limit),
            },
            "not_stored": self.not_stored,
            "checked_on": {"hours": self.checked_on.hours, "labels": _as_dicts(self.checked_metrics)},
            "chosen_on": {"hours": self.chosen_on.hours, "labels": _as_dicts(self.chosen_metrics)},
            "by_level": [asdict(level) for level in self.snr_bands],
        }

    def csv(self) -> str:
        """Return the content of ``rehearsal.csv``: all combinations on both halves."""
        out = io.StringIO(newline="")
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(COLUMNS)
        for half, sweep in (("chosen on", self.chosen_on), ("checked on", self.checked_on)):
            writer.writerows((half, *row) for row in sweep.rows())
        return out.getvalue()

    def sentences(self) -> list[str]:
        """Return the verdict: recall and false alarms of each label, or a summary of many labels, then warnings."""
        metrics = self.checked_metrics
        if len(metrics) > _MOST_SENTENCES:
            return [_summary(metrics), *self.warnings()]
        return [*(_label_sentence(label, one) for label, one in metrics.items()), *self.warnings()]

    def warnings(self) -> list[str]:
        """Return warnings about labels that exceed the limit, or of which nothing is found."""
        lines = []
        beyond = [quoted(label) for label, kept in self.point.within_limit.items() if not kept]
        if beyond:
            lines.append(
                f"No combination keeps {join_names(beyond)} within {format_rate(self.limit)}; this one has the fewest."
            )
        missed = [quoted(label) for label, one in self.checked_metrics.items() if not one.n_found]
        if missed:
            lines.append(
                f"No event of {join_names(missed)} is found: allow more false alarms, or train with this background as "
                "a label of its own."
            )
        exceeded = [
            quoted(label)
            for label, one in self.checked_metrics.items()
            if self.point.within_limit[label] and one.false_alarms_per_hour > self.limit
        ]
        if exceeded:
            lines.append(
                f"{join_names(exceeded)} kept within {format_rate(self.limit)} on the half where the thresholds were "
                "chosen, but not on the half where they were checked: rely on the latter, and run tune-events with "
                "more hours."
            )
        return lines

    def caution(self) -> str:
        """Return a caution about other places than that of the background."""
        if self.background == "noise":
            return "The background was coloured noise, unlike any real place: expect more false alarms there."
        times = f" It was used {self.repeats:.1f} times over, so false alarms repeat." if self.repeats >= 1.5 else ""
        return f"The background was {duration(self.background_s)} of recordings; other places differ.{times}"


def format_rate(per_hour: float) -> str:
    """Return a rate for a sentence.

    >>> format_rate(1.0).replace(NBSP, " "), format_rate(0.2).replace(NBSP, " ")
    ('1 false alarm an hour', '0.2 false alarms an hour')
    """
    return f"{per_hour:.3g}{NBSP}false alarm{'' if per_hour == 1 else 's'} an hour"


def format_rate_interval(ends: Ends) -> str:
    """Return the interval of a rate, with two digits.

    >>> format_rate_interval([0.00001, 184.2]), format_rate_interval([1.26, 3.0])
    ('0 to 180', '1.3 to 3')
    """
    low, high = ("" if end is None else "0" if end < _MIN_RATE else si_number(float(f"{end:.2g}")) for end in ends)
    return f"{low} to {high}"


def _label_sentence(label: str, one: PointMetrics) -> str:
    ends = interval(one.recall_ci95, percent)
    return (
        f"{quoted(label)}: {percent(one.recall)} of {count(one.n_events, 'event')} from "
        f"{count(one.n_groups, 'group')} of recordings found"
        + (f" (95{NBSP}% interval {ends})" if ends else "")
        + f", with {format_rate(one.false_alarms_per_hour)} ({format_rate_interval(one.false_alarms_ci95)})."
    )


def _summary(metrics: Mapping[str, PointMetrics]) -> str:
    """Return what is found of all labels together, the labels with the highest and lowest recall, and false alarms."""
    n_found, n_events = (sum(getattr(one, name) for one in metrics.values()) for name in ("n_found", "n_events"))
    best, worst = (choose(metrics, key=lambda label: metrics[label].recall) for choose in (max, min))
    rates = {label: one.false_alarms_per_hour for label, one in metrics.items()}
    loudest = max(rates, key=lambda label: rates[label])
    share = f" ({percent(n_found / n_events)})" if n_events else ""
    most = f", {rates[loudest]:.3g} of them of {quoted(loudest)}" if rates[loudest] else ""
    return (
        f"Of {count(n_events, 'event')} of {len(metrics)} labels {n_found:,} are found{share}: from "
        f"{percent(metrics[worst].recall)} of {quoted(worst)} to {percent(metrics[best].recall)} of {quoted(best)}. "
        f"There are {format_rate(sum(rates.values()))}{most}."
    )


def _as_dicts(metrics: dict[str, PointMetrics]) -> dict[str, dict[str, Any]]:
    return {label: asdict(one) for label, one in metrics.items()}
