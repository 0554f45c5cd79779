"""Read the recordings of a folder or a table, with the labels and groups that options say; check their stretches."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from audiocnn.dataset import annotated_folder, class_folders, manifest, public_sets
from audiocnn.dataset.annotated_folder import AnnotatedFolder
from audiocnn.dataset.manifest import Columns, Recording
from audiocnn.dataset.problems import Report
from audiocnn.errors import ConfigError, ManifestError
from audiocnn.labels import valid_label
from audiocnn.text import printable

BACKGROUND = "background"
CUT = "cut at the end of the recording"
_ROUNDING_S = 0.05  # by which programs round the end of a recording up


@dataclass(frozen=True)
class SourceOptions:
    """What `read` is told of a folder or a table; None where it finds out itself.

    ``label_level`` or ``label_regex`` take the label from the path, ``annotations`` is a folder or table of
    annotations, ``background`` the label of what none covers. ``group_by`` is a regular expression for the group.
    """

    root: Path | None
    columns: Columns
    label_level: int | None
    label_regex: str | None
    annotations: Path | None
    background: str | None
    group_by: str | None
    allow_outside: bool


@dataclass(frozen=True)
class SourceRecordings:
    """The recordings and the folder of their paths.

    ``annotated`` describes the annotation files; None if there are none. ``n_unmatched`` recordings do not match
    ``group_by``. ``about`` tells source, licence and citation of a public data set; else it is empty.
    """

    recordings: list[Recording]
    root: Path
    annotated: AnnotatedFolder | None
    background: str | None
    n_unmatched: int
    about: str


def read(source: Path, options: SourceOptions, report: Report) -> SourceRecordings:
    """Read a folder or a table; ``report`` notes what is not used as it is.

    Raises `ConfigError` for options that are wrong or without effect, `ManifestError` for a source that cannot be used.
    """
    _refuse_without_effect(source, options)
    root, annotated, about = source, None, ""
    if options.label_level is not None or options.label_regex is not None:
        recordings = _labelled_by_path(source, options, report)
    elif source.is_dir():
        recordings, annotated, about = _from_folder(source, options, report)
    else:
        root = options.root or source.parent
        recordings = _from_table(source, root, options, report)
    background = _background(source, recordings, options.background)
    if annotated is not None and background is not None:
        recordings += [Recording(path, background, path) for path in annotated.empty]
    if annotated is not None:
        recordings = class_folders.split_by_folders(recordings, report)
    if given := {recording.split for recording in recordings} - {None}:
        report.notes += [
            f"There is no {part} part: it is taken from train, by group (split.{part})."
            for part in ("validation", "test")
            if part not in given
        ]
    n_unmatched = 0
    if options.group_by is not None:
        recordings, n_unmatched = manifest.group_by(recordings, options.group_by)
        if n_unmatched == len(recordings):
            shown = printable(recordings[0].path)
            raise ConfigError(f"--group-by '{options.group_by}': matches no path, such as {shown}")
    return SourceRecordings(recordings, root, annotated, background, n_unmatched, about)


def cut_at_end(recordings: Sequence[Recording], durations_s: Mapping[str, float], report: Report) -> list[Recording]:
    """Return the recordings without stretches that begin after the end, and with those cut that go on after it.

    Both are reported. A recording whose duration is unknown, as it cannot be read, stays as it is.
    """
    kept = []
    for recording in recordings:
        duration_s = durations_s.get(recording.path)
        if recording.stretch is None or duration_s is None:
            kept.append(recording)
            continue
        start_s, end_s = recording.stretch
        if start_s <= duration_s and end_s <= duration_s + _ROUNDING_S:
            kept.append(recording)
            continue
        file, line = report.origins.get((recording.path, recording.stretch), (recording.path, None))
        span = f"{recording.path}: '{recording.label}' from {start_s:g} to {end_s:g} s"
        if start_s >= duration_s:
            problem = f"{span} begins after the end of the recording ({duration_s:.2f} s); correct the times"
            report.add(file, line, problem, value=f"{start_s:g}")
        else:
            problem = f"{span} ends after the end of the recording ({duration_s:.2f} s)"
            report.add(file, line, problem, value=f"{end_s:g}", outcome=CUT)
            kept.append(replace(recording, end_s=duration_s))
    return kept


def _refuse_without_effect(source: Path, options: SourceOptions) -> None:
    """Raise `ConfigError` for options that would change nothing, or of which two set the same."""
    by_path = options.label_level is not None or options.label_regex is not None
    if options.label_level is not None and options.label_regex is not None:
        raise ConfigError("--label-level and --label-regex both set the label; pass one of them")
    if by_path and (options.annotations is not None or options.columns.label is not None):
        option = "--label-column" if options.annotations is None else "--annotations"
        raise ConfigError(f"{option}: names the labels, as --label-level and --label-regex do; pass one of them")
    if source.is_dir():
        for name in options.columns.given().keys() - {"label"}:
            raise ConfigError(f"--{name}-column: has no effect on a folder; pass a CSV, or leave the option out")
        if options.root is not None and options.root.resolve() != source.resolve():
            raise ConfigError(f"--root {options.root}: has no effect on a folder, which is its own root; leave it out")
        return
    if by_path:
        option = "--label-level" if options.label_regex is None else "--label-regex"
        raise ConfigError(f"{option}: has no effect on {source}, which is not a folder; leave the option out")
    if options.annotations is not None:
        raise ConfigError(
            f"--annotations {options.annotations}: has no effect on {source}, which is no folder; leave it out"
        )
    if options.group_by is not None and options.columns.group is not None:
        raise ConfigError("--group-by and --group-column: both set the group; pass one of them")


def _labelled_by_path(source: Path, options: SourceOptions, report: Report) -> list[Recording]:
    files = class_folders.find_files(source, allow_outside=options.allow_outside, report=report)
    return class_folders.read(source, files, level=options.label_level, pattern=options.label_regex, report=report)


def _from_folder(
    source: Path, options: SourceOptions, report: Report
) -> tuple[list[Recording], AnnotatedFolder | None, str]:
    """Read a public data set, annotations, or the sub-folders of a folder as labels; return what is known about it."""
    files = class_folders.find_files(source, allow_outside=options.allow_outside, report=report)
    named = (options.annotations, options.columns.label, options.background)
    if named == (None, None, None) and (known := public_sets.read(source, files, report)) is not None:
        return known.recordings, None, known.about
    annotated = annotated_folder.read(
        source,
        files,
        report,
        source=options.annotations,
        label_column=options.columns.label,
        wanted=options.background is not None or options.columns.label is not None,
    )
    if annotated is None:
        return class_folders.read(source, files, report=report), None, ""
    if not annotated.recordings:
        raise ManifestError(f"{source}: the annotation files have no labelled stretch; add some")
    return annotated.recordings, annotated, ""


def _from_table(source: Path, root: Path, options: SourceOptions, report: Report) -> list[Recording]:
    recordings = manifest.read(
        source, root=root, allow_outside=options.allow_outside, columns=options.columns, report=report
    )
    missing = [r.path for r in recordings if not os.path.lexists(r.file(root))]
    if missing:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise ManifestError(
            f"{source}: {printable(missing[0])}{more} does not exist below {root}; correct the path, or pass --root DIR"
        )
    return recordings


def _background(source: Path, recordings: Sequence[Recording], requested: str | None) -> str | None:
    """Return the label of what no stretch covers. With one label only, a second one is needed: `BACKGROUND`."""
    stretches = {r.label for r in recordings if r.stretch is not None}
    if requested is None:
        return BACKGROUND if len(stretches) == 1 and stretches == {r.label for r in recordings} else None
    if not stretches:
        raise ConfigError(f"--background '{printable(requested)}': {source} lists no stretches of recordings")
    return valid_label(requested, "--background")
