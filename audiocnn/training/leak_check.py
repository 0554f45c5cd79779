"""Refuse a split that has copies of one recording in different parts."""

from collections.abc import Sequence

from audiocnn.audio.workers import default_jobs
from audiocnn.audit import duplicates, leaks
from audiocnn.audit.finding import pluralize
from audiocnn.config import Project
from audiocnn.dataset.split import Split
from audiocnn.errors import SplitError
from audiocnn.progress import Progress
from audiocnn.text import printable
from audiocnn.training.dataset import TrainingData

_NAMED = 3  # pairs in a message


def check_leaks(
    project: Project, task: TrainingData, divisions: Sequence[Split], *, allow_leaks: bool, progress: Progress
) -> None:
    """Raise `SplitError` if a split separates copies of one recording; only warn if ``allow_leaks``.

    Copies are recordings with the same sound at any gain, rate, format or length (see `audiocnn.audit.duplicates`).
    """
    copies = duplicates.search(
        task.recordings,
        project.root,
        cached=project.run / "audit" / duplicates.CACHE_FILE,
        jobs=default_jobs(),
        progress=progress,
        silence_dbfs=task.store.spec.silence_dbfs,
    )
    found = {leak.pair: leak for one in divisions for leak in leaks.find_leaks(copies.pairs, task.recordings, one.part)}
    if not found:
        return
    named = ", ".join(printable(str(leak)) for leak in list(found.values())[:_NAMED])
    more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    line = f"{pluralize(len(found), 'pair')} of copies of one recording in different parts of the split: {named}{more}"
    if not allow_leaks:
        raise SplitError(
            f"{line}; 'audiocnn audit --merge-groups' puts copies into one group, --allow-leaks trains anyway"
        )
    progress.warn(f"{line}; the figures will be too good")
