"""Batch sizes, precision, memory that does not suffice, and several processes that train one network."""

import json
import multiprocessing
import os
import runpy
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import prefork
import pytest
import soundfile
import sounds
from extras import require_keras
from projects import audiocnn, featurized

from audiocnn import config
from audiocnn.audio import workers
from audiocnn.errors import ConfigError
from audiocnn.model import network
from audiocnn.model.notation import parse
from audiocnn.progress import Progress
from audiocnn.specs import TrainSpec
from audiocnn.training import checkpoint, devices, fit, tensorboard

require_keras()

SHAPE = (13, 9, 1)
UNSCALED = (np.zeros((1, 1, 1), np.float32), np.ones((1, 1, 1), np.float32))


class Recordings:
    """Windows of three labels, told apart by the bin that stands out."""

    def __init__(self, n: int = 120, seed: int = 0) -> None:
        self.y = np.arange(n) % 3
        self.X = np.random.default_rng(seed).standard_normal((n, *SHAPE)).astype(np.float32)
        self.X[np.arange(n), 2 + 3 * self.y] += 1.5
        self.bounds = np.arange(n + 1)

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, indices: np.ndarray) -> np.ndarray:
        return self.X[indices]


class Saying(Progress):
    def __init__(self) -> None:
        self.said: list[str] = []

    def info(self, line: str) -> None:
        self.said.append(line)


def learn(spec: TrainSpec, n: int = 120, notation: str = "4C3-P2-8-*", progress: Progress | None = None, **more):
    recordings, validation = Recordings(n), Recordings(30, seed=1)
    return fit.fit(
        parse(notation, input_shape=SHAPE, n_labels=3), spec, train=(recordings, recordings.y),
        validation=(validation, validation.y), scale=UNSCALED, weights={0: 1.0, 1: 2.0, 2: 0.5},
        progress=progress or Progress(), **more,
    )  # fmt: skip


def accuracy(trained: fit.FitResult) -> float:
    unseen = Recordings(300, seed=2)
    return float((np.asarray(trained.model(unseen.X, training=False)).argmax(axis=1) == unseen.y).mean())


@pytest.mark.parametrize(
    ("rates", "n_windows", "chosen", "tried"),
    [
        ({32: 100, 64: 101, 128: 102}, 10**6, 32, [32, 64, 128]),  # two that bring nothing end it
        ({32: 100, 64: 150, 128: 200, 256: 204, 512: 198}, 10**6, 128, [32, 64, 128, 256, 512]),
        ({32: 100, 64: 200}, 10**6, 64, [32, 64]),  # 128 does not fit
        ({4: 10, 2: 9, 1: 8}, 10**6, 4, [4]),  # neither do 32, 16 and 8, and 8 is not tried twice
        ({32: 100, 64: 200, 128: 400}, 64 * 16, 64, [32, 64]),  # an epoch of few windows keeps 16 steps
    ],
)
def test_the_smallest_batch_that_is_nearly_the_fastest_is_taken(rates, n_windows, chosen, tried):
    size, found = devices.fastest_batch_size(rates.get, n_windows)
    assert size == chosen
    assert list(found) == tried


def test_a_network_that_fits_with_no_batch_is_refused_in_one_line():
    with pytest.raises(ConfigError, match=r"^out of memory[^\n]*smaller network[^\n]*$"):
        devices.fastest_batch_size(lambda size: None, 10**6)


@pytest.mark.slow
def test_a_batch_size_that_was_measured_is_said_recorded_and_not_measured_again(tmp_path, monkeypatch):
    spec = TrainSpec(epochs=1, patience=9, batch_size="auto")
    progress = Saying()
    file = tmp_path / "x"
    first = learn(spec, 1_100, progress=progress, file=file)
    assert first.batch_size in (32, 64)  # 16 steps an epoch are kept
    assert any(f"batch size: {first.batch_size}," in line for line in progress.said)
    assert checkpoint.read(file).settings["batch_size"] == first.batch_size
    monkeypatch.setattr(devices, "fastest_batch_size", lambda *_: pytest.fail("measured again"))
    assert learn(spec, 1_100, file=file).batch_size == first.batch_size
    fixed = learn(TrainSpec(epochs=1, patience=9, batch_size=first.batch_size), 1_100)
    assert fixed.history == first.history  # measuring leaves no trace


@pytest.mark.parametrize(("size", "remedy"), [(32, "set it to 16"), (1, "smaller network")])
def test_running_out_of_memory_names_the_batch_size_and_another_in_one_line(size, remedy):
    class Full(Recordings):
        def __getitem__(self, indices: np.ndarray) -> np.ndarray:
            if len(indices) == size and indices[0]:
                raise MemoryError
            return super().__getitem__(indices)

    full = Full()
    with pytest.raises(ConfigError, match=rf"^out of memory with train\.batch_size {size}; [^\n]*{remedy}[^\n]*$"):
        fit.fit(
            parse("*", input_shape=SHAPE, n_labels=3), TrainSpec(epochs=1, patience=1, batch_size=size),
            train=(full, full.y), validation=None, scale=UNSCALED, weights={0: 1.0, 1: 1.0, 2: 1.0},
            progress=Progress(),
        )  # fmt: skip


def test_a_tensor_that_is_too_large_for_the_memory_is_refused_in_one_line():
    import tensorflow as tf

    refused = pytest.raises(ConfigError, match=r"^out of memory with train\.batch_size 64; set it to 32$")
    with refused, devices.within_memory(64):
        tf.zeros((1 << 22, 1 << 20)) + 1  # 16 TiB


@pytest.mark.parametrize("able", [True, False])
def test_mixed_precision_is_used_where_the_processor_has_it_and_float32_said_elsewhere(able, monkeypatch):
    monkeypatch.setattr(devices, "_cpu_flags", lambda: {"avx512_bf16"} if able else {"avx2"})
    progress = Saying()
    chosen = devices.precision("mixed", progress)
    assert chosen == ("mixed_bfloat16" if able else "float32")
    assert any("precision: " + chosen in line for line in progress.said)


@pytest.mark.slow
def test_a_mixed_training_learns_and_ends_in_float32(monkeypatch):
    monkeypatch.setattr(devices, "_cpu_flags", lambda: {"avx512_bf16"})
    trained = learn(TrainSpec(epochs=6, patience=9, batch_size=8, precision="mixed"), 600)
    assert trained.precision == "mixed_bfloat16"
    assert {layer.compute_dtype for layer in trained.model.layers} == {"float32"}
    assert {w.dtype for w in trained.model.weights} == {"float32"}
    assert accuracy(trained) > 0.8


def test_mixed_precision_computes_in_16_bits_and_ends_in_float32():
    model = network.build(parse("4C3-BN-P2-8-*", input_shape=SHAPE, n_labels=3), "mixed_bfloat16")
    kinds = [layer.compute_dtype for layer in model.layers if layer.weights]
    assert kinds == ["bfloat16", "bfloat16", "bfloat16", "float32"]
    assert {w.dtype for w in model.weights} == {"float32"}


@pytest.mark.slow
def test_a_mixed_training_goes_on_with_the_very_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "precision", lambda wanted, progress: "mixed_float16")  # which scales the loss, too

    def spec(epochs: int) -> TrainSpec:
        return TrainSpec(epochs=epochs, patience=9, batch_size=16, precision="mixed", average=0.9)

    whole = learn(spec(2), file=tmp_path / "whole")
    learn(spec(1), file=tmp_path / "broken")
    broken = learn(spec(2), file=tmp_path / "broken")
    assert broken.history == whole.history
    assert all(np.array_equal(a, b) for a, b in zip(whole.model.weights, broken.model.weights, strict=True))


@pytest.mark.slow
def test_curves_are_written_for_tensorboard_and_go_on_where_they_stopped(tmp_path):
    def points(part: str) -> dict[str, list[int]]:
        import tensorflow as tf

        found: dict[str, list[int]] = {}
        for file in sorted((tmp_path / "logs" / part).iterdir()):
            for record in tf.data.TFRecordDataset(str(file)):
                event = tf.compat.v1.Event.FromString(record.numpy())
                for value in event.summary.value:
                    assert value.metadata.plugin_data.plugin_name in ("scalars", "")
                    found.setdefault(value.tag, []).append(event.step)
        return found

    curves = tensorboard.TensorBoardLogs(tmp_path / "logs", scalars=True)
    for epochs in (2, 3):
        learn(TrainSpec(epochs=epochs, patience=9), file=tmp_path / "x", logs=curves)
    assert points("train") == {name: [0, 1, 2] for name in ("epoch_loss", "epoch_accuracy", "epoch_learning_rate")}
    assert points("validation") == {name: [0, 1, 2] for name in ("epoch_loss", "epoch_accuracy")}
    learn(TrainSpec(epochs=1, patience=9), logs=curves)
    assert points("train")["epoch_loss"] == [0]


@pytest.mark.slow
def test_a_profile_is_written_however_few_steps_an_epoch_has_and_changes_nothing(tmp_path):
    spec = TrainSpec(epochs=1, patience=9)
    for n in (2_000, 90):
        logs = tensorboard.TensorBoardLogs(tmp_path / str(n), profile=True)
        profiled = learn(spec, n, logs=logs)
        assert len(list((tmp_path / str(n)).glob("plugins/profile/*/*.xplane.pb"))) == 1
    assert learn(spec, 90).history == profiled.history


# Several processors and machines. Each needs a process of its own; all are forks of one, which imports TensorFlow once.


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project for two labels, with what `_all_processes` has made in it."""
    folder = tmp_path_factory.mktemp("devices")
    for label, frequency in (("high", 3_000), ("low", 300)):
        for i in range(5):
            file = folder / "sounds" / label / f"{'abcde'[i]}.wav"
            file.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(file, sounds.tone(frequency + 40 * i, 1) + 0.2 * sounds.noise(1, seed=i), sounds.RATE)
    featurized(folder, model='"4C3-BN-P2-D5-8-*"')
    done = prefork.call("test_devices", "_all_processes", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def _all_processes() -> None:
    """Train in the current folder: on two cards, on two machines, and by the command on two machines."""
    network.load_keras()
    _in_forks(_train_on_cards, [{}])
    _in_forks(_train_on_a_machine, cluster())
    _in_forks(_train_by_command, cluster())


def _in_forks(train: Callable[[int], None], variables: list[dict[str, str]]) -> None:
    """Call ``train`` with its number in a fork for each of these environments; all must end well."""
    fork = multiprocessing.get_context("fork")
    forks = [fork.Process(target=_with_variables, args=(train, i, own)) for i, own in enumerate(variables)]
    for process in forks:
        process.start()
    for process in forks:
        process.join()
    assert [process.exitcode for process in forks] == [0] * len(forks)


def _with_variables(train: Callable[[int], None], index: int, variables: dict[str, str]) -> None:
    workers.end_with_parent()
    os.environ.update(variables)
    train(index)


def cluster() -> list[dict[str, str]]:
    """Environment variables of two processes of this machine."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    addresses = [f"127.0.0.1:{s.getsockname()[1]}" for s in sockets]
    for s in sockets:
        s.close()
    places = [{"cluster": {"worker": addresses}, "task": {"type": "worker", "index": i}} for i in range(2)]
    return [{"TF_CONFIG": json.dumps(place)} for place in places]


def _train_on_cards(_: int) -> None:
    """Two halves of the processor stand in for cards."""
    import tensorflow as tf

    half = tf.config.LogicalDeviceConfiguration()
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], [half, half])
    cards = devices.MultiGpu(["CPU:0", "CPU:1"])
    devices.strategy = lambda: cards  # type: ignore[assignment]
    for epochs in (1, 2):
        trained = learn(spec_of_two(epochs), file=Path("state-of-cards"))
    np.savez("cards.npz", **network.get_weights(trained.model))


def _train_on_a_machine(index: int) -> None:
    trained = learn(spec_of_two(2), file=Path(f"state-{index}"))
    np.savez(f"{index}.npz", **network.get_weights(trained.model))
    normalised = learn(spec_of_two(1), notation="4C3-BN-P2-8-*")
    np.savez(f"normalised-{index}.npz", **network.get_weights(normalised.model))


def _train_by_command(_: int) -> None:
    sys.argv[1:] = ["train", "--epochs", "1"]
    runpy.run_module("audiocnn", run_name="__main__")


def spec_of_two(epochs: int) -> TrainSpec:
    """Batches that two cannot share evenly: 120 is 4 times 25 and 20, and 17 of one of two."""
    return TrainSpec(epochs=epochs, patience=9, batch_size=17, optimizer="sgd", learning_rate=0.05)


@pytest.fixture(scope="module")
def alone() -> dict[str, np.ndarray]:
    """The weights that one process ends with."""
    return network.get_weights(learn(spec_of_two(2)).model)


@pytest.mark.slow
def test_cards_of_one_machine_share_the_batches(made, alone):
    found = np.load(made / "cards.npz")
    assert max(np.abs(alone[name] - found[name]).max() for name in alone) < 1e-4


@pytest.mark.slow
def test_two_machines_end_with_the_weights_of_one_that_has_the_same_batches(made, alone):
    first, second = (np.load(made / f"{i}.npz") for i in range(2))
    for name in alone:
        assert np.array_equal(first[name], second[name])
        np.testing.assert_allclose(first[name], alone[name], atol=1e-5)
    assert [(made / f"state-{i}").exists() for i in range(2)] == [True, False]
    first, second = (np.load(made / f"normalised-{i}.npz") for i in range(2))
    assert all(np.array_equal(first[name], second[name]) for name in first)


@pytest.mark.slow
def test_the_command_run_on_two_machines_writes_one_model(made):
    run = made / "runs" / config.read(made / "audiocnn.yaml").experiment.name
    assert (run / "model" / "bundle.json").is_file()
    assert not (run / "training.checkpoint").exists()
    audiocnn("evaluate", cwd=made)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "3",
        '{"cluster": {"worker": ["a:1"]}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "ps", "index": 0}}',
        '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 2}}',
    ],
)
def test_a_tf_config_that_names_no_place_is_refused_in_one_line(text, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ConfigError, match=r"^TF_CONFIG: [^\n]*$"):
        devices.role()


def test_the_role_is_that_of_tf_config(monkeypatch):
    assert devices.role() == devices.Role(0, 1)
    of_three = {"cluster": {"chief": ["a:1"], "worker": ["b:1", "c:1"]}, "task": {"type": "worker", "index": 1}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(of_three))
    assert (devices.role(), devices.role().writes) == (devices.Role(2, 3), False)
    monkeypatch.setenv("TF_CONFIG", json.dumps({**of_three, "task": {"type": "chief", "index": 0}}))
    assert devices.role().writes
