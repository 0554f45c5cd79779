"""``relocate``: set ``data.root`` to the folder that the recordings were moved to."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from audiocnn import config, new_config
from audiocnn.config import Project
from audiocnn.dataset import manifest, missing_files
from audiocnn.dataset.manifest import Recording
from audiocnn.errors import ConfigError
from audiocnn.files import resolve_link, write_atomic
from audiocnn.text import decode_path, printable

_TRIED = 50  # recordings that are looked for in other folders
_LEVELS = 3  # folders above the named one in which they are looked for


@dataclass(frozen=True)
class RelocateResult:
    """The project file, its new ``data.root``, the number of recordings, and those that are missing there."""

    file: Path
    root: str
    n_recordings: int
    missing: Sequence[str]


def run(project: Project, folder: Path) -> RelocateResult:
    """Set ``data.root`` to ``folder``; the rest of the project file, with its comments, stays as it is.

    Raises `ConfigError` if the folder has none of the recordings in the manifest, or fewer than the present one.
    """
    shown = printable(os.fspath(folder))
    if not folder.is_dir():
        raise ConfigError(f"{shown}: no such folder; name the folder that holds the recordings now")
    recordings = manifest.read(project.manifest, root=folder, allow_outside=project.experiment.data.allow_outside)
    n, missing = len({recording.path for recording in recordings}), missing_files.find(recordings, folder)
    if len(missing) == n:
        near = _nearby(recordings, folder)
        remedy = f"{printable(os.fspath(near))} has some" if near else "name the folder that these paths start from"
        raise ConfigError(
            f"{shown}: has none of the {n:,} recordings in {project.manifest}, such as {printable(missing[0])}; "
            f"{remedy}"
        )
    n_present = n - len(missing_files.find(recordings, project.root))
    if n - len(missing) < n_present:
        raise ConfigError(
            f"{shown}: has {n - len(missing):,} of the {n:,} recordings in {project.manifest}, fewer than "
            f"{project.root} with {n_present:,}; copy the others too, such as {printable(missing[0])}"
        )
    root = new_config.relative_root(folder, project.file.parent)
    write_atomic(resolve_link(project.file), config.with_root(project.file, root))
    return RelocateResult(project.file, root, n, missing)


def _nearby(recordings: Sequence[Recording], folder: Path) -> Path | None:
    """Return a folder just above or below ``folder`` that has some of the recordings."""
    absolute = Path(os.path.abspath(folder))
    below = sorted(path for path in absolute.iterdir() if path.is_dir())
    for other in (*absolute.parents[:_LEVELS], *below):
        if any((other / decode_path(recording.path)).is_file() for recording in recordings[:_TRIED]):
            return other
    return None
