"""An explanation as one HTML page that contains its pictures and sounds and needs neither network nor script."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np
from markupsafe import Markup

from audiocnn.draw import network, spectrogram, svg
from audiocnn.explain import load
from audiocnn.inference.events import Event
from audiocnn.model.bundle import Bundle
from audiocnn.report import page
from audiocnn.report.explanation import method
from audiocnn.report.explanation.method import ExplainTask, MethodResult, Section
from audiocnn.report.sound import make_sound
from audiocnn.wording import clock, count, duration, join_names, quoted, si_number


def explain_network(model: Bundle) -> MethodResult:
    """Return the drawing of the network and its facts."""
    architecture = model.network
    body = page.render_markup(
        "sections/network.html.j2",
        picture=network.draw_network(architecture, title=f"The network of {model.info.name}"),
        architecture=architecture,
        cost=si_number(architecture.multiply_adds),
    )
    facts = {
        "notation": architecture.notation,
        "input_shape": list(architecture.input_shape),
        "n_params": architecture.n_params,
        "multiply_adds": architecture.multiply_adds,
        "layers": [
            {
                "name": layer.name,
                "notation": layer.token,
                "output_shape": list(layer.output_shape),
                "n_params": layer.n_params,
                "multiply_adds": layer.multiply_adds,
            }
            for layer in architecture.layers
        ],
    }
    return MethodResult(Section("network", "The network", body), facts=facts)


def render_network(model: Bundle, sections: Sequence[Section], settings: Mapping[str, str]) -> str:
    """Return the page of a network."""
    return page.render(
        "network.html.j2",
        name=model.info.name,
        labels=model.labels,
        spec=model.spec,
        architecture=model.network,
        sections=sections,
        settings=settings,
    )


N_LABELS = 5  # in the table of scores
MOST_BARS = 900  # of a strip; each shows the highest of its windows
_CAPTION_PX = 200  # width of a label above its bars


@dataclass(frozen=True)
class _Row:
    label: str
    score: float
    highest: float


def render_explanation(work: ExplainTask, sections: Sequence[Section], settings: Mapping[str, Any]) -> str:
    """Return the page: the prediction, then the ``sections`` in their order, then the settings."""
    prediction = work.prediction
    found = load.strongest_events(prediction, work.model)
    whole = work.inputs[0] if work.whole else None
    gain = 1.0 if whole is None else 1 / max(1.0, float(np.abs(whole.samples).max()))
    return page.render(
        "explanation.html.j2",
        name=PurePath(prediction.recording).name,
        prediction=prediction,
        model_name=work.model.info.name,
        sentences=_sentences(work),
        picture=_picture(work),
        sound=None if whole is None else make_sound(gain * whole.samples, whole.spec.sample_rate),
        scores=_scores(work),
        events=[_event(event) for event in found[: work.top + 2]],
        n_events=len(found),
        sections=sections,
        settings=settings,
    )


def _sentences(work: ExplainTask) -> list[str]:
    prediction = work.prediction
    asked = sorted({work.label_of(subject) for subject in work.inputs})
    sentences = []
    if work.truth:
        are = "true label of the recording is" if len(work.truth) == 1 else "true labels in the recording are"
        wrong = "" if prediction.label in work.truth else ": the prediction is wrong"
        sentences.append(f"The {are} {join_names([quoted(label) for label in work.truth])}{wrong}.")
    if not work.whole:
        sentences.append(
            f"The recording is {duration(prediction.recording_status.duration_s)} long: too long to explain all of it. "
            f"The page explains its strongest part{'s' if len(work.inputs) > 1 else ''}, "
            f"{count(len(work.inputs), 'segment')}."
        )
    elif asked != [prediction.label]:
        sentences.append(
            f"The model predicts {quoted(prediction.label)}; the page explains {quoted(asked[0])}, as requested."
        )
    if "short" in prediction.recording_status.codes:
        sentences.append(
            f"The recording is {prediction.recording_status.detail}; the page shows and plays it like that."
        )
    return sentences


def _picture(work: ExplainTask) -> Markup:
    """The spectrogram with the scores below it; only the scores if the recording is not explained as a whole."""
    strips = _strips(work)
    title = f"Scores of {work.prediction.recording} over time"
    if work.whole:
        return method.draw_spectrogram(
            work.inputs[0],
            title=f"Spectrogram and scores of {work.prediction.recording}",
            strips=strips,
            own_rate=work.own_rate,
        )
    duration_s = work.prediction.recording_status.duration_s
    bottom = len(strips) * spectrogram.STRIP_HEIGHT_PX - spectrogram.GAP_PX
    return svg.drawing(
        *(
            spectrogram.draw_strip(one, duration_s=duration_s, y=i * spectrogram.STRIP_HEIGHT_PX)
            for i, one in enumerate(strips)
        ),
        svg.time_axis(duration_s, y=bottom),
        title=title,
        description="The score of each label, window by window.",
        height=bottom,
        margins=(4, 8, 22, 50),
    )


def _strips(work: ExplainTask) -> list[spectrogram.Strip]:
    """The window scores of the explained labels, and of other labels for comparison."""
    prediction = work.prediction
    asked = list(dict.fromkeys(work.label_of(subject) for subject in work.inputs))
    by_score = [prediction.labels[i] for i in np.argsort(-prediction.scores)]
    others = [label for label in by_score if label not in asked][: max(1, 3 - len(asked))]
    starts_s, ends_s, firsts = _bars(prediction.starts_s, prediction.ends_s)
    return [
        spectrogram.Strip(
            caption=f"{'explained' if label in asked else 'for comparison'}: {svg.shorten(label, _CAPTION_PX)}",
            paint=svg.ORANGE if label in asked else svg.BLUE,
            starts_s=starts_s,
            ends_s=ends_s,
            values=np.maximum.reduceat(prediction.window_scores[:, prediction.labels.index(label)], firsts),
        )
        for label in (*asked[:3], *others)
    ]


def _bars(starts_s: Any, ends_s: Any) -> tuple[Any, Any, Any]:
    """Return the starts and ends of the bars in seconds, and the index of the first window of each."""
    n = len(starts_s)
    firsts = np.linspace(0, n, min(n, MOST_BARS), endpoint=False).astype(int)
    lasts = np.append(firsts[1:], n) - 1
    return starts_s[firsts], ends_s[lasts], firsts


def _scores(work: ExplainTask) -> list[_Row]:
    prediction = work.prediction
    order = [int(i) for i in np.argsort(-prediction.scores)[:N_LABELS]]
    order += [n for n in dict.fromkeys(subject.label for subject in work.inputs) if n not in order]
    highest = prediction.window_scores.max(axis=0)
    return [_Row(prediction.labels[i], float(prediction.scores[i]), float(highest[i])) for i in order]


def _event(event: Event) -> dict[str, Any]:
    return {"start": clock(event.start_s), "end": clock(event.end_s), "label": event.label, "score": event.score}
