"""Whether something that should not matter tells the label: length, level, noise, bandwidth, format or name.

Takes a table of cues with labels and groups; returns those by which labels can be told, and what to say of them.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiocnn.audit import telling
from audiocnn.audit.cues import BY_NAME, COMMON, CUES, Column, Table, shared, usual
from audiocnn.audit.finding import Finding, Severity

TOPIC = "shortcuts"
TOGETHER = "all cues together"
WORTH_TELLING = 0.25  # of the way from chance to certainty
STRONG = 0.8  # sounds of all labels are hardly ever that unlike in length or level by themselves
CERTAIN_P = 0.01
DRAWS = 199  # of labels dealt anew

_FURTHER = 0.1  # of the way to certainty that all cues together get beyond the best of them, to be worth a line
_SHOWN = 3  # labels of which it is said what is usual
_HEARD = tuple(name for cue in CUES if cue.heard for name in cue.measures)


@dataclass(frozen=True)
class Shortcut:
    """A cue that tells the label of recordings whose group was left out.

    ``balanced_accuracy`` is the mean over labels of the share that is told right, ``chance`` that of a guess. Of all
    labels ``label`` is told best: ``apart`` is the balanced accuracy of telling it from the rest, of which chance is
    0.5. ``p_value`` says how often the best of all cues tells as much where labels are dealt anew to the groups.
    ``hints`` say by label what is usual; ``exact`` is the share of recordings, all labels counting the same, whose
    value is that of many others to the last digit. ``measure`` is the column of the table by which labels are told.
    """

    cue: str
    measure: str
    balanced_accuracy: float
    chance: float
    p_value: float
    label: str
    apart: float
    hints: Mapping[str, str]
    exact: float = 0.0

    @property
    def skill(self) -> float:
        """How far on the way from chance (0) to certainty (1) the label of any recording can be told."""
        return (self.balanced_accuracy - self.chance) / (1 - self.chance)

    @property
    def strength(self) -> float:
        """The same, or that of telling ``label`` from the rest if it is more."""
        return max(self.skill, 2 * self.apart - 1)

    @property
    def natural(self) -> bool:
        """Whether sounds may differ so by themselves; not if their lengths are the same to the last sample."""
        return self.cue in BY_NAME and BY_NAME[self.cue].natural and not self.cut

    @property
    def cut(self) -> bool:
        """Whether recordings were cut to a few lengths."""
        return self.cue == "length" and self.exact > 0.5


def find(
    measures: Mapping[str, Column], labels: Sequence[str], groups: Sequence[str], *, seed: int, draws: int = DRAWS
) -> list[Shortcut]:
    """Return the cues that tell labels, the strongest first, then the file name and `TOGETHER` if they do, too.

    How labels are told is in `audiocnn.audit.telling`. It is compared with what comes out when labels are dealt to
    groups anew ``draws`` times, of which each time the best cue counts, so that looking at many cues makes no false
    alarm likelier (Westfall & Young, "Resampling-based multiple testing", 1993). Labels with one group only tell
    nothing here. Measures that are not given are left out.
    """
    asked = _judged(labels, groups)
    columns = {name: np.asarray(measures[name])[asked] for cue in CUES for name in cue.measures if name in measures}
    columns = {name: column for name, column in columns.items() if len(np.unique(column)) > 1}
    if not columns:
        return []
    names, y = np.unique(np.asarray(labels)[asked], return_inverse=True)
    _, g = np.unique(np.asarray(groups)[asked], return_inverse=True)
    crowd = telling.Crowd(columns, g, common=COMMON)
    told, together = crowd.tell(y, together=_HEARD)
    if max(t.strength for t in (*told.values(), together) if t is not None) < WORTH_TELLING:
        return []
    rng = np.random.default_rng(seed)
    by_chance = []
    for _ in range(draws):
        each, both = crowd.tell(telling.dealt(y, g, rng), together=_HEARD)
        by_chance.append(max(t.strength for t in (*each.values(), both) if t is not None))

    def shortcut(cue: str, measure: str, of: telling.Told) -> Shortcut:
        best = int(of.apart.argmax())
        values = {str(name): columns[measure][y == i] for i, name in enumerate(names)} if measure else {}
        return Shortcut(
            cue=cue,
            measure=measure,
            balanced_accuracy=of.balanced_accuracy,
            chance=1 / len(names),
            p_value=(1 + sum(strength >= of.strength for strength in by_chance)) / (1 + draws),
            label=str(names[best]),
            apart=float(of.apart[best]),
            hints={name: usual(measure, column) for name, column in values.items()},
            exact=float(np.mean([shared(column) for column in values.values()])) if values else 0.0,
        )

    found = []
    for cue in CUES:
        if seen := [name for name in cue.measures if name in told]:
            best = max(seen, key=lambda name: told[name].strength)
            found.append(shortcut(cue.name, best, told[best]))
    found.sort(key=lambda s: (not BY_NAME[s.cue].heard, -s.strength))
    if together is not None:
        found.append(shortcut(TOGETHER, "", together))
    return [s for s in found if s.p_value <= CERTAIN_P and s.strength >= WORTH_TELLING]


def findings(table: Table, *, seed: int) -> list[Finding]:
    """Say in words what `find` returns, or that nothing was found, or could be."""
    if not _enough(table.labels, table.groups):
        return [
            Finding(
                "warn",
                TOPIC,
                "Whether length, level or format tell the labels cannot be judged: there are too few groups.",
                "Add recordings of other sessions or sources: at least 5 groups of every label.",
            )
        ]
    shortcuts = find(table.measures, table.labels, table.groups, seed=seed)
    alone = [s for s in shortcuts if s.cue != TOGETHER and BY_NAME[s.cue].heard]
    said = [_finding(s) for s in alone if _severity(s) != "pass"]
    if mild := [s for s in alone if _severity(s) == "pass"]:
        said.append(
            Finding(
                "pass",
                TOPIC,
                f"Labels differ in {_listed([s.cue for s in mild])}, as sounds may by themselves: {_tells(mild[0])}.",
                f"If that is how they were recorded, not what they are: {BY_NAME[mild[0].cue].remedy}.",
                [f"{s.cue}: {_hints(s)}" for s in mild],
            )
        )
    said += [_finding(s) for s in shortcuts if s.cue != TOGETHER and not BY_NAME[s.cue].heard]
    strongest = max((s.skill for s in alone), default=0.0)
    for s in shortcuts:
        if s.cue == TOGETHER and s.skill >= strongest + _FURTHER:
            share = f"{s.balanced_accuracy:.0%} of recordings (chance {s.chance:.0%})"
            said.append(
                Finding(
                    "pass",
                    TOPIC,
                    f"{TOGETHER.capitalize()} tell the label in {share}; a model should do clearly better.",
                )
            )
    return said or [
        Finding("pass", TOPIC, "No label is told by length, level, noise, bandwidth, format or name alone.")
    ]


def _finding(shortcut: Shortcut) -> Finding:
    if not BY_NAME[shortcut.cue].heard:
        meaning = "no network sees names, but labels that come from different sources sound different for it"
    elif shortcut.cut:
        meaning = "it is how they were cut, and a network may learn that instead of the sound"
    elif shortcut.natural:
        meaning = "if that is how they were recorded, not what they are, a network may learn it instead of the sound"
    else:
        meaning = "a network may learn that instead of the sound"
    sentence = f"{_capital(_tells(shortcut))}; {meaning}."
    remedy = f"{_capital(BY_NAME[shortcut.cue].remedy)}."
    return Finding(_severity(shortcut), TOPIC, sentence, remedy, [_hints(shortcut)])


def _severity(shortcut: Shortcut) -> Severity:
    """Names tell of sources only; what may be natural is worth a warning only where it nearly replaces the sound."""
    if not BY_NAME[shortcut.cue].heard:
        return "pass"
    if shortcut.natural:
        return "warn" if shortcut.skill >= STRONG else "pass"
    return "fail" if shortcut.strength >= STRONG else "warn"


def _tells(shortcut: Shortcut) -> str:
    """Such as: length alone tells the label in 97% of recordings (chance 50%)."""
    share, chance, what = shortcut.balanced_accuracy, shortcut.chance, "the label"
    if len(shortcut.hints) > 2 and 2 * shortcut.apart - 1 > shortcut.skill:
        share, chance, what = shortcut.apart, 0.5, f"'{shortcut.label}' from the rest"
    return f"{shortcut.cue} alone tells {what} in {share:.0%} of recordings (chance {chance:.0%})"


def _hints(shortcut: Shortcut) -> str:
    """What is usual of the label that is told best, and of some others."""
    order = sorted(shortcut.hints, key=lambda label: label != shortcut.label)
    more = ", ..." if len(order) > _SHOWN else ""
    return ", ".join(f"{label} {shortcut.hints[label]}" for label in order[:_SHOWN]) + more


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _judged(labels: Sequence[str], groups: Sequence[str]) -> NDArray[Any]:
    """Which recordings (n,) have a label of several groups; none if there are fewer than two such labels."""
    of: dict[str, set[str]] = defaultdict(set)
    for label, group in zip(labels, groups, strict=True):
        of[label].add(group)
    enough = {label for label, names in of.items() if len(names) > 1}
    return np.array([len(enough) > 1 and label in enough for label in labels], bool)


def _enough(labels: Sequence[str], groups: Sequence[str]) -> bool:
    """Whether labels can be dealt to their groups in so many ways that the one at hand could stand out."""
    asked = _judged(labels, groups)
    of: dict[str, set[str]] = defaultdict(set)
    for label, group, counts in zip(labels, groups, asked, strict=True):
        if counts:
            of[group].add(label)
    if any(len(names) > 1 for names in of.values()):
        return True
    sizes = Counter(label for (label,) in of.values()).values()
    ways = math.lgamma(sum(sizes) + 1) - sum(math.lgamma(n + 1) for n in sizes)
    return ways >= -math.log(CERTAIN_P)
