"""YAML to `Experiment`, once, at the edge; every mistake is one line: file, key, value, nearest valid name."""

import difflib
import json
import math
import re
import reprlib
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from audiocnn.errors import ConfigError, NotReadyError
from audiocnn.files import restore_folder
from audiocnn.specs import Experiment, Preset, Sweep
from audiocnn.text import printable

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

CONFIG_NAME = "audiocnn.yaml"
PRESETS = ("general", "instrument", "spectrogram")
DEFAULT_PRESET = "general"

_PACKAGE = Path(__file__).resolve().parent
_CONFIGS = (_PACKAGE / "configs", _PACKAGE.parent / "configs")  # installed, or in a checkout
_VARIED = ("features", "model", "train")  # what a sweep may change
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

    def model(self) -> Path:
        """Return the folder of the trained model; raise `NotReadyError` if there is none."""
        folder = self.run / "model"
        restore_folder(folder)
        if not folder.is_dir():
            raise NotReadyError(f"{folder}: no model yet; run 'audiocnn train' first, or name one with --model DIR")
        return folder


def read(file: Path) -> Project:
    """Read an ``audiocnn.yaml``; raise `ConfigError` in one line if anything in it is not as it should be."""
    if not file.is_file():
        raise ConfigError(f"{file}: no such file; run 'audiocnn init DIR' first, or name one with -c")
    return Project(file=file, experiment=_validated(Experiment, file))


def check_text(text: str, file: Path) -> None:
    """Raise `ConfigError`, naming ``file``, unless `read` would take this text."""
    _validated(Experiment, file, text)


def quoted(text: str) -> str:
    """Return a text as it stands in YAML, in quotes and on one line; it has no lone surrogates."""
    return yaml.safe_dump(text, default_style='"', allow_unicode=True, width=math.inf).rstrip("\n")


def preset_file(name: str) -> Path:
    """Return the YAML file of a preset, given its name or a path."""
    return _file_of("preset", name, Path(), PRESETS)


def sweep_file(name: str) -> Path:
    """Return the YAML file of a sweep, given its name or a path."""
    shipped = sorted({file.stem for folder in _CONFIGS for file in (folder / "sweeps").glob("*.yaml")})
    return _file_of("sweep", name, Path("sweeps"), shipped)


def _file_of(kind: str, name: str, folder: Path, names: Sequence[str]) -> Path:
    for configs in _CONFIGS:
        if (configs / folder / f"{name}.yaml").is_file():
            return configs / folder / f"{name}.yaml"
    if Path(name).is_file():
        return Path(name)
    raise ConfigError(f"{kind} '{name}': neither a file nor one of {', '.join(names)}{_nearest(name, names)}")


def read_preset(name: str) -> Preset:
    """Read and check a preset, given its name or a path."""
    return _validated(Preset, preset_file(name))


@dataclass(frozen=True)
class SweepPlan:
    """A `Sweep`, the file that it was read from, and the whole experiment that each variant is."""

    file: Path
    sweep: Sweep
    experiments: Mapping[str, Experiment]


def read_sweep(name: str, project: Project) -> SweepPlan:
    """Read and check a sweep over a project, given its name or a path; all its variants are checked."""
    file = sweep_file(name)
    sweep = _validated(Sweep, file)
    base = project.experiment.model_dump()
    if sweep.preset is not None:
        beside = file.parent / sweep.preset
        try:
            preset = read_preset(str(beside) if beside.is_file() else sweep.preset)
        except ConfigError as error:
            raise ConfigError(f"{file}: preset: {error}") from error
        base |= preset.model_dump(include=set(_VARIED))
    experiments: dict[str, Experiment] = {}
    for variant, own in sweep.variants.items():
        found = _varied(file, sweep, base, variant, own)
        alike = next((other for other, its in experiments.items() if its == found), None)
        if alike is not None:
            raise ConfigError(
                f"{file}: variants '{printable(alike)}' and '{printable(variant)}' are alike; change or remove one"
            )
        experiments[variant] = found
    return SweepPlan(file, sweep, experiments)


def _varied(file: Path, sweep: Sweep, base: Mapping[str, Any], variant: str, own: Mapping[str, Any]) -> Experiment:
    named = f"variant '{printable(variant)}'"
    for where, settings in (("common", sweep.common), (named, own)):
        for key in settings:
            if key not in _VARIED:
                near = _nearest(key, _VARIED)
                raise ConfigError(f"{file}: {where}: {printable(key)}: only {', '.join(_VARIED)} may vary{near}")
        if isinstance(settings.get("train"), Mapping) and "seed" in settings["train"]:
            raise ConfigError(f"{file}: {where}: train.seed: all variants have the 'seeds' of the sweep")
    merged = _merged(_merged(base, sweep.common), own)
    try:
        found = Experiment.model_validate(merged)
    except ValidationError as error:
        line = _one_line(Experiment, error)
        parts = line.partition(":")[0].split(".")
        place = f"{named}, common" if _holds(sweep.common, parts) and not _holds(own, parts) else named
        raise ConfigError(f"{file}: {place}: {printable(line)}") from error
    return found.model_copy(update={"train": found.train.model_copy(update={"seed": 0})})


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Settings in which ``above`` takes the place of ``below``, block by block."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def _holds(settings: Any, key: Sequence[str]) -> bool:
    """Whether nested settings have anything to say about a key."""
    for part in key:
        if not isinstance(settings, Mapping):
            return True
        if part not in settings:
            return False
        settings = settings[part]
    return True


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


def _validated(model: type[_Model], file: Path, text: str | None = None) -> _Model:
    try:
        text = file.read_text(encoding="utf-8") if text is None else text
        value = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        line = f" line {error.problem_mark.line + 1}:" if error.problem_mark else ""
        raise ConfigError(f"{file}:{line} {printable(error.problem or str(error))}") from error
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:  # ValueError: not UTF-8, 31 February
        raise ConfigError(f"{file}: not readable as YAML ({str(error).splitlines()[0]})") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{file}: holds no settings; 'audiocnn init DIR' writes a file to start from")
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise ConfigError(f"{file}: {printable(_one_line(model, error))}") from error


_MEANT = {
    "missing": "is missing",
    "string_type": "should be a text; put it in quotes",
    "tuple_type": "should be a list, such as [a, b]",
    "model_type": "should be a block of settings",
    "dict_type": "should be a block of settings",
}


def _one_line(model: type[BaseModel], error: ValidationError) -> str:
    """Say the first thing that is wrong: key, value, remedy."""
    by_key: dict[str, list[ErrorDetails]] = defaultdict(list)  # the alternatives of a union complain one by one
    for problem in error.errors(include_url=False):
        by_key[_place(model, problem["loc"])[0]].append(problem)
    # A misspelt key explains a missing one, so it comes first.
    key, problems = min(by_key.items(), key=lambda item: item[1][0]["type"] != "extra_forbidden")
    more = f" (and {len(by_key) - 1} more)" if len(by_key) > 1 else ""
    first, value = problems[0], problems[0]["input"]
    if first["type"] == "extra_forbidden":
        known = _place(model, first["loc"])[1]
        return f"{key}: {_short(value)}: unknown key{_nearest(str(first['loc'][-1]), known)}{more}"
    if first["type"] == "value_error":  # a check across several keys, which names its values itself
        return f"{key}: ".removeprefix(": ") + f"{first['msg'].removeprefix('Value error, ')}{more}"
    wishes = [_MEANT.get(p["type"], p["msg"][0].lower() + p["msg"][1:]).removeprefix("input ") for p in problems]
    valid = re.findall(r"'([^']+)'", str([p.get("ctx", {}).get("expected", "") for p in problems]))
    near = _nearest(value, valid) if isinstance(value, str) else ""
    shown = "" if first["type"] == "missing" else f" {_short(value)}:"
    return f"{key}:{shown} {', or '.join(dict.fromkeys(wishes))}{near}{more}"


def _place(model: type[BaseModel], location: Sequence[int | str]) -> tuple[str, list[str]]:
    """Return the dotted key at pydantic's ``location``, and the names that are valid at its last part."""
    key: list[str] = []
    inside: type[BaseModel] | None = model
    member: type[BaseModel] | None = None  # of a list
    free = False  # the keys of a dict are anything
    valid: list[str] = []
    for part in location:
        if inside is not None:
            valid = list(inside.model_fields)
            annotation = inside.model_fields[str(part)].annotation if part in inside.model_fields else None
            free = get_origin(annotation) is dict
            of_list = get_args(annotation)[0] if get_origin(annotation) is tuple else None
            inside, member = (
                found if isinstance(found, type) and issubclass(found, BaseModel) else None
                for found in (annotation, of_list)
            )
        elif isinstance(part, int) and member is not None:
            inside, member = member, None
        elif isinstance(part, str) and not free:
            continue  # the name of a union's member
        key.append(str(part))
    return ".".join(key), valid


def _nearest(word: str, valid: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, valid, n=1, cutoff=0.5)
    return f"; did you mean '{near[0]}'?" if near else ""


def _short(value: object) -> str:
    """A value as it stands in YAML, however large: `reprlib` does not follow aliases that multiply."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    text = reprlib.repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
