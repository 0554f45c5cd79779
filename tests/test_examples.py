"""The scripts of examples/, as a reader would run them."""

import csv
import runpy
import subprocess
import sys
from pathlib import Path

import prefork
import pytest
import sounds
from soundfile import write

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def run(script: str, *arguments: str | Path) -> str:
    command = [sys.executable, EXAMPLES / script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_example_is_tested() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    assert [file.name for file in EXAMPLES.glob("*.py") if f'"{file.name}"' not in text] == []


@pytest.mark.slow
def test_a_folder_becomes_a_table_with_a_row_for_every_file(tmp_path: Path) -> None:
    (tmp_path / "recordings" / "below").mkdir(parents=True)
    write(tmp_path / "recordings" / "below" / "tone.wav", sounds.tone(440, 2), sounds.RATE)
    write(tmp_path / "recordings" / "silence.flac", 0 * sounds.tone(440, 2), sounds.RATE)
    (tmp_path / "recordings" / "broken.mp3").write_bytes(b"no audio at all")
    (tmp_path / "recordings" / "notes.txt").write_text("not a sound")
    run("predict_folder.py", tmp_path / "recordings", tmp_path / "table.csv")
    with open(tmp_path / "table.csv", newline="") as file:
        table = {row["file"]: row for row in csv.DictReader(file)}
    assert set(table) == {"below/tone.wav", "broken.mp3", "silence.flac"}
    assert table["broken.mp3"]["status"] == "not_audio"
    assert table["silence.flac"]["status"] == "silent"
    assert table["silence.flac"]["label"] == ""
    tone = table["below/tone.wav"]
    assert float(tone["score"]) >= float(tone["second_score"]) >= 0
    assert tone["label"] != tone["second_label"]


@pytest.mark.slow
def test_tones_are_learned_from_some_places_and_recognized_in_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The commands that the script starts are forks of a process that has imported TensorFlow."""

    def forked(command: list[str], *, cwd: Path, check: bool) -> None:
        python, option, module, *arguments = command
        assert (python, option, module, check) == (sys.executable, "-m", "audiocnn", True)
        assert (done := prefork.run(*arguments, cwd=cwd)).returncode == 0, done.stderr

    monkeypatch.setattr(subprocess, "run", forked)
    monkeypatch.setattr(sys, "argv", ["train_and_evaluate.py", str(tmp_path), "2"])
    runpy.run_path(str(EXAMPLES / "train_and_evaluate.py"), run_name="__main__")
    said = capsys.readouterr().out
    assert float(said.partition("accuracy on new places: ")[2][:4]) >= 0.9, said
    assert (tmp_path / "runs" / "sounds" / "report.html").is_file()
