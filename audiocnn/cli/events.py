"""The command that chooses the thresholds of event detection: tune-events."""

from pathlib import Path
from typing import Any

import click

from audiocnn.cli import options


@click.command("tune-events")
@click.argument("background", nargs=-1, metavar="[BACKGROUND]...")
@options.config
@options.model
@click.option(
    "--hours", type=click.FloatRange(0.01, 1_000), default=2.0, show_default=True, help="Total length of soundscapes."
)
@click.option("--per-hour", type=click.IntRange(min=1), help="Sounds added per hour.  [default: 60, or more]")
@click.option(
    "--snr",
    type=(click.FloatRange(-60, 80), click.FloatRange(-60, 80)),
    default=(0.0, 20.0),
    show_default=True,
    metavar="LOW HIGH",
    help="Level of the sounds above the background, in dB.",
)
@click.option(
    "--false-alarms",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    help="Highest acceptable number of false alarms per hour, for each label.",
)
@click.option("--label", "labels", multiple=True, help="Use only sounds of this label.  [may be given several times]")
@click.option(
    "--part",
    type=click.Choice(["validation", "test"]),
    help="Part of the split that the sounds come from.  [default: validation, or test if there is none]",
)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Seed of all draws.")
@click.option("-o", "--out", type=options.Folder, help="Folder to write.  [default: runs/<name>/rehearsal/]")
@click.option("--no-store", "--dry-run", "dry", is_flag=True, help="Do not change the model.")
@click.option("--forget", is_flag=True, help="Remove stored thresholds from the model, and do nothing else.")
@options.jobs
def tune_events(
    background: tuple[str, ...],
    config: Path | None,
    model: Path | None,
    out: Path | None,
    dry: bool,
    forget: bool,
    jobs: int | None,
    **requested: Any,
) -> None:
    """Choose thresholds for event detection. Needs the [train] extra.

    Adds sounds that were not used for training to background recordings, at known times and levels, and predicts these
    soundscapes like any recording. On one half of the sounds and background it chooses thresholds, smoothing and
    shortest duration: those with the highest recall at no more than --false-alarms per hour. On the other half it
    measures recall and false alarms. The chosen values are stored in the model, and 'predict --events' uses them. A
    label of which nothing was found, or fewer than 10 sounds were tried in a half, keeps its default threshold.

    BACKGROUND are recordings of the place where the model will be used, or folders of them; without any, coloured noise
    is used. Choose background without sounds of your labels: each one that is detected there counts as a false alarm.

    The sounds come from the recordings of the project, so an audiocnn.yaml is needed even with --model. Writes
    rehearsal.html, rehearsal.json and rehearsal.csv (all settings that were tried). Background recordings that cannot
    be used are listed, with exit code 3.

    \b
    Example:
      audiocnn tune-events my-place/ --false-alarms 0.5
      audiocnn predict night.wav --events
      audiocnn tune-events --forget
    """
    from audiocnn.specs import CONFIG_NAME
    from audiocnn.stages import tune_events as stage

    if forget:
        if background:
            raise click.UsageError("--forget removes stored thresholds; leave out BACKGROUND")
        options.terminal().forgot_events(*stage.forget(options.project_if_any(config), model))
        return
    low, high = requested["snr"]
    if low > high:
        raise click.UsageError(f"--snr {low:g} {high:g}: give the lower value first")
    if config is None and not Path(CONFIG_NAME).is_file():
        raise click.UsageError(
            f"no {CONFIG_NAME} here: even with --model, the sounds come from the recordings of a project; pass -c "
            "FILE, or run 'audiocnn init DIR' first"
        )
    requested["snr_db"] = requested.pop("snr")
    terminal = options.terminal()
    result = stage.run(
        options.project(config),
        background,
        options=stage.TuneEventsOptions(**requested),
        model=model,
        store=not dry,
        output=out,
        jobs=options.workers(jobs),
        progress=terminal,
    )
    terminal.tuned_events(result)
    if result.stored_in is not None:
        terminal.next(options.command("predict", config, "FILE", "--events", model=model))
    options.exit_later(3 if result.unusable else 0)
