"""A bundle describes itself, gives the scores of its network, and is refused if any content is wrong."""

import hashlib
import io
import json
import os
import time
import tracemalloc
import zipfile

import numpy as np
import pytest
import safetensors.numpy
from extras import require_keras

from audiocnn import files
from audiocnn.config import Project
from audiocnn.errors import AudiocnnError, ConfigError, IntegrityError, NotReadyError, OutputError
from audiocnn.features import extract
from audiocnn.features.frontend import Frontend
from audiocnn.inference.scoring import log_scores
from audiocnn.labels import Labels
from audiocnn.model import bundle, network
from audiocnn.model.notation import parse
from audiocnn.specs import Experiment, FeatureSpec

require_keras()

SPEC = FeatureSpec(
    kind="mfcc",
    sample_rate=8_000,
    n_fft=64,
    hop_length=32,
    n_mels=8,
    n_mfcc=5,
    channels=("static",),
    window_frames=9,
    hop_frames=4,
    axes="bins_frames",
)
LABELS = ("café", "drone", "wind")
NOTATION = "4C3-P2-6-*"
ALL_FILES = (bundle.MANIFEST, *bundle.FILES)


def frontend_of(spec):
    """Constants of the right shapes; real ones would need librosa, and a bundle must not care."""
    rng = np.random.default_rng(1)
    mel = rng.uniform(0, 1, (1 + spec.n_fft // 2, spec.n_mels)).astype(np.float32)
    dct = np.linalg.qr(rng.standard_normal((spec.n_mels, spec.n_mels)))[0][:, : spec.n_mfcc].astype(np.float32)
    return Frontend(np.hanning(spec.n_fft).astype(np.float32), mel, dct)


class Made:
    """A network with all that is needed to write its bundle."""

    def __init__(self, notation, labels, positive=None, seed=0):
        network.load_keras().utils.set_random_seed(seed)
        self.model = network.build(parse(notation, input_shape=SPEC.shape, n_labels=len(labels)))
        rng = np.random.default_rng(seed)
        self.mean = rng.normal(-30, 10, (5, 1, 1)).astype(np.float32)
        self.std = rng.uniform(5, 20, (5, 1, 1)).astype(np.float32)
        self.serving = network.build_serving_model(self.model, self.mean, self.std)
        self.litert = network.export_litert(self.serving)
        self.info = {
            "name": "little",
            "features": SPEC.model_dump(mode="json"),
            "labels": labels,
            "positive": positive,
            "notation": notation,
            "mean": self.mean.tolist(),
            "std": self.std.tolist(),
            "training": {"epochs": 3, "class_weights": {"drone": 1.5}},
            "metrics": {"validation": {"recording_accuracy": 0.75}},
            "provenance": {"seed": 0, "created": "2025-01-31"},
        }

    def write(self, folder, **changes):
        bundle.write(
            folder,
            {**self.info, **changes},
            frontend=frontend_of(SPEC),
            weights=network.get_weights(self.model),
            model=self.litert,
            card="# little\n",
        )


@pytest.fixture(scope="module")
def made():
    return Made(NOTATION, LABELS)


@pytest.fixture(scope="module")
def pair():
    """A network with one output for two labels."""
    return Made("2C3-*", ("drone", "other"), positive="drone")


@pytest.fixture
def folder(made, tmp_path):
    made.write(tmp_path / "model")
    return tmp_path / "model"


def reseal(folder, **changes):
    """Make all hashes right again, as one would who wants to do harm, with ``changes`` in ``bundle.json``."""
    value = json.loads((folder / bundle.MANIFEST).read_text(encoding="utf-8"))
    value["files"] = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in value["files"]}
    value.update(changes)
    value = {key: item for key, item in value.items() if item is not ...}
    seal = value.pop("sha256", None)
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    value |= {} if seal is None else {"sha256": hashlib.sha256(canonical).hexdigest()}
    (folder / bundle.MANIFEST).write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def refusal(folder, kind=IntegrityError):
    """The message of a refusal that took neither long nor much memory."""
    tracemalloc.start()
    started = time.monotonic()
    with pytest.raises(kind) as refused:
        bundle.load(folder)
    took, peak = time.monotonic() - started, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert type(refused.value) is kind
    assert refused.value.exit_code == (5 if kind is IntegrityError else 2)
    assert took < 2
    assert peak < 100e6
    message = str(refused.value)
    assert "\n" not in message
    assert "\x1b" not in message
    assert message.startswith(str(folder))
    return message


# -------------------------------------------------------------------------------------------------------- what is kept


def test_a_loaded_bundle_equals_the_written_one(made, folder):
    found = bundle.load(folder)
    written = {name: getattr(found.info, name) for name in made.info}
    assert {**written, "features": written["features"].model_dump(mode="json")} == made.info
    assert (found.spec, found.labels) == (SPEC, Labels(LABELS))
    assert found.digest == hashlib.sha256((folder / bundle.MANIFEST).read_bytes()).hexdigest()
    for name, array in vars(frontend_of(SPEC)).items():
        assert np.array_equal(getattr(found.frontend, name), array)
    assert safetensors.numpy.load_file(folder / "weights.safetensors").keys() == network.get_weights(made.model).keys()
    assert sorted(file.name for file in folder.iterdir()) == sorted(ALL_FILES)


@pytest.mark.parametrize("which", ["made", "pair"])
def test_the_scores_of_a_bundle_are_those_of_keras(which, tmp_path, request):
    source = request.getfixturevalue(which)
    source.write(tmp_path / "model")
    found = bundle.load(tmp_path / "model")
    X = (source.mean + 2 * source.std * np.random.default_rng(4).standard_normal((50, *SPEC.shape))).astype(np.float32)
    z = network.predict_logits(source.serving, X)
    keras = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True) if z.shape[1] > 1 else 1 / (1 + np.exp(-z))
    scores = np.exp(log_scores(found.runtime(X)[0], found.labels))
    np.testing.assert_allclose(scores if which == "made" else scores[:, :1], keras, atol=1e-4)
    assert np.ptp(keras, axis=0).min() > 0.01


def test_equal_models_give_equal_bytes(made, tmp_path):
    made.write(tmp_path / "one")
    made.write(tmp_path / "two" / "deeper")
    for name in ALL_FILES:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / "deeper" / name).read_bytes()


def test_a_bundle_does_not_contain_the_path_where_it_was_written(made, folder, tmp_path):
    for name in ALL_FILES:
        content = (folder / name).read_bytes()
        assert os.fsencode(tmp_path) not in content
        assert os.fsencode(os.path.expanduser("~") + "/") not in content


def test_a_bundle_may_be_moved(folder, tmp_path):
    before = bundle.load(folder).digest
    folder.rename(tmp_path / "elsewhere")
    assert bundle.load(tmp_path / "elsewhere").digest == before


def test_the_golden_waveform_covers_the_whole_band_and_fills_one_window():
    for sample_rate in (8_000, 44_100):
        spec = SPEC.model_copy(update={"sample_rate": sample_rate, "window_frames": 400})
        waveform = bundle.golden_waveform(spec)
        assert len(waveform) == spec.window_samples
        assert 0.4 < np.abs(waveform).max() < 1
        power = np.square(np.abs(np.fft.rfft(waveform)))
        frequencies = np.fft.rfftfreq(len(waveform), 1 / sample_rate)
        low, high = frequencies[np.searchsorted(np.cumsum(power) / power.sum(), [0.05, 0.95])]
        assert low < 0.1 * sample_rate / 2
        assert high > 0.8 * sample_rate / 2


# ------------------------------------------------------------------------------------------------------------- damage


def positions(name, size):
    spread = {0, 1, size // 3, size // 2, 2 * size // 3, size - 2, size - 1}
    return sorted(spread | set(np.random.default_rng(len(name)).integers(0, size, 8).tolist()))


@pytest.mark.parametrize("name", bundle.FILES)
def test_a_change_of_one_byte_is_detected(folder, name):
    good = (folder / name).read_bytes()
    for place in positions(name, len(good)):
        (folder / name).write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        assert f"{name}: damaged" in refusal(folder)
    for cut in (good[:-1], good[: len(good) // 2], b"", good + b"\0"):
        (folder / name).write_bytes(cut)
        assert name in refusal(folder)
    (folder / name).write_bytes(good)
    bundle.load(folder)


def test_a_change_of_one_character_in_bundle_json_is_detected(folder):
    file = folder / bundle.MANIFEST
    good = file.read_bytes()
    version = good.index(b"bundle/1")
    places = [*range(0, len(good), 7), *range(len(good) - 100, len(good))]
    for place in sorted(set(places) - set(range(version, version + 8))):
        for bit in (1, 4):
            file.write_bytes(good[:place] + bytes([good[place] ^ bit]) + good[place + 1 :])
            with pytest.raises(IntegrityError):
                bundle.read(folder)
    for other in (good + b" ", good[:-1], good.replace(b"  ", b" "), json.dumps(json.loads(good)).encode(), b""):
        file.write_bytes(other)
        assert bundle.MANIFEST in refusal(folder)


@pytest.mark.parametrize("name", bundle.FILES)
@pytest.mark.parametrize("fault", ["missing", "link", "folder", "pipe"])
def test_a_missing_or_irregular_file_is_refused(folder, name, fault):
    file = folder / name
    file.rename(folder.parent / "kept")
    if fault == "link":
        file.symlink_to(folder.parent / "kept")
    elif fault == "folder":
        file.mkdir()
    elif fault == "pipe":
        os.mkfifo(file)
    assert refusal(folder).endswith(f"{name}: missing, or not a regular file")


def test_a_bundle_json_that_is_a_link_is_refused(folder):
    (folder / bundle.MANIFEST).rename(folder.parent / "kept")
    (folder / bundle.MANIFEST).symlink_to(folder.parent / "kept")
    assert "not a regular file" in refusal(folder)


def test_a_folder_without_a_model_is_a_config_error(tmp_path):
    assert refusal(tmp_path, ConfigError).endswith("not a model (no bundle.json)")
    assert refusal(tmp_path / "nowhere", ConfigError).endswith("not a model (no bundle.json)")


def test_an_unknown_format_is_refused_and_the_message_names_both_formats(folder):
    reseal(folder, schema="audiocnn.bundle/3", new_key=1)
    message = refusal(folder, ConfigError)
    assert "its format is audiocnn.bundle/3, this version reads audiocnn.bundle/1" in message


# ---------------------------------------------------------------- bundles whose hashes are right, and which still lie


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"extra": 1}, "extra"),
        ({"a\x1b[31m\n": 1}, "Extra inputs"),
        ({"notation": ...}, "notation"),
        ({"labels": ["one"]}, "labels"),
        ({"labels": ["one", "two", "two"]}, "given twice"),
        ({"labels": ["one", "two", "=cmd"]}, "begins with ="),
        ({"labels": ["one", "two", "a\nb"]}, "control code"),
        ({"labels": ["one", "two", ""]}, "empty"),
        ({"labels": "abc"}, "labels"),
        ({"positive": "four"}, "positive"),
        ({"temperature": 0.0}, "temperature"),
        ({"temperature": "1"}, "temperature"),
        ({"schema": "other/1"}, "schema"),
        ({"schema": 1}, "schema"),
        ({"sha256": ...}, "sha256"),
        ({"files": {}}, "files must be exactly"),
        ({"files": {"../../etc/passwd": "0" * 64}}, "files must be exactly"),
        ({"features": {**SPEC.model_dump(mode="json"), "extra": 1}}, "features.extra"),
        ({"features": {**SPEC.model_dump(mode="json"), "n_mels": 10**9}}, "features.n_mels"),
        ({"features": {**SPEC.model_dump(mode="json"), "n_mels": 9}}, "frontend.npz: array 'mel'"),
        ({"features": {**SPEC.model_dump(mode="json"), "window_frames": 10}}, "golden.npz: array 'waveform'"),
        ({"notation": "nonsense"}, "token 1 'nonsense' is unknown"),
        ({"notation": "9999999999C3-*"}, "parameters; the limit is"),
        ({"notation": "-".join(["8C3"] * 2_000)}, "layers"),
        ({"notation": "4C3-P2-7-*"}, "not those of '4C3-P2-7-*'"),
        ({"notation": "4C3-P2-1000-1000-*"}, "not those of"),
        ({"notation": "1-*"}, "not those of '1-*'"),
        ({"labels": ["a", "b", "c", "d"]}, "golden.npz: array 'logits'"),
        ({"notation": "4C3-P2-6-1", "labels": ["a", "b"]}, "names no positive label"),
    ],
    ids=str,
)
def test_a_bundle_json_with_false_values_is_refused(folder, changes, message):
    reseal(folder, **changes)
    assert message in refusal(folder)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"3",
        b"{",
        b"\xff\xfe{}",
        b"[" * 1_000_000,
        b'{"a":' * 100_000,
        b'{"schema": "audiocnn.bundle/1"}',
        b'{"schema": ' + b"9" * 10_000 + b"}",
    ],
    ids=lambda text: repr(text[:12]),
)
def test_a_bundle_json_with_other_content_is_refused(folder, text):
    (folder / bundle.MANIFEST).write_bytes(text)
    assert bundle.MANIFEST in refusal(folder)


@pytest.mark.parametrize("value", ["NaN", "Infinity", '"\\ud800"', "9" * 5_000, "1" + "0" * 400 + ".5"])
def test_non_finite_values_in_json_are_refused(folder, value):
    file = folder / bundle.MANIFEST
    file.write_text(file.read_text(encoding="utf-8").replace('"epochs": 3', f'"epochs": {value}'), encoding="utf-8")
    assert bundle.MANIFEST in refusal(folder)


class Payload:
    """Something that leaves a trace if it is ever unpickled."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (self.trace,)


def npy(array, *, header=None):
    """An ``.npy`` file, with a false header if one is given."""
    member = io.BytesIO()
    if header is not None:
        np.lib.format.write_array_header_1_0(member, header)
        return member.getvalue() + array.tobytes()
    np.lib.format.write_array(member, array, allow_pickle=True)
    return member.getvalue()


def npz(members):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return data.getvalue()


def good_arrays(folder, name):
    with np.load(folder / name, allow_pickle=False) as arrays:
        return dict(arrays)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "array"), [("frontend.npz", "mel"), ("frontend.npz", "dct"), ("golden.npz", "logits")]
)
@pytest.mark.parametrize(
    "fault", ["shape", "type", "NaN", "order", "missing", "object", "size", "bytes", "bomb", "text"]
)
def test_arrays_that_do_not_match_bundle_json_are_refused(folder, name, array, fault):
    arrays = good_arrays(folder, name)
    members = {key: npy(value) for key, value in arrays.items()}
    good = arrays[array]
    descr = {"descr": "<f4", "fortran_order": False, "shape": good.shape}
    trace = folder.parent / "trace"
    match fault:
        case "shape":
            members[array] = npy(np.ascontiguousarray(good.T.reshape(-1)))
        case "type":
            members[array] = npy(good.view(np.int32))
        case "NaN":
            spoilt = good.copy()
            spoilt.flat[-1] = np.nan
            members[array] = npy(spoilt)
        case "order":
            members[array] = npy(good, header={**descr, "fortran_order": True})
        case "missing":
            del members[array]
        case "object":
            payload = np.empty(good.shape, object)
            payload.flat[0] = Payload(os.fspath(trace))
            members[array] = npy(payload).ljust(good.nbytes + 500, b"\0")  # no smaller than the real one
        case "size":  # the header claims 4 TB
            members[array] = npy(good, header={**descr, "shape": (10**12,)})
        case "bytes":
            members[array] = members[array][:-4]
        case "bomb":
            members[array] = b"\0" * 200_000_000
        case "text":
            members[array] = b"\x93NUMPY\x01\x00\x76\x00" + b"(((".ljust(118) + good.tobytes()
    (folder / name).write_bytes(npz(members))
    reseal(folder)
    assert f"{name}: array" in refusal(folder)
    assert not trace.exists()


def test_corrupt_archives_are_refused(folder):
    """Any damage behind right hashes ends in a refusal or changes nothing; no parser's own error comes through."""
    for name in ("frontend.npz", "golden.npz"):
        good = (folder / name).read_bytes()
        rng = np.random.default_rng(0)
        refused = 0
        for _ in range(40):
            place = int(rng.integers(len(good)))
            (folder / name).write_bytes(good[:place] + rng.bytes(1) + good[place + 1 :])
            reseal(folder)
            try:
                bundle.load(folder)
            except AudiocnnError:
                refused += 1
        assert refused > 10
        (folder / name).write_bytes(good)


@pytest.mark.parametrize("fault", ["shape", "type", "NaN", "missing", "extra", "renamed", "cut", "header"])
def test_weights_that_do_not_match_the_notation_are_refused(folder, fault):
    file = folder / "weights.safetensors"
    arrays = safetensors.numpy.load_file(file)
    first = "conv_1/kernel"
    data = None
    match fault:
        case "shape":
            arrays[first] = arrays[first].reshape(-1)
        case "type":
            arrays[first] = arrays[first].view(np.int32)
        case "NaN":
            arrays[first] = np.full_like(arrays[first], np.nan)
        case "missing":
            del arrays[first]
        case "extra":
            arrays["dense_99/kernel"] = np.zeros(3, np.float32)
        case "renamed":
            arrays["../" + first] = arrays.pop(first)
        case "cut":
            data = file.read_bytes()[:-8]
        case "header":
            data = b"\xff" * 8 + file.read_bytes()[8:]
    file.write_bytes(data or safetensors.numpy.save(arrays))
    reseal(folder)
    assert "weights.safetensors: " in refusal(folder)


def test_a_model_file_of_another_network_is_refused(folder, pair):
    (folder / "model.tflite").write_bytes(pair.litert)
    reseal(folder)
    assert "model.tflite: its shapes are not those of '4C3-P2-6-*'" in refusal(folder)


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x1c\x00\x00\x00TFL3" + b"\xff" * 5_000])
def test_an_invalid_model_file_is_refused(folder, content):
    (folder / "model.tflite").write_bytes(content)
    reseal(folder)
    assert "model.tflite" in refusal(folder)


def test_files_that_are_too_large_for_the_notation_are_not_read(folder):
    with open(folder / "model.tflite", "r+b") as file:
        file.truncate(10 << 30)  # sparse: no disk is filled
    assert "which is more than the notation can need" in refusal(folder)


# ------------------------------------------------------------------------------------------------- the golden example


def test_a_change_of_the_features_fails_the_golden_example(folder, monkeypatch):
    frames = extract.compute_frames
    monkeypatch.setattr(
        extract, "compute_frames", lambda *a, **k: (block * np.float32(1.01) for block in frames(*a, **k))
    )
    message = refusal(folder)
    assert "fails its own test: the features of the golden example moved by" in message
    assert "network" not in message


def test_a_change_of_the_window_position_fails_the_golden_example(folder, monkeypatch):
    cut = extract.cut_windows
    monkeypatch.setattr(extract, "cut_windows", lambda *a, **k: np.roll(cut(*a, **k), 1, axis=2))
    assert "the features of the golden example moved" in refusal(folder)


@pytest.mark.slow
def test_a_change_of_the_network_fails_the_golden_example(folder):
    (folder / "model.tflite").write_bytes(Made(NOTATION, LABELS, seed=1).litert)
    reseal(folder)
    assert "fails its own test: the network of the golden example moved by" in refusal(folder)


def test_rounding_of_another_processor_is_tolerated(folder, monkeypatch):
    frames = extract.compute_frames
    monkeypatch.setattr(
        extract, "compute_frames", lambda *a, **k: (block * np.float32(1 + 1e-5) for block in frames(*a, **k))
    )
    bundle.load(folder)


# ------------------------------------------------------------------------------------------------------------- writing


def test_a_new_bundle_replaces_the_old_one_completely(made, folder):
    (folder / "left over.txt").write_text("from before")
    made.write(folder, name="second")
    assert bundle.load(folder).info.name == "second"
    assert sorted(file.name for file in folder.iterdir()) == sorted(ALL_FILES)
    assert [file.name for file in folder.parent.iterdir()] == ["model"]


@pytest.mark.parametrize("n_written", [0, 1, 5])
def test_a_failed_write_keeps_the_old_bundle_and_nothing_else(made, folder, monkeypatch, n_written):
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    written = []

    def full_disk(file, data):
        if len(written) == n_written:
            raise OutputError(f"{file}: cannot be written (No space left on device)")
        written.append(file)
        file.write_bytes(data if isinstance(data, bytes) else data.encode())

    monkeypatch.setattr(bundle, "write_atomic", full_disk)
    with pytest.raises(OutputError, match="No space left"):
        made.write(folder, name="second")
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    assert [file.name for file in folder.parent.iterdir()] == ["model"]


def test_a_failed_rename_keeps_the_old_bundle(made, folder, monkeypatch):
    rename = os.rename

    def failing(source, target):
        if os.fspath(target) == os.fspath(folder) and not failed:
            failed.append(source)
            raise OSError(5, "Input/output error")
        rename(source, target)

    failed = []
    monkeypatch.setattr(files, "_exchange", lambda a, b: False)
    monkeypatch.setattr(os, "rename", failing)
    with pytest.raises(OutputError, match=r"model: cannot be written \(Input/output error\)"):
        made.write(folder, name="second")
    assert failed
    assert bundle.load(folder).info.name == "little"
    assert [file.name for file in folder.parent.iterdir()] == ["model"]


def test_a_bundle_that_a_killed_process_renamed_is_restored(folder):
    digest = bundle.load(folder).digest
    folder.rename(files._set_aside(folder))
    assert bundle.load(folder).digest == digest
    project = Project(folder.parent / "audiocnn.yaml", Experiment.model_construct(name="x"))
    with pytest.raises(NotReadyError, match="no model yet"):
        project.model()
    project.run.mkdir(parents=True)
    folder.rename(files._set_aside(project.run / "model"))
    assert bundle.load(project.model()).digest == digest


def test_a_failed_first_write_leaves_no_files(made, tmp_path, monkeypatch):
    def full_disk(file, data):
        raise OutputError(f"{file}: cannot be written")

    monkeypatch.setattr(bundle, "write_atomic", full_disk)
    with pytest.raises(OutputError):
        made.write(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []
