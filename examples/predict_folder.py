"""Predict every sound file below a folder, and write one row a file: label, score, second guess, and what is wrong.

    python examples/predict_folder.py RECORDINGS TABLE.csv [MODEL]

Without MODEL the instrument model that comes with audiocnn is used. For many files, or files that you do not trust,
prefer ``audiocnn predict``, which decodes in worker processes.
"""

import csv
import sys
from collections.abc import Iterator
from pathlib import Path

import audiocnn
from audiocnn.errors import AudioError

COLUMNS = ("file", "status", "label", "score", "second_label", "second_score")
SUFFIXES = {".wav", ".flac", ".ogg", ".mp3", ".aif", ".aiff"}


def rows(folder: Path, model: audiocnn.Model) -> Iterator[tuple[object, ...]]:
    """Yield a row for every sound file below ``folder``, in sorted order."""
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in SUFFIXES:
            continue
        name = path.relative_to(folder)
        try:
            prediction = model.predict(path)
        except AudioError as error:  # damaged, or no audio at all
            yield name, error.code, "", "", "", ""
            continue
        if prediction.status == "silent":
            yield name, "silent", "", "", "", ""
            continue
        first, second = prediction.scores.argsort()[::-1][:2]
        scores = [f"{prediction.scores[i]:.3f}" for i in (first, second)]
        yield name, prediction.status, model.labels[first], scores[0], model.labels[second], scores[1]


def main(folder: str, table: str, model: str | None = None) -> None:
    """Write the table."""
    with open(table, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(rows(Path(folder), audiocnn.load_model(model)))


if __name__ == "__main__":
    main(*sys.argv[1:])
