"""Forecast what a new project can expect: the width of intervals, the time of a training, the size of the store."""

import contextlib
import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from audiocnn.audio.probe import Probe
from audiocnn.dataset import split
from audiocnn.dataset.manifest import Recording
from audiocnn.dataset.survey import duration_s
from audiocnn.errors import AudioError, ConfigError, SplitError
from audiocnn.evaluation.intervals import effective_groups, share_interval
from audiocnn.model import notation
from audiocnn.specs import Experiment, FeatureSpec, NetworkSpec

ACCURACY = 0.8  # for which the width of intervals is given
# Of the multiply-adds a second of a matrix product on one core, a training does about this share on each core. The
# networks of general (three window sizes) and spectrogram did 0.14 to 0.22, per second of processor time on one busy
# machine with two cores, a run each; instrument and ultrasonic were not measured so. Gradients take two more passes.
_SHARE = 0.17
_PASSES = 3
_START_S = 15.0  # until TensorFlow is loaded and the network is traced
_MATRIX = 512  # rows and columns
_MEASURED_S = 0.05


@dataclass(frozen=True)
class Tested:
    """Recordings to be tested and their groups; ``half_width`` is that of a 95 % interval of an `ACCURACY`.

    It holds for errors that are independent of each other; within a group they are not, so that intervals are wider. It
    is None with fewer than two groups.
    """

    n_recordings: int
    n_groups: int
    half_width: float | None


@dataclass(frozen=True)
class Forecast:
    """The test part, and all recordings as crossval tests them; None without a usable split.

    ``train_s`` is a rough time of a training in seconds on ``n_cores``, of all members if there are several; None for
    an invalid network. ``store_bytes`` is the size of all features.
    """

    test: Tested | None
    all: Tested | None
    train_s: float | None
    n_cores: int
    store_bytes: int


def forecast(
    recordings: Sequence[Recording],
    probes: Mapping[str, Probe | AudioError],
    experiment: Experiment,
    *,
    n_cores: int,
    core_speed: float,
) -> Forecast:
    """Forecast a training on these recordings; ``core_speed`` is what `measure_core_speed` returns."""
    found = {path: probe for path, probe in probes.items() if isinstance(probe, Probe) and not probe.silent}
    usable = [r for r in recordings if r.path in found]
    contents = {path: probe.sha256 for path, probe in found.items()}
    spec, rare, part = experiment.split, frozenset[str](), dict[str, str]()
    with contextlib.suppress(SplitError):
        rare = split.rare_labels(usable, contents, spec)
        usable = [r for r in usable if spec.rare != "drop" or r.label not in rare]
        part = dict(split.make(usable, contents, spec).part)
    members = {name: [r for r in usable if part.get(r.split_key) == name] for name in ("train", "validation", "test")}
    tested = [r for r in usable if r.label not in rare] if part else []
    return Forecast(
        _size(members["test"], contents),
        _size(tested, contents),
        _train_s(members, found, experiment, n_cores * core_speed) if part else None,
        n_cores,
        sum(_store_bytes(found, one.features) for one in experiment.networks.values()),
    )


def measure_core_speed() -> float:
    """Return the multiply-adds a second of a matrix product on one core."""
    matrix = np.ones((_MATRIX, _MATRIX), np.float32)
    matrix @ matrix  # starts the library
    started, n = time.thread_time(), 0
    while time.thread_time() - started < _MEASURED_S:
        matrix @ matrix
        n += 1
    return n * _MATRIX**3 / (time.thread_time() - started)


def _size(recordings: Sequence[Recording], contents: Mapping[str, str]) -> Tested | None:
    if not recordings:
        return None
    n = len(recordings)
    groups = np.array([*Counter(split.merge_groups(recordings, contents)).values()], np.float64)
    error = math.sqrt(ACCURACY * (1 - ACCURACY) / n)
    low, high = share_interval(ACCURACY, error, groups, _student(effective_groups(groups) - 1))
    return Tested(n, len(groups), None if low is None or high is None else (high - low) / 2)


def _student(degrees: float) -> float:
    """Return about the 97.5 % quantile of Student's t, for which the base installation has no library.

    The expansion of Abramowitz and Stegun, "Handbook of Mathematical Functions", 26.7.5; exact for 1 and 2.

    >>> [round(_student(degrees), 2) for degrees in (1, 2, 3, 10, 100)]
    [12.71, 4.3, 3.16, 2.23, 1.98]
    """
    if degrees < 3:
        return math.exp(np.interp(degrees, [1, 2, 3], np.log([12.706, 4.303, 3.159])))
    z = 1.959964
    first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / degrees + second / degrees**2 + third / degrees**3


def _train_s(
    members: Mapping[str, Sequence[Recording]], probes: Mapping[str, Probe], experiment: Experiment, speed: float
) -> float | None:
    """Return the time of the trainings of all networks, None if one of them is invalid."""
    labels = {r.label for part in members.values() for r in part} | ({experiment.data.background} - {None})
    n_trainings = 1 + experiment.decide.folds
    try:
        return sum(
            _train_network_s(members, probes, one, len(labels), n_trainings, speed)
            for one in experiment.networks.values()
        )
    except ConfigError:
        return None


def _train_network_s(
    members: Mapping[str, Sequence[Recording]],
    probes: Mapping[str, Probe],
    network: NetworkSpec,
    n_labels: int,
    n_trainings: int,
    speed: float,
) -> float:
    spec, features = network.train, network.features
    net = notation.parse_for(features, network.model, n_labels=n_labels)
    of = {part: sum(_n_windows(r, probes[r.path], features) for r in some) for part, some in members.items()}
    if spec.windows_per_recording is None:
        n_train = of["train"] * (1 + len(features.copies))
    else:
        n_train = len(members["train"]) * spec.windows_per_recording
    windows = n_trainings * spec.epochs * (n_train + of["validation"] / _PASSES)
    return n_trainings * _START_S + windows * _PASSES * net.multiply_adds / (_SHARE * speed)


def _n_windows(recording: Recording, probe: Probe, spec: FeatureSpec) -> int:
    more_s = duration_s(recording, probe) - spec.window_s
    return spec.n_tracks(probe.n_channels) * (1 + int(max(0.0, more_s) / spec.hop_s))


def _store_bytes(probes: Mapping[str, Probe], spec: FeatureSpec) -> int:
    frames = sum(p.duration_s * spec.n_tracks(p.n_channels) for p in probes.values()) * spec.sample_rate
    values = frames / spec.hop_length * spec.n_bins * len(spec.channels) * (1 + len(spec.copies))
    return round(values * np.dtype(spec.dtype).itemsize)
