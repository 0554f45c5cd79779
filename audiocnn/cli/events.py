"""The command that finds the operating point of event detection: rehearse."""

from pathlib import Path
from typing import Any

import click

from audiocnn.cli import options


@click.command()
@click.argument("background", nargs=-1, metavar="[BACKGROUND]...")
@options.config
@options.model
@click.option("--hours", type=click.FloatRange(0.01, 1_000), default=2.0, show_default=True, help="Of scenes, in all.")
@click.option("--per-hour", type=click.IntRange(min=1), help="Sounds spliced into an hour.  [default: 60, or more]")
@click.option(
    "--snr",
    type=(click.FloatRange(-60, 80), click.FloatRange(-60, 80)),
    default=(0.0, 20.0),
    show_default=True,
    metavar="LOW HIGH",
    help="Decibels of the sounds over the background.",
)
@click.option(
    "--false-alarms", type=click.FloatRange(min=0), default=1.0, show_default=True, help="Wanted at most, in an hour."
)
@click.option("--label", "labels", multiple=True, help="Only sounds of this label.  [may be given several times]")
@click.option(
    "--part",
    type=click.Choice(["validation", "test"]),
    help="Where the sounds come from.  [default: validation, or test if there is none]",
)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Of all that is drawn.")
@click.option("-o", "--out", type=options.Folder, help="Where to write.  [default: runs/<name>/rehearsal/]")
@click.option("--no-store", "--dry-run", "dry", is_flag=True, help="Do not change the model.")
@options.jobs
def rehearse(
    background: tuple[str, ...],
    config: Path | None,
    model: Path | None,
    out: Path | None,
    dry: bool,
    jobs: int | None,
    **wanted: Any,
) -> None:
    """Find from when on windows are an event: recall against false alarms per hour (needs the [train] extra).

    BACKGROUND are recordings of the place where the model is to listen, or folders of them; without any it is coloured
    noise. Sounds that the model did not learn from are added at known times and levels; the scenes are predicted as
    any recording is. Thresholds, smoothing and shortest duration are chosen on one half of the sounds and background,
    for the highest recall within the limit of false alarms, and measured on the other half. They are stored in the
    model, and 'predict --events' uses them where nothing else is said.

    Choose background in which nothing is to be heard: what is really there, and found, counts as a false alarm. Writes
    rehearsal.json, rehearsal.csv (all that was tried) and rehearsal.html. The held-out sounds come from a project: with
    --model, too, there must be an audiocnn.yaml. Background that cannot be used is named, with exit code 3.
    """
    from audiocnn.config import CONFIG_NAME
    from audiocnn.stages import tune_events as stage

    low, high = wanted["snr"]
    if low > high:
        raise click.UsageError(f"--snr {low:g} {high:g}: the lower end comes first")
    if config is None and not Path(CONFIG_NAME).is_file():
        raise click.UsageError(
            f"no {CONFIG_NAME} here: the sounds to be found come from the recordings of a project; say -c FILE, also "
            "with --model, or 'audiocnn init DIR' first"
        )
    wanted["snr_db"] = wanted.pop("snr")
    terminal = options.terminal()
    result = stage.run(
        options.project(config),
        background,
        wanted=stage.TuneEventsOptions(**wanted),
        model=model,
        store=not dry,
        output=out,
        jobs=options.workers(jobs),
        progress=terminal,
    )
    terminal.rehearsed(result)
    options.exit_later(3 if result.unusable else 0)
