"""Processing of many recordings on a Dask cluster: the same tasks and results as `workers`, on more machines.

`map_files` takes a function, tasks and the address of a scheduler, and yields results in the order in which they are
ready.
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

BATCH = 16  # most tasks in one task of Dask, for which a worker starts a process (half a second)
CONNECT_S = 10.0
NO_WORKER_S = 30.0  # without a worker, after which the command fails; a nanny needs some seconds to replace one

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
    """Call ``function(path, *args)`` for every ``(path, args)`` on a Dask cluster; yield a `TaskResult` for each.

    A crash, a hang, running out of memory and a bug have the same results as in `workers.map_files`. Every path must be
    the same file on every worker. ``folder`` is where the function writes large results (None: nowhere); it must be the
    same folder on every worker. ``setup`` is called on a worker before the tasks of a batch, in a process that they
    cannot harm; it returns a function to call in each of their processes. An error that it raises means that the worker
    refuses the work. Tasks of a lost worker run again on another one, so the function must allow that.

    Raises `ConfigError` if there is no scheduler or no worker, or if a worker refuses; the message names it.
    """
    with _connect(scheduler) as client, _marker_file(folder) as marker:
        # Pickled here and not by Dask, so that only the process which runs the tasks has to unpickle it.
        common = _broadcast(client, bytes(ForkingPickler.dumps((marker, function, setup))))
        size = min(BATCH, max(1, math.ceil(len(tasks) / (4 * (_n_threads(client, scheduler) or 1)))))
        waiting = deque(range(0, len(tasks), size))
        running: dict[Future, int] = {}
        try:
            while waiting or running:
                while waiting and len(running) < 2 * (_n_threads(client, scheduler) or 1):
                    first = waiting.popleft()
                    batch = bytes(ForkingPickler.dumps(tasks[first : first + size]))
                    running[client.submit(_run_on_worker, common, batch, pure=False, retries=2)] = first
                for future in _wait_for_some(client, list(running), scheduler):
                    first = running.pop(future)
                    for done in _results(future, tasks[first : first + size], scheduler):
                        yield workers.TaskResult(first + done.index, done.result)
        finally:
            with contextlib.suppress(Exception):  # fails if the scheduler has ended, which has nothing to cancel then
                client.cancel([common, *running])


def check_versions(required: Mapping[str, str | int], installed: Mapping[str, str | int]) -> None:
    """Raise `ConfigError` if versions ``installed`` are not those ``required`` by the sender of the tasks."""
    names = [name for name in {**required, **installed} if installed.get(name) != required.get(name)]
    differences = "; ".join(f"{name} {installed.get(name)}, not {required.get(name)}" for name in names)
    if differences:
        raise ConfigError(f"it has {differences}; install the same versions on all machines")


@contextlib.contextmanager
def _connect(scheduler: str) -> Iterator["Client"]:
    """Yield a client of a cluster that has a worker."""
    if not _ADDRESS.fullmatch(scheduler):  # Dask would ignore the timeout and wait
        raise ConfigError(f"{scheduler}: not the address of a Dask scheduler; write it as in tcp://host:8786")
    with needs_extra("cluster"):
        from distributed import Client
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # errors are reported here, in one line
    try:
        client = Client(scheduler, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        problem = f"no Dask scheduler answers within {CONNECT_S:g} s; start 'dask scheduler' there"
        raise ConfigError(f"{scheduler}: {problem}") from error
    try:
        if not _n_threads(client, scheduler):
            raise ConfigError(f"{scheduler}: the cluster has no workers; start some with 'dask worker {scheduler}'")
        yield client
    finally:
        client.close(timeout=2)


def _broadcast(client: "Client", packed: bytes) -> "Future":
    """Return these bytes as the result of a task: workers copy it from each other, and Dask restores a lost one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Dask warns if it is large
        return client.submit(bytes, packed, pure=False)


@contextlib.contextmanager
def _marker_file(folder: Path | None) -> Iterator[Path | None]:
    """Yield a new file in ``folder``, by which a worker can check that it sees the same folder; None without one."""
    if folder is None:
        yield None
        return
    marker = folder / f"{TEMPORARY}{os.getpid()}-{secrets.token_hex(4)}"
    write_atomic(marker, b"")
    try:
        yield marker
    finally:
        with contextlib.suppress(OSError):
            marker.unlink(missing_ok=True)


def _n_threads(client: "Client", scheduler: str) -> int:
    """Return how many tasks the current workers run at a time."""
    try:
        return sum(client.nthreads().values())
    except OSError as error:
        raise _scheduler_lost(scheduler) from error


def _wait_for_some(client: "Client", running: list["Future"], scheduler: str) -> list["Future"]:
    """Wait until at least one future is finished; return those that are."""
    from distributed import wait

    while True:
        try:
            with client.as_current():
                return list(wait(running, timeout=NO_WORKER_S, return_when="FIRST_COMPLETED").done)
        except CancelledError as error:
            raise _scheduler_lost(scheduler) from error
        except TimeoutError:
            pass
        if not _n_threads(client, scheduler):
            raise ConfigError(f"{scheduler}: no worker is left; start some and run it again: finished work is kept")


def _results(future: "Future", tasks: Sequence[_Task], scheduler: str) -> list[workers.TaskResult[Any]]:
    """Return the results of these tasks; raise the exception that the worker raised."""
    from distributed import KilledWorker

    try:
        worker, packed = future.result()
    except KilledWorker as error:
        paths = f"{tasks[0][0]} to {tasks[-1][0]}"
        raise ConfigError(f"{scheduler}: workers crash repeatedly on {paths} ({error.last_worker.address})") from error
    except (ImportError, RuntimeError) as error:  # Dask cannot unpickle the task
        remedy = "install the same audiocnn[cluster] for the scheduler and all workers"
        raise ConfigError(f"{scheduler}: the cluster cannot run audiocnn ({error}); {remedy}") from error
    results, missing = ForkingPickler.loads(packed)
    if isinstance(results, AudiocnnError):
        raise type(results)(f"worker {worker}: {results}")
    if isinstance(results, BaseException):
        raise results
    for path in missing:
        if path.exists():
            raise ConfigError(
                f"worker {worker}: {path} is missing there; recordings must be at the same paths on all machines"
            )
    return results


def _scheduler_lost(scheduler: str) -> ConfigError:
    return ConfigError(f"{scheduler}: the Dask scheduler has ended; start it and run it again: finished work is kept")


def _run_on_worker(common: bytes, batch: bytes) -> tuple[str, bytes]:
    """Runs in a thread of a Dask worker: run the tasks in a new process; return the worker's address and the results.

    The process is a plain command, as a worker under a nanny may not start children of `multiprocessing`, and a process
    with as many threads as a worker has should not be forked.
    """
    from distributed import get_worker

    # One process per thread, so the cluster runs as many tasks at a time as it was configured for.
    path = os.pathsep.join(sys.path)
    environment = {**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-P", "-m", "audiocnn.audio.cluster"]
    worker = get_worker().address
    packed = bytes(ForkingPickler.dumps((common, batch)))
    done = subprocess.run(command, input=packed, stdout=subprocess.PIPE, env=environment, check=False)
    if done.returncode:
        raise ConfigError(f"worker {worker}: its process failed (exit code {done.returncode}); see its log")
    return worker, done.stdout


def _serve() -> None:
    """Run the tasks from standard input, and write their results to standard output."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # on Ctrl-C the Dask worker ends, and this process with it
    workers.end_with_parent()
    output = os.dup(1)
    os.dup2(2, 1)
    results = _run_batch(sys.stdin.buffer.read())
    with open(output, "wb") as file:
        file.write(ForkingPickler.dumps(results))


def _run_batch(packed: bytes) -> tuple[list[workers.TaskResult[Any]] | Exception, list[Path]]:
    """Return the results of a batch, or the exception that prevents them, and the recordings that are missing."""
    try:
        common, batch = ForkingPickler.loads(packed)
        marker, function, setup = ForkingPickler.loads(common)
        tasks = ForkingPickler.loads(batch)
    except (ImportError, AttributeError, TypeError) as error:
        return ConfigError(f"it has another audiocnn ({error}); install the same one on all machines"), []
    if marker is not None and not marker.exists():
        return ConfigError(f"{marker.parent} is another folder there; it must be the same one on all machines"), []
    try:
        prepare = None if setup is None else setup()
        results = list(workers.map_files(function, tasks, jobs=1, prepare=prepare))
    except Exception as error:
        if not isinstance(error, AudiocnnError):
            error.add_note("".join(traceback.format_exception(error)))  # pickling loses the traceback
        return error, []
    return results, [path for path, _ in tasks if not path.exists()]


if __name__ == "__main__":
    _serve()
