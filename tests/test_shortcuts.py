"""Shortcuts: cues are measured, and found if they predict the label, and only then."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import sounds
from numpy.typing import NDArray

from audiocnn import config
from audiocnn.audio import workers
from audiocnn.audio.probe import MIN_DBFS, Probe, probe
from audiocnn.audit import shortcuts
from audiocnn.audit.shortcuts import TOGETHER
from audiocnn.dataset import class_folders, manifest
from audiocnn.dataset.manifest import Recording
from audiocnn.errors import AudioError

SPEC = config.read_preset("instrument").features
DRONE_SESSIONS = r"^[^/]+/(\d-\d+|\w+?_D\d+|Membo_\d+|mixed|(?:pink|white)_noise|silence)"


def probed(folder: Path, samples: NDArray[np.float32], rate: int = sounds.RATE, **options: str) -> Probe:
    soundfile.write(folder / "sound.wav", samples, rate, **options)
    return probe(folder / "sound.wav", SPEC)


def test_level_offset_and_noise_floor_are_measured_of_any_length(tmp_path: Path) -> None:
    for seconds in (0.5, 30):  # several blocks
        tone = sounds.tone(500, seconds, amplitude=0.2)
        tone[: len(tone) // 5] *= 0.001
        found = probed(tmp_path, tone + np.float32(0.05), subtype="FLOAT")
        assert found.level_dbfs == pytest.approx(20 * np.log10(0.2 / np.sqrt(2)) + 10 * np.log10(0.8), abs=0.05)
        assert found.floor_dbfs == pytest.approx(20 * np.log10(0.0002 / np.sqrt(2)), abs=0.1)
        assert found.dc == pytest.approx(0.05 / (0.2 / np.sqrt(2) * np.sqrt(0.8)), rel=0.01)
        assert found.encoding == "FLOAT"


def test_a_recording_without_sound_has_the_lowest_level_and_no_offset(tmp_path: Path) -> None:
    found = probed(tmp_path, sounds.silence(0.01))  # shorter than one level measurement
    assert (found.level_dbfs, found.floor_dbfs, found.dc, found.clipped) == (MIN_DBFS, MIN_DBFS, 0, 0)
    assert (found.bandwidth_hz, found.cutoff_hz) == (0, 0)


def test_the_clipped_share_counts_samples_of_all_channels(tmp_path: Path) -> None:
    left = sounds.noise(1_000 / sounds.RATE, level=0.1)
    left[100:200] = 1
    found = probed(tmp_path, np.stack([left, np.zeros_like(left)], axis=1))
    assert found.clipped == pytest.approx(0.05)


def test_neither_bandwidth_nor_noise_floor_above_it_depends_on_the_level(tmp_path: Path) -> None:
    noise = low_passed(sounds.noise(2), 3_000)
    loud, soft = (probed(tmp_path, noise * gain, subtype="FLOAT") for gain in (1, 0.1))
    assert 3_000 < loud.bandwidth_hz == soft.bandwidth_hz < loud.cutoff_hz == soft.cutoff_hz < 6_000
    assert loud.floor_dbfs - soft.floor_dbfs == pytest.approx(20, abs=0.15)


def low_passed(samples: NDArray[np.float32], hz: float, rate: int = sounds.RATE) -> NDArray[np.float32]:
    from scipy.signal import butter, sosfilt

    return np.asarray(sosfilt(butter(10, hz, fs=rate, output="sos"), samples), np.float32)


MEASURED = Probe("0", "wav", 2.0, 16_000, 1, 0.5, 7_000.0, (), "PCM_16", 7_500.0, -20.0, -60.0, 0.0, 0.0)


def test_the_name_cue_excludes_folder_suffix_and_label() -> None:
    recordings = [Recording(f"{label}/Take_{label}-01.wav", label, "g") for label in ("dog", "cat")]
    found = shortcuts.cue_table(recordings, {r.path: MEASURED for r in recordings}).measures
    assert found["name_form"] == ["a_-9", "a_-9"]
    assert found["name_begins"] == ["take", "take"]
    assert found["name_length"] == [8, 8]


def test_unreadable_and_all_zero_files_are_left_out_and_a_clip_has_its_own_length() -> None:
    recordings = [Recording(p, "a", p) for p in ("1.wav", "2.wav", "3.wav")] + [
        Recording("1.wav", "b", "1.wav", 0.5, 1.25)
    ]
    probes = {
        "1.wav": MEASURED,
        "2.wav": AudioError("not_audio", "is not audio"),
        "3.wav": replace(MEASURED, silent=True),
    }
    found = shortcuts.cue_table(recordings, probes)
    assert found.measures["length_s"] == [2.0, 0.75]
    assert found.labels == ["a", "b"]


def random_table(seed: int, n: int, n_labels: int, *, per_group: int = 1) -> shortcuts.CueTable:
    """Return cues that are independent of the labels and similar within a group."""
    rng = np.random.default_rng(seed)
    group = np.arange(n) // per_group
    shared = rng.normal(size=(len(group), 3))[group]
    return shortcuts.CueTable(
        {
            "length_s": rng.normal(2, 0.3, n) + 0.3 * shared[:, 0],
            "level_dbfs": rng.normal(-20, 4, n) + 4 * shared[:, 1],
            "peak_dbfs": rng.normal(-5, 3, n),
            "floor_dbfs": rng.normal(-60, 5, n) + 8 * shared[:, 2],
            "bandwidth_hz": rng.choice([6_000.0, 7_000.0, 8_000.0], n),
            "sample_rate_hz": rng.choice([16_000.0, 44_100.0], n),
            "encoding": rng.choice(["wav PCM_16", "flac PCM_16"], n).tolist(),
        },
        [f"label {g % n_labels}" for g in group],
        [f"group {g}" for g in group],
    )


@pytest.mark.slow
def test_random_cues_are_no_shortcuts() -> None:
    alarms = 0
    for n, n_labels, per_group in [(40, 2, 1), (200, 10, 1), (240, 3, 4)]:
        for seed in range(3):
            table = random_table(seed, n, n_labels, per_group=per_group)
            alarms += bool(shortcuts.find(table.measures, table.labels, table.groups, seed=seed))
    assert alarms == 0


def changed(table: shortcuts.CueTable, measure: str, label: str, by: float) -> dict[str, shortcuts.Column]:
    column = [v + by * (own == label) for v, own in zip(table.measures[measure], table.labels, strict=True)]
    return {**table.measures, measure: column}


PLANTED = [
    ("level_dbfs", "level", 24),
    ("length_s", "length", 3),
    ("floor_dbfs", "noise floor", -40),
    ("bandwidth_hz", "bandwidth", -4_000),
]


@pytest.mark.slow
@pytest.mark.parametrize(("measure", "cue", "by"), PLANTED)
@pytest.mark.parametrize("n_labels", [2, 5])
def test_a_cue_that_differs_for_one_label_is_found_first(measure: str, cue: str, by: float, n_labels: int) -> None:
    table = random_table(1, 200, n_labels)
    first = shortcuts.find(changed(table, measure, "label 1", by), table.labels, table.groups, seed=0)[0]
    assert (first.cue, first.measure) == (cue, measure)
    assert first.label == "label 1" or n_labels == 2
    assert first.one_vs_rest > 0.95
    assert first.chance == 1 / n_labels
    assert first.p_value == 1 / 200


@pytest.mark.slow
def test_words_predict_labels_as_numbers_do_and_a_cue_that_is_not_natural_fails() -> None:
    table = random_table(1, 100, 2)
    of = {"label 0": "wav PCM_16", "label 1": "mp3 MPEG_LAYER_III"}
    measures = {**table.measures, "encoding": [of[label] for label in table.labels]}
    first = shortcuts.find(measures, table.labels, table.groups, seed=0)[0]
    assert first.cue == "encoding" and first.balanced_accuracy == 1 and not first.natural
    assert first.hints == {"label 0": "wav PCM_16 (100%)", "label 1": "mp3 MPEG_LAYER_III (100%)"}
    finding = shortcuts.findings(shortcuts.CueTable(measures, table.labels, table.groups), seed=0)[0]
    assert finding.severity == "fail"
    assert finding.sentence.startswith("Encoding alone predicts the label in 100% of recordings (chance 50%)")


def test_a_cue_of_the_group_predicts_nothing_in_other_groups() -> None:
    """Each group has its own level: it predicts the label within a group, but not in other groups."""
    labels = [f"label {i % 2}" for i in range(8) for _ in range(20)]
    groups = [f"group {i}" for i in range(8) for _ in range(20)]
    levels = [-10.0 * ((3 * i) % 8) for i in range(8) for _ in range(20)]
    assert shortcuts.find({"level_dbfs": levels}, labels, groups, seed=0) == []


def test_labels_are_permuted_within_groups_that_have_all_labels() -> None:
    labels = ["a", "b"] * 60
    groups = [f"session {i // 20}" for i in range(120)]
    levels = [-20.0 + 10 * (label == "a") + (i % 7) for i, label in enumerate(labels)]
    (level,) = shortcuts.find({"level_dbfs": levels}, labels, groups, seed=0)
    assert (level.cue, level.balanced_accuracy, level.p_value) == ("level", 1.0, 0.005)


@pytest.mark.slow
def test_lengths_that_many_recordings_share_exactly_are_cut_and_others_may_be_natural() -> None:
    table = random_table(1, 200, 2)
    cut = [1.024 if label == "label 0" else 1.0217 for label in table.labels]
    grown = [v + 2 * (label == "label 0") for v, label in zip(table.measures["length_s"], table.labels, strict=True)]
    for lengths, natural, severity in ((cut, False, "fail"), (grown, True, "warn")):
        measures = {**table.measures, "length_s": lengths}
        first = shortcuts.find(measures, table.labels, table.groups, seed=0)[0]
        assert (first.cue, first.natural) == ("length", natural)
        finding = shortcuts.findings(shortcuts.CueTable(measures, table.labels, table.groups), seed=0)[0]
        assert finding.severity == severity


def test_cues_that_are_weak_alone_can_be_strong_together() -> None:
    rng = np.random.default_rng(0)
    labels = [f"label {i % 2}" for i in range(600)]
    names = ("length_s", "level_dbfs", "floor_dbfs", "bandwidth_hz", "dc", "clipped")
    measures = {name: [rng.normal() + 1.0 * (label == "label 1") for label in labels] for name in names}
    *alone, together = shortcuts.find(measures, labels, [str(i) for i in range(600)], seed=0)
    assert together.cue == TOGETHER
    assert together.skill > max(s.skill for s in alone) + 0.2


def test_too_few_groups_are_reported_and_give_no_shortcuts() -> None:
    table = random_table(0, 40, 2, per_group=10)
    assert shortcuts.find(changed(table, "level_dbfs", "label 0", 40), table.labels, table.groups, seed=0) == []
    (finding,) = shortcuts.findings(table, seed=0)
    assert finding.severity == "unchecked" and "too few groups" in finding.sentence
    assert shortcuts.find({"level_dbfs": [1, 2, 3]}, ["a", "a", "b"], ["1", "2", "3"], seed=0) == []
    assert shortcuts.find({}, [], [], seed=0) == []


@pytest.mark.slow
def test_the_result_depends_on_the_seed_only() -> None:
    table = random_table(3, 60, 2)
    measures = changed(table, "level_dbfs", "label 1", 15)
    one, same = (shortcuts.find(measures, table.labels, table.groups, seed=7) for _ in range(2))
    assert one and one == same
    order = np.random.default_rng(0).permutation(60)
    shuffled = {name: np.array(column)[order].tolist() for name, column in measures.items()}
    mixed = shortcuts.find(
        shuffled, np.array(table.labels)[order].tolist(), np.array(table.groups)[order].tolist(), seed=7
    )
    assert [(s.cue, s.balanced_accuracy, s.hints) for s in mixed] == [
        (s.cue, s.balanced_accuracy, s.hints) for s in one
    ]


def planted(folder: Path, fault: str) -> shortcuts.CueTable:
    """Return cues of random tones in noise with two labels, where only the planted fault differs between the labels."""
    rng = np.random.default_rng(0)
    recordings, probes = [], {}
    for i in range(48):
        label = "ab"[i % 2]
        length = rng.uniform(0.5, 1)
        samples = sounds.tone(rng.uniform(200, 1_000), length, amplitude=rng.uniform(0.01, 0.03))
        samples += sounds.noise(length, level=rng.uniform(0.001, 0.003), seed=i)
        if label == "b" and fault == "level":
            samples *= 10 ** (12 / 20)
        if label == "b" and fault == "bandwidth":
            samples = low_passed(samples, 4_000)
        recordings.append(Recording(f"{label}/{i}.wav", label, str(i)))
        probes[recordings[-1].path] = probed(folder, samples)
    return shortcuts.cue_table(recordings, probes)


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["level", "bandwidth", ""])
def test_a_fault_planted_into_synthesised_sounds_is_found_first(tmp_path: Path, fault: str) -> None:
    table = planted(tmp_path, fault)
    found = shortcuts.find(table.measures, table.labels, table.groups, seed=0)
    assert [s.cue for s in found][:1] == [fault][: bool(fault)]
    if fault:
        finding = shortcuts.findings(table, seed=0)[0]
        assert finding.severity == "warn" and finding.sentence.lower().startswith(f"{fault} alone predicts the label")


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["level", "bandwidth", ""])
def test_a_fault_planted_into_real_recordings_is_found_first(tmp_path: Path, data_dir: Path, fault: str) -> None:
    """The labels a and b have as many recordings of every instrument, so only the fault predicts them."""
    recordings, probes = [], {}
    for i, file in enumerate(sorted((data_dir / "instruments").glob("*/*.wav"))[::3]):
        label = "ab"[i % 2]
        samples, rate = soundfile.read(file, dtype="float32", frames=3 * 44_100)
        if label == "a" and fault == "level":
            samples = samples * np.float32(10 ** (-12 / 20))
        if label == "b" and fault == "bandwidth":
            samples = low_passed(samples, 3_000, rate)
        recordings.append(Recording(f"{i}.wav", label, str(i)))
        probes[recordings[-1].path] = probed(tmp_path, samples, rate)
    table = shortcuts.cue_table(recordings, probes)
    found = [s for s in shortcuts.find(table.measures, table.labels, table.groups, seed=0) if s.cue != TOGETHER]
    assert [s.cue for s in found][:1] == [fault][: bool(fault)]


@pytest.mark.slow
def test_the_lengths_of_the_drone_recordings_predict_their_labels(data_dir: Path) -> None:
    folder = data_dir / "drones"
    recordings, _ = manifest.group_by(class_folders.read(folder)[::8], DRONE_SESSIONS)
    probes: dict[str, Probe | AudioError] = {}
    for done in workers.map_files(probe, [(r.file(folder), (SPEC,)) for r in recordings], jobs=1):
        probes[recordings[done.index].path] = done.result
    table = shortcuts.cue_table(recordings, probes)
    found = shortcuts.find(table.measures, table.labels, table.groups, seed=0)
    assert found[0].cue == "length" and found[0].balanced_accuracy > 0.9 and not found[0].natural
    assert found[0].hints["drone"].startswith("1.024 s")
    (grave,) = [s for s in shortcuts.findings(table, seed=0) if s.severity != "pass"]
    assert grave.severity == "fail" and grave.sentence.startswith("Length alone predicts the label")


@pytest.mark.slow
def test_natural_differences_between_instruments_are_reported_as_pass(data_dir: Path) -> None:
    recordings = class_folders.read(data_dir / "instruments")
    probes: dict[str, Probe | AudioError] = {}
    for done in workers.map_files(probe, [(r.file(data_dir / "instruments"), (SPEC,)) for r in recordings], jobs=1):
        probes[recordings[done.index].path] = done.result
    reported = shortcuts.findings(shortcuts.cue_table(recordings, probes), seed=0)
    assert {finding.severity for finding in reported} == {"pass"}
    assert reported[0].sentence.startswith("Labels differ in bandwidth, length")
