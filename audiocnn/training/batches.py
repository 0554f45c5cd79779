"""Training batches: standardized, augmented windows with targets and weights, in an order drawn from the seed."""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from audiocnn.specs import TrainSpec

Array = NDArray[np.float32]


Targets = NDArray[np.int64]

_READ_AHEAD = 16  # batches prepared while the network trains
_CHUNK_BYTES = 4 << 20  # at most, unless one batch is larger; handed from Python to TensorFlow at a time
_VALIDATION_BATCH = 256  # at least; validation needs no gradients, so it may be larger
_STATISTICS_WINDOWS = 512  # at most; accuracies with all windows instead are the same (docs/accuracy.md)


class WindowSource(Protocol):
    """Windows that are read on demand."""

    @property
    def bounds(self) -> Targets:
        """Where the windows of each recording begin, and the last end (n_recordings + 1,)."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, indices: Targets) -> Array:
        """Return windows (len(indices), *shape) by number."""
        ...


class Batches:
    """Windows as batches of (standardized windows, targets, weights), in a new order in every epoch.

    All random draws follow from the seed and the number of the epoch. With ``weights`` the windows are shuffled,
    augmented as the spec sets, and weighted by class. ``part`` is (index, count): the share of this machine in every
    batch, where all machines draw the same batches. Batches are padded to a ``multiple`` of windows with windows of
    weight 0.
    """

    def __init__(
        self,
        X: WindowSource,
        y: Targets,
        scale: tuple[Array, Array],
        spec: TrainSpec,
        *,
        n_outputs: int,
        weights: Mapping[int, float] | None = None,
        axes: str = "",
        decibel: Array | None = None,
        part: tuple[int, int] = (0, 1),
        multiple: int = 1,
    ) -> None:
        self._X, self._spec, self._weights = X, spec, weights
        self._axes = axes
        self._decibel = np.zeros(1, np.float32) if decibel is None else decibel
        self._mean, self._std = scale
        self._part, self._multiple = part, multiple
        self._epoch = 0
        one_hot = np.eye(max(2, n_outputs), dtype=np.float32)[y]
        self._targets = one_hot[:, 1:] if n_outputs == 1 else one_hot
        self._class_weights = np.array([weights[k] for k in range(max(2, n_outputs))], np.float32) if weights else None
        assert spec.batch_size != "auto", "measure it first"
        self.batch_size = spec.batch_size if weights else max(spec.batch_size, _VALIDATION_BATCH)
        self.n_batches = -(-len(self._order(0)) // self.batch_size)

    def batches(self) -> Any:
        """Return a ``tf.data.Dataset`` of one epoch."""
        import tensorflow as tf

        shape = self._X[np.zeros(1, np.int64)].shape[1:]
        each = (shape, self._targets.shape[1:], ())
        signature = tuple(tf.TensorSpec((None, None, *s), tf.float32) for s in each)
        data = tf.data.Dataset.from_generator(self._chunks, output_signature=signature).unbatch()
        options = tf.data.Options()
        options.autotune.enabled = False  # nothing here is tuned, and each epoch would wait for the end of its thread
        data = data.apply(tf.data.experimental.assert_cardinality(self.n_batches)).prefetch(_READ_AHEAD)
        return data.with_options(options)

    def unaltered(self) -> Iterator[Array]:
        """Yield batches of standardised windows, drawn like those of the first epoch but not augmented.

        They are the same for every epoch and every machine.
        """
        order = self._order(0)[:_STATISTICS_WINDOWS]
        for chosen in np.array_split(order, -(-len(order) // max(self.batch_size, _VALIDATION_BATCH))):
            yield (self._X[chosen] - self._mean) / self._std

    def callback(self, keras: Any) -> Any:
        """A callback that sets the epoch before its first batch is drawn."""
        return keras.callbacks.LambdaCallback(on_epoch_begin=self._begin)

    def _begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch = epoch

    def _order(self, epoch: int) -> Targets:
        n = len(self._targets)
        if self._weights is None:
            return np.arange(n)
        rng = np.random.default_rng([self._spec.seed, epoch])
        per_recording = self._spec.windows_per_recording
        if per_recording is None:
            return rng.permutation(n)
        spans = zip(self._X.bounds[:-1], self._X.bounds[1:], strict=True)
        drawn = [rng.choice(np.arange(a, b), per_recording, replace=b - a < per_recording) for a, b in spans if a < b]
        return rng.permutation(np.concatenate(drawn))

    def _chunks(self) -> Iterator[tuple[Array, ...]]:
        """Batches of one size, stacked, as each handover to TensorFlow has a cost."""
        waiting: list[tuple[Array, Array, Array]] = []
        for batch in self._generate():
            full = (len(waiting) + 1) * batch[0].nbytes > _CHUNK_BYTES
            if waiting and (full or len(waiting) == _READ_AHEAD or len(batch[0]) != len(waiting[0][0])):
                yield tuple(np.stack(arrays) for arrays in zip(*waiting, strict=True))
                waiting = []
            waiting.append(batch)
        if waiting:
            yield tuple(np.stack(arrays) for arrays in zip(*waiting, strict=True))

    def _generate(self) -> Iterator[tuple[Array, Array, Array]]:
        spec, order = self._spec, self._order(self._epoch)
        rng = np.random.default_rng([spec.seed, self._epoch, 1])
        for first in range(0, len(order), self.batch_size):
            chosen = order[first : first + self.batch_size]
            X, targets = self._X[chosen], self._targets[chosen]
            if self._class_weights is None:
                yield self._share((X - self._mean) / self._std, targets, np.ones(len(chosen), np.float32))
                continue
            X = augment_windows(X, spec, (self._mean, self._std), self._axes, self._decibel, rng)
            if spec.mixup:
                X, targets = mixed(X, targets, spec.mixup, rng)
            shares = targets if targets.shape[1] > 1 else np.concatenate([1 - targets, targets], axis=1)
            weights = shares @ self._class_weights
            targets = targets * (1 - spec.label_smoothing) + spec.label_smoothing / max(2, targets.shape[1])
            yield self._share(X, targets, weights)

    def _share(self, X: Array, targets: Array, weights: Array) -> tuple[Array, Array, Array]:
        """The share of this machine in a batch, weighted so that the mean over machines is the loss of the batch."""
        index, count = self._part
        mine = np.arange(index, len(X), count)
        n = max(1, -(-len(mine) // self._multiple)) * self._multiple
        if count == n / len(X) == 1:
            return X, targets, weights
        weights = np.pad(weights[mine] * np.float32(n * count / len(X)), (0, n - len(mine)))
        mine = np.pad(mine, (0, n - len(mine)))
        return X[mine], targets[mine], weights


def augment_windows(
    X: Array, spec: TrainSpec, scale: tuple[Array, Array], axes: str, decibel: Array, rng: np.random.Generator
) -> Array:
    """Return windows shifted and louder as ``spec`` sets, standardized, and masked.

    ``scale`` are mean and deviation, ``axes`` those of `FeatureSpec`, ``decibel`` is that of `louder`.
    """
    axis = {name: 1 + i for i, name in enumerate(axes.split("_"))}
    mean, std = scale
    for largest, name in ((spec.shift_frames, "frames"), (spec.shift_bins, "bins")):
        if largest:
            X = shifted(X, largest, axis[name], rng)
    if spec.gain_db:
        X = louder(X, spec.gain_db, decibel, rng)
    X = (X - mean) / std
    for largest, name in ((spec.mask_frames, "frames"), (spec.mask_bins, "bins")):
        if largest:
            X = masked(X, largest, axis[name], rng)
    return X


def masked(X: Array, largest: float, axis: int, rng: np.random.Generator) -> Array:
    """Return windows with a stretch along ``axis`` (1 or 2) set to 0, the mean of standardized windows.

    Its length is drawn from 0 to ``largest`` of the axis, its position uniformly. After Park et al.,
    "SpecAugment", Interspeech 2019.
    """
    size = X.shape[axis]
    length = rng.integers(0, int(largest * size) + 1, len(X))
    first = rng.integers(0, size - length + 1)
    at = np.arange(size)
    hidden = (at >= first[:, None]) & (at < (first + length)[:, None])
    shape = (len(X), size, 1, 1) if axis == 1 else (len(X), 1, size, 1)
    return np.where(hidden.reshape(shape), np.float32(0), X)


def shifted(X: Array, largest: float, axis: int, rng: np.random.Generator) -> Array:
    """Return windows shifted along ``axis`` (1 or 2) by up to the share ``largest`` of it; the edge is repeated."""
    size = X.shape[axis]
    most = int(largest * size)
    by = rng.integers(-most, most + 1, len(X))
    source = np.clip(np.arange(size) - by[:, None], 0, size - 1)
    return np.take_along_axis(X, source.reshape(len(X), *(size if i == axis else 1 for i in (1, 2, 3))), axis=axis)


def louder(X: Array, most_db: float, decibel: Array, rng: np.random.Generator) -> Array:
    """Return windows as if their recordings were up to ``most_db`` louder or softer.

    ``decibel`` is what one decibel more adds to a window (height, width, channels), or broadcasts to it.
    """
    by = rng.uniform(-most_db, most_db, (len(X), 1, 1, 1)).astype(np.float32)
    return X + by * decibel


def mixed(X: Array, targets: Array, alpha: float, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return each window mixed with another one of the batch, and its target likewise.

    Shares are drawn from Beta(alpha, alpha). After Zhang et al., "mixup", ICLR 2018.
    """
    other = rng.permutation(len(X))
    share = rng.beta(alpha, alpha, len(X)).astype(np.float32)
    blend = share.reshape(-1, *[1] * (X.ndim - 1))
    targets_share = share[:, None]
    return blend * X + (1 - blend) * X[other], targets_share * targets + (1 - targets_share) * targets[other]
