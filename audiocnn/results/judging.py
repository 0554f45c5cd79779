"""Many recordings heard and judged in worker processes: files in, of each its account and what the network said.

Samples, frames and embeddings stay in the worker, and the scores of many windows come back in a file, so that what is
sent is small however long a recording is.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from audiocnn.audio import cluster, isolate
from audiocnn.audio.decode import Decoder
from audiocnn.errors import AudioError, ConfigError
from audiocnn.features import ingest
from audiocnn.features.extract import Array
from audiocnn.features.listen import Account, listen
from audiocnn.model import bundle
from audiocnn.model.bundle import Bundle
from audiocnn.results import journal, stored
from audiocnn.results.aggregate import Stream, Verdict


@dataclass(frozen=True)
class Heard:
    """What became of one recording; no account if its content was known, no verdict unless the account says ok."""

    sha256: str
    account: Account | None = None
    verdict: Verdict | None = None


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


def judge_all(
    files: Sequence[Path],
    judge: Bundle,
    *,
    jobs: int,
    known: Collection[str] = (),
    folder: Path | None = None,
    watch: isolate.Watch | None = None,
    scheduler: str | None = None,
) -> Iterator[tuple[int, Heard]]:
    """Yield (index, what became of it) of every file as it is ready.

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
        outcomes = isolate.map_files(hear, tasks, jobs=jobs, prepare=prepare, watch=watch)
    else:
        digests = b"".join(map(bytes.fromhex, known))
        equip = partial(_equipped, judge.folder.absolute(), judge.digest, journal.versions(), digests)
        tasks = [(file.absolute(), ()) for file in files]  # a worker's current folder is another one
        outcomes = cluster.map_files(hear, tasks, scheduler=scheduler, equip=equip)
    for done in outcomes:
        if isinstance(done.result, AudioError):
            sha256 = ingest.digest_if_readable(files[done.index])
            yield done.index, Heard(sha256, Account.of_failure(done.result, sha256))
        else:
            yield done.index, done.result
            if done.result.verdict is not None:
                stored.discard(done.result.verdict.log_scores)


def hear(file: Path) -> Heard:
    """Runs in a worker: hear one recording, front to back, while the network judges what has been heard of it."""
    assert _worker is not None
    before = ingest.stamp(file)
    per_byte = _HASHING / (before[0] if before and before[0] else 1)
    sha256 = ingest.digest_if_readable(file, watch=lambda n_read: isolate.report_progress(per_byte * n_read, 0))
    if sha256 in _worker.known:
        return Heard(sha256)
    try:
        account, verdict = _heard(file, sha256, _worker)
    except AudioError as error:
        return Heard(sha256, Account.of_failure(error, sha256))
    except OSError as error:
        failure = AudioError("unreadable", f"cannot be read ({error.strerror})")
        return Heard(sha256, Account.of_failure(failure, sha256))
    if ingest.stamp(file) != before:
        return Heard("", Account.of_failure(AudioError("changed", "was written to while it was read")))
    if not sha256:
        return Heard("", Account.of_failure(AudioError("unreadable", "could not be read at first")))
    return Heard(sha256, account, verdict)


def _heard(file: Path, sha256: str, worker: _Worker) -> tuple[Account, Verdict | None]:
    spec, frontend = worker.judge.spec, worker.judge.frontend
    with Decoder(file) as decoder:
        n_tracks = max(1, spec.n_tracks(decoder.facts.n_channels))
        with Stream(worker.judge, n_tracks, worker.beside) as stream:

            def keep(frames: Array) -> None:
                with isolate.pause_timeout():
                    stream.add(frames)
                heard = decoder.facts.n_read / max(decoder.facts.n_read, decoder.facts.n_declared)
                isolate.report_progress(_HASHING + (1 - _HASHING) * heard, decoder.facts.duration_s)

            account = listen(decoder, spec=spec, frontend=frontend, keep=keep, sha256=sha256)
            with isolate.pause_timeout():
                return account, stream.verdict(worker.folder) if account.status == "ok" else None


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
    runtime = judge.runtime.anew(n_threads)
    runtime(np.zeros((1, *runtime.input_shape), np.float32))  # what this takes is not the recordings' doing
    beside = ThreadPoolExecutor(1) if n_threads > 1 else None
    _worker = _Worker(replace(judge, runtime=runtime), known, beside, folder)
