"""Annotated stretches of recordings: their windows, the background around them, and the whole way to a report."""

import csv
import io
import json
import math
import random
from pathlib import Path

import numpy as np
import prefork
import pytest
import soundfile
import sounds

from audiocnn import config
from audiocnn.dataset.manifest import Recording
from audiocnn.features import extract, windows
from audiocnn.features.analyze import RecordingStatus
from audiocnn.specs import FeatureSpec

INSTRUMENT = config.read_preset("instrument").features
RATE = sounds.RATE
SPECS = [
    INSTRUMENT.model_copy(update=fields)
    for fields in (
        {},
        {"tail": "cover"},
        {"hop_frames": 3, "tail": "cover"},
        {"hop_frames": 20},
        {"sample_rate": 22_050, "hop_length": 256, "window_frames": 21, "hop_frames": 7},
        {"window_frames": 1, "hop_frames": 1},
    )
]
JUST = 1e-6  # frames


def status_of(n_frames: int, spec: FeatureSpec) -> RecordingStatus:
    """Return the status of a recording with this number of frames."""
    duration_s = (n_frames - 1) * spec.hop_length / spec.sample_rate
    return RecordingStatus("ok", duration_s=duration_s, analysed_s=duration_s, n_channels=1, n_frames=n_frames)


# Windows of a stretch


@pytest.mark.parametrize("spec", SPECS)
def test_windows_of_a_stretch_lie_in_it_begin_with_it_and_follow_each_other(spec):
    dice = random.Random(0)
    rate, size = spec.sample_rate / spec.hop_length, spec.window_frames
    kinds = set()
    for _ in range(3_000):
        n = dice.randint(size, 6 * size)
        times = sorted(dice.uniform(0, 1.2 * n / rate) for _ in range(2))
        if dice.random() < 0.5:  # on frames exactly, as far as seconds can say that
            times = [round(t * rate) / rate for t in times]
        begin_s, end_s = times
        starts = extract.window_starts(n, spec, (begin_s, end_s))
        inside = [
            s for s in range(n - size + 1) if s >= begin_s * rate - JUST and s + size - 1 <= end_s * rate + JUST
        ]  # fmt: skip
        if inside:
            kinds.add("inside")
            expected = inside[:: spec.hop_frames]
            if spec.tail == "cover" and expected[-1] != inside[-1]:
                expected.append(inside[-1])
            assert starts.tolist() == expected
        elif begin_s * rate > n - 1 + JUST:
            kinds.add("beyond")
            assert starts.tolist() == []
        else:
            kinds.add("short")
            (start,) = starts.tolist()
            assert 0 <= start <= n - size
            middle = (begin_s + min(end_s, (n - 1) / rate)) / 2 * rate
            centred = min(max(middle - (size - 1) / 2, 0), n - size)
            assert abs(start - centred) <= 1
    assert kinds >= {"inside", "beyond"}
    assert "short" in kinds or size == 1


def test_all_of_a_recording_as_a_stretch_has_the_windows_of_the_recording():
    for spec in SPECS:
        for n in range(spec.window_frames, 5 * spec.window_frames):
            end_s = (n - 1) * spec.hop_length / spec.sample_rate
            expected = extract.window_starts(n, spec).tolist()
            for stretch in ((0.0, end_s), (0.0, end_s + 9)):
                assert extract.window_starts(n, spec, stretch).tolist() == expected


def test_the_status_of_a_stretch_has_its_duration_and_analyzed_time():
    status = RecordingStatus(
        "ok", ("short", "clipped"), "why", duration_s=1.0, analysed_s=0.9, n_channels=1, n_frames=81
    )
    assert status.for_stretch(None, INSTRUMENT) is status
    inside = status.for_stretch((0.2, 0.55), INSTRUMENT)
    assert (inside.status, inside.codes, inside.detail) == ("ok", ("clipped",), "")
    assert (inside.duration_s, inside.analysed_s) == pytest.approx((0.35, 0.3))
    assert status.for_stretch((0.9, 5.0), INSTRUMENT).duration_s == pytest.approx(0.1)
    short = status.for_stretch((0.5, 0.52), INSTRUMENT)
    assert (short.duration_s, short.analysed_s) == pytest.approx((0.02, 0.02))
    beyond = status.for_stretch((1.1, 2.0), INSTRUMENT)
    assert (beyond.status, beyond.codes) == ("unreadable", ("beyond_end",))
    assert "from 1.1 to 2 s begins after the end of the recording (1 s)" in beyond.detail
    silent = RecordingStatus("silent", ("silent",), duration_s=1.0)
    assert silent.for_stretch((1.1, 2.0), INSTRUMENT) is silent


def test_a_stretch_after_the_end_of_a_recording_that_was_repeated_to_fill_a_window_is_beyond_it():
    status = RecordingStatus("ok", ("short",), duration_s=0.04, analysed_s=0.04, n_channels=1, n_frames=9)
    assert status.for_stretch((0.01, 0.03), INSTRUMENT).status == "ok"
    assert status.for_stretch((0.05, 0.06), INSTRUMENT).codes == ("beyond_end",)


# Background


@pytest.mark.parametrize("spec", SPECS)
def test_windows_of_the_background_touch_no_stretch_and_miss_no_gap_that_holds_one(spec):
    dice = random.Random(1)
    rate, size = spec.sample_rate / spec.hop_length, spec.window_frames
    n_pieces = 0
    for _ in range(300):
        n = dice.randint(size, 20 * size)
        rows = []
        for _ in range(dice.randint(1, 4)):
            begin_s = dice.uniform(0, 1.1 * n / rate)
            length_s = dice.choice([0, dice.uniform(0, 6 * size / rate)])
            rows.append(Recording("a.wav", dice.choice("xy"), "g", begin_s, begin_s + length_s, split="test"))
        found = windows.add_background(rows, {"a.wav": status_of(n, spec)}, spec, "rest")
        assert found[: len(rows)] == rows
        free = np.ones(n, bool)
        for piece in found[len(rows) :]:
            n_pieces += 1
            assert (piece.path, piece.label, piece.group, piece.split) == ("a.wav", "rest", "g", "test")
            starts = extract.window_starts(n, spec, piece.stretch)
            assert len(starts) > 0
            for s in starts:
                for row in rows:
                    assert s + size - 1 <= row.start_s * rate + JUST or s >= row.end_s * rate - JUST
            first, last = math.ceil(piece.start_s * rate - JUST), math.floor(piece.end_s * rate + JUST)
            free[first : last + 1] = False
        for row in rows:
            free[math.floor(row.start_s * rate) : math.ceil(row.end_s * rate) + 1] = False
        gaps = "".join("x" if frame else " " for frame in free).split()
        assert max(map(len, gaps), default=0) <= size + 1
    assert n_pieces > 100


def test_background_is_added_to_nothing_but_files_with_stretches_that_can_be_read():
    rows = [
        Recording("whole.wav", "x", "whole.wav"),
        Recording("bad.wav", "x", "bad.wav", 1.0, 2.0),
        Recording("good.wav", "x", "good.wav", 1.0, 2.0),
    ]
    statuses = {name: status_of(401, INSTRUMENT) for name in ("whole.wav", "good.wav")} | {
        "bad.wav": RecordingStatus("unreadable")
    }
    assert windows.add_background(rows, statuses, INSTRUMENT, None) == rows
    found = windows.add_background(rows, statuses, INSTRUMENT, "rest")
    assert [(r.path, r.stretch) for r in found[3:]] == [("good.wav", (0.0, 1.0)), ("good.wav", (2.0, 5.0))]


# The whole way


def audiocnn(*arguments: str | Path, cwd: Path, code: int = 0) -> str:
    done = prefork.run(*arguments, cwd=cwd)
    assert done.returncode == code, f"exit {done.returncode}, expected {code}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout


def rows_of(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(file.read_text())))


RAVEN = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\tSpecies\n"


def corpus(folder: Path, n: int = 10) -> Path:
    """Recordings of 4 s, quiet noise with a low call from 0.5 to 1.2 s and a high one from 2 to 3 s."""
    folder.mkdir()
    for i in range(n):
        samples = sounds.noise(4, level=0.01, seed=i)
        samples[round(0.5 * RATE) : round(1.2 * RATE)] += sounds.tone(300 + 5 * i, 0.7)
        samples[2 * RATE : 3 * RATE] += sounds.tone(3_000 + 20 * i, 1)
        soundfile.write(folder / f"{i}.wav", samples, RATE, subtype="PCM_16")
        if i % 2:
            lines = [f"{k}\tSpectrogram 1\t1\t{a}\t{b}\t0\t8000\t{label}\n" for k, (a, b, label) in enumerate(CALLS, 1)]
            (folder / f"{i}.Table.1.selections.txt").write_text(RAVEN + "".join(lines))
        else:
            (folder / f"{i}.txt").write_text("".join(f"{a}\t{b}\t{label}\n" for a, b, label in CALLS))
    return folder


CALLS = [(0.5, 1.2, "low"), (2.0, 3.0, "high"), (3.2, 3.25, "high")]
REST = [(0, 0.5), (1.2, 2), (3, 3.2), (3.25, 4)]


@pytest.fixture(scope="module")
def annotated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of annotated recordings, two of them without a word of annotation."""
    folder = tmp_path_factory.mktemp("annotated")
    recordings = corpus(folder / "calls")
    for name in ("quiet.wav", "unlabelled.wav"):
        soundfile.write(recordings / name, sounds.noise(2, level=0.01), RATE)
    (recordings / "quiet.txt").write_text("")
    return folder


def quick(project: Path) -> None:
    """Make a project's network small and its training short."""
    lines = {"model:": 'model: "4C3-P2-GAP-*"', "  epochs:": "  epochs: 1"}
    text = (project / "audiocnn.yaml").read_text().splitlines()
    text = [next((new for old, new in lines.items() if line.startswith(old)), line) for line in text]
    (project / "audiocnn.yaml").write_text("\n".join(text) + "\n")


def test_annotations_next_to_recordings_become_rows_of_the_manifest(annotated, tmp_path):
    printed = audiocnn("init", annotated / "calls", "--preset", "instrument", cwd=tmp_path)
    assert "30 annotated stretches of 2 classes" in printed
    assert "1 recording without an annotation file: left out (such as unlabelled.wav)" in printed
    assert "1 recording with an empty annotation file: left out (such as quiet.wav)" in printed
    rows = rows_of(tmp_path / "manifest.csv")
    assert {r["path"] for r in rows} == {f"{i}.wav" for i in range(10)}
    for i in range(10):
        found = [(float(r["start_s"]), float(r["end_s"]), r["label"]) for r in rows if r["path"] == f"{i}.wav"]
        assert found == CALLS
    assert "background: null" in (tmp_path / "audiocnn.yaml").read_text()


def test_the_label_column_is_an_option_and_one_label_alone_is_separated_from_the_background(annotated, tmp_path):
    recordings = tmp_path / "calls"
    recordings.mkdir()
    soundfile.write(recordings / "a.wav", sounds.noise(2), RATE)
    table = RAVEN.replace("Species\n", "Species\tSex\n") + "1\tSpectrogram 1\t1\t0.5\t1\t0\t8000\tfinch\tm\n"
    (recordings / "a.selections.txt").write_text(table)
    audiocnn("init", recordings, "--label-column", "Sex", cwd=tmp_path)
    (row,) = rows_of(tmp_path / "manifest.csv")
    assert row["label"] == "m"
    text = (tmp_path / "audiocnn.yaml").read_text()
    assert 'background: "background"' in text
    assert 'positive: "m"' in text


def test_background_without_stretches_and_annotations_without_one_are_refused(tmp_path):
    for label in ("a", "b"):
        (tmp_path / "folder" / label).mkdir(parents=True)
        soundfile.write(tmp_path / "folder" / label / "x.wav", sounds.noise(1), RATE)
    audiocnn("init", "folder", "--background", "rest", cwd=tmp_path, code=2)
    for label in ("a", "b"):
        (tmp_path / "folder" / label / "x.txt").write_text("")
    audiocnn("init", "folder", cwd=tmp_path, code=2)
    assert not (tmp_path / "manifest.csv").exists()


@pytest.mark.slow
def test_a_stretch_beyond_the_end_is_quarantined_and_costs_nothing_else(annotated, tmp_path):
    audiocnn("init", annotated / "calls", "--preset", "instrument", cwd=tmp_path)
    (run,) = (tmp_path / "runs" / "calls",)
    assert "10 computed" in audiocnn("featurize", cwd=tmp_path)
    assert rows_of(run / "quarantine.csv") == []
    with open(tmp_path / "manifest.csv", "a") as file:
        file.write("3.wav,low,3.wav,7,8\n")
    audiocnn("featurize", cwd=tmp_path, code=3)
    (bad,) = rows_of(run / "quarantine.csv")
    assert (bad["path"], bad["code"], bad["stage"]) == ("3.wav", "beyond_end", "features")
    assert "from 7 to 8 s begins after the end of the recording (4 s)" in bad["reason"]


@pytest.mark.slow
@pytest.mark.parametrize("background", [None, "rest"])
def test_stretches_are_trained_on_and_evaluated_as_recordings_of_their_own(background, annotated, tmp_path):
    pytest.importorskip("keras")
    flags = () if background is None else ("--background", background)
    audiocnn("init", annotated / "calls", "--preset", "instrument", *flags, cwd=tmp_path)
    quick(tmp_path)
    audiocnn("run", cwd=tmp_path)
    run = tmp_path / "runs" / "calls"
    rows = rows_of(run / "predictions.csv")
    assert list(rows[0])[-2:] == ["start_s", "end_s"]
    files = {r["recording"] for r in rows} - {"quiet.wav"}
    assert files
    for name in files:
        found = [(float(r["start_s"]), float(r["end_s"]), r["truth"]) for r in rows if r["recording"] == name]
        expected = CALLS if background is None else sorted([*CALLS, *((a, b, background) for a, b in REST)])
        assert found == expected
    for row in rows:
        assert row["status"] in ("ok", "unknown")
        whole = row["recording"] == "quiet.wav"
        assert (row["start_s"] == "") == whole
        decoded_s = 2 if whole else float(row["end_s"]) - float(row["start_s"])
        assert float(row["duration_s"]) == pytest.approx(decoded_s)
    assert {r["truth"] for r in rows} == {"low", "high"} | ({background} - {None})
    metrics = json.loads((run / "metrics.json").read_text())
    right = np.mean([r["label"] == r["truth"] for r in rows])
    assert metrics["recording"]["accuracy"]["value"] == pytest.approx(right)
    parts = json.loads((run / "split.json").read_text())["parts"]
    dealt = [name for names in parts.values() for name in names]
    usable = {f"{i}.wav" for i in range(10)} | ({"quiet.wav"} if background else set())
    assert sorted(dealt) == sorted(usable)  # every file, and so every stretch of it, is in one part
    assert {r["recording"] for r in rows} == set(parts["test"])
