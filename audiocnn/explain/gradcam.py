"""Grad-CAM: where the last convolution finds evidence for a label.

R. R. Selvaraju et al., "Grad-CAM: visual explanations from deep networks via gradient-based localization", ICCV 2017:
the output of each filter, weighted by the mean gradient of the score over its plane; only positive values are kept.
For networks that average over the plane this is the only form. Where a dense layer distinguishes places, the gradient
around each place can be its weight instead, much as in R. L. Draelos and L. Carin, "Use
HiResCAM instead of Grad-CAM for faithful explanations of convolutional neural networks", arXiv 2011.08891 (2020).
"""

import numpy as np
from numpy.typing import NDArray

from audiocnn.errors import needs_extra
from audiocnn.explain.gradients import DifferentiableNetwork, Numbers, contributions
from audiocnn.explain.segments import ExplainInput
from audiocnn.features.extract import Array
from audiocnn.model.blocks import Filtering
from audiocnn.model.layers import GlobalPool, Layer, Sliding, Sum
from audiocnn.model.notation import Architecture

_NEIGHBOURS = 3  # width in places over which gradients are averaged; after ReLUs and pooling single ones vary strongly


def importance(
    network: DifferentiableNetwork, subject: ExplainInput, neutral: Array, *, by_place: bool = False
) -> Array:
    """Return the evidence for the label of a subject at each place, float32 (n_frames, n_mels), 0 or more.

    For MFCCs the map is over coefficients. It then weights their gradients, as in the guided Grad-CAM of the same
    paper, and `contributions` converts that to mel bands, relative to ``neutral`` (n_mels,) in dB.
    """
    spec, X = subject.spec, subject.windows()
    found = maps(network, X, subject.label, by_place=by_place)
    if spec.kind == "mfcc":
        weighted = found[..., None] * network.by_input(X, subject.label)[1]
        return subject.spread(np.maximum(contributions(weighted, subject, neutral), 0))
    by_frame = found if spec.axes == "frames_bins" else found.swapaxes(1, 2)
    return subject.spread(by_frame.reshape(-1, subject.n_tracks, *by_frame.shape[1:]).mean(axis=1))


def maps(network: DifferentiableNetwork, X: Array, labels: Numbers, *, by_place: bool = False) -> Array:
    """Return the map of each window, float32 (n, height, width), 0 or more, of the size of the window.

    :param by_place: weight each place by the gradient around it, instead of one weight for all places
    :raises ValueError: the network has no convolution for `layer`
    """
    asked = layer(network.architecture)
    outputs, gradients = network.by_layer(X, labels, asked.name)
    if by_place:
        with needs_extra("train"):
            from scipy.ndimage import uniform_filter

        gradients = uniform_filter(gradients, (1, _NEIGHBOURS, _NEIGHBOURS, 1), mode="nearest")
    else:
        gradients = gradients.mean(axis=(1, 2), keepdims=True)
    small = np.maximum((outputs * gradients).sum(axis=-1), 0)
    rows, columns = centres(network.architecture, asked)
    height, width = network.architecture.input_shape[:2]
    return np.asarray(_between(rows, height) @ small @ _between(columns, width).T, np.float32)


def layer(architecture: Architecture) -> Layer:
    """Return the layer that is used: the last convolution or residual sum with more than one place.

    :raises ValueError: there is none
    """
    for one in reversed(architecture.layers):
        if isinstance(one, Filtering | Sum) and max(one.output_shape[:2]) > 1:
            return one
    raise ValueError(f"'{architecture.notation}' has no convolution with more than one place")


def averages(architecture: Architecture) -> bool:
    """Return whether the network averages over the plane, so that all places have the same weight."""
    return any(isinstance(one, GlobalPool) and one.function == "average" for one in architecture.layers)


def _between(places: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """Return the matrix (n, len(places)) of linear interpolation between ``places``, constant beyond the ends."""
    return np.stack([np.interp(np.arange(n), places, one) for one in np.eye(len(places))], axis=1)


def centres(architecture: Architecture, last: Layer) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the rows and the columns of the window at the centres of the receptive fields of a layer.

    >>> from audiocnn.model.notation import parse
    >>> net = parse("4C3S2-P2-4C3V-GAP-*", input_shape=(16, 12, 1), n_labels=2)
    >>> [at.tolist() for at in centres(net, layer(net))]
    [[6.0, 10.0], [6.0]]
    """
    found: list[NDArray[np.float64]] = []
    for axis in (0, 1):
        first, step = 0.0, 1
        for one in (step for layer in architecture.layers[: last.position] for step in layer.steps):
            if isinstance(one, Sliding):
                n, n_out = one.input_shape[axis], one.output_shape[axis]
                beyond = max((n_out - 1) * one.stride + one.kernel - n, 0) if one.padding == "same" else 0
                first += step * ((one.kernel - 1) / 2 - beyond // 2)  # TensorFlow pads less before than after
                step *= one.stride
        found.append(np.asarray(first + step * np.arange(last.output_shape[axis]), np.float64))
    return found[0], found[1]
