"""Predictions as text: CSV of recordings or windows, and JSON. The columns are a contract."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from audiocnn.results.aggregate import Prediction
from audiocnn.text import safe_cell

SCHEMA = "audiocnn.predictions/1"
COLUMNS = ("recording", "status", "label", "score", "duration_s", "analysed_s", "reason")
WINDOW_COLUMNS = ("recording", "start_s", "end_s", "label", "score")


def recordings_csv(
    predictions: Sequence[Prediction],
    labels: Sequence[str],
    extra: Mapping[str, Sequence[str]] | None = None,
    *,
    nearest: bool = False,
) -> str:
    """One row a recording: `COLUMNS`, then ``p_<label>`` for every label, then the ``extra`` columns.

    An unknown recording has no label, unless the ``nearest`` is asked for.
    """
    extra = extra or {}
    rows = [
        (
            p.recording,
            p.status,
            safe_cell(p.label) if nearest or not p.doubt else "",
            number(p.score if nearest or not p.doubt else None),
            seconds(p.account.duration_s),
            seconds(p.account.analysed_s),
            safe_cell(p.reason),
            *(map(number, p.scores) if p.heard else [""] * len(labels)),
            *(safe_cell(values[i]) for values in extra.values()),
        )
        for i, p in enumerate(predictions)
    ]
    return _csv([*COLUMNS, *(f"p_{label}" for label in labels), *extra], rows)


def windows_csv(predictions: Sequence[Prediction], labels: Sequence[str]) -> str:
    """One row a window: `WINDOW_COLUMNS`, then ``p_<label>`` for every label."""
    rows = [
        (p.recording, seconds(start), seconds(end), safe_cell(label), number(scores.max()), *map(number, scores))
        for p in predictions
        for start, end, label, scores in zip(p.starts_s, p.ends_s, p.window_labels(), p.window_scores, strict=True)
    ]
    return _csv([*WINDOW_COLUMNS, *(f"p_{label}" for label in labels)], rows)


def to_json(predictions: Sequence[Prediction], labels: Sequence[str], model: Mapping[str, Any]) -> str:
    """Recordings and their windows, with the model's name, digest and settings."""
    value = {
        "schema": SCHEMA,
        "model": model,
        "labels": list(labels),
        "recordings": [
            {
                "recording": p.recording,
                "status": p.status,
                "label": None if p.doubt else p.label or None,
                "score": None if p.doubt else p.score,
                "nearest": p.label or None,
                "set": list(p.label_set),
                "duration_s": p.account.duration_s,
                "analysed_s": p.account.analysed_s,
                "reason": p.reason,
                "detail": p.account.detail,
                "scores": dict(zip(labels, map(float, p.scores), strict=False)),
                "windows": [
                    {
                        "start_s": round(float(start), 6),
                        "end_s": round(float(end), 6),
                        "label": label,
                        "score": float(scores.max()),
                        "scores": dict(zip(labels, map(float, scores), strict=True)),
                    }
                    for start, end, label, scores in zip(
                        p.starts_s, p.ends_s, p.window_labels(), p.window_scores, strict=True
                    )
                ],
            }
            for p in predictions
        ],
    }
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def stretches(spans: Sequence[tuple[float, float] | None]) -> dict[str, list[str]]:
    """The columns ``start_s`` and ``end_s`` of rows that are stretches of recordings, empty for a whole one."""
    return {
        name: ["" if span is None else seconds(span[i]) for span in spans]
        for i, name in enumerate(("start_s", "end_s"))
    }


def number(value: float | None) -> str:
    """A score with the digits that let every figure be recomputed from the file."""
    return "" if value is None else f"{value:.9g}"


def seconds(value: float) -> str:
    """Seconds to the microsecond, without trailing zeros."""
    return f"{value:.6f}".rstrip("0").rstrip(".")


def _csv(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return out.getvalue()
