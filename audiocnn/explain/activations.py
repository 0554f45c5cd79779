"""What every filter of a network puts out for one window, the filters that respond most first."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audiocnn.explain.gradients import DifferentiableNetwork
from audiocnn.features.extract import Array
from audiocnn.model.notation import Conv

MOST_FILTERS = 32  # of a layer


@dataclass(frozen=True)
class Responses:
    """What some filters of a convolution put out: ``planes`` (n, height, width), of the filters numbered ``filters``.

    ``strengths`` (n,) are the means of what they put out, without its sign, the largest first. ``n_left_out`` are not
    among them, as they respond less; ``n_silent`` of all filters put out nothing but zeros.
    """

    layer: Conv
    filters: NDArray[np.int64]
    planes: Array
    strengths: NDArray[np.float64]
    n_left_out: int
    n_silent: int


def responses(network: DifferentiableNetwork, window: Array, *, most: int = MOST_FILTERS) -> list[Responses]:
    """Return what the convolutions put out for a window (\\*shape) of raw features, ``most`` filters of each."""
    layers = [layer for layer in network.architecture.layers if isinstance(layer, Conv)]
    found = network.outputs(window[None], [layer.name for layer in layers])
    return [_strongest(layer, found[layer.name][0], most) for layer in layers]


def _strongest(layer: Conv, outputs: Array, most: int) -> Responses:
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
