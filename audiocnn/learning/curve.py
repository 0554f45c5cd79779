"""What more recordings would bring: networks trained on fewer of them, and on fewer windows."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from audiocnn.dataset.manifest import Recording
from audiocnn.learning.study import Course, groups_of
from audiocnn.results import learning_curve
from audiocnn.results.aggregate import Prediction
from audiocnn.results.learning_curve import Point

_SHARES = (0.25, 0.5, 0.75)  # of the training recordings
_MOST_EPOCHS = 4  # times those of the training, where recordings are fewer


def learning_curve_of(course: Course, predictions: Sequence[Prediction]) -> dict[str, Any]:
    """Return the block learning_curve: how good networks are that learned from fewer recordings, or fewer windows.

    ``predictions`` are those of the model itself for the test part. With fewer recordings there are more epochs, so
    that as many steps are taken.
    """
    task, parts, spec = course.task, course.parts, course.spec
    train, test = parts["train"], parts["test"]
    order = _in_turn(train, groups_of(task, train), spec.seed)
    points = []
    for share in _SHARES:
        some = _first(order, round(share * len(train)))
        if {r.label for r in some} != set(task.labels) or len(some) == len(train):
            continue
        ratio = min(_MOST_EPOCHS, len(train) / len(some))
        longer = {"epochs": round(spec.epochs * ratio), "patience": round(spec.patience * ratio)}
        course.progress.say(f"study learning-curve: {len(some)} of {len(train)} recordings")
        name = f"learning-curve-{len(some)}"
        judged = course.judge(name, task, spec.model_copy(update=longer), train=some, held_out=test)
        points.append(Point(len(some), len(task.windows(some)), judged.predictions))
    n_windows = len(task.windows(train))
    points.append(Point(len(train), n_windows, predictions))
    course.progress.say("study learning-curve: half of the windows")
    half, _ = task.windows(train, copies=True).divided(0.5, np.random.default_rng([spec.seed, 5]))
    judged = course.judge("learning-curve-half", task, spec, train=half, held_out=test)
    return learning_curve.block(
        points,
        Point(len(train), n_windows // 2, judged.predictions),
        truth=[r.label for r in test],
        groups=groups_of(task, test),
        learned=Counter(r.label for r in train),
        bootstrap=course.evaluate.bootstrap,
        seed=course.evaluate.seed,
    )


def _in_turn(recordings: Sequence[Recording], groups: Sequence[str], seed: int) -> list[list[Recording]]:
    """Whole groups in an order in which every label takes its turn."""
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
    """The first groups, until they hold ``n`` recordings."""
    found: list[Recording] = []
    for group in groups:
        if len(found) >= n:
            break
        found += group
    return found
