"""The errors that audiocnn raises on purpose, and their exit codes on the command line.

::

    AudiocnnError                  1   (never raised itself)
    ├── ConfigError                2   a configuration, option or file that the user can correct
    │   ├── ArchitectureError      2   a network notation that is invalid or does not fit its input
    │   ├── ManifestError          2   an invalid manifest
    │   ├── SplitError             2   recordings that cannot be split as requested
    │   ├── NotReadyError          2   a stage that needs the result of an earlier one
    │   ├── MissingExtraError      2   a missing optional dependency
    │   ├── BusyError              2   another process is using the folder
    │   └── OutputError            2   a file that cannot be written (full disk, no permission)
    ├── AudioError                 3   one unusable recording; the others are still processed
    ├── UnusableError              4   no usable recording, or more unusable ones than allowed
    └── IntegrityError             5   a file that has changed since it was written

Exit code 0 means that every recording was used, 1 is a bug, 130 and 143 follow SIGINT and SIGTERM.
A message is one line: file or setting, value, limit, remedy.
"""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager


class AudiocnnError(Exception):
    """Base class of all these errors; ``str(error)`` is the line shown to the user."""

    exit_code = 1


class ConfigError(AudiocnnError):
    """A configuration, option or file is invalid; the user can correct it."""

    exit_code = 2


class ArchitectureError(ConfigError):
    """A network notation is invalid or does not fit its input."""


class ManifestError(ConfigError):
    """A manifest is unreadable or invalid."""


class SplitError(ConfigError):
    """Recordings cannot be split as requested."""


class NotReadyError(ConfigError):
    """A stage needs the result of an earlier stage, which has not been run."""


class MissingExtraError(ConfigError):
    """An optional dependency is not installed."""


@contextmanager
def needs_extra(name: str) -> Iterator[None]:
    """Turn an `ImportError` in the block into a `MissingExtraError` that names the extra to install.

    >>> with needs_extra("train"):
    ...     import no_such_library
    Traceback (most recent call last):
    audiocnn.errors.MissingExtraError: no_such_library: not installed; pip install 'audiocnn[train]'
    """
    try:
        yield
    except ImportError as error:
        raise MissingExtraError(f"{error.name}: not installed; pip install 'audiocnn[{name}]'") from error


def require_extra(name: str, library: str) -> None:
    """Raise `MissingExtraError` unless a library of the extra ``name`` is installed, without importing it.

    For the start of work that ends with the library.
    """
    with needs_extra(name):
        if importlib.util.find_spec(library) is None:
            raise ModuleNotFoundError(name=library)


class BusyError(ConfigError):
    """Another process holds the lock of the folder."""


class OutputError(ConfigError):
    """A file cannot be written."""


class AudioError(AudiocnnError):
    """One recording is unusable.

    ``code`` is its status in ``quarantine.csv`` and in predictions, such as ``not_audio``; ``detail`` is the reason.
    """

    exit_code = 3

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail

    def __str__(self) -> str:
        return self.detail


class UnusableError(AudiocnnError):
    """No recording is usable, or more are unusable than allowed."""

    exit_code = 4


class IntegrityError(AudiocnnError):
    """A file has changed since it was written: a hash, a shape or a stored example differs."""

    exit_code = 5
