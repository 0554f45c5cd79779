"""What the wrong predictions of an evaluation have in common, in sentences, if it is more than chance."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from statistics import median

import numpy as np
from numpy.typing import NDArray

from audiocnn.errors import needs_extra
from audiocnn.inference.prediction import RecordingPrediction
from audiocnn.report.evaluation.content import Evaluation, ReportClip
from audiocnn.wording import NBSP, count, decimal, duration, join_names, percent, quoted

CHANCE = 0.01  # p-value below which a difference is reported
_FEWEST = 5  # wrong and correct predictions that the tests need
_PERMUTATIONS = 2_000
_NAMED_GROUPS = 3  # at most
_QUIETEST_DB = -120.0  # level of digital silence


def sentences(evaluation: Evaluation) -> list[str]:
    """Return how wrong predictions differ from correct ones; empty if nothing stands out.

    Lengths, scores and levels are compared by the Mann-Whitney test, properties by Fisher's exact test, groups by a
    permutation test, pairs of labels by a binomial test. Each p-value must be below `CHANCE`.
    """
    scored = [i for i, p in enumerate(evaluation.predictions) if p.has_scores]
    wrong = np.array([evaluation.predictions[i].label != evaluation.truth[i] for i in scored], bool)
    if min(wrong.sum(), (~wrong).sum()) < _FEWEST:
        return []
    predictions = [evaluation.predictions[i] for i in scored]
    found = [
        _by_duration([p.recording_status.duration_s for p in predictions], wrong),
        _by_level(evaluation.report_clips),
        _by_score([p.score or 0.0 for p in predictions], wrong),
        _concentrated([evaluation.groups[i] for i in scored], wrong),
        *_by_property(predictions, wrong),
        _confused_pair(evaluation, [i for i, is_wrong in zip(scored, wrong, strict=True) if is_wrong]),
    ]
    return [sentence for sentence in found if sentence]


def _by_duration(durations_s: Sequence[float], wrong: NDArray[np.bool_]) -> str:
    return _compare(durations_s, wrong, ("shorter", "longer"), duration)


def _by_level(report_clips: Sequence[ReportClip]) -> str:
    """Compare levels; they are known only for recordings that the page can play."""
    with_sound = [e for e in report_clips if len(e.samples) and e.prediction.has_scores]
    wrong = np.array([e.prediction.label != e.truth for e in with_sound], bool)
    if min(wrong.sum(), (~wrong).sum()) < _FEWEST:
        return ""
    sentence = _compare([level_db(e.samples[:]) for e in with_sound], wrong, ("quieter", "louder"), _decibels)
    return sentence and f"{sentence.removesuffix('.')}, among those that this page can play."


def _by_score(scores: Sequence[float], wrong: NDArray[np.bool_]) -> str:
    how = ("predicted with a lower score", "predicted with a higher score")
    sentence = _compare(scores, wrong, how, decimal)
    if not sentence or how[0] not in sentence:
        return sentence
    least_right = float(np.quantile([s for s, w in zip(scores, wrong, strict=True) if not w], 0.1))
    below = sum(s < least_right for s, w in zip(scores, wrong, strict=True) if w)
    of_all = f"{below:,} of the {int(wrong.sum()):,} score below {decimal(least_right)}"
    return f"{sentence} {of_all}; one in ten of the correct ones does."


def _compare(
    values: Sequence[float], wrong: NDArray[np.bool_], how: tuple[str, str], written: Callable[[float], str]
) -> str:
    with needs_extra("train"):
        from scipy.stats import mannwhitneyu

    of_wrong = [v for v, w in zip(values, wrong, strict=True) if w]
    of_right = [v for v, w in zip(values, wrong, strict=True) if not w]
    if median(of_wrong) == median(of_right) or mannwhitneyu(of_wrong, of_right).pvalue >= CHANCE:
        return ""
    which = how[median(of_wrong) > median(of_right)]
    return (
        f"They are {which}: the median is {written(median(of_wrong))}, against {written(median(of_right))} for the "
        "correct ones."
    )


def _concentrated(groups: Sequence[str], wrong: NDArray[np.bool_]) -> str:
    """Report the groups in which errors concentrate more than in random permutations."""
    names, group = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
    sizes = np.bincount(group)
    if not 1 < len(names) < len(groups):
        return ""

    def concentration(which: NDArray[np.bool_]) -> float:
        return float((np.bincount(group[which], minlength=len(names)) ** 2 / sizes).sum())

    rng = np.random.default_rng(0)
    observed = concentration(wrong)
    reached = sum(concentration(rng.permutation(wrong)) >= observed - 1e-9 for _ in range(_PERMUTATIONS))
    if (reached + 1) / (_PERMUTATIONS + 1) >= CHANCE:
        return ""
    mistakes = Counter(np.asarray(groups, dtype=object)[wrong].tolist())
    top: list[tuple[str, int]] = []
    for name, n in sorted(mistakes.items(), key=lambda item: (-item[1], item[0]))[:_NAMED_GROUPS]:
        top.append((name, n))
        if 2 * sum(n for _, n in top) >= wrong.sum():
            break
    n_wrong, n_all = sum(n for _, n in top), sum(name in dict(top) for name in groups)
    return (
        f"They concentrate in few groups: {n_wrong:,} of the {int(wrong.sum()):,} are in "
        f"{'group' if len(top) == 1 else 'the groups'} {join_names([quoted(name) for name, _ in top])}, which "
        f"{'has' if len(top) == 1 else 'have'} {n_all:,} of all {count(len(groups), 'recording')} in "
        f"{count(len(names), 'group')}."
    )


def _by_property(predictions: Sequence[RecordingPrediction], wrong: NDArray[np.bool_]) -> list[str]:
    """Report warnings, sample rates and numbers of channels that are more frequent among the errors."""
    with needs_extra("train"):
        from scipy.stats import fisher_exact

    having: dict[str, NDArray[np.bool_]] = defaultdict(lambda: np.zeros(len(predictions), bool))
    for i, p in enumerate(predictions):
        for code in p.recording_status.codes:
            having[f"are marked “{code}”"][i] = True
        if p.recording_status.sample_rate:
            having[f"were recorded at {p.recording_status.sample_rate:,}{NBSP}Hz"][i] = True
        if p.recording_status.n_channels:
            having[f"have {count(p.recording_status.n_channels, 'channel')}"][i] = True
    found = []
    n_wrong, n_right = int(wrong.sum()), int((~wrong).sum())
    for words, has in having.items():
        a, b = int(has[wrong].sum()), int(has[~wrong].sum())
        if fisher_exact([[a, n_wrong - a], [b, n_right - b]], alternative="greater").pvalue < CHANCE:
            found.append(f"{a:,} of the {n_wrong:,} {words}, against {b:,} of the {n_right:,} correct ones.")
    return found


def _confused_pair(evaluation: Evaluation, wrong: Sequence[int]) -> str:
    """Report two labels that are confused more often than if all pairs of labels were equally hard."""
    with needs_extra("train"):
        from scipy.stats import binomtest

    n_labels = len(evaluation.labels)
    n_pairs = n_labels * (n_labels - 1) // 2
    pairs = Counter(
        tuple(sorted((evaluation.truth[i], evaluation.predictions[i].label)))
        for i in wrong
        if evaluation.truth[i] in evaluation.labels
    )
    if n_pairs < 2 or not pairs:
        return ""
    (one, other), n = min(pairs.items(), key=lambda item: (-item[1], item[0]))
    chance = (
        n_pairs * binomtest(n, pairs.total(), 1 / n_pairs, alternative="greater").pvalue
    )  # Bonferroni: largest of all
    if chance >= CHANCE:
        return ""
    return (
        f"{n:,} of the {len(wrong):,} ({percent(n / len(wrong))}) are confusions of {quoted(one)} and "
        f"{quoted(other)}, one of {n_pairs:,} possible pairs."
    )


def level_db(samples: NDArray[np.float32]) -> float:
    """Return the level of samples in dBFS; that of digital silence is -120.

    >>> level_db(np.full(100, 0.1, np.float32)).__round__(2)
    -20.0
    """
    power = float(np.mean(np.square(samples, dtype=np.float64)))
    return max(10 * float(np.log10(power)), _QUIETEST_DB) if power > 0 else _QUIETEST_DB


def _decibels(level: float) -> str:
    return f"−{abs(level):.0f}{NBSP}dBFS"
