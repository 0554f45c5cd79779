"""Whether sounds of labels that a network never heard are noticed: networks trained without some of the labels."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiocnn.errors import ConfigError, needs_extra
from audiocnn.evaluation import calibration, intervals
from audiocnn.labels import Labels
from audiocnn.model import notation
from audiocnn.model.decision import resemblance
from audiocnn.specs import EvaluateSpec
from audiocnn.studies.context import StudyContext, groups_of
from audiocnn.text import printable

_ROUNDS = 5  # in which other labels are left out

Array = NDArray[np.float64]
Names = NDArray[np.str_]


def open_set(course: StudyContext, temperature: float, kept: float) -> dict[str, Any]:
    """Return what the block unknown says of labels left out: whether their recordings resemble what was learned less.

    In every round a network learns without some of the labels, and is asked about test recordings of the others and
    about all recordings of those left out. ``rejected`` is the share of these below what keeps a share ``kept`` of
    known ones.
    """
    task, parts = course.task, course.parts
    everything = [r for part in parts.values() for r in part]
    rounds, pooled = [], []
    rounds_of_labels = _left_out(task.labels, course.spec.seed)
    for number, left_out in enumerate(rounds_of_labels, start=1):
        known = Labels(tuple(label for label in task.labels if label not in left_out))
        net = notation.parse(task.net.notation, input_shape=task.net.input_shape, n_labels=len(known))
        if len(known) == 2:
            known = replace(known, positive=known[0])
        without = replace(task, labels=known, net=net, recordings=[r for r in everything if r.label in known])
        named = printable(", ".join(left_out))
        course.progress.info(f"study unknown: {number} of {len(rounds_of_labels)}, without {named}")
        strangers = [r for r in everything if r.label in left_out]
        judged = course.judge(
            f"unknown-{number}",
            without,
            course.spec,
            train=[r for r in parts["train"] if r.label in known],
            held_out=[*(r for r in parts["test"] if r.label in known), *strangers],
            with_typical=True,
        )
        assert judged.typical is not None
        alike = np.array(
            [
                resemblance(calibration.scale_scores(p.scores, temperature), p.embedding, judged.typical)
                for p in judged.predictions
            ]
        )
        of_known, of_strangers = alike[: -len(strangers)], alike[-len(strangers) :]
        groups = groups_of(task, [r for r in parts["test"] if r.label in known])
        floor = calibration.group_quantile(of_known, np.unique(groups, return_inverse=True)[1], share=1 - kept)
        rejected = of_strangers < (-1.0 if floor is None else floor)
        rounds.append(
            {
                "labels": list(left_out),
                "auroc": _auroc(of_known, of_strangers),
                "rejected": float(rejected.mean()),
                "n_unknown": len(strangers),
                "n_known": len(of_known),
            }
        )
        names = np.array(groups_of(task, strangers), dtype=object).astype(str)
        pooled.append((of_known, np.array(groups).astype(str), of_strangers, names))
    return {"auroc": _pooled_auroc(pooled, course.evaluate), "left_out": rounds}


def _left_out(labels: Sequence[str], seed: int) -> list[tuple[str, ...]]:
    """Labels dealt to rounds at random, each left out once; at least two are always left in."""
    if len(labels) < 3:
        raise ConfigError("study unknown: with two labels none can be left out; remove it from evaluate.studies")
    shuffled = np.random.default_rng([seed, 3]).permutation(len(labels))
    n_rounds = max(min(_ROUNDS, len(labels)), -(-len(labels) // (len(labels) - 2)))
    return [tuple(sorted(labels[i] for i in shuffled[k::n_rounds])) for k in range(n_rounds)]


def _auroc(known: Array, strangers: Array) -> float:
    with needs_extra("train"):
        from sklearn.metrics import roc_auc_score

    is_known = np.concatenate([np.ones(len(known)), np.zeros(len(strangers))])
    return float(roc_auc_score(is_known, np.concatenate([known, strangers])))


def _pooled_auroc(
    rounds: Sequence[tuple[Array, Names, Array, Names]],
    settings: EvaluateSpec,
) -> dict[str, Any]:
    """The mean over rounds, and its interval when groups are drawn anew."""
    names = sorted({name for _, known, _, strangers in rounds for name in (*known, *strangers)})
    index = {name: i for i, name in enumerate(names)}
    wins = []  # of each round: how often a known recording of one group resembles more than a stranger of another
    for known, known_groups, strangers, stranger_groups in rounds:
        better = (known[:, None] > strangers[None, :]) + 0.5 * (known[:, None] == strangers[None, :])
        rows = np.array([index[name] for name in known_groups])
        columns = np.array([index[name] for name in stranger_groups])
        wins.append((better, rows, columns))

    def figures(draws: Array) -> Array:
        found = []
        for better, rows, columns in wins:
            of_known, of_strangers = draws[:, rows], draws[:, columns]
            with np.errstate(divide="ignore", invalid="ignore"):
                pairs = of_known.sum(axis=1) * of_strangers.sum(axis=1)
                found.append(((of_known @ better) * of_strangers).sum(axis=1) / pairs)
        return np.asarray(np.mean(found, axis=0)[:, None])

    value = float(figures(np.ones((1, len(names))))[0, 0])
    errors = intervals.standard_errors(
        figures, n_groups=len(names), bootstrap=min(settings.bootstrap, 500), seed=settings.seed, width=len(names)
    )
    return {"value": value, "ci95": intervals.share_interval(value, float(errors[0]), np.ones(len(names)))}
