"""The operating point of event detection, chosen by event tuning: the part of a bundle that defines an event."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from audiocnn.labels import Labels
from audiocnn.specs import EventSpec

_Threshold = Annotated[float, Field(gt=0, le=1)]


class _FrozenModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, defer_build=True)


class MeasuredLabel(_FrozenModel):
    """The result of one label at the chosen point: ``n_found`` of the ``n_events`` mixed into the soundscapes.

    Events come from recordings of ``n_groups`` groups, none of which was used to choose the point. ``within_limit``
    tells whether the requested limit was kept on the recordings that were used to choose it.
    """

    n_events: int = Field(ge=0)
    n_found: int = Field(ge=0)
    n_groups: int = Field(ge=0)
    recall: float = Field(ge=0, le=1)
    false_alarms_per_hour: float = Field(ge=0)
    within_limit: bool


class OperatingPoint(_FrozenModel):
    """Thresholds by label, and the smoothing, minimum duration and maximum gap of events, as in `EventSpec`.

    It was measured on ``hours`` of soundscapes with a ``background`` of recordings or noise, and events ``snr_db``
    (lowest, highest) above it. ``wanted_false_alarms`` is the requested limit per hour. ``model`` is the digest of the
    bundle without any operating point.
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
        """Return ``spec`` with the values of this point for the fields that are not set.

        Of two ``labels`` only those with a threshold here make events, unless ``spec`` names some.

        >>> point = OperatingPoint(thresholds={"owl": 0.9}, smooth_s=1.0, min_duration_s=0.5, max_gap_s=0.2,
        ...     wanted_false_alarms=1.0, hours=1.0, background="noise", snr_db=(0.0, 10.0), seed=0, measured={},
        ...     model="0" * 64)
        >>> filled = point.fill_unset(EventSpec(smooth_s=0.0), Labels(("fox", "owl", "wind")))
        >>> filled.thresholds, filled.smooth_s, filled.min_duration_s
        ({'owl': 0.9}, 0.0, 0.5)
        """
        given = spec.model_fields_set
        timing = {
            name: getattr(self, name) for name in ("smooth_s", "min_duration_s", "max_gap_s") if name not in given
        }
        tuned: Mapping[str, float] = {} if spec.threshold is not None else self.thresholds
        values = {**timing, "thresholds": {**tuned, **spec.thresholds}}
        if len(labels) == 2 and not spec.labels:
            values["labels"] = tuple(label for label in labels if label in self.thresholds)
        return spec.model_copy(update=values)
