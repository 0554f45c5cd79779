"""Read a folder that is a public data set of `audiocnn.dataset.layouts`, recognised by its own metadata."""

import json
import os
import re
import unicodedata
from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from audiocnn.dataset import delimited, label_level
from audiocnn.dataset.layouts import LAYOUTS, Layout, Metadata
from audiocnn.dataset.manifest import Recording, safe_group
from audiocnn.dataset.problems import NOT_USED, Report, RowError, row_label
from audiocnn.errors import ManifestError
from audiocnn.text import encode_path, printable

_LEAST = 0.5  # share of the audio files that need the names of a data set that is recognised by names
Row = Mapping[str, str]


@dataclass(frozen=True)
class PublicSet:
    """The recordings of a data set, and its name, source, licence and citation."""

    recordings: list[Recording]
    about: str


@dataclass(frozen=True)
class _Found:
    """A table of a data set in a folder, with its rows by line."""

    file: Path
    table: Metadata
    rows: Sequence[tuple[int, Row]]


def read(folder: Path, files: Sequence[Path], report: Report) -> PublicSet | None:
    """Read the recordings of a public data set; None if ``folder`` is none, nor its only sub-folder.

    ``files`` are its audio files. Rows without their recording, and recordings without a row, are reported. Raise
    `ManifestError` for a data set whose recordings have several labels each.
    """
    paths = {unicodedata.normalize("NFC", file.relative_to(folder).as_posix()): file for file in files}
    tops = {path.partition("/")[0] for path in paths}
    for base in (folder, *([folder / tops.pop()] if len(tops) == 1 else [])):
        reader = _Reader(folder, base, paths, report)
        for layout in LAYOUTS:
            if (recordings := reader.read(layout)) is not None:
                return PublicSet(recordings, layout.about)
    return None


@dataclass(frozen=True)
class _Reader:
    """Reads the data set in ``base``, which is ``folder`` or in it; ``paths`` are the audio files by their path."""

    folder: Path
    base: Path
    paths: Mapping[str, Path]
    report: Report

    def read(self, layout: Layout) -> list[Recording] | None:
        """Return the recordings; None if the folder does not have this layout."""
        if layout.names:
            return self._by_names(layout)
        found = [one for table in layout.tables for one in self._tables(layout, table)]
        if not found or found[0].table != layout.tables[0]:
            return None
        if layout.refused:
            raise ManifestError(f"{found[0].file}: is of {layout.name}, where {layout.refused}")
        recordings: dict[str, Recording] = {}
        named: set[str] = set()
        for one in found:
            self._by_table(layout, one, recordings, named)
        if not recordings:
            return None
        return self._finish(layout, ", ".join(self._shown(one.file) for one in found), recordings, named)

    def _tables(self, layout: Layout, table: Metadata) -> Iterator[_Found]:
        """Yield the tables that exist and have the columns of the layout."""
        needed = {name for name in (layout.label, layout.fold) if name}
        needed.update(*(re.findall(r"\{(\w+)\}", template) for template in table.audio[:1]))
        for pattern in table.files:
            for file in sorted(self.base.glob(pattern)):
                rows = [] if layout.refused else list(_rows(file, needed - {"folder"}, layout.group))
                if rows or layout.refused:
                    yield _Found(file, table, rows)

    def _by_table(self, layout: Layout, found: _Found, recordings: dict[str, Recording], named: set[str]) -> None:
        """Add the recordings of a table, and the paths in it; report rows without a recording, or without one label."""
        where = self._shown(found.file)
        folder = found.file.parent.relative_to(self.base).as_posix()
        missing, n_secondary = [], 0
        for line, row in found.rows:
            candidates = [os.path.normpath(t.format_map({**row, "folder": folder})) for t in found.table.audio]
            path = next((path for path in map(self._path, candidates) if path is not None), None)
            if path is None:
                missing.append((line, candidates[0]))
                continue
            with self.report.leaving_out(where, line):
                if path in named:
                    raise RowError(where, f"{printable(path)} has a row already", path)
                named.add(path)
                recordings[path] = _recording(layout, row, path, where, found.table.split)
                others = re.findall(r"[^\[\]'\",\s]+", row.get(layout.secondary or "", ""))
                if others:
                    n_secondary += 1
                    problem = f"{printable(path)}: secondary labels are not used"
                    self.report.add(where, line, problem, value=" ".join(others), outcome=NOT_USED)
        if len(missing) == len(found.rows):
            first = printable(missing[0][1])
            self.report.add(where, None, f"none of its {len(missing):,} recordings exists, such as {first}")
        else:
            for line, candidate in missing:
                self.report.add(where, line, f"{printable(candidate)} does not exist", value=candidate)
        if n_secondary:
            share = f"{n_secondary:,} of {len(found.rows):,} rows"
            self.report.notes.append(f"Secondary labels are not used: {share} have some.")

    def _by_names(self, layout: Layout) -> list[Recording] | None:
        """Return the recordings whose path has the form of the layout; None if these are too few."""
        lists = {part: self.base / name for part, name in layout.lists.items()}
        if not all(file.is_file() for file in lists.values()):
            return None
        prefix = "" if self.base == self.folder else f"{self.base.name}/"
        matches = {
            path: match
            for path in self.paths
            if (match := re.fullmatch(layout.names, path.removeprefix(prefix))) is not None
        }
        if not matches or len(matches) < _LEAST * len(self.paths):
            return None
        recordings = {}
        named = {self._shown(self.paths[path]): match.groupdict() for path, match in matches.items()}
        for path, row in named.items():
            with self.report.leaving_out(path, None):
                recordings[path] = _recording(layout, row, path, path, "train" if lists else None)
        for part, file in lists.items():
            self._move(file, part, recordings)
        return self._finish(layout, layout.recognised_by, recordings, named)

    def _move(self, file: Path, part: str, recordings: dict[str, Recording]) -> None:
        """Put the recordings that a file lists, one a line, into a part of the split."""
        for line, text in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            path = self._path(text.strip())
            if path in recordings:
                recordings[path] = replace(recordings[path], split=part)
            elif text.strip():
                self.report.add(self._shown(file), line, f"{printable(text.strip())} does not exist", value=text)

    def _finish(
        self, layout: Layout, metadata: str, by_path: Mapping[str, Recording], named: Container[str]
    ) -> list[Recording]:
        """Return the recordings, note what was recognised, and report audio that the metadata does not name."""
        recordings = _with_split_of_folders(by_path.values()) if layout.split_folders else list(by_path.values())
        parts = {recording.split for recording in recordings}
        split = layout.split if len(parts) > 1 else ""
        taken = {"label": layout.label, "group": " or ".join(layout.group), "split": split, "fold": layout.fold}
        listed = ", ".join(f"{what} {name}" for what, name in taken.items() if name)
        self.report.notes.insert(0, f"Recognised {layout.name} by {metadata}: {listed}.")
        for path in map(self._shown, self.paths.values()):
            if path not in named:
                self.report.add(path, None, layout.other, outcome=NOT_USED)
        if split or parts == {None}:
            return recordings
        self.report.notes.append(f"The split is not used, as only its part {parts.pop()} is there.")
        return [replace(recording, split=None) for recording in recordings]

    def _path(self, relative: str) -> str | None:
        """Return the path of a recording, given relative to the data set, as it is in a manifest; None if missing."""
        path = relative if self.base == self.folder else f"{self.base.name}/{relative}"
        file = self.paths.get(unicodedata.normalize("NFC", path))
        return None if file is None else self._shown(file)

    def _shown(self, file: Path) -> str:
        return encode_path(os.fspath(file.relative_to(self.folder)))


def _with_split_of_folders(recordings: Iterable[Recording]) -> list[Recording]:
    """Return the recordings with the parts of the split that folders name, if all are in such folders."""
    recordings = list(recordings)
    folders = [recording.path.split("/")[:-1] for recording in recordings]
    for level in label_level.levels_of(map(tuple, folders))[: min(map(len, folders))]:
        if parts := label_level.split_of(level):
            at = [names[level.number - 1] for names in folders]
            return [replace(one, split=parts[name]) for one, name in zip(recordings, at, strict=True)]
    return recordings


def _recording(layout: Layout, row: Row, path: str, where: str, split: str | None) -> Recording:
    if path.rpartition("/")[2] in layout.faulty:
        raise RowError(where, f"{printable(path)} has a wrong label or no sound, by the README of {layout.name}", path)
    label = row[layout.label]
    if layout.separator and layout.separator in label:
        raise RowError(where, f"{printable(path)} has several labels; a recording needs one", path)
    fold = row[layout.fold] if layout.fold else ""
    if layout.fold and not re.fullmatch(r"\d{1,9}", fold):
        raise RowError(where, f"fold '{printable(fold)}' is not a whole number", path)
    group = next((row[name] for name in layout.group if row.get(name)), "")
    return Recording(
        path=path,
        label=row_label(label, where, of=path),
        group=safe_group(group) or path,
        split=split,
        fold=int(fold) if fold else None,
    )


def _rows(file: Path, needed: Collection[str], any_of: Collection[str]) -> Iterator[tuple[int, Row]]:
    """Yield line and cells of every row of a table.

    Yield nothing if it is no table, or lacks a column that is ``needed``, or all columns of ``any_of``: then it is
    another file of the same name. Raise `ManifestError` for a row that cannot be read.
    """
    if file.suffix == ".jsonl":
        yield from _json_rows(file, needed)
        return
    try:
        table = delimited.read(file, expected=needed)
    except ManifestError:
        return
    if set(needed) <= set(table.columns) and (not any_of or set(any_of).intersection(table.columns)):
        for line, cells in table.rows():
            yield line, dict(zip(table.columns, cells, strict=True))


def _json_rows(file: Path, needed: Collection[str]) -> Iterator[tuple[int, Row]]:
    is_first = True
    for line, text in enumerate(file.read_text(encoding="utf-8", errors="replace").split("\n"), 1):
        if not text.strip():
            continue
        try:
            value = json.loads(text)
        except ValueError:
            value = None
        if is_first and not (isinstance(value, dict) and set(needed) <= value.keys()):
            return
        if not isinstance(value, dict):
            raise ManifestError(f"{file}: line {line}: is not a JSON object; correct it, or delete the line")
        is_first = False
        yield line, dict.fromkeys(needed, "") | {name: _cell(cell) for name, cell in value.items()}


def _cell(value: object) -> str:
    """Return a JSON value as the text of a cell; the items of a list are in lines of their own."""
    items = value if isinstance(value, list) else [value]
    return "\n".join("" if item is None else str(item) for item in items)
