"""The versions that 'make' installs are those that pyproject.toml asks for."""

import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]


def test_every_dependency_has_a_tested_version_that_is_allowed() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [Requirement(line) for line in lines if not line.startswith("#")]
    versions = {canonicalize_name(pin.name): next(iter(pin.specifier)).version for pin in pins}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    for wanted in map(Requirement, [*project["dependencies"], *(line for extra in extras for line in extra)]):
        version = versions.get(canonicalize_name(wanted.name))
        assert version, f"{wanted.name}: not in constraints.txt; run 'make constraints'"
        assert wanted.specifier.contains(version), f"{wanted}: constraints.txt has {version}; run 'make constraints'"


def test_constraints_name_versions_and_nothing_of_the_machine_that_made_them() -> None:
    text = (ROOT / "constraints.txt").read_text()
    assert all("==" in line for line in text.splitlines() if not line.startswith("#"))
    assert not any(word in text for word in ("://", "@", "--", "/"))
