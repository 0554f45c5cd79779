"""Count the frames of an MP3 file where its beginning does not tell how many there are, or tells too few.

libsndfile reads as many frames as the first one declares (a Xing, Info or VBRI header). Without such a header it takes
the bit rate of the first frame for that of all, and with a variable bit rate it stops too early. Of files that were
joined the first header counts its own frames only. The layout of frames: ISO/IEC 11172-3, 2.4.1.3, and 13818-3.
"""

import mmap
import struct
from collections.abc import Mapping
from pathlib import Path

from audiocnn.audio.headers import Header

_KBPS = {
    True: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),  # MPEG-1
    False: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),  # MPEG-2 and 2.5
}
_HERTZ = (44_100, 48_000, 32_000)
_DIVISOR = {0b11: 1, 0b10: 2, 0b00: 4}  # of the sample rate, by version
_TAGS = (b"Xing", b"Info")
_MOST_SEARCHED = 100_000  # places where a frame may begin again after other bytes
_MOST_HELD = 1 << 24  # bytes of a file in memory
_MIN_JOINED_FRAMES = 2  # fewer than the header does not count are not worth another reading


def check(path: Path) -> Header:
    """Return how to read all frames of an MP3 file; files that tell their length need nothing."""
    with open(path, "rb") as file:
        if not file.seek(0, 2):
            return Header()
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _check(data)


def _check(data: mmap.mmap) -> Header:
    start = _after_id3(data)
    first = data[start : start + 4]
    lengths = _lengths(first)
    if _key(first) not in lengths:
        return Header()
    end = start + lengths[_key(first)]
    tag = next((at for name in _TAGS if (at := data.find(name, start, end)) >= 0), None)
    if tag is None:
        if data.find(b"VBRI", start, end) >= 0:
            return Header()
        n, is_variable = _count(data, start, lengths)
        return Header(is_true=False, skipped=start, prefix=_info_frame(first, lengths, n)) if is_variable else Header()
    flags, declared, n_bytes = struct.unpack(">III", data[tag + 4 : tag + 16].ljust(12, b"\0"))
    if flags & 3 != 3 or len(data) - start - n_bytes < lengths[_key(first)]:
        return Header()
    n, _ = _count(data, end, lengths)
    if n < declared + _MIN_JOINED_FRAMES:
        return Header()
    return Header(is_true=False, patches=((tag + 8, struct.pack(">I", n)),))


def _after_id3(data: mmap.mmap) -> int:
    """Return where the frames begin, after the ID3v2 tags; their sizes have seven bits a byte."""
    at = 0
    while data[at : at + 3] == b"ID3" and len(data) >= at + 10:
        size = 0
        for byte in data[at + 6 : at + 10]:
            size = size << 7 | byte & 0x7F
        at += 10 + size + (10 if data[at + 5] & 0x10 else 0)
    return at


def _key(header: bytes) -> int:
    """Return the bits of a frame header that tell its length: sync, version, layer, CRC, bit rate, rate, padding."""
    return int.from_bytes(header, "big") >> 9


def _lengths(first: bytes) -> Mapping[int, int]:
    """Return the length in bytes of each kind of frame with the version and sample rate of ``first``, by its key."""
    word = int.from_bytes(first, "big")
    version, rate = word >> 19 & 3, word >> 10 & 3
    if word >> 21 != 0x7FF or version not in _DIVISOR or word >> 17 & 3 != 1 or rate == len(_HERTZ):
        return {}
    hertz, is_first = _HERTZ[rate] // _DIVISOR[version], version == 0b11
    found = {}
    for number, kbps in enumerate(_KBPS[is_first], 1):
        for padding in (0, 1):
            for no_crc in (0, 1):
                key = (0x7FF << 21 | version << 19 | 1 << 17 | no_crc << 16 | number << 12 | rate << 10) >> 9 | padding
                found[key] = (144 if is_first else 72) * kbps * 1_000 // hertz + padding
    return found


def _count(data: mmap.mmap, at: int, lengths: Mapping[int, int]) -> tuple[int, bool]:
    """Return the number of whole frames from a position on, and whether their bit rates differ."""
    n, n_searched, size, held = 0, 0, len(data), at
    rates: set[int] = set()
    while at + 4 <= size:
        if at - held > _MOST_HELD:
            held = at
            _release(data, at)
        key = _key(data[at : at + 4])
        length = lengths.get(key)
        if length is not None and at + length <= size:
            n += 1
            rates.add(key >> 3)
            at += length
            continue
        at = data.find(b"\xff", at + 1)  # a tag, or damage: a frame begins where another one follows it
        while at >= 0 and n_searched < _MOST_SEARCHED and not _follows(data, at, lengths):
            n_searched += 1
            at = data.find(b"\xff", at + 1)
        if at < 0 or n_searched >= _MOST_SEARCHED:
            break
    return n, len({rate & 0xF for rate in rates}) > 1


def _release(data: mmap.mmap, end: int) -> None:
    """Drop what was read up to a position from memory, where the system can."""
    if hasattr(data, "madvise"):
        data.madvise(mmap.MADV_DONTNEED, 0, end // mmap.PAGESIZE * mmap.PAGESIZE)


def _follows(data: mmap.mmap, at: int, lengths: Mapping[int, int]) -> bool:
    length = lengths.get(_key(data[at : at + 4]))
    return length is not None and _key(data[at + length : at + length + 4]) in lengths


def _info_frame(first: bytes, lengths: Mapping[int, int], n: int) -> bytes:
    """Return a silent frame that declares ``n`` frames, of the kind of the first one, without CRC and padding."""
    word = int.from_bytes(first, "big") & ~(0xF << 12 | 1 << 9) | 9 << 12 | 1 << 16
    is_first, is_mono = word >> 19 & 3 == 0b11, word >> 6 & 3 == 3
    side = (17 if is_mono else 32) if is_first else (9 if is_mono else 17)
    head = struct.pack(">I", word)
    frame = head + bytes(side) + b"Info" + struct.pack(">II", 1, n)
    return frame.ljust(lengths[_key(head)], b"\0")
