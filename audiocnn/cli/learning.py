"""Commands that teach networks and measure them: train, evaluate, crossval, sweep, run, demo."""

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
    help="Go on with an interrupted training, keep a finished model of the same settings; or train anew.",
)
@click.option("--epochs", type=click.IntRange(min=1), help="Instead of train.epochs.")
@click.option("--seed", type=click.IntRange(min=0, max=2**32 - 1), help="Instead of train.seed.")
@click.option("--max-bad-fraction", type=click.FloatRange(0, 1), help="Instead of train.max_bad_fraction.")
@options.allow_leaks
@click.option("--init-from", type=options.Folder, help="A model whose convolutions are kept and given a new head.")
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
        options.project(config),
        options.terminal(),
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


@click.command()
@options.config
@options.model
@click.option(
    "--part", type=click.Choice(["train", "validation", "test"]), default="test", show_default=True, help="What to use."
)
@click.option("--manifest", type=options.File, help="Evaluate the recordings of this CSV instead.")
@click.option("--against", type=click.Path(path_type=Path), help="Model folder or predictions.csv to compare with.")
@click.option(
    "--study",
    "studies",
    type=click.Choice(["leak-gap", "learning-curve", "unknown"]),
    multiple=True,
    help="What only further networks can tell.  [may be given several times]",
)
@click.option("-o", "--out", type=options.Folder, help="Where to write.  [default: runs/<name>/]")
@options.jobs
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
    """Measure the model on recordings that it has not seen (needs the [train] extra).

    Writes metrics.json, predictions.csv and report.html.

    \b
    --study leak-gap        how much a random split of windows would have flattered (trains 1 network)
    --study learning-curve  what more recordings, or more windows, would bring (4 networks)
    --study unknown         whether sounds of labels never heard are noticed (up to 5 networks)

    What studies found is kept, and shown by every later evaluation of the same model.
    """
    _evaluate(
        options.project(config),
        options.terminal(),
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

    result = stage.run(project, **choices, jobs=options.workers(jobs), progress=terminal)
    terminal.evaluated(result)
    options.exit_later(0 if all(p.heard for p in result.predictions) else 3)


@click.command()
@options.config
@click.option(
    "--folds", type=click.IntRange(min=2), help="How many.  [default: the manifest's, or 5 if groups suffice]"
)
@click.option("--epochs", type=click.IntRange(min=1), help="Instead of train.epochs.")
@click.option("--seed", type=click.IntRange(min=0, max=2**32 - 1), help="Instead of train.seed.")
@click.option("--resume/--fresh", default=True, help="Keep the folds that are finished; or train all anew.")
@options.allow_leaks
def crossval(
    config: Path | None, folds: int | None, epochs: int | None, seed: int | None, resume: bool, allow_leaks: bool
) -> None:
    """Judge every recording by a network that has not heard it (needs the [train] extra).

    Groups are dealt to folds, or the manifest's fold column is used; each fold in turn is held out while a network
    learns from the others. The figures over all recordings are less a matter of luck than those of one test part:
    choose settings by them. Writes crossval.json and crossval/predictions.csv. May be interrupted, and goes on.
    """
    from audiocnn.stages import crossval as stage

    terminal = options.terminal()
    changes = {name: value for name, value in {"epochs": epochs, "seed": seed}.items() if value is not None}
    result = stage.run(
        options.project(config),
        n_folds=folds,
        changes=changes,
        fresh=not resume,
        progress=terminal,
        allow_leaks=allow_leaks,
    )
    terminal.crossvalidated(result)
    options.exit_later(0 if all(p.heard for p in result.predictions) else 3)


@click.command()
@click.argument("name", metavar="SWEEP.yaml|NAME")
@options.config
@click.option("--folds", type=click.IntRange(min=2), help="Instead of the sweep's folds.  [default there: 5]")
@click.option("--epochs", type=click.IntRange(min=1), help="Instead of train.epochs, for all variants.")
@click.option("--resume/--fresh", default=True, help="Keep what is finished; or train all anew.")
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
    """Compare networks or inputs on your recordings (needs the [train] extra).

    A sweep file names variants of the settings; NAME is one that comes with audiocnn: depth, input-size, feature-maps,
    dense-width, dropout, pooling-and-normalisation, compact, tutorial. Each variant is trained on the same folds and
    seeds and ranked by the recordings held out from it; the test part takes no part. Writes results.csv and index.html
    into runs/<name>/sweeps/<sweep>/. May be interrupted, and goes on. A variant that cannot be built is skipped, with
    exit code 3.
    """
    from audiocnn.stages import sweep as stage

    terminal = options.terminal()
    result = stage.run(
        options.project(config),
        name=name,
        n_folds=folds,
        epochs=epochs,
        fresh=not resume,
        jobs=options.workers(jobs),
        progress=terminal,
        allow_leaks=allow_leaks,
    )
    terminal.swept(result)
    options.exit_later(3 if result.ranking.skipped else 0)


@click.command()
@options.config
@options.jobs
def run(config: Path | None, jobs: int | None) -> None:
    """featurize, train and evaluate in one go."""
    project, terminal = options.project(config), options.terminal()
    use_features(project, jobs, terminal)
    _train(project, terminal, fresh=False, changes={})
    _evaluate(project, terminal, model=None, part="test", other=None, output=None, jobs=jobs)


@click.command()
@click.option("--out", type=options.Folder, default=Path("audiocnn-demo"), show_default=True, help="Where to work.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the synthesised corpus.")
@options.jobs
def demo(out: Path, seed: int, jobs: int | None) -> None:
    """The whole path on a small corpus synthesised on the spot, without any download (needs the [train] extra).

    Ten instruments by five players each, once with every player in training and once with players that the model has
    never heard; and rotors in places it has never heard. Takes two to four minutes on two cores.
    """
    from audiocnn import demo as stage

    terminal = options.terminal()
    results = stage.run(out, seed=seed, jobs=options.workers(jobs), progress=terminal, say=terminal.command)
    terminal.demonstrated(results, out)
