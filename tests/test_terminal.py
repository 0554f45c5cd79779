"""What is shown while work is running, on terminals of any width, and where the options on it may stand."""

import io
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import pytest
import sounds
from click.testing import CliRunner
from projects import audiocnn, featurized
from rich.console import Console
from soundfile import write

from audiocnn import config
from audiocnn.cli import cli, learning, options
from audiocnn.errors import ConfigError
from audiocnn.model import locate
from audiocnn.progress import Progress
from audiocnn.stages import featurize, init, sweep
from audiocnn.terminal import Terminal, live
from audiocnn.terminal.progress_line import ProgressLine, shortened_in_the_middle

TRAINING = ProgressLine(
    "train", 1_040, 10_400, "steps", elapsed_s=48, left_s=431, rate=21.7,
    note="epoch 1/10 loss 2.363 accuracy 0.111 · validation 2.552 0.100",
)  # fmt: skip


def on_screen(width: int) -> tuple[Terminal, io.StringIO]:
    terminal, screen = Terminal(quiet=False, verbose=False), io.StringIO()
    terminal._err = Console(
        file=screen, width=width, force_terminal=True, color_system=None, soft_wrap=True, _environ={"TERM": "xterm"}
    )
    return terminal, screen


@pytest.mark.parametrize("width", [40, 60, 79, 119, 160])
def test_a_line_of_progress_fits_and_has_the_time_left_whatever_else_is_left_out(width: int) -> None:
    line = TRAINING.text(width)
    assert len(line) <= width and "7:11 left" in line and "1,040/10,400" in line
    assert ("validation 2.552 0.100" in line) == (width >= 119)
    assert ("22/s" in line) == (width == 160)


def test_the_whole_of_a_task_is_shown_in_one_line_and_nothing_of_one_without_units() -> None:
    terminal, screen = on_screen(80)
    with terminal.task("hear recordings", total=0, unit="recordings") as advance:
        advance()
    assert screen.getvalue() == ""
    with terminal.task("train", total=10_400, unit="steps") as advance:
        advance(1_040, note=TRAINING.note)
    *_, last = filter(None, re.split(r"[\r\n]|\x1b\[[?\d]*[A-Za-z]", screen.getvalue()))
    assert "1,040/10,400 · took 0:00 · epoch 1/10" in last and len(last) < 80


def test_a_step_is_named_a_task_within_it_takes_its_place_and_both_are_over_afterwards() -> None:
    terminal, screen = on_screen(80)
    with (
        terminal.step("calibrate the scores"),
        terminal.task("train", total=2, unit="steps") as advance,
        terminal.step("not shown"),
    ):
        advance(2)
    with terminal.step("write the report"):
        terminal.warn("a warning")
    seen = screen.getvalue()
    assert all(
        text in seen for text in ("calibrate the scores 0:00", "2/2 steps", "write the report 0:00", "a warning")
    )
    assert "not shown" not in seen


def test_without_a_terminal_only_a_long_step_is_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = Terminal(quiet=False, verbose=False)
    with terminal.step("a short one"):
        pass
    monkeypatch.setattr(live, "_LONG_S", 0.0)
    with terminal.step("a long one"):
        time.sleep(0.01)
    with Terminal(quiet=True, verbose=False).step("a silent one"):
        time.sleep(0.01)
    assert capsys.readouterr().err == "a long one: 0.0 s\n"


def test_long_names_keep_their_ends() -> None:
    names = [f"recordings/of-a-long-night/part-{i:03d}.wav" for i in range(3)]
    short = [shortened_in_the_middle(name, 20) for name in names]
    assert len(set(short)) == 3
    assert all(len(name) == 20 and name.endswith(".wav") for name in short)


@pytest.mark.slow
def test_one_of_a_kind_is_told_in_the_singular(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for label, seconds in (("owl", 2.0), ("wind", 0.3)):
        (tmp_path / "sounds" / label).mkdir(parents=True)
        write(tmp_path / "sounds" / label / "a.wav", sounds.tone(500, seconds), sounds.RATE)
    write(tmp_path / "sounds" / "owl" / "silent.wav", sounds.silence(2), sounds.RATE)
    project = featurized(tmp_path)
    terminal = Terminal(quiet=False, verbose=False)
    result = init.run(
        tmp_path / "sounds", name=None, preset=None, group_by="a(?=.wav)|silent", root=None, background=None,
        out=tmp_path / "again", allow_outside=False, force=False, jobs=1, progress=Progress(),
    )  # fmt: skip
    terminal.survey(result)
    terminal.statuses(featurize.run(project, jobs=1, progress=Progress()))
    said = capsys.readouterr().out
    for sentence in ("1 recording is silent", "1 recording is shorter"):
        assert sentence in said
    assert re.findall(r"\b1 (?:recordings|groups|classes|files|models)\b", said) == []


@pytest.mark.slow
def test_on_a_terminal_predict_names_what_to_do_next(tmp_path: Path) -> None:
    for name in ("a.wav", "b.wav"):
        write(tmp_path / name, sounds.tone(440, 2), sounds.RATE)
    on_terminal = {**os.environ, "FORCE_COLOR": "1", "COLUMNS": "80"}
    one = audiocnn("predict", "a.wav", cwd=tmp_path, env=on_terminal)
    assert one.stderr.splitlines()[-1] == "Next: audiocnn explain a.wav"
    several = audiocnn("predict", ".", "--model", "instrument", cwd=tmp_path, env=on_terminal)
    assert several.stderr.splitlines()[-1].startswith(
        "Next: audiocnn predict . --html predictions.html --model instrument, "
    )
    assert several.stderr.splitlines()[-2].startswith("2 recordings, ") and "\nlabels: " in several.stderr
    assert "Next" not in audiocnn("predict", "a.wav", cwd=tmp_path).stderr


# Options


@contextmanager
def _seen(command: click.Command) -> Iterator[list[dict[str, Any]]]:
    seen: list[dict[str, Any]] = []
    before = command.callback
    command.callback = lambda **_: seen.append(dict(click.get_current_context().find_root().obj))
    try:
        yield seen
    finally:
        command.callback = before


@pytest.mark.parametrize(
    "line", ["-q -v --debug audit", "audit -q -v --debug", "-q audit --verbose --debug", "--debug audit --quiet -v"]
)
def test_quiet_verbose_and_debug_are_taken_before_and_after_a_command(line: str) -> None:
    with _seen(cli.commands["audit"]) as seen:
        done = CliRunner().invoke(cli, line.split())
    assert done.exit_code == 0, done.output
    assert seen == [{"quiet": True, "verbose": True, "debug": True}]


def test_every_command_takes_them() -> None:
    taken = {name: {o for p in command.params for o in p.opts} for name, command in cli.commands.items()}
    assert [name for name, known in taken.items() if not {"-q", "-v", "--debug"} <= known] == []


def test_run_passes_epochs_seed_and_leaks_on(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(options, "project", lambda config: None)
    monkeypatch.setattr(learning, "use_features", lambda *_, **__: None)
    monkeypatch.setattr(learning, "_train", lambda *_, **choices: given.update(choices))
    monkeypatch.setattr(learning, "_evaluate", lambda *_, **__: None)
    done = CliRunner().invoke(cli, ["run", "--epochs", "3", "--seed", "5", "--allow-leaks"])
    assert done.exit_code == 0, done.output
    assert given["changes"] == {"epochs": 3, "seed": 5} and given["allow_leaks"]


def test_the_command_to_run_next_names_the_project_unless_it_is_here() -> None:
    assert options.command("run", Path("audiocnn.yaml")) == "audiocnn run"
    assert options.command("run", Path("../my data/audiocnn.yaml")) == "audiocnn run -c '../my data/audiocnn.yaml'"


# Names of models, presets and sweeps


def test_a_model_is_found_by_folder_run_and_name_and_the_nearest_one_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("birds", "bats"):
        (tmp_path / "runs" / name / "model").mkdir(parents=True)
        (tmp_path / "runs" / name / "model" / "bundle.json").touch()
    for name in ("runs/birds/model", "runs/birds", "~/runs/birds", Path("runs/birds")):
        assert locate.find_model(name).resolve() == tmp_path / "runs" / "birds" / "model"
    assert locate.find_model("instrument") == locate.SHIPPED
    (tmp_path / "runs" / "bats").rename(tmp_path / "runs" / "bats-2")
    for name, meant in {
        "runs/bird": "no such folder, nor a model that ships; did you mean 'runs/birds'?",
        "birds": "no such folder, nor a model that ships; did you mean 'runs/birds'?",
        "instruments": "did you mean 'instrument'?",
        "runs": "not a model (no bundle.json); it holds several: runs/bats-2, runs/birds",
        "nothing-like-it": "nothing-like-it: no such folder, nor a model that ships",
        "runs/birds/model/bundle.json": "a file; a model is a folder",
    }.items():
        with pytest.raises(ConfigError) as refused:
            locate.find_model(name)
        assert str(refused.value).endswith(meant) or meant in str(refused.value)


def test_the_help_of_init_names_every_preset_and_a_wrong_one_has_its_nearest() -> None:
    (preset,) = (p for p in cli.commands["init"].params if p.name == "preset")
    assert isinstance(preset, click.Option) and preset.help is not None
    sources = [file.stem for file in (config.preset_file("sources/notes").parent).glob("*.yaml")]
    assert [name for name in (*config.PRESETS, *sources) if name not in preset.help] == []
    with pytest.raises(ConfigError, match="did you mean 'sources/notes'"):
        config.preset_file("notes")


def test_the_folder_of_a_sweep_has_no_spaces_unless_an_older_one_has(tmp_path: Path) -> None:
    assert sweep._folder(tmp_path, "two widths, deep") == tmp_path / "two-widths-deep"
    (tmp_path / "two widths, deep").mkdir()
    assert sweep._folder(tmp_path, "two widths, deep") == tmp_path / "two widths, deep"


def test_export_and_verify_name_what_to_do_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(locate.SHIPPED, "mine")

    def last(*arguments: str) -> str:
        return CliRunner().invoke(cli, arguments).stderr.strip().rpartition("\n")[2]

    assert last("export", "--model", "mine", "--format", "tflite", "-o", "out.tflite") == (
        "Next: load it in Python by the line 'run' in out.tflite.json"
    )
    assert last("verify", "mine") == "Next: audiocnn predict FILE --model mine"
    (tmp_path / "mine" / "frontend.npz").write_bytes(b"")
    assert last("verify", "mine") == "Next: copy the damaged model again from where it is intact"
    assert last("-q", "verify", "mine") == ""


def test_lines_of_progress_end_with_one_line_that_all_is_done(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(live, "_PLAIN_EVERY_S", 0)
    with Terminal(quiet=False, verbose=False).task("look", total=2, unit="files") as advance:
        advance()
        advance()
    assert [line.split(",")[0] for line in capsys.readouterr().err.splitlines()] == [
        "look: 1/2 files",
        "look: 2/2 files",
    ]
