"""Standard output and error that are closed, broken or full.

A closed or full stderr never fails a command. Results that cannot be written to stdout raise `OutputError`.
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from audiocnn.errors import OutputError

if TYPE_CHECKING:
    from _typeshed import SupportsWrite


class _IgnoreWriteErrors:
    """A wrapper of stderr that ignores write errors, such as those of a closed terminal."""

    def __init__(self, stream: "SupportsWrite[str]") -> None:
        self._stream = stream

    def write(self, text: Any) -> int:
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()  # type: ignore[attr-defined]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def prepare() -> None:
    """Open closed standard streams on the null device, and ignore write errors of stderr.

    Otherwise the next file that is opened would get the descriptor of a closed stream.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free descriptor
    if sys.stderr is not None:
        sys.stderr = _IgnoreWriteErrors(sys.stderr)


@contextlib.contextmanager
def stdout_errors() -> Iterator[None]:
    """Turn errors of writing to stdout into `OutputError`; pass on `BrokenPipeError`, when the reader has closed it."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(
            f"standard output: cannot be written ({reason}); free disk space, or name a file with -o"
        ) from error


def flush() -> None:
    """Flush stdout; raise `BrokenPipeError` or `OutputError` if that fails."""
    if sys.stdout is not None:
        with stdout_errors():
            sys.stdout.flush()


def flush_or_discard() -> None:
    """Flush stdout before the process exits; discard what cannot be written."""
    try:
        flush()
    except (OSError, OutputError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or the interpreter's flush at exit would fail
