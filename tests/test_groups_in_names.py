"""Groups in file names are found for each label, and the suggested --group-by makes just these groups."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import sounds
from projects import audiocnn

from audiocnn.audio.probe import Probe
from audiocnn.audit import groups as names_check
from audiocnn.audit import shortcuts
from audiocnn.dataset import class_folders, groups, manifest
from audiocnn.dataset.manifest import Recording


def recordings_of(*paths: str) -> list[Recording]:
    return [Recording(path, path.split("/")[0], path) for path in paths]


def suggested(*paths: str) -> list[list[str]]:
    """Return the names of the groups of every grouping, and check that its pattern makes its groups."""
    recordings, found = recordings_of(*paths), []
    for level in groups.suggest(recordings):
        grouped, n_unmatched = manifest.group_by(recordings, level.pattern)
        assert {r.path: r.group for r in grouped} == dict(level.group)
        assert n_unmatched == level.n_alone and "'" not in level.pattern
        assert set(level.names) == {r.group for r in grouped if r.group != r.path}
        found.append(level.names)
    return found


DRONES = [
    *(f"drone/B_S2_D1_{take:03d}-bebop_{part:03d}_.wav" for take in range(67, 72) for part in range(4)),
    *(f"drone/mixed_{take}-bebop_{part:03d}_.wav" for take in range(24, 28) for part in range(3)),
    *(f"drone/mixed_membo_{take}-membo_{part:03d}_.wav" for take in range(3) for part in range(3)),
    *(f"drone/Membo_{day}_{take:03d}-membo_{part:03d}_.wav" for day in (0, 1) for take in (7, 9) for part in range(3)),
    *(f"drone/extra_membo_D2_{number}.wav" for number in range(2000, 2009)),
    *(f"other/{fold}-{17295 + 7 * n}-{t}-29{k}.wav" for fold in (1, 2) for n in (1, 2) for t in "AB" for k in range(4)),
    *(f"other/{fold}-{36402 + fold}-A-23{k}.wav" for fold in (3, 4) for k in range(4)),
    *(f"other/white_noise{part:03d}.wav" for part in range(6)),
]
SESSIONS = {"B_S2_D1", "mixed", "mixed_membo", "Membo_0", "Membo_1", "extra_membo_D2"}
CLIPS = {"17302", "17309", "36405", "36406"}


def test_names_suggest_parts_of_recordings_then_sessions() -> None:
    fine, middle, *_ = suggested(*DRONES)
    assert {"B_S2_D1_067-bebop", "mixed_24-bebop", "Membo_1_009-membo", "white_noise", *CLIPS} <= set(fine)
    assert set(middle) == {*SESSIONS, *CLIPS, "white_noise"}
    levels = groups.suggest(recordings_of(*DRONES))
    assert levels[1].n_groups == {"drone": 6, "other": 5}
    assert [form.source for form in levels[0].forms] == ["ESC-50"]


def test_a_grouping_is_kept_in_recordings_that_have_its_groups_or_coarser_ones() -> None:
    recordings = recordings_of(*DRONES)
    fine, middle, *_ = groups.suggest(recordings)
    in_sessions, _ = manifest.group_by(recordings, middle.pattern)
    assert middle.is_kept_in(in_sessions) and fine.is_kept_in(in_sessions)
    in_takes, _ = manifest.group_by(recordings, fine.pattern)
    assert fine.is_kept_in(in_takes) and not middle.is_kept_in(in_takes)
    assert not fine.is_kept_in(recordings)


HOURS = [f"{hour:02d}0000" for hour in (4, 5, 21)]
KNOWN: dict[str, tuple[list[str], list[set[str]]]] = {
    "ESC-50": (
        [
            f"{label}/{1 + n}-{number}-{take}-{n}.wav"
            for label, number in (("dog", 110), ("rain", 250), ("sea", 31))
            for n, number in enumerate(range(number, number + 3))
            for take in "AB"
        ],
        [{"110", "111", "112", "250", "251", "252", "31", "32", "33"}],
    ),
    "UrbanSound8K": (
        [f"{c}/{9000 + n}-{c}-{o}-{s}.wav" for c in (3, 4) for n in range(4) for o in (0, 2) for s in (0, 1, 10)],
        [{"9000", "9001", "9002", "9003"}],  # one recording has both sounds
    ),
    "Speech Commands": (
        [f"{word}/{n:08x}_nohash_0.wav" for word in ("yes", "no", "bed") for n in (0xBED00001, 7, 0xFACE)],
        [{"bed00001", "00000007", "0000face"}],  # of every word one recording a speaker
    ),
    "Free Spoken Digit Dataset": (
        [f"{digit}/{digit}_{who}_{n}.wav" for digit in "58" for who in ("lu", "george", "zoë") for n in range(3)],
        [{"lu", "george", "zoë"}],
    ),
    "IRMAS": (
        [
            f"{i}/[{i}][{g}]{n:04d}__{k}.wav"
            for i, g in (("cla", "jaz"), ("flu", "cla"))
            for n in (1, 5, 9)
            for k in (1, 2)
        ]
        + [f"cel/{n:03d}__[cel][nod][cla]{50 + n:04d}__{k}.wav" for n in (8, 12, 13) for k in (1, 2)],
        [{"0001", "0005", "0009", "0058", "0062", "0063"}],
    ),
    "Freesound": (
        [
            f"{c}/{n}__{who}__{title}.wav"
            for c in "ab"
            for n, title in ((71, "a dog"), (90, "x_y"))
            for who in ("q", "r", "s")
        ],
        [{"q", "r", "s"}],
    ),
    "AudioMoth": (
        [
            f"{c}/2021060{day}_{hour}{t}.WAV"
            for c in ("owl", "fox")
            for day in (1, 2, 3)
            for hour in HOURS
            for t in ("", "T")
        ],
        [{"20210601", "20210602", "20210603"}],
    ),
    "older AudioMoths": (
        [f"{c}/{0x5BE50000 + 65536 * n + k:08X}.WAV" for c in ("owl", "fox") for n in range(3) for k in (1, 4000)],
        [{"5BE5", "5BE6", "5BE7"}],
    ),
    "recorders such as Song Meter": (
        [
            f"{c}/{d}_2019051{k}{h}.wav"
            for c in ("owl", "fox")
            for d in ("SM4", "2MA0_0+1", "24F3BC")
            for k in "34"
            for h in ("_040000", "$210000_000")
        ],
        [{f"{d}_2019051{k}" for d in ("SM4", "2MA0_0+1", "24F3BC") for k in "34"}, {"SM4", "2MA0_0+1", "24F3BC"}],
    ),
}


@pytest.mark.parametrize("source", [form.source for form in groups.FORMS])
def test_known_names_tell_the_groups_that_their_data_set_or_recorder_writes(source: str) -> None:
    paths, expected = KNOWN[source]
    assert [set(level) for level in suggested(*paths)] == expected
    for level in groups.suggest(recordings_of(*paths)):
        assert [form.source for form in level.forms] == [source]


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        pytest.param(
            [
                f"{c}/{n:02d}-{k}.wav"
                for c, first in (("a", 1), ("b", 9))
                for n in range(first, first + 4)
                for k in "123"
            ],
            [{"01", "02", "03", "04", "09", "10", "11", "12"}],
            id="leading numbers",
        ),
        pytest.param(
            [f"{c}/{k:03d}_{1000 + n}.wav" for c in "ab" for n in range(3) for k in range(9 * n, 9 * n + 4)],
            [{"1000", "1001", "1002"}],
            id="numbers behind a running number",
        ),
        pytest.param(
            [f"{c}/{c}_{k:02d}_{who}.wav" for c in ("yes", "no") for who in ("ann", "ben", "cy") for k in range(3)],
            [{"ann", "ben", "cy"}],
            id="words behind a running number",
        ),
        pytest.param(
            [
                f"{c}/{c} {site} ({k}).flac"
                for c in ("frog", "toad")
                for site in ("pond", "lake", "moor")
                for k in range(3)
            ],
            [{f"{c} {site}" for c in ("frog", "toad") for site in ("pond", "lake", "moor")}, {"pond", "lake", "moor"}],
            id="within a label, then across labels",
        ),
        pytest.param(
            [f"{c}/{who}_{k}.wav" for c in ("yes", "no", "up") for k, who in enumerate(("ann", "ben", "cy"))],
            [{"ann", "ben", "cy"}],
            id="one recording a speaker and label",
        ),
        pytest.param(
            [f"{c}/{n:04d}{part}.wav" for c in ("owl", "fox") for n in range(3, 7) for part in "abc"],
            [{"0003", "0004", "0005", "0006"}],
            id="letters as parts",
        ),
        pytest.param(
            [
                f"{c}/{site}/{k:03d}.wav"
                for c in ("owl", "fox")
                for site in ("north wood", "moor", "lake (2)")
                for k in range(3)
            ],
            [{"north wood", "moor", "lake (2)"}],
            id="sub-folders",
        ),
        pytest.param(
            [
                f"{c}/{p}_2020-01-0{d}_{h}-00-00.wav"
                for c in "xy"
                for p in ("hut", "bog")
                for d in "123"
                for h in ("04", "16")
            ],
            [{f"{p}_2020-01-0{d}" for p in ("hut", "bog") for d in "123"}],
            id="days of a place",
        ),
    ],
)
def test_shared_fields_of_names_are_groups(paths: list[str], expected: list[set[str]]) -> None:
    assert [set(level) for level in suggested(*paths)] == expected


def test_recordings_that_are_single_do_not_hide_the_groups_of_other_labels() -> None:
    singles = [f"wind/{name}.wav" for name in ("mill", "tree", "gate", "roof")]
    numbered = [f"bell/bell_{k:02d}.wav" for k in range(9)]
    grouped = [f"{c}/tour{tour}_{k:02d}.wav" for c in ("wren", "tit") for tour in "ABCD" for k in range(3)]
    (level,) = groups.suggest(recordings_of(*singles, *numbered, *grouped))
    assert set(level.names) == {"tourA", "tourB", "tourC", "tourD"}
    assert (level.n_grouped, level.n_alone) == ({"tit": 4, "wren": 4}, 4 + 9)
    assert level.n_groups == {"bell": 9, "tit": 4, "wind": 4, "wren": 4}


def test_a_label_from_one_place_belongs_to_the_group_of_that_place() -> None:
    one_place = [f"crow/crow_hill_{k}.wav" for k in range(4)]
    paths = [*one_place, *(f"jay/jay_{p}_{k}.wav" for p in ("hill", "moor", "pond") for k in range(4))]
    fine, coarse = suggested(*paths)
    assert set(fine) == {"crow_hill", "jay_hill", "jay_moor", "jay_pond"}
    assert set(coarse) == {"hill", "moor", "pond"}


def hashes(form: str) -> list[str]:
    rng = np.random.default_rng(0)
    return [f"{c}/" + form.format(h=rng.bytes(4).hex(), n=n, c=c) for c in ("cello", "flute") for n in range(50)]


@pytest.mark.parametrize(
    "form",
    [
        "{h}",
        "{h}-{h}",
        "{h}_nohash_0",
        "{n}",
        "{n:03d}",
        "tone_{n:03d}",
        "tone {n}",
        "{c}{n}",
        "{c}_{n:02d}",
        "fold1/{n}",
    ],
)
def test_hashes_and_mere_numbers_suggest_no_groups(form: str) -> None:
    assert suggested(*hashes(form + ".wav")) == []


def test_two_values_of_a_field_suggest_no_groups_and_folds_are_none() -> None:
    assert suggested(*(f"{c}/{side}_{k}.wav" for c in "ab" for side in ("left", "right") for k in range(9))) == []
    assert suggested(*(f"{c}/fold{fold}/{k}.wav" for c in "ab" for fold in range(5) for k in range(4))) == []


def test_hostile_names_give_safe_patterns_or_none() -> None:
    assert suggested(*(f"{c}/it's ({n}) [+]_{k}.wav" for c in "ab" for n in range(4) for k in range(4))) == []
    assert suggested(*(f"{c}/a\x1b{n}\n{k}.wav" for c in "ab" for n in range(4) for k in range(4))) == []
    odd = [f"{c}/$({n}) [+]*_{k}.wav" for c in "ab" for n in "xyz" for k in range(4)]
    assert suggested(*odd, *(f"c/$(one) [+]*_{k}.wav" for k in range(9))) == [["x", "y", "z"]]
    many = "-".join("abcdefghijklm")
    assert suggested(*(f"{c}/{c}{c}-{n}-{many}-{k}.wav" for c in "ab" for n in range(4) for k in range(4))) == [
        [f"{c}{c}-{n}-{many}" for c in "ab" for n in range(4)]
    ]
    assert suggested("a/.wav", "a/_.wav", "a/x", "b/-.-.wav") == suggested() == []


def test_groups_of_a_table_without_folders_are_found() -> None:
    rows = [Recording(f"7_{who}_{n}.wav", f"digit_{n % 2}", "x") for who in ("ann", "ben", "cy") for n in range(6)]
    (level,) = groups.suggest(rows)
    assert level.n_groups == {"digit_0": 3, "digit_1": 3}


def test_the_check_of_names_warns_with_the_option_or_names_what_it_looked_for() -> None:
    recordings = recordings_of(*KNOWN["UrbanSound8K"][0])
    (level,) = groups.suggest(recordings)
    found = names_check.check_names(recordings, [level])
    assert found.severity == "warn"
    assert (
        "4 groups" in found.sentence and "of UrbanSound8K, where the group is the Freesound recording" in found.sentence
    )
    (line,) = found.examples
    assert line.startswith("4 groups (3 4, 4 4), such as 9000, ") and line.endswith(f"--group-by '{level.pattern}'")
    grouped, _ = manifest.group_by(recordings, level.pattern)
    assert names_check.check_names(grouped, [level]).severity == "pass"
    nothing = names_check.check_names(recordings, [])
    assert nothing.severity == "pass" and nothing.sentence.startswith("No groups found in the file names. Looked for: ")
    assert "Speech Commands" in nothing.sentence and "cannot be found" in nothing.sentence


@pytest.mark.slow
def test_init_with_a_suggested_option_makes_just_the_groups_of_its_line(tmp_path: Path) -> None:
    paths = [f"{c}/{c}_{n}_{k}.wav" for c in ("drill", "siren") for n in ("ann", "bo", "cy") for k in range(2)]
    for seed, path in enumerate([*paths, "wind/mill.wav", "wind/tree.wav"]):
        (tmp_path / "sounds" / path).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / "sounds" / path, sounds.noise(0.2, seed=seed), sounds.RATE)
    first = audiocnn("init", "sounds", "--jobs", "1", cwd=tmp_path).stdout
    lines = re.findall(
        r"^  (\d+) groups \(.*\) and 2 recordings alone, such as .*: --group-by '(.*)'$", first, re.MULTILINE
    )
    assert [int(n) for n, _ in lines] == [6, 3]
    for n, pattern in lines:
        said = audiocnn("init", "sounds", "--group-by", pattern, "--force", "--jobs", "1", cwd=tmp_path).stdout
        assert "--group-by '" not in said
        made = {r.group for r in manifest.read(tmp_path / "manifest.csv", root=tmp_path / "sounds")}
        assert len(made) == int(n) + 2


def test_a_label_is_removed_from_a_name_as_a_word_only() -> None:
    measured = Probe("0", "wav", 2.0, 16_000, 1, 0.5, 7_000.0, ())
    form: Callable[[str, str], object] = lambda name, label: shortcuts.cue_table(  # noqa: E731
        [Recording(f"x/{name}.wav", label, "g")], {f"x/{name}.wav": measured}
    ).measures["name_form"][0]
    assert form("3f_nohash_0", "no") == "9a_a_9"
    assert form("12bed3f_nohash_0", "bed") == "9a9a_a_9"
    assert form("take_No-7", "no") == "a_-9"
    assert form("no12", "no") == "9"


def test_names_with_the_label_inside_words_are_no_shortcut() -> None:
    rng = np.random.default_rng(1)
    rows = [
        Recording(f"{w}/{rng.bytes(4).hex()}_nohash_0.wav", w, str(n)) for n, w in enumerate(("no", "ash", "up") * 20)
    ]
    measured = Probe("0", "wav", 2.0, 16_000, 1, 0.5, 7_000.0, ())
    (found,) = shortcuts.findings(shortcuts.cue_table(rows, {r.path: measured for r in rows}), seed=0)
    assert found.sentence == "Neither length, level, noise, bandwidth, format nor name alone predicts the label."


def test_real_names_suggest_recordings_and_sessions(data_dir: Path) -> None:
    found = groups.suggest(class_folders.read(data_dir / "drones"))
    sessions = {group for path, group in found[1].group.items() if path.startswith("drone/")}
    assert sessions == {*SESSIONS, "Membo_2"}
    assert found[0].group["drone/B_S2_D1_067-bebop_000_.wav"] == "B_S2_D1_067-bebop"
    assert found[0].group["other/1-17295-A-293.wav"] == found[1].group["other/1-17295-A-293.wav"] == "17295"
    assert groups.suggest(class_folders.read(data_dir / "instruments")) == []
    (speakers,) = groups.suggest(manifest.read(data_dir / "digits" / "manifest.csv", root=data_dir / "digits"))
    assert set(speakers.names) == {"jackson", "nicolas", "theo"}
