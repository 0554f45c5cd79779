"""Train one network and export it to LiteRT, the form in which it predicts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiocnn.dataset.manifest import Recording
from audiocnn.errors import IntegrityError
from audiocnn.evaluation import baseline
from audiocnn.features import extract
from audiocnn.features.windows import Windows
from audiocnn.inference import scoring
from audiocnn.model import network
from audiocnn.model.runtime import Runtime
from audiocnn.progress import Progress
from audiocnn.specs import TrainSpec
from audiocnn.text import printable
from audiocnn.training import fit
from audiocnn.training.dataset import TrainingData
from audiocnn.training.fit import FitResult
from audiocnn.training.tensorboard import TensorBoardLogs
from audiocnn.training.transfer import InitialWeights

MAX_LITERT_DIFFERENCE = 1e-4  # between scores of LiteRT and Keras
_CHECKED_WINDOWS = 1_024


@dataclass(frozen=True)
class TrainedModel:
    """A trained network, its class weights by label, and the number of training windows."""

    trained: FitResult
    class_weights: Mapping[str, float]
    n_windows: int


def train_model(
    task: TrainingData,
    spec: TrainSpec,
    *,
    train: Sequence[Recording] | Windows,
    validation: Sequence[Recording] | Windows,
    file: Path | None,
    settings: Mapping[str, Any],
    progress: Progress,
    start: InitialWeights | None = None,
    logs: TensorBoardLogs | None = None,
) -> TrainedModel:
    """Train the network of ``task`` on recordings (all of their windows) or on windows; validation may be empty.

    The state after every epoch is written to ``file``. A state found there is resumed if it was made with the same
    ``settings`` (see `audiocnn.training.fit.fit`).
    """
    windows = train if isinstance(train, Windows) else task.windows(train, augmented=True)
    y = task.target(windows.y)
    firsts = windows.bounds[:-1][np.diff(windows.bounds) > 0]
    counted = y if spec.windows_per_recording is None else y[firsts]  # an epoch draws the same number from each
    weights = fit.class_weights(counted, max(2, task.net.n_outputs), spec.class_weight)
    by_label = task.by_label(weights)
    shown = ", ".join(f"{printable(label)} {weight:.3g}" for label, weight in by_label.items())
    if len(set(by_label.values())) > 1:
        progress.info(f"class weights ({spec.class_weight}): {shown}")
    axes = task.store.spec.axes
    held_out = validation if isinstance(validation, Windows) else task.windows(validation)
    trained = fit.fit(
        task.net,
        spec,
        train=(windows, y),
        validation=(held_out, task.target(held_out.y)) if len(held_out) else None,
        scale=start.scale if start else fit.standardization(windows.chunks(), spec.standardize, axes),
        weights=weights,
        axes=axes,
        decibel=extract.change_per_db(task.store.spec),
        start=start,
        progress=progress,
        file=file,
        logs=logs,
        settings={**settings, "versions": fit.versions()},
    )
    counts = dict(zip(task.labels, np.bincount(held_out.y, minlength=len(task.labels)).tolist(), strict=True))
    if line := baseline.compare_history(trained.history, baseline.most_frequent(counts)):
        progress.warn(f"{line}; train longer, try another train.learning_rate, or check the labels")
    return TrainedModel(trained, by_label, len(windows))


def exported(task: TrainingData, trained: FitResult, windows: Windows) -> tuple[bytes, NDArray[np.float32]]:
    """Return the LiteRT model and its logits for ``windows``; the first ones are compared with those of Keras.

    Raises `IntegrityError` if scores differ by more than `MAX_LITERT_DIFFERENCE`.
    """
    serving = network.build_serving_model(trained.model, trained.mean, trained.std)
    model = network.export_litert(serving)
    runtime = Runtime(model)
    logits = np.concatenate([runtime(X)[0] for X in windows.chunks()])
    keras = network.predict_logits(serving, windows[np.arange(min(len(windows), _CHECKED_WINDOWS))])
    ours, theirs = (np.exp(scoring.log_scores(z, task.labels)) for z in (logits[: len(keras)], keras))
    difference = float(np.abs(ours - theirs).max())
    if not difference <= MAX_LITERT_DIFFERENCE:
        raise IntegrityError(
            f"the exported model's scores differ from those of the network by {difference:.2g} (at most "
            f"{MAX_LITERT_DIFFERENCE:g}); no model was written"
        )
    return model, logits
