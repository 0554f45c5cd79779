"""The verdict of an evaluation: sentences, headline figures and advice, computed from its metrics."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal

from audiocnn.evaluation import baseline, by_collection, by_member, by_repeat, decision_sentences
from audiocnn.report.evaluation.content import Evaluation
from audiocnn.wording import (
    NBSP,
    count,
    decimal,
    interval,
    join_names,
    no_interval,
    percent,
    percentage_points,
    percentage_points_interval,
    quoted,
)

WIDE = 0.25  # a wider interval gets a warning
FEW_GROUPS = 10  # with fewer, the interval itself is rough
_GOOD_ERROR = 0.1  # calibration error up to which scores are read as probabilities
_POOR_RECALL = 0.7  # below it, more recordings of a label are recommended
_MOST_NAMED = 3  # labels in a sentence


@dataclass(frozen=True)
class HeadlineFigure:
    """A number to print large; ``raw`` is its value, None if the data do not define it."""

    name: str
    value: str
    raw: float | None
    interval: str
    note: str


@dataclass(frozen=True)
class Mistake:
    """``n`` of the ``support`` recordings of label ``truth`` were predicted as ``predicted``; both are in quotes."""

    truth: str
    predicted: str
    n: int
    support: int


def sentences(evaluation: Evaluation) -> list[str]:
    """Return the verdict: the accuracy, the weakest label, missing predictions, and the results of studies."""
    if not evaluation.predictions:
        return [f"The part “{evaluation.part}” has no recordings, so there is nothing to evaluate."]
    if not any(prediction.has_scores for prediction in evaluation.predictions):
        return [_without_prediction(evaluation), "The model cannot be evaluated."]
    parts = (
        _overall,
        _better_than_baseline,
        _weakest,
        _collections,
        _members,
        _repeats,
        _untested,
        _without_prediction,
        _unknown_labels,
        _leak_gap,
        _calibration,
        _comparison,
        _caution,
    )
    found = [part(evaluation) for part in parts]
    return [sentence for sentence in found if sentence]


def _collections(evaluation: Evaluation) -> str:
    return by_collection.compare_collections(evaluation.metrics.get("collections", {}))


def _members(evaluation: Evaluation) -> str:
    return by_member.compare_members(evaluation.metrics.get("members", {}))


def _repeats(evaluation: Evaluation) -> str:
    return by_repeat.describe_repeats(evaluation.metrics.get("repeats", {}))


def _caution(evaluation: Evaluation) -> str:
    return evaluation.caution


def headline(evaluation: Evaluation) -> list[HeadlineFigure]:
    """Return the main figures."""
    recording, window = evaluation.metrics["recording"], evaluation.metrics["window"]
    n_groups = len(set(evaluation.groups))

    def figure_of(
        name: str, figure: dict[str, Any], written: Callable[[float | None], str], note: str
    ) -> HeadlineFigure:
        ends = interval(figure["ci95"], written) if _has_interval(figure["ci95"], n_groups) else ""
        if figure["value"] is not None and (n_groups < 2 or None in figure["ci95"]):
            note = f"{note}; {no_interval(n_groups)}"
        return HeadlineFigure(name, written(figure["value"]), figure["value"], ends, note)

    figures = [
        figure_of("Recording accuracy", recording["accuracy"], percent, _baseline(evaluation)),
        figure_of("Macro F1", recording["macro_f1"], decimal, "mean over the labels, all weighted equally"),
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
    """Return the confusions between labels, the most frequent first."""
    support = Counter(evaluation.truth)
    wrong = Counter(
        (truth, prediction.label)
        for prediction, truth in zip(evaluation.predictions, evaluation.truth, strict=True)
        if prediction.has_scores and prediction.label != truth
    )
    ordered = sorted(wrong.items(), key=lambda item: (-item[1], item[0]))
    return [Mistake(quoted(truth), quoted(label), n, support[truth]) for (truth, label), n in ordered[:limit]]


def _has_interval(ci95: Sequence[float | None], n_groups: int) -> bool:
    """Return whether there is an interval: not for one group, nor if all resamples give the same figure."""
    low, high = ci95
    return n_groups > 1 and low is not None and high is not None and low < high


def _overall(evaluation: Evaluation) -> str:
    n = len(evaluation.predictions)
    right = n - evaluation.n_wrong
    parts = {
        "test": f"test {_recordings(n)} that took no part in training",
        "validation": f"validation {_recordings(n)}, "
        + ("that chose the epoch to keep" if evaluation.chosen else "which took no part in training"),
        "train": f"{_recordings(n)} that the model was trained on",
        "crossval": f"{_recordings(n)}, each predicted by a network trained without it",
    }
    which = parts.get(evaluation.part, _recordings(n)) if evaluation.own_part else _recordings(n)
    accuracy = evaluation.metrics["recording"]["accuracy"]
    sentence = f"Of {n:,} {which}, {right:,} {'is' if right == 1 else 'are'} labelled correctly: "
    sentence += percent(accuracy["value"])
    n_groups = len(set(evaluation.groups))
    if n_groups < 2:
        return f"{sentence}. All are of one group, so there is no interval."
    if not _has_interval(accuracy["ci95"], n_groups):
        return f"{sentence}."
    low, high = accuracy["ci95"]
    sentence += f" (95{NBSP}% interval {interval(accuracy['ci95'], percent)})."
    if n_groups < FEW_GROUPS:
        sentence += f" With only {n_groups} independent groups, the interval itself is rough."
    elif high - low > WIDE:
        sentence += f" The interval is wide, because there are only {n_groups} independent groups."
    return sentence


def _better_than_baseline(evaluation: Evaluation) -> str:
    return baseline.compare_metrics(evaluation.metrics)


def _untested(evaluation: Evaluation) -> str:
    names = evaluation.metrics.get("untested", [])
    if not names:
        return ""
    shown = [quoted(name) for name in names[:_MOST_NAMED]]
    if len(names) > _MOST_NAMED:
        shown.append(count(len(names) - _MOST_NAMED, "other label"))
    are, their = ("is", "its") if len(names) == 1 else ("are", "their")
    return f"{join_names(shown)} {are} not tested, as {their} groups are all in the training part."


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
    errors = [prediction.label for prediction, truth in pairs if truth == label and prediction.label != label]
    if not errors:
        return ""
    how = "is missed most often" if len(weakest) == 1 else "is among those that are missed most often"
    if len(tested) == 1:
        how = "is missed"
    sentence = f"{quoted(label)} {how}: {len(errors):,} of {count(support, 'recording')} (recall {percent(recall)})"
    name, n = max(Counter(filter(None, errors)).items(), key=lambda item: item[1], default=("", 0))
    if n == len(errors):
        sentence += f", predicted as {quoted(name)}"
    elif n > 1:
        sentence += f", {n:,} of them predicted as {quoted(name)}"
    return sentence + "."


def _without_prediction(evaluation: Evaluation) -> str:
    found = Counter(p.recording_status.status for p in evaluation.predictions if not p.has_scores)
    if not found:
        return ""
    n = found.total()
    kinds = ", ".join(f"{found[kind]:,} {kind}" for kind in ("silent", "unreadable") if found[kind])
    verbs = ("has", "counts") if n == 1 else ("have", "count")
    return f"{count(n, 'recording')} {verbs[0]} no prediction ({kinds}) and {verbs[1]} as wrong."


def _unknown_labels(evaluation: Evaluation) -> str:
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
        return "A random split of single windows would not have given a clearly higher accuracy."
    return (
        f"A random split of single windows would have reported a window accuracy of {percent(accuracy['random'])} "
        f"instead of {percent(accuracy['grouped'])}; the figures here keep groups apart."
    )


def _calibration(evaluation: Evaluation) -> str:
    state = _calibration_state(evaluation)
    if not state:
        return ""
    error, perfect = (evaluation.metrics["recording"][key] for key in ("ece", "ece_perfect"))
    scores = "Its scores, calibrated on other recordings," if "calibration" in evaluation.metrics else "Its scores"
    harm = decision_sentences.harmful_calibration(evaluation.metrics)
    if state == "good":
        return (
            f"{scores} can be read as probabilities: of recordings with a score of 0.80, about 80{NBSP}% are correct. "
            f"{harm}"
        ).rstrip()
    if state == "unknown":
        return (
            f"There are too few recordings to tell whether its scores can be read as probabilities: they differ from "
            f"the share that is correct by {decimal(error)} on average, and chance alone explains up to "
            f"{decimal(perfect['ci95'][1])}. {harm}"
        ).rstrip()
    how = "too high" if _mean_score(evaluation) > _share_right(evaluation) else "too low"
    return (
        f"{scores} are {how} to be read as probabilities: they differ from the share that is correct by "
        f"{decimal(error)} on average, where chance alone explains {decimal(perfect['mean'])}. {harm}"
    ).rstrip()


def _calibration_state(evaluation: Evaluation) -> Literal["", "off", "good", "unknown"]:
    """Return whether the scores are off by more than chance explains, or good as far as the recordings can tell.

    With few recordings chance hides large errors: the state is unknown if a perfect model may have more than
    `_GOOD_ERROR`, or if the accuracy is not known to within as much. It is empty without scores.
    """
    recording = evaluation.metrics["recording"]
    perfect, error = recording.get("ece_perfect"), recording["ece"]
    if perfect is None or error is None or perfect["ci95"][1] is None:
        return ""
    if error > perfect["ci95"][1]:
        return "off"
    low, high = recording["accuracy"]["ci95"]
    known = perfect["ci95"][1] <= _GOOD_ERROR and low is not None and high - low <= 2 * _GOOD_ERROR
    return "good" if known else "unknown"


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
            f"It is not clearly better or worse than {quoted(block['other'])}: a difference of "
            f"{percentage_points(difference['value'])} points may be chance."
        )
    return f"Its accuracy is {apart} {'higher' if low > 0 else 'lower'} {than}."


def _baseline(evaluation: Evaluation) -> str:
    """The accuracy of the simplest model."""
    simplest = baseline.of_metrics(evaluation.metrics)
    return f"always predicting {quoted(simplest.label)} would give {percent(simplest.share)}" if simplest else ""


def _recordings(n: int) -> str:
    return "recording" if n == 1 else "recordings"


def advice(evaluation: Evaluation) -> list[str]:
    """Return what to do next, the most useful first; empty if there are no predictions."""
    if not any(prediction.has_scores for prediction in evaluation.predictions):
        return []
    parts = (_repair, _relabel, _collect, _test_on_more, _calibrate)
    found = [part(evaluation) for part in parts]
    return [sentence for sentence in found if sentence] or [
        "Nothing stands out. Try the model on recordings of another place or day, where models most often fail."
    ]


def _repair(evaluation: Evaluation) -> str:
    n = sum(not prediction.has_scores for prediction in evaluation.predictions)
    if not n:
        return ""
    have = "has" if n == 1 else "have"
    return f"Check why {count(n, 'recording')} {have} no prediction; the table of recordings gives the reasons."


def _relabel(evaluation: Evaluation) -> str:
    if not evaluation.suspects:
        return ""
    n = len(evaluation.suspects)
    which = "the recording whose label is" if n == 1 else f"the {n:,} recordings whose labels are"
    return (
        f"Listen to {which} most likely wrong and tick those that are: correct labels help both training and testing."
    )


def _collect(evaluation: Evaluation) -> str:
    """Which recordings to collect, by the learning curve or else by recall."""
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
    return f"Record more {join_names([quoted(name) for name in poor])}, in other places and on other days."


def _test_on_more(evaluation: Evaluation) -> str:
    low, high = evaluation.metrics["recording"]["accuracy"]["ci95"]
    n_groups = len(set(evaluation.groups))
    if n_groups >= FEW_GROUPS and low is not None and high - low <= WIDE:
        return ""
    return f"Test on more than {count(n_groups, 'group')} to measure the accuracy more precisely."


def _calibrate(evaluation: Evaluation) -> str:
    if _calibration_state(evaluation) != "off":
        return ""
    return "Do not read a score as a probability; only compare scores with each other."
