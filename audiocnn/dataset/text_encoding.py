"""Decode the text files that other programs wrote: UTF-8, UTF-16, and the code pages of Windows, DOS and the Mac.

A code page leaves no trace in a file. It is chosen by the letters: those of one language, none of them inside words as
a symbol. The choice can be wrong, so `DecodedText.note` reports it with an example.
"""

import itertools
import re
import unicodedata
from dataclasses import dataclass

_WESTERN = (
    "äöüß", "àâæçéèêëîïôœùûüÿ", "áéíñóúüªº", "àáâãçéêíóôõúüªº", "àèéìíîòóùú", "åäöæøéü", "áéèêëïíóúöü", "áðéíóúýþæö",
    "äöõüšž",
)  # fmt: skip
_ALPHABETS = {  # code page: the letters that languages add to a-z, by language; the first page that fits is taken
    "cp1252": _WESTERN,
    "cp1250": ("áäčďéěíĺľňóôŕřšťúůýž", "ąćęłńóśźż", "áéíóöőúüű", "čćđšž", "ăâîşţ"),
    "cp1251": ("абвгдежзийклмнопрстуфхцчшщъыьэюяёіїєґў", "абвгдежзијклмнопрстуфхцчшђљњћџѓќѕ"),
    "cp1253": ("αβγδεζηθικλμνξοπρσςτυφχψωάέήίόύώϊϋΐΰ",),
    "cp1254": ("çğıöşüâîû",),
    "cp1257": ("āčēģīķļņšūž", "ąčęėįšųūž"),
    "mac_roman": _WESTERN,
    "cp850": _WESTERN,
}
_NAMES = {"cp1252": "Windows-1252", "mac_roman": "Mac Roman", "cp850": "DOS code page 850"}
_SIGNS = frozenset("\u00a0’‘“”„‚–—…°²³µ€«»·×®©§")  # that texts hold, but not within a word
_WITHIN_WORDS = re.compile(  # a sign, or letters of two scripts
    r"(?<=[^\W\d_])[“”„‚…°²³€«»·×®©§](?=[^\W\d_])|[a-zA-Z][\u0370-\u04ff]|[\u0370-\u04ff][a-zA-Z]"
)
_BAD_LINES = 2_000  # with letters beyond ASCII, on which the code page is chosen
_HEAD = 4096  # bytes


@dataclass(frozen=True)
class DecodedText:
    """The text of a file, and the name of its encoding; ``certain`` tells whether the bytes leave no other choice."""

    text: str
    encoding: str
    certain: bool = True

    @property
    def note(self) -> str:
        """What to report of the encoding, for a sentence that begins with the file; empty for UTF-8."""
        if self.certain:
            return "" if self.encoding == "UTF-8" else f"is read as {self.encoding}."
        word = re.search(r"[^\s,;\"]*[^\x00-\x7f][^\s,;\"]*", self.text)
        example = f" (such as '{word[0]}')" if word else ""
        return f"is not UTF-8; it is read as {self.encoding}{example}. If that is wrong, save it as UTF-8."


def decode(data: bytes) -> DecodedText:
    """Return the text of a file without its byte order mark.

    >>> decode("Käuzchen".encode("cp1252")).encoding, decode("kočka, tučňák".encode("cp1250")).text
    ('Windows-1252', 'kočka, tučňák')
    """
    if utf16 := _utf16(data):
        try:
            return DecodedText(data.decode(utf16).removeprefix("\ufeff"), "UTF-16")
        except UnicodeDecodeError:
            pass
    try:
        return DecodedText(data.decode("utf-8-sig"), "UTF-8")
    except UnicodeDecodeError:
        page = _code_page(data)
    return DecodedText(data.decode(page), _NAMES.get(page, page.replace("cp", "Windows-")), certain=False)


def _utf16(data: bytes) -> str | None:
    """Return the codec of UTF-16 text, also without a byte order mark: then every other byte of ASCII text is zero."""
    head = data[:_HEAD]
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16-le" if head[0] == 0xFF else "utf-16-be"
    for codec, zeros, others in (("utf-16-le", head[1::2], head[::2]), ("utf-16-be", head[::2], head[1::2])):
        if len(zeros) > 2 and zeros.count(0) > 0.7 * len(zeros) and not others.count(0):
            return codec
    return None


def _code_page(data: bytes) -> str:
    lines = re.findall(rb"[^\r\n]*[\x80-\xff][^\r\n]*", data)[:_BAD_LINES]
    sample = b"\n".join(lines)
    for page, alphabets in _ALPHABETS.items():
        try:
            text = unicodedata.normalize("NFC", sample.decode(page)).replace("İ", "i")
            data.decode(page)
        except UnicodeDecodeError:
            continue
        rest = {c for c in text.lower() if ord(c) > 127} - _SIGNS
        broken = _WITHIN_WORDS.search(text) or any(
            b.isupper() and a.islower() for a, b in itertools.pairwise(text) if ord(b) > 127
        )
        if not broken and any(rest <= set(alphabet) for alphabet in alphabets):
            return page
    try:
        data.decode("cp1252")
    except UnicodeDecodeError:
        return "latin-1"
    return "cp1252"
