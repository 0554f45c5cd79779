"""Choose which of two labels is the one to detect, by their names and their frequency."""

from collections import Counter
from collections.abc import Collection, Iterable

from audiocnn.dataset.manifest import Recording
from audiocnn.text import split_words

# Words for what is not looked for, in names such as "noise", "_background_noise_" and "other birds".
_REST = {
    "0", "absence", "absent", "ambience", "ambient", "background", "backgrounds", "bg", "control", "empty",
    "environment", "false", "healthy", "misc", "miscellaneous", "neg", "negative", "negatives", "neither", "no",
    "nobody", "none", "normal", "not", "nothing", "noise", "noises", "other", "others", "quiet", "rest", "silence",
    "silent", "unknown", "unlabeled", "unlabelled", "void",
}  # fmt: skip
_NEGATIONS = ("no", "non", "not", "without")


def choose(recordings: Iterable[Recording], background: str | None = None) -> tuple[str, str]:
    """Return the label to detect, of the two that there are, and why it was chosen.

    It is never the label ``background`` of what is not annotated, nor a label whose name stands for the rest, such as
    *noise*, if the other one's does not. Otherwise it is the rarer one, or the first by name if both are equally
    frequent.

    >>> choose([Recording(str(i), label, "") for i, label in enumerate(("owl", "owl", "no owl"))])
    ('owl', "'no owl' stands for the rest")
    """
    counts = Counter(recording.label for recording in recordings if recording.label != background)
    if len(counts) == 1:
        return next(iter(counts)), "the annotated one"
    rank = {name: _rest_rank(name, counts) for name in counts}
    first, second = sorted(counts, key=lambda name: (rank[name], counts[name], name))
    if rank[first] != rank[second]:
        return first, f"'{second}' stands for the rest"
    if counts[first] != counts[second]:
        return first, "the rarer one"
    return first, "the first by name, as both are equally frequent"


def find_rest(labels: Collection[str]) -> frozenset[str]:
    """Return the labels whose names stand for what is not looked for.

    >>> sorted(find_rest(["owl", "fox", "background", "no owl"]))
    ['background', 'no owl']
    """
    return frozenset(label for label in labels if _rest_rank(label, labels) == 2)


def _rest_rank(label: str, labels: Iterable[str]) -> int:
    """Return 2 if a name stands for what is not looked for, 1 if only a word at one of its ends does, else 0."""
    words = _words(label)
    if not words:
        return 0
    others = ["".join(_words(other)) for other in labels if other != label]
    negated = tuple(
        f"{prefix}{other}" for prefix in _NEGATIONS for other in (*others, "call", "event") if len(other) > 1
    )
    if words[0] in _NEGATIONS or _REST.issuperset(words) or "".join(words).startswith(negated):
        return 2
    return int(words[0] in _REST or words[-1] in _REST)


def _words(label: str) -> list[str]:
    """Return the words of a name without numbers, except for one at its start."""
    words = split_words(label)
    return words[:1] + [word for word in words[1:] if not word.isdecimal()]
