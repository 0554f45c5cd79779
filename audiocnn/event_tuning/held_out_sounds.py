"""Sounds from the recordings that a model was not trained on, in two halves that share no group."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from audiocnn.audio import clips, workers
from audiocnn.audio.clips import MonoFile, SavedClip
from audiocnn.config import Project
from audiocnn.dataset import manifest, missing_files, split
from audiocnn.dataset.manifest import Recording
from audiocnn.errors import AudioError, ConfigError, NotReadyError, UnusableError
from audiocnn.event_tuning.soundscapes import TargetSound
from audiocnn.model.loaded_model import LoadedModel
from audiocnn.progress import Progress
from audiocnn.specs import SplitSpec
from audiocnn.text import printable

_SEARCH_S = 60.0  # the loudest part of a recording is searched in so many seconds


@dataclass(frozen=True)
class HeldOutSounds:
    """Sounds of two halves with different groups, the part they come from, and recordings that cannot be used."""

    halves: tuple[Sequence[TargetSound], Sequence[TargetSound]]
    labels: tuple[str, ...]
    part: str
    unusable: Sequence[tuple[str, AudioError]]


def collect_sounds(
    project: Project,
    model: LoadedModel,
    *,
    own: bool,
    labels: Sequence[str],
    part: str | None,
    seed: int,
    folder: Path,
    jobs: int,
    progress: Progress,
) -> HeldOutSounds:
    """Save the held-out recordings of ``labels`` in ``folder``, and assign whole groups to two halves.

    An empty ``labels`` selects all that `predict` detects. A label with a single group is left out, with a warning.
    ``own`` tells whether the model is that of the project. ``part`` is the part of the split to take; None for
    validation, or test if there is no validation part. Raises `ConfigError` if no label is left.
    """
    recordings, where = _held_out(project, model, part, own, progress)
    selected = _event_labels(project, model, labels)
    recordings = sorted((r for r in recordings if r.label in selected), key=lambda r: r.order)
    missing_files.require(project, recordings, progress)
    contents = {r.path: workers.sha256_or_empty(r.file(project.root)) for r in recordings}
    unusable = [(r.path, AudioError("missing", "cannot be read")) for r in recordings if not contents[r.path]]
    readable = [r for r in recordings if contents[r.path]]
    recordings, kept = _with_two_groups(readable, contents, selected, where, progress)
    assignment = split.make(recordings, contents, SplitSpec(test=0.5, validation=0.0, seed=seed))
    spec = model.widest_spec
    channel = "mix" if spec.channel == "each" else spec.channel
    stretches = [(MonoFile(r.file(project.root), spec.sample_rate, channel), _search_range(r)) for r in recordings]
    saved: dict[int, SavedClip] = {}
    with progress.task("tune-events: sounds", total=len(stretches), unit="recordings") as advance:
        for index, clip in clips.save(stretches, folder=folder, jobs=jobs):
            if (error := clips.find_error([clip])) is not None:
                unusable.append((recordings[index].path, error))
            elif isinstance(clip, SavedClip):
                saved[index] = clip
            advance()
    halves: tuple[list[TargetSound], list[TargetSound]] = ([], [])
    for index, clip in sorted(saved.items()):
        recording = recordings[index]
        sound = TargetSound(recording.label, recording.path, recording.group, clip)
        halves[assignment.part_of(recording) == "test"].append(sound)
    for half in halves:
        if {sound.label for sound in half} != set(kept):
            raise UnusableError(f"{where}: too few recordings can be used: {first_reason(unusable)}")
    return HeldOutSounds(halves, kept, where, unusable)


def first_reason(unusable: Sequence[tuple[str, AudioError]]) -> str:
    """Return the first recording that cannot be used, with the reason, and the number of others."""
    path, error = unusable[0]
    return f"{printable(path)}: {error.detail}" + (f" (and {len(unusable) - 1} more)" if len(unusable) > 1 else "")


def _with_two_groups(
    recordings: Sequence[Recording],
    contents: Mapping[str, str],
    labels: Sequence[str],
    where: str,
    progress: Progress,
) -> tuple[list[Recording], tuple[str, ...]]:
    """Return the recordings of labels with at least two groups, and those labels; identical files share a group."""
    groups = split.merge_groups(recordings, contents)
    of_label = {label: {g for r, g in zip(recordings, groups, strict=True) if r.label == label} for label in labels}
    kept = tuple(label for label in labels if len(of_label[label]) > 1)
    if lost := [label for label in labels if label not in kept]:
        few = ", ".join(f"'{printable(label)}'" for label in lost)
        line = f"{where}: fewer than two groups of {few}; one is needed to choose, another to check"
        if not kept:
            raise ConfigError(f"{line}; record more, set split.validation higher, or choose another --part")
        progress.warn(f"{line}: left out")
    return [
        replace(r, group=g if r.cut is None else r.group, split=None, fold=None)
        for r, g in zip(recordings, groups, strict=True)
        if r.label in kept
    ], kept


def _search_range(recording: Recording) -> tuple[float, float]:
    start_s, end_s = recording.stretch or (0.0, math.inf)
    return start_s, min(end_s, start_s + _SEARCH_S)


def _event_labels(project: Project, model: LoadedModel, labels: Sequence[str]) -> tuple[str, ...]:
    """Return the labels of events: the named ones, or those that `predict` detects."""
    model.labels.require(labels)
    if labels:
        return tuple(label for label in model.labels if label in labels)
    if len(model.labels) == 2:
        fitted = () if model.decision is None else tuple(model.decision.thresholds)
        one = fitted or (() if model.labels.positive is None else (model.labels.positive,))
        return one or model.labels.names
    return tuple(label for label in model.labels if label != project.experiment.data.background)


def _held_out(
    project: Project, model: LoadedModel, part: str | None, own: bool, progress: Progress
) -> tuple[list[Recording], str]:
    """Return the recordings that the model was not trained on, and a name for them."""
    allow_outside = project.experiment.data.allow_outside
    recordings = manifest.read(project.manifest, root=project.root, allow_outside=allow_outside)
    file = project.run / "split.json"
    division = split.read(file) if file.is_file() else None
    if own and division is None:
        raise NotReadyError(f"{project.run}: no split yet; run 'audiocnn train' first")
    if division is None or model.info.provenance.get("split_sha256") != division.digest:
        if own:
            raise NotReadyError(
                f"{file}: not the split that the model was trained with, so it may have been trained on recordings "
                "that should be held out; run 'audiocnn train' again"
            )
        progress.warn(
            "this model was not trained on the split of this project: recall is too high on its training recordings"
        )
    if division is None:
        return recordings, "all recordings"
    part = part or ("validation" if division.of("validation") else "test")
    chosen = [r for r in recordings if division.part_of(r) == part]
    if not chosen:
        raise ConfigError(f"part '{part}': no recordings in it; set split.{part} above 0, or choose another --part")
    return chosen, f"the {part} part"
