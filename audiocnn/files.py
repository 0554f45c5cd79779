"""The one way files are written (whole or not at all), hashed, and kept from being written by two runs at once."""

import contextlib
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from audiocnn.errors import BusyError, OutputError

TEMPORARY = ".tmp-"  # prefix of files and folders that never count as data


@contextlib.contextmanager
def written_whole(path: Path, *, durable: bool = True) -> Iterator[BinaryIO]:
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


def behind_link(path: Path) -> Path:
    """Return where a file is that a user names to be written, which for a link is where it leads to.

    What is no regular file is refused.
    """
    refuse_special(path)
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write ``data`` by way of `written_whole`; text is written as UTF-8."""
    payload = data.encode("utf-8") if isinstance(data, str) else data
    with written_whole(path) as file:
        file.write(payload)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON; NaN and infinities are refused, as JSON has none."""
    write_atomic(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


@contextlib.contextmanager
def folder_written_whole(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside ``path`` that takes its place when the block ends well, and vanishes when not."""
    temporary = path.parent / f"{TEMPORARY}{os.getpid()}-{secrets.token_hex(4)}"
    retired = path.parent / f"{TEMPORARY}{os.getpid()}-{secrets.token_hex(4)}"
    try:
        temporary.mkdir(parents=True)
        yield temporary
        if path.exists():
            os.rename(path, retired)
        os.rename(temporary, path)
        _fsync_folder(path.parent)
    except OSError as error:
        if retired.exists() and not path.exists():
            os.rename(retired, path)
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(retired, ignore_errors=True)


def sweep_temporaries(folder: Path) -> None:
    """Remove what dead runs left in ``folder``; call it only while holding the folder's lock."""
    for leftover in folder.rglob(f"{TEMPORARY}*"):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def sweep_unfinished(path: Path) -> None:
    """Remove what dead runs left of writing the file ``path``; call it only while nobody else writes it."""
    with contextlib.suppress(OSError):
        for leftover in path.parent.glob(f"{_unfinished(path)}*"):
            leftover.unlink(missing_ok=True)


def _unfinished(path: Path) -> str:
    """How the names of temporary files begin that are to become ``path``, however long its own name is."""
    return f"{TEMPORARY}{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:8]}-"


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


def _fsync_folder(folder: Path) -> None:
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
