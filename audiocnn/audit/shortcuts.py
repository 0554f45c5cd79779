"""Find shortcuts: cues that should not matter but predict the label, such as length, level, noise, bandwidth or format.

Takes a table of cues with labels and groups; returns the cues that predict the label, and findings.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiocnn.audio.probe import Probe, dbfs
from audiocnn.audit.finding import Finding, Severity
from audiocnn.dataset.manifest import Recording
from audiocnn.errors import AudioError
from audiocnn.wording import join_names

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_MAX_BINS, _MIN_PER_BIN = 20, 5  # of a column of numbers, and recordings in each bin
_PRIOR = 0.5  # pseudocount of every label in every bin (Krichevsky & Trofimov 1981)


@dataclass(frozen=True)
class LeaveGroupOutScore:
    """Balanced accuracy of predicting the label, and of predicting each label (n_labels,) against the rest."""

    balanced_accuracy: float
    one_vs_rest: Floats

    @property
    def strength(self) -> float:
        """Skill from chance (0) to certainty (1): for all labels, or for the best one against the rest if higher."""
        chance = 1 / len(self.one_vs_rest)
        return float(max((self.balanced_accuracy - chance) / (1 - chance), 2 * self.one_vs_rest.max() - 1))


class LeaveGroupOut:
    """A leave-one-group-out classifier of binned columns.

    It predicts the label that is most frequent, with equal weight for all labels, among the recordings of other groups
    in the same bin. Several columns are combined as in naive Bayes.
    """

    def __init__(self, columns: Mapping[str, NDArray[Any]], groups: Ints, *, common: int) -> None:
        """Bin the columns, (n,) numbers or words; words of fewer than ``common`` recordings share one bin."""
        self._groups = groups
        self._bins = {name: _bins(column, common) for name, column in columns.items()}
        # The pair of group and bin that each recording is in: its counts are left out for that recording.
        self._pairs = {name: _indexed(groups * (b.max() + 1) + b) for name, b in self._bins.items()}

    def score(
        self, y: Ints, *, combine: Collection[str]
    ) -> tuple[dict[str, LeaveGroupOutScore], LeaveGroupOutScore | None]:
        """Return the score of each column for the labels ``y`` (n,), 0 to n_labels - 1, and of columns combined.

        ``combine`` names the columns to combine; the score is None for fewer than two of them.
        """
        n_labels = int(y.max()) + 1
        others = _counts(y, np.zeros_like(y), n_labels) - _counts(y, self._groups, n_labels)
        scores, combined = {}, []
        for name, b in self._bins.items():
            near = _counts(y, b, n_labels) - _counts(y, self._pairs[name], n_labels)
            evidence = _evidence(near, others, int(b.max()) + 1)
            scores[name] = _score(evidence, y)
            combined += [evidence] if name in combine else []
        return scores, _score(np.sum(combined, axis=0), y) if len(combined) > 1 else None


def permuted_labels(y: Ints, groups: Ints, rng: np.random.Generator) -> Ints:
    """Return labels permuted among the groups that have one label each, and within every other group."""
    label_of = np.full(groups.max() + 1, -1)
    label_of[groups] = y
    mixed = np.zeros(len(label_of), bool)
    mixed[groups[label_of[groups] != y]] = True
    label_of[~mixed] = rng.permutation(label_of[~mixed])
    within = np.empty_like(y)
    within[np.argsort(groups, kind="stable")] = y[np.lexsort((rng.random(len(y)), groups))]
    return np.where(mixed[groups], within, label_of[groups])


def _counts(y: Ints, cells: Ints, n_labels: int) -> Floats:
    """Return how many recordings of each label (n, n_labels) are in the cell of every recording, itself included."""
    table = np.bincount(cells * n_labels + y, minlength=(int(cells.max()) + 1) * n_labels)
    return table.reshape(-1, n_labels)[cells].astype(np.float64)


def _evidence(near: Floats, others: Floats, n_bins: int) -> Floats:
    """Return log-likelihoods (2, n, n_labels) of each recording's bin, given every label and given the others."""
    inside = np.stack([near, near.sum(axis=1, keepdims=True) - near])
    of_all = np.stack([others, others.sum(axis=1, keepdims=True) - others])
    return np.log((inside + _PRIOR) / (of_all + _PRIOR * n_bins))


def _score(evidence: Floats, y: Ints) -> LeaveGroupOutScore:
    truth = y[:, None] == np.arange(evidence.shape[2])
    n = truth.sum(axis=0)
    recall = truth[evidence[0].argmax(axis=1) == y].sum(axis=0) / n
    predicted = evidence[0] > evidence[1]
    one_vs_rest = ((predicted & truth).sum(axis=0) / n + (~predicted & ~truth).sum(axis=0) / (len(y) - n)) / 2
    return LeaveGroupOutScore(float(recall.mean()), one_vs_rest)


def _bins(column: NDArray[Any], common: int) -> Ints:
    """Return bin indices (n,) from 0, with about as many recordings in each bin; equal values share a bin."""
    if column.dtype.kind == "U":
        word = _indexed(column)
        return _indexed(np.where(np.bincount(word)[word] >= common, word, -1))
    n_bins = max(2, min(_MAX_BINS, len(column) // _MIN_PER_BIN))
    edges = np.unique(np.quantile(column, np.linspace(0, 1, n_bins + 1)[1:-1], method="lower"))
    return _indexed(np.searchsorted(edges, column, side="right"))


def _indexed(values: NDArray[Any]) -> Ints:
    """Return indices from 0, the same for equal values."""
    return np.asarray(np.unique(values, return_inverse=True)[1], np.int64)


TOPIC = "shortcuts"
TOGETHER = "all cues together"
MIN_STRENGTH = 0.25  # from chance (0) to certainty (1): weaker cues are not reported
HIGH_STRENGTH = 0.8  # natural lengths and levels are hardly ever that different in all labels
MAX_P_VALUE = 0.01
N_PERMUTATIONS = 199  # of the labels
MIN_COMMON = 5  # recordings that share a value, for it to count as common

_MIN_TYPICAL = 0.2  # share of recordings with one value, for it to be reported instead of the median
_DC_STEP = 0.01  # of the level; the mean of a low-pitched sound of finite length is not exactly 0 either
_MIN_GAIN = 0.1  # of skill, by which all cues together exceed the best one, to be reported
_MAX_LABELS = 3  # whose typical values are reported
_MIX = "take recordings of every label from every source"

Column = Sequence[float] | Sequence[str]


@dataclass(frozen=True)
class Cue:
    """A property that should not matter. ``measures`` are its columns, ``remedy`` what to do about it.

    ``natural`` if sounds differ in it by nature: a drum is shorter than a flute, and louder. ``audible`` if it can
    change the features.
    """

    name: str
    measures: tuple[str, ...]
    remedy: str
    natural: bool = False
    audible: bool = True


CUES = (
    Cue(
        "length",
        ("length_s",),
        "cut the recordings of all labels to one length, at least one window: shorter ones are repeated to fill it",
        natural=True,
    ),
    Cue(
        "level",
        ("level_dbfs", "peak_dbfs"),
        "set train.gain_db to the difference between the labels in dB, or bring all recordings to one level",
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
        "set features.fmax to a frequency that recordings of all labels reach, or features.sample_rate to twice that",
        natural=True,
    ),
    Cue("DC offset", ("dc",), "set features.fmin to 40 Hz or more"),
    Cue("clipping", ("clipped",), "record again at a lower level, or exclude clipped recordings of every label"),
    Cue(
        "sample rate", ("sample_rate_hz",), f"{_MIX}, and set features.sample_rate to the lowest rate of all recordings"
    ),
    Cue("number of channels", ("channels",), _MIX),
    Cue("encoding", ("encoding",), f"go back to the originals, or {_MIX}"),
    Cue("file name", ("name_begins", "name_form", "name_length"), _MIX, audible=False),
)
CUE_BY_NAME = {cue.name: cue for cue in CUES}
_AUDIBLE = tuple(name for cue in CUES if cue.audible for name in cue.measures)

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
    """Measurements by the column names of `CUES`, one row per recording."""

    measures: Mapping[str, Column]
    labels: Sequence[str]
    groups: Sequence[str]


@dataclass(frozen=True)
class Shortcut:
    """A cue that predicts the label of recordings whose group was left out.

    ``measure`` is the column that predicts best. ``balanced_accuracy`` is the mean recall over labels, ``chance`` that
    of a guess. ``label`` is the label that is predicted best: ``one_vs_rest`` is the balanced accuracy of predicting it
    against the rest, with a chance of 0.5. ``p_value`` is the share of permutations of the labels in which the best of
    all cues is at least as strong. ``hints`` are the typical values by label. ``exact`` is the share of recordings
    whose value is exactly that of many others, averaged over labels.
    """

    cue: str
    measure: str
    balanced_accuracy: float
    chance: float
    p_value: float
    label: str
    one_vs_rest: float
    hints: Mapping[str, str]
    exact: float = 0.0

    @property
    def skill(self) -> float:
        """Skill of predicting any label, from chance (0) to certainty (1)."""
        return (self.balanced_accuracy - self.chance) / (1 - self.chance)

    @property
    def strength(self) -> float:
        """Skill of predicting any label, or of predicting ``label`` against the rest if that is higher."""
        return max(self.skill, 2 * self.one_vs_rest - 1)

    @property
    def natural(self) -> bool:
        """Whether sounds may differ in this cue by nature; not if they were cut to a few lengths."""
        return self.cue in CUE_BY_NAME and CUE_BY_NAME[self.cue].natural and not self.cut

    @property
    def cut(self) -> bool:
        """Whether recordings were cut to a few exact lengths."""
        return self.cue == "length" and self.exact > 0.5


def cue_table(recordings: Sequence[Recording], probes: Mapping[str, Probe | AudioError]) -> CueTable:
    """Return the measurements of all recordings that can be used, as columns.

    ``probes`` are by path. A clip of a recording has its own length and the other measurements of its file.
    """
    probed = [(r, p) for r in recordings if isinstance(p := probes.get(r.path), Probe) and not p.silent]
    names = [_name(r) for r, _ in probed]
    return CueTable(
        {
            "length_s": [p.duration_s if r.stretch is None else r.stretch[1] - r.stretch[0] for r, p in probed],
            "level_dbfs": [p.level_dbfs for _, p in probed],
            "peak_dbfs": [dbfs(p.peak) for _, p in probed],
            "floor_dbfs": [p.floor_dbfs for _, p in probed],
            "bandwidth_hz": [p.bandwidth_hz for _, p in probed],
            "cutoff_hz": [p.cutoff_hz for _, p in probed],
            "dc": [round(p.dc / _DC_STEP) * _DC_STEP for _, p in probed],
            "clipped": [p.clipped for _, p in probed],
            "sample_rate_hz": [float(p.sample_rate) for _, p in probed],
            "channels": [float(p.n_channels) for _, p in probed],
            "encoding": [f"{p.container} {p.encoding}".strip() for _, p in probed],
            "name_begins": [re.sub(r"[\W\d_].*", "", name, flags=re.DOTALL).lower() for name in names],
            "name_form": [re.sub(r"[^\W\d_]+", "a", re.sub(r"\d+", "9", name)) for name in names],
            "name_length": [float(len(name)) for name in names],
        },
        [r.label for r, _ in probed],
        [r.group for r, _ in probed],
    )


def find(
    measures: Mapping[str, Column],
    labels: Sequence[str],
    groups: Sequence[str],
    *,
    seed: int,
    n_permutations: int = N_PERMUTATIONS,
) -> list[Shortcut]:
    """Return the cues that predict the label, the strongest first, then the file name and `TOGETHER` if they do too.

    `LeaveGroupOut` predicts the labels. The strength of a cue is compared with the strength of the best cue under
    permutations of the labels over the groups, so testing many cues does not raise the false alarm rate (Westfall &
    Young, "Resampling-based multiple testing", 1993). Labels with a single group are ignored, as are missing measures.
    """
    usable = _in_testable_labels(labels, groups)
    columns = {name: np.asarray(measures[name])[usable] for cue in CUES for name in cue.measures if name in measures}
    columns = {name: column for name, column in columns.items() if len(np.unique(column)) > 1}
    if not columns:
        return []
    names, y = np.unique(np.asarray(labels)[usable], return_inverse=True)
    _, g = np.unique(np.asarray(groups)[usable], return_inverse=True)
    classifier = LeaveGroupOut(columns, g, common=MIN_COMMON)
    scores, together = classifier.score(y, combine=_AUDIBLE)
    if _max_strength(scores, together) < MIN_STRENGTH:
        return []
    rng = np.random.default_rng(seed)
    by_chance = [
        _max_strength(*classifier.score(permuted_labels(y, g, rng), combine=_AUDIBLE)) for _ in range(n_permutations)
    ]

    def shortcut(cue: str, measure: str, score: LeaveGroupOutScore) -> Shortcut:
        best = int(score.one_vs_rest.argmax())
        values = {str(name): columns[measure][y == i] for i, name in enumerate(names)} if measure else {}
        return Shortcut(
            cue=cue,
            measure=measure,
            balanced_accuracy=score.balanced_accuracy,
            chance=1 / len(names),
            p_value=(1 + sum(strength >= score.strength for strength in by_chance)) / (1 + n_permutations),
            label=str(names[best]),
            one_vs_rest=float(score.one_vs_rest[best]),
            hints={name: _typical_value(measure, column) for name, column in values.items()},
            exact=float(np.mean([_common_value_share(column) for column in values.values()])) if values else 0.0,
        )

    found = []
    for cue in CUES:
        if scored := [name for name in cue.measures if name in scores]:
            best = max(scored, key=lambda name: scores[name].strength)
            found.append(shortcut(cue.name, best, scores[best]))
    found.sort(key=lambda s: (not CUE_BY_NAME[s.cue].audible, -s.strength))
    if together is not None:
        found.append(shortcut(TOGETHER, "", together))
    return [s for s in found if s.p_value <= MAX_P_VALUE and s.strength >= MIN_STRENGTH]


def findings(table: CueTable, *, seed: int) -> list[Finding]:
    """Report what `find` returns, that there are no shortcuts, or that there are too few groups to test for them."""
    if not _enough_groups(table.labels, table.groups):
        return [
            Finding(
                "unchecked",
                TOPIC,
                "Whether length, level or format predict the label: not checked, because there are too few groups.",
                "Add recordings of other sessions or sources: at least 5 groups of every label.",
            )
        ]
    shortcuts = find(table.measures, table.labels, table.groups, seed=seed)
    alone = [s for s in shortcuts if s.cue != TOGETHER and CUE_BY_NAME[s.cue].audible]
    found = [_finding(s) for s in alone if _severity(s) != "pass"]
    if mild := [s for s in alone if _severity(s) == "pass"]:
        found.append(
            Finding(
                "pass",
                TOPIC,
                f"Labels differ in {join_names([s.cue for s in mild])}, as sounds may by nature: {_summary(mild[0])}. "
                "It matters only if the difference comes from the way of recording.",
                examples=[f"{s.cue}: {_hints(s)}" for s in mild],
            )
        )
    found += [_finding(s) for s in shortcuts if s.cue != TOGETHER and not CUE_BY_NAME[s.cue].audible]
    best_skill = max((s.skill for s in alone), default=0.0)
    for s in shortcuts:
        if s.cue == TOGETHER and s.skill >= best_skill + _MIN_GAIN:
            share = f"{s.balanced_accuracy:.0%} of recordings (chance {s.chance:.0%})"
            found.append(
                Finding(
                    "pass",
                    TOPIC,
                    f"{TOGETHER.capitalize()} predict the label in {share}; a model should be clearly better.",
                )
            )
    return found or [
        Finding("pass", TOPIC, "Neither length, level, noise, bandwidth, format nor name alone predicts the label.")
    ]


def _max_strength(scores: Mapping[str, LeaveGroupOutScore], together: LeaveGroupOutScore | None) -> float:
    return max(score.strength for score in (*scores.values(), together) if score is not None)


def _in_testable_labels(labels: Sequence[str], groups: Sequence[str]) -> NDArray[Any]:
    """Return a mask (n,) of the recordings whose label has several groups; empty for fewer than two such labels."""
    groups_of: dict[str, set[str]] = defaultdict(set)
    for label, group in zip(labels, groups, strict=True):
        groups_of[label].add(group)
    testable = {label for label, names in groups_of.items() if len(names) > 1}
    return np.array([len(testable) > 1 and label in testable for label in labels], bool)


def _enough_groups(labels: Sequence[str], groups: Sequence[str]) -> bool:
    """Return whether the labels have enough permutations over the groups for a p-value of `MAX_P_VALUE`."""
    labels_of: dict[str, set[str]] = defaultdict(set)
    for label, group, usable in zip(labels, groups, _in_testable_labels(labels, groups), strict=True):
        if usable:
            labels_of[group].add(label)
    if any(len(names) > 1 for names in labels_of.values()):
        return True
    sizes = Counter(label for (label,) in labels_of.values()).values()
    log_permutations = math.lgamma(sum(sizes) + 1) - sum(math.lgamma(n + 1) for n in sizes)
    return log_permutations >= -math.log(MAX_P_VALUE)


def _name(recording: Recording) -> str:
    """Return the file name without its suffix and without the label, which many names contain on purpose.

    The label is a word of the name, with or without a number behind it: "no" is part of "cat_no_3" and of "no3", but
    not of "nohash".
    """
    name = recording.path.rpartition("/")[2].rpartition(".")[0]
    word = rf"(?<![^\W_]){re.escape(recording.label)}(?=\d*(?![^\W_]))"
    return re.sub(word, "", name, flags=re.IGNORECASE)


def _typical_value(measure: str, values: NDArray[Any]) -> str:
    """Return the typical value of a column: a frequent value with its share, otherwise the median.

    >>> _typical_value("length_s", np.array([1.0, 2.0, 4.0, 8.0, 9.0, 12.0]))
    'median 6 s'
    >>> _typical_value("length_s", np.array([1.024, 1.024, 3]))
    '1.024 s (67%)'
    """
    form = _FORMS.get(measure, "{}")
    (value, n), *_ = Counter(values.tolist()).most_common(1)
    if n > 1 and n >= _MIN_TYPICAL * len(values):
        return f"{form.format(value) if value != '' else 'nothing'} ({n / len(values):.0%})"
    return "various" if isinstance(value, str) else f"median {form.format(float(np.median(values)))}"


def _common_value_share(values: NDArray[Any]) -> float:
    """Return the share of recordings whose exact value many others have."""
    n = np.unique(values, return_counts=True)[1]
    return float(n[n >= max(MIN_COMMON, MIN_COMMON / 100 * len(values))].sum() / len(values))


def _finding(shortcut: Shortcut) -> Finding:
    if not CUE_BY_NAME[shortcut.cue].audible:
        meaning = "a network gets no names, but labels from different sources may also sound different"
    elif shortcut.cut:
        meaning = "it depends on how they were cut, and a network may learn that instead of the sound"
    elif shortcut.natural:
        meaning = "if it comes from the way of recording, a network may learn it instead of the sound"
    else:
        meaning = "a network may learn that instead of the sound"
    sentence = f"{_capital(_summary(shortcut))}; {meaning}."
    severity = _severity(shortcut)
    remedy = "" if severity == "pass" else f"{_capital(CUE_BY_NAME[shortcut.cue].remedy)}."
    return Finding(severity, TOPIC, sentence, remedy, [_hints(shortcut)])


def _severity(shortcut: Shortcut) -> Severity:
    """A name only hints at the source; a natural cue is a warning only if it is nearly as good as the sound."""
    if not CUE_BY_NAME[shortcut.cue].audible:
        return "pass"
    if shortcut.natural:
        return "warn" if shortcut.skill >= HIGH_STRENGTH else "pass"
    return "fail" if shortcut.strength >= HIGH_STRENGTH else "warn"


def _summary(shortcut: Shortcut) -> str:
    """Return text such as "length alone predicts the label in 97% of recordings (chance 50%)"."""
    share, chance, target = shortcut.balanced_accuracy, shortcut.chance, "the label"
    if len(shortcut.hints) > 2 and 2 * shortcut.one_vs_rest - 1 > shortcut.skill:
        share, chance, target = shortcut.one_vs_rest, 0.5, f"'{shortcut.label}' against the rest"
    return f"{shortcut.cue} alone predicts {target} in {share:.0%} of recordings (chance {chance:.0%})"


def _hints(shortcut: Shortcut) -> str:
    """Return the typical values of the label that is predicted best, and of some others."""
    order = sorted(shortcut.hints, key=lambda label: label != shortcut.label)
    more = ", ..." if len(order) > _MAX_LABELS else ""
    return ", ".join(f"{label} {shortcut.hints[label]}" for label in order[:_MAX_LABELS]) + more


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
