"""A store filled with the features of every recording of a manifest, with an account of each of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from audiocnn.dataset.manifest import Recording
from audiocnn.features import catalog, frontend
from audiocnn.features.frontend import Frontend
from audiocnn.features.ingest import ingest, ingest_copies
from audiocnn.features.listen import Account
from audiocnn.features.store import FeatureStore
from audiocnn.files import sweep_temporaries
from audiocnn.progress import Progress
from audiocnn.text import printable


@dataclass(frozen=True)
class Filled:
    """The account of every file by path, how many of them were computed now, and stretches that lie in none."""

    accounts: Mapping[str, Account]
    beyond: Sequence[tuple[str, Account]]
    n_computed: int


def fill(
    recordings: Sequence[Recording],
    store: FeatureStore,
    *,
    root: Path,
    jobs: int,
    progress: Progress,
    quarantine: Path | None = None,
    scheduler: str | None = None,
    title: str = "featurize",
) -> Filled:
    """Compute what is not in the store, copies too, and write its catalog; the caller holds the lock of the project.

    ``quarantine`` is a CSV of everything that cannot be used, written however this ends. The work is done in ``jobs``
    processes, or by the Dask cluster of ``scheduler``.
    """
    files = list({recording.path: recording for recording in recordings}.values())  # one of every file's stretches
    constants = frontend.make(store.spec)
    accounts: dict[str, Account] = {}
    beyond: list[tuple[str, Account]] = []
    n_computed = 0
    sweep_temporaries(store.folder.parent)
    try:
        with progress.task(title, total=len(files), unit="recordings") as advance:
            tasks = [(recording.file(root), recording.sha256) for recording in files]
            heard = ingest(tasks, store, frontend=constants, jobs=jobs, scheduler=scheduler)
            for index, account, computed in heard:
                accounts[files[index].path] = account
                n_computed += computed
                advance()
        for recording in recordings:
            if (account := accounts[recording.path]).status == "ok":
                of_stretch = account.of_stretch(recording.stretch, store.spec)
                beyond += [(recording.path, of_stretch)] if of_stretch.status != "ok" else []
        used = {accounts[r.path].sha256: r.file(root) for r in files if accounts[r.path].status == "ok"}
        _add_copies(used, store, frontend=constants, jobs=jobs, scheduler=scheduler, progress=progress)
    finally:
        sweep_temporaries(store.folder.parent)  # of decoders that crashed or were stopped
        if quarantine is not None:
            catalog.write_quarantine(quarantine, [*accounts.items(), *beyond])
    catalog.write(store, accounts)
    return Filled(accounts, beyond, n_computed)


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
        for account in ingest_copies(wanted, store, frontend=frontend, jobs=jobs, scheduler=scheduler):
            failed += [account] if account.status == "unreadable" else []
            advance()
    if failed:
        path = printable(str(files[failed[0].sha256]))
        progress.warn(f"{len(failed)} of {len(wanted)} copies could not be made: {path}: {failed[0].detail}")
