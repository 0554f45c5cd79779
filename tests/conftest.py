"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of real recordings (``instruments/`` and ``drones/``); a test that asks for it is skipped without one."""
    folder = Path(os.environ.get("AUDIOCNN_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no recordings at {folder}; set AUDIOCNN_DATA to the folder of instruments/ and drones/")
    return folder
