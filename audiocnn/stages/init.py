"""``init``: scan a folder or a CSV; write ``manifest.csv`` and ``audiocnn.yaml``, and return a survey."""

import os
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from audiocnn import config
from audiocnn.audio import workers
from audiocnn.audio.probe import probe
from audiocnn.audit import above_band, class_balance, groups, label_names
from audiocnn.audit.above_band import AboveBand
from audiocnn.audit.finding import Finding
from audiocnn.dataset import manifest, positive_label, survey
from audiocnn.dataset.groups import suggest
from audiocnn.dataset.manifest import AnnotatedFolder, Recording
from audiocnn.dataset.survey import Survey
from audiocnn.errors import ConfigError, ManifestError
from audiocnn.files import write_atomic
from audiocnn.labels import valid_label
from audiocnn.progress import Progress
from audiocnn.specs import NAME_CHARACTERS, Name
from audiocnn.text import printable

BACKGROUND = "background"
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
    chosen.
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


def run(
    source: Path,
    *,
    name: str | None,
    preset: str | None,
    group_by: str | None,
    root: Path | None,
    label_column: str | None,
    background: str | None,
    out: Path,
    allow_outside: bool,
    force: bool,
    jobs: int,
    progress: Progress,
) -> InitResult:
    """Read ``source``, scan every recording once, and write the two files; after an error nothing is written."""
    if name is not None:
        _check_name(name)
    recordings, root, annotated = _recordings(source, root, label_column, allow_outside)
    background = _background(source, recordings, background)
    if annotated is not None and background is not None:
        recordings += [Recording(path, background, path) for path in annotated.empty]
    n_unmatched = 0
    if group_by is not None:
        recordings, n_unmatched = manifest.group_by(recordings, group_by)
        if n_unmatched == len(recordings):
            raise ConfigError(f"--group-by '{group_by}': matches no path, such as {printable(recordings[0].path)}")
    labels = sorted({*manifest.labels_of(recordings), *([] if background is None else [background])})
    if len(labels) < 2:
        raise ConfigError(f"{source}: only one class ('{printable(labels[0])}'); a classifier needs two or more")
    preset = preset or config.DEFAULT_PRESET
    chosen = config.read_preset(preset)
    spec = chosen.features
    yaml_file, csv_file = out / config.CONFIG_NAME, out / "manifest.csv"
    table = manifest.to_csv(recordings)
    _refuse_to_overwrite(yaml_file, csv_file, table, force)
    root_text = _relative(root, out)

    files = {recording.path: recording.file(root) for recording in recordings}
    paths = list(files)
    probes = {}
    with progress.task("scan recordings", total=len(paths), unit="recordings") as advance:
        for done in workers.map_files(probe, [(file, (spec,)) for file in files.values()], jobs=jobs):
            probes[paths[done.index]] = done.result
            advance()
    found = survey.summarize(recordings, probes, spec)
    if len(found.unreadable) == len(paths):
        path, error = next(iter(found.unreadable.items()))
        raise ConfigError(f"{source}: none of {len(paths)} files can be read: {printable(path)} {error}, ...")
    positive, reason = positive_label.choose(recordings, background) if len(labels) == 2 else (None, "")
    body = config.preset_file(preset).read_text(encoding="utf-8")
    if preset in _SIZED:
        body = _sized(body, chosen.train.epochs, len(recordings))
    text = _yaml(name or _name_of(root), root_text, csv_file, body, positive, background, allow_outside)
    config.check_text(text, yaml_file)
    write_atomic(csv_file, table)
    write_atomic(yaml_file, text)
    above = above_band.find(recordings, probes, spec)
    findings = [
        *label_names.findings(recordings),
        groups.check_names(recordings, suggest(recordings)),
        *class_balance.check_channels(probes),
    ]
    return InitResult(
        survey=found,
        above=above,
        findings=[finding for finding in findings if finding.severity != "pass"],
        manifest=csv_file,
        config=yaml_file,
        preset=preset,
        positive=positive,
        positive_reason=reason,
        n_unmatched=n_unmatched,
        annotated=annotated,
        background=background,
    )


def _recordings(
    source: Path, root: Path | None, label_column: str | None, allow_outside: bool
) -> tuple[list[Recording], Path, AnnotatedFolder | None]:
    if source.is_dir():
        annotated = manifest.from_annotations(source, label_column=label_column)
        if annotated is None:
            return manifest.from_folder(source), source, None
        if not annotated.recordings:
            raise ManifestError(f"{source}: the annotation files have no labelled stretch; add some")
        return annotated.recordings, source, annotated
    root = root or source.parent
    recordings = manifest.read(source, root=root, allow_outside=allow_outside)
    missing = [r.path for r in recordings if not os.path.lexists(r.file(root))]
    if missing:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise ManifestError(
            f"{source}: {printable(missing[0])}{more} does not exist below {root}; correct the path, or pass --root DIR"
        )
    return recordings, root, None


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
