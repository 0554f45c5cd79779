"""A model of several networks: each member is a bundle of its own below ``members/``, and all score a recording.

``bundle.json`` holds their names, weights and digests, and what applies to all: labels, calibration and decision rules.
"""

import hashlib
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from audiocnn.errors import ConfigError, IntegrityError
from audiocnn.files import atomic_folder, write_atomic
from audiocnn.model import bundle
from audiocnn.model.bundle import MANIFEST, MEMBERS, MEMBERS_SCHEMA, Bundle, BundleInfo
from audiocnn.model.loaded_model import LoadedModel, ModelInfo
from audiocnn.specs import MAX_MEMBERS, MEMBER_NAME, finest_member
from audiocnn.text import printable

_CARD = "MODEL_CARD.md"
_MAX_CARD_BYTES = 16 << 20


class MemberInfo(BaseModel):
    """A member: its name, its share of the log-scores, and the SHA-256 of its ``bundle.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str = Field(pattern=f"^{MEMBER_NAME}$")
    weight: float = Field(gt=0, lt=1)
    digest: str = Field(pattern="^[0-9a-f]{64}$")


class EnsembleInfo(ModelInfo):
    """The content of ``bundle.json`` of a model with several networks.

    ``features`` are those of the member whose windows are closest together.
    """

    other_files: ClassVar[Sequence[str]] = (_CARD,)

    schema_: Literal["audiocnn.bundle/2"] = Field(default=MEMBERS_SCHEMA, alias="schema")
    members: tuple[MemberInfo, ...] = Field(min_length=2, max_length=MAX_MEMBERS)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len({member.name for member in self.members}) < len(self.members):
            raise ValueError("two members have the same name")
        if not math.isclose(sum(member.weight for member in self.members), 1, abs_tol=1e-6):
            raise ValueError("the weights of the members do not sum to 1")
        return self


@dataclass(frozen=True)
class Ensemble(LoadedModel):
    """A loaded model of several networks: ``bundles`` by name, in the order of ``bundle.json``."""

    folder: Path
    info: EnsembleInfo
    digest: str
    bundles: Mapping[str, Bundle]

    @property
    def members(self) -> Mapping[str, Bundle]:
        return self.bundles

    @property
    def networks(self) -> tuple[Bundle, ...]:
        return tuple(self.bundles.values())

    @property
    def weights(self) -> tuple[float, ...]:
        """The share of each member in the log-scores; they sum to 1."""
        return tuple(member.weight for member in self.info.members)

    @property
    def embedding_size(self) -> int:
        return sum(member.embedding_size for member in self.networks)

    @property
    def notation(self) -> str:
        return ", ".join(f"{name}: {member.notation}" for name, member in self.members.items())

    def with_threads(self, n_threads: int) -> "Ensemble":
        return replace(self, bundles={name: one.with_threads(n_threads) for name, one in self.members.items()})


def write(folder: Path, info: Mapping[str, Any], *, members: Mapping[str, Path], card: str) -> None:
    """Write a model of several networks atomically, with copies of its ``members``, which are folders of bundles.

    ``info`` has the fields of `EnsembleInfo` without ``members``, ``files`` and ``sha256``, and ``weights`` by name.
    """
    fields = dict(info)
    weights = fields.pop("weights")
    fields["members"] = [
        {"name": name, "weight": weights[name], "digest": hashlib.sha256((one / MANIFEST).read_bytes()).hexdigest()}
        for name, one in members.items()
    ]
    complete = EnsembleInfo.sealed(fields, {_CARD: card.encode("utf-8")})
    with atomic_folder(folder) as temporary:
        for name, one in members.items():
            (temporary / MEMBERS / name).mkdir(parents=True)
            for file in (MANIFEST, *bundle.FILES):
                shutil.copy(one / file, temporary / MEMBERS / name / file)
        write_atomic(temporary / _CARD, card.encode("utf-8"))
        write_atomic(temporary / MANIFEST, bundle.text_of(complete))


def update(folder: Path, changes: Mapping[str, Any], *, card: str) -> None:
    """Replace some fields of `EnsembleInfo` and the card; the members stay the same."""
    info, _, _ = read(folder)
    fields = {
        **info.model_dump(mode="json", by_alias=True, exclude={"schema_", "files", "sha256", "members"}),
        **changes,
    }
    fields["weights"] = {member.name: member.weight for member in info.members}
    write(folder, fields, members={member.name: folder / MEMBERS / member.name for member in info.members}, card=card)


def read(folder: Path) -> tuple[EnsembleInfo, str, dict[str, bytes]]:
    """Return the content of ``bundle.json``, its SHA-256 and the card; checks hashes, but not those of the members."""
    info, digest = bundle.read_manifest(folder, EnsembleInfo)
    contents = bundle.read_files(folder, info.files, _MAX_CARD_BYTES)
    names = [member.name for member in info.members]
    for path in (folder / MEMBERS, *(folder / MEMBERS / name for name in names)):
        if path.is_symlink() or not path.is_dir():
            raise IntegrityError(f"{path}: missing, or not a folder")
    if strange := {path.name for path in (folder / MEMBERS).iterdir() if path.is_dir()}.difference(names):
        raise ConfigError(f"{folder / MEMBERS / printable(min(strange))}: not a member of this model; remove it")
    return info, digest, contents


def read_members(folder: Path, info: EnsembleInfo) -> dict[str, BundleInfo]:
    """Return the content of ``bundle.json`` of each member, by name, with the checks of `load`; loads no network."""
    found = {member.name: bundle.read(folder / MEMBERS / member.name)[:2] for member in info.members}
    _check_members(folder, info, found)
    return {name: one for name, (one, _) in found.items()}


def load(folder: Path) -> Ensemble:
    """Load a model of several networks; each member is checked as a bundle of its own, and against the others.

    Raises `IntegrityError` if any content has changed, or the members do not fit together.
    """
    info, digest, _ = read(folder)
    members = {member.name: bundle.load(folder / MEMBERS / member.name) for member in info.members}
    _check_members(folder, info, {name: (one.info, one.digest) for name, one in members.items()})
    loaded = Ensemble(folder, info, digest, members)
    bundle.check_decision(folder, info, loaded.embedding_size)
    return loaded


def _check_members(folder: Path, info: EnsembleInfo, members: Mapping[str, tuple[BundleInfo, str]]) -> None:
    """Raise `IntegrityError` unless members, with their digests, are those of ``info`` and fit together."""
    for member in info.members:
        own, digest = members[member.name]
        if digest != member.digest:
            raise IntegrityError(f"{folder / MEMBERS / member.name}: not the member that {folder / MANIFEST} names")
        if (own.labels, own.positive) != (info.labels, info.positive):
            raise IntegrityError(f"{folder / MEMBERS / member.name}: its labels are not those of {folder / MANIFEST}")
    specs = {name: own.features for name, (own, _) in members.items()}
    if info.features != specs[finest_member(specs)]:
        raise IntegrityError(f"{folder / MANIFEST}: its features are not those of the member with the closest windows")
    if len({spec.channel for spec in specs.values()}) > 1:
        raise IntegrityError(f"{folder / MANIFEST}: its members use different channels")
