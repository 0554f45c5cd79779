"""Read, check and write manifests: the lists of recordings with their labels, from a folder or a CSV file."""

import contextlib
import csv
import difflib
import io
import math
import os
import re
import shlex
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from audiocnn.dataset import delimited
from audiocnn.dataset.problems import TAKEN_AS_ZERO, Report, RowError, row_label
from audiocnn.dataset.stretches import is_just_below_zero, parse_number
from audiocnn.errors import ConfigError, ManifestError
from audiocnn.files import match_unicode_form, write_atomic
from audiocnn.labels import Labels
from audiocnn.text import decode_path, encode_path, printable, safe_cell

PARTS = ("train", "validation", "test")
_PART_NAMES = {"train": "train", "training": "train", "val": "validation", "valid": "validation",
               "validation": "validation", "test": "test", "testing": "test"}  # fmt: skip
_NAMED = ("path", "label", "group", "split", "fold")  # the columns of other names that init takes
_COLUMNS = ("path", "label", "group", "start_s", "end_s", "split", "fold", "collection", "sha256")
_OTHER_NAMES = {  # in lower case, the most specific first
    "path": ("file_path", "filepath", "slice_file_name", "file_name", "filename", "fname", "audio_path", "audio_file",
             "audio", "file", "wav", "recording", "sound", "name"),
    "label": ("category", "class_name", "classname", "class", "species", "annotation", "target", "tag", "type"),
}  # fmt: skip
_PREDICTED = {"recording", "label", "score"}  # columns of what predict and evaluate write
_FILE_COLUMNS = (
    "group",
    "split",
    "fold",
    "collection",
    "sha256",
)  # equal for all stretches of a file, but for cut groups
_CUT = re.compile(r"#(\d{1,9})-(\d{1,9})\Z", re.ASCII)  # ends the name of a group that is a stretch of its recording


@dataclass(frozen=True)
class Recording:
    """One audio file, or a stretch of one, with its label and metadata.

    ``path`` is relative to the root, in the form of `audiocnn.text.encode_path`. ``group`` is the unit that a split
    keeps together: performer, session, site, source file. ``collection`` is the larger body of recordings that it comes
    from: a data set, a campaign, a kind of device. ``start_s`` and ``end_s`` are in seconds from the start of
    the file, None for the whole file. Path and stretch together identify a recording.
    """

    path: str
    label: str
    group: str
    start_s: float | None = None
    end_s: float | None = None
    split: str | None = None
    fold: int | None = None
    collection: str | None = None
    sha256: str | None = None

    @property
    def stretch(self) -> tuple[float, float] | None:
        """Start and end in seconds; None for the whole file."""
        return None if self.start_s is None or self.end_s is None else (self.start_s, self.end_s)

    @property
    def cut(self) -> tuple[int, int] | None:
        """Start and end in seconds of a group that is itself a stretch of the recording; None for other groups.

        See `audiocnn.dataset.cut_groups`.
        """
        if self.stretch is None or self.group == self.path or (match := _CUT.search(self.group)) is None:
            return None
        start, end = int(match[1]), int(match[2])
        is_cut = start < end and start % (end - start) == 0 and self.group == cut_group(self.path, start, end)
        return (start, end) if is_cut else None

    @property
    def split_key(self) -> str:
        """What a split assigns to a part: the path, or the group if it is a stretch of the recording."""
        return self.path if self.cut is None else self.group

    @property
    def order(self) -> tuple[str, float, float]:
        """The sort key of recordings: path, then time."""
        return (self.path, *(self.stretch or (0.0, 0.0)))

    def file(self, root: Path) -> Path:
        """Return the path of the audio file; its names may have another Unicode form than in the manifest."""
        return match_unicode_form(root / decode_path(self.path))


@dataclass(frozen=True)
class Columns:
    """The columns of another program's table that hold a field of the manifest; None: the column of that name."""

    path: str | None = None
    label: str | None = None
    group: str | None = None
    split: str | None = None
    fold: str | None = None

    def given(self) -> dict[str, str]:
        """Return the names that were given, by field."""
        return {name: value for name in _NAMED if (value := getattr(self, name)) is not None}


UNNAMED = Columns()  # every column has the name of its field


def read(
    file: Path,
    *,
    root: Path,
    allow_outside: bool = False,
    columns: Columns = UNNAMED,
    report: Report | None = None,
) -> list[Recording]:
    """Read a CSV file with the columns path and label, and those of the other fields of `Recording` that it has.

    A file is listed once, or once for each of its stretches. Paths must be below ``root`` unless ``allow_outside``;
    links are resolved first. It is not checked whether the files exist. Raise `ManifestError` with the line number.
    With a ``report``, rows with an unusable label or time are left out and reported there.
    """
    table = delimited.read(file, expected={"path", "label", *columns.given().values()})
    index_of = _find_columns(table.columns, columns, file)
    if report is not None and table.note:
        report.notes.append(table.note)
    seen: dict[str, list[tuple[int, Recording]]] = defaultdict(list)
    recordings = []
    inside = os.path.realpath(root)
    for line, row in table.rows():
        where = f"{file}: line {line}"
        with contextlib.nullcontext() if report is None else report.leaving_out(str(file), line):
            cells = {name: row[index] for name, index in index_of.items()}
            if report is not None and is_just_below_zero(parse_number(cells.get("start_s", ""))):
                report.add(str(file), line, "start_s is below 0", value=cells["start_s"], outcome=TAKEN_AS_ZERO)
                cells["start_s"] = "0"
            recording = _recording(cells, where, root)
            if not allow_outside:
                _check_inside(recording, where, root, inside)
            for other_line, other in seen[recording.path]:
                _check_same_file(recording, other, where, other_line)
            seen[recording.path].append((line, recording))
            recordings.append(recording)
            if report is not None and recording.stretch is not None:
                report.origins[recording.path, recording.stretch] = (str(file), line)
    if not recordings:
        first = f" that can be used; {report.problems[0]}" if report is not None and report.problems else ""
        raise ManifestError(f"{file}: lists no recordings{first}")
    unset = [r.path for r in recordings if r.split is None]
    if unset and len(unset) < len(recordings):
        raise ManifestError(f"{file}: split is empty for {printable(unset[0])}{_more(unset)}; give it for all or none")
    return recordings


def write(file: Path, recordings: Sequence[Recording]) -> None:
    """Write a manifest, with the optional columns that any recording uses."""
    write_atomic(file, to_csv(recordings))


def to_csv(recordings: Sequence[Recording]) -> str:
    """Return a manifest as CSV text."""
    optional = [name for name in _COLUMNS[3:] if any(getattr(r, name) is not None for r in recordings)]
    columns = [*_COLUMNS[:3], *optional]
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    for recording in recordings:
        values = (getattr(recording, name) for name in columns)
        writer.writerow(["" if value is None else value for value in values])
    return out.getvalue()


def group_by(recordings: Iterable[Recording], pattern: str) -> tuple[list[Recording], int]:
    """Set every group to the part of the path that ``pattern`` matches: its first capture group, or the whole match.

    Return the recordings and the number that did not match, which keep their group. With several capture groups the
    first that took part in the match counts. Raise `ConfigError` for a pattern that is not a regular expression.

    >>> group_by([Recording("drone/S2_D1-3.wav", "drone", "x")], r"/(S\\d+)")[0][0].group
    'S2'
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"--group-by '{pattern}': not a regular expression ({error})") from error
    grouped, unmatched = [], 0
    for recording in recordings:
        match = compiled.search(recording.path)
        if match is None:
            unmatched += 1
            grouped.append(recording)
            continue
        captured = next((text for text in match.groups() if text is not None), match[0])
        grouped.append(replace(recording, group=safe_group(captured) or recording.path))
    return grouped, unmatched


def cut_group(path: str, start: int, end: int) -> str:
    """Return the name of the group that is a recording from second ``start`` to ``end``."""
    return safe_group(f"{path}#{start}-{end}")


def labels_of(recordings: Iterable[Recording]) -> Labels:
    """Return the labels in the order of a model's outputs: sorted."""
    return Labels(tuple(sorted({recording.label for recording in recordings})))


def _find_columns(columns: Sequence[str], named: Columns, file: Path) -> dict[str, int]:
    """Return the index of each field's column; of another column with the name of a field only if none is named."""
    if _PREDICTED.issubset(columns):
        raise ManifestError(
            f"{file}: holds predictions that audiocnn wrote, not labels; if you have corrected its labels, rename the "
            "column 'recording' to 'path'"
        )
    index_of = {name: columns.index(name) for name in _COLUMNS if name in columns}
    for name, column in named.given().items():
        index = delimited.find_column(columns, column)
        if index is None:
            raise ManifestError(f"{file}: {delimited.missing_column(columns, column)}; correct --{name}-column")
        index_of[name] = index
    if missing := [name for name in ("path", "label") if name not in index_of]:
        raise ManifestError(f"{file}: {_missing_columns(columns, missing)}")
    if ("start_s" in columns) != ("end_s" in columns):
        raise ManifestError(f"{file}: start_s and end_s go together; add the other column")
    for name in columns:
        if name in index_of and columns.count(name) > 1:
            raise ManifestError(f"{file}: column '{name}' is given twice")
        # Other columns are allowed, but silently ignoring a column such as "Groups" would let groups leak.
        near = difflib.get_close_matches(name.lower(), _COLUMNS[2:], n=1, cutoff=0.9)
        if near and near[0] not in index_of:
            raise ManifestError(f"{file}: column '{printable(name)}' is not recognized; rename it to '{near[0]}'")
    return index_of


def _missing_columns(columns: Sequence[str], missing: Sequence[str]) -> str:
    """Return the part of a message that names missing columns, those that there are, and the options to choose them."""
    found = ", ".join(map(printable, filter(None, columns))) or "nothing"
    options = " ".join(f"--{name}-column {_likely_column(columns, name)}" for name in missing)
    what, them = ("column", "it") if len(missing) == 1 else ("columns", "them")
    named = " and ".join(f"'{name}'" for name in missing)
    return f"has no {what} {named}; found: {found}; pass {options} to init, or rename {them}"


def _likely_column(columns: Sequence[str], name: str) -> str:
    """Return the column that likely holds a field, quoted for a shell if it must be; NAME if none does."""
    lower = [column.lower() for column in columns]
    near = difflib.get_close_matches(name, lower, n=1)
    known = next((other for other in (*near, *_OTHER_NAMES[name]) if other in lower), None)
    return "NAME" if known is None else shlex.quote(printable(columns[lower.index(known)]))


def _recording(cells: dict[str, str], where: str, root: Path) -> Recording:
    if not cells["path"]:
        raise RowError(where, "path is empty")
    raw = _decode_path(cells["path"], root)
    if "\0" in raw:
        raise ManifestError(f"{where}: {printable(raw)} contains a zero byte, which a path cannot contain; correct it")
    if os.path.isabs(raw):
        raw = _relative(raw, root)
    path = encode_path(os.fspath(Path(raw)))  # normalized: "a//./b.wav" is "a/b.wav"
    label = row_label(cells["label"], where, of=path)
    split, fold = cells.get("split") or None, cells.get("fold") or None
    split = None if split is None else _PART_NAMES.get(split.lower(), split)
    if split is not None and split not in PARTS:
        near = difflib.get_close_matches(split, PARTS, n=1, cutoff=0.3)
        hint = f"; did you mean '{near[0]}'?" if near else f"; it is one of {', '.join(PARTS)}"
        raise ManifestError(f"{where}: split '{printable(split)}' is unknown{hint}")
    whole = re.fullmatch(r"(\d{1,9})(?:[.,]0+)?", fold or "0")  # programs that count in floats write 1.0
    if whole is None:
        raise ManifestError(f"{where}: fold '{printable(cells['fold'])}' is not a whole number")
    start_s, end_s = _parse_time(cells, "start_s", where), _parse_time(cells, "end_s", where)
    if (start_s is None) != (end_s is None):
        raise RowError(where, "start_s and end_s go together; give both, or neither for the whole file")
    if start_s is not None and end_s is not None and end_s < start_s:
        raise RowError(where, f"end_s {end_s:g} is before start_s {start_s:g}", cells["end_s"])
    digest = cells.get("sha256", "").lower() or None
    if digest is not None and not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise ManifestError(f"{where}: sha256 '{printable(digest)}' is not 64 hexadecimal digits")
    recording = Recording(
        path=path,
        label=label,
        group=path if cells.get("group", "") in ("", cells["path"]) else safe_group(cells["group"]),
        start_s=start_s,
        end_s=end_s,
        split=split,
        fold=None if fold is None else int(whole[1]),
        collection=safe_group(cells.get("collection", "")) or None,
        sha256=digest,
    )
    stretch, cut = recording.stretch, recording.cut
    if stretch is not None and cut is not None and not cut[0] <= stretch[0] <= stretch[1] <= cut[1]:
        fault = f"the stretch from {start_s:g} to {end_s:g} s is not within its group '{recording.group}'"
        raise ManifestError(f"{where}: {fault}; correct the times or the group")
    return recording


def _parse_time(cells: dict[str, str], name: str, where: str) -> float | None:
    text = cells.get(name, "")
    if not text:
        return None
    value = parse_number(text)
    if not 0 <= value < math.inf:
        raise RowError(where, f"{name} '{printable(text)}' is not a number of seconds of at least 0", text)
    return value


def _decode_path(text: str, root: Path) -> str:
    """Return the path of a cell; with backslashes between its folders, as Windows writes it, if only that exists."""
    raw = decode_path(text)
    if "\\" in text and not os.path.lexists(root / raw):
        with_slashes = re.sub(r"\\+", "/", text)
        if os.path.lexists(root / with_slashes):
            return with_slashes
    return raw


def _check_same_file(recording: Recording, other: Recording, where: str, line: int) -> None:
    """Raise `ManifestError` unless two rows may list the same file."""
    path = printable(recording.path)
    if recording.stretch is None or other.stretch is None or recording.stretch == other.stretch:
        more = (
            "; only stretches, with start_s and end_s, may repeat a file" if recording.stretch != other.stretch else ""
        )
        raise ManifestError(f"{where}: {path} is also on line {line}{more}")
    one_cut, other_cut = recording.cut, other.cut
    cut_alike = one_cut and other_cut and one_cut[1] - one_cut[0] == other_cut[1] - other_cut[0]
    for name in _FILE_COLUMNS[1:] if cut_alike else _FILE_COLUMNS:
        if getattr(recording, name) != getattr(other, name):
            raise ManifestError(
                f"{where}: {name} of {path} differs from line {line}; all rows of a file need the same one"
            )
    (start, end), (other_start, other_end) = recording.stretch, other.stretch
    if recording.label != other.label and start < other_end and other_start < end:
        raise ManifestError(
            f"{where}: {path} is '{recording.label}' from {start:g} to {end:g} s, which overlaps '{other.label}' from "
            f"{other_start:g} to {other_end:g} s on line {line}; shorten one of them"
        )


def _relative(path: str, root: Path) -> str:
    """Return an absolute path relative to the root if it is below it, with links resolved if needed; else unchanged."""
    for absolute in (os.path.abspath, _resolve_folder, os.path.realpath):
        for base in (os.path.abspath(root), os.path.realpath(root)):
            if Path(absolute(path)).is_relative_to(base):
                return os.path.relpath(absolute(path), base)
    return path


def _resolve_folder(path: str) -> str:
    """Return the path of a file with the links of its folder resolved, but not of the file itself."""
    folder, name = os.path.split(os.path.abspath(path))
    return os.path.join(os.path.realpath(folder), name)


def safe_group(group: str) -> str:
    """Return a group that is safe in CSV files and terminals, and that is read back unchanged."""
    return safe_cell(printable(group.strip()))


def _check_inside(recording: Recording, where: str, root: Path, inside: str) -> None:
    real = os.path.realpath(recording.file(root))
    if not Path(real).is_relative_to(inside):
        raise ManifestError(f"{where}: {printable(recording.path)} is outside {root}; move it, or pass --allow-outside")


def _more(items: Sequence[str]) -> str:
    return f" and {len(items) - 1} more" if len(items) > 1 else ""
