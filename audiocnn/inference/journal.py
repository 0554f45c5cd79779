"""A journal of scored recordings on disk, written as they are scored: interrupted work resumes from it.

A journal is one file that only grows, with one record per recording, found by the SHA-256 of the recording. A record
begins with its length and digest, so that a record cut off by a crash or a power cut is detected; its recording is then
scored again. Records of long recordings are written and hashed in pieces, and their windows are read only on request.
"""

import contextlib
import hashlib
import json
import math
import os
import struct
import time
from collections.abc import Collection, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiocnn.errors import OutputError
from audiocnn.features import store
from audiocnn.features.analyze import RecordingStatus
from audiocnn.features.signal_stats import SignalStats
from audiocnn.files import digest_of, read_fully
from audiocnn.inference import spill
from audiocnn.inference.prediction import RecordingScores
from audiocnn.model import runtime

_HEADER = struct.Struct("<4sQ32s")  # magic number, length of the body in bytes, SHA-256 of the body
_MAGIC = b"aJ3\n"
_DAMAGED_MAGIC = b"aJx\n"  # of a record to skip
_DTYPES = tuple(map(np.dtype, ("<f8", "<f8", "?", "<f4")))  # of scores, embedding, loud and log scores
_HEAD_BYTES = 1 << 16  # upper limit of a record before its arrays
_PIECE_BYTES = 1 << 20
_SYNC_EVERY_S = 10.0  # a power cut loses at most so much work; a crash loses none


class Journal:
    """An open journal: add records, and read them by their offset in the file. Use `open_journal`."""

    def __init__(self, file: Path, *, durable: bool) -> None:
        self.path, self._durable = file, durable
        self._file = open(file, "a+b", buffering=0)  # noqa: SIM115 - closed by `open_journal`
        self._offsets: dict[str, int] = {}
        self.damaged = False  # whether some recording must be scored again
        self._end = self._scan()
        self._file.truncate(self._end)
        self._synced_at = time.monotonic()

    @property
    def known(self) -> Collection[str]:
        """The SHA-256 of recordings that need not be scored again: those that are ok or silent."""
        return self._offsets.keys()

    def find(self, sha256: str) -> int | None:
        """Return the offset of the record of a recording; None if it is not known."""
        return self._offsets.get(sha256)

    def add(self, status: RecordingStatus, scores: RecordingScores | None) -> int:
        """Write a record and return its offset; raise `OutputError` naming the file if the disk is full."""
        digest, length = hashlib.sha256(), 0
        try:
            for piece in _encode(status, scores):
                digest.update(piece)
                length += len(piece)
            _write(self._file.fileno(), _HEADER.pack(_MAGIC, length, digest.digest()))
            for piece in _encode(status, scores):
                _write(self._file.fileno(), piece)
            if self._durable and time.monotonic() - self._synced_at > _SYNC_EVERY_S:
                os.fsync(self._file.fileno())
                self._synced_at = time.monotonic()
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be written ({error.strerror or error})") from error
        offset, self._end = self._end, self._end + _HEADER.size + length
        self._index(status, offset)
        return offset

    def read(self, offset: int, windows: slice = slice(None)) -> tuple[RecordingStatus, RecordingScores | None]:
        """Return the status and scores in the record at an offset, of the windows only those of a slice."""
        self._file.seek(offset)
        _, length, _ = _HEADER.unpack(read_fully(self._file, _HEADER.size))
        head, n_head = _parse_head(read_fully(self._file, min(length, _HEAD_BYTES)))
        status = RecordingStatus(**{**head["account"], "codes": tuple(head["account"]["codes"])})
        if not head["shapes"]:
            return status, None
        begin = offset + _HEADER.size + n_head
        arrays: list[NDArray[Any]] = []
        for shape, dtype in zip(head["shapes"], _DTYPES, strict=True):
            n_rows, row_bytes = shape[0], math.prod(shape[1:]) * dtype.itemsize
            first, last, _ = (slice(None) if len(arrays) < 2 else windows).indices(n_rows)
            self._file.seek(begin + first * row_bytes)
            data = read_fully(self._file, max(0, last - first) * row_bytes)
            arrays.append(np.frombuffer(data, dtype).reshape(-1, *shape[1:]))
            begin += n_rows * row_bytes
        scores, embedding, loud, log_scores = arrays
        stats = None if head["character"] is None else SignalStats(**head["character"])
        return status, RecordingScores(log_scores, scores, embedding, loud, stats, windows.start or 0)

    def close(self) -> None:
        """Write everything to the disk and close the file."""
        if self._durable:
            with contextlib.suppress(OSError):
                os.fsync(self._file.fileno())
        self._file.close()

    def _index(self, status: RecordingStatus, offset: int) -> None:
        if status.sha256 and status.status != "unreadable":
            self._offsets[status.sha256] = offset

    def _scan(self) -> int:
        """Index every complete record; return the offset at which the last one ends."""
        size, offset = os.fstat(self._file.fileno()).st_size, 0
        self._file.seek(0)
        while len(header := read_fully(self._file, _HEADER.size)) == _HEADER.size:
            magic, length, digest = _HEADER.unpack(header)
            end = offset + _HEADER.size + length
            if magic not in (_MAGIC, _DAMAGED_MAGIC) or end > size:
                break
            if magic == _MAGIC:
                start, actual = self._hash_body(length)
                if actual == digest:
                    self._index(RecordingStatus(**_parse_head(start)[0]["account"]), offset)
                else:
                    self._mark_damaged(offset)
            self._file.seek(offset := end)
        self.damaged |= offset < size
        return offset

    def _hash_body(self, length: int) -> tuple[bytes, bytes]:
        """Read ``length`` bytes; return the first of them, and the SHA-256 of all."""
        start = read_fully(self._file, min(length, _PIECE_BYTES))
        digest, n_left = hashlib.sha256(start), length - len(start)
        while n_left and (piece := self._file.read(min(n_left, _PIECE_BYTES))):
            digest.update(piece)
            n_left -= len(piece)
        return start, digest.digest()

    def _mark_damaged(self, offset: int) -> None:
        """Mark a record as damaged in the file, so that it is skipped from now on."""
        self.damaged = True
        with open(self.path, "r+b", buffering=0) as file:
            file.seek(offset)
            file.write(_DAMAGED_MAGIC)


@contextlib.contextmanager
def open_journal(folder: Path, context: str, *, durable: bool = True) -> Iterator[Journal]:
    """Yield the journal of a folder for a ``context``: the digest of everything that can change a score.

    A folder may hold several journals. The caller ensures that only one process opens it.
    """
    path = folder / f"{context[:16]}.journal"
    try:
        journal = Journal(path, durable=durable)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error
    with contextlib.closing(journal):
        yield journal


def scoring_context(model: str) -> str:
    """Return a digest of all that can change scores, except the recording; ``model`` is the digest of the model."""
    return digest_of({"schema": "audiocnn.journal/3", "model": model, "versions": versions()})


def versions() -> dict[str, str | int]:
    """Return the versions that must be the same for scores that agree to the last digit."""
    return {**store.library_versions(), "LiteRT": runtime.version()}


def _encode(status: RecordingStatus, scores: RecordingScores | None) -> Iterator[bytes]:
    """Yield the body of a record in pieces: a line of JSON, then the arrays."""
    small = () if scores is None else (scores.scores, scores.embedding, scores.loud)
    shapes = [] if scores is None else [*(array.shape for array in small), scores.log_scores.shape]
    stats = None if scores is None or scores.signal_stats is None else asdict(scores.signal_stats)
    head = {"account": asdict(status), "shapes": shapes, "character": stats}
    arrays = (np.asarray(array, dtype).tobytes() for array, dtype in zip(small, _DTYPES, strict=False))
    yield b"".join([json.dumps(head).encode(), b"\n", *arrays])
    if scores is not None:
        yield from spill.iter_bytes(scores.log_scores)


def _parse_head(start: bytes) -> tuple[dict[str, Any], int]:
    """Return the line of JSON at the start of a record, parsed, and its length in bytes."""
    n_bytes = start.index(b"\n") + 1
    return json.loads(start[:n_bytes]), n_bytes


def _write(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
