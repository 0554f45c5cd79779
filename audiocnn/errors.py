"""Every error that audiocnn raises on purpose, and the exit code that the command line gives it.

::

    AudiocnnError                  1   (never raised itself)
    ├── ConfigError                2   a file, flag or value that the user can mend
    │   ├── ArchitectureError      2   a notation that cannot be parsed, or cannot fit its input
    │   ├── ManifestError          2   a manifest that cannot be used
    │   ├── SplitError             2   recordings that cannot be split as asked
    │   ├── NotReadyError          2   a stage whose predecessor has not run
    │   ├── MissingExtraError      2   a command that needs an optional dependency
    │   ├── BusyError              2   another process works in the same folder
    │   └── OutputError            2   a file that cannot be written (full disk, no permission)
    ├── AudioError                 3   one recording that cannot be used; costs that recording only
    ├── UnusableError              4   no usable recording, or more bad ones than allowed
    └── IntegrityError             5   a file whose content is not what was written

Exit code 1 is left to bugs, 0 means that every recording was used, 130 and 143 follow the signals.
Messages are one line: the thing, the value, the limit, the remedy.
"""

from collections.abc import Iterator
from contextlib import contextmanager


class AudiocnnError(Exception):
    """Root of the tree; ``str(error)`` is the one line that the user sees."""

    exit_code = 1


class ConfigError(AudiocnnError):
    """A configuration, flag or file that the user can mend."""

    exit_code = 2


class ArchitectureError(ConfigError):
    """A network notation that cannot be parsed or cannot fit its input."""


class ManifestError(ConfigError):
    """A manifest that cannot be read or used."""


class SplitError(ConfigError):
    """Recordings that cannot be divided as asked."""


class NotReadyError(ConfigError):
    """A stage was called before the one that it builds on."""


class MissingExtraError(ConfigError):
    """A command needs an optional dependency that is not installed."""


@contextmanager
def needs_extra(name: str) -> Iterator[None]:
    """Raise `MissingExtraError` for a library that the body cannot import, naming the extra to install.

    >>> with needs_extra("train"):
    ...     import no_such_library
    Traceback (most recent call last):
    audiocnn.errors.MissingExtraError: no_such_library: not installed; pip install 'audiocnn[train]'
    """
    try:
        yield
    except ImportError as error:
        raise MissingExtraError(f"{error.name}: not installed; pip install 'audiocnn[{name}]'") from error


class BusyError(ConfigError):
    """Another process holds the lock of this folder."""


class OutputError(ConfigError):
    """A file cannot be written."""


class AudioError(AudiocnnError):
    """One recording cannot be used.

    ``code`` is the short name that ``quarantine.csv`` and ``predict`` show, such as ``not_audio``.
    """

    exit_code = 3

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail

    def __str__(self) -> str:
        return self.detail


class UnusableError(AudiocnnError):
    """Nothing usable is left, or more recordings are bad than allowed."""

    exit_code = 4


class IntegrityError(AudiocnnError):
    """A file is not what was written: a hash, a shape or a golden example disagrees."""

    exit_code = 5
