"""Run an exported network without TensorFlow: raw features in, logits and embedding out.

`Runtime` wraps the LiteRT interpreter around the bytes that `audiocnn.model.network.export_litert` makes.
`quiet_stderr` holds back what native libraries print, here and where Keras is used.
"""

import math
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiocnn.errors import IntegrityError
from audiocnn.text import printable

# What the largest intermediate array of one batch may take. Measured with networks for 13x9 and 50x128x2 windows, both
# run at full speed from 4 windows a batch on; larger batches only take more memory.
_BATCH_BYTES = 8 << 20

# Operations that compute and end. A file of unknown origin may hold others: a loop need never end, and a custom one is
# code of somebody's. What training writes is about the first half; the rest is there for what exporters may yet choose.
OPERATIONS = frozenset(
    {
        "SUB", "MUL", "ADD", "DIV", "CONV_2D", "MAX_POOL_2D", "MEAN", "REDUCE_MAX", "FULLY_CONNECTED", "RESHAPE",
        "SHAPE", "STRIDED_SLICE", "PACK", "QUANTIZE", "DEQUANTIZE", "DEPTHWISE_CONV_2D", "AVERAGE_POOL_2D",
        "BATCH_MATMUL", "SUM", "REDUCE_PROD", "TRANSPOSE", "SQUEEZE", "EXPAND_DIMS", "SLICE", "CONCATENATION", "GATHER",
        "CAST", "PAD", "PADV2", "NEG", "SQRT", "RSQRT", "SQUARE", "SQUARED_DIFFERENCE", "EXP", "LOG", "ABS", "MAXIMUM",
        "MINIMUM", "RELU", "RELU6", "LOGISTIC", "TANH", "SOFTMAX", "LOG_SOFTMAX",
    }
)  # fmt: skip


class Runtime:
    """A network in a LiteRT interpreter.

    Float32 rounding aside, the outputs of a window depend neither on its neighbours nor on the number of threads.
    One instance must not be called from two threads at once.

    :param model: the content of a ``.tflite`` file with the input ``features`` and the outputs ``logits`` and
        ``embedding``; the caller has checked its hash, since the interpreter trusts what it is given
    :param n_threads: threads for one batch; None for one a core that this process may use
    :param most: how many operations it may have and how many values each array of one window, as the notation needs;
        None for a file made here
    :raises IntegrityError: not a LiteRT model, without these names, or with other operations than `OPERATIONS`

    ``input_shape`` is that of one window, ``n_outputs`` the number of its logits, ``embedding_size`` the length of its
    embedding: what a bundle compares with its notation.
    """

    def __init__(self, model: bytes, n_threads: int | None = None, *, most: tuple[int, int] | None = None) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._model, self._n_threads = model, n_threads  # the interpreter keeps the bytes in any case
        self._most = most
        try:
            self._interpreter = Interpreter(model_content=model, num_threads=n_threads or _usable_cores())
            # Not kept: a signature runner holds a reference that forbids resizing.
            signature = self._interpreter.get_signature_runner()
            inputs, outputs = signature.get_input_details(), signature.get_output_details()
            if set(inputs) != {"features"} or set(outputs) != {"logits", "embedding"}:
                names = printable(", ".join([*inputs, *outputs]))[:200]
                raise IntegrityError(f"model.tflite: needs the names features, logits and embedding, has {names}")
            if inputs["features"]["shape_signature"][0] != -1:
                raise IntegrityError(
                    "model.tflite: takes a fixed number of windows; export it with a free batch dimension"
                )
            _check_operations([operation for operation, _ in self.operations()], None if most is None else most[0])
            self.input_shape: tuple[int, ...] = tuple(inputs["features"]["shape"][1:].tolist())
            self.n_outputs = int(outputs["logits"]["shape"][-1])
            self.embedding_size = int(outputs["embedding"]["shape"][-1])
            self._max_batch = max(1, _BATCH_BYTES // _largest_bytes(self._interpreter.get_tensor_details()))
        except (ValueError, RuntimeError, LookupError, ArithmeticError) as error:
            raise IntegrityError(f"model.tflite: not a network that LiteRT can run ({_first_line(error)})") from error
        self._input: int = inputs["features"]["index"]
        self._logits: int = outputs["logits"]["index"]
        self._embedding: int = outputs["embedding"]["index"]
        self._batch = self._largest_batch = 0

    def __call__(self, X: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return logits (n, n_outputs) and embeddings (n, embedding_size) of raw features (n, \\*input_shape).

        :param X: float32, as `features.windows` cuts them: the network standardises them itself
        :raises ValueError: windows of another shape
        :raises IntegrityError: the network does not fit together
        """
        if X.shape[1:] != self.input_shape:
            raise ValueError(f"expected windows of shape {self.input_shape}, got {X.shape[1:]}")
        n = len(X)
        logits = np.empty((n, self.n_outputs), np.float32)
        embedding = np.empty((n, self.embedding_size), np.float32)
        if n == 0:
            return logits, embedding

        # Batches of one size, as even as they can be. The last is moved back over its neighbour to be full: to run a
        # few windows twice costs less than to resize the interpreter.
        batch = math.ceil(n / math.ceil(n / self._max_batch))
        self._resize(batch)
        for start in range(0, n, batch):
            rows = slice(min(start, n - batch), min(start, n - batch) + batch)
            try:
                self._interpreter.set_tensor(self._input, np.asarray(X[rows], np.float32))
                self._interpreter.invoke()
                logits[rows] = self._interpreter.get_tensor(self._logits)
                embedding[rows] = self._interpreter.get_tensor(self._embedding)
            except (RuntimeError, ValueError) as error:
                raise IntegrityError(f"model.tflite: LiteRT cannot run it ({_first_line(error)})") from error
        return logits, embedding

    def copy(self, n_threads: int | None) -> "Runtime":
        """Return the same network for another process or thread."""
        return Runtime(self._model, n_threads, most=self._most)

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(Runtime, most=self._most), (self._model, self._n_threads)

    def operations(self) -> list[tuple[str, list[str]]]:
        """Return what is computed, in its order: the name of each operation, and those of the arrays it gives."""
        names = {tensor["index"]: tensor["name"] for tensor in self._interpreter.get_tensor_details()}
        details = self._interpreter._get_ops_details()  # the only place where LiteRT says so
        return [(op["op_name"], [names[i] for i in op["outputs"]]) for op in details]

    def _resize(self, batch: int) -> None:
        if batch != self._batch:
            try:
                self._interpreter.resize_tensor_input(self._input, (batch, *self.input_shape), strict=True)
                with quiet_stderr():  # the first allocation of a process announces its delegate
                    self._interpreter.allocate_tensors()
            except (RuntimeError, ValueError) as error:
                raise IntegrityError(f"model.tflite: LiteRT cannot prepare it ({_first_line(error)})") from error
            self._batch, self._largest_batch = batch, max(batch, self._largest_batch)
            if self._most is not None:  # before anything is computed: until then memory is only promised
                largest = max(
                    int(np.prod(t["shape"], dtype=np.float64)) for t in self._interpreter.get_tensor_details()
                )
                # Of the largest batch so far: what a delegate computes may keep its size until it is computed anew.
                if largest > self._most[1] * self._largest_batch:
                    raise IntegrityError(
                        f"model.tflite: arrays of {largest:,} values are more than the notation can need"
                    )


def version() -> str:
    """Return the version of LiteRT; another one may round scores differently."""
    import ai_edge_litert

    return str(ai_edge_litert.__version__)


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Drop what is written to standard error, by native code too; if the body raises, it appears after all.

    Replacing ``sys.stderr`` would not stop C++ from writing, so file descriptor 2 is redirected, for the whole process.
    """
    with ExitStack() as stack:
        try:
            held = stack.enter_context(tempfile.TemporaryFile())
            original = os.dup(2)
        except OSError:  # nowhere to write, or no standard error at all: rather chatter than failure
            yield
            return
        stack.callback(os.close, original)
        _flush_stderr()
        os.dup2(held.fileno(), 2)
        failed = True
        try:
            yield
            failed = False
        finally:
            _flush_stderr()
            os.dup2(original, 2)
            if failed:
                held.seek(0)
                os.write(2, held.read())


def _flush_stderr() -> None:
    if sys.stderr is not None:
        sys.stderr.flush()


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _largest_bytes(tensors: list[dict[str, Any]]) -> int:
    """Return the float32 bytes of one window in the largest array that grows with the batch."""
    growing = [t["shape"][1:].tolist() for t in tensors if t["shape_signature"][:1].tolist() == [-1]]
    return 4 * max(int(np.prod(shape)) for shape in growing)


def _check_operations(operations: list[str], most: int | None) -> None:
    for operation in operations:
        if operation not in OPERATIONS:
            raise IntegrityError(f"model.tflite: {printable(operation)[:50]}: no operation of a network made here")
    if most is not None and len(operations) > most:
        raise IntegrityError(f"model.tflite: {len(operations):,} operations are more than the notation can need")


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
