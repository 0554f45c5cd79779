"""Error maps: what the network used in its worst errors, for exactly the windows that it got wrong."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import sounds

from audiocnn import config
from audiocnn.config import Project
from audiocnn.dataset import manifest
from audiocnn.dataset.manifest import Recording
from audiocnn.draw.spectrogram import SAMPLE_RATE
from audiocnn.explain import log_odds, occlusion
from audiocnn.features import extract
from audiocnn.features.analyze import analyze
from audiocnn.features.extract import Array
from audiocnn.inference.prediction import RecordingPrediction
from audiocnn.inference.scoring import predict_frames
from audiocnn.model import bundle
from audiocnn.model.bundle import Bundle
from audiocnn.model.locate import SHIPPED
from audiocnn.progress import Progress
from audiocnn.report.evaluation import error_maps
from audiocnn.report.evaluation.content import ReportClip
from audiocnn.specs import Experiment
from audiocnn.stages import evaluate

RATE = 32_000
LONG_S, LOUD_S = 14.0, (9.0, 10.5)


@pytest.fixture(scope="module")
def model() -> Bundle:
    return bundle.load(SHIPPED)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Soft noise with some seconds of harmonics, and recordings shorter than a second."""
    folder = tmp_path_factory.mktemp("reasons")
    long = sounds.noise(LONG_S, RATE, level=0.01)
    first, last = (round(s * RATE) for s in LOUD_S)
    long[first:last] += harmonics(LOUD_S[1] - LOUD_S[0])
    soundfile.write(folder / "long.wav", long, RATE)
    soundfile.write(folder / "short.wav", harmonics(0.4), RATE)
    soundfile.write(folder / "second.wav", harmonics(1.7), RATE)
    return folder


def harmonics(seconds: float) -> sounds.Samples:
    return np.sum([sounds.tone(k * 440, seconds, RATE, amplitude=0.4 / k) for k in range(1, 6)], axis=0)  # type: ignore[no-any-return]


def predict(model: Bundle, file: Path) -> tuple[RecordingPrediction, Array]:
    """The prediction, and the frames of the whole recording."""
    kept: list[Array] = []
    recording_status = analyze(file, spec=model.spec, frontend=model.frontend, keep=kept.append)
    frames = np.concatenate(kept)
    return predict_frames(model, file.name, recording_status, frames), frames


def clip(prediction: RecordingPrediction, truth: str, index: int = 0, **changes: Any) -> ReportClip:
    return replace(
        ReportClip(prediction, truth, "g", np.zeros(SAMPLE_RATE, np.float32), SAMPLE_RATE, None, index), **changes
    )


def add(model: Bundle, folder: Path, report_clips: Sequence[ReportClip], most: int = 10) -> list[ReportClip]:
    recordings = [Recording(e.prediction.recording, e.truth, e.group) for e in report_clips]
    return error_maps.add_error_maps(report_clips, recordings, model, folder, most=most, jobs=1, progress=Progress())


def other(model: Bundle, prediction: RecordingPrediction) -> str:
    return next(label for label in model.labels if label != prediction.label)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["long.wav", "short.wav", "second.wav"])
def test_the_network_scores_the_windows_of_the_prediction(model: Bundle, folder: Path, name: str) -> None:
    prediction, frames = predict(model, folder / name)
    found = add(model, folder, [clip(prediction, other(model, prediction))])[0].error_maps
    assert found is not None
    stretch, spec = found.stretch, model.spec
    first = round(stretch.start_s * spec.sample_rate / spec.hop_length)
    expected = extract.cut_windows(frames, stretch.starts + first, spec)
    assert stretch.windows() == pytest.approx(expected, abs=1e-3)  # in dB
    assert len(stretch.samples) == pytest.approx((stretch.n_frames - 1) * spec.hop_length, abs=spec.hop_length)
    assert {values.shape for values in found.maps.values()} == {(stretch.n_frames, spec.n_mels)}


@pytest.mark.slow
def test_of_a_long_recording_some_seconds_around_the_surest_are_explained(model: Bundle, folder: Path) -> None:
    prediction, _ = predict(model, folder / "long.wav")
    number = prediction.labels.index(prediction.label)
    surest = np.argmax(np.where(prediction.loud, prediction.window_scores[:, number], -1))
    assert LOUD_S[0] - 1 < prediction.starts_s[surest] < LOUD_S[1]  # the noise is too soft to count
    found = add(model, folder, [clip(prediction, other(model, prediction))])[0].error_maps
    assert found is not None
    assert found.stretch.start_s < prediction.starts_s[surest] < found.stretch.end_s - model.spec.window_s / 2
    assert 4 < found.stretch.duration_s <= error_maps.LONGEST_S
    values = found.maps[prediction.label]
    frame_s = model.spec.hop_length / model.spec.sample_rate
    strongest_s = found.stretch.start_s + float(np.abs(values).max(axis=1).argmax()) * frame_s
    assert LOUD_S[0] - 0.2 < strongest_s < LOUD_S[1] + 0.2


@pytest.mark.slow
def test_both_labels_are_explained_as_if_each_had_been_asked_for_alone(model: Bundle, folder: Path) -> None:
    prediction, _ = predict(model, folder / "second.wav")
    truth = other(model, prediction)
    found = add(model, folder, [clip(prediction, truth)])[0].error_maps
    assert found is not None
    assert list(found.maps) == [prediction.label, truth]
    level, _ = occlusion.neutral(model, found.stretch, "mean")
    for label, values in found.maps.items():
        alone = occlusion.importance(found.stretch, log_odds.scorer(model, model.labels.index(label)), level)
        assert values == pytest.approx(alone, abs=1e-5)
        assert np.abs(values).max() > 0.01


def test_a_true_label_that_the_model_does_not_know_has_no_map(model: Bundle, folder: Path) -> None:
    prediction, _ = predict(model, folder / "short.wav")
    found = add(model, folder, [clip(prediction, "owl")])[0].error_maps
    assert found is not None
    assert list(found.maps) == [prediction.label]


def test_of_two_labels_one_map_tells_all(model: Bundle, folder: Path) -> None:
    prediction, _ = predict(model, folder / "short.wav")
    truth = other(model, prediction)
    two = replace(model, info=model.info.model_copy(update={"labels": (prediction.label, truth)}))
    found = add(two, folder, [clip(prediction, truth)])[0].error_maps
    assert found is not None
    assert list(found.maps) == [prediction.label]


@pytest.mark.slow
def test_only_the_worst_of_the_wrong_ones_that_can_still_be_read_are_explained(model: Bundle, folder: Path) -> None:
    prediction, _ = predict(model, folder / "short.wav")
    wrong, truth = other(model, prediction), prediction.label
    gone = replace(prediction, recording="gone.wav")
    several = replace(prediction, recording_status=replace(prediction.recording_status, n_channels=2))
    report_clips = [
        clip(one, label, i)
        for i, (one, label) in enumerate(
            [(prediction, wrong), (gone, wrong), (prediction, truth), (several, wrong), (prediction, wrong)]
        )
    ]
    assert [e.error_maps is not None for e in add(model, folder, report_clips)] == [True, False, False, True, True]
    worst_two = add(model, folder, report_clips, most=2)
    assert [e.error_maps is not None for e in worst_two] == [True, False, False, False, False]
    assert add(model, folder, report_clips, most=0) == report_clips
    tracks = replace(
        model, info=model.info.model_copy(update={"features": model.spec.model_copy(update={"channel": "each"})})
    )
    assert [e.error_maps is not None for e in add(tracks, folder, report_clips)] == [True, False, False, False, True]


@pytest.mark.slow
@pytest.mark.parametrize("explain", [0, 1])
def test_the_report_of_an_evaluation_explains_as_many_errors_as_are_wanted(
    model: Bundle, folder: Path, tmp_path: Path, explain: int
) -> None:
    wrong = [other(model, predict(model, folder / name)[0]) for name in ("short.wav", "second.wav")]
    rows = [Recording("short.wav", wrong[0], "a"), Recording("second.wav", wrong[1], "b")]
    manifest.write(folder / "wrong.csv", rows)
    preset = config.read_preset("general")
    settings = preset.evaluate.model_copy(update={"explain": explain, "bootstrap": 100})
    data = {"manifest": "none.csv", "root": "."}
    changes = {"name": "x", "data": data, "evaluate": settings.model_dump()}
    project = Project(tmp_path / "audiocnn.yaml", Experiment.model_validate({**preset.model_dump(), **changes}))
    done = evaluate.run(
        project, model=SHIPPED, part="test", other=folder / "wrong.csv", output=None, jobs=1, progress=Progress()
    )
    page = (done.folder / "report.html").read_text(encoding="utf-8")
    assert page.count('<div class="why">') == explain
    assert page.count("Error map for ") == 2 * explain


def test_of_a_large_network_fewer_windows_are_asked_about(
    model: Bundle, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prediction, _ = predict(model, folder / "long.wav")
    monkeypatch.setattr(error_maps, "_MOST_MULTIPLY_ADDS", 1)
    found = add(model, folder, [clip(prediction, other(model, prediction))])[0].error_maps
    assert found is not None
    assert len(found.stretch.starts) == 1
    assert found.stretch.counted.all()
