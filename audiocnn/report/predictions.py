"""The predictions of many recordings as one HTML page: a table to search, sort and filter, with sounds to play."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path

import numpy as np

from audiocnn.audio import clips, encode
from audiocnn.audio.clips import MonoFile
from audiocnn.errors import AudioError
from audiocnn.inference.prediction import RecordingPrediction
from audiocnn.report import page
from audiocnn.report.sound import Sound, make_sound
from audiocnn.specs import FeatureSpec
from audiocnn.text import common_folder
from audiocnn.wording import clock

MOST_ROWS = 10_000
MOST_SOUNDS = 200
EXCERPT_S = 8.0  # of a recording, at most; less of one that is played slower


@dataclass(frozen=True)
class _Row:
    """A recording in the table; ``kind`` is what the filter by label takes it for, ``part`` what of it is played."""

    recording: str
    kind: str
    label: str
    score: float | None
    second: str
    duration_s: float
    remark: str
    sound: Sound | None
    part: str


def render_predictions(
    model: str,
    files: Sequence[Path],
    predictions: Sequence[RecordingPrediction],
    spec: FeatureSpec,
    *,
    jobs: int,
) -> str:
    """Return the page of the predictions of ``files`` by the model of this name.

    It holds the first `MOST_ROWS` recordings, and sounds of `MOST_SOUNDS` of them, the highest scores of each label
    first. Of a long recording the stretch around the window with the highest score is played.
    """
    shown = predictions[:MOST_ROWS]
    excerpts = {i: _excerpt(shown[i], spec) for i in _chosen(shown)}
    sounds = _sounds(files, excerpts, spec, jobs)
    folder = common_folder([p.recording for p in shown])
    rows = [_row(p, folder, sounds.get(i), excerpts.get(i)) for i, p in enumerate(shown)]
    return page.render(
        "predictions.html.j2",
        (page.COMMON, "predictions.js"),
        folder=folder,
        model=model,
        rows=rows,
        n_recordings=len(predictions),
        n_sounds=len(sounds),
        limited=len(excerpts) == MOST_SOUNDS < len(rows),
        kinds=sorted(Counter(row.kind for row in rows).items(), key=lambda item: (-item[1], item[0])),
    )


def _chosen(predictions: Sequence[RecordingPrediction]) -> list[int]:
    """Return the numbers of the recordings to play, in turn from each label, the highest scores first."""
    by_label: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for i, prediction in enumerate(predictions):
        if prediction.recording_status.status != "unreadable":
            by_label[prediction.label].append((-(prediction.score or 0.0), i))
    in_turn = chain.from_iterable(zip_longest(*(sorted(by_label[label]) for label in sorted(by_label))))
    return [found[1] for found in in_turn if found is not None][:MOST_SOUNDS]


def _excerpt(prediction: RecordingPrediction, spec: FeatureSpec) -> tuple[float, float]:
    """Return what is played of a recording: start and end in seconds."""
    longest_s = EXCERPT_S / encode.slowdown(spec.sample_rate)
    duration_s = prediction.recording_status.duration_s
    if duration_s <= longest_s or not prediction.has_scores:
        return 0.0, min(duration_s, longest_s)
    best = int(np.argmax(prediction.window_scores[:, prediction.label_index]))
    middle_s = float(prediction.starts_s[best] + prediction.ends_s[best]) / 2
    start_s = min(max(0.0, middle_s - longest_s / 2), duration_s - longest_s)
    return start_s, start_s + longest_s


def _sounds(
    files: Sequence[Path], excerpts: Mapping[int, tuple[float, float]], spec: FeatureSpec, jobs: int
) -> dict[int, Sound]:
    requests = [(MonoFile(files[i], spec.sample_rate, spec.first_track), part) for i, part in excerpts.items()]
    found = {}
    for i, samples in zip(excerpts, clips.load(requests, jobs=jobs), strict=True):
        if not isinstance(samples, AudioError) and len(samples):
            found[i] = make_sound(samples / max(1.0, float(np.abs(samples).max())), spec.sample_rate)
    return found


def _row(
    prediction: RecordingPrediction, folder: str, sound: Sound | None, excerpt: tuple[float, float] | None
) -> _Row:
    status, domain = prediction.recording_status, prediction.domain
    others = zip(prediction.scores, prediction.labels, strict=True) if prediction.has_scores else ()
    second = max(((score, label) for score, label in others if label != prediction.label), default=(0.0, ""))[1]
    remarks = [*(domain.sentences if domain is not None and domain.grade == "outside" else ()), status.detail]
    whole = excerpt is None or excerpt[1] - excerpt[0] >= status.duration_s - 0.05
    return _Row(
        recording=prediction.recording.removeprefix(folder),
        kind=prediction.label if prediction.status == "ok" else prediction.status,
        label=prediction.label,
        score=prediction.score,
        second=second,
        duration_s=status.duration_s,
        remark="; ".join(filter(None, remarks)),
        sound=sound,
        part="" if whole or excerpt is None else f"{clock(excerpt[0])} to {clock(excerpt[1])}",
    )
