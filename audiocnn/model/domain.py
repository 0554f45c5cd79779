"""Check whether a recording is like the training recordings of a model: its level, noise floor and bandwidth.

Takes the `SignalStats` of the training recordings, stores their ranges in the bundle, and returns the `DomainCheck` of
a recording.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from audiocnn.features.signal_stats import SignalStats
from audiocnn.wording import frequency

MIN_RECORDINGS = 20  # with 10, 1 in 11 other recordings of the same kind would be outside; with 20, 1 in 30

# How far beyond the usual range a recording is outside. With 6 dB (twice the amplitude) and a quarter of an octave,
# about 1 in 100 held-out recordings of the same kind is outside, and nearly all degraded ones (docs/accuracy.md).
MARGIN_DB = 6.0
MARGIN_OCTAVES = 0.25

_QUANTILES = (0.0, 0.01, 0.5, 0.99, 1.0)

Grade = Literal["inside", "edge", "outside"]
_Value = Annotated[float, Field(ge=-1e6, le=1e6)]


class Range(BaseModel):
    """Extremes, median, and 1 % and 99 % quantiles of a quantity: 98 % of recordings are from ``low`` to ``high``."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, defer_build=True)

    lowest: _Value
    low: _Value
    middle: _Value
    high: _Value
    highest: _Value

    @model_validator(mode="after")
    def _consistent(self) -> "Range":
        if not self.lowest <= self.low <= self.middle <= self.high <= self.highest:
            raise ValueError("the values of a range are not in order")
        return self

    @classmethod
    def of(cls, values: Sequence[float]) -> "Range":
        """Return the range of the values.

        >>> Range.of([1.0, 2.0, 3.0]).high
        2.98
        """
        lowest, low, middle, high, highest = np.quantile(values, _QUANTILES).round(6).tolist()
        return cls(lowest=lowest, low=low, middle=middle, high=high, highest=highest)


@dataclass(frozen=True)
class DomainCheck:
    """How a recording compares with the training recordings.

    Its ``grade`` is ``edge`` beyond the range of 98 % of them, and ``outside`` far beyond it. ``sentences`` give the
    reasons, ``codes`` the properties of the signal that are outside. ``resemblance`` is that of
    `audiocnn.model.decision`, None if the model has no typical embeddings.
    """

    grade: Grade
    signal_stats: SignalStats
    resemblance: float | None = None
    codes: tuple[str, ...] = ()
    sentences: tuple[str, ...] = ()


class Domain(BaseModel):
    """The ranges of `SignalStats` in the ``n_recordings`` training recordings.

    ``resemblance`` is the range of recordings that the network was not trained on, None if the model has no typical
    embeddings.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, defer_build=True)

    n_recordings: int = Field(ge=1)
    level_dbfs: Range
    noise_db: Range
    upper_hz: Range
    resemblance: Range | None = None

    def check(self, stats: SignalStats, *, resemblance: float | None = None, unfamiliar: bool = False) -> DomainCheck:
        """Grade a recording; one that is ``unfamiliar`` to the model is outside whatever its signal."""
        remarks = list(self._remarks(stats))
        sentences = [remark.sentence for remark in remarks]
        if unfamiliar:
            sentences.append("unlike the training recordings")
        elif self.resemblance is not None and resemblance is not None and resemblance < self.resemblance.low:
            sentences.append("less like the training recordings than nearly all others of these labels")
        codes = tuple(remark.code for remark in remarks if remark.outside)
        grade: Grade = "outside" if codes or unfamiliar else "edge" if sentences else "inside"
        return DomainCheck(grade, stats, resemblance, codes, tuple(sentences))

    def _remarks(self, stats: SignalStats) -> Iterator["_Remark"]:
        """Yield what is unusual about a signal; less noise, or a bandwidth as wide as the features, is usual."""
        octave = 2**MARGIN_OCTAVES
        hz, upper = stats.upper_hz, self.upper_hz
        stops, lower, higher = map(frequency, (hz, upper.low, upper.high))
        if hz < upper.low and stops != lower:
            yield _Remark("narrow_band", hz * octave < upper.low, f"stops at {stops}; training reached {lower}")
        if hz > upper.high and stops != higher:
            yield _Remark("wide_band", hz > upper.high * octave, f"reaches {stops}; training stopped at {higher}")
        dbfs, level = stats.level_dbfs, self.level_dbfs
        if dbfs < level.low:
            than = _beyond(level.low - dbfs, level.lowest - dbfs, "quieter than")
            yield _Remark("quiet_recording", dbfs < level.low - MARGIN_DB, than)
        if dbfs > level.high:
            than = _beyond(dbfs - level.high, dbfs - level.highest, "louder than")
            yield _Remark("loud_recording", dbfs > level.high + MARGIN_DB, than)
        db, noise = stats.noise_db, self.noise_db
        if db > noise.high:
            than = _beyond(db - noise.high, db - noise.highest, "above")
            yield _Remark("noisy", db > noise.high + MARGIN_DB, f"noise floor {than} at the same level")


def fit_domain(stats: Sequence[SignalStats], resemblances: Sequence[float] = ()) -> Domain | None:
    """Return the ranges of the training recordings; None for fewer than `MIN_RECORDINGS` recordings.

    ``resemblances`` are those of recordings that the network was not trained on; fewer than `MIN_RECORDINGS` of them
    are ignored.
    """
    if len(stats) < MIN_RECORDINGS:
        return None
    return Domain(
        n_recordings=len(stats),
        level_dbfs=Range.of([s.level_dbfs for s in stats]),
        noise_db=Range.of([s.noise_db for s in stats]),
        upper_hz=Range.of([s.upper_hz for s in stats]),
        resemblance=Range.of(resemblances) if len(resemblances) >= MIN_RECORDINGS else None,
    )


@dataclass(frozen=True)
class _Remark:
    code: str
    outside: bool
    sentence: str


def _beyond(most_db: float, all_db: float, how: str) -> str:
    """Return text on how far a recording is beyond all training recordings, or else beyond nearly all of them."""
    if all_db > 0:
        return f"{all_db:.0f} dB {how} anything in training"
    return f"{most_db:.0f} dB {how} nearly all of training"
