"""Hostile text made harmless: file names and labels on their way into CSV files and onto terminals.

Inside the program a path is a Python string as ``os.fsdecode`` gives it; in files it is written by `encode_path`.
"""

import re

_FORMULA = ("=", "+", "-", "@")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_UNSAFE = re.compile(r"[\x00-\x1f\x7f\udc80-\udcff]|\A\s+|\s+\Z")  # so a path is one line, and may be stripped
_ESCAPED = re.compile(r"\\\\|(?:\\x(?!00)[0-9a-fA-F]{2})+")


def encode_path(path: str) -> str:
    r"""Return the form of a path that is written to files: one line of valid UTF-8, never a spreadsheet formula.

    Bytes that are not UTF-8, control codes and outer white space are written as ``\x`` and two hexadecimal digits.

    >>> encode_path("-cut.wav"), encode_path("a\\b.wav"), encode_path("caf\udce9.wav")
    ('./-cut.wav', 'a\\\\b.wav', 'caf\\xe9.wav')
    """

    def escape(match: re.Match[str]) -> str:
        return "".join(f"\\x{byte:02x}" for byte in match[0].encode("utf-8", "surrogateescape"))

    text = _UNSAFE.sub(escape, path.replace("\\", "\\\\"))
    return f"./{text}" if text.startswith(_FORMULA) else text


def decode_path(text: str) -> str:
    r"""Undo `encode_path`; a lone backslash that begins no escape stays what it is.

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
