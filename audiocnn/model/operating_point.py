"""The operating point of event detection, chosen by a rehearsal: the part of a bundle that says what is an event."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from audiocnn.labels import Labels
from audiocnn.specs import EventSpec

_Threshold = Annotated[float, Field(gt=0, le=1)]


class _Said(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, defer_build=True)


class MeasuredLabel(_Said):
    """What was reached of one label at the chosen point: ``n_found`` of ``n_events`` spliced in were found.

    Events come from recordings of ``n_groups`` groups, none of which took part in choosing. ``within_limit`` says
    whether the wanted limit was kept where the point was chosen.
    """

    n_events: int = Field(ge=0)
    n_found: int = Field(ge=0)
    n_groups: int = Field(ge=0)
    recall: float = Field(ge=0, le=1)
    false_alarms_per_hour: float = Field(ge=0)
    within_limit: bool


class OperatingPoint(_Said):
    """Thresholds by label, smoothing, shortest duration and longest gap of events, as `EventSpec` has them.

    ``hours`` of scenes were judged to measure it, made of ``background`` (that of recordings, or noise), with events
    ``snr_db`` (lowest, highest) above it. ``wanted_false_alarms`` an hour were allowed. ``model`` is the digest of the
    bundle as it was before there was any operating point in it.
    """

    thresholds: dict[str, _Threshold] = Field(min_length=1)
    smooth_s: float = Field(ge=0, le=10)
    min_duration_s: float = Field(ge=0, le=86_400)
    max_gap_s: float = Field(ge=0, le=86_400)
    wanted_false_alarms: float = Field(ge=0)
    hours: float = Field(gt=0)
    background: Literal["recordings", "noise"]
    snr_db: tuple[float, float]
    seed: int = Field(ge=0)
    measured: dict[str, MeasuredLabel]
    model: str = Field(pattern="^[0-9a-f]{64}$")

    def fill_unset(self, spec: EventSpec, labels: Labels) -> EventSpec:
        """Return ``spec`` with what it leaves open set as was rehearsed; what it says itself stays.

        Of two ``labels`` only those that were rehearsed make events, unless it names some.

        >>> point = OperatingPoint(thresholds={"owl": 0.9}, smooth_s=1.0, min_duration_s=0.5, max_gap_s=0.2,
        ...     wanted_false_alarms=1.0, hours=1.0, background="noise", snr_db=(0.0, 10.0), seed=0, measured={},
        ...     model="0" * 64)
        >>> filled = point.fill_unset(EventSpec(smooth_s=0.0), Labels(("fox", "owl", "wind")))
        >>> filled.thresholds, filled.smooth_s, filled.min_duration_s
        ({'owl': 0.9}, 0.0, 0.5)
        """
        said = spec.model_fields_set
        timing = {name: getattr(self, name) for name in ("smooth_s", "min_duration_s", "max_gap_s") if name not in said}
        rehearsed: Mapping[str, float] = {} if spec.threshold is not None else self.thresholds
        found = {**timing, "thresholds": {**rehearsed, **spec.thresholds}}
        if len(labels) == 2 and not spec.labels:
            found["labels"] = tuple(label for label in labels if label in self.thresholds)
        return spec.model_copy(update=found)
