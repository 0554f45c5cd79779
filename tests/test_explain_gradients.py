"""Explanations by gradients point at what a network goes by, and a network can be asked what it would like to hear."""

import gc
import json
import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import sounds
from extras import require_keras
from numpy.typing import NDArray
from test_export import Warnings
from test_notation import NETWORKS

from audiocnn.draw.network import MOST_LAYERS, draw_network
from audiocnn.errors import MissingExtraError
from audiocnn.explain import (
    activations,
    gradcam,
    integrated_gradients,
    log_odds,
    maximize,
    occlusion,
    resynthesis,
    segments,
)
from audiocnn.explain.gradients import Gradients, contributions
from audiocnn.explain.segments import ExplainInput
from audiocnn.features import extract, frontend
from audiocnn.model import bundle, network
from audiocnn.model.bundle import Bundle
from audiocnn.model.locate import SHIPPED
from audiocnn.model.notation import parse, parse_for
from audiocnn.progress import Progress
from audiocnn.report.explanation.maximize import score_windows
from audiocnn.specs import FeatureSpec
from audiocnn.stages import explain

require_keras()

Array = NDArray[np.float32]

TONE_HZ, OTHERS_HZ = 2_000, (500, 900, 3_300, 5_200)
SPEC = FeatureSpec(
    kind="logmel",
    sample_rate=sounds.RATE,
    n_fft=512,
    hop_length=256,
    n_mels=32,
    channels=("static",),
    window_frames=24,
    hop_frames=12,
    axes="frames_bins",
)
NOTATION = "8C3-P2-8C3-P2-*"
LABELS = ("other", "tone")
FIRST, LAST = 8, 15  # frames of the window in which the tone is


def scene(rng: np.random.Generator, *, tone: bool) -> Array:
    """One window of two or three distractors, each for a while, and perhaps the tone in the middle of it."""
    n = SPEC.window_samples
    mixed = sounds.noise(n / SPEC.sample_rate, level=0.003, seed=int(rng.integers(1 << 30)))
    for hz in rng.choice(OTHERS_HZ, rng.integers(2, 4), replace=False):
        begin, length = rng.integers(0, n // 2), rng.integers(n // 4, n // 2)
        mixed[begin : begin + length] += faded(hz * rng.uniform(0.97, 1.03), length, rng.uniform(0.1, 0.4))
    if tone:
        begin, end = FIRST * SPEC.hop_length, LAST * SPEC.hop_length
        mixed[begin:end] += faded(TONE_HZ, end - begin, 0.3)
    return mixed


def faded(hz: float, n: int, amplitude: float) -> Array:
    """A tone without the clicks at its ends, which would be in all bands."""
    return sounds.tone(hz, n / SPEC.sample_rate, amplitude=amplitude) * np.hanning(n).astype(np.float32) ** 0.5


def windows(recordings: list[Array], spec: FeatureSpec = SPEC) -> Array:
    constants = frontend.make(spec)
    frames = (list(extract.compute_frames([x], spec=spec, frontend=constants)) for x in recordings)
    return np.concatenate(
        [extract.cut_windows(np.concatenate(blocks), np.zeros(1, np.int64), spec) for blocks in frames]
    )


def make_bundle(
    folder: Path, model: Any, X: Array, spec: FeatureSpec, notation: str, labels: tuple[str, ...]
) -> Bundle:
    """A bundle of a Keras network, with the scale of ``X``."""
    axes = (0, 1) if spec.axes == "frames_bins" else (0, 2)
    mean, std = X.mean(axis=axes, keepdims=True)[0], X.std(axis=axes, keepdims=True)[0] + np.float32(1e-3)
    info = {
        "name": "tones",
        "features": spec.model_dump(mode="json"),
        "labels": labels,
        "positive": labels[-1] if len(labels) == 2 else None,
        "notation": notation,
        "mean": mean.tolist(),
        "std": std.tolist(),
        "temperature": 1.5,
        "training": {},
        "metrics": {},
        "provenance": {},
    }
    litert = network.export_litert(network.build_serving_model(model, mean, std))
    weights = network.get_weights(model)
    bundle.write(folder, info, frontend=frontend.make(spec), weights=weights, model=litert, card="# tones\n")
    return bundle.load(folder)


def built(seed: int, spec: FeatureSpec = SPEC, notation: str = NOTATION, n_labels: int = 2) -> Any:
    network.load_keras().utils.set_random_seed(seed)
    return network.build(parse(notation, input_shape=spec.shape, n_labels=n_labels))


@dataclass(frozen=True)
class Trained:
    bundle: Bundle
    gradients: Gradients
    recordings: list[Array]  # with the tone, and not learned from

    def subject(self, number: int) -> ExplainInput:
        return subject_of(self.bundle, self.recordings[number], label=1)


def subject_of(loaded: Bundle, samples: Array, *, label: int) -> ExplainInput:
    spec, constants = segments.banded(loaded.spec, loaded.frontend)
    found = np.concatenate(list(extract.compute_frames([samples], spec=spec, frontend=constants)))
    starts = extract.window_starts(len(found), loaded.spec)
    return segments.cut(
        found, samples, spec=loaded.spec, frontend=loaded.frontend, label=label, starts=starts,
        counted=np.ones(len(starts), bool), whole=True,
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A network that knows one thing: whether there is a tone of 2 kHz."""
    rng = np.random.default_rng(0)
    y = np.arange(800) % 2
    X = windows([scene(rng, tone=bool(label)) for label in y])
    keras, model = network.load_keras(), built(1)
    decaying = keras.optimizers.AdamW(3e-3, weight_decay=1.0)  # or weights that nothing is learned for would stay
    model.compile(decaying, keras.losses.BinaryCrossentropy(from_logits=True))
    mean, std = X.mean(axis=(0, 1), keepdims=True), X.std(axis=(0, 1), keepdims=True) + np.float32(1e-3)
    model.fit((X - mean) / std, y[:, None], epochs=8, batch_size=16, verbose=0)
    made = make_bundle(tmp_path_factory.mktemp("tones") / "model", model, X, SPEC, NOTATION, LABELS)
    recordings = [scene(rng, tone=True) for _ in range(8)]
    assert (log_odds.scorer(made, 1)(windows(recordings)) > 2).all()
    assert (log_odds.scorer(made, 1)(windows([scene(rng, tone=False) for _ in range(8)])) < -2).all()
    return Trained(made, Gradients(made), recordings)


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Gradients:
    """The same network with weights that were drawn by chance."""
    rng = np.random.default_rng(0)
    X = windows([scene(rng, tone=bool(i % 2)) for i in range(20)])
    return Gradients(make_bundle(tmp_path_factory.mktemp("chance") / "model", built(7), X, SPEC, NOTATION, LABELS))


def neutral(loaded: Bundle) -> Array:
    level = occlusion.mean_level(loaded)
    assert level is not None
    return level


def by_gradcam(gradients: Gradients, asked: ExplainInput, level: Array) -> Array:
    return gradcam.importance(gradients, asked, level, by_place=True)


def by_integrated(gradients: Gradients, asked: ExplainInput, level: Array) -> Array:
    return integrated_gradients.importance(gradients, asked, level)[0]


def share_at_the_tone(values: Array) -> float:
    """The share of what is positive that lies where the tone is, which is a tenth of the window."""
    positive = np.maximum(values, 0)
    return float(at_the_tone(positive).sum() / positive.sum())


def at_the_tone(values: Array) -> Array:
    """Three bands to either side of the tone, while it sounds and two frames before and after."""
    band = int(np.abs(mel_hz() - TONE_HZ).argmin())
    return values[FIRST - 2 : LAST + 3, band - 3 : band + 4]


def mel_hz() -> NDArray[np.float64]:
    """The middle of each band, as librosa has it."""
    from librosa import mel_frequencies

    return mel_frequencies(SPEC.n_mels + 2, fmin=SPEC.fmin, fmax=SPEC.upper_hz)[1:-1]


# -------------------------------------------------------------------------------------------------------- the gradients


@pytest.mark.slow
def test_the_differentiable_network_says_what_the_model_says(trained: Trained) -> None:
    X = windows(trained.recordings)
    for label in (0, 1):
        np.testing.assert_allclose(
            trained.gradients.odds(X, label), log_odds.scorer(trained.bundle, label)(X), atol=1e-3
        )


def test_of_many_labels_it_says_it_too() -> None:
    shipped = bundle.load(SHIPPED)
    X = bundle.golden_example(shipped)[0]
    several = np.repeat(X, 3, axis=0)
    found = Gradients(shipped).odds(several, np.array([2, 0, 9]))
    expected = [log_odds.scorer(shipped, label)(X)[0] for label in (2, 0, 9)]
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_a_gradient_is_by_how_much_the_odds_change(trained: Trained) -> None:
    X = windows(trained.recordings[:3])
    odds_here, gradients = trained.gradients.by_input(X, 1)
    step = (0.01 * np.sign(gradients)).astype(np.float32)
    change = trained.gradients.odds(X + step, 1) - trained.gradients.odds(X - step, 1)
    np.testing.assert_allclose(change, 2 * (gradients * step).sum(axis=(1, 2, 3)), rtol=0.05)
    np.testing.assert_allclose(odds_here, trained.gradients.odds(X, 1), rtol=1e-5)


def test_layer_outputs_are_those_of_a_keras_submodel(trained: Trained) -> None:
    keras, X = network.load_keras(), windows(trained.recordings)
    model = network.build(trained.bundle.network)
    network.set_weights(model, bundle.read_weights(trained.bundle.folder))
    info = trained.bundle.info
    scaled = (X - np.array(info.mean, np.float32)) / np.array(info.std, np.float32)
    for name in ("conv_1", "conv_3", "pool_4"):
        expected = keras.Model(model.inputs, model.get_layer(name).output)(scaled, training=False)
        np.testing.assert_allclose(trained.gradients.outputs(X, [name])[name], expected, atol=1e-5)


def test_the_strongest_filters_come_first_and_the_rest_is_counted(trained: Trained) -> None:
    X = windows(trained.recordings[:1])
    found = activations.responses(trained.gradients, X[0], most=3)
    assert [one.layer.name for one in found] == ["conv_1", "conv_3"]
    outputs = trained.gradients.outputs(X, ["conv_3"])["conv_3"][0]
    strengths = outputs.mean(axis=(0, 1))
    assert found[1].filters.tolist() == np.argsort(-strengths, kind="stable")[:3].tolist()
    np.testing.assert_array_equal(found[1].planes, np.moveaxis(outputs, -1, 0)[found[1].filters])
    assert found[1].n_left_out == 5
    assert found[1].n_silent == (strengths == 0).sum()


# ------------------------------------------------------------------------------------------------------------- the maps


@pytest.mark.parametrize("number", range(4))
def test_grad_cam_lies_where_the_answer_is(trained: Trained, number: int) -> None:
    found = by_gradcam(trained.gradients, trained.subject(number), neutral(trained.bundle))
    assert share_at_the_tone(found) >= 0.8


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("neutral_of", [occlusion.noise_level, None])
def test_hiding_places_finds_where_the_answer_is(
    trained: Trained, neutral_of: Callable[[ExplainInput], Array] | None, number: int
) -> None:
    asked = trained.subject(number)
    level = neutral(trained.bundle) if neutral_of is None else neutral_of(asked)
    assert share_at_the_tone(occlusion.importance(asked, log_odds.scorer(trained.bundle, asked.label), level)) >= 0.8


@pytest.mark.parametrize("number", range(4))
def test_integrated_gradients_lie_where_the_answer_is(trained: Trained, number: int) -> None:
    asked = trained.subject(number)
    found = by_integrated(trained.gradients, asked, neutral(trained.bundle))
    assert share_at_the_tone(found) >= 0.8
    assert at_the_tone(found).sum() > 0.8 * found.sum()  # what speaks against it included


@pytest.mark.slow
@pytest.mark.parametrize("method", [by_gradcam, by_integrated])
def test_a_map_of_a_network_that_knows_nothing_is_another_one(
    trained: Trained, untrained: Gradients, method: Callable[[Gradients, ExplainInput, Array], Array]
) -> None:
    """The sanity check of J. Adebayo et al. (NeurIPS 2018): a map must depend on what was learned."""
    level, correlations = neutral(trained.bundle), []
    for number in range(len(trained.recordings)):
        asked = trained.subject(number)
        maps = [method(gradients, asked, level) for gradients in (trained.gradients, untrained)]
        correlations.append(occlusion.rank_correlation(*maps) or 0.0)
    assert abs(np.mean(correlations)) < 0.3


@pytest.mark.parametrize(("method", "lowest"), [(by_gradcam, 0.0), (by_integrated, -np.inf)])
def test_all_methods_agree_on_a_network_that_learned(
    trained: Trained, method: Callable[[Gradients, ExplainInput, Array], Array], lowest: float
) -> None:
    level, found = neutral(trained.bundle), []
    for number in range(4):
        asked = trained.subject(number)
        hidden = occlusion.importance(asked, log_odds.scorer(trained.bundle, 1), level)
        values = method(trained.gradients, asked, level)
        found.append(occlusion.with_occlusion(values, np.maximum(hidden, lowest), asked) or 0.0)
    assert np.mean(found) > 0.5


def test_contributions_are_complete(trained: Trained) -> None:
    level = neutral(trained.bundle)
    for number in range(4):
        asked = trained.subject(number)
        found, integral = integrated_gradients.importance(trained.gradients, asked, level)
        assert integral.complete.all()
        silent = replace(asked, bands=np.broadcast_to(level, asked.bands.shape))
        ask = log_odds.scorer(trained.bundle, 1)
        assert found.sum() == pytest.approx(float((ask(asked.windows()) - ask(silent.windows()))[0]), rel=0.01)


def test_what_cannot_be_complete_says_so(trained: Trained) -> None:
    asked = trained.subject(0)
    _, integral = integrated_gradients.importance(trained.gradients, asked, neutral(trained.bundle), most_steps=0)
    assert not integral.complete.any()
    assert integral.n_steps.tolist() == [0]


class Linear:
    """A stand-in for a network: the odds are a weighted sum, and the gradients its weights."""

    def __init__(self, weights: Array) -> None:
        self.weights = weights

    def odds(self, X: Array, labels: Any) -> Array:
        return (X * self.weights).sum(axis=(1, 2, 3))

    def by_input(self, X: Array, labels: Any) -> tuple[Array, Array]:
        return self.odds(X, labels), np.broadcast_to(self.weights, X.shape)


def test_of_a_linear_network_they_are_weight_times_difference() -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((3, 4, 5, 1)).astype(np.float32)
    baseline, weights = rng.standard_normal((2, 4, 5, 1)).astype(np.float32)
    found = integrated_gradients.integrate(Linear(weights), X, baseline, 0)  # type: ignore[arg-type]
    np.testing.assert_array_equal(found.gradients * (X - baseline), weights * (X - baseline))
    assert found.complete.all()
    assert found.n_steps.tolist() == [integrated_gradients.FIRST_STEPS] * 3


@pytest.mark.parametrize("channels", [("static",), ("static", "delta"), ("delta",), ("delta", "static")])
@pytest.mark.parametrize("kind", ["logmel", "mfcc"])
@pytest.mark.parametrize("axes", ["bins_frames", "frames_bins"])
def test_what_sums_to_a_score_over_features_sums_to_it_over_bands(
    channels: tuple[str, ...], kind: str, axes: str
) -> None:
    n_mfcc = 7 if kind == "mfcc" else None
    spec = FeatureSpec.model_validate(
        {**SPEC.model_dump(), "kind": kind, "n_mfcc": n_mfcc, "channels": channels, "axes": axes, "hop_frames": 5}
    )
    constants, rng = frontend.make(spec), np.random.default_rng(0)
    level = rng.normal(-40, 5, spec.n_mels).astype(np.float32)
    for before, after in ((0, 0), (4, 2)):
        made = rng.normal(-30, 10, (before + 40 + after, spec.n_mels)).astype(np.float32)
        asked = ExplainInput(
            spec, constants, 0, 0.0, np.zeros(1, np.float32), made[before : before + 40], made[:before],
            made[before + 40 :], np.array([0, 5, 10, 16]), np.ones(4, bool),
        )  # fmt: skip
        flat = np.broadcast_to(level, made.shape)
        silent = replace(asked, before=flat[:before], bands=flat[before : before + 40], after=flat[before + 40 :])
        gradients = rng.standard_normal((4, *spec.shape)).astype(np.float32)
        found = contributions(gradients, asked, level)
        expected = (gradients * (asked.windows() - silent.windows())).sum(axis=(1, 2, 3))
        assert found.shape == (4, spec.window_frames, spec.n_mels)
        np.testing.assert_allclose(found.sum(axis=(1, 2)), expected, rtol=1e-3, atol=0.05)


@pytest.mark.slow
def test_gradients_and_maps_go_through_blocks_and_residual_sums(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    X = windows([scene(rng, tone=bool(i % 2)) for i in range(4)])
    notation = "4C3L-[FN]+-SILU-DW3W-6DS3H-[6IR3X2E]+-BN-AP-*"
    net = parse_for(SPEC, notation, n_labels=2)
    network.load_keras().utils.set_random_seed(1)
    gradients = Gradients(make_bundle(tmp_path / "model", network.build(net), X, SPEC, notation, LABELS))
    step = 1e-2 * rng.standard_normal(X.shape).astype(np.float32)
    change = gradients.odds(X + step, 1) - gradients.odds(X - step, 1)
    by_input = gradients.by_input(X, 1)[1]
    np.testing.assert_allclose(change, 2 * (by_input * step).sum(axis=(1, 2, 3)), rtol=0.02, atol=1e-6)
    for layer in net.layers[4:6]:
        change = gradients.excited(X + step, 1, layer.name)[0] - gradients.excited(X - step, 1, layer.name)[0]
        by_input = gradients.excited(X, 1, layer.name)[1]
        np.testing.assert_allclose(change, 2 * (by_input * step).sum(axis=(1, 2, 3)), rtol=0.05, atol=1e-4)
    assert [one.layer.token for one in activations.responses(gradients, X[0])] == [
        "4C3L",
        "DW3W",
        "6DS3H",
        "6IR3X2E",
    ]
    assert gradcam.layer(net).token == "+"  # what is behind the sum, and not its last part, makes the score


def test_a_network_without_planes_has_no_grad_cam() -> None:
    with pytest.raises(ValueError, match="no convolution with more than one place"):
        gradcam.layer(parse("16-*", input_shape=(13, 9, 1), n_labels=3))


# ------------------------------------------------------------------------------------------- what the network waits for


def scores_of(loaded: Bundle) -> Callable[[Array], NDArray[np.float64]]:
    return lambda X: score_windows(loaded, X)


def test_inputs_that_maximize_a_label_score_at_least_095_and_stay_plausible(trained: Trained) -> None:
    within = maximize.space(trained.bundle)
    found = maximize.labels(trained.gradients, within, scores_of(trained.bundle), [0, 1])
    assert (found.reached >= maximize.WANTED).all()
    assert np.abs(found.values).max() <= maximize.DEVIATIONS
    said = score_windows(trained.bundle, found.features)
    np.testing.assert_allclose(np.diagonal(said), found.reached, atol=1e-5)
    # At the tone they differ most.
    at = np.unravel_index(np.argmax(found.values[1] - found.values[0]), found.values[0].shape)
    assert abs(mel_hz()[at[0]] - TONE_HZ) < 300


@pytest.mark.slow
def test_the_same_seed_gives_the_same_inputs_and_another_one_others(trained: Trained) -> None:
    within, layer = maximize.space(trained.bundle), trained.bundle.network.layers[2]
    first, again, other = (maximize.filters(trained.gradients, within, layer, [0, 3], seed=s) for s in (0, 0, 1))
    np.testing.assert_array_equal(first.values, again.values)
    assert not np.array_equal(first.values, other.values)
    assert (first.reached > first.before).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "channels", "axes", "labels"),
    [
        ("mfcc", ("static", "delta"), "bins_frames", ("a", "b")),
        ("logmel", ("delta", "static"), "frames_bins", ("a", "b", "c")),
        ("mfcc", ("delta",), "frames_bins", ("a", "b", "c")),
    ],
)
def test_slopes_follow_from_what_they_are_slopes_of(
    tmp_path: Path, kind: str, channels: tuple[str, ...], axes: str, labels: tuple[str, ...]
) -> None:
    n_mfcc = 9 if kind == "mfcc" else None
    spec = FeatureSpec.model_validate(
        {**SPEC.model_dump(), "kind": kind, "n_mfcc": n_mfcc, "channels": channels, "axes": axes}
    )
    rng = np.random.default_rng(0)
    X = windows([scene(rng, tone=bool(i % 2)) for i in range(12)], spec)
    notation = "4C3-P2-*"
    loaded = make_bundle(tmp_path / "model", built(3, spec, notation, len(labels)), X, spec, notation, labels)
    within = maximize.space(loaded)
    found = maximize.labels(Gradients(loaded), within, scores_of(loaded), range(len(labels)))
    assert (found.reached >= maximize.WANTED).all()
    if "static" in channels:
        turned = found.features if axes == "frames_bins" else found.features.swapaxes(1, 2)
        static, delta = (turned[..., channels.index(name)] for name in ("static", "delta"))
        slopes = spec.model_copy(update={"kind": "logmel", "n_mfcc": None, "channels": ("delta",)})
        plain = replace(loaded.frontend, dct=None)
        np.testing.assert_allclose(
            delta, extract.frames_from_bands(static, spec=slopes, frontend=plain)[..., 0], atol=1e-3
        )
    v, g = (rng.standard_normal(shape).astype(np.float32) for shape in (found.values.shape, found.features.shape))
    change = within.features(v) - within.features(0 * v)
    np.testing.assert_allclose((within.input_gradients(g) * v).sum(), (g * change).sum(), rtol=1e-2)


def test_of_a_large_layer_filters_are_sampled_evenly() -> None:
    net = parse("64C3-4C3-GAP-*", input_shape=(13, 9, 1), n_labels=3)
    assert list(maximize.sampled(net, 4).values()) == [[0, 21, 42, 63], [0, 1, 2, 3]]


@pytest.mark.slow
def test_bands_become_the_sound_that_they_are_of() -> None:
    recordings = sounds.tone(1_000, 1) + sounds.noise(1, level=0.001)
    constants = frontend.make(SPEC)
    levels = np.concatenate(list(extract.compute_frames([recordings], spec=SPEC, frontend=constants)))[..., 0]
    again = resynthesis.mel_to_audio(levels, spec=SPEC, frontend=constants)
    assert len(again) == (len(levels) - 1) * SPEC.hop_length
    assert sounds.pitch_hz(again[2_000:-2_000]) == pytest.approx(1_000, rel=0.03)
    found = np.concatenate(list(extract.compute_frames([again], spec=SPEC, frontend=constants)))[..., 0]
    loud = levels[2:-2] > levels.max() - 20
    assert np.abs(found[2:-2] - levels[2:-2])[loud].mean() < 2
    np.testing.assert_array_equal(again, resynthesis.mel_to_audio(levels, spec=SPEC, frontend=constants))


# -------------------------------------------------------------------------------------------------- pages and pictures


@pytest.mark.parametrize("name", NETWORKS)
def test_the_picture_of_a_network_says_its_parameters(name: str) -> None:
    input_shape, notation, n_params = NETWORKS[name]
    net = parse(notation, input_shape=input_shape, n_labels=2 if notation.endswith("-1") else 10)
    picture = draw_network(net, title="network")
    assert f"{n_params:,} parameters" in picture
    for layer in net.layers:
        assert f">{layer.token}</text>" in picture
        assert f">{'×'.join(map(str, layer.output_shape))}</text>" in picture


def test_the_picture_of_blocks_names_them_and_has_a_line_around_each_residual_sum() -> None:
    plain, blocks = (
        draw_network(parse(notation, input_shape=(13, 9, 1), n_labels=3), title="network")
        for notation in ("6C3-6C3L-BN-24IR3S2X4EH-AP-*", "6C3-[[6C3L]+-BN]+-24IR3S2X4EH-AP-*")
    )
    assert ">4× wide, 3×3, stride 2, SE, Hardswish</text>" in blocks
    assert blocks.count(">plus the input of the block</text>") == 2
    assert blocks.count("<line") - plain.count("<line") == 2 * (3 + 1)  # and one to the next row


def test_a_network_of_very_many_layers_is_drawn_in_part() -> None:
    net = parse("-".join(["4C3"] * 300 + ["GAP", "*"]), input_shape=(13, 9, 1), n_labels=3)
    picture = draw_network(net, title="network")
    assert f"{len(net.layers) - MOST_LAYERS} more layers, not drawn" in picture
    assert picture.count("<g>") < 3 * MOST_LAYERS


@pytest.mark.slow
def test_the_page_and_the_facts_say_how_far_the_methods_agree(trained: Trained, tmp_path: Path) -> None:
    file = tmp_path / "tone.wav"
    soundfile.write(file, np.concatenate(trained.recordings[:2]), SPEC.sample_rate)
    methods = ("gradcam", "integrated", "activations", "maximize")
    made = explain.run(
        file, model=trained.bundle.folder, methods=methods, filters=3, out=tmp_path / "why", progress=Progress()
    )
    page = made.page.read_text(encoding="utf-8")
    facts = json.loads((tmp_path / "why" / "explanation.json").read_text(encoding="utf-8"))["methods"]
    for method in ("gradcam", "integrated"):
        (correlation,) = facts[method]["rank_correlation_with_occlusion"]
        assert -1 <= correlation <= 1
        assert f"rank correlation\N{NO-BREAK SPACE}{correlation:.2f}".replace("-", "\N{MINUS SIGN}") in page
    assert "they must give the difference" in page
    (windows_of,) = facts["integrated"]["windows"]
    assert all(windows_of["complete"])
    assert len(facts["activations"]["layers"]["conv_3"]["strongest_filters"]) == 3
    assert "The 3 filters that respond most, of 8; 5 are left out." in page
    assert all(one["score"] >= 0.95 for one in facts["maximize"]["labels"].values())
    assert np.load(tmp_path / "why" / "integrated.npy").shape == np.load(tmp_path / "why" / "gradcam.npy").shape


@pytest.mark.slow
def test_nothing_keeps_a_model_alive_that_was_explained(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded, load = [], bundle.load

    def watched(folder: Path) -> Bundle:
        model = load(folder)
        loaded.extend([weakref.ref(model), weakref.ref(model.runtime)])
        return model

    monkeypatch.setattr(bundle, "load", watched)
    file = tmp_path / "tone.wav"
    soundfile.write(file, trained.recordings[0], SPEC.sample_rate)
    methods = ("occlusion", "gradcam")
    explain.run(file, model=trained.bundle.folder, methods=methods, out=tmp_path / "why", progress=Progress())
    gc.collect()
    assert [model() for model in loaded] == [None, None]


def test_without_tensorflow_the_network_is_drawn_and_the_rest_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explain.importlib.util, "find_spec", lambda name: None)
    progress = Warnings()
    made = explain.run_network(SHIPPED, out=tmp_path / "net", progress=progress)
    assert "396,874 parameters" in made.read_text(encoding="utf-8")
    (line,) = progress.lines
    assert line.endswith("they need TensorFlow; pip install 'audiocnn[train]'")
    with pytest.raises(MissingExtraError, match=r"--method gradcam needs TensorFlow.*--method occlusion"):
        explain.run(tmp_path / "a.wav", model=SHIPPED, methods=("gradcam",), progress=Progress())
