"""The model card that lies in every bundle: what the model is, what it was trained on, how good it is, in Markdown."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from audiocnn.model.notation import Architecture
from audiocnn.model.operating_point import OperatingPoint
from audiocnn.specs import FeatureSpec

_EVENTS = "## When it says that something happened"
_TEMPLATE = """# {name}

A convolutional network that tells {n_labels} labels of sound apart: {labels}.
After Mitchell et al., "Model Cards for Model Reporting", FAT* 2019.

## What it hears
Recordings at any rate, depth and channel count, brought to {sample_rate:,} Hz mono. Windows of {window_s:g} s, one
every {hop_s:g} s, as {kind} features of shape {shape}. A recording's score is the softmax of the mean log-probability
of its windows. Recordings that never exceed {silence:g} dBFS are called silent and get no label.

## The network
`{notation}`: {n_params:,} parameters, {multiply_adds:,} multiply-adds a window.

## What it was trained on
{about}{counts}
{domain}Windows in training: {n_windows:,}. Class weights: {weights}.
{stopped}
Whole groups of recordings were dealt to training, validation and test, so none of them is on two sides.

## How good it is
{flattering}: recording accuracy {recording_accuracy:.3f}, window accuracy {window_accuracy:.3f}.
The figures that count are those of `audiocnn evaluate` on the test part.

{decided}
## What it is not for
{forced} Recordings made with other
microphones, rooms or sources than those above may be labelled much less well: evaluate on your own before you rely
on it.
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
    """Return the card; ``about`` is what the user says of the recordings, ``counts`` are theirs by part and label."""
    ((judged, figures),) = metrics.items()
    stopped = f"Training ended after {len(training['history'])} epochs and keeps epoch {training['best_epoch']}"
    if judged != "validation":
        stopped += ", the last; no part was set aside for validation."
        flattering = "On the very recordings it learned from, which says nothing about others"
    elif training["monitor"] == "none":
        stopped += ", the last."
        flattering = "On the validation part, which it did not learn from and which chose nothing"
    else:
        stopped += f", the best by {training['monitor']} on validation."
        flattering = "On the validation part, which chose the epoch and therefore flatters a little"
    forced = f"Every sound is given one of the {len(labels)} labels, also a sound that is none of them."
    if decision is not None and decision["unknown"]:
        forced = "Sounds that are none of the labels are often given one all the same; only some are called unknown."
    parts = list(counts)
    table = [f"| label | {' | '.join(parts)} |", f"|---|{'---|' * len(parts)}"]
    table += [f"| {label} | {' | '.join(str(counts[part].get(label, 0)) for part in parts)} |" for label in labels]
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
        counts="\n".join(table) + "\n",
        domain=_domain(domain),
        n_windows=training["n_windows"],
        weights=", ".join(f"{label} {weight:.3g}" for label, weight in training["class_weights"].items()),
        stopped=stopped,
        flattering=flattering,
        decided=_decided(decision, temperature),
        forced=forced,
        **figures,
    )


def add_operating_point(card: str, point: OperatingPoint) -> str:
    """Return a card that says when windows are an event, in the place of what it said about that before.

    The part comes before the one on what the model is not for, if there is that, else last.
    """
    card = re.sub(rf"{_EVENTS}\n(?:(?!## ).*\n)*", "", card)
    before, heading, after = card.partition("## What it is not for")
    return f"{before.rstrip()}\n\n{_EVENTS}\n{_rehearsed(point)}\n{heading}{after}".rstrip() + "\n"


def _rehearsed(point: OperatingPoint) -> str:
    wanted = f"{point.wanted_false_alarms:g} false alarm{'' if point.wanted_false_alarms == 1 else 's'} an hour"
    behind = "coloured noise" if point.background == "noise" else "recordings of background"
    low, high = point.snr_db
    lines = [
        f"Chosen by `audiocnn tune-events` for at most {wanted} of each label: "
        f"scores averaged over {point.smooth_s:g} s, events of at least {point.min_duration_s:g} s. In "
        f"{point.hours:.2g} h of {behind}, with held-out sounds {low:g} to {high:g} dB above it (seed {point.seed}), "
        "none of which took part in choosing:",
        *(
            f"* {label}, from a score of {point.thresholds[label]:g} on: {one.n_found} of {one.n_events} found (recall "
            f"{one.recall:.3f}), {one.false_alarms_per_hour:.3g} false alarms an hour."
            for label, one in point.measured.items()
        ),
    ]
    return "\n".join(lines) + "\n"


def _domain(domain: Mapping[str, Any] | None) -> str:
    if domain is None:
        return ""
    level, noise, upper = (domain[name] for name in ("level_dbfs", "noise_db", "upper_hz"))
    lowest, highest = f"{upper['low']:,.0f}", f"{upper['high']:,.0f}"
    reach = highest if lowest == highest else f"{lowest} to {highest}"
    return (
        f"98 % of the training recordings have a level of {level['low']:.0f} to {level['high']:.0f} dBFS, a noise "
        f"floor {-noise['high']:.0f} dB or more below it, and reach up to {reach} Hz.\n"
    )


def _decided(decision: Mapping[str, Any] | None, temperature: float) -> str:
    if decision is None:
        return "Its scores are not calibrated: no recordings were held out to do so.\n"
    where = "the validation part" if decision["fitted_on"] == "validation" else "folds of training and validation"
    lines = [
        "## How scores become decisions",
        f"Fitted on {where}: {decision['n_recordings']} recordings in {decision['n_groups']} groups.",
        f"* Temperature {temperature:.3g}: logits are divided by it, so that scores are probabilities.",
        f"* A label is in a recording's set from a score of {decision['set_floor']:.3g} on, so that sets hold the true "
        f"one in {decision['coverage']:.0%} of recordings.",
    ]
    if decision["unknown"]:
        lines.append(
            f"* A recording that resembles what was learned less than {decision['familiar_floor']:.3f} is unknown, as "
            f"are {decision['unknown']:.0%} of known ones."
        )
    for name, value in decision["wanted"].items():
        thresholds = ", ".join(f"{label} {threshold:.3g}" for label, threshold in decision["thresholds"].items())
        lines.append(f"* Thresholds for a {name} of {value:g}: {thresholds}.")
    return "\n".join(lines) + "\n"
