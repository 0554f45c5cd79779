"""The columns and the JSON that other programs rely on, and hostile text on its way into them."""

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from audiocnn.features.listen import Account
from audiocnn.model.decision import Decision
from audiocnn.results import formats
from audiocnn.results.aggregate import Prediction, recording_scores
from audiocnn.text import encode_path, printable

LABELS = ("cello", "flute")
MODEL = {"name": "instrument", "digest": "0" * 64}


def heard(recording, window_scores, *, labels=LABELS, codes=(), detail=""):
    windows = np.asarray(window_scores, float)
    starts = np.arange(len(windows)) * 0.1
    account = Account("ok", codes, detail, duration_s=0.1 * len(windows) + 0.05, analysed_s=0.1 * len(windows))
    return Prediction(recording, account, labels, recording_scores(np.log(windows)), starts, starts + 0.1, windows)


def unheard(recording, status, code, detail="", *, labels=LABELS):
    nothing = np.zeros(0)
    account = Account(status, (code,), detail, duration_s=2.0 if status == "silent" else 0.0)
    return Prediction(recording, account, labels, nothing, nothing, nothing, np.zeros((0, len(labels))))


PREDICTIONS = [
    heard("b.wav", [[0.9, 0.1], [0.6, 0.4], [1 / 3, 2 / 3]], codes=("short", "length_differs"), detail="a bit short"),
    unheard("a.wav", "silent", "silent", "never above -60 dBFS"),
    unheard("c.wav", "unreadable", "not_audio", "is not audio"),
    heard("d.wav", [[0.2, 0.8]]),
]


def rows(text):
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_the_columns_of_recordings_are_the_promised_ones():
    assert formats.recordings_csv(PREDICTIONS, LABELS).splitlines()[0] == (
        "recording,status,label,score,duration_s,analysed_s,reason,p_cello,p_flute"
    )


def test_the_columns_of_windows_are_the_promised_ones():
    assert formats.windows_csv(PREDICTIONS, LABELS).splitlines()[0] == (
        "recording,start_s,end_s,label,score,p_cello,p_flute"
    )


def test_the_columns_of_an_evaluation_come_last():
    extra = {"truth": ["cello"] * 4, "group": ["g"] * 4, "part": ["test"] * 4}
    assert formats.recordings_csv(PREDICTIONS, LABELS, extra).splitlines()[0].endswith(",p_flute,truth,group,part")


def test_every_recording_is_one_row_in_the_order_given():
    found = rows(formats.recordings_csv(PREDICTIONS, LABELS))
    assert [(r["recording"], r["status"], r["label"], r["reason"]) for r in found] == [
        ("b.wav", "ok", "cello", "short;length_differs"),
        ("a.wav", "silent", "", "silent"),
        ("c.wav", "unreadable", "", "not_audio"),
        ("d.wav", "ok", "flute", ""),
    ]


def test_what_was_not_heard_has_no_scores_at_all():
    for row in rows(formats.recordings_csv(PREDICTIONS, LABELS))[1:3]:
        assert [row[name] for name in ("label", "score", "p_cello", "p_flute")] == [""] * 4


def test_scores_survive_the_way_through_the_file():
    found = pd.read_csv(io.StringIO(formats.recordings_csv(PREDICTIONS, LABELS)))
    for i in (0, 3):
        np.testing.assert_allclose(found.loc[i, ["p_cello", "p_flute"]].astype(float), PREDICTIONS[i].scores, rtol=1e-8)
        assert found.loc[i, "score"] == pytest.approx(PREDICTIONS[i].score, rel=1e-8)
    assert found["duration_s"].tolist() == pytest.approx([0.35, 2.0, 0.0, 0.15])
    assert found["analysed_s"].tolist() == pytest.approx([0.3, 0.0, 0.0, 0.1])


def test_windows_are_rows_of_their_recording_and_only_of_what_was_heard():
    found = pd.read_csv(io.StringIO(formats.windows_csv(PREDICTIONS, LABELS)))
    assert found["recording"].tolist() == ["b.wav"] * 3 + ["d.wav"]
    assert found["label"].tolist() == ["cello", "cello", "flute", "flute"]
    np.testing.assert_allclose(found["score"], [0.9, 0.6, 2 / 3, 0.8], rtol=1e-8)
    np.testing.assert_allclose(found["p_cello"], [0.9, 0.6, 1 / 3, 0.2], rtol=1e-8)
    np.testing.assert_allclose(found["end_s"] - found["start_s"], 0.1)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (10.0, "10"), (100.0, "100"), (0.1, "0.1"), (1 / 3, "0.333333"), (3600.0000004, "3600"), (1e-7, "0")],
)
def test_seconds_are_written_to_the_microsecond_without_idle_zeros(value, text):
    assert formats.seconds(value) == text


def test_a_score_has_digits_enough_to_recompute_figures_from():
    for value in np.random.default_rng(0).uniform(0, 1, 200) ** 20:
        assert float(formats.number(value)) == pytest.approx(value, rel=1e-8)
    assert formats.number(None) == ""


def test_without_recordings_there_are_columns_all_the_same():
    assert formats.recordings_csv([], LABELS).count("\n") == 1
    assert formats.windows_csv([], LABELS).count("\n") == 1
    assert json.loads(formats.to_json([], LABELS, MODEL))["recordings"] == []


# --------------------------------------------------------------------------------------------------------------- JSON


def test_json_holds_model_recordings_and_windows():
    found = json.loads(formats.to_json(PREDICTIONS, LABELS, MODEL))
    assert list(found) == ["schema", "model", "labels", "recordings"]
    assert (found["schema"], found["model"], found["labels"]) == ("audiocnn.predictions/1", MODEL, list(LABELS))
    first, silent = found["recordings"][:2]
    assert set(first) == {
        "recording", "status", "label", "score", "nearest", "set", "duration_s", "analysed_s", "reason", "detail",
        "scores", "windows",
    }  # fmt: skip
    assert first["scores"] == dict(zip(LABELS, PREDICTIONS[0].scores.tolist(), strict=True))
    assert first["detail"] == "a bit short"
    assert [(w["start_s"], w["end_s"], w["label"]) for w in first["windows"]] == [
        (0.0, 0.1, "cello"), (0.1, 0.2, "cello"), (0.2, 0.3, "flute")
    ]  # fmt: skip
    assert set(first["windows"][0]) == {"start_s", "end_s", "label", "score", "scores"}
    assert (silent["label"], silent["score"], silent["scores"], silent["windows"]) == (None, None, {}, [])


def test_an_unknown_recording_has_no_label_unless_the_nearest_is_asked_for():
    rule = Decision(
        fitted_on="folds", n_recordings=9, n_groups=9, coverage=0.9, set_floor=0.3, unknown=0.02,
        typical=[[1.0, 0.0]] * 2, familiar_floor=0.5,
    )  # fmt: skip
    strange = replace(PREDICTIONS[0], decision=rule, embedding=np.array([0.0, 1.0]))
    (row,) = rows(formats.recordings_csv([strange], LABELS))
    assert (row["status"], row["label"], row["score"]) == ("unknown", "", "")
    assert row["reason"] == "short;length_differs;unfamiliar"
    assert float(row["p_cello"]) == pytest.approx(strange.scores[0])
    (row,) = rows(formats.recordings_csv([strange], LABELS, nearest=True))
    assert (row["status"], row["label"]) == ("unknown", "cello")
    (found,) = json.loads(formats.to_json([strange], LABELS, MODEL))["recordings"]
    assert (found["label"], found["score"], found["nearest"]) == (None, None, "cello")
    assert found["set"] == ["cello", "flute"]


def test_json_and_csv_say_the_same():
    from_json = json.loads(formats.to_json(PREDICTIONS, LABELS, MODEL))["recordings"]
    for one, other in zip(from_json, rows(formats.recordings_csv(PREDICTIONS, LABELS)), strict=True):
        assert all(one[name] == other[name] for name in ("recording", "status", "reason"))
        assert (one["label"] or "") == other["label"]
        for label in LABELS:
            assert formats.number(one["scores"].get(label)) == other[f"p_{label}"]


def test_json_never_holds_what_json_has_not():
    broken = heard("x.wav", [[0.5, 0.5]])
    broken.window_scores[0, 0] = np.nan
    with pytest.raises(ValueError, match="not JSON compliant"):
        formats.to_json([broken], LABELS, MODEL)


# ------------------------------------------------------------------------------------------------------- hostile text


HOSTILE = [
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    'a,"b"',
    "two\nlines",
    "tab\tand\rreturn",
    "é 🎻",
    "caf\udce9",
    "\x1b[31mred",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_no_cell_is_a_formula_and_every_file_is_utf8(text):
    labels = ("fine", printable(text))  # a label with control codes is refused where it comes in
    path = encode_path(f"{text}.wav")
    predictions = [
        heard(path, [[0.1, 0.9]], labels=labels, detail=text),
        unheard(path, "unreadable", "not_audio", text, labels=labels),
    ]
    extra = {"truth": [labels[1]] * 2, "group": [path, labels[1]], "part": ["test"] * 2}
    table = formats.recordings_csv(predictions, labels, extra)
    for written in (table, formats.windows_csv(predictions, labels)):
        written.encode("utf-8")
        lines = list(csv.reader(io.StringIO(written, newline="")))
        assert {len(line) for line in lines} == {len(lines[0])}
        assert not [cell for line in lines for cell in line if cell.startswith(("=", "+", "-", "@"))]
    assert rows(table)[0]["label"] == rows(table)[0]["truth"]  # figures can be recomputed whatever the labels are
    assert rows(table)[0]["recording"] == path


def test_hostile_text_does_not_break_json():
    for text in HOSTILE[:-2]:
        written = formats.to_json([heard(encode_path(text), [[0.1, 0.9]], labels=("a", text))], ("a", text), MODEL)
        (found,) = json.loads(written)["recordings"]
        assert found["label"] == text
        assert found["recording"] == encode_path(text)
