"""How a rehearsal of event detection is shown."""

from typing import TYPE_CHECKING

from audiocnn.terminal import tables
from audiocnn.terminal.live import Speaker

if TYPE_CHECKING:
    from audiocnn.stages.rehearse import Rehearsed

_SHOWN = 10  # recordings that cannot be used, unless all are asked for


class Rehearsals(Speaker):
    """Shows which point was chosen, and what it reaches."""

    def rehearsed(self, result: "Rehearsed") -> None:
        from audiocnn.results.rehearsal import rates

        shown = result.unusable if self._verbose else result.unusable[:_SHOWN]
        for path, error in shown:
            self.warn(f"{path}: {error.detail} [{error.code}]")
        if len(shown) < len(result.unusable):
            self.warn(f"... and {len(result.unusable) - len(shown):,} more that cannot be used (-v names them)")
        found, point = result.rehearsal, result.rehearsal.point
        table = tables.plain(
            "label", "threshold>", "recall>", "95 % interval>", "found>", "false alarms/h>", "95 % interval>"
        )
        for label, one in found.reached.items():
            recall_ends = "-" if None in one.recall_ci95 else " to ".join(map(tables.figure, one.recall_ci95))
            table.add_row(
                *tables.cells(label, f"{point.thresholds[label]:g}", tables.figure(one.recall), recall_ends,
                        f"{one.n_found:,} of {one.n_events:,}", f"{one.false_alarms_per_hour:.3g}",
                        rates(one.false_alarms_ci95))
            )  # fmt: skip
        self._print(table)
        self._print(
            f"Scores averaged over {point.smooth_s:g} s, events of at least {point.min_duration_s:g} s. Measured on "
            f"{found.checked_on.hours:.2g} h that took no part in choosing."
        )
        for line in (*found.warnings(), found.caution()):
            self._print(line)
        self._print(f"Page: {result.folder / 'rehearsal.html'}")
        if result.stored_in is None:
            self._print("Not stored: the model is as it was.")
        else:
            self._print(
                f"Stored in {result.stored_in}: 'audiocnn predict --events' uses it where nothing else is said."
            )
