"""Whether something that should not matter tells the label: length, level, noise, bandwidth, format or name.

Takes a table of cues with labels and groups; returns those by which labels can be told, and what to say of them.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiocnn.audio.probe import Probe, dbfs
from audiocnn.audit import leave_group_out
from audiocnn.audit.finding import Finding, Severity
from audiocnn.dataset.manifest import Recording
from audiocnn.errors import AudioError

MIN_COMMON = 5  # recordings by which a value counts as one that many have

_OFTEN = 0.2  # of the recordings with exactly one value: it is told rather than the median
_DC_STEP = 0.01  # of the level; the mean of a deep sound of finite length is not quite 0 either
_CUE_MIX = "take recordings of every label from every source"

Column = Sequence[float] | Sequence[str]


@dataclass(frozen=True)
class Cue:
    """A property that should not matter. ``measures`` are the columns it is seen in, ``remedy`` what can be done.

    ``natural`` says that sounds differ in it by themselves: a drum is shorter than a flute, and louder. ``heard`` says
    that it can get into the features.
    """

    name: str
    measures: tuple[str, ...]
    remedy: str
    natural: bool = False
    heard: bool = True


CUES = (
    Cue(
        "length",
        ("length_s",),
        "cut the recordings of all labels to one length, no less than a window: what is shorter is repeated to fill it",
        natural=True,
    ),
    Cue(
        "level",
        ("level_dbfs", "peak_dbfs"),
        "set train.gain_db to as many dB as the labels differ by, or bring all recordings to one level",
        natural=True,
    ),
    Cue(
        "noise floor",
        ("floor_dbfs",),
        "record all labels in the same places with the same equipment, or add noise with snr_db in features.copies",
        natural=True,
    ),
    Cue(
        "bandwidth",
        ("bandwidth_hz", "cutoff_hz"),
        "set features.fmax to what the recordings of every label reach, or features.sample_rate to twice that",
        natural=True,
    ),
    Cue("DC offset", ("dc",), "set features.fmin to 40 Hz or more"),
    Cue("clipping", ("clipped",), "record again at a lower level, or leave clipped recordings of every label out"),
    Cue("sample rate", ("sample_rate_hz",), f"{_CUE_MIX}, and set features.sample_rate to the lowest rate of all"),
    Cue("number of channels", ("channels",), _CUE_MIX),
    Cue("encoding", ("encoding",), f"go back to the originals, or {_CUE_MIX}"),
    Cue("file name", ("name_begins", "name_form", "name_length"), _CUE_MIX, heard=False),
)
CUE_BY_NAME = {cue.name: cue for cue in CUES}

_FORMS = {
    "length_s": "{:.7g} s",
    "level_dbfs": "{:.1f} dBFS",
    "peak_dbfs": "peak {:.1f} dBFS",
    "floor_dbfs": "{:.1f} dBFS",
    "bandwidth_hz": "{:.0f} Hz",
    "cutoff_hz": "{:.0f} Hz",
    "dc": "{:.0%} of the level",
    "clipped": "{:.2%} of samples",
    "sample_rate_hz": "{:.0f} Hz",
    "channels": "{:.0f}",
    "name_form": "like {}",
    "name_length": "{:.0f} characters",
}


@dataclass(frozen=True)
class CueTable:
    """Measurements of recordings by the names that `CUES` gives them, one row a recording."""

    measures: Mapping[str, Column]
    labels: Sequence[str]
    groups: Sequence[str]


def cue_table(recordings: Sequence[Recording], probes: Mapping[str, Probe | AudioError]) -> CueTable:
    """Put the measurements of all recordings that can be read and are not all zeros into columns.

    ``probes`` are by path. Of a stretch of a recording only the length is its own.
    """
    heard = [(r, p) for r in recordings if isinstance(p := probes.get(r.path), Probe) and p.peak > 0]
    names = [_name(r) for r, _ in heard]
    return CueTable(
        {
            "length_s": [p.duration_s if r.stretch is None else r.stretch[1] - r.stretch[0] for r, p in heard],
            "level_dbfs": [p.level_dbfs for _, p in heard],
            "peak_dbfs": [dbfs(p.peak) for _, p in heard],
            "floor_dbfs": [p.floor_dbfs for _, p in heard],
            "bandwidth_hz": [p.bandwidth_hz for _, p in heard],
            "cutoff_hz": [p.cutoff_hz for _, p in heard],
            "dc": [round(p.dc / _DC_STEP) * _DC_STEP for _, p in heard],
            "clipped": [p.clipped for _, p in heard],
            "sample_rate_hz": [float(p.sample_rate) for _, p in heard],
            "channels": [float(p.n_channels) for _, p in heard],
            "encoding": [f"{p.container} {p.encoding}".strip() for _, p in heard],
            "name_begins": [re.sub(r"[\W\d_].*", "", name, flags=re.DOTALL).lower() for name in names],
            "name_form": [re.sub(r"[^\W\d_]+", "a", re.sub(r"\d+", "9", name)) for name in names],
            "name_length": [float(len(name)) for name in names],
        },
        [r.label for r, _ in heard],
        [r.group for r, _ in heard],
    )


def typical_value(measure: str, values: NDArray[Any]) -> str:
    """What is usual in a column: a value that occurs often, with its share, or else the median.

    >>> typical_value("length_s", np.array([1.0, 2.0, 4.0, 8.0, 9.0, 12.0]))
    'median 6 s'
    >>> typical_value("length_s", np.array([1.024, 1.024, 3]))
    '1.024 s (67%)'
    """
    form = _FORMS.get(measure, "{}")
    (value, n), *_ = Counter(values.tolist()).most_common(1)
    if n > 1 and n >= _OFTEN * len(values):
        return f"{form.format(value) if value != '' else 'nothing'} ({n / len(values):.0%})"
    return "various" if isinstance(value, str) else f"median {form.format(float(np.median(values)))}"


def common_value_share(values: NDArray[Any]) -> float:
    """Share of recordings whose value is that of many others, to the last digit."""
    n = np.unique(values, return_counts=True)[1]
    return float(n[n >= max(MIN_COMMON, MIN_COMMON / 100 * len(values))].sum() / len(values))


def _name(recording: Recording) -> str:
    """The file's name without its suffix, and without the label, which many names tell on purpose."""
    name = recording.path.rpartition("/")[2].rpartition(".")[0]
    return re.sub(re.escape(recording.label), "", name, flags=re.IGNORECASE)


TOPIC = "shortcuts"
TOGETHER = "all cues together"
MIN_STRENGTH = 0.25  # of the way from chance to certainty
HIGH_STRENGTH = 0.8  # sounds of all labels are hardly ever that unlike in length or level by themselves
MAX_P_VALUE = 0.01
N_PERMUTATIONS = 199  # of labels dealt anew

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
        return self.cue in CUE_BY_NAME and CUE_BY_NAME[self.cue].natural and not self.cut

    @property
    def cut(self) -> bool:
        """Whether recordings were cut to a few lengths."""
        return self.cue == "length" and self.exact > 0.5


def find(
    measures: Mapping[str, Column],
    labels: Sequence[str],
    groups: Sequence[str],
    *,
    seed: int,
    draws: int = N_PERMUTATIONS,
) -> list[Shortcut]:
    """Return the cues that tell labels, the strongest first, then the file name and `TOGETHER` if they do, too.

    How labels are told is in `audiocnn.audit.leave_group_out`. It is compared with what comes out when labels are
    dealt to
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
    crowd = leave_group_out.LeaveGroupOut(columns, g, common=MIN_COMMON)
    told, together = crowd.tell(y, together=_HEARD)
    if max(t.strength for t in (*told.values(), together) if t is not None) < MIN_STRENGTH:
        return []
    rng = np.random.default_rng(seed)
    by_chance = []
    for _ in range(draws):
        each, both = crowd.tell(leave_group_out.permuted_labels(y, g, rng), together=_HEARD)
        by_chance.append(max(t.strength for t in (*each.values(), both) if t is not None))

    def shortcut(cue: str, measure: str, of: leave_group_out.LeaveGroupOutScore) -> Shortcut:
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
            hints={name: typical_value(measure, column) for name, column in values.items()},
            exact=float(np.mean([common_value_share(column) for column in values.values()])) if values else 0.0,
        )

    found = []
    for cue in CUES:
        if seen := [name for name in cue.measures if name in told]:
            best = max(seen, key=lambda name: told[name].strength)
            found.append(shortcut(cue.name, best, told[best]))
    found.sort(key=lambda s: (not CUE_BY_NAME[s.cue].heard, -s.strength))
    if together is not None:
        found.append(shortcut(TOGETHER, "", together))
    return [s for s in found if s.p_value <= MAX_P_VALUE and s.strength >= MIN_STRENGTH]


def findings(table: CueTable, *, seed: int) -> list[Finding]:
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
    alone = [s for s in shortcuts if s.cue != TOGETHER and CUE_BY_NAME[s.cue].heard]
    said = [_finding(s) for s in alone if _severity(s) != "pass"]
    if mild := [s for s in alone if _severity(s) == "pass"]:
        said.append(
            Finding(
                "pass",
                TOPIC,
                f"Labels differ in {_listed([s.cue for s in mild])}, as sounds may by themselves: {_tells(mild[0])}.",
                f"If that is how they were recorded, not what they are: {CUE_BY_NAME[mild[0].cue].remedy}.",
                [f"{s.cue}: {_hints(s)}" for s in mild],
            )
        )
    said += [_finding(s) for s in shortcuts if s.cue != TOGETHER and not CUE_BY_NAME[s.cue].heard]
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
    if not CUE_BY_NAME[shortcut.cue].heard:
        meaning = "no network sees names, but labels that come from different sources sound different for it"
    elif shortcut.cut:
        meaning = "it is how they were cut, and a network may learn that instead of the sound"
    elif shortcut.natural:
        meaning = "if that is how they were recorded, not what they are, a network may learn it instead of the sound"
    else:
        meaning = "a network may learn that instead of the sound"
    sentence = f"{_capital(_tells(shortcut))}; {meaning}."
    remedy = f"{_capital(CUE_BY_NAME[shortcut.cue].remedy)}."
    return Finding(_severity(shortcut), TOPIC, sentence, remedy, [_hints(shortcut)])


def _severity(shortcut: Shortcut) -> Severity:
    """Names tell of sources only; what may be natural is worth a warning only where it nearly replaces the sound."""
    if not CUE_BY_NAME[shortcut.cue].heard:
        return "pass"
    if shortcut.natural:
        return "warn" if shortcut.skill >= HIGH_STRENGTH else "pass"
    return "fail" if shortcut.strength >= HIGH_STRENGTH else "warn"


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
    return ways >= -math.log(MAX_P_VALUE)
