"""The segments of a recording that are explained, as mel bands and windows of the network.

A short recording is explained as a whole, a long one by its strongest segments.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from audiocnn.features import extract
from audiocnn.features.extract import Array, Frames
from audiocnn.features.frontend import Frontend
from audiocnn.specs import DELTA_WIDTH, FeatureSpec

WHOLE_S = 60.0  # a recording of up to this length is explained as a whole
SEGMENT_S = 10.0  # longest segment of a longer recording
_MARGIN = DELTA_WIDTH // 2  # frames to either side that a slope depends on


@dataclass(frozen=True)
class ExplainInput:
    """A segment of a recording, and the label whose score is explained.

    ``bands`` (n_frames * n_tracks, n_mels), in dB, are the mel bands from which the features are computed. ``before``
    and ``after`` (up to 4 frames each) are their neighbours, needed for slopes. ``samples`` (n,) are at
    ``spec.sample_rate``. Windows begin at frames ``starts`` (n_windows,) of the segment; ``counted`` marks those
    that count for the recording. The segment begins ``start_s`` seconds into the recording. ``label`` is the number of
    a label. ``members`` is the same segment as each network of a model gets it, if the model has several; None for one
    that cannot use the recording.
    """

    spec: FeatureSpec
    frontend: Frontend
    label: int
    start_s: float
    samples: Array
    bands: Array
    before: Array
    after: Array
    starts: NDArray[np.int64]
    counted: NDArray[np.bool_]
    n_tracks: int = 1
    members: "tuple[ExplainInput | None, ...]" = ()

    @property
    def n_frames(self) -> int:
        return len(self.bands) // self.n_tracks

    @property
    def duration_s(self) -> float:
        return len(self.samples) / self.spec.sample_rate

    @property
    def starts_s(self) -> NDArray[np.float64]:
        """The start of each window in the recording, in seconds."""
        return self.start_s + extract.window_start_s(self.starts, self.spec)

    @property
    def end_s(self) -> float:
        return self.start_s + self.duration_s

    def frames(self, bands: Array | None = None) -> Array:
        """Return the network's frames (n_frames * n_tracks, n_bins, n_channels), from ``bands`` if given."""
        around = np.concatenate([self.before, self.bands if bands is None else bands, self.after])
        first = len(self.before)
        return of_bands(around, self.spec, self.frontend, self.n_tracks)[first : first + len(self.bands)]

    def windows(self, bands: Array | None = None) -> Array:
        """Return the network's input: float32 (n_windows * n_tracks, *spec.shape), raw, not standardized."""
        return extract.cut_windows(self.frames(bands), self.starts, self.spec, self.n_tracks)

    def spread(self, values: NDArray[np.floating]) -> Array:
        """Return the mean (n_frames, n) of values over the counted windows that contain a frame.

        ``values`` are (n_windows, window_frames, n), time first for any order of the features; n may be bands,
        bins or 1. The weight of a window is largest in its middle, so that borders of overlapping windows are not
        visible. Frames in no counted window are 0.
        """
        n = values.shape[1]
        weights = 0.05 + np.sin(np.pi * (np.arange(n) + 0.5) / n)[:, None] ** 2
        total = np.zeros((self.n_frames, values.shape[2]))
        weight = np.zeros((self.n_frames, 1))
        for start, one in zip(self.starts[self.counted], values[self.counted], strict=True):
            total[start : start + n] += weights * one
            weight[start : start + n] += weights
        return np.asarray(np.divide(total, weight, out=np.zeros_like(total), where=weight > 0), np.float32)


def banded(spec: FeatureSpec, frontend: Frontend) -> tuple[FeatureSpec, Frontend]:
    """Return the spec and constants for the same frames and windows, but only as mel bands in dB."""
    changes = {"kind": "logmel", "n_mfcc": None, "channels": ("static",), "dtype": "float32", "copies": ()}
    return spec.model_copy(update=changes), replace(frontend, dct=None)


def of_bands(bands: Array, spec: FeatureSpec, frontend: Frontend, n_tracks: int = 1) -> Array:
    """Return the frames that the network takes (n * n_tracks, n_bins, n_channels) for bands (n * n_tracks, n_mels)."""
    if n_tracks == 1:
        return extract.frames_from_bands(bands, spec=spec, frontend=frontend)
    tracks = np.moveaxis(bands.reshape(-1, n_tracks, spec.n_mels), 1, 0)
    frames = np.moveaxis(extract.frames_from_bands(tracks, spec=spec, frontend=frontend), 0, 1)
    return np.ascontiguousarray(frames).reshape(-1, *frames.shape[2:])


class NetworkFrames:
    """The frames that the network takes, computed from stored mel bands when a slice of them is read."""

    def __init__(self, bands: Frames, spec: FeatureSpec, frontend: Frontend, n_tracks: int = 1) -> None:
        self._bands, self._spec, self._frontend, self._n_tracks = bands, spec, frontend, n_tracks

    def __len__(self) -> int:
        return len(self._bands)

    def __getitem__(self, rows: slice) -> Array:
        first, last, _ = rows.indices(len(self))
        margin = _MARGIN * self._n_tracks
        begin, end = max(0, first - margin), min(len(self), last + margin)
        frames = of_bands(self._bands[begin:end][..., 0], self._spec, self._frontend, self._n_tracks)
        return frames[first - begin : last - begin]


def cut(
    bands: Frames,
    samples: Array,
    *,
    spec: FeatureSpec,
    frontend: Frontend,
    label: int,
    starts: NDArray[np.int64],
    counted: NDArray[np.bool_],
    n_tracks: int = 1,
    whole: bool = False,
) -> ExplainInput:
    """Return the segment of a recording that these consecutive windows cover; the whole recording if ``whole``.

    ``bands`` (n_frames * n_tracks, n_mels, 1) are those of the whole recording, ``starts`` are first frames in it, and
    ``samples`` those of the segment alone.
    """
    n_frames = len(bands) // n_tracks
    first, last = (0, n_frames) if whole else (int(starts[0]), int(starts[-1]) + spec.window_frames)
    begin, end = max(0, first - _MARGIN), min(n_frames, last + _MARGIN)
    around = bands[begin * n_tracks : end * n_tracks][..., 0]
    inner = slice((first - begin) * n_tracks, (last - begin) * n_tracks)
    return ExplainInput(
        spec=spec,
        frontend=frontend,
        label=label,
        start_s=first * spec.hop_length / spec.sample_rate,
        samples=samples,
        bands=around[inner],
        before=around[: inner.start],
        after=around[inner.stop :],
        starts=starts - first,
        counted=counted,
        n_tracks=n_tracks,
    )


@dataclass(frozen=True)
class Segment:
    """Windows ``first`` to ``last`` (exclusive) of a recording, and the number of the label that is explained."""

    first: int
    last: int
    label: int


def around(
    start_s: float,
    end_s: float,
    peak_s: float,
    label: int,
    *,
    starts_s: NDArray[np.float64],
    spec: FeatureSpec,
    longest_s: float = SEGMENT_S,
) -> Segment:
    """Return the windows that overlap the time from ``start_s`` to ``end_s``, at most ``longest_s`` of it.

    Of a longer time, the windows around ``peak_s`` are returned. There is always at least one window.
    """
    if end_s - start_s > longest_s:
        begin = min(max(start_s, peak_s - longest_s / 2), end_s - longest_s)
        start_s, end_s = begin, begin + longest_s
    first = int(np.searchsorted(starts_s + spec.window_s, start_s, side="right"))
    last = int(np.searchsorted(starts_s, end_s, side="left"))
    first = min(first, len(starts_s) - 1)
    return Segment(first, max(last, first + 1), label)


def strongest(
    scores: NDArray[np.float64], usable: NDArray[np.bool_], label: int, *, top: int, spec: FeatureSpec
) -> list[Segment]:
    """Return up to ``top`` single windows with the highest ``scores`` (n,), without overlaps."""
    apart = -(-spec.window_frames // spec.hop_frames)
    found: list[Segment] = []
    for window in np.argsort(-scores, kind="stable"):
        if len(found) == top:
            break
        if usable[window] and all(abs(int(window) - one.first) >= apart for one in found):
            found.append(Segment(int(window), int(window) + 1, label))
    return found


def without_overlaps(segments: Sequence[Segment], *, top: int) -> list[Segment]:
    """Return the first ``top`` of these segments that share no window with an earlier one."""
    found: list[Segment] = []
    for one in segments:
        if len(found) < top and all(one.last <= other.first or other.last <= one.first for other in found):
            found.append(one)
    return found
