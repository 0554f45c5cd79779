"""The pages as a person meets them, in a real browser: they work offline, say nothing, and can be used by everybody."""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import sounds
from browser import chromium, visited
from test_report import HISTORY, HOSTILE, prediction, with_error_maps, without_prediction
from test_sweep import ranked
from test_tune_events import made_up_result

from audiocnn.dataset.manifest import Recording
from audiocnn.draw.spectrogram import SAMPLE_RATE
from audiocnn.evaluation import metrics
from audiocnn.inference.prediction import RecordingPrediction
from audiocnn.labels import Labels
from audiocnn.report import augmentation_preview, event_tuning, sweep
from audiocnn.report.augmentation_preview import AugmentationExample, AugmentedVersion
from audiocnn.report.evaluation.content import Evaluation, ReportClip, Suspect, worst_errors
from audiocnn.report.evaluation.page import render_evaluation
from audiocnn.report.sweep import SkippedVariant

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

SCRIPT = "</script><script>window.pwned=1</script>"
LABELS = ("Cello", "Drum", "Flute", "Violin", HOSTILE, SCRIPT)
PITCH_HZ = dict(zip(LABELS, (150, 90, 800, 500, 1_200, 2_000), strict=True))
N_EACH = 10  # recordings of a label
WINDOWS = ((375, "dark"), (1280, "light"))  # width and colour scheme
PAGES = ("report", "bare report", "sweep", "examples", "rehearsal")


# What is shown


def predictions() -> tuple[list[RecordingPrediction], list[str]]:
    """60 recordings, about two thirds of them right, one silent, and what they are in truth."""
    rng = np.random.default_rng(0)
    truth = [label for label in LABELS for _ in range(N_EACH)]
    told = []
    for i, label in enumerate(truth):
        given = label if rng.random() < 0.7 else str(rng.choice(LABELS))
        score = float(rng.uniform(0.35, 0.99 if given == label else 0.8))
        told.append(prediction(f"{label}/take {i}.wav", given, LABELS, score=score, duration_s=1 + i % 5))
    told[3] = without_prediction("Cello/take 3.wav", LABELS)
    told[7] = replace(told[7], recording="a folder/" + "a very long name " * 8 + ".wav")
    return told, truth


def optional_blocks() -> dict[str, Any]:
    """The parts of ``metrics.json`` that are there only if somebody looked."""

    def about(value: float) -> dict[str, Any]:
        return {"value": value, "ci95": [value - 0.08, value + 0.07]}

    return {
        "calibration": {
            "method": "temperature", "temperature": 1.37, "fitted_on": "validation", "n_recordings": 18, "n_groups": 18,
            "uncalibrated": {"ece": 0.14, "log_loss": 1.31},
        },
        "thresholds": {
            "wanted": {"precision": 0.9},
            "labels": {
                label: {"threshold": 0.5 + i / 20, "reached": i != 2, "precision": 0.9, "recall": 0.6, "n_claimed": 7}
                for i, label in enumerate(LABELS)
            },
        },
        "conformal": {
            "coverage_wanted": 0.9, "coverage": about(0.88), "mean_size": 1.8, "n_calibration": 160,
            "sizes": {"1": 31, "2": 18, "3": 10},
        },
        "unknown": {
            "score": "largest logit", "kept_wanted": 0.98, "kept": about(0.93), "auroc": about(0.84),
            "left_out": [{"labels": ["Drum", HOSTILE], "auroc": 0.8, "rejected": 0.3, "n_unknown": 40, "n_known": 32}],
        },
        "leak_gap": {
            "window_accuracy": {"grouped": 0.575, "random": 0.776, "gap": about(0.2)},
            "n_windows": {"grouped": 900, "random": 900},
        },
        "learning_curve": {
            "points": [
                {"n_recordings": n, "n_windows": 20 * n, "accuracy": about(value)}
                for n, value in ((40, 0.5), (80, 0.58), (160, 0.66))
            ],
            "fit": {"asymptote": 0.75, "at": [{"n_recordings": 280, "accuracy": about(0.7)}]},
            "windows": {"half": about(0.63), "all": about(0.66)},
            "labels": {
                label: {"points": [[7, 0.4], [14, 0.5], [28, 0.6]], "gain_per_20": 0.06 if i % 2 else None}
                for i, label in enumerate(LABELS)
            },
            "advice": [f"20 more recordings of {HOSTILE} would help most."],
        },
        "comparison": {
            "other": f"the other {SCRIPT}", "n_recordings": 60, "only_this_right": 9, "only_other_right": 6,
            "accuracy": {"this": 0.7, "other": 0.65, "difference": about(0.05)},
            "macro_f1": {"this": 0.69, "other": 0.64, "difference": about(0.05)},
        },
    }  # fmt: skip


def sound(label: str, i: int) -> sounds.Samples:
    """A second of a label's tone in noise."""
    return sounds.tone(PITCH_HZ[label], 1, SAMPLE_RATE) + sounds.noise(1, SAMPLE_RATE, level=0.05, seed=i)


def evaluated() -> Evaluation:
    """An evaluation in which everything that can be known is known."""
    told, truth = predictions()
    groups = [f"player {i // 2} {HOSTILE}" for i in range(len(truth))]
    computed = metrics.compute_metrics(told, truth, groups, part="test", labels=Labels(LABELS), bootstrap=200, seed=0)
    right = [i for i, (p, t) in enumerate(zip(told, truth, strict=True)) if p.label == t][:3]
    report_clips = [
        ReportClip(told[i], truth[i], groups[i], sound(truth[i], i), SAMPLE_RATE, index=i)
        for i in [*worst_errors(told, truth, 8), *right]
    ]
    looked_into = [with_error_maps(e, e.prediction.label, e.truth, begin_s=i) for i, e in enumerate(report_clips[:3])]
    return Evaluation(
        name="six sounds",
        part="test",
        own_part=True,
        labels=Labels(LABELS),
        predictions=told,
        truth=truth,
        groups=groups,
        metrics={**computed, **optional_blocks()},
        history=HISTORY,
        best_epoch=2,
        monitor="loss",
        class_weights=dict.fromkeys(LABELS, 1.0),
        report_clips=[*looked_into, *report_clips[3:]],
        facts=[("model digest", "0123abcd"), ("notation", "16C3-P2-" * 20), (HOSTILE, SCRIPT)],
        suspects=[
            Suspect(f"{label}/{i}.wav", label, LABELS[i - 1], 0.02, 0.9, f"player {i}", sound(label, i), SAMPLE_RATE)
            for i, label in enumerate(LABELS)
        ],
    )  # fmt: skip


def bare() -> Evaluation:
    """An evaluation of two labels of which little is known; one recording has a label that the model lacks."""
    labels = Labels(("drone", "other"), positive="drone")
    told = [prediction(f"{i}.wav", labels[i % 2], labels, score=0.6 + i / 50) for i in range(12)]
    truth = [labels[i % 2] for i in range(11)] + ["owl"]
    groups = ["one night"] * 12
    computed = metrics.compute_metrics(told, truth, groups, part="test", labels=labels, bootstrap=200, seed=0)
    return Evaluation(
        name="drones", part="test", own_part=False, labels=labels, predictions=told, truth=truth,
        groups=groups, metrics=computed, history=[], best_epoch=None, monitor="none", class_weights={}, report_clips=[],
        facts=[],
    )  # fmt: skip


def swept() -> str:
    one = ranked(["deep", HOSTILE, "x" * 60, *(f"width {i}" for i in range(7))])
    skipped = [SkippedVariant("too deep", "999C3-*", (1, 1, 1), "nothing is left after the third pooling")]
    return sweep.render_sweep(replace(one, about=SCRIPT, skipped=skipped, facts=[("preset", HOSTILE)]))


def exemplified() -> str:
    recording = Recording("Flute/a take.wav", "Flute", "player 1")
    window = np.random.default_rng(0).standard_normal((40, 32)).astype(np.float32)
    versions = [
        AugmentedVersion("as recorded", sound("Flute", 0)),
        AugmentedVersion("5 % faster, noise at 12 dB", sound("Flute", 1)),
    ]
    other = replace(recording, path=f"{HOSTILE}.wav", label=SCRIPT)
    return augmentation_preview.render_preview(
        "six sounds", [AugmentationExample(recording, versions, [window] * 3), AugmentationExample(other, versions, [])]
    )


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return evaluated()


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    with chromium() as one:
        yield one


@pytest.fixture(scope="module")
def pages(browser: "Browser", evaluation: Evaluation, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """The file of each page, by its name."""
    folder = tmp_path_factory.mktemp("pages with <b>")
    texts = {
        "report": render_evaluation(evaluation),
        "bare report": render_evaluation(bare()),
        "sweep": swept(),
        "examples": exemplified(),
        "rehearsal": event_tuning.render_event_tuning(made_up_result(SCRIPT, HOSTILE)),
    }
    for name, text in texts.items():
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    return {name: folder / f"{name}.html" for name in texts}


# All pages


@pytest.mark.parametrize(("width", "scheme"), WINDOWS)
@pytest.mark.parametrize("name", PAGES)
def test_a_page_opens_offline_in_silence_fits_the_window_and_can_be_used_by_everybody(
    browser: "Browser", pages: Mapping[str, Path], name: str, width: int, scheme: str
) -> None:
    with visited(browser, pages[name], width=width, scheme=scheme, motion="no-preference") as visit:
        assert visit.page.locator("h1").is_visible()
        assert visit.overflow_px() == 0
        assert not (found := visit.violations()), "\n".join(found)


@pytest.mark.parametrize("name", ["report", "sweep", "examples", "rehearsal"])
def test_text_from_outside_is_shown_as_it_is_and_does_nothing(
    browser: "Browser", pages: Mapping[str, Path], name: str
) -> None:
    with visited(browser, pages[name]) as visit:
        for hostile in (HOSTILE, SCRIPT):
            assert hostile in visit.page.locator("body").inner_text()
        assert visit.page.evaluate("window.pwned") is None
        assert visit.page.locator("img[src=x]").count() == 0


PLAYED = """sound => sound.play().then(() => new Promise((heard, given_up) => {
    sound.ontimeupdate = () => sound.currentTime > 0.2 && heard(sound.currentTime);
    setTimeout(given_up, 30000);
}))"""


@pytest.mark.parametrize("name", ["report", "examples"])
def test_a_sound_of_a_page_can_be_heard(browser: "Browser", pages: Mapping[str, Path], name: str) -> None:
    with visited(browser, pages[name]) as visit:
        sound = visit.page.locator("audio").first
        assert sound.evaluate(PLAYED) > 0.2
        assert sound.evaluate("element => element.duration") == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("name", PAGES)
def test_a_printed_page_shows_its_sections_in_black_on_white(
    browser: "Browser", pages: Mapping[str, Path], name: str
) -> None:
    with visited(browser, pages[name], scheme="dark") as visit:
        visit.page.emulate_media(media="print")
        titles = visit.page.locator("main h2")
        assert titles.count() >= 2
        assert all(title.is_visible() for title in titles.all())
        colours = "element => [getComputedStyle(element).color, getComputedStyle(element).backgroundColor]"
        assert visit.page.locator("body").evaluate(colours) == ["rgb(0, 0, 0)", "rgb(255, 255, 255)"]
        assert visit.page.locator("main svg").locator("visible=true").count()
        assert not any(sound.is_visible() for sound in visit.page.locator("audio").all())
        numbers = visit.page.get_by_role("region", name="Confusion matrix").get_by_role("button").all()
        assert all(number.is_visible() for number in numbers)  # buttons elsewhere are no use on paper


def test_nothing_moves_for_those_who_asked_for_less_motion(browser: "Browser", pages: Mapping[str, Path]) -> None:
    moving = (
        "Math.max(...[...document.querySelectorAll('*')].map(e => parseFloat(getComputedStyle(e).transitionDuration)))"
    )
    with visited(browser, pages["report"]) as visit:  # which asks for less
        assert visit.page.evaluate("document.getAnimations().length") == 0
        assert visit.page.evaluate(moving) == 0
        assert visit.page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "auto"


def test_without_script_the_report_is_there_to_be_read(browser: "Browser", pages: Mapping[str, Path]) -> None:
    with visited(browser, pages["report"], script=False) as visit:
        assert "needs JavaScript, which is off" in visit.page.locator("body").inner_text()
        assert not visit.page.get_by_role("slider").is_visible()
        assert not visit.page.get_by_role("checkbox").first.is_visible()
        assert visit.page.locator("audio").first.is_visible()


def test_the_first_key_offers_to_skip_to_the_verdict(browser: "Browser", pages: Mapping[str, Path]) -> None:
    with visited(browser, pages["report"]) as visit:
        visit.page.keyboard.press("Tab")
        link = visit.page.get_by_role("link", name="Skip to the verdict")
        assert focused(link)
        assert link.evaluate("link => link.getBoundingClientRect().left >= 0")
        visit.page.keyboard.press("Enter")
        assert visit.page.url.endswith("#verdict")


# The recordings behind a number


def focused(locator: "Locator") -> bool:
    return bool(locator.evaluate("element => element === document.activeElement"))


def commonest_mistake(evaluation: Evaluation) -> tuple[str, str, list[str]]:
    """A true label, what it is most often taken for, and the recordings concerned."""
    told = list(zip(evaluation.truth, evaluation.predictions, strict=True))
    (truth, given), _ = Counter((t, p.label) for t, p in told if p.has_scores and p.label != t).most_common(1)[0]
    return truth, given, [p.recording for t, p in told if (t, p.label) == (truth, given)]


def cell(page: "Page", truth: str, given: str, n: int) -> "Locator":
    noun = "recording" if n == 1 else "recordings"
    return page.get_by_role("button", name=f"{truth} predicted as {given}: {n} {noun}", exact=True)


def test_a_click_on_a_cell_shows_its_recordings_and_plays_them(
    browser: "Browser", pages: Mapping[str, Path], evaluation: Evaluation
) -> None:
    truth, given, recordings = commonest_mistake(evaluation)
    with visited(browser, pages["report"]) as visit:
        cell(visit.page, truth, given, len(recordings)).click()
        panel = visit.page.get_by_role("dialog", name=f"{truth} predicted as {given}")
        assert sorted(panel.get_by_role("heading", level=3).all_inner_texts()) == sorted(recordings)
        panel.get_by_text("See and hear it").first.click()
        assert panel.locator("audio").evaluate(PLAYED) > 0.2
        panel.get_by_role("button", name="Close").click()
        panel.wait_for(state="hidden")
        visit.page.locator("dialog audio").wait_for(state="detached")  # so that nothing plays on


@pytest.mark.parametrize("key", ["Enter", "Space"])
def test_a_cell_opens_by_keyboard_and_escape_goes_back_to_it(
    browser: "Browser", pages: Mapping[str, Path], evaluation: Evaluation, key: str
) -> None:
    truth, given, recordings = commonest_mistake(evaluation)
    with visited(browser, pages["report"]) as visit:
        pressed = cell(visit.page, truth, given, len(recordings))
        pressed.focus()
        visit.page.keyboard.press(key)
        panel = visit.page.get_by_role("dialog")
        panel.wait_for()
        for _ in range(8):  # more than there is to stop at
            visit.page.keyboard.press("Tab")
            outside = "[...document.querySelectorAll(':focus')].some(element => !element.closest('dialog'))"
            assert not visit.page.evaluate(outside)
        visit.page.keyboard.press("Escape")
        panel.wait_for(state="hidden")
        assert focused(pressed)


def test_a_click_beside_the_panel_closes_it_and_one_on_its_edge_does_not(
    browser: "Browser", pages: Mapping[str, Path], evaluation: Evaluation
) -> None:
    truth, given, recordings = commonest_mistake(evaluation)
    with visited(browser, pages["report"], width=1280) as visit:
        cell(visit.page, truth, given, len(recordings)).click()
        panel = visit.page.get_by_role("dialog")
        box = panel.bounding_box()
        assert box is not None
        middle = box["y"] + box["height"] / 2
        visit.page.mouse.click(box["x"] + 8, middle)
        assert panel.is_visible()
        visit.page.mouse.click(box["x"] - 30, middle)
        panel.wait_for(state="hidden")


@pytest.mark.parametrize(("width", "scheme"), WINDOWS)
def test_an_open_panel_can_be_used_by_everybody_and_shows_hostile_labels_as_they_are(
    browser: "Browser", pages: Mapping[str, Path], width: int, scheme: str
) -> None:
    with visited(browser, pages["report"], width=width, scheme=scheme) as visit:
        for label in (HOSTILE, SCRIPT):
            visit.page.get_by_role("button", name=f"{label} predicted as {label}").click()
            panel = visit.page.get_by_role("dialog", name=label)
            assert label in panel.get_by_role("heading", level=2).inner_text()
            assert f"{label}/take" in panel.get_by_role("heading", level=3).first.inner_text()
            assert visit.overflow_px() == 0
            assert panel.evaluate("panel => panel.scrollWidth - panel.clientWidth") == 0
            if label == HOSTILE:
                visit.page.keyboard.press("Escape")
        assert not (found := visit.violations()), "\n".join(found)
        assert visit.page.evaluate("window.pwned") is None


# Thresholds


def outcome(evaluation: Evaluation, label: str, threshold: float) -> tuple[int, int, int, int]:
    """True and false positives, misses and true negatives of a label at a threshold."""
    which = evaluation.labels.index(label)
    says = [p.has_scores and p.scores[which] >= threshold for p in evaluation.predictions]
    counts = Counter(zip(says, (t == label for t in evaluation.truth), strict=True))
    return counts[True, True], counts[True, False], counts[False, True], counts[False, False]


def shown_outcome(page: "Page") -> tuple[int, ...]:
    """The same as the page has it."""
    cells = page.get_by_role("row", name=re.compile("^(not )?predicted")).get_by_role("cell").all_inner_texts()
    found, false, missed, rest = map(int, cells)
    return found, false, missed, rest


@pytest.mark.parametrize("label", ["Violin", HOSTILE])
def test_the_slider_changes_the_numbers_to_what_the_threshold_does(
    browser: "Browser", pages: Mapping[str, Path], evaluation: Evaluation, label: str
) -> None:
    with visited(browser, pages["report"]) as visit:
        page = visit.page
        page.get_by_label("Label", exact=True).select_option(label)
        slider = page.get_by_role("slider", name="Threshold")
        seen = set()
        for threshold in (0, 0.13, 0.5, 0.77, 1):
            slider.fill(str(threshold))
            wanted = outcome(evaluation, label, threshold)
            assert shown_outcome(page) == wanted
            status = page.get_by_role("status").filter(has_text=f"At {threshold}, the model predicts {label} for")
            assert f"{sum(wanted[:2])} recording" in status.inner_text()
            seen.add(wanted)
        assert len(seen) >= 4
        slider.fill("0.5")
        slider.press("ArrowRight")
        assert page.get_by_role("spinbutton", name="Threshold as a number").input_value() == "0.51"
        slider.press("Home")
        assert shown_outcome(page) == outcome(evaluation, label, 0)


def test_a_wanted_precision_finds_the_lowest_threshold_that_has_it(
    browser: "Browser", pages: Mapping[str, Path], evaluation: Evaluation
) -> None:
    scores = sorted(float(p.scores[1]) for p in evaluation.predictions if p.has_scores)

    def reached(threshold: float) -> bool:
        hits, false, *_ = outcome(evaluation, "Drum", threshold)
        return hits >= 0.8 * (hits + false)

    lowest = next(score for score in scores if reached(score))
    with visited(browser, pages["report"]) as visit:
        visit.page.get_by_label("Label", exact=True).select_option("Drum")
        visit.page.get_by_label("of", exact=True).fill("80")
        visit.page.keyboard.press("Enter")
        number = visit.page.get_by_role("spinbutton", name="Threshold as a number")
        found = float(number.input_value())
        assert found == pytest.approx(lowest, abs=1e-4)
        assert reached(found)  # by the scores themselves, which the page has rounded
        assert shown_outcome(visit.page) == outcome(evaluation, "Drum", found)
        visit.page.get_by_role("button", name="Use the highest score").click()
        assert number.input_value() == ""


def test_of_two_labels_the_threshold_of_the_positive_one_is_chosen(
    browser: "Browser", pages: Mapping[str, Path]
) -> None:
    with visited(browser, pages["bare report"]) as visit:
        assert visit.page.get_by_label("Label", exact=True).get_by_role("option").all_inner_texts() == ["drone"]
        assert visit.page.get_by_role("slider", name="Threshold").input_value() == "0.5"
        visit.page.get_by_role("slider", name="Threshold").fill("0.7")
        assert shown_outcome(visit.page) == outcome(bare(), "drone", 0.7)
        _, text = visit.saved(visit.page.get_by_role("button", name="Save thresholds.json"))
    assert json.loads(text)["thresholds"] == {"drone": 0.7}


def test_saved_thresholds_are_those_that_were_chosen(
    browser: "Browser", pages: Mapping[str, Path], evaluation: Evaluation
) -> None:
    chosen = {label: row["threshold"] for label, row in evaluation.metrics["thresholds"]["labels"].items()}
    with visited(browser, pages["report"]) as visit:
        for label, threshold in (("Flute", 0.42), (SCRIPT, 0.9)):
            visit.page.get_by_label("Label", exact=True).select_option(label)
            visit.page.get_by_role("slider", name="Threshold").fill(str(threshold))
            chosen[label] = threshold
        name, text = visit.saved(visit.page.get_by_role("button", name="Save thresholds.json"))
    assert name == "thresholds.json"
    saved = json.loads(text)
    assert saved["model"] == evaluation.model_digest
    assert saved["thresholds"] == pytest.approx(chosen)


# Labels that may be wrong


def test_ticks_outlast_the_page_and_are_saved_with_the_labels_as_they_are(
    browser: "Browser", pages: Mapping[str, Path], evaluation: Evaluation
) -> None:
    suspects = evaluation.suspects or ()
    with visited(browser, pages["report"]) as visit:
        ticks = visit.page.get_by_role("checkbox", name="wrong")
        assert ticks.count() == len(suspects)
        ticks.nth(1).press("Space")
        visit.page.locator(".tick").nth(4).click()
        visit.page.reload()
        assert [tick.is_checked() for tick in ticks.all()] == [i in (1, 4) for i in range(len(suspects))]
        name, text = visit.saved(visit.page.get_by_role("button", name="Save relabel.csv"))
    assert name == "relabel.csv"
    assert [
        (row["path"], row["label"], row["suggested"], row["ticked"]) for row in csv.DictReader(io.StringIO(text))
    ] == [(one.recording, one.label, one.suggested, "yes" if i in (1, 4) else "no") for i, one in enumerate(suspects)]


def test_a_suspect_can_be_seen_and_heard(browser: "Browser", pages: Mapping[str, Path]) -> None:
    with visited(browser, pages["report"], width=375) as visit:
        here = visit.page.locator("#suspects")
        for i in range(2):
            here.get_by_role("button", name="Play").nth(i).press("Enter")
            here.locator("svg").nth(i).wait_for()
        sounds = here.locator("audio")
        assert sounds.nth(1).evaluate(PLAYED) > 0.2
        assert sounds.evaluate_all("sounds => sounds.map(sound => sound.paused)") == [True, False]
        assert not (found := visit.violations()), "\n".join(found)
        assert visit.overflow_px() == 0


# The table of all recordings


def listed(page: "Page") -> list[str]:
    """The recordings of the table, in its order."""
    return page.locator("#table .toggle").all_inner_texts()


def test_every_recording_can_be_searched_filtered_and_sorted(
    browser: "Browser", pages: Mapping[str, Path], evaluation: Evaluation
) -> None:
    told = dict(zip((p.recording for p in evaluation.predictions), evaluation.predictions, strict=True))
    truth = dict(zip(told, evaluation.truth, strict=True))
    group = dict(zip(told, evaluation.groups, strict=True))

    def those(keep: Callable[[str], bool]) -> set[str]:
        return {name for name in told if keep(name)}

    with visited(browser, pages["report"]) as visit:
        page = visit.page
        worst = [told_of.recording for told_of in (evaluation.predictions[i] for i in worst_errors_of(evaluation, 12))]
        assert listed(page) == worst
        page.get_by_role("button", name="Show more").click()
        assert set(listed(page)) == set(told)
        page.get_by_label("Show", exact=True).select_option("wrong")
        page.get_by_role("button", name="Show more").click()
        assert set(listed(page)) == those(lambda name: told[name].label != truth[name])
        page.get_by_label("True or predicted").select_option("Flute")
        flutes = those(lambda name: told[name].label != truth[name] and "Flute" in (told[name].label, truth[name]))
        assert set(listed(page)) == flutes
        page.get_by_label("Lowest score").fill("0.6")
        assert set(listed(page)) == {name for name in flutes if (told[name].score or 0) >= 0.6}
        page.get_by_role("button", name="Clear").click()
        page.get_by_label("Search").fill("DRUM/TAKE 1")
        assert set(listed(page)) == those(lambda name: name.startswith("Drum/take 1"))
        page.get_by_role("button", name="Score", exact=True).click()
        scores = [told[name].score or 0 for name in listed(page)]
        assert scores == sorted(scores, reverse=True)
        assert page.get_by_role("columnheader", name="Score").get_attribute("aria-sort") == "descending"
        page.get_by_role("button", name="Clear").click()
        page.get_by_label("Group", exact=True).select_option(evaluation.groups[0])
        assert set(listed(page)) == those(lambda name: group[name] == evaluation.groups[0])
        name, text = visit.saved(page.get_by_role("button", name="Save recordings.csv"))
    rows = list(csv.DictReader(io.StringIO(text)))
    assert name == "recordings.csv"
    assert {row["recording"] for row in rows} == those(lambda name: group[name] == evaluation.groups[0])
    assert all(float(row["score"]) == pytest.approx(told[row["recording"]].score, abs=1e-4) for row in rows)
    assert all(row["truth"] == truth[row["recording"]] for row in rows)


def worst_errors_of(evaluation: Evaluation, n: int) -> list[int]:
    return worst_errors(evaluation.predictions, evaluation.truth, n)


def test_a_row_unfolds_to_its_sound_and_a_cursor_follows_it(browser: "Browser", pages: Mapping[str, Path]) -> None:
    with visited(browser, pages["report"]) as visit:
        row = visit.page.locator("#table tr.detail")
        assert row.count() == 1  # the first is open
        assert row.locator(".time").inner_text() == "1\u00a0s"
        toggle = visit.page.locator("#table .toggle").first
        toggle.press("Enter")
        row.wait_for(state="detached")
        assert toggle.get_attribute("aria-expanded") == "false"
        visit.page.locator("#table").get_by_role("button", name="Play").nth(1).click()
        sound = row.locator("audio")
        assert sound.evaluate(PLAYED) > 0.2
        plot = row.locator(".plot").first.bounding_box()
        assert plot is not None
        visit.page.mouse.click(plot["x"] + 0.8 * plot["width"], plot["y"] + plot["height"] / 2)
        sound.evaluate("sound => { sound.pause(); }")
        assert sound.evaluate("sound => sound.currentTime") == pytest.approx(0.8, abs=0.15)
        cursor = row.locator(".cursor").bounding_box()
        assert cursor is not None
        share = (cursor["x"] - plot["x"]) / plot["width"]
        assert share == pytest.approx(sound.evaluate("sound => sound.currentTime / sound.duration"), abs=0.03)
        assert not (found := visit.violations()), "\n".join(found)


# Contents, commands, paper


@pytest.mark.parametrize("width", [375, 1280])
def test_the_contents_stay_in_sight_show_where_one_is_and_lead_back_to_the_top(
    browser: "Browser", pages: Mapping[str, Path], width: int
) -> None:
    with visited(browser, pages["report"], width=width) as visit:
        contents = visit.page.get_by_role("navigation", name="Sections")
        contents.get_by_role("link", name="Reliability").click()
        here = contents.locator("[aria-current=true]")
        visit.page.wait_for_function("document.querySelector('[aria-current=true]').hash === '#reliability'")
        assert here.count() == 1
        box = contents.bounding_box()
        assert box is not None
        assert box["y"] == 0
        title = visit.page.get_by_role("heading", name="Reliability of the scores").bounding_box()
        assert title is not None
        assert title["y"] > box["height"]
        contents.get_by_role("link", name="Back to the top").click()
        visit.page.wait_for_function("scrollY === 0")


def test_a_command_can_be_copied_or_is_selected(browser: "Browser", pages: Mapping[str, Path]) -> None:
    with visited(browser, pages["report"]) as visit:
        command = visit.page.locator(".command", has_text="audiocnn predict FILE --thresholds thresholds.json")
        visit.page.evaluate("() => { navigator.clipboard.writeText = async (text) => { window.copied = text; }; }")
        command.get_by_role("button").click()
        command.get_by_text("Copied.").wait_for()
        assert visit.page.evaluate("window.copied") == "audiocnn predict FILE --thresholds thresholds.json"
        visit.page.evaluate("() => { navigator.clipboard.writeText = async () => { throw new Error('denied'); }; }")
        command.get_by_role("button").click()
        command.get_by_text("Selected: press Ctrl+C.").wait_for()
        assert visit.page.evaluate("String(getSelection())") == "audiocnn predict FILE --thresholds thresholds.json"


def test_a_report_is_printed_on_at_most_eight_pages(browser: "Browser", pages: Mapping[str, Path]) -> None:
    with visited(browser, pages["report"]) as visit:
        pdf = visit.page.pdf(format="A4")
    assert 2 <= len(re.findall(rb"/Type\s*/Page[^s]", pdf)) <= 8


# What the tests above are worth


FAULTS = {
    "a dialog": ("<script>alert(1)</script>", "dialog: 1"),
    "a word in the console": ("<script>console.info('hello')</script>", "info: hello"),
    "an error": ("<script>nothing.at.all</script>", "error: nothing is not defined"),
    "a picture from the network": ("<img alt='' src='https://example.org/a.png'>", "https://example.org/a.png"),
    "a file beside it": ("<link rel='stylesheet' href='beside.css'>", "beside.css"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_a_page_does_wrong_is_noticed(browser: "Browser", tmp_path: Path, name: str) -> None:
    markup, noticed = FAULTS[name]
    (tmp_path / "page.html").write_text(f"<!DOCTYPE html><title>a</title><h1>a</h1>{markup}")
    with pytest.raises(AssertionError), visited(browser, tmp_path / "page.html") as visit:
        pass
    assert any(noticed in one for one in (*visit.said, *visit.asked_for))


def test_what_cannot_be_used_by_everybody_is_noticed(browser: "Browser", tmp_path: Path) -> None:
    wide = "<p style='color: #999; background: #fff; width: 500px'>pale</p><input>"
    (tmp_path / "page.html").write_text(f"<!DOCTYPE html><html lang=en><title>a</title><main><h1>a</h1>{wide}</main>")
    with visited(browser, tmp_path / "page.html", width=375) as visit:
        assert {one.split()[0] for one in visit.violations()} == {"color-contrast", "label"}
        assert visit.overflow_px() > 100
