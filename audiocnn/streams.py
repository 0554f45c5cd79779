"""Standard streams that are closed, broken or full: no command fails as nobody hears what it says besides results.

Takes the streams as the process was given them; results that cannot be written are an `OutputError`.
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from audiocnn.errors import OutputError

if TYPE_CHECKING:
    from _typeshed import SupportsWrite


class _Heedless:
    """Standard error that goes on when nobody reads it any more."""

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
    """Open what is closed, or a file that is opened later would be taken for it; let standard error fail unheeded."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    if sys.stderr is not None:
        sys.stderr = _Heedless(sys.stderr)


@contextlib.contextmanager
def stdout_errors() -> Iterator[None]:
    """Make an `OutputError` of what goes wrong with standard output, unless its reader has gone."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(
            f"standard output: cannot be written ({reason}); make room, or name a file with -o"
        ) from error


def flush() -> None:
    """Write out what standard output still holds; raise `BrokenPipeError` or `OutputError`."""
    if sys.stdout is not None:
        with stdout_errors():
            sys.stdout.flush()


def flush_or_discard() -> None:
    """Write out what standard output still holds if that is possible, and forget it if not, before the process ends."""
    try:
        flush()
    except (OSError, OutputError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # so that the interpreter's last flush has somewhere to go
