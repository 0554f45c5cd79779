"""The training data of a project: its usable recordings, their labels and features, and the network to train."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from audiocnn import wording
from audiocnn.audio.workers import default_jobs
from audiocnn.audit import duplicates, leaks
from audiocnn.audit.finding import pluralize
from audiocnn.config import Project
from audiocnn.dataset import cut_groups, kept_split, manifest, missing_files, reserved, split
from audiocnn.dataset.manifest import Recording
from audiocnn.dataset.split import Split
from audiocnn.errors import ConfigError, SplitError, UnusableError
from audiocnn.features import build_store, extract, signal_stats
from audiocnn.features.analyze import RecordingStatus
from audiocnn.features.signal_stats import SignalStats
from audiocnn.features.store import FeatureStore
from audiocnn.features.windows import Windows, add_background, augmented_versions
from audiocnn.files import digest_of
from audiocnn.labels import Labels
from audiocnn.model import notation
from audiocnn.model.domain import MIN_RECORDINGS, Domain, fit_domain
from audiocnn.model.layers import BatchNorm
from audiocnn.model.notation import Architecture
from audiocnn.progress import Progress
from audiocnn.specs import Experiment
from audiocnn.text import printable
from audiocnn.training.batches import Targets

_NAMED = 3  # pairs of copies in a message


@dataclass(frozen=True)
class TrainingData:
    """Recordings with labels, their features, and the network that learns to tell the labels apart.

    A network with one output predicts whether a window has the positive label; with more outputs, which of ``labels``
    it has. ``unusable`` are the recordings of the manifest without usable features. ``statuses`` holds the status of
    all recordings, by path. ``rare`` labels are learned from but not tested.
    """

    labels: Labels
    net: Architecture
    store: FeatureStore
    statuses: Mapping[str, RecordingStatus]
    recordings: Sequence[Recording]
    unusable: Sequence[Recording]
    rare: frozenset[str] = frozenset()

    @cached_property
    def contents(self) -> dict[str, str]:
        """SHA-256 of the content of every usable recording, by path."""
        return {r.path: self.statuses[r.path].sha256 for r in self.recordings}

    def settings(self) -> dict[str, Any]:
        """What the weights depend on, apart from the training settings."""
        return {
            "model": self.net.notation,
            "positive": self.labels.positive,
            "features": self.store.key,
            "recordings": digest_of([[*r.order, r.label, self.contents[r.path]] for r in self.recordings]),
            **({"copies": digest_of(self._copies())} if self.store.spec.copies else {}),
            **({"statistics": "estimated"} if any(isinstance(x, BatchNorm) for x in self.net.steps) else {}),
        }

    def windows(self, members: Sequence[Recording], *, augmented: bool = False) -> Windows:
        """The windows of some of the recordings, with those of their augmented versions if ``augmented``."""
        return Windows(members, self.statuses, self.labels, self.store, augmented=augmented)

    def _copies(self) -> list[tuple[str, int]]:
        """The SHA-256 and the number of every augmented version in the store."""
        statuses = {
            recording_status.sha256: recording_status
            for recording_status in (self.statuses[r.path] for r in self.recordings)
        }
        of_each = [augmented_versions(recording_status, self.store) for _, recording_status in sorted(statuses.items())]
        return [
            (recording_status.sha256, number) for found in of_each for recording_status, number, _ in found if number
        ]

    def target(self, y: Targets) -> Targets:
        """Label numbers in the form that the loss takes."""
        return y if self.net.n_outputs > 1 else (y == self.labels.positive_index).astype(np.int64)

    def by_label(self, weights: Mapping[int, float]) -> dict[str, float]:
        """The class weights of `target`, by label."""
        numbers = self.target(np.arange(len(self.labels)))
        return {label: weights[int(number)] for label, number in zip(self.labels, numbers, strict=True)}

    def counts(self, parts: Mapping[str, Sequence[Recording]]) -> dict[str, dict[str, int]]:
        """The number of recordings of each label in each part."""
        return {part: dict(Counter(r.label for r in members)) for part, members in parts.items()}


def prepare(
    project: Project, *, max_bad_fraction: float, progress: Progress, store: FeatureStore | None = None
) -> TrainingData:
    """Return the training data of a project; its features must be in the ``store``, by default the one in its run.

    Raises `UnusableError` if a label has no usable recording, or more than ``max_bad_fraction`` of all recordings are
    unreadable.
    """
    experiment = project.experiment
    recordings = manifest.read(project.manifest, root=project.root, allow_outside=experiment.data.allow_outside)
    store = store or FeatureStore(project.run / "features", experiment.features)
    statuses = build_store.read_catalog(store, [r.path for r in recordings])
    recordings = add_background(recordings, statuses, experiment.features, experiment.data.background)
    status = {r: statuses[r.path].for_stretch(r.stretch, experiment.features).status for r in recordings}
    unusable = [r for r in recordings if status[r] != "ok"]
    _refuse_too_many([r for r in unusable if status[r] == "unreadable"], len(recordings), max_bad_fraction)
    usable = [r for r in recordings if status[r] == "ok"]
    reserved.refuse(project.run, {r.path: statuses[r.path].sha256 for r in usable})
    missing_files.warn(project, usable, progress)
    _refuse_lost_labels(recordings, usable)
    rare = split.rare_labels(usable, {r.path: statuses[r.path].sha256 for r in usable}, experiment.split)
    if rare:
        progress.warn(wording.rare_labels(rare, experiment.split.rare))
    if experiment.split.rare == "drop":
        usable, unusable = ([r for r in some if r.label not in rare] for some in (usable, unusable))
        rare = frozenset()
    if line := cut_groups.warning(usable):
        progress.warn(line)
    labels = manifest.labels_of(usable)
    net = notation.parse_for(experiment.features, experiment.model, n_labels=len(labels))
    labels = replace(labels, positive=_positive(experiment, labels, usable, progress))
    return TrainingData(labels, net, store, statuses, usable, unusable, rare)


def divide(project: Project, data: TrainingData, progress: Progress, *, anew: bool = False) -> Split:
    """Return the split in ``split.json``, for the recordings that there are now, or a new one if none is there.

    ``anew`` asks for a new one in any case. Raises `SplitError` if the split cannot be kept.
    """
    file, spec = project.run / "split.json", project.experiment.split
    if anew or not file.is_file():
        made = split.make(data.recordings, data.contents, spec)
        return kept_split.describe(made, data.recordings, data.contents, spec)
    command = project.command("train --new-split")
    kept, line = kept_split.keep(file, data.recordings, data.contents, spec, rare=data.rare, anew=command)
    if line:
        progress.info(line)
    return kept


def _refuse_too_many(bad: Sequence[Recording], n: int, allowed: float) -> None:
    if len(bad) > allowed * n:
        raise UnusableError(
            f"{len(bad)} of {n} recordings are unreadable ({len(bad) / n:.0%}; "
            f"train.max_bad_fraction allows {allowed:.0%}): {printable(bad[0].path)}, ...; see quarantine.csv, mend or "
            "remove them, or allow more with --max-bad-fraction"
        )


def _refuse_lost_labels(recordings: Sequence[Recording], usable: Sequence[Recording]) -> None:
    if not usable:
        raise UnusableError("no recording can be used; see quarantine.csv")
    lost = sorted({r.label for r in recordings} - {r.label for r in usable})
    if lost:
        raise UnusableError(f"no recording of label '{printable(lost[0])}' can be used; see quarantine.csv")
    if len({r.label for r in usable}) < 2:
        raise ConfigError(
            f"all recordings have the label '{printable(usable[0].label)}'; a classifier needs two or more"
        )


def _positive(experiment: Experiment, labels: Labels, usable: Sequence[Recording], progress: Progress) -> str | None:
    if len(labels) != 2:
        if experiment.positive is not None:
            raise ConfigError(
                f"positive: '{experiment.positive}' has no meaning with {len(labels)} labels; set it to null"
            )
        return None
    if experiment.positive is None:
        rarer = min(labels, key=lambda label: sum(r.label == label for r in usable))
        progress.info(f"positive label: {printable(rarer)} (the rarer one; set 'positive' to choose)")
        return rarer
    if experiment.positive not in labels:
        raise ConfigError(f"positive: '{experiment.positive}' is neither '{labels[0]}' nor '{labels[1]}'")
    return experiment.positive


def has_domain(task: TrainingData, recordings: Sequence[Recording]) -> bool:
    """Return whether a `training_domain` can be measured: not from slopes alone or too few recordings."""
    return "static" in task.store.spec.channels and len(recordings) >= MIN_RECORDINGS


def training_domain(
    task: TrainingData, recordings: Sequence[Recording], resemblances: Sequence[float]
) -> Domain | None:
    """Return the ranges of signal properties of usable recordings, without augmented versions, or None.

    ``resemblances`` are those of recordings scored by a network that was trained without them.
    """
    if not has_domain(task, recordings):
        return None
    found = [_signal_stats(task, recording) for recording in recordings]
    return fit_domain([c for c in found if c is not None], resemblances)


def _signal_stats(task: TrainingData, recording: Recording) -> SignalStats | None:
    recording_status, spec = task.statuses[recording.path], task.store.spec
    span = extract.frame_range(recording_status.n_frames, spec, recording.stretch)
    return signal_stats.measure(
        task.store.frames(recording_status), spec, spec.n_tracks(recording_status.n_channels), span
    )


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
        silent=(),
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
