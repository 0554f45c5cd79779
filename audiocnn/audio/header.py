"""What the header of a sound file promises and libsndfile does not hold against what it reads."""

import os
from pathlib import Path
from typing import Literal

_MAX_CHUNKS = 10_000
_LEFT_OPEN = 1 << 13  # bytes below 2 or 4 GiB: lengths there are place-holders of programs that write to a pipe


def missing_bytes(path: Path) -> int:
    """Bytes of samples that a WAV or AIFF declares beyond its end; 0 if there are none, or the length was left open."""
    long_length = 0
    with open(path, "rb") as file:
        order: Literal["little", "big"] = "little" if file.read(12).startswith((b"RIFF", b"RF64")) else "big"
        for _ in range(_MAX_CHUNKS):
            name, length = file.read(4), int.from_bytes(file.read(4), order)
            start = file.tell()
            if not name:
                break
            if name == b"ds64":  # of RF64: size of the file, size of the samples, each in 8 bytes
                long_length = int.from_bytes(file.read(16)[8:], order)
            if name in (b"data", b"SSND"):
                if -length % (1 << 31) <= _LEFT_OPEN:
                    length = long_length
                return max(0, start + length - os.fstat(file.fileno()).st_size) if length else 0
            file.seek(start + length + length % 2)
    return 0


def flac_md5(path: Path) -> bytes | None:
    """MD5 of the samples of a FLAC file as its encoder saw them, or None if it does not say."""
    with open(path, "rb") as file:
        head = file.read(42)  # "fLaC", then STREAMINFO: 4 bytes of header, 34 of which the last 16 are the MD5
    md5 = head[26:42]
    return md5 if len(md5) == 16 and head[4] & 0x7F == 0 and any(md5) else None
