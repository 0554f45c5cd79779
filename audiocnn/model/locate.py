"""Find a model by what a user names: its folder, the folder of its run, or a model that ships."""

import difflib
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

from audiocnn.errors import ConfigError
from audiocnn.files import restore_folder
from audiocnn.text import printable

_BUNDLE = "bundle.json"
_MODELS = Path(__file__).resolve().parent.parent / "models"
SHIPPED = _MODELS / "instrument"
_MOST_SEARCHED = 1_000  # folders, for the nearest name


def find_model(name: str | os.PathLike[str]) -> Path:
    """Return the folder of a model, given by it, by the folder of its run, or by the name of a model that ships.

    A leading ``~`` is the home folder. Raises `ConfigError` if there is no model, and names the nearest one.

    >>> find_model("instrument") == SHIPPED
    True
    >>> find_model("instruments")
    Traceback (most recent call last):
    audiocnn.errors.ConfigError: instruments: no such folder, nor a model that ships; did you mean 'instrument'?
    """
    path = Path(os.path.expanduser(name))
    for folder in (path, path / "model", _MODELS / path):
        restore_folder(folder)
        if is_model(folder):
            return folder
    shown = printable(os.fspath(path))
    if path.is_file():
        raise ConfigError(f"{shown}: a file; a model is a folder, such as runs/birds/model")
    what = f"not a model (no {_BUNDLE})" if path.is_dir() else "no such folder, nor a model that ships"
    raise ConfigError(f"{shown}: {what}{_nearest(path)}")


def typed(folder: Path) -> str:
    """Return what to type for the model in this folder: its name if it ships, else the path.

    >>> typed(SHIPPED), typed(Path("runs/birds/model"))
    ('instrument', 'runs/birds/model')
    """
    return folder.name if folder.parent == _MODELS else os.fspath(folder)


def is_model(folder: Path) -> bool:
    """Return whether there is a model in a folder."""
    return (folder / _BUNDLE).is_file()


def _nearest(path: Path) -> str:
    """Return a question that names the model that was probably meant; empty if there is none."""
    inside = list(_models_in(path)) if path.is_dir() else []
    if len(inside) == 1:
        return f"; did you mean '{printable(inside[0])}'?"
    if inside:
        return f"; it holds several: {', '.join(map(printable, inside[:3]))}"
    names = {name: Path(name).name for name in (*_models_in(path.parent), *_models_in(Path("runs")))}
    names |= {folder.name: folder.name for folder in _MODELS.iterdir() if is_model(folder)}
    near = difflib.get_close_matches(path.name, names.values(), n=1, cutoff=0.6)
    meant = next((name for name, last in names.items() if last == near[0]), "") if near else ""
    return f"; did you mean '{printable(meant)}'?" if meant else ""


def _models_in(folder: Path) -> Iterator[str]:
    """Yield the folders directly below ``folder`` that `find_model` takes."""
    try:
        below = sorted(itertools.islice(folder.iterdir(), _MOST_SEARCHED))
    except OSError:
        return
    yield from (os.fspath(path) for path in below if is_model(path) or is_model(path / "model"))
