"""Windows with labels to a trained network: weights by class, early stopping, the best epoch kept, exact resume."""

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
from audiocnn.errors import ConfigError
from audiocnn.model import checkpoint, network
from audiocnn.model.architecture import Architecture
from audiocnn.model.checkpoint import Checkpoint
from audiocnn.model.stream import Examples, Labels, Stream
from audiocnn.model.transfer import Start
from audiocnn.progress import Progress
from audiocnn.specs import TrainSpec

if TYPE_CHECKING:
    import keras

Array = NDArray[np.float32]

# Training steps between two looks of Python at the loop; measured 1.6 times the speed of one at a time.
_STEPS_PER_EXECUTION = 16


@dataclass(frozen=True)
class Trained:
    """A network at its best epoch. ``history`` has one mapping an epoch, ``best_epoch`` counts from 1."""

    model: "keras.Model"
    mean: Array
    std: Array
    history: list[dict[str, float]]
    best_epoch: int


def class_weights(y: Labels, n_labels: int, how: str) -> dict[int, float]:
    """Return the weight of every class, in the form that Keras really uses: a dict by class number.

    ``balanced`` is scikit-learn's n_windows / (n_labels * windows of the class); `ConfigError` if a class has none.

    >>> class_weights(np.array([0, 0, 0, 1]), 2, "balanced")
    {0: 0.6666666666666666, 1: 2.0}
    """
    if how == "none":
        return dict.fromkeys(range(n_labels), 1.0)
    from sklearn.utils.class_weight import compute_class_weight

    absent = np.setdiff1d(np.arange(n_labels), y)
    if len(absent):
        raise ConfigError(f"label number {absent[0]} has no window in training, so it cannot be weighted")
    weights = compute_class_weight("balanced", classes=np.arange(n_labels), y=y)
    return {label: float(weight) for label, weight in enumerate(weights)}


def standardization(chunks: Iterable[Array], how: str, axes: str) -> tuple[Array, Array]:
    """Return mean and deviation, broadcastable to one window, of training windows that come as (n, *shape).

    ``bin``: for each coefficient or band and channel; ``channel``: for each channel; ``none``: 0 and 1. All are gone
    through once, so they need not fit into memory. Raises `ConfigError` if one holds something that is not a number.
    """
    over = (0, 1, 2) if how == "channel" else (0, 2) if axes == "bins_frames" else (0, 1)
    n, mean, square = 0, np.zeros(()), np.zeros(())  # square: summed squared differences from the mean
    for X in chunks:
        part = X.mean(axis=over, keepdims=True, dtype=np.float64)[0]
        if not np.isfinite(part).all():  # a ReLU would swallow it
            raise ConfigError("windows hold values that are not numbers; run 'audiocnn featurize' again")
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
    std[std < 1e-6] = 1.0  # a band that never moves, above the edge of what was recorded for example
    return mean.astype(np.float32), std.astype(np.float32)


def learning_rate(spec: TrainSpec, epoch: int) -> float:
    """The learning rate of an epoch, counted from 0."""
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


def fit(
    architecture: Architecture,
    spec: TrainSpec,
    *,
    train: tuple[Examples, Labels],
    validation: tuple[Examples, Labels] | None,
    scale: tuple[Array, Array],
    weights: Mapping[int, float],
    progress: Progress,
    axes: str = "bins_frames",
    decibel: Array | None = None,
    start: Start | None = None,
    file: Path | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Trained:
    """Train on windows (n, *input_shape) with labels (n,); labels are 0 or 1 for a single output (1 is positive).

    Windows are read a batch at a time and need not fit into memory. ``scale`` is what `standardization` returned,
    ``decibel`` what one decibel more adds to a window.
    ``spec.monitor`` on validation decides when to stop and which epoch is kept; if it is none, or without validation,
    all epochs are trained and the last is kept. Layers of ``start`` begin with its weights, and keep them for ``spec.freeze_epochs``.

    After every epoch the whole state goes to the checkpoint ``file``, and a checkpoint found there is gone on with: on
    a CPU the weights are then, to the last bit, those of a training without interruption. Raises `ConfigError` if the
    checkpoint is of other ``settings`` or the loss is no longer a number, `MissingExtraError` without TensorFlow.
    """
    keras = network.load_keras()
    import tensorflow as tf

    keras.utils.set_random_seed(spec.seed)
    tf.config.experimental.enable_op_determinism()
    mean, std = scale
    model = network.build(architecture)
    if start is not None:
        network.load_weights(model, {**network.weights(model), **start.weights})
    n_outputs = architecture.n_outputs
    stream = Stream(*train, scale, spec, weights=weights, n_outputs=n_outputs, axes=axes, decibel=decibel)
    judged = validation and Stream(*validation, scale, spec, n_outputs=n_outputs).batches()
    freeze = min(spec.freeze_epochs, spec.epochs) if start else 0
    keeper = _Keeper(model, spec, validation is not None, freeze, file, settings or {})
    done = keeper.find()
    if done:
        progress.say(f"going on after epoch {done} of a training that was interrupted")
    with progress.task("train", total=spec.epochs * stream.n_batches, unit="steps") as advance:
        advance(done * stream.n_batches, note="")
        watch = _Watch(spec, stream.n_batches, lambda n, note: advance(n, note=note))
        rate = keras.callbacks.LearningRateScheduler(lambda epoch: learning_rate(spec, epoch))
        averaged = [keras.callbacks.SwapEMAWeights()] if spec.average else []
        callbacks = [rate, *averaged, stream.callback(keras), watch.callback(keras), keeper.callback(keras)]
        for last, frozen in ((freeze, start.layers if start else set()), (spec.epochs, set[str]())):
            if keeper.finished or len(keeper.history) >= last:
                continue
            _compile(keras, model, spec, n_outputs, frozen)
            keeper.resume()
            model.fit(
                stream.batches(),
                validation_data=judged,
                initial_epoch=len(keeper.history),
                epochs=last,
                shuffle=False,
                verbose=0,
                callbacks=callbacks,
            )
    keeper.restore_best()
    return Trained(model, mean, std, keeper.history, keeper.best_epoch)


def _compile(keras: Any, model: Any, spec: TrainSpec, n_outputs: int, frozen: set[str]) -> None:
    """Make the network ready to learn, with an optimizer that knows nothing yet; layers named ``frozen`` do not."""
    for layer in model.layers:
        layer.trainable = layer.name not in frozen
    model.compile(
        optimizer=_optimizer(keras, spec),
        loss=_loss(keras, spec.loss, n_outputs),
        metrics=[_accuracy(keras, n_outputs)],
        steps_per_execution=_STEPS_PER_EXECUTION,
        jit_compile=False,
    )
    model.optimizer.build(model.trainable_variables)


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
    ) -> None:
        self.history: list[dict[str, float]] = []
        self.best_epoch = 0
        self._model, self._spec, self._file, self._settings = model, spec, file, settings
        self._validated, self._freeze = validated, freeze
        self._chooses = validated and spec.monitor != "none"
        self._found: Checkpoint | None = None
        self._best: list[NDArray[Any]] = []

    def find(self) -> int:
        """Take up what a checkpoint says, if there is one; return how many epochs are done."""
        if self._file is not None and self._file.is_file():
            self._found = checkpoint.read(self._file)
            checkpoint.check_settings(self._file, self._found.settings, self._settings)
            self.history, self.best_epoch = self._found.history, self._found.best_epoch
            self._best = self._found.arrays["best"]
        return len(self.history)

    def resume(self) -> None:
        """Give model and optimizer the state that was found."""
        if self._found is not None:
            pairs = [*zip(self._state(), self._found.arrays["model"], strict=True)]
            if "optimizer" in self._found.arrays:
                pairs += zip(self._model.optimizer.variables, self._found.arrays["optimizer"], strict=True)
            for variable, value in pairs:
                variable.assign(value)
            self._found = None

    @property
    def finished(self) -> bool:
        """Whether the last epoch is done, or ``patience`` epochs brought nothing better."""
        n = len(self.history)
        return n >= self._spec.epochs or (self._chooses and n - self.best_epoch >= self._spec.patience)

    def restore_best(self) -> None:
        """Give the model the weights of the best epoch."""
        for variable, value in zip(self._model.weights, self._best, strict=True):
            variable.assign(value)

    def callback(self, keras: Any) -> Any:
        return keras.callbacks.LambdaCallback(on_train_batch_end=self._batch, on_epoch_end=self._end)

    def _batch(self, batch: int, logs: Mapping[str, float]) -> None:
        if not np.isfinite(logs["loss"]):
            raise ConfigError(
                f"the loss is no longer a number in epoch {len(self.history) + 1}, at step {batch + 1}; lower "
                "train.learning_rate"
            )

    def _end(self, epoch: int, logs: Mapping[str, float]) -> None:
        if self._validated and not np.isfinite(logs["val_loss"]):
            raise ConfigError(
                f"the loss on validation is no longer a number in epoch {epoch + 1}; lower train.learning_rate"
            )
        names = ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate")
        self.history.append({"epoch": epoch + 1} | {name: float(logs[name]) for name in names if name in logs})
        if self._is_best():
            self.best_epoch, self._best = epoch + 1, self._weights()
        thawing = epoch + 1 == self._freeze
        if thawing or self._file is not None:
            arrays = {"model": [np.array(v.numpy()) for v in self._state()], "best": self._best}
            if not thawing:  # or another optimizer follows
                arrays["optimizer"] = [np.array(v.numpy()) for v in self._model.optimizer.variables]
            state = Checkpoint(self._settings, self.history, self.best_epoch, arrays)
            if self._file is not None:
                state.write(self._file)
            if thawing:  # go on from this: when Keras' fit ends, it puts averages in the place of weights
                self._found = state
        self._model.stop_training = self.finished

    def _is_best(self) -> bool:
        """Whether the last epoch is better than all before it; it is where nothing chooses."""
        if not self._chooses:
            return True
        sign = 1 if self._spec.monitor == "loss" else -1
        values = [sign * h[f"val_{self._spec.monitor}"] for h in self.history]
        return min(values) == values[-1] and values.count(values[-1]) == 1  # of equals the first is kept

    def _weights(self) -> list[NDArray[Any]]:
        """The weights that were validated: where they are averaged, the averages of those that are trained."""
        averages = self._model.optimizer._model_variables_moving_average if self._spec.average else []
        averaged = {id(v): a for v, a in zip(self._model.trainable_variables, averages, strict=False)}
        return [np.array(averaged.get(id(v), v).numpy()) for v in self._model.weights]

    def _state(self) -> list[Any]:
        """Weights, and the state of what draws dropouts."""
        generators = [layer.seed_generator.state for layer in self._model.layers if hasattr(layer, "seed_generator")]
        return [*self._model.weights, *generators]


def versions() -> dict[str, str]:
    """Versions of everything that may move a number of a trained model."""
    keras = network.load_keras()
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


def _optimizer(keras: Any, spec: TrainSpec) -> Any:
    average = {"use_ema": True, "ema_momentum": spec.average} if spec.average else {}
    match spec.optimizer:
        case "adamw":
            optimizer = keras.optimizers.AdamW(spec.learning_rate, weight_decay=spec.weight_decay, **average)
            optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
            return optimizer
        case "sgd":
            return keras.optimizers.SGD(spec.learning_rate, **average)
    return keras.optimizers.Adam(spec.learning_rate, **average)


def _loss(keras: Any, name: str, n_outputs: int) -> Any:
    """The loss on logits, of targets (n, n_outputs); mse is that of the probabilities."""
    if name != "mse":
        losses = keras.losses
        return (losses.BinaryCrossentropy if n_outputs == 1 else losses.CategoricalCrossentropy)(from_logits=True)

    def mse(targets: Any, logits: Any) -> Any:
        ops = keras.ops
        probabilities = ops.sigmoid(logits) if n_outputs == 1 else ops.softmax(logits)
        return ops.mean(ops.square(targets - probabilities), axis=-1)

    return mse


def _accuracy(keras: Any, n_outputs: int) -> Any:
    """How often the likelier label is that of the target, or of its larger part where it was mixed."""
    if n_outputs > 1:
        return keras.metrics.CategoricalAccuracy(name="accuracy")

    def accuracy(targets: Any, logits: Any) -> Any:
        return keras.ops.mean(keras.ops.equal(targets > 0.5, logits > 0), axis=-1)

    return accuracy
