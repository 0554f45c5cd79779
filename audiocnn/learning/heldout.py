"""What a network says about recordings that were held out from it: learned once, kept in a file, read back after."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from audiocnn.dataset.manifest import Recording
from audiocnn.errors import IntegrityError
from audiocnn.learning import lesson
from audiocnn.learning.task import Task
from audiocnn.model import checkpoint
from audiocnn.model.checkpoint import Checkpoint
from audiocnn.model.runtime import Runtime
from audiocnn.progress import Progress
from audiocnn.results import aggregate
from audiocnn.results.aggregate import Prediction
from audiocnn.specs import FeatureSpec, TrainSpec


@dataclass(frozen=True)
class HeldOut:
    """Predictions for recordings that the network has not learned from, in their order, and how it learned."""

    predictions: Sequence[Prediction]
    history: Sequence[Mapping[str, float]]
    best_epoch: int


@dataclass(frozen=True)
class _Judge:
    """A network that is not kept as a bundle."""

    spec: FeatureSpec
    labels: tuple[str, ...]
    positive_index: int | None
    runtime: Runtime
    temperature: float = 1.0


def judge(
    task: Task,
    spec: TrainSpec,
    *,
    train: Sequence[Recording],
    validation: Sequence[Recording],
    held_out: Sequence[Recording],
    file: Path,
    settings: Mapping[str, Any],
    fresh: bool,
    progress: Progress,
) -> HeldOut:
    """Learn from ``train`` and predict ``held_out``, or read what was predicted with the same ``settings`` before.

    ``file`` holds the predictions afterwards, and beside it, with the suffix ``.checkpoint``, lies the state of a
    training that is under way. ``fresh`` heeds neither.
    """
    unfinished = file.with_suffix(".checkpoint")
    if fresh:
        file.unlink(missing_ok=True)
        unfinished.unlink(missing_ok=True)
    if file.is_file() and (found := checkpoint.read(file)).settings == settings:
        return HeldOut(_read(task, held_out, found, file), found.history, found.best_epoch)
    taught = lesson.learn(
        task, spec, train=train, validation=validation, file=unfinished, settings=settings, progress=progress
    )
    trained = taught.trained
    model, _ = lesson.exported(task, trained, task.windows(held_out))
    network = _Judge(task.store.spec, task.labels, task.positive_index, Runtime(model))
    predictions = []
    for recording in held_out:
        account = task.accounts[recording.path]
        frames = task.store.frames(account)
        predictions.append(aggregate.predict(network, recording.path, account, frames, recording.stretch))
    arrays = {
        "scores": [np.stack([p.scores for p in predictions])],
        "window_scores": [np.concatenate([p.window_scores for p in predictions])],
        "n_windows": [np.array([len(p.window_scores) for p in predictions])],
    }
    Checkpoint(settings, trained.history, trained.best_epoch, arrays).write(file)
    unfinished.unlink(missing_ok=True)
    return HeldOut(predictions, trained.history, trained.best_epoch)


def _read(task: Task, recordings: Sequence[Recording], found: Checkpoint, file: Path) -> list[Prediction]:
    try:
        (scores,), (windows,), (n_windows,) = (found.arrays[name] for name in ("scores", "window_scores", "n_windows"))
        of_each = np.split(windows, np.cumsum(n_windows)[:-1])
        pairs = list(zip(recordings, scores, of_each, strict=True))
    except (KeyError, ValueError) as error:
        raise IntegrityError(f"{file}: not the predictions of these recordings ({error}); say --fresh") from error
    return [
        aggregate.assembled(
            task.store.spec, task.labels, r.path, task.accounts[r.path], r.stretch, scores=s, window_scores=w
        )
        for r, s, w in pairs
    ]
