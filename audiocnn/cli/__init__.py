"""The command line: parse arguments, call one stage, print its result, set the exit code.

Only this room and `audiocnn.terminal` print. Nothing but click is imported until a command runs, so ``--help`` is fast.
"""

import contextlib
import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator

import click

from audiocnn import __version__, streams
from audiocnn.cli import events, learning, models, options, prediction, recordings, reviewing
from audiocnn.errors import AudiocnnError

# Set before numpy is imported: two workers with four BLAS threads each are slower than one worker with one thread.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# pydantic would search the metadata of every installed package for plugins.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "true")


_OLD_NAMES = {"rehearse": "tune-events"}  # still accepted, not listed


class _Commands(click.Group):
    """Commands in the order in which a project uses them; old names still work."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return super().get_command(ctx, _OLD_NAMES.get(cmd_name, cmd_name))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="audiocnn")
def cli() -> None:
    """Train a sound classifier on a folder of labelled recordings, and measure it.

    \b
    audiocnn init sounds/        one sub-folder per class, or a CSV: writes manifest.csv and audiocnn.yaml
    audiocnn run                 featurize, train and evaluate
    audiocnn predict song.wav    works without TensorFlow

    'audiocnn COMMAND --help' describes a command; -q, -v and --debug can also be given after it. Exit codes: 0 all
    recordings used; 1 a bug in audiocnn; 2 wrong input or settings, with the remedy in the message; 3 finished, but
    some recordings are unreadable or silent; 4 no usable recording; 5 a damaged file.
    """


cli.params += options.VERBOSITY
for _command in (
    recordings.init,
    recordings.audit,
    recordings.featurize,
    learning.train,
    learning.evaluate,
    learning.crossval,
    learning.sweep,
    learning.run,
    prediction.predict,
    models.explain,
    events.tune_events,
    reviewing.review,
    models.info,
    models.export,
    models.verify,
    recordings.relocate,
    learning.demo,
):
    _command.params += options.VERBOSITY
    cli.add_command(_command)


def main() -> None:
    """Run the command line and exit with the code that `audiocnn.errors` gives."""
    gc.set_threshold(100_000, 20, 20)  # imports make many objects, little garbage: saves 10 % of the start
    signal.signal(signal.SIGTERM, _on_terminate)
    streams.prepare()
    with _errors_as_lines(lambda: "--debug" in sys.argv):
        context = cli.make_context("audiocnn", sys.argv[1:])
        with context:
            cli.invoke(context)
            streams.flush()
            gc.freeze()  # else Python looks for garbage once more before it ends
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
        streams.flush_or_discard()
        sys.exit(error.exit_code)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        _say_error("interrupted; finished work is kept")
        streams.flush_or_discard()
        sys.exit(130)
    except BrokenPipeError:
        streams.flush_or_discard()
        sys.exit(0)
    except Exception as error:
        if debug():
            raise
        _say_error(f"{type(error).__name__}: {error} (a bug in audiocnn; run again with --debug for the traceback)")
        sys.exit(1)


def _say_error(line: str) -> None:
    from audiocnn.text import printable

    click.echo(f"audiocnn: {printable(line)}", err=True)
