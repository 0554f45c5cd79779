"""Groups that are stretches of one long recording, for labels with too few recordings (``init --cut-groups``).

The group ``wind.wav#60-120`` has what lies from second 60 to 120 of ``wind.wav``, except the end of it: a gap to the
next group. Such a group is told from others by its name (`Recording.cut`), so a manifest needs no other column.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from audiocnn.dataset.manifest import Recording, cut_group
from audiocnn.dataset.problems import Report
from audiocnn.errors import ConfigError

IN_GAP = "left out, in a gap between groups"
_GAP_S = 2.0


@dataclass(frozen=True)
class _Cuts:
    """Cuts of a recording every ``length_s`` seconds, with gaps between the groups that are longer than a window."""

    length_s: int
    duration_s: float
    window_s: float

    def of(self, recording: Recording) -> Iterator[Recording]:
        """Yield the parts of a recording or stretch that lie in the groups, without what lies in the gaps."""
        start_s, end_s = recording.stretch or (0.0, self.duration_s)
        for start in range(int(start_s // self.length_s) * self.length_s, int(end_s) + 1, self.length_s):
            end = start + self.length_s
            last = self.duration_s if end >= self.duration_s else end - gap_s(self.window_s)
            begin_s, stop_s = max(start_s, float(start)), min(end_s, last)
            if begin_s < stop_s or start <= start_s == end_s <= last:
                yield replace(recording, group=cut_group(recording.path, start, end), start_s=begin_s, end_s=stop_s)


def gap_s(window_s: float) -> float:
    """Return the gap between two groups of a recording; no window reaches across it."""
    return max(_GAP_S, window_s)


def cut(
    recordings: Sequence[Recording],
    durations_s: Mapping[str, float],
    length_s: int,
    window_s: float,
    report: Report,
) -> list[Recording]:
    """Return the recordings with those cut that are longer than two lengths and a group of their own.

    ``durations_s`` is by path. Stretches in the gaps are reported. Raise `ConfigError` if nothing would be cut, or the
    split would not depend on it.
    """
    option, gap = f"--cut-groups {length_s}s", gap_s(window_s)
    if length_s <= 2 * gap:
        raise ConfigError(f"{option}: too short for gaps of {gap:g} s between groups; pass more than {2 * gap:g}s")
    if any(r.split is not None or r.fold is not None for r in recordings):
        column = "split" if recordings[0].split is not None else "fold"
        raise ConfigError(f"{option}: has no effect, as the {column} of every recording is given; leave it out")
    kept, n_files, groups = [], set[str](), set[str]()
    for recording in recordings:
        duration_s = durations_s.get(recording.path, 0.0)
        if recording.group != recording.path or duration_s <= 2 * length_s:
            kept.append(recording)
            continue
        n_files.add(recording.path)
        parts = list(_Cuts(length_s, duration_s, window_s).of(recording))
        groups.update(part.group for part in parts)
        kept += parts
        if not parts and recording.stretch is not None:
            file, line = report.origins.get((recording.path, recording.stretch), (recording.path, None))
            start_s, end_s = recording.stretch
            span = f"{recording.path}: '{recording.label}' from {start_s:g} to {end_s:g} s"
            report.add(file, line, f"{span} is in a gap that {option} leaves", outcome=IN_GAP)
    if not n_files:
        raise ConfigError(
            f"{option}: no recording with a group of its own is longer than {2 * length_s} s, so nothing would be cut; "
            "pass less, or leave it out"
        )
    report.notes.insert(
        0,
        f"{option}: {len(n_files):,} of {len({r.path for r in recordings}):,} files are cut into {len(groups):,} "
        f"groups, with gaps of {gap:g} s between them.",
    )
    return kept


def cut_like(
    recording: Recording, other: Recording, duration_s: float, window_s: float, shortest_s: float
) -> list[Recording]:
    """Return the parts of a stretch in the groups of its recording, which is cut as ``other`` is; all if it is not.

    Parts shorter than ``shortest_s`` are left out.
    """
    if other.cut is None:
        return [recording]
    start, end = other.cut
    parts = _Cuts(end - start, duration_s, window_s).of(recording)
    return [part for part in parts if part.stretch is not None and part.stretch[1] - part.stretch[0] >= shortest_s]


def regroup(recording: Recording) -> Recording:
    """Return a stretch with the group in which it begins, if its recording is cut."""
    if recording.cut is None or recording.start_s is None:
        return recording
    length_s = recording.cut[1] - recording.cut[0]
    start = int(recording.start_s // length_s) * length_s
    return replace(recording, group=cut_group(recording.path, start, start + length_s))


def warning(recordings: Iterable[Recording]) -> str:
    """Return what groups within one recording mean for the figures, as a sentence without its stop; empty if none."""
    groups = {(r.path, r.group) for r in recordings if r.cut is not None}
    if not groups:
        return ""
    n = len({path for path, _ in groups})
    return (
        f"{len(groups):,} groups are stretches of {n:,} recording{'' if n == 1 else 's'} (--cut-groups): neighbouring "
        "stretches of one recording are on both sides of the split and alike, so figures are too good for recordings "
        "that are new"
    )
