"""The presets that hold the sources' own settings: the network, its size, and how it is trained."""

import os

import pytest
import soundfile
from projects import audiocnn
from sounds import RATE, tone

from audiocnn import config
from audiocnn.errors import ArchitectureError
from audiocnn.features import frontend
from audiocnn.model.notation import parse
from audiocnn.training.fit import learning_rate

# File: shape of a window, number of labels, parameters that the source's network has there.
NETWORKS = {
    "instrument": ((13, 9, 1), 10, 504_170),
    "spectrogram": ((50, 128, 2), 2, 6_385_441),
    "spectrogram-advanced": ((50, 128, 2), 2, 6_386_337),
    "compact": ((28, 28, 1), 10, 10_524),
    "tutorial": ((32, 32, 2), 10, 477_994 - 3 * 3 * 32),  # a third colour would have 3x3 weights for each of 32 filters
    "notes": ((250, 250, 1), 10, 27_734_190),
    "alexnet": ((250, 250, 1), 10, 58_304_586),
}

# File: loss, optimizer, batch, epochs, learning rates of the epochs 0, 1 and 5.
SETTINGS = {
    "instrument": ("cross_entropy", "adam", 32, 10, [1e-3, 1e-3, 1e-3]),
    "spectrogram": ("mse", "adam", 80, 30, [5e-4, 4.75e-4, 5e-4 * 0.95**5]),
    "spectrogram-advanced": ("mse", "adam", 64, 30, [5e-4, 4.75e-4, 5e-4 * 0.95**5]),
    "compact": ("cross_entropy", "adam", 64, 20, [3e-3, 0.003 / 1.319, 0.003 / 2.595]),
    "tutorial": ("cross_entropy", "adam", 128, 200, [1e-3, 1e-3, 1e-3]),
    "notes": ("cross_entropy", "adam", 32, 10, [1e-3, 1e-3, 1e-3]),
    "alexnet": ("cross_entropy", "sgd", 32, 50, [1e-3, 1e-3, 1e-3]),
}


def read(name):
    return config.read_preset(f"sources/{name}")


def test_every_file_is_known_here():
    folder = config.preset_file("sources/instrument").parent
    assert {file.stem for file in folder.glob("*")} == set(NETWORKS) == set(SETTINGS)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_of_the_sources_has_its_exact_size_on_its_own_windows(name):
    preset, (shape, n_labels, n_params) = read(name), NETWORKS[name]
    assert preset.features.shape == shape
    net = parse(preset.model, input_shape=shape, n_labels=n_labels)
    assert net.n_params == n_params
    assert (net.head, net.n_outputs) == (("sigmoid", 1) if n_labels == 2 else ("softmax", n_labels))


@pytest.mark.parametrize("name", SETTINGS)
def test_a_network_is_trained_as_its_source_trains_it(name):
    train = read(name).train
    loss, optimizer, batch_size, epochs, rates = SETTINGS[name]
    assert (train.loss, train.optimizer, train.batch_size, train.epochs) == (loss, optimizer, batch_size, epochs)
    assert [learning_rate(train, epoch) for epoch in (0, 1, 5)] == pytest.approx(rates, rel=1e-12)


@pytest.mark.parametrize("name", SETTINGS)
def test_nothing_stops_a_training_before_the_epochs_of_its_source(name):
    train = read(name).train
    assert train.patience >= train.epochs


def test_the_instrument_tutorial_weighs_its_classes_and_leaves_coefficients_as_they_are():
    preset = read("instrument")
    assert (preset.train.class_weight, preset.train.standardize) == ("balanced", "none")
    ours = config.read_preset("instrument").features
    assert preset.features == ours.model_copy(update={"quiet_db": None})  # the source uses every window


@pytest.mark.parametrize("name", ["spectrogram", "spectrogram-advanced"])
def test_the_notes_on_spectrograms_validate_on_a_third_and_keep_the_most_accurate_epoch(name):
    preset = read(name)
    assert preset.split.validation == pytest.approx(1 / 3, abs=1e-3)
    assert preset.train.monitor == "accuracy"
    assert preset.features == config.read_preset("spectrogram").features


@pytest.mark.parametrize("n_labels", [2, 9, 11])
def test_the_compact_net_is_for_ten_labels_and_fits_others_as_its_file_says(n_labels):
    preset = read("compact")
    with pytest.raises(ArchitectureError, match=f"gives 10 outputs, but there are {n_labels} labels"):
        parse(preset.model, input_shape=preset.features.shape, n_labels=n_labels)
    adapted = preset.model.replace("10C4VL", f"{n_labels}C4VL")
    assert parse(adapted, input_shape=preset.features.shape, n_labels=n_labels).n_outputs == n_labels


@pytest.mark.parametrize("name", NETWORKS)
def test_every_mel_band_of_a_window_hears_something(name):
    assert (frontend.compute(read(name).features).mel.max(axis=0) > 0).all()


@pytest.mark.parametrize("by", ["name", "path"])
def test_init_takes_a_source_by_name_and_by_path(tmp_path, by):
    for label, hz in (("high", 880), ("low", 110)):
        (tmp_path / "sounds" / label).mkdir(parents=True)
        for number in range(3):
            soundfile.write(tmp_path / "sounds" / label / f"{number}.wav", tone(hz + number, 1.0), RATE)
    preset = "sources/compact" if by == "name" else os.fspath(config.preset_file("sources/compact"))
    audiocnn("init", "sounds", "--preset", preset, cwd=tmp_path)
    experiment = config.read(tmp_path / "audiocnn.yaml").experiment
    sections = ("features", "split", "model", "train", "decide", "evaluate", "members")
    written = {section: getattr(experiment, section) for section in sections}
    assert written == dict(read("compact"))
