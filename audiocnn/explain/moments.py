"""Which stretches of a recording are explained: all of a short one, the strongest moments of a long one."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audiocnn.specs import FeatureSpec

WHOLE_S = 60.0  # a recording of up to this length is explained as a whole
MOMENT_S = 10.0  # the longest moment of a longer one


@dataclass(frozen=True)
class Moment:
    """Windows number ``first`` to ``last`` (the latter not among them) of a recording, and the label asked about."""

    first: int
    last: int
    label: int


def around(
    start_s: float,
    end_s: float,
    peak_s: float,
    label: int,
    *,
    starts_s: NDArray[np.float64],
    spec: FeatureSpec,
    longest_s: float = MOMENT_S,
) -> Moment:
    """Return the windows that touch the stretch from ``start_s`` to ``end_s``, at most ``longest_s`` of it.

    Of a longer one those around ``peak_s`` are taken. There is always at least one window.
    """
    if end_s - start_s > longest_s:
        begin = min(max(start_s, peak_s - longest_s / 2), end_s - longest_s)
        start_s, end_s = begin, begin + longest_s
    first = int(np.searchsorted(starts_s + spec.window_s, start_s, side="right"))
    last = int(np.searchsorted(starts_s, end_s, side="left"))
    first = min(first, len(starts_s) - 1)
    return Moment(first, max(last, first + 1), label)


def strongest(
    scores: NDArray[np.float64], usable: NDArray[np.bool_], label: int, *, top: int, spec: FeatureSpec
) -> list[Moment]:
    """Return up to ``top`` single windows with the highest ``scores`` (n,), none of which overlaps a stronger one."""
    apart = -(-spec.window_frames // spec.hop_frames)
    found: list[Moment] = []
    for window in np.argsort(-scores, kind="stable"):
        if len(found) == top:
            break
        if usable[window] and all(abs(int(window) - one.first) >= apart for one in found):
            found.append(Moment(int(window), int(window) + 1, label))
    return found


def apart(moments: Sequence[Moment], *, top: int) -> list[Moment]:
    """Return the first ``top`` of these moments that share no window with one before them."""
    found: list[Moment] = []
    for one in moments:
        if len(found) < top and all(one.last <= other.first or other.last <= one.first for other in found):
            found.append(one)
    return found
