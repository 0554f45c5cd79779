"""Activation maximization: the input that a label or a filter responds to most, found by gradient ascent.

D. Erhan et al., "Visualizing higher-layer features of a deep network", University of Montreal 1341 (2009), for filters;
K. Simonyan, A. Vedaldi and A. Zisserman, "Deep inside convolutional networks", ICLR 2014 workshop, for labels and the
L2 penalty; A. Mahendran and A. Vedaldi, "Understanding deep image representations by inverting them", CVPR 2015, for
total variation; A. Mordvintsev, C. Olah and M. Tyka, "Inceptionism", Google Research blog (2015), for jitter. C. Olah,
A. Mordvintsev and L. Schubert, "Feature visualization", Distill (2017), compare them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from audiocnn.explain.gradients import DifferentiableNetwork
from audiocnn.features import extract
from audiocnn.features.extract import Array
from audiocnn.features.frontend import Frontend
from audiocnn.model.blocks import Filtering
from audiocnn.model.bundle import Bundle
from audiocnn.model.notation import Architecture
from audiocnn.specs import FeatureSpec

DEVIATIONS = 3.0  # standard deviations of training around its mean; no value is farther away
WANTED = 0.95  # requested score of a label's own input
STEPS = 128
ROUNDS = 6  # at most; each has half the penalties of the previous one
_RATES = (0.3, 0.03)  # in standard deviations per step, from the first to the last step
_FIRST = 0.1  # standard deviation of the initial noise
_L2, _VARIATION = 0.2, 0.5  # weights of the pull towards the mean and towards neighbours, for a gradient of 1
_JITTER_FRAMES, _JITTER_BANDS = (
    0.08,
    0.02,
)  # of a window, at most, to either side; the second half of the steps has none

Score = Callable[[Array], NDArray[np.float64]]  # raw windows (n, *shape) to scores (n, n_labels)
Objective = Callable[[Array], tuple[Array, Array]]  # raw windows to the objective (n,) and its gradients


@dataclass(frozen=True)
class Space:
    """Plausible inputs, as deviations (n, n_bins, n_frames) from the mean of the training windows.

    Slopes are not free: they follow from the static values, as in a recording of one window. ``mean``
    and ``std`` (1 or n_bins, 1 or n_frames, n_channels) are those of the model; ``slope`` (n_frames, n_frames) is the
    matrix that maps values to their slopes.
    """

    spec: FeatureSpec
    mean: Array
    std: Array
    slope: Array

    def features(self, values: Array) -> Array:
        """Return the raw features (n, \\*spec.shape) for deviations."""
        static = self.mean[..., self._free] + self.std[..., self._free] * values
        stacked = np.stack([static if i == self._free else static @ self.slope.T for i in self._channels], axis=-1)
        return np.ascontiguousarray(self._transposed(stacked), np.float32)

    def input_gradients(self, gradients: Array) -> Array:
        """Return gradients for deviations, given gradients for raw features (n, \\*spec.shape)."""
        parts = np.moveaxis(self._transposed(gradients), -1, 0)
        total = sum(
            part if i == self._free else part @ self.slope for i, part in zip(self._channels, parts, strict=True)
        )
        return np.asarray(total * self.std[..., self._free], np.float32)

    @property
    def _channels(self) -> range:
        return range(len(self.spec.channels))

    @property
    def _free(self) -> int:
        """The channel from which the others follow."""
        return self.spec.channels.index("static") if "static" in self.spec.channels else 0

    def _transposed(self, values: Array) -> Array:
        """Convert windows with bins first to the axes of the network, or back."""
        return values if self.spec.axes == "bins_frames" else values.swapaxes(1, 2)


@dataclass(frozen=True)
class Maximized:
    """Inputs: deviations ``values`` (n, n_bins, n_frames) within `DEVIATIONS`, and raw ``features`` (n, \\*shape).

    ``reached`` (n,) are the scores of labels, or the mean responses of filters before their ReLU; ``before`` (n,) are
    those of an average window. ``n_steps`` is the largest number of steps.
    """

    values: Array
    features: Array
    before: NDArray[np.float64]
    reached: NDArray[np.float64]
    n_steps: int


def space(model: Bundle) -> Space:
    """Return the plausible inputs of a model."""
    spec = model.spec
    mean, std = (np.array(values, np.float32) for values in (model.info.mean, model.info.std))
    if spec.axes == "frames_bins":
        mean, std = mean.swapaxes(0, 1), std.swapaxes(0, 1)
    return Space(spec, mean, std, _slope(spec, model.frontend))


def labels(
    network: DifferentiableNetwork, within: Space, score: Score, numbers: Sequence[int], *, seed: int = 0
) -> Maximized:
    """Return for each of these labels a plausible window with a high score for it.

    Penalties are halved for labels whose score is below `WANTED`, up to `ROUNDS` times.
    """
    asked = np.asarray(numbers, np.int64)
    rows = np.arange(len(asked))
    values = _start(within, len(asked), seed)
    before = score(within.features(np.zeros_like(values)))[rows, asked]
    reached, left, n_steps = np.zeros(len(asked)), rows, 0
    for number in range(ROUNDS):
        objective = partial(network.by_input, labels=asked[left])
        found = _ascend(objective, within, values[left], 0.5**number, [seed, number])
        scores = score(within.features(found))[np.arange(len(left)), asked[left]]
        better = scores >= reached[left]
        values[left[better]], reached[left[better]] = found[better], scores[better]
        n_steps += STEPS
        left = rows[reached < WANTED]
        if not len(left):
            break
    return Maximized(values, within.features(values), before, reached, n_steps)


def filters(
    network: DifferentiableNetwork, within: Space, layer: Filtering, numbers: Sequence[int], *, seed: int = 0
) -> Maximized:
    """Return for each of these filters of a convolution the window that maximizes its mean response."""
    asked = np.asarray(numbers, np.int64)
    objective = partial(network.excited, filters=asked, layer=layer.name)
    start = _start(within, len(asked), seed)
    values = _ascend(objective, within, start, 1.0, [seed, layer.position])
    X = within.features(values)
    before = objective(within.features(np.zeros_like(values)))[0]
    return Maximized(values, X, before.astype(np.float64), objective(X)[0].astype(np.float64), STEPS)


def sampled(architecture: Architecture, most: int) -> dict[Filtering, list[int]]:
    """Return up to ``most`` filters of every convolution, evenly spaced by their numbers."""
    convolutions = [layer for layer in architecture.layers if isinstance(layer, Filtering)]
    return {
        layer: np.unique(np.linspace(0, layer.filters - 1, min(most, layer.filters)).round().astype(int)).tolist()
        for layer in convolutions
    }


def _slope(spec: FeatureSpec, frontend: Frontend) -> Array:
    """The matrix of slopes: its rows are the slopes of an impulse at each frame of a window."""
    if "delta" not in spec.channels:
        return np.zeros((spec.window_frames, spec.window_frames), np.float32)
    slopes = spec.model_copy(update={"channels": ("delta",), "dtype": "float32"})
    impulses = np.eye(spec.window_frames, dtype=np.float32)
    return extract.frames_from_bands(impulses, spec=slopes, frontend=replace(frontend, dct=None))[..., 0]


def _start(within: Space, n: int, seed: int) -> Array:
    shape = n, within.spec.n_bins, within.spec.window_frames
    return (_FIRST * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def _ascend(objective: Objective, within: Space, values: Array, penalty: float, seed: Sequence[int]) -> Array:
    """Return ``values`` after `STEPS` steps of gradient ascent with normalized gradients and penalties."""
    rng = np.random.default_rng(list(seed))
    spec = within.spec
    bands = 0 if spec.kind == "mfcc" else round(_JITTER_BANDS * spec.n_bins)  # neighbouring coefficients are unrelated
    most = np.array([bands, round(_JITTER_FRAMES * spec.window_frames)])
    for step, rate in enumerate(np.geomspace(*_RATES, STEPS)):
        shift = rng.integers(-most, most + 1) * (step < STEPS // 2)
        _, gradients = objective(within.features(np.roll(values, shift, axis=(1, 2))))
        pull = np.roll(within.input_gradients(gradients), -shift, axis=(1, 2))
        pull /= np.sqrt(np.square(pull).mean(axis=(1, 2), keepdims=True)) + np.float32(1e-12)
        pull -= np.float32(penalty) * (_L2 * values + _VARIATION * _roughness(values, spec))
        values = np.clip(values + np.float32(rate) * pull, -DEVIATIONS, DEVIATIONS)
    return np.asarray(values, np.float32)


def _roughness(values: Array, spec: FeatureSpec) -> Array:
    """The gradient of half the squared differences between neighbours in time and, but for MFCCs, in frequency."""
    total = np.zeros_like(values)
    for axis in (2,) if spec.kind == "mfcc" else (1, 2):
        steps = np.diff(values, axis=axis)
        before, after = [(0, 0)] * 3, [(0, 0)] * 3
        before[axis], after[axis] = (1, 0), (0, 1)
        total += np.pad(steps, before) - np.pad(steps, after)
    return total
