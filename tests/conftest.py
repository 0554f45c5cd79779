"""Fixtures shared by all tests."""

import gc
import io
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

import prefork
import pytest

# As the command line does, before numpy is imported: with more threads BLAS may round the last digit otherwise.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
prefork.postpone_numba()


_WITH_TENSORFLOW = re.compile(r"require_keras\(|load_keras|network\.build\(|\b(?:crossval|sweep|train)\.run\(")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run files whose tests import TensorFlow last: once it is imported, a worker process takes a second to start."""
    items.sort(key=lambda item: _imports_tensorflow(item.path))


def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Warn of a file that is not run last although it imports TensorFlow here, not in a fork of `prefork`."""
    if "tensorflow" in sys.modules and not _imports_tensorflow(item.path):
        item.warn(pytest.PytestWarning("TensorFlow is imported too early: use projects.audiocnn, or require_keras()"))


@cache
def _imports_tensorflow(file: Path) -> bool:
    return _WITH_TENSORFLOW.search(file.read_text(encoding="utf-8")) is not None


def pytest_collection_finish() -> None:
    """Search for garbage rarely, as the command line does, and not in what the imports made."""
    gc.freeze()
    gc.set_threshold(100_000)  # else small trainings take a tenth longer


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of real recordings (``instruments/`` and ``drones/``); a test that asks for it is skipped without one."""
    folder = Path(os.environ.get("AUDIOCNN_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no recordings at {folder}; set AUDIOCNN_DATA to the folder of instruments/ and drones/")
    return folder


@pytest.fixture
def in_time() -> Iterator[None]:
    """A test that asks for this fails, instead of waiting for ever, when it has taken ten seconds."""

    def give_up(*_: object) -> None:
        raise AssertionError("took more than 10 s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(10)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


class _ShortReads(io.FileIO):
    """A file whose reads give at most 100 bytes, as those of Linux give at most 2 GiB."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(-1 if size is None or size < 0 else min(size, 100))


@pytest.fixture
def short_reads(monkeypatch: pytest.MonkeyPatch) -> Callable[[ModuleType], None]:
    """Call it with a module: a read of an unbuffered file that the module opens gives at most 100 bytes."""

    def opened(file: Path, mode: str, buffering: int = -1) -> io.IOBase:
        return _ShortReads(file, mode) if buffering == 0 else open(file, mode, buffering)

    return lambda module: monkeypatch.setattr(module, "open", opened, raising=False)
