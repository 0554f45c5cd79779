"""What `init` tells about the figures, the time and the disk space of a training."""

import pytest

from audiocnn import config
from audiocnn.audio.probe import Probe
from audiocnn.dataset.manifest import Recording
from audiocnn.specs import Experiment
from audiocnn.training.forecast import Forecast, forecast, measure_core_speed

SPEED = (
    40e9  # multiply-adds a second of a core of a machine with two; the times below were noted on such a one, once each
)


def expected(
    preset: str = "general", *, labels: int = 10, n: int = 12, seconds: float = 2.0, share: int = 1, **changes: object
) -> Forecast:
    """The forecast for ``n`` recordings of each label, of which ``share`` are in one group."""
    recordings = [Recording(f"{k}/{i}", str(k), f"{k}/{i // share}") for k in range(labels) for i in range(n)]
    probes = {r.path: Probe(r.path, "wav", seconds, 32_000, 1, 0.5, 9_000.0, ()) for r in recordings}
    settings = config.read_preset(preset).model_dump() | {"name": "x", "data": {"manifest": "m.csv", "root": "."}}
    settings["train"] |= changes
    return forecast(recordings, probes, Experiment.model_validate(settings), n_cores=2, core_speed=SPEED)


def test_more_groups_give_narrower_intervals_and_crossval_tests_all() -> None:
    few, many, grouped = expected(), expected(n=100), expected(n=100, share=10)
    for found, n, groups, width in ((few, 20, 20, 0.19), (many, 200, 200, 0.06), (grouped, 200, 20, 0.07)):
        assert found.test is not None and found.all is not None
        assert found.test.half_width is not None and found.all.half_width is not None
        assert (found.test.n_recordings, found.test.n_groups) == (n, groups)
        assert found.test.half_width == pytest.approx(width, abs=0.015)
        assert found.all.half_width < found.test.half_width
        assert found.all.n_recordings >= 5 * n


def test_without_a_split_only_the_size_is_told() -> None:
    found = expected(n=1)
    assert (found.test, found.all, found.train_s) == (None, None, None)
    assert found.store_bytes == 10 * 200 * 128 * 4 * 5  # 2 s of 100 frames, 128 bands, float32, with four versions


def test_times_of_trainings_that_were_measured_are_met_within_a_factor_of_two() -> None:
    digits = expected(n=48, seconds=0.4, epochs=25)  # 402 s
    instruments = expected("instrument", n=30, seconds=5.0)  # 222 s
    for found, measured_s in ((digits, 402), (instruments, 222)):
        assert found.train_s is not None
        assert measured_s / 2 < found.train_s < 2 * measured_s
    twice = expected(n=48, seconds=0.4, epochs=50)
    assert twice.train_s == pytest.approx(2 * digits.train_s - 15)
    every_window = expected(n=48, seconds=5.0, epochs=25, windows_per_recording=None)
    assert every_window.train_s > 5 * digits.train_s


def test_the_speed_of_a_core_is_that_of_a_computer() -> None:
    assert 1e8 < measure_core_speed() < 1e12


def test_the_time_and_the_size_of_a_model_with_members_are_those_of_all_members() -> None:
    general, instrument, both = expected("general"), expected("instrument"), expected("best")
    assert general.train_s is not None and instrument.train_s is not None
    assert both.train_s == pytest.approx(general.train_s + instrument.train_s)
    assert both.store_bytes == general.store_bytes + instrument.store_bytes
