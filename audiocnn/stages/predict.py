"""``predict``: sound files and folders to one prediction each, with nothing left out."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audiocnn.audio import sniff
from audiocnn.errors import ConfigError
from audiocnn.features.ingest import listen_all
from audiocnn.model import bundle
from audiocnn.model.bundle import Bundle
from audiocnn.progress import Progress
from audiocnn.results.aggregate import Prediction, predict
from audiocnn.text import encode_path, printable

SHIPPED = Path(__file__).resolve().parent.parent / "models" / "instrument"


@dataclass(frozen=True)
class Predicted:
    """The predictions in the order of the input, and the model that made them."""

    model: Bundle
    predictions: Sequence[Prediction]

    def provenance(self) -> dict[str, Any]:
        """What a reader of the predictions must know of the model."""
        info = self.model.info
        return {
            "name": info.name,
            "digest": self.model.digest,
            "notation": info.notation,
            "temperature": info.temperature,
            "features": info.features.model_dump(mode="json"),
            "created": info.provenance.get("created"),
        }


def run(arguments: Sequence[str], *, model: Path, jobs: int, progress: Progress) -> Predicted:
    """Predict every file named, and every audio file below a folder named; a name that does not exist is accounted for.

    Raises `ConfigError` for a folder without audio, `IntegrityError` for a damaged model.
    """
    files = [file for argument in arguments for file in _expand(argument)]
    judge = bundle.load(model)
    found: dict[int, Prediction] = {}
    with progress.task("predict", total=len(files), unit="recordings") as advance:
        for index, account, frames in listen_all(files, spec=judge.spec, frontend=judge.frontend, jobs=jobs):
            found[index] = predict(judge, encode_path(os.fspath(files[index])), account, frames)
            advance()
    return Predicted(judge, [found[i] for i in range(len(files))])


def _expand(argument: str) -> list[Path]:
    path = Path(argument)
    if not path.is_dir():
        return [path]
    files = list(sniff.audio_below(path))
    if not files:
        raise ConfigError(f"{printable(argument)}: no audio in this folder (WAV, FLAC, OGG, MP3, AIFF)")
    return files
