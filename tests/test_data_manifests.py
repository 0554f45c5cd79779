"""The shipped manifests: well formed, grouped as their names say, described by their cards, equal to the audio."""

import csv
import hashlib
import re
import subprocess
import sys
import wave
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

FOLDER = Path(__file__).resolve().parents[1] / "data_manifests"
NAMES = ("instruments", "drones")
WITH_RENDERED = (*NAMES, "rendered", "timgm")
CARD_FIELDS = (
    *("name", "title", "sources", "licence", "get_audio", "audio", "group", "group_by", "recordings", "groups"),
    *("seconds", "labels", "byte_identical", "all_zero", "caveats", "generator"),
)
RENDERED_FIELDS = ("soundfonts", "fluidsynth", "takes_sha256")


def read_manifest(name: str) -> list[dict[str, str]]:
    with open(FOLDER / f"{name}.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def read_card(name: str) -> dict[str, Any]:
    card = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    assert isinstance(card, dict)
    return card


def make_manifests(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(FOLDER / "make_manifests.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def lay_out(root: Path, files: dict[str, bytes]) -> Path:
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    return root


# --- the CSVs


@pytest.mark.parametrize("name", NAMES)
def test_a_manifest_has_the_documented_columns_and_unix_line_ends(name: str) -> None:
    content = (FOLDER / f"{name}.csv").read_bytes()
    assert content.startswith(b"path,label,group,sha256\n")
    assert content.endswith(b"\n")
    assert b"\r" not in content


@pytest.mark.parametrize("name", WITH_RENDERED)
def test_the_paths_of_a_manifest_are_unique_and_sorted(name: str) -> None:
    paths = [row["path"] for row in read_manifest(name)]
    assert all(before < after for before, after in pairwise(paths))


@pytest.mark.parametrize("name", WITH_RENDERED)
def test_every_path_is_a_wav_file_in_the_folder_of_its_label(name: str) -> None:
    for row in read_manifest(name):
        assert re.fullmatch(rf"{re.escape(row['label'])}/[\w-]+\.wav", row["path"]), row
        assert row["path"][0] not in "=+-@"


@pytest.mark.parametrize("name", WITH_RENDERED)
def test_every_row_has_a_group_and_a_sha256(name: str) -> None:
    for row in read_manifest(name):
        assert row["group"], row
        assert re.fullmatch("[0-9a-f]{64}", row["sha256"]), row


def test_there_are_twenty_recordings_of_each_of_ten_instruments() -> None:
    assert list(Counter(row["label"] for row in read_manifest("instruments")).values()) == [20] * 10


def test_there_are_374_recordings_of_drones_and_1368_others() -> None:
    assert Counter(row["label"] for row in read_manifest("drones")) == {"drone": 374, "other": 1368}


# --- the groups


def test_every_instrument_recording_is_its_own_group() -> None:
    rows = read_manifest("instruments")
    assert [row["group"] for row in rows] == [Path(row["path"]).stem for row in rows]
    assert len({row["group"] for row in rows}) == len(rows)


def test_the_drone_sessions_are_those_that_the_names_begin_with() -> None:
    sessions = ("B_S2_D1", "Membo_0", "Membo_1", "Membo_2", "extra_membo_D2", "mixed")
    rows = [row for row in read_manifest("drones") if row["label"] == "drone"]
    for row in rows:
        [session] = [session for session in sessions if Path(row["path"]).name.startswith(f"{session}_")]
        assert row["group"] == session, row
    assert {row["group"] for row in rows} == set(sessions)


def test_the_other_sounds_are_grouped_by_freesound_clip_or_kind_of_noise() -> None:
    for row in read_manifest("drones"):
        if row["label"] == "other":
            stem = Path(row["path"]).stem
            fold_and_clip = "-".join(stem.split("-")[:2])
            assert row["group"] == (fold_and_clip if stem[0].isdigit() else stem.rstrip("0123456789")), row


def test_all_takes_and_parts_of_a_freesound_clip_are_in_one_group() -> None:
    groups = defaultdict(set)
    for row in read_manifest("drones"):
        if clip := re.match(r"other/\d-(\d+)-", row["path"]):
            groups[clip[1]].add(row["group"])
    assert len(groups) == 256
    assert all(len(of_clip) == 1 for of_clip in groups.values())


def test_no_group_holds_both_drones_and_other_sounds() -> None:
    groups = {
        label: {row["group"] for row in read_manifest("drones") if row["label"] == label}
        for label in ("drone", "other")
    }
    assert groups["drone"].isdisjoint(groups["other"])


# --- the cards


@pytest.mark.parametrize("name", WITH_RENDERED)
def test_a_card_states_every_fact_that_a_user_needs(name: str) -> None:
    card = read_card(name)
    assert set(card) == {*CARD_FIELDS, *(RENDERED_FIELDS if name not in NAMES else ())}
    assert all(card.values())
    assert card["name"] == name
    script = "make_manifests" if name in NAMES else "render_instruments"
    assert card["generator"] == f"python data_manifests/{script}.py {name} PATH/TO/{name}"
    for source in card["sources"]:
        assert {"name", "url", "licence", "citation", "used_for"} <= set(source)
        assert all(source.values())


@pytest.mark.parametrize("name", WITH_RENDERED)
def test_the_counts_of_a_card_are_those_of_its_manifest(name: str) -> None:
    card, rows = read_card(name), read_manifest(name)
    assert card["recordings"] == len(rows)
    assert card["groups"] == len({row["group"] for row in rows})
    assert set(card["labels"]) == {row["label"] for row in rows}
    for label, counts in card["labels"].items():
        of_label = [row for row in rows if row["label"] == label]
        assert counts["recordings"] == len(of_label)
        assert counts["groups"] == len({row["group"] for row in of_label})
    assert card["seconds"] == pytest.approx(sum(counts["seconds"] for counts in card["labels"].values()), abs=0.02)


@pytest.mark.parametrize("name", WITH_RENDERED)
def test_a_card_names_every_byte_identical_recording(name: str) -> None:
    by_hash = defaultdict(set)
    for row in read_manifest(name):
        by_hash[row["sha256"]].add(row["path"])
    identical = {frozenset(paths) for paths in by_hash.values() if len(paths) > 1}
    stated = read_card(name)["byte_identical"]
    assert {frozenset(paths) for paths in stated["sets"]} == identical
    assert stated["recordings"] == sum(map(len, identical))


@pytest.mark.parametrize("name", WITH_RENDERED)
def test_the_group_by_expression_of_a_card_gives_the_groups_of_its_manifest(name: str) -> None:
    expression = re.compile(read_card(name)["group_by"])
    for row in read_manifest(name):
        match = expression.match(row["path"])
        assert match is not None, row
        assert match[1] == row["group"]


def test_the_readme_describes_every_file_of_the_folder() -> None:
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    for file in FOLDER.iterdir():
        if file.is_file() and file.name != "README.md":
            assert f"`{file.name}`" in readme


# --- the generator


def test_the_generator_writes_sorted_rows_with_sessions_and_hashes(tmp_path: Path) -> None:
    files = {
        "other/white_noise003.wav": b"w",
        "other/5-9032-A-12.wav": b"b",
        "other/1-17295-B-293.wav": b"a",
        "other/._5-9032-A-12.wav": b"left by a file manager",
        "drone/mixed_membo_5-membo_001_.wav": b"m",
        "drone/extra_membo_D2_2000.wav": b"e",
        "drone/Membo_0_014-membo_000_.wav": b"0",
        "notes.txt": b"not audio",
    }
    root, manifest = lay_out(tmp_path / "drones", files), tmp_path / "made.csv"
    expected = [
        ("drone/Membo_0_014-membo_000_.wav", "drone", "Membo_0", b"0"),
        ("drone/extra_membo_D2_2000.wav", "drone", "extra_membo_D2", b"e"),
        ("drone/mixed_membo_5-membo_001_.wav", "drone", "mixed", b"m"),
        ("other/1-17295-B-293.wav", "other", "1-17295", b"a"),
        ("other/5-9032-A-12.wav", "other", "5-9032", b"b"),
        ("other/white_noise003.wav", "other", "white_noise", b"w"),
    ]
    run = make_manifests("drones", root, "--manifest", manifest)
    assert run.returncode == 0, run.stderr
    rows = [f"{path},{label},{group},{hashlib.sha256(data).hexdigest()}\n" for path, label, group, data in expected]
    assert manifest.read_bytes().decode() == "path,label,group,sha256\n" + "".join(rows)
    assert {file.name for file in tmp_path.iterdir()} == {"drones", "made.csv"}


def test_a_name_without_a_known_group_is_refused_and_the_old_manifest_kept(tmp_path: Path) -> None:
    root = lay_out(tmp_path / "instruments", {"Cello/00353774.wav": b"a", "Cello/my take.wav": b"b"})
    manifest = tmp_path / "made.csv"
    manifest.write_text("old")
    run = make_manifests("instruments", root, "--manifest", manifest)
    assert run.returncode == 2
    assert "Cello/my take.wav" in run.stderr
    assert manifest.read_text() == "old"


def test_a_folder_without_audio_is_refused(tmp_path: Path) -> None:
    run = make_manifests("drones", tmp_path, "--manifest", tmp_path / "made.csv")
    assert run.returncode == 2
    assert str(tmp_path) in run.stderr
    assert not list(tmp_path.iterdir())


def test_a_check_names_missing_extra_and_changed_files_and_writes_nothing(tmp_path: Path) -> None:
    files = {"Cello/0000000a.wav": b"a", "Cello/0000000b.wav": b"b", "Flute/0000000c.wav": b"c"}
    root, manifest = lay_out(tmp_path / "instruments", files), tmp_path / "made.csv"
    make_manifests("instruments", root, "--manifest", manifest)
    written = manifest.read_bytes()
    assert make_manifests("instruments", root, "--check", "--manifest", manifest).returncode == 0

    lay_out(root, {"Flute/mine.wav": b"d"})
    with_extra = make_manifests("instruments", root, "--check", "--manifest", manifest)
    assert with_extra.returncode == 0
    assert with_extra.stdout.splitlines()[:-1] == ["extra 'Flute/mine.wav'"]

    (root / "Cello/0000000a.wav").unlink()
    lay_out(root, {"Flute/0000000c.wav": b"another"})
    damaged = make_manifests("instruments", root, "--check", "--manifest", manifest)
    assert damaged.returncode == 5
    assert damaged.stdout.splitlines()[:-1] == [
        "missing 'Cello/0000000a.wav'",
        "changed 'Flute/0000000c.wav'",
        "extra 'Flute/mine.wav'",
    ]
    assert manifest.read_bytes() == written


def test_a_check_against_a_file_that_is_no_manifest_is_refused(tmp_path: Path) -> None:
    root = lay_out(tmp_path / "instruments", {"Cello/0000000a.wav": b"a"})
    (tmp_path / "made.csv").write_text("file,class\n")
    run = make_manifests("instruments", root, "--check", "--manifest", tmp_path / "made.csv")
    assert run.returncode == 2
    assert "path,label,group,sha256" in run.stderr


# --- the audio, where it is at hand


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_manifest_is_what_the_generator_makes_of_the_audio(name: str, data_dir: Path, tmp_path: Path) -> None:
    run = make_manifests(name, data_dir / name, "--manifest", tmp_path / "made.csv")
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "made.csv").read_bytes() == (FOLDER / f"{name}.csv").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_card_tells_the_truth_about_the_audio(name: str, data_dir: Path) -> None:
    card = read_card(name)
    seconds: dict[str, list[float]] = defaultdict(list)
    all_zero = set()
    for row in read_manifest(name):
        with wave.open(str(data_dir / name / row["path"])) as audio:
            seconds[row["label"]].append(audio.getnframes() / audio.getframerate())
            if not any(audio.readframes(audio.getnframes())):
                all_zero.add(row["path"])
    for label, counts in card["labels"].items():
        assert counts["seconds"] == pytest.approx(sum(seconds[label]), abs=0.005)
    assert card["seconds"] == pytest.approx(sum(map(sum, seconds.values())), abs=0.005)
    assert card["audio"]["shortest_s"] == pytest.approx(min(map(min, seconds.values())), abs=0.005)
    assert card["audio"]["longest_s"] == pytest.approx(max(map(max, seconds.values())), abs=0.005)

    identical = {path for paths in card["byte_identical"]["sets"] for path in paths}
    assert identical <= all_zero, "recordings with sound are byte-identical: they need one group"
    assert card["all_zero"]["recordings"] == len(all_zero)
    assert set(card["all_zero"]["paths"]) == all_zero - identical
