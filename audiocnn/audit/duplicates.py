"""Find duplicates: recordings with identical samples, or with the same sound at another level, rate, format or length.

Takes recordings and their root folder; returns the fingerprint of every file and the pairs of duplicates. Worker
processes decode and compare the files; a cache file keeps the results, so no file is analyzed twice.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from audiocnn.audio import workers
from audiocnn.audio.decode import LIBRARIES
from audiocnn.audit import fingerprint
from audiocnn.audit.fingerprint import HIGHEST_BIN, LOWEST_BIN, N_FFT, SAMPLE_RATE, Fingerprint, read_start, stft
from audiocnn.dataset.manifest import Recording
from audiocnn.errors import AudioError
from audiocnn.files import atomic_file, digest_of, sha256_of
from audiocnn.progress import Progress

SILENCE_DBFS = -60.0
CACHE_FILE = "heard.fingerprints"
SIMILARITY_VERSION = 1  # increase it when the code changes what it finds
MIN_OVERLAP_S = 0.15  # shorter overlaps are not compared
ENOUGH_OVERLAP_S = 2.0  # an overlap of this length is enough, however long the recordings are

_OVERLAP_SHARE = 0.4  # of the shorter recording: enough overlap where this is less than `ENOUGH_OVERLAP_S`
_SAME = ((0.85, 0.55), (0.998, 0.35))  # least waveform and phase of the same sound, see `WaveformSimilarity.same`
_LAG_TOLERANCE = 192  # samples around a guessed lag that are searched: three hops of the landmarks
_LOUD_SHARE = 0.25  # of the spectrogram cells: the loudest, whose phases are compared
_MIN_LEVEL = 1e-4  # of the loudest cell: anything below is rounding
_WHITENING = 0.7  # exponent that attenuates loud frequencies when the lag is searched (Knapp and Carter 1976)
_MIN_ENERGY = 1e-4  # of the energy of both: limits the correlation of overlaps with less
_TINY = 1e-20
_FACTS = ("sha256", "samples", "duration_s", "peak")  # of a fingerprint, as the cache file has them

_Samples = NDArray[np.float32]


@dataclass(frozen=True)
class WaveformSimilarity:
    """How similar two recordings are in the ``shared_s`` seconds where they overlap; the second begins at ``lag_s``.

    ``waveform`` (0 to 1) is the normalised correlation from 31 Hz to 3.5 kHz. ``phase`` (-1 to 1) is the mean cosine of
    the phase differences of the loudest quarter of all spectrogram cells, all with the same weight.
    """

    lag_s: float
    shared_s: float
    waveform: float
    phase: float

    @property
    def same(self) -> bool:
        """Whether the two recordings hold the same sound.

        For copies of instrument recordings at other levels, rates and formats, ``waveform`` is above 0.95 and ``phase``
        above 0.55 in nearly all cases. Where an encoder removed everything but a tone, ``phase`` falls to 0.35 and
        ``waveform`` stays above 0.998. Different recordings have a ``phase`` below 0.15, different notes of a
        synthesiser below 0.4, and different beeps of an alarm up to 0.5 with a ``waveform`` of up to 0.995.
        """
        return any(self.waveform >= waveform and self.phase >= phase for waveform, phase in _SAME)


@dataclass(frozen=True)
class DuplicatePair:
    """Two files that hold the same sound, by path in sorted order.

    ``exact`` if their decoded samples are identical. Otherwise the second begins ``lag_s`` after the first, they
    overlap for ``shared_s``, and ``waveform`` and ``phase`` are those of `WaveformSimilarity`.
    """

    first: str
    second: str
    exact: bool
    lag_s: float
    shared_s: float
    waveform: float
    phase: float


@dataclass(frozen=True)
class DuplicateSearch:
    """The fingerprint or the error of every file by path, the silent files, and the pairs among the others."""

    fingerprints: Mapping[str, Fingerprint]
    unreadable: Mapping[str, AudioError]
    silent: Sequence[str]
    pairs: Sequence[DuplicatePair]


@dataclass(frozen=True)
class SearchCache:
    """Fingerprints by the SHA-256 of their files, similarities by two of these, in sorted order.

    ``searched`` is the digest of all contents of the last search that compared every candidate, otherwise empty.
    """

    fingerprints: Mapping[str, Fingerprint]
    similarities: Mapping[tuple[str, str], WaveformSimilarity]
    searched: str = ""


def search(
    recordings: Sequence[Recording],
    root: Path,
    *,
    cached: Path | None,
    jobs: int,
    progress: Progress,
    silent: Collection[str] | None = None,
) -> DuplicateSearch:
    """Fingerprint every file once, compare the candidates and return what was found.

    The clips of one file count as one file. Pairs are sorted by path; of k files with identical samples, each but the
    first makes one pair with the first.

    ``cached`` is the cache file, None for no cache. ``silent`` are files that hold no sound; None: those with no sample
    above `SILENCE_DBFS`. A file that cannot be decoded is returned in ``unreadable``.
    """
    files = {recording.path: recording.file(root) for recording in recordings}
    cache = SearchCache({}, {}) if cached is None else read_cache(cached)
    contents = {path: _hash_if_readable(file) for path, file in files.items()}
    fingerprints, unreadable = _fingerprint_files(files, contents, cache.fingerprints, jobs, progress)
    if silent is None:
        silent = [path for path, found in fingerprints.items() if found.peak < 10 ** (SILENCE_DBFS / 20)]
    silent = sorted(fingerprints.keys() & set(silent))
    exact = _exact_pairs({path: found for path, found in fingerprints.items() if path not in set(silent)})
    distinct = sorted(fingerprints.keys() - set(silent) - {pair.second for pair in exact})
    path_of = {fingerprints[path].sha256: path for path in distinct}
    searched = digest_of(sorted(path_of))
    similarities = cache.similarities
    if searched != cache.searched:
        candidates = {path: fingerprints[path] for path in distinct}
        similarities, complete = _compare(candidates, files, similarities, jobs, progress)
        searched = searched if complete else ""
    near = _near_pairs(similarities, path_of)
    if cached is not None:
        new = SearchCache({found.sha256: found for found in fingerprints.values()}, similarities, searched)
        if new.fingerprints.keys() != cache.fingerprints.keys() or searched != cache.searched:
            write_cache(cached, new)
    pairs = sorted([*exact, *near], key=lambda pair: (pair.first, pair.second))
    return DuplicateSearch(fingerprints, unreadable, silent, pairs)


def connected_sets(pairs: Iterable[DuplicatePair]) -> list[list[str]]:
    """Return the sets of paths that pairs connect, each set sorted.

    >>> def pair(first: str, second: str) -> DuplicatePair:
    ...     return DuplicatePair(first, second, exact=True, lag_s=0, shared_s=1, waveform=1, phase=1)
    >>> connected_sets([pair("a", "b"), pair("b", "d"), pair("e", "f")])
    [['a', 'b', 'd'], ['e', 'f']]
    """
    set_of: dict[str, list[str]] = {}
    for pair in pairs:
        one, other = (set_of.setdefault(path, [path]) for path in (pair.first, pair.second))
        if one is not other:
            one += other
            set_of |= dict.fromkeys(other, one)
    return sorted(sorted(members) for members in {id(members): members for members in set_of.values()}.values())


def compare_files(path: Path, other: Path, lag_s: float) -> WaveformSimilarity:
    """Return the similarity of two files; runs in a worker. Raises `AudioError` if one cannot be decoded."""
    first, second = read_start(path), read_start(other)
    with workers.pause_timeout():
        return waveform_similarity(first, second, guess=round(lag_s * SAMPLE_RATE))


def waveform_similarity(first: _Samples, second: _Samples, *, guess: int) -> WaveformSimilarity:
    """Return the best similarity of samples at `SAMPLE_RATE`, at a lag near the guess or at any other lag.

    All lags are searched because the landmarks may guess a lag that is off by one beat where a sound repeats. Both the
    plain and the whitened spectrum are searched because the loudest frequencies may not be in both recordings.
    """
    lags = [lag for exponent in (0.0, _WHITENING) for lag in _best_lags(first, second, guess, exponent)]
    found = [_similarity_at(first, second, lag) for lag in dict.fromkeys(lags)]
    return max(found, key=lambda one: (one.same, one.phase), default=WaveformSimilarity(0.0, 0.0, 0.0, 0.0))


def read_cache(file: Path) -> SearchCache:
    """Return the content of a cache file; an empty cache if the file is missing, damaged or of another version."""
    try:
        with safetensors.safe_open(file, framework="numpy") as content:
            about = json.loads((content.metadata() or {})["audiocnn"])
            hashes, frames, bounds = (content.get_tensor(name) for name in ("hashes", "frames", "bounds"))
        if about["versions"] != _versions() or about["digest"] != _cache_digest(about, hashes, frames, bounds):
            return SearchCache({}, {})
        fingerprints = {
            facts["sha256"]: Fingerprint(**facts, hashes=hashes[first:last], frames=frames[first:last])
            for facts, first, last in zip(about["facts"], bounds[:-1], bounds[1:], strict=True)
        }
        similarities = {(a, b): WaveformSimilarity(**found) for a, b, found in about["likenesses"]}
    except (OSError, safetensors.SafetensorError, KeyError, TypeError, ValueError, AttributeError):
        return SearchCache({}, {})
    return SearchCache(fingerprints, similarities, about["searched"])


def write_cache(file: Path, cache: SearchCache) -> None:
    """Replace the cache file; raises `OutputError` if it cannot be written."""
    fingerprints = [found for _, found in sorted(cache.fingerprints.items())]
    hashes = np.concatenate([np.zeros(0, np.uint32), *(f.hashes for f in fingerprints)])
    frames = np.concatenate([np.zeros(0, np.uint32), *(f.frames for f in fingerprints)])
    bounds = np.cumsum([0, *(len(f.hashes) for f in fingerprints)], dtype=np.int64)
    about: dict[str, Any] = {
        "versions": _versions(),
        "searched": cache.searched,
        "facts": [{name: getattr(f, name) for name in _FACTS} for f in fingerprints],
        "likenesses": [[*pair, asdict(found)] for pair, found in sorted(cache.similarities.items())],
    }
    about["digest"] = _cache_digest(about, hashes, frames, bounds)
    tensors = {"hashes": hashes, "frames": frames, "bounds": bounds}
    with atomic_file(file) as out:
        out.write(safetensors.numpy.save(tensors, {"audiocnn": json.dumps(about)}))


def _fingerprint_files(
    files: Mapping[str, Path],
    contents: Mapping[str, str],
    known: Mapping[str, Fingerprint],
    jobs: int,
    progress: Progress,
) -> tuple[dict[str, Fingerprint], dict[str, AudioError]]:
    """Return the fingerprints and the errors by path; of files with the same content only one is decoded."""
    fingerprints = {path: known[contents[path]] for path in files if contents[path] in known}
    unreadable: dict[str, AudioError] = {}
    paths_of: dict[str, list[str]] = defaultdict(list)
    for path in files.keys() - fingerprints.keys():
        paths_of[contents[path] or path].append(path)
    waiting = sorted(sorted(paths) for paths in paths_of.values())
    tasks = [(files[paths[0]], (contents[paths[0]],)) for paths in waiting]
    with progress.task("scan for copies", total=len(tasks), unit="recordings") as advance:
        for done in workers.map_files(fingerprint.compute, tasks, jobs=jobs):
            found = done.result
            target: dict[str, Any] = unreadable if isinstance(found, AudioError) else fingerprints
            target.update(dict.fromkeys(waiting[done.index], found))
            advance()
    return fingerprints, unreadable


def _hash_if_readable(file: Path) -> str:
    """Return the SHA-256 of a regular file, or an empty text if it cannot be read."""
    try:
        return sha256_of(file) if file.is_file() else ""
    except (OSError, ValueError):
        return ""


def _exact_pairs(fingerprints: Mapping[str, Fingerprint]) -> list[DuplicatePair]:
    """Return the pairs with identical samples, each file paired with the first of its set."""
    paths_of: dict[str, list[str]] = defaultdict(list)
    for path in sorted(fingerprints):
        paths_of[fingerprints[path].samples].append(path)
    return [
        DuplicatePair(paths[0], path, True, 0.0, fingerprints[path].duration_s, 1.0, 1.0)
        for paths in paths_of.values()
        for path in paths[1:]
    ]


def _compare(
    fingerprints: Mapping[str, Fingerprint],
    files: Mapping[str, Path],
    known: Mapping[tuple[str, str], WaveformSimilarity],
    jobs: int,
    progress: Progress,
) -> tuple[dict[tuple[str, str], WaveformSimilarity], bool]:
    """Return the similarities of all candidate pairs by their contents, and whether every candidate was compared."""
    paths = sorted(fingerprints, key=lambda path: fingerprints[path].sha256)  # independent of file names
    candidates = {
        (fingerprints[paths[c.first]].sha256, fingerprints[paths[c.second]].sha256): c
        for c in fingerprint.find_matches([fingerprints[path] for path in paths])
    }
    similarities = {contents: known[contents] for contents in candidates if contents in known}
    waiting = [(contents, c) for contents, c in candidates.items() if contents not in similarities]
    tasks = [(files[paths[c.first]], (files[paths[c.second]], c.lag_s)) for _, c in waiting]
    with progress.task("compare possible copies", total=len(tasks), unit="pairs") as advance:
        for done in workers.map_files(compare_files, tasks, jobs=jobs):
            if isinstance(done.result, WaveformSimilarity):  # otherwise a file has disappeared since it was scanned
                similarities[waiting[done.index][0]] = done.result
            advance()
    return similarities, len(similarities) == len(candidates)


def _near_pairs(
    similarities: Mapping[tuple[str, str], WaveformSimilarity], path_of: Mapping[str, str]
) -> list[DuplicatePair]:
    """Return the pairs that hold the same sound; ``path_of`` gives the path of every content."""
    pairs = []
    for (content, other_content), found in similarities.items():
        if found.same:
            one, other = path_of[content], path_of[other_content]
            lag_s = found.lag_s if one < other else -found.lag_s
            measures = (found.shared_s, found.waveform, found.phase)
            pairs.append(DuplicatePair(min(one, other), max(one, other), False, lag_s, *measures))
    return pairs


def _best_lags(first: _Samples, second: _Samples, guess: int, exponent: float) -> list[int]:
    """Return the lags with the highest correlation, of all and near the guess; none if the overlap is too short."""
    lags = np.arange(_min_overlap(first, second) - len(second), len(first) - _min_overlap(first, second) + 1)
    if not len(lags):
        return []
    n = 1 << (len(first) + len(second)).bit_length()
    x, y = (_whitened_spectrum(samples, n, exponent) for samples in (first, second))
    correlation = np.abs(np.fft.irfft(x * np.conj(y), n)[lags])
    start, other_start = np.maximum(lags, 0), np.maximum(-lags, 0)
    shared = np.minimum(len(first) - start, len(second) - other_start)
    energy = np.ones(len(lags))
    for spectrum, length, begin in ((x, len(first), start), (y, len(second), other_start)):
        sums = np.concatenate([[0.0], np.cumsum(np.fft.irfft(spectrum, n)[:length].astype(np.float64) ** 2)])
        energy *= (sums[begin + shared] - sums[begin]) / (sums[-1] + _TINY)
    correlation /= np.sqrt(energy) + _MIN_ENERGY
    near = np.flatnonzero(np.abs(lags - guess) <= _LAG_TOLERANCE)
    best = [np.argmax(correlation), *([near[np.argmax(correlation[near])]] if len(near) else [])]
    return [int(lags[number]) for number in best]


def _min_overlap(first: _Samples, second: _Samples) -> int:
    """Return how many samples two recordings must share to be compared."""
    shorter = min(len(first), len(second))
    return int(max(MIN_OVERLAP_S * SAMPLE_RATE, min(_OVERLAP_SHARE * shorter, ENOUGH_OVERLAP_S * SAMPLE_RATE)))


def _whitened_spectrum(samples: _Samples, n: int, exponent: float) -> NDArray[np.complex64]:
    """Return the spectrum (1 + n // 2,) of samples from 31 Hz to 3.5 kHz, with loud frequencies attenuated."""
    spectrum = np.fft.rfft(samples, n)
    spectrum[: LOWEST_BIN * n // N_FFT] = spectrum[HIGHEST_BIN * n // N_FFT :] = 0
    return (spectrum / (np.abs(spectrum) ** (exponent / 2) + _TINY)).astype(np.complex64)


def _similarity_at(first: _Samples, second: _Samples, lag: int) -> WaveformSimilarity:
    """Return the similarity at a lag in samples, up to one sample off."""
    one, two = _overlap(first, second, lag)
    a, b = (stft(samples, hop=N_FFT // 2)[:, LOWEST_BIN:HIGHEST_BIN] for samples in (one, two))
    cross = a * np.conj(b)
    cycles = np.arange(LOWEST_BIN, HIGHEST_BIN) / N_FFT  # per sample
    shifts = np.exp(2j * np.pi * cycles[:, None] * np.linspace(-1, 1, 41))  # (bins, fractions of a sample)
    energy = float(np.sqrt(np.sum(np.abs(a) ** 2) * np.sum(np.abs(b) ** 2)))
    correlation = (cross.sum(axis=0) @ shifts).real / (energy + _TINY)
    best = np.argmax(np.abs(correlation))  # a copy may have inverted polarity
    level = np.maximum(*(np.abs(x) / (np.abs(x).max() + _TINY) for x in (a, b)))
    loud = level >= max(np.quantile(level, 1 - _LOUD_SHARE), _MIN_LEVEL)
    agreement = (cross * shifts[:, best]).real / (np.abs(cross) + _TINY) * np.sign(correlation[best])
    phase = float(agreement[loud].mean()) if loud.any() else 0.0
    return WaveformSimilarity(lag / SAMPLE_RATE, len(one) / SAMPLE_RATE, float(np.abs(correlation[best])), phase)


def _overlap(first: _Samples, second: _Samples, lag: int) -> tuple[_Samples, _Samples]:
    """Return the part that both have if the second begins ``lag`` samples after the first; may be empty."""
    first, second = first[max(0, lag) :], second[max(0, -lag) :]
    n = min(len(first), len(second))
    return first[:n], second[:n]


def _versions() -> dict[str, str | int]:
    """Return the versions of everything that can change the content of the cache."""
    return {**LIBRARIES, "fingerprint": fingerprint.VERSION, "likeness": SIMILARITY_VERSION}


def _cache_digest(about: Mapping[str, Any], *arrays: NDArray[Any]) -> str:
    contents = [hashlib.sha256(array.tobytes()).hexdigest() for array in arrays]
    return digest_of([{name: value for name, value in about.items() if name != "digest"}, contents])
