"""Windows with labels to a trained network: weights by class, early stopping, the best epoch kept."""

import itertools
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from audiocnn import __version__
from audiocnn.audio.decode import LIBRARIES
from audiocnn.errors import ConfigError
from audiocnn.model import network
from audiocnn.model.architecture import Architecture
from audiocnn.progress import Progress
from audiocnn.specs import TrainSpec

if TYPE_CHECKING:
    import keras

Array = NDArray[np.float32]
Labels = NDArray[np.int64]

# Training steps between two looks of Python at the loop; measured 1.6 times the speed of one at a time.
_STEPS_PER_EXECUTION = 16
_VALIDATION_BATCH = 256  # at least; nothing is learned from it, so it may be larger


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


class Examples(Protocol):
    """Windows that are read when they are asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, indices: Labels) -> Array:
        """Return windows (len(indices), *shape) by number."""
        ...


def fit(
    architecture: Architecture,
    spec: TrainSpec,
    *,
    train: tuple[Examples, Labels],
    validation: tuple[Examples, Labels],
    scale: tuple[Array, Array],
    weights: Mapping[int, float],
    progress: Progress,
) -> Trained:
    """Train on windows (n, *input_shape) with labels (n,); labels are 0 or 1 for a single output (1 is positive).

    Windows are read a batch at a time and need not fit into memory. ``scale`` is what `standardization` returned.
    ``spec.monitor`` on validation decides when to stop and which epoch is kept. Raises `ConfigError` if the loss is
    no longer a number, `MissingExtraError` without TensorFlow.
    """
    keras = network.load_keras()
    import tensorflow as tf

    keras.utils.set_random_seed(spec.seed)
    tf.config.experimental.enable_op_determinism()
    mean, std = scale
    model = network.build(architecture)
    model.compile(
        optimizer=_optimizer(keras, spec),
        loss=_loss(keras, spec.loss, architecture.n_outputs),
        metrics=[_accuracy(keras, architecture.n_outputs)],
        steps_per_execution=_STEPS_PER_EXECUTION,
        jit_compile=False,
    )
    n_steps = -(-len(train[1]) // spec.batch_size)
    with progress.task("train", total=spec.epochs * n_steps, unit="steps") as advance:
        watch = _Watch(spec, n_steps, lambda n, note: advance(n, note=note))
        stop = keras.callbacks.EarlyStopping(
            monitor=f"val_{spec.monitor}",
            mode="min" if spec.monitor == "loss" else "max",
            patience=spec.patience,
            restore_best_weights=True,
        )
        rate = keras.callbacks.LearningRateScheduler(lambda epoch: spec.learning_rate * spec.decay_per_epoch**epoch)
        model.fit(
            _batches(*train, scale, spec.batch_size, shuffle_seed=spec.seed),
            validation_data=_batches(*validation, scale, max(spec.batch_size, _VALIDATION_BATCH)),
            epochs=spec.epochs,
            class_weight=dict(weights),
            shuffle=False,
            verbose=0,
            callbacks=[stop, rate, keras.callbacks.TerminateOnNaN(), watch.callback(keras)],
        )
    history = watch.history
    for epoch in history:
        if not np.isfinite([epoch["loss"], epoch["val_loss"]]).all():
            raise ConfigError(f"the loss is no longer a number in epoch {epoch['epoch']}; lower train.learning_rate")
    sign = 1 if spec.monitor == "loss" else -1
    best = min(range(len(history)), key=lambda i: sign * history[i][f"val_{spec.monitor}"])
    return Trained(model, mean, std, history, best + 1)


def _batches(
    X: Examples, y: Labels, scale: tuple[Array, Array], batch_size: int, shuffle_seed: int | None = None
) -> Any:
    """Return a ``tf.data.Dataset`` of standardised windows and labels; shuffled anew each time it is gone through."""
    import tensorflow as tf

    mean, std = scale
    shape = (None, *X[np.zeros(1, np.int64)].shape[1:])
    epoch = itertools.count()

    def batches() -> Iterator[tuple[Array, Labels]]:
        order = np.arange(len(y))
        if shuffle_seed is not None:
            order = np.random.default_rng([shuffle_seed, next(epoch)]).permutation(len(y))
        for first in range(0, len(y), batch_size):
            chosen = order[first : first + batch_size]
            yield (X[chosen] - mean) / std, y[chosen]

    signature = (tf.TensorSpec(shape, tf.float32), tf.TensorSpec((None,), tf.int64))
    data = tf.data.Dataset.from_generator(batches, output_signature=signature)
    n_batches = -(-len(y) // batch_size)
    return data.apply(tf.data.experimental.assert_cardinality(n_batches)).prefetch(_STEPS_PER_EXECUTION)


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
    """Keeps the history and reports progress."""

    def __init__(self, spec: TrainSpec, n_steps: int, report: Callable[[int, str], None]) -> None:
        self.history: list[dict[str, float]] = []
        self._spec, self._n_steps, self._report = spec, n_steps, report
        self._done = 0
        self._note = ""

    def callback(self, keras: Any) -> Any:
        return keras.callbacks.LambdaCallback(
            on_epoch_begin=self._begin, on_train_batch_end=self._step, on_epoch_end=self._end
        )

    def _begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        self._done = 0
        self._started = time.monotonic()

    def _step(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        note = self._note or f"loss {(logs or {}).get('loss', float('nan')):.3f}"
        done = min(batch + 1, self._n_steps)  # Keras counts a whole execution where an epoch ends within it
        self._report(done - self._done, note)
        self._done = done

    def _end(self, epoch: int, logs: Mapping[str, float]) -> None:
        names = ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate")
        self.history.append({"epoch": epoch + 1} | {name: float(logs[name]) for name in names if name in logs})
        self._note = (
            f"epoch {epoch + 1}/{self._spec.epochs} loss {logs['loss']:.3f} accuracy {logs['accuracy']:.3f} · "
            f"validation {logs['val_loss']:.3f} {logs['val_accuracy']:.3f}"
        )
        self._report(self._n_steps - self._done, self._note)


def _optimizer(keras: Any, spec: TrainSpec) -> Any:
    return {"adam": keras.optimizers.Adam, "sgd": keras.optimizers.SGD}[spec.optimizer](spec.learning_rate)


def _loss(keras: Any, name: str, n_outputs: int) -> Any:
    """The loss on logits; mse is that of the probabilities."""
    if name != "mse":
        losses = keras.losses
        return (losses.BinaryCrossentropy if n_outputs == 1 else losses.SparseCategoricalCrossentropy)(from_logits=True)

    def mse(y_true: Any, logits: Any) -> Any:
        ops = keras.ops
        if n_outputs == 1:
            return ops.mean(ops.square(ops.cast(y_true, logits.dtype) - ops.sigmoid(logits)), axis=-1)
        wanted = ops.one_hot(ops.reshape(ops.cast(y_true, "int32"), (-1,)), n_outputs)
        return ops.mean(ops.square(wanted - ops.softmax(logits)), axis=-1)

    return mse


def _accuracy(keras: Any, n_outputs: int) -> Any:
    if n_outputs == 1:
        return keras.metrics.BinaryAccuracy(name="accuracy", threshold=0.0)
    return keras.metrics.SparseCategoricalAccuracy(name="accuracy")
