"""``featurize``: compute the frames of all recordings, store them, and report the status of each recording."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from audiocnn.audio import workers
from audiocnn.audio.probe import probe
from audiocnn.audit import above_band
from audiocnn.config import Project
from audiocnn.dataset import manifest, missing_files
from audiocnn.dataset.manifest import Recording
from audiocnn.errors import UnusableError
from audiocnn.features.analyze import RecordingStatus
from audiocnn.features.build_store import build_together
from audiocnn.features.store import FeatureStore, stores_of
from audiocnn.files import lock, remove_temporaries, write_atomic
from audiocnn.progress import Progress
from audiocnn.wording import clause

_MOST_PROBED = 100  # silent recordings, to find out whether they have sound that the features do not keep


@dataclass(frozen=True)
class FeaturizeResult:
    """Status of every file by path, the number computed in this run, and stretches beyond the end of their file."""

    statuses: Mapping[str, RecordingStatus]
    beyond: Sequence[tuple[str, RecordingStatus]]
    n_computed: int
    folder: Path
    quarantine: Path

    @property
    def n_bad(self) -> int:
        """Number of files and stretches that cannot be used."""
        return sum(a.status != "ok" for a in self.statuses.values()) + len(self.beyond)


def run(
    project: Project, *, jobs: int, progress: Progress, scheduler: str | None = None, examples: int = 0
) -> FeaturizeResult:
    """Compute what is not in the store yet; raise `UnusableError` if no recording can be used.

    Raises `ConfigError` if no file of the manifest is there, before anything is written.

    Always writes ``quarantine.csv``. Uses ``jobs`` processes, or the Dask cluster of ``scheduler``. With ``examples``
    also writes ``examples.html``, with this many recordings and their augmented versions.
    """
    if scheduler is not None:  # its workers have another current folder
        project = replace(project, file=project.file.absolute())
    experiment = project.experiment
    recordings = manifest.read(project.manifest, root=project.root, allow_outside=experiment.data.allow_outside)
    missing_files.require(project, recordings, progress)
    stores = stores_of(project)
    quarantine = project.run / "quarantine.csv"
    with lock(project.run):
        remove_temporaries(project.run)
        filled, *others = build_together(
            recordings,
            stores,
            root=project.root,
            jobs=jobs,
            progress=progress,
            quarantine=quarantine,
            scheduler=scheduler,
        )
    if not any(a.status == "ok" for a in filled.statuses.values()):
        raise UnusableError(
            f"none of {len(filled.statuses)} recordings can be used; {quarantine} lists the reasons"
            + _above_band(project, recordings, filled.statuses, jobs)
        )
    if examples:
        _show(project, recordings, filled.statuses, stores[0], examples, jobs, progress)
    n_computed = max(one.n_computed for one in (filled, *others))
    return FeaturizeResult(filled.statuses, filled.beyond_end, n_computed, stores[0].folder, quarantine)


def _above_band(
    project: Project, recordings: Sequence[Recording], statuses: Mapping[str, RecordingStatus], jobs: int
) -> str:
    """Return, as the end of a message, what some silent recordings have above the band of the features."""
    silent = [r for r in recordings if statuses[r.path].status == "silent"]
    some = silent[:: max(1, len(silent) // _MOST_PROBED)]
    done = workers.map_files(probe, [(r.file(project.root), (project.experiment.features,)) for r in some], jobs=jobs)
    probes = {some[one.index].path: one.result for one in done}
    found = above_band.find(some, probes, *project.experiment.widest)
    return "" if found is None else f". {found.sentence} {found.remedy}"


def _show(
    project: Project,
    recordings: Sequence[Recording],
    statuses: Mapping[str, RecordingStatus],
    store: FeatureStore,
    count: int,
    jobs: int,
    progress: Progress,
) -> None:
    # Imported here: images and pages need more libraries than frames.
    from audiocnn.report import augmentation_preview
    from audiocnn.report.augmentation_preview import render_preview

    spec = project.experiment.train
    shown = augmentation_preview.make_examples(
        recordings, statuses, store, spec, root=project.root, count=count, jobs=jobs
    )
    file = project.run / "examples.html"
    write_atomic(file, render_preview(project.experiment.name, shown))
    progress.info(f"{file}: {clause(len(shown), 'recording', 'recordings')} with their augmented versions")
