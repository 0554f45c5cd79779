"""Sound above the highest frequency that the features keep: it is measured, reported, and settings for it are named."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import sounds

from audiocnn.audio.band_powers import EDGES_HZ, power_between
from audiocnn.audio.probe import Probe, probe

RATES = (8_000, 44_100, 96_000, 192_000, 250_000, 384_000, 500_000)


def probed(file: Path, samples: np.ndarray, rate: int) -> Probe:
    soundfile.write(file, samples, rate, subtype="PCM_16")
    return probe(file)


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
