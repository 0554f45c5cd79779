"""What an evaluation says, in a few sentences and figures computed from its numbers."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from audiocnn.report.evaluation.content import Evaluation
from audiocnn.wording import (
    NBSP,
    count,
    decimal,
    interval,
    join_names,
    percent,
    percentage_points,
    percentage_points_interval,
    quoted,
)

WIDE = 0.25  # an interval wider than this is worth a warning
FEW_GROUPS = 10  # fewer make the interval itself a rough one


@dataclass(frozen=True)
class HeadlineFigure:
    """One number to print large; ``raw`` is the number itself, None if the data do not define it."""

    name: str
    value: str
    raw: float | None
    interval: str
    note: str


@dataclass(frozen=True)
class Mistake:
    """``n`` of the ``support`` recordings of label ``truth`` were taken for ``said``; both are in quotes."""

    truth: str
    said: str
    n: int
    support: int


def sentences(evaluation: Evaluation) -> list[str]:
    """Return the verdict: how many are right, which label is missed most, what was not judged, what else is known."""
    if not evaluation.predictions:
        return [f"The part “{evaluation.part}” holds no recordings, so there is nothing to judge."]
    if not any(prediction.has_scores for prediction in evaluation.predictions):
        return [_not_heard(evaluation), "So there is nothing to say about the model."]
    asked = (_overall, _weakest, _not_heard, _unknown, _leak_gap, _believable, _comparison)
    found = [ask(evaluation) for ask in asked]
    return [sentence for sentence in found if sentence]


def headline(evaluation: Evaluation) -> list[HeadlineFigure]:
    """Return the figures that matter most."""
    recording, window = evaluation.metrics["recording"], evaluation.metrics["window"]
    n_groups = len(set(evaluation.groups))

    def figure_of(
        name: str, figure: dict[str, Any], written: Callable[[float | None], str], note: str
    ) -> HeadlineFigure:
        ends = interval(figure["ci95"], written) if _has_interval(figure["ci95"], n_groups) else ""
        return HeadlineFigure(name, written(figure["value"]), figure["value"], ends, note)

    figures = [
        figure_of("Recording accuracy", recording["accuracy"], percent, _baseline(evaluation)),
        figure_of("Macro F1", recording["macro_f1"], decimal, "mean over the labels, each counting the same"),
        figure_of(
            "Window accuracy", window["accuracy"], percent, f"of {count(evaluation.metrics['n_windows'], 'window')}"
        ),
    ]
    if evaluation.labels.positive is not None and evaluation.truth:
        positive = quoted(evaluation.labels.positive)
        share = decimal(sum(t == evaluation.labels.positive for t in evaluation.truth) / len(evaluation.truth))
        for name, key, note in (
            ("Average precision", "average_precision", f"for {positive}; guessing gives about {share}"),
            ("ROC AUC", "roc_auc", f"for {positive}; guessing gives about 0.50"),
        ):
            ci95 = recording.get("intervals", {}).get(key, [None, None])
            figures.append(figure_of(name, {"value": recording.get(key), "ci95": ci95}, decimal, note))
    return figures


def mistakes(evaluation: Evaluation, *, limit: int) -> list[Mistake]:
    """Return which label was taken for which, the commonest mistakes first."""
    support = Counter(evaluation.truth)
    wrong = Counter(
        (truth, prediction.label)
        for prediction, truth in zip(evaluation.predictions, evaluation.truth, strict=True)
        if prediction.has_scores and prediction.label != truth
    )
    ordered = sorted(wrong.items(), key=lambda item: (-item[1], item[0]))
    return [Mistake(quoted(truth), quoted(said), n, support[truth]) for (truth, said), n in ordered[:limit]]


def _has_interval(ci95: Sequence[float | None], n_groups: int) -> bool:
    """Tell whether resampling says anything: not of one group, nor where every resample gives the same."""
    low, high = ci95
    return n_groups > 1 and low is not None and high is not None and low < high


def _overall(evaluation: Evaluation) -> str:
    n = len(evaluation.predictions)
    right = n - evaluation.n_wrong
    parts = {
        "test": f"test {_recordings(n)} that took no part in training",
        "validation": f"validation {_recordings(n)}, "
        + ("by which the training was stopped" if evaluation.chosen else "which took no part in training"),
        "train": f"{_recordings(n)} that the model was trained on",
    }
    which = parts.get(evaluation.part, _recordings(n)) if evaluation.own_part else _recordings(n)
    accuracy = evaluation.metrics["recording"]["accuracy"]
    sentence = f"Of {n:,} {which}, {right:,} {'is' if right == 1 else 'are'} labelled right: "
    sentence += percent(accuracy["value"])
    n_groups = len(set(evaluation.groups))
    if n_groups < 2:
        return f"{sentence}. They are all of one group, so no interval can be given."
    if not _has_interval(accuracy["ci95"], n_groups):
        return f"{sentence}."
    low, high = accuracy["ci95"]
    sentence += f" (95{NBSP}% interval {interval(accuracy['ci95'], percent)})."
    if n_groups < FEW_GROUPS:
        sentence += f" With only {n_groups} independent groups to judge by, the interval itself is rough."
    elif high - low > WIDE:
        sentence += f" The interval is wide, as there are only {n_groups} independent groups to judge by."
    return sentence


def _weakest(evaluation: Evaluation) -> str:
    if not evaluation.n_wrong:
        return "No label is ever missed."
    per_class = evaluation.metrics["per_class"]
    tested = [label for label in evaluation.labels if per_class[label]["support"]]
    if not tested:
        return ""
    recall = min(per_class[name]["recall"] for name in tested)
    weakest = [name for name in tested if per_class[name]["recall"] == recall]
    label = max(weakest, key=lambda name: int(per_class[name]["support"]))
    support = per_class[label]["support"]
    pairs = zip(evaluation.predictions, evaluation.truth, strict=True)
    said = [prediction.label for prediction, truth in pairs if truth == label and prediction.label != label]
    if not said:
        return ""
    how = "is missed most often" if len(weakest) == 1 else "is among those that are missed most often"
    if len(tested) == 1:
        how = "is missed"
    sentence = f"{quoted(label)} {how}: {len(said):,} of {count(support, 'recording')} (recall {percent(recall)})"
    name, n = max(Counter(filter(None, said)).items(), key=lambda item: item[1], default=("", 0))
    if n == len(said):
        sentence += f", taken for {quoted(name)}"
    elif n > 1:
        sentence += f", {n:,} of them taken for {quoted(name)}"
    return sentence + "."


def _not_heard(evaluation: Evaluation) -> str:
    found = Counter(p.account.status for p in evaluation.predictions if not p.has_scores)
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


def _leak_gap(evaluation: Evaluation) -> str:
    block = evaluation.metrics.get("leak_gap")
    if block is None:
        return ""
    accuracy = block["window_accuracy"]
    low = accuracy["gap"]["ci95"][0]
    if accuracy["gap"]["value"] <= 0 or (low is not None and low <= 0):
        return "Dealing single windows at random would not have made it look clearly better."
    return (
        f"Had single windows been dealt at random, it would have seemed to label {percent(accuracy['random'])} of them "
        f"right instead of {percent(accuracy['grouped'])}; the figures here keep groups apart and are the honest ones."
    )


def _believable(evaluation: Evaluation) -> str:
    off = scores_are_off(evaluation)
    if off is None:
        return ""
    error, perfect = (evaluation.metrics["recording"][key] for key in ("ece", "ece_perfect"))
    scores = "Its scores, corrected on other recordings," if "calibration" in evaluation.metrics else "Its scores"
    if not off:
        return f"{scores} can be taken as chances: of all that score 0.80, about 80{NBSP}% should be right."
    how = "too high" if _mean_score(evaluation) > _share_right(evaluation) else "too low"
    return (
        f"{scores} are {how} to be taken as chances: they miss the share that is right by {decimal(error)} in the "
        f"mean, where chance explains {decimal(perfect['mean'])}."
    )


def scores_are_off(evaluation: Evaluation) -> bool | None:
    """Tell whether scores are further from the share that is right than chance explains; None if it is not known."""
    perfect, error = evaluation.metrics["recording"].get("ece_perfect"), evaluation.metrics["recording"]["ece"]
    if perfect is None or error is None or perfect["ci95"][1] is None:
        return None
    return bool(error > perfect["ci95"][1])


def _mean_score(evaluation: Evaluation) -> float:
    return fmean(p.score or 0.0 for p in evaluation.predictions if p.has_scores)


def _share_right(evaluation: Evaluation) -> float:
    pairs = zip(evaluation.predictions, evaluation.truth, strict=True)
    return fmean(prediction.label == truth for prediction, truth in pairs if prediction.has_scores)


def _comparison(evaluation: Evaluation) -> str:
    block = evaluation.metrics.get("comparison")
    if block is None:
        return ""
    difference = block["accuracy"]["difference"]
    low, high = difference["ci95"]
    apart = f"{abs(100 * difference['value']):.1f} points"
    than = f"than {quoted(block['other'])} (95{NBSP}% interval {percentage_points_interval(difference['ci95'])} points)"
    if low is None or low <= 0 <= high:
        return (
            f"It is not known to be better or worse than {quoted(block['other'])}: a difference of "
            f"{percentage_points(difference['value'])} points may be chance."
        )
    return f"It labels {apart} {'more' if low > 0 else 'fewer'} of the recordings right {than}."


def _baseline(evaluation: Evaluation) -> str:
    """What the simplest of all models would reach."""
    if not evaluation.truth:
        return ""
    label, n = Counter(evaluation.truth).most_common(1)[0]
    return f"always saying {quoted(label)} would give {percent(n / len(evaluation.truth))}"


def _recordings(n: int) -> str:
    return "recording" if n == 1 else "recordings"


_POOR_RECALL = 0.7  # below, more recordings of a label are asked for
_MOST_NAMED = 3  # labels that a sentence names


def advice(evaluation: Evaluation) -> list[str]:
    """Return what to do next, the most useful first; empty if nothing was heard."""
    if not any(prediction.has_scores for prediction in evaluation.predictions):
        return []
    asked = (_repair, _relabel, _collect, _test_on_more, _calibrate)
    found = [ask(evaluation) for ask in asked]
    return [sentence for sentence in found if sentence] or [
        "Nothing stands out. Try it on recordings of another place or day, as that is where models most often fail."
    ]


def _repair(evaluation: Evaluation) -> str:
    n = sum(not prediction.has_scores for prediction in evaluation.predictions)
    if not n:
        return ""
    return f"See why {count(n, 'recording')} could not be heard; the list is at the end of this page."


def _relabel(evaluation: Evaluation) -> str:
    if not evaluation.suspects:
        return ""
    n = len(evaluation.suspects)
    which = "the recording whose label is" if n == 1 else f"the {n:,} recordings whose labels are"
    return f"Listen to {which} most likely wrong and tick what is: a mended label helps learning and testing alike."


def _collect(evaluation: Evaluation) -> str:
    """What more recordings would help, by the learning curve or else by what is missed."""
    measured = evaluation.metrics.get("learning_curve", {}).get("advice", [])
    if measured:
        return str(measured[0])
    per_class = evaluation.metrics["per_class"]
    poor = [
        name for name in evaluation.labels if per_class[name]["support"] and per_class[name]["recall"] < _POOR_RECALL
    ]
    if not poor:
        return ""
    poor = sorted(poor, key=lambda name: float(per_class[name]["recall"]))[:_MOST_NAMED]
    return f"Record more {join_names([quoted(name) for name in poor])}, in other places and on other days than so far."


def _test_on_more(evaluation: Evaluation) -> str:
    low, high = evaluation.metrics["recording"]["accuracy"]["ci95"]
    n_groups = len(set(evaluation.groups))
    if n_groups >= FEW_GROUPS and low is not None and high - low <= WIDE:
        return ""
    return f"Test on more groups: {count(n_groups, 'group')} cannot say more exactly how good the model is."


def _calibrate(evaluation: Evaluation) -> str:
    if not scores_are_off(evaluation):
        return ""
    return "Do not read a score as a chance yet; compare scores with each other only."
