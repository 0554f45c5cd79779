"""What the sections of an explanation show: spectrograms with or without a heat map, its key, and players."""

import base64
import io
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from audiocnn.audio import decode, encode
from audiocnn.draw import spectrogram, strip
from audiocnn.draw.spectrogram import Heat
from audiocnn.explain.subject import Subject, banded
from audiocnn.features.extract import Array

LIMIT_QUANTILE = 0.98  # of the values of a map: from there on a colour is at its strongest
_LONG_S = 600.0  # what begins later has an axis of its own: nobody reads 9,001 s


def limit(maps: Sequence[Array]) -> float:
    """Return the value at which the colours of these maps end, above 0."""
    values = np.concatenate([np.abs(values).ravel() for values in maps]) if maps else np.zeros(1)
    values = values[values > 0]
    return max(float(np.quantile(values, LIMIT_QUANTILE)), 1e-6) if len(values) else 1e-6


def drawn(
    subject: Subject,
    *,
    title: str,
    values: Array | None = None,
    limit: float = 1.0,
    part: slice | None = None,
    strips: Sequence[strip.Strip] = (),
    max_columns: int = spectrogram.MAX_COLUMNS,
) -> Markup:
    """Return the spectrogram of a stretch, up to the highest frequency that the network hears.

    ``values`` (n_frames, n_mels) are coloured over it. Only the frames of ``part`` are shown if it is given.
    """
    spec = subject.spec
    samples, begin_s = subject.samples, subject.start_s
    if part is not None:
        begin_s += part.start * spec.hop_length / spec.sample_rate
        samples = samples[part.start * spec.hop_length : part.stop * spec.hop_length]
        values = None if values is None else values[part]
    view = spectrogram.view(spec.sample_rate)
    heat = None if values is None else Heat(values, banded(spec, subject.frontend)[0], limit)
    return spectrogram.draw(
        decode.resampled(samples, spec.sample_rate, view.sample_rate),
        view.sample_rate,
        title=title,
        heat=heat,
        highest_hz=spec.upper_hz,
        strips=strips,
        max_columns=max_columns,
        begin_s=begin_s if begin_s < _LONG_S else 0.0,
        spec=view,
    )


def sound(samples: Array, sample_rate: int) -> str:
    """Return samples (n,), n > 0, as a data URI."""
    return "data:audio/ogg;base64," + base64.b64encode(encode.ogg(samples, sample_rate)).decode()


def npy(values: Array) -> bytes:
    """Return an array as the content of a ``.npy`` file."""
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=False)
    return buffer.getvalue()
