"""audiocnn: from a folder of labelled recordings to a trustworthy classifier, in three commands.

The Python interface is `load`, whose result predicts and embeds, and `featurize`. They are imported on first use,
so ``import audiocnn`` takes no time.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from audiocnn.api import Embedding, Features, Model, Prediction, Predictions, featurize, load, load_model
    from audiocnn.inference.events import Event

__version__ = "0.1.0"
__all__ = [
    "Embedding",
    "Event",
    "Features",
    "Model",
    "Prediction",
    "Predictions",
    "__version__",
    "featurize",
    "load",
    "load_model",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'audiocnn' has no attribute '{name}'")
    from audiocnn import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return [*__all__]
