"""Split recordings into train, validation and test, or into folds.

A split keeps groups whole, puts every label into every part, and depends only on its inputs. A label with fewer groups
than there are parts is rare: it is only in train, or left out, or refused (``split.rare``).
"""

import json
import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audiocnn.dataset.manifest import PARTS, Recording, labels_of
from audiocnn.errors import IntegrityError, SplitError
from audiocnn.files import digest_of, write_json
from audiocnn.specs import SplitSpec
from audiocnn.text import printable

SCHEMA = "audiocnn.split/1"
DEFAULT_FOLDS = 5
_CUT_GROUPS = "cut long recordings of it with init --cut-groups 60s"


@dataclass(frozen=True)
class Split:
    """The part of every usable recording, by `Recording.split_key`: the path, but for recordings whose groups are cut.

    ``key`` is a digest of the inputs, ``digest`` one of the result. So that a later training can keep the split
    (`audiocnn.dataset.kept_split`), it also has the ``settings`` that it was made with, None if not known, the
    ``contents`` of recordings, as the start of a SHA-256, and the part of recordings that are ``gone``.
    """

    key: str
    part: Mapping[str, str]
    settings: Mapping[str, float] | None = None
    contents: Mapping[str, str] = field(default_factory=dict)
    gone: Mapping[str, str] = field(default_factory=dict)

    def of(self, part: str) -> list[str]:
        """Return the keys of the recordings in ``part``, sorted."""
        return sorted(key for key, where in self.part.items() if where == part)

    def part_of(self, recording: Recording) -> str | None:
        """Return the part of a recording; None if the split does not have it."""
        return self.part.get(recording.split_key)

    @property
    def digest(self) -> str:
        return digest_of(dict(self.part))

    def write(self, file: Path) -> None:
        parts = {part: self.of(part) for part in PARTS}
        further = {"settings": self.settings, "contents": self.contents, "gone": self.gone}
        known = {name: dict(sorted(value.items())) for name, value in further.items() if value}
        write_json(file, {"schema": SCHEMA, "key": self.key, "digest": self.digest, "parts": parts, **known})


def read(file: Path) -> Split:
    """Read a file that `Split.write` wrote; raise `IntegrityError` if it is damaged or another file."""
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
        if value["schema"] != SCHEMA:
            raise ValueError(f"schema {value['schema']!r}")
        part = {key: part for part in PARTS for key in value["parts"][part]}
        split = Split(
            value["key"], part, value.get("settings"), *(dict(value.get(n, {})) for n in ("contents", "gone"))
        )
        if split.digest != value["digest"]:
            raise ValueError("its digest is not that of its parts")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise IntegrityError(f"{file}: not a split ({error}); delete it and train again") from error
    return split


def make(recordings: Sequence[Recording], hashes: Mapping[str, str], spec: SplitSpec) -> Split:
    """Split usable recordings, given the SHA-256 of each path's content.

    Byte-identical recordings form one group. A ``split`` column is used if there is one, and a missing part is taken
    from train; `SplitError` if the column divides a group or leaves a label out of train. Otherwise groups are assigned
    at random (``spec.seed``) so that each label is divided by the fractions of ``spec``. `rare_labels` are put
    into train if ``spec.rare`` is ``train``; `SplitError` if another label has fewer groups than there are parts.
    """
    recordings = sorted(recordings, key=lambda r: r.order)
    groups = merge_groups(recordings, hashes)
    key = key_of(recordings, groups, spec)
    if not recordings or recordings[0].split is None:
        rare = rare_labels(recordings, hashes, spec) if spec.rare == "train" else ()
        learned, others = _set_aside(recordings, groups, rare)
        shares = _shares(spec.test, spec.validation)
        return Split(key, dict.fromkeys(learned, "train") | _assign_groups(*others, shares, spec.seed))
    check_groups_whole([r.path for r in recordings], groups, [r.split or "" for r in recordings], "split")
    given = {r.split_key: r.split or "" for r in recordings}
    untrained = sorted(set(labels_of(recordings)) - {r.label for r in recordings if r.split == "train"})
    if untrained:
        raise SplitError(f"the split column puts no recording of label '{printable(untrained[0])}' into train")
    missing = spec.model_copy(update=dict.fromkeys({"validation", "test"} & set(given.values()), 0.0))
    if missing.test or missing.validation:
        inner = [replace(r, split=None) for r in recordings if r.split == "train"]
        given |= make(inner, hashes, missing).part
    return Split(key, given)


def key_of(recordings: Sequence[Recording], groups: Sequence[str], spec: SplitSpec) -> str:
    """Return a digest of the inputs of `make`: sorted recordings, their merged groups, and settings."""
    rows = [[r.split_key, r.label, r.split, group] for r, group in zip(recordings, groups, strict=True)]
    return digest_of([rows, spec.model_dump(exclude={"rare"})])


def make_folds(
    recordings: Sequence[Recording],
    hashes: Mapping[str, str],
    spec: SplitSpec,
    n_folds: int | None = None,
    *,
    rare: Collection[str] = (),
    by_collection: bool = False,
) -> list[Split]:
    """Return one split per fold: the fold is the test part, the rest is train and, if ``spec`` has it, validation.

    With ``by_collection`` each collection is a fold, in the order of `collections_of`. Else a ``fold`` column is used
    if there is one. Otherwise groups are assigned to ``n_folds`` folds, each with every label but the ``rare`` ones,
    which are always in train; the default is 5, or fewer if a label has fewer groups. Raise `SplitError` as `make`
    does.
    """
    recordings = sorted(recordings, key=lambda r: r.order)
    all_labels, learned = set(labels_of(recordings)), list[str]()
    groups = merge_groups(recordings, hashes)
    if recordings and recordings[0].fold is None and not by_collection:
        learned, (recordings, groups) = _set_aside(recordings, groups, rare)
    numbers = (
        _collection_numbers(recordings, groups) if by_collection else _fold_numbers(recordings, groups, spec, n_folds)
    )
    splits = []
    for number in sorted(set(numbers.values())):
        inner = [i for i, r in enumerate(recordings) if numbers[r.split_key] != number]
        rest, rest_groups = [recordings[i] for i in inner], [groups[i] for i in inner]
        part = {key: "test" for key, fold in numbers.items() if fold == number} | dict.fromkeys(learned, "train")
        untrained = sorted(all_labels - set(labels_of(rest)) - set(rare))
        if untrained:
            where = f"collection '{collections_of(recordings)[number - 1]}'" if by_collection else f"fold {number}"
            raise SplitError(
                f"label '{printable(untrained[0])}' is in {where} only, so no model can be trained on it; "
                "record it elsewhere, or remove its recordings from the manifest"
            )
        part |= _assign_groups(rest, rest_groups, _shares(0, spec.validation), spec.seed)
        splits.append(Split(digest_of([number, part]), part))
    return splits


def collections_of(recordings: Iterable[Recording]) -> list[str]:
    """Return the names of the collections, sorted; `SplitError` if a recording has none, or there is one only."""
    recordings = list(recordings)
    if without := [r.path for r in recordings if r.collection is None]:
        more = f" and {len(without) - 1} more" if len(without) > 1 else ""
        raise SplitError(
            f"{printable(without[0])}{more} has no collection; fill the column 'collection' of the manifest"
        )
    names = sorted({r.collection for r in recordings if r.collection is not None})
    if len(names) < 2:
        raise SplitError(f"all recordings are of the collection '{names[0]}'; two or more are needed to leave one out")
    return names


def rare_labels(recordings: Sequence[Recording], hashes: Mapping[str, str], spec: SplitSpec) -> frozenset[str]:
    """Return the labels with fewer groups than there are parts, which are only learned from or left out.

    A group that has recordings of a rare label counts for no other label, as it is in train. There are none if
    recordings have a ``split`` column, if ``spec.rare`` is ``refuse``, or if fewer than two labels would be left.
    """
    n_parts = len(_shares(spec.test, spec.validation))
    labels = set(labels_of(recordings))
    if spec.rare == "refuse" or not recordings or recordings[0].split is not None:
        return frozenset()
    groups, rare, before = merge_groups(recordings, hashes), set[str](), -1
    while len(rare) > before:
        before = len(rare)
        others = _set_aside(recordings, groups, rare)[1]
        n_groups = Counter(label for label, _ in {(r.label, g) for r, g in zip(*others, strict=True)})
        rare |= {label for label in labels if n_groups[label] < n_parts}
    return frozenset(rare) if len(labels - rare) > 1 else frozenset()


def _set_aside(
    recordings: Sequence[Recording], groups: Sequence[str], rare: Collection[str]
) -> tuple[list[str], tuple[list[Recording], list[str]]]:
    """Return the keys of the groups that have a recording of a ``rare`` label, and the other recordings and groups."""
    aside = {group for recording, group in zip(recordings, groups, strict=True) if recording.label in rare}
    pairs = list(zip(recordings, groups, strict=True))
    others = [pair for pair in pairs if pair[1] not in aside]
    return [r.split_key for r, group in pairs if group in aside], ([r for r, _ in others], [g for _, g in others])


def merge_groups(recordings: Sequence[Recording], hashes: Mapping[str, str]) -> list[str]:
    """Return the group of every recording; groups that share a byte-identical file become the first by name.

    Where the groups of a file are cut, only those join that overlap in time.
    """
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    def join(one: str, other: str) -> None:
        first, second = sorted((root(one), root(other)))
        parent[second] = first

    group_of: dict[str, str] = {}
    cut = {hashes[r.path] for r in recordings if r.cut is not None}
    spans: dict[str, list[tuple[float, float, str]]] = defaultdict(list)
    for recording in recordings:
        digest = hashes[recording.path]
        if recording.cut is None:
            join(recording.group, group_of.setdefault(digest, recording.group))
        if digest in cut:
            spans[digest].append((*(recording.cut or recording.stretch or (0.0, math.inf)), recording.group))
    for members in spans.values():
        last_end, last = -math.inf, ""
        for start, end, group in sorted(members):
            if start < last_end:
                join(group, last)
            if end > last_end:
                last_end, last = end, group
    return [root(recording.group) for recording in recordings]


def _fold_numbers(
    recordings: Sequence[Recording], groups: Sequence[str], spec: SplitSpec, n_folds: int | None
) -> dict[str, int]:
    """Return the fold of every recording by its key: from the column if there is one, else from 1 on."""
    if recordings and recordings[0].fold is not None:
        if n_folds is not None:
            raise SplitError("the manifest has a fold column; --folds is for manifests without one")
        check_groups_whole([r.path for r in recordings], groups, [f"fold {r.fold}" for r in recordings], "fold")
        numbers = {r.split_key: r.fold for r in recordings if r.fold is not None}
        if len(set(numbers.values())) < 2:
            raise SplitError("the fold column has one fold only; two or more are needed")
        return numbers
    n_groups = {
        label: len({g for r, g in zip(recordings, groups, strict=True) if r.label == label})
        for label in labels_of(recordings)
    }
    scarcest = min(n_groups, key=lambda label: n_groups[label])
    n = n_folds or max(2, min(DEFAULT_FOLDS, n_groups[scarcest]))
    if n_groups[scarcest] < n:
        most = f"; pass --folds {n_groups[scarcest]}" if n_groups[scarcest] > 1 else ""
        raise SplitError(
            f"label '{printable(scarcest)}' has {_counted(n_groups[scarcest])}, too few for {n} folds{most}, record "
            f"more of it, or group more finely{'' if len(n_groups) > 2 else f', or {_CUT_GROUPS}'}"
        )
    names = [f"fold {k}" for k in range(1, n + 1)]
    assigned = _assign_groups(recordings, groups, dict.fromkeys(names, 1 / n), spec.seed)
    return {key: 1 + names.index(name) for key, name in assigned.items()}


def _collection_numbers(recordings: Sequence[Recording], groups: Sequence[str]) -> dict[str, int]:
    """Return the number of the collection of every recording by its key, from 1 on."""
    names = collections_of(recordings)
    check_groups_whole([r.path for r in recordings], groups, [r.collection or "" for r in recordings], "collection")
    return {r.split_key: 1 + names.index(r.collection or "") for r in recordings}


def _shares(test: float, validation: float) -> dict[str, float]:
    """Return the fraction of all recordings for each part; empty parts are left out."""
    rest = 1 - test
    shares = {"train": rest * (1 - validation), "validation": rest * validation, "test": test}
    return {part: share for part, share in shares.items() if share > 0}


def check_groups_whole(paths: Sequence[str], groups: Sequence[str], parts: Sequence[str], column: str) -> None:
    """Raise `SplitError` if a group has recordings in more than one part."""
    members: dict[str, dict[str, str]] = defaultdict(dict)
    for path, group, part in zip(paths, groups, parts, strict=True):
        members[group].setdefault(part, path)
    divided = {group: parts for group, parts in members.items() if len(parts) > 1}
    if divided:
        group, where = next(iter(divided.items()))
        found = ", ".join(f"{printable(path)} in {part}" for part, path in sorted(where.items()))
        more = f" (and {len(divided) - 1} more groups)" if len(divided) > 1 else ""
        raise SplitError(
            f"the {column} column cuts through group '{printable(group)}': {found}{more}; put each group (or identical "
            f"recordings) into one {'part' if column == 'split' else column}"
        )


def _assign_groups(
    recordings: Sequence[Recording], groups: Sequence[str], shares: Mapping[str, float], seed: int
) -> dict[str, str]:
    """Assign whole groups to parts so that each label is divided by ``shares``, which sum to 1."""
    parts, fractions = list(shares), np.array(list(shares.values()))
    labels, names = labels_of(recordings), sorted(set(groups))
    counts = np.zeros((len(names), len(labels)))  # recordings of each group and label
    rows = {name: i for i, name in enumerate(names)}
    for recording, group in zip(recordings, groups, strict=True):
        counts[rows[group], labels.index(recording.label)] += 1
    for label, n_groups in zip(labels, np.count_nonzero(counts, axis=0), strict=True):
        if n_groups < len(parts):
            remedy = _remedy(n_groups, parts, n_labels=len(labels))
            raise SplitError(
                f"label '{printable(label)}' has {_counted(n_groups)}, but {', '.join(parts)} need one each; {remedy}"
            )
    rng = np.random.default_rng(seed)
    size = counts.sum(axis=1)
    tries = [_assign_once(counts, fractions, size, rng) for _ in range(20 if len(names) < 2_000 else 2)]
    # If no try succeeds, try random orders instead of largest first.
    if all(missing for missing, _, _ in tries) and len(names) < 2_000:
        tries = [_assign_once(counts, fractions, np.zeros_like(size), rng) for _ in range(200)]
    missing, _, where = min(tries, key=lambda t: t[:2])
    if missing:
        raise SplitError(
            f"cannot put every label into each of {', '.join(parts)} with these groups; use smaller groups, "
            "or a split column in the manifest"
        )
    return {r.split_key: parts[where[rows[g]]] for r, g in zip(recordings, groups, strict=True)}


def _assign_once(
    counts: NDArray[np.float64], fractions: NDArray[np.float64], size: NDArray[np.float64], rng: np.random.Generator
) -> tuple[int, float, NDArray[np.intp]]:
    """Assign groups, largest ``size`` first and equal sizes in random order, each to the part where it costs least.

    The cost is the squared distance to the target fractions. Return (number of missing labels, summed over the parts;
    cost; part of each group).
    """
    weight = 1 / counts.sum(axis=0)
    target = fractions[:, None] * counts.sum(axis=0)
    assigned = np.zeros_like(target)
    where = np.zeros(len(counts), np.intp)
    order = np.lexsort((rng.random(len(counts)), -size))

    def cost_of_adding(group: np.intp) -> NDArray[np.float64]:
        v = counts[group]
        return (np.square(weight) * v * (2 * (assigned - target) + v)).sum(axis=1)

    for group in order:
        where[group] = np.argmin(cost_of_adding(group))
        assigned[where[group]] += counts[group]
    # Fill gaps: move the cheapest group to a part without its label, unless that leaves another gap.
    for _ in range(4 * counts.shape[1]):
        gaps = np.argwhere(assigned == 0)
        if not len(gaps):
            break
        part, label = gaps[0]
        moves = []
        for group in np.flatnonzero(counts[:, label]):
            if ((assigned[where[group]] - counts[group] > 0) | (counts[group] == 0)).all():
                costs = cost_of_adding(group)
                moves.append((costs[part] - costs[where[group]], group))
        if not moves:
            break
        group = min(moves)[1]
        assigned[where[group]] -= counts[group]
        where[group] = part
        assigned[part] += counts[group]
    cost = float((np.square(weight) * np.square(assigned - target)).sum())
    return int((assigned == 0).sum()), cost, where


def _remedy(n_groups: int, parts: Sequence[str], *, n_labels: int) -> str:
    """Return what to do about a label with too few groups; only what suffices."""
    remedies = ["record more of it", "group more finely", *([] if n_labels > 2 else [_CUT_GROUPS])]
    if n_groups + 1 == len(parts):
        remedies += [f"set split.{part}: 0" for part in ("test", "validation") if part in parts]
    if n_labels > 2:
        remedies.append("set split.rare: train or drop")
    return ", or ".join(remedies)


def _counted(n_groups: int) -> str:
    return f"{n_groups} group{'' if n_groups == 1 else 's'}"
