"""Commands on recordings: init, featurize, audit."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from audiocnn.cli import options

if TYPE_CHECKING:
    from audiocnn.config import Project
    from audiocnn.specs import Rare
    from audiocnn.terminal import Terminal


def _list_layouts(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        options.terminal().layouts()
        ctx.exit()


@click.command()
@click.argument("source", type=click.Path(path_type=Path), metavar="DIR|MANIFEST.csv")
@click.option("--name", help="Project name; results go to runs/<name>/.  [default: the folder's name]")
@click.option(
    "--preset",
    metavar="NAME|FILE",
    help="Settings to start from: general, instrument, spectrogram, ultrasonic; best, which has two networks, general "
    "and instrument; those of tutorials, sources/NAME "
    "(alexnet, compact, instrument, notes, spectrogram, spectrogram-advanced, tutorial); or a YAML file.  "
    "[default: general]",
)
@click.option("--group-by", metavar="REGEX", help="Part of the path that names the group: player, session, site.")
@click.option(
    "--cut-groups",
    type=options.whole_seconds,
    metavar="TIME",
    help="Cut long recordings into groups of this length, such as 60s or 2min, for labels with few recordings.",
)
@click.option(
    "--rare",
    type=click.Choice(["train", "drop", "refuse"]),
    help="A label with too few groups for all parts of the split: only learn from it, leave it out, or refuse it.  "
    "[default: that of the preset, train]",
)
@click.option(
    "--root", type=options.Folder, help="Folder that the paths in a CSV are relative to.  [default: folder of the CSV]"
)
@click.option(
    "--annotations",
    type=click.Path(exists=True, path_type=Path),
    metavar="DIR|FILE",
    help="Folder of annotation files, or one table for all.  [default: files next to the recordings]",
)
@click.option("--path-column", metavar="NAME", help="Column of a CSV that holds the paths.  [default: path]")
@click.option(
    "--label-column",
    metavar="NAME",
    help="Column of a CSV or annotation table that holds the labels.  [default: label, or detected]",
)
@click.option("--group-column", metavar="NAME", help="Column of a CSV that holds the groups.  [default: group]")
@click.option("--split-column", metavar="NAME", help="Column of a CSV that holds the split.  [default: split]")
@click.option("--fold-column", metavar="NAME", help="Column of a CSV that holds the folds.  [default: fold]")
@click.option(
    "--label-level",
    type=click.IntRange(min=1),
    metavar="N",
    help="Level of the folders that are the labels: 1 for the sub-folders of DIR.  [default: detected]",
)
@click.option("--label-regex", metavar="REGEX", help="Part of the path that is the label, instead of a folder.")
@click.option("--background", metavar="LABEL", help="Label for the parts of a recording that no annotation covers.")
@click.option(
    "--timezone",
    metavar="TZ",
    help="Time zone of recorders that wrote local time, such as Europe/Berlin, for events of predict.",
)
@click.option("--out", type=options.Folder, default=Path(), help="Folder to write.  [default: the current folder]")
@click.option("--allow-outside", is_flag=True, help="Accept recordings outside the root.")
@click.option("--strict", is_flag=True, help="Stop at a row that cannot be used, instead of leaving it out.")
@click.option("--force", is_flag=True, help="Replace existing manifest.csv and audiocnn.yaml.")
@options.jobs
@click.option(
    "--list-layouts",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list_layouts,
    help="Print the public data sets that are recognised by their own metadata, and exit.",
)
def init(
    source: Path,
    name: str | None,
    preset: str | None,
    group_by: str | None,
    cut_groups: int | None,
    rare: "Rare | None",
    root: Path | None,
    label_level: int | None,
    label_regex: str | None,
    annotations: Path | None,
    background: str | None,
    timezone: str | None,
    out: Path,
    allow_outside: bool,
    strict: bool,
    force: bool,
    jobs: int | None,
    **columns: str | None,
) -> None:
    """Scan recordings and write manifest.csv and audiocnn.yaml.

    DIR has one sub-folder per class, or annotation files next to the recordings: Raven selection tables, Audacity label
    tracks, tables of BirdNET or audiocnn, or Praat TextGrids. A CSV has the columns path and label, and optionally
    group, start_s and end_s (a section of the recording, in seconds), split (train, validation, test) and fold. Columns
    of other names are named by options. The separator (comma, semicolon, tab) and the encoding are detected.

    Folders named train, validation and test are taken as the split, fold1, fold2, ... as the folds, with one sub-folder
    per class in each. Folders for dates, places, sessions or speakers are no labels. If it is not clear which folders
    are the labels, init stops and asks for --label-level or --label-regex.

    Public data sets such as ESC-50, UrbanSound8K and Speech Commands are recognised by their own metadata, as
    downloaded (--list-layouts); options that name the labels switch that off.

    Rows that cannot be used are left out and listed in init-problems.csv.

    Recordings of one group are never on both sides of a split. By default each recording is a group of its own. Use
    --group-by for recordings that share a player, session, site or device: the first parenthesis of REGEX, matched
    against the path, is the group.

    If a label has only one long recording, or few, --cut-groups 60s makes a group of each of its minutes, with gaps
    between them. Neighbouring minutes are alike, so the figures are too good for new recordings.

    \b
    Example:
      audiocnn init sounds/
      audiocnn init sounds/ --preset instrument --group-by '(session\\d+)'
    """
    from audiocnn.dataset.manifest import Columns
    from audiocnn.stages import init as stage

    terminal = options.terminal()
    result = stage.run(
        source,
        name=name,
        preset=preset,
        group_by=group_by,
        cut_groups=cut_groups,
        rare=rare,
        root=root,
        columns=Columns(**{name.removesuffix("_column"): column for name, column in columns.items()}),
        label_level=label_level,
        label_regex=label_regex,
        annotations=annotations,
        background=background,
        timezone=timezone,
        out=out,
        allow_outside=allow_outside,
        strict=strict,
        force=force,
        jobs=options.workers(jobs),
        progress=terminal,
    )
    terminal.survey(result)
    if any(finding.severity == "fail" for finding in result.findings):
        terminal.next("correct what train will refuse (see above), then run init again with --force")
    else:
        terminal.next(options.command("run", result.config))


@click.command()
@options.config
@options.jobs
@options.scheduler
@click.option(
    "--examples",
    type=click.IntRange(1, 100),
    help="Write examples.html with this many recordings and their augmented versions.",
)
def featurize(config: Path | None, jobs: int | None, scheduler: str | None, examples: int | None) -> None:
    """Compute the features of all recordings in the manifest.

    Features that exist already are kept, so an interrupted run resumes when you run it again. Recordings that cannot be
    used are listed in quarantine.csv.

    \b
    Example:
      audiocnn featurize --jobs 4
    """
    project, terminal = options.project(config), options.terminal()
    use_features(project, jobs, terminal, scheduler=scheduler, examples=examples or 0)
    terminal.next(options.command("train", project.file))


def use_features(
    project: "Project",
    jobs: int | None,
    terminal: "Terminal",
    *,
    scheduler: str | None = None,
    examples: int = 0,
) -> None:
    """Compute the features of a project, and print how many recordings are usable."""
    from audiocnn.stages import featurize as stage

    n_workers = options.workers(jobs, scheduler)
    result = stage.run(project, jobs=n_workers, progress=terminal, scheduler=scheduler, examples=examples)
    terminal.statuses(result)
    options.exit_later(3 if result.n_bad else 0)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@options.config
def relocate(folder: Path, config: Path | None) -> None:
    """Set the folder of the recordings after they were moved.

    Looks for the recordings of the manifest below DIR and sets data.root in audiocnn.yaml; the rest of the file stays
    as it is. Nothing is changed if DIR has none of them, or fewer than the present folder. Exit code 3 if some of them
    are missing in DIR.

    \b
    Example:
      audiocnn relocate /mnt/disk/sounds
    """
    from audiocnn.stages import relocate as stage

    result = stage.run(options.project(config), folder)
    options.terminal().relocated(result)
    options.exit_later(3 if result.missing else 0)


@click.command()
@options.config
@click.option("--merge-groups", is_flag=True, help="Put copies of a recording into one group, in the manifest.")
@options.jobs
def audit(config: Path | None, merge_groups: bool, jobs: int | None) -> None:
    """Check recordings for duplicates, leaks and wrong labels.

    Finds copies of recordings (also at another level, sample rate or format, or cut short), copies with different
    labels or on different sides of a split, groups that the file names suggest, classes with too few recordings, silent
    and unreadable files, and shortcuts: cues such as duration or bandwidth that alone predict the label. After crossval
    it also finds labels that are likely wrong (needs the [labels] extra). Writes audit.json.

    Each finding is pass, warn, fail or unchecked, with its reason and remedy. Exit code 0 for pass and warn, 2 for
    fail: correct these before training.

    \b
    Example:
      audiocnn audit
      audiocnn audit --merge-groups
    """
    from audiocnn.stages import audit as stage

    project, terminal = options.project(config), options.terminal()
    result = stage.run(project, jobs=options.workers(jobs), progress=terminal, merge_groups=merge_groups)
    terminal.audited(result)
    if result.verdict == "fail":
        terminal.next(f"correct the errors, then {options.command('audit', project.file)}")
    else:
        terminal.next(options.command("run", project.file))
    options.exit_later(2 if result.verdict == "fail" else 0)
