"""Work on many recordings in worker processes, so that a file that crashes, hangs or fills memory costs itself only.

Takes a function and tasks; yields results in the order in which they are ready.
"""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Generic, TypeVar

from audiocnn.errors import AudioError

TIME_LIMIT_S = 5.0
TIME_LIMIT_BYTES_PER_S = 20e6  # one second more for every 20 MB
MEMORY_LIMIT_BYTES = 768 << 20  # on top of what the worker has after its imports

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Done(Generic[_Result]):
    """The outcome of task number ``index``: a result, or the reason why its recording cannot be used."""

    index: int
    result: _Result | AudioError


def default_jobs() -> int:
    """Number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def each(
    function: Callable[..., _Result], tasks: Sequence[tuple[Path, tuple[Any, ...]]], *, jobs: int
) -> Iterator[Done[_Result]]:
    """Call ``function(path, *args)`` for every ``(path, args)`` in ``jobs`` processes; yield each `Done` when it is.

    A crash, a hang or a memory bomb becomes an `AudioError` with code ``crashed``, ``timeout`` or ``out_of_memory``.
    Any other exception is a bug and is raised. Few tasks are under way at a time, so results do not pile up.
    """
    from pebble import ProcessPool

    context = get_context("fork" if sys.platform == "linux" else "spawn")
    jobs = max(1, min(jobs, len(tasks)))
    pool = ProcessPool(max_workers=jobs, initializer=_prepare_worker, context=context)
    waiting = iter(enumerate(tasks))
    running: dict[Future[Any], tuple[int, float]] = {}
    finished = False
    try:
        while True:
            while len(running) < 3 * jobs and (task := next(waiting, None)) is not None:
                index, (path, args) = task
                limit_s = _time_limit_s(path)
                running[pool.schedule(function, args=(path, *args), timeout=limit_s)] = (index, limit_s)
            if not running:
                break
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                index, limit_s = running.pop(future)
                yield Done(index, _outcome(future, limit_s))
        finished = True
    finally:
        pool.close() if finished else pool.stop()
        pool.join()


def _time_limit_s(path: Path) -> float:
    try:
        return TIME_LIMIT_S + os.stat(path).st_size / TIME_LIMIT_BYTES_PER_S
    except OSError:
        return TIME_LIMIT_S


def _outcome(future: "Future[Any]", limit_s: float) -> Any:
    from pebble import ProcessExpired

    try:
        return future.result()
    except AudioError as error:
        return error
    except (TimeoutError, CancelledError):
        return AudioError("timeout", f"decoding took more than {limit_s:.0f} s")
    except MemoryError:
        return AudioError("out_of_memory", f"decoding needs more than {MEMORY_LIMIT_BYTES >> 20} MiB")
    except ProcessExpired as error:
        return AudioError("crashed", f"the decoder crashed (exit code {error.exitcode})")


def _prepare_worker() -> None:
    """Import what the work needs, then fence the process in; the decoders' chatter goes nowhere."""
    import audiocnn.audio.decode  # noqa: F401 - its size counts before the limit is set

    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 2)
    os.close(sink)
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        with open("/proc/self/statm") as file:  # Linux; elsewhere there is no such limit to set
            size = int(file.read().split()[0]) * resource.getpagesize()
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY_LIMIT_BYTES, hard))
