"""Study unknown: whether sounds of labels that a network was not trained on are recognized as unknown."""

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

_ROUNDS = 5  # each leaves out other labels

Array = NDArray[np.float64]
Names = NDArray[np.str_]


def open_set(context: StudyContext, temperature: float, kept: float) -> dict[str, Any]:
    """Return the entries of the block unknown for labels left out: how well resemblance separates them.

    In every round a network is trained without some of the labels. It predicts test recordings of the other labels and
    all recordings of those left out. ``rejected`` is the share of the latter below the threshold that keeps a share
    ``kept`` of known recordings.
    """
    task, parts = context.task, context.parts
    everything = [r for part in parts.values() for r in part]
    rounds, pooled = [], []
    rounds_of_labels = _left_out(task.labels, context.spec.seed)
    for number, left_out in enumerate(rounds_of_labels, start=1):
        known = Labels(tuple(label for label in task.labels if label not in left_out))
        net = notation.parse_for(task.store.spec, task.net.notation, n_labels=len(known))
        if len(known) == 2:
            known = replace(known, positive=known[0])
        without = replace(task, labels=known, net=net, recordings=[r for r in everything if r.label in known])
        named = printable(", ".join(left_out))
        context.progress.info(f"study unknown: {number} of {len(rounds_of_labels)}, without {named}")
        unknown_recordings = [r for r in everything if r.label in left_out]
        held_out = context.train_and_predict(
            f"unknown-{number}",
            without,
            context.spec,
            train=[r for r in parts["train"] if r.label in known],
            held_out=[*(r for r in parts["test"] if r.label in known), *unknown_recordings],
            with_typical=True,
        )
        assert held_out.typical is not None
        resemblances = np.array(
            [
                resemblance(calibration.scale_scores(p.scores, temperature), p.embedding, held_out.typical)
                for p in held_out.predictions
            ]
        )
        of_known, of_unknown = resemblances[: -len(unknown_recordings)], resemblances[-len(unknown_recordings) :]
        groups = groups_of(task, [r for r in parts["test"] if r.label in known])
        floor = calibration.group_quantile(of_known, np.unique(groups, return_inverse=True)[1], share=1 - kept)
        rejected = of_unknown < (-1.0 if floor is None else floor)
        rounds.append(
            {
                "labels": list(left_out),
                "auroc": _auroc(of_known, of_unknown),
                "rejected": float(rejected.mean()),
                "n_unknown": len(unknown_recordings),
                "n_known": len(of_known),
            }
        )
        names = np.array(groups_of(task, unknown_recordings), dtype=object).astype(str)
        pooled.append((of_known, np.array(groups).astype(str), of_unknown, names))
    return {"auroc": _pooled_auroc(pooled, context.evaluate), "left_out": rounds}


def _left_out(labels: Sequence[str], seed: int) -> list[tuple[str, ...]]:
    """Assign labels to rounds at random, each left out once; at least two labels remain in every round."""
    if len(labels) < 3:
        raise ConfigError("study unknown: with two labels none can be left out; remove it from evaluate.studies")
    shuffled = np.random.default_rng([seed, 3]).permutation(len(labels))
    n_rounds = max(min(_ROUNDS, len(labels)), -(-len(labels) // (len(labels) - 2)))
    return [tuple(sorted(labels[i] for i in shuffled[k::n_rounds])) for k in range(n_rounds)]


def _auroc(known: Array, unknown: Array) -> float:
    with needs_extra("train"):
        from sklearn.metrics import roc_auc_score

    is_known = np.concatenate([np.ones(len(known)), np.zeros(len(unknown))])
    return float(roc_auc_score(is_known, np.concatenate([known, unknown])))


def _pooled_auroc(
    rounds: Sequence[tuple[Array, Names, Array, Names]],
    settings: EvaluateSpec,
) -> dict[str, Any]:
    """The mean over rounds, and its interval from resampled groups."""
    names = sorted({name for _, known, _, unknown in rounds for name in (*known, *unknown)})
    index = {name: i for i, name in enumerate(names)}
    wins = []  # by round: whether a known recording resembles the training recordings more than an unknown one
    for known, known_groups, unknown, unknown_groups in rounds:
        better = (known[:, None] > unknown[None, :]) + 0.5 * (known[:, None] == unknown[None, :])
        rows = np.array([index[name] for name in known_groups])
        columns = np.array([index[name] for name in unknown_groups])
        wins.append((better, rows, columns))

    def figures(draws: Array) -> Array:
        found = []
        for better, rows, columns in wins:
            of_known, of_unknown = draws[:, rows], draws[:, columns]
            with np.errstate(divide="ignore", invalid="ignore"):
                pairs = of_known.sum(axis=1) * of_unknown.sum(axis=1)
                found.append(((of_known @ better) * of_unknown).sum(axis=1) / pairs)
        return np.asarray(np.mean(found, axis=0)[:, None])

    value = float(figures(np.ones((1, len(names))))[0, 0])
    errors = intervals.standard_errors(
        figures, n_groups=len(names), bootstrap=min(settings.bootstrap, 500), seed=settings.seed, width=len(names)
    )
    return {"value": value, "ci95": intervals.share_interval(value, float(errors[0]), np.ones(len(names)))}
