"""The recordings that a model has not learned from, as sounds of two halves that share no group."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from audiocnn.audio import clips
from audiocnn.audio.clips import MonoFile, SavedClip
from audiocnn.config import Project
from audiocnn.dataset import manifest, split
from audiocnn.dataset.manifest import Recording
from audiocnn.errors import AudioError, ConfigError, NotReadyError, UnusableError
from audiocnn.event_tuning.soundscapes import TargetSound
from audiocnn.features import build_store
from audiocnn.model.bundle import Bundle
from audiocnn.progress import Progress
from audiocnn.specs import SplitSpec
from audiocnn.text import printable

_HELD_S = 60.0  # seconds of a recording that are looked through for the loudest part


@dataclass(frozen=True)
class HeldOutSounds:
    """Sounds of two halves, by label and group apart, with what could not be used and the part they come from."""

    halves: tuple[Sequence[TargetSound], Sequence[TargetSound]]
    labels: tuple[str, ...]
    part: str
    unusable: Sequence[tuple[str, AudioError]]


def collect_sounds(
    project: Project,
    judge: Bundle,
    *,
    own: bool,
    labels: Sequence[str],
    part: str | None,
    seed: int,
    folder: Path,
    jobs: int,
    progress: Progress,
) -> HeldOutSounds:
    """Return the held-out recordings of ``labels``, whole groups dealt to two halves; none named: all looked for.

    What can be used of them is kept in ``folder``. A label with a single group is left out, with a warning. ``own``
    says that the model is the project's own, whose ``part`` it has not learned from: None is for validation, or test if
    there is none. Raises `ConfigError` if no label is left.
    """
    recordings, where = _held_out(project, judge, part, own, progress)
    wanted = _labels(project, judge, labels)
    recordings = sorted((r for r in recordings if r.label in wanted), key=lambda r: r.order)
    contents = {r.path: build_store.sha256_or_empty(r.file(project.root)) for r in recordings}
    unusable = [(r.path, AudioError("missing", "cannot be read")) for r in recordings if not contents[r.path]]
    recordings, kept = _in_groups([r for r in recordings if contents[r.path]], contents, wanted, where, progress)
    dealt = split.make(recordings, contents, SplitSpec(test=0.5, validation=0.0, seed=seed))
    spec = judge.spec
    channel = "mix" if spec.channel == "each" else spec.channel
    stretches = [(MonoFile(r.file(project.root), spec.sample_rate, channel), _within(r)) for r in recordings]
    found: dict[int, SavedClip] = {}
    with progress.task("tune-events: sounds", total=len(stretches), unit="recordings") as advance:
        for index, clip in clips.save(stretches, folder=folder, jobs=jobs):
            if (error := clips.find_error([clip])) is not None:
                unusable.append((recordings[index].path, error))
            elif isinstance(clip, SavedClip):
                found[index] = clip
            advance()
    halves: tuple[list[TargetSound], list[TargetSound]] = ([], [])
    for index, clip in sorted(found.items()):
        recording = recordings[index]
        sound = TargetSound(recording.label, recording.path, recording.group, clip)
        halves[dealt.part[recording.path] == "test"].append(sound)
    for half in halves:
        if {sound.label for sound in half} != set(kept):
            raise UnusableError(f"{where}: too few recordings can be used: {first_reason(unusable)}")
    return HeldOutSounds(halves, kept, where, unusable)


def _in_groups(
    recordings: Sequence[Recording],
    contents: Mapping[str, str],
    labels: Sequence[str],
    where: str,
    progress: Progress,
) -> tuple[list[Recording], tuple[str, ...]]:
    """The recordings of labels with two groups or more, of which identical ones share a group; and those labels."""
    groups = split.merge_groups(recordings, contents)
    regrouped = [replace(r, group=g, split=None, fold=None) for r, g in zip(recordings, groups, strict=True)]
    kept = tuple(label for label in labels if len({r.group for r in regrouped if r.label == label}) > 1)
    if lost := [label for label in labels if label not in kept]:
        few = ", ".join(f"'{printable(label)}'" for label in lost)
        line = f"{where}: fewer than two groups of {few}; choosing needs one, and checking another"
        if not kept:
            raise ConfigError(f"{line}; record more, set split.validation higher, or choose another --part")
        progress.warn(f"{line}: left out")
    return [r for r in regrouped if r.label in kept], kept


def _within(recording: Recording) -> tuple[float, float]:
    start_s, end_s = recording.stretch or (0.0, math.inf)
    return start_s, min(end_s, start_s + _HELD_S)


def _labels(project: Project, judge: Bundle, labels: Sequence[str]) -> tuple[str, ...]:
    """Those of which there are to be events: the ones that `predict` looks for, unless some are named."""
    judge.labels.require(labels)
    if labels:
        return tuple(label for label in judge.labels if label in labels)
    if len(judge.labels) == 2:
        fitted = () if judge.decision is None else tuple(judge.decision.thresholds)
        one = fitted or (() if judge.labels.positive is None else (judge.labels.positive,))
        return one or judge.labels.names
    return tuple(label for label in judge.labels if label != project.experiment.data.background)


def _held_out(
    project: Project, judge: Bundle, part: str | None, own: bool, progress: Progress
) -> tuple[list[Recording], str]:
    """The recordings that the network did not learn from, and a word for them."""
    allow_outside = project.experiment.data.allow_outside
    recordings = manifest.read(project.manifest, root=project.root, allow_outside=allow_outside)
    file = project.run / "split.json"
    division = split.read(file) if file.is_file() else None
    if own and division is None:
        raise NotReadyError(f"{project.run}: no split yet; run 'audiocnn train' first")
    if division is None or judge.info.provenance.get("split_sha256") != division.digest:
        if own:
            raise NotReadyError(
                f"{file}: not the split that the model was trained with, so it may have learned from what should be "
                "held out; run 'audiocnn train' again"
            )
        progress.warn(
            "this model was not trained on the split of this project: what it learned from, it finds too well"
        )
    if division is None:
        return recordings, "all recordings"
    part = part or ("validation" if division.of("validation") else "test")
    chosen = [r for r in recordings if division.part.get(r.path) == part]
    if not chosen:
        raise ConfigError(f"part '{part}': no recordings in it; set split.{part} above 0, or choose another --part")
    return chosen, f"the {part} part"


def first_reason(unusable: Sequence[tuple[str, AudioError]]) -> str:
    """Return the first recording that cannot be used, with the reason, and how many more there are."""
    path, error = unusable[0]
    return f"{printable(path)}: {error.detail}" + (f" (and {len(unusable) - 1} more)" if len(unusable) > 1 else "")
