"""MP3 files that do not tell their length, or tell too little: all of their frames are read."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import sounds
from numpy.typing import NDArray

from audiocnn.audio import mp3_length
from audiocnn.audio.headers import Header, PatchedFile
from audiocnn.audio.source import FileSource

RATES = [(44_100, 2), (22_050, 1), (8_000, 1)]  # MPEG-1, 2 and 2.5
SPF = {44_100: 1152, 22_050: 576, 8_000: 576}  # samples of a frame


def encoded(file: Path, rate: int, n_channels: int = 1, **options: object) -> bytes:
    """Write seconds of silence, tone and noise, which take different bit rates, and return the file's content."""
    pieces = [sounds.silence(2, rate), sounds.tone(440, 2, rate), 0.5 * sounds.noise(2, rate, seed=1)]
    samples = np.concatenate(pieces)
    soundfile.write(
        file, np.stack([samples] * n_channels, axis=1), rate, format="MP3", compression_level=0.5, **options
    )
    return file.read_bytes()


def frames_of(content: bytes) -> bytes:
    """Return the content without its first frame, which tells the number of frames."""
    lengths = mp3_length._lengths(content[:4])
    assert b"Xing" in content[:400] or b"Info" in content[:400]
    return content[lengths[mp3_length._key(content[:4])] :]


def samples_of(file: Path) -> tuple[NDArray[np.float32], list[str]]:
    source = FileSource(file)
    out = np.zeros((1 << 15, source.n_channels), source.dtype)
    blocks = []
    while len(block := source.read(out)):
        blocks.append(source.scale * block.astype(np.float32))
    source.close()
    return np.concatenate(blocks), source.warnings([])


@pytest.mark.parametrize(("rate", "n_channels"), RATES)
@pytest.mark.parametrize("tag", [b"", b"ID3\x04\x00\x00\x00\x00\x00\x0a" + bytes(10)])
def test_a_variable_bit_rate_without_a_length_is_read_to_the_end(
    tag: bytes, rate: int, n_channels: int, tmp_path: Path
) -> None:
    whole = tmp_path / "whole.mp3"
    content = encoded(whole, rate, n_channels, bitrate_mode="VARIABLE")
    bare = tmp_path / "bare.mp3"
    bare.write_bytes(tag + frames_of(content))
    expected, codes = samples_of(whole)
    found, codes_found = samples_of(bare)
    assert codes == [] and codes_found == ["length_mismatch"]
    assert len(expected) <= len(found) <= len(expected) + 3 * SPF[rate]
    # The header of the whole file also tells how many samples the encoder put in front.
    middle = slice(5 * rate // 2, 5 * rate)  # tone, then noise
    assert any(np.allclose(found[i:][middle], expected[middle], atol=1e-3) for i in range(4 * SPF[rate]))


@pytest.mark.parametrize(("rate", "n_channels"), RATES)
def test_joined_files_are_read_to_the_end(rate: int, n_channels: int, tmp_path: Path) -> None:
    content = encoded(tmp_path / "one.mp3", rate, n_channels)
    joined = tmp_path / "joined.mp3"
    joined.write_bytes(content + b"TAG" + bytes(125) + content)
    one, _ = samples_of(tmp_path / "one.mp3")
    found, codes = samples_of(joined)
    assert codes == ["length_mismatch"]
    assert 2 * len(one) <= len(found) <= 2 * len(one) + 6 * SPF[rate]
    np.testing.assert_array_equal(found[: len(one)], one)


@pytest.mark.parametrize("mode", ["CONSTANT", "AVERAGE", "VARIABLE"])
def test_a_file_that_tells_its_length_is_left_as_it_is(mode: str, tmp_path: Path) -> None:
    file = tmp_path / "one.mp3"
    content = encoded(file, 44_100, bitrate_mode=mode)
    assert mp3_length.check(file) == Header()
    for end in (b"TAG" + bytes(125), b"APETAGEX" + bytes(300), bytes(5_000), b"\xff" * 5_000):
        file.write_bytes(content + end)
        assert mp3_length.check(file) == Header()


def test_a_constant_bit_rate_without_a_length_is_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "one.mp3"
    file.write_bytes(frames_of(encoded(file, 44_100, bitrate_mode="CONSTANT")))
    assert mp3_length.check(file) == Header()


def test_frames_are_counted_behind_damage_and_the_search_ends(tmp_path: Path, in_time: None) -> None:
    frames = frames_of(encoded(tmp_path / "one.mp3", 44_100, bitrate_mode="VARIABLE"))
    file = tmp_path / "damaged.mp3"
    counts = []
    for between in (b"", b"\xff\xfb" * 50 + b"garbage", b"\xff" * 10_000_000):
        file.write_bytes(frames + between + frames)
        prefix = mp3_length.check(file).prefix
        at = prefix.index(b"Info") + 8
        counts.append(int.from_bytes(prefix[at : at + 4], "big"))
    assert counts[0] == counts[1] == 2 * counts[2]  # that many \xff are no damage but another file


@pytest.mark.parametrize(
    "content", [b"", b"\xff", b"\xff\xfb\x90", b"ID3", b"ID3\x04\0\0\x7f\x7f\x7f\x7f", b"\xff\xfb\xf0\0"]
)
def test_rests_of_files_are_left_to_the_decoder(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "rest.mp3"
    file.write_bytes(content)
    assert mp3_length.check(file) == Header()


def test_a_file_with_another_beginning_reads_as_one(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"0123456789")
    with PatchedFile(file, Header(skipped=4, prefix=b"abc")) as patched:
        assert patched.read() == b"abc456789"
        assert [patched.seek(place, how) for place, how in ((2, 0), (1, 1), (-2, 2))] == [2, 3, 7]
        assert patched.read(5) == b"89"
