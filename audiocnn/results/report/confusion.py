"""The confusion matrix of a page: rows are the truth, columns what the model said, a cell the recordings behind it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from audiocnn.results.evaluation import Evaluation
from audiocnn.results.report.words import count

OTHER, NOT_HEARD = "(other labels)", "(not heard)"
MOST_LABELS = 50  # with more a matrix says nothing: those with most mistakes are shown
_NOT_HEARD_NUMBER = -1  # as `audiocnn.results.report.data` has it


@dataclass(frozen=True)
class Cell:
    """``n`` recordings, ``share`` of their row; by the numbers ``truth`` and ``said`` the script finds them."""

    truth: int
    said: int
    n: int
    share: float
    name: str

    @property
    def right(self) -> bool:
        return self.truth == self.said


@dataclass(frozen=True)
class Row:
    """The recordings of one true label."""

    label: str
    n: int
    cells: Sequence[Cell]


@dataclass(frozen=True)
class Matrix:
    """Rows, and the labels of their columns; ``n_left_out`` labels are not among them."""

    columns: Sequence[str]
    rows: Sequence[Row]
    n_left_out: int


def matrix(evaluation: Evaluation) -> Matrix:
    """Count, with a column for what was not heard and a row for labels that the model lacks, if there are any."""
    labels = evaluation.labels
    other = len(labels)  # all labels that the model lacks in one row
    truth = labels.encode(evaluation.truth, unknown=other).tolist()
    predicted = labels.encode((p.label for p in evaluation.predictions), unknown=_NOT_HEARD_NUMBER).tolist()
    counts = Counter(zip(truth, predicted, strict=True))
    shown = _shown(counts, len(labels))
    truths = [*shown, *([other] if any(truth == other for truth, _ in counts) else [])]
    said = [*shown, *([_NOT_HEARD_NUMBER] if any(said == _NOT_HEARD_NUMBER for _, said in counts) else [])]
    names = dict(enumerate(labels)) | {other: OTHER, _NOT_HEARD_NUMBER: NOT_HEARD}
    totals = Counter[int]()
    for (truth, _), n in counts.items():
        totals[truth] += n
    return Matrix(
        columns=[names[j] for j in said],
        rows=[Row(names[i], totals[i], [_cell(names, i, j, counts[i, j], totals[i]) for j in said]) for i in truths],
        n_left_out=len(labels) - len(shown),
    )


def _shown(counts: Counter[tuple[int, int]], n_labels: int) -> list[int]:
    """The numbers of the labels that take part in most mistakes, in their order."""
    mistakes = Counter[int]()
    for (truth, said), n in counts.items():
        if truth != said:
            mistakes.update({truth: n, said: n})
    by_mistakes = sorted(range(n_labels), key=lambda i: (-mistakes[i], i))
    return sorted(by_mistakes[:MOST_LABELS])


def _cell(names: dict[int, str], truth: int, said: int, n: int, total: int) -> Cell:
    how = "not heard" if said == _NOT_HEARD_NUMBER else f"taken for {names[said]}"
    name = f"{names[truth]} {how}: {count(n, 'recording')}".replace("\N{NO-BREAK SPACE}", " ")
    return Cell(truth, said, n, n / total if total else 0.0, name)
