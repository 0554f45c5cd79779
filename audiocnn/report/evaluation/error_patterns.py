"""What the wrong recordings of an evaluation have in common, in sentences, as far as it is not chance."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from statistics import median

import numpy as np
from numpy.typing import NDArray

from audiocnn.errors import needs_extra
from audiocnn.inference.prediction import RecordingPrediction
from audiocnn.report.evaluation.content import Evaluation, ReportClip
from audiocnn.wording import NBSP, count, decimal, duration, join_names, percent, quoted

CHANCE = 0.01  # what chance alone produces more often than this is not said
_FEWEST = 5  # wrong, and right, ones; of fewer nothing can be said
_PERMUTATIONS = 2_000
_NAMED_GROUPS = 3
_QUIETEST_DB = -120.0  # level of digital silence


def sentences(evaluation: Evaluation) -> list[str]:
    """Return how wrong recordings differ from right ones; empty if nothing stands out.

    Lengths, scores and levels are compared by rank (Mann-Whitney), properties by Fisher's exact test, groups by dealing
    the mistakes out anew; each difference must have a chance below `CHANCE`.
    """
    heard = [i for i, p in enumerate(evaluation.predictions) if p.has_scores]
    wrong = np.array([evaluation.predictions[i].label != evaluation.truth[i] for i in heard], bool)
    if min(wrong.sum(), (~wrong).sum()) < _FEWEST:
        return []
    predictions = [evaluation.predictions[i] for i in heard]
    found = [
        _longer([p.account.duration_s for p in predictions], wrong),
        _louder(evaluation.report_clips),
        _surer([p.score or 0.0 for p in predictions], wrong),
        _grouped([evaluation.groups[i] for i in heard], wrong),
        *_properties(predictions, wrong),
        _paired(evaluation, [i for i, is_wrong in zip(heard, wrong, strict=True) if is_wrong]),
    ]
    return [sentence for sentence in found if sentence]


def _longer(durations_s: Sequence[float], wrong: NDArray[np.bool_]) -> str:
    return _compared(durations_s, wrong, ("shorter", "longer"), duration)


def _louder(report_clips: Sequence[ReportClip]) -> str:
    """Levels are known of what the page can play only."""
    with_sound = [e for e in report_clips if len(e.samples) and e.prediction.has_scores]
    wrong = np.array([e.prediction.label != e.truth for e in with_sound], bool)
    if min(wrong.sum(), (~wrong).sum()) < _FEWEST:
        return ""
    said = _compared([level_db(e.samples) for e in with_sound], wrong, ("quieter", "louder"), _decibels)
    return said and f"{said.removesuffix('.')}, among those that can be played here."


def _surer(scores: Sequence[float], wrong: NDArray[np.bool_]) -> str:
    where = ("given with a lower score", "given with a higher score")
    said = _compared(scores, wrong, where, decimal)
    if not said or where[0] not in said:
        return said
    least_right = float(np.quantile([s for s, w in zip(scores, wrong, strict=True) if not w], 0.1))
    below = sum(s < least_right for s, w in zip(scores, wrong, strict=True) if w)
    of_all = f"{below:,} of the {int(wrong.sum()):,} score below {decimal(least_right)}"
    return f"{said} {of_all}, where one in ten right ones does."


def _compared(
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
        f"They are {which}: in the middle {written(median(of_wrong))}, against {written(median(of_right))} "
        "of those that are right."
    )


def _grouped(groups: Sequence[str], wrong: NDArray[np.bool_]) -> str:
    """Whether mistakes gather in few groups more than they would if they were dealt to recordings at random."""
    names, group = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
    sizes = np.bincount(group)
    if not 1 < len(names) < len(groups):
        return ""

    def gathered(which: NDArray[np.bool_]) -> float:
        return float((np.bincount(group[which], minlength=len(names)) ** 2 / sizes).sum())

    rng = np.random.default_rng(0)
    seen = gathered(wrong)
    reached = sum(gathered(rng.permutation(wrong)) >= seen - 1e-9 for _ in range(_PERMUTATIONS))
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
        f"They gather: {n_wrong:,} of the {int(wrong.sum()):,} are of {'group' if len(top) == 1 else 'the groups'} "
        f"{join_names([quoted(name) for name, _ in top])}, which {'has' if len(top) == 1 else 'have'} {n_all:,} of all "
        f"{count(len(groups), 'recording')} in {count(len(names), 'group')}."
    )


def _properties(predictions: Sequence[RecordingPrediction], wrong: NDArray[np.bool_]) -> list[str]:
    """Warnings, sample rates and numbers of channels that are commoner among the wrong ones."""
    with needs_extra("train"):
        from scipy.stats import fisher_exact

    having: dict[str, NDArray[np.bool_]] = defaultdict(lambda: np.zeros(len(predictions), bool))
    for i, p in enumerate(predictions):
        for code in p.account.codes:
            having[f"are marked “{code}”"][i] = True
        if p.account.sample_rate:
            having[f"were recorded at {p.account.sample_rate:,}{NBSP}Hz"][i] = True
        if p.account.n_channels:
            having[f"have {count(p.account.n_channels, 'channel')}"][i] = True
    found = []
    n_wrong, n_right = int(wrong.sum()), int((~wrong).sum())
    for words, has in having.items():
        a, b = int(has[wrong].sum()), int(has[~wrong].sum())
        if fisher_exact([[a, n_wrong - a], [b, n_right - b]], alternative="greater").pvalue < CHANCE:
            found.append(f"{a:,} of the {n_wrong:,} {words}, against {b:,} of {n_right:,} that are right.")
    return found


def _paired(evaluation: Evaluation, wrong: Sequence[int]) -> str:
    """Whether two labels are mistaken for each other more than if every pair of labels were as hard."""
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
    chance = n_pairs * binomtest(n, pairs.total(), 1 / n_pairs, alternative="greater").pvalue  # it is the largest one
    if chance >= CHANCE:
        return ""
    return (
        f"{n:,} of the {len(wrong):,} ({percent(n / len(wrong))}) are {quoted(one)} and {quoted(other)} taken for each "
        f"other, one of {n_pairs:,} possible pairs."
    )


def level_db(samples: NDArray[np.float32]) -> float:
    """Return the level of samples in dB below full scale, that of silence as -120.

    >>> level_db(np.full(100, 0.1, np.float32)).__round__(2)
    -20.0
    """
    power = float(np.mean(np.square(samples, dtype=np.float64)))
    return max(10 * float(np.log10(power)), _QUIETEST_DB) if power > 0 else _QUIETEST_DB


def _decibels(level: float) -> str:
    return f"−{abs(level):.0f}{NBSP}dBFS"
