"""What to do next, in sentences computed from an evaluation."""

from audiocnn.results.evaluation import Evaluation
from audiocnn.results.report import verdict
from audiocnn.results.report.words import count, listed, quoted

_POOR_RECALL = 0.7  # below, more recordings of a label are asked for
_NAMED = 3  # labels that a sentence names


def sentences(evaluation: Evaluation) -> list[str]:
    """Return what to do next, the most useful first; empty if nothing was heard."""
    if not any(prediction.heard for prediction in evaluation.predictions):
        return []
    asked = (_repair, _relabel, _collect, _test_on_more, _calibrate)
    found = [ask(evaluation) for ask in asked]
    return [sentence for sentence in found if sentence] or [
        "Nothing stands out. Try it on recordings of another place or day, as that is where models most often fail."
    ]


def _repair(evaluation: Evaluation) -> str:
    n = sum(not prediction.heard for prediction in evaluation.predictions)
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
    poor = sorted(poor, key=lambda name: float(per_class[name]["recall"]))[:_NAMED]
    return f"Record more {listed([quoted(name) for name in poor])}, in other places and on other days than so far."


def _test_on_more(evaluation: Evaluation) -> str:
    low, high = evaluation.metrics["recording"]["accuracy"]["ci95"]
    n_groups = len(set(evaluation.groups))
    if n_groups >= verdict.FEW_GROUPS and low is not None and high - low <= verdict.WIDE:
        return ""
    return f"Test on more groups: {count(n_groups, 'group')} cannot say more exactly how good the model is."


def _calibrate(evaluation: Evaluation) -> str:
    if not verdict.scores_are_off(evaluation):
        return ""
    return "Do not read a score as a chance yet; compare scores with each other only."
