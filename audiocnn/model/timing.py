"""How long a network takes for one window where it will be used: in LiteRT, on one thread of this machine."""

import statistics
import time

import numpy as np

from audiocnn.model import network
from audiocnn.model.architecture import Architecture
from audiocnn.model.runtime import Runtime

_BATCH = 32  # windows at a time
_BATCHES = 7
_LONGEST_S = 2.0  # after which no further batch is begun


def milliseconds_a_window(net: Architecture) -> float:
    """Return the median over several batches, after one to warm up; the weights, which do not matter, are new ones."""
    one = np.ones((1, 1, 1), np.float32)
    runtime = Runtime(network.export_litert(network.serving(network.build(net), 0 * one, one)), n_threads=1)
    X = np.random.default_rng(0).standard_normal((_BATCH, *net.input_shape)).astype(np.float32)
    runtime(X)
    started, taken = time.perf_counter(), list[float]()
    while len(taken) < _BATCHES and (not taken or time.perf_counter() - started < _LONGEST_S):
        before = time.perf_counter()
        runtime(X)
        taken.append(time.perf_counter() - before)
    return 1000 * statistics.median(taken) / _BATCH
