"""Score many recordings in worker processes: files in, the status and scores of each out.

Samples, frames and embeddings stay in the worker, and large arrays of scores come back as files, so little data is sent
between processes, however long a recording is.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from audiocnn.audio import cluster, workers
from audiocnn.audio.decode import Decoder
from audiocnn.errors import AudioError, ConfigError
from audiocnn.features.analyze import RecordingStatus
from audiocnn.files import size_and_mtime
from audiocnn.inference import journal, scoring, spill
from audiocnn.inference.prediction import RecordingScores
from audiocnn.model.loaded_model import LoadedModel
from audiocnn.model.open_model import open_model

_SHA256_BYTES = 32
_HASHING = 0.05  # share of the work on a recording; the rest is decoding and scoring


@dataclass(frozen=True)
class FileResult:
    """The result for one file: no status if its content was known, no scores unless the status is ok."""

    sha256: str
    recording_status: RecordingStatus | None = None
    scores: RecordingScores | None = None


@dataclass(frozen=True)
class _Worker:
    """The state of a worker process: the model, the SHA-256 of recordings to skip, and where large arrays go.

    ``executor`` is a thread for the network, if a core is free for it.
    """

    model: LoadedModel
    known: Collection[str]
    executor: ThreadPoolExecutor | None
    folder: Path | None


_worker: _Worker | None = None  # set in a worker process


def score_files(
    files: Sequence[Path],
    model: LoadedModel,
    *,
    jobs: int,
    known: Collection[str] = (),
    folder: Path | None = None,
    watch: workers.Watch | None = None,
    scheduler: str | None = None,
) -> Iterator[tuple[int, FileResult]]:
    """Yield the index and the result of every file, in the order in which they are ready.

    Every file is read and hashed, but not scored if its SHA-256 is in ``known``. The limits of `workers.map_files`
    apply to reading and decoding; the network has no time limit. With a ``folder``, large arrays of scores are files
    there, removed when the next result is requested. ``watch`` is called with the progress of the running recordings:
    the sum of the shares done, and the seconds decoded. With a ``scheduler``, the workers of its Dask cluster do the
    work instead of ``jobs`` local processes, and report a recording only when it is done.
    """
    if scheduler is None:
        n_threads = max(1, jobs // max(1, len(files)))
        prepare = partial(_init_worker, model, known, n_threads, folder)
        tasks = [(file, ()) for file in files]
        outcomes = workers.map_files(score_file, tasks, jobs=jobs, prepare=prepare, watch=watch)
    else:
        digests = b"".join(map(bytes.fromhex, known))
        setup = partial(_set_up_cluster_worker, model.folder.absolute(), model.digest, journal.versions(), digests)
        tasks = [(file.absolute(), ()) for file in files]  # the working directory of a cluster worker differs
        outcomes = cluster.map_files(score_file, tasks, scheduler=scheduler, setup=setup)
    for done in outcomes:
        if isinstance(done.result, AudioError):
            sha256 = workers.sha256_or_empty(files[done.index])
            yield done.index, FileResult(sha256, RecordingStatus.from_error(done.result, sha256))
        else:
            yield done.index, done.result
            if done.result.scores is not None:
                spill.discard(done.result.scores.log_scores)


def score_file(file: Path) -> FileResult:
    """Runs in a worker: read one recording, front to back, while the network scores the windows read so far."""
    assert _worker is not None
    before = size_and_mtime(file)
    per_byte = _HASHING / (before[0] if before and before[0] else 1)
    sha256 = workers.sha256_or_empty(file, watch=lambda n_read: workers.report_progress(per_byte * n_read, 0))
    if sha256 in _worker.known:
        return FileResult(sha256)
    status, scores = scoring.score_recording(
        file,
        _worker.model,
        sha256=sha256,
        folder=_worker.folder,
        executor=_worker.executor,
        network_context=workers.pause_timeout,
        progress=_report_progress,
    )
    if size_and_mtime(file) != before:
        return FileResult("", RecordingStatus.from_error(AudioError("changed", "was written to while it was read")))
    if not sha256 and status.status != "unreadable":
        return FileResult("", RecordingStatus.from_error(AudioError("unreadable", "could not be read at first")))
    return FileResult(sha256, status, scores)


def _report_progress(decoder: Decoder) -> None:
    share = decoder.facts.n_read / max(decoder.facts.n_read, decoder.facts.n_declared)
    workers.report_progress(_HASHING + (1 - _HASHING) * share, decoder.facts.duration_s)


def _set_up_cluster_worker(
    folder: Path, digest: str, versions: Mapping[str, str | int], known: bytes
) -> Callable[[], None]:
    """Runs on a cluster worker: load the model and check that it is the same; return what prepares a process."""
    cluster.check_versions(versions, journal.versions())
    try:
        model = open_model(folder)
    except ConfigError as error:
        raise ConfigError(f"{error}; the model must be at the same path on all machines") from error
    if model.digest != digest:
        differ = f"its digest is {model.digest[:12]}, not {digest[:12]}"
        raise ConfigError(f"{folder} is another model there ({differ}); copy the same one to all machines")
    hashes = frozenset(known[first : first + _SHA256_BYTES].hex() for first in range(0, len(known), _SHA256_BYTES))
    return partial(_init_worker, model, hashes, 1)


def _init_worker(model: LoadedModel, known: Collection[str], n_threads: int, folder: Path | None = None) -> None:
    global _worker
    model = model.with_threads(n_threads)
    for network in model.networks:  # their memory does not count towards a recording's limit
        network.runtime(np.zeros((1, *network.spec.shape), np.float32))
    executor = ThreadPoolExecutor(1) if n_threads > 1 else None
    _worker = _Worker(model, known, executor, folder)
