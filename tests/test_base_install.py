"""What 'pip install audiocnn' brings without extras: small enough for a field computer, and able to predict."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import sounds
from soundfile import write

SOURCE = Path(__file__).resolve().parents[1]
MOST_MB = 300

pytestmark = pytest.mark.slow


def call(*command: str | Path, cwd: Path) -> "subprocess.CompletedProcess[str]":
    """Run without what would let the new environment see modules of this one."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=900)


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh virtual environment with the base, built from the checkout."""
    folder = tmp_path_factory.mktemp("base")
    venv = folder / "venv"
    made = call(sys.executable, "-m", "venv", "--without-pip", venv, cwd=folder)
    assert made.returncode == 0, made.stdout + made.stderr
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", venv]
    versions = SOURCE / "constraints.txt"
    constraints = ["--constraint", versions] if versions.is_file() else []
    installed = call(*pip, "install", "--quiet", "--no-compile", *constraints, SOURCE, cwd=folder)
    if installed.returncode:
        download = ("download", "--quiet", "--retries", "0", "--timeout", "10", "--no-deps", "--dest", folder)
        reached = call(*pip, *download, "hatchling", cwd=folder)
        if reached.returncode:
            pytest.skip(f"pip reaches no registry: {reached.stderr.strip().splitlines()[-1]}")
    assert installed.returncode == 0, installed.stderr
    return venv


def test_the_base_is_small_and_has_none_of_the_libraries_for_training(venv: Path) -> None:
    (packages,) = venv.glob("lib/python*/site-packages")
    sizes: dict[str, int] = {}
    for file in packages.rglob("*"):
        if file.is_file() and not file.is_symlink():
            name = file.relative_to(packages).parts[0]
            compiled = 2 if file.suffix == ".py" else 1  # the compiled module is about as large, and is not there yet
            sizes[name] = sizes.get(name, 0) + compiled * file.stat().st_size
    assert {"audiocnn", "numpy"} <= set(sizes)
    assert not {"librosa", "sklearn", "pandas", "scipy", "numba", "keras", "tensorflow"} & set(sizes)
    largest = sorted(sizes, key=lambda name: -sizes[name])[:5]
    assert sum(sizes.values()) < MOST_MB * 1e6, {name: f"{sizes[name] / 1e6:.0f} MB" for name in largest}


def test_the_base_alone_predicts_and_explains(venv: Path, tmp_path: Path) -> None:
    write(tmp_path / "song.wav", sounds.tone(440, 1.5, 44_100), 44_100)
    audiocnn = venv / "bin" / "audiocnn"
    done = call(audiocnn, "predict", "song.wav", "--events", "--format", "audacity", cwd=tmp_path)  # the rest: laziness
    assert done.returncode == 0, done.stderr
    done = call(audiocnn, "predict", "song.wav", "--format", "csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1].startswith("song.wav,")
    done = call(audiocnn, "explain", "song.wav", "-o", "why", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "why" / "what-mattered.wav").is_file()
