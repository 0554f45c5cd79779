"""Read the delimited tables that programs and people save: comma, semicolon or tab, in any common encoding."""

import csv
import difflib
import io
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from audiocnn.dataset import foreign_files, text_encoding
from audiocnn.errors import ManifestError
from audiocnn.text import printable

_DELIMITERS = ",;\t|"
_CALLED = {";": "semicolons", "\t": "tabs", "|": "bars"}


@dataclass(frozen=True)
class Table:
    """A table with a header. ``note`` tells its separator and encoding if they are not comma and UTF-8.

    ``body`` is its text from ``first_line`` on.
    """

    file: Path
    columns: Sequence[str]
    delimiter: str
    note: str
    body: str
    first_line: int

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yield the number of the last line and the stripped cells of every row that is not blank.

        There is a cell for every column. Raise `ManifestError` for a row with more cells, or with an unclosed quote.
        """
        reader = csv.reader(io.StringIO(self.body, newline=""), delimiter=self.delimiter, strict=True)
        try:
            _next_row(reader)
            for cells in reader:
                if not any(cell.strip() for cell in cells):
                    continue
                line = self.first_line + reader.line_num - 1
                if any(cells[len(self.columns) :]):
                    mark = "a comma" if self.delimiter == "," else "a separator"
                    raise ManifestError(
                        f"{self.file}: line {line}: more cells than columns; put a path with {mark} into double quotes"
                    )
                cells += [""] * (len(self.columns) - len(cells))
                yield line, [cell.strip() for cell in cells[: len(self.columns)]]
        except csv.Error as error:
            raise ManifestError(f"{self.file}: line {self.first_line + reader.line_num - 1}: {error}") from error


def read(file: Path, *, expected: Collection[str]) -> Table:
    """Read the header of a table; the delimiter is the one with which most ``expected`` columns are found.

    Raise `ManifestError` for a file that cannot be read or is no text, naming what it is.
    """
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        raise ManifestError(f"{file}: no such file") from None
    except OSError as error:
        raise ManifestError(f"{file}: cannot be read ({error.strerror})") from error
    if other := foreign_files.describe(data):
        raise ManifestError(f"{file}: {other}")
    decoded = text_encoding.decode(data)
    table = parse(file, decoded.text, expected=expected)
    separated = f"is separated by {_CALLED[table.delimiter]}." if table.delimiter in _CALLED else ""
    note = " ".join(filter(None, (separated, decoded.note)))
    return replace(table, note=f"{file}: {note}" if note else "")


def parse(file: Path, text: str, *, expected: Collection[str]) -> Table:
    """Return the text of a table as a `Table`; its first line may be ``sep=;``, as Excel writes and reads it."""
    body, first_line, delimiters = text, 1, _DELIMITERS
    first, _, rest = text.partition("\n")
    if separator := re.fullmatch(r'"?sep=([,;\t|])"?\r?', first, re.IGNORECASE):
        body, first_line, delimiters = rest, 2, separator[1]
    try:
        headers = {delimiter: _header(body, delimiter) for delimiter in delimiters}
    except csv.Error as error:
        raise ManifestError(f"{file}: line {first_line}: {error}") from error
    delimiter = max(headers, key=lambda d: (len(set(expected) & set(headers[d])), len(headers[d])))
    return Table(file, headers[delimiter], delimiter, "", body, first_line)


def _header(body: str, delimiter: str) -> list[str]:
    reader = csv.reader(io.StringIO(body, newline=""), delimiter=delimiter)
    return [name.strip() for name in _next_row(reader)]


def _next_row(reader: Iterable[list[str]]) -> list[str]:
    """Return the first row that is not blank."""
    return next((cells for cells in reader if any(cell.strip() for cell in cells)), [])


def find_column(columns: Sequence[str], name: str) -> int | None:
    """Return the index of a column; upper or lower case only counts if several columns differ in nothing else."""
    name = name.strip()
    if name in columns:
        return columns.index(name)
    lower = [column.lower() for column in columns]
    return lower.index(name.lower()) if name.lower() in lower else None


def missing_column(columns: Sequence[str], name: str) -> str:
    """Return the part of a message that names a missing column, the nearest one and those that there are."""
    near = difflib.get_close_matches(name.strip().lower(), [column.lower() for column in columns], n=1)
    listed = ", ".join(printable(column) for column in columns if column) or "nothing"
    if near:
        nearest = next(column for column in columns if column.lower() == near[0])
        return f"has no column '{printable(name.strip())}'; did you mean '{printable(nearest)}'? It has: {listed}"
    return f"has no column '{printable(name.strip())}'; it has: {listed}"
