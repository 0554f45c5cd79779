"""The content of a file of predictions, in pieces: a file may be larger than memory."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from audiocnn.formats import tables
from audiocnn.formats.tables import RowKind, StartTimes
from audiocnn.inference.prediction import RecordingPrediction
from audiocnn.specs import EventSpec

FileFormat = Literal["table", "csv", "json", "audacity", "raven", "parquet"]
TIMED_FORMATS: Final = ("csv", "json", "parquet")  # in which events have the time of day

_RECORDINGS_PER_TABLE = 64
_WINDOWS_PER_TABLE = 2_000
_PIECE_BYTES = 1 << 16


def needs_windows(form: FileFormat, rows: RowKind) -> bool:
    """Return whether the output needs the scores of windows; only recordings as CSV or Parquet do not."""
    return rows != "recordings" or form not in ("csv", "parquet")


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
    """Yield the content of a file, about 64 KiB at a time; joined, it is what the functions of `tables` return.

    Parquet files and events come in one piece: they are much smaller than the predictions.
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
    parts: list[bytes] = []
    n_bytes = 0
    for text in _texts(table, form):
        parts.append(text.encode("utf-8"))
        n_bytes += len(parts[-1])
        if n_bytes >= _PIECE_BYTES:
            yield b"".join(parts)
            parts, n_bytes = [], 0
    yield b"".join(parts)


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
        parts = (part for p in predictions for part in _split_windows(p))
        yield from _without_repeated_headers(tables.windows_csv([part], table.labels) for part in parts)
    else:
        starts = range(0, len(predictions), _RECORDINGS_PER_TABLE)
        batches = (predictions[i : i + _RECORDINGS_PER_TABLE] for i in starts)
        yield from _without_repeated_headers(tables.recordings_csv(batch, table.labels) for batch in batches)


def _split_windows(prediction: RecordingPrediction) -> Iterator[RecordingPrediction]:
    """Yield predictions with some windows of a recording each; one without windows if it has none."""
    n = len(prediction.starts_s)
    for i in range(0, max(n, 1), _WINDOWS_PER_TABLE):
        some = slice(i, i + _WINDOWS_PER_TABLE)
        yield replace(
            prediction,
            starts_s=prediction.starts_s[some],
            ends_s=prediction.ends_s[some],
            window_scores=prediction.window_scores[some],
        )


def _without_repeated_headers(csv_tables: Iterator[str]) -> Iterator[str]:
    """Yield CSV tables with the same header, the header only once."""
    yield next(csv_tables)
    for table in csv_tables:
        yield table.partition("\n")[2]
