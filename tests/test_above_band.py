"""Sound above the highest frequency that the features keep: it is measured, reported, and settings for it are named."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import sounds
from projects import audiocnn, set_lines

from audiocnn import config
from audiocnn.audio.band_powers import EDGES_HZ, power_between
from audiocnn.audio.probe import Probe, probe
from audiocnn.audit import above_band
from audiocnn.dataset.manifest import Recording
from audiocnn.errors import UnusableError
from audiocnn.model import notation
from audiocnn.progress import Progress
from audiocnn.specs import FeatureSpec
from audiocnn.stages import audit, evaluate, explain, featurize, init
from audiocnn.stages.init import InitResult

RATES = (8_000, 44_100, 96_000, 192_000, 250_000, 384_000, 500_000)


def probed(file: Path, samples: np.ndarray, rate: int) -> Probe:
    soundfile.write(file, samples, rate, subtype="PCM_16")
    return probe(file, config.read_preset("general").features)


# Measurement


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("seconds", [0.01, 0.7])
def test_the_power_of_a_tone_is_in_the_bands_around_its_frequency_at_any_rate(tmp_path, rate, seconds):
    hz = 0.4 * rate
    powers = probed(tmp_path / "a.wav", 0.2 + sounds.tone(hz, seconds, rate, amplitude=0.5), rate).band_powers
    assert power_between(powers, 0.75 * hz, 1.25 * hz) == pytest.approx(powers.sum(), rel=1e-3)
    if seconds * rate > 4_096:
        assert powers.sum() == pytest.approx(0.5**2 / 2, rel=0.1)


def test_a_click_anywhere_in_a_recording_is_measured(tmp_path):
    for start in (5_000, 20_000, 99_000):
        samples = sounds.silence(0.4, 250_000)
        samples[start : start + 500] = sounds.tone(50_000, 0.002, 250_000)
        powers = probed(tmp_path / "a.wav", samples, 250_000).band_powers
        assert power_between(powers, 40_000, 60_000) > 0.9 * powers.sum() > 0


def test_bands_that_are_partly_within_the_limits_count_in_part():
    powers = np.ones(len(EDGES_HZ) - 1, np.float32)
    middle = (EDGES_HZ[3] + EDGES_HZ[4]) / 2
    assert power_between(powers, middle, EDGES_HZ[6]) == pytest.approx(2.5)
    assert power_between(powers, 0, 1e6) == pytest.approx(len(powers))


# What is found


def calls(seconds: float, hz: float, rate: int, *, amplitude: float = 0.3, seed: int = 0) -> np.ndarray:
    """Short pulses of about this frequency in faint noise."""
    samples = sounds.noise(seconds, rate, level=2e-4, seed=seed)
    pulse = sounds.tone(hz, 0.004, rate, amplitude=amplitude) * np.hanning(round(0.004 * rate)).astype(np.float32)
    for start in range(rate // 50, len(samples) - len(pulse), rate // 10):
        samples[start : start + len(pulse)] += pulse
    return samples


def found_in(
    folder: Path, spec: FeatureSpec, of_label: dict[str, list[np.ndarray]], rate: int
) -> above_band.AboveBand | None:
    recordings, probes = [], {}
    for label, all_samples in of_label.items():
        for i, samples in enumerate(all_samples):
            path = f"{label}/{i}.wav"
            recordings.append(Recording(path, label, path))
            probes[path] = probed(folder / "a.wav", samples, rate)
    return above_band.find(recordings, probes, spec)


@pytest.mark.parametrize("rate", [r for r in RATES if r >= 96_000])
@pytest.mark.parametrize("preset", ["general", "instrument", "spectrogram"])
def test_sound_above_the_band_is_named_with_settings_that_keep_it(tmp_path, preset, rate):
    experiment = config.read_preset(preset)
    spec = experiment.features
    high_hz = 0.4 * rate
    found = found_in(tmp_path, spec, {"a": [calls(0.3, 0.3 * rate, rate)], "b": [calls(0.3, high_hz, rate)]}, rate)
    assert found.sentence.startswith("In 2 of 2 recordings nearly all of the energy is between ")
    assert spec.upper_hz < found.low_hz < 0.3 * rate < high_hz < found.high_hz <= rate / 2
    kept = FeatureSpec.model_validate(spec.model_dump() | dict(found.settings))
    assert min(2.2 * high_hz, rate) <= kept.sample_rate <= rate
    assert kept.n_fft >= 2 * kept.hop_length * 0.7
    notation.parse(experiment.model, input_shape=kept.shape, n_labels=2)
    for name in ("sample_rate", "n_fft", "hop_length", "window_frames"):
        assert f"{name}: {getattr(kept, name)}" in found.remedy
    assert ("--preset ultrasonic" in found.remedy) == (kept.sample_rate > 96_000 and found.high_hz <= 128_000)
    if kept.sample_rate > 96_000:
        assert kept.hop_length / kept.sample_rate == pytest.approx(0.002, rel=0.01)
        assert kept.window_s == pytest.approx(0.1, rel=0.01)


def test_settings_for_audible_rates_keep_the_durations_and_drop_an_upper_limit_and_filters(tmp_path):
    spec = config.read_preset("general").features.model_copy(update={"fmax": 12_000.0})
    found = found_in(tmp_path, spec, {"a": [sounds.tone(19_000, 1, 44_100)]}, 44_100)
    assert dict(found.settings) == {
        "sample_rate": 44_100, "n_fft": 1_024, "hop_length": 441, "window_frames": 100, "fmax": None, "copies": (),
    }  # fmt: skip
    assert found.remedy.endswith("window_frames: 100, fmax: null, copies: [].")
    assert "--preset" not in found.remedy


def test_one_label_above_the_band_is_named(tmp_path):
    spec = config.read_preset("spectrogram").features
    of_label = {"bat": [calls(0.3, 40_000, 192_000)] * 3, "owl": [sounds.tone(500, 0.3, 192_000)] * 3}
    found = found_in(tmp_path, spec, of_label, 192_000)
    assert found.sentence.startswith("In 3 of 3 recordings of 'bat' nearly all of the energy is between 3")


def rumbling(hz: float, n: int) -> list[np.ndarray]:
    """Calls in rumble that has most of the energy."""
    rate = 192_000
    return [
        calls(0.2, hz, rate, amplitude=0.05, seed=i) + sounds.tone(300 + 10 * i, 0.2, rate, amplitude=0.3)
        for i in range(n)
    ]


def test_labels_that_differ_above_the_band_only_are_found_below_louder_rumble(tmp_path):
    spec = config.read_preset("general").features
    found = found_in(tmp_path, spec, {"a": rumbling(40_000, 8), "b": rumbling(60_000, 8)}, 192_000)
    assert found.sentence.startswith("The labels differ most between ")
    assert 30_000 < found.low_hz < 40_000 and 60_000 < found.high_hz < 75_000
    assert "--preset ultrasonic" in found.remedy


@pytest.mark.slow
def test_nothing_is_found_if_labels_are_alike_or_few_above_the_band_or_it_has_all(tmp_path):
    spec = config.read_preset("general").features
    assert found_in(tmp_path, spec, {"a": rumbling(40_000, 8), "b": rumbling(40_000, 8)}, 192_000) is None
    assert found_in(tmp_path, spec, {"a": rumbling(40_000, 2), "b": rumbling(60_000, 2)}, 192_000) is None
    ultrasonic = config.read_preset("ultrasonic").features
    assert found_in(tmp_path, ultrasonic, {"a": rumbling(40_000, 8), "b": rumbling(60_000, 8)}, 192_000) is None
    assert found_in(tmp_path, spec, {"a": [sounds.silence(1, 192_000)]}, 192_000) is None
    at_32_khz = {"a": [sounds.noise(1, 32_000)], "b": [sounds.tone(900, 1, 32_000)]}
    assert found_in(tmp_path, spec, at_32_khz, 32_000) is None


def test_a_difference_of_sample_rates_is_no_difference_of_the_labels(tmp_path):
    recordings, probes = [], {}
    for label, rate in (("a", 16_000), ("b", 48_000)):
        for i in range(8):
            path = f"{label}/{i}.wav"
            recordings.append(Recording(path, label, path))
            samples = sounds.tone(500, 0.5, rate) + sounds.noise(0.5, rate, level=0.01, seed=i)
            probes[path] = probed(tmp_path / "a.wav", samples, rate)
    assert above_band.find(recordings, probes, config.read_preset("instrument").features) is None


# Where it is reported


def init_project(folder: Path, preset: str, n: int = 3) -> InitResult:
    """A project of calls at 25 and 55 kHz, recorded at 250 kHz."""
    for label, hz in (("high", 55_000), ("low", 25_000)):
        (folder / "sounds" / label).mkdir(parents=True, exist_ok=True)
        for i in range(n):
            samples = calls(0.3, hz, 250_000, seed=hz + i)
            soundfile.write(folder / "sounds" / label / f"{i}.wav", samples, 250_000, subtype="PCM_16")
    return init.run(
        folder / "sounds", name=None, preset=preset, group_by=None, root=None,
        background=None, out=folder, allow_outside=False, force=True, jobs=1, progress=Progress(),
    )  # fmt: skip


@pytest.mark.slow
def test_init_audit_and_featurize_name_the_band_and_the_settings_and_these_work(tmp_path):
    above = init_project(tmp_path, "general").above
    project = config.read(tmp_path / "audiocnn.yaml")
    audited = audit.run(project, jobs=1, progress=Progress())
    (finding,) = [finding for finding in audited.findings if finding.topic == above_band.TOPIC]
    with pytest.raises(UnusableError) as refused:
        featurize.run(project, jobs=1, progress=Progress())
    for said in (f"{above.sentence} {above.remedy}", f"{finding.sentence} {finding.remedy}", str(refused.value)):
        assert "In 6 of 6 recordings nearly all of the energy is between 2" in said
        assert "--preset ultrasonic" in said and "sample_rate: 192000, n_fft: 1024, hop_length: 384" in said
        assert "\n" not in said
    features = FeatureSpec.model_validate(project.experiment.features.model_dump() | dict(above.settings))
    mended = replace(project, experiment=project.experiment.model_copy(update={"features": features}))
    assert featurize.run(mended, jobs=1, progress=Progress()).n_bad == 0


@pytest.mark.slow
def test_the_ultrasonic_preset_trains_and_every_page_plays_calls_slower_and_draws_them(tmp_path):
    assert init_project(tmp_path, "ultrasonic", n=5).above is None
    set_lines(tmp_path / "audiocnn.yaml", model='"4C3S2-GAP-*"', epochs="1", bootstrap="100", explain="0")
    project = config.read(tmp_path / "audiocnn.yaml")
    assert featurize.run(project, jobs=1, progress=Progress(), examples=2).n_bad == 0
    audiocnn("train", cwd=tmp_path)
    evaluate.run(project, model=None, part="test", other=None, output=None, jobs=1, progress=Progress())
    file = tmp_path / "sounds" / "low" / "0.wav"
    how = {"methods": ("occlusion", "nearest"), "project": project, "out": tmp_path / "why"}
    explain.run(file, model=project.model(), **how, progress=Progress())
    (explanation,) = (tmp_path / "why").glob("*.html")
    for page in (project.run / "examples.html", project.run / "report.html", explanation):
        text = page.read_text(encoding="utf-8")
        assert "Played 10 times slower, so that it can be heard" in text, page
        assert ">64 kHz<" in text and ">4 kHz<" not in text, page
