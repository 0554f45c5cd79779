"""``predict`` on long and many recordings, interrupted runs, and totals that count every recording."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import killing
import numpy as np
import pytest
import soundfile
import sounds
from click.testing import CliRunner
from projects import audiocnn

from audiocnn import files
from audiocnn.audio import workers
from audiocnn.audio.decode import Decoder
from audiocnn.cli import cli
from audiocnn.errors import AudiocnnError, BusyError, ConfigError, OutputError
from audiocnn.features.analyze import RecordingStatus
from audiocnn.files import lock
from audiocnn.formats import tables, writer
from audiocnn.inference import prediction, scoring, spill
from audiocnn.inference.journal import Journal, open_journal
from audiocnn.inference.prediction import RecordingScores
from audiocnn.inference.scoring import StreamingScorer
from audiocnn.inference.spill import StoredScores
from audiocnn.labels import Labels
from audiocnn.model.decision import Decision
from audiocnn.model.domain import Domain
from audiocnn.model.locate import SHIPPED
from audiocnn.progress import Progress
from audiocnn.specs import EventSpec, FeatureSpec
from audiocnn.stages import predict
from audiocnn.terminal.predictions import score_timeline

SPEC = FeatureSpec(
    kind="logmel",
    sample_rate=8_000,
    n_fft=64,
    hop_length=40,
    n_mels=4,
    channels=("static",),
    window_frames=5,
    hop_frames=2,
    axes="bins_frames",
)
LABELS = Labels(("a", "b", "c"))


class Linear:
    """A stand-in for a bundle: its network is one matrix."""

    def __init__(self, **changes: object) -> None:
        self.spec, self.labels = SPEC.model_copy(update=changes), LABELS
        self.temperature = 1.0
        self.decision: Decision | None = None
        self.domain: Domain | None = None
        self.matrix = np.random.default_rng(8).normal(0, 0.3, (20, 3)).astype(np.float32)

    def runtime(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        flat = X.reshape(len(X), -1)
        return np.stack([row @ self.matrix for row in flat]), flat  # row by row: BLAS rounds by the size of a batch


def frames_of(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 10, (n, 4, 1)).astype(np.float32)


def streamed(
    model_stub: Linear, frames: np.ndarray, n_tracks: int, pieces: list[int], executor: ThreadPoolExecutor | None
):
    with StreamingScorer(model_stub, n_tracks, executor) as stream:
        for part in np.split(frames, np.cumsum(pieces) * n_tracks):
            stream.add(part)
        return stream.result()


@pytest.mark.parametrize(
    ("changes", "n_channels"),
    [
        ({}, 1),
        ({"tail": "cover"}, 1),
        ({"hop_frames": 9, "tail": "cover"}, 1),
        ({"hop_frames": 4, "tail": "cover", "quiet_db": 12.0}, 1),
        ({"channel": "each", "quiet_db": 12.0}, 3),
    ],
)
@pytest.mark.parametrize("n_frames", [5, 6, 58, 59, 60, 61, 62, 63, 64, 251])
def test_a_stream_has_the_scores_of_the_whole_for_any_block_sizes(
    changes: dict[str, object], n_channels: int, n_frames: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "_BATCH_VALUES", 7 * 20 * n_channels)
    model_stub, frames = Linear(**changes), frames_of(n_frames * n_channels)
    recording_status = RecordingStatus("ok", duration_s=n_frames * 0.005, n_channels=n_channels, n_frames=n_frames)
    whole = scoring.predict_frames(model_stub, "x.wav", recording_status, frames)
    rng = np.random.default_rng(n_frames)
    with ThreadPoolExecutor(1) as thread:
        for executor in (None, thread):
            pieces = list(rng.integers(0, 40, 8))
            found = streamed(model_stub, frames, n_channels, pieces, executor).prediction(
                model_stub, "x.wav", recording_status
            )
            for name in ("starts_s", "window_scores", "scores", "embedding", "loud"):
                np.testing.assert_array_equal(getattr(found, name), getattr(whole, name), name)
    assert 0 < np.count_nonzero(whole.loud) <= len(whole.starts_s)


@pytest.mark.slow
def test_a_stream_keeps_only_levels_in_memory() -> None:
    import tracemalloc

    model_stub = Linear(hop_frames=5)
    model_stub.labels = Labels(tuple(map(str, range(30))))  # scores would be 12 MB
    model_stub.runtime = lambda X: (np.zeros((len(X), 30), np.float32), np.zeros((len(X), 500), np.float32))
    tracemalloc.start()
    with StreamingScorer(model_stub, 1) as stream:
        block = frames_of(5_000)
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(50):
            stream.add(block)
        in_memory = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    n_windows = 50_000
    assert in_memory < n_windows * 4 + (5 << 20)  # the embeddings would be 100 MB


def test_scores_of_many_windows_go_to_a_file_and_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spill, "_MEMORY_BYTES", 100)
    frames, found = frames_of(500), []
    for folder in (None, tmp_path):
        with StreamingScorer(Linear(), 1) as stream:
            stream.add(frames)
            found.append(stream.result(folder))
    in_memory, in_file = (scores.log_scores for scores in found)
    assert isinstance(in_memory, np.ndarray) and isinstance(in_file, StoredScores)
    assert in_file.file.parent == tmp_path and in_file.shape == in_memory.shape and len(in_file) == len(in_memory)
    np.testing.assert_array_equal(in_memory, in_file)
    assert b"".join(spill.iter_bytes(in_file)) == b"".join(spill.iter_bytes(in_memory)) == in_memory.tobytes()
    with open_journal(tmp_path, "context") as journal:
        places = [journal.add(RecordingStatus("ok", sha256=f"{i:064}"), scores) for i, scores in enumerate(found)]
        np.testing.assert_array_equal(journal.read(places[1])[1].log_scores, in_memory)
        assert places[1] == (tmp_path / "context.journal").stat().st_size - places[1]
    spill.discard(in_file)
    assert [file.name for file in tmp_path.iterdir()] == ["context.journal"]


def test_an_error_in_the_network_thread_is_raised() -> None:
    model_stub = Linear()

    def fail(X: np.ndarray) -> None:
        raise ZeroDivisionError

    model_stub.runtime = fail
    with ThreadPoolExecutor(1) as thread, StreamingScorer(model_stub, 1, thread) as stream:
        stream.add(frames_of(20))
        with pytest.raises(ZeroDivisionError):
            stream.result()


# The journal


def scores_of(n: int) -> RecordingScores:
    rng = np.random.default_rng(n)
    return RecordingScores(rng.normal(size=(n, 3)), rng.random(3), rng.random(5), rng.random(n) > 0.5)


def write_journal(folder: Path, n: int) -> list[int]:
    """Write a journal of ``n`` recordings; return the offset of each record."""
    with open_journal(folder, "context") as journal:
        return [
            journal.add(RecordingStatus("ok", sha256=f"{i:064}", codes=("short",)), scores_of(i + 1)) for i in range(n)
        ]


def test_a_journal_returns_the_scores_that_were_added(tmp_path: Path) -> None:
    write_journal(tmp_path, 3)
    with open_journal(tmp_path, "context") as journal:
        assert sorted(journal.known) == [f"{i:064}" for i in range(3)]
        for i in (2, 0, 1):
            recording_status, found = journal.read(journal.find(f"{i:064}") or 0)
            assert recording_status == RecordingStatus("ok", sha256=f"{i:064}", codes=("short",)) and found is not None
            expected = scores_of(i + 1)
            np.testing.assert_array_equal(found.scores, expected.scores)
            np.testing.assert_array_equal(found.embedding, expected.embedding)
            np.testing.assert_array_equal(found.loud, expected.loud)
            np.testing.assert_allclose(found.log_scores, expected.log_scores, rtol=1e-7)
    with open_journal(tmp_path, "other context") as journal:
        assert not journal.known


def test_an_unreadable_recording_is_not_known(tmp_path: Path) -> None:
    with open_journal(tmp_path, "context") as journal:
        place = journal.add(RecordingStatus("unreadable", ("timeout",), sha256="f" * 64), None)
        assert journal.read(place)[0].codes == ("timeout",)
    with open_journal(tmp_path, "context") as journal:
        assert not journal.known


def test_a_truncated_journal_has_all_records_before_the_cut(tmp_path: Path) -> None:
    starts = [*write_journal(tmp_path, 4)]
    (file,) = tmp_path.glob("*.journal")
    content = file.read_bytes()
    ends = [*starts[1:], len(content)]
    for cut in range(0, len(content) + 1, 13):
        file.write_bytes(content[:cut])
        with open_journal(tmp_path, "context") as journal:
            assert len(journal.known) == sum(end <= cut for end in ends)
            added = journal.add(RecordingStatus("ok", sha256="e" * 64), scores_of(2))
            assert journal.read(added)[0].sha256 == "e" * 64
        with open_journal(tmp_path, "context") as journal:
            assert len(journal.known) == sum(end <= cut for end in ends) + 1


@pytest.mark.parametrize("tail", [bytes(300), b"aJ3\n" + b"\xff" * 60])
def test_a_journal_with_an_unwritten_end_is_valid_up_to_there(tmp_path: Path, tail: bytes) -> None:
    write_journal(tmp_path, 2)
    (file,) = tmp_path.glob("*.journal")
    whole = file.read_bytes()
    file.write_bytes(whole + tail)
    with open_journal(tmp_path, "context") as journal:
        assert len(journal.known) == 2
    assert file.read_bytes() == whole


def test_a_damaged_record_is_skipped_and_reported_once(tmp_path: Path) -> None:
    starts = write_journal(tmp_path, 3)
    (file,) = tmp_path.glob("*.journal")
    content = bytearray(file.read_bytes())
    content[starts[2] - 1] ^= 1
    file.write_bytes(content)
    for damaged in (True, False):
        with open_journal(tmp_path, "context") as journal:
            assert sorted(journal.known) == [f"{i:064}" for i in (0, 2)]
            assert journal.damaged is damaged


def test_a_record_is_read_without_windows_unless_requested(tmp_path: Path) -> None:
    with open_journal(tmp_path, "context") as journal:
        place = journal.add(RecordingStatus("ok", sha256="a" * 64), scores_of(100_000))
        recording_status, found = journal.read(place, slice(0, 0))
        assert recording_status.sha256 == "a" * 64 and found is not None
        assert found.log_scores.shape == (0, 3) and len(found.loud) == 0
        np.testing.assert_array_equal(found.embedding, scores_of(100_000).embedding)


def test_a_journal_that_cannot_grow_names_its_file(tmp_path: Path) -> None:
    with open_journal(tmp_path, "context") as journal:
        journal._file.close()
        journal._file = open("/dev/full", "ab", buffering=0)  # noqa: SIM115 - closed with the journal
        with pytest.raises(OutputError, match=r"\.journal: cannot be written \(No space left"):
            journal.add(RecordingStatus("ok", sha256="a" * 64), scores_of(2))


# The stage


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with recordings of many lengths, a copy, a silent recording and two files that are not audio."""
    made = tmp_path_factory.mktemp("predict") / "recordings"
    (made / "b").mkdir(parents=True)
    for i, seconds in enumerate((0.2, 1.0, 2.3, 3.1, 9.0)):
        samples = sounds.chirp(100 * (i + 1), 3_000, seconds, 22_050) + sounds.noise(seconds, 22_050, seed=i)
        soundfile.write(made / ("", "b")[i % 2] / f"{i}.wav", samples, 22_050)
    shutil.copy(made / "2.wav", made / "copy.wav")
    soundfile.write(made / "silent.wav", sounds.silence(1), sounds.RATE)
    (made / "text.wav").write_text("no sound")
    (made / "b" / "empty.wav").touch()
    return made


def csv_of(arguments: list[Path], *, jobs: int = 1, **options: object) -> bytes:
    with predict.run([*map(str, arguments)], model=SHIPPED, jobs=jobs, progress=Progress(), **options) as result:
        return b"".join(writer.iter_bytes(result.table("csv"), "csv"))


@pytest.mark.slow
def test_a_recording_has_the_same_row_alone_in_a_folder_and_with_more_workers(folder: Path, tmp_path: Path) -> None:
    header, *rows = csv_of([folder]).splitlines()
    assert len(rows) == 9
    assert csv_of([folder], jobs=2).splitlines() == [header, *rows]
    assert csv_of([folder], jobs=3, kept_in=tmp_path).splitlines() == [header, *rows]
    assert csv_of([folder], kept_in=tmp_path).splitlines() == [header, *rows]  # all of it known
    for number in (1, 4):
        alone = csv_of([folder / rows[number].decode().split(",")[0]], jobs=2).splitlines()
        assert alone == [header, rows[number]]


@pytest.mark.slow
def test_the_windows_of_a_recording_are_the_same_at_once_and_as_a_stream(folder: Path) -> None:
    from audiocnn.features.build_store import analyze_files
    from audiocnn.model import bundle

    model = bundle.load(SHIPPED)
    files = sorted(folder.rglob("?.wav"))
    analyzed = analyze_files(files, spec=model.spec, frontend=model.frontend, jobs=1)
    at_once = {
        index: scoring.predict_frames(model, "", recording_status, frames)
        for index, recording_status, frames in analyzed
    }
    with predict.run([*map(str, files)], model=SHIPPED, jobs=1, progress=Progress()) as result:
        for index, found in enumerate(result.predictions):
            assert found.recording_status == at_once[index].recording_status
            np.testing.assert_allclose(found.window_scores, at_once[index].window_scores, atol=1e-6)
            np.testing.assert_allclose(found.scores, at_once[index].scores, atol=1e-9)


@pytest.mark.slow
def test_the_totals_count_every_recording(folder: Path) -> None:
    inputs = [str(folder / "b"), str(folder), str(folder / "2.wav"), str(folder / "gone.wav")]
    with predict.run(inputs, model=SHIPPED, jobs=2, progress=Progress()) as result:
        totals = result.totals
        assert totals.statuses == {"ok": 6, "silent": 1, "unreadable": 3}
        assert totals.n_recordings == len(result.predictions) == 10
        assert totals.n_repeated == 4  # the three of b, and 2.wav
        assert totals.total_s == pytest.approx(0.2 + 1.0 + 2.3 + 3.1 + 9.0 + 2.3 + 1.0, abs=1e-3)
        assert totals.analysed_s == pytest.approx(sum(p.recording_status.analysed_s for p in result.predictions))
        assert totals.analysed_s <= totals.total_s
        assert [recording_status.codes[0] for _, recording_status in result.unused] == [
            p.recording_status.codes[0] for p in result.predictions if not p.has_scores
        ]
        assert len({p.recording for p in result.predictions}) == 10


@pytest.mark.slow
def test_a_kept_journal_is_used_for_renamed_files(folder: Path, tmp_path: Path) -> None:
    csv_of([folder], kept_in=tmp_path / "journal")
    other = tmp_path / "moved"
    shutil.copytree(folder, other)
    soundfile.write(other / "z.wav", sounds.tone(500, 2), sounds.RATE)
    with predict.run([str(other)], model=SHIPPED, jobs=1, progress=Progress(), kept_in=tmp_path / "journal") as result:
        assert result.totals.n_kept == 7  # six ok and one silent; unreadable recordings are tried again
        assert result.totals.decoded_s == pytest.approx(2)
        assert result.totals.n_recordings == 10


@pytest.mark.slow
@pytest.mark.parametrize("rows", ["recordings", "windows"])
def test_rows_are_the_same_for_scores_in_memory_and_in_files(
    folder: Path, tmp_path: Path, rows: tables.RowKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For rows of recordings, windows are not read."""

    def written(kept_in: Path) -> bytes:
        with predict.run([str(folder)], model=SHIPPED, jobs=2, progress=Progress(), kept_in=kept_in) as result:
            read.clear()
            whole = b"".join(writer.iter_bytes(result.table("csv", rows), "csv"))
            assert any(windows != slice(0, 0) for windows in read) is (rows == "windows")
            return whole

    read: list[slice] = []

    def watched(journal: Journal, offset: int, windows: slice = slice(None)) -> Any:
        read.append(windows)
        return actually(journal, offset, windows)

    actually = Journal.read
    monkeypatch.setattr(Journal, "read", watched)

    expected = written(tmp_path / "a")
    monkeypatch.setattr(spill, "_MEMORY_BYTES", 1)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / ".tmp-scores-dead").touch()  # left by a killed run
    assert written(tmp_path / "b") == expected
    assert {file.suffix for file in (tmp_path / "b").iterdir()} == {".journal", ""}
    assert sorted(file.name for file in (tmp_path / "b").glob(".*")) == [".lock"]


@pytest.mark.slow
def test_recordings_of_damaged_records_are_scored_again_with_a_warning(folder: Path, tmp_path: Path) -> None:
    said: list[str] = []

    class RecordsWarnings(Progress):
        def warn(self, line: str) -> None:
            said.append(line)

    expected = csv_of([folder], kept_in=tmp_path)
    (file,) = tmp_path.glob("*.journal")
    content = bytearray(file.read_bytes())
    content[300] ^= 1
    file.write_bytes(content)
    for n_kept in (6, 7):
        with predict.run([str(folder)], model=SHIPPED, jobs=1, progress=RecordsWarnings(), kept_in=tmp_path) as result:
            assert result.totals.n_kept == n_kept
            assert b"".join(writer.iter_bytes(result.table("csv"), "csv")) == expected
    assert said == [f"{file}: is partly damaged; the recordings concerned are computed again"]


def test_an_unknown_label_is_refused_before_any_work(folder: Path) -> None:
    with (
        pytest.raises(ConfigError, match="label 'owl': the model does not have it"),
        predict.run([str(folder)], model=SHIPPED, labels=("owl",), jobs=1, progress=Progress()),
    ):
        pass


def test_a_second_run_with_the_same_output_names_the_running_process(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    with (
        lock(tmp_path / "out.csv.journal"),
        pytest.raises(BusyError, match=rf"out.csv.journal: in use by process {os.getpid()}"),
        predict.run([str(folder)], model=SHIPPED, jobs=1, progress=Progress(), out=out),
    ):
        pass


@pytest.mark.slow
def test_recordings_of_a_deleted_folder_are_reported_as_missing(folder: Path, tmp_path: Path) -> None:
    going = tmp_path / "going"
    shutil.copytree(folder, going)

    class DeletesFolder(Progress):
        def task(self, *arguments: object, **options: object):
            shutil.rmtree(going)
            return super().task(*arguments, **options)

    with predict.run([str(going)], model=SHIPPED, jobs=1, progress=DeletesFolder()) as result:
        assert result.totals.statuses == {"unreadable": 9}
        assert {p.recording_status.codes for p in result.predictions} == {("missing",)}


@pytest.fixture
def forked() -> None:
    """Skip if workers are not forked: they inherit patches only from a process without TensorFlow."""
    if sys.platform != "linux" or "tensorflow" in sys.modules:
        pytest.skip("not forked with TensorFlow; another test runs this in its own process")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux only")
def test_tests_of_forked_workers_pass_in_a_process_without_tensorflow() -> None:
    command = [sys.executable, "-m", "pytest", __file__, "-k", "decoder_that_hangs or longer_than_a_decoder"]
    done = subprocess.run(command, cwd=Path(__file__).parent.parent, capture_output=True, text=True)
    assert "2 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.usefixtures("forked")
def test_a_decoder_that_hangs_fails_only_its_recording(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hanging(file: Path) -> Decoder:
        while file.name == "2.wav":
            time.sleep(1)
        return Decoder(file)

    monkeypatch.setattr(workers, "TIME_LIMIT_S", 0.5)
    monkeypatch.setattr(scoring, "Decoder", hanging)
    with predict.run([*map(str, sorted(folder.glob("?.wav")))], model=SHIPPED, jobs=2, progress=Progress()) as result:
        assert [p.recording_status.codes for p in result.predictions] == [("short",), ("timeout",), ()]


@pytest.mark.usefixtures("forked")
def test_the_network_may_take_longer_than_a_decoder_may(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add = StreamingScorer.add

    def slow(stream: StreamingScorer, frames: np.ndarray) -> None:
        time.sleep(0.3)
        add(stream, frames)

    monkeypatch.setattr(workers, "TIME_LIMIT_S", 1.0)
    monkeypatch.setattr(StreamingScorer, "add", slow)
    with predict.run([str(folder / "4.wav")], model=SHIPPED, jobs=1, progress=Progress()) as result:
        assert result.totals.statuses == {"ok": 1}
        assert result.totals.elapsed_s > 1.5


# Output


def predictions(n: int) -> list[prediction.RecordingPrediction]:
    """``n`` predictions, some of them with many windows, some with none."""
    model_stub, kinds = Linear(), []
    for i, n_frames in enumerate([5, 300, 0, 40, 6_000]):
        recording_status = RecordingStatus("ok", duration_s=n_frames * 0.005, n_channels=1, n_frames=n_frames)
        frames = frames_of(n_frames, seed=i)
        kinds.append(
            scoring.predict_frames(model_stub, "", recording_status if n_frames else RecordingStatus("silent"), frames)
        )
    return [replace(kinds[i % 5], recording=f"{i}.wav") for i in range(n)]


@pytest.mark.slow
def test_joined_pieces_equal_the_whole_file() -> None:
    made = predictions(35)
    model = {"name": "x", "recordings": []}
    whole = {
        ("csv", "recordings"): "".join(tables.recordings_csv(made, LABELS)),
        ("csv", "windows"): "".join(tables.windows_csv(made, LABELS)),
        ("json", "recordings"): "".join(tables.json_text(made, LABELS, model, EventSpec())),
        ("csv", "events"): "".join(tables.events_csv(made, EventSpec())),
        ("raven", "events"): "".join(tables.raven_table(made, EventSpec())),
    }
    for (form, rows), text in whole.items():
        parts = list(writer.iter_bytes(writer.OutputTable(made, LABELS, model, rows=rows, spec=EventSpec()), form))
        assert b"".join(parts).decode() == text, (form, rows)
        assert max(map(len, parts)) < 1 << 20
    value = json.loads(whole["json", "recordings"])
    assert whole["json", "recordings"] == json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    assert json.loads("".join(tables.json_text([], LABELS, model)))["recordings"] == []


def test_the_timeline_shows_a_short_call() -> None:
    times = np.arange(1_000.0)
    scores = np.tile([0.0, 1.0], (1_000, 1))
    scores[725] = [1.0, 0.0]
    recording_status = RecordingStatus("ok", duration_s=1_000)
    found = prediction.RecordingPrediction(
        "x", recording_status, Labels(("owl", "wind")), np.array([0.6, 0.4]), times, times + 1, scores
    )
    assert score_timeline(found) == " " * 14 + "█" + " " * 5
    assert score_timeline(found, ascii_only=True).isascii()


# The command


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


@pytest.mark.slow
def test_the_command_reports_the_status_of_all_recordings(folder: Path, tmp_path: Path) -> None:
    done = audiocnn("predict", folder, "--model", SHIPPED, "-o", "out.csv", cwd=tmp_path, code=3)
    assert "9 recordings, 18.9 s: 6 ok, 1 silent, 2 unreadable; " in done.stderr and "x real time" in done.stderr
    assert len(rows_of((tmp_path / "out.csv").read_text())) == 9
    assert sorted(file.name for file in tmp_path.iterdir()) == ["out.csv"]
    done = audiocnn("predict", folder / "text.wav", "--model", SHIPPED, cwd=tmp_path, code=4)
    assert "1 recording, 0.0 s: 1 unreadable" in done.stderr
    assert audiocnn("predict", folder / "1.wav", folder / "b" / "1.wav", "--model", SHIPPED, cwd=tmp_path, code=3)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("-o", "out.txt"), "no format has the suffix '.txt'; use .raven.txt"),
        (("-o", "out"), "pass --format table, csv, json, audacity, raven or parquet"),
        (("--format", "xml"), "'xml' is not one of"),
        (("--format", "parquet"), "name a file with -o"),
        (("--windows", "--events"), "choose one of them"),
        (("--threshold", "0.5"), "add --events"),
        (("--events", "--threshold", "cello=1.5"), "give a score above 0 and up to 1"),
        (("--events", "--threshold", "many"), "give a score above 0 and up to 1"),
        (("--events", "--threshold", "owl=0.5"), "label 'owl': the model does not have it"),
        (("-o", "folder.csv"), "is a directory"),
        (("-o", "pipe", "--format", "csv"), "not a regular file"),
        (("-o", "file/out.csv"), "file/out.csv.journal: cannot be written"),
    ],
)
def test_invalid_options_are_refused_at_once(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")  # not a device, in case it is replaced after all
    done = CliRunner().invoke(cli, ["predict", str(folder), "--model", str(SHIPPED), *arguments])
    refused = done.exception
    assert (refused.exit_code if isinstance(refused, AudiocnnError) else done.exit_code) == 2
    assert says in " ".join(f"{done.stderr} {refused}".split()) and "predict:" not in done.stderr


@pytest.mark.slow
def test_a_full_disk_is_named_and_leaves_nothing_half_written(folder: Path, tmp_path: Path) -> None:
    command = [*killing.AUDIOCNN, "predict", str(folder), "--model", str(SHIPPED), "-o", "out.json"]
    limited = ["bash", "-c", 'ulimit -f 8; exec "$@"', "bash", *command]  # blocks of 1 KiB
    done = subprocess.run(limited, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "out.json" in done.stderr.splitlines()[-1] and "cannot be written (File too large)" in done.stderr
    assert not (tmp_path / "out.json").exists() and not list(tmp_path.glob(".tmp-*"))
    (tmp_path / f"{files._unfinished(Path('out.json'))}1-ab").touch()  # left by a run that was killed while it wrote
    audiocnn(*command[3:], cwd=tmp_path, code=3)
    assert len(json.loads((tmp_path / "out.json").read_text())["recordings"]) == 9
    assert os.listdir(tmp_path) == ["out.json"]


@pytest.mark.slow
def test_it_needs_no_standard_input_and_ends_quietly_if_the_output_is_closed(folder: Path, tmp_path: Path) -> None:
    command = f"{sys.executable} -m audiocnn -q predict {folder} --model {SHIPPED} --windows --format csv"
    closed = subprocess.run(["bash", "-c", f"{command} <&-"], cwd=tmp_path, capture_output=True, text=True)
    assert closed.returncode == 3 and len(rows_of(closed.stdout)) > 10 and closed.stderr == ""
    piped = ["bash", "-c", f"set -o pipefail; {command} | true"]
    unread = subprocess.run(piped, cwd=tmp_path, capture_output=True, text=True)
    assert (unread.returncode, unread.stderr) == (0, "")


@pytest.mark.slow
def test_all_file_names_are_accepted(folder: Path, tmp_path: Path) -> None:
    names = [b"new\nline.wav", "emoji 🎻.wav".encode(), b"caf\xe9.wav", b"-dash.wav", b"=formula.wav"]
    for name in names:
        shutil.copy(folder / "0.wav", os.fsencode(tmp_path) + b"/" + name)
    done = audiocnn("predict", ".", "--model", SHIPPED, "-o", "out.csv", cwd=tmp_path)
    table = rows_of((tmp_path / "out.csv").read_text(encoding="utf-8"))
    assert {r["recording"] for r in table} == {
        "./-dash.wav", "./=formula.wav", r"caf\xe9.wav", "emoji 🎻.wav", r"new\x0aline.wav"
    }  # fmt: skip
    assert done.stderr.isprintable() or "\x1b" not in done.stderr


@pytest.mark.slow
def test_a_table_is_ascii_on_an_ascii_terminal(folder: Path, tmp_path: Path) -> None:
    command = [*killing.AUDIOCNN, "predict", str(folder), "--model", str(SHIPPED)]
    plain = subprocess.run(command, cwd=tmp_path, capture_output=True, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert plain.stdout.isascii() and b"over time" in plain.stdout, plain.stderr
    full = audiocnn(*command[3:], cwd=tmp_path, code=3).stdout
    assert "█" in full or "▇" in full or "▄" in full


# Killed


@pytest.fixture(scope="module")
def sounds_to_kill(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, killing.Reference]:
    made = killing.project(tmp_path_factory.mktemp("killed"), n=14, longest_s=12)
    return made, killing.predict_undisturbed(made)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
@pytest.mark.parametrize("n_records", [0, 4])
def test_a_killed_run_is_completed_to_the_same_bytes(
    sounds_to_kill: tuple[Path, killing.Reference], n_records: int
) -> None:
    made, reference = sounds_to_kill

    def wait(process: "subprocess.Popen[bytes]") -> None:
        until = time.monotonic() + 20
        while process.poll() is None and time.monotonic() < until:
            sizes = [file.stat().st_size for file in made.glob("out.csv.journal/*.journal")]
            if sizes and sizes[0] >= 500 * n_records:
                return
            time.sleep(0.001)

    outcome = killing.predict_killed(made, reference, wait)
    assert not outcome.problems
    assert outcome.under_way


@pytest.mark.slow
def test_a_truncated_journal_gives_the_same_output(folder: Path, tmp_path: Path) -> None:
    expected = csv_of([folder], kept_in=tmp_path)
    (file,) = tmp_path.glob("*.journal")
    content = file.read_bytes()
    for cut in np.random.default_rng(0).integers(0, len(content), 3):
        file.write_bytes(content[:cut])
        assert csv_of([folder], kept_in=tmp_path) == expected
