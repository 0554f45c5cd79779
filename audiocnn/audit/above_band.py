"""Find sound above the highest frequency that the features keep, and settings that keep it.

Takes recordings, their probes and a `FeatureSpec`; returns what lies above the band, and the finding of an audit.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from audiocnn import config
from audiocnn.audio.band_powers import EDGES_HZ, power_between
from audiocnn.audio.encode import AUDIBLE_RATE
from audiocnn.audio.probe import Probe
from audiocnn.audit.finding import Finding, pluralize
from audiocnn.dataset.manifest import Recording
from audiocnn.errors import AudioError
from audiocnn.specs import FeatureSpec
from audiocnn.text import printable
from audiocnn.wording import frequency, join_names

TOPIC = "band"
ULTRASONIC = "ultrasonic"  # the preset

_MOST = 0.5  # share of the energy of a recording, and of the recordings of a label
_NEARLY_ALL = 0.99
_BAND_RATIO = 0.01  # bands at most 20 dB below the loudest one belong to the sound
_LOWEST_RATIO = 1e-6  # lower bands, 60 dB below the whole recording, are rather noise of the format
_MIN_DIFFERENCE_DB = 6.0  # between the labels
_MAX_UNEXPLAINED = 0.5  # of the variance that labels leave below, at most this much is left above
_N_PERMUTATIONS, _MAX_P_VALUE = 199, 0.01
_SHOWN = 5  # labels that a sentence names

_RATES = (16_000, 32_000, 48_000, 96_000, 192_000, 256_000, 384_000, 512_000, 768_000)
_RATE_RATIO = 2.2  # sample rate per highest frequency, which leaves room for the slope of the resampler
# Above AUDIBLE_RATE sounds are short: frames of 2 ms, windows of 0.1 s.
_ULTRASONIC_FRAME_S, _ULTRASONIC_HOP_S, _ULTRASONIC_FRAMES = 0.004, 0.002, 51
_ULTRASONIC_FMIN_HZ, _ULTRASONIC_FROM_HZ = 8_000.0, 10_000.0  # fmin for sounds that are all above the second one

Levels = NDArray[np.float64]


@dataclass(frozen=True)
class AboveBand:
    """What lies above the highest frequency of the features, between ``low_hz`` and ``high_hz``, in one sentence.

    ``settings`` are the values below ``block`` that keep it, empty if there are none; ``preset`` does so, too.
    """

    sentence: str
    low_hz: float
    high_hz: float
    settings: Mapping[str, object]
    preset: str | None
    block: str = "features"

    @property
    def remedy(self) -> str:
        """What to do about it, in one sentence."""
        ways = []
        if self.preset:
            ways.append(f"run 'audiocnn init' again with --preset {self.preset} and --force")
        if self.settings:
            values = ", ".join(f"{key}: {_yaml(value)}" for key, value in self.settings.items())
            ways.append(f"set below {self.block}: {values}")
        text = ", or ".join(ways) or f"raise {self.block}.sample_rate above {2 * self.high_hz:,.0f}"
        return f"{text[0].upper()}{text[1:]}."


def find(
    recordings: Sequence[Recording],
    probes: Mapping[str, Probe | AudioError],
    spec: FeatureSpec,
    block: str = "features",
) -> AboveBand | None:
    """Return what lies above the band of ``spec``: most energy of a label, or where the labels differ most.

    ``block`` is the key of these features in the YAML file.
    """
    floor = 10 ** (spec.silence_dbfs / 20)
    sounding = {path: p for path, p in probes.items() if isinstance(p, Probe) and p.peak >= floor and _power(p, spec)}
    rows = [r for r in recordings if r.path in sounding]
    found = _loud(rows, sounding, spec) or _different(rows, sounding, spec)
    if found is None:
        return None
    sentence, low_hz, high_hz = found
    suggested = suggest(spec, low_hz, high_hz, max(p.sample_rate for p in sounding.values()))
    ultrasonic = config.read_preset(ULTRASONIC).features
    helps = (
        suggested is not None
        and spec.sample_rate <= AUDIBLE_RATE < suggested.sample_rate
        and high_hz <= ultrasonic.upper_hz
    )
    return AboveBand(sentence, low_hz, high_hz, _changes(spec, suggested), ULTRASONIC if helps else None, block)


def findings(
    recordings: Sequence[Recording],
    probes: Mapping[str, Probe | AudioError],
    spec: FeatureSpec,
    block: str = "features",
) -> list[Finding]:
    """Report what `find` returns."""
    found = find(recordings, probes, spec, block)
    return [] if found is None else [Finding("warn", TOPIC, found.sentence, found.remedy)]


def _power(probe: Probe, spec: FeatureSpec) -> float:
    return power_between(probe.band_powers, spec.fmin, EDGES_HZ[-1])


def _share_above(probe: Probe, spec: FeatureSpec) -> float:
    return power_between(probe.band_powers, spec.upper_hz, EDGES_HZ[-1]) / _power(probe, spec)


def _loud(rows: Sequence[Recording], probes: Mapping[str, Probe], spec: FeatureSpec) -> tuple[str, float, float] | None:
    """Return a sentence and limits in hertz if in most recordings of a label most energy is above the band."""
    share = {path: _share_above(probe, spec) for path, probe in probes.items()}
    shares_of: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        shares_of[row.label].append(share[row.path])
    labels = [label for label, shares in sorted(shares_of.items()) if float(np.median(shares)) > _MOST]
    if not labels:
        return None
    paths = list(dict.fromkeys(row.path for row in rows if row.label in labels and share[row.path] > _MOST))
    relative = [probes[path].band_powers / _power(probes[path], spec) for path in paths]
    of_label: dict[str, list[NDArray[np.float32]]] = defaultdict(list)
    label_of = {row.path: row.label for row in rows}
    for path, powers in zip(paths, relative, strict=True):
        of_label[label_of[path]].append(powers)
    loudest = np.max([np.mean(powers, axis=0) for powers in of_label.values()], axis=0)
    loudest = np.where(EDGES_HZ[1:] > spec.upper_hz, loudest, 0)
    low_hz, high_hz = _limits(loudest > _BAND_RATIO * loudest.max(), probes, spec)
    much = "nearly all" if min(share[path] for path in paths) > _NEARLY_ALL else "most"
    which = "" if len(labels) == len(shares_of) else f" of {_names(labels)}"
    n = len({row.path for row in rows if row.label in labels})
    sentence = (
        f"In {len(paths):,} of {pluralize(n, 'recording')}{which} {much} of the energy is {_between(low_hz, high_hz)}; "
        f"these features keep up to {frequency(spec.upper_hz)}."
    )
    return sentence, low_hz, high_hz


def _different(
    rows: Sequence[Recording], probes: Mapping[str, Probe], spec: FeatureSpec
) -> tuple[str, float, float] | None:
    """Return a sentence and limits in hertz if the mean spectra of the labels differ more above the band than in it.

    Levels are relative to the energy of a recording. Only bands that every recording has are compared, so a
    difference of sample rates is none of the labels. A permutation test over the groups excludes chance.
    """
    whole = [row for row in rows if row.stretch is None]  # a stretch has no probe of its own
    top_hz = min((0.45 * probes[row.path].sample_rate for row in whole), default=0.0)
    usable = (EDGES_HZ[:-1] >= spec.fmin) & (EDGES_HZ[1:] <= top_hz)
    above = EDGES_HZ[:-1][usable] >= 0.999 * spec.upper_hz
    if not above.any() or len({row.label for row in whole}) < 2:
        return None
    levels_of: dict[tuple[str, str], list[Levels]] = defaultdict(list)
    for row in whole:
        powers = np.maximum(probes[row.path].band_powers[usable] / _power(probes[row.path], spec), _LOWEST_RATIO)
        levels_of[row.label, row.group].append(10 * np.log10(powers))
    levels = np.array([np.mean(found, axis=0) for found in levels_of.values()])
    labels, y = np.unique([label for label, _ in levels_of], return_inverse=True)
    explained = _explained(levels, y)
    best = float(explained[above].max())
    if 1 - best > _MAX_UNEXPLAINED * (1 - float(explained[~above].max(initial=0.0))):
        return None
    rng = np.random.default_rng(0)
    by_chance = [float(_explained(levels[:, above], rng.permutation(y)).max()) for _ in range(_N_PERMUTATIONS)]
    if (1 + sum(chance >= best for chance in by_chance)) / (1 + _N_PERMUTATIONS) > _MAX_P_VALUE:
        return None
    means = np.array([levels[y == i].mean(axis=0) for i in range(len(labels))])
    difference_db = np.where(above & (explained >= 0.5 * best), np.ptp(means, axis=0), 0.0)
    if difference_db.max() < _MIN_DIFFERENCE_DB:
        return None
    differ = np.zeros(len(EDGES_HZ) - 1, bool)
    differ[np.flatnonzero(usable)] = difference_db >= _MIN_DIFFERENCE_DB
    low_hz, high_hz = _limits(differ, probes, spec)
    sentence = (
        f"The labels differ most {_between(low_hz, high_hz)}, by {difference_db.max():.0f} dB; "
        f"these features keep up to {frequency(spec.upper_hz)}."
    )
    return sentence, low_hz, high_hz


def _explained(levels: Levels, y: NDArray[np.intp]) -> Levels:
    """Return the share (n_bands,) of the variance of levels (n, n_bands) that the labels ``y`` (n,) explain."""
    one_hot = (y[:, None] == np.arange(y.max() + 1)).astype(np.float64)
    centred = levels - levels.mean(axis=0)
    between = np.square(one_hot.T @ centred) / one_hot.sum(axis=0)[:, None]
    return between.sum(axis=0) / np.maximum(np.square(centred).sum(axis=0), 1e-9)


def _limits(bands: NDArray[np.bool_], probes: Mapping[str, Probe], spec: FeatureSpec) -> tuple[float, float]:
    """Return the lowest and the highest frequency of these bands, above the features and within the recordings."""
    found = np.flatnonzero(bands)
    high_hz = min(float(EDGES_HZ[found[-1] + 1]), max(p.sample_rate for p in probes.values()) / 2)
    return max(float(EDGES_HZ[found[0]]), spec.upper_hz), high_hz


def suggest(spec: FeatureSpec, low_hz: float, high_hz: float, recorded_hz: int) -> FeatureSpec | None:
    """Return features of the same kind that keep sound up to ``high_hz``; None if the limits of settings exclude them.

    The sample rate is raised to ``recorded_hz`` at most. Up to 96 kHz the durations of frames and windows stay; above
    it they become those of ultrasound. ``low_hz`` is the lowest frequency of the sound, which filters must not remove.
    """
    enough = next((rate for rate in _RATES if rate >= _RATE_RATIO * high_hz), _RATES[-1])
    rate = max(spec.sample_rate, min(enough, recorded_hz))
    changed: dict[str, object] = {"sample_rate": rate, "fmax": None}
    if spec.sample_rate <= AUDIBLE_RATE < rate:
        frame, hop = _ULTRASONIC_FRAME_S * rate, _ULTRASONIC_HOP_S * rate
        changed |= {"window_frames": _ULTRASONIC_FRAMES, "hop_frames": _ULTRASONIC_FRAMES // 2}
        if low_hz > _ULTRASONIC_FROM_HZ:
            changed["fmin"] = max(spec.fmin, _ULTRASONIC_FMIN_HZ)
    else:
        frame, hop = spec.n_fft * rate / spec.sample_rate, spec.hop_length * rate / spec.sample_rate
    changed |= {"n_fft": 2 ** round(math.log2(frame)), "hop_length": round(hop)}
    if any(copy.lowpass_hz and copy.lowpass_hz[0] < low_hz for copy in spec.copies):
        changed["copies"] = ()  # the low-pass filters would remove the sound
    try:
        return FeatureSpec.model_validate(spec.model_dump() | changed)
    except ValidationError:
        return None


def _changes(spec: FeatureSpec, suggested: FeatureSpec | None) -> dict[str, object]:
    """Return the settings that differ, by name, and those that always go with a sample rate."""
    if suggested is None:
        return {}
    names = dict.fromkeys(["sample_rate", "n_fft", "hop_length", "window_frames", *FeatureSpec.model_fields])
    always = list(names)[:4]
    return {
        name: getattr(suggested, name)
        for name in names
        if name in always or getattr(suggested, name) != getattr(spec, name)
    }


def _between(low_hz: float, high_hz: float) -> str:
    return f"between {frequency(low_hz).removesuffix(' kHz')} and {frequency(high_hz)}"


def _names(labels: Sequence[str]) -> str:
    shown = [f"'{printable(label)}'" for label in labels[:_SHOWN]]
    return join_names([*shown, f"{len(labels) - _SHOWN:,} more"] if len(labels) > _SHOWN else shown)


def _yaml(value: object) -> str:
    if value is None or value == ():
        return "null" if value is None else "[]"
    return f"{value:g}" if isinstance(value, float) else f"{value}"
