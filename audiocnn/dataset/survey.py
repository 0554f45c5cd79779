"""Summarize a data set: counts, durations, sample rates, duplicates, faults."""

import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from audiocnn.audio.probe import Probe
from audiocnn.dataset.manifest import Recording
from audiocnn.errors import AudioError
from audiocnn.specs import FeatureSpec


@dataclass(frozen=True)
class ClassSurvey:
    """The recordings of one label; durations are in seconds, ``rates`` and ``channels`` count recordings."""

    label: str
    n_recordings: int
    n_groups: int
    total_s: float
    median_s: float
    rates: Mapping[int, int]
    channels: Mapping[int, int]


@dataclass(frozen=True)
class Survey:
    """The summary of a data set that ``init`` prints before any features are computed."""

    classes: Sequence[ClassSurvey]
    unreadable: Mapping[str, AudioError]
    silent: Sequence[str]
    short: Sequence[str]
    duplicates: Sequence[Sequence[str]]
    n_stretches: int
    cut_off: Sequence[float]

    @property
    def imbalance(self) -> float:
        """The number of recordings of the most common label divided by that of the rarest."""
        sizes = [c.n_recordings for c in self.classes]
        return max(sizes) / min(sizes)


def summarize(
    recordings: Sequence[Recording],
    probes: Mapping[str, Probe | AudioError],
    spec: FeatureSpec,
    upper_hz: float | None = None,
) -> Survey:
    """Summarize probed recordings, with the window length of ``spec`` and its highest frequency or ``upper_hz``."""
    readable = {path: probe for path, probe in probes.items() if isinstance(probe, Probe)}
    silent = sorted(path for path, probe in readable.items() if probe.silent)
    same: dict[str, list[str]] = defaultdict(list)
    for path in sorted(readable.keys() - set(silent)):
        same[readable[path].sha256].append(path)
    by_label: dict[str, list[Recording]] = defaultdict(list)
    for recording in recordings:
        by_label[recording.label].append(recording)
    return Survey(
        classes=[_survey_class(label, members, readable) for label, members in sorted(by_label.items())],
        unreadable={path: probe for path, probe in sorted(probes.items()) if isinstance(probe, AudioError)},
        silent=silent,
        short=sorted(path for path, probe in readable.items() if probe.duration_s < spec.window_s),
        duplicates=[paths for paths in same.values() if len(paths) > 1],
        n_stretches=sum(recording.stretch is not None for recording in recordings),
        cut_off=sorted(p.bandwidth_hz for p in readable.values() if p.bandwidth_hz > 1.1 * (upper_hz or spec.upper_hz)),
    )


def duration_s(recording: Recording, probe: Probe) -> float:
    """Return the duration of a recording, of a stretch only what is within its file."""
    if recording.stretch is None:
        return probe.duration_s
    start_s, end_s = recording.stretch
    return max(0.0, min(end_s, probe.duration_s) - start_s)


def _survey_class(label: str, members: Sequence[Recording], readable: Mapping[str, Probe]) -> ClassSurvey:
    probes = [readable[r.path] for r in members if r.path in readable]
    durations = [duration_s(r, readable[r.path]) for r in members if r.path in readable] or [0.0]
    return ClassSurvey(
        label=label,
        n_recordings=len(members),
        n_groups=len({r.group for r in members}),
        total_s=sum(durations),
        median_s=statistics.median(durations),
        rates=Counter(p.sample_rate for p in probes),
        channels=Counter(p.n_channels for p in probes),
    )
