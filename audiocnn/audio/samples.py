"""Samples that are in memory already, heard exactly as those of a file are: the same blocks, mixing and resampling."""

import hashlib
import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from audiocnn.audio.decode import Decoder, Facts
from audiocnn.errors import ConfigError

_SUBTYPES = {"int16": "PCM_16", "float": "FLOAT"}


class Samples(Decoder):
    """An array in the place of a file; to be used once, like a `Decoder`.

    >>> with Samples(np.zeros((100, 2)), sample_rate=8_000) as heard:
    ...     [block.shape for block in heard.blocks()]
    [(100,)]
    """

    def __init__(self, samples: ArrayLike, *, sample_rate: float) -> None:
        """Take samples (n,) or (n, n_channels), floats with full scale 1.0 or int16, at a whole number of hertz.

        Raises `ConfigError` for what is no such array. Its content is checked as that of a file is, by `blocks`.
        """
        array = _checked(samples)
        self._missing, self._md5, self._heard_md5 = 0, None, hashlib.md5(usedforsecurity=False)
        self._file: Any = _Array(array)
        self.facts = Facts(
            container="array",
            encoding=self._file.subtype,
            sample_rate=_whole(sample_rate),
            n_channels=array.shape[1],
            n_declared=len(array),
        )


class _Array:
    """What a `Decoder` wants of an open file."""

    def __init__(self, samples: NDArray[Any]) -> None:
        self.subtype = _SUBTYPES["int16" if samples.dtype == np.int16 else "float"]
        self._samples = samples
        self._n_read = 0

    def read(self, out: NDArray[Any]) -> NDArray[Any]:
        rows = self._samples[self._n_read : self._n_read + len(out)]
        self._n_read += len(rows)
        with np.errstate(over="ignore"):  # beyond float32 is infinite, which the decoder refuses
            out[: len(rows)] = rows
        return out[: len(rows)]

    def close(self) -> None:
        pass


def _checked(samples: ArrayLike) -> NDArray[Any]:
    """The samples as (n, n_channels), not copied."""
    array = np.asarray(samples)
    if array.dtype != np.int16 and array.dtype.kind != "f":
        raise ConfigError(
            f"samples of type {array.dtype}: floats with full scale 1.0, or int16, are heard; convert them first"
        )
    if array.ndim not in (1, 2):
        raise ConfigError(f"samples of shape {array.shape}: (n,) or (n, channels) is needed")
    if not array.size:
        raise ConfigError(f"samples of shape {array.shape}: there are none to hear")
    if array.ndim == 2 and array.shape[1] > array.shape[0]:
        raise ConfigError(f"samples of shape {array.shape}: more channels than samples; transpose them with samples.T")
    return array[:, None] if array.ndim == 1 else array


def _whole(sample_rate: float) -> int:
    number = isinstance(sample_rate, int | float | np.integer | np.floating) and not isinstance(sample_rate, bool)
    if not number or not math.isfinite(sample_rate) or sample_rate != int(sample_rate) or sample_rate <= 0:
        raise ConfigError(f"sample_rate {sample_rate!r}: a whole number of samples a second is needed, such as 44100")
    return int(sample_rate)
