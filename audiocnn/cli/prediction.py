"""The command that classifies recordings: predict."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from audiocnn.cli import options

if TYPE_CHECKING:
    from datetime import tzinfo

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
@click.argument("audio", nargs=-1, metavar="AUDIO...")
@options.config
@options.model
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json", "audacity", "raven", "parquet"]),
    help="[default: table, or by -o's suffix]",
)
@click.option("--windows", is_flag=True, help="One row per window instead of one per recording.")
@click.option("--events", is_flag=True, help="One row per event: consecutive windows of one label, merged.")
@click.option(
    "--threshold",
    "thresholds",
    metavar="[LABEL=]X",
    multiple=True,
    help="Lowest score of an event; may be given several times.  [default: from tune-events, the model's own, or 0.5]",
)
@click.option(
    "--thresholds",
    "thresholds_file",
    type=options.File,
    metavar="FILE",
    help="Use the thresholds that a report saved (thresholds.json), for recordings or events.",
)
@click.option(
    "--smooth",
    "smooth_s",
    type=options.Seconds,
    metavar="SECONDS",
    help="Average scores over this time before.  [default: from tune-events, or 0.3]",
)
@click.option(
    "--min-duration",
    "min_duration_s",
    type=options.Seconds,
    metavar="SECONDS",
    help="Drop shorter events.  [default: from tune-events, or 0]",
)
@click.option(
    "--max-gap",
    "max_gap_s",
    type=options.Seconds,
    metavar="SECONDS",
    help="Bridge gaps up to this long.  [default: 0.2]",
)
@click.option(
    "--timezone",
    metavar="TZ",
    help="Time zone of recorders that wrote local time without its offset, such as Europe/Berlin, or +01:00 for a "
    "clock that is not changed in summer.  [default: data.timezone of the project; else no offset is written]",
)
@click.option("-o", "--out", type=options.File, help="File to write instead of standard output.")
@click.option(
    "--html", "page", type=options.File, metavar="PAGE", help="Also write a page to search, sort and listen to them."
)
@click.option("--journal", type=options.Folder, metavar="DIR", help="Keep scores in this folder, for further runs.")
@options.jobs
@options.scheduler
@click.option("--mic", is_flag=True, help="Classify the input of a microphone instead of files, until Ctrl-C.")
@click.option("--device", metavar="N|NAME", help="With --mic: number of the device, or part of its name.")
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), help="With --mic: stop after this time.")
@click.option("--keep", type=options.File, metavar="FILE.wav", help="With --mic: record to this file.")
def predict(
    audio: tuple[str, ...],
    config: Path | None,
    model: Path | None,
    form: Any,
    windows: bool,
    events: bool,
    timezone: str | None,
    out: Path | None,
    page: Path | None,
    journal: Path | None,
    jobs: int | None,
    scheduler: str | None,
    mic: bool,
    device: str | None,
    seconds: float | None,
    keep: Path | None,
    thresholds_file: Path | None,
    **event_options: Any,
) -> None:
    """Classify audio files, folders of them, or a microphone.

    The model is that of the project (audiocnn.yaml), else the instrument model that ships with audiocnn. Each recording
    gives one row with its status: ok, silent, unreadable or unknown. With --windows each window gives a row. With
    --events, and for Audacity and Raven, rows are events: label, start and end.

    In CSV, JSON and Parquet, events also have the date and time of day, if the recorder wrote when it began, into the
    file or its name. The time has an offset from UTC if the recorder wrote one, or if --timezone names the zone of its
    clock.

    Recordings may be of any length and number. With -o, scores are kept in OUT.journal until the end: after an
    interruption, run the same command again and it resumes. With --journal DIR they stay there, so that another format
    or threshold takes no time, and more recordings can be added. --html writes one page that works offline.

    --mic reads a microphone (needs the [mic] extra), shows the current label, and stops with Ctrl-C or after --seconds.
    Then it prints the row of the recording 'microphone', in any format.

    \b
    Example:
      audiocnn predict song.wav
      audiocnn predict archive/ --events -o events.csv
      audiocnn predict archive/ --html archive.html
      audiocnn predict archive/ --events --timezone America/Bogota -o events.csv
    """
    from audiocnn.stages import predict as stage

    for_files = {
        "--jobs": jobs,
        "--scheduler": scheduler,
        "--journal": journal,
        "--timezone": timezone,
        "--html": page,
    }
    for_mic = {"--device": device, "--seconds": seconds, "--keep": keep}
    _refuse_mixed(audio, mic, for_files, for_mic)
    form = form or _format_of(out)
    as_events = events or form in ("audacity", "raven")
    if windows and as_events:
        raise click.UsageError("--windows and events are different rows; choose one of them")
    _refuse_unwritable(out, form)
    if page is not None and page.suffix.lower() not in (".html", ".htm"):
        raise click.UsageError(f"--html {page}: a page; name a file that ends in .html")
    if windows and thresholds_file is not None:
        raise click.UsageError("--thresholds is for recordings and events; leave out --windows")
    spec = _event_spec(as_events, thresholds_file, **event_options)
    zone = _time_zone(timezone, as_events, form)
    if zone is None and as_events and model is None:
        zone = options.own_timezone(config)
    terminal = options.terminal()
    common: dict[str, Any] = {
        "model": model or options.own_model(config, terminal),
        "labels": tuple(spec.thresholds) if spec is not None else (),
        "progress": terminal,
        "out": out,
        "project": None if model else options.project_if_any(config),
        "thresholds": thresholds_file,
    }
    if mic:
        number_or_name = int(device) if device and device.isdecimal() else device
        predicted = stage.live(**common, device=number_or_name, limit_s=seconds, keep=keep)
    else:
        n_workers = options.workers(jobs, scheduler)
        predicted = stage.run(audio, **common, jobs=n_workers, kept_in=journal, scheduler=scheduler, zone=zone)
    with predicted as result:
        rows: Any = "events" if spec is not None else "windows" if windows else "recordings"
        terminal.predicted(result, form=form, rows=rows, spec=spec, out=out)
        if page is not None:
            stage.write_page(result, page, jobs=options.workers(jobs), progress=terminal)
            terminal.info(f"Page: {page}")
        elif out is None and form == "table" and len(audio) == 1 and terminal.interactive:
            if result.totals.n_recordings > 1:
                then = options.command("predict", config, audio[0], "--html", "predictions.html", model=model)
                terminal.next(then, "to listen to them")
            elif result.totals.labels:
                terminal.next(options.command("explain", config, audio[0], model=model))
    statuses = set(result.totals.statuses)
    options.exit_later(0 if statuses == {"ok"} else 3 if "ok" in statuses else 4)


def _refuse_mixed(audio: tuple[str, ...], mic: bool, for_files: dict[str, Any], for_mic: dict[str, Any]) -> None:
    """Raise a `click.UsageError` for options of files with a microphone, or of a microphone with files."""
    if mic:
        misplaced = ["AUDIO"] if audio else [name for name, value in for_files.items() if value is not None]
        if misplaced:
            raise click.UsageError(f"--mic is for a microphone and {misplaced[0]} for files; choose one of them")
        keep = for_mic["--keep"]
        if keep is not None and keep.suffix.lower() != ".wav":
            raise click.UsageError(f"--keep {keep}: the recording is a WAV file; name a file that ends in .wav")
        return
    if not audio:
        raise click.UsageError("Missing argument 'AUDIO...': name audio files or folders, or pass --mic")
    if misplaced := [name for name, value in for_mic.items() if value is not None]:
        raise click.UsageError(f"{misplaced[0]} is for a microphone; add --mic")


def _refuse_unwritable(out: Path | None, form: str) -> None:
    """Raise an error if there is no ``out`` where the format needs a file, or no library, or closed standard output."""
    from audiocnn.errors import OutputError, require_extra

    if out is None and sys.stdout is None:
        raise OutputError("standard output is closed; name a file with -o")
    if out is None and form == "parquet":
        raise click.UsageError("--format parquet is not text; name a file with -o")
    if form == "parquet":
        require_extra("parquet", "pyarrow")


def _time_zone(name: str | None, as_events: bool, form: str) -> "tzinfo | None":
    """Return the time zone of this name; raise an error if there is none, or the output has no time of day."""
    from audiocnn.audio.start_time import find_timezone
    from audiocnn.formats.writer import TIMED_FORMATS

    if name is None:
        return None
    if not as_events or form not in TIMED_FORMATS:
        raise click.UsageError(
            "--timezone is for the time of day of events in CSV, JSON and Parquet; pass --events -o events.csv"
        )
    return find_timezone(name)


def _format_of(out: Path | None) -> str:
    if out is None:
        return "table"
    for suffix, form in _SUFFIXES.items():
        if out.name.lower().endswith(suffix):
            return form
    raise click.UsageError(
        f"{out}: no format has the suffix '{out.suffix}'; use {', '.join(_SUFFIXES)}, or pass --format table, csv, "
        "json, audacity, raven or parquet"
    )


def _event_spec(
    as_events: bool, file: Path | None, thresholds: tuple[str, ...], **timing: float | None
) -> "EventSpec | None":
    """Return how windows become events, None if rows are not events; options replace thresholds in ``file``."""
    from audiocnn.specs import EventSpec

    if not as_events:
        if thresholds or any(value is not None for value in timing.values()):
            raise click.UsageError("--threshold, --smooth, --min-duration and --max-gap are for events; add --events")
        return None

    chosen: dict[str, Any] = {name: value for name, value in timing.items() if value is not None}
    by_label: dict[str, float] = {}
    if file is not None:
        from audiocnn.model import thresholds_file

        by_label |= thresholds_file.read(file).values
    for text in thresholds:
        label, _, number = text.rpartition("=")
        try:
            value = float(number)
        except ValueError:
            value = 0.0
        if not 0 < value <= 1:
            raise click.UsageError(f"--threshold {text}: give a score above 0 and up to 1, such as 0.7 or LABEL=0.7")
        if label:
            by_label[label] = value
        else:
            chosen["threshold"] = value
    return EventSpec(**chosen, thresholds=by_label)
