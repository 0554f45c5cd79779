"""The synthetic corpora: notes have the requested pitch and decay, and only the sound reveals a label."""

from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from audiocnn.dataset import manifest, synthesis
from audiocnn.dataset.synthesis import Clip, players, signals
from audiocnn.dataset.synthesis.corpus import LEVELS_DBFS, PEAK, RECORDERS
from audiocnn.dataset.synthesis.instruments import Note, modes, pluck
from audiocnn.dataset.synthesis.rooms import Room

RATE = 22_050
PITCHED = ("cello", "clarinet", "flute", "guitar", "harp", "marimba", "trumpet", "violin")


@pytest.fixture(scope="module")
def instruments() -> list[Clip]:
    return list(synthesis.instrument_clips(0, n_players=5, n_recordings=2))


@pytest.fixture(scope="module")
def rotors() -> list[Clip]:
    return list(synthesis.rotor_clips(0, n_sessions=5, n_recordings=12))


@pytest.fixture(params=["instruments", "rotors"])
def corpus(request: pytest.FixtureRequest) -> list[Clip]:
    return request.getfixturevalue(request.param)


def rms_db(clip: Clip) -> float:
    return float(10 * np.log10(np.mean(np.square(clip.samples, dtype=np.float64))))


def explained(values: list[float], labels: list[str]) -> float:
    """Share of the variance of ``values`` that lies between the labels, 0..1 (eta squared)."""
    by_label = defaultdict(list)
    for value, label in zip(values, labels, strict=True):
        by_label[label].append(value)
    between = sum(len(v) * (np.mean(v) - np.mean(values)) ** 2 for v in by_label.values())
    return float(between / np.sum((np.array(values) - np.mean(values)) ** 2))


def strongest(samples: NDArray[np.float64], near_hz: float, rate: int = RATE) -> float:
    """Frequency of the strongest sine within 3 % of ``near_hz``, by a parabola through three log magnitudes."""
    size = 1 << 18
    levels = np.log(np.abs(np.fft.rfft(samples * np.hanning(len(samples)), size)) + 1e-12)
    low, high = (round(near_hz * factor * size / rate) for factor in (0.97, 1.03))
    k = low + int(np.argmax(levels[low:high]))
    before, at, after = levels[k - 1 : k + 2]
    return (k + 0.5 * (before - after) / (before - 2 * at + after)) * rate / size


@pytest.mark.slow
def test_a_seed_makes_the_same_sounds_and_another_seed_others(corpus: list[Clip], request: pytest.FixtureRequest):
    rotors = corpus[0].path.split("/")[0] in ("rotor", "background")

    def first(seed: int) -> Clip:
        return next(iter(synthesis.rotor_clips(seed, n_recordings=12) if rotors else synthesis.instrument_clips(seed)))

    again, other = first(0), first(1)
    assert (again.path, again.sample_rate) == (corpus[0].path, corpus[0].sample_rate)
    assert np.array_equal(again.samples, corpus[0].samples)
    assert not np.array_equal(other.samples[:1000], again.samples[:1000])


@pytest.mark.slow
def test_more_players_leave_the_others_as_they_were(instruments: list[Clip]):
    fewer = {clip.path: clip for clip in synthesis.instrument_clips(0, n_players=2, n_recordings=1)}
    kept = [clip for clip in instruments if clip.path in fewer]
    assert len(kept) == len(fewer) == 20
    assert all(np.array_equal(clip.samples, fewer[clip.path].samples) for clip in kept)


def test_the_corpora_have_the_labels_and_groups_that_they_promise(instruments: list[Clip], rotors: list[Clip]):
    assert Counter(clip.label for clip in instruments) == dict.fromkeys(players.INSTRUMENTS, 10)
    assert len(players.INSTRUMENTS) == 10
    assert len({clip.group for clip in instruments}) == len({(clip.group, clip.label) for clip in instruments}) == 50
    assert Counter(clip.label for clip in rotors) == {"rotor": 15, "background": 45}
    for group in {clip.group for clip in rotors}:  # so that neither place nor microphone tells the label
        assert Counter(clip.label for clip in rotors if clip.group == group) == {"rotor": 3, "background": 9}
    for clips in (instruments, rotors):
        assert len({clip.path for clip in clips}) == len(clips)
        assert all(clip.path.startswith(f"{clip.label}/") for clip in clips)


def test_samples_are_finite_and_clear_of_full_scale(corpus: list[Clip]):
    for clip in corpus:
        assert clip.samples.dtype == np.float32
        assert np.isfinite(clip.samples).all()
        assert np.abs(clip.samples).max() <= PEAK + 1e-6
        assert LEVELS_DBFS[0] - 0.1 <= rms_db(clip) <= LEVELS_DBFS[1] + 0.1
        assert 1.0 <= len(clip.samples) / clip.sample_rate <= 2.3


def test_neither_level_nor_length_tells_the_label(corpus: list[Clip]):
    labels = [clip.label for clip in corpus]
    by_chance = (len(set(labels)) - 1) / (len(corpus) - 1)
    assert explained([rms_db(clip) for clip in corpus], labels) < by_chance + 0.12
    assert explained([len(clip.samples) / clip.sample_rate for clip in corpus], labels) < by_chance + 0.12


def test_every_label_is_recorded_on_every_recorder_equally_often(corpus: list[Clip]):
    used = defaultdict(Counter)
    for clip in corpus:
        used[clip.label][clip.sample_rate, clip.path.rpartition(".")[2], clip.samples.shape[1:] or (1,)] += 1
    wanted = {(rate, suffix, (n_channels,)) for rate, suffix, n_channels in RECORDERS}
    for counts in used.values():
        assert set(counts) == wanted
        assert len(set(counts.values())) == 1


def test_the_two_channels_of_a_stereo_clip_are_alike_but_not_the_same(corpus: list[Clip]):
    stereo = [clip.samples for clip in corpus if clip.samples.ndim == 2]
    likeness = [np.corrcoef(*samples.T)[0, 1] for samples in stereo]
    assert np.mean(likeness) > 0.5
    assert max(likeness) < 0.9999


@pytest.mark.slow
def test_takes_of_one_player_are_more_alike_than_those_of_two(instruments: list[Clip]):
    def colour(clip: Clip) -> NDArray[np.float64]:
        """Level in dB of 12 bands about half an octave wide, (12,), the mean taken off."""
        mono = clip.samples if clip.samples.ndim == 1 else clip.samples.mean(axis=1)
        power = np.abs(np.fft.rfft(mono.astype(np.float64))) ** 2
        bins = np.fft.rfftfreq(len(mono), 1 / clip.sample_rate)
        edges = np.geomspace(100, 8000, 13)
        bands = [power[(bins >= low) & (bins < high)].mean() for low, high in pairwise(edges)]
        levels = 10 * np.log10(bands)
        return levels - levels.mean()

    same, different = [], []
    for label in players.INSTRUMENTS:
        colours = [(clip.group, colour(clip)) for clip in instruments if clip.label == label]
        for i, (group, one) in enumerate(colours):
            for other_group, other in colours[:i]:
                (same if group == other_group else different).append(np.abs(one - other).mean())
    assert np.mean(same) < 0.85 * np.mean(different)


@pytest.mark.parametrize("rate", [22_050, 48_000])
@pytest.mark.parametrize("frequency_hz", [82.4, 261.6, 987.8])
def test_a_plucked_string_is_in_tune_to_two_cents(frequency_hz: float, rate: int):
    string = pluck(
        frequency_hz,
        n_samples=2 * rate,
        sample_rate=rate,
        position=0.2,
        corner_hz=3000,
        t60_s=3.0,
        t60_treble_s=0.5,
        rng=np.random.default_rng(0),
    )
    assert len(string) == 2 * rate
    assert abs(1200 * np.log2(strongest(string, frequency_hz, rate) / frequency_hz)) < 2


@pytest.mark.parametrize("t60_s", [0.5, 2.0])
def test_a_plucked_string_decays_in_the_time_asked_for(t60_s: float):
    string = pluck(
        220.0,
        n_samples=RATE,
        sample_rate=RATE,
        position=0.2,
        corner_hz=2000,
        t60_s=t60_s,
        t60_treble_s=0.2,
        rng=np.random.default_rng(1),
    )
    heterodyne = np.exp(-2j * np.pi * 220.0 * np.arange(RATE) / RATE) * string
    early, late = (abs(heterodyne[start : start + RATE // 10].mean()) for start in (RATE // 10, RATE // 2))
    assert 20 * np.log10(early / late) == pytest.approx(0.4 * 60 / t60_s, rel=0.05)


@pytest.mark.parametrize("label", PITCHED)
def test_an_instrument_plays_the_pitch_asked_for(label: str):
    rng = np.random.default_rng(3)
    for frequency_hz in (233.1, 440.0, 587.3):
        voice = players.draw_player(label, rng=rng).instrument.voice
        sound = voice.sound(Note(frequency_hz, 0.5, 0.6), sample_rate=RATE, rng=rng)[: RATE // 2]
        spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound)))) ** 2  # bins are 2 Hz apart

        def near(hz: float, spectrum: NDArray[np.float64] = spectrum) -> float:
            """Power within 3 % of ``hz``."""
            return float(spectrum[round(0.97 * hz / 2) : round(1.03 * hz / 2) + 1].sum())

        assert strongest(sound, frequency_hz) == pytest.approx(frequency_hz, rel=0.012)
        assert near(frequency_hz) > 100 * near(frequency_hz / 2)  # not an octave or a twelfth too high
        assert near(frequency_hz) > 100 * near(frequency_hz / 3)
        assert near(frequency_hz) > 10 * near(frequency_hz * 1.5)


def test_louder_notes_are_louder_and_brighter():
    rng = np.random.default_rng(0)
    for label in ("clarinet", "flute", "guitar", "marimba", "trumpet", "violin"):
        voice = players.draw_player(label, rng=rng).instrument.voice
        soft, loud = (voice.sound(Note(330.0, x, 0.5), sample_rate=RATE, rng=rng)[: RATE // 2] for x in (0.2, 0.9))

        def centroid(sound: NDArray[np.float64]) -> float:
            power = np.abs(np.fft.rfft(sound)) ** 2
            return float((np.arange(len(power)) * power).sum() / power.sum())

        assert signals.rms(loud) > 3 * signals.rms(soft)
        assert centroid(loud) > centroid(soft)


def test_modes_are_the_sum_of_damped_sines():
    hz, weights, t60_s = np.array([220.0, 615.5]), np.array([1.0, 0.4]), np.array([0.5, 0.2])
    made = modes(hz, weights, t60_s, n_samples=5000, sample_rate=RATE, rng=np.random.default_rng(5))
    turns = np.random.default_rng(5).random(2)
    t = np.arange(5000)[:, None] / RATE
    wanted = (weights * 10 ** (-3 * t / t60_s) * np.cos(2 * np.pi * (hz * t + turns))).sum(axis=1)
    assert np.abs(made - wanted).max() < 1e-9


def test_the_oscillator_is_the_sum_of_its_harmonics():
    cycles = signals.running_phase(np.linspace(300, 320, 4000), sample_rate=RATE)
    amplitudes = 1 / np.arange(1, 21)[np.newaxis]
    (made,) = signals.oscillate(cycles, amplitudes, rng=np.random.default_rng(6))
    turns = np.random.default_rng(6).random(20)
    numbers = np.arange(1, 21)
    wanted = (amplitudes * np.cos(2 * np.pi * (cycles[:, None] * numbers + turns))).sum(axis=1)
    assert np.abs(made - wanted).max() < 2e-3


def test_noise_has_the_slope_asked_for():
    made = signals.noise(1 << 17, signals.tilt(-6), sample_rate=RATE, rng=np.random.default_rng(7))
    power = np.abs(np.fft.rfft(made)) ** 2
    bins = np.fft.rfftfreq(len(made), 1 / RATE)
    octaves = [power[(bins >= low) & (bins < 2 * low)].mean() for low in (500, 4000)]
    assert 10 * np.log10(octaves[0] / octaves[1]) == pytest.approx(18, abs=0.7)
    assert signals.rms(made) == pytest.approx(1)


def test_a_room_rings_on_after_the_sound_has_stopped():
    room = Room(
        seed=1, t60_s=0.4, reverberance_db=0, tilt_db=0, low_hz=30, high_hz=9000, noise_db=-120, noise_tilt_db=0,
        hum_hz=50, hum_db=-60,
    )  # fmt: skip
    dry = np.zeros(RATE)
    dry[0] = 1
    (recorded,) = room.record(dry, n_channels=1, sample_rate=RATE, rng=np.random.default_rng(8)).T
    levels = [10 * np.log10(np.mean(recorded[round(s * RATE) :][: RATE // 20] ** 2)) for s in (0.05, 0.25)]
    assert levels[0] - levels[1] == pytest.approx(0.2 * 60 / 0.4, abs=4)


def test_fft_sizes_hold_what_they_should_without_much_waste():
    for n in (1, 2, 3, 1000, 4097, 22_050, 88_200, 100_001):
        size = signals.fft_size(n)
        assert n <= size
        assert size % 2 == 0
        assert n < 100 or size < 1.34 * n


def test_what_is_written_is_what_was_made(instruments: list[Clip], tmp_path: Path):
    clips = instruments[::7]
    file = synthesis.write(clips, tmp_path)
    assert file == tmp_path / "manifest.csv"
    listed = manifest.read(file, root=tmp_path)
    assert [(r.path, r.label, r.group) for r in listed] == [(clip.path, clip.label, clip.group) for clip in clips]
    assert file.read_text(encoding="utf-8").startswith("path,label,group\n")
    for clip in clips:
        samples, rate = soundfile.read(tmp_path / clip.path, dtype="float32")
        assert rate == clip.sample_rate
        assert samples.shape == clip.samples.shape
        assert np.abs(samples - clip.samples).max() < 1.1 / 32768
        assert soundfile.info(tmp_path / clip.path).subtype == "PCM_16"
