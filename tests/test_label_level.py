"""The level of folders that names the labels: never parts of a split, folds, dates or places in silence."""

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import soundfile
import sounds
from projects import audiocnn

from audiocnn.audit import label_layout
from audiocnn.dataset import class_folders, label_level, manifest
from audiocnn.dataset.manifest import Recording
from audiocnn.dataset.problems import Report
from audiocnn.errors import ConfigError, ManifestError

KINDS = {
    "split": [
        "train test",
        "TRAIN Valid Test",
        "training testing",
        "Training_data Validation_data",
        "trainset testset",
        "1_train 2_val 3_test",
        "train-clean-100 dev-clean test-other",
        "train_curated train_noisy test",
        "development evaluation",
        "birds_train birds_eval",
        "train held-out",
    ],
    "mixed": ["train test extras", "frog_train frog_test newt_train newt_test"],
    "fold": ["fold1 fold2", "Fold_01 Fold_02", "cv0 cv1 cv2", "split-1 split-2", "foldA foldB", "1st_fold 2nd_fold"],
    "date": [
        "2019 2020",
        "2021-06-05 2021-06-06",
        "20210605 20210606",
        "20210605_213000 20210606_213000",
        "05.06.2021 06.06.2021",
        "June_2021 July_2021",
        "Monday Tuesday",
        "night1 night2",
        "2021-06-05_dawn pond_20210606",
        "week_12 week_13",
    ],
    "part": [
        "site1 site2",
        "siteA siteB",
        "Plot_north Plot_south",
        "Session01 Session02",
        "spk1 spk2",
        "Actor_01 Actor_02",
        "subject-7 subject-9",
        "mic1 mic2",
        "part_one part_two",
        "speaker_anna speaker_ben",
        "session1_am session1_pm",
        "id_00 id_02",
        "take_1 take_2 notes",
    ],
    "code": ["0 1 2", "S01 S02", "p225 p226", "A B", "raw processed", "wav mp3"],
    "plain": [
        "train bus car",
        "test_tone siren",
        "freight_train passenger_train",
        "May June_beetle",
        "run walk",
        "room kitchen",
        "robin wren",
        "tawny_owl barn_owl",
        "robin_1 robin_2",
        "call_a song",
        "part_song hymn",
    ],
    "single": ["train", "owl"],
}


def tree(root: Path, *paths: str) -> Path:
    """Make empty files; their names suffice to list them."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


def grid(*levels: str) -> list[str]:
    """The paths of two files in every folder of a full tree; each level is given by its names."""
    return ["/".join(path) for path in itertools.product(*(level.split() for level in levels), ["x.wav", "y.wav"])]


@dataclass
class Read:
    """What was read from a folder."""

    recordings: list[Recording]
    notes: list[str]
    problems: list[str]


def read_folder(root: Path, **options: Any) -> Read:
    report = Report()
    recordings = class_folders.read(root, report=report, **options)
    return Read(recordings, report.notes, [str(problem) for problem in report.problems])


def counts(read: Read) -> dict[str, int]:
    labels = [recording.label for recording in read.recordings]
    return {label: labels.count(label) for label in sorted(set(labels))}


def refusal(root: Path) -> str:
    with pytest.raises(ManifestError) as raised:
        read_folder(root)
    assert "\n" not in str(raised.value)
    return str(raised.value).removeprefix(f"{root}: cannot tell which folders name the labels: ")


@pytest.mark.parametrize(("names", "kind"), [(names, kind) for kind, all_ in KINDS.items() for names in all_])
def test_names_of_folders_stand_for(names: str, kind: str) -> None:
    assert label_level.kind_of(names.split()) == kind


@pytest.mark.parametrize(
    ("parts", "split"),
    [
        ("Test Training", "test train"),
        ("train val", "train validation"),
        ("dev eval train", "validation test train"),
        ("dev test", "train test"),
        ("eval test train", "validation test train"),
        ("test train_curated train_noisy", "test train train"),
    ],
)
def test_split_folders_become_the_split_of_the_classes_below(parts: str, split: str, tmp_path: Path) -> None:
    read = read_folder(tree(tmp_path, *grid(parts, "frog newt toad")))
    n = 2 * len(parts.split())
    assert counts(read) == {"frog": n, "newt": n, "toad": n}
    expected = dict(zip(parts.split(), split.split(), strict=True))
    assert {r.path.split("/")[0]: r.split for r in read.recordings} == expected
    assert read.notes[0] == "Labels are the folders of level 2: 'frog', 'newt', 'toad'."
    assert all(f"'{name}' is {part}" in read.notes[1] for name, part in expected.items())


def test_split_folders_below_the_classes_become_the_split_as_well(tmp_path: Path) -> None:
    read = read_folder(tree(tmp_path, *grid("frog newt", "train test")))
    assert counts(read) == {"frog": 4, "newt": 4}
    assert {(r.path.split("/")[1], r.split) for r in read.recordings} == {("train", "train"), ("test", "test")}


def test_a_vehicle_named_train_is_a_label(tmp_path: Path) -> None:
    read = read_folder(tree(tmp_path, *grid("bus train tram")))
    assert counts(read) == {"bus": 2, "train": 2, "tram": 2}
    assert not read.notes and {r.split for r in read.recordings} == {None}


def test_folds_become_the_folds_of_crossval(tmp_path: Path) -> None:
    read = read_folder(tree(tmp_path, *grid("fold1 fold2 fold10", "frog newt")))
    assert counts(read) == {"frog": 6, "newt": 6}
    assert {r.path.split("/")[0]: r.fold for r in read.recordings} == {"fold1": 1, "fold2": 2, "fold10": 10}
    assert "The folds of crossval are taken from the folders of level 1" in read.notes[1]


@pytest.mark.parametrize(
    "parts", ["2021-06-05 2021-06-06", "site_1 site_2", "plotA plotB", "speaker_1 speaker_2", "07 08"]
)
def test_classes_below_dates_places_and_numbers_are_the_labels_and_the_groups_are_named(
    parts: str, tmp_path: Path
) -> None:
    read = read_folder(tree(tmp_path, *grid(parts, "frog newt")))
    assert counts(read) == {"frog": 4, "newt": 4}
    (pattern,) = (note.split("'")[-2] for note in read.notes if "--group-by" in note)
    grouped, unmatched = manifest.group_by(read.recordings, pattern)
    assert ({r.group for r in grouped}, unmatched) == (set(parts.split()), 0)


def test_places_below_the_classes_leave_the_classes_as_labels(tmp_path: Path) -> None:
    read = read_folder(tree(tmp_path, *grid("frog newt", "site1 site2", "raw cut")))
    assert counts(read) == {"frog": 8, "newt": 8}
    assert "--group-by '^[^/]+/([^/]+)/'" in read.notes[1]
    assert read.notes[2] == "Not used are the folders of level 3 ('cut', 'raw')."


def test_one_folder_above_the_classes_is_passed_over(tmp_path: Path) -> None:
    read = read_folder(tree(tmp_path, *grid("archive", "frog newt")))
    assert counts(read) == {"frog": 2, "newt": 2}
    assert read.notes == ["Labels are the folders of level 2: 'frog', 'newt'."]


def test_unrelated_folders_below_the_classes_change_nothing_but_are_mentioned(tmp_path: Path) -> None:
    root = tree(tmp_path, "frog/anna/a.wav", "frog/ben/b.wav", "newt/c.wav", "newt/carl/d.wav")
    read = read_folder(root)
    assert counts(read) == {"frog": 2, "newt": 2}
    assert read.notes[0] == "Labels are the folders of level 1: 'frog', 'newt'."


@pytest.mark.parametrize(
    ("levels", "doubt"),
    [
        (["train test"], "'test', 'train' name parts of a split, and no folders below them name labels; "),
        (["fold1 fold2"], "'fold1', 'fold2' name folds, and no folders below them name labels; "),
        (["2019 2020"], "'2019', '2020' name dates, and no folders below them name labels; "),
        (["siteA siteB"], "'siteA', 'siteB' name places, sessions, speakers or other parts, and no folders below them"),
        (["speaker1 speaker2", "session1 session2"], "'speaker1', 'speaker2' name places, sessions, speakers or other"),
        (["frog_train frog_test newt_train newt_test"], "'frog_test', 'frog_train', 'newt_test', ... name parts of a"),
        (["extra train test", "frog newt"], "of 'extra', 'test', 'train' some name parts of a split; "),
        (["meadow forest", "frog newt"], "the same folders 'frog', 'newt' recur below 'forest', 'meadow'; "),
        (["01 02", "A B"], "the same folders 'A', 'B' recur below '01', '02'; "),
    ],
)  # fmt: skip
def test_folders_that_may_not_be_labels_are_refused_with_the_choice(
    levels: list[str], doubt: str, tmp_path: Path
) -> None:
    said = refusal(tree(tmp_path, *grid(*levels)))
    assert said.startswith(doubt)
    assert "; pass --label-level N (1: '" in said and said.endswith("), or --label-regex REGEX")
    assert set(counts(read_folder(tmp_path, level=1))) == set(levels[0].split())


def test_files_without_a_class_beside_split_folders_with_classes_are_refused(tmp_path: Path) -> None:
    said = refusal(tree(tmp_path, *grid("train", "frog newt"), "test/1.wav", "test/2.wav"))
    assert said.startswith("'test', 'train' name parts of a split, and no folders below them name labels")


def test_parts_whose_folders_differ_are_refused(tmp_path: Path) -> None:
    said = refusal(tree(tmp_path, "train/19/a.wav", "train/26/a.wav", "test/32/a.wav", "test/39/a.wav"))
    assert said.startswith("'test', 'train' name parts of a split, and the folders below differ from one to the next")


def test_a_level_can_be_chosen_and_the_split_is_still_taken(tmp_path: Path) -> None:
    read = read_folder(tree(tmp_path, *grid("train test", "meadow forest", "frog newt")), level=3)
    assert counts(read) == {"frog": 8, "newt": 8}
    assert {r.split for r in read.recordings} == {"train", "test"}
    with pytest.raises(ManifestError, match=r"^--label-level 4: test/.* and 15 more not below that many folders"):
        read_folder(tmp_path, level=4)


def test_the_label_can_be_part_of_the_path(tmp_path: Path) -> None:
    root = tree(
        tmp_path, *(f"{part}/{i}_{word}_x.wav" for part in ("train", "test") for i, word in enumerate(["yes", "no"]))
    )
    tree(root, "train/notes.wav")
    read = read_folder(root, pattern=r"\d_([a-z]+)_")
    assert counts(read) == {"no": 2, "yes": 2}
    assert {r.path.split("/")[0]: r.split for r in read.recordings} == {"train": "train", "test": "test"}
    assert read.problems == ["train/notes.wav: does not match --label-regex"]
    with pytest.raises(ConfigError, match=r"^--label-regex '\(': not a regular expression"):
        read_folder(root, pattern="(")
    with pytest.raises(ConfigError, match=r"^--label-regex 'zzz': matches no path, such as test/"):
        read_folder(root, pattern="zzz")


def finding(*rows: tuple[str, str], split: str | None = None) -> str:
    """What the audit reports for these paths and labels."""
    recordings = [Recording(path, label, path, split=split) for path, label in rows]
    return "".join(one.sentence for one in label_layout.check_level(recordings))


def test_the_audit_reports_labels_that_are_no_labels() -> None:
    by_split = [(path, path.split("/")[0]) for path in grid("train test", "frog newt")]
    assert finding(*by_split) == (
        "The labels are the folders 'test', 'train', but the folders 'frog', 'newt' look more like labels."
    )
    by_place = [(path, path.split("/")[0]) for path in grid("meadow forest", "frog newt")]
    assert "the same folders 'frog', 'newt' recur below 'forest', 'meadow'" in finding(*by_place)
    assert finding(("a.wav", "fold1"), ("b.wav", "fold2")) == "The labels 'fold1', 'fold2' name folds."
    unused = [(path, path.split("/")[1]) for path in grid("train test", "frog newt")]
    assert "which the manifest does not have in its column split" in finding(*unused)
    assert finding(*unused, split="train") == ""
    assert finding(*((path, path.split("/")[0]) for path in grid("frog newt", "site1 site2"))) == ""
    assert finding(("x/a.wav", "frog"), ("b.wav", "newt")) == ""


@pytest.mark.slow
def test_the_command_takes_the_split_or_the_level_and_the_audit_agrees(tmp_path: Path) -> None:
    for i, path in enumerate(grid("sounds", "Training Testing", "frog newt")):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / path, sounds.noise(0.5, seed=i), sounds.RATE)
    said = audiocnn("init", "sounds", cwd=tmp_path).stdout
    assert "Labels are the folders of level 2: 'frog', 'newt'." in said
    assert "'Testing' is test, 'Training' is train" in said
    assert (tmp_path / "manifest.csv").read_text().splitlines()[1].endswith(",frog,Testing/frog/x.wav,test")
    said = audiocnn("init", "sounds", "--label-level", "1", "--force", cwd=tmp_path).stdout
    assert "Labels are the folders of level 1" in said
    audited = audiocnn("audit", cwd=tmp_path, code=2).stdout
    assert "the folders 'frog', 'newt' look more like labels" in audited
    for options, reason in (
        (("manifest.csv", "--label-level", "1"), "--label-level: has no effect on manifest.csv, which is not a folder"),
        (("sounds", "--label-level", "1", "--label-regex", "x"), "pass one of them"),
    ):
        assert reason in audiocnn("init", *options, cwd=tmp_path, code=2).stderr
