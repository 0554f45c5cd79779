"""``demo``: all steps on synthesised corpora, each as the command that a user would type.

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
    """One project of the demo: folder, corpus, preset, pattern of its groups, and the question it answers."""

    folder: str
    corpus: str
    preset: str
    group_by: str | None
    question: str


PROJECTS = (
    _Project("instruments-known-players", "instruments", "instrument", "(.+)", "ten instruments, players in training"),
    _Project("instruments-new-players", "instruments", "instrument", None, "ten instruments, new players"),
    _Project("rotors-new-places", "rotors", "spectrogram", None, "rotor or not, new places"),
)


@dataclass(frozen=True)
class DemoResult:
    """The metrics of one project, and the folder of its files."""

    question: str
    metrics: Mapping[str, Any]
    folder: Path


def run(out: Path, *, seed: int, jobs: int, progress: Progress, say: Callable[[str], None]) -> list[DemoResult]:
    """Synthesise the corpora below ``out`` and take each project from ``init`` to ``evaluate``.

    ``say`` is called with each command line when it starts. Raises `ConfigError` if ``out`` has other files.
    """
    if out.exists() and any(out.iterdir()) and not (out / _MARK).exists():
        raise ConfigError(f"{out}: not empty, and not made by this command; pass another folder with --out DIR")
    load_keras()  # fails before anything is written if Keras is not installed
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
