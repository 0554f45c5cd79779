"""What the recordings were like that a model learned from, and whether another one is like them.

Takes the `SignalStats` of recordings; holds their ranges in the bundle, and returns for a recording its `DomainCheck`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from audiocnn.features.signal_stats import SignalStats

MIN_RECORDINGS = 20  # recordings; by 10, already 1 in 11 others of the same kind would be outside, by 20 it is 1 in 30

# How far beyond what is usual is outside. With 6 dB, an amplitude twice as large, and a quarter of an octave about 1
# in 100 held-out recordings of the same kind is, and nearly all that were altered (docs/accuracy.md).
MARGIN_DB = 6.0
MARGIN_OCTAVES = 0.25

_QUANTILES = (0.0, 0.01, 0.5, 0.99, 1.0)

Grade = Literal["inside", "edge", "outside"]
_Value = Annotated[float, Field(ge=-1e6, le=1e6)]


class Range(BaseModel):
    """The extremes of a quantity, its middle, and between which values 98 % of recordings are."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, defer_build=True)

    lowest: _Value
    low: _Value
    middle: _Value
    high: _Value
    highest: _Value

    @model_validator(mode="after")
    def _consistent(self) -> "Range":
        if not self.lowest <= self.low <= self.middle <= self.high <= self.highest:
            raise ValueError("the values of a range are not in their order")
        return self

    @classmethod
    def of(cls, values: Sequence[float]) -> "Range":
        """Return the range of some values.

        >>> Range.of([1.0, 2.0, 3.0]).high
        2.98
        """
        lowest, low, middle, high, highest = np.quantile(values, _QUANTILES).round(6).tolist()
        return cls(lowest=lowest, low=low, middle=middle, high=high, highest=highest)


@dataclass(frozen=True)
class DomainCheck:
    """How a recording stands to those that were learned from.

    Beyond the range of 98 % of them it is at the ``edge``, far beyond it ``outside``; ``sentences`` say why, ``codes``
    what is outside about the signal. ``resemblance`` is that of `audiocnn.model.decision`, None if the model has no
    typical embeddings.
    """

    grade: Grade
    signal_stats: SignalStats
    resemblance: float | None = None
    codes: tuple[str, ...] = ()
    sentences: tuple[str, ...] = ()


class Domain(BaseModel):
    """What the ``n_recordings`` are like that a model learned from: the quantities of `SignalStats`, each with its
    range.

    ``resemblance`` is that of recordings that the network had not heard when it judged them, None if the model has no
    typical embeddings.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, defer_build=True)

    n_recordings: int = Field(ge=1)
    level_dbfs: Range
    noise_db: Range
    upper_hz: Range
    resemblance: Range | None = None

    def check(
        self, character: SignalStats, *, resemblance: float | None = None, unfamiliar: bool = False
    ) -> DomainCheck:
        """Grade a recording; one that is ``unfamiliar`` to the model is outside, whatever its signal is like."""
        found = list(self._remarks(character))
        sentences = [remark.says for remark in found]
        if unfamiliar:
            sentences.append("unlike the training recordings")
        elif self.resemblance is not None and resemblance is not None and resemblance < self.resemblance.low:
            sentences.append("less like the training recordings than nearly all others of these labels")
        codes = tuple(remark.code for remark in found if remark.outside)
        grade: Grade = "outside" if codes or unfamiliar else "edge" if sentences else "inside"
        return DomainCheck(grade, character, resemblance, codes, tuple(sentences))

    def _remarks(self, character: SignalStats) -> Iterator["_Remark"]:
        """What is unusual about a signal. One with less noise, or that reaches as far up as features do, is not."""
        octave = 2**MARGIN_OCTAVES
        hz, upper = character.upper_hz, self.upper_hz
        stops, lower, higher = map(_frequency, (hz, upper.low, upper.high))
        if hz < upper.low and stops != lower:
            yield _Remark("narrow_band", hz * octave < upper.low, f"stops at {stops}; training reached {lower}")
        if hz > upper.high and stops != higher:
            yield _Remark("wide_band", hz > upper.high * octave, f"reaches {stops}; training stopped at {higher}")
        dbfs, level = character.level_dbfs, self.level_dbfs
        if dbfs < level.low:
            than = _beyond(level.low - dbfs, level.lowest - dbfs, "quieter than")
            yield _Remark("quiet_recording", dbfs < level.low - MARGIN_DB, than)
        if dbfs > level.high:
            than = _beyond(dbfs - level.high, dbfs - level.highest, "louder than")
            yield _Remark("loud_recording", dbfs > level.high + MARGIN_DB, than)
        db, noise = character.noise_db, self.noise_db
        if db > noise.high:
            than = _beyond(db - noise.high, db - noise.highest, "above")
            yield _Remark("noisy", db > noise.high + MARGIN_DB, f"noise floor {than} at the same level")


@dataclass(frozen=True)
class _Remark:
    code: str
    outside: bool
    says: str


def fit_domain(characters: Sequence[SignalStats], resemblances: Sequence[float] = ()) -> Domain | None:
    """Sum up what a model learned from; None if that is fewer than `MIN_RECORDINGS` recordings.

    ``resemblances`` are those of other recordings, not heard by the network that judged them; few of them tell nothing.
    """
    if len(characters) < MIN_RECORDINGS:
        return None
    return Domain(
        n_recordings=len(characters),
        level_dbfs=Range.of([c.level_dbfs for c in characters]),
        noise_db=Range.of([c.noise_db for c in characters]),
        upper_hz=Range.of([c.upper_hz for c in characters]),
        resemblance=Range.of(resemblances) if len(resemblances) >= MIN_RECORDINGS else None,
    )


def _beyond(most_db: float, all_db: float, how: str) -> str:
    """Say by how much a recording is beyond most of them or, if it is that, beyond all."""
    if all_db > 0:
        return f"{all_db:.0f} dB {how} anything in training"
    return f"{most_db:.0f} dB {how} nearly all of training"


def _frequency(hz: float) -> str:
    return f"{hz / 1000:.2g} kHz" if hz >= 1000 else f"{hz:.0f} Hz"
