"""The notation: what it means, what it costs, and how it refuses."""

import dataclasses
import gc
import itertools
import math

import pytest

from audiocnn.errors import ArchitectureError
from audiocnn.model.layers import Conv, Dense, Dropout, Head, MaxPool, Sum
from audiocnn.model.notation import parse

INSTRUMENT, SPECTROGRAM, DIGITS, IMAGE, LARGE = (13, 9, 1), (50, 128, 2), (28, 28, 1), (32, 32, 3), (250, 250, 1)

# Parameter counts that the sources of these networks print, or that Keras gives.
NETWORKS = {
    "instrument": (INSTRUMENT, "32C3-32C3-64C3-128C3-P2-D5-128-64-10", 504_170),
    "spectrogram, depth 2": (SPECTROGRAM, "[32C3-P2]-[64C3-P2]-512-D3-1", 12_603_041),
    "spectrogram, depth 3": (SPECTROGRAM, "[32C3-P2]-[64C3-P2]-[128C3-P2]-512-D3-1", 6_385_441),
    "spectrogram, depth 4": (SPECTROGRAM, "[32C3-P2]-[64C3-P2]-[128C3-P2]-[256C3-P2]-512-D3-1", 3_534_881),
    "spectrogram, learned pooling": (SPECTROGRAM, "32C3-32C5S2-64C3-64C5S2-128C3-128C5S2-512-D3-1", 7_971_841),
    "spectrogram, normalised": (SPECTROGRAM, "[32C3-BN-P2]-[64C3-BN-P2]-[128C3-BN-P2]-512-D3-1", 6_386_337),
    "compact, plain": (DIGITS, "8C3V-16C3V-10C1V-P2-8C3V-16C3V-16C3V-16C3V-10C4VL-F-softmax", 10_524),
    "compact, first": (DIGITS, "16C3V-32C3V-10C1V-P2-16C3V-32C3V-32C3V-64C3V-10C4VL-F-softmax", 49_220),
    "compact, regularised": (
        DIGITS,
        "12C3V-BN-D1-20C3V-BN-D1-10C1V-P2-16C3V-BN-D1-16C3V-BN-D1-16C3V-BN-D1-16C3V-BN-D1-10C4VL-F-softmax",
        13_880,
    ),
    "compact, variant 1": (
        DIGITS,
        "8C3V-BN-D1-16C3V-BN-D1-32C3V-BN-D1-10C1V-P2-16C3V-BN-D1-32C3V-BN-D1-10C1V-BN-D1-20C3V-BN-D1-10C5VL-F-softmax",
        20_010,
    ),
    "compact, variant 2": (
        DIGITS,
        (
            "10C3V-BN-D1-16C3V-BN-D1-10C1V-20C3V-BN-D1-P2-10C3V-BN-D1-16C3V-BN-D1-10C1V-BN-D1-16C3V-BN-D1-16C3V-BN-D1"
            "-10C3VL-F-softmax"
        ),
        12_664,
    ),
    "compact, variant 3": (
        DIGITS,
        "64C3V-BN-D1-10C1V-16C3V-BN-D1-16C3V-BN-D1-P2-16C3V-BN-D1-16C3V-BN-D1-10C1V-BN-D1-16C3V-BN-D1-10C5VL-F-softmax",
        15_958,
    ),
    "compact, variant 4": (
        DIGITS,
        "8C3V-BN-D1-16C3V-BN-D1-10C1V-P2-8C3V-BN-D1-16C3V-BN-D1-16C3V-BN-D1-16C3V-BN-D1-10C4VL-F-softmax",
        10_844,
    ),
    "tutorial": (IMAGE, "32C3V-32C3V-P2-D25-64C3V-64C3V-P2-D25-256-D5-10", 477_994),
    "three blocks": (LARGE, "250C3V-P2-64C3V-P2-32C3V-P2-1024-10", 27_734_190),
    "three blocks, sigmoid": (LARGE, "250C3V-P2-64C3V-P2-32C3V-P2-1024-10L-sigmoid", 27_734_190),
    "four blocks": (LARGE, "250C3V-P2-64C3V-P2-32C3V-P2-32C3V-P2-1024-10", 5_723_342),
    "growing": (LARGE, "250C3V-P2-16C3V-P2-32C3V-P2-64C3V-P2-1024-10", 11_148_510),
    "AlexNet": (
        LARGE,
        "96C11S4V-BN-P3S2-256C5-BN-P3S2-384C3-BN-384C3-BN-256C3-BN-P3S2-4096-D5-4096-D5-10",
        58_304_586,
    ),
    "VGG19": (
        LARGE,
        (
            "64C3-64C3-P2-128C3-128C3-P2-256C3-256C3-256C3-256C3-P2-512C3-512C3-512C3-512C3-P2-512C3-512C3-512C3-512C3"
            "-P2-4096-D5-4096-D5-10"
        ),
        139_610_058,
    ),
    "Inception": (
        LARGE,
        "64C1-96C1-128C3-16C1-32C5-P3S1-32C1-128C1-128C1-192C3-32C1-96C5-P3S1-64C1-10",
        40_464_442,
    ),
}

# Not networks of anyone's, but every rule for sizes where it is easily wrong: odd sizes, strides beyond kernels.
ODD = {
    "strides": ((50, 31, 2), "4C5S2-P3S1-4C2S3V-P2S1-4C3S2-P3S2-BN-GAP-D25-16-BN-7L-softmax", 7),
    "global max": ((9, 13, 1), "8C3S3-7C1L-GMP-softmax", 7),
    "flat twice": ((9, 13, 1), "F-BN-F-16L-D05-*", 7),
}


def read(notation, input_shape=INSTRUMENT, n_labels=10):
    return parse(notation, input_shape=input_shape, n_labels=n_labels)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_notation_gives_the_exact_number_of_parameters(name):
    input_shape, notation, n_params = NETWORKS[name]
    net = read(notation, input_shape, n_labels=2 if notation.endswith("-1") else 10)
    assert net.n_params == n_params
    assert sum(math.prod(shape) for shape in net.weight_shapes.values()) == n_params


@pytest.mark.parametrize("name", [*(pytest.param(name, marks=pytest.mark.slow) for name in NETWORKS), *ODD])
def test_keras_builds_the_shapes_and_weights_of_the_notation(name):
    pytest.importorskip("keras")
    from audiocnn.model import network

    input_shape, notation, number = (NETWORKS | ODD)[name]
    net = read(notation, input_shape, number if name in ODD else 2 if notation.endswith("-1") else 10)
    model = network.build(net)
    for layer in net.layers:
        if not isinstance(layer, Head):
            assert model.get_layer(layer.name).output.shape[1:] == layer.output_shape
    assert [(f"{k.name}/{w.name}", w.shape) for k in model.layers for w in k.weights] == [*net.weight_shapes.items()]
    assert model.count_params() == net.n_params
    assert model.output_shape == (None, net.n_outputs)
    del model
    gc.collect()  # the largest of these take half a gigabyte


def test_every_token_is_parsed_into_its_layer():
    net = read("32C5S2V-P3S2-8C3L-P2S1-D25-128-10", (50, 128, 2))
    conv, pool, linear, smooth, dropout, dense, output = net.layers
    assert isinstance(conv, Conv)
    assert (conv.filters, conv.kernel, conv.stride, conv.padding, conv.activation) == (32, 5, 2, "valid", "relu")
    assert isinstance(pool, MaxPool)
    assert (pool.kernel, pool.stride, pool.padding) == (3, 2, "valid")
    assert isinstance(linear, Conv)
    assert (linear.stride, linear.padding, linear.activation) == (1, "same", "linear")
    assert isinstance(smooth, MaxPool)
    assert (smooth.kernel, smooth.stride, smooth.padding) == (2, 1, "same")
    assert isinstance(dropout, Dropout)
    assert dropout.rate == 0.25
    assert isinstance(dense, Dense)
    assert (dense.units, dense.activation) == (128, "relu")
    assert isinstance(output, Dense)
    assert (output.units, output.activation) == (10, "linear")


@pytest.mark.parametrize(("token", "rate"), [("D3", 0.3), ("D25", 0.25), ("D05", 0.05)])
def test_dropout_digits_are_decimals(token, rate):
    assert read(f"8C3-{token}-*").layers[1].rate == rate


def test_brackets_spaces_and_a_leading_input_size_are_ignored():
    plain = read("32C3-P2-64C3-P2-128-10")
    decorated = read(" 117 - [32C3 - P2] - [64C3-P2]-128 - 10 ")
    assert decorated.layers == plain.layers
    assert decorated.weight_shapes == plain.weight_shapes
    assert [layer.position for layer in decorated.layers] == [1, 2, 3, 4, 5, 6]


def test_a_leading_integer_before_dense_layers_alone_is_a_dense_layer():
    assert [layer.output_shape for layer in read("117-64-10").layers] == [(117,), (64,), (10,)]
    assert [layer.output_shape for layer in read("117-D5-10").layers] == [(117,), (117,), (10,)]


def test_the_star_fits_the_number_of_labels():
    heads = {n: (read("8C3-*", n_labels=n).head, read("8C3-*", n_labels=n).n_outputs) for n in (2, 3, 10)}
    assert heads == {2: ("sigmoid", 1), 3: ("softmax", 3), 10: ("softmax", 10)}


@pytest.mark.parametrize(
    ("notation", "n_labels", "head", "n_outputs"),
    [
        ("8C3-1", 2, "sigmoid", 1),
        ("8C3-2", 2, "softmax", 2),
        ("8C3-10", 10, "softmax", 10),
        ("8C3-1L-sigmoid", 2, "sigmoid", 1),
        ("8C3-10L-sigmoid", 10, "sigmoid", 10),
        ("8C3-10L-softmax", 10, "softmax", 10),
        ("8C3-10C1L-GAP-softmax", 10, "softmax", 10),
    ],
)
def test_the_last_token_determines_the_head(notation, n_labels, head, n_outputs):
    net = read(notation, n_labels=n_labels)
    assert (net.head, net.n_outputs) == (head, n_outputs)


@pytest.mark.parametrize(
    ("notation", "size"),
    [
        ("8C3-P2-128-D5-10", 128),
        ("8C3-P2-10", 6 * 4 * 8),
        ("8C5V-10C5VL-GAP-softmax", 9 * 5 * 8),
        ("8C3-10L-BN-softmax", 10),
    ],
)
def test_the_embedding_is_the_input_of_the_last_layer_with_weights(notation, size):
    assert read(notation).embedding_size == size


def test_multiply_adds_equal_the_sums_by_hand():
    net = read("8C3S2V-BN-P2-10", (13, 9, 2))
    conv = 6 * 4 * 8 * (3 * 3 * 2)  # every output value is a sum of 3x3x2 products
    norm = 6 * 4 * 8  # scale and shift
    dense = (3 * 2 * 8) * 10
    assert [layer.multiply_adds for layer in net.layers] == [conv, norm, 0, dense]
    assert net.multiply_adds == conv + norm + dense


# Parameters and multiply-adds by hand, for a plane of 12x8 with 16 channels.
BLOCKS = {
    "DW3S2": (9 * 16 + 16, 6 * 4 * 9 * 16),
    "DW3V": (9 * 16 + 16, 10 * 6 * 9 * 16),
    "24DS3S2": (9 * 16 + 4 * 16 + 16 * 24 + 4 * 24, 6 * 4 * (9 * 16 + 16 + 16 * 24 + 24)),
    "16IR5X1": (25 * 16 + 4 * 16 + 16 * 16 + 4 * 16, 12 * 8 * (25 * 16 + 16 + 16 * 16 + 16)),
    "24IR3S2X4": (
        (16 * 64 + 4 * 64) + (9 * 64 + 4 * 64) + (64 * 24 + 4 * 24),
        12 * 8 * (16 * 64 + 64) + 6 * 4 * (9 * 64 + 64 + 64 * 24 + 24),
    ),
    "24IR3X4E": (
        (16 * 64 + 4 * 64) + (9 * 64 + 4 * 64) + (64 * 16 + 16 + 16 * 64 + 64) + (64 * 24 + 4 * 24),
        12 * 8 * (16 * 64 + 64 + 9 * 64 + 64 + 64 + 64 * 24 + 24) + 2 * 64 * 16,
    ),
    "SE": (16 * 8 + 8 + 8 * 16 + 16, 2 * 16 * 8 + 12 * 8 * 16),
    "FN": (0, 2 * 12 * 8 * 16),
    "AP": (16, 8 * 16 + 8 * 16 + 16),
    "HSWISH": (0, 0),
    "[BN]+": (64, 12 * 8 * 16),
}


@pytest.mark.parametrize("token", BLOCKS)
def test_blocks_have_the_parameters_and_multiply_adds_counted_by_hand(token):
    n_params, multiply_adds = BLOCKS[token]
    with_it, without = (read(f"16C1-{block}F-10", (12, 8, 1)) for block in (f"{token}-", ""))
    found = with_it.layers[1:-2]
    assert sum(layer.n_params for layer in found) == n_params
    assert sum(layer.multiply_adds for layer in found) == multiply_adds
    rest = with_it.layers[-1].n_params - without.layers[-1].n_params
    assert with_it.n_params - without.n_params == n_params + rest
    assert sum(math.prod(shape) for shape in with_it.weight_shapes.values()) == with_it.n_params


def test_the_letters_of_a_token_choose_activations():
    conv, dw, ds, linear, ir, dense, _ = read("8C3H-DW3W-8DS3H-8DS3L-8IR3X2EW-9H-10", (50, 128, 1)).layers
    assert (conv.activation, dw.activation, dense.activation) == ("hard_silu", "silu", "hard_silu")
    assert (ds.function, ds.activation) == ("hard_silu", "hard_silu")
    assert (linear.function, linear.activation) == ("relu", "linear")
    assert (ir.function, ir.activation, ir.excite, ir.expansion) == ("silu", "linear", True, 2)


def test_an_inverted_residual_adds_its_input_only_if_the_shapes_agree():
    for token, adds in (("16IR3X2", True), ("16IR3S2X2", False), ("24IR3X2", False)):
        layer = read(f"16C3-{token}-GAP-*").layers[1]
        assert any(isinstance(step, Sum) for step in layer.steps) == adds


@pytest.mark.parametrize(
    ("notation", "sums"),
    [
        ("[8C3]-8C3-BN-*", []),
        ("8C3-[8C3-BN]+-*", [(4, 2)]),
        (" 117 - 8C3 - [ 8C3 - BN ] + - * ", [(4, 2)]),
        ("8C3-[[8C3]+-[BN]+]+-*", [(3, 2), (5, 4), (6, 2)]),
        ("8C3-[[8C3-BN]-BN]+-*", [(5, 2)]),
        ("8C3]-[8C3]+-*", [(3, 2)]),
        ("[FN]+-8C3-16-[16-16]+-*", [(2, 1), (7, 5)]),
    ],
)
def test_a_bracket_with_a_plus_is_a_residual_sum(notation, sums):
    layers = read(notation).layers
    assert [(layer.position, layer.first) for layer in layers if isinstance(layer, Sum)] == sums
    for layer in layers:
        if isinstance(layer, Sum):
            assert layer.other == layers[layer.first - 1].steps[0].name
            assert layer.output_shape == layers[layer.first - 1].input_shape


def test_time_is_the_axis_that_the_features_say():
    shapes = {}
    for axes in ("bins_frames", "frames_bins"):
        net = parse("8C3-FN-AP-*", input_shape=(20, 30, 1), n_labels=3, axes=axes)
        shapes[axes] = net.layers[2].steps[0].output_shape, net.layers[1].axes
    assert shapes == {"bins_frames": ((1, 30, 8), (1, 2)), "frames_bins": ((20, 1, 8), (0, 2))}


def test_an_architecture_is_immutable():
    net = read("8C3-P2-*")
    assert net == read("8C3-P2-*")
    assert hash(net) == hash(read("8C3-P2-*"))
    with pytest.raises(dataclasses.FrozenInstanceError):
        net.notation = "8C5-P2-*"


@pytest.mark.parametrize(
    ("notation", "message"),
    [
        ("128C3-P9-P2-10", "model: token 3 'P2' needs at least 2x2, got 1x1x128 after 'P9'"),
        ("8C11V-10", "model: token 1 '8C11V' needs at least 11x11, got 13x9x1 as the input"),
        ("P2-64-8C3-10", "model: token 3 '8C3' needs height x width x channels, got 64 after '64'"),
        ("GAP-GMP-10", "model: token 2 'GMP' needs height x width x channels, got 1 after 'GAP'"),
        ("10C1L-softmax", "model: token 2 'softmax' needs flat outputs (F, GAP, GMP or AP before it), got 13x9x10"),
        ("8C3-10-softmax", "model: token 3 'softmax' needs linear outputs, got ReLU from '10'; write '10L' there"),
        ("10C1-GAP-softmax", "got ReLU from '10C1'; write '10C1L' there"),
        ("8C3-7", "model: token 2 '7' gives 7 outputs, but there are 10 labels; write * or 10"),
        ("8C3-1", "model: token 2 '1' is a single sigmoid for 2 labels, but there are 10 labels"),
        (
            "8C3-10C1L-F-softmax",
            "model: token 4 'softmax' gives 1170 outputs, but there are 10 labels; the layers before",
        ),
        ("8C3-1L-softmax", "model: token 3 'softmax' over 1 output is always 1"),
        ("8C3-D5", "model: token 2 'D5' cannot end a network"),
        ("8C3-10L", "model: token 2 '10L' cannot end a network"),
        ("8C3-*-10", "model: token 2 '*' can only be the last token"),
        ("8C3-F-softmax-10", "model: token 3 'softmax' can only be the last token"),
        ("F-softmax", "model: no layer has weights"),
        ("32c3-10", "model: token 1 '32c3' is unknown; did you mean '32C3'? allowed are 32C3[S2][V][L|H|W], "),
        ("8C3-F-sofmax", "did you mean 'softmax'?"),
        ("8C3LV-10", "model: token 1 '8C3LV' is unknown; allowed are"),
        ("8C3-P2][8C3-10", "model: token 2 'P2][8C3' is unknown"),
        ("٣٢C3-10", "is unknown"),
        ("8C3--10", "model: token 2 is empty"),
        ("", "model: token 1 is empty"),
        ("8C3-D0-10", "model: token 2 'D0' has a size of 0"),
        ("8C3S0-10", "model: token 1 '8C3S0' has a size of 0"),
        ("8C3\x1b[2J-10", "'8C3\\x1b[2J' is unknown"),
        (
            "8C3-[16C3-BN]+-10",
            "model: token 4 '+' adds 13x9x8, the input of its block before '16C3', to 13x9x16 after 'BN'; both must",
        ),
        ("[8C3S2]+-10", "adds 13x9x1, the input of its block before '8C3S2', to 7x5x8 after '8C3S2'; both"),
        ("8C3-8C3]+-10", "model: token 3 '+' closes no bracket; write [ before the first layer of its block"),
        ("8C3+-10", "model: token 1 '8C3+' is unknown"),
        ("8C3-+-10", "model: token 2 '+' is unknown"),
        ("8C3-[]+-10", "model: token 2 '+' is unknown"),
        ("8C3-[10]+", "model: token 3 '+' adds 13x9x8"),
        ("[8C3-*]+", "model: token 2 '*' can only be the last token"),
        ("8C3-F-24IR3X4-10", "model: token 3 '24IR3X4' needs height x width x channels, got 936 after 'F'"),
        ("8C3-GAP-SE-10", "model: token 3 'SE' needs height x width x channels, got 8 after 'GAP'"),
        ("8C3-GAP-AP-10", "model: token 3 'AP' needs height x width x channels, got 8 after 'GAP'"),
        ("8C3-GAP-FN-10", "model: token 3 'FN' needs height x width x channels, got 8 after 'GAP'"),
        ("DW11V-10", "model: token 1 'DW11V' needs at least 11x11, got 13x9x1 as the input"),
        ("8C3-24IR3X0-10", "model: token 2 '24IR3X0' has a size of 0"),
        ("8C3-24IR3-10", "model: token 2 '24IR3' is unknown; allowed are"),
        ("8C3-24ir3x4-10", "did you mean '24IR3X4'?"),
        ("8C3-hswish-10", "did you mean 'HSWISH'?"),
        ("10C1H-AP-softmax", "got Hardswish from '10C1H'; write '10C1L' there"),
        ("10DS3W-GAP-softmax", "got SiLU from '10DS3W'; write '10DS3L' there"),
        ("10C1L-SILU-GAP-softmax", "got SiLU from 'SILU'; leave it out"),
        ("8C3-10H", "model: token 2 '10H' cannot end a network"),
    ],
)
def test_an_invalid_notation_is_refused_with_its_token(notation, message):
    with pytest.raises(ArchitectureError) as caught:
        read(notation)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("notation", "message"),
    [
        ("99999999-10", "model: token 1 '99999999' on 13x9x1 brings the network to 11,799,999,882 parameters"),
        ("900000000C1-10", "model: token 1 '900000000C1' on 13x9x1 brings the network to 1,800,000,000 parameters"),
        ("9000000C1-GAP-10", "model: token 1 '9000000C1' on 13x9x1 outputs 13x9x9000000 for one window"),
        ("-".join(["20000"] * 4) + "-10", "model: token 4 '20000' on 20000 brings the network to 1,202,"),
        ("8C3-P99999S1-10", "model: token 2 'P99999S1' on 13x9x8 has a kernel or stride above 1,000"),
        ("8C3-8IR3X999999-10", "model: token 2 '8IR3X999999' on 13x9x8 outputs 13x9x7999992 for one window; the limit"),
        ("8C3-9999999IR3X9999-10", "model: token 2 '9999999IR3X9999' on 13x9x8 brings the network to 799,"),
        ("8C3-8DS9999-10", "model: token 2 '8DS9999' on 13x9x8 has a kernel or stride above 1,000"),
        ("[8C3" + "]+" * 100_000 + "-10", "model: token 3 '+' closes no bracket"),
        ("[" * 2_000 + "BN" + "]+" * 2_000 + "-10", "model: more than 1,000 layers"),
        ("9" * 5000 + "C3-10", "model: token 1 '999999999999999999999999...' is unknown"),
        ("-".join(itertools.repeat("BN", 2_000_000)), "model: more than 1,000 layers"),
    ],
    ids=[
        "dense",
        "filters",
        "plane",
        "sum",
        "kernel",
        "expansion",
        "product",
        "separable",
        "closed",
        "sums",
        "digits",
        "layers",
    ],
)
def test_excessive_sizes_are_refused_before_memory_is_allocated(notation, message):
    with pytest.raises(ArchitectureError) as caught:
        read(notation)
    assert str(caught.value).startswith(message)
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize(("input_shape", "n_labels"), [((13, 9), 10), ((0, 9, 1), 10), ((13, 9, 1), 1)])
def test_empty_windows_and_single_labels_are_refused(input_shape, n_labels):
    with pytest.raises(ArchitectureError, match="model: "):
        read("8C3-*", input_shape, n_labels)


ALEXNET, VGG19, INCEPTION = (NETWORKS[name][1] for name in ("AlexNet", "VGG19", "Inception"))


@pytest.mark.parametrize(
    ("input_shape", "message"),
    [
        (INSTRUMENT, "model: token 1 '96C11S4V' needs at least 11x11, got 13x9x1 as the input"),
        # 50x128 is 10x30 after the first convolution, 4x14 and 1x6 after two poolings.
        (SPECTROGRAM, "model: token 13 'P3S2' needs at least 3x3, got 1x6x256 after 'BN'"),
    ],
)
def test_alexnet_is_refused_where_a_window_is_too_small_for_it(input_shape, message):
    with pytest.raises(ArchitectureError) as caught:
        read(ALEXNET, input_shape)
    assert str(caught.value) == message


def test_vgg19_is_refused_where_a_window_is_too_small_for_its_five_poolings():
    with pytest.raises(ArchitectureError) as caught:
        read(VGG19, INSTRUMENT)  # 13x9, 6x4, 3x2, 1x1
    assert str(caught.value) == "model: token 16 'P2' needs at least 2x2, got 1x1x512 after '512C3'"


def test_vgg19_fits_the_spectrogram_of_a_second():
    shapes = [layer.output_shape for layer in read(VGG19, SPECTROGRAM).layers if isinstance(layer, MaxPool)]
    assert shapes == [(25, 64, 64), (12, 32, 128), (6, 16, 256), (3, 8, 512), (1, 4, 512)]


@pytest.mark.parametrize("input_shape", [(1, 1, 1), INSTRUMENT, SPECTROGRAM])
def test_the_sequential_inception_fits_every_window_size(input_shape):
    net = read(INCEPTION, input_shape)
    assert {layer.output_shape[:2] for layer in net.layers[:-1]} == {input_shape[:2]}


def test_the_sequential_inception_is_refused_for_windows_with_too_many_outputs():
    with pytest.raises(ArchitectureError) as caught:
        read(INCEPTION, (1_000, 1_000, 1))
    assert str(caught.value).startswith("model: token 3 '128C3' on 1000x1000x96 outputs 1000x1000x128 for one window")
