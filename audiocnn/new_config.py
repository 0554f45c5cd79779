"""The text of a new ``audiocnn.yaml``: a preset, with the names and settings that ``init`` finds."""

import os
import re
import textwrap
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from audiocnn import config
from audiocnn.errors import ConfigError
from audiocnn.specs import CONFIG_NAME, DEFAULT_PRESET, NAME_CHARACTERS, FeatureSpec, Name, Rare
from audiocnn.text import printable

_NAME_BYTES = 200  # file systems allow 255, and names of results are longer
_SIZED = ("general", "ultrasonic")  # presets that are adapted to the number of recordings
_CHOSEN_ON = 200  # recordings on which the epochs of these presets were chosen
_FEWEST_EPOCHS, _MOST_EPOCHS = 12, 120
_MOST_COPIED = 1_000  # recordings; with more there are no augmented versions


@dataclass(frozen=True)
class NewConfig:
    """What a new configuration holds besides its preset.

    ``name`` is that of the project, ``root`` the path of the recordings as `relative_root` returns it.
    """

    name: str
    manifest: str
    root: str
    background: str | None
    positive: str | None
    allow_outside: bool
    rare: Rare | None
    about: str
    timezone: str | None = None


def text(new: NewConfig, preset: str, n_recordings: int, general: FeatureSpec | None = None) -> str:
    """Return the text of ``audiocnn.yaml``: name, data and positive label, then the preset with its comments.

    ``general`` are the features of the general preset as fitted to the recordings, for that preset and for members
    with it; None leaves them as they are.
    """
    body = config.preset_file(preset).read_text(encoding="utf-8")
    if general is not None and preset == DEFAULT_PRESET:
        body = _fitted(body, config.read_preset(preset).features, general)
    if preset in config.MEMBER_PRESETS:
        body = _with_fitted_members(body, general, n_recordings)
    if preset in _SIZED:
        body = _sized(body, config.read_preset(preset).train.epochs, n_recordings)
    if new.rare is not None:
        body = _with_rare(body, new.rare)
    background = "null" if new.background is None else config.quoted(new.background)
    header = [
        f"name: {config.quoted(new.name)}  # results go to runs/<name>/",
        "",
        "data:",
        f"  manifest: {config.quoted(new.manifest)}  # one row per recording, or stretch of one: path, label, group",
        f"  root: {config.quoted(new.root)}  # paths in the manifest are relative to it",
        f"  background: {background}  # label of what no stretch of a recording covers; null: not used",
        f"  about: {config.quoted(new.about)}  # source, licence and citation of the recordings, for the model card",
        *([f"  timezone: {config.quoted(new.timezone)}  # of the recorders, for predict"] if new.timezone else []),
        *(["  allow_outside: true  # recordings may be outside root"] if new.allow_outside else []),
        "",
    ]
    if new.positive is None:
        header += ["positive: null  # only with two labels: the one that events are of", ""]
    else:
        header += [
            f"positive: {config.quoted(new.positive)}  # of two labels, the one that events are of; chosen by init",
            "",
        ]
    return "\n".join(header) + "\n" + body


def check_name(name: str) -> None:
    """Raise `ConfigError` if a name cannot be that of a project."""
    shown = f"--name '{printable(name)}'"
    if len(name) > NAME_CHARACTERS or len(os.fsencode(name)) > _NAME_BYTES:
        raise ConfigError(
            f"{shown}: has {len(name)} characters, {len(os.fsencode(name))} bytes; choose one of at most "
            f"{NAME_CHARACTERS} characters, {_NAME_BYTES} bytes"
        )
    try:
        TypeAdapter(Name).validate_python(name, strict=True)
    except ValidationError as error:
        raise ConfigError(
            f"{shown}: cannot name a folder in runs/; use letters, digits, _ . - and spaces, and begin with a "
            "letter, a digit or _"
        ) from error


def name_of(folder: Path) -> str:
    """Return the folder's name as a project name: other characters become _, and it is cut if too long."""
    name = "".join("_" if unicodedata.category(c) == "No" else c for c in folder.absolute().name)  # such as ² and ½
    name = re.sub(r"[^\w. -]+", "_", name).strip("_. -")
    name = name[:NAME_CHARACTERS].encode()[:_NAME_BYTES].decode(errors="ignore")
    return name.rstrip("_. -") or "sounds"


def relative_root(root: Path, out: Path) -> str:
    """Return the path of ``root`` relative to ``out``; raise `ConfigError` if YAML cannot hold it."""
    path = os.path.relpath(root, out)
    if os.path.realpath(out / path) != os.path.realpath(root):  # a link lies between them
        path = os.path.relpath(os.path.realpath(root), os.path.realpath(out))
    try:
        path.encode()
    except UnicodeEncodeError:
        raise ConfigError(
            f"{printable(path)}: is not UTF-8, as {CONFIG_NAME} must be; rename that folder, or run init in it"
        ) from None
    return path


def _with_rare(preset: str, rare: Rare) -> str:
    """Return the text of a preset with this ``split.rare``."""
    if re.search(r"(?m)^  rare:", preset):
        return re.sub(r"(?m)^  rare: *\w+", f"  rare: {rare}", preset, count=1)
    return re.sub(r"(?m)^split: *(#.*)?$", rf"\g<0>\n  rare: {rare}", preset, count=1)


def _sized(preset: str, epochs: int, n_recordings: int) -> str:
    """Return the text of a preset, adapted to the number of recordings.

    The number of epochs gives about as many training steps as the preset was chosen with. With many recordings there
    are no augmented versions.
    """
    requested = _epochs(epochs, n_recordings)
    found = f"init chose {{}} for {n_recordings:,} recordings."
    changed = {"epochs": f"  epochs: {requested:<15} # all of them are trained. {found.format('this')}"}
    if n_recordings > _MOST_COPIED:
        changed["copies"] = f"  copies: []              # {found.format('none')}"
    for key, text in changed.items():
        preset = re.sub(rf"(?m)^  {key}:.*(\n    - .*)*$", text, preset, count=1)
    return preset


def _epochs(of_preset: int, n_recordings: int) -> int:
    """Return the number of epochs that gives about as many training steps as the preset was chosen with."""
    return max(_FEWEST_EPOCHS, min(_MOST_EPOCHS, round(of_preset * _CHOSEN_ON / max(1, n_recordings))))


def _with_fitted_members(preset: str, general: FeatureSpec | None, n_recordings: int) -> str:
    """Return the text of a preset whose members with the general preset have its settings for these recordings."""
    before = config.read_preset(DEFAULT_PRESET)
    features = before.features.model_dump(mode="json")
    fitted = features if general is None else general.model_dump(mode="json")
    changed = {name: value for name, value in fitted.items() if value != features[name]}
    if n_recordings > _MOST_COPIED:
        changed["copies"] = []
    own = {
        **({"features": changed} if changed else {}),
        "train": {"epochs": _epochs(before.train.epochs, n_recordings)},
    }
    block = f"# init chose these for {n_recordings:,} recordings.\n{config.to_yaml(own)}"
    lines = textwrap.indent(block.rstrip("\n"), "    ")
    return re.sub(rf"(?m)^    preset: {DEFAULT_PRESET}\b.*$", lambda line: f"{line[0]}\n{lines}", preset)


def _fitted(preset: str, before: FeatureSpec, after: FeatureSpec) -> str:
    """Return the text of a preset with other features, and the reasons as comments."""
    frame_ms, hop_ms = (1000 * n / after.sample_rate for n in (after.n_fft, after.hop_length))
    comments = {
        "sample_rate": f"Hz. init chose this, as the recordings have no more; the preset has {before.sample_rate}.",
        "n_fft": f"samples, {frame_ms:.0f} ms, for this sample rate.",
        "hop_length": f"samples, {hop_ms:.0f} ms, for this sample rate.",
        "n_mels": f"mel bands up to {after.upper_hz:g} Hz, as wide as the {before.n_mels} of the preset.",
        "fmax": "Hz. At most half the sample rate.",
    }
    for key, comment in comments.items():
        if getattr(after, key) != getattr(before, key):
            line = f"  {key}: {getattr(after, key)}"
            preset = re.sub(rf"(?m)^  {key}:.*$", f"{line:<25} # {comment}", preset, count=1)
    for old, new in zip(before.copies, after.copies, strict=True):
        if old.lowpass_hz and new.lowpass_hz and old != new:
            shown = f"lowpass_hz: [{new.lowpass_hz[0]:g}, {new.lowpass_hz[1]:g}]"
            preset = re.sub(rf"lowpass_hz: \[{old.lowpass_hz[0]:g}, {old.lowpass_hz[1]:g}\]", shown, preset)
    return preset.replace(f"# {before.shape}: time first", f"# {after.shape}: time first")
