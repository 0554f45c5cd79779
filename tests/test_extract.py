"""Features: librosa is the oracle, and a frame has one value however its samples arrive."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sounds

from audiocnn import config
from audiocnn.audio.decode import Decoder
from audiocnn.draw import spectrogram
from audiocnn.errors import IntegrityError
from audiocnn.features import extract, fit_spec, frontend
from audiocnn.features.frontend import Frontend
from audiocnn.specs import DELTA_WIDTH, FeatureSpec

PRESETS = {name: config.read_preset(name).features for name in config.PRESETS}
FITTED = {f"general at {rate} Hz": fit_spec.at_rate(PRESETS["general"], rate) for rate in fit_spec.RATES}
SHIPPED = {**PRESETS, **FITTED, "spectrogram drawing": spectrogram.SPEC}
SOUNDS = {
    "tone": sounds.tone(440, 3),
    "tone at full scale": sounds.tone(3_000, 3, amplitude=1),
    "two tones 70 dB apart": sounds.tone(500, 3) + sounds.tone(5_000, 3, amplitude=0.5 * 10**-3.5),
    "chirp": sounds.chirp(50, 7_900, 3),
    "noise": sounds.noise(3, seed=1),
    "near silence": sounds.noise(3, level=1e-4, seed=2),
    "below the floor": sounds.noise(3, level=1e-8, seed=3),
    "zeros": sounds.silence(3),
    "clicks": np.where(np.arange(48_000) % 5_000 == 77, 1, 0).astype(np.float32),
    "from loud to quiet": sounds.noise(3, seed=4) * np.geomspace(1, 1e-4, 48_000, dtype=np.float32),
}


def frames(samples, spec: FeatureSpec, *, block: int | None = None):
    """Frames (n_frames, n_bins, n_channels) of samples that arrive in blocks of this size."""
    step = block or max(1, len(samples))
    blocks = (samples[i : i + step] for i in range(0, len(samples), step))
    return np.concatenate(list(extract.compute_frames(blocks, spec=spec, frontend=frontend.make(spec))))


def with_fields(spec: FeatureSpec, **fields: object) -> FeatureSpec:
    """A spec with other fields, checked as if it were read from a file."""
    return FeatureSpec.model_validate({**spec.model_dump(), **fields})


def static_logmel(spec: FeatureSpec) -> FeatureSpec:
    """The log-mel spectrum that a spec's coefficients are made from."""
    return with_fields(spec, kind="logmel", n_mfcc=None, channels=("static",))


def audible(spec: FeatureSpec) -> FeatureSpec:
    """A spec with low bands: of a sound that is all below ``fmin``, librosa and we keep different rounding errors."""
    return with_fields(spec, fmin=min(spec.fmin, 50.0))


# librosa as oracle


class Oracle:
    """librosa's numbers for a whole recording, each (n_frames, n_bins)."""

    def __init__(self, samples, spec: FeatureSpec) -> None:
        import librosa

        self.power = librosa.feature.melspectrogram(
            y=samples, sr=spec.sample_rate, n_fft=spec.n_fft, hop_length=spec.hop_length, n_mels=spec.n_mels,
            fmin=spec.fmin, fmax=spec.upper_hz,
        )  # fmt: skip
        self.decibels = librosa.power_to_db(self.power, top_db=None)
        self.mfcc = librosa.feature.mfcc(S=self.decibels, n_mfcc=spec.n_mfcc or 1).T
        self.delta = librosa.feature.delta(self.decibels, width=DELTA_WIDTH).T
        self.power, self.decibels = self.power.T, self.decibels.T


def assert_like_librosa(samples, spec: FeatureSpec) -> None:
    oracle = Oracle(samples, spec)
    ours = frames(samples, static_logmel(spec))[:, :, 0]
    assert ours.shape == oracle.decibels.shape
    assert np.isfinite(ours).all()

    power = 10 ** (ours.astype(np.float64) / 10)
    rounding = np.log(10) / 10 * 2 * np.spacing(np.abs(ours)) * power  # what is lost as the decibels are float32
    floored = np.maximum(oracle.power, extract.POWER_FLOOR)
    assert (np.abs(power - floored) <= 1e-6 * floored.max(axis=1, keepdims=True) + rounding).all()

    off = np.abs(ours - oracle.decibels)
    near = oracle.decibels > oracle.decibels.max(axis=1, keepdims=True) - 80
    assert off[near].max() < 0.01
    assert off[~near].max(initial=0) < 0.5

    features = frames(samples, spec)
    if spec.kind == "mfcc":
        assert np.abs(features[:, :, 0] - oracle.mfcc).max() < 1e-3 * np.abs(oracle.mfcc).max()
    if "delta" in spec.channels:
        # A slope is at most a third of the largest error of the values that it is taken from.
        assert np.abs(features[:, :, spec.channels.index("delta")] - oracle.delta).max() < 0.5 / 3


@pytest.mark.slow
@pytest.mark.parametrize("name", SOUNDS)
@pytest.mark.parametrize("preset", PRESETS)
def test_features_are_those_of_librosa_on_the_whole_recording(preset, name):
    assert_like_librosa(SOUNDS[name], audible(PRESETS[preset]))


@pytest.mark.parametrize("preset", PRESETS)
def test_features_of_real_recordings_are_those_of_librosa(preset, data_dir):
    spec = audible(PRESETS[preset])
    files = [
        *sorted((data_dir / "instruments").rglob("*.wav"))[::50],
        *sorted((data_dir / "drones").rglob("*.wav"))[::400],
    ]
    assert len(files) >= 8
    for file in files:
        with Decoder(file) as decoder:
            samples = np.concatenate(list(decoder.blocks(sample_rate=spec.sample_rate)))[: 5 * sounds.RATE]
        assert_like_librosa(samples[: len(samples) // spec.window_samples * spec.window_samples], spec)


@pytest.mark.parametrize("n_frames", [9, 10, 17, 511, 512, 513, 517, 521, 1_024, 1_025, 1_030])
def test_delta_is_that_of_librosa_at_every_edge_of_a_block(n_frames):
    import librosa

    spec = with_fields(PRESETS["spectrogram"], window_frames=9, hop_frames=9, n_mels=16)
    found = frames(sounds.noise((n_frames - 1) * spec.hop_length / spec.sample_rate, seed=n_frames), spec)
    assert len(found) == n_frames
    expected = librosa.feature.delta(found[:, :, 0].T.astype(np.float64), width=DELTA_WIDTH).T
    np.testing.assert_allclose(found[:, :, 1], expected, rtol=0, atol=1e-4)


def test_a_band_of_mel_filters_between_fmin_and_fmax_is_that_of_librosa():
    spec = with_fields(
        PRESETS["spectrogram"], sample_rate=22_050, n_fft=512, hop_length=100, n_mels=40, fmin=200.0, fmax=5_000.0
    )
    assert_like_librosa(sounds.noise(1, rate=22_050), spec)


# Geometry


@pytest.mark.parametrize(("preset", "shape"), [("instrument", (13, 9, 1)), ("spectrogram", (50, 128, 2))])
def test_a_window_of_a_preset_has_the_shape_that_was_asked_for(preset, shape):
    spec = PRESETS[preset]
    assert spec.shape == shape
    recording = frames(sounds.noise(2), spec)
    starts = extract.window_starts(len(recording), spec)
    windows = extract.cut_windows(recording, starts, spec)
    assert windows.shape == (len(starts), *shape)
    assert windows.dtype == np.float32
    assert extract.cut_windows(recording, starts[:0], spec).shape == (0, *shape)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_recording_has_one_frame_and_one_more_for_every_hop(preset):
    spec = with_fields(PRESETS[preset], channels=("static",), window_frames=1, hop_frames=1)
    hop, block = spec.hop_length, extract.BLOCK_FRAMES * spec.hop_length
    edges = {1, hop, spec.n_fft // 2, spec.n_fft, block - spec.n_fft, block - spec.n_fft // 2, block, 2 * block}
    for n in sorted({max(1, edge + offset) for edge in edges for offset in (-hop, -1, 0, 1)}):
        assert len(frames(np.ones(n, np.float32), spec)) == 1 + n // hop, f"{n} samples"


@pytest.mark.parametrize("tail", ["drop", "cover"])
@pytest.mark.parametrize("stretch", [None, (0.5, 3.1), (0.2, 0.3), (9.0, 10.0)])
def test_some_windows_start_where_the_same_ones_of_all_do(tail, stretch):
    spec = config.read_preset("spectrogram").features.model_copy(update={"tail": tail})
    for n_frames in (0, spec.window_frames, 260, 263):
        starts = extract.window_starts(n_frames, spec, stretch)
        for some in (slice(0, 1), slice(2, 5), slice(3, None), slice(7, 3)):
            assert np.array_equal(extract.window_starts(n_frames, spec, stretch, some), starts[some])


def test_windows_begin_at_every_hop_that_leaves_a_whole_window():
    for window, hop in [(9, 8), (50, 25), (9, 9), (5, 7), (1, 1), (12, 1)]:
        spec = with_fields(PRESETS["instrument"], window_frames=window, hop_frames=hop)
        for n in range(4 * window + 3):
            starts = extract.window_starts(n, spec)
            assert starts.tolist() == [s for s in range(n) if s % hop == 0 and s + window <= n]
            assert len(starts) == (1 + (n - window) // hop if n >= window else 0)


def test_tail_cover_adds_one_window_that_ends_with_the_recording_and_only_where_one_is_missing():
    spec = with_fields(PRESETS["instrument"], window_frames=9, hop_frames=8)
    cover = with_fields(spec, tail="cover")
    for n in range(60):
        dropped, covered = extract.window_starts(n, spec), extract.window_starts(n, cover)
        if n < 9 or (n - 9) % 8 == 0:
            assert covered.tolist() == dropped.tolist()
        else:
            assert covered.tolist() == [*dropped.tolist(), n - 9]


@pytest.mark.parametrize("preset", PRESETS)
def test_a_window_starts_when_its_first_frame_is_centred(preset):
    spec = PRESETS[preset]
    click_s = 1.5
    samples = sounds.silence(4, spec.sample_rate)
    samples[round(click_s * spec.sample_rate)] = 1
    spec = with_fields(spec, kind="logmel", n_mfcc=None, channels=("static",), window_frames=1, hop_frames=1)
    recording = frames(samples, spec)
    starts = extract.window_starts(len(recording), spec)
    loudest = extract.cut_windows(recording, starts, spec).sum(axis=(1, 2, 3)).argmax()
    assert extract.window_start_s(starts, spec)[loudest] == pytest.approx(click_s, abs=spec.hop_s / 2)


@pytest.mark.parametrize("axes", ["bins_frames", "frames_bins"])
def test_a_window_is_a_slice_of_frames_with_its_axes_in_the_order_asked_for(axes):
    spec = with_fields(PRESETS["spectrogram"], axes=axes, n_mels=16, window_frames=10, hop_frames=3)
    recording = frames(sounds.noise(1), spec)
    starts = extract.window_starts(len(recording), spec)
    windows = extract.cut_windows(recording, starts, spec)
    assert len(windows) > 5
    for window, start in zip(windows, starts, strict=True):
        expected = recording[start : start + 10]
        np.testing.assert_array_equal(window, expected if axes == "frames_bins" else expected.transpose(1, 0, 2))


# One stream


@pytest.mark.parametrize("block", [1, 7, 777, 100_000])
@pytest.mark.parametrize("preset", PRESETS)
def test_blocks_of_any_size_give_the_frames_of_the_whole(preset, block):
    spec = PRESETS[preset]
    samples = sounds.chirp(50, 7_900, 12) + sounds.noise(12, level=0.01)
    assert 1 + len(samples) // spec.hop_length > extract.BLOCK_FRAMES  # so several blocks of frames are made
    np.testing.assert_allclose(frames(samples, spec, block=block), frames(samples, spec), rtol=0, atol=1e-5)


@pytest.mark.parametrize("preset", PRESETS)
def test_empty_blocks_between_others_change_nothing(preset):
    spec = PRESETS[preset]
    samples = sounds.noise(2)
    empty = samples[:0]
    blocks = [empty, samples[:5_000], empty, samples[5_000:], empty]
    found = np.concatenate(list(extract.compute_frames(blocks, spec=spec, frontend=frontend.make(spec))))
    np.testing.assert_allclose(found, frames(samples, spec), rtol=0, atol=1e-5)


@pytest.mark.parametrize("preset", PRESETS)
def test_no_samples_give_no_frames(preset):
    spec = PRESETS[preset]
    assert not list(extract.compute_frames([], spec=spec, frontend=frontend.make(spec)))
    assert not list(extract.compute_frames([sounds.silence(0)], spec=spec, frontend=frontend.make(spec)))


@pytest.mark.parametrize("preset", PRESETS)
def test_a_loud_neighbour_does_not_change_the_windows_before_or_after_it(preset):
    spec = PRESETS[preset]
    quiet = sounds.noise(9, level=1e-3)
    loud = quiet.copy()
    loud[4 * sounds.RATE : 5 * sounds.RATE] = sounds.tone(1_000, 1, amplitude=1)
    found, expected = frames(loud, spec), frames(quiet, spec)
    reach = spec.n_fft // 2 // spec.hop_length + 1 + DELTA_WIDTH // 2  # frames that a sample can have a part in
    before, after = 4 * sounds.RATE // spec.hop_length - reach, 5 * sounds.RATE // spec.hop_length + reach + 1
    np.testing.assert_allclose(found[:before], expected[:before], rtol=0, atol=1e-5)
    np.testing.assert_allclose(found[after:], expected[after:], rtol=0, atol=1e-5)
    assert np.abs(found[before:after] - expected[before:after]).max() > 10


@pytest.mark.parametrize("preset", PRESETS)
def test_a_window_has_the_same_features_alone_and_in_a_batch(preset):
    spec = PRESETS[preset]
    recording = frames(np.concatenate([sounds.noise(2, level=1e-3), sounds.tone(900, 2)]), spec)
    starts = extract.window_starts(len(recording), spec)
    batch = extract.cut_windows(recording, starts, spec)
    for i, start in enumerate(starts):
        np.testing.assert_array_equal(extract.cut_windows(recording, starts[i : i + 1], spec)[0], batch[i])
        alone = recording[start : start + spec.window_frames]
        np.testing.assert_array_equal(extract.cut_windows(alone, starts[:1], spec)[0], batch[i])


@pytest.mark.parametrize("preset", PRESETS)
def test_an_excerpt_has_the_frames_that_it_has_within_the_recording(preset):
    spec = PRESETS[preset]
    samples = sounds.chirp(100, 7_000, 14) + sounds.noise(14, level=0.01)
    first, last = 100, 300  # frames; the excerpt begins elsewhere in the grid of blocks than the recording does
    margin = spec.n_fft // 2 // spec.hop_length + 1 + DELTA_WIDTH // 2
    excerpt = frames(samples[first * spec.hop_length : last * spec.hop_length], spec)
    np.testing.assert_allclose(
        excerpt[margin : last - first - margin],
        frames(samples, spec)[first + margin : last - margin],
        rtol=0, atol=1e-3,
    )  # fmt: skip


# Short recordings


@pytest.mark.parametrize("channels", [("static",), ("static", "delta")])
@pytest.mark.parametrize("preset", PRESETS)
def test_a_short_recording_is_repeated_to_fill_one_window(preset, channels):
    spec = with_fields(PRESETS[preset], channels=channels)
    for n in (1, 50, spec.window_samples // 3, spec.window_samples - 1):
        short = sounds.noise(n / sounds.RATE, seed=n)
        times = -(-spec.window_samples // n)
        expected = frames(np.tile(short, times)[: spec.window_samples], spec)
        assert len(expected) == spec.window_frames
        for block in (None, 13):
            np.testing.assert_allclose(frames(short, spec, block=block), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_short_recording_is_never_padded_with_silence(preset):
    spec = static_logmel(PRESETS[preset])
    level = frames(sounds.noise(spec.window_s / 3), spec)[:, :, 0].mean(axis=1)
    # Half of the first and last frame lies beyond the ends of the recording; nothing else is quieter than the rest.
    assert level[1:-1].min() > level.max() - 6


def test_repeating_leaves_a_recording_alone_that_is_long_enough():
    samples = sounds.noise(0.1)
    for n_needed in (0, 1, 1_599, 1_600):
        for block in (1, 700, 1_600):
            blocks = [samples[i : i + block] for i in range(0, 1_600, block)]
            np.testing.assert_array_equal(np.concatenate(list(extract.repeat_to_fill(blocks, n_needed))), samples)


# Channels


def test_channels_stand_in_the_order_asked_for():
    both = frames(SOUNDS["chirp"], PRESETS["spectrogram"])
    for channels, order in {("delta", "static"): [1, 0], ("delta",): [1], ("static",): [0]}.items():
        found = frames(SOUNDS["chirp"], with_fields(PRESETS["spectrogram"], channels=channels))
        np.testing.assert_array_equal(found, both[:, :, order])


def test_the_delta_of_a_steady_level_is_zero_and_that_of_a_rise_its_slope():
    spec = with_fields(PRESETS["spectrogram"], channels=("delta",))
    db_per_frame = 0.25
    n = 200 * spec.hop_length
    rise = 10 ** (np.arange(n) / spec.hop_length * db_per_frame / 20)
    carrier = sounds.tone(1_000, n / sounds.RATE, amplitude=1e-3)
    loudest = frames(carrier, with_fields(spec, channels=("static",)))[100, :, 0].argmax()
    inside = slice(10, 190)
    assert np.abs(frames(carrier, spec)[inside, loudest, 0]).max() < 1e-3
    risen = frames((carrier * rise).astype(np.float32), spec)[inside, loudest, 0]
    np.testing.assert_allclose(risen, db_per_frame, rtol=0.01)


# The constants


@pytest.mark.parametrize("name", SHIPPED)
def test_the_constants_of_presets_and_drawings_ship_with_the_package(name, monkeypatch):
    monkeypatch.setattr(frontend, "compute", lambda spec: pytest.fail("not shipped"))
    made = frontend.make(SHIPPED[name])
    assert made.taper.shape == (SHIPPED[name].n_fft,)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_constants_are_those_of_librosa(name):
    shipped, computed = frontend.make(SHIPPED[name]), frontend.compute(SHIPPED[name])
    np.testing.assert_allclose(shipped.taper, computed.taper, rtol=0, atol=1e-7)
    np.testing.assert_allclose(shipped.mel, computed.mel, rtol=1e-5, atol=1e-9)
    assert (shipped.dct is None) == (computed.dct is None)
    if shipped.dct is not None:
        np.testing.assert_allclose(shipped.dct, computed.dct, rtol=0, atol=1e-6)


def test_nothing_ships_that_no_preset_or_drawing_uses():
    folder = Path(frontend.__file__).parent / "frontends"
    assert len(list(folder.iterdir())) == len(SHIPPED)


def test_librosa_is_not_imported_where_the_constants_ship():
    script = (
        "import sys, numpy\n"
        "from audiocnn import config\n"
        "from audiocnn.features import extract, frontend\n"
        "for name in config.PRESETS:\n"
        "    spec = config.read_preset(name).features\n"
        "    blocks = [numpy.ones(spec.sample_rate, numpy.float32)]\n"
        "    assert list(extract.compute_frames(blocks, spec=spec, frontend=frontend.make(spec)))\n"
        "print(*{m.split('.')[0] for m in sys.modules} & {'librosa', 'numba', 'scipy', 'sklearn'})\n"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []


@pytest.mark.parametrize("name", SHIPPED)
def test_constants_come_back_from_their_bytes_and_equal_ones_give_equal_bytes(name):
    spec = SHIPPED[name]
    made = frontend.make(spec)
    data = made.to_bytes()
    back = Frontend.from_bytes(data, spec)
    assert back.to_bytes() == data
    np.testing.assert_array_equal(back.mel, made.mel)
    with pytest.raises(IntegrityError):
        Frontend.from_bytes(data, with_fields(spec, n_fft=2 * spec.n_fft))
    with pytest.raises(IntegrityError):
        Frontend.from_bytes(data[: len(data) // 2], spec)


@pytest.mark.parametrize("axes", ["bins_frames", "frames_bins"])
@pytest.mark.parametrize("preset", PRESETS)
def test_a_decibel_is_what_a_louder_recording_adds_to_its_windows(preset, axes):
    spec = with_fields(PRESETS[preset], axes=axes)
    samples = 0.1 * np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    starts = extract.window_starts(100, spec)[:1]
    soft, loud = (
        extract.cut_windows(frames(gain * samples, spec=spec), starts, spec)[0] for gain in (1.0, 10 ** (6 / 20))
    )
    np.testing.assert_allclose(loud - soft, 6 * extract.change_per_db(spec), atol=2e-2)
