"""Processing of many recordings in worker processes: a file that crashes, hangs or fills memory affects only itself.

`map_files` takes a function and tasks, and yields results in the order in which they are ready.
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
from multiprocessing.context import SpawnContext
from pathlib import Path
from typing import Any, Generic, TypeVar

from audiocnn.errors import AudioError, OutputError
from audiocnn.files import sha256_of

TIME_LIMIT_S = 5.0  # without a heartbeat
TIME_LIMIT_BYTES_PER_S = 20e6  # one second more for every 20 MB, as opening a file may read all of it
MEMORY_LIMIT_BYTES = 768 << 20  # on top of what the worker uses after its imports

_POLL_S = 0.1  # between two checks of the running tasks
_SUSPENDED_S = 1.0  # without a check, after which this process was suspended, or waited for its caller
_ATTEMPTS = 3  # with a task alone in a pool before it is reported as the cause of a crash

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc
_KEPT_BYTES = 64 << 20  # of freed memory that stay in the process, so that not every block allocates anew

_Result = TypeVar("_Result")
_Numbered = tuple[int, tuple[Path, tuple[Any, ...]]]
Watch = Callable[[float, float], None]  # watch(sum of the finished shares, sum of the seconds decoded)

_COLUMNS = 3  # of the shared memory, which has a row for each running task
_SHARE, _DECODED_S, _BEATS = range(_COLUMNS)

# State of a worker process:
_function: Callable[..., Any]  # called for each task
_shared: Any = None
_row = 0  # of the current task


@dataclass(frozen=True)
class TaskResult(Generic[_Result]):
    """The result of task number ``index``, or the reason why its recording is unusable."""

    index: int
    result: _Result | AudioError


def default_jobs() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_files(
    function: Callable[..., _Result],
    tasks: Sequence[tuple[Path, tuple[Any, ...]]],
    *,
    jobs: int,
    prepare: Callable[[], None] | None = None,
    watch: Watch | None = None,
) -> Iterator[TaskResult[_Result]]:
    """Call ``function(path, *args)`` for every ``(path, args)`` in ``jobs`` processes; yield a `TaskResult` for each.

    A crash, a hang or running out of memory becomes an `AudioError` with code ``crashed``, ``timeout`` or
    ``out_of_memory``. Any other exception is a bug and is raised. Results are not computed far ahead of the caller, so
    few of them wait in memory. A task hangs if it does not call `heartbeat` for the time limit of its file. The decoder
    calls it for every block, so a long recording may take any time. ``prepare`` is called in every process before its
    memory is limited. ``watch`` is called ten times a second, and before each result, with the sums of what running
    tasks passed to `report_progress`.
    """
    waiting = list(enumerate(tasks))
    while waiting:
        suspects, waiting = yield from _run_pool(function, waiting, jobs, prepare, watch)
        for suspect in suspects:  # each alone, to find the one that ends its worker
            for _ in range(_ATTEMPTS):  # on a busy machine a pool may break for other reasons
                if not (yield from _run_pool(function, [suspect], 1, prepare, watch, trust_crash=True))[0]:
                    break
            else:
                yield TaskResult(suspect[0], AudioError("crashed", "the decoder crashed at once"))


@dataclass
class _Running:
    """A task in the pool, its row of the shared memory, and its last observed heartbeat."""

    numbered: _Numbered
    row: int
    limit_s: float
    beats: float = -1.0
    seen_at: float = 0.0
    checked_at: float = 0.0

    def hangs(self, beats: float) -> bool:
        """Return whether the number of ``beats`` has been constant for the time limit; an infinite number pauses it.

        If this process did not run for a while either, as when a laptop is closed, the time limit starts again.
        """
        now = time.monotonic()
        suspended = now - self.checked_at > _SUSPENDED_S
        self.checked_at = now
        if beats != self.beats or beats == math.inf or suspended:
            self.beats, self.seen_at = beats, now
        return now - self.seen_at > self.limit_s


def _run_pool(
    function: Callable[..., Any],
    numbered: Sequence[_Numbered],
    jobs: int,
    prepare: Callable[[], None] | None,
    watch: Watch | None,
    trust_crash: bool = False,
) -> Generator[TaskResult[Any], None, tuple[list[_Numbered], list[_Numbered]]]:
    """Run tasks in one pool. If it breaks, return the tasks that may have ended a worker, and those not started.

    Pebble gives up the whole pool if a worker dies before it has reported which task it took. If a worker dies while a
    result is still in transit, Pebble blames the previous task. ``trust_crash`` takes its report as correct.
    """
    shared = _shared_rows(2 * jobs)
    pool = _new_pool(min(jobs, len(numbered)), function, prepare, shared)
    waiting, free = deque(numbered), list(range(2 * jobs))
    running: dict[Future[Any], _Running] = {}
    suspects: list[_Numbered] = []
    try:
        while waiting or running:
            while waiting and free and pool.active:
                index, (path, args) = waiting.popleft()
                future: Future[Any] = pool.schedule(_run, args=(free[-1], path, *args))
                running[future] = _Running((index, (path, args)), free.pop(), _time_limit_s(path))
            done = [(future, running.pop(future)) for future in wait(running, _POLL_S, FIRST_COMPLETED).done]
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
                    if isinstance(outcome, AudioError) and outcome.code == "crashed" and not trust_crash:
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
        pool.stop()
        pool.join()


class _LockKeepingContext(SpawnContext):
    """Starts processes afresh, and keeps the locks that it makes.

    Pebble drops the locks of a pool before it stops the workers. A worker that was still starting would not find them
    and would print a traceback.
    """

    def __init__(self) -> None:
        self._locks: list[Any] = []

    def RLock(self) -> Any:  # noqa: N802 - the name is that of multiprocessing
        self._locks.append(super().RLock())
        return self._locks[-1]


def _new_pool(n_workers: int, function: Callable[..., Any], prepare: Callable[[], None] | None, shared: Any) -> Any:
    from pebble import CONSTS, ProcessPool

    CONSTS.sleep_unit = 0.01  # seconds between Pebble's checks of its workers; its default of 0.1 delays every command
    # Fork is fastest, but unsafe in a process in which TensorFlow runs threads.
    fork = sys.platform == "linux" and "tensorflow" not in sys.modules
    return ProcessPool(
        max_workers=n_workers,
        initializer=init_worker,
        initargs=(os.getpid(), function, prepare, shared),
        context=get_context("fork") if fork else _LockKeepingContext(),
    )


def _outcome(future: "Future[Any]", limit_s: float) -> Any:
    """Return the result of a finished task, or the `AudioError` that its failure means."""
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
    """Restart the time limit of the current task, which makes progress. Outside a task this does nothing."""
    if _shared is not None:
        _shared[_row * _COLUMNS + _BEATS] += 1


def report_progress(share: float, decoded_s: float) -> None:
    """Report the finished share of the current task, from 0 to 1, and the seconds of audio decoded so far."""
    if _shared is not None:
        _shared[_row * _COLUMNS + _SHARE], _shared[_row * _COLUMNS + _DECODED_S] = share, decoded_s
    heartbeat()


def sha256_or_empty(file: Path, *, watch: Callable[[int], None] | None = None) -> str:
    """Return the SHA-256 of a regular file, or an empty string if it cannot be read; ``watch`` is for `sha256_of`.

    In a task, every MiB restarts the time limit, unless ``watch`` is given.
    """
    try:
        return sha256_of(file, watch=watch or (lambda _: heartbeat())) if file.is_file() else ""
    except OSError:
        return ""


@contextlib.contextmanager
def pause_timeout() -> Iterator[None]:
    """Suspend the time limit of the current task during the block, for work other than decoding."""
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
    """Runs in a worker: do a task, and use this row of the shared memory to report its progress."""
    global _row
    _row = row
    return _function(path, *args)


def _shared_rows(n: int) -> Any:
    """Return shared memory of ``n`` rows of zeros."""
    from multiprocessing.sharedctypes import RawArray

    try:
        return RawArray("d", n * _COLUMNS)
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(f"worker processes: no shared memory ({reason}); free space in /dev/shm or TMPDIR") from error


def _time_limit_s(path: Path) -> float:
    """Return the seconds that a task on this file may take without a heartbeat."""
    try:
        return TIME_LIMIT_S + os.stat(path).st_size / TIME_LIMIT_BYTES_PER_S
    except (OSError, ValueError):
        return TIME_LIMIT_S


def init_worker(
    parent: int, function: Callable[..., Any], prepare: Callable[[], None] | None, shared: Any = None
) -> None:
    """Set up this process for tasks: limit its memory, and discard what decoders print.

    The module of ``function`` has been imported by now, so its memory does not count.
    """
    end_with_parent()
    if sys.platform == "linux" and os.getppid() != parent:  # it has ended already
        os._exit(1)
    global _function, _shared
    _function, _shared = function, shared
    if prepare is not None:
        prepare()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # on Ctrl-C the parent ends its workers
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 1)
    os.dup2(sink, 2)
    os.close(sink)
    if sys.platform == "linux":
        _limit_memory()


def end_with_parent() -> None:
    """Have Linux kill this process when its parent ends, even if it hangs; elsewhere this does nothing."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _limit_memory() -> None:
    import ctypes
    import resource

    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES // 4)
        libc.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
    with open("/proc/self/statm") as file:
        size = int(file.read().split()[0]) * resource.getpagesize()
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    with contextlib.suppress(OSError, ValueError):  # a lower limit is set already
        resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY_LIMIT_BYTES, hard))
