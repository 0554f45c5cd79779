"""What a network is shown while it learns: batches of windows, targets and weights, in an order drawn from the seed."""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from audiocnn.model import augment
from audiocnn.specs import TrainSpec

Array = NDArray[np.float32]
Labels = NDArray[np.int64]

_READ_AHEAD = 16  # batches made ready while the network learns from others
_VALIDATION_BATCH = 256  # at least; nothing is learned from it, so it may be larger


class Examples(Protocol):
    """Windows that are read when they are asked for."""

    @property
    def bounds(self) -> Labels:
        """Where the windows of each recording begin, and the last end (n_recordings + 1,)."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, indices: Labels) -> Array:
        """Return windows (len(indices), *shape) by number."""
        ...


class Stream:
    """Windows as batches of (standardised windows, targets, weights), in an order of their own in every epoch.

    Everything that chance decides follows from the seed and the number of the epoch. With ``weights`` the windows are
    shuffled, made different as the spec says, and weighted by class.
    """

    def __init__(
        self,
        X: Examples,
        y: Labels,
        scale: tuple[Array, Array],
        spec: TrainSpec,
        *,
        n_outputs: int,
        weights: Mapping[int, float] | None = None,
        axes: str = "",
        decibel: Array | None = None,
    ) -> None:
        self._X, self._spec, self._weights = X, spec, weights
        self._axis = {name: 1 + i for i, name in enumerate(axes.split("_"))}  # of windows, by name
        self._decibel = np.zeros(1, np.float32) if decibel is None else decibel
        self._mean, self._std = scale
        self._epoch = 0
        one_hot = np.eye(max(2, n_outputs), dtype=np.float32)[y]
        self._targets = one_hot[:, 1:] if n_outputs == 1 else one_hot
        self._class_weights = np.array([weights[k] for k in range(max(2, n_outputs))], np.float32) if weights else None
        self._batch_size = spec.batch_size if weights else max(spec.batch_size, _VALIDATION_BATCH)
        self.n_batches = -(-len(self._order()) // self._batch_size)

    def batches(self) -> Any:
        """Return a ``tf.data.Dataset`` of an epoch."""
        import tensorflow as tf

        shape = (None, *self._X[np.zeros(1, np.int64)].shape[1:])
        n_outputs = self._targets.shape[1]
        signature = tuple(tf.TensorSpec(s, tf.float32) for s in (shape, (None, n_outputs), (None,)))
        data = tf.data.Dataset.from_generator(self._generate, output_signature=signature)
        return data.apply(tf.data.experimental.assert_cardinality(self.n_batches)).prefetch(_READ_AHEAD)

    def callback(self, keras: Any) -> Any:
        """Tells which epoch it is, before its first batch is asked for."""
        return keras.callbacks.LambdaCallback(on_epoch_begin=self._begin)

    def _begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch = epoch

    def _order(self) -> Labels:
        n = len(self._targets)
        if self._weights is None:
            return np.arange(n)
        rng = np.random.default_rng([self._spec.seed, self._epoch])
        per_recording = self._spec.windows_per_recording
        if per_recording is None:
            return rng.permutation(n)
        spans = zip(self._X.bounds[:-1], self._X.bounds[1:], strict=True)
        drawn = [rng.choice(np.arange(a, b), per_recording, replace=b - a < per_recording) for a, b in spans if a < b]
        return rng.permutation(np.concatenate(drawn))

    def _generate(self) -> Iterator[tuple[Array, Array, Array]]:
        spec, order = self._spec, self._order()
        rng = np.random.default_rng([spec.seed, self._epoch, 1])
        for first in range(0, len(order), self._batch_size):
            chosen = order[first : first + self._batch_size]
            X, targets = self._X[chosen], self._targets[chosen]
            if self._class_weights is None:
                yield (X - self._mean) / self._std, targets, np.ones(len(chosen), np.float32)
                continue
            for largest, axis in ((spec.shift_frames, "frames"), (spec.shift_bins, "bins")):
                if largest:
                    X = augment.shifted(X, largest, self._axis[axis], rng)
            if spec.gain_db:
                X = augment.louder(X, spec.gain_db, self._decibel, rng)
            X = (X - self._mean) / self._std
            for largest, axis in ((spec.mask_frames, "frames"), (spec.mask_bins, "bins")):
                if largest:
                    X = augment.masked(X, largest, self._axis[axis], rng)
            if spec.mixup:
                X, targets = augment.mixed(X, targets, spec.mixup, rng)
            shares = targets if targets.shape[1] > 1 else np.concatenate([1 - targets, targets], axis=1)
            weights = shares @ self._class_weights
            yield X, targets * (1 - spec.label_smoothing) + spec.label_smoothing / max(2, targets.shape[1]), weights
