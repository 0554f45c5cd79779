"""Activation maximization: the input with the highest response of each label and filter, as pictures and sounds."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from audiocnn.audio import encode
from audiocnn.draw import spectrogram
from audiocnn.draw.network import describe_layer
from audiocnn.explain import maximize, resynthesis
from audiocnn.explain.gradients import DifferentiableNetwork
from audiocnn.explain.maximize import Maximized
from audiocnn.features import extract
from audiocnn.features.extract import Array
from audiocnn.inference.scoring import log_scores
from audiocnn.model.blocks import Filtering
from audiocnn.model.bundle import Bundle
from audiocnn.progress import Progress
from audiocnn.report import page
from audiocnn.report.explanation import method
from audiocnn.report.explanation.method import ExplainTask, MethodResult, Section
from audiocnn.report.sound import Sound, make_sound
from audiocnn.wording import count, decimal

MOST_LABELS = 24  # shown, at most
TILE_PX = 64
_CONTRAST = 0.99  # quantile of the values at which the colours of a picture end


@dataclass(frozen=True)
class MaximizedInput:
    """The input of a label or filter: its picture, the response it reaches, and its sound if there is one."""

    caption: str
    note: str
    picture: Markup
    sound: Sound | None = None


@dataclass(frozen=True)
class MaximizedLayer:
    """A convolution, its description, its filters, and a note on what is not shown."""

    token: str
    words: str
    tiles: Sequence[MaximizedInput]
    rest: str


def explain_by_maximization(work: ExplainTask) -> MethodResult:
    """Return the inputs of the labels, the explained ones first, and of some filters of each convolution."""
    asked = list(dict.fromkeys(subject.label for subject in work.inputs))
    return explain_model(work.bundle, work.gradients, filters=work.filters, asked=asked, progress=work.progress)


def explain_model(
    model: Bundle, net: DifferentiableNetwork, *, filters: int, asked: Sequence[int] = (), progress: Progress
) -> MethodResult:
    """Return the inputs for a model without a recording. ``asked`` are indices of labels that come first."""
    order = [*asked, *(number for number in range(len(model.labels)) if number not in asked)][:MOST_LABELS]
    within, sampled = maximize.space(model), maximize.sampled(model.network, filters)
    total = len(order) + sum(len(numbers) for numbers in sampled.values())
    with progress.task("maximize", total=total, unit="inputs") as advance:
        labels = maximize.labels(net, within, lambda X: score_windows(model, X), order)
        advance(len(order), "labels")
        layers = {}
        for layer, numbers in sampled.items():
            layers[layer] = maximize.filters(net, within, layer, numbers)
            advance(len(numbers), layer.token)
    sounds = _sounds(model, labels)
    sound_scores = _scores_of_sounds(model, sounds, order)
    body = page.render_markup(
        "sections/maximize.html.j2",
        labels=_labels(model, labels, order, sounds, sound_scores),
        n_left_out=len(model.labels) - len(order),
        layers=[_layer(layer, sampled[layer], found) for layer, found in layers.items()],
        kind=model.spec.kind,
        deviations=maximize.DEVIATIONS,
    )
    facts = {
        "deviations": maximize.DEVIATIONS,
        "labels": {
            model.labels[number]: {
                "score": round(float(labels.reached[i]), 6),
                "score_of_average": round(float(labels.before[i]), 6),
                "score_of_sound": None if not sounds else round(float(sound_scores[i]), 6),
            }
            for i, number in enumerate(order)
        },
        "layers": {layer.name: {"filters": sampled[layer], "responses": _rounded(layers[layer])} for layer in layers},
    }
    files = {"maximized-labels.npy": method.npy_bytes(labels.features)}
    files |= {f"maximized-{layer.name}.npy": method.npy_bytes(found.features) for layer, found in layers.items()}
    files |= {
        f"maximized-label-{number}.wav": encode.wav_bytes(sound, model.spec.sample_rate)
        for number, sound in zip(order, sounds, strict=False)
    }
    return MethodResult(Section("maximize", "Inputs with the highest response", body), files, facts)


def score_windows(model: Bundle, X: Array) -> NDArray[np.float64]:
    """Return the scores (n, n_labels) of raw windows (n, \\*shape) by the exported LiteRT model."""
    logits, _ = model.runtime(X)
    return np.exp(log_scores(logits, model.labels, model.temperature))


def _sounds(model: Bundle, found: Maximized) -> list[Array]:
    """The inputs as sounds, if they are spectrograms; MFCCs keep too little of a sound."""
    spec = model.spec
    if spec.kind != "logmel" or "static" not in spec.channels:
        return []
    planes = found.features[..., spec.channels.index("static")]
    bands = planes if spec.axes == "frames_bins" else planes.swapaxes(1, 2)
    return [resynthesis.mel_to_audio(one, spec=spec, frontend=model.frontend) for one in bands]


def _scores_of_sounds(model: Bundle, sounds: Sequence[Array], order: Sequence[int]) -> list[float]:
    """The score of each label for its own sound."""
    found = []
    for sound, number in zip(sounds, order, strict=False):
        frames = np.concatenate(list(extract.compute_frames([sound], spec=model.spec, frontend=model.frontend)))
        found.append(
            float(score_windows(model, extract.cut_windows(frames, np.zeros(1, np.int64), model.spec))[0, number])
        )
    return found


def _labels(
    model: Bundle, found: Maximized, order: Sequence[int], sounds: Sequence[Array], sound_scores: Sequence[float]
) -> list[MaximizedInput]:
    end, shown = _end(found.values), []
    for i, number in enumerate(order):
        name = model.labels[number]
        note = f"score {decimal(float(found.reached[i]))}, of an average window {decimal(float(found.before[i]))}"
        if sounds:
            note += f"; of the sound {decimal(sound_scores[i])}"
        picture = spectrogram.draw_tile(found.values[i], limit=end, title=f"Input with the highest score for {name}")
        shown.append(MaximizedInput(name, note, picture, _sound(sounds[i], model.spec.sample_rate) if sounds else None))
    return shown


def _sound(samples: Array, rate: int) -> Sound:
    loudest = max(float(np.abs(samples).max()), 1e-9)
    return make_sound((samples / (2 * loudest)).astype(np.float32), rate)


def _layer(layer: Filtering, numbers: Sequence[int], found: Maximized) -> MaximizedLayer:
    tiles = [
        MaximizedInput(
            str(number),
            "silent" if found.reached[i] <= 0 else "",
            _tile(found.values[i], f"Input with the highest response of filter {number} of {layer.token}"),
        )
        for i, number in enumerate(numbers)
    ]
    left = layer.filters - len(numbers)
    rest = f"{len(numbers)} of {count(layer.filters, 'filter')}, evenly spread; {left} are left out." if left else ""
    silent = int((found.reached <= 0).sum())
    if silent:
        rest += f" For {count(silent, 'filter')} of these no plausible input gives a response."
    return MaximizedLayer(layer.token, f"{layer.name} · {describe_layer(layer)}", tiles, rest.strip())


def _tile(values: Array, title: str) -> Markup:
    """A picture on a scale of its own, as only the pattern of a filter is of interest."""
    return spectrogram.draw_tile(values, limit=_end(values), title=title, height=TILE_PX)


def _end(values: Array) -> float:
    return min(maximize.DEVIATIONS, max(float(np.quantile(np.abs(values), _CONTRAST)), 0.1))


def _rounded(found: Maximized) -> list[float]:
    return [round(float(x), 6) for x in found.reached]
