"""What a recording sounds like in a few kilobytes: a digest of its samples, and landmarks that survive another format.

Takes a file and returns a `Fingerprint`. Landmarks are pairs of peaks of the spectrogram, after Wang, "An
industrial-strength audio search algorithm" (ISMIR 2003): a copy at another level, rate or format keeps most of them,
and a part of it keeps those of the part.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audiocnn.audio import clips, workers
from audiocnn.audio.clips import MonoFile
from audiocnn.audio.decode import Decoder

VERSION = 1  # raise it when the code that makes fingerprints changes what it makes
SAMPLE_RATE = 8_000  # what copies for the telephone still hold
MAX_DURATION_S = 180.0  # from the start of a recording, which bounds memory. The digest of the samples is of all of it
N_FFT, HOP_LENGTH = 512, 64  # samples: spectra of 64 ms, every 8 ms
LOWEST_BIN, HIGHEST_BIN = 2, 224  # 31 Hz to 3.5 kHz, as the filters of copies roll off before 4 kHz

_PIECE = 4096  # spectra made at a time
_FLOOR_DB = -90.0  # a peak is above this, seen from the loudest bin of the recording ...
_NOISE_DB = -78.0  # ... and above this, with 0 dB at a bin of magnitude 1: the noise of 16 bits is at -84
_REACHES = (6, 3, 2)  # a peak is the largest of so many frames and bins around it; smaller ones if too few are found
_ENOUGH = 100  # landmarks
_SLOT, _PEAKS_A_SLOT = 32, 20  # frames, and the peaks that are kept of them: the loudest
_FAN_OUT = 6  # landmarks that a peak begins
_APART_FRAMES, _APART_BINS, _APART_PEAKS = 64, 64, 60  # the second peak of a landmark is less than this away

Landmarks = tuple[NDArray[np.uint32], NDArray[np.uint32]]


@dataclass(frozen=True)
class Fingerprint:
    """``sha256`` is that of the file, ``samples`` that of its sample rate and decoded samples, all channels mixed.

    ``peak`` is the largest of these samples (full scale 1.0). ``hashes`` (n,) uint32 say what landmarks are, ``frames``
    (n,) uint32 where they begin, in steps of 8 ms.
    """

    sha256: str
    samples: str
    duration_s: float
    peak: float
    hashes: NDArray[np.uint32]
    frames: NDArray[np.uint32]


def compute(path: Path, sha256: str) -> Fingerprint:
    """Runs in a worker: hear a recording whose SHA-256 is known. Raises `AudioError` if it cannot be decoded."""
    digest, peak = hashlib.sha256(), 0.0
    with Decoder(path) as decoder:
        digest.update(str(decoder.facts.sample_rate).encode())
        for block in decoder.blocks():
            digest.update(block.tobytes())
            peak = max(peak, float(np.abs(block).max()))
        duration_s = decoder.facts.duration_s
    samples = read_start(path)
    with workers.pause_timeout():
        return Fingerprint(sha256, digest.hexdigest(), duration_s, peak, *landmarks(samples))


def read_start(path: Path) -> NDArray[np.float32]:
    """Return the first `MAX_DURATION_S` of a recording at `SAMPLE_RATE`, all channels mixed, as float32 (n,)."""
    return clips.read(MonoFile(path, SAMPLE_RATE), [(0.0, MAX_DURATION_S)])[0]


def landmarks(samples: NDArray[np.float32]) -> Landmarks:
    """Return hashes and frames, both (n,) uint32, of samples at `SAMPLE_RATE`."""
    spectrum = stft(np.pad(samples, N_FFT // 2), hop=HOP_LENGTH)[:, LOWEST_BIN:HIGHEST_BIN]
    level_db = 20 * np.log10(np.maximum(np.abs(spectrum), np.float32(1e-6)))
    hashes, frames = np.zeros(0, np.uint32), np.zeros(0, np.uint32)
    for reach in _REACHES:
        if len(hashes) < _ENOUGH:
            more = _paired(*_peaks(level_db, reach))
            hashes, frames = np.concatenate([hashes, more[0]]), np.concatenate([frames, more[1]])
    return hashes, frames


def stft(samples: NDArray[np.float32], *, hop: int) -> NDArray[np.complex64]:
    """Return complex spectra (n_frames, 1 + N_FFT // 2) of samples, with zeros up to one frame at least."""
    samples = np.pad(samples, (0, max(0, N_FFT - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(samples, N_FFT)[::hop]
    taper = np.hanning(N_FFT).astype(np.float32)
    pieces = [np.fft.rfft(frames[first : first + _PIECE] * taper) for first in range(0, len(frames), _PIECE)]
    return np.concatenate(pieces).astype(np.complex64, copy=False)


def _peaks(level_db: NDArray[np.float32], reach: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Frames and bins of the local maxima, in order of time; the loudest of every slot."""
    around = _largest_around(_largest_around(level_db, reach).T, reach).T
    floor_db = max(float(level_db.max()) + _FLOOR_DB, _NOISE_DB)
    frames, bins = np.nonzero((level_db == around) & (level_db > floor_db))
    slot = frames // _SLOT
    order = np.lexsort((-level_db[frames, bins], slot))
    rank = np.arange(len(order)) - np.searchsorted(slot[order], slot[order])
    kept = np.sort(order[rank < _PEAKS_A_SLOT])
    return frames[kept], bins[kept]


def _largest_around(values: NDArray[np.float32], reach: int) -> NDArray[np.float32]:
    """The largest of each value and those up to ``reach`` before and after it in its column."""
    largest = values.copy()
    for shift in range(1, reach + 1):
        np.maximum(largest[shift:], values[:-shift], out=largest[shift:])
        np.maximum(largest[:-shift], values[shift:], out=largest[:-shift])
    return largest


def _paired(frames: NDArray[np.intp], bins: NDArray[np.intp]) -> Landmarks:
    """Every peak with the first few that follow it not too far away."""
    hashes: list[NDArray[np.intp]] = [np.zeros(0, np.intp)]
    starts: list[NDArray[np.intp]] = [np.zeros(0, np.intp)]
    n_begun = np.zeros(len(frames), np.intp)
    for k in range(1, min(len(frames), _APART_PEAKS)):  # each peak and the k-th after it
        later, higher = frames[k:] - frames[:-k], bins[k:] - bins[:-k]
        near = (later > 0) & (later < _APART_FRAMES) & (np.abs(higher) < _APART_BINS) & (n_begun[:-k] < _FAN_OUT)
        n_begun[:-k] += near
        first = np.flatnonzero(near)
        hashes.append(bins[first] << 16 | higher[first] + _APART_BINS << 8 | later[first] // 2)
        starts.append(frames[first])
    return np.concatenate(hashes).astype(np.uint32), np.concatenate(starts).astype(np.uint32)


_FEWEST_VOTES = 5  # landmarks at one lag
_FEWEST_SHARE = 0.02  # of the landmarks of the recording that has fewer; different recordings hardly ever reach it
_MOST_ALIKE = 64  # equal landmarks that each is compared with: those next in order, so copies still form a chain
_MOST_CANDIDATES = 24  # of a recording, those with most votes


@dataclass(frozen=True)
class FingerprintMatch:
    """Numbers of two fingerprints, ``first`` < ``second``; the second begins ``lag_s`` after the first."""

    first: int
    second: int
    lag_s: float


def find_matches(fingerprints: Sequence[Fingerprint]) -> list[FingerprintMatch]:
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
) -> list[FingerprintMatch]:
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
    return [FingerprintMatch(number, other, lag * HOP_LENGTH / SAMPLE_RATE) for other, (_, lag) in ranked]
