"""Labels that are likely wrong: those that were made wrong are found, and predictions are read with care."""

import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from audiocnn.audit import label_errors
from audiocnn.errors import ConfigError, MissingExtraError
from audiocnn.formats import predictions_csv
from audiocnn.labels import Labels

NAMES = ("bell", "bird", "dog", "rain", "saw")


def predicted(truth: NDArray[np.int64], rng: np.random.Generator, *, noise: float) -> NDArray[np.float64]:
    """Scores (n, 5) of models that are right in most recordings."""
    logits = 3 * np.eye(len(NAMES))[truth] + noise * rng.normal(size=(len(truth), len(NAMES)))
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def flipped(truth: NDArray[np.int64], rng: np.random.Generator) -> tuple[NDArray[np.int64], set[int]]:
    """The labels with one in twenty changed into another one, and which."""
    wrong = rng.choice(len(truth), len(truth) // 20, replace=False)
    given = truth.copy()
    given[wrong] = (given[wrong] + rng.integers(1, len(NAMES), len(wrong))) % len(NAMES)
    return given, set(wrong.tolist())


@pytest.mark.parametrize("seed", range(3))
def test_most_of_the_labels_that_were_made_wrong_are_in_the_first_tenth_of_the_list(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, len(NAMES), 400)
    given, wrong = flipped(truth, rng)
    said = predicted(truth, rng, noise=1.5)
    assert 0.75 < np.mean(said.argmax(axis=1) == truth) < 0.95
    found = label_errors.find(said, [NAMES[i] for i in given], labels=Labels(NAMES))
    first = found[: len(truth) // 10]
    assert len(wrong & {suspect.index for suspect in first}) >= 0.7 * len(wrong)
    right = [suspect.suggested == NAMES[truth[suspect.index]] for suspect in first if suspect.index in wrong]
    assert np.mean(right) > 0.6  # chance is 0.25
    assert [s.quality for s in found] == sorted(s.quality for s in found)
    assert sum(s.likely for s in found) < 4 * len(wrong)


def test_a_suspect_says_what_it_is_called_and_what_it_sounds_like() -> None:
    given = ["dog"] * 10 + ["rain"] * 10
    said = np.tile([0.0, 0.0, 0.9, 0.1, 0.0], (20, 1))
    said[10:] = [0.0, 0.0, 0.1, 0.9, 0.0]
    said[3] = [0.0, 0.0, 0.02, 0.98, 0.0]
    (suspect,) = label_errors.find(said, given, labels=Labels(NAMES))
    assert (suspect.index, suspect.label, suspect.suggested, suspect.likely) == (3, "dog", "rain", True)
    assert suspect.quality == pytest.approx(0.02)
    (said_of_it,) = label_errors.findings([suspect], [f"{i}.wav" for i in range(20)])
    assert said_of_it.severity == "warn" and "contradict 1 of 20 labels" in said_of_it.sentence
    assert said_of_it.examples == ["3.wav: 'dog' has a score of 2%, sounds like 'rain'"]


def test_models_that_agree_with_every_label_leave_no_suspect() -> None:
    truth = np.arange(50) % len(NAMES)
    assert label_errors.find(np.eye(len(NAMES))[truth], [NAMES[i] for i in truth], labels=Labels(NAMES)) == []
    assert label_errors.find(np.eye(len(NAMES))[truth], ["dog"] * 50, labels=Labels(NAMES)) == []
    (said,) = label_errors.findings([], ["a.wav"])
    assert (said.severity, said.sentence) == ("pass", "No label of 1 recording looks wrong.")


def test_without_cleanlab_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cleanlab", None)
    with pytest.raises(MissingExtraError, match=r"cleanlab: not installed; pip install 'audiocnn\[labels\]'"):
        label_errors.find(np.eye(2), ["a", "b"], labels=Labels(("a", "b")))


HEADER = "recording,status,label,score,p_cat,p_dog,truth,group\n"
ROWS = ["a.wav,ok,cat,0.9,0.9,0.1,cat,a\n", "b.wav,ok,dog,0.75,0.25,0.75,cat,b\n", "c.wav,silent,,,,,dog,c\n"]


def test_scores_are_read_in_the_order_of_the_columns_and_what_was_not_heard_is_counted(tmp_path: Path) -> None:
    file = tmp_path / "predictions.csv"
    file.write_text(HEADER + "".join(ROWS))
    found = predictions_csv.read_scores(file)
    assert found.labels == Labels(("cat", "dog"))
    assert found.values.tolist() == [[0.9, 0.1], [0.25, 0.75]]
    assert [(a.recording, a.truth) for a in found.rows] == [("a.wav", "cat"), ("b.wav", "cat")]
    assert found.n_without_scores == 1


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("0.25", "much", r"line 3: column 'p_cat': 'much' is not a number from 0 to 1"),
        ("0.25", "nan", r"line 3: column 'p_cat': 'nan' is no number"),
        ("0.25", "1.5", r"line 3: column 'p_cat': '1\.5' is no number"),
        ("0.25", "", r"line 3: column 'p_cat': '' is no number"),
        ("0.75,cat", "0.75,cow", r"line 3: column 'truth': 'cow' is none of the 2 labels"),
        ("p_cat", "q_cat", r"line 1: 1 columns 'p_<label>'"),
        ("p_cat", "p_dog", r"line 1: column 'p_dog' occurs twice"),
        ("truth", "trust", r"line 1: no column 'truth'"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_its_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    file = tmp_path / "predictions.csv"
    file.write_text((HEADER + "".join(ROWS)).replace(old, new))
    with pytest.raises(ConfigError, match=message):
        predictions_csv.read_scores(file)
