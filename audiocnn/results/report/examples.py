"""Examples of what is learned from as one HTML page: pictures and sounds of recordings, copies and windows."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from audiocnn import text
from audiocnn.audio import encode
from audiocnn.draw import spectrogram
from audiocnn.results.examples import Example, Version
from audiocnn.results.report import page

_DEVIATIONS = 2.5  # from the mean, to either end of the scale of a window


@dataclass(frozen=True)
class _Figure:
    """A picture with a caption; ``sound`` is a data URI."""

    caption: str
    picture: Markup
    sound: str | None = None


@dataclass(frozen=True)
class _Shown:
    """What the page says about one recording."""

    recording: str
    label: str
    versions: Sequence[_Figure]
    windows: Sequence[_Figure]


def render(name: str, examples: Sequence[Example]) -> str:
    """Return the page."""
    return page.template("examples.html.j2").render(
        name=name,
        examples=[_show(example) for example in examples],
        n_copies=max((len(example.versions) - 1 for example in examples), default=0),
        with_windows=any(example.windows for example in examples),
        deviations=_DEVIATIONS,
        style=page.style(),
    )


def _show(example: Example) -> _Shown:
    row = example.recording
    recording = text.encode_path(row.path)
    if row.stretch is not None:
        recording += f", {row.stretch[0]:.6g} to {row.stretch[1]:.6g} s"
    captions = ["as recorded", *(f"as shown, {number}" for number in range(1, len(example.windows)))]
    return _Shown(
        recording=recording,
        label=row.label,
        versions=[_version(version, recording) for version in example.versions],
        windows=[
            _Figure(caption, spectrogram.tile(values, limit=_DEVIATIONS, title=f"Window of {recording}, {caption}"))
            for caption, values in zip(captions, example.windows, strict=False)
        ],
    )


def _version(version: Version, recording: str) -> _Figure:
    samples = version.samples / max(1.0, float(np.abs(version.samples).max()))  # noise may have made it louder
    return _Figure(
        caption=version.words,
        picture=spectrogram.draw(
            samples, spectrogram.SAMPLE_RATE, title=f"Spectrogram of {recording}, {version.words}"
        ),
        sound="data:audio/ogg;base64," + base64.b64encode(encode.ogg(samples, spectrogram.SAMPLE_RATE)).decode(),
    )
