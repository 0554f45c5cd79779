"""``featurize``: the frames of every recording of the manifest into the store, and an account of every recording."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from audiocnn.config import Project
from audiocnn.dataset import manifest
from audiocnn.errors import UnusableError
from audiocnn.features import catalog, frontend
from audiocnn.features.ingest import ingest
from audiocnn.features.listen import Account
from audiocnn.features.store import FeatureStore
from audiocnn.files import lock, sweep_temporaries
from audiocnn.progress import Progress


@dataclass(frozen=True)
class Featurized:
    """The account of every file by path, how many of them were computed now, and stretches that lie in none."""

    accounts: Mapping[str, Account]
    beyond: Sequence[tuple[str, Account]]
    n_computed: int
    folder: Path
    quarantine: Path

    @property
    def n_bad(self) -> int:
        """Files and stretches that cannot be used."""
        return sum(a.status != "ok" for a in self.accounts.values()) + len(self.beyond)


def run(project: Project, *, jobs: int, progress: Progress, scheduler: str | None = None) -> Featurized:
    """Compute what is not in the store yet; raise `UnusableError` if no recording can be used.

    ``quarantine.csv`` is written in any case. The work is done in ``jobs`` processes, or by the Dask cluster of
    ``scheduler``.
    """
    if scheduler is not None:  # its workers' current folder is another one
        project = replace(project, file=project.file.absolute())
    experiment = project.experiment
    spec = experiment.features
    recordings = manifest.read(project.manifest, root=project.root, allow_outside=experiment.data.allow_outside)
    files = list({recording.path: recording for recording in recordings}.values())  # one of every file's stretches
    store = FeatureStore(project.run / "features", spec)
    constants = frontend.make(spec)
    quarantine = project.run / "quarantine.csv"
    accounts: dict[str, Account] = {}
    beyond: list[tuple[str, Account]] = []
    n_computed = 0
    with lock(project.run):
        sweep_temporaries(project.run)
        try:
            with progress.task("featurize", total=len(files), unit="recordings") as advance:
                tasks = [(recording.file(project.root), recording.sha256) for recording in files]
                heard = ingest(tasks, store, frontend=constants, jobs=jobs, scheduler=scheduler)
                for index, account, computed in heard:
                    accounts[files[index].path] = account
                    n_computed += computed
                    advance()
            for recording in recordings:
                if (account := accounts[recording.path]).status == "ok":
                    of_stretch = account.of_stretch(recording.stretch, spec)
                    beyond += [(recording.path, of_stretch)] if of_stretch.status != "ok" else []
        finally:
            sweep_temporaries(project.run)  # of decoders that crashed or were stopped
            catalog.write_quarantine(quarantine, [*accounts.items(), *beyond])
        catalog.write(store, accounts)
    if not any(a.status == "ok" for a in accounts.values()):
        raise UnusableError(f"none of {len(accounts)} recordings can be used; {quarantine} says why")
    return Featurized(accounts, beyond, n_computed, store.folder, quarantine)
