"""The command that says what is heard: predict."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from audiocnn.cli import options

if TYPE_CHECKING:
    from audiocnn.specs import EventSpec


_SUFFIXES = {
    ".raven.txt": "raven",
    ".selections.txt": "raven",
    ".audacity.txt": "audacity",
    ".labels.txt": "audacity",
    ".csv": "csv",
    ".json": "json",
    ".parquet": "parquet",
}


@click.command()
@click.argument("audio", nargs=-1, required=True, metavar="AUDIO...")
@options.config
@options.model
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json", "audacity", "raven", "parquet"]),
    help="[default: table, or by -o's suffix]",
)
@click.option("--windows", is_flag=True, help="One row a window instead of one a recording.")
@click.option("--events", is_flag=True, help="One row an event: windows of one label that follow each other, merged.")
@click.option(
    "--threshold",
    "thresholds",
    metavar="[LABEL=]X",
    multiple=True,
    help="Score from which on a label makes an event.  [default: the model's own, or 0.5; may be given several times]",
)
@click.option(
    "--smooth", type=options.Seconds, metavar="SECONDS", help="Average scores over so long before.  [default: 0.3]"
)
@click.option("--min-duration", type=options.Seconds, metavar="SECONDS", help="Drop shorter events.  [default: 0]")
@click.option("--max-gap", type=options.Seconds, metavar="SECONDS", help="Bridge gaps up to this long.  [default: 0.2]")
@click.option("-o", "--out", type=options.File, help="File to write instead of standard output.")
@click.option("--journal", type=options.Folder, metavar="DIR", help="Keep there what was found out, for further runs.")
@options.jobs
def predict(
    audio: tuple[str, ...],
    config: Path | None,
    model: Path | None,
    form: Any,
    windows: bool,
    events: bool,
    thresholds: tuple[str, ...],
    smooth: float | None,
    min_duration: float | None,
    max_gap: float | None,
    out: Path | None,
    journal: Path | None,
    jobs: int | None,
) -> None:
    """Say what is heard in sound files, and in all sound files below folders.

    The model is the project's own where there is an audiocnn.yaml, else the instrument model that comes with audiocnn.
    Every input becomes one row, with a status: ok, silent or unreadable; a file that is named twice, one row. With
    --events, and for Audacity and Raven, rows are what was heard from when to when.

    Recordings may be of any length and number. With -o, what is found out is kept in OUT.journal until all is done:
    interrupted or killed, say the same again and it goes on. With --journal DIR it is kept there for good, and other
    formats and thresholds take no time; further recordings may be added.
    """
    from audiocnn.stages import predict as stage

    form = form or _format_of(out)
    if windows and (events or form in ("audacity", "raven")):
        raise click.UsageError("--windows and events are different rows; say one of them")
    if form == "parquet" and out is None:
        raise click.UsageError("--format parquet is not text; name a file with -o")
    timing = {"smooth_s": smooth, "min_duration_s": min_duration, "max_gap_s": max_gap}
    spec = None
    if events or form in ("audacity", "raven"):
        spec = _event_spec(thresholds, {name: value for name, value in timing.items() if value is not None})
    elif thresholds or any(value is not None for value in timing.values()):
        raise click.UsageError("--threshold, --smooth, --min-duration and --max-gap are for events; say --events, too")
    terminal = options.terminal()
    predicted = stage.run(
        audio,
        model=model or options.own_model(config, terminal),
        labels=tuple(spec.thresholds) if spec is not None else (),
        jobs=options.workers(jobs),
        progress=terminal,
        out=out,
        kept_in=journal,
    )
    with predicted as result:
        rows: Any = "events" if spec is not None else "windows" if windows else "recordings"
        terminal.predicted(result, form=form, rows=rows, spec=spec, out=out)
    statuses = set(result.totals.statuses)
    options.exit_later(0 if statuses == {"ok"} else 3 if "ok" in statuses else 4)


def _format_of(out: Path | None) -> str:
    if out is None:
        return "table"
    for suffix, form in _SUFFIXES.items():
        if out.name.lower().endswith(suffix):
            return form
    raise click.UsageError(
        f"{out}: no format has the suffix '{out.suffix}'; use {', '.join(_SUFFIXES)}, or say --format table, csv, "
        "json, audacity, raven or parquet"
    )


def _event_spec(thresholds: tuple[str, ...], timing: dict[str, float]) -> "EventSpec":
    from audiocnn.specs import EventSpec

    chosen: dict[str, Any] = {**timing}
    of_label: dict[str, float] = {}
    for text in thresholds:
        label, _, number = text.rpartition("=")
        try:
            value = float(number)
        except ValueError:
            value = 0.0
        if not 0 < value <= 1:
            raise click.UsageError(f"--threshold {text}: give a score above 0 and up to 1, such as 0.7 or LABEL=0.7")
        if label:
            of_label[label] = value
        else:
            chosen["threshold"] = value
    return EventSpec(**chosen, thresholds=of_label)
