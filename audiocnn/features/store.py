"""The frames of every recording on disk, addressed by content and by everything that can change a number.

One ``.safetensors`` file a recording: the frames, and its account. It is written whole or not at all, so present
means done. Nothing in it holds a time or an absolute path.
"""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from audiocnn.audio.decode import LIBRARIES
from audiocnn.errors import IntegrityError
from audiocnn.features.extract import Array
from audiocnn.features.listen import Account
from audiocnn.files import digest_of, write_atomic
from audiocnn.specs import FeatureSpec

VERSION = 1  # raise it when the code that makes frames changes what it makes
_SUFFIX = ".safetensors"


class FeatureStore:
    """The frames made with one `FeatureSpec`, in a folder of their own below ``folder``."""

    def __init__(self, folder: Path, spec: FeatureSpec) -> None:
        self.spec = spec
        versions = {**LIBRARIES, "numpy": np.__version__, "store": VERSION}
        self.key = digest_of({"spec": spec.model_dump(mode="json"), "versions": versions})[:16]
        self.folder = folder / self.key

    def file(self, sha256: str) -> Path:
        """Where the frames of the recording with this content are."""
        return self.folder / sha256[:2] / (sha256 + _SUFFIX)

    def put(self, account: Account, frames: Array) -> None:
        """Keep the frames and account of a recording that is ok or silent."""
        write_atomic(self.file(account.sha256), _to_bytes(account, frames))

    def account(self, sha256: str) -> Account | None:
        """The account of a recording in the store, or None if it is not there or damaged; frames are not read."""
        file = self.file(sha256)
        try:
            return _read(file, frames=False)[0] if file.is_file() else None
        except IntegrityError:
            return None

    def frames(self, sha256: str) -> Array:
        """Frames (n_frames, n_bins, n_channels); raises `IntegrityError` if they are not what was written."""
        return _read(self.file(sha256), frames=True)[1]


def check_file(file: Path) -> None:
    """Raise `IntegrityError` unless a file of any store is what was written."""
    _read(file, frames=True)


_REMEDY = "delete it and run 'audiocnn featurize' again"


def _to_bytes(account: Account, frames: Array) -> bytes:
    content = {"account": asdict(account), "frames": _digest(frames)}
    header = json.dumps({**content, "sha256": digest_of(content)}, sort_keys=True)
    # One key only: safetensors writes several in no fixed order, and equal content must give equal bytes.
    return safetensors.numpy.save({"frames": np.ascontiguousarray(frames)}, metadata={"audiocnn": header})


def _read(file: Path, *, frames: bool) -> tuple[Account, Array]:
    try:
        with safetensors.safe_open(file, framework="numpy") as content:
            header: dict[str, Any] = json.loads((content.metadata() or {})["audiocnn"])
            array = content.get_tensor("frames") if frames else np.zeros((0, 0, 0), np.float32)
        whole = header.pop("sha256") == digest_of(header)
        values = header["account"]
        account = Account(**{**values, "codes": tuple(values["codes"])})
        if frames:
            whole &= _digest(array) == header["frames"] and len(array) == account.n_frames
    except (OSError, safetensors.SafetensorError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise IntegrityError(f"{file}: damaged ({error}); {_REMEDY}") from error
    if not whole:
        raise IntegrityError(f"{file}: damaged: it does not hold what was written; {_REMEDY}")
    if account.sha256 != file.name.removesuffix(_SUFFIX):
        raise IntegrityError(f"{file}: damaged: it holds the frames of another recording; {_REMEDY}")
    return account, array


def _digest(frames: Array) -> str:
    digest = hashlib.sha256(f"{frames.dtype} {frames.shape} ".encode())
    digest.update(np.ascontiguousarray(frames).data)
    return digest.hexdigest()
