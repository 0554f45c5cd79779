"""Escaping of file names and labels for CSV files and terminals, whatever characters they contain.

In memory a path is a Python string as returned by ``os.fsdecode``. In files it is written by `encode_path`.
"""

import os
import re
import unicodedata
from collections.abc import Sequence

_FORMULA = ("=", "+", "-", "@")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_UNSAFE = re.compile(r"[\x00-\x1f\x7f\udc80-\udcff]|\A\s+|\s+\Z")  # also spaces at the ends, which readers may strip
_ESCAPED = re.compile(r"\\\\|(?:\\x(?!00)[0-9a-fA-F]{2})+")


def encode_path(path: str) -> str:
    r"""Return a path as it is written to files: one line of valid UTF-8 that no spreadsheet takes for a formula.

    Invalid UTF-8 bytes, control characters and leading or trailing whitespace become ``\x`` and two hexadecimal digits.

    >>> encode_path("-cut.wav"), encode_path("a\\b.wav"), encode_path("caf\udce9.wav")
    ('./-cut.wav', 'a\\\\b.wav', 'caf\\xe9.wav')
    """

    def escape(match: re.Match[str]) -> str:
        return "".join(f"\\x{byte:02x}" for byte in match[0].encode("utf-8", "surrogateescape"))

    text = _UNSAFE.sub(escape, path.replace("\\", "\\\\"))
    return f"./{text}" if text.startswith(_FORMULA) else text


def decode_path(text: str) -> str:
    r"""Undo `encode_path`; a backslash that begins no escape is kept.

    >>> decode_path("caf\\xe9.wav") == "caf\udce9.wav", decode_path("a\\\\b.wav"), decode_path("./-cut.wav")
    (True, 'a\\b.wav', '-cut.wav')
    """

    def unescape(match: re.Match[str]) -> str:
        if match[0] == r"\\":
            return "\\"
        return bytes.fromhex(match[0].replace(r"\x", "")).decode("utf-8", "surrogateescape")

    path = _ESCAPED.sub(unescape, text)
    return path[2:] if path.startswith("./") and path[2:].startswith(_FORMULA) else path


def safe_cell(text: str) -> str:
    """Return text for a CSV cell, prefixed with ``'`` if a spreadsheet would take it for a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def is_formula(text: str) -> bool:
    """Return whether a spreadsheet would take this text for a formula."""
    return text.startswith(_FORMULA)


def printable(text: str) -> str:
    r"""Return text with control characters escaped, safe to print to a terminal.

    >>> printable("a\x1b[31mb\n")
    'a\\x1b[31mb\\x0a'
    """
    return _CONTROL.sub(lambda m: f"\\x{ord(m[0]):02x}" if ord(m[0]) < 256 else f"\\u{ord(m[0]):04x}", text)


def common_folder(names: Sequence[str]) -> str:
    """Return the folder that all names begin with, with a slash at its end; empty if there is none.

    >>> common_folder(["a/b/1.wav", "a/b/c/2.wav"]), common_folder(["a/1.wav", "/b/2.wav"])
    ('a/b/', '')
    """
    if len(names) < 2 or len({os.path.isabs(name) for name in names}) > 1:
        return ""
    folder = os.path.commonpath(map(os.path.dirname, names))
    return f"{folder}/" if folder.strip("/") and all(name.startswith(f"{folder}/") for name in names) else ""


def split_words(name: str) -> list[str]:
    """Return the words and numbers of a name, in lower case.

    >>> split_words("_Background-noise_2"), split_words("trainSet"), split_words("S01")
    (['background', 'noise', '2'], ['train', 'set'], ['s', '01'])
    """
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", unicodedata.normalize("NFKC", name))
    return re.findall(r"[^\W\d_]+|\d+", parted.casefold())
