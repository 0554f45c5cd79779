"""Run an exported network without TensorFlow: raw features in, logits and embedding out.

`Runtime` runs the bytes of `audiocnn.model.network.export_litert` in the LiteRT interpreter. `quiet_stderr` suppresses
the output of native libraries, here and where Keras is used.
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

# Limit of the largest intermediate array of one batch. Measured with networks for 13x9 and 50x128x2 windows: both reach
# full speed at 4 windows per batch; larger batches only take more memory.
_BATCH_BYTES = 8 << 20

# Operations that compute and terminate. A file of unknown origin may contain others: a loop that never ends, or a
# custom operation that runs foreign code. Training writes about the first half; later exporters may use the rest.
OPERATIONS = frozenset(
    {
        "SUB", "MUL", "ADD", "DIV", "CONV_2D", "MAX_POOL_2D", "MEAN", "REDUCE_MAX", "FULLY_CONNECTED", "RESHAPE",
        "SHAPE", "STRIDED_SLICE", "PACK", "QUANTIZE", "DEQUANTIZE", "DEPTHWISE_CONV_2D", "AVERAGE_POOL_2D",
        "BATCH_MATMUL", "SUM", "REDUCE_PROD", "TRANSPOSE", "SQUEEZE", "EXPAND_DIMS", "SLICE", "CONCATENATION", "GATHER",
        "CAST", "PAD", "PADV2", "NEG", "SQRT", "RSQRT", "SQUARE", "SQUARED_DIFFERENCE", "EXP", "LOG", "ABS", "MAXIMUM",
        "MINIMUM", "RELU", "RELU6", "HARD_SWISH", "LOGISTIC", "TANH", "SOFTMAX", "LOG_SOFTMAX",
    }
)  # fmt: skip


class Runtime:
    """A network in a LiteRT interpreter.

    Float32 rounding aside, the outputs of a window depend neither on its neighbours nor on the number of threads.
    One instance must not be called from two threads at once.

    :param model: the content of a ``.tflite`` file with the input ``features`` and the outputs ``logits`` and
        ``embedding``; the caller checks its hash first, as the interpreter does not validate its input
    :param n_threads: threads for one batch; None for one per core that this process may use
    :param limits: the number of operations and of values in an array of one window that the notation needs at most;
        None for a model that was exported here
    :raises IntegrityError: not a LiteRT model, without these names, or with operations not in `OPERATIONS`

    ``input_shape`` is the shape of one window, ``n_outputs`` the number of its logits, and ``embedding_size`` the
    length of its embedding; a bundle compares them with its notation.
    """

    def __init__(self, model: bytes, n_threads: int | None = None, *, limits: tuple[int, int] | None = None) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._model, self._n_threads = model, n_threads  # the interpreter keeps the bytes anyway
        self._limits = limits
        try:
            self._interpreter = Interpreter(model_content=model, num_threads=n_threads or _usable_cores())
            # Not stored: a signature runner holds a reference that prevents resizing.
            signature = self._interpreter.get_signature_runner()
            inputs, outputs = signature.get_input_details(), signature.get_output_details()
            if set(inputs) != {"features"} or set(outputs) != {"logits", "embedding"}:
                names = printable(", ".join([*inputs, *outputs]))[:200]
                raise IntegrityError(f"model.tflite: needs the names features, logits and embedding, has {names}")
            if inputs["features"]["shape_signature"][0] != -1:
                raise IntegrityError(
                    "model.tflite: takes a fixed number of windows; export it with a free batch dimension"
                )
            _check_operations([operation for operation, _ in self.operations()], None if limits is None else limits[0])
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

        :param X: float32, as `features.windows` cuts them; the network standardises them
        :raises ValueError: windows of another shape
        :raises IntegrityError: LiteRT cannot run the network
        """
        if X.shape[1:] != self.input_shape:
            raise ValueError(f"expected windows of shape {self.input_shape}, got {X.shape[1:]}")
        n = len(X)
        logits = np.empty((n, self.n_outputs), np.float32)
        embedding = np.empty((n, self.embedding_size), np.float32)
        if n == 0:
            return logits, embedding

        # Batches of one size, as even as possible. The last one overlaps its predecessor to be full: running a few
        # windows twice costs less than resizing the interpreter.
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
        """Return a second instance of the same network, for another process or thread."""
        return Runtime(self._model, n_threads, limits=self._limits)

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(Runtime, limits=self._limits), (self._model, self._n_threads)

    def operations(self) -> list[tuple[str, list[str]]]:
        """Return the operations in their order: the name of each, and the names of its output arrays."""
        names = {tensor["index"]: tensor["name"] for tensor in self._interpreter.get_tensor_details()}
        details = self._interpreter._get_ops_details()  # LiteRT has no public API for this
        return [(op["op_name"], [names[i] for i in op["outputs"]]) for op in details]

    def _resize(self, batch: int) -> None:
        if batch != self._batch:
            try:
                self._interpreter.resize_tensor_input(self._input, (batch, *self.input_shape), strict=True)
                with quiet_stderr():  # the first allocation of a process prints its delegate
                    self._interpreter.allocate_tensors()
            except (RuntimeError, ValueError) as error:
                raise IntegrityError(f"model.tflite: LiteRT cannot prepare it ({_first_line(error)})") from error
            self._batch, self._largest_batch = batch, max(batch, self._largest_batch)
            if self._limits is not None:  # before the first run: until then memory is reserved, not used
                largest = max(
                    int(np.prod(t["shape"], dtype=np.float64)) for t in self._interpreter.get_tensor_details()
                )
                # Of the largest batch so far: arrays of a delegate may keep their size until they are computed again.
                if largest > self._limits[1] * self._largest_batch:
                    raise IntegrityError(
                        f"model.tflite: arrays of {largest:,} values are more than the notation can need"
                    )


def version() -> str:
    """Return the version of LiteRT; another one may round scores differently."""
    import ai_edge_litert

    return str(ai_edge_litert.__version__)


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Suppress standard error, of native code too; if the body raises, print what was suppressed.

    Replacing ``sys.stderr`` would not stop C++ from writing, so this redirects file descriptor 2 for the whole process.
    """
    with ExitStack() as stack:
        try:
            suppressed = stack.enter_context(tempfile.TemporaryFile())
            original = os.dup(2)
        except OSError:  # no temporary file or no standard error: print rather than fail
            yield
            return
        stack.callback(os.close, original)
        _flush_stderr()
        os.dup2(suppressed.fileno(), 2)
        failed = True
        try:
            yield
            failed = False
        finally:
            _flush_stderr()
            os.dup2(original, 2)
            if failed:
                suppressed.seek(0)
                os.write(2, suppressed.read())


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


def _check_operations(operations: list[str], limit: int | None) -> None:
    for operation in operations:
        if operation not in OPERATIONS:
            raise IntegrityError(f"model.tflite: {printable(operation)[:50]}: not an operation of an audiocnn network")
    if limit is not None and len(operations) > limit:
        raise IntegrityError(f"model.tflite: {len(operations):,} operations are more than the notation can need")


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
