"""The one way files are written (whole or not at all), hashed, and kept from being written by two runs at once."""

import contextlib
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from io import RawIOBase
from pathlib import Path
from typing import Any, BinaryIO

from audiocnn.errors import BusyError, OutputError

TEMPORARY = ".tmp-"  # prefix of files and folders that never count as data


@contextlib.contextmanager
def atomic_file(path: Path, *, durable: bool = True) -> Iterator[BinaryIO]:
    """Yield an empty binary file that takes the place of ``path`` when the block ends well, and vanishes when not.

    ``path`` holds either its old content or all of the new one, even after a power cut: temporary file in the same
    folder, flush, fsync, rename, fsync of the folder. Not ``durable`` leaves the fsyncs out. Raises `OutputError`
    naming the path; what else is raised in the block is passed on, but for an `OSError`. What is there and no regular
    file, such as a device, is refused, as a file would take its place.
    """
    refuse_special(path)
    temporary = path.parent / f"{_unfinished(path)}{os.getpid()}-{secrets.token_hex(4)}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.replace(temporary, path)
        if durable:
            _fsync_folder(path.parent)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def refuse_special(path: Path) -> None:
    """Raise `OutputError` where there is a folder, a device or a pipe, or where it cannot be told."""
    try:
        if path.exists() and not path.is_file():
            what = "is a folder" if path.is_dir() else "is not a regular file"
            raise OutputError(f"{path}: cannot be written ({what}); name another one")
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error


def resolve_link(path: Path) -> Path:
    """Return where a file is that a user names to be written, which for a link is where it leads to.

    What is no regular file is refused.
    """
    refuse_special(path)
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write ``data`` by way of `atomic_file`; text is written as UTF-8."""
    payload = data.encode("utf-8") if isinstance(data, str) else data
    with atomic_file(path) as file:
        file.write(payload)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON; NaN and infinities are refused, as JSON has none."""
    write_atomic(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside ``path`` that takes its place when the block ends well, and vanishes when not.

    At every moment the old or the new folder is complete: at ``path`` or, if the process is killed where the system
    cannot exchange two folders in one step, at a place from which `restore_folder` puts it back.
    """
    temporary = path.parent / f"{TEMPORARY}{os.getpid()}-{secrets.token_hex(4)}"
    try:
        restore_folder(path)
        temporary.mkdir(parents=True)
        yield temporary
        _put_in_place(temporary, path)
        _fsync_folder(path.parent)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        _remove(temporary)


def restore_folder(path: Path) -> None:
    """Put back the folder ``path`` if a process was killed while it replaced it; call it before looking for it."""
    with contextlib.suppress(OSError):  # such as a folder that may only be read
        if not os.path.lexists(path):
            os.rename(_set_aside(path), path)


def _put_in_place(new: Path, path: Path) -> None:
    """Rename ``new`` to ``path``; the old folder, if any, is gone then or has the name ``new``."""
    if not os.path.lexists(path):
        os.rename(new, path)
    elif not _exchange(new, path):
        aside = _set_aside(path)
        _remove(aside)
        try:
            os.rename(path, aside)
            os.rename(new, path)
        finally:  # an error or a signal may have come between the two
            restore_folder(path)
            if os.path.lexists(path):
                _remove(aside)


def _exchange(a: Path, b: Path) -> bool:
    """Exchange two folders in one step; False, with nothing changed, where the system or its file system cannot."""
    try:
        import ctypes

        renameat2 = ctypes.CDLL(None).renameat2
    except (ImportError, OSError, TypeError, AttributeError):  # not Linux, or an old C library
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return renameat2(here, os.fsencode(a), here, os.fsencode(b), exchange) == 0


def _set_aside(path: Path) -> Path:
    """Where the old folder is while another takes its place; not a temporary, as it may be the only complete one."""
    return path.parent / f".old-{_short_digest(path)}"


def remove_temporaries(folder: Path) -> None:
    """Remove what dead runs left in ``folder``; call it only while holding the folder's lock."""
    for leftover in folder.rglob(f"{TEMPORARY}*"):
        _remove(leftover)


def _remove(path: Path) -> None:
    """Remove a file or folder as far as that is possible."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def remove_unfinished(path: Path) -> None:
    """Remove what dead runs left of writing the file ``path``; call it only while nobody else writes it."""
    with contextlib.suppress(OSError):
        for leftover in path.parent.glob(f"{_unfinished(path)}*"):
            leftover.unlink(missing_ok=True)


def _unfinished(path: Path) -> str:
    """How the names of temporary files begin that are to become ``path``, however long its own name is."""
    return f"{TEMPORARY}{_short_digest(path)}-"


def _short_digest(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path.name)).hexdigest()[:8]


def read_fully(file: RawIOBase, n_bytes: int) -> bytes:
    """Return ``n_bytes`` of an unbuffered file, fewer only at its end: Linux gives at most 2 GiB at a time."""
    data = file.read(n_bytes) or b""
    while len(data) < n_bytes and (more := file.read(n_bytes - len(data))):
        data += more
    return data


def sha256_of(path: Path, *, watch: Callable[[int], None] | None = None) -> str:
    """Return the hexadecimal SHA-256 of a file's bytes; ``watch`` is told after every mebibyte how many were read."""
    with open(path, "rb", buffering=0) as file:
        if watch is None:
            return hashlib.file_digest(file, "sha256").hexdigest()
        digest, memory, n_read = hashlib.sha256(), memoryview(bytearray(1 << 20)), 0
        while n := file.readinto(memory):
            digest.update(memory[:n])
            watch(n_read := n_read + n)
        return digest.hexdigest()


def digest_of(value: Any) -> str:
    """Return the hexadecimal SHA-256 of a JSON-able value in its canonical form (sorted keys, no spaces)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Hold ``folder`` for one process; raise `BusyError` at once, naming the holder, if another one has it.

    The lock is the operating system's, so it ends with the process however that ends.
    """
    try:
        import fcntl
    except ImportError:  # Windows: two runs in one folder are then the user's to avoid
        yield
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = open(folder / ".lock", "ab+", buffering=0)  # noqa: SIM115 - closed below, after the lock
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror or error})") from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            handle.truncate(0)
            handle.write(f"process {os.getpid()}".encode())
        except BlockingIOError:
            handle.seek(0)
            holder = handle.read().decode("utf-8", "replace").strip() or "another process"
            raise BusyError(f"{folder}: in use by {holder}; wait for it to end, or stop it") from None
        except OSError as error:
            raise OutputError(f"{folder}: cannot be locked ({error.strerror or error})") from error
        os.register_at_fork(after_in_child=handle.close)  # or a worker that outlives this process would keep the lock
        yield


def is_inside(path: Path, folder: Path) -> bool:
    """Whether ``path`` is ``folder`` or is below it, with links followed."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def _fsync_folder(folder: Path) -> None:
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
