"""The Keras network, the file made from it, and the runtime that needs no Keras."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from extras import require_keras

from audiocnn.errors import IntegrityError
from audiocnn.model import network
from audiocnn.model.notation import parse
from audiocnn.model.runtime import Runtime, quiet_stderr

require_keras()

# Between them: every kind of layer, both paddings, strides, all heads, embeddings that are flat and that are not.
NETWORKS = {
    "learned pooling": ("8C3-8C5S2-BN-P3S1-D3-16-*", (20, 33, 2), 2),
    "convolutional head": ("12C3V-BN-D1-P3S2-10C5VL-F-softmax", (13, 13, 1), 10),
    "global average": ("8C3-BN-8C3S2V-GAP-5L-sigmoid", (13, 9, 1), 5),
    "global maximum": ("8C3-P2S1-GMP-5", (13, 9, 1), 5),
    "no hidden layer": ("3", (4, 5, 1), 3),
    "blocks": ("6C3S2L-BN-HSWISH-[FN]+-8DS3S2W-[8IR5X2EH]+-12IR3S2X3H-[DW3L-SE]+-AP-9W-*", (20, 33, 2), 4),
}


class Trained:
    """A network whose weights and statistics are all away from their start, and what it is after export."""

    def __init__(self, notation, input_shape, n_labels):
        rng = np.random.default_rng(11)
        self.architecture = parse(notation, input_shape=input_shape, n_labels=n_labels)
        self.model = network.build(self.architecture)
        start = network.get_weights(self.model)
        network.set_weights(
            self.model, {name: w + rng.uniform(0, 0.2, w.shape).astype(np.float32) for name, w in start.items()}
        )
        bins = (input_shape[0], 1, input_shape[2])
        self.mean = rng.normal(-30, 10, bins).astype(np.float32)
        self.std = rng.uniform(5, 20, bins).astype(np.float32)
        self.X = (self.mean + self.std * rng.standard_normal((70, *input_shape))).astype(np.float32)
        self.serving = network.build_serving_model(self.model, self.mean, self.std)
        self.litert = network.export_litert(self.serving)


@pytest.fixture(scope="module", params=NETWORKS)
def trained(request):
    return Trained(*NETWORKS[request.param])


@pytest.fixture(scope="module")
def small():
    return Trained("8C3-BN-P2-16-*", (13, 9, 1), 3)


def assert_close(values, oracle):
    np.testing.assert_allclose(values, oracle, rtol=0, atol=1e-5 * max(1, np.abs(oracle).max()))


@pytest.mark.slow
def test_litert_agrees_with_keras_for_any_number_of_windows(trained):
    keras_outputs = trained.serving(trained.X, training=False)
    for n in (1, 7, 70):
        logits, embedding = Runtime(trained.litert)(trained.X[:n])
        assert logits.dtype == embedding.dtype == np.float32
        assert logits.shape == (n, trained.architecture.n_outputs)
        assert embedding.shape == (n, trained.architecture.embedding_size)
        assert_close(logits, keras_outputs["logits"].numpy()[:n])
        assert_close(embedding, keras_outputs["embedding"].numpy()[:n])


@pytest.mark.slow
def test_the_serving_model_standardises_raw_features(trained):
    logits = trained.serving(trained.X, training=False)["logits"].numpy()
    assert_close(logits, trained.model((trained.X - trained.mean) / trained.std, training=False).numpy())
    assert np.ptp(logits, axis=0).min() > 1e-3  # not one answer for everything


@pytest.mark.slow
def test_logits_are_the_last_layer_applied_to_the_embedding(small):
    outputs = small.serving(small.X, training=False)
    *_, kernel, bias = network.get_weights(small.model).values()
    assert_close(outputs["embedding"].numpy() @ kernel + bias, outputs["logits"].numpy())


def test_the_serving_model_shares_the_layers_of_the_model(small):
    again = network.build_serving_model(small.model, small.mean, small.std)
    before = again(small.X, training=False)["logits"].numpy()
    saved = network.get_weights(small.model)
    network.set_weights(small.model, {name: 0.5 * w for name, w in saved.items()})
    after = again(small.X, training=False)["logits"].numpy()
    network.set_weights(small.model, saved)
    assert not np.allclose(before, after)
    np.testing.assert_array_equal(again(small.X, training=False)["logits"].numpy(), before)


@pytest.mark.slow
def test_weights_can_be_set_in_a_new_network(trained):
    arrays = network.get_weights(trained.model)
    assert {name: w.shape for name, w in arrays.items()} == trained.architecture.weight_shapes
    assert list(arrays) == list(trained.architecture.weight_shapes)
    assert {w.dtype for w in arrays.values()} == {np.dtype(np.float32)}
    fresh = network.build(trained.architecture)
    X = (trained.X - trained.mean) / trained.std
    assert not np.allclose(fresh(X, training=False), trained.model(X, training=False))
    network.set_weights(fresh, arrays)
    np.testing.assert_array_equal(fresh(X, training=False), trained.model(X, training=False))


def test_weights_are_copies(small):
    arrays = network.get_weights(small.model)
    arrays["conv_1/kernel"][:] = 0
    assert network.get_weights(small.model)["conv_1/kernel"].any()


@pytest.mark.parametrize("fault", ["missing", "unknown", "shape"])
def test_weights_of_another_network_are_refused_and_change_nothing(small, fault):
    before = network.get_weights(small.model)
    arrays = {name: w + 1 for name, w in before.items()}
    if fault == "missing":
        del arrays["dense_5/bias"]
    elif fault == "unknown":
        arrays["dense_6/bias"] = np.zeros(3, np.float32)
    else:
        arrays["dense_5/bias"] = np.zeros(4, np.float32)
    with pytest.raises(IntegrityError, match=r"dense_[56]/bias"):
        network.set_weights(small.model, arrays)
    for name, w in network.get_weights(small.model).items():
        np.testing.assert_array_equal(w, before[name])


def test_a_window_has_the_same_logits_alone_in_a_batch_and_on_any_number_of_threads(small):
    logits, embedding = Runtime(small.litert, n_threads=2)(small.X)
    alone = Runtime(small.litert, n_threads=1)
    for i in (0, 33, 69):
        one_logits, one_embedding = alone(small.X[i : i + 1])
        np.testing.assert_allclose(one_logits[0], logits[i], rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(one_embedding[0], embedding[i], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("max_batch", [1, 3, 32, 69, 70, 1000])
def test_the_size_of_a_batch_changes_no_row_and_loses_none(small, max_batch):
    whole_logits, whole_embedding = Runtime(small.litert)(small.X)
    runtime = Runtime(small.litert)
    runtime._max_batch = max_batch
    for n in (70, 31, 70):  # shrinks and grows again
        logits, embedding = runtime(small.X[:n])
        np.testing.assert_allclose(logits, whole_logits[:n], rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(embedding, whole_embedding[:n], rtol=1e-6, atol=1e-6)


@pytest.mark.slow
def test_larger_windows_give_smaller_batches():
    def max_batch(input_shape):
        model = network.build(parse("64C3-GAP-2", input_shape=input_shape, n_labels=2))
        return Runtime(network.export_litert(network.build_serving_model(model, np.zeros(1), np.ones(1))))._max_batch

    narrow, wide = max_batch((13, 9, 1)), max_batch((200, 400, 1))
    assert wide * 200 * 400 * 64 * 4 <= 32 << 20
    assert narrow * 13 * 9 * 64 * 4 > 1 << 20


def test_no_windows_give_no_rows(small):
    logits, embedding = Runtime(small.litert)(small.X[:0])
    assert logits.shape == (0, 3)
    assert embedding.shape == (0, 16)


def test_overlapping_views_give_the_same_logits_as_copies(small):
    frames = np.concatenate(list(small.X[:8]), axis=1)[:, :, 0]  # (13, 72)
    windows = np.lib.stride_tricks.sliding_window_view(frames, 9, axis=1)[:, ::3].transpose(1, 0, 2)[..., None]
    runtime = Runtime(small.litert)
    np.testing.assert_array_equal(runtime(windows)[0], runtime(np.ascontiguousarray(windows))[0])


def test_windows_of_another_shape_are_refused(small):
    with pytest.raises(ValueError, match=r"\(13, 9, 1\), got \(9, 13, 1\)"):
        Runtime(small.litert)(np.zeros((2, 9, 13, 1), np.float32))


def test_invalid_bytes_are_an_integrity_error(small):
    for content in (b"", b"not a flatbuffer at all", small.litert[:400]):
        with pytest.raises(IntegrityError, match=r"model\.tflite"):
            Runtime(content)


@pytest.mark.slow
def test_a_network_without_the_two_outputs_is_an_integrity_error(small):
    with pytest.raises(IntegrityError, match="needs the names features, logits and embedding"):
        Runtime(network.export_litert(small.model))


@pytest.mark.slow
def test_a_network_for_a_fixed_number_of_windows_is_an_integrity_error(small, tmp_path):
    import tensorflow as tf

    path = tmp_path / "four.tflite"
    four = [tf.TensorSpec((4, 13, 9, 1), tf.float32, name="features")]
    small.serving.export(path, format="litert", verbose=False, input_signature=four)
    with pytest.raises(IntegrityError, match="free batch dimension"):
        Runtime(path.read_bytes())


def test_the_file_uses_only_operations_of_the_litert_core(small):
    # Operations of the core only: Flex ones would need the whole of TensorFlow.
    assert b"Flex" not in small.litert
    weights = sum(w.nbytes for w in network.get_weights(small.model).values())
    assert weights < len(small.litert) < weights + 50_000  # the weights are inside


def test_the_runtime_is_silent_and_needs_no_tensorflow(small, tmp_path):
    (tmp_path / "model.tflite").write_bytes(small.litert)
    script = (
        "import sys, pathlib, numpy as np\n"
        "from audiocnn.model.runtime import Runtime\n"
        "runtime = Runtime(pathlib.Path(sys.argv[1]).read_bytes())\n"
        "runtime(np.zeros((5, 13, 9, 1), np.float32))\n"
        "print(sorted({'tensorflow', 'keras', 'scipy', 'pandas'} & set(sys.modules)))\n"
    )
    run = [sys.executable, "-c", script, str(tmp_path / "model.tflite")]
    done = subprocess.run(run, capture_output=True, text=True, check=True, env=_with_package())
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.slow
def test_building_and_exporting_print_nothing():
    script = (
        "import numpy as np\n"
        "from audiocnn.model import network\n"
        "from audiocnn.model.notation import parse\n"
        "model = network.build(parse('4C3-P2-*', input_shape=(13, 9, 1), n_labels=3))\n"
        "network.export_litert(network.build_serving_model(model, np.zeros(1), np.ones(1)))\n"
    )
    run = [sys.executable, "-c", script]
    done = subprocess.run(run, capture_output=True, text=True, check=True, env=_with_package())
    assert (done.stdout, done.stderr) == ("", "")


def test_suppressed_output_is_printed_when_the_body_fails(capfd):
    def fail():
        os.write(2, b"the cause\n")
        raise RuntimeError

    with quiet_stderr():
        os.write(2, b"chatter\n")
    with pytest.raises(RuntimeError), quiet_stderr():
        fail()
    os.write(2, b"open again\n")
    assert capfd.readouterr().err == "the cause\nopen again\n"


def _with_package():
    root = str(Path(network.__file__).parents[2])
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))}


def test_updated_batch_norm_statistics_are_the_average_over_the_batches():
    model = network.build(parse("4C3-BN-D5-8C3-BN-*", input_shape=(6, 5, 1), n_labels=3))
    batches = [np.random.default_rng(0).normal(3, 2, (n, 6, 5, 1)).astype(np.float32) for n in (30, 10)]
    momentum = model.get_layer("bn_2").momentum
    network.update_batch_norm(model, iter(batches))
    assert model.get_layer("bn_2").momentum == momentum
    planes = [np.asarray(model.get_layer("conv_1")(X)) for X in batches]
    found = network.get_weights(model)
    for name, of in (("moving_mean", np.mean), ("moving_variance", np.var)):
        wanted = np.average([of(x, axis=(0, 1, 2)) for x in planes], axis=0, weights=[30, 10])
        np.testing.assert_allclose(found[f"bn_2/{name}"], wanted, rtol=1e-4)
    network.update_batch_norm(model, iter(batches))  # dropout is off, so there is nothing left to chance
    assert all(np.array_equal(array, found[name]) for name, array in network.get_weights(model).items())


def test_frozen_batch_norm_is_not_updated_and_a_network_without_any_reads_no_batch():
    frozen = network.build(parse("4C3-BN-*", input_shape=(6, 5, 1), n_labels=3))
    frozen.get_layer("bn_2").trainable = False
    unread = (pytest.fail("was read") for _ in range(1))
    network.update_batch_norm(frozen, unread)
    network.update_batch_norm(network.build(parse("4C3-*", input_shape=(6, 5, 1), n_labels=3)), unread)
