"""Write the model card of a bundle in Markdown: what the model is, its training data, its accuracy, its limits."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from audiocnn.model.decision import OperatingPoint, describe_label_sets
from audiocnn.model.notation import Architecture
from audiocnn.specs import FeatureSpec
from audiocnn.wording import clause, is_untested

_EVENTS = "## Event detection"
_EVENTS_BEFORE = "## When it says that something happened"  # the same heading in cards of older versions
_LIMITS = "## What it is not for"
_TEMPLATE = """# {name}

A convolutional network that classifies sounds into {n_labels} labels: {labels}.
After Mitchell et al., "Model Cards for Model Reporting", FAT* 2019.

## Input
Recordings at any sample rate, bit depth and channel count, converted to {sample_rate:,} Hz mono. Windows of
{window_s:g} s, one every {hop_s:g} s, as {kind} features of shape {shape}. The score of a recording is the softmax of
the mean log-probability of its windows. Recordings that never exceed {silence:g} dBFS are silent and get no label.

## The network
`{notation}`: {n_params:,} parameters, {multiply_adds:,} multiply-adds per window.

## Training data
{about}{counts}
{domain}Training windows: {n_windows:,}. Class weights: {weights}.
{stopped}
Each group of recordings is in one part only: training, validation or test.

## Accuracy
{evaluated_on}: recording accuracy {recording_accuracy:.3f}, window accuracy {window_accuracy:.3f}.
Rely on the results of `audiocnn evaluate` on the test part.

{decided}
## What it is not for
{forced} Accuracy may be much lower for
recordings from other microphones, rooms or sources: evaluate the model on your own recordings before you rely on it.
"""


def render(
    *,
    name: str,
    about: str,
    labels: Sequence[str],
    spec: FeatureSpec,
    architecture: Architecture,
    training: Mapping[str, Any],
    metrics: Mapping[str, Any],
    counts: Mapping[str, Mapping[str, int]],
    decision: Mapping[str, Any] | None,
    temperature: float,
    domain: Mapping[str, Any] | None = None,
) -> str:
    """Return the card; ``about`` describes the recordings, ``counts`` are the recordings by part and label."""
    ((part, figures),) = metrics.items()
    stopped = f"Training ended after {len(training['history'])} epochs and keeps epoch {training['best_epoch']}"
    if part != "validation":
        stopped += ", the last; no part was set aside for validation."
        evaluated_on = "On the training recordings, so this does not predict the accuracy on others"
    elif training["monitor"] == "none":
        stopped += ", the last."
        evaluated_on = "On the validation part, which was used for neither training nor model selection"
    else:
        stopped += f", the best by {training['monitor']} on validation."
        evaluated_on = "On the validation part, which selected the epoch, so this is slightly optimistic"
    return _TEMPLATE.format(
        name=name,
        about=f"{about.strip()}\n\n" if about.strip() else "",
        n_labels=len(labels),
        labels=", ".join(labels),
        sample_rate=spec.sample_rate,
        window_s=spec.window_s,
        hop_s=spec.hop_s,
        kind=spec.kind,
        shape="×".join(map(str, spec.shape)),
        silence=spec.silence_dbfs,
        notation=architecture.notation,
        n_params=architecture.n_params,
        multiply_adds=architecture.multiply_adds,
        counts=_counts_table(labels, counts),
        domain=_domain_text(domain),
        n_windows=training["n_windows"],
        weights=", ".join(f"{label} {weight:.3g}" for label, weight in training["class_weights"].items()),
        stopped=stopped,
        evaluated_on=evaluated_on,
        decided=_decision_text(decision, temperature),
        forced=_forced_text(labels, decision),
        **figures,
    )


_ENSEMBLE_TEMPLATE = """# {name}

{n_members} convolutional networks that together classify sounds into {n_labels} labels: {labels}.
After Mitchell et al., "Model Cards for Model Reporting", FAT* 2019.

## Input
Recordings at any sample rate, bit depth and channel count. Each network makes windows of its own from them:

{members}

The score of a recording is the softmax of the weighted mean of the log-scores of the networks.

## Training data
{about}{counts}
{domain}
Each group of recordings is in one part only: training, validation or test. `members/` has a card of each network.

## Accuracy
{evaluated_on}: recording accuracy {recording_accuracy:.3f}, window accuracy {window_accuracy:.3f}.
Rely on the results of `audiocnn evaluate` on the test part.

{decided}
## What it is not for
{forced} Accuracy may be much lower for
recordings from other microphones, rooms or sources: evaluate the model on your own recordings before you rely on it.
"""


def render_ensemble(
    *,
    name: str,
    about: str,
    labels: Sequence[str],
    members: Mapping[str, tuple[FeatureSpec, Architecture, float]],
    metrics: Mapping[str, Any],
    counts: Mapping[str, Mapping[str, int]],
    decision: Mapping[str, Any] | None,
    temperature: float,
    domain: Mapping[str, Any] | None,
) -> str:
    """Return the card of a model with several networks; ``members`` have their features, layers and weights."""
    ((part, figures),) = metrics.items()
    rows = [
        "| network | windows | layers | parameters | multiply-adds per window | weight |",
        "|---|---|---|---|---|---|",
        *(
            f"| {member} | {spec.kind} {'×'.join(map(str, spec.shape))}, {spec.sample_rate:,} Hz, {spec.window_s:g} s, "
            f"one every {spec.hop_s:g} s | `{net.notation}` | {net.n_params:,} | {net.multiply_adds:,} | {weight:.3g} |"
            for member, (spec, net, weight) in members.items()
        ),
    ]
    evaluated_on = (
        "On the validation part, which was not trained on but may have selected epochs"
        if part == "validation"
        else "On the training recordings, so this does not predict the accuracy on others"
    )
    return _ENSEMBLE_TEMPLATE.format(
        name=name,
        n_members=len(members),
        n_labels=len(labels),
        labels=", ".join(labels),
        members="\n".join(rows),
        about=f"{about.strip()}\n\n" if about.strip() else "",
        counts=_counts_table(labels, counts),
        domain=_domain_text(domain),
        evaluated_on=evaluated_on,
        decided=_decision_text(decision, temperature),
        forced=_forced_text(labels, decision),
        **figures,
    )


def _forced_text(labels: Sequence[str], decision: Mapping[str, Any] | None) -> str:
    if decision is not None and decision["unknown"]:
        return "Sounds of other kinds often get one of the labels; only some are reported as unknown."
    return f"Every sound gets one of the {len(labels)} labels, even a sound of another kind."


def _counts_table(labels: Sequence[str], counts: Mapping[str, Mapping[str, int]]) -> str:
    parts = list(counts)
    table = [f"| label | {' | '.join(parts)} |", f"|---|{'---|' * len(parts)}"]
    for label in labels:
        untested = is_untested(label, counts)
        cells = ["not tested" if part == "test" and untested else str(counts[part].get(label, 0)) for part in parts]
        table.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(table) + "\n"


def add_operating_point(card: str, point: OperatingPoint) -> str:
    """Return the card with a section on event detection, which replaces any earlier one.

    The section comes before the one on what the model is not for, otherwise last.
    """
    before, heading, after = remove_operating_point(card).partition(_LIMITS)
    return f"{before.rstrip()}\n\n{_EVENTS}\n{_events_text(point)}\n{heading}{after}".rstrip() + "\n"


def remove_operating_point(card: str) -> str:
    """Return the card without a section on event detection."""
    return re.sub(rf"(?:{_EVENTS}|{_EVENTS_BEFORE})\n(?:(?!## ).*\n)*", "", card)


def _events_text(point: OperatingPoint) -> str:
    if point.background == "archive":
        return _reviewed_text(point)
    limit = f"{point.wanted_false_alarms:g} false alarm{'' if point.wanted_false_alarms == 1 else 's'} per hour"
    background = "coloured noise" if point.background == "noise" else "background recordings"
    low, high = point.snr_db
    lines = [
        f"Chosen by `audiocnn tune-events` for at most {limit} of each label: scores averaged over "
        f"{point.smooth_s:g} s, events of at least {point.min_duration_s:g} s. Measured in {point.hours:.2g} h of "
        f"{background}, with held-out sounds {low:g} to {high:g} dB above it (seed {point.seed}), none of "
        "which was used to choose it:",
        *(
            f"* {label}, from a score of {point.thresholds[label]:g}: {one.n_found} of {one.n_events} found (recall "
            f"{one.recall:.3f}), {one.false_alarms_per_hour:.3g} false alarms per hour."
            if label in point.thresholds
            else f"* {label}: no threshold, as {one.n_found} of {one.n_events} were found; it keeps its default."
            for label, one in point.measured.items()
        ),
    ]
    return "\n".join(lines) + "\n"


def _reviewed_text(point: OperatingPoint) -> str:
    lines = [
        f"Chosen by `audiocnn review` from the answers of a person about clips from {point.hours:.2g} h of recordings. "
        "Figures are estimates for these recordings:",
        *(
            f"* {label}, from a score of {threshold:g}: recall {point.measured[label].recall:.3f}, "
            f"{point.measured[label].false_alarms_per_hour:.3g} false alarms per hour."
            for label, threshold in point.thresholds.items()
        ),
    ]
    return "\n".join(lines) + "\n"


def _domain_text(domain: Mapping[str, Any] | None) -> str:
    if domain is None:
        return ""
    level, noise, upper = (domain[name] for name in ("level_dbfs", "noise_db", "upper_hz"))
    lowest, highest = f"{upper['low']:,.0f}", f"{upper['high']:,.0f}"
    upper_hz = highest if lowest == highest else f"{lowest} to {highest}"
    return (
        f"98 % of the training recordings have a level of {level['low']:.0f} to {level['high']:.0f} dBFS, a noise "
        f"floor at least {-noise['high']:.0f} dB below it, and frequencies up to {upper_hz} Hz.\n"
    )


def _decision_text(decision: Mapping[str, Any] | None, temperature: float) -> str:
    if decision is None:
        return "The scores are not calibrated: no recordings were held out for it.\n"
    where = "the validation part" if decision["fitted_on"] == "validation" else "folds of training and validation"
    fitted_on = f"{clause(decision['n_recordings'], 'recording', 'recordings')} in "
    lines = [
        "## How scores become decisions",
        f"Fitted on {where}: {fitted_on}{clause(decision['n_groups'], 'group', 'groups')}.",
        f"* Temperature {temperature:.3g}: divides the logits, so that scores are probabilities.",
        f"* The label set of a recording has the labels with a score of at least {decision['set_floor']:.3g}, and "
        f"contains {describe_label_sets(decision['coverage'], decision['n_groups'])}.",
    ]
    if decision["unknown"]:
        lines.append(
            f"* A recording with a resemblance to the training recordings below {decision['familiar_floor']:.3f} is "
            f"unknown, as are {decision['unknown']:.0%} of the recordings of known labels."
        )
    for name, value in decision["wanted"].items():
        thresholds = ", ".join(f"{label} {threshold:.3g}" for label, threshold in decision["thresholds"].items())
        lines.append(f"* Thresholds for a {name} of {value:g}: {thresholds}.")
    return "\n".join(lines) + "\n"
