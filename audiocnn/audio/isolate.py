"""Work on many recordings in worker processes, so that a file that crashes, hangs or fills memory costs itself only.

Takes a function and tasks; yields results in the order in which they are ready. Each worker has a pipe of its own and
one task at a time, so there is never a doubt which task it was that ended a worker.
"""

import contextlib
import os
import signal
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Generic, TypeVar

from audiocnn.errors import AudioError

TIME_LIMIT_S = 5.0
TIME_LIMIT_BYTES_PER_S = 20e6  # one second more for every 20 MB
MEMORY_LIMIT_BYTES = 768 << 20  # on top of what the worker has after its imports

_START_LIMIT_S = 60.0  # a spawned worker imports everything anew
_CONTEXT = get_context("fork") if sys.platform == "linux" else get_context("spawn")
_PR_SET_PDEATHSIG = 1  # linux/prctl.h

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
    Any other exception is a bug and is raised. Few results wait at a time, so they do not pile up.
    """
    waiting = deque(enumerate(tasks))
    crew: list[_Worker] = []
    try:
        while waiting or crew:
            while len(crew) < min(max(1, jobs), len(tasks)) and waiting:
                crew.append(_Worker(function))
            wait([worker.pipe for worker in crew], timeout=min(worker.left_s for worker in crew))
            done = []
            for worker in [worker for worker in crew if worker.pipe.poll() or not worker.left_s]:
                index, outcome = worker.index, worker.outcome()
                if index is not None:
                    done.append(Done(index, outcome))
                if waiting and not worker.ended:
                    worker.give(*waiting.popleft())  # before the results are looked at, so that no worker waits for it
                else:
                    crew.remove(worker)
                    worker.stop()
            yield from done
    finally:
        for worker in crew:
            worker.stop()


class _Worker:
    """One process, our end of its pipe, and the number of the task that it is at (None until it is ready)."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.pipe, theirs = _CONTEXT.Pipe()
        self._process = _CONTEXT.Process(target=_work, args=(theirs, function), daemon=True)
        self._process.start()
        theirs.close()  # so that only the worker holds it, and its end ends the pipe
        self.index: int | None = None
        self.ended = False
        self._limit_s = _START_LIMIT_S
        self._deadline = time.monotonic() + self._limit_s

    @property
    def left_s(self) -> float:
        """Seconds until its time is up; 0 if it is."""
        return max(0.0, self._deadline - time.monotonic())

    def give(self, index: int, task: tuple[Path, tuple[Any, ...]]) -> None:
        self.index = index
        self._limit_s = _time_limit_s(task[0])
        self._deadline = time.monotonic() + self._limit_s
        with contextlib.suppress(OSError):  # it died while it waited: the pipe says so when it is read
            self.pipe.send(task)

    def outcome(self) -> Any:
        """The result of its task, or why there is none; what the task raised is raised."""
        try:
            if not self.pipe.poll():
                return self._end("timeout", f"decoding took more than {self._limit_s:.0f} s")
            succeeded, value = self.pipe.recv()
        except (EOFError, OSError):
            self._process.join()
            return self._end("crashed", f"the decoder crashed (exit code {self._process.exitcode})")
        if succeeded:
            return value
        raise value

    def _end(self, code: str, detail: str) -> AudioError:
        self.ended = True
        if self.index is None:
            raise RuntimeError(f"a worker process did not start (exit code {self._process.exitcode})")
        return AudioError(code, detail)

    def stop(self) -> None:
        self._process.kill()
        self._process.join()
        self.pipe.close()


def _work(pipe: Connection, function: Callable[..., Any]) -> None:
    """Run in a worker: answer every task with (True, result) or (False, exception) until killed."""
    _fence_in()
    pipe.send((True, None))
    while True:
        path, args = pipe.recv()
        try:
            pipe.send((True, function(path, *args)))
        except AudioError as error:
            pipe.send((True, error))
        except MemoryError:
            detail = f"decoding needs more than {MEMORY_LIMIT_BYTES >> 20} MiB"
            pipe.send((True, AudioError("out_of_memory", detail)))
        except Exception as error:
            error.add_note("In a worker process:\n" + traceback.format_exc())
            pipe.send((False, error))


def _time_limit_s(path: Path) -> float:
    try:
        return TIME_LIMIT_S + os.stat(path).st_size / TIME_LIMIT_BYTES_PER_S
    except (OSError, ValueError):
        return TIME_LIMIT_S


def _fence_in() -> None:
    """Import what the work needs, then limit the process; what decoders print goes nowhere."""
    import audiocnn.audio.decode  # noqa: F401 - its size counts before the limit is set

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends its workers
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 1)
    os.dup2(sink, 2)
    os.close(sink)
    if sys.platform == "linux":
        import ctypes
        import resource

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # even a hung worker ends with its parent
        with open("/proc/self/statm") as file:
            size = int(file.read().split()[0]) * resource.getpagesize()
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        with contextlib.suppress(OSError, ValueError):  # a lower limit is set already
            resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY_LIMIT_BYTES, hard))
