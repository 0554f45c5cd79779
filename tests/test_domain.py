"""A recording is graded against the training recordings of a model: level, noise floor, bandwidth."""

import json
import re
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import projects
import pytest
import soundfile
import sounds
import soxr
from pydantic import ValidationError
from test_bundle import LABELS as BUNDLE_LABELS
from test_bundle import NOTATION, Made, reseal

from audiocnn.audio.decode import Decoder
from audiocnn.audio.source import ArraySource
from audiocnn.config import read_preset
from audiocnn.errors import IntegrityError
from audiocnn.features import extract, frontend, signal_stats
from audiocnn.features.analyze import RecordingStatus, analyze
from audiocnn.features.signal_stats import SignalStats, SignalStatsAccumulator
from audiocnn.formats import tables
from audiocnn.inference import journal, scoring
from audiocnn.inference.prediction import RecordingPrediction, RecordingScores
from audiocnn.labels import Labels
from audiocnn.model import bundle, domain
from audiocnn.model.decision import Decision
from audiocnn.model.domain import Domain, Range
from audiocnn.specs import FeatureSpec

SPECS = {name: read_preset(name).features for name in ("instrument", "spectrogram", "general")}
CLEAN = SignalStats(level_dbfs=-20.0, noise_db=-60.0, upper_hz=8_000.0)
LEARNED = domain.fit_domain([replace(CLEAN, level_dbfs=-30.0 + i / 2, noise_db=-70.0 + i / 2) for i in range(41)])
assert LEARNED is not None

each_spec = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)


def frames_of(samples: np.ndarray, spec: FeatureSpec, rate: int = sounds.RATE) -> np.ndarray:
    blocks: list[np.ndarray] = []
    source = ArraySource(samples, sample_rate=rate)
    analyze(Decoder(source), spec=spec, frontend=frontend.make(spec), keep=blocks.append)
    return np.concatenate(blocks)


def stats_of(samples: np.ndarray, spec: FeatureSpec, rate: int = sounds.RATE) -> SignalStats:
    found = signal_stats.measure(frames_of(samples, spec, rate), spec)
    assert found is not None
    return found


def sixteen_bits(samples: np.ndarray) -> np.ndarray:
    return (np.round(samples * 32_768) / 32_768).astype(np.float32)


# ----------------------------------------------------------------------------------------------------- what is measured


@each_spec
def test_the_level_of_noise_is_its_root_mean_square(spec: FeatureSpec) -> None:
    found = stats_of(sounds.noise(3, spec.sample_rate, level=0.1), spec, spec.sample_rate)
    assert found.level_dbfs == pytest.approx(-20, abs=0.5)
    assert found.noise_db == pytest.approx(0, abs=3)  # nothing but noise
    assert found.upper_hz == spec.upper_hz


@pytest.mark.parametrize("name", ["spectrogram", "general"])
def test_the_level_of_a_sine_is_its_root_mean_square(name: str) -> None:
    found = stats_of(sounds.tone(1_000, 2, amplitude=0.5), SPECS[name])
    assert found.level_dbfs == pytest.approx(-9.03, abs=0.2)
    assert found.noise_db < -80


@each_spec
def test_what_is_20_db_softer_has_a_level_20_db_lower_and_the_same_noise(spec: FeatureSpec) -> None:
    samples = sounds.noise(3, level=0.01) + sounds.tone(500, 3)
    loud, soft = stats_of(samples, spec), stats_of(0.1 * samples, spec)
    assert loud.level_dbfs - soft.level_dbfs == pytest.approx(20, abs=0.01)
    assert loud.noise_db == pytest.approx(soft.noise_db, abs=0.01)


@each_spec
def test_how_far_noise_lies_below_the_sound_is_told_to_a_few_decibels(spec: FeatureSpec) -> None:
    """The noise goes on where the sound does not."""
    burst = sounds.noise(4, level=0.3) * (np.arange(4 * sounds.RATE) < sounds.RATE)
    for below_db in (10, 30, 50):
        found = stats_of(burst + sounds.noise(4, level=0.3 * 10 ** (-below_db / 20), seed=1), spec)
        assert found.noise_db == pytest.approx(-below_db, abs=4)


@each_spec
@pytest.mark.parametrize("rate", [4_000, 8_000])
def test_a_recording_of_a_low_rate_stops_at_half_of_it_even_if_it_was_resampled_up(
    spec: FeatureSpec, rate: int
) -> None:
    samples = sounds.noise(3, rate, level=0.1)
    up = sixteen_bits(soxr.resample(samples, rate, 44_100))
    blur = 1.25 if spec.kind == "logmel" else 1.6  # bands are wide, and coefficients that are left out blur them
    for found in (stats_of(samples, spec, rate), stats_of(up, spec, 44_100)):
        assert rate / 2 / 1.1 < found.upper_hz < rate / 2 * blur


@each_spec
def test_a_soft_recording_that_reaches_all_the_way_up_is_not_taken_for_a_narrow_one(spec: FeatureSpec) -> None:
    samples = sixteen_bits(sounds.tone(200, 3) + sounds.noise(3, spec.sample_rate, level=1e-3)[: 3 * sounds.RATE])
    assert stats_of(samples, spec).upper_hz == pytest.approx(min(8_000, spec.upper_hz), rel=0.05)


@each_spec
def test_sound_that_begins_after_a_long_silence_is_measured_as_without_it(spec: FeatureSpec) -> None:
    sound = sounds.noise(1, level=0.1)
    padded = np.concatenate([sounds.silence(20), sound, sounds.silence(20)])
    alone, late = stats_of(sound, spec), stats_of(padded, spec)
    assert late.level_dbfs == pytest.approx(alone.level_dbfs, abs=8)  # less than a tenth of the moments has it
    assert late.upper_hz == pytest.approx(alone.upper_hz, rel=0.01)
    assert late.noise_db > -15


@each_spec
def test_however_frames_are_cut_the_character_is_the_same_to_the_last_digit(spec: FeatureSpec) -> None:
    frames = frames_of(sounds.noise(9) * np.linspace(0, 1, 9 * sounds.RATE, dtype=np.float32) ** 3, spec)
    whole, rng = signal_stats.measure(frames, spec), np.random.default_rng(0)
    for n in (1, 7, 300):
        observer = SignalStatsAccumulator(spec)
        for part in np.split(frames, np.sort(rng.integers(0, len(frames), n))):
            observer.add(part)
        assert observer.result() == whole


def test_of_several_tracks_the_loudest_counts() -> None:
    spec = SPECS["spectrogram"].model_copy(update={"channel": "each"})
    one, two = sounds.noise(2, level=0.01), sounds.tone(3_000, 2)
    frames = frames_of(np.stack([one, two], axis=1), spec)
    assert signal_stats.measure(frames, spec, n_tracks=2) == stats_of(two, SPECS["spectrogram"])


def test_slopes_and_digital_silence_tell_nothing() -> None:
    spec = SPECS["spectrogram"]
    slopes = spec.model_copy(update={"channels": ("delta",)})
    assert signal_stats.measure(frames_of(sounds.noise(2), slopes), slopes) is None
    assert signal_stats.measure(frames_of(sounds.silence(2), spec), spec) is None


@each_spec
def test_bands_lie_where_those_of_librosa_do(spec: FeatureSpec) -> None:
    basis = frontend.make(spec).mel
    middles = frontend.mel_edges_hz(spec)[1:-1]
    bin_hz = spec.sample_rate / spec.n_fft
    peaks = basis.argmax(axis=0) * bin_hz
    assert np.abs(peaks - middles)[basis.max(axis=0) > 0].max() <= bin_hz


def test_a_stretch_has_a_character_of_its_own() -> None:
    spec = SPECS["spectrogram"]
    frames = frames_of(np.concatenate([sounds.noise(4, level=0.1), sounds.noise(4, level=0.001)]), spec)
    n_frames = len(frames)
    found = signal_stats.measure(frames, spec, 1, extract.frame_range(n_frames, spec, (4.5, 8.0)))
    assert found is not None
    assert found.level_dbfs == pytest.approx(-60, abs=1)
    assert extract.frame_range(n_frames, spec) == slice(0, n_frames)


# ----------------------------------------------------------------------------------------------------- how it is graded


@pytest.mark.parametrize(
    ("changes", "grade", "code", "sentence"),
    [
        ({}, "inside", None, None),
        ({"upper_hz": 4_000.0}, "outside", "narrow_band", "stops at 4 kHz; training reached 8 kHz"),
        ({"upper_hz": 7_500.0}, "edge", None, "stops at 7.5 kHz; training reached 8 kHz"),
        ({"upper_hz": 7_990.0}, "inside", None, None),
        ({"upper_hz": 16_000.0}, "outside", "wide_band", "reaches 16 kHz; training stopped at 8 kHz"),
        ({"level_dbfs": -42.0}, "outside", "quiet_recording", "12 dB quieter than anything in training"),
        ({"level_dbfs": -33.0}, "edge", None, "3 dB quieter than anything in training"),
        ({"level_dbfs": 0.0}, "outside", "loud_recording", "10 dB louder than anything in training"),
        ({"noise_db": -30.0}, "outside", "noisy", "noise floor 20 dB above anything in training at the same level"),
        ({"noise_db": -120.0}, "inside", None, None),
    ],
)
def test_a_recording_gets_a_grade_and_a_reason(
    changes: dict[str, float], grade: str, code: str | None, sentence: str | None
) -> None:
    found = LEARNED.check(replace(CLEAN, **changes))
    assert (found.grade, found.codes) == (grade, (code,) if code else ())
    assert found.sentences == ((sentence,) if sentence else ())


def test_one_outlier_in_training_does_not_widen_the_range() -> None:
    usual = [replace(CLEAN, level_dbfs=-30.0 + i / 20) for i in range(200)]
    found = domain.fit_domain([*usual, replace(CLEAN, level_dbfs=-80.0)])
    assert found is not None
    standing = found.check(replace(CLEAN, level_dbfs=-70.0))
    assert standing.codes == ("quiet_recording",)
    assert standing.sentences == ("40 dB quieter than nearly all of training",)


def test_too_few_recordings_give_no_domain() -> None:
    assert domain.fit_domain([CLEAN] * (domain.MIN_RECORDINGS - 1)) is None
    found = domain.fit_domain([CLEAN] * domain.MIN_RECORDINGS, [0.5] * (domain.MIN_RECORDINGS - 1))
    assert found is not None
    assert found.resemblance is None


def prediction(found: SignalStats | None, learned_from: Domain | None, **changes: object) -> RecordingPrediction:
    scores, at = np.array([0.9, 0.1]), np.zeros(1)
    made = RecordingPrediction(
        "x.wav", RecordingStatus("ok", codes=("clipped",)), Labels(("a", "b")), scores, at, at + 1, scores[None]
    )
    return replace(made, signal_stats=found, training_domain=learned_from, **changes)


class StubClassifier:
    """A stand-in for a bundle, whose network has nothing to say."""

    labels, temperature, decision = Labels(("a", "b", "c")), 1.0, None

    def __init__(self, spec: FeatureSpec, learned_from: Domain | None) -> None:
        self.spec, self.domain = spec, learned_from

    def runtime(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros((len(X), 3), np.float32), np.zeros((len(X), 1), np.float32)


@pytest.mark.parametrize("n_tracks", [1, 2])
@each_spec
def test_a_recording_stands_the_same_as_a_stream_and_from_the_store(spec: FeatureSpec, n_tracks: int) -> None:
    spec = spec.model_copy(update={"channel": "each"})
    samples = np.stack([sounds.tone(500, 9), sounds.noise(9)][:n_tracks], axis=1)
    frames = frames_of(samples, spec)
    recording_status = RecordingStatus("ok", n_channels=n_tracks, n_frames=len(frames) // n_tracks, duration_s=9.0)
    classifier = StubClassifier(spec, LEARNED)
    with scoring.StreamingScorer(classifier, n_tracks) as stream:
        for part in np.split(frames, [30 * n_tracks, 31 * n_tracks, 300 * n_tracks]):
            stream.add(part)
        scores = stream.result()
    found = scoring.predict_frames(classifier, "x.wav", recording_status, frames)
    assert found.domain is not None
    assert (
        found.domain
        == scores.without_windows().prediction(classifier, "x.wav", recording_status).domain
        == scores.prediction(classifier, "x.wav", recording_status).domain
    )
    assert scoring.predict_frames(StubClassifier(spec, None), "x.wav", recording_status, frames).domain is None


def test_an_unfamiliar_recording_has_each_reason_once() -> None:
    rule = Decision(
        fitted_on="validation", n_recordings=9, n_groups=9, coverage=0.9, set_floor=0.1, unknown=0.02,
        typical=[[1.0, 0.0], [1.0, 0.0]], familiar_floor=0.5,
    )  # fmt: skip
    strange = {"decision": rule, "embedding": np.array([0.0, 1.0])}
    soft = replace(CLEAN, level_dbfs=-70.0)
    assert prediction(soft, LEARNED).reason == "clipped;quiet_recording"
    assert prediction(soft, LEARNED, **strange).reason == "clipped;quiet_recording;unfamiliar"
    inside = prediction(CLEAN, LEARNED, **strange)
    assert inside.domain is not None
    assert (inside.reason, inside.domain.grade) == ("clipped;unfamiliar", "outside")
    assert inside.domain.sentences == ("unlike the training recordings",)
    assert inside.domain.resemblance == 0.0


def test_a_resemblance_below_the_range_is_at_the_edge() -> None:
    fitted = LEARNED.model_copy(update={"resemblance": Range.of(np.linspace(0.6, 0.9, 50).tolist())})
    assert fitted.check(CLEAN, resemblance=0.55).grade == "edge"
    assert fitted.check(CLEAN, resemblance=0.7).grade == "inside"


def test_without_a_domain_there_is_no_check() -> None:
    for found in (prediction(CLEAN, None), prediction(None, LEARNED)):
        assert (found.domain, found.reason) == (None, "clipped")
        (recording,) = json.loads("".join(tables.json_text([found], ("a", "b"), {})))["recordings"]
        assert recording["domain"] is None


def test_json_says_the_grade_the_measures_and_the_sentences_and_columns_stay() -> None:
    found = prediction(replace(CLEAN, upper_hz=4_000.0), LEARNED)
    (recording,) = json.loads("".join(tables.json_text([found], ("a", "b"), {})))["recordings"]
    assert recording["domain"] == {
        "grade": "outside",
        **asdict(replace(CLEAN, upper_hz=4_000.0)),
        "resemblance": None,
        "sentences": ["stops at 4 kHz; training reached 8 kHz"],
    }
    header, row = "".join(tables.recordings_csv([found], ("a", "b"))).splitlines()
    assert header == ",".join([*tables.COLUMNS, "p_a", "p_b"])
    assert row.split(",")[6] == "clipped;narrow_band"


def test_a_journal_gives_the_character_back(tmp_path: Path) -> None:
    scores = RecordingScores(np.zeros((2, 3), np.float32), np.ones(3) / 3, np.zeros(5), np.ones(2, bool), CLEAN)
    with journal.open_journal(tmp_path, "c" * 64) as notes:
        for character_ in (CLEAN, None):
            place = notes.add(RecordingStatus("ok", sha256="a" * 64), replace(scores, signal_stats=character_))
            read = notes.read(place)[1]
            assert read is not None
            assert read.signal_stats == character_


def test_a_journal_is_read_whole_where_a_read_gives_less_than_was_asked_for(tmp_path: Path, short_reads) -> None:
    log_scores = np.arange(999, dtype=np.float32).reshape(333, 3)
    scores = RecordingScores(log_scores, np.ones(3) / 3, np.arange(500.0), np.ones(333, bool), CLEAN)
    short_reads(journal)
    with journal.open_journal(tmp_path, "c" * 64) as notes:
        notes.add(RecordingStatus("ok", sha256="a" * 64), scores)
    with journal.open_journal(tmp_path, "c" * 64) as notes:
        recording_status, read = notes.read(notes.find("a" * 64))
    assert recording_status.sha256 == "a" * 64 and not notes.damaged
    np.testing.assert_array_equal(read.log_scores, log_scores)
    np.testing.assert_array_equal(read.embedding, scores.embedding)


# ----------------------------------------------------------------------------------------------------------- the bundle


@pytest.mark.parametrize(
    "changes",
    [
        {"n_recordings": 0},
        {"level_dbfs": {**LEARNED.level_dbfs.model_dump(), "low": 1e9}},
        {"upper_hz": {**LEARNED.upper_hz.model_dump(), "middle": float("nan")}},
        {"noise_db": {**LEARNED.noise_db.model_dump(), "lowest": 0.0}},
        {"noise_db": {**LEARNED.noise_db.model_dump(), "more": 0.0}},
        {"noise_db": None},
        {"more": 1},
    ],
)
def test_an_invalid_domain_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Domain.model_validate({**LEARNED.model_dump(), **changes})


@pytest.mark.slow
def test_a_bundle_stores_its_domain_and_one_without_keeps_the_older_format(tmp_path: Path) -> None:
    pytest.importorskip("keras")
    folder = tmp_path / "model"
    Made(NOTATION, BUNDLE_LABELS).write(folder)
    before = (folder / bundle.MANIFEST).read_bytes()
    assert b'"domain"' not in before
    assert bundle.load(folder).domain is None
    bundle.update(folder, {"domain": LEARNED.model_dump(mode="json")}, card="# little\n")
    assert bundle.load(folder).domain == LEARNED
    bundle.update(folder, {"domain": None}, card="# little\n")
    assert (folder / bundle.MANIFEST).read_bytes() == before
    bundle.update(folder, {"domain": LEARNED.model_dump(mode="json")}, card="# little\n")
    worse = LEARNED.model_dump(mode="json") | {"n_recordings": -1}
    reseal(folder, domain=worse)
    with pytest.raises(IntegrityError, match=r"domain\.n_recordings"):
        bundle.load(folder)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of three pitches in noise, trained for an epoch on 24 recordings."""
    pytest.importorskip("keras")
    root = tmp_path_factory.mktemp("domain")
    projects.tones(root / "sounds", n=12)
    projects.audiocnn("init", "sounds", "--preset", "instrument", cwd=root)
    changes = {"epochs": "1", "model": '"4C3-*"', "windows_per_recording": "2", "validation": "0"}
    projects.set_lines(root / "audiocnn.yaml", **changes)
    projects.audiocnn("featurize", cwd=root)
    projects.audiocnn("train", cwd=root)
    return root


@pytest.mark.slow
def test_training_stores_the_domain_of_the_training_recordings(project: Path) -> None:
    (folder,) = (project / "runs").glob("*/model")
    found = bundle.load(folder).domain
    assert found is not None
    assert 20 <= found.n_recordings < 36
    assert found.upper_hz.lowest == 8_000
    assert "98 % of the training recordings" in (folder / "MODEL_CARD.md").read_text("utf-8")


@pytest.mark.slow
def test_an_older_model_gets_its_domain_without_a_new_training(project: Path) -> None:
    (folder,) = (project / "runs").glob("*/model")
    before, digest = bundle.load(folder).domain, (folder / "weights.safetensors").read_bytes()
    bundle.update(folder, {"domain": None}, card="# old\n")
    projects.audiocnn("train", cwd=project)
    assert bundle.load(folder).domain == before
    assert (folder / "weights.safetensors").read_bytes() == digest


@pytest.mark.slow
def test_predict_reports_what_is_outside_also_from_the_journal(project: Path) -> None:
    inside = sounds.tone(300, 3) + sounds.noise(3, level=0.03)
    soundfile.write(project / "inside.wav", inside, sounds.RATE)
    soundfile.write(project / "narrow.wav", inside[::2], sounds.RATE // 2)
    soundfile.write(project / "soft.wav", 0.01 * inside, sounds.RATE, subtype="FLOAT")
    arguments = ["predict", "inside.wav", "narrow.wav", "soft.wav", "--journal", "kept", "--format", "csv"]
    first = projects.audiocnn(*arguments, cwd=project)
    again = projects.audiocnn(*arguments, cwd=project)
    reasons = [line.split(",")[6] for line in first.stdout.splitlines()[1:]]
    assert reasons == ["", "narrow_band", "quiet_recording"]
    assert first.stdout == again.stdout
    for done in (first, again):
        assert re.search(r"narrow.wav: stops at 4(\.\d)? kHz; training reached 8 kHz \[narrow_band\]\n", done.stderr)
        assert re.search(r"soft.wav: 3\d dB quieter than anything in training \[quiet_recording\]\n", done.stderr)
        assert "inside.wav" not in done.stderr


# ------------------------------------------------------------------------------------------------------ real recordings


@pytest.mark.slow
def test_instruments_are_like_each_other_and_altered_copies_are_not(data_dir: Path) -> None:
    spec, rate = SPECS["spectrogram"], 44_100
    files = sorted((data_dir / "instruments").glob("*/*.wav"))[::4]
    samples = [soundfile.read(file, dtype="float32")[0][: 3 * rate] for file in files]
    fitted = domain.fit_domain([stats_of(one, spec, rate) for one in samples[::2]])
    assert fitted is not None
    outside = {"as it is": 0, "at 8 kHz": 0, "40 dB softer": 0, "in noise": 0}
    others = samples[1::2]
    for number, one in enumerate(others):
        rng = np.random.default_rng(number)
        copies = {
            "as it is": (one, rate),
            "at 8 kHz": (soxr.resample(one, rate, 8_000), 8_000),
            "40 dB softer": (0.01 * one, rate),
            "in noise": (one + one.std() * rng.standard_normal(len(one)).astype(np.float32), rate),
        }
        for name, copy in copies.items():
            outside[name] += bool(fitted.check(stats_of(copy[0], spec, copy[1])).codes)
    assert outside.pop("as it is") <= 0.08 * len(others)
    assert min(outside.values()) >= 0.9 * len(others)
