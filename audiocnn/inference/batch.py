"""Many recordings in worker processes: files in, the account and the scores of each out.

Samples, frames and embeddings stay in the worker, and the scores of many windows come back in a file, so that what is
sent is small however long a recording is.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from audiocnn.audio import cluster, workers
from audiocnn.audio.decode import Decoder
from audiocnn.errors import AudioError, ConfigError
from audiocnn.features import build_store
from audiocnn.features.analyze import RecordingStatus
from audiocnn.inference import journal, scoring, spill
from audiocnn.inference.prediction import RecordingScores
from audiocnn.model import bundle
from audiocnn.model.bundle import Bundle


@dataclass(frozen=True)
class FileResult:
    """The result for one file: no account if its content was known, no scores unless the account is ok."""

    sha256: str
    account: RecordingStatus | None = None
    scores: RecordingScores | None = None


@dataclass(frozen=True)
class _Worker:
    """What a worker process has at hand.

    ``beside`` is a thread for the network, if a core is left for it; ``folder`` is where scores of many windows go.
    """

    judge: Bundle
    known: Collection[str]
    beside: ThreadPoolExecutor | None
    folder: Path | None


_HASH_BYTES = 32  # of a SHA-256
_HASHING = 0.05  # of the work on a recording; the rest is hearing it

_worker: _Worker | None = None  # of a worker process, once it is prepared


def score_files(
    files: Sequence[Path],
    judge: Bundle,
    *,
    jobs: int,
    known: Collection[str] = (),
    folder: Path | None = None,
    watch: workers.Watch | None = None,
    scheduler: str | None = None,
) -> Iterator[tuple[int, FileResult]]:
    """Yield the index and the result of every file as it is ready.

    Files are read and hashed in any case, but not heard if their SHA-256 is one of ``known``. The limits of
    `isolate.map_files` are for reading and decoding; the network may take as long as it takes. Scores of very many
    windows lie in a file of ``folder``, if there is one, until the next recording is asked for. ``watch`` is told how
    far they are with the recordings under way: how many that amounts to, and how many seconds of them were heard. Where
    there is a ``scheduler``, its workers do it and not ``jobs`` processes here; they tell of a recording when it is
    done.
    """
    if scheduler is None:
        n_threads = max(1, jobs // max(1, len(files)))
        prepare = partial(_prepare, judge, known, n_threads, folder)
        tasks = [(file, ()) for file in files]
        outcomes = workers.map_files(score_file, tasks, jobs=jobs, prepare=prepare, watch=watch)
    else:
        digests = b"".join(map(bytes.fromhex, known))
        setup = partial(_equipped, judge.folder.absolute(), judge.digest, journal.versions(), digests)
        tasks = [(file.absolute(), ()) for file in files]  # a worker's current folder is another one
        outcomes = cluster.map_files(score_file, tasks, scheduler=scheduler, setup=setup)
    for done in outcomes:
        if isinstance(done.result, AudioError):
            sha256 = build_store.sha256_or_empty(files[done.index])
            yield done.index, FileResult(sha256, RecordingStatus.from_error(done.result, sha256))
        else:
            yield done.index, done.result
            if done.result.scores is not None:
                spill.discard(done.result.scores.log_scores)


def score_file(file: Path) -> FileResult:
    """Runs in a worker: read one recording, front to back, while the network scores the windows read so far."""
    assert _worker is not None
    before = build_store.size_and_mtime(file)
    per_byte = _HASHING / (before[0] if before and before[0] else 1)
    sha256 = build_store.sha256_or_empty(file, watch=lambda n_read: workers.report_progress(per_byte * n_read, 0))
    if sha256 in _worker.known:
        return FileResult(sha256)
    account, scores = scoring.score_recording(
        file,
        _worker.judge,
        sha256=sha256,
        folder=_worker.folder,
        executor=_worker.beside,
        network_context=workers.pause_timeout,
        progress=_report_progress,
    )
    if build_store.size_and_mtime(file) != before:
        return FileResult("", RecordingStatus.from_error(AudioError("changed", "was written to while it was read")))
    if not sha256 and account.status != "unreadable":
        return FileResult("", RecordingStatus.from_error(AudioError("unreadable", "could not be read at first")))
    return FileResult(sha256, account, scores)


def _report_progress(decoder: Decoder) -> None:
    share = decoder.facts.n_read / max(decoder.facts.n_read, decoder.facts.n_declared)
    workers.report_progress(_HASHING + (1 - _HASHING) * share, decoder.facts.duration_s)


def _equipped(folder: Path, digest: str, versions: Mapping[str, str | int], known: bytes) -> Callable[[], None]:
    """Runs on a worker of a cluster: load the model that is meant, or refuse; return what prepares its processes."""
    cluster.check_versions(versions, journal.versions())
    try:
        judge = bundle.load(folder)
    except ConfigError as error:
        raise ConfigError(f"{error}; the model must be at the same path on all machines") from error
    if judge.digest != digest:
        differ = f"its digest is {judge.digest[:12]}, not {digest[:12]}"
        raise ConfigError(f"{folder} is another model there ({differ}); copy the same one to all machines")
    hashes = frozenset(known[first : first + _HASH_BYTES].hex() for first in range(0, len(known), _HASH_BYTES))
    return partial(_prepare, judge, hashes, 1)


def _prepare(judge: Bundle, known: Collection[str], n_threads: int, folder: Path | None = None) -> None:
    global _worker
    runtime = judge.runtime.copy(n_threads)
    runtime(np.zeros((1, *runtime.input_shape), np.float32))  # what this takes is not the recordings' doing
    beside = ThreadPoolExecutor(1) if n_threads > 1 else None
    _worker = _Worker(replace(judge, runtime=runtime), known, beside, folder)
