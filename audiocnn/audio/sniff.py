"""Identification of audio files by their first bytes."""

import codecs
import os
import stat
from pathlib import Path

from audiocnn.errors import AudioError

_SUPPORTED_SUFFIXES = {
    ".wav", ".wave", ".bwf", ".rf64", ".w64", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".mp2", ".aif", ".aiff",
    ".aifc", ".au", ".caf", ".sph", ".nist",
}  # fmt: skip
_UNSUPPORTED_SUFFIXES = {  # found, then reported
    ".m4a", ".m4b", ".mp4", ".mov", ".aac", ".adts", ".3gp", ".3g2", ".wma", ".mka", ".mkv", ".webm", ".weba", ".wv",
    ".ape", ".amr", ".awb", ".ac3", ".eac3", ".dts", ".dsf", ".dff", ".tta", ".tak", ".mpc", ".ra", ".rm", ".shn",
    ".voc", ".qcp", ".oma", ".aa3",
}  # fmt: skip
SUFFIXES = frozenset(_SUPPORTED_SUFFIXES | _UNSUPPORTED_SUFFIXES)
_FOREIGN = (  # other common formats of sound: magic number, its offset, name
    (b"ftyp3g", 4, "3GP"),
    (b"ftyp", 4, "MP4 (M4A, AAC, ALAC)"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", 0, "WMA (ASF)"),
    (b"\x1a\x45\xdf\xa3", 0, "Matroska or WebM"),
    (b"wvpk", 0, "WavPack"),
    (b"MAC ", 0, "Monkey's Audio"),
    (b"#!AMR", 0, "AMR"),
    (b"#!SILK", 0, "SILK"),
    (b"ADIF", 0, "AAC"),
    (b"DSD ", 0, "DSD (DSF)"),
    (b"FRM8", 0, "DSD (DFF)"),
    (b"TTA1", 0, "True Audio"),
    (b"tBaK", 0, "TAK"),
    (b"MPCK", 0, "Musepack"),
    (b".ra\xfd", 0, "RealAudio"),
    (b".RMF", 0, "RealMedia"),
    (b"BW64", 0, "BW64"),
    (b"Creative Voice File", 0, "VOC"),
    (b"QLCM", 8, "QCP"),
    (b"ea3\x03", 0, "ATRAC"),
    (b"ajkg", 0, "Shorten"),
    (b"\x7f\xfe\x80\x01", 0, "DTS"),
)
_SHORT_MAGIC = (  # of formats that the beginning of another file may look like
    (b"\xff\xf1", 0, "AAC"),
    (b"\xff\xf9", 0, "AAC"),
    (b"\x0b\x77", 0, "AC-3"),
    (b"MP+", 0, "Musepack"),
)
_PICTURES = (b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"avif", b"crx ")  # brands of the MP4 container
_W64 = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00"
_GIT_LFS = b"version https://git-lfs.github.com/spec/"


def identify_head(head: bytes) -> str | None:
    """Return the container of a file from its first 16 or more bytes; None if it is not a supported one.

    >>> identify_head(b"RIFF\\x24\\0\\0\\0WAVEfmt "), identify_head(b"fLaC" + bytes(12)), identify_head(b"hello, world")
    ('wav', 'flac', None)
    """
    if head[:4] in (b"RIFF", b"RIFX", b"RF64") and head[8:12] == b"WAVE":
        return "wav"
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return "aiff"
    if head[:4] in (b"fLaC", b"OggS"):
        return "flac" if head[0] == 0x66 else "ogg"
    for magic, container in ((b".snd", "au"), (b"caff", "caf"), (b"NIST_1A\n", "nist"), (_W64, "w64")):
        if head.startswith(magic):
            return container
    if head[:3] == b"ID3":
        return "mp3"
    # MPEG audio frame sync: 11 bits set, version not reserved, layer II or III (UTF-16 text can look like layer I, AAC
    # like the reserved layer), bit rate and sample rate not reserved
    if len(head) < 3 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0 or head[1] & 0x18 == 0x08:
        return None
    if head[2] >> 4 == 0xF or head[2] & 0x0C == 0x0C:
        return None
    return {0x02: "mp3", 0x04: "mp2"}.get(head[1] & 0x06)


def identify(path: Path) -> str:
    """Return the container of the audio file at ``path``.

    Raises `AudioError` with code ``missing``, ``not_a_file``, ``unreadable``, ``empty_file``, ``git_lfs_pointer``,
    ``all_zero_bytes`` or ``not_audio``.
    """
    try:
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):  # never open a FIFO or a device: reading could block forever
            raise AudioError("not_a_file", "is not a regular file")
        with open(path, "rb") as file:
            head = file.read(4096)
    except (FileNotFoundError, ValueError):  # ValueError: the path contains a zero byte
        raise AudioError("missing", "does not exist") from None
    except OSError as error:
        raise AudioError("unreadable", f"cannot be opened ({error.strerror})") from error
    if not head:
        raise AudioError("empty_file", "is empty (0 bytes)")
    if head.startswith(_GIT_LFS):
        raise AudioError("git_lfs_pointer", "is a git-lfs pointer, not the audio itself; run 'git lfs pull'")
    if not any(head):
        raise AudioError("all_zero_bytes", "begins with nothing but zero bytes; a preallocated file never written to?")
    container = identify_head(head)
    if container is None:
        raise AudioError("not_audio", _why_not_audio(head))
    return container


def name_format(head: bytes) -> str | None:
    """Return the name of a format of sound, read or not, from the first bytes of a file; None if it is not sound."""
    container = identify_head(head)
    return container.upper() if container else _foreign_format(head, _FOREIGN)


def holds_sound(path: Path) -> bool:
    """Return whether a file is audio by its content, of a format that is read or of another one."""
    try:
        identify(path)
    except AudioError as error:
        if error.code != "not_audio":
            return False
        with open(path, "rb") as file:
            return _foreign_format(file.read(64), _FOREIGN) is not None
    return True


def _why_not_audio(head: bytes) -> str:
    if name := _foreign_format(head, (*_FOREIGN, *_SHORT_MAGIC)):
        return f"is {name} by its content, which is not read; convert it to WAV or FLAC"
    if _is_text(head):
        return "is text, not audio; if it lists recordings, pass those"
    return "is not WAV, FLAC, OGG, MP3, AIFF, AU, CAF, W64 or NIST SPHERE by its content"


def _is_text(head: bytes) -> bool:
    try:
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(head)  # its last character may be cut
    except UnicodeDecodeError:
        return False
    return all(c.isprintable() or c.isspace() for c in text)


def _foreign_format(head: bytes, formats: tuple[tuple[bytes, int, str], ...]) -> str | None:
    """Return the name of a format of sound that is not read; None if it is another file."""
    if head[4:8] == b"ftyp" and head[8:12] in _PICTURES:
        return None
    return next((name for magic, offset, name in formats if head.startswith(magic, offset)), None)
