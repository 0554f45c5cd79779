"""Windows read on demand: the same in any order and chunk size, and equal to those of the recordings."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import sounds

from audiocnn import config
from audiocnn.dataset.manifest import Recording
from audiocnn.errors import IntegrityError
from audiocnn.features import build_store, extract, frontend
from audiocnn.features.analyze import RecordingStatus
from audiocnn.features.store import FeatureStore
from audiocnn.features.windows import Windows
from audiocnn.labels import Labels
from audiocnn.specs import FeatureSpec

PRESETS = {name: config.read_preset(name).features.model_copy(update={"quiet_db": None}) for name in config.PRESETS}
RATE = sounds.RATE
LABELS = ("hiss", "hum", "song")


def with_fields(spec: FeatureSpec, **fields: object) -> FeatureSpec:
    return FeatureSpec.model_validate({**spec.model_dump(), **fields})


class Corpus:
    """A store with three recordings of different lengths, of which one has two channels, and rows for them."""

    def __init__(self, folder: Path, spec: FeatureSpec) -> None:
        mono, stereo = sounds.noise(2.3, seed=1), np.stack([sounds.noise(5.2, seed=2), sounds.chirp(50, 7_000, 5.2)], 1)
        self.samples = {"a.wav": mono, "b.wav": stereo, "c.wav": sounds.tone(440, 1.2)}
        self.store = FeatureStore(folder / "features", spec, durable=False)
        self.statuses: dict[str, RecordingStatus] = {}
        for name, samples in self.samples.items():
            soundfile.write(folder / name, samples, RATE, subtype="FLOAT")
            self.statuses[name], _ = build_store.featurize_file(folder / name, None, self.store, frontend.make(spec))
        self.rows = [
            Recording("a.wav", "hiss", "a"),
            Recording("b.wav", "song", "b", 2.0, 4.5),
            Recording("c.wav", "hum", "c"),
            Recording("b.wav", "hiss", "b", 0.3, 0.31),  # shorter than a window
            Recording("b.wav", "hum", "b", 4.5, 99.0),  # ends after the recording
        ]

    def windows(self) -> Windows:
        return Windows(self.rows, self.statuses, Labels(LABELS), self.store)


CASES = {
    "instrument": PRESETS["instrument"],
    "spectrogram": PRESETS["spectrogram"],
    "overlapping": with_fields(PRESETS["instrument"], hop_frames=2),
    "far apart": with_fields(PRESETS["instrument"], hop_frames=20),
    "covering the tail": with_fields(PRESETS["spectrogram"], tail="cover", hop_frames=50, axes="frames_bins"),
    "tracks": with_fields(PRESETS["instrument"], channel="each", tail="cover"),
    "half": with_fields(PRESETS["spectrogram"], channel="each", dtype="float16"),
}


@pytest.mark.parametrize("case", CASES)
def test_windows_asked_for_in_any_order_are_those_of_the_chunks(case, tmp_path, monkeypatch):
    spec = CASES[case]
    windows = Corpus(tmp_path, spec).windows()
    whole = np.concatenate(list(windows.chunks()))
    assert whole.shape == (len(windows), *spec.shape)
    assert whole.dtype == np.float32
    order = np.random.default_rng(0).integers(len(windows), size=2 * len(windows))
    found = windows[order]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, whole[order])
    assert windows[order[:0]].shape == (0, *spec.shape)
    monkeypatch.setattr("audiocnn.features.windows._VALUES_AT_A_TIME", 3 * int(np.prod(spec.shape)))
    chunks = list(windows.chunks())
    assert max(map(len, chunks)) <= 3
    np.testing.assert_array_equal(np.concatenate(chunks), whole)


@pytest.mark.parametrize("case", CASES)
def test_windows_are_those_cut_from_each_recording_with_its_label(case, tmp_path):
    spec = CASES[case]
    corpus = Corpus(tmp_path, spec)
    windows = corpus.windows()
    assert windows.bounds[0] == 0
    assert windows.bounds[-1] == len(windows) == len(windows.y)
    for row, first, last in zip(corpus.rows, windows.bounds[:-1], windows.bounds[1:], strict=True):
        status = corpus.statuses[row.path]
        starts = extract.window_starts(status.n_frames, spec, row.stretch)
        n_tracks = spec.n_tracks(status.n_channels)
        tracks = corpus.samples[row.path].reshape(-1, status.n_channels).T if n_tracks > 1 else None
        if tracks is None:
            samples = corpus.samples[row.path]
            tracks = samples[None] if samples.ndim == 1 else samples.mean(axis=1, dtype=np.float32)[None]
        assert last - first == len(starts) * len(tracks) > 0
        assert {LABELS[y] for y in windows.y[first:last]} == {row.label}
        for k, track in enumerate(tracks):
            frames = np.concatenate(list(extract.compute_frames([track], spec=spec, frontend=frontend.make(spec))))
            expected = extract.cut_windows(frames, starts, spec)
            np.testing.assert_allclose(windows[np.arange(first + k, last, n_tracks)], expected, rtol=1e-3, atol=1e-3)


def test_windows_of_tracks_are_those_of_each_channel_read_alone(tmp_path):
    spec = CASES["tracks"]
    corpus = Corpus(tmp_path, spec)
    corpus.rows = corpus.rows[1:2]
    both = corpus.windows()
    for k in range(2):
        alone = FeatureStore(tmp_path / "features", with_fields(spec, channel=k), durable=False)
        status, _ = build_store.featurize_file(tmp_path / "b.wav", None, alone, frontend.make(spec))
        of_channel = Windows(corpus.rows, {"b.wav": status}, Labels(LABELS), alone)
        assert len(both) == 2 * len(of_channel)
        np.testing.assert_array_equal(both[np.arange(k, len(both), 2)], of_channel[np.arange(len(of_channel))])


def test_windows_of_a_damaged_store_are_refused_before_one_is_read(tmp_path):
    corpus = Corpus(tmp_path, CASES["instrument"])
    file = corpus.store.file(corpus.statuses["c.wav"].sha256)
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(IntegrityError, match="damaged"):
        corpus.windows()
    shutil.rmtree(corpus.store.folder)
    with pytest.raises(IntegrityError, match="damaged"):
        corpus.windows()
