"""What was found out about recordings, kept on disk as it is found out: interrupted work goes on from there.

One file that only grows, a record a recording. A record begins with its length and digest, so that one that was torn
by a crash or a power cut is noticed; it is then computed again. Records are found by the content of the recording.
Those of long recordings are written and hashed in pieces, and what they say of windows is read only where it is needed.
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

_HEADER = struct.Struct("<4sQ32s")  # magic number, bytes of the body, their SHA-256
_MAGIC = b"aJ3\n"
_VOID = b"aJx\n"  # of a record that was found damaged
_DTYPES = tuple(map(np.dtype, ("<f8", "<f8", "?", "<f4")))  # of scores, embedding, what is loud, and log scores
_HEAD_BYTES = 1 << 16  # more than a record has before its arrays
_PIECE_BYTES = 1 << 20
_DURABLE_EVERY_S = 10.0  # so much work may be lost by a power cut; by a crash, none


class Journal:
    """A journal that is open: records are added to it and read from it. Use `open_journal`."""

    def __init__(self, file: Path, *, durable: bool) -> None:
        self.path, self._durable = file, durable
        self._file = open(file, "a+b", buffering=0)  # noqa: SIM115 - closed by `open_journal`
        self._places: dict[str, int] = {}
        self.damaged = False  # whether something in it has to be found out again
        self._end = self._scanned()
        self._file.truncate(self._end)
        self._durable_at = time.monotonic()

    @property
    def known(self) -> Collection[str]:
        """The SHA-256 of recordings that need not be heard again: those that are ok or silent."""
        return self._places.keys()

    def place(self, sha256: str) -> int | None:
        """Where the record of a recording begins, if it is known."""
        return self._places.get(sha256)

    def add(self, account: RecordingStatus, found: RecordingScores | None) -> int:
        """Write a record and return its place; raises `OutputError` naming the file if there is no room."""
        digest, length = hashlib.sha256(), 0
        try:
            for piece in _encoded(account, found):
                digest.update(piece)
                length += len(piece)
            _write(self._file.fileno(), _HEADER.pack(_MAGIC, length, digest.digest()))
            for piece in _encoded(account, found):
                _write(self._file.fileno(), piece)
            if self._durable and time.monotonic() - self._durable_at > _DURABLE_EVERY_S:
                os.fsync(self._file.fileno())
                self._durable_at = time.monotonic()
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be written ({error.strerror or error})") from error
        place, self._end = self._end, self._end + _HEADER.size + length
        self._note(account, place)
        return place

    def read(self, place: int, *, windows: bool = True) -> tuple[RecordingStatus, RecordingScores | None]:
        """Return what the record at a place holds, with or without what it says of windows."""
        self._file.seek(place)
        _, length, _ = _HEADER.unpack(read_fully(self._file, _HEADER.size))
        head, n_head = _head(read_fully(self._file, min(length, _HEAD_BYTES)))
        account = RecordingStatus(**{**head["account"], "codes": tuple(head["account"]["codes"])})
        if not head["shapes"]:
            return account, None
        self._file.seek(place + _HEADER.size + n_head)
        scores, embedding = (self._array(head, i) for i in range(2))
        if windows:
            loud, log_scores = (self._array(head, i) for i in range(2, 4))
        else:
            loud, log_scores = np.zeros(0, bool), np.zeros((0, len(scores)), np.float32)
        character = None if head["character"] is None else SignalStats(**head["character"])
        return account, RecordingScores(log_scores, scores, embedding, loud, character)

    def close(self) -> None:
        if self._durable:
            with contextlib.suppress(OSError):
                os.fsync(self._file.fileno())
        self._file.close()

    def _note(self, account: RecordingStatus, place: int) -> None:
        if account.sha256 and account.status != "unreadable":
            self._places[account.sha256] = place

    def _array(self, head: dict[str, Any], number: int) -> NDArray[Any]:
        """Read the next of the arrays of a record."""
        shape, dtype = head["shapes"][number], _DTYPES[number]
        return np.frombuffer(read_fully(self._file, math.prod(shape) * dtype.itemsize), dtype).reshape(shape)

    def _scanned(self) -> int:
        """Note every whole record; return where the last one ends."""
        size, place = os.fstat(self._file.fileno()).st_size, 0
        self._file.seek(0)
        while len(header := read_fully(self._file, _HEADER.size)) == _HEADER.size:
            magic, length, digest = _HEADER.unpack(header)
            end = place + _HEADER.size + length
            if magic not in (_MAGIC, _VOID) or end > size:
                break
            if magic == _MAGIC:
                start, found = self._hashed(length)
                if found == digest:
                    self._note(RecordingStatus(**_head(start)[0]["account"]), place)
                else:
                    self._void(place)
            self._file.seek(place := end)
        self.damaged |= place < size
        return place

    def _hashed(self, length: int) -> tuple[bytes, bytes]:
        """Read so many bytes; return the first of them, and the SHA-256 of all."""
        start = read_fully(self._file, min(length, _PIECE_BYTES))
        digest, n_left = hashlib.sha256(start), length - len(start)
        while n_left and (piece := self._file.read(min(n_left, _PIECE_BYTES))):
            digest.update(piece)
            n_left -= len(piece)
        return start, digest.digest()

    def _void(self, place: int) -> None:
        """Have a damaged record passed over from now on."""
        self.damaged = True
        with open(self.path, "r+b", buffering=0) as file:
            file.seek(place)
            file.write(_VOID)


@contextlib.contextmanager
def open_journal(folder: Path, context: str, *, durable: bool = True) -> Iterator[Journal]:
    """Yield the journal of a folder, for whatever is true of ``context``: a digest of all that can change a score.

    A folder may hold several. Only one process may have it open, which is for the caller to see to.
    """
    path = folder / f"{context[:16]}.journal"
    try:
        journal = Journal(path, durable=durable)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error
    with contextlib.closing(journal):
        yield journal


def scoring_context(model: str) -> str:
    """Return a digest of everything but a recording's content that can change its scores; ``model`` is the model's."""
    return digest_of({"schema": "audiocnn.journal/3", "model": model, "versions": versions()})


def versions() -> dict[str, str | int]:
    """Return what must be the same to give the same scores to the last digit."""
    return {**store.library_versions(), "LiteRT": runtime.version()}


def _encoded(account: RecordingStatus, found: RecordingScores | None) -> Iterator[bytes]:
    """Yield the body of a record in pieces: a line of JSON, then the arrays."""
    small = () if found is None else (found.scores, found.embedding, found.loud)
    shapes = [] if found is None else [*(array.shape for array in small), found.log_scores.shape]
    character = None if found is None or found.signal_stats is None else asdict(found.signal_stats)
    head = {"account": asdict(account), "shapes": shapes, "character": character}
    arrays = (np.asarray(array, dtype).tobytes() for array, dtype in zip(small, _DTYPES, strict=False))
    yield b"".join([json.dumps(head).encode(), b"\n", *arrays])
    if found is not None:
        yield from spill.iter_bytes(found.log_scores)


def _head(start: bytes) -> tuple[dict[str, Any], int]:
    """Return what the line says that a record begins with, and how many bytes it has."""
    n_bytes = start.index(b"\n") + 1
    return json.loads(start[:n_bytes]), n_bytes


def _write(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
