"""Draw spectrograms: samples in, a picture with axes in seconds and hertz out.

The picture is a log-mel spectrogram, the same for every model. It does not show the features of a model.
"""

import base64
import functools
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from audiocnn.audio import encode
from audiocnn.draw import svg
from audiocnn.features import extract, frontend
from audiocnn.specs import FeatureSpec

if TYPE_CHECKING:
    from PIL import Image


CAPTION_PX, BARS_PX, GAP_PX = 17, 26, 6
STRIP_HEIGHT_PX = CAPTION_PX + BARS_PX + GAP_PX


@dataclass(frozen=True)
class Strip:
    """``values`` (n,) within 0..1 of windows that run from ``starts_s`` to ``ends_s``, (n,) each."""

    caption: str
    paint: str
    starts_s: NDArray[np.float64]
    ends_s: NDArray[np.float64]
    values: NDArray[np.float64]


def window_edges(starts_s: NDArray[np.float64], ends_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the times (n + 1,) between which each window is drawn; overlapping windows share their overlap.

    >>> window_edges(np.array([0.0, 0.5, 1.0]), np.array([1.0, 1.5, 2.0])).tolist()
    [0.0, 0.75, 1.25, 2.0]
    """
    middles = (starts_s + ends_s) / 2
    return np.concatenate([starts_s[:1], (middles[1:] + middles[:-1]) / 2, ends_s[-1:]])


def draw_strip(strip: Strip, *, duration_s: float, y: float) -> Markup:
    """Return the caption and bars, `STRIP_HEIGHT_PX` high, of the windows that begin before ``duration_s``."""
    shown = strip.starts_s < duration_s
    path = ""
    if shown.any():
        at = window_edges(strip.starts_s[shown], strip.ends_s[shown])
        tops = 1 - np.clip(strip.values[shown], 0, 1)
        steps = "".join(
            f"V{svg.format_number(top)}H{svg.format_number(end)}" for top, end in zip(tops, at[1:], strict=True)
        )
        path = f"M{svg.format_number(at[0])} 1{steps}V1Z"
    top = y + CAPTION_PX
    return Markup("").join(
        [
            svg.text(strip.caption, x=0, y=y + 12),
            svg.element("rect", x=0, y=top, width="100%", height=BARS_PX, fill=svg.RULE, fill_opacity=0.5),
            svg.stretch(
                svg.element("path", d=path, fill=strip.paint), width=duration_s, height=1, y=top, height_px=BARS_PX
            ),
            svg.text("1", x=-6, y=top + 9, anchor="end", fill=svg.MUTED, font_size=10),
            svg.text("0", x=-6, y=top + BARS_PX, anchor="end", fill=svg.MUTED, font_size=10),
        ]
    )


SPEC = FeatureSpec(
    kind="logmel",
    sample_rate=32_000,  # up to 16 kHz, enough for most recordings
    n_fft=1024,
    hop_length=320,
    n_mels=128,
    channels=("static",),
    window_frames=1,
    hop_frames=1,
    axes="frames_bins",
)
SAMPLE_RATE = SPEC.sample_rate  # of the drawn samples
RANGE_DB = 70.0  # from the loudest point down to black
HEIGHT_PX = 192
MAX_COLUMNS = 900
LEVELS = 64  # colours, about 1.1 dB apart, which is less than the eye can see

_MARGINS = (24.0, 8.0, 22.0, 50.0)  # top, right, bottom, left
_WIDE_MARGINS = (24.0, 8.0, 22.0, 58.0)  # for labels such as 128 kHz
_TICKS_HZ = (250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 128_000, 256_000)
_SHORT_FRAME_S = 0.004  # of calls above hearing
_OPAQUE = 0.85  # alpha of the strongest colour of a heat map; the picture below stays visible


@dataclass(frozen=True)
class HeatMap:
    """A map over a spectrogram: ``values`` (n_frames, n_mels) at the times and frequencies of frames of ``spec``.

    0 has no colour; the colours are strongest at ``limit`` and, for negative values, at ``-limit``.
    """

    values: NDArray[np.float32]
    spec: FeatureSpec
    limit: float


def draw(
    samples: NDArray[np.float32],
    sample_rate: int,
    *,
    title: str,
    strips: Sequence[Strip] = (),
    max_columns: int = MAX_COLUMNS,
    heat: HeatMap | None = None,
    highest_hz: float | None = None,
    begin_s: float = 0.0,
    spec: FeatureSpec = SPEC,
    marked: tuple[float, float] | None = None,
) -> Markup:
    """Return the spectrogram of float32 ``samples`` (n,), n > 0, at the rate of ``spec``, with ``strips`` below it.

    ``spec`` is `SPEC` or what `drawing_spec` returns. The time axis begins at ``begin_s``. Nothing above
    ``highest_hz`` is drawn. ``heat`` adds a layer of class ``heat`` on top, which a page can hide: the same picture in
    grey, with the heat map over it. All but the seconds ``marked`` of the samples are darkened.
    """
    duration_s = len(samples) / sample_rate
    n_bands = _n_bands(spec, highest_hz)
    picture = quantize_columns(to_decibels(samples, sample_rate, spec)[:, :n_bands], at_most=max_columns)
    per_column = -(-(1 + len(samples) // spec.hop_length) // len(picture))
    hop_s = spec.hop_length / sample_rate
    top_hz = _top_hz(spec, n_bands)
    black = "#{:02x}{:02x}{:02x}".format(*svg.colour_table(LEVELS)[0])

    def image(table: NDArray[np.uint8]) -> Markup:
        drawn = svg.element(
            "image",
            x=-hop_s / 2,  # frames are centred: the first one starts half a hop before the recording
            y=0.5,
            width=len(picture) * per_column * hop_s,
            height=n_bands,
            preserveAspectRatio="none",
            href=_data_uri(_png(np.flipud(picture.T), table)),
        )
        return svg.stretch(drawn, width=duration_s, height=n_bands + 1, y=0, height_px=HEIGHT_PX)

    below = HEIGHT_PX + 8
    area = [
        svg.element("rect", x=0, y=0, width="100%", height=HEIGHT_PX, fill=black, **{"class": "plot"}),
        image(svg.colour_table(LEVELS)),
        *([] if marked is None else _shades(marked, duration_s)),
        _colour_bar(svg.colour_table(LEVELS)),
        *([] if heat is None else [_heat_layer(image(svg.greys(LEVELS)), heat, duration_s, (spec.fmin, top_hz))]),
        *(_tick(hz, y_px(hz, top_hz, spec.fmin)) for hz in _TICKS_HZ if spec.fmin <= hz <= top_hz * 1.01),
        *(draw_strip(one, duration_s=duration_s, y=below + i * STRIP_HEIGHT_PX) for i, one in enumerate(strips)),
    ]
    bottom = below - 8 if not strips else below + len(strips) * STRIP_HEIGHT_PX - GAP_PX
    area.append(svg.time_axis(duration_s, y=bottom, begin_s=begin_s))
    return svg.drawing(
        *area,
        title=title,
        description=f"Spectrogram of {duration_s:.2f} seconds, "
        f"from {spec.fmin / 1000:g} to {round(top_hz / 1000, 1):g} kHz."
        + (" A heat map colours what mattered." if heat is not None else "")
        + "".join(f" Below it, the window scores, {one.caption}." for one in strips),
        height=bottom,
        margins=_WIDE_MARGINS if top_hz >= 100_000 else _MARGINS,
    )


def draw_tile(values: NDArray[np.float32], *, limit: float, title: str, height: float = HEIGHT_PX // 2) -> Markup:
    """Return values (n_bins, n_frames) from ``-limit`` to ``limit`` as a small picture without axes."""
    levels = np.round((np.clip(values / limit, -1, 1) + 1) / 2 * (LEVELS - 1)).astype(np.uint8)
    image = svg.element(
        "image",
        width="100%",
        height=height,
        preserveAspectRatio="none",
        style="image-rendering: pixelated",
        href=_data_uri(_png(np.flipud(levels), svg.colour_table(LEVELS))),
    )
    described = f"{values.shape[1]} frames of {values.shape[0]} values, the first value at the bottom."
    return svg.drawing(image, title=title, description=described, height=height)


def to_decibels(samples: NDArray[np.float32], sample_rate: int, spec: FeatureSpec = SPEC) -> NDArray[np.float32]:
    """Return the level (n_frames, n_mels) in dB of samples at the rate of ``spec``."""
    if sample_rate != spec.sample_rate:
        raise ValueError(f"sample_rate is {sample_rate} Hz; spectrograms are drawn of {spec.sample_rate} Hz")
    blocks = extract.compute_frames([samples.astype(np.float32)], spec=spec, frontend=_frontend(spec))
    return np.concatenate([block[:, :, 0] for block in blocks])


def quantize_columns(level: NDArray[np.float32], *, at_most: int = MAX_COLUMNS) -> NDArray[np.uint8]:
    """Return a picture (n_columns, n_mels) in `LEVELS` steps, the loudest point highest, at most ``at_most`` wide.

    A column of several frames shows the loudest, so that no click is lost.
    """
    per_column = -(-len(level) // at_most)
    missing = -len(level) % per_column
    level = np.concatenate([level, np.repeat(level[-1:], missing, axis=0)])
    level = level.reshape(-1, per_column, level.shape[1]).max(axis=1)
    floor_db = 10 * np.log10(extract.POWER_FLOOR)
    top = max(float(level.max()), floor_db + RANGE_DB)  # levels at the floor stay black
    return np.round(np.clip((level - top) / RANGE_DB + 1, 0, 1) * (LEVELS - 1)).astype(np.uint8)


def drawing_spec(features: FeatureSpec) -> FeatureSpec:
    """Return the features to draw recordings with: `SPEC`, or for a higher rate the same up to half of it.

    Sound that a page plays slower is drawn from ``fmin`` upwards, with frames short enough for its calls.
    """
    rate = features.sample_rate
    if rate <= SAMPLE_RATE:
        return SPEC
    if encode.slowdown(rate) == 1:
        n_fft = 2 ** round(math.log2(rate / SAMPLE_RATE * SPEC.n_fft))
        hop_length = round(rate / SAMPLE_RATE * SPEC.hop_length)
        return SPEC.model_copy(update={"sample_rate": rate, "n_fft": n_fft, "hop_length": hop_length})
    view = SPEC.model_copy(update={"sample_rate": rate, "fmin": features.fmin})
    edges_hz = frontend.mel_edges_hz(view)
    n_fft = 2 ** math.ceil(math.log2(max(_SHORT_FRAME_S * rate, rate / (edges_hz[2] - edges_hz[0]))))  # no empty band
    return view.model_copy(update={"n_fft": n_fft, "hop_length": n_fft // 4})


def y_px(hz: float, top_hz: float = SPEC.upper_hz, bottom_hz: float = SPEC.fmin) -> float:
    """Return the height, in pixels from the top, at which a frequency is drawn; mel bands are equally far apart."""
    low, high = frontend.hz_to_mel(bottom_hz), frontend.hz_to_mel(top_hz)
    return HEIGHT_PX * (high - frontend.hz_to_mel(hz)) / (high - low)


def _n_bands(spec: FeatureSpec, highest_hz: float | None) -> int:
    """Return the number of bands up to a frequency."""
    if highest_hz is None or highest_hz >= spec.upper_hz:
        return spec.n_mels
    low, high = frontend.hz_to_mel(spec.fmin), frontend.hz_to_mel(spec.upper_hz)
    return max(1, math.ceil((frontend.hz_to_mel(highest_hz) - low) / (high - low) * (spec.n_mels + 1)) - 1)


def _top_hz(spec: FeatureSpec, n_bands: int) -> float:
    """Return the upper edge of the last of ``n_bands`` bands."""
    return spec.upper_hz if n_bands == spec.n_mels else float(frontend.mel_edges_hz(spec)[n_bands + 1])


def _heat_layer(grey: Markup, heat: HeatMap, duration_s: float, limits_hz: tuple[float, float]) -> Markup:
    """Return the grey picture, drawn between ``limits_hz``, with a heat map over it, its bands equally far apart."""
    spec = heat.spec
    values = reduce_columns(heat.values)
    frame_s = spec.hop_length / spec.sample_rate
    low, high = frontend.hz_to_mel(spec.fmin), frontend.hz_to_mel(spec.upper_hz)
    step = (high - low) / (spec.n_mels + 1)
    bottom, top = map(frontend.hz_to_mel, limits_hz)
    map_ = svg.element(
        "image",
        x=-frame_s / 2,
        y=top - (high - step / 2),
        width=len(heat.values) * frame_s,
        height=spec.n_mels * step,
        preserveAspectRatio="none",
        href=_data_uri(_heat_png(np.flipud(values.T) / heat.limit)),
    )
    over = svg.stretch(map_, width=duration_s, height=top - bottom, y=0, height_px=HEIGHT_PX)
    return svg.element("g", grey, over, _bar(svg.greys(LEVELS)), **{"class": "heat"})


def reduce_columns(values: NDArray[np.float32], *, at_most: int = MAX_COLUMNS) -> NDArray[np.float32]:
    """Return values (n_columns, n): of the frames of a column, the value farthest from 0."""
    per_column = -(-len(values) // at_most)
    if per_column == 1:
        return values
    values = np.concatenate([values, np.repeat(values[-1:], -len(values) % per_column, axis=0)])
    values = values.reshape(-1, per_column, values.shape[1])
    highest, lowest = values.max(axis=1), values.min(axis=1)
    return np.where(highest >= -lowest, highest, lowest)


@functools.cache
def _frontend(spec: FeatureSpec) -> frontend.Frontend:
    return frontend.make(spec)


def _shades(marked: tuple[float, float], duration_s: float) -> list[Markup]:
    """Return what darkens the picture before and after a stretch, and a line at each of its ends."""
    first, last = (min(max(time_s / duration_s, 0.0), 1.0) for time_s in marked)
    shade: dict[str, str | float] = {"y": 0, "height": HEIGHT_PX, "fill": "#000", "fill_opacity": 0.6}
    return [
        svg.element("rect", x=0, width=svg.percent(first), **shade),
        svg.element("rect", x=svg.percent(last), width=svg.percent(1 - last), **shade),
        *(svg.line(svg.percent(at), 0, svg.percent(at), HEIGHT_PX, stroke="#fff") for at in (first, last)),
    ]


def _tick(hz: int, y: float) -> Markup:
    label = f"{hz // 1000} kHz" if hz >= 1000 else f"{hz} Hz"
    return Markup("").join(
        [
            svg.line(-4, y, 0, y, stroke=svg.MUTED),
            svg.text(label, x=-7, y=max(y + 4, 9), anchor="end", fill=svg.MUTED),
        ]
    )


def _colour_bar(table: NDArray[np.uint8]) -> Markup:
    """Return the colour scale, at the top right of the picture."""
    return Markup("").join(
        [
            svg.text(f"−{RANGE_DB:g} dB", x="60%", y=-8, anchor="end", dx=-6, fill=svg.MUTED),
            _bar(table),
            svg.text("loudest", x="80%", y=-8, dx=6, fill=svg.MUTED),
        ]
    )


def _bar(table: NDArray[np.uint8]) -> Markup:
    levels = np.arange(len(table), dtype=np.uint8)[None]
    href = _data_uri(_png(levels, table))
    return svg.element("image", x="60%", y=-17, width="20%", height=10, preserveAspectRatio="none", href=href)


def _png(levels: NDArray[np.uint8], table: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(levels)).convert("P")
    image.putpalette(table.tobytes())
    return _png_bytes(image)


def _heat_png(shares: NDArray[np.float32]) -> bytes:
    """Return a PNG of values (height, width) from -1 to 1 in the colours of a heat map, transparent at 0."""
    from PIL import Image

    return _png_bytes(Image.fromarray(svg.heat(shares, opaque=_OPAQUE), "RGBA"))


def _png_bytes(image: "Image.Image") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()
