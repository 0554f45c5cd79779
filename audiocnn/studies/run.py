"""Which studies there are of a project's model, made or read back."""

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
    judge: Bundle,
    judged: Mapping[Recording, RecordingPrediction],
    studies: Sequence[Study],
    *,
    progress: Progress,
) -> dict[str, Any]:
    """Return ``metrics.json`` with what studies found of the project's own model.

    Made are those of ``studies`` and of the settings; those made of this very model before are read. ``judged`` is what
    it says of the test part.
    """
    settings = project.experiment.evaluate
    wanted = {*settings.studies, *studies}
    key = digest_of({"model": judge.scores_digest, "bootstrap": settings.bootstrap, "seed": settings.seed})
    folder = project.run / "studies"
    found = dict(figures)
    course = None
    for name in get_args(Study):
        file, block = folder / f"{name}.json", name.replace("-", "_")
        made = _read_study(file, key)
        if made is None and name in wanted:
            course = course or _course(project, judge, folder, progress)
            made = _study(name, course, judge, judged)
            write_json(file, {"key": key, "found": made})
        if made is not None:
            found[block] = {**found.get(block, {}), **made}
    return found


def _study(
    name: Study, course: StudyContext, judge: Bundle, judged: Mapping[Recording, RecordingPrediction]
) -> dict[str, Any]:
    predictions = [judged[r] for r in course.parts["test"]]
    if name == "leak-gap":
        return leak_gap.leak_gap(course, judge)
    if name == "learning-curve":
        return learning_curve.learning_curve_of(course, predictions)
    kept = 0.98 if judge.decision is None else 1 - judge.decision.unknown
    return open_set.open_set(course, judge.temperature, kept)


def _course(project: Project, judge: Bundle, folder: Path, progress: Progress) -> StudyContext:
    """What the studies of the project's own model begin with; its features must still be there."""
    network.load_keras()  # says what to install
    wanted = project.experiment
    if (wanted.features, wanted.model) != (judge.spec, judge.info.notation):
        raise ConfigError(
            f"{project.file}: other features or another network than the model's, so nothing can be studied; set them "
            "back, or run 'audiocnn train' again"
        )
    task = prepare(project, max_bad_fraction=1, progress=progress)
    division = split.read(project.run / "split.json")
    if judge.info.provenance.get("init_from"):
        progress.warn("the networks of studies begin anew, not with the model that this one began with")
    return StudyContext(
        task=task,
        spec=_trained_with(judge.info.training),
        evaluate=project.experiment.evaluate,
        parts={part: [r for r in task.recordings if division.part.get(r.path) == part] for part in PARTS},
        folder=folder,
        settings={"model": judge.info.provenance.get("key")},
        progress=progress,
    )


def _trained_with(training: Mapping[str, Any]) -> TrainSpec:
    """The settings that a bundle reports, with ``precision`` as a user sets it: the bundle names the dtype policy."""
    known = {name: training[name] for name in TrainSpec.model_fields if name in training}
    if known.get("precision", "float32") != "float32":
        known["precision"] = "mixed"
    return TrainSpec.model_validate(known)


def _read_study(file: Path, key: str) -> dict[str, Any] | None:
    """What was found before, if it is about the same model and settings."""
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
        return dict(value["found"]) if value["key"] == key else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise IntegrityError(f"{file}: not what a study found ({error}); delete it") from error
