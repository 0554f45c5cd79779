"""Recordings that a review reserved for the comparison of models: no training may use them."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from audiocnn.errors import ConfigError, IntegrityError
from audiocnn.files import write_atomic
from audiocnn.text import printable

FILE_NAME = "reserved.csv"
FOLDER = "review"  # of the run of a project


def write(folder: Path, groups: Mapping[str, str]) -> None:
    """Write ``reserved.csv`` with the group of each reserved recording by its SHA-256."""
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows([("sha256", "group"), *sorted(groups.items())])
    write_atomic(folder / FILE_NAME, table.getvalue())


def refuse(run: Path, contents: Mapping[str, str]) -> None:
    """Raise `ConfigError` if a review of the project reserved one of the recordings (path: SHA-256)."""
    path = run / FOLDER / FILE_NAME
    if not path.is_file():
        return
    try:
        with open(path, newline="", encoding="utf-8") as file:
            reserved = {row["sha256"] for row in csv.DictReader(file)}
    except (OSError, KeyError, ValueError, csv.Error) as error:
        raise IntegrityError(f"{path}: damaged ({error}); restore it from a copy") from error
    if found := sorted(name for name, digest in contents.items() if digest in reserved):
        raise ConfigError(
            f"{printable(found[0])}: is one of {len(found)} recordings that a review reserved to test models "
            f"({path}); remove them from the manifest"
        )
