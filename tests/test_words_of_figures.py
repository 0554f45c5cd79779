"""What commands print about figures is true of them: no better than a guess, no interval, calibration, label sets."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import soundfile
import sounds
from extras import require_keras
from projects import featurized
from test_metrics import LABELS, compute, labelled
from test_report import evaluation

from audiocnn.report.evaluation import verdict
from audiocnn.stages import train
from audiocnn.stages.evaluate import EvaluateResult
from audiocnn.terminal import Terminal


def printed(figures: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> str:
    """Return what ``evaluate`` prints for figures, with ordinary spaces."""
    Terminal(quiet=False, verbose=False).evaluated(EvaluateResult(figures, [], Path("run"), "A verdict."))
    return capsys.readouterr().out.replace("\N{NO-BREAK SPACE}", " ")


def answers(n_right: int, n: int, groups: list[str] | None = None) -> dict[str, Any]:
    """Return figures of ``n`` recordings, half of label a and the others of b, of which ``n_right`` are correct."""
    truth = [LABELS[i % 2] for i in range(n)]
    predicted = [t if i < n_right else "c" for i, t in enumerate(truth)]
    return compute([labelled(f"{i}.wav", p) for i, p in enumerate(predicted)], truth, groups)


def test_an_accuracy_that_a_constant_label_may_reach_is_reported_as_such(capsys: pytest.CaptureFixture[str]) -> None:
    assert "0.400: This is no better than always predicting 'a', which gives 50%." in printed(answers(8, 20), capsys)
    unclear = "This may be no better than always predicting 'a', which gives 50%: the 95% interval includes it."
    assert f"0.600: {unclear}" in printed(answers(12, 20), capsys)
    assert "always predicting" not in printed(answers(18, 20), capsys)


def test_a_figure_without_an_interval_has_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    together = printed(answers(9, 12, ["x"] * 12), capsys)
    assert "- means no interval, as all recordings are of one group." in together
    assert "- to -" not in together
    assert "no interval" not in printed(answers(9, 12), capsys)
    whole = evaluation([labelled("1.wav", "a"), labelled("2.wav", "b")], ["a", "b"], labels=LABELS, groups=["x", "x"])
    assert verdict.headline(whole)[0].note.endswith("no interval, as all recordings are of one group")


def with_decisions(figures: dict[str, Any], mean_size: float, n_groups: int, **before: float) -> dict[str, Any]:
    """Add the blocks of label sets, and of calibration with the figures ``before`` it."""
    recording = {name: figures["recording"][name] for name in ("ece", "log_loss")}
    share = {"value": 1.0, "ci95": [0.8, 1.0]}
    return figures | {
        "conformal": {"coverage_wanted": 0.9, "coverage": share, "mean_size": mean_size, "sizes": {}},
        "calibration": {"n_groups": n_groups, "temperature": 2.0, "uncalibrated": recording | before},
    }


def test_label_sets_that_hold_nearly_all_labels_are_no_success(capsys: pytest.CaptureFixture[str]) -> None:
    why = "Label sets hold 3.0 of 3 labels on average and so exclude almost none: "
    one = printed(with_decisions(answers(18, 20), 3.0, 1), capsys)
    assert f"{why}the 1 group is too few to promise the true label in 90% of recordings." in one
    assert "contain the true label in 100%" not in one
    assert f"{why}the scores do not tell the labels apart." in printed(with_decisions(answers(18, 20), 3, 20), capsys)
    useful = printed(with_decisions(answers(18, 20), 1.2, 20), capsys)
    assert "Label sets contain the true label in 100% of recordings (90% was requested), with 1.2 labels" in useful


def test_scores_are_called_probabilities_only_if_the_recordings_can_tell() -> None:
    def sentence(n: int, n_right: int, **before: float) -> str:
        truth = [LABELS[i % 3] for i in range(n)]
        predicted = [t if i < n_right else LABELS[(i + 1) % 3] for i, t in enumerate(truth)]
        found = evaluation([labelled(f"{i}.wav", p) for i, p in enumerate(predicted)], truth, labels=LABELS, n_clips=0)
        found = replace(found, metrics=with_decisions(dict(found.metrics), 1.0, 20, **before))
        (one,) = (s for s in verdict.sentences(found) if "probabilities" in s)
        return one.replace("\N{NO-BREAK SPACE}", " ")

    assert "calibrated on other recordings, can be read as probabilities" in sentence(300, 240)  # scores are 0.8
    assert sentence(20, 16).startswith("There are too few recordings to tell whether its scores can be read")
    assert "are too high to be read as probabilities" in sentence(300, 150)
    worse = "calibration raised the log loss from 0.10 to"
    assert worse in sentence(20, 16, log_loss=0.1) and worse in sentence(300, 240, log_loss=0.1)
    assert "calibration raised" not in sentence(20, 16, log_loss=9.0)


@pytest.mark.slow
def test_a_training_that_learned_nothing_is_reported_as_such(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    require_keras()
    for i in range(12):  # no label has a sound of its own
        folder = tmp_path / "sounds" / ("a" if i % 3 else "b")
        folder.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / f"{i}.wav", sounds.noise(1, seed=i), sounds.RATE)
    project = featurized(tmp_path, model='"2C3-GAP-*"', test="0", validation="0.3", bootstrap="100")
    terminal = Terminal(quiet=False, verbose=False)
    terminal.trained(train.run(project, changes={"epochs": 1}, fresh=False, init_from=None, progress=terminal))
    out, err = capsys.readouterr()
    assert "In no epoch was the window accuracy on validation better than always predicting “a”" in err
    assert "no better than always predicting 'a'" in out
