"""One long recording of a label: groups are stretches of it, with gaps between them that no window reaches across."""

import csv
import itertools
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
import sounds
from click import BadParameter
from projects import audiocnn, set_lines

from audiocnn import config
from audiocnn.audit import class_balance, groups, leaks
from audiocnn.audit.duplicates import DuplicatePair
from audiocnn.cli import options
from audiocnn.dataset import cut_groups, manifest, split
from audiocnn.dataset.manifest import Recording, cut_group
from audiocnn.dataset.problems import Report
from audiocnn.errors import ConfigError, ManifestError, SplitError
from audiocnn.features import extract, windows
from audiocnn.features.analyze import RecordingStatus
from audiocnn.specs import SplitSpec

WINDOW_S = 1.0
SPEC = SplitSpec(test=0.2, validation=0.2)


def cut(recordings: Sequence[Recording], durations_s: dict[str, float], length_s: int = 60) -> list[Recording]:
    return cut_groups.cut(recordings, durations_s, length_s, WINDOW_S, Report())


def whole(*paths: str) -> list[Recording]:
    return [Recording(path, path.split("/")[0], path) for path in paths]


def minutes(path: str, n: int = 10) -> list[Recording]:
    return cut(whole(path), {path: 60.0 * n})


# ------------------------------------------------------------------------------------------------------------ cutting


def test_a_long_recording_becomes_stretches_with_gaps_each_with_a_group_of_its_own() -> None:
    report = Report()
    short = Recording("b/1.wav", "b", "b/1.wav")
    found = cut_groups.cut([*whole("a/1.wav"), short], {"a/1.wav": 200.0, "b/1.wav": 120.0}, 60, WINDOW_S, report)
    assert [(r.stretch, r.group) for r in found[:-1]] == [
        ((0.0, 58.0), "a/1.wav#0-60"),
        ((60.0, 118.0), "a/1.wav#60-120"),
        ((120.0, 178.0), "a/1.wav#120-180"),
        ((180.0, 200.0), "a/1.wav#180-240"),
    ]
    assert found[-1] == short and {r.label for r in found[:-1]} == {"a"}
    assert (
        report.notes == ["--cut-groups 60s: 1 of 2 files are cut into 4 groups, with gaps of 2 s between them."]
        and not report.problems
    )


def test_stretches_are_cut_where_they_lie_and_those_in_a_gap_are_left_out_and_listed() -> None:
    rows = [(5, 7), (57, 61), (58.2, 59.9), (100, 190), (118, 118), (119, 119)]
    report = Report()
    recordings = [Recording("a.wav", "call", "a.wav", float(s), float(e)) for s, e in rows]
    found = cut_groups.cut(recordings, {"a.wav": 200.0}, 60, WINDOW_S, report)
    assert [r.stretch for r in found] == [(5, 7), (57, 58), (60, 61), (100, 118), (120, 178), (180, 190), (118, 118)]
    assert all(r.cut is not None and r.cut[0] <= r.start_s <= r.end_s <= r.cut[1] for r in found)  # type: ignore[operator]
    assert [(p.problem, p.outcome) for p in report.problems] == [
        ("a.wav: 'call' from 58.2 to 59.9 s is in a gap that --cut-groups 60s leaves", cut_groups.IN_GAP),
        ("a.wav: 'call' from 119 to 119 s is in a gap that --cut-groups 60s leaves", cut_groups.IN_GAP),
    ]


def test_no_window_of_one_group_shares_a_frame_with_another_group() -> None:
    spec = config.read_preset("instrument").features
    rate, rng = spec.sample_rate / spec.hop_length, np.random.default_rng(1)
    n_frames = round(100 * rate)
    starts = np.sort(rng.uniform(0, 99, 60))
    rows = [Recording("a", "x", "a", float(s), float(s + rng.choice([0, 0.01, 0.3, 5]))) for s in starts]
    found = cut_groups.cut(rows, {"a": 100.0}, 10, spec.window_s, Report())
    last_frame: dict[tuple[int, int], int] = {}
    first_frame: dict[tuple[int, int], int] = {}
    for recording in found:
        of = extract.window_starts(n_frames, spec, recording.stretch)
        if len(of) and recording.cut is not None:
            first_frame[recording.cut] = min(first_frame.get(recording.cut, n_frames), int(of[0]))
            last_frame[recording.cut] = max(last_frame.get(recording.cut, 0), int(of[-1]) + spec.window_frames - 1)
    order = sorted(first_frame)
    assert len(order) > 5
    assert all(last_frame[one] < first_frame[other] for one, other in itertools.pairwise(order))


def test_background_lies_within_the_groups_too() -> None:
    spec = config.read_preset("instrument").features
    calls = [Recording("a.wav", "call", "a.wav", s, s + 1.0) for s in (3.0, 47.0)]
    found = cut_groups.cut(calls, {"a.wav": 60.0}, 20, spec.window_s, Report())
    status = RecordingStatus("ok", duration_s=60.0)
    rest = windows.add_background(found, {"a.wav": status}, spec, "rest")[2:]
    assert [(r.stretch, r.group) for r in rest] == [
        ((0.0, 3.0), "a.wav#0-20"),
        ((4.0, 18.0), "a.wav#0-20"),
        ((20.0, 38.0), "a.wav#20-40"),
        ((40.0, 47.0), "a.wav#40-60"),
        ((48.0, 60.0), "a.wav#40-60"),
    ]
    of_whole = cut_groups.cut(whole("a.wav"), {"a.wav": 60.0}, 20, spec.window_s, Report())
    assert windows.add_background(of_whole, {"a.wav": status}, spec, "rest") == of_whole  # gaps are no background


@pytest.mark.parametrize(
    ("length_s", "row", "message"),
    [
        (4, Recording("a", "x", "a"), "--cut-groups 4s: too short for gaps of 2 s between groups; pass more than 4s"),
        (60, Recording("a", "x", "a", split="train"), "has no effect, as the split of every recording is given"),
        (60, Recording("a", "x", "a", fold=1), "has no effect, as the fold of every recording is given"),
        (60, Recording("a", "x", "site 1"), "no recording with a group of its own is longer than 120 s"),
        (300, Recording("a", "x", "a"), "no recording with a group of its own is longer than 600 s"),
    ],
)
def test_an_option_without_effect_is_refused(length_s: int, row: Recording, message: str) -> None:
    with pytest.raises(ConfigError, match="--cut-groups") as raised:
        cut([row], {"a": 600.0}, length_s)
    assert message in str(raised.value)


@pytest.mark.parametrize(("text", "seconds"), [("60", 60), ("60s", 60), ("90 s", 90), ("2min", 120)])
def test_a_length_is_seconds_or_minutes(text: str, seconds: int) -> None:
    assert options.whole_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "1.5", "-60", "60 m", "1h", "٦٠"])
def test_another_length_is_refused(text: str) -> None:
    with pytest.raises(BadParameter, match="is not a time of whole seconds or minutes, such as 60s or 2min"):
        options.whole_seconds(text)


# ----------------------------------------------------------------------------------------------------------- manifests


@pytest.mark.parametrize("path", ["a/1.wav", " a b#0-60.wav", "./=x.wav", "é\\xff.wav", "a.wav#0-60"])
def test_a_manifest_with_cut_groups_is_read_back_as_it_was_written(tmp_path: Path, path: str) -> None:
    found = cut([Recording(path, "x", path)], {path: 200.0})
    assert all(r.cut is not None for r in found) and len({r.split_key for r in found}) == 4
    manifest.write(tmp_path / "manifest.csv", found)
    again = manifest.read(tmp_path / "manifest.csv", root=tmp_path)
    assert [(r.stretch, r.group, r.cut) for r in again] == [(r.stretch, r.group, r.cut) for r in found]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a,x,a#0-60,0,50\na,x,a#30-90,60,80\n", "group of a differs"),  # no cut that --cut-groups makes
        ("a,x,a#0-60,0,50\na,x,a#60-90,60,80\n", "group of a differs"),
        ("a,x,a#0-60,0,50\na,x,a#30-60,50,60\n", "group of a differs"),  # cut in another way
        ("a,x,a#0-60,0,50\na,x,b#60-120,60,80\n", "group of a differs"),
        ("a,x,a#0-60,0,50\na,x,site,60,80\n", "group of a differs"),
        ("a,x,a#0-60,0,61\n", "the stretch from 0 to 61 s is not within its group 'a#0-60'"),
        ("a,x,a#60-120,0,61\n", "the stretch from 0 to 61 s is not within its group 'a#60-120'"),
    ],
)
def test_groups_of_one_recording_differ_only_as_its_cuts_do(tmp_path: Path, rows: str, message: str) -> None:
    (tmp_path / "m.csv").write_text("path,label,group,start_s,end_s\n" + rows)
    with pytest.raises(ManifestError, match="line") as raised:
        manifest.read(tmp_path / "m.csv", root=tmp_path)
    assert message in str(raised.value)


def test_only_a_stretch_of_its_own_recording_is_a_cut() -> None:
    assert Recording("a", "x", "a#0-60").cut is None
    assert Recording("a", "x", "b#0-60", 0, 1).cut is None
    assert Recording("a", "x", "a#60-0", 0, 1).cut is None
    assert Recording("a", "x", "a#060-120", 60, 61).split_key == "a"
    assert Recording("a", "x", cut_group("a", 60, 120), 60, 61).split_key == "a#60-120"


# -------------------------------------------------------------------------------------------------------------- splits


def contents(recordings: Sequence[Recording]) -> dict[str, str]:
    return {r.path: f"content of {r.path}" for r in recordings}


def test_the_stretches_of_one_recording_come_into_all_parts_and_each_group_stays_whole(tmp_path: Path) -> None:
    recordings = [*minutes("a/1.wav"), *whole(*(f"b/{n}.wav" for n in range(10)))]
    recordings += [Recording("a/1.wav", "b", "a/1.wav#0-60", 58.0, 58.0)]
    division = split.make(recordings, contents(recordings), SPEC)
    assert {division.part_of(r) for r in recordings if r.label == "a"} == {"train", "validation", "test"}
    assert len(division.part) == 20 and "b/3.wav" in division.part and "a/1.wav#60-120" in division.part
    assert division.part_of(recordings[0]) == division.part_of(recordings[-1])
    division.write(tmp_path / "split.json")
    assert split.read(tmp_path / "split.json") == division
    folds = split.make_folds(recordings, contents(recordings), SPEC)
    for recording in recordings:
        assert [fold.part_of(recording) for fold in folds].count("test") == 1
    assert division.part_of(Recording("c.wav", "c", "c.wav")) is None


def test_identical_recordings_join_only_groups_that_overlap() -> None:
    recordings = [*minutes("a/1.wav", 3), *minutes("a/2.wav", 3)]
    same = dict.fromkeys(("a/1.wav", "a/2.wav"), "same")
    names = ["a/1.wav#0-60", "a/1.wav#60-120", "a/1.wav#120-180"]
    assert split.merge_groups(recordings, same) == [*names, *names]
    other = cut(whole("a/2.wav"), {"a/2.wav": 180.0}, 40)  # 0-40, 40-80, 80-120, 120-160, 160-200
    merged = split.merge_groups([*recordings[:3], *other], same)
    assert merged == [*[names[0]] * 2, names[2], *[names[0]] * 3, *[names[2]] * 2]
    uncut = [Recording("a/2.wav", "a", "site", 70.0, 80.0)]
    assert split.merge_groups([*recordings[:3], *uncut], same) == [names[0], names[1], names[2], names[1]]
    assert len(set(split.merge_groups([*recordings[:3], *whole("a/2.wav")], same))) == 1
    different = split.merge_groups(recordings, contents(recordings))
    assert different == [r.group for r in recordings]


def test_with_two_labels_the_refusal_names_the_option() -> None:
    recordings = whole("a/1.wav", *(f"b/{n}.wav" for n in range(9)))
    for rare in ("train", "drop", "refuse"):
        spec = SPEC.model_copy(update={"rare": rare})
        with pytest.raises(SplitError, match=r"'a' has 1 group, .*init --cut-groups 60s"):
            split.make(recordings, contents(recordings), spec)
        (found,) = class_balance.check_rare(recordings, contents(recordings), spec)
        assert found.severity == "fail" and "init --cut-groups 60s" in found.remedy
    with pytest.raises(SplitError, match=r"too few for 2 folds, .*init --cut-groups 60s"):
        split.make_folds(recordings, contents(recordings), SPEC)
    recordings = [*minutes("a/1.wav"), *recordings[1:]]
    assert class_balance.check_rare(recordings, contents(recordings), SPEC) == []
    assert split.make(recordings, contents(recordings), SPEC).of("test")


# --------------------------------------------------------------------------------------------------------------- audit


def pair(first: str, second: str, lag_s: float = 0.0) -> DuplicatePair:
    return DuplicatePair(first, second, True, lag_s, 1.0, 1.0, 1.0)


def test_the_audit_warns_of_cut_groups_and_calls_them_no_leak() -> None:
    recordings = minutes("a/1.wav")
    part_of = {r.split_key: "test" if n % 2 else "train" for n, r in enumerate(recordings)}
    (passed,) = leaks.check_splits([], recordings, {"split.json": part_of})
    assert passed.severity == "pass"
    (found,) = groups.check_cut(recordings)
    assert found.severity == "warn" and found.sentence.startswith(
        "10 groups are stretches of 1 recording (--cut-groups): neighbouring stretches of one recording are on both "
    )
    assert groups.check_cut(whole("a/1.wav")) == []


def test_copies_leak_only_where_groups_that_overlap_are_in_different_parts() -> None:
    recordings = [*minutes("a/1.wav", 3), *minutes("a/2.wav", 3)]
    division = split.make(
        [*recordings, *whole(*(f"b/{n}.wav" for n in range(9)))],
        dict.fromkeys(("a/1.wav", "a/2.wav"), "same") | {f"b/{n}.wav": f"{n}" for n in range(9)},
        SPEC,
    )
    copies = pair("a/1.wav", "a/2.wav")
    assert leaks.find_leaks([copies], recordings, division.part) == []
    assert [f.severity for f in leaks.check_duplicates([copies], recordings, dict.fromkeys(("a/1.wav", "a/2.wav"), "s"))
            ] == ["pass", "pass"]  # fmt: skip
    (leak,) = leaks.find_leaks([pair("a/1.wav", "a/2.wav", 60.0)], recordings, division.part)
    assert leak.parts[0] != leak.parts[1] and {r.split("#")[0] for r in leak.groups} == {"a/1.wav", "a/2.wav"}
    assert leaks.find_leaks([pair("a/1.wav", "a/2.wav", 180.0)], recordings, division.part) == []


def test_copies_with_two_labels_are_named_although_they_are_cut() -> None:
    recordings = [*minutes("a/1.wav", 3), *minutes("b/1.wav", 3)]
    (found,) = leaks.check_duplicate_labels([pair("a/1.wav", "b/1.wav")], recordings)
    assert found.severity == "fail" and found.examples == ["a/1.wav (a) = b/1.wav (b)"]
    calls = cut([Recording(p, p[0], p, 5.0, 6.0) for p in ("a/1.wav", "b/1.wav")], {"a/1.wav": 300, "b/1.wav": 300})
    (found,) = leaks.check_duplicate_labels([pair("a/1.wav", "b/1.wav")], calls)
    assert found.severity == "pass"


def test_merging_the_groups_of_copies_undoes_their_cuts_and_no_others(tmp_path: Path) -> None:
    recordings = [*minutes("a/1.wav", 3), *minutes("a/2.wav", 3), *minutes("a/3.wav", 3)]
    merged = leaks.merge_groups([pair("a/1.wav", "a/2.wav")], recordings).recordings
    assert [r.group for r in merged] == ["a/1.wav"] * 6 + [r.group for r in recordings[6:]]
    manifest.write(tmp_path / "manifest.csv", merged)
    assert len(manifest.read(tmp_path / "manifest.csv", root=tmp_path)) == 9


# ------------------------------------------------------------------------------------------------------- the whole way


@pytest.mark.slow
def test_init_names_the_option_where_it_helps_and_writes_a_manifest_that_can_be_read(tmp_path: Path) -> None:
    for label, hz in (("low", 300), ("high", 2_500)):
        (tmp_path / "sounds" / label).mkdir(parents=True)
        soundfile.write(tmp_path / "sounds" / label / "long.wav", sounds.tone(hz, 30), sounds.RATE)
    init = ("init", "sounds", "--preset", "spectrogram")
    assert "audiocnn init --cut-groups 60s" in audiocnn(*init, cwd=tmp_path).stdout
    assert "would be cut" in audiocnn(*init, "--cut-groups", "1min", "--force", cwd=tmp_path, code=2).stderr
    found = audiocnn(*init, "--cut-groups", "5s", "--force", cwd=tmp_path).stdout
    assert "2 of 2 files are cut into 12 groups" in found and "figures are too good" in found
    recordings = manifest.read(tmp_path / "manifest.csv", root=tmp_path / "sounds")
    assert len(recordings) == len({r.split_key for r in recordings}) == 12
    assert sum(r.end_s - r.start_s for r in recordings) == 2 * (30 - 5 * 2)  # type: ignore[operator,misc]


@pytest.mark.slow
def test_calls_and_background_of_one_recording_are_tested_in_groups_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "sounds").mkdir()
    calls = [k + 1.0 for k in range(0, 30, 3)]  # of 0.5 s
    samples = 0.3 * sounds.noise(30)
    for start_s in calls:
        first = round(start_s * sounds.RATE)
        samples[first : first + sounds.RATE // 2] += sounds.tone(2_000, 0.5)
    soundfile.write(tmp_path / "sounds" / "dawn.wav", samples, sounds.RATE)
    (tmp_path / "sounds" / "dawn.txt").write_text("".join(f"{s}\t{s + 0.5}\tcall\n" for s in calls))
    audiocnn("init", "sounds", "--preset", "spectrogram", "--cut-groups", "6s", cwd=tmp_path)
    set_lines(tmp_path / "audiocnn.yaml", model='"4C3S2-GAP-*"', epochs="1", bootstrap="100", explain="0")
    assert "5 groups are stretches of 1 recording" in audiocnn("run", cwd=tmp_path).stderr
    run = tmp_path / "runs" / "sounds"
    parts = json.loads((run / "split.json").read_text())["parts"]
    assert sorted(itertools.chain(*parts.values())) == sorted(f"dawn.wav#{s}-{s + 6}" for s in range(0, 30, 6))
    audiocnn("evaluate", "--part", "train", cwd=tmp_path)
    audiocnn("crossval", "--folds", "2", cwd=tmp_path)
    for file, groups_of_it in (
        (run / "predictions.csv", parts["test"]),
        (run / "evaluations" / "train" / "predictions.csv", parts["train"]),
        (run / "crossval" / "predictions.csv", list(itertools.chain(*parts.values()))),
    ):
        with file.open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        assert {row["group"] for row in rows} == set(groups_of_it)
        assert {row["truth"] for row in rows} == {"call", "background"}
        for row in rows:
            start, end = map(int, row["group"].rpartition("#")[2].split("-"))
            assert start <= float(row["start_s"]) <= float(row["end_s"]) <= (end if end == 30 else end - 2)
    assert "split.json keeps all copies and all groups together" in audiocnn("audit", cwd=tmp_path).stdout
