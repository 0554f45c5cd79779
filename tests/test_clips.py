"""Clips: the same samples as the whole recording, read in one pass, without memory for the samples between."""

import tracemalloc
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import sounds

from audiocnn.audio import clips, decode, workers
from audiocnn.audio.clips import Array, MonoFile, SavedClip
from audiocnn.audio.decode import Decoder
from audiocnn.dataset.manifest import Recording
from audiocnn.draw import spectrogram
from audiocnn.draw.spectrogram import SAMPLE_RATE
from audiocnn.errors import AudioError, OutputError
from audiocnn.report.evaluation.clips import save_excerpts

RATE = 8_000
STRETCHES = [(8.5, 8.75), (0.5, 9.0), (29.0, 40.0), (1.0, 2.0), (1.0, 2.0), (16.4, 16.4), (60.0, 61.0)]


def of(samples: np.ndarray, start_s: float, end_s: float) -> np.ndarray:
    return samples[round(start_s * RATE) : round(end_s * RATE)]


def long_file(folder: Path) -> tuple[MonoFile, np.ndarray]:
    """Thirty seconds of two channels, several blocks long, and their mean."""
    samples = np.stack([sounds.chirp(100, 3_000, 30, RATE), sounds.noise(30, RATE)], axis=1)
    soundfile.write(folder / "long.wav", samples, RATE, subtype="FLOAT")
    assert len(samples) > 3 * decode.BLOCK
    return MonoFile(folder / "long.wav", RATE), samples.mean(axis=1)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are opened to be decoded, in this process, which does the work of workers."""
    opened: list[str] = []

    class Counted(Decoder):
        def __init__(self, source: Any) -> None:
            opened.append(source.name)
            super().__init__(source)

    def here(function: Callable[..., Any], tasks: Sequence[tuple[Path, tuple[Any, ...]]], **_: Any) -> Iterator[Any]:
        for index, (path, args) in enumerate(tasks):
            yield workers.TaskResult(index, function(path, *args))

    monkeypatch.setattr(clips, "Decoder", Counted)
    monkeypatch.setattr(workers, "map_files", here)
    return opened


# --------------------------------------------------------------------------------------------------------- the samples


def test_a_clip_has_the_same_samples_as_the_whole_recording(tmp_path: Path) -> None:
    recording, samples = long_file(tmp_path)
    expected = [of(samples, *stretch) for stretch in STRETCHES]
    saved = dict(clips.save([(recording, stretch) for stretch in STRETCHES], folder=tmp_path / "kept", jobs=1))
    loaded = clips.load([(recording, stretch) for stretch in STRETCHES], jobs=2)
    for number, found in enumerate(clips.read(recording, STRETCHES)):
        np.testing.assert_allclose(found, expected[number], rtol=0, atol=1e-7)
        clip, of_workers = saved[number], loaded[number]
        assert isinstance(clip, SavedClip) and not isinstance(of_workers, AudioError)
        np.testing.assert_array_equal(clip.read(), found)
        np.testing.assert_array_equal(clip.read(100, 50), found[100:150])
        np.testing.assert_array_equal(of_workers, found)
        assert clip.silent == (not found.any())


def test_clips_have_the_requested_rate_and_channel(tmp_path: Path) -> None:
    recording, _ = long_file(tmp_path)
    for wanted in (MonoFile(recording.path, 11_025), MonoFile(recording.path, 22_050, 1)):
        with Decoder(wanted.path) as decoder:
            whole = np.concatenate(list(decoder.blocks(sample_rate=wanted.sample_rate, channel=wanted.channel)))
        all_of_it, part = clips.read(wanted, [(0, 60), (4.2, 9.1)])
        np.testing.assert_array_equal(all_of_it, whole)
        first, last = round(4.2 * wanted.sample_rate), round(9.1 * wanted.sample_rate)
        np.testing.assert_array_equal(part, whole[first:last])


def test_no_stretches_give_no_clips(tmp_path: Path) -> None:
    assert clips.load([], jobs=1) == []
    assert list(clips.save([], folder=tmp_path, jobs=1)) == []


# ------------------------------------------------------------------------------------------------------------ one pass


def test_any_number_of_stretches_of_a_file_takes_one_pass(tmp_path: Path, passes: list[str]) -> None:
    recording, _ = long_file(tmp_path)
    soundfile.write(tmp_path / "other.wav", sounds.tone(500, 2, RATE), RATE)
    wanted = [(recording, (at / 10, at / 10 + 0.5)) for at in range(0, 250, 2)]
    wanted.insert(60, (MonoFile(tmp_path / "other.wav", RATE), (0.5, 1.5)))
    found = clips.load(wanted, jobs=1)
    assert [len(samples) for samples in found if not isinstance(samples, AudioError)] == [
        RATE if recording.path.name == "other.wav" else RATE // 2 for recording, _ in wanted
    ]
    assert passes == ["long.wav", "other.wav"]


def test_a_report_reads_the_events_of_one_file_in_one_pass(tmp_path: Path, passes: list[str]) -> None:
    recording, _ = long_file(tmp_path)
    events = [Recording(recording.path.name, "owl", "g", start_s=s, end_s=s + 0.5) for s in range(0, 30, 2)]
    shown = save_excerpts(events, tmp_path, spectrogram.SPEC, folder=tmp_path, jobs=1)
    assert [samples is not None and len(samples) for samples in shown] == [SAMPLE_RATE] * 15  # a second at least
    assert passes == ["long.wav"]
    assert {samples.own_rate for samples in shown if samples is not None} == {RATE}


def test_decoding_ends_with_the_last_stretch() -> None:
    class Endless(MonoFile):
        def blocks(self) -> Generator[Array, None, None]:
            for number in range(1_000):
                assert number < 6
                yield np.full(RATE, number, np.float32)

    later, sooner = clips.read(Endless(Path("x"), RATE), [(4.5, 5.5), (0.5, 1.5)])
    assert later.tolist() == [4.0] * (RATE // 2) + [5.0] * (RATE // 2)
    assert sooner.tolist() == [0.0] * (RATE // 2) + [1.0] * (RATE // 2)


# -------------------------------------------------------------------------------------------------------------- memory


@pytest.mark.parametrize("start_s", [0.0, 3_599.0])
def test_samples_between_stretches_take_no_memory(start_s: float) -> None:
    class Hour(MonoFile):
        def blocks(self) -> Generator[Array, None, None]:
            for second in range(3_600):
                yield np.full(RATE, second, np.float32)

    tracemalloc.start()
    try:
        found, last = clips.read(Hour(Path("x"), RATE), [(start_s, start_s + 0.5), (3_599.5, 3_600.0)])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (set(found.tolist()), set(last.tolist())) == ({start_s}, {3_599.0})
    assert peak < 10 * 4 * RATE  # some blocks; an hour has 3,600


# -------------------------------------------------------------------------------------------------------------- faults


def test_an_unreadable_file_affects_only_its_own_stretches(tmp_path: Path) -> None:
    recording, samples = long_file(tmp_path)
    missing = MonoFile(tmp_path / "missing.wav", RATE)
    lost, found, also = clips.load([(missing, (0, 1)), (recording, (1, 2)), (missing, (2, 3))], jobs=2)
    assert isinstance(lost, AudioError) and isinstance(also, AudioError) and not isinstance(found, AudioError)
    assert (lost.code, also.code) == ("missing", "missing")
    np.testing.assert_allclose(found, of(samples, 1, 2), rtol=0, atol=1e-7)


def test_stretches_before_a_decoding_error_are_returned(tmp_path: Path) -> None:
    samples = sounds.noise(30, RATE)
    samples[25 * RATE] = np.nan
    soundfile.write(tmp_path / "x.wav", samples, RATE, subtype="FLOAT")
    recording = MonoFile(tmp_path / "x.wav", RATE)
    before, beyond = clips.load([(recording, (1, 2)), (recording, (24.5, 26))], jobs=1)
    np.testing.assert_array_equal(before, of(samples, 1, 2))
    assert isinstance(beyond, AudioError) and beyond.code == "not_finite"


def test_a_recording_is_unusable_if_all_its_clips_are_silent_or_one_has_an_error() -> None:
    loud, zeros, beyond = (SavedClip(Path("x"), 0, n, silent) for n, silent in ((9, False), (9, True), (0, True)))
    broken = AudioError("decode_error", "broken")
    assert clips.find_error([zeros, loud, beyond]) is None
    assert clips.find_error([loud, broken]) is broken
    for silent, detail in (
        ([beyond, zeros], "holds nothing but zeros"),
        ([beyond], "ends before the requested stretch"),
    ):
        error = clips.find_error(silent)
        assert error is not None and (error.code, error.detail) == ("silent", detail)


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    recording, _ = long_file(tmp_path)
    (tmp_path / "kept" / "0.f32").mkdir(parents=True)
    with pytest.raises(OutputError, match=r"0\.f32: cannot be written \(Is a directory\)"):
        list(clips.save([(recording, (0, 1))], folder=tmp_path / "kept", jobs=1))
