"""An interrupted training goes on as if it had never been interrupted, to the last bit."""

import contextlib
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import prefork
import pytest
import soundfile
import sounds
from extras import require_keras
from projects import featurized, trained

from audiocnn.errors import ConfigError, IntegrityError
from audiocnn.model import network
from audiocnn.model.notation import parse
from audiocnn.progress import Progress
from audiocnn.specs import TrainSpec
from audiocnn.training import checkpoint, fit
from audiocnn.training.checkpoint import Checkpoint
from audiocnn.training.transfer import InitialWeights

require_keras()

SHAPE = (13, 9, 1)
UNSCALED = (np.zeros((1, 1, 1), np.float32), np.ones((1, 1, 1), np.float32))
RECIPES = {
    "sgd": {"optimizer": "sgd", "schedule": "inverse", "decay": 0.3},
    "all": {
        "optimizer": "adamw", "weight_decay": 0.05, "schedule": "cosine", "warmup_epochs": 1, "average": 0.9,
        "mixup": 0.3, "mask_frames": 0.3, "mask_bins": 0.3, "label_smoothing": 0.1, "windows_per_recording": 4,
    },
}  # fmt: skip


class Recordings:
    """Ten windows each of twelve recordings, in three labels."""

    def __init__(self, seed: int = 0) -> None:
        self.y = np.repeat(np.arange(12) % 3, 10)
        self.X = np.random.default_rng(seed).standard_normal((120, *SHAPE)).astype(np.float32)
        self.X[np.arange(120), 2 + 3 * self.y] += 1
        self.bounds = np.arange(0, 121, 10)

    def __len__(self) -> int:
        return 120

    def __getitem__(self, indices: np.ndarray) -> np.ndarray:
        return self.X[indices]


class InterruptedError(Exception):
    """The power fails."""


class Fuse(Progress):
    """Progress that ends after so many reports of finished steps."""

    def __init__(self, after: int) -> None:
        self.left = after
        self.said: list[str] = []

    def info(self, line: str) -> None:
        self.said.append(line)

    def task(self, title: str, *, total: int, unit: str):
        @contextlib.contextmanager
        def task():
            def advance(amount: float = 1, note: str = "") -> None:
                self.left -= 1
                if self.left == 0:
                    raise InterruptedError

            yield advance

        return task()


def train(spec: TrainSpec, file: Path | None, progress: Progress, settings: dict | None = None) -> fit.FitResult:
    recordings, validation = Recordings(), Recordings(1)
    return fit.fit(
        parse("4C3-BN-P2-D5-*", input_shape=SHAPE, n_labels=3), spec,
        train=(recordings, recordings.y), validation=(validation, validation.y), scale=UNSCALED,
        weights={0: 1.0, 1: 2.0, 2: 0.5}, progress=progress, file=file, settings=settings or {"seed": 1},
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "many_steps", "interruptions"),
    [
        ("sgd", 1, ["end of an epoch"]),  # with 1, all steps of an epoch are one report
        ("all", fit._MANY_STEPS, ["middle of an epoch", "end of an epoch"]),
    ],
)
def test_a_training_interrupted_anywhere_ends_with_the_very_weights_of_one_that_was_not(
    recipe, many_steps, interruptions, tmp_path, monkeypatch
):
    monkeypatch.setattr(fit, "_MANY_STEPS", many_steps)
    spec = TrainSpec(epochs=4, patience=4, batch_size=16, seed=3, **RECIPES[recipe])
    whole = train(spec, tmp_path / "whole", Progress())
    file = tmp_path / "broken"
    per_epoch = 1 + (1 if many_steps == 1 else 3 if "windows_per_recording" in RECIPES[recipe] else 8)  # reports
    after = {"middle of an epoch": per_epoch + per_epoch // 2 + 1, "end of an epoch": 2 * per_epoch + 1}
    for interruption in interruptions:
        with pytest.raises(InterruptedError):
            train(spec, file, Fuse(after[interruption]))
    progress = Fuse(10**6)
    resumed = train(spec, file, progress)
    assert any("resuming an interrupted training after epoch" in line for line in progress.said)
    assert resumed.history == whole.history
    assert resumed.best_epoch == whole.best_epoch
    one, other = network.get_weights(whole.model), network.get_weights(resumed.model)
    assert all(np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.slow
def test_a_training_interrupted_where_frozen_layers_thaw_ends_with_the_very_weights(tmp_path):
    notation = "4C3-BN-P2-*"
    architecture = parse(notation, input_shape=SHAPE, n_labels=3)
    network.load_keras().utils.set_random_seed(9)
    taken = {k: v for k, v in network.get_weights(network.build(architecture)).items() if not k.startswith("dense")}
    start = InitialWeights(taken, UNSCALED, "0" * 64)
    spec = TrainSpec(epochs=4, patience=4, freeze_epochs=2, batch_size=16, average=0.9)

    def learn(file: Path, progress: Progress) -> dict[str, np.ndarray]:
        recordings = Recordings()
        result = fit.fit(
            architecture, spec, train=(recordings, recordings.y), validation=None, scale=UNSCALED, start=start,
            weights={0: 1.0, 1: 2.0, 2: 0.5}, progress=progress, file=file, settings={"seed": 1},
        )  # fmt: skip
        return network.get_weights(result.model)

    whole = learn(tmp_path / "whole", Progress())
    done = []
    for _ in range(2):
        with pytest.raises(InterruptedError):
            learn(tmp_path / "broken", Fuse(14))  # in the middle of an epoch but one
        done.append(len(checkpoint.read(tmp_path / "broken").history))
    assert 2 in done  # just before the thaw
    resumed = learn(tmp_path / "broken", Progress())
    assert all(np.array_equal(whole[name], resumed[name]) for name in whole)


@pytest.mark.slow
def test_a_finished_training_is_not_repeated_and_its_checkpoint_is_refused_with_other_settings(tmp_path):
    spec = TrainSpec(epochs=1, patience=1, batch_size=16)
    settings = {"train": {"seed": 1, "epochs": 1}, "model": "4C3-*"}
    first = train(spec, tmp_path / "x", Progress(), settings)
    again = train(spec, tmp_path / "x", Progress(), settings)
    assert again.history == first.history
    assert all(np.array_equal(a, b) for a, b in zip(first.model.get_weights(), again.model.get_weights(), strict=True))
    says = r"^[^\n]*train\.seed was 1, is 2[^\n]*--fresh[^\n]*$"
    with pytest.raises(ConfigError, match=says):
        train(spec, tmp_path / "x", Progress(), {"train": {"seed": 2, "epochs": 1}, "model": "4C3-*"})


@pytest.mark.parametrize("kept", [0, 0.3, 0.99])
def test_a_checkpoint_that_was_cut_is_refused(kept, tmp_path):
    file = tmp_path / "x"
    Checkpoint({"a": 1}, [{"epoch": 1, "loss": 0.5}], 1, {"model": [np.arange(5.0)], "best": [np.ones(3)]}).write(file)
    found = checkpoint.read(file)
    assert (found.settings, found.history, found.best_epoch) == ({"a": 1}, [{"epoch": 1, "loss": 0.5}], 1)
    assert np.array_equal(found.arrays["model"][0], np.arange(5.0))
    file.write_bytes(file.read_bytes()[: int(kept * file.stat().st_size)])
    with pytest.raises(IntegrityError, match="--fresh"):
        checkpoint.read(file)


@pytest.mark.slow
def test_the_command_killed_in_the_middle_of_training_ends_with_the_same_model(tmp_path):
    for label, frequency in (("high", 3_000), ("low", 300)):
        (tmp_path / "sounds" / label).mkdir(parents=True)
        for i in range(5):
            samples = sounds.tone(frequency + 40 * i, 1) + 0.2 * sounds.noise(1, seed=i)
            soundfile.write(tmp_path / "sounds" / label / f"{'abcde'[i]}.wav", samples, sounds.RATE)
    project = featurized(tmp_path, model='"4C3-D5-GAP-*"', epochs="12")
    trained(project)
    expected = (project.run / "model" / "weights.safetensors").read_bytes()
    shutil.rmtree(project.run / "model")
    deadline = time.monotonic() + 120
    killed = prefork.run(
        "train", cwd=tmp_path,
        kill_when=lambda: (project.run / "training.checkpoint").exists() or time.monotonic() > deadline,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL
    assert (project.run / "training.checkpoint").exists()
    assert not (project.run / "model").exists()
    trained(project)
    assert (project.run / "model" / "weights.safetensors").read_bytes() == expected
    assert not (project.run / "training.checkpoint").exists()
