"""Check that every label has enough usable recordings.

Takes the recordings and the result of the duplicate search; returns findings.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from audiocnn.audio.probe import Probe
from audiocnn.audit.duplicates import DuplicateSearch
from audiocnn.audit.finding import Finding, pluralize
from audiocnn.dataset import split
from audiocnn.dataset.manifest import Recording, labels_of
from audiocnn.errors import AudioError, SplitError
from audiocnn.specs import SplitSpec
from audiocnn.text import printable

_FEW_GROUPS = 10  # of a label; fewer give wide confidence intervals
_IMBALANCE = 10.0  # recordings of the largest class per recording of the smallest
_SHOWN = 5  # files that a finding names


def check_files(recordings: Sequence[Recording], found: DuplicateSearch, *, max_bad_fraction: float) -> list[Finding]:
    """Report unreadable and silent files; at most a share ``max_bad_fraction`` of the recordings may be unreadable."""
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
                "Restore or repair the files, or remove their rows from the manifest.",
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
                "Remove their rows from the manifest, or lower features.silence_dbfs if they contain sound.",
                found.silent[:_SHOWN],
            )
        )
    if not findings:
        n_files = len(found.fingerprints)
        findings.append(
            Finding("pass", "readable", f"All of {pluralize(n_files, 'file')} can be read; none is silent.")
        )
    return findings


def check_channels(probes: Mapping[str, Probe | AudioError]) -> list[Finding]:
    """Report recordings of which the mean of the channels loses sound."""
    sentences = {
        "channels_cancel": "the channels cancel each other in their mean",
        "delayed_channels": "a channel is a delayed copy of another, so frequencies are missing in their mean",
    }
    findings = []
    for code, sentence in sentences.items():
        paths = sorted(path for path, found in probes.items() if isinstance(found, Probe) and code in found.warnings)
        if paths:
            what = f"In {pluralize(len(paths), 'file')} {sentence}."
            remedy = "Set features.channel: 0 in audiocnn.yaml, or the number of another channel."
            findings.append(Finding("warn", "channels", what, remedy, paths[:_SHOWN]))
    return findings


def _identical(found: DuplicateSearch) -> str:
    """Return how many silent files are byte-identical to another one, as the end of a sentence."""
    sizes = Counter(found.fingerprints[path].sha256 for path in found.silent).values()
    n = sum(size for size in sizes if size > 1)
    return f"; {n:,} of them are byte-identical to another" if n else ""


def check_classes(recordings: Sequence[Recording], contents: Mapping[str, str], spec: SplitSpec) -> list[Finding]:
    """Report labels with too few groups for the split or for narrow confidence intervals, and class imbalance.

    ``contents`` has the SHA-256 of every usable file by path; recordings of other files are ignored.
    """
    usable = sorted((r for r in recordings if r.path in contents), key=lambda r: r.order)
    empty = sorted(set(labels_of(recordings)) - set(labels_of(usable)))
    if empty:
        sentence = f"{pluralize(len(empty), 'class has', 'classes have')} no usable recording."
        return [Finding("fail", "classes", sentence, "Add recordings, or remove the class from the manifest.", empty)]
    problems = [*_check_groups(usable, contents, spec), *_check_balance(usable)]
    passed = "Every class has enough groups, and no class is far larger than another."
    return problems or [Finding("pass", "classes", passed)]


def check_rare(usable: Sequence[Recording], contents: Mapping[str, str], spec: SplitSpec) -> list[Finding]:
    """Report labels with fewer groups than the split has parts, and what becomes of them."""
    members: dict[str, set[str]] = defaultdict(set)
    for recording, group in zip(usable, split.merge_groups(usable, contents), strict=True):
        members[recording.label].add(group)
    needed = 1 + (spec.test > 0) + (spec.validation > 0)
    rare = split.rare_labels(usable, contents, spec)
    few = {label: len(groups) for label, groups in sorted(members.items()) if len(groups) < needed or label in rare}
    if not few or usable[0].split is not None:
        return []
    sentence = (
        f"{pluralize(len(few), 'class has', 'classes have')} too few groups: the split has {needed} parts, and each "
        "part needs one group."
    )
    remedy = "Record more of them in other places or sessions, or use smaller groups."
    examples = [f"{label}: {pluralize(n, 'group')}" for label, n in few.items()]
    if rare:
        become = "left out" if spec.rare == "drop" else "learned from but not tested"
        return [
            Finding(
                "warn",
                "groups",
                f"{sentence} {'It is' if len(few) == 1 else 'They are'} {become} (split.rare: {spec.rare}).",
                remedy,
                examples,
            )
        ]
    if spec.rare == "refuse" and len(members) - len(few) > 1:
        remedy = f"{remedy} Or set split.rare to train (learned from but not tested) or drop (left out)."
    else:
        remedy = f"{remedy} Or cut long recordings into groups with 'audiocnn init --cut-groups 60s'."
    return [Finding("fail", "groups", f"{sentence} Train will refuse that.", remedy, examples)]


def _check_groups(usable: Sequence[Recording], contents: Mapping[str, str], spec: SplitSpec) -> list[Finding]:
    members: dict[str, set[str]] = defaultdict(set)
    for recording, group in zip(usable, split.merge_groups(usable, contents), strict=True):
        members[recording.label].add(group)
    n_groups = {label: len(groups) for label, groups in sorted(members.items())}
    rare = check_rare(usable, contents, spec)
    if any(finding.severity == "fail" for finding in rare):
        return rare
    left = set(n_groups) - split.rare_labels(usable, contents, spec)
    try:
        split.make([r for r in usable if spec.rare != "drop" or r.label in left], contents, spec)
    except SplitError as error:
        return [Finding("fail", "split", f"Train would fail: {error}.", "Correct this; see also the other findings.")]
    few = {label: n for label, n in n_groups.items() if n < _FEW_GROUPS and label in left}
    if not few:
        return rare
    return [
        *rare,
        Finding(
            "warn",
            "groups",
            f"{pluralize(len(few), 'class has', 'classes have')} fewer than {_FEW_GROUPS} groups: their scores "
            "will be uncertain (wide confidence intervals).",
            "More sessions, places or performers help more than more recordings of the same ones.",
            [f"{label}: {pluralize(n, 'group')}" for label, n in few.items()],
        ),
    ]


def _check_balance(usable: Sequence[Recording]) -> list[Finding]:
    counts = Counter(recording.label for recording in usable)
    (largest, n_largest), (smallest, n_smallest) = counts.most_common()[0], counts.most_common()[-1]
    if n_largest <= _IMBALANCE * n_smallest:
        return []
    return [
        Finding(
            "warn",
            "balance",
            f"'{printable(largest)}' has {n_largest / n_smallest:.0f} times the recordings of '{printable(smallest)}' "
            f"({n_largest:,} to {n_smallest:,}).",
            "Record more of the smaller class. Until then compare the scores of each class, not the accuracy.",
        )
    ]
