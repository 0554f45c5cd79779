"""Read a folder whose sub-folders name the labels, and maybe the parts of a split or folds, of its recordings."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from audiocnn.audio import search
from audiocnn.dataset import label_level
from audiocnn.dataset.label_level import Level
from audiocnn.dataset.manifest import Recording
from audiocnn.dataset.problems import Report
from audiocnn.errors import ConfigError, ManifestError
from audiocnn.labels import valid_label
from audiocnn.text import encode_path, printable


@dataclass(frozen=True)
class _Parts:
    """The level of folders that names the parts of a split, and the one that names folds; None where there is none.

    ``parts`` and ``numbers`` are what the names stand for.
    """

    split: Level | None
    parts: Mapping[str, str]
    fold: Level | None
    numbers: Mapping[str, int]

    @classmethod
    def named_by(cls, levels: Iterable[Level]) -> "_Parts":
        levels = list(levels)
        split, parts = next(((one, parts) for one in levels if (parts := label_level.split_of(one))), (None, {}))
        fold, numbers = next(((one, found) for one in levels if (found := label_level.folds_of(one))), (None, {}))
        return cls(split, parts, fold, numbers)

    def of(self, folders: Sequence[str]) -> tuple[str | None, int | None]:
        """Return the part of the split and the fold of a recording in these folders."""
        return (
            None if self.split is None else self.parts[folders[self.split.number - 1]],
            None if self.fold is None else self.numbers[folders[self.fold.number - 1]],
        )

    def notes(self) -> Iterator[str]:
        """Yield what was taken from folders."""
        if self.split is not None:
            meanings = ", ".join(f"'{name}' is {part}" for name, part in self.parts.items())
            yield f"The split is taken from the folders of level {self.split.number}: {meanings}."
        if self.fold is not None:
            yield f"The folds of crossval are taken from the folders of level {self.fold.number}: {self.fold}."


def find_files(folder: Path, *, allow_outside: bool, report: Report) -> list[Path]:
    """Return the audio files below ``folder``, without what audiocnn wrote, and report links that are not followed.

    Links that lead out of the folder are followed with ``allow_outside`` only, as the commands that read the manifest
    require it as well. Raise `ManifestError` if there is no audio.
    """
    found = search.search(folder, outside=allow_outside, own=False)
    paths: dict[str, list[str]] = {"broken": [], "outside": [], "own": [], "repeated": []}
    for skipped in found.skipped:
        path = encode_path(os.fspath(skipped.path.relative_to(folder)))
        paths[skipped.reason].append(path)
        if skipped.reason == "broken":
            report.add(path, None, f"is a broken link, to {printable(os.fspath(skipped.path.readlink()))}")
        elif skipped.reason == "outside":
            target = printable(os.path.realpath(skipped.path))
            report.add(path, None, f"is a link to {target}, outside {folder}; pass --allow-outside to use it")
    for reason, what in (("own", "what audiocnn wrote"), ("repeated", "links to folders that are read anyway")):
        if paths[reason]:
            report.notes.append(f"Left out: {what} ({_listed(paths[reason])}).")
    if not found.files:
        links = [*paths["outside"], *paths["broken"]]
        why = (
            f" but behind links that are broken or lead outside ({_listed(links)}); see --allow-outside"
            if links
            else ""
        )
        raise ManifestError(
            f"{folder}: no audio found{why} (WAV, FLAC, OGG, MP3, AIFF); expected one sub-folder per class"
        )
    return found.files


def read(
    folder: Path,
    files: Sequence[Path] | None = None,
    *,
    level: int | None = None,
    pattern: str | None = None,
    report: Report | None = None,
) -> list[Recording]:
    """List the audio files below ``folder``, by default all that `find_files` finds; each file is its own group.

    The label is the sub-folder at ``level``, which is 1 for those of ``folder``, or the part of the path that the
    regular expression ``pattern`` matches. By default it is the sub-folder at the level that `label_level.choose`
    chooses. With several levels ``report`` notes what each was taken for. Raise `ManifestError` if there is no audio,
    audio outside a class folder, or no clear choice.
    """
    report = report or Report()
    files = files or find_files(folder, allow_outside=False, report=report)
    files = [file.relative_to(folder) for file in files]
    levels = label_level.levels_of({file.parts[:-1] for file in files})
    chosen = _level(folder, files, levels, level) if pattern is None else None
    if chosen is not None:
        labels = {file: label_of(file.parts[chosen.number - 1]) for file in files}
    else:
        labels = _by_pattern(files, pattern or "", report)
    n_shared = min(len(file.parts) - 1 for file in files)
    named = _Parts.named_by(one for one in levels[:n_shared] if one != chosen)
    report.notes += _notes(levels, chosen, named)
    recordings = []
    for file, label in labels.items():
        path = encode_path(os.fspath(file))
        split, fold = named.of(file.parts)
        recordings.append(Recording(path=path, label=valid_label(label, path), group=path, split=split, fold=fold))
    return recordings


def split_by_folders(recordings: Sequence[Recording], report: Report) -> list[Recording]:
    """Return recordings that have their labels from elsewhere with the split or the folds that their folders name."""
    folders = [tuple(recording.path.split("/")[:-1]) for recording in recordings]
    n_shared = min(map(len, folders), default=0)
    named = _Parts.named_by(label_level.levels_of(folders)[:n_shared])
    report.notes += named.notes()
    given = (named.of(parts) for parts in folders)
    return [replace(r, split=split, fold=fold) for r, (split, fold) in zip(recordings, given, strict=True)]


def label_of(folder: str) -> str:
    """Return the label that a folder's name gives."""
    return encode_path(folder).removeprefix("./").strip()  # this prefix makes a path safe; a label does not need it


def _listed(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    return f"{', '.join(map(printable, paths[:3]))}{more}"


def _by_pattern(files: Sequence[Path], pattern: str, report: Report) -> dict[Path, str]:
    """Return the part of each path that ``pattern`` matches; files that do not match are left out, and reported."""
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"--label-regex '{pattern}': not a regular expression ({error})") from error
    labels, missed = {}, []
    for file in files:
        match = compiled.search(encode_path(file.as_posix()))
        if match is None:
            missed.append(encode_path(os.fspath(file)))
        else:
            labels[file] = next(text for text in (*match.groups(), match[0]) if text is not None)
    if not labels:
        raise ConfigError(f"--label-regex '{pattern}': matches no path, such as {printable(missed[0])}")
    for path in missed:
        report.add(path, None, "does not match --label-regex")
    return labels


def _level(folder: Path, files: Sequence[Path], levels: Sequence[Level], requested: int | None) -> Level:
    """Return the level of the labels; raise `ManifestError` if it is not clear, or not above every file."""
    number = requested or 1
    loose = [printable(os.fspath(file)) for file in files if len(file.parts) <= number]
    more = f" and {len(loose) - 1} more" if len(loose) > 1 else ""
    if loose and number == 1:
        raise ManifestError(
            f"{folder}: {loose[0]}{more} not in a class folder; expected one sub-folder per class; or pass "
            f"--label-regex REGEX, or a CSV with the columns path and label: audiocnn init manifest.csv --root {folder}"
        )
    if loose:
        raise ManifestError(f"--label-level {number}: {loose[0]}{more} not below that many folders of {folder}")
    if requested:
        return levels[requested - 1]
    choice = label_level.choose({file.parts[:-1] for file in files})
    if choice.level is None:
        n_shared = min(len(file.parts) - 1 for file in files)
        options = "; ".join(f"{one.number}: {one}" for one in levels[:n_shared] if one.kind != "single")
        raise ManifestError(
            f"{folder}: cannot tell which folders name the labels: {printable(choice.doubt)}; pass --label-level N "
            f"({printable(options)}), or --label-regex REGEX"
        )
    return choice.level


def _notes(levels: Sequence[Level], chosen: Level | None, named: _Parts) -> Iterator[str]:
    """Yield what was taken from the folders; nothing if there is one level."""
    if chosen is not None and len(levels) == 1:
        return
    if chosen is not None:
        yield f"Labels are the folders of level {chosen.number}: {chosen}."
    yield from named.notes()
    unused = []
    for level in levels:
        if level in (chosen, named.split, named.fold) or level.kind == "single":
            continue
        above = chosen is not None and level.number < chosen.number
        if level.kind in ("date", "part") or above:
            pattern = "^" + "[^/]+/" * (level.number - 1) + "([^/]+)/"
            yield (
                f"The folders of level {level.number} ({level}) are no labels. If each is a place, a session, a "
                f"speaker or the like, pass --group-by '{pattern}' to keep it on one side of a split."
            )
        else:
            unused.append(level)
    if unused:
        listed = ", ".join(f"{level.number} ({level})" for level in unused)
        yield f"Not used are the folders of level {listed}."
