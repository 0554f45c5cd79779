"""One wrongly labelled recording as the page shows it: facts, picture, sound."""

import base64
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from audiocnn import text
from audiocnn.audio import encode
from audiocnn.draw import colour, spectrogram, strip, svg
from audiocnn.results.evaluation import Exhibit
from audiocnn.results.report.words import decimal, duration

SHOWN_S = 30.0  # of a recording, from its beginning
_CAPTION_PX = 190  # of a label above its bars, on a phone


@dataclass(frozen=True)
class Shown:
    """What the page says about an exhibit; ``sound`` is a data URI, ``cut`` says that the rest is not shown."""

    recording: str
    truth: str
    truth_score: str
    said: str
    said_score: str
    group: str
    duration: str
    n_windows: int
    cut: bool
    picture: Markup | None
    sound: str | None


def show(exhibit: Exhibit) -> Shown:
    """Prepare an exhibit; its samples must be at `spectrogram.SAMPLE_RATE`."""
    prediction = exhibit.prediction
    samples = exhibit.samples[: int(SHOWN_S * exhibit.sample_rate)]
    recording = text.encode_path(prediction.recording)
    if exhibit.stretch is not None:
        recording += f", {exhibit.stretch[0]:.6g} to {exhibit.stretch[1]:.6g} s"
    known = exhibit.truth in prediction.labels
    truth_score = float(prediction.scores[prediction.labels.index(exhibit.truth)]) if known else None
    picture = sound = None
    if len(samples):
        picture = spectrogram.draw(
            samples, exhibit.sample_rate, title=f"Spectrogram of {recording}", strips=_strips(exhibit)
        )
        sound = "data:audio/ogg;base64," + base64.b64encode(encode.ogg(samples, exhibit.sample_rate)).decode()
    return Shown(
        recording=recording,
        truth=exhibit.truth,
        truth_score=decimal(truth_score) if known else "a label that the model does not know",
        said=prediction.label,
        said_score=decimal(prediction.score),
        group=exhibit.group,
        duration=duration(prediction.account.duration_s),
        n_windows=len(prediction.window_scores),
        cut=len(samples) > 0 and prediction.account.duration_s > SHOWN_S + 0.5,
        picture=picture,
        sound=sound,
    )


def _strips(exhibit: Exhibit) -> list[strip.Strip]:
    """The scores of the true and of the predicted label, window by window."""
    prediction = exhibit.prediction
    begin_s = exhibit.stretch[0] if exhibit.stretch else 0.0
    starts_s = np.maximum(prediction.starts_s - begin_s, 0)
    return [
        strip.Strip(
            caption=f"{role}: {svg.shortened(label, _CAPTION_PX)}",
            paint=paint,
            starts_s=starts_s,
            ends_s=np.maximum(prediction.ends_s - begin_s, starts_s),
            values=prediction.window_scores[:, prediction.labels.index(label)],
        )
        for role, label, paint in (
            ("truth", exhibit.truth, colour.BLUE),
            ("predicted", prediction.label, colour.ORANGE),
        )
        if label in prediction.labels
    ]
