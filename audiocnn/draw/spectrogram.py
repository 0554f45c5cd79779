"""One way to draw a spectrogram: samples in, a picture with axes in seconds and hertz out.

The picture is log-mel by the package's own features, the same for every model, and says nothing of what a model sees.
"""

import base64
import functools
import io
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from audiocnn.draw import axis, colour, strip, svg
from audiocnn.features import extract, frontend
from audiocnn.specs import FeatureSpec

SPEC = FeatureSpec(
    kind="logmel",
    sample_rate=32_000,  # up to 16 kHz, which is most of what there is in most recordings
    n_fft=1024,
    hop_length=320,
    n_mels=128,
    channels=("static",),
    window_frames=1,
    hop_frames=1,
    axes="frames_bins",
)
SAMPLE_RATE = SPEC.sample_rate  # of the samples that are drawn
RANGE_DB = 70.0  # from the loudest point down to black
HEIGHT_PX = 192
MAX_COLUMNS = 900
LEVELS = 64  # colours; about 1.1 dB apart, less than can be told

_MARGINS = (24.0, 8.0, 22.0, 50.0)  # top, right, bottom, left
_TICKS_HZ = (250, 500, 1_000, 2_000, 4_000, 8_000, 16_000)


def draw(
    samples: NDArray[np.float32],
    sample_rate: int,
    *,
    title: str,
    strips: Sequence[strip.Strip] = (),
    max_columns: int = MAX_COLUMNS,
) -> Markup:
    """Return the spectrogram of float32 ``samples`` (n,), n > 0, at `SAMPLE_RATE`, with ``strips`` below it."""
    duration_s = len(samples) / sample_rate
    picture = columns(decibels(samples, sample_rate), at_most=max_columns)
    per_column = -(-(1 + len(samples) // SPEC.hop_length) // len(picture))
    hop_s = SPEC.hop_length / sample_rate
    n_bands = SPEC.n_mels
    black = "#{:02x}{:02x}{:02x}".format(*colour.table(LEVELS)[0])
    image = svg.element(
        "image",
        x=-hop_s / 2,  # frames are centred: the first one begins half a hop before the recording
        y=0.5,
        width=len(picture) * per_column * hop_s,
        height=n_bands,
        preserveAspectRatio="none",
        href=_data_uri(_png(np.flipud(picture.T))),
    )
    below = HEIGHT_PX + 8
    area = [
        svg.element("rect", x=0, y=0, width="100%", height=HEIGHT_PX, fill=black),
        svg.stretched(image, width=duration_s, height=n_bands + 1, y=0, height_px=HEIGHT_PX),
        *(_tick(hz) for hz in _TICKS_HZ),
        *(strip.draw(one, duration_s=duration_s, y=below + i * strip.HEIGHT_PX) for i, one in enumerate(strips)),
    ]
    bottom = below - 8 if not strips else below + len(strips) * strip.HEIGHT_PX - strip.GAP_PX
    area.append(axis.seconds(duration_s, y=bottom))
    return svg.drawing(
        *area,
        _colour_bar(),
        title=title,
        description=f"Spectrogram of {duration_s:.2f} seconds, from 0 to {SPEC.upper_hz / 1000:g} kHz."
        + "".join(f" Below it, the score window by window, {one.caption}." for one in strips),
        height=bottom,
        margins=_MARGINS,
    )


def tile(values: NDArray[np.float32], *, limit: float, title: str) -> Markup:
    """Return values (n_bins, n_frames) from ``-limit`` to ``limit`` as a small picture without axes."""
    levels = np.round((np.clip(values / limit, -1, 1) + 1) / 2 * (LEVELS - 1)).astype(np.uint8)
    height = HEIGHT_PX // 2
    image = svg.element(
        "image",
        width="100%",
        height=height,
        preserveAspectRatio="none",
        style="image-rendering: pixelated",
        href=_data_uri(_png(np.flipud(levels))),
    )
    described = f"{values.shape[1]} frames of {values.shape[0]} values, the first value lowest."
    return svg.drawing(image, title=title, description=described, height=height)


def decibels(samples: NDArray[np.float32], sample_rate: int) -> NDArray[np.float32]:
    """Return the level (n_frames, n_mels) in dB of samples at `SAMPLE_RATE`."""
    if sample_rate != SAMPLE_RATE:
        raise ValueError(f"sample_rate is {sample_rate} Hz; spectrograms are drawn of {SAMPLE_RATE} Hz")
    blocks = extract.frames([samples.astype(np.float32)], spec=SPEC, frontend=_frontend())
    return np.concatenate([block[:, :, 0] for block in blocks])


def columns(level: NDArray[np.float32], *, at_most: int = MAX_COLUMNS) -> NDArray[np.uint8]:
    """Return a picture (n_columns, n_mels) in `LEVELS` steps, the loudest point highest, ``at_most`` so many wide.

    A column that stands for several frames shows the loudest, so that no click goes missing.
    """
    per_column = -(-len(level) // at_most)
    missing = -len(level) % per_column
    level = np.concatenate([level, np.repeat(level[-1:], missing, axis=0)])
    level = level.reshape(-1, per_column, level.shape[1]).max(axis=1)
    floor_db = 10 * np.log10(extract.POWER_FLOOR)
    top = max(float(level.max()), floor_db + RANGE_DB)  # what is no louder than the floor stays black
    return np.round(np.clip((level - top) / RANGE_DB + 1, 0, 1) * (LEVELS - 1)).astype(np.uint8)


def y_px(hz: float) -> float:
    """Return the height, in pixels from the top, at which a frequency is drawn; mel bands are equally far apart."""
    low, high = _mel(SPEC.fmin), _mel(SPEC.upper_hz)
    return HEIGHT_PX * (high - _mel(hz)) / (high - low)


def _mel(hz: float) -> float:
    """The scale of Slaney's Auditory Toolbox (1998), which the mel basis uses: linear up to 1 kHz, then logarithmic."""
    return hz / (200 / 3) if hz < 1_000 else 15 + 27 * float(np.log(hz / 1_000) / np.log(6.4))


@functools.cache
def _frontend() -> frontend.Frontend:
    return frontend.make(SPEC)


def _tick(hz: int) -> Markup:
    label = f"{hz // 1000} kHz" if hz >= 1000 else f"{hz} Hz"
    y = y_px(hz)
    return Markup("").join(
        [
            svg.line(-4, y, 0, y, stroke=colour.MUTED),
            svg.text(label, x=-7, y=max(y + 4, 9), anchor="end", fill=colour.MUTED),
        ]
    )


def _colour_bar() -> Markup:
    """A scale of colours above the right end of the picture."""
    bar = np.arange(LEVELS, dtype=np.uint8)[None]
    return Markup("").join(
        [
            svg.text(f"−{RANGE_DB:g} dB", x="60%", y=-8, anchor="end", dx=-6, fill=colour.MUTED),
            svg.element(
                "image", x="60%", y=-17, width="20%", height=10, preserveAspectRatio="none", href=_data_uri(_png(bar))
            ),
            svg.text("loudest", x="80%", y=-8, dx=6, fill=colour.MUTED),
        ]
    )


def _png(levels: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(levels)).convert("P")
    image.putpalette(colour.table(LEVELS).tobytes())
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()
