"""Models made to do harm, with right hashes where hashes can be right: each refused in one line, quickly and by itself.

`test_bundle` asks what is refused; here every refusal is one of the whole command, watched from outside: its exit code,
processor time and memory, what it wrote, and whether it started a process or opened a socket.
"""

import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import sounds
from ensembles import FIELDS
from extras import require_keras
from soundfile import write
from test_bundle import LABELS, NOTATION, SPEC, Made, Payload, good_arrays, npy, npz, reseal

from audiocnn.errors import IntegrityError
from audiocnn.inference.batch import score_files
from audiocnn.model import bundle, network, runtime
from audiocnn.model.notation import parse

require_keras()

pytestmark = pytest.mark.slow

CPU_S = 2.0
MEMORY_BYTES = 300 << 20
DAMAGED, OTHER_VERSION = 5, 2

# Imports what the command needs, then runs it once for every model, each in a fork that reports what it did.
WATCH = """
import json, os, resource, sys
from pathlib import Path
import audiocnn.cli, audiocnn.stages.predict, audiocnn.terminal, ai_edge_litert.interpreter, safetensors.numpy

WATCHED = ("socket.", "subprocess.", "os.fork", "os.posix_spawn", "os.exec", "os.system", "os.mkdir", "os.rename",
           "os.link", "os.symlink", "ctypes.", "pickle.")
song, folders = sys.argv[1], sys.argv[2:]
before = resource.getrusage(resource.RUSAGE_SELF)
for folder in folders:
    read, written = os.pipe()
    pid = os.fork()
    if pid == 0:
        resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
        os.dup2(written, 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.addaudithook(lambda event, _: event.startswith(WATCHED) and os.write(2, f"DID {event}\\n".encode()))
        sys.argv[:] = ["audiocnn", "predict", "--model", folder, song, "-o", "out.csv"]
        try:
            audiocnn.cli.main()
        except SystemExit as end:
            os._exit(end.code)
        os._exit(99)
    os.close(written)
    with os.fdopen(read, errors="replace") as lines:
        printed = lines.read()
    _, status, used = os.wait4(pid, 0)
    print(json.dumps({
        "folder": folder,
        "code": os.waitstatus_to_exitcode(status),
        "printed": printed,
        "cpu_s": used.ru_utime + used.ru_stime,
        "bytes": used.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
    }), flush=True)
"""


@dataclass(frozen=True)
class Attack:
    """What is done to a good model's folder, and what the refusal must name."""

    do: Callable[[Path], None]
    names: str
    code: int = DAMAGED


def with_fields(**changes: Any) -> Callable[[Path], None]:
    """Say something else in ``bundle.json``, with right hashes."""
    return lambda folder: reseal(folder, **changes)


def replaced(name: str, content: Callable[[Path], bytes]) -> Callable[[Path], None]:
    """Replace a file, with right hashes."""

    def do(folder: Path) -> None:
        (folder / name).write_bytes(content(folder))
        reseal(folder)

    return do


def text(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """Change the bytes of ``bundle.json`` itself."""
    return lambda folder: (
        (folder / bundle.MANIFEST).write_bytes(change((folder / bundle.MANIFEST).read_bytes())) and None
    )


def weights(value: float) -> Callable[[Path], bytes]:
    def content(folder: Path) -> bytes:
        arrays = safetensors.numpy.load_file(folder / "weights.safetensors")
        arrays["conv_1/bias"] = np.full_like(arrays["conv_1/bias"], value)
        return safetensors.numpy.save(arrays)

    return content


def arrays(name: str, member: str, change: Callable[[Any], bytes]) -> Callable[[Path], None]:
    """Replace one array of an archive."""

    def content(folder: Path) -> bytes:
        good = good_arrays(folder, name)
        return npz({key: change(value) if key == member else npy(value) for key, value in good.items()})

    return replaced(name, content)


def features(**changes: Any) -> Callable[[Path], None]:
    return with_fields(features={**SPEC.model_dump(mode="json"), **changes})


def decision(**changes: Any) -> Callable[[Path], None]:
    rule = {
        "fitted_on": "validation",
        "n_recordings": 9,
        "n_groups": 9,
        "wanted": {},
        "thresholds": {},
        "coverage": 0.9,
        "set_floor": 0.1,
        "unknown": 0.0,
        "typical": [],
        "familiar_floor": -1.0,
        **changes,
    }

    return with_optional_field("decision", rule)


def domain(**changes: Any) -> Callable[[Path], None]:
    usual = {"lowest": 1.0, "low": 2.0, "middle": 3.0, "high": 4.0, "highest": 5.0}
    ranges = dict.fromkeys(("level_dbfs", "noise_db", "upper_hz"), usual)
    return with_optional_field("domain", {"n_recordings": 20, **ranges, "resemblance": None, **changes})


def with_optional_field(field: str, content: dict[str, Any]) -> Callable[[Path], None]:
    """Set an optional field of ``bundle.json``, with correct hashes."""

    def do(folder: Path) -> None:
        value = json.loads((folder / bundle.MANIFEST).read_text("utf-8")) | {field: content}
        value = {name: value[name] for name in FIELDS if name in value}
        (folder / bundle.MANIFEST).write_text(json.dumps(value), encoding="utf-8")
        reseal(folder)

    return do


def pickled(folder: Path, name: str) -> None:
    payload = np.empty(100, object)
    payload[0] = Payload(os.fspath(folder / "ran"))
    arrays(name, "logits" if name == "golden.npz" else "mel", lambda good: npy(payload).ljust(good.nbytes + 200))(
        folder
    )


def linked(folder: Path, to: str) -> None:
    (folder / "model.tflite").unlink()
    (folder / "model.tflite").symlink_to(to)


def in_the_place_of(name: str, make: Callable[[Path], object]) -> Callable[[Path], None]:
    def do(folder: Path) -> None:
        (folder / name).unlink()
        make(folder / name)

    return do


def enormous(name: str) -> Callable[[Path], None]:
    def do(folder: Path) -> None:
        with open(folder / name, "r+b") as file:
            file.truncate(1 << 40)  # sparse

    return do


def very_long_window(folder: Path) -> None:
    """A golden waveform of 17 GB, deflated to 17 MB; cut short here, as the window itself is refused."""
    features(window_frames=65_536, hop_length=65_536, n_fft=65_536, n_mels=1, n_mfcc=1)(folder)


def program(build: Callable[[Any, Any], Any], *, custom: bool = False) -> Callable[[Path], None]:
    """A model file with the right names and shapes and another inside."""

    def content(_: Path) -> bytes:
        tf = network.load_keras() and __import__("tensorflow")
        net = parse(NOTATION, input_shape=SPEC.shape, n_labels=len(LABELS))

        def run(features: Any) -> dict[str, Any]:
            flat = build(tf, tf.reshape(features, [-1, 45]))
            return {"logits": flat[:, : net.n_outputs], "embedding": flat[:, : net.embedding_size] + 0.0}

        signature = tf.function(run).get_concrete_function(tf.TensorSpec([None, *SPEC.shape], name="features"))
        module = tf.Module()
        module.run = signature
        converter = tf.lite.TFLiteConverter.from_concrete_functions([signature], module)
        converter.allow_custom_ops = custom
        return bytes(converter.convert())

    return replaced("model.tflite", content)


def endless(tf: Any, flat: Any) -> Any:
    return tf.while_loop(lambda x: tf.reduce_max(x * 0) < 1, lambda x: (x * 1.0,), (flat,))[0]


def many(tf: Any, flat: Any) -> Any:
    for _ in range(200):
        flat = tf.tanh(flat)
    return flat


def wide(tf: Any, flat: Any) -> Any:
    """As much memory as there is, out of a few bytes."""
    return flat + tf.reduce_max(flat[:, :, None, None] * flat[:, None, :, None] * flat[:, None, None, :], axis=[2, 3])


MANY_ROWS = b"[" + b"[1]," * 3_500_000 + b"[1]]"

ATTACKS = {
    # changed files
    "a wrong hash": Attack(with_fields(files=dict.fromkeys(bundle.FILES, "0" * 64)), "damaged: its SHA-256"),
    **{
        f"{name} cut short": Attack(
            lambda folder, name=name: os.truncate(folder / name, (folder / name).stat().st_size // 2), name
        )
        for name in (bundle.MANIFEST, *bundle.FILES)
    },
    "a byte too many": Attack(text(lambda b: b + b"\n"), "not as it was written"),
    # names and kinds of files
    "a member outside": Attack(
        with_fields(files={**dict.fromkeys(bundle.FILES, "0" * 64), "../../x": "0" * 64}), "files must be"
    ),
    "a member by an absolute name": Attack(with_fields(files={"/etc/passwd": "0" * 64}), "files must be"),
    "a link": Attack(lambda folder: linked(folder, "/etc/passwd"), "model.tflite: missing, or not a regular file"),
    "a link to itself": Attack(lambda folder: linked(folder, "model.tflite"), "not a regular file"),
    "a device": Attack(lambda folder: linked(folder, "/dev/zero"), "not a regular file"),
    "a pipe": Attack(in_the_place_of("golden.npz", os.mkfifo), "golden.npz: missing, or not a regular file"),
    "a pipe that describes": Attack(in_the_place_of("MODEL_CARD.md", os.mkfifo), "not a regular file"),
    "a folder": Attack(in_the_place_of("frontend.npz", os.mkdir), "frontend.npz: missing, or not a regular file"),
    "a terabyte of card": Attack(enormous("MODEL_CARD.md"), "MODEL_CARD.md: larger than"),
    "a terabyte of weights": Attack(enormous("weights.safetensors"), "weights.safetensors: larger than"),
    "a terabyte of description": Attack(enormous(bundle.MANIFEST), "bundle.json: larger than"),
    # archives
    "a bomb in frontend.npz": Attack(arrays("frontend.npz", "mel", lambda _: b"\0" * (300 << 20)), "array 'mel'"),
    "a bomb in golden.npz": Attack(arrays("golden.npz", "waveform", lambda _: b"\0" * (300 << 20)), "'waveform'"),
    "a bomb in an extra member": Attack(
        replaced(
            "golden.npz",
            lambda f: npz(
                {**{k: npy(v) for k, v in good_arrays(f, "golden.npz").items()}, "features": b"\0" * (300 << 20)}
            ),
        ),
        "array 'features'",
    ),
    "a pickle in frontend.npz": Attack(lambda folder: pickled(folder, "frontend.npz"), "array 'mel'"),
    "a pickle in golden.npz": Attack(lambda folder: pickled(folder, "golden.npz"), "array 'logits'"),
    "another shape": Attack(arrays("frontend.npz", "taper", lambda a: npy(a[:-1])), "array 'taper'"),
    "another type": Attack(arrays("frontend.npz", "dct", lambda a: npy(a.astype(np.float64))), "array 'dct'"),
    "numbers that are none": Attack(arrays("frontend.npz", "mel", lambda a: npy(a * np.nan)), "array 'mel'"),
    "infinite numbers": Attack(arrays("golden.npz", "features", lambda a: npy(a / 0)), "array 'features'"),
    "no archive": Attack(replaced("frontend.npz", lambda _: b"PK\3\4" + b"\xff" * 100), "frontend.npz"),
    # weights
    "weights that are NaN": Attack(replaced("weights.safetensors", weights(np.nan)), "conv_1/bias is not finite"),
    "weights that are infinite": Attack(replaced("weights.safetensors", weights(np.inf)), "conv_1/bias is not finite"),
    "weights of 2^62 bytes": Attack(
        replaced("weights.safetensors", lambda _: (1 << 62).to_bytes(8, "little") + b"{}"), "weights.safetensors"
    ),
    # sizes
    "2^40 windows": Attack(features(window_frames=1 << 40), "features.window_frames"),
    "2^40 samples of a spectrum": Attack(features(n_fft=1 << 40), "features.n_fft"),
    "2^40 bands": Attack(features(n_mels=1 << 40), "features.n_mels"),
    "2^40 frames from one window to the next": Attack(features(hop_frames=1 << 40), "features.hop_frames"),
    "2^40 hertz": Attack(features(sample_rate=1 << 40), "features.sample_rate"),
    "a window of an hour": Attack(very_long_window, "a window has more than"),
    "a window that takes minutes": Attack(
        features(window_frames=65_536, hop_length=1, n_fft=65_536, n_mels=1, n_mfcc=1), "window_frames x n_fft"
    ),
    "a million labels": Attack(with_fields(labels=[f"l{i}" for i in range(1_000_000)]), "bundle.json"),
    "200,000 labels": Attack(with_fields(labels=[f"l{i}" for i in range(200_000)]), "labels"),
    "a huge layer": Attack(with_fields(notation="99999999C99-*"), "parameters; the limit is"),
    "a huge dense layer": Attack(with_fields(notation="9" * 4_000 + "-*"), "token 1"),
    "a million layers": Attack(with_fields(notation="-".join(["1C1"] * 2_000) + "-*"), "more than 1,000 layers"),
    "a long notation": Attack(with_fields(notation="1C1-" * 100_000 + "*"), "notation"),
    # JSON
    "deep nesting": Attack(text(lambda _: b'{"a":' * 1_000_000), "bundle.json"),
    "deep nesting in a place for anything": Attack(
        text(lambda b: b.replace(b'"training": {', b'"training": {"a": ' + b"[" * 50_000 + b"]" * 50_000 + b",", 1)),
        "bundle.json",
    ),
    "a key given twice": Attack(
        text(lambda b: b.replace(b"{\n", b'{\n  "name": "other",\n', 1)), "not as it was written"
    ),
    "a number of many digits": Attack(
        text(lambda b: b.replace(b'"epochs": 3', b'"epochs": ' + b"9" * 10_000_000, 1)), "bundle.json"
    ),
    "a fraction of many digits": Attack(
        text(lambda b: b.replace(b'"epochs": 3', b'"epochs": 0.' + b"9" * 10_000_000, 1)), "bundle.json"
    ),
    "a number that overflows": Attack(text(lambda b: b.replace(b'"epochs": 3', b'"epochs": 1e999', 1)), "bundle.json"),
    "no UTF-8": Attack(text(lambda b: b.replace(b"little", b"\xff\xfe\xc0", 1)), "bundle.json"),
    "half a character": Attack(text(lambda b: b.replace(b"little", b"\\ud800", 1)), "bundle.json"),
    "millions of rows": Attack(text(lambda b: b.replace(b'"epochs": 3', b'"epochs": ' + MANY_ROWS, 1)), "600,000"),
    # hostile values
    "a label that clears the screen": Attack(with_fields(labels=["a", "b", "\x1b[2J"]), "control code"),
    "a label that turns text around": Attack(with_fields(labels=["a", "b", "\u202egnp.exe"]), "control code"),
    "a label that is a formula": Attack(with_fields(labels=["a", "b", '=HYPERLINK("http://x")']), "begins with ="),
    "a name that clears the screen": Attack(with_fields(name="\x1b[2J\x07"), "control code"),
    "a name without end": Attack(with_fields(name="n" * 1_000_000), "name"),
    "a negative temperature": Attack(with_fields(temperature=-1.0), "temperature"),
    "a temperature of almost nothing": Attack(with_fields(temperature=5e-324), "temperature"),
    "a temperature beyond all": Attack(with_fields(temperature=1e308), "temperature"),
    "a scale that is NaN": Attack(text(lambda b: b.replace(b'"mean": [', b'"mean": [NaN,', 1)), "bundle.json"),
    "a scale of text": Attack(with_fields(mean=[[["a"]]]), "mean must be numbers"),
    "a scale of another shape": Attack(with_fields(mean=[[[0.0]]] * 4), "mean must be numbers"),
    "a scale of odd rows": Attack(with_fields(std=[[[1.0]], [[1.0, 2.0]]]), "bundle.json"),
    "a scale of zero": Attack(with_fields(std=[[[0.0]]]), "std is not above 0"),
    "a scale beyond all": Attack(with_fields(mean=[[[1e308]]]), "mean or std is beyond"),
    "decisions about NaN": Attack(
        text(lambda b: b.replace(b'"training"', b'"decision": {"typical": [[NaN]]}, "training"', 1)), "bundle.json"
    ),
    "typical embeddings of another length": Attack(decision(typical=[[1.0, 0.0]] * 3), "typical embeddings are not"),
    "typical embeddings of many lengths": Attack(decision(typical=[[1.0], [1.0, 2.0]]), "differ in length"),
    "millions of typical embeddings": Attack(decision(typical=[[1.0]] * 700_000), "bundle.json"),
    "many typical embeddings": Attack(decision(typical=[[1.0]] * 200_000), "typical embeddings are not"),
    "a threshold for no label": Attack(decision(thresholds={"x": 0.5}), "a label that the model does not have"),
    "a share above all": Attack(decision(coverage=2.0), "coverage"),
    "a domain of nothing": Attack(domain(n_recordings=0), "domain.n_recordings"),
    "a domain without noise": Attack(domain(noise_db=None), "domain.noise_db"),
    "a domain upside down": Attack(
        domain(level_dbfs={"lowest": 5.0, "low": 4.0, "middle": 3.0, "high": 2.0, "highest": 1.0}), "are not in order"
    ),
    "a domain beyond all": Attack(
        domain(upper_hz={"lowest": 1.0, "low": 2.0, "middle": 3.0, "high": 4.0, "highest": 1e308}), "domain.upper_hz"
    ),
    "a domain of text": Attack(domain(level_dbfs=dict.fromkeys(("lowest", "low"), "\x1b[2J")), "domain.level_dbfs"),
    "a domain of millions": Attack(domain(noise_db=[1.0] * 700_000), "bundle.json"),
    # model files
    "another signature": Attack(
        replaced("model.tflite", lambda f: (f / "model.tflite").read_bytes().replace(b"logits", b"stigol")), "stigol"
    ),
    "no model": Attack(replaced("model.tflite", lambda _: b"\x1c\0\0\0TFL3" + b"\xff" * 5_000), "model.tflite"),
    "a model cut short": Attack(
        replaced("model.tflite", lambda f: (f / "model.tflite").read_bytes()[:-700]), "model.tflite"
    ),
    "a loop without end": Attack(program(endless), "WHILE: not an operation"),
    "somebody's operation": Attack(program(lambda tf, x: x + tf.math.betainc(x, x, x), custom=True), "model.tflite"),
    "more operations than layers": Attack(program(many), "operations are more than"),
    "arrays out of nothing": Attack(program(wide), "more than the notation can need"),
    # other versions
    "a newer format": Attack(with_fields(schema="audiocnn.bundle/9", new_key=1), "audiocnn.bundle/9", OTHER_VERSION),
    "an older format": Attack(with_fields(schema="audiocnn.bundle/0"), "audiocnn.bundle/0"),
    "a format that clears the screen": Attack(
        with_fields(schema="audiocnn.bundle/\x1b[2J\n"), "format is", OTHER_VERSION
    ),
    "a format without end": Attack(with_fields(schema="audiocnn.bundle/" + "9" * 10**6), "format is", OTHER_VERSION),
}


def tree(folder: Path) -> list[tuple[str, int, int]]:
    """All names below a folder, with what tells that a file was written to."""
    found = [(path, path.lstat()) for path in folder.rglob("*")]
    return sorted((str(p.relative_to(folder)), s.st_size, 0 if p.is_dir() else s.st_mtime_ns) for p, s in found)


@pytest.fixture(scope="module")
def good_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good") / "model"
    Made(NOTATION, LABELS).write(folder)
    return folder


@pytest.fixture
def folder(good_model: Path, tmp_path: Path) -> Path:
    """A copy of the good model to change."""
    return Path(shutil.copytree(good_model, tmp_path / "model"))


@pytest.fixture(scope="module")
def refusals(good_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Every attack carried out, and a good model: what the command did with each, and whether anything was written."""
    root = tmp_path_factory.mktemp("hostile")
    shutil.copytree(good_model, root / "good")
    names = {"good": "good"}
    for number, (name, attack) in enumerate(ATTACKS.items()):
        shutil.copytree(root / "good", root / f"attack-{number}")
        attack.do(root / f"attack-{number}")
        names[f"attack-{number}"] = name
    work = tmp_path_factory.mktemp("work")
    (work / "tmp").mkdir()
    write(work / "song.wav", sounds.tone(440, 1), sounds.RATE)
    before = tree(root), tree(work)
    folders = [os.fspath(root / folder) for folder in names if folder != "good"]
    done = subprocess.run(
        [sys.executable, "-c", WATCH, "song.wav", *folders],
        cwd=work, env={**os.environ, "TMPDIR": os.fspath(work / "tmp")}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = {names[Path(line["folder"]).name]: line for line in map(json.loads, done.stdout.splitlines())}
    found["written"] = [a for a, b in zip(before, (tree(root), tree(work)), strict=True) if a != b]
    good = subprocess.run(
        [sys.executable, "-m", "audiocnn", "predict", "--model", root / "good", "song.wav"], cwd=work
    ).returncode
    found["good"] = good
    return found


def test_a_valid_model_is_loaded(refusals: dict[str, Any]) -> None:
    assert refusals["good"] == 0


def test_loading_a_hostile_model_writes_no_file(refusals: dict[str, Any]) -> None:
    assert refusals["written"] == []


@pytest.mark.parametrize("name", ATTACKS)
def test_a_hostile_model_is_refused_in_one_line_and_does_nothing(refusals: dict[str, Any], name: str) -> None:
    refusal, attack = refusals[name], ATTACKS[name]
    (line,) = refusal["printed"].splitlines()
    assert line.startswith("audiocnn: "), line
    assert attack.names in line
    assert len(line) < 1_000
    assert line.isprintable()
    assert refusal["code"] == attack.code, line
    assert refusal["cpu_s"] < CPU_S
    assert refusal["bytes"] < MEMORY_BYTES


def cubic(tf: Any, flat: Any) -> Any:
    """An array that grows with the third power of the number of windows: with one window it is small."""
    x = tf.cast(flat[:, 0], tf.int32)  # a delegate for floats would tell the size only when it has computed
    return flat + tf.cast(tf.reduce_max(x[:, None, None] * x[None, :, None] * x[None, None, :]), tf.float32)


def test_the_limits_of_a_model_also_hold_in_workers_and_copies(folder: Path, tmp_path: Path) -> None:
    good = bundle.load(folder)
    program(cubic)(folder)
    content = (folder / "model.tflite").read_bytes()
    hostile = runtime.Runtime(content, limits=bundle._limits(good.network))
    hostile(np.zeros((1, *SPEC.shape), np.float32))  # so much is tried when a bundle is loaded
    many = np.zeros((300, *SPEC.shape), np.float32)
    for made in (hostile, hostile.copy(1), pickle.loads(pickle.dumps(hostile))):
        with pytest.raises(IntegrityError, match="more than the notation can need"):
            made(many)
    write(tmp_path / "song.wav", sounds.noise(4), sounds.RATE)
    with pytest.raises(IntegrityError, match="more than the notation can need"):
        list(score_files([tmp_path / "song.wav"], replace(good, runtime=hostile), jobs=1))


def test_a_corrupt_model_file_is_refused_or_changes_scores_only(folder: Path) -> None:
    """Its bytes are another library's to read; none of that library's own errors comes through, and it lives on."""
    good, rng = (folder / "model.tflite").read_bytes(), np.random.default_rng(0)
    refused = 0
    for _ in range(60):
        bad = bytearray(good)
        for place in rng.integers(len(good), size=rng.integers(1, 4)):
            bad[place] = rng.integers(256)
        (folder / "model.tflite").write_bytes(bad)
        reseal(folder)
        try:
            bundle.load(folder)
        except IntegrityError:
            refused += 1
    assert 12 < refused < 60


def test_a_valid_domain_is_loaded(folder: Path) -> None:
    """So the refusals of others are not for the way in which they are written here."""
    domain()(folder)
    assert bundle.load(folder).domain is not None


def test_a_valid_decision_is_loaded(folder: Path) -> None:
    """So the refusals of others are not for the way in which they are written here."""
    decision(typical=[[1.0, 0.0, 0.0, 0.0, 0.0, 0.0]] * 3, thresholds={LABELS[0]: 0.5})(folder)
    assert bundle.load(folder).decision is not None
