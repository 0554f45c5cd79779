"""Train a network on windows: class weights, standardization, early stopping, the best epoch, exact resume."""

import math
import platform
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from audiocnn import __version__
from audiocnn.audio.decode import LIBRARIES
from audiocnn.errors import ConfigError, needs_extra
from audiocnn.model import network
from audiocnn.model.notation import Architecture
from audiocnn.progress import Progress
from audiocnn.specs import TrainSpec
from audiocnn.training import checkpoint, devices
from audiocnn.training.batches import Batches, Targets, WindowSource
from audiocnn.training.checkpoint import Checkpoint
from audiocnn.training.devices import SingleDevice
from audiocnn.training.tensorboard import TensorBoardLogs
from audiocnn.training.transfer import InitialWeights

if TYPE_CHECKING:
    import keras

Array = NDArray[np.float32]

# Building the graph of several steps takes about 0.3 s longer than that of one step. The weights are the same.
_MANY_STEPS = 256


@dataclass(frozen=True)
class FitResult:
    """A network at its best epoch. ``history`` has one mapping per epoch, ``best_epoch`` counts from 1.

    ``batch_size`` and ``precision`` are those that were used.
    """

    model: "keras.Model"
    mean: Array
    std: Array
    history: list[dict[str, float]]
    best_epoch: int
    batch_size: int
    precision: str


def class_weights(y: Targets, n_labels: int, how: str) -> dict[int, float]:
    """Return the weight of every class as Keras takes them: a dict by class number.

    ``balanced`` is scikit-learn's n_windows / (n_labels * windows of the class); `ConfigError` if a class has none.

    >>> class_weights(np.array([0, 0, 0, 1]), 2, "balanced")
    {0: 0.6666666666666666, 1: 2.0}
    """
    if how == "none":
        return dict.fromkeys(range(n_labels), 1.0)
    with needs_extra("train"):
        from sklearn.utils.class_weight import compute_class_weight

    absent = np.setdiff1d(np.arange(n_labels), y)
    if len(absent):
        raise ConfigError(f"label number {absent[0]} has no window in training, so it cannot be weighted")
    weights = compute_class_weight("balanced", classes=np.arange(n_labels), y=y)
    return {label: float(weight) for label, weight in enumerate(weights)}


def standardization(chunks: Iterable[Array], how: str, axes: str) -> tuple[Array, Array]:
    """Return mean and deviation, broadcastable to one window, of training windows that come as (n, *shape).

    ``bin``: for each coefficient or band and channel; ``channel``: for each channel; ``none``: 0 and 1. One pass
    over the chunks, so they need not fit into memory. Raises `ConfigError` if a value is not finite.
    """
    over = (0, 1, 2) if how == "channel" else (0, 2) if axes == "bins_frames" else (0, 1)
    n, mean, square = 0, np.zeros(()), np.zeros(())  # square: summed squared differences from the mean
    for X in chunks:
        part = X.mean(axis=over, keepdims=True, dtype=np.float64)[0]
        if not np.isfinite(part).all():  # a ReLU would hide it
            raise ConfigError("windows hold values that are not finite; run 'audiocnn featurize' again")
        if how != "none":
            m = X.size // part.size
            # Two sets as one: Chan, Golub and LeVeque (1983), "Algorithms for computing the sample variance".
            step = part - mean
            square = square + np.square(X - part).sum(axis=over, keepdims=True, dtype=np.float64)[0]
            square = square + np.square(step) * (n * m / (n + m))
            mean = mean + step * (m / (n + m))
            n += m
    if how == "none":
        return np.zeros((1, 1, 1), np.float32), np.ones((1, 1, 1), np.float32)
    std = np.sqrt(square / n)
    std[std < 1e-6] = 1.0  # a constant band, for example above the bandwidth of the recordings
    return mean.astype(np.float32), std.astype(np.float32)


def fit(
    architecture: Architecture,
    spec: TrainSpec,
    *,
    train: tuple[WindowSource, Targets],
    validation: tuple[WindowSource, Targets] | None,
    scale: tuple[Array, Array],
    weights: Mapping[int, float],
    progress: Progress,
    axes: str = "bins_frames",
    decibel: Array | None = None,
    start: InitialWeights | None = None,
    file: Path | None = None,
    settings: Mapping[str, Any] | None = None,
    logs: TensorBoardLogs | None = None,
) -> FitResult:
    """Train on windows (n, *input_shape) with labels (n,); labels are 0 or 1 for a single output (1 is positive).

    Windows are read a batch at a time and need not fit into memory. ``scale`` is the result of `standardization`.
    ``decibel`` is what a window gains if its recording is 1 dB louder. ``spec.monitor``, measured on validation,
    decides when to stop and which epoch is kept. If it is none, or without validation, all epochs are trained and the
    last one is kept. Layers of ``start`` begin with its weights and keep them for ``spec.freeze_epochs``.

    After every epoch the whole state is written to the checkpoint ``file``. A checkpoint found there is resumed: on a
    CPU the final weights equal, to the last bit, those of an uninterrupted training. If several machines train
    together (see `audiocnn.training.devices`), one of them writes. Raises `ConfigError` if the checkpoint has other
    ``settings``, if memory does not suffice or the loss is not finite; `MissingExtraError` without TensorFlow.
    """
    keras = network.load_keras()
    import tensorflow as tf

    devices.keep_freed_memory()
    strategy = devices.strategy()
    tf.config.experimental.enable_op_determinism()
    n_outputs = architecture.n_outputs
    found = checkpoint.read(file) if file is not None and file.is_file() else None
    precision = devices.precision(spec.precision, progress)
    chosen: dict[str, Any] = {"precision": precision} if spec.precision != "float32" else {}
    with strategy.scope():
        keras.utils.set_random_seed(spec.seed)
        if spec.batch_size == "auto":
            size = found and found.settings.get("batch_size")
            size = size or _measure_batch_size(keras, architecture, spec, precision, strategy, len(train[1]), progress)
            keras.utils.set_random_seed(spec.seed)
            chosen = {"batch_size": size, **chosen}
            spec = spec.model_copy(update={"batch_size": size})
        model = network.build(architecture, precision)
        if start is not None:
            network.set_weights(model, {**network.get_weights(model), **start.weights})
        batches = Batches(
            *train, scale, spec, weights=weights, n_outputs=n_outputs, axes=axes, decibel=decibel,
            part=(strategy.role.index, strategy.role.count), multiple=strategy.n_cards,
        )  # fmt: skip
        held_out = validation and Batches(*validation, scale, spec, n_outputs=n_outputs, multiple=strategy.n_cards)
        freeze = min(spec.freeze_epochs, spec.epochs) if start else 0
        settings = {**(settings or {}), **chosen}
        keeper = _Keeper(model, spec, validation is not None, freeze, file, settings, strategy)
        done = keeper.restore(found)
        strategy.check({**settings, "train": spec.model_dump(mode="json"), "done": done})
        if done:
            progress.info(f"resuming an interrupted training after epoch {done}")
        phases = ((freeze, start.layers if start else set[str]()), (spec.epochs, set[str]()))
        _train_phases(keras, model, spec, precision, strategy, phases, batches, held_out, keeper, logs, progress)
    kept = network.build(architecture)  # in float32, on one device, as it will be used
    for variable, value in zip(kept.weights, keeper.best, strict=True):
        variable.assign(value)
    if validation is None:  # with validation it is done before each validation
        for layer in kept.layers:
            layer.trainable = layer.name not in (start.layers if start and freeze == spec.epochs else ())
        with devices.within_memory(batches.batch_size):
            _estimate_batch_norm(kept, batches, strategy)
    return FitResult(kept, *scale, keeper.history, keeper.best_epoch, batches.batch_size, precision)


def _measure_batch_size(
    keras: Any,
    architecture: Architecture,
    spec: TrainSpec,
    precision: str,
    strategy: SingleDevice,
    n_windows: int,
    progress: Progress,
) -> int:
    """Return the batch size that trains fastest, measured with the network as it will be trained."""
    n_outputs = architecture.n_outputs

    def compiled() -> Any:
        model = network.build(architecture, precision)
        _compile(keras, model, spec, precision, strategy, n_outputs, set(), _MANY_STEPS)
        return model

    return devices.measure_batch_size(
        compiled,
        strategy,
        shape=architecture.input_shape,
        n_outputs=n_outputs,
        n_windows=n_windows,
        progress=progress,
    )


def _train_phases(
    keras: Any,
    model: Any,
    spec: TrainSpec,
    precision: str,
    strategy: SingleDevice,
    phases: Iterable[tuple[int, set[str]]],
    batches: Batches,
    held_out: Batches | None,
    keeper: "_Keeper",
    logs: TensorBoardLogs | None,
    progress: Progress,
) -> None:
    """Train in phases, each up to an epoch with some layers frozen; finished epochs of a checkpoint are skipped."""
    done = len(keeper.history)
    validation = held_out and held_out.batches()
    with progress.task("train", total=spec.epochs * batches.n_batches, unit="steps") as advance:
        advance(done * batches.n_batches, note="")
        watch = _Watch(spec, batches.n_batches, lambda n, note: advance(n, note=note))
        callbacks = [
            keras.callbacks.LearningRateScheduler(lambda epoch: learning_rate(spec, epoch)),
            *([keras.callbacks.SwapEMAWeights()] if spec.average else []),
            keras.callbacks.LambdaCallback(on_test_begin=lambda logs: _estimate_batch_norm(model, batches, strategy)),
            batches.callback(keras),
            watch.callback(keras),
            *(logs.callbacks(keras, done) if logs is not None and strategy.role.writes else []),
            keeper.callback(keras),
        ]
        for last_epoch, frozen in phases:
            if keeper.finished or len(keeper.history) >= last_epoch:
                continue
            n_steps = spec.epochs * batches.n_batches
            _compile(keras, model, spec, precision, strategy, model.output_shape[-1], frozen, n_steps)
            keeper.resume()
            with devices.within_memory(batches.batch_size):
                model.fit(
                    batches.batches(),
                    validation_data=validation,
                    initial_epoch=len(keeper.history),
                    epochs=last_epoch,
                    shuffle=False,
                    verbose=0,
                    callbacks=callbacks,
                )


def _estimate_batch_norm(model: Any, batches: Batches, strategy: SingleDevice) -> None:
    """Re-estimate the batch-normalisation statistics of the current weights on unaugmented training windows."""
    network.update_batch_norm(model, batches.unaltered())
    strategy.average(model)


def _compile(
    keras: Any,
    model: Any,
    spec: TrainSpec,
    precision: str,
    strategy: SingleDevice,
    n_outputs: int,
    frozen: set[str],
    n_steps: int,
) -> None:
    """Compile the network with a new optimizer for ``n_steps`` steps; layers named ``frozen`` are not trained."""
    for layer in model.layers:
        layer.trainable = layer.name not in frozen
    model.compile(
        optimizer=strategy.shared(devices.scaled(keras, make_optimizer(keras, spec), precision)),
        loss=make_loss(keras, spec.loss, n_outputs),
        metrics=[make_accuracy(keras, n_outputs)],
        steps_per_execution=strategy.steps_per_execution if n_steps >= _MANY_STEPS else 1,
        jit_compile=False,
    )
    model.optimizer.build(model.trainable_variables)
    strategy.prepare(model)


class _Keeper:
    """Keeps the history and the best weights, says when to stop, and saves the whole state after every epoch."""

    def __init__(
        self,
        model: Any,
        spec: TrainSpec,
        validated: bool,
        freeze: int,
        file: Path | None,
        settings: Mapping[str, Any],
        strategy: SingleDevice,
    ) -> None:
        self.history: list[dict[str, float]] = []
        self.best_epoch = 0
        self.best: list[NDArray[Any]] = []
        self._model, self._spec, self._file, self._settings, self._strategy = model, spec, file, settings, strategy
        self._validated, self._freeze = validated, freeze
        self._chooses = validated and spec.monitor != "none"
        self._found: Checkpoint | None = None

    def restore(self, found: Checkpoint | None) -> int:
        """Restore history and best weights of a checkpoint, if there is one; return the number of finished epochs."""
        if found is not None and self._file is not None:
            checkpoint.check_settings(self._file, found.settings, self._settings)
            self._found, self.history, self.best_epoch = found, found.history, found.best_epoch
            self.best = found.arrays["best"]
        return len(self.history)

    def resume(self) -> None:
        """Set model and optimizer to the state of the checkpoint."""
        if self._found is not None:
            pairs = [*zip(self._state(), self._found.arrays["model"], strict=True)]
            if "optimizer" in self._found.arrays:
                pairs += zip(self._model.optimizer.variables, self._found.arrays["optimizer"], strict=True)
            for variable, value in pairs:
                variable.assign(value)
            self._found = None

    @property
    def finished(self) -> bool:
        """Whether the last epoch is done, or ``patience`` epochs brought no improvement."""
        n = len(self.history)
        return n >= self._spec.epochs or (self._chooses and n - self.best_epoch >= self._spec.patience)

    def callback(self, keras: Any) -> Any:
        return keras.callbacks.LambdaCallback(on_train_batch_end=self._batch, on_epoch_end=self._end)

    def _batch(self, batch: int, logs: Mapping[str, float]) -> None:
        if not np.isfinite(logs["loss"]):
            raise ConfigError(
                f"the loss is not finite in epoch {len(self.history) + 1}, at step {batch + 1}; lower "
                "train.learning_rate"
            )

    def _end(self, epoch: int, logs: Mapping[str, float]) -> None:
        if self._validated and not np.isfinite(logs["val_loss"]):
            raise ConfigError(f"the validation loss is not finite in epoch {epoch + 1}; lower train.learning_rate")
        names = ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate")
        known = [name for name in names if name in logs]
        means = self._strategy.mean([np.float32(logs[name]) for name in known])  # so that all machines decide alike
        self.history.append({"epoch": epoch + 1} | dict(zip(known, map(float, means), strict=True)))
        if self._is_best():
            self.best_epoch, self.best = epoch + 1, self._weights()
        unfreezing = epoch + 1 == self._freeze
        if unfreezing or self._file is not None:
            arrays = {"model": [np.array(v.numpy()) for v in self._state()], "best": self.best}
            if not unfreezing:  # the next phase has a new optimizer
                arrays["optimizer"] = [np.array(v.numpy()) for v in self._model.optimizer.variables]
            state = Checkpoint(self._settings, self.history, self.best_epoch, arrays)
            if self._file is not None and self._strategy.role.writes:
                state.write(self._file)
            if unfreezing:  # resume from here: at its end, fit replaces the weights by their averages
                self._found = state
        self._model.stop_training = self.finished

    def _is_best(self) -> bool:
        """Whether the last epoch is better than all earlier ones; always true if no epoch is chosen."""
        if not self._chooses:
            return True
        sign = 1 if self._spec.monitor == "loss" else -1
        values = [sign * h[f"val_{self._spec.monitor}"] for h in self.history]
        return min(values) == values[-1] and values.count(values[-1]) == 1  # the first of equal epochs is kept

    def _weights(self) -> list[NDArray[Any]]:
        """The weights that were validated: with averaging, the averages of the trainable ones."""
        optimizer = getattr(self._model.optimizer, "inner_optimizer", self._model.optimizer)
        averages = optimizer._model_variables_moving_average if self._spec.average else []
        averaged = {id(v): a for v, a in zip(self._model.trainable_variables, averages, strict=False)}
        return [np.array(averaged.get(id(v), v).numpy()) for v in self._model.weights]

    def _state(self) -> list[Any]:
        """Weights, and the state of the random generators of dropout."""
        generators = [layer.seed_generator.state for layer in self._model.layers if hasattr(layer, "seed_generator")]
        return [*self._model.weights, *generators]


def versions() -> dict[str, str]:
    """Versions of everything that may change a number of a trained model."""
    keras = network.load_keras()
    with needs_extra("train"):
        import sklearn
    import tensorflow as tf

    return {
        "audiocnn": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "scikit-learn": sklearn.__version__,
        **LIBRARIES,
    }


class _Watch:
    """Reports progress."""

    def __init__(self, spec: TrainSpec, n_steps: int, report: Callable[[int, str], None]) -> None:
        self._spec, self._n_steps, self._report = spec, n_steps, report
        self._done = 0
        self._note = ""

    def callback(self, keras: Any) -> Any:
        return keras.callbacks.LambdaCallback(
            on_epoch_begin=self._begin, on_train_batch_end=self._step, on_epoch_end=self._end
        )

    def _begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        self._done = 0

    def _step(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        note = self._note or f"loss {(logs or {}).get('loss', float('nan')):.3f}"
        done = min(batch + 1, self._n_steps)  # Keras counts a whole execution where an epoch ends within it
        self._report(done - self._done, note)
        self._done = done

    def _end(self, epoch: int, logs: Mapping[str, float]) -> None:
        self._note = f"epoch {epoch + 1}/{self._spec.epochs} loss {logs['loss']:.3f} accuracy {logs['accuracy']:.3f}"
        if "val_loss" in logs:
            self._note += f" · validation {logs['val_loss']:.3f} {logs['val_accuracy']:.3f}"
        self._report(self._n_steps - self._done, self._note)


def learning_rate(spec: TrainSpec, epoch: int) -> float:
    """Return the learning rate of an epoch, counted from 0."""
    if epoch < spec.warmup_epochs:
        return spec.learning_rate * (epoch + 1) / (spec.warmup_epochs + 1)
    match spec.schedule:
        case "exponential":
            return spec.learning_rate * spec.decay**epoch
        case "inverse":
            return spec.learning_rate / (1 + spec.decay * epoch)
        case "cosine":
            done = (epoch - spec.warmup_epochs) / max(1, spec.epochs - spec.warmup_epochs)
            return spec.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
    return spec.learning_rate


def make_optimizer(keras: Any, spec: TrainSpec) -> Any:
    """Return a new Keras optimizer; biases and normalization scales have no weight decay."""
    average = {"use_ema": True, "ema_momentum": spec.average} if spec.average else {}
    match spec.optimizer:
        case "adamw":
            adamw = keras.optimizers.AdamW(spec.learning_rate, weight_decay=spec.weight_decay, **average)
            adamw.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
            return adamw
        case "sgd":
            return keras.optimizers.SGD(spec.learning_rate, **average)
    return keras.optimizers.Adam(spec.learning_rate, **average)


def make_loss(keras: Any, name: str, n_outputs: int) -> Any:
    """Return the loss of logits against targets (n, n_outputs); mse is computed on probabilities."""
    if name != "mse":
        losses = keras.losses
        return (losses.BinaryCrossentropy if n_outputs == 1 else losses.CategoricalCrossentropy)(from_logits=True)

    def mse(targets: Any, logits: Any) -> Any:
        ops = keras.ops
        probabilities = ops.sigmoid(logits) if n_outputs == 1 else ops.softmax(logits)
        return ops.mean(ops.square(targets - probabilities), axis=-1)

    return mse


def make_accuracy(keras: Any, n_outputs: int) -> Any:
    """Return the accuracy; a mixed target counts as the label with its larger share."""
    if n_outputs > 1:
        return keras.metrics.CategoricalAccuracy(name="accuracy")

    def right(targets: Any, logits: Any) -> Any:
        return keras.ops.mean(keras.ops.equal(targets > 0.5, logits > 0), axis=-1)

    return keras.metrics.MeanMetricWrapper(right, name="accuracy")
