"""The list of recordings with their labels: read from a folder or a CSV, checked line by line, written as CSV."""

import csv
import difflib
import io
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from audiocnn.audio import sniff
from audiocnn.errors import ConfigError, ManifestError
from audiocnn.files import write_atomic
from audiocnn.text import decode_path, encode_path, is_formula, printable, safe_cell

PARTS = ("train", "validation", "test")
_COLUMNS = ("path", "label", "group", "split", "fold", "sha256")
_NOT_YET = ("start_s", "end_s")


@dataclass(frozen=True)
class Recording:
    """One audio file and what is known of it.

    ``path`` is relative to the root, in the form of `audiocnn.text.encode_path`; it is the recording's identity.
    ``group`` is what must not straddle a split: performer, session, site, source file.
    """

    path: str
    label: str
    group: str
    split: str | None = None
    fold: int | None = None
    sha256: str | None = None

    def file(self, root: Path) -> Path:
        """Where the audio is."""
        return root / decode_path(self.path)


def from_folder(folder: Path) -> list[Recording]:
    """List the audio below ``folder``; the first folder on the way down is the label, each recording is its own group.

    Raises `ManifestError` if there is no audio, or audio outside a class folder.
    """
    recordings, loose = [], []
    for file in sniff.audio_below(folder):
        relative = file.relative_to(folder)
        path = encode_path(os.fspath(relative))
        if len(relative.parts) == 1:
            loose.append(path)
        else:
            label = encode_path(relative.parts[0]).removeprefix("./")  # put there to disarm a path, not a label
            recordings.append(Recording(path=path, label=_label(label, path), group=path))
    if not recordings and not loose:
        raise ManifestError(f"{folder}: no audio found (WAV, FLAC, OGG, MP3, AIFF); expected one sub-folder per class")
    if loose:
        raise ManifestError(
            f"{folder}: {printable(loose[0])}{_more(loose)} not in a class folder; expected one sub-folder per class"
        )
    return recordings


def read(file: Path, *, root: Path, allow_outside: bool = False) -> list[Recording]:
    """Read a CSV with the columns path and label and, if wanted, group, split, fold and sha256.

    Raises `ManifestError` naming the line. Paths must lie below ``root`` unless ``allow_outside``; links are followed
    before that is judged. Whether the files exist is not looked at here.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ManifestError(f"{file}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(f"{file}: cannot be read as UTF-8 text ({error})") from error
    rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)  # strict: a quote never closed is an error
    seen: dict[str, int] = {}
    recordings = []
    inside = os.path.realpath(root)
    try:
        rows.fieldnames = [name.strip() for name in rows.fieldnames or ()]
        _check_columns(rows.fieldnames, file)
        for row in rows:
            where = f"{file}: line {rows.line_num}"
            if any(row.pop(None, ())):
                raise ManifestError(f"{where}: more cells than columns; put a path with a comma into double quotes")
            recording = _recording({k: (v or "").strip() for k, v in row.items() if k in _COLUMNS}, where, root)
            if not allow_outside:
                _check_inside(recording, where, root, inside)
            if recording.path in seen:
                raise ManifestError(f"{where}: {printable(recording.path)} stands on line {seen[recording.path]} too")
            seen[recording.path] = rows.line_num
            recordings.append(recording)
    except csv.Error as error:
        raise ManifestError(f"{file}: line {rows.reader.line_num}: {error}") from error
    if not recordings:
        raise ManifestError(f"{file}: lists no recordings")
    unset = [r.path for r in recordings if r.split is None]
    if unset and len(unset) < len(recordings):
        raise ManifestError(f"{file}: split is empty for {printable(unset[0])}{_more(unset)}; give it for all or none")
    return recordings


def write(file: Path, recordings: Sequence[Recording]) -> None:
    """Write a manifest; optional columns only where a recording has them."""
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
    """Set every group to what ``pattern`` finds in the path: its first capture group, or else the whole match.

    Returns the recordings and how many did not match (they keep their group). Of alternatives with a capture group
    each, the one that took part counts. Raises `ConfigError` for a pattern that is no regular expression.

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
        grouped.append(replace(recording, group=_harmless(captured) or recording.path))
    return grouped, unmatched


def labels_of(recordings: Iterable[Recording]) -> list[str]:
    """The labels in the order in which a model counts them: sorted."""
    return sorted({recording.label for recording in recordings})


def _check_columns(columns: Sequence[str], file: Path) -> None:
    for name in ("path", "label"):
        if name not in columns:
            near = difflib.get_close_matches(name, columns, n=1)
            hint = f"; is '{near[0]}' meant?" if near else f"; found: {', '.join(map(printable, columns)) or 'nothing'}"
            raise ManifestError(f"{file}: has no column '{name}'{hint}")
    for name in columns:
        if name in _NOT_YET:
            raise ManifestError(f"{file}: column '{name}': stretches of recordings are not read yet; cut them to files")
        if name in _COLUMNS and columns.count(name) > 1:
            raise ManifestError(f"{file}: column '{name}' is given twice")
        # Columns of other names are the user's own, but "Groups" ignored in silence would let groups leak.
        near = difflib.get_close_matches(name.lower(), _COLUMNS[2:], n=1, cutoff=0.9)
        if near and near[0] not in columns:
            raise ManifestError(f"{file}: column '{printable(name)}' would not be read; write '{near[0]}'")


def _recording(cells: dict[str, str], where: str, root: Path) -> Recording:
    if not cells["path"]:
        raise ManifestError(f"{where}: path is empty")
    raw = decode_path(cells["path"])
    if "\0" in raw:
        raise ManifestError(f"{where}: {printable(raw)} holds a zero byte, which no path can")
    if os.path.isabs(raw):
        raw = _relative(raw, root)
    path = encode_path(os.fspath(Path(raw)))  # one spelling: "a//./b.wav" is "a/b.wav"
    label = _label(cells["label"], f"{where}: {path}")
    split, fold = cells.get("split") or None, cells.get("fold") or None
    if split is not None and split not in PARTS:
        near = difflib.get_close_matches(split, PARTS, n=1, cutoff=0.3)
        hint = f"; did you mean '{near[0]}'?" if near else f"; it is one of {', '.join(PARTS)}"
        raise ManifestError(f"{where}: split '{printable(split)}' is unknown{hint}")
    if fold is not None and not re.fullmatch(r"\d{1,9}", fold):
        raise ManifestError(f"{where}: fold '{printable(fold)}' is not a whole number")
    digest = cells.get("sha256", "").lower() or None
    if digest is not None and not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise ManifestError(f"{where}: sha256 '{printable(digest)}' is not 64 hexadecimal digits")
    return Recording(
        path=path,
        label=label,
        group=path if cells.get("group", "") in ("", cells["path"]) else _harmless(cells["group"]),
        split=split,
        fold=None if fold is None else int(fold),
        sha256=digest,
    )


def _relative(path: str, root: Path) -> str:
    """An absolute path seen from the root if it lies below it, links followed if need be, else as it is."""
    for absolute in (os.path.abspath, os.path.realpath):
        if Path(absolute(path)).is_relative_to(absolute(root)):
            return os.path.relpath(absolute(path), absolute(root))
    return path


def _label(label: str, where: str) -> str:
    label = label.strip()
    if not label:
        raise ManifestError(f"{printable(where)}: label is empty")
    if is_formula(label):
        raise ManifestError(f"{printable(where)}: label '{printable(label)}' begins with = + - or @; rename it")
    if printable(label) != label:
        raise ManifestError(f"{printable(where)}: label '{printable(label)}' holds a control code; rename it")
    return label


def _harmless(group: str) -> str:
    """A group fit for CSV files and terminals, which stays the same when it is read back."""
    return safe_cell(printable(group.strip()))


def _check_inside(recording: Recording, where: str, root: Path, inside: str) -> None:
    real = os.path.realpath(recording.file(root))
    if not Path(real).is_relative_to(inside):
        raise ManifestError(
            f"{where}: {printable(recording.path)} lies outside {root}; move it, or say --allow-outside if you mean it"
        )


def _more(items: Sequence[str]) -> str:
    return f" and {len(items) - 1} more" if len(items) > 1 else ""
