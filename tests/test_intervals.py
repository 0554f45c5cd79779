"""Intervals: how often they contain the true value, and their ends for few data."""

import clusters
import numpy as np
import pytest

from audiocnn.evaluation import intervals


def coverage(*, n_groups: int, accuracy: float, correlation: float, seed: int = 0) -> tuple[float, float]:
    """Return the share of 500 data sets whose interval contains the true accuracy: of ours, and of percentiles."""
    rng = np.random.default_rng(seed)
    right, n = clusters.draw(rng, n_groups=n_groups, accuracy=accuracy, correlation=correlation, n_sets=500)
    values = clusters.resampled(right, n, bootstrap=600, seed=seed)
    low, high = np.percentile(values, [2.5, 97.5], axis=1)
    rows = zip(right.sum(axis=1) / n.sum(axis=1), values.std(axis=1), n, strict=True)
    ours = np.array(
        [intervals.share_interval(float(value), float(error), weights) for value, error, weights in rows], float
    )
    held = (ours[:, 0] <= accuracy) & (accuracy <= ours[:, 1])
    return float(held.mean()), float(((low <= accuracy) & (accuracy <= high)).mean())


@pytest.mark.parametrize(
    ("n_groups", "accuracy", "correlation"), [(15, 0.6, 0.3), (40, 0.85, 0.3), (40, 0.85, 0.7), (100, 0.95, 0.3)]
)
def test_intervals_contain_the_true_value_in_93_to_97_of_100_data_sets(
    n_groups: int, accuracy: float, correlation: float
) -> None:
    ours, plain = coverage(n_groups=n_groups, accuracy=accuracy, correlation=correlation)
    assert 0.93 <= ours <= 0.97
    assert plain < 0.93


def test_standard_errors_of_groups_of_one_recording_are_those_of_a_binomial_share() -> None:
    right = np.arange(400) < 300
    errors = intervals.standard_errors(
        lambda draws: (draws @ right / draws.sum(axis=1))[:, None], n_groups=400, bootstrap=4_000, seed=0
    )
    assert errors == pytest.approx([np.sqrt(0.75 * 0.25 / 400)], rel=0.05)


def test_resamples_with_an_undefined_figure_are_ignored() -> None:
    def figures(draws: np.ndarray) -> np.ndarray:
        return np.where(draws[:, :1] > 0, draws[:, :2], np.nan)

    errors = intervals.standard_errors(figures, n_groups=5, bootstrap=2_000, seed=0)
    drawn = np.concatenate(list(intervals.resamples(5, 2_000, seed=0)))
    assert errors == pytest.approx(drawn[drawn[:, 0] > 0][:, :2].std(axis=0))
    nothing = intervals.standard_errors(lambda draws: np.full((len(draws), 1), np.nan), n_groups=5, bootstrap=9, seed=0)
    assert np.isnan(nothing).all()


def test_the_block_size_changes_no_resample(monkeypatch: pytest.MonkeyPatch) -> None:
    before = np.concatenate(list(intervals.resamples(7, 333, seed=1)))
    monkeypatch.setattr(intervals, "_BLOCK_RESAMPLES", 10)
    blocks = list(intervals.resamples(7, 333, seed=1))
    assert len(blocks) == 34
    assert (np.concatenate(blocks) == before).all()
    assert (before.sum(axis=1) == 7).all()


@pytest.mark.parametrize("value", [0.0, 0.001, 0.5, 0.999, 1.0])
@pytest.mark.parametrize("error", [1e-6, 0.1, 0.5])
def test_an_interval_of_a_share_contains_it_and_stays_within_0_and_1(value: float, error: float) -> None:
    for weights in (np.ones(2), np.array([1_000.0, 1.0]), np.ones(10_000)):
        low, high = intervals.share_interval(value, error, weights)
        assert low is not None and high is not None
        assert 0 <= low <= value <= high <= 1
        low, high = intervals.difference_interval(2 * value - 1, error, weights)
        assert low is not None and high is not None
        assert -1 <= low <= 2 * value - 1 <= high <= 1


def test_shares_and_their_complements_have_mirrored_intervals() -> None:
    low, high = intervals.share_interval(0.9, 0.05, np.ones(12))
    assert intervals.share_interval(0.1, 0.05, np.ones(12)) == pytest.approx([1 - (high or 0), 1 - (low or 0)])


@pytest.mark.parametrize("of", [intervals.share_interval, intervals.loss_interval, intervals.difference_interval])
def test_without_two_groups_there_is_no_interval(of) -> None:  # type: ignore[no-untyped-def]
    assert of(0.5, 0.0, np.array([5.0, 0.0])) == [None, None]
    assert of(None, 0.1, np.ones(5)) == [None, None]
    assert of(0.5, float("nan"), np.ones(5)) == [None, None]


def test_losses_and_differences_without_variation_have_an_interval_of_zero_width() -> None:
    assert (
        intervals.loss_interval(0.5, 0.0, np.ones(5))
        == intervals.difference_interval(0.5, 0.0, np.ones(5))
        == [0.5, 0.5]
    )


@pytest.mark.parametrize("n", [3, 10, 30, 100])
def test_if_all_are_correct_the_lower_end_is_near_that_of_the_exact_binomial_interval(n: int) -> None:
    low, high = intervals.share_interval(1.0, 0.0, np.ones(n))
    exact = 0.025 ** (1 / n)  # Clopper and Pearson, Biometrika 26, 1934
    assert high == 1
    assert 0.3 * (1 - exact) < 1 - (low or 0) < 1.3 * (1 - exact)


def test_few_large_groups_among_many_small_ones_widen_an_interval() -> None:
    even, uneven = (
        intervals.share_interval(0.8, 0.05, weights) for weights in (np.ones(20), np.array([40.0, 40] + 18 * [1]))
    )
    assert np.diff(np.array(uneven, float)) > 1.5 * np.diff(np.array(even, float))
