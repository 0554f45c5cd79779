"""``init``: scan a folder or a CSV; write ``manifest.csv`` and ``audiocnn.yaml``, and return a survey."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from audiocnn import config, new_config
from audiocnn.audio import start_time, workers
from audiocnn.audio.probe import Probe, probe
from audiocnn.audit import above_band, class_balance, groups, label_layout
from audiocnn.audit.above_band import AboveBand
from audiocnn.audit.finding import Finding
from audiocnn.dataset import cut_groups as cuts
from audiocnn.dataset import manifest, positive_label, survey
from audiocnn.dataset import source as sources
from audiocnn.dataset.annotated_folder import AnnotatedFolder
from audiocnn.dataset.groups import suggest
from audiocnn.dataset.manifest import Columns, Recording
from audiocnn.dataset.problems import Report
from audiocnn.dataset.source import SourceOptions
from audiocnn.dataset.survey import Survey
from audiocnn.errors import AudioError, ConfigError
from audiocnn.features import fit_spec
from audiocnn.files import write_atomic
from audiocnn.new_config import NewConfig
from audiocnn.progress import Progress
from audiocnn.specs import CONFIG_NAME, DEFAULT_PRESET, Experiment, FeatureSpec, Rare, SplitSpec
from audiocnn.text import printable
from audiocnn.training import forecast
from audiocnn.training.forecast import Forecast

_PROBLEMS = "init-problems.csv"


@dataclass(frozen=True)
class InitResult:
    """The survey and the written files.

    ``settings`` are those of the file ``config``; networks with the general preset have features that are fitted to
    the recordings. ``above`` is the sound that no network keeps, ``forecast`` what to expect of a training,
    ``findings`` are those that `audit` reports as well, ``annotated`` describes the annotation files; None if there are
    none. ``positive_reason`` is why ``positive`` was chosen. ``report`` tells what was not used as it is, which the
    file ``problems`` lists; None if there is nothing to list.
    """

    survey: Survey
    above: AboveBand | None
    findings: Sequence[Finding]
    manifest: Path
    config: Path
    preset: str
    settings: Experiment
    forecast: Forecast
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
    cut_groups: int | None = None,
    timezone: str | None = None,
) -> InitResult:
    """Read ``source``, scan every recording once, and write the two files; after an error nothing is written.

    Rows that cannot be used are left out and listed in ``init-problems.csv``; with ``strict`` they are an error.
    ``cut_groups`` is the length in seconds of the groups that long recordings are cut into (`cuts.cut`).
    """
    if name is not None:
        new_config.check_name(name)
    if timezone is not None:
        start_time.find_timezone(timezone)
    report = Report()
    options = SourceOptions(
        root=root,
        columns=columns,
        label_level=label_level,
        label_regex=label_regex,
        annotations=annotations,
        background=background,
        group_by=group_by,
        allow_outside=allow_outside,
    )
    found = sources.read(source, options, report)
    recordings = found.recordings
    if strict:
        report.require_none()
    _check_labels(source, recordings, found.background, report)
    preset = preset or DEFAULT_PRESET
    spec = config.read_preset(preset).features
    files = _Files(out / CONFIG_NAME, out / "manifest.csv", out / _PROBLEMS, force)
    files.refuse_to_overwrite(manifest.to_csv(recordings))
    root_text = new_config.relative_root(found.root, out)

    probes = _scan({recording.path: recording.file(found.root) for recording in recordings}, spec, jobs, progress)
    durations_s = _durations_s(source, probes)
    general = fit_spec.fit(config.read_preset(DEFAULT_PRESET).features, recordings, probes)
    if preset == DEFAULT_PRESET:
        spec = general
    recordings = sources.cut_at_end(recordings, durations_s, report)
    if strict:
        report.require_none()
    if cut_groups is not None:
        recordings = cuts.cut(recordings, durations_s, cut_groups, spec.window_s, report)
    labels = _check_labels(source, recordings, found.background, report)
    positive, reason = positive_label.choose(recordings, found.background) if len(labels) == 2 else (None, "")
    new = NewConfig(
        name=name or new_config.name_of(found.root),
        manifest=files.manifest.name,
        root=root_text,
        background=found.background,
        positive=positive,
        allow_outside=allow_outside,
        rare=rare,
        about=found.about,
        timezone=timezone,
    )
    text = new_config.text(new, preset, len(recordings), general)
    settings = config.check_text(text, files.config)
    if rare not in (None, settings.split.rare):
        raise ConfigError(
            f"--rare {rare}: {preset} has no block 'split:' to set it in; write split.rare into that file"
        )
    files.write(manifest.to_csv(recordings), text, report)
    n_cores, speed = workers.default_jobs(), forecast.measure_core_speed()
    return InitResult(
        survey=survey.summarize(recordings, probes, spec, settings.widest[0].upper_hz),
        above=above_band.find(recordings, probes, *settings.widest),
        findings=_findings(recordings, probes, settings.split),
        manifest=files.manifest,
        config=files.config,
        preset=preset,
        settings=settings,
        forecast=forecast.forecast(recordings, probes, settings, n_cores=n_cores, core_speed=speed),
        positive=positive,
        positive_reason=reason,
        n_unmatched=found.n_unmatched,
        annotated=found.annotated,
        background=found.background,
        report=report,
        problems=files.problems if report.problems else None,
    )


@dataclass(frozen=True)
class _Files:
    """The files to write: configuration, manifest, and the list of problems; ``force`` replaces the first two."""

    config: Path
    manifest: Path
    problems: Path
    force: bool

    def refuse_to_overwrite(self, table: str) -> None:
        """Raise `ConfigError` if a file exists that may not be replaced by this one."""
        if self.force:
            return
        changed = self.manifest.exists() and self.manifest.read_bytes() != table.encode("utf-8")
        if self.config.exists() or changed:
            file = self.config if self.config.exists() else self.manifest
            raise ConfigError(f"{file}: exists already; pass --force to replace it, or --out DIR to write elsewhere")

    def write(self, table: str, text: str, report: Report) -> None:
        """Write all three; without problems remove the list of an earlier run."""
        self.refuse_to_overwrite(table)
        if report.problems:
            write_atomic(self.problems, report.to_csv())
        else:
            self.problems.unlink(missing_ok=True)
        write_atomic(self.manifest, table)
        write_atomic(self.config, text)


def _check_labels(source: Path, recordings: Sequence[Recording], background: str | None, report: Report) -> list[str]:
    """Return the labels, with that of the background; raise `ConfigError` for fewer than two."""
    labels = sorted({*manifest.labels_of(recordings), *([] if background is None else [background])})
    if len(labels) < 2:
        only = f"only one class ('{printable(labels[0])}')" if labels else "no recording with a label"
        unused = f"; not used: {first}" if (first := report.first_row()) else ""
        raise ConfigError(f"{source}: {only}; a classifier needs two or more{unused}")
    return labels


def _scan(files: Mapping[str, Path], spec: FeatureSpec, jobs: int, progress: Progress) -> dict[str, Probe | AudioError]:
    """Measure every recording once."""
    paths, probes = list(files), {}
    with progress.task("scan recordings", total=len(paths), unit="recordings") as advance:
        for done in workers.map_files(probe, [(file, (spec,)) for file in files.values()], jobs=jobs):
            probes[paths[done.index]] = done.result
            advance()
    return probes


def _durations_s(source: Path, probes: Mapping[str, Probe | AudioError]) -> dict[str, float]:
    """Return the duration of every recording that can be read; raise `ConfigError` if there is none."""
    found = {path: measured.duration_s for path, measured in probes.items() if isinstance(measured, Probe)}
    if not found:
        path, error = next(iter(probes.items()))
        raise ConfigError(f"{source}: none of {len(probes)} files can be read: {printable(path)} {error}, ...")
    return found


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
        *groups.check_cut(recordings),
        groups.check_names(recordings, suggest(recordings)),
        *rare,
        *class_balance.check_channels(probes),
    ]
    return [finding for finding in found if finding.severity != "pass"]
