"""Work on many recordings in worker processes, so that a file that crashes, hangs or fills memory costs itself only.

Takes a function and tasks; yields results in the order in which they are ready.
"""

import contextlib
import math
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Generic, TypeVar

from audiocnn.errors import AudioError, OutputError

_WATCH_EVERY_S = 0.1  # between two looks at the tasks
_ATTEMPTS = 3  # of a task alone before it is reported to crash its worker
TIME_LIMIT_S = 5.0  # without a heartbeat
TIME_LIMIT_BYTES_PER_S = 20e6  # one second more for every 20 MB, as opening a file may read all of it
MEMORY_LIMIT_BYTES = 768 << 20  # on top of what the worker has after its imports

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc
_KEPT_BYTES = 64 << 20  # of freed memory, so that it need not be fetched anew for every block

_Result = TypeVar("_Result")
_Numbered = tuple[int, tuple[Path, tuple[Any, ...]]]
Watch = Callable[[float, float], None]  # watch(sum of the shares that are done, sum of the seconds decoded)

_COLUMNS = 3  # of the shared memory, a row for each running task
_SHARE, _DECODED_S, _BEATS = range(_COLUMNS)

# In a worker process:
_function: Callable[..., Any]  # of all its tasks
_shared: Any = None
_row = 0  # of its present task


@dataclass(frozen=True)
class TaskResult(Generic[_Result]):
    """The outcome of task number ``index``: a result, or the reason why its recording cannot be used."""

    index: int
    result: _Result | AudioError


def default_jobs() -> int:
    """Number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_files(
    function: Callable[..., _Result],
    tasks: Sequence[tuple[Path, tuple[Any, ...]]],
    *,
    jobs: int,
    prepare: Callable[[], None] | None = None,
    watch: Watch | None = None,
) -> Iterator[TaskResult[_Result]]:
    """Call ``function(path, *args)`` for every ``(path, args)`` in ``jobs`` processes; yield a `TaskResult` each.

    A crash, a hang or a memory bomb becomes an `AudioError` with code ``crashed``, ``timeout`` or ``out_of_memory``.
    Any other exception is a bug and is raised. Few results wait at a time, so they do not pile up. A task hangs when it
    does not call `heartbeat` for the time limit of its file; the decoder calls it at every block, so a long recording
    may take as long as it needs. ``prepare`` is called in every process before its memory is limited. ``watch`` is
    called ten times a second, and before a result, with the sums of what running tasks gave to `report_progress`.
    """
    waiting = list(enumerate(tasks))
    while waiting:
        suspects, waiting = yield from _until_broken(function, waiting, jobs, prepare, watch)
        for suspect in suspects:  # each alone, so that it is known which one ends its worker
            for _ in range(_ATTEMPTS):  # on a busy machine a pool may break for other reasons
                if not (yield from _until_broken(function, [suspect], 1, prepare, watch, believe=True))[0]:
                    break
            else:
                yield TaskResult(suspect[0], AudioError("crashed", "the decoder crashed at once"))


@dataclass
class _Running:
    """A task in the pool, its row of the shared memory, and the last heartbeat that was seen of it."""

    numbered: _Numbered
    row: int
    limit_s: float
    beats: float = -1.0
    seen_at: float = 0.0

    def hangs(self, beats: float) -> bool:
        """Whether the number of ``beats`` has not changed for the time limit; infinite ones pause it."""
        now = time.monotonic()
        if beats != self.beats or beats == math.inf:
            self.beats, self.seen_at = beats, now
        return now - self.seen_at > self.limit_s


def _until_broken(
    function: Callable[..., Any],
    numbered: Sequence[_Numbered],
    jobs: int,
    prepare: Callable[[], None] | None,
    watch: Watch | None,
    believe: bool = False,
) -> Generator[TaskResult[Any], None, tuple[list[_Numbered], list[_Numbered]]]:
    """Work in one pool; return the tasks that may have ended a worker and those not begun when it broke, if it did.

    Pebble gives the whole pool up when a worker dies before it has said which task it took, and takes the death of a
    worker for the fault of the task before if its result is still on the way; ``believe`` takes its word for it.
    """
    from pebble import CONSTS, ProcessPool

    CONSTS.sleep_unit = 0.01  # seconds between looks at the workers; with Pebble's 0.1 no command ends sooner than that

    # A fork is quickest, but not of a process in which TensorFlow runs its threads.
    method = "fork" if sys.platform == "linux" and "tensorflow" not in sys.modules else "spawn"
    shared = _shared_rows(2 * jobs)
    pool = ProcessPool(
        max_workers=min(jobs, len(numbered)),
        initializer=init_worker,
        initargs=(os.getpid(), function, prepare, shared),
        context=get_context(method),
    )
    waiting, free = deque(numbered), list(range(2 * jobs))
    running: dict[Future[Any], _Running] = {}
    suspects: list[_Numbered] = []
    try:
        while waiting or running:
            while waiting and free and pool.active:
                index, (path, args) = waiting.popleft()
                future: Future[Any] = pool.schedule(_run, args=(free[-1], path, *args))
                running[future] = _Running((index, (path, args)), free.pop(), _time_limit_s(path))
            done = [(future, running.pop(future)) for future in wait(running, _WATCH_EVERY_S, FIRST_COMPLETED).done]
            for _, task in done:
                shared[task.row * _COLUMNS : (task.row + 1) * _COLUMNS] = [0.0] * _COLUMNS
                free.append(task.row)
            for future, task in running.items():
                if future.running() and task.hangs(shared[task.row * _COLUMNS + _BEATS]):
                    future.cancel()  # Pebble ends its worker
            if watch is not None:
                watch(sum(shared[_SHARE::_COLUMNS]), sum(shared[_DECODED_S::_COLUMNS]))
            broken = False
            for future, task in done:
                try:
                    outcome = _outcome(future, task.limit_s)
                    if isinstance(outcome, AudioError) and outcome.code == "crashed" and not believe:
                        suspects.append(task.numbered)
                    else:
                        yield TaskResult(task.numbered[0], outcome)
                except BrokenProcessPool:
                    suspects.append(task.numbered)
                    broken = True
            if broken or not pool.active:
                return [*suspects, *(task.numbered for task in running.values())], list(waiting)
        return suspects, []
    finally:
        pool.stop()  # type: ignore[no-untyped-call]
        pool.join()


def _outcome(future: "Future[Any]", limit_s: float) -> Any:
    from pebble import ProcessExpired

    try:
        return future.result()
    except AudioError as error:
        return error
    except (CancelledError, TimeoutError):
        return AudioError("timeout", f"decoding stood still for more than {limit_s:.0f} s")
    except MemoryError:
        return AudioError("out_of_memory", f"decoding needs more than {MEMORY_LIMIT_BYTES >> 20} MiB")
    except ProcessExpired as error:
        return AudioError("crashed", f"the decoder crashed (exit code {error.exitcode})")


def heartbeat() -> None:
    """Show from within a task that it makes progress; its time limit starts again. Elsewhere it does nothing."""
    if _shared is not None:
        _shared[_row * _COLUMNS + _BEATS] += 1


def report_progress(share: float, decoded_s: float) -> None:
    """Report from within a task how much of it is done, from 0 to 1, and how many seconds of audio are decoded."""
    if _shared is not None:
        _shared[_row * _COLUMNS + _SHARE], _shared[_row * _COLUMNS + _DECODED_S] = share, decoded_s
    heartbeat()


@contextlib.contextmanager
def pause_timeout() -> Iterator[None]:
    """Suspend the time limit of a task while the block runs, which does not decode."""
    if _shared is None:
        yield
        return
    at = _row * _COLUMNS + _BEATS
    beats, _shared[at] = _shared[at], math.inf
    try:
        yield
    finally:
        _shared[at] = beats + 1


def _run(row: int, path: Path, *args: Any) -> Any:
    """Runs in a worker: do a task, whose progress is reported in this row of the shared memory."""
    global _row
    _row = row
    return _function(path, *args)


def _shared_rows(n: int) -> Any:
    """Shared memory of ``n`` rows of zeros."""
    from multiprocessing.sharedctypes import RawArray

    try:
        return RawArray("d", n * _COLUMNS)
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(f"worker processes: no shared memory ({reason}); free space in /dev/shm or TMPDIR") from error


def _time_limit_s(path: Path) -> float:
    try:
        return TIME_LIMIT_S + os.stat(path).st_size / TIME_LIMIT_BYTES_PER_S
    except (OSError, ValueError):
        return TIME_LIMIT_S


def init_worker(
    parent: int, function: Callable[..., Any], prepare: Callable[[], None] | None, shared: Any = None
) -> None:
    """Prepare this process for tasks and limit its memory; what decoders print goes nowhere.

    The module of ``function`` is imported by now, so that its size does not count.
    """
    if sys.platform == "linux":
        import ctypes

        libc = ctypes.CDLL(None)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # even a hung worker ends with its parent
        if os.getppid() != parent:  # which has ended already
            os._exit(1)
    global _function, _shared
    _function, _shared = function, shared
    if prepare is not None:
        prepare()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends its workers
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 1)
    os.dup2(sink, 2)
    os.close(sink)
    if sys.platform == "linux":
        import resource

        if hasattr(libc, "mallopt"):
            libc.mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES // 4)
            libc.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        with open("/proc/self/statm") as file:
            size = int(file.read().split()[0]) * resource.getpagesize()
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        with contextlib.suppress(OSError, ValueError):  # a lower limit is set already
            resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY_LIMIT_BYTES, hard))
