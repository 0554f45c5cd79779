"""Study leak-gap: the accuracy that a random split of windows would claim, measured with the same network."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiocnn.evaluation import intervals
from audiocnn.evaluation.comparison import count_correct
from audiocnn.features.windows import Windows
from audiocnn.inference.scoring import Classifier, log_scores
from audiocnn.studies.context import StudyContext, groups_of
from audiocnn.training import checkpoint, train_model
from audiocnn.training.checkpoint import Checkpoint


def leak_gap(context: StudyContext, model: Classifier) -> dict[str, Any]:
    """Return the block leak_gap: the window accuracy that a random split of windows claims, and that of the test part.

    A network like ``model`` is trained on as many windows, drawn at random from all recordings, and tested on other
    windows of the same recordings. Windows that are too quiet to count are left out. The tracks of a window have one
    prediction together, as in ``evaluate``.
    """
    task, parts = context.task, context.parts
    n = {part: len(task.windows(parts[part])) for part in parts}
    right, group = _random_split(context, {part: count / sum(n.values()) for part, count in n.items()})
    windows = task.windows(parts["test"])
    logits = np.concatenate([model.runtime(X)[0] for X in windows.chunks()])
    predicted = _predicted(log_scores(logits, model.labels), windows)
    honest_right, honest_group = _by_window(predicted, windows, groups_of(task, parts["test"]))
    names = sorted({*group, *honest_group})
    grouped, claimed = count_correct(honest_right, honest_group, names), count_correct(right, group, names)

    def figures(draws: NDArray[np.float64]) -> NDArray[np.float64]:
        with np.errstate(divide="ignore", invalid="ignore"):
            accuracy = [draws @ one.right / (draws @ one.n) for one in (grouped, claimed)]
        return np.asarray((accuracy[1] - accuracy[0])[:, None])

    settings = context.evaluate
    errors = intervals.standard_errors(figures, n_groups=len(names), bootstrap=settings.bootstrap, seed=settings.seed)
    honest, flattering = (float(one.right.sum() / one.n.sum()) for one in (grouped, claimed))
    gap = flattering - honest
    return {
        "window_accuracy": {
            "grouped": honest,
            "random": flattering,
            "gap": {"value": gap, "ci95": intervals.difference_interval(gap, float(errors[0]), grouped.n)},
        },
        "n_windows": {"grouped": int(grouped.n.sum()), "random": int(claimed.n.sum())},
    }


def _predicted(log: NDArray[np.float64], windows: Windows) -> NDArray[np.int64]:
    """Return the label index of each window, by the log-probabilities of all its tracks."""
    return np.asarray(windows.merge_tracks(log)[0].argmax(axis=1))


def _by_window(predicted: NDArray[np.int64], windows: Windows, groups: Sequence[str]) -> tuple[list[bool], list[str]]:
    """Return which predictions are right, and the group of each; ``groups`` are those of the recordings."""
    n = np.diff(windows.merged_bounds)
    right = predicted == np.repeat(windows.labels, n)
    return right.tolist(), np.repeat(np.array(groups, dtype=object), n).tolist()


def _random_split(context: StudyContext, shares: Mapping[str, float]) -> tuple[list[bool], list[str]]:
    """Split windows at random, train, and test: return which of the test windows are right, and their groups."""
    task, spec = context.task, context.spec
    everything = sorted((r for part in context.parts.values() for r in part), key=lambda r: r.order)
    rng = np.random.default_rng([spec.seed, 2])
    rest, test = task.windows(everything, augmented=True).split_randomly(1 - shares["test"], rng)
    train, validation = rest, task.windows([])
    if shares["validation"]:
        train, validation = rest.split_randomly(shares["train"] / (shares["train"] + shares["validation"]), rng)
    file = context.folder / "leak-gap.heldout"
    settings = {**context.settings, "study": "leak-gap"}
    if task.store.spec.channel == "each":
        settings["tracks"] = "merged"  # older versions kept a prediction of every track
    if file.is_file() and (found := checkpoint.read(file)).settings == settings:
        predicted = found.arrays["said"][0]
    else:
        context.progress.info("study leak-gap: one network, on a random part of all windows")
        unfinished = file.with_suffix(".checkpoint")
        result = train_model.train_model(
            task,
            spec,
            train=train,
            validation=validation,
            file=unfinished,
            settings=settings,
            progress=context.progress,
        )
        _, logits = train_model.exported(task, result.trained, test)
        predicted = _predicted(log_scores(logits, task.labels), test)
        Checkpoint(settings, result.trained.history, result.trained.best_epoch, {"said": [predicted]}).write(file)
        unfinished.unlink(missing_ok=True)
    return _by_window(predicted, test, groups_of(task, everything))
