"""Label errors: planted errors are found, and predictions.csv is checked when it is read."""

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
    """Return the scores (n, 5) of models that predict most labels correctly."""
    logits = 3 * np.eye(len(NAMES))[truth] + noise * rng.normal(size=(len(truth), len(NAMES)))
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def flipped(truth: NDArray[np.int64], rng: np.random.Generator) -> tuple[NDArray[np.int64], set[int]]:
    """Return the labels with one in twenty replaced by another one, and the indices of those."""
    wrong = rng.choice(len(truth), len(truth) // 20, replace=False)
    given = truth.copy()
    given[wrong] = (given[wrong] + rng.integers(1, len(NAMES), len(wrong))) % len(NAMES)
    return given, set(wrong.tolist())


@pytest.mark.parametrize("seed", range(3))
def test_most_planted_errors_are_in_the_first_tenth_of_the_list(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, len(NAMES), 400)
    given, wrong = flipped(truth, rng)
    scores = predicted(truth, rng, noise=1.5)
    assert 0.75 < np.mean(scores.argmax(axis=1) == truth) < 0.95
    found = label_errors.find(scores, [NAMES[i] for i in given], labels=Labels(NAMES))
    first = found[: len(truth) // 10]
    assert len(wrong & {suspect.index for suspect in first}) >= 0.7 * len(wrong)
    right = [suspect.suggested == NAMES[truth[suspect.index]] for suspect in first if suspect.index in wrong]
    assert np.mean(right) > 0.6  # chance is 0.25
    assert [s.quality for s in found] == sorted(s.quality for s in found)
    assert sum(s.likely for s in found) < 4 * len(wrong)


def test_a_suspect_has_its_label_and_the_predicted_one() -> None:
    given = ["dog"] * 10 + ["rain"] * 10
    scores = np.tile([0.0, 0.0, 0.9, 0.1, 0.0], (20, 1))
    scores[10:] = [0.0, 0.0, 0.1, 0.9, 0.0]
    scores[3] = [0.0, 0.0, 0.02, 0.98, 0.0]
    (suspect,) = label_errors.find(scores, given, labels=Labels(NAMES))
    assert (suspect.index, suspect.label, suspect.suggested, suspect.likely) == (3, "dog", "rain", True)
    assert suspect.quality == pytest.approx(0.02)
    (finding,) = label_errors.findings([suspect], [f"{i}.wav" for i in range(20)])
    assert finding.severity == "warn" and "contradict 1 of 20 labels" in finding.sentence
    assert finding.examples == ["3.wav: 'dog' has a score of 2%, predicted 'rain'"]


def test_there_is_no_suspect_if_the_models_agree_with_every_label() -> None:
    truth = np.arange(50) % len(NAMES)
    assert label_errors.find(np.eye(len(NAMES))[truth], [NAMES[i] for i in truth], labels=Labels(NAMES)) == []
    assert label_errors.find(np.eye(len(NAMES))[truth], ["dog"] * 50, labels=Labels(NAMES)) == []
    (finding,) = label_errors.findings([], ["a.wav"])
    assert (finding.severity, finding.sentence) == ("pass", "No label of 1 recording looks wrong.")


def test_without_cleanlab_the_message_tells_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cleanlab", None)
    with pytest.raises(MissingExtraError, match=r"cleanlab: not installed; pip install 'audiocnn\[labels\]'"):
        label_errors.find(np.eye(2), ["a", "b"], labels=Labels(("a", "b")))


HEADER = "recording,status,label,score,p_cat,p_dog,truth,group\n"
ROWS = ["a.wav,ok,cat,0.9,0.9,0.1,cat,a\n", "b.wav,ok,dog,0.75,0.25,0.75,cat,b\n", "c.wav,silent,,,,,dog,c\n"]


def test_scores_are_read_in_the_order_of_the_columns_and_recordings_without_scores_are_counted(tmp_path: Path) -> None:
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
        ("0.25", "nan", r"line 3: column 'p_cat': 'nan' is not a number"),
        ("0.25", "1.5", r"line 3: column 'p_cat': '1\.5' is not a number"),
        ("0.25", "", r"line 3: column 'p_cat': '' is not a number"),
        ("0.75,cat", "0.75,cow", r"line 3: column 'truth': 'cow' is none of the 2 labels"),
        ("p_cat", "q_cat", r"line 1: 1 columns 'p_<label>'"),
        ("p_cat", "p_dog", r"line 1: column 'p_dog' occurs twice"),
        ("truth", "trust", r"line 1: no column 'truth'"),
    ],
)
def test_an_invalid_file_is_refused_with_its_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    file = tmp_path / "predictions.csv"
    file.write_text((HEADER + "".join(ROWS)).replace(old, new))
    with pytest.raises(ConfigError, match=message):
        predictions_csv.read_scores(file)
