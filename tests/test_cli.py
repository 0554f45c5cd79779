"""The commands as users type them, each in a process of its own, on sounds made on the spot: exit codes and files."""

import csv
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import prefork
import projects
import pytest
import soundfile
from sklearn import metrics as sk

from audiocnn import config
from audiocnn.dataset import split
from audiocnn.progress import Progress
from audiocnn.stages import evaluate

RATE = 16_000


def audiocnn(*arguments: str | Path, cwd: Path, code: int = 0, env: dict[str, str] | None = None) -> prefork.Done:
    """Run the command, check its exit code, and check that nothing but our own lines reached stderr."""
    done = prefork.run(*arguments, cwd=cwd, env=env)
    assert done.returncode == code, f"exit {done.returncode}, expected {code}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr, done.stderr
    return done


def sound(rng: np.random.Generator, kind: str, seconds: float) -> np.ndarray:
    """A buzz, a hum or a hiss, each with its own pitch and level."""
    t = np.arange(int(seconds * RATE)) / RATE
    noise = rng.standard_normal(len(t))
    pitch = rng.uniform(0.9, 1.1)
    made = {
        "buzz": np.sign(np.sin(2 * np.pi * 400 * pitch * t)),
        "hum": np.sin(2 * np.pi * 120 * pitch * t),
        "hiss": noise,
    }[kind]
    return (rng.uniform(0.1, 0.5) * (made / np.abs(made).max() + 0.02 * noise)).astype(np.float32)


def corpus(folder: Path, kinds: tuple[str, ...], n: int = 10, seconds: float = 1.5) -> Path:
    rng = np.random.default_rng(7)
    for kind in kinds:
        (folder / kind).mkdir(parents=True)
        for i in range(n):
            name = f"{kind[0]}{'abcdefghijklmnopqrst'[i]}.wav"
            soundfile.write(folder / kind / name, sound(rng, kind, seconds), RATE, subtype="PCM_16")
    return folder


def fewer_epochs(project: Path) -> None:
    """Make a project quick: few epochs, a small network, a higher learning rate."""
    quick = {
        "model:": 'model: "8C3-P2-16C3-GAP-*"',
        "  epochs:": "  epochs: 3",
        "  learning_rate:": "  learning_rate: 0.01",
    }
    lines = (project / "audiocnn.yaml").read_text().splitlines()
    lines = [next((new for old, new in quick.items() if line.startswith(old)), line) for line in lines]
    (project / "audiocnn.yaml").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="session")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained and evaluated project with three labels, one broken and one silent file."""
    folder = tmp_path_factory.mktemp("three")
    sounds = corpus(folder / "sounds", ("buzz", "hum", "hiss"), n=10)
    (sounds / "buzz" / "broken.wav").write_bytes(b"RIFF\x24\x00\x00\x00WAVEfmt nonsense")
    soundfile.write(sounds / "hum" / "nothing.wav", np.zeros(RATE, np.float32), RATE)
    done = [audiocnn("init", "sounds", "--preset", "instrument", "--jobs", "1", cwd=folder)]
    fewer_epochs(folder)
    done.append(audiocnn("featurize", "--jobs", "1", cwd=folder, code=3))
    done.append(audiocnn("train", cwd=folder))
    done.append(audiocnn("evaluate", "--jobs", "1", cwd=folder))
    ends = [one.stderr.splitlines()[-1] for one in done]
    assert ends == [f"Next: audiocnn {command}" for command in ("run", "train", "evaluate", "predict FILE")]
    assert re.search(r"^Of \d+ test recordings .* labelled correctly: [\d.]+%", done[-1].stdout, re.MULTILINE)
    return folder


@pytest.fixture
def project(three: Path, tmp_path: Path) -> Path:
    """A copy of the trained project that a test may spoil."""
    return Path(shutil.copytree(three, tmp_path / "project"))


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


@pytest.mark.slow
def test_the_three_commands_make_everything_that_the_contract_names(three: Path) -> None:
    run = three / "runs" / "sounds"
    for name in ("features", "quarantine.csv", "split.json", "model", "metrics.json", "report.html", "predictions.csv"):
        assert (run / name).exists(), name
    bad = {row["path"]: row for row in rows((run / "quarantine.csv").read_text())}
    assert {(path, row["code"], row["stage"]) for path, row in bad.items()} == {
        ("buzz/broken.wav", "decode_error", "decode"),
        ("hum/nothing.wav", "silent", "features"),
    }
    assert all(len(row["sha256"]) == 64 and row["reason"] for row in bad.values())


def test_the_config_is_the_preset_with_its_comments(three: Path) -> None:
    text = (three / "audiocnn.yaml").read_text()
    assert 'name: "sounds"' in text
    assert 'root: "sounds"' in text
    assert "# samples, 32 ms" in text


@pytest.mark.parametrize(
    ("kinds", "n", "epochs"),
    [
        (("buzz", "hum"), 5, 120),
        (("buzz", "hum", "hiss"), 50, 80),
        pytest.param(("buzz", "hum"), 501, 12, marks=pytest.mark.slow),
    ],
)
def test_init_proposes_the_general_preset_for_any_labels_sized_for_so_many_recordings(
    tmp_path: Path, kinds: tuple[str, ...], n: int, epochs: int
) -> None:
    one = corpus(tmp_path / "one", kinds, n=1, seconds=1.0)
    rows = [f"{kind}/{kind[0]}a.wav,{kind},{i / 1e3},{i / 1e3 + 0.1}" for kind in kinds for i in range(n)]
    (one / "list.csv").write_text("path,label,start_s,end_s\n" + "\n".join(rows))
    assert "(preset general)" in audiocnn("init", one / "list.csv", "--jobs", "1", cwd=tmp_path).stdout
    made, preset = config.read(tmp_path / "audiocnn.yaml").experiment, config.read_preset("general")
    assert made.train == preset.train.model_copy(update={"epochs": epochs})
    assert len(made.features.copies) == (0 if n > 500 else len(preset.features.copies))


def test_figures_equal_those_recomputed_from_predictions(three: Path) -> None:
    run = three / "runs" / "sounds"
    figures = json.loads((run / "metrics.json").read_text())
    table = rows((run / "predictions.csv").read_text())
    labels = figures["labels"]
    truth, label = [r["truth"] for r in table], [r["label"] for r in table]
    assert figures["schema"] == "audiocnn.metrics/1"
    assert figures["n_recordings"] == len(table) == 6
    assert {r["part"] for r in table} == {"test"}
    assert figures["recording"]["accuracy"]["value"] == pytest.approx(sk.accuracy_score(truth, label))
    assert figures["recording"]["macro_f1"]["value"] == pytest.approx(sk.f1_score(truth, label, average="macro"))
    p = np.array([[float(r[f"p_{name}"]) for name in labels] for r in table])
    assert figures["recording"]["log_loss"] == pytest.approx(sk.log_loss(truth, p, labels=labels), rel=1e-5)
    assert figures["confusion"] == sk.confusion_matrix(truth, label, labels=labels).tolist()
    low, high = figures["recording"]["accuracy"]["ci95"]
    assert low <= figures["recording"]["accuracy"]["value"] <= high
    page = (run / "report.html").read_text()
    assert f"{figures['recording']['accuracy']['value']:.0%}".replace("%", "") in page


def test_the_test_part_shares_no_group_with_training(three: Path) -> None:
    parts = json.loads((three / "runs/sounds/split.json").read_text())["parts"]
    group = {row["path"]: row["group"] for row in rows((three / "manifest.csv").read_text())}
    seen = [{group[path] for path in parts[part]} for part in ("train", "validation", "test")]
    assert all(seen)
    assert not seen[0] & seen[1] and not seen[0] & seen[2] and not seen[1] & seen[2]
    assert all("hum/nothing.wav" not in paths for paths in parts.values())


def test_a_second_featurize_computes_nothing(project: Path) -> None:
    again = audiocnn("featurize", "--jobs", "1", cwd=project, code=3)
    assert ": 1 computed, 31 reused" in again.stdout  # the unreadable one is tried again


@pytest.mark.slow
def test_a_finished_model_is_kept_and_trained_anew_on_request(project: Path) -> None:
    bundle = project / "runs/sounds/model/bundle.json"
    before = bundle.stat().st_mtime_ns
    assert "finished model" in audiocnn("train", cwd=project).stdout
    assert bundle.stat().st_mtime_ns == before
    audiocnn("train", "--fresh", "--epochs", "1", cwd=project)
    assert len(json.loads(bundle.read_text())["training"]["history"]) == 1


def test_predict_gives_one_row_for_every_input(project: Path) -> None:
    (project / "notes.txt").write_text("these are my notes")
    (project / "empty.wav").write_bytes(b"")
    inputs = ["sounds/hum/ha.wav", "notes.txt", "empty.wav", "gone.wav", "sounds/hum/nothing.wav"]
    done = audiocnn("predict", *inputs, "--format", "csv", cwd=project, code=3)
    table = rows(done.stdout)
    assert [r["recording"] for r in table] == inputs
    assert [(r["status"], r["reason"]) for r in table] == [
        ("ok", ""),
        ("unreadable", "not_audio"),
        ("unreadable", "empty_file"),
        ("unreadable", "missing"),
        ("silent", "silent;all_zero"),
    ]
    assert table[0]["label"] == "hum"
    assert all(not r["label"] and not r["score"] and not r["p_hum"] for r in table[1:])
    assert list(table[0]) == [
        "recording", "status", "label", "score", "duration_s", "analysed_s", "reason", "p_buzz", "p_hiss", "p_hum",
    ]  # fmt: skip


def test_predict_reads_folders_in_sorted_order(project: Path) -> None:
    done = audiocnn("predict", "sounds/hum", "--format", "csv", cwd=project, code=3)
    names = [r["recording"] for r in rows(done.stdout)]
    assert names == sorted(names)
    assert names[0] == "sounds/hum/ha.wav" and len(names) == 11


def test_windows_cover_what_was_analysed(project: Path) -> None:
    windows = rows(audiocnn("predict", "sounds/hum/ha.wav", "--windows", "--format", "csv", cwd=project).stdout)
    assert list(windows[0])[:5] == ["recording", "start_s", "end_s", "label", "score"]
    assert [float(w["start_s"]) for w in windows] == pytest.approx([0.1 * i for i in range(15)])
    assert float(windows[-1]["end_s"]) == pytest.approx(1.5)


@pytest.mark.slow
def test_the_suffix_sets_the_format_and_json_holds_recordings_windows_and_model(project: Path) -> None:
    audiocnn("predict", "sounds/hiss/ha.wav", "-o", "out.json", cwd=project)
    value = json.loads((project / "out.json").read_text())
    (recording,) = value["recordings"]
    assert value["model"]["name"] == "sounds" and len(value["model"]["digest"]) == 64
    assert recording["label"] == "hiss" and len(recording["windows"]) == 15
    assert sum(recording["scores"].values()) == pytest.approx(1)
    audiocnn("predict", "sounds/hiss/ha.wav", "-o", "out.csv", cwd=project)
    assert rows((project / "out.csv").read_text())[0]["label"] == "hiss"
    assert "no format" in audiocnn("predict", "sounds/hiss/ha.wav", "-o", "out.xyz", cwd=project, code=2).stderr


def test_predictions_of_evaluate_are_those_of_predict(three: Path) -> None:
    table = rows((three / "runs/sounds/predictions.csv").read_text())
    files = [f"sounds/{r['recording']}" for r in table]
    again = rows(audiocnn("predict", *files, "--format", "csv", cwd=three).stdout)
    for a, b in zip(table, again, strict=True):
        assert float(a["score"]) == pytest.approx(float(b["score"]), abs=1e-5) and a["label"] == b["label"]


@pytest.mark.slow
def test_evaluate_with_flags_leaves_the_first_results_alone(project: Path) -> None:
    run = project / "runs/sounds"
    before = (run / "metrics.json").read_bytes()
    audiocnn("evaluate", "--part", "validation", cwd=project)
    assert json.loads((run / "evaluations/validation/metrics.json").read_text())["part"] == "validation"
    (project / "sounds" / "mine.csv").write_text("path,label\nhum/ha.wav,hum\nbuzz/ba.wav,buzz\nbuzz/broken.wav,buzz\n")
    audiocnn("evaluate", "--manifest", "sounds/mine.csv", "-o", "elsewhere", cwd=project, code=3)
    table = rows((project / "elsewhere/predictions.csv").read_text())
    assert [(r["recording"], r["status"], r["truth"]) for r in table] == [
        ("buzz/ba.wav", "ok", "buzz"), ("buzz/broken.wav", "unreadable", "buzz"), ("hum/ha.wav", "ok", "hum"),
    ]  # fmt: skip
    assert json.loads((project / "elsewhere/metrics.json").read_text())["recording"]["accuracy"]["value"] < 1
    assert (run / "metrics.json").read_bytes() == before


@pytest.mark.slow
def test_verify_names_every_damaged_file(project: Path) -> None:
    assert "0 damaged" in audiocnn("verify", cwd=project).stdout
    learned = split.read(project / "runs/sounds/split.json").of("train")[0]
    content = hashlib.sha256((project / "sounds" / learned).read_bytes()).hexdigest()
    (one,) = (project / "runs/sounds/features").rglob(f"{content}.safetensors")
    data = bytearray(one.read_bytes())
    data[-5] ^= 1
    one.write_bytes(data)
    model = project / "runs/sounds/model/weights.safetensors"
    data = bytearray(model.read_bytes())
    data[-5] ^= 1
    model.write_bytes(data)
    done = audiocnn("verify", cwd=project, code=5)
    assert one.name in done.stdout and "weights.safetensors" in done.stdout and "2 damaged" in done.stdout
    assert "damaged" in audiocnn("train", "--fresh", "--epochs", "1", cwd=project, code=5).stderr
    assert "damaged" in audiocnn("predict", "sounds/hum/ha.wav", cwd=project, code=5).stderr


@pytest.mark.parametrize("name", ["bundle.json", "model.tflite"])
def test_a_bundle_with_one_byte_changed_is_refused(project: Path, name: str) -> None:
    file = project / "runs/sounds/model" / name
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 4
    file.write_bytes(data)
    done = audiocnn("predict", "sounds/hum/ha.wav", cwd=project, code=5)
    assert len(done.stderr.strip().splitlines()) == 1 and name in done.stderr and not done.stdout


@pytest.mark.slow
def test_two_labels_get_one_sigmoid_and_the_rarer_one_is_positive(tmp_path: Path) -> None:
    sounds = corpus(tmp_path / "sounds", ("buzz", "hum"), n=8, seconds=1.2)
    for name in ("ba.wav", "bb.wav"):
        (sounds / "buzz" / name).unlink()
    said = audiocnn("init", "sounds", "--preset", "spectrogram", cwd=tmp_path).stdout
    assert "preset spectrogram" in said and "positive: 'buzz'" in said
    fewer_epochs(tmp_path)
    audiocnn("run", cwd=tmp_path)
    info = json.loads((tmp_path / "runs/sounds/model/bundle.json").read_text())
    assert info["positive"] == "buzz" and info["notation"].endswith("*")
    figures = json.loads((tmp_path / "runs/sounds/metrics.json").read_text())
    table = rows((tmp_path / "runs/sounds/predictions.csv").read_text())
    positive = [r["truth"] == "buzz" for r in table]
    scores = [float(r["p_buzz"]) for r in table]
    assert figures["recording"]["roc_auc"] == pytest.approx(sk.roc_auc_score(positive, scores))
    assert figures["recording"]["average_precision"] == pytest.approx(sk.average_precision_score(positive, scores))


def test_without_a_project_the_model_that_ships_answers_and_says_so(tmp_path: Path) -> None:
    sounds = corpus(tmp_path / "sounds", ("hum",), n=1)
    done = audiocnn("predict", sounds / "hum" / "ha.wav", "--format", "csv", cwd=tmp_path)
    assert "comes with audiocnn" in done.stderr
    assert len(rows(done.stdout)[0]) == 7 + 10


@pytest.mark.slow
def test_one_line_and_exit_code_2_for_what_the_user_can_mend(tmp_path: Path, three: Path) -> None:
    def refused(*arguments: str | Path, cwd: Path = tmp_path, says: str) -> None:
        done = audiocnn(*arguments, cwd=cwd, code=2)
        notes = ("scan recordings", "scan for copies", "no audiocnn.yaml here", "class weights")
        lines = [line for line in done.stderr.strip().splitlines() if not line.startswith(notes)]
        assert len(lines) == 1 and says in lines[0], done.stderr
        assert not done.stdout

    (tmp_path / "nothing").mkdir()
    refused("init", "nothing", says="no audio found")
    refused("init", "absent", says="absent")
    corpus(tmp_path / "one", ("hum",), n=2)
    refused("init", "one", says="only one class ('hum')")
    (tmp_path / "one" / "bad.csv").write_text("path,label\nhum/ha.wav,hum\nhum/hz.wav,buzz\n")
    refused("init", "one/bad.csv", says="hum/hz.wav does not exist")
    (tmp_path / "one" / "empty.csv").write_text("path,label\nhum/ha.wav,hum\nhum/hb.wav,\n")
    refused("init", "one/empty.csv", says="line 3: hum/hb.wav: label is empty")
    refused("featurize", says="audiocnn init")
    refused("predict", "nothing", says="no audio in this folder")
    refused("predict", "x.wav", "--model", "nothing", says="not a model")
    assert not (tmp_path / "audiocnn.yaml").exists() and not (tmp_path / "runs").exists()

    corpus(tmp_path / "few", ("hum", "buzz"), n=2)
    audiocnn("init", "few", "--preset", "spectrogram", cwd=tmp_path)
    refused("init", "few", says="--force")
    refused("train", says="run 'audiocnn featurize' first")
    refused("predict", "few/hum/ha.wav", says="run 'audiocnn train' first")
    refused("evaluate", says="run 'audiocnn train' first")
    audiocnn("featurize", "--jobs", "1", cwd=tmp_path)
    refused("train", says="has 2 groups, but train, validation, test need one each")
    yaml = tmp_path / "audiocnn.yaml"
    good = yaml.read_text()
    yaml.write_text(good.replace("epochs: 30 ", "epoch: 30 "))
    refused("train", says="train.epoch: 30: unknown key; did you mean 'epochs'?")
    yaml.write_text(good.replace("[128C3-P2]", "[128C3-P2]-P3-P3-P3"))
    refused("train", says="'P3' needs at least 3x3")
    assert not (tmp_path / "runs/few/model").exists() and not (tmp_path / "runs/few/split.json").exists()


def test_nothing_usable_is_exit_code_4(tmp_path: Path, three: Path) -> None:
    (tmp_path / "notes.txt").write_text("no sound at all")
    shutil.copytree(three / "runs/sounds/model", tmp_path / "model")
    done = audiocnn("predict", "notes.txt", "--model", "model", "--format", "csv", cwd=tmp_path, code=4)
    assert rows(done.stdout)[0]["reason"] == "not_audio"
    assert "notes.txt" in done.stderr


@pytest.mark.slow
def test_too_many_bad_recordings_stop_training(tmp_path: Path) -> None:
    sounds = corpus(tmp_path / "sounds", ("buzz", "hum", "hiss"), n=3)
    for i in range(2):
        (sounds / "buzz" / f"broken{i}.wav").write_bytes(b"RIFF\0\0\0\0WAVE" + bytes([i]) * 20)
    projects.featurized(tmp_path)
    done = audiocnn("train", cwd=tmp_path, code=4)
    assert "2 of 11 recordings are unreadable" in done.stderr and "--max-bad-fraction" in done.stderr
    assert not (tmp_path / "runs/sounds/model").exists()


@pytest.mark.slow
def test_train_says_what_to_install_without_tensorflow(project: Path, tmp_path: Path) -> None:
    block = tmp_path / "block"
    for name in ("tensorflow", "keras"):
        (block / name).mkdir(parents=True)
        (block / name / "__init__.py").write_text(f"raise ImportError('no {name}', name='{name}')")
    path = {"PYTHONPATH": os.pathsep.join(filter(None, [os.fspath(block), os.environ.get("PYTHONPATH")]))}
    done = audiocnn("train", "--fresh", cwd=project, code=2, env=path)
    assert "pip install 'audiocnn[train]'" in done.stderr


def test_a_model_trained_on_another_split_is_not_evaluated(project: Path) -> None:
    file = project / "runs/sounds/split.json"
    made = split.read(file)
    split.Split(made.key, {**made.part, made.of("train")[0]: "test"}).write(file)
    assert "not the split that the model was trained with" in audiocnn("evaluate", cwd=project, code=2).stderr


@pytest.mark.slow
def test_a_split_column_is_honoured_and_refused_where_it_cuts_a_group(tmp_path: Path) -> None:
    sounds = corpus(tmp_path / "sounds", ("buzz", "hum"), n=4)
    parts = ["train", "train", "validation", "test"]
    lines = [f"{k}/{k[0]}{c}.wav,{k},{p}" for k in ("buzz", "hum") for c, p in zip("abcd", parts, strict=True)]
    (sounds / "list.csv").write_text("path,label,split\n" + "\n".join(lines) + "\n")
    project = projects.featurized(tmp_path, source="sounds/list.csv", model='"4C3-GAP-*"', epochs="1")
    projects.trained(project)
    parts_made = json.loads((project.run / "split.json").read_text())["parts"]
    assert parts_made["test"] == ["buzz/bd.wav", "hum/hd.wav"]
    shutil.copy(sounds / "buzz/ba.wav", sounds / "buzz/bd.wav")  # now train and test hold the same recording
    audiocnn("featurize", "--jobs", "1", cwd=tmp_path)
    done = audiocnn("train", cwd=tmp_path, code=2)
    assert "buzz/bd.wav in test" in done.stderr and "buzz/ba.wav in train" in done.stderr


@pytest.mark.slow
def test_hostile_labels_are_only_text(tmp_path: Path) -> None:
    sounds = corpus(tmp_path / "sounds", ("buzz", "hum", "hiss"), n=4)
    (sounds / "hum").rename(sounds / "<img src=x onerror=alert(1)>")
    project = projects.trained(projects.featurized(tmp_path, model='"4C3-GAP-*"', epochs="1", bootstrap="100"))
    evaluate.run(project, model=None, part="test", other=None, output=None, jobs=1, progress=Progress())
    page = (tmp_path / "runs/sounds/report.html").read_text()
    assert "<img src=x" not in page and "&lt;img src=x onerror=alert(1)&gt;" in page
    (sounds / "hiss").rename(sounds / "=cmd()")
    assert "begins with = + - or @" in audiocnn("init", "sounds", "--out", "b", cwd=tmp_path, code=2).stderr


@pytest.mark.slow
def test_help_and_version_are_printed(tmp_path: Path) -> None:
    said = audiocnn("--help", cwd=tmp_path).stdout
    for command in ("init", "featurize", "train", "evaluate", "crossval", "predict", "run", "verify", "demo"):
        assert command in said
    assert "Usage" in audiocnn("train", "--help", cwd=tmp_path).stdout
    assert audiocnn("--version", cwd=tmp_path).stdout.startswith("audiocnn, version ")
    assert "No such command" in audiocnn("fit", cwd=tmp_path, code=2).stderr


@pytest.mark.slow
def test_a_closed_pipe_ends_quietly(three: Path) -> None:
    command = f"{sys.executable} -m audiocnn predict sounds/hum --windows --format csv | head -1"
    done = subprocess.run(["bash", "-c", command], cwd=three, capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr and "BrokenPipe" not in done.stderr
