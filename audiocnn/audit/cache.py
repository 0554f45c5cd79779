"""What was heard before, kept between audits: fingerprints by content, and how alike two contents were found to be.

One file in the format of safetensors, with a name of its own as ``verify`` takes ``*.safetensors`` for features.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from audiocnn.audio.decode import LIBRARIES
from audiocnn.audit import fingerprint, likeness
from audiocnn.audit.fingerprint import Fingerprint
from audiocnn.audit.likeness import Likeness
from audiocnn.files import digest_of, written_whole

FILE = "heard.fingerprints"
_FACTS = ("sha256", "samples", "duration_s", "peak")


@dataclass(frozen=True)
class CachedSearch:
    """Fingerprints by the SHA-256 of their files, likenesses by two of them, the lesser first.

    ``searched`` is the digest of the contents among which all that may be alike was compared, if that was finished.
    """

    fingerprints: Mapping[str, Fingerprint]
    likenesses: Mapping[tuple[str, str], Likeness]
    searched: str = ""


def read(file: Path) -> CachedSearch:
    """Return what was written; nothing if there is no such file, or one that is damaged or of another version."""
    try:
        with safetensors.safe_open(file, framework="numpy") as content:
            about = json.loads((content.metadata() or {})["audiocnn"])
            hashes, frames, bounds = (content.get_tensor(name) for name in ("hashes", "frames", "bounds"))
        if about["versions"] != _versions() or about["digest"] != _digest(about, hashes, frames, bounds):
            return CachedSearch({}, {})
        fingerprints = {
            facts["sha256"]: Fingerprint(**facts, hashes=hashes[first:last], frames=frames[first:last])
            for facts, first, last in zip(about["facts"], bounds[:-1], bounds[1:], strict=True)
        }
        likenesses = {(a, b): Likeness(**found) for a, b, found in about["likenesses"]}
    except (OSError, safetensors.SafetensorError, KeyError, TypeError, ValueError, AttributeError):
        return CachedSearch({}, {})
    return CachedSearch(fingerprints, likenesses, about["searched"])


def write(file: Path, heard: CachedSearch) -> None:
    """Replace the file; raises `OutputError` if it cannot be written."""
    kept = [fingerprint for _, fingerprint in sorted(heard.fingerprints.items())]
    hashes = np.concatenate([np.zeros(0, np.uint32), *(f.hashes for f in kept)])
    frames = np.concatenate([np.zeros(0, np.uint32), *(f.frames for f in kept)])
    bounds = np.cumsum([0, *(len(f.hashes) for f in kept)], dtype=np.int64)
    about: dict[str, Any] = {
        "versions": _versions(),
        "searched": heard.searched,
        "facts": [{name: getattr(f, name) for name in _FACTS} for f in kept],
        "likenesses": [[*pair, asdict(found)] for pair, found in sorted(heard.likenesses.items())],
    }
    about["digest"] = _digest(about, hashes, frames, bounds)
    tensors = {"hashes": hashes, "frames": frames, "bounds": bounds}
    with written_whole(file) as out:
        out.write(safetensors.numpy.save(tensors, {"audiocnn": json.dumps(about)}))


def _versions() -> dict[str, str | int]:
    """Everything that can change what is kept."""
    return {**LIBRARIES, "fingerprint": fingerprint.VERSION, "likeness": likeness.VERSION}


def _digest(about: Mapping[str, Any], *arrays: NDArray[Any]) -> str:
    contents = [hashlib.sha256(array.tobytes()).hexdigest() for array in arrays]
    return digest_of([{name: value for name, value in about.items() if name != "digest"}, contents])
