"""No label is printed for a recording without one, whatever is wrong with it and wherever predictions are printed."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import prefork
import pytest
import soundfile
import sounds

import audiocnn
from audiocnn.errors import AudioError

pytestmark = pytest.mark.slow

RATE = sounds.RATE
LABELS = audiocnn.load_model().labels


def _write(samples: np.ndarray, **options: object) -> Callable[[Path], None]:
    return lambda file: soundfile.write(file, samples, RATE, **{"format": "WAV", "subtype": "PCM_16", **options})


def _bytes(content: bytes) -> Callable[[Path], None]:
    return lambda file: file.write_bytes(content)


TONE = sounds.tone(440, 2)
FAULTS: dict[str, Callable[[Path], None]] = {
    "all_zero": _write(sounds.silence(2)),
    "constant": _write(np.full(2 * RATE, 0.3)),
    "silent": _write(0.3 + 1e-5 * sounds.noise(2), subtype="PCM_24"),
    "too_short": _write(TONE[:100]),
    "channels_cancel": _write(np.stack([TONE, -TONE], axis=1)),
    "empty_file": _bytes(b""),
    "all_zero_bytes": _bytes(bytes(1_000)),
    "git_lfs_pointer": _bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"),
    "not_audio": _bytes(b"not a sound at all"),
    "no_samples": _write(np.zeros(0)),
    "not_finite": _write(np.append(TONE, np.nan), subtype="FLOAT"),
    "decode_error": _bytes(b"RIFF\x24\0\0\0WAVEfmt nonsense"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of each fault, and one with a label."""
    folder = tmp_path_factory.mktemp("faults")
    (folder / "sounds").mkdir()
    for code, make in FAULTS.items():
        make(folder / "sounds" / f"{code}.wav")
    soundfile.write(folder / "sounds" / "good.wav", sounds.tone(440, 2) + sounds.noise(2, level=0.01), RATE)
    return folder


def printed(folder: Path, *options: str) -> str:
    done = prefork.run("-q", "predict", "sounds", *options, cwd=folder)
    assert done.returncode == 3, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def printed_status(folder: Path) -> dict[str, str]:
    """The status by the code of the fault."""
    rows = csv.DictReader(io.StringIO(printed(folder, "--format", "csv")))
    return {Path(row["recording"]).stem: row["status"] for row in rows}


def name_of(code: str) -> str:
    return f"sounds/{code}.wav"


def test_the_table_and_the_csv_have_no_label(folder: Path) -> None:
    table = printed(folder)
    for code in FAULTS:
        (line,) = (line for line in table.splitlines() if line.startswith(f"{name_of(code)} "))
        assert code in line and not any(label in line for label in LABELS)
    rows = {row["recording"]: row for row in csv.DictReader(io.StringIO(printed(folder, "--format", "csv")))}
    assert rows.keys() == {name_of(code) for code in (*FAULTS, "good")}
    assert rows[name_of("good")][f"p_{LABELS[0]}"]
    for code in FAULTS:
        row = rows[name_of(code)]
        assert row["status"] in ("silent", "unreadable") and code in row["reason"].split(";")
        assert row["label"] == row["score"] == "" and not any(row[f"p_{label}"] for label in LABELS)


def test_windows_events_and_tables_of_other_programs_have_no_row(folder: Path) -> None:
    for options in (("--windows",), ("--events",)):
        for form in ("csv", "json"):
            text = printed(folder, *options, "--format", form)
            if form == "csv":
                assert {row["recording"] for row in csv.DictReader(io.StringIO(text))} <= {name_of("good")}
    for form in ("audacity", "raven"):
        text = printed(folder, "--format", form)
        assert not any(code in text for code in FAULTS)


def test_the_json_has_no_label(folder: Path) -> None:
    found = json.loads(printed(folder, "--windows", "--format", "json"))
    by_name = {one["recording"]: one for one in found["recordings"]}
    assert by_name[name_of("good")]["windows"]
    for code in FAULTS:
        one = by_name[name_of(code)]
        assert not one.get("label") and not one.get("score") and not one.get("scores") and not one.get("windows")


def test_a_parquet_file_has_no_label(folder: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    printed(folder, "--format", "parquet", "-o", "out.parquet")
    rows = {row["recording"]: row for row in parquet.read_table(folder / "out.parquet").to_pylist()}
    for code in FAULTS:
        row = rows[name_of(code)]
        assert row["label"] is None and row["score"] is None and row[f"p_{LABELS[0]}"] is None


@pytest.mark.parametrize("code", FAULTS)
def test_the_python_interface_and_the_page_have_no_label(
    code: str, folder: Path, printed_status: dict[str, str], tmp_path: Path
) -> None:
    file, model = folder / name_of(code), audiocnn.load_model()
    if printed_status[code] == "unreadable":
        with pytest.raises(AudioError) as caught:
            model.predict(file)
        assert caught.value.code == code
    else:
        prediction = model.predict(file)
        assert (prediction.status, prediction.label, prediction.score) == ("silent", "", None)
        assert code in prediction.reason and not len(prediction.scores)
        assert not any(label in repr(prediction) for label in LABELS)
    done = prefork.run("explain", file, "-o", "why", cwd=tmp_path)
    assert done.returncode in (3, 4) and not (tmp_path / "why" / "index.html").exists()
    assert not any(label in done.stdout + done.stderr for label in LABELS)
