"""Commands on a trained model: explain, info, export, verify."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from audiocnn.cli import options
from audiocnn.text import printable

if TYPE_CHECKING:
    from audiocnn.stages.verify import VerifyResult

_METHODS = ("occlusion", "gradcam", "integrated", "activations", "maximize", "nearest")


@click.command()
@click.argument("audio", metavar="[AUDIO]", required=False)
@options.config
@options.model
@click.option(
    "--method",
    "methods",
    type=click.Choice(_METHODS),
    multiple=True,
    help="Explanation method, may be given several times.  [default: occlusion and, in a project, nearest]",
)
@click.option("--label", metavar="NAME", help="Explain this label instead of the predicted one.")
@click.option(
    "--neutral",
    type=click.Choice(["mean", "noise"]),
    default="mean",
    show_default=True,
    help="Value of occluded places: the mean of the training recordings, or the recording's own noise.",
)
@click.option(
    "--top", type=click.IntRange(1, 20), default=3, show_default=True, help="Number of strongest segments to show."
)
@click.option(
    "--filters",
    type=click.IntRange(1, 1024),
    default=16,
    show_default=True,
    help="Filters per layer shown by activations, maximize and --network.",
)
@click.option("--network", is_flag=True, help="Explain the network instead of a recording; without AUDIO.")
@click.option("-o", "--out", type=options.Folder, help="Folder to write.  [default: AUDIO.explained, here]")
@options.jobs
def explain(
    audio: str | None,
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
    """Show and play what a prediction is based on.

    Writes a folder with a page (index.html), the arrays behind its images, and sounds. The model is that of the project
    (audiocnn.yaml), else the instrument model that ships with audiocnn. In a recording longer than a minute, the
    strongest events are explained.

    \b
    --method occlusion    hide each place of the spectrogram and predict again; play what matters, and the rest
    --method gradcam      places that the last convolution responds to (with the next three: needs the [train] extra)
    --method integrated   contribution of each input value to the score (integrated gradients)
    --method activations  output of each layer for the strongest window
    --method maximize     inputs that the filters respond to most
    --method nearest      training recordings with the most similar embeddings

    With --network and no AUDIO, the page shows the layers of the network, and the inputs that its labels and filters
    respond to most.

    In a model with several networks, occlusion and nearest explain the whole model. The others explain one network of
    it: pass --model RUN/model/members/NAME.

    \b
    Example:
      audiocnn explain song.wav
      audiocnn explain song.wav --method gradcam --label Flute
    """
    from audiocnn.audio import search
    from audiocnn.stages import explain as stage

    if network == (audio is not None):
        raise click.UsageError("--network takes no AUDIO; leave it out" if network else "Missing argument 'AUDIO'.")
    terminal = options.terminal()
    folder = model or options.own_model(config, terminal)
    if audio is None:
        terminal.portrayed(stage.run_network(folder, filters=filters, out=out, progress=terminal))
        terminal.next(options.command("explain", config, "FILE", model=model), "to see what one prediction is based on")
        return
    file, *others = search.find_named(audio)
    if others:
        raise click.UsageError(f"{printable(audio)}: names {1 + len(others):,} files; name one recording")
    project = options.project_if_any(config)
    result = stage.run(
        file,
        model=folder,
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
    one = result.members[0] if result.members else model
    terminal.next(options.command("explain", config, "--network", model=one), "to see what each label responds to")


@click.command()
@click.argument("model", type=options.ModelFolder(), required=False)
@options.config
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="How to print the description.",
)
def info(model: Path | None, config: Path | None, form: Any) -> None:
    """Describe a model: labels, window, network, training, metrics.

    Prints the labels, the features and window, the network with its parameters and multiply-adds, the number of
    training recordings, the metrics measured in training, calibration and decision rules, the operating point of event
    detection, and the digest. MODEL is a model folder, a run folder (runs/<name>/) or the name of a model that ships
    with audiocnn. Without MODEL it describes the model of the project (audiocnn.yaml), else the instrument model.

    \b
    Example:
      audiocnn info
      audiocnn info instrument --format json
    """
    from audiocnn.stages import info as stage

    terminal = options.terminal()
    terminal.summarized(stage.run(model or options.own_model(config, terminal)), form=form)
    if form == "table":
        terminal.next(options.command("predict", config, "FILE", model=model))


@click.command()
@options.config
@options.model
@click.option(
    "--format",
    "form",
    type=click.Choice(["tflite", "onnx", "saved_model", "keras"]),
    required=True,
    help="Format to write.",
)
@click.option(
    "--quantize",
    type=click.Choice(["none", "float16", "int8"]),
    default="none",
    show_default=True,
    help="For tflite: half (float16) or a quarter (int8) of the size; the loss of accuracy is measured.",
)
@click.option("--with-frontend", is_flag=True, help="For tflite: take samples instead of features, and return scores.")
@click.option(
    "--windows", type=click.IntRange(min=1), help="With --with-frontend: number of windows in its input.  [default: 1]"
)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    help="File or folder to write.  [default: the model's name, in the current folder]",
)
def export(
    config: Path | None,
    model: Path | None,
    form: Any,
    quantize: Any,
    with_frontend: bool,
    windows: int | None,
    out: Path | None,
) -> None:
    """Convert a model to TFLite, ONNX, SavedModel or Keras.

    Writes the model and, next to it, a JSON file that describes its inputs and outputs. The model takes features and
    returns logits and an embedding; with --with-frontend it takes samples. tflite needs no extra, onnx the [onnx]
    extra, all others the [train] extra. int8 is calibrated and measured on the features of the project: run it in the
    folder of audiocnn.yaml.

    \b
    Example:
      audiocnn export --format tflite --quantize float16
      audiocnn export --format onnx -o model.onnx
    """
    from audiocnn.stages import export as stage

    if windows is not None and not with_frontend:
        raise click.UsageError("--windows is for --with-frontend")
    terminal = options.terminal()
    project = options.project_if_any(config)
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
    terminal.next(f"load it in Python by the line 'run' in {result.description}")


@click.command()
@click.argument("path", type=click.Path(path_type=Path, exists=True), required=False)
@options.config
def verify(path: Path | None, config: Path | None) -> None:
    """Check the hashes of features and models.

    PATH is a features folder, a model or a folder above them.  [default: everything in runs/<name>/]

    \b
    Example:
      audiocnn verify runs/birds/model
    """
    from audiocnn.stages import verify as stage

    terminal = options.terminal()
    result = stage.run(path or options.project(config).run, progress=terminal)
    terminal.verified(result)
    terminal.next(_after_check(result, path, config))
    options.exit_later(5 if result.damaged else 0)


def _after_check(result: "VerifyResult", path: Path | None, config: Path | None) -> str:
    """Return what to do after a check: replace what is damaged, or use what is not."""
    if result.damaged_features:
        return f"delete the damaged files, then {options.command('featurize', config)}"
    if result.damaged_models:
        again = f", or train it again: {options.command('train', config, '--fresh')}" if path is None else ""
        return f"copy the damaged model again from where it is intact{again}"
    if result.models:
        return options.command("predict", config, "FILE", model=None if path is None else result.models[0])
    return options.command("train", config)
