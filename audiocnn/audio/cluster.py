"""The work of `isolate` spread over a Dask cluster: the same tasks, the same outcomes, on more machines.

Takes a function, tasks and the address of a scheduler; yields results in the order in which they are ready.
"""

import contextlib
import logging
import math
import os
import re
import secrets
import signal
import subprocess
import sys
import traceback
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from audiocnn.audio import workers
from audiocnn.errors import AudiocnnError, ConfigError, needs_extra
from audiocnn.files import TEMPORARY, write_atomic

if TYPE_CHECKING:
    from distributed import Client, Future

BATCH = 16  # tasks at most that are one task of Dask: the process made for them takes half a second to start
CONNECT_S = 10.0
NO_WORKER_S = 30.0  # without a worker before the rest is given up; a nanny takes some seconds to replace one

_ADDRESS = re.compile(r"((tcp|tls|ucx|wss?)://)?[^\s/]+:\d+")
_Result = TypeVar("_Result")
_Task = tuple[Path, tuple[Any, ...]]
Setup = Callable[[], Callable[[], None]]


def map_files(
    function: Callable[..., _Result],
    tasks: Sequence[_Task],
    *,
    scheduler: str,
    folder: Path | None = None,
    setup: Setup | None = None,
) -> Iterator[workers.TaskResult[_Result]]:
    """Call ``function(path, *args)`` for every ``(path, args)`` on a Dask cluster; yield each `Done` when it is.

    What becomes of a crash, a hang, a memory bomb or a bug is the same as in `isolate.map_files`. Every path must be
    the same file on every worker, and ``folder``, where the function leaves what is large (None if there is nothing),
    the same folder. ``setup`` is called on a worker before the tasks of a batch, in a process that they cannot harm,
    and gives what is called in each process of theirs; what it raises is the worker's refusal. What a lost worker had
    under way is done again by another, so the function must bear that.

    Raises `ConfigError` if there is no scheduler or worker, or if a worker refuses, naming it.
    """
    with _connected(scheduler) as client, _sign(folder) as sign:
        # Packed here and not by Dask, so that only the process which does the work has to unpack it.
        common = _kept(client, bytes(ForkingPickler.dumps((sign, function, setup))))
        size = min(BATCH, max(1, math.ceil(len(tasks) / (4 * (_n_threads(client, scheduler) or 1)))))
        waiting = deque(range(0, len(tasks), size))
        running: dict[Future, int] = {}
        try:
            while waiting or running:
                while waiting and len(running) < 2 * (_n_threads(client, scheduler) or 1):
                    first = waiting.popleft()
                    batch = bytes(ForkingPickler.dumps(tasks[first : first + size]))
                    running[client.submit(_work, common, batch, pure=False, retries=2)] = first
                for future in _finished(client, list(running), scheduler):
                    first = running.pop(future)
                    for done in _outcomes(future, tasks[first : first + size], scheduler):
                        yield workers.TaskResult(first + done.index, done.result)
        finally:
            with contextlib.suppress(Exception):  # a scheduler that is gone has nothing to cancel
                client.cancel([common, *running])


def check_versions(wanted: Mapping[str, str | int], here: Mapping[str, str | int]) -> None:
    """Raise `ConfigError` unless the versions ``here``, on a worker, are those ``wanted`` by whoever sent it work."""
    names = [name for name in {**wanted, **here} if here.get(name) != wanted.get(name)]
    differ = "; ".join(f"{name} {here.get(name)}, not {wanted.get(name)}" for name in names)
    if differ:
        raise ConfigError(f"it has {differ}; install the same versions on all machines")


@contextlib.contextmanager
def _connected(scheduler: str) -> Iterator["Client"]:
    """Yield a client of a cluster that has a worker."""
    if not _ADDRESS.fullmatch(scheduler):  # Dask would wait in vain, for longer than it was told to
        raise ConfigError(f"{scheduler}: not the address of a Dask scheduler; write it as in tcp://host:8786")
    with needs_extra("cluster"):
        from distributed import Client
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # what goes wrong is said here, in one line
    try:
        client = Client(scheduler, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        says = f"no Dask scheduler answers within {CONNECT_S:g} s; start 'dask scheduler' there"
        raise ConfigError(f"{scheduler}: {says}") from error
    try:
        if not _n_threads(client, scheduler):
            raise ConfigError(f"{scheduler}: the cluster has no workers; start some with 'dask worker {scheduler}'")
        yield client
    finally:
        client.close(timeout=2)


def _kept(client: "Client", packed: bytes) -> "Future":
    """Return these bytes as the result of a task: workers hand it on, and it is made again if the last one is lost."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Dask says that it is large, if it is
        return client.submit(bytes, packed, pure=False)


@contextlib.contextmanager
def _sign(folder: Path | None) -> Iterator[Path | None]:
    """Yield a file by which a worker knows that it sees the same folder; None without a folder."""
    if folder is None:
        yield None
        return
    sign = folder / f"{TEMPORARY}{os.getpid()}-{secrets.token_hex(4)}"
    write_atomic(sign, b"")
    try:
        yield sign
    finally:
        with contextlib.suppress(OSError):
            sign.unlink(missing_ok=True)


def _n_threads(client: "Client", scheduler: str) -> int:
    """How many tasks the workers of this moment do at a time."""
    try:
        return sum(client.nthreads().values())
    except OSError as error:
        raise _gone(scheduler) from error


def _finished(client: "Client", running: list["Future"], scheduler: str) -> list["Future"]:
    from distributed import wait

    while True:
        try:
            with client.as_current():
                return list(wait(running, timeout=NO_WORKER_S, return_when="FIRST_COMPLETED").done)
        except CancelledError as error:
            raise _gone(scheduler) from error
        except TimeoutError:
            pass
        if not _n_threads(client, scheduler):
            raise ConfigError(f"{scheduler}: no worker is left; start some and run it again: what was done is kept")


def _outcomes(future: "Future", tasks: Sequence[_Task], scheduler: str) -> list[workers.TaskResult[Any]]:
    """Unpack what came of these tasks; raise what the worker raised."""
    from distributed import KilledWorker

    try:
        worker, packed = future.result()
    except KilledWorker as error:
        paths = f"{tasks[0][0]} to {tasks[-1][0]}"
        raise ConfigError(f"{scheduler}: workers keep ending during {paths} ({error.last_worker.address})") from error
    except (ImportError, RuntimeError) as error:  # what Dask raises where it cannot make sense of a task
        remedy = "install the same audiocnn[cluster] for the scheduler and all workers"
        raise ConfigError(f"{scheduler}: the cluster cannot run audiocnn ({error}); {remedy}") from error
    came, missing = ForkingPickler.loads(packed)
    if isinstance(came, AudiocnnError):
        raise type(came)(f"worker {worker}: {came}")
    if isinstance(came, BaseException):
        raise came
    for path in missing:
        if path.exists():
            raise ConfigError(f"worker {worker}: {path} is missing there; recordings must be at the same paths")
    return came


def _gone(scheduler: str) -> ConfigError:
    return ConfigError(f"{scheduler}: the Dask scheduler has ended; start it and run it again: what was done is kept")


def _work(common: bytes, batch: bytes) -> tuple[str, bytes]:
    """Runs in a thread of a Dask worker: have a process of its own do the tasks; return the worker's name, and theirs.

    A worker under a nanny may have no child of `multiprocessing`, and a process with as many threads as any worker has
    should not be forked. A plain command is spared both.
    """
    from distributed import get_worker

    # One process a thread, so that the cluster computes as much at a time as it was told to.
    path = os.pathsep.join(sys.path)
    environment = {**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-P", "-m", "audiocnn.audio.cluster"]
    worker = get_worker().address
    packed = bytes(ForkingPickler.dumps((common, batch)))
    done = subprocess.run(command, input=packed, stdout=subprocess.PIPE, env=environment, check=False)
    if done.returncode:
        raise ConfigError(f"worker {worker}: its process has ended (exit code {done.returncode}); look into its log")
    return worker, done.stdout


def _serve() -> None:
    """Do the tasks on standard input, and say on standard output what came of them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the Dask worker, which ends this process by its end
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(workers._PR_SET_PDEATHSIG, signal.SIGKILL)
    output = os.dup(1)
    os.dup2(2, 1)
    came = _came_of(sys.stdin.buffer.read())
    with open(output, "wb") as file:
        file.write(ForkingPickler.dumps(came))


def _came_of(packed: bytes) -> tuple[list[workers.TaskResult[Any]] | Exception, list[Path]]:
    """Return the outcomes, or what was raised instead, and which recordings are not there."""
    try:
        common, batch = ForkingPickler.loads(packed)
        sign, function, setup = ForkingPickler.loads(common)
        tasks = ForkingPickler.loads(batch)
    except (ImportError, AttributeError, TypeError) as error:
        return ConfigError(f"it has another audiocnn ({error}); install the same one on all machines"), []
    if sign is not None and not sign.exists():
        return ConfigError(f"{sign.parent} is another folder there; it must be the same one on all machines"), []
    try:
        prepare = None if setup is None else setup()
        outcomes = list(workers.map_files(function, tasks, jobs=1, prepare=prepare))
    except Exception as error:
        if not isinstance(error, AudiocnnError):
            error.add_note("".join(traceback.format_exception(error)))  # which does not travel by itself
        return error, []
    return outcomes, [path for path, _ in tasks if not path.exists()]


if __name__ == "__main__":
    _serve()
