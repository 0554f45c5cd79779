"""Find leaks between the parts of a split: copies of one recording, or recordings of one group, in different parts.

Takes pairs of copies and the parts by `Recording.split_key`; returns leaks and findings. The caller decides whether
leaks stop a training.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from audiocnn.audit import duplicates
from audiocnn.audit.duplicates import DuplicatePair
from audiocnn.audit.finding import Finding, Severity, pluralize
from audiocnn.dataset import split
from audiocnn.dataset.manifest import Recording

MERGE_REMEDY = "Run 'audiocnn audit --merge-groups' to give copies one group, so that no split separates them."
_MAX_EXAMPLES = 5


@dataclass(frozen=True)
class Leak:
    """Two copies of one recording in different parts, such as train and test; all in the order of ``pair``."""

    pair: DuplicatePair
    parts: tuple[str, str]
    labels: tuple[str, str]
    groups: tuple[str, str]

    def __str__(self) -> str:
        (one, other), (part, other_part) = (self.pair.first, self.pair.second), self.parts
        return f"{one} ({part}) = {other} ({other_part})"


@dataclass(frozen=True)
class SplitGroup:
    """A group with recordings in several parts: one path of each part."""

    group: str
    paths: Mapping[str, str]

    def __str__(self) -> str:
        where = ", ".join(f"{path} in {part}" for part, path in sorted(self.paths.items()))
        return f"group '{self.group}': {where}"


@dataclass(frozen=True)
class MergedGroups:
    """Recordings whose copies share a group; how many changed their group, and how many groups there are."""

    recordings: Sequence[Recording]
    n_changed: int
    n_before: int
    n_after: int


def find_leaks(
    pairs: Iterable[DuplicatePair], recordings: Sequence[Recording], part_of: Mapping[str, str]
) -> list[Leak]:
    """Return the pairs whose files are in different parts; those without a part are ignored.

    Where the groups of a file are cut, only stretches that overlap in time are copies.
    """
    of_path = _by_path(recordings)
    leaks = []
    for pair in pairs:
        for one, other in _overlapping(pair, of_path):
            part, other_part = part_of.get(one.split_key), part_of.get(other.split_key)
            if part is not None and other_part is not None and part != other_part:
                leaks.append(Leak(pair, (part, other_part), (one.label, other.label), (one.group, other.group)))
                break
    return leaks


def find_split_groups(recordings: Iterable[Recording], part_of: Mapping[str, str]) -> list[SplitGroup]:
    """Return the groups that have recordings in several parts, sorted by name."""
    members: dict[str, dict[str, str]] = defaultdict(dict)
    for recording in recordings:
        if (part := part_of.get(recording.split_key)) is not None:
            members[recording.group].setdefault(part, recording.path)
    return [SplitGroup(group, paths) for group, paths in sorted(members.items()) if len(paths) > 1]


def check_duplicates(
    pairs: Sequence[DuplicatePair], recordings: Sequence[Recording], contents: Mapping[str, str]
) -> list[Finding]:
    """Report exact and near copies, and those that a split may put into different parts.

    ``contents`` has the SHA-256 of every usable file by path: a split never separates byte-identical files.
    """
    usable = [r for r in recordings if r.path in contents]
    of_path = _by_path(usable)
    group = dict(zip((r.split_key for r in usable), split.merge_groups(usable, contents), strict=True))
    found = []
    for exact, topic, what in (
        (True, "duplicates", "the same samples"),
        (False, "near-duplicates", "the same sound (at another level, rate, format or length)"),
    ):
        of_kind = [pair for pair in pairs if pair.exact == exact]
        sets = duplicates.connected_sets(of_kind)
        if not sets:
            found.append(Finding("pass", topic, f"No two recordings hold {what}."))
            continue
        separable = [
            pair
            for pair in of_kind
            if any(group[one.split_key] != group[other.split_key] for one, other in _overlapping(pair, of_path))
        ]
        severity: Severity = "warn" if separable else "pass"
        spread = (
            f"; {pluralize(len(separable), 'pair')} of them in different groups, so a split may use one for training "
            "and the other for testing"
            if separable
            else "; each set is one group, so no split separates it"
        )
        n = sum(map(len, sets))
        sentence = f"{pluralize(n, 'recording')} hold {what} as another one ({pluralize(len(sets), 'set')}){spread}."
        found.append(
            Finding(severity, topic, sentence, MERGE_REMEDY if separable else "", _examples(separable or of_kind))
        )
    return found


def check_duplicate_labels(pairs: Sequence[DuplicatePair], recordings: Sequence[Recording]) -> list[Finding]:
    """Report the sets of copies whose labels differ; clips of an annotated file are ignored.

    A recording that is cut into groups is none: it has a stretch from the start of each group.
    """
    whole = [r for r in recordings if r.stretch is None or (r.cut is not None and r.start_s == r.cut[0])]
    label = {r.path: r.label for r in whole}
    conflicts = []
    for members in duplicates.connected_sets(pair for pair in pairs if pair.first in label and pair.second in label):
        if len({label[path] for path in members}) > 1:
            conflicts.append(" = ".join(f"{path} ({label[path]})" for path in members[:4]))
    if not conflicts:
        return [] if not pairs else [Finding("pass", "labels of copies", "Copies of a recording all have one label.")]
    sentence = (
        f"{pluralize(len(conflicts), 'recording occurs', 'recordings occur')} more than once, with different labels."
    )
    remedy = (
        "Listen to them, and correct the label or remove one of them. A mix also counts as a copy of the recording "
        "that dominates it."
    )
    return [Finding("fail", "labels of copies", sentence, remedy, conflicts[:_MAX_EXAMPLES])]


def check_splits(
    pairs: Sequence[DuplicatePair], recordings: Sequence[Recording], parts: Mapping[str, Mapping[str, str]]
) -> list[Finding]:
    """Report copies and groups that existing splits separate; ``parts`` has the parts by split name."""
    found = []
    for name, part_of in parts.items():
        leaking = find_leaks(pairs, recordings, part_of)
        split_groups = find_split_groups(recordings, part_of)
        if leaking:
            sentence = f"{name} puts {pluralize(len(leaking), 'pair')} of copies into different parts."
            found.append(
                Finding(
                    "fail",
                    "leaks",
                    sentence,
                    _remedy(name, MERGE_REMEDY),
                    [str(leak) for leak in leaking[:_MAX_EXAMPLES]],
                )
            )
        if split_groups:
            sentence = f"{name} splits {pluralize(len(split_groups), 'group')}."
            remedy = _remedy(name, "Put each group into one part.")
            found.append(
                Finding("fail", "leaks", sentence, remedy, [str(group) for group in split_groups[:_MAX_EXAMPLES]])
            )
        if not leaking and not split_groups:
            found.append(Finding("pass", "leaks", f"{name} keeps all copies and all groups together."))
    return found


def merge_groups(pairs: Sequence[DuplicatePair], recordings: Sequence[Recording]) -> MergedGroups:
    """Give all copies of a recording one group: the first by name of the groups that they have.

    A file with cut groups that has copies is one group again.
    """
    representative = {path: members[0] for members in duplicates.connected_sets(pairs) for path in members}
    whole = [replace(r, group=r.path) if r.cut is not None and r.path in representative else r for r in recordings]
    groups = split.merge_groups(whole, {r.path: representative.get(r.path, r.path) for r in recordings})
    merged = [replace(r, group=group) for r, group in zip(recordings, groups, strict=True)]
    n_changed = sum(r.group != new.group for r, new in zip(recordings, merged, strict=True))
    return MergedGroups(merged, n_changed, len({r.group for r in recordings}), len(set(groups)))


def _by_path(recordings: Iterable[Recording]) -> dict[str, list[Recording]]:
    """Return the recordings by path: one of each file, or one of each group of a file whose groups are cut."""
    found: dict[str, list[Recording]] = defaultdict(list)
    for recording in {recording.split_key: recording for recording in recordings}.values():
        found[recording.path].append(recording)
    return found


def _overlapping(
    pair: DuplicatePair, of_path: Mapping[str, Sequence[Recording]]
) -> Iterator[tuple[Recording, Recording]]:
    """Yield the recordings of both files of a pair; where groups are cut, those that overlap in time."""
    for one in of_path.get(pair.first, ()):
        start, end = one.cut or (0.0, math.inf)
        for other in of_path.get(pair.second, ()):
            other_start, other_end = other.cut or (0.0, math.inf)
            if start < other_end + pair.lag_s and other_start + pair.lag_s < end:
                yield one, other


def _remedy(name: str, remedy: str) -> str:
    return f"Delete {name} and train again. {remedy}" if name.endswith(".json") else f"{remedy} Correct {name}."


def _examples(pairs: Sequence[DuplicatePair]) -> list[str]:
    return [
        f"{pair.first} = {pair.second}" + ("" if pair.exact else f" ({pair.shared_s:.1f} s overlap)")
        for pair in pairs[:_MAX_EXAMPLES]
    ]
