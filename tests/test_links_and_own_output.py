"""Links are followed or named, what audiocnn wrote is never input, and `init` checks what later commands check."""

import os
from pathlib import Path
from typing import Any

import pytest
import soundfile
import sounds
from projects import audiocnn

from audiocnn.audio import search
from audiocnn.dataset import class_folders
from audiocnn.dataset.problems import Report
from audiocnn.errors import ManifestError

pytestmark = pytest.mark.skipif(os.name == "nt", reason="links need a right there")


def tree(root: Path, *paths: str) -> Path:
    """Make empty files; their names suffice to find them."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


def link(path: Path, target: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


def searched(root: Path, **options: bool) -> tuple[list[str], dict[str, str]]:
    """The paths that are found, and the reasons of those that are not searched."""
    found = search.search(root, **options)
    files = [file.relative_to(root).as_posix() for file in found.files]
    return files, {skipped.path.relative_to(root).as_posix(): skipped.reason for skipped in found.skipped}


def sound_files(root: Path, *paths: str) -> Path:
    for i, path in enumerate(paths):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(root / path, sounds.noise(0.5, seed=i), sounds.RATE)
    return root


# ------------------------------------------------------------------------------------------------------------- links


def test_linked_folders_are_searched_and_their_files_are_in_sorted_order(tmp_path: Path) -> None:
    root = tree(tmp_path / "ds", "b/1.wav", "d/1.wav", "z.wav")
    tree(tmp_path / "store", "1.wav", "deep/2.wav")
    link(root / "c", "../store")
    link(root / "a", str(tmp_path / "store" / "deep"))
    files = ["z.wav", "a/2.wav", "b/1.wav", "c/1.wav", "d/1.wav"]
    assert searched(root) == (files, {})  # c/deep is read as a
    assert searched(root, outside=False) == (["z.wav", "b/1.wav", "d/1.wav"], {"a": "outside", "c": "outside"})


def test_cycles_and_folders_that_are_linked_twice_are_searched_once(tmp_path: Path) -> None:
    root = tree(tmp_path / "ds", "a/1.wav", "b/deep/2.wav")
    tree(tmp_path / "one", "3.wav")
    tree(tmp_path / "two", "4.wav")
    link(tmp_path / "one" / "to_two", "../two")
    link(tmp_path / "two" / "to_one", "../one")
    for path, target in {"a/up": "..", "a/out": "../..", "b/twin": "../a", "c": "../one", "d": "../one"}.items():
        link(root / path, target)
    files, skipped = searched(root)
    assert files == ["a/1.wav", "b/deep/2.wav", "c/3.wav", "c/to_two/4.wav"]
    assert skipped == dict.fromkeys(("a/out", "a/up", "b/twin", "c/to_two/to_one", "d"), "repeated")


def test_links_to_nothing_are_named_unless_they_have_a_row_as_missing_recordings(tmp_path: Path) -> None:
    root = tree(tmp_path, "a/1.wav")
    for path in ("b", "a/notes", "a/2.wav", ".hidden"):
        link(root / path, "../nowhere")
    assert searched(root) == (["a/1.wav", "a/2.wav"], {"a/notes": "broken", "b": "broken"})


def test_linked_files_outside_are_left_out_as_featurize_would_refuse_them(tmp_path: Path) -> None:
    root = tree(tmp_path / "ds", "a/1.wav", "b/1.wav")
    tree(tmp_path, "elsewhere.wav")
    link(root / "b" / "2.wav", "../../elsewhere.wav")
    link(root / "b" / "3.wav", "1.wav")
    assert searched(root, outside=False) == (["a/1.wav", "b/1.wav", "b/3.wav"], {"b/2.wav": "outside"})


def test_a_folder_of_links_that_are_not_followed_tells_so(tmp_path: Path) -> None:
    tree(tmp_path / "store", "a/1.wav", "b/1.wav")
    for name in "ab":
        link(tmp_path / "ds" / name, f"../store/{name}")
    with pytest.raises(ManifestError, match=r"no audio found but behind links that .* \(a, b\); see --allow-outside"):
        class_folders.read(tmp_path / "ds")
    found = class_folders.find_files(tmp_path / "ds", allow_outside=True, report=Report())
    assert len(found) == 2


@pytest.mark.slow
def test_the_command_names_links_and_follows_them_when_told_to(tmp_path: Path) -> None:
    sound_files(tmp_path, "ds/frog/1.wav", "ds/newt/1.wav", "store/toad/1.wav", "store/toad/2.wav")
    link(tmp_path / "ds" / "toad", "../store/toad")
    link(tmp_path / "ds" / "gone", "../unmounted/gone")
    said = audiocnn("init", "ds", cwd=tmp_path).stdout
    assert "gone: is a broken link, to ../unmounted/gone (left out)" in said
    assert f"toad: is a link to {tmp_path}/store/toad, outside ds; pass --allow-outside to use it (left out)" in said
    assert "toad" not in (tmp_path / "manifest.csv").read_text()
    audiocnn("init", "ds", "--allow-outside", "--force", cwd=tmp_path)
    assert (tmp_path / "manifest.csv").read_text().count("toad/") == 4  # path and group
    assert "4 computed" in audiocnn("featurize", cwd=tmp_path).stdout


# -------------------------------------------------------------------------------------------------- what audiocnn wrote


def test_folders_that_audiocnn_wrote_are_no_input_but_one_that_is_named_itself(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        "frog/1.wav",
        "frog/1.wav.explained/kept.wav",
        "newt/1.wav",
        "why/explanation.json",
        "why/0.wav",
        "runs/sounds/split.json",
        "runs/sounds/clip.wav",
        "my model/bundle.json",
        "my model/x.wav",
        "demo/made-by-audiocnn-demo",
        "demo/sounds/instruments/Bell/1.wav",
    )
    files, skipped = searched(root, own=False)
    assert files == ["frog/1.wav", "newt/1.wav"]
    assert skipped == dict.fromkeys(("demo", "frog/1.wav.explained", "my model", "runs", "why"), "own")
    assert searched(root / "demo", own=False)[0] == ["sounds/instruments/Bell/1.wav"]
    report = Report()
    assert len(class_folders.read(root, report=report)) == 2
    assert report.notes[0] == "Left out: what audiocnn wrote (demo, frog/1.wav.explained, my model and 2 more)."


def test_a_class_of_its_own_named_runs_is_input(tmp_path: Path) -> None:
    assert searched(tree(tmp_path, "runs/1.wav", "runs/deep/2.wav"), own=False)[0] == ["runs/1.wav", "runs/deep/2.wav"]


@pytest.mark.parametrize(
    "columns", ["recording,status,label,score,duration_s,analysed_s,reason", "recording,start_s,end_s,label,score"]
)
@pytest.mark.parametrize("options", [(), ("--path-column", "recording")])
def test_predictions_are_not_read_as_labels(columns: str, options: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "found.csv").write_text(f"{columns}\n")
    said = audiocnn("init", "found.csv", *options, cwd=tmp_path, code=2).stderr
    assert "found.csv: holds predictions that audiocnn wrote, not labels; if you have corrected" in said


@pytest.mark.slow
def test_an_explanation_beside_the_classes_does_not_become_one(tmp_path: Path) -> None:
    sound_files(tmp_path, *(f"{label}/{i}.wav" for label in ("frog", "newt") for i in range(2)))
    audiocnn("explain", "frog/0.wav", cwd=tmp_path)
    assert list((tmp_path / "0.wav.explained").rglob("*.wav"))
    said = audiocnn("init", ".", cwd=tmp_path).stdout
    assert "Left out: what audiocnn wrote (0.wav.explained)." in said
    assert "4 recordings of 2 classes" in said


# --------------------------------------------------------------------------------------------- sound that is not read

FOREIGN = {
    "call.weba": (b"\x1a\x45\xdf\xa3", "Matroska or WebM"),
    "call.mkv": (b"\x1a\x45\xdf\xa3", "Matroska or WebM"),
    "call.m4a": (b"\0\0\0\x20ftypM4A ", "MP4 (M4A, AAC, ALAC)"),
    "call.mov": (b"\0\0\0\x14ftypqt  ", "MP4 (M4A, AAC, ALAC)"),
    "call.3g2": (b"\0\0\0\x14ftyp3g2a", "3GP"),
    "call.eac3": (b"\x0b\x77", "AC-3"),
    "call.wma": (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "WMA (ASF)"),
    "call.amr": (b"#!AMR\n", "AMR"),
    "call.voc": (b"Creative Voice File\x1a", "VOC"),
    "call.qcp": (b"RIFF\0\0\0\0QLCM", "QCP"),
    "nameless": (b"wvpk", "WavPack"),
}


def test_sound_of_other_formats_is_one_row_each_with_the_name_of_the_format(tmp_path: Path) -> None:
    sound_files(tmp_path, "ds/frog/1.wav", "ds/newt/1.wav")
    for name, (head, _) in FOREIGN.items():
        (tmp_path / "ds" / "newt" / name).write_bytes(head + bytes(500))
    said = audiocnn("--verbose", "init", "ds", cwd=tmp_path).stdout
    for name, (_, expected) in FOREIGN.items():
        assert f"unreadable: newt/{name} is {expected} by its content, which is not read; convert it" in said
    assert len((tmp_path / "manifest.csv").read_text().splitlines()) == 1 + 2 + len(FOREIGN)


# ------------------------------------------------------------------------------------------ checks of later commands


def test_a_label_with_too_few_groups_is_named_as_audit_names_it(tmp_path: Path) -> None:
    sound_files(tmp_path, *(f"ds/{label}/{i}.wav" for label, n in (("frog", 4), ("newt", 2)) for i in range(n)))
    said = audiocnn("init", "ds", cwd=tmp_path).stdout
    assert "1 class has too few groups: the split has 3 parts, and each part needs one group." in said
    assert "newt: 2 groups" in said


def test_copies_on_both_sides_of_the_folders_of_a_split_are_named(tmp_path: Path) -> None:
    root = sound_files(
        tmp_path, *(f"ds/{p}/{label}/{i}.wav" for p in ("train", "test") for label in "fn" for i in "12")
    )
    (root / "ds/test/f/1.wav").write_bytes((root / "ds/train/f/2.wav").read_bytes())
    said = audiocnn("init", "ds", cwd=tmp_path).stdout
    assert "Train would fail: the split column cuts through group" in said


@pytest.mark.slow
@pytest.mark.parametrize("spelling", ["ds", "ds/", "./x/../ds", "{tmp}/ds", "link", "link/", "x/back/ds"])
@pytest.mark.parametrize("out", [".", "x", "x/far", "{tmp}/x/y"])
def test_a_root_in_any_spelling_is_found_again(spelling: str, out: str, tmp_path: Path) -> None:
    sound_files(tmp_path, "ds/frog/1.wav", "ds/newt/1.wav")
    tree(tmp_path, "deep/down/below/x")
    link(tmp_path / "link", "ds")
    link(tmp_path / "x" / "far", "../deep/down/below")
    link(tmp_path / "x" / "back", "..")
    said = audiocnn("init", spelling.format(tmp=tmp_path), "--out", out.format(tmp=tmp_path), cwd=tmp_path).stdout
    assert "2 recordings of 2 classes" in said
    project = _project(Path(out.format(tmp=tmp_path)), tmp_path)
    assert (project.root / "frog" / "1.wav").samefile(tmp_path / "ds" / "frog" / "1.wav")


def _project(out: Path, cwd: Path) -> Any:
    from audiocnn import config

    return config.read(cwd / out / "audiocnn.yaml")


@pytest.mark.slow
def test_absolute_paths_below_another_spelling_of_the_root_become_relative(tmp_path: Path) -> None:
    sound_files(tmp_path, "ds/frog/1.wav", "ds/newt/1.wav", "store/2.wav")
    link(tmp_path / "link", "ds")
    link(tmp_path / "ds" / "newt" / "2.wav", "../../store/2.wav")
    rows = [f"{tmp_path}/{folder}/{name}" for folder in ("link", "ds") for name in ("frog/1.wav", "newt/2.wav")]
    for root, (first, second) in (("ds", rows[:2]), ("link", rows[2:]), ("link", rows[:2])):
        (tmp_path / "list.csv").write_text(f"path,label\n{first},frog\n{second},newt\n")
        audiocnn("init", "list.csv", "--root", root, "--allow-outside", "--force", cwd=tmp_path)
        table = (tmp_path / "manifest.csv").read_text()
        assert "\nfrog/1.wav,frog," in table and "\nnewt/2.wav,newt," in table
