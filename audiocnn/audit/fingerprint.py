"""Compute audio fingerprints and find pairs of them that match.

Takes a file and returns a `Fingerprint`: a digest of the samples, and landmarks in a few kilobytes. Landmarks are pairs
of spectrogram peaks, after Wang, "An industrial-strength audio search algorithm" (ISMIR 2003): a copy at another level,
rate or format keeps most of them, and an excerpt keeps those of its part.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audiocnn.audio import clips, workers
from audiocnn.audio.clips import MonoFile
from audiocnn.audio.decode import Decoder

VERSION = 1  # increase it when the code computes other fingerprints
SAMPLE_RATE = 8_000  # a telephone-quality copy still has this bandwidth
MAX_DURATION_S = 180.0  # of the landmarks, from the start of a recording: bounds memory. The digest covers all samples
N_FFT, HOP_LENGTH = 512, 64  # samples: 64 ms every 8 ms
LOWEST_BIN, HIGHEST_BIN = 2, 224  # 31 Hz to 3.5 kHz, as the filters of copies roll off before 4 kHz

_BLOCK_FRAMES = 4096  # STFT frames computed at once
_MIN_PEAK_DB = -90.0  # a peak is above this, relative to the loudest bin of the recording ...
_NOISE_DB = -78.0  # ... and above this, relative to a bin of magnitude 1: 16-bit noise is at -84
_REACHES = (6, 3, 2)  # a peak is the maximum within so many frames and bins; smaller ones if landmarks are too few
_ENOUGH_LANDMARKS = 100
_SLOT_FRAMES, _PEAKS_PER_SLOT = 32, 20  # the loudest peaks of every slot are kept
_FAN_OUT = 6  # landmarks per first peak
_MAX_FRAMES, _MAX_BINS, _MAX_PEAKS = 64, 64, 60  # the second peak of a landmark is less than this away from the first
_MIN_VOTES = 5  # landmarks with the same lag
_MIN_VOTE_SHARE = 0.02  # of the landmarks of the recording with fewer; different recordings hardly ever reach it
_MAX_EQUAL = 64  # equal landmarks that each is compared with: the next ones, so that many copies still form a chain
_MAX_MATCHES = 24  # per recording: those with most votes

Landmarks = tuple[NDArray[np.uint32], NDArray[np.uint32]]


@dataclass(frozen=True)
class Fingerprint:
    """``sha256`` is that of the file, ``samples`` that of its sample rate and decoded samples, mixed to mono.

    ``peak`` is the largest absolute sample (full scale 1.0). ``hashes`` (n,) uint32 are the landmarks, ``frames`` (n,)
    uint32 their start times in steps of 8 ms.
    """

    sha256: str
    samples: str
    duration_s: float
    peak: float
    hashes: NDArray[np.uint32]
    frames: NDArray[np.uint32]


@dataclass(frozen=True)
class FingerprintMatch:
    """The indices of two fingerprints, ``first`` < ``second``; the second begins ``lag_s`` after the first."""

    first: int
    second: int
    lag_s: float


def compute(path: Path, sha256: str) -> Fingerprint:
    """Return the fingerprint of a file; runs in a worker. Raises `AudioError` if the file cannot be decoded."""
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
    """Return the first `MAX_DURATION_S` of a recording at `SAMPLE_RATE`, mixed to mono, as float32 (n,)."""
    return clips.read(MonoFile(path, SAMPLE_RATE), [(0.0, MAX_DURATION_S)])[0]


def landmarks(samples: NDArray[np.float32]) -> Landmarks:
    """Return the hashes and frames, both (n,) uint32, of the landmarks of samples at `SAMPLE_RATE`."""
    spectra = _spectra(np.pad(samples, N_FFT // 2), hop=HOP_LENGTH)
    floor = np.float32(1e-6)
    level_db = np.concatenate(
        [20 * np.log10(np.maximum(np.abs(block[:, LOWEST_BIN:HIGHEST_BIN]), floor)) for block in spectra]
    )
    hashes, frames = np.zeros(0, np.uint32), np.zeros(0, np.uint32)
    for reach in _REACHES:
        if len(hashes) < _ENOUGH_LANDMARKS:
            more = _pair_peaks(*_peaks(level_db, reach))
            hashes, frames = np.concatenate([hashes, more[0]]), np.concatenate([frames, more[1]])
    return hashes, frames


def stft(samples: NDArray[np.float32], *, hop: int) -> NDArray[np.complex64]:
    """Return the complex spectra (n_frames, 1 + N_FFT // 2) of samples, zero-padded to at least one frame."""
    return np.concatenate(list(_spectra(samples, hop=hop)))


def _spectra(samples: NDArray[np.float32], *, hop: int) -> Iterator[NDArray[np.complex64]]:
    """Yield what `stft` returns, some frames at a time."""
    samples = np.pad(samples, (0, max(0, N_FFT - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(samples, N_FFT)[::hop]
    taper = np.hanning(N_FFT).astype(np.float32)
    for start in range(0, len(frames), _BLOCK_FRAMES):
        yield np.fft.rfft(frames[start : start + _BLOCK_FRAMES] * taper).astype(np.complex64, copy=False)


def find_matches(fingerprints: Sequence[Fingerprint]) -> list[FingerprintMatch]:
    """Return the candidate pairs of duplicates; time and memory grow with the number of landmarks, not of pairs."""
    sizes = np.array([len(f.hashes) for f in fingerprints], np.intp)
    hashes = np.concatenate([np.zeros(0, np.uint32), *(f.hashes for f in fingerprints)])
    frames = np.concatenate([np.zeros(0, np.uint32), *(f.frames for f in fingerprints)]).astype(np.int64)
    owners = np.repeat(np.arange(len(fingerprints)), sizes)
    order = np.argsort(hashes, kind="stable")  # keeps equal hashes in the order of their recordings
    hashes, frames, owners = hashes[order], frames[order], owners[order]
    position = np.argsort(owners, kind="stable")  # of the landmarks of each recording
    bounds = np.concatenate([[0], np.cumsum(sizes)])
    ends = np.searchsorted(hashes, hashes, side="right")
    begins = np.searchsorted(owners + (hashes.astype(np.int64) << 32), (owners + 1) + (hashes.astype(np.int64) << 32))
    found = []
    for index in range(len(fingerprints)):
        own = position[bounds[index] : bounds[index + 1]]
        found += _matches_of(index, own, begins, ends, frames, owners, sizes)
    return found


def _peaks(level_db: NDArray[np.float32], reach: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the frames and bins of the local maxima in order of time, the loudest of every slot."""
    maxima = _moving_maximum(_moving_maximum(level_db, reach).T, reach).T
    floor_db = max(float(level_db.max()) + _MIN_PEAK_DB, _NOISE_DB)
    frames, bins = np.nonzero((level_db == maxima) & (level_db > floor_db))
    slot = frames // _SLOT_FRAMES
    order = np.lexsort((-level_db[frames, bins], slot))
    rank = np.arange(len(order)) - np.searchsorted(slot[order], slot[order])
    kept = np.sort(order[rank < _PEAKS_PER_SLOT])
    return frames[kept], bins[kept]


def _moving_maximum(values: NDArray[np.float32], reach: int) -> NDArray[np.float32]:
    """Return the maximum over ``reach`` rows before and after each value, along the first axis."""
    largest = values.copy()
    for shift in range(1, reach + 1):
        np.maximum(largest[shift:], values[:-shift], out=largest[shift:])
        np.maximum(largest[:-shift], values[shift:], out=largest[:-shift])
    return largest


def _pair_peaks(frames: NDArray[np.intp], bins: NDArray[np.intp]) -> Landmarks:
    """Return the hashes and frames of pairs: every peak with the first few that follow it closely enough."""
    hashes: list[NDArray[np.intp]] = [np.zeros(0, np.intp)]
    starts: list[NDArray[np.intp]] = [np.zeros(0, np.intp)]
    n_pairs = np.zeros(len(frames), np.intp)
    for k in range(1, min(len(frames), _MAX_PEAKS)):  # each peak and the k-th after it
        later, higher = frames[k:] - frames[:-k], bins[k:] - bins[:-k]
        near = (later > 0) & (later < _MAX_FRAMES) & (np.abs(higher) < _MAX_BINS) & (n_pairs[:-k] < _FAN_OUT)
        n_pairs[:-k] += near
        first = np.flatnonzero(near)
        hashes.append(bins[first] << 16 | higher[first] + _MAX_BINS << 8 | later[first] // 2)
        starts.append(frames[first])
    return np.concatenate(hashes).astype(np.uint32), np.concatenate(starts).astype(np.uint32)


def _matches_of(
    index: int,
    own: NDArray[np.intp],
    begins: NDArray[np.intp],
    ends: NDArray[np.intp],
    frames: NDArray[np.int64],
    owners: NDArray[np.intp],
    sizes: NDArray[np.intp],
) -> list[FingerprintMatch]:
    """Return the matches of one recording with later ones; its landmarks ``own`` equal those from begins to ends."""
    n_equal = np.minimum(ends[own] - begins[own], _MAX_EQUAL)
    here = np.repeat(own, n_equal)
    there = np.repeat(begins[own] - np.cumsum(n_equal) + n_equal, n_equal) + np.arange(n_equal.sum())
    lags = frames[here] - frames[there]
    keys, votes = np.unique(owners[there] << 32 | lags + (1 << 31), return_counts=True)
    neighbours = np.zeros(len(keys), np.intp)  # votes for the lags next to each, as the frame grids differ
    for step in (-1, 1):
        at = np.minimum(np.searchsorted(keys, keys + step), max(0, len(keys) - 1))
        neighbours += np.where(keys[at] == keys + step, votes[at], 0)
    votes = votes + neighbours
    others, lags = keys >> 32, (keys & 0xFFFFFFFF) - (1 << 31)
    enough = votes >= np.maximum(_MIN_VOTES, _MIN_VOTE_SHARE * np.minimum(sizes[index], sizes[others]))
    best: dict[int, tuple[int, int]] = {}
    for other, lag, n in zip(others[enough].tolist(), lags[enough].tolist(), votes[enough].tolist(), strict=True):
        best[other] = max(best.get(other, (0, 0)), (n, lag))
    ranked = sorted(best.items(), key=lambda item: (-item[1][0], item[0]))[:_MAX_MATCHES]
    return [FingerprintMatch(index, other, lag * HOP_LENGTH / SAMPLE_RATE) for other, (_, lag) in ranked]
