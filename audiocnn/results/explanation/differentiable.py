"""The network of the model that is explained, with its gradients, loaded once for all methods that need it."""

from functools import lru_cache

from audiocnn.model.gradients import Gradients
from audiocnn.results.explanation.finding import Work


@lru_cache(maxsize=1)
def network(work: Work) -> Gradients:
    """Return it; raises what `Gradients` raises. TensorFlow takes a few seconds to load."""
    with work.progress.task("load the network with its gradients", total=1, unit="networks") as advance:
        loaded = Gradients(work.model)
        advance()
    return loaded
