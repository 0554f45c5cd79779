"""Many recordings heard and judged in worker processes: files in, of each its account and what the network said.

Samples, frames and embeddings stay in the worker, so that what comes back is small however long a recording is.
"""

from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from audiocnn.audio import isolate
from audiocnn.audio.decode import Decoder
from audiocnn.errors import AudioError
from audiocnn.features import ingest
from audiocnn.features.extract import Array
from audiocnn.features.listen import Account, listen
from audiocnn.model.bundle import Bundle
from audiocnn.results.aggregate import Stream, Verdict


@dataclass(frozen=True)
class Heard:
    """What became of one recording; no account if its content was known, no verdict unless the account says ok."""

    sha256: str
    account: Account | None = None
    verdict: Verdict | None = None


@dataclass(frozen=True)
class _Worker:
    """What a worker process has at hand; ``beside`` is a thread for the network, if a core is left for it."""

    judge: Bundle
    known: Collection[str]
    beside: ThreadPoolExecutor | None


_worker: _Worker | None = None  # of a worker process, once it is prepared


def judge_all(
    files: Sequence[Path], judge: Bundle, *, jobs: int, known: Collection[str] = ()
) -> Iterator[tuple[int, Heard]]:
    """Yield (index, what became of it) of every file as it is ready.

    Files are read and hashed in any case, but not heard if their SHA-256 is one of ``known``. The limits of
    `isolate.each` are for reading and decoding; the network may take as long as it takes.
    """
    n_threads = max(1, jobs // max(1, len(files)))
    prepare = partial(_prepare, judge, known, n_threads)
    for done in isolate.each(hear, [(file, ()) for file in files], jobs=jobs, slack=None, prepare=prepare):
        if isinstance(done.result, AudioError):
            sha256 = ingest.digest_if_readable(files[done.index])
            yield done.index, Heard(sha256, Account.of_failure(done.result, sha256))
        else:
            yield done.index, done.result


def hear(file: Path) -> Heard:
    """Runs in a worker: hear one recording, front to back, while the network judges what has been heard of it."""
    assert _worker is not None
    with isolate.time_limit(file):
        before, sha256 = ingest.stamp(file), ingest.digest_if_readable(file)
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
                with isolate.uncounted():
                    stream.add(frames)

            account = listen(decoder, spec=spec, frontend=frontend, keep=keep, sha256=sha256)
            with isolate.uncounted():
                return account, stream.verdict() if account.status == "ok" else None


def _prepare(judge: Bundle, known: Collection[str], n_threads: int) -> None:
    global _worker
    runtime = judge.runtime.anew(n_threads)
    runtime(np.zeros((1, *runtime.input_shape), np.float32))  # what this takes is not the recordings' doing
    _worker = _Worker(replace(judge, runtime=runtime), known, ThreadPoolExecutor(1) if n_threads > 1 else None)
