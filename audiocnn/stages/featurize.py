"""``featurize``: the frames of every recording of the manifest into the store, and an account of every recording."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from audiocnn.audio import isolate
from audiocnn.config import Project
from audiocnn.dataset import manifest
from audiocnn.dataset.manifest import Recording
from audiocnn.errors import AudioError, UnusableError
from audiocnn.features import catalog, frontend
from audiocnn.features.frontend import Frontend
from audiocnn.features.listen import Account, hash_if_readable, listen
from audiocnn.features.store import FeatureStore
from audiocnn.files import lock, sweep_temporaries
from audiocnn.progress import Progress


@dataclass(frozen=True)
class Featurized:
    """The account of every recording by path, and how many of them were computed now."""

    accounts: Mapping[str, Account]
    n_computed: int
    folder: Path
    quarantine: Path


def run(project: Project, *, jobs: int, progress: Progress) -> Featurized:
    """Compute what is not in the store yet; raise `UnusableError` if no recording can be used.

    ``quarantine.csv`` is written in any case.
    """
    experiment = project.experiment
    recordings = manifest.read(project.manifest, root=project.root, allow_outside=experiment.data.allow_outside)
    store = FeatureStore(project.run / "features", experiment.features)
    constants = frontend.make(experiment.features)
    quarantine = project.run / "quarantine.csv"
    accounts: dict[str, Account] = {}
    n_computed = 0
    with lock(project.run):
        sweep_temporaries(store.folder)
        try:
            with progress.task("featurize", total=len(recordings), unit="recordings") as advance:
                for recording, account, computed in _accounts(project, recordings, store, constants, jobs):
                    accounts[recording.path] = account
                    n_computed += computed
                    advance()
        finally:
            catalog.write_quarantine(quarantine, accounts)
        catalog.write(store, accounts)
    if not any(a.status == "ok" for a in accounts.values()):
        raise UnusableError(f"none of {len(accounts)} recordings can be used; {quarantine} says why")
    return Featurized(accounts, n_computed, store.folder, quarantine)


def _accounts(
    project: Project, recordings: Sequence[Recording], store: FeatureStore, constants: Frontend, jobs: int
) -> Iterator[tuple[Recording, Account, bool]]:
    """Yield each recording with its account and whether it was computed now, in the order in which they are ready."""
    files = [recording.file(project.root) for recording in recordings]
    tasks = [(file, (recording.sha256, store, constants)) for file, recording in zip(files, recordings, strict=True)]
    for done in isolate.each(_keep, tasks, jobs=jobs):
        recording = recordings[done.index]
        if isinstance(done.result, AudioError):
            yield recording, Account.of_failure(done.result, hash_if_readable(files[done.index])), True
        else:
            yield recording, *done.result


def _keep(file: Path, expected: str | None, store: FeatureStore, constants: Frontend) -> tuple[Account, bool]:
    """Runs in a worker: account for one recording, which is in the store afterwards if it can be used."""
    digest = hash_if_readable(file)
    if expected is not None and digest and digest != expected:
        error = AudioError("changed", "its content is not what the manifest's sha256 says")
        return Account.of_failure(error, digest), False
    if digest and (account := store.account(digest)) is not None:
        return account, False
    account, frames = listen(file, spec=store.spec, frontend=constants)
    if account.status != "unreadable":
        store.put(account, frames)
    return account, True
