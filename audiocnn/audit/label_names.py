"""Find labels that are likely one label in two spellings.

Takes the names of the labels; returns findings.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence

from audiocnn.audit.finding import Finding, pluralize
from audiocnn.dataset.manifest import Recording
from audiocnn.text import printable

TOPIC = "label names"
_SEPARATORS = re.compile(r"[\s_\-\u00ad\u200b-\u200d\u2060\ufeff]+")  # also what is not visible
_SHOWN = 5  # sets of labels that a finding names


def findings(recordings: Sequence[Recording]) -> list[Finding]:
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
    return [Finding("warn", TOPIC, sentence, remedy, examples)]


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
