"""Copies of one recording on both sides of a split stop a training, unless it is told otherwise."""

import importlib.util
import json
from pathlib import Path

import pytest
import soundfile
from projects import audiocnn, set_lines, tones

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not importlib.util.find_spec("keras"), reason="needs Keras"),
]


@pytest.fixture(scope="module")
def leaking(tmp_path_factory) -> Path:
    """Three labels of six recordings, one of them in training and, at half the level, in the test part."""
    folder = tmp_path_factory.mktemp("apart")
    tones(folder / "sounds")
    samples, rate = soundfile.read(folder / "sounds" / "low" / "0.wav")
    soundfile.write(folder / "sounds" / "low" / "copy.flac", 0.5 * samples, rate)
    parts = ["train", "train", "train", "validation", "test", "test"]
    rows = [f"{label}/{i}.wav,{label},{parts[i]}" for label in ("low", "middle", "high") for i in range(6)]
    (folder / "sounds" / "list.csv").write_text("\n".join(["path,label,split", *rows, "low/copy.flac,low,test"]) + "\n")
    audiocnn("init", "sounds/list.csv", "--preset", "instrument", cwd=folder)
    set_lines(folder / "audiocnn.yaml", model='"4C3-GAP-*"', epochs="1")
    audiocnn("featurize", "--jobs", "1", cwd=folder)
    return folder


def test_train_stops_where_a_copy_is_on_the_other_side(leaking):
    refused = audiocnn("train", cwd=leaking, code=2)
    line = refused.stderr.splitlines()[-1]
    assert "1 pair of copies of one recording in different parts of the split" in line
    assert "low/0.wav (train)" in line and "low/copy.flac (test)" in line and "--allow-leaks" in line
    assert not (leaking / "runs" / "sounds" / "model").exists()
    assert "low/0.wav" in audiocnn("audit", "--jobs", "1", cwd=leaking, code=2).stdout
    assert json.loads((leaking / "runs" / "sounds" / "audit.json").read_text())["verdict"] == "fail"


def test_train_goes_on_if_leaks_are_allowed_and_says_that_figures_flatter(leaking):
    done = audiocnn("train", "--allow-leaks", cwd=leaking)
    assert "figures will be too good" in done.stderr
    assert (leaking / "runs" / "sounds" / "model").is_dir()


def test_a_random_split_is_mended_by_merging_groups(tmp_path):
    tones(tmp_path / "sounds")
    for i in range(6):
        samples, rate = soundfile.read(tmp_path / "sounds" / "low" / f"{i}.wav")
        soundfile.write(tmp_path / "sounds" / "low" / f"copy {i}.wav", 0.3 * samples, rate)
    audiocnn("init", "sounds", "--preset", "instrument", cwd=tmp_path)
    set_lines(tmp_path / "audiocnn.yaml", model='"4C3-GAP-*"', epochs="1", validation="0.25")
    audiocnn("featurize", "--jobs", "1", cwd=tmp_path)
    audiocnn("train", cwd=tmp_path, code=2)
    audiocnn("crossval", "--folds", "2", cwd=tmp_path, code=2)
    (tmp_path / "one.yaml").write_text('name: one\nvariants: {a: {model: "4C3-GAP-*"}}\n')
    refused = audiocnn("sweep", "one.yaml", "--folds", "2", cwd=tmp_path, code=2)
    assert "of copies of one recording in different parts of the split" in refused.stderr.splitlines()[-1]
    assert not (tmp_path / "runs" / "sounds" / "sweeps").exists()
    flattering = audiocnn("sweep", "one.yaml", "--folds", "2", "--allow-leaks", cwd=tmp_path)
    assert "figures will be too good" in flattering.stderr
    audiocnn("audit", "--merge-groups", "--jobs", "1", cwd=tmp_path)
    audiocnn("train", cwd=tmp_path)
