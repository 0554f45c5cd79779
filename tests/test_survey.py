"""The survey of a data set: suggested groups, duplicates, silence, lost bandwidth."""

import numpy as np
import pytest

from audiocnn import config
from audiocnn.audio.probe import Probe
from audiocnn.dataset import manifest, survey
from audiocnn.dataset.manifest import Recording
from audiocnn.errors import AudioError

SPEC = config.read_preset("instrument").features


def recordings_of(*paths, group=None):
    return [Recording(path, path.split("/")[0], group or path) for path in paths]


DRONES = recordings_of(
    *(f"drone/B_S2_D1_{take:03d}-bebop_{part:03d}_.wav" for take in range(67, 72) for part in range(4)),
    *(f"drone/mixed_{take}-bebop_{part:03d}_.wav" for take in range(24, 28) for part in range(3)),
    *(f"other/{name}{part:03d}.wav" for name in ("white_noise", "rain-on-tin", "street") for part in range(6)),
)


def test_numbered_parts_of_fewer_recordings_are_recognised():
    assert survey.suggest_groups(DRONES) == 5 + 4 + 3


def test_the_suggested_pattern_makes_as_many_groups_as_were_suggested():
    grouped, unmatched = manifest.group_by(DRONES, survey.GROUP_PATTERN)
    assert unmatched == 0
    assert len({r.group for r in grouped}) == survey.suggest_groups(DRONES)
    assert grouped[0].group == "B_S2_D1_067-bebop"
    assert grouped[-1].group == "street"


@pytest.mark.parametrize(
    ("path", "group"),
    [
        ("x/session 3 - take 12.wav", "session 3 - take"),
        ("x/a.b.001.flac", "a.b"),
        ("x/deep/er/rec_7.wav", "rec"),
        ("7_2/rec_07_.wav", "rec"),
        ("x/001.wav", None),
        ("x/12-34_5.wav", None),
        ("x/no number.wav", None),
        ("x/take1 final.wav", None),
    ],
)
def test_the_suggested_pattern_drops_the_last_number_of_a_name_that_has_letters(path, group):
    (found,), unmatched = manifest.group_by(recordings_of(path), survey.GROUP_PATTERN)
    assert found.group == (group or path)
    assert unmatched == (group is None)


def test_nothing_is_suggested_for_random_names():
    rng = np.random.default_rng(0)
    names = [f"{label}/{rng.bytes(4).hex()}.wav" for label in ("cello", "flute") for _ in range(100)]
    assert survey.suggest_groups(recordings_of(*names)) is None


@pytest.mark.parametrize("form", ["{:03d}.wav", "{}.wav", "tone_{:03d}.wav", "tone{}.wav"])
def test_nothing_is_suggested_for_files_that_are_merely_numbered(form):
    names = [f"{label}/{form.format(n)}" for label in ("cello", "flute") for n in range(40)]
    assert survey.suggest_groups(recordings_of(*names)) is None


def test_nothing_is_suggested_where_one_label_is_named_otherwise_or_groups_are_known():
    assert survey.suggest_groups([*DRONES, *recordings_of("bird/a.wav", "bird/b.wav", "bird/c.wav")]) is None
    assert survey.suggest_groups([*DRONES, *recordings_of("drone/x.wav", group="S1")]) is None
    assert survey.suggest_groups([]) is None


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
