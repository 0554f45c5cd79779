"""Run the requested studies of a project's model, and read back those that were run before."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from audiocnn.config import Project
from audiocnn.dataset import split
from audiocnn.dataset.manifest import PARTS, Recording
from audiocnn.errors import ConfigError, IntegrityError
from audiocnn.files import digest_of, write_json
from audiocnn.inference.prediction import RecordingPrediction
from audiocnn.model import network
from audiocnn.model.bundle import Bundle
from audiocnn.progress import Progress
from audiocnn.specs import Study, TrainSpec
from audiocnn.studies import leak_gap, learning_curve, open_set
from audiocnn.studies.context import StudyContext
from audiocnn.training.dataset import prepare


def add(
    figures: Mapping[str, Any],
    project: Project,
    model: Bundle,
    predictions: Mapping[Recording, RecordingPrediction],
    studies: Sequence[Study],
    *,
    progress: Progress,
) -> dict[str, Any]:
    """Return ``metrics.json`` with the results of studies of the project's own model.

    The studies named in ``studies`` and in the settings are run; results of earlier runs for the same model are read.
    ``predictions`` are those of the model for the test part.
    """
    settings = project.experiment.evaluate
    requested = {*settings.studies, *studies}
    key = digest_of({"model": model.scores_digest, "bootstrap": settings.bootstrap, "seed": settings.seed})
    folder = project.run / "studies"
    found = dict(figures)
    context = None
    for name in get_args(Study):
        file, block = folder / f"{name}.json", name.replace("-", "_")
        made = _read_study(file, key)
        if made is None and name in requested:
            context = context or _context(project, model, folder, progress)
            made = _study(name, context, model, predictions)
            write_json(file, {"key": key, "found": made})
        if made is not None:
            found[block] = {**found.get(block, {}), **made}
    return found


def _study(
    name: Study, context: StudyContext, model: Bundle, by_recording: Mapping[Recording, RecordingPrediction]
) -> dict[str, Any]:
    predictions = [by_recording[r] for r in context.parts["test"]]
    if name == "leak-gap":
        return leak_gap.leak_gap(context, model)
    if name == "learning-curve":
        return learning_curve.learning_curve_of(context, predictions)
    kept = 0.98 if model.decision is None else 1 - model.decision.unknown
    return open_set.open_set(context, model.temperature, kept)


def _context(project: Project, model: Bundle, folder: Path, progress: Progress) -> StudyContext:
    """Return what the studies of the project's own model share; its features must still be in the store."""
    network.load_keras()  # raises MissingExtraError early
    wanted = project.experiment
    if (wanted.features, wanted.model) != (model.spec, model.info.notation):
        raise ConfigError(
            f"{project.file}: the features or the network differ from those of the model, which studies need; set them "
            "back, or run 'audiocnn train' again"
        )
    task = prepare(project, max_bad_fraction=1, progress=progress)
    division = split.read(project.run / "split.json")
    if model.info.provenance.get("init_from"):
        progress.warn("the networks of studies start from random weights, not from the model that --init-from named")
    return StudyContext(
        task=task,
        spec=_trained_with(model.info.training),
        evaluate=project.experiment.evaluate,
        parts={part: [r for r in task.recordings if division.part_of(r) == part] for part in PARTS},
        folder=folder,
        settings={"model": model.info.provenance.get("key")},
        progress=progress,
    )


def _trained_with(training: Mapping[str, Any]) -> TrainSpec:
    """The settings that a bundle reports, with ``precision`` as a user sets it: the bundle names the dtype policy."""
    known = {name: training[name] for name in TrainSpec.model_fields if name in training}
    if known.get("precision", "float32") != "float32":
        known["precision"] = "mixed"
    return TrainSpec.model_validate(known)


def _read_study(file: Path, key: str) -> dict[str, Any] | None:
    """Return the result of an earlier run if it is of the same model and settings."""
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
        return dict(value["found"]) if value["key"] == key else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise IntegrityError(f"{file}: not the result of a study ({error}); delete it") from error
