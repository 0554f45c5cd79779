"""Integrated gradients: the contribution of each value of a window to its score, relative to a neutral window.

M. Sundararajan, A. Taly and Q. Yan, "Axiomatic attribution for deep networks", ICML 2017. The result is
checked by their axiom of completeness: attributions sum to the difference between the scores of window and baseline.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from audiocnn.explain.gradients import DifferentiableNetwork, Numbers, contributions
from audiocnn.explain.segments import ExplainInput
from audiocnn.features.extract import Array

TOLERANCE = 0.01  # of the difference of the scores
FIRST_STEPS, MOST_STEPS = 16, 512


@dataclass(frozen=True)
class Integrated:
    """Mean gradients (n, \\*shape) of the score between baselines and windows, and how complete they are.

    ``gradients`` times the difference between window and baseline are the attributions. ``differences`` (n,) are the
    scores of the windows minus those of their baselines. ``errors`` (n,) are the deviations of the summed attributions
    from them, as a share of the difference. ``n_steps`` (n,) is the number of gradients averaged.
    """

    gradients: Array
    differences: NDArray[np.float64]
    errors: NDArray[np.float64]
    n_steps: NDArray[np.int64]

    @property
    def complete(self) -> NDArray[np.bool_]:
        """For which windows the attributions sum to the difference within `TOLERANCE`."""
        return np.asarray(self.errors <= TOLERANCE)


def importance(
    network: DifferentiableNetwork, subject: ExplainInput, neutral: Array, *, most_steps: int = MOST_STEPS
) -> tuple[Array, Integrated]:
    """Return the contributions to the log-odds of a subject's label, float32 (n_frames, n_mels), and the integral.

    The integral is over the counted windows (of each track). The baseline is a recording whose bands are constant
    at ``neutral`` (n_mels,), in dB. Evidence against the label is negative.
    """
    level = np.broadcast_to(neutral, subject.bands.shape)
    silent = replace(subject, before=level[: len(subject.before)], bands=level, after=level[: len(subject.after)])
    X, counted = subject.windows(), np.repeat(subject.counted, subject.n_tracks)
    found = integrate(network, X[counted], silent.windows()[counted], subject.label, most_steps=most_steps)
    gradients = np.zeros_like(X)
    gradients[counted] = found.gradients
    return subject.spread(contributions(gradients, subject, neutral)), found


def integrate(
    network: DifferentiableNetwork,
    X: Array,
    baseline: Array,
    labels: Numbers,
    *,
    first_steps: int = FIRST_STEPS,
    most_steps: int = MOST_STEPS,
) -> Integrated:
    """Return the mean gradients along the straight line from ``baseline`` to raw features ``X`` (n, \\*shape).

    ``baseline`` broadcasts against ``X``. Gradients are taken in the middle of equal steps. The number of steps is
    doubled for windows that are not complete yet, up to ``most_steps``.
    """
    baseline = np.broadcast_to(np.asarray(baseline, np.float32), X.shape)
    labels = np.broadcast_to(np.asarray(labels, np.int64), len(X))
    between = (X - baseline).astype(np.float64)
    differences = network.odds(X, labels).astype(np.float64) - network.odds(baseline, labels)
    gradients = np.zeros(X.shape, np.float32)
    errors, n_steps = np.full(len(X), np.inf), np.zeros(len(X), np.int64)
    steps = first_steps
    while steps <= most_steps and (left := np.flatnonzero(errors > TOLERANCE)).size:
        gradients[left] = _mean(network, X[left], baseline[left], labels[left], steps)
        sums = (gradients[left] * between[left]).reshape(len(left), -1).sum(axis=1)
        errors[left] = np.abs(sums - differences[left]) / np.maximum(np.abs(differences[left]), 1e-9)
        n_steps[left] = steps
        steps *= 2
    return Integrated(gradients, differences, errors, n_steps)


def _mean(network: DifferentiableNetwork, X: Array, baseline: Array, labels: NDArray[np.int64], steps: int) -> Array:
    total = np.zeros(X.shape, np.float64)
    for step in range(steps):
        share = np.float32((step + 0.5) / steps)
        total += network.by_input(baseline + share * (X - baseline), labels)[1]
    return (total / steps).astype(np.float32)
