"""Devices for training: one or several GPUs and machines, mixed precision, and the batch size that fits."""

import contextlib
import ctypes
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from audiocnn.errors import ConfigError
from audiocnn.files import digest_of
from audiocnn.progress import Progress

# Training steps that Keras runs without returning to Python; measured 1.6 times as fast as one at a time.
_STEPS_PER_EXECUTION = 16
_MIN_STEPS = 16  # an epoch keeps at least so many, whatever batch size would be fastest
_GOOD_ENOUGH = 0.95  # of the best rate
_TRIAL_WINDOWS = 2_048  # about so many windows are trained on for one timing
_FP16_SINCE = (7, 0)  # compute capability from which cards have tensor cores for float16
# Of glibc's mallopt, from malloc.h. M_TRIM_THRESHOLD is at its largest, M_MMAP_MAX is 0.
_KEEP_FREED = ((-1, 2**31 - 1), (-4, 0))


@dataclass(frozen=True)
class Role:
    """The number of this process among the machines that train together; number 0 writes the files."""

    index: int = 0
    count: int = 1

    @property
    def writes(self) -> bool:
        return self.index == 0


def role() -> Role:
    """Read the environment variable ``TF_CONFIG``; raises `ConfigError` if it is invalid.

    Its form is TensorFlow's: ``{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}``.
    """
    text = os.environ.get("TF_CONFIG", "").strip()
    if not text:
        return Role()
    try:
        config = json.loads(text)
        cluster, task = config.get("cluster") or {}, config.get("task") or {}
        names = [(kind, i) for kind in ("chief", "worker") for i in range(len(cluster.get(kind, ())))]
        if not names:
            return Role()
        index = names.index((task["type"], int(task["index"])))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            'TF_CONFIG: needs {"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}, '
            f"with a task of the cluster ({error!r})"
        ) from error
    return Role(index, len(names))


class SingleDevice:
    """One process and one device; `MultiGpu` and `MultiWorker` are for more."""

    role = Role()
    n_cards = 1
    steps_per_execution = _STEPS_PER_EXECUTION

    def scope(self) -> Any:
        """The context in which the network is made and trained."""
        return contextlib.nullcontext()

    def shared(self, optimizer: Any) -> Any:
        """Return the optimizer, applying the mean of the gradients of all machines."""
        return optimizer

    def prepare(self, model: Any) -> None:
        """Build what Keras would otherwise build in the first training step."""

    def mean(self, values: Sequence[Any]) -> list[Any]:
        """The mean over all machines of each of ``values``; all must call it at the same time."""
        return list(values)

    def average(self, model: Any) -> None:
        """Average the weights that gradients do not train, such as batch-normalization statistics, over machines."""

    def check(self, settings: Mapping[str, Any]) -> None:
        """Raise `ConfigError` unless all machines have the same settings."""


class MultiGpu(SingleDevice):
    """All GPUs of one machine, each with a copy of the network and its share of every batch."""

    steps_per_execution = 1  # Keras fails with more

    def __init__(self, devices: Sequence[str] | None = None) -> None:
        import tensorflow as tf

        self._strategy = tf.distribute.MirroredStrategy(devices)
        self.n_cards = self._strategy.num_replicas_in_sync

    def scope(self) -> Any:
        return self._strategy.scope()

    def prepare(self, model: Any) -> None:
        # Keras would do it with the mean over cards of the first batch, and fail where their parts differ in size.
        X, targets = (np.zeros((2, *shape[1:]), np.float32) for shape in (model.input_shape, model.output_shape))
        model._symbolic_build(data_batch=(X, targets, np.ones(2, np.float32)))
        model._maybe_symbolic_build = lambda **_: None


class MultiWorker(SingleDevice):
    """Several machines, or several processes, each with the whole network and its share of every batch.

    Training Keras inside `tf.distribute.MultiWorkerMirroredStrategy` fails. So each process trains as if alone, and the
    strategy only averages the gradients. The steps equal those of one machine with the same batches.
    """

    steps_per_execution = 1  # Keras fails with more

    def __init__(self, role: Role) -> None:
        import tensorflow as tf

        self.role = role
        self._strategy = tf.distribute.MultiWorkerMirroredStrategy()

        def meet(*values: Any) -> Any:
            placed = [tf.identity(value) for value in values]
            return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.MEAN, placed)

        self._all = tf.function(lambda values: self._strategy.run(meet, args=tuple(values)))

    def shared(self, optimizer: Any) -> Any:
        apply = optimizer.apply
        optimizer.apply = lambda gradients, variables=None: apply(self.mean(gradients), variables)
        return optimizer

    def mean(self, values: Sequence[Any]) -> list[Any]:
        import tensorflow as tf

        return list(self._all([tf.convert_to_tensor(value) for value in values]))

    def average(self, model: Any) -> None:
        variables = [v for v in model.non_trainable_weights if v.dtype == "float32"]
        if variables:
            for variable, value in zip(variables, self.mean([v.value for v in variables]), strict=True):
                variable.assign(value)

    def check(self, settings: Mapping[str, Any]) -> None:
        own = np.array([int(digest_of(settings)[:5], 16)], np.float32)  # 20 bits, exact in float32
        square, mean = (float(v[0]) for v in self.mean([np.square(own / 1024), own / 1024]))
        if mean != own[0] / 1024 or square != np.square(own / 1024)[0]:
            raise ConfigError(
                "the machines of TF_CONFIG have different settings; give all of them the same recordings, settings and "
                "run folder"
            )


@cache
def strategy() -> SingleDevice:
    """Return the devices of this process; call it before TensorFlow computes anything."""
    mine = role()
    if mine.count > 1:
        return MultiWorker(mine)
    import tensorflow as tf

    return MultiGpu() if len(tf.config.list_physical_devices("GPU")) > 1 else SingleDevice()


def precision(wanted: str, progress: Progress) -> str:
    """Return the precision of layers for ``train.precision``: mixed only where the hardware is faster with it."""
    if wanted != "mixed":
        return "float32"
    import tensorflow as tf

    cards = tf.config.list_physical_devices("GPU")
    if cards:
        able = [tf.config.experimental.get_device_details(card).get("compute_capability", (0, 0)) for card in cards]
        found, needed = "mixed_float16" if min(able) >= _FP16_SINCE else "", "a card of compute capability 7.0 or more"
    else:
        found = "mixed_bfloat16" if {"avx512_bf16", "amx_bf16"} & _cpu_flags() else ""
        needed = "a processor with AVX512-BF16 or AMX"
    progress.info(f"precision: {found}" if found else f"precision: float32, because mixed needs {needed}")
    return found or "float32"


def _cpu_flags(file: Path = Path("/proc/cpuinfo")) -> set[str]:
    """The flags of the processor; empty outside Linux."""
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return set()
    return next((set(line.partition(":")[2].split()) for line in lines if line.startswith("flags")), set())


def keep_freed_memory() -> None:
    """Let the C library keep freed memory for the next request, if it is glibc; others do as they always do.

    Every training step frees large tensors and asks for them again. By default each returns to the system and comes
    back page by page: benchmarks/README.md has the time that this takes. From now on the process keeps what it had.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        for name, value in _KEEP_FREED:
            mallopt(name, value)


@contextlib.contextmanager
def within_memory(batch_size: int) -> Iterator[None]:
    """Turn running out of memory into a `ConfigError` that names a batch size to try."""
    import tensorflow as tf

    try:
        yield
    except (MemoryError, tf.errors.ResourceExhaustedError) as error:
        remedy = f"set it to {batch_size // 2}" if batch_size > 1 else "use a smaller network or smaller windows"
        raise ConfigError(f"out of memory with train.batch_size {batch_size}; {remedy}") from error


def fastest_batch_size(rate: Callable[[int], float | None], n_windows: int) -> tuple[int, dict[int, float]]:
    """Return the smallest power of two that is nearly the fastest, and windows per second by batch size.

    ``rate`` measures one size, None where it does not fit. From 32 it goes up while that makes it faster and an epoch
    keeps `_MIN_STEPS` steps, or down while it does not fit. Raises `ConfigError` if nothing fits.

    >>> fastest_batch_size(lambda size: {32: 900, 64: 1500, 128: 1960, 256: 2000, 512: 1900}.get(size), 100_000)
    (128, {32: 900, 64: 1500, 128: 1960, 256: 2000, 512: 1900})
    """
    rates: dict[int, float] = {}
    size = 32
    while size >= 1 and not rates:
        found = rate(size)
        if found is None:
            size //= 2
        else:
            rates[size] = found
    if not rates:
        raise ConfigError(
            "out of memory with every train.batch_size down to 1; use a smaller network or smaller windows"
        )
    slower = 0
    while size >= 32 and 2 * size * _MIN_STEPS <= n_windows and slower < 2:
        size *= 2
        found = rate(size)
        if found is None:
            break
        slower = 0 if found * _GOOD_ENOUGH > max(rates.values()) else slower + 1
        rates[size] = found
    return min(s for s, r in rates.items() if r >= _GOOD_ENOUGH * max(rates.values())), rates


def measure_batch_size(
    make: Callable[[], Any],
    strategy: SingleDevice,
    *,
    shape: tuple[int, ...],
    n_outputs: int,
    n_windows: int,
    progress: Progress,
) -> int:
    """Return the batch size with which the compiled network of ``make`` trains fastest on this machine."""
    if strategy.role.count > 1:
        raise ConfigError("train.batch_size: auto is for one machine; with TF_CONFIG set a number")
    size, rates = fastest_batch_size(lambda size: _rate(make, size, shape, n_outputs), n_windows)
    shown = ", ".join(f"{s}: {r:,.0f}" for s, r in rates.items())
    progress.info(f"batch size: {size}, the smallest that is nearly the fastest (windows per second: {shown})")
    return size


def _rate(make: Callable[[], Any], size: int, shape: tuple[int, ...], n_outputs: int) -> float | None:
    """Windows per second, the best of three timings; None if the batch does not fit into memory."""
    import tensorflow as tf

    rng = np.random.default_rng(0)
    try:
        model = make()
        if not tf.config.list_physical_devices("GPU") and _needed_bytes(model, size) > _memory_bytes() / 2:
            return None  # the system would kill the process rather than refuse memory
        X = rng.standard_normal((size, *shape), np.float32)
        targets = np.zeros((size, n_outputs), np.float32)
        n_steps = min(_STEPS_PER_EXECUTION, max(2, _TRIAL_WINDOWS // size))
        data = tf.data.Dataset.from_tensors((X, targets, np.ones(size, np.float32))).repeat(n_steps)
        times = []
        for _ in range(4):  # the first one builds the graph
            started = time.perf_counter()
            model.fit(data, epochs=1, shuffle=False, verbose=0)
            times.append(time.perf_counter() - started)
    except (MemoryError, tf.errors.ResourceExhaustedError):
        return None
    return size * n_steps / min(times[1:])


def _needed_bytes(model: Any, size: int) -> float:
    """A rough estimate: the outputs of all layers, their gradients, and as much for temporaries."""
    values = sum(float(np.prod(layer.output.shape[1:])) for layer in model.layers)
    return 3 * 4 * size * values


def _memory_bytes() -> float:
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, OSError, ValueError):
        return float("inf")


def scaled(keras: Any, optimizer: Any, precision: str) -> Any:
    """Return the optimizer, scaling the loss where gradients would vanish in float16."""
    return keras.optimizers.LossScaleOptimizer(optimizer) if precision == "mixed_float16" else optimizer
