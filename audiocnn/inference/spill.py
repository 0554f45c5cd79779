"""Log scores of many windows: kept in memory or in a file, and read in pieces."""

import contextlib
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiocnn.errors import OutputError
from audiocnn.features.extract import Array
from audiocnn.files import TEMPORARY, read_fully

_PREFIX = f"{TEMPORARY}scores-"
_MEMORY_BYTES = 1 << 20  # larger arrays go to a file instead of being sent from process to process
_PIECE_ROWS = 1 << 14
_DTYPE = np.dtype("<f4")


@dataclass(frozen=True)
class StoredScores:
    """A file with float32 rows (n_windows, n_labels) and nothing else. Conversion to an array reads all of it."""

    file: Path
    shape: tuple[int, int]

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.fromfile(self.file, _DTYPE).reshape(self.shape).astype(dtype or _DTYPE, copy=False)


ScoreRows = Array | StoredScores


def store_rows(parts: Iterable[NDArray[np.floating[Any]]], shape: tuple[int, int], folder: Path | None) -> ScoreRows:
    """Join rows in memory, or in a file of ``folder`` if it is given and they take more than 1 MiB.

    Raises `OutputError` if the file cannot be written.
    """
    if folder is not None and shape[0] * shape[1] * _DTYPE.itemsize > _MEMORY_BYTES:
        try:
            descriptor, name = tempfile.mkstemp(prefix=_PREFIX, dir=folder)
            with open(descriptor, "wb") as file:
                for part in parts:
                    file.write(part.astype(_DTYPE).tobytes())
        except OSError as error:
            raise OutputError(f"{folder}: cannot be written ({error.strerror or error})") from error
        return StoredScores(Path(name), shape)
    rows, first = np.empty(shape, _DTYPE), 0
    for part in parts:
        rows[first : first + len(part)] = part
        first += len(part)
    return rows


def read_rows(rows: ScoreRows, first: int, last: int) -> Array:
    """Return the rows from number ``first`` to before ``last`` as an array."""
    if not isinstance(rows, StoredScores):
        return rows[first:last]
    row_bytes = rows.shape[1] * _DTYPE.itemsize
    with open(rows.file, "rb", buffering=0) as file:
        file.seek(first * row_bytes)
        return np.frombuffer(read_fully(file, (last - first) * row_bytes), _DTYPE).reshape(-1, rows.shape[1])


def iter_bytes(rows: ScoreRows) -> Iterator[bytes]:
    """Yield the bytes of rows, about 1 MiB at a time."""
    if isinstance(rows, StoredScores):
        with open(rows.file, "rb") as file:
            while piece := file.read(_MEMORY_BYTES):
                yield piece
        return
    for first in range(0, len(rows), _PIECE_ROWS):
        yield np.asarray(rows[first : first + _PIECE_ROWS], _DTYPE).tobytes()


def discard(rows: ScoreRows) -> None:
    """Remove the file of rows, if they are in one."""
    if isinstance(rows, StoredScores):
        with contextlib.suppress(OSError):
            rows.file.unlink()


def remove_leftovers(folder: Path) -> None:
    """Remove files of ended processes from a folder; call it only while holding the folder's lock."""
    for leftover in folder.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            leftover.unlink()
