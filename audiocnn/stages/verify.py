"""``verify``: check the hashes of all stores and bundles below a folder."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from audiocnn.errors import AudiocnnError, ConfigError
from audiocnn.features import store
from audiocnn.files import TEMPORARY
from audiocnn.model import bundle
from audiocnn.model.open_model import open_model
from audiocnn.progress import Progress


@dataclass(frozen=True)
class VerifyResult:
    """What was checked, and one line for each damaged feature file and each damaged model."""

    n_features: int
    models: Sequence[Path]
    damaged_features: Sequence[str]
    damaged_models: Sequence[str]

    @property
    def damaged(self) -> Sequence[str]:
        return [*self.damaged_features, *self.damaged_models]


def run(path: Path, *, progress: Progress) -> VerifyResult:
    """Check what lies at or below ``path``; raise `ConfigError` if there is nothing to check."""
    folders = [file.parent for file in _below(path, bundle.MANIFEST)]
    outermost_first = sorted(folders, key=lambda folder: len(folder.parts))  # a whole model before its trainings
    models = [folder for folder in outermost_first if not _is_member(folder, folders)]
    features = [
        file
        for file in _below(path, "*.safetensors")
        if file.parent not in folders and not _is_member(file.parent, folders)
    ]
    if not models and not features:
        raise ConfigError(f"{path}: holds neither features nor a model; name another folder")
    damaged: tuple[list[str], list[str]] = ([], [])
    with progress.task("verify", total=len(features) + len(models), unit="files") as advance:
        for check, items, found in ((store.check_file, features, damaged[0]), (open_model, models, damaged[1])):
            for item in items:
                try:
                    check(item)
                except AudiocnnError as error:
                    found.append(str(error))
                advance()
    return VerifyResult(len(features), models, *damaged)


def _is_member(folder: Path, models: Sequence[Path]) -> bool:
    """Return whether a folder holds a member of one of the models, which is checked with it."""
    return folder.parent.name == bundle.MEMBERS and folder.parent.parent in models


def _below(path: Path, pattern: str) -> Iterator[Path]:
    found = [path] if path.is_file() and path.match(pattern) else path.rglob(pattern)
    return (file for file in sorted(found) if not any(part.startswith(TEMPORARY) for part in file.parts))
