"""The built wheel holds what the source tree holds. Only 'make test' can tell, which installs that and nothing else."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import audiocnn
from audiocnn import config

PACKAGE = Path(audiocnn.__file__).resolve().parent
SOURCE = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.skipif(
    not os.environ.get("AUDIOCNN_TEST_INSTALLED"), reason="only 'make test' installs the package from a wheel"
)


def files(folder: Path) -> dict[str, bytes]:
    """Content by relative name of all files, but for what Python compiles."""
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }


def test_the_tests_see_the_installed_package_and_not_the_source_tree() -> None:
    assert "site-packages" in PACKAGE.parts
    assert str(SOURCE) not in sys.path


def test_the_wheel_holds_every_file_of_the_package_and_the_presets() -> None:
    presets = {f"configs/{name}": content for name, content in files(SOURCE / "configs").items()}
    assert files(PACKAGE) == files(SOURCE / "audiocnn") | presets


@pytest.mark.parametrize("preset", config.PRESETS)
def test_presets_are_read_from_the_installed_package(preset: str) -> None:
    assert config.preset_file(preset).is_relative_to(PACKAGE)


def test_the_command_is_installed_and_is_the_same_as_the_module(tmp_path: Path) -> None:
    for command in ([str(Path(sys.executable).with_name("audiocnn"))], [sys.executable, "-m", "audiocnn"]):
        done = subprocess.run([*command, "--version"], cwd=tmp_path, capture_output=True, text=True, check=True)
        assert done.stdout == f"audiocnn, version {audiocnn.__version__}\n"
