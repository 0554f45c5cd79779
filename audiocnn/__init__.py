"""audiocnn: from a folder of labelled recordings to a trustworthy classifier, in three commands.

In Python: `load_model`, whose result predicts and embeds, and `featurize`. They are imported when they are first used,
so ``import audiocnn`` takes no time.
"""

from types import ModuleType
from typing import TYPE_CHECKING, Any

from audiocnn import features

if TYPE_CHECKING:
    from audiocnn.api import Embedding, Features, Model, Prediction, featurize, load_model

__version__ = "0.1.0"
__all__ = ["Embedding", "Features", "Model", "Prediction", "__version__", "featurize", "load_model"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'audiocnn' has no attribute '{name}'")
    from audiocnn import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return [*__all__]


class _Callable(ModuleType):
    """The subpackage that makes features, which can be called to make some: ``audiocnn.features("song.wav")``."""

    def __call__(self, *args: Any, **options: Any) -> "Features":
        """Return what `featurize` returns."""
        from audiocnn import api

        return api.featurize(*args, **options)


features.__class__ = _Callable
