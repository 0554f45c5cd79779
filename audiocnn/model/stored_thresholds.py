"""Store the operating point of event detection in a model, and take it back."""

from pathlib import Path

from audiocnn.errors import ConfigError
from audiocnn.model import card, locate
from audiocnn.model.decision import OperatingPoint
from audiocnn.model.open_model import read_model, update_model


def refuse_shipped(folder: Path, remedy: str) -> None:
    """Raise `ConfigError` with a ``remedy`` for a model that ships, which is read-only."""
    if locate.SHIPPED.parents[1] in folder.resolve().parents:
        raise ConfigError(f"{folder}: the model that ships with audiocnn is read-only; {remedy}")


def store(folder: Path, point: OperatingPoint) -> None:
    """Store an operating point in the model, and describe it in the card, in place of an earlier one."""
    text = read_model(folder)[2]["MODEL_CARD.md"].decode("utf-8")
    update_model(folder, {"operating": point.model_dump(mode="json")}, card=card.add_operating_point(text, point))


def forget(folder: Path) -> OperatingPoint | None:
    """Remove the operating point, if there is one, and return it; the bundle becomes what it was before."""
    info, _, contents = read_model(folder)
    if info.operating is not None:
        text = card.remove_operating_point(contents["MODEL_CARD.md"].decode("utf-8"))
        update_model(folder, {"operating": None}, card=text)
    return info.operating
