"""The command that classifies recordings: predict."""

import sys
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
    "--smooth",
    type=options.Seconds,
    metavar="SECONDS",
    help="Average scores over this time before.  [default: from tune-events, or 0.3]",
)
@click.option(
    "--min-duration",
    type=options.Seconds,
    metavar="SECONDS",
    help="Drop shorter events.  [default: from tune-events, or 0]",
)
@click.option("--max-gap", type=options.Seconds, metavar="SECONDS", help="Bridge gaps up to this long.  [default: 0.2]")
@click.option("-o", "--out", type=options.File, help="File to write instead of standard output.")
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
    thresholds: tuple[str, ...],
    smooth: float | None,
    min_duration: float | None,
    max_gap: float | None,
    out: Path | None,
    journal: Path | None,
    jobs: int | None,
    scheduler: str | None,
    mic: bool,
    device: str | None,
    seconds: float | None,
    keep: Path | None,
) -> None:
    """Classify audio files, folders of them, or a microphone.

    The model is that of the project (audiocnn.yaml), else the instrument model that ships with audiocnn. Each recording
    gives one row with its status: ok, silent, unreadable or unknown. With --windows each window gives a row. With
    --events, and for Audacity and Raven, rows are events: label, start and end.

    Recordings may be of any length and number. With -o, scores are kept in OUT.journal until the end: after an
    interruption, run the same command again and it resumes. With --journal DIR they stay there, so that another format
    or threshold takes no time, and more recordings can be added.

    --mic reads a microphone (needs the [mic] extra), shows the current label, and stops with Ctrl-C or after --seconds.
    Then it prints the row of the recording 'microphone', in any format.

    \b
    Example:
      audiocnn predict song.wav
      audiocnn predict archive/ --events -o events.csv
    """
    from audiocnn.errors import OutputError
    from audiocnn.stages import predict as stage

    of_files = {"--jobs": jobs, "--scheduler": scheduler, "--journal": journal}
    of_mic = {"--device": device, "--seconds": seconds, "--keep": keep}
    _refuse_mixed(audio, mic, of_files, of_mic)
    form = form or _format_of(out)
    if windows and (events or form in ("audacity", "raven")):
        raise click.UsageError("--windows and events are different rows; choose one of them")
    if out is None and sys.stdout is None:
        raise OutputError("standard output is closed; name a file with -o")
    if form == "parquet" and out is None:
        raise click.UsageError("--format parquet is not text; name a file with -o")
    timing = {"smooth_s": smooth, "min_duration_s": min_duration, "max_gap_s": max_gap}
    spec = None
    if events or form in ("audacity", "raven"):
        spec = _event_spec(thresholds, {name: value for name, value in timing.items() if value is not None})
    elif thresholds or any(value is not None for value in timing.values()):
        raise click.UsageError("--threshold, --smooth, --min-duration and --max-gap are for events; add --events")
    terminal = options.terminal()
    common: dict[str, Any] = {
        "model": model or options.own_model(config, terminal),
        "labels": tuple(spec.thresholds) if spec is not None else (),
        "progress": terminal,
        "out": out,
    }
    if mic:
        number_or_name = int(device) if device and device.isdecimal() else device
        predicted = stage.live(**common, device=number_or_name, limit_s=seconds, keep=keep)
    else:
        n_workers = options.workers(jobs, scheduler)
        predicted = stage.run(audio, **common, jobs=n_workers, kept_in=journal, scheduler=scheduler)
    with predicted as result:
        rows: Any = "events" if spec is not None else "windows" if windows else "recordings"
        terminal.predicted(result, form=form, rows=rows, spec=spec, out=out)
    statuses = set(result.totals.statuses)
    options.exit_later(0 if statuses == {"ok"} else 3 if "ok" in statuses else 4)


def _refuse_mixed(audio: tuple[str, ...], mic: bool, of_files: dict[str, Any], of_mic: dict[str, Any]) -> None:
    """Raise a `click.UsageError` for options of files with a microphone, or of a microphone with files."""
    if mic:
        strange = ["AUDIO"] if audio else [name for name, value in of_files.items() if value is not None]
        if strange:
            raise click.UsageError(f"--mic is for a microphone and {strange[0]} for files; choose one of them")
        keep = of_mic["--keep"]
        if keep is not None and keep.suffix.lower() != ".wav":
            raise click.UsageError(f"--keep {keep}: the recording is a WAV file; name a file that ends in .wav")
        return
    if not audio:
        raise click.UsageError("Missing argument 'AUDIO...': name audio files or folders, or pass --mic")
    if strange := [name for name, value in of_mic.items() if value is not None]:
        raise click.UsageError(f"{strange[0]} is for a microphone; add --mic")


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
