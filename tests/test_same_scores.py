"""A recording has the same scores, as a whole and in each window, on every path to the network.

The reference is the file alone on the path of the command line. Run with ``-s`` to see the largest difference.
"""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import sounds
from ensembles import write_ensemble
from microphones import Fake

import audiocnn
from audiocnn import config
from audiocnn.audio.decode import Decoder
from audiocnn.audio.microphone import MicrophoneSource
from audiocnn.audio.source import ArraySource
from audiocnn.features import frontend
from audiocnn.features.build_store import featurize_file_together
from audiocnn.features.store import FeatureStore
from audiocnn.inference import scoring
from audiocnn.inference.prediction import RecordingPrediction
from audiocnn.model import bundle
from audiocnn.model.loaded_model import LoadedModel
from audiocnn.model.locate import SHIPPED
from audiocnn.model.open_model import open_model
from audiocnn.progress import Progress
from audiocnn.stages import predict

pytestmark = pytest.mark.slow

WITHIN = 1e-5
"""Largest allowed difference of two scores (probabilities) of one recording."""

ODD = (1, 997, 63, 4_001, 12_345)  # samples at a time
MODELS = ("shipped", "13x9 mfcc", "members")

largest: dict[str, float] = {}  # difference of two scores of one recording, by path


@pytest.fixture(scope="module", autouse=True)
def _print_largest() -> Iterator[None]:
    yield
    print(f"\nlargest difference of a score: {max(largest.values(), default=0.0):.2g}, of {len(largest)} recordings")


def recordings(folder: Path) -> dict[str, np.ndarray]:
    """16-bit samples by name: mono and stereo, slow and fast rates, many blocks, and less than a window."""
    made = {}
    for name, rate, seconds, n_channels in (
        ("long", 44_100, 12.0, 1),  # ten blocks of 128 frames; for the shipped model more than one batch of windows
        ("stereo", 48_000, 3.3, 2),
        ("slow", 8_000, 4.0, 1),
        ("no resampling", 32_000, 2.7, 1),
        ("short", 22_050, 0.06, 1),
    ):
        seed = len(made)
        melody = sounds.chirp(150, 3_500, seconds, rate, amplitude=0.4) + sounds.tone(440, seconds, rate, amplitude=0.2)
        tracks = [melody + sounds.noise(seconds, rate, level=0.02, seed=seed + 10 * i) for i in range(n_channels)]
        samples = np.round(np.stack(tracks, axis=1) * 32_767).astype(np.int16)
        soundfile.write(folder / f"{name}.wav", samples, rate)
        made[name] = samples
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("scores")
    recordings(made)
    return made


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """The model that ships with the package, an untrained network for 13x9 windows of MFCCs, or two such networks."""
    if request.param == "shipped":
        return open_model(SHIPPED)
    pytest.importorskip("keras", reason="a network is made by the [train] extra")
    folder = tmp_path_factory.mktemp("model") / "little"
    if request.param == "members":
        return write_ensemble(folder, weights=[0.3, 0.7])
    return open_model(write_small_model(folder))


def write_small_model(folder: Path) -> Path:
    from audiocnn.model import network
    from audiocnn.model.notation import parse

    experiment = config.read_preset("instrument")
    spec, labels = experiment.features, ("bell", "drum", "flute")
    assert spec.shape[:2] == (13, 9)
    network.load_keras().utils.set_random_seed(0)
    keras = network.build(parse("8C3-P2-16-*", input_shape=spec.shape, n_labels=len(labels)))
    mean = np.zeros((13, 1, 1), np.float32)
    std = np.full((13, 1, 1), 20.0, np.float32)
    info: dict[str, Any] = {
        "name": "little", "features": spec.model_dump(mode="json"), "labels": labels, "notation": "8C3-P2-16-*",
        "mean": mean.tolist(), "std": std.tolist(), "training": {}, "metrics": {}, "provenance": {},
    }  # fmt: skip
    bundle.write(
        folder, info, frontend=frontend.make(spec), weights=network.get_weights(keras),
        model=network.export_litert(network.build_serving_model(keras, mean, std)), card="# little\n",
    )  # fmt: skip
    return folder


Scored = dict[str, RecordingPrediction]


@pytest.fixture(scope="module")
def reference(model: LoadedModel, folder: Path) -> Scored:
    """The predictions of every file alone."""
    scored: Scored = {}
    for file in sorted(folder.glob("*.wav")):
        scored |= predict_files(model, [file], jobs=1)
    assert {name: found.recording_status.codes for name, found in scored.items() if found.recording_status.codes} == {
        "short": ("short",)
    }
    assert len(scored["short"].window_scores) == 1
    assert len(scored) == 5 and len(scored["long"].window_scores) > 20
    return scored


def predict_files(model: LoadedModel, named: list[Path], jobs: int, **options: Any) -> Scored:
    named_as = [os.fspath(path) for path in named]
    with predict.run(named_as, model=model.folder, jobs=jobs, progress=Progress(), **options) as found:
        return {Path(p.recording).stem: p.part(0, p.n_windows) for p in found.predictions}


def from_a_folder(model: LoadedModel, folder: Path) -> Scored:
    return predict_files(model, [folder], jobs=1)


def from_two_workers(model: LoadedModel, folder: Path) -> Scored:
    return predict_files(model, [folder], jobs=2)


def with_a_network_thread(model: LoadedModel, folder: Path) -> Scored:
    """Predict each file alone with two workers: the network runs in its own thread."""
    scored: Scored = {}
    for file in sorted(folder.glob("*.wav")):
        scored |= predict_files(model, [file], jobs=2)
    return scored


def from_a_path(model: LoadedModel, folder: Path) -> Scored:
    loaded = audiocnn.load_model(model.folder)
    return {file.stem: loaded.predict(file) for file in folder.glob("*.wav")}


def from_an_array(model: LoadedModel, folder: Path) -> Scored:
    loaded = audiocnn.load_model(model.folder)
    scored: Scored = {}
    for file in folder.glob("*.wav"):
        samples, rate = soundfile.read(file, dtype="float32")
        scored[file.stem] = loaded.predict(samples, sample_rate=rate)
    return scored


class OddBlocks(ArraySource):
    """An array that is read in blocks of odd sizes."""

    _n = 0

    def read(self, out: np.ndarray) -> np.ndarray:
        self._n += 1
        return super().read(out[: ODD[self._n % len(ODD)]])


def from_odd_blocks(model: LoadedModel, folder: Path) -> Scored:
    """Predict from samples in blocks of odd sizes, with batches of three windows."""
    scored: Scored = {}
    for file in folder.glob("*.wav"):
        samples, rate = soundfile.read(file, dtype="int16")
        source = Decoder(OddBlocks(samples, sample_rate=rate))
        recording_status, found = scoring.score_recording(source, model, batch_size=3)
        assert found is not None
        scored[file.stem] = found.prediction(model, file.name, recording_status)
    return scored


def from_the_store(model: LoadedModel, folder: Path) -> Scored:
    """Predict as `evaluate` does: frames from the files of a store, windows cut when needed."""
    kinds = [(FeatureStore(folder / "store", network.spec), network.frontend) for network in model.networks]
    scored: Scored = {}
    for file in folder.glob("*.wav"):
        statuses = [status for status, _ in featurize_file_together(file, None, kinds)]
        stored = [(status, store.frames(status)) for (store, _), status in zip(kinds, statuses, strict=True)]
        scored[file.stem] = scoring.predict_stored(model, file.name, stored)
    return scored


def from_a_microphone(model: LoadedModel, folder: Path) -> Scored:
    """Predict from a microphone with blocks of odd sizes; every window is scored alone."""
    scored: Scored = {}
    before = sys.modules.get("sounddevice")
    for file in folder.glob("*.wav"):
        samples, rate = soundfile.read(file, dtype="int16", always_2d=True)
        sys.modules["sounddevice"] = Fake(samples, rate, ODD)  # type: ignore[assignment]
        try:
            source = MicrophoneSource(n_channels=samples.shape[1], limit_s=len(samples) / rate)
            recording_status, found = scoring.score_recording(Decoder(source), model, batch_size=1)
        finally:
            sys.modules.pop("sounddevice") if before is None else sys.modules.update(sounddevice=before)
        assert found is not None
        scored[file.stem] = found.prediction(model, "microphone", recording_status)
    return scored


def from_flac(model: LoadedModel, folder: Path) -> Scored:
    """Predict from the same samples in another container."""
    elsewhere = folder / "flac"
    elsewhere.mkdir(exist_ok=True)
    for file in folder.glob("*.wav"):
        samples, rate = soundfile.read(file, dtype="int16")
        soundfile.write(elsewhere / f"{file.stem}.flac", samples, rate)
    scored = predict_files(model, [elsewhere], jobs=1)
    for file in elsewhere.iterdir():
        file.unlink()
    elsewhere.rmdir()
    return scored


WAYS: dict[str, Callable[[LoadedModel, Path], Scored]] = {
    "in a folder": from_a_folder,
    "two workers": from_two_workers,
    "a network thread": with_a_network_thread,
    "Python, a path": from_a_path,
    "Python, an array": from_an_array,
    "blocks of odd sizes": from_odd_blocks,
    "the feature store": from_the_store,
    "a microphone": from_a_microphone,
    "as FLAC": from_flac,
}


def test_the_order_of_recordings_changes_no_score(model: LoadedModel, folder: Path, reference: Scored) -> None:
    loaded = audiocnn.load_model(model.folder)
    for name in ("short", "long", "short", "slow"):
        np.testing.assert_allclose(loaded.predict(folder / f"{name}.wav").scores, reference[name].scores, atol=WITHIN)


def test_a_missing_sample_changes_scores(model: LoadedModel, folder: Path, reference: Scored) -> None:
    samples, rate = soundfile.read(folder / "long.wav", dtype="float32")
    found = audiocnn.load_model(model.folder).predict(samples[1:], sample_rate=rate)
    assert np.abs(found.window_scores - reference["long"].window_scores).max() > 10 * WITHIN


@pytest.mark.parametrize("way", WAYS)
def test_scores_are_the_same_to_five_decimals_on_every_path(
    model: LoadedModel, folder: Path, reference: Scored, way: str
) -> None:
    compare(WAYS[way](model, folder), reference, way, model)


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Dask cluster on this machine: two workers, one with a nanny and one without."""
    pytest.importorskip("distributed", reason="needs the [cluster] extra")
    if sys.platform != "linux":
        pytest.skip("the machines of the tests look at processes through /proc")
    from test_cluster import Machines, wait_for_workers

    with contextlib.ExitStack() as stack:
        machines = Machines(tmp_path_factory.mktemp("machines"))
        stack.callback(machines.end)
        machines.worker("--nanny")
        machines.worker("--no-nanny")
        wait_for_workers(machines, 2)
        yield machines.address


def test_scores_are_the_same_to_five_decimals_on_a_cluster(
    model: LoadedModel, folder: Path, reference: Scored, scheduler: str
) -> None:
    compare(predict_files(model, [folder], jobs=1, scheduler=scheduler), reference, "a Dask cluster", model)


def compare(found: Scored, reference: Scored, way: str, model: LoadedModel) -> None:
    assert set(found) == set(reference)
    for name, expected in reference.items():
        there = found[name]
        assert (there.label, there.status, there.recording_status.status) == (expected.label, expected.status, "ok"), (
            name
        )
        assert there.reason == expected.reason, name
        assert there.window_scores.shape == expected.window_scores.shape, name
        np.testing.assert_allclose(there.starts_s, expected.starts_s, atol=1e-9, err_msg=name)
        np.testing.assert_allclose(there.ends_s, expected.ends_s, atol=1e-9, err_msg=name)
        assert np.array_equal(there.loud, expected.loud), name
        of_windows = np.abs(there.window_scores - expected.window_scores).max()
        of_all = np.abs(there.scores - expected.scores).max()
        assert max(of_windows, of_all) <= WITHIN, name
        largest[f"{way}, {name}, {model.info.name}"] = float(max(of_windows, of_all))
