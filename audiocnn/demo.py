"""``demo``: the whole path on corpora synthesised on the spot, each step being the command that a user would type.

Three projects: ten instruments split by recording, the same split by player, and rotors against background.
"""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audiocnn.config import read
from audiocnn.dataset import synthesis
from audiocnn.errors import ConfigError
from audiocnn.model.network import load_keras
from audiocnn.progress import Progress
from audiocnn.stages import evaluate, featurize, init, train

_MARK = "made-by-audiocnn-demo"


@dataclass(frozen=True)
class _Project:
    """What is trained: a folder, the corpus and preset it uses, what makes a group there, and what it is to answer."""

    folder: str
    corpus: str
    preset: str
    group_by: str | None
    question: str


PROJECTS = (
    _Project(
        "instruments-known-players", "instruments", "instrument", "(.+)", "ten instruments, players heard in training"
    ),
    _Project("instruments-new-players", "instruments", "instrument", None, "ten instruments, players never heard"),
    _Project("rotors-new-places", "rotors", "spectrogram", None, "rotor or not, places never heard"),
)


@dataclass(frozen=True)
class DemoResult:
    """The figures of one project, and where its files are."""

    question: str
    metrics: Mapping[str, Any]
    folder: Path


def run(out: Path, *, seed: int, jobs: int, progress: Progress, say: Callable[[str], None]) -> list[DemoResult]:
    """Synthesise the corpora below ``out`` and take each project from ``init`` to ``evaluate``.

    ``say`` is given each command line as it begins. Raises `ConfigError` if ``out`` holds something else.
    """
    if out.exists() and any(out.iterdir()) and not (out / _MARK).exists():
        raise ConfigError(f"{out}: not empty, and not made by this command; choose another place with --out DIR")
    load_keras()  # says what to install before anything is made
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    (out / _MARK).touch()
    with progress.task("synthesise", total=2, unit="corpora") as advance:
        for name, clips in (("instruments", synthesis.instrument_clips(seed)), ("rotors", synthesis.rotor_clips(seed))):
            synthesis.write(clips, out / "sounds" / name)
            advance()
    return [_run(out, project, jobs, progress, say) for project in PROJECTS]


def _run(out: Path, project: _Project, jobs: int, progress: Progress, say: Callable[[str], None]) -> DemoResult:
    folder = out / project.folder
    source = out / "sounds" / project.corpus / "manifest.csv"
    grouping = f" --group-by '{project.group_by}'" if project.group_by else ""
    say(f"audiocnn init {source} --preset {project.preset} --out {folder}{grouping}")
    found = init.run(
        source,
        name=None,
        preset=project.preset,
        group_by=project.group_by,
        root=None,
        label_column=None,
        background=None,
        out=folder,
        allow_outside=False,
        force=True,
        jobs=jobs,
        progress=progress,
    )
    say(f"audiocnn run -c {found.config}")
    described = read(found.config)
    featurize.run(described, jobs=jobs, progress=progress)
    train.run(described, changes={}, fresh=False, init_from=None, progress=progress)
    evaluated = evaluate.run(described, model=None, part="test", other=None, output=None, jobs=jobs, progress=progress)
    return DemoResult(project.question, evaluated.metrics, evaluated.folder)
