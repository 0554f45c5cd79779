"""The evaluation report: its numbers are those of the metrics, it needs no network, and text from outside is text."""

import base64
import io
import itertools
import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import soundfile

from audiocnn.audio import encode
from audiocnn.draw.spectrogram import SAMPLE_RATE
from audiocnn.features.listen import Account
from audiocnn.results import metrics, report
from audiocnn.results.aggregate import Prediction
from audiocnn.results.evaluation import Evaluation, Exhibit, worst
from audiocnn.results.report import verdict

HOSTILE = "<img src=x onerror=alert(1)>"
HISTORY = [
    {"epoch": 1, "loss": 2.0, "accuracy": 0.2, "val_loss": 1.9, "val_accuracy": 0.25},
    {"epoch": 2, "loss": 1.0, "accuracy": 0.6, "val_loss": 1.2, "val_accuracy": 0.5},
    {"epoch": 3, "loss": 0.5, "accuracy": 0.8, "val_loss": 1.4, "val_accuracy": 0.45},
]


def said(
    recording: str, label: str, labels: Sequence[str], *, score: float = 0.8, duration_s: float = 2.0
) -> Prediction:
    """A prediction of ``label`` by windows of one second that all agree."""
    scores = np.full(len(labels), (1 - score) / (len(labels) - 1))
    scores[list(labels).index(label)] = score
    starts = np.arange(int(duration_s), dtype=float)
    account = Account("ok", duration_s=duration_s, analysed_s=duration_s)
    return Prediction(recording, account, tuple(labels), scores, starts, starts + 1, np.tile(scores, (len(starts), 1)))


def unheard(recording: str, labels: Sequence[str], status: str = "silent", detail: str = "peak -80 dBFS") -> Prediction:
    account = Account(status, (status,), detail)  # type: ignore[arg-type]
    return Prediction(
        recording, account, tuple(labels), np.zeros(0), np.zeros(0), np.zeros(0), np.zeros((0, len(labels)))
    )


def evaluation(
    predictions: Sequence[Prediction],
    truth: Sequence[str],
    *,
    labels: Sequence[str],
    groups: Sequence[str] | None = None,
    positive: str | None = None,
    n_exhibits: int = 2,
    sound_s: float = 0.5,
) -> Evaluation:
    groups = groups or [f"group {i}" for i in range(len(truth))]
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, round(sound_s * SAMPLE_RATE)).astype(np.float32)
    return Evaluation(
        name="a model",
        part="test",
        own_part=True,
        labels=tuple(labels),
        positive=positive,
        predictions=predictions,
        truth=truth,
        groups=groups,
        metrics=metrics.compute(
            predictions, truth, groups, part="test", labels=labels, positive=positive, bootstrap=200, seed=0
        ),
        history=HISTORY,
        best_epoch=2,
        monitor="loss",
        class_weights=dict.fromkeys(labels, 1.25),
        exhibits=[
            Exhibit(predictions[i], truth[i], groups[i], noise, SAMPLE_RATE)
            for i in worst(predictions, truth, n_exhibits)
        ],
        facts=[("model digest", "0123abcd")],
    )


def instruments() -> Evaluation:
    """40 recordings of four labels: 29 right, and of 4 flutes 3 taken for violins."""
    labels = ("Cello", "Drum", "Flute", "Violin")
    told = [("Cello", "Cello")] * 10 + [("Cello", "Drum")] * 2 + [("Drum", "Drum")] * 9 + [("Drum", "Cello")] * 3
    told += [("Flute", "Flute")] + [("Flute", "Violin")] * 3 + [("Violin", "Violin")] * 9 + [("Violin", "Cello")] * 3
    predictions = [
        said(f"{truth}/{i}.wav", label, labels, duration_s=1 + i % 5) for i, (truth, label) in enumerate(told)
    ]
    return evaluation(predictions, [truth for truth, _ in told], labels=labels)


class Page(HTMLParser):
    """What a browser would find in a page: tags with attributes, text, and the values of ``<data>``."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._style = False
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._style = tag == "style"

    def handle_data(self, data: str) -> None:
        self.text += "" if self._style else data.replace("\N{NO-BREAK SPACE}", " ")
        self._style = False

    def names(self) -> set[str]:
        return {tag for tag, _ in self.tags}

    def values(self) -> list[float]:
        return [float(attributes["value"] or "nan") for tag, attributes in self.tags if tag == "data"]

    def sounds(self) -> list[bytes]:
        sources = [attributes["src"] or "" for tag, attributes in self.tags if tag == "audio"]
        return [base64.b64decode(source.removeprefix("data:audio/ogg;base64,"), validate=True) for source in sources]


def drawings(page: str) -> list[ET.Element]:
    """Every drawing of a page, parsed as XML, which refuses what is not well-formed."""
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


def test_the_verdict_counts_what_is_right_and_names_the_label_that_is_missed_most() -> None:
    first, second = (s.replace("\N{NO-BREAK SPACE}", " ") for s in verdict.sentences(instruments()))
    assert first.startswith(
        "Of 40 test recordings that took no part in training, 29 are labelled right: 72 % (95 % int"
    )
    assert second == "“Flute” is missed most often: 3 of 4 recordings (recall 25 %), taken for “Violin”."


def test_the_numbers_of_the_page_are_those_of_the_metrics() -> None:
    one = instruments()
    figures = one.metrics
    values = Page(report.render(one)).values()
    assert values[:3] == [
        figures["recording"]["accuracy"]["value"],
        figures["recording"]["macro_f1"]["value"],
        figures["window"]["accuracy"]["value"],
    ]
    by_label = [row[key] for row in figures["per_class"].values() for key in ("recall", "precision", "f1")]
    assert values[3:] == [*by_label, figures["recording"]["ece"], figures["recording"]["log_loss"]]


def test_the_matrix_of_the_page_is_that_of_the_metrics() -> None:
    one = instruments()
    svg = "{http://www.w3.org/2000/svg}"
    matrix = drawings(report.render(one))[0]
    digits = [group.findtext(f"{svg}text") for group in matrix.iter(f"{svg}g")]
    assert [int(d) if d != "·" else 0 for d in digits if d] == [n for row in one.metrics["confusion"] for n in row]


def test_a_recording_that_was_not_heard_counts_as_wrong_and_is_listed_with_its_reason() -> None:
    labels = ("a", "b")
    predictions = [
        said("1.wav", "a", labels),
        said("2.wav", "b", labels),
        unheard("3.wav", labels, detail="peak -71 dBFS"),
    ]
    page = Page(report.render(evaluation(predictions, ["a", "b", "b"], labels=labels)))
    assert "2 are labelled right: 67 %" in page.text
    assert "1 recording could not be heard (1 silent) and counts as wrong." in page.text
    assert page.text.index("Recordings that were not heard") < page.text.index("peak -71 dBFS")
    assert "(not heard)" in page.text


def test_a_recording_whose_label_the_model_does_not_know_has_a_row_of_its_own() -> None:
    labels = ("a", "b")
    one = evaluation([said("1.wav", "a", labels), said("2.wav", "b", labels)], ["a", "oboe"], labels=labels)
    text = Page(report.render(one)).text
    assert "(other labels), predicted b: 1 of 1" in text
    assert "1 recording has a label that the model does not know." in text


def test_one_group_gives_no_interval_and_neither_does_a_perfect_score() -> None:
    labels = ("a", "b")
    predictions = [said("1.wav", "a", labels), said("2.wav", "a", labels), said("3.wav", "b", labels)]
    together = evaluation(predictions, ["a", "b", "b"], labels=labels, groups=["x"] * 3)
    assert "They are all of one group, so no interval can be given." in verdict.sentences(together)[0]
    perfect = evaluation(predictions, ["a", "a", "b"], labels=labels)
    sentences = [s.replace("\N{NO-BREAK SPACE}", " ") for s in verdict.sentences(perfect)]
    assert sentences[0].endswith("With 3 independent groups, up to 63 % of new ones could still hold a mistake.")
    assert sentences[1] == "No label is ever missed."
    for one in (together, perfect):
        assert all(not figure.interval for figure in verdict.headline(one))


def test_only_the_models_own_test_part_is_said_to_be_unheard_in_training() -> None:
    assert "took no part in training" in Page(report.render(instruments())).text
    assert "took no part in training" not in Page(report.render(replace(instruments(), own_part=False))).text


def test_the_kept_epoch_is_said() -> None:
    assert "The weights of epoch 2 were kept" in Page(report.render(instruments())).text


# Kinds of evaluations


def test_two_labels_show_the_figures_of_the_positive_one() -> None:
    labels = ("drone", "other")
    predictions = [said(f"{i}.wav", "drone" if i < 3 else "other", labels, score=0.6 + i / 50) for i in range(10)]
    one = evaluation(predictions, ["drone"] * 4 + ["other"] * 6, labels=labels, positive="drone")
    page = Page(report.render(one))
    assert one.metrics["recording"]["average_precision"] in page.values()
    assert one.metrics["recording"]["roc_auc"] in page.values()
    assert "Average precision" not in Page(report.render(instruments())).text


@pytest.mark.parametrize(
    ("monitor", "validated", "says"),
    [
        ("loss", True, "were kept, the best on the validation part."),
        ("none", True, "were kept, the last. When"),
        ("loss", False, "were kept, the last, since no part was set aside for validation."),
    ],
)
def test_the_page_says_why_an_epoch_was_kept(monitor, validated, says) -> None:
    history = [{k: v for k, v in row.items() if validated or not k.startswith("val_")} for row in HISTORY]
    assert says in Page(report.render(replace(instruments(), monitor=monitor, history=history))).text


def test_thirty_labels_make_a_page() -> None:
    labels = [f"species {i}" for i in range(30)]
    predictions = [said(f"{i}.wav", labels[(i * 7) % 30], labels) for i in range(60)]
    one = evaluation(predictions, [labels[i % 30] for i in range(60)], labels=labels)
    page = report.render(one)
    assert len(list(drawings(page)[0].iter("{http://www.w3.org/2000/svg}g"))) == 900


def test_recordings_that_are_all_silent_make_a_page() -> None:
    labels = ("a", "b", "c")
    one = evaluation([unheard(f"{i}.wav", labels) for i in range(3)], labels, labels=labels)
    text = Page(report.render(replace(one, history=[], best_epoch=None))).text
    assert "3 recordings could not be heard (3 silent)" in text
    assert "No recording was heard, so none got a label." in text
    assert "The model came without a record of its training." in text


def test_a_page_without_mistakes_says_so() -> None:
    labels = ("a", "b")
    one = evaluation([said("1.wav", "a", labels), said("2.wav", "b", labels)], labels, labels=labels)
    page = Page(report.render(one))
    assert "No recording that was heard got a wrong label." in page.text
    assert not page.sounds()


# Sounds and pictures


def test_an_exhibit_can_be_seen_and_heard() -> None:
    page = report.render(instruments())
    sounds = Page(page).sounds()
    assert len(sounds) == 2
    assert soundfile.info(io.BytesIO(sounds[0])).duration == pytest.approx(0.5, abs=0.001)
    titles = [drawing.findtext("{http://www.w3.org/2000/svg}title", "") for drawing in drawings(page)]
    assert sum(title.startswith("Spectrogram of ") for title in titles) == 2


def test_of_a_long_recording_the_first_half_minute_is_shown_and_the_page_says_so() -> None:
    labels = ("a", "b")
    predictions = [said("1.wav", "a", labels, duration_s=40), said("2.wav", "b", labels)]
    one = evaluation(predictions, ["b", "b"], labels=labels, sound_s=40)
    page = Page(report.render(one))
    assert soundfile.info(io.BytesIO(page.sounds()[0])).duration == pytest.approx(30, abs=0.001)
    assert page.text.count("Only the first 30 s are shown and played") == 1
    assert "Only the first" not in Page(report.render(instruments())).text


def test_an_exhibit_without_samples_has_no_picture_and_no_player() -> None:
    one = instruments()
    page = Page(report.render(replace(one, exhibits=[replace(one.exhibits[0], samples=np.zeros(0, np.float32))])))
    assert not page.sounds()
    assert "There is nothing to see or hear." in page.text


@pytest.mark.parametrize("n_samples", [1, 7, 479, 24_001, 24_000 * 40])
def test_a_sound_of_any_length_comes_back_as_long_as_it_was(n_samples: int) -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, n_samples).astype(np.float32)
    samples, rate = soundfile.read(io.BytesIO(encode.ogg(noise, encode.OGG_RATE)))
    assert (len(samples), rate) == (n_samples, encode.OGG_RATE)


def test_a_sound_keeps_its_pitch_at_whatever_rate_it_comes() -> None:
    for sample_rate in (SAMPLE_RATE, 44_100, encode.OGG_RATE):
        tone = 0.5 * np.sin(2 * np.pi * 1_000 * np.arange(sample_rate) / sample_rate)
        samples, rate = soundfile.read(io.BytesIO(encode.ogg(tone.astype(np.float32), sample_rate)))
        spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
        assert spectrum.argmax() * rate / len(samples) == pytest.approx(1_000, abs=2)


# What a page may not do


def hostile() -> Evaluation:
    """Labels, paths, groups, facts and messages that try to be something else than text."""
    labels = (HOSTILE, "x" * 300, "\x1b[31m\u202ered\x00")
    script = "</td></table><script>alert(2)</script>"
    predictions = [said(f"../{script}/caf\udce9\n{i}.wav", labels[i % 2], labels) for i in range(6)]
    predictions.append(unheard('"><svg onload=alert(3)>.wav', labels, "unreadable", script))
    truth = [labels[(i // 2) % 3] for i in range(6)] + ["nobody's label</title>"]
    one = evaluation(predictions, truth, labels=labels, groups=[f"{script}{i}" for i in range(7)], n_exhibits=4)
    return replace(
        one, name=script, part='"><b>test', facts=[(script, "http://example.org/x.js"), ("", "javascript:alert(4)")]
    )


def test_a_hostile_label_shows_as_itself() -> None:
    page = Page(report.render(hostile()))
    assert HOSTILE in page.text
    assert "../</td></table><script>alert(2)</script>/caf\\xe9\\x0a" in page.text


@pytest.mark.parametrize("make", [instruments, hostile])
def test_a_page_holds_no_script_and_fetches_nothing(make: type) -> None:
    html = report.render(make())
    page = Page(html)
    assert not page.names() & {"script", "img", "iframe", "object", "embed", "link", "form", "base", "b", "style "} - {
        "b"
    }
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")], tag
        for name in ("src", "href", "xlink:href", "action", "srcset", "poster"):
            assert re.match(r"#|data:(image/png|audio/ogg);base64,", attributes.get(name) or "#"), (tag, attributes)
        if "style" in attributes:
            assert re.fullmatch(r"--share: [\d.]+|box-sizing: [-\w:;. ]+", attributes["style"] or ""), tag
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)
    assert style
    assert not re.search(r"url\(|@import|https?:", style[1])


def test_a_strict_content_security_policy_comes_before_anything_that_it_governs() -> None:
    tags = Page(report.render(instruments())).tags
    position = next(i for i, (_, attributes) in enumerate(tags) if "http-equiv" in attributes)
    assert tags[position][1]["http-equiv"] == "Content-Security-Policy"
    policy = dict(part.strip().split(" ", 1) for part in (tags[position][1]["content"] or "").split(";"))
    assert policy == {
        "default-src": "'none'",
        "style-src": "'unsafe-inline'",
        "img-src": "data:",
        "media-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    assert {tag for tag, _ in tags[:position]} == {"html", "head", "meta"}


@pytest.mark.parametrize("make", [instruments, hostile])
def test_a_page_is_clean_text_and_its_drawings_are_well_formed(make: type) -> None:
    page = report.render(make())
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
    tags = Page(report.render(instruments())).tags
    levels = [int(tag[1]) for tag, _ in tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {(attributes["href"] or "").removeprefix("#") for tag, attributes in tags if tag == "a"}
    assert targets <= set(ids)
    assert all(attributes.get("scope") in ("row", "col") for tag, attributes in tags if tag == "th")
