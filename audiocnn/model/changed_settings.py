"""Compare the settings of a project with those that its model was trained with."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from audiocnn.model.loaded_model import LoadedModel
from audiocnn.specs import Experiment

if TYPE_CHECKING:
    from audiocnn.config import Project

_SHOWN = 3  # settings in a warning
_OF_ONE_RUN = {"epochs", "seed", "max_bad_fraction"}  # options of ``train`` replace these
_RESOLVED = {"batch_size", "precision"}  # a bundle has what was used


def warning(project: "Project", model: LoadedModel) -> str:
    """Return a sentence on settings that were changed since the model was trained; empty if none that matters was."""
    found = [f"{key} {json.dumps(then)} -> {json.dumps(now)}" for key, then, now in _changes(project, model)]
    if not found:
        return ""
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return (
        f"{project.file.name} differs from what the model was trained with: {', '.join(found[:_SHOWN])}{more}; "
        f"train again to use {'it' if len(found) == 1 else 'them'}"
    )


def _changes(project: "Project", model: LoadedModel) -> Iterator[tuple[str, Any, Any]]:
    """Yield every setting with another value: its key, the value of the model, and that of the project."""
    experiment, members = project.experiment, project.members
    if experiment.positive is not None and model.info.positive != experiment.positive:
        yield "positive", model.info.positive, experiment.positive
    if list(model.members) != list(members):
        yield "members", list(model.members), list(members)
    elif not members:
        yield from _network_changes(experiment, model)
    for name in (name for name in members if name in model.members):
        for key, then, now in _network_changes(members[name].experiment, model.members[name]):
            yield f"members.{name}.{key}", then, now
    yield from _differing(
        "decide", model.info.provenance.get("decide") or {}, experiment.decide.model_dump(mode="json")
    )


def _network_changes(experiment: Experiment, model: LoadedModel) -> Iterator[tuple[str, Any, Any]]:
    if model.notation != experiment.model:
        yield "model", model.notation, experiment.model
    yield from _differing("features", model.spec.model_dump(mode="json"), experiment.features.model_dump(mode="json"))
    train = {name: value for name, value in model.info.training.items() if name not in _OF_ONE_RUN | _RESOLVED}
    yield from _differing("train", train, experiment.train.model_dump(mode="json"))


def _differing(block: str, then: dict[str, Any], now: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for name in now:
        if name in then and then[name] != now[name]:
            yield f"{block}.{name}", then[name], now[name]
