"""What `init` sets in the general preset for recordings of a lower sample rate."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import sounds

from audiocnn import config
from audiocnn.audio.probe import Probe
from audiocnn.dataset.manifest import Recording
from audiocnn.features import fit_spec, frontend
from audiocnn.model import notation
from audiocnn.progress import Progress
from audiocnn.specs import FeatureSpec
from audiocnn.stages import featurize, init

PRESET = config.read_preset("general")


def fitted(*of: tuple[int, float], silent: bool = False) -> FeatureSpec:
    """The features for recordings of these sample rates and durations."""
    probes = {
        str(i): Probe(str(i), "wav", seconds, rate, 1, 0.5, 0.4 * rate, (), silent=silent)
        for i, (rate, seconds) in enumerate(of)
    }
    return fit_spec.fit(PRESET.features, [Recording(path, "x", path) for path in probes], probes)


@pytest.mark.parametrize("rate", [1_000, 8_000, 11_000, 11_025, 12_000, 16_000, 22_050, 24_000])
def test_the_sample_rate_is_the_highest_of_the_recordings(rate: int) -> None:
    made = fitted((rate, 5.0), (min(rate, 8_000), 5.0))
    assert made.sample_rate == min(known for known in fit_spec.RATES if known >= rate)
    assert made.upper_hz == made.sample_rate / 2
    assert made.window_s == pytest.approx(PRESET.features.window_s, rel=0.01)
    assert 0.03 < made.n_fft / made.sample_rate < 0.05
    assert (frontend.make(made).mel.sum(axis=0) > 0).all()  # no band is empty
    notation.parse(PRESET.model, input_shape=made.shape, n_labels=3)


def test_recordings_that_need_the_preset_as_it_is_change_nothing() -> None:
    assert fitted((44_100, 5.0), (8_000, 5.0)) == PRESET.features
    assert fitted((32_000, 0.1)) == fitted((8_000, 0.1), silent=True) == fitted() == PRESET.features
    above = PRESET.features.model_copy(update={"fmax": 3_000.0})
    probe = Probe("0", "wav", 5.0, 8_000, 1, 0.5, 3_000.0, ())
    assert fit_spec.fit(above, [Recording("0", "x", "0")], {"0": probe}).fmax == 3_000


@pytest.mark.slow
def test_digits_at_8_khz_get_features_that_fit_them_and_the_file_gives_the_reasons(tmp_path: Path) -> None:
    for label, hz in (("one", 300), ("two", 900)):
        (tmp_path / "sounds" / label).mkdir(parents=True)
        for i in range(3):
            seconds = 0.38 + 0.02 * i
            samples = sounds.tone(hz, seconds, 8_000) + sounds.noise(seconds, 8_000, seed=hz + i)
            soundfile.write(tmp_path / "sounds" / label / f"{i}.wav", samples, 8_000)

    def made(preset: str | None, out: str) -> init.InitResult:
        return init.run(
            tmp_path / "sounds", name=None, preset=preset, group_by=None, root=None, background=None,
            out=tmp_path / out, allow_outside=False, force=False, jobs=1, progress=Progress(),
        )  # fmt: skip

    done = made(None, ".")
    project = config.read(done.config)
    spec = project.experiment.features
    assert spec == done.settings.features
    assert (spec.sample_rate, spec.upper_hz, spec.shape) == (8_000, 4_000, (100, 80, 1))
    assert spec.copies[1].lowpass_hz == (2_000, 3_500)
    text = done.config.read_text(encoding="utf-8")
    assert "sample_rate: 8000       # Hz. init chose this, as the recordings have no more" in text
    assert "# (100, 80, 1): time first." in text
    statuses = featurize.run(project, jobs=1, progress=Progress()).statuses
    assert all(status.status == "ok" and np.isfinite(status.analysed_s) for status in statuses.values())
    other = made("ultrasonic", "other")
    assert other.settings.features == config.read_preset("ultrasonic").features
    assert config.read(other.config).experiment.features == other.settings.features
