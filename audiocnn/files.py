"""Atomic writing, hashing and locking of files and folders."""

import contextlib
import functools
import hashlib
import json
import os
import secrets
import shutil
import unicodedata
from collections.abc import Callable, Iterator
from io import RawIOBase
from pathlib import Path
from typing import Any, BinaryIO

from audiocnn.errors import BusyError, OutputError

TEMPORARY = ".tmp-"  # prefix of temporary files and folders, which never count as data


@contextlib.contextmanager
def atomic_file(path: Path, *, durable: bool = True) -> Iterator[BinaryIO]:
    """Yield an empty binary file that replaces ``path`` when the block succeeds, and is removed if it raises.

    At any time ``path`` has either its old content or all of the new one, even after a power failure: temporary file in
    the same folder, flush, fsync, rename, fsync of the folder. ``durable=False`` leaves out the fsyncs. Raises
    `OutputError` if ``path`` is something else than a regular file, such as a device, and in place of any `OSError`.
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
    """Raise `OutputError` if ``path`` is a folder, a device or a pipe, or cannot be checked."""
    try:
        if path.exists() and not path.is_file():
            kind = "is a folder" if path.is_dir() else "is not a regular file"
            raise OutputError(f"{path}: cannot be written ({kind}); name another one")
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error


def resolve_link(path: Path) -> Path:
    """Return the target of an output path that is a symbolic link, else the path itself.

    Raises `OutputError` for anything but a regular file.
    """
    refuse_special(path)
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def is_inside(path: Path, folder: Path) -> bool:
    """Return whether ``path`` is ``folder`` or below it; links are followed."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def match_unicode_form(path: Path) -> Path:
    """Return the existing path whose names differ from those of ``path`` in Unicode form only, such as NFC and NFD.

    Some systems change the form when files are copied. Return ``path`` if it exists, or if there is none.
    """
    if os.fspath(path).isascii() or os.path.lexists(path):
        return path
    same = match_unicode_form(path.parent) / path.name
    if os.path.lexists(same):
        return same
    with contextlib.suppress(OSError, ValueError, KeyError):  # ValueError: a zero byte
        names = _names_by_form(same.parent, os.stat(same.parent).st_mtime_ns)
        return same.parent / names[unicodedata.normalize("NFC", path.name)]
    return path


@functools.lru_cache(maxsize=64)  # recordings share folders; a new modification time lists a folder again
def _names_by_form(folder: Path, _changed_ns: int) -> dict[str, str]:
    return {unicodedata.normalize("NFC", name): name for name in sorted(os.listdir(folder), reverse=True)}


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write ``data`` with `atomic_file`; text is encoded as UTF-8."""
    payload = data.encode("utf-8") if isinstance(data, str) else data
    with atomic_file(path) as file:
        file.write(payload)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON; raise `ValueError` for NaN and infinities, which JSON lacks."""
    write_atomic(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder next to ``path`` that replaces it when the block succeeds, and is removed if it raises.

    At any time the old or the new folder is complete at ``path``. There is one exception: if the system cannot exchange
    two folders in one step and the process is killed between two renames, `restore_folder` moves the old one back.
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
    """Move the folder ``path`` back if a process was killed while replacing it; call it before reading the folder."""
    with contextlib.suppress(OSError):  # such as a read-only parent folder
        if not os.path.lexists(path):
            os.rename(_set_aside(path), path)


def _put_in_place(new: Path, path: Path) -> None:
    """Rename ``new`` to ``path``; afterwards the old folder, if any, is removed or has the name ``new``."""
    if not os.path.lexists(path):
        os.rename(new, path)
    elif not _exchange(new, path):
        aside = _set_aside(path)
        _remove(aside)
        try:
            os.rename(path, aside)
            os.rename(new, path)
        finally:  # an error or a signal may have interrupted the two renames
            restore_folder(path)
            if os.path.lexists(path):
                _remove(aside)


def _exchange(a: Path, b: Path) -> bool:
    """Exchange two folders in one step; return False, with nothing changed, if the system cannot do that."""
    try:
        import ctypes

        renameat2 = ctypes.CDLL(None).renameat2
    except (ImportError, OSError, TypeError, AttributeError):  # not Linux, or an old C library
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return renameat2(here, os.fsencode(a), here, os.fsencode(b), exchange) == 0


def _set_aside(path: Path) -> Path:
    """Path of the old folder during two renames; not a `TEMPORARY` name, as it may be the only complete folder."""
    return path.parent / f".old-{_short_digest(path)}"


def remove_temporaries(folder: Path) -> None:
    """Remove temporary files of killed runs below ``folder``; call it only while holding the folder's lock."""
    for leftover in folder.rglob(f"{TEMPORARY}*"):
        _remove(leftover)


def _remove(path: Path) -> None:
    """Remove a file or folder, ignoring errors."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def remove_unfinished(path: Path) -> None:
    """Remove temporary files that killed runs left of ``path``; call it only if no other process writes ``path``."""
    with contextlib.suppress(OSError):
        for leftover in path.parent.glob(f"{_unfinished(path)}*"):
            leftover.unlink(missing_ok=True)


def _unfinished(path: Path) -> str:
    """Prefix of the temporary files of ``path``, short even if its own name is long."""
    return f"{TEMPORARY}{_short_digest(path)}-"


def _short_digest(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path.name)).hexdigest()[:8]


def read_fully(file: RawIOBase, n_bytes: int) -> bytes:
    """Return ``n_bytes`` of an unbuffered file, fewer only at its end. (One read on Linux returns at most 2 GiB.)"""
    data = file.read(n_bytes) or b""
    while len(data) < n_bytes and (more := file.read(n_bytes - len(data))):
        data += more
    return data


def size_and_mtime(file: Path) -> tuple[int, int] | None:
    """Return size and modification time, which change when a file is written to; None if there is no file."""
    try:
        stat = file.stat()
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns


def sha256_of(path: Path, *, watch: Callable[[int], None] | None = None) -> str:
    """Return the hexadecimal SHA-256 of a file; ``watch`` is called after every MiB with the number of bytes read."""
    with open(path, "rb", buffering=0) as file:
        if watch is None:
            return hashlib.file_digest(file, "sha256").hexdigest()
        digest, memory, n_read = hashlib.sha256(), memoryview(bytearray(1 << 20)), 0
        while n := file.readinto(memory):
            digest.update(memory[:n])
            watch(n_read := n_read + n)
        return digest.hexdigest()


def digest_of(value: Any) -> str:
    """Return the hexadecimal SHA-256 of a value as canonical JSON (sorted keys, no spaces)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Lock ``folder`` for this process during the block; raise `BusyError` at once if another process holds the lock.

    It is a lock of the operating system, so it ends with the process, even if that is killed.
    """
    try:
        import fcntl
    except ImportError:  # Windows: the user must avoid two runs in one folder
        yield
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = open(folder / ".lock", "ab+", buffering=0)  # noqa: SIM115 - the block below closes it
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
        os.register_at_fork(after_in_child=handle.close)  # else a worker that outlives this process keeps the lock
        yield


def _fsync_folder(folder: Path) -> None:
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
