"""What an evaluation says, in a few sentences and figures computed from its numbers."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from audiocnn.results.evaluation import Evaluation
from audiocnn.results.report.words import NBSP, count, decimal, interval, percent

_WIDE = 0.2  # an interval wider than this is worth a warning


@dataclass(frozen=True)
class Figure:
    """One number to print large; ``raw`` is the number itself, None if the data do not define it."""

    name: str
    value: str
    raw: float | None
    interval: str
    note: str


@dataclass(frozen=True)
class Mistake:
    """``n`` of the ``support`` recordings of label ``truth`` were taken for ``said``."""

    truth: str
    said: str
    n: int
    support: int


def sentences(evaluation: Evaluation) -> list[str]:
    """Return the verdict: how many are right, which label is missed most, and what could not be judged."""
    if not evaluation.predictions:
        return [f"The part “{evaluation.part}” holds no recordings, so there is nothing to judge."]
    found = [_overall(evaluation), _weakest(evaluation), _not_heard(evaluation), _unknown(evaluation)]
    return [sentence for sentence in found if sentence]


def headline(evaluation: Evaluation) -> list[Figure]:
    """Return the figures that matter most."""
    recording, window = evaluation.metrics["recording"], evaluation.metrics["window"]
    figures = [
        _share("Recording accuracy", recording["accuracy"], _baseline(evaluation)),
        _share("Macro F1", recording["macro_f1"], "mean over the labels, each counting the same"),
        _share("Window accuracy", window["accuracy"], f"of {count(evaluation.metrics['n_windows'], 'window')}"),
    ]
    if evaluation.positive is not None and evaluation.truth:
        positive = f"“{evaluation.positive}”"
        share = percent(sum(t == evaluation.positive for t in evaluation.truth) / len(evaluation.truth))
        for name, key, note in (
            ("Average precision", "average_precision", f"for {positive}; guessing gives about {share}"),
            ("ROC AUC", "roc_auc", f"for {positive}; guessing gives 50{NBSP}%"),
        ):
            figures.append(_share(name, {"value": recording.get(key), "ci95": [None, None]}, note))
    return figures


def mistakes(evaluation: Evaluation, *, limit: int) -> list[Mistake]:
    """Return which label was taken for which, the commonest mistakes first."""
    support = Counter(evaluation.truth)
    wrong = Counter(
        (truth, prediction.label)
        for prediction, truth in zip(evaluation.predictions, evaluation.truth, strict=True)
        if prediction.heard and prediction.label != truth
    )
    ordered = sorted(wrong.items(), key=lambda item: (-item[1], item[0]))
    return [Mistake(truth, said, n, support[truth]) for (truth, said), n in ordered[:limit]]


def _share(name: str, figure: dict[str, Any], note: str) -> Figure:
    return Figure(name, percent(figure["value"]), figure["value"], interval(figure["ci95"]), note)


def _overall(evaluation: Evaluation) -> str:
    n = len(evaluation.predictions)
    right = n - evaluation.n_wrong
    which = {
        "test": f"test {_recordings(n)} that took no part in training",
        "validation": f"validation {_recordings(n)}, by which the training was stopped",
        "train": f"{_recordings(n)} that the model was trained on",
    }.get(evaluation.part, _recordings(n))
    accuracy = evaluation.metrics["recording"]["accuracy"]
    sentence = f"Of {n:,} {which}, {right:,} {'is' if right == 1 else 'are'} labelled right: {percent(accuracy['value'])}"
    n_groups = len(set(evaluation.groups))
    low, high = accuracy["ci95"]
    if n_groups < 2 or low is None:
        return f"{sentence}. They are all of one group, so no interval can be given."
    sentence += f" (95{NBSP}% interval {interval(accuracy['ci95'])})."
    if high - low > _WIDE:
        sentence += f" The interval is wide because there are only {n_groups} independent groups to judge by."
    return sentence


def _weakest(evaluation: Evaluation) -> str:
    if not evaluation.n_wrong:
        return "No label is ever missed."
    per_class = evaluation.metrics["per_class"]
    tested = [label for label in evaluation.labels if per_class[label]["support"]]
    if not tested:
        return ""
    label = min(tested, key=lambda name: (per_class[name]["recall"], -per_class[name]["support"]))
    support = per_class[label]["support"]
    pairs = zip(evaluation.predictions, evaluation.truth, strict=True)
    said = [prediction.label for prediction, truth in pairs if truth == label and prediction.label != label]
    if not said:
        return ""
    often = "is missed most often" if len(tested) > 1 else "is missed"
    sentence = f"{label} {often}: {len(said):,} of {count(support, 'recording')}"
    sentence += f" (recall {percent(per_class[label]['recall'])})"
    taken = Counter(name for name in said if name).most_common(1)
    if taken:
        name, n = taken[0]
        sentence += f", {n:,} of them taken for {name}" if n < len(said) else f", taken for {name}"
    return sentence + "."


def _not_heard(evaluation: Evaluation) -> str:
    found = Counter(p.account.status for p in evaluation.predictions if not p.heard)
    if not found:
        return ""
    n = found.total()
    kinds = ", ".join(f"{found[kind]:,} {kind}" for kind in ("silent", "unreadable") if found[kind])
    return f"{count(n, 'recording')} could not be heard ({kinds}) and {'counts' if n == 1 else 'count'} as wrong."


def _unknown(evaluation: Evaluation) -> str:
    n = sum(truth not in evaluation.labels for truth in evaluation.truth)
    if not n:
        return ""
    return f"{count(n, 'recording')} {'has' if n == 1 else 'have'} a label that the model does not know."


def _baseline(evaluation: Evaluation) -> str:
    """What the simplest of all models would reach."""
    if not evaluation.truth:
        return ""
    label, n = Counter(evaluation.truth).most_common(1)[0]
    return f"always saying “{label}” would give {percent(n / len(evaluation.truth))}"


def _recordings(n: int) -> str:
    return "recording" if n == 1 else "recordings"
