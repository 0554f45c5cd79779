"""Decoding: every supported format, a code for every fault, and no dependence on a file's name."""

import contextlib
import csv
import io
import os
import re
import struct
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
import sounds
import soxr

from audiocnn import config
from audiocnn.audio import decode, search, sniff, source
from audiocnn.audio.decode import Decoder
from audiocnn.errors import AudioError, ConfigError
from audiocnn.features import build_store, frontend
from audiocnn.features.analyze import RecordingStatus

RATE = sounds.RATE
BLOCKS = (1, 7, 777, decode.BLOCK)

# How a file is written, and by how much a sample may be off: half a step of its integers, or what the codec loses.
FORMATS = {
    "8-bit WAV": ({"format": "WAV", "subtype": "PCM_U8"}, 2**-7),
    "16-bit WAV": ({"format": "WAV", "subtype": "PCM_16"}, 2**-15),
    "24-bit WAV": ({"format": "WAV", "subtype": "PCM_24"}, 2**-23),
    "32-bit WAV": ({"format": "WAV", "subtype": "PCM_32"}, 1e-7),
    "float WAV": ({"format": "WAV", "subtype": "FLOAT"}, 0),
    "double WAV": ({"format": "WAV", "subtype": "DOUBLE"}, 0),
    "mu-law WAV": ({"format": "WAV", "subtype": "ULAW"}, 0.02),
    "A-law WAV": ({"format": "WAV", "subtype": "ALAW"}, 0.02),
    "IMA ADPCM WAV": ({"format": "WAV", "subtype": "IMA_ADPCM"}, 0.1),
    "Microsoft ADPCM WAV": ({"format": "WAV", "subtype": "MS_ADPCM"}, 0.1),
    "extensible WAV": ({"format": "WAVEX", "subtype": "PCM_16"}, 2**-15),
    "big-endian WAV (RIFX)": ({"format": "WAV", "subtype": "PCM_24", "endian": "BIG"}, 2**-23),
    "64-bit WAV (RF64)": ({"format": "RF64", "subtype": "PCM_16"}, 2**-15),
    "AIFF": ({"format": "AIFF", "subtype": "PCM_16"}, 2**-15),
    "float AIFF": ({"format": "AIFF", "subtype": "FLOAT"}, 0),
    "little-endian AIFF": ({"format": "AIFF", "subtype": "PCM_24", "endian": "LITTLE"}, 2**-23),
    "mu-law AU": ({"format": "AU", "subtype": "ULAW"}, 0.02),
    "8-bit FLAC": ({"format": "FLAC", "subtype": "PCM_S8"}, 2**-7),
    "16-bit FLAC": ({"format": "FLAC", "subtype": "PCM_16"}, 2**-15),
    "24-bit FLAC": ({"format": "FLAC", "subtype": "PCM_24"}, 2**-23),
    "Ogg Vorbis": ({"format": "OGG", "subtype": "VORBIS"}, 0.1),
    "Ogg Opus": ({"format": "OGG", "subtype": "OPUS"}, None),  # its start is another, so samples are not compared
    "MP3": ({"format": "MP3", "subtype": "MPEG_LAYER_III"}, 0.1),
}
LOSSLESS = [name for name, (_, tolerance) in FORMATS.items() if tolerance is not None and tolerance < 1e-4]


def written(path: Path, samples: np.ndarray, rate: int = RATE, **format_: str) -> Path:
    soundfile.write(path, samples, rate, **(format_ or {"format": "WAV", "subtype": "PCM_16"}))
    return path


def read(path: Path, **how: object) -> np.ndarray:
    with Decoder(path) as decoder:
        found = list(decoder.blocks(**how))  # type: ignore[arg-type]
    assert all(block.dtype == np.float32 and block.ndim == 1 and len(block) for block in found)
    return np.concatenate(found)


def warnings_of(path: Path) -> list[str]:
    with Decoder(path) as decoder:
        for _ in decoder.blocks():
            pass
    return decoder.facts.warnings


def patched(path: Path, at: int, data: bytes) -> Path:
    content = bytearray(path.read_bytes())
    content[at : at + len(data)] = data
    path.write_bytes(content)
    return path


def cut(path: Path, n_bytes: int) -> Path:
    path.write_bytes(path.read_bytes()[:n_bytes])
    return path


# Good files


@pytest.mark.parametrize("name", FORMATS)
def test_a_tone_is_decoded_from_every_format_at_its_pitch_and_level(name, tmp_path):
    how, _ = FORMATS[name]
    file = written(tmp_path / "x", sounds.tone(440, 2, rate=48_000), 48_000, **how)
    with Decoder(file) as decoder:
        decoded = np.concatenate(list(decoder.blocks(sample_rate=RATE)))
        facts = decoder.facts
    assert (facts.sample_rate, facts.n_channels) == (48_000, 1)
    assert facts.duration_s == pytest.approx(2, rel=0.03)
    assert len(decoded) == pytest.approx(facts.n_read / 3, abs=1)
    assert sounds.pitch_hz(decoded) == pytest.approx(440, abs=1)
    assert sounds.amplitude(decoded) == pytest.approx(0.5, rel=0.05)
    assert facts.warnings == []


@pytest.mark.parametrize("name", [name for name, (_, tolerance) in FORMATS.items() if tolerance is not None])
def test_samples_at_the_file_s_own_rate_are_those_that_were_written(name, tmp_path):
    how, tolerance = FORMATS[name]
    samples = sounds.chirp(100, 1_000, 1) + sounds.noise(1, level=0.01)
    decoded = read(written(tmp_path / "x", samples, **how))
    assert len(decoded) >= len(samples)  # ADPCM fills its last block
    np.testing.assert_allclose(decoded[: len(samples)], samples, rtol=0, atol=tolerance)


@pytest.mark.parametrize("rate", [1_000, 8_000, 11_025, 22_050, 44_100, 48_000, 96_000, 192_000])
@pytest.mark.parametrize("name", ["16-bit WAV", "24-bit FLAC"])
def test_a_tone_keeps_its_pitch_level_and_duration_at_every_sample_rate(name, rate, tmp_path):
    decoded = read(written(tmp_path / "x", sounds.tone(330, 2, rate), rate, **FORMATS[name][0]), sample_rate=RATE)
    assert len(decoded) == pytest.approx(2 * RATE, abs=RATE / 1_000)
    assert sounds.pitch_hz(decoded) == pytest.approx(330, abs=1)
    assert sounds.amplitude(decoded) == pytest.approx(0.5, rel=0.01)


@pytest.mark.parametrize("n_channels", range(1, 15))
def test_channels_are_averaged_or_selected(n_channels, tmp_path):
    channels = np.stack([sounds.noise(0.2, level=0.1, seed=k) for k in range(n_channels)], axis=1)
    file = written(tmp_path / "x.wav", channels, format="WAV", subtype="FLOAT")
    np.testing.assert_allclose(read(file), channels.mean(axis=1), rtol=0, atol=1e-6)
    for k in range(n_channels):
        np.testing.assert_array_equal(read(file, channel=k), channels[:, k])
    with Decoder(file) as decoder:
        np.testing.assert_array_equal(np.hstack(list(decoder.blocks(channel="each", block=777))), channels.T)


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("name", LOSSLESS)
def test_blocks_of_any_size_give_the_samples_of_the_whole(name, block, tmp_path):
    n = 1_000 if block < 10 else 70_000
    samples = np.stack([sounds.noise(n / RATE, seed=0), sounds.noise(n / RATE, seed=1)], axis=1)
    file = written(tmp_path / "x", samples, **FORMATS[name][0])
    whole, _ = soundfile.read(file, dtype="float32")
    np.testing.assert_allclose(read(file, block=block), whole.mean(axis=1), rtol=0, atol=1e-7)


@pytest.mark.parametrize("rate", [1_000, 8_000, 44_100, 48_000, 192_000])
@pytest.mark.parametrize("block", [500, 777, decode.BLOCK])
def test_resampling_in_blocks_equals_resampling_the_whole(rate, block, tmp_path):
    samples = sounds.noise(1.5, rate, level=0.2)
    file = written(tmp_path / "x.wav", samples, rate, format="WAV", subtype="FLOAT")
    whole = soxr.resample(samples, rate, RATE, quality="HQ")
    decoded = read(file, sample_rate=RATE, block=block)
    assert len(decoded) == len(whole)
    np.testing.assert_allclose(decoded, whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["x.mp3", "x.raw", "x.txt", "x", "x.wav.flac"])
def test_the_content_and_not_the_name_decides_what_a_file_is(name, tmp_path):
    samples = sounds.tone(500, 0.5)
    wav = read(written(tmp_path / name, samples))
    np.testing.assert_array_equal(wav, read(written(tmp_path / "x.wav", samples)))


@pytest.mark.parametrize("name", [" x.wav", "-x.wav", "ünï😀.wav", "two\nlines.wav", "b\udcff.wav", "%s$HOME*.wav"])
def test_any_legal_file_name_can_be_opened(name, tmp_path):
    assert len(read(written(tmp_path / "x", sounds.tone(500, 0.5)).rename(tmp_path / name))) == RATE // 2


def test_files_are_closed_again_whether_they_can_be_read_or_not(tmp_path):
    good = written(tmp_path / "good.wav", sounds.tone(500, 0.1))
    bad = tmp_path / "bad.wav"
    bad.write_bytes(good.read_bytes()[:30])
    read(good)
    before = len(os.listdir("/dev/fd"))
    for _ in range(5):
        read(good)
        with pytest.raises(AudioError):
            Decoder(bad)
    assert len(os.listdir("/dev/fd")) == before


# Faults, one file each


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _nothing(path: Path) -> None:
    pass


def _bytes(data: bytes):
    return lambda path: path.write_bytes(data)


def _wav(samples: np.ndarray, rate: int = RATE, subtype: str = "FLOAT"):
    return lambda path: written(path, samples, rate, format="WAV", subtype=subtype)


def _with(value: float) -> np.ndarray:
    samples = sounds.noise(6)
    samples[5 * RATE] = value  # beyond the first block
    return samples


def _header_only(path: Path) -> None:
    written(path, sounds.silence(0))


def _cut_flac(path: Path) -> None:
    cut(written(path, sounds.noise(2), format="FLAC", subtype="PCM_16"), 30_000)


FAULTS = {
    "no such file": ("missing", _nothing),
    "a link to nothing": ("missing", lambda path: path.symlink_to("nowhere")),
    "a folder": ("not_a_file", lambda path: path.mkdir()),
    "a FIFO": ("not_a_file", _fifo),
    "a device": ("not_a_file", lambda path: path.symlink_to("/dev/zero")),
    "a loop of links": ("unreadable", lambda path: path.symlink_to(path)),
    "no bytes": ("empty_file", _bytes(b"")),
    "a git-lfs pointer": ("git_lfs_pointer", _bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")),
    "a preallocated file": ("all_zero_bytes", _bytes(bytes(100_000))),
    "text": ("not_audio", _bytes(b"song.wav, 3 s, violin\n")),
    "UTF-16 text": ("not_audio", _bytes("hello, world; h\u00f6r zu".encode("utf-16"))),
    "three bytes": ("not_audio", _bytes(b"RIF")),
    "an M4A": ("not_audio", _bytes(b"\0\0\0\x20ftypM4A \0\0\0\0" + bytes(100))),
    "a header that is cut": ("decode_error", _bytes(b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\1\0")),
    "noise after a magic number": ("decode_error", _bytes(b"fLaC" + np.random.default_rng(0).bytes(5_000))),
    "an MP3 of one frame's head": ("decode_error", _bytes(b"\xff\xfb\x90\x64" + bytes(10))),
    "a FLAC that ends early": ("decode_error", _cut_flac),
    "NaN": ("not_finite", _wav(_with(np.nan))),
    "infinity": ("not_finite", _wav(_with(np.inf))),
    "minus infinity": ("not_finite", _wav(_with(-np.inf))),
    "absurdly loud": ("not_finite", _wav(_with(1e30))),
    "a header and no samples": ("no_samples", _header_only),
    "300 channels": ("channels", _wav(np.zeros((10, 300)))),
    "500 Hz": ("sample_rate", _wav(sounds.noise(1, 500), 500)),
    "1 MHz": ("sample_rate", _wav(sounds.noise(0.1), 1_000_000)),
}


def fault(name: str, path: Path) -> AudioError:
    """The error that reading the file of this name raises; nothing but an `AudioError` is let through."""
    FAULTS[name][1](path)
    with pytest.raises(AudioError) as caught:
        read(path, sample_rate=RATE)
    return caught.value


@pytest.mark.usefixtures("in_time")
@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_has_a_code_and_a_message_of_one_line(name, tmp_path):
    error = fault(name, tmp_path / "x.wav")
    assert error.code == FAULTS[name][0]
    assert str(error) == error.detail
    assert "\n" not in error.detail
    assert str(tmp_path) not in error.detail  # who calls names the file, once


def test_every_code_that_reading_can_raise_is_raised_by_a_file_here():
    code = "".join(Path(str(module.__file__)).read_text() for module in (sniff, source, decode))
    codes = set(re.findall(r'AudioError\(\s*"(\w+)"', code))
    assert len(codes) > 10
    assert codes == {code for code, _ in FAULTS.values()}


def test_a_missing_channel_is_named(tmp_path):
    with pytest.raises(AudioError, match="no channel 2, only 2") as caught:
        read(written(tmp_path / "x.wav", np.zeros((10, 2))), channel=2)
    assert caught.value.code == "channels"


@pytest.mark.parametrize("path", ["x\0.wav", "x" * 300 + ".wav", "file/x.wav"])
def test_an_invalid_path_is_reported_as_missing(path, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(AudioError):
        Decoder(tmp_path / path)


@pytest.mark.parametrize(("data", "name"), [(b"\0\0\0\x20ftypM4A ", "MP4"), (b"wvpk" + bytes(20), "WavPack")])
def test_an_unsupported_format_is_named_with_the_remedy(data, name, tmp_path):
    (tmp_path / "x.wav").write_bytes(data)
    with pytest.raises(AudioError, match=rf"is {name}.*convert it to WAV or FLAC"):
        Decoder(tmp_path / "x.wav")


# Lies of the header


@pytest.mark.parametrize("name", ["16-bit WAV", "float WAV", "big-endian WAV (RIFX)", "64-bit WAV (RF64)", "AIFF"])
@pytest.mark.parametrize("kept", [0.5, 0.999])
def test_a_cut_wav_or_aiff_is_read_with_the_warning_truncated(name, kept, tmp_path):
    file = written(tmp_path / "x", sounds.noise(2), **FORMATS[name][0])
    assert warnings_of(file) == []
    cut(file, int(file.stat().st_size * kept))
    assert warnings_of(file) == ["truncated", "length_mismatch"]


@pytest.mark.parametrize("length", [0x7FFFFFFF, 0x80000000, 0x7FFFF000, 0xFFFFFFFF, 0xFFFFFFFF - 100])
def test_a_placeholder_length_is_no_truncation(length, tmp_path):
    file = written(tmp_path / "x.wav", sounds.noise(0.2))
    patched(file, file.read_bytes().index(b"data") + 4, struct.pack("<I", length))
    assert warnings_of(file) == ["length_mismatch"]
    assert len(read(file)) == RATE // 5


@pytest.mark.parametrize("length", [2_200_000_000, 3_000_000_000, 4_200_000_000])
def test_a_file_that_was_cut_at_2_gib_is_truncated(length, tmp_path):
    file = written(tmp_path / "x.wav", sounds.noise(0.2))
    patched(file, file.read_bytes().index(b"data") + 4, struct.pack("<I", length))
    assert warnings_of(file) == ["truncated", "length_mismatch"]


def test_chunks_after_the_samples_are_not_read_as_samples(tmp_path):
    file = written(tmp_path / "x.wav", sounds.noise(0.2))
    file.write_bytes(file.read_bytes() + b"LIST" + struct.pack("<I", 1_000_000))
    assert warnings_of(file) == []


def test_a_cut_mp3_has_the_warning_length_mismatch(tmp_path):
    file = written(tmp_path / "x.mp3", sounds.noise(3), **FORMATS["MP3"][0])
    assert warnings_of(file) == []
    assert warnings_of(cut(file, file.stat().st_size // 2)) == ["length_mismatch"]


@pytest.mark.parametrize("n_channels", [1, 2, 5])
@pytest.mark.parametrize("name", ["8-bit FLAC", "16-bit FLAC", "24-bit FLAC"])
def test_the_md5_of_a_flac_is_checked(name, n_channels, tmp_path):
    samples = np.stack([sounds.noise(0.3, seed=k) for k in range(n_channels)], axis=1)
    file = written(tmp_path / "x.flac", samples, **FORMATS[name][0])
    assert warnings_of(file) == []
    md5 = file.read_bytes()[26:42]
    assert any(md5)  # else nothing was checked above
    assert warnings_of(patched(file, 30, bytes([md5[4] ^ 1]))) == ["md5_mismatch"]
    assert warnings_of(patched(file, 26, bytes(16))) == []  # all zeros: the encoder did not say


@pytest.mark.parametrize(
    ("subtype", "level"),
    [("PCM_U8", 1), *((subtype, level) for subtype in ("PCM_16", "PCM_24", "FLOAT", "DOUBLE") for level in (1, 0.3))],
)
def test_flat_runs_at_the_extreme_give_the_warning_clipped_in_any_format(subtype, level, tmp_path):
    for gain, expected in ((1.5, ["clipped"]), (0.99, [])):
        samples = level * np.clip(sounds.tone(440, 1, amplitude=gain) + 0.01 * sounds.noise(1), -1, 1)
        assert warnings_of(written(tmp_path / "x", samples, format="WAV", subtype=subtype)) == expected
    one_sided = level * np.minimum(sounds.tone(440, 1, amplitude=1.5) / 2, 0.5)
    assert warnings_of(written(tmp_path / "x", one_sided, format="WAV", subtype=subtype)) == ["clipped"]


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_U8", "ULAW", "FLOAT"])
def test_what_is_not_flat_at_the_extreme_is_not_clipped(subtype, tmp_path):
    touching = sounds.noise(1)
    touching[:10] = 1
    gated = np.maximum(sounds.tone(440, 1), 0) * (np.arange(RATE) % 1_000 < 500)  # long runs at 0, which is no rail
    slow = sounds.tone(20, 1, 48_000, amplitude=0.9)  # rounding makes its peaks flat
    square = 0.3 * np.sign(sounds.tone(441.3, 1, amplitude=1)).astype(np.float32)
    for samples in (touching, gated, slow, square, 1e-4 * sounds.noise(1)):
        assert warnings_of(written(tmp_path / "x", samples, format="WAV", subtype=subtype)) == []


def test_floats_above_1_are_not_clipped(tmp_path):
    loud = sounds.tone(440, 1, amplitude=3)
    assert warnings_of(written(tmp_path / "x.wav", loud, format="WAV", subtype="FLOAT")) == []
    assert read(tmp_path / "x.wav").max() == pytest.approx(3, rel=1e-3)


@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
@pytest.mark.parametrize("bits", [16, 24, 32])
def test_integers_kept_as_floats_are_brought_to_full_scale_1(subtype, bits, tmp_path):
    whole = np.concatenate([sounds.silence(3), sounds.tone(440, 3, amplitude=0.4)])  # more than one block of zeros
    integers = np.rint(whole.astype(np.float64) * 2 ** (bits - 1))
    file = written(tmp_path / "x.wav", integers, format="WAV", subtype=subtype)
    assert warnings_of(file) == ["scale"]
    np.testing.assert_allclose(read(file), whole, atol=2.0 ** (1 - bits) + 1e-7)
    integers[-1] += 0.5  # not all are integers
    assert warnings_of(written(tmp_path / "x.wav", integers, format="WAV", subtype="DOUBLE")) in ([], ["scale"])


def test_samples_of_1_and_less_are_never_integers_kept_as_floats(tmp_path):
    clicks = np.zeros(RATE, np.float32)
    clicks[::100] = 1
    assert warnings_of(written(tmp_path / "x.wav", clicks, format="WAV", subtype="FLOAT")) == []


def stereo_warnings(file: Path, *channels: np.ndarray) -> list[str]:
    return warnings_of(written(file, np.stack(channels, axis=1), format="WAV", subtype="PCM_16"))


def test_channels_that_cancel_in_their_mean_are_named(tmp_path):
    tone, other = sounds.tone(440, 1), sounds.noise(1, seed=1)
    assert stereo_warnings(tmp_path / "x", tone, -tone) == ["channels_cancel"]
    assert stereo_warnings(tmp_path / "x", tone + 0.2, -0.9 * tone + 0.2) == ["channels_cancel"]  # whatever the offset
    assert stereo_warnings(tmp_path / "x", other, -other, other, -other) == ["channels_cancel"]
    assert stereo_warnings(tmp_path / "x", tone, other) == stereo_warnings(tmp_path / "x", tone, tone) == []
    assert stereo_warnings(tmp_path / "x", *(sounds.noise(1, seed=i) for i in range(8))) == []


@pytest.mark.parametrize("delay", [3, 40, 400])
def test_a_delayed_copy_of_a_channel_is_named(delay, tmp_path):
    sound = sounds.noise(2)
    assert stereo_warnings(tmp_path / "x", sound, 0.7 * np.roll(sound, delay)) == ["delayed_channels"]
    assert stereo_warnings(tmp_path / "x", np.roll(sound, delay), sound) == ["delayed_channels"]
    assert stereo_warnings(tmp_path / "x", sound, sounds.noise(2, seed=1)) == []


def test_one_channel_alone_has_no_warnings_of_the_mean(tmp_path):
    tone = sounds.tone(440, 1)
    with Decoder(written(tmp_path / "x.wav", np.stack([tone, -tone], axis=1))) as decoder:
        list(decoder.blocks(channel=0))
    assert decoder.facts.warnings == []


def test_a_dead_channel_with_an_offset_is_dead(tmp_path):
    assert stereo_warnings(tmp_path / "x", sounds.tone(440, 1), np.full(RATE, 0.3)) == ["dead_channel"]


def test_a_channel_80_db_below_the_loudest_one_is_dead_and_equally_quiet_ones_are_not(tmp_path):
    tone = sounds.tone(440, 1)

    def warnings(*levels: float) -> list[str]:
        channels = np.stack([level * tone for level in levels], axis=1).astype(np.float32)
        return warnings_of(written(tmp_path / "x.wav", channels, format="WAV", subtype="FLOAT"))

    assert warnings(1, 0) == warnings(0, 1, 1) == warnings(1, 0.9e-4) == ["dead_channel"]
    assert warnings(1, 1.1e-4) == warnings(1) == warnings(1e-5, 1e-5) == warnings(0) == warnings(0, 0) == []
    late = np.stack([tone, np.append(np.zeros(len(tone) - 1), 0.01)], axis=1)  # only at the very end
    assert warnings_of(written(tmp_path / "x.wav", late)) == []


def test_facts_contain_peak_and_duration_of_a_recording(tmp_path):
    samples = np.stack([sounds.tone(440, 1.5, amplitude=0.25), -sounds.tone(440, 1.5, amplitude=0.75)], axis=1)
    with Decoder(written(tmp_path / "x.wav", samples, format="WAV", subtype="FLOAT")) as decoder:
        for _ in decoder.blocks(sample_rate=8_000, block=1_000):
            pass
    assert decoder.facts.peak == pytest.approx(0.75, rel=1e-3)
    assert decoder.facts.highs == pytest.approx([0.25, 0.75], rel=1e-3)
    assert decoder.facts.lows == pytest.approx([-0.25, -0.75], rel=1e-3)
    assert decoder.facts.n_read == decoder.facts.n_declared == 24_000
    assert decoder.facts.duration_s == 1.5


# Which files are audio


HEADS = {
    "wav": [b"RIFF\x24\0\0\0WAVEfmt ", b"RIFX\0\0\0\x24WAVEfmt ", b"RF64\xff\xff\xff\xffWAVEds64"],
    "aiff": [b"FORM\0\0\0\x24AIFFCOMM", b"FORM\0\0\0\x24AIFCFVER"],
    "flac": [b"fLaC\0\0\0\x22"],
    "ogg": [b"OggS\0\2\0\0"],
    "au": [b".snd\0\0\0\x18"],
    "mp3": [b"ID3\4\0\0\0\0", b"\xff\xfb\x90\x64", b"\xff\xf3\x40\xc4", b"\xff\xe3\x18\xc4"],  # MPEG 1, 2, 2.5
    "mp2": [b"\xff\xfd\x84\x00", b"\xff\xf5\xe0\x00"],
    None: [
        b"", b"RIFF\x24\0\0\0AVI LIST", b"FORM\0\0\0\x24ILBMBMHD", b"\xff\xd8\xff\xe0",  # film, pictures
        b"\xff\xf1\x50\x80", b"\xff\xfeh\0e\0l\0",  # AAC, UTF-16
        b"\xff\xfb", b"\xff\xfb\xf0\x64", b"\xff\xfb\x9c\x64", b"\xff\xeb\x90\x64",  # short; reserved values
    ],
}  # fmt: skip


@pytest.mark.parametrize(("head", "kind"), [(head, kind) for kind, heads in HEADS.items() for head in heads])
def test_a_container_is_identified_by_its_first_bytes(head, kind):
    assert sniff.identify_head(head) == kind


@pytest.mark.usefixtures("in_time")
def test_audio_below_a_folder_is_found_by_content_or_suffix_and_hidden_files_are_not(tmp_path):
    samples = sounds.tone(440, 0.1)
    (tmp_path / "b" / "deep").mkdir(parents=True)
    (tmp_path / ".hidden").mkdir()
    for name in ["z.wav", "b/nameless", "b/deep/a.flac", "b/._z.wav", ".hidden/z.wav"]:
        written(tmp_path / name, samples)
    for name in ["b/broken.wav", "b/UPPER.MP3", "notes.txt", "b/cover.jpg"]:
        (tmp_path / name).write_bytes(b"nothing")
    os.mkfifo(tmp_path / "b" / "pipe")
    os.mkfifo(tmp_path / "b" / "pipe.ogg")
    (tmp_path / "b" / "loop").symlink_to(tmp_path)
    found = [path.relative_to(tmp_path).as_posix() for path in search.find_audio(tmp_path)]
    assert found == ["z.wav", "b/UPPER.MP3", "b/broken.wav", "b/nameless", "b/pipe.ogg", "b/deep/a.flac"]


def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "locked").mkdir()
    scandir = os.scandir

    def refuse(path: str) -> "os.ScandirIterator[str]":
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(ConfigError, match="locked: cannot be listed"):
        search.find_audio(tmp_path)


# Awkward files from public projects; the column of suggestions was written by whoever collected them


@pytest.fixture(scope="module")
def awkward(data_dir) -> list[tuple[dict[str, str], RecordingStatus, np.ndarray]]:
    """Each row of the collection's manifest, with the recording_status and the frames of its file."""
    folder = data_dir / "awkward-audio"
    if not folder.is_dir():
        pytest.skip(f"no awkward files at {folder}")
    rows = list(csv.DictReader(io.StringIO((folder / "MANIFEST.csv").read_text(encoding="utf-8"))))
    spec = config.read_preset("instrument").features
    constants = frontend.make(spec)
    paths = [folder / row["file"] for row in rows]
    found = build_store.analyze_files(paths, spec=spec, frontend=constants, jobs=2)
    nothing = np.zeros((0, spec.n_bins, len(spec.channels)), np.float32)
    decoded = {i: (recording_status, frames[:] if len(frames) else nothing) for i, recording_status, frames in found}
    return [(row, *decoded[i]) for i, row in enumerate(rows)]


@pytest.mark.slow
def test_every_awkward_file_has_one_status_and_none_harms_a_worker(awkward):
    assert len(awkward) > 200
    found = Counter(recording_status.status for _, recording_status, _ in awkward)
    assert found.keys() == {"ok", "silent", "unreadable"}
    for row, recording_status, frames in awkward:
        assert recording_status.sha256 == row["sha256"], row["file"]
        assert not {"crashed", "timeout", "out_of_memory"} & set(recording_status.codes), row["file"]
        assert (len(frames) > 0) == (recording_status.status == "ok"), row["file"]
        assert np.isfinite(frames).all(), row["file"]
        assert recording_status.status == "ok" or (recording_status.codes and recording_status.detail), row["file"]
        assert "\n" not in recording_status.detail, row["file"]


@pytest.mark.slow
def test_nothing_that_decoders_print_reaches_the_terminal(awkward, data_dir, capfd):
    noisy = [data_dir / "awkward-audio" / row["file"] for row, _, _ in awkward if "stderr" in row["silent_problem"]]
    assert len(noisy) > 10
    spec = config.read_preset("instrument").features
    assert len(list(build_store.analyze_files(noisy, spec=spec, frontend=frontend.make(spec), jobs=2))) == len(noisy)
    assert capfd.readouterr() == ("", "")


def test_valid_awkward_files_are_accepted(awkward):
    good = [(row["file"], recording_status) for row, recording_status, _ in awkward if row["suggested_verdict"] == "ok"]
    assert good
    assert [file for file, recording_status in good if recording_status.status == "unreadable"] == []


@pytest.mark.parametrize(
    ("suggested", "code"),
    [
        ("reject:lfs_pointer", "git_lfs_pointer"), ("reject:empty", "empty_file"), ("reject:no_audio", "no_samples"),
        ("reject:md5_mismatch", "md5_mismatch"), ("warn:truncated", "truncated"), ("warn:silent", "silent"),
        ("warn:declared_length_wrong", "length_mismatch"),
    ],
)  # fmt: skip
def test_faults_of_awkward_files_are_named(awkward, suggested, code):
    readable = [  # what has no known beginning is told by nothing but its name
        (row, recording_status) for row, recording_status, _ in awkward
        if suggested in row["suggested_verdict"].split() and "not_audio" not in recording_status.codes
    ]  # fmt: skip
    assert readable
    assert [row["file"] for row, recording_status in readable if code not in recording_status.codes] == []


def test_no_complete_awkward_file_has_the_warning_truncated_or_md5_mismatch(awkward):
    for row, recording_status, _ in awkward:
        if {"truncated", "md5_mismatch"} & set(recording_status.codes):
            assert row["silent_problem"], row["file"]


def whole_and_in_blocks(file: Path) -> list[np.ndarray]:
    """The samples of a file, read in blocks of several sizes."""
    found = []
    for block in (1_000, 65_536, 1 << 22):
        with decode.Decoder(file) as decoder:
            found.append(np.concatenate(list(decoder.blocks(block=block)) or [np.zeros(0, np.float32)]))
    return found


@pytest.mark.parametrize(("form", "subtype"), [("MP3", None), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("FLAC", None)])
def test_decoded_samples_do_not_depend_on_the_block_size(form, subtype, tmp_path):
    soundfile.write(tmp_path / "x", sounds.noise(4), RATE, format=form, subtype=subtype)
    *blocks, whole = whole_and_in_blocks(tmp_path / "x")
    assert all(np.array_equal(samples, whole) for samples in blocks)


@pytest.mark.slow
def test_no_awkward_file_gives_other_samples_in_blocks_than_whole(data_dir):
    folder = data_dir / "awkward-audio"
    if not folder.is_dir():
        pytest.skip(f"no awkward files at {folder}")
    n_read = 0
    for file in search.find_audio(folder):
        with contextlib.suppress(AudioError):
            *blocks, whole = whole_and_in_blocks(file)
            assert all(np.array_equal(samples, whole, equal_nan=True) for samples in blocks), file.name
            n_read += 1
    assert n_read > 100
