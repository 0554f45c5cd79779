"""``init``: scan a folder or a CSV; write ``manifest.csv`` and ``audiocnn.yaml``, and return a survey."""

import os
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from audiocnn import config
from audiocnn.audio import workers
from audiocnn.audio.probe import Probe, probe
from audiocnn.audit import above_band, class_balance, groups, label_layout
from audiocnn.audit.above_band import AboveBand
from audiocnn.audit.finding import Finding
from audiocnn.dataset import annotated_folder, class_folders, durations, manifest, positive_label, survey
from audiocnn.dataset.annotated_folder import AnnotatedFolder
from audiocnn.dataset.groups import suggest
from audiocnn.dataset.manifest import Columns, Recording
from audiocnn.dataset.problems import Report
from audiocnn.dataset.survey import Survey
from audiocnn.errors import AudioError, ConfigError, ManifestError
from audiocnn.files import write_atomic
from audiocnn.labels import valid_label
from audiocnn.progress import Progress
from audiocnn.specs import NAME_CHARACTERS, FeatureSpec, Name, Rare, SplitSpec
from audiocnn.text import printable

BACKGROUND = "background"
_PROBLEMS = "init-problems.csv"
_NAME_BYTES = 200  # file systems allow 255, and names of results are longer
_SIZED = ("general", "ultrasonic")  # presets that are adapted to the number of recordings
_CHOSEN_ON = 200  # recordings on which the epochs of these presets were chosen
_FEWEST_EPOCHS, _MOST_EPOCHS = 12, 120
_MOST_COPIED = 1_000  # recordings; with more there are no augmented versions


@dataclass(frozen=True)
class InitResult:
    """The survey and the written files.

    ``above`` is the sound that the preset does not keep, ``findings`` are those that `audit` reports as well,
    ``annotated`` describes the annotation files; None if there are none. ``positive_reason`` is why ``positive`` was
    chosen. ``report`` tells what was not used as it is, which the file ``problems`` lists; None if there is nothing to
    list.
    """

    survey: Survey
    above: AboveBand | None
    findings: Sequence[Finding]
    manifest: Path
    config: Path
    preset: str
    positive: str | None
    positive_reason: str
    n_unmatched: int
    annotated: AnnotatedFolder | None
    background: str | None
    report: Report
    problems: Path | None


def run(
    source: Path,
    *,
    name: str | None,
    preset: str | None,
    group_by: str | None,
    root: Path | None,
    columns: Columns = manifest.UNNAMED,
    label_level: int | None = None,
    label_regex: str | None = None,
    annotations: Path | None = None,
    background: str | None,
    out: Path,
    allow_outside: bool,
    strict: bool = False,
    force: bool,
    jobs: int,
    progress: Progress,
    rare: Rare | None = None,
) -> InitResult:
    """Read ``source``, scan every recording once, and write the two files; after an error nothing is written.

    Rows that cannot be used are left out and listed in ``init-problems.csv``; with ``strict`` they are an error.
    """
    if name is not None:
        _check_name(name)
    report = Report()
    _refuse_without_effect(source, columns, annotations, group_by, root)
    if label_level is not None or label_regex is not None:
        if annotations is not None or columns.label is not None:
            option = "--label-column" if annotations is None else "--annotations"
            raise ConfigError(f"{option}: names the labels, as --label-level and --label-regex do; pass one of them")
        recordings = _labelled_by_path(source, label_level, label_regex, allow_outside, report)
        root, annotated = source, None
    else:
        wanted = background is not None or columns.label is not None
        recordings, root, annotated = _recordings(source, root, columns, annotations, wanted, allow_outside, report)
    if strict:
        report.require_none()
    background = _background(source, recordings, background)
    if annotated is not None and background is not None:
        recordings += [Recording(path, background, path) for path in annotated.empty]
    n_unmatched = 0
    if group_by is not None:
        recordings, n_unmatched = manifest.group_by(recordings, group_by)
        if n_unmatched == len(recordings):
            raise ConfigError(f"--group-by '{group_by}': matches no path, such as {printable(recordings[0].path)}")
    _check_labels(source, recordings, background)
    preset = preset or config.DEFAULT_PRESET
    chosen = config.read_preset(preset)
    spec = chosen.features
    yaml_file, csv_file = out / config.CONFIG_NAME, out / "manifest.csv"
    _refuse_to_overwrite(yaml_file, csv_file, manifest.to_csv(recordings), force)
    root_text = _relative(root, out)

    probes = _scan({recording.path: recording.file(root) for recording in recordings}, spec, jobs, progress)
    durations_s = {path: found.duration_s for path, found in probes.items() if isinstance(found, Probe)}
    if not durations_s:
        path, error = next(iter(probes.items()))
        raise ConfigError(f"{source}: none of {len(probes)} files can be read: {printable(path)} {error}, ...")
    recordings = durations.cut_at_end(recordings, durations_s, report)
    if strict:
        report.require_none()
    labels = _check_labels(source, recordings, background)
    table = manifest.to_csv(recordings)
    _refuse_to_overwrite(yaml_file, csv_file, table, force)
    found = survey.summarize(recordings, probes, spec)
    positive, reason = positive_label.choose(recordings, background) if len(labels) == 2 else (None, "")
    body = config.preset_file(preset).read_text(encoding="utf-8")
    if preset in _SIZED:
        body = _sized(body, chosen.train.epochs, len(recordings))
    body = body if rare is None else _with_rare(body, rare)
    text = _yaml(name or _name_of(root), root_text, csv_file, body, positive, background, allow_outside)
    settings = config.check_text(text, yaml_file)
    if rare not in (None, settings.split.rare):
        raise ConfigError(
            f"--rare {rare}: {preset} has no block 'split:' to set it in; write split.rare into that file"
        )
    problems = _write_problems(report, out)
    write_atomic(csv_file, table)
    write_atomic(yaml_file, text)
    above = above_band.find(recordings, probes, spec)
    return InitResult(
        survey=found,
        above=above,
        findings=_findings(recordings, probes, settings.split),
        manifest=csv_file,
        config=yaml_file,
        preset=preset,
        positive=positive,
        positive_reason=reason,
        n_unmatched=n_unmatched,
        annotated=annotated,
        background=background,
        report=report,
        problems=problems,
    )


def _refuse_without_effect(
    source: Path, columns: Columns, annotations: Path | None, group_by: str | None, root: Path | None
) -> None:
    """Raise `ConfigError` for an option that would change nothing."""
    if source.is_dir():
        for name in columns.given().keys() - {"label"}:
            raise ConfigError(f"--{name}-column: has no effect on a folder; pass a CSV, or leave the option out")
        if root is not None and root.resolve() != source.resolve():
            raise ConfigError(f"--root {root}: has no effect on a folder, which is its own root; leave it out")
        return
    if annotations is not None:
        raise ConfigError(f"--annotations {annotations}: has no effect on {source}, which is no folder; leave it out")
    if group_by is not None and columns.group is not None:
        raise ConfigError("--group-by and --group-column: both set the group; pass one of them")


def _check_labels(source: Path, recordings: Sequence[Recording], background: str | None) -> list[str]:
    """Return the labels, with that of the background; raise `ConfigError` for fewer than two."""
    labels = sorted({*manifest.labels_of(recordings), *([] if background is None else [background])})
    if len(labels) < 2:
        only = f"only one class ('{printable(labels[0])}')" if labels else "no recording with a label"
        raise ConfigError(f"{source}: {only}; a classifier needs two or more")
    return labels


def _scan(files: Mapping[str, Path], spec: FeatureSpec, jobs: int, progress: Progress) -> dict[str, Probe | AudioError]:
    """Measure every recording once."""
    paths, probes = list(files), {}
    with progress.task("scan recordings", total=len(paths), unit="recordings") as advance:
        for done in workers.map_files(probe, [(file, (spec,)) for file in files.values()], jobs=jobs):
            probes[paths[done.index]] = done.result
            advance()
    return probes


def _write_problems(report: Report, out: Path) -> Path | None:
    """Write the problems to a file and return it; without problems remove the file of an earlier run."""
    file = out / _PROBLEMS
    if not report.problems:
        file.unlink(missing_ok=True)
        return None
    write_atomic(file, report.to_csv())
    return file


def _findings(
    recordings: Sequence[Recording], probes: Mapping[str, Probe | AudioError], spec: SplitSpec
) -> list[Finding]:
    """Return the findings of `audit` that need no comparison of recordings, other than passes."""
    contents = {path: found.sha256 for path, found in probes.items() if isinstance(found, Probe) and not found.silent}
    usable = [r for r in recordings if r.path in contents]
    rare = class_balance.check_rare(usable, contents, spec) if usable else []
    classes = class_balance.check_classes(recordings, contents, spec)
    found = [
        *(finding for finding in classes if finding.severity == "fail" and finding not in rare),
        *label_layout.check_spelling(recordings),
        groups.check_names(recordings, suggest(recordings)),
        *rare,
        *class_balance.check_channels(probes),
    ]
    return [finding for finding in found if finding.severity != "pass"]


def _recordings(
    source: Path,
    root: Path | None,
    columns: Columns,
    annotations: Path | None,
    wanted: bool,
    allow_outside: bool,
    report: Report,
) -> tuple[list[Recording], Path, AnnotatedFolder | None]:
    if source.is_dir():
        files = class_folders.find_files(source, allow_outside=allow_outside, report=report)
        annotated = annotated_folder.read(
            source,
            files,
            report,
            source=annotations,
            label_column=columns.label,
            wanted=wanted,
        )
        if annotated is None:
            return class_folders.read(source, files, report=report), source, None
        if not annotated.recordings:
            raise ManifestError(f"{source}: the annotation files have no labelled stretch; add some")
        return annotated.recordings, source, annotated
    root = root or source.parent
    recordings = manifest.read(source, root=root, allow_outside=allow_outside, columns=columns, report=report)
    missing = [r.path for r in recordings if not os.path.lexists(r.file(root))]
    if missing:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise ManifestError(
            f"{source}: {printable(missing[0])}{more} does not exist below {root}; correct the path, or pass --root DIR"
        )
    return recordings, root, None


def _labelled_by_path(
    source: Path, level: int | None, pattern: str | None, allow_outside: bool, report: Report
) -> list[Recording]:
    option = "--label-level" if pattern is None else "--label-regex"
    if level is not None and pattern is not None:
        raise ConfigError("--label-level and --label-regex both set the label; pass one of them")
    if not source.is_dir():
        raise ConfigError(f"{option}: has no effect on {source}, which is not a folder; leave the option out")
    files = class_folders.find_files(source, allow_outside=allow_outside, report=report)
    return class_folders.read(source, files, level=level, pattern=pattern, report=report)


def _refuse_to_overwrite(yaml_file: Path, csv_file: Path, table: str, force: bool) -> None:
    if force:
        return
    if yaml_file.exists():
        raise ConfigError(f"{yaml_file}: exists already; pass --force to replace it, or --out DIR to write elsewhere")
    if csv_file.exists() and csv_file.read_bytes() != table.encode("utf-8"):
        raise ConfigError(f"{csv_file}: exists already; pass --force to replace it, or --out DIR to write elsewhere")


def _background(source: Path, recordings: Sequence[Recording], requested: str | None) -> str | None:
    """Return the label of what no stretch covers. With one label only, a second one is needed: `BACKGROUND`."""
    stretches = {r.label for r in recordings if r.stretch is not None}
    if requested is None:
        return BACKGROUND if len(stretches) == 1 and stretches == {r.label for r in recordings} else None
    if not stretches:
        raise ConfigError(f"--background '{printable(requested)}': {source} lists no stretches of recordings")
    return valid_label(requested, "--background")


def _check_name(name: str) -> None:
    shown = f"--name '{printable(name)}'"
    if len(name) > NAME_CHARACTERS or len(os.fsencode(name)) > _NAME_BYTES:
        raise ConfigError(
            f"{shown}: has {len(name)} characters, {len(os.fsencode(name))} bytes; choose one of at most "
            f"{NAME_CHARACTERS} characters, {_NAME_BYTES} bytes"
        )
    try:
        TypeAdapter(Name).validate_python(name, strict=True)
    except ValidationError as error:
        raise ConfigError(
            f"{shown}: cannot name a folder in runs/; use letters, digits, _ . - and spaces, and begin with a "
            "letter, a digit or _"
        ) from error


def _name_of(folder: Path) -> str:
    """Return the folder's name as a project name: other characters become _, and it is cut if too long."""
    name = "".join("_" if unicodedata.category(c) == "No" else c for c in folder.absolute().name)  # such as ² and ½
    name = re.sub(r"[^\w. -]+", "_", name).strip("_. -")
    name = name[:NAME_CHARACTERS].encode()[:_NAME_BYTES].decode(errors="ignore")
    return name.rstrip("_. -") or "sounds"


def _relative(root: Path, out: Path) -> str:
    """Return the path of ``root`` relative to ``out``; raise `ConfigError` if YAML cannot hold it."""
    path = os.path.relpath(root, out)
    if os.path.realpath(out / path) != os.path.realpath(root):  # a link lies between them
        path = os.path.relpath(os.path.realpath(root), os.path.realpath(out))
    try:
        path.encode()
    except UnicodeEncodeError:
        raise ConfigError(
            f"{printable(path)}: is not UTF-8, as {config.CONFIG_NAME} must be; rename that folder, or run init in it"
        ) from None
    return path


def _yaml(
    name: str,
    root: str,
    csv_file: Path,
    preset: str,
    positive: str | None,
    background: str | None,
    allow_outside: bool,
) -> str:
    """Return the text of ``audiocnn.yaml``: name, data and positive label, then the preset with its comments."""
    background_text = "null" if background is None else config.quoted(background)
    header = [
        f"name: {config.quoted(name)}  # results go to runs/<name>/",
        "",
        "data:",
        f"  manifest: {config.quoted(csv_file.name)}  # one row per recording, or stretch of one: path, label, group",
        f"  root: {config.quoted(root)}  # paths in the manifest are relative to it",
        f"  background: {background_text}  # label of what no stretch of a recording covers; null: not used",
        '  about: ""  # source, licence and citation of the recordings, for the model card',
        *(["  allow_outside: true  # recordings may be outside root"] if allow_outside else []),
        "",
    ]
    if positive is None:
        header += ["positive: null  # only with two labels: the label to detect", ""]
    else:
        header += [f"positive: {config.quoted(positive)}  # the label to detect, of two; chosen by init", ""]
    return "\n".join(header) + "\n" + preset


def _with_rare(preset: str, rare: Rare) -> str:
    """Return the text of a preset with this ``split.rare``."""
    if re.search(r"(?m)^  rare:", preset):
        return re.sub(r"(?m)^  rare: *\w+", f"  rare: {rare}", preset, count=1)
    return re.sub(r"(?m)^split: *(#.*)?$", rf"\g<0>\n  rare: {rare}", preset, count=1)


def _sized(preset: str, epochs: int, n_recordings: int) -> str:
    """Return the text of a preset, adapted to the number of recordings.

    The number of epochs gives about as many training steps as the preset was chosen with. With many recordings there
    are no augmented versions.
    """
    requested = max(_FEWEST_EPOCHS, min(_MOST_EPOCHS, round(epochs * _CHOSEN_ON / max(1, n_recordings))))
    found = f"init chose {{}} for {n_recordings:,} recordings."
    changed = {"epochs": f"  epochs: {requested:<15} # all of them are trained. {found.format('this')}"}
    if n_recordings > _MOST_COPIED:
        changed["copies"] = f"  copies: []              # {found.format('none')}"
    for key, text in changed.items():
        preset = re.sub(rf"(?m)^  {key}:.*(\n    - .*)*$", text, preset, count=1)
    return preset
