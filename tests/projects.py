"""Small projects to train on, and the command line as users type it."""

from pathlib import Path

import prefork
import soundfile
import sounds

from audiocnn import config
from audiocnn.config import Project

PITCH_HZ = {"low": 200, "middle": 900, "high": 3_000}


def audiocnn(*arguments: str | Path, cwd: Path, code: int = 0, env: dict[str, str] | None = None) -> prefork.Done:
    """Run the command and check its exit code."""
    done = prefork.run(*arguments, cwd=cwd, env=env)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def tones(folder: Path, n: int = 6) -> None:
    """Write ``n`` seconds of tone in noise for each of three labels, one file a second."""
    for label, hz in PITCH_HZ.items():
        (folder / label).mkdir(parents=True)
        for i in range(n):
            samples = sounds.tone(hz * (1 + i / 20), 1) + 0.3 * sounds.noise(1, seed=10 * i)
            soundfile.write(folder / label / f"{i}.wav", samples, sounds.RATE)


def set_lines(file: Path, **values: str) -> None:
    """Replace lines of a YAML file by their keys; ``name`` and ``model`` are at the margin, other keys are indented."""
    lines = file.read_text().splitlines()
    for key, value in values.items():
        start = f"{key}:" if key in ("name", "model") else f"  {key}:"
        assert any(line.startswith(start) for line in lines), key
        lines = [f"{start} {value}" if line.startswith(start) else line for line in lines]
    file.write_text("\n".join(lines) + "\n")


SMALL_MEMBERS = """
members:
  fine:
    preset: instrument
    model: "4C3-P2-*"
    train: {epochs: 3}
  wide:
    preset: instrument
    features: {kind: logmel, n_mfcc: null, sample_rate: 8000, window_frames: 20, hop_frames: 20, axes: frames_bins}
    model: "4C3-P4-*"
    train: {epochs: 6}
"""


def set_small_members(file: Path) -> None:
    """Replace the members in a YAML file of the preset ``best`` by two that are trained in seconds."""
    before, _, after = file.read_text().partition("\nmembers:")
    file.write_text(f"{before}{SMALL_MEMBERS}\nsplit:{after.partition('split:')[2]}")


def featurized(folder: Path, *, source: str | Path = "sounds", preset: str = "instrument", **lines: str) -> Project:
    """Make a project of the sounds in ``folder`` with these lines in its YAML file, and compute its features."""
    audiocnn("init", folder / source, "--preset", preset, cwd=folder)
    set_lines(folder / "audiocnn.yaml", **lines)
    done = prefork.run("featurize", "--jobs", "1", cwd=folder)
    assert done.returncode in (0, 3), done.stderr  # 3: some recordings cannot be used
    return config.read(folder / "audiocnn.yaml")


def trained(project: Project, *, init_from: Path | None = None) -> Project:
    """Train the network of a project."""
    audiocnn("train", *(("--init-from", init_from) if init_from else ()), cwd=project.file.parent)
    return project
