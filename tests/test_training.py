"""Training: what is optimised, when it stops, what is kept. NumPy recomputes what Keras reports."""

import contextlib
from functools import cache

import numpy as np
import pytest
from extras import require_keras
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_sample_weight

from audiocnn.errors import ConfigError
from audiocnn.model import network
from audiocnn.model.notation import parse
from audiocnn.progress import Progress
from audiocnn.specs import TrainSpec
from audiocnn.training import fit as training
from audiocnn.training.fit import learning_rate

require_keras()

SHAPE = (13, 9, 1)
UNSCALED = (np.zeros((1, 1, 1), np.float32), np.ones((1, 1, 1), np.float32))
EQUAL = {0: 1.0, 1: 1.0, 2: 1.0}


def spec_of(**changes):
    values = {"epochs": 1, "patience": 50, "optimizer": "sgd", "learning_rate": 0.5, "batch_size": 1_000}
    return TrainSpec(**{**values, **changes})


def windows(n_labels, counts, *, seed=0, distance=1.0, shape=SHAPE):
    """Noise with a blob of its own for each label; ``distance`` is the blob's height over the noise."""
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(n_labels), counts)
    X = rng.standard_normal((len(y), *shape)).astype(np.float32)
    for label in range(n_labels):
        X[y == label, 2 + 4 * label : 5 + 4 * label, 2:6] += distance
    order = rng.permutation(len(y))
    return X[order], y[order]


def fit(notation, n_labels, spec, train, validation=None, *, scale=UNSCALED, weights=EQUAL, progress=None):
    architecture = parse(notation, input_shape=train[0].shape[1:], n_labels=n_labels)
    return training.fit(
        architecture,
        spec,
        train=train,
        validation=validation or windows(n_labels, 5, seed=9, shape=train[0].shape[1:]),
        scale=scale,
        weights={k: weights[k] for k in range(max(2, architecture.n_outputs))},
        progress=progress or Progress(),
    )


def weights_of(trained):
    return network.get_weights(trained.model)


def start_of(notation, n_labels, seed=0):
    """Weights before the first step."""
    network.load_keras().utils.set_random_seed(seed)
    return network.get_weights(network.build(parse(notation, input_shape=SHAPE, n_labels=n_labels)))


def linear(weights, X):
    """Logits of a network that is one dense layer."""
    return X.reshape(len(X), -1).astype(np.float64) @ weights["dense_1/kernel"] + weights["dense_1/bias"]


def probabilities(logits):
    """(n, n_labels), whether the logits are of one sigmoid or of a softmax."""
    if logits.shape[1] == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
    exponential = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponential / exponential.sum(axis=1, keepdims=True)


def losses(name, logits, y):
    """The loss of every window."""
    p = probabilities(logits)
    if name == "cross_entropy":
        return -np.log(p[np.arange(len(y)), y])
    if logits.shape[1] == 1:
        return np.square(y - p[:, 1])
    return np.square(np.eye(p.shape[1])[y] - p).mean(axis=1)


def test_balanced_weights_are_those_of_scikit_learn():
    y = windows(3, [70, 20, 10])[1]
    weights = training.class_weights(y, 3, "balanced")
    np.testing.assert_allclose([weights[k] for k in y], compute_sample_weight("balanced", y))
    assert training.class_weights(y, 3, "none") == EQUAL


def test_a_label_without_windows_cannot_be_balanced():
    with pytest.raises(ConfigError, match="label number 1") as refusal:
        training.class_weights(np.array([0, 2, 2]), 3, "balanced")
    assert "\n" not in str(refusal.value)


class OneStep:
    """A linear network before and after one training step, with balanced class weights."""

    def __init__(self, loss, n_labels):
        self.X, self.y = windows(n_labels, [40, 10, 4][:n_labels])
        self.validation = windows(n_labels, [30, 5, 5][:n_labels], seed=1)
        self.start = start_of("*", n_labels)
        self.weights = training.class_weights(self.y, n_labels, "balanced")
        spec = spec_of(loss=loss, learning_rate=0.5)
        self.trained = fit("*", n_labels, spec, (self.X, self.y), self.validation, weights=self.weights)


one_step = cache(OneStep)
OUTPUTS_AND_LOSSES = [
    (2, "cross_entropy"),
    (3, "cross_entropy"),
    pytest.param(2, "mse", marks=pytest.mark.slow),
    pytest.param(3, "mse", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("n_labels", "loss"), OUTPUTS_AND_LOSSES)
def test_the_reported_loss_is_the_mean_of_the_weighted_losses_of_the_windows(n_labels, loss):
    step = one_step(loss, n_labels)
    at_start = losses(loss, linear(step.start, step.X), step.y)
    weighted = np.mean(at_start * [step.weights[k] for k in step.y])
    assert abs(weighted - at_start.mean()) > 0.01  # these windows tell the two apart
    assert step.trained.history[0]["loss"] == pytest.approx(weighted, rel=1e-4)


@pytest.mark.parametrize("n_labels", [2, 3])
def test_a_training_step_follows_the_gradient_of_the_weighted_loss(n_labels):
    step = one_step("cross_entropy", n_labels)
    X, y, start, trained = step.X, step.y, step.start, weights_of(step.trained)
    each = np.array([step.weights[k] for k in y])[:, None]
    slope = each * (probabilities(linear(start, X)) - np.eye(n_labels)[y])  # of the loss by the logits
    slope = slope[:, 1:] if n_labels == 2 else slope
    np.testing.assert_allclose(
        trained["dense_1/kernel"], start["dense_1/kernel"] - 0.5 * X.reshape(len(X), -1).T @ slope / len(X), atol=1e-5
    )
    np.testing.assert_allclose(trained["dense_1/bias"], -0.5 * slope.mean(axis=0), atol=1e-5)


@pytest.mark.parametrize(("n_labels", "loss"), OUTPUTS_AND_LOSSES)
def test_validation_figures_are_unweighted_and_those_of_the_network_returned(n_labels, loss):
    step = one_step(loss, n_labels)
    V, v = step.validation
    logits = linear(weights_of(step.trained), V)
    assert step.trained.history[0]["val_loss"] == pytest.approx(losses(loss, logits, v).mean(), rel=1e-4)
    right = (probabilities(logits).argmax(axis=1) == v).mean()
    assert step.trained.history[0]["val_accuracy"] == pytest.approx(right, abs=1e-6)


@pytest.mark.parametrize(("axes", "shape"), [("bins_frames", (5, 7, 2)), ("frames_bins", (7, 5, 2))])
def test_standardization_by_bin_is_that_of_a_standard_scaler_over_all_frames(axes, shape):
    X = np.random.default_rng(3).normal(-40, 12, (20, *shape)).astype(np.float32)
    X *= np.arange(1, 6).reshape((1, 5, 1, 1) if axes == "bins_frames" else (1, 1, 5, 1))
    mean, std = training.standardization([X], "bin", axes)
    frames = (X.swapaxes(1, 2) if axes == "bins_frames" else X).reshape(-1, 10)
    scaler = StandardScaler().fit(frames.astype(np.float64))
    np.testing.assert_allclose(mean.reshape(-1), scaler.mean_, rtol=1e-5)
    np.testing.assert_allclose(std.reshape(-1), scaler.scale_, rtol=1e-5)
    np.testing.assert_allclose(((X - mean) / std).mean(axis=0).mean(), 0, atol=1e-5)


@pytest.mark.parametrize("how", ["bin", "channel"])
@pytest.mark.parametrize("axes", ["bins_frames", "frames_bins"])
def test_standardization_over_chunks_of_any_size_is_that_of_the_whole(how, axes):
    X = np.random.default_rng(4).normal(-40, 1, (101, 5, 7, 2)).astype(np.float32)
    X += 20 * np.linspace(0, 1, 101, dtype=np.float32)[:, None, None, None] ** 2  # no chunk is like the others
    over = (0, 1, 2) if how == "channel" else (0, 2) if axes == "bins_frames" else (0, 1)
    for size in (1, 7, 50, 101):
        chunks = (X[first : first + size] for first in range(0, len(X), size))
        mean, std = training.standardization(chunks, how, axes)
        np.testing.assert_allclose(mean, X.mean(axis=over, keepdims=True, dtype=np.float64)[0], rtol=1e-6)
        np.testing.assert_allclose(std, X.std(axis=over, keepdims=True, dtype=np.float64)[0], rtol=1e-6)


def test_standardization_by_channel_leaves_the_shape_of_the_spectrum_and_none_leaves_everything():
    X = np.random.default_rng(3).normal(5, 2, (20, 5, 7, 2)).astype(np.float32)
    X[..., 1] *= 100
    mean, std = training.standardization([X], "channel", "bins_frames")
    assert mean.shape == std.shape == (1, 1, 2)
    np.testing.assert_allclose(((X - mean) / std).reshape(-1, 2).std(axis=0), 1, rtol=1e-4)
    mean, std = training.standardization([X], "none", "bins_frames")
    assert np.array_equal((X - mean) / std, X)


def test_a_band_that_never_moves_does_not_become_infinite():
    X = np.random.default_rng(3).normal(5, 2, (20, 5, 7, 1)).astype(np.float32)
    X[:, 2] = -100
    mean, std = training.standardization([X], "bin", "bins_frames")
    assert np.array_equal(((X - mean) / std)[:, 2], np.zeros((20, 7, 1)))


@pytest.mark.slow
def test_training_on_raw_windows_with_a_scale_is_training_on_standardised_ones():
    X, y = windows(3, 20)
    validation = windows(3, 5, seed=1)
    raw, raw_validation = X * 15 - 40, (validation[0] * 15 - 40, validation[1])
    mean, std = training.standardization([raw], "bin", "bins_frames")
    one = fit("*", 3, spec_of(), (raw, y), raw_validation, scale=(mean, std))
    other = fit("*", 3, spec_of(), ((raw - mean) / std, y), ((raw_validation[0] - mean) / std, validation[1]))
    assert one.history[0]["val_loss"] == pytest.approx(other.history[0]["val_loss"], rel=1e-6)
    assert np.array_equal(one.mean, mean)
    assert np.array_equal(one.std, std)


@pytest.mark.slow
def test_the_same_seed_trains_the_same_weights_and_another_seed_others():
    train = windows(3, 20)
    spec = spec_of(optimizer="adam", learning_rate=1e-2, batch_size=8, seed=5)
    one, same, other = (
        weights_of(fit("2C3-P2-D5-*", 3, s, train)) for s in (spec, spec, spec.model_copy(update={"seed": 6}))
    )
    assert all(np.array_equal(one[name], same[name]) for name in one)
    assert not any(np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.slow
def test_windows_are_shuffled():
    X, y = windows(2, 20)
    in_order = start_of("*", 2)
    for window, label in zip(X, y, strict=True):
        slope = probabilities(linear(in_order, window[None]))[0, 1] - label
        in_order["dense_1/kernel"] = in_order["dense_1/kernel"] - 0.05 * slope * window.reshape(-1, 1)
        in_order["dense_1/bias"] = in_order["dense_1/bias"] - 0.05 * slope
    trained = weights_of(fit("*", 2, spec_of(batch_size=1, learning_rate=0.05), (X, y)))
    assert np.abs(trained["dense_1/kernel"] - in_order["dense_1/kernel"]).max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(("monitor", "epochs", "patience"), [("accuracy", 40, 3), ("loss", 8, 100)])
def test_training_stops_after_patience_or_the_last_epoch_and_the_best_epoch_is_what_is_kept(monitor, epochs, patience):
    train = windows(2, 12, distance=0.3)
    validation = windows(2, 40, seed=1, distance=0.3)
    spec = spec_of(
        optimizer="adam", learning_rate=0.05, batch_size=6, epochs=epochs, patience=patience, monitor=monitor
    )
    trained = fit("16-*", 2, spec, train, validation)
    figures = [epoch[f"val_{monitor}"] for epoch in trained.history]
    best = min(figures) if monitor == "loss" else max(figures)
    assert trained.best_epoch == figures.index(best) + 1
    assert trained.best_epoch < len(trained.history) == min(trained.best_epoch + patience, epochs) < 40
    assert [epoch["epoch"] for epoch in trained.history] == list(range(1, len(trained.history) + 1))
    logits = np.asarray(trained.model(validation[0], training=False))
    kept = {
        "loss": losses("cross_entropy", logits.astype(np.float64), validation[1]).mean(),
        "accuracy": ((logits[:, 0] > 0) == validation[1]).mean(),
    }
    assert kept[monitor] == pytest.approx(best, rel=1e-4)


@pytest.mark.slow
def test_the_learning_rate_decays_from_epoch_to_epoch_and_moves_the_weights_accordingly():
    X, y = windows(3, 20)
    steps, weights = [], [start_of("*", 3)]
    for epochs in (1, 2):
        trained = fit(
            "*", 3, spec_of(epochs=epochs, learning_rate=0.1, schedule="exponential", decay=0.01), (X, y), (X, y)
        )
        weights.append(weights_of(trained))
        steps.append(np.abs(weights[-1]["dense_1/kernel"] - weights[-2]["dense_1/kernel"]).max())
    assert [epoch["learning_rate"] for epoch in trained.history] == pytest.approx([0.1, 0.001])
    assert steps[1] / steps[0] == pytest.approx(0.01, rel=0.3)


@pytest.mark.parametrize("how", ["bin", "channel", "none"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("chunk", [0, 1])
def test_windows_that_are_not_numbers_are_refused_in_one_line(how, value, chunk):
    chunks = [windows(3, 10)[0], windows(3, 5)[0]]
    chunks[chunk][3, 4, 5] = value
    with pytest.raises(ConfigError, match="not finite; run 'audiocnn featurize' again") as refusal:
        training.standardization(chunks, how, "bins_frames")
    assert "\n" not in str(refusal.value)


def test_a_loss_that_is_no_longer_a_number_is_refused_in_one_line():
    X, y = windows(3, 10)
    with pytest.raises(ConfigError, match=r"loss .*is not finite in epoch 1.*; lower") as refusal:
        fit("8-*", 3, spec_of(), (X * np.float32(1e37), y))
    assert "\n" not in str(refusal.value)


@pytest.mark.slow
def test_an_easy_task_is_learned():
    train, validation = windows(3, [60, 60, 20], distance=2), windows(3, 30, seed=1, distance=2)
    spec = spec_of(optimizer="adam", learning_rate=5e-3, batch_size=16, epochs=12, patience=12)
    weights = training.class_weights(train[1], 3, "balanced")
    trained = fit("4C3-P2-8-*", 3, spec, train, validation, weights=weights)
    found = probabilities(np.asarray(trained.model(validation[0], training=False))).argmax(axis=1)
    recalls = [(found[validation[1] == label] == label).mean() for label in range(3)]
    assert min(recalls) > 0.95


@pytest.mark.slow
def test_progress_counts_every_step_once():
    class Counting(Progress):
        done, total, notes = 0, None, []

        @contextlib.contextmanager
        def task(self, title, *, total, unit):
            self.total = total

            def advance(amount=1, note=""):
                self.done += amount
                self.notes.append(note)

            yield advance

    progress = Counting()
    fit("*", 2, spec_of(batch_size=1, epochs=2, learning_rate=1e-3), windows(2, 11), progress=progress)
    assert progress.done == progress.total == 2 * 22
    assert "epoch 2/2" in progress.notes[-1]


def test_learning_rates_are_those_of_the_sources():
    def rates(**fields):
        spec = TrainSpec(**{"epochs": 5, "patience": 5, "learning_rate": 0.003, **fields})
        return [learning_rate(spec, epoch) for epoch in range(5)]

    assert rates() == [0.003] * 5
    assert rates(schedule="exponential", decay=0.95) == pytest.approx([0.003 * 0.95**e for e in range(5)])
    assert rates(schedule="inverse", decay=0.319) == pytest.approx([0.003 / (1 + 0.319 * e) for e in range(5)])
    cosine = rates(schedule="cosine", warmup_epochs=1)
    assert cosine[0] == pytest.approx(0.0015)
    assert cosine[1:] == pytest.approx([0.003 * (1 + np.cos(np.pi * e / 4)) / 2 for e in range(4)])


@pytest.mark.slow
def test_label_smoothing_is_that_of_keras():
    X, y = windows(3, 20)
    smooth = fit("*", 3, spec_of(label_smoothing=0.2), (X, y), (X, y))
    logits = linear(start_of("*", 3), X)
    wanted = np.eye(3)[y] * 0.8 + 0.2 / 3
    expected = -(wanted * np.log(probabilities(logits))).sum(axis=1).mean()
    assert smooth.history[0]["loss"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_the_weights_that_are_averaged_are_those_that_are_validated_and_kept():
    X, y = windows(2, 40)
    spec = spec_of(learning_rate=0.3, batch_size=8, epochs=2, patience=2, average=0.8)
    trained = fit("*", 2, spec, (X, y), (X, y))
    logits = linear(weights_of(trained), X)
    best = trained.history[trained.best_epoch - 1]
    assert best["val_loss"] == pytest.approx(losses("cross_entropy", logits, y).mean(), rel=1e-4)
    raw = fit("*", 2, spec.model_copy(update={"average": 0.0}), (X, y), (X, y))
    assert not np.allclose(weights_of(raw)["dense_1/kernel"], weights_of(trained)["dense_1/kernel"])


@pytest.mark.slow
def test_where_nothing_chooses_all_epochs_are_trained_and_the_last_is_kept():
    (X, y), noise = windows(2, 40), windows(2, 40, seed=5, distance=0.0)  # which only gets worse
    spec = spec_of(learning_rate=0.5, batch_size=8, epochs=6, patience=1)
    watched = fit("*", 2, spec.model_copy(update={"monitor": "none"}), (X, y), noise)
    assert (watched.best_epoch, len(watched.history)) == (6, 6)
    assert watched.history[1]["val_loss"] > watched.history[0]["val_loss"]  # or this test shows nothing
    architecture = parse("*", input_shape=SHAPE, n_labels=2)
    alone = training.fit(
        architecture, spec, train=(X, y), validation=None, scale=UNSCALED, weights={0: 1.0, 1: 1.0}, progress=Progress()
    )
    assert (alone.best_epoch, len(alone.history)) == (6, 6)
    assert "val_loss" not in alone.history[0]
    assert np.array_equal(weights_of(alone)["dense_1/kernel"], weights_of(watched)["dense_1/kernel"])


def normalised_by_batch(trained, X):
    """Logits where each batch normalisation takes mean and variance of ``X``."""
    kind = network.load_keras().layers.BatchNormalization
    clone = network.build(parse(DEEP, input_shape=SHAPE, n_labels=2))
    network.set_weights(clone, weights_of(trained))
    for layer in clone.layers[1:]:
        X = layer(X, training=isinstance(layer, kind))
    return np.asarray(X)


DEEP = "4C3-BN-P2-8C3-BN-GAP-*"
SMALL = np.float32(0.05)  # windows of small numbers: the initial variance, 1, outweighs theirs for some hundred steps


def share_right(logits, y):
    return ((np.asarray(logits)[:, 0] > 0) == y).mean()


@pytest.mark.slow
def test_a_network_of_few_recordings_is_as_good_evaluated_as_with_the_statistics_of_the_batch():
    X, y = windows(2, 48, distance=2)  # four windows of each of 24 recordings
    spec = spec_of(
        optimizer="adamw", learning_rate=3e-3, schedule="cosine", weight_decay=0.01, average=0.97, batch_size=32,
        mixup=0.3, epochs=40, monitor="none",
    )  # fmt: skip
    trained = training.fit(
        parse(DEEP, input_shape=SHAPE, n_labels=2), spec, train=(X * SMALL, y), validation=None, scale=UNSCALED,
        weights={0: 1.0, 1: 1.0}, progress=Progress(),
    )  # fmt: skip
    batch = share_right(normalised_by_batch(trained, X * SMALL), y)
    assert batch > 0.8  # or this test shows nothing
    assert share_right(trained.model(X * SMALL, training=False), y) == pytest.approx(batch, abs=0.05)


@pytest.mark.slow
def test_validation_figures_mean_what_they_say_from_the_first_epoch():
    (X, y), (V, v) = windows(2, 200, distance=2), windows(2, 50, seed=1, distance=2)
    spec = spec_of(optimizer="adam", learning_rate=0.01, average=0.9, batch_size=8, epochs=2, monitor="none")
    trained = fit(DEEP, 2, spec, (X * SMALL, y), (V * SMALL, v))
    assert trained.history[0]["val_accuracy"] > 0.7
    for part, target in ((X, y), (V, v)):
        batch = share_right(normalised_by_batch(trained, part * SMALL), target)
        assert batch > 0.7  # or this test shows nothing
        assert share_right(trained.model(part * SMALL, training=False), target) == pytest.approx(batch, abs=0.05)
    kept = share_right(trained.model(V * SMALL, training=False), v)
    assert trained.history[-1]["val_accuracy"] == pytest.approx(kept, abs=1e-6)
