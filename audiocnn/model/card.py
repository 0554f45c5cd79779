"""The model card that lies in every bundle: what the model is, what it was trained on, how good it is, in Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from audiocnn.model.architecture import Architecture
from audiocnn.specs import FeatureSpec

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
Windows in training: {n_windows:,}. Class weights: {weights}.
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


def text(
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
        n_windows=training["n_windows"],
        weights=", ".join(f"{label} {weight:.3g}" for label, weight in training["class_weights"].items()),
        stopped=stopped,
        flattering=flattering,
        decided=_decided(decision, temperature),
        forced=forced,
        **figures,
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
