"""Open a model of one network or of several by its folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiocnn.errors import ConfigError
from audiocnn.files import restore_folder
from audiocnn.model import bundle
from audiocnn.model.loaded_model import LoadedModel
from audiocnn.text import printable

if TYPE_CHECKING:
    from audiocnn.model.bundle import BundleInfo
    from audiocnn.model.ensemble import EnsembleInfo


def open_model(folder: Path) -> LoadedModel:
    """Load a model with the checks of `bundle.load`, or of `ensemble.load` if it has several networks."""
    if not has_members(folder):
        return bundle.load(folder)
    from audiocnn.model import ensemble  # not needed by a model of one network

    return ensemble.load(folder)


def has_members(folder: Path) -> bool:
    """Return whether the model in ``folder`` has several networks."""
    restore_folder(folder)
    return (folder / bundle.MEMBERS).is_dir()


def refuse_members(folder: Path, reason: str, option: str) -> None:
    """Raise `ConfigError` with the ``reason`` if a model has several networks; ``option`` takes one of them."""
    if has_members(folder):
        members = read_model(folder)[0].model_dump()["members"]
        named = " or ".join(f"{option} {printable(str(folder / bundle.MEMBERS / one['name']))}" for one in members)
        raise ConfigError(f"{printable(str(folder))}: has {len(members)} networks, {reason}; pass {named}")


def read_model(folder: Path) -> "tuple[BundleInfo | EnsembleInfo, str, dict[str, bytes]]":
    """Return the content of ``bundle.json``, its SHA-256 and that of the files next to it; no network is loaded."""
    if not has_members(folder):
        return bundle.read(folder)
    from audiocnn.model import ensemble

    return ensemble.read(folder)


def update_model(folder: Path, changes: Mapping[str, Any], *, card: str) -> None:
    """Replace some fields of ``bundle.json`` and the card; the networks stay the same."""
    if not has_members(folder):
        return bundle.update(folder, changes, card=card)
    from audiocnn.model import ensemble

    return ensemble.update(folder, changes, card=card)
