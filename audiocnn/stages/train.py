"""``train``: train the network on the features, and write the model as a bundle that is checked against it.

A model with several networks has one training after the other, and then one more bundle, which holds them all.
"""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from audiocnn.config import Project
from audiocnn.dataset.manifest import PARTS
from audiocnn.errors import ConfigError
from audiocnn.files import lock
from audiocnn.model import network
from audiocnn.progress import Progress
from audiocnn.text import printable
from audiocnn.training import dataset, devices, train_ensemble, transfer
from audiocnn.training.tensorboard import TensorBoardLogs
from audiocnn.training.train_bundle import BundleTraining, TrainResult
from audiocnn.training.train_ensemble import EnsembleResult, EnsembleTraining

__all__ = ["EnsembleResult", "TrainResult", "run"]


def run(
    project: Project,
    *,
    changes: Mapping[str, Any],
    fresh: bool,
    init_from: Path | None,
    progress: Progress,
    tensorboard: bool = False,
    profile: bool = False,
    allow_leaks: bool = False,
    new_split: bool = False,
) -> TrainResult | EnsembleResult:
    """Train as the project's settings describe; ``changes`` replace fields of its `TrainSpec`.

    ``init_from`` is the folder of a model whose convolutions initialize the network. ``new_split`` divides the
    recordings anew instead of keeping ``split.json``. Raises `SplitError` if copies of one recording are in different
    parts, unless ``allow_leaks``. If several machines train together (see `audiocnn.training.devices.role`), the first
    writes all files.
    """
    logs = (
        TensorBoardLogs(project.run / "logs", scalars=tensorboard, profile=profile) if tensorboard or profile else None
    )
    members = project.members
    if members and (init_from is not None or logs is not None):
        option = "--init-from" if init_from is not None else "--tensorboard" if tensorboard else "--profile"
        raise ConfigError(f"{option}: needs a model of one network; {project.file} has members")
    if members and devices.role().count > 1:
        raise ConfigError(f"{project.file}: a model with members is trained on one machine; unset TF_CONFIG")
    with lock(project.run) if devices.role().writes else contextlib.nullcontext():
        _report_unused(project, progress)
        data = train_ensemble.prepare_networks(project, changes, progress)
        base = data[project.finest]
        start = None if init_from is None else transfer.from_bundle(init_from, base.net, project.experiment.features)
        division = dataset.divide(project, base, progress, anew=new_split)
        trainings = {
            name: BundleTraining(
                project=one,
                spec=one.experiment.train.model_copy(update=dict(changes)),
                data=data[name],
                division=division,
                parts={part: [r for r in data[name].recordings if division.part_of(r) == part] for part in PARTS},
                start=start,
                fresh=fresh,
                progress=progress,
            )
            for name, one in project.networks.items()
        }
        if any(training.finished is None for training in trainings.values()):
            with progress.step("load TensorFlow"):
                network.load_keras()  # fails before anything is written if Keras is not installed
            dataset.check_leaks(project, base, [division], allow_leaks=allow_leaks, progress=progress)
        if devices.role().writes:
            division.write(project.run / "split.json")
        if members:
            return EnsembleTraining(project, trainings, division, progress).run()
        return trainings[""].run(logs)


def _report_unused(project: Project, progress: Progress) -> None:
    """Name the folders of members that the project no longer has."""
    folder = project.run / "members"
    found = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    if unused := [printable(name) for name in found if name not in project.members]:
        progress.info(f"{folder}: {', '.join(unused)}: no longer in {project.file.name}; not used, and may be removed")
