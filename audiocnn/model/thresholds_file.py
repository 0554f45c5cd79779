"""Read thresholds that a report saved (``thresholds.json``), and use them instead of those of a model."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from audiocnn.errors import ConfigError
from audiocnn.model.decision import Decision
from audiocnn.model.loaded_model import LoadedModel
from audiocnn.progress import Progress
from audiocnn.text import printable

SCHEMA = "audiocnn.thresholds/1"
_LEAST = 1e-9  # stands for 0, which every score reaches
_MAX_BYTES = 16 << 20


class Thresholds(BaseModel):
    """The content of ``thresholds.json``: thresholds of recordings by label, and the digest of the model, if known."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, defer_build=True)

    schema_: Literal["audiocnn.thresholds/1"] = Field(alias="schema")
    model: str = ""
    thresholds: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(min_length=1)

    @property
    def values(self) -> dict[str, float]:
        """The thresholds, all above 0."""
        return {label: max(value, _LEAST) for label, value in self.thresholds.items()}


def read(file: Path) -> Thresholds:
    """Read a ``thresholds.json``; raise `ConfigError`, which names the first fault, if it is another file."""
    try:
        with open(file, "rb") as handle:
            value = json.loads(handle.read(_MAX_BYTES))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{file}: not JSON ({error}); save it with the button of a report") from error
    return parse(value, str(file))


def parse(value: object, name: str) -> Thresholds:
    """Return thresholds from decoded JSON of the source ``name``; raise `ConfigError` if they are invalid."""
    if isinstance(value, dict) and "schema" not in value:
        raise ConfigError(f"{name}: has no schema {SCHEMA}; save it with the button of a report")
    try:
        return Thresholds.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ": ".join(printable(str(part)) for part in first["loc"])
        shown = f"{printable(repr(first['input']))[:60]}: " if first["type"] != "missing" else ""
        message = first["msg"][0].lower() + first["msg"][1:]
        raise ConfigError(f"{name}: {where}{': ' if where else ''}{shown}{message}") from error


def apply(model: LoadedModel, file: Path, progress: Progress) -> LoadedModel:
    """Return a model with the thresholds in ``file``; warn if they were chosen with another model."""
    chosen = read(file)
    changed = with_thresholds(model, chosen.values, str(file))
    if chosen.model not in ("", model.digest, model.scores_digest):
        saved_for = printable(chosen.model)[:12]
        progress.warn(
            f"{file}: was saved for another model ({saved_for}), whose scores may differ from those of this one"
        )
    return changed


def with_thresholds(model: LoadedModel, chosen: Mapping[str, float], name: str) -> LoadedModel:
    """Return a model that decides by the ``chosen`` thresholds of recordings, above 0, instead of its own.

    Raises `ConfigError`, which names the source ``name``, for a label that the model does not have.
    """
    try:
        model.labels.require(chosen)
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from error
    decision = model.decision or Decision(  # without rules: all labels are possible, and no recording is unfamiliar
        fitted_on="validation", n_recordings=1, n_groups=1, coverage=0.5, set_floor=0.0, unknown=0.0
    )
    changed = decision.model_copy(update={"thresholds": dict(chosen), "wanted": {}})
    return model.with_decision(changed)
