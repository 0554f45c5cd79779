"""Check the header of a sound file against the size of the file, and correct lengths that are too small.

A recorder that loses power leaves a header that says 0, or the length at the last time that it was updated. libsndfile
believes it. Here the file gets a corrected header, in memory, so that the samples that are there are read.
"""

import io
import math
import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

_MAX_CHUNKS = 10_000
_LEFT_OPEN = 1 << 13  # lengths this close below 2 or 4 GiB (bytes) are placeholders of programs writing to a pipe
_MIN_STALE_BYTES = 512  # shorter rests behind the samples are not taken for samples
_TAGS = (b"ID3", b"TAG", b"APETAGEX", b"LYRICS", b"<?xml", b"<BWF")  # of other programs, behind the samples
_W64_DATA = b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"

Patches = tuple[tuple[int, bytes], ...]


@dataclass(frozen=True)
class Header:
    """``missing`` are bytes of samples that are declared beyond the end of the file; ``is_true`` if the lengths agree.

    ``patches`` are the corrected bytes of the header by their offset. The first ``skipped`` bytes of the file are
    replaced by ``prefix``; a header without patches and prefix needs no change.
    """

    missing: int = 0
    is_true: bool = True
    patches: Patches = ()
    skipped: int = 0
    prefix: bytes = b""


class PatchedFile(io.RawIOBase):
    """A file that is read with a corrected header."""

    def __init__(self, path: Path, header: Header) -> None:
        super().__init__()
        self._file = open(path, "rb")  # noqa: SIM115 - closed by close
        self._header = header
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        size = os.fstat(self._file.fileno()).st_size + self._shift
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, out: "memoryview | bytearray") -> int:  # type: ignore[override]
        view = memoryview(out).cast("B")
        n = len(beginning := self._header.prefix[self._at : self._at + len(view)])
        if n:
            view[:n] = beginning
        else:
            at = self._file.seek(self._at - self._shift)
            n = self._file.readinto(view)
            for offset, patch in self._header.patches:
                first, last = max(offset, at), min(offset + len(patch), at + n)
                if first < last:
                    view[first - at : last - at] = patch[first - offset : last - offset]
        self._at += n
        return n

    def close(self) -> None:
        self._file.close()
        super().close()

    @property
    def _shift(self) -> int:
        """How many bytes later everything behind the prefix is than in the file."""
        return len(self._header.prefix) - self._header.skipped


def check(path: Path, container: str) -> Header:
    """Compare the lengths that a file declares with its size. Containers without such lengths are true."""
    readers: dict[str, Callable[[BinaryIO, int], Header]] = {
        "wav": _check_wav,
        "aiff": _check_aiff,
        "au": _check_au,
        "nist": _check_nist,
        "w64": _check_w64,
        "caf": _check_caf,
    }
    if container not in readers:
        return Header()
    with open(path, "rb") as file:
        return readers[container](file, os.fstat(file.fileno()).st_size)


def _check_wav(file: BinaryIO, size: int) -> Header:
    magic = file.read(12)[:4]
    order = ">" if magic == b"RIFX" else "<"
    chunks = _find_chunks(file, order, last=b"data")
    if b"data" not in chunks:
        return Header()
    start, length = chunks[b"data"]
    align = max(1, _number(file, chunks, b"fmt ", 12, 2, order))
    if b"ds64" in chunks and _is_open(length):  # RF64: the sizes of the file and of the samples have 8 bytes each
        long_length = _number(file, chunks, b"ds64", 8, 8, "<")
        at = chunks[b"ds64"][0]

        def long_sizes(n: int) -> Patches:
            return ((at, struct.pack("<QQ", size - 8, n)),)

        return _compare(file, long_length, start, size, order, align, long_sizes, is_open=False)

    def sizes(n: int) -> Patches:
        return tuple((i, struct.pack(f"{order}I", min(v, 0xFFFFFFFF))) for i, v in ((4, size - 8), (start - 4, n)))

    return _compare(file, length, start, size, order, align, sizes, is_open=_is_open(length))


def _check_aiff(file: BinaryIO, size: int) -> Header:
    file.seek(12)
    chunks = _find_chunks(file, ">", last=b"SSND")
    if b"SSND" not in chunks or b"COMM" not in chunks:
        return Header()
    at, length = chunks[b"SSND"]  # it begins with an offset and a block size, 8 bytes together
    align = max(1, _number(file, chunks, b"COMM", 0, 2, ">") * -(-_number(file, chunks, b"COMM", 6, 2, ">") // 8))

    def sizes(n: int) -> Patches:
        lengths = ((4, size - 8), (at - 4, n + 8), (chunks[b"COMM"][0] + 2, n // align))
        return tuple((i, struct.pack(">I", min(v, 0xFFFFFFFF))) for i, v in lengths)

    is_open = length <= 8 or _is_open(length)
    return _compare(file, max(0, length - 8), at + 8, size, ">", align, sizes, is_open=is_open)


def _check_au(file: BinaryIO, size: int) -> Header:
    head = file.read(12)
    if len(head) < 12 or head[:4] != b".snd":
        return Header()
    start, length = struct.unpack(">II", head[4:])
    unknown = ((8, b"\xff\xff\xff\xff"),)
    return _compare(file, length, start, size, "", 1, lambda _: unknown, is_open=_is_open(length))


def _check_w64(file: BinaryIO, size: int) -> Header:
    at, head = 40, b""  # after the GUID of riff, the size of the file and the GUID of wave
    for _ in range(_MAX_CHUNKS):
        file.seek(at)
        head = file.read(24)
        length = int.from_bytes(head[16:], "little")  # of the chunk with its header
        if head[:16] == _W64_DATA or length < 24:
            break
        at += length + -length % 8
    if head[:16] != _W64_DATA:
        return Header()

    def sizes(n: int) -> Patches:
        return (16, struct.pack("<Q", size)), (at + 16, struct.pack("<Q", n + 24))

    return _compare(file, max(0, length - 24), at + 24, size, "", 1, sizes, is_open=length <= 24)


def _check_caf(file: BinaryIO, size: int) -> Header:
    at, head, length = 8, b"", 0
    for _ in range(_MAX_CHUNKS):
        file.seek(at)
        head = file.read(12)
        length = int.from_bytes(head[4:], "big", signed=True)
        if head[:4] == b"data" or len(head) < 12 or length < 0:
            break
        at += 12 + length
    if head[:4] != b"data" or length == -1:  # -1 is allowed: up to the end of the file
        return Header()

    def sizes(n: int) -> Patches:
        return ((at + 4, struct.pack(">q", n + 4)),)

    # The content begins with an edit count of 4 bytes.
    header = _compare(file, max(0, length - 4), at + 16, size, "", 1, sizes, is_open=length <= 4)
    too_large = not header.is_true and not header.patches  # libsndfile refuses that
    return replace(header, patches=sizes(max(0, size - at - 16))) if too_large else header


def _check_nist(file: BinaryIO, size: int) -> Header:
    """A text header of lines ``name -i value``; libsndfile reads to the end of the file whatever it says."""
    lines = (line.split() for line in file.read(1 << 12).split(b"\n"))
    values = {words[0]: words[-1] for words in lines if len(words) in (1, 3)}
    names = (b"sample_count", b"channel_count", b"sample_n_bytes")
    found = [values.get(name, b"") for name in names]
    start = next((int(name) for name in values if name.isdigit()), 1024)
    if not all(value.isdigit() for value in found) or values.get(b"sample_coding", b"pcm") != b"pcm":
        return Header()
    declared = math.prod(map(int, found))
    return _compare(file, declared, start, size, "", 1, lambda _: (), is_open=declared == 0)


def _find_chunks(file: BinaryIO, order: str, *, last: bytes) -> dict[bytes, tuple[int, int]]:
    """Return start and length of the content of each chunk by its name, up to the one named ``last``."""
    found = {}
    for name, at, length in _chunks(file, order):
        found[name] = at, length
        if name == last:
            break
    return found


def _number(
    file: BinaryIO, chunks: dict[bytes, tuple[int, int]], name: bytes, offset: int, n_bytes: int, order: str
) -> int:
    """Return an unsigned integer in the content of a chunk; 0 if it is not there."""
    if name not in chunks:
        return 0
    file.seek(chunks[name][0] + offset)
    return int.from_bytes(file.read(n_bytes), "big" if order == ">" else "little")


def _chunks(file: BinaryIO, order: str) -> Iterator[tuple[bytes, int, int]]:
    """Yield the name, the start of the content and the length of each chunk from the current position on."""
    at = file.tell()
    for _ in range(_MAX_CHUNKS):
        file.seek(at)
        head = file.read(8)
        if len(head) < 8:
            return
        name, length = struct.unpack(f"{order}4sI", head)
        yield name, at + 8, length
        at += 8 + length + length % 2


def _compare(
    file: BinaryIO,
    declared: int,
    start: int,
    size: int,
    order: str,
    align: int,
    patches_for: Callable[[int], Patches],
    *,
    is_open: bool,
) -> Header:
    """Compare a declared length of samples with the bytes from ``start`` to the end of the file.

    ``order`` is the byte order of chunks that may follow the samples, empty if none may. ``is_open`` marks a length
    that is a placeholder. ``patches_for`` returns the patches for the true length, a multiple of ``align``.
    """
    there = max(0, size - start)
    if declared > there:
        return Header(is_true=False, missing=0 if is_open else declared - there)
    if there - declared < _MIN_STALE_BYTES or _is_known(file, start + declared, size, order):
        return Header()
    return Header(is_true=False, patches=patches_for(there // align * align))


def _is_open(length: int) -> bool:
    """Whether a length of 32 bits is a placeholder: 0, or next to 2 or 4 GiB."""
    return -length % (1 << 31) <= _LEFT_OPEN


def _is_known(file: BinaryIO, at: int, size: int, order: str) -> bool:
    """Whether the bytes from ``at`` on are chunks, a tag or padding, but not samples."""
    file.seek(at)
    head = file.read(1 << 16)
    if not any(head) or head.lstrip(b"\0 ").startswith(_TAGS):
        return True
    return bool(order) and any(_are_chunks(file, first, size, order) for first in (at, at + 1))


def _are_chunks(file: BinaryIO, at: int, size: int, order: str) -> bool:
    """Whether chunks with printable names fill the file from ``at`` to its end."""
    file.seek(at)
    for name, start, length in _chunks(file, order):
        if not all(0x20 <= byte < 0x7F for byte in name):
            return not any(name) and start > at + 8  # padding behind the last chunk
        if start + length >= size:
            return start + length - size <= 1
    return True
