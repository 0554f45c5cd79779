"""Groups that file names suggest: parts of one recording, recordings of one session.

Takes recordings, returns levels from fine to coarse, each with a pattern for ``init --group-by``. The finest is the one
that `audiocnn.dataset.survey` proposes; a coarser one leaves out what stands at the end of the names of a finer one.
"""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from audiocnn.dataset import manifest, survey
from audiocnn.dataset.manifest import Recording

_MOST_LEVELS = 3
_FEWEST_GROUPS = 3  # of a label: one for each part of a split
_SUFFIX = r"\.[^./]+$"
_PIECE = re.compile(r"\d+|[^\W\d_]+|[\W_]")  # of a name: a number, a word, a sign
_SEPARATOR = re.compile(r"[-_. ]+")


@dataclass(frozen=True)
class Grouping:
    """One way to group: ``pattern`` is for ``--group-by``, ``group`` that of every path, ``n_groups`` by label."""

    pattern: str
    group: Mapping[str, str]
    n_groups: Mapping[str, int]

    @property
    def total(self) -> int:
        """How many groups it makes."""
        return len(set(self.group.values()))

    def is_kept_in(self, recordings: Sequence[Recording]) -> bool:
        """Whether what is one group at this level is so in these recordings already."""
        theirs: dict[str, str] = {}
        return all(theirs.setdefault(self.group[r.path], r.group) == r.group for r in recordings)


def suggest_groupings(recordings: Sequence[Recording]) -> list[Grouping]:
    """Return the groupings that the names suggest, fine to coarse; none where names are hashes or merely numbered."""
    files = {r.path: replace(r, group=r.path, start_s=None, end_s=None) for r in recordings}
    alone = list(files.values())
    if survey.suggest_groups(alone) is None:
        return []
    found = [_level(alone, survey.GROUP_PATTERN)]
    while len(found) < _MOST_LEVELS:
        wanted = _coarser(found[-1].group)
        coarser = next(
            (level for level in (_level(alone, p) for p in _patterns(wanted)) if level.group == wanted), None
        )
        enough = coarser is not None and min(coarser.n_groups.values()) >= _FEWEST_GROUPS
        if coarser is None or not enough or coarser.total >= found[-1].total:
            break
        found.append(coarser)
    return found


def _level(recordings: Sequence[Recording], pattern: str) -> Grouping:
    grouped, _ = manifest.group_by(recordings, pattern)
    names: dict[str, set[str]] = defaultdict(set)
    for recording in grouped:
        names[recording.label].add(recording.group)
    n_groups = {label: len(found) for label, found in sorted(names.items())}
    return Grouping(pattern, {r.path: r.group for r in grouped}, n_groups)


def _coarser(group: Mapping[str, str]) -> dict[str, str]:
    """Cut names of the same shape short, at the last separator that leaves fewer of them; others stay as they are."""
    families: dict[str, set[str]] = defaultdict(set)
    for name in group.values():
        families[_shape(name)].add(name)
    shorter: dict[str, str] = {}
    for names in families.values():
        ends = {name: [match.start() for match in _SEPARATOR.finditer(name) if match.start()] for name in names}
        for back in range(1, 1 + min(map(len, ends.values()))):
            cut = {name: name[: ends[name][-back]] for name in names}
            if len(set(cut.values())) < len(names):
                shorter |= cut
                break
    return {path: name if name == path else shorter.get(name, name) for path, name in group.items()}


def _patterns(group: Mapping[str, str]) -> list[str]:
    """Patterns that may make these groups: by how names end, and by how they begin as well."""
    ends, whole = set(), set()
    for path, name in group.items():
        stem = path.rpartition("/")[2].rpartition(".")[0]
        if name != path and stem.startswith(name):
            ends.add(_shape(stem[len(name) :]))
            whole.add(f"(?:^|/)({_shape(name)}){_shape(stem[len(name) :])}")
    if not ends:
        return []
    found = [rf"([^/]+?)(?:{'|'.join(sorted(ends))}){_SUFFIX}", rf"(?:{'|'.join(sorted(whole))}){_SUFFIX}"]
    return [pattern for pattern in found if "'" not in pattern]  # it is to stand between them on a command line


def _shape(name: str) -> str:
    r"""A pattern for names like this one: its numbers may be others, and so may its words.

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
