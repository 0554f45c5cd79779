"""Find the level of folders that names the labels, and those that name parts of a split or folds.

Takes the folders of recordings below the root, as tuples of names; level 1 is the first of them. Names that stand for
parts of a split, folds, dates, places, sessions or speakers are never taken for labels.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from audiocnn.text import split_words

Kind = Literal["split", "mixed", "fold", "date", "part", "code", "single", "plain"]
Folders = tuple[str, ...]

_PARTS = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("valid", "validation", "validate", "val"), "validation"),
    **dict.fromkeys(("dev", "devel", "development"), "dev"),
    **dict.fromkeys(("test", "testing", "tst", "holdout", "heldout"), "test"),
    **dict.fromkeys(("eval", "evaluation"), "eval"),
}
_WITH_SUFFIX = re.compile(rf"({'|'.join(_PARTS)})(?:sets?|data|parts?|splits?|audio|wavs?|files)")
_SPLIT_FILLERS = {
    "audio", "clean", "clips", "curated", "data", "dataset", "files", "full", "noisy", "other", "part", "recordings",
    "samples", "segments", "set", "short", "sounds", "soundscapes", "split", "wav", "wavs",
}  # fmt: skip
_FOLDS = {"crossval", "cv", "fold", "folds", "kfold", "partition", "split", "xval"}
_DATE_WORDS = {
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "sept", "oct", "nov", "dec", "january", "february",
    "march", "april", "june", "july", "august", "september", "october", "november", "december", "monday", "tuesday",
    "wednesday", "thursday", "friday", "saturday", "sunday", "spring", "summer", "autumn", "fall", "winter",
}  # fmt: skip
_COUNTED_DATE_WORDS = {"day", "evening", "month", "morning", "night", "quarter", "season", "week", "year"}
_YEAR, _MONTH, _DAY = r"(?:19|20)\d\d", r"(?:0?[1-9]|1[0-2])", r"(?:0?[1-9]|[12]\d|3[01])"
_DATE = re.compile(
    rf"(?:{_YEAR}|{_YEAR}[-_. ]{_MONTH}(?:[-_. ]{_DAY})?|{_DAY}[-_. ]{_MONTH}[-_. ](?:{_YEAR}|\d\d)"
    rf"|{_MONTH}[-_. ]{_DAY}[-_. ]{_YEAR}|(?:19|20)?\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01]))"
    r"(?:[-_ t]+\d\d[-_.:h]?\d\d(?:[-_.:m]?\d\d)?s?z?)?"  # with a time of day
)
_FULL_DATE = re.compile(r"(?<!\d)(?:19|20)\d\d[-_. ]?(?:0[1-9]|1[0-2])[-_. ]?(?:0[1-9]|[12]\d|3[01])(?!\d)")
_PART_WORDS = {
    "actor", "archive", "area", "array", "aru", "batch", "block", "book", "buoy", "camp", "card", "cd",
    "ch", "channel", "chapter", "chunk", "collection", "corpus", "cruise", "dataset", "deploy", "deployment", "device",
    "disc", "disk", "dive", "download", "dvd", "exp", "experiment", "folder", "group", "grp", "house", "hydrophone",
    "id", "individual", "loc", "location", "logger", "mic", "microphone", "node", "observer", "part", "participant",
    "patient", "performer", "person", "place", "player", "plot", "point", "project", "rec", "recorder", "recording",
    "region", "rep", "repeat", "replicate", "room", "round", "run", "sd", "section", "segment", "sensor", "ses", "sess",
    "session", "set", "shard", "sheet", "side", "singer", "site", "source", "speaker", "spk", "spkr", "station",
    "student", "studio", "sub", "subj", "subject", "subset", "survey", "take", "talker", "tape", "transect", "trial",
    "trip", "unit", "user", "ver", "version", "visit", "vol", "volume", "volunteer", "zone",
}  # fmt: skip
_PART_FILLERS = {
    "a", "no", "nr", "number", "north", "south", "east", "west", "st", "nd", "rd", "th", "i", "ii", "iii", "iv", "vi",
    "vii", "viii", "ix", "one", "two", "three", "four", "five", "first", "second", "third", "fourth", "fifth", "upper",
    "lower", "inner", "outer", "am", "pm", "day", "night", "dawn", "dusk",
}  # fmt: skip
_CODE = re.compile(r"\d+|[A-Za-z]{0,3}[-_ ]?\d+|[A-Za-z]")
_CONTAINERS = {  # sub-folders of a class that say how, not what
    "aif", "audio", "augmented", "clean", "clips", "cut", "cuts", "denoised", "edited", "files", "filtered", "flac",
    "full", "good", "left", "long", "mono", "mp3", "noisy", "ogg", "orig", "original", "originals", "poor", "processed",
    "raw", "recordings", "resampled", "right", "short", "sound", "sounds", "stereo", "trimmed", "unprocessed", "wav",
    "wave", "wavs",
}  # fmt: skip
MEANINGS: Mapping[Kind, str] = {
    "split": "parts of a split",
    "mixed": "parts of a split",
    "fold": "folds",
    "date": "dates",
    "part": "places, sessions, speakers or other parts",
}
_SHOWN = 3  # names that a sentence lists


@dataclass(frozen=True)
class Level:
    """The folders at one level: how many folders lead to them, their names, sorted, and what these stand for.

    ``single`` is one name only; ``code`` numbers and the like, which may be labels or not; ``mixed`` names of which
    some only are parts of a split.
    """

    number: int
    names: Sequence[str]
    kind: Kind

    def __str__(self) -> str:
        more = ", ..." if len(self.names) > _SHOWN else ""
        return ", ".join(f"'{name}'" for name in self.names[:_SHOWN]) + more


@dataclass(frozen=True)
class Choice:
    """The level of the labels; None if it is not clear, or if another one looks better. ``doubt`` is why."""

    level: Level | None
    doubt: str


def levels_of(folders: Iterable[Folders]) -> list[Level]:
    """Return the levels of these folders, from the first one down to the deepest."""
    names: dict[int, set[str]] = defaultdict(set)
    for found in folders:
        for number, name in enumerate(found, 1):
            names[number].add(name)
    return [Level(number, sorted(found), kind_of(found)) for number, found in sorted(names.items())]


def kind_of(names: Iterable[str]) -> Kind:
    """Return what the names of one level stand for.

    >>> kind_of(["Training", "Test_set"]), kind_of(["fold1", "fold2"]), kind_of(["2021-06-05", "2021-06-06"])
    ('split', 'fold', 'date')
    >>> kind_of(["siteA", "siteB"]), kind_of(["01", "02"]), kind_of(["train", "bus"]), kind_of(["owl"])
    ('part', 'code', 'plain', 'single')
    """
    names = sorted(set(names))
    if len(names) == 1:
        return "single"
    parts = [_split_part(name) for name in names]
    n_parts = len({part for part, _ in parts if part})
    if all(part for part, _ in parts) and len({rest for _, rest in parts}) == 1 and (n_parts > 1 or not parts[0][1]):
        return "split"
    n_pure = sum(part != "" and not rest for part, rest in parts)
    if n_parts > 1 and (n_pure > 1 or all(part for part, _ in parts)):
        return "mixed"
    words = [split_words(name) for name in names]
    if all(len(found) > 1 and found[0] in _PART_WORDS and found[0] == words[0][0] for found in words):
        return "part"  # such as speaker_anna and speaker_ben
    kinds = Counter(_kind_of_name(name) for name in names)
    strong: list[Kind] = [kind for kind in ("fold", "date", "part") if kinds[kind]]
    if sum(kinds[kind] for kind in strong) > len(names) / 2:
        return max(strong, key=kinds.__getitem__)
    return "plain" if kinds["plain"] else "code"


def choose(folders: Iterable[Folders]) -> Choice:
    """Return the level that names the labels, of folders that hold recordings.

    It is the first one whose names stand for nothing else, if there is no second one of which the same names recur
    below the first. Numbers give way to words.
    """
    folders = set(folders)
    levels, n_shared = levels_of(folders), min(map(len, folders))
    other = [level for level in levels[:n_shared] if level.kind in MEANINGS]
    first = next((level for level in levels[:n_shared] if level.kind in ("plain", "code")), None)
    if first is None and not other:
        return Choice(levels[0], "")
    if first is None:
        return Choice(None, f"{other[0]} {_meaning(other[0])}, and no folders below them name labels")
    above = [level for level in other if level.number < first.number]
    if any(level.kind == "mixed" for level in above):
        return Choice(None, f"of {above[0]} some name parts of a split")
    if above and not _recur(folders, above[-1], first):
        return Choice(None, f"{above[-1]} {_meaning(above[-1])}, and the folders below differ from one to the next")
    for level in levels[first.number :]:
        if level.kind not in ("plain", "code") or not _recur(folders, first, level, below_all=True):
            continue
        if first.kind == "code" and level.kind == "plain" and level.number <= n_shared:
            first = level
        elif first.kind == "code" or level.kind == "plain":
            return Choice(None, f"the same folders {level} recur below {first}")
    return Choice(first, "")


def split_of(level: Level) -> dict[str, str]:
    """Return the part of the split that each folder name stands for; nothing if they do not make a split.

    ``dev`` is validation beside a ``train``, else train; ``eval`` is test if there is none, else validation.
    """
    parts = {name: _split_part(name)[0] for name in level.names}
    found = set(parts.values())
    meaning = {
        "dev": "validation" if "train" in found else "train",
        "eval": "validation" if "test" in found else "test",
    }
    parts = {name: meaning.get(part, part) for name, part in parts.items()}
    return parts if level.kind == "split" and "train" in parts.values() and len(set(parts.values())) > 1 else {}


def folds_of(level: Level) -> dict[str, int]:
    """Return the number of the fold that each folder name stands for; nothing if they are no folds."""
    if level.kind != "fold":
        return {}
    numbers = {}
    for name in level.names:
        counted = [word for word in split_words(name) if word.isdecimal() or len(word) == 1]
        if counted:
            numbers[name] = int(counted[0]) if counted[0].isdecimal() else ord(counted[0]) - ord("a") + 1
    return numbers if len(set(numbers.values())) == len(level.names) else {}


def _recur(folders: Iterable[Folders], upper: Level, lower: Level, *, below_all: bool = False) -> bool:
    """Return whether most names of ``lower`` are below several names of ``upper``; with ``below_all``, below all."""
    above: dict[str, set[str]] = defaultdict(set)
    for names in folders:
        if len(names) >= lower.number:
            above[names[lower.number - 1]].add(names[upper.number - 1])
    recurring = [found for found in above.values() if len(found) > 1]
    if 2 * len(recurring) < len(above):
        return False
    return not below_all or (len(recurring) > 1 and set().union(*recurring) == set(upper.names))


def _meaning(level: Level) -> str:
    return f"name {MEANINGS[level.kind]}"


def _split_part(name: str) -> tuple[str, tuple[str, ...]]:
    """Return the part of a split that a name stands for and the other words of the name; "" if it stands for none."""
    words = split_words(re.sub(r"(?i)\b(held|hold)[-_ ]?out", "holdout", name))
    found = [_WITH_SUFFIX.sub(r"\1", word) for word in words]
    parts = {_PARTS[word] for word in found if word in _PARTS}
    rest = (word for word in found if word not in _PARTS and word not in _SPLIT_FILLERS and not word.isdecimal())
    return (parts.pop(), tuple(rest)) if len(parts) == 1 else ("", ())


def _kind_of_name(name: str) -> Kind:
    words = split_words(name)
    counted = [word for word in words if word.isdecimal() or len(word) == 1]
    if counted and _FOLDS.intersection(words) and set(words) <= _FOLDS.union(counted, {"of", "st", "nd", "rd", "th"}):
        return "fold"
    letters = {word for word in words if not word.isdecimal()}
    if _FULL_DATE.search(name) or _DATE.fullmatch(name.strip().casefold()) or (letters and letters <= _DATE_WORDS):
        return "date"
    if counted and letters & _COUNTED_DATE_WORDS and letters <= _COUNTED_DATE_WORDS.union(counted, _PART_FILLERS):
        return "date"
    glued = [word for word in words if word[:-1] in _PART_WORDS]  # such as siteb, and sites
    if glued or (len(words) > 1 and letters & _PART_WORDS):
        return "part" if letters <= _PART_WORDS.union(glued, counted, _PART_FILLERS) else "plain"
    return "code" if _CODE.fullmatch(name) or letters <= _CONTAINERS else "plain"
