"""The data of the page's script, as JSON: every recording with all its scores."""

import json
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from audiocnn.inference.prediction import RecordingPrediction
from audiocnn.labels import Labels
from audiocnn.model.decision import Doubt
from audiocnn.report.evaluation.content import Evaluation

SCORE_STEPS = 10_000  # a score is stored as a number of steps of 1 / SCORE_STEPS
_DOUBTS: dict[Doubt, str] = {
    "": "",
    "unsure": "unknown: the score is below the threshold of the label",
    "unfamiliar": "unknown: unlike all training recordings",
}


def json_block(evaluation: Evaluation) -> Markup:
    """Return `report_data` as JSON that is safe inside ``<script>``: ASCII without ``<``, ``>`` and ``&``."""
    written = json.dumps(report_data(evaluation), separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        written = written.replace(character, f"\\u{ord(character):04x}")
    return Markup(written)  # noqa: S704 - holds no markup


def report_data(evaluation: Evaluation) -> dict[str, Any]:
    """Return the recordings as columns, with labels and groups as indices.

    ``truth`` is the true label, ``said`` the predicted one, -1 without a prediction. Indices continue with ``others``,
    the labels that the model lacks. ``scores`` are in steps of 1 / `SCORE_STEPS`. ``reasons`` are by the index of the
    recording, the stored ``thresholds`` by the index of the label.
    """
    labels, groups = list(evaluation.labels), list(dict.fromkeys(evaluation.groups))
    others = sorted(set(evaluation.truth) - set(labels))
    every = Labels((*labels, *others), evaluation.labels.positive)
    group = {name: i for i, name in enumerate(groups)}
    predictions = evaluation.predictions
    found: dict[str, Any] = {
        "model": evaluation.model_digest,
        "labels": labels,
        "others": others,
        "positive": every.positive_index,
        "groups": groups,
        "steps": SCORE_STEPS,
        "recordings": {
            "path": [p.recording for p in predictions],
            "truth": every.encode(evaluation.truth).tolist(),
            "said": every.encode((p.label for p in predictions), unknown=-1).tolist(),
            "group": [group[name] for name in evaluation.groups],
            "seconds": [round(p.recording_status.duration_s, 2) for p in predictions],
            "scores": [[round(SCORE_STEPS * float(score)) for score in p.scores] for p in predictions],
        },
        "reasons": {i: reason for i, p in enumerate(predictions) if (reason := reason_of(p))},
        "thresholds": stored_thresholds(evaluation),
        "suspects": [
            [one.recording, one.label, one.suggested, *(one.stretch or ())] for one in evaluation.suspects or ()
        ],
    }
    if any(evaluation.stretches):
        found["recordings"]["stretch"] = list(evaluation.stretches)
    return found


def reason_of(prediction: RecordingPrediction) -> str:
    """Return why a recording has no prediction, or is unknown; an empty text otherwise."""
    if not prediction.has_scores:
        return prediction.recording_status.detail or prediction.recording_status.reason
    return _DOUBTS[prediction.doubt]


def stored_thresholds(evaluation: Evaluation) -> dict[int, float]:
    """Return the thresholds among the metrics, by the index of their label."""
    stored = evaluation.metrics.get("thresholds", {}).get("labels", {})
    return {
        i: float(stored[label]["threshold"])
        for i, label in enumerate(evaluation.labels)
        if stored.get(label, {}).get("threshold") is not None
    }


def name_recording(recording: str, stretch: Sequence[float] | None) -> str:
    """Return the name of a recording, or of a stretch of it, on a page.

    >>> name_recording("a.wav", None), name_recording("a.wav", (0.5, 2))
    ('a.wav', 'a.wav, 0.5 to 2 s')
    """
    return recording if stretch is None else f"{recording}, {stretch[0]:.6g} to {stretch[1]:.6g} s"
