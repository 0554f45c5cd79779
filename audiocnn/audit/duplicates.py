"""Recordings that hold the same sound: the very same samples, or the same at another level, rate, format or length.

Takes recordings and their folder; returns what was heard of each file, and pairs. Files are heard and compared in
worker processes; nothing that was heard or compared before is done again.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audiocnn.audio import isolate
from audiocnn.audit import cache, candidates, fingerprint, likeness
from audiocnn.audit.fingerprint import Fingerprint
from audiocnn.audit.likeness import Likeness
from audiocnn.dataset.manifest import Recording
from audiocnn.errors import AudioError
from audiocnn.files import digest_of, sha256_of
from audiocnn.progress import Progress

SILENCE_DBFS = -60.0


@dataclass(frozen=True)
class Pair:
    """Two files that hold the same sound, by path, the lesser first.

    ``exact`` if their decoded samples are the same; else the second begins ``lag_s`` after the first, they share
    ``shared_s``, and ``waveform`` and ``phase`` are those of `audiocnn.audit.likeness.Likeness`.
    """

    first: str
    second: str
    exact: bool
    lag_s: float
    shared_s: float
    waveform: float
    phase: float


@dataclass(frozen=True)
class Search:
    """The fingerprint or the error of every file by path, and what is the same; silent files are in no pair."""

    fingerprints: Mapping[str, Fingerprint]
    unreadable: Mapping[str, AudioError]
    silent: Sequence[str]
    pairs: Sequence[Pair]


def search(
    recordings: Sequence[Recording],
    root: Path,
    *,
    cached: Path | None,
    jobs: int,
    progress: Progress,
    silence_dbfs: float = SILENCE_DBFS,
) -> Search:
    """Hear every file once and compare what may be alike. Stretches of one file are one file.

    Pairs are exact and near copies, sorted by path; of k files with the very same samples, all but the first make one
    pair with the first.

    ``cached`` is the file that keeps what was heard, None keeps nothing. A file whose samples nowhere exceed
    ``silence_dbfs`` is silent. Files that cannot be decoded are named in the result and cost nothing else.
    """
    files = {recording.path: recording.file(root) for recording in recordings}
    before = cache.CachedSearch({}, {}) if cached is None else cache.read(cached)
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
        now = cache.CachedSearch({found.sha256: found for found in heard.values()}, likenesses, searched)
        if now.fingerprints.keys() != before.fingerprints.keys() or searched != before.searched:
            cache.write(cached, now)
    return Search(heard, unreadable, silent, sorted([*pairs, *near], key=lambda pair: (pair.first, pair.second)))


def sets(pairs: Iterable[Pair]) -> list[list[str]]:
    """Return the paths that hang together, each set sorted.

    >>> sets([Pair("a", "b", True, 0, 1, 1, 1), Pair("b", "d", False, 0, 1, 1, 1), Pair("e", "f", True, 0, 1, 1, 1)])
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
        for done in isolate.map_files(fingerprint.take, tasks, jobs=jobs):
            found = done.result
            target: dict[str, Any] = unreadable if isinstance(found, AudioError) else heard
            target.update(dict.fromkeys(waiting[done.index], found))
            advance()
    return heard, unreadable


def _exact(heard: Mapping[str, Fingerprint]) -> list[Pair]:
    same: dict[str, list[str]] = defaultdict(list)
    for path in sorted(heard):
        same[heard[path].samples].append(path)
    return [
        Pair(paths[0], path, True, 0.0, heard[path].duration_s, 1.0, 1.0)
        for paths in same.values()
        for path in paths[1:]
    ]


def _compare(
    heard: Mapping[str, Fingerprint],
    files: Mapping[str, Path],
    known: Mapping[tuple[str, str], Likeness],
    jobs: int,
    progress: Progress,
) -> tuple[dict[tuple[str, str], Likeness], bool]:
    """The likenesses of all recordings that may be alike, by their contents, and whether none is missing."""
    paths = sorted(heard, key=lambda path: heard[path].sha256)  # so a likeness is that of the same two files any time
    likely = {
        (heard[paths[c.first]].sha256, heard[paths[c.second]].sha256): c
        for c in candidates.find([heard[path] for path in paths])
    }
    likenesses = {contents: known[contents] for contents in likely if contents in known}
    waiting = [(contents, c) for contents, c in likely.items() if contents not in likenesses]
    tasks = [(files[paths[c.first]], (files[paths[c.second]], c.lag_s)) for _, c in waiting]
    with progress.task("compare", total=len(tasks), unit="pairs") as advance:
        for done in isolate.map_files(likeness.compare, tasks, jobs=jobs):
            if isinstance(done.result, Likeness):  # else a file has vanished since, and nothing can be said
                likenesses[waiting[done.index][0]] = done.result
            advance()
    return likenesses, len(likenesses) == len(likely)


def _near(likenesses: Mapping[tuple[str, str], Likeness], path_of: Mapping[str, str]) -> list[Pair]:
    """The pairs that are the same sound, given the path of every content."""
    pairs = []
    for (content, other_content), found in likenesses.items():
        if found.same:
            one, other = path_of[content], path_of[other_content]
            lag_s = found.lag_s if one < other else -found.lag_s
            measures = (found.shared_s, found.waveform, found.phase)
            pairs.append(Pair(min(one, other), max(one, other), False, lag_s, *measures))
    return pairs


def _hash_if_readable(file: Path) -> str:
    """SHA-256 of a regular file, or an empty text where there is none to read."""
    try:
        return sha256_of(file) if file.is_file() else ""
    except (OSError, ValueError):
        return ""
