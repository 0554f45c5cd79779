"""The start time of a recording, from the metadata that its recorder wrote into a WAV, or from the file's name.

Only the headers and the small metadata chunks of a file are read.
"""

import os
import re
import stat
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

_MAX_CHUNKS = 200
_MAX_BYTES = 64 << 10  # that are read of a chunk
_YEARS = range(1980, 2200)  # a clock that was never set gives 1970 or 0

_RIFF = (b"RIFF", b"RF64", b"BW64")
_AUDIOMOTH = re.compile(rb"Recorded at (\d\d:\d\d:\d\d)(?:\.\d+)? (\d\d/\d\d/\d{4})(?: \((UTC[^)]{0,9})\))?")
_GUANO = re.compile(rb"^Timestamp: ?([0-9T:.Z+-]{19,35})\s*$", re.MULTILINE)
_IXML = re.compile(rb"<BWF_ORIGINATION_(DATE|TIME)>\s*([^<\s]{8,10})\s*<")
_NAME = re.compile(r"(?<!\d)(\d{8})(?:T(\d{6})([+-]\d{4}|Z)?|[_-](\d{6}))(?!\d)")
_OFFSET = re.compile(r"([+-])(\d{1,2})(?::?(\d\d))?")


def from_file(path: Path) -> datetime | None:
    """Return when a recording started, from its metadata, else from its name; None if neither has a time. Never raises.

    Metadata are read from BWF chunks (EBU Tech 3285) and iXML, from the comment of AudioMoth, and from GUANO. Names are
    those of AudioMoth (``20230401_053000.WAV``), Song Meter (``SITE_20230401_053000.wav``) and similar recorders. The
    time has a time zone if the recorder wrote one, else it is the time of the recorder's clock. Impossible dates, and
    those of a clock that was never set, are ignored.
    """
    times: dict[bytes, datetime] = {}
    try:
        for name, content in _chunks(path):
            if (time := _READERS[name](content)) is not None:
                times.setdefault(name, time)
    except (OSError, ValueError):  # ValueError: a path that no file can have
        pass
    return next((times[name] for name in _READERS if name in times), None) or from_name(path.name)


def from_name(name: str) -> datetime | None:
    """Return the first date and time in a file's name.

    >>> from_name("20230401_053000.WAV"), from_name("SM4-A_0+1_20230401_053000.wav")
    (datetime.datetime(2023, 4, 1, 5, 30), datetime.datetime(2023, 4, 1, 5, 30))
    >>> from_name("20220331T094900-0300_Rec.flac").isoformat()
    '2022-03-31T09:49:00-03:00'
    """
    times = (_parse_time(m[1], m[2] or m[4], m[3] or "") for m in _NAME.finditer(name))
    return next((time for time in times if time is not None), None)


def _chunks(path: Path) -> Iterator[tuple[bytes, bytes]]:
    """Yield name and first bytes of the chunks that may contain a time, without trusting lengths in the file."""
    if not stat.S_ISREG(os.stat(path).st_mode):  # opening a pipe would block
        return
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(12)
        if head[:4] not in _RIFF or head[8:] != b"WAVE":
            return
        position, samples_bytes = 12, 0
        for _ in range(_MAX_CHUNKS):
            file.seek(position)
            header = file.read(8)
            if len(header) < 8:
                return
            name, length = header[:4], int.from_bytes(header[4:], "little")
            if name == b"ds64":  # in RF64: size of the file, size of the samples, 8 bytes each
                samples_bytes = int.from_bytes(file.read(16)[8:], "little")
            elif name == b"data" and length == 0xFFFFFFFF:
                length = samples_bytes
            elif name in _READERS:
                yield name, file.read(min(length, _MAX_BYTES))
            position += 8 + length + length % 2
            if position >= size:
                return


def _read_comment(content: bytes) -> datetime | None:
    match = _AUDIOMOTH.search(content)
    if match is None:
        return None
    time, date, zone = (group.decode("ascii", "replace") for group in match.groups(b""))
    return _parse_time("".join(reversed(date.split("/"))), time, zone)


def _read_guano(content: bytes) -> datetime | None:
    match = _GUANO.search(content)
    try:
        time = None if match is None else datetime.fromisoformat(match[1].decode("ascii"))
    except ValueError:
        return None
    return time if time is not None and time.year in _YEARS else None


def _read_bext(content: bytes) -> datetime | None:
    text = content.decode("latin-1")
    return _parse_time(
        *(cell.strip("\0 ") for cell in (text[320:330], text[330:338]))
    )  # after description and originator


def _read_ixml(content: bytes) -> datetime | None:
    values = {match[1]: match[2].decode("ascii", "replace") for match in _IXML.finditer(content)}
    return _parse_time(values.get(b"DATE", ""), values.get(b"TIME", ""))


# In order of preference: chunks with a time zone come first, whatever their order in the file.
_READERS: dict[bytes, Callable[[bytes], datetime | None]] = {
    b"LIST": _read_comment,
    b"guan": _read_guano,
    b"bext": _read_bext,
    b"iXML": _read_ixml,
}


def _parse_time(date: str, time: str, zone: str = "") -> datetime | None:
    """Return the time of a date (year, month, day) and a time of day, with at most one character between numbers."""
    day = re.fullmatch(r"(\d{4})\D?(\d\d)\D?(\d\d)", date, re.ASCII)
    clock = re.fullmatch(r"(\d\d)\D?(\d\d)\D?(\d\d)", time, re.ASCII)
    if day is None or clock is None or int(day[1]) not in _YEARS:
        return None
    try:
        return datetime(*map(int, day.groups()), *map(int, clock.groups()), tzinfo=_parse_zone(zone))  # type: ignore[misc, arg-type]
    except ValueError:
        return None


def _parse_zone(text: str) -> timezone | None:
    """Return the time zone of a text such as ``UTC``, ``Z``, ``UTC+2``, ``UTC-3:30`` or ``+0530``; None for others.

    >>> _parse_zone("UTC+5:30").utcoffset(None), _parse_zone("")
    (datetime.timedelta(seconds=19800), None)
    """
    if text in ("UTC", "Z"):
        return UTC
    match = _OFFSET.fullmatch(text.removeprefix("UTC"))
    if match is None:
        return None
    offset = timedelta(hours=int(match[2]), minutes=int(match[3] or 0))
    return timezone(-offset if match[1] == "-" else offset)
