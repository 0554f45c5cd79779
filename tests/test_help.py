"""The help texts: what each command does, in the order of the work, with an example that names real options."""

import inspect
import re
import shlex

import click
import pytest
from click.testing import CliRunner

from audiocnn.cli import cli

ORDER = [
    "init", "audit", "featurize", "train", "evaluate", "crossval", "sweep", "run", "predict", "explain", "tune-events",
    "review", "info", "export", "verify", "relocate", "demo",
]  # fmt: skip


def shown(*arguments: str) -> str:
    result = CliRunner().invoke(cli, [*arguments, "--help"], terminal_width=80)
    assert result.exit_code == 0, result.output
    return result.output


def options(command: click.Command) -> list[click.Option]:
    return [parameter for parameter in command.params if isinstance(parameter, click.Option)]


def test_commands_are_listed_in_working_order_each_with_a_whole_sentence() -> None:
    listed = re.findall(r"^  ([a-z-]+) {2,}(.+)$", shown().partition("Commands:")[2], re.MULTILINE)
    assert [name for name, _ in listed] == ORDER
    assert [line for _, line in listed if not line.endswith(".") or line.endswith("...")] == []


@pytest.mark.parametrize("name", ORDER)
def test_help_has_an_example_of_options_that_exist(name: str) -> None:
    command = cli.commands[name]
    examples = re.findall(r"^ +audiocnn (.+)$", inspect.getdoc(command.callback).partition("Example:")[2], re.MULTILINE)
    assert examples
    for line in examples:
        used, *arguments = shlex.split(line)
        known = {spelling for option in options(cli.commands[used]) for spelling in option.opts + option.secondary_opts}
        assert {argument for argument in arguments if argument.startswith("-")} <= known


@pytest.mark.parametrize("name", ORDER)
def test_every_option_has_a_sentence_of_its_own(name: str) -> None:
    texts = [(option.name, option.help or "") for option in options(cli.commands[name])]
    assert [which for which, text in texts if not text.strip() or text.startswith("Of ")] == []


def test_the_old_name_of_tune_events_does_the_same_and_is_not_listed() -> None:
    assert cli.get_command(click.Context(cli), "rehearse") is cli.commands["tune-events"]
    assert "rehearse " not in shown()
    assert shown("rehearse").replace("rehearse ", "tune-events ") == shown("tune-events")
