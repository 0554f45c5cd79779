"""Suggest groups from file names: parts of one recording, recordings of one session.

Takes recordings; returns groupings from fine to coarse, each with a pattern for ``init --group-by``. The finest is the
one that `audiocnn.dataset.survey` suggests; a coarser one drops the end of the group names of a finer one.
"""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from audiocnn.dataset import manifest, survey
from audiocnn.dataset.manifest import Recording

_MAX_LEVELS = 3
_MIN_GROUPS = 3  # of a label: one for each part of a split
_SUFFIX = r"\.[^./]+$"
_PIECE = re.compile(r"\d+|[^\W\d_]+|[\W_]")  # of a name: a number, a word, a punctuation mark
_SEPARATOR = re.compile(r"[-_. ]+")


@dataclass(frozen=True)
class Grouping:
    """One way to group: the ``pattern`` for ``--group-by``, the ``group`` of every path, and ``n_groups`` by label."""

    pattern: str
    group: Mapping[str, str]
    n_groups: Mapping[str, int]

    @property
    def total(self) -> int:
        """Number of groups."""
        return len(set(self.group.values()))

    def is_kept_in(self, recordings: Sequence[Recording]) -> bool:
        """Return whether these recordings already have one group for each group of this grouping, or coarser ones."""
        existing: dict[str, str] = {}
        return all(existing.setdefault(self.group[r.path], r.group) == r.group for r in recordings)


def suggest_groupings(recordings: Sequence[Recording]) -> list[Grouping]:
    """Return the groupings that the names suggest, fine to coarse; none if the names are hashes or mere numbers."""
    files = {r.path: replace(r, group=r.path, start_s=None, end_s=None) for r in recordings}
    ungrouped = list(files.values())
    if survey.suggest_groups(ungrouped) is None:
        return []
    found = [_grouping(ungrouped, survey.GROUP_PATTERN)]
    while len(found) < _MAX_LEVELS:
        target = _coarser_groups(found[-1].group)
        candidates = (_grouping(ungrouped, pattern) for pattern in _candidate_patterns(target))
        coarser = next((grouping for grouping in candidates if grouping.group == target), None)
        if coarser is None or min(coarser.n_groups.values()) < _MIN_GROUPS or coarser.total >= found[-1].total:
            break
        found.append(coarser)
    return found


def _grouping(recordings: Sequence[Recording], pattern: str) -> Grouping:
    grouped, _ = manifest.group_by(recordings, pattern)
    names: dict[str, set[str]] = defaultdict(set)
    for recording in grouped:
        names[recording.label].add(recording.group)
    n_groups = {label: len(found) for label, found in sorted(names.items())}
    return Grouping(pattern, {r.path: r.group for r in grouped}, n_groups)


def _coarser_groups(group: Mapping[str, str]) -> dict[str, str]:
    """Shorten the names of each shape, at the last separator that leaves fewer names; keep the other names."""
    names_of_shape: dict[str, set[str]] = defaultdict(set)
    for name in group.values():
        names_of_shape[_shape(name)].add(name)
    shorter: dict[str, str] = {}
    for names in names_of_shape.values():
        cuts = {name: [match.start() for match in _SEPARATOR.finditer(name) if match.start()] for name in names}
        for back in range(1, 1 + min(map(len, cuts.values()))):
            cut = {name: name[: cuts[name][-back]] for name in names}
            if len(set(cut.values())) < len(names):
                shorter |= cut
                break
    return {path: name if name == path else shorter.get(name, name) for path, name in group.items()}


def _candidate_patterns(group: Mapping[str, str]) -> list[str]:
    """Return patterns that may make these groups: from the ends of the names, and from the whole names."""
    ends, whole = set(), set()
    for path, name in group.items():
        stem = path.rpartition("/")[2].rpartition(".")[0]
        if name != path and stem.startswith(name):
            ends.add(_shape(stem[len(name) :]))
            whole.add(f"(?:^|/)({_shape(name)}){_shape(stem[len(name) :])}")
    if not ends:
        return []
    found = [rf"([^/]+?)(?:{'|'.join(sorted(ends))}){_SUFFIX}", rf"(?:{'|'.join(sorted(whole))}){_SUFFIX}"]
    return [pattern for pattern in found if "'" not in pattern]  # the pattern is quoted with them on a command line


def _shape(name: str) -> str:
    r"""Return a pattern for names of the same form, with any numbers and words.

    >>> _shape("_067-bebop_000_") == r"_\d+-[^\W\d_]+_\d+_"
    True
    """
    pieces = []
    for piece in _PIECE.findall(name):
        if piece.isdigit():
            pieces.append(r"\d+")
        elif piece.isalpha():
            pieces.append(r"[^\W\d_]+")
        else:
            pieces.append(piece if piece in "-_ " else re.escape(piece))
    return "".join(pieces)
