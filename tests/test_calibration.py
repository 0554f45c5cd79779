"""Calibration on held-out recordings: temperature, thresholds, label sets, unknown recordings."""

import numpy as np
import pytest

from audiocnn.evaluation import calibration
from audiocnn.evaluation.calibration import expected_calibration_error
from audiocnn.model.decision import Decision, resemblance, typical_embeddings


def softmax(logits):
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def overconfident(n, seed, *, factor=3.0, n_labels=5):
    """Return scores (n, n_labels), and true labels drawn with logits ``factor`` times smaller."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, (n, n_labels))
    honest = softmax(logits)
    target = np.array([rng.choice(n_labels, p=row) for row in honest])
    return softmax(factor * logits), target, honest


def ece(scores, target):
    return expected_calibration_error(scores.max(axis=1), scores.argmax(axis=1) == target)


def test_the_temperature_of_an_overconfident_model_is_estimated():
    scores, target, honest = overconfident(4_000, seed=0)
    found = calibration.fit_temperature(scores, target)
    assert found == pytest.approx(3.0, rel=0.1)
    np.testing.assert_allclose(calibration.scale_scores(scores, 3.0), honest, atol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_after_scaling_an_overconfident_model_has_at_most_half_the_calibration_error(seed):
    scores, target, _ = overconfident(1_600, seed)
    fitted = calibration.fit_temperature(scores[:400], target[:400])
    before, after = ece(scores[400:], target[400:]), ece(calibration.scale_scores(scores[400:], fitted), target[400:])
    assert before > 0.15
    assert after <= before / 2


def test_a_temperature_changes_no_predicted_label():
    scores, _, _ = overconfident(100, seed=1)
    for temperature in (0.1, 0.7, 5.0):
        assert (calibration.scale_scores(scores, temperature).argmax(axis=1) == scores.argmax(axis=1)).all()


def test_few_recordings_without_errors_do_not_make_scores_certain():
    scores = np.full((6, 2), [0.8, 0.2])
    found = calibration.fit_temperature(scores, np.zeros(6, int))
    assert 0.3 < found < 1
    assert calibration.fit_temperature(scores[:0], np.zeros(0, int)) == pytest.approx(1, abs=1e-3)


def test_scores_of_0_and_1_can_be_scaled():
    scores = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert np.isfinite(calibration.scale_scores(scores, 2.0)).all()
    assert np.isfinite(calibration.fit_temperature(scores, np.array([0, 0])))


@pytest.mark.parametrize("wanted", [0.6, 0.8, 0.95])
def test_a_threshold_for_precision_is_the_lowest_that_reaches_it(wanted):
    rng = np.random.default_rng(2)
    score = rng.random(300).round(2)
    is_label = rng.random(300) < score
    found = calibration.fit_threshold(score, is_label, precision=wanted)
    assert found.reached
    assert is_label[score >= found.value].mean() >= wanted
    lower = np.unique(score[score < found.value])
    assert all(is_label[score >= value].mean() < wanted for value in lower)


@pytest.mark.parametrize("wanted", [0.5, 0.9, 1.0])
def test_a_threshold_for_recall_is_the_highest_that_reaches_it(wanted):
    rng = np.random.default_rng(3)
    score = rng.random(300).round(2)
    is_label = rng.random(300) < score
    found = calibration.fit_threshold(score, is_label, recall=wanted)
    assert found.reached
    assert (score[is_label] >= found.value).mean() >= wanted
    higher = np.unique(score[score > found.value])
    assert all((score[is_label] >= value).mean() < wanted for value in higher)


def test_a_precision_that_no_threshold_has_is_marked_as_not_reached():
    found = calibration.fit_threshold(np.array([0.9, 0.8, 0.7]), np.array([False, True, False]), precision=0.9)
    assert found == calibration.FittedThreshold(0.8, False)


@pytest.mark.slow
@pytest.mark.parametrize("coverage", [0.8, 0.9])
def test_label_sets_of_new_recordings_reach_the_coverage(coverage):
    held = []
    for seed in range(300):
        scores, target, _ = overconfident(60, seed)
        floor = calibration.fit_set_threshold(scores[:59], target[:59], np.arange(59), coverage=coverage)
        held.append(scores[59, target[59]] >= floor)
    assert np.mean(held) >= coverage - 0.04  # two standard errors of 300 trials


def test_label_sets_reach_the_coverage_for_groups_of_very_different_sizes():
    rng = np.random.default_rng(4)
    held = []
    for _ in range(400):  # all recordings of a group have the same scores, so 40 tell no more than one
        sizes = rng.choice([1, 1, 1, 40], 25)
        score = rng.random(26)
        groups = np.repeat(np.arange(25), sizes)
        floor = calibration.group_quantile(score[groups], groups, share=0.1, unseen=1)
        held.append(floor is None or score[25] >= floor)
    assert np.mean(held) >= 0.87


def test_with_too_few_groups_every_label_is_in_the_set():
    scores, target, _ = overconfident(100, seed=5)
    assert calibration.fit_set_threshold(scores, target, np.arange(100) % 8, coverage=0.9) == 0


def decision(**values):
    base = {
        "fitted_on": "validation",
        "n_recordings": 9,
        "n_groups": 9,
        "coverage": 0.9,
        "set_floor": 0.2,
        "unknown": 0,
    }
    return Decision.model_validate({**base, **values})


LABELS = ("a", "b", "c")


def test_a_set_begins_with_the_likeliest_label_and_is_never_empty():
    rule = decision(set_floor=0.3)
    assert rule.label_set(LABELS, np.array([0.2, 0.5, 0.3])) == ("b", "c")
    assert decision(set_floor=0.9).label_set(LABELS, np.array([0.2, 0.5, 0.3])) == ("b",)


def test_below_the_threshold_of_its_label_a_recording_is_unknown():
    rule = decision(thresholds={"b": 0.6})
    assert rule.doubt(LABELS, np.array([0.2, 0.5, 0.3]), np.zeros(0)) == "unsure"
    assert rule.doubt(LABELS, np.array([0.2, 0.7, 0.1]), np.zeros(0)) == ""
    assert rule.doubt(LABELS, np.array([0.4, 0.3, 0.3]), np.zeros(0)) == ""
    assert rule.label(LABELS, np.array([0.2, 0.5, 0.3])) == "b"


def test_with_two_labels_a_threshold_decides_between_them():
    rule = decision(thresholds={"yes": 0.2})
    for score, label in ((0.25, "yes"), (0.2, "yes"), (0.15, "no")):
        assert rule.label(("no", "yes"), np.array([1 - score, score])) == label
        assert rule.doubt(("no", "yes"), np.array([1 - score, score]), np.zeros(0)) == ""


def test_an_embedding_in_another_direction_than_training_is_unfamiliar():
    typical = typical_embeddings(np.eye(4)[:3] * 5, np.arange(3), 3)
    rule = decision(typical=typical.tolist(), familiar_floor=0.5, unknown=0.02)
    scores = np.array([0.8, 0.1, 0.1])
    assert rule.doubt(LABELS, scores, np.array([9.0, 0, 0, 0])) == ""
    assert rule.doubt(LABELS, scores, np.array([0.1, 0, 0, 9])) == "unfamiliar"
    assert resemblance(scores, np.array([2.0, 0, 0, 0]), typical) == pytest.approx(0.8)
    assert resemblance(scores, np.zeros(4), typical) == 0


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"thresholds": {"d": 0.5}}, "does not have"),
        ({"typical": [[1.0, 0.0]]}, "not 3 of 2"),
        ({"typical": [[1.0]] * 3}, "not 3 of 2"),
    ],
)
def test_a_decision_of_another_model_is_refused(values, why):
    with pytest.raises(ValueError, match=why):
        decision(**values).check(LABELS, 2)


def test_typical_embeddings_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="differ in length"):
        decision(typical=[[1.0], [1.0, 0.0], [1.0]])
