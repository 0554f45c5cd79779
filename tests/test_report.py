"""The evaluation report: its numbers are those of the metrics, it needs no network, and it escapes outside text."""

import base64
import hashlib
import io
import itertools
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import sounds

from audiocnn import config
from audiocnn.audio import encode, workers
from audiocnn.audit.finding import Finding
from audiocnn.dataset.manifest import Recording
from audiocnn.draw import charts, spectrogram
from audiocnn.draw.spectrogram import SAMPLE_RATE
from audiocnn.evaluation import by_collection, metrics
from audiocnn.explain.segments import ExplainInput
from audiocnn.features import frontend
from audiocnn.features.analyze import RecordingStatus
from audiocnn.inference.prediction import RecordingPrediction
from audiocnn.labels import Labels
from audiocnn.model.decision import Decision
from audiocnn.report import page
from audiocnn.report.evaluation import clips, error_patterns, label_figures, next_steps, page_data, plots, verdict
from audiocnn.report.evaluation.content import ErrorMaps, Evaluation, ReportClip, Suspect, worst_errors
from audiocnn.report.evaluation.page import SCRIPTS, render_evaluation
from audiocnn.wording import NBSP

HOSTILE = "<img src=x onerror=alert(1)>"
HISTORY = [
    {"epoch": 1, "loss": 2.0, "accuracy": 0.2, "val_loss": 1.9, "val_accuracy": 0.25},
    {"epoch": 2, "loss": 1.0, "accuracy": 0.6, "val_loss": 1.2, "val_accuracy": 0.5},
    {"epoch": 3, "loss": 0.5, "accuracy": 0.8, "val_loss": 1.4, "val_accuracy": 0.45},
]


def prediction(
    recording: str, label: str, labels: Sequence[str], *, score: float = 0.8, duration_s: float = 2.0
) -> RecordingPrediction:
    """A prediction of ``label`` by windows of one second that all agree."""
    scores = np.full(len(labels), (1 - score) / (len(labels) - 1))
    scores[list(labels).index(label)] = score
    starts = np.arange(int(duration_s), dtype=float)
    recording_status = RecordingStatus("ok", duration_s=duration_s, analysed_s=duration_s)
    return RecordingPrediction(
        recording,
        recording_status,
        Labels(tuple(labels)),
        scores,
        starts,
        starts + 1,
        np.tile(scores, (len(starts), 1)),
    )


def without_prediction(
    recording: str, labels: Sequence[str], status: str = "silent", detail: str = "peak -80 dBFS"
) -> RecordingPrediction:
    recording_status = RecordingStatus(status, (status,), detail)  # type: ignore[arg-type]
    return RecordingPrediction(
        recording,
        recording_status,
        Labels(tuple(labels)),
        np.zeros(0),
        np.zeros(0),
        np.zeros(0),
        np.zeros((0, len(labels))),
    )


def evaluation(
    predictions: Sequence[RecordingPrediction],
    truth: Sequence[str],
    *,
    labels: Sequence[str],
    groups: Sequence[str] | None = None,
    positive: str | None = None,
    n_clips: int = 2,
    sound_s: float = 0.5,
) -> Evaluation:
    groups = groups or [f"group {i}" for i in range(len(truth))]
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, round(sound_s * SAMPLE_RATE)).astype(np.float32)
    return Evaluation(
        name="a model",
        part="test",
        own_part=True,
        labels=Labels(tuple(labels), positive),
        predictions=predictions,
        truth=truth,
        groups=groups,
        metrics=metrics.compute_metrics(
            predictions, truth, groups, part="test", labels=Labels(tuple(labels), positive), bootstrap=200, seed=0
        ),
        history=HISTORY,
        best_epoch=2,
        monitor="loss",
        class_weights=dict.fromkeys(labels, 1.25),
        report_clips=[
            ReportClip(predictions[i], truth[i], groups[i], noise, SAMPLE_RATE, index=i)
            for i in worst_errors(predictions, truth, n_clips)
        ],
        facts=[("model digest", "0123abcd")],
    )


def instruments() -> Evaluation:
    """40 recordings of four labels: 29 correct, and 3 of 4 flutes predicted as violins."""
    labels = ("Cello", "Drum", "Flute", "Violin")
    told = [("Cello", "Cello")] * 10 + [("Cello", "Drum")] * 2 + [("Drum", "Drum")] * 9 + [("Drum", "Cello")] * 3
    told += [("Flute", "Flute")] + [("Flute", "Violin")] * 3 + [("Violin", "Violin")] * 9 + [("Violin", "Cello")] * 3
    predictions = [
        prediction(f"{truth}/{i}.wav", label, labels, duration_s=1 + i % 5) for i, (truth, label) in enumerate(told)
    ]
    return evaluation(predictions, [truth for truth, _ in told], labels=labels)


def with_error_maps(clip: ReportClip, *labels: str, begin_s: float = 0.0) -> ReportClip:
    """The same with a map for each label over a second of noise."""
    spec = config.read_preset("instrument").features
    n_frames = 1 + spec.sample_rate // spec.hop_length
    rng = np.random.default_rng(0)
    stretch = ExplainInput(
        spec=spec,
        frontend=frontend.make(spec),
        label=0,
        start_s=begin_s,
        samples=rng.uniform(-0.1, 0.1, spec.sample_rate).astype(np.float32),
        bands=np.zeros((n_frames, spec.n_mels), np.float32),
        before=np.zeros((0, spec.n_mels), np.float32),
        after=np.zeros((0, spec.n_mels), np.float32),
        starts=np.arange(0, n_frames - spec.window_frames, spec.hop_frames),
        counted=np.ones(10, bool),
    )
    maps = {label: rng.uniform(-3, 3, (n_frames, spec.n_mels)).astype(np.float32) for label in labels}
    return replace(clip, error_maps=ErrorMaps(stretch, maps))


class Page(HTMLParser):
    """The content of a page: tags with attributes, text, scripts, and the values of ``<data>``."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.scripts: list[str] = []
        self._inside = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts.append(data)
        elif self._inside != "style":
            self.text += data.replace("\N{NO-BREAK SPACE}", " ")
        self._inside = ""

    def names(self) -> set[str]:
        return {tag for tag, _ in self.tags}

    def values(self) -> list[float]:
        return [float(attributes["value"] or "nan") for tag, attributes in self.tags if tag == "data"]

    def sounds(self) -> list[bytes]:
        sources = [attributes["src"] or "" for tag, attributes in self.tags if tag == "audio"]
        return [base64.b64decode(source.removeprefix("data:audio/ogg;base64,"), validate=True) for source in sources]

    def recordings(self) -> dict[str, Any]:
        """The data of the script."""
        return json.loads(self.scripts[0])

    def buttons(self) -> dict[str, tuple[int, int]]:
        """The cells of the confusion matrix by their names, as numbers of the true and the predicted label."""
        found = [attributes for tag, attributes in self.tags if tag == "button" and "data-truth" in attributes]
        return {str(a["aria-label"]): (int(a["data-truth"] or ""), int(a["data-predicted"] or "")) for a in found}


def drawings(page: str) -> list[ET.Element]:
    """Every drawing of a page, parsed as XML, which rejects malformed markup."""
    found = []
    for match in re.finditer(r"<svg xmlns", page):
        depth = 0
        for tag in re.finditer(r"<(/?)svg\b", page[match.start() :]):
            depth += -1 if tag[1] else 1
            if not depth:
                found.append(ET.fromstring(page[match.start() :][: tag.end()] + ">"))
                break
    return found


# Numbers and words


def test_the_verdict_counts_correct_labels_and_names_the_one_that_is_missed_most() -> None:
    first, second, *_ = (s.replace("\N{NO-BREAK SPACE}", " ") for s in verdict.sentences(instruments()))
    assert first.startswith(
        "Of 40 test recordings that took no part in training, 29 are labelled correctly: 72 % (95 % int"
    )
    assert second == "“Flute” is missed most often: 3 of 4 recordings (recall 25 %), predicted as “Violin”."


def test_the_numbers_of_the_page_are_those_of_the_metrics() -> None:
    one = instruments()
    figures = one.metrics
    values = Page(render_evaluation(one)).values()
    assert values[:3] == [
        figures["recording"]["accuracy"]["value"],
        figures["recording"]["macro_f1"]["value"],
        figures["window"]["accuracy"]["value"],
    ]
    keys = ("precision", "recall", "f1", "average_precision", "roc_auc")
    by_label = [row[key] for row in figures["per_class"].values() for key in keys]
    assert values[3:] == [*by_label, figures["recording"]["ece"], figures["recording"]["log_loss"]]


def test_the_matrix_of_the_page_is_that_of_the_metrics() -> None:
    one = instruments()
    buttons = Page(render_evaluation(one)).buttons()
    counts = [[0] * 4 for _ in range(4)]
    for name, (truth, predicted) in buttons.items():
        assert name.startswith(f"{one.labels[truth]} predicted as {one.labels[predicted]}: ")
        counts[truth][predicted] = int(re.search(r": (\d+) recordings?$", name)[1])  # type: ignore[index]
    assert counts == one.metrics["confusion"]
    assert "Flute predicted as Violin: 3 recordings" in buttons


def test_every_recording_is_in_the_data_with_its_scores_and_behind_one_button() -> None:
    one = instruments()
    html = Page(render_evaluation(one))
    found = html.recordings()
    columns = found["recordings"]
    assert columns["path"] == [p.recording for p in one.predictions]
    assert [found["labels"][i] for i in columns["truth"]] == list(one.truth)
    assert [found["labels"][i] for i in columns["said"]] == [p.label for p in one.predictions]
    assert [found["groups"][i] for i in columns["group"]] == list(one.groups)
    scores = np.array(columns["scores"]) / found["steps"]
    np.testing.assert_allclose(scores, [p.scores for p in one.predictions], atol=0.5e-4)
    assert set(zip(columns["truth"], columns["said"], strict=True)) == set(html.buttons().values())


def test_a_recording_without_a_prediction_counts_as_wrong_and_is_listed_with_its_reason() -> None:
    labels = ("a", "b")
    predictions = [
        prediction("1.wav", "a", labels),
        prediction("2.wav", "b", labels),
        without_prediction("3.wav", labels, detail="peak -71 dBFS"),
    ]
    page = Page(render_evaluation(evaluation(predictions, ["a", "b", "b"], labels=labels)))
    assert "2 are labelled correctly: 67 %" in page.text
    assert "1 recording has no prediction (1 silent) and counts as wrong." in page.text
    assert page.text.count("peak -71 dBFS") == 1
    assert page.buttons()["b without a prediction: 1 recording"] == (1, -1)
    assert page.recordings()["reasons"] == {"2": "peak -71 dBFS"}


def test_a_recording_whose_label_the_model_does_not_know_has_a_row_of_its_own() -> None:
    labels = ("a", "b")
    predictions = [prediction("1.wav", "a", labels), prediction("2.wav", "b", labels), prediction("3.wav", "b", labels)]
    html = Page(render_evaluation(evaluation(predictions, ["a", "oboe", "tuba"], labels=labels)))
    assert html.buttons()["(other labels) predicted as b: 2 recordings"] == (2, 1)
    assert html.recordings()["others"] == ["oboe", "tuba"]
    assert html.recordings()["recordings"]["truth"] == [0, 2, 3]
    assert "2 recordings have a label that the model does not know." in html.text


def test_one_group_gives_no_interval_and_a_perfect_score_a_wide_one() -> None:
    labels = ("a", "b")
    predictions = [prediction("1.wav", "a", labels), prediction("2.wav", "a", labels), prediction("3.wav", "b", labels)]
    together = evaluation(predictions, ["a", "b", "b"], labels=labels, groups=["x"] * 3)
    assert "All are of one group, so there is no interval." in verdict.sentences(together)[0]
    perfect = evaluation(predictions, ["a", "a", "b"], labels=labels)
    sentences = [s.replace("\N{NO-BREAK SPACE}", " ") for s in verdict.sentences(perfect)]
    assert sentences[0].endswith(
        "3 are labelled correctly: 100 % (95 % interval 12 to 100 %). With only 3 independent groups, the interval "
        "itself is rough."
    )
    assert sentences[1].startswith("This may be no better than always predicting “a”, which gives 67 %")
    assert sentences[2] == "No label is ever missed."
    assert verdict.sentences(together)[1].startswith("This is no better than always predicting “b”")
    assert all(not figure.interval for figure in verdict.headline(together))
    assert verdict.headline(perfect)[0].interval.replace("\N{NO-BREAK SPACE}", " ") == "12 to 100 %"


def test_only_the_models_own_test_part_is_reported_as_unused_in_training() -> None:
    assert "took no part in training" in Page(render_evaluation(instruments())).text
    assert "took no part in training" not in Page(render_evaluation(replace(instruments(), own_part=False))).text


def test_the_page_names_the_kept_epoch() -> None:
    assert "The weights of epoch 2 were kept" in Page(render_evaluation(instruments())).text


# Kinds of evaluations


def test_two_labels_show_the_figures_of_the_positive_one() -> None:
    labels = ("drone", "other")
    predictions = [prediction(f"{i}.wav", "drone" if i < 3 else "other", labels, score=0.6 + i / 50) for i in range(10)]
    one = evaluation(predictions, ["drone"] * 4 + ["other"] * 6, labels=labels, positive="drone")
    page = Page(render_evaluation(one))
    assert one.metrics["recording"]["average_precision"] in page.values()
    assert one.metrics["recording"]["roc_auc"] in page.values()
    chooser = [tag for tag, _ in page.tags][[a.get("id") for _, a in page.tags].index("chooser") :]
    assert chooser.count("option") == 1 + 2  # one label to have a threshold, and two goals


@pytest.mark.parametrize(
    ("monitor", "validated", "words"),
    [
        ("loss", True, "were kept, the best on the validation part."),
        ("none", True, "were kept, the last. Where"),
        ("loss", False, "were kept, the last, because there was no validation part."),
    ],
)
def test_the_page_says_why_an_epoch_was_kept(monitor, validated, words) -> None:
    history = [{k: v for k, v in row.items() if validated or not k.startswith("val_")} for row in HISTORY]
    assert words in Page(render_evaluation(replace(instruments(), monitor=monitor, history=history))).text


@pytest.mark.slow
def test_thirty_labels_make_a_page() -> None:
    labels = [f"species {i}" for i in range(30)]
    predictions = [prediction(f"{i}.wav", labels[(i * 7) % 30], labels) for i in range(60)]
    one = evaluation(predictions, [labels[i % 30] for i in range(60)], labels=labels)
    html = render_evaluation(one)
    assert html.count('<tr><th scope="row"><span class="name" title="species 0">') >= 2
    assert html.count('<figure id="curve-') == 30
    assert len(Page(html).buttons()) == len(set(zip(one.truth, (p.label for p in predictions), strict=True)))


def test_recordings_that_are_all_silent_make_a_page() -> None:
    labels = ("a", "b", "c")
    one = evaluation([without_prediction(f"{i}.wav", labels) for i in range(3)], labels, labels=labels)
    text = Page(render_evaluation(replace(one, history=[], best_epoch=None))).text
    assert "3 recordings have no prediction (3 silent)" in text
    assert "No recording has a prediction." in text
    assert "The model has no training history." in text


def test_a_page_without_mistakes_says_so() -> None:
    labels = ("a", "b")
    one = evaluation([prediction("1.wav", "a", labels), prediction("2.wav", "b", labels)], labels, labels=labels)
    page = Page(render_evaluation(one))
    assert "All predictions are correct." in page.text
    assert not page.sounds()


# Sounds and pictures


def test_a_clip_can_be_seen_and_heard() -> None:
    page = render_evaluation(instruments())
    sounds = Page(page).sounds()
    assert len(sounds) == 2
    assert soundfile.info(io.BytesIO(sounds[0])).duration == pytest.approx(0.5, abs=0.001)
    titles = [drawing.findtext("{http://www.w3.org/2000/svg}title", "") for drawing in drawings(page)]
    assert sum(title.startswith("Spectrogram of ") for title in titles) == 2


@pytest.mark.slow
def test_of_a_long_recording_the_first_half_minute_is_shown_and_the_page_says_so() -> None:
    labels = ("a", "b")
    predictions = [prediction("1.wav", "a", labels, duration_s=40), prediction("2.wav", "b", labels)]
    one = evaluation(predictions, ["b", "b"], labels=labels, sound_s=40)
    page = Page(render_evaluation(one))
    assert soundfile.info(io.BytesIO(page.sounds()[0])).duration == pytest.approx(30, abs=0.001)
    assert page.text.count("Only the first 30 s are shown and played") == 1
    assert "Only the first" not in Page(render_evaluation(instruments())).text


def test_the_page_shows_error_maps_if_there_are_any() -> None:
    one = instruments()
    first, second = one.report_clips
    assert (first.prediction.label, first.truth) == ("Drum", "Cello")
    explained = [with_error_maps(first, "Drum", "Cello"), second]
    page = Page(render_evaluation(replace(one, report_clips=explained)))
    titles = [
        drawing.findtext("{http://www.w3.org/2000/svg}title", "")
        for drawing in drawings(render_evaluation(replace(one, report_clips=explained)))
    ]
    assert [title for title in titles if title.startswith("Error map")] == [
        f"Error map for {label} in {first.prediction.recording}" for label in ("Drum", "Cello")
    ]
    assert page.text.count("For “Drum”, predicted") == page.text.count("For “Cello”, true") == 1
    assert "For the worst one the page also shows what the network used" in page.text
    assert "makes the odds of the label 7.7 times lower" in page.text  # 2 to the power of 98 % of 3
    assert len(page.sounds()) == 2


def test_a_report_without_error_maps_does_not_mention_them() -> None:
    page = render_evaluation(instruments())
    assert not re.search("network used|class=.why|[.]why", page)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("begin_s", "words"), [(0.0, "used from 0.00 to 1.00 s:"), (12.5, "used from 12.50 to 13.50 s:")]
)
def test_the_page_names_the_part_of_a_recording_that_is_explained(begin_s: float, words: str) -> None:
    labels = ("a", "b")
    one = evaluation([prediction("1.wav", "a", labels, duration_s=20)], ["b"], labels=labels, sound_s=20)
    page = Page(
        render_evaluation(replace(one, report_clips=[with_error_maps(one.report_clips[0], "a", begin_s=begin_s)]))
    )
    assert words in page.text
    assert "For “a”, predicted; blue counts for “b”" in page.text
    short = replace(one.report_clips[0], samples=one.report_clips[0].samples[: int(1.2 * SAMPLE_RATE)])
    assert "used:" in Page(render_evaluation(replace(one, report_clips=[with_error_maps(short, "a")]))).text


@pytest.mark.parametrize(("rate", "slowdown"), [(48_000, 1), (96_000, 1), (192_000, 10), (256_000, 10), (500_000, 10)])
def test_sound_above_hearing_is_played_ten_times_slower_and_the_page_states_it(rate: int, slowdown: int) -> None:
    features = config.read_preset("ultrasonic").features.model_copy(update={"sample_rate": rate})
    hz = 0.08 * rate
    call = sounds.tone(hz, 0.2, rate)
    one = evaluation([prediction("1.wav", "a", "ab", duration_s=20)], ["b"], labels="ab")
    clip = replace(one.report_clips[0], samples=call, sample_rate=rate)
    page = Page(render_evaluation(replace(one, report_clips=[clip], view=spectrogram.drawing_spec(features))))
    played, played_rate = soundfile.read(io.BytesIO(page.sounds()[0]))
    assert len(played) / played_rate == pytest.approx(0.2 * slowdown, rel=0.01)
    assert sounds.pitch_hz(played, played_rate) == pytest.approx(hz / slowdown, rel=0.01)
    stated = "Played 10 times slower, so that it can be heard: 1 s of playing is 0.1 s of the recording."
    assert (stated in page.text.replace(NBSP, " ")) == (slowdown == 10)
    assert f"Only the first {30 // slowdown} s are shown" in page.text.replace(NBSP, " ") or slowdown == 1


def test_a_clip_without_samples_has_no_picture_and_no_player() -> None:
    one = instruments()
    page = Page(
        render_evaluation(replace(one, report_clips=[replace(one.report_clips[0], samples=np.zeros(0, np.float32))]))
    )
    assert not page.sounds()
    assert "See and hear it" not in page.text


@pytest.mark.slow
@pytest.mark.parametrize("n_samples", [1, 7, 479, 24_001, 24_000 * 40])
def test_a_sound_of_any_length_comes_back_as_long_as_it_was(n_samples: int) -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, n_samples).astype(np.float32)
    samples, rate = soundfile.read(io.BytesIO(encode.ogg_bytes(noise, encode.OGG_RATE)))
    assert (len(samples), rate) == (n_samples, encode.OGG_RATE)


def test_a_sound_keeps_its_pitch_at_whatever_rate_it_comes() -> None:
    for sample_rate in (SAMPLE_RATE, 44_100, encode.OGG_RATE):
        tone = 0.5 * np.sin(2 * np.pi * 1_000 * np.arange(sample_rate) / sample_rate)
        samples, rate = soundfile.read(io.BytesIO(encode.ogg_bytes(tone.astype(np.float32), sample_rate)))
        spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
        assert spectrum.argmax() * rate / len(samples) == pytest.approx(1_000, abs=2)


# What a page may not do


def hostile() -> Evaluation:
    """Labels, paths, groups, facts and messages that try to be something else than text."""
    labels = (HOSTILE, "x" * 300, "\x1b[31m\u202ered\x00")
    script = "</td></table><script>alert(2)</script>"
    predictions = [prediction(f"../{script}/caf\udce9\n{i}.wav", labels[i % 2], labels) for i in range(6)]
    predictions.append(without_prediction('"><svg onload=alert(3)>.wav', labels, "unreadable", script))
    truth = [labels[(i // 2) % 3] for i in range(6)] + ["nobody's label</title>"]
    one = evaluation(predictions, truth, labels=labels, groups=[f"{script}{i}" for i in range(7)], n_clips=4)
    return replace(
        one, name=script, part='"><b>test', facts=[(script, "http://example.org/x.js"), ("", "javascript:alert(4)")]
    )


def test_a_hostile_label_shows_as_itself() -> None:
    page = Page(render_evaluation(hostile()))
    assert HOSTILE in page.text
    assert "../</td></table><script>alert(2)</script>/caf\\udce9\\x0a" in page.text


def explained() -> Evaluation:
    """The hostile evaluation, with error maps."""
    one = hostile()
    shown = [with_error_maps(e, *dict.fromkeys((e.prediction.label, e.truth))) for e in one.report_clips]
    return replace(one, report_clips=shown)


@pytest.mark.parametrize("make", [instruments, hostile, explained])
def test_a_page_holds_its_own_script_only_and_fetches_nothing(make: type) -> None:
    html = render_evaluation(make())
    found = Page(html)
    assert not found.names() & {"img", "iframe", "object", "embed", "link", "base", "b style "}
    assert [a for tag, a in found.tags if tag == "script"] == [{"type": "application/json", "id": "data"}, {}]
    assert found.scripts[1] == page.script(*SCRIPTS)
    for tag, attributes in found.tags:
        assert not [name for name in attributes if name.startswith("on")], tag
        for name in ("src", "href", "xlink:href", "action", "srcset", "poster"):
            assert re.match(r"#|data:(image/png|audio/ogg);base64,", attributes.get(name) or "#"), (tag, attributes)
        if "style" in attributes:
            assert re.fullmatch(r"--share: [\d.]+|box-sizing: [-\w:;. ]+", attributes["style"] or ""), tag
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)
    assert style
    assert not re.search(r"url\(|@import|https?:", style[1])


def test_what_the_script_gets_comes_back_as_it_was_whatever_it_is() -> None:
    odd = ("</script><script>alert(1)</script>", "<!-- & \u2028\u2029", "=cmd()|🎵")
    predictions = [prediction(f"{name}/\udce9.wav", name, odd) for name in odd]
    one = evaluation(predictions, [*odd[:2], "]]>"], labels=odd)
    block = page_data.json_block(one)
    assert block.isascii()
    assert not re.search("[<>&]", block)
    assert json.loads(block) == json.loads(json.dumps(page_data.report_data(one)))
    assert json.loads(block)["labels"] == list(odd)
    assert Page(render_evaluation(one)).recordings() == json.loads(block)


def test_the_script_makes_no_markup_of_text_and_runs_no_text() -> None:
    script = str(page.script(*SCRIPTS))
    assert script.startswith('"use strict";')
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacent|document\.write|eval|new Function|https?://(?!www\.w3)", script
    )
    assert not re.search("</script|<!--", script, re.IGNORECASE)


def test_a_strict_content_security_policy_comes_before_anything_that_it_governs() -> None:
    html = Page(render_evaluation(instruments()))
    tags, script = html.tags, html.scripts[-1]
    position = next(i for i, (_, attributes) in enumerate(tags) if "http-equiv" in attributes)
    assert tags[position][1]["http-equiv"] == "Content-Security-Policy"
    policy = dict(part.strip().split(" ", 1) for part in (tags[position][1]["content"] or "").split(";"))
    assert policy == {
        "default-src": "'none'",
        "script-src": f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'",
        "style-src": "'unsafe-inline'",
        "img-src": "data:",
        "media-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    assert {tag for tag, _ in tags[:position]} == {"html", "head", "meta"}


@pytest.mark.parametrize("make", [instruments, hostile, explained])
def test_a_page_is_clean_text_and_its_drawings_are_well_formed(make: type) -> None:
    page = render_evaluation(make())
    page.encode("utf-8")  # no lone surrogates
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202a-\u202e]", page)
    found = drawings(page)
    assert len(found) == page.count("<svg xmlns") >= 4
    for drawing in found:
        assert drawing.attrib["role"] == "img"
        assert drawing.findtext("{http://www.w3.org/2000/svg}title")
        assert drawing.findtext("{http://www.w3.org/2000/svg}desc")


# For everybody


def test_headings_are_in_order_links_lead_somewhere_and_header_cells_say_what_they_head() -> None:
    tags = Page(render_evaluation(instruments())).tags
    levels = [int(tag[1]) for tag, _ in tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {(attributes["href"] or "").removeprefix("#") for tag, attributes in tags if tag == "a"}
    assert targets <= set(ids)
    assert all(attributes.get("scope") in ("row", "col") for tag, attributes in tags if tag == "th")


# Optional blocks of the metrics


OPTIONAL: dict[str, Any] = {
    "calibration": {
        "method": "temperature", "temperature": 1.37, "fitted_on": "folds", "n_recordings": 18, "n_groups": 9,
        "uncalibrated": {"ece": 0.1432, "log_loss": 1.31},
    },
    "thresholds": {
        "wanted": {"precision": 0.9},
        "labels": {"Flute": {"threshold": 0.62, "reached": False, "precision": 0.91, "recall": 0.33, "n_claimed": 11}},
    },
    "conformal": {
        "coverage_wanted": 0.9, "coverage": {"value": 0.883, "ci95": [0.8, 0.94]}, "mean_size": 1.84,
        "sizes": {"1": 31, "2": 9}, "n_calibration": 160,
    },
    "unknown": {
        "score": "largest logit", "kept_wanted": 0.98, "kept": {"value": 0.93, "ci95": [None, None]},
        "left_out": [{"labels": ["Flute", "Cello"], "auroc": 0.81, "rejected": 0.3, "n_unknown": 40, "n_known": 32}],
    },
    "leak_gap": {
        "window_accuracy": {"grouped": 0.57, "random": 0.78, "gap": {"value": 0.21, "ci95": [0.1, 0.3]}},
        "n_windows": {"grouped": 900, "random": 900},
    },
    "learning_curve": {
        "points": [{"n_recordings": n, "n_windows": n, "accuracy": {"value": n / 100, "ci95": [0.1, 0.9]}}
                   for n in (20, 40)],
        "fit": {"asymptote": 0.81, "at": [{"n_recordings": 80, "accuracy": {"value": 0.6, "ci95": [None, None]}}]},
        "windows": None, "labels": {"Flute": {"points": [[5, 0.2], [9, 0.4]], "gain_per_20": 0.06}},
        "advice": ["20 more recordings of Flute would help most."],
    },
    "comparison": {
        "other": "an older one", "n_recordings": 40, "only_this_right": 9, "only_other_right": 2,
        "accuracy": {"this": 0.72, "other": 0.55, "difference": {"value": 0.175, "ci95": [0.05, 0.3]}},
        "macro_f1": {"this": 0.69, "other": 0.64, "difference": {"value": 0.05, "ci95": [-0.1, 0.2]}},
    },
}  # fmt: skip
SHOWN_WORDS = {
    "calibration": ["divided by a temperature of 1.37", "0.14"],
    "thresholds": ["for a precision of 90 %", "0.62", "the goal was not reached", "33 %"],
    "conformal": ["contain it 88 % of the time (95 % interval 80 to 94 %), with 1.84 labels on average"],
    "unknown": ["(largest logit)", "here it keeps 93 %.", "Flute, Cello"],
    "leak_gap": ["instead of 57 %; the figures here keep groups apart", "a difference of +21.0 points"],
    "learning_curve": ["towards 81 %", "1. 20 more recordings of Flute would help most.", "about 6 points"],
    "comparison": ["Its accuracy is 17.5 points higher than “an older one”", "9 are correct only with this model"],
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIONAL)
def test_a_block_of_the_metrics_is_shown_only_if_it_is_there(name: str) -> None:
    one = instruments()
    without = Page(render_evaluation(one)).text
    html = render_evaluation(replace(one, metrics={**one.metrics, name: OPTIONAL[name]}))
    text = " ".join(Page(html.replace("<ol>", "<ol>1. ")).text.split()).replace("1. 1. ", "1. ")
    for words in SHOWN_WORDS[name]:
        assert words.removeprefix("1. ") in text
        assert words.removeprefix("1. ") not in without or len(words) < 6
    assert len(drawings(html)) == html.count("<svg xmlns")


def test_a_study_of_a_model_without_a_rule_for_unknown_sounds_is_shown_all_the_same() -> None:
    one = instruments()
    study = {key: value for key, value in OPTIONAL["unknown"].items() if key in ("auroc", "left_out")}
    text = Page(render_evaluation(replace(one, metrics={**one.metrics, "unknown": study}))).text
    assert "This model has no rule for that." in text
    assert "Flute, Cello" in text


def test_missing_studies_are_named_with_the_command_that_makes_them() -> None:
    text = Page(render_evaluation(instruments())).text
    for command in ("crossval", "evaluate", "evaluate --study learning-curve", "evaluate --study leak-gap"):
        assert f"audiocnn {command}" in text


def test_a_stored_threshold_is_where_the_slider_starts() -> None:
    one = instruments()
    assert Page(render_evaluation(one)).recordings()["thresholds"] == {}
    stored = replace(one, metrics={**one.metrics, "thresholds": OPTIONAL["thresholds"]})
    assert Page(render_evaluation(stored)).recordings()["thresholds"] == {"2": 0.62}


def test_the_figures_of_a_label_have_their_intervals_and_each_label_its_curves() -> None:
    one = instruments()
    row = label_figures.label_rows(one)[2]
    assert row.label == "Flute"
    assert row.support == 4
    assert row.figures["recall"].value == one.metrics["per_class"]["Flute"]["recall"] == 0.25
    assert row.precision_recall and row.roc
    for drawing in (row.precision_recall, row.roc):
        assert ET.fromstring(drawing).findtext("{http://www.w3.org/2000/svg}desc")


def test_collections_have_a_table_and_a_sentence_and_so_have_groups_within_one_recording() -> None:
    one = instruments()
    names = ["here" if p.label == truth else "there" for p, truth in zip(one.predictions, one.truth, strict=True)]
    block = by_collection.collection_block(one.predictions, one.truth, one.groups, names, bootstrap=100, seed=0)
    figures = {**one.metrics, **block}
    read = Page(render_evaluation(replace(one, metrics=figures, caution="Groups are stretches.")))
    assert "The accuracy depends on the collection: 100 % in “here”, 0 % in “there”." in read.text
    assert "Groups are stretches." in read.text
    assert re.search(r"there\s*11\s*11\s*0 %", read.text)
    assert (
        by_collection.collection_block(one.predictions, one.truth, one.groups, ["here"] * 40, bootstrap=9, seed=0) == {}
    )


def test_the_area_under_the_drawn_steps_is_the_average_precision() -> None:
    rng = np.random.default_rng(0)
    names = ("a", "b")
    truth = [names[i] for i in rng.integers(0, 2, 60)]
    predictions = [
        prediction(f"{i}.wav", "a", names, score=float(s)) for i, s in enumerate(rng.uniform(0.01, 0.99, 60))
    ]
    one = evaluation(predictions, truth, labels=names, positive="a")
    drawing = label_figures.label_rows(one)[0].precision_recall
    path = [e.attrib["d"] for e in ET.fromstring(drawing).iter("{http://www.w3.org/2000/svg}path")][-1]
    at = np.array([[float(x) for x in point.split()] for point in path[1:].split("L")])
    recall, precision = at[:, 0] / 1000, 1 - at[:, 1] / charts.SQUARE_HEIGHT
    area = float(np.sum(np.diff(recall) * (precision[1:] + precision[:-1]) / 2))
    assert area == pytest.approx(one.metrics["per_class"]["a"]["average_precision"], abs=0.005)


# What to do next, and the head and the end of the page


def test_the_page_reports_the_faults_that_the_audit_found_with_commands_to_copy() -> None:
    found = [
        Finding("fail", "leaks", "2 copies are in train and test.", "Run 'audiocnn audit --merge-groups'."),
        Finding("pass", "level", "Levels are alike."),
        *(Finding("warn", f"topic {i}", f"Fault {i}.") for i in range(4)),
    ]
    steps = next_steps.next_steps(replace(instruments(), audit=found))
    assert [step.commands for step in steps if step.sentence.startswith("The audit reports: 2 copies")] == [
        ["audiocnn audit --merge-groups"]
    ]
    sentences = " ".join(step.sentence for step in steps)
    assert "Fault 1." in sentences and "Fault 2." not in sentences and "2 more faults" in sentences
    assert "alike" not in sentences
    html = render_evaluation(replace(instruments(), audit=found))
    assert "<code>audiocnn audit --merge-groups</code>" in html
    assert "<code>audiocnn audit</code>" not in html
    assert "<code>audiocnn audit</code>" in render_evaluation(instruments())


def test_the_head_names_where_the_page_comes_from_and_the_settings_are_yaml() -> None:
    one = replace(
        instruments(),
        origin=[("Model", "a model, trained 2026-11-30"), ("Command", "audiocnn evaluate")],
        settings={"features": {"fmax": None, "channels": ["static"]}, "train": {"note": HOSTILE}},
    )
    page = Page(render_evaluation(one))
    assert page.text.index("trained 2026-11-30") < page.text.index("labelled correctly")
    assert "features:\n  fmax: null\n  channels: [static]\n" in page.text
    assert HOSTILE in page.text
    assert render_evaluation(one) == render_evaluation(one)


def test_weights_are_listed_only_if_they_differ() -> None:
    one = instruments()
    assert "Class weights" not in Page(render_evaluation(one)).text
    weights = {label: 1.0 + i for i, label in enumerate(one.labels)}
    assert "Class weights" in Page(render_evaluation(replace(one, class_weights=weights))).text


@pytest.mark.parametrize(("rate", "highest"), [(8_000, "4 kHz"), (16_000, "8 kHz"), (44_100, "16 kHz")])
def test_the_axis_of_a_picture_ends_at_half_the_sample_rate_of_the_recording(rate: int, highest: str) -> None:
    one = instruments()
    clip = one.report_clips[0]
    status = replace(clip.prediction.recording_status, sample_rate=rate)
    clip = replace(clip, prediction=replace(clip.prediction, recording_status=status))
    (drawing,) = [
        drawing
        for drawing in drawings(render_evaluation(replace(one, report_clips=[clip])))
        if drawing.findtext("{http://www.w3.org/2000/svg}title", "").startswith("Spectrogram of ")
    ]
    ticks = [e.text for e in drawing.iter("{http://www.w3.org/2000/svg}text") if (e.text or "").endswith("kHz")]
    assert ticks[-1] == highest


# What the errors have in common


def errors(n: int, wrong: Sequence[bool], **statuses: Sequence[float]) -> Evaluation:
    """``n`` recordings of two labels in turn, of which some are wrong; durations as given."""
    names = ("a", "b", "c")
    durations = statuses.get("durations_s", [2.0] * n)
    truth = [names[i % 2] for i in range(n)]
    predictions = [
        prediction(f"{i}.wav", names[1 - i % 2] if wrong[i] else truth[i], names, duration_s=durations[i])
        for i in range(n)
    ]
    return evaluation(predictions, truth, labels=names)


def test_errors_among_short_recordings_are_reported_as_shorter() -> None:
    wrong = [i % 4 == 0 for i in range(80)]
    one = errors(80, wrong, durations_s=[1.1 if w else 4.8 for w in wrong])
    sentences = [s.replace("\N{NO-BREAK SPACE}", " ") for s in error_patterns.sentences(one)]
    assert "They are shorter: the median is 1.1 s, against 4.8 s for the correct ones." in sentences
    assert any(s.startswith("20 of the 20 (100 %) are confusions of “a” and “b”") for s in sentences)


def test_errors_that_concentrate_in_two_groups_are_reported() -> None:
    wrong = [i < 16 for i in range(80)]
    one = replace(errors(80, wrong), groups=[f"player {i // 8}" for i in range(80)])
    sentences = " ".join(error_patterns.sentences(one)).replace("\N{NO-BREAK SPACE}", " ")
    assert "8 of the 16 are in group “player 0”, which has 8 of all 80 recordings in 10 groups." in sentences


@pytest.mark.slow
def test_random_errors_have_nothing_in_common() -> None:
    found = 0
    names = ("a", "b", "c")
    for seed in range(20):
        rng = np.random.default_rng(seed)
        truth = [names[i] for i in rng.integers(0, 3, 60)]
        told = [t if rng.random() < 0.7 else names[(names.index(t) + 1 + int(rng.integers(0, 2))) % 3] for t in truth]
        predictions = [
            prediction(
                f"{i}.wav", label, names, score=float(rng.uniform(0.4, 0.9)), duration_s=float(rng.uniform(1, 9))
            )
            for i, label in enumerate(told)
        ]
        groups = [f"{i}" for i in rng.integers(0, 12, 60)]
        found += len(error_patterns.sentences(evaluation(predictions, truth, labels=names, groups=groups, n_clips=0)))
    assert found <= 3  # 20 times four tests, of which chance lets one in a hundred through
    assert error_patterns.sentences(errors(9, [i < 4 for i in range(9)])) == []  # too few to say anything


# Sizes and edge cases


def night(path: Path, duration_s: int, event_s: int, rate: int = 1_000) -> None:
    """A WAV of zeros that takes no room on the disk, with a second of a tone at this time."""
    n_bytes = 2 * duration_s * rate
    soundfile.write(path, np.zeros(0, np.int16), rate)
    header = bytearray(path.read_bytes()[:44])
    header[4:8], header[40:44] = (36 + n_bytes).to_bytes(4, "little"), n_bytes.to_bytes(4, "little")
    with open(path, "wb") as file:
        file.write(header)
        file.truncate(44 + n_bytes)
        file.seek(44 + 2 * event_s * rate)
        file.write(np.round(sounds.tone(200, 1, rate) * 2**15).astype("<i2").tobytes())


@pytest.mark.slow
def test_an_event_after_hours_of_a_recording_is_shown_and_played(tmp_path: Path) -> None:
    night(tmp_path / "night.wav", 9_000, 8_640)
    assert 4 * SAMPLE_RATE * 9_000 > 0.9 * workers.MEMORY_LIMIT_BYTES  # all samples are more than a worker may hold
    labels = ("fox", "owl")
    events = [Recording("night.wav", "owl", "g", start_s=at, end_s=at + 1) for at in (0.0, 8_640.0)]
    predictions = [prediction("night.wav", "fox", labels), prediction("night.wav", "fox", labels)]
    shown = clips.load_clips([0, 1], predictions, events, tmp_path, spectrogram.SPEC, folder=tmp_path, jobs=1)
    one = replace(evaluation(predictions, ["owl", "owl"], labels=labels, n_clips=0), report_clips=shown)
    (zeros, _), (played, rate) = (soundfile.read(io.BytesIO(sound)) for sound in Page(render_evaluation(one)).sounds())
    assert np.abs(zeros).max() < 1e-6
    assert sounds.pitch_hz(played, rate) == pytest.approx(200, abs=2)


def crowd(n: int, **kinds: Any) -> Evaluation:
    """``n`` recordings of ten labels, about two thirds of them right."""
    rng = np.random.default_rng(0)
    names = tuple(f"species {i}" for i in range(10))
    target, scores = rng.integers(0, 10, n), rng.dirichlet(np.full(10, 0.3), n)
    swap = np.where(rng.random(n) < 0.6, target, scores.argmax(axis=1))
    rows, top = np.arange(n), scores.argmax(axis=1)
    scores[rows, top], scores[rows, swap] = scores[rows, swap].copy(), scores[rows, top].copy()
    starts = np.zeros(1)
    predictions = [
        RecordingPrediction(
            f"a folder/of a long enough name/{i:06}.wav",
            RecordingStatus("ok", duration_s=3.0, analysed_s=3.0), names, row, starts, starts + 3, row[None],
        )
        for i, row in enumerate(scores)
    ]  # fmt: skip
    truth = [names[i] for i in target]
    return evaluation(predictions, truth, labels=names, groups=[f"site {i % 500}" for i in range(n)], **kinds)


@pytest.mark.slow
def test_ten_thousand_recordings_make_a_page_of_a_few_megabytes_that_names_them_all() -> None:
    html = render_evaluation(crowd(10_000))
    assert len(html.encode()) < 6_000_000
    assert len(Page(html).recordings()["recordings"]["path"]) == 10_000


@pytest.mark.slow
def test_pictures_and_sounds_beyond_the_budget_are_left_out_and_the_page_says_so() -> None:
    one = crowd(60, n_clips=12, sound_s=1)
    whole = render_evaluation(one)
    assert len(Page(whole).sounds()) == 12
    some = render_evaluation(one, media_bytes=len(whole) // 3)
    n = len(Page(some).sounds())
    assert 0 < n < 12
    assert f"Pictures and sounds of {12 - n} recordings are left out" in Page(some).text
    assert Page(some).text.count("a folder/of a long enough name/") >= 12


def test_a_recording_that_is_shown_twice_is_embedded_once() -> None:
    one = instruments()
    first = one.report_clips[0]
    again = Suspect(
        first.prediction.recording, first.truth, first.prediction.label, 0.1, 0.8, "g", first.samples, SAMPLE_RATE
    )
    html = Page(render_evaluation(replace(one, suspects=[again, replace(again, recording="other.wav")])))
    assert len(html.sounds()) == 3
    ids = {attributes.get("id") for _, attributes in html.tags}
    assert {attributes["data-media"] for _, attributes in html.tags if "data-media" in attributes} <= ids


def test_suspects_can_be_ticked_and_are_drawn_as_far_as_their_recording_reaches() -> None:
    one = instruments()
    suspect = Suspect("=x.wav", HOSTILE, "Flute", 0.02, 0.9, "g", one.report_clips[0].samples, SAMPLE_RATE, (0.5, 2.0))
    source = render_evaluation(replace(one, suspects=[replace(suspect, own_rate=8_000)]))
    assert "Spectrogram of =x.wav, 0.5 to 2 s" in source
    assert re.search(r"Spectrogram of =x\.wav, 0\.5 to 2 s.*?to 4(\.\d)? kHz", source, re.DOTALL)
    html = Page(source)
    assert [a["data-suspect"] for tag, a in html.tags if a.get("type") == "checkbox"] == ["0"]
    assert html.recordings()["suspects"] == [["=x.wav", HOSTILE, "Flute", 0.5, 2.0]]
    assert "=x.wav, 0.5 to 2 s" in html.text
    assert "No label is suspected" in Page(render_evaluation(replace(one, suspects=[]))).text


def test_a_label_of_300_letters_and_a_single_label_make_pages() -> None:
    names = ("x" * 300, "b")
    long = evaluation([prediction("1.wav", "b", names), prediction("2.wav", "b", names)], names, labels=names)
    assert f"{'x' * 300} predicted as b: 1 recording" in Page(render_evaluation(long)).buttons()
    assert all(len(sentence) < 300 for sentence in [*verdict.sentences(long), *verdict.advice(long)])
    alone = evaluation([prediction(f"{i}.wav", "b", ("a", "b")) for i in range(3)], ["b"] * 3, labels=("a", "b"))
    text = Page(render_evaluation(alone)).text
    assert text.count("so there is no curve.") == 2
    assert "Nothing to compare it with, so there is no curve." in text


@pytest.mark.slow
def test_of_very_many_labels_the_matrix_shows_those_with_mistakes() -> None:
    names = tuple(f"species {i}" for i in range(120))
    predictions = [prediction(f"{i}.wav", names[i], names) for i in range(119)] + [prediction("x.wav", names[3], names)]
    one = evaluation(predictions, [*names[:119], names[119]], labels=names)
    found = plots.confusion_matrix(one)
    assert found.n_left_out == 120 - plots.MOST_LABELS
    assert {"species 3", "species 119"} <= set(found.columns)
    assert "Only the 50 of 120 labels with the most errors are shown." in Page(render_evaluation(one)).text


def test_a_recording_that_is_unknown_is_listed_with_the_reason() -> None:
    names = ("a", "b", "c")
    rule = Decision(
        fitted_on="validation", n_recordings=9, n_groups=9, coverage=0.9, set_floor=0.2, unknown=0,
        thresholds={"b": 0.9},
    )  # fmt: skip
    told = [replace(prediction(f"{i}.wav", label, names), decision=rule) for i, label in enumerate("abc")]
    html = Page(render_evaluation(evaluation(told, ["a", "a", "c"], labels=names)))
    assert html.recordings()["reasons"] == {"1": "unknown: the score is below the threshold of the label"}
    assert html.text.count("unknown: the score is below the threshold") == 1


def test_the_advice_names_missed_labels_or_that_nothing_stands_out() -> None:
    sentences = " ".join(verdict.advice(instruments())).replace("\N{NO-BREAK SPACE}", " ")
    assert "Record more “Flute”" in sentences
    names = ("a", "b")
    told = [prediction(f"{i}.wav", names[i % 2], names, score=0.99) for i in range(200)]
    perfect = evaluation(told, [names[i % 2] for i in range(200)], labels=names)
    assert verdict.advice(perfect)[-1].startswith("Nothing stands out.")
    nothing = evaluation([without_prediction("1.wav", names)], ["a"], labels=names)
    assert verdict.advice(nothing) == []
