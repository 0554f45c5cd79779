"""Occlusion maps of a model of one network or of several.

From several networks the same seconds and hertz are hidden at once, in the mel bands of each. The score is that of the
whole model: the weighted mean of the calibrated log-scores of its members, divided by the temperature of the model. Of
a window of the map it is computed as for a recording of that length: a member that has several windows there has their
mean.

The map is drawn in the mel bands of the member with the highest ``upper_hz``, so that no frequency that any member
uses is above it; frequencies below its lowest band are hidden with that band. Its windows are as long as the longest
ones of the members: in short windows, a patch would be too small a part of a long one to change its score, and the map
would show the short ones only.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from audiocnn.explain import log_odds, occlusion, segments
from audiocnn.explain.log_odds import LogOdds, Scorer
from audiocnn.explain.occlusion import Advance, Patches
from audiocnn.explain.segments import ExplainInput
from audiocnn.features import frontend
from audiocnn.features.extract import Array
from audiocnn.features.frontend import Frontend
from audiocnn.inference.prediction import Scores
from audiocnn.inference.scoring import log_scores
from audiocnn.model.bundle import Bundle
from audiocnn.model.ensemble import Ensemble
from audiocnn.model.loaded_model import LoadedModel
from audiocnn.specs import FeatureSpec

_NEVER_SILENT_DBFS = -1000.0

Numbers = NDArray[np.float64]


def map_kind(model: LoadedModel) -> tuple[FeatureSpec, Frontend]:
    """Return the features of the map: those of a single network, else the bands and windows described above."""
    if not model.members:
        [network] = model.networks
        return network.spec, network.frontend
    wide, longest = _widest(model), max((network.spec for network in model.networks), key=lambda spec: spec.window_s)
    spec, constants = segments.banded(wide.spec, wide.frontend)
    frame_s = spec.hop_length / spec.sample_rate
    alike = len({(network.spec.window_s, network.spec.hop_s) for network in model.networks}) == 1
    changes = {
        "window_frames": 1 + round(longest.window_s / frame_s),
        "hop_frames": max(1, round(longest.hop_s / frame_s)),
        "tail": longest.tail if alike else "cover",  # short windows get closer to the end than long ones
        "silence_dbfs": _NEVER_SILENT_DBFS,  # if another member can use the recording, there is something to explain
    }
    return spec.model_copy(update=changes), constants


def windows_of_map(map_s: Numbers, spec: FeatureSpec, starts_s: Numbers, window_s: float) -> NDArray[np.bool_]:
    """Return which windows of a member belong to which windows of the map, (n_windows of the map, n).

    Those within a window of the map do. If there are none, the one does whose centre is nearest; and one across the
    border of two belongs to that whose centre is nearer. ``map_s`` are the starts of the windows of the map, whose
    features are ``spec``, and ``starts_s`` (n,) those of the member's windows, in the recording.
    """
    frame_s, length_s = spec.hop_length / spec.sample_rate, spec.window_s
    early, late = map_s - frame_s / 2, map_s + length_s + frame_s / 2
    belongs: NDArray[np.bool_] = (starts_s >= early[:, None]) & (starts_s + window_s <= late[:, None])
    centres_s = starts_s + window_s / 2
    distance = np.abs((map_s + length_s / 2)[:, None] - centres_s)
    lost = ~belongs.any(axis=0) & (starts_s >= early[0]) & (starts_s + window_s <= late[-1])
    empty = ~belongs.any(axis=1)
    belongs[distance[:, lost].argmin(axis=0), np.flatnonzero(lost)] = True
    belongs[np.flatnonzero(empty), distance[empty].argmin(axis=1)] = True
    return belongs


def with_members(subject: ExplainInput, members: Sequence[ExplainInput | None]) -> ExplainInput:
    """Return a segment of the map with the same segment of each member; None for a member that has no windows.

    A window of the map counts if it has a counted window of any member. If none has, all windows count.
    """
    if not any(one.counted.any() for one in members if one is not None):
        members = [None if one is None else replace(one, counted=np.ones_like(one.counted)) for one in members]
    counted = [(_belonging(subject, one) & one.counted).any(axis=1) for one in members if one is not None]
    return replace(subject, members=tuple(members), counted=np.any(counted, axis=0))


def importance(
    model: LoadedModel,
    subject: ExplainInput,
    labels: Sequence[int],
    requested: str,
    *,
    advance: Advance = lambda n: None,
) -> list[Array]:
    """Return the occlusion map (n_frames, n_mels) of each of ``labels``, as `occlusion.importance` does.

    ``requested`` is the level that hidden places get, see `occlusion.neutral`.
    """
    if isinstance(model, Bundle):
        level, _ = occlusion.neutral(model, subject, requested)
        known: list[Array] = []
        return [
            occlusion.importance(subject, _cached_score(model, label, known), level, advance=advance)
            for label in labels
        ]
    spec = subject.spec
    patches = occlusion.grid(spec.window_frames, spec.n_mels)
    weights = patches.weights()
    level, _ = occlusion.neutral(_widest(model), subject, requested)
    rows = subject.bands.reshape(-1, subject.n_tracks, spec.n_mels)
    members = [
        None if own is None else _Member.of(network, own, subject, requested)
        for network, own in zip(_bundles(model), subject.members, strict=True)
    ]
    found = np.zeros((len(labels), len(subject.starts), spec.window_frames, spec.n_mels), np.float32)
    for window in map(int, np.flatnonzero(subject.counted)):
        places = places_of(subject, window, patches)
        whole, hidden = combine([None if one is None else one.log_scores(window, places) for one in members], model)
        odds = [[log_odds.of_logits(log, label) for log in (whole[None], hidden)] for label in labels]
        falls = np.array([before - after for before, after in odds], np.float32)
        changed = np.abs(rows[subject.starts[window] :][: spec.window_frames] - level).mean(axis=1)
        found[:, window] = occlusion.attribute(falls, np.stack([changed] * len(labels)), patches, weights)
        advance(1)
    return [subject.spread(one) for one in found]


def multiply_adds(model: LoadedModel) -> float:
    """Return about how many multiply-adds hiding one patch from one window of the map takes."""
    spec, _ = map_kind(model)
    patch_s = spec.window_s / occlusion.SHARE
    changed = [1 + patch_s / one.spec.hop_s if model.members else 1 for one in _bundles(model)]  # windows
    return sum(n * one.network.multiply_adds for n, one in zip(changed, _bundles(model), strict=True))


def neutral_kind(model: LoadedModel, subject: ExplainInput, requested: str) -> str:
    """Return the kind of the level that hidden places get, see `occlusion.neutral`: ``mean`` if any member has one."""
    inputs = subject.members or (subject,)
    pairs = zip(_bundles(model), inputs, strict=True)
    kinds = [occlusion.neutral(one, own, requested)[1] for one, own in pairs if own is not None]
    return "mean" if "mean" in kinds else "noise"


@dataclass(frozen=True)
class Places:
    """Places in time and frequency to hide: from ``start_s`` to ``end_s`` and ``low_hz`` to ``high_hz``, each (n,)."""

    start_s: Numbers
    end_s: Numbers
    low_hz: Numbers
    high_hz: Numbers


def places_of(subject: ExplainInput, window: int, patches: Patches) -> Places:
    """Return the places that patches hide from a window of the map; the lowest and highest have no end."""
    spec = subject.spec
    frame_s, centres_hz = spec.hop_length / spec.sample_rate, frontend.mel_edges_hz(spec)[1:-1]
    edges_hz = np.concatenate([[-np.inf], (centres_hz[1:] + centres_hz[:-1]) / 2, [np.inf]])
    hidden = [patches.place(i) for i in range(len(patches))]
    edge_s = subject.start_s + (subject.starts[window] - 0.5) * frame_s
    return Places(
        start_s=np.array([edge_s + frames.start * frame_s for frames, _ in hidden]),
        end_s=np.array([edge_s + frames.stop * frame_s for frames, _ in hidden]),
        low_hz=np.array([edges_hz[bands.start] for _, bands in hidden]),
        high_hz=np.array([edges_hz[bands.stop] for _, bands in hidden]),
    )


MemberScores = tuple[Scores, Scores]  # mean log-scores of the unchanged windows (n_labels,), of hidden places (n, ...)


@dataclass(frozen=True)
class _Member:
    """A network of a model and its part of a segment.

    ``chosen`` are its counted windows in each window of the map, (n_windows of the map, n). ``neutral`` (n_mels,) is
    the level in dB that hidden places get.
    """

    network: Bundle
    own: ExplainInput
    chosen: NDArray[np.bool_]
    neutral: Array

    @classmethod
    def of(cls, network: Bundle, own: ExplainInput, subject: ExplainInput, requested: str) -> "_Member":
        return cls(network, own, _belonging(subject, own) & own.counted, occlusion.neutral(network, own, requested)[0])

    def log_scores(self, window: int, places: Places) -> MemberScores | None:
        """Return the mean log-scores in a window of the map; None if no window of the member counts there."""
        own, n = replace(self.own, counted=self.chosen[window]), int(self.chosen[window].sum())
        if not n:
            return None
        n_labels = len(self.network.labels)
        whole, hidden = np.zeros(n_labels), np.zeros((len(places.start_s), n_labels))
        bins = self._hidden_bands(places)
        for windows, left, right in occlusion.groups_of_windows(own):
            bands = occlusion.around_windows(own, windows, left, right)
            before = self._score(bands, left)
            after = np.repeat(before[None], len(hidden), axis=0)
            frames = self._hidden_frames(places, own.starts[windows] - left, bands.shape[2])
            place, changed = np.nonzero(frames.any(axis=2) & bins.any(axis=1, keepdims=True))
            at_a_time = max(1, occlusion.VALUES_AT_A_TIME // bands[:, 0].size)
            for first in range(0, len(place), at_a_time):
                p, w = place[first : first + at_a_time], changed[first : first + at_a_time]
                mask = frames[p, w][:, :, None] & bins[p][:, None, :]
                after[p, w] = self._score(np.where(mask, self.neutral, bands[:, w]), left)
            whole += before.sum(axis=0) / n
            hidden += after.sum(axis=1) / n
        return whole, hidden

    def _hidden_frames(self, places: Places, firsts: NDArray[np.int64], n_frames: int) -> NDArray[np.bool_]:
        """Return which frames places hide, (n_places, n_windows, n_frames), of windows that begin at ``firsts``."""
        spec = self.own.spec
        frames: NDArray[np.int64] = firsts[:, None] + np.arange(n_frames)
        times_s = self.own.start_s + frames * spec.hop_length / spec.sample_rate
        return np.asarray((times_s >= places.start_s[:, None, None]) & (times_s < places.end_s[:, None, None]))

    def _hidden_bands(self, places: Places) -> NDArray[np.bool_]:
        """Return which bands places hide, (n_places, n_mels)."""
        centres_hz = frontend.mel_edges_hz(self.own.spec)[1:-1]
        return np.asarray((centres_hz >= places.low_hz[:, None]) & (centres_hz < places.high_hz[:, None]))

    def _score(self, bands: Array, left: int) -> Scores:
        """Return the calibrated log-scores (n, n_labels) of windows (n_tracks, n, n_frames, n_mels)."""
        network = self.network
        logits, _ = network.runtime(occlusion.network_input(self.own, bands, left))
        log = log_scores(logits, network.labels, network.temperature)
        return np.asarray(log.reshape(*bands.shape[:2], -1).mean(axis=0))


def combine(members: Sequence[MemberScores | None], model: LoadedModel) -> MemberScores:
    """Return the log-scores of the model, up to a constant, given those of each member.

    The others share the weight of members that have none; at least one has.
    """
    weights = np.array([0.0 if one is None else w for one, w in zip(members, model.weights, strict=True)])
    shares = weights / weights.sum() / model.temperature
    counted = [(share, *one) for share, one in zip(shares, members, strict=True) if one is not None]
    return np.sum([share * whole for share, whole, _ in counted], axis=0), np.sum(
        [share * hidden for share, _, hidden in counted], axis=0
    )


def _belonging(subject: ExplainInput, own: ExplainInput) -> NDArray[np.bool_]:
    return windows_of_map(subject.starts_s, subject.spec, own.starts_s, own.spec.window_s)


def _bundles(model: LoadedModel) -> Sequence[Bundle]:
    assert isinstance(model, Bundle | Ensemble)
    return model.networks


def _widest(model: LoadedModel) -> Bundle:
    return max(_bundles(model), key=lambda one: one.spec.upper_hz)


def _cached_score(model: Bundle, label: int, known: list[Array]) -> Scorer:
    """Return the log-odds of a label, with the logits computed for the first label only.

    All labels are asked for the same windows in the same order; ``known`` keeps the logits.
    """
    cached = iter(list(known))

    def ask(X: Array) -> LogOdds:
        logits = next(cached, None)
        if logits is None:
            logits = model.runtime(X)[0]
            known.append(logits)
        positive = model.labels.positive_index
        return log_odds.of_logits(logits, label, temperature=model.temperature, positive=positive)

    return ask
