"""Explanations are true of the network: what they point at is what it goes by. Then the folder and the page."""

import csv
import importlib.util
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import sounds
from browser import chromium, visited
from numpy.typing import NDArray
from projects import audiocnn
from soundfile import read, write
from test_laziness import KERAS, run

from audiocnn import config
from audiocnn.draw import spectrogram
from audiocnn.errors import MissingExtraError
from audiocnn.explain import load, log_odds, occlusion, resynthesis, segments
from audiocnn.explain.segments import ExplainInput
from audiocnn.features import extract, frontend
from audiocnn.features.analyze import RecordingStatus
from audiocnn.features.extract import Array
from audiocnn.inference import scoring
from audiocnn.labels import Labels
from audiocnn.model import network, notation
from audiocnn.model.locate import SHIPPED
from audiocnn.model.runtime import Runtime
from audiocnn.progress import Progress
from audiocnn.report.explanation.occlusion import describe_doubt, describe_places
from audiocnn.specs import FeatureSpec
from audiocnn.stages import explain

LOGMEL = FeatureSpec(
    kind="logmel", sample_rate=16_000, n_fft=512, hop_length=160, n_mels=64, channels=("static",),
    window_frames=50, hop_frames=25, axes="frames_bins",
)  # fmt: skip
DELTA = LOGMEL.model_copy(update={"channels": ("static", "delta"), "tail": "cover", "n_mels": 40})
MFCC = LOGMEL.model_copy(
    update={"kind": "mfcc", "n_mels": 26, "n_mfcc": 13, "window_frames": 9, "hop_frames": 8, "axes": "bins_frames"}
)
SPECS = {"log-mel": LOGMEL, "log-mel with slopes": DELTA, "mfcc": MFCC}

Ask = Callable[[Array], NDArray[np.float64]]


@cache
def constants(spec: FeatureSpec) -> frontend.Frontend:
    return frontend.compute(spec)


def subject_of(samples: Array, spec: FeatureSpec = LOGMEL) -> ExplainInput:
    """All of a recording, every window of which counts."""
    bands_spec, bands_frontend = segments.banded(spec, constants(spec))
    bands = np.concatenate(list(extract.compute_frames([samples], spec=bands_spec, frontend=bands_frontend)))
    starts = extract.window_starts(len(bands), spec)
    return segments.cut(
        bands, samples, spec=spec, frontend=constants(spec), label=0, starts=starts,
        counted=np.ones(len(starts), bool), whole=True,
    )  # fmt: skip


def among_distractors(hz: float, others: tuple[float, ...], seconds: float = 3.0) -> Array:
    """One tone from 1 to 2 s, others all the time, and noise."""
    samples = sum((sounds.tone(other, seconds, amplitude=0.2) for other in others), sounds.noise(seconds, level=0.01))
    samples[16_000:32_000] += sounds.tone(hz, 1.0, amplitude=0.2)
    return samples.astype(np.float32)


# Features made of bands


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_the_frames_made_of_bands_are_those_made_of_samples(spec: FeatureSpec) -> None:
    samples = sounds.chirp(100, 7_000, 2.3) + sounds.noise(2.3)
    expected = np.concatenate(list(extract.compute_frames([samples], spec=spec, frontend=constants(spec))))
    whole = subject_of(samples, spec)
    np.testing.assert_allclose(whole.frames(), expected, atol=1e-3)
    np.testing.assert_allclose(whole.windows(), extract.cut_windows(expected, whole.starts, spec), atol=1e-3)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@pytest.mark.parametrize("rows", [slice(0, 60), slice(3, 70), slice(50, 140), slice(0, 1_000)])
def test_a_slice_of_frames_is_the_same_whatever_is_read_around_it(spec: FeatureSpec, rows: slice) -> None:
    whole = subject_of(sounds.noise(2.0), spec)
    found = segments.NetworkFrames(whole.bands[..., None], spec, constants(spec))[rows]
    np.testing.assert_allclose(found, whole.frames()[rows], atol=1e-4)


def test_a_stretch_in_the_middle_has_the_windows_that_the_recording_has_there() -> None:
    samples = sounds.noise(3.0)
    whole = subject_of(samples, DELTA)
    part = segments.cut(
        whole.bands[..., None], samples, spec=DELTA, frontend=constants(DELTA), label=0, starts=whole.starts[3:6],
        counted=np.ones(3, bool),
    )  # fmt: skip
    assert part.start_s == pytest.approx(whole.starts[3] * 0.01)
    np.testing.assert_allclose(part.windows(), whole.windows()[3:6], atol=1e-4)


# Occlusion


def ear_for(hz: float) -> Ask:
    """A network whose answer lies in one band: by how much the level there is above -5 dB, and nothing if it is not."""
    band = int(np.abs(frontend.mel_edges_hz(LOGMEL)[1:-1] - hz).argmin())

    def ask(X: Array) -> NDArray[np.float64]:
        level = X[:, :, band - 1 : band + 2, 0].max(axis=2)
        return np.maximum(level + 5, 0).mean(axis=1).astype(np.float64)

    return ask


def share_at(values: Array, hz: float) -> float:
    """How much of what speaks for a tone is within half a patch of it, from 1 to 2 s; of noise it would be 6 %."""
    positive = np.maximum(values, 0)
    tone, half = int(np.abs(frontend.mel_edges_hz(LOGMEL)[1:-1] - hz).argmin()), round(64 / occlusion.SHARE / 2)
    times_s = np.arange(len(positive)) * 0.01
    during = (times_s >= 0.95) & (times_s <= 2.05)
    return float(positive[during, tone - half : tone + half + 1].sum() / positive.sum())


@pytest.mark.parametrize("hz", [800, 2_000, 5_000])
def test_what_is_important_is_the_band_and_the_second_that_the_network_listens_to(hz: float) -> None:
    found = subject_of(among_distractors(hz, (300.0, 1_300.0, 3_300.0, 6_500.0)))
    ask = ear_for(hz)
    assert ask(found.windows()).max() > 10
    assert share_at(occlusion.importance(found, ask, occlusion.noise_level(found)), hz) >= 0.8


@cache
def learned(hz: float) -> tuple[Runtime, Runtime]:
    """A small network that has learned to notice a tone at ``hz`` among others, and the same before it learned."""
    keras = network.load_keras()
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    seconds = LOGMEL.window_s + 0.05
    X, y = [], []
    for i in range(240):
        samples = sounds.noise(seconds, level=0.01, seed=i)
        for other in np.exp(rng.uniform(np.log(200), np.log(7_500), rng.integers(1, 5))):
            if abs(np.log(other / hz)) > 0.25:
                samples = samples + sounds.tone(other, seconds, amplitude=rng.uniform(0.05, 0.4))
        if i % 2:
            samples = samples + sounds.tone(hz * rng.uniform(0.97, 1.03), seconds, amplitude=rng.uniform(0.05, 0.4))
        X.append(subject_of(samples.astype(np.float32)).windows()[0])
        y.append(i % 2)
    windows = np.stack(X)
    mean, std = (f(windows, axis=(0, 1, 3), keepdims=True)[0] for f in (np.mean, np.std))
    model = network.build(notation.parse("8C3-P2-16C3-P2-32-*", input_shape=LOGMEL.shape, n_labels=2))
    before = Runtime(network.export_litert(network.build_serving_model(model, mean, std)))
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.Adam(3e-3), loss=loss)
    model.fit((windows - mean) / std, np.array(y, np.float32), epochs=12, batch_size=32, verbose=0)
    return Runtime(network.export_litert(network.build_serving_model(model, mean, std))), before


def map_of(runtime: Runtime, found: ExplainInput) -> Array:
    def ask(X: Array) -> NDArray[np.float64]:
        return log_odds.of_logits(runtime(X)[0], 1, positive=1)

    return occlusion.importance(found, ask, occlusion.noise_level(found))


@pytest.mark.slow
def test_the_map_of_a_network_lies_on_the_tone_that_it_learned_to_notice() -> None:
    """Not all of it: what a network has learned of the other tones is its own affair."""
    found = subject_of(among_distractors(2_000, (300.0, 1_300.0, 3_300.0, 6_500.0)))
    after, before = (share_at(map_of(runtime, found), 2_000) for runtime in learned(2_000))
    assert after >= 0.6
    assert before < 0.3


@pytest.mark.slow
def test_a_network_of_random_weights_has_another_map() -> None:
    """Adebayo et al., "Sanity checks for saliency maps" (NeurIPS 2018): a map must depend on what was learned."""
    found = subject_of(among_distractors(2_000, (300.0, 3_300.0, 6_500.0)))
    ranks = [map_of(runtime, found).ravel().argsort().argsort() for runtime in learned(2_000)]
    assert abs(np.corrcoef(ranks)[0, 1]) < 0.3


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_hiding_a_patch_of_a_window_is_hiding_it_in_the_recording(spec: FeatureSpec) -> None:
    """What is asked about is what the network would have been shown if the recording had had that place hidden."""
    whole = subject_of(sounds.noise(1.5), spec)
    shown: list[Array] = []

    def ask(X: Array) -> NDArray[np.float64]:
        shown.append(X)
        return np.zeros(len(X))

    neutral = np.linspace(-30, -60, spec.n_mels).astype(np.float32)
    one = replace(whole, counted=np.arange(len(whole.starts)) == 1)
    occlusion.importance(one, ask, neutral)
    patches = occlusion.grid(spec.window_frames, spec.n_mels)
    asked = np.concatenate(shown)
    assert len(asked) == 1 + len(patches)
    for number in (0, len(patches) // 2, len(patches) - 1):
        bands = whole.bands.copy()
        stretch = bands[whole.starts[1] : whole.starts[1] + spec.window_frames]
        place = np.ix_(patches.frames[number], patches.bands[number])
        stretch[place] = np.broadcast_to(neutral, stretch.shape)[place]
        np.testing.assert_allclose(asked[1 + number], whole.windows(bands)[1], atol=1e-3)


def test_hiding_what_is_neutral_already_changes_nothing() -> None:
    found = subject_of(sounds.noise(1.0))
    level = np.full(64, 10, np.float32)
    flat = replace(found, bands=np.broadcast_to(level, found.bands.shape).copy())
    assert np.abs(occlusion.importance(flat, ear_for(2_000), level)).max() < 1e-6


def test_windows_that_do_not_count_have_no_importance() -> None:
    found = subject_of(sounds.tone(2_000, 3.0) + sounds.noise(3.0))
    found = replace(found, counted=found.starts < 100)
    values = occlusion.importance(found, ear_for(2_000), np.full(64, -40, np.float32))
    assert values[:100].any()
    assert not values[150:].any()


def test_two_tracks_that_are_the_same_have_the_map_of_one() -> None:
    one = subject_of(sounds.chirp(200, 7_000, 2.0) + sounds.noise(2.0))
    two = replace(one, n_tracks=2, bands=np.repeat(one.bands, 2, axis=0))
    maps = [occlusion.importance(found, ear_for(2_000), np.full(64, -40, np.float32)) for found in (one, two)]
    assert maps[0].any()
    np.testing.assert_allclose(*maps, atol=1e-4)


@pytest.mark.parametrize(("n_frames", "n_bands"), [(1, 1), (2, 3), (9, 26), (50, 128), (100, 128)])
def test_patches_cover_every_place_and_their_weights_sum_to_one(n_frames: int, n_bands: int) -> None:
    patches = occlusion.grid(n_frames, n_bands)
    np.testing.assert_allclose(patches.weights().sum(axis=0), 1, rtol=1e-5)
    assert len(patches) <= 16**2


def test_log_odds_do_not_saturate_and_are_those_of_the_scores() -> None:
    logits = np.array([[2.0, -1.0, 0.5], [80.0, -70.0, 0.0]])
    scores = np.exp(scoring.log_scores(logits.astype(np.float32), Labels(("a", "b", "c")), 2.0))
    found = log_odds.of_logits(logits, 0, temperature=2.0)
    assert found[0] == pytest.approx(np.log2(scores[0, 0] / (1 - scores[0, 0])))
    assert found[1] == pytest.approx(40 / np.log(2))  # the probability itself is 1 to the last digit
    for label in (0, 1):
        p = np.exp(scoring.log_scores(np.array([[1.5]], np.float32), Labels(("a", "b"), positive="b")))[0, label]
        assert log_odds.of_logits(np.array([[1.5]]), label, positive=1)[0] == pytest.approx(np.log2(p / (1 - p)))


# What is explained of a long recording


def test_moments_hold_the_peak_and_are_no_longer_than_allowed() -> None:
    starts_s = np.arange(0, 600, 0.25)
    one = segments.around(100.0, 160.0, 150.0, 2, starts_s=starts_s, spec=LOGMEL)
    assert starts_s[one.first] <= 150 <= starts_s[one.last - 1]
    assert (one.last - one.first) * 0.25 <= segments.SEGMENT_S + 1
    short = segments.around(100.0, 100.1, 100.05, 2, starts_s=starts_s, spec=LOGMEL)
    assert short.last - short.first >= 1
    assert segments.without_overlaps([one, one, short], top=3) == [one, short] if short.last <= one.first else [one]


def test_the_strongest_windows_do_not_overlap() -> None:
    scores = np.array([0.1, 0.9, 0.95, 0.2, 0.8])
    found = segments.strongest(scores, np.array([1, 1, 1, 1, 0], bool), 0, top=3, spec=LOGMEL)
    assert [one.first for one in found] == [2, 0]


# Sounds


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@pytest.mark.parametrize("n_samples", [1, 100, 511, 16_000, 40_001])
def test_what_mattered_and_the_rest_add_up_to_the_recording(spec: FeatureSpec, n_samples: int) -> None:
    samples = sounds.noise(3.0, level=0.2)[:n_samples]
    n_frames = 1 + n_samples // spec.hop_length
    kept = np.random.default_rng(0).random((n_frames, spec.n_mels)).astype(np.float32)
    passed, rest = resynthesis.separate(samples, kept, spec=spec, frontend=constants(spec))
    assert len(passed) == len(rest) == n_samples
    np.testing.assert_allclose(passed + rest, samples, atol=1e-5)


def test_the_sentence_names_the_places_that_count_and_the_strongest_is_among_them() -> None:
    subject = subject_of(sounds.noise(2.0))
    hz, values = frontend.mel_edges_hz(LOGMEL)[1:-1], np.full((201, 64), -1.0, np.float32)
    values[20:40, 5:9] = values[100:140, 50:55] = 1
    values[160, 30] = 1.5  # alone
    sentence = describe_places(subject, values, "owl").replace("\N{NO-BREAK SPACE}", " ")
    low, middle, high = (f"{round(hz[5], -1):.0f} Hz", f"{hz[30] / 1000:.1f} kHz", f"{hz[54] / 1000:.1f} kHz")
    assert sentence.startswith(f"Most of what counts for “owl” lies between {low} and ")
    assert f", at {middle} and between " in sentence and f" and {high}, from 0.20 s to 0.26 s, from 1.00 s" in sentence
    assert f"and at 1.60 s. The strongest place is at 1.60 s and {middle}" in sentence


def test_an_explanation_whose_places_alone_are_predicted_otherwise_does_not_hold() -> None:
    def doubt(alone: tuple[str, float] | None, original: str = "owl") -> str:
        return describe_doubt("owl", {"original": (original, 0.9), "what-mattered": alone})

    assert doubt(("owl", 0.6)) == doubt(("cat", 0.9), original="cat") == ""
    assert "does not hold: what mattered alone is predicted as “cat” 0.98 and not “owl”" in doubt(("cat", 0.98))
    assert "is silent and not “owl”" in doubt(None)


def test_a_mask_that_keeps_everything_gives_the_recording_back() -> None:
    samples = sounds.chirp(300, 6_000, 2.0)
    passed, rest = resynthesis.separate(
        samples, np.ones((201, 64), np.float32), spec=LOGMEL, frontend=constants(LOGMEL)
    )
    assert np.abs(rest).max() < 0.02 * np.abs(samples).max()  # but for the few hertz below the lowest band
    np.testing.assert_allclose(passed, samples, atol=0.02)


def test_a_tone_that_mattered_is_heard_and_the_other_is_not() -> None:
    samples = sounds.tone(500, 2.0) + sounds.tone(3_000, 2.0)
    kept = np.zeros((201, 64), np.float32)
    kept[:, np.abs(frontend.mel_edges_hz(LOGMEL)[1:-1] - 3_000) < 600] = 1
    passed, rest = resynthesis.separate(samples, kept, spec=LOGMEL, frontend=constants(LOGMEL))
    inner = slice(2_000, -2_000)
    assert sounds.pitch_hz(passed[inner]) == pytest.approx(3_000, abs=5)
    assert sounds.pitch_hz(rest[inner]) == pytest.approx(500, abs=5)
    assert sounds.amplitude(passed[inner]) == pytest.approx(0.5, rel=0.05)
    assert sounds.amplitude(rest[inner]) == pytest.approx(0.5, rel=0.05)


def test_a_mask_is_nothing_where_nothing_speaks_for_the_label() -> None:
    values = np.array([[-1.0, 0.0, 0.5, 1.0]], np.float32)
    assert resynthesis.mask(values)[0, :2].tolist() == [0, 0]
    assert 0 < resynthesis.mask(values)[0, 2] <= resynthesis.mask(values)[0, 3] == 1
    assert not resynthesis.mask(-np.ones((2, 2), np.float32)).any()


# The heat map


def test_a_heat_map_of_calls_above_hearing_lies_where_it_was_measured() -> None:
    spec = config.read_preset("ultrasonic").features
    values = np.zeros((51, spec.n_mels), np.float32)
    frame, band = 30, 60
    values[frame, band] = 1
    view, heat = spectrogram.drawing_spec(spec), spectrogram.HeatMap(values, spec, 1.0)
    drawn = spectrogram.draw(sounds.noise(0.1, 256_000), 256_000, title="t", heat=heat, highest_hz=90_000, spec=view)
    number = r'"([-\d.]+)"'
    image = f"<image x={number} y={number} width={number} height={number}"
    top, x, y, width, height = map(float, re.findall(f'viewBox="0 0 0.1 ([-\\d.]+)"[^>]*>{image}', drawn)[-1])
    at_px = spectrogram.HEIGHT_PX * (y + (spec.n_mels - 1 - band + 0.5) / spec.n_mels * height) / top
    hz = frontend.mel_edges_hz(spec)[1:-1][band]
    assert at_px == pytest.approx(spectrogram.y_px(hz, 90_000, 8_000), abs=2)
    assert x + (frame + 0.5) / 51 * width == pytest.approx(0.06, abs=0.001)


def test_a_heat_map_lies_where_it_was_measured() -> None:
    """The colour over a band of the network's own is at the height of its frequency, and at its time."""
    samples = sounds.noise(2.0, 32_000)
    values = np.zeros((201, 64), np.float32)
    band, frame = 40, 120
    values[frame, band] = 1
    drawn = spectrogram.draw(
        samples, 32_000, title="t", heat=spectrogram.HeatMap(values, LOGMEL, 1.0), highest_hz=LOGMEL.upper_hz
    )
    assert 'class="heat"' in drawn
    number = r'"([-\d.]+)"'
    image = f"<image x={number} y={number} width={number} height={number}"
    over = re.findall(f'viewBox="0 0 2 ([-\\d.]+)"[^>]*>{image}', drawn)
    top, x, y, width, height = map(float, over[-1])
    row = 64 - 1 - band  # the highest band is the first row of the picture
    at_px = spectrogram.HEIGHT_PX * (y + (row + 0.5) / 64 * height) / top
    hz = frontend.mel_edges_hz(LOGMEL)[1:-1][band]
    assert at_px == pytest.approx(spectrogram.y_px(hz, 8_000), abs=2)
    assert x + (frame + 0.5) / 201 * width == pytest.approx(1.2, abs=0.005)


# The command


@pytest.fixture(scope="module")
def song(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plucked string: a few decaying harmonics and a little noise."""
    t = np.arange(3 * 44_100) / 44_100
    samples = sum(np.sin(2 * np.pi * 220 * k * t) * np.exp(-2 * k * (t % 1)) / k for k in range(1, 8))
    file = tmp_path_factory.mktemp("song") / "a <song> & more.wav"
    write(file, (0.2 * samples + 0.002 * sounds.noise(3.0, 44_100)).astype(np.float32), 44_100)
    return file


@pytest.fixture(scope="module")
def explained(song: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("explained")
    done = audiocnn("explain", song, cwd=folder)
    assert done.stderr.endswith("Next: audiocnn explain --network, to see what each label responds to\n")
    return folder / f"{song.name}.explained"


@pytest.mark.slow
def test_the_folder_holds_a_page_maps_sounds_and_facts(explained: Path, song: Path) -> None:
    facts = json.loads((explained / "explanation.json").read_text())
    assert facts["recording"].endswith("more.wav")
    assert facts["label"] == facts["explained"][0]["label"]
    assert set(facts["files"]) == {f.name for f in explained.iterdir()} - {"index.html", "explanation.json"}
    values = np.load(explained / "importance.npy")
    rows = list(csv.reader((explained / "importance.csv").open()))
    assert rows[0][0] == "time_s"
    assert (len(rows) - 1, len(rows[0]) - 1) == values.shape
    parts = [read(explained / f"{name}.wav")[0] for name in ("original", "what-mattered", "the-rest")]
    assert parts[0] == pytest.approx(parts[1] + parts[2], abs=1e-4)  # 16 bits each
    assert len(facts["windows"]) == len(facts["windows"]) > 1


@pytest.mark.slow
def test_explain_again_replaces_the_folder_and_another_label_gives_another_map(
    explained: Path, song: Path, tmp_path: Path
) -> None:
    shutil.copytree(explained, tmp_path / "out")
    before = np.load(tmp_path / "out" / "importance.npy")
    facts = json.loads((tmp_path / "out" / "explanation.json").read_text())
    other = next(label for label in facts["scores"] if label != facts["label"])
    done = audiocnn("explain", song, "-o", "out", "--label", other, "--neutral", "noise", cwd=tmp_path)
    assert f"explained: {other}" in done.stdout
    assert not np.allclose(before, np.load(tmp_path / "out" / "importance.npy"))


def test_a_folder_with_anything_else_in_it_is_left_alone(song: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    done = audiocnn("explain", song, "-o", "out", cwd=tmp_path, code=2)
    assert "notes.txt" in done.stderr
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"


def test_an_unknown_label_is_answered_with_those_like_it(song: Path, tmp_path: Path) -> None:
    done = audiocnn("explain", song, "--label", "celo", cwd=tmp_path, code=2)
    assert "did you mean Cello" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_occlusion_needs_neither_keras_nor_librosa(song: Path, tmp_path: Path) -> None:
    explained = ("explain", song, "-o", "out")
    run(explained, cwd=tmp_path, without=KERAS | {"librosa", "numba", "scipy", "sklearn", "pandas"})
    assert (tmp_path / "out" / "index.html").is_file()


@pytest.mark.parametrize("method", sorted(explain.NEEDS_TENSORFLOW))
def test_a_method_that_needs_tensorflow_says_so_and_offers_occlusion(
    method: str, song: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=rf"--method {method} .*audiocnn\[train\].*--method occlusion"):
        explain.run(song, model=SHIPPED, methods=[method], out=tmp_path / "out", progress=Progress())


@pytest.mark.parametrize("what", ["silent", "empty", "text", "missing", "folder"])
def test_what_cannot_be_explained_is_refused_in_one_line(what: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.wav"
    if what == "silent":
        write(file, sounds.silence(2.0), sounds.RATE)
    elif what == "empty":
        file.write_bytes(b"")
    elif what == "text":
        file.write_text("no sound")
    elif what == "folder":
        file.mkdir()
    done = audiocnn("explain", file, cwd=tmp_path, code=2 if what == "folder" else 4)
    lines = [line for line in done.stderr.splitlines() if line.startswith("audiocnn: ")]
    assert len(lines) == 1
    assert "bad.wav" in lines[0]
    assert not (tmp_path / "bad.wav.explained").exists()


@pytest.mark.slow
def test_a_recording_shorter_than_a_window_is_explained_as_it_is_heard(tmp_path: Path) -> None:
    write(tmp_path / "click.wav", sounds.tone(440, 0.2), sounds.RATE)
    audiocnn("explain", "click.wav", cwd=tmp_path)
    page = (tmp_path / "click.wav.explained" / "index.html").read_text()
    assert "repeated to fill it" in page


@pytest.mark.slow
def test_of_a_long_recording_the_strongest_moments_are_explained(tmp_path: Path) -> None:
    samples = 0.01 * sounds.noise(90.0, 8_000)
    samples[40 * 8_000 : 43 * 8_000] += sounds.tone(400, 3.0, 8_000)
    write(tmp_path / "long.wav", samples, 8_000)
    done = audiocnn("explain", "long.wav", "--top", "1", cwd=tmp_path)
    assert "too long to explain as a whole" in done.stderr
    facts = json.loads((tmp_path / "long.wav.explained" / "explanation.json").read_text())
    assert not facts["whole"]
    assert len(facts["explained"]) == 1
    assert facts["explained"][0]["end_s"] - facts["explained"][0]["start_s"] <= segments.SEGMENT_S + 2
    assert (tmp_path / "long.wav.explained" / "what-mattered-1.wav").is_file()


@pytest.mark.slow
def test_prediction_by_way_of_bands_is_the_prediction(song: Path) -> None:
    from audiocnn import load_model

    model = load_model()
    prediction, inputs, whole = load.load(song, model.bundle, label=None, top=3, report=lambda note: None)
    expected = model.predict(song)
    assert whole
    assert prediction.label == expected.label
    np.testing.assert_allclose(prediction.window_scores, expected.window_scores, atol=1e-4)
    assert isinstance(prediction.recording_status, RecordingStatus)
    assert inputs[0].duration_s == pytest.approx(3.0, abs=0.01)
    assert model.bundle.folder == SHIPPED


# The page


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), [(375, "light"), (1280, "dark")])
def test_the_page_says_nothing_asks_for_nothing_and_fits(explained: Path, width: int, scheme: str) -> None:
    with chromium() as browser, visited(browser, explained / "index.html", width=width, scheme=scheme) as visit:
        assert visit.overflow_px() <= 0
        assert visit.violations() == []
        assert visit.page.locator("h1").inner_text() == "a <song> & more.wav"


@pytest.mark.slow
def test_the_heat_map_can_be_taken_away_without_a_script(explained: Path) -> None:
    with chromium() as browser, visited(browser, explained / "index.html", script=False) as visit:
        heat = visit.page.locator("#mattered .heat").first
        assert heat.is_visible()
        visit.page.get_by_label("Show the map").first.uncheck()
        assert not heat.is_visible()


@pytest.mark.slow
def test_all_sounds_of_the_page_can_be_played(explained: Path) -> None:
    with chromium() as browser, visited(browser, explained / "index.html") as visit:
        players = visit.page.locator("audio")
        assert players.count() >= 4
        for i in range(players.count()):
            players.nth(i).evaluate("a => new Promise((ok, no) => { a.oncanplay = ok; a.onerror = no; a.load() })")
            assert players.nth(i).evaluate("a => a.duration") > 0.5
