"""Escaping of unsafe names, and files that are written completely or not at all."""

import contextlib
import hashlib
import io
import os
import signal
import subprocess
import sys
import time
from csv import reader, writer
from pathlib import Path

import numpy as np
import pytest

from audiocnn import files
from audiocnn.errors import BusyError, OutputError
from audiocnn.text import decode_path, encode_path, is_formula, printable, safe_cell

NAMES = [
    "plain.wav", "a b/c d.wav", " leading.wav", "trailing.wav ", "\u3000wide\u00a0", "émoji 😀/日本語.wav", "-x.wav",
    "--help", "=1+1.wav", "+x", "@x", "two\nlines.wav", "carriage\rreturn", "tab\t.wav", "\ttab", "bell\x07\x1b[31m",
    "caf\udce9.wav", "\udcff\udcfe", "mixed é\udce9 \udc80", "back\\slash.wav", "\\", "\\\\", "\\x41", "\\\\x41", "\\x",
    "\\n", "a\\\udce9", "./", ".hidden", "..", "a,b;c\"d'e.wav", "%s$HOME`x`", "\u202egnp.wav", "\x7f", "x" * 255,
]  # fmt: skip


def random_names() -> list[str]:
    """Names made of bytes that harm, as the operating system would hand them over."""
    rng = np.random.default_rng(0)
    alphabet = [*b"\\x0419af \n\r\t-=./", 0xC3, 0xA9, 0xE9, 0xFF, 0x80, 0xF0, 0x9F, 0x98]
    return [os.fsdecode(bytes(rng.choice(alphabet, rng.integers(1, 12)).tolist())) for _ in range(5_000)]


# Text


@pytest.mark.parametrize("name", NAMES)
def test_a_name_written_to_a_file_is_restored(name):
    assert decode_path(encode_path(name)) == name


def test_names_of_invalid_bytes_are_restored():
    for name in random_names():
        if not name.startswith(("./-", "./=", "./+", "./@")):  # the same file as without ./, and written without
            assert decode_path(encode_path(name)) == name


def test_different_names_are_written_differently():
    names = {os.path.normpath(name) for name in [*NAMES, *random_names()]}
    assert len({encode_path(name) for name in names}) == len(names)


@pytest.mark.parametrize("name", NAMES)
def test_a_written_name_is_one_line_of_utf_8_without_outer_spaces_and_no_formula(name):
    text = encode_path(name)
    assert text.encode("utf-8").decode("utf-8") == text
    assert len(text.splitlines()) == 1
    assert text.strip() == text
    assert not is_formula(text)
    row = io.StringIO(newline="")
    writer(row, lineterminator="\n").writerow([text, "x"])
    assert next(reader(io.StringIO(row.getvalue(), newline=""))) == [text, "x"]


def test_plain_names_are_written_as_they_are():
    for name in ("drums/snare 01.wav", "émoji 😀.wav", "a-b=c.wav", ".x", "it's.wav"):
        assert encode_path(name) == name


def test_names_written_by_hand_are_read_as_intended():
    assert decode_path(r"a\b.wav") == r"a\b.wav"
    assert decode_path(r"caf\xc3\xa9.wav") == "café.wav"
    assert decode_path("./song.wav") == "./song.wav"
    assert "\0" not in decode_path(r"a\x00b")


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x"])
def test_a_cell_with_a_formula_is_escaped(text):
    assert is_formula(text)
    assert safe_cell(text) == "'" + text
    assert safe_cell("x" + text) == "x" + text


def test_no_control_code_reaches_a_terminal():
    hostile = "".join(map(chr, [*range(0x20), *range(0x7F, 0xA0), 0x202E, 0x2066, 0x200F, 0xDC80, 0xDFFF]))
    shown = printable(f"a{hostile}b")
    assert shown.startswith("a\\x00\\x01")
    assert shown.isprintable()
    assert printable("Grüße, 日本語 😀 \\ 100 %") == "Grüße, 日本語 😀 \\ 100 %"


# Files


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def refuse(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_file_is_written_with_its_folder_and_written_again(tmp_path):
    file = tmp_path / "a" / "b" / "x.txt"
    files.write_atomic(file, "Grüße\n")
    assert file.read_bytes() == "Grüße\n".encode()
    files.write_atomic(file, b"\0\xff")
    assert file.read_bytes() == b"\0\xff"
    assert names(file.parent) == ["x.txt"]


@pytest.mark.parametrize("call", ["replace", "fsync"])
def test_a_file_that_cannot_be_written_keeps_its_old_content_and_leaves_no_temporary(call, tmp_path, monkeypatch):
    file = tmp_path / "x.txt"
    files.write_atomic(file, "old")
    with monkeypatch.context() as patch:
        patch.setattr(os, call, refuse)
        with pytest.raises(OutputError, match=r"x\.txt: cannot be written \(No space left on device\)"):
            files.write_atomic(file, "new")
    assert file.read_text() == "old"
    assert names(tmp_path) == ["x.txt"]


def test_a_disk_that_is_full_half_way_keeps_the_old_content(tmp_path):
    resource = pytest.importorskip("resource")
    file = tmp_path / "x.txt"
    files.write_atomic(file, "old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))
    try:
        with pytest.raises(OutputError, match=r"x\.txt"):
            files.write_atomic(file, bytes(1 << 20))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert file.read_text() == "old"
    assert names(tmp_path) == ["x.txt"]


def test_ctrl_c_in_the_middle_of_writing_leaves_no_temporary(tmp_path, monkeypatch):
    def interrupt(descriptor: int) -> None:
        raise KeyboardInterrupt

    file = tmp_path / "x.txt"
    files.write_atomic(file, "old")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", interrupt)
        with pytest.raises(KeyboardInterrupt):
            files.write_atomic(file, "new")
    assert file.read_text() == "old"
    assert names(tmp_path) == ["x.txt"]


def test_a_folder_that_is_a_file_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file/x"):
        files.write_atomic(tmp_path / "file" / "x", "new")


def test_a_file_is_on_the_disk_before_it_has_its_name_and_its_folder_after(tmp_path, monkeypatch):
    calls: list[str] = []
    for call in ("fsync", "replace"):
        real = getattr(os, call)
        monkeypatch.setattr(os, call, lambda *a, call=call, real=real: (calls.append(call), real(*a))[1])
    files.write_atomic(tmp_path / "x", "new")
    assert calls == ["fsync", "replace", "fsync"]


def test_json_is_written_in_utf_8_and_refuses_nan_and_infinities(tmp_path):
    files.write_json(tmp_path / "x.json", {"b": "ü", "a": [1, None]})
    assert "ü" in (tmp_path / "x.json").read_text(encoding="utf-8")
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="JSON compliant"):
            files.write_json(tmp_path / "y.json", value)
    assert names(tmp_path) == ["x.json"]


def test_hashes_depend_on_bytes_and_digests_on_values(tmp_path):
    data = np.random.default_rng(0).bytes(3_000_000)
    (tmp_path / "x").write_bytes(data)
    assert files.sha256_of(tmp_path / "x") == hashlib.sha256(data).hexdigest()
    assert files.digest_of({"a": 1, "b": [1, 2]}) == files.digest_of({"b": (1, 2), "a": 1})
    values = [{"a": 1}, {"a": 1.5}, {"a": "1"}, {"b": 1}, {"a": [1]}, {"a": None}, {}]
    assert len({files.digest_of(value) for value in values}) == len(values)


def test_a_short_read_is_continued(tmp_path, short_reads):
    (tmp_path / "x").write_bytes(bytes(range(256)) * 4)
    short_reads(sys.modules[__name__])
    with open(tmp_path / "x", "rb", buffering=0) as file:
        assert file.read(500) == bytes(range(100))  # what the fixture is for
        file.seek(0)
        assert files.read_fully(file, 500) == (bytes(range(256)) * 4)[:500]
        assert len(files.read_fully(file, 10_000)) == 524
        assert files.read_fully(file, 1) == b""


# Folders


def test_a_folder_is_complete_when_it_replaces_the_old_one(tmp_path):
    for content in ("first", "second"):
        with files.atomic_folder(tmp_path / "model") as folder:
            assert names(folder) == []
            (folder / content).touch()
            assert (tmp_path / "model").exists() == (content == "second")
        assert names(tmp_path / "model") == [content]
    assert names(tmp_path) == ["model"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError(28, "No space left on device")])
def test_a_folder_that_fails_half_way_leaves_the_old_one_and_nothing_else(error, tmp_path):
    with files.atomic_folder(tmp_path / "model") as folder:
        (folder / "old").touch()

    def write_half() -> None:
        with files.atomic_folder(tmp_path / "model") as folder:
            (folder / "new").touch()
            raise error

    with pytest.raises(OutputError if isinstance(error, OSError) else error):
        write_half()
    assert names(tmp_path) == ["model"]
    assert names(tmp_path / "model") == ["old"]


@pytest.fixture
def model(tmp_path):
    """A folder with a file ``old``, to be replaced by one with a file ``new``."""
    with files.atomic_folder(tmp_path / "model") as folder:
        (folder / "old").touch()
    return tmp_path / "model"


def write_new(path: Path) -> None:
    with files.atomic_folder(path) as folder:
        (folder / "new").touch()


@pytest.fixture
def no_exchange(monkeypatch):
    """As on a system that cannot exchange two folders in one step."""
    monkeypatch.setattr(files, "_exchange", lambda a, b: False)


def after_first(call, end):
    """Call ``end`` after the first call, and only then."""
    calls = []

    def calling(*arguments):
        calls.append(call(*arguments))
        if len(calls) == 1:
            end()
        return calls[-1]

    return calling


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(143), OSError(5, "Input/output error")])
def test_a_complete_folder_exists_whenever_a_signal_or_an_error_ends_its_replacement(
    error, model, no_exchange, monkeypatch
):
    def end():
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", after_first(os.rename, end))
        with pytest.raises(OutputError if isinstance(error, OSError) else type(error)):
            write_new(model)
    assert names(model) == ["old"]
    assert names(model.parent) == ["model"]
    write_new(model)
    assert names(model) == ["new"]
    assert names(model.parent) == ["model"]


def test_a_folder_is_exchanged_in_one_step_where_the_system_can(model, monkeypatch):
    (model.parent / "other").mkdir()
    if not files._exchange(model.parent / "other", model):
        pytest.skip("this system cannot exchange folders")
    assert files._exchange(model.parent / "other", model)
    monkeypatch.setattr(os, "rename", refuse)

    def end():
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(files, "_exchange", after_first(files._exchange, end))
        with pytest.raises(KeyboardInterrupt):
            write_new(model)
    assert names(model) == ["new"]
    write_new(model)
    assert names(model.parent) == ["model", "other"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("then", [files.restore_folder, write_new])
def test_a_folder_set_aside_by_a_killed_process_is_restored_or_replaced(then, model, no_exchange, monkeypatch):
    if (child := os.fork()) == 0:
        monkeypatch.setattr(os, "rename", after_first(os.rename, lambda: os._exit(9)))
        write_new(model)
    os.waitpid(child, 0)
    assert not model.exists()
    files.remove_temporaries(model.parent)
    then(model)
    assert names(model) == ["old" if then is files.restore_folder else "new"]
    assert names(model.parent) == ["model"]


def test_a_link_to_a_folder_is_replaced_and_its_target_kept(tmp_path, model):
    model.rename(tmp_path / "elsewhere")
    model.symlink_to("elsewhere")
    write_new(model)
    assert names(model) == ["new"]
    assert names(tmp_path / "elsewhere") == ["old"]
    assert names(tmp_path) == ["elsewhere", "model"]


def test_a_folder_that_cannot_be_renamed_leaves_the_old_one(model, no_exchange, monkeypatch):
    rename = os.rename

    def refuse_new(source: Path, target: Path) -> None:
        if (Path(source) / "new").exists():
            refuse()
        rename(source, target)

    monkeypatch.setattr(os, "rename", refuse_new)
    with pytest.raises(OutputError, match="model"):
        write_new(model)
    assert names(model.parent) == ["model"]
    assert names(model) == ["old"]


def test_temporaries_of_killed_runs_are_removed_and_nothing_else(tmp_path):
    (tmp_path / "ab" / ".tmp-1-aa" / ".tmp-2-bb").mkdir(parents=True)
    for name in [
        ".tmp-1-cc",
        "ab/.tmp-3",
        "ab/data.tmp-4",
        "ab/kept",
        ".lock",
        "ab/.tmp-1-aa/x",
        "ab/.tmp-1-aa/.tmp-5",
    ]:
        (tmp_path / name).touch()
    files.remove_temporaries(tmp_path)
    assert names(tmp_path) == [".lock", "ab"]
    assert names(tmp_path / "ab") == ["data.tmp-4", "kept"]
    files.remove_temporaries(tmp_path / "no such folder")


# Locks

HOLD = (
    "import sys, time\n"
    "from pathlib import Path\n"
    "from audiocnn.files import lock\n"
    "with lock(Path(sys.argv[1])):\n"
    "    print('held', flush=True)\n"
    "    time.sleep(60)\n"
)


@contextlib.contextmanager
def holder(folder: Path):
    """Another process that holds the lock of a folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, folder], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_second_process_is_refused_at_once_with_the_holder_of_the_lock(tmp_path):
    with holder(tmp_path / "run") as process:
        began = time.monotonic()
        with pytest.raises(BusyError, match=rf"run: in use by process {process.pid};"), files.lock(tmp_path / "run"):
            pytest.fail("held by two")
        assert time.monotonic() - began < 1
        with files.lock(tmp_path / "other run"):
            pass


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_a_lock_ends_with_its_process_even_if_that_is_killed(end, tmp_path):
    with holder(tmp_path) as process:
        process.send_signal(end)
        process.wait()
        with files.lock(tmp_path):
            pass


def test_a_released_lock_can_be_taken_again(tmp_path):
    for _ in range(2):
        with files.lock(tmp_path), pytest.raises(BusyError, match=f"process {os.getpid()}"), files.lock(tmp_path):
            pytest.fail("held twice")


def test_a_child_that_outlives_its_parent_does_not_keep_the_lock(tmp_path):
    # the child says that the lock is held, and by then it has let go of it itself
    script = HOLD.replace("    print", "    import os\n    if os.fork(): time.sleep(60)\n    print")
    process = subprocess.Popen(
        [sys.executable, "-c", script, tmp_path], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout
    try:
        assert process.stdout.readline() == "held\n"
        process.kill()
        process.wait()
        os.killpg(process.pid, 0)  # the child lives
        with files.lock(tmp_path):
            pass
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.stdout.close()


def test_a_folder_that_cannot_be_created_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file/run"), files.lock(tmp_path / "file" / "run"):
        pytest.fail("nothing to hold")


def test_temporaries_of_one_file_are_removed_and_nothing_else(tmp_path: Path) -> None:
    ours, other = tmp_path / f"{'a' * 240}.csv", tmp_path / "other.csv"
    left = []
    for path in (ours, other):
        with files.atomic_file(path):
            left += [name for name in os.listdir(tmp_path) if name.startswith(".tmp-")]
        path.unlink()
    for name in left:  # as if their processes had been killed
        (tmp_path / name).touch()
    files.remove_unfinished(ours)
    assert os.listdir(tmp_path) == left[1:]
    files.remove_unfinished(other)
    assert os.listdir(tmp_path) == []
    files.remove_unfinished(tmp_path / "none" / "x.csv")
