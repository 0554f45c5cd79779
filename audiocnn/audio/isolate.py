"""Work on many recordings in worker processes, so that a file that crashes, hangs or fills memory costs itself only.

Takes a function and tasks; yields results in the order in which they are ready. Each worker has a pipe of its own and
answers in the order in which it was asked, so there is never a doubt which task it was that ended a worker.
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
    n_workers = max(1, min(jobs, len(tasks)))
    waiting = deque(range(len(tasks)))
    crew: list[_Worker] = []

    def hand_out() -> None:
        while waiting and len(crew) < n_workers:
            crew.append(_Worker(function, tasks))
        for depth in (1, 2):  # a second task each, so that no worker ever waits for us, until few are left
            for worker in crew:
                if len(worker.given) < depth and len(waiting) > (depth - 1) * n_workers:
                    worker.give(waiting.popleft())
        dismiss([worker for worker in crew if not worker.given])

    def dismiss(workers: list[_Worker]) -> None:
        for worker in workers:
            crew.remove(worker)
            worker.stop()

    try:
        hand_out()
        while crew:
            wait([worker.pipe for worker in crew], timeout=min(worker.left_s for worker in crew))
            done = [outcome for worker in crew for outcome in worker.hear()]
            ended = [worker for worker in crew if worker.ended]
            for worker in ended:
                waiting.extendleft(reversed(worker.given))
            dismiss(ended)
            hand_out()
            yield from done
    finally:
        dismiss(crew[:])


class _Worker:
    """One process, our end of its pipe, and the numbers of the tasks that it was given: the first is under way."""

    def __init__(self, function: Callable[..., Any], tasks: Sequence[tuple[Path, tuple[Any, ...]]]) -> None:
        self.pipe, theirs = _CONTEXT.Pipe()
        # It has the tasks from its start, so that numbers are all that is sent: they never fill the pipe.
        self._process = _CONTEXT.Process(target=_work, args=(theirs, function, tasks), daemon=True)
        self._process.start()
        theirs.close()  # now the pipe ends with the worker
        self.given: deque[int] = deque()
        self.ended = False
        self._tasks = tasks
        self._ready = False
        self._limit_s = _START_LIMIT_S
        self._deadline = time.monotonic() + self._limit_s

    @property
    def left_s(self) -> float:
        """Seconds until the time for its task is up; 0 if it is."""
        return max(0.0, self._deadline - time.monotonic())

    def give(self, index: int) -> None:
        self.given.append(index)
        with contextlib.suppress(OSError):  # it has just ended: that is heard next
            self.pipe.send(index)
        if self._ready and len(self.given) == 1:
            self._start_clock()

    def hear(self) -> list[Done[Any]]:
        """The outcome of its task if there is one; an exception that is a bug is raised."""
        overdue = not self.left_s  # before looking into the pipe: what comes in time counts
        if not self.pipe.poll():
            return [self._end("timeout", f"decoding took more than {self._limit_s:.0f} s")] if overdue else []
        try:
            succeeded, value = self.pipe.recv()
        except (EOFError, OSError):
            self._process.join()
            return [self._end("crashed", f"the decoder crashed (exit code {self._process.exitcode})")]
        if not succeeded:
            raise value
        done = [Done(self.given.popleft(), value)] if self._ready else []
        self._ready = True
        if self.given:
            self._start_clock()
        return done

    def stop(self) -> None:
        self._process.kill()
        self._process.join()
        self.pipe.close()

    def _start_clock(self) -> None:
        self._limit_s = _time_limit_s(self._tasks[self.given[0]][0])
        self._deadline = time.monotonic() + self._limit_s

    def _end(self, code: str, detail: str) -> Done[Any]:
        self.ended = True
        if not self._ready:
            raise RuntimeError(f"a worker process did not start (exit code {self._process.exitcode})")
        return Done(self.given.popleft(), AudioError(code, detail))


def _work(pipe: Connection, function: Callable[..., Any], tasks: Sequence[tuple[Path, tuple[Any, ...]]]) -> None:
    """Run in a worker: say so when ready, then answer every number with (True, result) or (False, exception)."""
    _fence_in()
    pipe.send((True, None))
    while True:
        path, args = tasks[pipe.recv()]
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
