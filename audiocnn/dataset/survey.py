"""What is in a folder of recordings: counts, durations, rates, duplicates, faults, groups that the names suggest."""

import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from audiocnn.audio.probe import Probe
from audiocnn.dataset.manifest import Recording, group_by
from audiocnn.errors import AudioError
from audiocnn.specs import FeatureSpec

# A file name without its final number; the rest must have a letter, or else "001.wav" would be part of "0".
GROUP_PATTERN = r"([^/]*?[^\W\d_][^/]*?)[-_. ]*\d+[-_. ]*\.[^./]+$"


@dataclass(frozen=True)
class ClassSurvey:
    """What is known of one label; durations are seconds, ``rates`` and ``channels`` count recordings."""

    label: str
    n_recordings: int
    n_groups: int
    total_s: float
    median_s: float
    rates: Mapping[int, int]
    channels: Mapping[int, int]


@dataclass(frozen=True)
class Survey:
    """What `init` tells before anything is computed."""

    classes: Sequence[ClassSurvey]
    unreadable: Mapping[str, AudioError]
    silent: Sequence[str]
    short: Sequence[str]
    duplicates: Sequence[Sequence[str]]
    suggested_groups: int | None
    cut_off: Sequence[float]

    @property
    def imbalance(self) -> float:
        """Recordings of the most common label for each one of the rarest."""
        sizes = [c.n_recordings for c in self.classes]
        return max(sizes) / min(sizes)


def summarize(recordings: Sequence[Recording], probes: Mapping[str, Probe | AudioError], spec: FeatureSpec) -> Survey:
    """Sum up what was found, seen with the eyes of ``spec`` (its silence floor, window and band)."""
    heard = {path: probe for path, probe in probes.items() if isinstance(probe, Probe)}
    floor = 10 ** (spec.silence_dbfs / 20)
    silent = sorted(path for path, probe in heard.items() if probe.peak < floor)
    same: dict[str, list[str]] = defaultdict(list)
    for path in sorted(heard.keys() - set(silent)):
        same[heard[path].sha256].append(path)
    by_label: dict[str, list[Recording]] = defaultdict(list)
    for recording in recordings:
        by_label[recording.label].append(recording)
    return Survey(
        classes=[_class(label, members, heard) for label, members in sorted(by_label.items())],
        unreadable={path: probe for path, probe in sorted(probes.items()) if isinstance(probe, AudioError)},
        silent=silent,
        short=sorted(path for path, probe in heard.items() if probe.duration_s < spec.window_s),
        duplicates=[paths for paths in same.values() if len(paths) > 1],
        suggested_groups=suggest_groups(recordings),
        cut_off=sorted(p.bandwidth_hz for p in heard.values() if p.bandwidth_hz > 1.1 * spec.upper_hz),
    )


def suggest_groups(recordings: Sequence[Recording]) -> int | None:
    """How many groups `GROUP_PATTERN` makes, where names look like numbered parts of fewer recordings; else None.

    They do if the pattern leaves, in every label, several groups (at least 3) and clearly fewer than recordings. None
    too if groups were given already.
    """
    if not recordings or any(r.group != r.path or r.stretch for r in recordings):
        return None
    grouped, _ = group_by(recordings, GROUP_PATTERN)
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for recording in grouped:
        found[recording.label][recording.group] += 1
    if all(len(groups) >= 3 and groups.total() >= 1.5 * len(groups) for groups in found.values()):
        return len({r.group for r in grouped})
    return None


def _class(label: str, members: Sequence[Recording], heard: Mapping[str, Probe]) -> ClassSurvey:
    probes = [heard[r.path] for r in members if r.path in heard]
    durations = [
        heard[r.path].duration_s if r.stretch is None else max(0.0, r.stretch[1] - r.stretch[0])
        for r in members
        if r.path in heard
    ] or [0.0]
    return ClassSurvey(
        label=label,
        n_recordings=len(members),
        n_groups=len({r.group for r in members}),
        total_s=sum(durations),
        median_s=statistics.median(durations),
        rates=Counter(p.sample_rate for p in probes),
        channels=Counter(p.n_channels for p in probes),
    )
