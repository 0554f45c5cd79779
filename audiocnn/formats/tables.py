"""Predictions as CSV, JSON, Parquet, Audacity labels and Raven selection tables.

Takes predictions, yields the content of a file in pieces: it may be larger than memory, as a recording of a day may
have a million windows. The content is a contract with other programs, see docs/formats.md.
"""

import csv
import io
import itertools
import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from audiocnn.errors import needs_extra
from audiocnn.inference import events
from audiocnn.inference.events import Event
from audiocnn.inference.prediction import RecordingPrediction
from audiocnn.model.domain import DomainCheck
from audiocnn.specs import EventSpec
from audiocnn.text import decode_path, printable, safe_cell

if TYPE_CHECKING:
    import pyarrow as pa


SCHEMA = "audiocnn.predictions/1"
COLUMNS = ("recording", "status", "label", "score", "duration_s", "analysed_s", "reason")
WINDOW_COLUMNS = ("recording", "start_s", "end_s", "label", "score")
EVENT_COLUMNS = ("recording", "start_s", "end_s", "label", "score", "peak_s", "start_time")
RAVEN_COLUMNS = (
    "Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)",
    "Begin Path", "Begin File", "File Offset (s)", "Annotation", "Score",
)  # fmt: skip

RowKind = Literal["recordings", "windows", "events"]
StartTimes = Sequence[datetime | None]

_ROWS_AT_A_TIME = 1_000
_GROUP_ROWS = 1 << 15  # least number of rows in a row group of Parquet, except the last one
_TEXT = {"recording", "status", "label", "reason", "start_time"}


def recordings_csv(
    predictions: Sequence[RecordingPrediction],
    labels: Sequence[str],
    extra: Mapping[str, Sequence[str]] | None = None,
    *,
    nearest: bool = False,
) -> Iterator[str]:
    """Yield one row per recording: `COLUMNS`, then ``p_<label>`` for every label, then the ``extra`` columns.

    An unknown recording has no label, or with ``nearest`` the nearest one.
    """
    extra = extra or {}
    rows = (
        (
            p.recording,
            p.status,
            safe_cell(p.label) if nearest or not p.doubt else "",
            format_score(p.score if nearest or not p.doubt else None),
            format_seconds(p.recording_status.duration_s),
            format_seconds(p.recording_status.analysed_s),
            safe_cell(p.reason),
            *(map(format_score, p.scores) if p.has_scores else [""] * len(labels)),
            *(safe_cell(values[i]) for values in extra.values()),
        )
        for i, p in enumerate(predictions)
    )
    return _csv([*COLUMNS, *(f"p_{label}" for label in labels), *extra], rows)


def windows_csv(predictions: Iterable[RecordingPrediction], labels: Sequence[str]) -> Iterator[str]:
    """Yield one row per window: `WINDOW_COLUMNS`, then ``p_<label>`` for every label."""
    rows = (
        (
            p.recording,
            format_seconds(start),
            format_seconds(end),
            safe_cell(label),
            format_score(scores.max()),
            *map(format_score, scores),
        )
        for prediction in predictions
        for p in prediction.parts()
        for start, end, label, scores in zip(p.starts_s, p.ends_s, p.window_labels(), p.window_scores, strict=True)
    )
    return _csv([*WINDOW_COLUMNS, *(f"p_{label}" for label in labels)], rows)


def events_csv(
    predictions: Sequence[RecordingPrediction], spec: EventSpec, start_times: StartTimes | None = None
) -> Iterator[str]:
    """Yield one row per event: `EVENT_COLUMNS`.

    ``start_times`` are those of the recordings. The column ``start_time`` is empty if they are not known.
    """
    rows = (
        (
            p.recording,
            format_seconds(event.start_s),
            format_seconds(event.end_s),
            safe_cell(event.label),
            format_score(event.score),
            format_seconds(event.peak_s),
            event_start_time(event, start) or "",
        )
        for p, start in _with_start_times(predictions, start_times)
        for event in events.find_events(p, spec)
    )
    return _csv(EVENT_COLUMNS, rows)


def audacity_labels(predictions: Sequence[RecordingPrediction], spec: EventSpec) -> Iterator[str]:
    """Yield events as an Audacity label track: start and end in seconds, and label, separated by tabs.

    Times are counted from the start of each recording, so with several recordings the label also names the recording.
    """
    for p in predictions:
        prefix = f"{p.recording}: " if len(predictions) > 1 else ""
        for event in events.find_events(p, spec):
            yield f"{event.start_s:.6f}\t{event.end_s:.6f}\t{_plain_cell(prefix + event.label)}\n"


def raven_table(
    predictions: Sequence[RecordingPrediction], spec: EventSpec, *, band_hz: tuple[float, float] = (0.0, math.inf)
) -> Iterator[str]:
    """Yield events as a Raven selection table: `RAVEN_COLUMNS`, separated by tabs.

    The frequencies of a selection are ``band_hz``, the band of the model, limited to that of the recording. Begin and
    end times are those of Raven when it opens all recordings one after the other in this order; the file offset is
    counted from the start of the recording.
    """
    yield "\t".join(RAVEN_COLUMNS) + "\n"
    number = 0
    offset_s = 0.0  # of the recording in Raven's sequence
    for p in predictions:
        path = Path(os.path.abspath(decode_path(p.recording)))
        high_hz = min(band_hz[1], p.recording_status.sample_rate / 2)
        for event in events.find_events(p, spec):
            number += 1
            cells = (
                str(number),
                "Spectrogram 1",
                "1",
                f"{offset_s + event.start_s:.6f}",
                f"{offset_s + event.end_s:.6f}",
                f"{min(band_hz[0], high_hz):.1f}",
                f"{high_hz:.1f}",
                _plain_cell(str(path)),
                _plain_cell(path.name),
                f"{event.start_s:.6f}",
                _plain_cell(event.label),
                format_score(event.score),
            )
            yield "\t".join(cells) + "\n"
        offset_s += p.recording_status.duration_s


def json_text(
    predictions: Sequence[RecordingPrediction],
    labels: Sequence[str],
    model: Mapping[str, Any],
    spec: EventSpec | None = None,
    start_times: StartTimes | None = None,
) -> Iterator[str]:
    """Yield recordings and their windows as JSON, with a description of the ``model``.

    With a ``spec``, recordings also have events; with ``start_times``, their start times.
    """
    settings = {} if spec is None else {"event_settings": spec.model_dump(mode="json")}
    value = {"schema": SCHEMA, "model": model, "labels": list(labels), **settings, "recordings": []}
    yield _indented(value).removesuffix("]\n}")
    empty = True
    for p, start in _with_start_times(predictions, start_times):
        optional: dict[str, Any] = {} if start_times is None else {"begun": start and start.isoformat()}
        if spec is not None:
            optional["events"] = [_event_value(event, start) for event in events.find_events(p, spec)]
        value = _recording_value(p, labels) | optional | {"windows": []}
        yield ("\n    " if empty else ",\n    ") + _indented(value, depth=2).removesuffix("]\n    }")
        empty = False
        yield from _windows_json(p, labels)
        yield "\n      ]\n    }" if p.n_windows else "]\n    }"
    yield "]\n}\n" if empty else "\n  ]\n}\n"


def _recording_value(p: RecordingPrediction, labels: Sequence[str]) -> dict[str, Any]:
    return {
        "recording": p.recording,
        "status": p.status,
        "label": None if p.doubt else p.label or None,
        "score": None if p.doubt else p.score,
        "nearest": p.label or None,
        "set": list(p.label_set),
        "duration_s": p.recording_status.duration_s,
        "analysed_s": p.recording_status.analysed_s,
        "reason": p.reason,
        "detail": p.recording_status.detail,
        "scores": dict(zip(labels, map(float, p.scores), strict=False)),
        "domain": None if p.domain is None else _domain_value(p.domain),
    }


def _domain_value(check: DomainCheck) -> dict[str, Any]:
    return {
        "grade": check.grade,
        **asdict(check.signal_stats),
        "resemblance": check.resemblance,
        "sentences": list(check.sentences),
    }


def _event_value(event: Event, start: datetime | None) -> dict[str, Any]:
    return {
        "start_s": round(event.start_s, 6),
        "end_s": round(event.end_s, 6),
        "label": event.label,
        "score": event.score,
        "peak_s": round(event.peak_s, 6),
        "start_time": event_start_time(event, start),
    }


def _windows_json(p: RecordingPrediction, labels: Sequence[str]) -> Iterator[str]:
    """Yield windows made from a template; the JSON encoder takes ten times as long."""
    names = {label: json.dumps(label, ensure_ascii=False) for label in labels}
    scores = ",\n".join(f"            {name.replace('%', '%%')}: %r" for name in names.values())
    window = (
        '%s\n        {\n          "start_s": %r,\n          "end_s": %r,\n          "label": %s,\n'
        f'          "score": %r,\n          "scores": {{\n{scores}\n          }}\n        }}'
    )
    comma = ""
    for part in p.parts():
        if not np.isfinite(part.window_scores).all():
            raise ValueError(f"{p.recording}: scores are not finite; JSON cannot hold them")
        rows = zip(part.starts_s, part.ends_s, part.window_labels(), part.window_scores, strict=True)
        for start, end, label, row in rows:
            times = (round(float(start), 6), round(float(end), 6))
            yield window % (comma, *times, names[label], float(row.max()), *row.tolist())
            comma = ","


def _indented(value: object, depth: int = 0) -> str:
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    return text.replace("\n", "\n" + "  " * depth)


def to_parquet(
    predictions: Sequence[RecordingPrediction],
    labels: Sequence[str],
    model: Mapping[str, Any],
    *,
    rows: RowKind = "recordings",
    spec: EventSpec | None = None,
    start_times: StartTimes | None = None,
) -> Iterator[bytes]:
    """Yield one row per recording, window or event, with the columns of the CSV; an empty cell is null.

    ``spec`` and ``start_times`` are for events. The metadata holds the schema and ``model``, as in JSON.
    Raises `MissingExtraError` without pyarrow.
    """
    metadata = {"schema": SCHEMA, "model": model, "rows": rows}
    scored = [f"p_{label}" for label in labels]
    if rows == "recordings":
        names, pieces = [*COLUMNS, *scored], _recording_columns(predictions, len(labels))
    elif rows == "windows":
        names, pieces = [*WINDOW_COLUMNS, *scored], _window_columns(predictions)
    else:
        spec = spec or EventSpec()
        metadata["event_settings"] = spec.model_dump(mode="json")
        names, pieces = [*EVENT_COLUMNS], _event_columns(predictions, spec, start_times)
    return parquet_bytes({name: str if name in _TEXT else float for name in names}, pieces, metadata)


def _recording_columns(predictions: Sequence[RecordingPrediction], n_labels: int) -> Iterator[Sequence[Any]]:
    for p in predictions:
        label, score = (safe_cell(p.label), p.score) if p.has_scores and not p.doubt else (None, None)
        row = (p.recording, p.status, label, score, p.recording_status.duration_s)
        scores = p.scores if p.has_scores else [None] * n_labels
        yield [[cell] for cell in (*row, p.recording_status.analysed_s, safe_cell(p.reason) or None, *scores)]


def _window_columns(predictions: Iterable[RecordingPrediction]) -> Iterator[Sequence[Any]]:
    for prediction in predictions:
        names = [safe_cell(label) for label in prediction.labels]
        for p in prediction.parts():
            scores = np.ascontiguousarray(p.window_scores.T)
            labels = [names[i] for i in scores.argmax(axis=0)]
            yield [[p.recording] * len(labels), p.starts_s, p.ends_s, labels, scores.max(axis=0), *scores]


def _event_columns(
    predictions: Sequence[RecordingPrediction], spec: EventSpec, start_times: StartTimes | None
) -> Iterator[Sequence[Any]]:
    for p, start in _with_start_times(predictions, start_times):
        found = iter(events.find_events(p, spec))
        while some := list(itertools.islice(found, _ROWS_AT_A_TIME)):
            rows = (
                (p.recording, e.start_s, e.end_s, safe_cell(e.label), e.score, e.peak_s, event_start_time(e, start))
                for e in some
            )
            yield list(zip(*rows, strict=True))


def stretch_columns(spans: Sequence[tuple[float, float] | None]) -> dict[str, list[str]]:
    """Return the columns ``start_s`` and ``end_s`` of stretches of recordings; empty cells for a whole recording."""
    return {
        name: ["" if span is None else format_seconds(span[i]) for span in spans]
        for i, name in enumerate(("start_s", "end_s"))
    }


def format_score(value: float | None) -> str:
    """Return a score with enough digits to recompute every figure from the file."""
    return "" if value is None else f"{value:.9g}"


def format_seconds(value: float) -> str:
    """Return seconds with microseconds, without trailing zeros."""
    return f"{value:.6f}".rstrip("0").rstrip(".")


def event_start_time(event: Event, start: datetime | None) -> str | None:
    """Return the time at which an event starts in ISO 8601, with milliseconds; ``start`` is that of its recording.

    Where clocks are changed during the recording, the offset from UTC changes, too.

    >>> event_start_time(Event("owl", 90.5, 92.0, 0.9, 91.0), datetime(2023, 4, 1, 23, 59))
    '2023-04-02T00:00:30.500'
    """
    if start is None:
        return None
    passed = timedelta(seconds=event.start_s)
    clock = start + passed if start.tzinfo is None else (start.astimezone(UTC) + passed).astimezone(start.tzinfo)
    return clock.isoformat(timespec="milliseconds")


def _with_start_times(
    predictions: Sequence[RecordingPrediction], start_times: StartTimes | None
) -> Iterator[tuple[RecordingPrediction, datetime | None]]:
    """Yield each prediction with the start time of its recording, None if not known."""
    return zip(predictions, [None] * len(predictions) if start_times is None else start_times, strict=True)


def _plain_cell(text: str) -> str:
    r"""Return text for a table with tabs and without quoting: one line, no quotation marks, no formula.

    >>> _plain_cell('"call"\tof an\nowl'), _plain_cell("=1+1")
    ("'call' of an owl", "'=1+1")
    """
    return safe_cell(printable(re.sub(r"[^\S ]", " ", text)).replace('"', "'"))


def _csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """Yield the header, then some rows at a time."""
    all_rows = itertools.chain([columns], rows)
    while some := list(itertools.islice(all_rows, _ROWS_AT_A_TIME)):
        out = io.StringIO(newline="")
        csv.writer(out, lineterminator="\n").writerows(some)
        yield out.getvalue()


def parquet_bytes(
    columns: Mapping[str, type], pieces: Iterable[Sequence[Any]], metadata: Mapping[str, Any]
) -> Iterator[bytes]:
    """Yield a Parquet file with these columns, text (``str``) or float64 (``float``); None is null.

    Each piece holds some rows: a list or array for every column. ``metadata`` is stored as JSON under the key
    "audiocnn". Raises `MissingExtraError` without pyarrow.
    """
    with needs_extra("parquet"):
        import pyarrow as pa
        import pyarrow.parquet as pq

    fields = [(name, pa.string() if type_ is str else pa.float64()) for name, type_ in columns.items()]
    schema = pa.schema(fields, metadata={"audiocnn": json.dumps(metadata, ensure_ascii=False, allow_nan=False)})
    out = _Pieces()
    with pq.ParquetWriter(pa.PythonFile(out, "w"), schema, compression="zstd") as writer:
        for table in _join_small((_table(piece, schema) for piece in pieces), schema):
            writer.write_table(table)
            yield out.take()
    yield out.take()


class _Pieces(io.RawIOBase):
    """A file that is only written, whose content is taken away now and then."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._pieces.append(bytes(data))
        return len(self._pieces[-1])

    def take(self) -> bytes:
        """Return what was written since the last call."""
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


def _table(piece: Sequence[Any], schema: "pa.Schema") -> "pa.Table":
    import pyarrow as pa

    arrays = [_arrow_array(values, field.type) for values, field in zip(piece, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


def _arrow_array(values: Sequence[Any], type_: "pa.DataType") -> "pa.Array":
    """Return text or float64 as an array; None is null. ``pa.array`` would import pandas, which takes 65 MiB."""
    import pyarrow as pa

    if isinstance(values, np.ndarray):
        return pa.Array.from_buffers(type_, len(values), [None, pa.py_buffer(np.ascontiguousarray(values, np.float64))])
    present = np.array([value is not None for value in values], bool)
    validity = None if present.all() else pa.py_buffer(np.packbits(present, bitorder="little"))
    if type_ == pa.float64():
        data = np.array([0.0 if value is None else value for value in values], np.float64)
        return pa.Array.from_buffers(type_, len(values), [validity, pa.py_buffer(data)])
    texts = [b"" if value is None else value.encode() for value in values]
    ends = np.cumsum([0, *map(len, texts)], dtype=np.int32)
    return pa.Array.from_buffers(type_, len(values), [validity, pa.py_buffer(ends), pa.py_buffer(b"".join(texts))])


def _join_small(tables: Iterable["pa.Table"], schema: "pa.Schema") -> Iterator["pa.Table"]:
    """Join small tables to one per row group of the file; yield at least one, which may be empty."""
    import pyarrow as pa

    group: list[pa.Table] = [pa.Table.from_batches([], schema)]
    n_rows = 0
    for table in tables:
        group.append(table)
        n_rows += len(table)
        if n_rows >= _GROUP_ROWS:
            yield pa.concat_tables(group)
            group, n_rows = [], 0
    if group:
        yield pa.concat_tables(group)
