"""The survey of a data set: duplicates, silence, lost bandwidth."""

from audiocnn import config
from audiocnn.audio.probe import Probe
from audiocnn.dataset import survey
from audiocnn.dataset.manifest import Recording
from audiocnn.errors import AudioError

SPEC = config.read_preset("instrument").features


def recordings_of(*paths, group=None):
    return [Recording(path, path.split("/")[0], group or path) for path in paths]


def probe(sha="0", *, duration_s=2.0, rate=16_000, channels=1, silent=False, bandwidth_hz=7_000.0):
    return Probe(sha, "wav", duration_s, rate, channels, 0.5, bandwidth_hz, (), silent=silent)


def take(**probes):
    """A survey of recordings ``label_name`` with these probes."""
    found = {name.replace("_", "/") + ".wav": value for name, value in probes.items()}
    return survey.summarize(recordings_of(*found), found, SPEC)


def test_classes_are_counted_with_their_seconds_rates_and_channels():
    found = take(
        b_1=probe("1", duration_s=1, rate=8_000),
        b_2=probe("2", duration_s=5, channels=2),
        b_3=probe("3", duration_s=2),
        a_1=probe("4"),
        b_4=AudioError("not_audio", "is not audio"),
    )
    a, b = found.classes
    assert (a.label, a.n_recordings, a.total_s) == ("a", 1, 2.0)
    assert (b.label, b.n_recordings, b.n_groups, b.total_s, b.median_s) == ("b", 4, 4, 8.0, 2.0)
    assert (b.rates, b.channels) == ({8_000: 1, 16_000: 2}, {1: 2, 2: 1})
    assert found.imbalance == 4
    assert [str(error) for error in found.unreadable.values()] == ["is not audio"]


def test_byte_identical_recordings_are_listed_together_but_silent_ones_are_not():
    found = take(
        a_1=probe("x"), b_2=probe("x"), a_3=probe("y"), b_4=probe("z", silent=True), b_5=probe("z", silent=True)
    )
    assert list(found.duplicates) == [["a/1.wav", "b/2.wav"]]


def test_silent_recordings_are_listed():
    assert take(a_1=probe(), a_2=probe(silent=True)).silent == ["a/2.wav"]


def test_short_is_what_does_not_fill_a_window():
    assert take(a_1=probe(duration_s=SPEC.window_s), a_2=probe(duration_s=SPEC.window_s - 1e-3)).short == ["a/2.wav"]


def test_bandwidths_above_the_band_of_the_features_are_listed_in_order():
    found = take(a_1=probe(bandwidth_hz=21_000), a_2=probe(bandwidth_hz=8_000), a_3=probe(bandwidth_hz=12_000))
    assert found.cut_off == [12_000, 21_000]
    narrow = SPEC.model_copy(update={"fmax": 4_000.0})
    assert survey.summarize(recordings_of("a/1.wav"), {"a/1.wav": probe(bandwidth_hz=7_000)}, narrow).cut_off == [7_000]


def test_a_label_of_which_nothing_can_be_read_is_counted_all_the_same():
    (only,) = take(a_1=AudioError("empty_file", "is empty")).classes
    assert (only.n_recordings, only.total_s, only.median_s) == (1, 0.0, 0.0)
