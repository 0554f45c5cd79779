"""The Python interface: arrays and files are one and the same, results print and tabulate, mistakes are named."""

import doctest
import hashlib
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import projects
import pytest
import sounds
from numpy.typing import NDArray
from soundfile import write

import audiocnn
from audiocnn.errors import AudioError, ConfigError
from audiocnn.features.frontend import make
from audiocnn.model.locate import SHIPPED

DOCS = Path(__file__).resolve().parents[1] / "docs" / "python.md"
RATE = 44_100


@pytest.fixture(scope="module")
def model() -> audiocnn.Model:
    return audiocnn.load_model()


def melody(seconds: float = 2.5, rate: int = RATE) -> NDArray[np.float32]:
    return sounds.chirp(200, 4_000, seconds, rate) + sounds.noise(seconds, rate, level=0.02)


# ------------------------------------------------------------------------------------------------------ as files are


@pytest.mark.parametrize("rate", [8_000, 32_000, 44_100, 96_000])
@pytest.mark.parametrize("n_channels", [1, 2, 3])
def test_an_array_is_predicted_like_a_file_of_the_same_samples(
    model: audiocnn.Model, tmp_path: Path, rate: int, n_channels: int
) -> None:
    tracks = [melody(rate=rate), 0.5 * sounds.tone(300, 2.5, rate), sounds.noise(2.5, rate, seed=1)][:n_channels]
    samples = np.stack(tracks, axis=1)
    write(tmp_path / "a.wav", samples, rate, subtype="FLOAT")
    of_file = model.predict(tmp_path / "a.wav")
    of_array = model.predict(samples[:, 0] if n_channels == 1 else samples, sample_rate=rate)
    assert np.array_equal(of_array.scores, of_file.scores)
    assert np.array_equal(of_array.window_scores, of_file.window_scores)
    assert of_array.recording_status.codes == of_file.recording_status.codes
    assert of_array.recording_status.duration_s == of_file.recording_status.duration_s


def test_integers_and_wide_floats_and_lists_are_predicted_like_files_of_them(
    model: audiocnn.Model, tmp_path: Path
) -> None:
    integers = np.round(melody() * 20_000).astype(np.int16)
    write(tmp_path / "integers.wav", integers, RATE)
    wide = melody().astype(np.float64)
    write(tmp_path / "wide.wav", wide, RATE, subtype="DOUBLE")
    for name, samples in (("integers", integers), ("wide", wide), ("wide", wide.tolist()), ("wide", wide[:, None])):
        expected = model.predict(str(tmp_path / f"{name}.wav"))
        assert np.array_equal(model.predict(samples, sample_rate=float(RATE)).scores, expected.scores)


def test_arrays_in_any_order_of_memory_are_the_same_and_are_left_alone(model: audiocnn.Model) -> None:
    samples = np.stack([melody(), melody()[::-1]], axis=1)
    kept = samples.copy()
    expected = model.predict(samples, sample_rate=RATE).scores
    samples.flags.writeable = False
    spread = np.repeat(samples, 2, axis=0)[::2]
    for same in (samples, np.asfortranarray(samples), spread, samples.astype(">f4")):
        assert np.array_equal(model.predict(same, sample_rate=RATE).scores, expected)
    assert np.array_equal(samples, kept)


@pytest.mark.slow
def test_a_model_predicts_what_the_command_predicts(model: audiocnn.Model, tmp_path: Path) -> None:
    write(tmp_path / "a.wav", melody(), RATE)
    write(tmp_path / "b.wav", sounds.silence(2, RATE), RATE)
    projects.audiocnn("predict", "a.wav", "b.wav", "-o", "said.csv", cwd=tmp_path, code=3)
    said = audiocnn_csv(tmp_path / "said.csv")
    for row, name in zip(said, ("a.wav", "b.wav"), strict=True):
        mine = model.predict(tmp_path / name).to_pandas()
        assert list(row) == list(mine.columns)
        assert (row["status"], row["reason"]) == (mine["status"][0], mine["reason"][0])
        if name == "a.wav":
            assert float(row["score"]) == pytest.approx(mine["score"][0], abs=1e-6)
            assert row["label"] == mine["label"][0]
        else:
            assert row["label"] == "" and mine["label"][0] is None


def audiocnn_csv(file: Path) -> list[dict[str, str]]:
    import csv

    with open(file, encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def test_features_are_those_that_the_model_takes(model: audiocnn.Model, tmp_path: Path) -> None:
    write(tmp_path / "a.wav", melody(), RATE, subtype="FLOAT")
    found = audiocnn.featurize(melody(), sample_rate=RATE, spec=model.spec)
    assert np.array_equal(found.frames, audiocnn.featurize(tmp_path / "a.wav", spec=model.spec).frames)
    logits, embedding = model.bundle.runtime(found.windows)
    embedded = model.embed(melody(), sample_rate=RATE)
    assert np.array_equal(embedding, embedded.windows)
    scores = np.exp(logits.astype(np.float64) / model.bundle.temperature)
    scores /= scores.sum(axis=1, keepdims=True)
    predicted = model.predict(melody(), sample_rate=RATE)
    np.testing.assert_allclose(predicted.window_scores, scores, atol=1e-6)
    np.testing.assert_array_equal(predicted.embedding, embedded.values)
    assert np.array_equal(make(model.spec).mel, model.bundle.frontend.mel)


# ----------------------------------------------------------------------------------------------------------- results


def test_results_print_in_one_line_what_they_are(model: audiocnn.Model) -> None:
    prediction = model.predict(melody(), sample_rate=RATE)
    assert (
        repr(prediction)
        == f"<Prediction of array: ok, {prediction.label} {prediction.score:.3f}, 4 windows in 2.500 s>"
    )
    assert repr(model.embed(melody(), sample_rate=RATE)) == "<Embedding of array: 256 values, 4 windows>"
    features = audiocnn.featurize(melody(), sample_rate=RATE, spec=model.spec)
    assert repr(features) == "<Features of array: 251 frames of logmel, windows of 100×128×1>"
    assert "10 labels" in repr(model)


def test_a_prediction_has_the_digest_of_its_file_and_none_for_samples(model: audiocnn.Model, tmp_path: Path) -> None:
    for name, samples in (("a.wav", melody()), ("silent.wav", sounds.silence(1, RATE))):
        write(tmp_path / name, samples, RATE)
        recording_status = model.predict(tmp_path / name).recording_status
        assert recording_status.sha256 == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
    assert model.predict(melody(), sample_rate=RATE).account.sha256 == ""


def test_results_can_be_compared_and_kept_in_sets(model: audiocnn.Model) -> None:
    one, other = (model.predict(melody(), sample_rate=RATE) for _ in range(2))
    assert one == one and one != other
    assert len({one, other, one}) == 2
    assert model == model and len({model, audiocnn.load_model()}) == 2


def test_results_are_tables(model: audiocnn.Model) -> None:
    prediction = model.predict(melody(), sample_rate=RATE)
    row = prediction.to_pandas()
    assert row.shape == (1, 7 + 10)
    assert row["p_Cello"][0] == prediction.scores[model.labels.index("Cello")]
    windows = prediction.to_pandas(windows=True)
    assert np.array_equal(windows[[f"p_{label}" for label in model.labels]], prediction.window_scores)
    assert np.array_equal(windows["score"], prediction.window_scores.max(axis=1))
    table = model.embed(melody(), sample_rate=RATE).to_pandas()
    assert table.shape == (4, 3 + 256)
    features = audiocnn.featurize(melody(), sample_rate=RATE, spec="general")
    frames = features.to_pandas()
    n_channels = len(features.spec.channels)
    assert frames.shape == (len(features.frames), 2 + features.spec.n_bins * n_channels)
    assert np.array_equal(frames["static_3"], features.frames[:, 3, features.spec.channels.index("static")])


def test_results_cannot_be_changed(model: audiocnn.Model) -> None:
    for result in (model, model.predict(melody(), sample_rate=RATE), model.embed(melody(), sample_rate=RATE)):
        with pytest.raises(AttributeError):
            result.name = result.recording = "another"  # type: ignore[misc, union-attr]


def test_a_silent_recording_is_a_prediction_but_has_neither_embedding_nor_features(model: audiocnn.Model) -> None:
    silence = sounds.silence(2, RATE)
    prediction = model.predict(silence, sample_rate=RATE)
    assert (prediction.status, prediction.label, prediction.score) == ("silent", "", None)
    assert prediction.to_pandas(windows=True).shape == (0, 5 + 10)
    for ask in (model.embed, audiocnn.featurize):
        with pytest.raises(AudioError) as refused:
            ask(silence, sample_rate=RATE)
        assert refused.value.code == "silent"


# ---------------------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("samples", "sample_rate", "message"),
    [
        (np.zeros(0), RATE, "at least one sample is needed"),
        ([], RATE, "at least one sample is needed"),
        (np.zeros((0, 2)), RATE, "at least one sample is needed"),
        (melody().reshape(1, -1), RATE, "transpose"),
        (np.zeros((2, 3, 4)), RATE, r"\(n,\) or \(n, channels\)"),
        (np.float32(3), RATE, r"\(n,\) or \(n, channels\)"),
        (np.zeros(9, np.int32), RATE, "int32"),
        (np.zeros(9, np.uint8), RATE, "uint8"),
        (np.zeros(9, np.complex64), RATE, "complex64"),
        (np.zeros(9, object), RATE, "object"),
        (np.zeros(9), None, "without a sample rate"),
        (np.zeros(9), 0, "sample_rate 0"),
        (np.zeros(9), -RATE, "sample_rate -44100"),
        (np.zeros(9), 44_100.5, "sample_rate 44100.5"),
        (np.zeros(9), float("nan"), "sample_rate nan"),
        (np.zeros(9), "44100", "sample_rate '44100'"),
        (np.zeros(9), True, "sample_rate True"),
        ("song.wav", RATE, "a file has its own sample rate"),
    ],
    ids=str,
)
def test_what_is_no_array_of_samples_is_named(
    model: audiocnn.Model, samples: Any, sample_rate: Any, message: str
) -> None:
    for ask in (model.predict, model.embed, audiocnn.featurize):
        with pytest.raises(ConfigError, match=message) as refused:
            ask(samples, sample_rate=sample_rate)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("samples", "sample_rate", "code"),
    [
        (np.full(RATE, np.nan), RATE, "not_finite"),
        (np.append(melody(), np.inf), RATE, "not_finite"),
        (np.full(RATE, 1e300), RATE, "not_finite"),
        (np.zeros(RATE), 999, "sample_rate"),
        (np.zeros(RATE), 10**6, "sample_rate"),
        (np.zeros((500, 257)), RATE, "channels"),
    ],
    ids=str,
)
def test_samples_that_cannot_be_used_are_refused_with_the_code_of_files(
    model: audiocnn.Model, samples: Any, sample_rate: int, code: str
) -> None:
    with pytest.raises(AudioError) as refused:
        model.predict(samples, sample_rate=sample_rate)
    assert refused.value.code == code


def test_a_file_that_cannot_be_decoded_is_refused_by_name(model: audiocnn.Model, tmp_path: Path) -> None:
    (tmp_path / "no.wav").write_text("text")
    with pytest.raises(AudioError, match=r"no\.wav: ") as refused:
        model.predict(tmp_path / "no.wav")
    assert refused.value.code == "not_audio"


def test_a_folder_that_is_no_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a model"):
        audiocnn.load_model(tmp_path)
    with pytest.raises(ConfigError, match="neither a file nor one of"):
        audiocnn.featurize(melody(), sample_rate=RATE, spec="instruments")
    assert audiocnn.load_model(str(SHIPPED)).labels == audiocnn.load_model().labels


def test_nothing_is_left_in_the_temporary_folder(
    model: audiocnn.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    model.predict(melody(), sample_rate=RATE)
    with pytest.raises(AudioError):
        model.predict(np.full(RATE, np.nan), sample_rate=RATE)
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------------------------ several files


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Two recordings, silence, and what is no sound, in the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    samples = {"a.wav": melody(), "b.wav": melody()[: 2 * RATE], "silent.wav": np.zeros(RATE)}
    for name, values in samples.items():
        write(tmp_path / name, values, RATE)
    (tmp_path / "text.wav").write_text("not a sound")
    return [tmp_path / name for name in (*samples, "text.wav")]


def test_a_list_of_files_gives_a_prediction_of_each_in_order(model: audiocnn.Model, files: list[Path]) -> None:
    found = model.predict(files)
    assert [p.status for p in found] == ["ok", "ok", "silent", "unreadable"]
    assert np.array_equal(found[0].scores, model.predict(files[0]).scores)
    assert found[3].label_scores == {} and found[3].events() == [] and "not_audio" in found[3].reason
    assert [p.recording for p in model.predict(str(file) for file in files)] == [str(file) for file in files]
    assert model.predict(["~/a.wav"])[0].recording == str(files[0]) == model.predict("~/a.wav").recording
    table = found.to_pandas()
    assert list(table["status"]) == [p.status for p in found] and table.shape == (4, 17)
    assert len(found.to_pandas(windows=True)) == sum(len(p.starts_s) for p in found)
    assert list(model.predict([]).to_pandas().columns) == list(table.columns)
    with pytest.raises(ConfigError, match="a file has its own sample rate"):
        model.predict(files, sample_rate=RATE)  # type: ignore[call-overload]
    with pytest.raises(ConfigError, match="None: neither a file"):
        model.predict(None)  # type: ignore[call-overload]
    pattern = (
        rf"~/\*.wav: a pattern for 4 files; expand it first, as with sorted\(glob.glob\('{files[0].parent}/\*.wav'\)\)"
    )
    for source in ("~/*.wav", ["~/a.wav", "~/*.wav"]):
        with pytest.raises(ConfigError, match=pattern):
            model.predict(source)  # type: ignore[call-overload]
    for source in ("~/*.flac", "https://example.com/a.wav"):
        with pytest.raises(ConfigError, match=r"no file matches this pattern|is an address"):
            model.predict(source)


def test_scores_by_label_and_events_follow_from_the_scores(model: audiocnn.Model) -> None:
    prediction = model.predict(melody(), sample_rate=RATE)
    assert next(iter(prediction.label_scores.items())) == (prediction.label, prediction.score)
    assert prediction.label_scores == dict(zip(model.labels, prediction.scores.tolist(), strict=True))
    events = prediction.events(threshold=0.1)
    assert events and all(event.score >= 0.1 for event in events)
    name = events[0].label
    assert {event.label for event in prediction.events(0.1, thresholds={name: 1.0})} == {e.label for e in events} - {
        name
    }
    for wrong in ({"threshold": 1.5}, {"thresholds": {"Zither": 0.5}}, {"smooth_s": -1.0}):
        with pytest.raises(ConfigError, match=r"1\.5|Zither|smooth_s"):
            prediction.events(**wrong)  # type: ignore[arg-type]


def test_notebooks_show_bars_and_tables_in_which_outside_text_is_harmless(
    model: audiocnn.Model, tmp_path: Path
) -> None:
    hostile = tmp_path / "<img src=x>.wav"
    write(hostile, melody(), RATE)
    several = model.predict([hostile, tmp_path / "missing.wav"])
    for shown in (several[0]._repr_html_(), several._repr_html_()):
        assert "&lt;img src=x&gt;.wav" in shown and "<img" not in shown and several[0].label in shown
    assert "unreadable" in several[1]._repr_html_() and "unreadable" in several._repr_html_()


def test_signatures_are_short() -> None:
    for function in (audiocnn.Model.predict, audiocnn.Model.embed, audiocnn.featurize, audiocnn.load):
        assert len(str(inspect.signature(function))) < 140


SNIPPET = """
from pathlib import Path
import audiocnn
import numpy as np

model = audiocnn.load("runs/birds")
one: audiocnn.Prediction = model.predict("a.wav")
also: audiocnn.Prediction = model.predict(Path("a.wav"))
many: audiocnn.Predictions = model.predict(["a.wav", "b.wav"])
sorted_ones: audiocnn.Predictions = model.predict(sorted(Path("sounds").glob("*.wav")))
array: audiocnn.Prediction = model.predict(np.zeros(44_100), sample_rate=44_100)
scores: dict[str, float] = one.label_scores
starts: list[float] = [event.start_s for event in one.events(threshold=0.5, thresholds={"owl": 0.7})]
features: audiocnn.Features = audiocnn.featurize("a.wav", spec=model.spec)
reveal_type(many[0].label)
model.predict(np.zeros(44_100))
one.labell
"""


@pytest.mark.slow
def test_a_type_checker_sees_the_types(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    (tmp_path / "snippet.py").write_text(SNIPPET)
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", tmp_path / "cache", "snippet.py"]
    root = Path(audiocnn.__file__).resolve().parents[1]
    path = {"MYPYPATH": ""} if "site-packages" in root.parts else {"MYPYPATH": str(root)}
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, **path}, capture_output=True, text=True, timeout=300
    )
    said = [line.partition("snippet.py:")[2] for line in done.stdout.splitlines() if "snippet.py:" in line]
    n = SNIPPET.count("\n")
    assert [line.split(":")[0] for line in said if "error" in line] == [f"{n - 1}", f"{n}"], done.stdout + done.stderr
    assert any(re.match(rf'{n - 2}: note: Revealed type is "(builtins\.)?str"', line) for line in said)


# ----------------------------------------------------------------------------------------------------------- imports


@pytest.mark.slow
def test_importing_the_package_imports_nothing_else() -> None:
    code = """
import sys
before = set(sys.modules)
import audiocnn
new = {name.partition(".")[0] for name in set(sys.modules) - before}
assert new <= {"audiocnn", "typing"} | set(sys.stdlib_module_names), new
assert not [name for name in sys.modules if name.startswith("audiocnn.")]
assert set(audiocnn.__all__) == set(dir(audiocnn))
model = audiocnn.load_model()
heavy = {"tensorflow", "keras", "librosa", "numba", "sklearn", "pandas", "scipy", "onnx"} & set(sys.modules)
assert not heavy, heavy
assert audiocnn.load_model is audiocnn.api.load_model
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_name_that_is_not_there_is_named() -> None:
    with pytest.raises(AttributeError, match="no attribute 'load_modell'"):
        audiocnn.load_modell  # noqa: B018


PUBLIC = [
    audiocnn.load_model, audiocnn.featurize, audiocnn.Model.predict, audiocnn.Model.embed,
    audiocnn.Prediction.to_pandas, audiocnn.Prediction.events, audiocnn.Embedding.to_pandas,
    audiocnn.Features.to_pandas,
]  # fmt: skip


@pytest.mark.parametrize("function", PUBLIC, ids=lambda function: function.__qualname__)
def test_every_public_function_documents_its_parameters_result_errors_and_an_example(function: Any) -> None:
    text = inspect.getdoc(function) or ""
    parts = re.split(r"^(\w+)\n-+$", text, flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    named = re.findall(r"^(\w+) : ", sections.get("Parameters", ""), re.MULTILINE)
    assert named == [name for name in inspect.signature(function).parameters if name != "self"]
    assert {"Returns", "Raises", "Examples"} <= set(sections)
    assert ">>> " in sections["Examples"]


@pytest.mark.parametrize("result", [audiocnn.Prediction, audiocnn.Embedding, audiocnn.Features, audiocnn.Model])
def test_every_attribute_that_a_result_documents_is_there(model: audiocnn.Model, result: type) -> None:
    sound = melody()
    made = {
        audiocnn.Model: model,
        audiocnn.Prediction: model.predict(sound, sample_rate=RATE),
        audiocnn.Embedding: model.embed(sound, sample_rate=RATE),
        audiocnn.Features: audiocnn.featurize(sound, sample_rate=RATE),
    }[result]
    listed = (inspect.getdoc(result) or "").partition("Attributes\n")[2].partition("\n\nExamples")[0]
    names = re.findall(r"^([a-z_, ]+) : ", listed, re.MULTILINE)
    assert names
    for name in ", ".join(names).split(", "):
        assert hasattr(made, name), name


def test_what_the_documentation_shows_is_what_happens() -> None:
    found = doctest.testfile(str(DOCS), module_relative=False)
    assert found.attempted > 20
    assert found.failed == 0
