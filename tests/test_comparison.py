"""Models compared: which is best, and which differences may be due to chance."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sk

from audiocnn.errors import ConfigError
from audiocnn.evaluation import comparison, metrics
from audiocnn.evaluation.comparison import GroupCounts
from audiocnn.features.analyze import RecordingStatus
from audiocnn.formats import predictions_csv, tables
from audiocnn.formats.predictions_csv import PredictionRow
from audiocnn.inference.prediction import RecordingPrediction
from audiocnn.labels import Labels

GROUPS = [f"g{i}" for i in range(60)]


def counts_of(**right: np.ndarray) -> dict[str, GroupCounts]:
    """Return counts with one recording per group; ``right`` are the recordings that each model labels correctly."""
    return {name: comparison.count_correct(list(which), GROUPS, GROUPS) for name, which in right.items()}


def rank_chosen(found: dict[str, GroupCounts], **choices: int) -> dict[str, comparison.RankedModel]:
    settings = {"bootstrap": 1_000, "seed": 0} | choices
    return {one.name: one for one in comparison.rank_models(found, **settings)}


def first(n: int) -> np.ndarray:
    return np.arange(60) < n


def test_models_are_ranked_by_accuracy_and_ties_keep_their_order() -> None:
    found = rank_chosen(counts_of(low=first(20), small=first(40), large=~first(20), high=first(50)))
    assert list(found) == ["high", "small", "large", "low"]
    assert [one.rank for one in found.values()] == [1, 2, 3, 4]
    assert [one.accuracy for one in found.values()] == pytest.approx([50 / 60, 40 / 60, 40 / 60, 20 / 60])
    assert found["low"].difference == pytest.approx(-0.5)


def test_a_difference_is_noise_if_about_as_many_groups_favour_either_model() -> None:
    # Each is correct on 30 that the other is not, except for one.
    apart = rank_chosen(counts_of(a=first(31), b=~first(30)))
    assert apart["b"].in_noise
    low, high = apart["b"].difference_ci95 or (1, 1)
    assert low < 0 < high


def test_the_same_difference_is_not_noise_if_one_model_is_correct_wherever_the_other_is() -> None:
    blurred = rank_chosen(counts_of(a=first(40), b=~first(30)))  # 40 and 30, but with no more than 10 in common
    paired = rank_chosen(counts_of(a=first(40), b=first(30)))
    assert blurred["b"].difference == paired["b"].difference == pytest.approx(-1 / 6)
    assert blurred["b"].in_noise
    assert not paired["b"].in_noise
    assert blurred["a"].ci95 == paired["a"].ci95  # the intervals of the accuracies do not differ


def test_models_with_the_same_predictions_do_not_differ() -> None:
    found = rank_chosen(counts_of(a=first(40), b=first(40)))
    assert (found["b"].difference, found["b"].difference_ci95, found["b"].in_noise) == (0, (0, 0), True)


def test_resamples_draw_groups_and_not_recordings() -> None:
    names = ["g1", "g2", "g3", "g4"]
    groups = list(np.repeat(names, 100))
    one, other = (np.repeat(which, 100) for which in ([1, 1, 0, 1], [1, 0, 1, 0]))
    found = rank_chosen(
        {key: comparison.count_correct(list(which), groups, names) for key, which in (("a", one), ("b", other))}
    )
    assert found["b"].in_noise  # four groups, one of which favours b; 100 of 400 recordings would be far from noise
    low, high = found["a"].ci95 or (0.5, 0.5)
    assert (low, high) == pytest.approx((0.07, 0.99), abs=0.03)


def test_a_group_counts_as_often_as_it_has_recordings() -> None:
    found = rank_chosen({"a": GroupCounts(np.array([9.0, 0.0]), np.array([9.0, 1.0]))})
    assert found["a"].accuracy == 0.9
    assert found["a"].ci95 == pytest.approx((0.0, 1.0), abs=0.001)


def test_one_group_gives_no_interval_and_every_model_is_in_noise() -> None:
    found = rank_chosen({name: comparison.count_correct([True, right], ["g", "g"], ["g", "h"]) for name, right in
                   (("a", True), ("b", False))})  # fmt: skip
    assert (found["b"].ci95, found["b"].difference_ci95, found["b"].in_noise) == (None, None, True)


def test_intervals_depend_only_on_the_seed_and_are_near_those_of_a_binomial_share() -> None:
    some = counts_of(a=first(40), b=first(30))
    assert rank_chosen(some) == rank_chosen(some)
    assert rank_chosen(some, bootstrap=100) != rank_chosen(some, bootstrap=100, seed=1)
    low, high = rank_chosen(some, bootstrap=20_000)["a"].ci95 or (0, 0)
    spread = 1.96 * np.sqrt(2 / 3 * 1 / 3 / 60)
    assert (low, high) == pytest.approx((2 / 3 - spread, 2 / 3 + spread), abs=0.02)


def test_models_that_only_guess_are_all_in_noise() -> None:
    rng = np.random.default_rng(0)
    wrongly_told_apart = []
    for trial in range(100):
        guesses = rng.random((2, 60)) < 0.5
        found = rank_chosen(counts_of(a=guesses[0], b=guesses[1]), seed=trial, bootstrap=400)
        wrongly_told_apart.append(not all(one.in_noise for one in found.values()))
    assert np.mean(wrongly_told_apart) < 0.12  # 0.05, but for 60 groups and 100 trials


def test_the_best_of_many_equal_models_is_in_noise_as_well() -> None:
    rng = np.random.default_rng(0)
    wrongly_told_apart = []
    for trial in range(30):
        guesses = rng.random((8, 60)) < 0.7
        found = rank_chosen(counts_of(**{f"m{i}": one for i, one in enumerate(guesses)}), seed=trial, bootstrap=200)
        wrongly_told_apart.append(not all(one.in_noise for one in found.values()))
    assert np.mean(wrongly_told_apart) < 0.12  # intervals of single differences give one half


# ------------------------------------------------------------------------------------------ two sets of predictions


def answered(right: np.ndarray, *, groups: list[str] | None = None, labels: str = "ab") -> list[PredictionRow]:
    """Return one row per recording; the true labels are a and b in turn."""
    truth = [labels[i % 2] for i in range(len(right))]
    said = [true if good else labels[true == labels[0]] for true, good in zip(truth, right, strict=True)]
    names = groups or [f"g{i}" for i in range(len(right))]
    rows = zip(said, truth, names, strict=True)
    return [PredictionRow(f"{i}.wav", "", "", label, true, group) for i, (label, true, group) in enumerate(rows)]


def pair(this: list[PredictionRow], other: list[PredictionRow], **choices: int) -> dict[str, Any]:
    return comparison.compare_models(this, other, name="old", labels="ab", **{"bootstrap": 1_000, "seed": 0} | choices)


def test_a_comparison_with_the_same_predictions_has_no_difference() -> None:
    found = pair(answered(first(40)), answered(first(40)))
    for figure in ("accuracy", "macro_f1"):
        assert found[figure]["difference"] == {"value": 0, "ci95": [0, 0]}
        assert found[figure]["this"] == found[figure]["other"]
    assert (found["only_this_right"], found["only_other_right"], found["n_recordings"]) == (0, 0, 60)


def test_both_models_have_the_figures_of_scikit_learn_and_their_difference_has_an_interval() -> None:
    rng = np.random.default_rng(0)
    this, other = answered(rng.random(60) < 0.8), answered(rng.random(60) < 0.6)
    found = pair(this, other)
    truth = [one.truth for one in this]
    for side, answers in (("this", this), ("other", other)):
        said = [one.label for one in answers]
        assert found["accuracy"][side] == pytest.approx(sk.accuracy_score(truth, said))
        assert found["macro_f1"][side] == pytest.approx(sk.f1_score(truth, said, average="macro"))
    difference = found["accuracy"]["difference"]
    assert difference["value"] == pytest.approx(found["accuracy"]["this"] - found["accuracy"]["other"])
    assert difference["value"] == pytest.approx((found["only_this_right"] - found["only_other_right"]) / 60)
    assert difference["ci95"][0] < difference["value"] < difference["ci95"][1]
    turned = pair(other, this)["accuracy"]["difference"]["ci95"]
    assert turned == pytest.approx([-difference["ci95"][1], -difference["ci95"][0]])


def test_recordings_difficult_for_both_do_not_widen_the_interval_of_their_difference() -> None:
    narrow = pair(answered(first(40)), answered(first(30)))["accuracy"]["difference"]
    wide = pair(answered(first(40)), answered(~first(30)))["accuracy"]["difference"]
    assert narrow["value"] == wide["value"] == pytest.approx(1 / 6)
    assert narrow["ci95"][0] > 0 > wide["ci95"][0]


def test_recordings_of_one_group_count_as_one_observation() -> None:
    few = [f"g{i // 10}" for i in range(60)]
    alone, clustered = (
        pair(answered(first(40), groups=groups), answered(first(30)))["accuracy"]["difference"]["ci95"]
        for groups in (None, few)
    )
    assert clustered[0] < 0 < alone[0]
    one = pair(answered(first(40), groups=["g"] * 60), answered(first(30)))
    assert one["accuracy"]["difference"]["ci95"] == [None, None]


@pytest.mark.slow
def test_intervals_of_a_difference_contain_the_true_value_in_93_to_97_of_100_data_sets() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for trial in range(500):
        hard = np.repeat(rng.beta(2, 1, 40), 3)  # how difficult the recordings of a group are for both
        groups = [f"g{i // 3}" for i in range(120)]
        this, other = (rng.random(120) < np.clip(hard + gain, 0, 1) for gain in (0.0, 0.0))
        low, high = pair(answered(this, groups=groups), answered(other), bootstrap=150, seed=trial)["accuracy"][
            "difference"
        ]["ci95"]
        covered += low <= 0 <= high
    assert 0.93 <= covered / 500 <= 0.97


def test_recordings_of_one_model_only_are_counted_and_ignored() -> None:
    this, other = answered(first(40)), answered(first(30))
    found = pair(this[:50], other[10:])
    assert (found["n_recordings"], found["n_only_this"], found["n_only_other"]) == (40, 10, 10)
    assert found["accuracy"] == pair(this[10:50], other[10:50])["accuracy"]


def test_stretches_of_one_file_are_distinct() -> None:
    one = [PredictionRow("a.wav", "0", "1", "a", "a", "g"), PredictionRow("a.wav", "1", "2", "b", "b", "h")]
    other = [PredictionRow("a.wav", "1", "2", "a", "b", "g"), PredictionRow("a.wav", "0", "1", "a", "a", "g")]
    found = pair(one, other)
    assert (found["n_recordings"], found["only_this_right"], found["only_other_right"]) == (2, 1, 0)


def test_predictions_with_other_true_labels_or_recordings_are_refused() -> None:
    this = answered(first(40))
    other = [*this[:7], replace(this[7], truth="c"), *this[8:]]
    with pytest.raises(ConfigError, match=r"old: 7\.wav is 'c' there and 'b' here; evaluate both with the same labels"):
        pair(this, other)
    with pytest.raises(ConfigError, match="none of its 1 recordings is among the 60"):
        pair(this, [replace(this[0], recording="else.wav")])


def predictions(labels: tuple[str, ...], truth: list[str]) -> list[RecordingPrediction]:
    found = []
    for i, _ in enumerate(truth):
        scores = np.roll(np.linspace(0.1, 1, len(labels)), i)
        scores /= scores.sum()
        status, at = RecordingStatus("ok"), np.zeros(1)
        found.append(RecordingPrediction(f"a/b, {i}.wav", status, labels, scores, at, at + 1, scores[None]))
    nothing = np.zeros(0)
    silent = RecordingStatus("silent", ("silent",))
    found[0] = RecordingPrediction("a/b, 0.wav", silent, labels, nothing, nothing, nothing, np.zeros((0, len(labels))))
    return found


def test_written_predictions_are_read_back(tmp_path: Path) -> None:
    labels = ("a", "b" * 300, 'c "quoted",\nüber')
    truth = [labels[i % 3] for i in range(9)] + ["=new"]
    groups, spans = [f"-g{i // 2}" for i in range(10)], [None, *((float(i), i + 0.123456) for i in range(9))]
    made = predictions(labels, truth)
    extra = {"truth": truth, "group": groups, "part": ["test"] * 10} | tables.stretch_columns(spans)
    file = tmp_path / "predictions.csv"
    for text in ("".join(tables.recordings_csv(made, labels, extra)),):
        for written in (
            text,
            "\ufeff" + text.replace("\n", "\r\n").replace(",\r\nü", ",\nü"),
        ):  # as written by a spreadsheet
            file.write_text(written, encoding="utf-8", newline="")
            assert predictions_csv.read_predictions(file) == predictions_csv.prediction_rows(made, truth, groups, spans)
    same = comparison.compare_models(
        predictions_csv.prediction_rows(made, truth, groups, spans), predictions_csv.read_predictions(file),
        name="old", labels=labels, bootstrap=100, seed=0,
    )  # fmt: skip
    assert same["macro_f1"]["difference"] == {"value": 0, "ci95": [0, 0]}
    figures = metrics.compute_metrics(
        made, truth, groups, part="test", labels=Labels(labels), bootstrap=100, seed=0
    )["recording"]  # fmt: skip
    assert same["accuracy"]["this"] == pytest.approx(figures["accuracy"]["value"])
    assert same["macro_f1"]["this"] == pytest.approx(figures["macro_f1"]["value"])


HEAD = "recording,label,truth,group"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("recording,label,score\na.wav,a,1\n", r"line 1: no column 'truth'; give a predictions\.csv"),
        ("", "line 1: no column 'recording'"),
        (f"{HEAD}\n", "holds no predictions"),
        (f"{HEAD}\na.wav,a,a,g\nb.wav,a,,g\n", "line 3: column 'truth' is empty"),
        (f"{HEAD}\n,a,a,g\n", "line 2: column 'recording' is empty"),
        (f"{HEAD}\na.wav,a,a\n", "line 2: the number of cells is not that of the columns"),
        (f"{HEAD}\na.wav,a,a,g,h\n", "line 2: the number of cells is not that of the columns"),
        (f"{HEAD}\na.wav,a,a,g\na.wav,a,a,g\n", r"line 3: column 'recording': a\.wav occurs twice"),
        (f"{HEAD},start_s,end_s\na.wav,a,a,g,0,soon\n", "line 2: column 'end_s' is 'soon'; it must be seconds"),
        (f'{HEAD}\n"a.wav,a,a,g\n', "line 2: unexpected end of data"),
    ],
)  # fmt: skip
def test_an_invalid_file_is_refused_with_line_and_column(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "some.csv"
    file.write_text(text)
    with pytest.raises(ConfigError, match=said) as raised:
        predictions_csv.read_predictions(file)
    assert str(raised.value).startswith(str(file))


def test_a_missing_or_binary_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file; give a"):
        predictions_csv.read_predictions(tmp_path / "none.csv")
    (tmp_path / "some.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read as UTF-8 text"):
        predictions_csv.read_predictions(tmp_path / "some.csv")
