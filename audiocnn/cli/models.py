"""Commands that take a model as it is: export, verify."""

from pathlib import Path
from typing import Any

import click

from audiocnn.cli import options

_METHODS = ("occlusion", "gradcam", "integrated", "activations", "maximize", "nearest")


@click.command()
@click.argument("audio", type=click.Path(path_type=Path), metavar="[AUDIO]", required=False)
@options.config
@options.model
@click.option(
    "--method",
    "methods",
    type=click.Choice(_METHODS),
    multiple=True,
    help="How to explain.  [default: occlusion and, in a project, nearest; may be given several times]",
)
@click.option("--label", metavar="NAME", help="Explain this label instead of the one that is predicted.")
@click.option(
    "--neutral",
    type=click.Choice(["mean", "noise"]),
    default="mean",
    show_default=True,
    help="What hidden places become: the mean of training, or the noise of the recording.",
)
@click.option(
    "--top", type=click.IntRange(1, 20), default=3, show_default=True, help="How many of the strongest moments."
)
@click.option(
    "--filters",
    type=click.IntRange(1, 1024),
    default=16,
    show_default=True,
    help="How many filters of a layer are shown by activations and maximize, and by --network.",
)
@click.option("--network", is_flag=True, help="Show the network itself and what it waits for; without AUDIO.")
@click.option("-o", "--out", type=options.Folder, help="Folder to write.  [default: AUDIO.explained, here]")
@options.jobs
def explain(
    audio: Path | None,
    config: Path | None,
    model: Path | None,
    methods: tuple[str, ...],
    label: str | None,
    neutral: Any,
    top: int,
    filters: int,
    network: bool,
    out: Path | None,
    jobs: int | None,
) -> None:
    """Show and play why the model says what it says about a recording.

    Writes a folder with a page (index.html), the maps behind its pictures, and sounds. The model is the project's own
    where there is an audiocnn.yaml, else the instrument model that comes with audiocnn. Of a recording of more than a
    minute the strongest events are explained.

    \b
    --method occlusion    hide each place of the spectrogram and ask again; play what mattered, and the rest
    --method gradcam      where the last convolution looks (needs the [train] extra, as do the next three)
    --method integrated   how much each value of the input adds to the score
    --method activations  what each layer makes of the strongest window
    --method maximize     what the filters of the network wait for
    --method nearest      which recordings of the training sound like it to the network

    With --network, and no AUDIO, the page is about the network: its layers in a picture, and what its labels and
    filters wait for.
    """
    from audiocnn.config import CONFIG_NAME
    from audiocnn.stages import explain as stage

    if network == (audio is not None):
        raise click.UsageError(
            "--network is about no recording; leave out AUDIO" if network else "Missing argument 'AUDIO'."
        )
    terminal = options.terminal()
    if audio is None:
        page = stage.run_network(
            model or options.own_model(config, terminal), filters=filters, out=out, progress=terminal
        )
        terminal.portrayed(page)
        return
    project = options.project(config) if config is not None or Path(CONFIG_NAME).is_file() else None
    result = stage.run(
        audio,
        model=model or options.own_model(config, terminal),
        methods=methods or (("occlusion",) if model or not project else ("occlusion", "nearest")),
        label=label,
        neutral=neutral,
        top=top,
        filters=filters,
        out=out,
        project=project,
        jobs=options.workers(jobs),
        progress=terminal,
    )
    terminal.explained(result)


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
