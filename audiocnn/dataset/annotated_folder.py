"""Tell which recording each annotation belongs to: files named after a recording, or tables that name recordings.

Takes a folder of recordings, and perhaps a folder or a table of annotations; returns the labelled stretches.
"""

import functools
import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from audiocnn.audio import sniff
from audiocnn.dataset import annotations, foreign_files
from audiocnn.dataset.annotations import Annotation
from audiocnn.dataset.manifest import Recording
from audiocnn.dataset.problems import NOT_USED, Report
from audiocnn.dataset.stretches import resolve_overlaps
from audiocnn.errors import ConfigError, ManifestError
from audiocnn.text import encode_path, printable

_FEW, _MANY = 0.2, 0.5  # share of annotated recordings: below the first folders are the labels, from the second files
_FOLDERS_HOLD_LABELS = "the sub-folders hold the labels; to use annotation files instead, pass --annotations"


@dataclass(frozen=True)
class AnnotatedFolder:
    """The recordings that the annotation files of a folder define.

    ``unannotated`` are the paths of recordings without an annotation file, ``empty`` of those whose file is empty.
    ``overlap_s`` is the time with two labels in seconds, which is left out.
    """

    recordings: list[Recording]
    unannotated: list[str]
    empty: list[str]
    overlap_s: float


def read(
    folder: Path,
    recordings: Iterable[Path],
    report: Report,
    *,
    source: Path | None = None,
    label_column: str | None = None,
    wanted: bool = False,
) -> AnnotatedFolder | None:
    """Read the annotations next to the recordings below ``folder``, or those in the folder or table ``source``.

    Return None if there are none, or so few below two or more sub-folders that these hold the labels. With ``source``
    or ``wanted`` annotations are required. Files that are seen and not used are reported. Raise `ManifestError` with
    file and line for a row of another recording, and for a recording with two different files.
    """
    files = {encode_path(os.fspath(file.relative_to(folder))): file for file in recordings}
    reader = _Reader(folder, files, report, label_column)
    if source is not None:
        reader.read_all(_texts_below(source), source if source.is_dir() else source.parent)
    else:
        owners: dict[Path, list[str]] = defaultdict(list)
        for path, file in files.items():
            for text in annotations.find_texts(file):
                owners[text].append(path)
        used = [text for text, paths in owners.items() if annotations.is_annotation(text, files[paths[0]].stem)]
        has_classes = len({path.partition("/")[0] for path in files}) > 1 and all("/" in path for path in files)
        if has_classes and not wanted:
            if not _hold_labels(folder, used, len(files)):
                for text in sorted({*used, *_other_texts(folder, files.values(), set(owners))}):
                    reader.not_used(text, _FOLDERS_HOLD_LABELS)
                return None
        else:
            reader.read_all(_other_texts(folder, files.values(), set(owners)), folder)
        for text in sorted(owners):
            if text in used:
                reader.add(text, owners[text], {path for one in used for path in owners[one]})
            else:
                reader.not_used(text, annotations.NOT_ONE)
    if not reader.sources:
        loose = next((path for path in files if "/" not in path), None)
        if loose is not None and reader.why and source is None:
            raise ManifestError(
                f"{folder}: {printable(loose)} is not in a class folder and has no annotations{reader.why}"
            )
        if source is not None or wanted:
            raise ManifestError(
                f"{source or folder}: no annotation file belongs to a recording below {folder}{reader.why}"
            )
        return None
    return reader.result()


def _hold_labels(folder: Path, used: Sequence[Path], n_recordings: int) -> bool:
    """Whether annotation files, and not the sub-folders, hold the labels; raise `ManifestError` if it is unclear."""
    if len(used) >= _MANY * n_recordings:
        return True
    if len(used) >= _FEW * n_recordings:
        raise ManifestError(
            f"{folder}: cannot tell whether its sub-folders hold the labels, or the {len(used)} annotation files next "
            f"to its {n_recordings} recordings (such as {printable(used[0].name)}); pass --annotations {folder} to use "
            "them, or --label-level 1 to use the sub-folders"
        )
    return False


def _texts_below(source: Path) -> list[Path]:
    if not source.is_dir():
        with open(source, "rb") as file:
            other = foreign_files.describe(file.read(1 << 16))
        if other or not annotations.is_annotation(source, source.stem):
            raise ManifestError(f"{source}: {other or annotations.NOT_ONE}")
        return [source]
    found = [Path(parent, name) for parent, _, names in os.walk(source) for name in names if not name.startswith(".")]
    return sorted(file for file in found if file.suffix.lower() in annotations.SUFFIXES)


def _other_texts(top: Path, recordings: Iterable[Path], known: set[Path]) -> list[Path]:
    """Return the annotation files in ``top`` and in the folders of recordings that are not named after one."""
    texts = {
        file
        for folder in {top, *(recording.parent for recording in recordings)}
        for file in folder.iterdir()
        if file.suffix.lower() in annotations.SUFFIXES and file.is_file() and not file.name.startswith(".")
    }
    return sorted(text for text in texts - known if annotations.is_annotation(text, ""))


class _Names:
    """Finds recordings by the names and paths that annotations give them."""

    def __init__(self, folder: Path, files: dict[str, Path]) -> None:
        self._parts = {path: _parts(os.fspath(file.relative_to(folder))) for path, file in files.items()}
        self._paths: dict[str, list[str]] = defaultdict(list)
        for path, parts in self._parts.items():
            for key in {parts[-1], _without_suffix(parts[-1])}:
                self._paths[key].append(path)

    def find(self, name: str) -> list[str]:
        """Return the recordings of this file name or path; of several those in the folders that the path names."""
        parts = _parts(name)
        found = self._paths.get(parts[-1], []) or self._paths.get(_without_suffix(parts[-1]), [])
        if len(found) < 2:
            return found
        shared = {path: _n_shared(self._parts[path][:-1], parts[:-1]) for path in found}
        return [path for path in found if shared[path] == max(shared.values())]


def _parts(name: str) -> list[str]:
    return [part for part in re.split(r"[\\/]+", unicodedata.normalize("NFC", name).lower()) if part] or [""]


def _without_suffix(name: str) -> str:
    return Path(name).stem if Path(name).suffix in sniff.SUFFIXES else name


def _n_shared(folders: Sequence[str], others: Sequence[str]) -> int:
    """Return the number of folders at the end of two paths that are the same, before the first that differs."""
    n = 0
    for one, other in zip(reversed(folders), reversed(others), strict=False):
        if one != other:
            break
        n += 1
    return n


class _Reader:
    """Collects the annotations of recordings; ``sources`` holds the rows of every file by recording."""

    def __init__(self, folder: Path, files: dict[str, Path], report: Report, label_column: str | None) -> None:
        self.sources: dict[str, dict[Path, list[Annotation]]] = defaultdict(dict)
        self.why = ""  # no file is used, for a message
        self._folder = folder
        self._files = files
        self._report = report
        self._label_column = label_column
        self._has_columns = False

    @functools.cached_property
    def _names(self) -> _Names:
        return _Names(self._folder, self._files)

    def read_all(self, texts: Sequence[Path], top: Path) -> None:
        """Read files that need not lie next to their recordings: named after one, or tables that name them."""
        owners: dict[Path, list[str]] = {}
        for text in texts:
            parent = text.parent.relative_to(top)
            names = (os.fspath(parent / name) for name in annotations.possible_names(text.name))
            owners[text] = next(filter(None, map(self._names.find, names)), [])
            if len({Path(path).parent for path in owners[text]}) > 1:
                listed = ", ".join(map(printable, owners[text]))
                raise ManifestError(f"{text}: may belong to {listed}; put it into a folder of the same name")
        owned = {path for paths in owners.values() for path in paths}
        for text, paths in owners.items():
            if not annotations.is_annotation(text, self._files[paths[0]].stem if paths else ""):
                self.not_used(text, annotations.NOT_ONE)
            elif paths:
                self.add(text, paths, owned)
            else:
                self._add_table(text)

    def add(self, text: Path, owners: Sequence[str], owned: set[str]) -> None:
        """Read a file named after ``owners``; ``owned`` are all recordings with a file of their own."""
        rows = self._read(text)
        found = {name: self._names.find(name) for name in dict.fromkeys(row.recording for row in rows if row.recording)}
        strange = [name for name, paths in found.items() if not set(paths) & set(owners)]
        others = [path for name in strange for path in found[name]]
        if strange and (len(found) == 1 or len(others) != len(strange) or set(others) & owned):
            row = next(row for row in rows if row.recording in strange)
            raise ManifestError(
                f"{text}: line {row.line}: names the recording '{printable(row.recording)}', but the file is named "
                f"after {printable(owners[0])}; correct the row, or the name of the file"
            )
        for path in owners:
            self.sources[path][text] = []
        for row in rows:
            for path in owners if row.recording not in strange else found[row.recording]:
                self.sources[path].setdefault(text, []).append(row)

    def _add_table(self, text: Path) -> None:
        """Read a table of several recordings, which its rows name."""
        rows = self._read(text)
        found = {name: self._names.find(name) for name in {row.recording for row in rows if row.recording}}
        if not any(found.values()):
            named = f" ('{printable(next(iter(found)))}')" if found else ""
            return self.not_used(text, f"names no recording below {self._folder}{named}")
        for row in rows:
            paths = found.get(row.recording, [])
            if len(paths) > 1:
                listed = ", ".join(map(printable, paths))
                raise ManifestError(f"{text}: line {row.line}: may belong to {listed}; name the folder in its path")
            if paths:
                self.sources[paths[0]].setdefault(text, []).append(row)
            else:
                problem = f"names no recording below {self._folder}; add the recording, or correct the name"
                self._report.add(os.fspath(text), row.line, problem, value=row.recording)
        return None

    def result(self) -> AnnotatedFolder:
        """Return the stretches of all recordings, without overlaps."""
        if self._label_column is not None and not self._has_columns:
            raise ConfigError("--label-column: has no effect, as no annotation file has columns; leave it out")
        recordings: list[Recording] = []
        empty, overlap_s = [], 0.0
        for path in filter(self.sources.__contains__, self._files):
            file, rows = self._choose(path)
            pieces, seconds = resolve_overlaps(row.stretch for row in rows)
            overlap_s += seconds
            if not pieces:
                empty.append(path)
            recordings += [Recording(path, s.label, path, s.start_s, s.end_s) for s in pieces]
            for row in rows:
                self._report.origins[path, (row.start_s, row.end_s)] = (os.fspath(file), row.line)
        unannotated = [path for path in self._files if path not in self.sources]
        return AnnotatedFolder(recordings, unannotated, empty, overlap_s)

    def _choose(self, path: str) -> tuple[Path, list[Annotation]]:
        """Return the file of a recording with its rows; of several with the same stretches the first."""
        (file, rows), *others = sorted(self.sources[path].items())
        for other, its_rows in others:
            if _rounded(its_rows) != _rounded(rows):
                names = ", ".join(printable(one.name) for one in sorted(self.sources[path]))
                raise ManifestError(
                    f"{printable(path)}: has {len(others) + 1} annotation files ({names}); keep one, or pass "
                    "--annotations with the folder of those to use"
                )
            self.not_used(other, f"holds the same stretches as {printable(file.name)}")
        return file, rows

    def _read(self, text: Path) -> list[Annotation]:
        self._has_columns |= self._label_column is not None and annotations.has_columns(text)
        return annotations.read(text, label_column=self._label_column, report=self._report)

    def not_used(self, text: Path, problem: str) -> None:
        """Report a file that is not used."""
        self.why = self.why or f"; {printable(text.name)}: {problem}"
        self._report.add(os.fspath(text), None, problem, outcome=NOT_USED)


def _rounded(rows: Sequence[Annotation]) -> list[tuple[float, float, str]]:
    return [(round(row.start_s, 3), round(row.end_s, 3), row.label) for row in rows]
