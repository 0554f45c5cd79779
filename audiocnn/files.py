"""The one way files are written (whole or not at all), hashed, and kept from being written by two runs at once."""

import contextlib
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from audiocnn.errors import BusyError, OutputError

TEMPORARY = ".tmp-"  # prefix of files and folders that never count as data


@contextlib.contextmanager
def written_whole(path: Path, *, durable: bool = True) -> Iterator[BinaryIO]:
    """Yield an empty binary file that takes the place of ``path`` when the block ends well, and vanishes when not.

    ``path`` holds either its old content or all of the new one, even after a power cut: temporary file in the same
    folder, flush, fsync, rename, fsync of the folder. Not ``durable`` leaves the fsyncs out. Raises `OutputError`
    naming the path; what else is raised in the block is passed on, but for an `OSError`.
    """
    temporary = path.parent / f"{TEMPORARY}{os.getpid()}-{secrets.token_hex(4)}"
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


def sha256_of(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
