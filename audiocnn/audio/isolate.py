"""Work on many recordings in worker processes, so that a file that crashes, hangs or fills memory costs itself only.

Takes a function and tasks; yields results in the order in which they are ready.
"""

import contextlib
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Generic, TypeVar

from audiocnn.errors import AudioError

_ATTEMPTS = 3  # of a task alone before it is said to crash its worker
TIME_LIMIT_S = 5.0
TIME_LIMIT_BYTES_PER_S = 20e6  # one second more for every 20 MB
_COARSE_SLACK = 20.0  # where a task cannot limit itself
MEMORY_LIMIT_BYTES = 768 << 20  # on top of what the worker has after its imports

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc
_KEPT_BYTES = 64 << 20  # of freed memory, so that it need not be fetched anew for every block

_Result = TypeVar("_Result")
_Numbered = tuple[int, tuple[Path, tuple[Any, ...]]]


@dataclass(frozen=True)
class Done(Generic[_Result]):
    """The outcome of task number ``index``: a result, or the reason why its recording cannot be used."""

    index: int
    result: _Result | AudioError


def default_jobs() -> int:
    """Number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def each(
    function: Callable[..., _Result],
    tasks: Sequence[tuple[Path, tuple[Any, ...]]],
    *,
    jobs: int,
    slack: float | None = 1.0,
    prepare: Callable[[], None] | None = None,
) -> Iterator[Done[_Result]]:
    """Call ``function(path, *args)`` for every ``(path, args)`` in ``jobs`` processes; yield each `Done` when it is.

    A crash, a hang or a memory bomb becomes an `AudioError` with code ``crashed``, ``timeout`` or ``out_of_memory``.
    Any other exception is a bug and is raised. Few results wait at a time, so they do not pile up. A task may take
    ``slack`` times the usual time; None leaves it to the function to limit itself by `time_limit`. ``prepare`` is
    called in every process before its memory is limited.
    """
    if slack is None and not hasattr(signal, "setitimer"):
        slack = _COARSE_SLACK
    waiting = list(enumerate(tasks))
    while waiting:
        suspects, waiting = yield from _until_broken(function, waiting, jobs, slack, prepare)
        for suspect in suspects:  # each alone, so that it is known which one ends its worker
            for _ in range(_ATTEMPTS):  # on a busy machine a pool may break for other reasons
                if not (yield from _until_broken(function, [suspect], 1, slack, prepare, believe=True))[0]:
                    break
            else:
                yield Done(suspect[0], AudioError("crashed", "the decoder crashed at once"))


def _until_broken(
    function: Callable[..., Any],
    numbered: Sequence[_Numbered],
    jobs: int,
    slack: float | None,
    prepare: Callable[[], None] | None,
    believe: bool = False,
) -> Generator[Done[Any], None, tuple[list[_Numbered], list[_Numbered]]]:
    """Work in one pool; return the tasks that may have ended a worker and those not begun when it broke, if it did.

    Pebble gives the whole pool up when a worker dies before it has said which task it took, and takes the death of a
    worker for the fault of the task before if its result is still on the way; ``believe`` takes its word for it.
    """
    from pebble import CONSTS, ProcessPool

    CONSTS.sleep_unit = 0.01  # seconds between looks at the workers; with Pebble's 0.1 no command ends sooner than that

    # A fork is quickest, but not of a process in which TensorFlow runs its threads.
    method = "fork" if sys.platform == "linux" and "tensorflow" not in sys.modules else "spawn"
    pool = ProcessPool(
        max_workers=min(jobs, len(numbered)),
        initializer=_fence_in,
        initargs=(prepare,),
        context=get_context(method),
    )
    waiting = deque(numbered)
    running: dict[Future[Any], _Numbered] = {}
    suspects: list[_Numbered] = []
    try:
        while waiting or running:
            while waiting and len(running) < 2 * jobs and pool.active:
                index, (path, args) = waiting.popleft()
                limit_s = None if slack is None else slack * _time_limit_s(path)
                future: Future[Any] = pool.schedule(function, args=(path, *args), timeout=limit_s)
                running[future] = (index, (path, args))
            broken = False
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                index, task = running.pop(future)
                try:
                    outcome = _outcome(future, (slack or 1.0) * _time_limit_s(task[0]))
                    if isinstance(outcome, AudioError) and outcome.code == "crashed" and not believe:
                        suspects.append((index, task))
                    else:
                        yield Done(index, outcome)
                except BrokenProcessPool:
                    suspects.append((index, task))
                    broken = True
            if broken or not pool.active:
                return [*suspects, *running.values()], list(waiting)
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
    except TimeoutError:
        return AudioError("timeout", f"decoding took more than {limit_s:.0f} s")
    except MemoryError:
        return AudioError("out_of_memory", f"decoding needs more than {MEMORY_LIMIT_BYTES >> 20} MiB")
    except ProcessExpired as error:
        if error.exitcode == -getattr(signal, "SIGALRM", 0):
            return AudioError("timeout", f"decoding took more than {limit_s:.0f} s")
        return AudioError("crashed", f"the decoder crashed (exit code {error.exitcode})")


@contextlib.contextmanager
def time_limit(path: Path) -> Iterator[None]:
    """End this process, as one that hangs is ended, unless the block ends in the time that a task for ``path`` has."""
    if not hasattr(signal, "setitimer"):
        yield
        return
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process even where native code loops for ever
    signal.setitimer(signal.ITIMER_REAL, _time_limit_s(path))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


@contextlib.contextmanager
def uncounted() -> Iterator[None]:
    """Stop the clock of `time_limit` for the block."""
    if not hasattr(signal, "setitimer"):
        yield
        return
    left_s, _ = signal.setitimer(signal.ITIMER_REAL, 0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, left_s)


def _time_limit_s(path: Path) -> float:
    try:
        return TIME_LIMIT_S + os.stat(path).st_size / TIME_LIMIT_BYTES_PER_S
    except (OSError, ValueError):
        return TIME_LIMIT_S


def _fence_in(prepare: Callable[[], None] | None) -> None:
    """Import what the work needs, then limit the process; what decoders print goes nowhere."""
    import audiocnn.audio.decode  # noqa: F401 - its size counts before the limit is set

    if prepare is not None:
        prepare()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends its workers
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 1)
    os.dup2(sink, 2)
    os.close(sink)
    if sys.platform == "linux":
        import ctypes
        import resource

        libc = ctypes.CDLL(None)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # even a hung worker ends with its parent
        if hasattr(libc, "mallopt"):
            libc.mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES // 4)
            libc.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        with open("/proc/self/statm") as file:
            size = int(file.read().split()[0]) * resource.getpagesize()
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        with contextlib.suppress(OSError, ValueError):  # a lower limit is set already
            resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY_LIMIT_BYTES, hard))
