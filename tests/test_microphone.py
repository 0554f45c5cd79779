"""Recording from a simulated microphone: what is shown meanwhile, the final prediction, and the errors."""

import contextlib
import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import sounds
from click.testing import CliRunner
from microphones import Fake, install

from audiocnn.audio import microphone
from audiocnn.audio.decode import Decoder
from audiocnn.audio.microphone import MicrophoneSource
from audiocnn.cli import cli
from audiocnn.errors import AudioError, ConfigError, MissingExtraError, OutputError
from audiocnn.inference import live
from audiocnn.inference.scoring import StreamingScorer
from audiocnn.labels import Labels
from audiocnn.model import bundle
from audiocnn.model.locate import SHIPPED
from audiocnn.progress import LevelMeter, Progress
from audiocnn.specs import FeatureSpec

DEADLINE_S = 60.0
RATE = 16_000


def integers(samples: np.ndarray) -> np.ndarray:
    return np.round(samples * 32_767).astype(np.int16)


MELODY = integers(sounds.chirp(200, 4_000, 4, RATE) + sounds.noise(4, RATE, level=0.02))


def plug_in(monkeypatch: pytest.MonkeyPatch, samples: np.ndarray = MELODY, rate: int = RATE, **options: Any) -> Fake:
    fake = Fake(samples, rate, **options)
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    return fake


# ------------------------------------------------------------------------------------------------------- the samples


@pytest.mark.parametrize("sizes", [(800,), (1, 997, 63), (70_000,)])
def test_samples_are_those_of_the_device_whatever_blocks_it_gives_them_in(monkeypatch, sizes):
    fake = plug_in(monkeypatch, sizes=sizes)
    mic = MicrophoneSource(limit_s=2)
    with Decoder(mic) as decoder:
        tapped: list[np.ndarray] = []
        mic.watch = lambda samples: tapped.append(samples.copy())
        samples = np.concatenate(list(decoder.blocks()))
    assert np.array_equal(samples, MELODY[: 2 * RATE] * np.float32(2**-15))
    assert np.array_equal(np.concatenate(tapped)[:, 0], MELODY[: 2 * RATE])
    assert decoder.facts.warnings == []
    assert (decoder.facts.n_read, mic.name, fake.n_closed) == (2 * RATE, "USB mic", 1)
    assert fake.opened[0]["dtype"] == "int16"


def test_only_the_requested_channels_are_opened(monkeypatch):
    stereo = np.stack([MELODY, MELODY // 2], axis=1)
    for wanted, opened in ((1, 1), (2, 2), (3, 2)):
        fake = plug_in(monkeypatch, stereo)
        MicrophoneSource(n_channels=wanted).close()
        assert fake.opened[0]["channels"] == opened


def test_stop_ends_the_recording(monkeypatch):
    plug_in(monkeypatch, again=True, every_s=0.001)
    mic = MicrophoneSource()
    with Decoder(mic) as decoder:
        blocks = decoder.blocks()
        next(blocks)
        mic.stop()
        list(blocks)
    assert decoder.facts.n_read > 0
    assert decoder.facts.warnings == []


def test_a_disconnected_device_ends_the_recording_with_a_warning(monkeypatch):
    monkeypatch.setattr(microphone, "STALL_S", 0.2)
    plug_in(monkeypatch)
    with Decoder(MicrophoneSource()) as decoder:
        samples = np.concatenate(list(decoder.blocks()))
    assert len(samples) == len(MELODY)
    assert decoder.facts.warnings == ["truncated"]


def test_a_device_without_samples_is_an_error(monkeypatch):
    monkeypatch.setattr(microphone, "STALL_S", 0.2)
    plug_in(monkeypatch, MELODY[:0])
    none = r"^no samples: the device gave none within 0\.2 s$"
    with Decoder(MicrophoneSource()) as decoder, pytest.raises(AudioError, match=none):
        list(decoder.blocks())


def test_samples_lost_by_the_device_are_counted_and_reported(monkeypatch):
    plug_in(monkeypatch, overflows=(3, 5))
    mic = MicrophoneSource(limit_s=4)
    with Decoder(mic) as decoder:
        list(decoder.blocks())
    assert mic.n_overflows == 2
    assert decoder.facts.warnings == ["overflow"]


def test_the_buffer_is_limited_and_lost_blocks_are_counted(monkeypatch):
    monkeypatch.setattr(microphone, "BUFFER_S", 0.5)  # ten blocks of the usual size
    fake = plug_in(monkeypatch, sizes=(800,))
    mic = MicrophoneSource()
    with Decoder(mic) as decoder:
        until = time.monotonic() + DEADLINE_S
        while mic.n_overflows < 70 and time.monotonic() < until:  # nobody hears
            time.sleep(0.01)
        mic._n_left = 8_000
        samples = np.concatenate(list(decoder.blocks()))
    assert mic.n_overflows == 4 * RATE // 800 - 10 == 70
    assert np.array_equal(samples, MELODY[:8_000] * np.float32(2**-15))
    assert fake.n_closed == 1


# ------------------------------------------------------------------------------------------------- what is said of it


class Notes(LevelMeter, Progress):
    """Keeps what is shown."""

    def __init__(self) -> None:
        self.levels: list[float] = []
        self.labels: list[str] = []
        self.warnings: list[str] = []
        self.lines: list[str] = []

    def show_level(self, level_db: float, elapsed_s: float) -> None:
        self.levels.append(level_db)

    def show_prediction(self, label: str, score: float | None) -> None:
        self.labels.append(label)

    def meter(self, title: str):
        return contextlib.nullcontext(self)

    def warn(self, line: str) -> None:
        self.warnings.append(line)

    def info(self, line: str) -> None:
        self.lines.append(line)


def test_every_window_is_shown_when_it_is_scored_and_silence_as_silent(monkeypatch):
    model = bundle.load(SHIPPED)
    samples = np.concatenate([MELODY, np.zeros(4 * RATE, np.int16)])
    plug_in(monkeypatch, samples, sizes=(800,))
    notes = Notes()
    prediction = live.predict_from_microphone(model, progress=notes, limit_s=8)
    assert prediction.recording_status.status == "ok"
    assert prediction.scores is not None
    assert len(notes.labels) == len(prediction.scores.log_scores)
    of_window = [model.labels[i] for i in prediction.scores.log_scores.argmax(axis=1)]
    assert notes.labels[:4] == of_window[:4]
    assert set(notes.labels[-3:]) == {"silent"}
    assert len(notes.levels) == 160
    assert notes.levels[0] == pytest.approx(20 * np.log10(np.abs(MELODY[:800]).max() / 32_768), abs=1e-3)
    assert notes.levels[-1] == -np.inf
    assert prediction.start_time.tzinfo is not None
    assert notes.warnings == []


def test_lost_samples_are_reported_at_once_and_at_the_end(monkeypatch):
    plug_in(monkeypatch, overflows=(0, 9))
    notes = Notes()
    prediction = live.predict_from_microphone(bundle.load(SHIPPED), progress=notes, limit_s=3)
    assert prediction.recording_status.codes == ("overflow",)
    assert [line.split(";")[0] for line in notes.warnings] == [
        "microphone: samples are being lost",
        "microphone: samples were lost 2 times, so all later times are too early",
    ]


@pytest.mark.slow
def test_a_window_is_scored_as_soon_as_its_frames_exist_and_memory_stays_small():
    spec = FeatureSpec(
        kind="logmel", sample_rate=8_000, n_fft=64, hop_length=40, n_mels=4, channels=("static",),
        window_frames=5, hop_frames=5, axes="bins_frames",
    )  # fmt: skip

    class StubClassifier:
        labels, temperature, decision, domain = Labels(("a", "b", "c")), 1.0, None, None

        def __init__(self) -> None:
            self.spec = spec

        def runtime(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            return np.zeros((len(X), 3), np.float32), np.zeros((len(X), 1), np.float32)

    seen: list[int] = []
    block = np.zeros((5, 4, 1), np.float32)
    n = 3_000
    with StreamingScorer(StubClassifier(), 1, batch_size=1, on_scores=lambda log, _: seen.append(len(log))) as stream:
        stream.add(block)
        assert seen == [1]
        tracemalloc.start()
        for _ in range(n - 1):
            stream.add(block)
        held = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert sum(seen) == n
        assert held < 400_000  # with arrays of their own for every window it is 1,014,155
        assert len(stream.result().log_scores) == n


def test_the_recorded_wav_has_every_sample_and_is_complete_or_absent(monkeypatch, tmp_path):
    plug_in(monkeypatch, MELODY, sizes=(801, 7))
    kept = tmp_path / "kept.wav"
    live.predict_from_microphone(bundle.load(SHIPPED), progress=Notes(), limit_s=3, keep=kept)
    samples, rate = soundfile.read(kept, dtype="int16")
    assert rate == RATE
    assert np.array_equal(samples, MELODY[: 3 * RATE])
    with contextlib.suppress(ZeroDivisionError), microphone.wav_writer(tmp_path / "other.wav", RATE, 1) as add:
        add(MELODY[:100, None])
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == [kept]
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match=r"folder: cannot be written"):
        live.predict_from_microphone(bundle.load(SHIPPED), progress=Notes(), limit_s=3, keep=tmp_path / "folder")


def test_a_full_wav_keeps_the_beginning_and_gives_a_warning(monkeypatch, tmp_path):
    monkeypatch.setattr(microphone, "_MAX_WAV_BYTES", 2 * 2 * RATE)
    plug_in(monkeypatch, sizes=(800,))
    notes = Notes()
    prediction = live.predict_from_microphone(
        bundle.load(SHIPPED), progress=notes, limit_s=4, keep=tmp_path / "kept.wav"
    )
    assert prediction.recording_status.duration_s == 4
    assert soundfile.info(tmp_path / "kept.wav").frames == 2 * RATE
    assert notes.warnings == ["the file is full: a WAV holds 4 GiB; samples after 2 s are not kept"]


# --------------------------------------------------------------------------------------------------- what is refused


def test_without_library_or_portaudio_or_device_the_message_has_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(MissingExtraError, match=r"^sounddevice: not installed; pip install 'audiocnn\[mic\]'$"):
        MicrophoneSource()
    monkeypatch.delitem(sys.modules, "sounddevice")

    class WithoutPortAudio:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "sounddevice":
                raise OSError("PortAudio library not found")

    monkeypatch.setattr(sys, "meta_path", [WithoutPortAudio(), *sys.meta_path])
    with pytest.raises(ConfigError, match=r"^PortAudio: not installed, .*; apt install libportaudio2, "):
        MicrophoneSource()
    fake = plug_in(monkeypatch)
    del fake.devices[1]
    with pytest.raises(ConfigError, match=r"^no microphone: this computer has no input device; connect one"):
        MicrophoneSource()


def test_an_unknown_device_is_refused_with_a_list_of_devices(monkeypatch):
    plug_in(monkeypatch)
    for wanted, named in ((7, "7"), ("Radio", "Radio"), (0, "0")):
        with pytest.raises(ConfigError, match=rf"^input device {named}: .*; pass --device with one of 1 \(USB mic\)$"):
            MicrophoneSource(wanted)
    for wanted in (1, "USB"):
        MicrophoneSource(wanted).close()


def test_a_device_that_cannot_be_opened_is_reported_in_one_line(monkeypatch):
    plug_in(monkeypatch, refusal="Error opening InputStream:\nDevice unavailable [PaErrorCode -9985]")
    message = (
        r"^input device 'USB mic': cannot be opened \(Error opening InputStream: Device unavailable \[.*\]\); close"
    )
    with pytest.raises(ConfigError, match=message):
        MicrophoneSource()


# -------------------------------------------------------------------------------------------------- the command line


def start(*arguments: str | Path, cwd: Path, environment: dict[str, str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "audiocnn", *map(os.fspath, arguments)]
    return subprocess.Popen(
        command, cwd=cwd, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def ended(process: subprocess.Popen[str], code: int) -> tuple[str, str]:
    try:
        out, err = process.communicate(timeout=DEADLINE_S)
    finally:
        process.kill()
    assert process.returncode == code, out + err
    return out, err


@pytest.mark.slow
def test_ctrl_c_ends_recording_and_the_prediction_is_printed(tmp_path):
    process = start(
        "predict", "--mic", "--format", "json", cwd=tmp_path,
        environment=install(tmp_path, MELODY, RATE, again=True, every_s=0.005),
    )  # fmt: skip
    assert process.stderr is not None
    lines: list[str] = []
    while not (lines and lines[-1].startswith("microphone ")):
        lines.append(process.stderr.readline())
        assert lines[-1], lines
    assert re.fullmatch(r"microphone 0:00:0\d \w+ 0\.\d\d\n", lines[-1])
    assert "recording from USB mic at 16,000 Hz; Ctrl-C ends it\n" in lines
    process.send_signal(signal.SIGINT)
    out, err = ended(process, 0)
    (row,) = json.loads(out)["recordings"]
    assert row["recording"] == "microphone"
    assert row["status"] in ("ok", "unknown")
    assert row["duration_s"] > 1
    assert "1 recording, " in err


@pytest.mark.slow
def test_every_format_contains_one_recording_with_the_given_name(tmp_path):
    environment = install(tmp_path, MELODY, RATE)
    mic = ("predict", "--mic", "--seconds", "3")
    out, _ = ended(start(*mic, "--keep", "kept.wav", "--format", "csv", cwd=tmp_path, environment=environment), 0)
    (live,) = csv.DictReader(io.StringIO(out))
    out, _ = ended(start("predict", "kept.wav", "--format", "csv", cwd=tmp_path, environment={}), 0)
    (of_file,) = csv.DictReader(io.StringIO(out))
    assert (live.pop("recording"), of_file.pop("recording")) == ("microphone", "kept.wav")
    texts = {name for name in live if not name.startswith(("p_", "score"))}
    assert {name: live[name] for name in texts} == {name: of_file[name] for name in texts}
    assert live["score"] == "" or of_file["score"] != ""  # neither has one if it is unknown
    for name in (name for name in live.keys() - texts if live[name]):
        assert float(live[name]) == pytest.approx(float(of_file[name]), abs=2e-6), name
    out, _ = ended(
        start(*mic, "--events", "--threshold", "0.01", "--format", "csv", cwd=tmp_path, environment=environment), 0
    )
    events = list(csv.DictReader(io.StringIO(out)))
    assert {row["recording"] for row in events} == {"microphone"}
    assert all(re.match(r"\d{4}-\d\d-\d\dT", row["start_time"]) for row in events)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--mic", "a.wav"), "--mic is for a microphone and AUDIO for files; choose one of them"),
        (("--mic", "--jobs", "2"), "--mic is for a microphone and --jobs for files; choose one of them"),
        (("--mic", "--keep", "a.flac"), "--keep a.flac: the recording is a WAV file; name a file that ends in .wav"),
        (("a.wav", "--seconds", "2"), "--seconds is for a microphone; add --mic"),
        ((), "Missing argument 'AUDIO...': name audio files or folders, or pass --mic"),
    ],
)
def test_options_that_contradict_each_other_are_refused(arguments, says):
    done = CliRunner().invoke(cli, ["predict", *arguments])
    assert done.exit_code == 2
    assert done.stderr.endswith(f"Error: {says}\n")
