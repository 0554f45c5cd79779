"""The command line: parse, call one stage, print, exit code. With `audiocnn.terminal` the only place that prints.

Nothing but click is imported until a command runs, so that ``--help`` is instant.
"""

import contextlib
import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator

import click

from audiocnn import __version__, streams
from audiocnn.cli import events, learning, models, prediction, recordings
from audiocnn.errors import AudiocnnError

# Before numpy is imported: two workers with four BLAS threads are slower than one with one.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


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


for _module in (recordings, learning, prediction, models, events, models):
    for _command in vars(_module).values():
        if isinstance(_command, click.Command):
            cli.add_command(_command)


def main() -> None:
    """Run the command line and exit with the code that `audiocnn.errors` gives."""
    gc.set_threshold(50_000, 20, 20)  # imports make many objects and no garbage; looking for it is a tenth of a start
    signal.signal(signal.SIGTERM, _on_terminate)
    streams.prepare()
    with _errors_as_lines(lambda: "--debug" in sys.argv):
        context = cli.make_context("audiocnn", sys.argv[1:])
        with context:
            cli.invoke(context)
            streams.flush()
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
        _say_error("interrupted; what was finished is kept")
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
