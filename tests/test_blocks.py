"""Blocks of networks in Keras: they equal the same layers written out, and NumPy."""

import random

import numpy as np
import pytest
from extras import require_keras

from audiocnn.model import network
from audiocnn.model.layers import Convolution
from audiocnn.model.notation import parse

require_keras()

SHAPE = (10, 12, 1)
WRITTEN_OUT = {
    "DS": ("8C1-12DS3S2H-GAP-*", "8C1-DW3S2L-BN-HSWISH-12C1L-BN-HSWISH-GAP-*"),
    "IR": ("8C1-8IR5X4EW-GAP-*", "8C1-[32C1L-BN-SILU-DW5L-BN-SILU-SE-8C1L-BN]+-GAP-*"),
}


def built(notation, shape=SHAPE, axes="bins_frames", seed=3):
    """A network whose weights and statistics are all away from their start."""
    net, rng = parse(notation, input_shape=shape, n_labels=3, axes=axes), np.random.default_rng(seed)
    model = network.build(net)
    arrays = {name: w + rng.uniform(0, 0.3, w.shape) for name, w in network.get_weights(model).items()}
    network.set_weights(model, {name: w.astype(np.float32) for name, w in arrays.items()})
    return net, model


def windows(shape=SHAPE, n=5):
    return np.random.default_rng(1).normal(0.5, 2, (n, *shape)).astype(np.float32)


@pytest.mark.parametrize("name", WRITTEN_OUT)
def test_a_block_computes_what_its_layers_do_when_written_out(name):
    (_, block), (net, chain) = (built(notation) for notation in WRITTEN_OUT[name])
    superfluous = {f"{layer.name}/bias" for layer in net.layers[1:] if isinstance(layer, Convolution)}
    given = iter(network.get_weights(block).values())
    arrays = network.get_weights(chain).items()
    network.set_weights(chain, {key: np.zeros_like(w) if key in superfluous else next(given) for key, w in arrays})
    assert next(given, None) is None
    X = windows()
    np.testing.assert_allclose(block(X, training=False), chain(X, training=False), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("axes", ["bins_frames", "frames_bins"])
def test_frequency_norm_and_attention_pooling_equal_numpy_on_both_axes(axes):
    time = 2 if axes == "bins_frames" else 1
    net, model = built("6C1L-FN-AP-*", axes=axes)
    X, weights = windows(), network.get_weights(model)
    plane = X @ weights["conv_1/kernel"][0, 0] + weights["conv_1/bias"]
    together = (time, 3)
    plane = (plane - plane.mean(together, keepdims=True)) / np.sqrt(plane.var(together, keepdims=True) + 1e-3)
    frames = plane.mean(3 - time)
    scores = frames @ weights["conv_3_score/kernel"][0, 0]
    shares = np.exp(scores - scores.max(1, keepdims=True))
    pooled = (frames * shares / shares.sum(1, keepdims=True)).sum(1)
    expected = pooled @ weights["dense_4/kernel"] + weights["dense_4/bias"]
    np.testing.assert_allclose(model(X, training=False), expected, rtol=1e-4, atol=1e-4)
    assert net.layers[2].output_shape == (6,)


def test_batch_norm_inside_blocks_is_estimated_from_the_windows():
    _, model = built("4C3-[4DS3-D5]+-4IR3X2E-AP-*")
    X = windows(n=16)
    network.update_batch_norm(model, [X])
    found = network.get_weights(model)
    assert sum(name.endswith("moving_mean") for name in found) == 5
    network.update_batch_norm(model, [X])  # dropout is off, so there is nothing left to chance
    assert all(np.array_equal(array, found[name]) for name, array in network.get_weights(model).items())
    keras = network.load_keras()
    plane = keras.Model(model.inputs[0], model.get_layer("bn_2_spatial").input)(X, training=False).numpy()
    np.testing.assert_allclose(found["bn_2_spatial/moving_mean"], plane.mean((0, 1, 2)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["bn_2_spatial/moving_variance"], plane.var((0, 1, 2)), rtol=1e-3)


def random_notation(rng):
    """A network of up to five random layers that fit planes of any size."""

    def some(text):
        return rng.choice(["", *text.split()])

    forms = [
        lambda: f"{rng.randint(1, 8)}C{rng.randint(1, 5)}{some('S2')}{some('L H W')}",
        lambda: f"DW{rng.randint(1, 5)}{some('S2')}{some('L H W')}",
        lambda: f"{rng.randint(1, 8)}DS{rng.randint(1, 5)}{some('S3')}{some('L H W')}",
        lambda: f"{rng.randint(1, 8)}IR3{some('S2')}X{rng.randint(1, 3)}{some('E')}{some('H W')}",
        lambda: rng.choice(["SE", "BN", "FN", "RELU", "SILU", "HSWISH", "D3", "P2S1"]),
        lambda: rng.choice(["[FN]+", "[DW3-BN]+", "[[SE]+-FN-RELU]+", "[D5-[DW3L]+]+"]),
    ]
    tokens = [rng.choice(forms)() for _ in range(rng.randint(1, 5))]
    return "-".join([*tokens, rng.choice(["GAP", "GMP", "AP", "F"]), rng.choice(["16H-*", "*"])])


def counted(model):
    """The multiply-adds of the layers that Keras built, from their own shapes."""
    total = 0
    for layer in model.layers:
        size, kernel = int(np.prod(layer.output.shape[1:])), int(np.prod(getattr(layer, "kernel", np.zeros(0)).shape))
        match type(layer).__name__:
            case "Conv2D" | "DepthwiseConv2D":
                total += int(np.prod(layer.output.shape[1:3])) * kernel
            case "Dense":
                total += kernel
            case "BatchNormalization" | "Multiply" | "Rescaling":
                total += size
            case "LayerNormalization":
                total += 2 * size
    return total


@pytest.mark.parametrize("seed", range(8))
def test_keras_builds_what_a_random_notation_says(seed):
    rng = random.Random(seed)
    notation = random_notation(rng)
    shape = (rng.randint(1, 20), rng.randint(1, 20), rng.randint(1, 3))
    net, model = built(notation, shape, rng.choice(["bins_frames", "frames_bins"]))
    for step in net.steps:
        assert model.get_layer(step.name).output.shape[1:] == step.output_shape
    assert [(f"{k.name}/{w.name}", w.shape) for k in model.layers for w in k.weights] == [*net.weight_shapes.items()]
    assert model.count_params() == net.n_params
    assert counted(model) == net.multiply_adds
