"""``predict``: sound files and folders to one prediction each, with nothing left out, however many and however long."""

import contextlib
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, overload

from audiocnn.audio import sniff, start_time
from audiocnn.errors import ConfigError, OutputError
from audiocnn.features.analyze import RecordingStatus
from audiocnn.files import lock, refuse_special, remove_unfinished, resolve_link
from audiocnn.formats.tables import RowKind
from audiocnn.formats.writer import FileFormat, OutputTable, needs_windows
from audiocnn.inference import journal, spill
from audiocnn.inference.batch import score_files
from audiocnn.inference.journal import Journal
from audiocnn.inference.prediction import RecordingPrediction, make_prediction
from audiocnn.model import bundle
from audiocnn.model.bundle import Bundle
from audiocnn.model.domain import DomainCheck
from audiocnn.progress import Advance, Progress
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


class StoredPredictions(Sequence[RecordingPrediction]):
    """Predictions in the order of the input, each read from the journal when it is asked for.

    What it says of ``windows`` may be left out, as most of a long recording's memory is for that.
    """

    def __init__(
        self, files: Sequence[Path], places: Sequence[int], source: Journal, judge: Bundle, *, windows: bool = True
    ) -> None:
        self._files, self._places, self._source, self._judge, self._windows = files, places, source, judge, windows

    def __len__(self) -> int:
        return len(self._files)

    @overload
    def __getitem__(self, index: int) -> RecordingPrediction: ...
    @overload
    def __getitem__(self, index: slice) -> "StoredPredictions": ...

    def __getitem__(self, index: int | slice) -> "RecordingPrediction | StoredPredictions":
        if isinstance(index, slice):
            some = self._files[index], self._places[index]
            return StoredPredictions(*some, self._source, self._judge, windows=self._windows)
        account, found = self._source.read(self._places[index], windows=self._windows)
        recording = encode_path(os.fspath(self._files[index]))
        return make_prediction(self._judge, recording, account, found)

    def without_windows(self) -> "StoredPredictions":
        return StoredPredictions(self._files, self._places, self._source, self._judge, windows=False)


@dataclass(frozen=True)
class PredictResult:
    """The predictions in the order of the input, the model that made them, and the account of them all.

    ``unused`` are the recordings that are not ok, with the reason, ``outside`` those whose signal is outside of what
    the model learned from. ``begun`` is when they began, if that is known better than by their headers and names.
    """

    model: Bundle
    files: Sequence[Path]
    predictions: Sequence[RecordingPrediction]
    totals: Totals
    unused: Sequence[tuple[str, RecordingStatus]]
    begun: Sequence[datetime | None] | None = None
    outside: Sequence[tuple[str, DomainCheck]] = ()

    def table(self, form: FileFormat, rows: RowKind = "recordings", spec: EventSpec | None = None) -> OutputTable:
        """What is to be written in a format: recordings, windows, or events by a ``spec``."""
        info, predictions = self.model.info, self.predictions
        spec = None if spec is None else self.settled(spec)
        if isinstance(predictions, StoredPredictions) and not needs_windows(form, rows):
            predictions = predictions.without_windows()
        return OutputTable(
            predictions=predictions,
            labels=self.model.labels,
            model=self.provenance(),
            band_hz=(info.features.fmin, info.features.upper_hz),
            rows=rows,
            spec=spec,
            start_times=None if spec is None else self.begun or [start_time.from_file(file) for file in self.files],
        )

    def settled(self, spec: EventSpec) -> EventSpec:
        """Return ``spec`` with what it leaves open as it was rehearsed for the model, if it was.

        Of two labels the positive one makes events, unless the spec, a rehearsal or thresholds of the model say others.
        """
        info = self.model.info
        if info.operating is not None:
            return info.operating.fill_unset(spec, self.model.labels)
        fitted = () if info.decision is None else info.decision.thresholds
        positive = self.model.labels.positive
        if positive is not None and not (spec.labels or spec.thresholds or fitted):
            return spec.model_copy(update={"labels": (positive,)})
        return spec

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
    scheduler: str | None = None,
) -> Iterator[PredictResult]:
    """Predict every file named, and every audio file below a folder named; a name that does not exist is accounted for.

    The predictions can be read in the block. What was found out is kept in a journal as it is found out: in the folder
    ``kept_in``; if there is none, beside the file ``out`` that the caller writes in the block, and removed when the
    block has ended well; else in a temporary folder. Recordings whose content and model are in the journal are not
    heard again. ``out`` may be none of the recordings. ``labels`` are some that the model must have. The work is done
    in ``jobs`` processes, or by the Dask cluster of ``scheduler``.

    Raises `ConfigError` for a folder without audio, `IntegrityError` for a damaged model, `OutputError` if ``out``
    cannot be written, `BusyError` if another process is at work on it.
    """
    files, n_repeated = _inputs(arguments)
    if out is not None:
        _refuse_recording(out, files)
    judge = _loaded(model, labels)
    context = journal.scoring_context(judge.scores_digest)
    with _journal_folder(out, kept_in) as folder, journal.open_journal(folder, context) as notes:
        if notes.damaged:
            progress.warn(f"{notes.path}: is damaged in part; recordings that this concerns are heard again")
        places, accounts, standings, totals = _judged(
            files, judge, notes, folder, jobs, scheduler, n_repeated, progress
        )
        unused = [(encode_path(os.fspath(files[i])), account) for i, account in sorted(accounts.items())]
        outside = [(encode_path(os.fspath(files[i])), standing) for i, standing in sorted(standings.items())]
        predictions = StoredPredictions(files, places, notes, judge)
        yield PredictResult(judge, files, predictions, totals, unused, outside=outside)


@contextlib.contextmanager
def live(
    *,
    model: Path,
    progress: Progress,
    device: int | str | None = None,
    limit_s: float | None = None,
    keep: Path | None = None,
    labels: Sequence[str] = (),
    out: Path | None = None,
) -> Iterator[PredictResult]:
    """Predict what a microphone hears, as one recording that Ctrl-C ends, or the end of ``limit_s`` seconds.

    ``labels`` and ``out`` are as for `run`, the rest as for `hearing.record`; raises what these raise.
    """
    from audiocnn.inference import live as hearing  # files are heard without what it needs

    if out is not None:
        refuse_special(out)  # now, not when all has been heard
    judge = _loaded(model, labels)
    result = hearing.predict_from_microphone(judge, progress=progress, device=device, limit_s=limit_s, keep=keep)
    account, name = result.account, hearing.RECORDING_NAME
    found = make_prediction(judge, name, account, result.scores)
    totals = Totals(Counter([account.status]), account.duration_s, account.analysed_s, 0.0, 0.0, 0, 0)
    unused = [] if account.status == "ok" else [(name, account)]
    outside = [(name, found.domain)] if found.domain is not None and found.domain.codes else []
    yield PredictResult(judge, [Path(name)], [found], totals, unused, [result.start_time], outside)


def _loaded(model: Path, labels: Sequence[str]) -> Bundle:
    """Load a model that must have these labels."""
    judge = bundle.load(model)
    judge.labels.require(labels)
    return judge


def _judged(
    files: Sequence[Path],
    judge: Bundle,
    notes: Journal,
    folder: Path,
    jobs: int,
    scheduler: str | None,
    n_repeated: int,
    progress: Progress,
) -> tuple[list[int], dict[int, RecordingStatus], dict[int, DomainCheck], Totals]:
    """Return where the record of every file is, accounts of those not ok, how those outside stand, and the totals."""
    places = [0] * len(files)
    unused: dict[int, RecordingStatus] = {}
    outside: dict[int, DomainCheck] = {}
    statuses: Counter[str] = Counter()
    total_s = analysed_s = 0.0
    started = time.monotonic()
    with progress.task("predict", total=len(files), unit="recordings") as advance:
        pace = _Pace(advance)
        known = frozenset(notes.known)
        for index, result in score_files(
            files, judge, jobs=jobs, known=known, folder=folder, watch=pace.under_way, scheduler=scheduler
        ):
            account, found = result.account, result.scores
            place = notes.find(result.sha256) if account is None or account.status != "unreadable" else None
            if account is None:
                account, found = notes.read(place or 0, windows=False)
            places[index] = notes.add(account, found) if place is None else place
            statuses[account.status] += 1
            total_s, analysed_s = total_s + account.duration_s, analysed_s + account.analysed_s
            pace.done(None if result.account is None else account.duration_s)
            if account.status != "ok":
                unused[index] = account
            standing = None if found is None else found.domain_check(judge)
            if standing is not None and standing.codes:
                outside[index] = standing
    elapsed_s = time.monotonic() - started
    return (
        places,
        unused,
        outside,
        Totals(statuses, total_s, analysed_s, pace.heard_s, elapsed_s, pace.n_kept, n_repeated),
    )


class _Pace:
    """How far work is, recordings under way counted by the share of them that is done."""

    def __init__(self, advance: Advance) -> None:
        self.n_kept = 0
        self.heard_s = 0.0  # of recordings that are done
        self._advance, self._n_done, self._said, self._started = advance, 0, 0.0, time.monotonic()

    def under_way(self, share: float, heard_s: float) -> None:
        self._say(self._n_done + share, self.heard_s + heard_s)

    def done(self, heard_s: float | None) -> None:
        """Count a recording of so many seconds, or one that was known."""
        self._n_done += 1
        self.n_kept += heard_s is None
        self.heard_s += heard_s or 0.0
        self._say(self._n_done, self.heard_s)

    def _say(self, n: float, heard_s: float) -> None:
        hours = f"{heard_s / 3600:,.1f} h" if heard_s >= 3600 else f"{heard_s / 60:.1f} min"
        note = f"{hours} of audio, {heard_s / max(time.monotonic() - self._started, 1e-3):,.0f}x real time"
        if self.n_kept:
            note += f", {self.n_kept:,} known from an earlier run"
        self._advance(max(0.0, n - self._said), note=note)
        self._said = max(self._said, n)


@contextlib.contextmanager
def _journal_folder(out: Path | None, kept_in: Path | None) -> Iterator[Path]:
    """Yield a folder that no other process uses, nor does one that writes ``out``."""
    written = None if out is None else resolve_link(out)
    beside = None if written is None else Path(f"{written}.journal")
    with contextlib.ExitStack() as held:
        if written is not None and beside is not None:
            held.enter_context(lock(beside))
            remove_unfinished(written)
        if kept_in is not None and (beside is None or kept_in.resolve() != beside.resolve()):
            if beside is not None:
                held.callback(_cleared, beside, done=False)
            held.enter_context(lock(kept_in))
        folder = kept_in or beside or Path(held.enter_context(_scratch()))
        spill.remove_leftovers(folder)
        yield folder
        if beside is not None and kept_in is None:
            _cleared(beside, done=True)


def _scratch() -> "tempfile.TemporaryDirectory[str]":
    try:
        return tempfile.TemporaryDirectory(prefix="audiocnn-", ignore_cleanup_errors=True)
    except OSError as error:
        what = error.strerror or str(error)
        raise OutputError(f"no temporary folder can be made ({what}); set TMPDIR to a folder with room") from error


def _cleared(folder: Path, *, done: bool) -> None:
    """Remove the folder of a journal, but for what is not ours; one that holds results only when all is ``done``."""
    spill.remove_leftovers(folder)
    journals = list(folder.glob("*.journal"))
    if done or not journals:
        with contextlib.suppress(OSError):
            for file in (*journals, folder / ".lock"):
                file.unlink(missing_ok=True)
            folder.rmdir()


def _refuse_recording(out: Path, files: Sequence[Path]) -> None:
    """Raise `ConfigError` if what is to be written would take the place of a recording, by whatever name."""
    try:
        there = out.stat()
    except OSError:
        return
    for file in files:
        with contextlib.suppress(OSError, ValueError):
            if os.path.samestat(file.stat(), there):
                shown = printable(os.fspath(out))
                raise ConfigError(f"{shown}: is one of the recordings and would be lost; name another file with -o")


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
    if argument == "" or (argument == "-" and not path.exists()):
        what = "standard input is not read; save it as a file and name that" if argument else "no name of a file"
        raise ConfigError(f"'{argument}': {what}")
    if not os.path.isdir(path):  # noqa: PTH112 - False, too, for what may not be looked at
        yield path
        return
    empty = True
    for file in sniff.find_audio(path):
        empty = False
        yield file
    if empty:
        raise ConfigError(f"{printable(argument)}: no audio in this folder (WAV, FLAC, OGG, MP3, AIFF)")
