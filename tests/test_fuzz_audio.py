"""The comparison of damaged sound files with libsndfile finds what it is for."""

import importlib.util
import struct
from pathlib import Path
from types import ModuleType

import pytest
import soundfile
import sounds

from audiocnn.audio import headers, source
from audiocnn.audio.headers import Header


@pytest.fixture
def fuzz() -> ModuleType:
    file = Path(__file__).resolve().parent.parent / "benchmarks" / "fuzz_audio.py"
    spec = importlib.util.spec_from_file_location("fuzz_audio", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def stale(folder: Path, form: str) -> Path:
    """Write a recording whose header declares a quarter of its samples."""
    file = folder / "recording"
    soundfile.write(file, sounds.noise(1, seed=3), sounds.RATE, format=form, subtype="PCM_16")
    content = bytearray(file.read_bytes())
    name, number = {"WAV": (b"data", "<I"), "AIFF": (b"SSND", ">I"), "CAF": (b"data", ">q")}[form]
    struct.pack_into(number, content, content.index(name) + 4, sounds.RATE // 2)
    file.write_bytes(content)
    return file


@pytest.mark.parametrize("form", ["WAV", "AIFF", "CAF"])
def test_the_samples_behind_a_header_that_declares_too_few_are_compared_and_found_equal(fuzz, tmp_path, form):
    file = stale(tmp_path, form)
    assert fuzz.compare(file) == (True, "")
    assert fuzz.by_libsndfile(fuzz.mended(file.read_bytes())).shape == (1, sounds.RATE)


def test_other_samples_are_found_with_a_code_and_without(fuzz, tmp_path, monkeypatch):
    file = stale(tmp_path, "WAV")
    shifted = ((4, struct.pack("<I", file.stat().st_size)), (40, struct.pack("<I", 2 * sounds.RATE)), (44, b"\1\2"))
    monkeypatch.setattr(headers, "check", lambda *_: Header(is_true=False, patches=shifted))
    assert fuzz.compare(file) == (True, "other samples than libsndfile gives, codes ['length_mismatch']")
    monkeypatch.undo()
    soundfile.write(file, sounds.noise(1, seed=3), sounds.RATE, format="WAV", subtype="PCM_16")
    assert fuzz.compare(file) == (False, "")
    monkeypatch.setitem(source.SCALES, "int16", 2.0**-14)
    assert fuzz.compare(file) == (False, "other samples than libsndfile gives, codes []")
