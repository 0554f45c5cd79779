"""What a model offers once it is read from its folder: a `Bundle` of one network, or an `Ensemble` of several."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, Self

from audiocnn.features.frontend import Frontend
from audiocnn.labels import Labels
from audiocnn.model.decision import Decision, OperatingPoint
from audiocnn.model.domain import Domain
from audiocnn.model.runtime import Runtime
from audiocnn.specs import EventSpec, FeatureSpec, finest_member


class ModelInfo(Protocol):
    """The fields that every ``bundle.json`` has; see `BundleInfo`."""

    @property
    def name(self) -> str: ...
    @property
    def features(self) -> FeatureSpec: ...
    @property
    def labels(self) -> tuple[str, ...]: ...
    @property
    def positive(self) -> str | None: ...
    @property
    def temperature(self) -> float: ...
    @property
    def decision(self) -> Decision | None: ...
    @property
    def domain(self) -> Domain | None: ...
    @property
    def operating(self) -> OperatingPoint | None: ...
    @property
    def training(self) -> dict[str, Any]: ...
    @property
    def metrics(self) -> dict[str, Any]: ...
    @property
    def provenance(self) -> dict[str, Any]: ...


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
        info: Any = self.info
        dataclass: Any = self
        changed: Self = replace(dataclass, info=info.model_copy(update={"decision": decision}))
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
