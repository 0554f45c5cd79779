"""Explanations of a model with several networks: what they show is true of their joint score."""

import json
from pathlib import Path

import ensembles
import numpy as np
import pytest
import sounds
from ensembles import LOGMEL, MFCC
from extras import require_keras
from projects import audiocnn, tones
from soundfile import write

from audiocnn import config
from audiocnn.config import Project
from audiocnn.dataset import manifest
from audiocnn.dataset.manifest import Recording
from audiocnn.dataset.split import Split
from audiocnn.errors import ConfigError
from audiocnn.explain import load, model_occlusion, segments
from audiocnn.explain.segments import ExplainInput
from audiocnn.features import frontend
from audiocnn.features.extract import Array
from audiocnn.inference.prediction import RecordingPrediction
from audiocnn.model.bundle import Bundle
from audiocnn.model.ensemble import Ensemble
from audiocnn.model.loaded_model import LoadedModel
from audiocnn.progress import Progress
from audiocnn.report.evaluation import error_maps
from audiocnn.report.evaluation.content import ReportClip
from audiocnn.specs import Experiment
from audiocnn.stages import evaluate, explain, featurize
from audiocnn.training import train_embeddings

pytestmark = pytest.mark.slow

require_keras()

PAIR = ("drone", "other")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("members")


@pytest.fixture(scope="module")
def song(folder: Path) -> Path:
    """2 s of a chirp with tones and noise: sound in all bands, and not the same at all times."""
    samples = sounds.chirp(100, 7_500, 2, amplitude=0.3) + 0.02 * sounds.noise(2)
    samples[8_000:16_000] += sounds.tone(6_500, 0.5, amplitude=0.2) + sounds.tone(700, 0.5, amplitude=0.2)
    write(folder / "song.wav", samples, sounds.RATE)
    return folder / "song.wav"


@pytest.fixture(scope="module")
def wide(folder: Path) -> Bundle:
    return ensembles.write_bundle(folder / "wide", LOGMEL, seed=1)


@pytest.fixture(scope="module")
def fine(folder: Path) -> Bundle:
    return ensembles.write_bundle(folder / "fine", MFCC, seed=2)


@pytest.fixture(scope="module")
def both(folder: Path, wide: Bundle, fine: Bundle) -> Ensemble:
    return ensembles.write_ensemble(folder / "both", {"wide": wide, "fine": fine}, weights=[0.25, 0.75])


def explained(file: Path, model: LoadedModel, label: int = 0) -> tuple[RecordingPrediction, ExplainInput, Array]:
    """The prediction, the first explained segment and its map."""
    prediction, inputs, _ = load.load(file, model, label=label, top=1, report=lambda note: None)
    return prediction, inputs[0], model_occlusion.importance(model, inputs[0], [label], "mean")[0]


def strongest(values: Array) -> float:
    return float(np.abs(values).max())


# The joint score


@pytest.mark.parametrize("spec", [LOGMEL, MFCC], ids=["log-mel", "mfcc"])
def test_two_equal_members_have_the_map_of_one(folder: Path, song: Path, spec: ensembles.FeatureSpec) -> None:
    one = ensembles.write_bundle(folder / f"one-{spec.kind}", spec, seed=3)
    two = ensembles.write_ensemble(folder / f"two-{spec.kind}", {"a": one, "b": one})
    expected, subject, values = explained(song, one)
    found, of_two, values_of_two = explained(song, two)
    assert found.scores == pytest.approx(expected.scores, abs=1e-6)
    assert strongest(values) > 0.01
    np.testing.assert_array_equal(of_two.starts, subject.starts)
    np.testing.assert_allclose(values_of_two, values, atol=1e-4 * strongest(values))


def test_a_member_with_one_score_for_all_sounds_leaves_the_map_of_the_other_unless_it_weighs(
    folder: Path, song: Path, wide: Bundle
) -> None:
    """A temperature of a million makes all labels equally likely; that of the model restores the other's scores."""
    level = ensembles.write_bundle(folder / "level", MFCC, seed=2, temperature=1e6)
    diluted = ensembles.write_ensemble(
        folder / "diluted", {"wide": wide, "level": level}, weights=[0.25, 0.75], temperature=0.25
    )
    (_, _, expected), (_, _, values) = explained(song, wide), explained(song, diluted)
    assert strongest(expected) > 0.01
    np.testing.assert_allclose(values, expected, atol=1e-3 * strongest(expected))


def test_places_above_the_band_of_a_member_have_the_share_of_the_other(folder: Path, song: Path) -> None:
    """Of two labels the log-odds of the model are the weighted mean of its members', so the shares are exact."""
    made = {
        name: ensembles.write_bundle(folder / f"pair-{name}", spec, labels=PAIR, positive="drone", seed=seed)
        for seed, (name, spec) in enumerate({"wide": LOGMEL, "fine": MFCC}.items(), start=4)
    }
    both = ensembles.write_ensemble(folder / "pair", made, weights=[0.25, 0.75])
    (_, _, alone), (_, subject, values) = explained(song, made["wide"]), explained(song, both)
    assert subject.spec.n_mels == LOGMEL.n_mels
    centres_hz = frontend.mel_edges_hz(LOGMEL)[1:-1]
    patch = round(LOGMEL.n_mels / 6)
    above = np.flatnonzero(centres_hz >= MFCC.upper_hz)[patch:]  # no patch here reaches down to the other member
    assert len(above) >= 2
    assert strongest(alone[:, above]) > 0.01
    np.testing.assert_allclose(values[:, above], 0.25 * alone[:, above], atol=1e-4)
    below = centres_hz < MFCC.upper_hz / 2
    assert strongest(values[:, below] - 0.25 * alone[:, below]) > 0.01


def test_what_is_hidden_everywhere_costs_each_member_its_share(both: Ensemble) -> None:
    wide = np.array([0.0, -1.0]), np.array([[0.0, -1.0], [-3.0, 0.0]])  # the second place counts in it, not the first
    fine = np.array([-2.0, 0.0]), np.array([[0.0, -2.0], [-2.0, 0.0]])  # the other way round
    whole, hidden = model_occlusion.combine([wide, fine], both)
    np.testing.assert_allclose(whole, [-1.5, -0.25])
    np.testing.assert_allclose(hidden - whole, [[0.75 * 2, -0.75 * 2], [-0.25 * 3, 0.25 * 1]])
    alone, _ = model_occlusion.combine([wide, None], both)
    np.testing.assert_allclose(alone, wide[0])


# Windows of the map


def test_the_map_shows_the_widest_bands_in_the_longest_windows(folder: Path, both: Ensemble) -> None:
    spec, _ = model_occlusion.map_kind(both)
    assert (spec.kind, spec.sample_rate, spec.n_mels) == ("logmel", LOGMEL.sample_rate, LOGMEL.n_mels)
    assert (spec.window_s, spec.hop_s) == (LOGMEL.window_s, LOGMEL.hop_s)
    low = LOGMEL.model_copy(update={"fmax": 3_000.0})
    swapped = {"long": ensembles.write_bundle(folder / "low", low), "wide": both.networks[1]}
    spec, _ = model_occlusion.map_kind(ensembles.write_ensemble(folder / "swapped", swapped))
    assert (spec.kind, spec.sample_rate, spec.n_mels) == ("logmel", MFCC.sample_rate, MFCC.n_mels)
    assert spec.window_s == pytest.approx(LOGMEL.window_s, abs=MFCC.hop_length / MFCC.sample_rate)
    assert spec.hop_s == pytest.approx(LOGMEL.hop_s, abs=MFCC.hop_length / MFCC.sample_rate)


def test_every_window_of_a_member_belongs_to_the_map() -> None:
    map_s = np.array([0.0, 0.39, 0.78])  # windows of 0.39 s
    fine_s = np.arange(11) * 0.1  # windows of 0.1 s: those across a border belong to the nearer one
    belongs = model_occlusion.windows_of_map(map_s, LOGMEL, fine_s, 0.1)
    assert belongs.sum(axis=0).tolist() == [1] * 11
    assert [np.flatnonzero(row).tolist() for row in belongs] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10]]
    apart = model_occlusion.windows_of_map(map_s, LOGMEL, np.array([0.1, 5.0]), 0.39)
    assert apart.tolist() == [[True, False]] * 3


def test_a_recording_shorter_than_the_longest_window_is_explained(folder: Path, both: Ensemble) -> None:
    write(folder / "short.wav", sounds.chirp(200, 6_000, 0.25), sounds.RATE)
    _, subject, values = explained(folder / "short.wav", both)
    assert values.shape == (subject.n_frames, LOGMEL.n_mels)
    assert strongest(values) > 0


def test_a_member_that_cannot_use_the_recording_does_not_count(folder: Path, fine: Bundle) -> None:
    high = ensembles.write_bundle(folder / "high", LOGMEL.model_copy(update={"fmin": 5_000.0}), seed=1)
    both = ensembles.write_ensemble(folder / "high-and-fine", {"high": high, "fine": fine})
    write(folder / "low.wav", sounds.tone(500, 1), sounds.RATE)
    prediction, subject, values = explained(folder / "low.wav", both)
    assert [one is None for one in subject.members] == [True, False]
    assert prediction.has_scores
    assert np.isfinite(values).all()


def test_a_long_recording_is_explained_by_segments_of_whole_windows(
    folder: Path, both: Ensemble, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = 0.01 * sounds.noise(6)
    samples[32_000:36_000] += sounds.tone(900, 0.25)
    write(folder / "long.wav", samples, sounds.RATE)
    monkeypatch.setattr(segments, "WHOLE_S", 5.0)
    prediction, inputs, whole = load.load(folder / "long.wav", both, label=None, top=2, report=lambda note: None)
    assert not whole
    assert 1 <= len(inputs) <= 2
    for subject in inputs:
        wide, fine = subject.members
        assert wide is not None
        assert fine is not None
        assert wide.start_s == pytest.approx(subject.start_s)
        assert wide.n_frames == subject.n_frames
        assert len(subject.samples) == pytest.approx((subject.n_frames - 1) * LOGMEL.hop_length, abs=1)
        assert fine.start_s >= subject.start_s - 0.01
        assert fine.starts_s[-1] + MFCC.window_s <= subject.end_s + 0.01
        assert strongest(model_occlusion.importance(both, subject, [0], "noise")[0]) > 0
    assert prediction.label in both.labels


# Error maps


@pytest.mark.parametrize("stretch", [None, (0.5, 1.7)])
def test_the_error_map_of_two_equal_members_is_that_of_one(
    folder: Path, song: Path, stretch: tuple[float, float] | None
) -> None:
    spec = LOGMEL.model_copy(update={"hop_frames": 40})
    one = ensembles.write_bundle(folder / f"one-{stretch}", spec, seed=3)
    two = ensembles.write_ensemble(folder / f"two-{stretch}", {"a": one, "b": one})
    (of_one, *_), (of_two, *_) = (error_map(song, model, stretch) for model in (one, two))
    assert of_one.error_maps is not None
    assert of_two.error_maps is not None
    assert of_two.error_maps.stretch.start_s == of_one.error_maps.stretch.start_s
    assert list(of_two.error_maps.maps) == list(of_one.error_maps.maps)
    for label, values in of_one.error_maps.maps.items():
        np.testing.assert_allclose(of_two.error_maps.maps[label], values, atol=1e-4 * strongest(values))


def test_the_error_map_of_unlike_members_is_the_map_of_the_recording(song: Path, both: Ensemble) -> None:
    found = error_map(song, both, None)[0].error_maps
    assert found is not None
    label = next(iter(found.maps))
    _, subject, values = explained(song, both, both.labels.index(label))
    assert found.stretch.n_frames == subject.n_frames
    np.testing.assert_allclose(found.maps[label], values, atol=1e-3 * strongest(values))


def error_map(song: Path, model: LoadedModel, stretch: tuple[float, float] | None) -> list[ReportClip]:
    from audiocnn.features.build_store import analyze_files_together
    from audiocnn.inference.scoring import predict_stored

    kinds = {network.spec: network.frontend for network in model.networks}
    for _, found in analyze_files_together([song], list(kinds.items()), jobs=1):
        by_kind = dict(zip(kinds, found, strict=True))
        stored = [by_kind[network.spec] for network in model.networks]
        prediction = predict_stored(model, song.name, stored, stretch)
    truth = next(label for label in model.labels if label != prediction.label)
    clip = ReportClip(prediction, truth, "g", np.zeros(10, np.float32), sounds.RATE, stretch, 0)
    rows = [Recording(song.name, truth, "g")]
    return error_maps.add_error_maps([clip], rows, model, song.parent, most=1, jobs=1, progress=Progress())


# The command


def test_explain_writes_a_page_about_all_members(folder: Path, song: Path, both: Ensemble, tmp_path: Path) -> None:
    done = audiocnn("explain", song, "--model", both.folder, cwd=tmp_path)
    page = (tmp_path / "song.wav.explained" / "index.html").read_text(encoding="utf-8")
    assert "from all networks of the model (wide, fine)" in page
    assert "What mattered" in page
    for name, member in both.members.items():
        assert f"Network {name}" in page
        assert member.notation in page
    values = np.load(tmp_path / "song.wav.explained" / "importance.npy")
    assert values.shape[1] == LOGMEL.n_mels
    facts = json.loads((tmp_path / "song.wav.explained" / "explanation.json").read_text(encoding="utf-8"))
    assert facts["label"] in done.stdout
    assert f"--model {both.folder / 'members' / 'wide'}" in done.stderr + done.stdout


@pytest.mark.parametrize("method", ["gradcam", "integrated", "activations", "maximize"])
def test_methods_that_look_into_one_network_name_the_members(
    song: Path, both: Ensemble, tmp_path: Path, method: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        explain.run(song, model=both.folder, methods=("occlusion", method), out=tmp_path / "out", progress=Progress())
    line = str(refused.value)
    assert f"--method {method} explains one of them" in line
    assert f"--model {both.folder / 'members' / 'wide'}" in line
    assert "\n" not in line
    assert not (tmp_path / "out").exists()


def test_the_drawing_of_a_network_names_the_members(both: Ensemble, tmp_path: Path) -> None:
    done = audiocnn("explain", "--network", "--model", both.folder, cwd=tmp_path, code=2)
    assert f"--model {both.folder / 'members' / 'wide'}" in done.stderr
    audiocnn("explain", "--network", "--model", both.folder / "members" / "wide", "-o", "drawn", cwd=tmp_path)
    assert (tmp_path / "drawn" / "index.html").is_file()


# The nearest training recordings


@pytest.fixture(scope="module")
def project(folder: Path, wide: Bundle, fine: Bundle) -> Project:
    """A project with two members whose model was, it says, trained on all but the first sound of each label."""
    root = folder / "project"
    tones(root / "sounds", n=3)
    files = sorted((root / "sounds").rglob("*.wav"))
    rows = [Recording(file.relative_to(root / "sounds").as_posix(), file.parent.name, file.stem) for file in files]
    manifest.write(root / "manifest.csv", rows)
    division = Split("key", {r.split_key: "test" if r.group == "0" else "train" for r in rows})
    preset = config.read_preset("best").model_dump()
    members = {
        name: {**preset["members"]["instrument"], "features": one.spec.model_dump(), "model": one.notation}
        for name, one in {"wide": wide, "fine": fine}.items()
    }
    changes = {
        "name": "x",
        "data": {"manifest": "manifest.csv", "root": "sounds"},
        "features": MFCC.model_dump(),
        "members": members,
        "evaluate": {**preset["evaluate"], "bootstrap": 100},
    }
    experiment = Experiment.model_validate({**preset, **changes})
    made = Project(root / "audiocnn.yaml", experiment)
    featurize.run(made, jobs=1, progress=Progress())
    division.write(made.run / "split.json")
    ensembles.write_ensemble(
        made.run / "model", {"wide": wide, "fine": fine}, provenance={"split_sha256": division.digest}
    )
    return made


def test_training_recordings_are_compared_by_the_embeddings_of_all_members(project: Project) -> None:
    model = ensembles.ensemble.load(project.run / "model")
    known = train_embeddings.read(project, model, progress=Progress())
    assert len(known.recordings) == 6
    assert known.embeddings.shape == (6, sum(one.embedding_size for one in model.networks))
    file = known.recordings[0].file(project.root)
    prediction, _, _ = load.load(file, model, label=None, top=1, report=lambda note: None)
    assert known.embeddings[0] == pytest.approx(prediction.embedding, abs=1e-3)
    result = explain.run(
        project.root / "low" / "0.wav", model=project.run / "model", methods=("nearest",),
        out=project.run / "explained", project=project, progress=Progress(),
    )  # fmt: skip
    page = result.page.read_text(encoding="utf-8")
    assert "Each network of the model (wide, fine)" in page
    facts = json.loads((result.folder / "explanation.json").read_text(encoding="utf-8"))
    assert facts["methods"]["nearest"]["n_learned"] == 6
    assert result.truth == ["low"]


def test_the_report_of_an_evaluation_maps_the_errors_of_all_members(project: Project) -> None:
    done = evaluate.run(project, model=None, part="test", other=None, output=None, jobs=1, progress=Progress())
    wrong = sum(one.label != Path(one.recording).parent.name for one in done.predictions)
    assert wrong
    page = (done.folder / "report.html").read_text(encoding="utf-8")
    assert page.count('<div class="why">') == wrong
    assert page.count("Error map for ") == 2 * wrong
