"""Output of the commands on models: train, evaluate, crossval, sweep, demo, explain, info, export, tune-events."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from audiocnn import streams
from audiocnn.terminal import live
from audiocnn.terminal.live import TerminalOutput
from audiocnn.wording import clause, no_interval

if TYPE_CHECKING:
    from audiocnn.demo import DemoResult
    from audiocnn.model.decision import OperatingPoint
    from audiocnn.review.result import ReviewResult
    from audiocnn.stages.crossval import CrossvalResult
    from audiocnn.stages.evaluate import EvaluateResult
    from audiocnn.stages.explain import ExplainResult
    from audiocnn.stages.export import ExportResult
    from audiocnn.stages.info import ModelSummary, NetworkSummary
    from audiocnn.stages.sweep import SweepResult
    from audiocnn.stages.tune_events import TuneEventsResult
    from audiocnn.training.train_bundle import TrainResult
    from audiocnn.training.train_ensemble import EnsembleResult

_SHOWN = 10  # unusable recordings listed without --verbose


class Models(TerminalOutput):
    """Prints the results of the commands that train, evaluate or export models."""

    def trained(self, result: "TrainResult") -> None:
        table = live.plain("class", *(f"{part}>" for part in result.counts), "weight>")
        for label in result.labels:
            weight = result.training["class_weights"][label]
            table.add_row(*live.cells(label, *_counts(label, result.counts), f"{weight:.3g}"))
        self._print(table)
        n_epochs = len(result.training["history"])
        if result.kept:
            self._print(f"{result.folder} is a finished model of the same settings; --fresh trains it again.")
        self._trained_figures(result, f"Kept epoch {result.training['best_epoch']} of {n_epochs}. ")

    def trained_members(self, result: "EnsembleResult") -> None:
        table = live.plain("member", "recording accuracy>", "window accuracy>", "epoch kept>", "weight>", "")
        for name, member in result.members.items():
            ((_, figures),) = member.metrics.items()
            accuracies = (live.figure(figures[f"{unit}_accuracy"]) for unit in ("recording", "window"))
            epoch = f"{member.training['best_epoch']} of {len(member.training['history'])}"
            weight, kept = f"{result.weights[name]:.3g}", "trained before" if member.kept else ""
            table.add_row(*live.cells(name, *accuracies, epoch, weight, kept))
        self._print(table)
        if result.fitted is not None and result.fitted.ci95 is not None and result.fitted.ci95[0] is not None:
            low = result.fitted.ci95[0]
            why = "lower the log loss beyond noise" if low > 0 else "do not lower the log loss beyond noise"
            self._print(f"Weights are {'fitted' if low > 0 else 'equal'}: fitted ones {why}, out of fold.")
        self._trained_figures(result, "All members together. ")

    def _trained_figures(self, result: "TrainResult | EnsembleResult", begin: str) -> None:
        from audiocnn.evaluation import baseline

        ((part, figures),) = result.metrics.items()
        self._print(
            f"{begin}On {part}: recording accuracy {figures['recording_accuracy']:.3f}, window accuracy "
            f"{figures['window_accuracy']:.3f}."
        )
        accuracy, most = figures["recording_accuracy"], baseline.most_frequent(result.counts[part])
        if line := baseline.compare(accuracy, figures.get("recording_accuracy_ci95", [accuracy] * 2), most):
            self._print(live.sentence(line))
        if result.decision is not None:
            fitted_on = "validation" if result.decision["fitted_on"] == "validation" else "folds"
            self._print(
                f"Scores calibrated on {fitted_on} "
                f"({clause(result.decision['n_recordings'], 'recording', 'recordings')}): temperature "
                f"{result.temperature:.3g}."
            )
        self._print(f"Model in {result.folder}")

    def evaluated(self, result: "EvaluateResult") -> None:
        figures = result.metrics
        self._figures(figures, figures["part"])
        for line in _metric_lines(figures):
            self._print(line)
        lost = figures["n_recordings"] - figures["n_predicted"]
        if lost:
            without = clause(lost, "recording has no prediction and counts", "recordings have no prediction and count")
            self._print(f"{without} as wrong; predictions.csv lists the reasons.")
        self._print(live.sentence(result.verdict))
        self._print(f"Report: {result.folder / 'report.html'}")

    def _figures(self, figures: Mapping[str, Any], what: str) -> None:
        from audiocnn.evaluation import baseline, by_collection, by_member, decision_sentences

        lacking = False
        n = clause(figures["n_recordings"], "recording", "recordings")
        table = live.plain(f"{what}: {n}", "value>", "95 % interval>")
        for unit in ("recording", "window"):
            for name, figure in figures[unit].items():
                if name in ("intervals", "ece_perfect"):
                    continue
                label, ends = f"{unit} {name.replace('_', ' ')}", figures[unit]["intervals"].get(name, ())
                value, ends = (figure["value"], figure["ci95"]) if isinstance(figure, dict) else (figure, ends)
                table.add_row(*live.cells(label, live.figure(value), live.interval(ends)))
                lacking |= value is not None and None in ends
        self._print(table)
        if lacking:
            self._print(f"- means {no_interval(figures['n_groups'])}.")
        table = live.plain("class", "precision>", "recall>", "f1>", "recordings>")
        untested = figures.get("untested", [])
        for label, c in figures["per_class"].items():
            table.add_row(
                *live.cells(
                    label,
                    live.figure(c["precision"]),
                    live.figure(c["recall"]),
                    live.figure(c["f1"]),
                    "not tested" if label in untested else f"{c['support']:,}",
                )
            )
        self._print(table)
        if collections := figures.get("collections"):
            table = live.plain("collection", "recordings>", "groups>", "accuracy>", "95 % interval>")
            for name, one in collections.items():
                ends = " to ".join(map(live.figure, one["accuracy"]["ci95"]))
                counts = (f"{one['n_recordings']:,}", f"{one['n_groups']:,}")
                table.add_row(*live.cells(name, *counts, live.figure(one["accuracy"]["value"]), ends))
            self._print(table)
            if line := by_collection.compare_collections(collections):
                self._print(live.sentence(line))
        if members := figures.get("members"):
            table = live.plain(
                "member alone", "weight>", "accuracy>", "95 % interval>", "all - member>", "95 % interval>"
            )
            for name, one in members.items():
                alone, apart = one["accuracy"], one["difference"]
                table.add_row(
                    *live.cells(
                        name,
                        f"{one['weight']:.3g}",
                        live.figure(alone["value"]),
                        live.interval(alone["ci95"]),
                        f"{apart['value']:+.3f}",
                        live.interval(apart["ci95"]),
                    )
                )
            self._print(table)
            self._print(live.sentence(by_member.compare_members(members)))
        if line := baseline.compare_metrics(figures):
            accuracy = live.figure(figures["recording"]["accuracy"]["value"])
            self._print(live.sentence(f"Recording accuracy {accuracy}: {line}"))
        if line := decision_sentences.harmful_calibration(figures):
            self._print(line)

    def crossvalidated(self, result: "CrossvalResult") -> None:
        from audiocnn.evaluation import by_repeat

        table = live.plain("fold", "recordings>", "groups>", "recording accuracy>", "window accuracy>", "epoch kept>")
        for fold in result.metrics["folds"]:
            accuracies = (live.figure(fold[unit]["accuracy"]["value"]) for unit in ("recording", "window"))
            trained = fold.get("members", {"": fold}).values()
            kept = ", ".join(f"{one['best_epoch']} of {one['n_epochs']}" for one in trained)
            table.add_row(
                *live.cells(
                    f"{fold.get('collection', fold['fold'])}",
                    f"{fold['n_recordings']:,}",
                    f"{fold['n_groups']:,}",
                    *accuracies,
                    kept,
                )
            )
        self._print(table)
        self._figures(result.metrics, "all folds")
        if repeats := result.metrics.get("repeats"):
            n = len(repeats["recording"]["accuracy"]["values"])
            table = live.plain("figure", *(f"repeat {number}>" for number in range(1, n + 1)), "mean>", "deviation>")
            for unit in ("recording", "window"):
                for name, one in repeats[unit].items():
                    values = (live.figure(value) for value in (*one["values"], one["mean"], one["sd"]))
                    table.add_row(*live.cells(f"{unit} {name.replace('_', ' ')}", *values))
            self._print(table)
            self._print(live.sentence(by_repeat.describe_repeats(repeats)))
        self._print(live.sentence(result.verdict))
        self._print(f"Figures: {result.file}")
        self._print(f"Report: {result.file.with_suffix('.html')}")

    def swept(self, result: "SweepResult") -> None:
        from audiocnn.wording import percentage_points, si_number

        found = result.ranking
        table = live.plain(
            "#>", "variant", "parameters>", "multiply-adds>", "ms>", "accuracy>", "95 % interval>", "to best>", ""
        )
        for entry in found.entries:
            one = entry.ranked
            interval = live.interval(one.ci95)
            unknown = one.difference_ci95 is None
            verdict = "not known" if unknown else "within noise" if one.in_noise else "worse"
            table.add_row(
                *live.cells(f"{one.rank}", entry.name, si_number(entry.n_params), si_number(entry.multiply_adds),
                        si_number(entry.prediction_ms), live.figure(one.accuracy), interval,
                        *(("", "best") if one.rank == 1 else (percentage_points(one.difference), verdict)))
            )  # fmt: skip
        self._print(table)
        if any(entry.ranked.ci95 is None for entry in found.entries):
            self._print(f"- means {no_interval(found.n_groups)}.")
        for skipped in found.skipped:
            self._print(f"skipped: {skipped.name}: {skipped.reason}")
        seeds = f", {len(found.seeds)} seeds" if len(found.seeds) > 1 else ""
        self._print(
            f"Accuracy of {clause(found.n_recordings, 'recording', 'recordings')} in {found.n_folds} folds{seeds}; "
            "'to best' in percentage "
            f"points. {found.caution}"
        )
        if found.against_baseline:
            self._print(found.against_baseline)
        self._print(f"Page: {result.folder / 'index.html'}")

    def demonstrated(self, results: Sequence["DemoResult"], out: Path) -> None:
        table = live.plain("question", "test recordings>", "accuracy>", "95 % interval>", "report")
        for result in results:
            accuracy = result.metrics["recording"]["accuracy"]
            interval = live.interval(accuracy["ci95"])
            n = f"{result.metrics['n_recordings']:,}"
            report = str((result.folder / "report.html").relative_to(out))
            table.add_row(*live.cells(result.question, n, live.figure(accuracy["value"]), interval, report))
        self._print(table)
        self._print(
            "The first two rows have the same recordings and network. In the first, every player is also in training; "
            "only the second measures the accuracy on new players."
        )
        first = results[0].folder
        model, song = first / "model", next(iter(sorted((out / "sounds").rglob("*.wav"))))
        self._print(f"Everything lies in {out}. Next: audiocnn predict {song} --model {model}")

    def summarized(self, summary: "ModelSummary", *, form: str) -> None:
        if form == "json":
            with streams.stdout_errors():
                click.echo(json.dumps(summary.as_json(), indent=2))
            return
        table = live.plain("", summary.info.name)
        for name, value in _summary_rows(summary):
            table.add_row(*live.cells(name, value))
        self._print(table)
        if summary.counts:
            table = live.plain("recordings", *(f"{part}>" for part in summary.counts))
            for label in summary.info.labels:
                table.add_row(*live.cells(label, *_counts(label, summary.counts)))
            self._print(table)

    def exported(self, result: "ExportResult") -> None:
        size = f"{result.n_bytes / 1e6:.2f} MB"
        self._print(f"wrote {result.path} ({size}) and {result.description}, which describes its inputs and outputs.")
        if result.loss is None:
            return
        loss = result.loss
        self._print(
            f"Fewer bits change the score of a window by up to {loss.score:.3f} on {loss.what} ({loss.n_windows:,} "
            "windows)."
        )
        for kind, (here, there) in (loss.accuracies or {}).items():
            self._print(f"{kind.capitalize()} accuracy: {here:.3f} in float32, {there:.3f} as exported.")


def _summary_rows(summary: "ModelSummary") -> Iterator[tuple[str, str]]:
    """Yield the properties of a model, each with its value."""
    from audiocnn.model.decision import describe_label_sets

    info = summary.info
    yield "labels", f"{len(info.labels):,}: {', '.join(info.labels)}"
    if info.positive is not None:
        yield "label to detect", info.positive
    if summary.members:
        yield "parameters in all", f"{summary.n_params:,}"
        yield "multiply-adds in all", f"{summary.multiply_adds_per_second:,.0f} per second of audio"
    for name, network in summary.networks.items():
        if name:
            yield f"member {name}", f"weight {network.weight:.3g}"
        yield from _network_rows(network)
    yield "embedding", f"{summary.embedding_size:,} values"
    for part, figures in info.metrics.items():
        if isinstance(figures, dict):
            named = (f"{name.replace('_', ' ')} {value:.3f}" for name, value in figures.items() if _is_number(value))
            yield f"metrics on {part}", ", ".join(named)
    yield "calibration", f"temperature {info.temperature:.3g}"
    if (decision := info.decision) is not None:
        yield "decision rules", f"fitted on {decision.n_recordings:,} recordings ({decision.fitted_on})"
        for label, threshold in decision.thresholds.items():
            yield f"threshold of {label}", f"{threshold:.3g}"
        yield "label sets", f"hold {describe_label_sets(decision.coverage, decision.n_groups)}"
        yield "unknown", f"{decision.unknown:.0%} of known recordings" if decision.unknown else "no recording"
    if (domain := info.domain) is not None:
        level, upper = domain.level_dbfs, domain.upper_hz
        yield (
            "training range",
            f"level {level.low:.0f} to {level.high:.0f} dBFS, bandwidth {upper.low:,.0f} to {upper.high:,.0f} Hz",
        )
    if (point := info.operating) is not None:
        limits = ", ".join(f"{label} {threshold:g}" for label, threshold in point.thresholds.items())
        yield (
            "event detection",
            f"thresholds {limits}; smoothed over {point.smooth_s:g} s, at least {point.min_duration_s:g} s",
        )
    else:
        yield "event detection", "not tuned; 'audiocnn tune-events' chooses thresholds"
    yield "trained", " by audiocnn ".join(filter(None, (summary.created, summary.version))) or "unknown"
    yield "digest", summary.digest
    yield "folder", str(summary.folder)


def _network_rows(network: "NetworkSummary") -> Iterator[tuple[str, str]]:
    spec, layers = network.spec, network.layers
    yield "features", f"{spec.kind} ({' and '.join(spec.channels)}), {spec.n_bins} bins, {spec.sample_rate:,} Hz"
    yield "window", f"{spec.window_s:.3g} s every {spec.hop_s:.3g} s, shape {'×'.join(map(str, spec.shape))}"
    yield "network", layers.notation
    yield "parameters", f"{layers.n_params:,}"
    yield "multiply-adds", f"{layers.multiply_adds:,} per window"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)


def _metric_lines(figures: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each further block of ``metrics.json``."""
    from audiocnn.evaluation import decision_sentences

    if found := figures.get("comparison"):
        accuracy = found["accuracy"]
        apart, ends = accuracy["difference"]["value"], accuracy["difference"]["ci95"]
        interval = no_interval(figures["n_groups"]) if None in ends else live.interval(ends)
        yield (
            f"Against {found['other']}, on {found['n_recordings']:,} recordings: accuracy {accuracy['this']:.3f} and "
            f"{accuracy['other']:.3f}, difference {apart:+.3f} ({interval})."
        )
    if found := figures.get("leak_gap"):
        accuracy = found["window_accuracy"]
        yield (
            f"Leak gap: a random split of windows gives a window accuracy of {accuracy['random']:.3f}; "
            f"a split by groups gives {accuracy['grouped']:.3f}."
        )
    if found := figures.get("conformal"):
        yield live.sentence(decision_sentences.uninformative_label_sets(figures)) or (
            f"Label sets contain the true label in {found['coverage']['value']:.0%} of recordings "
            f"({found['coverage_wanted']:.0%} was requested), with {found['mean_size']:.1f} labels on average."
        )
    if found := figures.get("unknown"):
        if "kept" in found:
            yield f"{found['kept']['value']:.0%} of recordings are familiar, the others become unknown."
        if "auroc" in found:
            auroc = found["auroc"]["value"]
            yield f"Labels left out of training are separated from known ones with an AUROC of {auroc:.3f}."
    if found := figures.get("learning_curve"):
        yield from found["advice"]


class ExplanationOutput(TerminalOutput):
    """Prints the results of ``explain``."""

    def explained(self, result: "ExplainResult") -> None:
        prediction = result.prediction
        known = "" if not prediction.doubt else f", but unknown ({prediction.doubt})"
        about = "" if result.labels == [prediction.label] else f"; explained: {', '.join(result.labels)}"
        truth = f"; true label: {', '.join(result.truth)}" if result.truth else ""
        self._print(f"{prediction.recording}: {prediction.label} {prediction.score:.3f}{known}{about}{truth}")
        self._print(f"Page: {result.page}")

    def portrayed(self, page: Path) -> None:
        """Print the page of a network."""
        self._print(f"Page: {page}")


class TuningOutput(TerminalOutput):
    """Prints the result of ``tune-events``: the thresholds chosen, and what they reach."""

    def tuned_events(self, result: "TuneEventsResult") -> None:
        from audiocnn.event_tuning.result import format_rate_interval

        shown = result.unusable if self._verbose else result.unusable[:_SHOWN]
        for path, error in shown:
            self.warn(f"{path}: {error.detail} [{error.code}]")
        if len(shown) < len(result.unusable):
            self.warn(f"... and {len(result.unusable) - len(shown):,} more that cannot be used (-v lists them)")
        tuning, point = result.tuning, result.tuning.point
        table = live.plain(
            "label", "threshold>", "recall>", "95 % interval>", "found>", "false alarms/h>", "95 % interval>"
        )
        for label, one in tuning.checked_metrics.items():
            recall_ends = live.interval(one.recall_ci95)
            table.add_row(
                *live.cells(label, f"{point.thresholds[label]:g}", live.figure(one.recall), recall_ends,
                        f"{one.n_found:,} of {one.n_events:,}", f"{one.false_alarms_per_hour:.3g}",
                        format_rate_interval(one.false_alarms_ci95))
            )  # fmt: skip
        self._print(table)
        if any(None in one.recall_ci95 for one in tuning.checked_metrics.values()):
            self._print("- means no interval, as all recordings of the label are of one group.")
        self._print(
            f"Scores averaged over {point.smooth_s:g} s, events of at least {point.min_duration_s:g} s. Measured on "
            f"{tuning.checked_on.hours:.2g} h that were not used to choose."
        )
        for line in (*tuning.warnings(), tuning.caution()):
            self._print(line)
        self._print(f"Page: {result.folder / 'rehearsal.html'}")
        for label, reason in tuning.not_stored.items():
            self._print(f"{label} keeps its default threshold: {reason}.")
        if result.stored_in is not None:
            self._print(
                f"Stored in {result.stored_in}: 'audiocnn predict --events' uses it by default; 'audiocnn tune-events "
                "--forget' takes it back."
            )
        elif result.store:
            self._print("Not stored, as no label has a threshold to store: the model is unchanged.")
        else:
            self._print("Not stored: the model is unchanged.")

    def forgot_events(self, folder: Path, point: "OperatingPoint | None") -> None:
        """Print which stored thresholds were removed from a model."""
        if point is None:
            self._print(f"{folder} has no thresholds of tune-events; it is unchanged.")
        else:
            removed = ", ".join(f"{label} {threshold:g}" for label, threshold in point.thresholds.items())
            self._print(f"Removed from {folder}: {removed}. All labels have their default threshold again.")


class ReviewOutput(TerminalOutput):
    """Prints the result of ``review``: the verdict for each label, and what was stored."""

    def reviewed(self, result: "ReviewResult", folder: Path) -> None:
        from audiocnn.review.page import sentences

        n_answered, n_drawn = len(result.answered), len(result.draw.units)
        self._print(f"{n_answered:,} of {n_drawn:,} clips answered.")
        for line in sentences(result):
            self._print(line)
        self._print(f"Page: {folder / 'review.html'}")

    def review_page(self, address: str, *, browser: bool) -> None:
        """Print the address of the page, and open it in a browser if there is one."""
        self.info(f"Review page: {address}")
        if browser:
            import webbrowser

            webbrowser.open(address)
        self.info("Answers are kept as you give them. Press Finish on the page, or Ctrl-C here, for the result.")

    def stored_thresholds(self, thresholds: Mapping[str, float], folder: Path) -> None:
        """Print which thresholds were stored in a model."""
        stored = ", ".join(f"{label} {threshold:g}" for label, threshold in thresholds.items())
        self._print(
            f"Stored in {folder}: {stored}. 'audiocnn predict --events' uses it by default; 'audiocnn review --forget' "
            "takes it back."
        )


def _counts(label: str, counts: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Return the number of recordings of a label in each part."""
    from audiocnn.wording import is_untested

    untested = is_untested(label, counts)
    return ["not tested" if part == "test" and untested else f"{of.get(label, 0):,}" for part, of in counts.items()]
