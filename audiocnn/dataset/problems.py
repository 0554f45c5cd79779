"""What ``init`` could not use as it is: rows and files that it left out or corrected, and notes on what it read."""

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from audiocnn.errors import ManifestError
from audiocnn.labels import find_fault
from audiocnn.text import printable, safe_cell

LEFT_OUT = "left out"
NOT_USED = "not used"
TAKEN_AS_ZERO = "start taken as 0"


class RowError(ManifestError):
    """A row that cannot be used, and that leaves the other rows of its table as they are.

    ``where`` is file and line, ``value`` the text at fault, ``problem`` what is wrong and what to do.
    """

    def __init__(self, where: str, problem: str, value: str = "") -> None:
        super().__init__(f"{where}: {problem}")
        self.problem = problem
        self.value = value


def row_label(text: str, where: str, *, of: str = "") -> str:
    """Return the label in a row, stripped; raise `RowError` for an invalid one. ``of`` is the recording, if known."""
    label = text.strip()
    if fault := find_fault(label):
        raise RowError(where, f"{printable(of)}: label {fault}" if of else f"label {fault}", label)
    return label


@dataclass(frozen=True)
class Problem:
    """A row, or with ``line`` None a whole file, that was not used as it is."""

    file: str
    line: int | None
    value: str
    problem: str
    outcome: str

    def __str__(self) -> str:
        line = "" if self.line is None else f" line {self.line}:"
        return f"{printable(self.file)}:{line} {self.problem}"


@dataclass
class Report:
    """Collects problems, and notes: sentences on how something was read.

    ``origins`` tells in which file and line the stretch of a recording is, by path and stretch.
    """

    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    origins: dict[tuple[str, tuple[float, float]], tuple[str, int]] = field(default_factory=dict)

    def add(self, file: str, line: int | None, problem: str, *, value: str = "", outcome: str = LEFT_OUT) -> None:
        """Add a problem."""
        self.problems.append(Problem(file, line, value, problem, outcome))

    @contextmanager
    def leaving_out(self, file: str, line: int | None) -> Iterator[None]:
        """Turn a `RowError` in the block into a problem: the row is left out."""
        try:
            yield
        except RowError as error:
            self.add(file, line, error.problem, value=error.value)

    def first_row(self) -> str:
        """Return the first row that was not used as it is, and the number of others; empty if there is none."""
        rows = [problem for problem in self.problems if problem.outcome != NOT_USED]
        more = f" ({len(rows) - 1} more like this)" if len(rows) > 1 else ""
        return f"{rows[0]}{more}" if rows else ""

    def require_none(self) -> None:
        """Raise `ManifestError` naming the first row that was not used as it is, if there is one."""
        if first := self.first_row():
            raise ManifestError(f"{first}; correct it, or run init without --strict")

    def to_csv(self) -> str:
        """Return the problems as the text of ``init-problems.csv``."""
        out = io.StringIO(newline="")
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(("file", "line", "value", "problem", "outcome"))
        for p in self.problems:
            texts = (safe_cell(printable(text)) for text in (p.value, p.problem, p.outcome))
            writer.writerow((safe_cell(printable(p.file)), "" if p.line is None else p.line, *texts))
        return out.getvalue()


def shown(file: Path, folder: Path) -> str:
    """Return the path of a file for messages and tables: relative to ``folder`` if it is below it."""
    return str(file.relative_to(folder)) if file.is_relative_to(folder) else str(file)
