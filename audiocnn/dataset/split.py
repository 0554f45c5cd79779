"""Recordings dealt to train, validation and test: whole groups only, each label in each part, the same every time."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Split:
    """The part of every usable recording, by path. ``key`` tells what it was made from, ``digest`` what it is."""

    key: str
    part: Mapping[str, str]

    def of(self, part: str) -> list[str]:
        """Paths of the recordings in ``part``, sorted."""
        return sorted(path for path, where in self.part.items() if where == part)

    @property
    def digest(self) -> str:
        return digest_of(dict(self.part))

    def write(self, file: Path) -> None:
        parts = {part: self.of(part) for part in PARTS}
        write_json(file, {"schema": SCHEMA, "key": self.key, "digest": self.digest, "parts": parts})


def read(file: Path) -> Split:
    """Read what `Split.write` wrote; raise `IntegrityError` if it is something else."""
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
        if value["schema"] != SCHEMA:
            raise ValueError(f"schema {value['schema']!r}")
        split = Split(value["key"], {path: part for part in PARTS for path in value["parts"][part]})
        if split.digest != value["digest"]:
            raise ValueError("its digest is not that of its parts")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise IntegrityError(f"{file}: not a split ({error}); delete it and train again") from error
    return split


def make(recordings: Sequence[Recording], hashes: Mapping[str, str], spec: SplitSpec) -> Split:
    """Deal usable recordings, given the SHA-256 of each path's content.

    Byte-identical recordings are one group. A ``split`` column is honoured: `SplitError` names the groups it would
    cut or the label it does not teach, and a missing validation part is taken from train. Otherwise groups are dealt
    at random (``spec.seed``) so that each label is divided as the fractions ask; `SplitError` if a label has fewer
    groups than there are parts.
    """
    recordings = sorted(recordings, key=lambda r: r.order)
    groups = merge_groups(recordings, hashes)
    key = digest_of(
        [[[r.path, r.label, r.split, g] for r, g in zip(recordings, groups, strict=True)], spec.model_dump()]
    )
    if not recordings or recordings[0].split is None:
        return Split(key, _deal(recordings, groups, _shares(spec.test, spec.validation), spec.seed))
    given = {r.path: r.split or "" for r in recordings}
    _refuse_cut_groups([r.path for r in recordings], groups, list(given.values()), "split")
    untaught = sorted(set(labels_of(recordings)) - {r.label for r in recordings if r.split == "train"})
    if untaught:
        raise SplitError(f"the split column puts no recording of label '{printable(untaught[0])}' into train")
    if "validation" not in given.values():
        inner = [i for i, r in enumerate(recordings) if r.split == "train"]
        shares = _shares(0, spec.validation)
        given |= _deal([recordings[i] for i in inner], [groups[i] for i in inner], shares, spec.seed)
    return Split(key, given)


def make_folds(
    recordings: Sequence[Recording], hashes: Mapping[str, str], spec: SplitSpec, n_folds: int | None = None
) -> list[Split]:
    """Return one split a fold, in which test is that fold and the rest is train and, as ``spec`` asks, validation.

    A ``fold`` column is honoured. Otherwise groups are dealt to ``n_folds`` folds, each with every label; by default
    to 5, or as many as the label with the fewest groups allows. Raises `SplitError` as `make` does.
    """
    recordings = sorted(recordings, key=lambda r: r.order)
    groups = merge_groups(recordings, hashes)
    numbers = _fold_numbers(recordings, groups, spec, n_folds)
    splits = []
    for number in sorted(set(numbers.values())):
        inner = [i for i, r in enumerate(recordings) if numbers[r.path] != number]
        rest, of_rest = [recordings[i] for i in inner], [groups[i] for i in inner]
        part = {path: "test" for path, its in numbers.items() if its == number}
        untaught = sorted(set(labels_of(recordings)) - set(labels_of(rest)))
        if untaught:
            raise SplitError(f"label '{printable(untaught[0])}' is in fold {number} only, so it could not be learned")
        part |= _deal(rest, of_rest, _shares(0, spec.validation), spec.seed)
        splits.append(Split(digest_of([number, part]), part))
    return splits


def _fold_numbers(
    recordings: Sequence[Recording], groups: Sequence[str], spec: SplitSpec, n_folds: int | None
) -> dict[str, int]:
    """The fold of every recording, from 1 or as the column says."""
    if recordings and recordings[0].fold is not None:
        if n_folds is not None:
            raise SplitError("the manifest has a fold column; --folds is for manifests without one")
        _refuse_cut_groups([r.path for r in recordings], groups, [f"fold {r.fold}" for r in recordings], "fold")
        numbers = {r.path: r.fold for r in recordings if r.fold is not None}
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
        most = f"; say --folds {n_groups[scarcest]}" if n_groups[scarcest] > 1 else ""
        raise SplitError(
            f"label '{printable(scarcest)}' has {_counted(n_groups[scarcest])}, too few for {n} folds{most}, record "
            "more of it, or group more finely"
        )
    names = [f"fold {k}" for k in range(1, n + 1)]
    dealt = _deal(recordings, groups, dict.fromkeys(names, 1 / n), spec.seed)
    return {path: 1 + names.index(name) for path, name in dealt.items()}


def _shares(test: float, validation: float) -> dict[str, float]:
    """The part of all recordings that each part gets; parts that get none are left out."""
    rest = 1 - test
    shares = {"train": rest * (1 - validation), "validation": rest * validation, "test": test}
    return {part: share for part, share in shares.items() if share > 0}


def _counted(n_groups: int) -> str:
    return f"{n_groups} group{'' if n_groups == 1 else 's'}"


def merge_groups(recordings: Sequence[Recording], hashes: Mapping[str, str]) -> list[str]:
    """The group of every recording, groups that share a byte-identical recording being one (the first by name)."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    holder: dict[str, str] = {}
    for recording in recordings:
        digest = hashes[recording.path]
        first, second = sorted((root(recording.group), root(holder.setdefault(digest, recording.group))))
        parent[second] = first
    return [root(recording.group) for recording in recordings]


def _refuse_cut_groups(paths: Sequence[str], groups: Sequence[str], parts: Sequence[str], column: str) -> None:
    members: dict[str, dict[str, str]] = defaultdict(dict)
    for path, group, part in zip(paths, groups, parts, strict=True):
        members[group].setdefault(part, path)
    cut = {group: parts for group, parts in members.items() if len(parts) > 1}
    if cut:
        group, where = next(iter(cut.items()))
        found = ", ".join(f"{printable(path)} in {part}" for part, path in sorted(where.items()))
        more = f" (and {len(cut) - 1} more groups)" if len(cut) > 1 else ""
        raise SplitError(
            f"the {column} column cuts through group '{printable(group)}': {found}{more}; put each group (or identical "
            f"recordings) into one {'part' if column == 'split' else 'fold'}"
        )


def _deal(
    recordings: Sequence[Recording], groups: Sequence[str], shares: Mapping[str, float], seed: int
) -> dict[str, str]:
    """Deal whole groups to parts so that each label is divided as ``shares``, which sum to 1, say."""
    parts, fractions = list(shares), np.array(list(shares.values()))
    labels, names = labels_of(recordings), sorted(set(groups))
    counts = np.zeros((len(names), len(labels)))  # recordings of each group and label
    rows = {name: i for i, name in enumerate(names)}
    for recording, group in zip(recordings, groups, strict=True):
        counts[rows[group], labels.index(recording.label)] += 1
    for label, n_groups in zip(labels, np.count_nonzero(counts, axis=0), strict=True):
        if n_groups < len(parts):
            remedy = "record more of it, or group more finely" + (", or set split.test: 0" if "test" in parts else "")
            raise SplitError(
                f"label '{printable(label)}' has {_counted(n_groups)}, but {', '.join(parts)} need one each; {remedy}"
            )
    rng = np.random.default_rng(seed)
    size = counts.sum(axis=1)
    tries = [_deal_once(counts, fractions, size, rng) for _ in range(20 if len(names) < 2_000 else 2)]
    if all(missing for missing, _, _ in tries) and len(names) < 2_000:  # tight, so in any order rather than by size
        tries = [_deal_once(counts, fractions, np.zeros_like(size), rng) for _ in range(200)]
    missing, _, where = min(tries, key=lambda t: t[:2])
    if missing:
        raise SplitError(
            f"no way found to give each of {', '.join(parts)} every label with these groups; use smaller groups, "
            "or a split column in the manifest"
        )
    return {r.path: parts[where[rows[g]]] for r, g in zip(recordings, groups, strict=True)}


def _deal_once(
    counts: NDArray[np.float64], fractions: NDArray[np.float64], size: NDArray[np.float64], rng: np.random.Generator
) -> tuple[int, float, NDArray[np.intp]]:
    """Deal groups, largest ``size`` first, each to where the shares then come closest; equal sizes in random order.

    Returns (labels missing from a part, cost, part of each group).
    """
    weight = 1 / counts.sum(axis=0)
    target = fractions[:, None] * counts.sum(axis=0)
    dealt = np.zeros_like(target)
    where = np.zeros(len(counts), np.intp)
    order = np.lexsort((rng.random(len(counts)), -size))

    def cost_of_adding(group: np.intp) -> NDArray[np.float64]:
        v = counts[group]
        return (np.square(weight) * v * (2 * (dealt - target) + v)).sum(axis=1)

    for group in order:
        where[group] = np.argmin(cost_of_adding(group))
        dealt[where[group]] += counts[group]
    for _ in range(4 * counts.shape[1]):  # move the cheapest group to where a label is missing, without robbing another
        gaps = np.argwhere(dealt == 0)
        if not len(gaps):
            break
        part, label = gaps[0]
        moves = []
        for group in np.flatnonzero(counts[:, label]):
            if ((dealt[where[group]] - counts[group] > 0) | (counts[group] == 0)).all():
                costs = cost_of_adding(group)
                moves.append((costs[part] - costs[where[group]], group))
        if not moves:
            break
        group = min(moves)[1]
        dealt[where[group]] -= counts[group]
        where[group] = part
        dealt[part] += counts[group]
    cost = float((np.square(weight) * np.square(dealt - target)).sum())
    return int((dealt == 0).sum()), cost, where
