"""Run the command line in a process of its own that has its imports behind it.

Importing TensorFlow, pandas and scikit-learn is most of the time of a small command. One process (`python prefork.py`)
imports them once and forks for each command. The fork has the folder, the standard streams and the exit code that
``python -m audiocnn`` would have.
"""

import atexit
import contextlib
import gc
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import pkgutil
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

LIMIT_S = 600  # a command that takes longer is killed
LIBRARIES = ("jinja2", "librosa.filters", "pandas", "scipy.stats", "sklearn.metrics")
WITHOUT_KERAS = frozenset({"audit", "featurize", "info", "init", "predict", "verify"})  # commands
_ENVIRONMENT = dict(os.environ)  # before libraries add their variables
Done = subprocess.CompletedProcess[str]


def run(
    *arguments: str | Path,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    kill_when: Callable[[], object] | None = None,
) -> Done:
    """Run ``audiocnn`` with the environment variables of the start of the tests.

    With variables of its own (``env``) it is a new interpreter. A fork is killed as soon as ``kill_when`` returns
    something true.
    """
    command = [sys.executable, "-m", "audiocnn", *map(os.fspath, arguments)]
    if env is not None:
        assert kill_when is None
        environment = {**_ENVIRONMENT, **env}
        return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=LIMIT_S)
    return _fork(command, {"argv": command[2:]}, cwd=cwd, kill_when=kill_when)


def run_script(script: Path, *arguments: str | Path, cwd: Path) -> Done:
    """Run a Python script in a fork."""
    argv = [os.fspath(script), *map(os.fspath, arguments)]
    return _fork([sys.executable, *argv], {"argv": argv}, cwd=cwd)


def call(module: str, function: str, *, cwd: Path) -> Done:
    """Call a function of a module of this folder in a fork."""
    return _fork([module, function], {"argv": [module], "function": [module, function]}, cwd=cwd)


def postpone_numba() -> None:
    """Let numba compile functions of librosa when they are called, which most never are. Call it before librosa.

    librosa has them compiled as it is imported: that takes half a minute in a new environment, and later two seconds.
    """
    if importlib.util.find_spec("numba") is None:
        return
    import numba

    vectorize, guvectorize = numba.vectorize, numba.guvectorize
    numba.vectorize = lambda types, **options: vectorize(**options)
    numba.guvectorize = lambda types, layout, **options: guvectorize(layout, **options)


def _fork(
    command: list[str], request: dict[str, Any], *, cwd: Path, kill_when: Callable[[], object] | None = None
) -> Done:
    server = _server()
    with tempfile.NamedTemporaryFile("r") as out, tempfile.NamedTemporaryFile("r") as err:
        request |= {"cwd": os.fspath(cwd), "out": out.name, "err": err.name}
        print(json.dumps(request), file=server.stdin, flush=True)
        process = int(server.stdout.readline())
        if kill_when is not None:
            while not kill_when():
                time.sleep(0.01)
            os.kill(process, signal.SIGKILL)
        return Done(command, int(server.stdout.readline()), out.read(), err.read())


@cache
def _server() -> Any:
    """Start the process that forks."""
    command = [sys.executable, "-P", __file__]
    server = subprocess.Popen(
        command, env=_ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent
    )
    atexit.register(server.communicate)  # which closes its standard input, so that it ends
    return server


class _Hidden(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Keeps an imported module out of `sys.modules` until it is asked for: how workers start depends on it."""

    def __init__(self, name: str) -> None:
        self._module = sys.modules.pop(name)
        self._spec = self._module.__spec__

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        return importlib.machinery.ModuleSpec(name, self) if name == self._module.__name__ else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec


def _import_all() -> None:
    import audiocnn.cli  # the first: it tells BLAS how many threads to use
    from audiocnn.report import page

    for module in pkgutil.walk_packages(audiocnn.__path__, "audiocnn."):
        if module.name != "audiocnn.__main__":
            importlib.import_module(module.name)
    postpone_numba()
    for library in LIBRARIES:
        importlib.import_module(library)
    templates = Path(page.__file__).parent / "templates"
    for file in templates.rglob("*.j2"):
        page.template(file.relative_to(templates).as_posix())  # which compiles it
    gc.freeze()  # or each fork would search all of this for garbage


@cache
def _import_keras() -> None:
    from audiocnn.model import network

    network.load_keras()
    sys.meta_path.insert(0, _Hidden("tensorflow"))
    gc.freeze()


def _next_request() -> dict[str, Any] | None:
    """Fork for each request; print its process and its exit code. Return the request in the fork, None at the end."""
    for line in sys.stdin:
        request: dict[str, Any] = json.loads(line)
        if WITHOUT_KERAS.isdisjoint(request["argv"][1:2]):
            _import_keras()  # not before it is needed: quick tests need it rarely
        process = os.fork()
        if not process:
            return request
        print(process, flush=True)
        _, status = os.waitpid(process, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
    return None


def _become(argv: list[str], cwd: str, out: str, err: str, function: tuple[str, str] | None = None) -> None:
    """Do what ``python -m audiocnn`` does, or ``python SCRIPT``, or call the function of a module."""
    signal.alarm(LIMIT_S)
    os.chdir(cwd)
    for descriptor, file in enumerate((os.devnull, out, err)):
        os.dup2(os.open(file, os.O_RDWR | os.O_APPEND), descriptor)
    sys.argv[:] = argv
    if function:
        sys.path.insert(0, str(Path(__file__).parent))
        getattr(importlib.import_module(function[0]), function[1])()
    elif argv[0] == "audiocnn":
        runpy.run_module("audiocnn", run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(argv[0], run_name="__main__")


def _end(code: int) -> NoReturn:
    """End this process as the interpreter does, but without the time to free all objects of the libraries."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    _import_all()
    if request := _next_request():
        try:
            _become(**request)
        except SystemExit as end:
            if isinstance(end.code, str):
                print(end.code, file=sys.stderr)
            _end(end.code if isinstance(end.code, int) else end.code is not None)
        except BaseException:
            traceback.print_exc()
            _end(1)
        _end(0)
