"""Figures and their intervals, recomputed with pandas and scikit-learn from the CSV files."""

import io
import json
import math
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from audiocnn.evaluation import intervals, metrics
from audiocnn.evaluation.calibration import expected_calibration_error
from audiocnn.features.analyze import RecordingStatus
from audiocnn.formats import tables
from audiocnn.inference.prediction import RecordingPrediction
from audiocnn.inference.scoring import recording_scores
from audiocnn.labels import Labels

LABELS = ("a", "b", "c")


def scored_recording(recording, windows, labels=LABELS):
    starts = np.arange(len(windows), dtype=float)
    scores = recording_scores(np.log(windows))
    return RecordingPrediction(recording, RecordingStatus("ok"), labels, scores, starts, starts + 1, windows)


def silent(recording, labels=LABELS):
    nothing = np.zeros(0)
    recording_status = RecordingStatus("silent", ("silent",))
    return RecordingPrediction(
        recording, recording_status, labels, nothing, nothing, nothing, np.zeros((0, len(labels)))
    )


def labelled(recording, label, labels=LABELS, n_windows=1):
    """Return a prediction of ``label`` with a high score."""
    window = np.where(np.array(labels) == label, 0.8, 0.2 / (len(labels) - 1))
    return scored_recording(recording, np.tile(window, (n_windows, 1)), labels)


def compute(predictions, truth, groups=None, *, labels=LABELS, positive=None, bootstrap=200, seed=0):
    return metrics.compute_metrics(
        predictions,
        truth,
        groups or [p.recording for p in predictions],
        part="test",
        labels=Labels(tuple(labels), positive),
        bootstrap=bootstrap,
        seed=seed,
    )


def test_only_windows_that_count_enter_the_figures_of_windows():
    right, wrong = [0.8, 0.1, 0.1], [0.1, 0.8, 0.1]
    half = replace(scored_recording("one", np.array([right, wrong, wrong])), loud=np.array([True, True, False]))
    figures = compute([half, labelled("two", "b")], ["a", "b"])
    assert (figures["window"]["accuracy"]["value"], figures["n_windows"]) == (2 / 3, 3)


def numbers_in(value):
    """Return all numbers of a JSON value, in order."""
    if isinstance(value, dict | list):
        return [
            number for part in (value.values() if isinstance(value, dict) else value) for number in numbers_in(part)
        ]
    return [value] if isinstance(value, int | float) else []


class Evaluated:
    """Recordings with true labels, groups and mostly correct predictions; one in ten has no prediction."""

    def __init__(self, labels, seed=0, n=80):
        rng = np.random.default_rng(seed)
        self.labels = labels
        self.truth = [labels[i] for i in rng.integers(0, len(labels), n)]
        self.groups = [f"group {i}" for i in rng.integers(0, 20, n)]
        self.predictions = []
        for i, label in enumerate(self.truth):
            name = f"{label}/{i}.wav"
            if rng.random() < 0.1:
                self.predictions.append(silent(name, labels))
                continue
            concentration = np.where(np.array(labels) == label, 2.0, 1.0)
            windows = rng.dirichlet(concentration, int(rng.integers(1, 9)))
            self.predictions.append(scored_recording(name, windows / windows.sum(axis=1, keepdims=True), labels))

    def figures(self, **options):
        positive = self.labels[1] if len(self.labels) == 2 else None
        return compute(self.predictions, self.truth, self.groups, labels=self.labels, positive=positive, **options)

    def tables(self):
        """Return the CSV files of recordings and windows as read by pandas, with the true label of each row."""
        extra = {"truth": self.truth, "group": self.groups}
        csv = "".join(tables.recordings_csv(self.predictions, self.labels, extra))
        recordings = pd.read_csv(io.StringIO(csv), keep_default_na=False)
        windows = pd.read_csv(io.StringIO("".join(tables.windows_csv(self.predictions, self.labels))))
        return recordings, windows.merge(recordings[["recording", "truth", "group"]], on="recording", how="left")


@pytest.fixture(scope="module", params=[("no", "yes"), ("a", "b", "c", "d")], ids=["two labels", "four labels"])
def evaluated(request):
    return Evaluated(request.param)


# ------------------------------------------------------------------------------------------- figures from the files


def test_every_figure_can_be_recomputed_from_the_csv_files(evaluated):
    figures = evaluated.figures()
    recordings, windows = evaluated.tables()
    columns = [f"p_{label}" for label in evaluated.labels]
    for unit, table in (("recording", recordings), ("window", windows)):
        found = figures[unit]
        assert found["accuracy"]["value"] == pytest.approx(sk.accuracy_score(table["truth"], table["label"]), abs=1e-9)
        f1 = sk.f1_score(table["truth"], table["label"], labels=evaluated.labels, average="macro", zero_division=0)
        assert found["macro_f1"]["value"] == pytest.approx(f1, abs=1e-9)
        scored = table[table["label"] != ""]
        p = scored[columns].astype(float).to_numpy()
        log_loss = sk.log_loss(scored["truth"], p, labels=list(evaluated.labels))
        assert found["log_loss"] == pytest.approx(log_loss, abs=1e-6)
        if len(evaluated.labels) == 2:
            positive = scored["truth"] == evaluated.labels[1]
            assert found["roc_auc"] == pytest.approx(sk.roc_auc_score(positive, p[:, 1]), abs=1e-6)
            assert found["average_precision"] == pytest.approx(sk.average_precision_score(positive, p[:, 1]), abs=1e-6)
        else:
            assert "roc_auc" not in found
        right = (scored["label"] == scored["truth"]).to_numpy()
        ece = expected_calibration_error(scored["score"].astype(float).to_numpy(), right)
        assert found["ece"] == pytest.approx(ece, abs=1e-6)
    assert figures["n_recordings"] == len(recordings)
    assert figures["n_windows"] == len(windows)
    assert figures["n_predicted"] == (recordings["status"] == "ok").sum() < len(recordings)
    assert figures["n_groups"] == recordings["group"].nunique()


def test_class_figures_and_the_confusion_matrix_can_be_recomputed(evaluated):
    figures = evaluated.figures()
    recordings, _ = evaluated.tables()
    report = sk.classification_report(
        recordings["truth"], recordings["label"], labels=evaluated.labels, output_dict=True, zero_division=0
    )
    for label in evaluated.labels:
        expected = {key.replace("-score", ""): value for key, value in report[label].items()}
        assert {key: figures["per_class"][label][key] for key in expected} == pytest.approx(expected)
        scored = recordings[recordings["label"] != ""]
        score, is_label = scored[f"p_{label}"].astype(float), scored["truth"] == label
        assert figures["per_class"][label]["roc_auc"] == pytest.approx(sk.roc_auc_score(is_label, score), abs=1e-6)
        expected_ap = sk.average_precision_score(is_label, score)
        assert figures["per_class"][label]["average_precision"] == pytest.approx(expected_ap, abs=1e-6)
    crossed = pd.crosstab(recordings["truth"], recordings["label"]).reindex(
        index=evaluated.labels, columns=evaluated.labels, fill_value=0
    )
    assert figures["confusion"] == crossed.to_numpy().tolist()


def test_the_json_has_the_documented_structure(evaluated):
    figures = json.loads(json.dumps(evaluated.figures(), allow_nan=False))
    assert figures["schema"] == "audiocnn.metrics/1"
    assert figures["part"] == "test"
    assert figures["labels"] == list(evaluated.labels)
    assert ("positive" in figures) == (len(evaluated.labels) == 2)
    for unit in ("recording", "window"):
        for name in ("accuracy", "macro_f1"):
            low, high = figures[unit][name]["ci95"]
            assert 0 <= low <= figures[unit][name]["value"] <= high <= 1
        assert isinstance(figures[unit]["log_loss"], float)
        assert isinstance(figures[unit]["ece"], float)
    assert list(figures["per_class"]) == list(evaluated.labels)
    for row in figures["per_class"].values():
        shares = {"precision", "recall", "f1", "average_precision", "roc_auc"}
        assert set(row) == shares | {"support", "intervals"}
        assert set(row["intervals"]) == shares
        for name, (low, high) in row["intervals"].items():
            assert 0 <= low <= row[name] <= high <= 1
    of_scores = {"log_loss", "ece"} | ({"roc_auc", "average_precision"} if "positive" in figures else set())
    for unit in ("recording", "window"):
        assert set(figures[unit]["intervals"]) == of_scores
        for name, (low, high) in figures[unit]["intervals"].items():
            assert 0 <= low < figures[unit][name] < high
    perfect = figures["recording"]["ece_perfect"]
    assert 0 < perfect["ci95"][0] < perfect["mean"] < perfect["ci95"][1] < 1
    assert "ece_perfect" not in figures["window"]
    assert np.shape(figures["confusion"]) == (len(evaluated.labels),) * 2


def test_the_order_of_recordings_changes_no_figure(evaluated):
    figures = evaluated.figures()
    order = np.random.default_rng(3).permutation(len(evaluated.truth))
    other = compute(
        [evaluated.predictions[i] for i in order],
        [evaluated.truth[i] for i in order],
        [evaluated.groups[i] for i in order],
        labels=evaluated.labels,
        positive=figures.get("positive"),
    )
    numbers = [[round(number, 9) for number in numbers_in(one)] for one in (figures, other)]
    assert numbers[0] == numbers[1]
    assert len(numbers[0]) > 60


# -------------------------------------------------------------------------------------------------------- missing data


def test_a_recording_without_a_prediction_counts_as_wrong_and_has_no_windows():
    predictions = [labelled("1", "a"), labelled("2", "b"), labelled("3", "b"), silent("4")]
    figures = compute(predictions, ["a", "b", "b", "b"])
    assert figures["recording"]["accuracy"]["value"] == 0.75
    assert figures["per_class"]["b"]["recall"] == pytest.approx(2 / 3)
    assert figures["per_class"]["b"]["precision"] == 1
    assert figures["window"]["accuracy"]["value"] == 1
    assert figures["confusion"] == [[1, 0, 0], [0, 2, 0], [0, 0, 0]]
    heard_only = compute(predictions[:3], ["a", "b", "b"])
    assert figures["recording"]["log_loss"] == heard_only["recording"]["log_loss"]


def test_without_any_prediction_all_are_wrong_and_windows_have_no_figures():
    figures = compute([silent("1"), silent("2")], ["a", "b"])
    assert figures["recording"]["accuracy"]["value"] == figures["recording"]["accuracy"]["ci95"][0] == 0
    assert figures["window"]["accuracy"] == figures["window"]["macro_f1"] == {"value": None, "ci95": [None, None]}
    assert figures["recording"]["log_loss"] is figures["window"]["ece"] is None
    assert figures["recording"]["ece_perfect"] == {"mean": None, "ci95": [None, None]}
    assert figures["recording"]["intervals"] == {"log_loss": [None, None], "ece": [None, None]}
    json.dumps(figures, allow_nan=False)


def test_an_unknown_true_label_counts_as_wrong_and_is_not_in_the_log_loss():
    predictions = [labelled("1", "a"), labelled("2", "b"), labelled("3", "b")]
    figures = compute(predictions, ["a", "b", "=new"])
    assert figures["recording"]["accuracy"]["value"] == pytest.approx(2 / 3)
    assert figures["window"]["accuracy"]["value"] == pytest.approx(2 / 3)
    assert figures["per_class"]["b"]["precision"] == 0.5
    assert list(figures["per_class"]) == list(LABELS)
    assert np.sum(figures["confusion"]) == 2
    assert figures["recording"]["log_loss"] == compute(predictions[:2], ["a", "b"])["recording"]["log_loss"]


def test_without_any_true_label_of_the_model_figures_are_undefined():
    figures = compute([labelled("1", "a"), labelled("2", "b")], ["x", "y"])
    assert figures["recording"]["accuracy"]["value"] == 0
    assert figures["recording"]["log_loss"] is None
    assert np.sum(figures["confusion"]) == 0


def test_a_label_that_does_not_occur_does_not_lower_the_macro_f1():
    figures = compute([labelled("1", "a"), labelled("2", "b")], ["a", "b"])
    assert figures["recording"]["macro_f1"]["value"] == 1
    undefined = {name: [None, None] for name in ("precision", "recall", "f1", "average_precision", "roc_auc")}
    assert figures["per_class"]["c"] == {
        "precision": 0, "recall": 0, "f1": 0, "support": 0, "average_precision": None, "roc_auc": None,
        "intervals": undefined,
    }  # fmt: skip


@pytest.mark.parametrize("truth", [["no", "no"], ["yes", "yes"]])
def test_with_one_class_ranking_figures_are_undefined_and_no_warning_is_raised(truth):
    labels = ("no", "yes")
    predictions = [
        scored_recording("1", np.array([[0.6, 0.4]]), labels),
        scored_recording("2", np.array([[0.3, 0.7]]), labels),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figures = compute(predictions, truth, labels=labels, positive="yes")
    assert figures["recording"]["roc_auc"] is figures["recording"]["average_precision"] is None
    assert figures["recording"]["accuracy"]["value"] == 0.5
    assert figures["recording"]["log_loss"] > 0


def test_the_ranking_figures_are_those_of_the_positive_label():
    labels = ("no", "yes")
    p = np.array([0.9, 0.8, 0.4, 0.3, 0.7])
    truth = ["yes", "yes", "no", "no", "no"]
    predictions = [scored_recording(str(i), np.array([[1 - x, x]]), labels) for i, x in enumerate(p)]
    for positive in labels:
        found = compute(predictions, truth, labels=labels, positive=positive)["recording"]
        is_positive = np.array(truth) == positive
        expected = sk.average_precision_score(is_positive, p if positive == "yes" else 1 - p)
        assert found["average_precision"] == pytest.approx(expected)
        assert found["roc_auc"] == 1


# --------------------------------------------------------------------------------------------------------- calibration


def test_the_calibration_error_of_recordings_is_that_of_their_highest_scores(evaluated):
    heard_ones = [(p, t) for p, t in zip(evaluated.predictions, evaluated.truth, strict=True) if p.has_scores]
    score = np.array([p.score for p, _ in heard_ones])
    correct = np.array([p.label == t for p, t in heard_ones])
    figures = evaluated.figures()
    assert figures["recording"]["ece"] == pytest.approx(expected_calibration_error(score, correct))


# ----------------------------------------------------------------------------------------------------------- intervals


def clustered(rng, n_groups, size, concentration):
    """Return recordings of difficult and easy groups; 70 % are correct on average."""
    predictions, groups = [], []
    for group, share in enumerate(rng.beta(0.7 * concentration, 0.3 * concentration, n_groups)):
        for right in rng.random(size) < share:
            predictions.append(labelled(f"{len(predictions)}", "a" if right else "b"))
            groups.append(f"g{group}")
    return predictions, ["a"] * len(predictions), groups


def interval(predictions, truth, groups, unit="recording", **options):
    return compute(predictions, truth, groups, **options)[unit]["accuracy"]["ci95"]


@pytest.mark.slow
@pytest.mark.slow
def test_an_interval_over_recordings_does_not_cover_the_true_accuracy_if_errors_cluster():
    rng = np.random.default_rng(0)
    covered = naive = 0
    for trial in range(60):
        predictions, truth, groups = clustered(rng, n_groups=30, size=8, concentration=1.0)
        low, high = interval(predictions, truth, groups, seed=trial)
        covered += low <= 0.7 <= high
        low, high = interval(predictions, truth, [p.recording for p in predictions], seed=trial)
        naive += low <= 0.7 <= high
    assert covered >= 54  # 57 of 60 are expected; at 95 %, fewer than 54 have a probability below 3 %
    assert naive < 48


def test_the_interval_is_wider_the_more_errors_cluster():
    widths = []
    for concentration in (0.2, 1.0, 1e6):
        rng = np.random.default_rng(1)
        low, high = interval(*clustered(rng, n_groups=40, size=10, concentration=concentration), bootstrap=1_000)
        widths.append(high - low)
    assert widths[0] > 1.2 * widths[1] > 1.2 * 1.5 * widths[2]


def test_without_clusters_the_interval_is_that_of_a_binomial_share():
    predictions, truth, groups = clustered(np.random.default_rng(2), n_groups=400, size=1, concentration=1e6)
    right = np.mean([p.label == t for p, t in zip(predictions, truth, strict=True)])
    low, high = interval(predictions, truth, groups, bootstrap=4_000)
    expected = 1.96 * math.sqrt(right * (1 - right) / 400)
    assert (right - low, high - right) == pytest.approx((expected, expected), rel=0.12)


def test_the_interval_of_recordings_does_not_depend_on_their_windows():
    few, truth, groups = clustered(np.random.default_rng(3), n_groups=12, size=3, concentration=1.0)
    many = [labelled(p.recording, p.label, n_windows=50) for p in few]
    assert interval(few, truth, groups) == interval(many, truth, groups)


def test_many_windows_of_the_same_groups_do_not_make_the_window_interval_narrower():
    few, truth, groups = clustered(np.random.default_rng(3), n_groups=12, size=3, concentration=1.0)
    many = [labelled(p.recording, p.label, n_windows=50) for p in few]
    assert interval(few, truth, groups, "window") == pytest.approx(interval(many, truth, groups, "window"))


@pytest.mark.slow
def test_intervals_have_the_spread_of_a_loop_that_draws_groups_with_pandas(evaluated):
    figures = evaluated.figures(bootstrap=4_000)
    recordings, windows = evaluated.tables()
    rng = np.random.default_rng(99)
    names = recordings["group"].unique()
    for unit, table in (("recording", recordings), ("window", windows)):
        members = {name: table[table["group"] == name] for name in names}
        found = []
        for _ in range(60):
            drawn = pd.concat([members[name] for name in rng.choice(names, len(names))])
            found.append(figures_of(drawn, evaluated.labels))
        weights = table.groupby("group").size().to_numpy(float)
        values = [*(figures[unit][name]["value"] for name in ("accuracy", "macro_f1")), figures[unit]["log_loss"]]
        ends = [intervals.share_interval, intervals.share_interval, intervals.loss_interval]
        given = [*(figures[unit][name]["ci95"] for name in ("accuracy", "macro_f1"))]
        given.append(figures[unit]["intervals"]["log_loss"])
        for value, error, of, (low, high) in zip(values, np.std(found, axis=0), ends, given, strict=True):
            assert (low, high) == pytest.approx(of(value, error, weights), abs=0.2 * (high - low))


def figures_of(table, labels):
    true, said = table["truth"], table["label"]
    f1 = sk.f1_score(true, said, labels=sorted((set(true) | set(said)) - {""}), average="macro", zero_division=0)
    scored = table[said != ""]
    p = scored[[f"p_{label}" for label in labels]].astype(float).to_numpy()
    return [(true == said).mean(), f1, sk.log_loss(scored["truth"], p, labels=list(labels))]


def test_the_seed_changes_only_the_resamples(evaluated):
    one, same, other = (evaluated.figures(seed=seed) for seed in (1, 1, 2))
    assert one == same
    assert one["recording"]["accuracy"]["ci95"] != other["recording"]["accuracy"]["ci95"]
    assert one["recording"]["accuracy"]["value"] == other["recording"]["accuracy"]["value"]


def test_a_class_of_few_groups_has_a_wider_interval_than_one_of_many():
    predictions = [labelled(f"{i}", "ab"[i % 5 == 0]) for i in range(100)]  # one in five is predicted as b
    truth = ["a" if i < 90 else "b" for i in range(100)]
    found = compute(predictions, truth)["per_class"]
    widths = {label: np.ptp(found[label]["intervals"]["recall"]) for label in "ab"}
    assert widths["b"] > 2 * widths["a"]


def test_a_long_label_and_a_single_recording_are_accepted():
    labels = ("a" * 300, "b")
    figures = compute([labelled("1", labels[0], labels)], [labels[0]], labels=labels, positive="b")
    assert figures["per_class"][labels[0]]["precision"] == 1
    assert figures["per_class"][labels[0]]["intervals"]["precision"] == [None, None]
    assert figures["recording"]["intervals"]["roc_auc"] == [None, None]
    json.dumps(figures, allow_nan=False)


def test_one_group_gives_no_interval():
    figures = compute([labelled("1", "a"), labelled("2", "b")], ["a", "a"], ["g", "g"])
    assert figures["recording"]["accuracy"] == {"value": 0.5, "ci95": [None, None]}
    assert figures["window"]["macro_f1"]["ci95"] == [None, None]


@pytest.mark.slow
@pytest.mark.slow
def test_many_labels_and_groups_take_little_memory():
    import tracemalloc

    labels = tuple(f"label {i:03d}" for i in range(150))
    p = np.full((1, 150), 0.1 / 149)
    predictions = []
    for i in range(1_500):
        windows = p.copy()
        windows[0, i % 150] = 0.9
        predictions.append(scored_recording(str(i), windows, labels))
    tracemalloc.start()
    figures = compute(predictions, [labels[i % 150] for i in range(1_500)], labels=labels, bootstrap=100)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert figures["recording"]["accuracy"]["value"] == 1
    assert peak < 60e6  # a confusion matrix per group would take 270 MB
