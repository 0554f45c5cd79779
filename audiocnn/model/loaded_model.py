"""What a model offers once it is read from its folder: a `Bundle` of one network, or an `Ensemble` of several."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from audiocnn.features.frontend import Frontend
from audiocnn.files import digest_of
from audiocnn.labels import Labels
from audiocnn.model.decision import Decision, OperatingPoint
from audiocnn.model.domain import Domain
from audiocnn.model.runtime import Runtime
from audiocnn.specs import EventSpec, FeatureSpec, finest_member
from audiocnn.text import printable

_FIRST = ("schema", "schema_", "name", "features", "labels", "positive")  # fields in ``bundle.json``
_NEWER = ("decision", "domain", "operating")  # not written if None, so that older versions read models without them


class ModelInfo(BaseModel):
    """The fields that every ``bundle.json`` has.

    ``decision`` turns scores into decisions, None if no recordings were held out to fit it. ``domain`` has the ranges
    of the training recordings, None if they were too few. ``operating`` has the event thresholds, None without
    event tuning. ``training``, ``metrics`` and ``provenance`` are for people and reports. ``files`` are the SHA-256 of
    the other files, ``sha256`` is that of all other fields.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    other_files: ClassVar[Sequence[str]]  # names, in order

    schema_: str = Field(alias="schema")
    name: str = Field(max_length=1_000)
    features: FeatureSpec
    labels: tuple[str, ...] = Field(min_length=2, max_length=100_000)
    positive: str | None = None
    temperature: float = Field(default=1.0, ge=1e-6, le=1e6)  # outside, scores of float32 logits are not finite
    decision: Decision | None = None
    domain: Domain | None = None
    operating: OperatingPoint | None = None
    training: dict[str, Any]
    metrics: dict[str, Any]
    provenance: dict[str, Any]
    files: dict[str, str]
    sha256: str

    @model_serializer(mode="wrap")
    def _in_order(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Return the fields in the order of older versions: those of a subclass are between the shared ones."""

        def place(name: str) -> int:
            return 0 if name in _FIRST else 2 if name in ModelInfo.model_fields else 1

        values = {name: value for name, value in handler(self).items() if name not in _NEWER or value is not None}
        return {name: values[name] for name in sorted(values, key=place)}

    @model_validator(mode="after")
    def _shared_are_consistent(self) -> Self:
        Labels(self.labels, self.positive).validate()
        if self.operating is not None:
            self.operating.check(self.labels)
        if set(self.files) != set(self.other_files):
            raise ValueError(f"files must be exactly {', '.join(self.other_files)}")
        if printable(self.name) != self.name:
            raise ValueError("name contains a control code")
        return self

    @classmethod
    def sealed(cls, fields: Mapping[str, Any], contents: Mapping[str, bytes]) -> Self:
        """Return all fields, given those other than the hashes, and the ``contents`` of the other files."""
        files = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
        info = cls.model_validate_json(json.dumps({**fields, "files": files, "sha256": ""}))
        return info.model_copy(update={"sha256": info.content_sha256})

    @property
    def content_sha256(self) -> str:
        """The correct value of `sha256`."""
        return digest_of(self.model_dump(mode="json", by_alias=True, exclude={"sha256"}))


class Network(Protocol):
    """One network of a model: what turns samples into frames, and windows of them into scores."""

    @property
    def spec(self) -> FeatureSpec: ...
    @property
    def labels(self) -> Labels: ...
    @property
    def frontend(self) -> Frontend: ...
    @property
    def runtime(self) -> Runtime: ...
    @property
    def temperature(self) -> float: ...
    @property
    def decision(self) -> Decision | None: ...
    @property
    def domain(self) -> Domain | None: ...


class LoadedModel(ABC):
    """A model that passed its own test; ``digest`` is the SHA-256 of its ``bundle.json``.

    Base class of the frozen dataclasses `Bundle` and `Ensemble`.
    """

    folder: Path
    info: ModelInfo
    digest: str

    @property
    @abstractmethod
    def networks(self) -> Sequence[Network]:
        """The networks, each with features of its own."""

    @property
    def members(self) -> "Mapping[str, LoadedModel]":
        """The models of the networks by name, if there are several; else nothing."""
        return {}

    @property
    def weights(self) -> Sequence[float]:
        """The share of each network in the log-scores; they sum to 1."""
        return (1.0,)

    @property
    @abstractmethod
    def embedding_size(self) -> int:
        """Length of the embedding of a recording."""

    @property
    @abstractmethod
    def notation(self) -> str:
        """The layers of the network, or of all networks with their names."""

    @abstractmethod
    def with_threads(self, n_threads: int) -> Self:
        """Return the same model with networks of its own, which use this number of threads."""

    @property
    def finest(self) -> int:
        """The number of the network whose windows have scores: of several, the closest together."""
        return finest_member({k: network.spec for k, network in enumerate(self.networks)})

    @property
    def spec(self) -> FeatureSpec:
        """The features of the network whose windows have scores."""
        return self.info.features

    @property
    def widest_spec(self) -> FeatureSpec:
        """The features with the highest sample rate of all networks, at which sounds are made for the model."""
        return max((network.spec for network in self.networks), key=lambda spec: spec.sample_rate)

    @cached_property
    def labels(self) -> Labels:
        return Labels(self.info.labels, self.info.positive)

    @property
    def temperature(self) -> float:
        """Divisor of the logits, or of the mean log-scores of several networks, before they become scores."""
        return self.info.temperature

    @property
    def decision(self) -> Decision | None:
        return self.info.decision

    @property
    def domain(self) -> Domain | None:
        return self.info.domain

    @property
    def operating(self) -> OperatingPoint | None:
        return self.info.operating

    def with_decision(self, decision: Decision) -> Self:
        """Return the same model with other rules."""
        dataclass: Any = self
        changed: Self = replace(dataclass, info=self.info.model_copy(update={"decision": decision}))
        return changed

    def settle_events(self, spec: EventSpec) -> EventSpec:
        """Return ``spec`` with unset values from the operating point, if there is one.

        Of two labels only the positive one makes events, unless the spec, the operating point or thresholds of the
        model name others.
        """
        if self.operating is not None:
            return self.operating.fill_unset(spec, self.labels)
        fitted = () if self.decision is None else self.decision.thresholds
        positive = self.labels.positive
        if positive is not None and not (spec.labels or spec.thresholds or fitted):
            return spec.model_copy(update={"labels": (positive,)})
        return spec

    @property
    def scores_digest(self) -> str:
        """The digest that identifies the scores: that of the model without an operating point."""
        return self.digest if self.info.operating is None else self.info.operating.model
