"""YAML files to validated settings. A mistake becomes one line: file, key, value, nearest valid name."""

import difflib
import json
import math
import re
import reprlib
import shlex
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin

import yaml
from pydantic import AliasChoices, BaseModel, ValidationError

from audiocnn.errors import ConfigError, NotReadyError
from audiocnn.files import match_unicode_form, restore_folder
from audiocnn.specs import (
    CONFIG_NAME,
    COPIES_KEYS,
    DEFAULT_PRESET,
    Experiment,
    Members,
    Preset,
    Sweep,
    finest_member,
)
from audiocnn.text import printable

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

PRESETS = ("general", "instrument", "spectrogram", "ultrasonic")  # of one network
MEMBER_PRESETS = ("best",)  # of several

_PACKAGE = Path(__file__).resolve().parent
_CONFIGS = (_PACKAGE / "configs", _PACKAGE.parent / "configs")  # installed, or in a checkout
_SHOWN = 3  # further mistakes that a message names
_NETWORK = ("features", "model", "train")  # the blocks that describe one network
_VARIED = (*_NETWORK, "members")  # the blocks that a sweep may change
_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True)
class Project:
    """An `Experiment` and its YAML file, to whose folder its paths are relative.

    ``member`` names the network of the experiment if it is one of several.
    """

    file: Path
    experiment: Experiment
    member: str = ""

    @property
    def manifest(self) -> Path:
        return self.file.parent / self.experiment.data.manifest

    @property
    def root(self) -> Path:
        return match_unicode_form(self.file.parent / self.experiment.data.root)

    @property
    def run(self) -> Path:
        """Folder of all results of the experiment, or of one member."""
        folder = self.file.parent / "runs" / self.experiment.name
        return folder / "members" / self.member if self.member else folder

    @property
    def members(self) -> "dict[str, Project]":
        """A project for each network of the model if there are several, else nothing; they share data and split."""
        return self.networks if self.experiment.members else {}

    @property
    def networks(self) -> "dict[str, Project]":
        """A project for each network of the model; that of a model of one has no name."""
        return {name: replace(self, experiment=one, member=name) for name, one in self.experiment.networks.items()}

    @property
    def finest(self) -> str:
        """The name of the network whose windows are closest together."""
        return finest_member({name: one.experiment.features for name, one in self.networks.items()})

    def command(self, words: str) -> str:
        """Return a command line for this project, with ``-c`` unless its file is found without."""
        return f"audiocnn {words}" + ("" if self.file == Path(CONFIG_NAME) else f" -c {shlex.quote(str(self.file))}")

    def model(self) -> Path:
        """Return the folder of the trained model; raise `NotReadyError` if there is none."""
        folder = self.run / "model"
        restore_folder(folder)
        if not folder.is_dir():
            if trained := [name for name, member in self.members.items() if (member.run / "model").is_dir()]:
                raise NotReadyError(
                    f"{folder}: no model yet, only of member {' and '.join(trained)}; run 'audiocnn train', which "
                    "resumes, or pass --model DIR"
                )
            raise NotReadyError(f"{folder}: no model yet; run 'audiocnn train' first, or pass --model DIR")
        return folder


def read(file: Path) -> Project:
    """Read an ``audiocnn.yaml``; raise `ConfigError` for the first mistake in it."""
    if not file.is_file():
        raise ConfigError(f"{file}: no such file; run 'audiocnn init DIR' first, or pass -c FILE")
    return Project(file=file, experiment=_validated(Experiment, file))


def with_root(file: Path, root: str) -> str:
    """Return the text of an ``audiocnn.yaml`` with another ``data.root``; all other characters stay as they are."""
    before = _validated(Experiment, file)
    text = file.read_bytes().decode("utf-8")
    data = _child(yaml.compose(text, Loader=_Loader), "data")
    value = _child(data, "root")
    if value is not None:
        text = text[: value.start_mark.index] + quoted(root) + text[value.end_mark.index :]
    after = before.model_copy(update={"data": before.data.model_copy(update={"root": root})})
    try:
        done = value is not None and check_text(text, file) == after
    except ConfigError:
        done = False
    if not done:
        raise ConfigError(f"{file}: data.root is written in a form that is not changed here; set it to {quoted(root)}")
    return text


def _child(node: yaml.Node | None, key: str) -> yaml.Node | None:
    """Return the value of a key of a YAML mapping."""
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    return next((value for name, value in pairs if name.value == key), None)


def check_text(text: str, file: Path) -> Experiment:
    """Return the settings in a text; raise `ConfigError`, naming ``file``, unless it is a valid ``audiocnn.yaml``."""
    return _validated(Experiment, file, text)


def quoted(text: str) -> str:
    """Return a text as a double-quoted YAML string on one line. The text must not contain lone surrogates."""
    return yaml.safe_dump(text, default_style='"', allow_unicode=True, width=math.inf).rstrip("\n")


def to_yaml(settings: Mapping[str, Any]) -> str:
    """Return settings as YAML, in their order; lists are on one line.

    >>> print(to_yaml({"features": {"kind": "logmel", "fmax": None, "channels": ["static"]}}), end="")
    features:
      kind: logmel
      fmax: null
      channels: [static]
    """
    return yaml.dump(settings, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def preset_file(name: str) -> Path:
    """Return the YAML file of a preset, given by its name or path."""
    sources = sorted({f"sources/{file.stem}" for folder in _CONFIGS for file in (folder / "sources").glob("*.yaml")})
    return _file_of("preset", name, Path(), (*PRESETS, *MEMBER_PRESETS, *sources))


def sweep_file(name: str) -> Path:
    """Return the YAML file of a sweep, given by its name or path."""
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
    """Read and validate a preset, given by its name or path."""
    return _validated(Preset, preset_file(name))


@dataclass(frozen=True)
class SweepPlan:
    """A `Sweep`, its YAML file, and the complete experiment of each variant."""

    file: Path
    sweep: Sweep
    experiments: Mapping[str, Experiment]


def read_sweep(name: str, project: Project) -> SweepPlan:
    """Read a sweep over a project, given by its name or path, and validate all its variants."""
    file = sweep_file(name)
    sweep = _validated(Sweep, file)
    base = project.experiment.model_dump()
    if sweep.preset is not None:
        sibling = file.parent / sweep.preset
        try:
            preset = read_preset(str(sibling) if sibling.is_file() else sweep.preset)
        except ConfigError as error:
            raise ConfigError(f"{file}: preset: {error}") from error
        base |= preset.model_dump(include=set(_VARIED))
    experiments: dict[str, Experiment] = {}
    for variant, settings in sweep.variants.items():
        experiment = _variant_experiment(file, sweep, base, variant, settings)
        equal = next((other for other, known in experiments.items() if known == experiment), None)
        if equal is not None:
            raise ConfigError(
                f"{file}: variants '{printable(equal)}' and '{printable(variant)}' are equal; change or remove one"
            )
        experiments[variant] = experiment
    return SweepPlan(file, sweep, experiments)


def _variant_experiment(
    file: Path, sweep: Sweep, base: Mapping[str, Any], variant: str, own: Mapping[str, Any]
) -> Experiment:
    title = f"variant '{printable(variant)}'"
    for where, settings in (("common", sweep.common), (title, own)):
        for key in settings:
            if key not in _VARIED:
                near = _nearest(key, _VARIED)
                raise ConfigError(f"{file}: {where}: {printable(key)}: only {', '.join(_VARIED)} may vary{near}")
        for block in (settings, *_mappings(settings.get("members"))):
            if isinstance(block.get("train"), Mapping) and "seed" in block["train"]:
                raise ConfigError(
                    f"{file}: {where}: train.seed: set 'seeds' of the sweep instead; all variants use them"
                )
    changes = _merge(sweep.common, own)
    try:
        if base["members"] or "members" in changes:
            experiment = Experiment.model_validate(_with_changed_members(base, changes))
        else:
            experiment = Experiment.model_validate(_merge(_merge(base, sweep.common), own))
    except ValidationError as error:
        line = _one_line(Members if error.title == Members.__name__ else Experiment, error)
        keys = line.partition(":")[0].split(".")
        place = f"{title}, common" if _contains(sweep.common, keys) and not _contains(own, keys) else title
        raise ConfigError(f"{file}: {place}: {printable(line)}") from error
    except ConfigError as error:
        raise ConfigError(f"{file}: {title}: {printable(str(error))}") from error
    return with_train(experiment, {"seed": 0})


def with_train(experiment: Experiment, changes: Mapping[str, Any]) -> Experiment:
    """Return an experiment with these changes to its `TrainSpec`, and to those of its members."""
    members = {
        name: one.model_copy(update={"train": one.train.model_copy(update=dict(changes))})
        for name, one in experiment.members.items()
    }
    train = experiment.train.model_copy(update=dict(changes))
    return experiment.model_copy(update={"train": train, "members": members})


def _with_changed_members(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings ``base`` with changed or further ``members``.

    A member that names a preset is replaced, one that is null is left out.
    """
    if base["members"] and "members" not in changes and any(key in changes for key in _NETWORK):
        block = next(key for key in _NETWORK if key in changes)
        raise ConfigError(
            f"{block}: {CONFIG_NAME} has members, each with its own; move it to members.NAME.{block}, or name the "
            f"preset of one network to start from, such as 'preset: {DEFAULT_PRESET}'"
        )
    members, changed = dict(base["members"]), changes.get("members", {})
    if isinstance(changed, Mapping):
        for name, own in changed.items():
            changes_own = name in members and isinstance(own, Mapping) and "preset" not in own
            members[name] = _merge(members[name], own) if changes_own else own
        changed = {name: own for name, own in members.items() if own is not None}
    rest = {key: value for key, value in base.items() if key not in _NETWORK}
    return _with_members({**rest, **changes, "members": changed})


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    """Return the values of a mapping that are mappings."""
    return [one for one in value.values() if isinstance(one, Mapping)] if isinstance(value, Mapping) else []


def _merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings ``base`` overridden, block by block, by ``changes``."""
    merged = dict(base)
    if any(key in changes for key in COPIES_KEYS):  # one name of the setting overrides the other
        merged = {key: value for key, value in merged.items() if key not in COPIES_KEYS}
    for key, value in changes.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def _contains(settings: Any, key: Sequence[str]) -> bool:
    """Whether nested settings set this key, or a block above it to something else than a block."""
    for part in key:
        if not isinstance(settings, Mapping):
            return True
        if part not in settings:
            return False
        settings = settings[part]
    return True


class _Dumper(yaml.SafeDumper):
    """Writes lists on one line."""


_Dumper.add_representer(list, lambda dumper, data: dumper.represent_sequence("tag:yaml.org,2002:seq", data, True))


class _Loader(yaml.SafeLoader):
    """A safe YAML loader that reads ``5e-4`` as a number, as YAML 1.2 does, and refuses a key given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.MarkedYAMLError(problem=f"key {key!r} is not a string", problem_mark=key_node.start_mark)
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
        return model.model_validate(_with_members(value) if "members" in value and issubclass(model, Preset) else value)
    except ValidationError as error:
        location, what = _first_mistake(Members if error.title == Members.__name__ else model, error)
        number = _line_of(text, location)
        raise ConfigError(f"{file}:{'' if number is None else f' line {number}:'} {printable(what)}") from error
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from error


def _with_members(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with the presets of their ``members`` filled in, and the blocks of the finest one at the top.

    Raises `ConfigError` without the name of the file, or pydantic's `ValidationError` for `Members`.
    """
    if twice := [key for key in _NETWORK if key in settings]:
        raise ConfigError(f"{twice[0]}: with members, each has its own; move it to members.NAME.{twice[0]}")
    members = settings["members"]
    if isinstance(members, Mapping):
        members = {name: _with_preset(f"members.{name}", own) for name, own in members.items()}
    checked = Members.model_validate({"members": members})
    finest = checked.members[finest_member({name: member.features for name, member in checked.members.items()})]
    return {**settings, "members": checked.members, **{key: getattr(finest, key) for key in _NETWORK}}


def _with_preset(where: str, own: Any) -> Any:
    """Return the settings of a member: those of the preset that it names, overridden by its own."""
    if not isinstance(own, Mapping) or "preset" not in own:
        return own
    name, own = own["preset"], {key: value for key, value in own.items() if key != "preset"}
    if name in MEMBER_PRESETS or not isinstance(name, str):
        raise ConfigError(f"{where}.preset: {_short(name)}: not a preset of one network; use {', '.join(PRESETS)}")
    try:
        return _merge(read_preset(name).model_dump(include=set(_NETWORK)), own)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def _line_of(text: str, location: Sequence[int | str]) -> int | None:
    """Return the line of the key at pydantic's ``location``, or of the block around it; None if neither is there."""
    node: yaml.Node | None = yaml.compose(text, Loader=_Loader)
    line: int | None = None
    for part in location:  # pydantic adds the name of a union's member, which is in no node
        entries: dict[Any, tuple[yaml.Node, yaml.Node]] = {}
        if isinstance(node, yaml.MappingNode):
            entries = {key.value: (key, value) for key, value in node.value}
        elif isinstance(node, yaml.SequenceNode):
            entries = dict(enumerate((item, item) for item in node.value))
        if part in entries:
            key, node = entries[part]
            line = key.start_mark.line + 1
    return line


_EXPECTATIONS = {  # by pydantic's error type, where its own message is unclear
    "missing": "is missing",
    "string_type": "should be a string; put it in quotes",
    "tuple_type": "should be a list, such as [a, b]",
    "model_type": "should be a block of settings",
    "dict_type": "should be a block of settings",
}


def _one_line(model: type[BaseModel], error: ValidationError) -> str:
    """Return one line about the first mistake: key, value, remedy."""
    return _first_mistake(model, error)[1]


def _first_mistake(model: type[BaseModel], error: ValidationError) -> tuple[Sequence[int | str], str]:
    """Return the location of the first mistake and one line about it, which names the keys of the next ones."""
    by_key: dict[str, list[ErrorDetails]] = defaultdict(list)  # each member of a union reports an error of its own
    for problem in error.errors(include_url=False):
        by_key[_place(model, problem["loc"])[0]].append(problem)
    misspelt = {key for key, problems in by_key.items() if problems[0]["type"] == "extra_forbidden"}
    meant = {_meant(model, by_key[key][0]) for key in misspelt}  # a misspelt key makes the right one missing
    keys = [key for key in by_key if key not in meant or by_key[key][0]["type"] != "missing"]
    first, *others = sorted(keys, key=lambda key: key not in misspelt)
    more = f" (and {len(others)} more: {_listed(others)})" if others else ""
    return by_key[first][0]["loc"], _describe(model, first, by_key[first]) + more


def _meant(model: type[BaseModel], problem: "ErrorDetails") -> str:
    """Return the key that a misspelt one most likely stands for; the block if none is near."""
    key, known = _place(model, problem["loc"])
    return ".".join([*key.split(".")[:-1], *_nearest_of(str(problem["loc"][-1]), known)])


def _describe(model: type[BaseModel], key: str, problems: "Sequence[ErrorDetails]") -> str:
    """Return one line about the mistakes of one key."""
    first, value = problems[0], problems[0]["input"]
    if first["type"] == "extra_forbidden":
        known = _place(model, first["loc"])[1]
        return f"{key}: {_short(value)}: unknown key{_nearest(str(first['loc'][-1]), known)}"
    if first["type"] == "value_error":  # a check across several keys; its message contains their values
        return f"{key}: ".removeprefix(": ") + first["msg"].removeprefix("Value error, ")
    hints = [_EXPECTATIONS.get(p["type"], p["msg"][0].lower() + p["msg"][1:]).removeprefix("input ") for p in problems]
    valid = re.findall(r"'([^']+)'", str([p.get("ctx", {}).get("expected", "") for p in problems]))
    near = _nearest(value, valid) if isinstance(value, str) else ""
    shown = "" if first["type"] == "missing" else f" {_short(value)}:"
    return f"{key}:{shown} {', or '.join(dict.fromkeys(hints))}{near}"


def _listed(keys: Sequence[str]) -> str:
    return ", ".join([*keys[:_SHOWN], *(["..."] if len(keys) > _SHOWN else [])])


def _place(model: type[BaseModel], location: Sequence[int | str]) -> tuple[str, list[str]]:
    """Return the dotted key at pydantic's ``location``, and the valid names of its last part."""
    key: list[str] = []
    inside: type[BaseModel] | None = model
    member: type[BaseModel] | None = None  # type of the items, inside a list or dict
    free = False  # inside a dict, whose keys may be any
    valid: list[str] = []
    for part in location:
        if inside is not None:
            annotations = _annotations(inside)
            valid, annotation = list(annotations), annotations.get(str(part))
            free = get_origin(annotation) is dict
            of_items = get_args(annotation)[-1 if free else 0] if get_origin(annotation) in (tuple, dict) else None
            inside, member = (
                found if isinstance(found, type) and issubclass(found, BaseModel) else None
                for found in (annotation, of_items)
            )
        elif (isinstance(part, int) or free) and member is not None:
            inside, member = member, None
        elif isinstance(part, str) and not free:
            continue  # pydantic adds the name of a union's member
        key.append(str(part))
    return ".".join(key), valid


def _annotations(model: type[BaseModel]) -> dict[str, Any]:
    """The type of each field of a model, under every key that YAML may use for it."""
    keys_of = {
        name: alias.choices if isinstance(alias := field.validation_alias, AliasChoices) else [name]
        for name, field in model.model_fields.items()
    }
    return {str(key): model.model_fields[name].annotation for name, keys in keys_of.items() for key in keys}


def _nearest(word: str, valid: Sequence[str]) -> str:
    return "".join(f"; did you mean '{near}'?" for near in _nearest_of(word, valid))


def _nearest_of(word: str, valid: Sequence[str]) -> list[str]:
    return difflib.get_close_matches(word, valid, n=1, cutoff=0.5)


def _short(value: object) -> str:
    """A value as YAML shows it, shortened; `reprlib` does not expand nested YAML aliases, which may be huge."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    text = reprlib.repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
