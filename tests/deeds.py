"""What tasks of worker processes do, in a module that a process can import fast."""

import faulthandler
import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from audiocnn.audio import workers
from audiocnn.errors import AudioError, ConfigError


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
        return np.ones(100 << 30, np.uint8)[0]
    if deed == "refuse":
        raise AudioError("decode_error", "made to fail")
    if deed == "end everything but the task":  # the process of the batch, as the kernel does when memory is short
        os.kill(os.getppid(), signal.SIGKILL)
        signal.pause()
    assert isinstance(deed, int)
    return deed**2


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
