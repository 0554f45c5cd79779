"""Commands that take a model as it is: export, verify."""

from pathlib import Path
from typing import Any

import click

from audiocnn.cli import options


@click.command()
@options.config
@options.model
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
    terminal = options.terminal()
    project = options.project(config) if config is not None or Path(CONFIG_NAME).is_file() else None
    result = stage.run(
        model or options.own_model(config, terminal),
        form=form,
        quantize=quantize,
        waveform_windows=(windows or 1) if with_frontend else None,
        out=out,
        project=project,
        progress=terminal,
    )
    terminal.exported(result)


@click.command()
@click.argument("path", type=click.Path(path_type=Path, exists=True), required=False)
@options.config
def verify(path: Path | None, config: Path | None) -> None:
    """Recheck every hash of a store or model.  [default: everything the project has made]"""
    from audiocnn.stages import verify as stage

    terminal = options.terminal()
    result = stage.run(path or options.project(config).run, progress=terminal)
    terminal.verified(result)
    options.exit_later(5 if result.damaged else 0)
