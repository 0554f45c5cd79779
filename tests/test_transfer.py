"""What a network takes over from a trained one, what rests while the head learns, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
from extras import require_keras
from projects import audiocnn, featurized, tones, trained

from audiocnn import config
from audiocnn.errors import ConfigError
from audiocnn.model import bundle, network
from audiocnn.model.notation import parse
from audiocnn.progress import Progress
from audiocnn.specs import TrainSpec
from audiocnn.training import fit as training
from audiocnn.training import transfer

require_keras()

pytestmark = pytest.mark.slow

SPEC = config.read_preset("instrument").features


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A project with a trained model for three labels."""
    folder = tmp_path_factory.mktemp("transfer")
    tones(folder / "sounds", n=4)
    trained(featurized(folder, model='"8C3-BN-P2-16C3-16-*"', epochs="1"))
    return folder


@pytest.fixture(scope="module")
def model(project) -> Path:
    return project / "runs" / "sounds" / "model"


def net(notation: str, n_labels: int = 2, shape=SPEC.shape):
    return parse(notation, input_shape=shape, n_labels=n_labels)


def test_all_before_the_first_dense_layer_is_taken_over_with_its_scale(model):
    start = transfer.from_bundle(model, net("8C3-BN-P2-16C3-32-*"), SPEC)
    there = bundle.read_weights(model)
    assert start.layers == {"conv_1", "bn_2", "conv_4"}
    assert all(np.array_equal(array, there[name]) for name, array in start.weights.items())
    info = bundle.load(model).info
    assert np.array_equal(start.scale[0], np.array(info.mean, np.float32))
    assert np.array_equal(start.scale[1], np.array(info.std, np.float32))


def test_windows_may_be_cut_otherwise(model):
    longer = SPEC.model_copy(update={"window_frames": 20, "hop_frames": 5})
    assert transfer.from_bundle(model, net("8C3-BN-P2-16C3-*", shape=longer.shape), longer).weights


@pytest.mark.parametrize(
    ("notation", "changes", "says"),
    [
        ("8C3-BN-P2-32C3-16-*", {}, "token 4 is '32C3', in .* it is '16C3'.*same beginning: 8C3-BN-P2-16C3-16-"),
        ("8C3-BN-P2-*", {}, "token 4 is the head, in .* it is '16C3'"),
        ("8C3-BN-P2-16C3-P2-16-*", {}, "token 5 is 'P2', in .* it is the head"),
        ("64-*", {}, "no convolution that could be kept"),
        ("8C3-BN-P2-16C3-16-*", {"hop_length": 100}, "features.hop_length is 200, this project's is 100"),
    ],
)
def test_another_beginning_and_other_features_are_refused_in_one_line(model, notation, changes, says):
    with pytest.raises(ConfigError, match=rf"^[^\n]*{says}[^\n]*$"):
        transfer.from_bundle(model, net(notation), SPEC.model_copy(update=changes))


def test_a_residual_sum_must_begin_where_it_does_in_the_model():
    here, there = (transfer._before_the_head(net(f"8C3-{block}-GAP-*"))[3] for block in ("[8C3-BN]+", "8C3-[BN]+"))
    assert (here.token, there.token) == ("+", "+")
    assert transfer._shown(here) == "'+' of a block from token 2"
    assert transfer._shown(there) == "'+' of a block from token 3"


def test_pooling_by_attention_does_not_hide_that_a_convolution_gives_the_outputs():
    assert [layer.token for layer in transfer._before_the_head(net("8C3-BN-2C1L-AP-softmax"))] == ["8C3", "BN"]
    assert [layer.token for layer in transfer._before_the_head(net("8C3-BN-AP-16-*"))] == ["8C3", "BN", "AP"]


class Windows:
    """Sixty windows of two labels, ten a recording."""

    y = np.repeat([0, 1, 0, 1, 0, 1], 10)
    bounds = np.arange(0, 61, 10)

    def __init__(self) -> None:
        self.X = (
            np.random.default_rng(0).standard_normal((60, *SPEC.shape)).astype(np.float32) + self.y[:, None, None, None]
        )

    def __len__(self) -> int:
        return 60

    def __getitem__(self, indices: np.ndarray) -> np.ndarray:
        return self.X[indices]


def fit(model: Path, *, epochs: int, freeze_epochs: int) -> tuple[transfer.InitialWeights, dict[str, np.ndarray]]:
    architecture = net("8C3-BN-P2-16C3-8-*")
    start = transfer.from_bundle(model, architecture, SPEC)
    windows = Windows()
    spec = TrainSpec(epochs=epochs, patience=9, freeze_epochs=freeze_epochs, batch_size=16, learning_rate=0.01)
    made = training.fit(
        architecture, spec, train=(windows, windows.y), validation=None, scale=start.scale, start=start,
        weights={0: 1.0, 1: 1.0}, progress=Progress(),
    )  # fmt: skip
    return start, network.get_weights(made.model)


def test_frozen_layers_rest_while_the_head_learns_and_move_afterwards(model):
    start, after = fit(model, epochs=1, freeze_epochs=1)
    assert all(np.array_equal(after[name], array) for name, array in start.weights.items())
    _, one_more = fit(model, epochs=2, freeze_epochs=1)
    assert not any(np.array_equal(one_more[name], array) for name, array in start.weights.items())
    _, unfrozen = fit(model, epochs=1, freeze_epochs=0)
    assert not any(np.array_equal(unfrozen[name], array) for name, array in start.weights.items())


def test_the_command_begins_with_the_convolutions_of_a_model_and_gives_new_labels_a_head(project, model, tmp_path):
    rows = ["path,label", *(f"{label}/{i}.wav,{label}" for label in ("high", "low") for i in range(4))]
    (project / "sounds" / "two.csv").write_text("\n".join(rows) + "\n")
    lines = {"model": '"8C3-BN-P2-16C3-16-*"', "epochs": "2", "freeze_epochs": "2", "name": '"two"'}
    two = featurized(tmp_path, source=project / "sounds" / "two.csv", **lines)
    trained(two, init_from=model)
    made = tmp_path / "runs" / "two" / "model"
    old, new = bundle.read_weights(model), bundle.read_weights(made)
    kept = [name for name in new if not name.startswith("dense")]
    assert kept
    assert all(np.array_equal(old[name], new[name]) for name in kept)
    info = bundle.load(made).info
    assert info.labels == ("high", "low")
    assert info.provenance["init_from"] == bundle.load(model).digest
    again = audiocnn("train", "--init-from", model, cwd=tmp_path)
    assert "finished model of the same settings" in again.stdout
    trained(two)
    assert bundle.load(made).info.provenance.get("init_from") is None
    refused = audiocnn("train", "--init-from", project, cwd=tmp_path, code=2)
    assert refused.stderr.count("\n") <= 2
    assert "not a model" in refused.stderr
