"""The command that checks predictions by ear: review."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from audiocnn.cli import options

if TYPE_CHECKING:
    from audiocnn.model.loaded_model import LoadedModel
    from audiocnn.review.draw import Draw
    from audiocnn.terminal import Terminal


@click.command("review")
@click.argument("audio", nargs=-1, metavar="[AUDIO]...")
@options.config
@options.model
@click.option("--clips", "n_clips", type=click.IntRange(min=1), help="Number of clips to draw.  [default: 200]")
@click.option("--label", "labels", multiple=True, help="Review this label only.  [may be given several times]")
@click.option(
    "--group-by",
    metavar="REGEX",
    help="Part of the path that names the site of a recording.  [default: its folder, if there are several]",
)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="Seed of the draw.  [default: 0]")
@click.option("-o", "--out", type=options.Folder, help="Folder of the review.  [default: runs/<name>/review/]")
@click.option(
    "--precision",
    "wanted_precision",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.9,
    show_default=True,
    help="Precision that a threshold must have.",
)
@click.option("--clips-to", type=options.Folder, metavar="DIR", help="Write the clips, and a table to fill in.")
@click.option("--answers", type=options.File, metavar="CSV", help="Take answers from a table: clip,answer,true_label.")
@click.option("--port", type=click.IntRange(1, 65_535), help="Port of the page.  [default: any free one]")
@click.option("--no-browser", is_flag=True, help="Print the address of the page, and open no browser.")
@click.option("--show-predictions", is_flag=True, help="Show label and score on the page, and ask: right or wrong?")
@click.option("--reviewer", default="", help="Name to keep with the answers.")
@click.option("--apply", "store", is_flag=True, help="Store the thresholds in the model, as tune-events does.")
@click.option("--forget", is_flag=True, help="Remove stored thresholds from the model, and do nothing else.")
@options.jobs
def review(
    audio: tuple[str, ...],
    config: Path | None,
    model: Path | None,
    out: Path | None,
    wanted_precision: float,
    clips_to: Path | None,
    answers: Path | None,
    port: int | None,
    no_browser: bool,
    show_predictions: bool,
    reviewer: str,
    store: bool,
    forget: bool,
    jobs: int | None,
    **drawing: Any,
) -> None:
    """Check predictions by ear, and estimate thresholds.

    Predicts the recordings AUDIO, or all in folders AUDIO, draws short clips of all scores with known chances, and
    opens a page on this machine that plays them (needs the [review] extra). You answer which label each clip has,
    without seeing the prediction, and stop when you like: run the command again to resume. From the answers follow, for
    each label, the precision over the threshold, the threshold with the --precision that you want, and how many units
    (stretches of 3 s) contain the label, with 95 % intervals. Below 30 answered clips of a label there is no estimate.

    Without a browser, --clips-to DIR writes the clips as WAV files with a table. Fill in its columns answer (right,
    wrong, several or unsure) and true_label (a label, a|b, or - for none of them), and pass it with --answers. Every
    answer is kept in review.csv. Writes review.html and review.json.

    \b
    Example:
      audiocnn review field/
      audiocnn review field/ --clips-to clips/
      audiocnn review --answers clips/review.csv
      audiocnn review --apply
    """
    from audiocnn.dataset.reserved import FOLDER
    from audiocnn.errors import require_extra
    from audiocnn.files import lock
    from audiocnn.model.open_model import open_model
    from audiocnn.stages import review as stage
    from audiocnn.stages import tune_events

    terminal = options.terminal()
    project = options.project_if_any(config)
    if forget:
        if audio:
            raise click.UsageError("--forget removes stored thresholds; leave out AUDIO")
        terminal.forgot_events(*tune_events.forget(project, model))
        return
    folder = out or (project.run / FOLDER if project is not None else Path(FOLDER))
    begun = stage.has_draw(folder)
    if begun and any(value not in (None, ()) for value in drawing.values()):
        raise click.UsageError(
            f"{folder}: has a draw already; leave out --clips, --label, --group-by and --seed to resume it, or pass -o "
            "DIR for a new review"
        )
    if not begun and not audio:
        raise click.UsageError("Missing argument 'AUDIO...': name audio files or folders to review")
    if serving := not (clips_to or answers or store):
        require_extra("review", "uvicorn")
    chosen = model or options.own_model(config, terminal)
    n_workers = options.workers(jobs)
    with lock(folder):
        loaded = open_model(chosen)
        if begun:
            drawn = stage.read_draw(folder, loaded, stage.find_files(audio))
        else:
            drawn = _draw(audio, folder, loaded, config, n_workers, terminal, **drawing)
        left_out = stage.cut_clips(folder, drawn, loaded, jobs=n_workers, progress=terminal)
        for line in left_out:
            terminal.warn(line)
        if clips_to is not None:
            terminal.info(f"Clips: {stage.write_clips(folder, drawn, loaded, clips_to):,} in {clips_to}")
        if answers is not None:
            terminal.info(f"Answers: {stage.take_answers(folder, drawn, answers, reviewer):,} new")
        if serving:
            stage.serve(
                folder,
                drawn,
                loaded,
                port=port,
                blind=not show_predictions,
                reviewer=reviewer,
                ready=lambda address: terminal.review_page(address, browser=not no_browser),
            )
        found = stage.write_result(folder, drawn, wanted_precision=wanted_precision)
        terminal.reviewed(found, folder)
        if store:
            terminal.stored_thresholds(stage.apply(found, loaded), chosen)
    options.exit_later(3 if left_out else 0)


def _draw(
    audio: tuple[str, ...],
    folder: Path,
    model: "LoadedModel",
    config: Path | None,
    jobs: int,
    terminal: "Terminal",
    **drawing: Any,
) -> "Draw":
    """Predict the recordings, with the scores kept in a journal, and draw the clips."""
    from audiocnn.audio import start_time
    from audiocnn.stages import predict
    from audiocnn.stages import review as stage

    project, zone = options.project_if_any(config), options.own_timezone(config)
    draw_options = stage.DrawOptions(**{name: value for name, value in drawing.items() if value is not None})
    strata = stage.plan(model, draw_options)
    with predict.run(audio, model=model.folder, jobs=jobs, progress=terminal, kept_in=folder / "journal") as predicted:
        return stage.draw(
            folder,
            predicted.model,
            predicted.files,
            predicted.predictions,
            strata,
            start_of=lambda file: start_time.find(file, zone),
            own=frozenset() if project is None else stage.own_digests(project, predicted.files),
            options=draw_options,
            progress=terminal,
        )
