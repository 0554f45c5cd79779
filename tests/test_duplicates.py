"""Duplicates are found at another level, rate, format and length; different recordings are not duplicates."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import sounds

from audiocnn.audio import decode
from audiocnn.audit import duplicates, fingerprint
from audiocnn.audit.duplicates import DuplicatePair
from audiocnn.audit.fingerprint import SAMPLE_RATE, Fingerprint
from audiocnn.dataset import synthesis
from audiocnn.dataset.manifest import Recording
from audiocnn.progress import Progress


def phrase(seed: int, seconds: float = 2.0, rate: int = 22_050) -> sounds.Samples:
    """Return notes of a plucked string, different for every seed."""
    rng = np.random.default_rng(seed)
    n = round(seconds * rate)
    out = 0.002 * rng.standard_normal(n)
    for start_s in np.arange(0, seconds, 0.25):
        t = np.arange(round(0.5 * rate)) / rate
        hz = 150 * 2 ** (rng.integers(0, 24) / 12) * rng.uniform(0.99, 1.01)
        note = sum(np.sin(2 * np.pi * hz * k * t + rng.uniform(0, 6)) / k * np.exp(-k * t * 4) for k in range(1, 9))
        first = round(start_s * rate)
        out[first : first + len(note)] += 0.15 * note[: n - first]
    return out.astype(np.float32)


def cut(samples: sounds.Samples, start: float, end: float) -> sounds.Samples:
    return samples[round(start * len(samples)) : round(end * len(samples))]


# Gain, suffix, sample rate, start and end (fractions) of a copy.
CHANGES = {
    "quieter": (0.05, "wav", 22_050, 0, 1),
    "flac": (0.8, "flac", 22_050, 0, 1),
    "mp3": (0.5, "mp3", 22_050, 0, 1),
    "ogg": (0.5, "ogg", 22_050, 0, 1),
    "16 kHz": (0.9, "wav", 16_000, 0, 1),
    "8 kHz": (0.9, "wav", 8_000, 0, 1),
    "cut at the start": (1, "wav", 22_050, 0.4, 1),
    "cut at the end": (1, "wav", 22_050, 0, 0.6),
    "all of it": (0.3, "ogg", 16_000, 0.21, 0.81),
    "upside down": (-0.7, "wav", 44_100, 0, 1),
}


def copied(samples: sounds.Samples, rate: int, file: Path, change: str) -> None:
    gain, suffix, new_rate, start, end = CHANGES[change]
    kept = decode.resample(gain * cut(samples, start, end), rate, new_rate)
    soundfile.write(file.with_suffix(f".{suffix}"), kept, new_rate)


def recordings_in(root: Path) -> list[Recording]:
    paths = sorted(file.relative_to(root).as_posix() for file in root.rglob("*.*"))
    return [Recording(path, path.split("/")[0], path) for path in paths]


def pairs_in(root: Path, cached: Path | None = None) -> list[DuplicatePair]:
    return list(duplicates.search(recordings_in(root), root, cached=cached, jobs=1, progress=Progress()).pairs)


def near_duplicates(clips: list[sounds.Samples]) -> list[tuple[int, int]]:
    """Return the indices of the clips, at 8 kHz, that are near duplicates."""
    fingerprints = [Fingerprint("", "", 0.0, 1.0, *fingerprint.landmarks(clip)) for clip in clips]
    return [
        (c.first, c.second)
        for c in fingerprint.find_matches(fingerprints)
        if duplicates.waveform_similarity(clips[c.first], clips[c.second], guess=round(c.lag_s * SAMPLE_RATE)).same
    ]


def at_8k(clip: synthesis.Clip) -> sounds.Samples:
    mono = clip.samples if clip.samples.ndim == 1 else clip.samples.mean(axis=1)
    return decode.resample(mono, clip.sample_rate, SAMPLE_RATE)


@pytest.mark.slow
def test_every_modified_copy_is_found_and_nothing_else(tmp_path):
    for seed in range(12):
        soundfile.write(tmp_path / f"{seed:02d}.wav", phrase(seed), 22_050)
    expected = set()
    for seed, change in enumerate(CHANGES):
        copied(phrase(seed), 22_050, tmp_path / f"copy-{seed:02d}", change)
        expected.add((f"{seed:02d}.wav", f"copy-{seed:02d}.{CHANGES[change][1]}"))
    found = pairs_in(tmp_path)
    assert {(pair.first, pair.second) for pair in found} == expected
    by_name = {pair.second[:7]: pair for pair in found}
    trimmed = by_name[f"copy-{list(CHANGES).index('cut at the start'):02d}"]
    assert trimmed.lag_s == pytest.approx(0.8, abs=1e-3) and trimmed.shared_s == pytest.approx(1.2, abs=2e-3)
    assert min(pair.waveform for pair in found) > 0.95


def test_exact_duplicates_have_the_same_decoded_samples_whatever_the_bytes_of_the_files(tmp_path):
    samples = np.round(32_767 * phrase(1)).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", samples, 22_050, subtype="PCM_16")
    soundfile.write(tmp_path / "b.flac", samples, 22_050, subtype="PCM_16")
    with soundfile.SoundFile(tmp_path / "c.wav", "w", 22_050, 1, subtype="PCM_16") as file:
        file.title = "another title"
        file.write(samples)
    soundfile.write(tmp_path / "d.wav", np.stack([samples, samples], axis=1), 22_050, subtype="PCM_16")
    soundfile.write(tmp_path / "e.wav", samples, 16_000, subtype="PCM_16")  # plays slower: another sound
    found = pairs_in(tmp_path)
    assert [(pair.first, pair.second, pair.exact) for pair in found] == [
        ("a.wav", "b.flac", True),
        ("a.wav", "c.wav", True),
        ("a.wav", "d.wav", True),
    ]
    assert duplicates.connected_sets(found) == [["a.wav", "b.flac", "c.wav", "d.wav"]]


def test_silent_recordings_are_not_duplicates(tmp_path):
    for name in "abc":
        soundfile.write(tmp_path / f"{name}.wav", sounds.silence(1), 16_000)
    soundfile.write(tmp_path / "d.wav", sounds.noise(1, level=1e-4), 16_000)
    found = duplicates.search(recordings_in(tmp_path), tmp_path, cached=None, jobs=1, progress=Progress())
    assert list(found.pairs) == []
    assert list(found.silent) == ["a.wav", "b.wav", "c.wav", "d.wav"]


@pytest.mark.slow
def test_excerpts_of_a_recording_are_duplicates_only_if_they_overlap(tmp_path):
    whole = phrase(3, seconds=6)
    for name, (start, end) in {"a": (0, 0.33), "b": (0.33, 0.66), "c": (0.5, 0.83)}.items():
        soundfile.write(tmp_path / f"{name}.wav", cut(whole, start, end), 22_050)
    (pair,) = pairs_in(tmp_path)
    assert (pair.first, pair.second) == ("b.wav", "c.wav")
    assert pair.shared_s == pytest.approx(0.96, abs=0.01)


def test_duplicates_of_short_recordings_are_found():
    clips = [cut(phrase(seed, rate=SAMPLE_RATE), 0, 0.15) for seed in range(20)]  # 0.3 s
    assert near_duplicates([*clips, -0.2 * clips[4]]) == [(4, 20)]


@pytest.mark.parametrize("n_samples", [0, 1, 100, 511, 1_199])
def test_recordings_that_are_too_short_are_never_near_duplicates(n_samples):
    clip = sounds.noise(1, SAMPLE_RATE)[:n_samples]
    assert not duplicates.waveform_similarity(clip, clip, guess=0).same
    fingerprint.landmarks(clip)  # does not fail


def tones() -> list[sounds.Samples]:
    return [
        sounds.tone(200 * 1.03**i, 1, SAMPLE_RATE) + sounds.noise(1, SAMPLE_RATE, level=0.02, seed=i) for i in range(40)
    ]


def tones_of_one_pitch() -> list[sounds.Samples]:
    return [sounds.tone(440, 1, SAMPLE_RATE) + sounds.noise(1, SAMPLE_RATE, level=0.003, seed=i) for i in range(20)]


def tones_in_one_noise() -> list[sounds.Samples]:
    return [
        sounds.tone(300 * (1 + i / 10), 1, SAMPLE_RATE) + sounds.noise(1, SAMPLE_RATE, level=0.01) for i in range(20)
    ]


def drums() -> list[sounds.Samples]:
    t = np.arange(round(0.3 * SAMPLE_RATE)) / SAMPLE_RATE
    hits = []
    for seed in range(60):
        rattle = sounds.noise(0.3, SAMPLE_RATE, level=0.2, seed=seed) * np.exp(-25 * t)
        skin = 0.4 * np.sin(2 * np.pi * (180 + seed % 3) * t) * np.exp(-20 * t)
        hits.append((rattle + skin).astype(np.float32))
    return hits


def noises() -> list[sounds.Samples]:
    return [sounds.noise(0.5 + i / 40, SAMPLE_RATE, seed=i) for i in range(40)]


@pytest.mark.slow
@pytest.mark.parametrize("make", [tones, tones_of_one_pitch, tones_in_one_noise, drums, noises])
def test_different_sounds_of_one_kind_are_not_duplicates(make):
    assert near_duplicates(make()) == []


@pytest.mark.slow
def test_the_recordings_of_the_demo_are_not_duplicates():
    assert near_duplicates([at_8k(clip) for clip in synthesis.instrument_clips(0, n_players=2, n_recordings=2)]) == []
    assert near_duplicates([at_8k(clip) for clip in synthesis.rotor_clips(0, n_sessions=4, n_recordings=6)]) == []


def test_either_measure_alone_is_not_enough():
    tone = duplicates.waveform_similarity(*tones_of_one_pitch()[:2], guess=0)
    hiss = sounds.noise(1, SAMPLE_RATE, level=0.1)
    noise = duplicates.waveform_similarity(*(sounds.tone(hz, 1, SAMPLE_RATE) + hiss for hz in (300, 500)), guess=0)
    assert tone.waveform > 0.99 and tone.phase < 0.3
    assert noise.waveform < 0.3 and noise.phase > 0.8
    assert not tone.same and not noise.same


@pytest.mark.slow
def test_cached_recordings_are_neither_decoded_nor_compared_again(tmp_path, monkeypatch):
    for seed in range(3):
        soundfile.write(tmp_path / f"{seed}.wav", phrase(seed), 22_050)
    copied(phrase(2), 22_050, tmp_path / "copy", "mp3")
    cached = tmp_path / "kept" / duplicates.CACHE_FILE
    recordings = recordings_in(tmp_path)

    def pairs() -> list[DuplicatePair]:
        return list(duplicates.search(recordings, tmp_path, cached=cached, jobs=1, progress=Progress()).pairs)

    first, content = pairs(), cached.read_bytes()
    assert len(first) == 1
    with monkeypatch.context() as patch:
        patch.setattr(duplicates.fingerprint, "compute", None)  # would raise if it were called
        patch.setattr(duplicates.fingerprint, "find_matches", None)
        patch.setattr(duplicates, "compare_files", None)
        assert pairs() == first
    assert cached.read_bytes() == content
    for damaged in (content[:-1], b"", content[:-9] + bytes(9)):
        cached.write_bytes(damaged)
        assert pairs() == first
        assert cached.read_bytes() == content
    with monkeypatch.context() as patch:
        patch.setattr(fingerprint, "VERSION", 0)
        assert duplicates.read_cache(cached) == duplicates.SearchCache({}, {})


@pytest.mark.slow
def test_a_changed_recording_is_decoded_and_compared_again(tmp_path):
    soundfile.write(tmp_path / "a.wav", phrase(0), 22_050)
    soundfile.write(tmp_path / "b.wav", phrase(1), 22_050)
    recordings, cached = recordings_in(tmp_path), tmp_path / duplicates.CACHE_FILE
    search = lambda: list(duplicates.search(recordings, tmp_path, cached=cached, jobs=1, progress=Progress()).pairs)  # noqa: E731
    assert search() == []
    soundfile.write(tmp_path / "b.wav", 0.5 * phrase(0), 22_050)
    assert [(pair.first, pair.second) for pair in search()] == [("a.wav", "b.wav")]


@pytest.mark.slow
def test_unreadable_files_do_not_affect_the_others(tmp_path):
    soundfile.write(tmp_path / "a.wav", phrase(0), 22_050)
    soundfile.write(tmp_path / "b.wav", 0.5 * phrase(0), 22_050)
    (tmp_path / "c.wav").write_text("no audio")
    recordings = [*recordings_in(tmp_path), Recording("gone.wav", "x", "gone.wav")]
    found = duplicates.search(recordings, tmp_path, cached=None, jobs=2, progress=Progress())
    assert {path: error.code for path, error in found.unreadable.items()} == {
        "c.wav": "not_audio",
        "gone.wav": "missing",
    }
    assert len(found.pairs) == 1


def test_the_clips_of_a_file_count_as_one_file(tmp_path):
    soundfile.write(tmp_path / "a.wav", phrase(0), 22_050)
    (whole,) = recordings_in(tmp_path)
    rows = [replace(whole, start_s=0.0, end_s=1.0), replace(whole, start_s=1.0, end_s=2.0)]
    found = duplicates.search(rows, tmp_path, cached=None, jobs=1, progress=Progress())
    assert len(found.fingerprints) == 1 and list(found.pairs) == []


def test_landmarks_use_only_the_start_of_a_long_recording(tmp_path, monkeypatch):
    monkeypatch.setattr(fingerprint, "MAX_DURATION_S", 1.0)
    soundfile.write(tmp_path / "a.wav", phrase(0, seconds=3), 22_050)
    assert len(fingerprint.read_start(tmp_path / "a.wav")) == SAMPLE_RATE
    assert fingerprint.compute(tmp_path / "a.wav", "").duration_s == pytest.approx(3)


@pytest.mark.slow
def test_ten_planted_copies_of_real_recordings_are_all_found(data_dir, tmp_path):
    files = sorted((data_dir / "instruments").rglob("*.wav"))[::2]
    for number, file in enumerate(files):
        (tmp_path / f"{number:03d}.wav").symlink_to(file)
    names, expected = list(CHANGES), set()
    for k, number in enumerate(range(3, len(files), 10)):  # one of each instrument
        change = names[(k + 7) % len(names)]  # drums keep their stroke: what follows it is silence
        samples, rate = soundfile.read(files[number], dtype="float32")
        copied(samples, rate, tmp_path / f"copy-{number:03d}", change)
        expected.add((f"{number:03d}.wav", f"copy-{number:03d}.{CHANGES[change][1]}"))
    found = {(pair.first, pair.second) for pair in pairs_in(tmp_path)}
    assert len(expected) == 10
    assert expected <= found
    assert len(found - expected) <= 1
