"""Scores of windows and recordings: probabilities for all logits, independent of the batch size."""

import numpy as np
import pytest
from scipy import special
from sklearn.metrics import log_loss

from audiocnn.features import extract
from audiocnn.features.analyze import RecordingStatus
from audiocnn.inference import scoring
from audiocnn.labels import Labels
from audiocnn.model.decision import Decision
from audiocnn.specs import FeatureSpec

SPEC = FeatureSpec(
    kind="logmel",
    sample_rate=8_000,
    n_fft=64,
    hop_length=40,
    n_mels=4,
    channels=("static",),
    window_frames=5,
    hop_frames=2,
    axes="bins_frames",
)
LABELS = Labels(("a", "b", "c"))
FOUR = Labels(("a", "b", "c", "d"))


def ok_status(frames, *, duration_s=10.0, n_channels=1):
    """Return the status of a recording with these frames."""
    return RecordingStatus("ok", duration_s=duration_s, n_channels=n_channels, n_frames=len(frames) // n_channels)


def logits_of(n, n_outputs, scale=3.0, seed=0):
    return np.random.default_rng(seed).normal(0, scale, (n, n_outputs)).astype(np.float32)


def test_log_scores_are_the_log_softmax_of_scipy():
    z = logits_of(50, 4)
    np.testing.assert_allclose(
        scoring.log_scores(z, FOUR), special.log_softmax(z.astype(np.float64), axis=1), rtol=1e-12
    )


def test_log_scores_are_finite_and_exact_for_logits_of_any_size():
    z = np.array([[1e4, 0, -1e4], [-1e4, -1e4, -1e4], [1e30, 0, 0]], np.float32)
    log = scoring.log_scores(z, LABELS)
    assert np.isfinite(log).all()
    assert log[0].tolist() == [0, -1e4, -2e4]
    np.testing.assert_allclose(log[1], np.log(1 / 3))


@pytest.mark.parametrize("positive", [0, 1])
def test_a_single_output_is_the_sigmoid_of_the_positive_label(positive):
    z = logits_of(50, 1)
    p = np.exp(scoring.log_scores(z, Labels(("a", "b"), positive="ab"[positive])))
    np.testing.assert_allclose(p[:, positive], special.expit(z[:, 0].astype(np.float64)), rtol=1e-12)
    np.testing.assert_allclose(p.sum(axis=1), 1)


def test_a_single_output_far_from_zero_keeps_its_logarithm():
    log = scoring.log_scores(np.array([[-800.0], [800.0]], np.float32), Labels(("a", "b"), positive="b"))
    assert log[:, 1].tolist() == [-800, 0]
    assert log[:, 0].tolist() == [0, -800]


@pytest.mark.parametrize(("n_outputs", "positive"), [(1, "b"), (2, None)])
def test_a_temperature_divides_the_logits(n_outputs, positive):
    labels = Labels(("a", "b"), positive)
    z = logits_of(50, n_outputs)
    hot = scoring.log_scores(z, labels, 2.0)
    np.testing.assert_allclose(hot, scoring.log_scores(z / 2, labels), rtol=1e-12)
    cold = scoring.log_scores(z, labels)
    assert np.array_equal(hot.argmax(axis=1), cold.argmax(axis=1))
    assert (np.exp(hot).max(axis=1) < np.exp(cold).max(axis=1)).all()


def test_the_scores_of_a_recording_are_the_normalised_geometric_mean_of_its_windows():
    p = special.softmax(logits_of(7, 4), axis=1).astype(np.float64)
    geometric = np.prod(p, axis=0) ** (1 / 7)
    np.testing.assert_allclose(scoring.recording_scores(np.log(p)), geometric / geometric.sum(), rtol=1e-6)


def test_a_recording_of_one_window_has_the_scores_of_that_window():
    log = scoring.log_scores(logits_of(1, 4), FOUR)
    np.testing.assert_allclose(scoring.recording_scores(log), np.exp(log[0]), rtol=1e-12)


def test_the_order_and_repetition_of_windows_change_no_score():
    log = scoring.log_scores(logits_of(9, 4), FOUR)
    scores = scoring.recording_scores(log)
    np.testing.assert_allclose(scoring.recording_scores(log[::-1]), scores, rtol=1e-12)
    np.testing.assert_allclose(scoring.recording_scores(np.tile(log, (3, 1))), scores, rtol=1e-12)


def test_windows_with_scores_too_small_for_a_float_still_give_scores():
    log = np.array([[0.0, -1e5], [-1e5, 0.0], [0.0, -1e5]])
    assert scoring.recording_scores(log).tolist() == [1.0, 0.0]


class LinearBundle:
    """A stand-in for a loaded bundle whose network is one matrix, and which records its batch sizes."""

    def __init__(self, *, labels=LABELS, n_outputs=3, temperature=1.0):
        self.spec, self.labels = SPEC, labels
        self.temperature = temperature
        self.decision = self.domain = None
        self.matrix = np.random.default_rng(8).normal(0, 0.3, (20, n_outputs)).astype(np.float32)
        self.batch_sizes = []

    def runtime(self, X):
        self.batch_sizes.append(len(X))
        return X.reshape(len(X), -1) @ self.matrix, X.reshape(len(X), -1)


def frames_of(n, seed=0):
    return np.random.default_rng(seed).standard_normal((n, 4, 1)).astype(np.float32)


def test_every_window_is_scored_and_the_recording_is_scored_from_all_of_them():
    bundle, frames = LinearBundle(), frames_of(20)
    recording_status = ok_status(frames)
    found = scoring.predict_frames(bundle, "x.wav", recording_status, frames)
    starts = np.arange(0, 16, 2)
    X = np.stack([frames[s : s + 5, :, 0].T for s in starts]).reshape(len(starts), -1)
    log = special.log_softmax((X @ bundle.matrix).astype(np.float64), axis=1)
    np.testing.assert_allclose(found.window_scores, np.exp(log), rtol=1e-5)
    np.testing.assert_allclose(found.scores, special.softmax(log.mean(axis=0)), rtol=1e-5)
    assert found.label == LABELS[found.scores.argmax()]
    assert found.score == found.scores.max()
    assert found.window_labels() == [LABELS[i] for i in log.argmax(axis=1)]
    assert found.starts_s.tolist() == pytest.approx([s * 40 / 8_000 for s in starts])
    assert found.ends_s == pytest.approx(found.starts_s + SPEC.window_s)
    assert (found.recording, found.recording_status, found.has_scores) == ("x.wav", recording_status, True)
    np.testing.assert_allclose(found.embedding, X.mean(axis=0), rtol=1e-5, atol=1e-7)


def test_windows_end_with_the_recording_at_the_latest():
    found = scoring.predict_frames(LinearBundle(), "x.wav", ok_status(frames_of(5), duration_s=0.012), frames_of(5))
    assert found.ends_s.tolist() == [0.012]


def test_scores_do_not_depend_on_the_batch_size(monkeypatch):
    frames = frames_of(200)
    whole = scoring.predict_frames(LinearBundle(), "x.wav", ok_status(frames), frames)
    monkeypatch.setattr(scoring, "_BATCH_VALUES", 7 * 20 + 19)
    bundle = LinearBundle()
    parts = scoring.predict_frames(bundle, "x.wav", ok_status(frames), frames)
    assert max(bundle.batch_sizes) == 7
    assert sum(bundle.batch_sizes) == len(extract.window_starts(200, SPEC))
    np.testing.assert_allclose(parts.window_scores, whole.window_scores, rtol=1e-6)
    np.testing.assert_allclose(parts.scores, whole.scores, rtol=1e-6)


def test_temperature_and_positive_label_come_from_the_bundle():
    frames = frames_of(9)
    bundle = LinearBundle(labels=Labels(("a", "b"), positive="a"), n_outputs=1, temperature=3.0)
    found = scoring.predict_frames(bundle, "x.wav", ok_status(frames), frames)
    z = np.stack([frames[s : s + 5, :, 0].T for s in (0, 2, 4)]).reshape(3, -1) @ bundle.matrix
    np.testing.assert_allclose(found.window_scores[:, 0], special.expit(z[:, 0] / 3), rtol=1e-5)


def test_the_score_of_a_window_is_the_normalised_mean_of_the_log_scores_of_its_tracks(monkeypatch):
    tracks = [frames_of(30, seed=k) for k in range(3)]
    side_by_side = np.stack(tracks, axis=1).reshape(-1, 4, 1)
    bundle = LinearBundle()
    alone = [scoring.predict_frames(bundle, "x.wav", ok_status(t), t).window_scores for t in tracks]
    bundle.spec = SPEC.model_copy(update={"channel": "each"})
    recording_status = ok_status(side_by_side, n_channels=3)
    found = scoring.predict_frames(bundle, "x.wav", recording_status, side_by_side)
    geometric = np.prod(alone, axis=0) ** (1 / 3)
    expected = geometric / geometric.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found.window_scores, expected, rtol=1e-5)
    np.testing.assert_allclose(found.scores, scoring.recording_scores(np.log(expected)), rtol=1e-5)
    assert len(found.starts_s) == len(alone[0])
    monkeypatch.setattr(scoring, "_BATCH_VALUES", 5 * 3 * 20)  # five windows of three tracks
    bundle.batch_sizes.clear()
    parts = scoring.predict_frames(bundle, "x.wav", recording_status, side_by_side)
    assert max(bundle.batch_sizes) == 15
    np.testing.assert_allclose(parts.window_scores, expected, rtol=1e-5)


def test_only_the_windows_of_a_stretch_are_scored():
    frames = frames_of(60)  # 0.005 s each
    recording_status = ok_status(frames, duration_s=0.3)
    whole = scoring.predict_frames(LinearBundle(), "x.wav", recording_status, frames)
    found = scoring.predict_frames(LinearBundle(), "x.wav", recording_status, frames, (0.1, 0.15))
    inside = (whole.starts_s >= 0.1) & (whole.ends_s <= 0.15 + 1e-9)
    assert found.starts_s.tolist() == whole.starts_s[inside].tolist()
    np.testing.assert_allclose(found.window_scores, whole.window_scores[inside], rtol=1e-6)
    np.testing.assert_allclose(found.scores, scoring.recording_scores(np.log(whole.window_scores[inside])), rtol=1e-6)
    assert found.recording_status.duration_s == pytest.approx(0.05)
    beyond = scoring.predict_frames(LinearBundle(), "x.wav", recording_status, frames, (0.4, 0.5))
    assert (beyond.has_scores, beyond.label, beyond.recording_status.codes) == (False, "", ("beyond_end",))


@pytest.mark.parametrize("status", ["silent", "unreadable"])
def test_a_recording_without_scores_has_no_label(status):
    bundle = LinearBundle()
    found = scoring.predict_frames(bundle, "x.wav", RecordingStatus(status), frames_of(0))
    assert (found.has_scores, found.label, found.score, found.window_labels()) == (False, "", None, [])
    assert found.scores.shape == (0,)
    assert found.window_scores.shape == (0, 3)
    assert bundle.batch_sizes == []


def test_the_decision_of_a_bundle_sets_unknown_and_the_label_set():
    frames = frames_of(20)
    bundle = LinearBundle()
    plain = scoring.predict_frames(bundle, "x.wav", ok_status(frames), frames)
    assert (plain.status, plain.doubt, plain.label_set) == ("ok", "", LABELS.names)
    away = -plain.embedding / np.linalg.norm(plain.embedding)
    rules = {"fitted_on": "validation", "n_recordings": 20, "n_groups": 20, "coverage": 0.9, "set_floor": 0.99}
    bundle.decision = Decision(**rules, unknown=0.02, typical=[away.tolist()] * 3, familiar_floor=0.5)
    strange = scoring.predict_frames(bundle, "x.wav", ok_status(frames), frames)
    assert (strange.status, strange.reason, strange.label) == ("unknown", "unfamiliar", plain.label)
    assert strange.label_set == (plain.label,)
    bundle.decision = Decision(**rules, unknown=0, thresholds={plain.label: 0.999})
    unsure = scoring.predict_frames(bundle, "x.wav", ok_status(frames), frames)
    assert (unsure.status, unsure.doubt) == ("unknown", "unsure")
    silent = scoring.predict_frames(bundle, "x.wav", RecordingStatus("silent", ("silent",)), frames_of(0))
    assert (silent.status, silent.reason, silent.doubt, silent.label_set) == ("silent", "silent", "", ())


def test_the_mean_log_score_is_the_log_loss_of_scikit_learn():
    y = np.arange(60) % 4
    log = scoring.log_scores(logits_of(60, 4), FOUR)
    assert -log[np.arange(60), y].mean() == pytest.approx(log_loss(y, np.exp(log)))
