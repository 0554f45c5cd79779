"""The page that ``predict --html`` writes: a table of all recordings, with sounds, that works offline."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import sounds
from browser import chromium, visited
from projects import audiocnn
from soundfile import write

from audiocnn.features.analyze import RecordingStatus
from audiocnn.inference.prediction import RecordingPrediction
from audiocnn.labels import Labels
from audiocnn.model import bundle
from audiocnn.model.locate import SHIPPED
from audiocnn.report import predictions

if TYPE_CHECKING:
    from playwright.sync_api import Browser

HOSTILE = "<img src=x onerror=alert(1)>"
LABELS = Labels(("Flute", "Drum", HOSTILE))


def prediction(recording: str, label: str, score: float, seconds: float) -> RecordingPrediction:
    scores = np.full(3, (1 - score) / 2)
    scores[LABELS.index(label)] = score
    starts = np.arange(int(seconds), dtype=float)
    windows = np.tile(scores, (len(starts), 1))
    windows[len(starts) // 2 :, LABELS.index(label)] += 0.01  # the strongest window is in the middle
    status = RecordingStatus("ok", duration_s=seconds, analysed_s=seconds)
    return RecordingPrediction(recording, status, LABELS, scores, starts, starts + 1, windows)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], list[RecordingPrediction]]:
    """Twelve short recordings, one of 40 s, one whose name and label are hostile, and one that is no sound."""
    folder = tmp_path_factory.mktemp("recordings")
    files, found = [], []
    for i in range(12):
        files.append(folder / f"take {i}.wav")
        found.append(prediction(str(files[-1]), LABELS[i % 2], 0.5 + i / 30, 1))
    files += [folder / "long.wav", folder / f"{HOSTILE.replace('/', '')}.wav", folder / "text.wav"]
    found += [prediction(str(files[12]), "Flute", 0.95, 40), prediction(str(files[13]), HOSTILE, 0.9, 1)]
    unreadable = RecordingStatus("unreadable", ("not_audio",), "not a WAV file")
    found.append(
        replace(found[0], recording=str(files[14]), recording_status=unreadable, window_scores=np.zeros((0, 3)))
    )
    for file, one in zip(files[:14], found, strict=False):
        write(file, sounds.tone(300, one.recording_status.duration_s), sounds.RATE)
    return files, found


@pytest.fixture(scope="module")
def page(recordings: tuple[list[Path], list[RecordingPrediction]]) -> str:
    spec = bundle.read(SHIPPED)[0].features
    return predictions.render_predictions("a model", *recordings, spec, jobs=1)


@pytest.mark.slow
def test_the_page_has_every_recording_and_a_sound_of_each_that_can_be_read(page: str) -> None:
    assert page.count("<tr data-kind=") == 15
    assert page.count("<audio ") == 14 and "<img" not in page
    assert "<b>15\N{NO-BREAK SPACE}recordings</b>" in page and "Flute\N{NO-BREAK SPACE}7" in page.replace(
        "&nbsp;", "\xa0"
    )
    assert "16.50\xa0s to 24.50\xa0s" in page  # around the strongest window of the long one
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)


def test_it_plays_the_strongest_of_each_label_in_turn_when_there_are_many(
    recordings: tuple[list[Path], list[RecordingPrediction]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictions, "MOST_SOUNDS", 3)
    chosen = [recordings[1][i] for i in predictions._chosen(recordings[1])]
    assert {(p.label, p.score) for p in chosen} == {("Drum", 0.5 + 11 / 30), ("Flute", 0.95), (HOSTILE, 0.9)}


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    with chromium() as started:
        yield started


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), [(375, "dark"), (1280, "light")])
def test_a_person_searches_filters_and_sorts_and_axe_finds_nothing(
    browser: "Browser", page: str, tmp_path: Path, width: int, scheme: str
) -> None:
    file = tmp_path / "page.html"
    file.write_text(page, encoding="utf-8")
    with visited(browser, file, width=width, scheme=scheme) as visit:
        assert visit.violations() == [] and visit.overflow_px() <= 0
        rows = visit.page.locator("#results tbody tr:visible")
        visit.page.locator("#search").fill("take 1")
        assert rows.count() == 3 and visit.page.locator("#status").text_content() == "3 of 15 recordings"
        visit.page.locator("#kind").select_option("Drum")
        assert rows.count() == 2
        visit.page.locator("#search").fill("")
        visit.page.locator("#kind").select_option("")
        for times, first in ((1, "text"), (2, "long.wav")):
            visit.page.get_by_role("button", name="Score").click()
            assert first in (rows.first.locator("th").text_content() or ""), times
        visit.page.locator("#remark").select_option("some")
        assert rows.count() == 1
        assert visit.violations() == []


@pytest.mark.slow
def test_predict_writes_it_next_to_its_usual_output(tmp_path: Path) -> None:
    for i in range(2):
        write(tmp_path / f"{i}.wav", sounds.tone(300 + 100 * i, 2), sounds.RATE)
    done = audiocnn("predict", "0.wav", "1.wav", "--html", "page.html", "--model", SHIPPED, cwd=tmp_path)
    assert "Page: page.html" in done.stderr and done.stdout.count(".wav") == 2
    assert (tmp_path / "page.html").read_text().count("<audio ") == 2
    assert "ends in .html" in audiocnn("predict", "0.wav", "--html", "1.wav", cwd=tmp_path, code=2).stderr
    assert "--html for files" in audiocnn("predict", "--mic", "--html", "p.html", cwd=tmp_path, code=2).stderr
