"""What is fitted on held-out recordings and what further networks tell, through the commands on a small project."""

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from extras import require_keras
from projects import PITCH_HZ, audiocnn, set_lines, tones

from audiocnn.dataset.manifest import Recording
from audiocnn.errors import ConfigError
from audiocnn.evaluation import calibration
from audiocnn.files import lock, sha256_of
from audiocnn.model import bundle
from audiocnn.studies import learning_curve, open_set
from audiocnn.studies import run as studies
from audiocnn.studies.learning_curve import LearningCurvePoint

require_keras()

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """Three labels of six recordings each, trained and evaluated."""
    folder = tmp_path_factory.mktemp("studies")
    tones(folder / "sounds", n=6)
    audiocnn("init", "sounds", "--preset", "instrument", cwd=folder)
    lines = {"model": '"4C3-GAP-*"', "epochs": "2", "validation": "0.25", "bootstrap": "200", "explain": "0"}
    set_lines(folder / "audiocnn.yaml", **lines)
    audiocnn("run", cwd=folder)
    return folder


@pytest.fixture
def project(trained: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    folder = tmp_path / "copy"
    shutil.copytree(trained, folder)
    return folder


@pytest.fixture(scope="module")
def studied(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy with all studies, of a model that reports mixed precision.

    The bundle names the dtype policy that mixed stood for where it was trained, which may be another machine.
    """
    folder = tmp_path_factory.mktemp("studied") / "copy"
    shutil.copytree(trained, folder)
    training = bundle.read(run_of(folder) / "model")[0].training
    bundle.update(run_of(folder) / "model", {"training": {**training, "precision": "mixed_float16"}}, card="none")
    names = ("leak-gap", "learning-curve", "unknown")
    done = audiocnn("evaluate", *(part for name in names for part in ("--study", name)), cwd=folder)
    assert "Leak gap: a random split" in done.stdout
    assert "precision: " in done.stderr  # what mixed stands for here
    return folder


def run_of(folder: Path) -> Path:
    return folder / "runs" / "sounds"


def figures(folder: Path) -> dict:
    return json.loads((run_of(folder) / "metrics.json").read_text())


def table(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((run_of(folder) / "predictions.csv").read_text().splitlines()))


def test_a_model_is_calibrated_on_its_validation_part(trained):
    info = bundle.load(run_of(trained) / "model").info
    parts = json.loads((run_of(trained) / "split.json").read_text())["parts"]
    assert info.decision.fitted_on == "validation"
    assert info.decision.n_recordings == info.decision.n_groups == len(parts["validation"]) > 0
    assert info.temperature != 1
    card = (run_of(trained) / "model" / "MODEL_CARD.md").read_text()
    assert f"Temperature {info.temperature:.3g}" in card


def test_figures_before_and_after_scaling_are_those_of_the_predictions(trained):
    found, rows = figures(trained), table(trained)
    temperature = found["calibration"]["temperature"]
    labels = found["labels"]
    scores = np.array([[float(row[f"p_{label}"]) for label in labels] for row in rows])
    target = np.array([labels.index(row["truth"]) for row in rows])
    chosen = np.arange(len(rows)), target
    assert found["recording"]["log_loss"] == pytest.approx(-np.log(scores[chosen]).mean(), rel=1e-6)
    raw = calibration.scale_scores(scores, 1 / temperature)
    assert found["calibration"]["uncalibrated"]["log_loss"] == pytest.approx(-np.log(raw[chosen]).mean(), rel=1e-6)


def test_the_coverage_of_sets_is_counted_on_the_test_part(trained):
    found, rows = figures(trained)["conformal"], table(trained)
    floor = bundle.load(run_of(trained) / "model").info.decision.set_floor
    sets = [
        {label for label in PITCH_HZ if float(row[f"p_{label}"]) >= floor}
        | {max(PITCH_HZ, key=lambda label, row=row: float(row[f"p_{label}"]))}
        for row in rows
    ]
    assert found["coverage_wanted"] == 0.9
    assert found["coverage"]["value"] == np.mean([row["truth"] in s for row, s in zip(rows, sets, strict=True)])
    assert found["mean_size"] == np.mean([len(s) for s in sets])
    assert sum(found["sizes"].values()) == len(rows)


def test_other_decisions_need_no_other_training(project):
    weights = run_of(project) / "model" / "weights.safetensors"
    before = weights.read_bytes()
    temperature = bundle.load(run_of(project) / "model").temperature
    set_lines(project / "audiocnn.yaml", wanted_precision="0.9", unknown="0")
    done = audiocnn("train", cwd=project)
    assert "steps" not in done.stderr
    assert weights.read_bytes() == before
    assert bundle.load(run_of(project) / "model").temperature == temperature
    decision = bundle.load(run_of(project) / "model").info.decision
    assert decision.wanted == {"precision": 0.9}
    assert set(decision.thresholds) == set(PITCH_HZ)
    assert decision.typical == []
    audiocnn("evaluate", cwd=project)
    found, rows = figures(project), table(project)
    assert "unknown" not in found
    for label, row in found["thresholds"]["labels"].items():
        claimed = [r for r in rows if float(r[f"p_{label}"]) >= decision.thresholds[label]]
        assert row["n_claimed"] == len(claimed)
        assert row["recall"] == sum(r["truth"] == label for r in claimed) / sum(r["truth"] == label for r in rows)


def test_by_folds_scores_are_calibrated_on_all_but_the_test_part(project):
    set_lines(project / "audiocnn.yaml", folds="2", epochs="1")
    done = audiocnn("train", cwd=project)
    assert done.stderr.count("decide: fold") == 2
    parts = json.loads((run_of(project) / "split.json").read_text())["parts"]
    decision = bundle.load(run_of(project) / "model").info.decision
    assert decision.fitted_on == "folds"
    assert decision.n_recordings == len(parts["train"]) + len(parts["validation"])
    again = audiocnn("train", cwd=project)
    assert "steps" not in again.stderr
    assert "calibrated on folds" in again.stdout


def test_what_a_model_has_not_learned_is_called_unknown_by_predict(project):
    """The floor is put above what any recording reaches."""
    folder = run_of(project) / "model"
    assert bundle.read(folder)[0].decision.typical == []  # so few groups cannot promise that 2 % are called unknown
    set_lines(project / "audiocnn.yaml", unknown="0.5")
    audiocnn("train", cwd=project)
    decision = bundle.read(folder)[0].decision.model_dump(mode="json")
    bundle.update(folder, {"decision": {**decision, "familiar_floor": 1.1}}, card="none")
    done = audiocnn("predict", "sounds/low/0.wav", "--format", "csv", cwd=project)
    (row,) = csv.DictReader(done.stdout.splitlines())
    assert (row["status"], row["label"], row["score"], row["reason"]) == ("unknown", "", "", "unfamiliar")
    assert float(row["p_low"]) > 0
    shown = audiocnn("predict", "sounds/low/0.wav", cwd=project).stdout
    assert "(unknown: unfamiliar, nearest " in shown


def test_studies_are_made_once_and_shown_by_every_later_evaluation(studied):
    found = figures(studied)
    honest = found["leak_gap"]["window_accuracy"]
    assert honest["grouped"] == found["window"]["accuracy"]["value"]
    assert honest["gap"]["value"] == pytest.approx(honest["random"] - honest["grouped"])
    sizes = [p["n_recordings"] for p in found["learning_curve"]["points"]]
    assert sizes == sorted(sizes)
    assert len(sizes) > 2
    assert found["learning_curve"]["points"][-1]["accuracy"]["value"] == found["recording"]["accuracy"]["value"]
    assert found["learning_curve"]["advice"]
    left_out = [label for row in found["unknown"]["left_out"] for label in row["labels"]]
    assert sorted(left_out) == sorted(PITCH_HZ)
    assert 0 <= found["unknown"]["auroc"]["value"] <= 1
    assert np.mean([row["auroc"] for row in found["unknown"]["left_out"]]) == pytest.approx(
        found["unknown"]["auroc"]["value"]
    )
    again = audiocnn("evaluate", cwd=studied)
    assert "steps" not in again.stderr
    assert figures(studied) == found


@pytest.mark.parametrize("lost", ["catalog", "frames"])
def test_a_model_can_be_evaluated_whose_features_are_not_set_any_more_and_partly_gone(project, lost):
    """No command would compute them: featurize fills the store of the features that are set."""
    (catalogue,) = (run_of(project) / "features").glob("*/recordings.csv")
    before = {name: (run_of(project) / name).read_bytes() for name in ("metrics.json", "predictions.csv")}
    if lost == "catalog":
        catalogue.unlink()
    for file in sorted(catalogue.parent.rglob("*.safetensors"))[::2]:
        file.unlink()
    set_lines(project / "audiocnn.yaml", fmin="50.0")
    audiocnn("evaluate", cwd=project)
    assert {name: (run_of(project) / name).read_bytes() for name in before} == before
    refused = audiocnn("evaluate", "--study", "leak-gap", cwd=project, code=2)
    assert refused.stderr.splitlines()[-1].endswith("set them back, or run 'audiocnn train' again")
    refused = audiocnn("export", "--format", "tflite", "--quantize", "int8", cwd=project, code=2)
    assert "set features back to fmin: 0.0 and run 'audiocnn featurize'" in refused.stderr


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_studies_of_a_model_trained_with_mixed_precision_use_mixed_precision(trained, policy):
    training = bundle.read(run_of(trained) / "model")[0].training
    assert studies._trained_with(training).precision == "float32"
    assert studies._trained_with({**training, "precision": policy}).precision == "mixed"


def test_a_random_split_of_windows_flatters(tmp_path):
    """Labels are drawn at random for every recording, so nothing can be learned, and still windows are recognised."""
    folder = tmp_path
    tones(folder / "tones", n=8)
    files = sorted((folder / "tones").rglob("*.wav"))
    for file in files[::2]:  # of two channels, whose windows are predicted together
        samples, rate = soundfile.read(file)
        soundfile.write(file, np.stack([samples, samples[::-1]], axis=1), rate)
    labels = np.random.default_rng(0).permutation(["a", "b", "c"] * 8)
    rows = [f"{file.relative_to(folder)},{label}" for file, label in zip(files, labels, strict=True)]
    (folder / "list.csv").write_text("\n".join(["path,label", *rows]) + "\n")
    audiocnn("init", "list.csv", "--name", "sounds", "--preset", "instrument", cwd=folder)
    changes = {
        "model": '"P2-64-*"',
        "channel": "each",
        "epochs": "30",
        "studies": "[leak-gap]",
        "validation": "0",
        "explain": "0",
    }
    set_lines(folder / "audiocnn.yaml", **changes)
    audiocnn("run", cwd=folder)
    found = figures(folder)["leak_gap"]["window_accuracy"]
    assert found["grouped"] == figures(folder)["window"]["accuracy"]["value"]
    assert figures(folder)["leak_gap"]["n_windows"]["grouped"] == figures(folder)["n_windows"]
    assert found["random"] > 0.65
    assert found["grouped"] < 0.55
    assert found["gap"]["ci95"][0] < found["gap"]["value"] < found["gap"]["ci95"][1]


def test_a_model_is_compared_with_an_earlier_run_and_with_another_model(studied, tmp_path):
    studied = Path(shutil.copytree(studied, tmp_path / "copy"))
    earlier = studied / "earlier.csv"
    shutil.copy(run_of(studied) / "predictions.csv", earlier)
    audiocnn("evaluate", "--against", "earlier.csv", cwd=studied)
    same = figures(studied)["comparison"]
    assert same["accuracy"]["difference"] == {"value": 0, "ci95": [0, 0]}
    shutil.copytree(run_of(studied) / "model", studied / "model-before")
    audiocnn("train", "--seed", "3", "--epochs", "1", cwd=studied)
    done = audiocnn("evaluate", "--against", "model-before", cwd=studied)
    assert "Against model-before, on 3 recordings: accuracy" in done.stdout
    by_model = figures(studied)["comparison"]
    assert "leak_gap" not in figures(studied)  # which was that of the other model
    audiocnn("evaluate", "--against", "earlier.csv", cwd=studied)
    by_table = figures(studied)["comparison"]
    assert {**by_model, "other": ""} == {**by_table, "other": ""}
    assert audiocnn("evaluate", "--against", "nowhere.csv", cwd=studied, code=2).stderr.count("\n") == 1


# What may be wrong with what is evaluated


def listed(folder: Path, rows: list[str], columns: str = "path,label") -> None:
    (folder / "sounds" / "other.csv").write_text("\n".join([columns, *rows]) + "\n")


def test_a_part_with_one_label_has_figures_as_far_as_they_are_defined(project):
    listed(project, [f"low/{i}.wav,low" for i in range(4)])
    audiocnn("evaluate", "--manifest", "sounds/other.csv", "-o", "out", cwd=project)
    found = json.loads((project / "out" / "metrics.json").read_text())
    assert found["per_class"]["low"]["roc_auc"] is None
    assert found["per_class"]["low"]["support"] == 4
    assert found["recording"]["accuracy"]["value"] == found["per_class"]["low"]["recall"]
    assert "are labelled correctly" in (project / "out" / "report.html").read_text()


def test_labels_that_the_model_does_not_know_are_named_and_count_as_wrong(project):
    listed(project, ["low/0.wav,low", "low/1.wav,owl", "low/2.wav,owl", f"high/0.wav,{'o' * 300}"])
    done = audiocnn("evaluate", "--manifest", "sounds/other.csv", "-o", "out", cwd=project)
    assert "3 recordings have labels that the model does not have; they count as wrong: 'owl' (2)" in done.stderr
    found = json.loads((project / "out" / "metrics.json").read_text())
    assert found["n_recordings"] == 4
    assert found["recording"]["accuracy"]["value"] <= 0.25


def test_recordings_that_cannot_be_used_at_all_leave_nothing_to_say(project):
    (project / "sounds" / "broken.wav").write_bytes(b"nothing to hear")
    listed(project, ["broken.wav,low", "nowhere.wav,high"])
    refused = audiocnn("evaluate", "--manifest", "sounds/other.csv", "-o", "out", cwd=project, code=4)
    assert "none of the 2 recordings of other.csv can be used" in refused.stderr
    assert not (project / "out" / "metrics.json").exists()


def test_a_recording_that_is_not_the_one_its_digest_names_is_not_evaluated(project):
    rows = [
        f"{label}/{i}.wav,{label},{sha256_of(project / f'sounds/{label}/{i}.wav')}" for label in PITCH_HZ for i in "01"
    ]
    listed(project, rows, columns="path,label,sha256")
    shutil.copy(project / "sounds/low/5.wav", project / "sounds/low/0.wav")
    audiocnn("evaluate", "--manifest", "sounds/other.csv", "-o", "out", cwd=project, code=3)
    answers = {
        row["recording"]: row for row in csv.DictReader((project / "out" / "predictions.csv").read_text().splitlines())
    }
    assert [name for name, row in answers.items() if row["status"] != "ok"] == ["low/0.wav"]
    assert (answers["low/0.wav"]["status"], answers["low/0.wav"]["reason"]) == ("unreadable", "changed")
    assert json.loads((project / "out" / "metrics.json").read_text())["n_recordings"] == 6  # it counts as wrong


def test_a_recording_that_has_vanished_since_training_is_judged_by_its_features_and_not_played(project):
    tested = json.loads((run_of(project) / "split.json").read_text())["parts"]["test"]
    (project / "sounds" / tested[0]).unlink()
    before = figures(project)
    refused = audiocnn("evaluate", cwd=project, code=2)
    assert "--allow-missing" in refused.stderr
    audiocnn("evaluate", "--allow-missing", cwd=project)
    assert figures(project) == before
    assert tested[0] in (run_of(project) / "report.html").read_text()


@pytest.mark.parametrize("flags", [["--part", "train"], ["--model", "runs/sounds/model"]])
def test_a_study_is_about_the_own_model_and_test_part(project, flags):
    refused = audiocnn("evaluate", "--study", "leak-gap", *flags, cwd=project, code=2)
    assert "--study needs the project's own model and test part" in refused.stderr


def test_a_run_that_another_command_works_in_is_not_evaluated_into(project):
    listed(project, ["low/0.wav,low", "high/0.wav,high"])
    before = sorted(file for file in project.rglob("*") if file.name != ".lock")
    with lock(run_of(project)):
        for choices in ((), ("--part", "train"), ("--study", "leak-gap", "-o", "out"), ("-o", "runs/sounds/x")):
            refused = audiocnn("evaluate", *choices, cwd=project, code=2)
            assert f"sounds: in use by process {os.getpid()}; wait for it to end, or stop it" in refused.stderr
        assert sorted(file for file in project.rglob("*") if file.name != ".lock") == before
        audiocnn("evaluate", "--manifest", "sounds/other.csv", "-o", "out", cwd=project)  # nothing of it is for the run
    assert (project / "out" / "metrics.json").is_file()


def test_labels_are_left_out_once_each_and_two_are_always_left_in():
    for n in range(3, 30):
        labels = [f"label {i}" for i in range(n)]
        rounds = open_set._left_out(labels, seed=0)
        assert sorted(label for of in rounds for label in of) == sorted(labels)
        assert all(n - len(of) >= 2 for of in rounds)
        assert len(rounds) <= 5
    with pytest.raises(ConfigError, match="with two labels none can be left out"):
        open_set._left_out(["a", "b"], seed=0)


def test_fewer_recordings_are_whole_groups_of_every_label_in_turn():
    rows = [Recording(f"{label}{g}{i}", label, f"{label}{g}") for label in "abc" for g in range(6) for i in range(2)]
    order = learning_curve._in_turn(rows, [r.group for r in rows], seed=0)
    for n in (6, 12, 24):
        some = learning_curve._first(order, n)
        assert len(some) == n
        assert {label: sum(r.label == label for r in some) for label in "abc"} == dict.fromkeys("abc", n // 3)
        assert all(sum(r.group == group for r in some) == 2 for group in {r.group for r in some})


class Said:
    """A prediction of which only the label matters."""

    def __init__(self, label):
        self.label = label


def points(accuracies, truth):
    """Networks that are right about the first of every hundred recordings."""
    return [
        LearningCurvePoint(n, 10 * n, [Said(t if i % 100 < 100 * share else "?") for i, t in enumerate(truth)])
        for n, share in accuracies.items()
    ]


def block(accuracies, n=400, half=0.8):
    truth = ["flute" if i % 2 else "cello" for i in range(n)]
    groups = [f"group {i}" for i in range(n)]
    found = points(accuracies, truth)
    (of_half,) = points({100: half}, truth)
    return learning_curve.learning_curve_block(
        found, of_half, truth=truth, groups=groups, learned={"flute": 30, "cello": 70}, bootstrap=300, seed=0
    )


def test_errors_that_fall_with_a_power_are_carried_on():
    share = {n: 1 - 2 * n**-0.5 for n in (25, 50, 75, 100)}
    found = block({n: round(s, 2) for n, s in share.items()})
    assert found["fit"]["power"] == pytest.approx(0.5, abs=0.05)
    assert found["fit"]["falls"]
    at = {row["n_recordings"]: row["accuracy"] for row in found["fit"]["at"]}
    assert at[200]["value"] == pytest.approx(1 - 2 * 200**-0.5, abs=0.02)
    assert at[200]["ci95"][0] < at[200]["value"] < at[200]["ci95"][1]
    assert found["labels"]["flute"]["gain_per_20"] > found["labels"]["cello"]["gain_per_20"] > 0
    assert found["advice"][0].startswith("20 more recordings of flute would help most")


def test_where_more_recordings_brought_nothing_nothing_is_promised():
    found = block({25: 0.7, 50: 0.7, 75: 0.7, 100: 0.7}, half=0.7)
    assert found["fit"]["power"] == pytest.approx(0, abs=1e-9)
    assert {row["gain_per_20"] for row in found["labels"].values()} == {None}
    assert not any("would help most" in line for line in found["advice"])
    assert "More windows of the same recordings would not help." in found["advice"]


def test_one_point_is_no_curve():
    found = block({100: 0.8})
    assert found["fit"] is None
    assert len(found["points"]) == 1
