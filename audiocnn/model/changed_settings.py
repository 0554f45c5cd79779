"""Compare the settings of a project with those that its model was trained with."""

import json
from collections.abc import Iterator
from typing import Any

from audiocnn.config import Project
from audiocnn.model.bundle import BundleInfo

_SHOWN = 3  # settings in a warning
_OF_ONE_RUN = {"epochs", "seed", "max_bad_fraction"}  # options of ``train`` replace these
_RESOLVED = {"batch_size", "precision"}  # a bundle has what was used


def warning(project: Project, info: BundleInfo) -> str:
    """Return a sentence on settings that were changed since the model was trained; empty if none that matters was."""
    found = [f"{key} {json.dumps(then)} -> {json.dumps(now)}" for key, then, now in _changes(project, info)]
    if not found:
        return ""
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return (
        f"{project.file.name} differs from what the model was trained with: {', '.join(found[:_SHOWN])}{more}; "
        f"train again to use {'it' if len(found) == 1 else 'them'}"
    )


def _changes(project: Project, info: BundleInfo) -> Iterator[tuple[str, Any, Any]]:
    """Yield every setting with another value: its key, the value of the model, and that of the project."""
    experiment = project.experiment
    if info.notation != experiment.model:
        yield "model", info.notation, experiment.model
    if experiment.positive is not None and info.positive != experiment.positive:
        yield "positive", info.positive, experiment.positive
    train = {name: value for name, value in info.training.items() if name not in _OF_ONE_RUN | _RESOLVED}
    for block, then, now in (
        ("features", info.features.model_dump(mode="json"), experiment.features.model_dump(mode="json")),
        ("train", train, experiment.train.model_dump(mode="json")),
        ("decide", info.provenance.get("decide") or {}, experiment.decide.model_dump(mode="json")),
    ):
        for name in now:
            if name in then and then[name] != now[name]:
                yield f"{block}.{name}", then[name], now[name]
