"""Which recordings may hold the same sound: those of which many landmarks lie at one lag.

Takes fingerprints, returns pairs of their numbers; what they are is for `audiocnn.audit.likeness` to say.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audiocnn.audit.fingerprint import HOP, RATE_HZ, Fingerprint

_FEWEST_VOTES = 5  # landmarks at one lag
_FEWEST_SHARE = 0.02  # of the landmarks of the recording that has fewer; different recordings hardly ever reach it
_MOST_ALIKE = 64  # equal landmarks that each is compared with: those next in order, so copies still form a chain
_MOST_CANDIDATES = 24  # of a recording, those with most votes


@dataclass(frozen=True)
class Candidate:
    """Numbers of two fingerprints, ``first`` < ``second``; the second begins ``lag_s`` after the first."""

    first: int
    second: int
    lag_s: float


def find(fingerprints: Sequence[Fingerprint]) -> list[Candidate]:
    """Return the pairs worth a closer look; time and memory grow with the landmarks, not with the pairs."""
    sizes = np.array([len(f.hashes) for f in fingerprints], np.intp)
    hashes = np.concatenate([np.zeros(0, np.uint32), *(f.hashes for f in fingerprints)])
    frames = np.concatenate([np.zeros(0, np.uint32), *(f.frames for f in fingerprints)]).astype(np.int64)
    owners = np.repeat(np.arange(len(fingerprints)), sizes)
    order = np.argsort(hashes, kind="stable")  # so equal hashes are in the order of their recordings
    hashes, frames, owners = hashes[order], frames[order], owners[order]
    place = np.argsort(owners, kind="stable")  # where the landmarks of each recording are
    bounds = np.concatenate([[0], np.cumsum(sizes)])
    ends = np.searchsorted(hashes, hashes, side="right")
    begins = np.searchsorted(owners + (hashes.astype(np.int64) << 32), (owners + 1) + (hashes.astype(np.int64) << 32))
    found = []
    for number in range(len(fingerprints)):
        mine = place[bounds[number] : bounds[number + 1]]
        found += _of_one(number, mine, begins, ends, frames, owners, sizes)
    return found


def _of_one(
    number: int,
    mine: NDArray[np.intp],
    begins: NDArray[np.intp],
    ends: NDArray[np.intp],
    frames: NDArray[np.int64],
    owners: NDArray[np.intp],
    sizes: NDArray[np.intp],
) -> list[Candidate]:
    """Candidates of one recording among those after it; its landmarks ``mine`` equal those from begins to ends."""
    n_equal = np.minimum(ends[mine] - begins[mine], _MOST_ALIKE)
    here = np.repeat(mine, n_equal)
    there = np.repeat(begins[mine] - np.cumsum(n_equal) + n_equal, n_equal) + np.arange(n_equal.sum())
    lags = frames[here] - frames[there]
    keys, votes = np.unique(owners[there] << 32 | lags + (1 << 31), return_counts=True)
    beside = np.zeros(len(keys), np.intp)  # votes for the lags next to each, as the grids of frames differ
    for step in (-1, 1):
        at = np.minimum(np.searchsorted(keys, keys + step), max(0, len(keys) - 1))
        beside += np.where(keys[at] == keys + step, votes[at], 0)
    votes = votes + beside
    others, lags = keys >> 32, (keys & 0xFFFFFFFF) - (1 << 31)
    enough = votes >= np.maximum(_FEWEST_VOTES, _FEWEST_SHARE * np.minimum(sizes[number], sizes[others]))
    best: dict[int, tuple[int, int]] = {}
    for other, lag, n in zip(others[enough].tolist(), lags[enough].tolist(), votes[enough].tolist(), strict=True):
        best[other] = max(best.get(other, (0, 0)), (n, lag))
    ranked = sorted(best.items(), key=lambda item: (-item[1][0], item[0]))[:_MOST_CANDIDATES]
    return [Candidate(number, other, lag * HOP / RATE_HZ) for other, (_, lag) in ranked]
