"""Activations: the outputs of each convolution for the window with the highest score, as pictures."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from audiocnn.draw import spectrogram
from audiocnn.draw.network import describe_layer
from audiocnn.explain import activations
from audiocnn.explain.activations import Responses
from audiocnn.explain.segments import ExplainInput
from audiocnn.features.extract import Array
from audiocnn.report import page
from audiocnn.report.explanation import method
from audiocnn.report.explanation.method import ExplainTask, MethodResult, Section
from audiocnn.specs import FeatureSpec
from audiocnn.wording import clock, count

TILE_PX = 64
_DEVIATIONS = 2.5  # from the mean, at either end of the scale of a window
_CHANNELS = {"static": "level", "delta": "change over time"}


@dataclass(frozen=True)
class Tile:
    """A small picture with its caption."""

    caption: str
    picture: Markup


@dataclass(frozen=True)
class ShownLayer:
    """A convolution: its notation, its description, its tiles, and a note on what is not shown."""

    token: str
    words: str
    tiles: Sequence[Tile]
    rest: str


def explain_by_activations(work: ExplainTask) -> MethodResult:
    """Return the outputs of the filters for the strongest window of the first input."""
    subject, spec = work.inputs[0], work.bundle.spec
    window, first = strongest_window(work, subject)
    found = activations.responses(work.gradients, window, most=work.filters)
    start_s = subject.start_s + first * spec.hop_length / spec.sample_rate
    body = page.render_markup(
        "sections/activations.html.j2",
        label=work.label_of(subject),
        when=f"{clock(start_s)} to {clock(start_s + spec.window_s)}",
        kind=spec.kind,
        inputs=input_tiles(work, window),
        layers=[show_layer(responses, spec) for responses in found],
    )
    facts = {
        "start_s": round(start_s, 6),
        "layers": {
            one.layer.name: {
                "notation": one.layer.token,
                "shape": list(one.layer.output_shape),
                "strongest_filters": one.filters.tolist(),
                "strengths": [round(float(x), 6) for x in one.strengths],
                "n_silent": one.n_silent,
            }
            for one in found
        },
    }
    files = {f"activations-{one.layer.name}.npy": method.npy_bytes(one.planes) for one in found}
    return MethodResult(Section("activations", "Responses of the filters", body), files, facts)


def strongest_window(work: ExplainTask, subject: ExplainInput) -> tuple[Array, int]:
    """Return the counted window (\\*shape) with the highest score for the label, and the frame at which it begins."""
    X = subject.windows()
    odds = work.gradients.odds(X, subject.label)
    odds = np.where(np.repeat(subject.counted, subject.n_tracks), odds, -np.inf)
    best = int(odds.argmax())
    return X[best], int(subject.starts[best // subject.n_tracks])


def input_tiles(work: ExplainTask, window: Array) -> list[Tile]:
    """Return a window (\\*shape) as input of the network: each channel in standard deviations from the mean."""
    info, spec = work.bundle.info, work.bundle.spec
    mean, std = (np.array(values, np.float32) for values in (info.mean, info.std))
    values: Array = (window - mean) / std
    return [
        Tile(
            f"{_CHANNELS[name]} ({name})",
            spectrogram.draw_tile(
                bins_by_frames(values[..., i], spec), limit=_DEVIATIONS, title=f"The window, {_CHANNELS[name]}"
            ),
        )
        for i, name in enumerate(spec.channels)
    ]


def bins_by_frames(plane: Array, spec: FeatureSpec) -> Array:
    """Return a plane of the network (height, width) with time from left to right, whatever its order."""
    return plane if spec.axes == "bins_frames" else plane.T


def show_layer(responses: Responses, spec: FeatureSpec) -> ShownLayer:
    """Return the tiles of a convolution on one scale: from 0 up after a ReLU, otherwise around 0."""
    layer, end = responses.layer, method.colour_limit([responses.planes])
    tiles = []
    for number, plane in zip(responses.filters, responses.planes, strict=True):
        values = bins_by_frames(plane, spec)
        scaled = 2 * values - end if layer.activation == "relu" else values
        title = f"Filter {number} of {layer.token}"
        tiles.append(Tile(str(number), spectrogram.draw_tile(scaled, limit=end, title=title, height=TILE_PX)))
    shape = "×".join(map(str, layer.output_shape))
    return ShownLayer(layer.token, f"{layer.name} · {describe_layer(layer)} · output {shape}", tiles, _rest(responses))


def _rest(responses: Responses) -> str:
    n = len(responses.filters)
    if not responses.n_left_out:
        shown = f"All {count(n, 'filter')}, the strongest first."
    else:
        shown = f"The {n} filters that respond most, of {responses.layer.filters}; {responses.n_left_out} are left out."
    silent = responses.n_silent
    return shown + (
        f" {count(silent, 'filter')} {'gives' if silent == 1 else 'give'} no response here." if silent else ""
    )
