"""ROC AUC and average precision of resamples, against scikit-learn on recordings repeated as often."""

import numpy as np
import pytest
from sklearn import metrics as sk

from audiocnn.evaluation import metrics


@pytest.mark.parametrize("decimals", [1, 9], ids=["many ties", "no ties"])
def test_a_group_that_counts_twice_equals_its_recordings_repeated(decimals: int) -> None:
    rng = np.random.default_rng(decimals)
    group = rng.integers(0, 12, 80)
    is_positive = rng.random(80) < 0.3
    score = (0.3 * is_positive + rng.random(80)).round(decimals)
    draws = rng.multinomial(12, np.full(12, 1 / 12), size=50).astype(float)
    found = metrics.sort_scores(score, is_positive, group).figures(draws)
    for draw, (auc, ap) in zip(draws, found, strict=True):
        drawn = np.repeat(np.arange(80), draw[group].astype(int))
        assert auc == pytest.approx(sk.roc_auc_score(is_positive[drawn], score[drawn]), abs=1e-5)
        assert ap == pytest.approx(sk.average_precision_score(is_positive[drawn], score[drawn]), abs=1e-5)


def test_a_resample_without_positives_or_negatives_is_undefined() -> None:
    ranked = metrics.sort_scores(np.array([0.9, 0.1]), np.array([True, False]), np.array([0, 1]))
    found = ranked.figures(np.array([[2.0, 0.0], [0.0, 2.0], [1.0, 1.0]]))
    assert np.isnan(found[:2]).all()
    assert found[2].tolist() == [1, 1]
