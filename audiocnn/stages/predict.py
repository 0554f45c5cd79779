"""``predict``: sound files and folders to one prediction each, with nothing left out, however many and however long."""

import contextlib
import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np

from audiocnn.audio import origin, sniff
from audiocnn.audio.decode import LIBRARIES
from audiocnn.errors import ConfigError, OutputError
from audiocnn.features import store
from audiocnn.features.listen import Account
from audiocnn.files import digest_of, lock
from audiocnn.model import bundle
from audiocnn.model.bundle import Bundle
from audiocnn.progress import Progress
from audiocnn.results import journal
from audiocnn.results.aggregate import Prediction, unheard
from audiocnn.results.journal import Journal
from audiocnn.results.judging import judge_all
from audiocnn.results.writing import Rows, Table
from audiocnn.specs import EventSpec
from audiocnn.text import encode_path, printable

SHIPPED = Path(__file__).resolve().parent.parent / "models" / "instrument"


@dataclass(frozen=True)
class Totals:
    """The account of all recordings: how many of each status, and seconds.

    ``total_s`` is the duration of the recordings, ``analysed_s`` what windows cover of it. ``heard_s`` of the former
    took ``elapsed_s``; the rest, ``n_kept`` recordings, was known from an earlier run. ``n_repeated`` times a file was
    named that had been named before.
    """

    statuses: Counter[str]
    total_s: float
    analysed_s: float
    heard_s: float
    elapsed_s: float
    n_kept: int
    n_repeated: int

    @property
    def n_recordings(self) -> int:
        return self.statuses.total()

    @property
    def times_real_time(self) -> float:
        return self.heard_s / self.elapsed_s if self.elapsed_s else 0.0


class Predictions(Sequence[Prediction]):
    """Predictions in the order of the input, each read from the journal when it is asked for."""

    def __init__(self, files: Sequence[Path], places: Sequence[int], source: Journal, judge: Bundle) -> None:
        self._files, self._places, self._source, self._judge = files, places, source, judge

    def __len__(self) -> int:
        return len(self._files)

    @overload
    def __getitem__(self, index: int) -> Prediction: ...
    @overload
    def __getitem__(self, index: slice) -> "Predictions": ...

    def __getitem__(self, index: int | slice) -> "Prediction | Predictions":
        if isinstance(index, slice):
            return Predictions(self._files[index], self._places[index], self._source, self._judge)
        account, verdict = self._source.read(self._places[index])
        recording = encode_path(os.fspath(self._files[index]))
        if verdict is None:
            return unheard(recording, account, self._judge.labels)
        return verdict.prediction(self._judge, recording, account)


@dataclass(frozen=True)
class Predicted:
    """The predictions in the order of the input, the model that made them, and the account of them all.

    ``unused`` are the recordings that are not ok, with the reason.
    """

    model: Bundle
    files: Sequence[Path]
    predictions: Sequence[Prediction]
    totals: Totals
    unused: Sequence[tuple[str, Account]]

    def table(self, rows: Rows = "recordings", spec: EventSpec | None = None) -> Table:
        """What is to be written: recordings, windows, or events by a ``spec``.

        Of two labels the positive one makes events, unless the spec or thresholds of the model name others.
        """
        info = self.model.info
        fitted = () if info.decision is None else info.decision.thresholds
        if spec is not None and info.positive is not None and not (spec.labels or spec.thresholds or fitted):
            spec = spec.model_copy(update={"labels": (info.positive,)})
        return Table(
            predictions=self.predictions,
            labels=info.labels,
            model=self.provenance(),
            band_hz=(info.features.fmin, info.features.upper_hz),
            rows=rows,
            spec=spec,
            begun=None if spec is None else [origin.begun(file) for file in self.files],
        )

    def provenance(self) -> dict[str, Any]:
        """What a reader of the predictions must know of the model."""
        info = self.model.info
        return {
            "name": info.name,
            "digest": self.model.digest,
            "notation": info.notation,
            "temperature": info.temperature,
            "features": info.features.model_dump(mode="json"),
            "created": info.provenance.get("created"),
        }


@contextlib.contextmanager
def run(
    arguments: Sequence[str],
    *,
    model: Path,
    jobs: int,
    progress: Progress,
    labels: Sequence[str] = (),
    out: Path | None = None,
    kept_in: Path | None = None,
) -> Iterator[Predicted]:
    """Predict every file named, and every audio file below a folder named; a name that does not exist is accounted for.

    The predictions can be read in the block. What was found out is kept in a journal as it is found out: in the folder
    ``kept_in``; if there is none, beside the file ``out`` that the caller writes in the block, and removed when the
    block has ended well; else in a temporary folder. Recordings whose content and model are in the journal are not
    heard again. ``labels`` are some that the model must have.

    Raises `ConfigError` for a folder without audio, `IntegrityError` for a damaged model, `OutputError` if ``out``
    cannot be written, `BusyError` if another process is at work on it.
    """
    files, n_repeated = _inputs(arguments)
    judge = bundle.load(model)
    if strange := [label for label in labels if label not in judge.labels]:
        raise ConfigError(
            f"label '{printable(strange[0])}': the model does not have it; it has {', '.join(judge.labels)}"
        )
    with _journal_folder(out, kept_in) as folder, journal.opened(folder, _context(judge), durable=True) as notes:
        places, accounts, totals = _judged(files, judge, notes, jobs, n_repeated, progress)
        unused = [(encode_path(os.fspath(files[i])), account) for i, account in sorted(accounts.items())]
        yield Predicted(judge, files, Predictions(files, places, notes, judge), totals, unused)


def _judged(
    files: Sequence[Path], judge: Bundle, notes: Journal, jobs: int, n_repeated: int, progress: Progress
) -> tuple[list[int], dict[int, Account], Totals]:
    """Return where the record of every file is, the accounts of those that are not ok, and the totals."""
    places = [0] * len(files)
    unused: dict[int, Account] = {}
    statuses: Counter[str] = Counter()
    total_s = analysed_s = heard_s = 0.0
    n_kept = 0
    started = time.monotonic()
    with progress.task("predict", total=len(files), unit="recordings") as advance:
        for index, heard in judge_all(files, judge, jobs=jobs, known=frozenset(notes.known)):
            place = notes.place(heard.sha256) if heard.account is None or heard.account.status != "unreadable" else None
            account = heard.account if heard.account is not None else notes.read(place or 0)[0]
            places[index] = notes.add(account, heard.verdict) if place is None else place
            statuses[account.status] += 1
            total_s, analysed_s = total_s + account.duration_s, analysed_s + account.analysed_s
            if heard.account is None:
                n_kept += 1
            else:
                heard_s += account.duration_s
            if account.status != "ok":
                unused[index] = account
            speed = heard_s / max(time.monotonic() - started, 1e-3)
            advance(note=f"{total_s / 3600:,.1f} h of audio, {speed:,.0f}x real time")
    elapsed_s = time.monotonic() - started
    return places, unused, Totals(statuses, total_s, analysed_s, heard_s, elapsed_s, n_kept, n_repeated)


def _context(judge: Bundle) -> str:
    """A digest of everything but a recording's content that can change its scores."""
    versions = {**LIBRARIES, "numpy": np.__version__, "store": store.VERSION}
    return digest_of({"schema": "audiocnn.journal/1", "model": judge.digest, "versions": versions})


@contextlib.contextmanager
def _journal_folder(out: Path | None, kept_in: Path | None) -> Iterator[Path]:
    """Yield a folder that no other process uses."""
    if out is None and kept_in is None:
        with tempfile.TemporaryDirectory(prefix="audiocnn-", ignore_cleanup_errors=True) as scratch:
            yield Path(scratch)
        return
    if out is not None and out.exists() and not out.is_file():
        raise OutputError(f"{printable(os.fspath(out))}: cannot be written (is not a regular file); name another one")
    folder = kept_in or Path(f"{out}.journal")
    with lock(folder):
        yield folder
        if kept_in is None:
            shutil.rmtree(folder, ignore_errors=True)


def _inputs(arguments: Sequence[str]) -> tuple[list[Path], int]:
    """Every file once, in the order in which they are named first; and how often one was named again."""
    files: dict[str, Path] = {}
    n = 0
    for argument in arguments:
        for file in _expand(argument):
            files.setdefault(os.path.abspath(file), file)
            n += 1
    return list(files.values()), n - len(files)


def _expand(argument: str) -> Iterator[Path]:
    path = Path(argument)
    if not path.is_dir():
        yield path
        return
    empty = True
    for file in sniff.audio_below(path):
        empty = False
        yield file
    if empty:
        raise ConfigError(f"{printable(argument)}: no audio in this folder (WAV, FLAC, OGG, MP3, AIFF)")
