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
    groups = merged_groups(recordings, hashes)
    key = digest_of(
        [[[r.path, r.label, r.split, g] for r, g in zip(recordings, groups, strict=True)], spec.model_dump()]
    )
    if not recordings or recordings[0].split is None:
        shares = {"test": spec.test, "validation": (1 - spec.test) * spec.validation}
        return Split(key, _deal(recordings, groups, shares, spec.seed))
    given = {r.path: r.split or "" for r in recordings}
    _refuse_cut_groups(recordings, groups)
    untaught = sorted(set(labels_of(recordings)) - {r.label for r in recordings if r.split == "train"})
    if untaught:
        raise SplitError(f"the split column puts no recording of label '{printable(untaught[0])}' into train")
    if "validation" not in given.values():
        inner = [i for i, r in enumerate(recordings) if r.split == "train"]
        shares = {"validation": spec.validation}
        given |= _deal([recordings[i] for i in inner], [groups[i] for i in inner], shares, spec.seed)
    return Split(key, given)


def merged_groups(recordings: Sequence[Recording], hashes: Mapping[str, str]) -> list[str]:
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


def _refuse_cut_groups(recordings: Sequence[Recording], groups: Sequence[str]) -> None:
    members: dict[str, dict[str, str]] = defaultdict(dict)
    for recording, group in zip(recordings, groups, strict=True):
        members[group].setdefault(recording.split or "", recording.path)
    cut = {group: parts for group, parts in members.items() if len(parts) > 1}
    if cut:
        group, parts = next(iter(cut.items()))
        where = ", ".join(f"{printable(path)} in {part}" for part, path in sorted(parts.items()))
        more = f" (and {len(cut) - 1} more groups)" if len(cut) > 1 else ""
        raise SplitError(
            f"the split column cuts through group '{printable(group)}': {where}{more}; put each group (or identical "
            "recordings) into one part"
        )


def _deal(
    recordings: Sequence[Recording], groups: Sequence[str], shares: Mapping[str, float], seed: int
) -> dict[str, str]:
    parts = ["train", *(part for part in PARTS[1:] if shares.get(part, 0) > 0)]
    fractions = np.array([1 - sum(shares.values()), *(shares[part] for part in parts[1:])])
    labels, names = labels_of(recordings), sorted(set(groups))
    counts = np.zeros((len(names), len(labels)))  # recordings of each group and label
    rows, columns = {n: i for i, n in enumerate(names)}, {n: i for i, n in enumerate(labels)}
    for recording, group in zip(recordings, groups, strict=True):
        counts[rows[group], columns[recording.label]] += 1
    for label, n_groups in zip(labels, np.count_nonzero(counts, axis=0), strict=True):
        if n_groups < len(parts):
            groups_found = f"{n_groups} group{'' if n_groups == 1 else 's'}"
            remedy = "record more of it, or group more finely" + (", or set split.test: 0" if "test" in parts else "")
            raise SplitError(
                f"label '{printable(label)}' has {groups_found}, but {', '.join(parts)} need one each; {remedy}"
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
