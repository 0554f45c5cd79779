"""YAML to settings: valid files, and the one line that reports each mistake."""

import contextlib
import itertools
import re
import time

import pytest
import yaml
from pydantic import ValidationError

from audiocnn import config
from audiocnn.config import PRESETS
from audiocnn.errors import ConfigError
from audiocnn.features import frontend
from audiocnn.specs import FeatureSpec

DATA = 'name: sounds\ndata: {manifest: "manifest.csv", root: "."}\n'


@pytest.fixture(scope="module")
def preset_text():
    return config.preset_file("instrument").read_text(encoding="utf-8")


def with_value(text, key, value):
    """The YAML with another value for ``key``, wherever it stands."""
    changed, n = re.subn(rf"(?m)^(\s*){key}: .*$", lambda match: f"{match[1]}{key}: {value}", text, count=1)
    assert n == 1
    return changed


def refusal(tmp_path, text):
    """The message for a preset with this text, less the name of the file that it begins with."""
    file = tmp_path / "mine.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    with pytest.raises(ConfigError) as refused:
        config.read_preset(str(file))
    message = str(refused.value)
    assert message.startswith(f"{file}:")
    assert "\n" not in message
    assert len(message) < 400
    return message.removeprefix(f"{file}:").strip()


def mistake(tmp_path, text):
    """The message for a mistake in the settings of a preset, less the file and the line."""
    return re.sub(r"^line \d+: ", "", refusal(tmp_path, text))


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("general", (100, 128, 1)),
        ("instrument", (13, 9, 1)),
        ("spectrogram", (50, 128, 2)),
        ("ultrasonic", (51, 96, 1)),
    ],
)
def test_a_preset_gives_windows_of_its_documented_shape(name, shape):
    assert config.read_preset(name).features.shape == shape


def test_windows_of_the_presets_last_a_tenth_of_a_second_and_a_second():
    general, instrument, spectrogram, ultrasonic = (config.read_preset(name).features for name in PRESETS)
    assert (general.window_frames * general.hop_length / general.sample_rate, general.hop_s) == (1, 0.5)
    assert (instrument.window_s, instrument.hop_s) == (0.1, 0.1)
    assert (spectrogram.window_frames * spectrogram.hop_length / spectrogram.sample_rate, spectrogram.hop_s) == (1, 0.5)
    assert (ultrasonic.window_s, ultrasonic.hop_s) == (0.1, 0.05)
    assert ultrasonic.hop_length / ultrasonic.sample_rate == 0.002


def test_no_mel_band_of_the_ultrasonic_preset_is_empty():
    spec = config.read_preset("ultrasonic").features
    assert ((frontend.make(spec).mel > 0).sum(axis=0) >= 2).all()


@pytest.mark.parametrize(("rate", "valid"), [(768_000, True), (768_001, False)])
def test_sample_rates_up_to_768_khz_are_valid(rate, valid):
    fields = config.read_preset("ultrasonic").features.model_dump() | {"sample_rate": rate}
    with contextlib.nullcontext() if valid else pytest.raises(ValidationError, match="768000"):
        assert FeatureSpec.model_validate(fields).upper_hz == 384_000


@pytest.mark.parametrize("name", PRESETS)
def test_every_value_of_a_preset_is_explained(name):
    lines = config.preset_file(name).read_text(encoding="utf-8").splitlines()
    values = [(above, line) for above, line in itertools.pairwise(lines) if re.match(r"\s*\w+: +[^# ]", line)]
    assert len(values) > 30
    for above, line in values:
        assert "# " in line or above.startswith("# "), f"{name}.yaml says {line.strip()!r} and not why"


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_contains_every_setting(name):
    preset = config.read_preset(name)
    written = yaml.safe_load(config.preset_file(name).read_text(encoding="utf-8"))
    for section in ("features", "split", "train", "decide", "evaluate"):
        assert set(written[section]) == set(type(getattr(preset, section)).model_fields)


def test_an_experiment_is_a_preset_with_a_name_and_data(tmp_path, preset_text):
    file = tmp_path / "audiocnn.yaml"
    file.write_text(DATA + preset_text, encoding="utf-8")
    project = config.read(file)
    assert project.experiment.features == config.read_preset("instrument").features
    assert project.manifest == tmp_path / "manifest.csv"
    assert project.run == tmp_path / "runs" / "sounds"


def test_a_missing_file_is_reported_with_the_command_to_run_first(tmp_path):
    with pytest.raises(ConfigError, match=r"audiocnn\.yaml: no such file; run 'audiocnn init"):
        config.read(tmp_path / "audiocnn.yaml")


def test_an_unknown_preset_is_reported_with_the_nearest_name():
    with pytest.raises(ConfigError, match=r"preset 'spectogram': neither a file nor .* did you mean 'spectrogram'"):
        config.read_preset("spectogram")


@pytest.mark.parametrize("name", ["../escape", "..", "a/b", ".hidden", ""])
def test_the_name_of_an_experiment_cannot_leave_its_folder(tmp_path, preset_text, name):
    file = tmp_path / "audiocnn.yaml"
    file.write_text(f'name: "{name}"\ndata: {{manifest: m.csv, root: "."}}\n' + preset_text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"audiocnn\.yaml: line 1: name: '"):
        config.read(file)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("epochs", "'30'", "train.epochs: '30': should be a valid integer"),
        ("epochs", "30.0", "train.epochs: 30.0: should be a valid integer"),
        ("epochs", "true", "train.epochs: true: should be a valid integer"),
        ("epochs", "null", "train.epochs: null: should be a valid integer"),
        ("epochs", "0", "train.epochs: 0: should be greater than or equal to 1"),
        ("batch_size", "[32]", "train.batch_size: [32]: should be 'auto', or should be a valid integer"),
        ("batch_size", "{a: 1}", "train.batch_size: {'a': 1}: should be 'auto', or should be a valid integer"),
        ("learning_rate", "fast", "train.learning_rate: 'fast': should be a valid number"),
        ("learning_rate", "true", "train.learning_rate: true: should be a valid number"),
        ("learning_rate", "1e400", "train.learning_rate: inf: should be a finite number"),
        ("learning_rate", "-0.1", "train.learning_rate: -0.1: should be greater than 0"),
        ("fmin", ".nan", "features.fmin: nan: should be a finite number"),
        ("silence_dbfs", "-.inf", "features.silence_dbfs: -inf: should be a finite number"),
        ("kind", "mfc", "features.kind: 'mfc': should be 'mfcc' or 'logmel'; did you mean 'mfcc'?"),
        ("kind", "[mfcc]", "features.kind: ['mfcc']: should be 'mfcc' or 'logmel'"),
        ("channel", "1.5", "features.channel: 1.5: should be 'mix' or 'each', or should be a valid integer"),
        ("channel", "-1", "features.channel: -1: should be 'mix' or 'each', or should be greater than or equal to 0"),
        ("channels", "static", "features.channels: 'static': should be a list, such as [a, b]"),
        ("channels", "[static, static]", "features: channels contains the same channel twice; remove one"),
        ("n_fft", "511", "features: n_fft (511) must be even"),
        ("fmax", "9000", "features: fmin < fmax <= sample_rate / 2 (8000 Hz) is needed"),
        ("model", "8", "model: 8: should be a string; put it in quotes"),
        ("train", "[1]", "train: [1]: should be a block of settings"),
    ],
)
def test_a_wrong_value_is_named_with_its_key_and_what_it_should_be(tmp_path, preset_text, key, value, message):
    if key == "train":
        text = re.sub(r"(?ms)^train:\n.*?\n\n", f"train: {value}\n\n", preset_text)
    else:
        text = with_value(preset_text, key, value)
    assert mistake(tmp_path, text) == message


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  epochs:", "  epoch:", "train.epoch: 20: unknown key; did you mean 'epochs'?"),
        (
            "  learning_rate:",
            "  learning-rate:",
            "train.learning-rate: 0.001: unknown key; did you mean 'learning_rate'?",
        ),
        ("  n_mels:", "  N_Mels:", "features.N_Mels: 26: unknown key; did you mean 'n_mels'?"),
        ("split:", "data:\n  x: 1\nsplit:", "data: {'x': 1}: unknown key"),
        ("split:", "zzz: 1\nsplit:", "zzz: 1: unknown key"),
        ("split:", '"a\\nb": 1\nsplit:', "a\\x0ab: 1: unknown key"),
    ],
)
def test_an_unknown_key_is_named_with_its_value_and_the_nearest_name(tmp_path, preset_text, old, new, message):
    assert mistake(tmp_path, preset_text.replace(old, new, 1)) == message


def test_augment_is_another_name_of_copies_and_changes_no_digest_and_nothing_written(tmp_path, preset_text):
    file = tmp_path / "mine.yaml"
    augmented = "[{speed: [0.9, 1.1]}, {snr_db: [10, 30]}]"
    file.write_text(with_value(preset_text, "copies", augmented), encoding="utf-8")
    copies = config.read_preset(str(file)).features
    file.write_text(re.sub(r"(?m)^  copies:.*$", f"  augment: {augmented}", preset_text), encoding="utf-8")
    augment = config.read_preset(str(file)).features
    assert augment == copies and len(augment.copies) == 2
    assert augment.digest == copies.digest
    assert augment.model_dump_json() == copies.model_dump_json()
    assert "augment" not in augment.model_dump() and "copies" in augment.model_dump()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("copies: []\n  augment: []", "features: copies and augment are two names of one setting; keep one of them"),
        ("augment: [{speed: [0.1, 1.0]}]", "features.augment.0.speed.0: 0.1: should be greater than or equal to 0.5"),
        ("augment: [{speeed: [1, 1]}]", "features.augment.0.speeed: [1, 1]: unknown key; did you mean 'speed'?"),
        ("augmnt: []", "features.augmnt: []: unknown key; did you mean 'augment'?"),
    ],
)
def test_mistakes_in_augment_are_named_by_the_key_in_the_file(tmp_path, preset_text, line, message):
    assert mistake(tmp_path, re.sub(r"(?m)^  copies:.*$", f"  {line}", preset_text)) == message


def test_a_missing_key_is_named(tmp_path, preset_text):
    assert mistake(tmp_path, re.sub(r"(?m)^  hop_length: .*\n", "", preset_text)) == "features.hop_length: is missing"


def test_mistakes_are_counted_by_key(tmp_path, preset_text):
    text = with_value(with_value(preset_text, "epochs", "x"), "channel", "[]")
    assert refusal(tmp_path, text).endswith("(and 1 more: train.epochs)")
    text = with_value(text, "hop_frames", "x").replace("  n_mels:", "  n_mel:").replace("split:", "splt:")
    assert refusal(tmp_path, text).endswith("(and 4 more: splt, features.channel, features.hop_frames, ...)")


@pytest.mark.parametrize(
    ("old", "new"),
    [("  epochs: 20", "  epoch: 20"), ("  epochs: 20", "  epochs: x"), ("  batch_size: 128", "  batch_size: [1]"),
     ("  copies: []", "  copies: [{speed: [0.1, 1]}]"), ("model:", "modle:")],
)  # fmt: skip
def test_a_mistake_is_named_with_its_line(tmp_path, preset_text, old, new):
    file = tmp_path / "mine.yaml"
    assert old in preset_text
    file.write_text(preset_text.replace(old, new, 1), encoding="utf-8")
    line = file.read_text(encoding="utf-8")[: preset_text.index(old) + 1].count("\n") + 1
    with pytest.raises(ConfigError, match=rf"mine\.yaml: line {line}: "):
        config.read_preset(str(file))


@pytest.mark.parametrize(("below", "above"), [("copies", "augment"), ("augment", "copies"), ("copies", "copies")])
def test_augment_of_a_variant_replaces_copies_of_common_and_of_the_preset(tmp_path, preset_text, below, above):
    (tmp_path / "audiocnn.yaml").write_text(
        'name: sounds\ndata: {manifest: m.csv, root: "."}\n'
        + with_value(preset_text, "copies", "[{speed: [1.0, 1.2]}, {speed: [0.8, 1.0]}]"),
        encoding="utf-8",
    )
    (tmp_path / "sweep.yaml").write_text(
        f"name: two\ncommon: {{features: {{{below}: [{{speed: [0.9, 1.1]}}]}}}}\n"
        f"variants: {{a: {{}}, b: {{features: {{{above}: []}}}}}}\n",
        encoding="utf-8",
    )
    plan = config.read_sweep(str(tmp_path / "sweep.yaml"), config.read(tmp_path / "audiocnn.yaml"))
    assert [len(plan.experiments[variant].features.copies) for variant in "ab"] == [1, 0]


@pytest.mark.parametrize("text", ["5e-4", "5.0e-4", "0.0005", "5E-4", "+5e-04"])
def test_scientific_notation_is_a_number_with_and_without_a_point(tmp_path, preset_text, text):
    file = tmp_path / "mine.yaml"
    file.write_text(with_value(preset_text, "learning_rate", text), encoding="utf-8")
    assert config.read_preset(str(file)).train.learning_rate == 5e-4


def test_a_key_given_twice_is_refused_with_its_line(tmp_path, preset_text):
    n_lines = len(preset_text.splitlines())
    assert refusal(tmp_path, preset_text + "train: {}\n") == f"line {n_lines + 1}: key 'train' is given twice"
    assert "key 'epochs' is given twice" in refusal(
        tmp_path, preset_text.replace("  epochs:", "  epochs: 3\n  epochs:")
    )


@pytest.mark.parametrize("text", ["", "# nothing\n", "- a\n- b\n", "just a text\n", "3\n"])
def test_a_file_without_a_mapping_is_refused(tmp_path, text):
    assert "holds no settings" in refusal(tmp_path, text)


@pytest.mark.parametrize(
    "tag",
    [
        "!!python/object/apply:os.mkdir [{folder}]",
        "!!python/object/new:os.mkdir [{folder}]",
        "!!python/name:os.mkdir",
        "!!python/module:os",
        "!!python/object:audiocnn.specs.TrainSpec {{}}",
    ],
)
def test_tags_that_construct_objects_are_refused_and_run_nothing(tmp_path, preset_text, tag):
    folder = tmp_path / "made"
    message = refusal(tmp_path, with_value(preset_text, "loss", tag.format(folder=folder)))
    assert message.startswith("line ")
    assert "could not determine a constructor" in message
    assert not folder.exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        b"\xff\xfe\x00",
        b"model: caf\xe9\n",
        b"a: \x00\n",
        b"a: [1, 2\n",
        b"a: 'open\n",
        b"\ta: 1\n",
        b"a: " + b"[" * 2_000,
        b"{a: " * 5_000,
        b"a: 2001-02-31\n",
        b"a: " + b"9" * 5_000 + b"\n",
        b"? [a, b]\n: 1\n",
        b"1: 2\n",
        b"a: *nothing\n",
        b"a: &x {b: 1}\n<<: *x\n",
        b"a: 1\n--- \nb: 2\n",
    ],
)
def test_invalid_yaml_is_refused_in_one_line(tmp_path, text):
    assert refusal(tmp_path, text)


def test_aliases_that_multiply_are_refused_at_once(tmp_path, preset_text):
    levels = ["&a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"&a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 8)]  # a hundred million x, written out
    text = re.sub(r"(?ms)^train:\n.*?\n\n", f"train: [{', '.join(levels)}]\n\n", preset_text)
    started = time.monotonic()
    assert refusal(tmp_path, text).endswith("should be a block of settings")
    refusal(tmp_path, preset_text.replace("  kind: mfcc", "  kind: &a [*a]"))
    assert time.monotonic() - started < 2
