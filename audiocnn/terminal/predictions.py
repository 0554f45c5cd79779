"""Output of predict: recordings, windows or events, as a table on the terminal or in any format."""

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import numpy as np
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from audiocnn import streams
from audiocnn.terminal import live
from audiocnn.terminal.live import PLAIN_WIDTH, TerminalOutput
from audiocnn.terminal.progress_line import shortened_in_the_middle
from audiocnn.text import common_folder, encode_path, printable

if TYPE_CHECKING:
    from audiocnn.formats.tables import RowKind
    from audiocnn.formats.writer import FileFormat
    from audiocnn.inference.prediction import RecordingPrediction
    from audiocnn.specs import EventSpec
    from audiocnn.stages.predict import PredictResult, Totals

TIMELINE_WIDTH: Final = 20  # characters at most
_BLOCKS: Final = " ▁▂▃▄▅▆▇█"
_ASCII: Final = " .:-=+*#@"


def score_timeline(prediction: "RecordingPrediction", *, width: int = TIMELINE_WIDTH, ascii_only: bool = False) -> str:
    """Return the score of a recording's label over time, one character for some windows; empty without a prediction.

    A character shows the highest score of its windows, so a short call in a long recording is visible.

    >>> from audiocnn.features.analyze import RecordingStatus
    >>> from audiocnn.inference.prediction import RecordingPrediction
    >>> scores = np.array([[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]])
    >>> times = np.arange(3.0)
    >>> names, mean, status = ("owl", "wind"), np.array([0.6, 0.4]), RecordingStatus("ok")
    >>> heard = RecordingPrediction("a.wav", status, names, mean, times, times + 1, scores)
    >>> score_timeline(heard), score_timeline(heard, ascii_only=True)
    (' ▄█', ' =@')
    """
    if not prediction.has_scores:
        return ""
    scores = np.concatenate([part.window_scores[:, prediction.label_index] for part in prediction.parts()])
    firsts = np.linspace(0, len(scores), min(width, len(scores)), endpoint=False).astype(int)
    heights = np.maximum.reduceat(scores, firsts)
    levels = _ASCII if ascii_only else _BLOCKS
    return "".join(levels[int(np.clip(height, 0, 1) * (len(levels) - 1))] for height in heights)


_NARROW, _NARROW_TIMELINE = 100, 15  # columns; a narrower terminal has no second label, and so wide a timeline
_ROWS_AT_A_TIME = 200  # longer tables have columns of these widths
_NAME_WIDTH, _LABEL_WIDTH = 60, 24
_LEAST_NAME, _GAP = 16, 2  # columns of a shortened name, and between the columns of a table
_UNLIKE = "*"  # after the label of a recording that is outside the training range
_MOST_LABELS = 10  # in the summary
_SHOWN = 10  # recordings listed in a warning without --verbose


class PredictionOutput(TerminalOutput):
    """Prints or writes the result of ``predict``."""

    def predicted(
        self,
        result: "PredictResult",
        *,
        form: "FileFormat",
        rows: "RowKind",
        spec: "EventSpec | None" = None,
        out: Path | None = None,
    ) -> None:
        from audiocnn.files import atomic_file, resolve_link
        from audiocnn.formats import writer

        info = result.model.info
        self.info(f"model: {info.name} ({len(info.labels)} labels, {result.model.digest[:12]})")
        if spec is not None:
            spec = result.settled(spec)
            if info.operating is not None:
                self.info("events: thresholds of this model, chosen by 'audiocnn tune-events'; options replace them")
        self._unused(result)
        if form == "table":
            pieces = self._prediction_tables(result, rows, spec, out is None)
        else:
            table = result.table(form, rows, spec)
            if table.start_times is not None:
                self._doubtful_times(result)
            pieces = writer.iter_bytes(table, form)
        if out is None:
            for piece in pieces:
                with streams.stdout_errors():
                    click.echo(piece, nl=False)
        else:
            with atomic_file(resolve_link(out)) as file:
                for piece in pieces:
                    file.write(piece)
            n = len(result.predictions)
            self.info(f"wrote {out}: {n:,} recording{'s' if n != 1 else ''}")
        if form == "table" and rows == "recordings" and result.outside:
            self.info(f"{_UNLIKE} unlike the training recordings in level, noise or bandwidth")
        if spec is not None:
            self._no_events(result, spec)
        self._outside(result)
        if result.totals.labels.total() > 1:
            self.info(_labels_of(result.totals))
        self.info(_account_of(result.totals))

    def _no_events(self, result: "PredictResult", spec: "EventSpec") -> None:
        """Print why there are no events: the highest score, and the threshold that it does not reach."""
        from audiocnn.inference import events

        best = None if self._quiet else events.near_miss(result.predictions, spec)
        if best is None:
            return
        where = f"the highest score is {best.score:.3f}, of '{best.label}' at {best.at_s:.1f} s of {best.recording}"
        if best.score >= best.threshold:
            self.info(f"no events: {where}, but its events are shorter than {spec.min_duration_s:g} s (--min-duration)")
            return
        point = result.model.info.operating
        tuned = point is not None and point.thresholds.get(best.label) == best.threshold
        self.info(
            f"no events: {where}, and its threshold is {best.threshold:g}"
            + (" (from tune-events)" if tuned else "")
            + f"; --threshold '{best.label}=X' sets another"
        )

    def _outside(self, result: "PredictResult") -> None:
        lines = [f"{name}: {'; '.join(check.sentences)} [{';'.join(check.codes)}]" for name, check in result.outside]
        self._warn_some(lines, "are outside the training range")

    def _unused(self, result: "PredictResult") -> None:
        lines = [f"{name}: {status.detail} [{status.reason}]" for name, status in result.unused]
        self._warn_some(lines, "without a prediction")

    def _doubtful_times(self, result: "PredictResult") -> None:
        starts = zip(result.files, result.start_times, strict=True)
        lines = [f"{encode_path(os.fspath(file))}: {start.doubt}" for file, start in starts if start.doubt]
        self._warn_some(lines, "have doubtful start times")

    def _warn_some(self, lines: Sequence[str], what: str) -> None:
        """Warn of recordings, without --verbose of the first ones only."""
        if self._quiet:
            return
        shown = lines if self._verbose else lines[:_SHOWN]
        for line in shown:
            self.warn(line)
        if len(shown) < len(lines):
            self.warn(f"... and {len(lines) - len(shown):,} more recordings {what} (-v lists them)")

    def _prediction_tables(
        self, result: "PredictResult", rows: "RowKind", spec: "EventSpec | None", shown: bool
    ) -> Iterator[bytes]:
        """Yield a table in pieces with fixed columns, as wide as the terminal if it is ``shown`` there.

        On a terminal the folder that all recordings share is printed once, and long names are shortened.
        """
        on_terminal = shown and self._out.is_terminal
        plain_text: dict[str, Any] = {
            "color_system": None,
            "force_terminal": False,
            "highlight": False,
            "markup": False,
        }
        console = self._out if on_terminal else Console(width=PLAIN_WIDTH, **plain_text)
        encoding = console.encoding if shown else "utf-8"
        plain = not encoding.lower().startswith("utf")
        narrow = console.width < _NARROW
        headings, cells = _table_rows(result.predictions, rows, spec, plain=plain, narrow=narrow)
        some = list(itertools.islice(cells, _ROWS_AT_A_TIME))
        more = list(itertools.islice(cells, _ROWS_AT_A_TIME))
        names = _Names("", None)
        if on_terminal:
            folder = common_folder([encode_path(os.fspath(file)) for file in result.files])
            names = _Names(folder, _name_width(headings, some, console.width, fixed=bool(more)), plain)
            if folder:
                yield f"in {printable(folder)}\n".encode(encoding, "replace")
        table = _table(headings, some, names, fixed=bool(more))
        while True:
            with console.capture() as capture:
                console.print(table)
            yield capture.get().encode(encoding, "replace")
            if not more:
                return
            table = _table(headings, more, names, fixed=True)
            table.show_header = False
            more = list(itertools.islice(cells, _ROWS_AT_A_TIME))


@dataclass(frozen=True)
class _Names:
    """How names of recordings are shown: without the ``folder`` that they share, at most ``width`` columns wide."""

    folder: str
    width: int | None
    ascii_only: bool = False

    def __call__(self, recording: str) -> str:
        name = printable(recording.removeprefix(self.folder))
        return name if self.width is None else shortened_in_the_middle(name, self.width, ascii_only=self.ascii_only)


def _name_width(headings: Sequence[str], rows: Sequence[Sequence[str]], width: int, *, fixed: bool) -> int:
    """Return the columns that are left for names in a terminal ``width`` columns wide."""
    titles = [heading.removesuffix(">") for heading in headings]
    columns = itertools.zip_longest(titles, *rows, fillvalue="")
    _, *others = [_LABEL_WIDTH if fixed and column[0] == "label" else max(map(cell_len, column)) for column in columns]
    return max(_LEAST_NAME, width - sum(others) - _GAP * len(others))


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]], names: _Names, *, fixed: bool) -> Table:
    """Return a table; with ``fixed``, names and labels have the same width in every table."""
    table = live.plain(*headings)
    for name, *row in rows:
        table.add_row(*live.cells(names(name), *row))
    if names.width is not None:
        table.columns[0].no_wrap = True
    if fixed:
        table.columns[0].width = _NAME_WIDTH if names.width is None else names.width
        table.columns[headings.index("label")].width = _LABEL_WIDTH
    return table


def _table_rows(
    predictions: "Sequence[RecordingPrediction]",
    rows: "RowKind",
    spec: "EventSpec | None",
    *,
    plain: bool,
    narrow: bool,
) -> tuple[Sequence[str], Iterator[Sequence[str]]]:
    """Return the headings and the cells of a table of recordings, windows or events."""
    if rows == "recordings":
        second_guess = [] if narrow else ["second guess", "score>"]
        headings = ("recording", "label", "score>", "duration>", *second_guess, "score over time")
        return headings, (_recording_row(p, plain=plain, narrow=narrow) for p in predictions)
    headings = ("recording", "start>", "end>", "label", "score>")
    return headings, _window_rows(predictions) if rows == "windows" else _event_rows(predictions, spec)


def _recording_row(p: "RecordingPrediction", *, plain: bool, narrow: bool) -> Sequence[str]:
    status = p.recording_status
    duration = f"{status.duration_s:.2f} s" if status.duration_s < 600 else live.duration(status.duration_s)
    if not p.has_scores:
        return p.recording, f"({status.status}: {status.reason})", "", duration
    score, label = max((s, name) for s, name in zip(p.scores, p.labels, strict=True) if name != p.label)
    shown = f"(unknown: {p.doubt}, nearest {p.label})" if p.doubt else p.label
    if p.domain is not None and p.domain.codes:
        shown += f" {_UNLIKE}"
    second = [] if narrow else [label, f"{score:.3f}"]
    timeline = score_timeline(p, width=_NARROW_TIMELINE if narrow else TIMELINE_WIDTH, ascii_only=plain)
    return p.recording, shown, f"{p.score:.3f}", duration, *second, timeline


def _window_rows(predictions: "Iterable[RecordingPrediction]") -> Iterator[Sequence[str]]:
    for prediction in predictions:
        for p in prediction.parts():
            for start, end, label, scores in zip(p.starts_s, p.ends_s, p.window_labels(), p.window_scores, strict=True):
                yield p.recording, f"{start:.3f}", f"{end:.3f}", label, f"{scores.max():.3f}"


def _event_rows(predictions: "Iterable[RecordingPrediction]", spec: "EventSpec | None") -> Iterator[Sequence[str]]:
    from audiocnn.inference import events
    from audiocnn.specs import EventSpec

    for p in predictions:
        for event in events.find_events(p, spec or EventSpec()):
            yield p.recording, f"{event.start_s:.3f}", f"{event.end_s:.3f}", event.label, f"{event.score:.3f}"


def _labels_of(totals: "Totals") -> str:
    """Return one line on the predicted labels, the most frequent first."""
    counts = sorted(totals.labels.items(), key=lambda item: (not item[0], -item[1], item[0]))
    named = [f"{label or 'unknown'} {n:,}" for label, n in counts[:_MOST_LABELS]]
    more = f" and {len(counts) - _MOST_LABELS:,} more labels" if len(counts) > _MOST_LABELS else ""
    return f"labels: {', '.join(named)}{more}"


def _account_of(totals: "Totals") -> str:
    """Return one line on the statuses of all recordings."""
    kinds = ", ".join(f"{totals.statuses[s]:,} {s}" for s in ("ok", "silent", "unreadable") if totals.statuses[s])
    speed = f", {totals.times_real_time:,.0f}x real time" if totals.decoded_s else ""
    kept = f"; {totals.n_kept:,} known from an earlier run" if totals.n_kept else ""
    again = f"; {totals.n_repeated:,} named twice and listed once" if totals.n_repeated else ""
    noun = "recording" if totals.n_recordings == 1 else "recordings"
    return (
        f"{totals.n_recordings:,} {noun}, {live.duration(totals.total_s)}: {kinds}; "
        f"{live.duration(totals.analysed_s)} analysed{speed}{kept}{again}"
    )
