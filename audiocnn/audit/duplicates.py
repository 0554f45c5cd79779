"""Recordings that hold the same sound: the very same samples, or the same at another level, rate, format or length.

Takes recordings and their folder; returns what was heard of each file, and pairs. Files are heard and compared in
worker processes; nothing that was heard or compared before is done again.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
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

SIMILARITY_VERSION = 1  # raise it when the code changes what it finds
MIN_OVERLAP_S = 0.15  # of sound in common; less is too little to go by
ENOUGH_OVERLAP_S = 2.0  # of sound in common that is enough, however long the recordings are
_SHARE = 0.4  # of the shorter recording that is enough where it is short
_SAME = ((0.85, 0.55), (0.998, 0.35))  # waveform and phase that are enough, see `WaveformSimilarity.same`

_LAG_SLACK = 192  # samples around a guessed lag that are searched: three steps of landmarks
_LOUDEST = 0.25  # of the cells of the two spectrograms, whose phases are compared
_FAINTEST = 1e-4  # of the loudest cell: below this is nothing but rounding
_EMPHASIS = 0.7  # how far loud frequencies are held down when the lag is looked for (Knapp and Carter 1976)
_QUIET = 1e-4  # of the energy of both: what overlaps with less does not count by its correlation
_TINY = 1e-20

_Samples = NDArray[np.float32]


@dataclass(frozen=True)
class WaveformSimilarity:
    """How alike two recordings are where they overlap, for ``shared_s`` seconds, the second beginning at ``lag_s``.

    ``waveform`` (0 to 1) is the normalised correlation from 31 Hz to 3.5 kHz; ``phase`` (-1 to 1) is the mean cosine of
    the phase differences of the loudest quarter of all cells of the spectrograms, each counting the same.
    """

    lag_s: float
    shared_s: float
    waveform: float
    phase: float

    @property
    def same(self) -> bool:
        """Whether it is the same sound.

        Of copies of recordings of instruments at other levels, rates and formats, ``waveform`` is above 0.95 and
        ``phase`` above 0.55 in nearly all; where an encoder left nothing of a tone but the tone, ``phase`` falls to
        0.35 and ``waveform`` stays above 0.998. Different recordings have a ``phase`` below 0.15, the notes of a
        synthesiser below 0.4, and the beeps of an alarm up to 0.5 with a ``waveform`` of up to 0.995.
        """
        return any(self.waveform >= waveform and self.phase >= phase for waveform, phase in _SAME)


def compare_files(path: Path, other: Path, lag_s: float) -> WaveformSimilarity:
    """Runs in a worker: compare what two files have in common. Raises `AudioError` if one cannot be decoded."""
    first, second = read_start(path), read_start(other)
    with workers.pause_timeout():
        return waveform_similarity(first, second, guess=round(lag_s * SAMPLE_RATE))


def waveform_similarity(first: _Samples, second: _Samples, *, guess: int) -> WaveformSimilarity:
    """Return the best likeness of two, samples being at `SAMPLE_RATE`: at lags near a guessed one, and at any other.

    A guess by landmarks may be one beat off where a sound repeats itself, and what is loudest may not be shared.
    """
    lags = [lag for emphasis in (0.0, _EMPHASIS) for lag in _best_lags(first, second, guess, emphasis)]
    found = [_at(first, second, lag) for lag in dict.fromkeys(lags)]
    return max(
        found, key=lambda likeness: (likeness.same, likeness.phase), default=WaveformSimilarity(0.0, 0.0, 0.0, 0.0)
    )


def _enough(first: _Samples, second: _Samples) -> int:
    """Samples that two must share, so that it is worth a comparison."""
    shorter = min(len(first), len(second))
    return int(max(MIN_OVERLAP_S * SAMPLE_RATE, min(_SHARE * shorter, ENOUGH_OVERLAP_S * SAMPLE_RATE)))


def _best_lags(first: _Samples, second: _Samples, guess: int, emphasis: float) -> list[int]:
    """The lags, near a guess and of all, where what overlaps correlates most; none if nothing overlaps enough."""
    lags = np.arange(_enough(first, second) - len(second), len(first) - _enough(first, second) + 1)
    if not len(lags):
        return []
    n = 1 << (len(first) + len(second)).bit_length()
    x, y = (_held_down(samples, n, emphasis) for samples in (first, second))
    correlation = np.abs(np.fft.irfft(x * np.conj(y), n)[lags])
    start, other_start = np.maximum(lags, 0), np.maximum(-lags, 0)
    shared = np.minimum(len(first) - start, len(second) - other_start)
    energy = np.ones(len(lags))
    for spectrum, length, begin in ((x, len(first), start), (y, len(second), other_start)):
        sums = np.concatenate([[0.0], np.cumsum(np.fft.irfft(spectrum, n)[:length].astype(np.float64) ** 2)])
        energy *= (sums[begin + shared] - sums[begin]) / (sums[-1] + _TINY)
    correlation /= np.sqrt(energy) + _QUIET
    near = np.flatnonzero(np.abs(lags - guess) <= _LAG_SLACK)
    best = [np.argmax(correlation), *([near[np.argmax(correlation[near])]] if len(near) else [])]
    return [int(lags[number]) for number in best]


def _held_down(samples: _Samples, n: int, emphasis: float) -> NDArray[np.complex64]:
    """The spectrum (1 + n // 2,) of samples from 31 Hz to 3.5 kHz, in which loud frequencies are held down."""
    spectrum = np.fft.rfft(samples, n)
    spectrum[: LOWEST_BIN * n // N_FFT] = spectrum[HIGHEST_BIN * n // N_FFT :] = 0
    return (spectrum / (np.abs(spectrum) ** (emphasis / 2) + _TINY)).astype(np.complex64)


def _overlap(first: _Samples, second: _Samples, lag: int) -> tuple[_Samples, _Samples]:
    """What both have if the second begins ``lag`` samples after the first; may be nothing."""
    first, second = first[max(0, lag) :], second[max(0, -lag) :]
    n = min(len(first), len(second))
    return first[:n], second[:n]


def _at(first: _Samples, second: _Samples, lag: int) -> WaveformSimilarity:
    """The likeness at a lag, which may be off by a part of a sample."""
    one, two = _overlap(first, second, lag)
    a, b = (stft(samples, hop=N_FFT // 2)[:, LOWEST_BIN:HIGHEST_BIN] for samples in (one, two))
    cross = a * np.conj(b)
    cycles = np.arange(LOWEST_BIN, HIGHEST_BIN) / N_FFT  # a sample
    turns = np.exp(2j * np.pi * cycles[:, None] * np.linspace(-1, 1, 41))  # (bins, parts of a sample)
    energy = float(np.sqrt(np.sum(np.abs(a) ** 2) * np.sum(np.abs(b) ** 2)))
    correlation = (cross.sum(axis=0) @ turns).real / (energy + _TINY)
    best = np.argmax(np.abs(correlation))  # a copy may be turned upside down
    level = np.maximum(*(np.abs(x) / (np.abs(x).max() + _TINY) for x in (a, b)))
    loud = level >= max(np.quantile(level, 1 - _LOUDEST), _FAINTEST)
    agreement = (cross * turns[:, best]).real / (np.abs(cross) + _TINY) * np.sign(correlation[best])
    phase = float(agreement[loud].mean()) if loud.any() else 0.0
    return WaveformSimilarity(lag / SAMPLE_RATE, len(one) / SAMPLE_RATE, float(np.abs(correlation[best])), phase)


SILENCE_DBFS = -60.0


@dataclass(frozen=True)
class DuplicatePair:
    """Two files that hold the same sound, by path, the lesser first.

    ``exact`` if their decoded samples are the same; else the second begins ``lag_s`` after the first, they share
    ``shared_s``, and ``waveform`` and ``phase`` are those of `audiocnn.audit.duplicates.WaveformSimilarity`.
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
    """The fingerprint or the error of every file by path, and what is the same; silent files are in no pair."""

    fingerprints: Mapping[str, Fingerprint]
    unreadable: Mapping[str, AudioError]
    silent: Sequence[str]
    pairs: Sequence[DuplicatePair]


def search(
    recordings: Sequence[Recording],
    root: Path,
    *,
    cached: Path | None,
    jobs: int,
    progress: Progress,
    silence_dbfs: float = SILENCE_DBFS,
) -> DuplicateSearch:
    """Hear every file once and compare what may be alike. Stretches of one file are one file.

    Pairs are exact and near copies, sorted by path; of k files with the very same samples, all but the first make one
    pair with the first.

    ``cached`` is the file that keeps what was heard, None keeps nothing. A file whose samples nowhere exceed
    ``silence_dbfs`` is silent. Files that cannot be decoded are named in the result and cost nothing else.
    """
    files = {recording.path: recording.file(root) for recording in recordings}
    before = SearchCache({}, {}) if cached is None else read_cache(cached)
    contents = {path: _hash_if_readable(file) for path, file in files.items()}
    heard, unreadable = _hear(files, contents, before.fingerprints, jobs, progress)
    quiet = 10 ** (silence_dbfs / 20)
    silent = sorted(path for path, found in heard.items() if found.peak < quiet)
    pairs = _exact({path: found for path, found in heard.items() if path not in set(silent)})
    unlike = sorted(heard.keys() - set(silent) - {pair.second for pair in pairs})
    of_content = {heard[path].sha256: path for path in unlike}
    searched = digest_of(sorted(of_content))
    likenesses = before.likenesses
    if searched != before.searched:
        likenesses, whole = _compare({path: heard[path] for path in unlike}, files, likenesses, jobs, progress)
        searched = searched if whole else ""
    near = _near(likenesses, of_content)
    if cached is not None:
        now = SearchCache({found.sha256: found for found in heard.values()}, likenesses, searched)
        if now.fingerprints.keys() != before.fingerprints.keys() or searched != before.searched:
            write_cache(cached, now)
    return DuplicateSearch(
        heard, unreadable, silent, sorted([*pairs, *near], key=lambda pair: (pair.first, pair.second))
    )


def connected_sets(pairs: Iterable[DuplicatePair]) -> list[list[str]]:
    """Return the paths that hang together, each set sorted.

    >>> def pair(first: str, second: str) -> DuplicatePair:
    ...     return DuplicatePair(first, second, exact=True, lag_s=0, shared_s=1, waveform=1, phase=1)
    >>> connected_sets([pair("a", "b"), pair("b", "d"), pair("e", "f")])
    [['a', 'b', 'd'], ['e', 'f']]
    """
    holder: dict[str, list[str]] = {}
    for pair in pairs:
        one, other = (holder.setdefault(path, [path]) for path in (pair.first, pair.second))
        if one is not other:
            one += other
            holder |= dict.fromkeys(other, one)
    return sorted(sorted(members) for members in {id(members): members for members in holder.values()}.values())


def _hear(
    files: Mapping[str, Path],
    contents: Mapping[str, str],
    known: Mapping[str, Fingerprint],
    jobs: int,
    progress: Progress,
) -> tuple[dict[str, Fingerprint], dict[str, AudioError]]:
    heard = {path: known[contents[path]] for path in files if contents[path] in known}
    unreadable: dict[str, AudioError] = {}
    alike: dict[str, list[str]] = defaultdict(list)  # paths of one content, of which one is heard
    for path in files.keys() - heard.keys():
        alike[contents[path] or path].append(path)
    waiting = sorted(sorted(paths) for paths in alike.values())
    tasks = [(files[paths[0]], (contents[paths[0]],)) for paths in waiting]
    with progress.task("hear recordings", total=len(tasks), unit="recordings") as advance:
        for done in workers.map_files(fingerprint.compute, tasks, jobs=jobs):
            found = done.result
            target: dict[str, Any] = unreadable if isinstance(found, AudioError) else heard
            target.update(dict.fromkeys(waiting[done.index], found))
            advance()
    return heard, unreadable


def _exact(heard: Mapping[str, Fingerprint]) -> list[DuplicatePair]:
    same: dict[str, list[str]] = defaultdict(list)
    for path in sorted(heard):
        same[heard[path].samples].append(path)
    return [
        DuplicatePair(paths[0], path, True, 0.0, heard[path].duration_s, 1.0, 1.0)
        for paths in same.values()
        for path in paths[1:]
    ]


def _compare(
    heard: Mapping[str, Fingerprint],
    files: Mapping[str, Path],
    known: Mapping[tuple[str, str], WaveformSimilarity],
    jobs: int,
    progress: Progress,
) -> tuple[dict[tuple[str, str], WaveformSimilarity], bool]:
    """The likenesses of all recordings that may be alike, by their contents, and whether none is missing."""
    paths = sorted(heard, key=lambda path: heard[path].sha256)  # so a likeness is that of the same two files any time
    likely = {
        (heard[paths[c.first]].sha256, heard[paths[c.second]].sha256): c
        for c in fingerprint.find_matches([heard[path] for path in paths])
    }
    likenesses = {contents: known[contents] for contents in likely if contents in known}
    waiting = [(contents, c) for contents, c in likely.items() if contents not in likenesses]
    tasks = [(files[paths[c.first]], (files[paths[c.second]], c.lag_s)) for _, c in waiting]
    with progress.task("compare", total=len(tasks), unit="pairs") as advance:
        for done in workers.map_files(compare_files, tasks, jobs=jobs):
            if isinstance(done.result, WaveformSimilarity):  # else a file has vanished since, and nothing can be said
                likenesses[waiting[done.index][0]] = done.result
            advance()
    return likenesses, len(likenesses) == len(likely)


def _near(likenesses: Mapping[tuple[str, str], WaveformSimilarity], path_of: Mapping[str, str]) -> list[DuplicatePair]:
    """The pairs that are the same sound, given the path of every content."""
    pairs = []
    for (content, other_content), found in likenesses.items():
        if found.same:
            one, other = path_of[content], path_of[other_content]
            lag_s = found.lag_s if one < other else -found.lag_s
            measures = (found.shared_s, found.waveform, found.phase)
            pairs.append(DuplicatePair(min(one, other), max(one, other), False, lag_s, *measures))
    return pairs


def _hash_if_readable(file: Path) -> str:
    """SHA-256 of a regular file, or an empty text where there is none to read."""
    try:
        return sha256_of(file) if file.is_file() else ""
    except (OSError, ValueError):
        return ""


CACHE_FILE = "heard.fingerprints"
_FACTS = ("sha256", "samples", "duration_s", "peak")


@dataclass(frozen=True)
class SearchCache:
    """Fingerprints by the SHA-256 of their files, likenesses by two of them, the lesser first.

    ``searched`` is the digest of the contents among which all that may be alike was compared, if that was finished.
    """

    fingerprints: Mapping[str, Fingerprint]
    likenesses: Mapping[tuple[str, str], WaveformSimilarity]
    searched: str = ""


def read_cache(file: Path) -> SearchCache:
    """Return what was written; nothing if there is no such file, or one that is damaged or of another version."""
    try:
        with safetensors.safe_open(file, framework="numpy") as content:
            about = json.loads((content.metadata() or {})["audiocnn"])
            hashes, frames, bounds = (content.get_tensor(name) for name in ("hashes", "frames", "bounds"))
        if about["versions"] != _versions() or about["digest"] != _facts_digest(about, hashes, frames, bounds):
            return SearchCache({}, {})
        fingerprints = {
            facts["sha256"]: Fingerprint(**facts, hashes=hashes[first:last], frames=frames[first:last])
            for facts, first, last in zip(about["facts"], bounds[:-1], bounds[1:], strict=True)
        }
        likenesses = {(a, b): WaveformSimilarity(**found) for a, b, found in about["likenesses"]}
    except (OSError, safetensors.SafetensorError, KeyError, TypeError, ValueError, AttributeError):
        return SearchCache({}, {})
    return SearchCache(fingerprints, likenesses, about["searched"])


def write_cache(file: Path, heard: SearchCache) -> None:
    """Replace the file; raises `OutputError` if it cannot be written."""
    kept = [fingerprint for _, fingerprint in sorted(heard.fingerprints.items())]
    hashes = np.concatenate([np.zeros(0, np.uint32), *(f.hashes for f in kept)])
    frames = np.concatenate([np.zeros(0, np.uint32), *(f.frames for f in kept)])
    bounds = np.cumsum([0, *(len(f.hashes) for f in kept)], dtype=np.int64)
    about: dict[str, Any] = {
        "versions": _versions(),
        "searched": heard.searched,
        "facts": [{name: getattr(f, name) for name in _FACTS} for f in kept],
        "likenesses": [[*pair, asdict(found)] for pair, found in sorted(heard.likenesses.items())],
    }
    about["digest"] = _facts_digest(about, hashes, frames, bounds)
    tensors = {"hashes": hashes, "frames": frames, "bounds": bounds}
    with atomic_file(file) as out:
        out.write(safetensors.numpy.save(tensors, {"audiocnn": json.dumps(about)}))


def _versions() -> dict[str, str | int]:
    """Everything that can change what is kept."""
    return {**LIBRARIES, "fingerprint": fingerprint.VERSION, "likeness": SIMILARITY_VERSION}


def _facts_digest(about: Mapping[str, Any], *arrays: NDArray[Any]) -> str:
    contents = [hashlib.sha256(array.tobytes()).hexdigest() for array in arrays]
    return digest_of([{name: value for name, value in about.items() if name != "digest"}, contents])
