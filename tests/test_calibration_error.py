"""The calibration error, its bins, and the error of a perfectly calibrated model."""

import numpy as np
import pytest

from audiocnn.evaluation.calibration import (
    bin_numbers,
    calibration_bins,
    expected_calibration_error,
    perfect_calibration,
)


def scored(n: int, *, excess: float = 0.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return scores, and whether predictions are correct, less often than the scores by ``excess``."""
    rng = np.random.default_rng(seed)
    share = rng.uniform(0.5, 0.85, n)
    return share + excess, rng.random(n) < share


@pytest.mark.parametrize(("n", "n_bins"), [(1, 1), (29, 1), (30, 2), (40, 2), (149, 9), (150, 10), (5_000, 10)])
def test_the_number_of_bins_depends_on_the_number_of_scores_and_bins_have_equal_mass(n: int, n_bins: int) -> None:
    bins = calibration_bins(*scored(n))
    assert len(bins) == n_bins
    sizes = [one.n for one in bins]
    assert sum(sizes) == n
    assert max(sizes) - min(sizes) <= 1
    assert [one.high for one in bins[:-1]] == [one.low for one in bins[1:]]


def test_equal_scores_share_a_bin() -> None:
    score, right = scored(400)
    score = np.append(score.round(1), np.full(300, 1.0))
    right = np.append(right, np.ones(300, bool))
    number = bin_numbers(score)
    assert all(len(set(number[score == value])) == 1 for value in np.unique(score))
    assert len(set(number)) == len(calibration_bins(score, right)) > 3
    assert len(calibration_bins(np.full(100, 0.7), np.ones(100, bool))) == 1


def test_the_error_equals_that_of_a_loop_over_equal_parts_in_any_order() -> None:
    score, right = scored(600, excess=0.1)
    parts = np.array_split(np.argsort(score), 10)
    expected = sum(abs(right[part].mean() - score[part].mean()) * len(part) / 600 for part in parts)
    assert expected_calibration_error(score, right) == pytest.approx(expected)
    order = np.random.default_rng(1).permutation(600)
    assert expected_calibration_error(score[order], right[order]) == pytest.approx(expected)


def test_bin_numbers_give_the_same_error_as_the_bins() -> None:
    score, right = scored(333, excess=-0.1)
    gaps = np.bincount(bin_numbers(score), right - score)
    assert expected_calibration_error(score, right) == pytest.approx(np.abs(gaps).sum() / 333)


def test_a_calibrated_score_has_a_small_error_and_an_overconfident_one_its_excess() -> None:
    assert expected_calibration_error(*scored(20_000)) < 0.02
    assert expected_calibration_error(*scored(20_000, excess=0.1)) == pytest.approx(0.1, abs=0.02)


@pytest.mark.parametrize("n", [40, 400])
def test_calibrated_models_are_within_the_range_of_perfect_ones_and_overconfident_ones_above(n: int) -> None:
    inside = above = 0
    for seed in range(200):
        score, right = scored(n, seed=seed)
        low, high = np.percentile(perfect_calibration(score, n_draws=400), [2.5, 97.5])
        inside += low <= expected_calibration_error(score, right) <= high
        above += expected_calibration_error(*scored(n, excess=0.15, seed=seed)) > high
    assert 0.91 <= inside / 200 <= 0.99
    assert above / 200 > (0.3 if n == 40 else 0.99)


def test_the_fewer_scores_the_larger_the_error_of_a_perfect_model() -> None:
    means = [perfect_calibration(scored(n)[0]).mean() for n in (150, 1_500, 15_000)]
    assert means[0] > 1.5 * means[1] > 1.5**2 * means[2] > 0
    assert perfect_calibration(np.ones(30)).max() == 0
