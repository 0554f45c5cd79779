"""The command line: parse, call one stage, print, exit code. With `audiocnn.terminal` the only module that prints.

Nothing but click is imported until a command runs, so that ``--help`` is instant.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from audiocnn import __version__
from audiocnn.errors import AudiocnnError

if TYPE_CHECKING:
    from audiocnn.config import Project
    from audiocnn.specs import EventSpec
    from audiocnn.terminal import Terminal

# Before numpy is imported: two workers with four BLAS threads are slower than one with one.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

_Folder = click.Path(path_type=Path, file_okay=False)
_File = click.Path(path_type=Path, dir_okay=False)
_Seconds = click.FloatRange(min=0)
_config = click.option("-c", "--config", type=_File, default=None, help="Project file.  [default: audiocnn.yaml]")
_allow_leaks = click.option(
    "--allow-leaks", is_flag=True, help="Go on although copies of one recording are on both sides of the split."
)
_jobs = click.option("--jobs", type=click.IntRange(min=1), default=None, help="Worker processes.  [default: all cores]")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="audiocnn")
@click.option("-q", "--quiet", is_flag=True, help="Only results and errors.")
@click.option("-v", "--verbose", is_flag=True, help="Name every recording that was not simply used.")
@click.option("--debug", is_flag=True, help="Show a traceback with every error.")
@click.pass_context
def cli(context: click.Context, quiet: bool, verbose: bool, debug: bool) -> None:
    """From a folder of labelled recordings to a classifier you can trust.

    \b
    audiocnn init sounds/        one sub-folder per class, or a CSV: writes manifest.csv and audiocnn.yaml
    audiocnn run                 featurize, train and evaluate
    audiocnn predict song.wav    needs no TensorFlow

    Exit codes: 0 all recordings used; 2 something for you to mend; 3 finished, but some recordings were unreadable or
    silent; 4 nothing usable; 5 a file is damaged; 1 a bug of ours.
    """
    context.obj = {"quiet": quiet, "verbose": verbose, "debug": debug}


def _terminal() -> "Terminal":
    from audiocnn.terminal import Terminal

    options = click.get_current_context().find_root().obj
    return Terminal(quiet=options["quiet"], verbose=options["verbose"])


def _project(config: Path | None) -> "Project":
    from audiocnn.config import CONFIG_NAME, read

    return read(config or Path(CONFIG_NAME))


def _workers(jobs: int | None) -> int:
    from audiocnn.audio.isolate import default_jobs

    return jobs or default_jobs()


@cli.command()
@click.argument("source", type=click.Path(path_type=Path), metavar="DIR|MANIFEST.csv")
@click.option("--name", help="Name of the project; results go to runs/<name>/.  [default: the folder's name]")
@click.option("--preset", metavar="NAME|FILE", help="general, instrument or spectrogram.  [default: general]")
@click.option("--group-by", metavar="REGEX", help="What in a path names its group: performer, session, site.")
@click.option("--root", type=_Folder, help="Folder that a CSV's paths are relative to.  [default: that of the CSV]")
@click.option("--label-column", metavar="NAME", help="Column of Raven tables that holds the labels.  [default: found]")
@click.option("--background", metavar="LABEL", help="Label of what the stretches of a recording do not cover.")
@click.option("--out", type=_Folder, default=Path(), help="Where to write.  [default: the current folder]")
@click.option("--allow-outside", is_flag=True, help="Accept paths that lead out of the root.")
@click.option("--force", is_flag=True, help="Replace an existing manifest.csv and audiocnn.yaml.")
@_jobs
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

    terminal = _terminal()
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
        jobs=_workers(jobs),
        progress=terminal,
    )
    terminal.survey(result)


@cli.command()
@_config
@_jobs
@click.option("--scheduler", metavar="ADDRESS", help="Let the workers of this Dask scheduler do it: tcp://host:8786.")
@click.option("--examples", type=click.IntRange(1, 100), help="Show so many recordings and copies in examples.html.")
def featurize(config: Path | None, jobs: int | None, scheduler: str | None, examples: int | None) -> None:
    """Turn every recording of the manifest into features.

    What is there already is not computed again; interrupt it and run it again at will. Recordings that cannot be used
    are listed in quarantine.csv.
    """
    if jobs and scheduler:
        raise click.UsageError("--jobs is for this machine and --scheduler for a cluster; say one of them")
    _featurize(_project(config), jobs, _terminal(), scheduler=scheduler, examples=examples or 0)


def _featurize(
    project: "Project",
    jobs: int | None,
    terminal: "Terminal",
    *,
    scheduler: str | None = None,
    examples: int = 0,
) -> None:
    from audiocnn.stages import featurize as stage

    result = stage.run(project, jobs=_workers(jobs), progress=terminal, scheduler=scheduler, examples=examples)
    terminal.accounts(result)
    _exit_later(3 if result.n_bad else 0)


@cli.command()
@_config
@click.option(
    "--resume/--fresh",
    default=True,
    help="Go on with an interrupted training, keep a finished model of the same settings; or train anew.",
)
@click.option("--epochs", type=click.IntRange(min=1), help="Instead of train.epochs.")
@click.option("--seed", type=click.IntRange(min=0, max=2**32 - 1), help="Instead of train.seed.")
@click.option("--max-bad-fraction", type=click.FloatRange(0, 1), help="Instead of train.max_bad_fraction.")
@_allow_leaks
@click.option("--init-from", type=_Folder, help="A model whose convolutions are kept and given a new head.")
@click.option("--tensorboard", is_flag=True, help="Write curves for TensorBoard to runs/<name>/logs/.")
@click.option("--profile", is_flag=True, help="Write there what some steps of the first epoch spend their time on.")
def train(
    config: Path | None,
    resume: bool,
    epochs: int | None,
    seed: int | None,
    max_bad_fraction: float | None,
    allow_leaks: bool,
    init_from: Path | None,
    tensorboard: bool,
    profile: bool,
) -> None:
    """Train the network on the features (needs the [train] extra).

    Groups are dealt to training, validation and test once, and kept in split.json. Training stops when validation no
    longer improves (train.monitor, train.patience); the best epoch is kept. It may be interrupted or killed at any
    moment: said again, it goes on after the last whole epoch and ends, on a CPU, with the very same model.

    --init-from begins with the convolutions of another model, which must hear the same features: of use where
    recordings are few. They rest for the first train.freeze_epochs epochs, while the new head learns.

    All graphics cards of the machine are used. Several machines train one network together if the same command runs on
    each, in the same folder, with TensorFlow's TF_CONFIG in the environment.
    """
    changes = {"epochs": epochs, "seed": seed, "max_bad_fraction": max_bad_fraction}
    _train(
        _project(config),
        _terminal(),
        fresh=not resume,
        changes=changes,
        init_from=init_from,
        tensorboard=tensorboard,
        profile=profile,
        allow_leaks=allow_leaks,
    )


def _train(
    project: "Project",
    terminal: "Terminal",
    *,
    fresh: bool,
    changes: dict[str, Any],
    init_from: Path | None = None,
    tensorboard: bool = False,
    profile: bool = False,
    allow_leaks: bool = False,
) -> None:
    from audiocnn.stages import train as stage

    given = {name: value for name, value in changes.items() if value is not None}
    result = stage.run(
        project,
        changes=given,
        fresh=fresh,
        init_from=init_from,
        progress=terminal,
        tensorboard=tensorboard,
        profile=profile,
        allow_leaks=allow_leaks,
    )
    terminal.trained(result)


@cli.command()
@_config
@click.option("--model", type=_Folder, help="Another model than the project's own.")
@click.option(
    "--part", type=click.Choice(["train", "validation", "test"]), default="test", show_default=True, help="What to use."
)
@click.option("--manifest", type=_File, help="Evaluate the recordings of this CSV instead.")
@click.option("--against", type=click.Path(path_type=Path), help="Model folder or predictions.csv to compare with.")
@click.option(
    "--study",
    "studies",
    type=click.Choice(["leak-gap", "learning-curve", "unknown"]),
    multiple=True,
    help="What only further networks can tell (needs the [train] extra).  [may be given several times]",
)
@click.option("-o", "--out", type=_Folder, help="Where to write.  [default: runs/<name>/]")
@_jobs
def evaluate(
    config: Path | None,
    model: Path | None,
    part: str,
    manifest: Path | None,
    against: Path | None,
    studies: tuple[Any, ...],
    out: Path | None,
    jobs: int | None,
) -> None:
    """Measure the model on recordings that it has not seen: metrics.json, predictions.csv, report.html.

    \b
    --study leak-gap        how much a random split of windows would have flattered (trains 1 network)
    --study learning-curve  what more recordings, or more windows, would bring (4 networks)
    --study unknown         whether sounds of labels never heard are noticed (up to 5 networks)

    What studies found is kept, and shown by every later evaluation of the same model.
    """
    _evaluate(
        _project(config),
        _terminal(),
        model=model,
        part=part,
        other=manifest,
        against=against,
        studies=studies,
        output=out,
        jobs=jobs,
    )


def _evaluate(project: "Project", terminal: "Terminal", *, jobs: int | None, **choices: Any) -> None:
    from audiocnn.stages import evaluate as stage

    result = stage.run(project, **choices, jobs=_workers(jobs), progress=terminal)
    terminal.evaluated(result)
    _exit_later(0 if all(p.heard for p in result.predictions) else 3)


@cli.command()
@_config
@click.option(
    "--folds", type=click.IntRange(min=2), help="How many.  [default: the manifest's, or 5 if groups suffice]"
)
@click.option("--epochs", type=click.IntRange(min=1), help="Instead of train.epochs.")
@click.option("--seed", type=click.IntRange(min=0, max=2**32 - 1), help="Instead of train.seed.")
@click.option("--resume/--fresh", default=True, help="Keep the folds that are finished; or train all anew.")
@_allow_leaks
def crossval(
    config: Path | None, folds: int | None, epochs: int | None, seed: int | None, resume: bool, allow_leaks: bool
) -> None:
    """Judge every recording by a network that has not heard it (needs the [train] extra).

    Groups are dealt to folds, or the manifest's fold column is used; each fold in turn is held out while a network
    learns from the others. The figures over all recordings are less a matter of luck than those of one test part:
    choose settings by them. Writes crossval.json and crossval/predictions.csv. May be interrupted, and goes on.
    """
    from audiocnn.stages import crossval as stage

    terminal = _terminal()
    changes = {name: value for name, value in {"epochs": epochs, "seed": seed}.items() if value is not None}
    result = stage.run(
        _project(config),
        n_folds=folds,
        changes=changes,
        fresh=not resume,
        progress=terminal,
        allow_leaks=allow_leaks,
    )
    terminal.crossvalidated(result)
    _exit_later(0 if all(p.heard for p in result.predictions) else 3)


@cli.command()
@_config
@click.option("--merge-groups", is_flag=True, help="Let copies of a recording share a group, in the manifest.")
@_jobs
def audit(config: Path | None, merge_groups: bool, jobs: int | None) -> None:
    """Look for what would spoil a training: pass, warn or fail, with reasons.

    Finds copies of recordings (also at another level, rate or format, or cut short), copies with different labels or on
    different sides of a split, groups that the file names suggest, classes of which there is too little, files that are
    silent or cannot be read, shortcuts (cues such as length or bandwidth from which alone the label can be told) and,
    after crossval, labels that are likely wrong (needs the [labels] extra). Writes audit.json.

    Exit code 0 for pass and warn, 2 for fail: something for you to mend before training.
    """
    from audiocnn.stages import audit as stage

    terminal = _terminal()
    result = stage.run(_project(config), jobs=_workers(jobs), progress=terminal, merge_groups=merge_groups)
    terminal.audited(result)
    _exit_later(2 if result.verdict == "fail" else 0)


@cli.command()
@click.argument("name", metavar="SWEEP.yaml|NAME")
@_config
@click.option("--folds", type=click.IntRange(min=2), help="Instead of the sweep's folds.  [default there: 5]")
@click.option("--epochs", type=click.IntRange(min=1), help="Instead of train.epochs, for all variants.")
@click.option("--resume/--fresh", default=True, help="Keep what is finished; or train all anew.")
@_jobs
def sweep(
    name: str, config: Path | None, folds: int | None, epochs: int | None, resume: bool, jobs: int | None
) -> None:
    """Compare networks or inputs on your recordings (needs the [train] extra).

    A sweep file names variants of the settings; NAME is one that comes with audiocnn: depth, input-size, feature-maps,
    dense-width, dropout, pooling-and-normalisation, compact, tutorial. Each variant is trained on the same folds and
    seeds and ranked by the recordings held out from it; the test part takes no part. Writes results.csv and index.html
    into runs/<name>/sweeps/<sweep>/. May be interrupted, and goes on. A variant that cannot be built is skipped, with
    exit code 3.
    """
    from audiocnn.stages import sweep as stage

    terminal = _terminal()
    result = stage.run(
        _project(config),
        name=name,
        n_folds=folds,
        epochs=epochs,
        fresh=not resume,
        jobs=_workers(jobs),
        progress=terminal,
    )
    terminal.swept(result)
    _exit_later(3 if result.ranking.skipped else 0)


@cli.command()
@_config
@_jobs
def run(config: Path | None, jobs: int | None) -> None:
    """featurize, train and evaluate in one go."""
    project, terminal = _project(config), _terminal()
    _featurize(project, jobs, terminal)
    _train(project, terminal, fresh=False, changes={})
    _evaluate(project, terminal, model=None, part="test", other=None, output=None, jobs=jobs)


@cli.command()
@click.argument("audio", nargs=-1, required=True, metavar="AUDIO...")
@_config
@click.option("--model", type=_Folder, help="Another model than the project's own.")
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
@click.option("--smooth", type=_Seconds, metavar="SECONDS", help="Average scores over so long before.  [default: 0.3]")
@click.option("--min-duration", type=_Seconds, metavar="SECONDS", help="Drop shorter events.  [default: 0]")
@click.option("--max-gap", type=_Seconds, metavar="SECONDS", help="Bridge gaps up to this long.  [default: 0.2]")
@click.option("-o", "--out", type=_File, help="File to write instead of standard output.")
@click.option("--journal", type=_Folder, metavar="DIR", help="Keep there what was found out, for further runs.")
@_jobs
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
    terminal = _terminal()
    predicted = stage.run(
        audio,
        model=model or _own_model(config, terminal),
        labels=tuple(spec.thresholds) if spec is not None else (),
        jobs=_workers(jobs),
        progress=terminal,
        out=out,
        kept_in=journal,
    )
    with predicted as result:
        rows: Any = "events" if spec is not None else "windows" if windows else "recordings"
        terminal.predicted(result, form=form, rows=rows, spec=spec, out=out)
    statuses = set(result.totals.statuses)
    _exit_later(0 if statuses == {"ok"} else 3 if "ok" in statuses else 4)


_SUFFIXES = {
    ".raven.txt": "raven",
    ".selections.txt": "raven",
    ".audacity.txt": "audacity",
    ".labels.txt": "audacity",
    ".csv": "csv",
    ".json": "json",
    ".parquet": "parquet",
}


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


def _own_model(config: Path | None, terminal: "Terminal") -> Path:
    from audiocnn.config import CONFIG_NAME
    from audiocnn.errors import NotReadyError
    from audiocnn.stages.predict import SHIPPED

    if config is None and not Path(CONFIG_NAME).is_file():
        terminal.say("no audiocnn.yaml here: using the instrument model that comes with audiocnn")
        return SHIPPED
    folder = _project(config).run / "model"
    if not folder.is_dir():
        raise NotReadyError(f"{folder}: no model yet; run 'audiocnn train' first, or say --model DIR")
    return folder


@cli.command()
@_config
@click.option("--model", type=_Folder, help="Another model than the project's own.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["tflite", "onnx", "saved_model", "keras"]),
    required=True,
    help="What to write.",
)
@click.option(
    "--quantize",
    type=click.Choice(["none", "float16", "int8"]),
    default="none",
    show_default=True,
    help="Fewer bits, for tflite: half or a quarter of the size; what it costs is measured.",
)
@click.option("--with-frontend", is_flag=True, help="For tflite: take samples instead of features, and give scores.")
@click.option(
    "--windows", type=click.IntRange(min=1), help="With --with-frontend: how many windows it hears.  [default: 1]"
)
@click.option("-o", "--out", type=click.Path(path_type=Path), help="What to write.  [default: the model's name, here]")
def export(
    config: Path | None,
    model: Path | None,
    form: Any,
    quantize: Any,
    with_frontend: bool,
    windows: int | None,
    out: Path | None,
) -> None:
    """Write a model as a file for other programs, and beside it a JSON that says how to use it.

    The file takes features and gives logits and an embedding; --with-frontend makes one that takes samples. tflite and
    onnx need no TensorFlow (onnx needs the [onnx] extra); all else needs the [train] extra. int8 is fitted to, and its
    loss measured on, the features of the project, so run it beside audiocnn.yaml.
    """
    from audiocnn.config import CONFIG_NAME
    from audiocnn.stages import export as stage

    if windows is not None and not with_frontend:
        raise click.UsageError("--windows is for --with-frontend")
    terminal = _terminal()
    project = _project(config) if config is not None or Path(CONFIG_NAME).is_file() else None
    result = stage.run(
        model or _own_model(config, terminal),
        form=form,
        quantize=quantize,
        waveform_windows=(windows or 1) if with_frontend else None,
        out=out,
        project=project,
        progress=terminal,
    )
    terminal.exported(result)


@cli.command()
@click.argument("path", type=click.Path(path_type=Path, exists=True), required=False)
@_config
def verify(path: Path | None, config: Path | None) -> None:
    """Recheck every hash of a store or model.  [default: everything the project has made]"""
    from audiocnn.stages import verify as stage

    terminal = _terminal()
    result = stage.run(path or _project(config).run, progress=terminal)
    terminal.verified(result)
    _exit_later(5 if result.damaged else 0)


@cli.command()
@click.option("--out", type=_Folder, default=Path("audiocnn-demo"), show_default=True, help="Where to work.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the synthesised corpus.")
@_jobs
def demo(out: Path, seed: int, jobs: int | None) -> None:
    """The whole path on a small corpus synthesised on the spot, without any download (needs the [train] extra).

    Ten instruments by five players each, once with every player in training and once with players that the model has
    never heard; and rotors in places it has never heard. Takes two to four minutes on two cores.
    """
    from audiocnn import demo as stage

    terminal = _terminal()
    results = stage.run(out, seed=seed, jobs=_workers(jobs), progress=terminal, say=terminal.command)
    terminal.demonstrated(results, out)


def _exit_later(code: int) -> None:
    """Remember the exit code of a command that has finished; the highest counts."""
    context = click.get_current_context().find_root()
    context.obj["exit_code"] = max(code, context.obj.get("exit_code", 0))


def main() -> None:
    """Run the command line and exit with the code that `audiocnn.errors` gives."""
    signal.signal(signal.SIGTERM, _on_terminate)
    with _errors_as_lines(lambda: "--debug" in sys.argv):
        context = cli.make_context("audiocnn", sys.argv[1:])
        with context:
            cli.invoke(context)
            sys.stdout.flush()
            sys.exit(context.obj.get("exit_code", 0))


def _on_terminate(*_: object) -> None:
    sys.exit(143)


@contextlib.contextmanager
def _errors_as_lines(debug: Callable[[], bool]) -> Iterator[None]:
    try:
        yield
    except AudiocnnError as error:
        if debug():
            raise
        _say_error(str(error))
        sys.exit(error.exit_code)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        _say_error("interrupted; what was finished is kept")
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # so that the final flush has somewhere to go
        sys.exit(0)
    except Exception as error:
        if debug():
            raise
        _say_error(f"{type(error).__name__}: {error} (a bug in audiocnn; run again with --debug for the traceback)")
        sys.exit(1)


def _say_error(line: str) -> None:
    from audiocnn.text import printable

    click.echo(f"audiocnn: {printable(line)}", err=True)
