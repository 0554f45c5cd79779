"""Whether there is enough of every label, of recordings that can be used.

Takes recordings and what became of their files, returns findings.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from audiocnn.audit.duplicates import DuplicateSearch
from audiocnn.audit.finding import Finding, pluralize
from audiocnn.dataset import split
from audiocnn.dataset.manifest import Recording, labels_of
from audiocnn.errors import SplitError
from audiocnn.specs import SplitSpec
from audiocnn.text import printable

_FEW_GROUPS = 10
_IMBALANCE = 10.0
_SHOWN = 5


def check_files(recordings: Sequence[Recording], found: DuplicateSearch, *, max_bad_fraction: float) -> list[Finding]:
    """Say which files cannot be read or are silent; ``max_bad_fraction`` of the recordings may be unreadable."""
    bad = [r for r in recordings if r.path in found.unreadable]
    findings = []
    if bad:
        errors = [f"{path}: {error} [{error.code}]" for path, error in sorted(found.unreadable.items())]
        share = len(bad) / len(recordings)
        findings.append(
            Finding(
                "fail" if share > max_bad_fraction else "warn",
                "unreadable",
                f"{pluralize(len(bad), 'recording')} of {len(recordings):,} cannot be read ({share:.1%}; "
                f"train.max_bad_fraction allows {max_bad_fraction:.0%}).",
                "Put the files back, mend them, or take their rows out of the manifest.",
                errors[:_SHOWN],
            )
        )
    if found.silent:
        findings.append(
            Finding(
                "warn",
                "silent",
                f"{pluralize(len(found.silent), 'file')} {'is' if len(found.silent) == 1 else 'are'} silent and will "
                f"not be used{_identical(found)}.",
                "Take them out, or lower features.silence_dbfs if there is something to hear.",
                found.silent[:_SHOWN],
            )
        )
    if not findings:
        n_files = len(found.fingerprints)
        findings.append(
            Finding("pass", "readable", f"All of {pluralize(n_files, 'file')} can be read; none is silent.")
        )
    return findings


def _identical(found: DuplicateSearch) -> str:
    """How many silent files are the same as another, byte for byte."""
    sizes = Counter(found.fingerprints[path].sha256 for path in found.silent).values()
    n = sum(size for size in sizes if size > 1)
    return f"; {n:,} of them are byte-identical to another" if n else ""


def check_classes(recordings: Sequence[Recording], contents: Mapping[str, str], spec: SplitSpec) -> list[Finding]:
    """Say which labels have too few groups for the split, or for narrow intervals, and how uneven labels are.

    ``contents`` has the SHA-256 of every usable file; recordings of others do not count.
    """
    usable = sorted((r for r in recordings if r.path in contents), key=lambda r: r.order)
    lost = sorted(set(labels_of(recordings)) - set(labels_of(usable)))
    if lost:
        sentence = f"{pluralize(len(lost), 'class has', 'classes have')} no recording that can be used."
        return [Finding("fail", "classes", sentence, "Record some, or take the class out of the manifest.", lost)]
    found = [*_groups(usable, contents, spec), *_balance(usable)]
    return found or [Finding("pass", "classes", "Every class has enough groups, and none is far larger than another.")]


def _groups(usable: Sequence[Recording], contents: Mapping[str, str], spec: SplitSpec) -> list[Finding]:
    members: dict[str, set[str]] = defaultdict(set)
    for recording, group in zip(usable, split.merge_groups(usable, contents), strict=True):
        members[recording.label].add(group)
    n_groups = {label: len(groups) for label, groups in sorted(members.items())}
    needed = 1 + (spec.test > 0) + (spec.validation > 0)
    few = {label: n for label, n in n_groups.items() if n < needed}
    if usable[0].split is None and few:
        return [
            Finding(
                "fail",
                "groups",
                f"{pluralize(len(few), 'class has', 'classes have')} too few groups: each part of the split needs one, "
                f"and there are {needed} parts.",
                "Record more of them in other places or sessions, group more finely, or set split.test: 0.",
                [f"{label}: {pluralize(n, 'group')}" for label, n in few.items()],
            )
        ]
    try:
        split.make(usable, contents, spec)
    except SplitError as error:
        return [
            Finding("fail", "split", f"Train would refuse: {error}.", "Mend what it names; see the other findings.")
        ]
    few = {label: n for label, n in n_groups.items() if n < _FEW_GROUPS}
    if not few:
        return []
    return [
        Finding(
            "warn",
            "groups",
            f"{pluralize(len(few), 'class has', 'classes have')} fewer than {_FEW_GROUPS} groups: any figure for them "
            "will be uncertain (wide intervals).",
            "More sessions, places or performers help more than more recordings of the same.",
            [f"{label}: {pluralize(n, 'group')}" for label, n in few.items()],
        )
    ]


def _balance(usable: Sequence[Recording]) -> list[Finding]:
    n = Counter(recording.label for recording in usable)
    (most, n_most), (least, n_least) = n.most_common()[0], n.most_common()[-1]
    if n_most <= _IMBALANCE * n_least:
        return []
    return [
        Finding(
            "warn",
            "balance",
            f"'{printable(most)}' has {n_most / n_least:.0f} times the recordings of '{printable(least)}' ({n_most:,} "
            f"to {n_least:,}).",
            "Record more of the rare one. Until then look at each class's own figures, not at accuracy.",
        )
    ]
