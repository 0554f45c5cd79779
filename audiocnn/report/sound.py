"""The sounds of a page: samples in, an Ogg file as a data URI out, played slower if it is beyond hearing."""

import base64
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audiocnn.audio import encode


@dataclass(frozen=True)
class Sound:
    """A data URI, its length as recorded, and how many times slower it plays; ``sections/sound.html.j2`` plays it."""

    uri: str
    seconds: float
    slowdown: int = 1


def make_sound(samples: NDArray[np.float32], sample_rate: int) -> Sound:
    """Encode samples (n,), n > 0, from -1 to 1."""
    slowdown = encode.slowdown(sample_rate)
    ogg_rate = encode.OGG_RATE if slowdown == 1 else encode.OGG_FULL_RATE
    ogg = encode.ogg_bytes(samples, sample_rate / slowdown, ogg_rate)
    return Sound("data:audio/ogg;base64," + base64.b64encode(ogg).decode(), len(samples) / sample_rate, slowdown)
