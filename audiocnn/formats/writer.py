"""Predictions to the content of a file, in pieces: what is written may be larger than memory."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from audiocnn.formats import tables
from audiocnn.formats.tables import RowKind
from audiocnn.inference.prediction import RecordingPrediction
from audiocnn.specs import EventSpec

FileFormat = Literal["table", "csv", "json", "audacity", "raven", "parquet"]

_AT_A_TIME = 64  # recordings
_WINDOWS_AT_A_TIME = 2_000
_PIECE_BYTES = 1 << 16


def needs_windows(form: FileFormat, rows: RowKind) -> bool:
    """Tell whether something is written that has to do with windows."""
    return rows != "recordings" or form not in ("csv", "parquet")


@dataclass(frozen=True)
class OutputTable:
    """What is to be written.

    ``model`` is its description, ``band_hz`` its frequency range. ``spec`` and ``start_times``, when each recording
    began, are for events: the rows that Audacity and Raven have in any case, and that JSON has besides.
    """

    predictions: Sequence[RecordingPrediction]
    labels: Sequence[str]
    model: Mapping[str, Any]
    band_hz: tuple[float, float] = (0.0, math.inf)
    rows: RowKind = "recordings"
    spec: EventSpec | None = None
    start_times: Sequence[datetime | None] | None = None


def iter_bytes(table: OutputTable, form: FileFormat) -> Iterator[bytes]:
    """Yield the content of a file, some 64 KiB at a time; put together it is what `formats` returns in one.

    Only Parquet and events come in one piece: they are much smaller than what they are made of.
    """
    if form == "parquet":
        yield tables.to_parquet(
            table.predictions,
            table.labels,
            table.model,
            rows=table.rows,
            spec=table.spec,
            start_times=table.start_times,
        )
        return
    held: list[bytes] = []
    n_held = 0
    for text in _texts(table, form):
        held.append(text.encode("utf-8"))
        n_held += len(held[-1])
        if n_held >= _PIECE_BYTES:
            yield b"".join(held)
            held, n_held = [], 0
    yield b"".join(held)


def _texts(table: OutputTable, form: FileFormat) -> Iterator[str]:
    predictions, spec = table.predictions, table.spec or EventSpec()
    if form == "json":
        yield from tables.json_pieces(predictions, table.labels, table.model, table.spec, table.start_times)
    elif form == "audacity":
        yield tables.audacity_labels(predictions, spec)
    elif form == "raven":
        yield tables.raven_table(predictions, spec, band_hz=table.band_hz)
    elif table.rows == "events":
        yield tables.events_csv(predictions, spec, table.start_times)
    elif table.rows == "windows":
        parts = (part for p in predictions for part in _parts(p))
        yield from _one(tables.windows_csv([part], table.labels) for part in parts)
    else:
        some = (predictions[i : i + _AT_A_TIME] for i in range(0, len(predictions), _AT_A_TIME))
        yield from _one(tables.recordings_csv(part, table.labels) for part in some)


def _parts(prediction: RecordingPrediction) -> Iterator[RecordingPrediction]:
    """A recording's windows some at a time, as predictions; one without windows, if it has none."""
    n = len(prediction.starts_s)
    for i in range(0, max(n, 1), _WINDOWS_AT_A_TIME):
        some = slice(i, i + _WINDOWS_AT_A_TIME)
        yield replace(
            prediction,
            starts_s=prediction.starts_s[some],
            ends_s=prediction.ends_s[some],
            window_scores=prediction.window_scores[some],
        )


def _one(tables: Iterator[str]) -> Iterator[str]:
    """Tables with the same first line, as one."""
    yield next(tables)
    for table in tables:
        yield table.partition("\n")[2]
