"""The status of every recording, and a store whose bytes depend on nothing but content and settings."""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import soundfile
import sounds

from audiocnn import config, files
from audiocnn.audio import workers
from audiocnn.audio.silence import SilenceDetector
from audiocnn.config import Project
from audiocnn.dataset import manifest
from audiocnn.dataset.manifest import Recording
from audiocnn.errors import IntegrityError
from audiocnn.features import analyze, build_store, extract, frontend, store
from audiocnn.features.analyze import RecordingStatus
from audiocnn.features.store import FeatureStore
from audiocnn.progress import Progress
from audiocnn.specs import DELTA_WIDTH, DataSpec, Experiment, FeatureSpec
from audiocnn.stages import featurize

PRESETS = {name: config.read_preset(name).features for name in config.PRESETS}
INSTRUMENT, SPECTROGRAM = PRESETS["instrument"], PRESETS["spectrogram"]
RATE = sounds.RATE


def with_fields(spec: FeatureSpec, **fields: object) -> FeatureSpec:
    return FeatureSpec.model_validate({**spec.model_dump(), **fields})


def wav(path: Path, samples: np.ndarray, rate: int = RATE, subtype: str = "FLOAT") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, format="WAV", subtype=subtype)
    return path


def analyze_file(path: Path, spec: FeatureSpec = INSTRUMENT) -> tuple[RecordingStatus, extract.Array]:
    """The status and the frames of a recording, computed with a temporary store."""
    with tempfile.TemporaryDirectory() as folder:
        features = FeatureStore(Path(folder), spec, durable=False)
        status, computed = build_store.featurize_file(path, None, features, frontend.make(spec))
        assert computed
        assert features.read_status(status.sha256) == (None if status.status == "unreadable" else status)
        return status, read_back(features, status)


def read_back(features: FeatureStore, status: RecordingStatus) -> extract.Array:
    frames = features.frames(status)
    return frames[:] if len(frames) else np.zeros((0, features.spec.n_bins, len(features.spec.channels)), np.float32)


def put(features: FeatureStore, status: RecordingStatus, frames: extract.Array) -> None:
    with features.writer(status.sha256) as writer:
        for first in range(0, len(frames), 7):
            writer.append(frames[first : first + 7])
        writer.finish(status)


# Statuses


@pytest.mark.parametrize("preset", PRESETS)
def test_a_good_recording_is_ok_and_its_frames_are_those_of_its_samples(preset, tmp_path):
    spec, rate = PRESETS[preset], PRESETS[preset].sample_rate
    samples = np.stack([sounds.chirp(100, 7_000, 3, rate), sounds.noise(3, rate)], axis=1)
    status, frames = analyze_file(wav(tmp_path / "x.wav", samples, rate=rate), spec)
    mixed = samples.mean(axis=1, dtype=np.float32)
    expected = np.concatenate(list(extract.compute_frames([mixed], spec=spec, frontend=frontend.make(spec))))
    np.testing.assert_allclose(frames, expected, rtol=0, atol=1e-4)
    assert (status.status, status.codes, status.detail) == ("ok", (), "")
    assert status.sha256 == files.sha256_of(tmp_path / "x.wav")
    assert (status.duration_s, status.sample_rate, status.n_channels) == (3, rate, 2)
    assert status.n_frames == len(frames) == 1 + len(samples) // spec.hop_length


def test_only_the_channel_of_the_spec_is_decoded(tmp_path):
    file = wav(tmp_path / "x.wav", np.stack([sounds.silence(1), sounds.noise(1)], axis=1))
    assert analyze_file(file, with_fields(INSTRUMENT, channel=0))[0].status == "silent"
    assert analyze_file(file, with_fields(INSTRUMENT, channel=1))[0].status == "ok"
    assert analyze_file(file, with_fields(INSTRUMENT, channel=2))[0].codes == ("channels",)


@pytest.mark.parametrize("tail", ["drop", "cover"])
@pytest.mark.parametrize(("window", "hop"), [(9, 8), (9, 4), (9, 20)])
def test_the_seconds_analysed_are_those_that_some_window_covers(window, hop, tail, tmp_path):
    spec = with_fields(INSTRUMENT, window_frames=window, hop_frames=hop, tail=tail)
    for n in (1_600, 1_601, 3_000, 16_123):
        status, frames = analyze_file(wav(tmp_path / "x.wav", sounds.noise(n / RATE)), spec)
        covered = np.zeros(n, bool)
        for start in extract.window_starts(len(frames), spec):
            covered[start * spec.hop_length : (start + window - 1) * spec.hop_length] = True
        assert status.analysed_s == pytest.approx(covered.sum() / RATE)


def test_a_short_recording_is_used_with_a_warning_and_makes_one_window(tmp_path):
    status, frames = analyze_file(wav(tmp_path / "x.wav", sounds.noise(0.04)))
    assert (status.status, status.codes) == ("ok", ("short",))
    assert "0.04 s, shorter than one window (0.1 s)" in status.detail
    assert len(frames) == INSTRUMENT.window_frames
    assert status.analysed_s == status.duration_s == pytest.approx(0.04)
    whole, _ = analyze_file(wav(tmp_path / "x.wav", sounds.noise(0.1)))
    assert whole.codes == ()


def test_warnings_of_the_decoder_are_kept(tmp_path):
    file = wav(tmp_path / "x.wav", np.clip(sounds.tone(440, 1, amplitude=3), -1, 1))
    file.write_bytes(file.read_bytes()[:-400])
    assert analyze_file(file)[0].codes == ("truncated", "length_mismatch", "clipped")


def test_too_few_samples_to_resample_are_no_samples(tmp_path):
    status, frames = analyze_file(wav(tmp_path / "x.wav", sounds.noise(1)[:1], 192_000))
    assert (status.status, status.codes, len(frames)) == ("unreadable", ("no_samples",), 0)


@pytest.mark.usefixtures("in_time")
def test_an_unreadable_recording_has_a_status_with_its_hash_if_there_is_a_file(tmp_path):
    (tmp_path / "text.wav").write_text("no sound")
    os.mkfifo(tmp_path / "pipe.wav")
    for name, code in {"text.wav": "not_audio", "pipe.wav": "not_a_file", "none.wav": "missing"}.items():
        status, frames = analyze_file(tmp_path / name)
        assert (status.status, status.codes, len(frames)) == ("unreadable", (code,), 0)
        assert status.detail
        assert status.sha256 == (files.sha256_of(tmp_path / name) if name == "text.wav" else "")


def test_a_disk_that_fails_costs_one_recording(tmp_path, monkeypatch):
    def fail(*_: object, **__: object) -> str:
        raise OSError(5, "Input/output error")

    file = wav(tmp_path / "x.wav", sounds.noise(1))
    for module, name, said in [
        (workers, "sha256_of", "could not be read"),
        (analyze, "Decoder", "Input/output error"),
    ]:
        with monkeypatch.context() as patch:
            patch.setattr(module, name, fail)
            status, _ = analyze_file(file)
        assert (status.status, status.codes) == ("unreadable", ("unreadable",))
        assert said in status.detail
    assert analyze_file(file)[0].status == "ok"


@pytest.mark.parametrize("replaced", ["appended", "same size"])
def test_a_recording_that_is_written_to_while_it_is_read_is_not_used(replaced, tmp_path, monkeypatch):
    file = wav(tmp_path / "x.wav", sounds.noise(1))

    class Meddling(analyze.Decoder):
        def __exit__(self, *of: object) -> None:
            super().__exit__(*of)
            content = file.read_bytes()
            file.write_bytes(content + b"more" if replaced == "appended" else content[:-4] + bytes(4))
            os.utime(file, ns=(0, 1))

    features = FeatureStore(tmp_path / "features", INSTRUMENT)
    with monkeypatch.context() as patch:
        patch.setattr(analyze, "Decoder", Meddling)
        status, _ = build_store.featurize_file(file, None, features, frontend.make(INSTRUMENT))
    assert (status.status, status.codes) == ("unreadable", ("changed",))
    assert contents(features.folder) == {}
    again, _ = build_store.featurize_file(file, None, features, frontend.make(INSTRUMENT))
    assert again.status == "ok"
    assert contents(features.folder).keys() == {f"{again.sha256[:2]}/{again.sha256}.safetensors"}


def test_a_recording_whose_sha256_differs_from_the_manifest_is_unusable(tmp_path):
    file = wav(tmp_path / "x.wav", sounds.noise(1))
    features = FeatureStore(tmp_path / "features", INSTRUMENT)
    status, _ = build_store.featurize_file(file, "0" * 64, features, frontend.make(INSTRUMENT))
    assert (status.status, status.codes, status.sha256) == ("unreadable", ("changed",), files.sha256_of(file))
    assert contents(features.folder) == {}
    status, _ = build_store.featurize_file(file, files.sha256_of(file), features, frontend.make(INSTRUMENT))
    assert status.status == "ok"


# Silence


@pytest.mark.parametrize("rate", [RATE, 44_100])
def test_a_recording_is_silent_if_it_never_exceeds_the_floor(rate, tmp_path):
    for floor_db in (-60.0, -20.0):
        spec = with_fields(INSTRUMENT, silence_dbfs=floor_db)
        for offset_db, expected_status in {-0.1: "silent", 0.1: "ok"}.items():
            samples = sounds.tone(400, 1, rate, amplitude=10 ** ((floor_db + offset_db) / 20))
            status, frames = analyze_file(wav(tmp_path / "x.wav", samples, rate), spec)
            assert status.status == expected_status
            assert (len(frames) > 0) == (expected_status == "ok")


def test_zeros_are_silent_and_nothing_of_them_is_analysed(tmp_path):
    status, frames = analyze_file(wav(tmp_path / "x.wav", sounds.silence(2)))
    assert (status.status, status.codes) == ("silent", ("silent", "all_zero"))
    assert (status.analysed_s, status.n_frames, len(frames)) == (0, 0, 0)
    assert status.duration_s == 2


@pytest.mark.parametrize("channel", ["mix", "each", 0])
def test_all_zero_is_what_holds_no_other_sample_in_any_channel(channel, tmp_path):
    spec = with_fields(INSTRUMENT, channel=channel)
    samples = np.zeros((RATE, 2), np.float32)
    assert analyze_file(wav(tmp_path / "x.wav", samples), spec)[0].codes == ("silent", "all_zero")
    samples[9, 1] = 1e-9
    assert analyze_file(wav(tmp_path / "x.wav", samples), spec)[0].codes == ("silent", "dead_channel")
    samples[9, 0] = 2e-9
    assert analyze_file(wav(tmp_path / "x.wav", samples), spec)[0].codes == ("silent",)


def constant(value: float, seconds: float = 3, rate: int = RATE) -> np.ndarray:
    return np.full(round(seconds * rate), value, np.float32)


SILENT = {  # name: samples, options of the file, what the detail says
    "a constant": (constant(0.3), {}, "every sample is 0.3"),
    "a negative constant": (constant(-0.7), {"subtype": "FLOAT"}, "every sample is -0.7"),
    "a constant for each channel": (
        np.stack([constant(0.3), constant(-0.1)], axis=1),
        {},
        "every sample is -0.1 or 0.3",
    ),
    "an ADC that is stuck at full scale": (constant(1), {}, "every sample is 1"),
    "a constant with a flickering last bit": (constant(0.3) + 2**-15 * (sounds.noise(3) > 0), {}, "an offset of 0.3"),
    "an offset with noise": (constant(0.3) + sounds.noise(3, level=1e-4), {"subtype": "PCM_24"}, "an offset of 0.3"),
    "dithered digital silence": (2**-15 * sounds.noise(3, level=1.0), {}, "peak -"),
    "dither of 8 bits": (np.sign(sounds.noise(3)) / 128, {"subtype": "PCM_U8"}, "a converter without a signal"),
    "dither of 8 bits kept with 16": (np.sign(sounds.noise(3)) / 128, {}, "a converter without a signal"),
    "a sound below the band": (sounds.tone(3, 3, amplitude=0.01), {}, "at other frequencies"),
    "a sound above the band": (sounds.tone(20_000, 3, 48_000), {"rate": 48_000}, "peak -6 dBFS, at other frequencies"),
}


@pytest.mark.parametrize("rate", [16_000, 22_050])
@pytest.mark.parametrize("channel", ["mix", "each"])
@pytest.mark.parametrize("name", SILENT)
def test_silence_is_decided_in_the_analysed_band_without_the_mean(name, channel, rate, tmp_path):
    samples, options, detail = SILENT[name]
    options = {"rate": rate, **options}
    spec = with_fields(INSTRUMENT, channel=channel)
    status, frames = analyze_file(wav(tmp_path / "x.wav", samples, options.pop("rate"), **options), spec)
    assert (status.status, status.codes[0], len(frames)) == ("silent", "silent", 0)
    assert detail in status.detail
    assert ("constant" in status.codes) == detail.startswith("every sample")


def test_a_dead_channel_is_named_where_another_one_sounds(tmp_path):
    file = wav(tmp_path / "x.wav", np.stack([constant(0.1, 1), sounds.tone(440, 1)], axis=1))
    status, _ = analyze_file(file, with_fields(INSTRUMENT, channel=0))
    assert status.status == "silent" and "another one does; set features.channel" in status.detail
    assert analyze_file(file, with_fields(INSTRUMENT, channel=1))[0].status == "ok"


@pytest.mark.parametrize("block", [100, 65_536])
def test_silence_does_not_depend_on_the_size_of_the_blocks(block):
    samples = constant(0.3, 5)
    samples[70_001] += 0.01
    detector = SilenceDetector(INSTRUMENT, RATE)
    for first in range(0, len(samples), block):
        detector.add(samples[first : first + block])
    detector.finish()
    assert detector.first_s == pytest.approx(70_001 / RATE, abs=INSTRUMENT.n_fft / RATE / 2)


def test_a_recording_shorter_than_one_analysis_frame_is_silent_as_too_short(tmp_path):
    for n, expected in ((INSTRUMENT.n_fft - 1, "silent"), (INSTRUMENT.n_fft, "ok")):
        status, frames = analyze_file(wav(tmp_path / "x.wav", sounds.noise(1)[:n]))
        assert status.status == expected and bool(len(frames)) == (expected == "ok")
        assert ("too_short" in status.codes) == (expected == "silent")
    assert status.codes == ("short",)
    assert analyze_file(wav(tmp_path / "x.wav", sounds.silence(0.01)))[0].codes == ("too_short", "silent", "all_zero")


def test_channels_that_cancel_are_named_with_the_remedy_and_each_alone_is_heard(tmp_path):
    tone = sounds.tone(440, 1)
    file = wav(tmp_path / "x.wav", np.stack([tone, -tone], axis=1))
    status, _ = analyze_file(file)
    assert (status.status, status.codes) == ("silent", ("silent", "channels_cancel"))
    assert "features.channel: 0" in status.detail
    for channel in (0, "each"):
        assert analyze_file(file, with_fields(INSTRUMENT, channel=channel))[0].status == "ok"


def test_integers_kept_as_floats_give_the_frames_of_the_integers(tmp_path):
    integers = np.rint(sounds.noise(2, level=0.1) * 2**15)
    _, expected = analyze_file(wav(tmp_path / "a.wav", integers / 2**15))
    status, frames = analyze_file(wav(tmp_path / "b.wav", integers, subtype="FLOAT"))
    assert (status.status, status.codes) == ("ok", ("scale",)) and "integers" in status.detail
    np.testing.assert_array_equal(frames, expected)


def test_only_the_part_that_windows_cover_decides_on_silence(tmp_path):
    late = sounds.silence(1.4)
    late[round(1.1 * RATE) :] = sounds.tone(440, 0.3)
    early = late[::-1].copy()
    assert analyze_file(wav(tmp_path / "x.wav", late), SPECTROGRAM)[0].status == "silent"
    assert analyze_file(wav(tmp_path / "x.wav", late), with_fields(SPECTROGRAM, tail="cover"))[0].status == "ok"
    assert analyze_file(wav(tmp_path / "x.wav", early), SPECTROGRAM)[0].status == "ok"


def test_a_click_is_not_silence_wherever_it_is(tmp_path):
    spec = with_fields(INSTRUMENT, tail="cover")
    samples = sounds.silence(5.005)  # the last hop is not a whole one, and the blocks that are read are no whole hops
    # Not within the first and the last milliseconds, where the taper of the frames hides it.
    for at in (99, 199, 200, 12_345, 65_399, 65_400, 65_535, 65_536, 79_800, 79_950, len(samples) - 99):
        samples[:] = 0
        samples[at] = 0.01
        assert analyze_file(wav(tmp_path / "x.wav", samples), spec)[0].status == "ok", at


# In worker processes


def test_workers_compute_the_same_statuses_and_frames_as_this_process(tmp_path):
    paths = [wav(tmp_path / f"{i}.wav", sounds.noise(0.05 + 0.3 * i, seed=i)) for i in range(6)]
    paths += [wav(tmp_path / "zeros.wav", sounds.silence(1)), tmp_path / "missing.wav"]
    found = build_store.analyze_files(paths, spec=INSTRUMENT, frontend=frontend.make(INSTRUMENT), jobs=2)
    statuses = {}
    for index, status, frames in found:
        statuses[index], expected = analyze_file(paths[index])
        assert status == statuses[index]
        assert len(frames) == len(expected)
        np.testing.assert_array_equal(frames[:] if len(frames) else expected, expected)
    assert len(statuses) == len(paths)


def test_temporary_files_of_workers_are_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    paths = [wav(tmp_path / f"{i}.wav", sounds.noise(0.3, seed=i)) for i in range(3)]
    for _ in build_store.analyze_files(paths, spec=INSTRUMENT, frontend=frontend.make(INSTRUMENT), jobs=1):
        kept = {path.name for path in (tmp_path / "scratch").rglob("*.safetensors")}
        assert kept
    assert list((tmp_path / "scratch").iterdir()) == []


# Memory


GROWTH = """
import resource, sys
from pathlib import Path
from audiocnn import config
from audiocnn.features import frontend, build_store
from audiocnn.features.store import FeatureStore

spec = config.read_preset(sys.argv[1]).features
store = FeatureStore(Path(sys.argv[2]), spec, durable=False)
peaks = []
for file in sys.argv[3:]:
    status, _ = build_store.featurize_file(Path(file), None, store, frontend.make(spec))
    assert status.status == "ok"
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)  # KiB, but bytes on macOS
print((peaks[-1] - peaks[0]) / (1024 if sys.platform == "darwin" else 1), store.file(status.sha256).stat().st_size)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs resource")
@pytest.mark.parametrize("preset", PRESETS)
def test_memory_does_not_grow_with_the_length_of_a_recording(preset, tmp_path):
    paths = []
    rate = PRESETS[preset].sample_rate // 16
    for seconds in (60, 450):  # of 16-bit samples: 0.9 or 1.8 MB, but 29 or 58 MB at the preset's rate
        path = tmp_path / f"{seconds}.wav"
        soundfile.write(path, np.resize(sounds.noise(60, rate), seconds * rate), rate, subtype="PCM_16")
        paths.append(str(path))
    script = [sys.executable, "-c", GROWTH, preset, str(tmp_path / "features"), *paths]
    grown_kib, size = map(float, subprocess.run(script, capture_output=True, text=True, check=True).stdout.split())
    assert size > 1e6
    assert grown_kib < 16_000


@pytest.mark.parametrize("preset", PRESETS)
def test_stored_frames_equal_the_computed_frames(preset, tmp_path):
    spec = PRESETS[preset]
    file = wav(tmp_path / "x.wav", np.stack([sounds.noise(12, 22_050), sounds.noise(12, 22_050, seed=1)], 1), 22_050)
    decoded: list[extract.Array] = []
    status = analyze.analyze(file, spec=spec, frontend=frontend.make(spec), keep=decoded.append)
    assert max(map(len, decoded)) <= extract.BLOCK_FRAMES + DELTA_WIDTH
    stored, frames = analyze_file(file, spec)
    assert stored == replace(status, sha256=files.sha256_of(file))
    assert frames.tobytes() == np.concatenate(decoded).tobytes()


# Tracks side by side, and half the digits


@pytest.mark.parametrize("preset", PRESETS)
def test_tracks_of_channel_each_equal_the_channels_decoded_alone(preset, tmp_path):
    rate = 48_000  # so that there is sound in the band of every preset
    channels = [sounds.chirp(100, 20_000, 3, rate), sounds.noise(3, rate)]
    channels.append(sounds.tone(300, 3, rate) + sounds.tone(12_000, 3, rate))
    file = wav(tmp_path / "x.wav", np.stack(channels, axis=1), rate)
    status, side_by_side = analyze_file(file, with_fields(PRESETS[preset], channel="each"))
    assert len(side_by_side) == status.n_frames * 3
    for k in range(3):
        alone_account, alone = analyze_file(file, with_fields(PRESETS[preset], channel=k))
        np.testing.assert_array_equal(side_by_side[k::3], alone)
        assert status == alone_account


def test_tracks_that_are_resampled_side_by_side_are_those_of_each_channel_alone(tmp_path):
    file = wav(tmp_path / "x.wav", np.stack([sounds.noise(3, 44_100, seed=k) for k in range(2)], axis=1), 44_100)
    _, side_by_side = analyze_file(file, with_fields(INSTRUMENT, channel="each"))
    for k in range(2):
        _, alone = analyze_file(file, with_fields(INSTRUMENT, channel=k))
        np.testing.assert_allclose(side_by_side[k::2], alone, rtol=0, atol=1e-3)


def test_one_loud_track_is_enough_and_one_track_is_that_of_the_mix(tmp_path):
    spec = with_fields(INSTRUMENT, channel="each")
    status, frames = analyze_file(wav(tmp_path / "x.wav", np.stack([sounds.silence(1), sounds.noise(1)], axis=1)), spec)
    assert (status.status, status.codes, len(frames)) == ("ok", ("dead_channel",), 2 * status.n_frames)
    short, frames = analyze_file(wav(tmp_path / "x.wav", np.stack([sounds.noise(0.04)] * 2, axis=1)), spec)
    assert (short.codes, len(frames)) == (("short",), 2 * INSTRUMENT.window_frames)
    mono = wav(tmp_path / "x.wav", sounds.noise(1))
    np.testing.assert_array_equal(analyze_file(mono, spec)[1], analyze_file(mono)[1])


@pytest.mark.parametrize("preset", PRESETS)
def test_float16_takes_half_the_place_and_holds_the_values_of_float32_rounded(preset, tmp_path):
    full, half = PRESETS[preset], with_fields(PRESETS[preset], dtype="float16")
    file = wav(tmp_path / "x.wav", sounds.chirp(50, 7_900, 4) * np.linspace(0, 1, 4 * RATE, dtype=np.float32))
    sizes, frames = {}, {}
    for spec in (full, half):
        features = FeatureStore(tmp_path / "features", spec)
        status, _ = build_store.featurize_file(file, None, features, frontend.make(spec))
        features.check(status.sha256)
        assert features.read_status(status.sha256) == status
        sizes[spec.dtype] = features.file(status.sha256).stat().st_size - 2_048  # its header
        frames[spec.dtype] = features.frames(status)[:]
    assert sizes["float16"] * 2 == sizes["float32"]
    assert frames["float16"].dtype == np.float16
    assert frames["float16"].tobytes() == frames["float32"].astype(np.float16).tobytes()
    starts = extract.window_starts(len(frames["float16"]), half)
    windows = extract.cut_windows(frames["float16"], starts, half)
    assert windows.dtype == np.float32
    np.testing.assert_array_equal(windows, extract.cut_windows(frames["float16"].astype(np.float32), starts, full))


# The store


@pytest.fixture
def kept(tmp_path) -> tuple[FeatureStore, RecordingStatus, extract.Array]:
    """A store with one recording in it."""
    status, frames = analyze_file(wav(tmp_path / "x.wav", sounds.noise(0.3)))
    features = FeatureStore(tmp_path / "features", INSTRUMENT)
    put(features, status, frames)
    return features, status, frames


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, but for locks."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def test_what_is_put_into_the_store_comes_back_to_the_last_bit(kept):
    features, status, frames = kept
    odd = frames.copy()
    odd.flat[:4] = [np.float32(1e-45), np.finfo(np.float32).max, -0.0, np.float32(1 / 3)]
    status = replace(status, duration_s=1 / 3, analysed_s=0.1 + 0.2, codes=("short", "clipped"), detail="ünï, \"x'\n")
    put(features, status, odd)
    assert features.read_status(status.sha256) == status
    features.check(status.sha256)
    stored = features.frames(status)
    assert len(stored) == len(odd)
    assert stored[:].tobytes() == odd.tobytes()
    for first, last in [(0, 0), (0, 1), (3, 11), (20, 10_000)]:
        np.testing.assert_array_equal(stored[first:last], odd[first:last])
    np.testing.assert_array_equal(safetensors.numpy.load_file(features.file(status.sha256))["frames"], odd)


def test_frames_are_whole_where_a_read_gives_less_than_was_asked_for(kept, short_reads):
    features, status, frames = kept
    short_reads(store)
    np.testing.assert_array_equal(features.frames(status)[:], frames)


def test_what_was_not_finished_is_not_in_the_store_and_what_was_there_stays(kept):
    features, status, frames = kept
    before = contents(features.folder)

    def break_off(sha256: str) -> None:
        with features.writer(sha256) as writer:
            writer.append(2 * frames)
            raise RuntimeError("in the middle")

    for sha256 in ("0" * 64, status.sha256):
        with features.writer(sha256) as writer:
            writer.append(2 * frames)
        with pytest.raises(RuntimeError, match="in the middle"):
            break_off(sha256)
    assert contents(features.folder) == before


def test_a_silent_recording_is_kept_without_frames(tmp_path):
    status, frames = analyze_file(wav(tmp_path / "x.wav", sounds.silence(1)))
    features = FeatureStore(tmp_path / "features", INSTRUMENT)
    put(features, status, sounds.noise(1)[: 13 * 500].reshape(-1, 13, 1))  # decoded before it was known to be silent
    assert features.read_status(status.sha256) == status
    assert len(features.frames(status)) == len(frames) == 0
    assert safetensors.numpy.load_file(features.file(status.sha256))["frames"].shape == (0, 13, 1)
    store.check_file(features.file(status.sha256))


def test_a_recording_that_was_never_put_is_not_in_the_store(kept):
    features, _, _ = kept
    assert features.read_status("0" * 64) is None
    with pytest.raises(IntegrityError):
        features.check("0" * 64)


@pytest.mark.slow
def test_no_flipped_bit_anywhere_in_a_file_of_the_store_goes_unnoticed(kept):
    features, status, _ = kept
    file = features.file(status.sha256)
    good = file.read_bytes()
    store.check_file(file)
    rng = np.random.default_rng(0)
    header = int.from_bytes(good[:8], "little") + 8
    for at in [*range(header), *rng.integers(header, len(good), 50)]:
        bad = bytearray(good)
        bad[at] ^= 1 << rng.integers(8)
        file.write_bytes(bad)
        for check in (lambda: store.check_file(file), lambda: features.check(status.sha256)):
            with pytest.raises(IntegrityError, match=r"damaged.*run 'audiocnn featurize' again"):
                check()
        if at < header:
            assert features.read_status(status.sha256) in (None, status)


@pytest.mark.parametrize("kept_part", [0, 0.01, 0.5, 0.99])
def test_a_file_that_was_cut_is_found(kept, kept_part):
    features, status, _ = kept
    file = features.file(status.sha256)
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * kept_part)])
    assert features.read_status(status.sha256) is None
    with pytest.raises(IntegrityError):
        features.check(status.sha256)
    with pytest.raises(IntegrityError):
        store.check_file(file)


def test_frames_that_were_given_another_shape_are_found(kept):
    features, status, frames = kept
    file = features.file(status.sha256)
    with safetensors.safe_open(file, framework="numpy") as content:
        header = content.metadata()
    safetensors.numpy.save_file({"frames": frames.transpose(0, 2, 1).reshape(len(frames), 1, -1)}, file, header)
    with pytest.raises(IntegrityError):
        features.check(status.sha256)


def test_the_frames_of_another_recording_under_this_one_s_name_are_found(kept):
    features, status, _ = kept
    other = features.file("ab" * 32)
    other.parent.mkdir(exist_ok=True)
    shutil.copy(features.file(status.sha256), other)
    assert features.read_status("ab" * 32) is None
    with pytest.raises(IntegrityError, match="another recording"):
        features.check("ab" * 32)
    with pytest.raises(IntegrityError, match="another recording"):
        store.check_file(other)


def test_every_setting_that_can_change_a_number_has_a_store_of_its_own(tmp_path):
    changes = [
        {"sample_rate": 22_050}, {"channel": 0}, {"n_fft": 1_024}, {"hop_length": 100}, {"n_mels": 40}, {"n_mfcc": 20},
        {"fmin": 50.0}, {"fmax": 7_000.0}, {"channels": ("static", "delta")}, {"window_frames": 10}, {"hop_frames": 9},
        {"axes": "frames_bins"}, {"tail": "cover"}, {"silence_dbfs": -50.0}, {"kind": "logmel", "n_mfcc": None},
        {"dtype": "float16"}, {"quiet_db": 25.0}, {"copies": [{"speed": [0.9, 1.1]}]},
    ]  # fmt: skip
    assert {field for change in changes for field in change} == set(FeatureSpec.model_fields)
    folders = {FeatureStore(tmp_path, with_fields(INSTRUMENT, **change)).folder for change in [{}, *changes]}
    assert len(folders) == 1 + len(changes)
    assert FeatureStore(tmp_path, with_fields(INSTRUMENT)).folder in folders


# Featurize: the same bytes whatever the order, the number of workers, and the place


def project(folder: Path, recordings: dict[str, Path], spec: FeatureSpec = INSTRUMENT) -> Project:
    """A project in this folder on copies of these files."""
    for name, source in recordings.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, folder / name)
    listed = [Recording(path=name, label=name.split("/")[0], group=name) for name in recordings]
    manifest.write(folder / "manifest.csv", listed)
    preset = config.read_preset("instrument").model_copy(update={"features": spec})
    experiment = Experiment(
        **{field: getattr(preset, field) for field in type(preset).model_fields},
        name="x", data=DataSpec(manifest="manifest.csv", root="."),
    )  # fmt: skip
    return Project(folder / "audiocnn.yaml", experiment)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> dict[str, Path]:
    """Good, short, silent, broken and repeated recordings by the name they are to have."""
    folder = tmp_path_factory.mktemp("recordings")
    made = {f"a/{i}.wav": wav(folder / f"{i}.wav", sounds.noise(0.3 + 0.2 * i, seed=i)) for i in range(8)}
    made["b/again.wav"] = made["b/and again.wav"] = made["a/3.wav"]
    made["b/short.wav"] = wav(folder / "short.wav", sounds.noise(0.03))
    made["b/zeros.wav"] = wav(folder / "zeros.wav", sounds.silence(1))
    made["b/text.wav"] = folder / "text.wav"
    made["b/text.wav"].write_text("no sound")
    return made


@pytest.mark.slow
def test_the_store_is_the_same_for_any_order_number_of_workers_and_place(recordings, tmp_path):
    names = list(recordings)
    runs = []
    for number, (order, jobs) in enumerate([(names, 1), (names[::-1], 2)]):
        place = project(tmp_path / f"{number}", {name: recordings[name] for name in order})
        featurize.run(place, jobs=jobs, progress=Progress())
        runs.append(contents(place.run))
    assert len([name for name in runs[0] if name.endswith(".safetensors")]) == 10
    assert runs[0] == runs[1]
    for content in runs[0].values():
        assert os.fsencode(tmp_path) not in content


def test_identical_recordings_are_computed_once_and_nothing_is_computed_again(recordings, tmp_path):
    place = project(tmp_path, recordings)
    first = featurize.run(place, jobs=1, progress=Progress())
    assert first.n_computed == len(recordings) - 2
    assert first.statuses["b/again.wav"] == first.statuses["b/and again.wav"] == first.statuses["a/3.wav"]
    before = contents(place.run)
    again = featurize.run(place, jobs=2, progress=Progress())
    assert again.n_computed == 1  # what cannot be read is never in the store, so it is tried again
    assert again.statuses == first.statuses
    assert contents(place.run) == before


def test_a_damaged_file_of_the_store_is_made_anew(recordings, tmp_path):
    place = project(tmp_path, recordings)
    first = featurize.run(place, jobs=1, progress=Progress())
    before = contents(place.run)
    features = FeatureStore(place.run / "features", INSTRUMENT)
    file = features.file(first.statuses["a/0.wav"].sha256)
    file.write_bytes(file.read_bytes()[:100])
    featurize.run(place, jobs=1, progress=Progress())
    assert contents(place.run) == before


def test_the_catalog_returns_the_statuses_that_were_written(recordings, tmp_path):
    place = project(tmp_path, recordings)
    statuses = featurize.run(place, jobs=2, progress=Progress()).statuses
    features = FeatureStore(place.run / "features", INSTRUMENT)
    assert build_store.read_catalog(features, list(statuses)) == dict(statuses)
    assert {a.status for a in statuses.values()} == {"ok", "silent", "unreadable"}


# How long it may take


def test_every_block_of_a_decoder_is_a_heartbeat(tmp_path, monkeypatch):
    spec = with_fields(INSTRUMENT, copies=[{"speed": [1.0, 1.0], "snr_db": [20.0, 20.0]}])
    features, constants, beats = FeatureStore(tmp_path / "features", spec), frontend.make(spec), {}
    for seconds in (20, 80):
        file = wav(tmp_path / f"{seconds}.flac", sounds.noise(seconds))
        monkeypatch.setattr(workers, "_shared", [0.0] * workers._COLUMNS)
        status, _ = build_store.featurize_file(file, None, features, constants)
        beats[seconds] = sum(workers._shared)
        monkeypatch.setattr(workers, "_shared", [0.0] * workers._COLUMNS)
        build_store.featurize_augmented_file(file, status.sha256, 1, features, constants)
        assert sum(workers._shared) > 1.5 * beats[seconds]  # a first pass measures the level for its noise
    assert beats[80] > 3 * beats[20] > 15
