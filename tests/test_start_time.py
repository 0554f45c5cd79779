"""Start times of recordings, from headers and names as recorders write them, and from damaged headers."""

import os
import struct
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

from audiocnn.audio import start_time

FORMAT = struct.pack("<HHIIHH", 1, 1, 16_000, 32_000, 2, 16)
SAMPLES = b"\0\0" * 800


def chunk(name: bytes, content: bytes, length: int | None = None) -> bytes:
    return name + struct.pack("<I", len(content) if length is None else length) + content + b"\0" * (len(content) % 2)


def wav(folder: Path, *chunks: bytes, name: str = "rec.wav", head: bytes = b"RIFF") -> Path:
    body = b"WAVE" + b"".join(chunks)
    path = folder / name
    path.write_bytes(head + struct.pack("<I", len(body)) + body)
    return path


def comment(text: str) -> bytes:
    return chunk(b"LIST", b"INFO" + chunk(b"ICMT", text.encode().ljust(384, b"\0")))


def bext(date: str, time: str) -> bytes:
    return chunk(b"bext", b"\0" * 320 + date.encode().ljust(10, b"\0") + time.encode().ljust(8, b"\0") + b"\0" * 264)


def ixml(date: str, time: str) -> bytes:
    return chunk(
        b"iXML",
        f'<?xml version="1.0"?><BWFXML><BEXT><BWF_ORIGINATION_DATE>{date}</BWF_ORIGINATION_DATE>'
        f"<BWF_ORIGINATION_TIME> {time} </BWF_ORIGINATION_TIME></BEXT></BWFXML>".encode(),
    )


MORNING = datetime(2023, 4, 1, 5, 30)
FMT, DATA = chunk(b"fmt ", FORMAT), chunk(b"data", SAMPLES)


@pytest.mark.parametrize("head", [b"RIFF", b"RF64", b"BW64"])
def test_a_broadcast_wave_has_its_start_time(tmp_path: Path, head: bytes) -> None:
    assert start_time.from_file(wav(tmp_path, bext("2023-04-01", "05:30:00"), FMT, DATA, head=head)) == MORNING


@pytest.mark.parametrize(
    ("date", "time"), [("2023:04:01", "05-30-00"), ("2023_04_01", "05.30.00"), ("20230401", "053000")]
)
def test_all_separators_of_the_standard_are_parsed(tmp_path: Path, date: str, time: str) -> None:
    assert start_time.from_file(wav(tmp_path, bext(date, time), FMT, DATA)) == MORNING


def test_ixml_is_found_after_the_samples(tmp_path: Path) -> None:
    assert start_time.from_file(wav(tmp_path, FMT, DATA, ixml("2023-04-01", "05:30:00"))) == MORNING


def test_chunks_after_more_than_4_gib_of_samples_are_found_by_the_64_bit_length(tmp_path: Path) -> None:
    long = chunk(b"ds64", struct.pack("<QQQI", 0, len(SAMPLES), 800, 0))
    data = chunk(b"data", SAMPLES, 0xFFFFFFFF)
    assert start_time.from_file(wav(tmp_path, long, FMT, data, ixml("2023-04-01", "05:30:00"), head=b"RF64")) == MORNING


@pytest.mark.parametrize(
    ("said", "zone"),
    [
        (" (UTC)", UTC),
        (" (UTC+2)", timezone(timedelta(hours=2))),
        (" (UTC-3)", timezone(timedelta(hours=-3))),
        (" (UTC+5:30)", timezone(timedelta(hours=5, minutes=30))),
        (" (UTC-9:30)", timezone(timedelta(hours=-9, minutes=-30))),
        ("", None),
    ],
)
def test_the_comment_of_an_audiomoth_has_time_and_time_zone(tmp_path: Path, said: str, zone: timezone | None) -> None:
    text = f"Recorded at 05:30:00 01/04/2023{said} by AudioMoth 24F319055FDF2205 at medium gain."
    began = start_time.from_file(wav(tmp_path, FMT, comment(text), DATA))
    assert began == MORNING.replace(tzinfo=zone)
    assert began is not None and began.utcoffset() == (None if zone is None else zone.utcoffset(None))


def test_guano_is_read_as_bat_recorders_write_it(tmp_path: Path) -> None:
    text = b"GUANO|Version: 1.0\nTimestamp: 2023-04-01T05:30:00-05:00\nNote: two\\nlines\n"
    began = start_time.from_file(wav(tmp_path, FMT, DATA, chunk(b"guan", text)))
    assert began is not None and began.isoformat() == "2023-04-01T05:30:00-05:00"


def test_a_time_with_its_zone_is_preferred_to_one_without_whatever_their_order(tmp_path: Path) -> None:
    said = comment("Recorded at 03:30:00 01/04/2023 (UTC) by AudioMoth")
    for chunks in ((bext("2023-04-01", "05:30:00"), said), (said, bext("2023-04-01", "05:30:00"))):
        began = start_time.from_file(wav(tmp_path, FMT, *chunks, DATA, name="20230401_053000.WAV"))
        assert began == datetime(2023, 4, 1, 3, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("20230401_053000.WAV", "2023-04-01T05:30:00"),
        ("20230401_053000T.WAV", "2023-04-01T05:30:00"),
        ("SITE-A_20230401_053000.wav", "2023-04-01T05:30:00"),
        ("SM304290_0+1_20211001_120004.wav", "2021-10-01T12:00:04"),
        ("S4A00123_20230401_053000_000.wav", "2023-04-01T05:30:00"),
        ("20191104T020000+1000_REC.flac", "2019-11-04T02:00:00+10:00"),
        ("20230401T053000Z.flac", "2023-04-01T05:30:00+00:00"),
        ("99999999_999999_20230401_000000.wav", "2023-04-01T00:00:00"),
        ("20230401_240000.wav", None),
        ("20230229_053000.wav", None),
        ("19700101_000000.WAV", None),
        ("120230401_053000.wav", None),
        ("20230401_0530001.wav", None),
        ("5B1E6F6C.WAV", None),
        ("caf\udce9.wav", None),
    ],
)
def test_start_times_are_parsed_from_names_of_recorders_and_no_others(name: str, expected: str | None) -> None:
    began = start_time.from_name(name)
    assert (began and began.isoformat()) == expected


@pytest.mark.parametrize(
    ("date", "time"),
    [
        ("0000-00-00", "00:00:00"),
        ("", ""),
        ("2023-13-01", "05:30:00"),
        ("2023-04-31", "05:30:00"),
        ("2023-04-01", "24:00:00"),
        ("1970-01-01", "00:00:00"),
        ("9999-12-31", "23:59:59"),
        ("2011-05-0", "14:48:2"),
    ],
)
def test_an_impossible_date_is_ignored_and_the_name_is_used(tmp_path: Path, date: str, time: str) -> None:
    chunks = (bext(date, time), FMT, DATA, ixml(date, time))
    assert start_time.from_file(wav(tmp_path, *chunks)) is None
    assert start_time.from_file(wav(tmp_path, *chunks, name="20230401_053000.wav")) == MORNING


def test_a_path_that_is_no_file_has_no_start_time(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")  # opening it would wait for a writer
    for path in (tmp_path, tmp_path / "pipe.wav", tmp_path / "missing.wav", Path("a\0b.wav"), Path("/dev/zero")):
        assert start_time.from_file(path) is None
    assert start_time.from_file(tmp_path / "20230401_053000.wav") == MORNING


@pytest.mark.usefixtures("in_time")
def test_false_lengths_take_neither_time_nor_memory(tmp_path: Path) -> None:
    said = b"INFO" + chunk(b"ICMT", b"Recorded at 05:30:00 01/04/2023 by AudioMoth")
    whole = (FMT, chunk(b"LIST", said, 0xFFFFFFF0))
    path = wav(tmp_path, *whole)
    with open(path, "r+b") as file:
        file.truncate(8 << 30)  # sparse: 8 GiB that take no room
    asked: list[int] = []

    class Spy:
        def __init__(self, *arguments: object) -> None:
            self.file = open(*arguments)  # type: ignore[call-overload] # noqa: SIM115

        def read(self, n: int) -> bytes:
            asked.append(n)
            return self.file.read(n)

        def __getattr__(self, name: str) -> object:
            return getattr(self.file, name)

        def __enter__(self) -> "Spy":
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(start_time, "open", Spy, raising=False)
        assert start_time.from_file(path) == MORNING
        assert max(asked) <= 64 << 10
        asked.clear()
        assert (
            start_time.from_file(wav(tmp_path, *[chunk(b"junk", b"")] * 50_000, bext("2023-04-01", "05:30:00"))) is None
        )
        assert sum(asked) < 64 << 10


@pytest.mark.usefixtures("in_time")
def test_a_header_cut_or_changed_anywhere_gives_a_time_or_none(tmp_path: Path) -> None:
    said = comment("Recorded at 05:30:00 01/04/2023 (UTC+2) by AudioMoth")
    path = wav(tmp_path, bext("2023-04-01", "05:30:00"), FMT, said, ixml("2023-04-01", "05:30:00"), DATA)
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    for _ in range(400):
        changed = bytearray(whole[: rng.integers(1, len(whole))])
        for place in rng.integers(0, len(changed), rng.integers(0, 40)):
            changed[place] = rng.integers(256)
        path.write_bytes(changed)
        began = start_time.from_file(path)
        assert began is None or isinstance(began, datetime)


@pytest.mark.usefixtures("in_time")
def test_awkward_recordings_have_the_start_times_in_their_headers(data_dir: Path) -> None:
    folder = data_dir / "awkward-audio"
    if not folder.is_dir():
        pytest.skip("no awkward recordings")
    found = {path.name: began for path in sorted(folder.rglob("*")) if (began := start_time.from_file(path))}
    assert found["8bit-16kHz-bext-mono.wav"] == datetime(2017, 10, 22, 17, 29, 58)
    assert found["BWF-WaveFmtEx.wav"] == datetime(2023, 2, 2, 20, 4, 54)
    assert found["SM304290_0+1_20211001_120004.wav"] == datetime(2021, 10, 1, 12, 0, 4)
    assert "bwf.wav" not in found  # '2011-05-0' and '14:48:2' name no second
    assert len(found) == 9
