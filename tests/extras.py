"""Skip modules whose tests need an extra."""

import importlib.util

import pytest


def require_keras() -> None:
    """Skip the calling module without Keras, but do not import it: that takes 8 s, and workers then cannot be forks."""
    if importlib.util.find_spec("keras") is None:
        pytest.skip("needs the [train] extra", allow_module_level=True)
