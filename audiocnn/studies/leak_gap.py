"""How much a careless split would flatter: the same network, trained on a random part of all windows."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiocnn.evaluation import intervals
from audiocnn.evaluation.comparison import count_correct
from audiocnn.inference.scoring import Classifier, log_scores
from audiocnn.studies.context import StudyContext, groups_of
from audiocnn.training import checkpoint, train_model
from audiocnn.training.checkpoint import Checkpoint


def leak_gap(course: StudyContext, judge: Classifier) -> dict[str, Any]:
    """Return the block leak_gap: the window accuracy that a random split of windows claims, and that of the test part.

    The same network as ``judge`` learns from as many windows, drawn from all recordings, and is asked about other
    windows of the same recordings. Of all recordings, windows that are too quiet to count are left out.
    """
    task, parts = course.task, course.parts
    n = {part: len(task.windows(parts[part])) for part in parts}
    random, right, group = _random_split(course, {part: count / sum(n.values()) for part, count in n.items()})
    windows = task.windows(parts["test"])
    logits = np.concatenate([judge.runtime(X)[0] for X in windows.chunks()])
    honest_right = (log_scores(logits, judge.labels).argmax(axis=1) == windows.y).tolist()
    honest_group = np.repeat(np.array(groups_of(task, parts["test"]), dtype=object), np.diff(windows.bounds)).tolist()
    names = sorted({*group, *honest_group})
    grouped, claimed = count_correct(honest_right, honest_group, names), count_correct(right, group, names)

    def figures(draws: NDArray[np.float64]) -> NDArray[np.float64]:
        with np.errstate(divide="ignore", invalid="ignore"):
            accuracy = [draws @ one.right / (draws @ one.n) for one in (grouped, claimed)]
        return np.asarray((accuracy[1] - accuracy[0])[:, None])

    settings = course.evaluate
    errors = intervals.standard_errors(figures, n_groups=len(names), bootstrap=settings.bootstrap, seed=settings.seed)
    honest, flattering = (float(one.right.sum() / one.n.sum()) for one in (grouped, claimed))
    gap = flattering - honest
    return {
        "window_accuracy": {
            "grouped": honest,
            "random": flattering,
            "gap": {"value": gap, "ci95": intervals.difference_interval(gap, float(errors[0]), grouped.n)},
        },
        "n_windows": {"grouped": int(grouped.n.sum()), "random": random},
    }


def _random_split(course: StudyContext, shares: Mapping[str, float]) -> tuple[int, list[bool], list[str]]:
    """Deal windows at random and judge those for testing: how many, which are right, and their groups."""
    task, spec = course.task, course.spec
    everything = sorted((r for part in course.parts.values() for r in part), key=lambda r: r.order)
    rng = np.random.default_rng([spec.seed, 2])
    rest, test = task.windows(everything, augmented=True).split_randomly(1 - shares["test"], rng)
    train, validation = rest, task.windows([])
    if shares["validation"]:
        train, validation = rest.split_randomly(shares["train"] / (shares["train"] + shares["validation"]), rng)
    file = course.folder / "leak-gap.heldout"
    settings = {**course.settings, "study": "leak-gap"}
    if file.is_file() and (found := checkpoint.read(file)).settings == settings:
        said = found.arrays["said"][0]
    else:
        course.progress.info("study leak-gap: one network, on a random part of all windows")
        unfinished = file.with_suffix(".checkpoint")
        taught = train_model.train_model(
            task, spec, train=train, validation=validation, file=unfinished, settings=settings, progress=course.progress
        )
        _, logits = train_model.exported(task, taught.trained, test)
        said = log_scores(logits, task.labels).argmax(axis=1)
        Checkpoint(settings, taught.trained.history, taught.trained.best_epoch, {"said": [said]}).write(file)
        unfinished.unlink(missing_ok=True)
    groups = np.repeat(np.array(groups_of(task, everything), dtype=object), np.diff(test.bounds))
    return len(said), (said == test.y).tolist(), groups.tolist()
