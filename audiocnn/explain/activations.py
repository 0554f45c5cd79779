"""Outputs of the filters of a network for one window, the strongest filters first."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audiocnn.explain.gradients import DifferentiableNetwork
from audiocnn.features.extract import Array
from audiocnn.model.blocks import Filtering

MOST_FILTERS = 32  # of a layer


@dataclass(frozen=True)
class Responses:
    """Outputs of some filters of a convolution: ``planes`` (n, height, width) of the filters numbered ``filters``.

    ``strengths`` (n,) are mean absolute outputs, the largest first. ``n_left_out`` weaker filters are not included;
    ``n_silent`` of all filters have an output of zeros.
    """

    layer: Filtering
    filters: NDArray[np.int64]
    planes: Array
    strengths: NDArray[np.float64]
    n_left_out: int
    n_silent: int


def responses(network: DifferentiableNetwork, window: Array, *, most: int = MOST_FILTERS) -> list[Responses]:
    """Return outputs of all convolutions for a window (\\*shape) of raw features, at most ``most`` filters of each."""
    layers = [layer for layer in network.architecture.layers if isinstance(layer, Filtering)]
    found = network.outputs(window[None], [layer.name for layer in layers])
    return [_strongest(layer, found[layer.name][0], most) for layer in layers]


def _strongest(layer: Filtering, outputs: Array, most: int) -> Responses:
    planes = np.moveaxis(outputs, -1, 0)
    strengths = np.abs(planes).mean(axis=(1, 2), dtype=np.float64)
    order = np.argsort(-strengths, kind="stable")[:most]
    return Responses(
        layer=layer,
        filters=order.astype(np.int64),
        planes=planes[order],
        strengths=strengths[order],
        n_left_out=len(planes) - len(order),
        n_silent=int(np.count_nonzero(strengths == 0)),
    )
