"""Draw the units to review from the predictions of an archive, in two passes and in constant memory."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from audiocnn.audio.start_time import StartTime
from audiocnn.dataset import manifest
from audiocnn.dataset.manifest import Recording
from audiocnn.errors import ConfigError, UnusableError
from audiocnn.inference.prediction import RecordingPrediction
from audiocnn.labels import Labels
from audiocnn.review import sampling, units
from audiocnn.review.units import Array, Strata, Stratum
from audiocnn.text import encode_path

SCHEMA = "audiocnn.draw/1"


@dataclass(frozen=True)
class DrawnUnit:
    """A unit to review: a stretch of a recording in seconds, its prediction, its stratum, and the chance it had.

    ``file`` is the absolute path. ``stats`` are level, noise and bandwidth of the recording, ``hour`` the hour of the
    day at which the unit begins; both None if not known.
    """

    clip: str
    recording: str
    file: str
    sha256: str
    start_s: float
    end_s: float
    label: str
    score: float
    stratum: int
    chance: float
    group: str
    reserved: bool
    hour: int | None = None
    stats: dict[str, float] | None = None


@dataclass(frozen=True)
class Draw:
    """All that estimates need besides the answers; ``draw.json`` holds it.

    ``n_units`` (2, n_strata) are the units of the archive that are not reserved, and those that are; ``hours`` (2,)
    their length. ``recordings`` is the digest of the list of recordings, ``reserved`` the group of each reserved
    recording by its SHA-256.
    """

    model: str
    model_name: str
    labels: tuple[str, ...]
    positive: str | None
    edges: dict[str, tuple[float, ...]]
    strata: tuple[Stratum, ...]
    unit_s: float
    n_units: tuple[tuple[int, ...], tuple[int, ...]]
    hours: tuple[float, float]
    n_recordings: int
    n_groups: int
    grouped_by: str
    recordings: str
    seed: int
    units: tuple[DrawnUnit, ...]
    reserved: dict[str, str] = field(default_factory=dict)

    @property
    def reviewed(self) -> tuple[str, ...]:
        """The labels that are reviewed."""
        return tuple(self.edges)

    def as_dict(self) -> dict[str, Any]:
        return {"schema": SCHEMA, **asdict(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Draw":
        """Undo `as_dict`; raise `ValueError`, `KeyError` or `TypeError` for anything else."""
        found = dict(values)
        if found.pop("schema") != SCHEMA:
            raise ValueError("another schema")
        found["strata"] = tuple(Stratum(**one) for one in found["strata"])
        found["units"] = tuple(DrawnUnit(**one) for one in found["units"])
        found["edges"] = {label: tuple(edges) for label, edges in found["edges"].items()}
        for name in ("labels", "hours"):
            found[name] = tuple(found[name])
        found["n_units"] = tuple(map(tuple, found["n_units"]))
        return cls(**found)


def choose_strata(
    labels: Labels, rest: frozenset[str], thresholds: Mapping[str, float], wanted: Sequence[str], n_clips: int
) -> Strata:
    """Return the strata for a review of the ``wanted`` labels, by default all that stand for an event.

    ``thresholds`` of the model are among the edges. Many labels have fewer edges, so that ``n_clips`` suffice.
    """
    labels.require(wanted)
    if labels.positive is not None:
        if set(wanted) - {labels.positive}:
            raise ConfigError(f"--label: of two labels only '{labels.positive}' is looked for; leave out --label")
        wanted = (labels.positive,)
        rest = frozenset(labels) - {labels.positive}
    wanted = tuple(dict.fromkeys(wanted)) or tuple(label for label in labels if label not in rest) or tuple(labels)
    for usual in sampling.EDGES:
        edges = {
            label: sampling.edges_with([thresholds[label]] if label in thresholds else [], usual) for label in wanted
        }
        strata = Strata(labels, edges, rest - set(wanted))
        if sampling.LEAST * len(strata.all) <= n_clips:
            return strata
    raise ConfigError(
        f"--clips {n_clips}: {len(wanted)} labels have {len(strata.all)} strata of at least {sampling.LEAST} clips; "
        f"pass --clips {sampling.LEAST * len(strata.all)}, or choose labels with --label"
    )


def find_groups(files: Sequence[Path], pattern: str | None) -> tuple[list[str], str]:
    """Return the group of each file, and what makes a group: ``pattern``, else folders if several, else recordings."""
    names = [encode_path(os.path.abspath(file)) for file in files]
    if pattern is not None:
        named = [Recording(name, "", name) for name in names]
        return [one.group for one in manifest.group_by(named, pattern)[0]], "--group-by"
    folders = [str(Path(name).parent) for name in names]
    return (folders, "folder") if len(set(folders)) > 1 else (names, "recording")


@dataclass(frozen=True)
class Archive:
    """Recordings with their predictions and groups; ``start_of`` finds the start time of a file."""

    files: Sequence[Path]
    predictions: Sequence[RecordingPrediction]
    groups: Sequence[str]
    start_of: Callable[[Path], StartTime]
    reserved: frozenset[str]

    def order(self) -> list[int]:
        """Return the numbers of the recordings sorted by group and path."""
        return sorted(range(len(self.files)), key=lambda i: (self.groups[i], os.fspath(self.files[i])))


def draw_units(
    archive: Archive, strata: Strata, *, length_s: float, n_clips: int, seed: int
) -> tuple[list[DrawnUnit], tuple[tuple[int, ...], tuple[int, ...]], tuple[float, float]]:
    """Return the drawn units in the order of review, and the units and hours of the archive, unreserved and reserved.

    The order is random, so that a review that ends early has a random part of each stratum.
    """
    counts, hours = np.zeros((2, len(strata.all)), np.int64), [0.0, 0.0]
    for i, stratum, _, _ in _assigned(archive, strata, length_s):
        part = archive.groups[i] in archive.reserved
        counts[int(part)] += np.bincount(stratum[stratum >= 0], minlength=counts.shape[1])
        hours[int(part)] += archive.predictions[i].recording_status.duration_s / 3600
    n_units = counts.sum(axis=0)
    if not n_units.sum():
        raise UnusableError("no recording can be used, so there is nothing to review")
    rng = np.random.default_rng(seed)
    sizes = sampling.sample_sizes(n_units.tolist(), n_clips)
    places = [sampling.systematic(int(n), int(size), rng) for n, size in zip(n_units, sizes, strict=True)]
    found = list(_at_places(archive, strata, length_s, places, sizes / np.maximum(n_units, 1)))
    digits = len(str(len(found)))
    shuffled = [found[i] for i in rng.permutation(len(found))]
    drawn = [DrawnUnit(clip=f"{number:0{digits}d}", **unit) for number, unit in enumerate(shuffled, 1)]
    unreserved, reserved = (tuple(row) for row in counts.tolist())
    return drawn, (unreserved, reserved), (hours[0], hours[1])


def _assigned(archive: Archive, strata: Strata, length_s: float) -> Iterator[tuple[int, Any, Any, Array]]:
    """Yield number of the recording, stratum and label of its units, and their scores."""
    for i in archive.order():
        scores = units.unit_scores(archive.predictions[i], length_s)
        stratum, label = strata.assign(scores)
        yield i, stratum, label, scores


def _at_places(
    archive: Archive, strata: Strata, length_s: float, places: Sequence[sampling.Counts], chances: Array
) -> Iterator[dict[str, Any]]:
    """Yield the fields of the units that have these places within their strata."""
    n_before = [0] * len(places)
    for i, stratum, label, scores in _assigned(archive, strata, length_s):
        prediction = archive.predictions[i]
        status, stats, group = prediction.recording_status, prediction.signal_stats, archive.groups[i]
        for h, wanted in enumerate(places):
            there = np.flatnonzero(stratum == h)
            first, last = np.searchsorted(wanted, (n_before[h], n_before[h] + len(there)))
            for unit in there[wanted[first:last] - n_before[h]].tolist():
                yield {
                    "recording": prediction.recording,
                    "file": encode_path(os.path.abspath(archive.files[i])),
                    "sha256": status.sha256,
                    "start_s": round(unit * length_s, 6),
                    "end_s": round(min((unit + 1) * length_s, status.duration_s), 6),
                    "label": strata.labels[int(label[unit])],
                    "score": round(float(scores[unit, label[unit]]), 6),
                    "stratum": h,
                    "chance": float(chances[h]),
                    "group": group,
                    "reserved": group in archive.reserved,
                    "hour": _hour(archive.start_of(archive.files[i]), unit * length_s),
                    "stats": None if stats is None else asdict(stats),
                }
            n_before[h] += len(there)


def _hour(start: StartTime, offset_s: float) -> int | None:
    return None if start.time is None else (start.time + timedelta(seconds=offset_s)).hour
