"""Background recordings of a place to spans of samples, as much as is wanted, and those dealt to two halves."""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from audiocnn.errors import AudioError
from audiocnn.features import spans
from audiocnn.features.spans import Span
from audiocnn.specs import FeatureSpec

PIECE_S = 60.0  # what is taken of a recording at a time
_ENDLESS_S = 366 * 86_400.0  # beyond it, a header does not know how long the recording is
_EVEN = 0.25  # of all background, what the lesser half has at least if whole recordings are dealt


@dataclass(frozen=True)
class Background:
    """``kept`` are spans of recordings that can be used, ``unusable`` the numbers of the others, with the reason."""

    kept: Sequence[Span]
    unusable: Sequence[tuple[int, AudioError]]


def take(
    files: Sequence[Path], *, wanted_s: float, folder: Path, spec: FeatureSpec, jobs: int, seed: tuple[int, ...]
) -> Background:
    """Keep in ``folder`` ``wanted_s`` seconds of recordings, minutes from anywhere, or all if there is no more.

    A recording that cannot be used costs itself only.
    """
    unusable: list[tuple[int, AudioError]] = []
    lengths: dict[int, float] = {}
    for index, declared in spans.durations(files, jobs=jobs):
        if isinstance(declared, AudioError):
            unusable.append((index, declared))
        else:
            lengths[index] = wanted_s if declared > _ENDLESS_S else declared
    wanted = _chosen({index: lengths[index] for index in sorted(lengths)}, wanted_s, np.random.default_rng(seed))
    order = sorted(wanted)
    kept: list[Span] = []
    for number, found in spans.keep([(files[i], wanted[i]) for i in order], folder=folder, spec=spec, jobs=jobs):
        if isinstance(found, AudioError):
            unusable.append((order[number], found))
        else:
            kept += [replace(span, source=order[number]) for span in found if span.n]
    return Background(sorted(kept, key=lambda span: (span.source, span.first)), sorted(unusable, key=lambda u: u[0]))


def halves(kept: Sequence[Span]) -> tuple[list[Span], list[Span]]:
    """Deal spans to two halves: whole recordings if they are even enough, else each recording cut in its middle.

    >>> def span(n, source):
    ...     return Span(Path(), 0, n, source)
    >>> [[s.source for s in half] for half in halves([span(50, 0), span(30, 1), span(30, 2)])]
    [[0], [1, 2]]
    >>> [[s.n for s in half] for half in halves([span(51, 0)])]
    [[25], [26]]
    """
    by_source: dict[int, list[Span]] = defaultdict(list)
    for span in kept:
        by_source[span.source].append(span)
    dealt: tuple[list[Span], list[Span]] = ([], [])
    for members in sorted(by_source.values(), key=lambda members: -_total(members)):
        min(dealt, key=_total).extend(members)
    if min(map(_total, dealt)) >= _EVEN * _total(kept):
        return dealt
    cut = [_cut(members, _total(members) // 2) for members in by_source.values()]
    return [span for first, _ in cut for span in first], [span for _, second in cut for span in second]


def _cut(members: Sequence[Span], n: int) -> tuple[list[Span], list[Span]]:
    """The first ``n`` samples of spans, and the rest."""
    first, second = [], []
    for span in members:
        n_first = min(span.n, max(0, n))
        n -= n_first
        first.append(replace(span, n=n_first))
        second.append(replace(span, first=span.first + n_first, n=span.n - n_first))
    return [span for span in first if span.n], [span for span in second if span.n]


def _total(members: Sequence[Span]) -> int:
    return sum(span.n for span in members)


def _chosen(
    lengths_s: dict[int, float], wanted_s: float, rng: np.random.Generator
) -> dict[int, list[tuple[float, float]]]:
    """Which pieces of which recording are wanted, in the order of time: enough of them drawn at random, or all."""
    pieces = [(index, *piece) for index, length_s in lengths_s.items() for piece in _pieces(length_s)]
    wanted: dict[int, list[tuple[float, float]]] = defaultdict(list)
    left_s = wanted_s
    for number in rng.permutation(len(pieces)):
        if left_s <= 0:
            break
        index, start_s, end_s = pieces[number]
        wanted[index].append((start_s, end_s))
        left_s -= end_s - start_s
    return {index: sorted(stretches) for index, stretches in wanted.items()}


def _pieces(length_s: float) -> Iterator[tuple[float, float]]:
    n = max(1, math.ceil(length_s / PIECE_S))
    edges = np.linspace(0, length_s, n + 1).tolist()
    yield from pairwise(edges)
