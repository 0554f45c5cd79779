"""What lies on both sides of a split and should not: copies of one recording, and groups.

Takes pairs of copies and the part of every path; returns what leaks. Whether that stops a training is for the caller.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from audiocnn.audit import duplicates
from audiocnn.audit.duplicates import DuplicatePair
from audiocnn.audit.finding import Finding, Severity, pluralize
from audiocnn.dataset import split
from audiocnn.dataset.manifest import Recording


@dataclass(frozen=True)
class Leak:
    """Two copies of one recording in different parts, such as train and test, in the order of ``pair``."""

    pair: DuplicatePair
    parts: tuple[str, str]
    labels: tuple[str, str]
    groups: tuple[str, str]

    def __str__(self) -> str:
        (one, other), (part, other_part) = (self.pair.first, self.pair.second), self.parts
        return f"{one} ({part}) = {other} ({other_part})"


@dataclass(frozen=True)
class SplitGroup:
    """A group with recordings in several parts: one path for each part."""

    group: str
    paths: Mapping[str, str]

    def __str__(self) -> str:
        where = ", ".join(f"{path} in {part}" for part, path in sorted(self.paths.items()))
        return f"group '{self.group}': {where}"


def find_leaks(
    pairs: Iterable[DuplicatePair], recordings: Sequence[Recording], part_of: Mapping[str, str]
) -> list[Leak]:
    """Return the pairs whose files are in different parts; a path that is in no part leaks nothing."""
    of = {recording.path: recording for recording in recordings}
    leaks = []
    for pair in pairs:
        if pair.first in part_of and pair.second in part_of and part_of[pair.first] != part_of[pair.second]:
            one, other = of[pair.first], of[pair.second]
            parts = (part_of[pair.first], part_of[pair.second])
            leaks.append(Leak(pair, parts, (one.label, other.label), (one.group, other.group)))
    return leaks


def find_split_groups(recordings: Iterable[Recording], part_of: Mapping[str, str]) -> list[SplitGroup]:
    """Return the groups with recordings in several parts, sorted."""
    members: dict[str, dict[str, str]] = defaultdict(dict)
    for recording in recordings:
        if recording.path in part_of:
            members[recording.group].setdefault(part_of[recording.path], recording.path)
    return [SplitGroup(group, paths) for group, paths in sorted(members.items()) if len(paths) > 1]


MERGE_REMEDY = "Say 'audiocnn audit --merge-groups': then copies share a group and stay on one side of any split."
_MOST_SHOWN = 5


@dataclass(frozen=True)
class MergedGroups:
    """Recordings of which copies share a group, and how many recordings and groups changed."""

    recordings: Sequence[Recording]
    n_changed: int
    n_before: int
    n_after: int


def check_duplicates(
    pairs: Sequence[DuplicatePair], recordings: Sequence[Recording], contents: Mapping[str, str]
) -> list[Finding]:
    """Say how many are exact and near copies, and which of them would be dealt to a split apart.

    ``contents`` has the SHA-256 of every usable file: byte-identical ones are not dealt apart in any case.
    """
    usable = [r for r in recordings if r.path in contents]
    group = dict(zip((r.path for r in usable), split.merge_groups(usable, contents), strict=True))
    found = []
    for exact, topic, what in (
        (True, "duplicates", "the very same samples"),
        (False, "near-duplicates", "the same sound (at another level, rate, format or length)"),
    ):
        those = [pair for pair in pairs if pair.exact == exact]
        alike = duplicates.connected_sets(those)
        if not alike:
            found.append(Finding("pass", topic, f"No two recordings hold {what}."))
            continue
        apart = [pair for pair in those if group[pair.first] != group[pair.second]]
        severity: Severity = "warn" if apart else "pass"
        spread = (
            f"; {pluralize(len(apart), 'pair')} of them in different groups, so that one may be learned from and the "
            "other be judged by"
            if apart
            else "; each set is one group, so no split divides it"
        )
        n = sum(map(len, alike))
        sentence = f"{pluralize(n, 'recording')} hold {what} as another ({pluralize(len(alike), 'set')}){spread}."
        found.append(Finding(severity, topic, sentence, MERGE_REMEDY if apart else "", _shown(apart or those)))
    return found


def check_duplicate_labels(pairs: Sequence[DuplicatePair], recordings: Sequence[Recording]) -> list[Finding]:
    """Name the sets of copies whose labels differ; stretches of a file may have any."""
    label = {r.path: r.label for r in recordings if r.stretch is None}
    torn = []
    for members in duplicates.connected_sets(pair for pair in pairs if pair.first in label and pair.second in label):
        if len({label[path] for path in members}) > 1:
            torn.append(" = ".join(f"{path} ({label[path]})" for path in members[:4]))
    if not torn:
        return [] if not pairs else [Finding("pass", "labels of copies", "Copies of a recording all have one label.")]
    sentence = f"{pluralize(len(torn), 'recording is', 'recordings are')} there more than once, with different labels."
    remedy = (
        "Listen to them, and correct the label or take one out. A mixture of which another recording is the loud part "
        "counts as a copy."
    )
    return [Finding("fail", "labels of copies", sentence, remedy, torn[:_MOST_SHOWN])]


def check_splits(
    pairs: Sequence[DuplicatePair], recordings: Sequence[Recording], parts: Mapping[str, Mapping[str, str]]
) -> list[Finding]:
    """Say what lies on both sides of divisions that exist; ``parts`` has each one's part of every path, by its name."""
    found = []
    for name, part_of in parts.items():
        leaking = find_leaks(pairs, recordings, part_of)
        cut = find_split_groups(recordings, part_of)
        if leaking:
            sentence = f"{name} puts {pluralize(len(leaking), 'pair')} of copies on different sides."
            found.append(
                Finding(
                    "fail", "leaks", sentence, _mend(name, MERGE_REMEDY), [str(leak) for leak in leaking[:_MOST_SHOWN]]
                )
            )
        if cut:
            sentence = f"{name} cuts through {pluralize(len(cut), 'group')}."
            remedy = _mend(name, "Put each group into one part.")
            found.append(Finding("fail", "leaks", sentence, remedy, [str(group) for group in cut[:_MOST_SHOWN]]))
        if not leaking and not cut:
            found.append(Finding("pass", "leaks", f"{name} has every copy and every group on one side."))
    return found


def merge_groups(pairs: Sequence[DuplicatePair], recordings: Sequence[Recording]) -> MergedGroups:
    """Let all recordings that are copies of each other share a group: the first by name of those that they have."""
    owner = {path: members[0] for members in duplicates.connected_sets(pairs) for path in members}
    groups = split.merge_groups(recordings, {r.path: owner.get(r.path, r.path) for r in recordings})
    together = [replace(r, group=group) for r, group in zip(recordings, groups, strict=True)]
    n_changed = sum(r.group != merged.group for r, merged in zip(recordings, together, strict=True))
    return MergedGroups(together, n_changed, len({r.group for r in recordings}), len(set(groups)))


def _mend(name: str, remedy: str) -> str:
    return f"Delete {name} and train again. {remedy}" if name.endswith(".json") else f"{remedy} Correct {name}."


def _shown(pairs: Sequence[DuplicatePair]) -> list[str]:
    return [
        f"{pair.first} = {pair.second}" + ("" if pair.exact else f" ({pair.shared_s:.1f} s in common)")
        for pair in pairs[:_MOST_SHOWN]
    ]
