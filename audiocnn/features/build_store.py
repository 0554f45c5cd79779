"""Fill feature stores with every recording of a manifest, and write the table of their statuses."""

import contextlib
import csv
import io
import json
import shutil
import tempfile
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from audiocnn.audio import cluster, workers
from audiocnn.dataset.manifest import Recording
from audiocnn.errors import AudioError, IntegrityError, NotReadyError
from audiocnn.features import augment, frontend
from audiocnn.features.analyze import FramesWanted, RecordingStatus, Status, analyze, analyze_together
from audiocnn.features.frontend import Frontend
from audiocnn.features.store import FeatureStore, StoredFrames
from audiocnn.files import remove_temporaries, size_and_mtime, write_atomic
from audiocnn.progress import Progress
from audiocnn.specs import FeatureSpec
from audiocnn.text import printable, safe_cell

_COLUMNS = (
    "path", "status", "reason", "detail", "sha256", "duration_s", "analysed_s", "sample_rate", "channels", "n_frames",
)  # fmt: skip
_OF_FEATURES = ("silent", "beyond_end")  # codes of recordings that were decoded without error


@dataclass(frozen=True)
class BuildResult:
    """The status of every file by path, the stretches beyond the end of their file, and the number of new files."""

    statuses: Mapping[str, RecordingStatus]
    beyond_end: Sequence[tuple[str, RecordingStatus]]
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
    """Compute what the store lacks, with augmented versions, and write its catalog; the caller holds the project lock.

    ``quarantine`` is the CSV file of unusable recordings, written even if this function raises. ``jobs`` processes do
    the work, or the workers of a Dask ``scheduler``.
    """
    return build_together(
        recordings, [store], root=root, jobs=jobs, progress=progress, quarantine=quarantine, scheduler=scheduler,
        title=title,
    )[0]  # fmt: skip


def build_together(
    recordings: Sequence[Recording],
    stores: Sequence[FeatureStore],
    *,
    root: Path,
    jobs: int,
    progress: Progress,
    quarantine: Path | None = None,
    scheduler: str | None = None,
    title: str = "featurize",
) -> list[BuildResult]:
    """Compute what several stores lack, as `build` does, from one pass over each file; their channels must be equal.

    ``quarantine`` is that of the first store.
    """
    files = list({recording.path: recording for recording in recordings}.values())  # one recording per file
    kinds = [(store, frontend.make(store.spec)) for store in stores]
    statuses: list[dict[str, RecordingStatus]] = [{} for _ in stores]
    beyond_end: list[list[tuple[str, RecordingStatus]]] = [[] for _ in stores]
    n_computed = [0] * len(stores)
    _remove_temporaries(stores)
    try:
        with progress.task(title, total=len(files), unit="recordings") as advance:
            tasks = [(recording.file(root), recording.sha256) for recording in files]
            for index, done in featurize_files(tasks, kinds, jobs=jobs, scheduler=scheduler):
                for k, (status, computed) in enumerate(done):
                    statuses[k][files[index].path] = status
                    n_computed[k] += computed
                advance()
        for store, of_store, beyond in zip(stores, statuses, beyond_end, strict=True):
            for recording in recordings:
                if (status := of_store[recording.path]).status == "ok":
                    of_stretch = status.for_stretch(recording.stretch, store.spec)
                    beyond += [(recording.path, of_stretch)] if of_stretch.status != "ok" else []
        for kind, of_store in zip(kinds, statuses, strict=True):
            used = {of_store[r.path].sha256: r.file(root) for r in files if of_store[r.path].status == "ok"}
            _add_augmented_versions(used, *kind, jobs=jobs, scheduler=scheduler, progress=progress)
    finally:
        _remove_temporaries(stores)  # left by decoders that crashed or were stopped
        if quarantine is not None:
            write_quarantine(quarantine, [*statuses[0].items(), *beyond_end[0]])
    for store, of_store in zip(stores, statuses, strict=True):
        write_catalog(store, of_store)
    return [BuildResult(*one) for one in zip(statuses, beyond_end, n_computed, strict=True)]


def analyze_files(
    files: Sequence[Path],
    *,
    spec: FeatureSpec,
    frontend: Frontend,
    jobs: int,
    expected: Sequence[str | None] | None = None,
) -> Generator[tuple[int, RecordingStatus, StoredFrames], None, None]:
    """Yield (index, status, frames) of every file, in the order in which they are ready.

    The frames are in a temporary folder, as they may be larger than memory. They are deleted when the next item is
    requested. ``expected`` holds the SHA-256 that each file should have, or None.
    """
    for index, ((status, frames),) in analyze_files_together(files, [(spec, frontend)], jobs=jobs, expected=expected):
        yield index, status, frames


def analyze_files_together(
    files: Sequence[Path],
    kinds: Sequence[tuple[FeatureSpec, Frontend]],
    *,
    jobs: int,
    expected: Sequence[str | None] | None = None,
) -> Generator[tuple[int, list[tuple[RecordingStatus, StoredFrames]]], None, None]:
    """Yield the index of every file, and its status and frames of each kind, as `analyze_files` does."""
    with tempfile.TemporaryDirectory(prefix="audiocnn-", ignore_cleanup_errors=True) as scratch:
        stores = [
            [FeatureStore(Path(scratch, str(index)), spec, durable=False) for spec, _ in kinds]
            for index in range(len(files))
        ]
        digests = expected or [None] * len(files)
        tasks = [
            (file, (sha256, [(store, one[1]) for store, one in zip(of_file, kinds, strict=True)]))
            for file, sha256, of_file in zip(files, digests, stores, strict=True)
        ]
        for done in workers.map_files(featurize_file_together, tasks, jobs=jobs):
            if isinstance(done.result, AudioError):
                failed = RecordingStatus.from_error(done.result, workers.sha256_or_empty(files[done.index]))
                statuses = [failed] * len(kinds)
            else:
                statuses = [status for status, _ in done.result]
            yield (
                done.index,
                [(status, store.frames(status)) for store, status in zip(stores[done.index], statuses, strict=True)],
            )
            shutil.rmtree(Path(scratch, str(done.index)), ignore_errors=True)


def _remove_temporaries(stores: Sequence[FeatureStore]) -> None:
    for store in stores:
        remove_temporaries(store.folder.parent)


def read_catalog(
    store: FeatureStore, paths: Sequence[str], *, current: FeatureSpec | None = None
) -> dict[str, RecordingStatus]:
    """Return the statuses of these recordings; raise `NotReadyError` if the store has no features of one of them.

    ``current`` are the features set in ``audiocnn.yaml``, for the message: ``featurize`` fills only their store.
    """
    statuses = read_stored(store)
    if statuses is None:
        remedy = _settings_remedy(store.spec, current) or "run 'audiocnn featurize' first"
        raise NotReadyError(f"no features with these settings in {store.folder.parent}; {remedy}")
    missing = [path for path in paths if path not in statuses]
    if missing:
        remedy = _settings_remedy(store.spec, current) or "run 'audiocnn featurize' again"
        raise NotReadyError(f"{missing[0]} (one of {len(missing)}) has no features; {remedy}")
    return {path: statuses[path] for path in paths}


def read_stored(store: FeatureStore) -> dict[str, RecordingStatus] | None:
    """Return the statuses of all recordings that are still in the store; None if it was never filled."""
    file = _catalog_file(store)
    if not file.is_file():
        return None
    by_name: dict[str, Status] = {"ok": "ok", "silent": "silent", "unreadable": "unreadable"}
    try:
        with open(file, encoding="utf-8", newline="") as lines:
            statuses = {
                row["path"]: RecordingStatus(
                    status=by_name[row["status"]],
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
    return {path: a for path, a in statuses.items() if a.status != "ok" or store.file(a.sha256).is_file()}


def featurize_files(
    files: Sequence[tuple[Path, str | None]],
    kinds: Sequence[tuple[FeatureStore, Frontend]],
    *,
    jobs: int,
    scheduler: str | None = None,
) -> Iterator[tuple[int, list[tuple[RecordingStatus, bool]]]]:
    """Yield the index of every file, and for each store its status and whether it was computed now, when it is ready.

    ``files`` are pairs of a path and its expected SHA-256, or None. A yielded recording is in the stores unless it is
    unreadable. ``jobs`` processes do the work, or the workers of a Dask ``scheduler``.
    """
    tasks = [(file, (expected, kinds)) for file, expected in files]
    if scheduler is None:
        results = workers.map_files(featurize_file_together, tasks, jobs=jobs)
    else:
        folder = kinds[0][0].folder
        results = cluster.map_files(featurize_file_together, tasks, scheduler=scheduler, folder=folder)
    for done in results:
        if isinstance(done.result, AudioError):
            failed = RecordingStatus.from_error(done.result, workers.sha256_or_empty(files[done.index][0]))
            yield done.index, [(failed, True)] * len(kinds)
        else:
            yield done.index, done.result


def featurize_augmented_files(
    files: Sequence[tuple[Path, str, int]],
    store: FeatureStore,
    *,
    frontend: Frontend,
    jobs: int,
    scheduler: str | None = None,
) -> Iterator[RecordingStatus]:
    """Yield the status of every augmented version, in the order in which they are ready.

    ``files`` are (path, SHA-256, number of the version from 1). A yielded version is in the store unless it is
    unreadable.
    """
    tasks = [(file, (sha256, number, store, frontend)) for file, sha256, number in files]
    if scheduler is None:
        results = workers.map_files(featurize_augmented_file, tasks, jobs=jobs)
    else:
        results = cluster.map_files(featurize_augmented_file, tasks, scheduler=scheduler, folder=store.folder)
    for done in results:
        if isinstance(done.result, AudioError):
            yield RecordingStatus.from_error(done.result, files[done.index][1])
        else:
            yield done.result


def featurize_file(
    file: Path, expected: str | None, store: FeatureStore, frontend: Frontend
) -> tuple[RecordingStatus, bool]:
    """Analyze one recording and store it if it is readable; return its status and whether it is new."""
    return featurize_file_together(file, expected, [(store, frontend)])[0]


def featurize_file_together(
    file: Path, expected: str | None, kinds: Sequence[tuple[FeatureStore, Frontend]]
) -> list[tuple[RecordingStatus, bool]]:
    """Analyze one recording in a worker, once for all stores; return its status in each and whether it is new there."""
    for store, _ in kinds:
        store.check_versions()
    before = size_and_mtime(file)
    digest = workers.sha256_or_empty(file)
    if expected is not None and digest and digest != expected:
        changed = AudioError("changed", "its content is not what the manifest's sha256 says")
        return [(RecordingStatus.from_error(changed, digest), False)] * len(kinds)
    if not digest:  # decoding finds the reason
        store, constants = kinds[0]
        status = analyze(file, spec=store.spec, frontend=constants, keep=lambda frames: None)
        unstable = RecordingStatus.from_error(AudioError("unreadable", "could not be read at first"))
        return [(unstable if status.status != "unreadable" else status, True)] * len(kinds)
    known = [store.read_status(digest) for store, _ in kinds]
    missing = [kind for kind, status in zip(kinds, known, strict=True) if status is None]
    with contextlib.ExitStack() as stack:
        writers = [stack.enter_context(store.writer(digest)) for store, _ in missing]
        wanted = [
            FramesWanted(store.spec, constants, writer.append)
            for (store, constants), writer in zip(missing, writers, strict=True)
        ]
        statuses = analyze_together(file, wanted, sha256=digest) if wanted else []
        if statuses and size_and_mtime(file) != before:
            changed = AudioError("changed", "was written to while it was read")
            statuses = [RecordingStatus.from_error(changed)] * len(missing)
        for writer, status in zip(writers, statuses, strict=True):
            if status.status != "unreadable":
                writer.finish(status)
    new = iter(statuses)
    return [(status, False) if status is not None else (next(new), True) for status in known]


def featurize_augmented_file(
    file: Path, sha256: str, number: int, store: FeatureStore, frontend: Frontend
) -> RecordingStatus:
    """Analyze one augmented version of a recording in a worker and store it if it is readable; return its status."""
    store.check_versions()
    before = size_and_mtime(file)
    if workers.sha256_or_empty(file) != sha256:
        return RecordingStatus.from_error(AudioError("changed", "has changed since it was first read"), sha256)
    augmentation = augment.draw_augmentation(store.spec.copies[number - 1], sha256, number)
    with store.writer(sha256, number) as writer:
        status = analyze(
            file, spec=store.spec, frontend=frontend, keep=writer.append, sha256=sha256, augmentation=augmentation
        )
        if size_and_mtime(file) != before:
            status = RecordingStatus.from_error(AudioError("changed", "was written to while it was read"), sha256)
        if status.status != "unreadable":
            writer.finish(status)
    return status


def write_catalog(store: FeatureStore, statuses: Mapping[str, RecordingStatus]) -> None:
    """Write ``recordings.csv`` of a store: one row per recording, sorted by path."""
    rows = [
        (
            path, a.status, a.reason, safe_cell(a.detail), a.sha256, repr(a.duration_s), repr(a.analysed_s),
            a.sample_rate, a.n_channels, a.n_frames,
        )
        for path, a in sorted(statuses.items())
    ]  # fmt: skip
    write_atomic(_catalog_file(store), _catalog_csv(_COLUMNS, rows))


def write_quarantine(file: Path, statuses: Iterable[tuple[str, RecordingStatus]]) -> None:
    """Write ``quarantine.csv``: path, sha256, code, reason and stage of every unusable recording."""
    rows = sorted(
        (path, a.sha256, a.codes[0], safe_cell(a.detail), "features" if a.codes[0] in _OF_FEATURES else "decode")
        for path, a in statuses
        if a.status != "ok"
    )
    write_atomic(file, _catalog_csv(("path", "sha256", "code", "reason", "stage"), rows))


def _settings_remedy(spec: FeatureSpec, current: FeatureSpec | None) -> str:
    """Return the remedy where ``audiocnn.yaml`` sets other features than ``spec``; an empty string if it does not."""
    if current is None or current == spec:
        return ""
    needed, present = spec.model_dump(mode="json"), current.model_dump(mode="json")
    differing = [f"{name}: {json.dumps(value)}" for name, value in needed.items() if value != present[name]]
    return f"set features back to {', '.join(differing)} and run 'audiocnn featurize', or train a new model"


def _catalog_file(store: FeatureStore) -> Path:
    return store.folder / "recordings.csv"


def _catalog_csv(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return out.getvalue()


def _add_augmented_versions(
    files: Mapping[str, Path],
    store: FeatureStore,
    frontend: Frontend,
    *,
    jobs: int,
    scheduler: str | None,
    progress: Progress,
) -> None:
    """Compute the augmented versions that the store lacks; warn about those that fail. ``files`` are by SHA-256."""
    numbers = range(1, len(store.spec.copies) + 1)
    missing = [
        (path, sha256, n) for sha256, path in files.items() for n in numbers if store.read_status(sha256, n) is None
    ]
    if not missing:
        return
    failed = []
    with progress.task("augmented versions", total=len(missing), unit="versions") as advance:
        for status in featurize_augmented_files(missing, store, frontend=frontend, jobs=jobs, scheduler=scheduler):
            failed += [status] if status.status == "unreadable" else []
            advance()
    if failed:
        path = printable(str(files[failed[0].sha256]))
        progress.warn(
            f"{len(failed)} of {len(missing)} augmented versions could not be computed: {path}: {failed[0].detail}"
        )
