"""Start times of recordings, from headers and names as recorders write them, and from damaged headers."""

import json
import os
import shutil
import struct
import zoneinfo
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
import soundfile
import sounds
from projects import audiocnn, set_lines

from audiocnn.audio import start_time
from audiocnn.errors import ConfigError
from audiocnn.formats import tables
from audiocnn.inference.events import Event
from audiocnn.model.locate import SHIPPED

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


STAMPS = [
    ("2023-04-01T05:30:00-05:00", "2023-04-01T05:30:00-05:00"),
    ("2023-04-01 05:30:00+0100", "2023-04-01T05:30:00+01:00"),
    ("   2023-04-01   05:30:00 +11:00 \t", "2023-04-01T05:30:00+11:00"),
    ("2023-04-01 05:30:00+01", "2023-04-01T05:30:00+01:00"),
    ("2023-04-01T05:30:00-03:30", "2023-04-01T05:30:00-03:30"),
    ("2023-04-01T05:30:00Z", "2023-04-01T05:30:00+00:00"),
    ("2023-04-01 05:30:00 UTC", "2023-04-01T05:30:00+00:00"),
    ("20230401T053000Z", "2023-04-01T05:30:00+00:00"),
    ("2023-04-01T05:30:00.1", "2023-04-01T05:30:00.100000"),
    ("2023-04-01T05:30:00.1234567Z", "2023-04-01T05:30:00.123456+00:00"),
    ("2023-04-01T05:30:00.123456789+01:00", "2023-04-01T05:30:00.123456+01:00"),
    ("2023-04-01 05:30:00", "2023-04-01T05:30:00"),
    ("2023/04/01 5:30:00 PM", "2023-04-01T17:30:00"),
    ("2023-04-01T05:30+01:00", "2023-04-01T05:30:00+01:00"),
    ("2023-04-01 05:30.5", None),
    ("2023-04-01", None),
    ("2023-04-01 25:30:00", None),
    ("2023-13-01 05:30:00", None),
    ("2023-04-01 05:30:00+25:00", None),
    ("2023-04-01 05:30:00+01:99", None),
    ("1979-12-31 05:30:00", None),
    ("01/04/2023 05:30:00", None),
    ("2023-04-01 05:30:00 and more", None),
    ("unknown", None),
    ("", None),
]


@pytest.mark.parametrize(("stamp", "expected"), STAMPS)
def test_guano_is_read_as_bat_recorders_write_it(tmp_path: Path, stamp: str, expected: str | None) -> None:
    text = f"GUANO|Version: 1.0\r\nMake: x\r\nTimestamp:{stamp}\r\nNote: two\\nlines\r\n".encode()
    began = start_time.from_file(wav(tmp_path, FMT, DATA, chunk(b"guan", text)))
    assert (began and began.isoformat()) == expected


@pytest.mark.parametrize(("stamp", "expected"), STAMPS)
def test_the_metadata_of_wildlife_acoustics_are_read(tmp_path: Path, stamp: str, expected: str | None) -> None:
    fields = ((0, b"\1\0"), (1, b"SM4"), (5, stamp.encode()), (6, b"WGS84, 1, 2"))
    content = b"".join(struct.pack("<HI", number, len(value)) + value for number, value in fields)
    began = start_time.from_file(wav(tmp_path, FMT, DATA, chunk(b"wamd", content)))
    assert (began and began.isoformat()) == expected
    for length in range(len(content)):
        start_time.from_file(wav(tmp_path, FMT, DATA, chunk(b"wamd", content[:length])))


def test_the_log_beside_a_recording_of_a_soundtrap_is_read_before_its_name(tmp_path: Path) -> None:
    path, log = tmp_path / "5146.200301123456.wav", tmp_path / "5146.200301123456.log.xml"
    path.write_bytes(wav(tmp_path, FMT, DATA).read_bytes())
    assert start_time.from_file(path) == datetime(2020, 3, 1, 12, 34, 56)
    log.write_text(
        '<?xml version="1.0"?><ST><PROC_EVENT ID="4"><WavFileHandler SamplingStartTimeLocal="2020-03-01T12:34:56" />'
        '</PROC_EVENT><PROC_EVENT ID="4"><WavFileHandler SamplingStartTimeUTC="2020-02-29T23:34:56" /></PROC_EVENT>'
    )
    assert start_time.from_file(path) == datetime(2020, 2, 29, 23, 34, 56, tzinfo=UTC)
    log.write_text('<WavFileHandler SamplingStartTimeUTC="never" />')
    assert start_time.from_file(path) == datetime(2020, 3, 1, 12, 34, 56)


def test_times_without_an_offset_are_those_of_the_time_zone_and_others_keep_theirs() -> None:
    berlin = start_time.find_timezone("Europe/Berlin")
    for name, expected in (
        ("20230401_053000.wav", "2023-04-01T05:30:00+02:00"),
        ("20230101_053000.wav", "2023-01-01T05:30:00+01:00"),
        ("20230401T053000-0300.wav", "2023-04-01T05:30:00-03:00"),
        ("20230401T053000Z.wav", "2023-04-01T05:30:00+00:00"),
    ):
        found = start_time.find(Path(name), berlin)
        assert (found.time and found.time.isoformat(), found.doubt) == (expected, "")
    assert start_time.find(Path("20230401_053000.wav")) == start_time.StartTime(MORNING)
    assert start_time.find(Path("song.wav"), berlin) == start_time.StartTime(None)


@pytest.mark.parametrize(
    ("name", "used", "words"),
    [
        (
            "20230326_023000.wav",
            "2023-03-26T03:30:00+02:00",
            ("does not exist in Europe/Berlin", "2023-03-26T03:30:00+02:00 or 2023-03-26T01:30:00+01:00"),
        ),
        (
            "20231029_023000.wav",
            "2023-10-29T02:30:00+02:00",
            ("exists twice in Europe/Berlin", "2023-10-29T02:30:00+02:00 or 2023-10-29T02:30:00+01:00"),
        ),
    ],
)
def test_a_local_time_at_a_change_of_clocks_is_named_with_both_readings(
    name: str, used: str, words: tuple[str, str]
) -> None:
    found = start_time.find(Path(name), start_time.find_timezone("Europe/Berlin"))
    assert found.time is not None and found.time.isoformat() == used
    assert all(text in found.doubt for text in (*words, "the first is used", "--timezone +01:00"))
    plain = start_time.find(Path(name), start_time.find_timezone("+01:00"))
    assert plain.doubt == "" and plain.time is not None and plain.time.isoformat().endswith("02:30:00+01:00")


def test_a_hexadecimal_name_is_a_doubtful_start_time_unless_metadata_have_one(tmp_path: Path) -> None:
    assert "2020-04-10T16:54:44+00:00 is the name" in start_time.find(Path("5E90A4D4.WAV")).doubt
    said = comment("Recorded at 16:54:44 10/04/2020 (UTC) by AudioMoth")
    found = start_time.find(wav(tmp_path, FMT, said, DATA, name="5E90A4D4.WAV"))
    assert found == start_time.StartTime(datetime(2020, 4, 10, 16, 54, 44, tzinfo=UTC))


@pytest.mark.parametrize(
    ("name", "example"),
    [
        ("Europe/Berln", "Europe/Berlin"),
        ("europe/berlin ", "Europe/Berlin"),
        ("Europe", "such as "),
        ("+25:00", "+01:00"),
        ("", "Europe/Berlin"),
        ("../../etc/passwd", "such as "),
        ("a\0b", "such as "),
    ],
)
def test_an_unknown_time_zone_is_refused_with_an_example(name: str, example: str) -> None:
    with pytest.raises(ConfigError, match=r"^--timezone .*: no time zone has this name; pass an IANA name") as error:
        start_time.find_timezone(name)
    assert example in str(error.value) and "\n" not in str(error.value)


def test_a_system_without_time_zones_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoneinfo, "available_timezones", set)
    with pytest.raises(ConfigError, match="no database of time zones; run: pip install tzdata"):
        start_time.find_timezone("Mars/Olympus")


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
        ("caf\udce9.wav", None),
        ("S4A01234_20200301_123456.wav", "2020-03-01T12:34:56"),
        ("SM3BAT_0+1_20200301$123456_000.wav", "2020-03-01T12:34:56"),
        ("24F319055FDF2205_20200301_123456T.WAV", "2020-03-01T12:34:56"),
        ("SwiftOne_20220719_000000_-0430.wav", "2022-07-19T00:00:00-04:30"),
        ("OWL_123456_2022-07-19_T01-02-03.WAV", "2022-07-19T01:02:03"),
        ("S20240815T060000.1234567+1000_E20240815T060100+1000_.wav", "2024-08-15T06:00:00.123456+10:00"),
        ("ICLISTENHF1266_20200301T123456.789Z.wav", "2020-03-01T12:34:56.789000+00:00"),
        ("PAM_20200301_123456.789.wav", "2020-03-01T12:34:56"),
        ("2020-05-20-21-30-00-UTC.wav", "2020-05-20T21:30:00+00:00"),
        ("2020-05-20T21:30:00+02:00.wav", "2020-05-20T21:30:00+02:00"),
        ("2022-07-08-birdnet-14:26:11.wav", "2022-07-08T14:26:11"),
        ("2022-07-08-birdnet-14_26_11.wav", "2022-07-08T14:26:11"),
        ("2022-07-08-birdnet-14%3A26%3A11.wav", "2022-07-08T14:26:11"),
        ("Turdus_merula-85-2022-07-08-birdnet-RTSP_1-14:26:11.mp3", "2022-07-08T14:26:11"),
        ("turdus_merula_80p_20240101T123456Z.wav", "2024-01-01T12:34:56+00:00"),
        ("2025-07-14 08.55.26.m4a", "2025-07-14T08:55:26"),
        ("WhatsApp Audio 2025-07-14 at 08.55.26.ogg", "2025-07-14T08:55:26"),
        ("Memo 2025-07-14 at 8.55.26\u202fPM.wav", "2025-07-14T20:55:26"),
        ("Memo 2025-07-14 at 12.55.26 am.wav", "2025-07-14T00:55:26"),
        ("20250714-085526.wav", "2025-07-14T08:55:26"),
        ("20250714 085526-1A2B3C4D.wav", "2025-07-14T08:55:26"),
        ("AUD20250714085526.wav", "2025-07-14T08:55:26"),
        ("2025_07_14_08_55_26_take_2.wav", "2025-07-14T08:55:26"),
        ("5146.200301123456.wav", "2020-03-01T12:34:56"),
        ("Reef-671379494.181011120034.wav", "2018-10-11T12:00:34"),
        ("5E90A4D4.WAV", "2020-04-10T16:54:44+00:00"),
    ],
)
def test_start_times_are_parsed_from_names_of_recorders_and_no_others(name: str, expected: str | None) -> None:
    began = start_time.from_name(name)
    assert (began and began.isoformat()) == expected


@pytest.mark.parametrize(
    "name",
    [
        "2025-13-14 08.55.26.wav",
        "2025-07-14 25.55.26.wav",
        "2025-07-14 8.55.26.wav",  # before or after noon?
        "2025-07-14 at 13.55.26 PM.wav",
        "2025-07-14 08.55.wav",
        "2025-07_14 08.55.26.wav",
        "20250714_0855.wav",
        "20250714_85526.wav",
        "120250714085526.wav",
        "20250714085526123.wav",
        "010320_123456.wav",  # which of the three is the year?
        "01-03-2020 12.34.56.wav",
        "200301123456.wav",
        "5146.201301123456.wav",
        "1-137-A-32.wav",
        "59012345.WAV",  # perhaps hexadecimal, perhaps a number
        "5e90a4d4.wav",
        "5E90A4D4_2.WAV",
        "DEADBEEF.WAV",
        "1A2B3C4D.WAV",
    ],
)
def test_numbers_that_may_be_something_else_are_no_start_times(name: str) -> None:
    assert start_time.from_name(name) is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("20230401T053000-0001.wav", "2023-04-01T05:30:00"),
        ("20230401_053000-0100.wav", "2023-04-01T05:30:00"),
        ("20230401_053000--0100.wav", "2023-04-01T05:30:00"),
        ("20230401T053000-01.wav", "2023-04-01T05:30:00"),
        ("20230401_053000_Z4.wav", "2023-04-01T05:30:00"),
        ("20230401_053000PM.wav", "2023-04-01T05:30:00"),
    ],
)
def test_a_number_or_letter_after_a_time_is_not_taken_for_an_offset(name: str, expected: str) -> None:
    began = start_time.from_name(name)
    assert began is not None and began.isoformat() == expected


def test_a_recording_may_start_within_the_next_year_but_no_later() -> None:
    now = datetime.now()
    names = [f"{now + timedelta(days=days):%Y%m%d_%H%M%S}.wav" for days in (-1, 300, 400)]
    assert [start_time.from_name(name) is not None for name in names] == [True, True, False]


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
    guano = chunk(b"guan", b"GUANO|Version: 1.0\nTimestamp: 2023-04-01 05:30:00.5 +0200\n")
    wamd = chunk(b"wamd", struct.pack("<HI", 5, 25) + b"2023-04-01 05:30:00-04:00")
    path = wav(tmp_path, bext("2023-04-01", "05:30:00"), FMT, said, guano, wamd, ixml("2023-04-01", "05:30:00"), DATA)
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


def test_the_command_writes_times_with_the_offset_of_the_time_zone_and_names_doubtful_ones(tmp_path: Path) -> None:
    for name in ("20230326_023000.wav", "20230701T120000-0300.wav", "20231029_015958.wav"):
        soundfile.write(tmp_path / name, sounds.chirp(100, 3_000, 3), sounds.RATE)
    command = ("predict", tmp_path, "--model", SHIPPED, "--events", "--threshold", "0.01", "--format", "json")
    done = audiocnn(*command, "--timezone", "Europe/Berlin", cwd=tmp_path)
    recordings = {Path(recording["recording"]).stem: recording for recording in json.loads(done.stdout)["recordings"]}
    assert {name: recording["begun"] for name, recording in recordings.items()} == {
        "20230326_023000": "2023-03-26T03:30:00+02:00",
        "20230701T120000-0300": "2023-07-01T12:00:00-03:00",
        "20231029_015958": "2023-10-29T01:59:58+02:00",
    }
    for recording in recordings.values():
        assert recording["events"]
        for event in recording["events"]:
            passed = datetime.fromisoformat(event["start_time"]) - datetime.fromisoformat(recording["begun"])
            assert passed.total_seconds() == pytest.approx(event["start_s"], abs=0.001)
    warnings = [line for line in done.stderr.splitlines() if "start time" in line]
    assert len(warnings) == 1 and "20230326_023000.wav: start time 2023-03-26T02:30:00 does not exist" in warnings[0]
    plain = json.loads(audiocnn(*command, cwd=tmp_path).stdout)["recordings"]
    assert [recording["begun"] for recording in plain][::2] == ["2023-03-26T02:30:00", "2023-10-29T01:59:58"]


@pytest.mark.slow
def test_the_time_zone_of_the_project_holds_for_its_model(tmp_path: Path) -> None:
    for label in ("day", "night"):
        (tmp_path / "sounds" / label).mkdir(parents=True)
        soundfile.write(tmp_path / f"sounds/{label}/20230701_120000.wav", sounds.chirp(100, 3_000, 3), sounds.RATE)
    audiocnn("init", "sounds", "--timezone", "Europe/Berlin", cwd=tmp_path)
    shutil.copytree(SHIPPED, tmp_path / "runs/sounds/model")
    done = audiocnn("predict", "sounds", "--events", "--threshold", "0.01", "--format", "json", cwd=tmp_path)
    begun = {recording["begun"] for recording in json.loads(done.stdout)["recordings"]}
    assert begun == {"2023-07-01T12:00:00+02:00"}
    set_lines(tmp_path / "audiocnn.yaml", timezone="Mars/Olympus")
    done = audiocnn("predict", "sounds", "--events", "--format", "json", cwd=tmp_path, code=2)
    assert "data.timezone Mars/Olympus: no time zone has this name" in done.stderr


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            ("--events", "--format", "csv", "--timezone", "Europe/Berln"),
            "--timezone Europe/Berln: no time zone has this name; pass an IANA name such as Europe/Berlin",
        ),
        (("--format", "csv", "--timezone", "UTC"), "--timezone is for the time of day of events"),
        (("--events", "--timezone", "UTC"), "in CSV, JSON and Parquet; pass --events -o events.csv"),
    ],
)
def test_a_time_zone_that_is_unknown_or_without_effect_is_refused(
    tmp_path: Path, options: tuple[str, ...], line: str
) -> None:
    done = audiocnn("predict", tmp_path / "20230401_053000.wav", "--model", SHIPPED, *options, cwd=tmp_path, code=2)
    assert line in " ".join(done.stderr.splitlines()[-1].split())


def test_an_event_after_a_change_of_clocks_has_the_offset_of_its_own_time() -> None:
    start = start_time.find(Path("20231029_015958.wav"), start_time.find_timezone("Europe/Berlin")).time
    times = [tables.event_start_time(Event("owl", s, s + 1, 0.9, s), start) for s in (0, 3_600, 3_602.5)]
    assert times == [
        "2023-10-29T01:59:58.000+02:00", "2023-10-29T02:59:58.000+02:00", "2023-10-29T02:00:00.500+01:00"
    ]  # fmt: skip
