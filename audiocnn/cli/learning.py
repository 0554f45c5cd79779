"""Commands that train and evaluate networks: train, evaluate, crossval, sweep, run, demo."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from audiocnn.cli import options
from audiocnn.cli.recordings import use_features

if TYPE_CHECKING:
    from audiocnn.config import Project
    from audiocnn.terminal import Terminal


@click.command()
@options.config
@click.option(
    "--resume/--fresh",
    default=True,
    help="Resume an interrupted training and keep a finished model of the same settings, or start from epoch 0.",
)
@options.epochs
@options.seed
@click.option("--max-bad-fraction", type=click.FloatRange(0, 1), help="Replaces train.max_bad_fraction.")
@options.allow_leaks
@options.new_split
@click.option(
    "--init-from",
    type=options.ModelFolder(),
    help="Model, as for --model: start from its convolutions, with a new head.",
)
@click.option("--tensorboard", is_flag=True, help="Write curves for TensorBoard to runs/<name>/logs/.")
@click.option("--profile", is_flag=True, help="Also write a profile of some steps of the first epoch there.")
def train(
    config: Path | None,
    resume: bool,
    epochs: int | None,
    seed: int | None,
    max_bad_fraction: float | None,
    allow_leaks: bool,
    new_split: bool,
    init_from: Path | None,
    tensorboard: bool,
    profile: bool,
) -> None:
    """Train the network on the features. Needs the [train] extra.

    The first training divides the groups into training, validation and test part and keeps the division in split.json.
    Later ones keep it too: recordings that are gone are left out, new ones join the part of their group. New groups and
    changed settings of the split are refused unless --new-split divides all recordings anew.
    With train.monitor, training stops when validation no longer improves for train.patience epochs, and the best epoch
    is kept. An interrupted or killed training resumes after the last complete epoch when you run it again, and ends, on
    a CPU, with exactly the same model.

    --init-from starts from the convolutions of a model with the same features; use it when you have few recordings.
    They are frozen for the first train.freeze_epochs epochs, while the new head is trained.

    All GPUs of the machine are used. To train on several machines, run the same command on each, in the same folder,
    with TensorFlow's TF_CONFIG in the environment.

    \b
    Example:
      audiocnn train
      audiocnn train --epochs 30 --fresh
    """
    changes = {"epochs": epochs, "seed": seed, "max_bad_fraction": max_bad_fraction}
    project, terminal = options.project(config), options.terminal()
    _train(
        project,
        terminal,
        fresh=not resume,
        changes=changes,
        init_from=init_from,
        tensorboard=tensorboard,
        profile=profile,
        allow_leaks=allow_leaks,
        new_split=new_split,
    )
    terminal.next(options.command("evaluate", project.file))


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
    new_split: bool = False,
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
        new_split=new_split,
    )
    if isinstance(result, stage.TrainResult):
        terminal.trained(result)
    else:
        terminal.trained_members(result)


@click.command()
@options.config
@options.model
@click.option(
    "--part",
    type=click.Choice(["train", "validation", "test"]),
    default="test",
    show_default=True,
    help="Part of the split.",
)
@click.option(
    "--thresholds",
    type=options.File,
    metavar="FILE",
    help="Use the thresholds that a report saved (thresholds.json) instead of the model's.",
)
@click.option("--manifest", type=options.File, help="Evaluate the recordings of this CSV instead of the project's.")
@click.option(
    "--against",
    type=options.ModelOrTable(),
    help="Model, as for --model, or predictions.csv to compare with, on the same recordings.",
)
@click.option(
    "--study",
    "studies",
    type=click.Choice(["leak-gap", "learning-curve", "unknown"]),
    multiple=True,
    help="Train further networks for this study.  [may be given several times]",
)
@click.option(
    "--allow-missing",
    is_flag=True,
    help="Replace a report even if the new one cannot play recordings whose files are missing.",
)
@click.option("-o", "--out", type=options.Folder, help="Folder to write.  [default: runs/<name>/]")
@options.jobs
def evaluate(
    config: Path | None,
    model: Path | None,
    part: str,
    thresholds: Path | None,
    manifest: Path | None,
    against: Path | None,
    studies: tuple[Any, ...],
    allow_missing: bool,
    out: Path | None,
    jobs: int | None,
) -> None:
    """Measure the model on recordings it was not trained on. Needs the [train] extra.

    Writes metrics.json, predictions.csv and report.html. With --model, --part, --manifest or -o it writes to a folder
    of its own and never replaces these.

    \b
    --study leak-gap        how much too high the accuracy of a random split of windows is (trains 1 network)
    --study learning-curve  how much more recordings, or more windows, would help (4 networks)
    --study unknown         how well sounds of other labels are recognized as unknown (up to 5 networks)

    Results of studies are kept, and every later evaluation of the same model shows them.

    \b
    Example:
      audiocnn evaluate
      audiocnn evaluate --manifest new-site.csv -o new-site/
    """
    _evaluate(
        options.project(config),
        options.terminal(),
        model=model,
        part=part,
        other=manifest,
        thresholds=thresholds,
        against=against,
        studies=studies,
        allow_missing=allow_missing,
        output=out,
        jobs=jobs,
    )


def _evaluate(project: "Project", terminal: "Terminal", *, jobs: int | None, **choices: Any) -> None:
    from audiocnn.stages import evaluate as stage

    result = stage.run(project, **choices, jobs=options.workers(jobs), progress=terminal)
    terminal.evaluated(result)
    terminal.next(options.command("predict", project.file, "FILE", model=choices["model"]))
    options.exit_later(0 if all(p.has_scores for p in result.predictions) else 3)


@click.command()
@options.config
@click.option(
    "--folds",
    type=click.IntRange(min=2),
    help="Number of folds.  [default: as in the manifest, or 5, or fewer with fewer groups]",
)
@options.epochs
@options.seed
@click.option("--resume/--fresh", default=True, help="Keep finished folds, or train all again.")
@options.allow_leaks
@click.option(
    "--leave-out",
    type=click.Choice(["collection"]),
    help="Folds are the collections of the manifest, instead of groups dealt to folds.",
)
@click.option(
    "--repeat",
    type=click.IntRange(min=1, max=100),
    default=1,
    show_default=True,
    help="Do all this many times, with other folds and seeds, and show how much the figures change.",
)
def crossval(
    config: Path | None,
    folds: int | None,
    epochs: int | None,
    seed: int | None,
    resume: bool,
    allow_leaks: bool,
    leave_out: Any,
    repeat: int,
) -> None:
    """Score each recording by a network trained without it. Needs the [train] extra.

    Divides the groups into folds, or uses the manifest's fold column. For each fold a network is trained on the others
    and scores the fold. Metrics over all recordings vary less than those of one test part: use them to choose settings.
    Writes crossval.json, crossval.html and crossval/predictions.csv. Resumes after an interruption when run again.

    With --leave-out collection each network is trained on all collections but one and scores that one: how well a model
    does on recordings of another source. Writes crossval-collection.json and crossval-collection/predictions.csv.

    With --repeat 3 the recordings are divided and trained on three times. The spread of the three figures is what one
    figure hides: the luck of the division and of the initial weights.

    \b
    Example:
      audiocnn crossval --folds 5
      audiocnn crossval --leave-out collection
    """
    from audiocnn.stages import crossval as stage

    project, terminal = options.project(config), options.terminal()
    if folds and leave_out:
        raise click.UsageError("--folds is a number of folds, and --leave-out makes one of each collection; pass one")
    changes = {name: value for name, value in {"epochs": epochs, "seed": seed}.items() if value is not None}
    result = stage.run(
        project,
        n_folds=folds,
        changes=changes,
        fresh=not resume,
        progress=terminal,
        allow_leaks=allow_leaks,
        leave_out=leave_out,
        repeat=repeat,
    )
    terminal.crossvalidated(result)
    if (project.run / "model").is_dir():
        terminal.next(options.command("audit", project.file), "which now also looks for wrong labels")
    else:
        terminal.next(options.command("train", project.file))
    options.exit_later(0 if all(p.has_scores for p in result.predictions) else 3)


@click.command()
@click.argument("name", metavar="SWEEP.yaml|NAME")
@options.config
@click.option("--folds", type=click.IntRange(min=2), help="Replaces the folds of the sweep file.  [default there: 5]")
@click.option("--epochs", type=click.IntRange(min=1), help="Replaces train.epochs, for all variants.")
@click.option("--resume/--fresh", default=True, help="Keep finished trainings, or train all again.")
@options.allow_leaks
@options.jobs
def sweep(
    name: str,
    config: Path | None,
    folds: int | None,
    epochs: int | None,
    resume: bool,
    allow_leaks: bool,
    jobs: int | None,
) -> None:
    """Compare networks or features on your recordings. Needs the [train] extra.

    A sweep file lists variants of the settings. NAME is a sweep that ships with audiocnn: depth, input-size,
    feature-maps, dense-width, dropout, pooling-and-normalisation, compact, tutorial.

    All variants are trained on the same folds and seeds and ranked by their accuracy on the held-out recordings. The
    test part is not used. Writes results.csv and index.html into runs/<name>/sweeps/<sweep>/. Resumes after an
    interruption when you run it again. A variant that cannot be built is skipped, with exit code 3.

    \b
    Example:
      audiocnn sweep depth --folds 3
    """
    from audiocnn.stages import sweep as stage

    project, terminal = options.project(config), options.terminal()
    result = stage.run(
        project,
        name=name,
        n_folds=folds,
        epochs=epochs,
        fresh=not resume,
        jobs=options.workers(jobs),
        progress=terminal,
        allow_leaks=allow_leaks,
    )
    terminal.swept(result)
    terminal.next(f"copy the settings of a variant into {project.file}, then {options.command('run', project.file)}")
    options.exit_later(3 if result.ranking.skipped else 0)


@click.command()
@options.config
@options.epochs
@options.seed
@options.allow_leaks
@options.new_split
@options.jobs
def run(
    config: Path | None, epochs: int | None, seed: int | None, allow_leaks: bool, new_split: bool, jobs: int | None
) -> None:
    """Run featurize, train and evaluate in one go. Needs the [train] extra.

    Finished steps are kept: after an interruption, run it again.

    \b
    Example:
      audiocnn run
      audiocnn run --epochs 5
    """
    from audiocnn.errors import require_extra

    project, terminal = options.project(config), options.terminal()
    require_extra("train", "tensorflow")  # before the features are computed
    use_features(project, jobs, terminal)
    changes = {"epochs": epochs, "seed": seed}
    _train(project, terminal, fresh=False, changes=changes, allow_leaks=allow_leaks, new_split=new_split)
    _evaluate(project, terminal, model=None, part="test", other=None, output=None, jobs=jobs)


@click.command()
@click.option("--out", type=options.Folder, default=Path("audiocnn-demo"), show_default=True, help="Folder to write.")
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the synthesised corpus."
)
@options.jobs
def demo(out: Path, seed: int, jobs: int | None) -> None:
    """Try all steps on a small synthesised corpus. Needs the [train] extra.

    Nothing is downloaded. The corpus has ten instruments with five players each, evaluated once with every player in
    training and once with players that are only in the test part; and rotors recorded in places that are only in the
    test part. Takes two to four minutes on two cores.

    \b
    Example:
      audiocnn demo --out my-demo
    """
    from audiocnn import demo as stage

    terminal = options.terminal()
    results = stage.run(out, seed=seed, jobs=options.workers(jobs), progress=terminal, say=terminal.command)
    terminal.demonstrated(results, out)
