"""What tasks of worker processes do, in a module that a process can import fast."""

import faulthandler
import os
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from audiocnn.audio import workers
from audiocnn.errors import AudioError, ConfigError

if TYPE_CHECKING:
    import numpy as np


def misbehave(path: Path, deed: object) -> object:
    """Do what the task says to the worker that runs it, or return its square."""
    if deed == "abort":
        faulthandler.disable()  # pytest's, which would show where
        os.abort()
    if deed == "exit":
        os._exit(3)
    if deed == "exit as if all were well":
        os._exit(0)
    if deed == "loop":
        while True:
            pass
    if deed == "loop and ignore signals":
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        while True:
            pass
    if deed == "bomb":
        import numpy as np

        return np.ones(100 << 30, np.uint8)[0]
    if deed == "refuse":
        raise AudioError("decode_error", "made to fail")
    if deed == "end everything but the task":  # the process of the batch, as the kernel does when memory is short
        os.kill(os.getppid(), signal.SIGKILL)
        signal.pause()
    assert isinstance(deed, int)
    return deed**2


def square(path: Path, number: int) -> int:
    """Return a result that is right."""
    return number**2


def hold(path: Path, n_bytes: int) -> int:
    """Hold as much memory as asked."""
    return len(bytes(n_bytes))


def leak(path: Path, number: int) -> None:
    """Hold more and more memory."""
    held = []
    while True:
        held.append(bytes(1 << 20))


def sleep_1_s(path: Path, number: int) -> str:
    """Do nothing for a second."""
    time.sleep(1)
    return "slept"


def chatter(path: Path, number: int) -> int:
    """Print what nobody should see."""
    os.write(1, b"to standard output\n")
    os.write(2, b"to standard error\n")
    return number


def divide(path: Path, number: int) -> float:
    """Fail for 0."""
    return 1 / number


def pid(path: Path, number: int) -> int:
    """Return the process of the worker."""
    return os.getpid()


def meet(path: Path, names: tuple[Path, Path]) -> bool:
    """Leave a sign and wait for that of another task."""
    mine, other = names
    mine.touch()
    while not other.exists():
        time.sleep(0.01)
    return True


def large(path: Path, size: int) -> "np.ndarray":
    """Return an array of this size."""
    import numpy as np

    return np.arange(size)


def step(path: Path, n: int, every_s: float) -> int:
    """Work in ``n`` steps, reporting progress after each."""
    for done in range(n):
        workers.report_progress(done / n, 100 * done / n)
        time.sleep(every_s)
    return n


def rest(path: Path, seconds: float) -> str:
    """Work without progress while the time limit is suspended."""
    with workers.pause_timeout():
        workers.heartbeat()
        time.sleep(seconds)
    return "rested"


def rest_and_hang(path: Path, seconds: float) -> None:
    """Work without progress after the time limit was suspended."""
    with workers.pause_timeout():
        pass
    time.sleep(seconds)


class SlowStart:
    """Preparation of a worker: unpickling it in the second worker outlasts the pool."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __reduce__(self) -> tuple[object, ...]:
        return _start_slowly, (self._folder,)


def _start_slowly(folder: Path) -> type:
    try:
        (folder / "first").touch(exist_ok=False)
    except FileExistsError:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        (folder / "second").touch()
        time.sleep(1)
    return list


def wait_for(path: Path) -> None:
    """Wait for a sign."""
    while not path.exists():
        time.sleep(0.01)


# Setups of the process of a batch: each returns a function that every process of a task calls

tool = ""  # of the process of a task


def hand_out(name: str) -> Callable[[], None]:
    """Give each process this tool, or refuse."""
    if name == "broken":
        raise ConfigError("its tool is broken")
    return partial(_take, name)


def shorten_limit() -> Callable[[], None]:
    """Give each task one second."""
    workers.TIME_LIMIT_S = 1.0
    return partial(_take, "")


def tell_tool(path: Path, deed: object) -> str:
    """Return the tool of the process."""
    return tool


def _take(name: str) -> None:
    global tool
    tool = name
