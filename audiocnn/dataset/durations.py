"""Hold the stretches of a manifest against the durations of their recordings, before anything is computed."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from audiocnn.dataset.manifest import Recording
from audiocnn.dataset.problems import Report

CUT = "cut at the end of the recording"
_ROUNDING_S = 0.05  # by which programs round the end of a recording up


def cut_at_end(recordings: Sequence[Recording], durations_s: Mapping[str, float], report: Report) -> list[Recording]:
    """Return the recordings without stretches that begin after the end, and with those cut that go on after it.

    Both are reported. A recording whose duration is unknown, as it cannot be read, stays as it is.
    """
    kept = []
    for recording in recordings:
        duration_s = durations_s.get(recording.path)
        if recording.stretch is None or duration_s is None:
            kept.append(recording)
            continue
        start_s, end_s = recording.stretch
        if start_s <= duration_s and end_s <= duration_s + _ROUNDING_S:
            kept.append(recording)
            continue
        file, line = report.origins.get((recording.path, recording.stretch), (recording.path, None))
        span = f"{recording.path}: '{recording.label}' from {start_s:g} to {end_s:g} s"
        if start_s >= duration_s:
            problem = f"{span} begins after the end of the recording ({duration_s:.2f} s); correct the times"
            report.add(file, line, problem, value=f"{start_s:g}")
        else:
            problem = f"{span} ends after the end of the recording ({duration_s:.2f} s)"
            report.add(file, line, problem, value=f"{end_s:g}", outcome=CUT)
            kept.append(replace(recording, end_s=duration_s))
    return kept
