"""What commands print about figures is true of them: no better than a guess, no interval, calibration, label sets."""

from pathlib import Path
from typing import Any

import pytest
import soundfile
import sounds
from extras import require_keras
from projects import featurized
from test_metrics import LABELS, compute, labelled

from audiocnn.stages import train
from audiocnn.stages.evaluate import EvaluateResult
from audiocnn.terminal import Terminal


def printed(figures: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> str:
    """Return what ``evaluate`` prints for figures, with ordinary spaces."""
    Terminal(quiet=False, verbose=False).evaluated(EvaluateResult(figures, [], Path("run")))
    return capsys.readouterr().out.replace("\N{NO-BREAK SPACE}", " ")


def answers(n_right: int, n: int, groups: list[str] | None = None) -> dict[str, Any]:
    """Return figures of ``n`` recordings, half of label a and the others of b, of which ``n_right`` are correct."""
    truth = [LABELS[i % 2] for i in range(n)]
    predicted = [t if i < n_right else "c" for i, t in enumerate(truth)]
    return compute([labelled(f"{i}.wav", p) for i, p in enumerate(predicted)], truth, groups)


def test_an_accuracy_that_a_constant_label_may_reach_is_reported_as_such(capsys: pytest.CaptureFixture[str]) -> None:
    assert "0.400: This is no better than always predicting “a”, which gives 50 %." in printed(answers(8, 20), capsys)
    unclear = "This may be no better than always predicting “a”, which gives 50 %: the 95 % interval includes it."
    assert f"0.600: {unclear}" in printed(answers(12, 20), capsys)
    assert "always predicting" not in printed(answers(18, 20), capsys)


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
    assert "no better than always predicting “a”" in out
