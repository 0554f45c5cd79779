"""What was found out about recordings, kept on disk as it is found out: interrupted work goes on from there.

One file that only grows, a record a recording. A record begins with its length and digest, so that one that was torn
by a crash or a power cut is noticed; it is then computed again. Records are found by the content of the recording.
"""

import contextlib
import hashlib
import json
import os
import struct
import time
from collections.abc import Collection, Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np

from audiocnn.errors import OutputError
from audiocnn.features.listen import Account
from audiocnn.results.aggregate import Verdict

_HEADER = struct.Struct("<4sQ32s")  # magic number, bytes of the body, their SHA-256
_MAGIC = b"aJ1\n"
_DTYPES = tuple(map(np.dtype, ("<f8", "<f8", "<f4", "?")))  # of scores, embedding, log-scores and what is loud
_DURABLE_EVERY_S = 10.0  # so much work may be lost by a power cut; by a crash, none


class Journal:
    """A journal that is open: records are added to it and read from it. Use `opened`."""

    def __init__(self, file: Path, *, durable: bool) -> None:
        self._path, self._durable = file, durable
        self._file = open(file, "a+b", buffering=0)  # noqa: SIM115 - closed by `opened`
        self._places: dict[str, int] = {}
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

    def add(self, account: Account, verdict: Verdict | None) -> int:
        """Write a record and return its place; raises `OutputError` naming the file if there is no room."""
        body = _encoded(account, verdict)
        try:
            _write(self._file.fileno(), _HEADER.pack(_MAGIC, len(body), hashlib.sha256(body).digest()))
            _write(self._file.fileno(), body)
            if self._durable and time.monotonic() - self._durable_at > _DURABLE_EVERY_S:
                os.fsync(self._file.fileno())
                self._durable_at = time.monotonic()
        except OSError as error:
            raise OutputError(f"{self._path}: cannot be written ({error.strerror or error})") from error
        place, self._end = self._end, self._end + _HEADER.size + len(body)
        self._note(account, place)
        return place

    def read(self, place: int) -> tuple[Account, Verdict | None]:
        """Return what the record at a place holds."""
        self._file.seek(place)
        _, length, _ = _HEADER.unpack(self._file.read(_HEADER.size))
        return _decoded(self._file.read(length))

    def close(self) -> None:
        if self._durable:
            with contextlib.suppress(OSError):
                os.fsync(self._file.fileno())
        self._file.close()

    def _note(self, account: Account, place: int) -> None:
        if account.sha256 and account.status != "unreadable":
            self._places[account.sha256] = place

    def _scanned(self) -> int:
        """Note every whole record; return where the last one ends."""
        size, place = os.fstat(self._file.fileno()).st_size, 0
        self._file.seek(0)
        while len(header := self._file.read(_HEADER.size)) == _HEADER.size:
            magic, length, digest = _HEADER.unpack(header)
            end = place + _HEADER.size + length
            if magic != _MAGIC or end > size:
                break
            body = self._file.read(length)
            if hashlib.sha256(body).digest() == digest:
                self._note(_decoded(body)[0], place)
            place = end
        return place


@contextlib.contextmanager
def opened(folder: Path, context: str, *, durable: bool = True) -> Iterator[Journal]:
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


def _encoded(account: Account, verdict: Verdict | None) -> bytes:
    arrays = () if verdict is None else (verdict.scores, verdict.embedding, verdict.log_scores, verdict.loud)
    head = {"account": asdict(account), "shapes": [array.shape for array in arrays]}
    parts = [json.dumps(head).encode(), b"\n"]
    parts += [np.asarray(array, dtype).tobytes() for array, dtype in zip(arrays, _DTYPES, strict=False)]
    return b"".join(parts)


def _decoded(body: bytes) -> tuple[Account, Verdict | None]:
    end = body.index(b"\n") + 1
    head = json.loads(body[:end])
    account = Account(**{**head["account"], "codes": tuple(head["account"]["codes"])})
    arrays = []
    for shape, dtype in zip(head["shapes"], _DTYPES, strict=False):
        count = int(np.prod(shape))
        arrays.append(np.frombuffer(body, dtype, count, end).reshape(shape))
        end += count * dtype.itemsize
    if not arrays:
        return account, None
    scores, embedding, log_scores, loud = arrays
    return account, Verdict(log_scores, scores, embedding, loud)


def _write(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
