"""Damaged sound files: nothing crashes, hangs or prints, and no samples change without a code.

``python benchmarks/fuzz_audio.py [SOUND...] [--inputs 20000] [--seed 0]`` writes each sound (without one, a made sound)
in every format, damages copies of them by seed, in ways that know the structure of the format, and decodes each in a
worker process. It prints for every format how many were accepted, accepted with a code, refused by the decoder, and
refused before (by size, magic number or header). It fails if

* a worker crashes, hangs or raises anything but an `AudioError`, or anything is printed;
* a file is accepted without a code of its header, and its samples differ from those that libsndfile alone gives for the
  same bytes, read front to back;
* a file is accepted with such a code, and its samples are not those, from the first on, that libsndfile alone gives for
  the same bytes with the sizes in their headers mended (WAV, AIFF, AU, W64, CAF).

``--keep FOLDER`` keeps the files that fail.
"""

import argparse
import io
import shutil
import struct
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from audiocnn.audio import workers
from audiocnn.audio.decode import Decoder
from audiocnn.errors import AudioError

RATE = 16_000
FORMATS: dict[str, dict[str, str]] = {
    "WAV 16 bits": {"format": "WAV", "subtype": "PCM_16"},
    "WAV 24 bits, extensible": {"format": "WAVEX", "subtype": "PCM_24"},
    "WAV float": {"format": "WAV", "subtype": "FLOAT"},
    "WAV ADPCM": {"format": "WAV", "subtype": "MS_ADPCM"},
    "WAV big-endian (RIFX)": {"format": "WAV", "subtype": "PCM_16", "endian": "BIG"},
    "RF64": {"format": "RF64", "subtype": "PCM_16"},
    "W64": {"format": "W64", "subtype": "PCM_16"},
    "AIFF": {"format": "AIFF", "subtype": "PCM_16"},
    "AU": {"format": "AU", "subtype": "PCM_16"},
    "CAF": {"format": "CAF", "subtype": "PCM_16"},
    "NIST": {"format": "NIST", "subtype": "PCM_16"},
    "FLAC": {"format": "FLAC", "subtype": "PCM_16"},
    "OGG Vorbis": {"format": "OGG", "subtype": "VORBIS"},
    "OGG Opus": {"format": "OGG", "subtype": "OPUS"},
    "MP3": {"format": "MP3", "subtype": "MPEG_LAYER_III"},
}
SYNC = {"FLAC": b"\xff\xf8", "OGG Vorbis": b"OggS", "OGG Opus": b"OggS", "MP3": b"\xff\xfb"}  # begin a frame or page
HEADER_CODES = {"truncated", "length_mismatch", "md5_mismatch", "scale"}
EARLY_CODES = {"not_audio", "empty_file", "all_zero_bytes", "no_samples"}
NUMBERS = (0, 1, 36, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)

Damage = Callable[[bytearray, np.random.Generator], None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sounds", nargs="*", type=Path)
    parser.add_argument("--inputs", type=int, default=20_000, help="[default: 20000]")
    parser.add_argument("--seed", type=int, default=0, help="[default: 0]")
    parser.add_argument("--keep", type=Path, help="folder for the files that fail")
    options = parser.parse_args()
    failures = 0
    print(f"{'format':26} accepted  with a code  refused by the decoder  refused before")
    with tempfile.TemporaryDirectory(prefix="audiocnn-fuzz-") as name:
        for number, what in enumerate(FORMATS):
            rng = np.random.default_rng([options.seed, number])
            originals = [written(Path(name), what, samples) for samples in made(options.sounds)]
            files = []
            for i in range(-(-options.inputs // len(FORMATS))):
                content = bytearray(originals[i % len(originals)])
                damage(content, what, rng)
                files.append(Path(name) / f"{i}.bin")
                files[-1].write_bytes(content)
            counts, failed = decoded(files)
            for file, reason in failed:
                print(f"FAILED {what}: {reason}")
                if options.keep is not None:
                    options.keep.mkdir(parents=True, exist_ok=True)
                    shutil.copy(file, options.keep / f"{what.replace(' ', '-')}-{file.name}")
            failures += len(failed)
            reached = 1 - counts["before"] / len(files)
            print(
                f"{what:26} {counts['accepted']:8,}  {counts['code']:11,}  {counts['refused']:22,}  "
                f"{counts['before']:14,}   {reached:.0%} reached the decoder"
            )
            for file in files:
                file.unlink()
    print(f"{failures} failures")
    sys.exit(bool(failures))


def made(sounds: list[Path]) -> list[NDArray[np.float32]]:
    """Return half a second of each sound, or of a made one."""
    if not sounds:
        t = np.arange(RATE // 2) / RATE
        noise = 0.05 * np.random.default_rng(0).standard_normal((len(t), 2))
        return [(0.3 * np.sin(2 * np.pi * 440 * t)[:, None] + noise).astype(np.float32)]
    return [soundfile.read(sound, frames=RATE // 2, dtype="float32", always_2d=True)[0] for sound in sounds]


def written(folder: Path, what: str, samples: NDArray[np.float32]) -> bytes:
    file = folder / "original"
    soundfile.write(file, samples, RATE, **FORMATS[what])
    return file.read_bytes()


def damage(content: bytearray, what: str, rng: np.random.Generator) -> None:
    """Damage the file in one to three ways; half of them concern its structure."""
    general: list[Damage] = [flip_bits, cut, lengthen]
    special: list[Damage] = [reorder_frames(SYNC[what])] if what in SYNC else [set_number, move_chunk]
    for _ in range(rng.integers(1, 4)):
        kinds = general if rng.random() < 0.5 else [*special, set_number]
        if len(content) > 64:
            kinds[rng.integers(len(kinds))](content, rng)


def flip_bits(content: bytearray, rng: np.random.Generator) -> None:
    last = len(content) if rng.random() < 0.5 else min(len(content), 200)
    for at in rng.integers(12, last, rng.integers(1, 8)):
        content[at] ^= 1 << int(rng.integers(8))


def cut(content: bytearray, rng: np.random.Generator) -> None:
    del content[rng.integers(len(content) // 2, len(content)) :]


def lengthen(content: bytearray, rng: np.random.Generator) -> None:
    rest = (bytes(2_000), rng.bytes(2_000), bytes(content[-2_000:]), b"LIST\x10\0\0\0" + bytes(16), b"TAG" + bytes(125))
    content += rest[rng.integers(len(rest))]


def set_number(content: bytearray, rng: np.random.Generator) -> None:
    """Set a number of the header: a size, count, rate or type."""
    at = int(rng.integers(4, min(len(content) - 8, 120)))
    number = NUMBERS[rng.integers(len(NUMBERS))] if rng.random() < 0.5 else int(rng.integers(len(content) * 2))
    form = ("<H", ">H", "<I", ">I")[rng.integers(4)]
    struct.pack_into(form, content, at, number & (0xFFFF if form[1] == "H" else 0xFFFFFFFF))


def move_chunk(content: bytearray, rng: np.random.Generator) -> None:
    """Remove, repeat or move an even number of bytes of the header, such as a chunk."""
    first, n = 2 * int(rng.integers(6, 60)), 2 * int(rng.integers(2, 20))
    part = bytes(content[first : first + n])
    if rng.random() < 0.6:
        del content[first : first + n]
    if rng.random() < 0.6:
        at = 2 * int(rng.integers(6, 60))
        content[at:at] = part


def reorder_frames(sync: bytes) -> Damage:
    """Return a damage that removes, repeats or exchanges frames that begin with ``sync``."""

    def reorder(content: bytearray, rng: np.random.Generator) -> None:
        frames = bytes(content).split(sync)
        if len(frames) < 4:
            return
        i, j = rng.integers(1, len(frames), 2)
        match rng.integers(3):
            case 0:
                del frames[i]
            case 1:
                frames.insert(j, frames[i])
            case _:
                frames[i], frames[j] = frames[j], frames[i]
        content[:] = sync.join(frames)

    return reorder


def decoded(files: list[Path]) -> tuple[Counter[str], list[tuple[Path, str]]]:
    """Decode all files in workers; return the counts of outcomes, and the files that fail with the reason."""
    counts: Counter[str] = Counter()
    failed = []
    codes: defaultdict[str, int] = defaultdict(int)
    for done in workers.map_files(compare, [(file, ()) for file in files], jobs=workers.default_jobs()):
        file, found = files[done.index], done.result
        if isinstance(found, AudioError):
            codes[found.code] += 1
            counts["before" if found.code in EARLY_CODES else "refused"] += 1
            if found.code in ("crashed", "timeout"):
                failed.append((file, str(found)))
        elif found[1]:
            failed.append((file, found[1]))
        else:
            counts["code" if found[0] else "accepted"] += 1
    return counts, failed


def compare(file: Path) -> tuple[bool, str]:
    """Runs in a worker: return whether the file has a code of its header, and what is wrong with its samples."""
    try:
        with Decoder(file) as decoder:
            blocks = list(decoder.blocks(channel="each"))
    except AudioError:
        raise
    except Exception as error:  # a bug
        return False, f"{type(error).__name__}: {error}"
    samples = np.concatenate(blocks, axis=1)
    codes = HEADER_CODES & set(decoder.facts.warnings)
    content = file.read_bytes()
    if codes:
        content = mended(content)
        if not codes <= {"truncated", "length_mismatch"} or not content:
            return True, ""
    try:
        theirs = by_libsndfile(content)
    except soundfile.LibsndfileError as error:
        return bool(codes), "" if codes else f"accepted without a code, and libsndfile alone fails: {error}"
    if codes:
        theirs = theirs[:, : samples.shape[1]]
    if samples.shape != theirs.shape:
        return bool(codes), f"{samples.shape} samples, codes {sorted(codes)}, and libsndfile gives {theirs.shape}"
    same = np.allclose(samples, theirs, atol=1e-6)
    return bool(codes), "" if same else f"other samples than libsndfile gives, codes {sorted(codes)}"


def by_libsndfile(content: bytes) -> NDArray[np.float32]:
    """Return the samples (n_channels, n) that libsndfile alone gives for a file, front to back."""
    parts = []
    with soundfile.SoundFile(io.BytesIO(content)) as alone:
        alone.seekable = lambda: False  # it would seek after every block, which changes the samples of some formats
        block = max(1, min(1 << 16, alone.frames))
        while len(part := alone.read(block, dtype="float32", always_2d=True)):
            parts.append(part)
        return np.concatenate(parts).T if parts else np.zeros((alone.channels, 0), np.float32)


def mended(content: bytes) -> bytes:
    """Return a file whose samples reach to its end by all that its header says; nothing if its format is another."""
    size = len(content)
    mended = bytearray(content)

    def put(form: str, at: int, *values: int) -> None:
        struct.pack_into(form, mended, at, *values)

    match content[:4]:
        case b"RIFF" | b"RIFX" | b"FORM":
            order = "<" if content[:4] == b"RIFF" else ">"
            chunks = dict(find_chunks(content, order))
            start = chunks.get(b"data", chunks.get(b"SSND"))
            if start is None or not {b"fmt ", b"COMM"} & chunks.keys():
                return b""
            put(f"{order}I", 4, size - 8)
            put(f"{order}I", start - 4, size - start)
            if content[:4] == b"FORM":
                common = chunks[b"COMM"]
                n_channels, bits = struct.unpack_from(">H", content, common)[0], content[common + 7]
                put(">I", common + 2, (size - start - 8) // max(1, n_channels * (bits + 7) // 8))
        case b".snd":
            put(">I", 8, 0xFFFFFFFF)
        case b"caff":
            at = content.find(b"data", 8)
            put(">q", at + 4, size - at - 12)
        case b"riff":
            at = content.find(b"data\xf3\xac", 40)
            put("<Q", 16, size)
            put("<Q", at + 16, size - at)
        case _:
            return b""
    return bytes(mended)


def find_chunks(content: bytes, order: str) -> Iterator[tuple[bytes, int]]:
    """Yield name and start of the chunks up to that of the samples."""
    at = 12
    while at + 8 <= len(content):
        name, length = struct.unpack_from(f"{order}4sI", content, at)
        yield name, at + 8
        if name in (b"data", b"SSND"):
            return
        at += 8 + length + length % 2


if __name__ == "__main__":
    main()
