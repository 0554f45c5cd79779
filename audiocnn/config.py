"""YAML to `Experiment`, once, at the edge; every mistake is one line with file, key, value and the nearest valid name."""

import difflib
import re
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from audiocnn.errors import ConfigError
from audiocnn.specs import Experiment, Preset

CONFIG_NAME = "audiocnn.yaml"
PRESETS = ("instrument", "spectrogram")

_PACKAGE = Path(__file__).resolve().parent
_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True)
class Project:
    """An `Experiment` and the file that it was read from, which gives its paths their meaning."""

    file: Path
    experiment: Experiment

    @property
    def manifest(self) -> Path:
        return self.file.parent / self.experiment.data.manifest

    @property
    def root(self) -> Path:
        return self.file.parent / self.experiment.data.root

    @property
    def run(self) -> Path:
        """Folder that holds everything a run makes."""
        return self.file.parent / "runs" / self.experiment.name


def read(file: Path) -> Project:
    """Read an ``audiocnn.yaml``; raise `ConfigError` in one line if anything in it is not as it should be."""
    if not file.is_file():
        raise ConfigError(f"{file}: no such file; run 'audiocnn init DIR' first, or name one with -c")
    return Project(file=file, experiment=_validated(Experiment, file))


def preset_file(name: str) -> Path:
    """Return the YAML file of a preset, given its name or a path."""
    for folder in (_PACKAGE / "configs", _PACKAGE.parent / "configs"):  # installed, or in a checkout
        if (folder / f"{name}.yaml").is_file():
            return folder / f"{name}.yaml"
    if Path(name).is_file():
        return Path(name)
    near = _nearest(name, PRESETS)
    raise ConfigError(f"preset '{name}': neither a file nor one of {', '.join(PRESETS)}{near}")


def read_preset(name: str) -> Preset:
    """Read and check a preset, given its name or a path."""
    return _validated(Preset, preset_file(name))


class _Loader(yaml.SafeLoader):
    """Safe YAML in which ``5e-4`` is a number (as in YAML 1.2) and a key given twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.MarkedYAMLError(problem=f"key {key!r} is not a text", problem_mark=key_node.start_mark)
            if key in seen:
                raise yaml.MarkedYAMLError(problem=f"key '{key}' is given twice", problem_mark=key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def _validated(model: type[_Model], file: Path) -> _Model:
    try:
        value = yaml.load(file.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        line = f" line {error.problem_mark.line + 1}:" if error.problem_mark else ""
        raise ConfigError(f"{file}:{line} {error.problem or error}") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{file}: not readable as YAML ({str(error).splitlines()[0]})") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{file}: holds no settings; 'audiocnn init DIR' writes a file to start from")
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise ConfigError(_one_line(file, model, error)) from error


def _one_line(file: Path, model: type[BaseModel], error: ValidationError) -> str:
    """Say the first thing that is wrong: file, key, value, remedy."""
    problems = error.errors(include_url=False)
    first = min(problems, key=lambda p: p["type"] != "extra_forbidden")  # a misspelt key explains a missing one
    # The members of a union add their names to the location; only names of fields belong to the key.
    parts = [str(part) for part in first["loc"]]
    fields = _fields(model, parts[:-1])
    key = ".".join(part for part in parts if re.fullmatch(r"[a-z_][\w]*|\d+", part) and part not in ("int", "float"))
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    value = "" if first["type"] == "missing" else f" {_short(first['input'])}:"
    if first["type"] == "extra_forbidden":
        return f"{file}: {key}:{value} unknown key{_nearest(parts[-1], tuple(fields))}{more}"
    message = str(first["msg"]).removeprefix("Value error, ")
    expected = re.findall(r"'([^']+)'", str(first.get("ctx", {}).get("expected", "")))
    near = _nearest(str(first["input"]), tuple(expected))
    if first["type"] == "missing":
        message = "is missing"
    elif first["type"] == "string_type":
        message = "should be a text; put it in quotes"
    else:
        message = message[0].lower() + message[1:]
    if first["type"] == "value_error":  # a check across several keys names its values itself
        value = ""
    return f"{file}: {key}:{value} {message}{near}{more}"


def _fields(model: type[BaseModel], parts: list[str]) -> list[str]:
    for part in parts:
        annotation = model.model_fields[part].annotation if part in model.model_fields else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        model = annotation
    return list(model.model_fields)


def _nearest(word: str, valid: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(word, valid, n=1, cutoff=0.5)
    return f"; did you mean '{near[0]}'?" if near else ""


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
