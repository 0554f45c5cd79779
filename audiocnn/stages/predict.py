"""``predict``: one prediction for each audio file, or for a microphone; any number and length of recordings."""

import contextlib
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiocnn.audio import search, start_time
from audiocnn.audio.start_time import StartTime
from audiocnn.errors import ConfigError, OutputError
from audiocnn.features.analyze import RecordingStatus
from audiocnn.files import lock, refuse_special, remove_unfinished, resolve_link, write_atomic
from audiocnn.formats.tables import RowKind
from audiocnn.formats.writer import TIMED_FORMATS, FileFormat, OutputTable
from audiocnn.inference import journal, spill
from audiocnn.inference.batch import score_files
from audiocnn.inference.journal import Journal
from audiocnn.inference.prediction import RecordingPrediction, make_prediction
from audiocnn.inference.stored_predictions import StoredPredictions
from audiocnn.model import changed_settings, thresholds_file
from audiocnn.model.domain import DomainCheck
from audiocnn.model.loaded_model import LoadedModel
from audiocnn.model.open_model import open_model
from audiocnn.progress import Advance, Progress
from audiocnn.specs import EventSpec
from audiocnn.text import encode_path, printable

if TYPE_CHECKING:
    from audiocnn.config import Project


@dataclass(frozen=True)
class Totals:
    """Totals over all recordings: how many of each status, and seconds.

    ``total_s`` is the duration of the recordings, ``analysed_s`` the time that windows cover. ``decoded_s`` of the
    duration was computed in ``elapsed_s``; ``n_kept`` recordings were in the journal. ``n_repeated`` arguments named a
    file again. ``labels`` are the numbers of recordings by predicted label, "" for unknown ones.
    """

    statuses: Counter[str]
    labels: Counter[str]
    total_s: float
    analysed_s: float
    decoded_s: float
    elapsed_s: float
    n_kept: int
    n_repeated: int

    @property
    def n_recordings(self) -> int:
        return self.statuses.total()

    @property
    def times_real_time(self) -> float:
        return self.decoded_s / self.elapsed_s if self.elapsed_s else 0.0


@dataclass(frozen=True)
class PredictResult:
    """The predictions in the order of the input, the model, and the totals.

    ``unused`` are the recordings that are not ok, with their status, ``outside`` those whose signal is outside the
    training range. ``begun`` are start times, if known better than from headers and names; ``zone`` is the time zone of
    those that recorders wrote without an offset.
    """

    model: LoadedModel
    files: Sequence[Path]
    predictions: Sequence[RecordingPrediction]
    totals: Totals
    unused: Sequence[tuple[str, RecordingStatus]]
    begun: Sequence[datetime | None] | None = None
    outside: Sequence[tuple[str, DomainCheck]] = ()
    zone: tzinfo | None = None

    @cached_property
    def start_times(self) -> Sequence[StartTime]:
        if self.begun is not None:
            return [StartTime(time) for time in self.begun]
        return [start_time.find(file, self.zone) for file in self.files]

    def table(self, form: FileFormat, rows: RowKind = "recordings", spec: EventSpec | None = None) -> OutputTable:
        """Return the table to write: recordings, windows, or events by a ``spec``."""
        info = self.model.info
        spec = None if spec is None else self.settled(spec)
        return OutputTable(
            predictions=self.predictions,
            labels=self.model.labels,
            model=self.provenance(),
            band_hz=(info.features.fmin, info.features.upper_hz),
            rows=rows,
            spec=spec,
            start_times=[start.time for start in self.start_times] if spec and form in TIMED_FORMATS else None,
        )

    def settled(self, spec: EventSpec) -> EventSpec:
        """Return ``spec`` with unset values as the model has them."""
        return self.model.settle_events(spec)

    def provenance(self) -> dict[str, Any]:
        """Return the model's name, digest and settings, for the JSON output."""
        info = self.model.info
        return {
            "name": info.name,
            "digest": self.model.digest,
            "notation": self.model.notation,
            "temperature": info.temperature,
            "features": info.features.model_dump(mode="json"),
            "created": info.provenance.get("created"),
        }


def write_page(result: PredictResult, out: Path, *, jobs: int, progress: Progress) -> None:
    """Write the predictions of files as an HTML page with their sounds."""
    from audiocnn.report.predictions import render_predictions  # not needed without a page

    with progress.step("write the page"):
        info = result.model.info
        text = render_predictions(info.name, result.files, result.predictions, info.features, jobs=jobs)
        write_atomic(resolve_link(out), text)


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
    zone: tzinfo | None = None,
    project: "Project | None" = None,
    thresholds: Path | None = None,
) -> Iterator[PredictResult]:
    """Predict all files in ``arguments``, and all audio files below folders in it; missing files get a status, too.

    The predictions can be read inside the ``with`` block. Each result is written to a journal at once: in the folder
    ``kept_in``; else next to the file ``out`` that the caller writes, and removed after the block ends without an
    error; else in a temporary folder. A recording whose content and model are in the journal is not computed again.
    ``out`` must not be one of the recordings. The model must have all ``labels``. Uses ``jobs`` processes, or the Dask
    cluster of ``scheduler``. ``zone`` is the time zone of start times that recorders wrote without an offset. Warns if
    the settings of ``project`` are not those of the model. ``thresholds`` is a ``thresholds.json`` to decide by.

    Raises `ConfigError` for a folder without audio or invalid thresholds, `IntegrityError` for a damaged model,
    `OutputError` if ``out`` cannot be written, `BusyError` if another process writes it.
    """
    files, n_repeated = _inputs(arguments)
    if out is not None:
        _refuse_recording(out, files)
    loaded = _loaded(model, labels, project, thresholds, progress)
    context = journal.scoring_context(loaded.scores_digest)
    with _journal_folder(out, kept_in) as folder, journal.open_journal(folder, context) as notes:
        if notes.damaged:
            progress.warn(f"{notes.path}: is partly damaged; the recordings concerned are computed again")
        places, statuses, checks, totals = _score_all(
            files, loaded, notes, folder, jobs, scheduler, n_repeated, progress
        )
        unused = [
            (encode_path(os.fspath(files[i])), recording_status) for i, recording_status in sorted(statuses.items())
        ]
        outside = [(encode_path(os.fspath(files[i])), check) for i, check in sorted(checks.items())]
        predictions = StoredPredictions(files, places, notes, loaded)
        yield PredictResult(loaded, files, predictions, totals, unused, outside=outside, zone=zone)


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
    project: "Project | None" = None,
    thresholds: Path | None = None,
) -> Iterator[PredictResult]:
    """Predict the input of a microphone as one recording, until Ctrl-C or for ``limit_s`` seconds.

    ``labels``, ``out``, ``project`` and ``thresholds`` are as for `run`, all else as for `predict_from_microphone`;
    raises the same errors.
    """
    from audiocnn.inference.live import RECORDING_NAME, predict_from_microphone  # not needed for files

    if out is not None:
        refuse_special(out)  # before recording
    loaded = _loaded(model, labels, project, thresholds, progress)
    result = predict_from_microphone(loaded, progress=progress, device=device, limit_s=limit_s, keep=keep)
    recording_status, name = result.recording_status, RECORDING_NAME
    found = make_prediction(loaded, name, recording_status, result.scores)
    totals = Totals(
        Counter([recording_status.status]),
        Counter([_shown_label(found)] if found.has_scores else []),
        recording_status.duration_s,
        recording_status.analysed_s,
        decoded_s=0.0,
        elapsed_s=0.0,
        n_kept=0,
        n_repeated=0,
    )
    unused = [] if recording_status.status == "ok" else [(name, recording_status)]
    outside = [(name, found.domain)] if found.domain is not None and found.domain.codes else []
    yield PredictResult(loaded, [Path(name)], [found], totals, unused, [result.start_time], outside)


def _loaded(
    model: Path, labels: Sequence[str], project: "Project | None", file: Path | None, progress: Progress
) -> LoadedModel:
    """Load a model that must have these labels, with the thresholds in ``file``; warn of changed settings."""
    loaded = open_model(model)
    if project is not None and (line := changed_settings.warning(project, loaded)):
        progress.warn(line)
    if file is not None:
        loaded = thresholds_file.apply(loaded, file, progress)
    loaded.labels.require(labels)
    return loaded


def _score_all(
    files: Sequence[Path],
    loaded: LoadedModel,
    notes: Journal,
    folder: Path,
    jobs: int,
    scheduler: str | None,
    n_repeated: int,
    progress: Progress,
) -> tuple[list[int], dict[int, RecordingStatus], dict[int, DomainCheck], Totals]:
    """Return each file's place in the journal, statuses that are not ok, domain checks of those outside, totals."""
    places = [0] * len(files)
    unused: dict[int, RecordingStatus] = {}
    outside: dict[int, DomainCheck] = {}
    statuses, labels = Counter[str](), Counter[str]()
    total_s = analysed_s = 0.0
    started = time.monotonic()
    with progress.task("predict", total=len(files), unit="recordings") as advance:
        pace = _Pace(advance)
        known = frozenset(notes.known)
        for index, result in score_files(
            files, loaded, jobs=jobs, known=known, folder=folder, watch=pace.under_way, scheduler=scheduler
        ):
            recording_status, found = result.recording_status, result.scores
            place = (
                notes.find(result.sha256)
                if recording_status is None or recording_status.status != "unreadable"
                else None
            )
            if recording_status is None:
                recording_status, found = notes.read(place or 0, slice(0, 0))
            places[index] = notes.add(recording_status, found) if place is None else place
            statuses[recording_status.status] += 1
            total_s, analysed_s = total_s + recording_status.duration_s, analysed_s + recording_status.analysed_s
            pace.done(None if result.recording_status is None else recording_status.duration_s)
            if recording_status.status != "ok":
                unused[index] = recording_status
            if found is not None:
                whole = found.without_windows().prediction(loaded, "", recording_status)
                labels[_shown_label(whole)] += 1
                if whole.domain is not None and whole.domain.codes:
                    outside[index] = whole.domain
    elapsed_s = time.monotonic() - started
    return (
        places,
        unused,
        outside,
        Totals(statuses, labels, total_s, analysed_s, pace.decoded_s, elapsed_s, pace.n_kept, n_repeated),
    )


def _shown_label(prediction: RecordingPrediction) -> str:
    """Return the predicted label, an empty text for an unknown recording."""
    return "" if prediction.doubt else prediction.label


class _Pace:
    """Progress of a prediction; a recording in progress counts by the share that is done."""

    def __init__(self, advance: Advance) -> None:
        self.n_kept = 0
        self.decoded_s = 0.0  # duration of finished recordings
        self._advance, self._n_done, self._reported, self._started = advance, 0, 0.0, time.monotonic()

    def under_way(self, share: float, decoded_s: float) -> None:
        self._report(self._n_done + share, self.decoded_s + decoded_s)

    def done(self, decoded_s: float | None) -> None:
        """Count a recording of ``decoded_s`` seconds, or with None one from the journal."""
        self._n_done += 1
        self.n_kept += decoded_s is None
        self.decoded_s += decoded_s or 0.0
        self._report(self._n_done, self.decoded_s)

    def _report(self, n: float, decoded_s: float) -> None:
        hours = f"{decoded_s / 3600:,.1f} h" if decoded_s >= 3600 else f"{decoded_s / 60:.1f} min"
        note = f"{hours} of audio, {decoded_s / max(time.monotonic() - self._started, 1e-3):,.0f}x real time"
        if self.n_kept:
            note += f", {self.n_kept:,} known from an earlier run"
        self._advance(max(0.0, n - self._reported), note=note)
        self._reported = max(self._reported, n)


@contextlib.contextmanager
def _journal_folder(out: Path | None, kept_in: Path | None) -> Iterator[Path]:
    """Yield a locked folder for the journal; ``out`` is locked as well."""
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
    """Remove a journal and its folder, unless it has other files; one with results only if all is ``done``."""
    spill.remove_leftovers(folder)
    journals = list(folder.glob("*.journal"))
    if done or not journals:
        with contextlib.suppress(OSError):
            for file in (*journals, folder / ".lock"):
                file.unlink(missing_ok=True)
            folder.rmdir()


def _refuse_recording(out: Path, files: Sequence[Path]) -> None:
    """Raise `ConfigError` if ``out`` is one of the recordings, also under another name."""
    try:
        there = out.stat()
    except OSError:
        return
    for file in files:
        with contextlib.suppress(OSError, ValueError):
            if os.path.samestat(file.stat(), there):
                shown = printable(os.fspath(out))
                raise ConfigError(
                    f"{shown}: is one of the recordings and would be overwritten; name another file with -o"
                )


def _inputs(arguments: Sequence[str]) -> tuple[list[Path], int]:
    """Return each file once, in the order of the arguments, and the number of repeated names."""
    files: dict[str, Path] = {}
    n = 0
    for argument in arguments:
        for file in _expand(argument):
            files.setdefault(os.path.abspath(file), file)
            n += 1
    return list(files.values()), n - len(files)


def _expand(argument: str) -> Iterator[Path]:
    if argument == "" or (argument == "-" and not os.path.lexists(argument)):
        what = "standard input is not read; save it as a file and name that" if argument else "not the name of a file"
        raise ConfigError(f"'{argument}': {what}")
    yield from search.find_inputs(argument)
