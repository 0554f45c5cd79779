"""Store the frames of recordings on disk, keyed by content, spec and library versions.

Each recording has one ``.safetensors`` file with its frames and its status. A file is written completely or not at
all, so a file that is present is complete. It contains no time and no absolute path. Augmented versions of a recording
have files of their own next to it.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import safetensors

from audiocnn.audio import cluster
from audiocnn.audio.decode import LIBRARIES
from audiocnn.errors import IntegrityError, OutputError
from audiocnn.features.analyze import RecordingStatus
from audiocnn.features.extract import Array
from audiocnn.files import atomic_file, digest_of, read_fully
from audiocnn.specs import FeatureSpec

if TYPE_CHECKING:
    from audiocnn.config import Project

VERSION = 3  # increase it when a code change alters the frames
_SUFFIX = ".safetensors"
_HEADER_BYTES = 2048  # of every file, padded with spaces, as the header is written after the frames
_DTYPES: dict[str, tuple[str, np.dtype[Any]]] = {
    "float32": ("F32", np.dtype("<f4")),
    "float16": ("F16", np.dtype("<f2")),
}
_CHUNK = 1 << 20  # bytes read at a time to check a file
_REMEDY = "delete it and run 'audiocnn featurize' again"


class FeatureStore:
    """The frames computed with one `FeatureSpec`, in a folder of their own below ``folder``.

    In its methods ``version`` is 0 for the recording itself and from 1 on for its augmented versions. A store that is
    not ``durable`` writes faster but may lose files in a power cut.
    """

    def __init__(self, folder: Path, spec: FeatureSpec, *, durable: bool = True) -> None:
        self.spec = spec
        self.durable = durable
        self.versions = library_versions()
        self.key = digest_of({"spec": spec.model_dump(mode="json"), "versions": self.versions})[:16]
        self.folder = folder / self.key

    def check_versions(self) -> None:
        """Raise `ConfigError` if this store was sent here by a machine with other library versions."""
        cluster.check_versions(self.versions, library_versions())

    def file(self, sha256: str, version: int = 0) -> Path:
        """Return the path of the frames of the recording with this SHA-256."""
        return self.folder / sha256[:2] / (_stem(sha256, version) + _SUFFIX)

    @contextlib.contextmanager
    def writer(self, sha256: str, version: int = 0) -> Iterator["Writer"]:
        """Yield a `Writer`; the file is kept only if it was finished by the end of the block."""
        path = self.file(sha256, version)
        with contextlib.suppress(_NotFinishedError), atomic_file(path, durable=self.durable) as file:
            writer = Writer(file, path, self.spec, version)
            yield writer
            if not writer.finished:
                raise _NotFinishedError

    def read_status(self, sha256: str, version: int = 0) -> RecordingStatus | None:
        """Return the status of a recording without reading its frames; None if it is missing or damaged."""
        file = self.file(sha256, version)
        try:
            return _read_header(file)[0] if file.is_file() else None
        except IntegrityError:
            return None

    def check(self, sha256: str, version: int = 0) -> None:
        """Raise `IntegrityError` unless the frames of a recording match their checksum."""
        check_file(self.file(sha256, version))

    def frames(self, status: RecordingStatus, version: int = 0) -> "StoredFrames":
        """Return the frames of a recording, which are read a slice at a time; their checksum is not verified."""
        n_rows = status.n_frames * self.spec.n_tracks(status.n_channels)
        return StoredFrames(self.file(status.sha256, version), self.spec, n_rows)


def stores_of(project: "Project") -> list[FeatureStore]:
    """Return the feature store of each network of a project, first that of the one with the closest windows."""
    networks = project.networks
    finest = networks.pop(project.finest)
    return [FeatureStore(one.run / "features", one.experiment.features) for one in (finest, *networks.values())]


def find_store(project: "Project", spec: FeatureSpec) -> FeatureStore:
    """Return the store of a project for these features, which may be those of one of its members."""
    own = FeatureStore(project.run / "features", spec)
    return next((store for store in stores_of(project) if store.key == own.key), own)


class Writer:
    """Write the frames of one recording, or of an augmented version, block by block."""

    def __init__(self, file: BinaryIO, path: Path, spec: FeatureSpec, version: int = 0) -> None:
        self.finished = False
        self._file, self._path, self._spec, self._version = file, path, spec, version
        self._n_rows = 0
        self._digest = hashlib.sha256()
        self._file.seek(_HEADER_BYTES)

    def append(self, frames: Array) -> None:
        """Add frames (n, n_bins, n_channels); raise `OutputError` if the file cannot be written."""
        data = np.ascontiguousarray(frames, _DTYPES[self._spec.dtype][1]).data
        self._digest.update(data)
        try:
            self._file.write(data)
        except OSError as error:
            raise OutputError(f"{self._path}: cannot be written ({error.strerror or error})") from error
        self._n_rows += len(frames)

    def finish(self, status: RecordingStatus) -> None:
        """Write the status, and discard the frames unless it is ok."""
        if status.status != "ok":
            self._file.truncate(_HEADER_BYTES)
            self._n_rows, self._digest = 0, hashlib.sha256()
        name, dtype = _DTYPES[self._spec.dtype]
        shape = [self._n_rows, self._spec.n_bins, len(self._spec.channels)]
        content: dict[str, Any] = {"account": asdict(status), "shape": shape, "dtype": name}
        content["frames"] = self._digest.hexdigest()
        if self._version:
            content["copy"] = self._version
        # A single metadata key, as several may come in any order, and equal content must give equal bytes.
        metadata = {"audiocnn": json.dumps({**content, "sha256": digest_of(content)}, sort_keys=True)}
        size = int(np.prod(shape)) * dtype.itemsize
        tensor = {"dtype": name, "shape": shape, "data_offsets": [0, size]}
        # The format (https://huggingface.co/docs/safetensors, "Format"): length of the header, header, data.
        header = json.dumps({"__metadata__": metadata, "frames": tensor}).encode().ljust(_HEADER_BYTES - 8)
        if len(header) != _HEADER_BYTES - 8:
            raise ValueError(f"the status of {status.sha256} does not fit into {_HEADER_BYTES} bytes")
        self._file.seek(0)
        self._file.write(len(header).to_bytes(8, "little") + header)
        self.finished = True


class StoredFrames:
    """Frames (n_frames * n_tracks, n_bins, n_channels) on disk; a slice reads an array.

    The file is read rather than memory-mapped, as mapped pages would count as memory of the process.
    """

    def __init__(self, file: Path, spec: FeatureSpec, n_rows: int) -> None:
        self._file = os.fspath(file)
        self._n_rows = n_rows
        self._dtype = _DTYPES[spec.dtype][1]
        self._row = (spec.n_bins, len(spec.channels))
        self._row_bytes = spec.n_bins * len(spec.channels) * self._dtype.itemsize

    def __len__(self) -> int:
        return self._n_rows

    def __getitem__(self, rows: slice) -> Array:
        first, last, _ = rows.indices(self._n_rows)
        with open(self._file, "rb", buffering=0) as file:
            file.seek(_HEADER_BYTES + first * self._row_bytes)
            data = read_fully(file, (last - first) * self._row_bytes)
        return np.frombuffer(data, self._dtype).reshape(-1, *self._row)


def check_file(file: Path) -> None:
    """Raise `IntegrityError` unless a file of any store matches its checksum."""
    _, expected = _read_header(file)
    digest = hashlib.sha256()
    try:
        with open(file, "rb") as content:
            content.seek(_HEADER_BYTES)
            while chunk := content.read(_CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise IntegrityError(f"{file}: damaged ({error}); {_REMEDY}") from error
    if digest.hexdigest() != expected:
        raise IntegrityError(f"{file}: damaged: its content does not match its checksum; {_REMEDY}")


def library_versions() -> dict[str, str | int]:
    """Return the versions of everything besides the spec that can change a frame."""
    return {**LIBRARIES, "numpy": np.__version__, "store": VERSION}


def _stem(sha256: str, version: int) -> str:
    return f"{sha256}.copy-{version}" if version else sha256


class _NotFinishedError(Exception):
    """The writer was not finished, so the file is not kept."""


def _read_header(file: Path) -> tuple[RecordingStatus, str]:
    """Return the status and the expected digest of the frames."""
    try:
        with safetensors.safe_open(file, framework="numpy") as content:
            header: dict[str, Any] = json.loads((content.metadata() or {})["audiocnn"])
            tensor = content.get_slice("frames")
            shape, dtype = tensor.get_shape(), tensor.get_dtype()
        whole = header.pop("sha256") == digest_of(header)
        whole &= [shape, dtype] == [header["shape"], header["dtype"]]
        values = header["account"]
        status = RecordingStatus(**{**values, "codes": tuple(values["codes"])})
    except (OSError, safetensors.SafetensorError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise IntegrityError(f"{file}: damaged ({error}); {_REMEDY}") from error
    if not whole:
        raise IntegrityError(f"{file}: damaged: its content does not match its checksum; {_REMEDY}")
    if _stem(status.sha256, header.get("copy", 0)) != file.name.removesuffix(_SUFFIX):
        raise IntegrityError(f"{file}: damaged: it holds the frames of another recording; {_REMEDY}")
    return status, str(header["frames"])
