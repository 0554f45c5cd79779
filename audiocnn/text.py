"""Hostile text made harmless: file names and labels on their way into CSV files and onto terminals.

Inside the program a path is a Python string as ``os.fsdecode`` gives it; in files it is written by `encode_path`.
"""

import re

_FORMULA = ("=", "+", "-", "@")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_ESCAPED = re.compile(r"\\(\\|x[0-9a-fA-F]{2})")


def encode_path(path: str) -> str:
    r"""Return the form of a path that is written to files: valid UTF-8, never a spreadsheet formula.

    >>> encode_path("-cut.wav"), encode_path("a\\b.wav"), encode_path("caf\udce9.wav")
    ('./-cut.wav', 'a\\\\b.wav', 'caf\\xe9.wav')
    """
    text = path.replace("\\", "\\\\").replace("\r", "\\x0d")  # the csv module of Python 3.11 and 3.12 loses a bare CR
    text = "".join(f"\\x{ord(c) - 0xDC00:02x}" if 0xDC80 <= ord(c) <= 0xDCFF else c for c in text)
    return f"./{text}" if text.startswith(_FORMULA) else text


def decode_path(text: str) -> str:
    r"""Undo `encode_path`; a lone backslash that begins no escape stays what it is.

    >>> decode_path("caf\\xe9.wav") == "caf\udce9.wav", decode_path("a\\\\b.wav"), decode_path("./-cut.wav")
    (True, 'a\\b.wav', '-cut.wav')
    """

    def one(match: re.Match[str]) -> str:
        escaped = match[1]
        return "\\" if escaped == "\\" else bytes([int(escaped[1:], 16)]).decode("utf-8", "surrogateescape")

    path = _ESCAPED.sub(one, text)
    return path[2:] if path.startswith("./") and path[2:].startswith(_FORMULA) else path


def safe_cell(text: str) -> str:
    """Return free text for a CSV cell, with a leading ``'`` where a spreadsheet would see a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def is_formula(text: str) -> bool:
    """Tell whether a spreadsheet would run this text."""
    return text.startswith(_FORMULA)


def printable(text: str) -> str:
    r"""Return text without control codes, fit for a terminal.

    >>> printable("a\x1b[31mb\n")
    'a\\x1b[31mb\\x0a'
    """
    return _CONTROL.sub(lambda m: f"\\x{ord(m[0]):02x}" if ord(m[0]) < 256 else f"\\u{ord(m[0]):04x}", text)
