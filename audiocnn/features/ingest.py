"""Many recordings heard in worker processes, which write what they hear into a store themselves."""

import shutil
import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path

from audiocnn.audio import cluster, isolate
from audiocnn.errors import AudioError
from audiocnn.features import alter
from audiocnn.features.frontend import Frontend
from audiocnn.features.listen import Account, listen
from audiocnn.features.store import FeatureStore, StoredFrames
from audiocnn.files import sha256_of
from audiocnn.specs import FeatureSpec


def ingest(
    files: Sequence[tuple[Path, str | None]],
    store: FeatureStore,
    *,
    frontend: Frontend,
    jobs: int,
    scheduler: str | None = None,
) -> Iterator[tuple[int, Account, bool]]:
    """Yield (index, account, whether it was computed now) of every file as it is ready.

    ``files`` come with the SHA-256 that they should have, where that is known. What can be used is in the store then,
    along with silent recordings. Where there is a ``scheduler``, its workers do it and not ``jobs`` processes here.
    """
    tasks = [(file, (expected, store, frontend)) for file, expected in files]
    if scheduler is None:
        heard = isolate.map_files(hear_into, tasks, jobs=jobs)
    else:
        heard = cluster.map_files(hear_into, tasks, scheduler=scheduler, folder=store.folder)
    for done in heard:
        if isinstance(done.result, AudioError):
            yield done.index, Account.of_failure(done.result, digest_if_readable(files[done.index][0])), True
        else:
            yield done.index, *done.result


def ingest_copies(
    files: Sequence[tuple[Path, str, int]],
    store: FeatureStore,
    *,
    frontend: Frontend,
    jobs: int,
    scheduler: str | None = None,
) -> Iterator[Account]:
    """Yield the account of every copy as it is ready, which is in the store then unless it is unreadable.

    ``files`` come with their SHA-256 and the number of the copy, from 1 on.
    """
    tasks = [(file, (sha256, number, store, frontend)) for file, sha256, number in files]
    if scheduler is None:
        heard = isolate.map_files(copy_into, tasks, jobs=jobs)
    else:
        heard = cluster.map_files(copy_into, tasks, scheduler=scheduler, folder=store.folder)
    for done in heard:
        if isinstance(done.result, AudioError):
            yield Account.of_failure(done.result, files[done.index][1])
        else:
            yield done.result


def listen_all(
    files: Sequence[Path],
    *,
    spec: FeatureSpec,
    frontend: Frontend,
    jobs: int,
    expected: Sequence[str | None] | None = None,
) -> Generator[tuple[int, Account, StoredFrames], None, None]:
    """Yield (index, account, frames) of every file as it is ready; the frames are gone when the next one is asked for.

    They lie in a temporary folder until then, since they may be larger than memory. ``expected`` is the SHA-256 that
    each file should have, None where it is not known.
    """
    with tempfile.TemporaryDirectory(prefix="audiocnn-", ignore_cleanup_errors=True) as scratch:
        stores = [FeatureStore(Path(scratch, str(index)), spec, durable=False) for index in range(len(files))]
        digests = expected or [None] * len(files)
        tasks = [(file, (sha256, store, frontend)) for file, sha256, store in zip(files, digests, stores, strict=True)]
        for done in isolate.map_files(hear_into, tasks, jobs=jobs):
            store = stores[done.index]
            if isinstance(done.result, AudioError):
                account = Account.of_failure(done.result, digest_if_readable(files[done.index]))
            else:
                account, _ = done.result
            yield done.index, account, store.frames(account)
            shutil.rmtree(store.folder.parent, ignore_errors=True)


def hear_into(file: Path, expected: str | None, store: FeatureStore, frontend: Frontend) -> tuple[Account, bool]:
    """Runs in a worker: account for one recording, which is in the store afterwards if it can be used."""
    store.check_versions()
    before = stamp(file)
    digest = digest_if_readable(file)
    if expected is not None and digest and digest != expected:
        changed = AudioError("changed", "its content is not what the manifest's sha256 says")
        return Account.of_failure(changed, digest), False
    if not digest:  # decoding says why
        account = listen(file, spec=store.spec, frontend=frontend, keep=lambda frames: None)
        unstable = AudioError("unreadable", "could not be read at first")
        return Account.of_failure(unstable) if account.status != "unreadable" else account, True
    if (known := store.account(digest)) is not None:
        return known, False
    with store.writer(digest) as writer:
        account = listen(file, spec=store.spec, frontend=frontend, keep=writer.append, sha256=digest)
        if stamp(file) != before:
            account = Account.of_failure(AudioError("changed", "was written to while it was read"))
        if account.status != "unreadable":
            writer.finish(account)
    return account, True


def copy_into(file: Path, sha256: str, number: int, store: FeatureStore, frontend: Frontend) -> Account:
    """Runs in a worker: account for one copy of a recording, which is in the store afterwards unless unreadable."""
    store.check_versions()
    before = stamp(file)
    if digest_if_readable(file) != sha256:
        return Account.of_failure(AudioError("changed", "is not what it was when it was heard first"), sha256)
    alteration = alter.draw(store.spec.copies[number - 1], sha256, number)
    with store.writer(sha256, number) as writer:
        account = listen(
            file, spec=store.spec, frontend=frontend, keep=writer.append, sha256=sha256, alteration=alteration
        )
        if stamp(file) != before:
            account = Account.of_failure(AudioError("changed", "was written to while it was read"), sha256)
        if account.status != "unreadable":
            writer.finish(account)
    return account


def stamp(file: Path) -> tuple[int, int] | None:
    """What changes when a file is written to; None if there is no file."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def digest_if_readable(file: Path, *, watch: Callable[[int], None] | None = None) -> str:
    """SHA-256 of a regular file, or an empty text where there is none to read; ``watch`` is for `sha256_of`."""
    try:
        return sha256_of(file, watch=watch or (lambda _: isolate.heartbeat())) if file.is_file() else ""
    except OSError:
        return ""
