"""Augmented versions: they follow their settings, are reproducible, and are used only in training."""

import itertools
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import sounds
from pydantic import ValidationError

from audiocnn import config, files
from audiocnn.audio import clips
from audiocnn.config import Project
from audiocnn.dataset import manifest
from audiocnn.dataset.manifest import Recording
from audiocnn.errors import ConfigError, IntegrityError
from audiocnn.features import analyze, augment, build_store, extract, frontend
from audiocnn.features.analyze import AugmentedFile
from audiocnn.features.augment import Augmentation
from audiocnn.features.store import FeatureStore
from audiocnn.features.windows import Windows, augmented_versions
from audiocnn.labels import Labels
from audiocnn.progress import Progress
from audiocnn.report import augmentation_preview
from audiocnn.specs import AugmentSpec, DataSpec, Experiment, FeatureSpec
from audiocnn.stages import featurize, verify
from audiocnn.training.dataset import prepare

INSTRUMENT = config.read_preset("instrument").features
RATE = sounds.RATE
PLAIN = Augmentation(seed=(7, 1))
EVERYTHING = {
    "speed": [0.9, 1.1], "room_s": [0.2, 0.4], "snr_db": [5, 20],
    "highpass_hz": [80, 200], "lowpass_hz": [2_000, 6_000],
}  # fmt: skip
SHA = "ab" * 32


def with_copies(*copies: dict, **fields: object) -> FeatureSpec:
    return FeatureSpec.model_validate({**INSTRUMENT.model_dump(), **fields, "copies": list(copies)})


def coloured(samples: np.ndarray, **values: float) -> np.ndarray:
    return np.concatenate(list(augment.add_room_and_filters([samples], replace(PLAIN, **values), RATE)), axis=-1)


def noisy(samples: np.ndarray, **values: float) -> np.ndarray:
    powers = augment.mean_square([samples])
    return np.concatenate(list(augment.add_noise([samples], replace(PLAIN, **values), RATE, powers)), axis=-1)


def level_db(samples: np.ndarray) -> float:
    return 10 * np.log10(np.mean(np.square(samples, dtype=np.float64)))


def wav(path: Path, samples: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, RATE, format="WAV", subtype="PCM_16")
    return path


# Valid settings


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("instrument", "1d59c2a662d5588bf506f4f7739a1cad58a36178687f7745c1c8e482d2a3a6c3"),
        ("spectrogram", "fd2d4618a05cca885f4ea555cfaa59e17370776ec232847254aea626062b319e"),
    ],
)
def test_features_without_augmented_versions_keep_their_digest(name, digest):
    spec = config.read_preset(name).features.model_copy(update={"quiet_db": None})
    assert spec.copies == ()
    assert spec.digest == digest
    assert "copies" not in spec.model_dump()


def test_a_spec_with_augmented_versions_survives_a_round_trip():
    spec = with_copies({"speed": [0.9, 1.1]}, EVERYTHING)
    assert FeatureSpec.model_validate(spec.model_dump(mode="json")) == spec
    assert FeatureSpec.model_validate_json(spec.model_dump_json()) == spec
    assert spec.model_dump(mode="json")["copies"][0] == {"speed": [0.9, 1.1]}
    assert spec.digest != INSTRUMENT.digest


@pytest.mark.parametrize(
    ("copies", "message"),
    [
        ("[{}]", "without any change; set at least one of speed, room_s, highpass_hz, lowpass_hz, snr_db"),
        ("[{speed: [1.1, 0.9]}]", "speed [1.1, 0.9]: the lower value comes first"),
        ("[{speed: [0.1, 1.0]}]", "features.copies.0.speed.0: 0.1: should be greater than or equal to 0.5"),
        ("[{snr_db: [10, 100]}]", "less than or equal to 80"),
        ("[{room_s: [0, 1]}]", "greater than or equal to 0.05"),
        ("[{room_s: 0.5}]", "features.copies.0.room_s: 0.5: should be a list"),
        (
            "[{lowpass_hz: [2000, 8000]}]",
            "augmented version 1: lowpass_hz up to 8000 must be below sample_rate / 2 (8000",
        ),
        ("[{highpass_hz: [50, 900], lowpass_hz: [900, 2000]}]", "may leave no frequencies"),
        ("[{speeed: [0.9, 1.1]}]", "features.copies.0.speeed: [0.9, 1.1]: unknown key; did you mean 'speed'?"),
        (str([{"speed": [1.0, 1.1]}] * 17), "at most 16"),
    ],
)
def test_invalid_settings_of_augmented_versions_are_refused_with_the_reason(copies, message, tmp_path):
    text = config.preset_file("instrument").read_text(encoding="utf-8")
    file = tmp_path / "mine.yaml"
    file.write_text(text.replace("  copies: []", f"  copies: {copies}"), encoding="utf-8")
    with pytest.raises(ConfigError) as refused:
        config.read_preset(str(file))
    assert message in str(refused.value)
    assert "features" in str(refused.value)


# Drawing


def test_what_is_drawn_follows_from_content_and_number_and_lies_in_its_range():
    entry = AugmentSpec.model_validate(EVERYTHING)
    drawn = [augment.draw_augmentation(entry, f"{i:064x}", 1) for i in range(200)]
    for name, (low, high) in EVERYTHING.items():
        values = np.array([getattr(one, name) for one in drawn])
        assert ((values >= low) & (values <= high)).all()
        assert len(set(values)) == 200
        assert values.mean() == pytest.approx((low + high) / 2, abs=0.1 * (high - low))
    assert augment.draw_augmentation(entry, SHA, 1) == augment.draw_augmentation(entry, SHA, 1)
    assert augment.draw_augmentation(entry, SHA, 1) != augment.draw_augmentation(entry, SHA, 2)
    alone = augment.draw_augmentation(AugmentSpec.model_validate({"snr_db": EVERYTHING["snr_db"]}), SHA, 1)
    assert alone.snr_db == augment.draw_augmentation(entry, SHA, 1).snr_db
    assert (alone.speed, alone.room_s, alone.highpass_hz, alone.lowpass_hz) == (1, None, None, None)


# Samples


@pytest.mark.parametrize("snr_db", [-3, 10, 30])
@pytest.mark.parametrize("slope_db", [0.0, -1.5, -3.0103])
def test_noise_is_as_far_below_the_recording_as_was_asked(snr_db, slope_db):
    samples = sounds.chirp(200, 5_000, 5)
    noise = noisy(samples, snr_db=snr_db, slope_db=slope_db) - samples
    assert level_db(samples) - level_db(noise) == pytest.approx(snr_db, abs=0.5)


@pytest.mark.parametrize("slope_db", [0.0, -1.5, -3.0])
def test_noise_has_the_slope_that_was_drawn(slope_db):
    samples = sounds.noise(60)
    noise = noisy(samples, snr_db=0, slope_db=slope_db) - samples
    density = np.square(np.abs(np.fft.rfft(noise)))
    hz = np.fft.rfftfreq(len(noise), 1 / RATE)
    octaves = [
        10 * np.log10(density[(hz >= low) & (hz < 2 * low)].mean()) for low in (62.5, 125, 250, 500, 1_000, 2_000)
    ]
    assert np.diff(octaves).mean() == pytest.approx(slope_db, abs=0.3)


def test_each_track_has_noise_of_its_own_and_silence_has_none():
    tracks = np.stack([sounds.tone(440, 3), 0.1 * sounds.tone(440, 3), sounds.silence(3)])
    noise = noisy(tracks, snr_db=10) - tracks
    for track in range(2):
        assert level_db(tracks[track]) - level_db(noise[track]) == pytest.approx(10, abs=0.5)
    assert not noise[2].any()
    assert abs(np.corrcoef(noise[:2])[0, 1]) < 0.05


def test_filters_leave_what_is_within_and_stop_what_is_beyond_their_edges():
    def gain_db(hz: float, **edges: float) -> float:
        decoded = coloured(sounds.tone(hz, 2), **edges)
        return 20 * np.log10(sounds.amplitude(decoded[RATE // 2 : -RATE // 2]) / 0.5)

    for edge in (300, 3_000):
        for hz, sign in ((0.5, 1), (0.7, 1), (1.35, -1), (2, -1)):
            low, high = gain_db(hz * edge, lowpass_hz=edge), gain_db(hz * edge, highpass_hz=edge)
            passed, stopped = (low, high) if sign == 1 else (high, low)
            assert abs(passed) < 0.1
            assert stopped < -50
        assert gain_db(edge, lowpass_hz=edge) == pytest.approx(-6, abs=0.3)
    assert abs(gain_db(1_000, highpass_hz=300, lowpass_hz=3_000)) < 0.1


@pytest.mark.parametrize("t60_s", [0.2, 0.5, 1.2])
def test_a_room_decays_by_60_db_in_the_time_that_was_asked_for(t60_s):
    impulse = np.zeros(round(2 * t60_s * RATE), np.float32)
    impulse[0] = 1
    response = coloured(impulse, room_s=t60_s, direct_db=0)
    late = response[round(0.01 * RATE) :].astype(np.float64)
    # Backward integration: Schroeder, "New Method of Measuring Reverberation Time", JASA 37, 1965.
    decay = np.cumsum(np.square(late)[::-1])[::-1]
    db = 10 * np.log10(decay / decay[0] + 1e-12)
    fitted = (db < -5) & (db > -35)
    slope = np.polyfit(np.flatnonzero(fitted) / RATE, db[fitted], 1)[0]
    assert -60 / slope == pytest.approx(t60_s, rel=0.1)


def test_the_direct_sound_of_a_room_comes_first_and_as_loud_as_was_drawn():
    impulse = np.zeros(RATE, np.float32)
    impulse[100] = 1
    for direct_db in (0.0, 6.0):
        response = coloured(impulse, room_s=0.3, direct_db=direct_db)
        assert np.abs(response).argmax() == 100
        assert np.abs(response[:99]).max() < 1e-6
        rest = np.delete(response, 100).astype(np.float64)
        assert 10 * np.log10(response[100] ** 2 / np.square(rest).sum()) == pytest.approx(direct_db, abs=0.1)
        assert np.square(response, dtype=np.float64).sum() == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize("n_taps", [1, 2, 99, 9_001])
@pytest.mark.parametrize("n", [1, 50, 20_000, 70_001])
def test_convolution_is_that_of_numpy(n, n_taps):
    samples, kernel = sounds.noise(n / RATE), np.random.default_rng(1).standard_normal(n_taps) / np.sqrt(n_taps)
    for delay in {0, n_taps // 2, n_taps - 1}:
        found = np.concatenate(list(augment.convolve([samples], kernel, delay=delay)))
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, np.convolve(samples, kernel)[delay : delay + n], atol=1e-5)


@pytest.mark.parametrize("n_tracks", [0, 3])
def test_blocks_of_any_size_give_the_same_samples(n_tracks):
    n = 100_000
    samples = sounds.noise(n / RATE) if not n_tracks else np.stack([sounds.noise(n / RATE, seed=i) for i in range(3)])
    augmentation = augment.draw_augmentation(AugmentSpec.model_validate(EVERYTHING), SHA, 3)
    powers = augment.mean_square(augment.add_room_and_filters([samples], augmentation, RATE))
    found = []
    for cuts in ([], range(1, 300), range(0, n, 777), [5, 5, 99_999]):
        blocks = np.split(samples, list(cuts), axis=-1)
        np.testing.assert_allclose(
            augment.mean_square(augment.add_room_and_filters(blocks, augmentation, RATE)), powers, rtol=1e-9
        )
        out = augment.add_noise(augment.add_room_and_filters(blocks, augmentation, RATE), augmentation, RATE, powers)
        found.append(np.concatenate(list(out), axis=-1))
        assert found[-1].shape == samples.shape
        assert found[-1].dtype == np.float32
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], rtol=0, atol=1e-6)


def test_memory_does_not_grow_with_the_recording():
    augmentation = replace(augment.draw_augmentation(AugmentSpec.model_validate(EVERYTHING), SHA, 1), speed=1)
    waiting = 0

    def endless():
        nonlocal waiting
        for _ in itertools.count():
            waiting += 1_000
            yield np.ones(1_000, np.float32)

    decoded = augment.add_noise(
        augment.add_room_and_filters(endless(), augmentation, RATE), augmentation, RATE, np.ones(1)
    )
    for block in itertools.islice(decoded, 50):
        waiting -= len(block)
        assert waiting < 200_000  # 12 s


@pytest.mark.parametrize("speed", [0.9, 1.1, 1.04321])
def test_speed_raises_the_pitch_and_shortens_the_recording_by_its_factor(speed, tmp_path):
    file = wav(tmp_path / "x.wav", sounds.tone(1_000, 4))
    augmentation = replace(PLAIN, speed=speed)
    (decoded,) = clips.read(AugmentedFile(file, RATE, augmentation=augmentation), [(0.0, 99.0)])
    assert len(decoded) == pytest.approx(4 * RATE / speed, abs=2)
    assert sounds.pitch_hz(decoded) == pytest.approx(1_000 * speed, rel=1e-3)
    frames = []
    status = analyze.analyze(
        file, spec=INSTRUMENT, frontend=frontend.make(INSTRUMENT), keep=frames.append, augmentation=augmentation
    )
    assert status.duration_s == pytest.approx(4 / speed)
    assert status.n_frames == sum(map(len, frames)) == 1 + len(decoded) // INSTRUMENT.hop_length


def test_a_clip_of_an_augmented_file_equals_that_part_of_the_whole(tmp_path):
    file = wav(tmp_path / "x.wav", sounds.noise(4))
    augmentation = augment.draw_augmentation(AugmentSpec.model_validate(EVERYTHING), SHA, 1)
    whole, part = clips.read(AugmentedFile(file, RATE, augmentation=augmentation), [(0.0, 99.0), (1.0, 2.0)])
    assert len(whole) == pytest.approx(4 * RATE / augmentation.speed, abs=2)
    np.testing.assert_array_equal(part, whole[RATE : 2 * RATE])


# The store


COPIES = [{"speed": [0.8, 0.9]}, {"snr_db": [5, 15], "room_s": [0.1, 0.3]}, {"highpass_hz": [7_000, 7_500]}]


def project(folder: Path, spec: FeatureSpec) -> Project:
    listed = []
    for label, i in itertools.product(("high", "low"), range(3)):
        name = f"{label}/{i}.wav"
        tone = sounds.tone(300 + 40 * i if label == "low" else 2_000 + 90 * i, 1 + 0.1 * i)
        wav(folder / name, tone * np.hanning(len(tone)))  # without clicks, so that nothing of it is above 7 kHz
        listed.append(Recording(path=name, label=label, group=name))
    wav(folder / "low/zeros.wav", sounds.silence(1))
    (folder / "low/text.wav").write_text("no sound")
    shutil.copy(folder / "low/0.wav", folder / "low/again.wav")
    listed += [Recording(path=f"low/{name}.wav", label="low", group=name) for name in ("zeros", "text", "again")]
    manifest.write(folder / "manifest.csv", listed)
    preset = config.read_preset("instrument").model_copy(update={"features": spec})
    experiment = Experiment(
        **{field: getattr(preset, field) for field in type(preset).model_fields},
        name="x", data=DataSpec(manifest="manifest.csv", root="."),
    )  # fmt: skip
    return Project(folder / "audiocnn.yaml", experiment)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Project:
    made = project(tmp_path_factory.mktemp("copies"), with_copies(*COPIES))
    featurize.run(made, jobs=2, progress=Progress())
    return made


@pytest.mark.slow
def test_the_store_is_the_same_for_one_and_for_two_workers(place, tmp_path):
    here = project(tmp_path, place.experiment.features)
    featurize.run(here, jobs=1, progress=Progress())
    made = contents(here.run)
    assert made == contents(place.run)
    kept = [Path(name).name for name in made if name.endswith(".safetensors")]
    assert sum(".copy-" in name for name in kept) == 6 * len(COPIES)  # neither of silence nor of what is no sound
    assert len(kept) == 7 + 6 * len(COPIES)


@pytest.mark.slow
def test_augmented_versions_do_not_count_as_recordings_and_do_not_change_the_originals(place, tmp_path):
    here = project(tmp_path, INSTRUMENT)
    plain = featurize.run(here, jobs=1, progress=Progress())
    again = featurize.run(place, jobs=1, progress=Progress())
    assert plain.statuses == again.statuses
    assert again.n_computed == 1  # the text, as ever
    assert (here.run / "quarantine.csv").read_bytes() == (place.run / "quarantine.csv").read_bytes()
    without, with_ = (FeatureStore(p.run / "features", p.experiment.features) for p in (here, place))
    assert without.key != with_.key
    for status in plain.statuses.values():
        if status.status == "ok":
            assert without.file(status.sha256).read_bytes() == with_.file(status.sha256).read_bytes()


@pytest.mark.slow
def test_a_missing_or_damaged_augmented_version_is_computed_again_with_the_same_bytes(place):
    before = contents(place.run)
    copies = sorted(place.run.rglob("*.copy-2.safetensors"))
    copies[0].unlink()
    copies[1].write_bytes(copies[1].read_bytes()[:100])
    assert len(verify.run(place.run, progress=Progress()).damaged) == 1
    featurize.run(place, jobs=1, progress=Progress())
    assert contents(place.run) == before
    assert not verify.run(place.run, progress=Progress()).damaged


def test_an_augmented_version_under_the_name_of_another_is_detected(place, tmp_path):
    first = next(iter(sorted(place.run.rglob("*.copy-1.safetensors"))))
    store = FeatureStore(place.run / "features", place.experiment.features)
    sha256 = first.name.partition(".")[0]
    for wrong in (f"{sha256}.copy-2.safetensors", f"{sha256}.safetensors"):
        shutil.copy(first, tmp_path / wrong)
        store.folder, folder = tmp_path, store.folder
        (tmp_path / sha256[:2]).mkdir(exist_ok=True)
        shutil.move(tmp_path / wrong, tmp_path / sha256[:2] / wrong)
        copy = 2 if "copy" in wrong else 0
        assert store.read_status(sha256, copy) is None
        with pytest.raises(IntegrityError, match="another recording"):
            store.check(sha256, copy)
        store.folder = folder


def test_a_recording_that_changes_before_it_is_augmented_has_no_augmented_versions(tmp_path):
    spec = with_copies(*COPIES)
    store = FeatureStore(tmp_path / "features", spec, durable=False)
    file = wav(tmp_path / "x.wav", sounds.noise(1))
    status, _ = build_store.featurize_file(file, None, store, frontend.make(spec))
    wav(file, sounds.noise(1, seed=2))
    copy = build_store.featurize_augmented_file(file, status.sha256, 1, store, frontend.make(spec))
    assert (copy.status, copy.codes) == ("unreadable", ("changed",))
    assert not store.file(status.sha256, 1).exists()


# Training only


def test_training_windows_are_those_of_recordings_and_augmented_versions_with_one_label(place):
    task = prepare(place, max_bad_fraction=1, progress=Progress())
    plain, more = task.windows(task.recordings), task.windows(task.recordings, augmented=True)
    assert len(plain.bounds) == len(more.bounds) == len(task.recordings) + 1
    for i, recording in enumerate(task.recordings):
        own = plain[np.arange(plain.bounds[i], plain.bounds[i + 1])]
        versions = augmented_versions(task.statuses[recording.path], task.store)
        assert [number for _, number, _ in versions] == ([0, 1, 2])  # the third lets nothing through: silent
        expected = [
            extract.cut_windows(
                task.store.frames(status, n)[:],
                extract.window_starts(status.n_frames, task.store.spec),
                task.store.spec,
            )
            for status, n, _ in versions
        ]
        found = more[np.arange(more.bounds[i], more.bounds[i + 1])]
        np.testing.assert_array_equal(found, np.concatenate(expected))
        np.testing.assert_array_equal(found[: len(own)], own)
        assert len(found) > 2.9 * len(own)
        assert {task.labels[y] for y in more.y[more.bounds[i] : more.bounds[i + 1]]} == {recording.label}
    np.testing.assert_array_equal(np.concatenate(list(more.chunks())), more[np.arange(len(more))])
    assert len(more.y) == len(more) == more.bounds[-1]


def test_a_stretch_of_a_faster_version_is_shorter_by_its_speed(tmp_path):
    spec = with_copies({"speed": [1.25, 1.25]}, tail="drop", hop_frames=1, quiet_db=None)
    samples = np.concatenate([sounds.noise(2, seed=1), sounds.tone(440, 2), sounds.noise(2, seed=2)])
    file = wav(tmp_path / "x.wav", samples)
    store = FeatureStore(tmp_path / "features", spec, durable=False)
    status, _ = build_store.featurize_file(file, None, store, frontend.make(spec))
    copy = build_store.featurize_augmented_file(file, status.sha256, 1, store, frontend.make(spec))
    row = Recording("x.wav", "hum", "x", 2.0, 4.0)
    windows = Windows([row], {"x.wav": status}, Labels(("hum",)), store, augmented=True)
    of_original = len(extract.window_starts(status.n_frames, spec, (2.0, 4.0)))
    starts = extract.window_starts(copy.n_frames, spec, (1.6, 3.2))
    assert len(windows) == of_original + len(starts)
    X = windows[np.arange(of_original, len(windows))]
    np.testing.assert_array_equal(X, extract.cut_windows(store.frames(copy, 1)[:], starts, spec))
    inside = X[len(X) // 10 : -len(X) // 10]
    assert np.ptp(inside, axis=0).max() < 0.1 * np.ptp(X, axis=0).max()  # a steady tone and no noise


def test_a_version_that_ends_before_the_stretch_adds_no_windows(tmp_path):
    spec = with_copies({"speed": [2.0, 2.0]}, quiet_db=20.0)
    store = FeatureStore(tmp_path / "features", spec, durable=False)
    file = wav(tmp_path / "x.wav", sounds.noise(0.15))
    status, _ = build_store.featurize_file(file, None, store, frontend.make(spec))
    build_store.featurize_augmented_file(file, status.sha256, 1, store, frontend.make(spec))
    row = Recording("x.wav", "hiss", "x", 0.0, 0.15)
    assert len(Windows([row], {"x.wav": status}, Labels(("hiss",)), store, augmented=True)) == 2
    late = replace(row, start_s=0.14999, end_s=0.15)
    assert len(Windows([late], {"x.wav": status}, Labels(("hiss",)), store, augmented=True)) >= 1


def test_only_the_training_part_uses_augmented_versions(place, monkeypatch):
    from audiocnn.training import fit, train_model

    asked: dict[str, int] = {}

    def fit_spy(*_: object, train, validation, **__: object) -> None:
        asked.update(train=len(train[0]), validation=len(validation[0]))
        raise KeyboardInterrupt

    monkeypatch.setattr(fit, "fit", fit_spy)
    monkeypatch.setattr(fit, "versions", dict)  # which would import TensorFlow
    task = prepare(place, max_bad_fraction=1, progress=Progress())
    train, held_out = task.recordings[::2], task.recordings[1::2]
    with pytest.raises(KeyboardInterrupt):
        train_model.train_model(
            task, place.experiment.train, train=train, validation=held_out,
            file=place.run / "no.checkpoint", settings={}, progress=Progress(),
        )  # fmt: skip
    assert asked["validation"] == len(task.windows(held_out))
    assert asked["train"] == len(task.windows(train, augmented=True)) > 2 * len(task.windows(train))


def test_predict_computes_no_augmented_versions(place, tmp_path, monkeypatch):
    spec = place.experiment.features
    monkeypatch.setattr(build_store, "featurize_augmented_file", None)
    monkeypatch.setattr(augment, "draw_augmentation", None)
    decoded = [place.root / "low/0.wav", place.root / "high/1.wav"]
    kept = FeatureStore(place.run / "features", spec)
    found = 0
    for _, status, frames in build_store.analyze_files(decoded, spec=spec, frontend=frontend.make(spec), jobs=1):
        np.testing.assert_array_equal(frames[:], kept.frames(status)[:])
        found += 1
    assert found == 2


# Examples to look at


@pytest.mark.slow
def test_the_preview_shows_recordings_of_every_label_with_the_settings_of_their_versions(place):
    train = place.experiment.train.model_copy(update={"mask_frames": 0.4, "gain_db": 6.0})
    shown = Project(place.file, place.experiment.model_copy(update={"train": train}))
    pages = []
    for jobs in (1, 2):
        featurize.run(shown, jobs=jobs, progress=Progress(), examples=2)
        pages.append((place.run / "examples.html").read_text(encoding="utf-8"))
    page, again = pages
    assert page == again
    assert page.count("<audio") == 2 * 3  # itself and two copies; the third is silent
    assert page.count("augmented, ") == 2 * 2 * 2  # caption and title
    assert {">high<", ">low<"} <= set(re.findall(r">\w+<", page))
    store = FeatureStore(place.run / "features", place.experiment.features)
    for path in set(re.findall(r"(?:low|high)/\w+\.wav", page)):
        sha256 = files.sha256_of(place.root / path)
        for number in (1, 2):
            drawn = augment.draw_augmentation(store.spec.copies[number - 1], sha256, number)
            assert f'<p class="caption">{drawn.words}<' in page
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "").replace("http-equiv", "")


@pytest.mark.slow
def test_without_augmentation_the_preview_shows_recordings_only(tmp_path):
    here = project(tmp_path, INSTRUMENT)
    featurize.run(here, jobs=1, progress=Progress(), examples=100)
    page = (here.run / "examples.html").read_text(encoding="utf-8")
    assert page.count("<audio") == 7
    assert "as shown" not in page
    assert "<b>features.copies</b> is empty" in page


def test_examples_are_drawn_from_every_label_in_turn():
    recordings = [
        Recording(f"{label}{i}", label, label) for label, n in (("a", 9), ("b", 2), ("c", 5)) for i in range(n)
    ]
    chosen = augmentation_preview.choose_recordings(recordings, 8, seed=3)
    assert [r.label for r in chosen] == list("abcabcac")
    assert len({r.path for r in chosen}) == 8
    assert (
        chosen
        == augmentation_preview.choose_recordings(recordings, 8, seed=3)
        != augmentation_preview.choose_recordings(recordings, 8, seed=4)
    )
    assert len(augmentation_preview.choose_recordings(recordings, 99, seed=0)) == 16


def test_an_augmentation_that_cannot_be_drawn_is_not_a_valid_spec():
    with pytest.raises(ValidationError):
        AugmentSpec(speed=(1.0, float("nan")))
