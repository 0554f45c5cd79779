"""Recordings to see and hear in a report: which they are, and their samples."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from audiocnn.audio import clips
from audiocnn.audio.clips import MonoFile
from audiocnn.dataset.manifest import Recording
from audiocnn.draw import spectrogram
from audiocnn.errors import AudioError
from audiocnn.features.extract import Array
from audiocnn.results.aggregate import Prediction
from audiocnn.results.evaluation import Exhibit, Suspect, worst

EXCERPT_S = 30.0  # of a recording that is shown
_SHORTEST_S = 1.0
_MOST = 200  # recordings that are decoded; a page has no room for more


def choose(
    predictions: Sequence[Prediction], truth: Sequence[str], *, n_right: int, seed: int
) -> tuple[list[int], list[int]]:
    """Return the numbers of the recordings to show, in order, and of those drawn at random from what is right.

    First the wrong ones, worst first, then those drawn, then others that are right, in turn from every label.
    """
    wrong = worst(predictions, truth, _MOST)
    right = [i for i, p in enumerate(predictions) if p.heard and p.label == truth[i]]
    shuffled = [right[k] for k in np.random.default_rng(seed).permutation(len(right))]
    drawn = sorted(shuffled[:n_right])
    by_label: dict[str, list[int]] = defaultdict(list)
    for i in shuffled[n_right:]:
        by_label[truth[i]].append(i)
    rest: list[int] = []
    while len(rest) < _MOST and any(by_label.values()):
        rest += [members.pop() for _, members in sorted(by_label.items()) if members]
    return [*wrong, *drawn, *rest][: max(_MOST, len(drawn))], drawn


def load(
    chosen: Sequence[int],
    predictions: Sequence[Prediction],
    recordings: Sequence[Recording],
    root: Path,
    *,
    jobs: int,
) -> list[Exhibit]:
    """Return the recordings of these numbers as far as they are still there; with the label that they have."""
    samples = excerpts([recordings[i] for i in chosen], root, jobs=jobs)
    return [
        Exhibit(predictions[i], recordings[i].label, recordings[i].group, heard, spectrogram.SAMPLE_RATE,
                recordings[i].stretch, i)
        for i, heard in zip(chosen, samples, strict=True)
        if heard is not None
    ]  # fmt: skip


def doubtful(rows: Sequence[tuple[Recording, str, float, float]], root: Path, *, jobs: int) -> list[Suspect]:
    """Return recordings whose label is doubted, as far as they are still there.

    A row is a recording, what its label may be instead, and the scores of the label and of that.
    """
    samples = excerpts([row[0] for row in rows], root, jobs=jobs)
    return [
        Suspect(r.path, r.label, instead, score, other, r.group, heard, spectrogram.SAMPLE_RATE, r.stretch)
        for (r, instead, score, other), heard in zip(rows, samples, strict=True)
        if heard is not None
    ]


def excerpts(
    recordings: Sequence[Recording], root: Path, *, jobs: int, shown_s: float = EXCERPT_S
) -> list[Array | None]:
    """Return the first ``shown_s`` of every recording or stretch, None for one that cannot be read any more."""
    wanted = []
    for recording in recordings:
        start, end = recording.stretch or (0.0, shown_s)
        length_s = min(shown_s, max(end - start, _SHORTEST_S))
        wanted.append((MonoFile(recording.file(root), spectrogram.SAMPLE_RATE), (start, start + length_s)))
    loaded = clips.load(wanted, jobs=jobs)
    return [None if isinstance(samples, AudioError) or not len(samples) else samples for samples in loaded]
