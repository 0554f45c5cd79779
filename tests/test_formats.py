"""The columns and the JSON that other programs rely on, and hostile text in them."""

import csv
import io
import json
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from audiocnn.dataset import annotations
from audiocnn.errors import MissingExtraError
from audiocnn.features.analyze import RecordingStatus
from audiocnn.formats import tables
from audiocnn.inference import events
from audiocnn.inference.prediction import RecordingPrediction
from audiocnn.inference.scoring import recording_scores
from audiocnn.labels import Labels
from audiocnn.model.decision import Decision
from audiocnn.specs import EventSpec
from audiocnn.text import encode_path, printable

LABELS = ("cello", "flute")
MODEL = {"name": "instrument", "digest": "0" * 64}


def scored(recording, window_scores, *, labels=LABELS, codes=(), detail=""):
    windows = np.asarray(window_scores, float)
    starts = np.arange(len(windows)) * 0.1
    seconds = 0.1 * len(windows)
    recording_status = RecordingStatus(
        "ok", codes, detail, duration_s=seconds + 0.05, analysed_s=seconds, sample_rate=16_000
    )
    return RecordingPrediction(
        recording,
        recording_status,
        Labels(tuple(labels)),
        recording_scores(np.log(windows)),
        starts,
        starts + 0.1,
        windows,
    )


def unscored(recording, status, code, detail="", *, labels=LABELS):
    nothing = np.zeros(0)
    recording_status = RecordingStatus(status, (code,), detail, duration_s=2.0 if status == "silent" else 0.0)
    names = Labels(tuple(labels))
    return RecordingPrediction(
        recording, recording_status, names, nothing, nothing, nothing, np.zeros((0, len(labels)))
    )


PREDICTIONS = [
    scored("b.wav", [[0.9, 0.1], [0.6, 0.4], [1 / 3, 2 / 3]], codes=("short", "length_differs"), detail="a bit short"),
    unscored("a.wav", "silent", "silent", "never above -60 dBFS"),
    unscored("c.wav", "unreadable", "not_audio", "is not audio"),
    scored("d.wav", [[0.2, 0.8]]),
]


def rows(text):
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_recordings_have_the_documented_columns():
    assert "".join(tables.recordings_csv(PREDICTIONS, LABELS)).splitlines()[0] == (
        "recording,status,label,score,duration_s,analysed_s,reason,p_cello,p_flute"
    )


def test_windows_have_the_documented_columns():
    assert "".join(tables.windows_csv(PREDICTIONS, LABELS)).splitlines()[0] == (
        "recording,start_s,end_s,label,score,p_cello,p_flute"
    )


def test_the_columns_of_an_evaluation_come_last():
    extra = {"truth": ["cello"] * 4, "group": ["g"] * 4, "part": ["test"] * 4}
    assert (
        "".join(tables.recordings_csv(PREDICTIONS, LABELS, extra)).splitlines()[0].endswith(",p_flute,truth,group,part")
    )


def test_every_recording_is_one_row_in_the_given_order():
    found = rows("".join(tables.recordings_csv(PREDICTIONS, LABELS)))
    assert [(r["recording"], r["status"], r["label"], r["reason"]) for r in found] == [
        ("b.wav", "ok", "cello", "short;length_differs"),
        ("a.wav", "silent", "", "silent"),
        ("c.wav", "unreadable", "", "not_audio"),
        ("d.wav", "ok", "flute", ""),
    ]


def test_a_recording_without_a_prediction_has_empty_scores():
    for row in rows("".join(tables.recordings_csv(PREDICTIONS, LABELS)))[1:3]:
        assert [row[name] for name in ("label", "score", "p_cello", "p_flute")] == [""] * 4


def test_scores_are_read_as_they_were_written():
    found = pd.read_csv(io.StringIO("".join(tables.recordings_csv(PREDICTIONS, LABELS))))
    for i in (0, 3):
        np.testing.assert_allclose(found.loc[i, ["p_cello", "p_flute"]].astype(float), PREDICTIONS[i].scores, rtol=1e-8)
        assert found.loc[i, "score"] == pytest.approx(PREDICTIONS[i].score, rel=1e-8)
    assert found["duration_s"].tolist() == pytest.approx([0.35, 2.0, 0.0, 0.15])
    assert found["analysed_s"].tolist() == pytest.approx([0.3, 0.0, 0.0, 0.1])


def test_windows_are_rows_of_recordings_with_scores():
    found = pd.read_csv(io.StringIO("".join(tables.windows_csv(PREDICTIONS, LABELS))))
    assert found["recording"].tolist() == ["b.wav"] * 3 + ["d.wav"]
    assert found["label"].tolist() == ["cello", "cello", "flute", "flute"]
    np.testing.assert_allclose(found["score"], [0.9, 0.6, 2 / 3, 0.8], rtol=1e-8)
    np.testing.assert_allclose(found["p_cello"], [0.9, 0.6, 1 / 3, 0.2], rtol=1e-8)
    np.testing.assert_allclose(found["end_s"] - found["start_s"], 0.1)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (10.0, "10"), (100.0, "100"), (0.1, "0.1"), (1 / 3, "0.333333"), (3600.0000004, "3600"), (1e-7, "0")],
)
def test_seconds_have_microseconds_and_no_trailing_zeros(value, text):
    assert tables.format_seconds(value) == text


def test_a_score_has_enough_digits_to_recompute_figures():
    for value in np.random.default_rng(0).uniform(0, 1, 200) ** 20:
        assert float(tables.format_score(value)) == pytest.approx(value, rel=1e-8)
    assert tables.format_score(None) == ""


def test_without_recordings_the_header_is_written():
    assert "".join(tables.recordings_csv([], LABELS)).count("\n") == 1
    assert "".join(tables.windows_csv([], LABELS)).count("\n") == 1
    assert json.loads("".join(tables.json_text([], LABELS, MODEL)))["recordings"] == []


# --------------------------------------------------------------------------------------------------------------- JSON


def test_json_holds_model_recordings_and_windows():
    found = json.loads("".join(tables.json_text(PREDICTIONS, LABELS, MODEL)))
    assert list(found) == ["schema", "model", "labels", "recordings"]
    assert (found["schema"], found["model"], found["labels"]) == ("audiocnn.predictions/1", MODEL, list(LABELS))
    first, silent = found["recordings"][:2]
    assert set(first) == {
        "recording", "status", "label", "score", "nearest", "set", "duration_s", "analysed_s", "reason", "detail",
        "scores", "domain", "windows",
    }  # fmt: skip
    assert first["scores"] == dict(zip(LABELS, PREDICTIONS[0].scores.tolist(), strict=True))
    assert first["detail"] == "a bit short"
    assert [(w["start_s"], w["end_s"], w["label"]) for w in first["windows"]] == [
        (0.0, 0.1, "cello"), (0.1, 0.2, "cello"), (0.2, 0.3, "flute")
    ]  # fmt: skip
    assert set(first["windows"][0]) == {"start_s", "end_s", "label", "score", "scores"}
    assert (silent["label"], silent["score"], silent["scores"], silent["windows"]) == (None, None, {}, [])


def test_an_unknown_recording_has_no_label_unless_the_nearest_is_requested():
    rule = Decision(
        fitted_on="folds", n_recordings=9, n_groups=9, coverage=0.9, set_floor=0.3, unknown=0.02,
        typical=[[1.0, 0.0]] * 2, familiar_floor=0.5,
    )  # fmt: skip
    strange = replace(PREDICTIONS[0], decision=rule, embedding=np.array([0.0, 1.0]))
    (row,) = rows("".join(tables.recordings_csv([strange], LABELS)))
    assert (row["status"], row["label"], row["score"]) == ("unknown", "", "")
    assert row["reason"] == "short;length_differs;unfamiliar"
    assert float(row["p_cello"]) == pytest.approx(strange.scores[0])
    (row,) = rows("".join(tables.recordings_csv([strange], LABELS, nearest=True)))
    assert (row["status"], row["label"]) == ("unknown", "cello")
    (found,) = json.loads("".join(tables.json_text([strange], LABELS, MODEL)))["recordings"]
    assert (found["label"], found["score"], found["nearest"]) == (None, None, "cello")
    assert found["set"] == ["cello", "flute"]


def test_json_and_csv_have_the_same_content():
    from_json = json.loads("".join(tables.json_text(PREDICTIONS, LABELS, MODEL)))["recordings"]
    for one, other in zip(from_json, rows("".join(tables.recordings_csv(PREDICTIONS, LABELS))), strict=True):
        assert all(one[name] == other[name] for name in ("recording", "status", "reason"))
        assert (one["label"] or "") == other["label"]
        for label in LABELS:
            assert tables.format_score(one["scores"].get(label)) == other[f"p_{label}"]


def test_json_never_contains_nan():
    broken = scored("x.wav", [[0.5, 0.5]])
    broken.window_scores[0, 0] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        "".join(tables.json_text([broken], LABELS, MODEL))


# ------------------------------------------------------------------------------------------------------------- events

SPEC = EventSpec(smooth_s=0, max_gap_s=0)
BEGUN = [datetime(2023, 4, 1, 23, 59, 59, 900_000), None, None, datetime(2023, 4, 1, 5, 30, tzinfo=UTC)]


def found_events():
    return [(p.recording, e) for p in PREDICTIONS for e in events.find_events(p, SPEC)]


def readers():
    """Readers of the formats by other libraries; needs the [dev] extra."""
    return pytest.importorskip("crowsetta")


def test_events_have_the_documented_columns():
    header, *lines = "".join(tables.events_csv(PREDICTIONS, SPEC)).splitlines()
    assert header == "recording,start_s,end_s,label,score,peak_s,start_time"
    assert lines == [
        "b.wav,0,0.2,cello,0.9,0.05,",
        "b.wav,0.2,0.3,flute,0.666666667,0.25,",
        "d.wav,0,0.1,flute,0.8,0.05,",
    ]


def test_events_have_a_start_time_if_known_with_its_time_zone_if_any():
    found = rows("".join(tables.events_csv(PREDICTIONS, SPEC, BEGUN)))
    assert [row["start_time"] for row in found] == [
        "2023-04-01T23:59:59.900", "2023-04-02T00:00:00.100", "2023-04-01T05:30:00.000+00:00"
    ]  # fmt: skip
    assert datetime.fromisoformat(found[1]["start_time"]) - BEGUN[0] == timedelta(seconds=0.2)


def test_json_has_events_only_if_requested():
    plain = "".join(tables.json_text(PREDICTIONS, LABELS, MODEL))
    with_events = json.loads("".join(tables.json_text(PREDICTIONS, LABELS, MODEL, SPEC, BEGUN)))
    assert with_events["event_settings"] == SPEC.model_dump(mode="json")
    first, silent = with_events["recordings"][:2]
    assert [(e["label"], e["start_s"], e["end_s"], e["score"]) for e in first["events"]] == [
        ("cello", 0.0, 0.2, 0.9), ("flute", 0.2, 0.3, pytest.approx(2 / 3))
    ]  # fmt: skip
    assert (first["begun"], first["events"][0]["start_time"]) == (
        "2023-04-01T23:59:59.900000",
        "2023-04-01T23:59:59.900",
    )
    assert (silent["begun"], silent["events"]) == (None, [])
    del with_events["event_settings"]
    for recording in with_events["recordings"]:
        del recording["events"], recording["begun"]
    assert with_events == json.loads(plain)


@pytest.mark.slow
def test_an_audacity_label_track_is_read_by_other_libraries_and_by_init(tmp_path):
    track = "".join(tables.audacity_labels(PREDICTIONS[:1], SPEC))
    assert track == "0.000000\t0.200000\tcello\n0.200000\t0.300000\tflute\n"
    (tmp_path / "b.txt").write_text(track)
    assert [(s.start_s, s.end_s, s.label) for s in annotations.read(tmp_path / "b.txt")] == [
        (0.0, 0.2, "cello"), (0.2, 0.3, "flute")
    ]  # fmt: skip
    theirs = readers().formats.seq.AudSeq.from_file(tmp_path / "b.txt").to_seq()
    assert [(s.onset_s, s.offset_s, s.label) for s in theirs.segments] == [(0.0, 0.2, "cello"), (0.2, 0.3, "flute")]


def test_labels_of_several_recordings_in_one_track_name_the_recording():
    lines = [line.split("\t") for line in "".join(tables.audacity_labels(PREDICTIONS, SPEC)).splitlines()]
    assert [line[2] for line in lines] == ["b.wav: cello", "b.wav: flute", "d.wav: flute"]
    assert lines[2][:2] == ["0.000000", "0.100000"]


def test_a_raven_table_is_read_by_other_libraries_and_by_init(tmp_path):
    file = tmp_path / "b.Table.1.selections.txt"
    file.write_text("".join(tables.raven_table(PREDICTIONS[:1], SPEC, band_hz=(50.0, 20_000.0))))
    assert [(s.start_s, s.end_s, s.label) for s in annotations.read(file)] == [(0.0, 0.2, "cello"), (0.2, 0.3, "flute")]
    table = pd.read_csv(file, sep="\t")
    assert tuple(table.columns) == tables.RAVEN_COLUMNS
    assert table["Selection"].tolist() == [1, 2]
    assert table["Score"].tolist() == pytest.approx([0.9, 2 / 3])
    boxes = readers().formats.bbox.Raven.from_file(file, annot_col="Annotation").to_bbox()
    assert [(b.onset, b.offset, b.low_freq, b.high_freq, b.label) for b in boxes] == [
        (0.0, 0.2, 50.0, 8_000.0, "cello"), (0.2, 0.3, 50.0, 8_000.0, "flute")
    ]  # fmt: skip


def test_times_in_a_raven_table_continue_over_recordings_and_file_offsets_restart():
    table = pd.read_csv(io.StringIO("".join(tables.raven_table(PREDICTIONS, SPEC))), sep="\t")
    assert table["Begin File"].tolist() == ["b.wav", "b.wav", "d.wav"]
    assert table["Begin Path"].tolist() == [str(Path.cwd() / name) for name in table["Begin File"]]
    assert table["File Offset (s)"].tolist() == pytest.approx([0.0, 0.2, 0.0])
    before_s = 0.35 + 2.0 + 0.0  # the silent recording counts, too
    assert table["Begin Time (s)"].tolist() == pytest.approx([0.0, 0.2, before_s])
    assert table["End Time (s)"].tolist() == pytest.approx([0.2, 0.3, before_s + 0.1])
    assert table["Selection"].tolist() == [1, 2, 3]


def test_without_events_the_header_is_written():
    assert "".join(tables.audacity_labels(PREDICTIONS[1:3], SPEC)) == ""
    assert "".join(tables.raven_table(PREDICTIONS[1:3], SPEC)).splitlines() == ["\t".join(tables.RAVEN_COLUMNS)]
    assert "".join(tables.events_csv(PREDICTIONS[1:3], SPEC)).count("\n") == 1


# ------------------------------------------------------------------------------------------------------------ Parquet


def from_parquet(data):
    return pytest.importorskip("pyarrow.parquet").read_table(io.BytesIO(data))


@pytest.mark.parametrize("kind", ["recordings", "windows", "events"])
def test_parquet_and_csv_have_the_same_content(kind):
    text = {
        "recordings": "".join(tables.recordings_csv(PREDICTIONS, LABELS)),
        "windows": "".join(tables.windows_csv(PREDICTIONS, LABELS)),
        "events": "".join(tables.events_csv(PREDICTIONS, SPEC, BEGUN)),
    }[kind]
    table = from_parquet(
        b"".join(tables.to_parquet(PREDICTIONS, LABELS, MODEL, rows=kind, spec=SPEC, start_times=BEGUN))
    )
    expected = rows(text)
    assert table.column_names == list(expected[0])
    assert len(table) == len(expected)
    for one, other in zip(table.to_pylist(), expected, strict=True):
        for name, value in one.items():
            if isinstance(value, float):
                assert value == pytest.approx(float(other[name]), rel=1e-8, abs=1e-6)
            else:
                assert (value or "") == other[name]


def test_parquet_has_types_nulls_and_the_model_in_its_metadata():
    table = from_parquet(b"".join(tables.to_parquet(PREDICTIONS, LABELS, MODEL)))
    assert {str(table.schema.field(name).type) for name in ("score", "duration_s", "p_cello")} == {"double"}
    silent = table.to_pylist()[1]
    assert [silent[name] for name in ("label", "score", "p_cello")] == [None] * 3
    about = json.loads(table.schema.metadata[b"audiocnn"])
    assert (about["schema"], about["model"], about["rows"]) == (tables.SCHEMA, MODEL, "recordings")


def test_pandas_reads_the_parquet_of_windows():
    pytest.importorskip("pyarrow")
    found = pd.read_parquet(io.BytesIO(b"".join(tables.to_parquet(PREDICTIONS, LABELS, MODEL, rows="windows"))))
    np.testing.assert_array_equal(
        found[["p_cello", "p_flute"]], np.concatenate([PREDICTIONS[0].window_scores, PREDICTIONS[3].window_scores])
    )


@pytest.mark.slow
def test_writing_parquet_does_not_import_pandas():
    pytest.importorskip("pyarrow")
    code = (
        "import sys; from audiocnn.formats import tables;"
        "rows = [['a.wav', None], [0.5, None], [0.5, 1.0]];"
        "columns = {'recording': str, 'score': float, 'duration_s': float};"
        "assert b''.join(tables.parquet_bytes(columns, [rows], {})).startswith(b'PAR1');"
        "assert 'pandas' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_parquet_of_many_windows_is_written_in_few_groups(monkeypatch):
    pq = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(tables, "_GROUP_ROWS", 8)
    data = b"".join(tables.to_parquet([PREDICTIONS[0]] * 10, LABELS, MODEL, rows="windows"))
    groups = pq.ParquetFile(io.BytesIO(data)).metadata
    assert [groups.row_group(i).num_rows for i in range(groups.num_row_groups)] == [9, 9, 9, 3]


@pytest.mark.parametrize("kind", ["recordings", "windows", "events"])
def test_parquet_without_recordings_has_the_columns(kind):
    table = from_parquet(b"".join(tables.to_parquet([], LABELS, MODEL, rows=kind)))
    assert len(table) == 0
    assert table.column_names[0] == "recording"


def test_without_pyarrow_the_message_tells_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"pyarrow: not installed; pip install 'audiocnn\[parquet\]'"):
        b"".join(tables.to_parquet(PREDICTIONS, LABELS, MODEL))


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
    labels = ("fine", printable(text))  # labels with control codes are refused on input
    path = encode_path(f"{text}.wav")
    predictions = [
        scored(path, [[0.1, 0.9]], labels=labels, detail=text),
        unscored(path, "unreadable", "not_audio", text, labels=labels),
    ]
    extra = {"truth": [labels[1]] * 2, "group": [path, labels[1]], "part": ["test"] * 2}
    table = "".join(tables.recordings_csv(predictions, labels, extra))
    for written in (table, "".join(tables.windows_csv(predictions, labels))):
        written.encode("utf-8")
        lines = list(csv.reader(io.StringIO(written, newline="")))
        assert {len(line) for line in lines} == {len(lines[0])}
        assert not [cell for line in lines for cell in line if cell.startswith(("=", "+", "-", "@"))]
    assert rows(table)[0]["label"] == rows(table)[0]["truth"]  # figures can be recomputed for all labels
    assert rows(table)[0]["recording"] == path


def test_hostile_text_does_not_break_json():
    for text in HOSTILE[:-2]:
        written = "".join(
            tables.json_text([scored(encode_path(text), [[0.1, 0.9]], labels=("a", text))], ("a", text), MODEL)
        )
        (found,) = json.loads(written)["recordings"]
        assert found["label"] == text
        assert found["recording"] == encode_path(text)


@pytest.mark.parametrize("text", [*HOSTILE, 'a "quoted" call', '"', "a\u2028b\x85c", "\\\t1\t2"])
def test_hostile_text_stays_in_its_cell_of_a_table_with_tabs(text, tmp_path):
    predictions = [scored(encode_path(f"{text}.wav"), [[0.1, 0.9]], labels=("fine", text)), PREDICTIONS[3]]
    table, track = (
        "".join(tables.raven_table(predictions, SPEC)),
        "".join(tables.audacity_labels(predictions[:1], SPEC)),
    )
    for written, n_cells in (
        (table, len(tables.RAVEN_COLUMNS)),
        (track, 3),
        ("".join(tables.audacity_labels(predictions, SPEC)), 3),
    ):
        written.encode("utf-8")
        lines = [line.split("\t") for line in written.split("\n")[:-1]]
        assert {len(line) for line in lines} == {n_cells}
        assert not [cell for line in lines for cell in line if cell.startswith(("=", "+", "-", "@"))]
        assert not [line for line in lines if line != [printable(cell) for cell in line]]
    assert pd.read_csv(io.StringIO(table), sep="\t")["Begin File"].tolist()[1] == "d.wav"
    (tmp_path / "rec.txt").write_text(track, encoding="utf-8")
    ((label,),) = (readers().formats.seq.AudSeq.from_file(tmp_path / "rec.txt").labels,)
    assert label == track.rstrip("\n").split("\t")[2]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_the_same_in_parquet_as_in_csv(text):
    labels = ("fine", printable(text))
    predictions = [scored(encode_path(f"{text}.wav"), [[0.1, 0.9]], labels=labels, codes=(printable(text),))]
    (found,) = from_parquet(b"".join(tables.to_parquet(predictions, labels, MODEL))).to_pylist()
    (expected,) = rows("".join(tables.recordings_csv(predictions, labels)))
    assert all(found[name] == expected[name] for name in ("recording", "label", "reason"))
