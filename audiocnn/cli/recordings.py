"""Commands that look at recordings: init, featurize, audit."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from audiocnn.cli import options

if TYPE_CHECKING:
    from audiocnn.config import Project
    from audiocnn.terminal import Terminal


@click.command()
@click.argument("source", type=click.Path(path_type=Path), metavar="DIR|MANIFEST.csv")
@click.option("--name", help="Name of the project; results go to runs/<name>/.  [default: the folder's name]")
@click.option("--preset", metavar="NAME|FILE", help="general, instrument or spectrogram.  [default: general]")
@click.option("--group-by", metavar="REGEX", help="What in a path names its group: performer, session, site.")
@click.option(
    "--root", type=options.Folder, help="Folder that a CSV's paths are relative to.  [default: that of the CSV]"
)
@click.option("--label-column", metavar="NAME", help="Column of Raven tables that holds the labels.  [default: found]")
@click.option("--background", metavar="LABEL", help="Label of what the stretches of a recording do not cover.")
@click.option("--out", type=options.Folder, default=Path(), help="Where to write.  [default: the current folder]")
@click.option("--allow-outside", is_flag=True, help="Accept paths that lead out of the root.")
@click.option("--force", is_flag=True, help="Replace an existing manifest.csv and audiocnn.yaml.")
@options.jobs
def init(
    source: Path,
    name: str | None,
    preset: str | None,
    group_by: str | None,
    root: Path | None,
    label_column: str | None,
    background: str | None,
    out: Path,
    allow_outside: bool,
    force: bool,
    jobs: int | None,
) -> None:
    """Look at recordings; write manifest.csv and audiocnn.yaml.

    DIR has one sub-folder per class, or Raven selection tables or Audacity label tracks beside the recordings. A CSV
    has the columns path and label and, if wanted, group, start_s and end_s (a stretch of the recording, in seconds),
    split (train, validation, test) and fold. A group is what must not be on both sides of a split: by default each
    recording is its own. Example: --group-by '(session\\d+)' makes one group of everything recorded in one session.
    """
    from audiocnn.stages import init as stage

    terminal = options.terminal()
    result = stage.run(
        source,
        name=name,
        preset=preset,
        group_by=group_by,
        root=root,
        label_column=label_column,
        background=background,
        out=out,
        allow_outside=allow_outside,
        force=force,
        jobs=options.workers(jobs),
        progress=terminal,
    )
    terminal.survey(result)


@click.command()
@options.config
@options.jobs
@options.scheduler
@click.option("--examples", type=click.IntRange(1, 100), help="Show so many recordings and copies in examples.html.")
def featurize(config: Path | None, jobs: int | None, scheduler: str | None, examples: int | None) -> None:
    """Turn every recording of the manifest into features.

    What is there already is not computed again; interrupt it and run it again at will. Recordings that cannot be used
    are listed in quarantine.csv.
    """
    use_features(options.project(config), jobs, options.terminal(), scheduler=scheduler, examples=examples or 0)


def use_features(
    project: "Project",
    jobs: int | None,
    terminal: "Terminal",
    *,
    scheduler: str | None = None,
    examples: int = 0,
) -> None:
    """Featurize the recordings of a project, and show what became of them."""
    from audiocnn.stages import featurize as stage

    n_workers = options.workers(jobs, scheduler)
    result = stage.run(project, jobs=n_workers, progress=terminal, scheduler=scheduler, examples=examples)
    terminal.accounts(result)
    options.exit_later(3 if result.n_bad else 0)


@click.command()
@options.config
@click.option("--merge-groups", is_flag=True, help="Let copies of a recording share a group, in the manifest.")
@options.jobs
def audit(config: Path | None, merge_groups: bool, jobs: int | None) -> None:
    """Look for what would spoil a training: pass, warn, fail or unchecked, with reasons.

    Finds copies of recordings (also at another level, rate or format, or cut short), copies with different labels or on
    different sides of a split, groups that the file names suggest, classes of which there is too little, files that are
    silent or cannot be read, shortcuts (cues such as length or bandwidth from which alone the label can be told) and,
    after crossval, labels that are likely wrong (needs the [labels] extra). Writes audit.json.

    Exit code 0 for pass and warn, 2 for fail: something for you to mend before training.
    """
    from audiocnn.stages import audit as stage

    terminal = options.terminal()
    result = stage.run(
        options.project(config), jobs=options.workers(jobs), progress=terminal, merge_groups=merge_groups
    )
    terminal.audited(result)
    options.exit_later(2 if result.verdict == "fail" else 0)
