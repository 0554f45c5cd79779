"""Predictions for held-out recordings by a network trained without them, kept in a file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiocnn.dataset.manifest import Recording
from audiocnn.errors import IntegrityError
from audiocnn.features.windows import Windows, loud_windows
from audiocnn.inference import prediction, scoring
from audiocnn.inference.prediction import RecordingPrediction, Scores
from audiocnn.inference.scoring import Classifier
from audiocnn.labels import Labels
from audiocnn.model.decision import typical_embeddings
from audiocnn.model.runtime import Runtime
from audiocnn.progress import Progress
from audiocnn.specs import FeatureSpec, TrainSpec
from audiocnn.training import checkpoint, train_model
from audiocnn.training.checkpoint import Checkpoint
from audiocnn.training.dataset import TrainingData


@dataclass(frozen=True)
class OutOfFold:
    """Predictions for recordings that the network was not trained on, in their order, and its training history.

    ``typical`` (n_labels, embedding_size) are the `typical` embeddings of its training recordings, if requested.
    """

    predictions: Sequence[RecordingPrediction]
    history: Sequence[Mapping[str, float]]
    best_epoch: int
    typical: Scores | None = None


@dataclass(frozen=True)
class InMemoryClassifier:
    """A network that gives scores without being stored as a bundle."""

    spec: FeatureSpec
    labels: Labels
    runtime: Runtime
    temperature: float = 1.0
    decision: None = None
    domain: None = None


def predict(task: TrainingData, network: Classifier, recordings: Sequence[Recording]) -> list[RecordingPrediction]:
    """Return the predictions of ``network`` for usable recordings of ``task``."""
    found = []
    for recording in recordings:
        recording_status = task.statuses[recording.path]
        frames = task.store.frames(recording_status)
        found.append(scoring.predict_frames(network, recording.path, recording_status, frames, recording.stretch))
    return found


def typical(task: TrainingData, network: Classifier, recordings: Sequence[Recording]) -> Scores:
    """Return the direction (n_labels, embedding_size) of the mean embedding of each label of ``recordings``."""
    embeddings = np.stack([p.embedding for p in predict(task, network, recordings)])
    target = task.labels.encode(r.label for r in recordings)
    return typical_embeddings(embeddings, target, len(task.labels))


def train_and_predict(
    task: TrainingData,
    spec: TrainSpec,
    *,
    train: Sequence[Recording] | Windows,
    validation: Sequence[Recording],
    held_out: Sequence[Recording],
    file: Path,
    settings: Mapping[str, Any],
    fresh: bool,
    progress: Progress,
    with_typical: bool = False,
) -> OutOfFold:
    """Train on ``train`` and predict ``held_out``, or read the predictions made earlier with the same ``settings``.

    Some held-out recordings may have a label that the task lacks, but not all. With ``with_typical``, ``train`` must
    be recordings. ``file`` holds the predictions afterwards. Next to it, with the suffix ``.checkpoint``, is the state
    of an unfinished training. ``fresh`` ignores both.
    """
    unfinished = file.with_suffix(".checkpoint")
    if fresh:
        file.unlink(missing_ok=True)
        unfinished.unlink(missing_ok=True)
    if file.is_file() and (found := checkpoint.read(file)).settings == settings:
        return _read(task, held_out, found, file)
    model_result = train_model.train_model(
        task, spec, train=train, validation=validation, file=unfinished, settings=settings, progress=progress
    )
    trained = model_result.trained
    with progress.step("predict the held-out recordings"):
        model, _ = train_model.exported(task, trained, task.windows([r for r in held_out if r.label in task.labels]))
        network = InMemoryClassifier(task.store.spec, task.labels, Runtime(model))
        predictions = predict(task, network, held_out)
    arrays = {
        "scores": [np.stack([p.scores for p in predictions])],
        "embeddings": [np.stack([p.embedding for p in predictions])],
        "window_scores": [np.concatenate([p.window_scores for p in predictions])],
        "n_windows": [np.array([len(p.window_scores) for p in predictions])],
        "loud": [np.concatenate([p.counted for p in predictions])],
    }
    if with_typical:
        assert not isinstance(train, Windows)
        arrays["typical"] = [typical(task, network, train)]
    Checkpoint(settings, trained.history, trained.best_epoch, arrays).write(file)
    unfinished.unlink(missing_ok=True)
    return OutOfFold(predictions, trained.history, trained.best_epoch, arrays.get("typical", [None])[0])


def _read(task: TrainingData, recordings: Sequence[Recording], found: Checkpoint, file: Path) -> OutOfFold:
    try:
        names = ("scores", "embeddings", "window_scores", "n_windows")
        (scores,), (embeddings,), (windows,), (n_windows,) = (found.arrays[name] for name in names)
        ends = np.cumsum(n_windows)[:-1]
        loud = np.split(found.arrays["loud"][0], ends) if "loud" in found.arrays else _loud(task, recordings)
        rows = list(zip(recordings, scores, np.split(windows, ends), embeddings, loud, strict=True))
    except (KeyError, ValueError) as error:
        raise IntegrityError(f"{file}: not the predictions of these recordings ({error}); pass --fresh") from error
    predictions = [
        prediction.prediction_from_scores(
            task.store.spec, task.labels, r.path, task.statuses[r.path], r.stretch,
            scores=s, window_scores=w, embedding=e, loud=counted,
        )
        for r, s, w, e, counted in rows
    ]  # fmt: skip
    return OutOfFold(predictions, found.history, found.best_epoch, found.arrays.get("typical", [None])[0])


def _loud(task: TrainingData, recordings: Sequence[Recording]) -> list[NDArray[np.bool_]]:
    """Return which windows of each recording count: files of older versions do not hold it."""
    spec, found = task.store.spec, []
    for recording in recordings:
        status = task.statuses[recording.path]
        starts = prediction.usable_window_starts(spec, status, recording.stretch)
        found.append(loud_windows(task.store.frames(status), starts, spec, spec.n_tracks(status.n_channels)))
    return found
