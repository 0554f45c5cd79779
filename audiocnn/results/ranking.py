"""A finished sweep: its variants in their order of rank, and the table of them as CSV."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from audiocnn.results.comparison import Standing
from audiocnn.results.formats import number
from audiocnn.text import safe_cell

COLUMNS = (
    "rank", "variant", "notation", "input_shape", "parameters", "multiply_adds", "prediction_ms",
    "recording_accuracy", "recording_accuracy_low", "recording_accuracy_high", "window_accuracy", "macro_f1",
    "best_validation_accuracy", "difference_to_best", "difference_low", "difference_high", "within_noise", "n_units",
    "reason",
)  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """One variant: its network, what it costs for one window, and how good it is.

    ``curve`` is its window accuracy on held-out recordings after every epoch; all figures are means over seeds, and
    the curve over folds as well. ``n_units`` trainings are behind them.
    """

    name: str
    notation: str
    input_shape: tuple[int, int, int]
    n_params: int
    multiply_adds: int
    prediction_ms: float
    standing: Standing
    window_accuracy: float
    macro_f1: float
    curve: Sequence[float]
    n_units: int


@dataclass(frozen=True)
class Skipped:
    """A variant that cannot be built, and why."""

    name: str
    notation: str
    input_shape: tuple[int, int, int]
    reason: str


@dataclass(frozen=True)
class Ranking:
    """The variants, the best first.

    ``chosen`` says that held-out recordings also chose the epoch that was kept.
    ``n_aside`` recordings are the test part, which took no part; ``n_unusable`` were left out of all variants.
    ``facts`` are pairs of a name and a value to print at the end.
    """

    name: str
    about: str
    project: str
    entries: Sequence[Entry]
    skipped: Sequence[Skipped]
    n_recordings: int
    n_groups: int
    n_folds: int
    seeds: Sequence[int]
    n_aside: int
    n_unusable: int
    chosen: bool
    facts: Sequence[tuple[str, str]]

    @property
    def caution(self) -> str:
        """What a reader has to know, on the page as on the terminal."""
        if self.chosen:
            return (
                "The held-out recordings also chose the epoch that was kept, which flatters all variants a little "
                "alike, and the best of several looks a little better than it is."
            )
        return "The best of several looks a little better than it is."

    @property
    def in_noise(self) -> list[Entry]:
        """Those besides the best that are not known to be worse."""
        return [entry for entry in self.entries[1:] if entry.standing.in_noise]

    @property
    def cheapest(self) -> Entry:
        """Of the best and those that are not known to be worse the one with the fewest multiply-adds."""
        return min([self.entries[0], *self.in_noise], key=lambda entry: (entry.multiply_adds, entry.n_params))


def to_csv(ranking: Ranking) -> str:
    """One row a variant with `COLUMNS`, by rank; those that cannot be built come last, with their reason."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for e in ranking.entries:
        one = e.standing
        (low, high), (worst, best) = one.ci95 or (None, None), one.difference_ci95 or (None, None)
        figures = [one.accuracy, low, high, e.window_accuracy, e.macro_f1, max(e.curve), one.difference, worst, best]
        costs = (e.n_params, e.multiply_adds, f"{e.prediction_ms:.6g}")
        noise = "yes" if one.in_noise else "no"
        writer.writerow((one.rank, *_named(e), *costs, *map(number, figures), noise, e.n_units, ""))
    for s in ranking.skipped:
        writer.writerow(("", *_named(s), *[""] * (len(COLUMNS) - 5), safe_cell(s.reason)))
    return out.getvalue()


def sizes(shape: Sequence[int]) -> str:
    """Return a shape as people write it.

    >>> sizes((50, 128, 2))
    '50x128x2'
    """
    return "x".join(map(str, shape))


def _named(variant: Entry | Skipped) -> tuple[str, str, str]:
    return safe_cell(variant.name), safe_cell(variant.notation), sizes(variant.input_shape)
