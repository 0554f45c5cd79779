"""Study learning-curve: accuracy of networks trained on fewer recordings and fewer windows, and an extrapolation."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiocnn.dataset.manifest import Recording
from audiocnn.evaluation import intervals
from audiocnn.inference.prediction import RecordingPrediction
from audiocnn.studies.context import StudyContext, groups_of

AHEAD = (1.25, 1.5, 2.0)  # times the present number of recordings; further extrapolation is guessing
MORE = 20  # recordings of one label
_FLAT = 0.01  # of accuracy or recall; a smaller gain is not mentioned
_STEEPEST = 1.0  # largest power of the number of recordings with which errors fall

Array = NDArray[np.float64]


@dataclass(frozen=True)
class LearningCurvePoint:
    """Test predictions of a network that was trained on ``n_recordings`` with ``n_windows``."""

    n_recordings: int
    n_windows: int
    predictions: Sequence[RecordingPrediction]


def learning_curve_block(
    points: Sequence[LearningCurvePoint],
    half: LearningCurvePoint | None,
    *,
    truth: Sequence[str],
    groups: Sequence[str],
    learned: Mapping[str, int],
    bootstrap: int,
    seed: int,
) -> dict[str, Any]:
    """Return the block learning_curve of ``metrics.json``.

    ``points`` are in rising order; the last one is the model itself. ``half`` was trained on half the windows of all
    recordings. ``learned`` is the number of training recordings of each label. Errors are assumed to fall with a power
    of the number of recordings (Hestness et al., "Deep learning scaling is predictable, empirically",
    2017). Intervals resample the groups of the test recordings, the same ones for all points.
    """
    group = np.unique(groups, return_inverse=True)[1]
    n_of = np.bincount(group).astype(np.float64)
    right = np.stack([np.bincount(group, weights=_right(p, truth), minlength=len(n_of)) for p in points])
    sizes = np.array([p.n_recordings for p in points], float)
    ahead = np.round(sizes[-1] * np.array(AHEAD))

    def figures(draws: Array) -> Array:
        n = (draws @ n_of)[:, None]
        correct = draws @ right.T
        fitted = _fit(sizes, (n - correct + 0.5) / (n + 1))
        looked = [1 - _errors(fitted, size) for size in ahead]
        return np.concatenate([correct / n, np.stack(looked, axis=1), fitted[:, 1:]], axis=1)

    values = figures(np.ones((1, len(n_of))))[0]
    errors = intervals.standard_errors(figures, n_groups=len(n_of), bootstrap=bootstrap, seed=seed, width=len(values))
    shares = [
        {"value": float(value), "ci95": intervals.share_interval(float(value), float(error), n_of)}
        for value, error in zip(values[:-1], errors[:-1], strict=True)
    ]
    power = round(float(values[-1]), 9)  # more digits are rounding errors
    known = len(points) > 1 and power - 2 * float(errors[-1]) > 0
    found: dict[str, Any] = {
        "points": [
            {"n_recordings": p.n_recordings, "n_windows": p.n_windows, "accuracy": share}
            for p, share in zip(points, shares, strict=False)
        ],
        "fit": {
            "asymptote": None,  # cannot be estimated from so few points
            "power": power,
            "falls": known,
            "at": [
                {"n_recordings": int(n), "accuracy": share}
                for n, share in zip(ahead, shares[len(points) :], strict=True)
            ],
        }
        if len(points) > 1
        else None,
        "windows": None if half is None else _windows_block(points[-1], half, truth, group, n_of, bootstrap, seed),
        "labels": {
            label: {
                "points": [[p.n_recordings, _recall(p, truth, label)] for p in points],
                "gain_per_20": _gain(points[-1], truth, label, n, power) if known else None,
            }
            for label, n in learned.items()
        },
    }
    return {**found, "advice": _advice(found, known)}


def _fit(sizes: Array, errors: Array) -> Array:
    """Return the logarithm of the error at size 1 and the power with which it falls, (n, 2), by least squares."""
    x = np.log(sizes) - np.log(sizes).mean()
    y = np.log(errors)
    spread = float((x**2).sum())
    power = np.clip(-(y @ x) / spread if spread else np.zeros(len(y)), 0, _STEEPEST)
    return np.stack([y.mean(axis=1) + power * np.log(sizes).mean(), power], axis=1)


def _errors(fitted: Array, size: float) -> Array:
    return np.asarray(np.exp(fitted[:, 0] - fitted[:, 1] * np.log(size)))


def _right(point: LearningCurvePoint, truth: Sequence[str]) -> Array:
    return np.array([p.label == t for p, t in zip(point.predictions, truth, strict=True)], float)


def _recall(point: LearningCurvePoint, truth: Sequence[str], label: str) -> float | None:
    of_label = [p.label == t for p, t in zip(point.predictions, truth, strict=True) if t == label]
    return float(np.mean(of_label)) if of_label else None


def _gain(point: LearningCurvePoint, truth: Sequence[str], label: str, n: int, power: float) -> float | None:
    """Return the gain in recall of a label with `MORE` recordings of it, if its error falls as that of all labels."""
    right = [p.label == t for p, t in zip(point.predictions, truth, strict=True) if t == label]
    missed = (len(right) - sum(right) + 0.5) / (len(right) + 1)  # even if all are right, some could be missed
    return missed * (1 - ((n + MORE) / n) ** -power) if right else None


def _windows_block(
    every: LearningCurvePoint,
    half: LearningCurvePoint,
    truth: Sequence[str],
    group: NDArray[np.intp],
    n_of: Array,
    bootstrap: int,
    seed: int,
) -> dict[str, Any]:
    both = np.stack([np.bincount(group, weights=_right(p, truth), minlength=len(n_of)) for p in (half, every)])

    def figures(draws: Array) -> Array:
        accuracy = (draws @ both.T) / (draws @ n_of)[:, None]
        return np.concatenate([accuracy, accuracy[:, 1:] - accuracy[:, :1]], axis=1)

    values = figures(np.ones((1, len(n_of))))[0].tolist()
    errors = intervals.standard_errors(figures, n_groups=len(n_of), bootstrap=bootstrap, seed=seed)
    ends = [intervals.share_interval(v, float(e), n_of) for v, e in zip(values[:2], errors[:2], strict=True)]
    ends.append(intervals.difference_interval(values[2], float(errors[2]), n_of))
    return {
        name: {"value": value, "ci95": its}
        for name, value, its in zip(("half", "all", "difference"), values, ends, strict=True)
    }


def _advice(found: Mapping[str, Any], known: bool) -> list[str]:
    """Sentences on what would help, and on what is not known."""
    sentences = []
    gains = {label: row["gain_per_20"] for label, row in found["labels"].items() if row["gain_per_20"]}
    most = max(gains.values(), default=0.0)
    if not known:
        sentences.append("There are too few test recordings to tell whether more recordings would help.")
    elif most >= _FLAT:
        best = [label for label, gain in gains.items() if gain > most - _FLAT]
        named = best[0] if len(best) == 1 else f"each of {', '.join(best[:-1])} and {best[-1]}"
        sentences.append(
            f"{MORE} more recordings of {named} would help most: perhaps {100 * most:.0f} points of recall."
        )
    if known:
        twice = found["fit"]["at"][-1]
        sentences.append(
            f"With twice the recordings ({twice['n_recordings']:,}) about {100 * twice['accuracy']['value']:.0f} % "
            "would be right."
        )
    if found["windows"] is not None:
        low, high = found["windows"]["difference"]["ci95"]
        if low is not None and low > 0:
            sentences.append("More windows of the same recordings help too.")
        elif high is not None and high < 0.1:
            sentences.append("More windows of the same recordings would not help.")
        else:
            sentences.append("Whether more windows of the same recordings would help cannot be told.")
    return sentences


_SHARES = (0.25, 0.5, 0.75)  # of the training recordings
_MOST_EPOCHS = 4  # times those of the training, where recordings are fewer


def learning_curve_of(context: StudyContext, predictions: Sequence[RecordingPrediction]) -> dict[str, Any]:
    """Return the block learning_curve: the accuracy of networks trained on fewer recordings, or on fewer windows.

    ``predictions`` are those of the model itself for the test part. With fewer recordings there are more epochs, so
    that the number of steps is the same.
    """
    task, parts, spec = context.task, context.parts, context.spec
    train, test = parts["train"], parts["test"]
    order = _in_turn(train, groups_of(task, train), spec.seed)
    points = []
    for share in _SHARES:
        some = _first(order, round(share * len(train)))
        if {r.label for r in some} != set(task.labels) or len(some) == len(train):
            continue
        ratio = min(_MOST_EPOCHS, len(train) / len(some))
        longer = {"epochs": round(spec.epochs * ratio), "patience": round(spec.patience * ratio)}
        context.progress.info(f"study learning-curve: {len(some)} of {len(train)} recordings")
        name = f"learning-curve-{len(some)}"
        held_out = context.train_and_predict(name, task, spec.model_copy(update=longer), train=some, held_out=test)
        points.append(LearningCurvePoint(len(some), len(task.windows(some)), held_out.predictions))
    n_windows = len(task.windows(train))
    points.append(LearningCurvePoint(len(train), n_windows, predictions))
    context.progress.info("study learning-curve: half of the windows")
    half, _ = task.windows(train, augmented=True).split_randomly(0.5, np.random.default_rng([spec.seed, 5]))
    held_out = context.train_and_predict("learning-curve-half", task, spec, train=half, held_out=test)
    return learning_curve_block(
        points,
        LearningCurvePoint(len(train), n_windows // 2, held_out.predictions),
        truth=[r.label for r in test],
        groups=groups_of(task, test),
        learned=Counter(r.label for r in train),
        bootstrap=context.evaluate.bootstrap,
        seed=context.evaluate.seed,
    )


def _in_turn(recordings: Sequence[Recording], groups: Sequence[str], seed: int) -> list[list[Recording]]:
    """Whole groups in random order, the labels taking turns."""
    members: dict[str, list[Recording]] = defaultdict(list)
    for recording, group in zip(recordings, groups, strict=True):
        members[group].append(recording)
    names = sorted(members)
    waiting: dict[str, list[list[Recording]]] = defaultdict(list)
    for i in np.random.default_rng([seed, 4]).permutation(len(names)):
        its = members[names[i]]
        waiting[its[0].label].append(its)
    sizes = {label: sum(map(len, of_label)) for label, of_label in waiting.items()}
    taken = dict.fromkeys(waiting, 0)
    order = []
    while any(waiting.values()):  # the label of which the smallest share has been taken is next
        label = min((one for one in waiting if waiting[one]), key=lambda one: (taken[one] / sizes[one], one))
        its = waiting[label].pop()
        taken[label] += len(its)
        order.append(its)
    return order


def _first(groups: Sequence[Sequence[Recording]], n: int) -> list[Recording]:
    """The recordings of the first groups, until there are ``n``."""
    found: list[Recording] = []
    for group in groups:
        if len(found) >= n:
            break
        found += group
    return found
