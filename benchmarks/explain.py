"""Whether explanations are true of the network: what they call important is taken away, or is all that is left.

``python benchmarks/explain.py FOLDER`` takes a folder with one sub-folder of recordings a label and prints

* deletion: the most important tenth is hidden, and a tenth drawn at random; in what share of recordings does the score
  of the label (the mean of its log-odds over windows) fall further for the former? A tenth of cells, each a tenth of a
  window long and a tenth of its bands high; of the map's own values, against the same shape elsewhere in the recording;
  and against single values strewn about, which is the hardest rival, as networks take such grain for noise;
* what mattered: in what share of rightly labelled recordings does the sound that is called important have the same
  label when it is heard alone, and in what share has the rest lost it;
* seconds for the whole command on ``--seconds`` of sound, the page included.
"""

import argparse
import os
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audiocnn.audio import encode
from audiocnn.errors import AudiocnnError
from audiocnn.explain import load, log_odds, occlusion, resynthesis
from audiocnn.explain.log_odds import Scorer
from audiocnn.explain.segments import ExplainInput
from audiocnn.features.extract import Array
from audiocnn.model import bundle
from audiocnn.model.bundle import Bundle
from audiocnn.model.locate import SHIPPED
from audiocnn.progress import Progress
from audiocnn.report.explanation.occlusion import predict_samples
from audiocnn.stages import explain

SHARE = 0.1
CELLS = 10  # of a window's length and height
DRAWS = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="one sub-folder a label")
    parser.add_argument("--model", type=Path, default=SHIPPED, help="[default: the one that ships]")
    parser.add_argument("--neutral", choices=["mean", "noise"], default="mean")
    parser.add_argument("--part", choices=["even", "odd", "all"], default="odd", help="of the files [default: odd]")
    parser.add_argument("--every", type=int, default=1, help="take every so-manieth of them  [default: 1]")
    parser.add_argument("--seconds", type=int, default=30, help="of sound to time the command on  [default: 30]")
    options = parser.parse_args()
    model = bundle.load(options.model)
    files = sorted(file for label in model.labels for file in (options.folder / label).glob("*.*"))
    chosen = {"even": files[::2], "odd": files[1::2], "all": files}[options.part][:: options.every]
    rng = np.random.default_rng(0)
    deletion: dict[str, list[bool]] = defaultdict(list)
    hearing_: list[tuple[bool, bool]] = []
    longest: ExplainInput | None = None
    for file in chosen:
        try:
            prediction, inputs, whole = load.load(file, model, label=None, top=1, report=lambda note: None)
        except AudiocnnError as error:
            print(f"left out: {error}")
            continue
        subject = inputs[0]
        level, _ = occlusion.neutral(model, subject, options.neutral)
        ask = log_odds.scorer(model, subject.label)
        values = occlusion.importance(subject, ask, level)
        for name, further in deleted(subject, ask, values, level, rng).items():
            deletion[name].append(further)
        if whole and prediction.label == file.parent.name:
            hearing_.append(heard(model, subject, values))
        if longest is None or subject.duration_s > longest.duration_s:
            longest = subject
    print(f"{len(deletion['cells'])} recordings, hidden places become: {options.neutral}")
    for name, wins in deletion.items():
        print(f"deletion, {name}: the score falls further than at random in {np.mean(wins):.1%}")
    kept, lost = np.array(hearing_).mean(axis=0)
    print(f"{len(hearing_)} right: what mattered alone keeps the label in {kept:.1%}, the rest loses it in {lost:.1%}")
    if longest is not None:
        elapsed_s, worked_s = timed(longest, options.seconds, options.model, options.neutral)
        print(f"{elapsed_s:.1f} s ({worked_s:.1f} s of processor time) for {options.seconds} s of sound")


def deleted(
    subject: ExplainInput, ask: Scorer, values: Array, level: Array, rng: np.random.Generator
) -> dict[str, bool]:
    """Tell by kind of deletion whether hiding what is important costs more than the mean of `DRAWS` at random."""
    spec = subject.spec
    held = np.zeros(subject.n_frames, bool)  # by a window that counts
    for start in subject.starts[subject.counted]:
        held[start : start + spec.window_frames] = True
    usable = np.repeat(held[:, None], spec.n_mels, axis=1)

    def cost(hidden: NDArray[np.bool_]) -> float:
        tracks = np.repeat(hidden, subject.n_tracks, axis=0)
        bands = np.where(tracks, level, subject.bands).astype(np.float32)
        return -float(ask(subject.windows(bands)).reshape(-1, subject.n_tracks).mean(axis=1)[subject.counted].mean())

    cells = cells_of(values.shape, max(1, spec.window_frames // CELLS), max(1, spec.n_mels // CELLS))
    count = np.bincount(cells[usable], minlength=cells.max() + 1)
    worth = np.bincount(cells[usable], values[usable], minlength=cells.max() + 1) / np.maximum(count, 1)
    there = np.flatnonzero(count)
    n = max(1, round(SHARE * len(there)))
    best = there[np.argsort(-worth[there], kind="stable")[:n]]
    places = np.flatnonzero(usable)
    order = places[np.argsort(-values.ravel()[places], kind="stable")]
    shape = np.zeros(values.size, bool)
    shape[order[: max(1, round(SHARE * len(places)))]] = True
    shape = shape.reshape(values.shape)

    def strewn() -> NDArray[np.bool_]:
        mask = np.zeros(values.size, bool)
        mask[rng.choice(places, shape.sum(), replace=False)] = True
        return mask.reshape(values.shape)

    rivals = {
        "cells": (np.isin(cells, best), lambda: np.isin(cells, rng.choice(there, n, replace=False))),
        "the same shape elsewhere": (
            shape, lambda: np.roll(shape, (rng.integers(len(shape)), rng.integers(spec.n_mels)), (0, 1)),
        ),
        "single values": (shape, strewn),
    }  # fmt: skip
    return {name: cost(ours) > np.mean([cost(draw()) for _ in range(DRAWS)]) for name, (ours, draw) in rivals.items()}


def cells_of(shape: tuple[int, ...], n_frames: int, n_bands: int) -> NDArray[np.int64]:
    """The number of the cell (n_frames, n_mels) that each place belongs to."""
    rows, columns = np.arange(shape[0]) // n_frames, np.arange(shape[1]) // n_bands
    return rows[:, None] * (columns.max() + 1) + columns


def heard(model: Bundle, subject: ExplainInput, values: Array) -> tuple[bool, bool]:
    """Whether what mattered keeps the label, and whether the rest has another one, or is silent."""
    parts = resynthesis.separate(
        subject.samples, resynthesis.mask(values), spec=subject.spec, frontend=subject.frontend
    )
    label = model.labels[subject.label]
    kept, rest = (predict_samples(model, part, model.spec.sample_rate) for part in parts)
    return kept is not None and kept[0] == label, rest is None or rest[0] != label


def timed(subject: ExplainInput, seconds: int, model: Path, neutral: explain.Neutral) -> tuple[float, float]:
    """Elapsed time and processor time, in seconds, for ``seconds`` of a recording, repeated where it is shorter."""
    n = seconds * subject.spec.sample_rate
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "song.wav")
        encode.write(file, np.resize(subject.samples, n), subject.spec.sample_rate)
        started, worked = time.perf_counter(), sum(os.times()[:4])
        explain.run(file, model=model, neutral=neutral, out=Path(folder, "out"), progress=Progress())
        return time.perf_counter() - started, sum(os.times()[:4]) - worked


if __name__ == "__main__":
    main()
