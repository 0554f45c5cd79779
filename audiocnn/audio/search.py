"""Search folders for audio files: links are followed, and what was passed over is told."""

import contextlib
import glob
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from audiocnn.audio import sniff
from audiocnn.errors import ConfigError
from audiocnn.text import printable

_EXPLAINED = ".explained"  # end of the names of folders that explain writes
_OWN_FILES = {"explanation.json", "bundle.json", "made-by-audiocnn-demo"}  # each is in a folder that audiocnn wrote
_OF_A_RUN = {".lock", "audit", "audit.json", "features", "metrics.json", "model", "quarantine.csv", "split.json"}


@dataclass(frozen=True)
class Skipped:
    """A link or folder that was not searched.

    It is a ``broken`` link, a link that leads ``outside`` the searched folder, a link to a folder that is searched
    anyway (``repeated``), or a folder that audiocnn wrote (``own``).
    """

    path: Path
    reason: Literal["broken", "outside", "repeated", "own"]


@dataclass
class Found:
    """The audio files below a folder, and what was not searched; both sorted."""

    files: list[Path] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)


def find_inputs(argument: str) -> list[Path]:
    """Return the files that an argument of a command names, or that are audio below the folders that it names.

    Raise `ConfigError` as `find_named` does, and for a folder without audio.
    """
    files: list[Path] = []
    for path in find_named(argument):
        below = find_audio(path) if os.path.isdir(path) else [path]  # noqa: PTH112 - also False without permission
        if not below:
            raise ConfigError(f"{printable(os.fspath(path))}: no audio in this folder (WAV, FLAC, OGG, MP3, AIFF)")
        files += below
    return files


def find_named(argument: str) -> list[Path]:
    """Return the files and folders that an argument names, with ``~`` and patterns that the shell left in place.

    A path that does not exist is returned as it is. Raise `ConfigError` for a pattern that nothing matches, and for
    what can never name a file here.
    """
    if os.path.lexists(argument):
        return [Path(argument)]
    shown = printable(argument)
    if re.match(r"[a-z][a-z\d+.-]+://", argument, re.IGNORECASE):
        raise ConfigError(f"{shown}: is an address, not a file; download it and name the file")
    if os.name != "nt" and re.match(r"[a-z]:[\\/]|\\\\", argument, re.IGNORECASE):
        raise ConfigError(f"{shown}: is a path of Windows, which does not exist here; in WSL drive C: is /mnt/c")
    home = os.path.expanduser(argument)
    if os.path.lexists(home):
        return [Path(home)]
    if not re.search(r"[*?]", argument):
        return [Path(argument)]
    matches = sorted(glob.glob(home, recursive=True))  # noqa: PTH207 - of any folder
    if not matches:
        raise ConfigError(f"{shown}: no file matches this pattern")
    return [Path(match) for match in matches]


def find_audio(folder: Path) -> list[Path]:
    """Return the files below ``folder`` that are audio by content or by suffix, in sorted order.

    This includes a broken ``x.wav`` and formats that are not read, so that reading them reports the fault. Hidden files
    and folders are left out. Linked folders are searched once. Raise `ConfigError` for a folder that cannot be read.
    """
    return search(folder).files


def search(folder: Path, *, outside: bool = True, own: bool = True) -> Found:
    """Find audio files as `find_audio` does, and tell what was not searched.

    Without ``outside``, links that lead out of ``folder`` are not followed. Without ``own``, folders that audiocnn
    wrote are not searched, except for ``folder`` itself.
    """
    found, seen = Found(), set[str]()
    root = Path(os.path.realpath(folder))
    links = _search(folder, found, seen, own=own)
    while links:
        link = links.pop(0)
        real = os.path.realpath(link)
        if not outside and not Path(real).is_relative_to(root):
            found.skipped.append(Skipped(link, "outside"))
        elif real in seen or Path(os.path.realpath(link.parent)).is_relative_to(real):
            found.skipped.append(Skipped(link, "repeated"))
        else:
            links = sorted([*links, *_search(link, found, seen, own=own)])
    if not outside:
        beyond = {file for file in found.files if _leads_outside(file, root)}
        found.files = [file for file in found.files if file not in beyond]
        found.skipped += [Skipped(file, "outside") for file in beyond]
    found.files.sort(key=lambda file: (*((1, name) for name in file.parts[:-1]), (0, file.name)))  # as os.walk does
    found.skipped.sort(key=lambda skipped: skipped.path)
    return found


def _search(top: Path, found: Found, seen: set[str], *, own: bool) -> list[Path]:
    """Add what is in ``top`` and its folders, without links to folders, which are returned, and without ``seen``."""
    links: list[Path] = []
    for parent, folders, names in os.walk(top, onerror=_raise_config_error):
        here, real = Path(parent), os.path.realpath(parent)
        is_own = not own and here != top and _is_own(here, folders, names)
        if is_own:
            found.skipped.append(Skipped(here, "own"))
        if is_own or real in seen:
            folders.clear()
            continue
        seen.add(real)
        visible = [here / name for name in sorted(folders) if not name.startswith(".")]
        links += [path for path in visible if path.is_symlink()]
        folders[:] = [path.name for path in visible if not path.is_symlink()]
        for path in (here / name for name in names if not name.startswith(".")):
            if path.suffix.lower() in sniff.SUFFIXES or sniff.holds_sound(path):
                found.files.append(path)
            elif path.is_symlink() and not path.exists():
                found.skipped.append(Skipped(path, "broken"))
    return links


def _is_own(folder: Path, folders: Iterable[str], names: Iterable[str]) -> bool:
    """Return whether audiocnn wrote a folder: an explanation, a model, a demo, or the results of runs."""
    if folder.name.endswith(_EXPLAINED) or _OWN_FILES.intersection(names):
        return True
    with contextlib.suppress(OSError):
        return folder.name == "runs" and any(_OF_A_RUN.intersection(os.listdir(folder / name)) for name in folders)
    return False


def _leads_outside(file: Path, folder: Path) -> bool:
    return file.is_symlink() and not Path(os.path.realpath(file)).is_relative_to(folder)


def _raise_config_error(error: OSError) -> None:
    raise ConfigError(f"{printable(os.fspath(error.filename))}: cannot be listed ({error.strerror})") from error
