"""The content of a file of predictions, in pieces of similar size."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from audiocnn.formats import tables
from audiocnn.formats.tables import RowKind, StartTimes
from audiocnn.inference.prediction import RecordingPrediction
from audiocnn.specs import EventSpec

FileFormat = Literal["table", "csv", "json", "audacity", "raven", "parquet"]
TIMED_FORMATS: Final = ("csv", "json", "parquet")  # in which events have the time of day

_PIECE_BYTES = 1 << 16


@dataclass(frozen=True)
class OutputTable:
    """The content of a file: predictions, and how to present them.

    ``model`` describes the model, ``band_hz`` is its frequency range. ``spec`` and ``start_times``, the time at which
    each recording started, are for events: the rows of Audacity and Raven in any case, and a part of JSON.
    """

    predictions: Sequence[RecordingPrediction]
    labels: Sequence[str]
    model: Mapping[str, Any]
    band_hz: tuple[float, float] = (0.0, math.inf)
    rows: RowKind = "recordings"
    spec: EventSpec | None = None
    start_times: StartTimes | None = None


def iter_bytes(table: OutputTable, form: FileFormat) -> Iterator[bytes]:
    """Yield the content of a file, at least 64 KiB at a time; joined, it is what the functions of `tables` yield."""
    parts: list[bytes] = []
    n_bytes = 0
    for piece in _pieces(table, form):
        parts.append(piece)
        n_bytes += len(piece)
        if n_bytes >= _PIECE_BYTES:
            yield b"".join(parts)
            parts, n_bytes = [], 0
    yield b"".join(parts)


def _pieces(table: OutputTable, form: FileFormat) -> Iterator[bytes]:
    if form == "parquet":
        what = table.predictions, table.labels, table.model
        return tables.to_parquet(*what, rows=table.rows, spec=table.spec, start_times=table.start_times)
    return (text.encode("utf-8") for text in _texts(table, form))


def _texts(table: OutputTable, form: FileFormat) -> Iterator[str]:
    predictions, spec = table.predictions, table.spec or EventSpec()
    if form == "json":
        return tables.json_text(predictions, table.labels, table.model, table.spec, table.start_times)
    if form == "audacity":
        return tables.audacity_labels(predictions, spec)
    if form == "raven":
        return tables.raven_table(predictions, spec, band_hz=table.band_hz)
    if table.rows == "events":
        return tables.events_csv(predictions, spec, table.start_times)
    if table.rows == "windows":
        return tables.windows_csv(predictions, table.labels)
    return tables.recordings_csv(predictions, table.labels)
