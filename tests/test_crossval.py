"""Cross-validation: which fold scores which, what is pooled, what is kept, and what is refused."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import sounds
from projects import PITCH_HZ, audiocnn, featurized, tones
from sklearn import metrics as sk

from audiocnn import config
from audiocnn.dataset import split
from audiocnn.dataset.manifest import Recording
from audiocnn.errors import SplitError
from audiocnn.progress import Progress
from audiocnn.specs import SplitSpec
from audiocnn.stages import crossval
from audiocnn.training import checkpoint

SPEC = SplitSpec(test=0.2, validation=0.25, seed=0)


def recordings(n_groups, *, per_group=2, labels=("a", "b"), fold=None):
    return [
        Recording(f"{label}/{g}-{i}.wav", label, f"{label}{g}", fold=None if fold is None else fold(g))
        for label in labels
        for g in range(n_groups)
        for i in range(per_group)
    ]


def folds(rows, n_folds=None, spec=SPEC):
    return split.make_folds(rows, {r.path: f"content of {r.path}" for r in rows}, spec, n_folds)


@pytest.mark.parametrize(("n_groups", "asked", "made"), [(12, None, 5), (12, 3, 3), (4, None, 4), (4, 4, 4)])
def test_every_recording_is_held_out_once_and_no_group_is_on_both_sides(n_groups, asked, made):
    rows = recordings(n_groups)
    splits = folds(rows, asked, SplitSpec(test=0.2, validation=0.25 if n_groups > 4 else 0))
    assert len(splits) == made
    held_out = [path for s in splits for path in s.of("test")]
    assert sorted(held_out) == sorted(r.path for r in rows)
    for s in splits:
        part = {r.path: s.part[r.path] for r in rows}
        assert {r.label for r in rows if part[r.path] == "test"} == {"a", "b"}
        assert ("validation" in part.values()) == (n_groups > 4)
        for group in {r.group for r in rows}:
            assert len({part[r.path] for r in rows if r.group == group}) == 1


def test_the_seed_alone_deals():
    rows = recordings(10)
    assert [s.part for s in folds(rows)] == [s.part for s in folds(rows[::-1])]
    assert [s.part for s in folds(rows)] != [
        s.part for s in folds(rows, spec=SplitSpec(test=0, validation=0.25, seed=1))
    ]


def test_a_fold_column_is_honoured():
    rows = recordings(9, fold=lambda g: g % 3 + 10)
    splits = folds(rows)
    assert [{r.fold for r in rows if s.part[r.path] == "test"} for s in splits] == [{10}, {11}, {12}]


@pytest.mark.parametrize(
    ("rows", "n_folds", "says"),
    [
        (recordings(3), 5, "label 'a' has 3 groups, too few for 5 folds; pass --folds 3"),
        (recordings(1), None, "label 'a' has 1 group, too few for 2 folds, record more of it"),
        (recordings(6, fold=lambda g: g % 3), 4, "fold column; --folds is for manifests without one"),
        (recordings(6, fold=lambda g: 1), None, "the fold column has one fold only"),
        (
            [Recording(f"{i}.wav", "ab"[i % 2], f"g{i // 2}", fold=i % 2) for i in range(8)],
            None,
            "the fold column cuts through group 'g0': 0.wav in fold 0, 1.wav in fold 1",
        ),
        (
            [*recordings(4, fold=lambda g: g % 2), Recording("c.wav", "c", "c", fold=0)],
            None,
            "label 'c' is in fold 0 only",
        ),
    ],
)  # fmt: skip
def test_folds_that_cannot_be_are_refused_in_one_line(rows, n_folds, says):
    with pytest.raises(SplitError) as refused:
        folds(rows, n_folds)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def in_collections(rows, of=lambda r: r.group[1:]):
    return [replace(r, collection=of(r)) for r in rows]


def leave_out(rows):
    return split.make_folds(rows, {r.path: f"content of {r.path}" for r in rows}, SPEC, by_collection=True)


def test_every_collection_is_a_fold():
    rows = in_collections(recordings(9), of=lambda r: "xyz"[int(r.group[1:]) % 3])
    splits = leave_out([replace(r, fold=7) for r in rows])  # whatever the fold column says
    assert [{r.collection for r in rows if s.part[r.path] == "test"} for s in splits] == [{"x"}, {"y"}, {"z"}]


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (recordings(3), "a/0-0.wav and 11 more has no collection; fill the column 'collection'"),
        (in_collections(recordings(3), of=lambda r: "x"), "all recordings are of the collection 'x'; two or more"),
        (
            in_collections(recordings(4), of=lambda r: r.path[-5]),
            "the collection column cuts through group 'a0': a/0-0.wav in 0, a/0-1.wav in 1 (and 7 more groups); put",
        ),
        (
            in_collections(recordings(4), of=lambda r: r.label),
            "label 'a' is in collection 'a' only, so no model can be trained on it; record it elsewhere",
        ),
    ],
)
def test_collections_that_cannot_be_left_out_are_refused_in_one_line(rows, says):
    with pytest.raises(SplitError) as refused:
        leave_out(rows)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


# The command


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """Three labels of six recordings each, with features, and one silent recording; two folds; no validation."""
    folder = tmp_path_factory.mktemp("crossval")
    tones(folder / "sounds")
    rows = ["path,label,group,fold,collection"]
    rows += [
        f"{label}/{i}.wav,{label},player {label} {i // 2},{i // 2 % 2},{'there' if i > 3 else 'here'}"
        for label in PITCH_HZ
        for i in range(6)
    ]
    soundfile.write(folder / "sounds" / "low" / "silent.wav", sounds.silence(1), sounds.RATE)
    rows.append("low/silent.wav,low,nobody,1,there")
    (folder / "sounds" / "list.csv").write_text("\n".join(rows) + "\n")
    featurized(folder, source="sounds/list.csv", model='"P2-*"', validation="0")
    return folder


@pytest.fixture(scope="module")
def finished(project: Path) -> Path:
    done = audiocnn("crossval", "--epochs", "2", cwd=project, code=3)  # 3: one recording is silent
    assert "fold 1 of 2" in done.stderr
    assert "all folds" in done.stdout
    return project / "runs" / "sounds"


def table(run: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((run / "crossval" / "predictions.csv").read_text().splitlines()))


@pytest.mark.slow
def test_pooled_figures_and_those_of_folds_are_those_of_the_predictions(finished):
    figures, rows = json.loads((finished / "crossval.json").read_text()), table(finished)
    assert figures["schema"] == "audiocnn.metrics/1"
    assert figures["n_recordings"] == len(rows) == 19
    truth, said = [r["truth"] for r in rows], [r["label"] for r in rows]
    assert figures["recording"]["accuracy"]["value"] == pytest.approx(sk.accuracy_score(truth, said))
    assert figures["confusion"] == sk.confusion_matrix(truth, said, labels=figures["labels"]).tolist()
    assert [r["status"] for r in rows if r["recording"] == "low/silent.wav"] == ["silent"]
    assert [f["fold"] for f in figures["folds"]] == [1, 2]
    page = (finished / "crossval.html").read_text()
    assert "19 recordings, each predicted by a network trained without it" in page
    assert all(row["recording"] in page for row in rows)
    assert "audiocnn crossval --epochs 2" in page
    assert page.count("<audio") == 18  # the silent one has no prediction
    for fold in figures["folds"]:
        own = [r for r in rows if r["fold"] == str(fold["fold"])]
        right = [r["truth"] == r["label"] for r in own]
        assert fold["n_recordings"] == len(own)
        assert fold["recording"]["accuracy"]["value"] == pytest.approx(np.mean(right))
        assert fold["n_epochs"] == fold["best_epoch"] == 2  # no validation: the last


@pytest.mark.slow
def test_each_collection_is_scored_by_a_network_that_was_trained_without_it(project, finished):
    before = (finished / "crossval.json").read_bytes()
    done = audiocnn("crossval", "--leave-out", "collection", "--epochs", "1", cwd=project, code=3)
    assert "fold 2 of 2: without collection 'there'" in done.stderr
    figures = json.loads((finished / "crossval-collection.json").read_text())
    assert [(f["collection"], f["n_recordings"]) for f in figures["folds"]] == [("here", 12), ("there", 7)]
    with open(finished / "crossval-collection" / "predictions.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["fold"] == "2"]
    right = np.mean([row["label"] == row["truth"] for row in rows])
    assert figures["collections"]["there"]["accuracy"]["value"] == pytest.approx(right)
    assert (finished / "crossval.json").read_bytes() == before
    assert json.loads(before)["collections"].keys() == {"here", "there"}
    refused = audiocnn("crossval", "--leave-out", "collection", "--folds", "2", cwd=project, code=2)
    assert "pass one" in refused.stderr


@pytest.mark.slow
def test_nothing_that_is_finished_is_trained_again_and_what_is_missing_gives_the_same(project, finished):
    before = (finished / "crossval.json").read_bytes(), (finished / "crossval" / "predictions.csv").read_bytes()
    again = audiocnn("crossval", "--epochs", "2", cwd=project, code=3)
    assert "steps" not in again.stderr
    (finished / "crossval" / "fold-2.heldout").unlink()
    older = checkpoint.read(finished / "crossval" / "fold-1.heldout")  # without what tells which windows count
    arrays = {name: group for name, group in older.arrays.items() if name != "loud"}
    replace(older, arrays=arrays).write(finished / "crossval" / "fold-1.heldout")
    mended = audiocnn("crossval", "--epochs", "2", cwd=project, code=3)
    assert mended.stderr.count("steps") == 1
    assert (
        (finished / "crossval.json").read_bytes(),
        (finished / "crossval" / "predictions.csv").read_bytes(),
    ) == before


@pytest.mark.slow
def test_repeats_differ_in_their_seeds_and_the_first_is_the_one_without_repeats(project, finished):
    before = json.loads((finished / "crossval.json").read_text())
    predicted = (finished / "crossval" / "predictions.csv").read_bytes()
    done = audiocnn("crossval", "--epochs", "2", "--repeat", "2", cwd=project, code=3)
    figures = json.loads((finished / "crossval.json").read_text())
    repeats = figures.pop("repeats")
    assert figures == before and (finished / "crossval" / "predictions.csv").read_bytes() == predicted
    assert repeats["varied"] == "seeds"  # the manifest has the folds
    losses = repeats["recording"]["log_loss"]
    assert losses["values"][0] == round(before["recording"]["log_loss"], 6) != losses["values"][1]
    assert losses["mean"] == pytest.approx(np.mean(losses["values"]), abs=1e-6)
    assert losses["sd"] == pytest.approx(np.std(losses["values"], ddof=1), abs=1e-6)
    assert checkpoint.read(finished / "crossval" / "repeat-2" / "fold-1.heldout").settings["train"]["seed"] == 1
    assert "Repeated 2 times with other seeds" in " ".join(done.stdout.split())
    assert "All folds were trained again with other seeds" in (finished / "crossval.html").read_text()


@pytest.mark.slow
def test_other_settings_are_trained_anew_and_so_are_the_same_on_request(project, finished):
    file = finished / "crossval" / "fold-1.heldout"
    again = {"n_folds": None, "changes": {"epochs": 1, "seed": 5}, "progress": Progress()}
    crossval.run(config.read(project / "audiocnn.yaml"), fresh=False, **again)
    assert checkpoint.read(file).settings["train"]["seed"] == 5
    before = file.stat().st_mtime_ns
    crossval.run(config.read(project / "audiocnn.yaml"), fresh=True, **again)
    assert file.stat().st_mtime_ns != before


@pytest.mark.slow
def test_without_validation_a_model_is_trained_to_its_last_epoch_and_says_so(project):
    done = audiocnn("train", "--epochs", "2", cwd=project)
    assert "Kept epoch 2 of 2. On train: recording accuracy" in done.stdout
    run = project / "runs" / "sounds"
    assert "the last; no part was set aside for validation" in (run / "model" / "MODEL_CARD.md").read_text()
    assert json.loads((run / "split.json").read_text())["parts"]["validation"] == []
    audiocnn("evaluate", cwd=project)
    assert "because there was no validation part" in (run / "report.html").read_text()
    refused = audiocnn("evaluate", "--part", "validation", cwd=project, code=2)
    assert refused.stderr.count("\n") == 1
