"""What lies on both sides of a split and should not: copies of one recording, and groups.

Takes pairs of copies and the part of every path; returns what leaks. Whether that stops a training is for the caller.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from audiocnn.audit.duplicates import Pair
from audiocnn.dataset.manifest import Recording


@dataclass(frozen=True)
class Leak:
    """Two copies of one recording in different parts, such as train and test, in the order of ``pair``."""

    pair: Pair
    parts: tuple[str, str]
    labels: tuple[str, str]
    groups: tuple[str, str]

    def __str__(self) -> str:
        (one, other), (part, other_part) = (self.pair.first, self.pair.second), self.parts
        return f"{one} ({part}) = {other} ({other_part})"


@dataclass(frozen=True)
class CutGroup:
    """A group with recordings in several parts: one path for each part."""

    group: str
    paths: Mapping[str, str]

    def __str__(self) -> str:
        where = ", ".join(f"{path} in {part}" for part, path in sorted(self.paths.items()))
        return f"group '{self.group}': {where}"


def across(pairs: Iterable[Pair], recordings: Sequence[Recording], part_of: Mapping[str, str]) -> list[Leak]:
    """Return the pairs whose files are in different parts; a path that is in no part leaks nothing."""
    of = {recording.path: recording for recording in recordings}
    leaks = []
    for pair in pairs:
        if pair.first in part_of and pair.second in part_of and part_of[pair.first] != part_of[pair.second]:
            one, other = of[pair.first], of[pair.second]
            parts = (part_of[pair.first], part_of[pair.second])
            leaks.append(Leak(pair, parts, (one.label, other.label), (one.group, other.group)))
    return leaks


def cut_groups(recordings: Iterable[Recording], part_of: Mapping[str, str]) -> list[CutGroup]:
    """Return the groups with recordings in several parts, sorted."""
    members: dict[str, dict[str, str]] = defaultdict(dict)
    for recording in recordings:
        if recording.path in part_of:
            members[recording.group].setdefault(part_of[recording.path], recording.path)
    return [CutGroup(group, paths) for group, paths in sorted(members.items()) if len(paths) > 1]
