"""Find labels that are likely wrong for all recordings: two spellings of one label, or folders that are no labels.

Takes recordings with their labels and paths; returns findings.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import PurePath

from audiocnn.audit.finding import Finding, pluralize
from audiocnn.dataset import class_folders, label_level
from audiocnn.dataset.label_level import Folders, Level
from audiocnn.dataset.manifest import Recording, labels_of
from audiocnn.text import decode_path, printable

SPELLING, LEVEL = "label names", "label folders"  # topics
_SEPARATORS = re.compile(r"[\s_\-\u00ad\u200b-\u200d\u2060\ufeff]+")  # also what is not visible
_SHOWN = 5  # sets of labels that a finding names


def check_spelling(recordings: Sequence[Recording]) -> list[Finding]:
    """Report labels that differ only in case, in spaces or separators, or in Unicode form."""
    counts = Counter(recording.label for recording in recordings)
    twins: dict[str, list[str]] = defaultdict(list)
    for label in sorted(counts):
        twins[_SEPARATORS.sub("", unicodedata.normalize("NFKC", label).casefold())].append(label)
    sets = [labels for labels in twins.values() if len(labels) > 1]
    if not sets:
        return []
    more = f"; and so do {pluralize(len(sets) - _SHOWN, 'other set')}" if len(sets) > _SHOWN else ""
    sentence = f"The labels {'; '.join(map(_comparison, sets[:_SHOWN]))}{more}."
    remedy = "If they are one label, give it one name: rename the folders, or correct the labels in the manifest."
    examples = [f"{label}: {pluralize(counts[label], 'recording')}" for labels in sets[:_SHOWN] for label in labels]
    return [Finding("warn", SPELLING, sentence, remedy, examples)]


def check_level(recordings: Sequence[Recording]) -> list[Finding]:
    """Report labels that name parts of a split, folds, places or the like, and split folders that are not used."""
    folders = {r.path: PurePath(decode_path(r.path)).parts[:-1] for r in recordings}
    levels = label_level.levels_of(set(folders.values()))
    label_of = {r.path: r.label for r in recordings if r.stretch is None}
    given = next((level for level in levels if _is_label(level, folders, label_of)), None)
    doubt, kind = "", label_level.kind_of(r.label for r in recordings)
    if given is not None:
        choice = label_level.choose(folders[path] for path in label_of)
        if choice.level is None:
            doubt = f"The labels are the folders of level {given.number}, but {choice.doubt}."
        elif choice.level.number != given.number:
            doubt = f"The labels are the folders {given}, but the folders {choice.level} look more like labels."
    elif kind in label_level.MEANINGS:
        doubt = f"The labels {Level(0, labels_of(recordings), kind)} name {label_level.MEANINGS[kind]}."
    if doubt:
        remedy = "Run 'audiocnn init' again with --force and --label-level N or --label-regex REGEX."
        return [Finding("fail" if kind in ("split", "mixed") else "warn", LEVEL, doubt, remedy)]
    unused = next((level for level in levels if level != given and label_level.split_of(level)), None)
    if unused is not None and recordings[0].split is None:
        sentence = f"The folders {unused} name parts of a split, which the manifest does not have in its column split."
        return [Finding("warn", LEVEL, sentence, "Run 'audiocnn init' again with --force to use it.")]
    return []


def _is_label(level: Level, folders: Mapping[str, Folders], label_of: Mapping[str, str]) -> bool:
    """Return whether every recording is in a folder of this level that is named like its label."""
    return bool(label_of) and all(
        len(folders[path]) >= level.number and label == class_folders.label_of(folders[path][level.number - 1])
        for path, label in label_of.items()
    )


def _comparison(labels: Sequence[str]) -> str:
    """Return in words how labels differ.

    >>> _comparison(["robin", "Robin"]), _comparison(["\u00e9", "e\u0301"])[-12:]
    ("'robin' and 'Robin' differ only in case", 'Unicode form')
    """
    forms = {unicodedata.normalize("NFKC", label) for label in labels}
    names, differences = [f"'{printable(label)}'" for label in labels], []
    if len({_SEPARATORS.sub("", form) for form in forms}) > 1:
        differences.append("case")
    if len({form.casefold() for form in forms}) > 1:
        differences.append("spaces or separators")
    if len(forms) < len(labels):  # they look the same when printed
        differences.append("Unicode form")
        composed = [unicodedata.is_normalized("NFC", label) for label in labels]
        names = [f"{name} ({'NFC' if whole else 'not NFC'})" for name, whole in zip(names, composed, strict=True)]
    return f"{' and '.join(names)} differ only in {' and '.join(differences)}"
