"""Manifests of rendered instruments: they list what is drawn, and none to train on has material for tests only."""

import csv
import hashlib
import os
import shutil
import stat
import subprocess
import sys
import wave
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from audiocnn.dataset import manifest, split
from audiocnn.errors import ManifestError, SplitError
from audiocnn.specs import SplitSpec

FOLDER = Path(__file__).resolve().parents[1] / "data_manifests"
SOUNDS = Path("/usr/share/sounds")
NAMES = ("rendered", "timgm")
JOINED = "instruments-and-rendered"

sys.path.insert(0, str(FOLDER))  # the scripts there are no package
import draw_phrases  # noqa: E402
import render_instruments  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator


def rows_of(name: str) -> list[dict[str, str]]:
    with open(FOLDER / f"{name}.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def card_of(name: str) -> dict[str, Any]:
    card = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    assert isinstance(card, dict)
    return card


def recordings_of(name: str) -> list[manifest.Recording]:
    return manifest.read(FOLDER / f"{name}.csv", root=FOLDER)


# --- MIDI


def parse_midi(content: bytes) -> "Iterator[tuple[float, bytes]]":
    """Yield time in seconds and message of each event of a file with one track; an independent reader."""
    assert content[:14] == b"MThd" + bytes([0, 0, 0, 6, 0, 0, 0, 1, 1, 224])
    assert content[14:18] == b"MTrk"
    assert int.from_bytes(content[18:22], "big") == len(content) - 22
    at, ticks = 22, 0
    while at < len(content):
        delta = 0
        while content[at] & 0x80:
            delta, at = delta << 7 | content[at] & 0x7F, at + 1
        ticks, at = ticks + (delta << 7 | content[at]), at + 1
        length = 2 if content[at] >> 4 == 0xC else 3
        yield ticks / 960, content[at : at + length]
        at += length


def test_a_midi_file_holds_its_notes_at_their_times() -> None:
    notes = [draw_phrases.Note(0.0, 0.5, 60, 100), draw_phrases.Note(0.5, 200.0, 60, 1)]
    content = draw_phrases.midi_file(notes, 200.25, channel=9, program=40, controls={91: 64}, expression=[(0.25, 90)])
    assert list(parse_midi(content)) == [
        (0.0, b"\xb9\x5b\x40"),
        (0.0, b"\xc9\x28"),
        (0.0, b"\xe9\x00\x40"),  # no bend
        (0.0, b"\x99\x3c\x64"),
        (0.25, b"\xb9\x0b\x5a"),
        (0.5, b"\x89\x3c\x00"),  # a note ends before the next one starts
        (0.5, b"\x99\x3c\x01"),
        (200.0, b"\x89\x3c\x00"),
        (200.25, b"\xff\x2f\x00"),
    ]


@pytest.mark.parametrize("name", NAMES)
def test_every_drawn_note_is_in_the_range_of_its_patch_and_ends_within_the_recording(name: str) -> None:
    for take in draw_phrases.draw_takes(name, 12):
        [patch] = [p for p in draw_phrases.PATCHES[name][take.label] if p.program == take.program]
        events = list(parse_midi(take.midi))
        assert events[-1] == (pytest.approx(take.seconds, abs=0.001), b"\xff\x2f\x00")
        on = [(time_s, m[1]) for time_s, m in events if m[0] == 0x90 | patch.channel and 1 <= m[2] <= 127]
        off = [m[1] for _, m in events if m[0] == 0x80 | patch.channel]
        assert Counter(key for _, key in on) == Counter(off)
        assert {key for _, key in on} <= set(patch.keys)
        assert on[0][0] <= 0.31
        assert on[-1][0] < take.seconds
        assert len(on) + len(off) + sum(m[0] >> 4 in (0xB, 0xC, 0xE) for _, m in events) + 1 == len(events)


# --- what is drawn


@pytest.mark.parametrize("name", NAMES)
def test_the_labels_are_those_of_the_recorded_instruments(name: str) -> None:
    assert set(draw_phrases.PATCHES[name]) == {row["label"] for row in rows_of("instruments")}


@pytest.mark.parametrize("name", NAMES)
def test_a_larger_size_only_adds_recordings(name: str) -> None:
    few, many = (set(draw_phrases.draw_takes(name, size)) for size in (3, 5))
    assert few < many
    assert len(many) == 50


@pytest.mark.parametrize("name", NAMES)
def test_a_manifest_lists_what_is_drawn_from_the_seed(name: str) -> None:
    takes = draw_phrases.draw_takes(name, render_instruments.SIZE)
    rows = rows_of(name)
    assert rows == render_instruments.make_rows(name, takes, [row["sha256"] for row in rows])
    assert hashlib.sha256(repr(takes).encode()).hexdigest() == card_of(name)["takes_sha256"]
    for label, counts in card_of(name)["labels"].items():
        seconds = sum(take.seconds for take in takes if take.label == label)
        assert counts["seconds"] == pytest.approx(seconds, abs=0.005)


@pytest.mark.parametrize("name", NAMES)
def test_a_group_is_one_program_across_the_soundfonts(name: str) -> None:
    of_group: dict[str, set[tuple[str, str]]] = {}
    for row in rows_of(name):
        assert row["group"] == f"{row['label'].lower()}-{int(row['program']):03}"
        of_group.setdefault(row["group"], set()).add((row["label"], row["program"]))
    assert all(len(programs) == 1 for programs in of_group.values())
    soundfonts = {row["soundfont"] for row in rows_of(name)}
    assert soundfonts == set(draw_phrases.SOUNDFONTS[name])
    for group in of_group:
        assert {row["soundfont"] for row in rows_of(name) if row["group"] == group} == soundfonts


@pytest.mark.parametrize("name", NAMES)
def test_the_card_names_the_soundfonts_that_the_script_accepts(name: str) -> None:
    stated = card_of(name)["soundfonts"]
    assert set(stated) == set(draw_phrases.SOUNDFONTS[name])
    for soundfont, facts in stated.items():
        expected = render_instruments.FILES[soundfont]
        assert (facts["file"], facts["package"], facts["sha256"]) == (
            Path(expected.file).name,
            expected.package,
            expected.sha256,
        )
    assert card_of(name)["fluidsynth"] == render_instruments.MEASURED_WITH


# --- the joined manifest, and what may not be trained with


def test_the_joined_manifest_has_the_rows_of_both_collections_below_one_root() -> None:
    expected = [
        (f"{name}/{row['path']}", row["label"], row["group"], name, row["sha256"])
        for name in ("instruments", "rendered")
        for row in rows_of(name)
    ]
    assert [(r.path, r.label, r.group, r.collection, r.sha256) for r in recordings_of(JOINED)] == expected


def test_no_group_lies_in_both_collections_of_the_joined_manifest() -> None:
    of: dict[str | None, set[str]] = {}
    for recording in recordings_of(JOINED):
        of.setdefault(recording.collection, set()).add(recording.group)
    assert all(a.isdisjoint(b) for a, b in combinations(of.values(), 2))


def test_no_other_manifest_has_a_recording_of_timgm() -> None:
    hashes = {row["sha256"] for row in rows_of("timgm")}
    others = [file for file in FOLDER.glob("*.csv") if file.stem != "timgm"]
    assert len(others) == 4
    for file in others:
        for row in rows_of(file.stem):
            assert "timgm" not in str(row), file.name
            assert row["sha256"] not in hashes, file.name


def test_the_script_that_makes_the_bundled_model_does_not_name_timgm() -> None:
    assert "timgm" not in (FOLDER / "ship_model.py").read_text(encoding="utf-8").lower()
    for card in FOLDER.parent.glob("audiocnn/models/*/MODEL_CARD.md"):
        assert "timgm" not in card.read_text(encoding="utf-8").lower()


def test_training_on_timgm_is_refused() -> None:
    recordings = recordings_of("timgm")
    assert {recording.split for recording in recordings} == {"test"}
    hashes = {recording.path: recording.sha256 or "" for recording in recordings}
    with pytest.raises(SplitError, match="no recording of label 'Acoustic_guitar' into train"):
        split.make(recordings, hashes, SplitSpec(test=0.2, validation=0.1))


def test_a_manifest_with_timgm_pasted_under_another_is_refused(tmp_path: Path) -> None:
    pasted = tmp_path / "all.csv"
    rows = [f"{r['path']},{r['label']},{r.get('split', '')}" for name in NAMES for r in rows_of(name)]
    pasted.write_text("\n".join(["path,label,split", *rows]), encoding="utf-8")
    with pytest.raises(ManifestError, match="split is empty"):
        manifest.read(pasted, root=tmp_path)


def test_timgm_cannot_be_joined_with_recordings_to_train_on() -> None:
    with pytest.raises(ValueError, match="timgm: only for tests"):
        render_instruments.join_rows({"instruments": rows_of("instruments"), "timgm": rows_of("timgm")})


# --- rendering, with a program in place of FluidSynth

STAND_IN = """#!{python} -SsE
import struct, sys
if "--version" in sys.argv:
    print("FluidSynth runtime version 9.9.9")
else:
    with open(sys.argv[sys.argv.index("-F") + 1], "wb") as out, open(sys.argv[-1], "rb") as midi:
        out.write(struct.pack("<4f", 0.1, 0.3, -0.2, 0.1) + bytes(8 * (midi.read()[40] + 1)))
"""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a program called fluidsynth first on the path; return a folder with soundfonts that the script accepts."""
    program = tmp_path / "bin" / "fluidsynth"
    program.parent.mkdir()
    program.write_text(STAND_IN.format(python=sys.executable))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(program.parent))
    for name, soundfont in render_instruments.FILES.items():
        file = tmp_path / soundfont.file
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(name.encode())
        accepted = render_instruments.Soundfont(
            soundfont.file, soundfont.package, hashlib.sha256(name.encode()).hexdigest()
        )
        monkeypatch.setitem(render_instruments.FILES, name, accepted)
    return tmp_path


def run_script(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["render_instruments.py", *map(str, arguments)])
    return render_instruments.main()


def test_the_script_writes_recordings_with_a_manifest_that_audiocnn_reads(
    stand_in: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = stand_in / "audio" / "rendered"
    assert run_script(monkeypatch, "rendered", folder, "--size", "2", "--sounds", stand_in) == 0
    printed = capsys.readouterr()
    assert "20 recordings, rendered with FluidSynth 9.9.9" in printed.out
    assert "warning: 400 recordings differ" in printed.err  # all: 20 changed, 380 missing
    assert f"FluidSynth {render_instruments.MEASURED_WITH}" in printed.err
    takes = draw_phrases.draw_takes("rendered", 2)
    recordings = manifest.read(folder / "rendered.csv", root=folder)
    assert [recording.path for recording in recordings] == [take.path for take in takes]
    for recording, take in zip(recordings, takes, strict=True):
        file = recording.file(folder)
        assert hashlib.sha256(file.read_bytes()).hexdigest() == recording.sha256
        with wave.open(str(file)) as audio:
            assert (audio.getnchannels(), audio.getsampwidth(), audio.getframerate()) == (1, 2, 44_100)
            assert audio.getnframes() == round(take.seconds * 44_100)
            first = int.from_bytes(audio.readframes(1), "little", signed=True)
        assert first == round(32_767 * 10 ** (take.peak_db / 20))  # the mean of both channels, at the drawn level


def test_the_script_writes_the_joined_manifest_of_other_bytes(
    stand_in: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = stand_in / "audio" / "rendered"
    folder.mkdir(parents=True)
    arguments = ("--size", "1", "--sounds", stand_in, "--write", folder.parent)
    assert run_script(monkeypatch, "rendered", folder, *arguments) == 0
    capsys.readouterr()
    joined = manifest.read(folder.parent / f"{JOINED}.csv", root=folder.parent)
    assert Counter(recording.collection for recording in joined) == {"instruments": 200, "rendered": 10}
    assert all(r.file(folder.parent).is_file() for r in joined if r.collection == "rendered")


def test_the_script_names_the_package_of_a_missing_or_changed_soundfont(
    stand_in: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = stand_in / render_instruments.FILES["musescore"].file
    file.write_bytes(b"another")
    assert run_script(monkeypatch, "rendered", stand_in / "audio", "--sounds", stand_in) == 2
    changed = capsys.readouterr().err
    file.unlink()
    assert run_script(monkeypatch, "rendered", stand_in / "audio", "--sounds", stand_in) == 2
    missing = capsys.readouterr().err
    for message in (changed, missing):
        assert message.startswith(f"{file}: ")
        assert "musescore-general-soundfont" in message
        assert message.count("\n") == 1
    assert not (stand_in / "audio").exists()


@pytest.mark.parametrize("wrong", [("--size", "0"), ("--write", "not-there")])
def test_the_script_refuses_an_option_before_it_renders(
    wrong: tuple[str, str], stand_in: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        run_script(monkeypatch, "rendered", stand_in / "audio", "--sounds", stand_in, *wrong)
    assert f"{wrong[0]}: {wrong[1]} is not" in capsys.readouterr().err
    assert not (stand_in / "audio").exists()


def test_the_script_names_the_package_of_a_missing_fluidsynth(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, FOLDER / "render_instruments.py", "timgm", tmp_path / "audio"],
        env={name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"} | {"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 2
    assert run.stderr.startswith("fluidsynth: not found")
    assert "apt-get install fluidsynth" in run.stderr
    assert run.stderr.count("\n") == 1


# --- rendering


@pytest.mark.slow
def test_a_take_is_rendered_to_the_same_bytes_alone_and_beside_others(tmp_path: Path) -> None:
    fluidsynth = shutil.which("fluidsynth")
    soundfont = SOUNDS / render_instruments.FILES["timgm"].file
    if fluidsynth is None or not soundfont.is_file():
        pytest.skip("needs FluidSynth and timgm6mb-soundfont")
    takes = [draw_phrases.draw_take("timgm", label, 0) for label in ("Cello", "Snare_drum", "Saxophone")]

    def render(take: draw_phrases.Take, folder: str) -> str:
        return render_instruments.render(take, fluidsynth=fluidsynth, soundfont=soundfont, folder=tmp_path / folder)

    alone = [render(take, "alone") for take in takes]
    with ThreadPoolExecutor(3) as pool:
        beside = list(pool.map(lambda take: render(take, "beside"), takes))
    assert alone == beside
    assert len(set(alone)) == 3
