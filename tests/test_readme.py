"""Every command that the README shows is run here, in the order in which a reader would type them."""

import re
import shlex
import shutil
from pathlib import Path

import prefork
import pytest
from projects import set_lines

from audiocnn.dataset import synthesis

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    line.removeprefix("$ ")
    for block in re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("$ ")
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the README supposes: sounds/ with one sub-folder per class, and song.wav."""
    folder = tmp_path_factory.mktemp("reader")
    synthesis.write(synthesis.instrument_clips(0, n_players=5, n_recordings=1), folder / "sounds")
    (folder / "sounds" / "manifest.csv").unlink()
    shutil.copy(next((folder / "sounds").rglob("*.wav")), folder / "song.wav")
    return folder


def test_the_readme_shows_the_main_commands() -> None:
    shown = {command.split()[1] for command in COMMANDS if command.startswith("audiocnn")}
    assert shown >= {"init", "featurize", "train", "evaluate", "run", "predict", "verify"}


def test_every_command_is_run_or_is_a_target_of_make_or_the_installation() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for command in COMMANDS:
        tool, *arguments = command.split()
        if tool == "make":
            assert set(arguments) <= targets, command
        elif tool == "pip":
            assert arguments == ["install", "'audiocnn[train]'"]
        else:
            assert tool == "audiocnn", command


def test_the_commands_of_the_readme_run_one_after_the_other(folder: Path) -> None:
    for command in COMMANDS:
        tool, *arguments = shlex.split(command)
        if tool == "audiocnn":
            done = prefork.run(*arguments, cwd=folder)
            assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        if arguments[:1] == ["init"]:
            set_lines(folder / "audiocnn.yaml", epochs="2")
    assert (folder / "runs/sounds/report.html").is_file()
    assert (folder / "out.csv").read_text().count("\n") == 1 + 50


def test_the_files_that_the_readme_links_to_exist() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
