"""Transfer learning: initial weights from a trained model, its convolutions and the scale of its features."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import takewhile, zip_longest
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audiocnn.errors import ConfigError
from audiocnn.model import bundle
from audiocnn.model.blocks import AttentionPool
from audiocnn.model.layers import Dense, Layer, Sum
from audiocnn.model.notation import Architecture
from audiocnn.model.open_model import refuse_members
from audiocnn.specs import FeatureSpec
from audiocnn.text import printable

Array = NDArray[np.float32]

# May differ between the two models: how windows are cut from frames and chosen. A frame must be the same.
_FREE = {"window_frames", "hop_frames", "tail", "silence_dbfs", "quiet_db", "dtype", "channel", "copies"}


@dataclass(frozen=True)
class InitialWeights:
    """Initial weights by the names of ``Architecture.weight_shapes``, and the scale (mean, deviation).

    ``digest`` is that of the bundle they come from.
    """

    weights: Mapping[str, Array]
    scale: tuple[Array, Array]
    digest: str

    @property
    def layers(self) -> set[str]:
        """Names of the layers whose weights were transferred."""
        return {name.partition("/")[0] for name in self.weights}


def from_bundle(folder: Path, net: Architecture, spec: FeatureSpec) -> InitialWeights:
    """Return the weights that ``net``, for windows of ``spec``, takes from the bundle in ``folder``.

    These are all layers before the first dense one, or before the last layer with weights if that is a convolution.
    Raises `ConfigError`, naming the difference, if the bundle's network begins otherwise or takes other frames, and
    the errors of `audiocnn.model.bundle.load`.
    """
    refuse_members(folder, "and initial weights are those of one of them", "--init-from")
    source = bundle.load(folder)
    there, here = source.spec.model_dump(mode="json"), spec.model_dump(mode="json")
    for name in here:
        if name not in _FREE and there[name] != here[name]:
            raise ConfigError(
                f"{printable(str(folder))}: its features.{name} is {there[name]}, this project's is {here[name]}; its "
                "convolutions can only be kept for the same features"
            )
    kept, found = _before_the_head(net), _before_the_head(source.network)
    if not any(layer.n_params for layer in kept):
        raise ConfigError(f"model: '{printable(net.notation)}' has no convolution that could be kept")
    for wanted, given in zip_longest(kept, found):
        if wanted is None or given is None or _shown(wanted) != _shown(given):
            ours, theirs = (printable(_shown(layer)) if layer else "the head" for layer in (wanted, given))
            position = (wanted or given).position
            raise ConfigError(
                f"model: token {position} is {ours}, in {printable(str(folder))} it is {theirs}; to keep its "
                f"convolutions use the same beginning: {printable(source.info.notation)}"
            )
    names = {layer.name for layer in kept}
    weights = {name: array for name, array in bundle.read_weights(folder).items() if name.partition("/")[0] in names}
    scale = np.array(source.info.mean, np.float32), np.array(source.info.std, np.float32)
    return InitialWeights(weights, scale, source.digest)


def _before_the_head(net: Architecture) -> list[Layer]:
    learned = [layer for layer in net.layers if layer.n_params]
    last = next((layer for layer in reversed(learned) if not isinstance(layer, AttentionPool)), learned[-1])
    return list(takewhile(lambda layer: layer is not last and not isinstance(layer, Dense), net.layers))


def _shown(layer: Layer) -> str:
    """Return what must be the same: the token, and for a residual sum where its block begins."""
    return f"'{layer.token}'" + (f" of a block from token {layer.first}" if isinstance(layer, Sum) else "")
