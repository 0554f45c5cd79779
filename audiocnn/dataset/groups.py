"""Suggest groups from file names: parts of one recording, recordings of one speaker, session, site or day.

Takes recordings; returns groupings from fine to coarse, each with a pattern for ``init --group-by``.

`FORMS` lists the names that public data sets and recorders write. All other names are cut into fields: the words and
numbers between punctuation marks, and sub-folders of a label. A group is a run of fields that several recordings of a
label share. Names with the same punctuation form a family, and each family has keys from fine to coarse.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import takewhile

from audiocnn.dataset import manifest
from audiocnn.dataset.manifest import Recording
from audiocnn.text import printable

_MAX_FAMILIES = 12  # the largest ones, so that a pattern stays readable
_MAX_LEFT_OUT = 100  # keys that a pattern names to leave them out
_MAX_FIELDS = 12  # of which all runs are tried; of longer names only those from the beginning
_MIN_GROUPS = 3  # of a label: one for each part of a split
_MIN_SHARE = 1.5  # recordings per group, on average, for a field to be shared
_LONG_NUMBER = 4  # digits of a number that is more than a running number
_SUFFIX = r"\.[^./]+$"
_DATE = r"(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"
_FIELD = re.compile(r"[^\W_]+")
_GLUED = re.compile(r"(.*[^\W\d_])(\d+)|(.*\d)([^\W\d_])")  # a running number or letter at the end: noise003, 17295b
_DIVISION = re.compile(r"(?:fold|split|part|train|valid|test|dev|eval)", re.IGNORECASE)  # folders that are no groups


@dataclass(frozen=True)
class NameForm:
    """Names as a data set or a recorder writes them.

    ``unit`` is what the group is. ``keys`` are patterns of the name without its suffix, fine to coarse; the first
    parenthesis is the group.
    """

    source: str
    unit: str
    keys: tuple[str, ...]


FORMS = (
    # fold-clip-take-target: the README of ESC-50; takes A, B, ... are cut from one Freesound clip
    NameForm("ESC-50", "the Freesound clip", (r"[1-5]-(\d+)-[A-Z]-\d+",)),
    # fsID-classID-occurrenceID-sliceID: the README of UrbanSound8K
    NameForm("UrbanSound8K", "the Freesound recording", (r"(\d{2,})-\d-\d+-\d+",)),
    # hash of the speaker, number of the take: Warden, "Speech Commands" (2018), section 5.5
    NameForm("Speech Commands", "the speaker", (r"([0-9a-f]{8})_nohash_\d+",)),
    # digit_speaker_take: the README of the Free Spoken Digit Dataset
    NameForm("Free Spoken Digit Dataset", "the speaker", (r"\d_([^\W\d_]+)_\d+",)),
    # [instrument][drums][genre]recording__excerpt, with or without a number before: the README of IRMAS
    NameForm("IRMAS", "the song", (r"(?:\d+__)?(?:\[[^]/]+\])+(\d+)__\d+",)),
    # id__user__title: downloads of Freesound
    NameForm("Freesound", "the user", (r"\d+__([^/]+?)__[^/]+",)),
    # date_time, and T for a recording that a sound started: the manual of AudioMoth
    NameForm("AudioMoth", "the day", (rf"({_DATE})_\d{{6}}T?(?:[-_. ][^/]*)?",)),
    # seconds since 1970 as a hexadecimal number; its first four digits change every 18 hours
    NameForm("older AudioMoths", "a stretch of 18 hours", (r"([56][\dA-F]{3})[\dA-F]{4}",)),
    # prefix_date_time, the prefix being the device or the site: the manuals of Song Meter and AudioMoth
    NameForm(
        "recorders such as Song Meter",
        "the day of a device",
        (rf"([^/]+?_{_DATE})[_$]\d{{6}}(?:[-_. T][^/]*)?", rf"([^/]+?)_{_DATE}[_$]\d{{6}}(?:[-_. T][^/]*)?"),
    ),
)


@dataclass(frozen=True)
class Grouping:
    """One way to group: the ``pattern`` for ``--group-by``, the ``group`` of every path, and ``n_groups`` by label.

    A path that the pattern does not match is its own group; ``n_grouped`` is ``n_groups`` without these. ``forms`` are
    the known forms of names that it rests on.
    """

    pattern: str
    group: Mapping[str, str]
    n_groups: Mapping[str, int]
    n_grouped: Mapping[str, int]
    forms: Sequence[NameForm] = ()

    @cached_property
    def names(self) -> list[str]:
        """The groups that the pattern makes."""
        return list(dict.fromkeys(name for path, name in self.group.items() if name != path))

    @property
    def n_alone(self) -> int:
        """Number of files that the pattern does not match."""
        return sum(name == path for path, name in self.group.items())

    def is_kept_in(self, recordings: Sequence[Recording]) -> bool:
        """Return whether these recordings already have one group for each group of this grouping, or coarser ones."""
        existing: dict[str, str] = {}
        return all(
            existing.setdefault(self.group[r.path], r.group) == r.group
            for r in recordings
            if r.cut is None or self.group[r.path] != r.path
        )


@dataclass
class _Family:
    """Files whose names are built alike: paths, labels, and their keys at every level, fine to coarse.

    ``patterns`` make the keys of the levels: what is before the key, the key in a parenthesis, what is after it.
    ``level`` is the one in use. Names with a key of the first level in ``left_out`` are not grouped.
    """

    paths: Sequence[str]
    labels: Sequence[str]
    keys: Sequence[Sequence[str]]
    patterns: Sequence[tuple[str, str, str]]
    form: NameForm | None = None
    left_out: frozenset[str] = frozenset()
    level: int = 0

    @property
    def key(self) -> Sequence[str]:
        return self.keys[self.level]

    @property
    def rule(self) -> str:
        """The pattern of the names of this family, at its level."""
        pattern = "".join(self.patterns[self.level])
        if not self.left_out:
            return pattern
        before, _, after = self.patterns[0]
        return rf"(?!{before}(?:{'|'.join(map(re.escape, sorted(self.left_out)))}){after}\.){pattern}"

    @property
    def sharing(self) -> set[str]:
        """The labels whose recordings share their keys, within the label or with other labels."""
        return _sharing(self.labels, self.key, across=False) | _sharing(self.labels, self.key, across=True)

    def without(self, labels: Collection[str]) -> "_Family":
        """Return the family without some labels, whose names are left out."""
        kept = [i for i, label in enumerate(self.labels) if label not in labels]
        paths, of, *keys = ([column[i] for i in kept] for column in (self.paths, self.labels, *self.keys))
        return replace(self, paths=paths, labels=of, keys=keys, left_out=frozenset(self.keys[0]).difference(keys[0]))


def suggest(recordings: Sequence[Recording]) -> list[Grouping]:
    """Return up to three groupings that the names suggest, fine to coarse: the two finest and the coarsest."""
    files = list({r.path: Recording(r.path, r.label, r.path) for r in recordings}.values())
    families = _without_single_groups(files, _families(files))
    fewest = {label: min(_MIN_GROUPS, n) for label, n in _count_groups(files, families).items()}
    found: list[Grouping] = []
    while families:
        grouping = _grouping(files, families)
        if len(grouping.names) < (len(found[-1].names) if found else len(files)):
            found.append(grouping)
        coarser = [_coarsen(family, families, files, fewest) for family in families]
        if not any(coarser):
            break
    return [*found[:2], *found[2:][-1:]]


def _grouping(files: Sequence[Recording], families: Sequence[_Family]) -> Grouping:
    """Return the groups that the pattern of the families makes."""
    rules = sorted({family.rule for family in families})
    pattern = rf"(?:^|/)(?:{'|'.join(rules)}){_SUFFIX}" if len(rules) > 1 else rf"(?:^|/){rules[0]}{_SUFFIX}"
    grouped, _ = manifest.group_by(files, pattern)
    forms = tuple(family.form for family in families if family.form is not None)
    n_groups, n_grouped = (
        {label: len(names) for label, names in sorted(_keys_by_label(*columns).items())}
        for columns in (
            ([r.label for r in grouped], [r.group for r in grouped]),
            ([r.label for r in grouped if r.group != r.path], [r.group for r in grouped if r.group != r.path]),
        )
    )
    return Grouping(pattern, {r.path: r.group for r in grouped}, n_groups, n_grouped, forms)


def _without_single_groups(files: Sequence[Recording], families: Sequence[_Family]) -> list[_Family]:
    """Leave out labels whose recordings are all in one group, as where the names are the label and a number.

    Such a label stays if recordings of other labels are in that group, too. Without a label that shares keys and has
    enough groups, only the known forms stay.
    """
    n_groups = _count_groups(files, families)
    good = {label for family in families for label in family.sharing if n_groups[label] >= _MIN_GROUPS}
    kept = [family for family in families if family.form is not None]
    for family in families if good else ():
        if family.form is None:
            names = _keys_by_label(family.labels, family.keys[-1])
            elsewhere = set().union(*(names[label] for label in good & names.keys()))
            single = {label for label in names if n_groups[label] == 1 and not names[label] & elsewhere}
            family = family.without(single)
            if family.sharing and len(family.left_out) <= _MAX_LEFT_OUT:
                kept.append(family)
    return kept


def _coarsen(
    family: _Family, families: Sequence[_Family], files: Sequence[Recording], fewest: Mapping[str, int]
) -> bool:
    """Go to the next level of a family that has fewer keys and leaves every label its ``fewest`` groups, if any."""
    before, n_keys = family.level, len(set(family.key))
    for level in range(before + 1, len(family.keys)):
        family.level = level
        if len(set(family.key)) < n_keys:
            n_groups = _count_groups(files, families)
            if all(n_groups[label] >= n for label, n in fewest.items()):
                return True
    family.level = before
    return False


def _count_groups(files: Sequence[Recording], families: Sequence[_Family]) -> dict[str, int]:
    """Return the number of groups of every label."""
    key = {path: name for family in families for path, name in zip(family.paths, family.key, strict=True)}
    names = _keys_by_label([r.label for r in files], [key.get(r.path, r.path) for r in files])
    return {label: len(found) for label, found in names.items()}


def _families(files: Sequence[Recording]) -> list[_Family]:
    """Return the families in which recordings share keys, the largest first."""
    rest = {r.path: r.label for r in files}
    found = []
    for form in FORMS:
        family = _known_family(rest, form)
        if family is not None:
            found.append(family)
            known = set(family.paths)
            rest = {path: label for path, label in rest.items() if path not in known}
    by_shape: dict[tuple[object, ...], dict[str, _Name]] = defaultdict(dict)
    for path, name in _names(rest):
        by_shape[name.shape][path] = name
    for names in sorted(by_shape.values(), key=len, reverse=True):
        if len(found) < _MAX_FAMILIES and (family := _new_family(names, rest)) is not None:
            found.append(family)
    return found


def _known_family(labels: Mapping[str, str], form: NameForm) -> _Family | None:
    """Return the files whose names have a known form, of labels in which half of the names or more have it."""
    patterns = [re.compile(key) for key in form.keys]
    stems = {path: path.rpartition("/")[2].rpartition(".")[0] for path in labels}
    matching = [path for path, stem in stems.items() if patterns[0].fullmatch(stem)]
    n_files, n_matching = Counter(labels.values()), Counter(labels[path] for path in matching)
    paths = [path for path in matching if 2 * n_matching[labels[path]] >= n_files[labels[path]]]
    of = [labels[path] for path in paths]
    keys = [[match[1] for path in paths if (match := pattern.fullmatch(stems[path]))] for pattern in patterns]
    n_varied = sum(n_matching[label] for label, names in _keys_by_label(of, keys[0]).items() if len(names) > 1)
    if len(set(keys[0])) == len(paths) or 2 * n_varied < len(paths):
        return None  # no two recordings share a key, or most of them are of labels with one key
    return _Family(paths, of, keys, [("", key, "") for key in form.keys], form)


@dataclass(frozen=True)
class _Name:
    """A name, and the start and end of its fields: sub-folders, then words and numbers."""

    text: str
    spans: tuple[tuple[int, int], ...]
    n_folders: int

    @property
    def separators(self) -> list[str]:
        """The punctuation before, between and after the fields."""
        starts, ends = [start for start, _ in self.spans], [end for _, end in self.spans]
        return [self.text[i:j] for i, j in zip([0, *ends], [*starts, len(self.text)], strict=True)]

    @property
    def shape(self) -> tuple[object, ...]:
        """Equal for names with the same punctuation, if both or neither of them end with a running number."""
        return (*self.separators, self.n_folders, self.ends_with_number)

    @property
    def ends_with_number(self) -> bool:
        """Whether the last field is a number or a single letter: the part of a recording, not a group."""
        last = self.key(-1, len(self.spans))
        return last.isdecimal() or (len(last) == 1 and last.isalpha())

    def key(self, first: int, last: int) -> str:
        """Return the text of the fields from ``first`` to before ``last``."""
        return self.text[self.spans[first][0] : self.spans[last - 1][1]]


def _names(labels: Mapping[str, str]) -> Iterator[tuple[str, _Name]]:
    """Yield the names of two or more fields by path, below the folder that all paths of a label share."""
    folders: dict[str, list[list[str]]] = defaultdict(list)
    for path, label in labels.items():
        folders[label].append(path.split("/")[:-1])
    n_common = {label: len(_common(parts)) for label, parts in folders.items()}
    for path, label in labels.items():
        *above, file = path.split("/")
        below = above[n_common[label] :]
        name = _name([] if any(map(_DIVISION.match, below)) else below, file.rpartition(".")[0])
        if name is not None:
            yield path, name


def _common(lists: Sequence[Sequence[str]]) -> list[str]:
    """Return the items that all lists begin with."""
    return [items[0] for items in takewhile(lambda items: len(set(items)) == 1, zip(*lists, strict=False))]


def _name(folders: Sequence[str], stem: str) -> _Name | None:
    """Return a name; None for a single field, or for marks that a pattern in quotes cannot hold."""
    spans, end = [], 0
    for folder in folders:
        spans.append((end, end + len(folder)))
        end += len(folder) + 1
    spans += [(end + match.start(), end + match.end()) for match in _FIELD.finditer(stem)]
    if len(spans) == len(folders) or "'" in stem or printable(stem) != stem:
        return None
    text = "/".join((*folders, stem))
    start, end = spans[-1]
    if glued := _GLUED.fullmatch(text, start, end):
        cut = glued.end(1) if glued[1] is not None else glued.end(3)
        spans[-1:] = [(start, cut), (cut, end)]
    return _Name(text, tuple(spans), len(folders)) if len(spans) > 1 else None


def _new_family(names: Mapping[str, _Name], label_of: Mapping[str, str]) -> _Family | None:
    """Return the family of names with one shape; None if no label shares a field."""
    labels, one = [label_of[path] for path in names], next(iter(names.values()))
    n = len(one.spans)
    fields = [[name.key(k, k + 1) for name in names.values()] for k in range(n)]
    varied = [len(set(zip(labels, column, strict=True))) > len(set(labels)) for column in fields]  # within a label
    telling = [varied[k] and any(map(_is_telling, fields[k])) for k in range(n)]
    runs = [(i, j) for i in range(n if n <= _MAX_FIELDS else 1) for j in range(i + 1, n + 1) if (i, j) != (0, n)]
    keys = {run: [name.key(*run) for name in names.values()] for run in runs}
    inside = [run for run in runs if not one.ends_with_number or run[1] < n]
    shared = [run for run in inside if _sharing(labels, keys[run], across=False)]
    if not any(any(varied[i:j]) for i, j in shared):  # one recording of each group a label, or groups at the end
        shared += [run for run in inside if any(telling[slice(*run)]) and _sharing(labels, keys[run], across=True)]
        if one.ends_with_number and telling[-1] and _sharing(labels, keys[n - 1, n], across=False):
            shared.append((n - 1, n))
    if not shared:
        return None

    def rank(run: tuple[int, int]) -> tuple[bool, bool, int, int, int]:
        i, j = run
        return any(varied[i:j]), any(telling[i:j]), -i, len(set(keys[run])), j - i

    first, last = max(shared, key=rank)
    constant = takewhile(lambda k: not varied[k], range(first, last - 1))
    naming = max((k + 1 for k in constant if len(set(fields[k])) > 1), default=first)  # after what names the label
    chain = [(start, j) for start in sorted({first, naming}) for j in range(last, start, -1) if (start, j) in keys]
    return _Family(list(names), labels, [keys[run] for run in chain], [_pattern(one, fields, run) for run in chain])


def _pattern(name: _Name, fields: Sequence[Sequence[str]], run: tuple[int, int]) -> tuple[str, str, str]:
    """Return the pattern of the names of a family: before the fields of ``run``, these in a parenthesis, after them."""
    marks = [re.escape(mark).replace(r"\-", "-").replace(r"\ ", " ") for mark in name.separators]
    parts = []
    for k, column in enumerate(fields):
        if k < name.n_folders:
            part = "[^/]+"
        elif all(map(str.isdecimal, column)):
            part = r"\d+"
        else:
            part = r"[^\W\d_]+" if all(map(str.isalpha, column)) else r"[^\W_]+"
        parts.append(part + "?" if k + 2 == len(fields) and marks[k + 1] == "" else part)  # ends where a number begins
    first, last = run
    with_marks = [mark + part for mark, part in zip(marks, parts, strict=False)]
    key = parts[first] + "".join(with_marks[first + 1 : last])
    return "".join(with_marks[:first]) + marks[first], f"({key})", "".join([*with_marks[last:], marks[-1]])


def _is_telling(field: str) -> bool:
    """Return whether a field is more than a running number or letter."""
    return len(field) > 1 and (not field.isdecimal() or len(field) >= _LONG_NUMBER)


def _sharing(labels: Sequence[str], keys: Sequence[str], *, across: bool) -> set[str]:
    """Return the labels whose recordings share their keys: within the label, or ``across`` labels."""
    pairs, counts = Counter(zip(labels, keys, strict=True)), Counter(keys)
    shared, n_keys = Counter[str](), Counter[str]()
    for (label, key), n in pairs.items():
        shared[label] += counts[key] if across else n
        n_keys[label] += 1
    return {label for label, n in shared.items() if n >= _MIN_SHARE * n_keys[label]}


def _keys_by_label(labels: Sequence[str], keys: Sequence[str]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for label, key in zip(labels, keys, strict=True):
        found[label].add(key)
    return found
