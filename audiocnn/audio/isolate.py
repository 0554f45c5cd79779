"""Work on many recordings in worker processes, so that a file that crashes, hangs or fills memory costs itself only.

Takes a function and tasks; yields results in the order in which they are ready.
"""

import contextlib
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Generic, TypeVar

from audiocnn.errors import AudioError

_WATCH_EVERY_S = 0.5  # looks at how far tasks are
_ATTEMPTS = 3  # of a task alone before it is said to crash its worker
TIME_LIMIT_S = 5.0
TIME_LIMIT_BYTES_PER_S = 20e6  # one second more for every 20 MB
_MOST_TIMES = 60  # that limit, of a task that goes on and on; long recordings may be small files
_COARSE_SLACK = 20.0  # where a task cannot limit itself
MEMORY_LIMIT_BYTES = 768 << 20  # on top of what the worker has after its imports

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc
_KEPT_BYTES = 64 << 20  # of freed memory, so that it need not be fetched anew for every block

_Result = TypeVar("_Result")
_Numbered = tuple[int, tuple[Path, tuple[Any, ...]]]
Watch = Callable[[float, float], None]  # watch(sum of the shares that are done, sum of the seconds heard)

_told: Any = None  # two numbers a task under way, in memory that all workers share
_line = 0  # of the task that this worker is at


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
    watch: Watch | None = None,
) -> Iterator[Done[_Result]]:
    """Call ``function(path, *args)`` for every ``(path, args)`` in ``jobs`` processes; yield each `Done` when it is.

    A crash, a hang or a memory bomb becomes an `AudioError` with code ``crashed``, ``timeout`` or ``out_of_memory``.
    Any other exception is a bug and is raised. Few results wait at a time, so they do not pile up. A task may take
    ``slack`` times the usual time; None leaves it to the function to limit itself by `time_limit`. ``prepare`` is
    called in every process before its memory is limited. ``watch`` is called twice a second, and before a result, with
    the sums of what tasks under way have told by `tell`.
    """
    if slack is None and not hasattr(signal, "setitimer"):
        slack = _COARSE_SLACK
    waiting = list(enumerate(tasks))
    while waiting:
        suspects, waiting = yield from _until_broken(function, waiting, jobs, slack, prepare, watch)
        for suspect in suspects:  # each alone, so that it is known which one ends its worker
            for _ in range(_ATTEMPTS):  # on a busy machine a pool may break for other reasons
                if not (yield from _until_broken(function, [suspect], 1, slack, prepare, watch, believe=True))[0]:
                    break
            else:
                yield Done(suspect[0], AudioError("crashed", "the decoder crashed at once"))


def _until_broken(
    function: Callable[..., Any],
    numbered: Sequence[_Numbered],
    jobs: int,
    slack: float | None,
    prepare: Callable[[], None] | None,
    watch: Watch | None,
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
    told = _lines(2 * jobs) if watch is not None else None
    pool = ProcessPool(
        max_workers=min(jobs, len(numbered)),
        initializer=_fence_in,
        initargs=(os.getpid(), prepare, told),
        context=get_context(method),
    )
    waiting = deque(numbered)
    running: dict[Future[Any], _Numbered] = {}
    free, line_of = list(range(2 * jobs)), dict[Future[Any], int]()
    suspects: list[_Numbered] = []
    try:
        while waiting or running:
            while waiting and len(running) < 2 * jobs and pool.active:
                index, (path, args) = waiting.popleft()
                limit_s = None if slack is None else slack * _time_limit_s(path)
                line = free.pop()
                future: Future[Any] = pool.schedule(_at_line, args=(line, function, path, *args), timeout=limit_s)
                running[future], line_of[future] = (index, (path, args)), line
            broken = False
            ready = wait(running, None if told is None else _WATCH_EVERY_S, FIRST_COMPLETED).done
            free += (lines := [line_of.pop(future) for future in ready])
            if told is not None and watch is not None:
                for line in lines:
                    told[2 * line : 2 * line + 2] = (0.0, 0.0)
                watch(sum(told[::2]), sum(told[1::2]))
            for future in ready:
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
            return AudioError("timeout", f"decoding stood still for more than {limit_s:.0f} s")
        return AudioError("crashed", f"the decoder crashed (exit code {error.exitcode})")


def tell(share: float, heard_s: float) -> None:
    """Say from within a task how much of it is done, from 0 to 1, and how many seconds of audio it has heard.

    It shows that the task goes on.
    """
    goes_on()
    if _told is not None:
        _told[2 * _line], _told[2 * _line + 1] = share, heard_s


def goes_on() -> None:
    """Say from within a task that it goes on, for which `time_limit` begins anew."""
    if _clock is not None:
        _clock.stop()
        _clock.run()


def limited(function: Callable[..., _Result], path: Path, *args: Any) -> _Result:
    """Runs in a worker: do a task within `time_limit`, which a listener keeps from running out by `goes_on`."""
    with time_limit(path):
        return function(path, *args)


def _at_line(line: int, function: Callable[..., _Result], path: Path, *args: Any) -> _Result:
    """Runs in a worker: do a task, which tells how far it is at this place."""
    global _line
    _line = line
    return function(path, *args)


def _lines(n: int) -> Any:
    """Shared memory for what ``n`` tasks tell; None where there is none to be had, as work goes on without."""
    from multiprocessing.sharedctypes import RawArray

    try:
        return RawArray("d", 2 * n)
    except OSError:
        return None


class _Clock:
    """What ends this process when its task stands still for ``still_s``, or takes `_MOST_TIMES` that in all."""

    def __init__(self, still_s: float) -> None:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process even where native code loops for ever
        self._still_s, self._left_s = still_s, _MOST_TIMES * still_s
        self.run()

    def run(self) -> None:
        self._since = time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, max(1e-3, min(self._still_s, self._left_s)))

    def stop(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        self._left_s -= time.monotonic() - self._since


_clock: _Clock | None = None  # of the task of this worker, while it runs


@contextlib.contextmanager
def time_limit(path: Path) -> Iterator[None]:
    """End this process, as one that hangs is ended, unless the block goes on: ends, or calls `goes_on`, now and then.

    It may stand still for the time that a task for ``path`` usually has, since how long decoding takes depends on how
    long the recording is, of which the size of the file says little.
    """
    global _clock
    if not hasattr(signal, "setitimer"):
        yield
        return
    _clock = _Clock(_time_limit_s(path))
    try:
        yield
    finally:
        _clock.stop()
        _clock = None


@contextlib.contextmanager
def uncounted() -> Iterator[None]:
    """Stop the clock of `time_limit` for the block."""
    if _clock is None:
        yield
        return
    _clock.stop()
    try:
        yield
    finally:
        _clock.run()


def _time_limit_s(path: Path) -> float:
    try:
        return TIME_LIMIT_S + os.stat(path).st_size / TIME_LIMIT_BYTES_PER_S
    except (OSError, ValueError):
        return TIME_LIMIT_S


def _fence_in(parent: int, prepare: Callable[[], None] | None, told: Any = None) -> None:
    """Import what the work needs, then limit the process; what decoders print goes nowhere."""
    if sys.platform == "linux":
        import ctypes

        libc = ctypes.CDLL(None)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # even a hung worker ends with its parent
        if os.getppid() != parent:  # which has ended already
            os._exit(1)
    import audiocnn.audio.decode  # noqa: F401 - its size counts before the limit is set

    global _told
    _told = told
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
