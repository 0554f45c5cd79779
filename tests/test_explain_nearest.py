"""It sounds like these: what a network learned from, the most alike first, kept in a file that is never stale."""

import os
import shutil
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import soundfile
import sounds

from audiocnn import config
from audiocnn.config import Project
from audiocnn.dataset import manifest
from audiocnn.dataset.manifest import Recording
from audiocnn.dataset.split import Split
from audiocnn.errors import BusyError, NotReadyError
from audiocnn.explain import nearest
from audiocnn.features import build_store
from audiocnn.features.analyze import RecordingStatus, analyze
from audiocnn.features.store import FeatureStore
from audiocnn.files import lock, sha256_of
from audiocnn.inference.prediction import RecordingPrediction
from audiocnn.inference.scoring import predict_frames, predict_stored
from audiocnn.labels import Labels
from audiocnn.model import bundle
from audiocnn.model.bundle import Bundle
from audiocnn.model.locate import SHIPPED
from audiocnn.progress import Progress
from audiocnn.report.explanation.method import ExplainTask
from audiocnn.report.explanation.nearest import Comparison, compare, conclusions, explain_by_nearest
from audiocnn.specs import Experiment
from audiocnn.stages import explain, featurize
from audiocnn.training import train_embeddings
from audiocnn.training.train_embeddings import TrainingEmbeddings

HOSTILE = "<img src=x onerror=alert(1)>"
RATE = 32_000
N_TRAIN = 6  # recordings of each label that were learned from


def angles(*degrees: float) -> np.ndarray:
    """Embeddings of these directions, no two equally long."""
    radians = np.deg2rad(degrees)
    lengths = 1 + np.arange(len(degrees))
    return np.stack([np.cos(radians), np.sin(radians)], axis=1) * lengths[:, None]


# Embeddings in, order and cosines out


def test_the_nearest_is_the_one_at_the_smallest_angle_however_long() -> None:
    found = nearest.find(angles(20)[0] * 1e-3, angles(200, 50, 25, -15, 110))
    assert found.order.tolist() == [2, 1, 3, 4, 0]
    assert found.similarity == pytest.approx(np.cos(np.deg2rad([5, 30, 35, 90, 180])), abs=1e-12)


def test_nothing_is_like_an_embedding_of_zeros() -> None:
    table = np.concatenate([np.zeros((1, 2)), angles(0, 120)])
    assert nearest.find(np.zeros(2), table).similarity.tolist() == [0, 0, 0]
    assert nearest.find(angles(0)[0], table).order.tolist() == [1, 0, 2]


def test_recordings_of_one_group_are_not_compared_with_each_other() -> None:
    found = nearest.among(angles(0, 1, 40, 100), ["a", "a", "b", "c"])
    assert found == pytest.approx(np.cos(np.deg2rad([40, 39, 39, 60])))
    assert len(nearest.among(angles(0, 1), ["a", "a"])) == 0
    assert len(nearest.among(np.zeros((0, 2)), [])) == 0


def test_of_very_many_recordings_some_from_all_over_the_table_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    table = angles(*np.linspace(0, 90, 700))
    groups = [str(i) for i in range(700)]
    every = nearest.among(table, groups)
    assert every.shape == (700,)
    monkeypatch.setattr(nearest, "MOST_COMPARED", 300)
    some = nearest.among(table, groups)
    assert some.shape == (300,)
    assert np.median(some) == pytest.approx(np.median(every))


# What was learned from, in a project


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Drones, hisses and clicks, with features as the shipped model wants them, and that model as if trained here."""
    folder = tmp_path_factory.mktemp("nearest")
    rows, part = [], {}
    for label in ("drone", "hiss", HOSTILE):
        (folder / "sounds" / label).mkdir(parents=True)
        for i in range(N_TRAIN + 2):
            path = f"{label}/{i}.wav"
            soundfile.write(folder / "sounds" / path, sound(label, i), RATE)
            rows.append(Recording(path, label, f"group {i // 2} of {label}"))
            part[path] = "train" if i < N_TRAIN else "validation" if i == N_TRAIN else "test"
    manifest.write(folder / "manifest.csv", rows)
    division = Split("key", part)
    run = folder / "runs" / "x"
    division.write(run / "split.json")
    shutil.copytree(SHIPPED, run / "model")
    info = bundle.read(SHIPPED)[0]
    features = info.features.model_copy(update={"copies": info.features.copies[:1]})
    changes = {
        "features": features.model_dump(mode="json"),
        "provenance": {**info.provenance, "split_sha256": division.digest},
    }
    bundle.update(run / "model", changes, card="none")
    preset = config.read_preset("general").model_dump()
    data = {"manifest": "manifest.csv", "root": "sounds"}
    experiment = Experiment.model_validate({**preset, "features": features.model_dump(), "name": "x", "data": data})
    made = Project(folder / "audiocnn.yaml", experiment)
    featurize.run(made, jobs=1, progress=Progress())
    return made


def sound(label: str, i: int) -> sounds.Samples:
    if label == "drone":
        return sum(sounds.tone(k * (100 + 3 * i), 1.5, RATE, amplitude=0.3 / k) for k in range(1, 8))  # type: ignore[return-value]
    noise = sounds.noise(1.5, RATE, level=0.1, seed=i)
    if label == "hiss":
        return noise
    return (noise * (np.arange(len(noise)) % (RATE // (6 + i)) < 200)).astype(np.float32)


@pytest.fixture
def model(project: Project) -> Bundle:
    return bundle.load(project.run / "model")


@pytest.fixture
def kept(project: Project) -> Path:
    """Where embeddings are kept; nothing is, at first."""
    file = project.run / train_embeddings.FILE
    file.unlink(missing_ok=True)
    return file


class Asked:
    """Counts the recordings that the network is asked about."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.n = 0
        monkeypatch.setattr(train_embeddings, "predict_stored", self)

    def __call__(self, *arguments: object) -> RecordingPrediction:
        self.n += 1
        return predict_stored(*arguments)  # type: ignore[arg-type]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    return Asked(monkeypatch)


def predicted(model: Bundle, file: Path) -> RecordingPrediction:
    frames: list[np.ndarray] = []
    recording_status = analyze(
        file, spec=model.spec, frontend=model.frontend, keep=frames.append, sha256=sha256_of(file)
    )
    return predict_frames(model, str(file), recording_status, np.concatenate(frames))


def read(project: Project, model: Bundle) -> TrainingEmbeddings:
    return train_embeddings.read(project, model, progress=Progress())


@pytest.mark.slow
def test_what_was_learned_from_is_the_train_part_without_copies(project: Project, model: Bundle, kept: Path) -> None:
    assert len(list((project.run / "features").rglob("*.copy-1.safetensors"))) == 3 * (N_TRAIN + 2)
    known = read(project, model)
    assert Counter(r.label for r in known.recordings) == dict.fromkeys(("drone", "hiss", HOSTILE), N_TRAIN)
    assert {Path(r.path).stem for r in known.recordings} == {str(i) for i in range(N_TRAIN)}
    assert known.embeddings.shape == (3 * N_TRAIN, model.runtime.embedding_size)
    assert known.contents == [sha256_of(r.file(project.root)) for r in known.recordings]


def test_the_nearest_of_what_was_learned_from_is_itself(project: Project, model: Bundle, kept: Path) -> None:
    known = read(project, model)
    for i, recording in enumerate(known.recordings):
        found = nearest.find(predicted(model, recording.file(project.root)).embedding, known.embeddings)
        assert found.order[0] == i
        assert found.similarity[0] == pytest.approx(1, abs=1e-6)
        assert found.similarity[1] < 1 - 1e-5


def test_stretches_of_a_file_are_learned_from_each_by_itself(project: Project, model: Bundle, kept: Path) -> None:
    rows = [r for r in manifest.read(project.manifest, root=project.root) if r.path != "drone/0.wav"]
    stretches = [Recording("drone/0.wav", "drone", "a", 0.0, 1.1), Recording("drone/0.wav", "hiss", "a", 1.2, 1.5)]
    manifest.write(project.manifest.with_name("stretches.csv"), [*rows, *stretches])
    data = project.experiment.data.model_copy(update={"manifest": "stretches.csv"})
    known = read(replace(project, experiment=project.experiment.model_copy(update={"data": data})), model)
    first = known.recordings.index(stretches[0])
    assert known.recordings[first + 1] == stretches[1]
    assert len(known.recordings) == 3 * N_TRAIN + 1
    assert known.contents[first] == known.contents[first + 1]
    store = FeatureStore(project.run / "features", model.spec)
    recording_status = build_store.read_catalog(store, ["drone/0.wav"])["drone/0.wav"]
    for stretch, embedding in zip(stretches, known.embeddings[first : first + 2], strict=True):
        alone = predict_frames(
            model, stretch.path, recording_status, store.frames(recording_status), stretch.stretch
        ).embedding
        assert embedding == pytest.approx(alone, rel=1e-5)
    assert not np.array_equal(*known.embeddings[first : first + 2])


def test_a_damaged_feature_file_costs_the_comparison_only(project: Project, model: Bundle, kept: Path) -> None:
    store = FeatureStore(project.run / "features", model.spec)
    file = store.file(build_store.read_catalog(store, ["hiss/3.wav"])["hiss/3.wav"].sha256)
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    try:
        found = explain_by_nearest(work(model, predicted(model, project.root / "hiss" / "7.wav"), project))
    finally:
        file.write_bytes(whole)
    assert "damaged" in found.facts["absent"]
    assert not kept.exists()


def test_embeddings_are_computed_once(project: Project, model: Bundle, kept: Path, asked: Asked) -> None:
    first = read(project, model)
    assert asked.n == 3 * N_TRAIN
    content = kept.read_bytes()
    again = read(project, model)
    assert asked.n == 3 * N_TRAIN
    assert np.array_equal(first.embeddings, again.embeddings)
    assert kept.read_bytes() == content


def test_another_model_is_asked_anew(project: Project, model: Bundle, kept: Path, asked: Asked) -> None:
    read(project, model)
    read(project, replace(model, digest="0" * 64))
    assert asked.n == 2 * 3 * N_TRAIN
    read(project, model)
    assert asked.n == 3 * 3 * N_TRAIN


@pytest.mark.parametrize("harm", ["flipped", "cut", "empty", "other"])
def test_what_is_kept_and_damaged_is_computed_anew(
    project: Project, model: Bundle, kept: Path, asked: Asked, harm: str
) -> None:
    whole = read(project, model).embeddings
    content = bytearray(kept.read_bytes())
    content[-100] ^= 1
    damaged = {"flipped": bytes(content), "cut": bytes(content[:-50]), "empty": b"", "other": b"x" * 1000}
    kept.write_bytes(damaged[harm])
    assert np.array_equal(read(project, model).embeddings, whole)
    assert asked.n == 2 * 3 * N_TRAIN
    read(project, model)
    assert asked.n == 2 * 3 * N_TRAIN


def test_a_folder_that_cannot_be_written_costs_time_only(
    project: Project, model: Bundle, kept: Path, asked: Asked
) -> None:
    kept.mkdir()
    try:
        assert len(read(project, model).recordings) == 3 * N_TRAIN
        read(project, model)
        assert asked.n == 2 * 3 * N_TRAIN
    finally:
        kept.rmdir()


def test_a_model_of_another_split_is_refused(project: Project) -> None:
    with pytest.raises(NotReadyError, match="not the split"):
        read(project, bundle.load(SHIPPED))


@pytest.mark.parametrize(("methods", "out"), [(("nearest",), "why"), (("occlusion",), "runs/tones/why")])
def test_a_run_that_another_command_works_in_is_not_written_to(
    project: Project, tmp_path: Path, methods: tuple[str, ...], out: str
) -> None:
    folder = project.run / "why" if "runs" in out else tmp_path / out
    with lock(project.run), pytest.raises(BusyError, match=f"in use by process {os.getpid()}; wait for it to end"):
        explain.run(
            project.root / "drone" / "0.wav", model=SHIPPED, methods=methods, out=folder, project=project,
            progress=Progress(),
        )  # fmt: skip
    assert not folder.exists()


@pytest.mark.slow
def test_an_explanation_beside_a_run_that_another_command_works_in_is_written(project: Project, tmp_path: Path) -> None:
    file = project.root / "drone" / "0.wav"
    with lock(project.run):
        found = explain.run(file, model=SHIPPED, out=tmp_path / "why", project=project, progress=Progress())
    assert found.truth == ["drone"]
    assert "The true label of the recording is “drone”: the prediction is wrong." in found.page.read_text("utf-8")


# The section of the page


class Tags(HTMLParser):
    """What a browser would find: tags, and text."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.names: Counter[str] = Counter()
        self.text = ""
        self.feed(markup)
        self.close()
        self.text = " ".join(self.text.replace("\N{NO-BREAK SPACE}", " ").split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert not [name for name, _ in attrs if name.startswith("on")]
        self.names[tag] += 1

    def handle_data(self, data: str) -> None:
        self.text += f" {data}"


def work(model: Bundle, prediction: RecordingPrediction, project: Project | None) -> ExplainTask:
    return ExplainTask(model, prediction, (), True, "mean", 3, Progress(), project, 2)


@pytest.mark.slow
@pytest.mark.parametrize("label", ["drone", HOSTILE])
def test_a_new_recording_is_nearest_to_those_of_its_kind(project: Project, model: Bundle, label: str) -> None:
    found = explain_by_nearest(work(model, predicted(model, project.root / label / f"{N_TRAIN + 1}.wav"), project))
    assert [one["label"] for one in found.facts["nearest"]] == [label] * 5
    assert found.facts["n_learned"] == 3 * N_TRAIN
    assert not found.facts["learned_from_itself"]
    page = Tags(found.section.body)
    assert page.text.count("None of the 5 nearest is") == 1  # as the model says instruments only
    assert page.names["audio"] == 1 + 5 + len(found.facts["nearest_of_other_labels"])
    assert not page.names["img"]
    assert len(found.section.body) < 2_000_000


@pytest.mark.slow
def test_a_recording_that_was_learned_from_is_said_to_be(project: Project, model: Bundle, tmp_path: Path) -> None:
    copy = tmp_path / "called otherwise.wav"
    shutil.copy(project.root / "drone" / "2.wav", copy)
    found = explain_by_nearest(work(model, predicted(model, copy), project))
    assert found.facts["learned_from_itself"]
    assert "drone/2.wav" not in [one["recording"] for one in found.facts["nearest"]]
    assert "The network was trained on this very file, as “drone”." in Tags(found.section.body).text


def test_without_its_project_a_model_has_nothing_to_compare_with(model: Bundle, project: Project) -> None:
    prediction = predicted(model, project.root / "hiss" / "0.wav")
    for where, why in ((None, "came without the project"), (project, "not the split")):
        found = explain_by_nearest(work(bundle.load(SHIPPED), prediction, where))
        page = Tags(found.section.body)
        assert page.text.startswith("There are no training recordings to compare with")
        assert why in page.text
        assert not page.names["audio"]


@pytest.mark.slow
def test_a_file_that_is_gone_is_named_all_the_same(project: Project, model: Bundle) -> None:
    prediction = predicted(model, project.root / "hiss" / "7.wav")
    hidden = project.root / "hiss" / "gone.wav"
    first = explain_by_nearest(work(model, prediction, project)).facts["nearest"][0]["recording"]
    (project.root / first).rename(hidden)
    try:
        found = explain_by_nearest(work(model, prediction, project))
    finally:
        hidden.rename(project.root / first)
    assert found.facts["nearest"][0]["recording"] == first
    assert "The file cannot be read any more" in Tags(found.section.body).text


# What to conclude


def known(labels: str, degrees: list[float], groups: str | None = None) -> TrainingEmbeddings:
    """Recordings whose labels and groups are letters."""
    recordings = [
        Recording(f"{i}.wav", label, group)
        for i, (label, group) in enumerate(zip(labels, groups or labels, strict=True))
    ]
    return TrainingEmbeddings(recordings, [r.path for r in recordings], [r.group for r in recordings], angles(*degrees))


def said(label: str, degrees: float) -> RecordingPrediction:
    nothing = np.zeros(0)
    scores = np.array([0.9 if one == label else 0.05 for one in "abc"])
    recording_status = RecordingStatus("ok", sha256="new")
    return RecordingPrediction(
        "x.wav", recording_status, Labels(tuple("abc")), scores, nothing, nothing, np.zeros((0, 3)), angles(degrees)[0]
    )


def compared(label: str, degrees: float, table: TrainingEmbeddings, *asked: str) -> Comparison:
    return compare(said(label, degrees), table, sha256="new", asked={label, *asked})


def test_labels_that_are_near_but_not_among_the_first_are_shown_with_their_place() -> None:
    table = known("aaaaabbc", [0, 1, 2, 3, 4, 10, 11, 120], "stuvwxyz")
    found = compared("a", 0, table)
    assert [(one.recording.path, one.rank) for one in found.nearest] == [(f"{i}.wav", i + 1) for i in range(5)]
    assert found.others == []  # usually one degree apart, so ten are far
    table = known("aaaaabbc", [0, 20, -20, 40, -40, 55, -60, 170], "stuvwxyz")
    assert [(one.recording.path, one.rank) for one in compared("a", 50, table).others] == []
    found = compared("c", 0, table)
    assert [(one.recording.label, one.rank) for one in found.others] == [("c", 8)]  # far, but what the model says
    found = compared("a", 0, table, "b", "c")
    assert [(one.recording.label, one.rank) for one in found.others] == [("b", 6), ("c", 8)]  # or what is asked about


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ("aaaaa", "All 5 nearest are “a”, as predicted."),
        ("aaaba", "4 of the 5 nearest are “a”, as predicted; the rest: 1 “b”."),
        ("abbca", "Only 2 of the 5 nearest are “a”, as predicted; the rest: 2 “b” and 1 “c”. It lies between"),
        ("bbbcb", "None of the 5 nearest is “a”, which the model predicts; they are 4 “b” and 1 “c”."),
        ("a", "The nearest is “a”, as predicted."),
    ],
)
def test_the_conclusions_report_whether_the_nearest_agree_with_the_prediction(labels: str, words: str) -> None:
    table = known(labels, list(range(len(labels))))
    sentences = conclusions(said("a", 0), compared("a", 0, table))
    assert sentences[0].startswith(words)


def test_the_similarity_of_the_nearest_is_compared_with_that_of_training_recordings() -> None:
    degrees = [float(x) for i in range(25) for x in (10 * i, 10 * i + 1 + i / 10)]  # pairs 1 to 3.4 degrees apart
    table = known("ab" * 25, degrees, "".join(chr(ord("A") + i) for i in range(50)))

    def words(at: float) -> str:
        return conclusions(said("a", at), compared("a", at, table))[1]

    assert "as near as training recordings are to each other" in words(0.1)
    assert "usual for a recording that the network was not trained on" in words(-2.5)
    assert "No training recording is really similar" in words(-90)
