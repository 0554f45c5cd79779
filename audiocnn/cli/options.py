"""Options that commands share, and what they select: project, model, terminal, number of workers, exit code."""

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from audiocnn.text import printable

if TYPE_CHECKING:
    from datetime import tzinfo

    from audiocnn.config import Project
    from audiocnn.terminal import Terminal


class ModelFolder(click.Path):
    """A model folder, a run folder with a model, or the name of a model that ships; ``~`` is the home folder."""

    def __init__(self) -> None:
        super().__init__(file_okay=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        from audiocnn.model.locate import find_model

        return find_model(value)


class ModelOrTable(ModelFolder):
    """What a `ModelFolder` is, or a table of predictions, or a folder with one."""

    def __init__(self) -> None:
        click.Path.__init__(self)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path = Path(os.path.expanduser(value))
        if path.is_file() or (path / "predictions.csv").is_file():
            return path
        return super().convert(value, param, ctx)


def _remember(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    """Keep an option of `VERBOSITY`, given before or after the command."""
    kept = ctx.ensure_object(dict)
    kept[param.name] = value or kept.get(param.name, False)


VERBOSITY = tuple(
    click.Option(names, is_flag=True, expose_value=False, is_eager=True, callback=_remember, help=text)
    for names, text in (
        (["-q", "--quiet"], "Print only results, warnings and errors."),
        (["-v", "--verbose"], "Also list every recording that cannot be used."),
        (["--debug"], "Show a traceback when a command fails."),
    )
)


Folder = click.Path(path_type=Path, file_okay=False)
File = click.Path(path_type=Path, dir_okay=False)
Seconds = click.FloatRange(min=0)
config = click.option("-c", "--config", type=File, default=None, help="Project file.  [default: audiocnn.yaml]")
model = click.option(
    "--model",
    type=ModelFolder(),
    help="Model folder, run folder, or name of a model that ships.  [default: the project's model]",
)
epochs = click.option("--epochs", type=click.IntRange(min=1), help="Replaces train.epochs.")
seed = click.option("--seed", type=click.IntRange(min=0, max=2**32 - 1), help="Replaces train.seed.")
allow_leaks = click.option(
    "--allow-leaks", is_flag=True, help="Train even if copies of one recording are on both sides of the split."
)
new_split = click.option(
    "--new-split", is_flag=True, help="Divide all recordings anew instead of keeping the split in split.json."
)
jobs = click.option("--jobs", type=click.IntRange(min=1), default=None, help="Worker processes.  [default: all cores]")
scheduler = click.option(
    "--scheduler", metavar="ADDRESS", help="Use the workers of this Dask scheduler, such as tcp://host:8786."
)


def whole_seconds(text: str) -> int:
    """Return the seconds of a time such as 60, 60s or 2min."""
    match = re.fullmatch(r"(\d{1,6})\s*(s|min)?", text.strip(), re.ASCII)
    if match is None:
        raise click.BadParameter(f"'{printable(text)}' is not a time of whole seconds or minutes, such as 60s or 2min")
    return int(match[1]) * (60 if match[2] == "min" else 1)


def terminal() -> "Terminal":
    """Return the terminal, as quiet or verbose as the options say."""
    from audiocnn.terminal import Terminal

    chosen = click.get_current_context().find_root().obj
    return Terminal(quiet=chosen["quiet"], verbose=chosen["verbose"])


def project(config: Path | None) -> "Project":
    """Read the project file ``config``, by default ``audiocnn.yaml`` in the current folder."""
    from audiocnn.config import read
    from audiocnn.specs import CONFIG_NAME

    return read(config or Path(CONFIG_NAME))


def project_if_any(config: Path | None) -> "Project | None":
    """Read the project file ``config``, or the one in the current folder if there is one."""
    from audiocnn.specs import CONFIG_NAME

    return project(config) if config is not None or Path(CONFIG_NAME).is_file() else None


def own_model(config: Path | None, terminal: "Terminal") -> Path:
    """Return the folder of the project's model; without a project report that, and return the shipped model."""
    from audiocnn.model.locate import SHIPPED

    if (own := project_if_any(config)) is None:
        terminal.info("no audiocnn.yaml here: using the instrument model that comes with audiocnn")
        return SHIPPED
    return own.model()


def own_timezone(config: Path | None) -> "tzinfo | None":
    """Return the time zone of the project's recorders, ``data.timezone``; None if it has none."""
    from audiocnn.audio.start_time import find_timezone

    own = project_if_any(config)
    name = None if own is None else own.experiment.data.timezone
    return None if name is None else find_timezone(name, "data.timezone")


def workers(jobs: int | None, scheduler: str | None = None) -> int:
    """Return the number of worker processes on this machine; a cluster has its own."""
    from audiocnn.audio.workers import default_jobs

    if jobs and scheduler:
        raise click.UsageError("--jobs is for this machine and --scheduler for a cluster; pass one of them")
    return jobs or default_jobs()


def command(name: str, config: Path | None, *arguments: str, model: Path | None = None) -> str:
    """Return a command line to run next in this folder, for a project file or None.

    >>> command("train", Path("other/audiocnn.yaml"))
    'audiocnn train -c other/audiocnn.yaml'
    >>> command("predict", None, "FILE", model=Path("my models/a"))
    "audiocnn predict FILE --model 'my models/a'"
    """
    import shlex

    from audiocnn.model import locate
    from audiocnn.specs import CONFIG_NAME

    project = () if config in (None, Path(CONFIG_NAME)) else ("-c", config)
    trained = () if model is None else ("--model", locate.typed(model))
    return shlex.join(map(str, ("audiocnn", name, *arguments, *trained, *project)))


def exit_later(code: int) -> None:
    """Set the exit code of a finished command; the highest of several counts."""
    context = click.get_current_context().find_root()
    context.obj["exit_code"] = max(code, context.obj.get("exit_code", 0))
