"""How fast a network learns, beside the plain ``model.fit(X, y, batch_size=32)`` of tutorials.

``python benchmarks/training.py [--repeat N] [--size N]`` trains the network of the instrument preset on windows made
from a seed. Every run is a process of its own, forked from this one, which has imported Keras; it trains one epoch to
warm up and then times the next. Runs take turns (A B A B), figures are medians. At last it prints how far the weights
of the two ways are apart after an epoch.
"""

import argparse
import contextlib
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from numpy.typing import NDArray

from audiocnn.model import network
from audiocnn.model.notation import parse
from audiocnn.progress import Progress
from audiocnn.specs import TrainSpec
from audiocnn.training import fit

PRESET = "32C3-32C3-64C3-128C3-P2-D5-128-64-10"
SHAPE, N_LABELS = (13, 9, 1), 10
UNSCALED = (np.zeros((1, 1, 1), np.float32), np.ones((1, 1, 1), np.float32))
GOAL = 1.6
T = TypeVar("T")

# Name of a run, and what the settings of training are there.
OURS: dict[str, dict[str, Any]] = {
    "32": {},
    "128": {"batch_size": 128},
    "32 mixed": {"precision": "mixed"},
    "512 mixed": {"batch_size": 512, "precision": "mixed"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=5, help="runs of each  [default: 5]")
    parser.add_argument("--size", type=int, default=11_264, help="windows  [default: 11264]")
    parser.add_argument("--network", default=PRESET, help="in notation, to end in 10 labels  [default: of the preset]")
    options = parser.parse_args()
    network.load_keras()
    print(f"{options.network}, {options.size:,} windows, samples a second, median of {options.repeat}, A B A B")
    rates: dict[str, list[float]] = {name: [] for name in ("plain", *OURS)}
    for _ in range(options.repeat):
        for name, found in rates.items():
            found.append(run(rate, name, options.network, options.size))
    plain_rate = statistics.median(rates.pop("plain"))
    print(f"{'plain fit, batch 32':<34}{plain_rate:>8,.0f}")
    for name, found in rates.items():
        median = statistics.median(found)
        goal = f"   at least {GOAL:g}: {'ok' if median >= GOAL * plain_rate else 'NOT REACHED'}" if name == "32" else ""
        print(f"{'audiocnn, batch ' + name:<34}{median:>8,.0f}{median / plain_rate:>8.2f} x{goal}")
    apart = run(difference, options.network, options.size)
    print(f"largest difference of a weight after an epoch without dropout: {apart}")


def run(function: Callable[..., T], *arguments: Any) -> T:
    """Call a function in a process of its own."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(function, arguments)


def rate(name: str, notation: str, size: int) -> float:
    """Samples a second of the second epoch."""
    X, y = windows(size)
    clock = Clock()
    if name == "plain":
        plain(notation, X, y, epochs=2, seen=clock)
    else:
        ours(notation, X, y, {"epochs": 2, **OURS[name]}, clock)
    return size / clock.last_s


def windows(size: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Noise with a blob of its own for each label."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, N_LABELS, size)
    X = rng.standard_normal((size, *SHAPE)).astype(np.float32)
    X[np.arange(size), y] += 1
    return X, y


class Recordings:
    """The windows as `audiocnn.training.fit.fit` reads them."""

    def __init__(self, X: NDArray[np.float32]) -> None:
        self._X = X
        self.bounds = np.arange(0, len(X) + 1)

    def __len__(self) -> int:
        return len(self._X)

    def __getitem__(self, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        return self._X[indices]


class Clock(Progress):
    """Takes the time of the last epoch."""

    def __init__(self) -> None:
        self._ends = [time.perf_counter()]

    def __call__(self) -> None:
        self._ends.append(time.perf_counter())

    @property
    def last_s(self) -> float:
        return self._ends[-1] - self._ends[-2]

    @contextlib.contextmanager
    def task(self, title: str, *, total: int, unit: str) -> Iterator[Callable[..., None]]:
        done = [0]

        def advance(amount: int = 1, note: str = "") -> None:
            done[0] += amount
            if amount and done[0] in (total // 2, total):
                self()

        yield advance


def ours(notation: str, X: NDArray[np.float32], y: NDArray[np.int64], changes: dict[str, Any], clock: Progress) -> Any:
    """A training as the ``train`` command does it, without validation."""
    return fit.fit(
        parse(notation, input_shape=SHAPE, n_labels=N_LABELS),
        TrainSpec(**{"patience": 100, "class_weight": "none", **changes}),
        train=(Recordings(X), y),
        validation=None,
        scale=UNSCALED,
        weights=dict.fromkeys(range(N_LABELS), 1.0),
        progress=clock,
    ).model


def plain(
    notation: str, X: NDArray[np.float32], y: NDArray[np.int64], *, epochs: int, seen: Clock, shuffle: bool = True
) -> Any:
    """The way of tutorials: one-hot labels, Adam, everything in memory; the network ends in a softmax."""
    import keras

    keras.utils.set_random_seed(0)
    bare = network.build(parse(notation, input_shape=SHAPE, n_labels=N_LABELS))
    model = keras.Sequential([bare, keras.layers.Softmax()])
    model.compile(optimizer="adam", loss="categorical_crossentropy", metrics=["accuracy"])
    end = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen())
    one_hot = np.eye(N_LABELS, dtype=np.float32)[y]
    model.fit(X, one_hot, batch_size=32, epochs=epochs, shuffle=shuffle, verbose=0, callbacks=[end])
    return bare


def difference(notation: str, size: int) -> str:
    """How far weights of the two ways are apart after an epoch in the same order, beside how far they have moved."""
    X, y = windows(size)
    notation = notation.replace("-D5", "")
    order = np.random.default_rng([0, 0]).permutation(len(X))  # of the first epoch, with seed 0
    a = network.get_weights(ours(notation, X, y, {"epochs": 1}, Clock()))
    b = network.get_weights(plain(notation, X[order], y[order], epochs=1, seen=Clock(), shuffle=False))
    network.load_keras().utils.set_random_seed(0)
    start = network.get_weights(network.build(parse(notation, input_shape=SHAPE, n_labels=N_LABELS)))
    apart = max(float(np.abs(a[name] - b[name]).max()) for name in a)
    moved = max(float(np.abs(a[name] - start[name]).max()) for name in a)
    return f"{apart:.2g} (they moved by up to {moved:.2g})"


if __name__ == "__main__":
    main()
