"""Models of several networks: how the scores of the members become one, and what is refused."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ensembles import LOGMEL, MFCC

from audiocnn import config
from audiocnn.dataset.manifest import Recording
from audiocnn.errors import ConfigError
from audiocnn.evaluation.by_member import member_block
from audiocnn.features.analyze import RecordingStatus
from audiocnn.features.store import stores_of
from audiocnn.inference import spill
from audiocnn.inference.members import Combination
from audiocnn.inference.prediction import RecordingPrediction, RecordingScores, usable_window_starts
from audiocnn.labels import Labels
from audiocnn.training.fold_predictions import Fold, predict_folds
from audiocnn.training.member_weights import fit_weights
from audiocnn.training.out_of_fold import OutOfFold

SECONDS = 2.0
STATUSES = [
    RecordingStatus("ok", n_frames=1 + round(SECONDS * spec.sample_rate / spec.hop_length), duration_s=SECONDS)
    for spec in (LOGMEL, MFCC)
]


def scores(member: int, scored: np.ndarray, embedding: np.ndarray) -> RecordingScores:
    """Return scores of a member, the same (n_labels,) in every window."""
    n = len(usable_window_starts((LOGMEL, MFCC)[member], STATUSES[member], None))
    log = np.tile(np.log(scored), (n, 1)).astype(np.float32)
    return RecordingScores(log, scored, embedding, np.ones(n, bool))


WIDE = scores(0, np.array([0.7, 0.2, 0.1]), np.array([3.0, 4.0]))
FINE = scores(1, np.array([0.2, 0.5, 0.3]), np.array([0.0, 0.0, 5.0]))


def combination(*weights: float, temperature: float = 1.0) -> Combination:
    return Combination([LOGMEL, MFCC], [2, 3], weights, temperature)


def test_the_score_is_the_softmax_of_the_weighted_mean_of_the_log_scores() -> None:
    status, found = combination(0.25, 0.75, temperature=2.0).scores(STATUSES, [WIDE, FINE])
    expected = (WIDE.scores**0.25 * FINE.scores**0.75) ** 0.5
    assert found is not None and status == STATUSES[1]
    np.testing.assert_allclose(found.scores, expected / expected.sum(), rtol=1e-12)
    np.testing.assert_allclose(np.exp(found.log_scores), np.tile(found.scores, (len(FINE.log_scores), 1)), rtol=1e-5)
    assert found.loud.shape == FINE.loud.shape


def test_a_window_takes_the_nearest_window_of_every_other_member() -> None:
    n = len(WIDE.log_scores)
    ramp = np.log(np.stack([np.linspace(0.1, 0.8, n), np.full(n, 0.1), np.linspace(0.8, 0.1, n)], axis=1))
    even = scores(1, np.full(3, 1 / 3), np.ones(3))
    _, found = combination(0.5, 0.5).scores(STATUSES, [replace(WIDE, log_scores=ramp.astype(np.float32)), even])
    assert found is not None
    centres = [
        usable_window_starts(spec, status, None) * spec.hop_length / spec.sample_rate + spec.window_s / 2
        for spec, status in zip((LOGMEL, MFCC), STATUSES, strict=True)
    ]
    nearest = np.abs(centres[1][:, None] - centres[0][None]).argmin(axis=1)
    assert len(set(nearest)) == n > 2
    expected = np.exp(0.5 * ramp[nearest])
    np.testing.assert_allclose(np.exp(found.log_scores), expected / expected.sum(axis=1, keepdims=True), rtol=1e-5)


def test_the_cosine_of_two_embeddings_is_the_weighted_mean_of_those_of_the_members() -> None:
    other = [scores(0, WIDE.scores, np.array([1.0, 0.0])), scores(1, FINE.scores, np.array([0.0, 1.0, 1.0]))]
    one, two = (combination(0.25, 0.75).scores(STATUSES, members)[1] for members in ([WIDE, FINE], other))
    assert one is not None and two is not None
    assert one.embedding @ one.embedding == pytest.approx(1)
    assert one.embedding @ two.embedding == pytest.approx(0.25 * 0.6 + 0.75 * np.sqrt(0.5))


def test_a_member_that_cannot_score_does_not_count_and_without_the_finest_there_is_no_score() -> None:
    _, found = combination(0.4, 0.6).scores(STATUSES, [None, FINE])
    assert found is not None
    np.testing.assert_allclose(found.scores, FINE.scores)
    np.testing.assert_allclose(found.embedding[:2], 0)
    silent = replace(STATUSES[1], status="silent")
    assert combination(0.4, 0.6).scores([STATUSES[0], silent], [WIDE, None]) == (silent, None)


def test_long_recordings_are_combined_in_files_with_the_same_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, expected = combination(0.5, 0.5).scores(STATUSES, [WIDE, FINE])
    monkeypatch.setattr(spill, "_MEMORY_BYTES", 1)
    stored = [
        replace(one, log_scores=spill.store_rows([one.log_scores], one.log_scores.shape, tmp_path))
        for one in (WIDE, FINE)
    ]
    assert len(list(tmp_path.iterdir())) == 2
    _, found = combination(0.5, 0.5).scores(STATUSES, stored, folder=tmp_path)
    assert found is not None and expected is not None
    np.testing.assert_array_equal(np.asarray(found.log_scores), expected.log_scores)
    assert len(list(tmp_path.iterdir())) == 1  # those of the members are removed


def test_weights_are_fitted_only_if_they_are_better_beyond_noise() -> None:
    rng = np.random.default_rng(0)
    n, groups = 200, np.arange(200) // 2
    target = rng.integers(3, size=n)
    truth = np.eye(3)[target]
    good, alike, noise = (rng.standard_normal((n, 3)) + strength * truth for strength in (3.0, 3.0, 0.0))
    log = np.stack([logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)) for logits in (good, alike, noise)])
    equal = fit_weights(log[:2], target, groups, seed=0)
    assert list(equal.weights) == [0.5, 0.5] and equal.ci95 is not None and equal.ci95[0] is not None
    assert equal.ci95[0] <= 0
    fitted = fit_weights(log[[0, 2]], target, groups, seed=0)
    assert fitted.weights[0] > 0.8 and sum(fitted.weights) == pytest.approx(1, abs=1e-5)
    few = fit_weights(log[[0, 2]][:, :20], target[:20], groups[:20], seed=0)
    assert list(few.weights) == [0.5, 0.5] and few.gain is None


def folds_of(truth: np.ndarray, *strengths: float) -> list[Fold]:
    """Three folds of recordings, each its own group, and what each of three networks of these strengths predicts."""
    rng, labels = np.random.default_rng(1), Labels(("a", "b", "c"))
    folds = []
    for number, of_fold in enumerate(np.split(truth, 3), start=1):
        recordings = [Recording(f"{number}-{i}.wav", labels[k], f"{number}-{i}") for i, k in enumerate(of_fold)]
        held_out = {}
        for name, strength in zip("xyz", strengths, strict=True):
            scored = np.exp(rng.standard_normal((len(of_fold), 3)) + strength * np.eye(3)[of_fold])
            scored /= scored.sum(axis=1, keepdims=True)
            times = (np.zeros(1), np.ones(1))
            held_out[name] = OutOfFold(
                [
                    RecordingPrediction(r.path, RecordingStatus("ok"), labels, one, *times, one[None], np.ones(2))
                    for r, one in zip(recordings, scored, strict=True)
                ],
                [],
                1,
            )
        folds.append(Fold(number, None, recordings, held_out))
    return folds


def networks_of(folds: list[Fold], *weights: float | None) -> dict[str, Any]:
    data = SimpleNamespace(
        labels=Labels(("a", "b", "c")),
        store=SimpleNamespace(spec=MFCC),
        recordings=[r for fold in folds for r in fold.recordings],
    )
    return {name: SimpleNamespace(data=data, weight=w) for name, w in zip("xyz", weights, strict=True)}


def test_weights_for_a_fold_are_fitted_on_the_other_folds_unless_they_are_given() -> None:
    truth = np.random.default_rng(0).integers(3, size=90)
    folds = folds_of(truth, 3.0, 3.0, 0.0)
    found = predict_folds(networks_of(folds, None, None, None), folds)
    assert max(found.weights["z"]) < 0.2 and np.allclose(np.sum(list(found.weights.values()), axis=0), 1, atol=1e-5)
    other = folds_of(np.r_[(truth[:30] + 1) % 3, truth[30:]], 3.0, 3.0, 0.0)  # other labels in the first fold
    changed = predict_folds(
        networks_of(other, None, None, None), [replace(folds[0], recordings=other[0].recordings), *folds[1:]]
    )
    for name in "xyz":
        assert changed.weights[name][0] == found.weights[name][0]
        assert changed.weights[name][1] != found.weights[name][1]
    given = predict_folds(networks_of(folds, 0.2, 0.3, 0.5), folds)
    assert given.weights == {"x": [0.2] * 3, "y": [0.3] * 3, "z": [0.5] * 3}


def test_differences_to_members_are_paired_over_groups() -> None:
    truth, groups = ["a", "b"] * 20, [str(i // 2) for i in range(40)]
    wrong = ["b" if i % 4 == 0 else label for i, label in enumerate(truth)]
    block = member_block(
        truth,
        {"same": truth, "worse": wrong},
        truth,
        groups,
        weights={"same": 0.4, "worse": 0.6},
        bootstrap=500,
        seed=0,
    )["members"]
    assert block["same"]["difference"] == {"value": 0.0, "ci95": [0.0, 0.0]} and block["same"]["weight"] == 0.4
    assert block["worse"]["accuracy"]["value"] == 0.75 and block["worse"]["difference"]["value"] == 0.25
    low, high = block["worse"]["difference"]["ci95"]
    assert 0.1 < low < 0.25 < high < 0.4
    assert member_block(truth, {}, truth, groups, weights={}, bootstrap=500, seed=0) == {}


HEAD = "name: x\ndata: {manifest: a.csv, root: b}\nsplit: {test: 0.2, validation: 0.1}\n"


@pytest.mark.parametrize(
    ("members", "line"),
    [
        ("a: {preset: general}", "members: 1 given; a model has 2 to 8"),
        ("a: {preset: general, weight: 0.3}\n  b: {preset: instrument, weight: 0.3}", "their weights sum to 0.6"),
        ("a: {preset: general, weight: 0.3}\n  b: {preset: instrument}", "members.b: has no weight, but others have"),
        ("a: {preset: general}\n  a: {preset: instrument}", "line 6: key 'a' is given twice"),
        ("a: {preset: best}\n  b: {preset: instrument}", "members.a.preset: 'best': not a preset of one network"),
        ("a: {preset: generla}\n  b: {preset: instrument}", "members.a: preset 'generla': neither a file"),
        ("../a: {preset: general}\n  b: {preset: instrument}", "'../a' cannot name a folder"),
        ("a: {preset: general, train: {epoch: 4}}\n  b: {preset: instrument}", "line 5: members.a.train.epoch: 4"),
        ("a: {preset: general, features: {channel: 0}}\n  b: {preset: instrument}", "their features.channel differ"),
    ],
)
def test_faults_of_members_are_one_line_that_names_the_place(tmp_path: Path, members: str, line: str) -> None:
    with pytest.raises(ConfigError) as error:
        config.check_text(f"{HEAD}members:\n  {members}\n", tmp_path / "audiocnn.yaml")
    assert line in str(error.value) and "\n" not in str(error.value)


def test_settings_of_a_network_beside_members_are_refused(tmp_path: Path) -> None:
    text = f"{HEAD}model: '8C3-*'\nmembers:\n  a: {{preset: general}}\n  b: {{preset: instrument}}\n"
    with pytest.raises(ConfigError, match=r"model: with members, each has its own; move it to members\.NAME\.model"):
        config.check_text(text, tmp_path / "audiocnn.yaml")


def test_the_finest_member_gives_the_features_of_the_project(tmp_path: Path) -> None:
    text = f"{HEAD}members:\n  a: {{preset: general}}\n  b: {{preset: instrument, train: {{epochs: 7}}}}\n"
    experiment = config.check_text(text, tmp_path / "audiocnn.yaml")
    instrument = config.read_preset("instrument")
    assert experiment.features == instrument.features and experiment.train.epochs == 7
    project = config.Project(tmp_path / "audiocnn.yaml", experiment)
    assert [member.run.name for member in project.members.values()] == ["a", "b"]
    assert project.members["a"].experiment.model == config.read_preset("general").model


def test_of_members_with_equally_close_windows_the_first_is_the_finest(tmp_path: Path) -> None:
    other = LOGMEL.model_copy(update={"hop_frames": 8, "hop_length": 100, "sample_rate": 8_000})
    equal = MFCC.model_copy(update={"hop_frames": 10, "hop_length": 160, "sample_rate": 16_000})
    assert other.hop_s == equal.hop_s == MFCC.hop_s < LOGMEL.hop_s
    assert Combination([LOGMEL, equal, other, MFCC], [1] * 4, [0.25] * 4).finest == 1
    text = f"{HEAD}members:\n  b: {{preset: general}}\n  c: {{preset: general}}\n  a: {{preset: general}}\n"
    project = config.Project(tmp_path / "audiocnn.yaml", config.check_text(text, tmp_path / "audiocnn.yaml"))
    assert project.finest == "b" and project.members["a"].finest == ""
    assert [store.folder.parts[-3] for store in stores_of(project)] == ["b", "c", "a"]
