"""What explanations ask of a network, so that they do not depend on how it is computed."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from audiocnn.features.extract import Array
from audiocnn.model.architecture import Architecture

Numbers = int | NDArray[np.int64]  # of a label or a filter: one for all windows, or (n,) for each


class Network(Protocol):
    """A network with its gradients. `audiocnn.model.gradients.Gradients` is one, and says what its answers are."""

    architecture: Architecture

    def odds(self, X: Array, labels: Numbers) -> Array: ...

    def by_input(self, X: Array, labels: Numbers) -> tuple[Array, Array]: ...

    def by_layer(self, X: Array, labels: Numbers, layer: str) -> tuple[Array, Array]: ...

    def outputs(self, X: Array, layers: Sequence[str]) -> dict[str, Array]: ...

    def excited(self, X: Array, filters: Numbers, layer: str) -> tuple[Array, Array]: ...
