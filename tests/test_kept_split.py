"""The split of the last training is kept when recordings change, and divided anew only if asked."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from audiocnn.dataset import kept_split, split
from audiocnn.dataset.manifest import Recording
from audiocnn.dataset.split import Split
from audiocnn.errors import SplitError
from audiocnn.specs import SplitSpec

SPEC = SplitSpec(test=0.25, validation=0.25, seed=0)
ROWS = [
    Recording(f"{label}/{player}_{n}.wav", label, f"{label} {player}")
    for label in ("owl", "wind")
    for player in range(8)
    for n in range(2)
]


def contents(rows: Sequence[Recording], **renamed: str) -> dict[str, str]:
    return {r.path: hashlib.sha256(renamed.get(r.path, r.path).encode()).hexdigest() for r in rows}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = split.make(ROWS, contents(ROWS), SPEC)
    kept_split.describe(made, ROWS, contents(ROWS), SPEC).write(tmp_path / "split.json")
    return tmp_path / "split.json"


def kept(
    file: Path, rows: Sequence[Recording], spec: SplitSpec = SPEC, rare: Sequence[str] = (), **renamed: str
) -> tuple[Split, str]:
    return kept_split.keep(file, rows, contents(rows, **renamed), spec, rare=rare, anew="audiocnn train --new-split")


def refusal(file: Path, rows: Sequence[Recording], spec: SplitSpec = SPEC) -> str:
    with pytest.raises(SplitError) as caught:
        kept(file, rows, spec)
    line = str(caught.value)
    assert line.startswith(f"{file}: ") and line.endswith(
        ", or run 'audiocnn train --new-split' to divide all recordings anew"
    )
    return line


def member(file: Path, part: str, label: str = "owl") -> Recording:
    division = split.read(file)
    return next(r for r in ROWS if r.label == label and division.part_of(r) == part)


def test_without_a_change_the_split_is_the_same_and_nothing_is_said(file: Path) -> None:
    before = file.read_bytes()
    division, line = kept(file, ROWS[::-1])
    assert line == ""
    division.write(file)
    assert file.read_bytes() == before


def test_all_others_stay_in_their_part_when_some_are_gone_and_these_return_to_theirs(file: Path) -> None:
    before = split.read(file)
    division, line = kept(file, ROWS[3:])
    assert dict(division.part) == {r.path: before.part[r.path] for r in ROWS[3:]}
    assert division.key == split.make(ROWS[3:], contents(ROWS[3:]), SPEC).key  # so that it is the same next time
    assert line == f"{file} is kept: 3 recordings are gone (such as owl/0_0.wav)"
    division.write(file)
    assert kept(file, ROWS[3:])[1] == ""
    again, line = kept(file, ROWS)
    assert again.digest == before.digest and again.gone == {} and "3 recordings are back" in line


def test_a_renamed_recording_keeps_its_part_by_its_content(file: Path) -> None:
    one = member(file, "test")
    rows = [replace(r, path="new name.wav", group="new name.wav") if r == one else r for r in ROWS]
    division, line = kept(file, rows, **{"new name.wav": one.path})
    assert division.part["new name.wav"] == "test" and one.path not in {**division.part, **division.gone}
    assert line == f"{file} is kept: 1 recording is renamed (such as {one.path})"


def test_a_new_recording_joins_its_group_and_one_of_a_new_group_is_refused(file: Path) -> None:
    one = member(file, "validation")
    division, line = kept(file, [*ROWS, Recording("more.wav", one.label, one.group)])
    assert division.part["more.wav"] == "validation" and "1 recording is new and in the part of their group" in line
    copy = Recording("copy.wav", one.label, "stranger")  # byte-identical
    assert kept(file, [*ROWS, copy], **{"copy.wav": one.path})[0].part["copy.wav"] == "validation"
    stranger = Recording("stranger.wav", "owl", "stranger")
    assert "1 recording is new, in 1 group that no part has, such as stranger.wav" in refusal(file, [*ROWS, stranger])
    assert kept(file, [*ROWS, stranger], rare=["owl"])[0].part["stranger.wav"] == "train"


def test_changed_settings_are_refused_by_name_where_they_matter(file: Path) -> None:
    other = SplitSpec(test=0.5, validation=0.25, seed=3)
    assert "split.test was 0.25 and is 0.5, split.seed was 0 and is 3; set it back" in refusal(file, ROWS, other)
    assert kept(file, ROWS, SPEC.model_copy(update={"rare": "drop"}))[1] == ""
    division = split.read(file)
    column = [replace(r, split=division.part_of(r)) for r in ROWS]
    assert dict(kept(file, column, other)[0].part) == dict(division.part)  # all is given by the column
    moved = [replace(r, split="test") if r.group == column[0].group else r for r in column]
    if column[0].split == "test":
        moved = [replace(r, split="train") if r.group == column[0].group else r for r in column]
    assert "the split column has owl/0_0.wav in" in refusal(file, moved)
    derived = [replace(r, split="train") if r.split == "validation" else r for r in column]
    assert dict(kept(file, derived)[0].part) == dict(division.part)
    assert "split.validation was 0.25" in refusal(file, derived, SPEC.model_copy(update={"validation": 0.5}))


def test_what_would_spoil_the_split_is_refused(file: Path) -> None:
    one, other = member(file, "test"), member(file, "train")
    joined = [replace(r, group=one.group) if r.group == other.group else r for r in ROWS]
    assert f"group '{one.group}' is now divided: " in refusal(file, joined)
    division = split.read(file)
    assert "all recordings of its test part are gone" in refusal(
        file, [r for r in ROWS if division.part_of(r) != "test"]
    )
    relabelled = [replace(r, label="gull") if r == one else r for r in ROWS]
    assert "no recording of label 'gull' is in its train part" in refusal(file, relabelled)


def test_a_label_that_a_part_lacks_is_refused_if_rare_labels_are(file: Path) -> None:
    strict = SPEC.model_copy(update={"rare": "refuse"})
    assert kept(file, ROWS, strict)[1] == ""
    division = split.read(file)
    rows = [r for r in ROWS if (r.label, division.part_of(r)) != ("owl", "validation")]
    assert "no recording of label 'owl' is in its validation part; set split.rare: train or drop" in refusal(
        file, rows, strict
    )
    again = kept(file, rows)[0]
    again.write(file)  # as it was accepted before
    assert "set split.rare" in refusal(file, rows, strict)


def test_a_split_of_an_older_version_is_kept_as_far_as_it_can(file: Path) -> None:
    value = json.loads(file.read_text())
    file.write_text(json.dumps({name: value[name] for name in ("schema", "key", "digest", "parts")}))
    division, line = kept(file, ROWS)
    assert line == "" and division.settings == {"test": 0.25, "validation": 0.25, "seed": 0}
    changed = SPEC.model_copy(update={"test": 0.5})
    for spec, rows in ((changed, ROWS), (SPEC, ROWS[1:]), (changed, ROWS)):  # its settings stay unknown
        kept_again, line = kept(file, rows, spec)
        assert "an older version wrote it, so changed settings are not noticed" in line
        assert kept_again.settings is None and kept_again.part.items() <= division.part.items()
        kept_again.write(file)
