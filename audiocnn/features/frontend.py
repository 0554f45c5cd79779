"""The constants that a `FeatureSpec` needs: taper, mel basis and DCT, computed by librosa.

The constants of the presets ship with the package, and those of a model are in its bundle. So librosa is imported only
for a new spec, and an upgrade of librosa cannot change a score.
"""

import io
import math
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audiocnn.errors import IntegrityError, needs_extra
from audiocnn.files import digest_of, write_atomic
from audiocnn.specs import FeatureSpec

_HZ_PER_MEL = 200 / 3  # up to 1 kHz
_LOG_FROM_HZ = 1_000.0
_LOG_FROM_MEL = _LOG_FROM_HZ / _HZ_PER_MEL
_LOG_STEP = math.log(6.4) / 27
_BANDS_AT_A_TIME = 32
_SHIPPED = Path(__file__).resolve().parent / "frontends"


def hz_to_mel(hz: float) -> float:
    """Convert a frequency from hertz to mels, on the Slaney scale.

    >>> round(hz_to_mel(1_000), 9), round(hz_to_mel(6_400), 9)
    (15.0, 42.0)
    """
    return hz / _HZ_PER_MEL if hz < _LOG_FROM_HZ else _LOG_FROM_MEL + math.log(hz / _LOG_FROM_HZ) / _LOG_STEP


def mel_to_hz(mels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Convert frequencies from mels to hertz; the shape is kept."""
    over = mels - _LOG_FROM_MEL
    return np.where(over < 0, mels * _HZ_PER_MEL, _LOG_FROM_HZ * np.exp(np.maximum(over, 0) * _LOG_STEP))


def mel_edges_hz(spec: FeatureSpec) -> NDArray[np.float64]:
    """Return the edges of the mel bands (n_mels + 2,): band i starts at edge i, peaks at i + 1 and ends at i + 2."""
    return mel_to_hz(np.linspace(hz_to_mel(spec.fmin), hz_to_mel(spec.upper_hz), spec.n_mels + 2))


@dataclass(frozen=True)
class Frontend:
    """Constants in float32: ``taper`` (n_fft,), ``mel`` (1 + n_fft / 2, n_mels), ``dct`` (n_mels, n_mfcc) or None."""

    taper: NDArray[np.float32]
    mel: NDArray[np.float32]
    dct: NDArray[np.float32] | None

    @cached_property
    def bands(self) -> list[tuple[slice, NDArray[np.float32]]]:
        """The mel basis as (bins, weights) of groups of adjacent bands, which skips most of its zeros."""
        bands = []
        for first in range(0, self.mel.shape[1], _BANDS_AT_A_TIME):
            weights = self.mel[:, first : first + _BANDS_AT_A_TIME]
            used = np.flatnonzero(weights.any(axis=1))
            bins = slice(int(used[0]), int(used[-1]) + 1) if len(used) else slice(0, 1)
            bands.append((bins, np.ascontiguousarray(weights[bins])))
        return bands

    def to_bytes(self) -> bytes:
        """Return these constants as an ``.npz`` file; equal constants give equal bytes."""
        arrays = {"taper": self.taper, "mel": self.mel} | ({} if self.dct is None else {"dct": self.dct})
        return npz_bytes(arrays)

    @classmethod
    def from_bytes(cls, data: bytes, spec: FeatureSpec) -> "Frontend":
        """Read constants that `to_bytes` wrote; raise `IntegrityError` unless they fit ``spec``."""
        shapes = {"taper": (spec.n_fft,), "mel": (1 + spec.n_fft // 2, spec.n_mels)}
        if spec.n_mfcc is not None:
            shapes["dct"] = (spec.n_mels, spec.n_mfcc)
        arrays = read_npz(data, shapes)
        return cls(arrays["taper"], arrays["mel"], arrays.get("dct"))


def make(spec: FeatureSpec) -> Frontend:
    """Return the constants for ``spec``: shipped ones if there are any, else computed with librosa (about 1.5 s).

    Raise `MissingExtraError` if they are not shipped and librosa is not installed.
    """
    shipped = _SHIPPED / f"{_key(spec)}.npz"
    return Frontend.from_bytes(shipped.read_bytes(), spec) if shipped.is_file() else compute(spec)


def compute(spec: FeatureSpec) -> Frontend:
    """Compute the constants for ``spec`` with librosa: periodic Hann taper, Slaney mel basis, orthonormal DCT-II."""
    with needs_extra("train"):
        import scipy.fft
        from librosa import filters  # type: ignore[attr-defined]

    taper = filters.get_window("hann", spec.n_fft, fftbins=True)
    mel = filters.mel(sr=spec.sample_rate, n_fft=spec.n_fft, n_mels=spec.n_mels, fmin=spec.fmin, fmax=spec.upper_hz)
    dct = None
    if spec.n_mfcc is not None:
        dct = scipy.fft.dct(np.eye(spec.n_mels), axis=1, type=2, norm="ortho")[:, : spec.n_mfcc]
        dct = np.ascontiguousarray(dct, dtype=np.float32)
    return Frontend(taper.astype(np.float32), np.ascontiguousarray(mel.T, dtype=np.float32), dct)


def write_shipped(spec: FeatureSpec) -> Path:
    """Write the constants for ``spec`` into the package folder; for maintainers, after a preset has changed."""
    path = _SHIPPED / f"{_key(spec)}.npz"
    write_atomic(path, compute(spec).to_bytes())
    return path


def npz_bytes(arrays: dict[str, NDArray[np.float32]]) -> bytes:
    """Return an ``.npz`` file without times and in fixed order, so that equal arrays give equal bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in sorted(arrays.items()):
            member = io.BytesIO()
            np.lib.format.write_array(member, np.ascontiguousarray(array), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), member.getvalue(), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def read_npz(data: bytes, shapes: dict[str, tuple[int, ...]]) -> dict[str, NDArray[np.float32]]:
    """Read float32 arrays with exactly these names and shapes from an ``.npz`` file that is not trusted.

    Larger arrays are not unpacked, and no code in the file can run. Raise `IntegrityError` if an array does not fit.
    """
    arrays = {}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            sizes = {info.filename: info.file_size for info in archive.infolist()}
            for name, shape in shapes.items():
                expected = 4 * int(np.prod(shape, dtype=np.int64))
                if not expected <= sizes.get(f"{name}.npy", -1) <= expected + 4096:
                    raise IntegrityError(f"array '{name}' is missing or not of shape {shape}")
                member = io.BytesIO(archive.read(f"{name}.npy"))
                version = np.lib.format.read_magic(member)
                # Read the header alone: numpy would allocate all the memory that a false shape claims.
                header = np.lib.format.read_array_header_1_0(member)
                if version != (1, 0) or header != (shape, False, np.dtype(np.float32)):
                    raise IntegrityError(f"array '{name}' is {header[2]} {header[0]}, not float32 {shape}")
                arrays[name] = np.frombuffer(member.read(), np.float32).reshape(shape)
                if not np.isfinite(arrays[name]).all():
                    raise IntegrityError(f"array '{name}' is not finite")
    except IntegrityError:
        raise
    except Exception as error:  # zipfile, zlib, numpy and its tokenizer each raise errors of their own
        raise IntegrityError(f"arrays cannot be read ({error})") from error
    return arrays


def _key(spec: FeatureSpec) -> str:
    """Return a digest of the fields that the constants depend on, which exclude windows, hops and channels."""
    fields = ("sample_rate", "n_fft", "n_mels", "n_mfcc", "fmin", "fmax")
    return digest_of(spec.model_dump(mode="json", include=set(fields)))[:16]
