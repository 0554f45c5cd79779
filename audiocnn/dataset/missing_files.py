"""Recordings of a manifest whose files are gone: how many, and what to do about them."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from audiocnn.config import Project
from audiocnn.dataset.manifest import Recording
from audiocnn.errors import ConfigError
from audiocnn.progress import Progress
from audiocnn.text import printable


def find(recordings: Iterable[Recording], root: Path) -> list[str]:
    """Return the paths of the manifest that are not files below ``root``, each once."""
    files = {recording.path: recording for recording in recordings}
    return [path for path, recording in files.items() if not recording.file(root).is_file()]


def fault(recordings: Sequence[Recording], root: Path, root_is: str) -> str:
    """Return how many recordings are missing below ``root``, which ``root_is``, as a clause; empty if none is.

    >>> fault([Recording("a.wav", "owl", "a.wav")], Path("gone"), "data.root")
    'gone (data.root) is no folder, so 1 recording is missing'
    """
    missing = find(recordings, root)
    if not missing:
        return ""
    n = len({recording.path for recording in recordings})
    all_of = f"{n:,} recording{'s' if n > 1 else ''}"
    are = "is" if len(missing) == 1 else "are"
    if not root.is_dir():
        return f"{root} ({root_is}) is no folder, so {all_of} {are} missing"
    return f"{len(missing):,} of {all_of} {are} missing below {root} ({root_is}), such as {printable(missing[0])}"


def remedy(project: Project) -> str:
    """Return what to do about missing recordings, as a clause."""
    return f"if the recordings were moved, run '{project.command('relocate DIR')}'"


def require(
    project: Project, recordings: Sequence[Recording], progress: Progress, *, at_least_one: bool = True
) -> None:
    """Warn of missing recordings; raise `ConfigError` if their folder is, or all if ``at_least_one``."""
    if not (found := _project_fault(project, recordings)):
        return
    missing, everyone = set(find(recordings, project.root)), {recording.path for recording in recordings}
    if not project.root.is_dir() or (at_least_one and missing == everyone):
        raise ConfigError(f"{found}; {remedy(project)}")
    progress.warn(f"{found}; {remedy(project)}")


def warn(project: Project, recordings: Sequence[Recording], progress: Progress) -> None:
    """Warn of recordings whose features are stored but whose files are missing."""
    if found := _project_fault(project, recordings):
        progress.warn(f"{found}; stored features are used; {remedy(project)}")


def _project_fault(project: Project, recordings: Sequence[Recording]) -> str:
    return fault(recordings, project.root, f"data.root in {project.file}")
