"""The start time of a recording, from the metadata that its recorder wrote, or from the file's name.

Only the headers and the small metadata chunks of a file are read.
"""

import os
import re
import stat
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from pathlib import Path

from audiocnn.errors import ConfigError
from audiocnn.text import printable

_MAX_CHUNKS = 200
_MAX_BYTES = 64 << 10  # that are read of a chunk
_FIRST_YEAR = 1980  # a clock that was never set gives 1970 or 0
_FIRST_AUDIOMOTH = 2016
_OFFSETS_H = (-12, 14)  # the earliest and the latest offset from UTC on earth

_RIFF = (b"RIFF", b"RF64", b"BW64")
_AUDIOMOTH = re.compile(rb"Recorded at (\d\d:\d\d:\d\d)(?:\.\d+)? (\d\d/\d\d/\d{4})(?: \((UTC[^)]{0,9})\))?")
_GUANO = re.compile(rb"^[ \t]*Timestamp[ \t]*:([^\r\n]{1,80})", re.MULTILINE)
_WAMD_TIMESTAMP = 5  # number of the field
_IXML = re.compile(rb"<BWF_ORIGINATION_(DATE|TIME)>\s*([^<\s]{8,10})\s*<")
_SOUNDTRAP_LOG = re.compile(rb'SamplingStartTimeUTC="([^"]{1,40})"')
_OFFSET = re.compile(r"([+-])(\d{1,2})(?::?(\d\d))?", re.ASCII)

# A date, a gap, a time of day and perhaps a time zone, each with separators of its own or without.
_STAMP = r"""
    (?P<date>\d{4}(?P<d>[-_./:]?)\d\d(?P=d)\d\d)
    (?P<gap>[ _$.-]?T | [ _$.:-] | ,[ ] | [ ]-[ ] | [ _]at[ _] | -birdnet-(?:\w+-)? | (?<=\d{8})(?=\d{6}(?!\d)))
    (?P<hour>\d\d?)(?P<t>[:._-]|%3A|)(?P<minute>\d\d)(?:(?P=t)(?P<second>\d\d)(?P<fraction>[.,]\d{1,9})?)?
    (?:[ \u202f]?(?P<half>[AaPp])[Mm](?![A-Za-z]))?
    (?:(?P<apart>[ _-]?)(?P<zone>Z(?![A-Za-z\d]) | (?:UTC|GMT)(?:[+-]\d\d?(?::?\d\d)?)?(?![A-Za-z\d])
                               | [+-]\d\d(?::?\d\d)?(?!\d)))?
    """
_WHOLE = re.compile(_STAMP, re.VERBOSE | re.ASCII)
_IN_NAME = re.compile(rf"(?<!\d)(?={_STAMP}(?!\d))", re.VERBOSE | re.ASCII)  # candidates may overlap
_SOUNDTRAP = re.compile(r"(?<!\d)\d{3,10}\.(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(?!\d)", re.ASCII)
_HEX = re.compile(r"(?=\d*[A-F])[\dA-F]{8}", re.ASCII)  # digits alone may be any number


@dataclass(frozen=True)
class StartTime:
    """The start time of a recording, None if not known, and why it is doubtful, if it is."""

    time: datetime | None
    doubt: str = ""


def find(path: Path, zone: tzinfo | None = None) -> StartTime:
    """Return when a recording started; a time without offset is the local time of ``zone``, if one is given.

    Doubtful are a hexadecimal name, and a local time that does not exist or exists twice because clocks were changed:
    it is read with the offset before the change.
    """
    time, doubt = _from_metadata(path), ""
    if time is None and (time := from_name(path.name)) is not None and _HEX.fullmatch(path.stem):
        doubt = f"start time {time.isoformat()} is the name as a hexadecimal number, as older AudioMoths write it"
    if time is None or time.tzinfo is not None or zone is None:
        return StartTime(time, doubt)
    return _localize(time, zone)


def from_file(path: Path) -> datetime | None:
    """Return when a recording started, from its metadata, else from its name; None if neither has a time. Never raises.

    Metadata are read from BWF chunks (EBU Tech 3285) and iXML, from the comment of AudioMoth, from GUANO, from WAMD
    (Wildlife Acoustics), and from the log that SoundTrap writes beside a recording. The time has a time zone if the
    recorder wrote one, else it is the time of the recorder's clock. Impossible dates, and those of a clock that was
    never set, are ignored.
    """
    return _from_metadata(path) or from_name(path.name)


def from_name(name: str) -> datetime | None:
    """Return the first date and time in a file's name.

    >>> from_name("20230401_053000.WAV"), from_name("2025-07-14 08.55.26.m4a")
    (datetime.datetime(2023, 4, 1, 5, 30), datetime.datetime(2025, 7, 14, 8, 55, 26))
    >>> from_name("20220331T094900-0300_Rec.flac").isoformat(), from_name("5E90A4D4.WAV").isoformat()
    ('2022-03-31T09:49:00-03:00', '2020-04-10T16:54:44+00:00')
    """
    times = (_read_match(match, in_name=True) for match in _IN_NAME.finditer(name))
    if (found := next((time for time in times if time is not None), None)) is not None:
        return found
    if match := _SOUNDTRAP.search(name):
        year, *others = match.groups()
        return _make_time([f"20{year}", *others])
    stem = Path(name).stem
    if not _HEX.fullmatch(stem):
        return None
    time = datetime.fromtimestamp(int(stem, 16), UTC)
    return _plausible(time) if time.year >= _FIRST_AUDIOMOTH else None


def find_timezone(name: str, setting: str = "--timezone") -> tzinfo:
    """Return the time zone of an IANA name such as ``Europe/Berlin``, or of an offset such as ``+01:00``.

    Raises `ConfigError`, which names the ``setting``, if there is none.
    """
    import difflib
    import zoneinfo

    try:
        return _parse_zone(name) or zoneinfo.ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # OSError: the name of a folder
        known = {zone.lower(): zone for zone in zoneinfo.available_timezones()}
    if not known:
        raise ConfigError("this system has no database of time zones; run: pip install tzdata")
    close = difflib.get_close_matches(name.lower(), known, 1)
    example = known[close[0]] if close else "Europe/Berlin"
    raise ConfigError(
        f"{setting} {printable(name)}: no time zone has this name; pass an IANA name such as {example}, or an offset "
        "such as +01:00"
    )


def _localize(time: datetime, zone: tzinfo) -> StartTime:
    """Return a time of the clock of ``zone``, with its offset.

    >>> from zoneinfo import ZoneInfo
    >>> _localize(datetime(2023, 3, 26, 2, 30), ZoneInfo("Europe/Berlin")).time.isoformat()
    '2023-03-26T03:30:00+02:00'
    """
    readings = [time.replace(tzinfo=zone, fold=fold) for fold in (0, 1)]  # with the offset before and after a change
    offsets = [reading.utcoffset() or timedelta(0) for reading in readings]
    first, second = (reading.astimezone(UTC).astimezone(zone) for reading in readings)
    if offsets[0] == offsets[1]:
        return StartTime(first)
    what = "exists twice" if first.replace(tzinfo=None) == time else "does not exist"
    unchanged = readings[offsets.index(min(offsets))].isoformat(timespec="seconds")[19:]
    return StartTime(
        first,
        f"start time {time.isoformat()} {what} in {zone}, where clocks were changed: it is {first.isoformat()} or "
        f"{second.isoformat()}; the first is used, with the offset before the change; if the clock of the recorder was "
        f"not changed, pass its offset, such as --timezone {unchanged}",
    )


def _from_metadata(path: Path) -> datetime | None:
    times: dict[bytes, datetime] = {}
    try:
        for name, content in _chunks(path):
            if (time := _READERS[name](content)) is not None:
                times.setdefault(name, time)
        if not times and _SOUNDTRAP.search(path.name):
            return _read_soundtrap_log(path.with_suffix(".log.xml"))
    except (OSError, ValueError):  # ValueError: a path that no file can have
        pass
    return next((times[name] for name in _READERS if name in times), None)


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


def _read_soundtrap_log(path: Path) -> datetime | None:
    if not stat.S_ISREG(os.stat(path).st_mode):
        return None
    with open(path, "rb") as file:
        match = _SOUNDTRAP_LOG.search(file.read(_MAX_BYTES))
    return None if match is None else _parse_stamp(match[1] + b"Z")


def _read_comment(content: bytes) -> datetime | None:
    match = _AUDIOMOTH.search(content)
    if match is None:
        return None
    time, date, zone = (group.decode("ascii", "replace") for group in match.groups(b""))
    return _parse_time("".join(reversed(date.split("/"))), time, zone)


def _read_guano(content: bytes) -> datetime | None:
    match = _GUANO.search(content)
    return None if match is None else _parse_stamp(match[1])


def _read_wamd(content: bytes) -> datetime | None:
    position = 0
    while position + 6 <= len(content):
        field, length = struct.unpack_from("<HI", content, position)
        position += 6
        if field == _WAMD_TIMESTAMP:
            return _parse_stamp(content[position : position + length])
        position += length
    return None


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
    b"wamd": _read_wamd,
    b"bext": _read_bext,
    b"iXML": _read_ixml,
}


def _parse_stamp(content: bytes) -> datetime | None:
    """Return the time of a text such as ``2021-06-05 21:02:44.123 +01:00`` in metadata.

    >>> _parse_stamp(b" 2021-06-05   21:02:44+0100 ").isoformat()
    '2021-06-05T21:02:44+01:00'
    """
    text = " ".join(content.decode("utf-8", "replace").strip("\0").split())
    match = _WHOLE.fullmatch(text.upper())
    return None if match is None else _read_match(match)


def _read_match(match: re.Match[str], *, in_name: bool = False) -> datetime | None:
    """Return the time of a match; in a name it needs seconds, and a number after it may be something else."""
    hour, second, fraction, zone = (match[name] or "" for name in ("hour", "second", "fraction", "zone"))
    if match["t"] and match["half"]:  # of the day, before or after noon
        if not 1 <= int(hour) <= 12:
            return None
        hour = str(int(hour) % 12 + 12 * (match["half"] in "Pp"))
    elif len(hour) == 1:
        return None
    if in_name and not second:
        return None
    if in_name and not _is_zone_in_name(match):
        zone = fraction = ""
    date = re.sub(r"\D", "", match["date"])
    return _make_time([date[:4], date[4:6], date[6:], hour, match["minute"], second or "0"], zone, fraction[1:])


def _is_zone_in_name(match: re.Match[str]) -> bool:
    """Return whether what follows a time in a name is its time zone, not the number of a part or a site."""
    zone, apart = match["zone"] or "", match["apart"]
    if not zone.startswith(("+", "-")):
        return zone[:1] in ("U", "G") or (zone == "Z" and not apart)
    try:
        _parse_zone(zone)
    except ValueError:
        return False
    return len(zone) >= len("+0100") and (match["gap"].endswith("T") or apart in (" ", "_"))


def _parse_time(date: str, time: str, zone: str = "") -> datetime | None:
    """Return the time of a date (year, month, day) and a time of day, with at most one character between numbers."""
    day = re.fullmatch(r"(\d{4})\D?(\d\d)\D?(\d\d)", date, re.ASCII)
    clock = re.fullmatch(r"(\d\d)\D?(\d\d)\D?(\d\d)", time, re.ASCII)
    return None if day is None or clock is None else _make_time([*day.groups(), *clock.groups()], zone)


def _make_time(numbers: Sequence[str], zone: str = "", fraction: str = "") -> datetime | None:
    """Return the time of numbers from the year to the second, and of digits after the decimal point."""
    year, month, day, hour, minute, second = map(int, numbers)
    microsecond = int(fraction[:6].ljust(6, "0"))
    try:
        return _plausible(datetime(year, month, day, hour, minute, second, microsecond, _parse_zone(zone)))
    except ValueError:
        return None


def _plausible(time: datetime) -> datetime | None:
    """Return the time, or None if no recorder can have started then: too long ago, or after one more year."""
    latest = datetime.now(UTC) + timedelta(days=366)
    known = time if time.tzinfo is not None else time.replace(tzinfo=UTC)
    return time if time.year >= _FIRST_YEAR and known <= latest else None


def _parse_zone(text: str) -> timezone | None:
    """Return the time zone of a text such as ``UTC``, ``Z``, ``UTC+2``, ``UTC-3:30`` or ``+0530``; None for others.

    Raises `ValueError` for an offset that no place on earth has.

    >>> _parse_zone("UTC+5:30").utcoffset(None), _parse_zone("")
    (datetime.timedelta(seconds=19800), None)
    """
    if text in ("UTC", "GMT", "Z"):
        return UTC
    match = _OFFSET.fullmatch(text.removeprefix("UTC").removeprefix("GMT"))
    if match is None:
        return None
    minutes = int(match[1] + "1") * (60 * int(match[2]) + int(match[3] or 0))
    lowest, highest = (60 * hours for hours in _OFFSETS_H)
    if match[3] not in (None, "00", "15", "30", "45") or not lowest <= minutes <= highest:
        raise ValueError(f"no place has the offset {text}")
    return timezone(timedelta(minutes=minutes))
