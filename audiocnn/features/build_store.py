"""A store filled with the features of every recording of a manifest, with an account of each of them."""

import csv
import io
import json
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from audiocnn.audio import cluster, workers
from audiocnn.dataset.manifest import Recording
from audiocnn.errors import AudioError, IntegrityError, NotReadyError
from audiocnn.features import augment, frontend
from audiocnn.features.analyze import RecordingStatus, Status, analyze
from audiocnn.features.frontend import Frontend
from audiocnn.features.store import FeatureStore, StoredFrames
from audiocnn.files import remove_temporaries, sha256_of, write_atomic
from audiocnn.progress import Progress
from audiocnn.specs import FeatureSpec
from audiocnn.text import printable, safe_cell


def featurize_files(
    files: Sequence[tuple[Path, str | None]],
    store: FeatureStore,
    *,
    frontend: Frontend,
    jobs: int,
    scheduler: str | None = None,
) -> Iterator[tuple[int, RecordingStatus, bool]]:
    """Yield (index, account, whether it was computed now) of every file as it is ready.

    ``files`` come with the SHA-256 that they should have, where that is known. What can be used is in the store then,
    along with silent recordings. Where there is a ``scheduler``, its workers do it and not ``jobs`` processes here.
    """
    tasks = [(file, (expected, store, frontend)) for file, expected in files]
    if scheduler is None:
        heard = workers.map_files(featurize_file, tasks, jobs=jobs)
    else:
        heard = cluster.map_files(featurize_file, tasks, scheduler=scheduler, folder=store.folder)
    for done in heard:
        if isinstance(done.result, AudioError):
            yield done.index, RecordingStatus.from_error(done.result, sha256_or_empty(files[done.index][0])), True
        else:
            yield done.index, *done.result


def featurize_augmented_files(
    files: Sequence[tuple[Path, str, int]],
    store: FeatureStore,
    *,
    frontend: Frontend,
    jobs: int,
    scheduler: str | None = None,
) -> Iterator[RecordingStatus]:
    """Yield the account of every copy as it is ready, which is in the store then unless it is unreadable.

    ``files`` come with their SHA-256 and the number of the copy, from 1 on.
    """
    tasks = [(file, (sha256, number, store, frontend)) for file, sha256, number in files]
    if scheduler is None:
        heard = workers.map_files(featurize_augmented_file, tasks, jobs=jobs)
    else:
        heard = cluster.map_files(featurize_augmented_file, tasks, scheduler=scheduler, folder=store.folder)
    for done in heard:
        if isinstance(done.result, AudioError):
            yield RecordingStatus.from_error(done.result, files[done.index][1])
        else:
            yield done.result


def analyze_files(
    files: Sequence[Path],
    *,
    spec: FeatureSpec,
    frontend: Frontend,
    jobs: int,
    expected: Sequence[str | None] | None = None,
) -> Generator[tuple[int, RecordingStatus, StoredFrames], None, None]:
    """Yield (index, account, frames) of every file as it is ready; the frames are gone when the next one is asked for.

    They lie in a temporary folder until then, since they may be larger than memory. ``expected`` is the SHA-256 that
    each file should have, None where it is not known.
    """
    with tempfile.TemporaryDirectory(prefix="audiocnn-", ignore_cleanup_errors=True) as scratch:
        stores = [FeatureStore(Path(scratch, str(index)), spec, durable=False) for index in range(len(files))]
        digests = expected or [None] * len(files)
        tasks = [(file, (sha256, store, frontend)) for file, sha256, store in zip(files, digests, stores, strict=True)]
        for done in workers.map_files(featurize_file, tasks, jobs=jobs):
            store = stores[done.index]
            if isinstance(done.result, AudioError):
                account = RecordingStatus.from_error(done.result, sha256_or_empty(files[done.index]))
            else:
                account, _ = done.result
            yield done.index, account, store.frames(account)
            shutil.rmtree(store.folder.parent, ignore_errors=True)


def featurize_file(
    file: Path, expected: str | None, store: FeatureStore, frontend: Frontend
) -> tuple[RecordingStatus, bool]:
    """Runs in a worker: account for one recording, which is in the store afterwards if it can be used."""
    store.check_versions()
    before = size_and_mtime(file)
    digest = sha256_or_empty(file)
    if expected is not None and digest and digest != expected:
        changed = AudioError("changed", "its content is not what the manifest's sha256 says")
        return RecordingStatus.from_error(changed, digest), False
    if not digest:  # decoding says why
        account = analyze(file, spec=store.spec, frontend=frontend, keep=lambda frames: None)
        unstable = AudioError("unreadable", "could not be read at first")
        return RecordingStatus.from_error(unstable) if account.status != "unreadable" else account, True
    if (known := store.account(digest)) is not None:
        return known, False
    with store.writer(digest) as writer:
        account = analyze(file, spec=store.spec, frontend=frontend, keep=writer.append, sha256=digest)
        if size_and_mtime(file) != before:
            account = RecordingStatus.from_error(AudioError("changed", "was written to while it was read"))
        if account.status != "unreadable":
            writer.finish(account)
    return account, True


def featurize_augmented_file(
    file: Path, sha256: str, number: int, store: FeatureStore, frontend: Frontend
) -> RecordingStatus:
    """Runs in a worker: account for one copy of a recording, which is in the store afterwards unless unreadable."""
    store.check_versions()
    before = size_and_mtime(file)
    if sha256_or_empty(file) != sha256:
        return RecordingStatus.from_error(AudioError("changed", "is not what it was when it was heard first"), sha256)
    alteration = augment.draw_augmentation(store.spec.copies[number - 1], sha256, number)
    with store.writer(sha256, number) as writer:
        account = analyze(
            file, spec=store.spec, frontend=frontend, keep=writer.append, sha256=sha256, alteration=alteration
        )
        if size_and_mtime(file) != before:
            account = RecordingStatus.from_error(AudioError("changed", "was written to while it was read"), sha256)
        if account.status != "unreadable":
            writer.finish(account)
    return account


def size_and_mtime(file: Path) -> tuple[int, int] | None:
    """What changes when a file is written to; None if there is no file."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def sha256_or_empty(file: Path, *, watch: Callable[[int], None] | None = None) -> str:
    """SHA-256 of a regular file, or an empty text where there is none to read; ``watch`` is for `sha256_of`."""
    try:
        return sha256_of(file, watch=watch or (lambda _: workers.heartbeat())) if file.is_file() else ""
    except OSError:
        return ""


_COLUMNS = (
    "path", "status", "reason", "detail", "sha256", "duration_s", "analysed_s", "sample_rate", "channels", "n_frames",
)  # fmt: skip
_OF_FEATURES = ("silent", "beyond_end")  # codes of recordings that were decoded well


def write_catalog(store: FeatureStore, accounts: Mapping[str, RecordingStatus]) -> None:
    """Write ``recordings.csv`` of a store: one row a recording, sorted by path."""
    rows = [
        (
            path, a.status, a.reason, safe_cell(a.detail), a.sha256, repr(a.duration_s), repr(a.analysed_s),
            a.sample_rate, a.n_channels, a.n_frames,
        )
        for path, a in sorted(accounts.items())
    ]  # fmt: skip
    write_atomic(_catalog_file(store), _catalog_csv(_COLUMNS, rows))


def read_catalog(
    store: FeatureStore, paths: Sequence[str], *, current: FeatureSpec | None = None
) -> dict[str, RecordingStatus]:
    """Return the accounts of these recordings; raise `NotReadyError` if the store has no features of one of them.

    ``current`` are the features that ``audiocnn.yaml`` sets, for the message: ``featurize`` fills no other store.
    """
    accounts = read_stored(store)
    if accounts is None:
        remedy = _remedy(store.spec, current) or "run 'audiocnn featurize' first"
        raise NotReadyError(f"no features with these settings in {store.folder.parent}; {remedy}")
    missing = [path for path in paths if path not in accounts]
    if missing:
        remedy = _remedy(store.spec, current) or "run 'audiocnn featurize' again"
        raise NotReadyError(f"{missing[0]} (one of {len(missing)}) has no features; {remedy}")
    return {path: accounts[path] for path in paths}


def read_stored(store: FeatureStore) -> dict[str, RecordingStatus] | None:
    """Return the accounts of all recordings of which the store still has the features; None before the first."""
    file = _catalog_file(store)
    if not file.is_file():
        return None
    status: dict[str, Status] = {"ok": "ok", "silent": "silent", "unreadable": "unreadable"}
    try:
        with open(file, encoding="utf-8", newline="") as lines:
            accounts = {
                row["path"]: RecordingStatus(
                    status=status[row["status"]],
                    codes=tuple(row["reason"].split(";")) if row["reason"] else (),
                    detail=row["detail"],
                    sha256=row["sha256"],
                    duration_s=float(row["duration_s"]),
                    analysed_s=float(row["analysed_s"]),
                    sample_rate=int(row["sample_rate"]),
                    n_channels=int(row["channels"]),
                    n_frames=int(row["n_frames"]),
                )
                for row in csv.DictReader(lines)
            }
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise IntegrityError(f"{file}: damaged ({error}); delete it and run 'audiocnn featurize' again") from error
    return {path: a for path, a in accounts.items() if a.status != "ok" or store.file(a.sha256).is_file()}


def _remedy(spec: FeatureSpec, current: FeatureSpec | None) -> str:
    """What to do for features that ``featurize`` does not compute, as ``audiocnn.yaml`` sets others; else empty."""
    if current is None or current == spec:
        return ""
    wanted, there = spec.model_dump(mode="json"), current.model_dump(mode="json")
    differing = [f"{name}: {json.dumps(value)}" for name, value in wanted.items() if value != there[name]]
    return f"set features back to {', '.join(differing)} and run 'audiocnn featurize', or train a new model"


def write_quarantine(file: Path, accounts: Iterable[tuple[str, RecordingStatus]]) -> None:
    """Write ``quarantine.csv``: path, sha256, code, reason and stage of everything that cannot be used."""
    rows = sorted(
        (path, a.sha256, a.codes[0], safe_cell(a.detail), "features" if a.codes[0] in _OF_FEATURES else "decode")
        for path, a in accounts
        if a.status != "ok"
    )
    write_atomic(file, _catalog_csv(("path", "sha256", "code", "reason", "stage"), rows))


def _catalog_file(store: FeatureStore) -> Path:
    return store.folder / "recordings.csv"


def _catalog_csv(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return out.getvalue()


@dataclass(frozen=True)
class BuildResult:
    """The account of every file by path, how many of them were computed now, and stretches that lie in none."""

    accounts: Mapping[str, RecordingStatus]
    beyond: Sequence[tuple[str, RecordingStatus]]
    n_computed: int


def build(
    recordings: Sequence[Recording],
    store: FeatureStore,
    *,
    root: Path,
    jobs: int,
    progress: Progress,
    quarantine: Path | None = None,
    scheduler: str | None = None,
    title: str = "featurize",
) -> BuildResult:
    """Compute what is not in the store, copies too, and write its catalog; the caller holds the lock of the project.

    ``quarantine`` is a CSV of everything that cannot be used, written however this ends. The work is done in ``jobs``
    processes, or by the Dask cluster of ``scheduler``.
    """
    files = list({recording.path: recording for recording in recordings}.values())  # one of every file's stretches
    constants = frontend.make(store.spec)
    accounts: dict[str, RecordingStatus] = {}
    beyond: list[tuple[str, RecordingStatus]] = []
    n_computed = 0
    remove_temporaries(store.folder.parent)
    try:
        with progress.task(title, total=len(files), unit="recordings") as advance:
            tasks = [(recording.file(root), recording.sha256) for recording in files]
            heard = featurize_files(tasks, store, frontend=constants, jobs=jobs, scheduler=scheduler)
            for index, account, computed in heard:
                accounts[files[index].path] = account
                n_computed += computed
                advance()
        for recording in recordings:
            if (account := accounts[recording.path]).status == "ok":
                for_stretch = account.for_stretch(recording.stretch, store.spec)
                beyond += [(recording.path, for_stretch)] if for_stretch.status != "ok" else []
        used = {accounts[r.path].sha256: r.file(root) for r in files if accounts[r.path].status == "ok"}
        _add_copies(used, store, frontend=constants, jobs=jobs, scheduler=scheduler, progress=progress)
    finally:
        remove_temporaries(store.folder.parent)  # of decoders that crashed or were stopped
        if quarantine is not None:
            write_quarantine(quarantine, [*accounts.items(), *beyond])
    write_catalog(store, accounts)
    return BuildResult(accounts, beyond, n_computed)


def _add_copies(
    files: Mapping[str, Path],
    store: FeatureStore,
    *,
    frontend: Frontend,
    jobs: int,
    scheduler: str | None,
    progress: Progress,
) -> None:
    """Make what copies of these files, by SHA-256, are not in the store; what cannot be made is told and left out."""
    numbers = range(1, len(store.spec.copies) + 1)
    wanted = [(path, sha256, n) for sha256, path in files.items() for n in numbers if store.account(sha256, n) is None]
    if not wanted:
        return
    failed = []
    with progress.task("copies", total=len(wanted), unit="copies") as advance:
        for account in featurize_augmented_files(wanted, store, frontend=frontend, jobs=jobs, scheduler=scheduler):
            failed += [account] if account.status == "unreadable" else []
            advance()
    if failed:
        path = printable(str(files[failed[0].sha256]))
        progress.warn(f"{len(failed)} of {len(wanted)} copies could not be made: {path}: {failed[0].detail}")
