"""What users rely on when things go wrong: kill -9, a full or failing disk, decoders that run amok, any file name."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import killing
import numpy as np
import pytest
import soundfile
import sounds

from audiocnn.dataset import manifest
from audiocnn.dataset.manifest import Recording
from audiocnn.model.locate import SHIPPED
from audiocnn.text import decode_path

pytestmark = pytest.mark.slow

linux = pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux only")


def program(body: str) -> list[str]:
    """The command line with something changed beforehand, which its workers inherit; tests do not load TensorFlow."""
    return [sys.executable, "-c", f"{body}\nfrom audiocnn import cli\ncli.main()\n"]


def table(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(file.read_text(encoding="utf-8"), newline="")))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A project on which featurize takes a moment."""
    return killing.project(tmp_path_factory.mktemp("project"), n=20, longest_s=5)


@pytest.fixture(scope="module")
def reference(folder) -> killing.Reference:
    return killing.undisturbed(folder)


# kill -9


@linux
@pytest.mark.parametrize("n_recordings", [0, 4])
def test_a_featurize_that_is_killed_is_completed_by_the_next_as_if_nothing_had_happened(
    n_recordings, folder, reference
):
    def wait(process: subprocess.Popen[bytes]) -> None:
        while process.poll() is None:
            if len(killing.recordings(folder)) >= n_recordings and any((folder / "runs").rglob(".tmp-*")):
                return
            time.sleep(0.001)

    for _ in range(5):  # on a busy machine the command may be done by the time that it is killed
        outcome = killing.killed(folder, reference, wait)
        assert outcome.problems == []
        if outcome.under_way:
            return
    pytest.fail("was never killed in the middle of its work")


@linux
def test_what_dead_runs_left_anywhere_in_the_run_folder_is_removed(folder, reference):
    for place in ("runs/sounds", "runs/sounds/features", "runs/sounds/features/0123456789abcdef/ab"):
        (folder / place).mkdir(parents=True, exist_ok=True)
        (folder / place / ".tmp-1-ab").write_bytes(b"half of it")
    killing.completed(folder, reference)
    assert list((folder / "runs").rglob(".tmp-*")) == []
    shutil.rmtree(folder / "runs")


# Disks


FAILING_DISK = """
import errno, io, os
from audiocnn import files

what, number = {what!r}, {number}
parent, count = os.getpid(), 0

def strike(error):
    global count
    count += 1
    if count == number:
        raise OSError(error, os.strerror(error))

class Disk(io.FileIO):
    def write(self, data):
        if what == ("write of a list" if os.getpid() == parent else "write of frames"):
            strike(errno.ENOSPC)
        return super().write(data)

def fsync(descriptor, real=os.fsync):
    if what == ("fsync of a list" if os.getpid() == parent else "fsync of frames"):
        strike(errno.EIO)
    real(descriptor)

os.fsync = fsync
files.open = lambda file, mode="r", **options: (
    io.BufferedWriter(Disk(file, "w")) if mode == "wb" else open(file, mode, **options)
)
"""


@linux
@pytest.mark.parametrize(
    ("what", "of", "number"),
    [("write", "of frames", 1), ("fsync", "of frames", 5), ("write", "of a list", 1), ("fsync", "of a list", 2)],
)
def test_a_disk_that_is_full_or_fails_is_named_and_the_next_run_completes_the_work(what, of, number, folder, reference):
    words = {"write": "No space left on device", "fsync": "Input/output error"}[what]
    shutil.rmtree(folder / "runs", ignore_errors=True)
    change = FAILING_DISK.format(what=f"{what} {of}", number=number)
    done = killing.featurize(folder, jobs=2, program=program(change))
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].startswith("audiocnn: runs/sounds/")
    assert done.stderr.endswith(f" cannot be written ({words})\n")
    assert "Traceback" not in done.stderr
    assert killing.completed(folder, reference) == []


@linux
def test_a_disk_that_was_full_before_anything_was_written_is_named_too(folder, reference):
    shutil.rmtree(folder / "runs", ignore_errors=True)
    no_bytes = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))"
    done = killing.featurize(folder, jobs=2, program=program(no_bytes))
    assert done.returncode == 2
    assert done.stderr == "audiocnn: runs/sounds: cannot be locked (File too large)\n"
    assert killing.completed(folder, reference) == []


# Decoders that run amok


POISON = {"crash": "crashed", "abort": "crashed", "loop": "timeout", "hoard": "out_of_memory"}
POISONED = """
import ctypes, os, resource
import numpy as np
from audiocnn.audio import decode, workers

resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # to write a core dump takes a while
workers.TIME_LIMIT_S = 1.0
opened = decode.Decoder.__init__

def poisoned(decoder, path):
    opened(decoder, path)
    if path.stem == "crash":
        ctypes.string_at(0)
    if path.stem == "abort":
        os.abort()
    while path.stem == "loop":
        pass
    if path.stem == "hoard":
        np.ones(100 << 30, np.uint8)

decode.Decoder.__init__ = poisoned
"""


@linux
def test_four_decoders_that_run_amok_among_200_recordings_cost_their_own_recording_and_no_other(tmp_path):
    rate = 8_000
    rng = np.random.default_rng(0)
    names = [f"{i:03}" for i in range(200 - len(POISON))]
    for at, deed in zip((197, 120, 60, 0), POISON, strict=True):
        names.insert(at, deed)
    listed = []
    (tmp_path / "sounds").mkdir()
    for i, name in enumerate(names):
        samples = rng.integers(-3_000, 3_000, rate // 10).astype(np.int16)
        soundfile.write(tmp_path / "sounds" / f"{name}.wav", samples, rate)
        listed.append(Recording(f"{name}.wav", "ab"[i % 2], f"{name}.wav"))
    manifest.write(tmp_path / "sounds" / "list.csv", listed)
    subprocess.run(
        [*killing.AUDIOCNN, "-q", "init", "sounds/list.csv", "--preset", "instrument"], cwd=tmp_path, check=True
    )
    done = killing.featurize(tmp_path, jobs=2, program=program(POISONED))
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr
    run = tmp_path / "runs" / "sounds"
    assert list(run.rglob(".tmp-*")) == []  # nor anything of what dead workers had begun
    bad = table(run / "quarantine.csv")
    assert {row["path"]: row["code"] for row in bad} == {f"{deed}.wav": code for deed, code in POISON.items()}
    assert len(bad) == len(POISON)
    assert all(len(row["sha256"]) == 64 and row["reason"] and row["stage"] == "decode" for row in bad)
    (catalogue,) = run.rglob("recordings.csv")
    rows = table(catalogue)
    assert sorted(row["path"] for row in rows) == sorted(f"{name}.wav" for name in names)
    assert sum(row["status"] == "ok" for row in rows) == len(killing.recordings(tmp_path)) == 196


# Names


NAMES = {  # of files, and how they are written
    " a b .wav": r"\x20a b .wav",
    "🎻 ñ日本.wav": "🎻 ñ日本.wav",
    "-q.wav": "./-q.wav",
    "=1+1.wav": "./=1+1.wav",
    "two\nlines\r.wav": r"two\x0alines\x0d.wav",
    "\ttab\t.wav": r"\x09tab\x09.wav",
    "\"quoted\", 'comma'; .wav": "\"quoted\", 'comma'; .wav",
    "back\\slash\\x41.wav": r"back\\slash\\x41.wav",
    "caf\udce9 \udcff.wav": r"caf\xe9 \xff.wav",
    "é" * 125 + "x.wav": "é" * 125 + "x.wav",  # 255 bytes
    "e\u0301.wav": "e\u0301.wav",  # beside another one that looks the same
    "\u00e9.wav": "\u00e9.wav",
    "\u202egnp\u200f.wav": "\u202egnp\u200f.wav",
    "esc\x1b[31m\x7f.wav": r"esc\x1b[31m\x7f.wav",
}
BROKEN = ("=1+1.wav", "caf\udce9 \udcff.wav")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse some of these names")
def test_a_file_of_any_legal_name_is_found_under_that_name_in_everything_that_is_written(tmp_path):
    made = tmp_path / "sounds"
    for label in ("a", "b"):
        (made / label).mkdir(parents=True)
        for i, name in enumerate(NAMES):
            sound = io.BytesIO()
            soundfile.write(sound, sounds.noise(0.2, seed=i + 100 * (label == "a")), sounds.RATE, format="WAV")
            (made / label / name).write_bytes(b"RIFF" if name in BROKEN else sound.getvalue())
    files = {os.fsencode(file) for file in made.rglob("*.wav")}
    # Below a folder, the path begins with the folder's name, so that what the file's begins with does no harm.
    inside = {name: text.removeprefix("./").replace(r"\x20", " ") for name, text in NAMES.items()}
    written = {f"{label}/{text}" for label in "ab" for text in inside.values()}
    broken = {f"{label}/{inside[name]}" for label in "ab" for name in BROKEN}

    def run(*arguments: str | Path, cwd: Path = tmp_path, code: int) -> None:
        done = subprocess.run([*killing.AUDIOCNN, *arguments], cwd=cwd, capture_output=True, timeout=120)
        said = done.stdout.decode() + done.stderr.decode()  # it must be UTF-8
        assert done.returncode == code, said
        assert "Traceback" not in said
        assert not set(said) & set("\x1b\t\r\x7f\u202e\u200f")

    def expect(names: list[str], expected: set[str], *, below: Path = made) -> None:
        assert sorted(names) == sorted(expected)
        found = {os.fsencode(below / decode_path(name)) for name in names}
        assert len(found) == len(names)
        assert found <= files

    run("init", "sounds", "--preset", "instrument", code=0)
    expect([row["path"] for row in table(tmp_path / "manifest.csv")], written)
    run("--verbose", "featurize", code=3)
    (catalogue,) = (tmp_path / "runs").rglob("recordings.csv")
    rows = table(catalogue)
    expect([row["path"] for row in rows], written)
    assert {row["path"] for row in rows if row["status"] == "unreadable"} == broken
    expect([row["path"] for row in table(tmp_path / "runs" / "sounds" / "quarantine.csv")], broken)

    out = tmp_path / "out.csv", tmp_path / "out.json"
    for options in (["-o", out[0]], ["-o", out[1]], []):
        run("--verbose", "predict", ".", "--model", SHIPPED, *options, cwd=made / "a", code=3)
    for rows in (table(out[0]), json.loads(out[1].read_text(encoding="utf-8"))["recordings"]):
        expect([row["recording"] for row in rows], set(NAMES.values()), below=made / "a")
        assert {row["recording"] for row in rows if row["status"] == "unreadable"} == {NAMES[name] for name in BROKEN}
