"""Render notes and phrases of ten instruments with FluidSynth.

    python data_manifests/render_instruments.py rendered PATH/TO/rendered    to train and test with
    python data_manifests/render_instruments.py timgm PATH/TO/timgm          only to test with

Writes the audio and, beside it, its manifest; then compares with the manifest of that name here. Every recording is
drawn from a seed: patch, keys, velocities, rhythm, room, level. Needs FluidSynth, the soundfonts, and NumPy.
Exit code: 0 done, also with other bytes than listed here; 2 a program, file or folder that cannot be used.
"""

import argparse
import csv
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import wave
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from draw_phrases import SOUNDFONTS, Take, draw_takes
from make_manifests import compare, read_hashes, write_rows

HERE = Path(__file__).resolve().parent
SIZE = 40  # recordings of each label
RATE = 44_100
MEASURED_WITH = "2.3.1"  # the FluidSynth whose audio the manifests list


@dataclass(frozen=True)
class Soundfont:
    """A soundfont file, and the Debian package that has it."""

    file: str
    package: str
    sha256: str


FILES = {
    "fluid": Soundfont(
        "sf2/FluidR3_GM.sf2",
        "fluid-soundfont-gm",
        "74594e8f4250680adf590507a306655a299935343583256f3b722c48a1bc1cb0",
    ),
    "musescore": Soundfont(
        "sf3/MuseScore_General_Full.sf3",
        "musescore-general-soundfont",
        "f9a37b36655f23e167c66ec91bef6097c8e99be29286219a54062919eb41aeae",
    ),
    "timgm": Soundfont(
        "sf2/TimGM6mb.sf2",
        "timgm6mb-soundfont",
        "c5378b62028c920cb11e4803327983fee2f2cdff5dc89c708e39da417e51c854",
    ),
}
FOR_TESTS = frozenset({"timgm"})  # GPL-2: its manifest puts every recording into the test part


def render(take: Take, *, fluidsynth: str, soundfont: Path, folder: Path) -> str:
    """Write the recording of a take below ``folder``, mono in 16 bit, and return its SHA-256."""
    room = take.room or (0.0, 0.0, 0.0)
    settings = {f"synth.reverb.{name}": value for name, value in zip(("room-size", "damp", "level"), room, strict=True)}
    with tempfile.TemporaryDirectory() as name:
        midi, raw = Path(name, "take.mid"), Path(name, "take.raw")
        midi.write_bytes(take.midi)
        options = [part for key, value in settings.items() for part in ("-o", f"{key}={value:.3f}")]
        command = [fluidsynth, "-ni", "-q", "-f", os.devnull, "-F", str(raw), "-T", "raw", "-O", "float",
                   "-E", "little", "-r", str(RATE), "-g", "0.5", "-C", "0", "-R", str(int(take.room is not None)),
                   *options, "-o", "synth.dynamic-sample-loading=1", str(soundfont), str(midi)]  # fmt: skip
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        if run.returncode or not raw.is_file():
            raise ValueError(
                f"{take.path}: fluidsynth ended with {run.returncode}: {run.stderr.strip() or 'no output'}"
            )
        samples = np.fromfile(raw, "<f4").reshape(-1, 2).mean(axis=1, dtype=np.float64)
    count = round(take.seconds * RATE)
    samples = np.pad(samples[:count], (0, max(0, count - len(samples))))
    if not samples.any():
        raise ValueError(f"{take.path}: fluidsynth rendered silence; does {soundfont} have program {take.program}?")
    samples *= 10 ** (take.peak_db / 20) / np.abs(samples).max()
    file = folder / take.path
    file.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(file), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes(np.rint(samples * 32_767).astype("<i2").tobytes())
    return hashlib.sha256(file.read_bytes()).hexdigest()


def find_fluidsynth() -> tuple[str, str]:
    """Return the program and its version; `ValueError` tells what to install if it is missing."""
    program = shutil.which("fluidsynth")
    if program is None:
        raise ValueError(
            f"fluidsynth: not found; install it, version {MEASURED_WITH} if you can: apt-get install fluidsynth"
        )
    text = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    version = re.search(r"\d+\.\d+\.\d+", text)
    return program, version[0] if version else "unknown"


def find_soundfont(name: str, sounds: Path) -> Path:
    """Return the file of a soundfont; `ValueError` tells what to install if it is missing, or has other content."""
    soundfont = FILES[name]
    file = sounds / soundfont.file
    if not file.is_file():
        raise ValueError(f"{file}: not found; install it: apt-get install {soundfont.package}")
    with open(file, "rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    if found != soundfont.sha256:
        raise ValueError(
            f"{file}: SHA-256 is {found}, not {soundfont.sha256}; install {soundfont.package} of Debian 12"
        )
    return file


def make_rows(collection: str, takes: Sequence[Take], hashes: Sequence[str]) -> list[dict[str, str]]:
    """Return the rows of the manifest of a collection; those of a collection for tests are all in the test part."""
    part = {"split": "test"} if collection in FOR_TESTS else {}
    return [
        {"path": take.path, "label": take.label, "group": take.group, **part, "collection": collection,
         "sha256": sha256, "soundfont": take.soundfont, "program": str(take.program)}
        for take, sha256 in zip(takes, hashes, strict=True)
    ]  # fmt: skip


def join_rows(manifests: dict[str, list[dict[str, str]]]) -> list[dict[str, str]]:
    """Return one manifest of several, by collection: the folder of a collection has its name."""
    if not FOR_TESTS.isdisjoint(manifests):
        raise ValueError(f"{', '.join(FOR_TESTS & manifests.keys())}: only for tests, and in no manifest for training")
    return [
        {"path": f"{name}/{row['path']}", "label": row["label"], "group": row["group"], "collection": name,
         "sha256": row["sha256"]}
        for name, rows in manifests.items()
        for row in rows
    ]  # fmt: skip


def write_manifests(folder: Path, collection: str, rows: list[dict[str, str]]) -> None:
    """Write the manifest of a collection, and the one that joins it with instruments.csv if it is for training."""
    manifests = {f"{collection}.csv": rows}
    if collection not in FOR_TESTS:
        with open(HERE / "instruments.csv", encoding="utf-8", newline="") as file:
            instruments = list(csv.DictReader(file))
        joined = join_rows({"instruments": instruments, collection: rows})
        manifests[f"instruments-and-{collection}.csv"] = joined
    for name, content in manifests.items():
        write_rows(folder / name, content)
        print(f"{folder / name}: {len(content)} recordings")


def main() -> int:
    parser = argparse.ArgumentParser(description="Render notes and phrases of the ten instruments.")
    parser.add_argument("collection", choices=sorted(SOUNDFONTS))
    parser.add_argument("folder", type=Path, help="folder to write, with one folder of WAV files per label")
    parser.add_argument("--size", type=int, default=SIZE, help=f"recordings of each label (default: {SIZE})")
    parser.add_argument("--write", type=Path, metavar="FOLDER", help="also write the manifests there")
    parser.add_argument("--sounds", type=Path, default=Path("/usr/share/sounds"), metavar="FOLDER",
                        help="folder of sf2/ and sf3/ (default: %(default)s)")  # fmt: skip
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="recordings at a time (default: all cores)")
    arguments = parser.parse_args()
    if arguments.size < 1:
        parser.error(f"--size: {arguments.size} is not at least 1")
    if arguments.write and not arguments.write.is_dir():
        parser.error(f"--write: {arguments.write} is not a folder; make it first")
    try:
        program, version = find_fluidsynth()
        soundfonts = {name: find_soundfont(name, arguments.sounds) for name in SOUNDFONTS[arguments.collection]}
        takes = draw_takes(arguments.collection, arguments.size)

        def render_take(take: Take) -> str:
            soundfont = soundfonts[take.soundfont]
            return render(take, fluidsynth=program, soundfont=soundfont, folder=arguments.folder)

        with ThreadPoolExecutor(arguments.jobs) as pool:
            rows = make_rows(arguments.collection, takes, list(pool.map(render_take, takes)))
        own = arguments.folder / f"{arguments.collection}.csv"
        write_rows(own, rows)
        print(f"{own}: {len(rows)} recordings, rendered with FluidSynth {version}")
        if arguments.write:
            write_manifests(arguments.write, arguments.collection, rows)
        shipped = HERE / own.name
        differences = compare(read_hashes(shipped), {row["path"]: row["sha256"] for row in rows})
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    if differences:
        print(
            f"warning: {len(differences)} recordings differ from {shipped}, for FluidSynth {MEASURED_WITH} and "
            f"--size {SIZE}; the first is {differences[0][1]}; use {own}",
            file=sys.stderr,
        )
    else:
        print(f"{shipped}: every recording is equal to the last byte")
    return 0


if __name__ == "__main__":
    sys.exit(main())
