"""``predict`` and ``export`` asked for what cannot be, or kept from it: one line says so, and nothing is lost."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile
import sounds
from click.testing import CliRunner
from test_predict import Linear, csv_of

from audiocnn.audio import workers
from audiocnn.cli import cli
from audiocnn.errors import BusyError, ConfigError, OutputError
from audiocnn.files import lock, resolve_link, write_atomic
from audiocnn.inference.scoring import ScoreAccumulator
from audiocnn.model.locate import SHIPPED
from audiocnn.progress import Advance, Progress
from audiocnn.stages import export, tune_events
from audiocnn.stages import predict as stage

posix = pytest.mark.skipif(os.name != "posix", reason="has no such files, streams or signals")


@pytest.fixture(scope="module")
def song(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("misuse") / "song.wav"
    soundfile.write(file, sounds.chirp(100, 3_000, 3), sounds.RATE)
    return file


class Eavesdropper(Progress):
    """Notes how far it is told that work is."""

    def __init__(self) -> None:
        self.told: list[tuple[float, str]] = []

    @contextmanager
    def task(self, title: str, *, total: int, unit: str) -> Iterator[Advance]:
        yield lambda amount=1, note="": self.told.append((amount, note))


def run(arguments: list[Path | str], *, progress: Progress | None = None, **options: Path | None) -> dict[str, str]:
    """What became of every recording: its status, or the first code of why it is not ok."""
    inputs = [*map(str, arguments)]
    with stage.run(inputs, model=SHIPPED, jobs=1, progress=progress or Progress(), **options) as result:
        return {
            Path(p.recording).name: (*p.recording_status.codes, p.recording_status.status)[0]
            for p in result.predictions
        }


# What is named


@posix
@pytest.mark.parametrize("kind", ["itself", "a link to it", "another name of it"])
def test_an_output_that_is_a_recording_is_refused_before_anything_is_heard(
    song: Path, tmp_path: Path, kind: str
) -> None:
    recording, out = tmp_path / "x.wav", tmp_path / "x.csv"
    recording.write_bytes(song.read_bytes())
    if kind == "itself":
        out = recording
    else:
        (out.symlink_to if kind == "a link to it" else out.hardlink_to)(recording)
    progress = Eavesdropper()
    with pytest.raises(ConfigError, match="is one of the recordings and would be overwritten; name another"):
        run([tmp_path], out=out, progress=progress)
    assert recording.read_bytes() == song.read_bytes()
    assert progress.told == [] and not list(tmp_path.glob("*.journal"))


def test_what_names_no_file_is_refused() -> None:
    for argument, says in (
        ("", "not the name of a file"),
        ("-", "standard input is not read; save it as a file"),
        ("no/*.such", r"no/\*\.such: no file matches this pattern"),
        ("https://example.com/a.wav", "https://example.com/a.wav: is an address, not a file; download it"),
        ("C:\\Users\\me\\a.wav", r"C:\\Users\\me\\a.wav: is a path of Windows"),
    ):
        if argument[1:2] != ":" or os.name != "nt":
            with pytest.raises(ConfigError, match=says):
                run([argument])


@pytest.mark.slow
def test_a_pattern_or_the_home_folder_that_the_shell_left_in_place_is_expanded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "b").mkdir()
    for name in ("a1.txt", "a2.wav", "a*.wav", "b/a3.wav"):
        (tmp_path / name).write_text("a text")
    assert run(["~/a1.txt"]) == {"a1.txt": "not_audio"}
    assert set(run([tmp_path / "a?.*", "~/b*", tmp_path / "**" / "*3.wav"])) == {"a1.txt", "a2.wav", "a*.wav", "a3.wav"}
    assert set(run([tmp_path / "a*.wav"])) == {"a*.wav"}  # a file of that name
    names = ("b/a3.wav", "a*.wav", "a1.txt", "a2.wav")
    assert tune_events._audio_files(["~/b", "~/a?.*"]) == [tmp_path / name for name in names]
    explained = CliRunner().invoke(cli, ["explain", "~/a?.*"])
    assert explained.exit_code == 2 and "names 3 files; name one recording" in explained.output


@posix
def test_what_is_no_file_costs_nothing_but_a_row(song: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "inner").mkdir(parents=True)
    (folder / "song.wav").write_bytes(song.read_bytes())
    (folder / "again.wav").symlink_to("song.wav")
    (folder / "twin.wav").hardlink_to(folder / "song.wav")
    (folder / "inner" / "loop").symlink_to(folder)
    (folder / "self.wav").symlink_to("self.wav")
    (folder / "nowhere.wav").symlink_to("gone.wav")
    os.mkfifo(folder / "pipe.wav")
    assert run([folder, os.devnull, "x" * 300]) == {
        "again.wav": "ok",
        "nowhere.wav": "missing",
        "pipe.wav": "not_a_file",
        "self.wav": "unreadable",
        "song.wav": "ok",
        "twin.wav": "ok",
        "null": "not_a_file",
        "x" * 300: "unreadable",
    }


# What is written


@posix
def test_a_device_or_a_pipe_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("pipe")
    for name, says in (("pipe", "is not a regular file"), ("link", "is not a regular file"), ("folder", "is a folder")):
        for write in (resolve_link, lambda path: write_atomic(path, b"x")):
            with pytest.raises(OutputError, match=rf"{name}: cannot be written \({says}\); name another one"):
                write(tmp_path / name)
    assert (tmp_path / "pipe").is_fifo() and (tmp_path / "link").is_symlink()
    with pytest.raises(OutputError, match="is not a regular file"):
        export.run(SHIPPED, form="tflite", out=tmp_path / "pipe", progress=Progress())


@posix
def test_a_link_leads_to_the_file_that_is_written(tmp_path: Path) -> None:
    (tmp_path / "link.csv").symlink_to("target.csv")
    assert resolve_link(tmp_path / "link.csv") == tmp_path.resolve() / "target.csv"
    made = export.run(SHIPPED, form="tflite", out=tmp_path / "link.csv", progress=Progress())
    assert made.path.name == "target.csv" and (tmp_path / "link.csv").is_symlink()


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="has no device that is full")
@pytest.mark.parametrize("buffering", [0, 1 << 20], ids=["when written to", "when read"])
def test_a_full_temporary_folder_is_not_the_recordings_fault(buffering: int) -> None:
    classifier = Linear()

    def score() -> None:
        with ScoreAccumulator(classifier, 1) as accumulator:
            accumulator._embeddings.close()
            accumulator._embeddings = open("/dev/full", "r+b", buffering=buffering)  # noqa: SIM115 - closed by the accumulator
            accumulator.add(np.zeros((3, *classifier.spec.shape), np.float32))
            accumulator.result()

    with pytest.raises(OutputError, match=r"cannot be written \(No space left on device\); make room there"):
        score()


# Journals


def test_two_runs_with_one_output_are_kept_apart_whatever_their_journals(song: Path, tmp_path: Path) -> None:
    out, journal = tmp_path / "out.csv", tmp_path / "journal"
    for held in (tmp_path / "out.csv.journal", journal):
        with lock(held), pytest.raises(BusyError, match=rf"{held.name}: in use by process {os.getpid()}"):
            run([song], out=out, kept_in=journal)
    assert run([song], out=out, kept_in=journal) == {"song.wav": "ok"}
    assert sorted(file.name for file in tmp_path.iterdir()) == ["journal"]


@pytest.mark.slow
def test_the_journal_may_be_kept_where_it_is_anyway(song: Path, tmp_path: Path) -> None:
    kept = tmp_path / "out.csv.journal"
    for _ in range(2):
        run([song], out=tmp_path / "out.csv", kept_in=kept)
        assert len(list(kept.glob("*.journal"))) == 1


def test_what_else_lies_in_the_folder_of_a_journal_stays(song: Path, tmp_path: Path) -> None:
    (tmp_path / "out.csv.journal").mkdir()
    (tmp_path / "out.csv.journal" / "notes.txt").write_text("mine")
    run([song], out=tmp_path / "out.csv")
    assert [file.name for file in (tmp_path / "out.csv.journal").iterdir()] == ["notes.txt"]


@pytest.mark.slow
def test_a_journal_that_is_none_is_begun_anew_or_named(song: Path, tmp_path: Path) -> None:
    expected = csv_of([song], kept_in=tmp_path)
    (file,) = tmp_path.glob("*.journal")
    content = file.read_bytes()
    for other in (b"", b"aJ0\n" + content[4:], song.read_bytes()):
        file.write_bytes(other)
        assert csv_of([song], kept_in=tmp_path) == expected
        assert file.read_bytes() == content
    file.unlink()
    file.mkdir()
    with pytest.raises(OutputError, match=rf"{file.name}: cannot be written"):
        run([song], kept_in=tmp_path)
    (tmp_path / "out.csv.journal").write_text("in its place")
    with pytest.raises(OutputError, match=r"out.csv.journal: cannot be written"):
        run([song], out=tmp_path / "out.csv")


# Streams and signals


def shell(line: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a line of bash in which PREDICT stands for the command; the exit code is that of any command that fails."""
    line = line.replace("PREDICT", f"{sys.executable} -m audiocnn predict --model {SHIPPED}")
    return subprocess.run(["bash", "-c", f"set -o pipefail; {line}"], cwd=cwd, capture_output=True, text=True)


@pytest.mark.slow
@posix
@pytest.mark.parametrize("form", ["table", "json"])
def test_nobody_reading_on_is_no_error(song: Path, tmp_path: Path, form: str) -> None:
    done = shell(f"PREDICT {song} --format {form} 2>&1 | true", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
@posix
def test_streams_may_be_closed_broken_or_full(song: Path, tmp_path: Path) -> None:
    row = "song.wav,"
    for chatter in ("2>&-", "2> /dev/full", "2> >(true)"):
        done = shell(f"PREDICT {song} --format csv {chatter}", tmp_path)
        assert done.returncode == 0 and row in done.stdout, chatter
    for results, says in (
        (">&-", "audiocnn: standard output is closed; name a file with -o"),
        ("> /dev/full", "audiocnn: standard output: cannot be written (No space left on device); free disk space"),
    ):
        done = shell(f"PREDICT {song} --format csv {results}", tmp_path)
        assert done.returncode == 2 and done.stderr.splitlines()[-1].startswith(says), done.stderr
    done = shell(f"PREDICT {song} -o out.csv <&- >&- 2>&-", tmp_path)
    assert done.returncode == 0 and row in (tmp_path / "out.csv").read_text()


@pytest.mark.slow
@posix
def test_ctrl_c_keeps_what_was_finished(song: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sounds"
    folder.mkdir()
    for i in range(40):
        soundfile.write(folder / f"{i:03}.wav", sounds.noise(4, seed=i), sounds.RATE)
    options = ("--jobs", "1", "--model", str(SHIPPED), "-o", "out.csv")
    command = [sys.executable, "-m", "audiocnn", "predict", "sounds", *options]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True)
    until = time.monotonic() + 60
    while not any(file.stat().st_size for file in tmp_path.glob("out.csv.journal/*.journal")):
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    said = process.communicate()[1]
    assert process.returncode == 130 and "Traceback" not in said
    assert said.splitlines()[-1] == "audiocnn: interrupted; finished work is kept"
    assert not (tmp_path / "out.csv").exists()
    with stage.run([str(folder)], model=SHIPPED, jobs=2, progress=Progress(), out=tmp_path / "out.csv") as result:
        assert result.totals.n_kept > 0 and result.totals.statuses == {"ok": 40}


# How far it is


@pytest.mark.slow
def test_progress_moves_within_a_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_POLL_S", 0.01)
    with soundfile.SoundFile(tmp_path / "long.wav", "w", 8_000, 1) as file:
        for seed in range(4):
            file.write(sounds.noise(60, 8_000, seed=seed))
    progress = Eavesdropper()
    assert run([tmp_path / "long.wav"], progress=progress) == {"long.wav": "ok"}
    amounts = [amount for amount, _ in progress.told]
    assert sum(amounts) == pytest.approx(1)
    assert min(amounts) >= 0 and max(amounts) < 0.9
    assert progress.told[-1][1].startswith("4.0 min of audio, ")
    assert len({note.partition(" of audio")[0] for _, note in progress.told}) > 3
