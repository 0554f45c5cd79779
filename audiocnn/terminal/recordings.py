"""Output of the commands on recordings and files: init, featurize, audit, relocate, verify."""

from collections import Counter
from typing import TYPE_CHECKING

from rich.text import Text

from audiocnn.audit.finding import pluralize
from audiocnn.terminal import live
from audiocnn.terminal.live import TerminalOutput
from audiocnn.text import printable
from audiocnn.wording import clause

if TYPE_CHECKING:
    from audiocnn.stages.audit import AuditResult
    from audiocnn.stages.featurize import FeaturizeResult
    from audiocnn.stages.init import InitResult
    from audiocnn.stages.relocate import RelocateResult
    from audiocnn.stages.verify import VerifyResult
    from audiocnn.training.forecast import Forecast, Tested


class Recordings(TerminalOutput):
    """Prints the results of ``init``, ``featurize``, ``audit``, ``relocate`` and ``verify``."""

    def survey(self, result: "InitResult") -> None:
        found = result.survey
        table = live.plain("class", "recordings>", "groups>", "total>", "median>", "sample rates", "channels")
        for c in found.classes:
            rates = ", ".join(f"{rate:,} Hz" + f" ({n})" * (len(c.rates) > 1) for rate, n in sorted(c.rates.items()))
            channels = ", ".join(f"{n}" + f" ({k})" * (len(c.channels) > 1) for n, k in sorted(c.channels.items()))
            counts = (f"{c.n_recordings:,}", f"{c.n_groups:,}")
            seconds = (live.duration(c.total_s), f"{c.median_s:.2f} s")
            table.add_row(*live.cells(c.label, *counts, *seconds, rates, channels))
        self._print(table)
        n = sum(c.n_recordings for c in found.classes)
        total = sum(c.total_s for c in found.classes)
        annotated = "annotated " if result.annotated is not None else ""
        stretches = pluralize(found.n_stretches, f"{annotated}stretch", f"{annotated}stretches")
        whole = pluralize(n - found.n_stretches, "recording")
        what = f"{stretches} and {whole}" if 0 < found.n_stretches < n else stretches if found.n_stretches else whole
        self._print(f"{what} of {pluralize(len(found.classes), 'class', 'classes')}, {live.duration(total)}.")
        if result.annotated is not None:
            self._annotated(result)
        self._problems(result)
        if found.imbalance >= 1.5:
            self._print(f"The largest class has {found.imbalance:.1f} times the recordings of the smallest.")
        if found.duplicates:
            copies = sum(map(len, found.duplicates))
            first = " = ".join(found.duplicates[0][:3])
            self._print(
                f"{copies} recordings are byte-identical to another (such as {first}): each set of them is one group."
            )
        if found.silent:
            silent = clause(len(found.silent), "recording is", "recordings are")
            self._print(f"{silent} silent and will not be used (such as {found.silent[0]}).")
        self._fitted(result)
        if found.short:
            short = clause(len(found.short), "recording is", "recordings are")
            window = f"one window ({result.settings.features.window_s:.2f} s)"
            self._print(f"{short} shorter than {window} and will be repeated to fill it.")
        for path, error in list(found.unreadable.items())[: None if self._verbose else 5]:
            self._print(f"unreadable: {path} {error} [{error.code}]")
        if len(found.unreadable) > 5 and not self._verbose:
            more = pluralize(len(found.unreadable) - 5, "more unreadable file")
            self._print(f"... and {more} (--verbose lists them).")
        if result.n_unmatched:
            unmatched = pluralize(result.n_unmatched, "recording")
            self._print(f"{unmatched} did not match --group-by; each of them is its own group.")
        if result.above is not None:
            self._print(f"{result.above.sentence} {result.above.remedy}")
        elif found.cut_off:
            median, (spec, block) = found.cut_off[len(found.cut_off) // 2], result.settings.widest
            self._print(
                f"{clause(len(found.cut_off), 'recording has', 'recordings have')} energy up to "
                f"{median / 1000:.0f} kHz (median); the preset "
                f"keeps {spec.upper_hz / 1000:g}. If your labels differ above that, raise {block}.sample_rate."
            )
        for finding in result.findings:
            self._print(f"{finding.sentence} {finding.remedy}")
            for example in finding.examples:
                self._print(f"  {example}")
        if result.positive is not None:
            self._print(
                f"positive: '{result.positive}' ({result.positive_reason}). Of two labels, events and the average "
                f"precision are of this one; change it in {result.config}."
            )
        self._forecast(result.forecast)
        self._print(f"Wrote {result.manifest} and {result.config} (preset {result.preset}).")

    def _forecast(self, expected: "Forecast") -> None:
        from audiocnn.training.forecast import ACCURACY

        if expected.test is not None and expected.all is not None:
            test, crossval, means = expected.test, expected.all, []
            if test.half_width is None:
                means.append("its figures have no 95 % interval, which needs two groups")
            else:
                means.append(f"an accuracy of {ACCURACY:g} has a 95 % interval of {_width(test)}")
            if crossval.half_width is not None:
                means.append(f"{_width(crossval)} with crossval, which tests all {crossval.n_recordings:,}")
            what = f"{pluralize(test.n_recordings, 'recording')} of {pluralize(test.n_groups, 'group')}"
            self._print(f"The test part has {what}: {'; '.join(means)}.")
        size = f"Features take about {live.rough_size(expected.store_bytes)}"
        if expected.train_s is None:
            self._print(f"{size}.")
        else:
            cores = pluralize(expected.n_cores, "core")
            self._print(
                f"{size}, a training about {live.rough_duration(expected.train_s)} on {cores} (a rough estimate)."
            )

    def layouts(self) -> None:
        from audiocnn.dataset.layouts import LAYOUTS

        table = live.plain("data set", "recognised by", "label", "group", "split or fold", "licence")
        for layout in LAYOUTS:
            split = layout.split or layout.fold or "-"
            taken = (layout.label, " or ".join(layout.group) or "-", split, layout.licence or "-")
            if layout.refused:
                taken = ("refused: several labels a recording", "-", "-", "-")
            table.add_row(*live.cells(layout.name, layout.recognised_by, *taken))
        self._print(table)

    def _annotated(self, result: "InitResult") -> None:
        annotated = result.annotated
        assert annotated is not None
        rest = f"is '{result.background}'" if result.background else "is not used (--background LABEL gives it a label)"
        self._print(f"Time without annotation {rest}.")
        for paths, what in (
            (annotated.unannotated, "without an annotation file: left out"),
            (annotated.empty, f"with an empty annotation file: {result.background or 'left out'}"),
        ):
            if paths:
                self._print(f"{pluralize(len(paths), 'recording')} {what} (such as {paths[0]}).")
        if annotated.overlap_s:
            self._print(f"{annotated.overlap_s:.1f} s have two labels at once and are left out.")

    def _problems(self, result: "InitResult") -> None:
        notes = result.report.notes
        for note in notes[: None if self._verbose else 5]:
            self._print(note)
        if len(notes) > 5 and not self._verbose:
            self._print(f"... and {len(notes) - 5} more notes (--verbose prints them).")
        if result.problems is None:
            return
        problems = result.report.problems
        counts = Counter(problem.outcome for problem in problems)
        self._print(f"{', '.join(f'{n:,} {outcome}' for outcome, n in counts.items())}; {result.problems} lists them:")
        for problem in problems[: None if self._verbose else 5]:
            self._print(f"  {problem} ({problem.outcome})")
        if len(problems) > 5 and not self._verbose:
            self._print(f"  ... and {len(problems) - 5} more (--verbose prints them).")

    def _fitted(self, result: "InitResult") -> None:
        from audiocnn.config import read_preset

        preset = read_preset(result.preset).networks
        for name, network in result.settings.networks.items():
            before, after = preset[name].features.sample_rate, network.features.sample_rate
            if after != before:
                of = f" of member {name}" if name else ""
                self._print(f"Features{of} fitted to the recordings: sample rate {after:,} Hz instead of {before:,}.")

    def statuses(self, result: "FeaturizeResult") -> None:
        statuses = result.statuses
        kinds: Counter[tuple[str, str]] = Counter()
        for recording_status in statuses.values():
            if recording_status.status != "ok":
                kinds[("quarantined", recording_status.codes[0])] += 1
            elif not recording_status.codes:
                kinds[("used", "")] += 1
            for code in recording_status.codes if recording_status.status == "ok" else ():
                kinds[("used with warning", code)] += 1
        for _, recording_status in result.beyond:
            kinds[("quarantined", recording_status.codes[0])] += 1
        table = live.plain("outcome", "reason", "recordings>")
        for (what, code), n in sorted(kinds.items()):
            table.add_row(*live.cells(what, code or "-", f"{n:,}"))
        self._print(table)
        if self._verbose:
            for path, recording_status in sorted([*statuses.items(), *result.beyond], key=lambda pair: pair[0]):
                if recording_status.codes:
                    self._print(f"{path}: {recording_status.reason}: {recording_status.detail}")
        seconds = sum(a.duration_s for a in statuses.values())
        reused = len(statuses) - result.n_computed
        self._print(
            f"{pluralize(len(statuses), 'recording')}, {live.duration(seconds)}: {result.n_computed:,} computed, "
            f"{reused:,} reused." + (f" {result.n_bad:,} quarantined, see {result.quarantine}." if result.n_bad else "")
        )

    def audited(self, result: "AuditResult") -> None:
        colours = {"pass": "green", "unchecked": "cyan", "warn": "yellow", "fail": "red"}
        worse = Counter(finding.severity for finding in result.findings)
        unchecked = f", {worse['unchecked']} not checked" if worse["unchecked"] else ""
        errors, warnings = pluralize(worse["fail"], "error"), pluralize(worse["warn"], "warning")
        self._out.print(
            Text(result.verdict, f"bold {colours[result.verdict]}")
            + Text(f": {pluralize(result.n_recordings, 'recording')}: {errors}, {warnings}{unchecked}")
        )
        for finding in result.findings:
            line = Text(f"{finding.severity}  ", colours[finding.severity]) + Text(printable(finding.sentence))
            self._out.print(line, soft_wrap=not self._out.is_terminal)
            for example in finding.examples:
                self._print(f"        {example}")
            if finding.remedy:
                self._print(f"      > {finding.remedy}")
        if result.merged is not None:
            merged = result.merged
            self._print(
                f"{result.manifest}: {pluralize(merged.n_changed, 'recording')} moved to the group of "
                f"{'its' if merged.n_changed == 1 else 'their'} copies; {pluralize(merged.n_before, 'group')} became "
                f"{merged.n_after:,}."
                if merged.n_changed
                else f"{result.manifest}: unchanged, as copies share a group already."
            )
        self._print(f"Details: {result.file}")

    def relocated(self, result: "RelocateResult") -> None:
        n, found = result.n_recordings, result.n_recordings - len(result.missing)
        of = f"{found:,} of {n:,} recordings are" if n > 1 else "the recording is"
        self._print(f"data.root in {result.file} is now {result.root}: {of} there.")
        if result.missing:
            are = "is" if len(result.missing) == 1 else "are"
            self.warn(f"{len(result.missing):,} of them {are} missing there, such as {result.missing[0]}")

    def verified(self, result: "VerifyResult") -> None:
        for line in result.damaged:
            self._print(line)
        self._print(
            f"checked {pluralize(result.n_features, 'feature file')} and {pluralize(len(result.models), 'model')}: "
            f"{len(result.damaged):,} damaged."
        )


def _width(tested: "Tested") -> str:
    """Return the half width of an interval; errors within a group are alike, which makes it wider."""
    return f"{'' if tested.n_groups == tested.n_recordings else 'at least '}±{tested.half_width:.2f}"
