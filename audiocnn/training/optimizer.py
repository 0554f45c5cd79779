"""Learning rate, optimizer, loss and accuracy of a training."""

import math
from typing import Any

from audiocnn.specs import TrainSpec


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


def optimizer(keras: Any, spec: TrainSpec) -> Any:
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


def loss(keras: Any, name: str, n_outputs: int) -> Any:
    """Return the loss of logits against targets (n, n_outputs); mse is computed on probabilities."""
    if name != "mse":
        losses = keras.losses
        return (losses.BinaryCrossentropy if n_outputs == 1 else losses.CategoricalCrossentropy)(from_logits=True)

    def mse(targets: Any, logits: Any) -> Any:
        ops = keras.ops
        probabilities = ops.sigmoid(logits) if n_outputs == 1 else ops.softmax(logits)
        return ops.mean(ops.square(targets - probabilities), axis=-1)

    return mse


def accuracy(keras: Any, n_outputs: int) -> Any:
    """Return the accuracy; a mixed target counts as the label with its larger share."""
    if n_outputs > 1:
        return keras.metrics.CategoricalAccuracy(name="accuracy")

    def right(targets: Any, logits: Any) -> Any:
        return keras.ops.mean(keras.ops.equal(targets > 0.5, logits > 0), axis=-1)

    return keras.metrics.MeanMetricWrapper(right, name="accuracy")
