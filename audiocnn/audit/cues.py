"""What should not matter about recordings: length, level, noise, bandwidth, format and name, as columns of a table.

Takes recordings and their probes; returns the columns, and says in words what is usual in one.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiocnn.audio.probe import Probe, dbfs
from audiocnn.dataset.manifest import Recording
from audiocnn.errors import AudioError

COMMON = 5  # recordings by which a value counts as one that many have

_OFTEN = 0.2  # of the recordings with exactly one value: it is told rather than the median
_DC_STEP = 0.01  # of the level; the mean of a deep sound of finite length is not quite 0 either
_MIX = "take recordings of every label from every source"

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
    Cue("sample rate", ("sample_rate_hz",), f"{_MIX}, and set features.sample_rate to the lowest rate of all"),
    Cue("number of channels", ("channels",), _MIX),
    Cue("encoding", ("encoding",), f"go back to the originals, or {_MIX}"),
    Cue("file name", ("name_begins", "name_form", "name_length"), _MIX, heard=False),
)
BY_NAME = {cue.name: cue for cue in CUES}

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
class Table:
    """Measurements of recordings by the names that `CUES` gives them, one row a recording."""

    measures: Mapping[str, Column]
    labels: Sequence[str]
    groups: Sequence[str]


def table(recordings: Sequence[Recording], probes: Mapping[str, Probe | AudioError]) -> Table:
    """Put the measurements of all recordings that can be read and are not all zeros into columns.

    ``probes`` are by path. Of a stretch of a recording only the length is its own.
    """
    heard = [(r, p) for r in recordings if isinstance(p := probes.get(r.path), Probe) and p.peak > 0]
    names = [_name(r) for r, _ in heard]
    return Table(
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


def usual(measure: str, values: NDArray[Any]) -> str:
    """What is usual in a column: a value that occurs often, with its share, or else the median.

    >>> usual("length_s", np.array([1.0, 2.0, 4.0, 8.0, 9.0, 12.0])), usual("length_s", np.array([1.024, 1.024, 3]))
    ('median 6 s', '1.024 s (67%)')
    """
    form = _FORMS.get(measure, "{}")
    (value, n), *_ = Counter(values.tolist()).most_common(1)
    if n > 1 and n >= _OFTEN * len(values):
        return f"{form.format(value) if value != '' else 'nothing'} ({n / len(values):.0%})"
    return "various" if isinstance(value, str) else f"median {form.format(float(np.median(values)))}"


def shared(values: NDArray[Any]) -> float:
    """Share of recordings whose value is that of many others, to the last digit."""
    n = np.unique(values, return_counts=True)[1]
    return float(n[n >= max(COMMON, COMMON / 100 * len(values))].sum() / len(values))


def _name(recording: Recording) -> str:
    """The file's name without its suffix, and without the label, which many names tell on purpose."""
    name = recording.path.rpartition("/")[2].rpartition(".")[0]
    return re.sub(re.escape(recording.label), "", name, flags=re.IGNORECASE)
