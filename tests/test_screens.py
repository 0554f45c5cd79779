"""Screens of 80 and 120 columns, as text in `tests/screens/`: what a user sees after each command.

After a change that is meant, write them anew with ``AUDIOCNN_RENEW_SCREENS=1 pytest tests/test_screens.py`` and look at
what ``git diff`` shows.
"""

import io
import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import projects
import pytest
from rich.console import Console

from audiocnn.audit.finding import Finding
from audiocnn.cli import options
from audiocnn.evaluation import metrics
from audiocnn.features.analyze import RecordingStatus
from audiocnn.features.signal_stats import SignalStats
from audiocnn.inference.prediction import RecordingPrediction
from audiocnn.labels import Labels
from audiocnn.model import bundle, notation
from audiocnn.model.locate import SHIPPED
from audiocnn.progress import Progress
from audiocnn.report.evaluation import verdict
from audiocnn.report.evaluation.content import Evaluation
from audiocnn.specs import EventSpec
from audiocnn.stages import info, init
from audiocnn.stages.audit import AuditResult
from audiocnn.stages.crossval import CrossvalResult
from audiocnn.stages.evaluate import EvaluateResult
from audiocnn.stages.predict import PredictResult, Totals
from audiocnn.stages.train import TrainResult
from audiocnn.terminal import Terminal
from audiocnn.terminal.progress_line import ProgressLine

SCREENS = Path(__file__).parent / "screens"
WIDTHS = (80, 120)
LABELS = ("blackbird", "robin", "wren")
RUN = Path("runs/birds")


def check(name: str, draw: Callable[[Terminal], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare with the screens of this name what a function prints on terminals of both widths."""
    for width in WIDTHS:
        file, shown = SCREENS / f"{name}-{width}.txt", screen(draw, width, monkeypatch)
        if os.environ.get("AUDIOCNN_RENEW_SCREENS"):
            file.write_text(shown, encoding="utf-8")
        assert file.read_text(encoding="utf-8") == shown, f"{file}: differs; see the first lines of this test"


def screen(draw: Callable[[Terminal], None], width: int, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return what a terminal of this width shows, which folds lines that are too long."""
    written = io.BytesIO()
    out = io.TextIOWrapper(written, encoding="utf-8", write_through=True)
    terminal = Terminal(quiet=False, verbose=False)
    options: dict[str, Any] = {"file": out, "width": width, "force_terminal": True, "color_system": None}
    terminal._out = type(terminal._out)(**options, highlight=False, markup=False)
    terminal._err = Console(**options, highlight=False, markup=False, soft_wrap=True)
    with monkeypatch.context() as changed:
        changed.setattr(sys, "stdout", out)
        draw(terminal)
    out.detach()
    lines = [line.rstrip() for line in written.getvalue().decode().splitlines()]
    folded = [line[start : start + width].rstrip() for line in lines for start in range(0, max(1, len(line)), width)]
    return "\n".join(folded) + "\n"


def prediction(
    recording: str, label: str, score: float = 0.8, *, labels: Sequence[str] = LABELS, seconds: float = 4.0
) -> RecordingPrediction:
    """A prediction by windows of a second, of which every other one has another label."""
    scores = np.full(len(labels), (1 - score) / (len(labels) - 1))
    scores[list(labels).index(label)] = score
    starts = np.arange(int(seconds), dtype=float)
    windows = np.where((starts % 4 == 3)[:, None], 1 / len(labels), scores)
    status = RecordingStatus("ok", duration_s=seconds, analysed_s=seconds)
    return RecordingPrediction(recording, status, Labels(tuple(labels)), scores, starts, starts + 1, windows)


def figures(part: str, wrong: int = 4) -> tuple[dict[str, Any], Evaluation]:
    """The metrics of 24 recordings, of which some are predicted wrongly."""
    truth = [LABELS[i % 3] for i in range(24)]
    said = [LABELS[(i + 1) % 3] if i < wrong else truth[i] for i in range(24)]
    predictions = [prediction(f"{truth[i]}/{i:02d}.wav", said[i], 0.6 + i / 100) for i in range(24)]
    groups = [f"site {i // 2}" for i in range(24)]
    found = metrics.compute_metrics(predictions, truth, groups, part=part, labels=Labels(LABELS), bootstrap=100, seed=0)
    about = Evaluation(
        name="birds", part=part, own_part=True, labels=Labels(LABELS), predictions=predictions, truth=truth,
        groups=groups, metrics=found, history=[], best_epoch=3, monitor="loss", class_weights={}, report_clips=[],
        suspects=None, facts=[],
    )  # fmt: skip
    return found, about


def test_init(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    projects.tones(tmp_path / "sounds")
    monkeypatch.chdir(tmp_path)
    result = init.run(
        Path("sounds"), name=None, preset="general", group_by=None, root=None, background=None, out=Path(),
        allow_outside=False, force=False, jobs=1, progress=Progress(),
    )  # fmt: skip

    result = replace(result, forecast=replace(result.forecast, train_s=100.0, n_cores=2))

    def draw(terminal: Terminal) -> None:
        terminal.survey(result)
        terminal.next(options.command("run", result.config))

    check("init", draw, monkeypatch)


def test_audit(monkeypatch: pytest.MonkeyPatch) -> None:
    findings = [
        Finding(
            "fail", "duplicates", "2 recordings are copies of each other and have different labels.",
            "Listen to them and correct the manifest.", ["wren/03.wav = robin/11.wav"],
        ),
        Finding("warn", "groups", "The file names suggest 12 groups.", "Run 'audiocnn init --group-by ...'."),
        Finding("unchecked", "labels", "Wrong labels are not searched for: no model has scored these recordings yet."),
        Finding("pass", "files", "All recordings can be read."),
    ]  # fmt: skip
    result = AuditResult("fail", findings, 24, RUN / "audit.json", Path("manifest.csv"), None)
    check("audit", lambda terminal: terminal.audited(result), monkeypatch)


def test_train(monkeypatch: pytest.MonkeyPatch) -> None:
    network = notation.parse("8C3-P2-GAP-*", input_shape=(64, 64, 1), n_labels=3)
    history = [{"epoch": i + 1.0} for i in range(25)]
    training = {"class_weights": dict.fromkeys(LABELS, 1.0), "history": history, "best_epoch": 18}
    result = TrainResult(
        folder=RUN / "model",
        kept=False,
        network=network,
        labels=LABELS,
        counts={part: dict.fromkeys(LABELS, n) for part, n in (("train", 24), ("validation", 8), ("test", 8))},
        training=training,
        metrics={"validation": {"recording_accuracy": 0.875, "window_accuracy": 0.7912}},
        temperature=1.234,
        decision={"fitted_on": "validation", "n_recordings": 24},
    )

    def draw(terminal: Terminal) -> None:
        for done, elapsed_s, left_s, rate, note in (
            (0, 6.0, None, None, ""),
            (1_040, 48.0, 431.0, 21.7, "epoch 1/10 loss 2.363 accuracy 0.111 · validation 2.552 0.100"),
            (9_984, 461.0, 19.3, 21.6, "epoch 10/10 loss 0.263 accuracy 0.951 · validation 0.552 0.875"),
        ):
            line = ProgressLine("train", done, 10_400, "steps", elapsed_s, left_s, rate, note)
            terminal.info(line.text(terminal._err.width - 1))
        terminal.trained(result)
        terminal.next(options.command("evaluate", None))

    check("train", draw, monkeypatch)


def test_evaluate(monkeypatch: pytest.MonkeyPatch) -> None:
    found, about = figures("test")
    result = EvaluateResult(found, about.predictions, RUN, verdict.sentences(about)[0])
    check("evaluate", lambda terminal: terminal.evaluated(result), monkeypatch)


def test_crossval(monkeypatch: pytest.MonkeyPatch) -> None:
    found, about = figures("crossval")
    folds = [
        {**{name: found[name] for name in ("n_recordings", "n_groups", "recording", "window")},
         "fold": number, "best_epoch": 7 + number, "n_epochs": 25}
        for number in (1, 2, 3)
    ]  # fmt: skip
    result = CrossvalResult(
        {**found, "folds": folds}, about.predictions, RUN / "crossval.json", verdict.sentences(about)[0]
    )
    check("crossval", lambda terminal: terminal.crossvalidated(result), monkeypatch)


def test_predict_recordings_and_events(monkeypatch: pytest.MonkeyPatch) -> None:
    model = bundle.load(SHIPPED)
    folder = "/home/user/recordings/2025-05"
    names = ["garden_20250501_043000_microphone-left_gain-12dB.wav", "a.wav", "pond/frogs-and-a-train.wav", "noise.wav"]
    labels = tuple(model.labels)
    domain = model.domain
    assert domain is not None
    usual = SignalStats(domain.level_dbfs.middle, domain.noise_db.middle, domain.upper_hz.middle)
    found = [prediction(f"{folder}/{name}", labels[i % 2], 0.9 - i / 10, labels=labels) for i, name in enumerate(names)]
    found = [replace(p, signal_stats=usual, training_domain=domain) for p in found]
    found[2] = replace(found[2], signal_stats=replace(usual, level_dbfs=-75.0))
    quiet = RecordingStatus("silent", ("silent",), "peak -80 dBFS", duration_s=4.0)
    nothing = np.zeros(0)
    found[3] = RecordingPrediction(
        found[3].recording, quiet, model.labels, nothing, nothing, nothing, np.zeros((0, len(labels)))
    )
    check_of_third = found[2].domain
    assert check_of_third is not None
    result = PredictResult(
        model=model,
        files=[Path(p.recording) for p in found],
        predictions=found,
        totals=Totals(Counter(ok=3, silent=1), Counter({labels[0]: 2, labels[1]: 1}), 16.0, 12.0, 16.0, 0.1, 0, 0),
        unused=[(found[3].recording, quiet)],
        outside=[(found[2].recording, check_of_third)],
    )
    check("predict", lambda terminal: terminal.predicted(result, form="table", rows="recordings"), monkeypatch)
    spec = EventSpec(threshold=0.6)
    check(
        "predict-events",
        lambda terminal: terminal.predicted(result, form="table", rows="events", spec=spec),
        monkeypatch,
    )


def test_info(monkeypatch: pytest.MonkeyPatch) -> None:
    summary = replace(info.run(SHIPPED), folder=Path("models/instrument"))
    check("info", lambda terminal: terminal.summarized(summary, form="table"), monkeypatch)
