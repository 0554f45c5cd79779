"""How results look on a terminal: tables on stdout, progress and warnings on stderr, no control codes from data."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Task as RichTask
from rich.table import Table
from rich.text import Text

from audiocnn import progress
from audiocnn.text import printable

if TYPE_CHECKING:
    from audiocnn.demo import DemoResult
    from audiocnn.results.aggregate import Prediction
    from audiocnn.results.writing import Form, Rows
    from audiocnn.specs import EventSpec
    from audiocnn.stages.audit import Audited
    from audiocnn.stages.crossval import CrossValidated
    from audiocnn.stages.evaluate import Evaluated
    from audiocnn.stages.export import Exported
    from audiocnn.stages.featurize import Featurized
    from audiocnn.stages.init import Initialised
    from audiocnn.stages.predict import Predicted, Totals
    from audiocnn.stages.sweep import Swept
    from audiocnn.stages.train import TrainResult
    from audiocnn.stages.verify import Verified

_PLAIN_WIDTH = 160  # columns of a table that goes to a file or a pipe
_NARROW = 100  # a terminal with fewer columns has no room for the second guess
_ROWS_AT_A_TIME = 200  # recordings in a table; longer ones have columns of these widths
_NAME_WIDTH, _LABEL_WIDTH = 60, 24
_SHOWN = 10  # recordings that say nothing, unless all are asked for
_PLAIN_EVERY_S = 10.0  # between lines of progress where there is no terminal


class _Rate(ProgressColumn):
    def render(self, task: RichTask) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f}/s" if speed and speed >= 10 else f"{speed:.1f}/s" if speed else "")


class _Pace:
    """How many units of work are done, and how long the rest will take by those that were not there already."""

    def __init__(self, total: int) -> None:
        self._total, self._n, self._n_kept, self._started = total, 0, 0, time.monotonic()

    def count(self, kept: bool) -> None:
        self._n, self._n_kept = self._n + 1, self._n_kept + kept

    def __str__(self) -> str:
        worked = self._n - self._n_kept
        each = (time.monotonic() - self._started) / worked if worked else 0.0
        left = f", {_duration(each * (self._total - self._n))} left" if worked and self._n < self._total else ""
        return f"{self._n:,}/{self._total:,} done{left}"


class _LiveBoard(progress.Board):
    """A board that is drawn again whenever it changes."""

    def __init__(self, live: Live, title: str, headings: Sequence[str], n_rows: int, total: int) -> None:
        self._live, self._title, self._headings, self._pace = live, title, headings, _Pace(total)
        self._rows: list[Sequence[str]] = [[""] * len(headings)] * n_rows
        self._note = ""

    def show(self, row: int, cells: Sequence[str]) -> None:
        self._rows[row] = cells
        self._draw()

    def note(self, line: str) -> None:
        self._note = line
        self._draw()

    def done(self, line: str, *, kept: bool = False) -> None:
        self._pace.count(kept)
        self._draw()

    def _draw(self) -> None:
        table = _table(*self._headings)
        for row in self._rows:
            table.add_row(*_cells(*row))
        status = Text(printable(f"{self._title}: {self._pace} · {self._note}"), no_wrap=True, overflow="ellipsis")
        self._live.update(Group(status, table))  # of a long table the end is cut


class _LineBoard(progress.Board):
    """A board of which nothing is seen but a line a finished unit."""

    def __init__(self, say: Callable[[str], None], title: str, total: int) -> None:
        self._say, self._title, self._pace = say, title, _Pace(total)

    def done(self, line: str, *, kept: bool = False) -> None:
        self._pace.count(kept)
        self._say(f"{self._title}: {self._pace} · {line}" + (" (kept)" if kept else ""))


class Terminal(progress.Progress):
    """Where the command line says everything that it says."""

    def __init__(self, *, quiet: bool, verbose: bool) -> None:
        self._quiet, self._verbose = quiet, verbose
        self._err = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
        self._out = Console(highlight=False, markup=False, soft_wrap=False)
        if not self._out.is_terminal:
            self._out = Console(highlight=False, markup=False, width=_PLAIN_WIDTH)

    @contextmanager
    def task(self, title: str, *, total: int, unit: str) -> Iterator[progress.Advance]:
        if self._quiet:
            yield lambda amount=1, note="": None
        elif self._err.is_terminal:
            with self._bar(title, total, unit) as advance:
                yield advance
        else:
            with self._lines(title, total, unit) as advance:
                yield advance

    @contextmanager
    def _bar(self, title: str, total: int, unit: str) -> Iterator[progress.Advance]:
        columns: list[ProgressColumn] = [
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn(f"{{task.completed:,.0f}}/{{task.total:,.0f}} {unit}", markup=False),
            _Rate(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[note]}", markup=False),
        ]
        with Progress(*columns, console=self._err, refresh_per_second=8) as bar:
            number = bar.add_task(title, total=total, note="")

            def advance(amount: float = 1, note: str = "") -> None:
                bar.advance(number, amount)
                if note:
                    bar.update(number, note=printable(note))

            yield advance

    @contextmanager
    def _lines(self, title: str, total: int, unit: str) -> Iterator[progress.Advance]:
        started = said = time.monotonic()
        done, last_note = 0.0, ""

        def line() -> str:
            elapsed = max(time.monotonic() - started, 1e-9)
            left = f", {elapsed * (total - done) / done:.0f} s left" if 0 < done < total else ""
            note = f" · {last_note}" if last_note else ""
            return f"{title}: {done:,.0f}/{total:,} {unit}, {elapsed:.1f} s{left}{note}"

        def advance(amount: float = 1, note: str = "") -> None:
            nonlocal done, said, last_note
            done, last_note = done + amount, note or last_note
            if time.monotonic() - said >= _PLAIN_EVERY_S:
                said = time.monotonic()
                self._err.print(printable(line()))

        yield advance
        self._err.print(printable(line()))

    @contextmanager
    def board(self, title: str, headings: Sequence[str], *, n_rows: int, total: int) -> Iterator[progress.Board]:
        if self._quiet:
            yield progress.Board()
        elif self._err.is_terminal:
            with Live(console=self._err, refresh_per_second=4, transient=True) as live:
                yield _LiveBoard(live, title, headings, n_rows, total)
        else:
            yield _LineBoard(self.say, title, total)

    def say(self, line: str) -> None:
        if not self._quiet:
            self._err.print(printable(line))

    def table(self, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        if not self._quiet:
            table = _table(*headings)
            for row in rows:
                table.add_row(*_cells(*row))
            self._print(table)

    def warn(self, line: str) -> None:
        self._err.print(Text("warning: ", "yellow") + Text(printable(line)))

    def survey(self, result: "Initialised") -> None:
        found = result.survey
        table = _table("class", "recordings>", "groups>", "total>", "median>", "sample rates", "channels")
        for c in found.classes:
            rates = ", ".join(f"{rate:,} Hz" + f" ({n})" * (len(c.rates) > 1) for rate, n in sorted(c.rates.items()))
            channels = ", ".join(f"{n}" + f" ({k})" * (len(c.channels) > 1) for n, k in sorted(c.channels.items()))
            table.add_row(
                *_cells(c.label, f"{c.n_recordings:,}", f"{c.n_groups:,}", _duration(c.total_s), f"{c.median_s:.2f} s",
                        rates, channels)
            )  # fmt: skip
        self._print(table)
        n = sum(c.n_recordings for c in found.classes)
        total = sum(c.total_s for c in found.classes)
        what = "recordings" if result.annotated is None else "annotated stretches"
        self._print(f"{n:,} {what} of {len(found.classes)} classes, {_duration(total)}.")
        if result.annotated is not None:
            self._annotated(result)
        if found.imbalance >= 1.5:
            self._print(f"The largest class has {found.imbalance:.1f} times the recordings of the smallest.")
        if found.duplicates:
            copies = sum(map(len, found.duplicates))
            first = " = ".join(found.duplicates[0][:3])
            self._print(
                f"{copies} recordings are byte-identical to another (such as {first}): each set of them is one group."
            )
        if found.silent:
            self._print(f"{len(found.silent)} recordings are silent and will not be used (such as {found.silent[0]}).")
        if found.short:
            self._print(f"{len(found.short)} recordings are shorter than one window and will be repeated to fill it.")
        for path, error in list(found.unreadable.items())[: None if self._verbose else 5]:
            self._print(f"unreadable: {path} {error} [{error.code}]")
        if len(found.unreadable) > 5 and not self._verbose:
            self._print(f"... and {len(found.unreadable) - 5} more unreadable files (--verbose lists them).")
        if found.suggested_groups is not None:
            from audiocnn.dataset.survey import GROUP_PATTERN

            self._print(
                f"The names look like numbered parts of {found.suggested_groups} recordings. If parts of one should "
                f"not be on both sides of a split, say: --group-by '{GROUP_PATTERN}'"
            )
        if result.n_unmatched:
            self._print(f"{result.n_unmatched} recordings did not match --group-by; each of them is its own group.")
        if found.cut_off:
            median, limit = found.cut_off[len(found.cut_off) // 2], self._limit_khz(result)
            self._print(
                f"{len(found.cut_off)} recordings have energy up to {median / 1000:.0f} kHz (their median); the preset "
                f"keeps {limit:g}. If what tells your labels apart lies higher, raise features.sample_rate."
            )
        if result.positive is not None:
            why = "the annotated one" if result.background else "the rarer one"
            self._print(f"positive: '{result.positive}' is what is looked for ({why}; change it in {result.config}).")
        self._print(f"Wrote {result.manifest} and {result.config} (preset {result.preset}). Next: audiocnn run")

    def _annotated(self, result: "Initialised") -> None:
        annotated = result.annotated
        assert annotated is not None
        rest = f"is '{result.background}'" if result.background else "is not used (--background LABEL gives it a label)"
        self._print(f"What no annotation covers {rest}.")
        for paths, what in (
            (annotated.unannotated, "have no annotation file and are left out"),
            (annotated.nothing, f"have an empty annotation file and are {result.background or 'left out'}"),
        ):
            if paths:
                self._print(f"{len(paths):,} recordings {what} (such as {paths[0]}).")
        if annotated.contested_s:
            self._print(f"{annotated.contested_s:.1f} s carry two labels at once and are left out.")

    @staticmethod
    def _limit_khz(result: "Initialised") -> float:
        from audiocnn.config import read_preset

        return read_preset(result.preset).features.upper_hz / 1000

    def accounts(self, result: "Featurized") -> None:
        accounts = result.accounts
        kinds: Counter[tuple[str, str]] = Counter()
        for account in accounts.values():
            if account.status != "ok":
                kinds[("quarantined", account.codes[0])] += 1
            elif not account.codes:
                kinds[("used", "")] += 1
            for code in account.codes if account.status == "ok" else ():
                kinds[("used with warning", code)] += 1
        for _, account in result.beyond:
            kinds[("quarantined", account.codes[0])] += 1
        table = _table("outcome", "reason", "recordings>")
        for (what, code), n in sorted(kinds.items()):
            table.add_row(*_cells(what, code or "-", f"{n:,}"))
        self._print(table)
        if self._verbose:
            for path, account in sorted([*accounts.items(), *result.beyond], key=lambda pair: pair[0]):
                if account.codes:
                    self._print(f"{path}: {account.reason}: {account.detail}")
        seconds = sum(a.duration_s for a in accounts.values())
        reused = len(accounts) - result.n_computed
        self._print(
            f"{len(accounts):,} recordings, {_duration(seconds)}: {result.n_computed:,} computed, {reused:,} reused."
            + (f" {result.n_bad:,} quarantined, see {result.quarantine}." if result.n_bad else "")
        )

    def trained(self, result: "TrainResult") -> None:
        table = _table("class", *(f"{part}>" for part in result.counts), "weight>")
        for label in result.labels:
            weight = result.training["class_weights"][label]
            counts = (f"{part.get(label, 0):,}" for part in result.counts.values())
            table.add_row(*_cells(label, *counts, f"{weight:.3g}"))
        self._print(table)
        ((part, figures),) = result.metrics.items()
        n_epochs = len(result.training["history"])
        if result.kept:
            self._print(f"{result.folder} is a finished model of these very settings; --fresh trains it anew.")
        self._print(
            f"Epoch {result.training['best_epoch']} of {n_epochs} kept. On {part}: recording accuracy "
            f"{figures['recording_accuracy']:.3f}, window accuracy {figures['window_accuracy']:.3f}."
        )
        if result.decision is not None:
            judged = "validation" if result.decision["fitted_on"] == "validation" else "folds"
            self._print(
                f"Scores calibrated on {judged} ({result.decision['n_recordings']:,} recordings): temperature "
                f"{result.temperature:.3g}."
            )
        self._print(f"Model in {result.folder}")

    def evaluated(self, result: "Evaluated") -> None:
        figures = result.metrics
        self._figures(figures, figures["part"])
        for line in _said_of(figures):
            self._print(line)
        lost = figures["n_recordings"] - figures["n_predicted"]
        if lost:
            self._print(f"{lost} recordings could not be heard and count as wrong; predictions.csv says why.")
        self._print(f"Report: {result.folder / 'report.html'}")

    def _figures(self, figures: Mapping[str, Any], what: str) -> None:
        table = _table(f"{what}: {figures['n_recordings']:,} recordings", "value>", "95 % interval>")
        for unit in ("recording", "window"):
            for name, figure in figures[unit].items():
                if name in ("intervals", "ece_perfect"):
                    continue
                label, ends = f"{unit} {name.replace('_', ' ')}", figures[unit]["intervals"].get(name, ())
                value, ends = (figure["value"], figure["ci95"]) if isinstance(figure, dict) else (figure, ends)
                table.add_row(*_cells(label, _figure(value), " to ".join(map(_figure, ends))))
        self._print(table)
        table = _table("class", "precision>", "recall>", "f1>", "recordings>")
        for label, c in figures["per_class"].items():
            table.add_row(
                *_cells(label, _figure(c["precision"]), _figure(c["recall"]), _figure(c["f1"]), f"{c['support']:,}")
            )
        self._print(table)

    def crossvalidated(self, result: "CrossValidated") -> None:
        table = _table("fold", "recordings>", "groups>", "recording accuracy>", "window accuracy>", "epoch kept>")
        for fold in result.metrics["folds"]:
            accuracies = (_figure(fold[unit]["accuracy"]["value"]) for unit in ("recording", "window"))
            kept = f"{fold['best_epoch']} of {fold['n_epochs']}"
            table.add_row(
                *_cells(f"{fold['fold']}", f"{fold['n_recordings']:,}", f"{fold['n_groups']:,}", *accuracies, kept)
            )
        self._print(table)
        self._figures(result.metrics, "all folds")
        self._print(f"Figures: {result.file}")

    def audited(self, result: "Audited") -> None:
        colours = {"pass": "green", "warn": "yellow", "fail": "red"}
        worse = Counter(finding.severity for finding in result.findings)
        self._out.print(
            Text(result.verdict, f"bold {colours[result.verdict]}")
            + Text(f": {result.n_recordings:,} recordings, {worse['fail']} to mend, {worse['warn']} to look at")
        )
        for finding in result.findings:
            line = Text(f"{finding.severity}  ", colours[finding.severity]) + Text(printable(finding.sentence))
            self._out.print(line, soft_wrap=True)
            for example in finding.examples:
                self._print(f"        {example}")
            if finding.remedy:
                self._print(f"      > {finding.remedy}")
        if result.merged is not None:
            merged = result.merged
            self._print(
                f"{result.manifest}: {merged.n_changed:,} recordings now share the group of their copies; "
                f"{merged.n_before:,} groups became {merged.n_after:,}."
                if merged.n_changed
                else f"{result.manifest}: unchanged, as copies share a group already."
            )
        self._print(f"Details: {result.file}")

    def swept(self, result: "Swept") -> None:
        from audiocnn.results.report.words import points, short

        found = result.ranking
        table = _table(
            "#>", "variant", "parameters>", "multiply-adds>", "ms>", "accuracy>", "95 % interval>", "to best>", ""
        )
        for entry in found.entries:
            one = entry.standing
            interval = "-" if one.ci95 is None else " to ".join(map(_figure, one.ci95))
            unknown = one.difference_ci95 is None
            verdict = "not known" if unknown else "within noise" if one.in_noise else "worse"
            table.add_row(
                *_cells(f"{one.rank}", entry.name, short(entry.n_params), short(entry.multiply_adds),
                        short(entry.prediction_ms), _figure(one.accuracy), interval,
                        *(("", "best") if one.rank == 1 else (points(one.difference), verdict)))
            )  # fmt: skip
        self._print(table)
        for skipped in found.skipped:
            self._print(f"skipped: {skipped.name}: {skipped.reason}")
        seeds = f", {len(found.seeds)} seeds" if len(found.seeds) > 1 else ""
        self._print(
            f"Accuracy of {found.n_recordings:,} recordings in {found.n_folds} folds{seeds}; 'to best' in points of a "
            f"per cent. {found.caution}"
        )
        self._print(f"Page: {result.folder / 'index.html'}")

    def predicted(
        self,
        result: "Predicted",
        *,
        form: "Form",
        rows: "Rows",
        spec: "EventSpec | None" = None,
        out: Path | None = None,
    ) -> None:
        from audiocnn.files import written_whole
        from audiocnn.results import writing

        info = result.model.info
        self.say(f"model: {info.name} ({len(info.labels)} labels, {result.model.digest[:12]})")
        self._unused(result)
        if form == "table":
            pieces = self._prediction_tables(result, rows, spec, out is None)
        else:
            pieces = writing.pieces(result.table(rows, spec), form)
        if out is None:
            for piece in pieces:
                click.echo(piece, nl=False)
        else:
            with written_whole(out) as file:
                for piece in pieces:
                    file.write(piece)
            self.say(f"wrote {out}: {len(result.predictions):,} recordings")
        self.say(_account_of(result.totals))

    def _unused(self, result: "Predicted") -> None:
        if self._quiet:
            return
        shown = result.unused if self._verbose else result.unused[:_SHOWN]
        for recording, account in shown:
            self.warn(f"{recording}: {account.detail} [{account.reason}]")
        if len(shown) < len(result.unused):
            self.warn(f"... and {len(result.unused) - len(shown):,} more recordings that say nothing (-v names them)")

    def _prediction_tables(
        self, result: "Predicted", rows: "Rows", spec: "EventSpec | None", shown: bool
    ) -> Iterator[bytes]:
        """A table in pieces, as wide as the terminal if it is ``shown`` there; columns keep their places."""
        options: dict[str, Any] = {"highlight": False, "markup": False}
        if not shown or not self._out.is_terminal:
            options |= {"width": _PLAIN_WIDTH, "color_system": None, "force_terminal": False}
        console = Console(**options)
        plain = not (console.encoding if shown else "utf-8").lower().startswith("utf")
        narrow = console.width < _NARROW
        for first in range(0, len(result.predictions), _ROWS_AT_A_TIME):
            some = result.predictions[first : first + _ROWS_AT_A_TIME]
            if rows == "recordings":
                table = _recording_table(some, plain=plain, narrow=narrow)
            else:
                table = _window_table(some) if rows == "windows" else _event_table(some, spec)
            table.show_header = first == 0
            if len(result.predictions) > _ROWS_AT_A_TIME:
                table.columns[0].width = _NAME_WIDTH
                table.columns[1 if rows == "recordings" else 3].width = _LABEL_WIDTH
            with console.capture() as capture:
                console.print(table)
            yield capture.get().encode(console.encoding if shown else "utf-8", "replace")

    def command(self, line: str) -> None:
        """Show a command line that is being carried out."""
        if not self._quiet:
            self._err.print(Text(f"$ {printable(line)}", "bold"))

    def demonstrated(self, results: Sequence["DemoResult"], out: Path) -> None:
        table = _table("question", "test recordings>", "accuracy>", "95 % interval>", "report")
        for result in results:
            accuracy = result.metrics["recording"]["accuracy"]
            interval = " to ".join(map(_figure, accuracy["ci95"]))
            n = f"{result.metrics['n_recordings']:,}"
            report = str((result.folder / "report.html").relative_to(out))
            table.add_row(*_cells(result.question, n, _figure(accuracy["value"]), interval, report))
        self._print(table)
        self._print(
            "The first two rows are the same recordings and the same network: what differs is whether the players were "
            "heard in training. Only the second says how good it will be on new ones."
        )
        first = results[0].folder
        model, song = first / "model", next(iter(sorted((out / "sounds").rglob("*.wav"))))
        self._print(f"Everything lies in {out}. Next: audiocnn predict {song} --model {model}")

    def exported(self, result: "Exported") -> None:
        size = f"{result.n_bytes / 1e6:.2f} MB"
        self._print(f"wrote {result.path} ({size}) and {result.description}, which says how to use it.")
        if result.loss is None:
            return
        loss = result.loss
        self._print(f"Fewer bits move a window's score by up to {loss.score:.3f} on {loss.what} ({loss.n_windows:,}).")
        for kind, (here, there) in (loss.accuracies or {}).items():
            self._print(f"{kind.capitalize()} accuracy: {here:.3f} in float32, {there:.3f} as exported.")

    def verified(self, result: "Verified") -> None:
        for line in result.damaged:
            self._print(line)
        self._print(
            f"checked {result.n_features:,} files of features and {result.n_models:,} models: "
            f"{len(result.damaged):,} damaged."
        )

    def _print(self, what: str | Table) -> None:
        self._out.print(
            Text(printable(what), overflow="fold") if isinstance(what, str) else what, soft_wrap=isinstance(what, str)
        )


def _table(*headings: str) -> Table:
    """A plain table; a heading that ends in ``>`` is that of a column of numbers."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        numeric = heading.endswith(">")
        title = Text(printable(heading.removesuffix(">")))
        table.add_column(title, justify="right" if numeric else "left", no_wrap=numeric, overflow="fold")
    return table


def _cells(*values: str) -> Sequence[Text]:
    return [Text(printable(value)) for value in values]


def _said_of(figures: Mapping[str, Any]) -> Iterator[str]:
    """What further blocks of ``metrics.json`` say, a line each."""
    if found := figures.get("comparison"):
        accuracy = found["accuracy"]
        apart, ends = accuracy["difference"]["value"], " to ".join(map(_figure, accuracy["difference"]["ci95"]))
        yield (
            f"Against {found['other']}, on {found['n_recordings']:,} recordings: accuracy {accuracy['this']:.3f} and "
            f"{accuracy['other']:.3f}, difference {apart:+.3f} ({ends})."
        )
    if found := figures.get("leak_gap"):
        accuracy = found["window_accuracy"]
        yield (
            f"Leak gap: a random split of windows would have claimed a window accuracy of {accuracy['random']:.3f}; "
            f"with groups kept apart it is {accuracy['grouped']:.3f}."
        )
    if found := figures.get("conformal"):
        yield (
            f"Sets of labels hold the true one in {found['coverage']['value']:.0%} of recordings "
            f"({found['coverage_wanted']:.0%} was promised), with {found['mean_size']:.1f} labels in the mean."
        )
    if found := figures.get("unknown"):
        if "kept" in found:
            yield f"{found['kept']['value']:.0%} of recordings are familiar, the others would be called unknown."
        if "auroc" in found:
            yield f"Labels left out of training are told from known ones with an AUROC {found['auroc']['value']:.3f}."
    if found := figures.get("learning_curve"):
        yield from found["advice"]


def _recording_table(predictions: Sequence["Prediction"], *, plain: bool, narrow: bool) -> Table:
    from audiocnn.results import timeline

    second_guess = [] if narrow else ["second guess", "score>"]
    table = _table("recording", "label", "score>", "duration>", *second_guess, "over time")
    for p in predictions:
        duration = f"{p.account.duration_s:.2f} s" if p.account.duration_s < 600 else _duration(p.account.duration_s)
        if not p.heard:
            table.add_row(*_cells(p.recording, f"({p.account.status}: {p.account.reason})", "", duration))
            continue
        score, label = max((s, name) for s, name in zip(p.scores, p.labels, strict=True) if name != p.label)
        shown = f"(unknown: {p.doubt}, nearest {p.label})" if p.doubt else p.label
        second = [] if narrow else [label, f"{score:.3f}"]
        line = timeline.line(p, ascii_only=plain)
        table.add_row(*_cells(p.recording, shown, f"{p.score:.3f}", duration, *second, line))
    return table


def _window_table(predictions: Sequence["Prediction"]) -> Table:
    table = _table("recording", "start>", "end>", "label", "score>")
    for p in predictions:
        for start, end, label, scores in zip(p.starts_s, p.ends_s, p.window_labels(), p.window_scores, strict=True):
            table.add_row(*_cells(p.recording, f"{start:.3f}", f"{end:.3f}", label, f"{scores.max():.3f}"))
    return table


def _event_table(predictions: Sequence["Prediction"], spec: "EventSpec | None") -> Table:
    from audiocnn.results import events
    from audiocnn.specs import EventSpec

    table = _table("recording", "start>", "end>", "label", "score>")
    for p in predictions:
        for event in events.find(p, spec or EventSpec()):
            table.add_row(
                *_cells(p.recording, f"{event.start_s:.3f}", f"{event.end_s:.3f}", event.label, f"{event.score:.3f}")
            )
    return table


def _account_of(totals: "Totals") -> str:
    """What became of all recordings, in a line."""
    kinds = ", ".join(f"{totals.statuses[s]:,} {s}" for s in ("ok", "silent", "unreadable") if totals.statuses[s])
    speed = f", {totals.times_real_time:,.0f}x real time" if totals.heard_s else ""
    kept = f"; {totals.n_kept:,} known from an earlier run" if totals.n_kept else ""
    again = f"; {totals.n_repeated:,} named twice and listed once" if totals.n_repeated else ""
    noun = "recording" if totals.n_recordings == 1 else "recordings"
    return (
        f"{totals.n_recordings:,} {noun}, {_duration(totals.total_s)}: {kinds}; {_duration(totals.analysed_s)} "
        f"analysed{speed}{kept}{again}"
    )


def _figure(value: Any) -> str:
    return "-" if value is None else f"{value:.3f}"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
